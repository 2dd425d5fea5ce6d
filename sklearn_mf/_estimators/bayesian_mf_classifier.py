"""The sampled model as a classifier: how probable each of two classes is."""

from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from scipy.special import logit

from sklearn_mf._estimators.sampled import SampledFactorizer
from sklearn_mf._estimators.two_classes import TwoClassMixin
from sklearn_mf._model.posterior import Posterior
from sklearn_mf._typing import SparseMatrix, TableLike, fit_context


class BayesianMFClassifier(TwoClassMixin, SampledFactorizer):
    """Matrix factorisation for two classes, sampled from its posterior distribution.

    The probability that user u answers item i with the second class, such as right
    rather than wrong, is in each draw::

        P(u,i) = Φ(z(u,i) √(τ γ_u)),   z(u,i) = μ + b_u + b_i + p_u · q_i

    with the distribution function Φ of the normal distribution: a latent rating of mean
    z and variance 1/(τ γ_u) is above 0 [1]_. This is `BayesianMF` with
    ``likelihood="bernoulli"``, whose priors are described there, for labels instead of
    the numbers 0 and 1. What `predict_proba` gives is the mean over the draws, and
    `sample_proba` tells how far they differ: how sure a probability is. Nothing needs
    tuning.

    Parameters
    ----------
    n_factors : int, default=20
        Length d of the factors. Factors that the answers do not support shrink away. 0
        leaves the biases alone: item response theory.
    noise : {"user", "shared"}, default="user"
        Whether each user has a level of noise γ_u, or all γ_u are 1.
    user_features, item_features : DataFrame, tuple, list, "rated" or None, \
            default=None and None
        What is known of users and of items: a row of numbers for each id. A DataFrame
        of pandas with the ids as index, or of polars with the ids in its first column
        or in the one named like `user_column` or `item_column`; or a tuple (ids,
        matrix) or (ids, matrix, names), the matrix dense or of scipy.sparse. Dense
        columns are standardised. An id without features is treated like the mean of
        all, and an id that has features but no answers is known to the model too.
        "rated": which items a user rated at all, or by which users an item was rated. A
        list ["rated", features] has both, each with a β of its own.
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
        Their rate > 0.
    mean_weight : float, default=1.0
        How many users, or items, the prior of the means m is worth: κ > 0.
    validation_fraction : float or None, default=None
        Share of the answers, in (0, 1), that is held out to record the log loss of the
        mean of all draws so far. No user or item loses its last one. None: none.
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
    classes_ : ndarray of shape (2,)
        The labels of the two classes, sorted. `decision_function`, `sample_proba` and
        `recommend` speak of the second.
    user_factors_, item_factors_ : ndarrays of shape (n_rows, n_factors)
        Factors whose products are nearest to the mean of the products of all draws:
        float32 if y was, else float64. `transform` and rankings go by them.
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
        and to the bias of a user, in the mean: over √n for a user with n answers.
        `item_rated_factors_` and `item_rated_biases_` have a row for each user.
    user_feature_weights_samples_, user_feature_biases_samples_ : ndarrays
        The weights of each draw, of shape (n_kept, n_features, n_factors) and (n_kept,
        n_features), in the coordinates of this draw: x times these is what features let
        expect of a row of the samples below. `user_rated_factors_samples_` and
        `user_rated_biases_samples_`, and those of items, likewise.
    user_spreads_samples_, item_spreads_samples_ : ndarrays, (n_kept, 2, d + 1, d + 1)
        With features, the covariances of what these predict of ids with answers: of
        "rated" alone, which is not known of an id without answers, and of all.
    global_mean_ : float
        The probability of the second class for an unknown user and an unknown item.
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
        The variance 1/(τ γ_u) of a latent rating of each user, and last of an unknown
        one.
    cut_points_samples_ : ndarray of shape (n_kept, 1)
        Of each draw the latent rating above which an answer is of the second class.
    rating_levels_ : ndarray of shape (2,)
        0 and 1, which stand for the classes.
    error_curve_ : ndarray of shape (n_chains, n_iter)
        After each draw its mean log loss on the answers learnt from. `burn_in` draws
        come first.
    noise_curve_ : ndarray of shape (n_chains, n_iter)
        After each draw, the root of the mean variance of the noise.
    precision_curve_ : ndarray of shape (n_chains, n_iter, 2, n_factors + 1)
        After each draw, the precisions λ of users and of items, for each factor and
        last the bias.
    validation_errors_ : list of float or None
        After each draw that follows `burn_in`, the mean log loss of the mean of all
        draws so far on the answers held out. None without `validation_fraction`.
    r_hat_ : float
        Split R̂ [2]_ of the predictions of 1,000 answers: near 1 where all halves of
        all chains agree. NaN with fewer than 20 draws of each chain.
    users_, items_ : ndarrays of shape (n_users,) and (n_items,)
        The ids seen, sorted. For a sparse matrix, all its rows and columns.
    seen_indptr_, seen_indices_ : int64 and int32 ndarrays
        Which items each user rated, as compressed sparse rows: those of ``users_[u]``
        are ``items_[seen_indices_[seen_indptr_[u]:seen_indptr_[u + 1]]]``.
    rating_range_ : (float, float)
        The smallest and the largest mean of a pair: 0 and 1, unless all pairs of a
        class also have answers of the other.
    rating_scale_ : float
        1.0, the unit of the priors.
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
    MFClassifier : The best model instead of a sample: quicker, with weights of classes
        and `partial_fit`.
    BayesianMF : The same for ratings. With ``likelihood="ordinal"`` it takes more than
        two levels.

    Notes
    -----
    The label of a row is one of two. More classes are for
    ``OneVsRestClassifier(BayesianMFClassifier())`` of `sklearn.multiclass`. If a pair
    occurs more than once, it is one answer with the weighted mean of them, between 0
    and 1, and the sum of the weights. Weights are relative: multiplied by 2, all of
    them say the same.

    References
    ----------
    .. [1] J. Albert and S. Chib (1993). "Bayesian Analysis of Binary and Polychotomous
       Response Data". Journal of the American Statistical Association 88(422), pages
       669-679.
    .. [2] A. Gelman, J. Carlin, H. Stern, D. Dunson, A. Vehtari and D. Rubin (2013).
       "Bayesian Data Analysis", third edition, section 11.4.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mf import BayesianMFClassifier
    >>> from sklearn_mf.datasets import make_answers
    >>> X, y = make_answers(random_state=0)
    >>> labels = np.where(y == 1, "right", "wrong")
    >>> model = BayesianMFClassifier(0, random_state=0).fit(X, labels)
    >>> model.classes_
    array(['right', 'wrong'], dtype='<U5')
    >>> probabilities = model.sample_proba(X[:1])  # of "wrong", by each draw
    >>> low, high = np.quantile(probabilities, [0.05, 0.95])
    >>> bool(low < model.predict_proba(X[:1])[0, 1] < high)
    True
    """

    _fitted: dict = {**TwoClassMixin._fitted_classes, **SampledFactorizer._fitted}

    # No parameters: what they say elsewhere has no meaning for classes.
    likelihood, class_weight, fit_intercept, clip = "bernoulli", None, True, False

    _parameter_constraints: dict = {**SampledFactorizer._parameter_constraints}
    del _parameter_constraints["fit_intercept"], _parameter_constraints["clip"]

    def __init__(
        self,
        n_factors: int = 20,
        *,
        noise: Literal["user", "shared"] = "user",
        user_features: Any = None,
        item_features: Any = None,
        n_samples: int = 300,
        burn_in: int = 200,
        thin: int | Literal["auto"] = "auto",
        n_chains: int = 1,
        precision_shape: float = 1.0,
        precision_rate: float = 0.2,
        mean_weight: float = 1.0,
        validation_fraction: float | None = None,
        warm_start: bool = False,
        user_column: int | str = 0,
        item_column: int | str = 1,
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool | int = False,
    ) -> None:
        self.n_factors = n_factors
        self.noise = noise
        self.user_features = user_features
        self.item_features = item_features
        self.n_samples = n_samples
        self.burn_in = burn_in
        self.thin = thin
        self.n_chains = n_chains
        self.precision_shape = precision_shape
        self.precision_rate = precision_rate
        self.mean_weight = mean_weight
        self.validation_fraction = validation_fraction
        self.warm_start = warm_start
        self.user_column = user_column
        self.item_column = item_column
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: TableLike | SparseMatrix,
        y: npt.ArrayLike | None = None,
        sample_weight: npt.ArrayLike | None = None,
    ) -> Self:
        """Learn the factors from answers.

        Parameters
        ----------
        X : table of shape (n_answers, n_features), or sparse matrix
            One answer a row: `user_column` and `item_column` hold its user and its
            item, ids of any sortable kind. An array, a list of lists, or a DataFrame.
            Or a scipy.sparse matrix of shape (n_users, n_items) alone, with y=None:
            every stored entry is the label of an answer, explicit zeros too.
        y : array-like of shape (n_answers,)
            The label of each answer: text, numbers or bools, of two different values.
            float32 is fitted in float32, everything else in float64.
        sample_weight : array-like of shape (n_answers,) or None, default=None
            Weight w ≥ 0 of each answer, relative to the others; 0 is the same as no
            such row.

        Returns
        -------
        self : object
            The fitted estimator. If fit fails or is interrupted, the estimator keeps
            its previous state.

        Raises
        ------
        ValueError
            If the input is invalid, or y has one class only, or more than two; the
            message names the parameter and how to fix it.
        TypeError
            If the ids of a column are not all of one sortable kind.
        FloatingPointError
            If the fit overflows.
        """
        return self._fit(X, y, sample_weight)

    def _read(self, X, y, sample_weight, *, known=None, dtype=None):
        ratings = super()._read(X, y, sample_weight, known=known, dtype=dtype)
        self.rating_levels_ = np.array([0.0, 1.0], dtype=ratings.dtype)
        return ratings

    def decision_function(self, X: TableLike) -> npt.NDArray[np.floating]:
        """Return the logit of the probability of the second class for each pair.

        Parameters
        ----------
        X : table of shape (n_pairs, n_features)
            One pair in each row; see `predict`.

        Returns
        -------
        ndarray of shape (n_pairs,)
            The logit of what `predict_proba` gives, of the dtype of the factors.
            `predict` chooses the second of `classes_` where it is above 0.

        Raises
        ------
        ValueError
            See `predict`.
        """
        model = self._snapshot()
        second = model._predict(model._read_pairs(X))
        limits = np.finfo(second.dtype)
        return logit(second.clip(limits.tiny, 1 - limits.epsneg))

    def sample_proba(self, X: TableLike) -> npt.NDArray[np.floating]:
        """Return the probability of the second class by each draw, for each pair.

        Their mean is what `predict_proba` gives. How far they differ tells how sure
        that is: few answers leave more open than many do.

        Parameters
        ----------
        X : table of shape (n_pairs, n_features)
            One pair in each row; see `predict`.

        Returns
        -------
        ndarray of shape (n_pairs, n_kept)
            Probabilities, of the dtype of the factors. What a draw does not know of an
            id without answers is averaged over.

        Raises
        ------
        ValueError
            See `predict`.
        """
        model = self._snapshot()
        pairs, posterior = model._read_pairs(X), Posterior.of(vars(model))
        out = np.empty((len(pairs.users), len(posterior)), model.user_factors_.dtype)
        for k, below in enumerate(posterior.shares_below(pairs, model.n_jobs)):
            out[:, k] = 1 - below[:, 0]
        return out

    def sample_y(
        self,
        X: TableLike,
        n_samples: int = 1,
        random_state: int | np.random.RandomState | None = 0,
    ) -> npt.NDArray[Any]:
        """Draw the class of each pair from its posterior distribution.

        Parameters
        ----------
        X : table of shape (n_pairs, n_features)
            One pair in each row; see `predict`.
        n_samples : int, default=1
            Number of labels of each pair. Each is drawn from one of the kept draws,
            the same one for all pairs.
        random_state : int, RandomState instance or None, default=0
            Seed of the draws.

        Returns
        -------
        ndarray of shape (n_pairs, n_samples)
            Labels of `classes_`.

        Raises
        ------
        ValueError
            If `n_samples` is not a number above 0, and see `predict`.
        """
        model = self._snapshot()
        return model.classes_[
            model._draw_new(model._read_pairs(X), n_samples, random_state)
        ]
