"""Draws of rows, row by row, against the dense normal distribution in NumPy."""

from typing import NamedTuple

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_mf._data.ratings import Side
from sklearn_mf._runtime.compile import njit
from sklearn_mf._runtime.random import fill_normals
from sklearn_mf._solvers.als.kernels import MANY, pad
from sklearn_mf._solvers.gibbs.kernels import Draw, Prior, sample_rows, score_ratings
from sklearn_mf._solvers.gibbs.short_rows import sample_short_rows

COUNTS = np.array([1, 0, 40, 3, MANY + 1000, 0, 17])
N_ROWS, N_OTHERS = len(COUNTS), 30
DRAW = Draw(np.uint64(2**50 + 3), np.uint64(7), np.uint64(11))
SHORT_ROWS = [0, 2, 3, 6]
N_COLUMNS = [1, 3, 8, 17]  # the bias alone; less than a tile, one, more than two


KERNELS = [sample_rows, sample_short_rows]


class Problem(NamedTuple):
    """What the kernel takes, in float64."""

    side: Side
    fixed: np.ndarray
    prior: Prior
    expected: np.ndarray | None

    def draw(self, start=0, stop=N_ROWS, dtype=np.float64, kernel=sample_rows):
        """Return drawn rows and their errors; others are NaN."""
        side, fixed, prior, expected = self
        weights = None if side.weights is None else side.weights.astype(dtype)
        side = side._replace(ratings=side.ratings.astype(dtype), weights=weights)
        *prior, noise = prior
        prior = [pad(part.astype(dtype)[np.newaxis])[0] for part in prior]
        fixed, n_columns = pad(fixed.astype(dtype)), fixed.shape[1]
        rows = pad(np.full((N_ROWS, n_columns), np.nan, dtype))
        errors = np.full(N_ROWS, np.nan)
        prior = Prior(*prior, noise)
        expected = rows[:0] if expected is None else pad(expected.astype(dtype))
        given = side.for_kernels(), fixed, n_columns, prior, expected, DRAW
        chosen = np.arange(N_ROWS)[start:stop]
        if kernel is sample_short_rows:
            chosen = np.intersect1d(chosen, SHORT_ROWS)
        kernel(0, len(chosen), chosen, *given, rows, errors)
        assert_array_equal(rows[chosen, n_columns:], 0)
        return rows[:, :n_columns], errors

    def equations(self, row):
        """Return q, z and w of the ratings of a row."""
        side, fixed = self.side, self.fixed
        at = slice(*side.indptr[row : row + 2])
        q = fixed[side.indices[at]]
        z = side.ratings[at] - q[:, -1]
        q[:, -1] = 1
        return q, z, np.ones(len(z)) if side.weights is None else side.weights[at]

    def prior_mean(self, row):
        """Return the mean of the prior of a row."""
        precision, product, _ = self.prior
        mean = product / precision
        return mean if self.expected is None else mean + self.expected[row]


def make(n_columns, weighted, features=False):
    rng = np.random.default_rng(n_columns)
    n_ratings = COUNTS.sum()
    side = Side(
        indptr=np.append(0, np.cumsum(COUNTS)),
        indices=rng.integers(N_OTHERS, size=n_ratings, dtype=np.int32),
        ratings=rng.normal(size=n_ratings),
        weights=rng.uniform(0.2, 3, n_ratings) if weighted else None,
    )
    precision = rng.uniform(0.5, 4, n_columns)
    product = precision * rng.normal(size=n_columns)
    noise = rng.uniform(0.3, 2, N_ROWS)
    fixed = rng.normal(size=(N_OTHERS, n_columns))
    expected = rng.normal(size=(N_ROWS, n_columns)) if features else None
    return Problem(side, fixed, Prior(precision, product, noise), expected)


GIVEN = pytest.mark.parametrize(
    ("weighted", "features"), [(False, False), (True, False), (False, True)]
)


@njit
def normals_of(key, stream, sweep, row, out):
    fill_normals(key, stream, sweep, row, out)


@GIVEN
@pytest.mark.parametrize("n_columns", N_COLUMNS)
def test_rows_against_numpy(n_columns, weighted, features):
    problem = make(n_columns, weighted, features)
    rows, errors = problem.draw()
    precision, _, noise = problem.prior
    for row, tau in enumerate(noise**-2):
        q, z, w = problem.equations(row)
        # x ~ N(A⁻¹ b, A⁻¹), and with A = C Cᵀ the draw is x = C⁻ᵀ (C⁻¹ b + ε).
        A = tau * (w * q.T) @ q + np.diag(precision)
        b = tau * (w * q.T) @ z + precision * problem.prior_mean(row)
        epsilon = np.empty(n_columns)
        normals_of(*DRAW[:3], row, epsilon)
        C = np.linalg.cholesky(A)
        expected = np.linalg.solve(C.T, np.linalg.solve(C, b) + epsilon)
        assert_allclose(rows[row], expected, rtol=1e-9, atol=1e-9)
        total = w @ (z - q @ expected) ** 2
        assert_allclose(errors[row], total, rtol=1e-9, atol=1e-9 * (1 + w @ z**2))


@GIVEN
@pytest.mark.parametrize("n_columns", N_COLUMNS)
def test_short_rows_against_numpy(n_columns, weighted, features):
    """They are another function of more random numbers, of the same distribution."""
    problem = make(n_columns, weighted, features)
    rows, errors = problem.draw(kernel=sample_short_rows)
    precision, _, noise = problem.prior
    for row in SHORT_ROWS:
        q, z, w = problem.equations(row)
        numbers = np.empty(n_columns + len(z))
        normals_of(*DRAW[:3], row, numbers)
        # x = u + G (z − Q u − δ), with u from the prior, δ ~ N(0, C), and the gain
        # G = Λ⁻¹ Qᵀ (Q Λ⁻¹ Qᵀ + C)⁻¹: an affine function of the random numbers.
        C = np.diag(noise[row] ** 2 / w)
        G = np.linalg.solve(q / precision @ q.T + C, q / precision).T
        by_prior = (np.eye(n_columns) - G @ q) * precision**-0.5
        by_noise = -G * np.diag(C) ** 0.5
        expected = problem.prior_mean(row)
        mean = expected + G @ (z - q @ expected)
        expected = mean + np.hstack([by_prior, by_noise]) @ numbers
        assert_allclose(rows[row], expected, rtol=1e-9, atol=1e-9)
        total = w @ (z - q @ expected) ** 2
        assert_allclose(errors[row], total, rtol=1e-9, atol=1e-9 * (1 + w @ z**2))
        # Its mean and its covariance are A⁻¹ b and A⁻¹.
        A = (w * q.T) @ q / noise[row] ** 2 + np.diag(precision)
        b = (w * q.T) @ z / noise[row] ** 2 + precision * problem.prior_mean(row)
        covariance = by_prior @ by_prior.T + by_noise @ by_noise.T
        assert_allclose(mean, np.linalg.solve(A, b), rtol=1e-9, atol=1e-9)
        assert_allclose(covariance, np.linalg.inv(A), rtol=1e-9, atol=1e-9)


@pytest.mark.compiled
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_columns", N_COLUMNS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_rows_in_float32(kernel, n_columns, weighted):
    problem = make(n_columns, weighted)
    rows, errors = problem.draw(kernel=kernel)
    single, single_errors = problem.draw(dtype=np.float32, kernel=kernel)
    assert_allclose(single, rows, rtol=1e-4, atol=1e-4)
    assert_allclose(single_errors, errors, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kernel", KERNELS)
def test_blocks_change_no_bit(kernel, dtype):
    problem = make(17, weighted=True)
    whole = problem.draw(dtype=dtype, kernel=kernel)
    for start, stop in ((0, 1), (2, 4), (3, N_ROWS)):
        parts = problem.draw(start, stop, dtype, kernel)
        for part, all_rows in zip(parts, whole, strict=True):
            assert_array_equal(part[start:stop], all_rows[start:stop])
            assert np.isnan(part[:start]).all()
            assert np.isnan(part[stop:]).all()


@pytest.mark.parametrize("n_columns", N_COLUMNS)
def test_scores(n_columns):
    side, items, *_ = make(n_columns, weighted=False)
    users = np.random.default_rng(1).normal(size=(N_ROWS, n_columns))
    scores = np.full(COUNTS.sum(), np.nan)
    for start, stop in ((3, N_ROWS), (0, 3)):
        score_ratings(start, stop, side, pad(users), pad(items), n_columns, scores)
    P, Q = users[np.repeat(np.arange(N_ROWS), COUNTS)], items[side.indices]
    expected = (P[:, :-1] * Q[:, :-1]).sum(axis=1) + P[:, -1] + Q[:, -1]
    assert_allclose(scores, expected, rtol=1e-12, atol=1e-12)


def test_rows_that_are_singular_to_working_precision_say_so():
    """A weight so large that the prior is lost in its rounding."""
    problem = make(17, weighted=True)
    expected = problem.draw(dtype=np.float32)
    weights = problem.side.weights.copy()
    weights[problem.side.indptr[3]] = 1e9
    problem = problem._replace(side=problem.side._replace(weights=weights))
    others = np.arange(N_ROWS) != 3
    drawn = problem.draw(dtype=np.float32)
    for part, before in zip(drawn, expected, strict=True):
        assert np.isnan(part[3]).all()
        assert_array_equal(part[others], before[others])
    rows, errors = problem.draw()  # in float64 it is not lost
    assert abs(rows).max() < 10
    assert np.isfinite(errors).all()
