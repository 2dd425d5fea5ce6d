"""Steps along gradients: what the kernels of stochastic gradient descent share.

Numba's cache of a kernel does not notice a change in this file: after one, touch the
files of the kernels.
"""

import math

import numpy as np

from sklearn_mf._runtime.compile import inlined, jit

TINY = 1e-30  # nothing beside 1; below 1e-38 numbers become denormal, which is slow
SGD, MOMENTUM, NESTEROV, ADAGRAD, ADAM = range(5)
OPTIMIZERS = {
    "sgd": SGD,
    "momentum": MOMENTUM,
    "nesterov": NESTEROV,
    "adagrad": ADAGRAD,
    "adam": ADAM,
}


def make_constants(dtype, beta_1=0.9, beta_2=0.999, epsilon=1e-8):
    """Give the constants of `step`; the defaults are those of Adam's paper."""
    constants = beta_1, 1 - beta_1, beta_2, 1 - beta_2, epsilon
    return tuple(map(dtype, constants))


@inlined
def adam(rate, first, second, constants, c1, c2):
    """Return a step of Adam, γ (m / c₁) / (√(v / c₂) + ε); of numbers, or of tiles.

    Parameters
    ----------
    rate : float
        The learning rate γ.
    first, second : float
        The first and the second moment of the gradient, m and v.
    constants, c1, c2
        See `step`.
    """
    return rate * (first / c1) / (np.sqrt(second / c2) + constants[4])


@jit
def step(optimizer, theta, g, rate, first, second, row, f, constants, c1, c2):
    """Give θ after one step against its gradient g; update its state in place.

    Parameters
    ----------
    optimizer : int
        One of the constants above.
    theta, g, rate : float
        The parameter, its gradient, the learning rate.
    first, second : ndarrays of shape (n_rows, n_columns)
        State of the optimizer: velocity or mean gradient, and sum or mean of its
        squares.
    row, f : int
        Where the parameter's state stands.
    constants : tuple of 5 floats
        Momentum or β₁, 1 − β₁, β₂, 1 − β₂, ε.
    c1, c2 : float
        Adam's corrections 1 − β₁ᵗ and 1 − β₂ᵗ.
    """
    if optimizer == SGD:
        return theta - rate * g
    if optimizer == MOMENTUM:
        first[row, f] = constants[0] * first[row, f] - rate * g
        return theta + first[row, f]
    if optimizer == NESTEROV:
        first[row, f] = constants[0] * first[row, f] - rate * g
        return theta + constants[0] * first[row, f] - rate * g
    if optimizer == ADAGRAD:
        second[row, f] += g * g
        return theta - rate * g / (math.sqrt(second[row, f]) + constants[4])
    first[row, f] = constants[0] * first[row, f] + constants[1] * g
    second[row, f] = constants[2] * second[row, f] + constants[3] * g * g
    return theta - adam(rate, first[row, f], second[row, f], constants, c1, c2)


@jit
def correct(optimizer, powers, row, constants):
    """Count a step of Adam in a row; give its corrections 1 − β₁ᵗ and 1 − β₂ᵗ."""
    zero, one = powers.dtype.type(0), powers.dtype.type(1)
    if optimizer != ADAM:
        return one, one
    for k in range(2):
        power = powers[row, k] * constants[2 * k]
        powers[row, k] = power if power > TINY else zero
    return one - powers[row, 0], one - powers[row, 1]
