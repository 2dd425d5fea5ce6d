"""The package as a whole: its import, its README, its layout, an interrupt."""

import importlib
import inspect
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sklearn_mf

ROOT = Path(__file__).parents[2]
ESTIMATORS = [
    sklearn_mf.ALSFactorizer,
    sklearn_mf.AutoRec,
    sklearn_mf.BayesianMF,
    sklearn_mf.BiasedMF,
    sklearn_mf.MFClassifier,
    sklearn_mf.MultiTaskMF,
    sklearn_mf.PopularityRanker,
    sklearn_mf.RankingFactorizer,
    sklearn_mf.SGDFactorizer,
]
MODULES = [
    sklearn_mf,
    *(
        importlib.import_module(f"sklearn_mf.{name}")
        for name in ("datasets", "inspection", "metrics", "model_selection", "onnx")
    ),
]
LETTERS = {
    "AutoRec": "R",
    "BayesianMF": "G",
    "MFClassifier": "C",
    "RankingFactorizer": "K",
}  # in the README, of those whose first letter is taken


def run_python(code):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout


def test_import_compiles_nothing_and_sets_nothing():
    code = """
import os, threading, warnings
import numba, numpy, sklearn.callback, sklearn.metrics
before = dict(os.environ), threading.active_count(), numpy.geterr()
import sklearn_mf
from sklearn_mf._solvers.als.conjugate_gradient import approach_rows
from sklearn_mf._solvers.als.kernels import solve_rows, sum_rows
from sklearn_mf._solvers.als.short_rows import solve_short_rows
from sklearn_mf._solvers.autoencoder.kernels import STEP_BIASES, STEP_COLUMNS
from sklearn_mf._solvers.autoencoder.kernels import differentiate_rows
from sklearn_mf._model.perceptron import predict_pairs
from sklearn_mf._solvers.two_tasks.kernels import train_batches
from sklearn_mf._solvers.ranking.kernels import LEARN_BATCHES, deal_rows, shuffle_rows
from sklearn_mf._model.scoring import score_pairs
from sklearn_mf._solvers.sgd.kernels import PASS_IN_BATCHES, PASS_OVER_BLOCKS
kernels = [solve_rows, solve_short_rows, approach_rows, sum_rows, score_pairs]
kernels += [predict_pairs, train_batches]
kernels += [deal_rows, shuffle_rows, *LEARN_BATCHES.values()]
kernels += [differentiate_rows, *STEP_BIASES.values(), *STEP_COLUMNS.values()]
kernels += [*PASS_IN_BATCHES.values(), *PASS_OVER_BLOCKS.values()]
assert (dict(os.environ), threading.active_count(), numpy.geterr()) == before
print([kernel.signatures for kernel in kernels if kernel.signatures])
"""
    assert run_python(code) == "[]\n"


def test_public_names():
    for name in sklearn_mf.__all__:
        assert hasattr(sklearn_mf, name)
    public = {name for name in dir(sklearn_mf) if not name.startswith("_")}
    assert public - set(sklearn_mf.__all__) <= {
        "dask",
        "datasets",
        "inspection",
        "metrics",
        "model_selection",
        "onnx",
    }


def test_public_names_say_where_users_find_them():
    for module in MODULES:
        for name in module.__all__:
            thing = getattr(module, name)
            if inspect.isclass(thing) or inspect.isfunction(thing):
                assert thing.__module__ == module.__name__, name
                assert pickle.loads(pickle.dumps(thing)) is thing


def test_readme_example_runs(capsys):
    (block,) = re.findall(
        r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S
    )
    names = {}
    exec(block, names)
    best, predictions = capsys.readouterr().out.splitlines()
    assert best.startswith("{'n_factors'")
    assert re.fullmatch(r"\[\d\.\d+ +\d\.\d+ *\]", predictions)
    assert -names["search"].best_score_ < 0.9 * names["y"].std()


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_readme_lists_every_parameter_with_its_default(estimator):
    readme = (ROOT / "README.md").read_text()
    rows = re.findall(r"^\| (`.*?`) \| (.*?) \| ([A-Z ]+) \|", readme, re.M)
    letter = LETTERS.get(estimator.__name__, estimator.__name__[0])
    listed = {}
    for names, defaults, of in rows:
        if letter in of:
            names = re.findall(r"`(\w+)`", names)
            defaults = map(eval, defaults.split(", "))
            listed.update(zip(names, defaults, strict=True))
    assert listed == estimator().get_params()


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_class_docstring_documents_parameters_and_attributes(estimator):
    doc = inspect.getdoc(estimator)
    doc = doc[: doc.index("See Also")].replace("\\\n        ", "")
    described, defaults = set(), {}
    for line in re.findall(r"^[a-z_, 12]+ : .*", doc, re.M):
        names = line.split(" : ")[0].strip().split(", ")
        described.update(names)
        if "default=" in line:
            values = line.split("default=")[1].split(" and ")
            defaults.update(zip(names, map(eval, values), strict=True))
    model = estimator().fit([[0, 0], [1, 1]], [1.0, 2.0])
    attributes = {name for name in vars(model) if name.endswith("_")}
    optional = {"feature_names_in_", "optimizer_", "optimizer_state_", "alpha_"}
    of_features = re.compile("(user|item)_(feature|rated|cold|spreads)_?.*_")
    optional |= set(filter(of_features.fullmatch, described))
    assert described - optional == {*attributes, *model.get_params()} - optional
    assert defaults == model.get_params()


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout")
def test_top_level_holds_what_was_agreed():
    listing = subprocess.run(
        ["git", "ls-files"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout.split()
    agreed = {"pyproject.toml", "README.md", "sklearn_mf", "tests", "examples", "doc"}
    agreed |= {"LICENSE", "CHANGELOG.md"}
    found = {name.split("/")[0] for name in listing}
    assert {name for name in found if not name.startswith(".")} <= agreed
