"""The input contract: what X, y and sample_weight may be, and what they mean."""

import uuid
import warnings
from fractions import Fraction

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.model_selection import KFold, cross_validate

from sklearn_mf import ALSFactorizer, ColdStartWarning, as_matrix, as_pairs
from sklearn_mf._data.labels import cast_exactly, factorize, locate
from sklearn_mf.datasets import make_ratings
from tests import reference


def als(**params):
    defaults = {"n_factors": 3, "max_iter": 3, "tol": None, "random_state": 0}
    return ALSFactorizer(**(defaults | params))


def same_model(a, b):
    """Whether two fits learnt the same to the bit, ids apart."""
    return (
        a.user_factors_.tobytes() == b.user_factors_.tobytes()
        and a.item_factors_.tobytes() == b.item_factors_.tobytes()
        and a.global_mean_ == b.global_mean_
        and a.loss_curve_ == b.loss_curve_
    )


@pytest.fixture(scope="module")
def data():
    return make_ratings(30, 20, 250, random_state=0)


@pytest.fixture(scope="module")
def fitted(data):
    return als().fit(*data)


# ------------------------------------------------------------------------- kinds of id


def as_text(ids):
    return np.array([f"id{i:05d}" for i in ids])


ID_KINDS = {
    "int8": lambda ids: ids.astype(np.int8),
    "int8, negative": lambda ids: (ids - 100).astype(np.int8),
    "uint8": lambda ids: ids.astype(np.uint8),
    "int32": lambda ids: ids.astype(np.int32),
    "beyond int32": lambda ids: ids + 2**40,
    "far apart": lambda ids: ids * 10**15 - 7 * 10**15,
    "ends of int64": lambda ids: np.where(ids < 5, ids - 2**62 - 2**62, ids + 2**62),
    "uint64 beyond int64": lambda ids: ids.astype(np.uint64) + np.uint64(2**63),
    "whole floats": lambda ids: ids.astype(np.float64),
    "float32": lambda ids: ids.astype(np.float32) / 8,
    "fractions": lambda ids: ids + 0.25,
    "strings": as_text,
    "string objects": lambda ids: as_text(ids).astype(object),
    "NumPy strings": lambda ids: as_text(ids).astype(np.dtypes.StringDType()),
    "bytes": lambda ids: as_text(ids).astype("S"),
    "int objects": lambda ids: ids.astype(object),
    "ints beyond 64 bits": lambda ids: np.array([10**30 + int(i) for i in ids], object),
    "mixed numbers": lambda ids: np.array(
        [int(i) if i % 2 else float(i) for i in ids], object
    ),
    "rationals": lambda ids: np.array([Fraction(int(i), 3) for i in ids], object),
    "UUIDs": lambda ids: np.array([uuid.UUID(int=int(i)) for i in ids], object),
    "tuples": lambda ids: pd.Series([("id", int(i)) for i in ids]).to_numpy(),
}


@pytest.mark.parametrize("kind", ID_KINDS)
def test_every_kind_of_id_gives_the_same_model(kind, data, fitted):
    X, y = data
    convert = ID_KINDS[kind]
    users, items = convert(X[:, 0]), convert(X[:, 1])
    frame = pd.DataFrame({"item": items, "user": users})
    model = als(user_column="user", item_column="item").fit(frame, y)
    assert same_model(model, fitted)
    assert_array_equal(model.predict(frame), fitted.predict(X))
    assert_array_equal(model.users_, convert(fitted.users_))
    assert_array_equal(model.items_, convert(fitted.items_))


@pytest.mark.parametrize("kind", ID_KINDS)
def test_every_kind_of_id_in_an_array(kind, data, fitted):
    X, y = data
    convert = ID_KINDS[kind]
    table = np.empty(X.shape, dtype=convert(X[:, 0]).dtype)
    table[:, 0], table[:, 1] = convert(X[:, 0]), convert(X[:, 1])
    model = als().fit(table, y)
    assert same_model(model, fitted)
    assert_array_equal(model.predict(table), fitted.predict(X))


@pytest.mark.parametrize("library", [pd, pl])
def test_mixed_dataframes(library, data, fitted):
    X, y = data
    frame = library.DataFrame(
        {
            "when": [None, *range(len(X) - 1)],  # not read: may hold anything
            "user": [f"user {u:02d}" for u in X[:, 0]],
            "item": X[:, 1],
        }
    )
    for columns in ({"user_column": "user", "item_column": "item"},
                    {"user_column": 1, "item_column": 2}):  # fmt: skip
        model = als(**columns).fit(frame, y)
        assert same_model(model, fitted)
        assert_array_equal(model.predict(frame), fitted.predict(X))
        assert model.users_[3] == "user 03"
        assert model.items_.dtype == np.int64
        assert_array_equal(model.feature_names_in_, ["when", "user", "item"])


def test_pandas_extension_columns(data, fitted):
    X, y = data
    frame = pd.DataFrame(
        {
            "user": pd.array(X[:, 0], dtype="Int64"),
            "item": pd.Categorical([f"item {i:02d}" for i in X[:, 1]]),
        }
    )
    model = als().fit(frame, pd.Series(y))
    assert same_model(model, fitted)
    assert_array_equal(model.predict(frame), fitted.predict(X))


def test_polars_categories(data, fitted):
    X, y = data
    names = pl.Series([f"item {i:02d}" for i in X[:, 1]], dtype=pl.Categorical)
    frame = pl.DataFrame({"user": X[:, 0], "item": names})
    model = als().fit(frame, pl.Series(y))
    assert same_model(model, fitted)
    assert_array_equal(model.predict(frame), fitted.predict(X))


def test_lists_of_lists_keep_numbers_apart_from_text(data, fitted):
    X, y = data
    rows = [[f"user {u:02d}", int(i)] for u, i in X]
    model = als().fit(rows, y.tolist())
    assert same_model(model, fitted)
    assert model.users_[0] == "user 00"
    assert model.items_[0] == 0
    assert_array_equal(model.predict([["user 03", 5], ["user 04", 6]]),
                       fitted.predict([[3, 5], [4, 6]]))  # fmt: skip


def test_labels_are_sorted_and_keep_their_dtype():
    X = np.array([[30, 1], [10, 2], [20, 1]], dtype=np.int16)
    model = als().fit(X, [1.0, 2.0, 3.0])
    assert_array_equal(model.users_, [10, 20, 30])
    assert model.users_.dtype == np.int16
    assert als().fit(X.astype(str), [1.0, 2.0, 3.0]).users_.dtype == np.dtype("<U2")


def test_column_positions_and_names(data, fitted):
    X, y = data
    wide = np.column_stack([np.full(len(X), np.nan), X[:, 1], X[:, 0]])
    model = als(user_column=2, item_column=1).fit(wide, y)
    assert same_model(model, fitted)
    assert model.n_features_in_ == 3


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"item_column": 2}, r"item_column=2 is out of range: X has 2 columns"),
        ({"item_column": "b"}, r"item_column='b', but X has no column names"),
        ({"item_column": 0}, r"user_column and item_column are both 0"),
    ],
)
def test_columns_that_are_not_there(params, match, data):
    with pytest.raises(ValueError, match=match):
        als(**params).fit(*data)


def test_column_name_that_is_not_there(data):
    X, y = data
    frame = pd.DataFrame(X, columns=["user", "item"])
    with pytest.raises(ValueError, match=r"user_column='usr' is not among .*'user'"):
        als(user_column="usr").fit(frame, y)


# ----------------------------------------------------------------- ids that do not fit


@pytest.mark.parametrize(
    ("fit_ids", "predict_ids", "kinds"),
    [
        ([1, 2], ["1", "2"], ("text", "number")),
        (["1", "2"], [1, 2], ("number", "text")),
        ([b"1", b"2"], ["1", "2"], ("text", "bytes")),
        ([uuid.UUID(int=1), uuid.UUID(int=2)], ["1", "2"], ("text", "UUID")),
    ],
)
def test_ids_of_another_kind_are_an_error(fit_ids, predict_ids, kinds):
    def frame(ids):
        return pd.DataFrame({"user": [7, 8], "item": pd.Series(ids, dtype=object)})

    model = als().fit(frame(fit_ids), [1.0, 2.0])
    match = rf"item_column=1: the ids are of kind '{kinds[0]}'.*fit saw '{kinds[1]}'"
    for method in (model.predict, model.transform):
        with pytest.raises(ValueError, match=match):
            method(frame(predict_ids))
    with pytest.raises(ValueError, match=match):
        model.score(frame(predict_ids), [1.0, 2.0])


def test_numbers_are_equal_where_python_says_so():
    big = 2**53
    model = als(n_factors=1).fit([[big, 0], [big + 1, 0], [3, 1]], [1.0, 5.0, 2.0])
    assert_array_equal(model.users_, [3, big, big + 1])
    user = model.predict([[3, 0], [big, 0], [big + 1, 0]])
    assert len(set(user)) == 3
    # A float equals an int exactly or not at all.
    floats = np.array([[3.0, 0.0], [float(big), 0.0], [3.5, 0.0], [1e300, 0.0]])
    unseen = model.global_mean_
    assert_array_equal(model.predict(floats), [user[0], user[1], unseen, unseen])
    # Unsigned ids beyond int64 do not wrap around to the negative ones.
    model = als(n_factors=1).fit([[-1, 0], [5, 0]], [1.0, 5.0])
    wrapped = np.array([[2**64 - 1, 0], [5, 0]], dtype=np.uint64)
    assert model.predict(wrapped)[0] == model.global_mean_
    assert model.predict(wrapped)[1] == model.predict([[5, 0]])[0]


def test_small_integer_labels_do_not_wrap_around():
    model = als().fit(np.array([[44, 0], [3, 1]], dtype=np.int8), [1.0, 5.0])
    assert model.predict([[300, 0]])[0] == model.global_mean_  # 300 - 256 = 44


def test_strings_that_numpy_would_cut():
    model = als(n_factors=1).fit([["a", 0], ["a\0", 0], ["b", 1]], [1.0, 5.0, 3.0])
    assert model.users_.tolist() == ["a", "a\0", "b"]
    one, other = model.predict([["a", 0], ["a\0", 0]])
    assert one < other


def test_unseen_ids_get_the_global_mean(data, fitted):
    _, y = data
    X_new = [[999, 0], [0, 999], [999, 999]]
    assert_allclose(fitted.predict(X_new), y.mean(), rtol=1e-14)
    factors = fitted.transform(X_new)
    assert_array_equal(factors[0, :3], 0)
    assert_array_equal(factors[0, 3:], fitted.item_factors_[0])
    assert_array_equal(factors[1, :3], fitted.user_factors_[0])
    assert_array_equal(factors[2], 0)
    text = als().fit(as_text(data[0].ravel()).reshape(-1, 2), y)
    assert_allclose(text.predict([["nobody", "id00001"]]), y.mean(), rtol=1e-14)


BAD_IDS = {
    "mixed kinds": (["a", 1], TypeError, r"user_column=0: .*got int and str"),
    "None": (["a", None], ValueError, r"user_column=0\) contains NaN or None"),
    "NaN among text": (["a", np.nan], ValueError, r"contains NaN or None"),
    "NaN among objects": ([1, np.nan], ValueError, r"contains NaN or None"),
    "pandas.NA": (["a", pd.NA], ValueError, r"contains NaN or None"),
    "dicts": ([{}, {}], TypeError, r"a string or a number.*got dict"),
    "complex": ([1j, 2j], TypeError, r"a string or a number.*got complex"),
}


@pytest.mark.parametrize("case", BAD_IDS)
def test_ids_that_are_no_labels(case):
    ids, error, match = BAD_IDS[case]
    frame = pd.DataFrame({"user": pd.Series(ids, dtype=object), "item": [0, 1]})
    with pytest.raises(error, match=match):
        als().fit(frame, [1.0, 2.0])
    table = np.empty((2, 2), dtype=object)
    table[:, 0], table[:, 1] = ids, [0, 1]
    with pytest.raises(error, match=match):
        als().fit(table, [1.0, 2.0])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_ids_must_be_finite(bad):
    with pytest.raises(
        ValueError, match=r"X \(item_column=1\) contains (NaN|infinity)"
    ):
        als().fit([[0.5, bad], [1.0, 2.0]], [1.0, 2.0])
    model = als().fit([[0.0, 1.0], [1.0, 2.0]], [1.0, 2.0])
    with pytest.raises(ValueError, match=r"\(user_column=0\) contains (NaN|infinity)"):
        model.predict(np.array([[bad, 1.0]]))


def test_dates_are_no_ids():
    frame = pd.DataFrame({"user": pd.to_datetime(["2020-01-01"] * 2), "item": [0, 1]})
    with pytest.raises(TypeError, match=r"user_column=0: .* dtype datetime64"):
        als().fit(frame, [1.0, 2.0])


# --------------------------------------------------------------- scikit-learn's errors


@pytest.mark.parametrize(
    ("X", "y", "match"),
    [
        (np.empty((0, 2)), [], r"0 sample\(s\)"),
        (pd.DataFrame({"user": [], "item": []}), [], r"0 sample\(s\)"),
        ([[1], [2]], [1.0, 2.0], r"1 feature\(s\)"),
        (pd.DataFrame({"user": [1, 2]}), [1.0, 2.0], r"1 feature\(s\)"),
        ([1, 2], [1.0, 2.0], "Expected 2D array"),
        ([[1, 2], [3]], [1.0, 2.0], "inhomogeneous|Expected 2D array"),
        ([[1, 2], [3, 4]], [1.0], "inconsistent numbers of samples"),
        ([[1, 2], [3, 4]], [1.0, np.nan], "y contains NaN"),
        ([[1, 2], [3, 4]], [1.0, np.inf], "y contains infinity"),
        ([[1, 2], [3, 4]], [1.0, 1j], "Complex data not supported"),
        (np.array([[1j, 2], [3, 4]]), [1.0, 2.0], "Complex data not supported"),
        ([[1, 2], [3, 4]], None, "requires y to be passed"),
        ([[1, 2], [3, 4]], ["good", "bad"], "could not convert string to float"),
    ],
)
def test_scikit_learns_errors(X, y, match):
    with pytest.raises(ValueError, match=match):
        als().fit(X, y)


@pytest.mark.parametrize(
    ("weights", "match"),
    [
        ([0.0, 0.0], "at least one non-zero"),
        ([1.0, -1.0], "Negative values in data passed to `sample_weight`"),
        ([1.0, np.nan], "sample_weight contains NaN"),
        ([1.0], r"sample_weight.shape == \(1,\), expected \(2,\)"),
    ],
)
def test_weights_that_are_none(weights, match):
    with pytest.raises(ValueError, match=match):
        als().fit([[1, 2], [3, 4]], [1.0, 2.0], sample_weight=weights)


# ------------------------------------------------------------------- y, weights, pairs


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (np.float32, np.float32),
        (np.float64, np.float64),
        (np.float16, np.float64),
        (np.int8, np.float64),
        (bool, np.float64),
        (object, np.float64),
    ],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_the_dtype_of_y_decides(dtype, expected, weighted, data):
    X, y = data
    y = (y > 3).astype(dtype)
    weights = np.ones(len(y)) if weighted else None
    model = als().fit(X.astype(np.float32), y, sample_weight=weights)
    for array in (model.user_factors_, model.item_factors_, model.predict(X),
                  model.transform(X)):  # fmt: skip
        assert array.dtype == expected


def test_a_repeated_pair_is_the_mean_with_the_sum_of_weights(data):
    X, y = data
    pair = X[:1]
    model = als().fit(np.vstack([X, pair, pair]), np.append(y, [1.0, 5.0]))
    y_mean, weights = y.copy(), np.ones(len(y))
    y_mean[0], weights[0] = (y[0] + 1.0 + 5.0) / 3, 3
    expected = als().fit(X, y_mean, sample_weight=weights)
    assert_allclose(model.predict(X), expected.predict(X), rtol=1e-13)
    assert_allclose(model.loss_curve_, expected.loss_curve_, rtol=1e-13)


def test_repeated_pairs_in_any_order_give_the_same_bits(data):
    X, _ = data
    rng = np.random.default_rng(0)
    X = X[rng.integers(len(X), size=600)]
    y, weights = rng.normal(size=600), rng.uniform(size=600)
    order = rng.permutation(600)
    for w in (None, weights):
        a = als().fit(X, y, w)
        b = als().fit(X[order], y[order], None if w is None else w[order])
        assert same_model(a, b)


def test_weight_two_is_the_row_twice_and_weight_zero_no_row(data):
    X, y = data
    counts = np.random.default_rng(0).integers(0, 3, size=len(y))
    weighted = als().fit(X, y, sample_weight=counts)
    repeated = als().fit(X.repeat(counts, axis=0), y.repeat(counts))
    assert_array_equal(weighted.users_, repeated.users_)
    assert_allclose(weighted.predict(X), repeated.predict(X), rtol=1e-12)


def test_rows_of_weight_zero_are_as_if_not_there(data):
    X, y = data
    weights = (X[:, 0] != 3).astype(float)
    model = als().fit(X, y, sample_weight=weights)
    assert 3 not in model.users_
    assert_allclose(model.predict([[3, 0]]), model.global_mean_)
    kept = X[:, 0] != 3
    assert same_model(
        model, als().fit(X[kept], y[kept], sample_weight=np.ones(sum(kept)))
    )


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_merged_pairs_match_dictionaries(draw):
    n = draw.draw(st.integers(1, 40))
    ids = st.lists(st.integers(0, 5), min_size=n, max_size=n)
    users, items = draw.draw(ids), draw.draw(ids)
    y = draw.draw(st.lists(st.sampled_from([0.5, 1, 2.5, 5]), min_size=n, max_size=n))
    found = as_matrix(np.column_stack([users, items]), y)
    R, W = reference.dense(users, items, y)
    assert_allclose(found.toarray(), R, rtol=1e-15)
    assert found.nnz == np.count_nonzero(W)
    assert found.has_canonical_format


def test_strided_fortran_and_read_only_input_give_the_same_bits(data, fitted):
    X, y = data
    for table in (np.asfortranarray(X), np.repeat(X, 2, axis=1)[:, ::2], X[::-1][::-1]):
        assert same_model(als().fit(table, y), fitted)
    X, y = X.copy(), y.copy()
    X.flags.writeable = y.flags.writeable = False
    assert same_model(als().fit(X, y), fitted)


def test_fit_does_not_change_its_input(data):
    X, y = data
    weights = np.ones(len(y))
    kept = X.copy(), y.copy(), weights.copy()
    als().fit(np.vstack([X, X]), np.append(y, y), np.append(weights, weights))
    als().fit(X, y, weights)
    for now, before in zip((X, y, weights), kept, strict=True):
        assert_array_equal(now, before)


# --------------------------------------------------------------------- sparse matrices


FORMATS = ["coo", "csr", "csc", "bsr", "lil", "dok", "dia"]


@pytest.mark.parametrize("container", [sparse.coo_array, sparse.coo_matrix])
@pytest.mark.parametrize("form", FORMATS)
def test_a_sparse_matrix_alone_in_every_format(form, container, data, fitted):
    X, y = data
    R = container((y, X.T)).asformat(form)
    if form == "bsr":
        R = R.tobsr((1, 1))  # larger blocks store zeros, which would be ratings
    model = als().fit(R)
    assert same_model(model, fitted)
    assert_array_equal(model.predict(X), fitted.predict(X))
    assert_array_equal(model.fit_transform(*as_pairs(R)).shape, (len(y), 6))


def test_rows_and_columns_of_a_matrix_keep_their_places():
    R = sparse.csr_array(
        ([1.0, 0.0, 5.0, 3.0], ([1, 1, 3, 3], [0, 4, 0, 2])), shape=(6, 5)
    )
    model = als().fit(R)
    assert_array_equal(model.users_, np.arange(6))
    assert_array_equal(model.items_, np.arange(5))
    assert_array_equal(model.user_factors_[[0, 2, 4, 5]], 0)
    assert_array_equal(model.item_factors_[[1, 3]], 0)
    assert model.global_mean_ == 9 / 4  # the explicit zero is a rating
    pairs = als().fit(*as_pairs(R))
    seen = [[1, 0], [1, 4], [3, 0], [3, 2]]
    assert_array_equal(model.predict(seen), pairs.predict(seen))


def test_entries_stored_twice_are_averaged_not_added():
    R = sparse.coo_array(([4.0, 5.0, 1.0], ([0, 0, 1], [0, 0, 1])))
    assert als().fit(R).global_mean_ == pytest.approx((4 + 5 + 1) / 3)
    assert als().fit(R).rating_range_ == (1.0, 4.5)


@pytest.mark.parametrize("name", ["y", "sample_weight"])
def test_a_sparse_matrix_goes_alone(name):
    R = sparse.csr_array(np.eye(3))
    with pytest.raises(
        ValueError, match=rf"{name} must be None when X is a .*as_pairs"
    ):
        als().fit(R, **{name: np.ones(3)})


@pytest.mark.parametrize("method", ["predict", "transform", "score"])
def test_a_sparse_matrix_where_pairs_belong(method, fitted):
    R = sparse.csr_array(np.eye(3))
    args = (R, np.ones(3)) if method == "score" else (R,)
    with pytest.raises(ValueError, match=r"X is a sparse matrix.*as_pairs"):
        getattr(fitted, method)(*args)


@pytest.mark.parametrize(
    ("R", "match"),
    [
        (sparse.csr_array((3, 3)), "0 stored entries"),
        (sparse.csr_array([[np.nan, 1.0]]), "NaN"),
        (sparse.csr_array([[1j, 1.0]]), "Complex data not supported"),
    ],
)
def test_sparse_matrices_that_hold_no_ratings(R, match):
    with pytest.raises(ValueError, match=match):
        als().fit(R)
    with pytest.raises(ValueError, match=match):
        as_pairs(R)


def test_a_matrix_then_pairs_then_a_matrix(data):
    X, y = data
    frame = pd.DataFrame(X, columns=["user", "item"])
    frame["when"] = 0
    model = als().fit(frame[["user", "item"]], y).fit(as_matrix(X, y))
    assert not hasattr(model, "feature_names_in_")
    assert not hasattr(model, "n_features_in_")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_array_equal(model.predict(frame), model.predict(X))


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_as_pairs_and_as_matrix_are_inverse(draw):
    shape = draw.draw(st.integers(1, 6)), draw.draw(st.integers(1, 6))
    stored = draw.draw(st.lists(st.booleans(), min_size=36, max_size=36).filter(
        lambda s: any(s[: shape[0] * shape[1]])))  # fmt: skip
    rows, columns = np.nonzero(np.reshape(stored[: shape[0] * shape[1]], shape))
    values = np.arange(len(rows), dtype=np.float32)  # an explicit zero among them
    R = sparse.csr_array((values, (rows, columns)), shape=shape)
    X, y = as_pairs(R)
    assert X.dtype == np.int64
    assert y.dtype == np.float32
    back = as_matrix(X, y, shape=shape)
    assert isinstance(back, sparse.csr_array)
    assert back.shape == shape
    assert back.nnz == R.nnz
    assert back.dtype == np.float32
    assert_array_equal(back.toarray(), R.toarray())


def test_as_matrix_reads_columns_by_name():
    frame = pl.DataFrame({"item": [2, 0], "user": [1.0, 0.0]})
    R = as_matrix(frame, [3.0, 4.0], user_column="user", item_column="item")
    assert_array_equal(R.toarray(), [[4, 0, 0], [0, 0, 3]])


@pytest.mark.parametrize(
    ("X", "shape", "match"),
    [
        ([["a", 0]], None, r"user_column=0: .*non-negative integers.*got 'a'"),
        ([[0, -1]], None, r"item_column=1: .*non-negative integers.*got -1"),
        ([[0.5, 0]], None, r"got 0.5"),
        ([[10**30, 0]], None, r"non-negative integers"),
        ([[0, 3]], (4, 3), r"item_column=1: id 3 lies outside of shape=\(4, 3\)"),
    ],
)
def test_as_matrix_wants_positions(X, shape, match):
    with pytest.raises(ValueError, match=match):
        as_matrix(X, [1.0], shape=shape)


def test_as_pairs_wants_a_sparse_matrix():
    with pytest.raises(
        ValueError, match=r"R must be a scipy.sparse matrix, got ndarray"
    ):
        as_pairs(np.eye(2))


# -------------------------------------------------------------------------- cold start


def test_score_warns_when_most_users_are_unseen(fitted):
    X = np.array([[0, 0]] * 50 + [[998, 0], [999, 0]])  # two of three users
    with pytest.warns(ColdStartWarning, match=r"67% of the users.*KFold\(5, shuffle"):
        fitted.score(X, np.ones(52))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted.score([[0, 0], [999, 0]], [1.0, 2.0])  # half is not more than half


def test_unshuffled_folds_of_a_sorted_file_warn():
    X, y = make_ratings(50, 20, 500, random_state=0)
    order = np.argsort(X[:, 0], kind="stable")
    X, y = X[order], y[order]
    with pytest.warns(ColdStartWarning):
        cross_validate(als(), X, y, cv=5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cross_validate(als(), X, y, cv=KFold(5, shuffle=True, random_state=0))


# ----------------------------------------------------------------------- labels, codes


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(
        ["int8", "uint8", "int32", "int64", "uint64", "float32", "float64"]
    ),
    st.data(),
)
def test_factorize_is_numpys_unique(dtype, draw):
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        values = st.floats(width=8 * dtype.itemsize, allow_nan=False,
                           allow_infinity=False)  # fmt: skip
    else:
        values = st.integers(int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
    column = np.array(draw.draw(st.lists(values, min_size=1)), dtype=dtype)
    labels, codes = factorize("column", column)
    expected, inverse = np.unique(column, return_inverse=True)
    assert labels.dtype == dtype
    assert codes.dtype == np.int32
    assert_array_equal(labels, expected)
    assert_array_equal(codes, inverse)


NUMBERS = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.integers(2**53 - 2, 2**53 + 2),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-3, 3),
    st.sampled_from([0.5, -0.0, 2.0**53, 2.0**63, -(2.0**63)]),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(NUMBERS, min_size=1), st.lists(NUMBERS, min_size=1))
def test_locate_agrees_with_python(known, wanted):
    known, _ = factorize("known", np.array(known, dtype=object))
    wanted, _ = factorize("wanted", np.array(wanted, dtype=object))
    table = {label: code for code, label in enumerate(known.tolist())}
    expected = [table.get(label, -1) for label in wanted.tolist()]
    assert_array_equal(locate("name", wanted, known), expected)


def test_cast_exactly():
    values = np.array([1.0, 1.5, -2.0, 2.0**63, 1e300])
    cast, exact = cast_exactly(values, np.int64)
    assert_array_equal(exact, [True, False, True, False, False])
    assert_array_equal(cast[exact], [1, -2])
    _, exact = cast_exactly(np.array([-1, 5]), np.uint64)
    assert_array_equal(exact, [False, True])
