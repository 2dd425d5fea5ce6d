"""Ratings as solvers read them: encoded, merged, sorted by user and also by item."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import sparse

from sklearn_mf._data.sorting import BLOCK, merge_pairs, sort_by_key, sum_weights
from sklearn_mf._runtime.threads import thread_pool


class Side(NamedTuple):
    """The ratings of one side, sorted by its ids: compressed sparse rows.

    Kernels take it as one argument, from `for_kernels`.

    Attributes
    ----------
    indptr : int64 ndarray of shape (n_rows + 1,)
        The ratings of row u are those from ``indptr[u]`` to below ``indptr[u + 1]``.
    indices : int32 ndarray of shape (n_ratings,)
        Code of the other id of each rating, ascending within a row.
    ratings : ndarray of shape (n_ratings,), float32 or float64
        The ratings.
    weights : ndarray of shape (n_ratings,) of the same dtype, or None
        Their weights; None stands for ones.
    """

    indptr: np.ndarray
    indices: np.ndarray
    ratings: np.ndarray
    weights: np.ndarray | None

    @classmethod
    def of_table(cls, table, observed):
        """Return the observed entries of a dense table, a row for each of its rows.

        Parameters
        ----------
        table : ndarray of shape (n_rows, n_others)
            The entries.
        observed : bool ndarray of the same shape
            Which of them are ratings.
        """
        indptr = np.append(0, np.cumsum(observed.sum(axis=1, dtype=np.int64)))
        indices = np.broadcast_to(
            np.arange(table.shape[1], dtype=np.int32), table.shape
        )
        return cls(indptr, indices[observed], table[observed], None)

    @property
    def dtype(self):
        """Float type of the ratings."""
        return self.ratings.dtype

    @property
    def n_ratings(self):
        """How many ratings there are."""
        return len(self.ratings)

    def average(self):
        """Return the weighted mean of the ratings, and the sum of their weights."""
        ratings = self.ratings.astype(np.float64)
        if self.weights is None:
            return ratings.mean(), len(ratings)
        ratings *= self.weights
        weight = self.weights.sum(dtype=np.float64)
        return ratings.sum() / weight, weight

    def sum_squares(self, mean):
        """Return the weighted sum of squared deviations of the ratings from a mean."""
        with np.errstate(over="ignore"):  # solvers report it
            squares = (self.ratings.astype(np.float64) - mean) ** 2
        if self.weights is not None:
            squares *= self.weights
        return squares.sum()

    def range(self):
        """Return the smallest and the largest rating, two floats."""
        return float(self.ratings.min()), float(self.ratings.max())

    def counts(self):
        """Return the number of ratings of each row, int64 of shape (n_rows,)."""
        return np.diff(self.indptr)

    def for_kernels(self):
        """Return the side with weights of no entry where they are None.

        None has a type of its own, for which kernels would be compiled once more.
        """
        return (
            self
            if self.weights is not None
            else self._replace(weights=self.ratings[:0])
        )

    def without_empty_rows(self):
        """Return the side without the rows that have no rating, and the rows kept."""
        rows = np.flatnonzero(self.counts())
        ends = np.append(self.indptr[rows], self.indptr[-1])
        return self._replace(indptr=ends), rows

    def select(self, rows, dtype):
        """Return a side of some of the rows, with ratings and weights of a dtype."""
        counts = self.counts()[rows]
        indptr = np.append(0, np.cumsum(counts))
        at = np.arange(indptr[-1]) + np.repeat(self.indptr[rows] - indptr[:-1], counts)
        weights = None if self.weights is None else self.weights[at].astype(dtype)
        return Side(indptr, self.indices[at], self.ratings[at].astype(dtype), weights)

    def with_codes(self, codes):
        """Return the side with other codes for the other ids, less those of code -1.

        The codes of the others are to be in the order of the ids.
        """
        indices = codes[self.indices]
        kept = indices >= 0
        ends = np.append(0, np.cumsum(kept))[self.indptr]
        weights = None if self.weights is None else self.weights[kept]
        return Side(ends, indices[kept], self.ratings[kept], weights)

    def weight_sums(self):
        """Return the sum of weights of each row, float64 of shape (n_rows,)."""
        if self.weights is None:
            return self.counts().astype(np.float64)
        sums = np.zeros(len(self.indptr) - 1)
        sum_weights(self.indptr, self.weights, sums)
        return sums


@dataclass(frozen=True)
class Ratings:
    """What a solver learns from: each pair once, sorted by user and by item.

    Attributes
    ----------
    users, items : ndarrays of shape (n_users,) and (n_items,)
        The labels, sorted.
    by_user, by_item : Side
        The same ratings, sorted either way.
    """

    users: np.ndarray
    items: np.ndarray
    by_user: Side
    by_item: Side

    @classmethod
    def of_table(cls, table, observed):
        """Return the observed entries of a dense table; see `Side.of_table`.

        Its rows are the users, and its columns the items.
        """
        rows, columns = map(np.arange, table.shape)
        by_user = Side.of_table(table, observed)
        return cls(rows, columns, by_user, Side.of_table(table.T, observed.T))

    @property
    def dtype(self):
        """Float type of the ratings, and of all parameters learnt from them."""
        return self.by_user.dtype

    @property
    def n_unobserved(self):
        """How many pairs of a user and an item have no rating."""
        return len(self.users) * len(self.items) - self.by_user.n_ratings

    def mean(self, unobserved_weight=0.0):
        """Return the weighted mean of the ratings, a float.

        Pairs without a rating count as zeros of weight `unobserved_weight`.
        """
        mean, weight = self.by_user.average()
        unobserved = unobserved_weight * self.n_unobserved
        return float(mean * (weight / (weight + unobserved)))

    def total_weight(self, unobserved_weight=0.0):
        """Return the sum of the weights of all pairs; see `mean`."""
        observed = self.by_user.weight_sums().sum()
        return observed + unobserved_weight * self.n_unobserved

    def mean_weight(self):
        """Return the mean of the weights of the ratings."""
        return self.total_weight() / self.by_user.n_ratings

    def deviation(self, mean, unobserved_weight=0.0):
        """Return the weighted sum of squared deviations from a mean; see `mean`."""
        total = self.by_user.sum_squares(mean)
        if unobserved_weight:
            total += unobserved_weight * self.n_unobserved * mean * mean
        return float(total)

    def log_loss(self, probability):
        """Return twice the weighted sum of the log losses of one probability."""
        weight = self.total_weight()
        right, p = self.mean(), np.clip(probability, 1e-6, 1 - 1e-6)
        return float(-2 * weight * (right * np.log(p) + (1 - right) * np.log1p(-p)))

    def scale(self, mean, unobserved_weight=0.0):
        """Return the standard deviation from a mean.

        It is 1 if all ratings equal the mean, or if their squares overflow.
        """
        deviation = self.deviation(mean, unobserved_weight)
        scale = float((deviation / self.total_weight(unobserved_weight)) ** 0.5)
        rounding = 10 * np.finfo(np.float64).eps * abs(mean)
        return scale if rounding < scale < np.inf else 1.0

    def range(self):
        """Return the smallest and the largest rating, two floats."""
        return self.by_user.range()

    def join(self, users, items, ratings):
        """Return these ratings together with others of other pairs.

        Others of the same pairs are left out. All ratings must be without weights.

        Parameters
        ----------
        users, items : int ndarrays of shape (n_others,)
            Codes of the others, each pair once.
        ratings : ndarray of shape (n_others,)
            The others.

        Returns
        -------
        Ratings
        """
        shape, side = (len(self.users), len(self.items)), self.by_user
        own = np.repeat(np.arange(shape[0]), side.counts()), side.indices
        pairs = (np.ravel_multi_index(codes, shape) for codes in ((users, items), own))
        kept = np.isin(*pairs, invert=True)
        by_user, by_item = sort_both_ways(
            [np.append(users[kept], own[0]), np.append(items[kept], own[1])],
            np.append(ratings[kept], side.ratings),
            None,
            shape,
        )
        return Ratings(self.users, self.items, by_user, by_item)


@dataclass(frozen=True)
class Pairs:
    """Pairs to be scored.

    Attributes
    ----------
    users, items : int32 ndarrays of shape (n_pairs,)
        Codes; -1 for an unseen id.
    cold_share : float
        Share of the distinct users that are unseen.
    """

    users: np.ndarray
    items: np.ndarray
    cold_share: float


@dataclass(frozen=True)
class HeldOut:
    """Ratings that the solver does not see, to be scored.

    Attributes
    ----------
    users, items : int32 ndarrays of shape (n_held_out,)
        Codes.
    ratings, weights : ndarrays of shape (n_held_out,); weights may be None
        The ratings and their weights.
    """

    users: np.ndarray
    items: np.ndarray
    ratings: np.ndarray
    weights: np.ndarray | None


def hold_out(ratings, fraction, rng, n_threads=1):
    """Take out some ratings at random, so that no user or item loses its last one.

    Parameters
    ----------
    ratings : Ratings
        The ratings.
    fraction : float
        Share of the ratings to be taken out.
    rng : RandomState
        Source of the choice.
    n_threads : int
        How many threads sort the others.

    Returns
    -------
    Ratings
        The others.
    HeldOut or None
        What was taken; None if every rating is the last one of its user or its item.
    """
    side = ratings.by_user
    users = np.repeat(np.arange(len(ratings.users), dtype=np.int32), side.counts())
    order = rng.permutation(len(users))
    # The last rating of each id in this order is kept.
    spare = np.ones(len(order), dtype=bool)
    for codes in (users, side.indices):
        last = np.full(codes.max() + 1, -1)
        np.maximum.at(last, codes[order], np.arange(len(order)))
        spare[last[last >= 0]] = False
    taken = order[spare][: max(1, round(fraction * len(order)))]
    if len(taken) == 0:
        return ratings, None
    mask = np.zeros(len(order), dtype=bool)
    mask[taken] = True

    def part(mask):
        weights = None if side.weights is None else side.weights[mask]
        return users[mask], side.indices[mask], side.ratings[mask], weights

    shape = len(ratings.users), len(ratings.items)
    *codes, left, weights = part(~mask)
    by_user, by_item = sort_both_ways(codes, left, weights, shape, n_threads)
    kept = Ratings(ratings.users, ratings.items, by_user, by_item)
    return kept, HeldOut(*part(mask))


def join_patterns(shape, *patterns):
    """Join lists of pairs, each a tuple of users and items, to one pattern.

    Returns
    -------
    indptr, indices : int64 and int32 ndarrays
        Which items belong to each user: compressed sparse rows, ascending.
    """
    users, items = (np.concatenate(codes) for codes in zip(*patterns, strict=True))
    pattern = sparse.csr_array((np.ones(len(users), np.int8), (users, items)), shape)
    pattern.sum_duplicates()
    return pattern.indptr.astype(np.int64), pattern.indices.astype(np.int32, copy=False)


def sort_both_ways(codes, ratings, weights, shape, n_threads=1):
    """Sort ratings by user and by item, and merge repeated pairs.

    Parameters
    ----------
    codes : list of 2 int32 ndarrays of shape (n_ratings,)
        Users and items. The list is emptied, so that their memory is free where nobody
        else needs it.
    ratings, weights : ndarrays of shape (n_ratings,)
        The weights may be None.
    shape : (int, int)
        Numbers of users and of items.
    n_threads : int
        How many threads sort.

    Returns
    -------
    by_user, by_item : Side
        Weights of repeated pairs are added, ratings averaged.
    """
    users, items = (np.asarray(part, np.int32) for part in codes)
    codes.clear()
    every = np.empty(0, np.int64), users
    with thread_pool(max(1, min(n_threads, len(ratings) // BLOCK))) as run:
        # By item, then by user, then by item once more; see `sorting`.
        rest = ratings, weights
        indptr, *entries = sort_by_key(items, every, *rest, shape[1], run)
        del users, items, every
        keys, *rest = entries
        entries = sort_by_key(keys, (indptr, keys[:0]), *rest, shape[0], run)
        del keys, rest
        by_user = Side(*merge_pairs(*entries, run))
        del entries
        indptr, keys, *rest = by_user
        by_item = sort_by_key(keys, (indptr, keys[:0]), *rest, shape[1], run)
    return by_user, Side(*by_item)
