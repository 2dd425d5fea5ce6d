"""Alternating least squares: the solver loop and its estimator."""

from numbers import Real

import numpy as np
from sklearn.utils._param_validation import Interval

from sklearn_mf._als_kernels import solve_rows
from sklearn_mf._base import BaseFactorizer
from sklearn_mf._objective import penalise, penalty_counts
from sklearn_mf._threads import cut_rows

BLOCK_WORK = 1e7  # multiplications that are worth a task of their own: some ms


def fit_als(
    ratings,
    users,
    items,
    *,
    biased,
    mean,
    penalties,
    weighted_regularization,
    run,
    iterations,
):
    """Minimise the objective over users and items in turn.

    Parameters
    ----------
    ratings : Ratings
        The ratings.
    users : ndarray of shape (n_users, n_columns)
        Factors, and with `biased` the bias as the last column. Overwritten by the
        solution; what it holds at the start does not matter.
    items : ndarray of shape (n_items, n_columns)
        The start, overwritten by the solution.
    biased : bool
        Whether the last column holds biases.
    mean : float
        The global mean μ.
    penalties : (float, float)
        λ and λ_b.
    weighted_regularization : bool
        Whether penalties count once for each unit of weight of an id, or once for it.
    run : callable
        From `thread_pool`.
    iterations : Iterations
        Ends the loop; takes the value of the objective after each sweep.
    """
    user_side = _HalfSweep(ratings.by_user, biased, penalties, weighted_regularization)
    item_side = _HalfSweep(ratings.by_item, biased, penalties, weighted_regularization)
    for _ in iterations:
        user_side.solve(items, users, mean, run)
        loss = item_side.solve(users, items, mean, run)
        iterations.record(loss + user_side.penalise(users))


class _HalfSweep:
    """Exact solves of all rows of one side."""

    def __init__(self, side, biased, penalties, weighted_regularization):
        self.side = side
        self.biased = biased
        self.penalties = penalties
        self.counts = penalty_counts(side, weighted_regularization)
        self.penalty, self.bias_penalty = (
            (penalty * self.counts).astype(side.ratings.dtype) for penalty in penalties
        )
        self.loss = np.empty(len(self.counts))
        self.singular = np.empty(len(self.counts), dtype=bool)

    def solve(self, fixed, solved, mean, run):
        """Solve every row of `solved`; give the objective less the other's penalty."""
        side, n_columns = self.side, fixed.shape[1]
        blocks = cut_rows((side.counts() + n_columns) * (n_columns**2 + 16), BLOCK_WORK)
        run(
            solve_rows,
            blocks,
            side.indptr,
            side.indices,
            side.ratings,
            side.weights,
            fixed.dtype.type(mean),
            self.biased,
            self.penalty,
            self.bias_penalty,
            fixed,
            solved,
            self.loss,
            self.singular,
        )
        for row in np.flatnonzero(self.singular):
            solved[row], self.loss[row] = self._solve_least_norm(row, fixed, mean)
        return self.loss.sum()

    def penalise(self, rows):
        """Give the penalty of the rows of this side."""
        return penalise(rows, self.counts, self.penalties, self.biased)

    def _solve_least_norm(self, row, fixed, mean):
        """Solve a row whose normal equations are singular: of all minima the shortest.

        The square roots of the normal equations are solved instead, in float64, where
        a penalty that drowned in the rounding of the squares still counts.
        """
        side = self.side
        at = slice(side.indptr[row], side.indptr[row + 1])
        q = fixed[side.indices[at]].astype(np.float64)
        r = side.ratings[at].astype(np.float64) - mean
        penalty = np.full(q.shape[1], self.penalty[row], dtype=np.float64)
        if self.biased:
            r -= q[:, -1]
            q[:, -1] = 1
            penalty[-1] = self.bias_penalty[row]
        if side.weights is not None:
            root = np.sqrt(side.weights[at], dtype=np.float64)
            q, r = root[:, np.newaxis] * q, root * r
        q = np.vstack([q, np.diag(np.sqrt(penalty))[penalty > 0]])
        r = np.concatenate([r, np.zeros(len(q) - len(r))])
        if not (np.isfinite(q).all() and np.isfinite(r).all()):
            return np.nan, np.nan
        x = np.linalg.lstsq(q, r)[0]
        residuals = q @ x - r
        return x, residuals @ residuals


class ALSFactorizer(BaseFactorizer):
    """Matrix factorisation by alternating least squares.

    The prediction for user u and item i is

        r̂(u,i) = μ + p_u · q_i

    with factors p_u and q_i of length `n_factors` that minimise

        Σ_{(u,i) observed} w_ui (r_ui − r̂_ui)² + λ (Σ_u c_u ‖p_u‖² + Σ_i c_i ‖q_i‖²)

    where r are the ratings y, w the sample weights (one each by default), μ the
    weighted mean of the ratings (0 without `fit_intercept`), λ is `regularization`,
    and c_u and c_i are the sums of the weights of the user's and of the item's ratings
    (1 without `weighted_regularization`). With either side held fixed this is a
    ridge regression for each row of the other, solved exactly, users and items in
    turn [1]_.

    Parameters
    ----------
    n_factors : int, default=20
        Length d of the factors. More factors can express more and need more
        regularisation; 5 to 100 are usual. One iteration costs about
        n_ratings · d² + (n_users + n_items) · d³ / 3 multiplications.
    regularization : float, default=0.12
        The penalty λ ≥ 0. Typical values for ratings in stars are 0.02 to 0.2 with
        `weighted_regularization`, and 1 to 20 without. It is in units of y: ratings
        ten times as large want ten times the λ. With 0, a row that its ratings do not
        determine gets the solution of least norm.
    weighted_regularization : bool, default=True
        Whether the penalty of an id grows with its ratings: c is the sum of its
        weights, as in ALS-WR [1]_ and as in stochastic gradient descent with a penalty
        per rating. The best λ then depends little on `n_factors` and on the size of
        the data. False: c = 1, the plain penalty λ ‖P‖² + λ ‖Q‖².
    fit_intercept : bool, default=True
        Whether μ is the weighted mean of the ratings. False: μ = 0, the literal
        product of two matrices; ids with few ratings are then pulled towards zero.
    max_iter : int, default=200
        The most iterations, each of which solves for all users, then for all items.
    tol : float or None, default=1e-3
        The fit ends when an iteration lowers the objective by no more than this share
        of its value. None or 0: always `max_iter` iterations.
    init_scale : float, default=0.05
        Standard deviation of the entries of the random item factors that the fit
        begins with.
    clip : bool, default=True
        Whether predictions are clipped to the range of the ratings seen in fit.
    warm_start : bool, default=False
        Whether fit goes on from the item factors of the previous fit, for the items
        that it knew, instead of beginning anew.
    user_column, item_column : int or str, default=0 and 1
        Position, or name in a DataFrame, of the columns of X that hold the user and
        the item. Other columns are not read.
    n_jobs : int or None, default=None
        Number of threads. None: all cores that the process may use, or `n_jobs` of an
        enclosing `joblib.parallel_config`, but one thread in a worker of joblib or
        Dask. -1: all cores. The result does not depend on it, to the bit.
    random_state : int, RandomState instance or None, default=None
        Seed of the initial item factors. An int gives the same result at each fit.
    verbose : bool or int, default=False
        Whether to print the objective after each iteration. For progress bars, pass
        `sklearn.callback.ProgressBar` to `set_callbacks`.

    Attributes
    ----------
    user_factors_ : ndarray of shape (n_users, n_factors)
        Factors p, a row for each of `users_`: float32 if y was, else float64.
    item_factors_ : ndarray of shape (n_items, n_factors)
        Factors q, a row for each of `items_`.
    global_mean_ : float
        The mean μ, in units of y; 0.0 without `fit_intercept`.
    users_, items_ : ndarrays of shape (n_users,) and (n_items,)
        The ids seen in fit, sorted. For a sparse matrix, all its rows and columns.
    rating_range_ : (float, float)
        The smallest and the largest rating seen in fit.
    n_iter_ : int
        Number of iterations run.
    loss_curve_ : list of float
        Value of the objective after each iteration; to rounding, it never rises.
    n_features_in_ : int
        Number of columns of X in fit. Not set by a fit on a sparse matrix.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns of X in fit, where X was a DataFrame with string names.

    See Also
    --------
    sklearn.decomposition.NMF : Reads a missing rating as zero.
    as_pairs : From a sparse matrix to X and y.

    Notes
    -----
    Rows are solved by an LDLᵀ elimination in compiled code, in threads that release
    the interpreter's lock. The first fit of a machine compiles it (some seconds), later
    processes load it from numba's cache. The same `random_state` gives the same bits,
    whatever `n_jobs` and the order of the rows of X.

    References
    ----------
    .. [1] Y. Zhou, D. Wilkinson, R. Schreiber and R. Pan (2008). "Large-scale Parallel
       Collaborative Filtering for the Netflix Prize". AAIM 2008, sections 3.1 and 3.2.

    Examples
    --------
    >>> from sklearn.model_selection import train_test_split
    >>> from sklearn_mf import ALSFactorizer
    >>> from sklearn_mf.datasets import make_ratings
    >>> X, y = make_ratings(random_state=0)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    >>> als = ALSFactorizer(n_factors=5, random_state=0).fit(X_train, y_train)
    >>> als.predict(X_test[:3]).round(1)
    array([2.8, 3.6, 3.2])
    >>> round(-als.score(X_test, y_test), 2)  # root mean squared error, in stars
    0.81
    """

    _parameter_constraints: dict = {
        **BaseFactorizer._parameter_constraints,
        "regularization": [Interval(Real, 0, None, closed="left")],
        "weighted_regularization": ["boolean"],
    }

    def __init__(
        self,
        n_factors=20,
        *,
        regularization=0.12,
        weighted_regularization=True,
        fit_intercept=True,
        max_iter=200,
        tol=1e-3,
        init_scale=0.05,
        clip=True,
        warm_start=False,
        user_column=0,
        item_column=1,
        n_jobs=None,
        random_state=None,
        verbose=False,
    ):
        self.n_factors = n_factors
        self.regularization = regularization
        self.weighted_regularization = weighted_regularization
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

    def _solve(self, problem, run, iterations):
        fit_als(
            problem.ratings,
            problem.users,
            problem.items,
            biased=False,
            mean=problem.mean,
            penalties=(self.regularization, 0.0),
            weighted_regularization=self.weighted_regularization,
            run=run,
            iterations=iterations,
        )
