"""What a fitted model knows: ids, and the items that each user has seen."""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from sklearn_mf._data.labels import locate
from sklearn_mf._data.ratings import join_patterns
from sklearn_mf._data.tables import read_pairs, read_ratings


class KnownMixin:
    """Reads pairs as a fitted model knows them, and lets new ones join."""

    users_: npt.NDArray[Any]
    items_: npt.NDArray[Any]
    seen_indptr_: npt.NDArray[np.int64]
    seen_indices_: npt.NDArray[np.int32]

    def _read_pairs(self, X):
        return read_pairs(self, X, self.users_, self.items_)

    def _read_more(self, new, X, y, sample_weight):
        """Read ratings whose new ids join those of a fitted model."""
        if sparse.issparse(X):
            raise ValueError(
                "X is a sparse matrix, whose rows and columns do not say which ids of "
                "the fitted model they are. Convert it to pairs: X, y = "
                "sklearn_mf.as_pairs(X), and put the ids in their place, for example "
                "X[:, 0] = user_ids[X[:, 0]]."
            )
        return read_ratings(
            new,
            X,
            y,
            sample_weight,
            known=(new.users_, new.items_),
            dtype=new.user_factors_.dtype,
        )

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
