"""partial_fit of the estimators that learn by stochastic gradient descent."""

import copy
from unittest import mock

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from sklearn_mf import BiasedMF, as_pairs
from tests.assertions import assert_same_bits, left_as_it_was
from tests.solvers.sgd.helpers import OPTIMIZERS, WHOLE, biased_sgd, fitted, rmse, sgd


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
        sums, before = (
            model.optimizer_state_[f"{side}_second_moments"],
            state[f"{side}_second_moments"],
        )
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
    more = sparse.coo_array((y[:1], ([27], [2])), shape=(28, 15))
    for one in (model, pairs):
        with (
            left_as_it_was(one),
            pytest.raises(ValueError, match=r"X is a sparse matrix.*as_pairs"),
        ):
            one.partial_fit(more)
        before = one.user_factors_[7]
        one.partial_fit(*as_pairs(more))
        assert_array_equal(one.users_, [*range(25), 27])
        assert (one.user_factors_[25] != 0).all()
        assert_array_equal(one.user_factors_[7], before)


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
