"""Sparse rating matrices to tables of pairs, and back."""

from numbers import Integral

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.utils import check_consistent_length
from sklearn.utils._param_validation import validate_parameter_constraints

from sklearn_mf._data.arguments import COUNT, LARGEST, Interval
from sklearn_mf._data.labels import cast_exactly, factorize
from sklearn_mf._data.ratings import sort_both_ways
from sklearn_mf._data.tables import (
    check_table,
    read_targets,
    refuse_matrix,
    stored_entries,
    take_columns,
)
from sklearn_mf._runtime.threads import count_threads
from sklearn_mf._typing import SparseMatrix, TableLike


def as_pairs(
    R: SparseMatrix,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.floating]]:
    """Turn a sparse rating matrix into a table of pairs.

    Every method of the estimators except fit, and every splitter of scikit-learn,
    expects one rating in each row.

    Parameters
    ----------
    R : sparse matrix or array of shape (n_users, n_items)
        Row = user, column = item. Every *stored* entry is a rating, explicit zeros
        too.

    Returns
    -------
    X : int64 ndarray of shape (n_ratings, 2)
        Row and column of each stored entry: user and item.
    y : ndarray of shape (n_ratings,)
        The ratings: float32 if R is, else float64.

    Raises
    ------
    ValueError
        If R is not sparse, holds NaN, infinity or complex numbers, or has no stored
        entry.

    See Also
    --------
    as_matrix : The inverse.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.sparse import csr_array
    >>> from sklearn_mf import as_pairs
    >>> X, y = as_pairs(csr_array(np.array([[5.0, 0.0], [3.0, 1.0]])))
    >>> X
    array([[0, 0],
           [1, 0],
           [1, 1]])
    >>> y
    array([5., 3., 1.])
    """
    if not sparse.issparse(R):
        raise ValueError(
            f"R must be a scipy.sparse matrix, got {type(R).__name__}. A dense array "
            "does not tell a missing rating from a zero: keep the pairs that were "
            "rated, for example X = np.argwhere(mask), y = R[mask]."
        )
    entries = stored_entries(R)
    X = np.column_stack([entries.row, entries.col]).astype(np.int64, copy=False)
    return X, read_targets(entries.data)


MOST_ROWS = 2**27  # and columns of a matrix that nobody asked for by its shape

_NO_POSITIONS = (
    "{name}: ids must be non-negative integers to be rows and columns of a matrix, got "
    "{label!r}. Encode them first, for example with "
    "sklearn.preprocessing.OrdinalEncoder."
)


def as_matrix(
    X: TableLike,
    y: npt.ArrayLike,
    *,
    user_column: int | str = 0,
    item_column: int | str = 1,
    shape: tuple[int, int] | None = None,
) -> sparse.csr_array:
    """Turn a table of pairs into a sparse rating matrix.

    Parameters
    ----------
    X : table of shape (n_ratings, n_features)
        One rating in each row. Its user and item columns hold non-negative integers,
        which become the row and the column.
    y : array-like of shape (n_ratings,)
        The ratings. The ratings of a repeated pair are averaged.
    user_column, item_column : int or str, default=0 and 1
        Position, or name in a DataFrame, of the columns of X.
    shape : (int, int) or None, default=None
        Number of users and of items. None: one more than the largest of each.

    Returns
    -------
    scipy.sparse.csr_array of shape (n_users, n_items)
        Every rating is a stored entry, zeros too: float32 if y is, else float64.

    Raises
    ------
    ValueError
        If an id is not a non-negative integer below its limit in `shape`, if ids are
        so large that the matrix would need gigabytes for its empty rows and columns
        while `shape` is None, or for input that fit would not accept either.

    See Also
    --------
    as_pairs : The inverse.

    Examples
    --------
    >>> from sklearn_mf import as_matrix
    >>> as_matrix([[0, 0], [1, 0], [1, 1]], [5.0, 3.0, 1.0]).toarray()
    array([[5., 0.],
           [3., 1.]])
    """
    keys = {"user_column": user_column, "item_column": item_column}
    validate_parameter_constraints(
        {name: [Interval(Integral, 0, None, closed="left"), str] for name in keys},
        keys,
        caller_name="as_matrix",
    )
    _check_shape(shape)
    refuse_matrix(X)
    table = check_table(X)
    columns = take_columns(table, **keys)
    y = read_targets(y)
    check_consistent_length(table, y)
    n_threads = count_threads(None)
    positions, all_codes, limits = [], [], []
    for axis, (name, column) in enumerate(columns):
        labels, codes = factorize(name, column, n_threads)
        if labels.dtype.kind not in "iuf":
            raise ValueError(_NO_POSITIONS.format(name=name, label=labels.tolist()[0]))
        rows, exact = cast_exactly(labels, np.int64)
        if not exact.all() or rows[0] < 0:
            wrong = labels[~exact | (rows < 0)]
            raise ValueError(_NO_POSITIONS.format(name=name, label=wrong.tolist()[0]))
        limit = int(rows[-1]) + 1 if shape is None else int(shape[axis])
        if rows[-1] >= limit:
            raise ValueError(
                f"{name}: id {rows[-1]} lies outside of shape={shape}: pass a larger "
                "shape, or shape=None."
            )
        positions.append(rows)
        all_codes.append(codes)
        limits.append(limit)
    if shape is None and sum(limits) > MOST_ROWS:
        raise ValueError(
            f"X: its largest ids make a matrix of shape {tuple(limits)}, whose rows "
            f"and columns alone need {8 * sum(limits) / 2**30:.0f} GiB of memory. "
            "Encode the ids first, for example with "
            "sklearn.preprocessing.OrdinalEncoder, or pass the shape to get it "
            "nevertheless."
        )
    users, items = positions
    n_labels = len(users), len(items)
    side, _ = sort_both_ways(all_codes, y, None, n_labels, n_threads)
    try:
        indptr = np.zeros(limits[0] + 1, np.int64)
        indptr[users + 1] = side.counts()
        np.cumsum(indptr, out=indptr)
    except MemoryError:
        raise MemoryError(
            f"shape={tuple(limits)}: the rows alone need "
            f"{8 * limits[0] / 2**30:.0f} GiB of memory. Encode the ids first, for "
            "example with sklearn.preprocessing.OrdinalEncoder."
        ) from None
    indices = items[side.indices].astype(np.int32)
    return sparse.csr_array((side.ratings, indices, indptr), shape=limits)


def _check_shape(shape):
    if shape is None:
        return
    if not (
        isinstance(shape, tuple | list)
        and len(shape) == 2
        and all(map(COUNT.is_satisfied_by, shape))
    ):
        raise ValueError(
            f"shape must be None or the numbers of users and of items, two ints from 1 "
            f"to {LARGEST}, got {shape!r}."
        )
