"""AutoRec: rows that are fed without a fit, its warm start, how well it predicts."""

import copy

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.model_selection import train_test_split

from sklearn_mf import AutoRec, BiasedMF, load
from sklearn_mf.datasets import make_ratings
from tests.assertions import assert_same_bits, left_as_it_was
from tests.solvers.autoencoder.helpers import autorec, forward, parameters
from tests.solvers.sgd.helpers import to_shares

# ------------------------------------------------------------------------ feeding rows


@pytest.mark.parametrize("activation", ["sigmoid", "identity"])
@pytest.mark.parametrize("axis", ["user", "item"])
def test_fed_rows_are_those_that_fit_feeds(axis, activation, large):
    X, _, y, _ = large
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
    assert_same_bits(in_turn, model, but=["rating_range_"])
    assert in_turn.rating_range_[0] == model.rating_range_[0] == 1.0
    before = copy.deepcopy(model)
    model.partial_fit(X[new][:1], y[new][:1] + 1.5)
    assert model.predict(X[new][:1]) != before.predict(X[new][:1])
    others = rows != known[3]
    assert_array_equal(model.predict(X[others]), before.predict(X[others]))
    assert len(model.seen_ratings_) == len(before.seen_ratings_)
    model.partial_fit(X[new][:1], y[new][:1])
    assert_same_bits(model, before, but=["rating_range_"])
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


@pytest.mark.parametrize("axis", ["user", "item"])
def test_unknown_ids_of_the_other_side_are_an_error(axis, data):
    X, y = data
    model = autorec(axis=axis, loss="log_loss").fit(X, to_shares(y))
    unknown = [[777, 888], [777, 889]] if axis == "user" else [[888, 777], [889, 777]]
    other = "item" if axis == "user" else "user"
    wanted = rf"2 of its {other}s.*888, 889.*axis='{axis}'.*warm_start=True"
    with left_as_it_was(model), pytest.raises(ValueError, match=wanted):
        model.partial_fit(unknown, [0.0, 1.0])


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_overflow_of_fed_rows_is_an_error(data):
    X, y = data
    model = autorec(activation="identity").fit(X, y.astype(np.float32))
    model.encoder_weights_ *= 100
    match = r"partial_fit.*float64"
    with left_as_it_was(model), pytest.raises(FloatingPointError, match=match):
        model.partial_fit(X[:5], np.full(5, 3e38))


@pytest.mark.parametrize("axis", ["user", "item"])
@pytest.mark.compiled
def test_new_rows_are_known_everywhere(axis, large, tmp_path):
    X, _, y, _ = large
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


# ------------------------------------------------------------------------------ errors


def test_log_loss_needs_a_sigmoid(data):
    X, y = data
    model = autorec(loss="log_loss", output_activation="identity")
    with pytest.raises(ValueError, match=r"log_loss.*output_activation='identity'"):
        model.fit(X, to_shares(y))


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
