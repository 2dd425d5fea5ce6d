"""Kernels of alternating least squares, row by row, against dense NumPy in float64."""

import itertools
from typing import NamedTuple

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import nnls

from sklearn_mf._data.ratings import Side
from sklearn_mf._solvers.als.conjugate_gradient import approach_rows
from sklearn_mf._solvers.als.kernels import (
    CHUNK,
    TILE,
    Terms,
    Unobserved,
    pad,
    solve_rows,
    sum_rows,
)
from sklearn_mf._solvers.als.least_norm import solve_least_norm
from sklearn_mf._solvers.als.short_rows import Rotated

MEAN = 2.5

# (n_factors, biased)
MODELS = [(0, True), *itertools.product([1, 2, 7, 8, 15, 16, 33, 64], [False, True])]
SOME_MODELS = [(0, True), (2, True), (8, False), (15, True), (33, False)]

# No rating, one, fewer than factors, a multiple of what is gathered at a time and not.
FEW = [0, 1, 2, 3, 4, 5, 8, CHUNK - 1, CHUNK, CHUNK + 1, 0, 2 * CHUNK, 100]
MANY = [63 * CHUNK, 2047]


class Problem(NamedTuple):
    """What the kernels take, and the same as dense matrices in float64.

    A row x is to minimise
    W[row] @ (Z[row] − design @ x)² + penalties[row] @ (x − expected[row])².
    """

    side: Side
    fixed: np.ndarray
    n_columns: int
    biased: bool
    penalty: np.ndarray
    bias_penalty: np.ndarray
    unobserved: Unobserved
    design: np.ndarray
    Z: np.ndarray
    W: np.ndarray
    penalties: np.ndarray
    expected: np.ndarray | None = None

    @property
    def n_rows(self):
        return len(self.penalty)

    @property
    def every_row(self):
        return np.arange(self.n_rows)

    @property
    def given(self):
        """The arguments of the kernels from `side` to `unobserved`."""
        mean = self.fixed.dtype.type(MEAN)
        size = mean, self.n_columns, self.biased
        terms = Terms(*size, self.penalty, self.bias_penalty, mean.dtype.type(1))
        expected = self.fixed[:0] if self.expected is None else self.expected
        side = self.side.for_kernels()
        return side, self.fixed, terms, expected, self.unobserved

    @property
    def rtol(self):
        return 2e-4 if self.fixed.dtype == np.float32 else 1e-10

    def normal_equations(self, row):
        A = (self.W[row] * self.design.T) @ self.design + np.diag(self.penalties[row])
        b = (self.W[row] * self.design.T) @ self.Z[row]
        return A, b + self.penalties[row] * self.expect(row)

    def objective(self, row, x):
        errors = self.Z[row] - self.design @ x
        rest = x - self.expect(row)
        return self.W[row] @ errors**2 + self.penalties[row] @ rest**2

    def expect(self, row):
        if self.expected is None:
            return np.zeros(self.n_columns)
        return self.expected[row, : self.n_columns].astype(float)

    def begin(self, rng):
        """Return rows to go on from, padded."""
        rows = rng.normal(scale=0.3, size=(self.n_rows, self.n_columns))
        return pad(rows.astype(self.fixed.dtype))

    def rows(self, solved):
        """Return the rows without the padding, which must be zero."""
        assert_array_equal(solved[:, self.n_columns :], 0)
        return solved[:, : self.n_columns].astype(float)


def make(
    n_factors,
    biased,
    *,
    weighted=False,
    dtype=np.float64,
    unobserved_weight=0.0,
    sizes=None,
    alike=False,
    features=False,
):
    """Draw the problem of rows with so many ratings each.

    With `alike` weights and penalties are those for which all rows share one matrix,
    and with `features` rows are expected to be something else than zero.
    """
    rng = np.random.default_rng(n_factors)
    if sizes is None:
        sizes = [*FEW, *MANY] if n_factors <= 8 else FEW
    n_rows, n_others, n_columns = len(sizes), max(sizes) + 10, n_factors + biased
    indptr = np.cumsum([0, *sizes])
    indices = [np.sort(rng.permutation(n_others)[:n]) for n in sizes]
    fixed = rng.normal(size=(n_others, n_columns)).astype(dtype)
    ratings = rng.normal(3, 1, size=indptr[-1]).astype(dtype)
    weights = rng.uniform(0.1, 3, size=indptr[-1]).astype(dtype) if weighted else None
    penalty = rng.uniform(0.5, 2, size=n_rows).astype(dtype)
    bias_penalty = rng.uniform(3, 5, size=n_rows).astype(dtype)
    if alike:
        penalty[:], bias_penalty[:] = 0.7, 4.0
        if weighted:
            weights[:] = unobserved_weight

    design, known = fixed.astype(float), np.full(n_others, MEAN)
    if biased:
        known += design[:, -1]
        design[:, -1] = 1
    Z = np.tile(-known, (n_rows, 1))
    W = np.full((n_rows, n_others), float(dtype(unobserved_weight)))
    for row, (begin, end) in enumerate(itertools.pairwise(indptr)):
        Z[row, indices[row]] += ratings[begin:end]
        W[row, indices[row]] = 1 if weights is None else weights[begin:end]
    penalties = np.repeat(penalty[:, np.newaxis].astype(float), n_columns, axis=1)
    if biased:
        penalties[:, -1] = bias_penalty

    q = pad(design)
    weight = dtype(unobserved_weight)
    unobserved = Unobserved(
        weight,
        (weight * q.T @ q).astype(dtype),
        (-weight * known @ q).astype(dtype),
        float(weight * known @ known),
    )
    indices = np.concatenate(indices).astype(np.int32)
    side = Side(indptr, indices, ratings, weights)
    rest = design, Z, W, penalties
    if features:
        rest += (pad(rng.normal(size=(n_rows, n_columns)).astype(dtype)),)
    return Problem(
        side, pad(fixed), n_columns, biased, penalty, bias_penalty, unobserved, *rest
    )


def solve(problem, *, alike=False, non_negative=False, solved=None):
    """Solve all rows: rows, objective, whether singular."""
    if solved is None:
        solved = np.full((problem.n_rows, problem.fixed.shape[1]), np.nan)
        solved = solved.astype(problem.fixed.dtype)
    loss, singular = np.full(problem.n_rows, np.nan), np.ones(problem.n_rows, bool)
    rest = alike, non_negative, solved, loss, singular
    solve_rows(0, problem.n_rows, problem.every_row, *problem.given, *rest)
    assert not singular.any()
    return problem.rows(solved), loss


def assert_loss_is_the_objective(problem, x, loss):
    expected = [problem.objective(row, x[row]) for row in range(problem.n_rows)]
    # What rounding leaves of the terms that cancel, where the fit is close.
    size = (problem.W * problem.Z**2).sum(axis=1).max()
    assert_allclose(loss, expected, rtol=problem.rtol, atol=problem.rtol * size)


# -------------------------------------------------------------------------- exact rows


@pytest.mark.parametrize("unobserved_weight", [0, 0.3, 1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("n_factors", "biased"), MODELS)
def test_solve_rows(n_factors, biased, weighted, dtype, unobserved_weight):
    for features in (False, True):
        check_solved_rows(
            n_factors,
            biased,
            weighted=weighted,
            dtype=dtype,
            unobserved_weight=unobserved_weight,
            features=features,
        )


def check_solved_rows(*args, **options):
    problem = make(*args, **options)
    unchanged = problem.fixed.copy()
    x, loss = solve(problem)
    assert_array_equal(problem.fixed, unchanged)
    rtol = problem.rtol
    for row in range(problem.n_rows):
        expected = np.linalg.solve(*problem.normal_equations(row))
        assert_allclose(x[row], expected, rtol=rtol, atol=rtol)
        value = problem.objective(row, expected)
        size = problem.objective(row, np.zeros(problem.n_columns))
        assert_allclose(loss[row], value, rtol=rtol, atol=rtol * size)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("weighted", "unobserved_weight"), [(False, 1), (True, 1), (True, 0.3)]
)
@pytest.mark.parametrize(("n_factors", "biased"), SOME_MODELS)
def test_rows_that_share_a_matrix(
    n_factors, biased, weighted, unobserved_weight, dtype
):
    problem = make(
        n_factors,
        biased,
        weighted=weighted,
        dtype=dtype,
        unobserved_weight=unobserved_weight,
        alike=True,
    )
    rtol = problem.rtol
    for non_negative in (False, True):
        start = None
        if non_negative:
            start = problem.begin(np.random.default_rng(0))
            start[:, :n_factors] = abs(start[:, :n_factors])
        (one, one_loss), (other, other_loss) = (
            solve(
                problem,
                alike=alike,
                non_negative=non_negative,
                solved=None if start is None else start.copy(),
            )
            for alike in (False, True)
        )
        assert_allclose(other, one, rtol=rtol, atol=rtol)
        assert_loss_is_the_objective(problem, other, other_loss)
        assert_allclose(other_loss, one_loss, rtol=rtol, atol=rtol * one_loss.max())


def test_a_row_without_ratings_becomes_what_is_expected_of_it():
    problem = make(3, True, sizes=[0, 2, 0])
    x, loss = solve(problem)
    assert_array_equal(x[[0, 2]], 0)
    assert_array_equal(loss[[0, 2]], 0)
    problem = make(3, True, sizes=[0, 2, 0], features=True)
    x, loss = solve(problem)
    expected = problem.expected[[0, 2], :4]
    assert_array_equal(x[[0, 2]], expected)
    assert_array_equal(loss[[0, 2]], 0)
    x, loss = solve(problem, non_negative=True, solved=np.zeros((3, TILE)))
    least = np.minimum(expected[:, :3], 0)
    assert_array_equal(x[[0, 2], :3], expected[:, :3] - least)
    assert_array_equal(x[[0, 2], 3], expected[:, 3])
    assert_allclose(loss[[0, 2]], problem.penalty[[0, 2]] * (least**2).sum(axis=1))


@pytest.mark.compiled
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("cg_steps", [None, 3])
def test_a_million_equal_weights_add_up(cg_steps, biased):
    n_ratings = 10**6
    ratings = np.random.default_rng(0).normal(3, 1, n_ratings).astype(np.float32)
    weights = np.full(n_ratings, 0.7, np.float32)
    indptr, indices = np.array([0, n_ratings]), np.arange(n_ratings, dtype=np.int32)
    fixed = pad(np.full((n_ratings, 1), 0 if biased else 1, np.float32))
    penalty = np.ones(1, np.float32)
    empty = np.zeros((TILE, TILE), np.float32)
    unobserved = Unobserved(np.float32(0), empty, empty[0], 0.0)
    terms = Terms(np.float32(0), 1, biased, penalty, penalty, np.float32(1))
    side = Side(indptr, indices, ratings, weights)
    given = 0, 1, np.zeros(1, int), side
    solved, loss = np.zeros((1, TILE), np.float32), np.zeros(1)
    if cg_steps is None:
        rest = False, False, solved, loss, np.zeros(1, dtype=bool)
        solve_rows(*given, fixed, terms, fixed[:0], unobserved, *rest)
    else:
        fixed[:, 0] = 1
        known, nothing = np.zeros(n_ratings, np.float32), empty[0]
        rotated = Rotated(fixed, known, penalty, np.float32(0), nothing, nothing, 0.0)
        approach_rows(*given, rotated, terms, fixed[:0], cg_steps, solved, loss)
    w, r = weights.astype(float), ratings.astype(float)
    x = w @ r / (w.sum() + 1)
    assert_allclose(solved[0, 0], x, rtol=1e-3)
    assert_allclose(loss[0], w @ (r - x) ** 2 + x**2, rtol=1e-3)


@pytest.mark.parametrize("unobserved_weight", [0, 1])
@pytest.mark.parametrize("kernel", ["solve_rows", "non_negative"])
def test_kernels_write_their_rows_only(kernel, unobserved_weight):
    problem = make(2, False, sizes=[3, 3, 3], unobserved_weight=unobserved_weight)
    solved, loss = np.full((3, TILE), 7.0), np.full(3, 7.0)
    solved[:, 2:] = 0
    before = solved.copy()
    singular = np.ones(3, dtype=bool)
    rest = False, kernel == "non_negative", solved, loss, singular
    solve_rows(0, 1, np.array([1]), *problem.given, *rest)
    assert_array_equal(singular, [True, False, True])
    assert_array_equal(solved[[0, 2]], before[[0, 2]])
    assert (solved[1, :2] != 7).all()
    assert_array_equal(loss[[0, 2]], 7)
    assert_allclose(loss[1], problem.objective(1, solved[1, :2]), rtol=1e-10)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("unobserved_weight", [0, 1])
@pytest.mark.parametrize("biased", [False, True])
def test_singular_rows_are_told(biased, unobserved_weight, dtype):
    sizes = [1, 3, 40]
    problem = make(
        8, biased, sizes=sizes, dtype=dtype, unobserved_weight=unobserved_weight
    )
    problem.penalty[:], problem.bias_penalty[:] = 0, 0
    singular = np.zeros(3, dtype=bool)
    solved, loss = problem.begin(np.random.default_rng(0)), np.full(3, np.nan)
    rest = False, False, solved, loss, singular
    solve_rows(0, 3, problem.every_row, *problem.given, *rest)
    # Every pair counts where those without a rating do.
    assert singular.tolist() == [unobserved_weight == 0, unobserved_weight == 0, False]


@pytest.mark.parametrize("unobserved_weight", [0.0, 0.3])
@pytest.mark.parametrize("penalty", [0, 1e-13, 1e-3])
@pytest.mark.parametrize(("n_factors", "biased"), SOME_MODELS)
def test_rows_of_least_norm_are_those_of_lapack(
    n_factors, biased, penalty, unobserved_weight
):
    problem = make(
        n_factors, biased, weighted=True, unobserved_weight=unobserved_weight
    )
    problem.penalty[:], problem.bias_penalty[:] = penalty, 0
    problem.penalties[:, :n_factors], problem.penalties[:, n_factors:] = penalty, 0
    problem.fixed[7] = problem.fixed[3]  # equal rows, and factors that are not used
    problem.design[7], problem.Z[:, 7] = problem.design[3], problem.Z[:, 3]
    if n_factors > 8:
        problem.fixed[:, 1] = problem.design[:, 1] = 0
    for row, (begin, end) in enumerate(itertools.pairwise(problem.side.indptr)):
        rated = problem.side.indices[begin:end]
        known = problem.fixed[:, problem.n_columns - 1] if biased else 0
        problem.Z[row] = -MEAN - known
        problem.Z[row, rated] += problem.side.ratings[begin:end]
    side, fixed, terms, *_ = problem.given
    solved, loss = np.full((problem.n_rows, fixed.shape[1]), 7.0), np.full(99, np.nan)
    given = side, fixed, terms, unobserved_weight, np.zeros_like(solved)
    solve_least_norm(0, problem.n_rows, *given, solved, loss)
    for row, x in enumerate(problem.rows(solved)):
        root = np.sqrt(problem.W[row])
        M = np.vstack(
            [
                root[:, np.newaxis] * problem.design,
                np.diag(problem.penalties[row] ** 0.5),
            ]
        )
        z = np.append(root * problem.Z[row], np.zeros(problem.n_columns))
        expected = np.linalg.lstsq(M, z)[0]
        assert_allclose(x, expected, rtol=1e-6, atol=1e-6)
        assert_allclose(loss[row], problem.objective(row, x), rtol=1e-5, atol=1e-9)
    assert np.isnan(loss[problem.n_rows :]).all()


def test_rows_of_least_norm_that_overflow_have_no_objective():
    problem = make(2, False, weighted=True, sizes=[3])
    side, fixed, terms, *_ = problem.given
    solved, loss = np.zeros((1, fixed.shape[1])), np.zeros(1)
    expected = np.zeros_like(solved)
    for side.weights[0], side.ratings[0] in [(1, 1e200), (np.inf, 1), (1, np.nan)]:
        solve_least_norm(0, 1, side, fixed, terms, 0.0, expected, solved, loss)
        assert not np.isfinite(loss[0])


# ------------------------------------------------------------------ conjugate gradient


def conjugate_gradient(A, b, x, n_steps):
    """Take steps of the textbook's conjugate gradient from x."""
    residual = b - A @ x
    direction = residual
    for _ in range(n_steps):
        if not residual.any():
            break
        step = residual @ residual / (direction @ A @ direction)
        x = x + step * direction
        after = residual - step * A @ direction
        direction = after + (after @ after) / (residual @ residual) * direction
        residual = after
    return x


class Coordinates(NamedTuple):
    """Rows x = V x̃ for which what all share is diagonal, and the D of each row."""

    problem: Problem
    rotated: Rotated
    terms: Terms
    V: np.ndarray
    D: np.ndarray

    def approach(self, start, cg_steps, rows):
        """Go on from where rows stand: rows, objective."""
        n, dtype = self.problem.n_columns, self.problem.fixed.dtype
        solved = pad((start[:, :n] @ np.linalg.inv(self.V).T).astype(dtype))
        unchanged, loss = solved.copy(), np.full(len(start), np.nan)
        side, _, _, expected, _ = self.problem.given
        if len(expected):
            expected = expected[:, :n] @ np.linalg.inv(self.V).T
            expected = pad(expected.astype(dtype))
        given = side, self.rotated, self.terms, expected, cg_steps
        approach_rows(1, len(rows), rows, *given, solved, loss)
        assert_array_equal(solved[rows[0]], unchanged[rows[0]])
        assert np.isnan(loss[rows[0]])
        approach_rows(0, 1, rows, *given, solved, loss)
        others = np.setdiff1d(self.problem.every_row, rows)
        assert_array_equal(solved[others], unchanged[others])
        assert np.isnan(loss[others]).all()
        return self.problem.rows(solved)[rows] @ self.V.T, loss[rows]

    def expect(self, row, x, cg_steps):
        """Return what the textbook's steps make of a row, in units of S."""
        A, b = self.problem.normal_equations(row)
        S = np.ones(self.problem.n_columns)
        if self.rotated.weight:
            S = self.D[row] ** -0.5
        elif self.problem.biased:
            S[-1] = self.terms.scale**0.5
        change = self.V * S
        x = np.linalg.solve(change, x)
        return change @ conjugate_gradient(
            change.T @ A @ change, change.T @ b, x, cg_steps
        )


def rotate(n_factors, biased, *, scale=1.0, **options):
    """Draw a problem whose biases have four times the penalty, in such coordinates."""
    problem = make(n_factors, biased, **options)
    if biased:
        problem.bias_penalty[:] = 4 * problem.penalty
        problem.penalties[:, -1] = problem.bias_penalty
    n, dtype = problem.n_columns, problem.fixed.dtype
    weight, gram, product, value = problem.unobserved
    known = np.full(len(problem.fixed), MEAN)
    if biased:
        known += problem.fixed[:, n - 1]
    V, values = np.eye(n), np.zeros(n)
    if weight:
        M = np.ones(n)
        if biased:
            M[-1] = 0.5
        values, U = np.linalg.eigh(M[:, np.newaxis] * gram[:n, :n].astype(float) * M)
        V = M[:, np.newaxis] * U
    rotated = Rotated(
        pad((problem.design @ V).astype(dtype)),
        known.astype(dtype),
        problem.penalty,
        weight,
        pad(values[np.newaxis].astype(dtype))[0],
        pad((product[np.newaxis, :n] @ V).astype(dtype))[0],
        value,
    )
    terms = Terms(
        dtype.type(MEAN),
        n,
        biased and not weight,
        problem.penalty,
        problem.bias_penalty,
        dtype.type(scale),
    )
    D = values + problem.penalty[:, np.newaxis].astype(float)
    return Coordinates(problem, rotated, terms, V, D)


@pytest.mark.parametrize("unobserved_weight", [0, 0.3, 1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("n_factors", "biased"), MODELS)
def test_approach_rows(n_factors, biased, weighted, dtype, unobserved_weight):
    for features in (False, True):
        check_approached_rows(
            n_factors,
            biased,
            scale=2.5,
            weighted=weighted,
            dtype=dtype,
            unobserved_weight=unobserved_weight,
            features=features,
        )


def check_approached_rows(n_factors, biased, **options):
    coordinates = rotate(n_factors, biased, **options)
    problem = coordinates.problem
    rows = np.flatnonzero(problem.side.counts())
    start = problem.begin(np.random.default_rng(1)).astype(float)
    unchanged = coordinates.rotated.design.copy()
    first = problem.rows(start)
    begun = np.array([problem.objective(row, first[row]) for row in rows])
    before, rtol = begun, 10 * problem.rtol
    for cg_steps in range(1, min(3, problem.n_columns) + 1):
        found, loss = coordinates.approach(start, cg_steps, rows)
        assert (loss < begun).all()
        assert (loss <= before + problem.rtol * begun).all()
        before = loss
        size = (problem.W * problem.Z**2).sum(axis=1).max()
        for row, x, value in zip(rows, found, loss, strict=True):
            expected = problem.objective(row, x)
            assert_allclose(value, expected, rtol=rtol, atol=problem.rtol * size)
            expected = coordinates.expect(row, first[row], cg_steps)
            assert_allclose(x, expected, rtol=rtol, atol=rtol)
    assert_array_equal(coordinates.rotated.design, unchanged)


@pytest.mark.parametrize("unobserved_weight", [0, 0.3, 1])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("n_factors", "biased"), MODELS)
def test_as_many_steps_as_columns_are_exact(
    n_factors, biased, weighted, unobserved_weight
):
    coordinates = rotate(
        n_factors, biased, weighted=weighted, unobserved_weight=unobserved_weight
    )
    problem = coordinates.problem
    rows = np.flatnonzero(problem.side.counts())
    start = problem.begin(np.random.default_rng(1))
    cg_steps = problem.n_columns
    if cg_steps > 9:
        cg_steps *= 2  # what rounding costs
    x, loss = coordinates.approach(start, cg_steps, rows)
    exact, least = solve(problem)
    assert_allclose(x, exact[rows], rtol=1e-8, atol=1e-8)
    assert_allclose(loss, least[rows], rtol=1e-10)
    # where there is nothing to be done
    x, loss = coordinates.approach(pad(exact), 3, rows)
    assert_allclose(x, exact[rows], rtol=1e-9, atol=1e-9)
    assert_allclose(loss, least[rows], rtol=1e-10, atol=1e-10 * least.max())


# ------------------------------------------------------------------------ not negative


@pytest.mark.parametrize("unobserved_weight", [0, 0.3, 1])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("n_factors", "biased"), MODELS)
def test_rows_that_must_not_be_negative(n_factors, biased, weighted, unobserved_weight):
    problem = make(
        n_factors, biased, weighted=weighted, unobserved_weight=unobserved_weight
    )
    solved = problem.begin(np.random.default_rng(2))
    solved[:, :n_factors] = abs(solved[:, :n_factors])
    losses = []
    for _ in range(200):  # each of some passes
        x, loss = solve(problem, non_negative=True, solved=solved)
        assert_loss_is_the_objective(problem, x, loss)
        losses.append(loss)
        if len(losses) > 1 and (losses[-2] - loss <= 1e-15 * loss).all():
            break
    assert (np.diff(losses, axis=0) <= 1e-12 * losses[0]).all()
    assert (x[:, :n_factors] >= 0).all()
    n_at_zero = 0
    for row in range(problem.n_rows):
        A, b = problem.normal_equations(row)
        gradient, size = A @ x[row] - b, np.linalg.norm(b) + 1
        factors, slope = x[row, :n_factors], gradient[:n_factors]
        assert (slope >= -1e-6 * size).all()
        assert abs(factors * slope).max(initial=0) <= 1e-6 * size
        assert abs(gradient[n_factors:]).max(initial=0) <= 1e-6 * size
        n_at_zero += (slope > 1e-3 * size).sum()
        if not biased:
            root = np.sqrt(problem.W[row])
            design = np.vstack(
                [
                    root[:, np.newaxis] * problem.design,
                    np.diag(np.sqrt(problem.penalties[row])),
                ]
            )
            target = np.append(root * problem.Z[row], np.zeros(n_factors))
            assert_allclose(x[row], nnls(design, target)[0], rtol=1e-5, atol=1e-6)
    assert n_factors <= 2 or n_at_zero > 0  # else nothing was held back
    if biased:
        assert x[:, -1].min() < 0


@pytest.mark.parametrize(("n_factors", "biased"), SOME_MODELS)
def test_rows_that_must_not_be_negative_in_float32(n_factors, biased):
    rows = []
    for dtype in (np.float32, np.float64):
        problem = make(
            n_factors, biased, weighted=True, dtype=dtype, unobserved_weight=0.3
        )
        solved = problem.begin(np.random.default_rng(2))
        solved[:, :n_factors] = abs(solved[:, :n_factors])
        for _ in range(20):
            x, loss = solve(problem, non_negative=True, solved=solved)
        assert (x[:, :n_factors] >= 0).all()
        assert_loss_is_the_objective(problem, x, loss)
        rows.append(x)
    assert_allclose(*rows, rtol=1e-3, atol=1e-3)


# -------------------------------------------------------------------- unobserved pairs


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n_factors", "biased"), MODELS)
def test_sum_rows(n_factors, biased, dtype):
    rng = np.random.default_rng(0)
    n_rows, size, n_columns = 200, 70, n_factors + biased
    fixed = pad(rng.normal(size=(n_rows, n_columns)).astype(dtype))
    width = fixed.shape[1]
    grams, products = np.zeros((3, width, width)), np.zeros((3, width))
    values = np.zeros(3)
    blocks = [(0, 70), (70, 140), (140, 200)]
    q, known = fixed.astype(float), np.full(n_rows, MEAN)
    if biased:
        known += q[:, n_columns - 1]
        q[:, n_columns - 1] = 1
    for block, (start, stop) in reversed(list(enumerate(blocks))):
        rest = size, grams, products, values
        sum_rows(start, stop, fixed, MEAN, n_columns, biased, *rest)
        t, part = known[start:stop], q[start:stop]
        assert_allclose(np.triu(grams[block]), np.triu(part.T @ part), atol=1e-11)
        assert_allclose(products[block], t @ part, atol=1e-11)
        assert_allclose(values[block], t @ t, rtol=1e-12)
        assert_array_equal(grams[:block], 0)


# ----------------------------------------------------------------------------- padding


@pytest.mark.parametrize("n_columns", [1, 7, 8, 9, 64])
def test_pad(n_columns):
    rows = np.random.default_rng(0).normal(size=(3, n_columns)).astype(np.float32)
    padded = pad(rows)
    assert padded.dtype == np.float32
    assert padded.flags.c_contiguous
    assert padded.shape == (3, {1: 8, 7: 8, 8: 8, 9: 16, 64: 64}[n_columns])
    assert_array_equal(padded[:, :n_columns], rows)
    assert_array_equal(padded[:, n_columns:], 0)
    padded[:] = 1
    assert (rows != 1).all()
