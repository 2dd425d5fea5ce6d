"""Kernels of the autoencoder: gradients of the rows of a batch, then its columns step.

A row r with inputs x_rc, its ratings less a mean, has the hidden units and scores

    h_r = g(a + Σ_c x_rc v_c),   z_rc = μ + b_c + w_c · h_r,

and with e_rc, half the derivative of the weighted loss of a rating by its z_rc, half
the gradient of the objective is

    δ_r = g'(h_r) ⊙ Σ_c e_rc w_c,   g_a = Σ_r δ_r,   g_b = Σ_r e_rc,
    g_v = Σ_r (x_rc δ_r + λ s_c w_rc v_c),   g_w = Σ_r (e_rc h_r + λ s_c w_rc w_c),

where s_c is the share of a column's penalty that a unit of weight carries. A row of C
is (v_c, w_c, b_c), and the only row of A is a.

Rows, and then columns, are worked on side by side: each writes what is its own.
"""

import math
from typing import NamedTuple

import numpy as np

from sklearn_mf._objective.loss import residual
from sklearn_mf._runtime.compile import inlined, jit
from sklearn_mf._solvers.optimizers import OPTIMIZERS, correct_bias, step

IDENTITY, SIGMOID, SIGMOID_LOG_LOSS = range(3)  # what follows z


class Coder(NamedTuple):
    """The autoencoder.

    Attributes
    ----------
    C : ndarray of shape (n_columns, 2 * n_factors + 1)
        For each column v_c, w_c and b_c; to encode, v_c is enough.
    A : ndarray of shape (1, n_factors)
        The biases a.
    mean : float
        What is taken off the ratings.
    intercept : float
        The constant μ of z.
    sigmoid : bool
        Whether g is σ, or returns its argument.
    output : int
        What follows z: one of the constants above.
    """

    C: np.ndarray
    A: np.ndarray
    mean: float
    intercept: float
    sigmoid: bool
    output: int


class Touched(NamedTuple):
    """The columns that a batch touches, with its ratings sorted by column.

    Attributes
    ----------
    columns : int32 ndarray of shape (n_touched,)
        The columns.
    bounds : int64 ndarray of shape (n_touched + 1,)
        Where the ratings of each begin and end in the next two arrays.
    entries : int32 or int64 ndarray of shape (n_ratings,)
        Where each rating stands in the order of rows.
    places : int32 ndarray of shape (n_ratings,)
        The place of its row in the batch.
    """

    columns: np.ndarray
    bounds: np.ndarray
    entries: np.ndarray
    places: np.ndarray


@inlined
def _encode_row(begin, end, indices, ratings, mean, sigmoid, C, A, H, k):
    """Write the hidden units of the row with the ratings begin to end to ``H[k]``."""
    n_factors = H.shape[1]
    # a + Σ_c x_rc v_c
    for f in range(n_factors):
        H[k, f] = A[0, f]
    for at in range(begin, end):
        c, x = np.int64(indices[at]), ratings[at] - mean
        for f in range(n_factors):
            H[k, f] += x * C[c, f]
    # g = σ, without overflow
    if sigmoid:
        one = A.dtype.type(1)
        for f in range(n_factors):
            small = math.exp(-abs(H[k, f]))
            H[k, f] = (small if H[k, f] < 0 else one) / (one + small)


@jit
def encode_rows(start, stop, rows, indptr, indices, ratings, coder, H):
    """Compute the hidden units of rows.

    Parameters
    ----------
    start, stop : int
        Which of the next argument.
    rows : int64 ndarray of shape (n_places,)
        The row at each place.
    indptr, indices : int64 and int32 ndarrays
        Which columns each row has rated, as compressed sparse rows.
    ratings : ndarray of shape (n_ratings,)
        Their ratings.
    coder : Coder
        The encoder.
    H : ndarray of shape (n_places or more, n_factors)
        Overwritten at start to stop.
    """
    C, A, mean, _, sigmoid, _ = coder
    for k in range(start, stop):
        begin, end = indptr[rows[k]], indptr[rows[k] + 1]
        _encode_row(begin, end, indices, ratings, mean, sigmoid, C, A, H, k)


@inlined
def _respond(output, z, r):
    """Return half the derivative of the loss of a rating by its score, and the loss."""
    error, value = residual(output != IDENTITY, z, r)
    if output == SIGMOID:
        probability = error + r
        return error * probability * (1 - probability), error * error
    return error, value


@jit
def differentiate_rows(
    start, stop, rows, indptr, indices, ratings, weights, coder, H, D, errors, loss
):
    """Find the gradients of rows of a batch by their hidden units.

    Parameters
    ----------
    start, stop, rows, indptr, indices, ratings, coder
        See `encode_rows`.
    weights : ndarray of shape (n_ratings,) or None
        Weights w of the ratings; None stands for ones.
    H, D : ndarrays of shape (n_places or more, n_factors)
        Overwritten at start to stop: hidden units h, and δ.
    errors : ndarray of shape (n_ratings,)
        Overwritten for the ratings of these rows: e.
    loss : float64 ndarray of shape (n_rows,)
        Overwritten for these rows: the loss of their ratings.
    """
    C, A, mean, intercept, sigmoid, output = coder
    n_factors = H.shape[1]
    one = ratings.dtype.type(1)
    for k in range(start, stop):
        row = rows[k]
        begin, end = indptr[row], indptr[row + 1]
        _encode_row(begin, end, indices, ratings, mean, sigmoid, C, A, H, k)
        for f in range(n_factors):
            D[k, f] = 0
        total = 0.0
        for at in range(begin, end):
            # z = μ + b + w·h, and e
            c = np.int64(indices[at])
            z = intercept + C[c, 2 * n_factors]
            for f in range(n_factors):
                z += C[c, n_factors + f] * H[k, f]
            error, value = _respond(output, z, ratings[at])
            w = one if weights is None else weights[at]
            total += w * value
            error = w * ratings.dtype.type(error)
            errors[at] = error
            # δ ← δ + e w_c
            for f in range(n_factors):
                D[k, f] += error * C[c, n_factors + f]
        # δ ← g'(h) δ, with σ' = σ (1 − σ)
        if sigmoid:
            for f in range(n_factors):
                D[k, f] *= H[k, f] * (one - H[k, f])
        loss[row] = total


def make_step_columns(optimizer):
    """Make the kernel in which columns step; `optimizer` is a constant in it."""

    @jit
    def step_columns(
        start,
        stop,
        touched,
        ratings,
        weights,
        errors,
        H,
        D,
        coder,
        penalties,
        share,
        rate,
        state,
        constants,
    ):
        """Step along the gradient of columns that a batch touches.

        Parameters
        ----------
        start, stop : int
            Which of these columns.
        touched : Touched
            The columns, with the ratings of the batch.
        ratings, weights, errors, H, D
            See `differentiate_rows`; in the order of rows.
        coder : Coder
            Its C is changed in place.
        penalties : ndarray of shape (n_columns,)
            λ s of each column.
        share : float
            What multiplies the gradient: 1 by the number of rows of the batch.
        rate : float
            Learning rate.
        state : State
            State of the optimizer, changed in place.
        constants : tuple of 6 floats
            See `step`.
        """
        columns, bounds, entries, places = touched
        C, mean, (first, second, powers) = coder.C, coder.mean, state
        n_factors = H.shape[1]
        one = C.dtype.type(1)
        g = np.empty(C.shape[1], C.dtype)
        for at_column in range(start, stop):
            c = np.int64(columns[at_column])
            weight = C.dtype.type(0)
            for f in range(len(g)):
                g[f] = 0
            # g_v ← Σ_r x δ_r;  g_w ← Σ_r e h_r;  g_b ← Σ_r e
            for j in range(bounds[at_column], bounds[at_column + 1]):
                at, k = np.int64(entries[j]), np.int64(places[j])
                x, error = ratings[at] - mean, errors[at]
                weight += one if weights is None else weights[at]
                for f in range(n_factors):
                    g[f] += x * D[k, f]
                for f in range(n_factors):
                    g[n_factors + f] += error * H[k, f]
                g[2 * n_factors] += error
            # g_v ← g_v + λ s w v;  g_w ← g_w + λ s w w_c
            penalty = penalties[c] * weight
            for f in range(2 * n_factors):
                g[f] += penalty * C[c, f]
            c1, c2 = correct_bias(optimizer, powers, c, constants)
            for f in range(len(g)):
                C[c, f] = step(
                    optimizer,
                    C[c, f],
                    share * g[f],
                    rate,
                    first,
                    second,
                    c,
                    f,
                    constants,
                    c1,
                    c2,
                )

    return step_columns


def make_step_biases(optimizer):
    """Make the kernel in which a steps; `optimizer` is a constant in it."""

    @jit
    def step_biases(n_rows, D, share, rate, A, state, constants):
        """Step along the gradient of the biases a, the sum of ``D[:n_rows]``.

        Parameters
        ----------
        n_rows : int
            Rows of the batch.
        D, share, rate, state, constants
            See `step_columns`.
        A : ndarray of shape (1, n_factors)
            Changed in place.
        """
        first, second, powers = state
        n_factors = D.shape[1]
        g = np.zeros(n_factors)
        for k in range(n_rows):
            for f in range(n_factors):
                g[f] += D[k, f]
        c1, c2 = correct_bias(optimizer, powers, 0, constants)
        for f in range(n_factors):
            A[0, f] = step(
                optimizer,
                A[0, f],
                share * A.dtype.type(g[f]),
                rate,
                first,
                second,
                0,
                f,
                constants,
                c1,
                c2,
            )

    return step_biases


STEP_COLUMNS, STEP_BIASES = (
    {OPTIMIZERS[name]: make(OPTIMIZERS[name]) for name in ("sgd", "adam")}
    for make in (make_step_columns, make_step_biases)
)
