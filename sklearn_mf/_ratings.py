"""From user input to ratings and pairs: the only reader of X, y and sample_weight.

X, y ──columns──▶ labels and codes ──merge, sort──▶ Ratings (by user, by item)
"""

import itertools
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import narwhals.stable.v2 as nw  # comes with scikit-learn, as joblib does
import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.utils import check_array, check_consistent_length
from sklearn.utils.validation import (
    _check_sample_weight,
    column_or_1d,
    validate_data,
)

from sklearn_mf._labels import cast_exactly, factorize, locate, merge
from sklearn_mf._typing import SparseMatrix, TableLike

FLOATS = (np.float64, np.float32)


class ColdStartWarning(UserWarning):
    """Most of the users to be scored are unknown to the model.

    `score` warns when more than half of the distinct users of X were not seen in
    fit: usually a sign of folds cut from a file that is sorted by user.
    """


# ----------------------------------------------------------------------------- ratings


class Side(NamedTuple):
    """The ratings of one side, sorted by its ids: compressed sparse rows.

    Kernels take it whole.

    Attributes
    ----------
    indptr : int64 ndarray of shape (n_rows + 1,)
        The ratings of row u stand at ``indptr[u]`` to ``indptr[u + 1]``.
    indices : int32 ndarray of shape (n_ratings,)
        Code of the other id of each rating, ascending within a row.
    ratings : ndarray of shape (n_ratings,), float32 or float64
        The ratings.
    weights : ndarray of shape (n_ratings,) of the same dtype, or None
        Their weights; None stands for ones.
    """

    indptr: np.ndarray
    indices: np.ndarray
    ratings: np.ndarray
    weights: np.ndarray | None

    def counts(self):
        """Give the number of ratings of each row, int64 of shape (n_rows,)."""
        return np.diff(self.indptr)

    def without_empty_rows(self):
        """Give the side without the rows that have no rating, and which are left."""
        rows = np.flatnonzero(self.counts())
        ends = np.append(self.indptr[rows], self.indptr[-1])
        return self._replace(indptr=ends), rows

    def strengths(self):
        """Give the sum of weights of each row, float64 of shape (n_rows,)."""
        if self.weights is None:
            return self.counts().astype(np.float64)
        rows = np.repeat(np.arange(len(self.indptr) - 1), self.counts())
        return np.bincount(rows, self.weights, minlength=len(self.indptr) - 1)


@dataclass(frozen=True)
class Ratings:
    """What a solver learns from: each pair once, sorted by user and by item.

    Attributes
    ----------
    users, items : ndarrays of shape (n_users,) and (n_items,)
        The labels, sorted.
    by_user, by_item : Side
        The same ratings, sorted either way.
    """

    users: np.ndarray
    items: np.ndarray
    by_user: Side
    by_item: Side

    @property
    def dtype(self):
        """Float type of the ratings, and of all that is learnt from them."""
        return self.by_user.ratings.dtype

    def mean(self, unobserved_weight=0.0):
        """Give the weighted mean of the ratings, a float.

        Pairs without a rating count as zeros of weight `unobserved_weight`.
        """
        side = self.by_user
        ratings = side.ratings.astype(np.float64)
        mean, weight = np.average(ratings, weights=side.weights, returned=True)
        n_unobserved = len(self.users) * len(self.items) - len(ratings)
        return float(mean * (weight / (weight + unobserved_weight * n_unobserved)))

    def range(self):
        """Give the smallest and the largest rating, two floats."""
        return float(self.by_user.ratings.min()), float(self.by_user.ratings.max())

    def join(self, users, items, ratings):
        """Give these ratings and others, but for the others of the same pairs.

        Parameters
        ----------
        users, items : int ndarrays of shape (n_others,)
            Codes of the others, each pair once.
        ratings : ndarray of shape (n_others,)
            The others. All come without weights.

        Returns
        -------
        Ratings
        """
        shape, side = (len(self.users), len(self.items)), self.by_user
        own = np.repeat(np.arange(shape[0]), side.counts()), side.indices
        pairs = (np.ravel_multi_index(codes, shape) for codes in ((users, items), own))
        kept = np.isin(*pairs, invert=True)
        by_user, by_item = _sort_both_ways(
            np.append(users[kept], own[0]),
            np.append(items[kept], own[1]),
            np.append(ratings[kept], side.ratings),
            None,
            shape,
        )
        return Ratings(self.users, self.items, by_user, by_item)


@dataclass(frozen=True)
class Pairs:
    """Pairs to be scored.

    Attributes
    ----------
    users, items : int32 ndarrays of shape (n_pairs,)
        Codes; -1 for an unseen id.
    cold_share : float
        Share of the distinct users that are unseen.
    """

    users: np.ndarray
    items: np.ndarray
    cold_share: float


def read_ratings(estimator, X, y, sample_weight, *, known=None, dtype=None):
    """Read the input of fit.

    Parameters
    ----------
    estimator : BaseFactorizer
        Gives the columns; its `n_features_in_` and `feature_names_in_` are set.
    X, y, sample_weight
        As in `BaseFactorizer.fit`.
    known : (ndarray, ndarray) or None
        Labels of the users and items of a fit to go on from, which are joined by the
        new ones. None: X is the first table that the estimator sees.
    dtype : dtype or None
        Float type of the ratings; None leaves it to y.

    Returns
    -------
    Ratings
    """
    if sparse.issparse(X):
        return _read_matrix(estimator, X, y, sample_weight, known, dtype)
    table = _check_table(X, estimator, min_columns=1 if known else 2)
    if not known or getattr(estimator, "n_features_in_", None):
        validate_data(estimator, X, y, reset=not known, skip_check_array=True)
    user_column, item_column = _take_columns(
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
            user_column, item_column = (
                (name, column[kept]) for name, column in (user_column, item_column)
            )
            y, sample_weight = y[kept], sample_weight[kept]
    names = user_column[0], item_column[0]
    users, user_codes = factorize(*user_column)
    items, item_codes = factorize(*item_column)
    return _make_ratings(
        names, users, items, user_codes, item_codes, y, sample_weight, known
    )


def _make_ratings(names, users, items, user_codes, item_codes, y, weights, known):
    """Join the labels with those known, and sort and merge the ratings."""
    if known:
        users, codes = merge(names[0], known[0], users)
        user_codes = codes[user_codes]
        items, codes = merge(names[1], known[1], items)
        item_codes = codes[item_codes]
    shape = len(users), len(items)
    by_user, by_item = _sort_both_ways(user_codes, item_codes, y, weights, shape)
    return Ratings(users, items, by_user, by_item)


def _read_matrix(estimator, R, y, sample_weight, known, dtype):
    """Read the input of fit when it is a sparse matrix alone."""
    for name, value in (("y", y), ("sample_weight", sample_weight)):
        if value is not None:
            raise ValueError(
                f"{name} must be None when X is a sparse matrix, whose stored entries "
                f"are the ratings already. To pass {name}, convert X to pairs first: "
                "X, y = sklearn_mf.as_pairs(X)."
            )
    R = _stored_entries(R)
    if not known:
        for name in ("n_features_in_", "feature_names_in_"):
            vars(estimator).pop(name, None)
    labels = np.arange(R.shape[0]), np.arange(R.shape[1])
    y = read_targets(R.data, dtype)
    return _make_ratings(("rows", "columns"), *labels, R.row, R.col, y, None, known)


@dataclass(frozen=True)
class HeldOut:
    """Ratings that are kept from the solver, to be scored.

    Attributes
    ----------
    users, items : int32 ndarrays of shape (n_held_out,)
        Codes.
    ratings, weights : ndarrays of shape (n_held_out,); weights may be None
        The ratings and their weights.
    """

    users: np.ndarray
    items: np.ndarray
    ratings: np.ndarray
    weights: np.ndarray | None


def hold_out(ratings, fraction, rng):
    """Take some ratings out at random, so that no user or item loses its last one.

    Parameters
    ----------
    ratings : Ratings
        The ratings.
    fraction : float
        Share of the ratings to be taken out.
    rng : RandomState
        Source of the choice.

    Returns
    -------
    Ratings
        The others.
    HeldOut or None
        What was taken; None if no rating can be spared by both its user and its item.
    """
    side = ratings.by_user
    users = np.repeat(np.arange(len(ratings.users), dtype=np.int32), side.counts())
    order = rng.permutation(len(users))
    # The last rating of each id in this order is kept.
    spare = np.ones(len(order), dtype=bool)
    for codes in (users, side.indices):
        last = np.full(codes.max() + 1, -1)
        np.maximum.at(last, codes[order], np.arange(len(order)))
        spare[last[last >= 0]] = False
    taken = order[spare][: max(1, round(fraction * len(order)))]
    if len(taken) == 0:
        return ratings, None
    mask = np.zeros(len(order), dtype=bool)
    mask[taken] = True

    def part(mask):
        weights = None if side.weights is None else side.weights[mask]
        return users[mask], side.indices[mask], side.ratings[mask], weights

    shape = len(ratings.users), len(ratings.items)
    by_user, by_item = _sort_both_ways(*part(~mask), shape)
    kept = Ratings(ratings.users, ratings.items, by_user, by_item)
    return kept, HeldOut(*part(mask))


def join_patterns(shape, *patterns):
    """Join lists of pairs, as tuples of users and items, to one pattern.

    Returns
    -------
    indptr, indices : int64 and int32 ndarrays
        Which items belong to each user: compressed sparse rows, ascending.
    """
    users, items = (np.concatenate(codes) for codes in zip(*patterns, strict=True))
    pattern = sparse.csr_array((np.ones(len(users), np.int8), (users, items)), shape)
    pattern.sum_duplicates()
    return pattern.indptr.astype(np.int64), pattern.indices.astype(np.int32, copy=False)


def read_pairs(estimator, X, users, items):
    """Read the input of predict, score and transform.

    Parameters
    ----------
    estimator : BaseFactorizer
        Gives the columns, and what X must look like.
    X : table of shape (n_pairs, n_features)
        As in `BaseFactorizer.predict`.
    users, items : ndarrays
        The labels known to the model.

    Returns
    -------
    Pairs
    """
    _refuse_matrix(X)
    table = _check_table(X, estimator, min_columns=1)
    if getattr(estimator, "n_features_in_", None):  # a fit on a matrix saw no columns
        validate_data(estimator, X, reset=False, skip_check_array=True)
    codes, cold_shares = [], []
    columns = _take_columns(
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


def _sort_both_ways(users, items, ratings, weights, shape):
    """Sort ratings by user and by item; merge the repeated pairs.

    Sparse matrices do the sorting: a change of format is a stable counting sort.
    """
    # SciPy takes indices as wide as the widest part: half the memory where int32 does.
    index = np.int32 if len(ratings) < 2**31 else np.int64

    def by_user(values):
        # One row a rating: its transposition sorts the ratings by item.
        rows = np.arange(len(values) + 1, dtype=index)
        single = sparse.csr_array(
            (values, items, rows), shape=(len(values), shape[1])
        ).tocsc()
        return sparse.csc_array(
            (single.data, users[single.indices], single.indptr), shape=shape
        ).tocsr()

    R = by_user(ratings)
    W = None if weights is None else by_user(weights)
    if not R.has_canonical_format:
        # Weights are added, ratings averaged. Summed in an order of their own, the
        # ratings of a pair give the same mean whatever the order of the rows.
        if weights is None:
            weights = np.ones_like(ratings)
        order = np.lexsort((weights, ratings))
        users, items = users[order], items[order]
        ratings, weights = ratings[order], weights[order]
        R, W = by_user(ratings * weights), by_user(weights)
        R.sum_duplicates()
        W.sum_duplicates()
        R.data /= W.data
    return _side(R, W), _side(R.tocsc(), None if W is None else W.tocsc())


def _side(R, W):
    return Side(
        indptr=R.indptr.astype(np.int64),
        indices=R.indices.astype(np.int32, copy=False),
        ratings=R.data,
        weights=None if W is None else W.data,
    )


# ----------------------------------------------------------------------------- columns


def read_columns(X, **keys):
    """Read columns of a table of ratings.

    Parameters
    ----------
    X : table of shape (n_ratings, n_features)
        As in `BaseFactorizer.predict`.
    **keys : int or str
        See `_take_columns`.

    Returns
    -------
    list of (str, ndarray of shape (n_ratings,))
        See `_take_columns`.
    """
    _refuse_matrix(X)
    return _take_columns(_check_table(X, min_columns=1), **keys)


def _refuse_matrix(X):
    if sparse.issparse(X):
        raise ValueError(
            "X is a sparse matrix, but a row of X is one (user, item) pair here: "
            "convert it first: X, y = sklearn_mf.as_pairs(X)."
        )


def _check_table(X, estimator=None, *, min_columns=2):
    """Check the shape of a table of pairs.

    Returns
    -------
    narwhals.DataFrame or ndarray of two dimensions
        The table. Its values are not checked: columns that nobody reads may hold
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


def _take_columns(table, **keys):
    """Take columns of a table.

    Parameters
    ----------
    table : narwhals.DataFrame or ndarray
        From `_check_table`.
    **keys : int or str
        Position or name of each column, under the name of the parameter that gives
        it, as in ``user_column=0``.

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
                "stand in two columns of X."
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


# ---------------------------------------------------------------------------- matrices


def as_pairs(
    R: SparseMatrix,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.floating]]:
    """Turn a sparse rating matrix into a table of pairs.

    Every method of the estimators but fit, and every splitter of scikit-learn, wants
    ratings as rows.

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
    as_matrix : The way back.

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
    entries = _stored_entries(R)
    X = np.column_stack([entries.row, entries.col]).astype(np.int64, copy=False)
    return X, read_targets(entries.data)


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
        One rating a row. Its user and item columns hold non-negative integers, which
        become the row and the column.
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
        If an id is no non-negative integer below its limit in `shape`, or for input
        that fit would not take either.

    See Also
    --------
    as_pairs : The way back.

    Examples
    --------
    >>> from sklearn_mf import as_matrix
    >>> as_matrix([[0, 0], [1, 0], [1, 1]], [5.0, 3.0, 1.0]).toarray()
    array([[5., 0.],
           [3., 1.]])
    """
    table = _check_table(X)
    columns = _take_columns(table, user_column=user_column, item_column=item_column)
    y = read_targets(y)
    check_consistent_length(table, y)
    positions, limits = [], []
    for axis, (name, column) in enumerate(columns):
        labels, codes = factorize(name, column)
        if labels.dtype.kind not in "iuf":
            raise ValueError(_NO_POSITIONS.format(name=name, label=labels.tolist()[0]))
        rows, exact = cast_exactly(labels, np.int64)
        if not exact.all() or rows[0] < 0:
            wrong = labels[~exact | (rows < 0)]
            raise ValueError(_NO_POSITIONS.format(name=name, label=wrong.tolist()[0]))
        limit = int(rows[-1]) + 1 if shape is None else shape[axis]
        if rows[-1] >= limit:
            raise ValueError(
                f"{name}: id {rows[-1]} lies outside of shape={shape}: pass a larger "
                "shape, or shape=None."
            )
        positions.append(rows[codes])
        limits.append(limit)
    users, items = positions
    by_user, _ = _sort_both_ways(users, items, y, None, tuple(limits))
    return sparse.csr_array(
        (by_user.ratings, by_user.indices, by_user.indptr), shape=limits
    )


def _stored_entries(R):
    """Give the stored entries of a sparse matrix in coordinate form."""
    R = check_array(R, accept_sparse="coo", dtype=None, input_name="X")
    if R.nnz == 0:
        raise ValueError(
            f"Found sparse matrix with 0 stored entries (shape={R.shape}) while a "
            "minimum of 1 is required: every stored entry is one rating."
        )
    return R
