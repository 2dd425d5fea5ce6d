"""Synthetic ratings and answers, whose true parameters are known."""

from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy.special import expit
from sklearn.utils import Bunch, check_random_state, gen_batches

from sklearn_mf._data.arguments import Interval
from sklearn_mf._runtime.compile import njit
from sklearn_mf._runtime.linear_algebra import matrix_product
from sklearn_mf._typing import validate_params

# Shape of the log-normal activity of the users: the standard deviation of its log.
_ACTIVITY_SIGMA = 1.0


@validate_params(
    {
        "n_users": [Interval(Integral, 1, None, closed="left")],
        "n_items": [Interval(Integral, 1, None, closed="left")],
        "n_ratings": [Interval(Integral, 1, None, closed="left")],
        "n_factors": [Interval(Integral, 1, None, closed="left")],
        "global_mean": [Interval(Real, None, None, closed="neither")],
        "bias_scale": [Interval(Real, 0, None, closed="left")],
        "factor_scale": [Interval(Real, 0, None, closed="left")],
        "noise": [Interval(Real, 0, None, closed="left")],
        "popularity": [Interval(Real, 0, 10, closed="both")],
        "n_user_features": [Interval(Integral, 0, None, closed="left")],
        "n_item_features": [Interval(Integral, 0, None, closed="left")],
        "feature_share": [Interval(Real, 0, 1, closed="both")],
        "rating_range": ["array-like", None],
        "rating_step": [Interval(Real, 0, None, closed="neither"), None],
        "coef": ["boolean"],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_ratings(
    n_users: int = 1000,
    n_items: int = 500,
    n_ratings: int = 50_000,
    *,
    n_factors: int = 5,
    global_mean: float = 3.5,
    bias_scale: float = 0.45,
    factor_scale: float = 0.5,
    noise: float = 0.7,
    popularity: float = 0.5,
    n_user_features: int = 0,
    n_item_features: int = 0,
    feature_share: float = 0.8,
    rating_range: tuple[float, float] | None = (1.0, 5.0),
    rating_step: float | None = 0.5,
    coef: bool = False,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[Any, ...]:
    """Generate ratings from a planted biased matrix factorisation.

    The rating of item i by user u is::

        r_ui = global_mean + b_u + b_i + p_u . q_i + e_ui

    with normal biases, factors and noise, rounded to the steps of the rating scale
    and clipped to its ends. The defaults resemble five-star film ratings.

    Parameters
    ----------
    n_users : int, default=1000
        Number of users.

    n_items : int, default=500
        Number of items.

    n_ratings : int, default=50_000
        Number of ratings, at most ``n_users * n_items``: no pair is rated twice.

    n_factors : int, default=5
        Length of p_u and q_i; typically 2 to 20.

    global_mean : float, default=3.5
        The constant term, in units of the rating.

    bias_scale : float, default=0.45
        Standard deviation of the user biases, and of the item biases; 0 plants none.

    factor_scale : float, default=0.5
        Standard deviation of p_u . q_i, whatever `n_factors` is; 0 plants none.

    noise : float, default=0.7
        Standard deviation of e_ui.

    popularity : float, default=0.5
        Exponent of the power law of item popularity, between 0 and 10: the item of
        popularity rank k is drawn in proportion to ``k ** -popularity``. 0 is
        uniform, 0.5 to 1 is typical. Ranks are assigned to item ids at random.

    n_user_features, n_item_features : int, default=0
        Number of features of each user, and of each item, on which its bias and its
        factors depend linearly.

    feature_share : float, default=0.8
        Share of the variance of biases and factors, from 0 to 1, that comes from the
        features, where there are some.

    rating_range : (low, high) or None, default=(1.0, 5.0)
        Ends of the rating scale, to which ratings are clipped. None does not clip.

    rating_step : float or None, default=0.5
        Ratings are rounded to whole steps of this size, counted from `low` (from 0
        if `rating_range` is None), before they are clipped. None does not round.

    coef : bool, default=False
        If True, the planted parameters are returned too.

    random_state : int, RandomState instance or None, default=None
        Pass an int for the same ratings at each call.

    Returns
    -------
    X : ndarray of shape (n_ratings, 2), int64
        User (0 to ``n_users - 1``) and item (0 to ``n_items - 1``) of each rating:
        all pairs distinct, rows in random order.

    y : ndarray of shape (n_ratings,), float64
        The ratings.

    user_features, item_features : tuples (ids, matrix)
        The features of all users, and of all items, in the form that estimators take:
        standard normal, of shape (n_users, n_user_features) and
        (n_items, n_item_features). Each is only returned if there are features.

    coef : :class:`~sklearn.utils.Bunch`
        The planted parameters. Only returned if `coef` is True.

        global_mean : float
        user_biases : ndarray of shape (n_users,)
        item_biases : ndarray of shape (n_items,)
        user_factors : ndarray of shape (n_users, n_factors)
        item_factors : ndarray of shape (n_items, n_factors)

        user_feature_biases : ndarray of shape (n_user_features,)
        user_feature_weights : ndarray of shape (n_user_features, n_factors)
        item_feature_biases : ndarray of shape (n_item_features,)
        item_feature_weights : ndarray of shape (n_item_features, n_factors)

        These are the terms of the formula above and, where there are features, their
        weights: the products of both are what the features add to these terms.

    Raises
    ------
    ValueError
        If `n_ratings` exceeds ``n_users * n_items``, `rating_range` is not (low, high)
        with low < high, or a parameter is of the wrong type or out of its range.

    Notes
    -----
    **Variance.** The planted variance is ``2 * bias_scale**2 + factor_scale**2 +
    noise**2``. By default the biases make up about 35 % of it, the factors 22 % and
    the noise, which no model can explain, 43 %. Clipping takes some of it away, and
    the ratings have a standard deviation of about 1.

    **Pairs.** Each user has a log-normal activity (the standard deviation of its log
    is 1). The number of ratings of each item is drawn from the power law; its raters
    are then drawn without replacement, in proportion to activity. An item can have no
    more than `n_users` ratings: what the power law would give it beyond that goes to
    the other items in proportion, so the power law holds below that ceiling. The
    denser the request and the larger `popularity`, the more items reach it.

    For a given `random_state`, the planted parameters depend only on `n_users`,
    `n_items`, `n_factors` and the scales, not on `n_ratings`, `noise`, `popularity`
    or the rating scale. The pairs do not depend on the features.

    Time and memory are linear in `n_ratings`, `n_users` and `n_items`.

    Examples
    --------
    >>> from sklearn_mf.datasets import make_ratings
    >>> X, y, coef = make_ratings(coef=True, random_state=0)
    >>> X.shape, y.shape
    ((50000, 2), (50000,))
    >>> print(y.min(), y.max())
    1.0 5.0
    >>> coef.user_factors.shape, coef.item_factors.shape
    ((1000, 5), (500, 5))
    """
    n_users, n_items, n_ratings = map(int, (n_users, n_items, n_ratings))
    check_sizes("rated", n_users=n_users, n_items=n_items, n_ratings=n_ratings)
    low, high = _check_rating_range(rating_range)
    rng = check_random_state(random_state)

    user_biases = bias_scale * rng.standard_normal(n_users)
    item_biases = bias_scale * rng.standard_normal(n_items)
    # Var(p . q) = n_factors * s**4 if every entry has the standard deviation s.
    s = (factor_scale / n_factors**0.5) ** 0.5
    P = s * rng.standard_normal((n_users, n_factors))
    Q = s * rng.standard_normal((n_items, n_factors))

    X = _draw_pairs(n_users, n_items, n_ratings, popularity, rng)

    y = noise * rng.standard_normal(n_ratings)
    scales = bias_scale, s, feature_share
    features: list = []
    weights: dict = {}
    if n_user_features:
        F, more = _plant_features(n_user_features, user_biases, P, *scales, rng)
        features.append((np.arange(n_users), F))
        weights |= {f"user_{name}": values for name, values in more.items()}
    if n_item_features:
        F, more = _plant_features(n_item_features, item_biases, Q, *scales, rng)
        features.append((np.arange(n_items), F))
        weights |= {f"item_{name}": values for name, values in more.items()}
    # In batches, since P[users] is n_factors times as large as y.
    for batch in gen_batches(n_ratings, 2**16):
        users, items = X[batch].T
        y[batch] += global_mean + user_biases[users] + item_biases[items]
        y[batch] += np.einsum("ij,ij->i", P[users], Q[items])
    if rating_step is not None:
        origin = 0.0 if rating_range is None else low
        y = origin + rating_step * np.rint((y - origin) / rating_step)
    np.clip(y, low, high, out=y)

    if not coef:
        return X, y, *features
    planted = Bunch(
        global_mean=float(global_mean),
        user_biases=user_biases,
        item_biases=item_biases,
        user_factors=P,
        item_factors=Q,
        **weights,
    )
    return X, y, *features, planted


def _plant_features(n_features, biases, factors, bias_scale, factor_scale, share, rng):
    """Draw features, and let a share of the variance of biases and factors be theirs.

    Biases and factors are changed in place.

    Returns
    -------
    features : ndarray of shape (n_rows, n_features)
    weights : dict
        Their ``feature_biases`` and ``feature_weights``.
    """
    features = rng.standard_normal((len(biases), n_features))
    unit = rng.standard_normal((n_features, 1 + factors.shape[1]))
    unit *= share**0.5 / np.linalg.norm(unit, axis=0)
    weights = bias_scale * unit[:, 0], factor_scale * unit[:, 1:]
    for rows, columns in zip((biases, factors), weights, strict=True):
        rows *= (1 - share) ** 0.5
        rows += matrix_product(features, columns)
    names = "feature_biases", "feature_weights"
    return features, dict(zip(names, weights, strict=True))


@validate_params(
    {
        "n_students": [Interval(Integral, 1, None, closed="left")],
        "n_questions": [Interval(Integral, 1, None, closed="left")],
        "n_answers": [Interval(Integral, 1, None, closed="left")],
        "ability_scale": [Interval(Real, 0, None, closed="left")],
        "mean_difficulty": [Interval(Real, None, None, closed="neither")],
        "difficulty_scale": [Interval(Real, 0, None, closed="left")],
        "discrimination_scale": [Interval(Real, 0, 10, closed="both")],
        "popularity": [Interval(Real, 0, 10, closed="both")],
        "coef": ["boolean"],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_answers(
    n_students: int = 542,
    n_questions: int = 1774,
    n_answers: int = 56_688,
    *,
    ability_scale: float = 1.0,
    mean_difficulty: float = -0.5,
    difficulty_scale: float = 1.0,
    discrimination_scale: float = 0.3,
    popularity: float = 0.5,
    coef: bool = False,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[Any, ...]:
    """Generate right and wrong answers of the two-parameter item response model.

    Student s answers question q right with the probability::

        P(right) = 1 / (1 + exp(-a_q (theta_s - beta_q)))

    with normal abilities theta and difficulties beta, and log-normal discriminations
    a. The defaults resemble the answers of an online class: about 59 % are right, and
    whoever knows all parameters predicts about 73 % of the answers correctly.

    Parameters
    ----------
    n_students : int, default=542
        Number of students.

    n_questions : int, default=1774
        Number of questions.

    n_answers : int, default=56_688
        Number of answers, at most ``n_students * n_questions``: no question is
        answered twice by a student.

    ability_scale : float, default=1.0
        Standard deviation of the abilities, whose mean is 0.

    mean_difficulty : float, default=-0.5
        Mean of the difficulties; below 0, most answers are right.

    difficulty_scale : float, default=1.0
        Standard deviation of the difficulties.

    discrimination_scale : float, default=0.3
        Standard deviation of log a, whose mean is 0; at most 10. 0 gives the
        one-parameter model.

    popularity : float, default=0.5
        Exponent of the power law of how often questions are answered; see
        `make_ratings`.

    coef : bool, default=False
        If True, the planted parameters are returned too.

    random_state : int, RandomState instance or None, default=None
        Pass an int for the same answers at each call.

    Returns
    -------
    X : ndarray of shape (n_answers, 2), int64
        Student (0 to ``n_students - 1``) and question (0 to ``n_questions - 1``) of
        each answer: all pairs distinct, rows in random order.

    y : ndarray of shape (n_answers,), float64
        1.0 for a right answer, 0.0 for a wrong one.

    coef : :class:`~sklearn.utils.Bunch`
        The planted parameters. Only returned if `coef` is True.

        abilities : ndarray of shape (n_students,)
        difficulties : ndarray of shape (n_questions,)
        discriminations : ndarray of shape (n_questions,)

        These are the terms of the formula above.

    Raises
    ------
    ValueError
        If `n_answers` exceeds ``n_students * n_questions``, or a parameter is of the
        wrong type or out of its range.

    See Also
    --------
    make_ratings : Ratings in stars; its Notes say how pairs are drawn.

    Notes
    -----
    For a given `random_state`, the planted parameters depend only on `n_students`,
    `n_questions`, `mean_difficulty` and the scales.

    Examples
    --------
    >>> from sklearn_mf.datasets import make_answers
    >>> X, y, coef = make_answers(coef=True, random_state=0)
    >>> X.shape, y.shape
    ((56688, 2), (56688,))
    >>> print(y.min(), y.max())
    0.0 1.0
    >>> coef.abilities.shape, coef.difficulties.shape
    ((542,), (1774,))
    """
    sizes = n_students, n_questions, n_answers
    n_students, n_questions, n_answers = map(int, sizes)
    check_sizes(
        "answered", n_students=n_students, n_questions=n_questions, n_answers=n_answers
    )
    rng = check_random_state(random_state)
    abilities = ability_scale * rng.standard_normal(n_students)
    difficulties = mean_difficulty + difficulty_scale * rng.standard_normal(n_questions)
    discriminations = np.exp(discrimination_scale * rng.standard_normal(n_questions))

    X = _draw_pairs(n_students, n_questions, n_answers, popularity, rng)

    students, questions = X.T
    scores = discriminations[questions] * (
        abilities[students] - difficulties[questions]
    )
    y = (rng.uniform(size=n_answers) < expit(scores)).astype(np.float64)

    if not coef:
        return X, y
    planted = Bunch(
        abilities=abilities,
        difficulties=difficulties,
        discriminations=discriminations,
    )
    return X, y, planted


def check_sizes(done, **sizes):
    """Check that no more pairs are requested than there are.

    Parameters
    ----------
    done : str
        What is done with a pair.
    **sizes : int
        Numbers of rows, of columns and of pairs, under the names of the parameters.

    Raises
    ------
    ValueError
        If there are fewer pairs.
    """
    (rows, n_rows), (columns, n_columns), (pairs, n_pairs) = sizes.items()
    n_all = int(n_rows) * int(n_columns)
    if n_pairs > n_all:
        raise ValueError(
            f"{pairs}={n_pairs} exceeds the {rows} * {columns} = {n_rows} * "
            f"{n_columns} = {n_all} distinct pairs, each of which is {done} at most "
            f"once: lower {pairs}, or raise {rows} or {columns}."
        )


def _check_rating_range(rating_range):
    """Return the ends of the rating scale, infinite if there is none.

    Parameters
    ----------
    rating_range : array-like of shape (2,) or None
        Ends of the rating scale.

    Returns
    -------
    low, high : float
        The ends.

    Raises
    ------
    ValueError
        If `rating_range` is not two finite numbers low < high.
    """
    if rating_range is None:
        return -np.inf, np.inf
    try:
        low, high = map(float, rating_range)
    except (TypeError, ValueError, OverflowError):
        low = high = np.nan
    if not -np.inf < low < high < np.inf:
        raise ValueError(
            f"rating_range={rating_range!r} must be (low, high), two finite numbers "
            "with low < high, or None for ratings without limits."
        )
    return low, high


def _draw_pairs(n_users, n_items, n_ratings, popularity, rng):
    """Draw distinct pairs: items by a power law, users by a log-normal activity.

    Parameters
    ----------
    n_users, n_items, n_ratings : int
        Sizes, with ``n_ratings <= n_users * n_items``.
    popularity : float
        Exponent of the power law.
    rng : RandomState
        Source of the draws.

    Returns
    -------
    X : ndarray of shape (n_ratings, 2), int64
        User and item of each pair, in random order.
    """
    counts = draw_counts(n_ratings, power_law(n_items, popularity), n_users, rng)
    counts = rng.permutation(counts)

    # Each user has tickets in proportion to activity: ten on average, at least one.
    activity = draw_activity(n_users, rng)
    n_tickets = np.ceil(10 * activity / activity.mean()).astype(np.int64)
    tickets = np.repeat(np.arange(n_users), n_tickets)
    generator = np.random.default_rng(rng.randint(np.iinfo(np.int32).max))
    users = np.empty(n_ratings, dtype=np.int64)
    _draw_users(counts, tickets, generator, users)

    items = np.repeat(np.arange(n_items), counts)
    order = rng.permutation(n_ratings)
    return np.column_stack((users[order], items[order]))


def power_law(n_items, popularity):
    """Return weights ``k ** -popularity`` of ranks k, the least popular item first."""
    return np.arange(n_items, 0, -1) ** -float(popularity)


def draw_activity(n_users, rng):
    """Draw how active each user is, in proportion: a log-normal variable."""
    return rng.lognormal(sigma=_ACTIVITY_SIGMA, size=n_users)


def draw_counts(n_pairs, weights, ceiling, rng):
    """Divide pairs among ids in proportion to weights, as far as a ceiling allows.

    Parameters
    ----------
    n_pairs : int
        Number of pairs, at most ``ceiling * len(weights)``.
    weights : ndarray of shape (n_ids,)
        Above 0. Multinomial draws are more accurate if the largest come last.
    ceiling : int
        The most pairs of an id. What it would get beyond that goes to the others.
    rng : RandomState
        Source of the draws.

    Returns
    -------
    int64 ndarray of shape (n_ids,)
        Number of pairs of each id.
    """
    counts = np.zeros(len(weights), dtype=np.int64)
    while (n_missing := n_pairs - counts.sum()) > 0:
        is_open = counts < ceiling
        p = weights[is_open] / weights[is_open].sum()
        counts[is_open] += rng.multinomial(n_missing, p)
        np.minimum(counts, ceiling, out=counts)
    return counts


@njit(nogil=True, cache=True)
def _draw_users(counts, tickets, generator, users):
    """Draw the raters of each item, distinct, in proportion to their tickets.

    Tickets are drawn without replacement, and those of users drawn already are
    skipped, so an item costs no more than ``len(tickets)`` steps however many raters
    it has.

    Parameters
    ----------
    counts : ndarray of shape (n_items,), int64
        Number of raters of each item, at most `n_users`.
    tickets : ndarray of shape (n_tickets,), int64
        User of each ticket, every user at least once. Shuffled in place.
    generator : numpy.random.Generator
        Source of the draws.
    users : ndarray of shape (counts.sum(),), int64
        Filled in place with the raters of item 0, then those of item 1, and so on.
    """
    last_item = np.full(tickets.max() + 1, -1)
    n_drawn = 0
    for item in range(len(counts)):
        stop = n_drawn + counts[item]
        # A Fisher-Yates shuffle that stops as soon as the item has its raters. It may
        # start from the order in which the previous item left the tickets.
        k = 0
        while n_drawn < stop:
            drawn = k + int(generator.random() * (len(tickets) - k))
            user = tickets[drawn]
            tickets[drawn] = tickets[k]
            tickets[k] = user
            k += 1
            if last_item[user] != item:
                last_item[user] = item
                users[n_drawn] = user
                n_drawn += 1
