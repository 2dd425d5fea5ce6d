"""Arrays in memory, laid out for kernels and threads."""

import math

import numpy as np

CACHE_LINE = 64  # bytes


def make_aligned(shape, dtype):
    """Make an array of zeros that begins on a cache line.

    Where each row, or each group of rows, fills whole lines, no two threads that write
    to rows of their own ever write to the same line.
    """
    n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    raw = np.zeros(n_bytes + CACHE_LINE, dtype=np.uint8)
    begin = -raw.ctypes.data % CACHE_LINE
    return raw[begin : begin + n_bytes].view(dtype).reshape(shape)


def square_norms(rows):
    """Return the sum of squares of each row, float64; no BLAS is called."""
    return np.einsum("uf,uf->u", rows, rows, dtype=np.float64)
