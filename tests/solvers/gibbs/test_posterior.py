"""What is made of draws: the nearest factorisation, and predictions of new ids."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_mf._data.ratings import Pairs
from sklearn_mf._model.features import FeatureWeights
from sklearn_mf._model.parameters import SIDES, Parameters
from sklearn_mf._model.posterior import Posterior, Sample, project

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


def draw_features(rng, shape, n_features=4):
    """Return samples with weights of features, and features of an id of each side."""
    samples = []
    for _ in range(N_DRAWS):
        sample = draw_sample(rng, shape)
        sample.weights = [
            FeatureWeights(
                np.array([f"x{k}" for k in range(n_features)], dtype=object),
                np.zeros(n_features),
                rng.normal(size=(n_features, shape[2] + 1)),
                None,
                rng.normal(size=(n_others, shape[2] + 1)),
                np.zeros(n_others),
            )
            for n_others in shape[1::-1]
        ]
        samples.append(sample)
    return samples, rng.normal(size=(2, n_features))


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


@pytest.mark.parametrize("shape", SHAPES)
def test_weights_expect_what_is_kept_of_a_row(shape):
    """A row at the mean of its prior, with features, is x times the weights kept."""
    samples, features = draw_features(np.random.default_rng(0), shape)
    for sample in samples:
        tables = sample.parameters.P, sample.parameters.Q
        for side, (table, x) in enumerate(zip(tables, features, strict=True)):
            table[2] = sample.means[side] + x @ sample.weights[side].given
    posterior = put(samples)
    learnt = posterior.samples() | {
        "users_": posterior.users,
        "items_": posterior.items,
    }
    learnt |= {"seen_indptr_": np.zeros(shape[0] + 1, int), "seen_indices_": []}
    posterior = Posterior.of(learnt)
    for side, x in zip(SIDES, features, strict=True):
        rows = x @ posterior.weights[SIDES.index(side)].given
        kept = (getattr(posterior, f"{side}_{part}") for part in ("factors", "biases"))
        for part, found in zip((rows[:, :-1], rows[:, -1]), kept, strict=True):
            assert_allclose(part, found[:, 2], atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_mean_weights_are_those_of_the_nearest_factors(shape):
    """x times the mean weights is the mean row of new ids with the features x."""
    samples, (x, _) = draw_features(np.random.default_rng(0), shape)
    posterior = put(samples)
    attributes = posterior.attributes()
    nearest = attributes["item_factors_"]
    drawn = x @ posterior.weights[0].given
    projected = project(
        drawn[:, np.newaxis, :-1], posterior.projections("user", nearest)
    )
    assert_allclose(x @ attributes["user_feature_weights_"], projected[0], atol=1e-10)
    found = x @ attributes["user_feature_biases_"]
    assert_allclose(found, drawn[:, -1].mean(), atol=1e-12)
    assert attributes["item_rated_factors_"].shape == (shape[0], shape[2])


def test_ids_without_ratings_vary_about_their_row():
    """As new ids do about 0, whatever stands in the row."""
    rng = np.random.default_rng(0)
    sample = draw_sample(rng, (3, 4, 2))
    plain = put([sample])
    rated = [np.array([True, False, True]), np.array([True, True, False, True])]
    users, items = np.array([[0, 2], [1, 1], [1, 2], [0, 1], [-1, 2]], np.int32).T
    pairs = Pairs(users, items, 0.0)
    ((scores, variances),) = replace(plain, rated=rated).scores(pairs, 1)
    assert_array_equal(scores, next(plain.scores(pairs, 1))[0])
    assert variances[3] == 0
    n = 100_000
    for k, (user, item) in enumerate(zip(users, items, strict=True)):
        tables = sample.parameters.P, sample.parameters.Q
        drawn = []
        for side, code in enumerate((user, item)):
            mean, variance = sample.means[side], sample.variances[side]
            row = mean if code < 0 else tables[side][code]
            new = code < 0 or not rated[side][code]
            drawn.append(row + new * rng.normal(size=(n, 3)) * variance**0.5)
        p, q = drawn
        found = 3.5 + p[:, -1] + q[:, -1] + (p[:, :-1] * q[:, :-1]).sum(axis=1)
        assert_allclose(
            found.mean(), scores[k], atol=5 * (variances[k] / n) ** 0.5 + 1e-9
        )
        assert_allclose(found.var(), variances[k], rtol=0.03, atol=1e-12)


def test_weights_of_what_was_rated_grow_with_new_ids():
    rng, shape = np.random.default_rng(0), (4, 3, 2)
    posterior = put(draw_features(rng, shape)[0])
    labels, rows = np.array([-1, 0, 1, 2, 3]), rng.normal(size=(N_DRAWS, 1, 3))
    grown = posterior.join("user", labels, [0], rows[..., :-1], rows[..., -1])
    of_users, of_items = grown.weights
    assert of_users is posterior.weights[0]
    assert_array_equal(of_items.rated[:, 1:], posterior.weights[1].rated)
    assert (of_items.rated[:, 0] == 0).all()


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
