"""How good rankings are: relevant items, ranks, and a number for each user."""

import warnings
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils import check_consistent_length, gen_batches

from sklearn_mf._data.labels import factorize
from sklearn_mf._data.tables import read_columns, read_ids, read_targets
from sklearn_mf._estimators.ranking import RankingMixin, check_size
from sklearn_mf._model.ranking import Queries, rank_items, rank_sample, sort_heaps
from sklearn_mf._runtime.threads import (
    count_threads,
    cut_evenly,
    thread_pool,
)

BLOCK_CELLS = 2**20  # places in rankings that are held at a time
BLOCK_WORK = 2**20  # multiplications and comparisons that are worth a separate task


# --------------------------------------------------------------------------- formulas

# Each computes one value for each user from the gains of the k recommended items (0 for
# an item that is not relevant), the number of relevant items, and the DCG of the best
# ranking that is possible.


def _precision(gains, n_relevant, ideal):
    return (gains > 0).mean(axis=1)


def _recall(gains, n_relevant, ideal):
    return (gains > 0).sum(axis=1) / n_relevant


def _hit_rate(gains, n_relevant, ideal):
    return (gains > 0).any(axis=1).astype(np.float64)


def _reciprocal_rank(gains, n_relevant, ideal):
    return ((gains > 0) / _ranks(gains)).max(axis=1)


def _average_precision(gains, n_relevant, ideal):
    hits = gains > 0
    precisions = hits.cumsum(axis=1) / _ranks(gains)
    return (hits * precisions).sum(axis=1) / n_relevant


def _ndcg(gains, n_relevant, ideal):
    return (gains / np.log2(1 + _ranks(gains))).sum(axis=1) / ideal


def _ranks(gains):
    return np.arange(1, gains.shape[1] + 1)


_AT_K = {
    "precision": _precision,
    "recall": _recall,
    "ndcg": _ndcg,
    "map": _average_precision,
    "hit_rate": _hit_rate,
    "reciprocal_rank": _reciprocal_rank,
}


# Each computes one value for each user from the ranks of the relevant items (0 for one
# that is not ranked), their users, and the number of items that each user has not seen.


def _reciprocal_rank_of_all(ranks, users, n_unseen):
    reciprocals = np.divide(1, ranks, out=np.zeros_like(ranks), where=ranks > 0)
    return np.bincount(users, reciprocals) / np.bincount(users)


def _area_under_curve(ranks, users, n_unseen):
    # Below an item of rank r are n_unseen − r, with a half for each of equal score.
    # Each pair of ranked relevant items is counted once by that, and is taken out.
    n_relevant, n_ranked = np.bincount(users), np.bincount(users, ranks > 0)
    n_below = np.bincount(users, np.where(ranks > 0, n_unseen[users] - ranks, 0))
    n_right = n_below - n_ranked * (n_ranked - 1) / 2
    n_pairs = n_relevant * (n_unseen - n_ranked)
    return n_right[n_pairs > 0] / n_pairs[n_pairs > 0]


_OF_RANKS = {
    "reciprocal_rank_of_all": _reciprocal_rank_of_all,
    "auc": _area_under_curve,
}


# Each computes the score from how often each item is recommended, the number of users
# who have it, and the number of all users.


def _coverage(times, counts, n_users):
    return (times > 0).mean()


def _novelty(times, counts, n_users):
    return np.average(-np.log2(np.maximum(counts, 1) / n_users), weights=times)


def _popularity(times, counts, n_users):
    return np.average(counts, weights=times)


_OF_LISTS = {"coverage": _coverage, "novelty": _novelty, "popularity": _popularity}

METRICS = {**_AT_K, **_OF_RANKS, **_OF_LISTS}
SAMPLED = tuple(_AT_K)  # that n_candidates is for


# --------------------------------------------------------------------------- the scorer


@dataclass(frozen=True, repr=False)
class RankingScorer:
    """A scorer; see `sklearn_mf.metrics.make_ranking_scorer`."""

    metric: str
    k: int = 10
    threshold: float | None = None
    gain: str = "binary"
    fold_in: float | None = None
    n_candidates: int | None = None
    random_state: int = 0

    def __call__(self, estimator, X, y=None):
        """Return the mean of the metric over users.

        Parameters
        ----------
        estimator : object
            A fitted estimator of sklearn_mf, or a pipeline or search that ends in one.
        X : table of shape (n_ratings, n_features)
            The test ratings, one a row; see `predict`.
        y : array-like of shape (n_ratings,) or None, default=None
            The ratings; None stands for ones.

        Returns
        -------
        float
        """
        model, X = _find_model(estimator, X)
        n_users, n_items, k = len(model.users_), len(model.items_), int(self.k)
        counts = np.bincount(model.seen_indices_, minlength=n_items)
        tested = _read_tested(model, X, y)
        if self.fold_in is not None:
            tested = self._fold_in(model, tested, X)
        if self.metric in _OF_LISTS:
            labels = tested.labels[np.unique(tested.users)]
            times = np.zeros(n_items, dtype=np.int64)
            for _, codes in _recommend(model, labels, k):
                times += np.bincount(codes[codes >= 0], minlength=n_items)
            if not times.any():
                raise ValueError(
                    "No item is left to recommend: the users of X have all items of "
                    "fit."
                )
            return float(_OF_LISTS[self.metric](times, counts, n_users))
        relevant = self._select(tested)
        if self.metric in _OF_RANKS:
            ranks, n_unseen = _find_ranks(model, relevant)
            values = _OF_RANKS[self.metric](ranks, relevant.users, n_unseen)
            if not len(values):
                raise ValueError(
                    f"{self!r} compares relevant items with others, and no user of X "
                    "has both: pass test ratings of fewer items for each user."
                )
            return float(values.mean())
        if self.n_candidates is None:
            lists = _recommend(model, relevant.labels, k)
        else:
            warnings.warn(
                f"n_candidates={self.n_candidates} ranks the relevant items among a "
                "sample of the others. Such scores can order models differently than "
                "scores over all items do (Krichene and Rendle, 2020): use them to "
                "compare with numbers that were measured so, and n_candidates=None to "
                "choose a model.",
                UserWarning,
                stacklevel=2,
            )
            lists = self._rank_samples(model, relevant)
        gains = _find_gains(lists, relevant, n_items, k)
        n_relevant = np.bincount(relevant.users)
        values = _AT_K[self.metric](gains, n_relevant, _ideal(relevant, k))
        return float(values.mean())

    def _fold_in(self, model, tested, X):
        """Fold a part of each unknown user's pairs into a model; return the others.

        The model is a snapshot, which stands for the estimator no longer when it
        learns: the estimator stays as it is.
        """
        if not hasattr(model, "fold_in_users"):
            raise TypeError(
                f"fold_in={self.fold_in} needs an estimator with the method "
                f"fold_in_users, such as ALSFactorizer or BiasedMF, got "
                f"{type(model).__name__}: pass fold_in=None, by which unknown users "
                "are ranked for without their history."
            )
        is_new = read_ids("users", tested.labels, model.users_)[tested.users] < 0
        counts = np.bincount(tested.users)
        # The pairs of each user in random order, the first of which are folded in.
        n = len(tested.users)
        shuffled = np.random.default_rng(self.random_state).permutation(n)
        order = np.lexsort((shuffled, tested.users))
        place = np.empty(n, dtype=np.int64)
        place[order] = np.arange(n) - np.repeat(np.cumsum(counts) - counts, counts)
        n_folded = np.rint(self.fold_in * counts).clip(1, np.maximum(counts - 1, 1))
        folded = is_new & (place < n_folded[tested.users])
        if folded.all():
            raise ValueError(
                f"fold_in={self.fold_in} leaves nothing to rank: no user of X that the "
                "model does not know has more than one item. Pass fold_in=None, or "
                "users with more items."
            )
        taught = (folded & (tested.items >= 0))[tested.pairs]
        if taught.any():  # rows of weight 0 are as if not there
            model.fold_in_users(X, tested.y, sample_weight=taught.astype(np.float64))
        return tested.select(~folded)

    def _select(self, tested):
        """Return the relevant items of each user who has some."""
        ratings = tested.ratings
        relevant = np.ones(len(ratings), dtype=bool)
        if self.threshold is not None:
            relevant = ratings >= self.threshold
        if self.metric == "ndcg" and self.gain == "rating":
            if ratings.min() < 0:
                raise ValueError(
                    "gain='rating' requires ratings of 0 or more, got "
                    f"{ratings.min()}: shift y, or pass gain='binary'."
                )
            relevant &= ratings > 0
            gains = ratings[relevant]
        else:
            gains = np.ones(np.count_nonzero(relevant))
        if not len(gains):
            raise ValueError(
                f"threshold={self.threshold}: no rating of X is relevant, the highest "
                f"is {ratings.max()}: lower the threshold."
            )
        present, users = np.unique(tested.users[relevant], return_inverse=True)
        items = tested.items[relevant]
        return _Relevant(tested.labels[present], users, items, gains)

    def _rank_samples(self, model, relevant):
        """Yield blocks of users, and the codes of the best of a sample for each."""
        n_users = len(relevant.labels)
        queries, biases, bounds = _queries(model, relevant)
        generator = np.random.default_rng(self.random_state)
        k, n_words = int(self.k), min(int(self.n_candidates), len(model.items_))
        check_size("k", k, n_users, len(model.items_))
        with thread_pool(count_threads(model.n_jobs)) as run:
            for block in gen_batches(n_users, max(1, BLOCK_CELLS // max(k, n_words))):
                n = block.stop - block.start
                words = generator.integers(2**32, size=(n, n_words), dtype=np.uint32)
                scores = np.full((n, k), -np.inf, model.item_factors_.dtype)
                best = np.full((n, k), -1, np.int32)
                ranges = cut_evenly(n, max(1, BLOCK_WORK // len(model.items_)))
                run(
                    rank_sample,
                    ranges,
                    queries._replace(rows=queries.rows[block]),
                    model.item_factors_,
                    biases,
                    relevant.items,
                    bounds[block.start : block.stop + 1],
                    words,
                    scores,
                    best,
                )
                run(sort_heaps, ranges, scores, best)
                yield block, best

    def __repr__(self):
        words = [repr(self.metric)]
        for name, field in self.__dataclass_fields__.items():
            value = getattr(self, name)
            if name != "metric" and value != field.default:
                words.append(f"{name}={value!r}")
        return f"make_ranking_scorer({', '.join(words)})"

    def _accept_sample_weight(self):
        """Tell scikit-learn's searches that the scorer takes no weights."""
        return False


def _find_model(estimator, X):
    """Return a snapshot of the estimator at the end of searches and pipelines, and X.

    X is as that estimator is given it.
    """
    last = estimator
    while not isinstance(last, RankingMixin):
        if hasattr(last, "best_estimator_"):
            last = last.best_estimator_
        elif isinstance(last, Pipeline):
            if len(last.steps) > 1:
                X = last[:-1].transform(X)
            last = last.steps[-1][1]
        else:
            raise TypeError(
                f"{estimator!r} cannot rank items: pass an estimator of sklearn_mf, "
                "or a fitted pipeline or search that ends in one."
            )
    return last._snapshot(), X


# ---------------------------------------------------------------------------- test data


class _Tested(NamedTuple):
    """Test ratings, each pair of a user and an item once.

    Attributes
    ----------
    labels : ndarray of shape (n_users,)
        The users' ids.
    users : int64 ndarray of shape (n_pairs,)
        User of each pair, as position in `labels`; ascending.
    items : int32 ndarray of shape (n_pairs,)
        Code of its item in the model; -1 for one that it does not know.
    ratings : float64 ndarray of shape (n_pairs,)
        Mean of its ratings.
    pairs : int64 ndarray of shape (n_ratings,)
        The pair of each test rating.
    y : ndarray of shape (n_ratings,)
        The test ratings.
    """

    labels: np.ndarray
    users: np.ndarray
    items: np.ndarray
    ratings: np.ndarray
    pairs: np.ndarray
    y: np.ndarray

    def select(self, kept):
        """Return the same with some of the pairs; `pairs` and `y` stay."""
        users, items, ratings = self.users[kept], self.items[kept], self.ratings[kept]
        return self._replace(users=users, items=items, ratings=ratings)


def _read_tested(model, X, y):
    """Read test ratings."""
    pairs = model._read_pairs(X)
    users, items = read_columns(
        X, user_column=model.user_column, item_column=model.item_column
    )
    y = read_targets(np.ones(len(pairs.users)) if y is None else y)
    check_consistent_length(pairs.users, y)
    # Codes among the ids of X, which keep unknown ids apart.
    labels, users = factorize(*users)
    item_labels, items = factorize(*items)
    _, rows, inverse = np.unique(
        users * np.int64(len(item_labels)) + items,
        return_index=True,
        return_inverse=True,
    )
    ratings = np.bincount(inverse, y) / np.bincount(inverse)
    return _Tested(labels, users[rows], pairs.items[rows], ratings, inverse, y)


class _Relevant(NamedTuple):
    """The relevant items of each user who has some.

    Attributes
    ----------
    labels : ndarray of shape (n_users,)
        The users' ids.
    users : int64 ndarray of shape (n_relevant,)
        User of each relevant item, as position in `labels`; ascending.
    items : int32 ndarray of shape (n_relevant,)
        Code of the item in the model; -1 for one that it does not know.
    gains : float64 ndarray of shape (n_relevant,)
        Above 0.
    """

    labels: np.ndarray
    users: np.ndarray
    items: np.ndarray
    gains: np.ndarray


# ----------------------------------------------------------------------------- rankings


def _recommend(model, labels, k):
    """Yield blocks of users, and the codes of the k items recommended to each."""
    for block in gen_batches(len(labels), max(1, BLOCK_CELLS // k)):
        items, _ = model.recommend(labels[block], k)
        codes = read_ids("items", items.data.ravel(), model.items_)
        codes[items.mask.ravel()] = -1
        yield block, codes.reshape(items.shape)


def _find_gains(lists, relevant, n_items, k):
    """Return the gains of the first k items in the list of each user, the best first.

    Parameters
    ----------
    lists : iterable of (slice, int32 ndarray of shape (n_users, k))
        Blocks of users, and the codes of their items; -1 where there is none.
    relevant : _Relevant
        The relevant items.
    n_items, k : int
        Number of items of the model, and of each list.

    Returns
    -------
    float64 ndarray of shape (n_users, k)
        0 for an item that is not relevant, and where there is none.
    """
    known = np.flatnonzero(relevant.items >= 0)
    pairs = relevant.users[known] * np.int64(n_items) + relevant.items[known]
    order = np.argsort(pairs)
    known, pairs = known[order], pairs[order]
    gains = np.zeros((len(relevant.labels), k))
    for block, codes in lists:
        users = np.arange(block.start, block.stop)
        found = (users[:, np.newaxis] * np.int64(n_items) + codes).ravel()
        found[codes.ravel() < 0] = -1
        places = np.searchsorted(pairs, found)
        hits = np.flatnonzero(places < len(pairs))
        hits = hits[pairs[places[hits]] == found[hits]]
        gains[block].ravel()[hits] = relevant.gains[known[places[hits]]]
    return gains


def _ideal(relevant, k):
    """Return the largest possible DCG of each user."""
    order = np.lexsort((-relevant.gains, relevant.users))
    users = relevant.users[order]
    ends = np.cumsum(np.bincount(users))
    ranks = np.arange(len(users)) - np.concatenate([[0], ends])[users] + 1
    gains = np.where(ranks <= k, relevant.gains[order] / np.log2(1 + ranks), 0)
    return np.bincount(users, gains)


def _queries(model, relevant):
    """Return users as kernels read them, biases of items, and bounds of `relevant`.

    The biases are two, those for users that the model knows and those for others.
    """
    rows = read_ids("users", relevant.labels, model.users_)
    seen = True, model.seen_indptr_, model.seen_indices_
    factors = model.item_factors_
    terms = model._item_terms()
    biases = np.zeros(len(factors), factors.dtype) if terms is None else terms
    for_unknown = model._unknown_terms()
    biases = biases, biases if for_unknown is None else for_unknown
    bounds = np.searchsorted(relevant.users, np.arange(len(rows) + 1))
    return Queries(rows, model.user_factors_, *seen), biases, bounds


def _find_ranks(model, relevant):
    """Return the ranks of all relevant items, and what they are ranked among.

    Returns
    -------
    ranks : float64 ndarray of shape (n_relevant,)
        Items of equal prediction share the mean of their ranks; 0 for an item that the
        model does not know, or that the user has seen.
    n_unseen : int64 ndarray of shape (n_users,)
        Number of items that each user has not seen.
    """
    queries, biases, bounds = _queries(model, relevant)
    factors = model.item_factors_
    ranks = rank_items(
        queries, factors, biases, relevant.items, bounds, False, model.n_jobs
    )
    n_seen = np.where(queries.rows < 0, 0, np.diff(model.seen_indptr_)[queries.rows])
    return ranks, len(factors) - n_seen
