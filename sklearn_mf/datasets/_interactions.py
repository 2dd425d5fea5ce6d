"""Synthetic counts of what users did, with times, whose true parameters are known."""

from numbers import Real
from typing import Any

import numpy as np
from sklearn.utils import Bunch, check_random_state

from sklearn_mf._data.arguments import COUNT, Interval
from sklearn_mf._runtime.compile import njit
from sklearn_mf._typing import validate_params
from sklearn_mf.datasets._synthetic import (
    check_sizes,
    draw_activity,
    draw_counts,
    power_law,
)

SECONDS = 365 * 24 * 60 * 60  # of the year in which everything happens


@validate_params(
    {
        "n_users": [COUNT],
        "n_items": [COUNT],
        "n_interactions": [COUNT],
        "n_factors": [COUNT],
        "concentration": [Interval(Real, 0.01, 1000, closed="both")],
        "popularity": [Interval(Real, 0, 10, closed="both")],
        "drift": [Interval(Real, 0, 1, closed="both")],
        "coef": ["boolean"],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_interactions(
    n_users: int = 1000,
    n_items: int = 1000,
    n_interactions: int = 50_000,
    *,
    n_factors: int = 5,
    concentration: float = 0.1,
    popularity: float = 0.8,
    drift: float = 0.3,
    coef: bool = False,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[Any, ...]:
    """Generate how often users chose items, and when, from planted tastes.

    There are `n_factors` kinds of items. Each time user u does something, at a time t
    between 0, the beginning of a year, and 1, its end, the item is i with the
    probability [1]_::

        P(i | u, t) = (1 - drift t) p_u . q_i + drift t p'_u . q'_i

    where p_u holds the shares of the kinds in what the user likes, and q_i the
    probability of the item among all items of each kind. With time the tastes p and the
    popularities q of the beginning give way to others, p' and q'. All interactions of a
    user with an item are one row: its y counts them, and its time is that of the first.

    Parameters
    ----------
    n_users : int, default=1000
        Number of users.

    n_items : int, default=1000
        Number of items.

    n_interactions : int, default=50_000
        Number of rows, at most ``n_users * n_items``: the pairs of a user and an item
        that the user chose, each of which is one row.

    n_factors : int, default=5
        Number of kinds, the length of p_u and q_i; typically 2 to 20.

    concentration : float, default=0.1
        Concentration of the Dirichlet distributions of tastes, and of how much an item
        is of each kind; between 0.01 and 1000. Below 1, most users like few kinds, and
        most items are of few; the larger it is, the more similar all users are.

    popularity : float, default=0.8
        Exponent of the power law of item popularity, between 0 and 10: the item of
        popularity rank k is chosen in proportion to ``k ** -popularity``. 0 is uniform,
        0.5 to 1 is typical. Ranks are assigned to item ids at random.

    drift : float, default=0.3
        How much of p and q has been replaced at the end of the year, between 0, where
        nothing changes, and 1, where tastes and popularities have changed completely.

    coef : bool, default=False
        If True, the planted parameters are returned too.

    random_state : int, RandomState instance or None, default=None
        Pass an int for the same interactions at each call.

    Returns
    -------
    X : ndarray of shape (n_interactions, 3), int64
        User (0 to ``n_users - 1``), item (0 to ``n_items - 1``), and time of the first
        interaction, in seconds since the beginning of the year (0 to 31,535,999). All
        pairs of a user and an item are distinct, rows in random order.

    y : ndarray of shape (n_interactions,), float64
        How often the user chose the item: whole numbers of 1 or more.

    coef : :class:`~sklearn.utils.Bunch`
        The planted parameters. Only returned if `coef` is True.

        user_factors : ndarray of shape (n_users, n_factors)
        item_factors : ndarray of shape (n_items, n_factors)
        late_user_factors : ndarray of shape (n_users, n_factors)
        late_item_factors : ndarray of shape (n_items, n_factors)

        These are p, q, p' and q' of the formula above. The rows of the users' sum to
        1, the columns of the items' too.

    Raises
    ------
    ValueError
        If `n_interactions` exceeds ``n_users * n_items``, or a parameter is of the
        wrong type or out of its range.

    See Also
    --------
    make_ratings : Ratings in stars.
    sklearn_mf.model_selection.TimeSplit : Splits them by time.

    Notes
    -----
    The number of rows of each user is drawn first, in proportion to a log-normal
    activity (the standard deviation of its log is 1). Then items are drawn until the
    user has as many different ones; items drawn again are counted. A user who would
    need more draws than there are items gets those that are still missing in one go, by
    the same probabilities, once each and at times spread evenly over the year. So the
    items of a user are distributed as successive draws without replacement, even if
    nearly all pairs are drawn.

    For a given `random_state`, the planted parameters depend only on `n_users`,
    `n_items`, `n_factors`, `concentration` and `popularity`.

    Memory is linear in `n_interactions` and in ``(n_users + n_items) * n_factors``. So
    is the time, unless many users choose a large part of all items.

    References
    ----------
    .. [1] T. Hofmann, "Latent semantic models for collaborative filtering", ACM
       Transactions on Information Systems 22(1), 2004: the mixture p_u . q_i.

    Examples
    --------
    >>> from sklearn_mf.datasets import make_interactions
    >>> X, y, coef = make_interactions(coef=True, random_state=0)
    >>> X.shape, y.shape
    ((50000, 3), (50000,))
    >>> print(y.min())
    1.0
    >>> coef.user_factors.shape, coef.item_factors.shape
    ((1000, 5), (1000, 5))
    """
    sizes = n_users, n_items, n_interactions
    n_users, n_items, n_interactions = map(int, sizes)
    check_sizes(
        "drawn", n_users=n_users, n_items=n_items, n_interactions=n_interactions
    )
    rng = check_random_state(random_state)
    generator = np.random.default_rng(rng.randint(np.iinfo(np.int32).max))

    alpha = np.full(n_factors, float(concentration))
    kinds = generator.dirichlet(alpha, size=n_items)  # how much an item is of each
    weights = power_law(n_items, popularity)
    tastes, items_of_kinds = [], []
    for _ in range(2):  # at the beginning, and later
        tastes.append(generator.dirichlet(alpha, size=n_users))
        Q = rng.permutation(weights)[:, np.newaxis] * kinds
        Q = np.maximum(Q, 1e-100)  # no item is impossible, and no kind is empty
        items_of_kinds.append(Q / Q.sum(axis=0))
    P, Q = np.stack(tastes), np.stack(items_of_kinds)

    activity = draw_activity(n_users, rng)
    counts = draw_counts(n_interactions, np.sort(activity), n_items, rng)
    counts = rng.permutation(counts)
    items = np.empty(n_interactions, dtype=np.int64)
    times = np.empty(n_interactions)
    y = np.zeros(n_interactions)
    _draw_histories(
        counts,
        P,
        Q,
        np.cumsum(P, axis=2),
        np.cumsum(Q, axis=1).transpose(0, 2, 1).copy(),
        float(drift),
        generator,
        items,
        times,
        y,
    )

    users = np.repeat(np.arange(n_users), counts)
    order = rng.permutation(n_interactions)
    seconds = (SECONDS * times).astype(np.int64)
    X = np.column_stack((users[order], items[order], seconds[order]))
    if not coef:
        return X, y[order]
    planted = Bunch(
        user_factors=P[0],
        item_factors=Q[0],
        late_user_factors=P[1],
        late_item_factors=Q[1],
    )
    return X, y[order], planted


@njit(nogil=True, cache=True)
def _draw_histories(
    counts, P, Q, P_sums, Q_sums, drift, generator, items, times, repeats
):
    """Draw the different items of each user, their first times and their counts.

    Parameters
    ----------
    counts : ndarray of shape (n_users,), int64
        Number of different items of each user, at most `n_items`.
    P, Q : ndarrays of shape (2, n_users, n_factors) and (2, n_items, n_factors)
        Tastes, and items of each kind: at the beginning, and those that replace them.
    P_sums, Q_sums : ndarrays of shape (2, n_users, n_factors), (2, n_factors, n_items)
        The same summed up, over the kinds and over the items.
    drift : float
        How much is replaced at the end.
    generator : numpy.random.Generator
        Source of the draws.
    items, times, repeats : ndarrays of shape (counts.sum(),)
        Filled in place, user by user: item, time from 0 to 1, and count. The counts
        are zeros before.
    """
    n_items, n_factors = Q.shape[1:]
    last_user = np.full(n_items, -1)  # whose item it was
    places = np.empty(n_items, dtype=np.int64)
    keys = np.empty(n_items)
    first = 0
    for user in range(len(counts)):
        at, stop = first, first + counts[user]
        for _ in range(n_items):
            if at == stop:
                break
            time = generator.random()
            era = int(generator.random() < drift * time)
            kind = _draw_from(P_sums[era, user], generator)
            item = _draw_from(Q_sums[era, kind], generator)
            if last_user[item] != user:
                last_user[item], places[item] = user, at
                items[at], times[at] = item, time
                at += 1
            place = places[item]
            repeats[place] += 1
            times[place] = min(times[place], time)
        if at < stop:
            # The order of exponential variables of rates P(i | u) is that of draws
            # without replacement. In the mean over the year t is 1/2.
            for item in range(n_items):
                keys[item] = np.inf
                if last_user[item] != user:
                    early, late = 0.0, 0.0
                    for f in range(n_factors):
                        early += P[0, user, f] * Q[0, item, f]
                        late += P[1, user, f] * Q[1, item, f]
                    rate = (1 - drift / 2) * early + drift / 2 * late
                    keys[item] = generator.standard_exponential() / rate
            for item in np.argsort(keys)[: stop - at]:
                items[at], times[at], repeats[at] = item, generator.random(), 1
                at += 1
        first = stop


@njit(nogil=True, cache=True)
def _draw_from(sums, generator):
    """Draw a position in proportion to weights of which the running sums are given."""
    drawn = np.searchsorted(sums, generator.random() * sums[-1], side="right")
    return min(drawn, len(sums) - 1)
