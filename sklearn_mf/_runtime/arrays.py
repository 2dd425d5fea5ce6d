"""Arrays in memory, laid out for kernels and threads."""

import math

import numpy as np

from sklearn_mf._runtime.threads import cut_evenly

CACHE_LINE = 64  # bytes
TAKEN = 2**16  # entries that are taken at a time


def make_aligned(shape, dtype):
    """Make an array of zeros that begins on a cache line.

    Where each row, or each group of rows, fills whole lines, no two threads that write
    to rows of their own ever write to the same line.
    """
    n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    raw = np.zeros(n_bytes + CACHE_LINE, dtype=np.uint8)
    begin = -raw.ctypes.data % CACHE_LINE
    return raw[begin : begin + n_bytes].view(dtype).reshape(shape)


def take_entries(run, places, *tables, out=None):
    """Take entries of a table: ``table[places]``; of the next one at these, and so on.

    Parameters
    ----------
    run : callable
        From `thread_pool`.
    places : int ndarray of shape (n,)
        Where the entries of the first table are.
    *tables : ndarrays
        All but the last hold where the entries of the next are.
    out : ndarray of shape (n,) or None
        Where they are put. It may be the memory of `places`.

    Returns
    -------
    ndarray of shape (n,)
    """
    if out is None:
        out = np.empty(len(places), tables[-1].dtype)
    run(_take_block, cut_evenly(len(places), TAKEN), places, tables, out)
    return out


def _take_block(start, stop, places, tables, out):
    taken = places[start:stop]
    for table in tables:
        taken = table[taken]
    out[start:stop] = taken


def square_norms(rows):
    """Return the sum of squares of each row, float64; no BLAS is called."""
    return np.einsum("uf,uf->u", rows, rows, dtype=np.float64)
