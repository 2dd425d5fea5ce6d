"""What a type checker is told of the public interface; mypy reads this file as well."""

import importlib
import inspect
import pickle
from typing import Any, assert_type

import numpy as np
import numpy.typing as npt
import pytest

import sklearn_mf
from sklearn_mf.datasets import (
    fetch_movielens,
    load_ratings,
    make_answers,
    make_interactions,
    make_ratings,
)
from sklearn_mf.model_selection import ColdShare, RatingKFold, cold_share

SUBMODULES = (
    "datasets",
    "impute",
    "inspection",
    "metrics",
    "model_selection",
    "onnx",
)
MODULES = [
    sklearn_mf,
    *(importlib.import_module(f"sklearn_mf.{name}") for name in SUBMODULES),
]


def find_callables():
    """Yield the library's own public functions, constructors and methods."""
    for module in MODULES:
        for name in module.__all__:
            thing = getattr(module, name)
            if inspect.isfunction(thing):
                yield f"{module.__name__}.{name}", thing
            elif inspect.isclass(thing) and not issubclass(thing, tuple | Warning):
                for method, function in inspect.getmembers(thing, inspect.isroutine):
                    public = method == "__init__" or not method.startswith("_")
                    if public and function.__module__.startswith("sklearn_mf"):
                        yield f"{module.__name__}.{name}.{method}", function


CALLABLES = dict(find_callables())


def test_all_kinds_of_callables_are_found():
    assert {
        "sklearn_mf.load",
        "sklearn_mf.ALSFactorizer.__init__",
        "sklearn_mf.BiasedMF.fold_in_users",
        "sklearn_mf.SGDFactorizer.partial_fit",
        "sklearn_mf.inspection.SearchDisplay.from_search",
        "sklearn_mf.model_selection.TimeSplit.split",
    } <= CALLABLES.keys()


@pytest.mark.parametrize("name", CALLABLES)
def test_every_parameter_and_result_has_a_type(name):
    signature = inspect.signature(CALLABLES[name])
    parameters = [p for p in signature.parameters.values() if p.name != "self"]
    missing = [p.name for p in parameters if p.annotation is p.empty]
    if signature.return_annotation is signature.empty:
        missing.append("return")
    assert missing == []


@pytest.mark.parametrize("module", MODULES[1:], ids=SUBMODULES)
def test_public_names_name_their_public_module(module):
    for name in module.__all__:
        thing = getattr(module, name)
        assert thing.__module__ == module.__name__, name
        assert pickle.loads(pickle.dumps(thing)) == thing


def test_types_of_results() -> None:
    X, y = make_ratings(20, 10, 60, random_state=0)
    model = sklearn_mf.BiasedMF(2, max_iter=2, tol=None).fit(X, y)
    assert_type(model, sklearn_mf.BiasedMF)
    assert_type(model.predict(X), npt.NDArray[np.floating[Any]])
    assert_type(model.score(X, y), float)
    train, test = next(RatingKFold(2).split(X))
    assert_type(train, npt.NDArray[np.intp])
    assert train.dtype == test.dtype == np.intp
    assert_type(cold_share(X[train], X[test]), ColdShare)


def use_datasets() -> None:
    """Show mypy that results of any length unpack; this is never called."""
    assert_type(make_ratings(), tuple[Any, ...])
    assert_type(make_answers(), tuple[Any, ...])
    assert_type(make_interactions(), tuple[Any, ...])
    X, y, coef = make_ratings(coef=True)
    print(X, y, coef.user_factors)
    X, y, times = load_ratings("ratings.csv", time=3)
    assert_type(times, npt.NDArray[Any])
    movielens = fetch_movielens()
    print(movielens.data, movielens.target)
    X, y = fetch_movielens(return_X_y=True)
    print(X, y)
