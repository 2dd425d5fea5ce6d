"""The package as it is installed: its dependencies, where it may write, no compiler."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import sklearn_mf

ROOT = Path(__file__).parents[2]
FIT = """
import sklearn_mf
from sklearn_mf.datasets import make_ratings

X, y = make_ratings(20, 10, 60, random_state=0)
model = sklearn_mf.SGDFactorizer(2, max_iter=2, tol=None, random_state=0).fit(X, y)
print(sklearn_mf.__file__)
print(model.predict(X).tolist())
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A copy of the package, with a file where Python's and numba's caches would be."""
    folder = tmp_path_factory.mktemp("installed")
    shutil.copytree(
        Path(sklearn_mf.__file__).parent,
        folder / "sklearn_mf",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    for package in [folder / "sklearn_mf", *(folder / "sklearn_mf").rglob("*/")]:
        (package / "__pycache__").touch()
    return folder


def fit(package, **environment):
    """Fit a model without a home; give what was printed, and the warnings."""
    unwritable = package / "sklearn_mf" / "__pycache__"
    inherited = {
        name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"
    }
    done = subprocess.run(
        [sys.executable, "-W", "always::UserWarning", "-c", FIT],
        env=inherited
        | {"PYTHONPATH": str(package)}
        | dict.fromkeys(("HOME", "XDG_CACHE_HOME"), str(unwritable))
        | environment,
        cwd=package,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    path, predictions = done.stdout.splitlines()
    assert Path(path).is_relative_to(package)
    return predictions, done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="HOME is not where caches go")
def test_without_a_place_for_caches_a_fit_works_and_warns_once(package, tmp_path):
    predictions, warned = fit(package)
    assert warned.count("every process recompiles") == 1
    assert warned.count("Warning") == 1
    assert fit(package, NUMBA_CACHE_DIR=str(tmp_path)) == (predictions, "")
    assert list(tmp_path.rglob("*.nbi"))


def test_nothing_is_to_be_compiled(package):
    predictions, warned = fit(package, NUMBA_DISABLE_JIT="1")
    assert len(eval(predictions)) == 60
    assert warned == ""


def test_every_oldest_version_is_one_that_the_tests_meet():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)["project"]
    extras = project["optional-dependencies"]
    assert {*extras["dask"], *extras["onnx"], *extras["plot"]} <= {*extras["test"]}
    for requirement in project["dependencies"] + extras["test"]:
        assert re.fullmatch(r"[\w-]+>=[\d.]+", requirement)  # as .ci/oldest reads it
