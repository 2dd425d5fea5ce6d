"""Whether predictions are as sure as they should be, on ratings of the model's form."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from sklearn_mf import BayesianMF

N_USERS, N_NEW, N_ITEMS, N_FACTORS, N_TRAINING = 200, 1500, 100, 3, 6000
MEAN, NOISE = 3.0, 0.7
SHAPE = 10  # of the Gamma distribution of the users' noise, ν/2
CUT_POINTS = np.array([-1.5, -0.5, 0.3, 1.2])

pytestmark = pytest.mark.compiled


def make(by_user):
    """Return ratings to learn from, others of the same users, and of new ones."""
    rng = np.random.default_rng(0)

    def sample_rows(n_rows):
        means = rng.normal(scale=0.2, size=N_FACTORS + 1)
        deviations = rng.uniform(0.4, 0.7, N_FACTORS + 1)
        return means + deviations * rng.normal(size=(n_rows, N_FACTORS + 1))

    P, Q = sample_rows(N_USERS + N_NEW), sample_rows(N_ITEMS)
    levels = rng.gamma(SHAPE, 1 / SHAPE, len(P)) if by_user else np.ones(len(P))
    pairs = rng.permutation(N_USERS * N_ITEMS)
    seen = np.column_stack(np.divmod(pairs, N_ITEMS))
    users = np.repeat(np.arange(N_USERS, len(P)), 4)
    new = np.column_stack([users, rng.integers(N_ITEMS, size=len(users))])
    parts = []
    for pairs in (seen[:N_TRAINING], seen[N_TRAINING:], new):
        p, q = P[pairs[:, 0]], Q[pairs[:, 1]]
        scores = (p[:, :-1] * q[:, :-1]).sum(axis=1) + p[:, -1] + q[:, -1]
        noise = NOISE * rng.normal(size=len(pairs)) / levels[pairs[:, 0]] ** 0.5
        parts.append((pairs, MEAN + scores + noise))
    return parts


@pytest.mark.parametrize("noise", ["shared", "user"])
def test_intervals_cover_as_many_ratings_as_they_say(noise):
    training, *held_out = make(by_user=noise == "user")
    model = BayesianMF(N_FACTORS, noise=noise, clip=False, random_state=0)
    model.fit(*training)
    expected = NOISE * (1 if noise == "shared" else (SHAPE / (SHAPE - 1)) ** 0.5)
    assert_allclose(model.noise_curve_[0, 50:].mean(), expected, rtol=0.05)
    for (X, y), tolerance in zip(held_out, (0.02, 0.03), strict=True):
        for coverage in (0.5, 0.8, 0.9, 0.95):
            low, high = model.predict_interval(X, coverage).T
            covered = np.mean((low <= y) & (y <= high))
            assert_allclose(covered, coverage, atol=tolerance)


@pytest.mark.parametrize("noise", ["shared", "user"])
def test_probabilities_of_levels_are_their_frequencies(noise):
    parts = make(by_user=noise == "user")
    training, *held_out = (
        (X, np.searchsorted(CUT_POINTS, (y - MEAN) / NOISE)) for X, y in parts
    )
    model = BayesianMF(N_FACTORS, likelihood="ordinal", noise=noise, random_state=0)
    model.fit(*training)
    for (X, y), tolerance in zip(held_out, (0.02, 0.03), strict=True):
        found = y[:, np.newaxis] == np.arange(len(CUT_POINTS) + 1)
        probabilities = model.predict_level_proba(X)
        assert_allclose(probabilities.sum(axis=1), 1)
        assert_allclose(probabilities.mean(axis=0), found.mean(axis=0), atol=tolerance)
        # The same for those that are about as likely.
        order = np.argsort(probabilities, axis=None)
        for part in np.array_split(order, 5):
            mean = probabilities.ravel()[part].mean()
            assert_allclose(found.ravel()[part].mean(), mean, atol=tolerance)


@pytest.mark.parametrize("likelihood", ["gaussian", "ordinal"])
def test_drawn_ratings_have_the_predicted_mean_and_deviation(likelihood):
    training, *held_out = make(by_user=True)
    X, y = training
    if likelihood == "ordinal":
        y = np.searchsorted(CUT_POINTS, (y - MEAN) / NOISE)
    model = BayesianMF(N_FACTORS, likelihood=likelihood, clip=False, random_state=0)
    model.fit(X, y)
    pairs = np.vstack([X[:40] for X, _ in held_out] + [[[0, -1], [-1, -1]]])
    n = 4000
    drawn = model.sample_y(pairs, n, random_state=1)
    mean, deviation = model.predict(pairs, return_std=True)
    # The predicted mean is that of the nearest factorisation.
    errors = (drawn.mean(axis=1) - mean) / deviation
    assert abs(errors).max() < 5 / n**0.5 + 0.02
    assert_allclose(drawn.std(axis=1), deviation, rtol=0.06)
