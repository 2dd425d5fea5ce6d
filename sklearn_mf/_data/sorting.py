"""Sorting of ratings by user and by item in threads, and merging of repeated pairs.

A counting sort counts the entries of each key, which tells where those of each key
begin, and copies the entries there one by one. It is stable and takes O(n) time. Here
the entries are in two blocks, which two threads count and copy side by side:

    key                2     0   |   2     0     1       the input, in two blocks
    other              1     2   |   0     0     2
    entries of key 0, 1, 2       1 0 1  |  1 1 1         counts
    where they are to begin      0 2 3  |  1 2 4         places
    key                0     0  |    1   |   2     2     the result
    other              2     0  |    2   |   1     0

Entries of a key come in the order of the blocks, and so in that of the input, however
many blocks there are. Sorted by item and then by user, ratings are sorted by user, and
those of each user by item. Sorted by item once more, those of each item are sorted by
user.
"""

import numpy as np

from sklearn_mf._runtime.compile import helper, inlined, jit, njit
from sklearn_mf._runtime.threads import cut_evenly, cut_rows

BLOCK = 2**16  # entries that are worth a thread


def sort_by_key(keys, others, ratings, weights, n_keys, run):
    """Sort entries by key; those of a key remain in their order.

    Parameters
    ----------
    keys : int ndarray of shape (n,)
        The key of each entry.
    others : tuple of 2 ndarrays
        Pointers and indices; the other of each entry. Where there are no indices, it is
        the row of compressed sparse rows with these pointers.
    ratings, weights : ndarrays of shape (n,)
        They may be None.
    n_keys : int
        Number of keys.
    run : callable
        From `thread_pool`.

    Returns
    -------
    indptr : int64 ndarray of shape (n_keys + 1,)
        The entries of key k are those from ``indptr[k]`` to below ``indptr[k + 1]``.
    others, ratings, weights : ndarrays of shape (n,)
        The entries, sorted.
    """
    n = len(keys)
    # Counts take no more memory than the keys.
    n_blocks = max(1, min(run.n_threads, n // BLOCK, n // (2 * n_keys)))
    size = n // n_blocks + 1
    blocks = cut_evenly(n, size)
    places = np.zeros((len(blocks), n_keys), np.int64)
    run(count_keys, blocks, size, keys, places)
    indptr = np.zeros(n_keys + 1, np.int64)
    for counts in places:
        indptr[1:] += counts
    np.cumsum(indptr, out=indptr)
    begin = indptr[:-1].copy()
    for counts in places:
        begin += counts
        np.subtract(begin, counts, out=counts)
    to = [None if part is None else np.empty_like(part) for part in (ratings, weights)]
    to.insert(0, np.empty(n, others[1].dtype))
    run(place_entries, blocks, size, keys, *others, ratings, weights, places, *to)
    return indptr, *to


@jit
def count_keys(start, stop, size, keys, counts):
    """Count the entries of each key in a block.

    Parameters
    ----------
    start, stop : int
        The entries of the block.
    size : int
        Entries of each block but the last.
    keys : int32 ndarray of shape (n,)
        The keys.
    counts : int64 ndarray of shape (n_blocks, n_keys)
        Zeros before. The row of the block is overwritten.
    """
    block = start // size
    for k in range(start, stop):
        counts[block, keys[k]] += 1


@jit
def place_entries(
    start,
    stop,
    size,
    keys,
    indptr,
    indices,
    ratings,
    weights,
    places,
    to_others,
    to_ratings,
    to_weights,
):
    """Copy the entries of a block to where those of their keys are.

    Parameters
    ----------
    start, stop, size
        See `count_keys`.
    keys, indptr, indices, ratings, weights
        See `sort_by_key`.
    places : int64 ndarray of shape (n_blocks, n_keys)
        Where the entries of each key begin for each block. Overwritten.
    to_others, to_ratings, to_weights : ndarrays of shape (n,)
        Overwritten: the entries. Ratings and weights may be None.
    """
    block, row = start // size, 0
    by_row = len(indices) == 0
    if by_row:
        row = np.searchsorted(indptr, start, side="right") - 1
    for k in range(start, stop):
        if by_row:
            while indptr[row + 1] <= k:
                row += 1
            other = np.int32(row)
        else:
            other = indices[k]
        to = places[block, keys[k]]
        places[block, keys[k]] = to + 1
        to_others[to] = other
        if ratings is not None:
            to_ratings[to] = ratings[k]
        if weights is not None:
            to_weights[to] = weights[k]


def merge_pairs(indptr, others, ratings, weights, run):
    """Merge entries of the same pair: weights are added, ratings averaged.

    The result does not depend on the order of the entries of a pair.

    Parameters
    ----------
    indptr, others, ratings, weights : ndarrays
        From `sort_by_key`, with ascending others. Entries of a pair are put in order.
    run : callable
        From `thread_pool`.

    Returns
    -------
    indptr, others, ratings, weights : ndarrays
        The same where no pair is repeated, else without None for the weights.
    """
    entries = indptr, others, ratings, weights
    n_pairs = np.diff(indptr)
    blocks = cut_rows(n_pairs, BLOCK)
    run(order_pairs, blocks, *entries, n_pairs)
    n = n_pairs.sum()
    if n == len(others):
        return entries
    ends = np.append(0, np.cumsum(n_pairs))
    kinds = np.int32, ratings.dtype, ratings.dtype
    pairs = [np.empty(n, kind) for kind in kinds]
    run(merge_rows, blocks, *entries, ends, *pairs)
    return ends, *pairs


@jit
def order_pairs(begin, end, indptr, others, ratings, weights, n_pairs):
    """Put entries of the same pair in order, by rating and then by weight.

    Parameters
    ----------
    begin, end : int
        Rows.
    indptr, others, ratings, weights
        See `merge_pairs`.
    n_pairs : int64 ndarray of shape (n_rows,)
        Number of entries of each row; that of its pairs, afterwards.
    """
    for row in range(begin, end):
        k, last = indptr[row], indptr[row + 1]
        while k < last:
            stop = _find_end(k, last, others)
            if stop > k + 1:
                _sort_pair(k, stop, ratings, weights)
                n_pairs[row] -= stop - k - 1
            k = stop


@inlined
def _find_end(k, last, others):
    """Return where the entries of the pair of entry k end."""
    stop = k + 1
    while stop < last and others[stop] == others[k]:
        stop += 1
    return stop


@helper
def _sort_pair(start, stop, ratings, weights):
    """Sort entries of one pair by rating and then by weight, as Shell did."""
    gap = 1
    while gap < (stop - start) // 3:
        gap = 3 * gap + 1
    while gap > 0:
        for k in range(start + gap, stop):
            rating, to = ratings[k], k
            weight = rating if weights is None else weights[k]
            while to >= start + gap:
                before = to - gap
                if ratings[before] < rating:
                    break
                if ratings[before] == rating and (
                    weights is None or weights[before] <= weight
                ):
                    break
                ratings[to] = ratings[before]
                if weights is not None:
                    weights[to] = weights[before]
                to = before
            ratings[to] = rating
            if weights is not None:
                weights[to] = weight
        gap //= 3


# Nothing may change the order of these sums, on which their last bits depend.
EXACT = {"nogil": True, "error_model": "numpy"}


@njit(**EXACT)
def _sum_in_pairs(start, stop, values, weights):
    """Return a weighted sum in float64, added in the order of `numpy.sum`."""
    n = stop - start
    if n > 128:
        middle = start + n // 16 * 8
        low = _sum_in_pairs(start, middle, values, weights)
        return low + _sum_in_pairs(middle, stop, values, weights)
    sums, rest = np.full(8, -0.0), n % 8  # −0 and x make x, of either sign
    for k in range(n - rest):
        weight = 1.0 if weights is None else np.float64(weights[start + k])
        sums[k % 8] += weight * values[start + k]
    total = ((sums[0] + sums[1]) + (sums[2] + sums[3])) + (
        (sums[4] + sums[5]) + (sums[6] + sums[7])
    )
    for k in range(stop - rest, stop):
        weight = 1.0 if weights is None else np.float64(weights[k])
        total += weight * values[k]
    return total


@njit(cache=True, **EXACT)
def merge_rows(
    begin,
    end,
    indptr,
    others,
    ratings,
    weights,
    ends,
    to_others,
    to_ratings,
    to_weights,
):
    """Merge the entries of each pair of some rows.

    Parameters
    ----------
    begin, end, indptr, others, ratings, weights
        See `order_pairs`.
    ends : int64 ndarray of shape (n_rows + 1,)
        Where the pairs of each row are to begin.
    to_others, to_ratings, to_weights : ndarrays of shape (n_pairs,)
        Overwritten: the pairs.
    """
    for row in range(begin, end):
        k, to = indptr[row], ends[row]
        while k < indptr[row + 1]:
            stop = _find_end(k, indptr[row + 1], others)
            weight = 1.0 if weights is None else np.float64(weights[k])
            mean = np.float64(ratings[k])
            if stop > k + 1:
                total = weight * mean + _sum_in_pairs(k + 1, stop, ratings, weights)
                if weights is None:
                    weight = float(stop - k)
                else:
                    weight += _sum_in_pairs(k + 1, stop, weights, None)
                # Rounding must not take a mean out of the range of its ratings.
                mean = min(max(total / weight, mean), np.float64(ratings[stop - 1]))
            to_others[to], to_ratings[to], to_weights[to] = others[k], mean, weight
            k, to = stop, to + 1


@njit(cache=True, **EXACT)
def sum_weights(indptr, weights, sums):
    """Add up the weights of each row, one after the other, to float64 sums."""
    for row in range(len(sums)):
        for k in range(indptr[row], indptr[row + 1]):
            sums[row] += weights[k]
