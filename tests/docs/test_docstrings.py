"""Every public docstring is what numpydoc calls valid."""

import importlib
import inspect

import pytest

from sklearn_mf import metrics

validate = pytest.importorskip("numpydoc.validate").validate

MODULES = [
    "",
    ".datasets",
    ".impute",
    ".inspection",
    ".metrics",
    ".model_selection",
    ".onnx",
]
NO_EXAMPLE = {"sklearn_mf.ColdStartWarning", "sklearn_mf.model_selection.ColdShare"}
EXEMPT = {
    "ES01",  # a summary may say it all
    "RT02",  # "self : object" is scikit-learn's way
    "SA01",  # methods refer to one another in their text
}


def public_objects():
    """Yield the dotted name of each public class, function and method."""
    for ending in MODULES:
        module = importlib.import_module(f"sklearn_mf{ending}")
        for name in module.__all__:
            value = getattr(module, name)
            if callable(value) and value is not metrics.mean_reciprocal_rank_of_all:
                yield f"{module.__name__}.{name}"
            if inspect.isclass(value):
                for member in dir(value):
                    owner = getattr(getattr(value, member), "__module__", None) or ""
                    if member[0] != "_" and owner.startswith("sklearn_mf"):
                        yield f"{module.__name__}.{name}.{member}"


@pytest.mark.parametrize("name", list(public_objects()))
def test_docstring_is_valid(name):
    is_method = name.rsplit(".", 1)[0].rsplit(".", 1)[-1][0].isupper()
    # An example belongs to what one calls, not to each method of it.
    exempt = EXEMPT | ({"EX01"} if is_method or name in NO_EXAMPLE else set())
    errors = [f"{code}: {text}" for code, text in validate(name)["errors"]]
    assert [error for error in errors if error[:4] not in exempt] == []
