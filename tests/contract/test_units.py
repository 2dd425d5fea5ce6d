"""Defaults suit ratings and weights in any unit; numbers that a user gives are literal.

A default fit of a·y + c predicts a·r̂ + c, where r̂ is what a fit of y predicts.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from sklearn_mf import ALSFactorizer, BiasedMF, SGDFactorizer
from tests.contract.models import FAMILIES, X, Y, each_model, in_turn


def fit_default(model, **options):
    """Return the model with the defaults of all that it does not set."""
    # Beside unobserved pairs rounding decides after some 20 iterations whether a factor
    # leaves 0, and then which of two minima is found.
    on_the_edge = {"non_negative", "unobserved_weight"} <= model.options.keys()
    limits = model.known({"max_iter": 15 if on_the_edge else 30, "tol": None})
    return model.cls(random_state=0, **limits, **model.options | options)


def is_free(model):
    """Tell whether a model sets no number that is in the unit of the ratings."""
    literal = {"learning_rate", "bias_regularization", "loss", "output_activation"}
    if model.is_latent or model.classifies:  # what they add up has a unit of its own
        return False
    return not literal & model.options.keys() and not model.counts


def has_intercept(model):
    weighs_zero = {"unobserved_weight", "non_negative"} & model.options.keys()
    return model.options.get("fit_intercept", True) and not weighs_zero


@in_turn("a, c", [(20, 0), (0.1, -3), (1e4, 5e4), (1e-6, 0)])
@each_model(lambda model: is_free(model) and model.rates)
def test_the_unit_of_the_ratings_does_not_matter(model, a, c):
    c *= has_intercept(model)
    first = fit_default(model).fit(X, Y)
    second = fit_default(model).fit(X, a * Y + c)
    assert second.n_iter_ == first.n_iter_
    np.testing.assert_allclose(second.rating_scale_, a * first.rating_scale_)
    np.testing.assert_allclose(
        (second.predict(X) - c) / a, first.predict(X), rtol=1e-6, atol=1e-6
    )


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@each_model(is_free, among=FAMILIES)
def test_nor_does_it_matter_to_when_the_fit_ends(model):
    first, second = (
        model.cls(random_state=0, **model.options).fit(X, a * Y) for a in (1, 20)
    )
    assert second.n_iter_ == first.n_iter_


@in_turn("unit", [1 / len(Y), 1e3])
@each_model(lambda model: is_free(model) and "unobserved_weight" not in model.options)
def test_the_unit_of_the_weights_does_not_matter(model, unit):
    weights = np.random.default_rng(3).uniform(0.5, 2, len(Y))
    first = fit_default(model).fit(X, Y, sample_weight=weights)
    second = fit_default(model).fit(X, Y, sample_weight=unit * weights)
    np.testing.assert_allclose(second.predict(X), first.predict(X), rtol=1e-6)


@each_model(lambda model: hasattr(model(), "learning_rate_schedule"))
def test_the_numbers_that_were_used(model):
    cls, has_unit = model.cls, not model.under_log_loss
    y = model.y(5 * Y) if has_unit else model.y()
    scale = y.std() if has_unit else 1.0
    fitted = cls(max_iter=1, tol=None).fit(X, y)
    if has_unit:
        np.testing.assert_allclose(fitted.rating_scale_, scale)
        np.testing.assert_allclose(fitted.regularization_, 0.12 * scale)
        np.testing.assert_allclose(fitted.learning_rate_, 0.1 * scale**0.5)
    literal = cls(max_iter=1, tol=None, regularization=0.3, learning_rate=0.01)
    literal.fit(X, y)
    assert literal.regularization_ == 0.3
    assert literal.learning_rate_ == 0.01


@each_model(
    lambda model: model.link == "predict" and model.rates and not model.classifies,
    among=FAMILIES,
)
def test_ratings_that_are_all_equal_are_learnt_without_a_warning(model, recwarn):
    y = np.full(len(Y), 0.7)
    estimator = model.cls(random_state=0, **model.options).fit(X, y)
    assert estimator.rating_scale_ == 1
    assert not recwarn.list
    np.testing.assert_allclose(estimator.predict(X), y, rtol=1e-12)


@pytest.mark.parametrize("estimator", [ALSFactorizer, BiasedMF, SGDFactorizer])
def test_the_default_penalty_weighs_as_much_for_any_exponent(estimator):
    options = {"n_factors": 2, "max_iter": 1, "tol": None}
    n = [np.bincount(column) for column in X.T]
    for exponent in (False, 0.25, 1, True):
        model = estimator(weighted_regularization=exponent, **options).fit(X, Y)
        whole = model.regularization_ * sum(
            (c[c > 0] ** float(exponent)).sum() for c in n
        )
        assert_allclose(whole, 0.12 * model.rating_scale_ * 2 * len(Y))
