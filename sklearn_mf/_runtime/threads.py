"""How many threads to use, how to cut rows into blocks, and how to run a kernel.

Kernels release the interpreter's lock, so plain Python threads run them in parallel.
No pool outlives a call: a process may fork, and may fit in many threads, at any time.
"""

import itertools
import sys
import threading
from collections import deque
from contextlib import contextmanager
from queue import SimpleQueue

import joblib
import numpy as np
from joblib.parallel import get_active_backend

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
    return [(start, min(start + size, n_rows)) for start in range(0, n_rows, size)]


@contextmanager
def thread_pool(n_threads):
    """Provide a function that runs a kernel over blocks of rows.

    Parameters
    ----------
    n_threads : int
        With 1 the kernel runs in the calling thread alone.

    Yields
    ------
    callable
        ``run(kernel, blocks, *args)`` calls ``kernel(start, stop, *args)`` for each
        block and returns when all are done. After an exception, KeyboardInterrupt
        included, blocks that have not begun are cancelled. ``run.n_threads`` is the
        number of threads, the calling one included: fewer than `n_threads` where the
        system starts no more.
    """
    jobs: SimpleQueue = SimpleQueue()
    helpers: list[threading.Thread] = []

    def run(kernel, blocks, *args):
        job = _Job(kernel, blocks, args)
        n_helpers = min(len(helpers), len(blocks) - 1)
        for _ in range(n_helpers):
            jobs.put(job)
        try:
            job.work()
            for _ in range(n_helpers):
                job.done.acquire()
        except BaseException:
            job.blocks.clear()
            raise
        if job.errors:
            raise job.errors[0]

    try:
        for number in range(1, n_threads):
            name = f"sklearn_mf_{number}"
            helpers.append(
                threading.Thread(target=_help, args=(jobs,), name=name, daemon=True)
            )
            try:
                helpers[-1].start()
            except RuntimeError:  # the system starts no more
                helpers.pop()
                break
        run.n_threads = len(helpers) + 1
        yield run
    finally:
        for _ in helpers:
            jobs.put(None)
        for helper in helpers:
            if helper.ident is not None:
                helper.join()


def _help(jobs):
    """Work on jobs until there is None."""
    while (job := jobs.get()) is not None:
        try:
            job.work()
        except BaseException as error:  # raised again by the calling thread
            job.blocks.clear()
            job.errors.append(error)
        finally:
            job.done.release()


class _Job:
    """A kernel and the blocks that it has still to run over, in several threads."""

    def __init__(self, kernel, blocks, args):
        self.kernel, self.args = kernel, args
        self.blocks = deque(blocks)
        self.errors = []
        self.done = threading.Semaphore(0)

    def work(self):
        """Run the kernel over the blocks that no other thread takes."""
        while self.blocks:
            try:
                block = self.blocks.popleft()
            except IndexError:  # another thread took the last one
                return
            self.kernel(*block, *self.args)
