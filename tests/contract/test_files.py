"""A model that is copied, pickled or saved is the same model, and goes on as before."""

import copy
import itertools
import pickle
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import InconsistentVersionWarning

import sklearn_mf
from tests.assertions import (
    assert_same,
    assert_same_bits,
    assert_same_model,
    left_as_it_was,
)
from tests.contract.models import (
    DTYPES,
    FAMILIES,
    MORE,
    MORE_Y,
    X,
    each_model,
    in_turn,
)

UNSEEN = np.array([[0, 999], [999, 0], [999, 999], [-1, 2**40]])


def unpickled(model, path):
    return pickle.loads(pickle.dumps(model))


def read_by_joblib(model, path):
    joblib.dump(model, path)
    return joblib.load(path)


def mapped_by_joblib(model, path):
    joblib.dump(model, path)
    return joblib.load(path, mmap_mode="r")


def deep_copy(model, path):
    return copy.deepcopy(model)


def saved_and_loaded(model, path):
    model.save(path)
    return sklearn_mf.load(path)


COPIES = [unpickled, read_by_joblib, mapped_by_joblib, deep_copy, saved_and_loaded]


@in_turn("copied", COPIES)
@in_turn("dtype", DTYPES)
@each_model()
def test_a_copy_is_the_same_model(model, dtype, copied, path):
    y = model.y().astype(dtype)
    fitted = model(clip=False).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = copied(fitted, path)
    assert_same_bits(found, fitted)
    assert list(vars(found)) == list(vars(fitted))
    assert_same(found.get_params(), fitted.get_params())
    if copied is saved_and_loaded:
        assert_same_model(fitted, found)
    for method in ("predict", "transform", model.link):
        expected = getattr(fitted, method)(MORE)
        assert_array_equal(getattr(found, method)(MORE), expected, strict=True)
    assert found.score(X, y) == fitted.score(X, y)
    assert list(found.get_feature_names_out()) == list(fitted.get_feature_names_out())
    users = [*fitted.users_[:5], 999]
    for one, other in zip(
        found.recommend(users, 4), fitted.recommend(users, 4), strict=True
    ):
        assert_array_equal(one.filled(-1), other.filled(-1))
    assert clone(found).get_params() == fitted.get_params()
    assert not hasattr(clone(found), "users_")
    # Apart from each other: the copy may learn something else.
    with left_as_it_was(fitted):
        other = model.known({"fit_intercept": False, "warm_start": False})
        found.set_params(**other).fit(*model.more())


@in_turn(
    ("copied", "dtype"),
    [*zip(COPIES, itertools.cycle(DTYPES)), (saved_and_loaded, np.float64)],
)
@each_model()
def test_a_copy_goes_on_as_the_model_does(model, dtype, copied, path):
    fitted = model().fit(X, model.y().astype(dtype))
    found = copied(fitted, path)
    more, more_y = model.more()
    if model.has("partial_fit"):
        for _ in range(2):
            for each in (fitted, found):
                each.partial_fit(more, more_y)
            assert_same_bits(found, fitted)
        found = copied(fitted, path)
        assert_same_bits(found, fitted)
    if model.has("fold_in_users") and not model.shares:
        known = np.isin(more[:, 1], fitted.items_)
        for each in (fitted, found):
            each.fold_in_users(more[known], more_y[known])
        found = copied(fitted, path)
        assert_same_bits(found, fitted)
    for each in (fitted, found):
        each.set_params(warm_start=True).fit(MORE, model.y(MORE_Y))
    assert_same_bits(found, fitted)


@each_model()
def test_a_copy_of_a_model_that_is_not_fitted(model, path):
    for copied in (unpickled, deep_copy):
        found = copied(model(), path)
        assert vars(found) == vars(model())
        assert_same_bits(found.fit(X, model.y()), model().fit(X, model.y()))


@each_model(among=FAMILIES)
def test_a_pickle_of_another_version_warns(model, monkeypatch):
    fitted, name = model().fit(X, model.y()), model.cls.__name__
    pickled = pickle.dumps(fitted)
    assert pickled.count(sklearn_mf.__version__.encode()) == 1
    other = "9" * len(sklearn_mf.__version__)
    pickled = pickled.replace(sklearn_mf.__version__.encode(), other.encode())
    with pytest.warns(InconsistentVersionWarning, match=name) as record:
        loaded = pickle.loads(pickled)
    (warning,) = record
    assert warning.message.estimator_name == name
    assert warning.message.current_sklearn_version.endswith(sklearn_mf.__version__)
    assert warning.message.original_sklearn_version == f"sklearn_mf {other}"
    assert_same_bits(loaded, fitted)


# ------------------------------------------------------------- files of other libraries


@in_turn("dtype", DTYPES)
@each_model(lambda model: not model.is_latent)
def test_onnx_predicts_the_same(model, dtype):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    from sklearn_mf.onnx import to_onnx

    fitted = model().fit(X, model.y().astype(dtype))
    pairs = np.vstack([X, MORE, UNSEEN])
    session = runtime.InferenceSession(to_onnx(fitted).SerializeToString())
    ids = {"user": pairs[:, 0], "item": pairs[:, 1]}
    (ratings,) = session.run(None, ids)
    expected = model.numbers(fitted, pairs)
    # Of terms as large as the largest prediction, little may be left.
    free = fitted.set_params(**model.known({"clip": False}))
    scale = abs(model.numbers(free, pairs)).max()
    tol = 32 * np.finfo(dtype).eps
    assert_allclose(ratings, expected, rtol=tol, atol=tol * scale, strict=True)


@in_turn("kind", [int, str])
@each_model()
def test_skops_trusts_the_estimator_alone(model, kind):
    skops = pytest.importorskip("skops.io")
    more, more_y = model.more()
    table, pairs = (pd.DataFrame(ids).astype(kind) for ids in (X, more))
    fitted = model().fit(table, model.y())
    data = skops.dumps(fitted)
    own = f"{model.cls.__module__}.{model.cls.__name__}"
    assert skops.get_untrusted_types(data=data) == [own]
    loaded = skops.loads(data, trusted=[own])
    assert_same_model(fitted, loaded)
    assert_array_equal(loaded.predict(pairs), fitted.predict(pairs))
    if model.has("partial_fit"):
        assert_same_bits(
            loaded.partial_fit(pairs, more_y), fitted.partial_fit(pairs, more_y)
        )
