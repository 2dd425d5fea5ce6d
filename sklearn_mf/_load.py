"""Models as files: arrays, and JSON for all else. To read one runs no code from it.

model ──encode──▶ JSON and arrays ──▶ .npz ──▶ JSON and arrays ──decode, check──▶ model

An array stands in the JSON as {"array": its entry of the file}, other Python containers
as {"tuple": …}, {"dict": …} and {"objects": …}, the last for an array of Python's own
strings and numbers.
"""

import errno
import functools
import json
import math
import os
import secrets
import shutil
import sys
import zipfile
from dataclasses import replace
from itertools import pairwise
from numbers import Integral, Real

import numpy as np
from numpy.lib import format as npy
from sklearn.utils.validation import check_is_fitted

from sklearn_mf._estimators.als_factorizer import ALSFactorizer
from sklearn_mf._estimators.autorec import AutoRec
from sklearn_mf._estimators.base import HEADER
from sklearn_mf._estimators.biased_mf import BiasedMF
from sklearn_mf._estimators.early_stopping import EarlyStoppingMixin
from sklearn_mf._estimators.multitask_mf import MultiTaskMF
from sklearn_mf._estimators.sgd_factorizer import SGDFactorizer
from sklearn_mf._estimators.stochastic import StochasticFactorizer
from sklearn_mf._solvers.optimizers import OPTIMIZERS
from sklearn_mf._version import __version__

FORMAT = "sklearn_mf"
FORMAT_VERSION = 1  # to be raised when an older `load` would misread the file
MODEL_ENTRY = "model"  # the array of the file that holds the JSON
MODELS = {
    model.__name__: model
    for model in (ALSFactorizer, AutoRec, BiasedMF, MultiTaskMF, SGDFactorizer)
}
ARRAY_KINDS = "biufUM"  # of NumPy's dtypes, those that a file can hold


class NewerFileError(ValueError):
    """The file is from a newer sklearn_mf."""


# ------------------------------------------------------------------------------- saving


def save_model(model, path):
    """Save a fitted model: see `BaseFactorizer.save`."""
    check_is_fitted(model)
    arrays = {}
    text = json.dumps(_describe(model, arrays))
    arrays = {MODEL_ENTRY: np.array(text.encode("ascii")), **arrays}
    _write_atomically(path, lambda file: _write_arrays(file, arrays))


def _describe(model, arrays):
    """Give what the JSON says of a model; put its arrays into `arrays`."""
    name = type(model).__name__
    if type(model) is not MODELS.get(name):
        raise TypeError(
            f"{name} is not one of the models that save knows: "
            f"{', '.join(sorted(MODELS))}. Use pickle or joblib for a class of your "
            "own."
        )
    parameters = model.get_params(deep=False)
    if isinstance(parameters.get("random_state"), np.random.RandomState):
        raise ValueError(
            "random_state is a RandomState instance, which save cannot write as data: "
            "set_params(random_state=...) to an int or None first, or use pickle or "
            "joblib."
        )
    model._validate_params()
    content = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "sklearn_mf_version": __version__,
        "class": name,
        "parameters": {
            key: _encode(key, value, arrays) for key, value in parameters.items()
        },
        "attributes": {
            key: _encode(key, value, arrays)
            for key, value in vars(model).items()
            if _names_fitted(key)
        },
    }
    _check(model)
    return content


def _names_fitted(name):
    return name.endswith("_") and not name.startswith("_")


def _encode(name, value, arrays):
    """Give a value as JSON can hold it; `name` is that of its array."""
    if isinstance(value, np.ndarray) and value.dtype == object and value.ndim == 1:
        return {"objects": [_encode_object(name, item) for item in value.tolist()]}
    if isinstance(value, np.ndarray) and value.dtype.kind in ARRAY_KINDS:
        arrays[name] = value
        return {"array": name}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        items = {
            key: _encode(f"{name}/{key}", item, arrays) for key, item in value.items()
        }
        return {"dict": items}
    if isinstance(value, list | tuple):
        items = [
            _encode(f"{name}/{place}", item, arrays) for place, item in enumerate(value)
        ]
        return items if isinstance(value, list) else {"tuple": items}
    return value if value is None else _encode_object(name, value)


def _encode_object(name, value):
    """Give a number or a text as JSON can hold it."""
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, str | int | float):  # bool is an int
        return plain
    raise TypeError(
        f"{name} holds {type(value).__name__} objects such as {value!r}, which save "
        "cannot write as data: it takes numbers and strings. Use pickle or joblib, or "
        "fit with other ids, for example astype(str)."
    )


def _write_arrays(file, arrays):
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                npy.write_array(entry, array, version=(1, 0), allow_pickle=False)


def _write_atomically(path, write):
    """Write a file that takes the place of the one at `path` only when it is whole."""
    target = os.path.realpath(path)  # of a symbolic link, what it points to
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        raise FileNotFoundError(errno.ENOENT, "No such folder to save in", folder)
    if os.path.exists(target) and not os.path.isfile(target):
        raise ValueError(f"{os.fspath(path)!r} is not a file: pass another path.")
    temporary = os.path.join(folder, f".{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        if os.path.exists(target):
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


# ------------------------------------------------------------------------------ loading


def load(
    path: str | os.PathLike[str],
) -> ALSFactorizer | SGDFactorizer | BiasedMF | AutoRec | MultiTaskMF:
    """Load a model that `save` wrote.

    Nothing in the file is run, whoever wrote it, and a file whose parts do not fit
    together is refused.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    ALSFactorizer, SGDFactorizer, BiasedMF, AutoRec or MultiTaskMF
        A model with the parameters and the fitted attributes of the one saved, to the
        bit: it predicts the same, and `partial_fit` and `warm_start` go on from where
        it stood.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not a whole and consistent one from `save`, or if it is from a
        newer sklearn_mf that writes what this one cannot read.

    See Also
    --------
    BiasedMF.save : The way out.

    Examples
    --------
    >>> import os, tempfile
    >>> import sklearn_mf
    >>> from sklearn_mf.datasets import make_ratings
    >>> X, y = make_ratings(random_state=0)
    >>> model = sklearn_mf.ALSFactorizer(n_factors=5, random_state=0).fit(X, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "model.npz")
    ...     model.save(path)
    ...     loaded = sklearn_mf.load(path)
    >>> loaded
    ALSFactorizer(n_factors=5, random_state=0)
    >>> bool((loaded.predict(X) == model.predict(X)).all())
    True
    """
    path = os.fspath(path)
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                return _restore(archive, os.fstat(file.fileno()).st_size)
        except MemoryError:
            raise
        except NewerFileError as error:
            raise ValueError(f"{path!r} cannot be loaded: {error}") from None
        except Exception as error:  # many kinds, where bytes are not what they should
            reason = str(error).rstrip(".") or type(error).__name__
            raise ValueError(
                f"{path!r} is not a whole file from save: {reason}. Save the model "
                "again, or pass an unchanged file that save wrote; load what pickle or "
                "joblib wrote with these."
            ) from error


def _restore(archive, size):
    """Make the model that an archive of `size` bytes describes."""
    if f"{MODEL_ENTRY}.npy" not in archive.namelist():
        raise ValueError("it holds other data")
    _check_sizes(archive, size)
    content = json.loads(_read_array(archive, MODEL_ENTRY, kinds="S").item())
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError("it holds other data")
    writer = f"it is from sklearn_mf {content.get('sklearn_mf_version')}"
    upgrade = f"to sklearn_mf {__version__}. Upgrade sklearn_mf."
    if content["format_version"] > FORMAT_VERSION:
        raise NewerFileError(f"{writer}, and its format is unknown {upgrade}")
    name, parameters = content["class"], content["parameters"]
    if name not in MODELS:
        raise NewerFileError(f"{writer}, and its class {name!r} is unknown {upgrade}")
    model = MODELS[name]()
    unknown = sorted(parameters.keys() - model.get_params(deep=False).keys())
    if unknown:
        raise NewerFileError(
            f"{writer}, and the parameter {unknown[0]!r} of {name} is unknown {upgrade}"
        )

    read = functools.cache(functools.partial(_read_array, archive))
    for key, value in parameters.items():
        setattr(model, key, _decode(value, read))
    model._validate_params()
    for key, value in content["attributes"].items():
        if not (_names_fitted(key) and key.isidentifier()) or hasattr(model, key):
            raise ValueError(f"{key!r} is not a name of a fitted attribute")
        setattr(model, key, _decode(value, read))
    _check(model)
    return model


def _check_sizes(archive, size):
    """Check that the entries of an archive of `size` bytes do not unpack to more."""
    entries = archive.infolist()
    if (
        any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
        or sum(entry.file_size for entry in entries) > size
    ):
        raise ValueError("its entries are compressed, or said to exceed the file")


def _read_array(archive, name, kinds=ARRAY_KINDS):
    """Read an array. Nothing is allocated before it is known to be of that size."""
    info = archive.getinfo(f"{name}.npy")
    with archive.open(info) as entry:
        if npy.read_magic(entry) != (1, 0):
            raise ValueError(f"{name} is of another format")
        shape, _, dtype = npy.read_array_header_1_0(entry)
        end = entry.tell() + math.prod(shape) * dtype.itemsize
    if dtype.hasobject or dtype.kind not in kinds:
        raise ValueError(f"{name} holds {dtype}, which is not data that save writes")
    if end != info.file_size:
        raise ValueError(f"{name} is not of the size that it says")
    with archive.open(info) as entry:
        array = npy.read_array(entry, allow_pickle=False)
    native = dtype.newbyteorder("=")  # the file may come from another kind of machine
    return array.astype(native, order="C", copy=False)


def _decode(value, read):
    """Make what `_encode` was given."""
    if isinstance(value, list):
        return [_decode(item, read) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "array":
        return read(content)
    if kind == "dict":
        return {key: _decode(item, read) for key, item in content.items()}
    if kind == "tuple":
        return tuple(_decode(item, read) for item in content)
    if kind == "objects":
        array = np.empty(len(content), dtype=object)
        array[:] = content
        return array
    raise ValueError(f"it holds values of kind {kind!r}")


# ----------------------------------------------------------------------------- checking


def _check(model):
    """Check that the fitted attributes are what a fit gives, and fit together.

    Kernels do not look whether an index is in range: what passes here cannot lead them
    out of an array.
    """
    fitted = {key: value for key, value in vars(model).items() if _names_fitted(key)}
    stochastic = isinstance(model, StochasticFactorizer)
    _check_numbers(model, fitted)
    dtype, n_factors = _check_factors(model, fitted)
    if "optimizer_" in fitted or "optimizer_state_" in fitted:
        _demand(stochastic, "optimizer_", "is not of this class")
        _check_state(model, fitted, dtype, n_factors)
    shape = len(fitted["users_"]), len(fitted["items_"])
    _check_pattern(_get(fitted, "seen_indptr_"), _get(fitted, "seen_indices_"), shape)
    if isinstance(model, AutoRec):
        _check_network(fitted, dtype, n_factors)
    if isinstance(model, MultiTaskMF):
        _check_layers(fitted, dtype, n_factors)
    if any(name in fitted for name in HEADER):
        _check_header(fitted)


def _get(fitted, name):
    _demand(name in fitted, name, "is missing")
    return fitted[name]


def _demand(truth, name, fault):
    if not truth:
        raise ValueError(f"{name} {fault}")


def _is_number(value, kind=Real):
    return (
        isinstance(value, kind) and not isinstance(value, bool) and math.isfinite(value)
    )


def _are_numbers(values):
    return isinstance(values, list) and all(map(_is_number, values))


def _check_numbers(model, fitted):
    """Check what is not an array."""
    ends = _get(fitted, "rating_range_")
    _demand(
        isinstance(ends, tuple)
        and len(ends) == 2
        and all(map(_is_number, ends))
        and ends[0] <= ends[1],
        "rating_range_",
        "is not a range",
    )
    _demand(_is_number(_get(fitted, "global_mean_")), "global_mean_", "is not a number")
    counts, curves = ["n_iter_"], {"loss_curve_": _get(fitted, "loss_curve_")}
    if isinstance(model, MultiTaskMF):
        losses = curves.pop("loss_curve_")
        _demand(
            isinstance(losses, dict)
            and list(losses) == ["joint", "factorization", "regression"],
            "loss_curve_",
            "is not a dict of joint, factorization and regression",
        )
        curves = {f"loss_curve_[{name!r}]": curve for name, curve in losses.items()}
    if isinstance(model, EarlyStoppingMixin):
        counts.append("best_iter_")
        if _get(fitted, "validation_scores_") is not None:
            curves["validation_scores_"] = fitted["validation_scores_"]
    if isinstance(model, StochasticFactorizer):
        weight = _get(fitted, "weight_sum_")
        _demand(_is_number(weight) and weight > 0, "weight_sum_", "is not above 0")
    for name in counts:
        count = _get(fitted, name)
        _demand(_is_number(count, Integral) and 0 <= count < 2**32, name, "is no count")
    for name, curve in curves.items():
        _demand(_are_numbers(curve), name, "is not a list of numbers")


def _check_factors(model, fitted):
    """Check ids and parameters; give the dtype and the number of factors."""
    factors = _get(fitted, "user_factors_")
    _demand(
        isinstance(factors, np.ndarray)
        and factors.ndim == 2
        and factors.dtype in (np.float32, np.float64),
        "user_factors_",
        "is not a matrix of floats",
    )
    dtype, n_factors = factors.dtype, factors.shape[1]
    for side in ("user", "item"):
        labels = _get(fitted, f"{side}s_")
        _check_labels(f"{side}s_", labels)
        shapes = {f"{side}_factors_": (len(labels), n_factors)}
        if model._biased:
            shapes[f"{side}_biases_"] = (len(labels),)
        for name, shape in shapes.items():
            _check_array(name, _get(fitted, name), dtype, shape)
            _demand(np.isfinite(fitted[name]).all(), name, "holds NaN or infinity")
    return dtype, n_factors


def _check_array(name, array, dtype, shape):
    _demand(
        isinstance(array, np.ndarray) and array.dtype == dtype and array.shape == shape,
        name,
        f"is not an array of {dtype} of shape {shape}",
    )


def _check_labels(name, labels):
    """Check that labels are what `factorize` gives: of one kind, sorted, distinct."""
    _demand(
        isinstance(labels, np.ndarray) and labels.ndim == 1 and len(labels) > 0,
        name,
        "is not a list of ids",
    )
    if labels.dtype == object:
        values = labels.tolist()
        kinds = [all(isinstance(id_, kind) for id_ in values) for kind in (str, Real)]
        _demand(any(kinds), name, "holds ids of several kinds")
        ascending = all(left < right for left, right in pairwise(values))
    else:
        _demand(labels.dtype.kind in "iufUM", name, f"holds {labels.dtype}")
        if labels.dtype.kind == "U":
            codes = labels.view(np.uint32)
            _demand(codes.max() <= sys.maxunicode, name, "holds what is no text")
        ascending = (labels[:-1] < labels[1:]).all()
    _demand(
        ascending and labels[0] == labels[0],  # not NaN
        name,
        "is not sorted, or holds an id twice",
    )


def _check_state(model, fitted, dtype, n_factors):
    """Check that the optimizer's state is of the shape that its kernels expect."""
    optimizer, state = _get(fitted, "optimizer_"), _get(fitted, "optimizer_state_")
    _demand(
        isinstance(optimizer, str) and optimizer in OPTIMIZERS,
        "optimizer_",
        f"is {optimizer!r}",
    )
    descent = replace(model._descent(), optimizer=optimizer, state={})
    for side in ("user", "item"):
        shape = len(fitted[f"{side}s_"]), n_factors + model._biased
        descent.begin(side, np.broadcast_to(dtype.type(0), shape))
    _demand(
        isinstance(state, dict) and state.keys() == descent.state.keys(),
        "optimizer_state_",
        f"is not a dict of {', '.join(descent.state)}",
    )
    for key, array in descent.state.items():
        _check_array(f"optimizer_state_[{key!r}]", state[key], dtype, array.shape)


def _check_network(fitted, dtype, n_factors):
    """Check what an autoencoder has beside its factors."""
    axis = _get(fitted, "axis_")
    _demand(axis in ("user", "item"), "axis_", f"is {axis!r}")
    n_columns = len(fitted["items_" if axis == "user" else "users_"])
    for name, shape in (
        ("encoder_weights_", (n_columns, n_factors)),
        ("encoder_biases_", (n_factors,)),
        ("seen_ratings_", fitted["seen_indices_"].shape),
    ):
        _check_array(name, _get(fitted, name), dtype, shape)
        _demand(np.isfinite(fitted[name]).all(), name, "holds NaN or infinity")


def _check_layers(fitted, dtype, n_factors):
    """Check what two tasks have beside the factors of the first."""
    arrays = {}
    for side in ("user", "item"):
        name = f"{side}_rating_factors_"
        arrays[name] = _get(fitted, name), fitted[f"{side}_factors_"].shape
    layers = _get(fitted, "coefs_"), _get(fitted, "intercepts_")
    _demand(
        all(isinstance(part, list) for part in layers)
        and 0 < len(layers[0]) == len(layers[1]),
        "coefs_",
        "does not have a layer for each of intercepts_, which are one or more",
    )
    n_inputs = 3 * n_factors
    for at, (weights, biases) in enumerate(zip(*layers, strict=True)):
        n_outputs = np.size(biases)
        _demand(n_outputs > 0, f"intercepts_[{at}]", "is empty")
        arrays[f"coefs_[{at}]"] = weights, (n_inputs, n_outputs)
        arrays[f"intercepts_[{at}]"] = biases, (n_outputs,)
        n_inputs = n_outputs
    _demand(n_inputs == 1, "coefs_", "has more than one output")
    for name, (array, shape) in arrays.items():
        _check_array(name, array, dtype, shape)
        _demand(np.isfinite(array).all(), name, "holds NaN or infinity")


def _check_pattern(indptr, indices, shape):
    """Check that the compressed sparse rows of a matrix of a shape are sound."""
    _check_array("seen_indptr_", indptr, np.dtype(np.int64), (shape[0] + 1,))
    _check_array("seen_indices_", indices, np.dtype(np.int32), (np.size(indices),))
    _demand(
        indptr[0] == 0
        and indptr[-1] == len(indices)
        and (indptr[:-1] <= indptr[1:]).all(),
        "seen_indptr_",
        "does not cut seen_indices_ into rows",
    )
    rises = np.empty(len(indices) + 1, dtype=bool)
    rises[1:-1] = indices[:-1] < indices[1:]
    rises[indptr] = True  # a row begins, or the last one ends
    _demand(
        rises.all() and (indices >= 0).all() and (indices < shape[1]).all(),
        "seen_indices_",
        "does not hold ascending positions of items_",
    )


def _check_header(fitted):
    """Check what fit remembers of the columns of X."""
    n_features = _get(fitted, "n_features_in_")
    _demand(_is_number(n_features, Integral), "n_features_in_", "is not a number")
    if "feature_names_in_" in fitted:
        names = fitted["feature_names_in_"]
        _check_array("feature_names_in_", names, np.dtype(object), (n_features,))
        texts = all(isinstance(name, str) for name in names)
        _demand(texts, "feature_names_in_", "does not hold texts")
