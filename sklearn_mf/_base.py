"""What all estimators share: the way from X and y to factors, and back to answers."""

import copy
import functools
import warnings
from numbers import Integral, Real

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, RegressorMixin, TransformerMixin, _fit_context
from sklearn.callback import CallbackSupportMixin
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.metrics import root_mean_squared_error
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted

from sklearn_mf._iterations import Iterations
from sklearn_mf._labels import locate
from sklearn_mf._ratings import (
    ColdStartWarning,
    as_pairs,
    read_pairs,
    read_ratings,
)
from sklearn_mf._scoring_kernels import score_pairs
from sklearn_mf._threads import count_threads, thread_pool
from sklearn_mf._version import __version__

HEADER = ("n_features_in_", "feature_names_in_")  # what fit remembers of X's columns
BLOCK_PAIRS = 2**16  # pairs to be scored that are worth a task of their own


class BaseFactorizer(
    CallbackSupportMixin, TransformerMixin, RegressorMixin, BaseEstimator
):
    """A factorisation of ratings as an estimator of scikit-learn.

    A subclass gives its parameters and `_fit_factors`, which runs its solver.
    """

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

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, sample_weight=None):
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
        header = copy.copy(self)
        ratings = read_ratings(header, X, y, sample_weight)
        mean = ratings.mean() if self.fit_intercept else 0.0
        user_factors, item_factors = self._start(ratings)

        def fitted():
            return {
                "users_": ratings.users,
                "items_": ratings.items,
                "rating_range_": ratings.range(),
                "global_mean_": mean,
                "user_factors_": user_factors.copy(),
                "item_factors_": item_factors.copy(),
                "n_iter_": len(iterations.loss_curve),
                "loss_curve_": list(iterations.loss_curve),
            }

        context = self._init_callback_context(max_subtasks=self.max_iter)
        data, view = self._for_callbacks(header, X, y, sample_weight)
        context.call_on_fit_task_begin(estimator=self, **data)
        iterations = Iterations(self, context, data, lambda: view | fitted())
        with thread_pool(count_threads(self.n_jobs)) as run:
            self._fit_factors(
                ratings, user_factors, item_factors, mean, run, iterations
            )
        attributes = fitted()
        for name in HEADER:
            if hasattr(header, name):
                attributes[name] = getattr(header, name)
        for name in [name for name in vars(self) if name.endswith("_")]:
            delattr(self, name)
        vars(self).update(attributes)
        context.call_on_fit_task_end(
            estimator=self, reconstruction_attributes=view, **data
        )
        return self

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

    def _start(self, ratings):
        """Give the factors to begin with: users zero, items random or those known."""
        n_users, n_items = len(ratings.users), len(ratings.items)
        rng = check_random_state(self.random_state)
        user_factors = np.zeros((n_users, self.n_factors), dtype=ratings.dtype)
        item_factors = np.zeros((n_items, self.n_factors), dtype=ratings.dtype)
        rated = np.flatnonzero(ratings.by_item.counts())
        item_factors[rated] = rng.normal(
            scale=self.init_scale, size=(len(rated), self.n_factors)
        )
        if self.warm_start and self.__sklearn_is_fitted__():
            if self.item_factors_.shape[1] != self.n_factors:
                raise ValueError(
                    f"n_factors={self.n_factors}, but warm_start=True goes on from "
                    f"{self.item_factors_.shape[1]} factors: set n_factors back, or "
                    "warm_start=False to begin anew."
                )
            name = f"item_column={self.item_column!r}"
            known = locate(name, ratings.items, self.items_)
            item_factors[known >= 0] = self.item_factors_[known[known >= 0]]
        return user_factors, item_factors

    def predict(self, X):
        """Predict the rating of each pair.

        Parameters
        ----------
        X : table of shape (n_pairs, n_features)
            One pair a row, with the columns that X had in fit; see `fit`.

        Returns
        -------
        ndarray of shape (n_pairs,)
            Ratings in units of y, of the dtype of the factors. A pair with an unseen
            id gets the global mean.

        Raises
        ------
        ValueError
            If X is a sparse matrix, or its ids are of another kind than in fit.
        """
        return self._predict(self._read_pairs(X))

    def transform(self, X):
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

    def score(self, X, y, sample_weight=None):
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
                "file that is sorted by user, shuffle: cv=KFold(5, shuffle=True).",
                ColdStartWarning,
                stacklevel=2,
            )
        return -root_mean_squared_error(
            y, self._predict(pairs), sample_weight=sample_weight
        )

    def get_feature_names_out(self, input_features=None):
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
        n_pairs = len(pairs.users)
        scores = np.empty(n_pairs, dtype=self.user_factors_.dtype)
        starts = range(0, n_pairs, BLOCK_PAIRS)
        blocks = [(start, min(start + BLOCK_PAIRS, n_pairs)) for start in starts]
        with thread_pool(count_threads(self.n_jobs)) as run:
            run(
                score_pairs,
                blocks,
                pairs.users,
                pairs.items,
                scores.dtype.type(self.global_mean_),
                self.user_factors_,
                self.item_factors_,
                scores,
            )
        return scores.clip(*self.rating_range_, out=scores) if self.clip else scores

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
