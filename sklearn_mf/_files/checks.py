"""Checks of fitted attributes against what an estimator declares of them.

A declaration is a dict from names to one of

- a tuple, the shape of an array of floats: a number, or a word such as ``"users"`` that
  stands for the same number everywhere, or a pair of a word and of what is added to its
  number, which is 0 at least. All such arrays have one dtype, and no NaN;
- a function ``check(name, value, known)`` that raises a ValueError; ``known`` is a
  `Known`;
- `Optional` of either, for an attribute that may be missing.

Kernels do not look whether an index is in range: what passes here cannot lead them out
of an array.
"""

import math
import sys
from dataclasses import dataclass, field
from itertools import pairwise
from numbers import Integral, Real
from typing import NamedTuple

import numpy as np


class Optional(NamedTuple):
    """Marks an attribute that may be missing."""

    declared: object


@dataclass
class Known:
    """What is known of a model while its attributes are checked.

    Attributes
    ----------
    fitted : dict
        All fitted attributes.
    sizes : dict of int
        Sizes by the words that stand for them.
    dtype : dtype or None
        Float type of the arrays of floats, once one has been seen.
    """

    fitted: dict
    sizes: dict = field(default_factory=dict)
    dtype: np.dtype | None = None

    def find(self, size, length):
        """Return the number that a size of a declared shape stands for.

        A word that has no number yet gets the length of the array.
        """
        if isinstance(size, tuple):
            word, more = size
            return max(0, self.sizes[word] + more) if word in self.sizes else length
        if isinstance(size, Integral):
            return size
        return self.sizes.setdefault(size, length)


def check_fitted(declared, fitted):
    """Raise a ValueError unless fitted attributes are as an estimator declares them.

    Parameters
    ----------
    declared : dict
        See above; checked in this order.
    fitted : dict
        The attributes. Those that are not declared are not checked.
    """
    known = Known(fitted)
    for name, declaration in declared.items():
        is_optional = isinstance(declaration, Optional)
        demand(is_optional or name in fitted, name, "is missing")
    for name, declaration in declared.items():
        if isinstance(declaration, Optional):
            declaration = declaration.declared
        if name not in fitted:
            continue
        if isinstance(declaration, tuple):
            check_array(name, fitted[name], declaration, known)
        else:
            declaration(name, fitted[name], known)


def demand(truth, name, fault):
    """Raise a ValueError that names an attribute and its fault unless it is true."""
    if not truth:
        raise ValueError(f"{name} {fault}")


def check_array(name, array, shape, known, dtype=None):
    """Check an array: its shape and dtype, and that floats are finite.

    A word in the shape that has no size yet gets that of the array.
    """
    demand(
        isinstance(array, np.ndarray) and array.ndim == len(shape),
        name,
        f"is not an array of {len(shape)} dimensions",
    )
    is_float = dtype is None
    if is_float and known.dtype is None:
        demand(array.dtype in (np.float32, np.float64), name, "does not hold floats")
        known.dtype = array.dtype
    dtype = np.dtype(known.dtype if is_float else dtype)
    wanted = tuple(map(known.find, shape, array.shape))
    demand(
        array.dtype == dtype and array.shape == wanted,
        name,
        f"is not an array of {dtype} of shape {wanted}",
    )
    demand(not is_float or np.isfinite(array).all(), name, "holds NaN or infinity")


# ----------------------------------------------------------------------- single values


def is_number(value, kind=Real):
    """Tell whether a value is a finite number, and no bool."""
    return (
        isinstance(value, kind) and not isinstance(value, bool) and math.isfinite(value)
    )


def check_number(name, value, known):
    """Check a number."""
    demand(is_number(value), name, "is not a number")


def check_number_or_nan(name, value, known):
    """Check a float, which may be NaN."""
    demand(isinstance(value, float), name, "is not a number")


def check_non_negative(name, value, known):
    """Check a number that is not below 0."""
    demand(is_number(value) and value >= 0, name, "is below 0, or no number")


def check_positive(name, value, known):
    """Check a number above 0."""
    demand(is_number(value) and value > 0, name, "is not above 0")


def check_count(name, value, known):
    """Check a number of iterations."""
    is_count = is_number(value, Integral) and 0 <= value < 2**32
    demand(is_count, name, "is no count")


def check_range(name, value, known):
    """Check the two ends of a range."""
    demand(
        isinstance(value, tuple)
        and len(value) == 2
        and all(map(is_number, value))
        and value[0] <= value[1],
        name,
        "is not a range",
    )


def one_of(*values):
    """Return a check that a value is one of some strings."""

    def check(name, value, known):
        demand(isinstance(value, str) and value in values, name, f"is {value!r}")

    return check


# ------------------------------------------------------------------------------ curves


def check_curve(name, value, known):
    """Check a list of numbers."""
    is_curve = isinstance(value, list) and all(map(is_number, value))
    demand(is_curve, name, "is not a list of numbers")


def check_curve_or_none(name, value, known):
    """Check a list of numbers, or None."""
    if value is not None:
        check_curve(name, value, known)


def curves(*names):
    """Return a check of a dict of lists of numbers with these names."""

    def check(name, value, known):
        is_dict = isinstance(value, dict) and tuple(value) == names
        demand(is_dict, name, f"is not a dict of {', '.join(names)}")
        for key, curve in value.items():
            check_curve(f"{name}[{key!r}]", curve, known)

    return check


# ---------------------------------------------------------------------- ids and ratings


def labels(size):
    """Return a check of labels: of one kind, sorted, distinct, `size` of them."""

    def check(name, value, known):
        demand(
            isinstance(value, np.ndarray) and value.ndim == 1 and len(value) > 0,
            name,
            "is not a list of ids",
        )
        known.sizes[size] = len(value)
        if value.dtype == object:
            ids = value.tolist()
            kinds = [all(isinstance(id_, kind) for id_ in ids) for kind in (str, Real)]
            demand(any(kinds), name, "holds ids of several kinds")
            ascending = all(left < right for left, right in pairwise(ids))
        else:
            demand(value.dtype.kind in "iufUM", name, f"holds {value.dtype}")
            if value.dtype.kind == "U":
                codes = value.view(np.uint32)
                demand(codes.max() <= sys.maxunicode, name, "holds what is no text")
            ascending = (value[:-1] < value[1:]).all()
        demand(
            ascending and value[0] == value[0],  # not NaN
            name,
            "is not sorted, or holds an id twice",
        )

    return check


def check_two_classes(name, value, known):
    """Check the labels of two classes."""
    if isinstance(value, np.ndarray) and value.dtype == bool:
        value = value.astype(np.uint8)
    labels("classes")(name, value, known)
    demand(len(value) == 2, name, "does not hold two labels")


def check_seen_indptr(name, indptr, known):
    """Check that row pointers cut ``seen_indices_`` into a row for each user."""
    check_array(name, indptr, (known.sizes["users"] + 1,), known, np.int64)
    n_ratings = np.size(known.fitted.get("seen_indices_"))
    demand(
        indptr[0] == 0
        and indptr[-1] == n_ratings
        and (indptr[:-1] <= indptr[1:]).all(),  # a difference could overflow
        name,
        "does not cut seen_indices_ into rows",
    )


def check_seen_indices(name, indices, known):
    """Check that each row holds ascending codes of items."""
    check_array(name, indices, ("ratings",), known, np.int32)
    rises = np.empty(len(indices) + 1, dtype=bool)
    rises[1:-1] = indices[:-1] < indices[1:]
    rises[known.fitted["seen_indptr_"]] = True  # a row begins, or the last one ends
    n_items = known.sizes["items"]
    demand(
        rises.all() and (indices >= 0).all() and (indices < n_items).all(),
        name,
        "does not hold ascending positions of items_",
    )


# --------------------------------------------------------------------- columns of X


def check_n_features(name, value, known):
    """Check the number of columns of X."""
    demand(is_number(value, Integral), name, "is not a number")
    known.sizes["features"] = value


def check_feature_names(name, value, known):
    """Check the names of the columns of X."""
    demand("features" in known.sizes, "n_features_in_", "is missing")
    check_array(name, value, ("features",), known, object)
    texts = all(isinstance(text, str) for text in value)
    demand(texts, name, "does not hold texts")
