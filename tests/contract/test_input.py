"""What X and y may be for every model, and what they mean.

How tables and ids of all kinds are read is tested in tests/data.
"""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import KFold, cross_validate

from sklearn_mf import ColdStartWarning, as_matrix, as_pairs
from tests.assertions import assert_same_bits, left_as_it_was
from tests.contract.models import FAMILIES, WEIGHTS, X, each_model, in_turn

HEADER = "n_features_in_", "feature_names_in_"
IDS = {
    "negative": lambda ids: ids - 1000,
    "far apart": lambda ids: ids * 10**15 - 7 * 10**15,
    "fractions": lambda ids: ids + 0.25,
    "text": lambda ids: np.array([f"id{i:05d}" for i in ids]),
    "beyond 64 bits": lambda ids: np.array([10**30 + int(i) for i in ids], object),
}


@in_turn("kind", IDS)
@each_model()
def test_ids_of_every_kind_give_the_same_model(model, kind):
    expected, convert = model().fit(X, model.y()), IDS[kind]
    table = np.column_stack([convert(column) for column in X.T])
    found = model().fit(table, model.y())
    assert_same_bits(found, expected, but=["users_", "items_"])
    assert_array_equal(found.predict(table), expected.predict(X))
    assert_array_equal(found.users_, convert(expected.users_))
    assert_array_equal(found.items_, convert(expected.items_))
    items, scores = found.recommend(found.users_[:4], n_items=3)
    codes, expected_scores = expected.recommend(expected.users_[:4], n_items=3)
    assert_array_equal(items.data, convert(codes.data.ravel()).reshape(4, 3))
    assert_array_equal(scores, expected_scores)


@in_turn("library", [pd, pl])
@each_model()
def test_dataframes_and_columns(model, library):
    expected, y = model().fit(X, model.y()), model.y()
    frame = library.DataFrame(
        {
            "when": [None, *range(len(X) - 1)],  # it is not read: it may hold anything
            "item": X[:, 1],
            "user": [f"user {u:02d}" for u in X[:, 0]],
        }
    )
    for columns in (
        {"user_column": "user", "item_column": "item"},
        {"user_column": 2, "item_column": 1},
    ):
        found = model(**columns).fit(frame, library.Series(y))
        assert_same_bits(found, expected, but=["users_", *HEADER])
        assert_array_equal(found.predict(frame), expected.predict(X))
        assert found.users_[3] == "user 03"
        assert_array_equal(found.feature_names_in_, ["when", "item", "user"])


@each_model()
def test_columns_of_an_array(model):
    expected = model().fit(X, model.y())
    wide = np.column_stack([np.full(len(X), np.nan), X[:, 1], X[:, 0]])
    found = model(user_column=2, item_column=1).fit(wide, model.y())
    assert_same_bits(found, expected, but=["users_", "items_", *HEADER])
    assert_array_equal(found.predict(wide), expected.predict(X))
    assert found.n_features_in_ == 3


# ---------------------------------------------------------------------------- matrices


@in_turn("form", ["coo", "csr", "csc"])
@each_model()
def test_a_matrix_alone_is_its_pairs(model, form):
    R = sparse.coo_array((model.y(), X.T)).asformat(form)
    found, expected = model().fit(R), model().fit(*as_pairs(R))
    assert_same_bits(expected, model().fit(X, model.y()))
    del expected.n_features_in_
    assert_same_bits(found, expected)
    assert_array_equal(found.predict(X), expected.predict(X))


@pytest.mark.filterwarnings("error")
@each_model()
def test_rows_and_columns_without_ratings_keep_their_places(model):
    users, items = X[:, 0] + 1 + (X[:, 0] > 6), X[:, 1] + 1 + (X[:, 1] > 4)
    R = sparse.csr_array((model.y(), (users, items)), shape=(33, 23))
    found = model().fit(R)
    for side, n_ids in (("user", 33), ("item", 23)):
        assert_array_equal(getattr(found, f"{side}s_"), np.arange(n_ids))
        assert len(getattr(found, f"{side}_factors_")) == n_ids
    assert not R[[0, 8, 32]].nnz
    rows = found.user_factors_[[0, 8, 32]]
    assert_array_equal(rows, rows[[0, 0, 0]])  # there is nothing that tells them apart
    for table in (np.column_stack([users, items]), [[0, 3], [3, 0], [0, 0]]):
        assert np.isfinite(found.predict(table)).all()


@each_model()
def test_a_matrix_goes_alone(model):
    R = as_matrix(X, model.y())
    fitted = model().fit(X, model.y())
    for name in ("y", "sample_weight"):
        match = rf"{name} must be None when X is a .*as_pairs"
        with left_as_it_was(fitted), pytest.raises(ValueError, match=match):
            fitted.fit(R, **{name: np.ones(R.shape[0])})
    for method, *args in (("predict",), ("transform",), ("score", np.ones(R.shape[0]))):
        with pytest.raises(ValueError, match=r"X is a sparse matrix.*as_pairs"):
            getattr(fitted, method)(R, *args)


@each_model()
def test_a_fit_forgets_the_columns_of_the_one_before(model):
    frame = pd.DataFrame(X, columns=["user", "item"])
    estimator = model().fit(frame, model.y())
    estimator.fit(as_matrix(X, model.y()))
    for name in HEADER:
        assert not hasattr(estimator, name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_array_equal(
            estimator.predict(frame.assign(when=0)), estimator.predict(X)
        )
    assert_same_bits(estimator.fit(X, model.y()), model().fit(X, model.y()))


# ------------------------------------------------------------------------------ errors


@each_model()
def test_methods_of_a_model_that_is_not_fitted(model):
    methods = ["predict", "transform", "recommend", "fold_in_users", "similar_items"]
    for method in [name for name in methods if model.has(name)]:
        with pytest.raises(NotFittedError):
            getattr(model(), method)(X)
    with pytest.raises(NotFittedError):
        model().score(X, model.y())


@each_model()
def test_ids_of_another_kind_are_an_error(model):
    number, text = X, X.astype(str)
    for table, other, kinds in (
        (number, text, ("text", "number")),
        (text, number, ("number", "text")),
    ):
        fitted, y = model().fit(table, model.y()), model.y()
        match = (
            rf"user_column=0: the ids are of kind '{kinds[0]}'.*fit saw '{kinds[1]}'"
        )
        calls = [("predict",), ("transform",), ("score", y)]
        if model.has("partial_fit"):
            calls.append(("partial_fit", y))
        if model.has("fold_in_users") and not model.shares:
            calls.append(("fold_in_users", y))
        for method, *args in calls:
            with left_as_it_was(fitted), pytest.raises(ValueError, match=match):
                getattr(fitted, method)(other, *args)
        with pytest.raises(ValueError, match=rf"'{kinds[0]}'.*'{kinds[1]}'"):
            fitted.recommend(other[:3, 0])


@in_turn(
    ("args", "match"),
    [
        (([1, 2], [1.0, 2.0]), "Expected 2D array"),
        ((np.empty((0, 2)), []), r"0 sample\(s\)"),
        (([[1], [2]], [0.0, 1.0]), r"1 feature\(s\)"),
        (([[1, 2], [3, 4]], [0.0]), "inconsistent numbers of samples"),
        (([[1, 2], [3, 4]], [0.5, 1j]), "Complex data not supported"),
        (([[1, 2], [3, 4]], None), "requires y to be passed"),
        (([[1, 2], [3, np.nan]], [0.0, 1.0]), r"item_column=1\) contains NaN"),
        (([[1, 2], [3, 4]], [0.0, 1.0], [0.0, 0.0]), "at least one non-zero"),
        (([[1, 2], [3, 4]], [0.0, 1.0], [1.0]), r"sample_weight.shape == \(1,\)"),
        (([[1, 2], [3, 4]], [0.0, 1.0], [1.0, -1.0]), "Negative values in data"),
        (([[1, 2], [3, 4]], [0.0, 1.0], [1.0, np.nan]), "sample_weight contains NaN"),
        ((sparse.csr_array((3, 3)),), "0 stored entries"),
        ((sparse.csr_array([[np.nan, 1.0]]),), "NaN"),
    ],
)
@each_model(among=FAMILIES)
def test_input_that_has_no_meaning_is_an_error(model, args, match):
    if "requires y" in match and not model.rates:
        return
    data = dict(zip(("X", "y", "sample_weight"), args, strict=False))
    for method in ("fit", "partial_fit"):
        if model.has(method):
            with pytest.raises(ValueError, match=match):
                getattr(model(), method)(**data)


@each_model(among=FAMILIES)
def test_a_fitted_model_learns_from_no_matrix(model):
    R = as_matrix(X, model.y())
    fitted = model().fit(X, model.y())
    for method in ("partial_fit", "fold_in_users", "fold_in_items"):
        if model.has(method):
            match = r"X is a sparse matrix.*as_pairs\(X\).*user_ids"
            with left_as_it_was(fitted), pytest.raises(ValueError, match=match):
                getattr(fitted, method)(R)
    if model.has("partial_fit"):
        assert_array_equal(model().partial_fit(R).users_, np.arange(30))


@each_model(among=FAMILIES)
def test_masked_entries_are_errors(model):
    fitted, mask = model().fit(X, model.y()), np.arange(len(X)) == 3
    masked_X = np.ma.array(X, mask=np.column_stack([mask, mask]))
    y, ones = np.ma.array(model.y(), mask=mask), np.ma.array(np.ones(len(X)), mask=mask)
    for method, args, name in (
        ("fit", (masked_X, model.y()), "X"),
        ("fit", (X, y), "y"),
        ("fit", (X, model.y(), ones), "sample_weight"),
        ("score", (X, y), "y"),
        ("score", (X, model.y(), ones), "sample_weight"),
        ("predict", (masked_X,), "X"),
        ("recommend", (masked_X[:, 0],), "users"),
        ("similar_items", (masked_X[:, 1],), "items"),
    ):
        with left_as_it_was(fitted), pytest.raises(ValueError, match=f"{name}.*mask"):
            getattr(fitted, method)(*args)
    # What is not masked counts, and columns that are not read may be masked.
    other = np.ma.column_stack([X, np.ma.masked_all(len(X))])
    assert_same_bits(
        model().fit(other, np.ma.array(model.y())),
        fitted,
        but=["users_", "items_", *HEADER],
    )


@each_model(among=FAMILIES)
def test_masked_recommendations_are_no_candidates(model):
    fitted = model().fit(X, model.y())
    found, _ = fitted.recommend([1], 3, candidates=[2, 5], exclude_seen=False)
    assert found.mask.tolist() == [[False, False, True]]
    again, _ = fitted.recommend([1], 3, candidates=found[0], exclude_seen=False)
    assert_array_equal(again.compressed(), found.compressed())
    others, _ = fitted.recommend([1], 20, exclude=found[0], exclude_seen=False)
    assert {*others.compressed()} == {*fitted.items_} - {2, 5}


# --------------------------------------------------------------------------- cold start


@each_model(lambda model: not model.counts)
def test_score_warns_when_most_users_are_unseen(model):
    fitted = model().fit(X, model.y())
    table = np.array([[0, 0]] * 50 + [[998, 0], [999, 0]])  # two of three users
    with pytest.warns(ColdStartWarning, match=r"67% .*new users.*KFold\(5, shuffle"):
        fitted.score(table, np.ones(52))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted.score([[0, 0], [999, 0]], [1.0, 1.0])  # half is not more than half


@each_model(among=FAMILIES)
def test_folds_of_a_file_sorted_by_user_warn(model):
    order = np.argsort(X[:, 0], kind="stable")
    table, y = X[order], model.y()[order]
    with pytest.warns(ColdStartWarning):
        cross_validate(model(), table, y, cv=5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folds = KFold(5, shuffle=True, random_state=0)
        cross_validate(model(), table, y, cv=folds, error_score="raise")


@each_model(lambda model: model.has("partial_fit"))
def test_partial_fit_of_a_model_that_is_not_fitted_is_a_fit(model):
    first = model().partial_fit(X, model.y(), sample_weight=WEIGHTS)
    # One that learns makes a single pass; one that only reads new rows is fitted first.
    whole = model() if model.closed else model(max_iter=1, early_stopping=False)
    assert_same_bits(first, whole.fit(X, model.y(), sample_weight=WEIGHTS))
