"""Missing entries of tables, completed by a factorisation of the observed ones."""

import warnings
from numbers import Integral, Real
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.callback import CallbackSupportMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import MissingIndicator
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import MissingValues, StrOptions
from sklearn.utils.validation import (
    _check_feature_names_in,
    check_is_fitted,
    validate_data,
)

from sklearn_mf._data.arguments import Interval
from sklearn_mf._data.ratings import Pairs, Ratings, Side, hold_out
from sklearn_mf._estimators.als_factorizer import als_start
from sklearn_mf._estimators.base import BaseFactorizer
from sklearn_mf._estimators.bayesian_mf import BayesianMF
from sklearn_mf._estimators.state import StateMixin
from sklearn_mf._model.features import NO_FEATURES
from sklearn_mf._model.parameters import Parameters
from sklearn_mf._model.posterior import Posterior
from sklearn_mf._model.scoring import predict_codes
from sklearn_mf._objective.penalty import Penalty
from sklearn_mf._objective.quadratic import QuadraticObjective
from sklearn_mf._runtime.threads import count_threads, thread_pool
from sklearn_mf._solvers.als.solver import AlternatingLeastSquares, solve_side
from sklearn_mf._solvers.gibbs.new_rows import draw_new_rows
from sklearn_mf._solvers.gibbs.solver import draw_key
from sklearn_mf._solvers.iterations import Iterations, check_finite, minimise
from sklearn_mf._solvers.problem import Problem
from sklearn_mf._typing import TableLike, available_if, fit_context

# "auto" tries these standard deviations of noise, in units of that of a column,
NOISE_LEVELS = [0.025 * 2**k for k in range(10)]
FRACTION = 0.1  # on this share of the observed entries, which it hides,
TRIED_ENTRIES, TRIED_ROWS = 2**18, 1000  # of about so many, and so many rows at least,
TRIED_SWEEPS = 8  # after so many sweeps each,
TOLERANCE = 0.01  # and takes the largest whose error is so near to the least.
CG_STEPS = 3  # of conjugate gradient, in an iteration of "als-cg"
REMEDY = "Standardise the columns with scale=True, or pass float64 if X is float32."
# What is kept of draws whose users are the columns and whose items are the rows.
SAMPLES = {
    "intercepts": "intercepts_samples_",
    "user_factors": "column_factors_samples_",
    "user_biases": "column_biases_samples_",
    "user_priors": "column_priors_samples_",
    "item_priors": "row_priors_samples_",
    "noise_variances": "noise_variances_samples_",
}


def _draws_posterior(imputer):
    if not (imputer.sample_posterior or imputer.solver == "gibbs"):
        raise AttributeError(
            "transform_std needs draws of the model: set solver='gibbs', or "
            "sample_posterior=True."
        )
    return True


class Holes(NamedTuple):
    """The entries of a table that the model is to fill.

    Attributes
    ----------
    rows, columns : int ndarrays of shape (n_missing,)
        Where they stand in the table.
    side : Side
        The observed entries of the rows with such entries, in units of `scale_`.
    pairs : Pairs
        The entries to fill; users count the rows of `side`, items the columns that the
        model knows.
    """

    rows: np.ndarray
    columns: np.ndarray
    side: Side
    pairs: Pairs


class MFImputer(StateMixin, CallbackSupportMixin, TransformerMixin, BaseEstimator):
    """Imputation of missing values by matrix factorisation.

    With columns in units of their standard deviation and less their mean, both of the
    observed entries, the entry of row u and column i is taken to be::

        x̂(u,i) = b_u + b_i + p_u · q_i

    where the level b_u of the row, the correction b_i of the mean of the column, and
    factors p_u and q_i of length `n_factors` minimise the objective of `BiasedMF`::

        Σ_{(u,i) observed} (x_ui − x̂_ui)²
          + λ (Σ_u ‖p_u‖² + Σ_i ‖q_i‖² + Σ_u b_u² + Σ_i b_i²)

    It is minimised by alternating least squares, so the time of a fit grows with the
    number of observed entries only. The parameters of a row follow from its own
    observed entries and the columns in closed form. This is how `transform` completes
    new rows, and rows of the fit, in the same way. Observed entries are returned
    unchanged.

    With ``solver="gibbs"`` the model is that of `BayesianMF`, with a level of noise for
    each column, and x̂ is the mean of draws from its posterior distribution. This is
    mostly more accurate, above all for tables with few columns, and takes several times
    as long.

    Parameters
    ----------
    n_factors : int, default=40
        Length d of the factors, and at most one less than the table has rows or
        columns. The penalty does without factors that it does not need, so that a
        larger number costs time rather than accuracy. 0 is the model of means and
        levels alone.
    missing_values : int, float, np.nan or pandas.NA, default=np.nan
        What stands for a missing value. np.nan and pandas.NA both stand for NaN and for
        NA in columns of pandas with a nullable dtype.
    regularization : float or "auto", default="auto"
        The penalty λ ≥ 0. "auto" is κ (√r + √c), where r and c are the mean numbers of
        observed entries of a row and of a column: about the largest singular value of
        noise whose standard deviation is κ, and singular values below λ are shrunk to
        0. For κ it tries 0.025, 0.05, 0.1, …, 12.8 on a tenth of the observed entries,
        which it hides from these short fits, and takes the largest one whose error is
        within 1 % of the least. The tries have about 260,000 entries at most, of
        rows drawn at random, but of at least 1,000 rows.
    scale : bool, default=True
        Whether each column is divided by the standard deviation of its observed
        entries, so that units do not matter. False: all are divided by the same number,
        the root mean square of these, and columns that vary more weigh more.
    solver : {"als", "als-cg", "gibbs"}, default="als"
        "als" solves for each row and each column exactly; "als-cg" approaches these
        solutions by conjugate gradient where that takes less time, which is with many
        factors. `transform` solves exactly. "gibbs" draws models by Gibbs sampling and
        imputes the mean of what they expect; `regularization`, `max_iter` and `tol` are
        then not used.
    max_iter : int, default=200
        The most iterations, each over all columns and all rows.
    tol : float or None, default=0.005
        The fit ends when what is still to be gained, as the last gains let one expect,
        is no more than this share of what has been gained; see `BiasedMF`. None: it
        runs all of `max_iter`.
    min_value, max_value : float or array-like of shape (n_features,), \
            default=-np.inf and np.inf
        Imputed values are clipped to this range; of each column, if an array.
    sample_posterior : bool, default=False
        Whether to draw each missing value from its posterior distribution instead of
        taking its best value, for multiple imputation. The solver is then "gibbs",
        whatever is given. Each `transform` draws with `random_state`: another seed
        gives another table, also without another fit.
    n_samples, burn_in : int, default=100 and 100
        With "gibbs", the draws of the model of which all, or if memory is short some,
        are kept, and the draws before these, which are not used.
    add_indicator : bool, default=False
        Whether to append the columns of `sklearn.impute.MissingIndicator`.
    keep_empty_features : bool, default=False
        Whether columns without any observed entry in fit are kept, filled with 0.
        False: they are left out, with a warning in fit.
    n_jobs : int or None, default=None
        Number of threads. None: all cores that the process may use, or `n_jobs` of an
        enclosing `joblib.parallel_config`, but one thread in a worker of joblib or
        Dask. -1: all cores. Results are bit-identical for any number.
    random_state : int, RandomState instance or None, default=None
        Seed of the start, of what "auto" hides, and of all draws. An int gives the same
        result at each call.
    verbose : bool or int, default=False
        Whether to print the objective after each iteration.

    Attributes
    ----------
    mean_ : ndarray of shape (n_features,)
        The mean of the observed entries of each column; 0 for an empty one.
    scale_ : ndarray of shape (n_features,)
        What each column is divided by. 0 where all observed entries are equal: the
        model leaves such columns out, and their missing entries are this one value.
    column_factors_ : ndarray of shape (n_features, n_factors)
        Factors q of the columns, 0 for those that the model leaves out. Not with
        "gibbs".
    column_biases_ : ndarray of shape (n_features,)
        Corrections b_i of the means, in units of `scale_`. Likewise.
    regularization_ : float
        The number used for λ. Likewise.
    n_iter_ : int
        Number of iterations run.
    loss_curve_ : list of float
        The objective after each iteration; with "gibbs" the root mean squared error of
        each draw.
    column_factors_samples_, column_biases_samples_ : ndarrays
        With "gibbs" the draws kept, (n_kept, n_columns, n_factors) and
        (n_kept, n_columns), of the columns that the model has. `intercepts_samples_`,
        `column_priors_samples_`, `row_priors_samples_` and `noise_variances_samples_`
        are what else `BayesianMF` draws, whose users are the columns.
    indicator_ : MissingIndicator or None
        The indicator, with `add_indicator`.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the columns of X, where X was a DataFrame with string names.

    See Also
    --------
    BiasedMF : The same model of ratings.
    sklearn_mf.metrics.masked_rmse : Scores an imputer on entries that it hides.
    sklearn.impute.KNNImputer : Means of the nearest rows; quadratic in the rows.
    sklearn.impute.IterativeImputer : A regression for each column.

    Notes
    -----
    An iteration takes n_observed · d² + (n_rows + n_columns) · d³ / 6 multiplications,
    and `transform` half as many. The idea is that of [1]_ and [2]_; λ of "auto" follows
    from the singular values of noise [3]_.

    A row without any observed entry gets the means of the columns.

    References
    ----------
    .. [1] R. Mazumder, T. Hastie and R. Tibshirani (2010). "Spectral Regularization
       Algorithms for Learning Large Incomplete Matrices". JMLR 11, pages 2287-2322.
    .. [2] T. Hastie, R. Mazumder, J. Lee and R. Zadeh (2015). "Matrix Completion and
       Low-Rank SVD via Fast Alternating Least Squares". JMLR 16, pages 3367-3402.
    .. [3] E. Candès and Y. Plan (2010). "Matrix Completion With Noise". Proceedings of
       the IEEE 98(6), pages 925-936, section IV.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mf.impute import MFImputer
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(200, 2)) @ rng.normal(size=(2, 10))
    >>> X_missing = np.where(rng.uniform(size=X.shape) < 0.3, np.nan, X)
    >>> imputer = MFImputer(random_state=0)
    >>> X_imputed = imputer.fit_transform(X_missing)
    >>> bool(np.abs(X_imputed - X).mean() < 0.1 * X.std())
    True
    """

    mean_: npt.NDArray[np.float64]
    scale_: npt.NDArray[np.float64]
    column_factors_: npt.NDArray[np.floating]
    column_biases_: npt.NDArray[np.floating]
    regularization_: float
    n_iter_: int
    loss_curve_: list[float]
    indicator_: MissingIndicator | None
    n_features_in_: int
    feature_names_in_: npt.NDArray[np.object_]

    _parameter_constraints: dict = {
        **{
            name: BaseFactorizer._parameter_constraints[name]
            for name in ("max_iter", "tol", "n_jobs", "random_state", "verbose")
        },
        "n_factors": [Interval(Integral, 0, None, closed="left")],
        "missing_values": [MissingValues(numeric_only=True)],
        "regularization": [
            Interval(Real, 0, None, closed="left"),
            StrOptions({"auto"}),
        ],
        "scale": ["boolean"],
        "solver": [StrOptions({"als", "als-cg", "gibbs"})],
        "min_value": [Real, "array-like"],
        "max_value": [Real, "array-like"],
        "sample_posterior": ["boolean"],
        "n_samples": [Interval(Integral, 1, None, closed="left")],
        "burn_in": [Interval(Integral, 0, None, closed="left")],
        "add_indicator": ["boolean"],
        "keep_empty_features": ["boolean"],
    }

    def __init__(
        self,
        n_factors: int = 40,
        *,
        missing_values: Any = np.nan,
        regularization: float | Literal["auto"] = "auto",
        scale: bool = True,
        solver: Literal["als", "als-cg", "gibbs"] = "als",
        max_iter: int = 200,
        tol: float | None = 0.005,
        min_value: float | npt.ArrayLike = -np.inf,
        max_value: float | npt.ArrayLike = np.inf,
        sample_posterior: bool = False,
        n_samples: int = 100,
        burn_in: int = 100,
        add_indicator: bool = False,
        keep_empty_features: bool = False,
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool | int = False,
    ) -> None:
        self.n_factors = n_factors
        self.missing_values = missing_values
        self.regularization = regularization
        self.scale = scale
        self.solver = solver
        self.max_iter = max_iter
        self.tol = tol
        self.min_value = min_value
        self.max_value = max_value
        self.sample_posterior = sample_posterior
        self.n_samples = n_samples
        self.burn_in = burn_in
        self.add_indicator = add_indicator
        self.keep_empty_features = keep_empty_features
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    # --------------------------------------------------------------------- learning

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: TableLike, y: Any = None) -> Self:
        """Learn the columns from the observed entries of a table.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The table, with `missing_values` for what is missing. float32 is fitted in
            float32, everything else in float64.
        y : None
            Not used.

        Returns
        -------
        self : object
            The fitted imputer. If fit fails or is interrupted, it keeps its previous
            state.

        Raises
        ------
        ValueError
            If X is not numeric, holds infinite numbers, or is a sparse matrix.
        FloatingPointError
            If the fit overflows.
        """
        with self._replacing() as new:
            new._learn(X, self)
        return self

    def _learn(self, X, owner):
        """Learn the columns as a successor of `owner`, whose callbacks are called."""
        table, missing = self._read(X, reset=True)
        self._limits()
        self.mean_, self.scale_ = measure_columns(table, ~missing, each=self.scale)
        if np.isnan(self.mean_).any() and not self.keep_empty_features:
            names = _check_feature_names_in(self)[np.isnan(self.mean_)].tolist()
            warnings.warn(
                f"MFImputer leaves out the columns {names}, which have no observed "
                "entry. keep_empty_features=True keeps them, filled with 0.",
                UserWarning,
                stacklevel=4,  # the line that calls fit, which is decorated
            )
        self.indicator_ = None
        if self.add_indicator:
            self.indicator_ = MissingIndicator(error_on_new=False)
            self.indicator_.fit(np.where(missing, np.nan, table))
        Z, observed = self._take_columns(table, missing)
        self.loss_curve_ = []
        if not observed.any():
            self.regularization_ = 0.0
            self._keep_columns(np.zeros((Z.shape[1], 1)))
        elif self.sample_posterior or self.solver == "gibbs":
            self._draw(table, Z, observed, owner)
        else:
            self._solve(table, Z, observed, owner)
        self.n_iter_ = len(self.loss_curve_)

    def _solve(self, X, Z, observed, owner):
        """Learn the columns by alternating least squares."""
        context = owner._init_callback_context(max_subtasks=self.max_iter)
        data = {"X": X, "y": None}
        context.call_on_fit_task_begin(estimator=owner, **data)
        ratings = Ratings.of_table(Z, observed)
        rng = check_random_state(self.random_state)
        with thread_pool(count_threads(self.n_jobs)) as run:
            self.regularization_ = (
                self._choose_penalty(Z, observed, rng, run)
                if self.regularization == "auto"
                else float(self.regularization)
            )
            start = draw_start(ratings, self.n_factors, rng)
            solver = self._make_solver(start, ratings, self.regularization_, rng, run)
            iterations = Iterations(
                owner,
                context,
                data,
                lambda _: self._reconstruction(solver.parameters().Q),
                baseline=ratings.deviation(0.0),
                remedy=REMEDY,
                patience=2,
            )
            Q = minimise(solver, iterations).Q
        self._keep_columns(Q)
        self.loss_curve_ = list(iterations.loss_curve)
        context.call_on_fit_task_end(
            estimator=owner,
            reconstruction_attributes=lambda: self._reconstruction(Q),
            **data,
        )
        if self.tol and not iterations.converged:
            warnings.warn(
                f"MFImputer did not converge in max_iter={self.max_iter} iterations: "
                f"more than tol={self.tol} of the progress is still to come. Raise "
                "max_iter or tol; tol=None runs all iterations without this warning.",
                ConvergenceWarning,
                stacklevel=5,
            )

    def _make_solver(self, start, ratings, penalty, rng, run):
        cg_steps = CG_STEPS if self.solver == "als-cg" else None
        problem = Problem(ratings, ratings, start, rng, run)
        return AlternatingLeastSquares(problem, objective_of(penalty), cg_steps)

    def _choose_penalty(self, Z, observed, rng, run):
        """Return the penalty that predicts hidden entries of some of the rows well."""
        n_rows = max(TRIED_ROWS, int(TRIED_ENTRIES * len(Z) / observed.sum()))
        rows = slice(None)
        if n_rows < len(Z):
            rows = np.sort(rng.permutation(len(Z))[:n_rows])
        tried = Ratings.of_table(Z[rows], observed[rows])
        hidden = None
        if tried.by_user.n_ratings:
            tried, hidden = hold_out(tried, FRACTION, rng, run.n_threads)
        if hidden is None:
            return NOISE_LEVELS[-1] * noise_norm(observed.sum(), observed.shape)
        errors, start = [], draw_start(tried, self.n_factors, rng)
        norm = noise_norm(tried.by_user.n_ratings, (len(tried.users), Z.shape[1]))
        for level in NOISE_LEVELS:  # from a weak penalty, which does not end at zero
            solver = self._make_solver(start, tried, level * norm, rng, run)
            for _ in range(TRIED_SWEEPS):
                check_finite(solver.sweep(), f"MFImputer: the fit overflows. {REMEDY}")
            start = solver.parameters()
            filled = predict_entries(hidden, start.P, start.Q, n_jobs=1)
            errors.append(np.sum((hidden.ratings - filled) ** 2, dtype=np.float64))
        good = np.flatnonzero(np.sqrt(errors) <= (1 + TOLERANCE) * np.sqrt(min(errors)))
        return NOISE_LEVELS[good[-1]] * noise_norm(observed.sum(), observed.shape)

    def _keep_columns(self, Q):
        """Set the fitted attributes of the columns; see `_columns`."""
        vars(self).update(self._columns(Q))

    def _columns(self, Q):
        """Return the fitted attributes of all columns from a table of the varying."""
        rows = np.zeros((self.n_features_in_, Q.shape[1]), Q.dtype)
        rows[self.scale_ > 0] = Q
        return {
            "column_factors_": rows[:, :-1].copy(),
            "column_biases_": rows[:, -1].copy(),
        }

    def _reconstruction(self, Q):
        """Return the fitted attributes as if the fit ended with these columns."""
        return self._fitted_attributes() | self._columns(Q)

    def _draw(self, X, Z, observed, owner):
        """Draw the columns from their posterior distribution.

        They are the users of a `BayesianMF`, since users have noise of their own. Like
        the steps of a pipeline it is fitted in a task of the owner, and callbacks that
        are for estimators inside of others too, such as progress bars, see its draws.
        """
        context = owner._init_callback_context(max_subtasks=1)
        data = {"X": X, "y": None}
        context.call_on_fit_task_begin(estimator=owner, **data)
        side = Side.of_table(Z.T, observed.T)
        columns = sparse.csr_array(
            (side.ratings, side.indices, side.indptr), shape=Z.T.shape
        )
        model = BayesianMF(
            min(int(self.n_factors), *(n - 1 for n in Z.shape)),
            n_samples=self.n_samples,
            burn_in=self.burn_in,
            random_state=self.random_state,
            n_jobs=self.n_jobs,
            verbose=self.verbose,
        )
        task = context.subcontext(task_name="draw")
        with task.propagate_callback_context(model):
            task.call_on_fit_task_begin(estimator=owner, **data)
            model.fit(columns)
            task.call_on_fit_task_end(estimator=owner, **data)
        for name, kept in SAMPLES.items():
            setattr(self, kept, getattr(model, f"{name}_samples_"))
        self.loss_curve_ = model.loss_curve_
        context.call_on_fit_task_end(
            estimator=owner, reconstruction_attributes=self._fitted_attributes, **data
        )

    # ------------------------------------------------------------------- completing

    def transform(self, X: TableLike) -> Any:
        """Fill the missing entries of a table.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, new ones or those of the fit.

        Returns
        -------
        ndarray of shape (n_samples, n_features_out)
            The table, float32 if X is, else float64. Observed entries are those of X.

        Raises
        ------
        NotFittedError
            If the imputer is not fitted.
        ValueError
            As in `fit`.
        """
        model = self._snapshot()
        table, missing = model._read(X, reset=False)
        filled = np.where(
            missing, np.where(np.isnan(model.mean_), 0, model.mean_), table
        )
        filled = filled.astype(table.dtype, copy=False)
        holes = model._find_holes(table, missing)
        if len(holes.rows):
            if not hasattr(model, "intercepts_samples_"):
                values = model._solve_entries(holes)
            elif model.sample_posterior:
                values = model._draw_entries(holes)
            else:
                values = model._average_entries(holes)
            filled[holes.rows, holes.columns] += values * model.scale_[holes.columns]
        low, high = model._limits()
        np.copyto(filled, filled.clip(low, high), where=missing, casting="same_kind")
        filled = filled[:, model._kept_columns()]
        if model.indicator_ is not None:
            marks = model.indicator_.transform(np.where(missing, np.nan, table))
            filled = np.hstack([filled, marks.astype(filled.dtype)])
        return filled

    @available_if(_draws_posterior)
    def transform_std(self, X: TableLike) -> npt.NDArray[np.floating]:
        """Return how unsure each entry of the completed table is.

        Only with ``solver="gibbs"`` or ``sample_posterior=True``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            As in `transform`.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            The standard deviation of each missing entry over the draws of the model, of
            rows, and of noise; 0 for observed ones.
            Without columns that `transform` leaves out, and without indicators.
        """
        model = self._snapshot()
        table, missing = model._read(X, reset=False)
        std = np.zeros_like(table)
        holes = model._find_holes(table, missing)
        if len(holes.rows):
            check_is_fitted(model, "intercepts_samples_")
            rng = check_random_state(model.random_state)
            draws = len(model.intercepts_samples_)
            total, squares = np.zeros((2, len(holes.rows)))
            for k in range(draws):
                values = model._expect_entries(holes, k, draw_key(rng))
                total += values
                squares += (
                    values**2 + model.noise_variances_samples_[k, holes.pairs.items]
                )
            variance = np.maximum(squares / draws - (total / draws) ** 2, 0)
            scale = model.scale_[holes.columns]
            std[holes.rows, holes.columns] = np.sqrt(variance) * scale
        return std[:, model._kept_columns()]

    def _find_holes(self, X, missing):
        """Return the missing entries of columns that the model has."""
        Z, observed = self._take_columns(X, missing)
        rows = np.flatnonzero(~observed.all(axis=1))
        Z, observed = Z[rows], observed[rows]
        which, columns = np.nonzero(~observed)
        pairs = Pairs(which.astype(np.int32), columns.astype(np.int32), 0.0)
        return Holes(
            rows[which],
            np.flatnonzero(self.scale_ > 0)[columns],
            Side.of_table(Z, observed),
            pairs,
        )

    def _solve_entries(self, holes):
        """Return missing entries by the best parameters of their rows."""
        side, dtype = holes.side, holes.side.dtype
        columns = [self.column_factors_, self.column_biases_]
        Q = np.column_stack(columns)[self.scale_ > 0].astype(dtype)
        P = np.zeros((len(side.indptr) - 1, Q.shape[1]), dtype)
        with thread_pool(count_threads(self.n_jobs)) as run:
            objective = objective_of(self.regularization_)
            P, loss = solve_side(side, Q, P, 0.0, objective, run)
        check_finite(loss, f"MFImputer: numbers overflow. {REMEDY}")
        values = predict_entries(holes.pairs, P, Q, self.n_jobs)
        values[side.counts()[holes.pairs.users] == 0] = 0
        return values

    def _expect_entries(self, holes, k, key=None):
        """Return missing entries, without noise, by the k-th draw of the columns.

        With a key their rows are drawn, otherwise they are at their means.
        """
        given = {name: getattr(self, kept)[k : k + 1] for name, kept in SAMPLES.items()}
        posterior = posterior_of_columns(given)
        side, none = holes.side, np.zeros(0)
        with thread_pool(count_threads(self.n_jobs)) as run:
            factors, biases = draw_new_rows(
                posterior, "item", side, None, none, run, key=key
            )
        columns = posterior.user_factors[0], posterior.user_biases[0]
        Q, P = map(np.column_stack, (columns, (factors[0], biases[0])))
        values = predict_entries(holes.pairs, P, Q, self.n_jobs)
        return values + posterior.intercepts[0]

    def _draw_entries(self, holes):
        """Return missing entries with noise as one of the draws, any, has them."""
        rng = check_random_state(self.random_state)
        k = rng.randint(len(self.intercepts_samples_))
        values = self._expect_entries(holes, k, draw_key(rng))
        variances = self.noise_variances_samples_[k, holes.pairs.items]
        return values + np.sqrt(variances) * rng.normal(size=len(values))

    def _average_entries(self, holes):
        """Return the means of missing entries over all draws of the columns."""
        draws = range(len(self.intercepts_samples_))
        values = sum(self._expect_entries(holes, k) for k in draws) / len(draws)
        values[holes.side.counts()[holes.pairs.users] == 0] = 0
        return values

    # ---------------------------------------------------------------------- reading

    def _read(self, X, *, reset):
        """Return a table of floats, and which of its entries are missing."""
        if sparse.issparse(X):
            raise ValueError(
                "X is a sparse matrix. Its entries that are not stored are zeros, not "
                "missing values: pass a dense table, such as X.toarray(), with "
                "missing_values where entries are missing. For ratings of users and "
                "items, fit BiasedMF to the sparse matrix."
            )
        X = validate_data(
            self,
            X,
            reset=reset,
            dtype=[np.float64, np.float32],
            ensure_all_finite="allow-nan" if self._marks_nan() else True,
        )
        return X, np.isnan(X) if self._marks_nan() else self.missing_values == X

    def _marks_nan(self):
        """Return whether missing values are NaN, as which pandas' NA is read too."""
        return not isinstance(self.missing_values, Real) or np.isnan(
            self.missing_values
        )

    def _take_columns(self, X, missing):
        """Return the columns that the model has, standardised, and what is observed."""
        varying = self.scale_ > 0
        Z = (X[:, varying] - self.mean_[varying]) / self.scale_[varying]
        return Z.astype(X.dtype, copy=False), ~missing[:, varying]

    def _limits(self):
        """Return the least and the largest values of each column."""
        limits = []
        for name in ("min_value", "max_value"):
            value = np.asarray(getattr(self, name), dtype=np.float64)
            if value.shape not in ((), (self.n_features_in_,)):
                raise ValueError(
                    f"{name} must be a number, or have the shape "
                    f"({self.n_features_in_},) with one for each column of X, got the "
                    f"shape {value.shape}."
                )
            limits.append(value)
        if not np.all(limits[0] < limits[1]):
            raise ValueError(
                f"min_value={self.min_value!r} must be less than max_value="
                f"{self.max_value!r}, in every column."
            )
        return limits

    def _kept_columns(self):
        """Return which columns `transform` returns."""
        return ~np.isnan(self.mean_) | self.keep_empty_features

    def get_feature_names_out(
        self, input_features: npt.ArrayLike | None = None
    ) -> npt.NDArray[np.object_]:
        """Name the columns that `transform` returns.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Names of the columns of X; None: those seen in fit, or "x0", "x1", ….

        Returns
        -------
        ndarray of str objects
            The names of the columns kept, then with `add_indicator` those of
            indicators, such as "missingindicator_x0".
        """
        check_is_fitted(self)
        names = _check_feature_names_in(self, input_features)
        kept = names[self._kept_columns()]
        if self.indicator_ is None:
            return kept
        return np.concatenate([kept, self.indicator_.get_feature_names_out(names)])

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = bool(self._marks_nan())
        return tags


def measure_columns(X, observed, *, each):
    """Return the means of the observed entries of each column, and their unit.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_columns)
        The table.
    observed : bool ndarray of the same shape
        Which of its entries are known.
    each : bool
        Whether each column has its own standard deviation as its unit, instead of the
        root mean square of all.

    Returns
    -------
    means, units : float64 ndarrays of shape (n_columns,)
        The mean of a column without observed entries is NaN, and the unit of one whose
        observed entries are all equal is 0.
    """
    counts = observed.sum(axis=0)
    largest = np.abs(X).max(axis=0, where=observed, initial=0).astype(np.float64)
    sizes = np.where(largest > 0, largest, 1.0)  # so that no square overflows
    means, squares = np.full((2, len(counts)), np.nan)
    for column in np.flatnonzero(counts):
        entries = X[observed[:, column], column] / sizes[column]
        means[column] = entries.mean()
        squares[column] = np.square(entries - means[column]).mean()
        if (entries == entries[0]).all():
            means[column], squares[column] = entries[0], 0.0
    units = np.sqrt(np.nan_to_num(squares)) * sizes
    if not each and units.any():
        shares = counts / counts[units > 0].sum()
        size = units.max()
        common = size * np.sqrt(np.sum(shares * (units / size) ** 2))
        units = np.where(units > 0, common, 0.0)
    return means * sizes, units


def noise_norm(n_observed, shape):
    """Return about the largest singular value of noise of standard deviation 1.

    Parameters
    ----------
    n_observed : int
        How many entries of a table have noise; the others are 0.
    shape : (int, int)
        Shape of the table.
    """
    return float(sum((n_observed / n) ** 0.5 for n in shape))


def objective_of(penalty):
    """Return the objective in which all parameters have the same penalty."""
    return QuadraticObjective(Penalty(penalty, penalty, biased=True, exponent=0.0))


def draw_start(ratings, n_factors, rng):
    """Draw where alternating least squares begins."""
    n_factors = min(int(n_factors), len(ratings.users) - 1, len(ratings.items) - 1)
    scale = als_start(n_factors)
    return Parameters.draw(ratings, n_factors, biased=True, scale=scale, rng=rng)


def predict_entries(pairs, P, Q, n_jobs):
    """Return p_u · q_i + b_u + b_i of pairs, the biases being the last columns."""
    tables = P[:, :-1], Q[:, :-1], P[:, -1], Q[:, -1]
    return predict_codes(pairs, 0.0, False, tuple(map(np.copy, tables)), n_jobs)


def posterior_of_columns(samples):
    """Return draws whose users are the columns, and which have no items yet.

    Parameters
    ----------
    samples : dict of ndarrays
        The draws, with the names of `SAMPLES`.
    """
    n_draws, n_columns, n_factors = samples["user_factors"].shape
    dtype = samples["user_factors"].dtype
    return Posterior(
        users=np.arange(n_columns),
        items=np.arange(0),
        item_factors=np.zeros((n_draws, 0, n_factors), dtype),
        item_biases=np.zeros((n_draws, 0), dtype),
        cut_points=np.zeros((n_draws, 0), dtype),
        user_spreads=None,
        item_spreads=None,
        weights=[NO_FEATURES, NO_FEATURES],
        **samples,
    )
