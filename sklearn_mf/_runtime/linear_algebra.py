"""Linear algebra by BLAS and LAPACK, in one thread whatever their own number.

The bits of their results depend on the number of threads.
"""

import os
import threading
from contextlib import contextmanager
from functools import cache

import numpy as np
from scipy.sparse.linalg import LinearOperator, cg
from threadpoolctl import ThreadpoolController

_lock = threading.RLock()  # conjugate gradient calls products


def _renew_lock():
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):  # another thread may have held it
    os.register_at_fork(after_in_child=_renew_lock)


@cache
def _controller():
    return ThreadpoolController().select(user_api="blas")


@contextmanager
def _one_thread():
    """Let one caller at a time use one thread: their number is that of the process."""
    with _lock, _controller().limit(limits=1):
        yield


def diagonalise(A):
    """Return the eigenvalues and eigenvectors of a symmetric matrix.

    Parameters
    ----------
    A : ndarray of shape (n, n)
        The matrix; finite.

    Returns
    -------
    values : ndarray of shape (n,)
        Ascending.
    vectors : ndarray of shape (n, n)
        In the columns: A = V diag(values) Vᵀ.
    """
    with _one_thread():
        return np.linalg.eigh(A)


def decompose(A):
    """Return U, the singular values, and Vᵀ of a matrix, as many as its short side."""
    with _one_thread():
        return np.linalg.svd(A, full_matrices=False)


def orthogonalise(A):
    """Return orthonormal columns that span those of a matrix."""
    with _one_thread():
        return np.linalg.qr(A)[0]


def invert(A):
    """Return the pseudo-inverse of a matrix."""
    with _one_thread():
        return np.linalg.pinv(A)


def factorise(A):
    """Return the lower triangle L with A = L Lᵀ of a positive definite matrix."""
    with _one_thread():
        return np.linalg.cholesky(A)


def solve(A, b):
    """Return A⁻¹ b."""
    with _one_thread():
        return np.linalg.solve(A, b)


def conjugate_gradient(multiply, b, diagonal, n_steps, *, rtol=1e-5, atol=0.0):
    """Approach X with A X = B from 0 by conjugate gradient, all columns at once.

    Parameters
    ----------
    multiply : callable
        Returns A X, where A is symmetric and positive definite.
    b : float64 ndarray of shape (n, n_columns)
        B.
    diagonal : ndarray of shape (n, 1)
        That of A, by which the steps are preconditioned.
    n_steps : int
        The most steps.
    rtol, atol : float
        No step follows once ‖B − A X‖ is at most ``max(rtol * ‖B‖, atol)``.

    Returns
    -------
    ndarray of shape (n, n_columns)
    """

    def operator(function):
        shape = b.size, b.size
        return LinearOperator(
            shape, lambda x: function(x.reshape(b.shape)).ravel(), dtype=np.float64
        )

    with _one_thread():
        x, _ = cg(
            operator(multiply),
            b.ravel(),
            rtol=rtol,
            atol=atol,
            maxiter=n_steps,
            M=operator(lambda x: x / diagonal),
        )
    return x.reshape(b.shape)


def matrix_product(A, B):
    """Return the product of two matrices, or of two stacks of them."""
    with _one_thread():
        return A @ B


def sparse_product(A, B):
    """Return the product of a sparse matrix and another one; no BLAS is called."""
    return A @ B


def add_up_products(left, right, columns):
    """Return Σ_k L_k R_kᵀ C, in float64.

    Parameters
    ----------
    left, right : ndarrays of shape (n, n_rows, d) and (n, n_others, d)
        L and R.
    columns : ndarray of shape (n_others, n_columns)
        C.
    """
    total = np.zeros((left.shape[1], columns.shape[1]))
    with _one_thread():
        for L, R in zip(left, right, strict=True):
            total += L @ (R.T @ columns.astype(np.float64))
    return total
