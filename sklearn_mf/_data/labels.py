"""Ids and their codes.

Ids are *labels* of any sortable kind. A *code* is the position of a label among the
sorted labels of its side; -1 is the code of an unseen label.
"""

import math
from numbers import Number, Real

import numpy as np
from sklearn.utils import assert_all_finite

from sklearn_mf._runtime.threads import cut_evenly, thread_pool

BLOCK = 2**16  # ids that are encoded at a time
SHORT_TEXT = 64  # characters; texts of more stay objects if most are shorter


def factorize(name, column, n_threads=1):
    """Encode a column of ids.

    Parameters
    ----------
    name : str
        What error messages call the column.
    column : ndarray of shape (n,)
        Ids of any one sortable kind.
    n_threads : int
        How many threads encode integers.

    Returns
    -------
    labels : ndarray of shape (n_labels,)
        The distinct ids, sorted: a numeric array, a string array, or, where these
        cannot hold the ids exactly, an array of objects.
    codes : int32 ndarray of shape (n,)
        ``labels[codes]`` is `column`.
    """
    kind = column.dtype.kind
    if kind == "b":
        column, kind = column.view(np.uint8), "u"
    if kind == "f":
        assert_all_finite(column, input_name=_input(name).removeprefix("Input "))
        whole, exact = cast_exactly(column, np.int64)
        if exact.all():
            labels, codes = _factorize_integers(whole, n_threads)
            return labels.astype(column.dtype), codes
    if kind in "iu":
        return _factorize_integers(column, n_threads)
    if kind == "f":
        labels, codes = np.unique(column, return_inverse=True)
        return labels, codes.astype(np.int32)
    if kind in "cmMV":
        raise TypeError(
            f"{name}: an id argument must be a string or a number, got a column of "
            f"dtype {column.dtype}. Convert it, for example with astype(str)."
        )
    return _factorize_objects(name, column.tolist())


def _input(name):
    """Return what error messages call the input whose column, or list, has a name."""
    return f"Input X ({name})" if "=" in name else f"Input {name}"


def _factorize_integers(column, n_threads):
    """Encode integers, without a sort if their range is dense enough."""
    blocks = cut_evenly(len(column), BLOCK)
    with thread_pool(min(n_threads, len(blocks))) as run:
        ends = np.empty((2, len(blocks)), column.dtype)
        run(_note_ends, blocks, column, ends)
        low, high = ends[0].min(), ends[1].max()
        width = int(high) - int(low) + 1
        if width > max(4 * len(column), 2**16):
            labels, codes = np.unique(column, return_inverse=True)
            return labels, codes.astype(np.int32)
        present, codes = np.zeros(width, dtype=bool), np.empty(len(column), np.int32)
        run(_note_present, blocks, column, low, present)
        code_of = np.cumsum(present, dtype=np.int32) - np.int32(1)
        run(_encode, blocks, column, low, code_of, codes)
    return np.flatnonzero(present).astype(column.dtype) + low, codes


def _note_ends(start, stop, column, ends):
    block = np.ascontiguousarray(column[start:stop])  # read twice
    ends[:, start // BLOCK] = block.min(), block.max()


def _note_present(start, stop, column, low, present):
    # Threads may write to the same place, but all of them write the same.
    present[_offsets(column[start:stop], low)] = True


def _encode(start, stop, column, low, code_of, codes):
    codes[start:stop] = code_of[_offsets(column[start:stop], low)]


def _offsets(column, low):
    # Differences wrap around to the right unsigned number, whatever the width.
    return np.subtract(column, low).view(f"u{column.dtype.itemsize}").astype(np.intp)


def _factorize_objects(name, values):
    """Encode a list of Python objects: strings, or what NumPy keeps as objects."""
    types = set(map(type, values))
    if any(map(_is_of_numpy, types)):
        # NumPy would join its own integers and floats to floats, and merge some.
        values = [v.item() if _is_of_numpy(type(v)) else v for v in values]
        types = set(map(type, values))
    kinds = {_kind_of_type(kind): kind for kind in types}
    if "missing" in kinds or (
        any(issubclass(kind, _MAY_BE_NAN) for kind in types)
        and any(isinstance(v, _MAY_BE_NAN) and _is_nan(v) for v in values)
    ):
        raise ValueError(
            f"{_input(name)} contains NaN or None, which are no ids: drop the rows "
            "without an id."
        )
    if len(kinds) == 1 and "number" in kinds:
        if math.inf in values or -math.inf in values:
            raise ValueError(f"{_input(name)} contains infinity, which is no id.")
        array = np.array(values)
        if array.dtype.kind in "biuf" and array.tolist() == values:
            return factorize(name, array)
    try:
        if len(kinds) > 1:
            raise TypeError
        uniques = sorted(set(values))
        _ = uniques[0] < uniques[0]  # one alone must be of a kind that can be sorted
    except Exception:  # comparisons of objects may raise anything
        got = " and ".join(sorted(kind.__name__ for kind in kinds.values()))
        raise TypeError(
            f"{name}: the id argument must be a string or a number, all of them of one "
            f"kind that can be sorted; got {got}. Convert the column, for example with "
            "astype(str)."
        ) from None
    codes = dict(zip(uniques, range(len(uniques)), strict=True))
    return _as_labels(uniques), np.fromiter(
        map(codes.__getitem__, values), np.int32, len(values)
    )


_MAY_BE_NAN = Number, np.datetime64, np.timedelta64


def _is_of_numpy(kind):
    """Tell whether a type is NumPy's for what Python has a type of its own for."""
    return issubclass(kind, np.generic) and not issubclass(
        kind, np.datetime64 | np.timedelta64 | np.void | np.longdouble
    )


def _is_nan(value):
    try:
        return bool(value != value)
    except ArithmeticError:  # a signalling NaN of Decimal
        return True


def is_missing(value):
    """Tell whether an object stands for a missing value."""
    return _kind_of_type(type(value)) == "missing" or (
        isinstance(value, _MAY_BE_NAN) and _is_nan(value)
    )


def _as_labels(uniques):
    """Make an array of sorted objects, of a native dtype where that loses nothing."""
    if isinstance(uniques[0], str):
        # NumPy stores every text with as many characters as the longest one has.
        lengths = list(map(len, uniques))
        if max(lengths) <= max(SHORT_TEXT, 4 * sum(lengths) / len(lengths)):
            labels = np.array(uniques)
            if labels.tolist() == uniques:
                return labels
    return as_objects(uniques)


def as_objects(values):
    """Make an array of objects, of one dimension whatever they are."""
    return np.fromiter(values, dtype=object, count=len(values))


def _kind_of_type(kind):
    if issubclass(kind, Real) and not issubclass(kind, np.timedelta64):
        return "number"
    if issubclass(kind, str):
        return "text"
    if kind.__name__ in ("NoneType", "NAType", "NaTType", "MaskedConstant"):
        return "missing"
    return kind.__name__


def kind_of(labels):
    """Name the kind of the ids in an array of labels."""
    if labels.dtype.kind in "biuf":
        return "number"
    if labels.dtype.kind == "U":
        return "text"
    return _kind_of_type(type(labels[0]))


def locate(name, wanted, labels):
    """Find labels among others; return their int32 codes, -1 for those not found.

    Both `wanted` and `labels` are sorted labels, from `factorize`. Numbers are equal if
    they are equal in Python: 1.0 is 1, but no float is 2**53 + 1.
    """
    kind, known_kind = kind_of(wanted), kind_of(labels)
    if kind != known_kind:
        raise ValueError(
            f"{name}: the ids are of kind {kind!r} (such as {wanted[:1].tolist()[0]!r})"
            f", but fit saw {known_kind!r} (such as {labels[:1].tolist()[0]!r}). "
            "Convert them to the kind of fit."
        )
    if labels.dtype == object or wanted.dtype == object:
        codes = dict(zip(labels.tolist(), range(len(labels)), strict=True))
        found = (codes.get(label, -1) for label in wanted.tolist())
        return np.fromiter(found, np.int32, len(wanted))
    exact = True
    if kind == "number":
        wanted, exact = cast_exactly(wanted, labels.dtype)
    codes = np.searchsorted(labels, wanted).astype(np.int32)
    codes[codes == len(labels)] = 0
    codes[~(exact & (labels[codes] == wanted))] = -1
    return codes


def cast_exactly(values, dtype):
    """Cast numbers; return the result and a mask of those that kept their value."""
    with np.errstate(invalid="ignore", over="ignore"):
        cast = values.astype(dtype)
        return cast, (cast.astype(values.dtype) == values) & (
            (cast < 0) == (values < 0)
        )


def merge(name, old, new):
    """Merge sorted labels of the same kind.

    Returns
    -------
    labels : ndarray
        All of them, sorted.
    codes : int32 ndarray of shape (n_new,)
        The codes of the new ones among them.
    """
    codes = locate(name, new, old)
    if (codes >= 0).all():
        return old, codes
    # As lists, because NumPy would join int64 and uint64 to floats.
    labels, codes = _factorize_objects(name, old.tolist() + new.tolist())
    return labels, codes[len(old) :]
