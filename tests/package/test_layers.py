"""Imports lead downwards: each layer of the package knows only those below it."""

import ast
import collections
import graphlib
from pathlib import Path

import pytest

import sklearn_mf
import sklearn_mf.dask

PACKAGE = Path(sklearn_mf.__file__).parent
# From the bottom to the top. What stands side by side does not import one another.
LAYERS = (
    ("_version", "_typing"),
    ("_runtime",),
    ("_data", "_objective", "_files"),
    ("_model",),
    ("_solvers",),
    ("_estimators",),
    (
        "_load",
        "datasets",
        "impute",
        "inspection",
        "metrics",
        "model_selection",
        "onnx",
    ),
    ("dask", "_about", "precompile"),
    ("__init__",),
)
DOC = Path(__file__).parents[2] / "doc" / "development.md"


def name_of(path):
    """Return the dotted name of a file below the package, of a package its folder's."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "__init__"


FILES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports_of(path):
    """Return the files of the package that a file imports, also within functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert not any(a.name.startswith("sklearn_mf") for a in node.names), path
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            first, _, module = node.module.partition(".")
            if first == "sklearn_mf":
                for alias in node.names:
                    full = f"{module}.{alias.name}" if module else alias.name
                    found.add(full if full in FILES else module or "__init__")
        else:
            relative = isinstance(node, ast.ImportFrom)
            assert not relative, f"{path}: imports are absolute"
    return found


GRAPH = {name: imports_of(path) for name, path in FILES.items()}


def rank_of(name):
    """Return the layer of a file, counted from the bottom."""
    (rank,) = (k for k, layer in enumerate(LAYERS) if name.split(".")[0] in layer)
    return rank


@pytest.mark.parametrize("name", FILES)
def test_imports_lead_downwards(name):
    part = name.split(".")[0]
    for other in GRAPH[name]:
        same_part = other.split(".")[0] == part
        assert same_part or rank_of(other) < rank_of(name), f"{name} imports {other}"


def test_no_two_functions_or_classes_share_a_name():
    places = collections.defaultdict(list)
    for name, path in FILES.items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                places[node.name].append(name)
    for name in ("ALSFactorizer", "BiasedMF"):  # to change an import, not a name
        places[name].remove("dask")
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_no_file_imports_itself_through_others():
    # A package's __init__ imports its files; they never import it.
    list(graphlib.TopologicalSorter(GRAPH).static_order())


@pytest.mark.skipif(not DOC.exists(), reason="not a checkout")
def test_the_documentation_names_the_layers_in_this_order():
    text, at = DOC.read_text(encoding="utf-8"), 0
    for layer in LAYERS[1:-1]:
        at = min(text.index(f"`{part}", at) for part in layer)


PRODUCTS = "dot", "vdot", "vecdot", "inner", "matmul", "tensordot", "linalg"


def test_no_fit_or_prediction_calls_blas():
    """The number of its threads would change the bits of the result."""
    for layer in ("_data", "_objective", "_model", "_solvers", "_estimators"):
        for path in (PACKAGE / layer).rglob("*.py"):
            name = path.relative_to(PACKAGE).as_posix()
            nodes = list(ast.walk(ast.parse(path.read_text())))
            found = {type(n.op).__name__ for n in nodes if isinstance(n, ast.BinOp)}
            found |= {n.attr for n in nodes if isinstance(n, ast.Attribute)}
            assert not found & {"MatMult", *PRODUCTS}, name
