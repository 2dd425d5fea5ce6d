"""The models that the contract is tested for: a line for each estimator and option.

The tests of the contract read here all that they must know about a model. A new model
is tested by all of them once it stands in the list.
"""

import functools
import inspect
import re
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest
from sklearn.base import is_classifier

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
from sklearn_mf.datasets import make_ratings

QUICK = {"n_factors": 3, "max_iter": 4, "tol": None, "random_state": 0}

X, Y = make_ratings(30, 20, 250, random_state=0)
WEIGHTS = np.random.default_rng(1).uniform(0.5, 2, len(Y))
# Ratings of users and items that X has, and of some that it has not.
MORE, MORE_Y = make_ratings(35, 25, 100, random_state=1)


# What some models have not.
NOT_ALL = {"clip", "fit_intercept", "tol", "init_scale", "regularization"}


@dataclass(frozen=True)
class Model:
    """An estimator with options of its own, and what tests must know about it.

    Attributes
    ----------
    cls : type
        Its class.
    options : dict
        The parameters that make it what it is.
    steps : bool
        Whether its iterations take steps whose length is `learning_rate`.
    steady : dict or None
        Parameters with which a fit of n iterations and a warm start of m more learn
        the same as n + m iterations at once. None if more than the parameters that are
        learnt decides how it goes on, such as the state of an optimizer.
    rounding : float
        Relative error with which a warm start reads the parameters of the fit before.
    overfitting : dict or None
        Parameters with which early stopping finds its best iteration neither at the
        first nor at the last; None for a model without early stopping.
    random : bool
        Whether a fit begins at random.
    many : int
        Number of factors with which 50,000 ratings are work for several threads.
    threads : bool
        Whether such a fit is sure to run in several threads.
    closed : str or None
        The side, "user" or "item", where `partial_fit` takes no ids that are new.
    link : str
        The method whose results `recommend` sorts by.
    rates : bool
        Whether it predicts ratings. If not, it learns interactions, and y holds their
        confidences.
    largest_start : float
        No entry of the factors that a fit begins with is as large.
    sampled : bool
        Whether it draws `n_samples` instead of iterating until it has converged.
    """

    cls: type
    options: dict
    steps: bool
    steady: dict | None = None
    rounding: float = 0.0
    overfitting: dict | None = None
    random: bool = True
    many: int = 24
    threads: bool = True
    closed: str | None = None
    link: str = "predict"
    rates: bool = True
    largest_start: float = 0.5
    sampled: bool = False

    def __call__(self, **params):
        """Return an estimator that is quick to fit, and learns the same each time."""
        return self.cls(**self.known(QUICK) | self.options | self.known(params))

    def known(self, params):
        """Leave those parameters out that the model has not."""
        own = inspect.signature(self.cls).parameters
        kept = {k: v for k, v in params.items() if k in own or k not in NOT_ALL}
        if self.sampled and "max_iter" in kept:
            kept |= {"n_samples": kept.pop("max_iter"), "burn_in": 0}
        return kept

    def __str__(self):
        options = (f"{name}={value!r}" for name, value in self.options.items())
        return f"{self.cls.__name__}({', '.join(options)})"

    @property
    def is_latent(self):
        """Whether its factors speak of latent ratings, from which levels come."""
        return getattr(self(), "likelihood", "gaussian") != "gaussian"

    @property
    def shares(self):
        """Whether it takes ratings from 0 to 1 only."""
        return (
            self.options.get("loss") == "log_loss"
            or self.options.get("output_activation") == "sigmoid"
            or self.options.get("likelihood") == "bernoulli"
        )

    @property
    def counts(self):
        """Whether y counts what people did: its unit and its size do not matter."""
        return self.options.get("feedback") == "implicit"

    @property
    def unobserved_weight(self):
        """The weight of a pair without a rating, which counts as 0."""
        return 1.0 if self.counts else self.options.get("unobserved_weight", 0.0)

    @property
    def has_intercept(self):
        """Whether μ is the mean of what counts."""
        return (
            self.options.get("fit_intercept", True)
            and not self.counts
            and not self.sampled
        )

    @property
    def classifies(self):
        """Whether y holds labels of two classes."""
        return is_classifier(self.cls())

    @property
    def under_log_loss(self):
        """Whether it minimises the log loss."""
        log_loss = self.options.get("loss") == "log_loss"
        return log_loss or (self.classifies and not self.sampled)

    def y(self, ratings=Y):
        """Return what the model takes for ratings from 1 to 5, of their dtype."""
        if self.classifies:
            return (ratings > 3).astype(ratings.dtype)
        return (ratings - 1) / 4 if self.shares else ratings

    def numbers(self, fitted, pairs):
        """Return predictions as numbers: ratings, or of two classes probabilities."""
        if self.classifies:
            return fitted.predict_proba(pairs)[:, 1]
        return fitted.predict(pairs)

    def ranks(self, fitted, pairs):
        """Return the numbers by which `recommend` sorts."""
        if self.link == "predict":
            return self.numbers(fitted, pairs)
        return getattr(fitted, self.link)(pairs)

    def more(self):
        """Return further ratings that `partial_fit` takes after a fit of X."""
        known = np.ones(len(MORE), dtype=bool)
        if self.closed:
            side = ("user", "item").index(self.closed)
            known = np.isin(MORE[:, side], X[:, side])
        return MORE[known], self.y(MORE_Y)[known]

    def without_early_stopping(self):
        """Return the same model without early stopping."""
        if self.overfitting is None:
            return self
        return replace(self, options=self.options | {"early_stopping": False})

    def has(self, method):
        """Return whether the estimator has a method."""
        return hasattr(self(), method)


als = partial(Model, ALSFactorizer, steps=False, steady={}, many=32)
biased_als = partial(Model, BiasedMF, steps=False, steady={}, many=32)
sgd = partial(
    Model,
    SGDFactorizer,
    steps=True,
    overfitting={"regularization": 0.0, "n_factors": 8, "learning_rate": 0.1},
)
biased_sgd = partial(
    Model,
    BiasedMF,
    steps=True,
    overfitting={"regularization": 0.0, "learning_rate": 0.2},
)
classifier = partial(
    Model,
    MFClassifier,
    steps=True,
    overfitting={"regularization": 0.0, "learning_rate": 0.02},
)
autorec = partial(
    Model,
    AutoRec,
    steps=True,
    rounding=1e-9,
    overfitting={"n_factors": 20, "regularization": 0.001, "learning_rate": 0.02},
    closed="user",
)
multitask = partial(
    Model,
    MultiTaskMF,
    steps=True,
    overfitting={
        "n_factors": 16,
        "learning_rate": 0.02,
        "factorization_weight": 0.5,
        "regression_weight": 0.5,
        "regularization": 0,
        "regression_regularization": 0,
    },
    threads=False,
    link="predict_interaction",
)

ranking = partial(
    Model,
    RankingFactorizer,
    steps=True,
    rounding=1e-9,
    overfitting={"n_factors": 8, "temperature": 0.05},
    rates=False,
    largest_start=1.0,
)

bayesian = partial(Model, BayesianMF, steps=False, sampled=True)
bayesian_classifier = partial(Model, BayesianMFClassifier, steps=False, sampled=True)

RATED = {"user_features": "rated", "item_features": "rated"}
PLAIN = {"optimizer": "sgd", "learning_rate": 0.01}
MODELS = [
    als({}),
    als({"weighted_regularization": False, "fit_intercept": False}),
    als({"unobserved_weight": 1}),
    als({"feedback": "implicit"}),
    als({"non_negative": True}),
    als({"non_negative": True, "unobserved_weight": 0.3, "clip": False}),
    als({"solver": "cg"}, many=100),
    als(
        {"solver": "cg", "unobserved_weight": 0.3, "fit_intercept": False},
        many=100,
    ),
    als({"item_features": "rated"}, rounding=1e-9),
    sgd({}),
    sgd(PLAIN, steady={"shuffle": False}),
    sgd(
        {**PLAIN, "momentum": 0.9},
        overfitting={"regularization": 0.0, "n_factors": 8},
    ),
    sgd(
        {**PLAIN, "momentum": 0.9, "nesterov": True},
        overfitting={"regularization": 0.0, "n_factors": 8},
    ),
    sgd({"optimizer": "adam", "learning_rate": 0.01}),
    sgd({"weighted_regularization": False, "fit_intercept": False, "batch_size": 8}),
    sgd(
        {"learning_rate_schedule": "exponential"},
        overfitting={"regularization": 0.0, "learning_rate": 0.3, "decay": 0.99},
    ),
    sgd(
        {"learning_rate_schedule": "invscaling"},
        overfitting={"regularization": 0.0, "learning_rate": 0.3, "power_t": 0.2},
    ),
    sgd({"early_stopping": True}),
    sgd({"loss": "log_loss"}),
    sgd(RATED, rounding=1e-9),
    biased_sgd({}),
    biased_sgd({"n_factors": 0}),
    biased_sgd(
        {**PLAIN, "bias_learning_rate": 0.02, "bias_regularization": 0.5},
        steady={"shuffle": False},
    ),
    biased_sgd({"optimizer": "adam", "learning_rate": 0.01, "batch_size": 4}),
    biased_sgd({"early_stopping": True, "validation_fraction": 0.2}),
    biased_sgd(
        {"loss": "log_loss", "n_factors": 0, "fit_intercept": False},
        overfitting={"regularization": 0.0, "learning_rate": 0.1},
    ),
    biased_sgd({"loss": "log_loss", "early_stopping": True}),
    classifier({}),
    classifier(
        {"n_factors": 0, "class_weight": "balanced"},
        random=False,
        overfitting={"bias_regularization": 0.0, "learning_rate": 0.1},
    ),
    biased_als({"solver": "als"}),
    biased_als({"solver": "als", "n_factors": 0}, random=False, threads=False),
    biased_als({"solver": "als", "non_negative": True}),
    biased_als({"solver": "als", "unobserved_weight": 1, "bias_regularization": 0.5}),
    biased_als({"solver": "als", "feedback": "implicit"}),
    biased_als({"solver": "als-cg"}, many=100),
    biased_als({"solver": "als-cg", "unobserved_weight": 0.3}, many=100),
    autorec({}),
    autorec({"axis": "user", "output_activation": "sigmoid"}, closed="item"),
    autorec({"loss": "log_loss", "batch_size": 8, "early_stopping": True}),
    autorec(
        {
            "activation": "identity",
            "optimizer": "sgd",
            "learning_rate": 1e-4,
            "weighted_regularization": False,
            "fit_intercept": False,
            "clip": False,
        },
        steady={"batch_size": 100},
        overfitting={"n_factors": 20, "regularization": 0, "learning_rate": 0.005},
    ),
    multitask({}),
    multitask(
        {
            "hidden_layer_sizes": (6, 5),
            "shared_embeddings": False,
            "interaction_loss": "logistic",
            "fit_intercept": False,
            "clip": False,
        }
    ),
    multitask({"hidden_layer_sizes": (), "batch_size": 64, "early_stopping": True}),
    ranking({}),
    ranking({"loss": "softmax", "popularity_exponent": 0.5, "n_negatives": 30}),
    ranking({"loss": "bpr", "early_stopping": True}),
    ranking({"loss": "warp", "similarity": "dot", "regularization": 0.05}),
    ranking(
        {"loss": "bpr", "similarity": "dot", "optimizer": "adam", "batch_size": 5},
        overfitting={"n_factors": 8, "regularization": 0.0, "learning_rate": 0.01},
    ),
    ranking(
        {"loss": "ccl", "optimizer": "sgd", "learning_rate": 0.2},
        overfitting={"n_factors": 16, "negative_weight": 20.0},
    ),
    bayesian({}),
    bayesian({"noise": "shared", "fit_intercept": False, "n_chains": 2, "clip": False}),
    bayesian({"likelihood": "ordinal"}),
    bayesian({"user_features": "rated", "item_features": "rated"}),
    bayesian({"likelihood": "bernoulli", "noise": "shared", "n_factors": 0}),
    bayesian_classifier({}),
]

# One model of each estimator and kind of solver, for tests that take long.
FAMILIES = list({(m.cls, m.steps): m for m in reversed(MODELS)}.values())[::-1]


def each_model(condition=lambda model: True, *, among=None):
    """Run a test for every model of the list that fulfils a condition."""
    models = [model for model in among or MODELS if condition(model)]
    return pytest.mark.parametrize("model", models, ids=str)


DTYPES = np.float32, np.float64


def in_turn(names, values):
    """Run a test for each of the values, one after the other, as a single test.

    It is `pytest.mark.parametrize` for cases so quick that a test of their own would
    cost more than they do.
    """
    names = re.split(", ?", names) if isinstance(names, str) else names

    def decorate(test):
        @functools.wraps(test)
        def run_in_turn(*args, **kwargs):
            for value in values:
                case = dict(
                    zip(names, value if len(names) > 1 else [value], strict=True)
                )
                try:
                    test(*args, **kwargs, **case)
                except BaseException as error:
                    error.add_note(f"The case of {case}.")
                    raise

        signature = inspect.signature(test)
        kept = [p for name, p in signature.parameters.items() if name not in names]
        run_in_turn.__signature__ = signature.replace(parameters=kept)
        return run_in_turn

    return decorate
