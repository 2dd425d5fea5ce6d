"""Explanations add up to the predictions that they explain."""

import copy

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import expit

from sklearn_mf import ALSFactorizer, BayesianMF, BiasedMF, SGDFactorizer
from sklearn_mf.datasets import make_ratings

X, Y = make_ratings(40, 30, 500, random_state=0)
RNG = np.random.default_rng(0)
USERS = np.arange(45), RNG.normal(size=(45, 3)), ["age", "height", "weight"]
ITEMS = np.arange(35), RNG.normal(size=(35, 2))
FEATURES = {
    "none": {},
    "given": {"user_features": USERS, "item_features": ITEMS},
    "rated": {"user_features": ["rated", USERS], "item_features": "rated"},
}
CLOSED = [
    ALSFactorizer(4),
    ALSFactorizer(4, unobserved_weight=0.2),
    ALSFactorizer(12, weighted_regularization=False, regularization=0),
    BiasedMF(4, solver="als", bias_regularization=1.0),
    BiasedMF(0, solver="als"),
]
OPEN = [SGDFactorizer(4), BiasedMF(4, loss="log_loss"), SGDFactorizer(4, batch_size=9)]
PAIRS = [[3, 4], [3, 33], [44, 4], [44, 33], [3, 999], [999, 4], [999, 999]]


def fit(model, features):
    options = {"random_state": 0, "max_iter": 5, "tol": None, "clip": False}
    shares = getattr(model, "loss", None) == "log_loss"
    model.set_params(**options, **features)
    return model.fit(X, (Y - 1) / 4 if shares else Y)


@pytest.mark.parametrize("features", FEATURES.values(), ids=FEATURES)
@pytest.mark.parametrize("model", CLOSED + OPEN, ids=repr)
def test_the_parts_add_up_to_the_prediction(model, features):
    model = fit(copy.deepcopy(model), features)
    logistic = getattr(model, "loss", None) == "log_loss"
    for pair, prediction in zip(PAIRS, model.predict(PAIRS), strict=True):
        found = model.explain(*pair)
        total = sum(found.parts.values())
        assert_allclose(expit(total) if logistic else total, prediction, rtol=1e-9)
        assert found.prediction == prediction
        for side in ("user", "item"):
            parts = found[f"{side}_features"]
            if f"{side} features" in found.parts:
                assert_allclose(sum(parts.values()), found.parts[f"{side} features"])
                sizes = np.abs(list(parts.values()))
                assert (np.diff(sizes) <= 0).all()
            else:
                assert not parts
    assert "items" not in found


def test_features_say_what_they_add():
    model = fit(BiasedMF(3), {"item_features": ITEMS})
    found = model.explain(3, 4)
    x = ITEMS[1][4] - model.item_feature_centers_
    expected = x * (
        model.item_feature_biases_
        + model.item_feature_weights_ @ model.user_factors_[3]
    )
    assert_allclose([found.item_features[name] for name in ("x0", "x1")], expected)


@pytest.mark.compiled
@pytest.mark.parametrize("features", FEATURES.values(), ids=FEATURES)
@pytest.mark.parametrize("model", CLOSED, ids=repr)
def test_ratings_of_a_history_say_what_they_add(model, features):
    model = fit(copy.deepcopy(model), features)
    own = X[:, 0] == 3
    history = X[own], Y[own].astype(float), RNG.uniform(0.5, 2, own.sum())
    found = model.explain(3, 4, history)
    folded = copy.deepcopy(model).fold_in_users(*history)
    assert_allclose(found.prediction, folded.predict([[3, 4]])[0], rtol=1e-9)
    assert_allclose(sum(found.parts.values()), found.prediction, rtol=1e-9)
    assert set(found["items"]) == set(X[own, 1])
    assert (np.diff(abs(found.contributions)) <= 1e-12).all()
    # One star more for one item adds its weight times what a star of it adds.
    for item, rest in zip(found["items"], found.contributions, strict=True):
        more = history[1].copy()
        more[X[own, 1] == item] += 1
        changed = model.explain(3, 4, (history[0], more, history[2]))
        gain = changed.contributions.sum() - found.contributions.sum()
        assert_allclose(changed.prediction - found.prediction, gain, atol=1e-9)
        at = list(changed["items"]).index(item)
        assert_allclose(changed.contributions[at] - rest, gain, atol=1e-9)


def test_what_cannot_be_explained_says_why():
    model = fit(ALSFactorizer(3, non_negative=True), {})
    with pytest.raises(ValueError, match="non_negative=True"):
        model.explain(3, 4, (X, Y))
    model = fit(ALSFactorizer(3), {})
    with pytest.raises(ValueError, match="history has no rating of the user 999"):
        model.explain(999, 4, (X, Y))
    with pytest.raises(ValueError, match="kind 'text'"):
        model.explain("3", 4)
    with pytest.raises(TypeError, match="cannot fold users in"):
        fit(SGDFactorizer(3), {}).explain(3, 4, (X, Y))
    model = BayesianMF(2, n_samples=5, burn_in=0, random_state=0).fit(X, Y)
    with pytest.raises(TypeError, match="cannot tell what single ratings add"):
        model.explain(3, 4, (X, Y))
