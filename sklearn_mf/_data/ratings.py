"""Ratings as solvers read them: encoded, merged, sorted by user and also by item."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import sparse


class Side(NamedTuple):
    """The ratings of one side, sorted by its ids: compressed sparse rows.

    Kernels take it as one argument.

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

    def counts(self):
        """Return the number of ratings of each row, int64 of shape (n_rows,)."""
        return np.diff(self.indptr)

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
        shape = len(self.indptr) - 1, len(self.weights)
        columns = np.arange(shape[1])
        weights = self.weights.astype(np.float64, copy=False)
        return sparse.csr_array((weights, columns, self.indptr), shape).sum(axis=1)


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

    @property
    def dtype(self):
        """Float type of the ratings, and of all parameters learnt from them."""
        return self.by_user.ratings.dtype

    def mean(self, unobserved_weight=0.0):
        """Return the weighted mean of the ratings, a float.

        Pairs without a rating count as zeros of weight `unobserved_weight`.
        """
        side = self.by_user
        ratings = side.ratings.astype(np.float64)
        mean, weight = np.average(ratings, weights=side.weights, returned=True)
        n_unobserved = len(self.users) * len(self.items) - len(ratings)
        return float(mean * (weight / (weight + unobserved_weight * n_unobserved)))

    def total_weight(self, unobserved_weight=0.0):
        """Return the sum of the weights of all pairs; see `mean`."""
        n_unobserved = len(self.users) * len(self.items) - len(self.by_user.ratings)
        return self.by_user.weight_sums().sum() + unobserved_weight * n_unobserved

    def mean_weight(self):
        """Return the mean of the weights of the ratings."""
        return self.total_weight() / len(self.by_user.ratings)

    def deviation(self, mean, unobserved_weight=0.0):
        """Return the weighted sum of squared deviations from a mean; see `mean`."""
        side = self.by_user
        with np.errstate(over="ignore"):  # solvers report it
            squares = (side.ratings.astype(np.float64) - mean) ** 2
        if side.weights is not None:
            squares *= side.weights
        total = squares.sum()
        if unobserved_weight:
            n_unobserved = len(self.users) * len(self.items) - len(squares)
            total += unobserved_weight * n_unobserved * mean * mean
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
        return float(self.by_user.ratings.min()), float(self.by_user.ratings.max())

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
            np.append(users[kept], own[0]),
            np.append(items[kept], own[1]),
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


def hold_out(ratings, fraction, rng):
    """Take out some ratings at random, so that no user or item loses its last one.

    Parameters
    ----------
    ratings : Ratings
        The ratings.
    fraction : float
        Share of the ratings to be taken out.
    rng : RandomState
        Source of the choice.

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
    by_user, by_item = sort_both_ways(*part(~mask), shape)
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


def sort_both_ways(users, items, ratings, weights, shape):
    """Sort ratings by user and by item, and merge repeated pairs."""
    # SciPy turns compressed rows into columns by a counting sort: it counts the entries
    # of each column, and then copies them to their columns in the order of the rows.
    # This is stable and takes O(n) time. Done first by item and then by user, it sorts
    # the ratings by user, and those of each user by item:
    #
    #     rating         0     1     2     3
    #     (user, item) (1,2) (0,2) (1,0) (0,1)
    #
    #     a matrix with one row for each rating, to columns, which are the items
    #     item           0  |  1  |  2     2
    #     rating         2  |  3  |  0     1
    #
    #     the same columns with the users as rows, to rows
    #     user           0     0  |  1     1
    #     item           1     2  |  0     2
    #     rating         3     1  |  2     0
    #
    # SciPy widens all indices to the widest array of them: int32 halves the memory.
    index = np.int32 if len(ratings) < 2**31 else np.int64

    def by_user(values):
        rows = np.arange(len(values) + 1, dtype=index)
        single = sparse.csr_array(
            (values, items, rows), shape=(len(values), shape[1])
        ).tocsc()
        return sparse.csc_array(
            (single.data, users[single.indices], single.indptr), shape=shape
        ).tocsr()

    R = by_user(ratings)
    W = None if weights is None else by_user(weights)
    if not R.has_canonical_format:
        if W is None:
            W = R.copy()
            W.data[:] = 1
        _merge(R, W)
    return _side(R, W), _side(R.tocsc(), None if W is None else W.tocsc())


def _merge(R, W):
    """Merge entries of the same pair: weights are added, ratings averaged."""
    rows = np.repeat(np.arange(R.shape[0]), np.diff(R.indptr))
    new = np.append(True, (np.diff(rows) != 0) | (np.diff(R.indices) != 0))
    # Sums are taken in an order that does not depend on that of the ratings.
    repeated = np.flatnonzero(~(new & np.append(new[1:], True)))
    pairs, ratings = np.cumsum(new[repeated]), R.data[repeated]
    weights = W.data[repeated].astype(np.float64)
    keys = (
        (ratings, pairs)
        if weights.min() == weights.max()
        else (weights, ratings, pairs)
    )
    order = np.lexsort(keys)
    ratings, weights = ratings[order], weights[order]
    first = np.flatnonzero(new[repeated])
    sums = np.add.reduceat(weights, first)
    means = np.add.reduceat(ratings * weights, first) / sums
    # Rounding must not take a mean out of the range of what it is the mean of.
    last = np.append(first[1:], len(ratings)) - 1
    means = np.clip(means, ratings[first], ratings[last])
    for matrix, values in ((R, means), (W, sums)):
        index = matrix.indptr.dtype
        matrix.data[repeated[first]] = values
        matrix.data = matrix.data[new]
        matrix.indices = matrix.indices[new]
        matrix.indptr = np.append(0, np.cumsum(new)).astype(index)[matrix.indptr]
        matrix.has_canonical_format = True


def _side(R, W):
    return Side(
        indptr=R.indptr.astype(np.int64),
        indices=R.indices.astype(np.int32, copy=False),
        ratings=R.data,
        weights=None if W is None else W.data,
    )
