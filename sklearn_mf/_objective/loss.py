"""Losses of a rating, with the links that make predictions of scores."""

import math

import numpy as np
from scipy.special import expit, logit

from sklearn_mf._runtime.compile import jit


def to_intercept(mean, logistic):
    """Give the constant of the model from the mean rating: under log loss its logit."""
    return float(logit(np.clip(mean, 1e-6, 1 - 1e-6))) if logistic else mean


def to_ratings(scores, logistic):
    """Give the predicted ratings from scores: under log loss, probabilities."""
    return expit(scores) if logistic else scores


@jit
def residual(logistic, z, r):
    """Give r̂ − r and the loss of a rating: squared error, or twice the log loss."""
    if logistic:
        small = math.exp(-abs(z))
        probability = 1 / (1 + small) if z >= 0 else small / (1 + small)
        return probability - r, 2 * (max(z, 0) - r * z + math.log1p(small))
    return z - r, (z - r) ** 2
