"""Cross-validators for ratings, and the share of unknown users and items in a split.

Pass the cross-validators wherever scikit-learn takes ``cv``. A row of X is a rating, so
they split ratings.
"""

import bisect
import warnings
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from numbers import Integral, Real
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

__all__ = [
    "ColdShare",
    "GlobalTimeSplit",
    "LeaveLastOut",
    "RatingKFold",
    "StrongGeneralization",
    "TimeSplit",
    "cold_share",
]

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
            One rating in each row: an array, a list of lists, or a pandas or polars
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
    StrongGeneralization : Tests on users whom the model does not know.
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


class StrongGeneralization(_RatingSplitter):
    """Folds of whole users: the model knows none of those that it is tested on.

    A system in use serves many users who were not there when its model was fitted. To
    measure how well it does so, all ratings of some users are held out [1]_. A part of
    each one's ratings then tells the fitted model who the user is, and the items are
    ranked against the others. Both parts are in the test rows that this splitter
    yields; the scorer divides them: pass ``make_ranking_scorer(..., fold_in=0.8)`` of
    `sklearn_mf.metrics` as ``scoring``.

    Parameters
    ----------
    n_splits : int, default=5
        Number of splits.
    test_size : float, int or None, default=None
        How many users each split holds out: a share between 0 and 1, or a number. Each
        split then draws its own users. None: the users are divided into
        `n_splits` folds, at least 2, and each is held out once.
    user_column : int or str, default=0
        Position, or name in a DataFrame, of the users in X.
    random_state : int, RandomState instance or None, default=None
        Seed of the shuffling. With an int every call of `split` gives the same splits.

    See Also
    --------
    sklearn_mf.metrics.make_ranking_scorer : Folds users in, and judges their rankings.
    RatingKFold : Divides the ratings of each user, so that all users are known.

    Notes
    -----
    The splits depend on which rows have the same user and not on the ids themselves:
    ids as numbers and as text give the same splits.

    References
    ----------
    .. [1] D. Liang, R. G. Krishnan, M. D. Hoffman and T. Jebara, "Variational
       autoencoders for collaborative filtering", WWW 2018, section 4.

    Examples
    --------
    >>> from sklearn.model_selection import cross_val_score
    >>> from sklearn_mf import ALSFactorizer
    >>> from sklearn_mf.datasets import make_interactions
    >>> from sklearn_mf.metrics import make_ranking_scorer
    >>> from sklearn_mf.model_selection import StrongGeneralization
    >>> X, y = make_interactions(random_state=0)
    >>> model = ALSFactorizer(
    ...     unobserved_weight=0.3, fit_intercept=False, random_state=0
    ... )
    >>> scores = cross_val_score(
    ...     model,
    ...     X,
    ...     y > 0,  # whether they met, not how often
    ...     cv=StrongGeneralization(3, random_state=0),
    ...     scoring=make_ranking_scorer("ndcg", fold_in=0.8),
    ... )
    >>> scores.shape
    (3,)
    """

    _parameter_constraints = {
        "n_splits": [Interval(Integral, 1, None, closed="left")],
        "test_size": [
            Interval(Integral, 1, None, closed="left"),
            Interval(Real, 0, 1, closed="neither"),
            None,
        ],
        "user_column": _COLUMN,
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_splits: int = 5,
        *,
        test_size: float | None = None,
        user_column: int | str = 0,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        super().__init__(
            n_splits=n_splits,
            test_size=test_size,
            user_column=user_column,
            random_state=random_state,
        )
        if n_splits == 1 and test_size is None:
            raise ValueError(
                "n_splits=1 leaves no fold to learn from: raise n_splits, or pass "
                "test_size, such as test_size=0.2."
            )

    def _masks(self, X):
        ((name, column),) = read_columns(X, user_column=self.user_column)
        labels, users = factorize(name, column)
        n_users = len(labels)
        n_tested = self._count_tested(n_users)
        _, first = np.unique(users, return_index=True)
        in_order = np.argsort(first)  # in which the users first occur
        rng = check_random_state(self.random_state)
        shuffled = rng.permutation(in_order)
        for split in range(self.n_splits):
            if self.test_size is None:
                tested = shuffled[split :: self.n_splits]
            else:
                tested = rng.permutation(in_order)[:n_tested]
            is_tested = np.zeros(n_users, dtype=bool)
            is_tested[tested] = True
            test = is_tested[users]
            yield ~test, test

    def _count_tested(self, n_users):
        """Return how many users a split holds out, at most; some must be left."""
        if self.test_size is None:
            if n_users < self.n_splits:
                raise ValueError(
                    f"n_splits={self.n_splits} is more than the {n_users} users of X: "
                    "lower n_splits."
                )
            return -(-n_users // self.n_splits)
        n_tested = self.test_size
        if not isinstance(n_tested, Integral):
            n_tested = max(1, round(n_tested * n_users))
        if n_tested >= n_users:
            raise ValueError(
                f"test_size={self.test_size} holds out {n_tested} users, but X has "
                f"{n_users}, of whom training needs one: lower test_size."
            )
        return n_tested


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
        order = np.lexsort((_read_times(*times)[1], users))
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
    GlobalTimeSplit : Tests on all from a given time on.
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
        _, times = _read_times(name, column)
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


class GlobalTimeSplit(_RatingSplitter):
    """One split at a point in time: train on what came before, test on all the rest.

    A model that is fitted on a given day knows nothing of what comes later. This split
    asks how well it does from that day on, with the same day for all users [1]_.

    Parameters
    ----------
    cut : float, str, datetime or numpy.datetime64
        The first time that is tested on. Where the times are numbers, such as seconds
        since 1970, a number in their unit; where they are dates, a date of Python,
        NumPy or pandas, or a text such as ``"2015-06-30"`` or ``"2015-06-30 18:00"``.
        Cuts and times without a time zone are read as UTC.
    time_column : int or str, default=2
        Position, or name in a DataFrame, of the times in X: numbers, or dates of
        pandas, polars or NumPy.

    See Also
    --------
    TimeSplit : Chooses such points so that the windows between them are of equal size.
    LeaveLastOut : Tests on the last ratings of each user, whenever they were.

    Notes
    -----
    Many users and items of the test may be new: see `cold_share`. For ranking scorers
    that give new users a part of their history, see `fold_in` of
    `sklearn_mf.metrics.make_ranking_scorer`.

    References
    ----------
    .. [1] Z. Meng, R. McCreadie, C. Macdonald and I. Ounis, "Exploring data splitting
       strategies for the evaluation of recommendation models", RecSys 2020, where it
       is called temporal global split.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_mf.model_selection import GlobalTimeSplit
    >>> X = pd.DataFrame({"user": ["ann", "bob", "ann"], "item": ["up", "up", "heat"]})
    >>> X["time"] = pd.to_datetime(["2015-03-01", "2015-08-09", "2015-06-30"])
    >>> [(train, test)] = GlobalTimeSplit("2015-06-30", time_column="time").split(X)
    >>> train, test
    (array([0]), array([1, 2]))
    """

    _parameter_constraints = {
        "cut": [
            Interval(Real, None, None, closed="neither"),
            *(str, date, timedelta, np.datetime64, np.timedelta64),
        ],
        "time_column": _COLUMN,
    }
    n_splits = 1

    def __init__(
        self,
        cut: float | str | date | timedelta | np.datetime64 | np.timedelta64,
        *,
        time_column: int | str = 2,
    ) -> None:
        super().__init__(cut=cut, time_column=time_column)

    def _masks(self, X):
        ((name, column),) = read_columns(X, time_column=self.time_column)
        times, codes = _read_times(name, column)
        n_earlier = _count_earlier(self.cut, name, times)
        if not 0 < n_earlier < len(times):
            missing = "test on" if n_earlier else "learn from"
            side = "earlier" if n_earlier else "later"
            raise ValueError(
                f"cut={self.cut!r} leaves nothing to {missing}: the times of {name} "
                f"are from {times[0]} to {times[-1]}. Pass a cut that is {side}."
            )
        test = codes >= n_earlier
        yield ~test, test


def _read_times(name, column):
    """Return the different times, ascending, and the code of each time of a column."""
    dtype = column.dtype
    if dtype.kind in "mM":
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
    return times.view(dtype) if dtype.kind in "mM" else times, codes


def _count_earlier(cut, name, times):
    """Return how many of the different times of a column are earlier than a cut."""
    try:
        return bisect.bisect_left(times, _like(cut, times))
    except (TypeError, ValueError, OverflowError):
        wanted = "a number" if times.dtype.kind in "iuf" else "one of the same kind"
        raise ValueError(
            f"cut={cut!r} cannot be compared with the times of {name}, such as "
            f"{times[0]!s}: pass {wanted}."
        ) from None


def _like(cut, times):
    """Return a cut in a form that can be compared with times, or raise an error."""
    time, kind = times[0], times.dtype.kind
    if kind == "M" or isinstance(time, date):
        cut = _read_date(cut)
        if kind == "O" and isinstance(time, datetime):
            cut = cut.astype("datetime64[us]").item()
            cut = cut if time.tzinfo is None else cut.replace(tzinfo=UTC)
        elif kind == "O":  # the first day that begins then or later
            days = cut.astype("datetime64[D]")
            cut = (days + (days < cut)).item()
    elif kind == "m" and isinstance(cut, timedelta | np.timedelta64):
        cut = np.timedelta64(cut)
    elif kind == "m" or not isinstance(cut, Real) or isinstance(cut, np.timedelta64):
        raise TypeError
    if cut != cut:
        raise ValueError
    return cut


def _read_date(cut):
    """Return a date as numpy.datetime64 in UTC."""
    if isinstance(cut, str):
        try:
            cut = datetime.fromisoformat(cut)
        except ValueError:
            return np.datetime64(cut)
    if getattr(cut, "tzinfo", None) is not None:
        cut = cut.astimezone(UTC).replace(tzinfo=None)
    if not isinstance(cut, date | np.datetime64):
        raise TypeError
    return np.datetime64(cut)


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
        One rating in each row: ``X[train]`` and ``X[test]`` of a split.
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
