"""fold_in_users and fold_in_items: closed form, parity with fit, new ids everywhere."""

import copy
import itertools
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError

from sklearn_mf import (
    ALSFactorizer,
    BiasedMF,
    ColdStartWarning,
    SGDFactorizer,
    as_matrix,
    load,
)
from sklearn_mf.datasets import make_ratings
from tests.assertions import left_as_it_was

VARIANTS = [
    {"regularization": 0.3, "weighted_regularization": weighted, **others}
    for weighted in (True, 0.3, False)
    for others in (
        {},
        {"fit_intercept": False},
        {"unobserved_weight": 0.3},
        {"unobserved_weight": 1.0, "fit_intercept": False},
    )
]


@pytest.fixture(scope="module")
def data():
    X, y = make_ratings(70, 40, 900, random_state=0)
    return X, y, np.random.default_rng(0).uniform(0.5, 2, size=len(y))


def models(params):
    shared = {"max_iter": 4, "tol": None, "random_state": 0, **params}
    return [
        ALSFactorizer(4, **shared),
        BiasedMF(4, solver="als", bias_regularization=0.7, **shared),
    ]


def parameters(model, side):
    rows = [getattr(model, f"{side}_factors_")]
    if isinstance(model, BiasedMF):
        rows.append(getattr(model, f"{side}_biases_")[:, np.newaxis])
    return np.hstack(rows)


# ------------------------------------------------------------------------------ parity


@pytest.mark.compiled
@pytest.mark.parametrize("params", VARIANTS, ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_training_users_get_the_rows_that_fit_gave_them(params, weighted, data):
    X, y, weights = data
    weights = weights if weighted else None
    for model in models(params):
        fitted = model.fit(X, y, sample_weight=weights)
        before = copy.deepcopy(fitted)
        for users in ([X[0, 0]], np.unique(X[:, 0])[::3]):
            at = np.isin(X[:, 0], users)
            w = None if weights is None else weights[at]
            fitted.fold_in_users(X[at], y[at], sample_weight=w)
            assert_array_equal(parameters(fitted, "user"), parameters(before, "user"))
            assert_array_equal(fitted.seen_indices_, before.seen_indices_)
            assert_array_equal(fitted.seen_indptr_, before.seen_indptr_)


@pytest.mark.parametrize("params", [{}, {"unobserved_weight": 0.2}], ids=str)
@pytest.mark.compiled
def test_non_negative_users_stand_still(params, data):
    X, y, _ = data
    shared = {"non_negative": True, "max_iter": 400, "tol": None, "random_state": 0}
    for model in (
        ALSFactorizer(3, **shared, **params),
        BiasedMF(3, solver="als", **shared, **params),
    ):
        model.fit(X, y)
        before = parameters(model, "user").copy()
        model.fold_in_users(X, y)
        assert (model.user_factors_ >= 0).all()
        assert_allclose(parameters(model, "user"), before, atol=1e-4)


@pytest.mark.parametrize("params", VARIANTS, ids=str)
def test_a_folded_row_is_the_minimum_of_the_objective(params, data):
    X, y, weights = data
    held = np.isin(X[:, 0], np.unique(X[:, 0])[:5])
    for model in models(params):
        model.fit(X[~held], y[~held], sample_weight=weights[~held])
        n_items = len(model.items_)
        known = np.isin(X[:, 1], model.items_)
        at = held & known
        model.fold_in_users(X[at], y[at], sample_weight=weights[at])
        Q = model.item_factors_
        t = np.full(n_items, model.global_mean_)
        penalties = np.full(4, 0.3)
        if isinstance(model, BiasedMF):
            Q, t = np.column_stack([Q, np.ones(n_items)]), t + model.item_biases_
            penalties = np.append(penalties, 0.7)
        for user in np.unique(X[held, 0]):
            own = at & (X[:, 0] == user)
            codes = np.searchsorted(model.items_, X[own, 1])
            w = np.full(n_items, params.get("unobserved_weight", 0.0))
            r = np.zeros(n_items)
            w[codes], r[codes] = weights[own], y[own]
            c = w.sum() ** float(params["weighted_regularization"])
            A = (w * Q.T) @ Q + c * np.diag(penalties)
            x = np.linalg.solve(A, (w * Q.T) @ (r - t))
            row = np.searchsorted(model.users_, user)
            assert_allclose(parameters(model, "user")[row], x, rtol=1e-8, atol=1e-12)


def test_items_are_users_of_the_transposed_problem(data):
    X, y, _ = data
    new = [[user, 10**6] for user in range(5, 12)]
    ratings = np.linspace(1, 5, len(new))
    for model, mirrored in zip(models({}), models({}), strict=True):
        model.fit(X, y)
        mirrored.fit(X[:, ::-1], y)
        for name in ("factors", "biases"):
            if hasattr(model, f"user_{name}_"):
                setattr(mirrored, f"user_{name}_", getattr(model, f"item_{name}_"))
                setattr(mirrored, f"item_{name}_", getattr(model, f"user_{name}_"))
        model.fold_in_items(new, ratings)
        mirrored.fold_in_users(np.array(new)[:, ::-1], ratings)
        assert model.items_[-1] == mirrored.users_[-1] == 10**6
        assert_array_equal(parameters(model, "item"), parameters(mirrored, "user"))
        assert set(model.recommend([5], 41)[0].compressed()) == {*model.items_} - {
            10**6,
            *X[X[:, 0] == 5, 1],
        }


# ---------------------------------------------------------------- new ids, everywhere


@pytest.mark.parametrize("kind", ["number", "text"])
def test_new_users_join(kind, data, tmp_path):
    X, y, _ = data
    as_ids = np.asarray if kind == "number" else (lambda A: np.array(A).astype(str))
    X = as_ids(X)
    for model in models({}):
        model.fit(X, y)
        before = copy.deepcopy(model)
        new = as_ids([[500, 3], [-1 if kind == "number" else 501, 3], [500, 7]])
        model.fold_in_users(new, [5.0, 1.0, 4.0])
        assert len(model.users_) == len(before.users_) + 2
        assert_array_equal(model.predict(X), before.predict(X))
        assert_array_equal(model.transform(X), before.transform(X))
        assert np.isfinite(model.predict(new)).all()
        assert (model.predict(new) != before.predict(new)).any()
        items, _ = model.recommend(new[:1, 0], 40)
        assert set(items.compressed()) == {*model.items_} - {*new[[0, 2], 1]}
        with pytest.warns(ColdStartWarning):
            worse = before.score(new, [5.0, 1.0, 4.0])
        assert model.score(new, [5.0, 1.0, 4.0]) > worse
        model.save(tmp_path / "model.npz")
        for moved in (
            pickle.loads(pickle.dumps(model)),
            load(tmp_path / "model.npz"),
        ):
            assert_array_equal(moved.predict(new), model.predict(new))
            assert_array_equal(moved.transform(new), model.transform(new))
            assert_array_equal(moved.recommend(new[:1, 0], 40)[0], items)


def test_a_known_user_is_recomputed_from_its_new_history(data):
    X, y, _ = data
    for model in models({}):
        model.fit(X, y)
        user = X[0, 0]
        before = parameters(model, "user").copy()
        history = [[user, model.items_[0]], [user, model.items_[1]]]
        model.fold_in_users(history, [1.0, 5.0])
        row = np.searchsorted(model.users_, user)
        assert not np.allclose(parameters(model, "user")[row], before[row])
        others = np.arange(len(before)) != row
        assert_array_equal(parameters(model, "user")[others], before[others])
        seen = model.seen_indices_[slice(*model.seen_indptr_[row : row + 2])]
        assert_array_equal(seen, [0, 1])


def test_one_call_or_many(data):
    X, y, _ = data
    new = X[:200] + np.array([1000, 0])
    for at_once, in_turn in zip(models({}), models({}), strict=True):
        at_once.fit(X, y).fold_in_users(new, y[:200])
        in_turn.fit(X, y)
        for user in np.unique(new[:, 0]):
            own = new[:, 0] == user
            in_turn.fold_in_users(new[own], y[:200][own])
        assert_array_equal(parameters(at_once, "user"), parameters(in_turn, "user"))
        assert_array_equal(at_once.seen_indices_, in_turn.seen_indices_)


def test_a_matrix_does_not_say_which_ids_it_has(data):
    X, y, _ = data
    R = as_matrix(X, y, shape=(70, 40))
    for model in models({}):
        model.fit(R)
        for method in (model.fold_in_users, model.fold_in_items):
            with (
                left_as_it_was(model),
                pytest.raises(ValueError, match=r"X is a sparse matrix.*as_pairs"),
            ):
                method(R[:3])


def test_partial_fit_goes_on_after_a_fold_in(data):
    X, y, _ = data
    model = BiasedMF(3, max_iter=5, tol=None, random_state=0).fit(X, y)
    new = [[500, 3], [500, 7]]
    model.fold_in_users(new, [5.0, 1.0])
    assert len(model.optimizer_state_["user_first_moments"]) == len(model.users_)
    before = model.user_factors_.copy()
    model.partial_fit(new, [5.0, 1.0])
    row = np.searchsorted(model.users_, 500)
    assert (model.user_factors_[row] != before[row]).any()
    assert np.isfinite(model.predict(new)).all()


def test_float32_stays(data):
    X, y, _ = data
    for model in models({}):
        model.fit(X, y.astype(np.float32)).fold_in_users([[500, 3]], [4.0])
        assert model.user_factors_.dtype == np.float32


@pytest.mark.parametrize("n_jobs", [1, 2, 3])
@pytest.mark.compiled
def test_the_same_bits_on_every_number_of_threads(n_jobs):
    X, y = make_ratings(800, 90, 12000, random_state=2)
    model = BiasedMF(16, solver="als", max_iter=2, tol=None, random_state=0).fit(X, y)
    expected = copy.deepcopy(model).set_params(n_jobs=2)
    expected.fold_in_users(X + np.array([5000, 0]), y)
    model.set_params(n_jobs=n_jobs).fold_in_users(X + np.array([5000, 0]), y)
    assert_array_equal(parameters(model, "user"), parameters(expected, "user"))


# ------------------------------------------------------------------------------ errors


def test_unknown_items_are_an_error_that_changes_nothing(data):
    X, y, _ = data
    for model in models({}):
        model.fit(X, y)
        before = copy.deepcopy(vars(model))
        with pytest.raises(
            ValueError, match=r"2 of its items.*777, 888.*fold_in_items"
        ):
            model.fold_in_users([[1, 777], [2, 888], [2, 3]], [1.0, 2.0, 3.0])
        with pytest.raises(ValueError, match=r"1 of its users.*fold_in_users"):
            model.fold_in_items([[777, 1]], [1.0])
        with pytest.raises(ValueError, match="kind 'text'"):
            model.fold_in_users([["1", "3"]], [1.0])
        for name, value in vars(model).items():
            if isinstance(value, np.ndarray):
                assert_array_equal(value, before[name])
            else:
                assert value == before[name]


def test_what_cannot_fold_in():
    X, y = [[0, 0], [1, 1], [0, 1]], [0.0, 1.0, 1.0]
    with pytest.raises(NotFittedError):
        ALSFactorizer().fold_in_users(X, y)
    model = BiasedMF(1, loss="log_loss", random_state=0).fit(X, y)
    with pytest.raises(ValueError, match=r"log_loss.*partial_fit"):
        model.fold_in_users(X, y)
    assert not hasattr(SGDFactorizer(), "fold_in_users")
    model = ALSFactorizer(2).fit(X, y).set_params(n_factors=3)
    with pytest.raises(ValueError, match="n_factors=3"):
        model.fold_in_users(X, y)


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_overflow_is_an_error(data):
    X, y, _ = data
    model = ALSFactorizer(2, random_state=0).fit(X, y.astype(np.float32))
    with pytest.raises(FloatingPointError, match=r"fold_in_users.*float64"):
        model.fold_in_users([[1, 3], [1, 4]], [1e38, -1e38])
    assert list(itertools.chain(model.predict(X))) == model.predict(X).tolist()
