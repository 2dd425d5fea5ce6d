"""ALSFactorizer: its objective, its parameters, its errors."""

import copy
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import (
    ConvergenceWarning,
    FitFailedWarning,
    NotFittedError,
)
from sklearn.model_selection import GridSearchCV
from sklearn.utils._param_validation import InvalidParameterError

from sklearn_mf import ALSFactorizer
from sklearn_mf.datasets import make_ratings
from tests import reference


def als(**params):
    defaults = {"n_factors": 3, "max_iter": 4, "tol": None, "random_state": 0}
    return ALSFactorizer(**(defaults | params))


@pytest.fixture(scope="module")
def data():
    return make_ratings(25, 15, 150, random_state=0)


def first_users(model, X):
    """The user factors that a fit begins with: drawn after those of the items."""
    n_users, n_items = X.max(axis=0) + 1
    for ids, n_rows in zip(X.T, (n_users, n_items), strict=True):
        assert len(np.unique(ids)) == n_rows  # else ids and rows differ
    rng = np.random.RandomState(model.random_state)
    rng.normal(size=(n_items, model.n_factors))
    return rng.normal(scale=model.init_scale, size=(n_users, model.n_factors))


# ------------------------------------------------------------------------ whole sweeps


@pytest.mark.parametrize("weighted_regularization", [False, True])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("with_weights", [False, True])
def test_fit_is_the_reference(
    weighted_regularization, fit_intercept, with_weights, data
):
    X, y = data
    rng = np.random.default_rng(1)
    weights = rng.uniform(0.5, 2, size=len(y)) if with_weights else None
    model = als(
        weighted_regularization=weighted_regularization,
        fit_intercept=fit_intercept,
        regularization=0.3,
        clip=False,
    ).fit(X, y, sample_weight=weights)
    R, W = reference.dense(*X.T, y, weights)
    P, Q, mu, losses = reference.als(
        R,
        W,
        first_users(model, X),
        lam=0.3,
        weighted=weighted_regularization,
        mu=None if fit_intercept else 0.0,
        n_sweeps=4,
    )
    assert_allclose(model.global_mean_, mu, rtol=1e-14)
    assert_allclose(model.user_factors_, P, rtol=1e-9, atol=1e-12)
    assert_allclose(model.item_factors_, Q, rtol=1e-9, atol=1e-12)
    assert_allclose(model.loss_curve_, losses, rtol=1e-11)
    assert_allclose(model.predict(X), mu + (P[X[:, 0]] * Q[X[:, 1]]).sum(1), rtol=1e-10)


@pytest.mark.parametrize("weighted_regularization", [False, True])
@pytest.mark.compiled
def test_the_gradient_of_the_written_objective_vanishes(weighted_regularization, data):
    X, y = data
    weights = np.random.default_rng(2).uniform(0.5, 2, size=len(y))
    R, W = reference.dense(*X.T, y, weights)

    def gradients(model):
        return reference.gradients(
            R, W, model.user_factors_.copy(), model.item_factors_.copy(),
            model.global_mean_, 0.2, weighted_regularization,
        )  # fmt: skip

    options = {
        "regularization": 0.2,
        "weighted_regularization": weighted_regularization,
    }
    model = als(**options, max_iter=1).fit(X, y, weights)
    users, items = gradients(model)  # after one sweep the users alone are at a minimum
    assert abs(users).max() < 1e-6
    assert abs(items).max() > 1e-2
    model = als(**options, max_iter=3000).fit(X, y, weights)
    for gradient in gradients(model):
        assert abs(gradient).max() < 1e-6


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("regularization", [0, 1e-3, 0.1, 10])
@pytest.mark.parametrize("weighted_regularization", [False, True])
@pytest.mark.parametrize("n_factors", [1, 7, 33])
@pytest.mark.compiled
def test_the_objective_never_rises(
    n_factors, weighted_regularization, regularization, dtype, data
):
    X, y = data
    model = als(
        n_factors=n_factors,
        regularization=regularization,
        weighted_regularization=weighted_regularization,
        max_iter=12,
    ).fit(X, y.astype(dtype))
    loss = np.array(model.loss_curve_)
    rounding = 10 * np.finfo(dtype).eps * ((y - y.mean()) ** 2).sum()
    assert (np.diff(loss) <= rounding).all()
    R, W = reference.dense(*X.T, y)
    expected = reference.objective(
        R, W, model.user_factors_, model.item_factors_, model.global_mean_,
        regularization, weighted_regularization,
    )  # fmt: skip
    assert_allclose(loss[-1], expected, rtol=1e-4 if dtype == np.float32 else 1e-9,
                    atol=100 * rounding)  # fmt: skip


@pytest.mark.compiled
def test_planted_low_rank_is_recovered():
    options = {"noise": 0, "bias_scale": 0, "rating_range": None, "rating_step": None}
    X, y = make_ratings(
        80, 60, 3200, n_factors=3, global_mean=0, random_state=0, **options
    )
    model = als(regularization=1e-9, max_iter=200, fit_intercept=False, clip=False).fit(
        X[:2800], y[:2800]
    )
    held_out = np.sqrt(np.mean((model.predict(X[2800:]) - y[2800:]) ** 2))
    assert held_out < 1e-5 * y[2800:].std()


def test_float32_is_close_to_float64(data):
    X, y = data
    single, double = als().fit(X, y.astype(np.float32)), als().fit(X, y)
    assert_allclose(single.predict(X), double.predict(X), rtol=1e-4)
    assert_allclose(single.loss_curve_, double.loss_curve_, rtol=1e-5)


# ----------------------------------------------------------------------- singular rows


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_singular_rows_get_the_solution_of_least_norm(dtype, data):
    X, y = data[0][:, ::-1], data[1]
    model = als(n_factors=8, regularization=0, max_iter=1, clip=False)
    model.fit(X, y.astype(dtype))
    R, W = reference.dense(*X.T, y)
    P = first_users(model, X).astype(dtype).astype(float)
    Q = reference.solve_side(R.T, W.T, P, model.global_mean_, 0, weighted=True)
    counts = W.sum(axis=0)
    assert (counts < 8).any()  # else no item would be singular
    rtol = 1e-2 if dtype == np.float32 else 1e-8
    items = counts < 6  # well conditioned all the same
    assert_allclose(model.item_factors_[items], Q[items], rtol=rtol, atol=rtol)


def test_singular_rows_with_weights_and_one_rating():
    # One user, one item: p q = w-free residual, of least norm given p.
    model = als(n_factors=2, regularization=0, max_iter=1, fit_intercept=False)
    model.fit([[0, 0]], [3.0], sample_weight=[5.0])
    p = first_users(model, np.array([[0, 0]]))[0]
    q = 3.0 * p / (p @ p)
    assert_allclose(model.item_factors_[0], q, rtol=1e-12)
    assert_allclose(model.predict([[0, 0]]), 3.0, rtol=1e-12)


def test_a_penalty_below_rounding_still_counts(data):
    X, y = data[0][:, ::-1], data[1]
    tiny = 1e-9
    model = als(n_factors=12, regularization=tiny, max_iter=1, clip=False)
    model.fit(X, y.astype(np.float32))
    R, W = reference.dense(*X.T, y)
    P = first_users(model, X).astype(np.float32).astype(float)
    Q = reference.solve_side(R.T, W.T, P, model.global_mean_, tiny, weighted=True)
    items = W.sum(axis=0) < 8
    assert items.any()
    assert_allclose(model.item_factors_[items], Q[items], rtol=1e-2, atol=1e-2)


def test_item_factors_before_the_users_move(data):
    """The first half-sweep alone: the second one leaves what it solved."""
    X, y = data
    model = als(n_factors=2, regularization=0.5, max_iter=1)
    model.fit(X, y)
    R, W = reference.dense(*X.T, y)
    P = first_users(model, X)
    Q = reference.solve_side(R.T, W.T, P, model.global_mean_, 0.5, weighted=True)
    assert_allclose(model.item_factors_, Q, rtol=1e-10)


# -------------------------------------------- every parameter changes what one can see


def test_n_factors(data):
    assert als(n_factors=5).fit(*data).user_factors_.shape == (25, 5)


def test_regularization(data):
    def norm(model):
        return np.linalg.norm(model.fit(*data).user_factors_)

    assert norm(als(regularization=1.0)) < norm(als(regularization=0.1))
    heavy = als(regularization=1e9).fit(*data)
    assert_allclose(heavy.predict(data[0]), heavy.global_mean_)


@pytest.mark.compiled
def test_regularization_is_in_units_of_y(data):
    X, y = data
    one = als(max_iter=200, regularization=0.3).fit(X, y)
    ten = als(max_iter=200, regularization=3.0).fit(X, 10 * y)
    assert_allclose(10 * one.predict(X), ten.predict(X), rtol=1e-6)


def test_max_iter_and_tol(data):
    X, y = data
    assert als(max_iter=7).fit(X, y).n_iter_ == 7
    model = als(tol=1e-2, max_iter=500).fit(X, y)
    fall = -np.diff(model.loss_curve_) / model.loss_curve_[:-1]
    assert model.n_iter_ == len(model.loss_curve_) < 500
    assert fall[-1] <= 1e-2 < fall[:-1].min()


@pytest.mark.parametrize("tol", [None, 0])
def test_no_convergence_is_asked_for_without_tol(tol, data):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert als(tol=tol, max_iter=3).fit(*data).n_iter_ == 3


def test_convergence_warning_leaves_a_usable_model(data):
    model = als(tol=1e-12, max_iter=2)
    match = r"ALSFactorizer did not converge in max_iter=2 iterations.*tol=1e-12"
    with pytest.warns(ConvergenceWarning, match=match):
        model.fit(*data)
    assert model.score(*data) > -1


def test_init_scale(data):
    small, large = als(init_scale=1e-3, max_iter=1), als(init_scale=1.0, max_iter=1)
    items = [np.linalg.norm(m.fit(*data).item_factors_) for m in (small, large)]
    assert items[0] != items[1]


def test_clip(data):
    X, y = data
    every_pair = np.array(list(np.ndindex(25, 15)))
    options = {"regularization": 1e-3, "max_iter": 20}
    free = als(**options, clip=False).fit(X, y).predict(every_pair)
    clipped = als(**options, clip=True).fit(X, y)
    assert clipped.rating_range_ == (y.min(), y.max())
    assert free.max() > y.max()
    assert free.min() < y.min()
    assert_array_equal(clipped.predict(every_pair), free.clip(y.min(), y.max()))


def test_warm_start_goes_on(data):
    X, y = data
    whole = als(max_iter=6).fit(X, y)
    parts = als(max_iter=3, warm_start=True).fit(X, y).fit(X, y)
    assert_array_equal(parts.item_factors_, whole.item_factors_)
    assert parts.loss_curve_ == whole.loss_curve_[3:]
    anew = als(max_iter=3).fit(X, y).fit(X, y)
    assert anew.loss_curve_ == whole.loss_curve_[:3]


def test_warm_start_knows_users_by_their_ids(data):
    X, y = data[0][:, ::-1], data[1]
    model = als(max_iter=50, warm_start=True).fit(X, y)
    before = dict(zip(model.users_.tolist(), model.user_factors_, strict=True))
    kept = X[:, 0] != 4
    X_new = np.vstack([X[kept], [[-7, 0], [99, 1]]])  # user 4 goes, two others come
    y_new = np.append(y[kept], [3.0, 4.0])
    model.set_params(max_iter=1).fit(X_new, y_new)
    cold = als(max_iter=1).fit(X_new, y_new)
    assert model.loss_curve_[0] < cold.loss_curve_[0]
    assert_array_equal(model.users_, cold.users_)
    for user, p in zip(model.users_.tolist(), model.user_factors_, strict=True):
        if user in before:
            assert np.linalg.norm(p - before[user]) < 0.3 * np.linalg.norm(before[user])


def test_warm_start_with_another_number_of_factors(data):
    model = als(warm_start=True).fit(*data).set_params(n_factors=4)
    with pytest.raises(ValueError, match=r"n_factors=4, but the fit .* 3 factors"):
        model.fit(*data)


def test_random_state(data):
    X, y = data
    one, same, other = (als(random_state=s).fit(X, y) for s in (1, 1, 2))
    assert_array_equal(one.item_factors_, same.item_factors_)
    assert abs(one.item_factors_ - other.item_factors_).max() > 0.1
    rng = np.random.RandomState(1)
    assert_array_equal(als(random_state=rng).fit(X, y).item_factors_, one.item_factors_)
    refit = als(random_state=rng).fit(X, y)  # the state has moved on
    assert abs(refit.item_factors_ - one.item_factors_).max() > 0.1


def test_verbose(data, capsys):
    model = als(max_iter=2, verbose=True).fit(*data)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"ALSFactorizer: iteration {i + 1}, objective {loss:.6g}"
        for i, loss in enumerate(model.loss_curve_)
    ]
    als(max_iter=2).fit(*data)
    assert capsys.readouterr().out == ""


# ---------------------------------------------------------------------- bits and state


def test_row_order_does_not_change_a_bit(data):
    X, y = data
    order = np.random.default_rng(0).permutation(len(y))
    one, other = als().fit(X, y), als().fit(X[order], y[order])
    assert_array_equal(one.user_factors_, other.user_factors_)
    assert one.loss_curve_ == other.loss_curve_


def test_fit_begins_anew(data):
    X, y = data
    other = make_ratings(9, 8, 40, random_state=3)
    model = als().fit(*other).fit(X, y)
    fresh = als().fit(X, y)
    assert_array_equal(model.item_factors_, fresh.item_factors_)
    assert vars(model).keys() == vars(fresh).keys()


def test_a_failed_fit_changes_nothing(data):
    X, y = data
    model = als().fit(X, y)
    before = copy.deepcopy(vars(model))
    with pytest.raises(ValueError, match="contains NaN"):
        model.fit(np.column_stack([X, X]), np.full(len(y), np.nan))
    assert vars(model).keys() == before.keys()
    assert model.n_features_in_ == 2
    assert_array_equal(model.item_factors_, before["item_factors_"])
    unfitted = als()
    with pytest.raises(ValueError, match="contains NaN"):
        unfitted.fit(X, np.full(len(y), np.nan))
    with pytest.raises(NotFittedError, match="not fitted yet"):
        unfitted.predict(X)


def test_prediction_of_a_pair_does_not_depend_on_its_neighbours(data):
    X, y = data
    model = als(n_factors=33).fit(X, y)
    together = model.predict(X)
    alone = [model.predict(X[k : k + 1])[0] for k in range(len(X))]
    assert_array_equal(together, alone)


def test_score_is_the_negative_rmse(data):
    X, y = data
    model = als().fit(X, y)
    error = (model.predict(X) - y) ** 2
    assert_allclose(model.score(X, y), -np.sqrt(error.mean()), rtol=1e-14)
    w = np.arange(len(y))
    expected = -np.sqrt(np.average(error, weights=w))
    assert_allclose(model.score(X, y, sample_weight=w), expected, rtol=1e-14)


def test_transform_gives_the_factors(data):
    X, y = data
    model = als().fit(X, y)
    expected = np.hstack([model.user_factors_[X[:, 0]], model.item_factors_[X[:, 1]]])
    assert_array_equal(model.transform(X), expected)
    assert model.get_feature_names_out().tolist() == [
        "user_factor0", "user_factor1", "user_factor2",
        "item_factor0", "item_factor1", "item_factor2",
    ]  # fmt: skip
    frame = als().set_output(transform="pandas").fit(X, y).transform(X)
    assert frame.columns.tolist() == model.get_feature_names_out().tolist()
    assert_array_equal(frame, expected)


# ------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_factors", 0),
        ("n_factors", 2.5),
        ("solver", "als"),
        ("cg_steps", 0),
        ("cg_steps", 2.5),
        ("regularization", -0.1),
        ("weighted_regularization", "yes"),
        ("unobserved_weight", -0.1),
        ("unobserved_weight", None),
        ("non_negative", "yes"),
        ("fit_intercept", 2),
        ("max_iter", 0),
        ("tol", -1e-3),
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
    with pytest.raises(InvalidParameterError, match=f"The '{name}' parameter of ALS"):
        als(**{name: value}).fit(*data)


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_overflow_is_an_error(data):
    X, y = data
    y = (6e37 * y).astype(np.float32)
    match = r"ALSFactorizer: the objective is (nan|inf) after iteration \d.*float64"
    with pytest.raises(FloatingPointError, match=match):
        als(init_scale=1e-4).fit(X, y)
    assert np.isfinite(als().fit(X, y.astype(np.float64)).predict(X)).all()


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_a_search_survives_overflow(data):
    X, y = data
    search = GridSearchCV(als(), {"init_scale": [0.1, 1e300]}, cv=3)
    with pytest.warns(FitFailedWarning, match="FloatingPointError: ALSFactorizer"):
        search.fit(X, y.astype(np.float32))
    assert search.best_params_ == {"init_scale": 0.1}
    assert np.isnan(search.cv_results_["mean_test_score"][1])
