"""The autoencoder against the same network in plain NumPy."""

import itertools
from unittest import mock

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.special import expit
from sklearn.base import clone

from sklearn_mf import AutoRec, as_pairs
from sklearn_mf._data.ratings import Ratings
from sklearn_mf._estimators import autorec as autorec_module
from sklearn_mf._model import parameters as parameters_module
from sklearn_mf._solvers.autoencoder import solver as network
from sklearn_mf.datasets import make_ratings
from tests.assertions import assert_same_bits
from tests.solvers.autoencoder.helpers import autorec, forward, hidden, parameters
from tests.solvers.sgd.helpers import to_shares


@pytest.fixture(autouse=True)
def unit_scale(monkeypatch):
    """Let the references know nothing of the scale of ratings: see test_units.py."""
    monkeypatch.setattr(Ratings, "scale", lambda *args: 1.0)


LOSSES = [
    ("squared_error", "identity"),
    ("squared_error", "sigmoid"),
    ("log_loss", "sigmoid"),
]


@pytest.fixture(scope="module")
def data():
    return make_ratings(30, 20, 250, random_state=0)


@pytest.fixture(scope="module")
def weights():
    return np.random.default_rng(1).uniform(0.5, 2, 250)


@pytest.fixture(scope="module")
def large():
    return make_ratings(300, 200, 6000, random_state=0)


def small_blocks(work=64):
    return mock.patch.object(network, "BLOCK_WORK", work)


# ------------------------------------------------------- the mathematics in plain NumPy


def tables(X, y, w, axis):
    """Return ratings and their weights as dense tables, ids in order."""
    codes = [np.unique(column, return_inverse=True)[1] for column in X.T]
    R, W = (np.zeros([c.max() + 1 for c in codes]) for _ in range(2))
    R[*codes], W[*codes] = y, w
    return (R, W) if axis == "user" else (R.T, W.T)


def objective(R, W, theta, mean, model):
    p = forward(R, W, theta, mean, model.activation, model._logistic)
    if model.loss == "log_loss":
        losses = -2 * (R * np.log(p) + (1 - R) * np.log(1 - p))
    else:
        losses = (R - p) ** 2
    n = W.sum(axis=0) ** float(model.weighted_regularization) * (W > 0).any(axis=0)
    squares = (theta[0] ** 2).sum(axis=1) + (theta[2] ** 2).sum(axis=1)
    return (W * losses).sum() + model.regularization * (n * squares).sum()


def gradient(R, W, theta, mean, model, step=1e-5):
    """Return the gradient of the objective by central differences."""
    found = []
    for block in theta:
        slopes = np.empty_like(block)
        for at in np.ndindex(block.shape):
            kept, ends = block[at], []
            for block[at] in (kept + step, kept - step):
                ends.append(objective(R, W, theta, mean, model))
            block[at] = kept
            slopes[at] = (ends[0] - ends[1]) / (2 * step)
        found.append(slopes)
    return found


def start(model, X, y, w):
    """Return the network that a fit begins with."""
    begin = clone(model).set_params(learning_rate=1e-300)
    return parameters(begin.fit(X, y, sample_weight=w))


@pytest.mark.parametrize("weighted", [False, 0.7, True])
@pytest.mark.parametrize("activation", ["sigmoid", "identity"])
@pytest.mark.parametrize(("loss", "output"), LOSSES)
@pytest.mark.parametrize("axis", ["user", "item"])
def test_a_step_goes_along_half_the_gradient(
    axis, loss, output, activation, weighted, data, weights
):
    X, y = data
    y = y if output == "identity" else to_shares(y)
    model = autorec(
        axis=axis,
        loss=loss,
        output_activation=output,
        activation=activation,
        weighted_regularization=weighted,
        regularization=0.3,
        init_scale=0.5,
        optimizer="sgd",
        learning_rate=0.01,
        batch_size=100,
        max_iter=1,
    )
    theta = start(model, X, y, weights)
    model.fit(X, y, sample_weight=weights)
    R, W = tables(X, y, weights, axis)
    slopes = gradient(R, W, theta, model.global_mean_, model)
    for before, after, slope in zip(theta, parameters(model), slopes, strict=True):
        taken = (before - after) * len(R) / 0.01
        assert_allclose(taken, slope / 2, rtol=1e-6, atol=1e-6 * abs(slope).max())
    assert_allclose(
        model.loss_curve_[0],
        objective(R, W, theta, model.global_mean_, model),
        rtol=0.05,  # the penalty is that after the step
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_factors", [1, 2, 7, 33, 64])
def test_every_number_of_factors(n_factors, dtype):
    """A step in closed form, with rows of one rating and of all."""
    rng = np.random.default_rng(n_factors)
    W = rng.random((50, 30)) < 0.2
    W[0], W[1] = True, np.arange(30) == 7
    W[np.arange(30), np.arange(30)] = True
    W = W * rng.uniform(0.5, 2, W.shape).astype(dtype)
    X = np.argwhere(W)
    y, w = rng.normal(size=len(X)).astype(dtype), W[tuple(X.T)]
    model = autorec(n_factors=n_factors, axis="user", optimizer="sgd", max_iter=1)
    model.set_params(init_scale=0.3, batch_size=50, regularization=0.1)
    v, a, u, b = start(model, X, y, w)
    fit = model.set_params(learning_rate=0.1).fit(X, y, sample_weight=w)
    R, _ = tables(X, y, w, "user")
    mean = fit.global_mean_
    x, h = np.where(W > 0, R - mean, 0), hidden(R, W, [v, a, u, b], mean, "sigmoid")
    E = W * (mean + h @ u.T + b - R)
    D = E @ u * h * (1 - h)
    pull = 0.1 * W.sum(axis=0)[:, np.newaxis]
    slopes = [x.T @ D + pull * v, D.sum(axis=0), E.T @ h + pull * u, E.sum(axis=0)]
    tol = 2e-4 if dtype == np.float32 else 1e-11
    for before, after, slope in zip((v, a, u, b), parameters(fit), slopes, strict=True):
        assert after.dtype == dtype
        moved = (before - after) * len(R) / 0.1
        assert_allclose(moved, slope, rtol=tol, atol=10 * tol * abs(slope).max())


def test_batches_against_the_reference(data, weights):
    """Adam over batches of rows; a column that no row of a batch rated does not age."""
    X, y = data
    model = autorec(batch_size=8, max_iter=4, regularization=0.1, learning_rate=0.05)
    theta = start(model, X, y, weights)
    dealt, draw = [], network.Batches.draw

    def note(batches, rng):
        draw(batches, rng)
        dealt.append([rows for rows, *_ in batches])

    with mock.patch.object(network.Batches, "draw", note):
        model.fit(X, y, sample_weight=weights)
    R, W = tables(X, y, weights, "item")
    assert all(sorted(np.concatenate(e)) == list(range(len(R))) for e in dealt)
    assert dealt[0][0].tolist() != dealt[1][0].tolist()
    assert {len(rows) for epoch in dealt for rows in epoch} <= {6, 7}
    first = [np.zeros_like(block) for block in theta]
    second = [np.zeros_like(block) for block in theta]
    ages = [np.zeros(len(block)) for block in theta]
    ages[1] = np.zeros(1)
    for rows in itertools.chain(*dealt):
        part = gradient(R[rows], W[rows], theta, model.global_mean_, model)
        touched = (W[rows] > 0).any(axis=0)
        for k, slopes in enumerate(part):
            at = slice(None) if k == 1 else touched
            g = slopes[at] / 2 / len(rows)
            ages[k][slice(None) if k == 1 else touched] += 1
            t = ages[k][at].reshape(-1, *[1] * (g.ndim - 1))
            t = ages[k] if k == 1 else t
            first[k][at] = 0.9 * first[k][at] + 0.1 * g
            second[k][at] = 0.999 * second[k][at] + 0.001 * g**2
            mean = first[k][at] / (1 - 0.9**t)
            root = np.sqrt(second[k][at] / (1 - 0.999**t))
            theta[k][at] -= 0.05 * mean / (root + 1e-8 * weights.mean())
    for block, expected in zip(parameters(model), theta, strict=True):
        assert_allclose(block, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("activation", ["sigmoid", "identity"])
@pytest.mark.parametrize(("loss", "output"), LOSSES)
@pytest.mark.parametrize("axis", ["user", "item"])
def test_predictions_are_those_of_the_network(axis, loss, output, activation, data):
    X, y = data
    y = y if output == "identity" else to_shares(y)
    model = autorec(
        axis=axis, loss=loss, output_activation=output, activation=activation
    )
    model.set_params(clip=False, init_scale=0.3).fit(X, y)
    R, W = tables(X, y, 1.0, axis)
    expected = forward(
        R, W, parameters(model), model.global_mean_, activation, output == "sigmoid"
    )
    every = np.array(list(np.ndindex(R.shape if axis == "user" else R.T.shape)))
    every = np.column_stack([model.users_[every[:, 0]], model.items_[every[:, 1]]])
    expected = expected if axis == "user" else expected.T
    assert_allclose(model.predict(every), expected.ravel(), rtol=1e-10)
    assert (getattr(model, f"{axis}_biases_") == 0).all()


@pytest.mark.compiled
def test_loss_curve_tends_to_the_objective(data):
    X, y = data
    model = autorec(max_iter=3000, learning_rate=1e-3, batch_size=100).fit(X, y)
    R, W = tables(X, y, 1.0, "item")
    value = objective(R, W, parameters(model), model.global_mean_, model)
    assert_allclose(model.loss_curve_[-1], value, rtol=1e-3)
    assert model.loss_curve_[-1] < 0.6 * model.loss_curve_[0]
    assert (np.diff(model.loss_curve_[:50]) < 0).all()


@pytest.mark.parametrize("params", [{}, {"optimizer": "sgd", "learning_rate": 0.05}])
def test_the_axes_are_each_other_transposed(params, data):
    X, y = data
    one = autorec(axis="item", **params).fit(X, y)
    other = autorec(axis="user", **params)
    order = ["users_", "items_"]
    # What is drawn at random is drawn for items first.
    with (
        mock.patch.object(parameters_module, "draw_rows", draw_by_size),
        mock.patch.object(autorec_module, "draw_rows", draw_by_size),
    ):
        one.fit(X, y)
        other.fit(X[:, ::-1], y)
    assert_array_equal(getattr(one, order[0]), getattr(other, order[1]))
    assert_array_equal(one.encoder_weights_, other.encoder_weights_)
    assert_array_equal(one.user_factors_, other.item_factors_)
    assert_array_equal(one.item_factors_, other.user_factors_)
    assert_array_equal(one.predict(X), other.predict(X[:, ::-1]))


@pytest.mark.compiled
def test_linear_network_meets_the_reference_minimum():
    """With one hidden unit and no penalty, a planted rank of one is recovered."""
    rng = np.random.default_rng(0)
    u, v = rng.normal(size=40), rng.normal(size=25)
    X = np.array(list(np.ndindex(40, 25)))
    y = np.outer(u, v).ravel()
    model = autorec(
        n_factors=1,
        activation="identity",
        regularization=0,
        learning_rate=0.02,
        init_scale=0.1,
        max_iter=1500,
    )
    assert -model.fit(X, y).score(X, y) < 0.02 * y.std()


# ----------------------------------------------------------------------------- weights


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("axis", ["user", "item"])
def test_rows_of_a_matrix_without_ratings(axis):
    X, y = make_ratings(12, 9, 40, random_state=3)
    R = sparse.coo_array((y, X.T), shape=(15, 11)).tocsr()
    model = autorec(axis=axis, weighted_regularization=False).fit(R)
    assert (model.user_factors_[12:] == 0).all()
    assert (model.item_factors_[9:] == 0).all()
    other = "item" if axis == "user" else "user"
    assert (model.encoder_weights_[9 if axis == "user" else 12 :] == 0).all()
    biases = getattr(model, f"{other}_biases_")
    assert (biases[9 if axis == "user" else 12 :] == 0).all()
    assert not hasattr(model, "n_features_in_")
    pairs = as_pairs(R)
    before = model.predict(pairs[0])
    assert_array_equal(model.partial_fit(*pairs).predict(pairs[0]), before)


# -------------------------------------------------------------------------------- bits


@pytest.mark.compiled
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("axis", ["user", "item"])
def test_the_number_of_threads_does_not_change_a_bit(axis, dtype, large):
    X, y = large[0], large[1].astype(dtype)
    more = X[:50] + np.array([0, 1000] if axis == "item" else [1000, 0])
    with small_blocks():
        models = [
            autorec(axis=axis, n_jobs=n_jobs, early_stopping=True)
            .fit(X, y)
            .partial_fit(more, y[:50])
            for n_jobs in (1, 2, 4)
        ]
    for model in models[1:]:
        assert_same_bits(model, models[0])
    one_block = autorec(axis=axis, n_jobs=2, early_stopping=True).fit(X, y)
    assert_same_bits(one_block.partial_fit(more, y[:50]), models[0])


def test_blocks_run_in_threads(large):
    from sklearn_mf._runtime.threads import cut_rows

    cuts = []

    def note(work, block_work):
        cuts.append(cut_rows(work, block_work))
        return cuts[-1]

    with small_blocks(), mock.patch.object(network, "cut_rows", note):
        autorec(max_iter=1).fit(*large)
    assert min(map(len, cuts)) > 4


# ---------------------------------------------------------------------------- stopping


@pytest.mark.parametrize(
    ("loss", "axis"), [("squared_error", "item"), ("log_loss", "user")]
)
@pytest.mark.compiled
def test_validation_scores_are_those_of_the_held_out_ratings(loss, axis, large):
    X, y = large[0], large[1] if loss == "squared_error" else to_shares(large[1])
    params = {"loss": loss, "axis": axis, "n_factors": 20, "regularization": 0.001}
    params |= {"learning_rate": 0.02, "early_stopping": True, "max_iter": 60}
    kept, hold_out = [], AutoRec._hold_out

    def note(model, *args):
        kept.append(hold_out(model, *args))
        return kept[-1]

    with mock.patch.object(AutoRec, "_hold_out", note):
        model = autorec(**params).fit(X, y)
    ((training, held),) = kept
    # Scored when fed with the training ratings alone, fitted when fed with all.
    theta, mean = parameters(model), training.mean()
    part = training.by_user
    codes = np.repeat(np.arange(len(model.users_)), part.counts()), part.indices
    shape = len(model.users_), len(model.items_)
    R, W = np.zeros(shape), np.zeros(shape)
    R[codes], W[codes] = part.ratings, 1
    R, W = (R, W) if axis == "user" else (R.T, W.T)
    p = forward(R, W, theta, mean, "sigmoid", model._logistic)
    p = p if axis == "user" else p.T
    p, r = p[held.users, held.items], held.ratings
    if loss == "squared_error":
        score = -np.sqrt(np.mean((p - r) ** 2))
    else:
        score = np.mean(r * np.log(p) + (1 - r) * np.log(1 - p))
    assert_allclose(max(model.validation_scores_), score, rtol=1e-9)
    R, W = tables(X, y, 1.0, axis)
    h = hidden(R, W, theta, mean, "sigmoid") - expit(theta[1])
    assert_allclose(getattr(model, f"{axis}_factors_"), h, atol=1e-12)


def draw_by_size(side, n_factors, *, biased, **options):
    rows = np.zeros((len(side.indptr) - 1, n_factors + biased), side.ratings.dtype)
    rng = np.random.default_rng(len(rows))
    rows[:, :n_factors] = rng.normal(size=(len(rows), n_factors))
    return rows
