"""Rows whose normal equations are singular: of all minima the shortest.

With fewer ratings than parameters and no penalty, more than one row minimises the
objective. Here it is a sum of squares ‖M x − z‖², with a row of M and an entry of z for
each pair of the row, and for each penalty,

    √w (q, r − t)    and    √λ (unit vector, m),

and is minimised without the normal equations, in which a small penalty can be lost to
rounding. For the terms see `kernels`.
"""

import numpy as np

from sklearn_mf._runtime.compile import helper, jit


@jit
def solve_least_norm(
    start, stop, side, fixed, terms, unobserved_weight, expected, solved, loss
):
    """Minimise the objective over rows start to stop, by the shortest minimum.

    Parameters
    ----------
    start, stop, side, fixed, terms, solved, loss
        See `kernels.solve_rows`; all float64, and the ratings have weights.
    unobserved_weight : float
        The weight α₀ of a pair without a rating.
    expected : ndarray of shape (n_rows, width)
        What features predict of the rows, m; zeros without features.
    """
    mean, n_columns, biased, penalty, bias_penalty, _ = terms
    for row in range(start, stop):
        first, last = side.indptr[row], side.indptr[row + 1]
        every = unobserved_weight > 0
        n_pairs = len(fixed) if every else last - first
        others = np.arange(n_pairs)
        weights, ratings = np.full(n_pairs, unobserved_weight), np.zeros(n_pairs)
        for k in range(first, last):
            m = side.indices[k] if every else k - first
            others[m] = side.indices[k]
            weights[m], ratings[m] = side.weights[k], side.ratings[k]

        own = np.full(n_columns, penalty[row])
        if biased:
            own[n_columns - 1] = bias_penalty[row]
        n_squares = n_pairs + np.sum(own > 0)
        M, z = np.zeros((n_columns, n_squares)), np.zeros(n_squares)  # M transposed
        for m in range(n_pairs):
            q, root, t = fixed[others[m]], np.sqrt(weights[m]), mean
            for i in range(n_columns):
                M[i, m] = root * q[i]
            if biased:
                t += q[n_columns - 1]
                M[n_columns - 1, m] = root
            z[m] = root * (ratings[m] - t)
        m = n_pairs
        for i in range(n_columns):
            if own[i] > 0:
                M[i, m] = np.sqrt(own[i])
                z[m] = M[i, m] * expected[row, i]
                m += 1
        solved[row] = 0
        loss[row] = _minimise(M, z, solved[row])


@helper
def _minimise(M, z, x):
    """Minimise ‖Mᵀ x − z‖² and return it. M and z are lost.

    The columns of Mᵀ, the longest rest first, become orthonormal by Gram and Schmidt's
    method, Mᵀ Π = Q R; then the rows of R, from the last to the first, R = T Z. What is
    left of a column or row is orthogonalised twice, against rounding.
    """
    n, m = M.shape
    order = np.arange(n)
    R, c = np.zeros((min(n, m), n)), np.zeros(min(n, m))
    smallest = 0.0  # the squared length that is zero but for rounding
    rank = 0
    for j in range(min(n, m)):
        longest, pivot = -1.0, j
        for i in range(j, n):
            square = _dot(M[i], M[i])
            if not np.isfinite(square):
                x[:] = np.nan
                return np.nan
            if square > longest:
                longest, pivot = square, i
        if j == 0:
            smallest = (max(n, m) * np.finfo(np.float64).eps) ** 2 * longest
        if longest <= smallest:
            break
        _swap(M, j, pivot)
        _swap(R.T, j, pivot)
        order[j], order[pivot] = order[pivot], order[j]
        for k in range(j):
            R[k, j] += _subtract_projection(M[j], M[k])
        R[j, j] = np.sqrt(_dot(M[j], M[j]))
        M[j] /= R[j, j]
        for i in range(j + 1, n):
            R[j, i] = _subtract_projection(M[i], M[j])
        c[j] = _subtract_projection(z, M[j])  # c = Qᵀ z
        rank += 1
    # T y = c for y = Z Πᵀ x, from the last to the first; x = Π Zᵀ y
    for j in range(rank - 1, -1, -1):
        for _ in range(2):
            for k in range(j + 1, rank):
                c[j] -= _subtract_projection(R[j], R[k]) * c[k]
        length = np.sqrt(_dot(R[j], R[j]))
        R[j] /= length
        c[j] /= length
        for i in range(n):
            x[order[i]] += c[j] * R[j, i]
    return _dot(z, z)


@helper
def _dot(a, b):
    total = 0.0
    for i in range(len(a)):
        total += a[i] * b[i]
    return total


@helper
def _subtract_projection(vector, unit):
    """Subtract from a vector its part along a unit vector; return its length."""
    length = _dot(vector, unit)
    for i in range(len(vector)):
        vector[i] -= length * unit[i]
    return length


@helper
def _swap(rows, i, j):
    for k in range(rows.shape[1]):
        rows[i, k], rows[j, k] = rows[j, k], rows[i, k]
