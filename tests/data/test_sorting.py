"""Sorting of ratings against NumPy's, with blocks so small that few make many."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sklearn_mf._data import labels, ratings, sorting
from sklearn_mf._data.ratings import sort_both_ways
from sklearn_mf._runtime import arrays
from sklearn_mf._runtime.threads import thread_pool
from tests.assertions import assert_same

SHAPE = 13, 9
THREADS = 1, 2, 3, 8


@pytest.fixture(autouse=True, params=[1, 7, 2**16], ids="block={}".format)
def small_blocks(request, monkeypatch):
    """Cut blocks of few entries."""
    monkeypatch.setattr(sorting, "BLOCK", request.param)
    monkeypatch.setattr(ratings, "BLOCK", request.param)
    monkeypatch.setattr(labels, "BLOCK", request.param)
    monkeypatch.setattr(arrays, "TAKEN", request.param)


def draw_pairs(kind, rng):
    """Return users and items of a table of a kind."""
    n = 1 if kind == "one rating" else 300
    users, items = (rng.randint(limit, size=n) for limit in SHAPE)
    if kind == "empty rows":
        users, items = users // 4 * 4, items // 3 * 3 + 1
    elif kind == "half in one row":
        users[: n // 2] = 5
    elif kind == "one user":
        users[:] = 2
    elif kind == "one pair":
        users[:], items[:] = SHAPE[0] - 1, SHAPE[1] - 1
    elif kind == "each pair once":
        cells = rng.permutation(np.prod(SHAPE))[:80]
        users, items = np.divmod(cells, SHAPE[1])
    return users.astype(np.int32), items.astype(np.int32)


KINDS = (
    "random",
    "one rating",
    "empty rows",
    "half in one row",
    "one user",
    "one pair",
    "each pair once",
)


def draw_weights(kind, y, rng):
    """Return weights of ratings."""
    if kind is None:
        return None
    return {
        "equal": np.full_like(y, 0.3),
        "various": rng.uniform(0.1, 3, size=len(y)).astype(y.dtype),
    }[kind]


def merge_by_lexsort(users, items, y, weights):
    """Merge repeated pairs; return users, items, ratings and weights, by user."""
    w = np.ones(len(y)) if weights is None else weights.astype(np.float64)
    order = np.lexsort((w, y, items, users))
    users, items, y, w = users[order], items[order], y[order], w[order]
    is_first = np.append(True, (np.diff(users) != 0) | (np.diff(items) != 0))
    if is_first.all():
        return users, items, y, None if weights is None else w.astype(y.dtype)
    first = np.flatnonzero(is_first)
    last = np.append(first[1:], len(y)) - 1
    sums = np.add.reduceat(w, first)
    means = np.clip(np.add.reduceat(w * y, first) / sums, y[first], y[last])
    return users[first], items[first], means.astype(y.dtype), sums.astype(y.dtype)


def check_side(side, rows, others, y, weights, n_rows):
    """Check a side against sorted entries."""
    assert_array_equal(side.indptr, np.searchsorted(rows, np.arange(n_rows + 1)))
    assert (side.indptr.dtype, side.indices.dtype) == (np.int64, np.int32)
    assert_array_equal(side.indices, others)
    assert_array_equal(side.ratings, y)
    assert side.ratings.dtype == y.dtype
    if weights is None:
        assert side.weights is None
    else:
        assert_array_equal(side.weights, weights)
        assert side.weights.dtype == weights.dtype


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighting", [None, "equal", "various"])
@pytest.mark.parametrize("kind", KINDS)
def test_sides_are_those_of_a_lexsort(kind, weighting, dtype):
    rng = np.random.RandomState(0)
    users, items = draw_pairs(kind, rng)
    y = rng.normal(size=len(users)).astype(dtype)
    y[::3] = np.round(y[::3]) + 0.0  # some are equal, and none is −0
    weights = draw_weights(weighting, y, rng)
    given = [part.copy() for part in (users, items, y)]
    sorted_ = [
        sort_both_ways([users, items], y, weights, SHAPE, n_threads)
        for n_threads in THREADS
    ]
    for before, after in zip(given, (users, items, y), strict=True):
        assert_same(before, after)
    rows, others, *values = merge_by_lexsort(users, items, y, weights)
    by_user, by_item = sorted_[0]
    check_side(by_user, rows, others, *values, SHAPE[0])
    turned = np.lexsort((rows, others))
    values = [None if part is None else part[turned] for part in values]
    check_side(by_item, others[turned], rows[turned], *values, SHAPE[1])
    for sides in sorted_[1:]:
        assert_same(sides, sorted_[0])


@pytest.mark.parametrize("weighting", [None, "equal", "various"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_the_ratings_does_not_matter(kind, weighting):
    rng = np.random.RandomState(1)
    users, items = draw_pairs(kind, rng)
    y = rng.normal(size=len(users))
    weights = draw_weights(weighting, y, rng)
    one = sort_both_ways([users, items], y, weights, SHAPE)
    order = rng.permutation(len(y))
    shuffled = None if weights is None else weights[order]
    other = sort_both_ways([users[order], items[order]], y[order], shuffled, SHAPE, 2)
    assert_same(one, other)


def test_codes_are_given_up():
    codes = [np.zeros(3, np.int32), np.arange(3, dtype=np.int32)]
    sort_both_ways(codes, np.ones(3), None, (1, 3))
    assert codes == []


@pytest.mark.parametrize(("n_keys", "n_blocks"), [(1, 8), (25, 2), (51, 1), (999, 1)])
def test_counts_take_no_more_memory_than_the_keys(n_keys, n_blocks):
    """Each block has counts of all keys, which are int64 where keys are int32."""
    keys, made = np.zeros(100, np.int32), set()

    def run(kernel, blocks, *args):
        made.add(len(blocks))
        for block in blocks:
            kernel(*block, *args)

    run.n_threads = 8
    others = np.empty(0, np.int64), keys
    sorting.sort_by_key(keys, others, None, None, n_keys, run)
    assert made == {min(n_blocks, max(1, 100 // sorting.BLOCK))}


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint64, np.int64])
@pytest.mark.parametrize("n_threads", THREADS)
def test_integers_are_encoded_as_by_a_sort(dtype, n_threads):
    limits = np.iinfo(dtype)
    rng = np.random.RandomState(0)
    for low in (limits.min, limits.max - 200):
        offsets = rng.randint(0, 201, size=500)
        column = np.array([low + offset for offset in offsets.tolist()], dtype)
        for ids in (column, np.repeat(column, 2)[::2], column[:1]):
            found, codes = labels.factorize("column", ids, n_threads)
            expected, expected_codes = np.unique(ids, return_inverse=True)
            assert_same(found, expected)
            assert_array_equal(codes, expected_codes)
            assert codes.dtype == np.int32


@pytest.mark.parametrize("n_threads", THREADS)
def test_gathering_is_indexing(n_threads):
    rng = np.random.RandomState(0)
    places, codes = rng.randint(40, size=100), rng.randint(30, size=40)
    table = rng.normal(size=30).astype(np.float32)
    with thread_pool(n_threads) as run:
        assert_same(arrays.take_entries(run, places, codes), codes[places])
        taken = arrays.take_entries(run, places, codes, table)
        assert_same(taken, table[codes[places]])
        memory = places.astype(np.int32)
        out = memory.view(np.float32)
        assert arrays.take_entries(run, memory, codes, table, out=out) is out
    assert_same(out, taken)


def test_sums_of_weights_are_added_one_after_the_other():
    weights = np.array([1e8, 1, 1, 0.1, 0.2], np.float32)
    side = ratings.Side(np.array([0, 3, 3, 5]), np.zeros(5, np.int32), weights, weights)
    expected = [1e8 + 1 + 1, 0, float(weights[3]) + float(weights[4])]
    assert_array_equal(side.weight_sums(), expected)
