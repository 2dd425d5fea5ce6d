"""Alternating least squares: its estimator."""

from numbers import Integral, Real
from typing import Any, Literal

import numpy as np
from sklearn.utils._param_validation import StrOptions

from sklearn_mf._data.arguments import Interval
from sklearn_mf._estimators.base import BaseFactorizer, RegressionMixin
from sklearn_mf._estimators.features import FeaturesMixin, feature_attributes
from sklearn_mf._estimators.fold_in import FoldInMixin
from sklearn_mf._estimators.implicit import ImplicitMixin
from sklearn_mf._estimators.scale import ScaleMixin
from sklearn_mf._objective.penalty import Penalty
from sklearn_mf._objective.quadratic import QuadraticObjective
from sklearn_mf._solvers.als.solver import AlternatingLeastSquares

ALTERNATING_CONSTRAINTS = {
    "cg_steps": [Interval(Integral, 1, None, closed="left")],
    "unobserved_weight": [Interval(Real, 0, None, closed="left")],
    "non_negative": ["boolean"],
}


def als_start(n_factors):
    """Return the standard deviation of factors whose products have about that of r.

    Small factors are near the saddle point of the objective at zero, which alternating
    least squares leaves slowly if the penalty is large.
    """
    return n_factors**-0.25 if n_factors else 1.0


class ALSFactorizer(
    ImplicitMixin, RegressionMixin, ScaleMixin, FoldInMixin, BaseFactorizer
):
    """Matrix factorisation by alternating least squares.

    The prediction for user u and item i is::

        r̂(u,i) = μ + p_u · q_i

    with factors p_u and q_i of length `n_factors` that minimise::

        Σ_{(u,i) observed} w_ui (r_ui − r̂_ui)² + α₀ Σ_{(u,i) not observed} r̂_ui²
          + λ (Σ_u c_u ‖p_u‖² + Σ_i c_i ‖q_i‖²)

    where r are the ratings y, w the sample weights (one each by default), α₀ is
    `unobserved_weight`, μ the weighted mean of the pairs that the objective covers (0
    without `fit_intercept`), λ is `regularization`, and c_u and c_i are the sums of the
    weights of the user's and of the item's pairs, to the power of
    `weighted_regularization`.
    With either side held fixed this is a ridge regression for each row of the other,
    solved items and users in turn [1]_.

    With features x_u of the users, Σ_u c_u ‖p_u − Gᵀ x_u‖² + φ c̄ ‖G‖² takes the place
    of Σ_u c_u ‖p_u‖², likewise for items: the factors of an id are pulled towards what
    its features predict with the weights G, which are learnt too [5]_. φ is
    `feature_regularization`, c̄ is Σ_u c_u² / Σ_u c_u, and features are scaled so that
    the mean of ‖x_u‖² is 1.

    - ``unobserved_weight=0``, the default, predicts ratings: the pairs without one say
      nothing.
    - ``unobserved_weight=1`` reads them as zeros: a regularised singular value
      decomposition of the dense matrix.
    - ``feedback="implicit"`` learns from counts of what users did [2]_: the pairs
      without one count too, and a prediction is a preference, to rank items by.

    Parameters
    ----------
    n_factors : int, default=20
        Length d of the factors. More factors can express more and need more
        regularisation; 5 to 100 are usual.
    feedback : {"explicit", "implicit"}, default="explicit"
        What y holds: ratings, or counts r ≥ 0 of what each user did with each item,
        such as clicks or plays. With "implicit" a pair with a count above 0 has the
        rating 1 and the weight w_ui = 1 + α f(r), every other pair of a known user and
        a known item the rating 0 and the weight 1, and μ is 0;
        `fit_intercept` is not used. y=None counts every row of X once, and the counts
        of a pair that occurs several times are added, each multiplied by its sample
        weight. It is the same as y = 1, ``sample_weight=1 + alpha * r``
        and ``unobserved_weight=1, fit_intercept=False`` [2]_.
    alpha : float or "scale", default="scale"
        With implicit feedback, how much a count adds to the confidence in a pair: α ≥ 0
        in units of 1/f(y). "scale" makes all pairs without a count weigh six times as
        much as those with one, or where these are too many, a count 1 on average.
    confidence : {"linear", "log"}, default="linear"
        The f of implicit feedback: f(r) = r, or f(r) = log(1 + r), in which few very
        large counts matter less.
    solver : {"cholesky", "cg"}, default="cholesky"
        "cholesky" solves each row exactly, in n_ratings · d² + (n_users + n_items) · d³
        / 6 multiplications an iteration, or with ``unobserved_weight=1`` and no sample
        weights, where all rows share one matrix, in n_ratings · d + (n_users + n_items)
        · d². "cg" takes `cg_steps` steps of conjugate gradient for each row from its
        previous parameters [3]_, in n_ratings · d · (4 + 4 · `cg_steps`)
        multiplications, and solves the rows exactly where this is faster: those with at
        most 4 · (1 + `cg_steps`) ratings, and with at most 7 · (1 + `cg_steps`) factors
        those with about as many ratings or more. So an iteration takes no more time
        than one of "cholesky", and less from about 50 factors, but more iterations may
        be needed.
    cg_steps : int, default=3
        Steps of conjugate gradient for a row in an iteration of "cg".
    regularization : float or "scale", default="scale"
        The penalty λ ≥ 0, which scales with y: if you multiply all ratings by ten,
        multiply λ by ten too. "scale" is 0.12 times `rating_scale_`, or 0.03 times
        where pairs without a rating count, and with less than full
        `weighted_regularization` this times Σ n / Σ c, so that the whole penalty weighs
        as much. Typical numbers for ratings in stars are 0.02 to 0.2 with
        `weighted_regularization`, and 1 to 20 without. With 0, a row that its ratings
        do not determine gets the solution of least norm, if it is solved exactly.
    weighted_regularization : bool or float, default=True
        How the penalty of an id grows with its ratings: c is n^ν, where n is the sum of
        its weights, `unobserved_weight` for a pair without a rating, and ν is this
        number from 0 to 1. True is ν = 1, as in ALS-WR [1]_ and in stochastic
        gradient descent with a penalty per rating: the best λ then depends little on
        `n_factors` and on the size of the data. False is ν = 0: the plain penalty
        λ ‖P‖² + λ ‖Q‖². Numbers between are from [4]_.
    user_features, item_features : DataFrame, tuple, list, "rated" or None, \
            default=None and None
        What is known of users and of items: a row of numbers for each id. A DataFrame
        of pandas with the ids as index, or of polars with the ids in its first column
        or in the one named like `user_column` or `item_column`; or a tuple (ids,
        matrix) or (ids, matrix, names), the matrix dense or of scipy.sparse. Dense
        columns are standardised. An id without features is treated like the mean of
        all, and an id that has features but no ratings is known to the model too.
        "rated": which items a user rated at all, or by which users an item was rated
        [6]_. A list ["rated", features] has both.
    feature_regularization : float, default=5.0
        The penalty φ > 0 of the weights of features, which depends neither on the unit
        of y nor on those of the features. Larger numbers trust features less; 0.5 to 50
        are usual.
    unobserved_weight : float, default=0.0
        The weight α₀ ≥ 0 of every pair of a known user and a known item that has no
        rating, and counts as a rating of 0.
    non_negative : bool, default=False
        Whether no factor may be negative, which makes factors parts that add up. Each
        row is then solved by coordinate descent on its normal equations; it needs
        ``solver="cholesky"``.
    fit_intercept : bool, default=True
        Whether μ is the weighted mean of the pairs that the objective covers. False:
        μ = 0, the literal product of two matrices; ids with few ratings are then
        pulled towards zero.
    max_iter : int, default=200
        The largest number of iterations, each of which solves for all items, then for
        all users.
    tol : float or None, default=0.005
        Stop when, twice in a row, the improvement that the last iterations let one
        expect is at most this fraction of what the fit has gained so far: of the gain
        over the model that predicts the mean, of that since the first iteration, and of
        the objective, whichever is least. None or 0: always run `max_iter` iterations.
    init_scale : float or "scale", default="scale"
        Standard deviation of the entries of the random factors that the fit begins
        with; with `non_negative` of their absolute values. An exact solve forgets those
        of the items. "scale": that of factors whose products have the standard
        deviation of the ratings, the square root of `rating_scale_` over the fourth
        root of `n_factors`.
    clip : bool, default=True
        Whether predictions are clipped to `rating_range_`. With
        `unobserved_weight` they are preferences, which have no upper end.
    warm_start : bool, default=False
        Whether fit continues from the factors of the previous fit, for the ids that it
        knew, instead of starting over.
    user_column, item_column : int or str, default=0 and 1
        Position, or name in a DataFrame, of the columns of X that hold the user and
        the item. Other columns are not read.
    n_jobs : int or None, default=None
        Number of threads. None: all cores that the process may use, or `n_jobs` of an
        enclosing `joblib.parallel_config`, but one thread in a worker of joblib or
        Dask. -1: all cores. The result is bit-identical for any number.
    random_state : int, RandomState instance or None, default=None
        Seed of the initial factors. An int gives the same result at each fit.
    verbose : bool or int, default=False
        Whether to print the objective after each iteration. For progress bars, pass
        `sklearn.callback.ProgressBar` to `set_callbacks`.

    Attributes
    ----------
    user_factors_ : ndarray of shape (n_users, n_factors)
        Factors p, a row for each of `users_`: float32 if y was, else float64.
    item_factors_ : ndarray of shape (n_items, n_factors)
        Factors q, a row for each of `items_`.
    user_feature_names_, item_feature_names_ : ndarrays of str objects
        Names of the features, of each side that has some.
    user_feature_weights_, item_feature_weights_ : ndarrays (n_features, n_factors)
        What one unit of a feature adds to the factors of an id: G, less the scaling.
    user_feature_centers_, item_feature_centers_ : ndarrays of shape (n_features,)
        The means of the features, which predict the factors 0.
    user_rated_factors_ : ndarray of shape (n_items, n_factors)
        With "rated" in `user_features`, what having rated an item adds to the factors
        of a user: each row is multiplied by 1/√n for a user with n ratings.
        `user_rated_centers_` of shape (n_items,) is the mean of these numbers over the
        users, which is subtracted from them. `item_rated_factors_` and
        `item_rated_centers_` have a row for each user, likewise.
    user_cold_weights_, item_cold_weights_ : ndarrays (n_features, n_factors)
        With features and "rated", the weights of features for ids without ratings, of
        which nothing else is known.
    global_mean_ : float
        The mean μ, in units of y; 0.0 without `fit_intercept`.
    users_, items_ : ndarrays of shape (n_users,) and (n_items,)
        The ids seen in fit, sorted. For a sparse matrix, all its rows and columns.
    seen_indptr_, seen_indices_ : int64 and int32 ndarrays
        Which items each user rated, as compressed sparse rows: those of ``users_[u]``
        are ``items_[seen_indices_[seen_indptr_[u]:seen_indptr_[u + 1]]]``.
    rating_range_ : (float, float)
        The smallest and the largest rating seen in fit; with `unobserved_weight` the
        rating 0 of the other pairs is among them.
    rating_scale_ : float
        The weighted standard deviation about μ of the pairs that the objective covers;
        1.0 where all are equal. The unit of what is "scale".
    regularization_ : float
        The number used for λ.
    alpha_ : float
        The number used for α. Only with implicit feedback.
    n_iter_ : int
        Number of iterations run.
    loss_curve_ : list of float
        Value of the objective after each iteration; to rounding, it never rises.
    n_features_in_ : int
        Number of columns of X in fit. Not set by a fit on a sparse matrix.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns of X in fit, where X was a DataFrame with string names.

    See Also
    --------
    sklearn.decomposition.NMF : Reads a missing rating as zero.
    as_pairs : From a sparse matrix to X and y.

    Notes
    -----
    The normal equations of a row are built and eliminated (LDLᵀ) tile by tile in vector
    registers, in threads that release the interpreter's lock. A row with fewer ratings
    than factors is solved by as many equations as it has ratings (Woodbury's identity),
    to the same minimum; with `unobserved_weight` the factors of both sides are rotated
    for this, which leaves all predictions as they are. Conjugate gradient profits from
    the rotation as well: the pairs without a rating cost it nothing, and its steps are
    preconditioned by their eigenvalues. It is not used where that is impossible
    (`regularization` 0), or not worth it. The first fit of a machine
    compiles this (some seconds), later processes load it from numba's cache. The same
    `random_state` gives the same bits, whatever `n_jobs` is and however the rows of X
    are ordered.

    References
    ----------
    .. [1] Y. Zhou, D. Wilkinson, R. Schreiber and R. Pan (2008). "Large-scale Parallel
       Collaborative Filtering for the Netflix Prize". AAIM 2008, sections 3.1 and 3.2.
    .. [2] Y. Hu, Y. Koren and C. Volinsky (2008). "Collaborative Filtering for Implicit
       Feedback Datasets". ICDM 2008, equations 3 to 6.
    .. [3] G. Takács, I. Pilászy and D. Tikk (2011). "Applications of the Conjugate
       Gradient Method for Implicit Feedback Collaborative Filtering". RecSys 2011.
    .. [4] S. Rendle, W. Krichene, L. Zhang and Y. Koren (2022). "Revisiting the
       Performance of iALS on Item Recommendation Benchmarks". RecSys 2022.
    .. [5] D. Agarwal and B.-C. Chen (2009). "Regression-based Latent Factor Models".
       KDD 2009, equation 2.
    .. [6] Y. Koren (2008). "Factorization Meets the Neighborhood: a Multifaceted
       Collaborative Filtering Model". KDD 2008, equation 15.

    Examples
    --------
    >>> from sklearn.model_selection import train_test_split
    >>> from sklearn_mf import ALSFactorizer
    >>> from sklearn_mf.datasets import make_ratings
    >>> X, y = make_ratings(random_state=0)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    >>> als = ALSFactorizer(n_factors=5, random_state=0).fit(X_train, y_train)
    >>> als.predict(X_test[:3]).round(1)
    array([2.7, 3.8, 3.3])
    >>> round(-als.score(X_test, y_test), 2)  # root mean squared error, in stars
    0.8
    """

    loss_curve_: list[float]

    _fitted: dict = {
        **BaseFactorizer._fitted,
        **ScaleMixin._fitted,
        **ImplicitMixin._fitted,
        **feature_attributes(biased=False),
    }

    _parameter_constraints: dict = {
        **BaseFactorizer._parameter_constraints,
        **ScaleMixin._parameter_constraints,
        **ImplicitMixin._parameter_constraints,
        **FeaturesMixin._parameter_constraints,
        "solver": [StrOptions({"cholesky", "cg"})],
        **ALTERNATING_CONSTRAINTS,
    }

    def __init__(
        self,
        n_factors: int = 20,
        *,
        feedback: Literal["explicit", "implicit"] = "explicit",
        alpha: float | Literal["scale"] = "scale",
        confidence: Literal["linear", "log"] = "linear",
        solver: Literal["cholesky", "cg"] = "cholesky",
        cg_steps: int = 3,
        regularization: float | Literal["scale"] = "scale",
        weighted_regularization: float = True,
        user_features: Any = None,
        item_features: Any = None,
        feature_regularization: float = 5.0,
        unobserved_weight: float = 0.0,
        non_negative: bool = False,
        fit_intercept: bool = True,
        max_iter: int = 200,
        tol: float | None = 0.005,
        init_scale: float | Literal["scale"] = "scale",
        clip: bool = True,
        warm_start: bool = False,
        user_column: int | str = 0,
        item_column: int | str = 1,
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool | int = False,
    ) -> None:
        self.n_factors = n_factors
        self.feedback = feedback
        self.alpha = alpha
        self.confidence = confidence
        self.solver = solver
        self.cg_steps = cg_steps
        self.regularization = regularization
        self.weighted_regularization = weighted_regularization
        self.user_features = user_features
        self.item_features = item_features
        self.feature_regularization = feature_regularization
        self.unobserved_weight = unobserved_weight
        self.non_negative = non_negative
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.tol = tol
        self.init_scale = init_scale
        self.clip = clip
        self.warm_start = warm_start
        self.user_column = user_column
        self.item_column = item_column
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def _check_options(self):
        super()._check_options()
        if self.non_negative and self.solver == "cg":
            raise ValueError(
                "non_negative=True needs solver='cholesky', got solver='cg'."
            )

    def _make_solver(self, problem, previous):
        cg_steps = int(self.cg_steps) if self.solver == "cg" else None
        return AlternatingLeastSquares(problem, self._objective(), cg_steps)

    def _start(self):
        return als_start(self.n_factors)

    def _objective(self):
        return QuadraticObjective(
            Penalty(
                self.regularization_,
                exponent=float(self.weighted_regularization),
                features=float(self.feature_regularization),
            ),
            self._unobserved_weight,
            self.non_negative,
        )
