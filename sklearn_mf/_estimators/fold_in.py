"""Fold-in: rows for new ids, in closed form against the other side held fixed."""

import copy
from typing import Self

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_is_fitted

from sklearn_mf._data.tables import read_ratings
from sklearn_mf._runtime.threads import count_threads, thread_pool
from sklearn_mf._solvers.als.solver import solve_side
from sklearn_mf._typing import SparseMatrix, TableLike


class FoldInMixin:
    """New users and items for a fitted factorisation.

    The estimator gives its `_objective`, which must have a closed solution.
    """

    def fold_in_users(
        self,
        X: TableLike | SparseMatrix,
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
        X, y, sample_weight : table or sparse matrix, array-like, array-like
            Ratings, as in `fit`; of items that the model knows.

        Returns
        -------
        self : object
            The estimator, which knows the new ids in all its methods. Whatever ends
            this call before its time leaves it as it was.

        Raises
        ------
        ValueError
            If X has items that the model does not know, or for input that `fit` would
            not take either.
        """
        return self._fold_in("user", "item", X, y, sample_weight)

    def fold_in_items(
        self,
        X: TableLike | SparseMatrix,
        y: npt.ArrayLike | None = None,
        sample_weight: npt.ArrayLike | None = None,
    ) -> Self:
        """Learn items from their ratings alone, without a fit.

        This is `fold_in_users` with the roles exchanged.

        Parameters
        ----------
        X, y, sample_weight : table or sparse matrix, array-like, array-like
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

    def _fold_in(self, side, other, X, y, sample_weight):
        check_is_fitted(self)
        self._validate_params()
        self._check_options()
        self._check_n_factors()
        objective, header = self._objective(), copy.copy(self)
        ratings = read_ratings(
            header,
            X,
            y,
            sample_weight,
            known=(self.users_, self.items_),
            dtype=self.user_factors_.dtype,
        )
        labels = {"user": ratings.users, "item": ratings.items}
        remedy = f"Leave their ratings out, or call fold_in_{other}s for them first."
        self._check_known(other, labels[other], remedy)
        table = {"user": ratings.by_user, "item": ratings.by_item}[side]
        table, folded = table.without_empty_rows()
        old, at = self._places(side, labels[side])
        before = self._rows(side)
        rows = np.zeros((len(old), before.shape[1]), before.dtype)
        rows[old] = before[at]
        with thread_pool(count_threads(self.n_jobs)) as run:
            rows[folded], loss = solve_side(
                table,
                self._rows(other),
                rows[folded],
                self.global_mean_,
                objective,
                run,
            )
        if not np.isfinite(loss):
            raise FloatingPointError(
                f"fold_in_{side}s: the objective is {loss}. Scale y down, or pass it "
                "as float64 to fit if it was float32."
            )
        attributes = self._name_rows(side, labels[side], rows)
        attributes |= self._join_seen(ratings, {side: folded})
        if hasattr(self, "optimizer_state_"):
            attributes["optimizer_state_"] = self._grow_state(ratings)
        self._adopt_some(attributes, ratings, header)
        return self
