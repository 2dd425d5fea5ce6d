"""Gibbs sampling of few parameters against numerical integration.

One user and two items have biases alone, of standard deviation 1 and mean 0: their
scores s have the prior N(0, Σ), Σ = [[2, 1], [1, 2]]. The rest is as in `BayesianMF`.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import ndtr
from scipy.stats import gamma, norm

from sklearn_mf._data.ratings import Pairs
from sklearn_mf._solvers.gibbs import likelihoods
from sklearn_mf._solvers.gibbs.likelihoods import Gaussian, Probit
from sklearn_mf._solvers.gibbs.solver import GibbsSampler, Hyperprior
from tests.solvers.gibbs.helpers import make_problem

N_DRAWS, N_BATCHES, BURN_IN = 4000, 50, 50
BOUND = 5  # standard errors
FIXED = Hyperprior(1e8, np.array([1e8]), centred=True)  # all precisions are 1
WEIGHTS = np.array([0.5, 1.5])
DEGREES = np.array([4.0, 8.0])  # others would need a finer grid
PAIRS = Pairs(np.zeros(2, np.int32), np.arange(2, dtype=np.int32), 0.0)

pytestmark = pytest.mark.compiled


@pytest.fixture(autouse=True)
def few_degrees(monkeypatch):
    monkeypatch.setattr(likelihoods, "DEGREES", DEGREES)


def draw_posterior(likelihood, ratings):
    """Return the posterior of the ratings of the items, and the two scores in it."""
    users, items = np.zeros(2, int), np.arange(2)
    problem = make_problem(users, items, np.array(ratings), 3 * WEIGHTS, 0)
    options = {"burn_in": BURN_IN, "n_samples": N_DRAWS, "thin": 1, "n_chains": 1}
    sampler = GibbsSampler(problem, likelihood, FIXED, scale=1.0, **options)
    for _ in range(BURN_IN + N_DRAWS):
        sampler.sweep()
    posterior = sampler.parameters()
    biases = posterior.user_biases + posterior.item_biases
    return posterior, posterior.intercepts[:, np.newaxis] + biases


def assert_mean(draws, expected):
    """Check the mean of draws, whose error the means of batches tell."""
    means = draws.reshape(N_BATCHES, -1).mean(axis=1)
    error = means.std(ddof=1) / N_BATCHES**0.5
    assert abs(means.mean() - expected) < BOUND * error
    assert error < 0.1 * draws.std()


class Grid:
    """The posterior on a grid of the scores, other parameters, and last log γ."""

    def __init__(self, *others, by_user):
        scores = np.linspace(-6, 6, 31)
        log_gamma = np.linspace(-4.2, 2.1, 22) if by_user else [0.0]
        self.axes = np.meshgrid(
            scores, scores, *others, log_gamma, indexing="ij", sparse=True
        )
        s, t = self.scores = self.axes[:2]
        self.precision = np.exp(self.axes[-1])
        self.log_density = -(s * s - s * t + t * t) / 3  # of N(0, Σ), less a constant
        if by_user:
            # γ ~ Gamma(ν/2, ν/2), and ν is one of `DEGREES`
            value = self.precision[..., np.newaxis]
            densities = value * gamma.pdf(value, DEGREES / 2, scale=2 / DEGREES)
            self.add(np.log(densities.mean(axis=-1)))

    def add(self, log_density):
        self.log_density = self.log_density + log_density

    def mean(self, values):
        density = np.exp(self.log_density - self.log_density.max())
        return (values * density).sum() / density.sum()

    def assert_same(self, posterior, scores):
        for k, own in enumerate(self.scores):
            assert_mean(scores[:, k], self.mean(own))
            assert_mean(scores[:, k] ** 2, self.mean(own**2))
        assert_mean(scores.prod(axis=1), self.mean(self.scores[0] * self.scores[1]))
        if self.precision.size > 1:
            log_noise = np.log(posterior.noise_variances[:, 0])
            assert_mean(log_noise, self.mean(-np.log(self.precision)))


@pytest.mark.parametrize("by_user", [False, True])
def test_ratings_with_normal_noise(by_user):
    ratings = [1.3, -0.4]
    grid = Grid(np.linspace(-6, 3, 46), by_user=by_user)
    # τ ~ Gamma(1, 1), r ~ N(s, 1/(τ γ w))
    tau = np.exp(grid.axes[2])
    grid.add(np.log(tau) - tau)
    grid.precision = tau * grid.precision
    for score, rating, weight in zip(grid.scores, ratings, WEIGHTS, strict=True):
        deviation = (grid.precision * weight) ** -0.5
        grid.add(norm.logpdf(rating, score, deviation))

    def likelihood(problem):
        return Gaussian(problem, scale=1.0, by_user=by_user)

    grid.assert_same(*draw_posterior(likelihood, ratings))


@pytest.mark.parametrize(
    ("n_levels", "ratings", "by_user"),
    [
        (2, [0.0, 1.0], True),
        (2, [0.5, 0.75], True),  # shares of both levels
        (3, [1.0, 2.0], False),
    ],
)
def test_levels(n_levels, ratings, by_user):
    cut_points = [np.linspace(-18, 18, 73)] * (n_levels - 1)
    grid = Grid(*cut_points, by_user=by_user)
    cut_points = grid.axes[2:-1]
    for cut_point in cut_points:
        grid.add(norm.logpdf(cut_point, scale=5))
    if n_levels == 3:
        with np.errstate(divide="ignore"):
            grid.add(np.log(np.maximum(cut_points[1] - cut_points[0], 0)))

    def share(level, score, weight):
        ends = [-np.inf, *cut_points, np.inf][level : level + 2]
        below, above = (
            ndtr((grid.precision * weight) ** 0.5 * (end - score)) for end in ends
        )
        return above - below

    for score, rating, weight in zip(grid.scores, ratings, WEIGHTS, strict=True):
        for level in range(n_levels):
            part = max(0, 1 - abs(rating - level))
            if part:
                with np.errstate(divide="ignore"):
                    grid.add(np.log(np.maximum(share(level, score, weight * part), 0)))

    def likelihood(problem):
        levels = np.arange(float(n_levels))
        return Probit(problem, levels=levels, by_user=by_user)

    posterior, scores = draw_posterior(likelihood, ratings)
    grid.assert_same(posterior, scores)
    for k, cut_point in enumerate(cut_points):
        assert_mean(posterior.cut_points[:, k], grid.mean(cut_point))
        assert_mean(posterior.cut_points[:, k] ** 2, grid.mean(cut_point**2))
    shares = posterior.level_shares(PAIRS, 1)
    for score, of_pair in zip(grid.scores, shares, strict=True):
        expected = [grid.mean(share(level, score, 1)) for level in range(n_levels)]
        assert_allclose(of_pair, expected, atol=0.02)
