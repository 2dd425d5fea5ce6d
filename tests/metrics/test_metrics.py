"""Scorers of rankings: against trec_eval, by hand, and against a dense ranking."""

import copy
import pickle

import ir_measures
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.stats import rankdata
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeRegressor

from sklearn_mf import ALSFactorizer, BiasedMF, SGDFactorizer
from sklearn_mf._estimators import judging
from sklearn_mf.datasets import make_ratings
from sklearn_mf.metrics import make_ranking_scorer, mean_reciprocal_rank_of_all
from sklearn_mf.model_selection import RatingKFold

AT_K = ["precision", "recall", "ndcg", "map", "hit_rate", "reciprocal_rank"]
MODELS = [
    ALSFactorizer(5, max_iter=3, tol=None, random_state=0),
    ALSFactorizer(5, unobserved_weight=1, max_iter=3, tol=None, random_state=0),
    SGDFactorizer(5, max_iter=3, tol=None, random_state=0),
    BiasedMF(5, max_iter=3, tol=None, random_state=0),
]
COLD = [[1000, 3], [1000, 5], [2000, 5], [2000, 777], [7, 777], [8, 888], [3000, 999]]


@pytest.fixture(scope="module")
def data():
    """Ratings to learn from, and to test on some with unknown users and items."""
    X, y = make_ratings(70, 45, 1200, rating_step=1, random_state=0)
    train, test = next(RatingKFold(3, random_state=0).split(X))
    X_test = np.concatenate([X[test], COLD])
    y_test = np.concatenate([y[test], [5, 4, 5, 3, 5, 2, 1]])
    return X[train], y[train], X_test, y_test


@pytest.fixture(scope="module", params=MODELS, ids=str)
def model(request, data):
    return request.param.fit(*data[:2])


@pytest.fixture(scope="module")
def rankings(model, data):
    """What all items are ranked by that a user has not seen: (ids, values) of each."""
    users = np.unique(data[2][:, 0]).tolist()
    return {user: dense_ranking(model, user, data[0]) for user in users}


def dense_ranking(model, user, X):
    items = np.setdiff1d(model.items_, X[X[:, 0] == user, 1])
    clip, model.clip = model.clip, False
    values = model.predict([[user, item] for item in items])
    model.clip = clip
    counts = (X[:, 1] == items[:, np.newaxis]).sum(axis=1)
    if not getattr(model, "unobserved_weight", 0):
        values += model.rating_scale_ * np.log1p(counts)
    elif user not in X[:, 0]:
        values = counts.astype(float)
    return items, values


# ------------------------------------------------------------------- against trec_eval


def by_trec_eval(measure, rankings, data, k, threshold=-np.inf, gain=lambda y: 1):
    *_, X_test, y_test = data
    qrels, run = {}, {}
    for (user, item), rating in zip(X_test.tolist(), y_test, strict=True):
        if rating >= threshold:
            qrels.setdefault(str(user), {})[str(item)] = gain(rating)
    for user in map(int, qrels):
        items, predictions = rankings[user]
        best = items[np.lexsort((items, -predictions))][:k]
        run[str(user)] = {str(item): k - rank for rank, item in enumerate(best)}
    return ir_measures.calc_aggregate([measure], qrels, run)[measure]


@pytest.mark.compiled
@pytest.mark.parametrize("threshold", [None, 4])
@pytest.mark.parametrize("k", [1, 5, 10, 100])
def test_trec_eval_gives_the_same(model, rankings, data, k, threshold):
    measures = {
        "precision": ir_measures.P @ k,
        "recall": ir_measures.R @ k,
        "ndcg": ir_measures.nDCG @ k,
        "map": ir_measures.AP @ k,
        "hit_rate": ir_measures.Success @ k,
        "reciprocal_rank": ir_measures.RR,  # of a run that is cut at k
    }
    level = {} if threshold is None else {"threshold": threshold}
    for name, measure in measures.items():
        score = make_ranking_scorer(name, k=k, threshold=threshold)(model, *data[2:])
        assert 0 < score <= 1
        expected = by_trec_eval(measure, rankings, data, k, **level)
        assert_allclose(score, expected, rtol=0, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("threshold", [None, 3])
def test_trec_eval_gives_the_same_with_ratings_as_gains(
    model, rankings, data, threshold
):
    scorer = make_ranking_scorer("ndcg", k=7, threshold=threshold, gain="rating")
    level = {} if threshold is None else {"threshold": threshold}
    expected = by_trec_eval(ir_measures.nDCG @ 7, rankings, data, 7, gain=int, **level)
    assert_allclose(scorer(model, *data[2:]), expected, rtol=0, atol=1e-12)


# ------------------------------------------------------------------ against a dense MRR


@pytest.mark.parametrize("threshold", [None, 4])
def test_reciprocal_rank_of_all_is_a_dense_ranking(
    model, rankings, data, threshold, monkeypatch
):
    *_, X_test, y_test = data
    means = []
    for user, (items, predictions) in rankings.items():
        ranks = dict(zip(items, rankdata(np.round(-predictions, 12)), strict=True))
        relevant = (X_test[:, 0] == user) & (y_test >= (threshold or -np.inf))
        if relevant.any():
            found = [1 / ranks.get(item, np.inf) for item in X_test[relevant, 1]]
            means.append(np.mean(found))
    scorer = make_ranking_scorer("reciprocal_rank_of_all", threshold=threshold)
    score = scorer(model, X_test, y_test)
    assert_allclose(score, np.mean(means), rtol=1e-12)
    if threshold is None:
        assert mean_reciprocal_rank_of_all(model, X_test, y_test) == score
    monkeypatch.setattr(judging, "BLOCK_CELLS", 1)
    assert_allclose(scorer(model, X_test, y_test), score, rtol=1e-12)


# ------------------------------------------------------------------------------ by hand


@pytest.fixture(scope="module")
def popular():
    """A model whose predictions fall from item 0 to item 5, for every user."""
    X = [[user, item] for user in range(6) for item in range(6) if item != user]
    y = [5 - item for _, item in X]
    return BiasedMF(0, solver="als", regularization=1e-3).fit(X, y)


def scores(model, X, y=None, **params):
    y = np.ones(len(X)) if y is None else y
    names = [*AT_K, "reciprocal_rank_of_all"]
    return {name: make_ranking_scorer(name, **params)(model, X, y) for name in names}


def test_one_item_is_left(popular):
    found = scores(popular, [[3, 3]], k=2)
    precision = found.pop("precision")
    assert precision == 0.5
    assert set(found.values()) == {1}


def test_ranks_by_hand(popular):
    # An unknown user gets all six items, in order: the relevant ones are 2nd and 5th.
    X = [[9, 1], [9, 4]]
    discounts = 1 / np.log2([2, 3, 4, 5, 6])
    found = scores(popular, X, k=4)
    assert_allclose(
        list(found.values()),
        [1 / 4, 1 / 2, discounts[1] / discounts[:2].sum(), 1 / 4, 1, 1 / 2, 7 / 20],
    )
    found = scores(popular, X, k=5)
    ndcg = discounts[[1, 4]].sum() / discounts[:2].sum()
    assert_allclose(
        list(found.values()),
        [2 / 5, 1, ndcg, (1 / 2 + 2 / 5) / 2, 1, 1 / 2, 7 / 20],
    )
    assert list(scores(popular, X, k=1).values())[:6] == [0] * 6


def test_gains_by_hand(popular):
    scorer = make_ranking_scorer("ndcg", k=2, gain="rating")
    best = 5 + 2 / np.log2(3)
    assert_allclose(scorer(popular, [[9, 0], [9, 5]], [2, 5]), 2 / best)
    assert_allclose(
        scorer(popular, [[9, 0], [9, 1]], [2, 5]), (2 + 5 / np.log2(3)) / best
    )
    assert scorer(popular, [[9, 0], [9, 1], [8, 0]], [5, 2, 0]) == 1
    with pytest.raises(ValueError, match="gain='rating' requires ratings of 0 or more"):
        scorer(popular, [[9, 0]], [-1])


def test_what_cannot_be_found_counts(popular):
    for missing in ([9, 77], [3, 2]):  # unknown; rated in fit
        found = scores(popular, [missing], k=3)
        assert set(found.values()) == {0}
    found = scores(popular, [[3, 3], [3, 77], [3, 78], [3, 2]], k=1)
    ideal = [1, 1 / 4, 1, 1 / 4, 1, 1, 1 / 4]
    assert_allclose(list(found.values()), ideal)


def test_users_without_relevant_items_are_left_out(popular):
    X, y = [[3, 3], [4, 4], [9, 0], [9, 5]], [4, 3, 4, 3]
    assert scores(popular, X, y, k=1, threshold=4)["recall"] == 1
    assert scores(popular, X, y, k=1, threshold=3)["recall"] == (1 + 1 + 1 / 2) / 3
    assert make_ranking_scorer("recall", k=1)(popular, X, y) == (1 + 1 + 1 / 2) / 3
    for name in ("recall", "reciprocal_rank_of_all"):
        with pytest.raises(ValueError, match=r"threshold=4.5: .*highest is 4.0: lower"):
            make_ranking_scorer(name, threshold=4.5)(popular, X, y)


def test_repeated_pairs_are_one(popular):
    X, y = [[9, 1], [9, 4]], [5, 3]
    twice, ratings = [*X, [9, 4], [8, 77], [8, 77]], [5, 2, 4, 1, 5]
    once = [*X, [8, 77]]
    assert scores(popular, twice, ratings) == scores(popular, once, [*y, 3])
    found = scores(popular, twice, ratings, threshold=3.5, k=2)
    assert found == scores(popular, X, y, threshold=3.5, k=2)


def test_equal_predictions():
    X = [[0, item] for item in range(5)]
    model = ALSFactorizer(2, random_state=0).fit(X, np.arange(5.0))
    # To an unknown user all items are alike: recommend goes by id.
    assert make_ranking_scorer("reciprocal_rank")(model, [[9, 2]], [1]) == 1 / 3
    assert mean_reciprocal_rank_of_all(model, [[9, 2], [9, 4]], [1, 1]) == 1 / 3
    assert mean_reciprocal_rank_of_all(model, [[9, 2], [9, 7]], [1, 1]) == 1 / 6


def test_on_its_own_training_ratings_nothing_is_left(popular):
    assert set(scores(popular, [[0, 1], [0, 2]]).values()) == {0}


# --------------------------------------------------------------------- tables and tools


def test_ids_of_every_kind(data):
    X, y, X_test, y_test = data
    expected = scores(BiasedMF(0, solver="als").fit(X, y), X_test, y_test)
    names = [f"{n:04}" for n in range(3001)]
    for kinds in (lambda n: names[n], lambda n: n + 0.5):
        rows, test_rows = (
            [[kinds(user), kinds(item)] for user, item in table.tolist()]
            for table in (X, X_test)
        )
        model = BiasedMF(0, solver="als").fit(rows, y)
        found = scores(model, test_rows, y_test)
        assert_allclose(list(found.values()), list(expected.values()), rtol=1e-12)
    columns = {"user_column": "u", "item_column": "i"}
    frames = [pd.DataFrame(table[:, ::-1], columns=["i", "u"]) for table in (X, X_test)]
    model = BiasedMF(0, solver="als", **columns).fit(frames[0], y)
    assert scores(model, frames[1], y_test.astype(np.float32)) == expected


def test_blocks_of_users_change_nothing(model, data, monkeypatch):
    expected = scores(model, *data[2:])
    monkeypatch.setattr(judging, "BLOCK_CELLS", 30)
    for name, score in scores(model, *data[2:]).items():
        assert_allclose(score, expected[name], rtol=1e-12)


def test_scorers_see_through_pipelines_and_searches(data):
    X, y, X_test, y_test = data
    model = BiasedMF(2, max_iter=3, tol=None, random_state=0)
    expected = scores(model.fit(X, y), X_test, y_test)
    swap = FunctionTransformer(np.fliplr)
    search = GridSearchCV(model, {"n_factors": [2]}, cv=RatingKFold(2, random_state=0))
    for wrapped in (
        make_pipeline(model),
        make_pipeline(swap, swap, model),
        make_pipeline("passthrough", search),
        search,
    ):
        assert scores(wrapped.fit(X, y), X_test, y_test) == expected
    tree = DecisionTreeRegressor().fit(X, y)
    with pytest.raises(TypeError, match=r"DecisionTree.* cannot rank items: pass"):
        mean_reciprocal_rank_of_all(tree, X, y)


def test_scorers_are_values():
    scorer = make_ranking_scorer("ndcg", k=5, threshold=4.0)
    assert repr(scorer) == "make_ranking_scorer('ndcg', k=5, threshold=4.0)"
    assert eval(repr(scorer)) == scorer
    assert pickle.loads(pickle.dumps(scorer)) == copy.deepcopy(scorer) == scorer
    assert repr(make_ranking_scorer("map")) == "make_ranking_scorer('map')"
    name = "make_ranking_scorer('reciprocal_rank_of_all')"
    assert repr(mean_reciprocal_rank_of_all) == name


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"metric": "mse"}, ["'metric'", "'mse'", "'ndcg'", "'auc'"]),
        ({"metric": "ndcg", "k": 0}, ["'k'", "[1, ", "0"]),
        ({"metric": "ndcg", "threshold": np.nan}, ["'threshold'", "nan"]),
        ({"metric": "ndcg", "gain": "exponential"}, ["'gain'", "'exponential'"]),
    ],
)
def test_wrong_parameters(params, words):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        make_ranking_scorer(**params)
    assert all(word in str(error.value) for word in words)


def test_wrong_ratings(popular):
    scorer = make_ranking_scorer("ndcg")
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        scorer(popular, [[1, 1], [1, 2]], [1])
    with pytest.raises(ValueError, match="NaN"):
        scorer(popular, [[1, 1]], [np.nan])
