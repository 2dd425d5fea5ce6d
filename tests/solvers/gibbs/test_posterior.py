"""What is made of draws: the nearest factorisation, and predictions of new ids."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from sklearn_mf._data.ratings import Pairs
from sklearn_mf._model.parameters import Parameters
from sklearn_mf._model.posterior import Posterior, Sample

N_DRAWS = 8
SHAPES = [(30, 20, 3), (20, 30, 8), (5, 12, 7), (12, 5, 7), (6, 4, 0)]


def draw_sample(rng, shape, P=None, Q=None):
    n_users, n_items, n_factors = shape
    n_columns = n_factors + 1
    P = rng.normal(size=(n_users, n_columns)) if P is None else P
    Q = rng.normal(size=(n_items, n_columns)) if Q is None else Q
    ids = np.arange(n_users), np.arange(n_items)
    return Sample(
        Parameters(*ids, P, Q, 3.5, biased=True),
        means=list(rng.normal(size=(2, n_columns))),
        variances=list(rng.uniform(0.5, 2, (2, n_columns))),
        noise=(rng.uniform(0.5, 2, n_users), 1.5),
        cut_points=np.empty(0),
    )


def scores_of(parameters):
    P, Q = parameters.P, parameters.Q
    products = P[:, :-1] @ Q[:, :-1].T
    return parameters.mean + P[:, -1:] + Q[:, -1] + products


def put(samples):
    posterior = Posterior.allocate(samples[0], len(samples))
    for k, sample in enumerate(samples):
        posterior.put(k, sample)
    return posterior


def all_pairs(n_users, n_items):
    users, items = np.indices((n_users, n_items), np.int32).reshape(2, -1)
    return Pairs(users, items, 0.0)


@pytest.mark.parametrize("shape", SHAPES)
def test_draws_predict_as_they_were(shape):
    rng = np.random.default_rng(0)
    samples = [draw_sample(rng, shape) for _ in range(3)]
    scores = put(samples).scores(all_pairs(*shape[:2]), 1)
    for sample, (found, variances) in zip(samples, scores, strict=True):
        assert_allclose(found, scores_of(sample.parameters).ravel(), rtol=1e-12)
        assert (variances == 0).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_not_known_of_an_id_is_0(shape):
    """A row at the mean of its prior has neither factors nor a bias of its own."""
    rng = np.random.default_rng(0)
    sample = draw_sample(rng, shape)
    sample.parameters.P[2], sample.parameters.Q[1] = sample.means
    posterior = put([sample])
    for of_user, of_item in (
        (posterior.user_factors, posterior.item_factors),
        (posterior.user_biases, posterior.item_biases),
    ):
        assert_allclose(of_user[0, 2], 0, atol=1e-12)
        assert_allclose(of_item[0, 1], 0, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_nearest_of_one_draw_is_that_draw(shape):
    sample = draw_sample(np.random.default_rng(0), shape)
    nearest = put([sample]).nearest()
    assert_allclose(scores_of(nearest), scores_of(sample.parameters), rtol=1e-10)


@pytest.mark.parametrize("shape", SHAPES)
def test_nearest_is_the_truncated_singular_value_decomposition(shape):
    rng = np.random.default_rng(0)
    n_factors = shape[2]
    first = draw_sample(rng, shape)
    samples = []
    for _ in range(N_DRAWS):  # a draw is near the others, but for its signs and order
        order, signs = rng.permutation(n_factors), rng.choice([-1, 1], n_factors)
        tables = []
        for rows in (first.parameters.P, first.parameters.Q):
            rows = rows + 0.5 * rng.normal(size=rows.shape)
            rows[:, :-1] = signs * rows[:, order]
            tables.append(rows)
        sample = draw_sample(rng, shape, *tables)
        sample.means = [np.append(signs * m[order], m[-1]) for m in first.means]
        samples.append(sample)
    posterior = put(samples)
    products = posterior.user_factors @ posterior.item_factors.transpose(0, 2, 1)
    U, values, Vt = np.linalg.svd(products.mean(axis=0), full_matrices=False)
    best = (U[:, :n_factors] * values[:n_factors]) @ Vt[:n_factors]
    nearest = posterior.nearest()
    found = nearest.P[:, :-1] @ nearest.Q[:, :-1].T
    distance, smallest = (
        np.linalg.norm(products.mean(axis=0) - product) for product in (found, best)
    )
    assert distance <= 1.01 * smallest + 1e-10
    assert_allclose(nearest.P[:, -1], posterior.user_biases.mean(axis=0), rtol=1e-12)
    assert_allclose(nearest.Q[:, -1], posterior.item_biases.mean(axis=0), rtol=1e-12)
    assert_allclose(nearest.mean, posterior.intercepts.mean(), rtol=1e-12)


def test_new_ids_vary_as_their_prior():
    rng = np.random.default_rng(0)
    sample = draw_sample(rng, (3, 4, 2))
    codes = np.array([[-1, 1], [1, -1], [-1, -1]], np.int32)
    posterior = put([sample])
    pairs = Pairs(*codes.T, 1.0)
    ((means, variances),) = posterior.scores(pairs, 1)
    n = 100_000
    new = [
        mean + rng.normal(size=(n, 3)) * variance**0.5
        for mean, variance in zip(sample.means, sample.variances, strict=True)
    ]
    for (user, item), mean, variance in zip(codes, means, variances, strict=True):
        p = new[0] if user < 0 else sample.parameters.P[user]
        q = new[1] if item < 0 else sample.parameters.Q[item]
        scores = 3.5 + p[..., -1] + q[..., -1] + (p[..., :-1] * q[..., :-1]).sum(-1)
        assert_allclose(scores.mean(), mean, atol=5 * (variance / n) ** 0.5)
        assert_allclose(scores.var(), variance, rtol=0.03)
    # Of a rating the noise too: that of its user, or of an unknown one.
    noise = [1.5, sample.noise[0][1], 1.5]
    assert_allclose(posterior.variance(pairs, 1), variances + noise)
