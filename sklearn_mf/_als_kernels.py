"""Kernels of alternating least squares: exact solves, one row at a time."""

import numpy as np
from numba import njit

# Reordering of sums is allowed; NaN and infinity keep their meaning, so that overflow
# stays visible.
FAST = {"reassoc", "contract", "nsz", "arcp"}


@njit(nogil=True, cache=True, error_model="numpy", fastmath=FAST)
def solve_rows(
    start,
    stop,
    indptr,
    indices,
    ratings,
    weights,
    mean,
    penalty,
    fixed,
    solved,
    loss,
    singular,
):
    """Minimise the objective over the factors of rows start to stop, exactly.

    With q the factors of the other side, held fixed, row u has the minimum

        x = A⁻¹ b,  A = Σ_k w_k q_k q_kᵀ + λ_u I,  b = Σ_k w_k (r_k − μ) q_k,

    and the value Σ_k w_k (r_k − μ)² − b·x there, its own penalty included. A row
    without ratings has x = 0.

    Parameters
    ----------
    start, stop : int
        The rows to solve.
    indptr : int64 ndarray of shape (n_rows + 1,)
        The ratings of row u stand at ``indptr[u]`` to ``indptr[u + 1]``.
    indices : int32 ndarray of shape (n_ratings,)
        Rows of `fixed`.
    ratings : ndarray of shape (n_ratings,)
        The ratings r.
    weights : ndarray of shape (n_ratings,) or None
        Their weights w; None stands for ones.
    mean : float
        The global mean μ, of the dtype of `ratings`.
    penalty : ndarray of shape (n_rows,)
        The penalty λ_u of each row.
    fixed : ndarray of shape (n_other_rows, n_factors)
        Factors of the other side.
    solved : ndarray of shape (n_rows, n_factors)
        Rows start to stop are overwritten with x.
    loss : float64 ndarray of shape (n_rows,)
        Rows start to stop are overwritten with the value at the minimum.
    singular : bool ndarray of shape (n_rows,)
        Rows start to stop are overwritten: True where A is singular to working
        precision; x and the value of that row are then undefined.
    """
    n_factors = fixed.shape[1]
    dtype = fixed.dtype
    A = np.empty((n_factors, n_factors), dtype)
    b = np.empty(n_factors, dtype)
    diagonal = np.empty(n_factors, dtype)
    tolerance = n_factors * np.finfo(dtype).eps
    one = dtype.type(1)

    for row in range(start, stop):
        x = solved[row]
        x[:] = 0
        loss[row] = 0.0
        singular[row] = False
        begin, end = indptr[row], indptr[row + 1]
        if begin == end:
            continue

        # Four ratings at a time: A is read and written once for the four. Full rows of
        # A vectorise better than its triangle, whose rows differ in length.
        A[:] = 0
        b[:] = 0
        square = 0.0
        k = begin
        while k + 4 <= end:
            r0, r1 = ratings[k] - mean, ratings[k + 1] - mean
            r2, r3 = ratings[k + 2] - mean, ratings[k + 3] - mean
            q0, q1 = fixed[indices[k]], fixed[indices[k + 1]]
            q2, q3 = fixed[indices[k + 2]], fixed[indices[k + 3]]
            if weights is None:
                w0 = w1 = w2 = w3 = one
            else:
                w0, w1 = weights[k], weights[k + 1]
                w2, w3 = weights[k + 2], weights[k + 3]
            square += w0 * r0 * r0 + w1 * r1 * r1 + w2 * r2 * r2 + w3 * r3 * r3
            for i in range(n_factors):
                s0, s1, s2, s3 = w0 * q0[i], w1 * q1[i], w2 * q2[i], w3 * q3[i]
                b[i] += r0 * s0 + r1 * s1 + r2 * s2 + r3 * s3
                for j in range(n_factors):
                    A[i, j] += s0 * q0[j] + s1 * q1[j] + s2 * q2[j] + s3 * q3[j]
            k += 4
        while k < end:
            r = ratings[k] - mean
            w = one if weights is None else weights[k]
            q = fixed[indices[k]]
            square += w * r * r
            for i in range(n_factors):
                s = w * q[i]
                b[i] += r * s
                for j in range(n_factors):
                    A[i, j] += s * q[j]
            k += 1
        for i in range(n_factors):
            A[i, i] += penalty[row]
            diagonal[i] = A[i, i]

        # A = L D Lᵀ: after step j, row j of A holds D_j Lᵀ_j and b holds L⁻¹ b.
        value = square
        for j in range(n_factors):
            pivot = A[j, j]
            if pivot <= tolerance * diagonal[j]:
                singular[row] = True
                break
            value -= b[j] * b[j] / pivot  # b·x = Σ_j (L⁻¹ b)_j² / D_j
            for i in range(j + 1, n_factors):
                ratio = A[j, i] / pivot
                b[i] -= ratio * b[j]
                for h in range(n_factors):
                    A[i, h] -= ratio * A[j, h]
        if singular[row]:
            continue
        for j in range(n_factors - 1, -1, -1):
            rest = b[j]
            for i in range(j + 1, n_factors):
                rest -= A[j, i] * x[i]
            x[j] = rest / A[j, j]
        loss[row] = value
