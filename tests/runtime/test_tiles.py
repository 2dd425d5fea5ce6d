"""Tiles, compiled or not, against NumPy."""

import itertools

import numba
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_mf._runtime.tiles import (
    add_rows,
    add_up,
    count_lanes,
    largest,
    load_row,
    load_tile,
    load_transposed,
    pick,
    store,
    where_positive,
    zero_tile,
    zeros,
)

DTYPES = [np.float32, np.float64]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("lanes", [8, 16])
def test_vectors_against_numpy(lanes, dtype):
    def compute(A, B, out):
        left, right = load_row(A, 1, 3, lanes), load_row(B, 2, 5, lanes)
        store(left, out, 0, 1)
        store(left + right, out, 1, 0)
        store(left * right, out, 2, 2)
        store(pick(A, 3, 1) * left, out, 3, 0)
        store(right + pick(A, 0, 2) * left, out, 4, 1)
        return add_up(left * right), largest(right), pick(B, 4, lanes)

    rng = np.random.default_rng(0)
    A, B = rng.normal(size=(2, 5, lanes + 5)).astype(dtype)
    out, expected = np.full((2, 5, lanes + 3), 7, dtype)
    total, *others = numba.njit(compute)(A, B, out)
    left, right = A[1, 3 : 3 + lanes], B[2, 5 : 5 + lanes]
    expected[0, 1 : 1 + lanes] = left
    expected[1, :lanes] = left + right
    expected[2, 2 : 2 + lanes] = left * right
    expected[3, :lanes] = A[3, 1] * left
    expected[4, 1 : 1 + lanes] = right + A[0, 2] * left
    assert_array_equal(out[:4], expected[:4])
    eps = 4 * np.finfo(dtype).eps
    assert_allclose(out[4], expected[4], rtol=eps, atol=eps)  # perhaps contracted
    assert_allclose(total, left @ right, rtol=lanes * eps)
    assert others == [right.max(), B[4, lanes]]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "lanes"), list(itertools.product([1, 3, 8], [4, 16])))
def test_product_of_matrices(rows, lanes, dtype):
    def compute(L, R, C):
        tile = zero_tile(C, rows, lanes)
        transposed = zero_tile(C, rows, lanes)
        for k in range(len(R)):
            right = load_row(R, k, 2, lanes)
            tile = tile + load_tile(L, 1, k, rows, 1) * right
            transposed = transposed + load_transposed(L, k, 1, rows) * right
        store(tile, C, 2, 3)
        store(load_tile(C, 2, 3, rows, lanes) + transposed, C, 2, 3)

    rng = np.random.default_rng(0)
    L = rng.normal(size=(rows + 8, rows + 8)).astype(dtype)
    R = rng.normal(size=(5, lanes + 2)).astype(dtype)
    C = np.full((rows + 2, lanes + 4), 7, dtype)
    expected = C.copy()
    left = L[1 : 1 + rows, :5] + L[:5, 1 : 1 + rows].T
    expected[2:, 3 : 3 + lanes] = left @ R[:, 2:]
    numba.njit(compute)(L, R, C)
    eps = 50 * np.finfo(dtype).eps
    assert_allclose(C, expected, rtol=eps, atol=eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, 4, 5])
def test_broadcasting(rows, dtype):
    """A column, a vector and a number spread over a tile as in NumPy."""

    def compute(A, numbers, C):
        tile, vector = load_tile(A, 0, 0, rows, 8), load_row(A, 5, 1, 8)
        column = load_tile(numbers, 1, 0, rows, 1)  # of an array of one dimension
        store(tile * column, C, 0, 0)
        store(vector * tile, C, rows, 0)
        store(tile + pick(A, 1, 1), C, 2 * rows, 0)
        store(tile - vector, C, 3 * rows, 0)
        store(zeros(A, 8) + column, C, 4 * rows, 0)

    rng = np.random.default_rng(0)
    A, numbers = rng.uniform(1, 2, (6, 10)).astype(dtype), np.arange(6, dtype=dtype)
    C = np.empty((5 * rows, 8), dtype)
    numba.njit(compute)(A, numbers, C)
    tile, vector, column = A[:rows, :8], A[5, 1:9], numbers[1 : 1 + rows, np.newaxis]
    spread = np.broadcast_to(column, tile.shape)
    expected = [tile * column, tile * vector, tile + A[1, 1], tile - vector, spread]
    assert_array_equal(C, np.vstack(expected))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [2, 4, 5])
def test_reductions(rows, dtype):
    def compute(A, sums, tops, total):
        tile = load_tile(A, 1, 2, rows, 16)
        store(add_up(tile), sums, 1, 0)
        store(largest(tile), tops, 0, 0)
        store(add_rows(tile), total, 0, 0)

    A = np.random.default_rng(0).normal(size=(rows + 1, 18)).astype(dtype)
    sums, tops, total = np.zeros(rows + 1, dtype), A[1:, 0].copy(), A[:1, :16].copy()
    numba.njit(compute)(A, sums, tops, total)
    tile = A[1:, 2:].astype(np.float64)
    eps = 16 * np.finfo(dtype).eps
    assert_allclose(sums, [0, *tile.sum(axis=1)], rtol=eps, atol=eps)
    assert_array_equal(tops, tile.max(axis=1))
    assert_allclose(total[0], tile.sum(axis=0), rtol=eps, atol=eps)


def test_a_tile_of_one_number_is_a_number():
    def compute(A):
        return load_tile(A, 1, 2, 1, 1) + add_up(load_row(A, 0, 0, 4))

    A = np.arange(8.0).reshape(2, 4)
    assert numba.njit(compute)(A) == 6 + 6


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "lanes"), [(1, 8), (3, 1), (3, 16)])
def test_quotients_roots_and_selection(rows, lanes, dtype):
    def compute(A, C):
        left, right = load_tile(A, 0, 0, rows, lanes), load_tile(A, 3, 0, rows, lanes)
        store(left / right, C, 0, 0)
        store(np.sqrt(right), C, rows, 0)
        store(where_positive(left, right), C, 2 * rows, 0)

    A = np.random.default_rng(0).normal(size=(6, lanes)).astype(dtype)
    A[3:] += 9
    A[0, 0], A[2, 0] = 0, np.nan
    C = np.empty((3 * rows, lanes), dtype)
    numba.njit(compute)(A, C)
    left, right = A[:rows], A[3 : 3 + rows]
    quotients, roots, selected = np.split(C, 3)
    assert_allclose(quotients, left / right, rtol=2 * np.finfo(dtype).eps)
    assert_array_equal(roots, np.sqrt(right))
    assert_array_equal(selected, np.where(left <= 0, 0, right))


@pytest.mark.parametrize(("dtype", "lanes"), [(np.float32, 32), (np.float64, 16)])
def test_lanes_of_a_large_tile_are_a_constant(dtype, lanes):
    def compute(A, C):
        n_lanes = count_lanes(A)
        store(load_row(A, 0, 1, n_lanes), C, 0, 0)
        return n_lanes

    A, C = np.arange(40, dtype=dtype).reshape(1, -1), np.zeros((1, 40), dtype)
    assert numba.njit(compute)(A, C) == lanes
    assert_array_equal(C[0, :lanes], A[0, 1 : 1 + lanes])
    assert_array_equal(C[0, lanes:], 0)
