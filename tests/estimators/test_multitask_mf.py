"""MultiTaskMF: factors shared or apart, what it predicts, its layers."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.model_selection import train_test_split

from sklearn_mf import (
    BiasedMF,
    MultiTaskMF,
    as_pairs,
)
from sklearn_mf.datasets import make_ratings
from tests.assertions import assert_same_bits, left_as_it_was
from tests.solvers.two_tasks.test_solver import NAMES, multitask


def test_shared_factors_are_one_array(data):
    model = multitask().fit(*data)
    assert model.user_rating_factors_ is model.user_factors_
    assert model.item_rating_factors_ is model.item_factors_
    model = multitask(shared_embeddings=False).fit(*data)
    assert (model.user_rating_factors_ != model.user_factors_).all()
    assert (model.item_rating_factors_ != model.item_factors_).all()


@pytest.mark.filterwarnings("error")
def test_rows_of_a_matrix_without_ratings(data):
    X, y = make_ratings(12, 9, 40, random_state=3)
    R = sparse.coo_array((y, X.T), shape=(15, 11)).tocsr()
    model = multitask(batch_size=8).fit(R)
    assert (model.user_factors_[12:] == 0).all()
    assert (model.user_biases_[12:] == 0).all()
    assert (model.item_factors_[9:] != 0).all()  # they are drawn as not rated
    assert (model.item_biases_[9:] < 0).all()
    assert not hasattr(model, "n_features_in_")
    assert np.isfinite(model.predict(as_pairs(R)[0])).all()


# ----------------------------------------------------------------------------- accuracy


@pytest.fixture(scope="module")
def split():
    X, y = make_ratings(400, 300, 20_000, random_state=0)
    return train_test_split(X, y, random_state=0)


@pytest.mark.compiled
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("loss", ["bpr", "logistic"])
def test_planted_ratings_are_predicted(loss, shared, split):
    X_train, X_test, y_train, y_test = split
    model = MultiTaskMF(
        interaction_loss=loss,
        shared_embeddings=shared,
        learning_rate=0.003,
        early_stopping=True,
        random_state=0,
    ).fit(X_train, y_train)
    rmse = -model.score(X_test, y_test)
    biased = BiasedMF(random_state=0).fit(X_train, y_train)
    assert rmse < 0.88 * y_test.std()
    assert rmse < -1.12 * biased.score(X_test, y_test)


@pytest.fixture(scope="module")
def groups():
    """Return two groups of users, who meet the items of their group alone."""
    rng = np.random.default_rng(0)
    X = [
        (user, item)
        for user in range(40)
        for item in rng.choice(np.arange(20), 14, replace=False) * 2 + user % 2
    ]
    return np.array(X), rng.integers(1, 6, len(X)).astype(float)


@pytest.mark.compiled
@pytest.mark.parametrize("loss", ["bpr", "logistic"])
def test_planted_interactions_are_found(loss, groups):
    X, y = groups
    model = multitask(interaction_loss=loss, n_factors=2, regularization=0.05)
    model.set_params(learning_rate=0.03, max_iter=30).fit(X, y)
    users = np.arange(40)
    items, probabilities = model.recommend(users, n_items=6)  # as many as are left
    assert (items % 2 == users[:, np.newaxis] % 2).all()
    every = np.array(list(np.ndindex(40, 40)))
    found = model.predict_interaction(every)
    same = every.sum(axis=1) % 2 == 0
    assert found[same].min() > 1.5 * found[~same].max()
    assert probabilities.min() > found[~same].max()
    if loss == "logistic":
        # Of the 14 items that are drawn for a user, 6 in 26 are of the group.
        assert_allclose(found[same].mean(), 14 / (14 + 14 * 6 / 26), atol=0.1)


@pytest.mark.compiled
def test_separate_tasks_learn_nothing_from_each_other(groups):
    X, y = groups
    usual = {"shared_embeddings": False, "max_iter": 5, "factorization_weight": 0.5}
    model = multitask(**usual, regression_weight=0.5, tol=None).fit(X, y)
    for other, name in (
        (model, "regression_weight"),
        (model, "factorization_weight"),
    ):
        alone = multitask(**usual, regression_weight=0.5).set_params(**{name: 0.0})
        alone.fit(X, y)
        ratings = name == "factorization_weight"
        for key, attribute in NAMES.items():
            same = np.array_equal(getattr(alone, attribute), getattr(other, attribute))
            assert same == ((key[-1] == "'") == ratings) or key == "a"
        assert_array_equal(alone.predict(X) == other.predict(X), ratings)


@pytest.mark.parametrize("loss", ["bpr", "logistic"])
def test_each_task_has_its_penalty(loss, data):
    X, y = data
    usual = {"interaction_loss": loss, "shared_embeddings": False}
    model = multitask(**usual).fit(X, y)
    ranking = multitask(**usual, regularization=0.5).fit(X, y)
    assert_array_equal(ranking.predict(X), model.predict(X))
    assert (ranking.user_factors_ != model.user_factors_).any()
    ratings = multitask(**usual, regression_regularization=0.5).fit(X, y)
    assert (ratings.predict(X) != model.predict(X)).any()
    for name in ("user_factors_", "item_factors_", "user_biases_", "item_biases_"):
        assert_array_equal(getattr(ratings, name), getattr(model, name))


@pytest.mark.compiled
def test_a_large_penalty_of_the_ratings_leaves_their_mean(data):
    X, y = data
    params = {"regression_weight": 0.5, "learning_rate": 0.03, "max_iter": 60}
    model = multitask(**params, regression_regularization=1.0).fit(X, y)
    assert_allclose(model.predict(X), model.global_mean_, atol=0.1)
    assert multitask(**params).fit(X, y).predict(X).std() > 0.3


# -------------------------------------------------------------------------- warm start


def test_warm_start_from_shared_to_separate_factors_and_back(data):
    X, y = data
    model = multitask(warm_start=True).fit(X, y)
    factors = model.user_factors_.copy()
    model.set_params(shared_embeddings=False, learning_rate=1e-300).fit(X, y)
    assert_array_equal(model.user_rating_factors_, factors)
    assert_array_equal(model.user_factors_, factors)
    model.set_params(learning_rate=0.01).fit(X, y)
    factors = model.user_factors_.copy()
    model.set_params(shared_embeddings=True, learning_rate=1e-300).fit(X, y)
    assert_array_equal(model.user_rating_factors_, factors)


@pytest.mark.parametrize("sizes", [(), (4,), (5, 5), [5, 1]])
def test_warm_start_of_another_shape(sizes, data):
    X, y = data
    model = multitask(warm_start=True).fit(X, y)
    match = r"hidden_layer_sizes=.*but the fit to continue from has \(5,\): set it back"
    model.set_params(hidden_layer_sizes=sizes)
    with left_as_it_was(model), pytest.raises(ValueError, match=match):
        model.fit(X, y)
    model.set_params(hidden_layer_sizes=[5]).fit(X, y)  # a list is as a tuple


# ------------------------------------------------------------------------------ errors


@pytest.mark.parametrize("sizes", [(0,), (5, -1), (2.0,), ("5",), (True,), [[5]], {""}])
def test_widths_of_layers_must_be_counts(sizes, data):
    with pytest.raises(ValueError, match=r"hidden_layer_sizes=.* must be widths of"):
        multitask(hidden_layer_sizes=sizes).fit(*data)


@pytest.mark.parametrize("sizes", [(5,), [5], np.array([5]), (np.int64(5),)])
def test_widths_of_layers_may_be_any_list_of_counts(sizes, data):
    model = multitask(hidden_layer_sizes=sizes).fit(*data)
    assert model.hidden_layer_sizes is sizes
    assert_same_bits(model, multitask().fit(*data))


def test_a_task_must_be_left(data):
    model = multitask(factorization_weight=0, regression_weight=0)
    with pytest.raises(ValueError, match="regression_weight are both 0"):
        model.fit(*data)
