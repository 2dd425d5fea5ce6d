"""From factors to rankings: recommendations, and similar ids."""

import importlib
import itertools
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.utils._param_validation import (
    StrOptions,
    validate_parameter_constraints,
)

from sklearn_mf._data.arguments import Interval
from sklearn_mf._data.ratings import Pairs, join_patterns
from sklearn_mf._data.tables import read_ids
from sklearn_mf._model.ranking import Queries, rank, rank_pairs
from sklearn_mf._runtime.arrays import square_norms
from sklearn_mf._typing import Ids, MaskedArray


class Users(NamedTuple):
    """The users of recommendations, and what is known of them.

    Attributes
    ----------
    rows : int32 ndarray of shape (n_users,)
        Where each stands in the arrays below; -1 for a user of whom nothing is known.
    parameters : dict
        The fitted attributes that hold the parameters of users, with a row for each
        user that is known.
    seen_indptr, seen_indices : int64 and int32 ndarrays
        Codes of the items that each of them has seen: compressed sparse rows.
    """

    rows: np.ndarray
    parameters: dict
    seen_indptr: np.ndarray
    seen_indices: np.ndarray

    def seen_pairs(self):
        """Return which of the users have seen which items: two arrays."""
        starts = self.seen_indptr[self.rows]
        counts = np.where(self.rows < 0, 0, self.seen_indptr[self.rows + 1] - starts)
        users = np.repeat(np.arange(len(self.rows)), counts)
        within = np.arange(len(users)) - np.repeat(np.cumsum(counts) - counts, counts)
        return users, self.seen_indices[np.repeat(starts, counts) + within]


class RankingMixin:
    """Rankings by a fitted factorisation, which has these attributes."""

    n_jobs: int | None
    rating_scale_: float
    users_: npt.NDArray[Any]
    items_: npt.NDArray[Any]
    user_factors_: npt.NDArray[np.floating]
    item_factors_: npt.NDArray[np.floating]
    user_biases_: npt.NDArray[np.floating]  # if the model has biases
    item_biases_: npt.NDArray[np.floating]
    seen_indptr_: npt.NDArray[np.int64]
    seen_indices_: npt.NDArray[np.int32]
    _biased: bool
    _popularity_weight: float
    _score_recommended: Callable[[dict, Pairs], npt.NDArray[np.floating]]
    _derived: Callable[..., Any]
    _snapshot: Callable[[], Any]

    def recommend(
        self,
        users: Ids | None = None,
        n_items: int = 10,
        *,
        history: Any = None,
        exclude_seen: bool = True,
        candidates: Any = None,
        exclude: Any = None,
        popularity_weight: float | None = None,
        as_frame: bool | Literal["pandas", "polars"] = False,
        max_memory: float = 64,
    ) -> Any:
        """Find the best items for each user.

        A model of ratings knows what those who rated an item thought of it, but not who
        else would: its highest predictions are for items that one or two users rated.
        Such a model therefore ranks by::

            r̂(u,i) + ω s log(1 + n_i)

        with `rating_scale_` s, the number n_i of users whose rating of the item was
        seen, and the `popularity_weight` ω. A model that learns from pairs without a
        rating too, such as with implicit feedback, ranks by its predictions alone, and
        much better.

        Parameters
        ----------
        users : array-like of shape (n_users,) or None, default=None
            Ids of users. An unknown user gets the items that most users have, or in a
            model with biases those with the largest bias. None: with `history` all of
            its users, sorted.
        n_items : int, default=10
            How many items to find for each.
        history : table or tuple, default=None
            What the users rated or did, in place of what was seen in fit: X as in
            `fit`, or a tuple (X, y) or (X, y, sample_weight). The factors of each user
            are the exact solution for this history, as in `fold_in_users`, but the
            model does not change. Items that it does not know are ignored. Only for
            models with `fold_in_users`. A sparse matrix is accepted only if fit saw one
            too, since its rows and columns have no ids.
        exclude_seen : bool, default=True
            Whether the items that the user rated in fit, or in the history, are left
            out.
        candidates : array-like of ids, or of one list for each user, default=None
            The items to choose from: for all users the same, or a list for each. None:
            all that were seen in fit. Ids that the model does not know are never found,
            and masked ones are left out.
        exclude : array-like of ids, or of one list for each user, default=None
            Items that are left out, for all users or for each. Masked ones are not.
        popularity_weight : float or None, default=None
            The weight ω ≥ 0 of how many users rated an item. None: 1 for a model of
            ratings, 0 for a classifier and for a model that learns from pairs without
            a rating too. With 0 items are ranked by predictions alone.
        as_frame : bool, "pandas" or "polars", default=False
            Whether to return a DataFrame, True of pandas.
        max_memory : float, default=64
            Mebibytes for working copies, in addition to the result. A limit below the
            size of the candidates' factors makes it little slower.

        Returns
        -------
        items : masked array of shape (n_users, n_items)
            Ids, the best first; of equally good items the one with the lower id. If a
            user has fewer candidates left, the remaining entries are masked.
        scores : masked array of shape (n_users, n_items)
            What `predict` gives for them, or `predict_interaction` of `MultiTaskMF`, or
            the probability of the second class of a classifier.
        frame : DataFrame
            With `as_frame`, instead of both: the columns user, item, score and rank,
            which counts from 1, with a row for each item that was found.

        Raises
        ------
        ValueError
            If ids have a different type than in fit, a parameter is out of range, or
            `n_items` so much larger than the number of candidates that the masked part
            of the result would take more than a gibibyte.
        TypeError
            If neither users nor a history are passed, or a history to a model that
            cannot fold users in.

        Examples
        --------
        >>> from sklearn_mf import BiasedMF
        >>> X = [["ann", "up"], ["ann", "wall-e"], ["bob", "up"], ["cat", "heat"]]
        >>> model = BiasedMF(n_factors=1, random_state=0).fit(X, [5, 4, 5, 1])
        >>> items, scores = model.recommend(["bob", "dan"], n_items=2)
        >>> items.tolist()
        [['wall-e', 'heat'], ['up', 'wall-e']]
        >>> model.recommend(history=([["dan", "heat"]], [1]), n_items=1)[0].tolist()
        [['up']]
        """
        return self._recommend(
            users,
            n_items,
            history=history,
            exclude_seen=exclude_seen,
            candidates=candidates,
            exclude=exclude,
            popularity_weight=popularity_weight,
            as_frame=as_frame,
            max_memory=max_memory,
        )

    def _recommend(
        self,
        users,
        n_items,
        *,
        history=None,
        exclude_seen=True,
        candidates=None,
        exclude=None,
        popularity_weight=None,
        as_frame=False,
        max_memory=64,
        score=None,
    ):
        """Find the best items for each user; see `recommend`.

        With `score`, a function ``score(learnt, pairs)`` of fitted attributes, a dict,
        and pairs, items are ranked by it and by what is added for their popularity.
        """
        model = self._snapshot()
        _check_arguments(
            "recommend",
            n_items=n_items,
            exclude_seen=exclude_seen,
            popularity_weight=popularity_weight,
            as_frame=as_frame,
            max_memory=max_memory,
        )
        if history is not None:
            users, asked = model._fold_in_history(history, users)
        elif users is None:
            raise TypeError("recommend needs users, or the history of some.")
        else:
            asked = model._known_users(users)
        terms = model._item_terms(popularity_weight)
        for_unknown = None if popularity_weight is not None else model._unknown_terms()
        choice = _Choice(model, asked, exclude_seen, candidates, exclude)
        check_size("n_items", n_items, len(asked.rows), choice.n_candidates)
        if score is None:
            best = choice.find(terms, for_unknown, n_items, float(max_memory))
        else:
            added = model._popularity_terms(popularity_weight)
            best = choice.find_by(score, added, n_items, float(max_memory))
        pairs = Pairs(np.repeat(asked.rows, best.shape[1]), best.ravel(), 0.0)
        scores = model._score_recommended(vars(model) | asked.parameters, pairs)
        items, scores = _mask(best, scores.reshape(best.shape), model.items_)
        return (
            _as_frame(as_frame, users, items, scores) if as_frame else (items, scores)
        )

    def _known_users(self, users):
        """Return what fit has seen of users, an instance of `Users`."""
        names = [f"user_{name}_" for name in ("factors", "biases")]
        return Users(
            read_ids("users", users, self.users_),
            {name: getattr(self, name) for name in names if hasattr(self, name)},
            self.seen_indptr_,
            self.seen_indices_,
        )

    def _fold_in_history(self, history, users):
        """Return the ids of users, and what their history says of them."""
        raise TypeError(
            f"history: {type(self).__name__} cannot fold users in. Use ALSFactorizer "
            "or BiasedMF, or fit the model to what the users did."
        )

    def _item_terms(self, popularity_weight=None):
        """Return what rankings add to p_u · q_i for each item, or None."""
        biases = self.item_biases_ if self._biased else None
        terms = self._popularity_terms(popularity_weight)
        if terms is None:
            return biases
        if biases is not None:
            terms += biases
        return terms.astype(self.item_factors_.dtype)

    def _popularity_terms(self, popularity_weight):
        """Return what rankings add to predictions of each item, float64, or None."""
        if popularity_weight is None:
            popularity_weight = self._popularity_weight
        if not popularity_weight:
            return None
        return popularity_weight * self.rating_scale_ * np.log1p(self._item_counts())

    def _unknown_terms(self):
        """Return what ranks items for unknown users, if no item has a term, or None."""
        terms = self._item_terms()
        if terms is not None and terms.any():
            return None
        return self._item_counts().astype(self.item_factors_.dtype)

    def _item_counts(self):
        """Return how many users each item was seen with."""
        n_items = len(self.items_)
        return self._derived(
            "item_counts",
            (self.seen_indices_,),
            lambda: np.bincount(self.seen_indices_, minlength=n_items),
        )


class SimilarityMixin:
    """Similar users and items, by the factors of a fitted factorisation."""

    n_jobs: int | None
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


class _Choice:
    """The items that each user may get: the same for all, or a list for each."""

    def __init__(self, model, asked, exclude_seen, candidates, exclude):
        self.model, self.asked, self.exclude_seen = model, asked, exclude_seen
        n_users, labels = len(asked.rows), model.items_
        self.pairs = self.excluded = None
        if _has_lists(candidates):
            self.pairs = _read_lists("candidates", candidates, n_users, labels)
            self.codes = np.empty(0, np.int32)
            self.n_candidates = int(np.bincount(self.pairs[0]).max(initial=0))
        else:
            self.codes = _choose("candidates", candidates, labels)
        if _has_lists(exclude):
            self.excluded = _read_lists("exclude", exclude, n_users, labels)
        elif exclude is not None:
            excluded = _choose("exclude", exclude, labels)
            self.codes = np.setdiff1d(self.codes, excluded, assume_unique=True)
            if self.pairs is not None:
                kept = np.isin(self.pairs[1], excluded, invert=True)
                self.pairs = tuple(codes[kept] for codes in self.pairs)
        if self.pairs is None:
            self.n_candidates = len(self.codes)

    def find(self, terms, for_unknown, n_best, max_memory):
        """Return the codes of the best items of each user, -1 where none is left.

        Parameters
        ----------
        terms : ndarray of shape (n_items,) or None
            Added to the products of factors.
        for_unknown : ndarray of shape (n_items,) or None
            What is added instead for users of whom nothing is known.
        n_best : int
            How many items to find for each.
        max_memory : float
            See `rank`.
        """
        model, asked = self.model, self.asked
        n_users, n_items = len(asked.rows), len(model.items_)
        factors = asked.parameters["user_factors_"]
        if self.pairs is not None:
            users, codes = self._left()
            return rank_pairs(
                users,
                codes,
                (asked.rows, factors, model.item_factors_, terms, for_unknown),
                n_best,
                n_jobs=model.n_jobs,
            )
        queries = Queries(
            asked.rows,
            factors,
            self.exclude_seen,
            asked.seen_indptr,
            asked.seen_indices,
        )
        if self.excluded is not None:
            left_out = [self.excluded]
            if self.exclude_seen:
                left_out.append(asked.seen_pairs())
            pattern = join_patterns((n_users, n_items), *left_out)
            own = np.where(asked.rows[:, np.newaxis] < 0, 0, factors[asked.rows])
            rows = np.arange(n_users, dtype=np.int32)
            queries = Queries(rows, own.astype(factors.dtype), True, *pattern)
        options = {
            "candidates": self.codes,
            "max_memory": max_memory,
            "n_jobs": model.n_jobs,
        }
        best, _ = rank(queries, model.item_factors_, terms, n_best, **options)
        unknown = np.flatnonzero(asked.rows < 0)
        if for_unknown is not None and len(unknown):
            queries = queries._replace(rows=queries.rows[unknown])
            best[unknown], _ = rank(
                queries, model.item_factors_, for_unknown, n_best, **options
            )
        return best

    def find_by(self, score, added, n_best, max_memory):
        """Return the same by the scores of pairs.

        Parameters
        ----------
        score : callable
            See `RankingMixin._recommend`.
        added : ndarray of shape (n_items,) or None
            Added to the scores.
        n_best, max_memory
            See `find`.
        """
        model, asked = self.model, self.asked
        n_users, n_items = len(asked.rows), len(model.items_)
        best = np.full((n_users, n_best), -1, np.int32)
        size = max(1, int(max_memory * 2**20) // (64 * n_items))  # users at a time
        allowed = [(self.pairs, True)] if self.pairs is not None else []
        for pairs in (self.excluded, asked.seen_pairs() if self.exclude_seen else None):
            if pairs is not None:
                allowed.append((pairs, False))
        for start in range(0, n_users, size):
            rows = asked.rows[start : start + size]
            mask = np.zeros((len(rows), n_items), bool)
            mask[:, self.codes] = True
            for (users, codes), value in allowed:
                here = (users >= start) & (users < start + size)
                mask[users[here] - start, codes[here]] = value
            users, codes = np.nonzero(mask)
            pairs = Pairs(rows[users], codes.astype(np.int32), 0.0)
            scores = score(vars(model) | asked.parameters, pairs)
            if added is not None:
                scores = scores + added[codes]
            order = np.lexsort((codes, -scores, users))
            users, codes = users[order], codes[order]
            places = np.arange(len(users)) - np.searchsorted(users, users)
            kept = places < n_best
            best[start + users[kept], places[kept]] = codes[kept]
        return best

    def _left(self):
        """Return the pairs of users and their own candidates that are not left out."""
        left_out = [] if self.excluded is None else [self.excluded]
        if self.exclude_seen:
            left_out.append(self.asked.seen_pairs())
        n_items = np.int64(len(self.model.items_))
        users, codes = self.pairs
        keys = np.unique(users * n_items + codes)
        for others, other_codes in left_out:
            others_keys = others * n_items + other_codes
            keys = keys[np.isin(keys, others_keys, invert=True)]
        return keys // n_items, (keys % n_items).astype(np.int32)


def _has_lists(ids):
    """Tell whether ids are lists of ids."""
    if isinstance(ids, np.ndarray) and ids.dtype != object:
        return ids.ndim == 2
    return (
        isinstance(ids, Sequence | np.ndarray)
        and len(ids) > 0
        and not isinstance(ids[0], str | bytes)
        and (isinstance(ids[0], Sequence) or hasattr(ids[0], "__array__"))
        and np.ndim(ids[0]) > 0
    )


def _read_lists(name, lists, n_users, labels):
    """Read a list of ids for each user: the user and the code of each that is known."""
    if len(lists) != n_users:
        raise ValueError(
            f"{name} has {len(lists)} lists of ids for {n_users} users: pass one for "
            "each of them, or one list of ids for all."
        )
    codes = [read_ids(name, ids, labels, skip_masked=True) for ids in lists]
    users = np.repeat(np.arange(n_users), list(map(len, codes)))
    found = np.concatenate([np.empty(0, np.int32), *codes])
    return users[found >= 0], found[found >= 0]


def _as_frame(kind, users, items, scores):
    """Return recommendations as a DataFrame with a row for each."""
    library = "pandas" if kind is True else kind
    try:
        frames = importlib.import_module(library)
    except ImportError as error:
        raise ImportError(
            f"as_frame={kind!r} needs {library}, which is not installed: install it, "
            "or pass as_frame=False."
        ) from error
    rows, places = np.nonzero(~items.mask)
    return frames.DataFrame(
        {
            "user": np.asarray(users)[rows],
            "item": items.data[rows, places],
            "score": scores.data[rows, places],
            "rank": places + 1,
        }
    )


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
    "popularity_weight": [Interval(Real, 0, None, closed="left"), None],
    "as_frame": ["boolean", StrOptions({"pandas", "polars"})],
    "metric": [StrOptions({"cosine", "dot"})],
    "max_memory": [Interval(Real, 0, None, closed="neither")],
}


def _check_arguments(method, **arguments):
    """Check the arguments of a method in scikit-learn's way."""
    constraints = {name: _ARGUMENTS[name] for name in arguments}
    validate_parameter_constraints(constraints, arguments, caller_name=method)
