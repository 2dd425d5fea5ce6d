"""The place where threads of compiled code wait for one another."""

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numba import njit
from numpy.testing import assert_array_equal

from sklearn_mf._runtime.barrier import (
    ABANDONED,
    ARRIVALS,
    SPINS,
    abandon,
    abandon_on_error,
    make_barrier,
    wait,
)


@njit(nogil=True)
def pass_on(thread, n_threads, n_rounds, barrier, numbers):
    """Take the neighbour's number, plus one, in each round; give how many it made."""
    for done in range(n_rounds):
        number = numbers[(thread + 1) % n_threads]
        if not wait(barrier, n_threads):  # all have read
            return done
        numbers[thread] = number + 1
        if not wait(barrier, n_threads):  # all have written
            return done
    return n_rounds


def start(pool, n_threads, *args):
    return [pool.submit(pass_on, k, n_threads, *args) for k in range(n_threads)]


@pytest.mark.parametrize("n_threads", [1, 2, 3, 4, 8])
def test_all_meet_in_each_round(n_threads):
    n_rounds, barrier = 50, make_barrier()
    first = np.arange(n_threads) * 1000
    numbers = first.copy()
    with ThreadPoolExecutor(n_threads) as pool:
        done = [
            task.result() for task in start(pool, n_threads, n_rounds, barrier, numbers)
        ]
    assert done == [n_rounds] * n_threads
    # None was a round ahead of another, or behind.
    assert_array_equal(numbers, np.roll(first, -n_rounds) + n_rounds)
    expected = 0 if n_threads == 1 else 2 * n_rounds * n_threads
    assert barrier[ARRIVALS] == expected
    assert np.count_nonzero(barrier) == (n_threads > 1)


def test_nobody_leaves_before_the_last_arrives():
    barrier, numbers, n_spun = make_barrier(), np.zeros(3, np.int64), 2 * SPINS
    with ThreadPoolExecutor(3) as pool:
        tasks = [pool.submit(pass_on, k, 3, 1, barrier, numbers) for k in (0, 1)]
        while barrier[ARRIVALS] < 2:
            time.sleep(1e-4)
        time.sleep(n_spun * 1e-6)  # they give their cores away
        assert not any(task.done() for task in tasks)
        assert_array_equal(numbers, 0)
        tasks.append(pool.submit(pass_on, 2, 3, 1, barrier, numbers))
        assert [task.result(timeout=60) for task in tasks] == [1, 1, 1]
    assert_array_equal(numbers, 1)


def test_one_thread_waits_for_nobody():
    barrier = make_barrier()
    assert wait(barrier, 1)
    abandon(barrier)
    assert wait(barrier, 1)
    assert barrier[ARRIVALS] == 0


def test_those_who_wait_are_sent_away():
    barrier, numbers = make_barrier(), np.zeros(3, np.int64)
    with ThreadPoolExecutor(2) as pool:
        tasks = [pool.submit(pass_on, k, 3, 5, barrier, numbers) for k in (0, 1)]
        while barrier[ARRIVALS] < 2:
            time.sleep(1e-4)
        abandon(barrier)
        assert [task.result(timeout=60) for task in tasks] == [0, 0]
    assert barrier[ABANDONED] == 1
    assert_array_equal(numbers, 0)


def test_those_who_come_late_are_sent_away():
    barrier = make_barrier()
    abandon(barrier)
    assert pass_on(0, 2, 5, barrier, np.zeros(2, np.int64)) == 0
    assert not wait(barrier, 3)


@pytest.mark.parametrize("exception", [ValueError, KeyboardInterrupt])
def test_a_failure_sends_all_away(exception):
    barrier = make_barrier()

    @abandon_on_error(barrier)
    def arrive(fails):
        if fails:
            raise exception
        return wait(barrier, 2)

    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(arrive, False)
        failing = pool.submit(arrive, True)
        assert waiting.result(timeout=60) is False
        assert isinstance(failing.exception(), exception)
    other = make_barrier()
    with pytest.raises(exception), abandon_on_error(other):
        raise exception
    assert other[ABANDONED] == 1
    with abandon_on_error(make_barrier()) as nothing:
        assert nothing is None


def test_two_barriers_do_not_mix():
    barriers, numbers = [make_barrier(), make_barrier()], np.zeros((2, 2), np.int64)
    with ThreadPoolExecutor(4) as pool:
        for task in [
            task
            for barrier, row in zip(barriers, numbers, strict=True)
            for task in start(pool, 2, 100, barrier, row)
        ]:
            assert task.result(timeout=60) == 100
    assert_array_equal(numbers, 100)


def test_the_lock_of_the_interpreter_is_free_while_they_wait():
    barrier, numbers = make_barrier(), np.zeros(2, np.int64)
    thread = threading.Thread(target=pass_on, args=(0, 2, 1, barrier, numbers))
    thread.start()
    assert pass_on(1, 2, 1, barrier, numbers) == 1  # else nobody gets here
    thread.join(timeout=60)
    assert not thread.is_alive()


def test_interpreted():
    """Where nothing is compiled, the barrier is the same."""
    code = f"""
import os
os.environ["NUMBA_DISABLE_JIT"] = "1"
import pytest
others = "-k", "not interpreted"
raise SystemExit(pytest.main(["-q", "-p", "no:cacheprovider", *others, {__file__!r}]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout
