"""What all tests share."""

import signal

import numba
import pytest


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
