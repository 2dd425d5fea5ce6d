"""Kernels of alternating least squares for rows with fewer ratings than factors.

Such a row of n ratings is solved exactly by n equations instead of one for each factor.
In coordinates in which what all rows share is diagonal, D = α₀ Γ + λ I, the objective
of `kernels` is minimised by A x = b with

    A = D + Qᵀ C Q,   b = h + Qᵀ k,

where the rows of Q are the q of its ratings, C is the diagonal matrix of their w − α₀,
k holds their w z + α₀ t, and h = −α₀ Σ t q. By Woodbury's identity

    x = D⁻¹ (h + Qᵀ y)   with   (C⁻¹ + Q D⁻¹ Qᵀ) y = C⁻¹ k − Q D⁻¹ h.

Where the features of the row predict the parameters m, λ m is added to h. Where pairs
without a rating do not count, D is λ I, and D⁻¹ h is m, or 0 without features; y is
then multiplied by λ, so that without a penalty x = Qᵀ (Q Qᵀ)⁻¹ z is the shortest row
that fits all ratings exactly.
"""

from typing import NamedTuple

import numpy as np

from sklearn_mf._runtime.compile import helper, jit
from sklearn_mf._runtime.tiles import (
    add_up,
    load_row,
    load_tile,
    store,
    zero_tile,
)
from sklearn_mf._solvers.als.kernels import (
    CHUNK,
    TILE,
    add_to_square,
    add_to_wide,
    add_transposed,
    eliminate,
    multiply,
    substitute,
)


class Rotated(NamedTuple):
    """What rows share, in coordinates in which D is diagonal.

    Attributes
    ----------
    design : ndarray of shape (n_other_rows, width)
        The q of the other side.
    known : ndarray of shape (n_other_rows,)
        Their t.
    penalty : ndarray of shape (n_rows,)
        The penalty λ c of each row, the same for all coordinates.
    weight : float
        The weight α₀ of a pair without a rating. With 0 the rest is zero.
    gram, product : ndarrays of shape (width,)
        The diagonal of α₀ Γ, and h.
    value : float
        α₀ Σ_k t_k² over all k.
    """

    design: np.ndarray
    known: np.ndarray
    penalty: np.ndarray
    weight: float
    gram: np.ndarray
    product: np.ndarray
    value: float


@jit
def solve_short_rows(
    start, stop, rows, side, rotated, expected, solved, loss, singular
):
    """Minimise the objective over rows with few ratings, in rotated coordinates.

    Parameters
    ----------
    start, stop : int
        Which of the rows to solve.
    rows : int ndarray
        Rows whose ratings all weigh more than α₀.
    side : Side
        The ratings.
    rotated : Rotated
        What the rows share.
    expected : ndarray of shape (n_rows, width), or of no row
        The m of each row, in the coordinates of `rotated`; no row stands for zeros.
    solved, loss, singular
        As in `kernels.solve_rows`.
    """
    design, known, penalty, alpha, gram, h, shared_value = rotated
    width, dtype, expects = design.shape[1], design.dtype, len(expected) > 0
    most = 0
    for at in range(start, stop):
        most = max(most, side.indptr[rows[at] + 1] - side.indptr[rows[at]])
    most = -(-most // TILE) * TILE
    q = np.zeros((most, width), dtype)  # Q D^-½
    K_buffer, L_buffer = np.empty(most**2, dtype), np.empty(most**2, dtype)
    c, k, rhs = np.empty(most, dtype), np.empty(most, dtype), np.empty(most, dtype)
    y, scales, work = (
        np.empty(most, dtype),
        np.empty(most, dtype),
        np.empty(most, dtype),
    )
    own_h = h.copy()
    root = np.ones(width, dtype)  # the diagonal of D^-½
    root_h, x = np.zeros((1, width), dtype), np.zeros((1, width), dtype)

    for at in range(start, stop):
        row = rows[at]
        first, n = side.indptr[row], side.indptr[row + 1] - side.indptr[row]
        size = -(-n // TILE) * TILE
        K = K_buffer[: size**2].reshape((size, size))
        L = L_buffer[: size**2].reshape((size, size))
        singular[row] = False
        offset = np.float64(shared_value)
        if alpha != 0:
            for f in range(width):
                if expects:  # h + λ m, and λ ‖m‖²
                    pull = penalty[row] * expected[row, f]
                    own_h[f] = h[f] + pull
                    offset += pull * expected[row, f]
                d = gram[f] + penalty[row]
                root[f] = 1 / np.sqrt(d) if d > 0 else 0
                root_h[0, f] = root[f] * own_h[f]
        elif expects:
            root_h[0] = expected[row]
        q[n:size] = 0
        K[:] = 0
        value = gather(first, n, side, design, known, alpha, root, q, c, k)
        # K ← Q D⁻¹ Qᵀ + C⁻¹, with y and thus C⁻¹ multiplied by λ where D is λ I
        multiply_rows(q, n, K)
        shrink = dtype.type(1) if alpha != 0 else penalty[row]
        for m in range(n):
            K[m, m] += shrink / c[m]
        if not eliminate(K, L, scales, n):
            singular[row] = True
            continue
        # y = K⁻¹ (C⁻¹ k − Q D⁻¹ h)
        if alpha != 0 or expects:
            multiply(q, n, root_h, rhs)
        else:
            rhs[:n] = 0
        if alpha == 0 and expects:  # k − C Q D⁻¹ h, and h = 0 from here
            for m in range(n):
                k[m] -= c[m] * rhs[m]
                rhs[m] = 0
        for m in range(n):
            rhs[m] = k[m] / c[m] - rhs[m]
        rhs[n:size] = 0
        substitute(
            L,
            scales,
            rhs[:size].reshape((1, size)),
            work,
            y[:size].reshape((1, size)),
            0,
        )
        # x = D^-½ (D^-½ h + (Q D^-½)ᵀ y)
        x[0] = root_h[0]
        add_transposed(q, n, y, x)
        for f in range(width):
            solved[row, f] = root[f] * x[0, f]
        # The objective v − b·x, where k·Qx = k·C⁻¹ (k − y)
        if alpha == 0:
            value = 0.0
            for m in range(n):
                value += shrink * (k[m] / c[m]) * y[m]
        else:
            value += offset
            for f in range(width):
                value -= own_h[f] * solved[row, f]
            for m in range(n):
                value -= k[m] * (k[m] - y[m]) / c[m]
        loss[row] = value


@helper
def gather(first, n, side, design, known, alpha, root, q, c, k):
    """Gather the q D^-½, w − α₀ and w z + α₀ t of n ratings; return Σ w z² − α₀ t²."""
    value = 0.0
    weighted = len(side.weights) > 0
    w = design.dtype.type(1)
    for m in range(n):
        other = side.indices[first + m]
        for f in range(len(root)):
            q[m, f] = root[f] * design[other, f]
        if weighted:
            w = side.weights[first + m]
        t = known[other]
        z = side.ratings[first + m] - t
        value += w * z * z - alpha * t * t
        c[m] = w - alpha
        k[m] = w * z + alpha * t
    return value


@helper
def multiply_rows(q, n, K):
    """Overwrite the upper triangle of K with q qᵀ of the first n rows of q.

    Four rows by two at a time; q has zeros up to a multiple of four rows.
    """
    for i in range(0, n, 4):
        for j in range(i, n, 2):
            left_sums, right_sums = zero_tile(q, 4, TILE), zero_tile(q, 4, TILE)
            for f in range(0, q.shape[1], TILE):
                four = load_tile(q, i, f, 4, TILE)
                left_sums = left_sums + load_row(q, j, f, TILE) * four
                right_sums = right_sums + load_row(q, j + 1, f, TILE) * four
            store(add_up(left_sums), K, i, j)
            store(add_up(right_sums), K, i, j + 1)


@jit
def rotate_rows(start, stop, rows, source, V, target):
    """Write rows of a table, multiplied with V, to the same rows of another or itself.

    Parameters
    ----------
    start, stop : int
        Which of the rows.
    rows : int ndarray
        The rows.
    source, target : ndarrays of shape (n_rows, width)
        The tables.
    V : ndarray of shape (width, width)
        The matrix.
    """
    width = V.shape[1]
    rotated, q = np.zeros((CHUNK, width), V.dtype), np.zeros((width, CHUNK), V.dtype)
    for first in range(start, stop, CHUNK):
        n = min(CHUNK, stop - first)
        for m in range(n):
            q[:, m] = source[rows[first + m]]
        rotated[:] = 0
        # Part by part of the columns of V, for all of these rows
        for left in range(0, width, 2 * TILE):
            for top in range(0, n, TILE):
                if left + 2 * TILE <= width:
                    add_to_wide(rotated, top, left, q, V, width)
                else:
                    add_to_square(rotated, top, left, q, V, width)
        for m in range(n):
            target[rows[first + m]] = rotated[m]
