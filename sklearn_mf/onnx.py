"""Models as ONNX graphs, which predict without Python."""

from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np
from sklearn.base import is_classifier

from sklearn_mf._data.labels import cast_exactly, kind_of
from sklearn_mf._estimators.base import BaseFactorizer
from sklearn_mf._objective.loss import to_intercept
from sklearn_mf._version import __version__

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["to_onnx"]

OLDEST_OPSET = 13
ML_OPSET = 2  # the first in which LabelEncoder takes any keys and values


def to_onnx(model: BaseFactorizer, *, target_opset: int | None = None) -> "ModelProto":
    """Turn a fitted model into an ONNX graph that predicts what the model predicts.

    Parameters
    ----------
    model : estimator of sklearn_mf
        A fitted model. Its ids are integers, strings, or floats that are whole numbers.
    target_opset : int or None, default=None
        Version of ONNX's operators. None: 13, the oldest that will do, which all
        runtimes since 2020 know.

    Returns
    -------
    onnx.ModelProto
        The graph. Its inputs ``user`` and ``item``, tensors of shape (n_pairs,), take
        ids: int64 for numbers, else strings. Its output ``rating`` of shape (n_pairs,)
        is what `predict` gives, of the same dtype and equal to rounding. Of an
        `MFClassifier` the output is called ``probability``, and is that of the second
        of `classes_`. Unseen ids are accepted as in `predict`.

    Raises
    ------
    ImportError
        If the package onnx is not installed.
    ValueError
        If ids are of another kind, `target_opset` is not known to the package onnx, or
        the model is a BayesianMF with another likelihood than "gaussian".

    Notes
    -----
    Protocol Buffers, the format of ONNX files, ends at 2 GiB: save larger models with
    ``onnx.save(..., save_as_external_data=True)``.

    Examples
    --------
    >>> import numpy as np
    >>> from onnxruntime import InferenceSession
    >>> from sklearn_mf import BiasedMF
    >>> from sklearn_mf.datasets import make_ratings
    >>> from sklearn_mf.onnx import to_onnx
    >>> X, y = make_ratings(random_state=0)
    >>> model = BiasedMF(random_state=0).fit(X, y)
    >>> session = InferenceSession(to_onnx(model).SerializeToString())
    >>> (ratings,) = session.run(["rating"], {"user": X[:, 0], "item": X[:, 1]})
    >>> bool(np.allclose(ratings, model.predict(X)))
    True
    """
    onnx = _import_onnx()
    if not isinstance(model, BaseFactorizer):
        raise TypeError(
            "model must be an ALSFactorizer, SGDFactorizer, BiasedMF, BayesianMF, "
            "AutoRec, MultiTaskMF, RankingFactorizer or MFClassifier, got "
            f"{type(model).__name__}: of a search pass best_estimator_, of a pipeline "
            "its last step."
        )
    if getattr(model, "_is_latent", False):
        raise ValueError(
            f"{type(model).__name__} with likelihood={model.likelihood!r}: its "
            "predictions are means over many draws, which is more than a graph of "
            "factors says. Export a BayesianMF with likelihood='gaussian', a BiasedMF "
            "or an MFClassifier."
        )
    model = model._snapshot()
    newest = onnx.defs.onnx_opset_version()
    opset = OLDEST_OPSET if target_opset is None else target_opset
    if not isinstance(opset, Integral) or not OLDEST_OPSET <= opset <= newest:
        raise ValueError(
            f"target_opset must be an int from {OLDEST_OPSET} to {newest}, the newest "
            f"that onnx {onnx.__version__} knows, got {target_opset!r}."
        )
    graph = Graph(onnx)
    _add_model(graph, model)
    opsets = [
        onnx.helper.make_opsetid("", int(opset)),
        onnx.helper.make_opsetid("ai.onnx.ml", ML_OPSET),
    ]
    return onnx.helper.make_model(
        graph.make(type(model).__name__),
        opset_imports=opsets,
        ir_version=onnx.helper.find_min_ir_version_for(opsets),
        producer_name="sklearn_mf",
        producer_version=__version__,
    )


def _import_onnx():
    try:
        import onnx
    except ImportError as error:
        raise ImportError(
            'to_onnx needs the package onnx: pip install "sklearn_mf[onnx]".'
        ) from error
    return onnx


class Graph:
    """A graph of ONNX in the making. All values go by their names."""

    def __init__(self, onnx):
        self.onnx = onnx
        self.nodes, self.constants, self.inputs, self.outputs = [], [], [], []

    def constant(self, name, value):
        """Add an array."""
        self.constants.append(
            self.onnx.numpy_helper.from_array(np.asarray(value), name)
        )
        return name

    def tensor(self, name, dtype):
        """Describe an input or output of shape (n_pairs,)."""
        kind = self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self.onnx.helper.make_tensor_value_info(name, kind, ["n_pairs"])

    def add(self, operator, *inputs, output, **attributes):
        """Add a node."""
        node = self.onnx.helper.make_node(operator, inputs, [output], **attributes)
        self.nodes.append(node)
        return output

    def make(self, name):
        """Return the graph."""
        return self.onnx.helper.make_graph(
            self.nodes, name, self.inputs, self.outputs, self.constants
        )


def _add_model(graph, model):
    """Add what a model predicts. An unseen id has a last row of its own, of zeros."""
    dtype = model.user_factors_.dtype
    rows = {side: _add_ids(graph, model, side) for side in ("user", "item")}

    def gather(name):
        parameters = getattr(model, f"{name}_")
        unseen = np.zeros_like(parameters[:1])
        table = graph.constant(f"{name}_table", np.concatenate([parameters, unseen]))
        return graph.add("Gather", table, rows[name.split("_")[0]], output=name)

    intercept = dtype.type(to_intercept(model.global_mean_, model._logistic))
    add_scores = _add_network if "coefs_" in model._fitted else _add_factors
    rating = add_scores(graph, model, gather, graph.constant("intercept", intercept))
    if model._logistic:
        rating = graph.add("Sigmoid", rating, output="sigmoid")
    clip_range = model._clip_range()
    if clip_range is not None:
        low, high = map(dtype.type, clip_range)
        ends = graph.constant("low", low), graph.constant("high", high)
        rating = graph.add("Clip", rating, *ends, output="clipped")
    name = "probability" if is_classifier(model) else "rating"
    graph.add("Identity", rating, output=name)
    graph.outputs.append(graph.tensor(name, dtype))


def _add_factors(graph, model, gather, score):
    """Add the products of factors, and the biases, to a score."""
    if "user_biases_" in model._fitted:
        for side in ("user", "item"):
            bias = gather(f"{side}_biases")
            score = graph.add("Add", score, bias, output=f"with_{bias}")
    if model.user_factors_.shape[1]:
        factors = gather("user_factors"), gather("item_factors")
        products = graph.add("Mul", *factors, output="products")
        axes = graph.constant("axes", np.array([1]))
        dots = graph.add("ReduceSum", products, axes, output="dots", keepdims=0)
        score = graph.add("Add", score, dots, output="score")
    return score


def _add_network(graph, model, gather, score):
    """Add what a network makes of the factors to a score."""
    factors = gather("user_rating_factors"), gather("item_rating_factors")
    products = graph.add("Mul", *factors, output="products")
    values = graph.add("Concat", *factors, products, output="inputs", axis=1)
    layers = zip(model.coefs_, model.intercepts_, strict=True)
    for at, (weights, biases) in enumerate(layers):
        if at:
            values = graph.add("Relu", values, output=f"rectified_{at}")
        weights = graph.constant(f"weights_{at}", weights)
        biases = graph.constant(f"biases_{at}", biases)
        values = graph.add("Gemm", values, weights, biases, output=f"layer_{at}")
    axes = graph.constant("axes", np.array([1]))
    values = graph.add("Squeeze", values, axes, output="deviation")
    return graph.add("Add", score, values, output="score")


def _add_ids(graph, model, side):
    """Add the input of a side, and its rows among the parameters."""
    labels = getattr(model, f"{side}s_")
    keys = _exact_keys(f"{side}s_", labels)
    graph.inputs.append(graph.tensor(side, keys.dtype))
    kind = "strings" if keys.dtype == object else "int64s"
    return graph.add(
        "LabelEncoder",
        side,
        output=f"{side}_row",
        domain="ai.onnx.ml",
        values_int64s=range(len(labels)),
        default_int64=len(labels),
        **{f"keys_{kind}": keys.tolist()},
    )


def _exact_keys(name, labels):
    """Return ids as ONNX can look them up: int64, or objects that are text."""
    kind = kind_of(labels)
    if kind == "text":
        texts = labels.astype(object)
        try:
            "".join(texts).encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"{name} holds text that is no Unicode, which ONNX cannot: {error}."
            ) from None
        return texts
    if labels.dtype.kind in "iuf":
        keys, exact = cast_exactly(labels, np.int64)
        if np.all(exact):
            return keys
    example = labels[-1:].tolist()[0]
    raise ValueError(
        f"{name}: ONNX looks up ids that are strings or whole numbers of 64 bits, got "
        f"{kind!r} ids such as {example!r}. Fit with ids of such a kind, for example "
        "with astype(str)."
    )
