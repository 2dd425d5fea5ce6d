"""Tests of the synthetic ratings and answers."""

import re

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit

from sklearn_mf.datasets._synthetic import _draw_users, make_answers, make_ratings


def planted_ratings(X, coef):
    """Evaluate the planted model without noise."""
    users, items = X.T
    return (
        coef.global_mean
        + coef.user_biases[users]
        + coef.item_biases[items]
        + (coef.user_factors[users] * coef.item_factors[items]).sum(axis=1)
    )


def popularity_slope(X, n_users, n_items):
    """Fit the slope of log frequency on log rank, below the ceiling of n_users."""
    counts = np.sort(np.bincount(X[:, 1], minlength=n_items))[::-1]
    ranks = np.arange(1, n_items + 1)
    below = counts < 0.9 * n_users
    return np.polyfit(np.log(ranks[below]), np.log(counts[below]), 1)[0]


def n_distinct(X):
    return len(set(zip(*X.T.tolist(), strict=True)))


@pytest.mark.parametrize(
    ("n_users", "n_items", "n_ratings"),
    [(1000, 500, 50_000), (30, 2000, 5000), (2000, 30, 5000), (7, 1, 3), (1, 1, 1)],
)
def test_shapes_dtypes_and_ids(n_users, n_items, n_ratings):
    X, y, coef = make_ratings(
        n_users, n_items, n_ratings, n_factors=3, coef=True, random_state=0
    )
    assert X.shape == (n_ratings, 2)
    assert X.dtype == np.int64
    assert y.shape == (n_ratings,)
    assert y.dtype == np.float64
    assert X.flags.c_contiguous
    assert X.min() >= 0
    assert X[:, 0].max() < n_users
    assert X[:, 1].max() < n_items
    assert n_distinct(X) == n_ratings

    assert isinstance(coef.global_mean, float)
    assert coef.global_mean == 3.5
    assert coef.user_biases.shape == (n_users,)
    assert coef.item_biases.shape == (n_items,)
    assert coef.user_factors.shape == (n_users, 3)
    assert coef.item_factors.shape == (n_items, 3)


def test_coef_changes_nothing_else():
    X, y = make_ratings(random_state=0)
    X_coef, y_coef, _ = make_ratings(coef=True, random_state=0)
    assert_array_equal(X, X_coef)
    assert_array_equal(y, y_coef)


def test_features_of_users_and_items():
    params = {"n_factors": 2, "random_state": 0, "rating_range": None, "noise": 0.0}
    params |= {"rating_step": None, "feature_share": 0.7}
    X, y, users, items, coef = make_ratings(
        4000, 3000, 9000, n_user_features=3, n_item_features=4, coef=True, **params
    )
    assert_allclose(y, planted_ratings(X, coef), rtol=1e-12)
    assert_array_equal(users[0], np.arange(4000))
    assert_array_equal(items[0], np.arange(3000))
    assert users[1].shape == (4000, 3)
    assert items[1].shape == (3000, 4)
    for side, (_, F) in (("user", users), ("item", items)):
        assert_allclose(F.std(axis=0), 1, rtol=0.05)
        rows = np.column_stack([coef[f"{side}_biases"], coef[f"{side}_factors"]])
        weights = np.column_stack(
            [coef[f"{side}_feature_biases"], coef[f"{side}_feature_weights"]]
        )
        rest = rows - F @ weights
        scale = np.array([0.45, *[np.sqrt(0.5 / np.sqrt(2))] * 2])
        assert_allclose(rows.std(axis=0), scale, rtol=0.05)
        assert_allclose(rest.std(axis=0), np.sqrt(0.3) * scale, rtol=0.05)
        assert abs(F.T @ rest / len(F)).max() < 0.05


def test_features_are_returned_where_there_are_some():
    X, y = make_ratings(random_state=0)
    X_more, y_more, (ids, F) = make_ratings(n_item_features=1, random_state=0)
    assert_array_equal(X_more, X)
    assert not np.array_equal(y_more, y)
    assert ids.shape == (500,)
    assert F.shape == (500, 1)
    *_, (ids, F), coef = make_ratings(n_user_features=2, coef=True, random_state=0)
    assert F.shape == (1000, 2)
    assert {"user_feature_biases", "user_feature_weights"} <= coef.keys()
    assert "item_feature_biases" not in coef


def test_same_seed_same_bits():
    X, y = make_ratings(random_state=3)
    for random_state in (3, np.random.RandomState(3)):
        X_again, y_again = make_ratings(random_state=random_state)
        assert_array_equal(X, X_again)
        assert_array_equal(y, y_again)


def test_different_seeds_differ():
    X, y, coef = make_ratings(coef=True, random_state=3)
    X_other, y_other, coef_other = make_ratings(coef=True, random_state=4)
    assert not np.array_equal(X, X_other)
    assert not np.array_equal(y, y_other)
    assert not np.array_equal(coef.user_factors, coef_other.user_factors)


def test_successive_calls_on_one_random_state_differ():
    random_state = np.random.RandomState(0)
    X, _ = make_ratings(random_state=random_state)
    X_next, _ = make_ratings(random_state=random_state)
    assert not np.array_equal(X, X_next)


def test_planted_parameters_do_not_depend_on_what_is_drawn_later():
    _, _, coef = make_ratings(coef=True, random_state=0)
    _, _, other = make_ratings(
        n_ratings=100,
        popularity=2,
        noise=0,
        rating_range=None,
        coef=True,
        random_state=0,
    )
    for name in coef:
        assert_array_equal(coef[name], other[name])


@pytest.mark.parametrize("n_factors", [1, 5, 20])
def test_planted_parameters_reproduce_y(n_factors):
    # More than one batch of predictions.
    X, y, coef = make_ratings(
        n_ratings=70_000,
        n_factors=n_factors,
        global_mean=-1.5,
        noise=0,
        rating_range=None,
        rating_step=None,
        coef=True,
        random_state=0,
    )
    assert coef.global_mean == -1.5
    assert_allclose(y, planted_ratings(X, coef), rtol=0, atol=1e-12)


def test_noise_is_normal_with_its_standard_deviation():
    X, y, coef = make_ratings(
        noise=0.3, rating_range=None, rating_step=None, coef=True, random_state=0
    )
    z = (y - planted_ratings(X, coef)) / 0.3
    # Four standard errors of each sample moment, n = 50,000.
    assert abs(z.mean()) < 4 * np.sqrt(1 / 50_000)
    assert abs((z**2).mean() - 1) < 4 * np.sqrt(2 / 50_000)
    assert abs((z**4).mean() - 3) < 4 * np.sqrt(96 / 50_000)


@pytest.mark.parametrize("n_factors", [1, 4, 25])
def test_scales_are_standard_deviations(n_factors):
    _, _, coef = make_ratings(
        2000,
        2000,
        10,
        n_factors=n_factors,
        bias_scale=0.8,
        factor_scale=2.0,
        coef=True,
        random_state=0,
    )
    assert coef.user_biases.std() == pytest.approx(0.8, rel=0.05)
    assert coef.item_biases.std() == pytest.approx(0.8, rel=0.05)
    products = coef.user_factors @ coef.item_factors.T
    assert products.std() == pytest.approx(2.0, rel=0.05)


def test_zero_scales_plant_only_the_mean():
    _, y = make_ratings(bias_scale=0, factor_scale=0, noise=0, random_state=0)
    assert_array_equal(y, 3.5)


def test_rounded_then_clipped():
    """The scaled ratings are the raw ones, rounded from the lower end and clipped."""
    scaled = {"rating_range": (0.7, 6.7), "rating_step": 1.5, "noise": 3.0}
    raw = {"rating_range": None, "rating_step": None, "noise": 3.0}
    X, y = make_ratings(**scaled, random_state=0)
    X_raw, y_raw = make_ratings(**raw, random_state=0)
    assert_array_equal(X, X_raw)
    assert_allclose(np.unique(y), [0.7, 2.2, 3.7, 5.2, 6.7], rtol=1e-15)
    steps = np.clip(np.rint((y_raw - 0.7) / 1.5), 0, 4)
    assert_allclose(y, 0.7 + 1.5 * steps, rtol=1e-15)
    inside = (y_raw > 0.7) & (y_raw < 6.7)
    assert np.abs(y - y_raw)[inside].max() <= 0.75 + 1e-12


def test_clipped_but_not_rounded():
    _, y = make_ratings(rating_range=[2, 4], rating_step=None, random_state=0)
    _, y_raw = make_ratings(rating_range=None, rating_step=None, random_state=0)
    assert y_raw.min() < 2
    assert y_raw.max() > 4
    assert_array_equal(y, np.clip(y_raw, 2, 4))


def test_rounded_but_not_clipped():
    _, y = make_ratings(rating_range=None, rating_step=0.5, random_state=0)
    _, y_raw = make_ratings(rating_range=None, rating_step=None, random_state=0)
    assert_array_equal(y, 0.5 * np.rint(y_raw / 0.5))
    assert y.min() < 1
    assert y.max() > 5


def test_default_scale_is_half_stars():
    _, y = make_ratings(random_state=0)
    assert_array_equal(np.unique(y), np.arange(1, 5.5, 0.5))


@pytest.mark.parametrize("popularity", [0.3, 0.5, 1.0])
def test_popularity_exponent_is_recovered(popularity):
    X, _ = make_ratings(3000, 500, 150_000, popularity=popularity, random_state=0)
    assert popularity_slope(X, 3000, 500) == pytest.approx(-popularity, abs=0.05)


def test_popularity_zero_is_uniform():
    X, _ = make_ratings(popularity=0, random_state=0)
    counts = np.bincount(X[:, 1], minlength=500)
    # A chi-squared statistic: mean 499, standard deviation 31.6.
    assert ((counts - 100) ** 2 / 100).sum() == pytest.approx(499, abs=4 * 31.6)


def test_ceiling_of_popularity():
    """Items that the power law would give too much are rated by every user."""
    X, _ = make_ratings(500, 1000, 100_000, popularity=1, random_state=0)
    counts = np.bincount(X[:, 1], minlength=1000)
    assert counts.max() == 500
    assert 20 < (counts == 500).sum() < 100
    assert popularity_slope(X, 500, 1000) == pytest.approx(-1, abs=0.05)


def test_ids_are_not_ordered_by_popularity():
    X, _ = make_ratings(random_state=0)
    for ids, n_ids in zip(X.T, (1000, 500), strict=True):
        counts = np.bincount(ids, minlength=n_ids)
        correlation = np.corrcoef(np.arange(n_ids), counts)[0, 1]
        assert abs(correlation) < 4 / np.sqrt(n_ids)


def test_activity_is_log_normal():
    X, _ = make_ratings(1000, 20_000, 200_000, popularity=0, random_state=0)
    log_counts = np.log(np.bincount(X[:, 0], minlength=1000))
    z = (log_counts - log_counts.mean()) / log_counts.std()
    assert log_counts.std() == pytest.approx(1, abs=0.15)
    assert abs((z**3).mean()) < 0.4


def test_rows_are_in_random_order():
    X, _ = make_ratings(random_state=0)
    for ids in X.T:
        # Neighbours and row numbers carry no information on the id.
        assert abs(np.corrcoef(ids[1:], ids[:-1])[0, 1]) < 4 / np.sqrt(50_000)
        assert abs(np.corrcoef(np.arange(50_000), ids)[0, 1]) < 4 / np.sqrt(50_000)
    # Nor do the popular items come first.
    popularity = np.bincount(X[:, 1])[X[:, 1]]
    assert abs(np.corrcoef(np.arange(50_000), popularity)[0, 1]) < 4 / np.sqrt(50_000)


@pytest.mark.compiled
@pytest.mark.parametrize("popularity", [0, 0.5, 10])
@pytest.mark.parametrize(("n_users", "n_items"), [(300, 200), (10, 600), (600, 10)])
@pytest.mark.parametrize("density", [0.9, 1.0])
def test_dense_requests(n_users, n_items, density, popularity):
    n_ratings = int(density * n_users * n_items)
    X, y = make_ratings(
        n_users, n_items, n_ratings, popularity=popularity, random_state=0
    )
    assert len(X) == len(y) == n_ratings
    assert n_distinct(X) == n_ratings
    assert X[:, 0].max() < n_users
    assert X[:, 1].max() < n_items


def test_users_are_drawn_in_proportion_to_their_tickets():
    tickets = np.array([0, 1, 1, 1, 2, 2])
    users = np.empty(60_000, dtype=np.int64)
    _draw_users(np.full(30_000, 2), tickets.copy(), np.random.default_rng(0), users)
    first, second = users.reshape(-1, 2).T
    frequencies = np.zeros((3, 3))
    np.add.at(frequencies, (first, second), 1 / 30_000)
    shares = np.bincount(tickets) / len(tickets)
    # Successive sampling: the second among those that are left.
    expected = shares[:, None] * shares / (1 - shares[:, None])
    np.fill_diagonal(expected, 0)
    assert_allclose(frequencies, expected, atol=4 * np.sqrt(0.25 / 30_000))
    assert_array_equal(np.diag(frequencies), 0)


@pytest.mark.parametrize("random_state", range(3))
def test_defaults_resemble_film_ratings(random_state):
    X, y, coef = make_ratings(coef=True, random_state=random_state)
    _, y_raw = make_ratings(
        rating_range=None, rating_step=None, random_state=random_state
    )
    biases = coef.user_biases[X[:, 0]] + coef.item_biases[X[:, 1]]
    model = planted_ratings(X, coef)

    # The documented shares of the variance, before the scale is applied.
    shares = np.array(
        [biases.var(), (model - coef.global_mean - biases).var(), (y_raw - model).var()]
    )
    assert_allclose(shares / y_raw.var(), [0.35, 0.22, 0.43], atol=0.04)

    assert y.std() == pytest.approx(1, abs=0.05)
    assert y.mean() == pytest.approx(3.5, abs=0.15)
    rmse_mean = y.std()
    rmse_biases = (y - biases).std()
    rmse_model = (y - model).std()
    assert rmse_biases < 0.85 * rmse_mean
    assert rmse_model < 0.9 * rmse_biases
    assert np.bincount(X[:, 1]).max() >= 5 * np.median(np.bincount(X[:, 1]))


def test_error_more_ratings_than_pairs():
    message = (
        "n_ratings=5001 exceeds the n_users * n_items = 100 * 50 = 5000 distinct "
        "pairs, each of which is rated at most once: lower n_ratings, or raise "
        "n_users or n_items."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        make_ratings(100, 50, 5001)


def test_number_of_pairs_does_not_overflow():
    n_ids = np.int32(2**16)
    X, _ = make_ratings(n_ids, n_ids, 1000, random_state=0)
    assert n_distinct(X) == 1000


@pytest.mark.parametrize(
    "rating_range",
    [(5, 1), (3, 3), (1,), (1, 3, 5), (), ("a", "b"), (0, np.inf), (np.nan, 1)],
)
def test_error_rating_range(rating_range):
    message = f"rating_range={rating_range!r} must be (low, high), two finite numbers"
    with pytest.raises(ValueError, match=re.escape(message)):
        make_ratings(rating_range=rating_range)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_users", 0),
        ("n_items", 2.5),
        ("n_ratings", 0),
        ("n_factors", 0),
        ("global_mean", np.inf),
        ("bias_scale", -0.1),
        ("factor_scale", -1),
        ("noise", np.nan),
        ("popularity", -0.5),
        ("popularity", 11),
        ("rating_range", 5),
        ("rating_step", 0),
        ("coef", "yes"),
        ("random_state", "seed"),
    ],
)
def test_error_parameter_out_of_range(name, value):
    with pytest.raises(ValueError, match=f"The '{name}' parameter of make_ratings"):
        make_ratings(**{name: value})


# ----------------------------------------------------------------------------- answers


def planted_probabilities(X, coef):
    """Evaluate the planted model of answers."""
    students, questions = X.T
    steps = coef.abilities[students] - coef.difficulties[questions]
    return expit(coef.discriminations[questions] * steps)


@pytest.mark.parametrize("sizes", [(542, 1774, 56_688), (9, 1, 4), (1, 1, 1)])
def test_shapes_dtypes_and_ids_of_answers(sizes):
    n_students, n_questions, n_answers = sizes
    X, y, coef = make_answers(*sizes, coef=True, random_state=0)
    assert X.shape == (n_answers, 2)
    assert X.dtype == np.int64
    assert y.dtype == np.float64
    assert set(y) <= {0.0, 1.0}
    assert X.min() >= 0
    assert X[:, 0].max() < n_students
    assert X[:, 1].max() < n_questions
    assert n_distinct(X) == n_answers
    assert coef.abilities.shape == (n_students,)
    assert coef.difficulties.shape == coef.discriminations.shape == (n_questions,)


def test_answers_follow_from_the_seed():
    X, y, coef = make_answers(coef=True, random_state=3)
    for random_state in (3, np.random.RandomState(3)):
        X_again, y_again = make_answers(random_state=random_state)
        assert_array_equal(X, X_again)
        assert_array_equal(y, y_again)
    X_other, y_other, coef_other = make_answers(coef=True, random_state=4)
    assert (X_other != X).any()
    assert (y != y_other).any()
    _, _, fewer = make_answers(n_answers=9, popularity=2, coef=True, random_state=3)
    for name in coef:
        assert (coef[name] != coef_other[name]).any()
        assert_array_equal(coef[name], fewer[name])


def test_scales_of_answers():
    _, _, coef = make_answers(
        5000,
        5000,
        1,
        ability_scale=2.0,
        mean_difficulty=1.5,
        difficulty_scale=0.5,
        discrimination_scale=0.7,
        coef=True,
        random_state=0,
    )
    assert coef.abilities.mean() == pytest.approx(0, abs=0.1)
    assert coef.abilities.std() == pytest.approx(2, rel=0.05)
    assert coef.difficulties.mean() == pytest.approx(1.5, rel=0.05)
    assert coef.difficulties.std() == pytest.approx(0.5, rel=0.05)
    assert np.log(coef.discriminations).std() == pytest.approx(0.7, rel=0.05)
    assert np.log(coef.discriminations).mean() == pytest.approx(0, abs=0.04)
    _, _, plain = make_answers(discrimination_scale=0, coef=True, random_state=0)
    assert_array_equal(plain.discriminations, 1)


def test_answers_are_right_with_the_planted_probability():
    X, y, coef = make_answers(coef=True, random_state=0)
    p = planted_probabilities(X, coef)
    for low in np.arange(0, 1, 0.1):
        at = (p >= low) & (p < low + 0.1)
        assert y[at].mean() == pytest.approx(
            p[at].mean(), abs=4 * np.sqrt(0.25 / at.sum())
        )


@pytest.mark.parametrize("random_state", range(3))
def test_defaults_resemble_the_answers_of_a_class(random_state):
    X, y, coef = make_answers(coef=True, random_state=random_state)
    p = planted_probabilities(X, coef)
    assert y.mean() == pytest.approx(0.59, abs=0.05)
    assert np.maximum(p, 1 - p).mean() == pytest.approx(0.73, abs=0.02)
    assert ((p > 0.5) == y).mean() == pytest.approx(0.73, abs=0.02)
    slope = popularity_slope(X, 542, 1774)
    assert slope == pytest.approx(-0.5, abs=0.15)


def test_error_more_answers_than_pairs():
    message = (
        "n_answers=21 exceeds the n_students * n_questions = 4 * 5 = 20 distinct "
        "pairs, each of which is answered at most once: lower n_answers, or raise "
        "n_students or n_questions."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        make_answers(4, 5, 21)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_students", 0),
        ("n_questions", 2.5),
        ("n_answers", 0),
        ("ability_scale", -1),
        ("mean_difficulty", np.inf),
        ("difficulty_scale", -1),
        ("discrimination_scale", 11),
        ("popularity", -0.5),
        ("coef", "yes"),
        ("random_state", "seed"),
    ],
)
def test_error_parameter_of_answers_out_of_range(name, value):
    with pytest.raises(ValueError, match=f"The '{name}' parameter of make_answers"):
        make_answers(**{name: value})
