"""ALSFactorizer: what its penalty does, and what it recovers."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from sklearn_mf import ALSFactorizer
from sklearn_mf.datasets import make_ratings


def als(**params):
    defaults = {"n_factors": 3, "max_iter": 4, "tol": None, "random_state": 0}
    return ALSFactorizer(**(defaults | params))


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


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_ratings_too_large_for_float32_are_fitted_in_float64(data):
    X, y = data
    single = (6e37 * y).astype(np.float32)
    with pytest.raises(FloatingPointError, match="float64"):
        als(init_scale=1e-4).fit(X, single)
    model = als().fit(X, single.astype(np.float64))
    assert np.isfinite(model.predict(X)).all()


@pytest.mark.parametrize("unobserved_weight", [0, 0.5])
def test_both_solvers_reach_the_same_objective_on_a_small_table(unobserved_weight):
    X, y = make_ratings(12, 8, 40, random_state=0)
    params = {"unobserved_weight": unobserved_weight, "tol": None, "random_state": 0}
    exact, steps = (
        ALSFactorizer(2, solver=solver, max_iter=25, init_scale=1.0, **params).fit(X, y)
        for solver in ("cholesky", "cg")
    )
    assert_allclose(exact.loss_curve_[-1], steps.loss_curve_[-1], rtol=1e-3)
    assert exact.loss_curve_[-1] < exact.loss_curve_[0]


def test_factors_of_a_small_table_are_not_negative_if_they_must_not_be():
    X, y = make_ratings(12, 8, 40, random_state=0)
    model = ALSFactorizer(2, non_negative=True, fit_intercept=False, random_state=0)
    model.set_params(max_iter=4, tol=None).fit(X, y)
    assert min(model.user_factors_.min(), model.item_factors_.min()) >= 0
    assert np.all(np.diff(model.loss_curve_) <= 0)
