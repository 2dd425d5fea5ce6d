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


TUPLE = """
from typing import NamedTuple

class {0}(NamedTuple):
    x: float
"""
CALL = """
import {1}
from sklearn_mf._runtime.compile import jit

@jit
def kernel(given):
    return 2 * given.x

print(kernel({1}.{0}(4.0)))
"""


def run_script(folder, name, n_warnings=0):
    """Run a script in a process of its own; return what it prints.

    `n_warnings` is how often it is to warn of what the cache could not read.
    """
    done = subprocess.run(
        [sys.executable, name],
        cwd=folder,
        env=os.environ
        | {
            "NUMBA_CACHE_DIR": str(folder / "cache"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": os.pathsep.join(sys.path),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stderr.count("could not be read") == n_warnings
    return done.stdout


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
def test_types_that_are_no_longer_there_do_not_break_the_cache(tmp_path):
    for n_warnings, name in enumerate(("Old", "New")):
        (tmp_path / "types_of.py").write_text(TUPLE.format(name))
        (tmp_path / "kernel.py").write_text(CALL.format(name, "types_of"))
        assert run_script(tmp_path, "kernel.py", n_warnings) == "8.0\n"


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
@pytest.mark.parametrize(("ending", "kept"), [("nbi", 0), ("nbc", 100)])
def test_a_damaged_file_in_the_cache_is_replaced(ending, kept, tmp_path):
    (tmp_path / "types_of.py").write_text(TUPLE.format("Given"))
    (tmp_path / "kernel.py").write_text(CALL.format("Given", "types_of"))
    run_script(tmp_path, "kernel.py")
    (file,) = (tmp_path / "cache").rglob(f"*.{ending}")
    size = file.stat().st_size
    file.write_bytes(file.read_bytes()[:kept])
    assert run_script(tmp_path, "kernel.py", n_warnings=1) == "8.0\n"
    assert file.stat().st_size > size / 2


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
def test_a_change_of_an_imported_function_reaches_the_kernel_in_the_cache(tmp_path):
    for name, text in (("kernel", KERNEL), ("middle", MIDDLE)):
        (tmp_path / f"{name}.py").write_text(text)

    def run(number):
        (tmp_path / "bottom.py").write_text(BOTTOM.format(number))
        value, hits = run_script(tmp_path, "kernel.py").split(maxsplit=1)
        return float(value), "1" in hits

    assert run(1) == (30.0, False)
    assert run(1) == (30.0, True)  # from the cache
    assert run(5) == (70.0, False)
