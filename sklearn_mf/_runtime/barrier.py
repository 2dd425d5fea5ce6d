"""A place in compiled code where threads wait for one another.

Kernels whose steps are too short to be handed out one by one run on a fixed number of
threads from begin to end, and meet here between their steps. A meeting takes less than
a microsecond where each thread has a core; where threads share one, those that wait
give it away.

numba's cache does not notice a change of this file: touch the kernels that use it.
"""

import sys
import threading
import time
from contextlib import contextmanager

import numpy as np
from llvmlite import ir
from numba import config, njit, types
from numba.extending import intrinsic

SPINS = 2**10  # looks around before a thread gives its core away
ARRIVALS, ABANDONED = 0, 16  # the barrier's numbers, on cache lines of their own


def make_barrier():
    """Give a barrier: how often a thread arrived, and whether to wait no longer."""
    return np.zeros(32, dtype=np.int64)


def abandon(barrier):
    """Send away the threads that wait and those that are still to come."""
    barrier[ABANDONED] = 1


@contextmanager
def abandon_on_error(barrier):
    """Abandon the barrier if the block, or the function so decorated, fails."""
    try:
        yield
    except BaseException:
        abandon(barrier)
        raise


@intrinsic
def _arrive(typing_context, barrier):
    """Count an arrival; give how many there were before."""

    def generate(context, builder, signature, args):
        counts = context.make_array(barrier)(context, builder, args[0]).data
        return builder.atomic_rmw("add", counts, ir.IntType(64)(1), "seq_cst")

    return types.int64(barrier), generate


@intrinsic
def _look(typing_context, barrier, index):
    """Read a number that another thread may be changing."""

    def generate(context, builder, signature, args):
        counts = context.make_array(barrier)(context, builder, args[0]).data
        place = builder.gep(counts, [args[1]])
        return builder.load_atomic(place, "acquire", 8)

    return types.int64(barrier, types.intp), generate


if sys.platform == "win32":
    # Without a function for it that LLVM is sure to find, a thread waits its turn.
    _give_way = njit(lambda: 0)
else:
    _give_way = types.ExternalFunction("sched_yield", types.int32())

if config.DISABLE_JIT:
    _lock = threading.Lock()

    def _arrive(barrier):
        with _lock:
            barrier[ARRIVALS] += 1
            return barrier[ARRIVALS] - 1

    def _look(barrier, index):
        return barrier[index]

    def _give_way():
        time.sleep(0)


@njit(nogil=True)
def wait(barrier, n_threads):
    """Wait until all threads are here; say whether they came.

    Parameters
    ----------
    barrier : int64 ndarray
        From `make_barrier`, the same for all.
    n_threads : int
        How many they are.

    Returns
    -------
    bool
        False if the barrier was abandoned: the kernel is to return at once.
    """
    if n_threads == 1:
        return True
    all_here = (_arrive(barrier) // n_threads + 1) * n_threads
    spins = 0
    while _look(barrier, ARRIVALS) < all_here:
        if _look(barrier, ABANDONED):
            return False
        spins += 1
        if spins > SPINS:
            _give_way()
    return True
