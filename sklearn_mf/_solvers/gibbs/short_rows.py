"""Kernel of Gibbs sampling for rows with fewer ratings than factors.

Such a row of n ratings is drawn by n equations instead of one for each factor
(Bhattacharya, Chakraborty and Mallick 2016, algorithm 1). With the rows of Q the q of
its ratings times Λ^-½, and with the variances c_k = 1/(τ w_k) of their noise, draw the
row from its prior, and ratings with noise from that row:

    u = Λ^½ (m + e) + ε,   v = Q u + δ,   ε ~ N(0, I),   δ_k ~ N(0, c_k)

Then move the row by as much as these ratings differ from the given ones:

    x = Λ^-½ (u + Qᵀ s)   with   (Q Qᵀ + C) s = z − v.

It leaves the errors z − q·x = δ + C s. For all else see `kernels`.
"""

import numpy as np

from sklearn_mf._runtime.compile import helper, jit
from sklearn_mf._runtime.random import fill_normals
from sklearn_mf._solvers.als.kernels import (
    TILE,
    add_transposed,
    eliminate,
    multiply,
    substitute,
)
from sklearn_mf._solvers.als.short_rows import multiply_rows


@jit
def sample_short_rows(
    start, stop, rows, side, fixed, n_columns, prior, expected, draw, drawn, errors
):
    """Draw rows with few ratings, at least one each; see `kernels.sample_rows`."""
    precision, product, deviation = prior
    key, stream, sweep, amount = draw
    width, dtype = fixed.shape[1], fixed.dtype
    most = 0
    for at in range(start, stop):
        most = max(most, side.indptr[rows[at] + 1] - side.indptr[rows[at]])
    size = -(-most // TILE) * TILE
    q, u = np.zeros((size, width), dtype), np.zeros((1, width), dtype)
    K_buffer, L_buffer = np.empty(size**2, dtype), np.empty(size**2, dtype)
    z, c, delta = np.empty(size, dtype), np.empty(size, dtype), np.empty(size, dtype)
    rhs, s, scales, work = (
        np.empty((1, size), dtype),
        np.empty((1, size), dtype),
        np.empty(size, dtype),
        np.empty(size, dtype),
    )
    epsilon = np.empty(n_columns + most)
    root = np.zeros(width, dtype)  # the diagonal of Λ^-½
    for f in range(n_columns):
        root[f] = 1 / np.sqrt(precision[f])

    for at in range(start, stop):
        row = rows[at]
        first, n = side.indptr[row], side.indptr[row + 1] - side.indptr[row]
        size = -(-n // TILE) * TILE
        K = K_buffer[: size**2].reshape((size, size))
        L = L_buffer[: size**2].reshape((size, size))
        variance = dtype.type(deviation[row] ** 2)
        fill_normals(key, stream, sweep, row, epsilon[: n_columns + n])
        epsilon *= amount
        q[n:size] = 0
        _gather_scaled(first, n, side, fixed, root, n_columns, variance, q, z, c)
        # u = Λ^-½ Λ (m + e) + ε, and z − v = z − Q u − δ
        for f in range(n_columns):
            u[0, f] = root[f] * product[f] + epsilon[f]
            if len(expected):
                u[0, f] += root[f] * precision[f] * expected[row, f]
        multiply(q, n, u, rhs[0])
        for m in range(n):
            delta[m] = np.sqrt(c[m]) * epsilon[n_columns + m]
            rhs[0, m] = z[m] - rhs[0, m] - delta[m]
        rhs[0, n:size] = 0
        # s = (Q Qᵀ + C)⁻¹ (z − v)
        K[:] = 0
        multiply_rows(q, n, K)
        for m in range(n):
            K[m, m] += c[m]
        if not eliminate(K, L, scales, n):
            drawn[row, :n_columns] = np.nan
            errors[row] = np.nan
            continue
        substitute(L, scales, rhs[:, :size].copy(), work, s, 0)
        # x = Λ^-½ (u + Qᵀ s)
        add_transposed(q, n, s[0], u)
        drawn[row] = root * u[0]
        # Σ w (z − q·x)², with w = 1/(τ c)
        error = 0.0
        for m in range(n):
            error += (delta[m] + c[m] * s[0, m]) ** 2 / c[m]
        errors[row] = variance * error


@helper
def _gather_scaled(first, n, side, fixed, root, n_columns, variance, q, z, c):
    """Gather the q Λ^-½, z and c of n ratings."""
    bias, weighted = n_columns - 1, len(side.weights) > 0
    for m in range(n):
        other = side.indices[first + m]
        for f in range(bias):
            q[m, f] = root[f] * fixed[other, f]
        q[m, bias] = root[bias]
        z[m] = side.ratings[first + m] - fixed[other, bias]
        c[m] = variance
        if weighted:
            c[m] /= side.weights[first + m]
