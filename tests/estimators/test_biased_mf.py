"""BiasedMF: both solvers against its written objective, and against each other."""

import functools

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit, logit
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    KFold,
    cross_val_score,
    train_test_split,
)
from sklearn.preprocessing import StandardScaler

from sklearn_mf import BiasedMF, SGDFactorizer
from sklearn_mf.datasets import make_ratings
from tests import movielens, reference
from tests.assertions import assert_same_bits
from tests.solvers.als.helpers import first_users, rows_of

SOLVERS = ["als", "sgd"]
LEARNT = ("user_factors_", "item_factors_", "user_biases_", "item_biases_")
N_USERS, N_ITEMS, N_RATINGS = 25, 15, 150


def biased(**params):
    defaults = {"n_factors": 3, "max_iter": 4, "tol": None, "random_state": 0}
    return BiasedMF(**(defaults | {"solver": "als"} | params))


def plain_sgd(**params):
    """Return the solver whose steps have neither state nor an order of their own."""
    defaults = {"optimizer": "sgd", "learning_rate": 0.02, "shuffle": False}
    return biased(solver="sgd", **(defaults | params))


def descent(n_ratings, **params):
    """Return plain gradient descent: one batch of all ratings, with momentum."""
    defaults = {
        "learning_rate": 2.0,
        "momentum": 0.9,
        "batch_size": n_ratings,
        "max_iter": 3000,
    }
    return plain_sgd(**(defaults | params))


def scores_of(users, items, mu):
    return reference.scores(users, items, mu, biased=True)


def solve_biases(R, W, mu, lam_b, weighted):
    """Solve the bias-only model as a ridge regression on dummy variables."""
    users, items = np.nonzero(W)
    n_users, n_items = R.shape
    design = np.zeros((len(users), n_users + n_items))
    design[np.arange(len(users)), users] = 1
    design[np.arange(len(users)), n_users + items] = 1
    root = np.sqrt(W[users, items])
    c = np.concatenate([W.sum(axis=1), W.sum(axis=0)])
    penalties = lam_b * c ** float(weighted)
    A = np.vstack([root[:, np.newaxis] * design, np.diag(np.sqrt(penalties))])
    b = np.append(root * (R[users, items] - mu), np.zeros(len(c)))
    solution = np.linalg.lstsq(A, b)[0]
    return solution[:n_users], solution[n_users:]


# ------------------------------------------------------------------------ whole sweeps


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("regularization", [0, 1e-3, 0.1, 10])
@pytest.mark.parametrize("bias_regularization", [0, 0.1, 10])
@pytest.mark.parametrize("weighted_regularization", [False, True])
@pytest.mark.parametrize("n_factors", [0, 1, 7, 33])
def test_the_objective_of_als_never_rises(
    n_factors, weighted_regularization, bias_regularization, regularization, dtype, data
):
    X, y = data
    terms = regularization, weighted_regularization, bias_regularization
    model = biased(
        n_factors=n_factors,
        regularization=regularization,
        bias_regularization=bias_regularization,
        weighted_regularization=weighted_regularization,
        max_iter=12,
    ).fit(X, y.astype(dtype))
    loss = np.array(model.loss_curve_)
    size = abs(y - y.mean())
    if dtype == np.float32 and regularization == bias_regularization == 0:
        # Without any penalty the terms that cancel are larger than the ratings.
        u, i = X.T
        size = size + abs(model.user_biases_[u]) + abs(model.item_biases_[i])
        size += (abs(model.user_factors_[u]) * abs(model.item_factors_[i])).sum(axis=1)
    rounding = 10 * np.finfo(dtype).eps * (size**2).sum()
    assert (np.diff(loss) <= rounding).all()
    R, W = reference.dense(*X.T, y)
    expected = reference.objective(R, W, *rows_of(model), model.global_mean_, *terms)
    assert_allclose(loss[-1], expected, rtol=1e-4 if dtype == np.float32 else 1e-9,
                    atol=100 * rounding)  # fmt: skip


def test_planted_biases_and_factors_are_recovered():
    X, y, planted = make_ratings(
        80, 60, 3200, n_factors=2, noise=0, rating_range=None, rating_step=None,
        coef=True, random_state=0,
    )  # fmt: skip
    model = biased(n_factors=2, regularization=1e-9, max_iter=300, clip=False)
    model.fit(X[:2800], y[:2800])
    error = np.sqrt(np.mean((model.predict(X[2800:]) - y[2800:]) ** 2))
    assert error < 1e-5 * y[2800:].std()
    # The biases are shared with the means of the factors: where those are 0, they show.
    weak = biased(n_factors=0, regularization=1e-6, max_iter=200)
    y = planted.user_biases[X[:, 0]] + planted.item_biases[X[:, 1]]
    weak.fit(X, y)
    for found, true in (
        (weak.user_biases_, planted.user_biases[weak.users_]),
        (weak.item_biases_, planted.item_biases[weak.items_]),
    ):
        assert_allclose(found - found.mean(), true - true.mean(), atol=1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bias_regularization", [0, 0.5])
def test_rows_far_from_determined_get_the_solution_of_least_norm(
    bias_regularization, dtype, data
):
    X, y = data[0][:, ::-1], data[1]
    model = biased(
        n_factors=8,
        regularization=0,
        bias_regularization=bias_regularization,
        max_iter=1,
        init_scale=1.0,
    ).fit(X, y.astype(dtype))
    R, W = reference.dense(*X.T, y)
    users = first_users(model, X).astype(dtype).astype(float)
    items = reference.solve_side(
        R.T, W.T, users, model.global_mean_, 0, True, bias_regularization
    )
    counts = W.sum(axis=0)
    few, many = counts <= 5, counts >= 11
    assert few.sum() > 5
    assert many.any()
    rtol = 1e-3 if dtype == np.float32 else 1e-9
    easy = few | many
    assert_allclose(rows_of(model)[1][easy], items[easy], rtol=rtol, atol=rtol)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_factors", [2, 8])
def test_rows_one_rating_short_get_the_solution_of_least_norm(n_factors, dtype):
    # As many ratings as factors: not enough to determine the bias as well.
    rng = np.random.RandomState(1)
    n_users, n_items = 50, 300
    X = np.array(
        [(u, i) for i in range(n_items) for u in rng.permutation(n_users)[:n_factors]]
    )
    y = rng.uniform(1, 5, len(X)).astype(dtype)
    model = biased(n_factors=n_factors, regularization=0, max_iter=1, init_scale=1.0)
    model.fit(X, y)
    users = first_users(model, X).astype(dtype).astype(float)
    items, n_tested = rows_of(model)[1], 0
    for i in range(n_items):
        rated = X[:, 1] == i
        design = np.column_stack([users[X[rated, 0], :-1], np.ones(n_factors)])
        if np.linalg.cond(design) > 30:
            continue
        n_tested += 1
        expected = np.linalg.pinv(design) @ (y[rated] - model.global_mean_)
        rtol = 1e-3 if dtype == np.float32 else 1e-9
        assert_allclose(items[i], expected, rtol=rtol, atol=rtol)
    assert n_tested > 100


# ---------------------------------------------------------------- predict and transform


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("n_factors", [0, 3])
def test_predict_by_hand(n_factors, solver, data):
    X, y = data
    model = biased(n_factors=n_factors, solver=solver, clip=False).fit(X, y)
    users, items = rows_of(model)
    mu = y.mean()
    every_pair = np.array(list(np.ndindex(N_USERS, N_ITEMS)))
    expected = scores_of(users, items, mu)
    assert_allclose(model.predict(every_pair), expected.ravel(), rtol=1e-13)
    unseen_user = model.predict([[-1, i] for i in range(N_ITEMS)])
    assert_allclose(unseen_user, mu + items[:, -1], rtol=1e-13)
    unseen_item = model.predict([[u, 99] for u in range(N_USERS)])
    assert_allclose(unseen_item, mu + users[:, -1], rtol=1e-13)
    assert_allclose(model.predict([[-1, 99]]), mu, rtol=1e-13)
    assert np.ptp(unseen_user) > 0.01
    assert np.ptp(unseen_item) > 0.01


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_factors", [0, 3])
def test_shapes_and_dtypes(n_factors, dtype, solver, data):
    X, y = data
    model = biased(n_factors=n_factors, solver=solver).fit(X, y.astype(dtype))
    shapes = [(N_USERS, n_factors), (N_ITEMS, n_factors), (N_USERS,), (N_ITEMS,)]
    for name, shape in zip(LEARNT, shapes, strict=True):
        assert getattr(model, name).shape == shape
        assert getattr(model, name).dtype == dtype
    assert model.predict(X).dtype == dtype
    assert model.transform(X).dtype == dtype
    assert model.n_iter_ == len(model.loss_curve_) == 4
    double = biased(n_factors=n_factors, solver=solver).fit(X, y)
    assert_allclose(model.predict(X), double.predict(X), rtol=1e-4)
    assert_allclose(model.loss_curve_, double.loss_curve_, rtol=1e-5)


# ------------------------------------------------------- n_factors=0: the biases alone


@pytest.mark.parametrize("weighted_regularization", [False, True])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("with_weights", [False, True])
def test_both_solvers_find_the_biases_of_the_ridge_regression(
    with_weights, fit_intercept, weighted_regularization, data, weights
):
    X, y = data
    w = weights if with_weights else None
    R, W = reference.dense(*X.T, y, w)
    lam_b = 0.2 if weighted_regularization else 1.5
    mu = reference.weighted_mean(R, W) if fit_intercept else 0.0
    expected = solve_biases(R, W, mu, lam_b, weighted_regularization)
    options = {
        "n_factors": 0,
        "regularization": 123.0,  # there is nothing that it could penalise
        "bias_regularization": lam_b,
        "fit_intercept": fit_intercept,
        "weighted_regularization": weighted_regularization,
    }
    exact = biased(**options, max_iter=300).fit(X, y, w)
    assert_allclose(exact.user_biases_, expected[0], atol=1e-10)
    assert_allclose(exact.item_biases_, expected[1], atol=1e-10)
    whole = descent(len(y), **options, max_iter=1000).fit(X, y, w)
    assert_allclose(whole.user_biases_, expected[0], atol=1e-10)
    assert_allclose(whole.item_biases_, expected[1], atol=1e-10)
    assert_allclose(whole.loss_curve_[-1], exact.loss_curve_[-1], rtol=1e-10)
    stochastic = biased(
        solver="sgd",
        optimizer="sgd",
        learning_rate=0.1,
        learning_rate_schedule="exponential",
        decay=0.97,
        max_iter=400,
        **options,
    ).fit(X, y, w)
    # Steps of a rating each stop at the noise of their last learning rate.
    assert_allclose(stochastic.user_biases_, expected[0], atol=0.02)
    assert_allclose(stochastic.item_biases_, expected[1], atol=0.02)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("solver", SOLVERS)
def test_without_factors_their_penalty_changes_nothing(solver, dtype, data):
    X, y = data
    none, much = (
        biased(
            n_factors=0,
            solver=solver,
            regularization=regularization,
            bias_regularization=0.1,
            max_iter=10,
        ).fit(X, y.astype(dtype))
        for regularization in (0, 1e4)
    )
    rtol = 1e-5 if dtype == np.float32 else 1e-10
    for name in LEARNT:
        assert_allclose(getattr(much, name), getattr(none, name), rtol=rtol, atol=rtol)
    assert_allclose(much.loss_curve_, none.loss_curve_, rtol=rtol)


# ----------------------------------------------------------- one objective, two solvers


@pytest.mark.parametrize("weighted_regularization", [False, True])
@pytest.mark.parametrize("with_weights", [False, True])
def test_both_solvers_minimise_the_same_objective(
    with_weights, weighted_regularization
):
    X, y = make_ratings(60, 40, 1200, n_factors=2, factor_scale=1.0, random_state=1)
    w = np.random.default_rng(0).uniform(0.5, 2, len(y)) if with_weights else None
    R, W = reference.dense(*X.T, y, w)
    lam, lam_b = (0.12, 0.05) if weighted_regularization else (3.0, 1.0)
    options = {
        "n_factors": 2,
        "regularization": lam,
        "bias_regularization": lam_b,
        "weighted_regularization": weighted_regularization,
    }
    terms = lam, weighted_regularization, lam_b
    exact = biased(**options, max_iter=300).fit(X, y, w)
    assert np.linalg.norm(exact.item_factors_) > 1  # or the factors were penalised away
    value = reference.objective(R, W, *rows_of(exact), exact.global_mean_, *terms)
    at_start = (W * (R - exact.global_mean_) ** 2).sum()
    assert value < 0.8 * at_start
    start = np.zeros((60, 3)), rows_of(exact)[1]
    steepest = max(
        abs(g).max()
        for g in reference.gradients(R, W, *start, exact.global_mean_, *terms)
    )
    decaying = {"solver": "sgd", "learning_rate_schedule": "exponential"} | options
    for stochastic, rtol in (
        (descent(len(y), **options), 1e-10),
        (
            biased(
                optimizer="sgd",
                learning_rate=0.05,
                decay=0.98,
                max_iter=300,
                **decaying,
            ),
            1e-3,
        ),
        (biased(learning_rate=0.2, decay=0.99, max_iter=400, **decaying), 1e-3),
    ):
        stochastic.fit(X, y, w)
        rows = rows_of(stochastic)
        reached = reference.objective(R, W, *rows, stochastic.global_mean_, *terms)
        assert_allclose(reached, value, rtol=rtol)
        assert_allclose(stochastic.loss_curve_[-1], reached, rtol=10 * rtol)
        for gradient in reference.gradients(
            R, W, *rows, stochastic.global_mean_, *terms
        ):
            assert abs(gradient).max() < max(10 * rtol, 1e-7) * steepest


@pytest.mark.parametrize("n_factors", [0, 3])
@pytest.mark.parametrize("unit", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("solver", [*SOLVERS, "als-cg"])
def test_the_loss_curve_is_the_objective_in_any_unit(
    solver, dtype, unit, n_factors, data
):
    X, y = data
    y = (unit * y).astype(dtype)
    # So small are the steps of the last epoch that its ratings all meet one model.
    steps = {"learning_rate": 0.3, "learning_rate_schedule": "exponential"}
    model = biased(
        n_factors=n_factors,
        solver=solver,
        optimizer="sgd",
        batch_size=N_RATINGS,
        regularization=0.1,
        bias_regularization=0.1,
        init_scale=0.1 * unit**0.5,
        decay=0.6,
        max_iter=40,
        **steps if unit <= 1 else {**steps, "learning_rate": 0.3 / unit},
    ).fit(X, y)
    R, W = reference.dense(*X.T, y.astype(float))
    terms = 0.1, True, 0.1
    expected = reference.objective(R, W, *rows_of(model), model.global_mean_, *terms)
    rtol = 1e-4 if dtype == np.float32 else 1e-6
    assert_allclose(model.loss_curve_[-1], expected, rtol=rtol)


# ------------------------------------------------------- the parameters of the biases


@pytest.mark.parametrize("solver", SOLVERS)
def test_bias_regularization(solver, data):
    X, y = data
    options = {"solver": solver, "regularization": 0.1, "max_iter": 100}
    light = biased(bias_regularization=0.01, **options).fit(X, y)
    heavy = biased(bias_regularization=2.0, **options).fit(X, y)
    for name in ("user_biases_", "item_biases_"):
        ratio = np.linalg.norm(getattr(heavy, name)) / np.linalg.norm(
            getattr(light, name)
        )
        assert ratio < 0.6
    assert np.linalg.norm(heavy.item_factors_) > np.linalg.norm(light.item_factors_)
    same, anew = (
        biased(bias_regularization=value, **options).fit(X, y) for value in (None, 0.1)
    )
    for name in LEARNT:
        assert_array_equal(getattr(same, name), getattr(anew, name))
    assert same.loss_curve_ == anew.loss_curve_
    assert same.bias_regularization is None
    assert abs(same.user_biases_ - light.user_biases_).max() > 1e-3


def test_biases_are_free_of_the_penalty_of_the_factors(data):
    X, y = data
    R, W = reference.dense(*X.T, y)
    options = {"bias_regularization": 0.1, "max_iter": 300}
    model = biased(regularization=1e6, **options).fit(X, y)
    assert abs(model.user_factors_).max() < 1e-6
    expected = solve_biases(R, W, model.global_mean_, 0.1, True)
    assert_allclose(model.user_biases_, expected[0], atol=1e-8)
    assert_allclose(model.item_biases_, expected[1], atol=1e-8)


def test_one_step_of_sgd_by_hand():
    model = plain_sgd(
        n_factors=2,
        fit_intercept=False,
        regularization=0.3,
        bias_regularization=0.7,
        learning_rate=0.1,
        bias_learning_rate=0.02,
        init_scale=0.05,
        max_iter=2,
        clip=False,
    ).fit([[0, 0]], [3.0], sample_weight=[2.0])
    rng = np.random.RandomState(0)
    q, p = rng.normal(scale=0.05, size=2), rng.normal(scale=0.05, size=2)
    b_u = b_i = 0.0
    losses = []
    for _ in range(2):
        error = b_u + b_i + p @ q - 3.0
        losses.append(2 * error**2)
        p, q = (
            p - 0.1 * 2 * (error * q + 0.3 * p),
            q - 0.1 * 2 * (error * p + 0.3 * q),
        )
        b_u -= 0.02 * 2 * (error + 0.7 * b_u)
        b_i -= 0.02 * 2 * (error + 0.7 * b_i)
        losses[-1] += 2 * 0.3 * (p @ p + q @ q) + 2 * 0.7 * (b_u**2 + b_i**2)
    assert_allclose(model.user_factors_[0], p, rtol=1e-13)
    assert_allclose(model.item_factors_[0], q, rtol=1e-13)
    assert_allclose(model.user_biases_, b_u, rtol=1e-13)
    assert_allclose(model.item_biases_, b_i, rtol=1e-13)
    assert_allclose(model.loss_curve_, losses, rtol=1e-13)


@pytest.mark.parametrize("optimizer", ["sgd", "adagrad", "adam"])
@pytest.mark.parametrize("batch_size", [1, 16])
def test_bias_learning_rate(batch_size, optimizer, data):
    X, y = data
    options = {
        "solver": "sgd",
        "optimizer": optimizer,
        "learning_rate": 0.02,
        "batch_size": batch_size,
        "init_scale": 0.05,
    }
    still = biased(bias_learning_rate=1e-12, **options).fit(X, y)
    moved = biased(bias_learning_rate=0.04, **options).fit(X, y)
    for name in ("user_biases_", "item_biases_"):
        assert abs(getattr(still, name)).max() < 1e-9
        assert abs(getattr(moved, name)).max() > 0.01
    still_factors = biased(
        bias_learning_rate=0.02, **options | {"learning_rate": 1e-12}
    ).fit(X, y)
    rng = np.random.RandomState(0)
    Q = rng.normal(scale=moved.init_scale, size=(N_ITEMS, 3))
    assert_allclose(still_factors.item_factors_, Q, atol=1e-9)
    assert abs(still_factors.user_biases_).max() > 0.005
    same, anew = (
        biased(bias_learning_rate=value, **options).fit(X, y) for value in (None, 0.02)
    )
    for name in LEARNT:
        assert_array_equal(getattr(same, name), getattr(anew, name))
    assert same.bias_learning_rate is None
    assert abs(same.user_biases_ - moved.user_biases_).max() > 1e-3


# ---------------------------------------------------- log loss: item response theory


@pytest.fixture(scope="module")
def answers():
    """Return answers of 300 people to 60 questions, and what made them."""
    rng = np.random.default_rng(0)
    abilities, difficulties = rng.normal(0, 1.5, 300), rng.normal(0.3, 1.5, 60)
    right = rng.uniform(size=(300, 60)) < expit(abilities[:, np.newaxis] - difficulties)
    X = np.array(list(np.ndindex(right.shape)))
    return X, right.ravel().astype(float), abilities, difficulties


def rasch(**params):
    defaults = {
        "n_factors": 0,
        "solver": "sgd",
        "loss": "log_loss",
        "regularization": 0.01,
        "max_iter": 60,
    }
    return biased(**(defaults | params))


def test_abilities_and_difficulties_are_recovered(answers):
    X, y, abilities, difficulties = answers
    model = rasch(tol=1e-3, learning_rate=0.2).fit(X, y)
    assert np.corrcoef(model.user_biases_, abilities)[0, 1] > 0.95
    assert np.corrcoef(-model.item_biases_, difficulties)[0, 1] > 0.98
    probability = expit(abilities[X[:, 0]] - difficulties[X[:, 1]])
    assert np.sqrt(np.mean((model.predict(X) - probability) ** 2)) < 0.07


@pytest.mark.parametrize("fit_intercept", [False, True])
def test_predicted_probability_by_hand(fit_intercept, answers):
    X, y, *_ = answers
    model = rasch(max_iter=3, clip=False, fit_intercept=fit_intercept).fit(X, y)
    mean = y.mean() if fit_intercept else 0.5
    assert_allclose(model.global_mean_, mean, rtol=1e-13)
    users, items = rows_of(model)
    z = scores_of(users, items, logit(mean))
    assert_allclose(model.predict(X), expit(z).ravel(), rtol=1e-12)
    assert_allclose(model.predict([[-1, 4]]), expit(logit(mean) + items[4, -1]))
    assert_allclose(model.predict([[7, -1]]), expit(logit(mean) + users[7, -1]))
    assert_allclose(model.predict([[-1, -1]]), mean)
    with_factors = rasch(n_factors=2, max_iter=3, clip=False).fit(X, y)
    z = scores_of(*rows_of(with_factors), logit(y.mean()))
    assert_allclose(with_factors.predict(X), expit(z).ravel(), rtol=1e-12)


@pytest.mark.parametrize("weighted_regularization", [False, True])
def test_log_loss_has_the_optimum_of_logistic_regression(
    weighted_regularization, answers
):
    X, y, *_ = answers
    lam = 0.02 if weighted_regularization else 2.0
    # 2 Σ log loss + λ Σ c b² is 2 λ (1/λ Σ log loss + ½ Σ (√c b)²): scikit-learn's,
    # with C = 1/λ and coefficients √c b of dummy variables 1/√c.
    c = np.repeat([60.0, 300.0], [300, 60]) if weighted_regularization else np.ones(360)
    design = np.zeros((len(y), 360))
    at = np.arange(len(y))
    design[at, X[:, 0]] = 1 / np.sqrt(c[X[:, 0]])
    design[at, 300 + X[:, 1]] = 1 / np.sqrt(c[300 + X[:, 1]])
    exact = LogisticRegression(
        C=1 / lam, fit_intercept=False, tol=1e-10, solver="newton-cholesky"
    ).fit(design, y)
    expected = exact.coef_[0] / np.sqrt(c)
    options = {
        "bias_regularization": lam,
        "regularization": 123.0,
        "weighted_regularization": weighted_regularization,
        "fit_intercept": False,
    }
    # Gradient descent over all ratings at once converges to rounding; the tolerance is
    # that of the gradient at which the logistic regression stops.
    whole = rasch(
        optimizer="sgd",
        momentum=0.9,
        batch_size=len(y),
        learning_rate=100.0,
        max_iter=400,
        **options,
    ).fit(X, y)
    found = np.concatenate([whole.user_biases_, whole.item_biases_])
    assert_allclose(found, expected, atol=1e-6)
    # Steps of a rating each stop at the noise of their last learning rate.
    stochastic = rasch(
        optimizer="sgd",
        learning_rate=0.1,
        learning_rate_schedule="exponential",
        decay=0.97,
        max_iter=300,
        **options,
    ).fit(X, y)
    found = np.concatenate([stochastic.user_biases_, stochastic.item_biases_])
    assert_allclose(found, expected, atol=0.01)
    assert_allclose(stochastic.loss_curve_[-1], whole.loss_curve_[-1], rtol=1e-4)


def test_the_gradient_of_the_log_loss_vanishes(data, weights):
    X, y = data
    y = (y - 1) / 4  # shares, not only 0 and 1
    R, W = reference.dense(*X.T, y, weights)
    model = descent(
        len(y),
        n_factors=2,
        loss="log_loss",
        regularization=0.03,
        bias_regularization=0.01,
        learning_rate=5.0,
        max_iter=6000,
    ).fit(X, y, weights)
    assert np.linalg.norm(model.item_factors_) > 0.5
    rows = rows_of(model)
    terms = logit(np.average(y, weights=weights)), 0.03, True, 0.01
    value = reference.objective(R, W, *rows, *terms, logistic=True)
    assert_allclose(model.loss_curve_[-1], value, rtol=1e-10)
    for gradient in reference.gradients(R, W, *rows, *terms, logistic=True):
        assert abs(gradient).max() < 1e-6


# ------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"loss": "log_loss"}, r"loss='log_loss' needs solver='sgd', got"),
        ({"early_stopping": True}, r"early_stopping=True needs solver='sgd', got"),
    ],
)
@pytest.mark.parametrize("solver", ["als", "als-cg"])
def test_what_als_cannot_do_is_an_error(solver, params, match, data):
    X, y = data
    model = biased(solver=solver, **params)
    match = f"{match} solver='{solver}'"
    with pytest.raises(ValueError, match=match):
        model.fit(X, (y - 1) / 4)
    with pytest.raises(NotFittedError):
        model.predict(X)
    model.set_params(solver="sgd").fit(X, (y - 1) / 4)
    assert model.predict(X).std() > 0


def test_partial_fit_belongs_to_sgd(data):
    X, y = data
    exact = biased()
    assert not hasattr(exact, "partial_fit")
    with pytest.raises(AttributeError, match="partial_fit"):
        exact.partial_fit(X, y)
    model = plain_sgd()
    for _ in range(4):
        model.partial_fit(X, y)
    whole = plain_sgd(max_iter=4).fit(X, y)
    for name in LEARNT:
        assert_allclose(getattr(model, name), getattr(whole, name), rtol=1e-12)
    assert_allclose(model.loss_curve_, whole.loss_curve_, rtol=1e-12)
    assert model.n_iter_ == 4


def test_partial_fit_moves_the_biases_that_it_touches(data):
    X, y = data
    model = biased(solver="sgd").fit(X, y)
    before = {name: getattr(model, name).copy() for name in LEARNT}
    model.partial_fit([[99, 3], [4, -2]], [5.0, 1.0])
    assert_array_equal(model.users_, [*range(N_USERS), 99])
    assert_array_equal(model.items_, [-2, *range(N_ITEMS)])
    others = np.arange(N_USERS) != 4
    assert_array_equal(model.user_biases_[:-1][others], before["user_biases_"][others])
    others = np.arange(N_ITEMS) != 3
    assert_array_equal(model.item_biases_[1:][others], before["item_biases_"][others])
    assert model.user_biases_[-1] > 0  # five stars
    assert model.item_biases_[0] < 0  # one star
    assert model.item_biases_[4] != before["item_biases_"][3]


# ---------------------------------------------------------------------- bits and state


def test_attributes_of_a_solver_do_not_outlive_it(data):
    X, y = data
    model = biased(solver="sgd").fit(X, y)
    assert model.optimizer_state_
    model.set_params(solver="als").fit(X, y)
    assert vars(model).keys() == vars(biased().fit(X, y)).keys()
    assert not hasattr(model, "optimizer_state_")
    assert_same_bits(model, biased().fit(X, y))


# ------------------------------------------------------------------- ratings up to 100


@pytest.mark.parametrize("solver", SOLVERS)
def test_defaults_serve_scaled_ratings_of_any_unit(solver):
    X, y = make_ratings(
        500, 300, 30_000, rating_range=(1, 100), rating_step=1, global_mean=60,
        bias_scale=10, factor_scale=11, noise=15, random_state=0,
    )  # fmt: skip
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)

    def error(**params):
        model = TransformedTargetRegressor(
            BiasedMF(solver=solver, random_state=0, **params),
            transformer=StandardScaler(),
        ).fit(X_train, y_train)
        return np.sqrt(np.mean((model.predict(X_test) - y_test) ** 2))

    assert error() < 0.99 * error(n_factors=0) < 0.95 * y_test.std()


# ------------------------------------------------------------------- real ratings


@pytest.fixture(scope="module")
def films():
    return movielens.load()


# A model, the largest error that is allowed, and which of five folds to average over.
ON_FILMS = {
    "defaults": (BiasedMF(random_state=0), 0.852, slice(None)),
    "als": (
        BiasedMF(
            40,
            solver="als",
            regularization=12,
            bias_regularization=5,
            weighted_regularization=False,
            random_state=0,
        ),
        0.848,
        slice(1, 3),
    ),
    "sgd": (
        BiasedMF(
            50,
            solver="sgd",
            regularization=0.13,
            bias_regularization=0.1,
            learning_rate=0.03,
            random_state=0,
        ),
        0.848,
        slice(1, 3),
    ),
    "biases by als": (BiasedMF(0, solver="als", random_state=0), 0.876, slice(1, 3)),
    "biases by sgd": (BiasedMF(0, random_state=0), 0.876, slice(1, 3)),
    "SGDFactorizer": (
        SGDFactorizer(40, tol=1e-4, max_iter=200, random_state=0),
        0.880,
        slice(1, 3),
    ),
}


@pytest.fixture(scope="module")
def error_on_films(films):
    """Return the RMSE of a model over its folds, each computed once."""
    folds = list(KFold(5, shuffle=True, random_state=0).split(films[0]))

    @functools.cache
    def error(name):
        model, _, some = ON_FILMS[name]
        return -cross_val_score(model, *films, cv=folds[some]).mean()

    return error


@movielens.needs_movielens
@pytest.mark.parametrize("name", ON_FILMS)
def test_error_on_films(name, error_on_films):
    _, limit, _ = ON_FILMS[name]
    assert error_on_films(name) <= limit


@movielens.needs_movielens
def test_both_solvers_serve_films_equally_well(error_on_films):
    assert abs(error_on_films("als") - error_on_films("sgd")) < 0.005
