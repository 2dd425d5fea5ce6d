"""The only readers of X, y and sample_weight: from input to ratings and pairs.

X, y ──columns──▶ labels and codes ──merge, sort──▶ Ratings (by user, by item)
"""

import itertools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import narwhals.stable.v2 as nw  # comes with scikit-learn, as joblib does
import numpy as np
from scipy import sparse
from sklearn.utils import check_array, check_consistent_length, get_tags
from sklearn.utils.validation import (
    _check_sample_weight,
    column_or_1d,
    validate_data,
)

from sklearn_mf._data.labels import as_objects, factorize, locate, merge
from sklearn_mf._data.ratings import Pairs, Ratings, sort_both_ways
from sklearn_mf._runtime.threads import count_threads

FLOATS = (np.float64, np.float32)


def read_ratings(
    estimator,
    X,
    y,
    sample_weight,
    *,
    known=None,
    dtype=None,
    interactions=False,
    classes=None,
):
    """Read the input of fit.

    Parameters
    ----------
    estimator : BaseFactorizer
        Its parameters say which columns to read. Without `known`, its attributes
        `n_features_in_` and `feature_names_in_` are set.
    X, y, sample_weight
        As in `BaseFactorizer.fit`. An estimator whose tags do not require y may be
        given None, which stands for ones.
    known : (ndarray, ndarray) or None
        Labels of the users and items of an earlier fit, to which those of X are added.
        None: X is the first table that the estimator sees.
    dtype : dtype or None
        Float type of the ratings; None leaves it to y.
    interactions : bool
        Whether y holds confidences, by which weights are multiplied, in place of
        ratings, which are then all 1; None stands for ones.
    classes : TwoClasses or None
        Reads y, where it holds labels of classes in place of ratings.

    Returns
    -------
    Ratings
    """
    n_threads = count_threads(getattr(estimator, "n_jobs", None))
    if sparse.issparse(X):
        rest = known, dtype, interactions, classes, n_threads
        return _read_matrix(X, y, sample_weight, *rest)
    table = check_table(X, estimator, min_columns=1 if known else 2)
    if y is None:
        if get_tags(estimator).target_tags.required:
            _ask_for_ratings(estimator, table)
        y = np.ones(table.shape[0])
    if not known or getattr(estimator, "n_features_in_", None):
        _check_names(estimator, X, table, reset=not known)
    keys = {
        "user_column": estimator.user_column,
        "item_column": estimator.item_column,
    }
    columns = take_columns(table, **keys)
    if not known or not hasattr(estimator, "feature_names_in_"):
        _warn_of_other_columns(table, keys)
    y = read_targets(y, dtype) if classes is None else classes.read(y, dtype)
    check_consistent_length(table, y)
    if sample_weight is not None:
        sample_weight = read_weights(sample_weight, y, ensure_non_negative=True)
    if interactions:
        y, sample_weight = np.ones_like(y), weigh_interactions(y, sample_weight)
    if classes is not None:
        y, sample_weight = classes.encode(y, sample_weight)
    if sample_weight is not None and not sample_weight.all():
        kept = np.flatnonzero(sample_weight)
        columns = [(name, column[kept]) for name, column in columns]
        y, sample_weight = y[kept], sample_weight[kept]
    sides = [(name, *factorize(name, column, n_threads)) for name, column in columns]
    return _make_ratings(sides, y, sample_weight, known, n_threads)


def weigh_interactions(y, weights):
    """Return the weights of interactions: their confidences y, times weights or 1.

    Interactions of weight 0 are as if they were not there. None stands for ones.
    """
    if y.min() < 0:
        raise ValueError(
            f"y holds the confidence of each interaction, 0 or more, got {y.min():g}: "
            "leave such rows out, or pass y=None, which weighs all rows the same."
        )
    if weights is None and (y == 1).all():
        return None
    with np.errstate(over="ignore", under="ignore"):
        weights = y if weights is None else y * weights
        total = weights.sum()
    if not np.isfinite(total):
        raise ValueError(
            "y: the sum of the confidences, times sample_weight, overflows: scale y "
            "down, which does not change the result."
        )
    if total == 0:
        raise ValueError(
            "y: the confidence of every interaction is 0, which leaves nothing to "
            "learn from: pass y=None, which weighs all rows the same."
        )
    return weights


def _ask_for_ratings(estimator, table):
    """Raise an error where fit is given a table alone."""
    raise ValueError(
        f"This {type(estimator).__name__} estimator requires y to be passed, but the "
        f"target y is None. A row of X, whose shape is {table.shape}, is one rating: "
        "its user and its item, while y holds the ratings. If X is a matrix of users "
        "by items, keep the pairs that were rated: X, y = sklearn_mf.as_pairs(R) of a "
        "scipy.sparse matrix R, or X = np.argwhere(mask), y = R[mask] of an array."
    )


def _warn_of_other_columns(table, keys):
    """Warn where the names of a DataFrame say that other columns are meant."""
    lowered = [name.lower() if isinstance(name, str) else "" for name in table.names]
    for parameter, key in keys.items():
        side = parameter.removesuffix("_column")
        if isinstance(key, str) or not lowered or side in lowered[key]:
            continue
        for other in (side, f"{side}id", f"{side}_id"):
            if other in lowered:
                place = lowered.index(other)
                warnings.warn(
                    f"{parameter}={key} reads the {side}s from the column "
                    f"{table.names[key]!r} of X, which also has a column "
                    f"{table.names[place]!r}: if that one is meant, set "
                    f"{parameter}={table.names[place]!r}.",
                    UserWarning,
                    stacklevel=2,
                )
                break


def _make_ratings(sides, y, weights, known, n_threads):
    """Add the labels of X to the known ones, and sort and merge the ratings.

    `sides` holds, of the users and of the items, the name of the column, the labels and
    the code of each rating. It is emptied, so that the memory of the codes is free.
    """
    all_labels, all_codes = [], []
    for k in range(2):
        name, labels, codes = sides.pop(0)
        if known:
            labels, places = merge(name, known[k], labels)
            codes = places[codes]
        all_labels.append(labels)
        all_codes.append(codes)
        del codes
    shape = tuple(map(len, all_labels))
    by_user, by_item = sort_both_ways(all_codes, y, weights, shape, n_threads)
    return Ratings(*all_labels, by_user, by_item)


def _read_matrix(R, y, sample_weight, known, dtype, interactions, classes, n_threads):
    """Read the input of fit when it is a sparse matrix alone."""
    for name, value in (("y", y), ("sample_weight", sample_weight)):
        if value is not None:
            raise ValueError(
                f"{name} must be None when X is a sparse matrix, whose stored entries "
                f"are the ratings already. To pass {name}, convert X to pairs first: "
                "X, y = sklearn_mf.as_pairs(X)."
            )
    R = stored_entries(R)
    codes, weights = (R.row, R.col), None
    if classes is None:
        ratings = read_targets(R.data, dtype)
    else:
        ratings, weights = classes.encode(classes.read(R.data, dtype), None)
    if interactions:
        weights = weigh_interactions(ratings, None)
        ratings = np.ones_like(ratings)
    if weights is not None:
        kept = np.flatnonzero(weights)
        ratings, weights = ratings[kept], weights[kept]
        codes = [code[kept] for code in codes]
    sides = [
        (name, np.arange(n_labels), code)
        for name, n_labels, code in zip(
            ("rows", "columns"), R.shape, codes, strict=True
        )
    ]
    return _make_ratings(sides, ratings, weights, known, n_threads)


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
    refuse_matrix(X)
    table = check_table(X, estimator, min_columns=1)
    if getattr(estimator, "n_features_in_", None):  # a fit on a matrix saw no columns
        _check_names(estimator, X, table, reset=False)
    n_threads = count_threads(getattr(estimator, "n_jobs", None))
    codes, cold_shares = [], []
    keys = {
        "user_column": estimator.user_column,
        "item_column": estimator.item_column,
    }
    columns = take_columns(table, **keys)
    if not hasattr(
        estimator, "feature_names_in_"
    ):  # or else the names are those of fit
        _warn_of_other_columns(table, keys)
    for (name, column), labels in zip(columns, (users, items), strict=True):
        distinct, distinct_codes = factorize(name, column, n_threads)
        known = locate(name, distinct, labels)
        codes.append(known[distinct_codes])
        cold_shares.append(float(np.mean(known < 0)))
    return Pairs(*codes, cold_share=cold_shares[0])


def _check_names(estimator, X, table, *, reset):
    """Check, or with `reset` remember, how many columns X has and of which names."""
    if len(set(table.names)) < len(table.names):
        # scikit-learn refuses names that occur twice, also of what nobody reads.
        X = np.broadcast_to(False, table.shape)
    validate_data(estimator, X, reset=reset, skip_check_array=True)


def read_ids(name, ids, labels, *, skip_masked=False):
    """Read a list of ids.

    Parameters
    ----------
    name : str
        What error messages call the ids.
    ids : array-like of shape (n_ids,)
        The ids, of one kind.
    labels : ndarray
        The labels known to the model.
    skip_masked : bool, default=False
        Whether masked ids are left out. Otherwise they are an error.

    Returns
    -------
    int32 ndarray of shape (n_ids,)
        Their codes; -1 for an unseen id.
    """
    if not skip_masked:
        refuse_masked(name, ids, remedy=f"pass {name}.compressed()")
    elif np.ma.isMaskedArray(ids) and ids.ndim == 1:
        ids = ids.compressed()
    column = read_id_column(name, ids)
    if len(column) == 0:
        return np.empty(0, dtype=np.int32)
    distinct, codes = factorize(name, column)
    return locate(name, distinct, labels)[codes]


def read_id_column(name, ids):
    """Return a list of ids as an array that holds the same values."""
    if nw.dependencies.is_into_series(ids):
        column = _to_array(nw.from_native(ids, series_only=True))
    elif isinstance(ids, Sequence) and not isinstance(ids, _TEXT):
        column = as_objects(ids)  # which keep 7 apart from "7"
    elif hasattr(ids, "__array__"):
        column = np.asarray(ids)
    else:
        raise ValueError(
            f"{name} must be a list of ids, got {show_value(ids)}: for one id pass "
            f"[{show_value(ids)}], of another collection list({name})."
        )
    if column.ndim != 1:
        raise ValueError(
            f"{name} must be a list of ids, of one dimension, got {show_value(ids)}: "
            f"for one id pass [id], for all ids of an array its ravel()."
        )
    return column


def show_value(value):
    """Return what error messages show of a value."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


_TEXT = str, bytes, bytearray


def refuse_masked(name, array, remedy=None):
    """Raise an error where entries of a masked array are masked."""
    if np.ma.is_masked(array):
        remedy = remedy or "leave those rows out, see numpy.ma.getmaskarray"
        raise ValueError(
            f"{name}: entries of a masked array are masked, "
            f"{np.ma.count_masked(array)} of {np.size(array)}: {remedy}."
        )


def _refuse_dask(name, value):
    """Raise an error where a table is a collection of Dask."""
    if type(value).__module__.partition(".")[0] == "dask":
        raise ValueError(
            f"{name} is a collection of Dask, whose rows are not there yet: use the "
            f"estimators of sklearn_mf.dask, or pass {name}.compute()."
        )


def _as_numbers(name, values, kinds):
    """Return values as an array of one of some kinds, or raise an error.

    NaN and infinity are left to scikit-learn.
    """
    refuse_masked(name, values)
    _refuse_dask(name, values)
    try:
        if nw.dependencies.is_into_series(values):
            array = _to_array(nw.from_native(values, series_only=True))
        else:
            array = np.asarray(values)
        if array.dtype.kind in "OSUT":
            array = array.astype(np.float64)
    except Exception:  # of many kinds, from NumPy, pandas or polars
        array = None
    if array is None or array.dtype.kind not in kinds:
        raise ValueError(
            f"{name} must hold numbers, one for each row of X, got "
            f"{show_value(values)}."
        )
    return array


def _to_array(series):
    """Return a column of a DataFrame as an array that holds the same values."""
    kind = series.dtype
    if kind.is_temporal() or kind.is_float() or kind in _NATIVE:
        return series.to_numpy()
    # Objects, since arrays would cut texts and narrow large integers.
    return as_objects(series.to_list())


_NATIVE = (
    *(nw.Int8, nw.Int16, nw.Int32, nw.Int64),
    *(nw.UInt8, nw.UInt16, nw.UInt32, nw.UInt64, nw.Boolean),
)


def read_targets(y, dtype=None):
    """Validate y: one dimension, finite, float32 if it was, else float64."""
    y = column_or_1d(_as_numbers("y", y, "biufc"), warn=True)
    return check_array(y, ensure_2d=False, dtype=dtype or FLOATS, input_name="y")


def read_weights(sample_weight, y, **options):
    """Validate the weights of ratings `y`; `options` are scikit-learn's."""
    weights = _as_numbers("sample_weight", sample_weight, "biuf")
    if weights.size == 0 or weights.ndim > 2:
        raise ValueError(
            "sample_weight must hold numbers, one for each row of X, got an array of "
            f"shape {weights.shape}."
        )
    if weights.ndim == 0:
        weights = weights.item()  # the same for all
    return _check_sample_weight(weights, y, dtype=y.dtype, **options)


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
    refuse_matrix(X)
    return take_columns(check_table(X, min_columns=1), **keys)


def refuse_matrix(X):
    if sparse.issparse(X):
        raise ValueError(
            "X is a sparse matrix, but a row of X is one (user, item) pair here: "
            "convert it first: X, y = sklearn_mf.as_pairs(X)."
        )


@dataclass(frozen=True)
class PairTable:
    """A table of pairs, whose values are not checked.

    Attributes
    ----------
    values : narwhals.DataFrame or ndarray of two dimensions
        The values.
    names : list
        Names of its columns; empty for an array.
    """

    values: nw.DataFrame | np.ndarray
    names: list

    @property
    def shape(self):
        """Return the numbers of rows and columns."""
        return self.values.shape

    def column(self, place):
        """Return the values of a column."""
        column = self.values[:, place]
        return _to_array(column) if isinstance(column, nw.Series) else column


def check_table(X, estimator=None, *, min_columns=2):
    """Check the shape of a table of pairs.

    Returns
    -------
    PairTable
        Columns that are not read may hold anything.
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
        if nw.dependencies.is_pandas_dataframe(X):
            # Names may be of any kind here, and occur twice.
            names, X = list(X.columns), X.set_axis(range(X.shape[1]), axis=1)
        frame = nw.from_native(X, eager_only=True)
        if not nw.dependencies.is_pandas_dataframe(X):
            names = frame.columns
        check(np.broadcast_to(False, frame.shape))
        return PairTable(frame, names)
    _refuse_dask("X", X)
    if isinstance(nw.from_native(X, pass_through=True), nw.LazyFrame):
        raise ValueError(
            f"X is a {type(X).__name__}, whose rows are not there yet: pass "
            "X.collect()."
        )
    if np.ma.isMaskedArray(X):
        check(np.broadcast_to(False, X.shape))
        return PairTable(X, [])
    if isinstance(X, list | tuple):
        X = _join_rows(X)
    return PairTable(check(X), [])


def _join_rows(rows):
    """Make an array of a list of rows."""
    if not rows or not all(map(_is_row, rows)):
        return as_objects(rows)  # of one dimension, which is refused
    lengths = set(map(len, rows))
    if len(lengths) > 1:
        raise ValueError(
            f"X: its rows must all have the same number of columns, got rows of "
            f"{min(lengths)} and of {max(lengths)}."
        )
    # Objects keep 7 apart from "7" where rows hold both kinds.
    return as_objects(list(itertools.chain.from_iterable(rows))).reshape(len(rows), -1)


def _is_row(row):
    return hasattr(row, "__len__") and not isinstance(row, (*_TEXT, dict, set))


def take_columns(table, **keys):
    """Take columns of a table.

    Parameters
    ----------
    table : PairTable
        From `check_table`.
    **keys : int or str
        Position or name of each column, under the name of its parameter, as in
        ``user_column=0``.

    Returns
    -------
    list of (str, ndarray of shape (n_rows,))
        What error messages call the column, and the column.
    """
    places = {name: _find_column(table, name, key) for name, key in keys.items()}
    for (one, place), (other, other_place) in itertools.combinations(places.items(), 2):
        if place == other_place:
            both = f"{one} and {other} are both {keys[one]!r}"
            if keys[one] != keys[other]:
                both = (
                    f"{one}={keys[one]!r} and {other}={keys[other]!r} are the same "
                    "column of X"
                )
            raise ValueError(
                f"{both}, but {one.removesuffix('_column')}s and "
                f"{other.removesuffix('_column')}s must be different columns of X: set "
                "both."
            )
    columns = []
    for parameter, place in places.items():
        name = f"{parameter}={keys[parameter]!r}"
        column = table.column(place)
        refuse_masked(f"X ({name})", column)
        columns.append((name, np.asarray(column)))
    return columns


def _find_column(table, parameter, key):
    """Return the position of a column."""
    name = f"{parameter}={key!r}"
    if not isinstance(key, str):
        if key >= table.shape[1]:
            raise ValueError(
                f"{name} is out of range: X has {table.shape[1]} columns, counted "
                "from 0."
            )
        return int(key)
    if not table.names:
        raise ValueError(
            f"{name}, but X has no column names: pass a DataFrame, or the position "
            f"of the column as {parameter}."
        )
    n_found = table.names.count(key)
    if n_found == 0:
        raise ValueError(f"{name} is not among the columns of X: {table.names}.")
    if n_found > 1:
        raise ValueError(
            f"{name} is the name of {n_found} columns of X: pass the position of the "
            f"one to be read as {parameter}, or rename the others."
        )
    return table.names.index(key)


def stored_entries(R):
    """Return the stored entries of a sparse matrix in coordinate form."""
    if R.ndim != 2:
        raise ValueError(
            f"A sparse matrix of ratings has two dimensions, users and items, got one "
            f"of shape {R.shape}."
        )
    R = check_array(R, accept_sparse="coo", dtype=None, input_name="X")
    if R.nnz == 0:
        raise ValueError(
            f"Found sparse matrix with 0 stored entries (shape={R.shape}) while a "
            "minimum of 1 is required: every stored entry is one rating."
        )
    return R
