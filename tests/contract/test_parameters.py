"""Parameters of the constructor: their bounds, and that each of them does something."""

import inspect
import itertools
from fractions import Fraction
from numbers import Integral

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils._param_validation import Interval, InvalidParameterError
from sklearn.utils.estimator_checks import check_param_validation

from sklearn_mf import (
    ALSFactorizer,
    AutoRec,
    BayesianMF,
    BayesianMFClassifier,
    BiasedMF,
    MFClassifier,
    MultiTaskMF,
    RankingFactorizer,
    SGDFactorizer,
)
from tests.assertions import assert_same_bits, left_as_it_was
from tests.contract.models import FAMILIES, QUICK, X, Y, each_model, in_turn

# One model of each class, under its defaults.
CLASSES = list({model.cls: model for model in reversed(FAMILIES)}.values())[::-1]


def each_parameter(names):
    """Run a test for each class and those of its parameters that are named."""
    cases = [
        pytest.param(model, name, id=f"{model}-{name}")
        for model in CLASSES
        for name in names
        if name in model().get_params()
    ]
    return pytest.mark.parametrize(("model", "name"), cases)


# ----------------------------------------------------------------------------- bounds

# What lies just outside of the bounds, and what is of another type.
INVALID = {
    "n_factors": [0, 2.5],
    "class_weight": ["even", 1.0],
    "user_features": [5, "genres"],
    "item_features": [5, "genres"],
    "feature_regularization": [0, "scale", None],
    "solver": ["lbfgs", None],
    "cg_steps": [0, 2.5],
    "feedback": ["clicks", None],
    "alpha": [-1e-9, "auto", None],
    "confidence": ["sqrt"],
    "axis": ["rows"],
    "activation": ["tanh"],
    "output_activation": ["tanh"],
    "hidden_layer_sizes": [5, "55", None],
    "shared_embeddings": [1.0],
    "interaction_loss": ["hinge"],
    "factorization_weight": [-1e-9],
    "regression_weight": [-1e-9],
    "regularization": [-1e-9, "auto"],
    "regression_regularization": [-1e-9, None],
    "bias_regularization": [-1e-9, "auto"],
    "weighted_regularization": ["yes", -1e-9, 1.1, np.nan],
    "unobserved_weight": [-1e-9, None],
    "non_negative": ["yes"],
    "fit_intercept": [2],
    "loss": ["hinge"],
    "optimizer": ["momentum", "rmsprop"],
    "learning_rate": [0, "constant"],
    "bias_learning_rate": [0, "auto"],
    "learning_rate_schedule": ["adaptive"],
    "decay": [0, 1 + 1e-9],
    "power_t": [-1e-9],
    "momentum": [-1e-9, 1.0],
    "nesterov": ["no"],
    "beta_1": [-1e-9, 1.0],
    "beta_2": [-1e-9, 1.0],
    "epsilon": [0],
    "batch_size": [0, 1.5],
    "shuffle": ["never"],
    "max_iter": [0, 2.0],
    "tol": [-1e-9, "auto"],
    "n_iter_no_change": [0],
    "early_stopping": [None, "auto"],
    "validation_fraction": [0, 1.0],
    "init_scale": [0],
    "clip": ["no"],
    "warm_start": [None],
    "user_column": [-1, 1.0],
    "item_column": [-1, 1.0],
    "n_jobs": [0, 1.5],
    "random_state": ["seed", -1],
    "verbose": [-1, "yes"],
    "similarity": ["euclidean"],
    "temperature": [0, "scale"],
    "margin": [-1.1, 1],
    "negative_weight": [0],
    "n_negatives": [0, 2.5, "all"],
    "popularity_exponent": [-1e-9],
    "likelihood": ["poisson"],
    "noise": ["item"],
    "n_samples": [0, 2.5],
    "burn_in": [-1],
    "thin": [0, "all"],
    "n_chains": [0],
    "precision_shape": [0],
    "precision_rate": [0],
    "mean_weight": [0],
}
# What lies just inside.
VALID = {
    "cg_steps": [1],
    "alpha": [0],
    "regularization": [0],
    "regression_regularization": [0],
    "bias_regularization": [0, None],
    "unobserved_weight": [0],
    "factorization_weight": [0],
    "regression_weight": [0],
    "learning_rate": [1e-300],
    "decay": [1],
    "power_t": [0],
    "momentum": [0],
    "beta_1": [0],
    "beta_2": [0],
    "batch_size": [1],
    "max_iter": [1],
    "tol": [0, None],
    "n_iter_no_change": [1],
    "validation_fraction": [1e-9],
    "n_jobs": [-1, -99, None],
    "random_state": [np.random.RandomState(0), None],
    "verbose": [0],
    "temperature": [1e-3],
    "margin": [-1],
    "negative_weight": [1e-300],
    "n_negatives": [1],
    "popularity_exponent": [0],
    "n_samples": [1],
    "burn_in": [0],
    "thin": [1, 1000],
    "n_chains": [3],
    "precision_shape": [1e-3, 1e6],
    "precision_rate": [1e-9, 1e9],
    "mean_weight": [1e-9, 1e9],
}


@pytest.mark.parametrize(
    "estimator",
    [
        ALSFactorizer(solver="als"),
        BiasedMF(solver="cg"),
        AutoRec(optimizer="adagrad"),
    ],
    ids=str,
)
def test_values_that_another_class_has(estimator):
    with pytest.raises(InvalidParameterError, match=r"solver|optimizer"):
        estimator.fit(X, Y)


@each_model(among=FAMILIES)
def test_numbers_of_every_kind(model):
    """No bool is a number; an int of NumPy is one, and a huge number says so."""
    constraints, fitted = model.cls._parameter_constraints, model()
    for name, value in fitted.get_params().items():
        kinds = {c.type for c in constraints[name] if isinstance(c, Interval)}
        wrong = [2**31, 2**70, np.timedelta64(1)] if Integral in kinds else []
        wrong += [10**400, Fraction(1, 2), np.inf, np.nan] if kinds else []
        wrong += [True] if kinds and "boolean" not in constraints[name] else []
        for odd in wrong:
            with pytest.raises(InvalidParameterError, match=f"'{name}' parameter"):
                model(**{name: odd}).fit(X, model.y())
        if Integral in kinds and type(value) is int and value < 128:
            same = model(**{name: np.int8(value)}).fit(X, model.y())
            assert_same_bits(same, model().fit(X, model.y()))
    for name in fitted.get_params().keys() & {"batch_size", "cg_steps"}:
        same = model(**{name: np.int8(2)}).fit(X, model.y())
        assert_same_bits(same, model(**{name: 2}).fit(X, model.y()))
    many = model(n_factors=np.int8(127), max_iter=1).fit(X, model.y())
    expected = model(n_factors=127, max_iter=1).fit(X, model.y())
    assert_same_bits(many, expected)


@pytest.mark.parametrize("model", CLASSES, ids=str)
def test_scikit_learns_check_of_the_validation_passes(model):
    check_param_validation(model.cls.__name__, model.cls())


@in_turn("name", INVALID)
@each_model(among=FAMILIES)
def test_parameters_out_of_bounds_are_errors(model, name):
    if name not in model().get_params():
        return
    values = INVALID[name]
    if name == "n_factors" and model.cls._parameter_constraints[name][0].left == 0:
        values = [-1, 2.5]  # the biases alone are a model
    match = f"The '{name}' parameter of {model.cls.__name__} must be"
    for value in values:
        estimator = model(**{name: value})
        for method in ("fit", "partial_fit"):
            if hasattr(estimator, method):
                with pytest.raises(InvalidParameterError, match=match):
                    getattr(estimator, method)(X, model.y())
        with pytest.raises(NotFittedError):
            estimator.predict(X)
        fitted = model().fit(X, model.y()).set_params(**{name: value})
        with left_as_it_was(fitted), pytest.raises(InvalidParameterError, match=match):
            fitted.fit(X, model.y())


@in_turn("name", VALID)
@each_model(among=FAMILIES)
def test_parameters_at_their_bounds_are_fitted(model, name):
    if name in model().get_params():
        for value in VALID[name]:
            estimator = model(**{name: value})
            assert np.isfinite(estimator.fit(X, model.y()).predict(X)).all()


def test_the_bounds_of_every_parameter_are_tested():
    for model in CLASSES:
        assert model().get_params().keys() <= INVALID.keys()


# ------------------------------------------------------- every parameter does something

# What is set all along, and the value that then changes what a fit predicts.
CHANGES = {
    "n_factors": ({}, 2),
    "user_features": ({}, "rated"),
    "item_features": ({}, "rated"),
    "feature_regularization": ({"item_features": "rated"}, 0.1),
    "axis": ({}, "user"),
    "activation": ({}, "identity"),
    "output_activation": ({}, "sigmoid"),
    "hidden_layer_sizes": ({}, (5, 5)),
    "shared_embeddings": ({}, False),
    "interaction_loss": ({}, "logistic"),
    "factorization_weight": ({}, 0.1),
    "regression_weight": ({}, 1.0),
    "regularization": ({}, 2.0),
    "bias_regularization": ({}, 2.0),
    "weighted_regularization": ({}, False),
    "fit_intercept": ({}, False),
    "loss": ({}, "log_loss"),
    "optimizer": ({}, "sgd"),
    "learning_rate": ({}, 0.1),
    "bias_learning_rate": ({}, 0.01),
    "learning_rate_schedule": ({}, "exponential"),
    "decay": ({"learning_rate_schedule": "exponential"}, 0.5),
    "power_t": ({"learning_rate_schedule": "invscaling"}, 1.0),
    "momentum": ({"optimizer": "sgd"}, 0.5),
    "nesterov": ({"optimizer": "sgd", "momentum": 0.5}, True),
    "beta_1": ({"optimizer": "adam"}, 0.5),
    "beta_2": ({"optimizer": "adam"}, 0.9),
    "epsilon": ({"optimizer": "adam"}, 1e-2),
    "batch_size": ({}, 5),
    "shuffle": ({}, False),
    "max_iter": ({}, 5),
    "tol": ({"max_iter": 300}, 0.9),
    "n_iter_no_change": ({"max_iter": 50, "tol": 0.1}, 1),
    "early_stopping": ({}, True),
    "validation_fraction": ({"early_stopping": True}, 0.3),
    "init_scale": ({}, 0.5),
    "clip": ({"max_iter": 300, "regularization": 1e-6, "init_scale": 0.5}, False),
    "random_state": ({}, 1),
    "similarity": ({}, "dot"),
    "temperature": ({}, 1.0),
    "n_negatives": ({}, 5),
    "popularity_exponent": ({}, 1.0),
}
OF_A_CLASS = {
    ALSFactorizer: {
        "solver": ({"cg_steps": 1, "n_factors": 30}, "cg"),
        "cg_steps": ({"solver": "cg", "n_factors": 30}, 1),
        "unobserved_weight": ({}, 0.1),
        "non_negative": ({}, True),
        "feedback": ({}, "implicit"),
        "alpha": ({"feedback": "implicit"}, 2.0),
        "confidence": ({"feedback": "implicit"}, "log"),
        "tol": ({"max_iter": 50}, 0.01),
    },
    AutoRec: {
        "clip": ({"init_scale": 10.0, "max_iter": 1}, False),
        "tol": ({"max_iter": 30, "early_stopping": True}, 0.5),
    },
    BayesianMF: {
        "n_factors": ({"burn_in": 30}, 2),
        "clip": ({"n_samples": 100, "precision_rate": 1e6}, False),
        "likelihood": ({}, "bernoulli"),
        "noise": ({}, "shared"),
        "n_samples": ({}, 5),
        "burn_in": ({}, 5),
        "thin": ({}, 2),
        "n_chains": ({}, 2),
        "precision_shape": ({}, 10.0),
        "precision_rate": ({}, 10.0),
        "mean_weight": ({}, 100.0),
        "validation_fraction": ({}, 0.3),
    },
    BayesianMFClassifier: {
        "n_factors": ({"burn_in": 30}, 2),
        "noise": ({}, "shared"),
        "n_samples": ({}, 5),
        "burn_in": ({}, 5),
        "thin": ({}, 2),
        "n_chains": ({}, 2),
        "precision_shape": ({}, 10.0),
        "precision_rate": ({}, 10.0),
        "mean_weight": ({}, 100.0),
        "validation_fraction": ({}, 0.3),
    },
    BiasedMF: {
        "solver": ({}, "als"),
        "cg_steps": ({"solver": "als-cg", "n_factors": 30}, 1),
        "unobserved_weight": ({"solver": "als"}, 0.1),
        "non_negative": ({"solver": "als"}, True),
        "feedback": ({"solver": "als"}, "implicit"),
        "alpha": ({"solver": "als", "feedback": "implicit"}, 2.0),
        "confidence": ({"solver": "als", "feedback": "implicit"}, "log"),
    },
    MFClassifier: {
        "class_weight": ({}, {0: 1.0, 1: 3.0}),
        "learning_rate": ({}, 0.05),
        "regularization": ({}, 0.0),
        "weighted_regularization": ({}, True),
    },
    MultiTaskMF: {
        "regression_regularization": ({}, 0.1),
        "clip": (
            {
                "max_iter": 50,
                "learning_rate": 0.02,
                "regression_weight": 0.5,
                "regression_regularization": 0,
            },
            False,
        ),
        "tol": ({"max_iter": 100, "learning_rate": 0.02}, 0.5),
    },
    RankingFactorizer: {
        "loss": ({}, "bpr"),
        "margin": ({"loss": "ccl"}, 0.1),
        "negative_weight": ({"loss": "ccl"}, 2.0),
        "regularization": ({"similarity": "dot"}, 0.1),
        "init_scale": ({"similarity": "dot"}, 0.5),
        "tol": ({"max_iter": 100}, 50.0),
        "n_iter_no_change": ({"max_iter": 30, "tol": 50.0}, 1),
        "learning_rate": ({}, 0.2),
    },
    SGDFactorizer: {},
}
# These have tests of their own, for every model: of a warm start, of columns, of
# threads, and of what is printed.
ELSEWHERE = {"warm_start", "user_column", "item_column", "n_jobs", "verbose"}


@pytest.mark.compiled
@each_parameter(sorted({*CHANGES, *itertools.chain(*OF_A_CLASS.values())}))
def test_a_parameter_changes_the_predictions(model, name):
    context, value = (CHANGES | OF_A_CLASS[model.cls])[name]
    y, predictions = model.y() if model.classifies else (Y - 1) / 4, []
    estimator = model(**model.known(context))
    assert getattr(estimator, name) != value
    for change in ({}, {name: value}):
        estimator.set_params(**change).fit(X, y)
        predictions.append(model.numbers(estimator, X))
    assert abs(predictions[0] - predictions[1]).max() > 1e-6


def test_every_parameter_is_tested():
    for cls, own in OF_A_CLASS.items():
        assert cls().get_params().keys() <= {*CHANGES, *own, *ELSEWHERE}
    assert OF_A_CLASS.keys() == {model.cls for model in CLASSES}


# ------------------------------------------------------------------- get, set and clone


@each_model()
def test_clone_has_the_parameters_and_nothing_learnt(model):
    fitted = model(clip=False, warm_start=True, n_jobs=2).fit(X, model.y())
    copied = clone(fitted)
    assert copied.get_params() == fitted.get_params() == vars(copied)
    with pytest.raises(NotFittedError):
        copied.predict(X)
    assert_same_bits(copied.fit(X, model.y()), fitted)


@each_model()
def test_parameters_set_after_a_fit_are_those_of_the_next(model):
    estimator = model.cls()
    quick = model.known(QUICK)
    assert estimator.set_params(**quick | model.options) is estimator
    assert_same_bits(estimator.fit(X, model.y()), model().fit(X, model.y()))
    params = model.known({"n_factors": 5, "max_iter": 2, "fit_intercept": False})
    estimator.set_params(**params).fit(X, model.y())
    assert_same_bits(estimator, model(**params).fit(X, model.y()))
    with pytest.raises(ValueError, match="Invalid parameter 'lam'"):
        estimator.set_params(lam=1.0)


@pytest.mark.parametrize("model", CLASSES, ids=str)
def test_a_fit_changes_no_parameter(model):
    parameters = inspect.signature(model.cls).parameters
    defaults = {name: p.default for name, p in parameters.items()}
    assert model.cls().get_params() == defaults
    estimator = model()
    before = estimator.get_params()
    estimator.fit(X, model.y()).predict(X)
    for name, value in estimator.get_params().items():
        assert value is before[name]
    expected = model().fit(X, model.y()).predict(X)
    assert_array_equal(estimator.predict(X), expected)
