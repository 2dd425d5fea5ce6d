"""Ids and their codes, against NumPy and dictionaries."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from sklearn_mf._data.labels import cast_exactly, factorize, locate


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
