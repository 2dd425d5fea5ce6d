"""A default fit ends near the minimum that it would reach, and not on a plateau."""

import functools
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from sklearn_mf import (
    ALSFactorizer,
    AutoRec,
    BiasedMF,
    MultiTaskMF,
    RankingFactorizer,
    SGDFactorizer,
)
from sklearn_mf.datasets import make_ratings
from tests.contract.models import in_turn

# Fits with large penalties stay near zero factors for some iterations; those of models
# with biases stand still once the biases are learnt.
PLATEAUS = [
    ALSFactorizer(1, regularization=0.2),
    ALSFactorizer(2, regularization=0.3),
    ALSFactorizer(10, regularization=0.3),
    ALSFactorizer(10, regularization=0.3, init_scale=0.01),
    ALSFactorizer(10, regularization=0.3, solver="cg"),
    BiasedMF(2, regularization=0.2, solver="als"),
    BiasedMF(10, regularization=0.2, solver="als"),
    BiasedMF(2, regularization=0.2),
    BiasedMF(40, regularization=0.2),
    SGDFactorizer(2, regularization=0.3),
    SGDFactorizer(10, regularization=0.12),
    SGDFactorizer(10, regularization=0.12, optimizer="adam"),
]


@functools.cache
def split():
    return train_test_split(*make_ratings(random_state=0), random_state=0)


@pytest.mark.compiled
@pytest.mark.parametrize("model", PLATEAUS, ids=str)
def test_a_fit_is_as_good_as_one_that_goes_on(model):
    X, X_test, y, y_test = split()
    model = clone(model).set_params(random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        model.fit(X, y)
    longer = clone(model).set_params(tol=None, max_iter=300).fit(X, y)
    start = ((y - y.mean()) ** 2).sum()
    way = (start - model.loss_curve_[-1]) / (start - longer.loss_curve_[-1])
    is_exact = model.get_params().get("solver", "sgd") != "sgd"
    assert way > (0.98 if is_exact else 0.95)
    assert model.score(X_test, y_test) > 1.005 * longer.score(X_test, y_test)


@in_turn("seed", range(5))
def test_large_ratings_do_not_hide_the_plateau(seed):
    X, X_test, y, y_test = split()
    model = ALSFactorizer(2, regularization=300, random_state=seed)
    model.fit(X, 1000 * y)
    assert model.score(X_test, 1000 * y_test) > -900


@pytest.mark.compiled
def test_a_penalty_just_below_the_one_that_leaves_nothing():
    X, y = make_ratings(random_state=0)
    model = ALSFactorizer(regularization=0.35, random_state=0).fit(X, y)
    assert model.loss_curve_[-1] < 48_130  # the mean alone: 48,868
    model.set_params(regularization=0.5).fit(X, y)  # zero is the minimum
    assert np.ptp(model.predict(X)) < 0.01


@in_turn("seed", range(3))
@in_turn("n_ratings", [240, 960])
@in_turn("cls", [AutoRec, MultiTaskMF])
def test_few_ratings_are_learnt(cls, n_ratings, seed):
    X, y = make_ratings(n_ratings // 8, 20, n_ratings, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it says so
        model = cls(random_state=seed).fit(X, y)
    assert model.score(X, y) > -0.6 * y.std()


@in_turn("seed", range(3))
@in_turn("n_interactions", [100, 1000])
@in_turn("loss", ["softmax", "bpr", "warp", "ccl"])
@in_turn("similarity", ["cosine", "dot"])
def test_few_interactions_are_learnt(similarity, loss, n_interactions, seed):
    """Users of a group interact with the items of this group alone."""
    if (similarity, loss) == ("dot", "ccl"):
        return
    rng = np.random.default_rng(seed)
    users = rng.integers(n_interactions // 5, size=n_interactions)
    X = np.column_stack([users, users % 4 + 4 * rng.integers(8, size=n_interactions)])
    model = RankingFactorizer(loss=loss, similarity=similarity, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it says so
        model.fit(X)
    assert model.score(X) > 0.9
    items, _ = model.recommend(model.users_, n_items=2)
    found = items.filled(-1) % 4 == model.users_[:, np.newaxis] % 4
    least = 0.5 if n_interactions == 1000 else 0.2  # chance: 0.1
    assert found.mean() > (least if loss == "warp" else 0.65)


@in_turn("seed", range(3))
@in_turn("n_ratings", [240, 960])
@in_turn("cls", [MultiTaskMF, AutoRec, BiasedMF, SGDFactorizer])
def test_early_stopping_by_few_ratings_loses_little(cls, n_ratings, seed):
    """Ten per cent of the ratings are held out: 24, or 96."""
    X, y = make_ratings(n_ratings // 8, 20, int(1.4 * n_ratings), random_state=seed)
    X, X_test, y, y_test = X[:n_ratings], X[n_ratings:], y[:n_ratings], y[n_ratings:]
    errors = []
    for patience in (3, 30):
        model = cls(early_stopping=True, n_iter_no_change=patience, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            errors.append(-model.fit(X, y).score(X_test, y_test))
    assert errors[0] < 1.1 * errors[1]
    assert errors[0] < 1.08 * y_test.std()
