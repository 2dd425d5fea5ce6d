"""SGDFactorizer: early stopping, log loss, and what its parameters do."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.special import expit, logit

from sklearn_mf import SGDFactorizer
from sklearn_mf._data.ratings import hold_out
from sklearn_mf._data.tables import read_ratings
from sklearn_mf.datasets import make_ratings
from tests.assertions import assert_same_bits
from tests.solvers.sgd.helpers import rmse, sgd, to_shares


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("weighted_regularization", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_of_a_matrix_without_ratings_stay_zero(dtype, weighted_regularization):
    X, y = make_ratings(25, 15, 150, random_state=0)
    R = sparse.coo_array((y.astype(dtype), X.T), shape=(30, 20)).tocsr()
    options = {"weighted_regularization": weighted_regularization, "optimizer": "sgd"}
    model = sgd(**options).fit(R)
    assert model.user_factors_.shape == (30, 3)
    assert_array_equal(model.user_factors_[25:], 0)
    assert_array_equal(model.item_factors_[15:], 0)
    pairs = sgd(**options).fit(X, y.astype(dtype))
    assert_array_equal(model.global_mean_, pairs.global_mean_)
    assert_allclose(model.loss_curve_[0], pairs.loss_curve_[0], rtol=0.05)


# ---------------------------------------------------------------------- early stopping


@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.3])
def test_validation_fraction_is_the_share_held_out(fraction, large):
    X, _, y, _ = large
    model = sgd(early_stopping=True, validation_fraction=fraction, max_iter=2)
    model.fit(X, y)
    assert model.weight_sum_ == len(y) - round(fraction * len(y))


def held_out_of(model, X, y, w):
    """What a fit holds out: the choice comes before the draws of the factors."""
    rng = np.random.RandomState(model.random_state)
    kept, held_out = hold_out(
        read_ratings(SGDFactorizer(), X, y, w), model.validation_fraction, rng
    )
    pairs = np.column_stack([kept.users[held_out.users], kept.items[held_out.items]])
    return kept, pairs, held_out.ratings, held_out.weights


@pytest.mark.compiled
@pytest.mark.parametrize("with_weights", [False, True])
@pytest.mark.parametrize("loss", ["squared_error", "log_loss"])
def test_validation_scores_are_those_of_the_held_out_ratings(loss, with_weights, large):
    X, _, y, _ = large
    y = to_shares(y) if loss == "log_loss" else y
    w = np.random.default_rng(0).uniform(0.5, 2, len(y)) if with_weights else None
    options = {
        "loss": loss,
        "early_stopping": True,
        "regularization": 0.0,
        "n_factors": 8,
        "learning_rate": 0.3 if loss == "log_loss" else 0.1,
        "clip": False,
    }
    model = sgd(**options, max_iter=300, tol=None).fit(X, y, w)
    scores = model.validation_scores_
    kept, pairs, r, weights = held_out_of(model, X, y, w)
    assert_allclose(model.global_mean_, kept.mean(), rtol=1e-14)
    predicted = model.predict(pairs)
    if loss == "log_loss":
        losses = -(r * np.log(predicted) + (1 - r) * np.log(1 - predicted))
        expected = -np.average(losses, weights=weights)
    else:
        expected = -np.sqrt(np.average((predicted - r) ** 2, weights=weights))
    assert_allclose(max(scores), expected, rtol=1e-10)


# ---------------------------------------------------------------------------- log loss


@pytest.mark.compiled
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_log_loss_predicts_probabilities(dtype, data):
    X, y = data
    y = (y > 3.4).astype(dtype)
    options = {"optimizer": "sgd", "learning_rate": 0.1, "max_iter": 150, "clip": False}
    model = sgd(**options, loss="log_loss").fit(X, y)
    probabilities = model.predict(X)
    P, Q = model.user_factors_, model.item_factors_
    z = logit(y.mean(dtype=float)) + (P[X[:, 0]] * Q[X[:, 1]]).sum(axis=1)
    assert probabilities.dtype == dtype
    assert_allclose(
        probabilities, expit(z), rtol=1e-5 if dtype == np.float32 else 1e-12
    )
    assert probabilities.min() > 0
    assert probabilities.max() < 1
    loss = np.array(model.loss_curve_)
    assert loss[-1] < 0.85 * loss[0]
    assert (np.diff(loss[:20]) < 0).all()
    assert probabilities[y == 1].mean() > probabilities[y == 0].mean() + 0.2


def test_log_loss_of_the_mean_alone(data):
    X, y = data
    y = to_shares(y)
    model = sgd(loss="log_loss", init_scale=1e-12, learning_rate=1e-12, max_iter=1)
    model.fit(X, y)
    p = y.mean()
    entropy = -(p * np.log(p) + (1 - p) * np.log(1 - p))
    assert_allclose(model.loss_curve_, [2 * len(y) * entropy], rtol=1e-8)
    assert_allclose(model.predict(X), p, rtol=1e-8)
    assert_allclose(model.predict([[99, 0], [0, 99], [99, 99]]), p, rtol=1e-12)
    assert_allclose(model.score(X, y), -y.std(), rtol=1e-6)


def test_log_loss_without_intercept(data):
    X, y = data
    model = sgd(loss="log_loss", fit_intercept=False, clip=False).fit(X, to_shares(y))
    assert model.global_mean_ == 0.5
    assert_array_equal(model.predict([[99, 99]]), 0.5)
    z = (model.user_factors_[X[:, 0]] * model.item_factors_[X[:, 1]]).sum(axis=1)
    assert_allclose(model.predict(X), expit(z), rtol=1e-12)


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("clip", [False, True])
def test_log_loss_of_equal_answers(value, clip, data):
    X, _ = data
    model = sgd(loss="log_loss", clip=clip).fit(X, np.full(len(X), value))
    assert_allclose(model.predict(X), value, atol=1e-4)
    assert_allclose(model.predict([[99, 99]]), value, atol=2e-6)
    assert np.isfinite(model.loss_curve_).all()


# -------------------------------------------------------------------------- parameters


def test_epsilon_of_adagrad(data):
    small, large = (sgd(epsilon=e).fit(*data).predict(data[0]) for e in (1e-8, 1.0))
    assert abs(small - large).max() > 1e-3


def test_momentum_is_for_plain_steps_alone(data):
    one = sgd(optimizer="adagrad").fit(*data)
    other = sgd(optimizer="adagrad", momentum=0.9, nesterov=True).fit(*data)
    assert_same_bits(one, other)


def test_regularization(data):
    norms = [
        np.linalg.norm(sgd(regularization=lam, max_iter=30).fit(*data).user_factors_)
        for lam in (0.0, 0.1, 0.3, 1.0)
    ]
    assert (np.diff(norms) < 0).all()


def test_fit_intercept(data):
    X, y = data
    model = sgd(fit_intercept=False, clip=False, max_iter=200).fit(X, y)
    assert model.global_mean_ == 0
    assert_array_equal(model.predict([[99, 0], [0, 99]]), 0)
    assert rmse(model, X, y) < y.std()  # the factors have learnt the level
    centred = sgd().fit(X, y)
    assert_allclose(centred.predict([[99, 0], [0, 99]]), y.mean(), rtol=1e-12)
