"""How many threads to use, how to cut rows into blocks, and how to run a kernel.

Kernels release the interpreter's lock, so plain Python threads run them in parallel.
No pool outlives a call: a process may fork, and may fit in many threads, at any time.
"""

import itertools
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import joblib
import numpy as np
from joblib.parallel import get_active_backend
from sklearn.utils import gen_batches

MAX_BLOCKS = 64


def count_threads(n_jobs):
    """Turn the parameter ``n_jobs`` into a number of threads.

    Parameters
    ----------
    n_jobs : int or None
        None stands for one thread in a worker of joblib or Dask (whose siblings use
        the other cores), for ``n_jobs`` of an enclosing `joblib.parallel_config`, and
        for every core this process may use elsewhere. Negative numbers count down
        from all cores, as in joblib: -1 is all of them, -2 all but one.

    Returns
    -------
    int
        At least 1.
    """
    if n_jobs is None:
        backend, n_jobs = get_active_backend()
        if backend.nesting_level or _in_dask_worker():
            return 1
        if n_jobs is None:
            n_jobs = -1
    if n_jobs < 0:
        n_jobs += joblib.cpu_count() + 1
    return max(1, n_jobs)


def _in_dask_worker():
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return False
    try:
        distributed.get_worker()
    except ValueError:
        return False
    return True


def cut_rows(work, block_work):
    """Cut rows into consecutive blocks of about equal work.

    The cuts depend on the data alone, never on the number of threads.

    Parameters
    ----------
    work : ndarray of shape (n_rows,)
        Cost of each row, in any unit.
    block_work : float
        Cost that is worth a separate task, in the same unit.

    Returns
    -------
    list of (int, int)
        Start and stop of each block; no block is empty, together they cover all rows.
    """
    end = np.cumsum(work, dtype=np.float64)
    n_blocks = int(np.clip(end[-1] // block_work, 1, MAX_BLOCKS))
    if n_blocks == 1:
        return [(0, len(end))]
    targets = end[-1] * np.arange(1, n_blocks) / n_blocks
    middle = end - np.asarray(work) / 2
    cuts = np.unique([0, *np.searchsorted(middle, targets), len(end)]).tolist()
    return list(itertools.pairwise(cuts))


def cut_evenly(n_rows, size):
    """Cut rows into consecutive blocks of a size: start and stop of each."""
    if n_rows == 0:
        return []
    return [(block.start, block.stop) for block in gen_batches(n_rows, size)]


@contextmanager
def thread_pool(n_threads):
    """Provide a function that runs a kernel over blocks of rows.

    Parameters
    ----------
    n_threads : int
        With 1 the kernel runs in the calling thread.

    Yields
    ------
    callable
        ``run(kernel, blocks, *args)`` calls ``kernel(start, stop, *args)`` for each
        block and returns when all are done. After an exception, KeyboardInterrupt
        included, blocks that have not begun are cancelled. ``run.n_threads`` is
        `n_threads`. If there is a thread for each block, the calling thread runs the
        first block itself: it need not be woken up, and its data are in its cache.
    """
    if n_threads == 1:

        def run(kernel, blocks, *args):
            for start, stop in blocks:
                kernel(start, stop, *args)

        run.n_threads = 1
        yield run
        return

    executor = ThreadPoolExecutor(n_threads, thread_name_prefix="sklearn_mf")

    def run(kernel, blocks, *args):
        n_own = 1 if len(blocks) <= n_threads else 0
        tasks = [executor.submit(kernel, *block, *args) for block in blocks[n_own:]]
        for block in blocks[:n_own]:
            kernel(*block, *args)
        for task in tasks:
            task.result()

    run.n_threads = n_threads
    try:
        yield run
    finally:
        executor.shutdown(cancel_futures=True)
