"""Stochastic gradient descent: steps against plain NumPy, and the grid of blocks."""

import copy
import itertools
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logit

from sklearn_mf import SGDFactorizer
from sklearn_mf._data.tables import read_ratings
from sklearn_mf._runtime.threads import thread_pool
from sklearn_mf._solvers.sgd import solver as sgd_solver
from sklearn_mf.datasets import make_ratings
from tests.assertions import assert_same_bits
from tests.solvers.sgd.helpers import (
    OPTIMIZERS,
    WHOLE,
    biased_sgd,
    fitted,
    rmse,
    sgd,
    to_shares,
)
from tests.strategies import rating_tables


def small_blocks(n_ratings=16):
    """Cut blocks so small that few ratings make a grid of many."""
    return mock.patch.object(sgd_solver, "BLOCK_RATINGS", n_ratings)


def make_grid(*args):
    """Make a grid in one thread."""
    with thread_pool(1) as run:
        return sgd_solver.Grid(*args, run)


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
    return [c ** float(weighted) for c in counts]


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
    share = [c ** (float(weighted) - 1) for c in weight_sums]
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
        c_users, c_items = (c ** float(weighted) for c in weight_sums)
        P, Q, b, c = (theta[key] for key in "PQbc")
        penalty = lams[0] * ((c_users @ P**2).sum() + (c_items @ Q**2).sum())
        penalty += lams[1] * (c_users @ b**2 + c_items @ c**2)
        curve.append(total + penalty)
    return theta, curve


# ---------------------------------------------------------------------------- gradient


@pytest.mark.parametrize("weighted_regularization", [False, 0.7, True])
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
    *itertools.product(OPTIMIZERS, [np.float32], [sgd], [1, 7], [False]),
    ("adagrad", np.float32, biased_sgd, 1, False),
    ("adagrad", np.float32, biased_sgd, 7, True),
    *itertools.product(
        OPTIMIZERS, [np.float64], [sgd, biased_sgd], [1, 7, WHOLE], [False, True]
    ),
]


@pytest.mark.parametrize(
    ("optimizer", "dtype", "make", "batch_size", "logistic"), KERNELS
)
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
        grid = make_grid(read_ratings(model, X, y, None), batch_size, True, rng)
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
        grid = make_grid(ratings, batch_size, shuffle, np.random.RandomState(seed))
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
        grid = make_grid(ratings, 1, True, rng)
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
    grid = make_grid(ratings, 1, True, rng)
    drawn = {tuple(map(int, np.ravel(grid.orders(True, rng)))) for _ in range(20)}
    assert len(drawn) == 20


def test_blocks_hold_enough_ratings_and_are_about_equal(large):
    ratings = read_ratings(SGDFactorizer(), large[0], large[2], None)
    with small_blocks(100):
        grid = make_grid(ratings, 1, True, np.random.RandomState(0))
    assert grid.n_sides == 6  # 3750 / 36 is more than 100, 3750 / 49 is not
    sizes = np.diff(grid.bounds)
    assert sizes.min() > 0.4 * sizes.mean()
    assert sizes.max() < 2 * sizes.mean()


@pytest.mark.parametrize("n_threads", [1, 2, 3, 4, 7, 100])
def test_tasks_of_a_diagonal_are_its_blocks(n_threads, large):
    ratings = read_ratings(SGDFactorizer(), large[0], large[2], None)
    with small_blocks(200):
        grid = make_grid(ratings, 1, True, np.random.RandomState(0))
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


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("batch_size", [1, 16])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("make", [sgd, biased_sgd])
@pytest.mark.compiled
def test_the_number_of_threads_does_not_change_a_bit(
    make, optimizer, batch_size, dtype, many
):
    X, y, w = many
    y = y.astype(dtype)
    model = make(
        **OPTIMIZERS[optimizer],
        batch_size=batch_size,
        weighted_regularization=False,
        n_factors=5,
    )
    with small_blocks():
        ratings = read_ratings(model, X, y, w)
        grid = make_grid(ratings, batch_size, True, np.random.RandomState(0))
        assert grid.n_sides > 2
        one, *others = (
            copy.deepcopy(model.set_params(n_jobs=n)).fit(X, y, w)
            for n in (1, 1, 2, 4, None)
        )
        assert np.isfinite(one.loss_curve_).all()
        for other in others:
            assert_same_bits(other, one)
        assert_same_bits(copy.deepcopy(one).fit(X, y, w), one)  # begins anew


@pytest.mark.compiled
def test_several_blocks_learn_as_well_as_one(large):
    X, X_test, y, y_test = large
    one = sgd(max_iter=30, init_scale=0.1).fit(X, y)
    with small_blocks(50):
        several = sgd(max_iter=30, init_scale=0.1).fit(X, y)
    assert abs(one.user_factors_ - several.user_factors_).max() > 0.01
    assert_allclose(rmse(several, X_test, y_test), rmse(one, X_test, y_test), rtol=0.03)
    assert rmse(one, X_test, y_test) < 0.85 * y_test.std()


@pytest.mark.compiled
def test_a_grid_of_many_blocks_reaches_the_same_objective():
    X, y = make_ratings(200, 120, 6000, random_state=0)
    model = biased_sgd(
        regularization=0.1,
        learning_rate_schedule="exponential",
        init_scale=0.1,
        max_iter=60,
    )
    one = copy.deepcopy(model).fit(X, y)
    with small_blocks(2**6):
        many = model.fit(X, y)
    assert many.loss_curve_ != one.loss_curve_
    assert_allclose(many.loss_curve_[-1], one.loss_curve_[-1], rtol=1e-2)


def test_equal_weights_of_a_half_scale_the_objective(data, weights):
    X, y = data
    whole = sgd(optimizer="sgd", learning_rate=0.01).fit(X, y, np.ones(len(y)))
    half = sgd(optimizer="sgd", learning_rate=0.02).fit(X, y, np.full(len(y), 0.5))
    assert_allclose(half.predict(X), whole.predict(X), rtol=1e-10)
    assert_allclose(2 * np.array(half.loss_curve_), whole.loss_curve_, rtol=1e-10)


# ---------------------------------------------------------------------------- accuracy


def test_loss_curve_tends_to_the_objective(data):
    """Where steps are short, the loss as met is the loss at the end of the epoch."""
    X, y = data
    w = np.ones(len(y))
    for weighted in (False, 0.5, True):
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
