"""What all tests share."""

import numba
import pytest


def pytest_collection_modifyitems(items):
    if numba.config.DISABLE_JIT:
        reason = "takes long where nothing is compiled"
        for item in items:
            if item.get_closest_marker("compiled"):
                item.add_marker(pytest.mark.skip(reason=reason))
