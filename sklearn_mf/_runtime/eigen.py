"""Eigenvectors, computed in one thread whatever the threads of BLAS."""

import os
import threading
from functools import cache

import numpy as np
from threadpoolctl import ThreadpoolController

_lock = threading.Lock()


def _renew_lock():
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):  # another thread may have held it
    os.register_at_fork(after_in_child=_renew_lock)


@cache
def _controller():
    return ThreadpoolController()


def diagonalise(A):
    """Return the eigenvalues and eigenvectors of a symmetric matrix.

    LAPACK runs in one thread, since the bits of its result depend on their number, and
    one call at a time, since that number is set for the whole process.

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
    with _lock, _controller().limit(limits=1, user_api="blas"):
        return np.linalg.eigh(A)
