"""Bayesian matrix factorisation: factors that are sampled instead of optimised."""

import warnings
from functools import partial
from itertools import chain
from numbers import Integral, Real
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if

from sklearn_mf._data.arguments import Interval
from sklearn_mf._data.ratings import Pairs, hold_out
from sklearn_mf._data.tables import read_targets, read_weights
from sklearn_mf._estimators.base import (
    OVERFLOW_REMEDY,
    BaseFactorizer,
    RegressionMixin,
)
from sklearn_mf._estimators.features import (
    FEATURES,
    FeaturesMixin,
    feature_attributes,
)
from sklearn_mf._estimators.fold_in import FoldInMixin
from sklearn_mf._files import checks
from sklearn_mf._model.features import OTHER, FeatureWeights
from sklearn_mf._model.parameters import SIDES
from sklearn_mf._model.posterior import SAMPLES, Posterior, project
from sklearn_mf._runtime.threads import count_threads, thread_pool
from sklearn_mf._solvers.gibbs.likelihoods import Gaussian, Probit
from sklearn_mf._solvers.gibbs.new_rows import draw_new_rows
from sklearn_mf._solvers.gibbs.solver import (
    START,
    GibbsSampler,
    Hyperprior,
    draw_key,
)
from sklearn_mf._solvers.iterations import check_learnt
from sklearn_mf._typing import Ids, TableLike

MOST_KEPT, MOST_MEMORY = 100, 2**29  # draws, and bytes of them, that "auto" keeps
FEWEST_KEPT = 10  # whatever their memory
R_HAT = 1.1  # above this chains have not converged
MAX_LEVELS = 1000


def _has_levels(model):
    """Tell whether ratings are levels, which have probabilities."""
    if model.likelihood == "gaussian":
        raise AttributeError(
            "predict_level_proba needs likelihood='ordinal' or 'bernoulli', got "
            f"likelihood={model.likelihood!r}: with normal noise no single rating has "
            "a probability. predict(X, return_std=True) gives a standard deviation."
        )
    return True


class BayesianMF(RegressionMixin, FoldInMixin, BaseFactorizer):
    """Matrix factorisation with biases, sampled from its posterior distribution.

    The prediction for user u and item i is that of `BiasedMF`::

        r̂(u,i) = μ + b_u + b_i + p_u · q_i

    but instead of one best model there is a sample of models, each drawn with the
    probability that it has in view of the ratings. Their mean predicts better than any
    one of them, and how far they differ tells how sure a prediction is. Nothing needs
    tuning: the strength of the penalties is drawn as well. With ratings in units of
    their standard deviation the model is::

        r_ui ~ N(r̂(u,i), 1/(τ γ_u w_ui))
        p_uf ~ N(m_f, 1/λ_f),   b_u ~ N(m_b, 1/λ_b),   likewise q_i and b_i
        λ ~ Gamma(`precision_shape`, `precision_rate`),   m ~ N(0, 1/(κ λ))
        τ ~ Gamma(1, 1),   γ_u ~ Gamma(ν/2, ν/2)

    with the sample weights w, and with means m and precisions λ for each of the two
    sides and each of the `n_factors` factors. γ_u lets some users rate with more noise
    than others. With features x_u of users, or of items, the means are different ones
    for each of them, as in [6]_ and [7]_::

        p_uf ~ N(m_f + g_f · x_u, 1/λ_f),   g_f ~ N(0, I/(λ_f β)),   likewise b_u
        β ~ Gamma(0.5, 0.05)

    where the mean of ‖x_u‖² is 1, so that 1/β compares what features tell of the
    factors with what they leave open. It is drawn too.

    Parameters
    ----------
    n_factors : int, default=20
        Length d of the factors. Factors that the ratings do not support shrink away, so
        that a larger number costs time rather than accuracy. 0 is the model of the
        biases alone.
    likelihood : {"gaussian", "ordinal", "bernoulli"}, default="gaussian"
        How ratings come about. "gaussian": as above. "ordinal" is for levels such as
        stars, whose distances need not be equal: a latent rating z ~ N(r̂(u,i), 1/w) is
        cut into levels by cut points, which are drawn too [3]_. "bernoulli" is the same
        for y from 0 to 1, such as right and wrong answers. A rating between two levels
        counts as a share of both, such as the mean 4.5 of a pair that has the ratings 4
        and 5. Predictions are then expected ratings, or probabilities.
    noise : {"user", "shared"}, default="user"
        Whether each user has a level of noise γ_u, or all γ_u are 1.
    user_features, item_features : DataFrame, tuple, list, "rated" or None, \
            default=None and None
        What is known of users and of items: a row of numbers for each id. A DataFrame
        of pandas with the ids as index, or of polars with the ids in its first column
        or in the one named like `user_column` or `item_column`; or a tuple (ids,
        matrix) or (ids, matrix, names), the matrix dense or of scipy.sparse. Dense
        columns are standardised. An id without features is treated like the mean of
        all, and an id that has features but no ratings is known to the model too.
        "rated": which items a user rated at all, or by which users an item was rated. A
        list ["rated", features] has both, each with a β of its own.
    fit_intercept : bool, default=True
        Whether μ is the mean of the ratings, and the means m are drawn. False: both are
        0. Not used by "ordinal" and "bernoulli", whose cut points have this part.
    n_samples : int, default=300
        Number of draws of each chain after `burn_in`.
    burn_in : int, default=200
        Number of draws that each chain begins with, which are not used.
    thin : int or "auto", default="auto"
        Every so many of the draws one is kept. "auto" keeps 100 in all, and no more
        than 512 MiB of them, but at least 10. A draw takes (n_users + n_items) ·
        (d + 1) numbers of the dtype of the factors, and (d + 1) for each feature, for
        which "rated" has as many as there are ids of the other side.
    n_chains : int, default=1
        Number of chains, from different random starts, drawn in turn in each iteration.
    precision_shape : float, default=1.0
        The shape > 0 of the Gamma distributions of the precisions λ.
    precision_rate : float, default=0.2
        Their rate > 0, where ratings are in units of their standard deviation.
    mean_weight : float, default=1.0
        How many users, or items, the prior of the means m is worth: κ > 0.
    validation_fraction : float or None, default=None
        Share of the ratings, in (0, 1), that is held out to record the error of the
        mean of all draws so far. No user or item loses its last rating. None: none.
    clip : bool, default=True
        Whether predictions and intervals are clipped to `rating_range_`. With "ordinal"
        and "bernoulli" they cannot leave it.
    warm_start : bool, default=False
        Whether chains begin at the parameters of the previous fit, for the ids that it
        knew, instead of at random.
    user_column, item_column : int or str, default=0 and 1
        Position, or name in a DataFrame, of the columns of X that hold the user and
        the item. Other columns are not read.
    n_jobs : int or None, default=None
        Number of threads. None: all cores that the process may use, or `n_jobs` of an
        enclosing `joblib.parallel_config`, but one thread in a worker of joblib or
        Dask. -1: all cores. The result is bit-identical for any number.
    random_state : int, RandomState instance or None, default=None
        Seed of all draws. An int gives the same result at each fit.
    verbose : bool or int, default=False
        Whether to print the training error after each draw. For progress bars, pass
        `sklearn.callback.ProgressBar` to `set_callbacks`.

    Attributes
    ----------
    user_factors_, item_factors_ : ndarrays of shape (n_rows, n_factors)
        Factors whose products are nearest to the mean of the products of all draws:
        float32 if y was, else float64. `predict` with "gaussian", `transform` and
        rankings go by them.
    user_biases_, item_biases_ : ndarrays of shape (n_users,) and (n_items,)
        Means of the biases.
    user_feature_names_, item_feature_names_ : ndarrays of str objects
        Names of the features, of each side that has some.
    user_feature_centers_, item_feature_centers_ : ndarrays of shape (n_features,)
        What is subtracted from the features: their means, 0 for sparse ones.
    user_feature_weights_, item_feature_weights_ : ndarrays (n_features, n_factors)
        What one unit of a feature adds to the row of an id in `user_factors_` or
        `item_factors_`, in the mean over the draws. The factors of different draws are
        rotated against one another, so each draw is first taken to the coordinates of
        the mean factors.
    user_feature_biases_, item_feature_biases_ : ndarrays of shape (n_features,)
        What one unit of a feature adds to the bias of an id, in the mean.
    user_rated_factors_, user_rated_biases_ : ndarrays (n_items, n_factors), (n_items,)
        With "rated" in `user_features`, what having rated an item adds to the factors
        and to the bias of a user, in the mean: over √n for a user with n ratings.
        `item_rated_factors_` and `item_rated_biases_` have a row for each user.
    user_feature_weights_samples_, user_feature_biases_samples_ : ndarrays
        The weights of each draw, of shape (n_kept, n_features, n_factors) and (n_kept,
        n_features), in the coordinates of this draw: x times these is what features let
        expect of a row of the samples below. `user_rated_factors_samples_` and
        `user_rated_biases_samples_`, and those of items, likewise.
    user_spreads_samples_, item_spreads_samples_ : ndarrays, (n_kept, 2, d + 1, d + 1)
        With features, the covariances of what these predict of ids with ratings: of
        "rated" alone, which is not known of an id without ratings, and of all.
    global_mean_ : float
        What is predicted for an unknown user and an unknown item.
    user_factors_samples_, item_factors_samples_ : ndarrays, (n_kept, n_rows, n_factors)
        The factors of each draw, less their means m: what is not known of an id is 0.
        The draws that were kept come one after the other, each of all chains in turn.
    user_biases_samples_, item_biases_samples_ : ndarrays of shape (n_kept, n_rows)
        The biases of each draw; they hold what m adds to each user and item.
    intercepts_samples_ : ndarray of shape (n_kept,)
        μ of each draw.
    user_priors_samples_, item_priors_samples_ : ndarrays, (n_kept, 2, n_factors + 1)
        Means m and variances 1/λ of the factors, and last of the bias.
    noise_variances_samples_ : ndarray of shape (n_kept, n_users + 1)
        The variance 1/(τ γ_u) of a rating of each user, and last of an unknown one.
    cut_points_samples_ : ndarray of shape (n_kept, n_levels - 1)
        Cut points between rating levels; none with "gaussian".
    rating_levels_ : ndarray of shape (n_levels,)
        The levels, ascending: with "ordinal" the distinct ratings, with "bernoulli" 0
        and 1, and with "gaussian" none.
    error_curve_ : ndarray of shape (n_chains, n_iter)
        After each draw its root mean squared error on the ratings learnt from, or with
        "ordinal" and "bernoulli" its mean log loss. `burn_in` draws come first.
    noise_curve_ : ndarray of shape (n_chains, n_iter)
        After each draw, the root of the mean variance of the noise, in units of y.
    precision_curve_ : ndarray of shape (n_chains, n_iter, 2, n_factors + 1)
        After each draw, the precisions λ of users and of items, for each factor and
        last the bias, for ratings in units of their standard deviation.
    validation_errors_ : list of float or None
        After each draw that follows `burn_in`, the root mean squared error of the mean
        of all draws so far on the ratings held out, or with "ordinal" and "bernoulli"
        its mean log loss. None without `validation_fraction`.
    r_hat_ : float
        Split R̂ [4]_ of the predictions of 1,000 ratings: near 1 where all halves of
        all chains agree. NaN with fewer than 20 draws of each chain.
    users_, items_ : ndarrays of shape (n_users,) and (n_items,)
        The ids seen, sorted. For a sparse matrix, all its rows and columns.
    seen_indptr_, seen_indices_ : int64 and int32 ndarrays
        Which items each user rated, as compressed sparse rows: those of ``users_[u]``
        are ``items_[seen_indices_[seen_indptr_[u]:seen_indptr_[u + 1]]]``.
    rating_range_ : (float, float)
        The smallest and the largest rating seen.
    rating_scale_ : float
        The weighted standard deviation of the ratings about μ; 1.0 where all are
        equal, and for "ordinal" and "bernoulli". The unit of the priors.
    n_iter_ : int
        Number of draws of each chain.
    loss_curve_ : list of float
        The mean of `error_curve_` over the chains.
    n_features_in_ : int
        Number of columns of X. Not set by a fit on a sparse matrix.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns of X, where X was a DataFrame with string names.

    See Also
    --------
    BiasedMF : The same model, optimised: quicker, and for other losses.

    Notes
    -----
    Each iteration draws all items and then all users given everything else (Gibbs
    sampling [1]_), a row by the normal equations of alternating least squares, one
    elimination and one triangular solve; or, if it has fewer ratings than factors, by
    as many equations as it has ratings [5]_. Precisions and means are drawn for each
    factor on its own as in [2]_: on MovieLens this predicts better than one joint
    Normal-Wishart distribution as in [1]_. Weights of up to 1,000 features are drawn in
    the eigenvectors of their products, those of more by conjugate gradient [7]_, to
    1e-4 of a standard deviation.

    Random numbers are a function of the seed, the draw, the side and the row, and so
    the bits of the result do not depend on threads. A repeated pair is one rating with
    the sum of the weights as its weight, and weights are relative: multiplied by 2, all
    of them say the same.

    References
    ----------
    .. [1] R. Salakhutdinov and A. Mnih (2008). "Bayesian Probabilistic Matrix
       Factorization using Markov Chain Monte Carlo". ICML 2008, equations 11 to 14.
    .. [2] S. Rendle (2012). "Factorization Machines with libFM". ACM TIST 3(3), section
       on Markov chain Monte Carlo.
    .. [3] J. Albert and S. Chib (2001). "Sequential Ordinal Modeling with Applications
       to Survival Data". Biometrics 57, pages 829-836.
    .. [4] A. Gelman, J. Carlin, H. Stern, D. Dunson, A. Vehtari and D. Rubin (2013).
       "Bayesian Data Analysis", third edition, section 11.4.
    .. [5] A. Bhattacharya, A. Chakraborty and B. Mallick (2016). "Fast Sampling with
       Gaussian Scale Mixture Priors in High-dimensional Regression". Biometrika 103(4),
       pages 985-991, algorithm 1.
    .. [6] D. Agarwal and B.-C. Chen (2009). "Regression-based Latent Factor Models".
       KDD 2009.
    .. [7] J. Simm, A. Arany, P. Zakeri, T. Haber, J. Wegner, V. Chupakhin, H. Ceulemans
       and Y. Moreau (2017). "Macau: Scalable Bayesian Factorization with
       High-dimensional Side Information Using MCMC". MLSP 2017.

    Examples
    --------
    >>> from sklearn.model_selection import train_test_split
    >>> from sklearn_mf import BayesianMF
    >>> from sklearn_mf.datasets import make_ratings
    >>> X, y = make_ratings(random_state=0)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    >>> model = BayesianMF(random_state=0).fit(X_train, y_train)
    >>> round(-model.score(X_test, y_test), 2)  # root mean squared error, in stars
    0.75
    >>> rating, std = model.predict([[0, 0], [0, 999]], return_std=True)
    >>> bool(std[1] > std[0])  # an unknown item is less sure
    True
    """

    error_curve_: npt.NDArray[np.floating]
    noise_curve_: npt.NDArray[np.floating]
    precision_curve_: npt.NDArray[np.floating]
    rating_levels_: npt.NDArray[np.floating]
    r_hat_: float
    validation_errors_: list[float] | None

    _fitted: dict = {
        **BaseFactorizer._fitted,
        **BaseFactorizer._fitted_biases,
        **feature_attributes(biased=True, sampled=True),
        "user_factors_samples_": ("kept", "users", "factors"),
        "item_factors_samples_": ("kept", "items", "factors"),
        "user_biases_samples_": ("kept", "users"),
        "item_biases_samples_": ("kept", "items"),
        "intercepts_samples_": ("kept",),
        "user_priors_samples_": ("kept", 2, ("factors", 1)),
        "item_priors_samples_": ("kept", 2, ("factors", 1)),
        **{
            f"{side}_spreads_samples_": checks.Optional(
                ("kept", 2, ("factors", 1), ("factors", 1))
            )
            for side in SIDES
        },
        "noise_variances_samples_": ("kept", ("users", 1)),
        "rating_levels_": ("levels",),
        "cut_points_samples_": ("kept", ("levels", -1)),
        "error_curve_": ("chains", "draws"),
        "noise_curve_": ("chains", "draws"),
        "precision_curve_": ("chains", "draws", 2, ("factors", 1)),
        "r_hat_": checks.check_number_or_nan,
        "validation_errors_": checks.check_curve_or_none,
    }

    _parameter_constraints: dict = {
        name: constraint
        for name, constraint in BaseFactorizer._parameter_constraints.items()
        if name not in ("max_iter", "tol", "init_scale")
    } | {
        "n_factors": [Interval(Integral, 0, None, closed="left")],
        "likelihood": [StrOptions({"gaussian", "ordinal", "bernoulli"})],
        "noise": [StrOptions({"user", "shared"})],
        "user_features": FEATURES,
        "item_features": FEATURES,
        "n_samples": [Interval(Integral, 1, None, closed="left")],
        "burn_in": [Interval(Integral, 0, None, closed="left")],
        "thin": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "n_chains": [Interval(Integral, 1, None, closed="left")],
        "precision_shape": [Interval(Real, 0, None, closed="neither")],
        "precision_rate": [Interval(Real, 0, None, closed="neither")],
        "mean_weight": [Interval(Real, 0, None, closed="neither")],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither"), None],
    }

    def __init__(
        self,
        n_factors: int = 20,
        *,
        likelihood: Literal["gaussian", "ordinal", "bernoulli"] = "gaussian",
        noise: Literal["user", "shared"] = "user",
        user_features: Any = None,
        item_features: Any = None,
        fit_intercept: bool = True,
        n_samples: int = 300,
        burn_in: int = 200,
        thin: int | Literal["auto"] = "auto",
        n_chains: int = 1,
        precision_shape: float = 1.0,
        precision_rate: float = 0.2,
        mean_weight: float = 1.0,
        validation_fraction: float | None = None,
        clip: bool = True,
        warm_start: bool = False,
        user_column: int | str = 0,
        item_column: int | str = 1,
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool | int = False,
    ) -> None:
        self.n_factors = n_factors
        self.likelihood = likelihood
        self.noise = noise
        self.user_features = user_features
        self.item_features = item_features
        self.fit_intercept = fit_intercept
        self.n_samples = n_samples
        self.burn_in = burn_in
        self.thin = thin
        self.n_chains = n_chains
        self.precision_shape = precision_shape
        self.precision_rate = precision_rate
        self.mean_weight = mean_weight
        self.validation_fraction = validation_fraction
        self.clip = clip
        self.warm_start = warm_start
        self.user_column = user_column
        self.item_column = item_column
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    # --------------------------------------------------------------------- learning

    tol = None  # a chain ends after its last draw

    @property
    def max_iter(self):
        """The number of draws of a chain."""
        return self.burn_in + self.n_samples

    @property
    def _is_latent(self):
        """Whether factors are of latent ratings, which cut points turn into levels."""
        return self.likelihood != "gaussian"

    def _fit(self, X, y, sample_weight):
        super()._fit(X, y, sample_weight)
        if self.r_hat_ > R_HAT:
            warnings.warn(
                f"BayesianMF did not converge: R̂ of the predictions is "
                f"{self.r_hat_:.2f}, which is more than {R_HAT}. Predictions may still "
                f"be good. Raise burn_in={self.burn_in} and n_samples="
                f"{self.n_samples}.",
                ConvergenceWarning,
                stacklevel=4,  # the line that calls fit, which is decorated
            )
        return self

    def _check_range(self, ratings):
        low, high = ratings.range()
        if self.likelihood == "bernoulli" and not 0 <= low <= high <= 1:
            raise ValueError(
                f"likelihood='bernoulli' is for y from 0 to 1, got y from {low:g} to "
                f"{high:g}: scale y, or use likelihood='ordinal' or 'gaussian'."
            )

    def _read(self, X, y, sample_weight, *, known=None, dtype=None):
        ratings = super()._read(X, y, sample_weight, known=known, dtype=dtype)
        self._check_range(ratings)
        if known is not None:  # new ids join a fitted model, which has its levels
            return ratings
        if self.likelihood == "gaussian":
            levels = []
        elif self.likelihood == "bernoulli":
            levels = [0.0, 1.0]
        else:
            levels = self._find_levels(ratings, y, sample_weight)
        self.rating_levels_ = np.array(levels, dtype=ratings.dtype)
        return ratings

    def _find_levels(self, ratings, y, sample_weight):
        """Return the distinct ratings: of y, since means of pairs lie between them."""
        levels = np.unique(ratings.by_user.ratings)
        if y is not None:
            y = read_targets(y, ratings.dtype)
            if sample_weight is not None:
                y = y[read_weights(sample_weight, y) > 0]
            levels = np.unique(y)
        if len(levels) > MAX_LEVELS:
            raise ValueError(
                f"likelihood='ordinal' has a cut point between any two ratings, and y "
                f"has {len(levels)} distinct ones, more than {MAX_LEVELS}: use "
                "likelihood='gaussian', or round y."
            )
        return levels

    def _hold_out(self, ratings, rng):
        if self.validation_fraction is None:
            return ratings, None
        n_threads = count_threads(self.n_jobs)
        return hold_out(ratings, self.validation_fraction, rng, n_threads)

    def _scale(self, ratings, mean):
        return 1.0 if self._is_latent else super()._scale(ratings, mean)

    def _mean(self, ratings):
        return 0.0 if self._is_latent else super()._mean(ratings)

    def _init_scale(self):
        return START * self.rating_scale_**0.5

    def _make_solver(self, problem, previous):
        hyperprior = Hyperprior(
            float(self.precision_shape),
            float(self.precision_rate),
            kappa=float(self.mean_weight),
            centred=not (self.fit_intercept or self._is_latent),
        )
        by_user = self.noise == "user"
        if self._is_latent:
            likelihood = partial(Probit, by_user=by_user, levels=self.rating_levels_)
        else:
            likelihood = partial(Gaussian, by_user=by_user, scale=self.rating_scale_)
        return GibbsSampler(
            problem,
            likelihood,
            hyperprior,
            burn_in=int(self.burn_in),
            n_samples=int(self.n_samples),
            thin=self._thin(problem.start),
            n_chains=int(self.n_chains),
            scale=self.rating_scale_,
        )

    def _thin(self, start):
        """Return of how many draws one is kept."""
        if self.thin != "auto":
            return int(self.thin)
        tables = start.P, start.Q, *chain(*start.feature_weights)
        size = sum(map(np.size, tables)) * start.P.dtype.itemsize
        fitting = MOST_MEMORY // size
        most = int(np.clip(fitting, FEWEST_KEPT, MOST_KEPT)) // int(self.n_chains)
        return -(-int(self.n_samples) // max(most, 1))

    def _attributes(self, problem, solver, parameters):
        n, dtype = solver.n_sweeps, problem.ratings.dtype
        attributes = {
            # The parameters, a sample, have those of the features with them.
            **super(FeaturesMixin, self)._attributes(problem, solver, parameters),
            "error_curve_": solver.errors[:, :n].astype(dtype),
            "noise_curve_": solver.noise[:, :n].astype(dtype),
            "precision_curve_": solver.precisions[:, :n].astype(dtype),
            "r_hat_": solver.r_hat(),
            "validation_errors_": list(solver.validation_errors) or None,
        }
        if self._is_latent:
            unknown = np.array([-1], np.int32)
            shares = parameters.level_shares(Pairs(unknown, unknown, 1.0), 1)
            attributes["global_mean_"] = float((shares * self.rating_levels_).sum())
        return attributes

    def _remedy(self):
        return OVERFLOW_REMEDY

    def _feature_weights(self, side):
        return FeatureWeights.of(vars(self), side, True, SAMPLES)

    def _learn_history(self, side, expected):
        posterior = Posterior.of(vars(self))
        with thread_pool(count_threads(self.n_jobs)) as run:
            factors, biases = draw_new_rows(
                posterior, "user", side, expected, self.rating_levels_, run
            )
        fixed = self.item_factors_, self.item_factors_samples_, self.seen_indices_
        matrices = self._derived(
            "projections", fixed, lambda: posterior.projections("user", fixed[0])
        )
        noise = posterior.noise_variances[:, -1:]
        return {
            "user_factors_": project(factors, matrices),
            "user_biases_": biases.mean(axis=0),
            "user_factors_samples_": factors,
            "user_biases_samples_": biases,
            "noise_variances_samples_": noise.repeat(factors.shape[1] + 1, axis=1),
            "seen_indptr_": side.indptr,  # all of them have ratings
        }

    def _learn_rows(self, side, labels, folded, pairs, expected):
        posterior = Posterior.of(vars(self))
        key = draw_key(check_random_state(self.random_state))
        with thread_pool(count_threads(self.n_jobs)) as run:
            factors, biases = draw_new_rows(
                posterior, side, pairs, expected, self.rating_levels_, run, key=key
            )
        rows = np.concatenate([factors, biases[..., np.newaxis]], axis=-1)
        learnt = self._put_rows(side, labels, folded, rows)
        message = f"fold_in_{side}s: numbers overflow. {OVERFLOW_REMEDY}"
        check_learnt(learnt, message)
        return learnt

    def _put_rows(self, side, labels, places, rows):
        """Return the fitted attributes with rows of a side replaced, or joined.

        Here the rows are draws, of shape (n_draws, n_rows, n_columns).
        """
        posterior = Posterior.of(vars(self))
        factors, biases = rows[..., :-1], rows[..., -1]
        matrices = posterior.projections(side, getattr(self, f"{OTHER[side]}_factors_"))
        mean = np.column_stack([project(factors, matrices), biases.mean(axis=0)])
        posterior = posterior.join(side, labels, places, factors, biases)
        return super()._put_rows(side, labels, places, mean) | posterior.samples()

    # -------------------------------------------------------------------- answering

    @overload
    def predict(
        self, X: TableLike, return_std: Literal[False] = ...
    ) -> npt.NDArray[np.floating]: ...

    @overload
    def predict(
        self, X: TableLike, return_std: Literal[True]
    ) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]: ...

    def predict(self, X: TableLike, return_std: bool = False) -> Any:
        """Predict the rating of each pair, and how sure it is.

        Parameters
        ----------
        X : table of shape (n_pairs, n_features)
            One pair in each row, with the columns that X had in fit; see `fit`.
        return_std : bool, default=False
            Whether to return standard deviations too.

        Returns
        -------
        ratings : ndarray of shape (n_pairs,)
            The expected ratings in units of y, of the dtype of the factors; with
            "bernoulli" the probabilities of 1. What is not known of an id without
            ratings is at its prior mean, which is what its features predict.
        std : ndarray of shape (n_pairs,)
            With `return_std`, the standard deviation of a new rating about the first:
            the draws differ, what is not known of an id without ratings varies, and
            ratings have noise.

        Raises
        ------
        ValueError
            If X is a sparse matrix, or its ids have a different type than in fit.
        """
        model = self._snapshot()
        pairs = model._read_pairs(X)
        ratings = model._predict(pairs)
        if not return_std:
            return ratings
        posterior = Posterior.of(vars(model))
        if model._is_latent:
            shares = posterior.level_shares(pairs, model.n_jobs)
            distances = model.rating_levels_ - ratings[:, np.newaxis]
            variance = (shares * distances**2).sum(axis=1)
        else:
            variance = posterior.variance(pairs, model.n_jobs)
        return ratings, np.sqrt(variance).astype(ratings.dtype)

    def recommend(
        self,
        users: Ids | None = None,
        n_items: int = 10,
        *,
        rank_by: Literal["mean", "upper"] = "mean",
        **options: Any,
    ) -> Any:
        """Find the best items for each user, or those that may be the best.

        Parameters
        ----------
        users, n_items : array-like or None, int
            As in `BiasedMF.recommend`.
        rank_by : {"mean", "upper"}, default="mean"
            "mean" ranks as `BiasedMF.recommend` does. "upper" adds to each prediction
            the standard deviation of what is not known of it, the noise of a rating
            left out: items of which little is known come earlier, so that more will be
            known of them. It looks at all items with all kept draws, which takes as
            many times as long.
        **options : dict
            The other parameters of `BiasedMF.recommend`.

        Returns
        -------
        items, scores : masked arrays of shape (n_users, n_items)
            As in `BiasedMF.recommend`; scores are what `predict` gives. With "ordinal"
            and "bernoulli" items are ranked by their latent ratings.

        Raises
        ------
        ValueError
            If `rank_by` is neither, and see `BiasedMF.recommend`.
        """
        if rank_by not in ("mean", "upper"):
            raise ValueError(
                f"rank_by must be 'mean' or 'upper', got {rank_by!r}: 'upper' to find "
                "items of which little is known."
            )
        score = self._score_upper if rank_by == "upper" else None
        return self._recommend(users, n_items, score=score, **options)

    def _score_upper(self, learnt, pairs):
        """Return latent ratings and one standard deviation of what is not known."""
        deviations = Posterior.of(learnt).variance(pairs, self.n_jobs, noisy=False)
        return super()._predict_from(learnt, pairs, self.n_jobs) + deviations**0.5

    def predict_interval(
        self, X: TableLike, coverage: float = 0.9
    ) -> npt.NDArray[np.floating]:
        """Predict an interval in which a new rating lies with a given probability.

        Parameters
        ----------
        X : table of shape (n_pairs, n_features)
            One pair in each row; see `predict`.
        coverage : float, default=0.9
            The probability, in (0, 1).

        Returns
        -------
        ndarray of shape (n_pairs, 2)
            Lower and upper ends. With "gaussian" the prediction ∓ the quantile of the
            normal distribution times the standard deviation that `predict` returns;
            else the two levels below and above which (1 − coverage)/2 of the
            probability lies at most.

        Raises
        ------
        ValueError
            If `coverage` is not in (0, 1), and see `predict`.
        """
        model = self._snapshot()
        if not (isinstance(coverage, Real) and 0 < coverage < 1):
            raise ValueError(
                f"coverage must be in the range (0, 1), got {coverage!r}: 0.9 for an "
                "interval that holds nine of ten ratings."
            )
        pairs = model._read_pairs(X)
        dtype = model.user_factors_.dtype
        ends: Any
        tail = (1 - float(coverage)) / 2
        posterior = Posterior.of(vars(model))
        if model._is_latent:
            below = posterior.level_shares(pairs, model.n_jobs).cumsum(axis=1)
            low = (below > tail).argmax(axis=1)
            high = (below >= 1 - tail - 1e-12).argmax(axis=1)  # the last is 1
            return model.rating_levels_[np.column_stack([low, high])]
        mean = model._predict_from(vars(model), pairs, model.n_jobs)
        reach = ndtri(1 - tail) * np.sqrt(posterior.variance(pairs, model.n_jobs))
        ends = np.column_stack([mean - reach, mean + reach])
        return model._clip(ends).astype(dtype)

    @available_if(_has_levels)
    def predict_level_proba(self, X: TableLike) -> npt.NDArray[np.float64]:
        """Predict the probability of each rating level.

        Only with ``likelihood="ordinal"`` and "bernoulli".

        Parameters
        ----------
        X : table of shape (n_pairs, n_features)
            One pair in each row; see `predict`.

        Returns
        -------
        ndarray of shape (n_pairs, n_levels)
            Probabilities of `rating_levels_`; the sum of each row is 1.

        Raises
        ------
        ValueError
            See `predict`.
        """
        model = self._snapshot()
        pairs = model._read_pairs(X)
        return Posterior.of(vars(model)).level_shares(pairs, model.n_jobs)

    def sample_y(
        self,
        X: TableLike,
        n_samples: int = 1,
        random_state: int | np.random.RandomState | None = 0,
    ) -> npt.NDArray[np.floating]:
        """Draw new ratings of each pair from their posterior distribution.

        Parameters
        ----------
        X : table of shape (n_pairs, n_features)
            One pair in each row; see `predict`.
        n_samples : int, default=1
            Number of ratings of each pair. Each is drawn from one of the kept draws,
            the same one for all pairs.
        random_state : int, RandomState instance or None, default=0
            Seed of the draws.

        Returns
        -------
        ndarray of shape (n_pairs, n_samples)
            Ratings with noise, in units of y, not clipped; levels with "ordinal" and
            "bernoulli". Pairs of an unseen id are drawn independently of one another.

        Raises
        ------
        ValueError
            If `n_samples` is not a number above 0, and see `predict`.
        """
        model = self._snapshot()
        pairs = model._read_pairs(X)
        if not isinstance(n_samples, Integral) or n_samples < 1:
            raise ValueError(
                f"n_samples must be an int in the range [1, inf), got {n_samples!r}."
            )
        rng, posterior = check_random_state(random_state), Posterior.of(vars(model))
        chosen = rng.randint(len(posterior), size=n_samples)
        out = np.empty((len(pairs.users), n_samples), model.user_factors_.dtype)
        for k, (scores, variances) in enumerate(posterior.scores(pairs, model.n_jobs)):
            for at in np.flatnonzero(chosen == k):
                variance = variances + posterior.noise(k, pairs.users)
                drawn = scores + np.sqrt(variance) * rng.normal(size=len(scores))
                if model._is_latent:
                    levels = np.searchsorted(posterior.cut_points[k], drawn)
                    drawn = model.rating_levels_[levels]
                out[:, at] = drawn
        return out

    def _predict_from(self, learnt, pairs, n_jobs):
        if not self._is_latent:
            return super()._predict_from(learnt, pairs, n_jobs)
        shares = Posterior.of(learnt).level_shares(pairs, n_jobs)
        ratings = (shares * self.rating_levels_).sum(axis=1)
        return ratings.astype(self.user_factors_.dtype)
