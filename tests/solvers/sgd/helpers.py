"""What tests of stochastic gradient descent share."""

import numpy as np

from sklearn_mf import BiasedMF, SGDFactorizer

WHOLE = 10**6  # a batch of all ratings
OPTIMIZERS = {
    "sgd": {"optimizer": "sgd", "learning_rate": 0.03},
    "momentum": {"optimizer": "sgd", "momentum": 0.7, "learning_rate": 0.02},
    "nesterov": {
        "optimizer": "sgd",
        "momentum": 0.6,
        "nesterov": True,
        "learning_rate": 0.02,
    },
    "adagrad": {"optimizer": "adagrad", "learning_rate": 0.07, "epsilon": 1e-3},
    "adam": {
        "optimizer": "adam",
        "beta_1": 0.8,
        "beta_2": 0.95,
        "learning_rate": 0.01,
        "epsilon": 1e-2,
    },
}


# Numbers in place of "scale", for references to read.
LITERAL = {
    "n_factors": 3,
    "max_iter": 4,
    "tol": None,
    "random_state": 0,
    "regularization": 0.12,
    "init_scale": 0.05,
    "learning_rate": 0.05,
    "epsilon": 1e-8,
}


def sgd(**params):
    return SGDFactorizer(**(LITERAL | params))


def biased_sgd(**params):
    return BiasedMF(solver="sgd", **(LITERAL | params))


def to_shares(y):
    """Scale stars to what log loss wants."""
    return (y - 1) / 4


def rmse(model, X, y):
    return np.sqrt(np.mean((model.predict(X) - y) ** 2))


def fitted(model):
    """Fitted parameters: P, Q and the biases b of users and c of items, in float64."""
    P, Q = model.user_factors_, model.item_factors_
    b = getattr(model, "user_biases_", np.zeros(len(P)))
    c = getattr(model, "item_biases_", np.zeros(len(Q)))
    return {
        key: np.array(value, dtype=float)
        for key, value in (("P", P), ("Q", Q), ("b", b), ("c", c))
    }
