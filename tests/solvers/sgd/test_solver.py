"""SGDFactorizer: its kernels, its grid, its parameters, its errors, partial_fit."""

import copy
import itertools
import warnings
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.special import expit, logit
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning
from sklearn.model_selection import (
    GridSearchCV,
    RandomizedSearchCV,
    train_test_split,
)
from sklearn.utils._param_validation import InvalidParameterError

from sklearn_mf import BiasedMF, SGDFactorizer
from sklearn_mf._data.ratings import hold_out
from sklearn_mf._data.tables import read_ratings
from sklearn_mf._solvers.sgd import solver as sgd_solver
from sklearn_mf.datasets import make_ratings

WHOLE = 10**6  # a batch of all ratings
OPTIMIZERS = {
    "sgd": {"optimizer": "sgd", "learning_rate": 0.03},
    "momentum": {"optimizer": "sgd", "momentum": 0.7, "learning_rate": 0.02},
    "nesterov": {
        "optimizer": "sgd",
        "momentum": 0.6,
        "nesterov": True,
        "learning_rate": 0.02,
    },
    "adagrad": {"optimizer": "adagrad", "learning_rate": 0.07, "epsilon": 1e-3},
    "adam": {
        "optimizer": "adam",
        "beta_1": 0.8,
        "beta_2": 0.95,
        "learning_rate": 0.01,
        "epsilon": 1e-2,
    },
}


def sgd(**params):
    defaults = {"n_factors": 3, "max_iter": 4, "tol": None, "random_state": 0}
    return SGDFactorizer(**(defaults | params))


def biased_sgd(**params):
    defaults = {"n_factors": 3, "max_iter": 4, "tol": None, "random_state": 0}
    return BiasedMF(solver="sgd", **(defaults | params))


@pytest.fixture(scope="module")
def data():
    return make_ratings(25, 15, 150, random_state=0)


@pytest.fixture(scope="module")
def weights():
    return np.random.default_rng(1).uniform(0.5, 2, size=150)


@pytest.fixture(scope="module")
def large():
    X, y = make_ratings(200, 100, 5000, noise=0.4, random_state=1)
    return train_test_split(X, y, random_state=0)


def small_blocks(n_ratings=16):
    """Cut blocks so small that few ratings make a grid of many."""
    return mock.patch.object(sgd_solver, "BLOCK_RATINGS", n_ratings)


def to_shares(y):
    """Scale stars to what log loss wants."""
    return (y - 1) / 4


def rmse(model, X, y):
    return np.sqrt(np.mean((model.predict(X) - y) ** 2))


def fitted(model):
    """Fitted parameters: P, Q and the biases b of users and c of items, in float64."""
    P, Q = model.user_factors_, model.item_factors_
    b = getattr(model, "user_biases_", np.zeros(len(P)))
    c = getattr(model, "item_biases_", np.zeros(len(Q)))
    return {
        key: np.array(value, dtype=float)
        for key, value in (("P", P), ("Q", Q), ("b", b), ("c", c))
    }


def start(model, X):
    """The parameters that a fit begins with, drawn as the docstring says."""
    rng = np.random.RandomState(model.random_state)
    n_users, n_items = (len(np.unique(column)) for column in X.T[:2])
    scale, d = model.init_scale, model.n_factors
    Q = rng.normal(scale=scale, size=(n_items, d))
    P = rng.normal(scale=scale, size=(n_users, d))
    return {"P": P, "Q": Q, "b": np.zeros(n_users), "c": np.zeros(n_items)}


# ------------------------------------------------------- the mathematics in plain NumPy


def loss_of(z, r, logistic):
    """Squared error, or twice the log loss."""
    if logistic:
        p = 1 / (1 + np.exp(-z))
        return -2 * (r * np.log(p) + (1 - r) * np.log(1 - p))
    return (r - z) ** 2


def counts_of(X, w, weighted):
    """The counts c of users and of items."""
    counts = np.bincount(X[:, 0], w), np.bincount(X[:, 1], w)
    return counts if weighted else [np.ones(len(c)) for c in counts]


def objective(theta, X, y, w, mu, lams, weighted, logistic):
    """The objective as the docstring writes it."""
    users, items = X.T
    P, Q, b, c = (theta[key] for key in "PQbc")
    z = mu + b[users] + c[items] + (P[users] * Q[items]).sum(axis=1)
    c_users, c_items = counts_of(X, w, weighted)
    return (
        (w * loss_of(z, y, logistic)).sum()
        + lams[0] * (c_users @ (P**2).sum(axis=1) + c_items @ (Q**2).sum(axis=1))
        + lams[1] * (c_users @ b**2 + c_items @ c**2)
    )


def step(optimizer, theta, g, rate, memory, options):
    """One step of a row; `memory` is what it remembers of the steps before."""
    memory["t"] = t = memory.get("t", 0) + 1
    if optimizer == "sgd":
        return theta - rate * g
    if optimizer == "momentum":
        memory["v"] = options["momentum"] * memory.get("v", 0.0) - rate * g
        return theta + memory["v"]
    if optimizer == "nesterov":
        # θ is where the gradient looks: ahead of where the row stands by the momentum.
        ahead = options["momentum"] * memory.get("v", 0.0)
        stands = theta - ahead
        memory["v"] = ahead - rate * g
        return stands + memory["v"] + options["momentum"] * memory["v"]
    if optimizer == "adagrad":
        memory["G"] = memory.get("G", 0.0) + g**2
        return theta - rate * g / (np.sqrt(memory["G"]) + options["epsilon"])
    beta_1, beta_2 = options["beta_1"], options["beta_2"]
    memory["m"] = beta_1 * memory.get("m", 0.0) + (1 - beta_1) * g
    memory["v"] = beta_2 * memory.get("v", 0.0) + (1 - beta_2) * g**2
    m, v = memory["m"] / (1 - beta_1**t), memory["v"] / (1 - beta_2**t)
    return theta - rate * m / (np.sqrt(v) + options["epsilon"])


def descend(
    theta, X, y, w, *, optimizer, mu, rates, lams, weighted, logistic, batch_size,
    n_epochs, orders=None,
):  # fmt: skip
    """Stochastic gradient descent, one rating at a time: parameters and loss curve.

    `orders` lists the ratings of each block in each epoch; without it they come by user
    and then by item.
    """
    theta = copy.deepcopy(theta)
    options = OPTIMIZERS[optimizer]
    rate = dict(zip("PQbc", np.repeat(rates, 2), strict=True))
    lam = dict(zip("PQbc", np.repeat(lams, 2), strict=True))
    weight_sums = counts_of(X, w, True)
    ones = counts_of(X, w, False)
    share = ones if weighted else [1 / c for c in weight_sums]
    share = {"P": share[0], "b": share[0], "Q": share[1], "c": share[1]}
    if orders is None:
        orders = [[np.lexsort((X[:, 1], X[:, 0]))]] * n_epochs
    memory, curve = {}, []
    for blocks in orders:
        total = 0.0
        for batch in (
            block[at : at + batch_size]
            for block in blocks
            for at in range(0, len(block), batch_size)
        ):
            gradients = {}
            for k in batch:
                u, i = X[k]
                p, q = theta["P"][u], theta["Q"][i]
                z = mu + theta["b"][u] + theta["c"][i] + p @ q
                error = (1 / (1 + np.exp(-z)) if logistic else z) - y[k]
                total += w[k] * loss_of(z, y[k], logistic)
                for key, row, slope in (
                    ("P", u, q), ("Q", i, p), ("b", u, 1.0), ("c", i, 1.0),
                ):  # fmt: skip
                    penalty = lam[key] * share[key][row] * theta[key][row]
                    g = w[k] * (error * slope + penalty)
                    gradients[key, row] = gradients.get((key, row), 0.0) + g
            for (key, row), g in gradients.items():
                theta[key][row] = step(
                    optimizer,
                    theta[key][row],
                    g / len(batch),
                    rate[key],
                    memory.setdefault((key, row), {}),
                    options,
                )
        c_users, c_items = weight_sums if weighted else ones
        P, Q, b, c = (theta[key] for key in "PQbc")
        penalty = lams[0] * ((c_users @ P**2).sum() + (c_items @ Q**2).sum())
        penalty += lams[1] * (c_users @ b**2 + c_items @ c**2)
        curve.append(total + penalty)
    return theta, curve


# ---------------------------------------------------------------------------- gradient


@pytest.mark.parametrize("weighted_regularization", [False, True])
@pytest.mark.parametrize("loss", ["squared_error", "log_loss"])
@pytest.mark.parametrize("make", [sgd, biased_sgd])
def test_a_step_goes_along_half_the_gradient(
    make, loss, weighted_regularization, data, weights
):
    X, y = data
    logistic = loss == "log_loss"
    y = to_shares(y) if logistic else y
    lams = 0.3, (0.7 if make is biased_sgd else 0.0)
    options = {"bias_regularization": lams[1]} if make is biased_sgd else {}
    model = make(
        **options,
        regularization=lams[0],
        weighted_regularization=weighted_regularization,
        loss=loss,
        learning_rate=0.3,
        init_scale=0.4,
        batch_size=WHOLE,
        optimizer="sgd",
        max_iter=2,
    ).fit(X, y, weights)
    before = fitted(model)
    assert make is sgd or abs(before["b"]).min() > 0
    model.set_params(warm_start=True, max_iter=1).fit(X, y, weights)
    after = fitted(model)
    mu = logit(model.global_mean_) if logistic else model.global_mean_

    def value(theta):
        return objective(
            theta, X, y, weights, mu, lams, weighted_regularization, logistic
        )

    for key in "PQbc" if make is biased_sgd else "PQ":
        gradient = np.empty_like(before[key])
        for at in np.ndindex(gradient.shape):
            ends = []
            for shift in (1e-4, -1e-4):
                moved = copy.deepcopy(before)
                moved[key][at] += shift
                ends.append(value(moved))
            gradient[at] = (ends[0] - ends[1]) / 2e-4
        stepped = (before[key] - after[key]) / 0.3 * len(y)
        error = np.linalg.norm(stepped - gradient / 2) / np.linalg.norm(gradient / 2)
        assert error < 1e-6, key
        assert_allclose(stepped, gradient / 2, rtol=1e-5, atol=1e-6)


# ------------------------------------------------------------- optimizers, step by step


# Each line is a kernel to compile; batches have one for both models.
KERNELS = [
    *itertools.product(OPTIMIZERS, [np.float32], [sgd], [1]),
    ("adagrad", np.float32, biased_sgd, 1),
    *itertools.product(OPTIMIZERS, [np.float64], [sgd, biased_sgd], [1]),
    *itertools.product(
        OPTIMIZERS, [np.float32, np.float64], [sgd, biased_sgd], [7, WHOLE]
    ),
]


@pytest.mark.parametrize("logistic", [False, True])
@pytest.mark.parametrize(("optimizer", "dtype", "make", "batch_size"), KERNELS)
def test_optimizers_against_the_reference(
    optimizer, dtype, make, batch_size, logistic, data, weights
):
    X, y = data
    y = to_shares(y) if logistic else y
    biased = make is biased_sgd
    options = OPTIMIZERS[optimizer]
    if biased:
        options = options | {"bias_regularization": 0.9, "bias_learning_rate": 0.05}
    model = make(
        **options,
        loss="log_loss" if logistic else "squared_error",
        regularization=1.5,
        weighted_regularization=False,
        batch_size=batch_size,
        shuffle=False,
        max_iter=3,
    ).fit(X, y.astype(dtype), weights)
    mu = np.average(y, weights=weights)
    theta, curve = descend(
        start(model, X),
        X,
        y,
        weights,
        optimizer=optimizer,
        mu=logit(mu) if logistic else mu,
        rates=(model.learning_rate, 0.05 if biased else 0.0),
        lams=(1.5, 0.9 if biased else 0.0),
        weighted=False,
        logistic=logistic,
        batch_size=batch_size,
        n_epochs=3,
    )
    assert model.user_factors_.dtype == dtype
    tolerance = 2e-4 if dtype == np.float32 else 1e-10
    for key, value in fitted(model).items():
        assert_allclose(value, theta[key], rtol=tolerance, atol=tolerance)
    assert_allclose(model.loss_curve_, curve, rtol=tolerance)


@pytest.mark.parametrize(("make", "batch_size"), [(sgd, 1), (sgd, 7), (biased_sgd, 7)])
def test_weighted_regularization_against_the_reference(make, batch_size, data, weights):
    X, y = data
    biased = {"bias_regularization": 0.9, "bias_learning_rate": 0.05}
    model = make(
        **OPTIMIZERS["sgd"],
        **(biased if make is biased_sgd else {}),
        regularization=0.4,
        batch_size=batch_size,
        shuffle=False,
    ).fit(X, y, weights)
    theta, curve = descend(
        start(model, X),
        X,
        y,
        weights,
        optimizer="sgd",
        mu=np.average(y, weights=weights),
        rates=(0.03, 0.05 if make is biased_sgd else 0.0),
        lams=(0.4, 0.9 if make is biased_sgd else 0.0),
        weighted=True,
        logistic=False,
        batch_size=batch_size,
        n_epochs=4,
    )
    for key, value in fitted(model).items():
        assert_allclose(value, theta[key], rtol=1e-10)
    assert_allclose(model.loss_curve_, curve, rtol=1e-10)


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_shuffled_blocks_against_the_reference(optimizer, batch_size, data, weights):
    X, y = data
    model = sgd(
        **OPTIMIZERS[optimizer],
        regularization=1.5,
        weighted_regularization=False,
        batch_size=batch_size,
        max_iter=3,
    )
    rng = np.random.RandomState(0)
    rng.normal(size=(25 + 15, 3))  # what the start draws
    at = {pair: k for k, pair in enumerate(map(tuple, X.tolist()))}
    with small_blocks(4), mock.patch.object(sgd_solver, "BLOCK_BATCHES", 2):
        model.fit(X, y, weights)
        grid = sgd_solver.Grid(read_ratings(model, X, y, None), batch_size, True, rng)
    assert grid.n_sides >= 4
    users, items = grid.user_order[grid.users], grid.item_order[grid.items]
    rows = np.array([at[pair] for pair in zip(users, items, strict=True)])
    orders = []
    for _ in range(3):
        spans = itertools.pairwise(grid.bounds)
        steps = zip(*grid.orders(True, rng), spans, strict=True)
        orders.append(
            [
                rows[begin + (offset + stride * np.arange(end - begin)) % (end - begin)]
                for offset, stride, (begin, end) in steps
                if end > begin
            ]
        )
        assert_array_equal(np.sort(np.concatenate(orders[-1])), np.arange(150))
    theta, curve = descend(
        start(model, X),
        X,
        y,
        weights,
        optimizer=optimizer,
        mu=np.average(y, weights=weights),
        rates=(model.learning_rate, 0.0),
        lams=(1.5, 0.0),
        weighted=False,
        logistic=False,
        batch_size=batch_size,
        n_epochs=3,
        orders=orders,
    )
    assert_allclose(model.user_factors_, theta["P"], rtol=1e-9)
    assert_allclose(model.item_factors_, theta["Q"], rtol=1e-9)
    assert_allclose(model.loss_curve_, curve, rtol=1e-10)


@pytest.mark.parametrize("n_factors", [1, 2, 7, 16, 33, 64])
def test_every_number_of_factors(n_factors, data, weights):
    X, y = data
    model = sgd(
        **OPTIMIZERS["sgd"],
        n_factors=n_factors,
        regularization=0.4,
        shuffle=False,
        max_iter=2,
    ).fit(X, y, weights)
    theta, _ = descend(
        start(model, X),
        X,
        y,
        weights,
        optimizer="sgd",
        mu=np.average(y, weights=weights),
        rates=(0.03, 0.0),
        lams=(0.4, 0.0),
        weighted=True,
        logistic=False,
        batch_size=1,
        n_epochs=2,
    )
    assert_allclose(model.user_factors_, theta["P"], rtol=1e-9)
    assert_allclose(model.item_factors_, theta["Q"], rtol=1e-9)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_dense_data_in_one_batch_is_the_textbook(optimizer):
    rng = np.random.default_rng(0)
    m, n, n_steps = 6, 5, 8
    X = np.array(list(np.ndindex(m, n)))
    R = rng.normal(3, 1, size=(m, n))
    model = sgd(
        **OPTIMIZERS[optimizer],
        regularization=2.0,
        weighted_regularization=False,
        batch_size=m * n,
        max_iter=n_steps,
    ).fit(X, R.ravel(), np.ones(m * n))
    begin = start(model, X)
    theta = np.vstack([begin["P"], begin["Q"]])  # one parameter
    memory = {}
    for _ in range(n_steps):
        P, Q = theta[:m], theta[m:]
        E = R.mean() + P @ Q.T - R
        g = np.vstack([E @ Q + 2.0 * P, E.T @ P + 2.0 * Q]) / (m * n)
        rate = model.learning_rate
        theta = step(optimizer, theta, g, rate, memory, OPTIMIZERS[optimizer])
    assert_allclose(model.user_factors_, theta[:m], rtol=1e-10, atol=1e-14)
    assert_allclose(model.item_factors_, theta[m:], rtol=1e-10, atol=1e-14)


def test_rows_that_a_batch_does_not_touch_neither_move_nor_age(data):
    X, y = data
    model = sgd(**OPTIMIZERS["adam"]).fit(X, y)
    rows, state = fitted(model), copy.deepcopy(model.optimizer_state_)
    model.partial_fit(X[X[:, 0] == 3], y[X[:, 0] == 3])
    others = np.arange(25) != 3
    assert_array_equal(model.user_factors_[others], rows["P"][others])
    for key in ("user_first_moments", "user_second_moments", "user_powers"):
        assert_array_equal(model.optimizer_state_[key][others], state[key][others])
        assert (model.optimizer_state_[key][3] != state[key][3]).all()


# ------------------------------------------------------ schedules of the learning rate


@pytest.mark.parametrize(
    ("options", "rate"),
    [
        ({"learning_rate_schedule": "constant"}, lambda t: 0.05),
        (
            {"learning_rate_schedule": "exponential", "decay": 0.6},
            lambda t: 0.05 * 0.6**t,
        ),
        (
            {"learning_rate_schedule": "invscaling", "power_t": 0.8},
            lambda t: 0.05 / (t + 1) ** 0.8,
        ),
    ],
)
def test_learning_rate_schedules(options, rate, data):
    X, y = data
    whole = sgd(optimizer="sgd", shuffle=False, max_iter=5, **options).fit(X, y)
    by_hand = sgd(optimizer="sgd", shuffle=False, max_iter=1, warm_start=True)
    losses = []
    for t in range(5):
        by_hand.set_params(learning_rate=rate(t)).fit(X, y)
        losses += by_hand.loss_curve_
    assert_allclose(whole.user_factors_, by_hand.user_factors_, rtol=1e-12)
    assert_allclose(whole.item_factors_, by_hand.item_factors_, rtol=1e-12)
    assert_allclose(whole.loss_curve_, losses, rtol=1e-12)
    stream = sgd(optimizer="sgd", shuffle=False, **options)
    for _ in range(5):
        stream.partial_fit(X, y)  # goes on in the schedule
    assert_allclose(stream.user_factors_, whole.user_factors_, rtol=1e-10)


# ---------------------------------------------------------------------------- the grid


@st.composite
def rating_tables(draw):
    """Tables of distinct pairs."""
    n_users, n_items = draw(st.integers(1, 20)), draw(st.integers(1, 20))
    n_ratings = draw(st.integers(1, n_users * n_items))
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    cells = rng.choice(n_users * n_items, size=n_ratings, replace=False)
    return np.column_stack(np.divmod(cells, n_items)), np.arange(1.0, n_ratings + 1)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    table=rating_tables(),
    shuffle=st.booleans(),
    batch_size=st.sampled_from([1, 2, 50]),
    seed=st.integers(0, 1000),
)
def test_the_grid_holds_every_rating_once(table, shuffle, batch_size, seed):
    ratings = read_ratings(SGDFactorizer(), *table, table[1] + 0.5)
    with small_blocks(2):
        grid = sgd_solver.Grid(
            ratings, batch_size, shuffle, np.random.RandomState(seed)
        )
    n, n_blocks = len(table[1]), grid.n_sides**2
    users, items = grid.user_order[grid.users], grid.item_order[grid.items]
    X = np.column_stack([ratings.users[users], ratings.items[items]])
    order = np.argsort(grid.ratings)
    assert_array_equal(grid.ratings[order], table[1])
    assert_array_equal(X[order], table[0])
    assert_array_equal(grid.weights, grid.ratings + 0.5)
    assert len(grid.bounds) == n_blocks + 1
    assert (grid.bounds[0], grid.bounds[-1]) == (0, n)
    assert (np.diff(grid.bounds) >= 0).all()

    assert grid.n_sides <= min(len(ratings.users), len(ratings.items))
    fewest = 2 if batch_size == 1 else sgd_solver.BLOCK_BATCHES * batch_size
    assert grid.n_sides == 1 or n / n_blocks >= fewest
    for rows in (grid.users, grid.items):
        blocks = np.split(rows, grid.bounds[1:-1])
        for t in range(grid.n_sides):
            diagonal = blocks[t * grid.n_sides : (t + 1) * grid.n_sides]
            spans = sorted((b.min(), b.max()) for b in diagonal if len(b))
            # Neither rows nor what lies between the rows of a block is shared.
            assert all(a[1] < b[0] for a, b in itertools.pairwise(spans))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(table=rating_tables(), seed=st.integers(0, 1000))
def test_the_orders_of_a_grid_are_permutations(table, seed):
    ratings = read_ratings(SGDFactorizer(), *table, None)
    rng = np.random.RandomState(seed)
    with small_blocks(3):
        grid = sgd_solver.Grid(ratings, 1, True, rng)
    for _ in range(3):
        offsets, strides = grid.orders(True, rng)
        for n, offset, stride in zip(
            np.diff(grid.bounds), offsets, strides, strict=True
        ):
            if n == 0:
                continue
            assert 0 <= offset < n
            assert 1 <= stride <= n  # the kernels take n away once at most
            assert len(np.unique((offset + np.arange(n) * stride) % n)) == n
    offsets, strides = grid.orders(False, rng)
    assert_array_equal(offsets, 0)
    assert_array_equal(strides, 1)


def test_each_epoch_has_an_order_of_its_own(data):
    ratings = read_ratings(SGDFactorizer(), *data, None)
    rng = np.random.RandomState(0)
    grid = sgd_solver.Grid(ratings, 1, True, rng)
    drawn = {tuple(map(int, np.ravel(grid.orders(True, rng)))) for _ in range(20)}
    assert len(drawn) == 20


def test_blocks_hold_enough_ratings_and_are_about_equal(large):
    ratings = read_ratings(SGDFactorizer(), large[0], large[2], None)
    with small_blocks(100):
        grid = sgd_solver.Grid(ratings, 1, True, np.random.RandomState(0))
    assert grid.n_sides == 6  # 3750 / 36 is more than 100, 3750 / 49 is not
    sizes = np.diff(grid.bounds)
    assert sizes.min() > 0.4 * sizes.mean()
    assert sizes.max() < 2 * sizes.mean()


@pytest.mark.parametrize("n_threads", [1, 2, 3, 4, 7, 100])
def test_tasks_of_a_diagonal_are_its_blocks(n_threads, large):
    ratings = read_ratings(SGDFactorizer(), large[0], large[2], None)
    with small_blocks(200):
        grid = sgd_solver.Grid(ratings, 1, True, np.random.RandomState(0))
    n = grid.n_sides
    assert n == 4
    diagonals = list(grid.diagonals(n_threads))
    assert len(diagonals) == n
    for t, tasks in enumerate(diagonals):
        assert len(tasks) == min(n, n_threads)
        blocks = [k for begin, end in tasks for k in range(begin, end)]
        assert blocks == list(range(t * n, (t + 1) * n))


@pytest.mark.parametrize("make", [sgd, biased_sgd])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_are_padded_with_zeros_to_cache_lines(dtype, make, data, weights):
    X, y = data
    made = []

    class Kept(sgd_solver.Layout):
        def __init__(self, *args):
            super().__init__(*args)
            made.append(self)

    with mock.patch.object(sgd_solver, "Layout", Kept):
        model = make(
            **OPTIMIZERS["adam"],
            weighted_regularization=False,
            batch_size=7,
            regularization=2.0,
        ).fit(X, y.astype(dtype), weights)
    assert len(made) == 2
    for rows, ones in zip(made, (4, 3), strict=True):
        values = rows.table.values
        assert values.dtype == dtype
        assert values.ctypes.data % 64 == 0
        assert values.strides[0] == 64
        used = 5 if make is biased_sgd else 3
        assert_array_equal(values[:, used:], 0)
        if make is biased_sgd:
            assert_array_equal(values[:, ones], 1)
            assert rows.bias == 7 - ones
    order = made[0].order
    assert_array_equal(made[0].table.values[:, :3], model.user_factors_[order])


# -------------------------------------------------------------------------------- bits


@pytest.fixture(scope="module")
def many():
    """Ratings for a grid of several blocks, with weights."""
    X, y = make_ratings(120, 80, 3000, random_state=2)
    return X, y, np.random.default_rng(0).uniform(0.5, 2, size=len(y))


def assert_same_bits(one, other):
    assert_array_equal(one.user_factors_, other.user_factors_)
    assert_array_equal(one.item_factors_, other.item_factors_)
    assert one.loss_curve_ == other.loss_curve_
    for key, array in one.optimizer_state_.items():
        assert_array_equal(array, other.optimizer_state_[key])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("batch_size", [1, 16])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.compiled
def test_the_number_of_threads_does_not_change_a_bit(
    optimizer, batch_size, dtype, many
):
    X, y, w = many
    y = y.astype(dtype)
    model = sgd(
        **OPTIMIZERS[optimizer],
        batch_size=batch_size,
        weighted_regularization=False,
        n_factors=5,
    )
    with small_blocks():
        ratings = read_ratings(model, X, y, w)
        grid = sgd_solver.Grid(ratings, batch_size, True, np.random.RandomState(0))
        assert grid.n_sides > 2
        one, *others = (
            copy.deepcopy(model.set_params(n_jobs=n)).fit(X, y, w)
            for n in (1, 1, 2, 4, None)
        )
        assert np.isfinite(one.loss_curve_).all()
        for other in others:
            assert_same_bits(other, one)
        assert_same_bits(copy.deepcopy(one).fit(X, y, w), one)  # begins anew


def test_n_jobs_is_the_number_of_threads(data):
    X, y = data
    seen = []

    def count(n_jobs):
        seen.append(n_jobs)
        return 1

    with mock.patch("sklearn_mf._estimators.stochastic.count_threads", count):
        sgd(n_jobs=3).partial_fit(X, y)
    with mock.patch("sklearn_mf._estimators.base.count_threads", count):
        sgd(n_jobs=5).fit(X, y)
    assert seen == [3, 5]


@pytest.mark.compiled
def test_several_blocks_learn_as_well_as_one(large):
    X, X_test, y, y_test = large
    one = sgd(max_iter=30, init_scale=0.1).fit(X, y)
    with small_blocks(50):
        several = sgd(max_iter=30, init_scale=0.1).fit(X, y)
    assert abs(one.user_factors_ - several.user_factors_).max() > 0.01
    assert_allclose(rmse(several, X_test, y_test), rmse(one, X_test, y_test), rtol=0.03)
    assert rmse(one, X_test, y_test) < 0.85 * y_test.std()


@pytest.mark.parametrize("batch_size", [1, 16])
@pytest.mark.parametrize("weighted_regularization", [False, True])
def test_weight_two_is_the_row_twice(weighted_regularization, batch_size, data):
    X, y = data
    twice = np.arange(len(y)) % 3 == 0
    model = sgd(
        optimizer="sgd",
        batch_size=batch_size,
        weighted_regularization=weighted_regularization,
    )
    weighted = copy.deepcopy(model).fit(X, y, np.where(twice, 2.0, 1.0))
    X_twice, y_twice = np.vstack([X, X[twice]]), np.append(y, y[twice])
    repeated = model.fit(X_twice, y_twice, np.ones(len(y_twice)))
    assert_allclose(weighted.predict(X), repeated.predict(X), rtol=1e-7)
    assert_allclose(weighted.loss_curve_, repeated.loss_curve_, rtol=1e-7)
    assert weighted.weight_sum_ == repeated.weight_sum_ == 200.0


def test_equal_weights_of_a_half_scale_the_objective(data, weights):
    X, y = data
    whole = sgd(optimizer="sgd", learning_rate=0.01).fit(X, y, np.ones(len(y)))
    half = sgd(optimizer="sgd", learning_rate=0.02).fit(X, y, np.full(len(y), 0.5))
    assert_allclose(half.predict(X), whole.predict(X), rtol=1e-10)
    assert_allclose(2 * np.array(half.loss_curve_), whole.loss_curve_, rtol=1e-10)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("weighted_regularization", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_of_a_matrix_without_ratings_stay_zero(dtype, weighted_regularization):
    X, y = make_ratings(25, 15, 150, random_state=0)
    R = sparse.coo_array((y.astype(dtype), X.T), shape=(30, 20)).tocsr()
    options = {"weighted_regularization": weighted_regularization, "optimizer": "sgd"}
    model = sgd(**options).fit(R)
    assert model.user_factors_.shape == (30, 3)
    assert_array_equal(model.user_factors_[25:], 0)
    assert_array_equal(model.item_factors_[15:], 0)
    pairs = sgd(**options).fit(X, y.astype(dtype))
    assert_array_equal(model.global_mean_, pairs.global_mean_)
    assert_allclose(model.loss_curve_[0], pairs.loss_curve_[0], rtol=0.05)


# ---------------------------------------------------------------------------- stopping


def expected_n_iter(curve, tol, n_iter_no_change):
    """The epoch at which the written rule ends a fit, or None."""
    for n in range(1, len(curve) + 1):
        without = 0
        for k in range(1, n):
            best = min(curve[:k])
            gain = best - curve[k]
            gains = [min(curve[:j]) - curve[j] for j in range(1, k)]
            record = gains and gain > max(0, *gains)
            progress = gain > tol * abs(best) or record
            without = 0 if progress else without + 1
        if without >= n_iter_no_change:
            return n
    return None


@pytest.mark.parametrize("n_iter_no_change", [1, 3])
@pytest.mark.parametrize("tol", [1e-1, 1e-2, 1e-3])
def test_a_fit_ends_by_tol_and_n_iter_no_change(tol, n_iter_no_change, data):
    X, y = data
    model = sgd(tol=tol, n_iter_no_change=n_iter_no_change, max_iter=600).fit(X, y)
    assert model.n_iter_ == len(model.loss_curve_) == model.best_iter_ < 600
    assert model.n_iter_ == expected_n_iter(model.loss_curve_, tol, n_iter_no_change)
    assert model.validation_scores_ is None


@pytest.mark.parametrize("tol", [None, 0])
def test_no_convergence_is_asked_for_without_tol(tol, data):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sgd(tol=tol, max_iter=30).fit(*data).n_iter_ == 30


def test_convergence_warning_leaves_a_usable_model(data):
    match = r"SGDFactorizer did not converge in max_iter=2 iterations.*tol=1e-05"
    with pytest.warns(ConvergenceWarning, match=match):
        model = sgd(tol=1e-5, max_iter=2).fit(*data)
    assert model.score(*data) > -1


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    table=rating_tables(),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 1000),
    weighted=st.booleans(),
)
def test_hold_out_leaves_every_id_a_rating(table, fraction, seed, weighted):
    X, y = table
    w = y + 0.5 if weighted else None
    ratings = read_ratings(SGDFactorizer(), X, y, w)
    kept, held_out = hold_out(ratings, fraction, np.random.RandomState(seed))
    assert (kept.by_user.counts() > 0).all()
    assert (kept.by_item.counts() > 0).all()
    assert_array_equal(kept.users, ratings.users)
    assert_array_equal(kept.items, ratings.items)
    if held_out is None:
        assert kept is ratings
        single = [np.bincount(column)[column] == 1 for column in X.T]
        if not (single[0] | single[1]).all():
            # Nothing can be spared all the same only where every rating is the last
            # one, in the order drawn, of its user or its item.
            assert len(y) < len(ratings.users) + len(ratings.items)
        return
    n = len(held_out.ratings)
    assert 1 <= n <= max(1, round(fraction * len(y)))
    spare = len(y) - len(ratings.users) - len(ratings.items)
    assert n >= min(max(1, round(fraction * len(y))), spare)
    side = kept.by_user
    users = np.repeat(np.arange(len(kept.users)), side.counts())
    rows = [
        (kept.users[users], kept.items[side.indices], side.ratings, side.weights),
        (
            ratings.users[held_out.users],
            ratings.items[held_out.items],
            held_out.ratings,
            held_out.weights,
        ),
    ]
    found = np.concatenate([np.column_stack(part[:3]) for part in rows])
    order = np.argsort(found[:, 2])
    assert_array_equal(found[order], np.column_stack([X, y]))
    for part in rows:
        if weighted:
            assert_array_equal(part[3], part[2] + 0.5)
        else:
            assert part[3] is None


@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.3])
def test_validation_fraction_is_the_share_held_out(fraction, large):
    X, _, y, _ = large
    model = sgd(early_stopping=True, validation_fraction=fraction, max_iter=2)
    model.fit(X, y)
    assert model.weight_sum_ == len(y) - round(fraction * len(y))


def held_out_of(model, X, y, w):
    """What a fit holds out: the choice comes after the draws of the factors."""
    rng = np.random.RandomState(model.random_state)
    for n_rows in (len(np.unique(X[:, 1])), len(np.unique(X[:, 0]))):
        rng.normal(size=(n_rows, model.n_factors))
    kept, held_out = hold_out(
        read_ratings(SGDFactorizer(), X, y, w), model.validation_fraction, rng
    )
    pairs = np.column_stack([kept.users[held_out.users], kept.items[held_out.items]])
    return kept, pairs, held_out.ratings, held_out.weights


@pytest.mark.parametrize("with_weights", [False, True])
@pytest.mark.parametrize("loss", ["squared_error", "log_loss"])
@pytest.mark.compiled
def test_early_stopping_restores_the_best_epoch(loss, with_weights, large):
    X, _, y, _ = large
    y = to_shares(y) if loss == "log_loss" else y
    w = np.random.default_rng(0).uniform(0.5, 2, len(y)) if with_weights else None
    options = {
        "loss": loss,
        "early_stopping": True,
        "regularization": 0.0,
        "n_factors": 8,
        "learning_rate": 0.3 if loss == "log_loss" else 0.1,
        "clip": False,
    }
    model = sgd(**options, max_iter=300, tol=None).fit(X, y, w)
    scores = model.validation_scores_
    assert model.n_iter_ == len(scores) == len(model.loss_curve_) < 300
    assert model.best_iter_ == np.argmax(scores) + 1 == model.n_iter_ - 3 > 1
    assert model.n_iter_ == expected_n_iter([-s for s in scores], 0, 3)
    again = sgd(**options, max_iter=model.best_iter_, tol=None).fit(X, y, w)
    assert_array_equal(model.user_factors_, again.user_factors_)
    assert_array_equal(model.item_factors_, again.item_factors_)
    assert again.validation_scores_ == scores[: model.best_iter_]

    kept, pairs, r, weights = held_out_of(model, X, y, w)
    assert_allclose(model.global_mean_, kept.mean(), rtol=1e-14)
    predicted = model.predict(pairs)
    if loss == "log_loss":
        losses = -(r * np.log(predicted) + (1 - r) * np.log(1 - predicted))
        expected = -np.average(losses, weights=weights)
    else:
        expected = -np.sqrt(np.average((predicted - r) ** 2, weights=weights))
    assert_allclose(max(scores), expected, rtol=1e-10)


def test_early_stopping_by_tol(large):
    X, _, y, _ = large
    model = sgd(early_stopping=True, tol=1e-2, max_iter=300, n_iter_no_change=2)
    model.fit(X, y)
    errors = [-score for score in model.validation_scores_]
    assert model.n_iter_ == expected_n_iter(errors, 1e-2, 2)
    assert model.best_iter_ == np.argmin(errors) + 1 > 2


def test_early_stopping_that_finds_nothing_to_hold_out():
    X, y = np.column_stack([np.arange(9)] * 2), np.arange(9.0)
    match = "early_stopping=True finds no rating to hold out"
    with pytest.warns(UserWarning, match=match):
        model = sgd(early_stopping=True).fit(X, y)
    assert model.global_mean_ == 4
    assert model.loss_curve_[-1] < model.loss_curve_[0]
    assert model.weight_sum_ == 9
    assert model.validation_scores_ is None
    assert model.n_iter_ == model.best_iter_ == 4


def test_verbose(data, capsys):
    model = sgd(max_iter=2, verbose=True).fit(*data)
    assert capsys.readouterr().out.splitlines() == [
        f"SGDFactorizer: iteration {t + 1}, objective {loss:.6g}"
        for t, loss in enumerate(model.loss_curve_)
    ]
    model.set_params(early_stopping=True).fit(*data)
    curves = zip(model.loss_curve_, model.validation_scores_, strict=True)
    assert capsys.readouterr().out.splitlines() == [
        f"SGDFactorizer: iteration {t + 1}, objective {loss:.6g}, "
        f"validation score {score:.6g}"
        for t, (loss, score) in enumerate(curves)
    ]
    sgd(max_iter=2).fit(*data)
    assert capsys.readouterr().out == ""


# ---------------------------------------------------------------------------- log loss


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_log_loss_predicts_probabilities(dtype, data):
    X, y = data
    y = (y > 3.4).astype(dtype)
    options = {"optimizer": "sgd", "learning_rate": 0.1, "max_iter": 150, "clip": False}
    model = sgd(**options, loss="log_loss").fit(X, y)
    probabilities = model.predict(X)
    P, Q = model.user_factors_, model.item_factors_
    z = logit(y.mean(dtype=float)) + (P[X[:, 0]] * Q[X[:, 1]]).sum(axis=1)
    assert probabilities.dtype == dtype
    assert_allclose(
        probabilities, expit(z), rtol=1e-5 if dtype == np.float32 else 1e-12
    )
    assert probabilities.min() > 0
    assert probabilities.max() < 1
    loss = np.array(model.loss_curve_)
    assert loss[-1] < 0.85 * loss[0]
    assert (np.diff(loss[:20]) < 0).all()
    assert probabilities[y == 1].mean() > probabilities[y == 0].mean() + 0.2


def test_log_loss_of_the_mean_alone(data):
    X, y = data
    y = to_shares(y)
    model = sgd(loss="log_loss", init_scale=1e-12, learning_rate=1e-12, max_iter=1)
    model.fit(X, y)
    p = y.mean()
    entropy = -(p * np.log(p) + (1 - p) * np.log(1 - p))
    assert_allclose(model.loss_curve_, [2 * len(y) * entropy], rtol=1e-8)
    assert_allclose(model.predict(X), p, rtol=1e-8)
    assert_allclose(model.predict([[99, 0], [0, 99], [99, 99]]), p, rtol=1e-12)
    assert_allclose(model.score(X, y), -y.std(), rtol=1e-6)


def test_log_loss_without_intercept(data):
    X, y = data
    model = sgd(loss="log_loss", fit_intercept=False, clip=False).fit(X, to_shares(y))
    assert model.global_mean_ == 0.5
    assert_array_equal(model.predict([[99, 99]]), 0.5)
    z = (model.user_factors_[X[:, 0]] * model.item_factors_[X[:, 1]]).sum(axis=1)
    assert_allclose(model.predict(X), expit(z), rtol=1e-12)


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("clip", [False, True])
def test_log_loss_of_equal_answers(value, clip, data):
    X, _ = data
    model = sgd(loss="log_loss", clip=clip).fit(X, np.full(len(X), value))
    assert_allclose(model.predict(X), value, atol=1e-4)
    assert_allclose(model.predict([[99, 99]]), value, atol=2e-6)
    assert np.isfinite(model.loss_curve_).all()


@pytest.mark.parametrize(("low", "high"), [(-0.1, 1), (0, 1.5), (1, 5)])
def test_log_loss_of_ratings_out_of_range(low, high, data):
    X, _ = data
    y = np.linspace(low, high, len(X))
    match = rf"loss='log_loss' requires y between 0 and 1.*got {low:g} to {high:g}"
    for method in ("fit", "partial_fit"):
        with pytest.raises(ValueError, match=match):
            getattr(sgd(loss="log_loss"), method)(X, y)
    sgd().fit(X, y)


# -------------------------------------------------------------------------- divergence

DIVERGING = {"optimizer": "sgd", "learning_rate": 50.0}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_divergence_is_an_error(dtype, early_stopping, data):
    X, y = data
    model = sgd(**DIVERGING, early_stopping=early_stopping, max_iter=100)
    match = (
        r"SGDFactorizer: the objective is (nan|inf) after iteration \d+.*"
        r"Lower learning_rate=50\.0"
    )
    with pytest.raises(FloatingPointError, match=match):
        model.fit(X, y.astype(dtype))
    assert not hasattr(model, "user_factors_")


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_divergence_in_partial_fit_leaves_the_model(data):
    X, y = data
    model = sgd().fit(X, y).set_params(**DIVERGING)
    before = copy.deepcopy(vars(model))
    with pytest.raises(FloatingPointError, match=r"Lower learning_rate=50\.0"):
        model.partial_fit(X, y)
    assert_same_state(model, before)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.filterwarnings("ignore:One or more of the test scores:UserWarning")
@pytest.mark.parametrize("search", [GridSearchCV, RandomizedSearchCV])
def test_a_search_survives_divergence(search, data):
    X, y = data
    grid = {
        "n_factors": [2, 4],
        "regularization": [0.05, 0.3],
        "learning_rate": [0.01, 50.0],
    }
    options = {"n_iter": 8, "random_state": 0} if search is RandomizedSearchCV else {}
    found = search(sgd(optimizer="sgd", max_iter=40), grid, cv=3, **options)
    with pytest.warns(FitFailedWarning, match="FloatingPointError: SGDFactorizer"):
        found.fit(X, y)
    scores = found.cv_results_["mean_test_score"]
    diverged = np.array([p["learning_rate"] == 50 for p in found.cv_results_["params"]])
    assert_array_equal(np.isnan(scores), diverged)
    assert len(scores) == 8
    assert found.best_params_["learning_rate"] == 0.01
    assert found.best_score_ == np.nanmax(scores)


# ------------------------------------------------------------------------- partial_fit


def assert_same_state(model, before):
    """Check that all attributes are those of the dict `before`."""
    assert vars(model).keys() == before.keys()
    for key, value in before.items():
        if isinstance(value, dict):
            for name, array in value.items():
                assert_array_equal(vars(model)[key][name], array)
        else:
            assert_array_equal(vars(model)[key], value)


@pytest.mark.parametrize("optimizer", ["sgd", "adagrad"])
def test_the_first_partial_fit_is_a_fit_of_one_epoch(optimizer, data):
    X, y = data
    w = np.linspace(0.5, 2, len(y))
    options = {**OPTIMIZERS[optimizer], "weighted_regularization": False}
    one = sgd(**options).partial_fit(X, y, w)
    fit = sgd(**options, max_iter=1).fit(X, y, w)
    assert_same_bits(one, fit)
    assert_array_equal(one.predict(X), fit.predict(X))
    assert one.n_iter_ == one.best_iter_ == 1
    assert one.weight_sum_ == fit.weight_sum_
    assert one.rating_range_ == fit.rating_range_
    assert one.n_features_in_ == 2


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_partial_fit_without_shuffle_is_fit_epoch_by_epoch(optimizer, data):
    X, y = data
    options = {
        **OPTIMIZERS[optimizer],
        "shuffle": False,
        "weighted_regularization": False,
        "regularization": 1.0,
    }
    w = np.linspace(0.5, 2, len(y))
    fit = sgd(**options, max_iter=5).fit(X, y, w)
    stream = sgd(**options)
    for _ in range(5):
        stream.partial_fit(X, y, w)
    assert_allclose(stream.user_factors_, fit.user_factors_, rtol=1e-9)
    assert_allclose(stream.item_factors_, fit.item_factors_, rtol=1e-9)
    assert_allclose(stream.loss_curve_, fit.loss_curve_, rtol=1e-10)
    assert stream.n_iter_ == stream.best_iter_ == 5
    for key, array in fit.optimizer_state_.items():
        assert_allclose(stream.optimizer_state_[key], array, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("optimizer", ["sgd", "adagrad", "adam"])
@pytest.mark.compiled
def test_partial_fit_again_and_again_comes_close_to_fit(optimizer, large):
    X, X_test, y, y_test = large
    options = {**OPTIMIZERS[optimizer], "n_factors": 5}
    fit = sgd(**options, max_iter=40).fit(X, y)
    stream = sgd(**options)
    for _ in range(40):
        stream.partial_fit(X, y)
    assert_allclose(rmse(stream, X_test, y_test), rmse(fit, X_test, y_test), rtol=0.02)
    assert rmse(stream, X_test, y_test) < 0.9 * y_test.std()


@pytest.mark.compiled
def test_a_stream_of_batches_meets_the_fit_on_the_whole(large):
    X, X_test, y, y_test = large
    fit = sgd(max_iter=40).fit(X, y)
    stream, order = sgd(), np.random.default_rng(0).permutation(len(y))
    for _ in range(40):
        for batch in np.array_split(order, 10):
            stream.partial_fit(X[batch], y[batch])
    assert_allclose(rmse(stream, X_test, y_test), rmse(fit, X_test, y_test), rtol=0.03)
    assert stream.n_iter_ == len(stream.loss_curve_) == 400
    assert_allclose(stream.global_mean_, fit.global_mean_, rtol=1e-12)
    assert stream.weight_sum_ == 40 * len(y)


@pytest.mark.parametrize("label", [int, str])
@pytest.mark.parametrize("make", [sgd, biased_sgd])
def test_new_users_and_items_join(make, label, data):
    X, y = data
    ids = np.array([[label(1000 - u), label(2 * i)] for u, i in X.tolist()])
    old = (X[:, 0] % 2 == 0) & (X[:, 1] % 3 != 0)
    new = ~old & (X[:, 1] != 4)
    model = make(**OPTIMIZERS["adam"], weighted_regularization=False)
    model.fit(ids[old], y[old], np.ones(old.sum()))
    before = copy.deepcopy(model)
    model.partial_fit(ids[new], y[new], np.ones(new.sum()))
    both = ids[old | new]
    assert_array_equal(model.users_, np.unique(both[:, 0]))
    assert_array_equal(model.items_, np.unique(both[:, 1]))
    assert model.users_.dtype.kind == ids.dtype.kind
    names = ["factors"] if make is sgd else ["factors", "biases"]
    for column, side in enumerate(["user", "item"]):
        labels, touched = getattr(model, f"{side}s_"), set(ids[new, column].tolist())
        known = getattr(before, f"{side}s_").tolist()
        assert any(one not in known for one in labels.tolist())
        stayed = 0
        for at, one in enumerate(labels.tolist()):
            for name in names:
                rows = getattr(model, f"{side}_{name}_")
                assert len(rows) == len(labels)
                assert np.any(rows[at] != 0)
                if one not in known:
                    continue
                row = getattr(before, f"{side}_{name}_")[known.index(one)]
                if one in touched:
                    assert np.all(rows[at] != row)
                else:
                    stayed += 1
                    assert_array_equal(rows[at], row)
            for key in ("first_moments", "second_moments", "powers"):
                if one in known and one not in touched:
                    state = model.optimizer_state_[f"{side}_{key}"]
                    assert len(state) == len(labels)
                    old_state = before.optimizer_state_[f"{side}_{key}"]
                    assert_array_equal(state[at], old_state[known.index(one)])
        assert stayed or side == "user"
    assert np.isfinite(model.predict(ids)).all()


def test_untouched_users_stay_as_they_are(data):
    X, y = data
    model = sgd().fit(X, y)
    before = fitted(model)
    model.partial_fit([[3, 4], [-1, 4], [3, 77]], [5.0, 1.0, 2.0])
    assert_array_equal(model.users_, np.arange(-1, 25))
    assert_array_equal(model.items_, [*range(15), 77])
    users, items = np.arange(25) != 3, np.arange(15) != 4
    assert_array_equal(model.user_factors_[1:][users], before["P"][users])
    assert_array_equal(model.item_factors_[:-1][items], before["Q"][items])
    assert (model.user_factors_[4] != before["P"][3]).all()
    assert (model.item_factors_[4] != before["Q"][4]).all()


def test_what_joins_begins_at_random_and_differs_from_call_to_call(data):
    X, y = data
    model = sgd(learning_rate=1e-9, init_scale=0.1).fit(X, y)
    for user in (100, 101):
        model.partial_fit([[user, 0]], [3.0])
    first, second = model.user_factors_[-2:]
    assert 0.001 < abs(first).max() < 0.5
    assert abs(first - second).max() > 1e-3


def test_partial_fit_of_another_kind_of_id(data):
    X, y = data
    model = sgd().fit(X, y)
    before = copy.deepcopy(vars(model))
    match = r"user_column=0: the ids are of kind 'text'.*fit saw 'number'"
    with pytest.raises(ValueError, match=match):
        model.partial_fit(X.astype(str), y)
    assert_same_state(model, before)
    model = sgd().fit(X.astype(str), y)
    with pytest.raises(ValueError, match=r"kind 'number'.*fit saw 'text'"):
        model.partial_fit(X, y)


def test_the_state_of_adagrad_goes_on(data):
    X, y = data
    model = sgd().fit(X, y)
    state = copy.deepcopy(model.optimizer_state_)
    reset = copy.deepcopy(model)
    for array in reset.optimizer_state_.values():
        array[:] = 0
    model.partial_fit(X[:60], y[:60])
    reset.partial_fit(X[:60], y[:60])
    for side, column in (("user", 0), ("item", 1)):
        key = f"{side}_second_moments"
        sums, before = model.optimizer_state_[key], state[key]
        touched = np.isin(np.arange(len(sums)), X[:60, column])
        assert (sums[touched] > before[touched]).all()
        assert_array_equal(sums[~touched], before[~touched])
    goes_on = abs(model.user_factors_[X[:60, 0]]).mean()
    assert abs(model.user_factors_ - reset.user_factors_).max() > 0.05 * goes_on
    assert_array_equal(state["user_second_moments"].shape, model.user_factors_.shape)


def test_powers_of_adam_count_the_steps_of_each_row(data):
    X, y = data
    model = sgd(**OPTIMIZERS["adam"], max_iter=2).fit(X, y)
    X_new = np.vstack([X[:50], [[0, -1], [1, -1], [0, 77]]])  # two items join
    model.partial_fit(X_new, np.append(y[:50], [3.0, 4.0, 5.0]))
    known = 2 * np.bincount(X[:, 1]) + np.bincount(X[:50, 1], minlength=15)
    steps = np.array([2, *known, 1])
    expected = np.column_stack([0.8**steps, 0.95**steps])
    assert_allclose(model.optimizer_state_["item_powers"], expected, rtol=1e-10)


@pytest.mark.parametrize("before", ["momentum", "adagrad", "sgd"])
def test_another_optimizer_begins_with_a_state_of_its_own(before, data):
    X, y = data
    options = OPTIMIZERS[before]
    ones, plain = np.ones(len(y)), {"weighted_regularization": False, "shuffle": False}
    model = sgd(**options, **plain).fit(X, y, ones).set_params(**OPTIMIZERS["adam"])
    # A warm start goes on from the parameters alone.
    fresh = copy.deepcopy(model).set_params(warm_start=True, max_iter=1)
    fresh.fit(X, y, ones)
    model.partial_fit(X, y, ones)
    assert_allclose(model.user_factors_, fresh.user_factors_, rtol=1e-9)
    for key, array in fresh.optimizer_state_.items():
        assert_allclose(model.optimizer_state_[key], array, rtol=1e-9, atol=1e-12)


def test_partial_fit_goes_on_from_another_solver(data):
    X, y = data
    model = BiasedMF(3, random_state=0, max_iter=2, tol=None).fit(X, y)
    before = fitted(model)
    model.set_params(solver="sgd", learning_rate=1e-9).partial_fit(X, y)
    for key, rows in fitted(model).items():
        assert_allclose(rows, before[key], atol=1e-7)
    assert model.optimizer_state_["user_second_moments"].shape == (25, 4)


def test_global_mean_and_range_of_all_ratings_seen(data):
    X, y = data
    w = np.linspace(0.5, 2, len(y))
    order = np.argsort(y)  # the batches differ in mean and range
    model = sgd()
    for k, batch in enumerate(np.array_split(order, 3)):
        model.partial_fit(X[batch], y[batch], w[batch])
        seen = order[: 50 * (k + 1)]
        mean = np.average(y[seen], weights=w[seen])
        assert_allclose(model.global_mean_, mean, rtol=1e-12)
        assert_allclose(model.weight_sum_, w[seen].sum(), rtol=1e-12)
        assert model.rating_range_ == (y[seen].min(), y[seen].max())
        assert model.n_iter_ == len(model.loss_curve_) == k + 1
    model.partial_fit(X[order[-1:]], y[order[-1:]])
    assert model.rating_range_ == (y.min(), y.max())
    plain = sgd(fit_intercept=False).partial_fit(X, y).partial_fit(X, y)
    assert plain.global_mean_ == 0.0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("other", [np.float32, np.float64, int])
def test_partial_fit_keeps_the_dtype_of_the_model(dtype, other, data):
    X, y = data
    model = sgd(optimizer="sgd").fit(X, y.astype(dtype))
    same = copy.deepcopy(model).partial_fit(X, y.astype(other).astype(dtype))
    model.partial_fit(X, y.astype(other))
    assert model.user_factors_.dtype == model.item_factors_.dtype == dtype
    assert model.predict(X).dtype == dtype
    assert all(array.dtype == dtype for array in model.optimizer_state_.values())
    assert_array_equal(model.user_factors_, same.user_factors_)


def test_partial_fit_with_another_number_of_factors(data):
    model = sgd().fit(*data).set_params(n_factors=4)
    before = copy.deepcopy(vars(model))
    with pytest.raises(ValueError, match=r"n_factors=4, but the fit .* 3 factors"):
        model.partial_fit(*data)
    assert_same_state(model, before)


def test_partial_fit_with_another_number_of_columns(data):
    X, y = data
    model = sgd().fit(X, y)
    with pytest.raises(ValueError, match="X has 3 features, but SGDFactorizer is"):
        model.partial_fit(np.column_stack([X, y]), y)
    assert model.n_features_in_ == 2


def test_partial_fit_of_nonsense_leaves_the_model(data):
    X, y = data
    model = sgd().fit(X, y)
    before = copy.deepcopy(vars(model))
    with pytest.raises(ValueError, match="contains NaN"):
        model.partial_fit(X, np.full(len(y), np.nan))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.partial_fit(X[:-1], y)
    interrupt = mock.patch.object(
        sgd_solver.StochasticGradientDescent, "sweep", side_effect=KeyboardInterrupt
    )
    with interrupt, pytest.raises(KeyboardInterrupt):
        model.partial_fit(X, y)
    assert_same_state(model, before)
    unfitted = sgd()
    with pytest.raises(ValueError, match="contains NaN"):
        unfitted.partial_fit(X, np.full(len(y), np.nan))
    assert_same_state(unfitted, vars(sgd()))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted_regularization", [False, True])
def test_partial_fit_on_matrices(weighted_regularization, dtype, data):
    X, y = data
    y = y.astype(dtype)
    options = {"weighted_regularization": weighted_regularization, "optimizer": "sgd"}
    R = sparse.coo_array((y, X.T), shape=(25, 15)).tocsr()
    model = sgd(**options).partial_fit(R)
    pairs = sgd(**options).partial_fit(X, y)
    assert_array_equal(model.user_factors_, pairs.user_factors_)
    assert not hasattr(model, "n_features_in_")
    for one in (model, pairs):
        before = one.user_factors_[7]
        one.partial_fit(sparse.coo_array((y[:1], ([27], [2])), shape=(28, 15)))
        assert_array_equal(one.users_, np.arange(28))
        assert_array_equal(one.items_, np.arange(15))
        assert_array_equal(one.user_factors_[25:27], 0)  # never rated
        assert (one.user_factors_[27] != 0).all()
        assert_array_equal(one.user_factors_[7], before)
    assert pairs.n_features_in_ == 2


def test_partial_fit_with_weights(data):
    X, y = data
    w = np.where(np.arange(len(y)) % 3 == 0, 2.0, 1.0)
    w[X[:, 0] == 5] = 0
    kept = np.repeat(np.arange(len(y)), w.astype(int))
    weighted, repeated = sgd(optimizer="sgd"), sgd(optimizer="sgd")
    for _ in range(3):
        weighted.partial_fit(X, y, w)
        repeated.partial_fit(X[kept], y[kept])
    assert 5 not in weighted.users_
    assert_allclose(weighted.predict(X), repeated.predict(X), rtol=1e-7)
    assert weighted.weight_sum_ == repeated.weight_sum_ == 3 * w.sum()


def test_partial_fit_does_not_read_early_stopping(data):
    plain, stopping = sgd(), sgd(early_stopping=True)
    for _ in range(2):
        plain.partial_fit(*data)
        stopping.partial_fit(*data)
    assert_same_bits(stopping, plain)
    assert stopping.validation_scores_ is None
    assert stopping.weight_sum_ == 300


def test_partial_fit_after_a_fit_and_its_plain_penalty(data):
    """Each call carries the whole penalty of the rows that it touches."""
    X, y = data
    options = {"optimizer": "sgd", "regularization": 2.0, "batch_size": WHOLE}
    model = sgd(**options, weighted_regularization=False)
    model.fit(X, y, np.ones(len(y)))
    p, q, mu = model.user_factors_[3], model.item_factors_[4], model.global_mean_
    model.partial_fit([[3, 4]], [5.0], [0.25])
    mu = (150 * mu + 0.25 * 5.0) / 150.25
    error = 0.25 * (mu + p @ q - 5.0)
    assert_allclose(model.user_factors_[3], p - 0.05 * (error * q + 2.0 * p))
    assert_allclose(model.item_factors_[4], q - 0.05 * (error * p + 2.0 * q))


def test_fit_after_partial_fit_begins_anew(data):
    X, y = data
    model = sgd().partial_fit(X, y).partial_fit(X, y).fit(X[:100], y[:100])
    assert_same_bits(model, sgd().fit(X[:100], y[:100]))
    assert vars(model).keys() == vars(sgd().fit(X[:100], y[:100])).keys()
    assert model.weight_sum_ == 100


# ---------------------------------------- every parameter changes what one can see

# What is set all along, and the parameter that is then set as well.
CHANGES = {
    "n_factors": ({}, 2),
    "regularization": ({}, 2.0),
    "weighted_regularization": ({"optimizer": "sgd"}, True),
    "fit_intercept": ({}, False),
    "loss": ({}, "log_loss"),
    "optimizer": ({}, "adam"),
    "learning_rate": ({}, 0.1),
    "learning_rate_schedule": ({}, "exponential"),
    "decay": ({"learning_rate_schedule": "exponential"}, 0.5),
    "power_t": ({"learning_rate_schedule": "invscaling"}, 1.0),
    "momentum": ({"optimizer": "sgd"}, 0.5),
    "nesterov": ({"optimizer": "sgd", "momentum": 0.5}, True),
    "beta_1": ({"optimizer": "adam"}, 0.5),
    "beta_2": ({"optimizer": "adam"}, 0.9),
    "epsilon": ({"optimizer": "adam"}, 1e-2),
    "batch_size": ({}, 5),
    "shuffle": ({}, False),
    "max_iter": ({}, 5),
    "tol": ({"max_iter": 50}, 0.1),
    "n_iter_no_change": ({"max_iter": 50, "tol": 0.1}, 1),
    "early_stopping": ({}, True),
    "validation_fraction": ({"early_stopping": True}, 0.3),
    "init_scale": ({}, 0.5),
    "clip": ({"max_iter": 300, "regularization": 0.0}, False),
    "random_state": ({}, 1),
}
ELSEWHERE = {"warm_start", "user_column", "item_column", "n_jobs", "verbose"}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.compiled
def test_a_parameter_changes_the_predictions(name, data):
    X, y = data
    fixed, value = CHANGES[name]
    model = sgd(weighted_regularization=False, regularization=1.0).set_params(**fixed)
    predictions = []
    for change in ({}, {name: value}):
        model.set_params(**change).fit(X, to_shares(y), np.ones(len(y)))
        predictions.append(model.predict(X))
    assert abs(predictions[0] - predictions[1]).max() > 1e-6


def test_every_parameter_is_tested():
    assert set(CHANGES) | ELSEWHERE == set(SGDFactorizer().get_params())


def test_epsilon_of_adagrad(data):
    small, large = (sgd(epsilon=e).fit(*data).predict(data[0]) for e in (1e-8, 1.0))
    assert abs(small - large).max() > 1e-3


def test_momentum_is_for_plain_steps_alone(data):
    one = sgd(optimizer="adagrad").fit(*data)
    other = sgd(optimizer="adagrad", momentum=0.9, nesterov=True).fit(*data)
    assert_same_bits(one, other)


def test_user_and_item_column(data):
    X, y = data
    wide = np.column_stack([y, X[:, 1], X[:, 0]])
    model = sgd(user_column=2, item_column=1).fit(wide, y)
    assert_same_bits(model, sgd().fit(X, y))
    assert_array_equal(model.predict(wide), sgd().fit(X, y).predict(X))
    turned = sgd(user_column=1, item_column=0).fit(X, y)
    assert turned.user_factors_.shape == (15, 3)


@pytest.mark.compiled
def test_clip(data):
    X, y = data
    options = {"max_iter": 300, "regularization": 0.0, "init_scale": 0.7}
    every_pair = np.array(list(np.ndindex(25, 15)))
    free = sgd(**options, clip=False).fit(X, y).predict(every_pair)
    clipped = sgd(**options).fit(X, y)
    assert clipped.rating_range_ == (y.min(), y.max())
    assert free.max() > y.max()
    assert free.min() < y.min()
    assert_array_equal(clipped.predict(every_pair), free.clip(y.min(), y.max()))


def test_regularization(data):
    norms = [
        np.linalg.norm(sgd(regularization=lam, max_iter=30).fit(*data).user_factors_)
        for lam in (0.0, 0.1, 0.3, 1.0)
    ]
    assert (np.diff(norms) < 0).all()


def test_fit_intercept(data):
    X, y = data
    model = sgd(fit_intercept=False, clip=False, max_iter=200).fit(X, y)
    assert model.global_mean_ == 0
    assert_array_equal(model.predict([[99, 0], [0, 99]]), 0)
    assert rmse(model, X, y) < y.std()  # the factors have learnt the level
    centred = sgd().fit(X, y)
    assert_allclose(centred.predict([[99, 0], [0, 99]]), y.mean(), rtol=1e-12)


def test_random_state(data):
    X, y = data
    one, same, other = (sgd(random_state=s).fit(X, y) for s in (1, 1, 2))
    assert_same_bits(one, same)
    assert abs(one.item_factors_ - other.item_factors_).max() > 0.1
    rng = np.random.RandomState(1)
    assert_same_bits(sgd(random_state=rng).fit(X, y), one)
    refit = sgd(random_state=rng).fit(X, y)  # the state has moved on
    assert abs(refit.item_factors_ - one.item_factors_).max() > 0.1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_factors", 0),
        ("n_factors", 2.5),
        ("regularization", -0.1),
        ("regularization", "auto"),
        ("weighted_regularization", "yes"),
        ("fit_intercept", 2),
        ("loss", "hinge"),
        ("optimizer", "momentum"),
        ("learning_rate", 0),
        ("learning_rate", "constant"),
        ("learning_rate_schedule", "adaptive"),
        ("decay", 0),
        ("decay", 1.1),
        ("power_t", -0.5),
        ("momentum", -0.1),
        ("momentum", 1.0),
        ("nesterov", "no"),
        ("beta_1", 1.0),
        ("beta_2", -0.1),
        ("epsilon", 0),
        ("batch_size", 0),
        ("batch_size", 1.5),
        ("shuffle", "never"),
        ("max_iter", 0),
        ("tol", -1e-3),
        ("n_iter_no_change", 0),
        ("early_stopping", None),
        ("validation_fraction", 0),
        ("validation_fraction", 1.0),
        ("init_scale", 0),
        ("clip", "no"),
        ("warm_start", None),
        ("user_column", -1),
        ("item_column", 1.0),
        ("n_jobs", 0),
        ("random_state", "seed"),
        ("verbose", -1),
    ],
)
def test_parameters_out_of_range(name, value, data):
    match = f"The '{name}' parameter of SGDFactorizer"
    for method in ("fit", "partial_fit"):
        with pytest.raises(InvalidParameterError, match=match):
            getattr(sgd(**{name: value}), method)(*data)


# -------------------------------------------------------------------------- warm start


def test_warm_start_goes_on(data):
    X, y = data
    options = {"optimizer": "sgd", "learning_rate": 0.02}
    whole = sgd(**options, max_iter=40, shuffle=False).fit(X, y)
    parts = sgd(**options, max_iter=20, shuffle=False, warm_start=True).fit(X, y)
    first = parts.loss_curve_
    parts.fit(X, y)
    assert_allclose(parts.item_factors_, whole.item_factors_, rtol=1e-10)
    assert_allclose(first + parts.loss_curve_, whole.loss_curve_, rtol=1e-10)
    assert parts.n_iter_ == 20
    anew = sgd(**options, max_iter=20, shuffle=False).fit(X, y).fit(X, y)
    assert anew.loss_curve_ == first


@pytest.mark.parametrize("optimizer", ["adagrad", "adam"])
def test_warm_start_lowers_the_loss_further(optimizer, data):
    X, y = data
    model = sgd(**OPTIMIZERS[optimizer], max_iter=10, warm_start=True).fit(X, y)
    before = model.loss_curve_
    model.fit(X, y)
    assert model.loss_curve_[0] < before[0]
    assert model.loss_curve_[-1] < before[-1] < before[0]


def test_warm_start_knows_ids_by_their_labels(data):
    X, y = data
    model = sgd(max_iter=30).fit(X, y)
    before = copy.deepcopy(model)
    kept = (X[:, 1] != 4) & (X[:, 0] != 6)  # one of each goes, two others come
    X_new = np.vstack([X[kept], [[0, -7], [99, 5]]])
    y_new = np.append(y[kept], [3.0, 4.0])
    model.set_params(warm_start=True, max_iter=1, learning_rate=1e-12)
    model.fit(X_new, y_new)
    assert_array_equal(model.users_, np.unique(X_new[:, 0]))
    assert_array_equal(model.items_, np.unique(X_new[:, 1]))
    for side in ("user", "item"):
        labels = getattr(before, f"{side}s_").tolist()
        rows = getattr(before, f"{side}_factors_")
        found = 0
        for label, row in zip(
            getattr(model, f"{side}s_").tolist(),
            getattr(model, f"{side}_factors_"),
            strict=True,
        ):
            if label in labels:
                found += 1
                assert_allclose(row, rows[labels.index(label)], atol=1e-9)
            else:
                assert 0 < abs(row).max() < 0.5  # drawn
        assert found == len(labels) - 1


def test_warm_start_with_another_number_of_factors(data):
    model = sgd(warm_start=True).fit(*data).set_params(n_factors=4)
    with pytest.raises(ValueError, match=r"n_factors=4, but the fit .* 3 factors"):
        model.fit(*data)


# ---------------------------------------------------------------------------- accuracy


def test_loss_curve_tends_to_the_objective(data):
    """Where steps are short, the loss as met is the loss at the end of the epoch."""
    X, y = data
    w = np.ones(len(y))
    for weighted in (False, True):
        model = sgd(
            optimizer="sgd",
            learning_rate=1e-7,
            weighted_regularization=weighted,
            init_scale=0.5,
        )
        model.fit(X, y, w)
        expected = objective(
            fitted(model), X, y, w, y.mean(), (0.12, 0.0), weighted, False
        )
        assert_allclose(model.loss_curve_[-1], expected, rtol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "sgd", "learning_rate": 0.02},
        {"optimizer": "adagrad", "learning_rate": 0.1},
        {"optimizer": "adam", "learning_rate": 0.01},
    ],
)
@pytest.mark.compiled
def test_planted_low_rank_is_recovered(options):
    plain = {"noise": 0, "bias_scale": 0, "rating_range": None, "rating_step": None}
    X, y = make_ratings(
        80, 60, 3200, n_factors=2, global_mean=0, random_state=0, **plain
    )
    model = sgd(
        **options,
        n_factors=2,
        regularization=0.0,
        fit_intercept=False,
        clip=False,
        max_iter=200,
        init_scale=0.5,
    ).fit(X[:2800], y[:2800])
    assert rmse(model, X[2800:], y[2800:]) < 0.05 * y[2800:].std()


@pytest.mark.compiled
def test_a_fit_does_not_end_on_the_plateau_around_zero():
    X, y = make_ratings(random_state=0)
    sgd = SGDFactorizer(
        4, optimizer="sgd", fit_intercept=False, learning_rate=0.002, random_state=0
    ).fit(X, y)
    gains = -np.diff(sgd.loss_curve_)
    assert gains[0] < sgd.tol * sgd.loss_curve_[0]  # a plateau it is
    assert -sgd.score(X, y) < y.std()
