"""Models as ONNX graphs: ids, options and errors."""

import copy
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline

from tests.files.helpers import (
    X,
    Y,
    als,
    biased,
    objects,
    saved,
    with_ids,
)

FITTED = biased(optimizer="adam", n_factors=2, learning_rate=0.05).fit(X, Y)


@pytest.fixture
def onnx():
    return pytest.importorskip("onnx")


def infer(graph, users, items):
    """Run a graph in onnxruntime."""
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(graph.SerializeToString())
    (ratings,) = session.run(["rating"], {"user": users, "item": items})
    return ratings


def assert_onnx_predicts(model, pairs, users, items, **params):
    from sklearn_mf.onnx import to_onnx

    ratings = infer(to_onnx(model, **params), users, items)
    expected = model.predict(pairs)
    assert ratings.dtype == expected.dtype
    # Of terms as large as the largest prediction, little may be left.
    scale = np.abs(copy.copy(model).set_params(clip=False).predict(pairs)).max()
    tol = 32 * np.finfo(expected.dtype).eps
    assert_allclose(ratings, expected, rtol=tol, atol=tol * scale, strict=True)


UNSEEN = np.array([[0, 999], [999, 0], [999, 999], [-1, 2**40]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("loss", ["squared_error", "log_loss"])
def test_of_large_scores(loss, clip, dtype, onnx):
    model = biased(loss=loss, clip=clip)
    model.fit(X, (Y / 5 if loss == "log_loss" else Y).astype(dtype))
    model.user_factors_ *= 100
    model.item_factors_ *= 10
    assert_onnx_predicts(model, X, X[:, 0], X[:, 1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("make", [als, biased])
def test_of_features(make, dtype, onnx):
    cold = np.array([[0, 50], [50, 51], [3, 999], [50, 999]])
    rng = np.random.default_rng(0)
    ids = np.arange(60)
    model = make(
        item_features=(ids, rng.normal(size=(60, 2))),
        user_features=["rated", (ids, rng.normal(size=(60, 3)))],
    ).fit(X, Y.astype(dtype))
    assert len(model.items_) == len(model.users_) == 60
    assert np.ptp(model.predict(cold[:3])) > 0
    pairs = np.vstack([X, cold])
    assert_onnx_predicts(model, pairs, pairs[:, 0], pairs[:, 1])


@pytest.mark.parametrize("ends", [None, (2.5, 3.0), (3.0, np.inf)])
def test_predict_and_onnx_clip_alike(ends, onnx, monkeypatch):
    monkeypatch.setattr(type(FITTED), "_clip_range", lambda self: ends)
    assert_onnx_predicts(FITTED, X, X[:, 0], X[:, 1])
    if ends:
        assert FITTED.predict(X).min() == ends[0]


@pytest.mark.parametrize("target_opset", [None, 13, 15, 18, np.int64(21)])
def test_graph_is_valid(target_opset, onnx):
    from sklearn_mf.onnx import to_onnx

    model = biased(loss="log_loss").fit(X, Y / 5)
    graph = to_onnx(model, target_opset=target_opset)
    onnx.checker.check_model(graph, full_check=True)
    versions = {opset.domain: opset.version for opset in graph.opset_import}
    assert versions == {"": target_opset or 13, "ai.onnx.ml": 2}
    assert graph.producer_name == "sklearn_mf"
    assert [value.name for value in graph.graph.input] == ["user", "item"]
    assert_onnx_predicts(model, X, X[:, 0], X[:, 1], target_opset=target_opset)
    evaluator = pytest.importorskip("onnx.reference").ReferenceEvaluator(graph)
    (ratings,) = evaluator.run(None, {"user": X[:, 0], "item": X[:, 1]})
    assert_allclose(ratings, model.predict(X), rtol=1e-12, strict=True)


@pytest.mark.parametrize("target_opset", [12, 10**6, 13.0, "13", True])
def test_target_opset_is_checked(target_opset, onnx):
    from sklearn_mf.onnx import to_onnx

    with pytest.raises(ValueError, match="target_opset must be an int from 13 to"):
        to_onnx(FITTED, target_opset=target_opset)


@pytest.mark.parametrize("make", [str, "ü{}\U0001f600".format, "{}\0".format])
def test_of_strings(make, onnx):
    pairs = with_ids(np.vstack([X, UNSEEN]), make)
    model = biased().fit(pairs[: len(X)], Y)
    assert_onnx_predicts(model, pairs, pairs[:, 0], pairs[:, 1])


def test_of_users_and_items_of_two_kinds(onnx):
    frame = pd.DataFrame({"film": X[:, 1].astype(str), "who": X[:, 0]})
    model = biased(user_column="who", item_column="film").fit(frame, Y)
    users, items = X[:, 0], X[:, 1].astype(str).astype(object)
    assert_onnx_predicts(model, frame, users, items)


@pytest.mark.parametrize("dtype", ["i1", "u8", "f2", "f4", "f8", "?"])
def test_of_other_integers(dtype, onnx):
    pairs = X.astype(dtype)
    model = als().fit(pairs, Y)
    assert_onnx_predicts(model, pairs, *pairs.astype(np.int64).T.copy())


def test_of_extreme_integers(onnx):
    ids = np.array([-(2**63), -1, 0, 2**53 + 1, 2**63 - 1])
    pairs = np.column_stack([ids, ids])
    model = biased(n_factors=1).fit(pairs, np.arange(5.0))
    assert_onnx_predicts(model, pairs, ids, ids)


@pytest.mark.parametrize(
    ("make", "example"),
    [
        (lambda id_: id_ + 0.5, "19.5"),
        (lambda id_: id_ + 2**63, str(2**63 + 19)),
        (lambda id_: id_ + 2.0**63, r"9.22337\d+e\+18"),
        (lambda id_: id_ + 2**70, str(2**70 + 19)),
        (lambda id_: (id_,), r"\(19,\)"),
    ],
)
def test_of_other_ids(make, example, onnx):
    from sklearn_mf.onnx import to_onnx

    table = with_ids(X, int)
    table[:, 1] = objects([make(id_) for id_ in table[:, 1].tolist()])
    if "e" in example:
        table[:, 1] = objects([id_ * (1 + k % 2) for k, id_ in enumerate(table[:, 1])])
        example = r"1.8446\d+e\+19"
    with pytest.raises(ValueError, match=rf"items_: .*{example}.*astype\(str\)"):
        to_onnx(als().fit(table, Y))


def test_of_text_that_is_no_unicode(onnx):
    from sklearn_mf.onnx import to_onnx

    model = als().fit(with_ids(X, "\udc80{}".format), Y)
    with pytest.raises(ValueError, match="users_ holds text that is no Unicode"):
        to_onnx(model)


def test_of_a_loaded_model(onnx, path):
    from sklearn_mf.onnx import to_onnx

    loaded = saved(FITTED, path)
    assert to_onnx(loaded).SerializeToString() == to_onnx(FITTED).SerializeToString()


def test_a_model_that_is_not_fitted_is_an_error(onnx):
    from sklearn_mf.onnx import to_onnx

    with pytest.raises(NotFittedError):
        to_onnx(als())


def test_is_not_installed(monkeypatch):
    from sklearn_mf.onnx import to_onnx

    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r'pip install "sklearn_mf\[onnx\]"'):
        to_onnx(FITTED)


@pytest.mark.compiled
def test_import_does_not_import_onnx():
    code = "import sys, sklearn_mf; print('onnx' in sys.modules)"
    command = [sys.executable, "-c", code]
    assert subprocess.check_output(command, text=True, timeout=120) == "False\n"


def test_onnx_of_what_is_no_estimator_of_ours(onnx):
    from sklearn_mf.onnx import to_onnx

    for model in (make_pipeline(als()).fit(X, Y), LinearRegression()):
        with pytest.raises(TypeError, match=r"got .*best_estimator_"):
            to_onnx(model)
