"""Draws of the weights of features, against dense linear algebra and integration."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from sklearn_mf._data.features import SparseBlock
from sklearn_mf._solvers import features as regressions
from sklearn_mf._solvers.als.kernels import pad
from sklearn_mf._solvers.features import Regression
from sklearn_mf._solvers.gibbs import features
from sklearn_mf._solvers.gibbs.features import (
    Expectation,
    draw_stretch,
    draw_weights,
    slice_sample,
)
from sklearn_mf._solvers.gibbs.solver import Hyperprior
from tests.solvers.gibbs.helpers import run

N_ROWS, N_FEATURES, N_COLUMNS, RIDGE = 12, 5, 3, 0.7
COUNTS = np.array([1.0] * 9 + [0.0] * 3)  # the last rows have no ratings


class Numbers:
    """A source of given numbers in the place of random ones."""

    def __init__(self, numbers):
        self.numbers = numbers

    def normal(self, size):
        n = np.prod(size)
        drawn, self.numbers = self.numbers[:n], self.numbers[n:]
        return drawn.reshape(size)


def make(is_sparse, n_features=N_FEATURES):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N_ROWS, n_features)) * (rng.random((N_ROWS, n_features)) < 0.6)
    block = X
    if is_sparse:
        centers = X[:-1].mean(axis=0)
        known = np.append(np.ones(N_ROWS - 1), 0)
        block = SparseBlock.of(sparse.csr_array(X), centers, known)
        X = X - known[:, np.newaxis] * centers
    rows = pad(rng.normal(size=(N_ROWS, N_COLUMNS)))
    start = pad(rng.normal(size=(n_features, N_COLUMNS)))
    return X, Regression(block, COUNTS, run, np.float64), rows, start


@pytest.mark.compiled
@pytest.mark.parametrize("few", [True, False])
@pytest.mark.parametrize("is_sparse", [True, False])
@pytest.mark.parametrize("n_features", [N_FEATURES, 20])
def test_weights_have_their_mean_and_covariance(
    n_features, is_sparse, few, monkeypatch
):
    """A draw is an affine function of the normal numbers that it takes."""
    monkeypatch.setattr(regressions, "FEW", 20 * few)
    monkeypatch.setattr(features, "PRECISION", 1e-10)
    X, regression, rows, start = make(is_sparse, n_features)
    size = n_features * N_COLUMNS
    n_numbers = size if few else size + N_ROWS * N_COLUMNS

    def draw(numbers):
        given = regression, rows, start, RIDGE, N_COLUMNS, Numbers(numbers)
        drawn = draw_weights(*given)
        assert_array_equal(drawn[:, N_COLUMNS:], 0)
        return drawn[:, :N_COLUMNS]

    A = (COUNTS * X.T) @ X + RIDGE * np.eye(n_features)
    mean = draw(np.zeros(n_numbers))
    expected = np.linalg.solve(A, (COUNTS * X.T) @ rows[:, :N_COLUMNS])
    assert_allclose(mean, expected, atol=1e-9)
    by_number = np.array([draw(one) - mean for one in np.eye(n_numbers)])
    by_number = by_number.reshape(n_numbers, size)
    covariance = np.kron(np.linalg.inv(A), np.eye(N_COLUMNS))
    assert_allclose(by_number.T @ by_number, covariance, atol=1e-8)


def test_conjugate_gradient_ends_once_a_draw_is_precise(monkeypatch):
    monkeypatch.setattr(regressions, "FEW", 0)
    X, regression, rows, start = make(is_sparse=True, n_features=20)
    A = (COUNTS * X.T) @ X + RIDGE * np.eye(20)
    numbers = np.random.default_rng(1).normal(size=(20 + N_ROWS) * N_COLUMNS)
    draws = []
    for precision in (1e-12, 1e-4, 1e-1):
        monkeypatch.setattr(features, "PRECISION", precision)
        given = regression, rows, start, RIDGE, N_COLUMNS, Numbers(numbers)
        draws.append(draw_weights(*given)[:, :N_COLUMNS])
    exact, *others = draws
    for draw, precision in zip(others, (1e-4, 1e-1), strict=True):
        error = draw - exact
        # In standard deviations: the root of the mean of their squares
        size = np.sqrt(np.sum(error * (A @ error)) / error.size)
        assert 1e-11 < size < precision


def test_a_slice_sample_has_the_density():
    """Of the logarithm of a Gamma variable, shifted to where the chain stands."""
    rng, shape, u, draws = np.random.RandomState(0), 2.5, 3.0, []
    for _ in range(20_000):
        u += slice_sample(lambda v, u=u: shape * (u + v) - np.exp(u + v), rng)
        draws.append(u)
    means = np.exp(draws[100:]).reshape(100, -1).mean(axis=1)
    assert abs(means.mean() - shape) < 5 * means.std() / 10
    assert means.std() / 10 < 0.05


def find_moments(log_density):
    """Return the mean and the variance of log t by numerical integration."""
    u = np.linspace(-8, 8, 4001)
    log_p = np.array(list(map(log_density, u)))
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    mean = p @ u
    return mean, p @ (u - mean) ** 2


def check_moments(draw, log_density):
    """Check draws of log t, given where a chain stands, against a density."""
    u, draws = 0.0, []
    for _ in range(4000):
        u += draw(u)
        draws.append(u)
    mean, variance = find_moments(log_density)
    means = np.reshape(draws, (40, -1)).mean(axis=1)
    assert abs(means.mean() - mean) < 5 * means.std() / 40**0.5
    assert_allclose(np.var(draws), variance, rtol=0.15)


def test_a_stretch_follows_the_joint_density_of_weights_and_their_precision():
    """That of β/t² and tH, times the t^(n − 2) by which this stretches volumes."""
    X, regression, rows, start = make(is_sparse=False)
    H, size, rng = (
        start[:, :N_COLUMNS],
        start[:, :N_COLUMNS].size,
        np.random.RandomState(0),
    )
    R = COUNTS[:, np.newaxis] * rows[:, :N_COLUMNS]
    XH = COUNTS[:, np.newaxis] * (X @ H)

    def log_density(u):
        t, beta = np.exp(u), RIDGE * np.exp(-2 * u)
        prior = (features.SHAPE - 1) * np.log(beta) - features.RATE * beta
        of_weights = size / 2 * np.log(beta) - beta * np.sum((t * H) ** 2) / 2
        return prior + of_weights - np.sum((R - t * XH) ** 2) / 2 + (size - 2) * u

    def draw(u):
        t = np.exp(u)
        return np.log(
            draw_stretch(regression, rows, t * (X @ start), RIDGE / t**2, rng)
        )

    check_moments(draw, log_density)


@pytest.mark.parametrize("centred", [False, True])
def test_stretches_follow_the_joint_density_of_weights_and_rows(centred):
    """Likewise that of λ/t² and tG."""
    rng = np.random.default_rng(0)
    G, part = rng.normal(size=4), rng.normal(size=9)
    rows, mean, lam, beta = rng.normal(size=9), 0.0 if centred else 0.4, 1.3, 0.8
    prior, state = Hyperprior(2.0, 1.5, 0.6, centred), np.random.RandomState(0)

    def log_density(u):
        t, precision = np.exp(u), lam * np.exp(-2 * u)
        total = (prior.shape - 1) * np.log(precision) - prior.rate * precision
        squares = np.sum((rows - mean - t * part) ** 2) + beta * np.sum((t * G) ** 2)
        n = len(rows) + len(G)
        if not centred:
            squares, n = squares + prior.kappa * mean**2, n + 1
        total += n / 2 * np.log(precision) - precision * squares / 2
        return total + (len(G) - 2) * u

    def draw(u):
        t = np.exp(u)
        given = rows[:, np.newaxis], t * part[:, np.newaxis]
        numbers = np.array([mean]), np.array([lam / t**2])
        return np.log(prior.draw_stretches(*given, *numbers, state))[0]

    check_moments(draw, log_density)


def test_expectations_are_sums_over_blocks():
    X, first, rows, G = make(is_sparse=True)
    Z, second, _, H = make(is_sparse=False, n_features=4)
    weights = [G[:, :N_COLUMNS], H[:, :N_COLUMNS]]
    expectation = Expectation([first, second], weights)

    def check():
        G, H = expectation.weights
        assert_allclose(expectation.means[:, :N_COLUMNS], X @ G + Z @ H, atol=1e-12)

    check()
    expectation.stretch(np.array([2.0, 3.0, 4.0]))
    assert_allclose(expectation.weights[1], weights[1] * [2, 3, 4])
    check()
    rng = np.random.RandomState(0)
    expectation.draw(rows, np.zeros(N_COLUMNS), np.ones(N_COLUMNS), rng)
    check()
    betas = np.repeat(expectation.precisions, [N_FEATURES, 4])
    squares = np.vstack(expectation.weights) ** 2
    assert_allclose(expectation.squares(), betas @ squares)
    assert expectation.n_weights == N_FEATURES + 4


def test_spreads_are_covariances_of_what_features_predict():
    X, first, _, G = make(is_sparse=True)
    Z, second, _, H = make(is_sparse=False, n_features=4)
    weights = [G[:, :N_COLUMNS], H[:, :N_COLUMNS]]
    rated = np.flatnonzero(COUNTS)
    expectation = Expectation([first, second], weights)
    of_all = np.cov((X @ weights[0] + Z @ weights[1])[rated].T, bias=True)
    # The first block predicts a part of the other one, by a regression with β = 1.
    A = (COUNTS * X.T) @ X + np.eye(N_FEATURES)
    step = np.linalg.solve(A, (COUNTS * X.T) @ (Z @ weights[1]))
    alone = expectation.weights_alone()[:, :N_COLUMNS]
    assert_allclose(alone, weights[0] + step, atol=1e-12)
    not_known = np.cov((Z @ weights[1] - X @ step)[rated].T, bias=True)
    for n_known, rest in ((0, of_all), (1, not_known)):
        spreads = expectation.spreads(rated, n_known=n_known)
        assert_allclose(spreads, [rest, of_all], atol=1e-12)
