"""What a fitted model knows: ids, and the items that each user has seen."""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from sklearn_mf._data.labels import locate
from sklearn_mf._data.ratings import join_patterns
from sklearn_mf._data.tables import read_ids, read_pairs, read_ratings


def refuse_rows_without_ids(name, X):
    """Raise if X is a sparse matrix, whose rows are taken for users 0, 1 and so on."""
    if sparse.issparse(X):
        raise ValueError(
            f"{name} is a sparse matrix, whose rows and columns do not say which ids "
            "of the fitted model they are. Convert it to pairs: X, y = "
            "sklearn_mf.as_pairs(X), and put the ids in their place, for example "
            "X[:, 0] = user_ids[X[:, 0]]."
        )


class KnownMixin:
    """Reads pairs as a fitted model knows them, and lets new ones join."""

    users_: npt.NDArray[Any]
    items_: npt.NDArray[Any]
    seen_indptr_: npt.NDArray[np.int64]
    seen_indices_: npt.NDArray[np.int32]

    def _read(self, X, y, sample_weight, *, known=None, dtype=None):
        """Read what is to be learnt; see `read_ratings`."""
        return read_ratings(self, X, y, sample_weight, known=known, dtype=dtype)

    def _read_pairs(self, X):
        return read_pairs(self, X, self.users_, self.items_)

    def _read_more(self, new, X, y, sample_weight):
        """Read ratings whose new ids join those of a fitted model."""
        refuse_rows_without_ids("X", X)
        known, dtype = (new.users_, new.items_), new.item_factors_.dtype
        return new._read(X, y, sample_weight, known=known, dtype=dtype)

    def _read_history(self, history, users):
        """Read what users rated or did, of the items that the model knows.

        Parameters
        ----------
        history, users
            As in `RankingMixin.recommend`.

        Returns
        -------
        users : array-like of shape (n_users,)
            Their ids; all of the history, sorted, where None were passed.
        rows : int32 ndarray of shape (n_users,)
            The row of each of them in the side; -1 for one without ratings.
        labels : ndarray
            Their ids, sorted, of users with ratings.
        side : Side
            The ratings of these, a row for each.
        """
        parts = history if isinstance(history, tuple) else (history,)
        if not 1 <= len(parts) <= 3:
            raise ValueError(
                f"history is a tuple of {len(parts)}: pass X, (X, y) or "
                "(X, y, sample_weight)."
            )
        X, y, sample_weight = (*parts, None, None)[:3]
        if hasattr(self, "n_features_in_"):  # or else fit saw a matrix too
            refuse_rows_without_ids("history", X)
        reader = object.__new__(type(self))  # that may note the columns of X
        vars(reader).update(vars(self))
        dtype = self.item_factors_.dtype
        ratings = reader._read(X, y, sample_weight, dtype=dtype)
        codes = locate("items", ratings.items, self.items_)
        side, kept = ratings.by_user.with_codes(codes).without_empty_rows()
        rows = np.full(len(ratings.users), -1, np.int32)
        rows[kept] = np.arange(len(kept))
        if users is None:
            return ratings.users, rows, ratings.users[kept], side
        known = read_ids("users", users, ratings.users)
        rows = np.where(known < 0, np.int32(-1), rows[known])
        return users, rows, ratings.users[kept], side

    def _join_seen(self, ratings, replaced):
        """Return the pattern of what was seen, joined by ratings.

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

    def _check_known(self, side, labels, remedy):
        """Raise if the model does not know one of the ids of a side."""
        unknown = labels[locate(side, labels, getattr(self, f"{side}s_")) < 0]
        if len(unknown):
            some = ", ".join(map(repr, unknown[:3].tolist()))
            raise ValueError(
                f"X: {len(unknown)} of its {side}s are not known to the model, such as "
                f"{some}. {remedy}"
            )
