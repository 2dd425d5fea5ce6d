"""Optimizers: how a parameter steps along the gradient of the objective.

Each row of parameters has a state of its own: for each parameter the mean of its
gradients (the first moment; of momentum the velocity) and of their squares (the second
moment; of AdaGrad their sum), and for Adam the powers β₁ᵗ and β₂ᵗ, where t counts the
steps of the row. A batch steps with the rows that it touches; the state of the others
stays as it is.
"""

import math
from typing import NamedTuple

import numpy as np

from sklearn_mf._runtime.compile import inlined, jit
from sklearn_mf._runtime.tiles import where_positive

TINY = 1e-30  # nothing beside 1
SGD, MOMENTUM, NESTEROV, ADAGRAD, ADAM = range(5)
OPTIMIZERS = {
    "sgd": SGD,
    "momentum": MOMENTUM,
    "nesterov": NESTEROV,
    "adagrad": ADAGRAD,
    "adam": ADAM,
}
HAS_FIRST_MOMENTS = {"momentum", "nesterov", "adam"}
HAS_SECOND_MOMENTS = {"adagrad", "adam"}


class State(NamedTuple):
    """The state of an optimizer for the rows of a table.

    Attributes
    ----------
    first_moments, second_moments : ndarrays of shape (n_rows, n_columns)
        See above; of no column where the optimizer has none.
    powers : ndarray of shape (n_rows, 2)
        β₁ᵗ and β₂ᵗ; of no column but for Adam.
    """

    first_moments: np.ndarray
    second_moments: np.ndarray
    powers: np.ndarray


def begin_state(optimizer, shape, dtype):
    """Return the state of an optimizer before its first step with a table."""
    n_rows, n_columns = shape
    return State(
        np.zeros((n_rows, n_columns * (optimizer in HAS_FIRST_MOMENTS)), dtype),
        np.zeros((n_rows, n_columns * (optimizer in HAS_SECOND_MOMENTS)), dtype),
        np.ones((n_rows, 2 * (optimizer == "adam")), dtype),
    )


def make_constants(dtype, beta_1=0.9, beta_2=0.999, epsilon=1e-8):
    """Return the constants of `step`; the defaults are those of Adam's paper.

    They are β₁ (or momentum), 1 − β₁, β₂, 1 − β₂, ε, and the largest square of what is
    rounded to zero. The paper's ε is for gradients of weights of 1; it should be
    multiplied by the mean weight.
    """
    # Parameters that only the penalty moves, and moments without gradients, become ever
    # smaller. Before they are denormal, which makes the processor slow, they are zero.
    tiny = 1e8 * float(np.finfo(dtype).tiny)
    constants = beta_1, 1 - beta_1, beta_2, 1 - beta_2, epsilon, tiny
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


@inlined
def drop_tiny(tile, squares, constants):
    """Return a tile with zeros where squares are tiny: see `make_constants`."""
    return where_positive(squares - constants[5], tile)


@inlined
def _unless_tiny(number, square, constants):
    """Return a number, or zero where its square is tiny."""
    return number - number if square <= constants[5] else number


@inlined
def _move(optimizer, theta, g, rate, first, second, row, f, constants, c1, c2):
    """Return what `step` does, not yet rounded to zero."""
    if optimizer == SGD:  # θ − γ g
        return theta - rate * g
    if optimizer in (MOMENTUM, NESTEROV):  # m ← β m − γ g
        m = constants[0] * first[row, f] - rate * g
        first[row, f] = _unless_tiny(m, m * m, constants)
        if optimizer == MOMENTUM:  # θ + m
            return theta + m
        return theta + constants[0] * m - rate * g  # θ + β m − γ g
    if optimizer == ADAGRAD:  # v ← v + g²;  θ − γ g / (√v + ε)
        second[row, f] += g * g
        return theta - rate * g / (math.sqrt(second[row, f]) + constants[4])
    # Adam: m ← β₁ m + (1 − β₁) g;  v ← β₂ v + (1 − β₂) g²;
    # θ − γ (m / c₁) / (√(v / c₂) + ε)
    m = constants[0] * first[row, f] + constants[1] * g
    v = constants[2] * second[row, f] + constants[3] * g * g
    first[row, f] = _unless_tiny(m, m * m, constants)
    second[row, f] = _unless_tiny(v, v, constants)
    return theta - adam(rate, m, v, constants, c1, c2)


@jit
def step(optimizer, theta, g, rate, first, second, row, f, constants, c1, c2):
    """Return a parameter after a step against its gradient; update its state in place.

    Parameters
    ----------
    optimizer : int
        One of the constants above.
    theta, g, rate : float
        The parameter θ, its gradient g, the learning rate γ.
    first, second : ndarrays of shape (n_rows, n_columns)
        First moments m and second moments v.
    row, f : int
        Where those of the parameter stand.
    constants : tuple of 6 floats
        From `make_constants`.
    c1, c2 : float
        From `correct_bias`.
    """
    theta = _move(optimizer, theta, g, rate, first, second, row, f, constants, c1, c2)
    return _unless_tiny(theta, theta * theta, constants)


@jit
def correct_bias(optimizer, powers, row, constants):
    """Count a step of Adam with a row; return its bias corrections.

    The moments begin at zero; divided by c₁ = 1 − β₁ᵗ and c₂ = 1 − β₂ᵗ their
    expectations are those of the gradient and of its square.
    """
    zero, one = powers.dtype.type(0), powers.dtype.type(1)
    if optimizer != ADAM:
        return one, one
    for k in range(2):
        power = powers[row, k] * constants[2 * k]
        powers[row, k] = power if power > TINY else zero
    return one - powers[row, 0], one - powers[row, 1]
