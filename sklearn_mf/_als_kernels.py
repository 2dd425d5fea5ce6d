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
    biased,
    penalty,
    bias_penalty,
    fixed,
    solved,
    loss,
    singular,
):
    """Minimise the objective over the parameters of rows start to stop, exactly.

    With q the factors of the other side, held fixed, row u has the minimum

        x = A⁻¹ b,  A = Σ_k w_k q_k q_kᵀ + λ_u I,  b = Σ_k w_k (r_k − μ) q_k,

    and the value Σ_k w_k (r_k − μ)² − b·x there, its own penalty included. A row
    without ratings has x = 0. With biases the last entry of a row is its bias: the
    fixed bias is taken from r_k, 1 stands in its place in q_k, and the last entry of x
    has a penalty of its own.

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
    biased : bool
        Whether the last column of `fixed` and of `solved` holds biases.
    penalty, bias_penalty : ndarrays of shape (n_rows,)
        The penalties λ_u of each row, of its factors and of its bias.
    fixed : ndarray of shape (n_other_rows, n_columns)
        Parameters of the other side.
    solved : ndarray of shape (n_rows, n_columns)
        Rows start to stop are overwritten with x.
    loss : float64 ndarray of shape (n_rows,)
        Rows start to stop are overwritten with the value at the minimum.
    singular : bool ndarray of shape (n_rows,)
        Rows start to stop are overwritten: True where A is singular to working
        precision; x and the value of that row are then undefined.
    """
    n_columns = fixed.shape[1]
    dtype = fixed.dtype
    A = np.empty((n_columns, n_columns), dtype)
    b = np.empty(n_columns, dtype)
    diagonal = np.empty(n_columns, dtype)
    q = np.empty((4, n_columns), dtype)
    q0, q1, q2, q3 = q[0], q[1], q[2], q[3]
    w = np.ones(4, dtype)
    r = np.empty(4, dtype)
    tolerance = np.finfo(dtype).eps ** 0.75  # what rounding leaves of a pivot of 0

    for row in range(start, stop):
        x = solved[row]
        x[:] = 0
        loss[row] = 0.0
        singular[row] = False
        if indptr[row] == indptr[row + 1]:
            continue

        # Four ratings at a time: A is read and written once for the four. Full rows of
        # A vectorise better than its triangle, whose rows differ in length.
        A[:] = 0
        b[:] = 0
        value = 0.0
        for k in range(indptr[row], indptr[row + 1], 4):
            n = min(4, indptr[row + 1] - k)
            for m in range(n):
                q[m] = fixed[indices[k + m]]
                r[m] = ratings[k + m] - mean
                if biased:
                    r[m] -= q[m, n_columns - 1]
                    q[m, n_columns - 1] = 1
                if weights is not None:
                    w[m] = weights[k + m]
                value += w[m] * r[m] * r[m]
            for m in range(n, 4):
                q[m] = 0
                r[m] = 0
            r0, r1, r2, r3 = r[0], r[1], r[2], r[3]
            w0, w1, w2, w3 = w[0], w[1], w[2], w[3]
            for i in range(n_columns):
                s0, s1, s2, s3 = w0 * q0[i], w1 * q1[i], w2 * q2[i], w3 * q3[i]
                b[i] += r0 * s0 + r1 * s1 + r2 * s2 + r3 * s3
                for j in range(n_columns):
                    A[i, j] += s0 * q0[j] + s1 * q1[j] + s2 * q2[j] + s3 * q3[j]
        free = 0  # parameters that only the ratings determine
        for i in range(n_columns):
            own = bias_penalty[row] if biased and i == n_columns - 1 else penalty[row]
            free += own == 0
            A[i, i] += own
            diagonal[i] = A[i, i]
        if indptr[row + 1] - indptr[row] < free:
            singular[row] = True
            continue

        # A = L D Lᵀ: after step j, row j of A holds D_j Lᵀ_j and b holds L⁻¹ b.
        for j in range(n_columns):
            pivot = A[j, j]
            if pivot <= tolerance * diagonal[j]:
                singular[row] = True
                break
            value -= b[j] * b[j] / pivot  # b·x = Σ_j (L⁻¹ b)_j² / D_j
            for i in range(j + 1, n_columns):
                ratio = A[j, i] / pivot
                b[i] -= ratio * b[j]
                for h in range(n_columns):
                    A[i, h] -= ratio * A[j, h]
        if singular[row]:
            continue
        for j in range(n_columns - 1, -1, -1):
            rest = b[j]
            for i in range(j + 1, n_columns):
                rest -= A[j, i] * x[i]
            x[j] = rest / A[j, j]
        loss[row] = value
