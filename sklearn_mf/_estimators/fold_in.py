"""Fold-in: rows for new ids, in closed form against the other side held fixed."""

from dataclasses import replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_is_fitted

from sklearn_mf._data.features import read_feature_table
from sklearn_mf._estimators.explain import ExplainMixin
from sklearn_mf._estimators.features import FeaturesMixin
from sklearn_mf._estimators.ranking import Users
from sklearn_mf._model.features import OTHER
from sklearn_mf._model.parameters import carry_over
from sklearn_mf._runtime.threads import count_threads, thread_pool
from sklearn_mf._solvers.als.kernels import pad
from sklearn_mf._solvers.als.solver import solve_side, sum_unobserved
from sklearn_mf._solvers.iterations import check_finite
from sklearn_mf._typing import TableLike


class FoldInMixin(ExplainMixin, FeaturesMixin):
    """New users and items for a fitted factorisation, by their ratings.

    The estimator gives its `_objective`, which must have a closed solution.
    """

    def fold_in_users(
        self,
        X: TableLike,
        y: npt.ArrayLike | None = None,
        sample_weight: npt.ArrayLike | None = None,
        features: Any = None,
    ) -> Self:
        """Add or update users without refitting the model.

        The item factors stay fixed, and the parameters of each user of X are solved for
        exactly, as in half an iteration of alternating least squares. Unknown users are
        added to the model; known users are computed again from these ratings, which
        must be their whole history. All other parameters, such as μ, do not change.

        `partial_fit` differs in that it needs only the new ratings, and takes gradient
        steps for both their users and their items.

        Parameters
        ----------
        X, y, sample_weight : table, array-like, array-like
            Ratings, as in `fit`; of items that the model knows.
        features : DataFrame, tuple or None, default=None
            Features of the users, as `user_features` and with its columns. None: those
            that `user_features` has of them.

        Returns
        -------
        self : object
            The estimator, all of whose methods accept the new ids. If this call
            fails or is interrupted, it keeps its previous state.

        Raises
        ------
        ValueError
            If X has items that the model does not know, or for input that `fit` would
            not take either.
        """
        return self._fold_in("user", X, y, sample_weight, features)

    def fold_in_items(
        self,
        X: TableLike,
        y: npt.ArrayLike | None = None,
        sample_weight: npt.ArrayLike | None = None,
        features: Any = None,
    ) -> Self:
        """Add or update items without refitting the model.

        This is `fold_in_users` with the roles exchanged.

        Parameters
        ----------
        X, y, sample_weight : table, array-like, array-like
            Ratings, as in `fit`; of users that the model knows.
        features : DataFrame, tuple or None, default=None
            Features of the items; see `fold_in_users`.

        Returns
        -------
        self : object
            See `fold_in_users`.

        Raises
        ------
        ValueError
            See `fold_in_users`.
        """
        return self._fold_in("item", X, y, sample_weight, features)

    def _check_closed(self):
        """Raise if the objective has no closed solution."""
        self._validate_params()
        self._check_options()
        if self._logistic:
            raise ValueError(
                "loss='log_loss' has no closed solution to fold ids in by: use "
                "partial_fit, or loss='squared_error'."
            )

    def _fold_in_history(self, history, users):
        """Return the ids of users, and what their history says of them."""
        self._check_closed()
        users, rows, labels, side = self._read_history(history, users)
        learnt = self._learn_history(side, self._expected("user", labels, side))
        return users, Users(rows, learnt, side.indptr, side.indices)

    def _learn_history(self, side, expected):
        """Return the fitted attributes of users from their ratings and features.

        Parameters
        ----------
        side : Side
            The ratings.
        expected : ndarray of shape (n_users, n_columns), or None
            What features predict of the users.
        """
        old, objective = self._parameters(), self._objective()
        n_columns, mean = old.Q.shape[1], old.mean
        solved = np.zeros((len(side.indptr) - 1, n_columns), old.Q.dtype)
        with thread_pool(count_threads(self.n_jobs)) as run:
            rest = mean, objective, run
            tables = self.item_factors_, getattr(self, "item_biases_", None)
            counted, fixed = self._leave_out_cold("user", side, old.Q)
            unobserved = None
            if fixed is old.Q:
                unobserved = self._derived(
                    "unobserved",
                    (*tables, mean, objective.unobserved_weight),
                    lambda: sum_unobserved(pad(old.Q), n_columns, *rest),
                )
            expected = _cast(expected, solved.dtype)
            solved, loss = solve_side(
                counted, fixed, solved, *rest, unobserved, expected
            )
        check_finite(
            loss,
            f"recommend: the objective of the history is {loss}. Scale its ratings "
            "down, or pass float64 to fit if it was float32.",
        )
        return replace(old, users=np.arange(len(solved)), P=solved).attributes()

    def _leave_out_cold(self, side, pairs, fixed):
        """Leave out ids of the other side that are known by their features alone.

        Their pairs do not count where those without a rating do, as in fit.

        Parameters
        ----------
        side : {"user", "item"}
            The side that is learnt.
        pairs : Side
            Its ratings.
        fixed : ndarray of shape (n_others, n_columns)
            Parameters of the other side.

        Returns
        -------
        pairs : Side
            The ratings, with codes for the others that are left.
        fixed : ndarray of shape (n_left, n_columns)
            Their parameters.
        """
        other = OTHER[side]
        if not (self._unobserved_weight and hasattr(self, f"{other}_feature_weights_")):
            return pairs, fixed
        counts = np.diff(self.seen_indptr_)
        if other == "item":
            counts = np.bincount(self.seen_indices_, minlength=len(fixed))
        left = counts > 0
        left[pairs.indices] = True
        codes = np.where(left, np.cumsum(left) - 1, -1).astype(np.int32)
        return pairs.with_codes(codes), fixed[left]

    def _fold_in(self, side, X, y, sample_weight, features):
        check_is_fitted(self)
        self._check_closed()
        table, other = None, OTHER[side]
        if features is not None:
            table = read_feature_table(
                "features", features, getattr(self, f"{side}_column")
            )
            self._check_has_features(side)
        with self._replacing(keep_fitted=True) as new:
            self._check_continues(new)
            ratings = self._read_more(new, X, y, sample_weight)
            labels = {"user": ratings.users, "item": ratings.items}
            remedy = (
                f"Leave their ratings out, or call fold_in_{other}s for them first."
            )
            new._check_known(other, labels[other], remedy)
            pairs = ratings.by_user if side == "user" else ratings.by_item
            pairs, folded = pairs.without_empty_rows()
            given = labels[side], folded, pairs
            expected = new._expected(side, labels[side][folded], pairs, table)
            vars(new).update(
                new._learn_rows(side, *given, expected)
                | new._join_seen(ratings, {side: folded})
                | new._grow_rest(ratings)
                | {"rating_range_": new._widen_range(ratings.range())}
            )
        return self

    def _learn_rows(self, side, labels, folded, pairs, expected):
        """Return the fitted attributes with some rows of a side learnt again.

        Parameters
        ----------
        side : {"user", "item"}
            The side.
        labels : ndarray
            The labels of the side, with new ones.
        folded : int ndarray of shape (n_rows,)
            Where the rows stand among the labels.
        pairs : Side
            The ratings of the rows.
        expected : ndarray of shape (n_rows, n_columns), or None
            What features predict of the rows.
        """
        old = self._parameters()
        fixed, rows = {"user": (old.Q, old.P), "item": (old.P, old.Q)}[side]
        start, name = np.zeros((len(folded), fixed.shape[1]), fixed.dtype), f"{side}s_"
        carry_over(name, start, labels[folded], rows, getattr(self, name))
        with thread_pool(count_threads(self.n_jobs)) as run:
            rest = old.mean, self._objective(), run
            counted, fixed = self._leave_out_cold(side, pairs, fixed)
            rows, loss = solve_side(
                counted, fixed, start, *rest, expected=_cast(expected, fixed.dtype)
            )
        check_finite(
            loss,
            f"fold_in_{side}s: the objective is {loss}. Scale y down, or pass it "
            "as float64 to fit if it was float32.",
        )
        return self._put_rows(side, labels, folded, rows)


def _cast(rows, dtype):
    """Return rows in a dtype; None stays None."""
    return None if rows is None else rows.astype(dtype)
