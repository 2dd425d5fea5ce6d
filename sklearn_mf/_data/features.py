"""Features of users and items: the only reader of them.

features ──read──▶ FeatureTable ──align with the rows of a side──▶ Design
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import narwhals.stable.v2 as nw  # comes with scikit-learn
import numpy as np
from scipy import sparse

from sklearn_mf._data.labels import as_objects, factorize, locate
from sklearn_mf._data.tables import (
    check_table,
    read_id_column,
    read_ids,
    refuse_masked,
)

RATED = "rated"
# Of features: their squares, and weights per unit, are numbers of the dtype of y.
LARGEST = {"float64": 1e150, "float32": 1e18}
NO_NUMBERS = (
    "turn it into columns of numbers first, for example with astype(float), or with "
    "OneHotEncoder or TfidfVectorizer of scikit-learn, whose sparse matrices a tuple "
    "(ids, matrix) takes."
)
FORMS = (
    "a DataFrame with an id for each row, a tuple (ids, matrix) or "
    "(ids, matrix, names), 'rated', a list of 'rated' and one of these, or None"
)


@dataclass(frozen=True)
class FeatureTable:
    """Features by id, as they were given.

    Attributes
    ----------
    ids : ndarray of shape (n_ids,)
        Labels, sorted.
    matrix : float64 ndarray or scipy.sparse.csr_array of shape (n_ids, n_features)
        A row for each of them.
    names : ndarray of str objects of shape (n_features,)
        Names of the features.
    """

    ids: np.ndarray
    matrix: Any
    names: np.ndarray

    def take(self, name, labels):
        """Return the rows of labels, of which those that have none are zero.

        Returns
        -------
        matrix : ndarray or csr_array of shape (n_labels, n_features)
        known : bool ndarray of shape (n_labels,)
            Which labels have features.
        """
        codes = locate(name, self.ids, labels)
        rows = np.full(len(labels), -1)
        rows[codes[codes >= 0]] = np.flatnonzero(codes >= 0)
        shape = 1, self.matrix.shape[1]
        if sparse.issparse(self.matrix):
            matrix = sparse.vstack([self.matrix, sparse.csr_array(shape)], "csr")
        else:
            matrix = np.vstack([self.matrix, np.zeros(shape)])
        return matrix[rows], rows >= 0


class SparseBlock(NamedTuple):
    """A sparse matrix of features, both ways.

    Attributes
    ----------
    shape : tuple of 2 int
        Its numbers of rows and columns.
    by_row, by_column : tuples of 3 ndarrays
        Its indptr, indices and data as compressed sparse rows, and as columns.
    centers : float64 ndarray of shape (n_columns,)
        What is to be subtracted from the rows that are known.
    known : float64 ndarray of shape (n_rows,)
        1 for the rows that are known, 0 for those without features.
    """

    shape: tuple[int, int]
    by_row: tuple[np.ndarray, np.ndarray, np.ndarray]
    by_column: tuple[np.ndarray, np.ndarray, np.ndarray]
    centers: np.ndarray
    known: np.ndarray

    @classmethod
    def of(cls, matrix, centers, known):
        """Return the block of a csr_array; see above for the other arguments."""
        columns = matrix.tocsc()
        return cls(
            matrix.shape,
            (matrix.indptr, matrix.indices, matrix.data),
            (columns.indptr, columns.indices, columns.data),
            centers,
            known.astype(np.float64),
        )


def pattern_of(side, other):
    """Return what the rows of a side rated, as features.

    Each rating is a 1, over the square root of their number; then the mean row is
    subtracted, so that a row without ratings is an average one.

    Parameters
    ----------
    side, other : Side
        The ratings of the rows, and the same ratings sorted by the other ids.

    Returns
    -------
    SparseBlock
    """
    counts = side.counts()
    roots = np.maximum(counts, 1) ** -0.5
    data = np.repeat(roots, counts)
    n_others = len(other.indptr) - 1
    n_known = max((counts > 0).sum(), 1)
    return SparseBlock(
        (len(counts), n_others),
        (side.indptr, side.indices, data),
        (other.indptr, other.indices, roots[other.indices]),
        np.bincount(side.indices, data, n_others) / n_known,
        (counts > 0).astype(np.float64),
    )


@dataclass(frozen=True)
class Design:
    """The features of the rows of a side, as solvers read them.

    Attributes
    ----------
    given : ndarray or SparseBlock of shape (n_rows, n_features), or None
        Features that were given, standardised: zeros for a row that has none. None if
        none were given.
    names : ndarray of str objects of shape (n_features,)
        Their names.
    centers, scales : float64 ndarrays of shape (n_features,)
        What was subtracted from each feature, and what it was then divided by.
    rated : SparseBlock or None
        What each row rated, from `pattern_of`; None if that is no feature.
    """

    given: np.ndarray | SparseBlock | None
    names: np.ndarray
    centers: np.ndarray
    scales: np.ndarray
    rated: SparseBlock | None

    @property
    def blocks(self):
        """Return the blocks of features, each with weights of its own."""
        return [block for block in (self.given, self.rated) if block is not None]


def read_features(name, given, id_column):
    """Read a parameter that holds features.

    Parameters
    ----------
    name : str
        What error messages call it.
    given : DataFrame, tuple, "rated", list or None
        The parameter.
    id_column : int or str
        The column of ids in the tables of ratings; a DataFrame of features that has a
        column of this name has its ids there.

    Returns
    -------
    table : FeatureTable or None
        The features that were given.
    is_rated : bool
        Whether what was rated is a feature too.
    """
    parts = given if isinstance(given, list) else [given]
    tables = [part for part in parts if not _is_rated(part) and part is not None]
    if len(tables) > 1 or (isinstance(given, list) and len(parts) > 2) or not parts:
        raise ValueError(f"{name} is {FORMS}; got a list of {len(parts)}.")
    table = read_feature_table(name, tables[0], id_column) if tables else None
    return table, any(map(_is_rated, parts))


def _is_rated(part):
    return isinstance(part, str) and part == RATED


def read_feature_table(name, given, id_column):
    """Read a table of features by id; see `read_features`.

    Returns
    -------
    FeatureTable
    """
    if isinstance(given, tuple):
        ids, matrix, names = _read_tuple(name, given)
    elif nw.dependencies.is_into_dataframe(given):
        ids, matrix, names = _read_frame(name, given, id_column)
    else:
        raise TypeError(f"{name} is {FORMS}; got {type(given).__name__}.")
    if matrix.shape[1] == 0:
        raise ValueError(f"{name} has no feature: pass at least one column.")
    if len(ids) != matrix.shape[0] or len(ids) == 0:
        raise ValueError(
            f"{name} has {len(ids)} ids for {matrix.shape[0]} rows of features: pass "
            "one id for each row, and at least one."
        )
    _check_finite(name, matrix, names)
    labels, codes = factorize(name, ids)
    if len(labels) < len(codes):
        twice = labels[np.bincount(codes) > 1][:1].tolist()[0]
        raise ValueError(
            f"{name} has more than one row for the id {twice!r}: keep one row for each "
            "id."
        )
    return FeatureTable(labels, matrix[np.argsort(codes)], names)


def _read_tuple(name, given):
    if len(given) not in (2, 3):
        raise ValueError(f"{name} is {FORMS}; got a tuple of {len(given)}.")
    ids, matrix = given[:2]
    refuse_masked(name, ids)
    refuse_masked(name, matrix)
    try:
        if sparse.issparse(matrix):
            matrix = sparse.csr_array(matrix, dtype=np.float64, copy=True)
            matrix.sum_duplicates()
        else:
            matrix = np.asarray(matrix)
            if matrix.dtype.kind not in "biufO":
                raise TypeError
            matrix = np.array(matrix, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name}: the matrix holds no numbers: {NO_NUMBERS}") from None
    if matrix.ndim != 2:
        raise ValueError(
            f"{name} has features of {matrix.ndim} dimensions: pass a matrix with a "
            "row for each id."
        )
    names = [f"x{k}" for k in range(matrix.shape[1])]
    if len(given) == 3:
        if not np.iterable(given[2]) or len(given[2]) != matrix.shape[1]:
            raise ValueError(
                f"{name} has the names {given[2]!r} for {matrix.shape[1]} columns: "
                "pass a name for each column."
            )
        names = list(map(str, given[2]))
    return read_id_column(f"{name}[0]", ids), matrix, as_objects(names)


def _read_frame(name, frame, id_column):
    if not len(frame):
        raise ValueError(f"{name} has no row: pass at least one id.")
    table = check_table(frame, min_columns=0)
    names, columns = list(table.names), table.values
    if isinstance(id_column, str) and id_column in names:
        place = names.index(id_column)
    else:  # pandas has an index, others have not
        place = None if nw.dependencies.is_pandas_dataframe(frame) else 0
    if place is not None:
        ids = table.column(place)
    elif frame.index.nlevels > 1:
        raise ValueError(
            f"{name} has an index of {frame.index.nlevels} levels: let its index be "
            "the ids alone."
        )
    else:
        ids = read_id_column(name, frame.index.to_series())
    kept = [k for k in range(len(names)) if k != place]
    matrix = np.empty((columns.shape[0], len(kept)))
    for at, k in enumerate(kept):
        column = columns[:, k]
        if not column.dtype.is_numeric() and column.dtype != nw.Boolean:
            raise ValueError(
                f"{name}: the column {names[k]!r} holds no numbers: {NO_NUMBERS}"
            )
        matrix[:, at] = column.cast(nw.Float64).to_numpy()
    return ids, matrix, as_objects([str(names[k]) for k in kept])


def _check_finite(name, matrix, names):
    """Raise where features are NaN or infinite."""
    values = matrix.data if sparse.issparse(matrix) else matrix
    if np.isfinite(values).all():
        return
    if sparse.issparse(matrix):
        column = matrix.indices[~np.isfinite(values)][0]
    else:
        column = np.flatnonzero(~np.isfinite(values).all(axis=0))[0]
    raise ValueError(
        f"{name}: the column {names[column]!r} contains NaN or infinity. Fill it "
        "first, for example with SimpleImputer of scikit-learn, or leave the rows out."
    )


def one_row(table, name, label):
    """Return the features of a single id, or None if it has none.

    Parameters
    ----------
    table : FeatureTable or None
        The features by id.
    name : str
        What error messages call them.
    label : object
        The id.
    """
    if table is None:
        return None
    at = read_ids(name, [label], table.ids)[0]
    if at < 0:
        return None
    row = table.matrix[[at]]
    return (row.toarray() if sparse.issparse(row) else row)[0]


def _check_sizes(name, matrix, names, dtype):
    """Raise where the largest value of a feature is too large or too small a number."""
    sizes = abs(matrix).max(axis=0)
    if sparse.issparse(sizes):
        sizes = sizes.toarray().ravel()
    largest = LARGEST[str(np.dtype(dtype))]
    wrong = (sizes > largest) | ((sizes > 0) & (sizes < 1 / largest))
    if wrong.any():
        at = np.flatnonzero(wrong)[0]
        raise ValueError(
            f"{name}: the largest value of the column {names[at]!r} is {sizes[at]:g}: "
            f"scale it to between {1 / largest:g} and {largest:g}, which features of a "
            f"model in {np.dtype(dtype)} must be."
        )


def make_design(name, table, labels, rated, dtype=np.float64):
    """Align features with the rows of a side, and standardise them.

    Columns get the mean 0 over the rows that have features, and dense ones the standard
    deviation 1. Then all are scaled so that the mean of the squared lengths of these
    rows is 1.

    Parameters
    ----------
    name : str
        What error messages call the features.
    table : FeatureTable or None
        Those that were given.
    labels : ndarray
        The labels of the rows.
    rated : SparseBlock or None
        See `Design`.
    dtype : dtype
        Float type of the model.

    Returns
    -------
    Design
    """
    if table is None:
        nothing = np.zeros(0)
        return Design(None, as_objects([]), nothing, nothing, rated)
    matrix, known = table.take(name, labels)
    if not known.any():
        raise ValueError(
            f"{name}: none of the ids of X is among the ids of the features, such as "
            f"{table.ids[:1].tolist()[0]!r}. Index the DataFrame by the ids "
            "that X has, for example with set_index."
        )
    _check_sizes(name, matrix, table.names, dtype)
    is_sparse, rows = sparse.issparse(matrix), matrix[known]
    centers, scales = np.asarray(rows.mean(axis=0)), np.ones(matrix.shape[1])
    if is_sparse:
        squares = (rows.data**2).sum() / known.sum() - (centers**2).sum()
    else:
        scales = rows.std(axis=0)
        scales = np.where(scales > 1e-12 * abs(centers), scales, np.inf)  # constant
        squares = np.isfinite(scales).sum()
    scales = scales * np.sqrt(squares if squares > 0 else 1.0)
    if is_sparse:
        given = SparseBlock.of(matrix / scales[0], centers / scales[0], known)
    else:
        given = (matrix - centers) / scales
        given[~known] = 0
    return Design(given, table.names, centers, scales, rated)
