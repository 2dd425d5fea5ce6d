"""The package as a whole: its import, its README, its layout, an interrupt."""

import importlib
import inspect
import pickle
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import numba
import pytest
import sklearn

import sklearn_mf
from sklearn_mf._estimators import documentation
from tests.movielens import RATINGS, needs_movielens

ROOT = Path(__file__).parents[2]
ESTIMATORS = [
    sklearn_mf.ALSFactorizer,
    sklearn_mf.AutoRec,
    sklearn_mf.BayesianMF,
    sklearn_mf.BayesianMFClassifier,
    sklearn_mf.BiasedMF,
    sklearn_mf.MFClassifier,
    sklearn_mf.MultiTaskMF,
    sklearn_mf.PopularityRanker,
    sklearn_mf.RankingFactorizer,
    sklearn_mf.SGDFactorizer,
]
SUBMODULES = {
    "dask",
    "datasets",
    "impute",
    "inspection",
    "metrics",
    "model_selection",
    "onnx",
}
MODULES = [  # those that need no extra
    sklearn_mf,
    *(
        importlib.import_module(f"sklearn_mf.{name}")
        for name in sorted(SUBMODULES - {"dask"})
    ),
]


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
    public = {name for name in vars(sklearn_mf) if not name.startswith("_")}
    expected = {*sklearn_mf.__all__, *SUBMODULES}
    assert public <= {*expected, "TYPE_CHECKING", "precompile"}
    assert dir(sklearn_mf) == sorted(expected)


def test_submodules_are_imported_when_they_are_used():
    code = f"""
import sys
import sklearn_mf
lazy = {SUBMODULES - {"dask"}!r}
print([name for name in lazy if f"sklearn_mf.{{name}}" in sys.modules])
print(all(getattr(sklearn_mf, name).__all__ for name in lazy))
try:
    sklearn_mf.no_such_name
except AttributeError as error:
    print(error)
"""
    before, all_there, error = run_python(code).splitlines()
    assert (before, all_there) == ("[]", "True")
    assert error == "module 'sklearn_mf' has no attribute 'no_such_name'"


def test_all_estimators_are_found():
    found = sklearn_mf.all_estimators()
    assert [cls for _, cls in found] == ESTIMATORS
    assert all(getattr(sklearn_mf, name) is cls for name, cls in found)


def test_versions_are_those_that_are_installed(capsys):
    sklearn_mf.show_versions()
    printed = capsys.readouterr().out
    lines = dict(
        line.strip().split(": ", 1) for line in printed.splitlines() if ": " in line
    )
    assert lines["sklearn_mf"] == sklearn_mf.__version__
    assert lines["numba"] == numba.__version__
    assert lines["scikit-learn"] == sklearn.__version__


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_html_links_to_the_documentation(estimator, monkeypatch):
    find, page = "find_documentation", f"sklearn_mf.{estimator.__name__}.html"
    monkeypatch.setattr(documentation, find, lambda: "https://example.org/mf/")
    assert (
        f'href="https://example.org/mf/generated/{page}"' in estimator()._repr_html_()
    )
    monkeypatch.setattr(documentation, find, lambda: "")
    assert estimator()._get_doc_link() == ""
    assert page not in estimator()._repr_html_()


def test_the_address_of_the_documentation_is_that_of_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    address = project.get("urls", {}).get("Documentation", "")
    assert documentation.find_documentation() == address


def test_public_names_say_where_users_find_them():
    for module in MODULES:
        for name in module.__all__:
            thing = getattr(module, name)
            if inspect.isclass(thing) or inspect.isfunction(thing):
                assert thing.__module__ == module.__name__, name
                assert pickle.loads(pickle.dumps(thing)) is thing


@needs_movielens
def test_readme_example_prints_what_the_readme_says(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "movielens"
    folder.mkdir()
    with zipfile.ZipFile(folder / "ml-latest-small.zip", "w") as archive:
        for name in ("ratings.csv", "movies.csv"):
            archive.write(RATINGS.with_name(name), f"ml-latest-small/{name}")
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    code, printed = re.search(
        r"```python\n(.*?)```.*?```\n(.*?)```", readme, re.S
    ).groups()
    exec(code, {})
    assert capsys.readouterr().out == printed


def test_readme_tables_hold_numbers_of_the_benchmarks():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    pages = [ROOT / f"doc/{name}.md" for name in ("accuracy", "benchmarks")]
    benchmarks = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    rows = re.findall(r"^\|.* \| (0\.\d{4}) \| (\d+\.\d+) \|$", readme, re.M)
    assert len(rows) == 10
    for rmse, seconds in rows:
        assert re.search(
            rf"^\|.*\| *{rmse} *\|.*\| *{seconds} *\|"
            rf"|^\|.*\| *{seconds} *\|.*\| *{rmse} *\|",
            benchmarks,
            re.M,
        ), (rmse, seconds)


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
    agreed |= {"CITATION.cff", "LICENSE", "CHANGELOG.md"}
    found = {name.split("/")[0] for name in listing}
    assert {name for name in found if not name.startswith(".")} <= agreed


@pytest.mark.skipif(
    not (ROOT / "sklearn_mf").exists(), reason="the package is installed, not beside"
)
@pytest.mark.skipif("dev" in sklearn_mf.__version__, reason="not a release")
@pytest.mark.parametrize(("version", "code"), [(sklearn_mf.__version__, 0), ("99", 1)])
def test_all_places_name_the_version_of_a_release(version, code):
    command = [sys.executable, ROOT / ".ci/version", version]
    assert subprocess.run(command, capture_output=True, timeout=60).returncode == code
