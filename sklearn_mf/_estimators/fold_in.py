"""Fold-in: rows for new ids, in closed form against the other side held fixed."""

from dataclasses import replace
from typing import Self

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_is_fitted

from sklearn_mf._estimators.ranking import Users
from sklearn_mf._model.parameters import carry_over
from sklearn_mf._runtime.threads import count_threads, thread_pool
from sklearn_mf._solvers.als.kernels import pad
from sklearn_mf._solvers.als.solver import solve_side, sum_unobserved
from sklearn_mf._solvers.iterations import check_finite
from sklearn_mf._typing import TableLike


class FoldInMixin:
    """New users and items for a fitted factorisation.

    The estimator gives its `_objective`, which must have a closed solution.
    """

    def fold_in_users(
        self,
        X: TableLike,
        y: npt.ArrayLike | None = None,
        sample_weight: npt.ArrayLike | None = None,
    ) -> Self:
        """Learn users from their ratings alone, without a fit.

        The parameters of each user of X become the exact minimum of the objective over
        them, against the items as they are: what alternating least squares would give
        the user in its next half-iteration. Users that the model does not know join it;
        those that it knows are recomputed from these ratings, which are to be their
        whole history. All other parameters, μ among them, stay as they are.

        This differs from `partial_fit`, which takes only new ratings and takes one
        small step from where both their users and their items stand.

        Parameters
        ----------
        X, y, sample_weight : table, array-like, array-like
            Ratings, as in `fit`; of items that the model knows.

        Returns
        -------
        self : object
            The estimator, which knows the new ids in all its methods. If this call
            fails or is interrupted, it keeps its previous state.

        Raises
        ------
        ValueError
            If X has items that the model does not know, or for input that `fit` would
            not take either.
        """
        return self._fold_in("user", "item", X, y, sample_weight)

    def fold_in_items(
        self,
        X: TableLike,
        y: npt.ArrayLike | None = None,
        sample_weight: npt.ArrayLike | None = None,
    ) -> Self:
        """Learn items from their ratings alone, without a fit.

        This is `fold_in_users` with the roles exchanged.

        Parameters
        ----------
        X, y, sample_weight : table, array-like, array-like
            Ratings, as in `fit`; of users that the model knows.

        Returns
        -------
        self : object
            See `fold_in_users`.

        Raises
        ------
        ValueError
            See `fold_in_users`.
        """
        return self._fold_in("item", "user", X, y, sample_weight)

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
        users, rows, side = self._read_history(history, users)
        learnt = self._learn_history(side)
        return users, Users(rows, learnt, side.indptr, side.indices)

    def _learn_history(self, side):
        """Return the fitted attributes of users from the side of their ratings."""
        old, objective = self._parameters(), self._objective()
        n_columns, mean = old.Q.shape[1], old.mean
        solved = np.zeros((len(side.indptr) - 1, n_columns), old.Q.dtype)
        with thread_pool(count_threads(self.n_jobs)) as run:
            rest = mean, objective, run
            tables = self.item_factors_, getattr(self, "item_biases_", None)
            unobserved = self._derived(
                "unobserved",
                (*tables, mean, objective.unobserved_weight),
                lambda: sum_unobserved(pad(old.Q), n_columns, *rest),
            )
            solved, loss = solve_side(side, old.Q, solved, *rest, unobserved)
        check_finite(
            loss,
            f"recommend: the objective of the history is {loss}. Scale its ratings "
            "down, or pass float64 to fit if it was float32.",
        )
        return replace(old, users=np.arange(len(solved)), P=solved).attributes()

    def _fold_in(self, side, other, X, y, sample_weight):
        check_is_fitted(self)
        self._check_closed()
        with self._replacing(keep_fitted=True) as new:
            self._check_n_factors(new)
            ratings = self._read_more(new, X, y, sample_weight)
            labels = {"user": ratings.users, "item": ratings.items}
            remedy = (
                f"Leave their ratings out, or call fold_in_{other}s for them first."
            )
            new._check_known(other, labels[other], remedy)
            pairs = ratings.by_user if side == "user" else ratings.by_item
            pairs, folded = pairs.without_empty_rows()
            vars(new).update(
                new._learn_rows(side, pairs, folded, labels[side])
                | new._join_seen(ratings, {side: folded})
                | new._grow_rest(ratings)
                | {"rating_range_": new._widen_range(ratings.range())}
            )
        return self

    def _learn_rows(self, side, pairs, folded, labels):
        """Return the fitted attributes with some rows of a side learnt anew.

        Parameters
        ----------
        side : {"user", "item"}
            The side.
        pairs : Side
            The ratings of the rows.
        folded : int ndarray of shape (n_rows,)
            Where the rows stand among the labels.
        labels : ndarray
            The labels of the side, with new ones.
        """
        old = self._parameters()
        table, old_rows, fixed = {
            "user": ("P", old.P, old.Q),
            "item": ("Q", old.Q, old.P),
        }[side]
        rows = np.zeros((len(labels), old_rows.shape[1]), old_rows.dtype)
        name = f"{side}s_"
        carry_over(name, rows, labels, old_rows, getattr(self, name))
        with thread_pool(count_threads(self.n_jobs)) as run:
            rows[folded], loss = solve_side(
                pairs, fixed, rows[folded], old.mean, self._objective(), run
            )
        check_finite(
            loss,
            f"fold_in_{side}s: the objective is {loss}. Scale y down, or pass it "
            "as float64 to fit if it was float32.",
        )
        return replace(old, **{f"{side}s": labels, table: rows}).attributes()
