"""Kernels of Gibbs sampling: draws of the rows of one side, the other side held fixed.

With ratings r_k = t_k + q_k·x + noise of precision τ w_k, where t_k is what the model
predicts without the row x, and with the prior x ~ N(m, Λ⁻¹), the row is distributed as

    x ~ N(A⁻¹ b, (τ A)⁻¹),   A = Λ/τ + Σ_k w_k q_k q_kᵀ,   b = Λ m/τ + Σ_k w_k z_k q_k

where z_k = r_k − t_k (Salakhutdinov and Mnih 2008, equations 11 to 13). Where features
predict e of the row, m + e takes the place of m. A and b are those of alternating least
squares with another penalty. With the elimination A = LDLᵀ and standard normal numbers
ε, the draw is

    x = L⁻ᵀ (D⁻¹ L⁻¹ b + (τ D)^-½ ε).

Rows of parameters are padded with zeros to the width of whole tiles, as in
`als.kernels`, and the last parameter of a row is its bias.
"""

from typing import NamedTuple

import numpy as np

from sklearn_mf._runtime.compile import jit
from sklearn_mf._runtime.random import fill_normals
from sklearn_mf._solvers.als.kernels import (
    add_ratings,
    eliminate,
    go_backwards,
    go_forwards,
    make_sums,
)


class Prior(NamedTuple):
    """The prior of the rows of a side, and the noise of their ratings.

    Attributes
    ----------
    precision : ndarray of shape (width,)
        The diagonal of Λ; zeros in the padding.
    product : ndarray of shape (width,)
        Λ m.
    noise : float64 ndarray of shape (n_rows,)
        The standard deviation of the noise of each row, τ^-½.
    """

    precision: np.ndarray
    product: np.ndarray
    noise: np.ndarray


class Draw(NamedTuple):
    """Which random numbers a draw takes.

    Attributes
    ----------
    key, stream, sweep : uint64
        See `_runtime.random`.
    amount : float
        1 to draw; 0 for the mean of the distribution.
    """

    key: np.uint64
    stream: np.uint64
    sweep: np.uint64
    amount: float = 1.0


@jit
def sample_rows(
    start, stop, rows, side, fixed, n_columns, prior, expected, draw, drawn, errors
):
    """Draw some rows from their distribution.

    Parameters
    ----------
    start, stop : int
        Which of the rows to draw.
    rows : int ndarray
        The rows.
    side : Side
        Their ratings.
    fixed : ndarray of shape (n_other_rows, width)
        Parameters of the other side, padded.
    n_columns : int
        Number of parameters of a row, without the padding.
    prior : Prior
        Their prior, and their noise.
    expected : ndarray of shape (n_rows, width), or of no row
        What features predict of each row, e; no row stands for zeros.
    draw : Draw
        Which random numbers to take.
    drawn : ndarray of shape (n_rows, width)
        The rows are overwritten; with NaN where A is singular to working precision,
        which in exact arithmetic it never is.
    errors : float64 ndarray of shape (n_rows,)
        The rows are overwritten with Σ w (r − r̂)², or NaN.
    """
    precision, prior_product, deviation = prior
    key, stream, sweep, amount = draw
    width, dtype = fixed.shape[1], fixed.dtype
    plain, expects = len(side.weights) == 0, len(expected) > 0
    sums = make_sums(fixed, plain)
    A, b = sums.A, sums.b
    L = np.zeros((width, width), dtype)
    scales, y = np.zeros(width, dtype), np.zeros(width, dtype)
    epsilon = np.zeros(n_columns)
    nothing = dtype.type(0)

    for at in range(start, stop):
        row = rows[at]
        noise = deviation[row]
        variance = dtype.type(noise * noise)
        first, last = side.indptr[row], side.indptr[row + 1]
        # A = Λ/τ + Σ w q qᵀ and b = Λ m/τ + Σ w z q
        A[:] = 0
        for i in range(width):
            b[0, i] = variance * prior_product[i]
            if expects:
                b[0, i] += variance * precision[i] * expected[row, i]
        squares = add_ratings(  # Σ w z²
            first,
            last,
            side,
            fixed,
            nothing,
            n_columns,
            True,
            nothing,
            plain,
            True,
            sums,
        )
        for i in range(n_columns):
            A[i, i] += variance * precision[i]
        if not eliminate(A, L, scales, n_columns):
            drawn[row, :n_columns] = np.nan
            errors[row] = np.nan
            continue

        fill_normals(key, stream, sweep, row, epsilon)
        epsilon *= amount
        x = drawn[row]
        error = squares - go_forwards(L, scales, b, y)  # − b·A⁻¹b
        for i in range(n_columns):
            y[i] += noise * np.sqrt(scales[i]) * epsilon[i]
        go_backwards(L, y, drawn, row)
        # Σ w (z − q·x)² = Σ w z² − b·A⁻¹b + ‖ε‖²/τ + 2 x·Λm/τ − x·Λx/τ
        for i in range(n_columns):
            product = prior_product[i]
            if expects:
                product += precision[i] * expected[row, i]
            error += (noise * epsilon[i]) ** 2
            error += x[i] * variance * (2 * product - precision[i] * x[i])
        errors[row] = 0.0 if error < 0 else error  # NaN stays


@jit
def score_ratings(start, stop, side, users, items, n_columns, scores):
    """Overwrite the scores p_u · q_i + b_u + b_i of the ratings of some users.

    Parameters
    ----------
    start, stop : int
        Which of the users.
    side : Side
        The ratings by user.
    users, items : ndarrays of shape (n_rows, width)
        The parameters of both sides.
    n_columns : int
        Number of parameters of a row, the last of which is the bias.
    scores : float64 ndarray of shape (n_ratings,)
        Overwritten.
    """
    bias = n_columns - 1
    for u in range(start, stop):
        for k in range(side.indptr[u], side.indptr[u + 1]):
            i = side.indices[k]
            score = users[u, bias] + items[i, bias]
            for f in range(bias):
                score += users[u, f] * items[i, f]
            scores[k] = score


@jit
def spread_levels(start, stop, users, levels, weights, out):
    """Overwrite γ w of ratings start to stop.

    Parameters
    ----------
    start, stop : int
        Which of the ratings.
    users : int ndarray of shape (n_ratings,)
        Their users.
    levels : ndarray of shape (n_users,)
        γ.
    weights : ndarray of shape (n_ratings,), or of no entry
        Their weights w; no entry stands for ones.
    out : ndarray of shape (n_ratings,)
        Overwritten.
    """
    for k in range(start, stop):
        out[k] = levels[users[k]]
        if len(weights):
            out[k] *= weights[k]
