"""Accuracy on real ratings, 610 users and 9,724 films."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score

from sklearn_mf import (
    ALSFactorizer,
    BiasedMF,
    ColdStartWarning,
    PopularityRanker,
    SGDFactorizer,
)
from sklearn_mf.metrics import make_ranking_scorer
from sklearn_mf.model_selection import RatingKFold
from tests import movielens, reference

pytestmark = movielens.needs_movielens


@pytest.fixture(scope="module")
def data():
    return movielens.load()


@pytest.fixture(scope="module")
def folds():
    return KFold(5, shuffle=True, random_state=0)


def test_tuned_als_reaches_a_well_kept_als(data, folds):
    # 0.906: a well-kept ALS without biases, centred, tuned on these folds.
    grid = {"n_factors": [20, 40], "regularization": [0.12, 0.15]}
    search = GridSearchCV(ALSFactorizer(random_state=0), grid, cv=folds, refit=False)
    assert -search.fit(*data).best_score_ <= 0.884


def test_defaults_serve_a_newcomer(data, folds):
    scores = cross_val_score(ALSFactorizer(random_state=0), *data, cv=folds)
    assert -scores.mean() <= 0.886


def test_the_same_as_an_independent_als(data, folds):
    X, y = data
    train, test = next(folds.split(X))
    model = ALSFactorizer(10, max_iter=3, tol=None, random_state=0)
    model.fit(X[train], y[train])
    users, user_codes = np.unique(X[train, 0], return_inverse=True)
    items, item_codes = np.unique(X[train, 1], return_inverse=True)
    R, W = reference.dense(user_codes, item_codes, y[train])
    rng = np.random.RandomState(0)
    Q, P = (rng.normal(scale=model._init_scale(), size=(n, 10)) for n in R.shape[::-1])
    P, Q, mu, losses = reference.als(R, W, P, lam=model.regularization_, n_sweeps=3)
    assert_allclose(model.loss_curve_, losses, rtol=1e-9)
    expected = np.full(len(test), mu)
    for k, (user, item) in enumerate(X[test]):
        if user in users and item in items:
            u, i = np.searchsorted(users, user), np.searchsorted(items, item)
            expected[k] += P[u] @ Q[i]
    expected = expected.clip(y[train].min(), y[train].max())
    assert_allclose(model.predict(X[test]), expected, atol=1e-6)
    rmse = np.sqrt(np.mean((expected - y[test]) ** 2))
    assert_allclose(-model.score(X[test], y[test]), rmse, atol=1e-6)


def test_unshuffled_folds_are_not_silent(data):
    with pytest.warns(ColdStartWarning):  # the file is sorted by user
        scores = cross_val_score(ALSFactorizer(random_state=0), *data, cv=5)
    assert -scores.mean() > 1.0


def test_default_lists_are_better_than_the_most_popular_films(data):
    X, y = data
    train, test = next(RatingKFold(5, random_state=0).split(X))
    scorer = make_ranking_scorer("ndcg", k=10)
    popular = scorer(PopularityRanker().fit(X[train]), X[test], y[test])
    for model in (
        ALSFactorizer(random_state=0),
        BiasedMF(solver="als", random_state=0),
        SGDFactorizer(random_state=0),
    ):
        assert scorer(model.fit(X[train], y[train]), X[test], y[test]) > popular
    learnt = ALSFactorizer(feedback="implicit", random_state=0).fit(X[train], y[train])
    assert learnt.score(X[test], y[test]) > 1.6 * popular
