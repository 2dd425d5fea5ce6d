"""MultiTaskMF: both losses in plain NumPy, and threads that share a batch."""

import copy
import itertools
import threading

import numba
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.special import expit
from sklearn.base import clone

from sklearn_mf import MultiTaskMF
from sklearn_mf._data.ratings import Ratings
from sklearn_mf._model import perceptron
from sklearn_mf._model.perceptron import (
    CHUNK,
    LANES,
    VECTOR,
    draw_layers,
    lay_out,
    pad_width,
    read_layers,
)
from sklearn_mf._solvers.two_tasks import kernels as two_tasks_kernels
from sklearn_mf._solvers.two_tasks import solver as two_tasks_solver
from sklearn_mf._solvers.two_tasks.kernels import (
    Interactions,
    deal,
    draw_unrated,
    shuffle,
)
from sklearn_mf.datasets import make_ratings
from tests.assertions import assert_same_bits, sklearn_mf_threads
from tests.assertions import fitted_attributes as fitted


@pytest.fixture(autouse=True)
def unit_scale(monkeypatch):
    """Let the references know nothing of the scale of ratings: see test_units.py."""
    monkeypatch.setattr(Ratings, "scale", lambda *args: 1.0)


QUICK = {
    "n_factors": 3,
    "hidden_layer_sizes": (5,),
    "learning_rate": 0.01,
    "batch_size": 2 * CHUNK,
    "max_iter": 2,
    "tol": None,
    "random_state": 0,
}
SIZES = [(), (5,), (6, 4), (LANES + 2, 3)]
NAMES = {
    "P": "user_factors_",
    "Q": "item_factors_",
    "a": "user_biases_",
    "b": "item_biases_",
    "P'": "user_rating_factors_",
    "Q'": "item_rating_factors_",
}


def multitask(**params):
    return MultiTaskMF(**{**QUICK, **params})


@pytest.fixture
def in_blocks(monkeypatch):
    """Have each chunk of pairs be a task of its own."""
    monkeypatch.setattr(two_tasks_solver, "BLOCK_WORK", 1)


@pytest.fixture(scope="module")
def data():
    return make_ratings(14, 20, 150, random_state=0)


@pytest.fixture(scope="module")
def weights():
    return np.random.default_rng(1).uniform(0.5, 2, 150)


@pytest.fixture(scope="module")
def large():
    return make_ratings(200, 150, 4000, random_state=0)


@pytest.fixture
def noted(monkeypatch):
    """Return a list of what the kernel was handed, in the order of the epochs."""
    calls = []
    train = two_tasks_solver.train_batches

    def note(batches, blocks, *args):
        if batches[0] == blocks[0] < blocks[1]:
            pairs, model = args[3:5]
            calls.append((Interactions(*map(np.copy, pairs)), model))
        train(batches, blocks, *args)

    monkeypatch.setattr(two_tasks_solver, "train_batches", note)
    return calls


# ------------------------------------------------------- the mathematics in plain NumPy


def parameters(model):
    """Return the parameters of a model by the names that they have here."""
    theta = {
        key: getattr(model, name).copy()
        for key, name in NAMES.items()
        if key[-1] != "'" or not model.shared_embeddings
    }
    for at, layer in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
        theta[f"W{at}"], theta[f"c{at}"] = (part.copy() for part in layer)
    return theta


def interaction(theta, u, i):
    return (theta["P"][u] * theta["Q"][i]).sum(axis=1) + theta["a"][u] + theta["b"][i]


def rating(theta, u, i):
    """Return the rating of each pair less μ."""
    p = theta.get("P'", theta["P"])[u]
    q = theta.get("Q'", theta["Q"])[i]
    z = np.hstack([p, q, p * q])
    n_layers = sum(name.startswith("W") for name in theta)
    for at in range(n_layers):
        z = np.einsum("nk,kh->nh", z, theta[f"W{at}"]) + theta[f"c{at}"]
        if at < n_layers - 1:
            z = np.where(z.real > 0, z, 0)
    return z[:, 0]


def minus_log_sigmoid(z):
    return np.log1p(np.exp(-z))


def losses(theta, model, u, i, j, r):
    """Return ℓ_F and ℓ_R of each pair; r is less μ; j may be -1."""
    s, other = interaction(theta, u, i), interaction(theta, u, j)
    if model.interaction_loss == "bpr":
        factorization = minus_log_sigmoid(s - other)
    else:
        factorization = minus_log_sigmoid(s) + minus_log_sigmoid(-other)
    regression = (r - rating(theta, u, i)) ** 2
    return np.where(j < 0, 0, factorization), regression


def penalty(theta, model, u, i):
    """Return λ (‖p‖² + ‖q‖²) + λ_R α (‖W‖² + ‖p'‖² + ‖q'‖²) of each pair."""

    def squares(*rows):
        return sum(
            (theta[name][at] ** 2).sum(axis=1) for name, at in rows if name in theta
        )

    weights = sum((W**2).sum() for name, W in theta.items() if name.startswith("W"))
    alpha = model.regression_weight * model.regression_regularization
    of_ratings = weights + squares(("P'", u), ("Q'", i))
    return model.regularization * squares(("P", u), ("Q", i)) + alpha * of_ratings


def joint(theta, model, batch):
    """Return the joint loss of a batch of users, items, others, ratings and weights."""
    *pairs, w = batch
    factorization, regression = losses(theta, model, *pairs)
    each = (
        model.factorization_weight * factorization
        + model.regression_weight * regression
        + penalty(theta, model, *pairs[:2])
    )
    return (w * each).mean()


def gradient(theta, model, batch, step=1e-30):
    """Return the gradient of the joint loss.

    The loss of a parameter with an imaginary part ih has the imaginary part h ∂/∂θ,
    but for h³: a difference that loses no digits.
    """
    z = {name: values.astype(complex) for name, values in theta.items()}
    found = {name: np.zeros_like(values) for name, values in theta.items()}
    for name, values in theta.items():
        for at in np.ndindex(values.shape):
            z[name][at] += step * 1j
            found[name][at] = joint(z, model, batch).imag / step
            z[name][at] = values[at]
    return found


def batches(pairs, size):
    """Return each batch of an epoch, from what the kernel was handed."""
    for start in range(0, len(pairs.users), size):
        users, items, ratings = (part[start : start + size] for part in pairs)
        yield users, *items.T, *ratings.T


class Adam:
    """Algorithm 1 of the paper; the moments of a row rest where no pair concerns it."""

    def __init__(self, theta, rate, mean_weight):
        self.rate, self.epsilon = rate, 1e-8 * mean_weight
        self.first = {name: np.zeros_like(values) for name, values in theta.items()}
        self.second = copy.deepcopy(self.first)
        self.t = 0

    def step(self, theta, gradients, batch):
        self.t += 1
        t, (u, i, j, *_) = self.t, batch
        rows = {"P": u, "Q": [*i, *j[j >= 0]]}
        rows |= {"a": u, "b": rows["Q"], "P'": u, "Q'": rows["Q"]}
        for name, gradient in gradients.items():
            at = np.unique(rows.get(name, np.arange(len(gradient))))
            g, m, v = gradient[at], self.first[name], self.second[name]
            m[at] = 0.9 * m[at] + 0.1 * g
            v[at] = 0.999 * v[at] + 0.001 * g**2
            root = np.sqrt(v[at] / (1 - 0.999**t))
            change = m[at] / (1 - 0.9**t) / (root + self.epsilon)
            theta[name][at] -= self.rate * change


def in_general_position(X, y, w, **params):
    """Return a fitted model with random parameters, from which a fit goes on."""
    model = multitask(warm_start=True, max_iter=1, **params)
    model.fit(X, y, sample_weight=w)
    rng = np.random.default_rng(2)
    for name in ("P", "Q", "a", "b", "P'", "Q'"):
        values = getattr(model, NAMES[name])
        values[:] = rng.normal(scale=0.5, size=values.shape)
    return model


# --------------------------------------------------------------------------- gradients


@pytest.mark.compiled
@pytest.mark.parametrize(
    ("n_factors", "hidden_layer_sizes"),
    [
        (3, ()),
        (VECTOR, (5,)),
        (2 * VECTOR + 1, (6, 4)),
        (3, (LANES + 2,)),
        (1, SIZES[-1]),
    ],
)
@pytest.mark.parametrize("loss", ["bpr", "logistic"])
@pytest.mark.parametrize("shared", [True, False])
def test_gradients(
    n_factors, shared, loss, hidden_layer_sizes, data, weights, noted, monkeypatch
):
    """The first moment is a tenth of the gradient after one step of Adam."""
    X, y = data
    if not shared:
        monkeypatch.setattr(two_tasks_solver, "BLOCK_WORK", 1)
    model = in_general_position(
        X,
        y,
        weights,
        n_factors=n_factors,
        shared_embeddings=shared,
        interaction_loss=loss,
        hidden_layer_sizes=hidden_layer_sizes,
        factorization_weight=0.7,
        regression_weight=0.4,
        regularization=0.2,
        regression_regularization=0.3,
        batch_size=1000,
    )
    theta = parameters(model)
    noted.clear()
    model.fit(X, y, sample_weight=weights)
    ((pairs, (users, items, network)),) = noted
    moments, item_moments, layer_moments = (
        table.state.first_moments for table in (users, items, network.table)
    )
    (batch,) = batches(pairs, 1000)
    u, i, j, r, _ = batch
    assert len(u) > CHUNK  # and some of another chunk
    assert np.bincount(u).max() > 1
    assert set(i) & set(j)

    expected = gradient(theta, model, batch)
    at = 0 if shared else pad_width(n_factors)
    bias = at + pad_width(n_factors)
    found = {"P": moments, "Q": item_moments}
    found = {name: rows[:, :n_factors] for name, rows in found.items()}
    found |= {"a": moments[:, bias], "b": item_moments[:, bias]}
    if not shared:
        found |= {"P'": moments[:, at:][:, :n_factors]}
        found |= {"Q'": item_moments[:, at:][:, :n_factors]}
    sizes = [3 * n_factors, *hidden_layer_sizes, 1]
    layers = network.layout._replace(values=layer_moments)
    for k, parts in enumerate(read_layers(layers, list(itertools.pairwise(sizes)))):
        found |= {f"{name}{k}": part for name, part in zip("Wc", parts, strict=True)}
    assert found.keys() == expected.keys()
    for name, slopes in expected.items():
        tol = 1e-9 * np.abs(slopes).max()
        assert_allclose(
            10 * found[name], slopes, rtol=1e-6, atol=tol + 1e-15, err_msg=name
        )
    # What pads the rows learns nothing.
    n_own = sum(np.count_nonzero(slopes) for slopes in expected.values())
    arrays = moments, item_moments, layer_moments
    n_moved = sum((np.abs(array) > 1e-16).sum() for array in arrays)
    assert n_moved <= n_own

    factorization, regression = losses(theta, model, u, i, j, r)
    w = weights.sum()
    for name, loss in (("factorization", factorization), ("regression", regression)):
        assert_allclose(model.loss_curve_[name], [batch[-1] @ loss / w], rtol=1e-12)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("loss", ["bpr", "logistic"])
def test_steps_are_those_of_adam(loss, shared, data, weights, noted):
    X, y = data
    model = in_general_position(
        X,
        y,
        weights,
        shared_embeddings=shared,
        interaction_loss=loss,
        factorization_weight=0.7,
        regression_weight=0.4,
        regularization=0.1,
        regression_regularization=0.05,
        batch_size=23,  # which does not divide 150
    )
    theta = parameters(model)
    noted.clear()
    model.set_params(max_iter=3).fit(X, y, sample_weight=weights)
    orders = [np.column_stack([p.users, p.items[:, 0]]) for p, _ in noted]
    rated = np.unique(orders[0], axis=0)
    assert len(rated) == 150
    for order in orders:
        assert_array_equal(np.unique(order, axis=0), rated)
    assert (orders[0] != orders[1]).any()
    adam, means = Adam(theta, 0.01, weights.mean()), []
    for pairs, *_ in noted:
        found = []
        for batch in batches(pairs, 23):
            found.append(losses(theta, model, *batch[:-1]) @ batch[-1])
            adam.step(theta, gradient(theta, model, batch), batch)
        means.append(sum(found) / weights.sum())
    for name, values in parameters(model).items():
        assert_allclose(values, theta[name], rtol=1e-6, atol=1e-9, err_msg=name)
    curves = np.transpose(means)
    assert_allclose(model.loss_curve_["factorization"], curves[0], rtol=1e-6)
    assert_allclose(model.loss_curve_["regression"], curves[1], rtol=1e-6)
    ((u, i, *_, w),) = batches(pairs, 150)
    expected = 0.7 * curves[0, -1] + 0.4 * curves[1, -1]
    expected += w @ penalty(theta, model, u, i) / w.sum()
    assert_allclose(model.loss_curve_["joint"][-1], expected, rtol=1e-6)


def test_rows_that_no_batch_touches_do_not_move(data):
    X, y = data
    model = in_general_position(X, y, None)
    before = copy.deepcopy(fitted(model))
    some = np.isin(X[:, 0], np.unique(X[:, 0])[:3])
    # The others are known to the fit by a matrix, but have no ratings there.
    R = sparse.coo_array((y[some], X[some].T), shape=(14, 20)).tocsr()
    model = model.set_params(batch_size=1).fit(R)
    rows = np.flatnonzero(np.isin(np.arange(14), model.users_[np.diff(R.indptr) == 0]))
    at = np.searchsorted(before["users_"], rows)
    assert len(rows) > 9
    assert_array_equal(model.user_factors_[rows], before["user_factors_"][at])
    assert_array_equal(model.user_biases_[rows], before["user_biases_"][at])
    moved = np.setdiff1d(np.arange(14), rows)
    at = np.searchsorted(before["users_"], moved)
    assert (model.user_factors_[moved] != before["user_factors_"][at]).all()


# --------------------------------------------------------------------- items not rated


@pytest.mark.parametrize(
    "rated", [[], [0], [9], [0, 1, 2], [7, 8, 9], [3, 4, 8], [0, 2, 4, 6, 8, 9]]
)
def test_each_unrated_item_is_equally_likely(rated):
    seen_indptr = np.array([0, 2, 2 + len(rated), 2 + len(rated)])
    seen_indices = np.array([1, 9, *rated], dtype=np.int32)
    n_unrated = 10 - len(rated)
    draws = np.linspace(0, 2**32 - 1, 50 * n_unrated)
    indptr = np.array([0, 1, 1 + len(draws), 2 + len(draws)])
    draws = np.array([0, *draws, 0.95 * 2**32]).astype(np.uint32)
    found = np.full(len(draws), -2, np.int32)
    draw_unrated(0, 2, indptr, seen_indptr, seen_indices, 10, draws, found)
    assert found[0] not in {1, 9}
    assert found[-1] == -2
    counts = np.bincount(found[1:-1], minlength=10)
    assert_array_equal(counts, np.where(np.isin(np.arange(10), rated), 0, 50))
    draw_unrated(2, 3, indptr, seen_indptr, seen_indices, 10, draws, found)
    assert found[-1] == 9  # nothing is left over from other users


def test_each_pair_is_as_likely_in_each_batch():
    rng = np.random.default_rng(0)
    indptr, indices = np.array([0, 2, 2, 5]), np.arange(5, dtype=np.int32)
    columns = indices, indices + 5, np.arange(5.0), np.arange(9.0, 14)
    batches = np.array([0, 0, 1, 1, 2], dtype=np.int32)
    pairs = Interactions(
        np.empty(5, np.int32), np.empty((5, 2), np.int32), np.empty((5, 2))
    )
    counts = np.zeros((5, 5))  # how often an item and another are in one batch
    for _ in range(4000):
        words = rng.integers(2**32, size=5, dtype=np.uint32)
        shuffle(words, batches)
        for start, stop in ((0, 1), (1, 3)):
            deal(start, stop, batches, 2, indptr, *columns, pairs)
        items, others = pairs.items.T
        assert_array_equal(np.sort(items), indices)
        assert_array_equal(pairs.users, np.where(items < 2, 0, 2))
        assert_array_equal(others, items + 5)
        assert_array_equal(pairs.ratings, np.column_stack([items, items + 9]))
        assert items[0] < items[1]
        assert items[2] < items[3]
        for batch in (items[:2], items[2:4], items[4:]):
            counts[np.ix_(batch, batch)] += 1
    # Of ten possible pairs of items, two are met in each epoch.
    assert_allclose(counts[~np.eye(5, dtype=bool)], 800, atol=5 * 800**0.5)


def test_an_item_is_drawn_that_the_user_has_not_rated(data, noted):
    X, y = data
    for early_stopping in (False, True):
        noted.clear()
        multitask(max_iter=5, early_stopping=early_stopping).fit(X, y)
        drawn = {
            (int(u), int(j))
            for pairs, *_ in noted
            for users, _, others, *_ in batches(pairs, 40)
            for u, j in zip(users, others, strict=True)
        }
        users = np.unique(X[:, 0], return_inverse=True)[1]
        items = np.unique(X[:, 1], return_inverse=True)[1]
        assert len(drawn) > 80
        assert not drawn & set(zip(users.tolist(), items.tolist(), strict=True))


@pytest.mark.parametrize("loss", ["bpr", "logistic"])
@pytest.mark.compiled
def test_a_user_who_has_rated_everything_still_learns_ratings(loss):
    X, y = np.array(list(np.ndindex(4, 6))), np.tile([1.0, 5.0, 1.0, 5.0, 3.0, 3.0], 4)
    X, y = X[:-3], y[:-3]  # user 3 has not rated everything
    model = multitask(
        interaction_loss=loss,
        max_iter=100 if numba.config.DISABLE_JIT else 300,
        factorization_weight=0.5,
        regression_weight=0.5,
        regularization=0,
        regression_regularization=0,
        learning_rate=0.03,
    ).fit(X, y)
    assert model.loss_curve_["regression"][-1] < 0.2 * y.var()
    assert (model.user_biases_[:3] == 0).all()
    assert (model.user_biases_[3] != 0) == (loss == "logistic")
    model.fit(X[:18], y[:18])  # nobody is left whom an item could be drawn for
    assert set(model.loss_curve_["factorization"]) == {0.0}
    assert (model.item_biases_ == 0).all()
    assert model.loss_curve_["regression"][-1] < 0.2 * y.var()


# ------------------------------------------------------------------------- predictions

UNSEEN = np.array([[0, 999], [999, 0], [999, 999]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("hidden_layer_sizes", SIZES)
@pytest.mark.parametrize("shared", [True, False])
def test_predictions_are_those_of_the_network(shared, hidden_layer_sizes, dtype, data):
    X, y = data[0], data[1].astype(dtype)
    model = in_general_position(
        X,
        y,
        None,
        shared_embeddings=shared,
        hidden_layer_sizes=hidden_layer_sizes,
        clip=False,
    )
    theta = parameters(model)
    # An unseen id has a last row of its own, of zeros.
    theta |= {
        name: np.concatenate([theta[name], np.zeros_like(theta[name][:1])])
        for name in NAMES.keys() & theta.keys()
    }
    pairs = np.vstack([UNSEEN, X])
    u, i = (
        np.where(np.isin(ids, known), np.searchsorted(known, ids), len(known))
        for ids, known in zip(pairs.T, (model.users_, model.items_), strict=True)
    )
    tol = {"rtol": 100 * np.finfo(dtype).eps, "atol": 10 * np.finfo(dtype).eps}
    predictions = model.predict(pairs)
    assert predictions.dtype == dtype
    assert_allclose(predictions, model.global_mean_ + rating(theta, u, i), **tol)
    probabilities = model.predict_interaction(pairs)
    assert probabilities.dtype == dtype
    assert_allclose(probabilities, expit(interaction(theta, u, i)), **tol)
    factors = np.hstack([theta["P"][u], theta["Q"][i]])
    assert_array_equal(model.transform(pairs), factors)
    low, high = model.rating_range_
    model.intercepts_[-1] += 2  # stars
    assert model.predict(pairs).max() > high
    model.set_params(clip=True)
    assert_allclose(
        model.predict(pairs), (predictions + 2).clip(low, high), rtol=1e-6, atol=1e-6
    )


# ---------------------------------------------------------------------- the loss curves


def test_loss_curves(data):
    X, y = data
    n_iter = 5 if numba.config.DISABLE_JIT else 60
    model = multitask(
        max_iter=n_iter, factorization_weight=0.5, regression_weight=0.5
    ).fit(X, y)
    curves = model.loss_curve_
    assert list(curves) == ["joint", "factorization", "regression"]
    assert {len(curve) for curve in curves.values()} == {n_iter} == {model.n_iter_}
    assert {type(loss) for curve in curves.values() for loss in curve} == {float}
    assert model.best_iter_ == n_iter
    assert model.validation_scores_ is None
    u, i = (np.unique(column, return_inverse=True)[1] for column in X.T)
    expected = (curves["factorization"][-1] + curves["regression"][-1]) / 2
    expected += penalty(parameters(model), model, u, i).mean()
    assert_allclose(curves["joint"][-1], expected, rtol=1e-12)
    assert curves["joint"][-1] < curves["joint"][0]
    assert curves["regression"][-1] < curves["regression"][0]


@pytest.mark.compiled
def test_all_losses_fall(large):
    model = multitask(max_iter=40, n_factors=8, learning_rate=0.003)
    model.set_params(hidden_layer_sizes=(16,)).fit(*large)
    for curve in model.loss_curve_.values():
        assert curve[-1] < 0.9 * curve[0]
        assert (np.diff(curve[:10]) < 0).all()


# -------------------------------------------------------------------------------- bits


@pytest.mark.compiled
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shared", [True, False])
def test_the_number_of_threads_does_not_change_a_bit(
    shared, dtype, large, in_blocks, monkeypatch
):
    X, y = large[0], large[1].astype(dtype)
    w = np.random.default_rng(0).uniform(0.5, 2, len(y)).astype(dtype)
    model = multitask(
        shared_embeddings=shared, hidden_layer_sizes=(20, 5), early_stopping=True
    )
    model.set_params(batch_size=8 * CHUNK, n_factors=20)
    starts, train = set(), two_tasks_solver.train_batches

    def note(batches, blocks, parts, *args):
        starts.add(blocks[0])
        train(batches, blocks, parts, *args)

    monkeypatch.setattr(two_tasks_solver, "train_batches", note)
    expected = fitted(clone(model).set_params(n_jobs=1).fit(X, y, sample_weight=w))
    assert len(starts) > 1  # the gradients of a batch are work for several threads
    for n_jobs in (2, 3, 4, 16):
        other = clone(model).set_params(n_jobs=n_jobs).fit(X, y, sample_weight=w)
        assert_same_bits(fitted(other), expected)
    assert len(expected["loss_curve_"]["joint"]) == 2


def test_two_threads_give_the_bits_of_one(data, in_blocks):
    alone = multitask(n_jobs=1, max_iter=1).fit(*data)
    assert_same_bits(fitted(multitask(n_jobs=2, max_iter=1).fit(*data)), fitted(alone))


@pytest.mark.compiled
def test_a_kernel_from_the_cache_rounds_as_one_just_compiled():
    """It does where no helper is left as a function of its own."""
    helpers = {
        name: function
        for module in (two_tasks_kernels, perceptron)
        for name, function in vars(module).items()
        if hasattr(function, "targetoptions")
        and function.py_func.__module__ == module.__name__
        and name
        not in {"deal", "draw_unrated", "predict_pairs", "shuffle", "train_batches"}
    }
    assert {"_learn_ratings", "_step_row", "forward"} < helpers.keys()
    for helper in helpers.values():
        assert helper.targetoptions["forceinline"]


# ---------------------------------------------------------------------------- stopping


@pytest.mark.compiled
@pytest.mark.parametrize("shared", [True, False])
def test_validation_scores_are_those_of_the_held_out_ratings(
    shared, large, monkeypatch
):
    X, y = large
    model = multitask(
        shared_embeddings=shared,
        n_factors=16,
        hidden_layer_sizes=(32, 8),
        learning_rate=0.02,
        factorization_weight=0.5,
        regression_weight=0.5,
        regularization=0,
        regression_regularization=0,
        early_stopping=True,
        max_iter=60,
    )
    kept, hold_out = [], MultiTaskMF._hold_out

    def note(model, *args):
        kept.append(hold_out(model, *args))
        return kept[-1]

    monkeypatch.setattr(MultiTaskMF, "_hold_out", note)
    model.fit(X, y)
    best = int(np.argmax(model.validation_scores_)) + 1
    assert best == model.best_iter_ < model.n_iter_ < 60
    assert len(model.validation_scores_) == model.n_iter_
    training, held_out = kept[0]
    theta, mean = parameters(model), training.mean()
    assert model.global_mean_ == mean != y.mean()
    errors = held_out.ratings - mean - rating(theta, held_out.users, held_out.items)
    assert_allclose(
        max(model.validation_scores_), -np.sqrt(np.mean(errors**2)), rtol=1e-9
    )
    assert abs(len(held_out.ratings) - 400) < 5


# -------------------------------------------------- interrupts, threads and processes


@pytest.mark.parametrize("sizes", SIZES)
def test_layers_are_read_as_they_were_laid_out(sizes):
    sizes = [3 * 5, *sizes, 1]
    layers = draw_layers(sizes, np.random.RandomState(0), np.float32)
    shapes = [weights.shape for weights, _ in layers]
    network = lay_out(layers)
    n_laid_out = np.count_nonzero(network.values)
    assert n_laid_out == sum(part.size for layer in layers for part in layer)
    for layer, expected in zip(read_layers(network, shapes), layers, strict=True):
        for part, other in zip(layer, expected, strict=True):
            assert_array_equal(part, other, strict=True)


def test_small_batches_pass_in_the_calling_thread(large, monkeypatch):
    threads, calls = set(), []
    train = two_tasks_solver.train_batches

    def note(batches, *args):
        threads.add(threading.get_ident())
        calls.append(batches)
        train(batches, *args)

    monkeypatch.setattr(two_tasks_solver, "train_batches", note)
    model = multitask(n_jobs=2, max_iter=1, batch_size=64).fit(*large)
    assert threads == {threading.get_ident()}
    assert calls == [(0, 63)]
    calls.clear()
    monkeypatch.setattr(two_tasks_solver, "CALL_WORK", 2**20)
    other = multitask(n_jobs=2, max_iter=1, batch_size=64).fit(*large)
    assert len(calls) > 1
    assert [first for first, _ in calls] == [0, *(last for _, last in calls[:-1])]
    assert calls[-1][1] == 63
    assert_same_bits(fitted(other), fitted(model))


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("exception", [KeyboardInterrupt, MemoryError])
def test_what_ends_a_batch_leaves_the_model(
    exception, n_jobs, data, in_blocks, monkeypatch
):
    model = multitask(n_jobs=n_jobs).fit(*data)
    before = copy.deepcopy(fitted(model))
    train = two_tasks_solver.train_batches

    def fail(batches, blocks, *args):
        if blocks == (1, 2):
            raise exception
        train(batches, blocks, *args)

    monkeypatch.setattr(two_tasks_solver, "train_batches", fail)
    with pytest.raises(exception):
        model.fit(*data)
    assert_same_bits(fitted(model), before)
    assert sklearn_mf_threads() == []
