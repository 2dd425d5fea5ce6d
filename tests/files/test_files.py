"""Files of models: ids of all kinds, foreign, damaged and tampered files."""

import datetime
import io
import json
import os
import pickle
import re
import stat
import subprocess
import sys
import warnings
import zipfile
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib import format as npy
from numpy.testing import assert_array_equal
from sklearn.callback import ProgressBar
from sklearn.exceptions import NotFittedError

import sklearn_mf
from sklearn_mf import ALSFactorizer, BiasedMF, load
from sklearn_mf._files import archive
from tests.assertions import assert_same, assert_same_model
from tests.files.helpers import (
    MORE,
    MORE_Y,
    QUICK,
    X,
    Y,
    als,
    autorec,
    biased,
    multitask,
    objects,
    save_model,
    saved,
    sgd,
    state,
    with_ids,
)

# ------------------------------------------------------------------------- round trips


def test_partial_fit_from_the_start(path):
    model = sgd(optimizer="adam").partial_fit(X, Y)
    loaded = saved(model, path)
    assert_same_model(model.partial_fit(X, Y), loaded.partial_fit(X, Y))


IDS = {
    "int64": lambda id_: id_ - 10**15,
    "uint64": lambda id_: id_ + 2**63,
    "beyond 64 bits": lambda id_: id_ + 2**70,
    "float": lambda id_: id_ + 0.1,
    "whole float": float,
    "numbers of two kinds": lambda id_: id_ + 2**63 if id_ % 2 else id_ / 10,
    "text": "user {}".format,
    "long text": lambda id_: f"{id_}" * 1000,
    "Unicode": "ü{}\U0001f600".format,
    "trailing NUL": "{}\0".format,
    "only NUL": lambda id_: "\0" * id_,
    "surrogates": "\udc80{}".format,
    "surrogates and NUL": "\udc80{}\0".format,
    "NumPy's text": lambda id_: np.str_(f"{id_}"),
}


@pytest.mark.parametrize("make", IDS.values(), ids=IDS.keys())
def test_ids(make, path):
    table, more = with_ids(X, make), with_ids(MORE, make)
    model = biased().fit(table, Y)
    loaded = saved(model, path)
    assert_same_model(model, loaded)
    assert_array_equal(loaded.predict(more), model.predict(more))
    assert_same_model(model.partial_fit(more, MORE_Y), loaded.partial_fit(more, MORE_Y))
    assert_same_model(model, saved(model, path))


@pytest.mark.parametrize("dtype", ["i1", "u2", "i8", "f2", "f4", "f8", "?", "U2", "S2"])
def test_ids_of_native_dtypes(dtype, path):
    model = als().fit(X.astype(dtype) if dtype != "S2" else X.astype("U2"), Y)
    assert_same_model(model, saved(model, path))


def test_objects_of_numpy_scalars_become_plain(path):
    class Text(str):
        pass

    model = als(n_factors=1).fit([["a", 0], ["b", 1]], [1, 2])
    model.users_ = objects([Text("a\0"), np.str_("b")])
    model.items_ = objects([np.int8(1), np.float32(2.5)])
    loaded = saved(model, path)
    assert_same(loaded.users_, objects(["a\0", "b"]))
    assert_same(loaded.items_, objects([1, 2.5]))


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda id_: (id_, "a"), "tuple"),
        (Decimal, "Decimal"),
        (lambda id_: Fraction(id_, 2**70), "Fraction"),
        (lambda id_: datetime.date(2000, 1, 1 + id_), "date"),
        (lambda id_: bytes([id_]), "bytes"),
    ],
)
@pytest.mark.parametrize("side", [0, 1])
def test_ids_that_are_no_data(make, kind, side, path):
    table = with_ids(X, int)
    column = table[:, side].copy()
    table[:, side] = objects([make(id_) for id_ in column])
    model = als().fit(table, Y)
    name = ("users_", "items_")[side]
    with pytest.raises(TypeError, match=rf"{name} holds {kind} .* pickle or joblib"):
        save_model(model, path)
    assert not path.exists()


def test_feature_names(path):
    frame = pd.DataFrame({"rating": Y, "Käufer": X[:, 0], "film\0": X[:, 1]})
    model = als(user_column="Käufer", item_column="film\0").fit(frame, Y)
    loaded = saved(model, path)
    assert_same_model(model, loaded)
    assert loaded.feature_names_in_.dtype == object
    assert loaded.n_features_in_ == 3
    assert_array_equal(loaded.predict(frame), model.predict(frame))
    with pytest.raises(ValueError, match="feature names should match"):
        loaded.predict(frame.rename(columns={"rating": "stars"}))


def test_fit_on_a_matrix(path):
    model = biased().fit(sklearn_mf.as_matrix(X, Y))
    loaded = saved(model, path)
    assert_same_model(model, loaded)
    assert not hasattr(loaded, "n_features_in_")


def test_parameters_of_numpy_become_plain(path):
    model = biased(
        n_factors=np.int64(2),
        regularization=np.float64(0.1),
        learning_rate=np.float32(0.1),
        tol=np.float64(1e-3),
        max_iter=np.int8(20),
        shuffle=np.bool_(False),
        optimizer=np.str_("adam"),
        random_state=np.uint32(7),
        verbose=1,
    ).fit(X, Y)
    loaded = saved(model, path)
    assert loaded.get_params() == model.get_params()
    kinds = {type(value) for value in loaded.get_params().values()}
    assert kinds == {bool, int, float, str, type(None)}
    assert (loaded.shuffle, loaded.verbose) == (False, 1)
    assert type(loaded.verbose) is int


def test_parameters_of_another_fit(path):
    model = als().fit(X, Y).set_params(n_factors=7, max_iter=10)
    loaded = saved(model, path)
    assert_same_model(model, loaded)
    with pytest.raises(ValueError, match="n_factors"):
        loaded.set_params(warm_start=True).fit(X, Y)


def test_saves_the_same_bytes(path):
    model = biased().fit(X, Y)
    save_model(model, path)
    first = path.read_bytes()
    save_model(load(path), path)
    assert path.read_bytes() == first


def test_what_is_not_saved(path):
    model = als().fit(X, Y).set_callbacks(ProgressBar())
    loaded = saved(model.set_output(transform="pandas"), path)
    assert_same(state(model), state(loaded))
    assert isinstance(loaded.transform(X), np.ndarray)
    assert not any(name[0] == "_" for name in vars(loaded))


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_labels_of_any_text(data, tmp_path_factory):
    texts = st.text(st.characters(exclude_categories=()), max_size=4)
    users = data.draw(st.lists(texts, min_size=1, max_size=6))
    table = np.column_stack([objects(users), objects(list(range(len(users))))])
    model = als(n_factors=1, max_iter=1).fit(table, np.ones(len(users)))
    assert_same_model(model, saved(model, tmp_path_factory.getbasetemp() / "text.npz"))


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=())),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
)


@given(value=PLAIN)
def test_any_plain_value_comes_back(value):
    arrays = {}
    text = json.dumps(archive._encode_value("value", value, arrays))
    assert_same(value, archive._decode_value(json.loads(text), None))
    assert arrays == {}


# ---------------------------------------------------------------------------- the file


def test_file_is_arrays_and_json(path):
    save_model(biased(optimizer="adam").fit(X, Y), path)
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    content = json.loads(arrays.pop("model").item())
    assert content["format"] == "sklearn_mf"
    assert content["format_version"] == 1
    assert content["class"] == "BiasedMF"
    assert content["sklearn_mf_version"] == sklearn_mf.__version__
    assert content["parameters"]["n_factors"] == 3
    assert content["attributes"]["rating_range_"] == {"tuple": [1.0, 5.0]}
    assert arrays["optimizer_state_/item_powers"].shape == (20, 2)
    assert {type(array) for array in arrays.values()} == {np.ndarray}


def test_public_names(path):
    model = als().fit(X, Y)
    assert model.save(path) is None
    assert_same_model(model, sklearn_mf.load(path))


@pytest.mark.parametrize("kind", [str, Path, os.fsencode])
@pytest.mark.parametrize("name", ["model.npz", "model", "model.mf", "ein Modell ü.npz"])
def test_name_is_as_given(name, kind, tmp_path):
    path = kind(tmp_path / name)
    save_model(als().fit(X, Y), path)
    assert os.listdir(tmp_path) == [name]
    load(path)


def test_path_in_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    saved(als().fit(X, Y), "model.npz")
    assert os.listdir(tmp_path) == ["model.npz"]


@pytest.mark.parametrize("function", [load, lambda path: save_model(FITTED, path)])
@pytest.mark.parametrize("path", [0, None, io.BytesIO()])
def test_path_is_no_path(function, path):
    with pytest.raises(TypeError, match="PathLike"):
        function(path)


def test_folder_is_missing(tmp_path):
    path = tmp_path / "missing" / "model.npz"
    with pytest.raises(FileNotFoundError, match="missing"):
        save_model(FITTED, path)
    with pytest.raises(FileNotFoundError, match="missing"):
        load(path)


def test_path_is_a_folder(tmp_path):
    with pytest.raises(ValueError, match="is not a file"):
        save_model(FITTED, tmp_path)
    with pytest.raises(OSError, match=tmp_path.name):
        load(tmp_path)
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="modes and links of POSIX")
def test_mode_and_link_are_kept(tmp_path):
    path, link = tmp_path / "model.npz", tmp_path / "link"
    save_model(FITTED, path)
    assert path.stat().st_mode & 0o777 == 0o666 & ~current_umask()
    path.chmod(0o640)
    link.symlink_to(path.name)
    save_model(FITTED, link)
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def current_umask():
    umask = os.umask(0)
    os.umask(umask)
    return umask


@pytest.mark.parametrize("error", [OSError(28, "No space left"), KeyboardInterrupt()])
@pytest.mark.parametrize("step", ["write_array", "fsync", "replace"])
def test_interrupted_save_leaves_the_old_file(step, error, path, monkeypatch):
    save_model(als(n_factors=1).fit(X, Y), path)
    before = path.read_bytes()
    module = npy if step == "write_array" else os
    original, calls = getattr(module, step), []

    def fail(*args, **kwargs):
        calls.append(args)
        if len(calls) == 3 or step != "write_array":
            raise error
        return original(*args, **kwargs)

    monkeypatch.setattr(module, step, fail)
    with pytest.raises(type(error)):
        save_model(FITTED, path)
    monkeypatch.undo()
    assert calls
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


FITTED = biased(optimizer="adam", n_factors=2).fit(X, Y)

KILLED = """
import os, signal, sys
from sklearn_mf import load
model = load(sys.argv[1])
os.fsync = lambda file: os.kill(os.getpid(), signal.SIGKILL)
model.save(sys.argv[1])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs locks of POSIX")
def test_what_a_killed_save_leaves_is_removed_by_the_next(path):
    save_model(FITTED, path)
    before = path.read_bytes()
    other = path.with_name(".other.npz.01234567.tmp")
    other.write_bytes(b"of another model")
    subprocess.run([sys.executable, "-c", KILLED, path], timeout=120, check=False)
    (orphan,) = set(os.listdir(path.parent)) - {path.name, other.name}
    assert re.fullmatch(r"\.model\.npz\.[0-9a-f]{8}\.tmp", orphan)
    assert path.read_bytes() == before
    save_model(FITTED, path)
    assert set(os.listdir(path.parent)) == {path.name, other.name}


def test_saves_to_one_name_at_once(path, monkeypatch):
    """The second does not take the file that the first is writing for an orphan."""
    original, inner = os.fsync, []

    def save_meanwhile(file):
        original(file)
        if not inner:
            inner.append(True)
            save_model(als(n_factors=1).fit(X, Y), path)
            inner.append(load(path).n_factors)

    monkeypatch.setattr(os, "fsync", save_meanwhile)
    save_model(FITTED, path)
    assert inner == [True, 1]
    assert_same_model(FITTED, load(path))
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("letter", ["x", "ü", "\U0001f600"])
def test_long_names(letter, tmp_path):
    path = tmp_path / (letter * (250 // len(letter.encode())))
    saved(FITTED, path)
    assert os.listdir(tmp_path) == [path.name]


# ---------------------------------------------------------------- what save does not do


def test_not_fitted(path):
    with pytest.raises(NotFittedError):
        save_model(als(), path)
    assert not path.exists()


def test_random_state_is_no_data(path):
    model = als(random_state=np.random.RandomState(0)).fit(X, Y)
    with pytest.raises(ValueError, match=r"random_state .* int or None"):
        save_model(model, path)
    saved(model.set_params(random_state=None), path)


def test_parameters_are_validated(path):
    model = als().fit(X, Y).set_params(regularization="much")
    with pytest.raises(ValueError, match="regularization"):
        save_model(model, path)


def test_changed_attributes_are_checked(path):
    model = als().fit(X, Y)
    model.user_factors_ = model.user_factors_[1:]
    with pytest.raises(ValueError, match="user_factors_"):
        save_model(model, path)
    model = als().fit(X, Y)
    model.extra_ = {1: 2}
    with pytest.raises(TypeError, match="extra_ holds dict"):
        save_model(model, path)
    model.extra_ = np.array([1j])
    with pytest.raises(TypeError, match="extra_ holds ndarray"):
        save_model(model, path)
    assert not path.exists()


def test_class_of_ones_own(path):
    class Mine(ALSFactorizer):
        pass

    with pytest.raises(TypeError, match=r"Mine is not .* pickle"):
        save_model(Mine(**QUICK).fit(X, Y), path)
    Mine.__name__ = "ALSFactorizer"
    with pytest.raises(TypeError, match="ALSFactorizer is not"):
        save_model(Mine(**QUICK).fit(X, Y), path)


def test_unknown_attributes_are_kept(path):
    model = als().fit(X, Y)
    model.extra_ = {"a": [np.arange(3), (1, None)], "b": objects(["x", 1, 2.5])}
    model.days_ = np.array(["2000-01-01"], dtype="M8[D]")
    assert_same_model(model, saved(model, path))


# ------------------------------------------------------------------------ foreign files


def assert_refused(path, reason=None):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=reason) as caught:
            load(path)
    assert repr(os.fspath(path)) in str(caught.value)
    assert type(caught.value) is ValueError
    return str(caught.value)


def test_missing_file(path):
    with pytest.raises(FileNotFoundError, match=r"model\.npz"):
        load(path)


def write_other_arrays(path):
    np.savez(path, a=np.arange(3))


def write_other_arrays_compressed(path):
    np.savez_compressed(path, a=np.arange(3))


def write_other_arrays_of_our_name(path):
    np.savez(path, model=np.array(b"{}"))


def write_other_text_of_our_name(path):
    np.savez(path, model=np.array(b"[1, 2"))


def write_deep_text_of_our_name(path):
    np.savez(path, model=np.array(b"[" * 100_000))


def write_other_dtype_of_our_name(path):
    np.savez(path, model=np.arange(3))


def write_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.npy", "text")


def write_pickle(path):
    path.write_bytes(pickle.dumps(FITTED))


def write_npy(path):
    with open(path, "wb") as file:
        np.save(file, np.arange(3))


@pytest.mark.parametrize(
    "write",
    [
        write_other_arrays,
        write_other_arrays_compressed,
        write_other_arrays_of_our_name,
        write_other_text_of_our_name,
        write_deep_text_of_our_name,
        write_other_dtype_of_our_name,
        write_zip,
        write_pickle,
        write_npy,
        lambda path: path.write_text("user,item,rating\n1,2,3\n"),
        lambda path: path.write_bytes(b""),
    ],
)
def test_foreign_file(write, path):
    write(path)
    assert "file that save wrote" in assert_refused(path, "not a whole file")


class Payload:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark):
        self.mark = str(mark)

    def __reduce__(self):
        return open, (self.mark, "w")


def test_nothing_in_the_file_is_run(path, tmp_path):
    mark = tmp_path / "mark"
    evil = objects([Payload(mark)])
    pickle.loads(pickle.dumps(evil)).item().close()
    mark.unlink()  # so it works

    path.write_bytes(pickle.dumps(evil))
    assert_refused(path)
    np.savez(path, allow_pickle=True, model=evil)
    assert_refused(path, "model holds object")
    content, arrays = read(FITTED, path)
    for name in arrays:
        write(path, content, {**arrays, name: evil})
        assert_refused(path, f"{name} holds object")
    structured = np.zeros(1, dtype=[("a", "O")])
    write(path, content, {**arrays, "users_": structured})
    assert_refused(path, "users_ has a header")
    assert not mark.exists()


# ----------------------------------------------------------------------- damaged files


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Return a small file, its model, and a path to write to."""
    model = biased(n_factors=1, optimizer="adam", max_iter=1)
    model.fit([["ä", 0], ["b", 1], ["b", 0]], [1.0, 2.0, 2.5])
    path = tmp_path_factory.mktemp("damaged") / "model.npz"
    save_model(model, path)
    return path.read_bytes(), model, path


def load_or_refuse(small, data):
    """Load the model, the same as it was, or have it refused."""
    _, model, path = small
    path.write_bytes(data)
    try:
        loaded = load(path)
    except ValueError:
        assert_refused(path)
    else:
        assert_same_model(model, loaded)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_truncated_file(small, data):
    whole = small[0]
    end = data.draw(st.integers(0, len(whole) - 1))
    small[2].write_bytes(whole[:end])
    assert_refused(small[2])


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_flipped_byte(small, data):
    damaged = bytearray(small[0])
    # The directory at the end holds what CRCs do not cover.
    at = data.draw(
        st.integers(0, len(damaged) - 1)
        | st.integers(len(damaged) - 1500, len(damaged) - 1)
    )
    damaged[at] ^= data.draw(st.integers(1, 255))
    load_or_refuse(small, bytes(damaged))


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_shuffled_bytes(small, data):
    whole = small[0]
    cuts = sorted(
        data.draw(st.lists(st.integers(0, len(whole)), min_size=2, max_size=2))
    )
    junk = data.draw(st.binary(max_size=20))
    load_or_refuse(small, whole[: cuts[0]] + junk + whole[cuts[1] :])


# ---------------------------------------------------------------------- tampered files


def read(model, path):
    """Return content and arrays of the file of a model."""
    save_model(model, path)
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    return json.loads(arrays.pop("model").item()), arrays


def write(path, content, arrays):
    text = json.dumps(content).encode()
    np.savez(path, allow_pickle=True, model=np.array(text), **arrays)


def put(*keys, value):
    """Return an edit of the content."""

    def edit(content, arrays):
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return edit


def attribute(name, value):
    return put("attributes", name, value=value)


def parameter(name, value):
    return put("parameters", name, value=value)


def drop(name):
    return lambda content, arrays: content["attributes"].pop(name)


def change(name, change):
    """Return an edit of an array."""

    def edit(content, arrays):
        arrays[name] = change(arrays[name])

    return edit


def set_item(name, at, value):
    def set_value(array):
        array = array.copy()
        array[at] = value
        return array

    return change(name, set_value)


def swap_seen(array):
    array = array.copy()
    array[:2] = array[1::-1]
    return array


TAMPERED = [
    (put("format", value="other"), "other data"),
    (put("format_version", value="1"), None),
    (put("class", value=["ALSFactorizer"]), None),
    (put("parameters", value=[]), None),
    (put("attributes", value=None), None),
    (lambda content, arrays: content.pop("class"), "class"),
    (lambda content, arrays: content.pop("format_version"), "format_version"),
    # parameters
    (parameter("n_factors", -1), "n_factors"),
    (parameter("n_factors", 2.0), "n_factors"),
    (parameter("solver", "sag"), "solver"),
    (parameter("solver", ["sgd"]), "solver"),
    (parameter("user_column", {"array": "users_"}), "user_column"),
    (parameter("random_state", "0"), "random_state"),
    (parameter("random_state", {"pickle": "0"}), "pickle"),
    (parameter("random_state", {"tuple": [], "dict": {}}), None),
    # names
    (attribute("predict", 1), "predict"),
    (attribute("__class_", 1), "__class_"),
    (attribute("_estimator_type_", 1), "_estimator_type_"),
    (attribute("no name_", 1), "no name_"),
    (attribute("users", 1), "users"),
    # plain values
    (attribute("rating_range_", [1.0, 5.0]), "rating_range_"),
    (attribute("rating_range_", {"tuple": [5.0, 1.0]}), "rating_range_"),
    (attribute("rating_range_", {"tuple": [1.0]}), "rating_range_"),
    (attribute("rating_range_", {"tuple": [1.0, np.nan]}), "rating_range_"),
    (attribute("rating_range_", {"tuple": [1.0, "5"]}), "rating_range_"),
    (attribute("global_mean_", "3"), "global_mean_"),
    (attribute("global_mean_", np.inf), "global_mean_"),
    (attribute("global_mean_", None), "global_mean_"),
    (attribute("global_mean_", 10**400), None),
    (attribute("n_iter_", -1), "n_iter_"),
    (attribute("n_iter_", 1.0), "n_iter_"),
    (attribute("n_iter_", True), "n_iter_"),
    (attribute("n_iter_", 2**32), "n_iter_"),
    (attribute("best_iter_", None), "best_iter_"),
    (attribute("loss_curve_", None), "loss_curve_"),
    (attribute("loss_curve_", [1.0, "2"]), "loss_curve_"),
    (attribute("validation_scores_", 1.0), "validation_scores_"),
    (attribute("weight_sum_", 0), "weight_sum_"),
    (attribute("n_features_in_", "2"), "n_features_in_"),
    (attribute("feature_names_in_", {"objects": ["a"]}), "feature_names_in_"),
    (attribute("feature_names_in_", {"objects": ["a", 1]}), "feature_names_in_"),
    (attribute("feature_names_in_", ["a", "b"]), "feature_names_in_"),
    *[
        (drop(name), f"{name} is missing")
        for name in state(FITTED)
        if name[-1] == "_"
        and name not in ("n_features_in_", "learning_rate_")  # not of every fit
    ],
    # arrays
    (lambda content, arrays: arrays.pop("users_"), "users_"),
    (attribute("users_", {"array": "no/such"}), "no/such"),
    (attribute("users_", {"array": ["users_"]}), None),
    (attribute("users_", [1, 2, 3]), "users_"),
    (attribute("users_", {"objects": []}), "users_"),
    (attribute("items_", {"objects": [[k] for k in range(20)]}), "items_"),
    (attribute("items_", {"objects": [None] * 20}), "items_"),
    (attribute("items_", {"objects": [*range(19), "19"]}), "items_"),
    (attribute("items_", {"objects": [*range(1, 20), 0]}), "items_"),
    (change("users_", lambda ids: ids[::-1]), "users_"),
    (change("users_", lambda ids: ids[:-1]), "user_factors_"),
    (change("users_", lambda ids: ids[:0]), "users_"),
    (change("users_", lambda ids: ids[:, np.newaxis]), "users_"),
    (change("users_", lambda ids: np.zeros_like(ids)), "users_"),
    (change("users_", lambda ids: ids * 1j), "users_"),
    (change("users_", lambda ids: ids > 0), "users_"),
    (change("users_", lambda ids: np.where(ids, ids, np.nan)), "users_"),
    (change("items_", lambda ids: np.append(ids, 99)), "item_factors_"),
    (change("user_factors_", lambda rows: rows[:-1]), "user_factors_"),
    (change("user_factors_", lambda rows: rows[0]), "user_factors_"),
    (change("user_factors_", lambda rows: rows[:, :1]), "item_factors_"),
    (change("user_factors_", lambda rows: rows.astype("f4")), "item_factors_"),
    (change("user_factors_", lambda rows: rows.astype("f2")), "user_factors_"),
    (change("user_factors_", lambda rows: rows.astype(int)), "user_factors_"),
    (change("item_factors_", lambda rows: rows.astype("f4")), "item_factors_"),
    (set_item("item_factors_", (0, 0), np.nan), "item_factors_"),
    (set_item("user_biases_", 0, np.inf), "user_biases_"),
    (change("item_biases_", lambda row: row[1:]), "item_biases_"),
    (change("item_biases_", lambda row: row[:, np.newaxis]), "item_biases_"),
    # the pattern
    (set_item("seen_indptr_", 0, 1), "seen_indptr_"),
    (set_item("seen_indptr_", 0, -1), "seen_indptr_"),
    (set_item("seen_indptr_", -1, 10**6), "seen_indptr_"),
    (set_item("seen_indptr_", 3, 10**6), "seen_indptr_"),
    (set_item("seen_indptr_", slice(1, 3), [2**63 - 1, -5]), "seen_indptr_"),
    (change("seen_indptr_", lambda ends: ends[:-1]), "seen_indptr_"),
    (change("seen_indptr_", lambda ends: ends.astype("i4")), "seen_indptr_"),
    (set_item("seen_indices_", 0, -1), "seen_indices_"),
    (set_item("seen_indices_", -1, 20), "seen_indices_"),
    (change("seen_indices_", swap_seen), "seen_indices_"),
    (change("seen_indices_", lambda codes: codes.astype("i8")), "seen_indices_"),
    (change("seen_indices_", lambda codes: codes[:, np.newaxis]), "seen_indices_"),
    (change("seen_indices_", lambda codes: codes[:0]), "seen_indptr_"),
    (attribute("seen_indices_", [0]), "seen_indices_"),
    # the optimizer
    (attribute("optimizer_", "lbfgs"), "optimizer_"),
    (attribute("optimizer_", ["adam"]), "optimizer_"),
    (attribute("optimizer_", "adagrad"), "optimizer_state_"),
    (attribute("optimizer_state_", {"dict": {}}), "optimizer_state_"),
    (attribute("optimizer_state_", []), "optimizer_state_"),
    *[
        (change(f"optimizer_state_/{side}_{key}", edit), f"{side}_{key}")
        for side in ("user", "item")
        for key in ("first_moments", "second_moments", "powers")
        for edit in (
            lambda rows: rows[:, :1],
            lambda rows: rows[1:],
            lambda rows: rows.astype("f4"),
        )
    ],
]


@pytest.mark.parametrize(("edit", "reason"), TAMPERED)
def test_tampered_file(edit, reason, path):
    content, arrays = read(FITTED, path)
    edit(content, arrays)
    write(path, content, arrays)
    assert_refused(path, reason)


NETWORK = autorec().fit(X, Y)


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        *[
            (drop(name), f"{name} is missing")
            for name in ("axis_", "seen_ratings_", "encoder_weights_", "best_iter_")
        ],
        (attribute("axis_", "rows"), "axis_ is 'rows'"),
        (attribute("axis_", "user"), "encoder_weights_"),
        (attribute("validation_scores_", 1.0), "validation_scores_"),
        *[
            (change(name, edit), name)
            for name in ("seen_ratings_", "encoder_weights_", "encoder_biases_")
            for edit in (
                lambda values: values[1:],
                lambda values: values[np.newaxis],
                lambda values: values.astype("f4"),
                lambda values: np.full_like(values, np.nan),
            )
        ],
        (change("encoder_weights_", lambda rows: rows[:, :1]), "encoder_weights_"),
        (change("user_biases_", lambda row: row[1:]), "user_biases_"),
    ],
)
def test_tampered_network(edit, reason, path):
    content, arrays = read(NETWORK, path)
    edit(content, arrays)
    write(path, content, arrays)
    assert_refused(path, reason)


TASKS = multitask(hidden_layer_sizes=(6, 5)).fit(X, Y)


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        *[
            (drop(name), f"{name} is missing")
            for name in ("coefs_", "intercepts_", "item_rating_factors_", "best_iter_")
        ],
        (attribute("loss_curve_", [1.0]), "loss_curve_ is not a dict of joint"),
        (attribute("loss_curve_", {"dict": {"joint": [1.0]}}), "loss_curve_"),
        (put("attributes", "loss_curve_", "dict", "joint", value=1), "'joint'"),
        (attribute("coefs_", {"array": "coefs_/0"}), "coefs_ does not have"),
        (attribute("coefs_", []), "coefs_ does not have"),
        (attribute("coefs_", [{"array": f"coefs_/{k}"} for k in (0, 1)]), "coefs_"),
        (
            attribute("coefs_", [{"array": f"coefs_/{k}"} for k in (1, 0, 2)]),
            "coefs_[0] is not an array of float64 of shape (9, 6)",
        ),
        (put("attributes", "coefs_", 1, value=[]), "coefs_[1]"),
        (put("attributes", "intercepts_", 1, value=[0.0] * 5), "intercepts_[1]"),
        (put("attributes", "intercepts_", 1, value=None), "coefs_[1]"),
        *[
            (change(name, edit), name.replace("/0", "[0]"))
            for name in ("user_rating_factors_", "coefs_/0")
            for edit in (
                lambda values: values[1:],
                lambda values: values[:, 1:],
                lambda values: values[np.newaxis],
                lambda values: values.astype("f4"),
                lambda values: np.full_like(values, np.nan),
            )
        ],
        (change("intercepts_/2", lambda values: np.repeat(values, 2)), "coefs_ has"),
        (change("intercepts_/0", lambda values: values[:0]), "intercepts_[0] is empty"),
        (change("intercepts_/0", lambda values: values[:3]), "coefs_[0]"),
        (change("intercepts_/0", lambda values: values[:, np.newaxis]), "intercepts_"),
        (change("intercepts_/0", lambda values: values.astype(int)), "intercepts_[0]"),
        (set_item("intercepts_/0", 0, np.inf), "intercepts_[0] holds NaN"),
    ],
)
def test_tampered_layers(edit, reason, path):
    content, arrays = read(TASKS, path)
    edit(content, arrays)
    write(path, content, arrays)
    assert_refused(path, re.escape(reason))


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (put("format_version", value=2), "its format is unknown"),
        (put("class", value="DeepFactorizer"), "class 'DeepFactorizer' is unknown"),
        (parameter("depth", 3), "parameter 'depth' of BiasedMF is unknown"),
    ],
)
def test_newer_file(edit, reason, path):
    content, arrays = read(FITTED, path)
    content["sklearn_mf_version"] = "99.0"
    edit(content, arrays)
    write(path, content, arrays)
    message = assert_refused(path, reason)
    assert "sklearn_mf 99.0" in message
    assert "Upgrade sklearn_mf" in message


def test_ids_that_are_no_text(path):
    content, arrays = read(als(n_factors=1).fit([["a", 0], ["b", 1]], [1, 2]), path)
    arrays["users_"] = np.array([97, 0x110000], dtype=np.uint32).view("U1")
    write(path, content, arrays)
    assert_refused(path, "users_ holds what is no text")


def test_older_file_lacks_a_parameter(path):
    content, arrays = read(FITTED, path)
    del content["parameters"]["cg_steps"]
    write(path, content, arrays)
    assert load(path).cg_steps == BiasedMF().cg_steps


def test_file_of_another_kind_of_machine(path):
    content, arrays = read(FITTED, path)
    swapped = {
        name: np.asfortranarray(array.astype(array.dtype.newbyteorder(">")))
        for name, array in arrays.items()
    }
    write(path, content, swapped)
    assert_same_model(FITTED, load(path))


def test_sizes_that_lie(path):
    content, arrays = read(FITTED, path)
    np.savez_compressed(path, model=np.array(json.dumps(content).encode()), **arrays)
    assert_refused(path, "compressed")

    def write_header(shape):
        with zipfile.ZipFile(path, "w") as archive, archive.open("model.npy", "w") as e:
            header = {"descr": "|S1", "fortran_order": False, "shape": shape}
            npy.write_array_header_1_0(e, header)
            e.write(b"{}")

    for shape in [(), (10**12,), (-2, -1), (0,), (10**30,)]:
        write_header(shape)
        assert_refused(path)


@pytest.mark.parametrize(
    "shape", ["-" * 9000 + "1", "(" * 9000, "(" * 150 + ")" * 150, "(1is 1,)", "1_0,"]
)
def test_headers_that_numpy_does_not_write(shape, path):
    header = (
        f"{{'descr': '|S1', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    )
    with zipfile.ZipFile(path, "w") as file:
        length = len(header).to_bytes(2, "little")
        file.writestr("model.npy", npy.magic(1, 0) + length + header + b"{}")
    assert_refused(path, "header that save does not write")


def test_many_values_of_no_bytes(path):
    content, _ = read(FITTED, path)
    header = io.BytesIO()
    npy.write_array_header_1_0(
        header, {"descr": "<U0", "fortran_order": False, "shape": (10**12,)}
    )
    with zipfile.ZipFile(path, "w") as file:
        model = io.BytesIO()
        npy.write_array(model, np.array(json.dumps(content).encode()), version=(1, 0))
        file.writestr("model.npy", model.getvalue())
        file.writestr("seen_indptr_.npy", header.getvalue())
    assert_refused(path, "seen_indptr_ holds")


@pytest.mark.parametrize("make", [als, sgd, autorec, multitask])
def test_no_factors(make, path):
    content, arrays = read(make().fit(X, Y), path)
    for name, array in arrays.items():
        if array.ndim == 2 and array.shape[1] == QUICK["n_factors"]:
            arrays[name] = array[:, :0]
    arrays |= {
        n: a[:0] for n, a in arrays.items() if n in ("coefs_/0", "encoder_biases_")
    }
    write(path, content, arrays)
    assert_refused(path, "has fewer than 1 factors")


def test_state_of_an_optimizer_that_the_class_does_not_have_is_ignored(path):
    model = als().fit(X, Y)
    content, arrays = read(model, path)
    content["attributes"] |= {"optimizer_": "sgd", "optimizer_state_": {"dict": {}}}
    write(path, content, arrays)
    loaded = load(path).fold_in_users(X[:5], Y[:5])
    assert_array_equal(loaded.predict(X), model.fold_in_users(X[:5], Y[:5]).predict(X))
