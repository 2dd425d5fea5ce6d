"""What all estimators share: the way from X and y to factors, and back to answers."""

import functools
import warnings
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.base import BaseEstimator, RegressorMixin, TransformerMixin
from sklearn.callback import CallbackSupportMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import root_mean_squared_error
from sklearn.utils import check_consistent_length, check_random_state
from sklearn.utils.validation import _check_feature_names_in

from sklearn_mf._data.arguments import Interval
from sklearn_mf._data.labels import as_objects
from sklearn_mf._data.matrices import as_pairs
from sklearn_mf._data.tables import read_targets, read_weights
from sklearn_mf._estimators.documentation import DocumentedMixin
from sklearn_mf._estimators.known import KnownMixin
from sklearn_mf._estimators.ranking import RankingMixin, SimilarityMixin
from sklearn_mf._estimators.state import SavedMixin
from sklearn_mf._files import checks
from sklearn_mf._files.checks import demand
from sklearn_mf._model.parameters import SIDES, Parameters
from sklearn_mf._model.scoring import predict_codes
from sklearn_mf._objective.loss import to_intercept
from sklearn_mf._runtime.threads import count_threads, thread_pool
from sklearn_mf._solvers.iterations import Iterations, check_learnt, minimise
from sklearn_mf._solvers.problem import Problem
from sklearn_mf._typing import SparseMatrix, TableLike, fit_context

PARAMETERS = ("user_factors_", "item_factors_", "user_biases_", "item_biases_")
HEADER = ("n_features_in_", "feature_names_in_")  # what fit remembers of X's columns
NOTHING_HELD_OUT = (
    "early_stopping=True finds no rating to hold out: each is the only one of its user "
    "or its item. The fit ends by the objective."
)
OVERFLOW_REMEDY = "Scale y down, or pass it as float64 if it is float32."


class ColdStartWarning(UserWarning):
    """Most of the users to be scored are unknown to the model.

    `score` warns when more than half of the distinct users of X were not seen in
    fit. Either they are new, as after a split by time, or the folds were cut from a
    file that is sorted by user.
    """


def warn_of_cold_start(pairs, stacklevel):
    """Warn where most of the users to be scored are unknown."""
    if pairs.cold_share > 0.5:
        warnings.warn(
            f"{pairs.cold_share:.0%} of the users of X were not seen in fit and "
            "are predicted without factors of their own. If X has new users, or "
            "ratings later than those of fit, the score is that for new users. If "
            "X is a fold of a file that is sorted by user, the score is misleading:"
            " use cv=RatingKFold(5) of sklearn_mf.model_selection, or "
            "cv=KFold(5, shuffle=True).",
            ColdStartWarning,
            stacklevel=stacklevel,
        )


class BaseFactorizer(
    SavedMixin,
    KnownMixin,
    RankingMixin,
    SimilarityMixin,
    CallbackSupportMixin,
    TransformerMixin,
    DocumentedMixin,
    BaseEstimator,
):
    """A factorisation of ratings as an estimator of scikit-learn.

    A subclass has its parameters, `_make_solver`, which returns an object for
    `minimise`, and `_fitted`, which declares what is learnt; see `SavedMixin`. It is a
    regressor by `RegressionMixin`.
    """

    rating_range_: tuple[float, float]
    rating_scale_: float
    global_mean_: float
    n_iter_: int
    n_features_in_: int
    feature_names_in_: npt.NDArray[np.object_]

    _logistic = False  # whether it predicts probabilities, under log loss
    early_stopping = False

    # The fitted attributes: see `check_fitted`.
    _fitted: dict = {
        "users_": checks.labels("users"),
        "items_": checks.labels("items"),
        "user_factors_": ("users", "factors"),
        "item_factors_": ("items", "factors"),
        "global_mean_": checks.check_number,
        "rating_range_": checks.check_range,
        "rating_scale_": checks.check_positive,
        "seen_indptr_": checks.check_seen_indptr,
        "seen_indices_": checks.check_seen_indices,
        "n_iter_": checks.check_count,
        "loss_curve_": checks.check_curve,
        "n_features_in_": checks.Optional(checks.check_n_features),
        "feature_names_in_": checks.Optional(checks.check_feature_names),
    }
    _fitted_biases: dict = {"user_biases_": ("users",), "item_biases_": ("items",)}

    _parameter_constraints: dict = {
        "n_factors": [Interval(Integral, 1, None, closed="left")],
        "fit_intercept": ["boolean"],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left"), None],
        "init_scale": [Interval(Real, 0, None, closed="neither")],
        "clip": ["boolean"],
        "warm_start": ["boolean"],
        "user_column": [Interval(Integral, 0, None, closed="left"), str],
        "item_column": [Interval(Integral, 0, None, closed="left"), str],
        "n_jobs": [
            Interval(Integral, None, -1, closed="right"),
            Interval(Integral, 1, None, closed="left"),
            None,
        ],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    # --------------------------------------------------------------------- learning

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: TableLike | SparseMatrix,
        y: npt.ArrayLike | None = None,
        sample_weight: npt.ArrayLike | None = None,
    ) -> Self:
        """Learn the factors from ratings.

        Parameters
        ----------
        X : table of shape (n_ratings, n_features), or sparse matrix
            An array, a list of lists, or a DataFrame, with one rating in each row. The
            columns `user_column` and `item_column` hold the ids of its user and its
            item, which are of any type that can be sorted. Alternatively a scipy.sparse
            matrix of shape (n_users, n_items), with y=None: every stored entry is a
            rating, explicit zeros too.
        y : array-like of shape (n_ratings,)
            The ratings. If y is float32, the model is fitted in float32, otherwise in
            float64. If a pair of user and item occurs more than once, its ratings are
            averaged and their weights summed.
        sample_weight : array-like of shape (n_ratings,) or None, default=None
            Weight w ≥ 0 of each rating. A row with weight 2 counts like two rows, and a
            row with weight 0 is ignored.

        Returns
        -------
        self : object
            The fitted estimator. If fit fails or is interrupted, the estimator keeps
            its previous state.

        Raises
        ------
        ValueError
            If the input is invalid; the message names the parameter and how to fix it.
        TypeError
            If the ids of a column are not all of one sortable kind.
        FloatingPointError
            If the fit overflows.
        """
        return self._fit(X, y, sample_weight)

    def _fit(self, X, y, sample_weight):
        """Learn the factors; see `fit`."""
        self._check_options()
        previous = None
        if self.warm_start and self.__sklearn_is_fitted__():
            previous = self._snapshot()
        with self._replacing() as new:
            ratings = new._read(X, y, sample_weight)
            self._check_range(ratings)
            rng = check_random_state(self.random_state)
            training, held_out = self._hold_out(ratings, rng)
            mean = self._mean(training)
            new._set_scale(training, mean)
            new._set_numbers(training)
            start = new._draw(ratings, rng)
            if previous is not None:
                new._check_continues(previous)
                start.take_over(previous._parameters(), self._column_names())
            start.mean = mean
            features = new._design(training, start, previous)

            context = self._init_callback_context(max_subtasks=self.max_iter)
            data, view = self._for_callbacks(new, X, y, sample_weight)
            context.call_on_fit_task_begin(estimator=self, **data)
            with thread_pool(count_threads(self.n_jobs)) as run:
                problem = Problem(
                    training, ratings, start, rng, run, held_out, features
                )
                solver = new._make_solver(problem, previous)
                view |= new._fitted_attributes()
                iterations = Iterations(
                    self,
                    context,
                    data,
                    # They are an argument: a closure over them would be a cycle, which
                    # keeps all of this in memory until Python looks for cycles.
                    lambda iterations: (
                        view
                        | self._progress(iterations)
                        | new._complete(
                            new._attributes(problem, solver, solver.parameters())
                        )
                    ),
                    baseline=new._baseline(training, mean),
                    remedy=new._remedy(),
                    patience=self._patience,
                )
                validate = self._validation(held_out, ratings, run.n_threads)
                parameters = minimise(solver, iterations, validate)
                attributes = new._attributes(problem, solver, parameters)
                check_learnt(
                    attributes,
                    f"{type(self).__name__}: the last steps overflow. {new._remedy()}",
                )
                attributes = new._complete(attributes)
                vars(new).update(self._progress(iterations) | attributes)
        context.call_on_fit_task_end(
            estimator=self, reconstruction_attributes=view, **data
        )
        if self.early_stopping and held_out is None:
            warnings.warn(NOTHING_HELD_OUT, UserWarning, stacklevel=4)
        if self.tol and not iterations.converged:
            warnings.warn(
                f"{type(self).__name__} did not converge in max_iter={self.max_iter} "
                f"iterations: it would still improve by more than tol={self.tol} of "
                "what it has gained so far. Raise max_iter or tol; tol=None runs all "
                "iterations without this warning.",
                ConvergenceWarning,
                stacklevel=4,  # the line that calls fit, which is decorated
            )
        return self

    @property
    def _unobserved_weight(self):
        """The weight of pairs without a rating."""
        return 0.0

    @property
    def _biased(self):
        """Whether the model has biases."""
        return "user_biases_" in self._fitted

    @property
    def _patience(self):
        """Iterations in a row without progress that end a fit."""
        return 2

    def _check_options(self):
        """Raise where parameters do not go together."""

    def _check_range(self, ratings):
        """Raise where ratings are outside of the range that the loss is for."""

    def _check_continues(self, previous):
        """Raise unless this fit can continue from a previous one."""
        fitted = previous.item_factors_.shape[1]
        if fitted != self.n_factors:
            raise ValueError(
                f"n_factors={self.n_factors}, but the fit to continue from has "
                f"{fitted} factors: set n_factors back, or start over with fit and "
                "warm_start=False."
            )

    def _draw(self, ratings, rng):
        """Draw the parameters that a solver begins with."""
        scale = self._init_scale()
        return Parameters.draw(
            ratings, self.n_factors, biased=self._biased, scale=scale, rng=rng
        )

    def _init_scale(self):
        """Return the standard deviation of the factors that a solver begins with."""
        return self.init_scale

    def _set_scale(self, ratings, mean):
        """Set the fitted attribute for the unit of the ratings."""
        self.rating_scale_ = self._scale(ratings, mean)

    def _scale(self, ratings, mean):
        """Return the unit of the ratings."""
        if self._logistic:
            return 1.0
        return ratings.scale(mean, self._unobserved_weight)

    def _set_numbers(self, ratings):
        """Set the fitted attributes for parameters that depend on the ratings."""

    def _baseline(self, ratings, mean):
        """Return the objective of the model that predicts the mean."""
        weight = ratings.total_weight(self._unobserved_weight)
        return weight * self.rating_scale_ * self.rating_scale_

    def _parameters(self):
        """Return what has been learnt, as a solver begins with it."""
        return Parameters.of(self, self._biased)

    def _hold_out(self, ratings, rng):
        """Return the ratings to learn from, and those that score the fit or None."""
        return ratings, None

    def _design(self, ratings, start, previous):
        """Return the features of users and of items, as a `Problem` has them."""
        return None, None

    def _complete(self, attributes):
        """Return the fitted attributes of all ids that the model is to know."""
        return attributes

    def _mean(self, ratings):
        return ratings.mean(self._unobserved_weight) if self.fit_intercept else 0.0

    def _validation(self, held_out, seen, n_jobs):
        """Return a function that scores parameters on held-out ratings, or None."""

    def _remedy(self):
        """Say what a user can do when the objective overflows."""
        return OVERFLOW_REMEDY

    def _attributes(self, problem, solver, parameters):
        """Return the fitted attributes that tell what was seen and learnt."""
        side = problem.seen.by_user
        low, high = problem.seen.range()
        if self._unobserved_weight:
            low, high = min(low, 0.0), max(high, 0.0)
        return {
            "seen_indptr_": side.indptr,
            "seen_indices_": side.indices,
            "rating_range_": (low, high),
            **parameters.attributes(),
        }

    def _progress(self, iterations):
        """Return the fitted attributes that tell how the fit went."""
        curve = list(iterations.loss_curve)
        return {"n_iter_": len(curve), "loss_curve_": curve}

    def _for_callbacks(self, new, X, y, sample_weight):
        """Return what callbacks see of the data, and what lets an estimator read it.

        Returns
        -------
        data : dict
            X, y and metadata. In place of a sparse matrix its pairs, made on demand.
        view : dict
            Attributes of an estimator that is to read this X, whatever it read before.
        """
        view = {
            name: getattr(new, name, None)
            for name in HEADER
            if hasattr(new, name) or hasattr(self, name)
        }
        if sparse.issparse(X):
            pairs = functools.cache(lambda: as_pairs(X))
            view |= {"user_column": 0, "item_column": 1}
            return {"X": lambda: pairs()[0], "y": lambda: pairs()[1]}, view
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        return {"X": X, "y": y, "metadata": metadata}, view

    def _widen_range(self, others):
        """Return the range of the ratings seen before and of another range."""
        ends = *self.rating_range_, *others
        return min(ends), max(ends)

    def _grow_rest(self, ratings):
        """Return what else has a row for each id, for the ids of `ratings`."""
        return {}

    def _column_names(self):
        """Return what error messages call the ids of users and of items."""
        return f"user_column={self.user_column!r}", f"item_column={self.item_column!r}"

    # --------------------------------------------------------------------- answering

    def predict(self, X: TableLike) -> npt.NDArray[np.floating]:
        """Predict the rating of each pair.

        Parameters
        ----------
        X : table of shape (n_pairs, n_features)
            One pair in each row, with the columns that X had in fit; see `fit`.

        Returns
        -------
        ndarray of shape (n_pairs,)
            Ratings in units of y, of the dtype of the factors. For a pair with an
            unseen id the prediction falls back on what the model does know: the global
            mean, and in a model with biases the bias of the id that is known.

        Raises
        ------
        ValueError
            If X is a sparse matrix, or its ids have a different type than in fit.
        """
        model = self._snapshot()
        return model._predict(model._read_pairs(X))

    def transform(self, X: TableLike) -> npt.NDArray[np.floating]:
        """Return the factors of the user and of the item of each pair.

        Parameters
        ----------
        X : table of shape (n_pairs, n_features)
            One pair in each row; see `predict`.

        Returns
        -------
        ndarray of shape (n_pairs, 2 * n_factors)
            User factors, then item factors; zeros for an unseen id.
        """
        model = self._snapshot()
        pairs = model._read_pairs(X)
        n_factors, dtype = model.user_factors_.shape[1], model.user_factors_.dtype
        out = np.zeros((len(pairs.users), 2 * n_factors), dtype)
        for codes, factors, part in (
            (pairs.users, model.user_factors_, out[:, :n_factors]),
            (pairs.items, model.item_factors_, out[:, n_factors:]),
        ):
            part[codes >= 0] = factors[codes[codes >= 0]]
        return out

    def get_feature_names_out(
        self, input_features: npt.ArrayLike | None = None
    ) -> npt.NDArray[np.object_]:
        """Name the columns that `transform` returns.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Only checked against the columns seen in fit.

        Returns
        -------
        ndarray of str objects of shape (2 * n_factors,)
            ``user_factor0``, …, ``item_factor0``, ….
        """
        model = self._snapshot()
        if input_features is not None:
            names: Any = input_features
            try:
                input_features = as_objects(list(names))
            except TypeError:
                raise ValueError(
                    "input_features must be the names of the columns of X, got "
                    f"{input_features!r}."
                ) from None
            _check_feature_names_in(model, input_features)
        n_factors = model.user_factors_.shape[1]
        return np.array(
            [f"{side}_factor{f}" for side in SIDES for f in range(n_factors)],
            dtype=object,
        )

    def _predict(self, pairs):
        return self._clip(self._predict_from(vars(self), pairs, self.n_jobs))

    def _clip(self, predictions):
        ends = self._clip_range()
        if ends is not None:
            predictions.clip(*ends, out=predictions)
        return predictions

    def _clip_range(self):
        """Return the ends to which predictions are clipped, or None."""
        if not self.clip:
            return None
        low, high = self.rating_range_
        # Beside unobserved pairs this is a preference, which has no upper end.
        return low, np.inf if self._unobserved_weight else high

    def _predict_from(self, learnt, pairs, n_jobs):
        """Predict the ratings of pairs from fitted attributes, a dict."""
        return predict_codes(
            pairs,
            to_intercept(learnt["global_mean_"], self._logistic),
            self._logistic,
            tuple(map(learnt.get, PARAMETERS)),
            n_jobs,
        )

    def _check_fitted(self):
        super()._check_fitted()
        fewest = self._parameter_constraints["n_factors"][0].left
        has_enough = self.user_factors_.shape[1] >= fewest
        demand(has_enough, "user_factors_", f"has fewer than {fewest} factors a row")

    def _score_recommended(self, learnt, pairs):
        """Return the scores of recommended pairs, from fitted attributes, a dict."""
        return self._clip(self._predict_from(learnt, pairs, self.n_jobs))

    @property
    def _popularity_weight(self):
        """The default of `recommend`: no model of ratings alone ranks well by them."""
        return 0.0 if self._unobserved_weight else 1.0

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.categorical = True
        return tags


class RegressionMixin(RegressorMixin):
    """Makes a factorisation a regressor."""

    _snapshot: Callable[[], Any]

    def score(
        self, X: TableLike, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None
    ) -> float:
        """Return the negative root mean squared error of the predictions.

        Parameters
        ----------
        X : table of shape (n_pairs, n_features)
            One pair in each row; see `predict`.
        y : array-like of shape (n_pairs,)
            The true ratings.
        sample_weight : array-like of shape (n_pairs,) or None, default=None
            Weights of the pairs.

        Returns
        -------
        float
            −RMSE, in units of y: higher is better, 0 is perfect.

        Warns
        -----
        ColdStartWarning
            If more than half of the distinct users of X were not seen in fit.
        """
        return self._score_ratings(X, y, sample_weight)

    def _score_ratings(self, X, y, sample_weight):
        model = self._snapshot()
        pairs = model._read_pairs(X)
        warn_of_cold_start(pairs, stacklevel=4)
        y = read_targets(y)
        check_consistent_length(pairs.users, y)
        if sample_weight is not None:
            sample_weight = read_weights(sample_weight, y)
        return -root_mean_squared_error(
            y, model._predict(pairs), sample_weight=sample_weight
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.regressor_tags.poor_score = True
        return tags
