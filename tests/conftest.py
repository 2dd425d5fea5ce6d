"""What all tests share."""

import itertools
import os
import signal
import tempfile
from pathlib import Path

import numba
import numpy as np
import pytest
from sklearn import get_config
from sklearn.model_selection import train_test_split

from sklearn_mf import all_estimators, precompile
from sklearn_mf.datasets import make_ratings


def pytest_configure():
    # A shell starts what runs in its background with interrupts ignored, and processes
    # that tests start would be so too.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    if numba.config.DISABLE_JIT:
        reason = "takes long where nothing is compiled"
        for item in items:
            if item.get_closest_marker("compiled"):
                item.add_marker(pytest.mark.skip(reason=reason))


def pytest_collection_finish(session):
    """Share out what is to be compiled before a whole run in several processes.

    Otherwise each process would compile most of it, since all meet the same models at
    about the same time.
    """
    run = getattr(session.config, "workerinput", {"workercount": 1})
    if numba.config.DISABLE_JIT or run["workercount"] == 1 or len(session.items) < 5000:
        return
    claims = Path(tempfile.gettempdir()) / f"sklearn_mf-tests-{run['testrunuid']}"
    claims.mkdir(exist_ok=True)
    names = [name for name, _ in all_estimators() if name in precompile.MODELS]
    for task in itertools.product(names, ("float64", "float32")):
        try:
            os.close(os.open(claims / "-".join(task), os.O_CREAT | os.O_EXCL))
        except FileExistsError:  # another process does it
            continue
        precompile.compile_estimator(*task)


@pytest.fixture(autouse=True)
def no_configuration_is_left():
    """Fail if a test leaves scikit-learn configured for all that run after it."""
    before = get_config()
    yield
    assert get_config() == before


@pytest.fixture(scope="session")
def data():
    """Return 150 ratings of 15 items by 25 users."""
    return make_ratings(25, 15, 150, random_state=0)


@pytest.fixture(scope="session")
def weights():
    """Return weights of these ratings."""
    return np.random.default_rng(2).uniform(0.5, 2, size=150)


@pytest.fixture(scope="session")
def large():
    """Return 5,000 ratings of 100 items by 200 users, a quarter of them to test on."""
    X, y = make_ratings(200, 100, 5000, noise=0.4, random_state=1)
    return train_test_split(X, y, random_state=0)


@pytest.fixture
def path(tmp_path):
    """Return where a test may save a model."""
    return tmp_path / "model.npz"
