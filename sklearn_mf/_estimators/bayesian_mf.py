"""Bayesian matrix factorisation: factors that are sampled instead of optimised."""

from numbers import Real
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if

from sklearn_mf._data.tables import read_targets, read_weights
from sklearn_mf._estimators.base import RegressionMixin
from sklearn_mf._estimators.sampled import SampledFactorizer
from sklearn_mf._model.posterior import Posterior
from sklearn_mf._typing import TableLike

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


class BayesianMF(RegressionMixin, SampledFactorizer):
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

    _parameter_constraints: dict = {
        "likelihood": [StrOptions({"gaussian", "ordinal", "bernoulli"})],
        **SampledFactorizer._parameter_constraints,
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
        drawn = model._draw_new(model._read_pairs(X), n_samples, random_state)
        return model.rating_levels_[drawn] if model._is_latent else drawn
