"""Random numbers against published bits, and against what they should look like."""

import itertools

import numba
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import kstest

from sklearn_mf._runtime.compile import njit
from sklearn_mf._runtime.random import fill_normals, fill_uniforms, philox, to_uniform

KEYS = np.uint64(0), np.uint64(2**40 + 5)
N_ROWS, N_COLUMNS = (6, 60) if numba.config.DISABLE_JIT else (50, 501)
BOUND = 5  # standard errors


@njit
def fill_rows(key, stream, sweep, out):
    for row in range(len(out)):
        fill_normals(key, stream, sweep, row, out[row])


@njit
def philox_of(key, first, second, third, fourth):
    return philox(key, first, second, third, fourth)


@njit
def uniform_of(word):
    return to_uniform(word)


@pytest.fixture(scope="module")
def normals():
    """Return normal numbers of some keys, streams, sweeps, rows and columns."""
    out = np.full((2, 3, 4, N_ROWS, N_COLUMNS), np.nan)
    for at in np.ndindex(out.shape[:3]):
        k, stream, sweep = at
        fill_rows(KEYS[k], stream, sweep, out[at])
    return out


@pytest.fixture(scope="module")
def uniforms():
    """Return uniform numbers of some keys, streams, sweeps and places."""
    out = np.full((2, 3, 4, N_ROWS * N_COLUMNS), np.nan)
    for at in np.ndindex(out.shape[:3]):
        k, stream, sweep = at
        fill_uniforms(0, out.shape[-1], KEYS[k], stream, sweep, out[at])
    return out


def assert_independent(x, functions):
    """Check that neighbours along each axis are not correlated."""
    for axis, (f, g) in itertools.product(
        range(x.ndim), itertools.product(functions, functions)
    ):
        before, after = (
            np.take(x, range(n, x.shape[axis] - 1 + n), axis).ravel() for n in (0, 1)
        )
        correlation = np.corrcoef(f(before), g(after))[0, 1]
        assert abs(correlation) < BOUND / len(before) ** 0.5, (axis, f, g)


@pytest.mark.parametrize(
    ("key", "counter", "expected"),
    [
        (
            "00000000 00000000",
            "00000000 00000000 00000000 00000000",
            "6627e8d5 e169c58d bc57ac4c 9b00dbd8",
        ),
        (
            "ffffffff ffffffff",
            "ffffffff ffffffff ffffffff ffffffff",
            "408f276d 41c83b0e a20bc7c6 6d5451fd",
        ),
        (
            "a4093822 299f31d0",
            "243f6a88 85a308d3 13198a2e 03707344",
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_philox_against_known_answers(key, counter, expected):
    """The known answers of Random123, the code of the authors: 32 bits a word."""
    key, counter, expected = (
        [int(word, 16) for word in words.split()] for words in (key, counter, expected)
    )
    low, high = philox_of(np.uint64(key[0] | key[1] << 32), *map(np.uint64, counter))
    words = [int(low), int(low) >> 32, int(high), int(high) >> 32]
    assert [word % 2**32 for word in words] == expected


def test_uniform_numbers_end_above_0_and_at_1():
    assert uniform_of(np.uint64(0)) == 2.0**-53
    assert uniform_of(np.uint64(2**64 - 1)) == 1.0


def test_uniform_numbers(uniforms):
    assert (uniforms > 0).all()
    assert (uniforms <= 1).all()
    assert kstest(uniforms.ravel(), "uniform").pvalue > 0.001
    assert_independent(uniforms, [np.positive, np.square])


def test_normal_numbers(normals):
    # Of n numbers the mean of x^k has the variance (E x^2k - (E x^k)²)/n.
    expected = {1: 0, 2: 1, 3: 0, 4: 3, 6: 15, 8: 105}
    for k in (1, 2, 3, 4):
        error = ((expected[2 * k] - expected[k] ** 2) / normals.size) ** 0.5
        assert_allclose(np.mean(normals**k), expected[k], atol=BOUND * error)
    assert kstest(normals.ravel(), "norm").pvalue > 0.001
    assert_independent(normals, [np.positive, np.square])


def test_numbers_depend_on_where_they_are_used_alone(normals, uniforms):
    few = np.full((3, 4), np.nan)
    fill_rows(KEYS[1], 2, 3, few)
    assert_array_equal(few, normals[1, 2, 3, :3, :4])
    fill_rows(np.uint64(KEYS[1]), np.uint64(2), np.int32(3), few[:, :3])
    assert_array_equal(few[:, :3], normals[1, 2, 3, :3, :3])
    some = np.full(30, np.nan)
    fill_uniforms(20, 30, KEYS[1], 2, 3, some)
    assert_array_equal(some[20:], uniforms[1, 2, 3, 20:30])
    assert np.isnan(some[:20]).all()
