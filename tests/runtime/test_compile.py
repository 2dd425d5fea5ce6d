"""Compiled code: what is kept on disk is what the sources say."""

import os
import subprocess
import sys

import numba
import pytest

KERNEL = """
from middle import middle
from sklearn_mf._runtime.compile import jit

@jit
def kernel(x):
    return middle(x)

print(kernel(2.0), kernel.stats.cache_hits if hasattr(kernel, "stats") else None)
"""
MIDDLE = """
from bottom import bottom
from sklearn_mf._runtime.compile import helper

@helper
def middle(x):
    return 10 * bottom(x)
"""
BOTTOM = """
from sklearn_mf._runtime.compile import helper

@helper
def bottom(x):
    return x + {}
"""


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
def test_a_change_of_an_imported_function_reaches_the_kernel_in_the_cache(tmp_path):
    for name, text in (("kernel", KERNEL), ("middle", MIDDLE)):
        (tmp_path / f"{name}.py").write_text(text)

    def run(number):
        (tmp_path / "bottom.py").write_text(BOTTOM.format(number))
        done = subprocess.run(
            [sys.executable, "kernel.py"],
            cwd=tmp_path,
            env=os.environ
            | {
                "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
                "PYTHONDONTWRITEBYTECODE": "1",
                "PYTHONPATH": os.pathsep.join(sys.path),
            },
            capture_output=True,
            text=True,
            check=True,
        )
        value, hits = done.stdout.split(maxsplit=1)
        return float(value), "1" in hits

    assert run(1) == (30.0, False)
    assert run(1) == (30.0, True)  # from the cache
    assert run(5) == (70.0, False)
