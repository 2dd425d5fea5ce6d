"""Losses of a rating, and the links between scores and ratings.

A score z is μ + p·q with the biases of the model. The squared error takes it for the
rating, r̂ = z; under log loss r̂ = σ(z) is a probability.
"""

import math

import numpy as np
from scipy.special import expit, logit

from sklearn_mf._runtime.compile import jit


def to_intercept(mean, logistic):
    """Return the constant of the scores for a mean rating: under log loss its logit."""
    return float(logit(np.clip(mean, 1e-6, 1 - 1e-6))) if logistic else mean


def to_ratings(scores, logistic):
    """Return the ratings that scores predict: under log loss, probabilities σ(z)."""
    return expit(scores) if logistic else scores


def mean_error(ratings, predictions, weights, log_loss):
    """Return the error of predictions: mean log loss, or root mean squared error."""
    r, predictions = ratings, predictions.astype(np.float64)
    if not log_loss:
        return float(np.average((predictions - r) ** 2, weights=weights) ** 0.5)
    p = predictions.clip(1e-15, 1 - 1e-15)
    losses = -(r * np.log(p) + (1 - r) * np.log1p(-p))
    return float(np.average(losses, weights=weights))


@jit
def residual(logistic, z, r):
    """Return half the derivative of the loss by the score, r̂ − r, and the loss.

    The loss is the squared error (r̂ − r)², or with `logistic` twice the log loss,
    −2 (r log σ(z) + (1 − r) log(1 − σ(z))) = 2 (max(z, 0) − r z + log(1 + e^−|z|)).
    """
    if logistic:
        small = math.exp(-abs(z))
        probability = 1 / (1 + small) if z >= 0 else small / (1 + small)
        return probability - r, 2 * (max(z, 0) - r * z + math.log1p(small))
    return z - r, (z - r) ** 2
