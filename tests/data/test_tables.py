"""How tables are read: ids of all kinds, columns, what is refused."""

import uuid
import warnings
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_array_equal

from sklearn_mf import ALSFactorizer, as_matrix, load
from sklearn_mf.model_selection import LeaveLastOut, cold_share
from tests.assertions import assert_same_bits

IDS = "users_", "items_", "n_features_in_", "feature_names_in_"


def als(**params):
    defaults = {"n_factors": 3, "max_iter": 3, "tol": None, "random_state": 0}
    return ALSFactorizer(**(defaults | params))


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
    assert_same_bits(model, fitted, but=IDS)
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
    assert_same_bits(model, fitted, but=IDS)
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
        assert_same_bits(model, fitted, but=IDS)
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
    assert_same_bits(model, fitted, but=IDS)
    assert_array_equal(model.predict(frame), fitted.predict(X))


def test_polars_categories(data, fitted):
    X, y = data
    names = pl.Series([f"item {i:02d}" for i in X[:, 1]], dtype=pl.Categorical)
    frame = pl.DataFrame({"user": X[:, 0], "item": names})
    model = als().fit(frame, pl.Series(y))
    assert_same_bits(model, fitted, but=IDS)
    assert_array_equal(model.predict(frame), fitted.predict(X))


def test_lists_of_lists_keep_numbers_apart_from_text(data, fitted):
    X, y = data
    rows = [[f"user {u:02d}", int(i)] for u, i in X]
    model = als().fit(rows, y.tolist())
    assert_same_bits(model, fitted, but=IDS)
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
    assert_same_bits(model, fitted, but=IDS)
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


def test_polars_strings_keep_their_ends():
    frame = pl.DataFrame({"user": ["a", "a\0", "b"], "item": [0, 0, 1]})
    model = als(n_factors=1).fit(frame, [1.0, 5.0, 3.0])
    assert model.users_.tolist() == ["a", "a\0", "b"]
    items, _ = model.recommend(pl.Series(["a\0"]), 1)
    assert items.tolist() == [[1]]


def test_scalars_of_numpy_in_lists_are_numbers_of_python():
    big = 2**53
    rows = [[np.int64(big), 1], [np.int64(big + 1), 2], [np.float64(0.5), 3]]
    model = als().fit(rows, [1.0, 2.0, 3.0])
    assert model.users_.tolist() == [0.5, big, big + 1]
    assert als().fit([[np.str_("a"), 1], ["b", 2]], [1.0, 2.0]).users_[0] == "a"


def test_columns_of_polars_that_numpy_does_not_have():
    frame = pl.DataFrame({"user": [1, 2], "item": [0, 1]})
    if hasattr(pl, "Int128"):
        large = pl.Series([1, 2**100], dtype=pl.Int128)
        model = als().fit(frame.with_columns(user=large), [1.0, 2.0])
        assert model.users_.tolist() == [1, 2**100]
    structs = frame.with_columns(user=pl.struct("item"))
    with pytest.raises(TypeError, match=r"user_column=0: .*got dict"):
        als().fit(structs, [1.0, 2.0])
    with pytest.raises(ValueError, match=r"LazyFrame.*X\.collect\(\)"):
        als().fit(frame.lazy(), [1.0, 2.0])


def test_tuples_as_ids_in_lists():
    rows = [[("a", 1), 0], [("a", 2), 1]]
    assert als().fit(rows, [1.0, 2.0]).users_.tolist() == [("a", 1), ("a", 2)]


@pytest.mark.compiled
def test_a_long_id_among_short_ones_takes_its_own_room(tmp_path):
    ids = [*(f"u{k}" for k in range(5000)), "x" * 100_000]
    rows = [[user, k % 7] for k, user in enumerate(ids)]
    model = als(max_iter=1).fit(rows, np.arange(len(ids)) % 5.0)
    assert model.users_.tolist() == sorted(ids)
    assert model.users_.dtype == object  # not 2 GB of padding
    model.save(tmp_path / "model")
    assert (tmp_path / "model").stat().st_size < 2**21
    loaded = load(tmp_path / "model")
    assert_same_bits(loaded, model)
    assert_array_equal(loaded.predict(rows[-9:]), model.predict(rows[-9:]))
    short = als(max_iter=1).fit(rows[:-1], np.ones(5000))
    assert short.users_.dtype == np.dtype("<U5")
    assert short.predict([*rows[:2000], rows[-1]])[-1] == short.global_mean_


# ------------------------------------------------------------------------ odd columns


@pytest.mark.parametrize("library", [pd, pl])
def test_a_column_read_twice(library):
    X = library.DataFrame({"item": [1, 2], "user": [1, 2], "time": [2, 1]})
    match = r"user_column='user' and item_column=1 are the same column of X"
    for call in (
        lambda: als(user_column="user").fit(X, [1.0, 2.0]),
        lambda: as_matrix(X, [1.0, 2.0], user_column="user"),
        lambda: cold_share(X, X, user_column="user"),
    ):
        with pytest.raises(ValueError, match=match):
            call()
    with pytest.raises(ValueError, match=r"user_column='time' and time_column=2"):
        next(LeaveLastOut(user_column="time").split(X))


@pytest.mark.parametrize("library", [pd, pl])
def test_names_that_say_other_columns(library):
    X = library.DataFrame({"time": [5, 6], "userId": [1, 2], "item_id": [3, 4]})
    with pytest.warns(UserWarning, match="reads the .* from the column") as caught:
        als().fit(X, [1.0, 2.0])
    assert "user_column='userId'" in str(caught[0].message)
    assert "item_column='item_id'" in str(caught[1].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        als(user_column=1, item_column=2).fit(X, [1.0, 2.0])
        als(user_column="time", item_column="item_id").fit(X, [1.0, 2.0])
        als().fit(X[["userId", "item_id", "time"]], [1.0, 2.0])
        als().fit(X.rename(columns={"userId": "a", "item_id": "b"})
                  if library is pd else X.rename({"userId": "a", "item_id": "b"}),
                  [1.0, 2.0])  # fmt: skip


@pytest.mark.parametrize("library", [pd, pl])
def test_a_model_of_an_array_warns_of_names_that_say_other_columns(library):
    model = als().fit([[1, 2], [2, 1]], [1.0, 2.0])
    swapped = library.DataFrame({"item": [1, 2], "user": [2, 1]})
    for call in (model.predict, lambda X: model.fold_in_users(X, [1.0, 2.0])):
        with pytest.warns(UserWarning, match="reads the users from the column 'item'"):
            call(swapped)


def test_names_of_columns_that_are_not_read_may_be_anything():
    X = pd.DataFrame([[1, 2, 3, 4], [2, 3, 4, 5]], columns=["u", "i", "t", "t"])
    assert len(als().fit(X, [1.0, 2.0]).predict(X)) == 2
    with pytest.raises(ValueError, match=r"user_column='t' is the name of 2 columns"):
        als(user_column="t").fit(X, [1.0, 2.0])


@pytest.mark.parametrize(
    "X",
    [np.ones((3, 5)), pd.DataFrame({"a": [1.0, 2.0], "b": [1.0, np.nan]})],
)
def test_a_table_alone_is_no_matrix(X):
    with pytest.raises(ValueError, match=r"y to be passed.*is one rating.*as_pairs"):
        als().fit(X)


@pytest.mark.parametrize(
    "y", [[object()] * 2, [10**400] * 2, [[1], [1, 2]], ["a", "b"], [b"a", b"b"]]
)
def test_ratings_and_weights_must_be_numbers(y):
    with pytest.raises(ValueError, match=r"y must hold numbers"):
        als().fit([[0, 1], [1, 0]], y)
    with pytest.raises(ValueError, match=r"sample_weight must hold numbers"):
        als().fit([[0, 1], [1, 0]], [1.0, 2.0], y)


BAD_IDS = {
    "mixed kinds": (["a", 1], TypeError, r"user_column=0: .*got int and str"),
    "None": (["a", None], ValueError, r"user_column=0\) contains NaN or None"),
    "NaN among text": (["a", np.nan], ValueError, r"contains NaN or None"),
    "NaN among objects": ([1, np.nan], ValueError, r"contains NaN or None"),
    "pandas.NA": (["a", pd.NA], ValueError, r"contains NaN or None"),
    "dicts": ([{}, {}], TypeError, r"a string or a number.*got dict"),
    "complex": ([1j, 2j], TypeError, r"a string or a number.*got complex"),
    "one complex": ([1j, 1j], TypeError, r"a string or a number.*got complex"),
    "NaT": ([pd.NaT, pd.NaT], ValueError, r"contains NaN or None"),
    "NaT among numbers": ([1, np.datetime64("NaT")], ValueError, r"NaN or None"),
    "NaN of Decimal": ([Decimal("nan"), Decimal(1)], ValueError, r"NaN or None"),
    "signalling": ([Decimal("snan"), Decimal(1)], ValueError, r"NaN or None"),
    "infinity": ([10**30, float("inf")], ValueError, r"contains infinity"),
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
        (
            [[1, 2], [3]],
            [1.0, 2.0],
            "same number of columns, got .* 1 and of 2",
        ),
        ([[1, 2], [3, 4]], [1.0], "inconsistent numbers of samples"),
        ([[1, 2], [3, 4]], [1.0, np.nan], "y contains NaN"),
        ([[1, 2], [3, 4]], [1.0, np.inf], "y contains infinity"),
        ([[1, 2], [3, 4]], [1.0, 1j], "Complex data not supported"),
        (np.array([[1j, 2], [3, 4]]), [1.0, 2.0], "Complex data not supported"),
        ([[1, 2], [3, 4]], None, "requires y to be passed"),
        ([[1, 2], [3, 4]], ["good", "bad"], "y must hold numbers, one for each row"),
    ],
)
def test_scikit_learns_errors(X, y, match):
    with pytest.raises(ValueError, match=match):
        als().fit(X, y)


# ------------------------------------------------------------------- y, weights, pairs


def test_repeated_pairs_in_any_order_give_the_same_bits(data):
    X, _ = data
    rng = np.random.default_rng(0)
    X = X[rng.integers(len(X), size=600)]
    y, weights = rng.normal(size=600), rng.uniform(size=600)
    order = rng.permutation(600)
    for w in (None, weights):
        a = als().fit(X, y, w)
        b = als().fit(X[order], y[order], None if w is None else w[order])
        assert_same_bits(a, b, but=IDS)
