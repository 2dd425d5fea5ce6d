"""Cross-validators for ratings: their properties, and inside scikit-learn's tools."""

import itertools
import pickle
from datetime import UTC, date, datetime, timedelta

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
    GlobalTimeSplit,
    LeaveLastOut,
    RatingKFold,
    StrongGeneralization,
    TimeSplit,
    cold_share,
)
from tests import movielens

SPLITTERS = [
    RatingKFold(2, random_state=0),
    StrongGeneralization(2, random_state=0),
    StrongGeneralization(3, test_size=2, random_state=0),
    LeaveLastOut(),
    TimeSplit(2),
    GlobalTimeSplit(5),
]

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


# --------------------------------------------------------------- StrongGeneralization


@quick
@given(tables, st.integers(2, 6), st.integers(0, 99))
def test_each_user_is_held_out_once(rows, n_splits, seed):
    X = np.array(rows)
    cv = StrongGeneralization(n_splits, random_state=seed)
    users = set(X[:, 0])
    if len(users) < n_splits:
        with pytest.raises(ValueError, match=f"n_splits={n_splits} is more.* users of"):
            next(cv.split(X))
        return
    splits = list(cv.split(X))
    assert len(splits) == cv.get_n_splits() == n_splits
    held_out = [set(X[test, 0]) for _, test in splits]
    assert set.union(*held_out) == users
    assert sum(map(len, held_out)) == len(users)
    assert np.ptp(list(map(len, held_out))) <= 1
    for train, test in splits:
        assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(len(X)))
        assert cold_share(X[train], X[test]).users == 1
    # Whatever the ids are, and at each call.
    assert_same_splits(splits, cv.split(X))
    assert_same_splits(splits, cv.split([[str(17 * u % 7), *rest] for u, *rest in X]))
    assert_same_splits(splits, cv.split(1000.5 - X))


@pytest.mark.parametrize(
    ("test_size", "n_tested"), [(1, 1), (0.01, 1), (0.3, 6), (0.5, 10), (19, 19)]
)
def test_users_are_drawn_anew_for_each_split(test_size, n_tested):
    X = np.random.default_rng(0).integers(0, 20, (300, 2))
    cv = StrongGeneralization(8, test_size=test_size, random_state=0)
    held_out = [frozenset(X[test, 0].tolist()) for _, test in cv.split(X)]
    assert set(map(len, held_out)) == {n_tested}
    assert len(set(held_out)) > 4
    for train, test in cv.split(X):
        assert cold_share(X[train], X[test]).users == 1
        assert len(train) + len(test) == len(X)
    others = StrongGeneralization(8, test_size=test_size, random_state=1).split(X)
    assert [frozenset(X[test, 0].tolist()) for _, test in others] != held_out


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


# --------------------------------------------------------------------- GlobalTimeSplit


@quick
@given(tables, st.floats(-1, 10))
def test_all_before_the_cut_is_training(rows, cut):
    X = np.array(rows)
    cv = GlobalTimeSplit(cut)
    for times in (X[:, 2], X[:, 2] / 4, X[:, 2].astype(np.uint8)):
        cv = GlobalTimeSplit(cut / 4 if times.dtype == float else cut)
        table = np.column_stack([X[:, :2], times])
        earlier = times < cv.cut
        if earlier.all() or not earlier.any():
            words = "test on.*that is earlier" if earlier.all() else "learn from.*later"
            with pytest.raises(ValueError, match=f"cut={cv.cut!r} leaves .* {words}"):
                next(cv.split(table))
            continue
        [(train, test)] = cv.split(table)
        assert_array_equal(train, np.flatnonzero(earlier))
        assert_array_equal(test, np.flatnonzero(~earlier))


DAYS = [datetime(2020, 1, day, 12) for day in (1, 2, 3, 4)]  # at noon
CUTS = {
    "2020-01-02": 1,
    "2020-01-02 12:00": 1,
    "2020-01-02T12:00:01": 2,
    date(2020, 1, 3): 2,
    datetime(2020, 1, 4, 12): 3,
    np.datetime64("2020-01-04"): 3,
    np.datetime64("2020-01-04T12:00:00.000000001"): 4,
    pd.Timestamp("2020-01-03 12:00"): 2,
    pd.Timestamp("2020-01-03 13:00"): 3,
}


def split_days(times, cut):
    """Return the number of training rows of a split of a column of times."""
    frame = times
    if not isinstance(times, pl.DataFrame):
        frame = pd.DataFrame({"t": times})
    [(train, test)] = GlobalTimeSplit(cut, time_column="t").split(frame)
    assert_array_equal([*train, *test], np.arange(len(frame)))
    return len(train)


@pytest.mark.parametrize("cut", CUTS, ids=repr)
def test_cuts_may_be_dates(cut):
    times, n_train = pd.Series([*DAYS, datetime(2021, 1, 1)]), CUTS[cut]
    assert split_days(times, cut) == n_train
    assert split_days(times.astype("datetime64[s]"), cut) == n_train
    assert split_days(pl.DataFrame({"t": times.tolist()}), cut) == n_train
    if n_train < 4:  # microseconds are the finest of Python
        assert split_days(times.astype(object), cut) == n_train
        zoned = times.dt.tz_localize("UTC").dt.tz_convert("Europe/Berlin")
        assert split_days(zoned, cut) == n_train
        assert split_days(zoned.astype(object), cut) == n_train
        assert split_days(pl.DataFrame({"t": zoned.tolist()}), cut) == n_train


def test_cuts_of_days_zones_and_differences():
    days = [date(2020, 1, day) for day in (1, 2, 3)]
    for cut, n_train in (("2020-01-02", 1), ("2020-01-02 00:01", 2), (days[2], 2)):
        assert split_days(np.array(days, dtype=object), cut) == n_train
        assert split_days(pl.DataFrame({"t": days}), cut) == n_train
    zoned = pd.Series(DAYS).dt.tz_localize("Europe/Berlin")
    for hour, n_train in ((10, 1), (11, 1), (12, 2)):  # noon in Berlin is 11 in UTC
        cut = datetime(2020, 1, 2, hour, tzinfo=UTC)
        assert split_days(zoned, cut) == n_train
    since = pd.Series(DAYS) - DAYS[0]
    for cut in (timedelta(days=2), np.timedelta64(2, "D"), pd.Timedelta(47, "h")):
        assert split_days(since, cut) == 2


@pytest.mark.parametrize(
    ("times", "cut"),
    [
        ([1, 2], "2020-01-01"),
        ([1, 2], date(2020, 1, 1)),
        ([1.5, 2], np.datetime64("2020-01-01")),
        ([1, 2], np.timedelta64(1, "s")),
        (DAYS, 5),
        (DAYS, "new year"),
        (DAYS, np.datetime64("NaT")),
        (DAYS, timedelta(days=1)),
        (np.array(DAYS, dtype=object), 5),
        (np.array(DAYS, dtype=object), timedelta(days=1)),
        ([timedelta(1), timedelta(2)], 5),
        ([timedelta(1), timedelta(2)], "2020-01-01"),
    ],
)
def test_cuts_of_another_kind_than_the_times(times, cut):
    with pytest.raises(ValueError, match=r"cut=.* cannot be compared .*'t', such as"):
        split_days(times, cut)


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


@pytest.mark.parametrize("cv", SPLITTERS[3:5], ids=str)
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
        (lambda: StrongGeneralization(0), ["'n_splits'", "[1, ", "0"]),
        (lambda: StrongGeneralization(1), ["n_splits=1", "test_size=0.2"]),
        (lambda: StrongGeneralization(test_size=1.0), ["'test_size'", "1.0"]),
        (lambda: StrongGeneralization(test_size=0), ["'test_size'", "0"]),
        (lambda: GlobalTimeSplit(None), ["'cut'", "GlobalTimeSplit", "None"]),
        (lambda: GlobalTimeSplit(np.nan), ["'cut'", "nan"]),
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
        (
            StrongGeneralization(1, test_size=0.9),
            X[:3],
            "test_size=0.9 holds out 2 users, but X has 2.*lower test_size",
        ),
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
            if isinstance(cv, GlobalTimeSplit):
                cv = GlobalTimeSplit(500)
            scores = cross_validate(
                BiasedMF(0, solver="als"),
                X,
                y,
                cv=cv,
                scoring="neg_root_mean_squared_error",
                error_score="raise",
            )
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
