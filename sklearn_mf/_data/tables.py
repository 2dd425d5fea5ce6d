"""The only readers of X, y and sample_weight: from input to ratings and pairs.

X, y ──columns──▶ labels and codes ──merge, sort──▶ Ratings (by user, by item)
"""

import itertools
from functools import partial

import narwhals.stable.v2 as nw  # comes with scikit-learn, as joblib does
import numpy as np
from scipy import sparse
from sklearn.utils import check_array, check_consistent_length
from sklearn.utils.validation import (
    _check_sample_weight,
    column_or_1d,
    validate_data,
)

from sklearn_mf._data.labels import factorize, locate, merge
from sklearn_mf._data.ratings import Pairs, Ratings, sort_both_ways

FLOATS = (np.float64, np.float32)


def read_ratings(estimator, X, y, sample_weight, *, known=None, dtype=None):
    """Read the input of fit.

    Parameters
    ----------
    estimator : BaseFactorizer
        Its parameters say which columns to read. Without `known`, its attributes
        `n_features_in_` and `feature_names_in_` are set.
    X, y, sample_weight
        As in `BaseFactorizer.fit`.
    known : (ndarray, ndarray) or None
        Labels of the users and items of an earlier fit, to which those of X are added.
        None: X is the first table that the estimator sees.
    dtype : dtype or None
        Float type of the ratings; None leaves it to y.

    Returns
    -------
    Ratings
    """
    if sparse.issparse(X):
        return _read_matrix(estimator, X, y, sample_weight, known, dtype)
    table = check_table(X, estimator, min_columns=1 if known else 2)
    if not known or getattr(estimator, "n_features_in_", None):
        validate_data(estimator, X, y, reset=not known, skip_check_array=True)
    columns = take_columns(
        table,
        user_column=estimator.user_column,
        item_column=estimator.item_column,
    )
    y = read_targets(y, dtype)
    check_consistent_length(table, y)
    if sample_weight is not None:
        sample_weight = _check_sample_weight(
            sample_weight, y, dtype=y.dtype, ensure_non_negative=True
        )
        if not sample_weight.all():
            kept = np.flatnonzero(sample_weight)
            columns = [(name, column[kept]) for name, column in columns]
            y, sample_weight = y[kept], sample_weight[kept]
    sides = [(name, *factorize(name, column)) for name, column in columns]
    return _make_ratings(sides, y, sample_weight, known)


def _make_ratings(sides, y, weights, known):
    """Add the labels of X to the known ones, and sort and merge the ratings.

    `sides` holds, of the users and of the items, the name of the column, the labels and
    the code of each rating.
    """
    all_labels, all_codes = [], []
    for k, (name, labels, codes) in enumerate(sides):
        if known:
            labels, places = merge(name, known[k], labels)
            codes = places[codes]
        all_labels.append(labels)
        all_codes.append(codes)
    shape = tuple(map(len, all_labels))
    return Ratings(*all_labels, *sort_both_ways(*all_codes, y, weights, shape))


def _read_matrix(estimator, R, y, sample_weight, known, dtype):
    """Read the input of fit when it is a sparse matrix alone."""
    for name, value in (("y", y), ("sample_weight", sample_weight)):
        if value is not None:
            raise ValueError(
                f"{name} must be None when X is a sparse matrix, whose stored entries "
                f"are the ratings already. To pass {name}, convert X to pairs first: "
                "X, y = sklearn_mf.as_pairs(X)."
            )
    R = stored_entries(R)
    sides = [
        ("rows", np.arange(R.shape[0]), R.row),
        ("columns", np.arange(R.shape[1]), R.col),
    ]
    return _make_ratings(sides, read_targets(R.data, dtype), None, known)


def read_pairs(estimator, X, users, items):
    """Read the input of predict, score and transform.

    Parameters
    ----------
    estimator : BaseFactorizer
        Its parameters say which columns to read, and its attributes `n_features_in_`
        and `feature_names_in_` how many columns X must have, and of which names.
    X : table of shape (n_pairs, n_features)
        As in `BaseFactorizer.predict`.
    users, items : ndarrays
        The labels known to the model.

    Returns
    -------
    Pairs
    """
    _refuse_matrix(X)
    table = check_table(X, estimator, min_columns=1)
    if getattr(estimator, "n_features_in_", None):  # a fit on a matrix saw no columns
        validate_data(estimator, X, reset=False, skip_check_array=True)
    codes, cold_shares = [], []
    columns = take_columns(
        table,
        user_column=estimator.user_column,
        item_column=estimator.item_column,
    )
    for (name, column), labels in zip(columns, (users, items), strict=True):
        distinct, distinct_codes = factorize(name, column)
        known = locate(name, distinct, labels)
        codes.append(known[distinct_codes])
        cold_shares.append(float(np.mean(known < 0)))
    return Pairs(*codes, cold_share=cold_shares[0])


def read_ids(name, ids, labels):
    """Read a list of ids.

    Parameters
    ----------
    name : str
        What error messages call the ids.
    ids : array-like of shape (n_ids,)
        The ids, of one kind.
    labels : ndarray
        The labels known to the model.

    Returns
    -------
    int32 ndarray of shape (n_ids,)
        Their codes; -1 for an unseen id.
    """
    if isinstance(ids, list | tuple):
        # Objects keep 7 apart from "7".
        column = np.empty(len(ids), dtype=object)
        column[:] = ids
    elif nw.dependencies.is_into_series(ids):
        column = nw.from_native(ids, series_only=True).to_numpy()
    else:
        column = np.asarray(ids)
    if column.ndim != 1:
        raise ValueError(
            f"{name} must be a list of ids, got {ids!r}: for one id pass [{ids!r}]."
        )
    if len(column) == 0:
        return np.empty(0, dtype=np.int32)
    distinct, codes = factorize(name, column)
    return locate(name, distinct, labels)[codes]


def read_targets(y, dtype=None):
    """Validate y: one dimension, finite, float32 if it was, else float64."""
    y = column_or_1d(y, warn=True)
    return check_array(y, ensure_2d=False, dtype=dtype or FLOATS, input_name="y")


def read_columns(X, **keys):
    """Read columns of a table of ratings.

    Parameters
    ----------
    X : table of shape (n_ratings, n_features)
        As in `BaseFactorizer.predict`.
    **keys : int or str
        See `take_columns`.

    Returns
    -------
    list of (str, ndarray of shape (n_ratings,))
        See `take_columns`.
    """
    _refuse_matrix(X)
    return take_columns(check_table(X, min_columns=1), **keys)


def _refuse_matrix(X):
    if sparse.issparse(X):
        raise ValueError(
            "X is a sparse matrix, but a row of X is one (user, item) pair here: "
            "convert it first: X, y = sklearn_mf.as_pairs(X)."
        )


def check_table(X, estimator=None, *, min_columns=2):
    """Check the shape of a table of pairs.

    Returns
    -------
    narwhals.DataFrame or ndarray of two dimensions
        The table. Its values are not checked: columns that are not read may hold
        anything.
    """
    check = partial(
        check_array,
        dtype=None,
        ensure_all_finite=False,
        ensure_min_features=min_columns,
        estimator=estimator,
        input_name="X",
    )
    if nw.dependencies.is_into_dataframe(X):
        frame = nw.from_native(X, eager_only=True)
        check(np.broadcast_to(False, frame.shape))
        return frame
    if isinstance(X, list | tuple):
        # Objects keep 7 apart from "7" where rows hold both kinds.
        X = np.array(X, dtype=object)
    return check(X)


def take_columns(table, **keys):
    """Take columns of a table.

    Parameters
    ----------
    table : narwhals.DataFrame or ndarray
        From `check_table`.
    **keys : int or str
        Position or name of each column, under the name of its parameter, as in
        ``user_column=0``.

    Returns
    -------
    list of (str, ndarray of shape (n_rows,))
        What error messages call the column, and the column.
    """
    for (one, key), (other, other_key) in itertools.combinations(keys.items(), 2):
        if key == other_key:
            raise ValueError(
                f"{one} and {other} are both {key!r}, but "
                f"{one.removesuffix('_column')}s and {other.removesuffix('_column')}s "
                "must be different columns of X."
            )
    names = getattr(table, "columns", [])
    columns = []
    for parameter, key in keys.items():
        name = f"{parameter}={key!r}"
        if isinstance(key, str) and not names:
            raise ValueError(
                f"{name}, but X has no column names: pass a DataFrame, or the position "
                f"of the column as {parameter}."
            )
        if isinstance(key, str) and key not in names:
            raise ValueError(f"{name} is not among the columns of X: {names}.")
        if not isinstance(key, str) and key >= table.shape[1]:
            raise ValueError(
                f"{name} is out of range: X has {table.shape[1]} columns, counted "
                "from 0."
            )
        column = table[key] if isinstance(key, str) else table[:, key]
        columns.append((name, column.to_numpy() if names else column))
    return columns


def stored_entries(R):
    """Return the stored entries of a sparse matrix in coordinate form."""
    R = check_array(R, accept_sparse="coo", dtype=None, input_name="X")
    if R.nnz == 0:
        raise ValueError(
            f"Found sparse matrix with 0 stored entries (shape={R.shape}) while a "
            "minimum of 1 is required: every stored entry is one rating."
        )
    return R
