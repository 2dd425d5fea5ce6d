"""How features of users and items are read: their forms, what is refused, and units."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from sklearn_mf import ALSFactorizer
from sklearn_mf._data.features import make_design, read_features
from tests.assertions import assert_same_bits
from tests.strategies import sparse_table

N_ITEMS = 15
IDS = np.arange(N_ITEMS)
F = np.random.default_rng(0).normal(size=(N_ITEMS, 3))
FRAME = pd.DataFrame(F, index=IDS, columns=["a", "b", "c"])
WITH_IDS = {"c": F[:, 2], "film": IDS, "a": F[:, 0], "b": F[:, 1]}
NAMES = "item_feature_names_"


def als(**params):
    defaults = {"n_factors": 3, "max_iter": 3, "tol": None, "random_state": 0}
    return ALSFactorizer(**(defaults | params))


def fit(data, features, **params):
    return als(item_features=features, **params).fit(*data)


def with_entry(value, dtype=float):
    """Return the features with another value in the second row and column."""
    table = F.astype(dtype)
    table[1, 1] = value
    return table


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


@pytest.fixture(scope="module")
def fitted(data):
    return fit(data, (IDS, F, ["a", "b", "c"]))


# ------------------------------------------------------------------------------- forms

ORDER = np.random.default_rng(1).permutation(N_ITEMS)
MASKED = np.ma.masked_array(F)
FORMS = {
    "pandas, ids as index": FRAME,
    "pandas, in another order": FRAME.iloc[ORDER],
    "pandas, Fortran order": pd.DataFrame(
        np.asfortranarray(F), index=IDS, columns=list("abc")
    ),
    "pandas, dtype objects as index": FRAME.set_axis(IDS.astype(object)),
    "polars, ids first": pl.DataFrame({"id": IDS} | dict(zip("abc", F.T, strict=True))),
    "lists": (IDS.tolist(), F.tolist(), ("a", "b", "c")),
    "in another order": (IDS[ORDER], F[ORDER], ["a", "b", "c"]),
    "float ids": (IDS.astype(float), F, ["a", "b", "c"]),
    "Series of ids": (pd.Series(IDS), F, ["a", "b", "c"]),
    "a DataFrame as matrix": (IDS, FRAME, FRAME.columns),
    "Fortran order": (IDS, np.asfortranarray(F), "abc"),
    "strides": (IDS, np.repeat(F, 2, axis=1)[:, ::2], "abc"),
    "backwards": (IDS[::-1], F[::-1], "abc"),
    "read-only": (read_only(IDS), read_only(F), "abc"),
    "nothing masked": (IDS, MASKED, "abc"),
    "a list": [(IDS, F, "abc")],
    "a list with None": [None, FRAME],
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_model(form, data, fitted):
    assert_same_bits(fit(data, FORMS[form]), fitted)


@pytest.mark.parametrize("library", [pd, pl])
def test_ids_in_the_column_of_the_name_in_the_ratings(library, data, fitted):
    X, y = data
    ratings = library.DataFrame({"viewer": X[:, 0], "film": X[:, 1]})
    features = library.DataFrame(WITH_IDS)
    model = als(user_column="viewer", item_column="film", item_features=features)
    model.fit(ratings, y)
    assert_array_equal(model.item_feature_names_, ["c", "a", "b"])
    assert_allclose(model.item_factors_, fitted.item_factors_, rtol=1e-9, atol=1e-12)
    assert_allclose(
        model.item_feature_weights_[[1, 2, 0]],
        fitted.item_feature_weights_,
        rtol=1e-9,
        atol=1e-12,
    )


def test_a_position_is_no_name_of_a_column(data, fitted):
    # item_column=1 counts the columns of X, not those of the features.
    model = fit(data, pd.DataFrame(F, index=IDS))
    assert_array_equal(model.item_feature_names_, ["0", "1", "2"])
    assert_same_bits(model, fitted, but=[NAMES])


def test_sparse_forms(data):
    known = {
        kind: fit(data, (IDS, matrix, "abc"))
        for kind, matrix in {
            "csr": sparse.csr_array(F),
            "csc": sparse.csc_array(F),
            "coo": sparse.coo_matrix(F),
            "twice": sparse.coo_array(
                (
                    np.append(F.ravel() / 2, F.ravel() / 2),
                    np.hstack([np.indices(F.shape).reshape(2, -1)] * 2),
                ),
                F.shape,
            ),
        }.items()
    }
    matrix = sparse.csr_array(F)
    for part in (matrix.data, matrix.indices, matrix.indptr):
        part.flags.writeable = False
    known["read-only"] = fit(data, (IDS, matrix, "abc"))
    for model in known.values():
        assert_same_bits(model, known["csr"])


@pytest.mark.parametrize(
    "convert",
    [
        lambda table: (10 * table).astype(np.int8),
        lambda table: (10 * table).astype(np.uint16),
        lambda table: table > 0,
        lambda table: table.astype(np.float32),
        lambda table: table.astype(np.float16),
        lambda table: table.astype(np.longdouble),
        lambda table: table.astype(object),
    ],
)
def test_every_kind_of_number(convert, data):
    table = convert(F)
    expected = fit(data, (IDS, table.astype(float)))
    assert_same_bits(fit(data, (IDS, table)), expected)
    if table.dtype.kind in "biuf" and table.dtype not in (np.float16, np.longdouble):
        for library in (pd, pl):
            columns = {"film": IDS, **{f"x{k}": table[:, k] for k in range(3)}}
            frame = library.DataFrame(columns)
            frame = frame.set_index("film") if library is pd else frame
            assert_same_bits(fit(data, frame), expected)


def test_nullable_columns_of_pandas(data):
    counts = (10 * F[:, 0]).astype(int)
    frame = pd.DataFrame({"a": pd.array(counts, dtype="Int64")}, index=IDS)
    expected = fit(data, (IDS, counts[:, np.newaxis], "a"))
    assert_same_bits(fit(data, frame), expected)


def test_a_list_has_both_kinds(data):
    expected = fit(data, ["rated", (IDS, F)])
    assert_same_bits(fit(data, [(IDS, F), "rated"]), expected)
    assert expected.item_rated_factors_.shape == (25, 3)
    assert expected.item_feature_weights_.shape == (3, 3)
    assert_same_bits(fit(data, ["rated"]), fit(data, "rated"))
    assert not hasattr(fit(data, "rated"), NAMES)
    assert_same_bits(fit(data, [None]), fit(data, None))


# ------------------------------------------------------------------------ what is which


def test_ids_that_only_one_table_has(data):
    features = (np.arange(-2, 10), np.vstack([F[:2], F[:10]]))
    model = fit(data, features)
    assert_array_equal(model.items_, np.arange(-2, 15))
    expected = features[1] - model.item_feature_centers_
    expected = expected @ model.item_feature_weights_
    assert_allclose(model.item_factors_[:2], expected[:2], rtol=1e-12)
    assert not np.isclose(model.item_factors_[2:12], expected[2:]).any()
    assert_array_equal(model.item_feature_centers_, F[:10].mean(axis=0))


def test_constant_and_repeated_columns(data, fitted):
    names = "abcde"
    twice = F[:, [0, 0]] / np.sqrt(2)
    constant = fit(data, (IDS, np.column_stack([F, np.full(15, 0.1), np.ones(15)])))
    assert_allclose(constant.loss_curve_, fitted.loss_curve_, rtol=1e-13)
    assert_allclose(constant.item_factors_, fitted.item_factors_, rtol=1e-9, atol=1e-12)
    assert_array_equal(constant.item_feature_weights_[3:], 0)
    for phi in (5.0, 1e-300):  # which makes the regression singular
        params = {"feature_regularization": phi}
        model = fit(data, (IDS, np.column_stack([F, twice]), names), **params)
        weights = model.item_feature_weights_
        assert_allclose(weights[0], weights[3] / np.sqrt(2), rtol=1e-7)
        assert np.isfinite(model.loss_curve_).all()


@pytest.mark.parametrize(
    "matrix",
    [np.ones((15, 2)), np.full((15, 2), 0.1), sparse.csr_array((15, 2))],
    ids=["ones", "tenths", "zeros"],
)
def test_without_any_feature_that_varies(matrix, data):
    model, without = fit(data, (IDS, matrix)), als().fit(*data)
    assert_allclose(model.loss_curve_, without.loss_curve_, rtol=1e-12)
    assert_allclose(model.predict(data[0]), without.predict(data[0]), rtol=1e-10)
    assert_array_equal(model.item_feature_weights_, 0)


def test_one_id_with_features(data):
    model = fit(data, (IDS[:1], F[:1]))
    without = als().fit(*data)
    assert_allclose(model.loss_curve_, without.loss_curve_, rtol=1e-12)


def test_many_sparse_columns(data):
    rng = np.random.default_rng(0)
    matrix = sparse_table((15, 50_000), 0.001, rng)
    model = fit(data, (IDS, matrix))
    assert model.item_feature_weights_.shape == (50_000, 3)
    assert model.loss_curve_[-1] < als().fit(*data).loss_curve_[-1]


# ------------------------------------------------------------------------------- units


@pytest.mark.parametrize("scale", [1e149, 1e-149, 1e15, 1e-15])
@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
def test_units_do_not_matter(kind, scale, data):
    table = kind(F)
    model, expected = fit(data, (IDS, scale * table)), fit(data, (IDS, table))
    assert_allclose(model.loss_curve_, expected.loss_curve_, rtol=1e-12)
    assert_allclose(
        scale * model.item_feature_weights_,
        expected.item_feature_weights_,
        rtol=1e-7,
        atol=1e-10,
    )
    mean = expected.item_feature_centers_
    assert_allclose(model.item_feature_centers_ / scale, mean, atol=1e-14)


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize(
    ("dtype", "scale"),
    [
        (np.float64, 1e151),
        (np.float64, 1e300),
        (np.float64, 1e-151),
        (np.float64, 1e-320),
        (np.float32, 1e20),
        (np.float32, 1e-20),
    ],
)
def test_units_that_no_float_goes_with(dtype, scale, kind, data):
    X, y = data
    table = kind(F * [1, scale, 1])
    message = r"item_features: the largest value of the column 'b' is .*: scale it to"
    with pytest.raises(ValueError, match=message):
        als(item_features=(IDS, table, "abc")).fit(X, y.astype(dtype))


def test_large_units_in_float32(data):
    X, y = data
    cold = np.vstack([F, F[:1]]), np.append(IDS, 99)
    for scale in (1e17, 1e-17):
        models = [
            als(item_features=(cold[1], cold[0] * factor)).fit(X, y.astype(np.float32))
            for factor in (1, scale)
        ]
        one, two = (model.predict([[3, 99]]) for model in models)
        assert_allclose(two, one, rtol=1e-5)
        assert models[1].item_feature_weights_.dtype == np.float32


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
def test_standardised(kind):
    raw = F * [1, 30, 0.2] + [5, 0, -7]
    table, _ = read_features("f", (IDS, kind(raw)), 1)
    design = make_design("f", table, np.arange(1, 20), None)
    (block,) = design.blocks
    assert block.shape == (19, 3)
    if kind is sparse.csr_array:
        indptr, indices, data = block.by_row
        rows = sparse.csr_array((data, indices, indptr), block.shape).toarray()
        assert np.ptp(design.scales) == 0
        assert_allclose(rows[:14] * design.scales, raw[1:], rtol=1e-12)
    else:
        rows = block
        assert_allclose(rows[:14].mean(axis=0), 0, atol=1e-15)
        assert_allclose(rows[:14].std(axis=0), 1 / np.sqrt(3))
        assert_allclose(rows[:14] * design.scales + design.centers, raw[1:], rtol=1e-12)
    assert_array_equal(rows[14:], 0)  # without features


# ------------------------------------------------------------------------------ refused

TEXT_REMEDY = r"OneHotEncoder or TfidfVectorizer of scikit-learn"
REFUSED = {
    "no ids in common": ((IDS + 100, F), r"none of the ids of X .* as 100\. Index"),
    "ids of another kind": (
        (IDS.astype(str), F),
        r"of kind 'text' \(such as '0'\), but fit saw 'number'",
    ),
    "an id twice": (
        (np.append(IDS, 3), F[np.append(IDS, 3)]),
        r"more than one row for the id 3: keep one row",
    ),
    "an id twice in an index": (
        pd.concat([FRAME, FRAME.iloc[3:4]]),
        r"more than one row for the id 3: keep one row",
    ),
    "NaN": ((IDS, with_entry(np.nan)), r"the column 'x1' contains NaN .*SimpleImputer"),
    "NaN in a frame": (FRAME.where(F < 1), r"the column 'a' contains NaN or infinity"),
    "missing in polars": (
        pl.DataFrame({"id": IDS, "a": [None, *F[1:, 0]]}),
        r"the column 'a' contains NaN or infinity",
    ),
    "missing in pandas": (
        pd.DataFrame({"a": pd.array([None, *range(14)], dtype="Int64")}, index=IDS),
        r"the column 'a' contains NaN or infinity",
    ),
    "infinity, sparse": (
        (IDS, sparse.csr_array(with_entry(-np.inf))),
        r"the column 'x1' contains NaN or infinity",
    ),
    "text in a frame": (FRAME.assign(t="x"), rf"the column 't' .*{TEXT_REMEDY}"),
    "categories": (
        FRAME.assign(t=pd.Categorical(["x", "y", "z"] * 5)),
        rf"the column 't' .*{TEXT_REMEDY}",
    ),
    "dates": (
        FRAME.assign(t=pd.Timestamp("2020-01-01")),
        rf"the column 't' .*{TEXT_REMEDY}",
    ),
    "sparse columns of pandas": (
        pd.DataFrame.sparse.from_spmatrix(sparse.csr_matrix(F), index=IDS),
        r"the column 0 holds no numbers.* whose sparse matrices a tuple \(ids, mat",
    ),
    "text": ((IDS, F.astype(str)), rf"the matrix holds no numbers.*{TEXT_REMEDY}"),
    "text objects": ((IDS, with_entry("?", object)), r"the matrix holds no numbers"),
    "complex": ((IDS, F + 1j), r"the matrix holds no numbers"),
    "beyond floats": ((IDS, with_entry(10**400, object)), r"the matrix holds no num"),
    "ragged": ((IDS, [[1], [1, 2], *[[1]] * 13]), r"the matrix holds no numbers"),
    "no ids": ((IDS[:0], F[:0]), r"0 ids for 0 rows .* one id for each row, and at l"),
    "no row": (FRAME.iloc[:0], r"has no row: pass at least one id"),
    "no row in polars": (pl.DataFrame({"id": [], "a": []}), r"has no row: pass at lea"),
    "no column": ((IDS, F[:, :0]), r"has no feature: pass at least one column"),
    "no column in a frame": (FRAME[[]], r"has no feature: pass at least one column"),
    "ids alone": (pl.DataFrame({"id": IDS}), r"has no feature: pass at least one col"),
    "fewer ids": ((IDS[:5], F), r"5 ids for 15 rows of features: pass one id for each"),
    "one dimension": ((IDS, F[:, 0]), r"1 dimensions: pass a matrix with a row for"),
    "three dimensions": ((IDS, F[:, :, None]), r"3 dimensions: pass a matrix"),
    "masked": ((IDS, np.ma.masked_array(F, F > 1)), r"masked array are masked, \d+ of"),
    "masked ids": ((np.ma.masked_array(IDS, IDS > 12), F), r"are masked, 2 of 15: lea"),
    "too few names": ((IDS, F, ["a"]), r"the names \['a'\] for 3 columns: pass a name"),
    "no names": ((IDS, F, None), r"the names None for 3 columns: pass a name for each"),
    "an id that is NaN": (
        (with_entry(np.nan)[:, 1], F),
        r"Input item_features contains NaN",
    ),
    "no id": (([None, *range(14)], F), r"contains NaN or None, which are no ids: d"),
    "ids in one text": (("abc", F[:3]), r"\[0\] must be a list of ids, got 'abc': for"),
    "ids in a matrix": ((IDS[:, None], F), r"\[0\] must be a list of ids, of one dime"),
    "two levels": (FRAME.set_index([IDS, IDS]), r"index of 2 levels: let its index be"),
    "another text": ("rate", r"parameter of ALSFactorizer must be .* Got 'rate'"),
    "an array": (F, r"parameter of ALSFactorizer must be None, .*'tuple'"),
    "a dict": ({0: [1.0]}, r"parameter of ALSFactorizer must be None, .*'tuple'"),
    "a column": (FRAME["a"], r"is a DataFrame with an id for each row, .* got Series"),
    "a tuple of one": ((IDS,), r"is a DataFrame .* got a tuple of 1"),
    "two tables": ([(IDS, F), FRAME], r"is a DataFrame .* got a list of 2"),
    "an empty list": ([], r"is a DataFrame .* got a list of 0"),
    "a list of text": (["rated", "x"], r"is a DataFrame .* got str"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case, data):
    features, message = REFUSED[case]
    model = als(item_features=features)
    with pytest.raises((ValueError, TypeError), match=f"(?s){message}") as raised:
        model.fit(*data)
    assert "item_features" in str(raised.value)
    assert not hasattr(model, "item_factors_")


def test_the_remedy_for_numbers_in_place_of_texts(data):
    X, y = data
    frame = pd.DataFrame({"user": X[:, 0], "item": X[:, 1].astype(str)})
    with pytest.raises(ValueError, match="item_features: the ids are of kind 'number'"):
        als(item_features=(IDS, F)).fit(frame, y)
