"""Probabilities of rating levels, and latent ratings, against SciPy."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import log_ndtr, ndtr, ndtri
from scipy.stats import kstest

from sklearn_mf._solvers.gibbs.level_kernels import (
    add_derivatives,
    add_latents,
    add_log_shares,
    place_latents,
)
from sklearn_mf._solvers.gibbs.likelihoods import (
    add_infinities,
    derive_log_prior,
    log_prior,
    split_levels,
)

CUT_POINTS = np.array([-1.2, 0.3, 0.9])
N_LEVELS, N = len(CUT_POINTS) + 1, 200


@pytest.fixture
def given():
    """Return positions of scores, levels, weights and scores."""
    rng = np.random.default_rng(0)
    at = rng.permutation(N + 10)[:N]
    levels, weights = rng.integers(N_LEVELS, size=N), rng.uniform(0.2, 3, N)
    return at, levels, weights, 0.8 * rng.normal(size=N + 10)


def log_density(cut_points, given):
    at, levels, weights, scores = given
    ends, roots = add_infinities(cut_points), weights**0.5
    below, above = (roots * (ends[levels + n] - scores[at]) for n in (0, 1))
    return np.log(ndtr(above) - ndtr(below)).sum()


def test_log_shares(given):
    sums = np.zeros((2, 1))
    for start, stop in ((0, 128), (128, N)):
        add_log_shares(start, stop, *given, add_infinities(CUT_POINTS), 128, sums)
    assert_allclose(sums.sum(), log_density(CUT_POINTS, given), rtol=1e-10)


@pytest.mark.parametrize("score", [-25.0, 25.0])
def test_log_shares_far_away(score):
    level = N_LEVELS - 1 if score < 0 else 0  # the least likely
    nearest = CUT_POINTS[-1] if score < 0 else CUT_POINTS[0]
    given = np.array([0]), np.array([level]), np.ones(1), np.array([score])
    sums, ends = np.zeros((1, 1)), add_infinities(CUT_POINTS)
    add_log_shares(0, 1, *given, ends, 1, sums)
    assert_allclose(sums[0, 0], log_ndtr(-abs(nearest - score)), rtol=1e-10)
    derivatives = np.zeros((1, 3 * len(ends)))
    add_derivatives(0, 1, *given, ends, 1, derivatives)
    assert np.isfinite(derivatives).all()


def test_derivatives(given):
    """Of the probabilities and of the prior, by central differences."""
    ends, step = add_infinities(CUT_POINTS), 1e-4
    sums = np.zeros((2, 3 * len(ends)))
    for start, stop in ((0, 128), (128, N)):
        add_derivatives(start, stop, *given, ends, 128, sums)
    first, second, mixed = sums.sum(axis=0).reshape(3, -1)
    off = np.diag(mixed[1:-2], 1)
    derivatives = first[1:-1], np.diag(second[1:-1]) + off + off.T
    steps = step * np.eye(len(CUT_POINTS))
    for function, (gradient, hessian) in (
        (lambda c: log_density(c, given), derivatives),
        (log_prior, derive_log_prior(CUT_POINTS)),
    ):
        for i, one in enumerate(steps):
            slope = function(CUT_POINTS + one) - function(CUT_POINTS - one)
            assert_allclose(gradient[i], slope / (2 * step), rtol=1e-5)
            for j, two in enumerate(steps):
                corners = [
                    sign * function(CUT_POINTS + left * one + right * two)
                    for left, right, sign in (
                        (1, 1, 1),
                        (1, -1, -1),
                        (-1, 1, -1),
                        (-1, -1, 1),
                    )
                ]
                curvature = sum(corners) / (4 * step**2)
                assert_allclose(hessian[i, j], curvature, rtol=1e-3, atol=1e-3)


def draw_latents(uniform, given, total):
    ends = add_infinities(CUT_POINTS)
    place_latents(0, len(uniform), *given, ends, uniform)
    latents = ndtri(uniform)
    add_latents(0, len(uniform), *given, ends, latents, total)
    return latents


def test_latent_ratings_are_normal_between_their_cut_points(given):
    at, levels, weights, scores = given
    uniform, total = np.random.default_rng(1).uniform(size=N), np.ones(N + 10)
    latents = draw_latents(uniform, given, total)
    ends = add_infinities(CUT_POINTS)
    assert (ends[levels] <= latents).all()
    assert (latents <= ends[levels + 1]).all()
    assert_allclose(total[at], 1 + weights * latents)
    # Within its level, Φ is uniform.
    low, value, high = (
        ndtr(weights**0.5 * (x - scores[at]))
        for x in (ends[levels], latents, ends[levels + 1])
    )
    assert kstest((value - low) / (high - low), "uniform").pvalue > 0.01


@pytest.mark.parametrize("score", [-60.0, -25.0, 25.0, 60.0])
def test_latent_ratings_of_unlikely_levels_are_near_their_cut_points(score):
    """Where probabilities are rounded to 0 they stand at the cut point itself."""
    level = N_LEVELS - 1 if score < 0 else 0
    given = np.zeros(3, int), np.full(3, level), np.ones(3), np.array([score])
    latents = draw_latents(np.array([1e-9, 0.5, 1.0]), given, np.zeros(1))
    distance = latents - CUT_POINTS[-1] if score < 0 else CUT_POINTS[0] - latents
    assert (distance >= -1e-12).all()
    assert (distance < 1).all()


def test_ratings_between_two_levels_are_shares_of_both():
    levels, weights = np.array([0.0, 1.0, 4.0]), np.array([2.0, 3.0, 1.0, 8.0])
    ratings = np.array([1.0, 0.25, 4.0, 3.25])
    (at, below, own), (split, above, rest) = split_levels(ratings, levels, weights)
    assert_array_equal(at, np.arange(4))
    assert_array_equal(below, [1, 0, 2, 1])
    assert_allclose(own, [2, 2.25, 1, 2])
    assert_array_equal(split, [1, 3])
    assert_array_equal(above, [1, 2])
    assert_allclose(rest, [0.75, 6])
