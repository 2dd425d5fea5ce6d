"""Tests of the synthetic interactions."""

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_mf import ALSFactorizer, BiasedMF
from sklearn_mf.datasets import make_interactions
from sklearn_mf.datasets._interactions import SECONDS, _draw_histories
from sklearn_mf.metrics import make_ranking_scorer
from sklearn_mf.model_selection import LeaveLastOut, RatingKFold, TimeSplit


def n_distinct(X):
    return len(set(map(tuple, X[:, :2].tolist())))


def probabilities(X, coef, drift):
    """Return P(i | u, t) of all items for the user and the time of each row."""
    users, late = X[:, 0], drift * (X[:, 2:] + 0.5) / SECONDS
    P = coef.user_factors[users] @ coef.item_factors.T
    return (1 - late) * P + late * (
        coef.late_user_factors[users] @ coef.late_item_factors.T
    )


@pytest.mark.parametrize(
    ("n_users", "n_items", "n_interactions"),
    [(1000, 1000, 50_000), (30, 2000, 5000), (2000, 30, 5000), (7, 1, 3), (1, 1, 1)],
)
@pytest.mark.parametrize("drift", [0, 0.3])
def test_shapes_dtypes_and_ids(n_users, n_items, n_interactions, drift):
    X, y, coef = make_interactions(
        n_users,
        n_items,
        n_interactions,
        n_factors=3,
        drift=drift,
        coef=True,
        random_state=0,
    )
    assert X.shape == (n_interactions, 3)
    assert X.dtype == np.int64
    assert X.flags.c_contiguous
    assert y.shape == (n_interactions,)
    assert y.dtype == np.float64
    assert (X >= 0).all()
    assert (X.max(axis=0) < [n_users, n_items, SECONDS]).all()
    assert n_distinct(X) == n_interactions
    assert (y >= 1).all()
    assert_array_equal(y, np.rint(y))
    for late in ("", "late_"):
        P, Q = coef[f"{late}user_factors"], coef[f"{late}item_factors"]
        assert P.shape == (n_users, 3)
        assert Q.shape == (n_items, 3)
        assert_allclose(P.sum(axis=1), 1)
        assert_allclose(Q.sum(axis=0), 1)
        assert (Q > 0).all()


def test_interactions_follow_from_the_seed():
    X, y, coef = make_interactions(coef=True, random_state=3)
    for random_state in (3, np.random.RandomState(3)):
        X_again, y_again = make_interactions(random_state=random_state)
        assert_array_equal(X, X_again)
        assert_array_equal(y, y_again)
    X_other, _, coef_other = make_interactions(coef=True, random_state=4)
    assert (X_other != X).any()
    _, _, fewer = make_interactions(
        n_interactions=9, drift=1, coef=True, random_state=3
    )
    for name in coef:
        assert (coef[name] != coef_other[name]).any()
        assert_array_equal(coef[name], fewer[name])


@pytest.mark.parametrize("drift", [0, 1])
def test_items_have_the_planted_probabilities(drift):
    params = {"n_factors": 3, "concentration": 0.5, "drift": drift, "coef": True}
    X, _, coef = make_interactions(40_000, 12, 40_000, **params, random_state=0)
    alone = np.bincount(X[:, 0])[X[:, 0]] == 1  # one item each: the first draw
    X = X[alone]
    assert len(X) > 10_000
    P = probabilities(X, coef, drift)
    for half in (X[:, 2] < SECONDS / 2, X[:, 2] >= SECONDS / 2):
        expected = P[half].sum(axis=0)
        spread = np.sqrt((P[half] * (1 - P[half])).sum(axis=0))
        found = np.bincount(X[half, 1], minlength=12)
        assert_allclose(found, expected, atol=4 * spread.max())
    # Users get what they like, beyond what all do.
    likelihood = np.log(P[np.arange(len(X)), X[:, 1]]).mean()
    assert likelihood > np.log(P.mean(axis=0)[X[:, 1]]).mean() + 0.1


def test_dense_histories_are_draws_without_replacement():
    """Also where the items of a user are not all found by draws with replacement."""
    p, n_users = np.array([0.7, 0.2, 0.06, 0.04]), 30_000
    P, Q = np.ones((2, n_users, 1)), np.stack([p, p])[:, :, np.newaxis]
    items, times = np.empty((n_users, 3), int), np.empty(3 * n_users)
    y = np.zeros(3 * n_users)
    sums = np.cumsum(Q, axis=1).transpose(0, 2, 1).copy()
    generator = np.random.default_rng(0)
    counts = np.full(n_users, 3)
    _draw_histories(
        counts, P, Q, P.copy(), sums, 0.5, generator, items.ravel(), times, y
    )
    found = np.bincount(6 - items.sum(axis=1), minlength=4) / n_users  # left out
    expected = np.zeros(4)
    for a, b, c, left in itertools.permutations(range(4)):
        expected[left] += p[a] * p[b] / (1 - p[a]) * p[c] / (1 - p[a] - p[b])
    assert_allclose(found, expected, atol=4 * np.sqrt(0.25 / n_users))
    assert y.min() == 1
    assert y.sum() <= 6 * n_users  # four draws, of one item at least, and two others
    assert (np.sort(items, axis=1)[:, :-1] < np.sort(items, axis=1)[:, 1:]).all()
    assert times.min() >= 0
    assert times.max() < 1


@pytest.mark.compiled
@pytest.mark.parametrize("popularity", [0, 0.5, 10])
@pytest.mark.parametrize(("n_users", "n_items"), [(300, 200), (10, 600), (600, 10)])
@pytest.mark.parametrize("density", [0.9, 1.0])
def test_dense_requests(n_users, n_items, density, popularity):
    n_interactions = int(density * n_users * n_items)
    X, y = make_interactions(
        n_users, n_items, n_interactions, popularity=popularity, random_state=0
    )
    assert len(X) == len(y) == n_distinct(X) == n_interactions
    assert (y >= 1).all()


@pytest.mark.compiled
def test_popularity_has_a_heavy_tail():
    for popularity, low, high in ((0, 1, 4), (0.8, 5, 40), (1.2, 20, 200)):
        X, _ = make_interactions(
            popularity=popularity, concentration=1000, random_state=0
        )
        counts = np.sort(np.bincount(X[:, 1], minlength=1000))
        assert low < counts[-10] / np.median(counts) < high


def test_concentration_makes_users_alike():
    shares = [
        make_interactions(n_interactions=1, concentration=c, coef=True, random_state=0)[
            2
        ].user_factors.max(axis=1)
        for c in (0.01, 0.3, 1000)
    ]
    assert shares[0].mean() > 0.95
    assert 0.5 < shares[1].mean() < 0.8
    assert shares[2].mean() < 0.25


def test_rows_are_in_random_order_and_ids_say_nothing():
    X, _ = make_interactions(random_state=0)
    for column in X.T:
        for other in (np.roll(column, 1), np.arange(len(column))):
            assert abs(np.corrcoef(other, column)[0, 1]) < 4 / np.sqrt(len(column))
    for ids in X.T[:2]:
        counts = np.bincount(ids, minlength=1000)
        assert abs(np.corrcoef(np.arange(1000), counts)[0, 1]) < 4 / np.sqrt(1000)


def test_what_users_like_comes_again():
    X, y, coef = make_interactions(drift=0, coef=True, random_state=0)
    p = (coef.user_factors[X[:, 0]] * coef.item_factors[X[:, 1]]).sum(axis=1)
    assert 1.1 < y.mean() < 3
    assert y[p > np.quantile(p, 0.9)].mean() > 2 * y[p < np.median(p)].mean()


@pytest.mark.compiled
@pytest.mark.parametrize(
    "cv", [RatingKFold(5, random_state=0), LeaveLastOut(), TimeSplit(1)], ids=repr
)
@pytest.mark.parametrize("random_state", [0, 1])
def test_tastes_beat_popularity_and_popularity_beats_chance(cv, random_state):
    X, _ = make_interactions(random_state=random_state)
    train, test = next(cv.split(X))
    ones, noise = np.ones(len(train)), np.random.default_rng(0).normal(size=len(train))
    scores = [
        make_ranking_scorer("ndcg")(model.fit(X[train], y), X[test], np.ones(len(test)))
        for model, y in (
            (BiasedMF(0, solver="als", unobserved_weight=1e-9), noise),
            (BiasedMF(0, solver="als", unobserved_weight=1), ones),
            (ALSFactorizer(unobserved_weight=0.3, fit_intercept=False), ones),
        )
    ]
    chance, popular, personal = scores
    assert popular > 5 * chance
    assert personal > 1.4 * popular


def test_error_more_interactions_than_pairs():
    message = (
        r"n_interactions=21 exceeds the n_users \* n_items = 4 \* 5 = 20 distinct "
        "pairs, each of which is drawn at most once: lower n_interactions, or raise "
    )
    with pytest.raises(ValueError, match=message):
        make_interactions(4, 5, 21)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_users", 0),
        ("n_items", 2.5),
        ("n_interactions", 0),
        ("n_factors", 0),
        ("concentration", 0),
        ("popularity", 11),
        ("drift", 1.1),
        ("coef", "yes"),
        ("random_state", "seed"),
    ],
)
def test_error_parameter_out_of_range(name, value):
    with pytest.raises(
        ValueError, match=f"The '{name}' parameter of make_interactions"
    ):
        make_interactions(**{name: value})
