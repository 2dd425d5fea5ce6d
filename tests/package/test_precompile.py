"""`python -m sklearn_mf.precompile` leaves nothing to compile for a first fit."""

import os
import subprocess
import sys

import numba
import pytest

from sklearn_mf import precompile
from sklearn_mf._load import MODELS

FIT = """
import numba.core.event
from sklearn_mf import SGDFactorizer
from sklearn_mf.datasets import make_ratings

compiled = []

class Recorder(numba.core.event.Listener):
    def on_start(self, event):
        compiled.append(event.data["dispatcher"].py_func.__name__)

    def on_end(self, event):
        pass

X, y = make_ratings(200, 100, 5000, random_state=1)
with numba.core.event.install_listener("numba:compile", Recorder()):
    model = SGDFactorizer(random_state=0).fit(X, y.astype("float32"))
    model.predict(X)
    model.recommend([7], n_items=5)
print(compiled)
"""


def run(*arguments, cache):
    return subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | {"NUMBA_CACHE_DIR": str(cache)},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
def test_the_first_fit_compiles_nothing_after_the_command(tmp_path):
    assert run("-c", FIT, cache=tmp_path / "empty").stdout != "[]\n"
    command = "-m sklearn_mf.precompile --estimators SGDFactorizer --dtypes float32"
    done = run(*command.split(), "--defaults-only", cache=tmp_path / "full")
    assert done.stdout.startswith("SGDFactorizer, float32: ")
    assert done.stderr == ""
    assert run("-c", FIT, cache=tmp_path / "full").stdout == "[]\n"


@pytest.mark.compiled
@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_option_is_fitted_and_asked_for_predictions(name):
    precompile.compile_estimator(name, "float64")


def test_unknown_estimators_and_types_are_refused(capsys):
    for wrong in (["--estimators", "SVD"], ["--dtypes", "float16"]):
        with pytest.raises(SystemExit):
            precompile.main(wrong)
        assert "invalid choice" in capsys.readouterr().err
