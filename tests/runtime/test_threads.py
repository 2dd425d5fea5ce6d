"""How many threads there are, cutting rows, and running kernels on them."""

import itertools
import subprocess
import sys
import threading
import time

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from joblib import Parallel, delayed, parallel_config
from numpy.testing import assert_array_equal
from sklearn.model_selection import GridSearchCV, KFold

from sklearn_mf import ALSFactorizer, load
from sklearn_mf._estimators import base as _base
from sklearn_mf._model import scoring
from sklearn_mf._runtime.threads import MAX_BLOCKS, count_threads, cut_rows, thread_pool
from sklearn_mf._solvers.als import solver as als_solver
from sklearn_mf.datasets import make_ratings
from tests.assertions import sklearn_mf_threads

BACKENDS = ["loky", "threading", "multiprocessing"]
X, Y = make_ratings(60, 40, 900, random_state=0)


def make_als(**params):
    """Return an estimator that is quick to fit, the same at each fit."""
    return ALSFactorizer(
        **{"n_factors": 3, "max_iter": 3, "tol": None, "random_state": 0, **params}
    )


# ------------------------------------------------------------------------ count_threads


@pytest.fixture
def eight_cores(monkeypatch):
    monkeypatch.setattr(joblib, "cpu_count", lambda: 8)


@pytest.mark.parametrize(
    ("n_jobs", "expected"),
    [
        (1, 1),
        (2, 2),
        (30, 30),
        (-1, 8),
        (-2, 7),
        (-8, 1),
        (-9, 1),
        (-100, 1),
        (None, 8),
    ],
)
def test_count_threads(eight_cores, n_jobs, expected):
    assert count_threads(n_jobs) == expected


def test_count_threads_counts_the_cores_of_the_process():
    assert count_threads(-1) == joblib.cpu_count()
    assert count_threads(None) == joblib.cpu_count()


@pytest.mark.parametrize("backend", [{}, *({"backend": name} for name in BACKENDS)])
def test_count_threads_in_a_parallel_config(eight_cores, backend):
    for n_jobs, expected in ((1, 1), (3, 3), (-1, 8), (-2, 7)):
        with parallel_config(**backend, n_jobs=n_jobs):
            assert count_threads(None) == expected
            assert count_threads(2) == 2  # the estimator's own n_jobs comes first
            assert count_threads(-1) == 8
            with parallel_config(n_jobs=5):
                assert count_threads(None) == 5
    with parallel_config(**backend, verbose=0):
        assert count_threads(None) == 8
    assert count_threads(None) == 8


@pytest.mark.parametrize("backend", BACKENDS)
def test_count_threads_in_a_worker_of_joblib(backend):
    wanted = [None, None, 3, 1]
    workers = Parallel(n_jobs=2, backend=backend)
    assert workers(delayed(count_threads)(n) for n in wanted) == [1, 1, 3, 1]

    # One job is no worker: there are no siblings to leave the cores to.
    alone = Parallel(n_jobs=1, backend=backend)
    assert alone([delayed(count_threads)(None)]) == [joblib.cpu_count()]


@pytest.mark.parametrize(("n_jobs", "expected"), [(1, 8), (2, 1)])
def test_threads_of_fits_in_a_search(eight_cores, monkeypatch, n_jobs, expected):
    counts = []

    def spy(n_threads):
        counts.append(n_threads)
        return thread_pool(n_threads)

    for module in (_base, scoring):
        monkeypatch.setattr(module, "thread_pool", spy)
    cv = KFold(3, shuffle=True, random_state=0)
    search = GridSearchCV(make_als(), {"n_factors": [1, 2]}, cv=cv, n_jobs=n_jobs)
    with parallel_config(backend="threading"):
        search.fit(X, Y)
    assert counts == [expected] * 12 + [8]  # fits and scores, then refit


def test_threads_in_a_worker_of_dask():
    distributed = pytest.importorskip("distributed")
    cv = KFold(2, shuffle=True, random_state=0)
    search = GridSearchCV(make_als(), {"n_factors": [1, 2]}, cv=cv)
    expected = search.fit(X, Y).cv_results_["mean_test_score"]
    with distributed.Client(
        processes=False, n_workers=1, threads_per_worker=2, dashboard_address=None
    ) as client:
        wanted = [None, 3]
        assert client.gather(client.map(count_threads, wanted)) == [1, 3]
        assert count_threads(None) == joblib.cpu_count()  # this is no worker
        with parallel_config(backend="dask"):
            scores = search.set_params(n_jobs=2).fit(X, Y).cv_results_
    assert_array_equal(scores["mean_test_score"], expected)


@pytest.mark.parametrize("n_jobs", [None, 1, 2, -1, -2])
def test_fit_never_changes_n_jobs(n_jobs):
    als = make_als(n_jobs=n_jobs)
    with parallel_config(n_jobs=3):
        als.fit(X, Y).predict(X)
    als.fit(X, Y).score(X, Y)
    assert als.n_jobs == n_jobs
    assert als.get_params() == make_als(n_jobs=n_jobs).get_params()
    assert_array_equal(als.predict(X), make_als(n_jobs=1).fit(X, Y).predict(X))


# ----------------------------------------------------------------------------- cut_rows

works = arrays(
    np.float64,
    st.integers(1, 300),
    elements=st.one_of(st.floats(0, 1e9), st.integers(0, 100).map(float)),
)
reproducible = settings(derandomize=True, deadline=None)


@given(works, st.floats(1, 1e9))
@reproducible
def test_cut_rows(work, block_work):
    blocks = cut_rows(work, block_work)
    assert 1 <= len(blocks) <= MAX_BLOCKS
    assert blocks[0][0] == 0
    assert blocks[-1][1] == len(work)
    assert all(start < stop for start, stop in blocks)
    assert all(stop == start for (_, stop), (start, _) in itertools.pairwise(blocks))
    assert all(type(bound) is int for block in blocks for bound in block)

    # About equal: no block exceeds its share by more than one row.
    total = work.sum()
    share = total / min(MAX_BLOCKS, max(1, total // block_work))
    for start, stop in blocks:
        assert work[start:stop].sum() <= (share + work.max()) * (1 + 1e-9)


@given(works, st.floats(1, 1e9))
@reproducible
def test_cut_rows_does_not_depend_on_threads(work, block_work):
    blocks = cut_rows(work, block_work)
    for n_jobs in (1, 2, 7):
        with parallel_config(backend="threading", n_jobs=n_jobs):
            assert cut_rows(work, block_work) == blocks


@given(works, st.floats(0.51, 100))
@reproducible
def test_little_work_is_one_block(work, share):
    block_work = share * max(1.0, work.sum())
    assert cut_rows(work, block_work) == [(0, len(work))]


def test_cut_rows_at_the_limits():
    assert cut_rows(np.ones(6), 3.1) == [(0, 6)]
    assert cut_rows(np.zeros(3), 1) == [(0, 3)]
    assert cut_rows(np.ones(1), 1e-3) == [(0, 1)]
    assert len(cut_rows(np.ones(10_000), 1)) == MAX_BLOCKS


def test_equal_rows_are_cut_into_equal_blocks():
    assert cut_rows(np.ones(2), 1) == [(0, 1), (1, 2)]
    assert cut_rows(np.ones(6), 2) == [(0, 2), (2, 4), (4, 6)]
    assert cut_rows(np.array([9, 1, 1, 1]), 4) == [(0, 1), (1, 4)]


# -------------------------------------------------------------------------- thread_pool

BLOCKS = [(k, k + 1) for k in range(10)]


@pytest.mark.parametrize("n_threads", [1, 2, 4])
def test_thread_pool_runs_each_block_once(n_threads):
    filled, names = np.zeros(10), []

    def kernel(start, stop, out, step):
        names.append(threading.current_thread().name)
        out[start:stop] += step

    with thread_pool(n_threads) as run:
        run(kernel, BLOCKS, filled, 2.0)
        assert_array_equal(filled, np.full(10, 2.0))  # all done when run returns
        run(kernel, [(0, 10)], filled, 1.0)
    assert_array_equal(filled, np.full(10, 3.0))
    helpers = [name.startswith("sklearn_mf") for name in names]
    # Neither one thread nor one block needs another thread.
    assert not any(helpers if n_threads == 1 else helpers[10:])
    assert sklearn_mf_threads() == []


@pytest.mark.parametrize("exception", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("blocks", [BLOCKS, BLOCKS[:1]])
@pytest.mark.parametrize("n_threads", [1, 2, 4])
def test_exception_in_a_kernel_propagates(n_threads, blocks, exception):
    raised = exception("of the last block")

    def kernel(start, stop):
        if stop == len(blocks):
            raise raised

    with pytest.raises(exception) as caught, thread_pool(n_threads) as run:
        run(kernel, blocks)
    assert caught.value is raised
    assert sklearn_mf_threads() == []


def test_every_thread_of_the_pool_works():
    """Each of three threads waits in its block until all three have begun one."""
    all_begun, names = threading.Barrier(3), []

    def kernel(start, stop):
        names.append(threading.current_thread().name)
        all_begun.wait(timeout=10)

    with thread_pool(3) as run:
        assert run.n_threads == 3
        run(kernel, BLOCKS[:9])
    assert len(set(names)) == 3
    assert threading.current_thread().name in names


@pytest.mark.parametrize("exception", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("where", ["caller", "helper"])
def test_exception_cancels_the_blocks_that_have_not_begun(where, exception):
    # The other thread waits in its block until the first has raised.
    begun, raised = [], threading.Event()

    def kernel(start, stop):
        begun.append(start)
        is_helper = threading.current_thread().name.startswith("sklearn_mf")
        if is_helper == (where == "helper"):
            raised.set()
            raise exception
        assert raised.wait(timeout=10)
        time.sleep(0.2)  # until the exception has been handled

    with pytest.raises(exception), thread_pool(2) as run:
        run(kernel, BLOCKS)
    assert len(begun) <= 2
    assert sklearn_mf_threads() == []


def test_an_interrupt_while_helpers_work_cancels_the_rest(monkeypatch):
    """The calling thread has no block left and waits."""
    begun, acquire = [], threading.Semaphore.acquire
    in_helper, interrupted = threading.Event(), threading.Event()

    def interrupt(self, *args, **kwargs):
        if threading.current_thread() is not threading.main_thread():
            return acquire(self, *args, **kwargs)
        interrupted.set()
        raise KeyboardInterrupt

    def kernel(start, stop):
        begun.append(start)
        if threading.current_thread() is threading.main_thread():
            assert in_helper.wait(timeout=10)
        else:
            in_helper.set()
            assert interrupted.wait(timeout=10)

    monkeypatch.setattr(threading.Semaphore, "acquire", interrupt)
    with pytest.raises(KeyboardInterrupt), thread_pool(2) as run:
        run(kernel, BLOCKS[:2])
    assert sorted(begun) == [0, 1]
    assert sklearn_mf_threads() == []


@pytest.mark.parametrize("n_started", [0, 1])
def test_fewer_threads_where_the_system_starts_no_more(n_started, monkeypatch):
    start, started = threading.Thread.start, []

    def start_few(self):
        if len(started) == n_started:
            raise RuntimeError("can't start new thread")
        started.append(self)
        start(self)

    expected = make_als(n_jobs=1).fit(X, Y).predict(X)
    monkeypatch.setattr(threading.Thread, "start", start_few)
    filled = np.zeros(10)
    with thread_pool(4) as run:
        assert run.n_threads == 1 + n_started

        def kernel(start, stop):
            filled[start:stop] += 1

        run(kernel, BLOCKS)
    assert_array_equal(filled, np.ones(10))
    started.clear()
    assert_array_equal(make_als(n_jobs=4).fit(X, Y).predict(X), expected)


def test_a_fit_outlives_the_main_thread(tmp_path):
    """The interpreter waits for the thread, and starts no executors meanwhile."""
    path = tmp_path / "model"
    code = f"""
import threading, time
from sklearn_mf import ALSFactorizer, load
from sklearn_mf.datasets import make_ratings
X, y = make_ratings(60, 40, 900, random_state=0)
def fit():
    threading.main_thread().join()
    ALSFactorizer(3, random_state=0, n_jobs=2).fit(X, y).save({str(path)!r})
threading.Thread(target=fit).start()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120
    )
    assert done.stderr == ""
    assert_array_equal(
        load(path).predict(X),
        ALSFactorizer(3, random_state=0).fit(X, Y).predict(X),
    )


def test_fit_and_predict_leave_no_thread(monkeypatch):
    monkeypatch.setattr(als_solver, "BLOCK_WORK", 1000.0)
    monkeypatch.setattr(scoring, "BLOCK_PAIRS", 100)
    pooled = []
    solve_rows, score_pairs = als_solver.solve_rows, scoring.score_pairs

    def watch(kernel):
        def watched(*args):
            pooled.append(threading.current_thread().name)
            time.sleep(0.001)  # so that no thread takes all blocks
            kernel(*args)

        return watched

    monkeypatch.setattr(als_solver, "solve_rows", watch(solve_rows))
    monkeypatch.setattr(scoring, "score_pairs", watch(score_pairs))
    als = make_als(n_jobs=3).fit(X, Y)
    assert len(pooled) > 2 * 3
    assert sklearn_mf_threads() == []
    als.predict(X)
    assert sklearn_mf_threads() == []
    als.score(X, Y)
    assert sklearn_mf_threads() == []
    assert any(name.startswith("sklearn_mf") for name in pooled)

    def fail(*args):
        raise FloatingPointError

    monkeypatch.setattr(als_solver, "solve_rows", fail)
    with pytest.raises(FloatingPointError):
        als.fit(X, Y)
    assert sklearn_mf_threads() == []
