"""Rows that are solved by their few ratings are those of the long way."""

import os
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose

from sklearn_mf import ALSFactorizer, BiasedMF
from sklearn_mf._data.ratings import Side
from sklearn_mf._objective.penalty import Penalty
from sklearn_mf._objective.quadratic import QuadraticObjective
from sklearn_mf._runtime.threads import thread_pool
from sklearn_mf._solvers.als import solver as als_solver
from sklearn_mf._solvers.als.kernels import pad
from sklearn_mf._solvers.als.solver import HalfSweep
from sklearn_mf.datasets import make_ratings
from tests.assertions import assert_same_bits

SIZES = [0, 1, 2, 3, 5, 8, 9, 16, 17, 29, 40, 70, 0]
PENALTIES = {
    "equal": Penalty(0.4),
    "by counts": Penalty(0.05, exponent=1.0),
    "c = 1": Penalty(0.7, exponent=0.0),
    "biased": Penalty(0.3, 2.0, biased=True),
    "biased, c = 1": Penalty(3.0, 0.1, biased=True, exponent=0.0),
}


@pytest.fixture
def always_rotated(monkeypatch):
    monkeypatch.setattr(als_solver, "EIGEN_WORK", -1e9)


def make_side(sizes, n_others, weighted, dtype):
    rng = np.random.default_rng(0)
    indices = [np.sort(rng.permutation(n_others)[:n]) for n in sizes]
    ratings = rng.normal(3, 1, sum(sizes)).astype(dtype)
    weights = rng.uniform(0.1, 3, sum(sizes)).astype(dtype) if weighted else None
    indptr = np.cumsum([0, *sizes])
    return Side(indptr, np.concatenate(indices).astype(np.int32), ratings, weights)


def solve(
    side,
    fixed,
    objective,
    *,
    short,
    expected=None,
    rotate=False,
    mean=0.5,
    n_threads=1,
):
    """Return the fixed rows, the solved rows, their objective and which were short."""
    with pytest.MonkeyPatch.context() as patch, thread_pool(n_threads) as run:
        patch.setattr(als_solver, "SHORT", 0.75 if short else -1.0)
        n = fixed.shape[1]
        half = HalfSweep(side, len(fixed), mean, objective, n, None, 1.0, run)
        others, solved = pad(fixed), pad(np.ones((len(side.counts()), n), fixed.dtype))
        half.solve(others, solved, expected=expected, rotate=rotate)
        return others[:, :n], solved[:, :n], half.loss, half.short


@pytest.mark.parametrize("alpha", [0.0, 0.15])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("penalty", PENALTIES.values(), ids=PENALTIES)
@pytest.mark.parametrize("n_columns", [9, 16, 41])
def test_short_rows_are_those_of_the_long_way(
    n_columns, penalty, weighted, alpha, always_rotated
):
    for dtype, rtol in ((np.float64, 1e-10), (np.float32, 2e-4)):
        side = make_side(SIZES, 120, weighted, dtype)
        fixed = np.random.default_rng(1).normal(size=(120, n_columns)).astype(dtype)
        objective = QuadraticObjective(penalty, alpha)
        _, expected, loss, none = solve(side, fixed, objective, short=False)
        assert len(none) == 0
        means = np.random.default_rng(2).normal(size=(len(SIZES), n_columns))
        given = side, fixed, objective
        means = {"expected": pad(means.astype(dtype))}
        _, long_way, long_loss, _ = solve(*given, short=False, **means)
        _, found, found_loss, _ = solve(*given, short=True, **means)
        assert abs(long_way - expected).max() > 0.02
        size = abs(long_way).max()
        assert_allclose(found, long_way, rtol=rtol, atol=10 * rtol * size)
        assert_allclose(found_loss, long_loss, rtol=10 * rtol, atol=rtol)
        _, found, found_loss, rows = solve(side, fixed, objective, short=True)
        few = np.array(SIZES) <= 0.75 * len(pad(fixed)[0])
        few &= (np.array(SIZES) > 0) | (alpha > 0)
        if weighted and alpha:  # where a rating weighs less than none
            lightest = [
                min(w, default=9) for w in np.split(side.weights, side.indptr[1:-1])
            ]
            few &= np.array(lightest) > alpha
        assert rows.tolist() == np.flatnonzero(few).tolist()
        assert 1 < len(rows) < len(SIZES)
        scale = abs(expected).max()
        assert_allclose(found, expected, rtol=rtol, atol=rtol * scale)
        assert_allclose(found_loss, loss, rtol=rtol)

        # The other side may be rotated too: the predictions are the same.
        others, found, found_loss, _ = solve(
            side, fixed, objective, short=True, rotate=True
        )
        if not penalty.biased:
            products, rotated = expected @ fixed.T, found @ others.T
            assert_allclose(rotated, products, rtol=rtol, atol=rtol * scale)
            assert alpha == 0 or abs(others - fixed).max() > 0.1
        assert_allclose(found_loss, loss, rtol=rtol)


@pytest.mark.compiled
def test_a_row_of_very_many_ratings_beside_rows_of_one(always_rotated):
    side = make_side([1] * 40 + [100_000] + [1] * 40, 100_100, True, np.float64)
    side.weights[:] += 1
    fixed = np.random.default_rng(1).normal(size=(100_100, 20))
    for alpha in (0.0, 0.5):
        objective = QuadraticObjective(Penalty(0.1), alpha)
        _, expected, loss, _ = solve(side, fixed, objective, short=False)
        for n_threads in (1, 3):
            _, found, found_loss, rows = solve(
                side, fixed, objective, short=True, n_threads=n_threads
            )
            assert len(rows) == 80
            assert_allclose(found, expected, rtol=1e-10, atol=1e-10)
            assert_allclose(found_loss, loss, rtol=1e-10)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_short_rows_without_a_penalty_are_the_shortest(dtype):
    side = make_side([1, 3, 8, 12], 60, True, dtype)
    fixed = np.random.default_rng(1).normal(size=(60, 20)).astype(dtype)
    fixed[9] = fixed[8]
    _, found, loss, rows = solve(
        side, fixed, QuadraticObjective(Penalty(0.0)), short=True
    )
    assert rows.tolist() == [0, 1, 2, 3]
    for row, x in enumerate(found):
        at = slice(side.indptr[row], side.indptr[row + 1])
        q = fixed[side.indices[at]].astype(float)
        expected = np.linalg.lstsq(q, side.ratings[at] - 0.5)[0]
        rtol = 2e-4 if dtype == np.float32 else 1e-9
        assert_allclose(x, expected, rtol=rtol, atol=rtol)
    assert_allclose(loss, 0, atol=1e-6)


def test_equal_rows_without_a_penalty_are_met_by_their_mean():
    """The short equations are singular, as the long ones are."""
    side = Side(
        np.array([0, 2]), np.arange(2, dtype=np.int32), np.array([1.0, 3.0]), None
    )
    fixed = np.ones((2, 12))
    _, found, loss, rows = solve(
        side, fixed, QuadraticObjective(Penalty(0.0)), short=True, mean=0.0
    )
    assert rows.tolist() == [0]
    assert_allclose(found, np.full((1, 12), 2 / 12), rtol=1e-12)
    assert_allclose(loss, 2.0, rtol=1e-12)


def test_what_overflows_is_solved_the_long_way(always_rotated):
    side = make_side(SIZES, 120, False, np.float64)
    fixed = np.full((120, 20), 1e200)
    objective = QuadraticObjective(Penalty(0.1), 0.3)
    with np.errstate(over="ignore", invalid="ignore"):
        _, _, loss, rows = solve(side, fixed, objective, short=True)
    assert len(rows) > 0
    assert not np.isfinite(loss).all()


def test_whether_rotating_is_worth_it():
    """Not for a few rows with many ratings; but for many with few."""
    objective = QuadraticObjective(Penalty(0.1), 0.1)
    for sizes, is_worth_it in (([30] * 20, False), ([3] * 3000, True)):
        side = make_side(sizes, 100, False, np.float64)
        with thread_pool(1) as run:
            half = HalfSweep(side, 100, 0.0, objective, 64, None, 1.0, run)
        assert (len(half.short) > 0) == is_worth_it


@pytest.mark.compiled
@pytest.mark.parametrize("alpha", [0.0, 0.1])
def test_a_fit_is_the_same_by_either_way(alpha, always_rotated, monkeypatch):
    X, y = make_ratings(400, 300, 4000, random_state=0)
    params = {"unobserved_weight": alpha, "tol": None, "max_iter": 4, "clip": False}
    model = ALSFactorizer(40, regularization=0.2, random_state=0, **params)
    monkeypatch.setattr(als_solver, "BLOCK_WORK", 1e5)
    alone, *others = (
        ALSFactorizer(**model.get_params() | {"n_jobs": n_jobs}).fit(X, y)
        for n_jobs in (1, 2, 4)
    )
    for other in others:
        assert_same_bits(alone, other)
    assert all(np.diff(alone.loss_curve_) < 0)
    monkeypatch.setattr(als_solver, "SHORT", -1.0)
    long = model.fit(X, y)
    assert_allclose(alone.loss_curve_, long.loss_curve_, rtol=1e-12)
    assert_allclose(alone.predict(X), long.predict(X), rtol=1e-9)


def divide(sizes, n_columns, alpha, cg_steps, *, n_others=100, penalty=None):
    """Return the numbers of ratings of short, approached and long rows."""
    side = make_side(sizes, max(n_others, *sizes), False, np.float64)
    objective = QuadraticObjective(penalty or Penalty(0.1), alpha)
    with thread_pool(1) as run:
        rest = 0.0, objective, n_columns, cg_steps, 1.0, run
        half = HalfSweep(side, n_others, *rest)
    rows = half.short, half.approached, half.long
    assert sorted(np.concatenate(rows)) == [*range(len(sizes))]
    return [sorted({sizes[row] for row in kind}) for kind in rows]


def test_rows_are_approached_where_that_takes_less_time():
    sizes = [0, 1, 16, 17, 48, 49, 300]
    assert divide(sizes, 64, 0.0, 3) == [[1, 16], [17, 48, 49, 300], [0]]
    assert divide(sizes, 64, 0.0, 5) == [[1, 16, 17], [48, 49, 300], [0]]
    assert divide(sizes, 64, 0.0, None) == [[1, 16, 17, 48], [], [0, 49, 300]]
    assert divide(sizes, 28, 0.0, 3) == [[1, 16], [17, 48, 49, 300], [0]]
    assert divide(sizes, 24, 0.0, 3) == [[1, 16], [17], [0, 48, 49, 300]]
    # With pairs that have no rating only where a rotation is worth it, and possible.
    many = [*[3] * 3000, *[40] * 1000]
    assert divide(many, 64, 0.1, 3) == [[3], [40], []]
    assert divide(many, 64, 0.1, 3, penalty=Penalty(0.0)) == [[], [], [3, 40]]
    assert divide(sizes, 64, 0.1, 3) == [[], [], sizes]


@pytest.mark.compiled
@pytest.mark.parametrize("alpha", [0.0, 0.1])
@pytest.mark.parametrize("solver", ["cg", "als-cg"])
def test_a_fit_by_conjugate_gradient(solver, alpha, always_rotated, monkeypatch):
    X, y = make_ratings(300, 200, 6000, random_state=0)
    params = {"unobserved_weight": alpha, "tol": None, "max_iter": 10, "clip": False}
    params |= {"n_factors": 40, "regularization": 0.2, "random_state": 0}
    model = BiasedMF if solver == "als-cg" else ALSFactorizer
    exact = model(**params, solver="als" if solver == "als-cg" else "cholesky")
    exact.fit(X, y)
    monkeypatch.setattr(als_solver, "BLOCK_WORK", 1e5)
    for dtype in (np.float64, np.float32):
        alone, *others = (
            model(**params, solver=solver, n_jobs=n_jobs).fit(X, y.astype(dtype))
            for n_jobs in (1, 2, 4)
        )
        for other in others:
            assert_same_bits(alone, other)
        assert all(np.diff(alone.loss_curve_) < 0)
        # One sweep behind the exact fit, at most.
        assert alone.loss_curve_[-1] < exact.loss_curve_[-2]
        assert alone.loss_curve_[0] > exact.loss_curve_[0]


CODE = """
import numpy as np
from sklearn_mf import ALSFactorizer
from sklearn_mf._solvers.als import solver
from sklearn_mf.datasets import make_ratings
X, y = make_ratings(400, 300, 4000, random_state=0)
solver.EIGEN_WORK = -1e9
model = ALSFactorizer(150, unobserved_weight=0.1, max_iter=2, tol=None, random_state=0)
print(model.fit(X, y).user_factors_.tobytes().hex())
"""


@pytest.mark.compiled
def test_the_threads_of_blas_do_not_change_a_bit():
    first, second = (
        subprocess.run(
            [sys.executable, "-c", CODE],
            env=os.environ | {"OPENBLAS_NUM_THREADS": n_threads},
            capture_output=True,
            text=True,
            check=True,
            timeout=200,
        ).stdout
        for n_threads in ("1", "4")
    )
    assert len(first) > 1000
    assert first == second
