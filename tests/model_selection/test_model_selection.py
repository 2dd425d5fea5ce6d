"""Cross-validators for ratings: their properties, and inside scikit-learn's tools."""

import itertools
import pickle
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from sklearn import config_context
from sklearn.base import clone
from sklearn.metrics import check_scoring
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    check_cv,
    cross_val_predict,
    cross_validate,
)
from sklearn.model_selection._split import _yields_constant_splits
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_mf import ALSFactorizer, BiasedMF
from sklearn_mf.datasets import make_ratings
from sklearn_mf.metrics import make_ranking_scorer, mean_reciprocal_rank_of_all
from sklearn_mf.model_selection import (
    LeaveLastOut,
    RatingKFold,
    TimeSplit,
    cold_share,
)
from tests import movielens

SPLITTERS = [RatingKFold(2, random_state=0), LeaveLastOut(), TimeSplit(2)]

tables = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 9), st.integers(0, 8)),
    min_size=6,
    max_size=60,
)
quick = settings(max_examples=60, deadline=None)


def assert_same_splits(splits, others):
    splits, others = list(splits), list(others)
    assert len(splits) == len(others)
    for split, other in zip(splits, others, strict=True):
        for rows, other_rows in zip(split, other, strict=True):
            assert_array_equal(rows, other_rows)


def table(n=40, seed=0):
    """User, item and time of n ratings."""
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.integers(0, high, n) for high in (6, 9, 15)])


# ------------------------------------------------------------------------ RatingKFold


@quick
@given(tables, st.integers(2, 6), st.integers(0, 99))
def test_folds_deal_out_the_ratings_of_each_user(rows, n_splits, seed):
    X = np.array(rows)
    cv = RatingKFold(n_splits, random_state=seed)
    splits = list(cv.split(X))
    assert len(splits) == cv.get_n_splits() == n_splits
    tests = [test for _, test in splits]
    assert_array_equal(np.sort(np.concatenate(tests)), np.arange(len(X)))
    assert np.ptp([len(test) for test in tests]) <= 1
    for train, test in splits:
        assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(len(X)))
    for user in np.unique(X[:, 0]):
        counts = [np.sum(X[test, 0] == user) for test in tests]
        assert np.ptp(counts) <= 1
        if sum(counts) >= 2:
            assert all(user in X[train, 0] for train, _ in splits)


@quick
@given(tables, st.integers(0, 99))
def test_folds_do_not_depend_on_the_kind_of_ids(rows, seed):
    X = np.array(rows)
    cv = RatingKFold(3, random_state=seed)
    splits = list(cv.split(X))
    assert_same_splits(splits, cv.split(X))
    assert_same_splits(splits, cv.split(X, rows))
    text = [[str(17 * user % 7), *rest] for user, *rest in rows]
    assert_same_splits(splits, cv.split(text))
    assert_same_splits(splits, cv.split(np.array(text)))
    assert_same_splits(splits, cv.split(1000.5 - X))


def test_folds_are_shuffled():
    X = np.repeat(np.arange(20), 10)[:, np.newaxis]
    folds = [RatingKFold(5, random_state=seed).split(X) for seed in (0, 1)]
    first, other = (next(iter(split))[1] for split in folds)
    assert not np.array_equal(first, other)
    assert len(np.unique(first % 10)) > 5
    cv = RatingKFold(5, random_state=np.random.RandomState(0))
    assert not np.array_equal(next(cv.split(X))[1], next(cv.split(X))[1])


def test_folds_of_many_users_with_one_rating_are_of_equal_size():
    X = np.arange(103)[:, np.newaxis]
    sizes = [len(test) for _, test in RatingKFold(10, random_state=0).split(X)]
    assert sorted(sizes) == [10] * 7 + [11] * 3


# ------------------------------------------------------------------------ LeaveLastOut


@quick
@given(tables, st.integers(1, 3))
def test_the_last_ratings_of_each_user_are_left_out(rows, n_last):
    X = np.array(rows)
    cv = LeaveLastOut(n_last)
    users, counts = np.unique(X[:, 0], return_counts=True)
    if counts.max() <= n_last:
        with pytest.raises(ValueError, match=f"n_last={n_last}.*lower n_last"):
            next(cv.split(X))
        return
    [(train, test)] = cv.split(X)
    assert cv.get_n_splits(X) == 1
    expected = []
    for user, count in zip(users, counts, strict=True):
        own = np.flatnonzero(X[:, 0] == user)
        if count > n_last:
            by_time = sorted(own, key=lambda row: (X[row, 2], row))
            expected += by_time[-n_last:]
    assert_array_equal(test, np.sort(expected))
    assert_array_equal(train, np.setdiff1d(np.arange(len(X)), test))
    assert cold_share(X[train], X[test]).users == 0


# --------------------------------------------------------------------------- TimeSplit


@quick
@given(tables, st.integers(1, 5))
def test_windows_expand_and_never_part_equal_times(rows, n_splits):
    X = np.array(rows)
    cv = TimeSplit(n_splits)
    n_times = len(np.unique(X[:, 2]))
    if n_times <= n_splits:
        with pytest.raises(ValueError, match=f"{n_splits + 1} different times"):
            next(cv.split(X))
        return
    splits = list(cv.split(X))
    assert len(splits) == cv.get_n_splits() == n_splits
    for train, test in splits:
        assert len(train)
        assert len(test)
        assert X[train, 2].max() < X[test, 2].min()
        before = X[:, 2] < X[test, 2].min()
        assert_array_equal(train, np.flatnonzero(before))
        inside = (X[:, 2] >= X[test, 2].min()) & (X[:, 2] <= X[test, 2].max())
        assert_array_equal(test, np.flatnonzero(inside))
    for (train, test), (later, _) in itertools.pairwise(splits):
        assert_array_equal(np.sort(np.concatenate([train, test])), later)
    train, test = splits[-1]
    assert len(train) + len(test) == len(X)


@pytest.mark.parametrize("n", [12, 13, 17])
def test_windows_of_different_times_are_equal(n):
    times = np.random.default_rng(0).permutation(n)
    X = np.column_stack([times, times, times])
    for train, test in TimeSplit(3).split(X):
        assert len(test) == n // 4
        assert len(train) >= n // 4


def test_bounds_move_to_the_nearest_change_of_time():
    times = np.repeat([0, 1, 2, 3], [3, 2, 4, 1])  # one begins at row 5
    [(train, test)] = TimeSplit(1, time_column=0).split(times[:, np.newaxis])
    assert (len(train), len(test)) == (5, 5)
    times = np.repeat([0, 1, 2], [1, 8, 1])  # row 5 is as far from row 1 as from 9
    [(train, test)] = TimeSplit(1, time_column=0).split(times[:, np.newaxis])
    assert (len(train), len(test)) == (1, 9)
    splits = TimeSplit(2, time_column=0).split(times[:, np.newaxis])
    assert [(len(train), len(test)) for train, test in splits] == [(1, 8), (9, 1)]


# -------------------------------------------------------------------- tables and times


@pytest.mark.parametrize("cv", SPLITTERS, ids=str)
def test_all_tables_give_the_same_splits(cv):
    X = table()
    splits = list(cv.split(X))
    columns = {"who": X[:, 0], "what": X[:, 1], "when": X[:, 2]}
    names = {"user_column": "who", "time_column": "when"}
    named = type(cv)(**{name: names.get(name, v) for name, v in vars(cv).items()})
    assert_same_splits(splits, cv.split(X.tolist()))
    assert_same_splits(splits, cv.split(X.astype(float)))
    for frame in (pd.DataFrame(columns, index=X[:, 1]), pl.DataFrame(columns)):
        assert_same_splits(splits, cv.split(frame))
        assert_same_splits(splits, named.split(frame))


@pytest.mark.parametrize("cv", SPLITTERS[1:], ids=str)
def test_times_may_be_dates(cv):
    X = table()
    splits = list(cv.split(X))
    days = pd.Timestamp("2020-01-01") + pd.to_timedelta(X[:, 2], unit="D")
    dates = [datetime(2020, 1, 1) + timedelta(days=int(day)) for day in X[:, 2]]
    for times in (days, days.tz_localize("Europe/Berlin"), days - days[0]):
        frame = pd.DataFrame({"u": X[:, 0], "i": X[:, 1], "t": times})
        assert_same_splits(splits, cv.split(frame))
    frame = pl.DataFrame({"u": X[:, 0], "i": X[:, 1], "t": dates})
    assert_same_splits(splits, cv.split(frame))
    rows = [[user, item, date] for (user, item, _), date in zip(X, dates, strict=True)]
    assert_same_splits(splits, cv.split(rows))


# -------------------------------------------------------------------------- cold_share


def test_cold_share_counts_ratings():
    X_train = [[1, 1], [2, 1], [2, 2]]
    X_test = [[1, 2], [1, 3], [3, 3], [3, 4], [3, 1]]
    assert cold_share(X_train, X_test) == (0.6, 0.6)
    share = cold_share(X_train, [[2, 9]])
    assert (share.users, share.items) == (0, 1)
    frames = (
        pd.DataFrame(X, columns=["item", "user"])[["user", "item"]]
        for X in (X_train, X_test)
    )
    named = cold_share(*frames, user_column="item", item_column="user")
    assert named == (0.6, 0.6)
    with pytest.raises(ValueError, match="Convert them to the kind of fit"):
        cold_share(X_train, [["1", "2"]])


# ------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: RatingKFold(1), ["'n_splits'", "RatingKFold", "[2, ", "1"]),
        (lambda: RatingKFold(2.5), ["'n_splits'", "int", "2.5"]),
        (lambda: RatingKFold(random_state="x"), ["'random_state'", "'x'"]),
        (lambda: RatingKFold(user_column=-1), ["'user_column'", "-1"]),
        (lambda: LeaveLastOut(0), ["'n_last'", "LeaveLastOut", "0"]),
        (lambda: LeaveLastOut(time_column=None), ["'time_column'", "None"]),
        (lambda: TimeSplit(0), ["'n_splits'", "TimeSplit", "[1, "]),
        (
            lambda: cold_share([[0, 1]], [[0, 1]], item_column=1.5),
            ["'item_column'", "cold_share", "1.5"],
        ),
    ],
)
def test_wrong_parameters(make, words):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        make()
    assert all(word in str(error.value) for word in words)


X = table()


@pytest.mark.parametrize(
    ("cv", "X", "match"),
    [
        (RatingKFold(41), X, "n_splits=41 is more than the 40 ratings of X: lower"),
        (RatingKFold(), csr_array(X), "convert it first: X, y = sklearn_mf.as_pairs"),
        (RatingKFold(), X[:, 0], "2D array"),
        (RatingKFold(user_column=3), X, "user_column=3 is out of range"),
        (RatingKFold(user_column="u"), X, "user_column='u', but X has no column names"),
        (RatingKFold(), np.full((9, 3), np.nan), r"user_column=0\) contains NaN"),
        (LeaveLastOut(6), X[:5], "n_last=6.*lower n_last"),
        (LeaveLastOut(), X[:, :2], "time_column=2 is out of range"),
        (LeaveLastOut(time_column=0), X, "users and times must be different"),
        (TimeSplit(), np.zeros((9, 3)), "n_splits=5 needs 6 different times.*has 1"),
        (TimeSplit(), np.full((9, 3), np.nan), r"time_column=2\) contains NaN"),
        (TimeSplit(), X.astype(str), "time_column=2 holds text.*convert it to numbers"),
        (
            TimeSplit(time_column="t"),
            pd.DataFrame({"t": [pd.Timestamp("2020-01-01"), pd.NaT]}),
            r"time_column='t'\) contains NaT.*Drop",
        ),
    ],
)
def test_wrong_tables(cv, X, match):
    with pytest.raises(ValueError, match=match):
        list(cv.split(X))


def test_lengths_are_checked():
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        next(RatingKFold().split(X, [1, 2, 3]))


# ------------------------------------------------------------------ within scikit-learn


@pytest.mark.parametrize("cv", SPLITTERS, ids=str)
def test_splitters_are_scikit_learns(cv):
    assert check_cv(cv) is cv
    assert_same_splits(cv.split(X), pickle.loads(pickle.dumps(cv)).split(X))
    with pytest.warns(UserWarning, match=f"groups.*ignored by {type(cv).__name__}"):
        cv.split(X, groups=X[:, 0])
    assert not hasattr(cv, "set_split_request")
    kfold = KFold(3).get_metadata_routing()
    assert str(cv.get_metadata_routing()) == str(kfold)
    assert eval(repr(cv)).__dict__ == vars(cv)
    assert _yields_constant_splits(cv)


def test_repr():
    cv = RatingKFold(3, user_column="user")
    assert repr(cv) == "RatingKFold(n_splits=3, random_state=None, user_column='user')"
    assert not _yields_constant_splits(cv)


def test_cross_val_predict_meets_every_rating():
    X, y = make_ratings(60, 40, 900, random_state=0)
    model = BiasedMF(0, solver="als", random_state=0)
    cv = RatingKFold(3, random_state=0)
    predictions = cross_val_predict(model, X, y, cv=cv)
    for train, test in cv.split(X):
        expected = clone(model).fit(X[train], y[train]).predict(X[test])
        assert_array_equal(predictions[test], expected)


@pytest.mark.parametrize("routing", [False, True])
def test_metadata_routing(routing):
    X, y = make_ratings(60, 40, 900, random_state=0)
    X = np.column_stack([X, np.arange(len(y))])
    with config_context(enable_metadata_routing=routing):
        for cv in SPLITTERS:
            scores = cross_validate(BiasedMF(0, solver="als"), X, y, cv=cv)
            assert len(scores["test_score"]) == cv.get_n_splits()


SCORING = {
    "rmse": "neg_root_mean_squared_error",
    "mae": "neg_mean_absolute_error",
    "ndcg": make_ranking_scorer("ndcg"),
    "mrr": mean_reciprocal_rank_of_all,
}


@pytest.mark.compiled
def test_grid_search_over_folds_and_scorers_in_processes():
    X, y = make_ratings(60, 40, 900, random_state=0)
    models = [
        ALSFactorizer(3, max_iter=5, tol=None, random_state=0),
        make_pipeline(
            FunctionTransformer(),
            ALSFactorizer(3, max_iter=5, tol=None, random_state=0),
        ),
    ]
    cv = RatingKFold(5, random_state=0)
    found = []
    for model, prefix in zip(models, ("", "alsfactorizer__"), strict=True):
        grid = {f"{prefix}regularization": [0.05, 2.0]}
        search = GridSearchCV(
            model, grid, cv=cv, scoring=SCORING, refit="ndcg", n_jobs=2
        )
        clone(search)
        search.fit(X, y)
        assert search.n_splits_ == 5
        found.append(search.cv_results_)
    for name, scorer in SCORING.items():
        assert_array_equal(*(results[f"mean_test_{name}"] for results in found))
        scores = [found[0][f"split{fold}_test_{name}"] for fold in range(5)]
        expected = []
        for train, test in cv.split(X):
            model = clone(models[0]).set_params(regularization=0.05)
            model.fit(X[train], y[train])
            expected.append(check_scoring(model, scorer)(model, X[test], y[test]))
        assert_allclose(np.array(scores)[:, 0], expected, rtol=1e-12)


def test_search_with_weights_warns_that_rankings_take_none():
    X, y = make_ratings(60, 40, 900, random_state=0)
    search = GridSearchCV(
        BiasedMF(0, solver="als"),
        {"regularization": [0.1]},
        cv=RatingKFold(2, random_state=0),
        scoring={"ndcg": make_ranking_scorer("ndcg")},
        refit=False,
    )
    with pytest.warns(UserWarning, match="does not support sample_weight"):
        search.fit(X, y, sample_weight=np.ones(len(y)))


def test_nested_search():
    X, y = make_ratings(60, 40, 900, random_state=0)
    cv = RatingKFold(2, random_state=0)
    search = GridSearchCV(
        BiasedMF(0, solver="als"), {"regularization": [0.1, 5.0]}, cv=cv
    )
    scores = cross_validate(search, X, y, cv=cv, scoring=SCORING, error_score="raise")
    assert (scores["test_ndcg"] > 0).all()


# --------------------------------------------------------------------------- MovieLens


@movielens.needs_movielens
@pytest.mark.compiled
def test_movielens_in_processes():
    X, y = movielens.load()
    cv = RatingKFold(5, random_state=0)
    for train, test in cv.split(X):
        share = cold_share(X[train], X[test])
        assert share.users == 0
        assert 0.03 < share.items < 0.05
    model = BiasedMF(20, learning_rate=0.05, max_iter=40, tol=None, random_state=0)
    scores = cross_validate(model, X, y, cv=cv, scoring=SCORING, n_jobs=2)
    assert -scores["test_rmse"].mean() < 0.87
    assert -scores["test_mae"].mean() < 0.67
    assert 0.01 < scores["test_ndcg"].mean() < 1
    assert 0.002 < scores["test_mrr"].mean() < 1


@movielens.needs_movielens
@pytest.mark.compiled
def test_movielens_over_time():
    table = np.loadtxt(movielens.RATINGS, delimiter=",", skiprows=1)
    X, y = table[:, [0, 1, 3]], table[:, 2]
    [(train, test)] = LeaveLastOut(5).split(X)
    assert len(test) == 5 * len(np.unique(X[:, 0]))
    model = BiasedMF(0, solver="als").fit(X[train], y[train])
    assert -1.0 < model.score(X[test], y[test]) < -0.85
    sizes = [len(test) for _, test in TimeSplit().split(X)]
    assert np.ptp(sizes) < 0.05 * np.mean(sizes)
