"""What tests of the autoencoder share: its network in plain NumPy."""

import numpy as np
from scipy.special import expit, logit

from sklearn_mf import AutoRec


def autorec(**params):
    defaults = {"n_factors": 4, "max_iter": 3, "tol": None, "random_state": 0}
    return AutoRec(**(defaults | params))


def parameters(model):
    """Return the network of a fitted model: v, a, w and b."""
    other = "item" if model.axis_ == "user" else "user"
    v, a = model.encoder_weights_, model.encoder_biases_
    w, b = getattr(model, f"{other}_factors_"), getattr(model, f"{other}_biases_")
    h0 = expit(a) if model.activation == "sigmoid" else a
    return [v.copy(), a.copy(), w.copy(), b - w @ h0]


def hidden(R, W, theta, mean, activation):
    s = theta[1] + np.where(W > 0, R - mean, 0) @ theta[0]
    return expit(s) if activation == "sigmoid" else s


def forward(R, W, theta, mean, activation, logistic):
    """Return the score of every pair, and the prediction."""
    mu = logit(mean) if logistic else mean
    z = mu + hidden(R, W, theta, mean, activation) @ theta[2].T + theta[3]
    return expit(z) if logistic else z
