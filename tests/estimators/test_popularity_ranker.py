"""PopularityRanker: the contract of an estimator, and rankings against a count."""

import pickle

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score
from sklearn.utils.estimator_checks import check_estimator

import sklearn_mf
from sklearn_mf import PopularityRanker, as_matrix
from sklearn_mf.datasets import make_interactions
from sklearn_mf.metrics import make_ranking_scorer
from sklearn_mf.model_selection import RatingKFold
from tests.assertions import assert_same_bits, left_as_it_was


@pytest.fixture(scope="module")
def data():
    X, y = make_interactions(60, 40, 500, random_state=0)
    return X[:, :2], y


@pytest.mark.parametrize(
    "estimator",
    [PopularityRanker(), PopularityRanker(user_column=1, item_column=0, n_jobs=2)],
    ids=repr,
)
def test_check_estimator(estimator):
    results = check_estimator(estimator, on_skip=None)
    skipped = {r["check_name"] for r in results if r["status"] == "skipped"}
    assert skipped <= {
        "check_array_api_input"
    }  # which asks for an environment variable
    assert {r["status"] for r in results} <= {"passed", "skipped"}
    names = {r["check_name"] for r in results}
    assert "check_sample_weight_equivalence_on_dense_data" in names


# ----------------------------------------------------------------------------- counting


def by_hand(X, user, n_items, exclude_seen=True):
    """Return the most popular items for a user, and their shares."""
    shares = {
        item: len(np.unique(X[X[:, 1] == item, 0])) / len(np.unique(X[:, 0]))
        for item in np.unique(X[:, 1])
    }
    seen = X[X[:, 0] == user, 1] if exclude_seen else []
    items = sorted(set(shares) - set(seen), key=lambda item: (-shares[item], item))
    return items[:n_items], [shares[item] for item in items[:n_items]]


def test_items_are_ranked_by_their_number_of_users(data):
    X, y = data
    model = PopularityRanker().fit(X, y)
    users = [*model.users_, 777]
    for exclude_seen in (True, False):
        items, scores = model.recommend(users, 12, exclude_seen=exclude_seen)
        for row, user in enumerate(users):
            expected, shares = by_hand(X, user, 12, exclude_seen)
            assert items[row].compressed().tolist() == expected
            assert_allclose(scores[row].compressed(), shares, rtol=1e-15)
            if expected:
                predictions = model.predict([[user, item] for item in expected])
                assert_array_equal(predictions, scores[row].compressed())
    assert_array_equal(model.predict([[0, 888], [777, 888]]), 0)
    items, _ = model.recommend([777], 3, candidates=[5, 6, 7, 888], exclude=[6])
    order = by_hand(X, 777, 40)[0]
    assert items.compressed().tolist() == sorted([5, 7], key=order.index)
    assert items.mask.tolist() == [[False, False, True]]


def test_y_is_checked_and_does_not_count(data):
    X, y = data
    model = PopularityRanker().fit(X)
    assert_same_bits(model, PopularityRanker().fit(X, y))
    assert_same_bits(model, PopularityRanker().fit(X, -y.astype(np.float32)))
    assert model.item_popularity_.dtype == np.float64
    with pytest.raises(ValueError, match="NaN"):
        PopularityRanker().fit(X, np.full(len(X), np.nan))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        PopularityRanker().fit(X, y[1:])


def test_weights_and_repeated_rows_count(data):
    X, y = data
    times = y.astype(int)
    weighted = PopularityRanker().fit(X, sample_weight=y)
    assert_same_bits(weighted, PopularityRanker().fit(np.repeat(X, times, axis=0)))
    expected = np.bincount(X[:, 1], y) / len(np.unique(X[:, 0]))
    assert_allclose(weighted.item_popularity_, expected[weighted.items_])
    # Rows of weight 0 are as if not there.
    kept = X[:, 0] < 40
    some = PopularityRanker().fit(X, y, sample_weight=kept.astype(float))
    assert_same_bits(some, PopularityRanker().fit(X[kept]))


def test_a_matrix_and_tables_of_every_kind(data):
    X, y = data
    model = PopularityRanker().fit(X)
    matrix = PopularityRanker().fit(as_matrix(X, y, shape=(60, 45)))
    assert_array_equal(matrix.users_, np.arange(60))
    assert_array_equal(matrix.item_popularity_[40:], 0)
    best = model.recommend([0, 1], 5)[0].tolist()
    assert matrix.recommend([0, 1], 5)[0].tolist() == best
    columns = {"item": X[:, 1], "user": X[:, 0]}
    named = PopularityRanker(user_column="user", item_column="item")
    for frame in (pd.DataFrame(columns), pl.DataFrame(columns)):
        named.fit(frame)
        assert named.recommend([0, 1], 5)[0].tolist() == best
        assert named.feature_names_in_.tolist() == ["item", "user"]
    text = PopularityRanker().fit([[f"u{u}", f"i{i:03}"] for u, i in X])
    found = text.recommend(["u0", "u1"], 5)[0]
    assert found.tolist() == [[f"i{item:03}" for item in row] for row in best]
    with pytest.raises(ValueError, match=r"sparse matrix.*as_pairs"):
        model.predict(as_matrix(X, y))


# ------------------------------------------------------------------------------ fold-in


def test_folded_in_users_have_a_history(data):
    X, _ = data
    model = PopularityRanker().fit(X)
    before = model.item_popularity_
    history = [[777, item] for item in by_hand(X, 777, 3)[0]]
    again = [[0, 5]]  # in place of what user 0 had
    assert model.fold_in_users([*history, *again]) is model
    assert model.item_popularity_ is before
    items, scores = model.recommend([777, 0, 888], 5)
    assert items[0].tolist() == by_hand(X, 888, 8)[0][3:]
    assert (
        items[1].tolist()
        == by_hand(np.vstack([X[X[:, 0] != 0, :2]]), 0, 40)[0][:0]
        + [item for item in by_hand(X, 888, 6)[0] if item != 5][:5]
    )
    assert items[2].tolist() == by_hand(X, 888, 5)[0]
    assert_allclose(scores[0], by_hand(X, 888, 8)[1][3:])
    with left_as_it_was(model), pytest.raises(ValueError, match=r"999.*Leave their"):
        model.fold_in_users([[778, 999]])
    with pytest.raises(ValueError, match="as_pairs"):
        model.fold_in_users(as_matrix(X, X[:, 0]))


# ---------------------------------------------------------------------- state and score


def test_files_and_copies_are_the_same_model(data, tmp_path):
    model = PopularityRanker(n_jobs=1).fit(*data)
    path = tmp_path / "model.npz"
    model.save(path)
    joblib.dump(model, tmp_path / "model.joblib")
    for copy in (
        sklearn_mf.load(path),
        pickle.loads(pickle.dumps(model)),
        joblib.load(tmp_path / "model.joblib", mmap_mode="r"),
    ):
        assert type(copy) is PopularityRanker
        assert copy.get_params() == model.get_params()
        assert_same_bits(copy, model)
        assert_array_equal(copy.recommend([0, 777])[0], model.recommend([0, 777])[0])
        assert copy.fold_in_users([[777, 0]]).users_[-1] == 777
    model.item_popularity_ = model.item_popularity_[1:]
    with pytest.raises(ValueError, match="item_popularity_"):
        model.save(path)


def test_a_failed_fit_changes_nothing(data):
    X, y = data
    model = PopularityRanker().fit(X, y)
    with left_as_it_was(model):
        with pytest.raises(ValueError, match="NaN"):
            model.fit(X, np.full(len(X), np.nan))
        with pytest.raises(ValueError, match="'user_column'"):
            clone(model).set_params(user_column=-1).fit(X, y)
    for method in (model.recommend, model.fold_in_users, model.predict, model.score):
        with pytest.raises(NotFittedError):
            getattr(clone(model), method.__name__)(X)
    assert not hasattr(model, "similar_items")  # it has no factors
    assert not hasattr(model, "transform")


def test_score_is_the_ndcg_of_ten(data):
    X, y = data
    cv = RatingKFold(3, random_state=0)
    scorer = make_ranking_scorer("ndcg", k=10)
    scores = cross_val_score(PopularityRanker(), X, y, cv=cv)
    expected = cross_val_score(PopularityRanker(), X, y, cv=cv, scoring=scorer)
    assert_array_equal(scores, expected)
    train, test = next(cv.split(X))
    model = PopularityRanker().fit(X[train])
    assert model.score(X[test]) == model.score(X[test], y[test]) == scores[0]
    assert 0 < scores[0] < 1
