"""From factors to rankings: recommendations, and similar ids."""

import itertools
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.utils._param_validation import (
    StrOptions,
    validate_parameter_constraints,
)

from sklearn_mf._data.arguments import Interval
from sklearn_mf._data.tables import read_ids
from sklearn_mf._model.ranking import Queries, rank
from sklearn_mf._objective.loss import to_ratings
from sklearn_mf._runtime.arrays import square_norms
from sklearn_mf._typing import Ids, MaskedArray


class RankingMixin:
    """Rankings by a fitted factorisation, which has these attributes."""

    n_jobs: int | None
    users_: npt.NDArray[Any]
    items_: npt.NDArray[Any]
    user_factors_: npt.NDArray[np.floating]
    item_factors_: npt.NDArray[np.floating]
    user_biases_: npt.NDArray[np.floating]  # if the model has biases
    item_biases_: npt.NDArray[np.floating]
    seen_indptr_: npt.NDArray[np.int64]
    seen_indices_: npt.NDArray[np.int32]
    _biased: bool
    _ranking_link: Callable[[], tuple[float, bool]]
    _snapshot: Callable[[], Any]

    def recommend(
        self,
        users: Ids,
        n_items: int = 10,
        *,
        exclude_seen: bool = True,
        candidates: Ids | None = None,
        exclude: Ids | None = None,
        max_memory: float = 64,
    ) -> tuple[MaskedArray[Any], MaskedArray[np.floating]]:
        """Find the items with the highest predictions for each user.

        Parameters
        ----------
        users : array-like of shape (n_users,)
            Ids of users. One that was not seen in fit gets what the model implies for
            it: by the biases of the items, or where there are none, the same for all.
        n_items : int, default=10
            How many items to find for each.
        exclude_seen : bool, default=True
            Whether the items that the user rated in fit are left out.
        candidates : array-like of shape (n_candidates,) or None, default=None
            Ids of the items to choose from. None: all that were seen in fit. Ids that
            the model does not know are never found, and masked ones are left out.
        exclude : array-like of shape (n_excluded,) or None, default=None
            Ids of items that are left out for every user. Masked ones are not.
        max_memory : float, default=64
            Mebibytes for working copies, beside the result. Less than the factors of
            the candidates need costs little time.

        Returns
        -------
        items : masked array of shape (n_users, n_items)
            Ids, the best first; of equal predictions the lower id. Masked where fewer
            candidates are left.
        scores : masked array of shape (n_users, n_items)
            Their predictions, but not clipped to `rating_range_`, so that the best do
            not tie.

        Raises
        ------
        ValueError
            If ids are of another kind than in fit, a parameter is out of range, or
            `n_items` so much larger than the number of candidates that the masked
            part of the result would take more than a gibibyte.

        Examples
        --------
        >>> from sklearn_mf import BiasedMF
        >>> X = [["ann", "up"], ["ann", "wall-e"], ["bob", "up"], ["cat", "heat"]]
        >>> model = BiasedMF(n_factors=1, random_state=0).fit(X, [5, 4, 5, 1])
        >>> items, scores = model.recommend(["bob", "dan"], n_items=2)
        >>> items.tolist()
        [['wall-e', 'heat'], ['up', 'wall-e']]
        """
        model = self._snapshot()
        _check_arguments(
            "recommend",
            n_items=n_items,
            exclude_seen=exclude_seen,
            max_memory=max_memory,
        )
        rows = read_ids("users", users, model.users_)
        seen = exclude_seen, model.seen_indptr_, model.seen_indices_
        candidates = model._candidates(candidates, exclude)
        check_size("n_items", n_items, len(rows), len(candidates))
        best, scores = rank(
            Queries(rows, model.user_factors_, *seen),
            model.item_factors_,
            model.item_biases_ if model._biased else None,
            n_items,
            candidates=candidates,
            max_memory=float(max_memory),
            n_jobs=model.n_jobs,
        )
        intercept, logistic = model._ranking_link()
        scores += scores.dtype.type(intercept)
        if model._biased:
            scores += np.where(rows < 0, 0, model.user_biases_[rows])[:, np.newaxis]
        return _mask(best, to_ratings(scores, logistic), model.items_)

    def _candidates(self, candidates, exclude):
        chosen = _choose("candidates", candidates, self.items_)
        if exclude is None:
            return chosen
        excluded = _choose("exclude", exclude, self.items_)
        return np.setdiff1d(chosen, excluded, assume_unique=True)


class SimilarityMixin:
    """Ids that are alike, by the factors of a fitted factorisation."""

    _snapshot: Callable[[], Any]

    def similar_items(
        self,
        items: Ids,
        n_items: int = 10,
        *,
        metric: Literal["cosine", "dot"] = "cosine",
        candidates: Ids | None = None,
        max_memory: float = 64,
    ) -> tuple[MaskedArray[Any], MaskedArray[np.floating]]:
        """Find the items whose factors are most like those of each item.

        Parameters
        ----------
        items : array-like of shape (n_queries,)
            Ids of items seen in fit.
        n_items : int, default=10
            How many to find for each. An item is not found for itself.
        metric : {"cosine", "dot"}, default="cosine"
            The cosine of the angle between factors, or their product.
        candidates : array-like of shape (n_candidates,) or None, default=None
            Ids of the items to choose from. None: all that were seen in fit.
        max_memory : float, default=64
            Mebibytes for working copies; see `recommend`.

        Returns
        -------
        items : masked array of shape (n_queries, n_items)
            Ids, the most similar first. Masked where fewer are left.
        similarities : masked array of shape (n_queries, n_items)
            Their similarities. The cosine of factors that are all zero is 0.

        Raises
        ------
        ValueError
            If an item was not seen in fit, or a parameter is out of range.
        """
        return self._similar("item", items, n_items, metric, candidates, max_memory)

    def similar_users(
        self,
        users: Ids,
        n_users: int = 10,
        *,
        metric: Literal["cosine", "dot"] = "cosine",
        candidates: Ids | None = None,
        max_memory: float = 64,
    ) -> tuple[MaskedArray[Any], MaskedArray[np.floating]]:
        """Find the users whose factors are most like those of each user.

        Parameters
        ----------
        users : array-like of shape (n_queries,)
            Ids of users seen in fit.
        n_users : int, default=10
            How many to find for each. A user is not found for itself.
        metric, candidates, max_memory : str, array-like or None, float
            As in `similar_items`, of users.

        Returns
        -------
        users, similarities : masked arrays of shape (n_queries, n_users)
            See `similar_items`.

        Raises
        ------
        ValueError
            See `similar_items`.
        """
        return self._similar("user", users, n_users, metric, candidates, max_memory)

    def _similar(self, side, ids, n_best, metric, candidates, max_memory):
        model = self._snapshot()
        _check_arguments(
            f"similar_{side}s",
            **{f"n_{side}s": n_best, "metric": metric, "max_memory": max_memory},
        )
        labels = getattr(model, f"{side}s_")
        factors = getattr(model, f"{side}_factors_")
        rows = read_ids(f"{side}s", ids, labels)
        if (rows < 0).any():
            plain = ids.tolist() if hasattr(ids, "tolist") else ids
            unseen = itertools.islice(itertools.compress(plain, rows < 0), 3)
            raise ValueError(
                f"{side}s: {(rows < 0).sum()} of the ids were not seen in fit, such as "
                f"{', '.join(map(repr, unseen))}: leave them out."
            )
        if metric == "cosine":
            # Of largest entry 1, so that squares of tiny factors do not vanish.
            largest = abs(factors).max(axis=1, keepdims=True, initial=0)
            factors = np.divide(
                factors, largest, out=np.zeros_like(factors), where=largest > 0
            )
            norms = np.sqrt(square_norms(factors))[:, np.newaxis].astype(factors.dtype)
            factors = np.divide(
                factors, norms, out=np.zeros_like(factors), where=norms > 0
            )
        itself = np.arange(len(labels) + 1)  # is left out
        seen = True, itself, itself[:-1].astype(np.int32)
        candidates = _choose("candidates", candidates, labels)
        check_size(f"n_{side}s", n_best, len(rows), len(candidates))
        best, scores = rank(
            Queries(rows, factors, *seen),
            factors,
            None,
            n_best,
            candidates=candidates,
            max_memory=float(max_memory),
            n_jobs=model.n_jobs,
        )
        return _mask(best, scores, labels)


def _choose(name, ids, labels):
    """Return the codes of ids that are known, each once and ascending; None: all."""
    if ids is None:
        return np.arange(len(labels), dtype=np.int32)
    codes = np.unique(read_ids(name, ids, labels, skip_masked=True))
    return codes[codes >= 0]


def check_size(name, n_best, n_queries, n_candidates):
    """Refuse a result that would be large, and for the most part masked."""
    if n_queries * (int(n_best) - n_candidates) * 16 > 2**30:  # bytes
        raise ValueError(
            f"{name}={n_best} is more than there are candidates, {n_candidates}, and "
            "all others would be masked: lower it."
        )


def _mask(best, scores, labels):
    """Return labels and scores, masked where there is no code."""
    missing = best < 0
    scores[missing] = np.nan
    return (
        np.ma.MaskedArray(labels[np.where(missing, 0, best)], missing),
        np.ma.MaskedArray(scores, missing.copy()),
    )


_COUNT = [Interval(Integral, 1, None, closed="left")]
_ARGUMENTS = {
    "n_items": _COUNT,
    "n_users": _COUNT,
    "exclude_seen": ["boolean"],
    "metric": [StrOptions({"cosine", "dot"})],
    "max_memory": [Interval(Real, 0, None, closed="neither")],
}


def _check_arguments(method, **arguments):
    """Check the arguments of a method in scikit-learn's way."""
    constraints = {name: _ARGUMENTS[name] for name in arguments}
    validate_parameter_constraints(constraints, arguments, caller_name=method)
