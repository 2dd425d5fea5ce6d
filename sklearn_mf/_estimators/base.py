"""What all estimators share: the way from X and y to factors, and back to answers."""

import copy
import functools
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.base import BaseEstimator, RegressorMixin, TransformerMixin
from sklearn.callback import CallbackSupportMixin
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.metrics import root_mean_squared_error
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted

from sklearn_mf._data.labels import locate
from sklearn_mf._data.matrices import as_pairs
from sklearn_mf._data.ratings import HeldOut, Ratings, join_patterns
from sklearn_mf._data.tables import read_pairs, read_ratings
from sklearn_mf._estimators.ranking import RankingMixin
from sklearn_mf._model.scoring import predict_codes
from sklearn_mf._objective.loss import to_intercept
from sklearn_mf._runtime.threads import count_threads, thread_pool
from sklearn_mf._solvers.iterations import Iterations
from sklearn_mf._typing import SparseMatrix, TableLike, fit_context
from sklearn_mf._version import __version__

HEADER = ("n_features_in_", "feature_names_in_")  # what fit remembers of X's columns
PARAMETERS = ("user_factors_", "item_factors_", "user_biases_", "item_biases_")


@dataclass
class Problem:
    """What a solver is to solve, and where it stands.

    Attributes
    ----------
    ratings : Ratings
        What it learns from.
    users, items : ndarrays of shape (n_users, n_columns) and (n_items, n_columns)
        Factors, and in a model with biases the bias as the last column. Solvers change
        them in place.
    rating_range : (float, float)
        The smallest and the largest rating, held-out ones too.
    mean : float
        The mean rating of the pairs that the objective covers.
    rng : RandomState
        Source of all that is random.
    held_out : HeldOut or None
        Ratings that are kept from the solver, to be scored.
    descent : Descent or None
        Where stochastic gradient descent stands.
    network : Network or None
        The network that makes factors or ratings.
    losses : dict of lists of float, or None
        The parts of the objective after each iteration.
    seen_indptr, seen_indices : ndarrays
        Which items each user rated, held-out ones too, as compressed sparse rows.
    publish : callable or None
        Brings users and items up to date, while a solver works on copies.
    """

    ratings: Ratings
    users: np.ndarray
    items: np.ndarray
    rating_range: tuple[float, float]
    mean: float
    rng: np.random.RandomState
    seen_indptr: np.ndarray
    seen_indices: np.ndarray
    held_out: HeldOut | None = None
    descent: object = None
    network: object = None
    losses: dict | None = None
    publish: Callable | None = None


class ColdStartWarning(UserWarning):
    """Most of the users to be scored are unknown to the model.

    `score` warns when more than half of the distinct users of X were not seen in
    fit: usually a sign of folds cut from a file that is sorted by user.
    """


class BaseFactorizer(
    RankingMixin, CallbackSupportMixin, TransformerMixin, RegressorMixin, BaseEstimator
):
    """A factorisation of ratings as an estimator of scikit-learn.

    A subclass gives its parameters and `_solve`, which runs its solver.
    """

    rating_range_: tuple[float, float]
    global_mean_: float
    n_iter_: int
    n_features_in_: int
    feature_names_in_: npt.NDArray[np.object_]

    _biased = False  # whether the model has biases
    _logistic = False  # whether it predicts probabilities, under log loss
    _unobserved_weight = 0  # the weight of pairs without a rating

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
            One rating a row: `user_column` and `item_column` hold its user and its
            item, ids of any sortable kind. An array, a list of lists, or a DataFrame.
            Or a scipy.sparse matrix of shape (n_users, n_items) alone, with y=None:
            every stored entry is a rating, explicit zeros too.
        y : array-like of shape (n_ratings,)
            The ratings. float32 is fitted in float32, everything else in float64. The
            ratings of a pair that occurs twice are averaged, and their weights added.
        sample_weight : array-like of shape (n_ratings,) or None, default=None
            Weight w ≥ 0 of each rating. Weight 2 is the same as the row twice, weight
            0 the same as no such row.

        Returns
        -------
        self : object
            The fitted estimator. Whatever ends fit before its time, an interrupt too,
            leaves the estimator as it was.

        Raises
        ------
        ValueError
            For input that has no meaning: the message names parameter and remedy.
        TypeError
            If the ids of a column are not all of one sortable kind.
        FloatingPointError
            If the fit overflows.
        """
        self._check_options()
        header = copy.copy(self)
        ratings = read_ratings(header, X, y, sample_weight)
        goes_on = self.warm_start and self.__sklearn_is_fitted__()
        problem = self._pose(ratings, check_random_state(self.random_state), goes_on)
        context = self._init_callback_context(max_subtasks=self.max_iter)
        data, view = self._for_callbacks(header, X, y, sample_weight)
        context.call_on_fit_task_begin(estimator=self, **data)
        iterations: Iterations = Iterations(
            self,
            context,
            data,
            lambda: view | self._attributes(problem, iterations),
            remedy=self._remedy(),
            patience=self._patience,
        )
        with thread_pool(count_threads(self.n_jobs)) as run:
            self._solve(problem, run, iterations)
        self._adopt(self._attributes(problem, iterations), header)
        context.call_on_fit_task_end(
            estimator=self, reconstruction_attributes=view, **data
        )
        return self

    @property
    def _patience(self):
        """Iterations in a row without progress that end a fit."""
        return 1

    def _check_options(self):
        """Raise where parameters do not go together."""

    def _pose(self, ratings, rng, goes_on):
        """Give the problem that the solver is to solve.

        It begins at random, or, where it goes on, at the fitted parameters of the ids
        that are known.
        """
        items = self._draw(ratings.by_item, rng, ratings.dtype)
        users = self._draw(ratings.by_user, rng, ratings.dtype)
        if goes_on:
            self._check_n_factors()
            old, at = self._places("user", ratings.users)
            users[old] = self._rows("user")[at]
            old, at = self._places("item", ratings.items)
            items[old] = self._rows("item")[at]
        low, high = ratings.range()
        if self._unobserved_weight:
            low, high = min(low, 0.0), max(high, 0.0)
        return Problem(
            ratings,
            users,
            items,
            (low, high),
            self._mean(ratings),
            rng,
            ratings.by_user.indptr,
            ratings.by_user.indices,
        )

    def _places(self, side, labels):
        """Give which of the labels are known, a mask, and the fitted rows of these."""
        name = f"{side}_column={getattr(self, f'{side}_column')!r}"
        codes = locate(name, labels, getattr(self, f"{side}s_"))
        return codes >= 0, codes[codes >= 0]

    def _mean(self, ratings):
        return ratings.mean(self._unobserved_weight) if self.fit_intercept else 0.0

    def _check_n_factors(self):
        fitted = self.item_factors_.shape[1]
        if fitted != self.n_factors:
            raise ValueError(
                f"n_factors={self.n_factors}, but the fit to go on from has {fitted} "
                "factors: set n_factors back, or begin anew with fit and "
                "warm_start=False."
            )

    def _draw(self, side, rng, dtype):
        """Draw the factors of the rows that have ratings; all else is zero."""
        rows = np.zeros((len(side.indptr) - 1, self.n_factors + self._biased), dtype)
        rated = np.flatnonzero(side.counts())
        rows[rated, : self.n_factors] = rng.normal(
            scale=self.init_scale, size=(len(rated), self.n_factors)
        )
        return rows

    def _rows(self, side):
        """Give the fitted parameters of a side as the kernels want them."""
        factors = getattr(self, f"{side}_factors_")
        if not self._biased:
            return factors
        return np.column_stack([factors, getattr(self, f"{side}_biases_")])

    def _attributes(self, problem, iterations):
        """Give the fitted attributes as if the iterations ended here."""
        if problem.publish is not None:
            problem.publish()
        return {
            "seen_indptr_": problem.seen_indptr,
            "seen_indices_": problem.seen_indices,
            "rating_range_": problem.rating_range,
            "global_mean_": problem.mean,
            "n_iter_": len(iterations.loss_curve),
            "loss_curve_": list(iterations.loss_curve),
            **self._learnt(problem),
        }

    def _learnt(self, problem):
        """Give the fitted attributes that a prediction needs, but for μ."""
        return {
            **self._name_rows("user", problem.ratings.users, problem.users),
            **self._name_rows("item", problem.ratings.items, problem.items),
        }

    def _name_rows(self, side, labels, rows):
        """Give the fitted attributes of a side, from the parameters as a table."""
        named = {f"{side}s_": labels}
        if not self._biased:
            return named | {f"{side}_factors_": rows.copy()}
        named[f"{side}_factors_"] = rows[:, :-1].copy()
        return named | {f"{side}_biases_": rows[:, -1].copy()}

    def _join_seen(self, ratings, replaced):
        """Give the pattern of what was seen, joined by ratings.

        Parameters
        ----------
        ratings : Ratings
            With the labels known before among its labels.
        replaced : dict
            For "user" or "item" the codes whose pairs of before are forgotten.
        """
        users = np.repeat(np.arange(len(self.users_)), np.diff(self.seen_indptr_))
        old = {
            "user": locate("users_", self.users_, ratings.users)[users],
            "item": locate("items_", self.items_, ratings.items)[self.seen_indices_],
        }
        for side, codes in replaced.items():
            kept = np.isin(old[side], codes, invert=True)
            old = {name: pairs[kept] for name, pairs in old.items()}
        side = ratings.by_user
        new = np.repeat(np.arange(len(ratings.users)), side.counts()), side.indices
        shape = len(ratings.users), len(ratings.items)
        indptr, indices = join_patterns(shape, tuple(old.values()), new)
        return {"seen_indptr_": indptr, "seen_indices_": indices}

    def _adopt(self, attributes, header):
        """Replace all fitted attributes."""
        for name in HEADER:
            if hasattr(header, name):
                attributes[name] = getattr(header, name)
        for name in [name for name in vars(self) if name.endswith("_")]:
            delattr(self, name)
        vars(self).update(attributes)

    def _adopt_some(self, attributes, ratings, header):
        """Replace some fitted attributes; `ratings` widen the range of those seen."""
        kept = {name: value for name, value in vars(self).items() if name.endswith("_")}
        ends = *self.rating_range_, *ratings.range()
        kept["rating_range_"] = min(ends), max(ends)
        self._adopt(kept | attributes, header)

    def _check_known(self, side, labels, remedy):
        """Raise if the model does not know one of the ids of a side."""
        unknown = labels[locate(side, labels, getattr(self, f"{side}s_")) < 0]
        if len(unknown):
            some = ", ".join(map(repr, unknown[:3].tolist()))
            raise ValueError(
                f"X: {len(unknown)} of its {side}s are not known to the model, such as "
                f"{some}. {remedy}"
            )

    def _remedy(self):
        """Say what a user can do when the objective overflows."""
        return "Scale y down, or pass it as float64 if it is float32."

    def _for_callbacks(self, header, X, y, sample_weight):
        """Give what callbacks see of the data, and what lets an estimator read it.

        Returns
        -------
        data : dict
            X, y and metadata. In place of a sparse matrix its pairs, made if asked for.
        view : dict
            Attributes of an estimator that is to read this X, whatever it read before.
        """
        view = {
            name: getattr(header, name, None)
            for name in HEADER
            if hasattr(header, name) or hasattr(self, name)
        }
        if sparse.issparse(X):
            pairs = functools.cache(lambda: as_pairs(X))
            view |= {"user_column": 0, "item_column": 1}
            return {"X": lambda: pairs()[0], "y": lambda: pairs()[1]}, view
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        return {"X": X, "y": y, "metadata": metadata}, view

    def predict(self, X: TableLike) -> npt.NDArray[np.floating]:
        """Predict the rating of each pair.

        Parameters
        ----------
        X : table of shape (n_pairs, n_features)
            One pair a row, with the columns that X had in fit; see `fit`.

        Returns
        -------
        ndarray of shape (n_pairs,)
            Ratings in units of y, of the dtype of the factors. A pair with an unseen
            id gets what the model still knows: the global mean, and in a model with
            biases the bias of the id that is known.

        Raises
        ------
        ValueError
            If X is a sparse matrix, or its ids are of another kind than in fit.
        """
        return self._predict(self._read_pairs(X))

    def transform(self, X: TableLike) -> npt.NDArray[np.floating]:
        """Give the factors of the user and of the item of each pair.

        Parameters
        ----------
        X : table of shape (n_pairs, n_features)
            One pair a row; see `predict`.

        Returns
        -------
        ndarray of shape (n_pairs, 2 * n_factors)
            User factors, then item factors; zeros for an unseen id.
        """
        pairs = self._read_pairs(X)
        n_factors = self.user_factors_.shape[1]
        out = np.zeros((len(pairs.users), 2 * n_factors), self.user_factors_.dtype)
        seen = pairs.users >= 0
        out[seen, :n_factors] = self.user_factors_[pairs.users[seen]]
        seen = pairs.items >= 0
        out[seen, n_factors:] = self.item_factors_[pairs.items[seen]]
        return out

    def score(
        self, X: TableLike, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None
    ) -> float:
        """Give the negative root mean squared error of the predictions.

        Parameters
        ----------
        X : table of shape (n_pairs, n_features)
            One pair a row; see `predict`.
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
        pairs = self._read_pairs(X)
        if pairs.cold_share > 0.5:
            warnings.warn(
                f"{pairs.cold_share:.0%} of the users of X were not seen in fit and "
                "are predicted without factors of their own. If these are folds of a "
                "file that is sorted by user, shuffle: cv=RatingKFold(5) of "
                "sklearn_mf.model_selection, or cv=KFold(5, shuffle=True).",
                ColdStartWarning,
                stacklevel=2,
            )
        return -root_mean_squared_error(
            y, self._predict(pairs), sample_weight=sample_weight
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save the fitted model to a file of data, which `sklearn_mf.load` reads.

        The file is NumPy's .npz: arrays, and JSON for all else. Nothing in it is run
        when it is loaded.

        Parameters
        ----------
        path : str or path-like
            Where to write, the name exactly as given. A file that is there is replaced
            once the new one is whole.

        Raises
        ------
        NotFittedError
            If the model is not fitted.
        TypeError
            If ids are neither numbers nor strings, or the class is not one of
            sklearn_mf.
        ValueError
            If `random_state` is a RandomState instance, or parameters or attributes
            were changed to what no fit accepts or gives.

        Notes
        -----
        Callbacks, the container of `set_output` and metadata requests are not saved.
        Parameters that are numbers of NumPy come back as Python's.
        """
        from sklearn_mf._load import save_model

        save_model(self, path)

    def get_feature_names_out(
        self, input_features: npt.ArrayLike | None = None
    ) -> npt.NDArray[np.object_]:
        """Name the columns that `transform` gives.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Only checked against the columns seen in fit.

        Returns
        -------
        ndarray of str objects of shape (2 * n_factors,)
            ``user_factor0``, …, ``item_factor0``, ….
        """
        check_is_fitted(self)
        if input_features is not None:
            _check_feature_names_in(self, input_features)
        n_factors = self.user_factors_.shape[1]
        return np.array(
            [
                f"{side}_factor{f}"
                for side in ("user", "item")
                for f in range(n_factors)
            ],
            dtype=object,
        )

    def _read_pairs(self, X):
        check_is_fitted(self)
        return read_pairs(self, X, self.users_, self.items_)

    def _predict(self, pairs):
        predictions = self._predict_from(vars(self), pairs, self.n_jobs)
        if self.clip:
            predictions.clip(*self.rating_range_, out=predictions)
        return predictions

    def _predict_from(self, learnt, pairs, n_jobs):
        """Predict the ratings of pairs from fitted attributes, a dict."""
        return predict_codes(
            pairs,
            to_intercept(learnt["global_mean_"], self._logistic),
            self._logistic,
            tuple(map(learnt.get, PARAMETERS)),
            n_jobs,
        )

    @property
    def _ranking_link(self):
        """What rankings add to p_u · q_i and biases; whether they are probabilities."""
        return to_intercept(self.global_mean_, self._logistic), self._logistic

    def __sklearn_is_fitted__(self):
        return hasattr(self, "user_factors_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.categorical = True
        tags.regressor_tags.poor_score = True
        return tags

    def __getstate__(self):
        return {**super().__getstate__(), "_sklearn_mf_version": __version__}

    def __setstate__(self, state):
        version = state.pop("_sklearn_mf_version", "unknown")
        if version != __version__:
            warnings.warn(
                InconsistentVersionWarning(
                    estimator_name=type(self).__name__,
                    current_sklearn_version=f"sklearn_mf {__version__}",
                    original_sklearn_version=f"sklearn_mf {version}",
                ),
                stacklevel=2,
            )
        super().__setstate__(state)
