"""Cross-validators for ratings, and the share of unknown users and items in a split.

Pass the cross-validators wherever scikit-learn takes ``cv``. A row of X is a rating, so
they split ratings.
"""

import warnings
from collections.abc import Iterator
from numbers import Integral
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import BaseCrossValidator
from sklearn.utils import check_consistent_length, check_random_state
from sklearn.utils._param_validation import validate_parameter_constraints

from sklearn_mf._data.arguments import Interval
from sklearn_mf._data.labels import factorize, locate
from sklearn_mf._data.tables import read_columns
from sklearn_mf._typing import TableLike

__all__ = ["ColdShare", "LeaveLastOut", "RatingKFold", "TimeSplit", "cold_share"]

_COLUMN = [Interval(Integral, 0, None, closed="left"), str]


class _RatingSplitter(BaseCrossValidator):
    """Splits ratings by the content of the columns of X."""

    _parameter_constraints: dict

    def __init__(self, **parameters):
        validate_parameter_constraints(
            self._parameter_constraints, parameters, caller_name=type(self).__name__
        )
        vars(self).update(parameters)

    def split(
        self, X: TableLike, y: npt.ArrayLike | None = None, groups: object = None
    ) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]]:
        """Generate the rows of each split.

        Parameters
        ----------
        X : table of shape (n_ratings, n_features)
            One rating a row: an array, a list of lists, or a pandas or polars
            DataFrame.
        y : array-like of shape (n_ratings,) or None, default=None
            Not read; its length is checked.
        groups : object, default=None
            Ignored, with a warning if it is given.

        Returns
        -------
        generator of (ndarray of shape (n_train,), ndarray of shape (n_test,))
            Rows of X to learn from and rows to test on, each ascending.

        Raises
        ------
        ValueError
            If X lacks the columns, holds missing ids or times, or has too few ratings
            or times for the requested splits.
        """
        if groups is not None:
            warnings.warn(
                f"The groups parameter is ignored by {type(self).__name__}",
                UserWarning,
                stacklevel=2,
            )
        return self._split(X, y)

    def _split(self, X, y):
        if y is not None:
            check_consistent_length(X, y)
        for train, test in self._masks(X):
            yield np.flatnonzero(train), np.flatnonzero(test)

    def get_n_splits(
        self, X: object = None, y: object = None, groups: object = None
    ) -> int:
        """Return the number of splits.

        Parameters
        ----------
        X, y, groups : object, default=None
            Ignored.

        Returns
        -------
        int
            The number.
        """
        return self.n_splits


class RatingKFold(_RatingSplitter):
    """K folds that divide the ratings of each user evenly.

    The ratings are shuffled and stratified by user: every fold gets the same number of
    a user's ratings, or one more. So the model that is tested on a user with two or
    more ratings always knows this user, which plain `KFold` leaves to chance. Items may
    be unknown.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2.
    user_column : int or str, default=0
        Position, or name in a DataFrame, of the users in X.
    random_state : int, RandomState instance or None, default=None
        Seed of the shuffling. With an int every call of `split` gives the same folds.

    See Also
    --------
    LeaveLastOut : Tests on the last ratings of each user.
    TimeSplit : Tests on what came later.
    cold_share : The share of test ratings whose user or item is unknown.

    Notes
    -----
    The folds partition the rows, and their sizes differ by at most one. They depend on
    which rows have the same user and not on the ids themselves: ids as numbers and as
    text give the same folds.

    Examples
    --------
    >>> from sklearn.model_selection import cross_val_score
    >>> from sklearn_mf import BiasedMF
    >>> from sklearn_mf.datasets import make_ratings
    >>> from sklearn_mf.model_selection import RatingKFold
    >>> X, y = make_ratings(random_state=0)
    >>> cv = RatingKFold(3, random_state=0)
    >>> cross_val_score(BiasedMF(random_state=0), X, y, cv=cv).shape
    (3,)
    """

    _parameter_constraints = {
        "n_splits": [Interval(Integral, 2, None, closed="left")],
        "user_column": _COLUMN,
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_splits: int = 5,
        *,
        user_column: int | str = 0,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        super().__init__(
            n_splits=n_splits, user_column=user_column, random_state=random_state
        )

    def _masks(self, X):
        ((name, column),) = read_columns(X, user_column=self.user_column)
        if len(column) < self.n_splits:
            raise ValueError(
                f"n_splits={self.n_splits} is more than the {len(column)} ratings of "
                "X: lower n_splits."
            )
        labels, users = factorize(name, column)
        shuffled = check_random_state(self.random_state).permutation(len(users))
        users = users[shuffled]
        # Sort the ratings by user, the users in the order in which they first occur,
        # and assign the sorted ratings to the folds in turn.
        places = np.arange(len(users), dtype=np.int32)
        first = np.empty(len(labels), dtype=np.int32)
        first[users[::-1]] = places[::-1]  # the last assignment of a user counts
        folds = np.empty_like(places)
        folds[shuffled[np.argsort(first[users], kind="stable")]] = (
            places % self.n_splits
        )
        for fold in range(self.n_splits):
            yield folds != fold, folds == fold


class LeaveLastOut(_RatingSplitter):
    """One split that tests on the last ratings of each user.

    Parameters
    ----------
    n_last : int, default=1
        How many ratings of each user are tested on. All ratings of a user who has no
        more than these stay in training.
    user_column : int or str, default=0
        Position, or name in a DataFrame, of the users in X.
    time_column : int or str, default=2
        Position or name of the times: numbers, or dates of pandas, polars or NumPy.
        If two times are equal, the later row is the later rating.

    See Also
    --------
    TimeSplit : Never trains on ratings that are later than the tested ones.

    Notes
    -----
    The last rating of one user may come before the first of another: the model then
    knows more of the other users than it could have known at the time.

    Examples
    --------
    >>> from sklearn_mf.model_selection import LeaveLastOut
    >>> X = [["ann", "up", 3], ["ann", "heat", 1], ["bob", "up", 2]]
    >>> [(train, test)] = LeaveLastOut().split(X)
    >>> train, test
    (array([1, 2]), array([0]))
    """

    _parameter_constraints = {
        "n_last": [Interval(Integral, 1, None, closed="left")],
        "user_column": _COLUMN,
        "time_column": _COLUMN,
    }
    n_splits = 1

    def __init__(
        self,
        n_last: int = 1,
        *,
        user_column: int | str = 0,
        time_column: int | str = 2,
    ) -> None:
        super().__init__(
            n_last=n_last, user_column=user_column, time_column=time_column
        )

    def _masks(self, X):
        users, times = read_columns(
            X, user_column=self.user_column, time_column=self.time_column
        )
        _, users = factorize(*users)
        counts = np.bincount(users)
        if counts.max() <= self.n_last:
            raise ValueError(
                f"n_last={self.n_last}, but no user of X has more than {counts.max()} "
                "ratings, of which training needs one: lower n_last."
            )
        order = np.lexsort((_read_times(*times), users))
        users = users[order]
        n_later = np.cumsum(counts)[users] - np.arange(len(users)) - 1
        test = np.empty(len(users), dtype=bool)
        test[order] = (n_later < self.n_last) & (counts[users] > self.n_last)
        yield ~test, test


class TimeSplit(_RatingSplitter):
    """Windows of time: train on all earlier ratings, test on those of the window.

    Parameters
    ----------
    n_splits : int, default=5
        Number of windows to test on, at least 1. Each follows the one before, and the
        last one ends with the last rating.
    time_column : int or str, default=2
        Position, or name in a DataFrame, of the times in X: numbers, or dates of
        pandas, polars or NumPy.

    See Also
    --------
    sklearn.model_selection.TimeSeriesSplit : The same for rows that are sorted by
        time already, and whose times are all different.

    Notes
    -----
    Each window holds 1 / (n_splits + 1) of the ratings, rounded down. Ratings of equal
    time stay together, so the bounds move to the nearest change of time. The model that
    is tested on a window has learnt from all ratings strictly before it. Many users of
    a window may be new: see `cold_share`.

    Examples
    --------
    >>> from sklearn_mf.model_selection import TimeSplit
    >>> X = [[user, item, 10 * item] for item in range(3) for user in range(2)]
    >>> for train, test in TimeSplit(n_splits=2).split(X):
    ...     print(train, test)
    [0 1] [2 3]
    [0 1 2 3] [4 5]
    """

    _parameter_constraints = {
        "n_splits": [Interval(Integral, 1, None, closed="left")],
        "time_column": _COLUMN,
    }

    def __init__(self, n_splits: int = 5, *, time_column: int | str = 2) -> None:
        super().__init__(n_splits=n_splits, time_column=time_column)

    def _masks(self, X):
        ((name, column),) = read_columns(X, time_column=self.time_column)
        times = _read_times(name, column)
        earlier = np.cumsum(np.bincount(times))[:-1]  # than each time but the first
        if len(earlier) < self.n_splits:
            raise ValueError(
                f"n_splits={self.n_splits} needs {self.n_splits + 1} different times, "
                "one to learn from and one to test on for each split, but "
                f"{name} has {len(earlier) + 1}: lower n_splits."
            )
        size = len(times) // (self.n_splits + 1)
        # Number of ratings before each window, to be rounded to a change of time.
        ideal = len(times) - size * np.arange(self.n_splits, 0, -1)
        after = np.searchsorted(earlier, ideal)
        before = np.maximum(after - 1, 0)
        after = np.minimum(after, len(earlier) - 1)
        nearer = ideal - earlier[before] <= earlier[after] - ideal
        # Equal bounds would leave windows empty: they move to later changes of time, at
        # the end to earlier ones.
        each = np.arange(self.n_splits)
        cuts = np.maximum.accumulate(np.where(nearer, before, after) - each)
        cuts = cuts.clip(0, len(earlier) - self.n_splits) + each + 1
        for start, stop in zip(cuts, [*cuts[1:], len(earlier) + 1], strict=True):
            yield times < start, (times >= start) & (times < stop)


def _read_times(name, column):
    """Return the code of each time; codes are in the order of the times."""
    if column.dtype.kind in "mM":
        if np.isnat(column).any():
            raise ValueError(
                f"Input X ({name}) contains NaT: every rating needs a time. Drop the "
                "rows without one."
            )
        column = column.view(np.int64)
    times, codes = factorize(name, column)
    if isinstance(times[0], str):
        raise ValueError(
            f"{name} holds text, such as {str(times[0])!r}, which may sort in another "
            "order than time: convert it to numbers, or to dates, for example with "
            "pandas.to_datetime."
        )
    return codes


class ColdShare(NamedTuple):
    """Shares of ratings whose user, and whose item, is unknown.

    Parameters
    ----------
    users, items : float
        From 0 to 1; also attributes.
    """

    users: float
    items: float


def cold_share(
    X_train: TableLike,
    X_test: TableLike,
    *,
    user_column: int | str = 0,
    item_column: int | str = 1,
) -> ColdShare:
    """Return the shares of test ratings whose user, and whose item, is not in training.

    The model has no factors for these ids, and predicts a cold rating from the global
    mean and, in `BiasedMF`, the bias of the other id. A share of 0.2 among the users
    thus means that a fifth of the test ratings says nothing about what the factors have
    learnt of users. Shuffled folds have few cold ratings. In folds cut from a file that
    is sorted by user, as ``cv=5`` does, nearly all are cold, and the error that is
    measured is that for new users. It is the right one only if the model is to serve
    new users.

    Parameters
    ----------
    X_train, X_test : tables of shape (n_ratings, n_features)
        One rating a row: ``X[train]`` and ``X[test]`` of a split.
    user_column, item_column : int or str, default=0 and 1
        Position, or name in a DataFrame, of the columns of both.

    Returns
    -------
    ColdShare
        ``users`` and ``items``: from 0 (all are known) to 1 (none is).

    Raises
    ------
    ValueError
        If the tables lack the columns, or have ids of different kinds.

    Examples
    --------
    >>> from sklearn_mf.model_selection import cold_share
    >>> X_train = [["ann", "up"], ["bob", "heat"]]
    >>> X_test = [["ann", "heat"], ["ann", "alien"], ["cat", "up"], ["cat", "heat"]]
    >>> cold_share(X_train, X_test)
    ColdShare(users=0.5, items=0.25)
    """
    columns = {"user_column": user_column, "item_column": item_column}
    validate_parameter_constraints(
        dict.fromkeys(columns, _COLUMN), columns, caller_name="cold_share"
    )
    train, test = (read_columns(X, **columns) for X in (X_train, X_test))
    shares = []
    for (name, known), (_, column) in zip(train, test, strict=True):
        labels, codes = factorize(name, column)
        unknown = locate(name, labels, factorize(name, known)[0]) < 0
        shares.append(float(unknown[codes].mean()))
    return ColdShare(*shares)
