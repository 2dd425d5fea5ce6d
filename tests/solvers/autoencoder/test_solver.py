"""AutoRec: the network in plain NumPy, feeding rows, and the contract of a fit."""

import copy
import itertools
import pickle
import signal
import subprocess
import sys
from unittest import mock

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.special import expit, logit
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, train_test_split

from sklearn_mf import AutoRec, BiasedMF, as_pairs, load
from sklearn_mf._estimators import autorec as autorec_module
from sklearn_mf._estimators.early_stopping import EarlyStoppingMixin
from sklearn_mf._model import parameters as parameters_module
from sklearn_mf._solvers.autoencoder import solver as network
from sklearn_mf.datasets import make_ratings

QUICK = {"n_factors": 4, "max_iter": 3, "tol": None, "random_state": 0}
LOSSES = [
    ("squared_error", "identity"),
    ("squared_error", "sigmoid"),
    ("log_loss", "sigmoid"),
]


def autorec(**params):
    return AutoRec(**{**QUICK, **params})


@pytest.fixture(scope="module")
def data():
    return make_ratings(30, 20, 250, random_state=0)


@pytest.fixture(scope="module")
def weights():
    return np.random.default_rng(1).uniform(0.5, 2, 250)


@pytest.fixture(scope="module")
def large():
    return make_ratings(300, 200, 6000, random_state=0)


def to_shares(y):
    return (y - 1) / 4


def small_blocks(work=64):
    return mock.patch.object(network, "BLOCK_WORK", work)


def fitted(model):
    return {name: value for name, value in vars(model).items() if name.endswith("_")}


def assert_same_bits(one, other, *, but=()):
    assert one.keys() == other.keys()
    for name in one.keys() - set(but):
        assert_array_equal(one[name], other[name], err_msg=name, strict=True)


def parameters(model):
    """Give the network of a fitted model: v, a, w and b."""
    other = "item" if model.axis_ == "user" else "user"
    v, a = model.encoder_weights_, model.encoder_biases_
    w, b = getattr(model, f"{other}_factors_"), getattr(model, f"{other}_biases_")
    h0 = expit(a) if model.activation == "sigmoid" else a
    return [v.copy(), a.copy(), w.copy(), b - w @ h0]


# ------------------------------------------------------- the mathematics in plain NumPy


def tables(X, y, w, axis):
    """Give ratings and their weights as dense tables, ids in order."""
    codes = [np.unique(column, return_inverse=True)[1] for column in X.T]
    R, W = (np.zeros([c.max() + 1 for c in codes]) for _ in range(2))
    R[*codes], W[*codes] = y, w
    return (R, W) if axis == "user" else (R.T, W.T)


def hidden(R, W, theta, mean, activation):
    s = theta[1] + np.where(W > 0, R - mean, 0) @ theta[0]
    return expit(s) if activation == "sigmoid" else s


def forward(R, W, theta, mean, activation, logistic):
    """Give what the network predicts for every pair: its score, and the prediction."""
    mu = logit(mean) if logistic else mean
    z = mu + hidden(R, W, theta, mean, activation) @ theta[2].T + theta[3]
    return expit(z) if logistic else z


def objective(R, W, theta, mean, model):
    p = forward(R, W, theta, mean, model.activation, model._logistic)
    if model.loss == "log_loss":
        losses = -2 * (R * np.log(p) + (1 - R) * np.log(1 - p))
    else:
        losses = (R - p) ** 2
    n = W.sum(axis=0) if model.weighted_regularization else (W > 0).any(axis=0)
    squares = (theta[0] ** 2).sum(axis=1) + (theta[2] ** 2).sum(axis=1)
    return (W * losses).sum() + model.regularization * (n * squares).sum()


def gradient(R, W, theta, mean, model, step=1e-5):
    """Give the gradient of the objective by central differences."""
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
    """Give the network that a fit begins with."""
    begin = clone(model).set_params(learning_rate=1e-300)
    return parameters(begin.fit(X, y, sample_weight=w))


@pytest.mark.parametrize("weighted", [False, True])
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
            theta[k][at] -= 0.05 * mean / (root + 1e-8)
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


def draw_by_size(side, n_factors, *, biased, **options):
    rows = np.zeros((len(side.indptr) - 1, n_factors + biased), side.ratings.dtype)
    rng = np.random.default_rng(len(rows))
    rows[:, :n_factors] = rng.normal(size=(len(rows), n_factors))
    return rows


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


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("axis", ["user", "item"])
def test_weight_two_is_the_row_twice(axis, weighted, data):
    X, y = data
    w = np.where(np.arange(len(y)) % 3, 1.0, 2.0)
    rows = np.repeat(np.arange(len(y)), w.astype(int))
    params = {"axis": axis, "weighted_regularization": weighted, "max_iter": 10}
    model = autorec(**params).fit(X, y, sample_weight=w)
    other = autorec(**params).fit(X[rows], y[rows])
    assert_allclose(model.predict(X), other.predict(X), rtol=1e-10)
    w[::7] = 0
    model.fit(X, y, sample_weight=w)
    other.fit(X[w > 0], y[w > 0], sample_weight=w[w > 0])
    assert_same_bits(fitted(model), fitted(other))


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
    assert_array_equal(model.partial_fit(R).predict(pairs[0]), before)


# -------------------------------------------------------------------------------- bits


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
        assert_same_bits(fitted(model), fitted(models[0]))
    one_block = autorec(axis=axis, n_jobs=2, early_stopping=True).fit(X, y)
    assert_same_bits(fitted(one_block.partial_fit(more, y[:50])), fitted(models[0]))


def test_blocks_run_in_threads(large):
    from sklearn_mf._runtime.threads import cut_rows

    cuts = []

    def note(work, block_work):
        cuts.append(cut_rows(work, block_work))
        return cuts[-1]

    with small_blocks(), mock.patch.object(network, "cut_rows", note):
        autorec(max_iter=1).fit(*large)
    assert min(map(len, cuts)) > 4


def test_same_seed_row_order_and_layout(data, tmp_path):
    X, y = data
    expected = fitted(autorec().fit(X, y))
    order = np.random.default_rng(0).permutation(len(y))
    read_only = X.copy(order="F")
    read_only.flags.writeable = False
    for table, ratings in ((X, y), (X[order], y[order]), (read_only, y)):
        assert_same_bits(fitted(autorec().fit(table, ratings)), expected)
    again = autorec().fit(X, y)
    assert_same_bits(fitted(again.fit(X, y)), expected)
    again.save(tmp_path / "model.npz")
    for moved in (pickle.loads(pickle.dumps(again)), load(tmp_path / "model.npz")):
        assert_same_bits(fitted(moved), expected)
        new = [[5, 10**6], [6, 10**6]], [1.0, 5.0]
        fed = copy.deepcopy(again).partial_fit(*new)
        assert_same_bits(fitted(moved.partial_fit(*new)), fitted(fed))
    assert (autorec(random_state=1).fit(X, y).predict(X) != again.predict(X)).any()


@pytest.mark.parametrize("axis", ["user", "item"])
def test_float32_stays(axis, data):
    X, y = data
    model = autorec(axis=axis, max_iter=30).fit(X, y.astype(np.float32))
    arrays = [
        array for array in fitted(model).values() if isinstance(array, np.ndarray)
    ]
    floats = [array for array in arrays if array.dtype.kind == "f"]
    assert {array.dtype for array in floats} == {np.dtype(np.float32)}
    other = autorec(axis=axis, max_iter=30).fit(X, y)
    assert_allclose(model.predict(X), other.predict(X), rtol=1e-4)
    model.partial_fit(X[:3], y[:3])
    assert model.seen_ratings_.dtype == model.user_factors_.dtype == np.float32


# ------------------------------------------------------------------------ feeding rows


@pytest.mark.parametrize("activation", ["sigmoid", "identity"])
@pytest.mark.parametrize("axis", ["user", "item"])
def test_fed_rows_are_those_that_fit_feeds(axis, activation, large):
    X, y = large
    model = autorec(axis=axis, activation=activation, learning_rate=0.02).fit(X, y)
    before = copy.deepcopy(model)
    row = 0 if axis == "user" else 1
    known = model.users_ if axis == "user" else model.items_
    some = np.isin(X[:, row], known[:40])
    shifted = X[some].copy()
    shifted[:, row] += 10**6
    model.partial_fit(shifted, y[some])
    assert_array_equal(model.predict(shifted), before.predict(X[some]))
    assert_array_equal(model.transform(shifted), before.transform(X[some]))
    assert_array_equal(model.predict(X), before.predict(X))
    for name in ("encoder_weights_", "encoder_biases_", "loss_curve_", "n_iter_"):
        assert_array_equal(getattr(model, name), getattr(before, name))
    every = np.r_[X, shifted]
    assert len(model.seen_ratings_) == len(every)
    R = sparse.csr_array((model.seen_ratings_, model.seen_indices_, model.seen_indptr_))
    users = np.searchsorted(model.users_, every[:, 0])
    items = np.searchsorted(model.items_, every[:, 1])
    assert_array_equal(R[users, items], np.r_[y, y[some]])


@pytest.mark.parametrize("axis", ["user", "item"])
def test_known_rows_are_fed_with_old_and_new(axis, data):
    X, y = data
    model = autorec(axis=axis).fit(X, y)
    in_turn = copy.deepcopy(model)
    a, b = X[:, 0].copy(), X[:, 1].copy()
    known = model.users_ if axis == "user" else model.items_
    rows = a if axis == "user" else b
    new = rows == known[3]
    extra = X[new].copy()
    # A row whose ratings come in two calls, one of them twice: the last one counts.
    extra[:, 0 if axis == "user" else 1] = 10**6
    in_turn.partial_fit(extra[:2], [1.0, 5.0])
    in_turn.partial_fit(extra[1:], y[new][1:])
    at_once = np.r_[1.0, y[new][1:]]
    model.partial_fit(extra, at_once)
    assert_same_bits(fitted(in_turn), fitted(model), but=["rating_range_"])
    assert in_turn.rating_range_[0] == model.rating_range_[0] == 1.0
    before = copy.deepcopy(model)
    model.partial_fit(X[new][:1], y[new][:1] + 1.5)
    assert model.predict(X[new][:1]) != before.predict(X[new][:1])
    others = rows != known[3]
    assert_array_equal(model.predict(X[others]), before.predict(X[others]))
    assert len(model.seen_ratings_) == len(before.seen_ratings_)
    model.partial_fit(X[new][:1], y[new][:1])
    assert_same_bits(fitted(model), fitted(before), but=["rating_range_"])
    assert model.rating_range_[1] == max(y.max(), y[new][0] + 1.5)


@pytest.mark.parametrize("activation", ["sigmoid", "identity"])
@pytest.mark.parametrize("axis", ["user", "item"])
def test_an_unseen_row_is_an_empty_one(axis, activation, data):
    X, y = data
    model = autorec(axis=axis, activation=activation, clip=False, learning_rate=0.05)
    model.set_params(max_iter=20).fit(X, y)
    R, W = (np.zeros((1, len(model.encoder_weights_))) for _ in range(2))
    empty = forward(R, W, parameters(model), model.global_mean_, activation, False)
    column = X[0, 1] if axis == "user" else X[0, 0]
    at = np.searchsorted(model.items_ if axis == "user" else model.users_, column)
    pair = [[999, column]] if axis == "user" else [[column, 999]]
    assert_allclose(model.predict(pair), empty[0, at])
    assert abs(empty[0, at] - model.global_mean_) > 1e-3
    unseen = [[X[0, 0], 999]] if axis == "user" else [[999, X[0, 1]]]
    assert model.predict(unseen) == model.global_mean_


def test_partial_fit_of_an_unfitted_estimator_is_fit(data):
    X, y = data
    assert_same_bits(fitted(autorec().partial_fit(X, y)), fitted(autorec().fit(X, y)))


@pytest.mark.parametrize("axis", ["user", "item"])
def test_partial_fit_of_nonsense_leaves_the_model(axis, data):
    X, y = data
    model = autorec(axis=axis, loss="log_loss").fit(X, to_shares(y))
    before = copy.deepcopy(fitted(model))
    unknown = [[777, 888], [777, 889]] if axis == "user" else [[888, 777], [889, 777]]
    other = "item" if axis == "user" else "user"
    wanted = rf"2 of its {other}s.*888, 889.*axis='{axis}'.*warm_start=True"
    with pytest.raises(ValueError, match=wanted):
        model.partial_fit(unknown, [0.0, 1.0])
    with pytest.raises(ValueError, match=r"log_loss.*between 0 and 1.*got 2 to 3"):
        model.partial_fit(X[:2], [2.0, 3.0])
    with pytest.raises(ValueError, match="contains NaN"):
        model.partial_fit(X[:1], [np.nan])
    with pytest.raises(ValueError, match="kind 'text'"):
        model.partial_fit([["1", "3"]], [1.0])
    interrupt = mock.patch(
        "sklearn_mf._estimators.autorec.encode", side_effect=KeyboardInterrupt
    )
    with interrupt, pytest.raises(KeyboardInterrupt):
        model.partial_fit(X[:1], [1.0])
    assert_same_bits(fitted(model), before)


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_overflow_of_fed_rows_is_an_error(data):
    X, y = data
    model = autorec(activation="identity").fit(X, y.astype(np.float32))
    model.encoder_weights_ *= 100
    before = copy.deepcopy(fitted(model))
    with pytest.raises(FloatingPointError, match=r"partial_fit.*float64"):
        model.partial_fit(X[:5], np.full(5, 3e38))
    assert_same_bits(fitted(model), before)


@pytest.mark.parametrize("axis", ["user", "item"])
@pytest.mark.compiled
def test_new_rows_are_known_everywhere(axis, large, tmp_path):
    X, y = large
    model = AutoRec(10, axis=axis, random_state=0, learning_rate=0.01).fit(X, y)
    order = slice(None, None, -1 if axis == "user" else 1)
    new = np.column_stack([np.arange(20), np.full(20, 5000)])[:, order]
    other = np.column_stack([np.arange(20), np.full(20, 5001)])[:, order]
    model.partial_fit(new, np.full(20, 5.0)).partial_fit(other, np.full(20, 1.0))
    columns = model.items_ if axis == "user" else model.users_
    liked, not_liked = (
        model.predict(np.column_stack([columns, np.full(len(columns), row)])[:, order])
        for row in (5000, 5001)
    )
    assert (liked > not_liked).mean() > 0.9
    pair = np.array([[50, 5000], [50, 5001]])[:, order]
    if axis == "user":
        items, _ = model.recommend([5000], 300)
        assert set(items.compressed()) == {*model.items_} - {*new[:, 1]}
    else:
        items, _ = model.recommend([50], 300)
        assert {5000, 5001} < set(items.compressed())
        assert 5000 not in model.recommend([3], 300)[0].compressed()
    assert model.transform(pair).shape == (2, 20)
    similar = model.similar_users if axis == "user" else model.similar_items
    assert len(similar([5000], 3)[0].compressed()) == 3
    model.save(tmp_path / "model.npz")
    assert_array_equal(load(tmp_path / "model.npz").predict(pair), model.predict(pair))


# -------------------------------------------------------------------------- warm start


def test_warm_start_goes_on(data):
    X, y = data
    model = autorec(max_iter=30, warm_start=True, optimizer="sgd", learning_rate=0.5)
    cold = clone(model).set_params(max_iter=60, batch_size=100).fit(X, y)
    model.set_params(batch_size=100).fit(X, y).fit(X, y)
    assert_allclose(model.predict(X), cold.predict(X), rtol=1e-9)
    assert model.loss_curve_[0] < cold.loss_curve_[0]


@pytest.mark.parametrize("axis", ["user", "item"])
def test_warm_start_learns_new_columns_and_rows(axis, data):
    X, y = data
    model = autorec(axis=axis, warm_start=True, learning_rate=0.05).fit(X, y)
    v, a, w, b = parameters(model)
    model.set_params(learning_rate=1e-300)
    more = np.r_[X[10:], [[900, 901], [901, X[0, 1]], [X[0, 0], 900]]]
    model.fit(more, np.r_[y[10:], 1.0, 2.0, 3.0])
    labels = model.items_ if axis == "user" else model.users_
    old = np.isin(labels, X[:, 1] if axis == "user" else X[:, 0])
    before = np.isin(np.unique(X[:, 1 if axis == "user" else 0]), labels)
    assert not old.all()
    for new, was in zip(parameters(model), (v, a, w, b), strict=True):
        if was is a:
            assert_allclose(new, was)
        else:
            assert_allclose(new[old], was[before], atol=1e-12)
    assert (parameters(model)[0][~old] != 0).all()


def test_warm_start_of_another_shape(data):
    X, y = data
    model = autorec(warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match=r"n_factors=3.*has 4 factors"):
        model.set_params(n_factors=3).fit(X, y)
    with pytest.raises(ValueError, match=r"axis='user'.*has 'item'"):
        model.set_params(n_factors=4, axis="user").fit(X, y)
    model.partial_fit(X[:2], y[:2])  # goes by the fit


# ---------------------------------------------------------------------------- stopping


@pytest.mark.parametrize(
    ("loss", "axis"), [("squared_error", "item"), ("log_loss", "user")]
)
@pytest.mark.compiled
def test_early_stopping_restores_the_best_epoch(loss, axis, large):
    X, y = large[0], large[1] if loss == "squared_error" else to_shares(large[1])
    params = {"loss": loss, "axis": axis, "n_factors": 20, "regularization": 0.001}
    params |= {"learning_rate": 0.02, "early_stopping": True, "max_iter": 60}
    kept = []

    def note(model, ratings, rng):
        kept.append(EarlyStoppingMixin._hold_out(model, ratings, rng))
        return kept[-1]

    with mock.patch.object(AutoRec, "_hold_out", note):
        model = autorec(**params).fit(X, y)
    ((training, held),) = kept
    best = int(np.argmax(model.validation_scores_)) + 1
    assert best == model.best_iter_ < model.n_iter_ < 60
    shorter = autorec(**params).set_params(max_iter=best, tol=None).fit(X, y)
    assert_array_equal(model.encoder_weights_, shorter.encoder_weights_)
    assert_array_equal(model.predict(X), shorter.predict(X))

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


def test_early_stopping_that_finds_nothing_to_hold_out():
    with pytest.warns(UserWarning, match="finds no rating to hold out"):
        model = autorec(early_stopping=True).fit([[0, 0], [1, 1]], [1.0, 2.0])
    assert model.validation_scores_ is None


def test_convergence_warning_leaves_a_usable_model(data):
    X, y = data
    with pytest.warns(ConvergenceWarning, match="AutoRec did not converge"):
        model = autorec(tol=1e-6, max_iter=2).fit(X, y)
    assert model.n_iter_ == 2
    assert np.isfinite(model.predict(X)).all()


# -------------------------------------------------------------------- when it is wrong


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_divergence_is_an_error(dtype, early_stopping, data):
    X, y = data
    model = autorec().fit(X, y)
    before = copy.deepcopy(fitted(model))
    rate = 1e30 if dtype == np.float32 else 1e200
    model.set_params(optimizer="sgd", learning_rate=rate)
    model.set_params(early_stopping=early_stopping)
    with pytest.raises(FloatingPointError, match=r"AutoRec.*Lower learning_rate=1e\+"):
        model.fit(X, y.astype(dtype))
    assert_same_bits(fitted(model), before)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.filterwarnings("ignore:Scoring failed")
@pytest.mark.filterwarnings("ignore:One or more of the test scores:UserWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning")
@pytest.mark.filterwarnings("ignore::sklearn_mf.ColdStartWarning")
def test_a_search_survives_divergence(data):
    X, y = data
    grid = {"learning_rate": [0.01, 1e6]}
    search = GridSearchCV(autorec(optimizer="sgd", max_iter=100), grid, cv=3)
    search.fit(X, y)
    good, bad = search.cv_results_["mean_test_score"]
    assert np.isfinite(good)
    assert np.isnan(bad)
    assert search.best_params_ == {"learning_rate": 0.01}


@pytest.mark.parametrize(("low", "high"), [(-0.1, 1), (0, 1.5), (1, 5)])
def test_ratings_out_of_range(low, high, data):
    X, y = data
    y = low + (high - low) * to_shares(y)
    with pytest.raises(ValueError, match=r"loss='log_loss' requires y between.*got"):
        autorec(loss="log_loss").fit(X, y)
    with pytest.raises(
        ValueError, match=r"output_activation='sigmoid' requires y.*got"
    ):
        autorec(output_activation="sigmoid").fit(X, y)


def test_log_loss_needs_a_sigmoid(data):
    X, y = data
    model = autorec(loss="log_loss", output_activation="identity")
    with pytest.raises(ValueError, match=r"log_loss.*output_activation='identity'"):
        model.fit(X, to_shares(y))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_factors", 0),
        ("axis", "rows"),
        ("activation", "tanh"),
        ("output_activation", "tanh"),
        ("loss", "hinge"),
        ("regularization", -1),
        ("weighted_regularization", "yes"),
        ("optimizer", "adagrad"),
        ("learning_rate", 0),
        ("batch_size", 0),
        ("n_iter_no_change", 0),
        ("validation_fraction", 1.0),
        ("init_scale", 0),
    ],
)
def test_parameters_out_of_range(name, value, data):
    with pytest.raises(ValueError, match=f"The '{name}' parameter of AutoRec"):
        autorec(**{name: value}).fit(*data)


def test_an_interrupt_leaves_the_model(data):
    X, y = data
    model = autorec().fit(X, y)
    before = copy.deepcopy(fitted(model))
    interrupt = mock.patch.object(
        network.Autoencoder, "sweep", side_effect=KeyboardInterrupt
    )
    with interrupt, pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert_same_bits(fitted(model), before)


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGINT")
@pytest.mark.compiled
def test_an_interrupt_ends_a_long_fit():
    code = """
from sklearn_mf import AutoRec
from sklearn_mf.datasets import make_ratings
model = AutoRec(max_iter=10**6, tol=None, verbose=True)
try:
    model.fit(*make_ratings(random_state=0))
except KeyboardInterrupt:
    print("interrupted", hasattr(model, "n_iter_"))
"""
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", code], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline().startswith("AutoRec: iteration 1")
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert rest.splitlines()[-1] == "interrupted False"


# ---------------------------------------- every parameter changes what one can see

CHANGES = {
    "n_factors": 5,
    "axis": "user",
    "activation": "identity",
    "output_activation": "sigmoid",
    "loss": "log_loss",
    "regularization": 2.0,
    "weighted_regularization": False,
    "fit_intercept": False,
    "optimizer": "sgd",
    "learning_rate": 0.05,
    "batch_size": 4,
    "max_iter": 5,
    "init_scale": 0.2,
    "random_state": 1,
    "early_stopping": True,
}
ELSEWHERE = {"tol", "n_iter_no_change", "validation_fraction", "clip", "warm_start"}
ELSEWHERE |= {"user_column", "item_column", "n_jobs", "verbose"}


@pytest.mark.parametrize("name", CHANGES)
def test_a_parameter_changes_the_predictions(name, data):
    X, y = data[0], to_shares(data[1])
    usual = autorec().fit(X, y).predict(X)
    changed = autorec(**{name: CHANGES[name]}).fit(X, y).predict(X)
    assert not np.allclose(usual, changed, rtol=1e-9)


def test_every_parameter_is_tested():
    assert CHANGES.keys() | ELSEWHERE == AutoRec().get_params().keys()


@pytest.mark.compiled
def test_what_other_parameters_change(data, large, capsys):
    X, y = data
    model = autorec(max_iter=30)
    assert model.fit(*large).n_iter_ == 30
    assert model.set_params(tol=0.2).fit(*large).n_iter_ < 30
    sooner = model.n_iter_
    assert model.set_params(n_iter_no_change=1).fit(*large).n_iter_ < sooner
    few = autorec(early_stopping=True, validation_fraction=0.01).fit(X, y)
    many = autorec(early_stopping=True, validation_fraction=0.5).fit(X, y)
    assert few.validation_scores_ != many.validation_scores_
    swapped = autorec(user_column=1, item_column=0).fit(X[:, ::-1], y)
    assert_array_equal(swapped.predict(X[:, ::-1]), autorec().fit(X, y).predict(X))
    wild = autorec(init_scale=10.0, max_iter=1).fit(X, y)
    low, high = wild.rating_range_
    assert low <= wild.predict(X).min() <= wild.predict(X).max() <= high
    assert wild.set_params(clip=False).predict(X).max() > high
    autorec(verbose=True, early_stopping=True).fit(X, y)
    (first, *_) = capsys.readouterr().out.splitlines()
    assert first.startswith("AutoRec: iteration 1, objective ")
    assert "validation score -" in first


def test_without_intercept(data):
    X, y = data
    assert autorec(fit_intercept=False).fit(X, y).global_mean_ == 0.0
    model = autorec(fit_intercept=False, loss="log_loss").fit(X, to_shares(y))
    assert model.global_mean_ == 0.5
    assert model.predict([[999, 999]]) == 0.5


# ---------------------------------------------------------------------------- callbacks


def test_callbacks_see_the_fit_as_it_stands(data):
    X, y = data
    seen = []

    class Watch:
        def setup(self, estimator, context):
            pass

        teardown = on_fit_task_begin = setup

        def on_fit_task_end(self, estimator, context, *, fitted_estimator):
            if context.task_name == "iteration":
                seen.append(fitted_estimator)
            return len(seen) == 2

    model = autorec(max_iter=10, early_stopping=True)
    model.set_callbacks(Watch()).fit(X, y)
    assert model.n_iter_ == 2
    shorter = autorec(max_iter=1, early_stopping=True).fit(X, y)
    assert_same_bits(fitted(seen[0]), fitted(shorter))
    assert_array_equal(seen[0].predict(X), shorter.predict(X))


# ----------------------------------------------------------------------------- displays


def test_displays(large):
    mpl = pytest.importorskip("matplotlib")
    mpl.use("Agg")
    from sklearn_mf import inspection

    X, y = large[0], to_shares(large[1])
    model = autorec(output_activation="sigmoid", early_stopping=True).fit(X, y)
    shown = inspection.ConvergenceDisplay.from_estimator(model)
    assert shown.loss == "squared_error"
    assert list(shown.objectives["AutoRec"]) == model.loss_curve_
    shown = inspection.FactorMapDisplay.from_estimator(model, side="item")
    assert len(shown.coordinates) == len(model.items_)
    assert inspection.ColdStartDisplay.from_estimator(
        model, X, y
    ).n_ratings.sum() == len(y)
    with pytest.raises(TypeError, match=r"must be .*, got AutoRec"):
        inspection.LossLandscapeDisplay.from_estimator(model, X, y)
    mpl.pyplot.close("all")


# ----------------------------------------------------------------------------- accuracy


@pytest.mark.parametrize("axis", ["user", "item"])
@pytest.mark.compiled
def test_planted_ratings_are_predicted_nearly_as_well_as_by_biased_factors(axis):
    X, y = make_ratings(400, 300, 20_000, random_state=0)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    biased = BiasedMF(random_state=0).fit(X_train, y_train)
    model = AutoRec(axis=axis, random_state=0).fit(X_train, y_train)
    assert -model.score(X_test, y_test) < -1.06 * biased.score(X_test, y_test)
    assert -model.score(X_test, y_test) < 0.9 * y_test.std()
