"""What all tests share."""

import signal

import numba
import numpy as np
import pytest
from sklearn import get_config
from sklearn.model_selection import train_test_split

from sklearn_mf.datasets import make_ratings


def pytest_configure():
    # A shell starts what runs in its background with interrupts ignored, and processes
    # that tests start would be so too.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    # One process runs all tests of a file, which share fixtures and compiled kernels;
    # those of the contract are many and short.
    for item in items:
        if item.path.parent.name != "contract":
            item.add_marker(pytest.mark.xdist_group(item.path.name))
    if numba.config.DISABLE_JIT:
        reason = "takes long where nothing is compiled"
        for item in items:
            if item.get_closest_marker("compiled"):
                item.add_marker(pytest.mark.skip(reason=reason))


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
