"""The decorators of kernels: compiled code is kept on disk, where there is a place."""

import warnings
from functools import cache as once
from functools import partial

import numba


def njit(function=None, **options):
    """Compile a function as `numba.njit` does.

    With ``cache=True`` numba refuses functions where it may write neither beside the
    source nor in the user's cache directory, as in a container with a read-only file
    system. Such functions are compiled in each process, with one warning for all.

    Parameters
    ----------
    function : callable, default=None
        What to compile. None: give a decorator.
    **options : object
        As in `numba.njit`.

    Returns
    -------
    callable
    """
    if function is None:
        return partial(njit, **options)
    try:
        return numba.njit(**options)(function)
    except RuntimeError:
        if not options.pop("cache", False):
            raise
        _warn()
        return numba.njit(**options)(function)


# Reordering of sums is allowed; NaN and infinity keep their meaning, so that divergence
# stays visible.
FAST = {"reassoc", "contract", "nsz", "arcp"}
# What Python calls, and what only other kernels call.
jit = njit(nogil=True, cache=True, error_model="numpy", fastmath=FAST)
helper = njit(nogil=True, error_model="numpy", fastmath=FAST)


@once
def _warn():
    warnings.warn(
        "numba finds no directory in which it may keep compiled code: each process "
        "compiles anew. Set the environment variable NUMBA_CACHE_DIR to a directory "
        "that may be written to.",
        stacklevel=1,
    )
