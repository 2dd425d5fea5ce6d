"""Sparse matrices as ratings, and pairs as matrices."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from sklearn_mf import as_matrix, as_pairs
from tests import reference
from tests.assertions import assert_same_bits
from tests.data.test_tables import als

IDS = "users_", "items_", "n_features_in_", "feature_names_in_"


@pytest.fixture(scope="module")
def fitted(data):
    return als().fit(*data)


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


FORMATS = ["coo", "csr", "csc", "bsr", "lil", "dok", "dia"]


@pytest.mark.parametrize("container", [sparse.coo_array, sparse.coo_matrix])
@pytest.mark.parametrize("form", FORMATS)
def test_a_sparse_matrix_alone_in_every_format(form, container, data, fitted):
    X, y = data
    R = container((y, X.T)).asformat(form)
    if form == "bsr":
        R = R.tobsr((1, 1))  # larger blocks store zeros, which would be ratings
    model = als().fit(R)
    assert_same_bits(model, fitted, but=IDS)
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


@pytest.mark.parametrize(
    "shape", [5, (2,), "ab", (2, 3, 4), (2.5, 3), (3, True), (0, 3), (2**62, 3), {3, 2}]
)
def test_shapes_that_are_none(shape):
    with pytest.raises(ValueError, match=r"shape must be None or the numbers of users"):
        as_matrix([[0, 0]], [1.0], shape=shape)


def test_ids_too_large_for_a_matrix():
    match = r"shape \(1000000001, 1\).* 7 GiB.*OrdinalEncoder"
    with pytest.raises(ValueError, match=match):
        as_matrix([[10**9, 0]], [1.0])


@pytest.mark.parametrize("shape", [(3,), (2, 3, 2)])
def test_a_matrix_has_two_dimensions(shape):
    try:
        R = sparse.coo_array(np.ones(shape))
    except ValueError:
        pytest.skip("this SciPy has no sparse arrays of three dimensions")
    for call in (as_pairs, als().fit):
        with pytest.raises(ValueError, match=r"two dimensions.*got one of shape"):
            call(R)


def test_as_pairs_wants_a_sparse_matrix():
    with pytest.raises(
        ValueError, match=r"R must be a scipy.sparse matrix, got ndarray"
    ):
        as_pairs(np.eye(2))
