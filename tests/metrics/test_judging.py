"""Scorers against plain loops: AUC, what is recommended, samples, fold-in."""

import copy
import itertools

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from scipy.stats import hypergeom
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_mf import (
    ALSFactorizer,
    BiasedMF,
    MultiTaskMF,
    PopularityRanker,
    SGDFactorizer,
)
from sklearn_mf._estimators import judging
from sklearn_mf.datasets import make_interactions, make_ratings
from sklearn_mf.metrics import make_ranking_scorer
from sklearn_mf.model_selection import RatingKFold, StrongGeneralization
from tests.assertions import left_as_it_was

QUICK = {"max_iter": 3, "tol": None, "random_state": 0}
MODELS = [
    PopularityRanker(),  # whose predictions tie
    ALSFactorizer(3, unobserved_weight=1, **QUICK),
    SGDFactorizer(3, **QUICK),
    BiasedMF(3, **QUICK),
    MultiTaskMF(3, **QUICK),
]
AT_K = ["precision", "recall", "ndcg", "map", "hit_rate", "reciprocal_rank"]
ALL = [*AT_K, "reciprocal_rank_of_all", "auc", "coverage", "novelty", "popularity"]
# Unknown users; known and unknown items; user 2000 has nothing that can be found.
COLD = [[1000, 3], [1000, 5], [2000, 777], [7, 777], [8, 888], [3000, 999], [3000, 4]]
# Users with one row, of whom one has all items but that.
FULL = [[60, item] for item in range(20)]


@pytest.fixture(scope="module")
def data():
    X, y = make_ratings(50, 20, 400, rating_step=1, random_state=0)
    train, test = next(RatingKFold(3, random_state=0).split(X))
    X_test = np.concatenate([X[test], COLD, [[60, 19], [61, 3]]])
    y_test = np.concatenate([y[test], [5, 4, 5, 3, 5, 2, 1, 5, 5]])
    X = np.concatenate([X[train], FULL[:-1]])
    return X, np.concatenate([y[train], np.full(19, 3.0)]), X_test, y_test


@pytest.fixture(scope="module", params=MODELS, ids=str)
def model(request, data):
    return request.param.fit(*data[:2])


def unseen(model, data, user):
    """Return the items that a user has not seen, and what they are ranked by."""
    X = data[0]
    items = np.setdiff1d(model.items_, X[X[:, 0] == user, 1])
    model = copy.copy(model)
    model.clip = False
    link = getattr(model, "predict_interaction", model.predict)
    scores = link([[user, i] for i in items]) if len(items) else np.empty(0)
    counts = (X[:, 1] == items[:, np.newaxis]).sum(axis=1)
    if model._popularity_weight:
        scores = scores + model.rating_scale_ * np.log1p(counts)
    elif isinstance(model, ALSFactorizer) and user not in X[:, 0]:
        scores = counts
    return items.tolist(), np.round(scores, 12).tolist()


def recommended(model, data, user, k):
    items, scores = unseen(model, data, user)
    return sorted(items, key=lambda i: (-scores[items.index(i)], i))[:k]


def users_of(data, threshold=None):
    """Return the relevant items of each test user, in a dict."""
    relevant = {}
    for (user, item), rating in zip(data[2].tolist(), data[3], strict=True):
        if threshold is None or rating >= threshold:
            relevant.setdefault(user, set()).add(item)
    return relevant


# ---------------------------------------------------------------------------------- AUC


@pytest.mark.parametrize("threshold", [None, 4])
def test_auc_is_the_share_of_pairs_in_the_right_order(model, data, threshold):
    shares = []
    for user, relevant in users_of(data, threshold).items():
        items, scores = unseen(model, data, user)
        scores = dict(zip(items, scores, strict=True))
        others = [scores[item] for item in items if item not in relevant]
        right = [
            (scores.get(one, -np.inf) > other) + (scores.get(one) == other) / 2
            for one in relevant
            for other in others
        ]
        if right:
            shares.append(np.mean(right))
    score = make_ranking_scorer("auc", threshold=threshold)(model, *data[2:])
    assert_allclose(score, np.mean(shares), rtol=1e-12)
    assert 0.2 < score < 0.8


def test_auc_by_hand():
    # Item 0 has three users, items 1 and 2 have two, item 3 has one.
    X = [[0, 0], [1, 0], [2, 0], [0, 1], [1, 1], [1, 2], [2, 2], [2, 3]]
    model, auc = PopularityRanker().fit(X), make_ranking_scorer("auc")
    assert auc(model, [[9, 0]], [1]) == 1
    assert auc(model, [[9, 1]], [1]) == (1 / 2 + 1) / 3
    assert auc(model, [[9, 3]], [1]) == 0
    assert auc(model, [[9, 77]], [1]) == 0  # an unknown item
    assert auc(model, [[9, 0], [9, 77]], [1, 1]) == 1 / 2
    assert auc(model, [[9, 0], [9, 3]], [1, 1]) == 1 / 2
    assert auc(model, [[0, 2], [0, 0]], [1, 1]) == 1 / 2  # item 0 was seen in fit
    with pytest.raises(ValueError, match=r"'auc'.* with others, and no user"):
        auc(model, [[0, 2], [0, 3]], [1, 1])


def test_auc_of_equal_predictions_is_a_half():
    X = [[0, item] for item in range(5)]
    model = ALSFactorizer(2, random_state=0).fit(X, np.arange(5.0))
    for items in ([1], [0, 4], [2, 3, 4]):
        X_test = [[9, item] for item in items]
        assert make_ranking_scorer("auc")(model, X_test, np.ones(len(items))) == 1 / 2


# ------------------------------------------------------------------ what is recommended


@pytest.mark.parametrize("k", [1, 5, 100])
def test_what_is_recommended_is_counted(model, data, k, monkeypatch):
    X = data[0]
    owners = {item: len(set(X[X[:, 1] == item, 0])) for item in np.unique(X[:, 1])}
    n_users = len(np.unique(X[:, 0]))
    lists = [recommended(model, data, user, k) for user in users_of(data)]
    shown = [item for items in lists for item in items]
    expected = {
        "coverage": len(set(shown)) / len(owners),
        "novelty": np.mean([-np.log2(owners[item] / n_users) for item in shown]),
        "popularity": np.mean([owners[item] for item in shown]),
    }
    for name, value in expected.items():
        scorer = make_ranking_scorer(name, k=k)
        assert_allclose(scorer(model, *data[2:]), value, rtol=1e-12)
        # Whatever the users rated the items.
        assert scorer(model, data[2], -data[3]) == scorer(model, *data[2:])
    monkeypatch.setattr(judging, "BLOCK_CELLS", 7)
    assert_allclose(scorer(model, *data[2:]), value, rtol=1e-12)


def test_an_item_without_users_counts_as_if_one_had_it():
    R = np.array([[1, 1, 0], [1, 0, 0], [1, 0, 0], [1, 0, 0]])
    model = PopularityRanker().fit(csr_array(R))
    novelty = make_ranking_scorer("novelty", k=3)
    assert novelty(model, [[9, 0]], [1]) == (0 + 2 + 2) / 3
    assert make_ranking_scorer("popularity", k=3)(model, [[9, 0]], [1]) == 5 / 3
    assert make_ranking_scorer("coverage", k=1)(model, [[9, 0]], [1]) == 1 / 3


def test_nothing_left_to_recommend():
    model = PopularityRanker().fit([[0, 0], [0, 1]])
    for name in ("coverage", "novelty", "popularity"):
        with pytest.raises(ValueError, match="No item is left to recommend"):
            make_ranking_scorer(name)(model, [[0, 0]], [1])


# ------------------------------------------------------------------- sampled candidates


def sampled(name, **params):
    return make_ranking_scorer(name, **{"n_candidates": 10**6, **params})


@pytest.mark.compiled
@pytest.mark.parametrize("threshold", [None, 4])
@pytest.mark.parametrize("k", [1, 5, 100])
@pytest.mark.filterwarnings("ignore:n_candidates")
def test_a_sample_of_all_items_is_no_sample(model, data, k, threshold, monkeypatch):
    params = {"k": k, "threshold": threshold}
    for name in AT_K:
        expected = make_ranking_scorer(name, **params)(model, *data[2:])
        for n_candidates in (20, 2**31 - 1):
            scorer = sampled(name, n_candidates=n_candidates, **params)
            assert_allclose(scorer(model, *data[2:]), expected, rtol=1e-12)
    monkeypatch.setattr(judging, "BLOCK_CELLS", 30)
    assert_allclose(sampled(name, **params)(model, *data[2:]), expected, rtol=1e-12)


@pytest.mark.compiled
@pytest.mark.filterwarnings("ignore:n_candidates")
@pytest.mark.parametrize("n_candidates", [1, 7, 30])
@pytest.mark.parametrize("k", [1, 3])
def test_others_are_drawn_without_replacement(n_candidates, k, monkeypatch):
    """The better items in a sample are as many as the hypergeometric law says."""
    X = [[user, item] for item in range(40) for user in range(40 - item)]
    model = PopularityRanker().fit(X)  # item 0 is the most popular
    X_test = [[1000 + user, 10] for user in range(5000)]  # ten others are better
    ones = np.ones(len(X_test))
    p = hypergeom.cdf(k - 1, 39, 10, n_candidates)
    scorer = sampled("hit_rate", k=k, n_candidates=n_candidates)
    score = scorer(model, X_test, ones)
    assert_allclose(score, p, atol=4 * np.sqrt(p * (1 - p) / 5000) + 1e-12)
    # It depends on the seed, and on nothing else.
    assert score == scorer(model, X_test, ones)
    assert score == scorer(model.set_params(n_jobs=1), X_test, ones)
    if 0.01 < p < 0.99:
        other = sampled("hit_rate", k=k, n_candidates=n_candidates, random_state=1)
        assert score != other(model, X_test, ones)
    monkeypatch.setattr(judging, "BLOCK_CELLS", 1000)
    monkeypatch.setattr(judging, "BLOCK_WORK", 1000)
    assert score == scorer(model.set_params(n_jobs=2), X_test, ones)


@pytest.mark.filterwarnings("ignore:n_candidates")
def test_seen_and_relevant_items_are_not_among_the_others():
    # User 0 has seen items 0 to 3; relevant are 4 and 5; item 6 alone is left.
    X = [[user, item] for item in range(7) for user in range(10 - item)]
    X = [row for row in X if row[0] or row[1] < 4]
    model, ones = PopularityRanker().fit(X), [1, 1]
    for n_candidates in (1, 2, 50):
        for name in ("map", "ndcg", "recall", "hit_rate", "reciprocal_rank"):
            scorer = sampled(name, n_candidates=n_candidates)
            assert scorer(model, [[0, 4], [0, 5]], ones) == 1
        precision = sampled("precision", n_candidates=n_candidates, k=3)
        assert precision(model, [[0, 4], [0, 5]], ones) == 2 / 3
        assert precision(model, [[0, 4], [0, 1]], ones) == 1 / 3
        assert precision(model, [[0, 4], [0, 99]], ones) == 1 / 3


def test_each_call_warns_that_samples_mislead(data):
    scorer = sampled("ndcg", n_candidates=5)
    model = PopularityRanker().fit(*data[:2])
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"n_candidates=5 .*Krichene") as found:
            scorer(model, *data[2:])
        assert len(found) == 1


# ----------------------------------------------------------------------------- fold-in


FOLDING = [
    PopularityRanker(),
    ALSFactorizer(3, unobserved_weight=1, **QUICK),
    BiasedMF(3, solver="als", **QUICK),
]


@pytest.mark.parametrize("fold_in", [0.01, 0.5, 0.8, 0.99])
@pytest.mark.parametrize("model", FOLDING, ids=str)
def test_part_of_a_history_is_folded_in(model, fold_in, monkeypatch):
    X, y = make_interactions(80, 40, 900, random_state=0)
    X = X[:, :2]
    train, test = next(StrongGeneralization(4, random_state=0).split(X))
    model.fit(X[train], y[train])
    known = X[train][0, 0]
    more = [[500, 3], *([known, item] for item in range(40))]
    X_test = np.concatenate([X[test], more])
    y_test = np.concatenate([y[test], np.ones(len(more))])

    taught, fold_in_users = [], type(model).fold_in_users

    def record(self, X, y, sample_weight):
        rows = zip(map(tuple, X.tolist()), y.tolist(), strict=True)
        taught.extend(itertools.compress(rows, sample_weight))
        return fold_in_users(self, X, y, sample_weight)

    monkeypatch.setattr(type(model), "fold_in_users", record)
    with left_as_it_was(model):
        score = make_ranking_scorer("map", fold_in=fold_in)(model, X_test, y_test)
    monkeypatch.undo()

    given = dict(zip(map(tuple, X_test.tolist()), y_test.tolist(), strict=True))
    assert len(dict(taught)) == len(taught)
    assert dict(taught).items() <= given.items()
    for user in np.unique(X_test[:, 0]):
        n = sum(pair[0] == user for pair in given)
        n_taught = sum(pair[0] == user for pair, _ in taught)
        if user == known:
            assert n_taught == 0
        elif n > 1:  # of one item nothing is left to judge
            assert n_taught == min(max(round(fold_in * n), 1), n - 1)
    # It is the score of a model that was taught so, on the rest of the rows.
    rows, ratings = zip(*taught, strict=True)
    expected = copy.deepcopy(model).fold_in_users(rows, ratings)
    rest = [list(pair) for pair in given.keys() - set(rows) - {(500, 3)}]
    plain = make_ranking_scorer("map")(expected, rest, np.ones(len(rest)))
    assert_allclose(score, plain, rtol=1e-12)


def test_unknown_items_are_not_folded_in_and_count():
    X = [[user, item] for item in range(6) for user in range(10 - item)]
    model, recall = (
        PopularityRanker().fit(X),
        make_ranking_scorer("recall", fold_in=0.5),
    )
    # User 20 has items 0 and 900: the one that is not folded in is judged.
    ones = np.ones(2)
    found = {
        make_ranking_scorer("recall", fold_in=0.5, random_state=seed)(
            model, [[20, 0], [20, 900]], ones
        )
        for seed in range(9)
    }
    assert found == {0, 1}
    assert recall(model, [[20, 901], [20, 900]], ones) == 0


@pytest.mark.parametrize("model", FOLDING, ids=str)
def test_folding_in_does_not_depend_on_the_table(model):
    X, y = make_interactions(80, 40, 900, random_state=0)
    train, test = next(StrongGeneralization(4, random_state=0).split(X))
    names = ["user", "item", "time"]
    frames = [pd.DataFrame(X[rows], columns=names) for rows in (train, test)]
    model = copy.copy(model).fit(X[train], y[train])
    for name in ALL:
        scorer = make_ranking_scorer(name, fold_in=0.7)
        score = scorer(model, X[test], y[test])
        other = make_ranking_scorer(name, fold_in=0.7, random_state=1)
        if name not in ("coverage", "hit_rate"):
            assert other(model, X[test], y[test]) != score
        order = np.random.default_rng(0).permutation(len(test))
        found = scorer(model, X[test[order]], y[test[order]])
        assert_allclose(found, score, rtol=1e-9)
        assert scorer(model, X[test].tolist(), y[test].tolist()) == score
    named = copy.copy(model).fit(frames[0], y[train])
    assert scorer(named, frames[1].set_index("time", drop=False), y[test]) == score
    polars = copy.copy(model).fit(pl.DataFrame(frames[0]), y[train])
    assert scorer(polars, pl.DataFrame(frames[1]), y[test]) == score


@pytest.mark.compiled
def test_unknown_users_gain_by_their_history():
    X, _ = make_interactions(random_state=0)
    ones = np.ones(len(X))
    model = ALSFactorizer(unobserved_weight=0.3, fit_intercept=False, random_state=0)
    scoring = {
        "cold": make_ranking_scorer("ndcg"),
        "folded": make_ranking_scorer("ndcg", fold_in=0.8),
    }
    cv = StrongGeneralization(1, test_size=0.2, random_state=0)
    options = {"cv": cv, "scoring": scoring, "error_score": "raise"}
    personal = cross_validate(model, X, ones, **options)
    popular = cross_validate(PopularityRanker(), X, **options | {"cv": cv})
    assert personal["test_folded"] > 1.3 * popular["test_folded"]
    assert_allclose(personal["test_cold"], popular["test_cold"])


def test_searches_and_pipelines_fold_in():
    X, y = make_interactions(80, 40, 900, random_state=0)
    scorer = make_ranking_scorer("ndcg", fold_in=0.8)
    cv = StrongGeneralization(3, random_state=0)
    als = ALSFactorizer(3, unobserved_weight=1, **QUICK)
    swap = FunctionTransformer(lambda X: X[:, [1, 0, 2]])
    found = []
    for estimator, name in (
        (als, "n_factors"),
        (make_pipeline(swap, swap, als), "alsfactorizer__n_factors"),
    ):
        search = GridSearchCV(
            estimator, {name: [1, 4]}, cv=cv, scoring=scorer, error_score="raise"
        ).fit(X, y)
        found.append(search.cv_results_["mean_test_score"])
        assert search.score(X, y) == 0  # which knows all users, and all that they have
    assert_array_equal(*found)
    assert (found[0] > 0).all()


def test_estimators_that_cannot_fold_in(data):
    for model in (SGDFactorizer(3, **QUICK), MultiTaskMF(3, **QUICK)):
        model.fit(*data[:2])
        name = type(model).__name__
        with pytest.raises(TypeError, match=f"fold_in=0.8 needs .*, got {name}: pass"):
            make_ranking_scorer("ndcg", fold_in=0.8)(model, *data[2:])
    X, y = data[0], data[1] > 3
    model = BiasedMF(3, loss="log_loss", **QUICK).fit(X, y.astype(float))
    with pytest.raises(ValueError, match="log_loss' has no closed solution"):
        make_ranking_scorer("ndcg", fold_in=0.8)(model, *data[2:])


def test_without_y_all_rows_are_relevant(data):
    model = PopularityRanker().fit(data[0])
    for name in ALL:
        scorer = make_ranking_scorer(name)
        assert scorer(model, data[2]) == scorer(model, data[2], np.ones(len(data[2])))


def test_nothing_left_after_folding_in():
    model = PopularityRanker().fit([[0, 0], [0, 1]])
    scorer = make_ranking_scorer("ndcg", fold_in=0.8)
    with pytest.raises(ValueError, match=r"fold_in=0.8 leaves nothing .*Pass fold_in="):
        scorer(model, [[8, 0], [9, 1]], [1, 1])


# ------------------------------------------------------------------------------ errors


@pytest.mark.parametrize("name", ["auc", "coverage", "reciprocal_rank_of_all"])
def test_samples_are_for_metrics_of_the_first_k(name):
    with pytest.raises(ValueError, match=f"n_candidates=9 .*'ndcg'.*'{name}': pass"):
        make_ranking_scorer(name, n_candidates=9)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fold_in", 0),
        ("fold_in", 1),
        ("fold_in", "0.8"),
        ("n_candidates", 0),
        ("n_candidates", 1.5),
        ("random_state", None),
        ("random_state", -1),
    ],
)
def test_wrong_parameters(name, value):
    with pytest.raises(ValueError, match=f"'{name}' parameter of make_ranking_scorer"):
        make_ranking_scorer("ndcg", **{name: value})


def test_scorers_are_values():
    scorer = make_ranking_scorer("map", k=5, fold_in=0.5, n_candidates=99)
    words = "make_ranking_scorer('map', k=5, fold_in=0.5, n_candidates=99)"
    assert repr(scorer) == words
    assert eval(words) == scorer
