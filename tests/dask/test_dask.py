"""Fits on Dask: the factors of a fit in memory, whatever happens to the workers."""

import contextlib
import itertools
import mmap
import os
import pickle
import signal
import subprocess
import sys
import time
from concurrent.futures import CancelledError

import dask
import dask.array as da
import dask.dataframe as dd
import joblib
import numpy as np
import pandas as pd
import pytest
from distributed import Client, LocalCluster
from fsspec.implementations.local import LocalFileSystem
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold

import sklearn_mf
import sklearn_mf.dask as on_dask
from sklearn_mf._data.ratings import sort_both_ways
from sklearn_mf._solvers.als.blocks import RowBlock
from sklearn_mf.datasets import make_ratings
from tests.assertions import Recorder, assert_same_bits, fitted_attributes, interrupt

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = make_ratings(80, 60, 1500, random_state=0)
X, Y = np.vstack([X, X[:40]]), np.append(Y, Y[:40] + 1)  # repeated in other partitions
WEIGHTS = np.random.default_rng(0).uniform(0.5, 2, len(Y))
SHORT = {"n_factors": 5, "max_iter": 4, "tol": None, "random_state": 0}
VARIANTS = {
    "plain": ("ALSFactorizer", {}),
    "cg": ("ALSFactorizer", {"solver": "cg", "n_factors": 40, "cg_steps": 2}),
    "unobserved": ("ALSFactorizer", {"unobserved_weight": 0.3}),
    "non-negative": ("ALSFactorizer", {"non_negative": True, "unobserved_weight": 0.1}),
    "no penalty": ("ALSFactorizer", {"regularization": 0, "n_factors": 3}),
    "counts": ("ALSFactorizer", {"weighted_regularization": 0.5}),
    "biases": ("BiasedMF", {"solver": "als", "fit_intercept": False}),
    "biases, cg": ("BiasedMF", {"solver": "als-cg", "n_factors": 20}),
    "biases, unobserved": ("BiasedMF", {"solver": "als", "unobserved_weight": 0.2}),
    "biases alone": ("BiasedMF", {"solver": "als", "n_factors": 0}),
}


def make(module, variant, **params):
    name, own = VARIANTS[variant]
    return getattr(module, name)(**SHORT | own | params)


def as_arrays(n_rows, X=X, y=Y, weights=None):
    """Return Dask arrays whose partitions have so many rows."""
    tables = (X, y) if weights is None else (X, y, weights)
    return [da.from_array(t, chunks=(n_rows, -1)[: t.ndim]) for t in tables]


def as_frame(n_partitions, X=X, y=Y, weights=WEIGHTS):
    columns = {"when": 0, "film": X[:, 1], "user": X[:, 0], "stars": y, "w": weights}
    return dd.from_pandas(pd.DataFrame(columns), npartitions=n_partitions, sort=False)


def assert_near(model, other, rtol=1e-10):
    found, expected = fitted_attributes(model), fitted_attributes(other)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, np.ndarray) and value.dtype.kind in "OU":
            assert_array_equal(found[name], value)
        elif value is not None:
            assert_allclose(found[name], value, rtol=rtol, atol=rtol, err_msg=name)


@pytest.fixture(autouse=True)
def one_thread():
    """Compute in the calling thread, where a test has no cluster."""
    with dask.config.set(scheduler="synchronous"):
        yield


KEEPS_ONE_COPY = "distributed.scheduler.active-memory-manager.start"


@contextlib.contextmanager
def workers(n, **options):
    """Connect to a cluster of processes, or of `options`."""
    options = {"threads_per_worker": 1, "processes": True} | options
    with (
        dask.config.set({"scheduler": None, KEEPS_ONE_COPY: False}),
        LocalCluster(
            n_workers=n, dashboard_address=None, silence_logs=50, **options
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


# ------------------------------------------------------------ the factors of a fit here


@pytest.mark.compiled
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["", "weights"])
@pytest.mark.parametrize("n_rows", [200, 700, 2000])
@pytest.mark.parametrize("variant", VARIANTS)
def test_factors_are_those_of_a_fit_in_memory(variant, n_rows, weights):
    expected = make(sklearn_mf, variant).fit(X, Y, weights)
    found = make(on_dask, variant).fit(*as_arrays(n_rows, weights=weights))
    assert_near(found, expected)
    assert_near(make(on_dask, variant).fit(X, Y, weights), expected, rtol=0)


def test_frames_with_names():
    names = {"user_column": "user", "item_column": "film"}
    frame = as_frame(4)
    model = make(on_dask, "biases", **names).fit(frame, frame.stars, frame.w)
    table = frame.compute()
    expected = make(sklearn_mf, "biases", **names).fit(table, table.stars, table.w)
    assert_near(model, expected)
    assert_allclose(model.predict(frame).compute(), expected.predict(table))
    assert model.predict(frame).npartitions == 4


def test_parquet_files_of_many_columns(tmp_path):
    """Dask joins small files, and more of them for fewer columns."""
    table = as_frame(8).compute()
    table = table.assign(**{f"more {k}": table.stars for k in range(20)})
    dd.from_pandas(table, npartitions=8).to_parquet(tmp_path)
    names = {"user_column": "user", "item_column": "film"}
    expected = make(sklearn_mf, "biases", **names)
    expected.fit(table[["user", "film"]], table.stars, table.w)
    read = dd.read_parquet(tmp_path)
    for frame in (read, read.repartition(partition_size="50kB")):
        model = make(on_dask, "biases", **names)
        model.fit(frame[["user", "film"]], frame.stars, frame.w)
        assert_near(model, expected)
        predictions = model.predict(frame[["user", "film"]])
        assert predictions.npartitions == frame.npartitions > 1
        error = (predictions - frame.stars).abs().mean().compute()
        right = expected.predict(table[["user", "film"]]) - table.stars
        assert error == pytest.approx(right.abs().mean())


@pytest.mark.parametrize(
    "make_ids",
    [
        lambda ids: ids * 10**12 - 5,
        lambda ids: ids / 4,
        lambda ids: np.char.add("ü", ids.astype(str)),
        lambda ids: np.char.add("ü", ids.astype(str)).astype(object),
        lambda ids: ids.astype(np.uint8),
        lambda ids: np.array(
            [(7**40) * int(i) for i in ids.ravel()], dtype=object
        ).reshape(ids.shape),
    ],
    ids=["long", "floats", "text", "objects", "uint8", "huge"],
)
def test_ids_of_every_kind(make_ids):
    table = make_ids(X)
    expected = make(sklearn_mf, "plain").fit(table, Y)
    model = make(on_dask, "plain").fit(*as_arrays(300, X=table))
    assert_array_equal(model.users_, expected.users_)
    assert_array_equal(model.items_, expected.items_)
    assert_allclose(model.item_factors_, expected.item_factors_, rtol=1e-10)


def test_float32_stays():
    model = make(on_dask, "plain").fit(*as_arrays(400, y=Y.astype(np.float32)))
    expected = make(sklearn_mf, "plain").fit(X, Y.astype(np.float32))
    assert model.item_factors_.dtype == np.float32
    assert_near(model, expected, rtol=1e-4)


def test_one_user_has_half_of_all_ratings():
    users, items = np.divmod(np.arange(600), 20)
    users[300:], items[300:] = 0, np.arange(300) % 150
    table = np.column_stack([users, items])
    model = make(on_dask, "plain").fit(*as_arrays(100, X=table, y=items % 5 / 1.0))
    expected = make(sklearn_mf, "plain").fit(table, items % 5 / 1.0)
    assert_near(model, expected)


def test_partitions_without_ratings_are_passed_over():
    frame = as_frame(5)
    frame = dd.concat([frame, frame[frame.w > 9], frame], interleave_partitions=True)
    weights = frame.w * (frame.w < 1)
    columns = frame[["user", "film"]], frame.stars, weights
    model = make(on_dask, "plain").fit(*columns)
    expected = make(sklearn_mf, "plain").fit(*(c.compute() for c in columns))
    assert_near(model, expected)


def test_convergence_callbacks_and_warm_start():
    data, seen = as_arrays(500), []
    params = {"tol": 0.01, "max_iter": 100}
    model = make(on_dask, "plain", **params)
    probe = Recorder(act=lambda *_, **__: seen.append(1))
    model.set_callbacks(probe)
    model.fit(*data)
    expected = make(sklearn_mf, "plain", **params).fit(X, Y)
    assert model.n_iter_ == expected.n_iter_ < 100
    for one, (X_, y_) in ((model, data), (expected, (X, Y))):
        one.set_params(warm_start=True, tol=None, max_iter=2).fit(X_, y_)
    assert_near(model, expected)


def test_what_is_fitted_answers_as_in_memory(tmp_path):
    model = make(on_dask, "biases").fit(*as_arrays(500))
    expected = make(sklearn_mf, "biases").fit(X, Y)
    for found, right in zip(
        model.recommend([3, 5]), expected.recommend([3, 5]), strict=True
    ):
        assert_allclose(found, right)
    predictions = model.predict(as_arrays(400)[0])
    assert predictions.chunks == ((400, 400, 400, 340),)
    assert_allclose(predictions.compute(), expected.predict(X), rtol=1e-10)
    assert model.score(X, Y) == pytest.approx(expected.score(X, Y))
    model.save(tmp_path / "model.npz")
    loaded = sklearn_mf.load(tmp_path / "model.npz")
    assert type(loaded) is sklearn_mf.BiasedMF
    assert_same_bits(loaded, model)
    assert clone(model).get_params() == model.get_params()


def test_recommendations_of_a_partitioned_table(tmp_path):
    model = make(on_dask, "biases").fit(*as_arrays(500))
    users = dd.from_pandas(pd.Series(np.arange(80), name="user"), npartitions=3)
    options = {"n_items": 4, "exclude": [7, 9]}
    model.recommend(users, **options).to_parquet(tmp_path / "lists")
    found = pd.read_parquet(tmp_path / "lists").reset_index(drop=True)
    expected = model.recommend(np.arange(80), **options, as_frame=True)
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)
    with pytest.raises(ValueError, match="are to be a Dask Series"):
        model.recommend(as_arrays(500)[1])


@pytest.mark.compiled
@pytest.mark.parametrize("variant", ["unobserved", "biases, cg"])
def test_the_scheduler_changes_no_bit(variant, tmp_path):
    models = []
    for scheduler in ("synchronous", "threads"):
        with dask.config.set(scheduler=scheduler, temporary_directory=tmp_path):
            data = as_arrays(300, weights=WEIGHTS)
            models.append(make(on_dask, variant).fit(*data))
    assert_same_bits(*models)
    assert not os.listdir(tmp_path)


# ------------------------------------------------------------ more ratings than memory


def test_ratings_of_one_process_are_mapped_from_files(tmp_path):
    folder = tmp_path / "new"
    with dask.config.set(temporary_directory=folder):
        model = make(on_dask, "biases")
        ratings = model._read(*as_arrays(300, weights=WEIGHTS))
    assert not os.listdir(folder)
    for side in (ratings.by_user, ratings.by_item):
        for block in dask.compute(*side.blocks):
            arrays = block.side._asdict().values()
            assert all(isinstance(base_of(array), mmap.mmap) for array in arrays)


def test_a_block_is_sent_its_ratings_and_no_others():
    n = 10_000
    table, y = make_ratings(300, 200, n, random_state=0)
    reader = make(sklearn_mf, "plain")
    part = on_dask.read_partition(0, reader, table, y, None)
    codes = [
        np.arange(len(ids), dtype=np.int32) for ids in (part[0].users, part[0].items)
    ]
    cuts = [np.linspace(0, len(own), 5, dtype=np.int32) for own in codes]
    split = on_dask.split_partition(part, codes, cuts, None)
    sizes = [[len(pickle.dumps(piece)) for piece in side] for side in split]
    for side, of_side in zip(split, sizes, strict=True):
        assert sum(len(piece[2]) for piece in side) == len(y)
        # Two codes of 4 bytes and a rating of 8, and what pickle adds to each piece.
        assert sum(of_side) < 16 * len(y) + 4 * 1000


def base_of(array):
    """Return what holds the memory of an array."""
    while isinstance(array, np.ndarray):
        array = array.base
    return array


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arrays_that_are_mapped_from_a_file(dtype, tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        "indices": rng.integers(100, size=333).astype(np.int32),
        "ratings": rng.random(333).astype(dtype),
        "indptr": rng.integers(100, size=12),
        "none": np.zeros(0, dtype),
    }
    found = on_dask.map_arrays(arrays, tmp_path)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert_array_equal(found[name], array, strict=True)
        assert found[name].flags.aligned
    assert not os.listdir(tmp_path)


# ------------------------------------------------------------------------ checkpoints


@pytest.mark.parametrize("variant", ["biases", "biases, cg", "non-negative"])
def test_a_fit_is_taken_up_where_it_broke_off(variant, tmp_path):
    data = as_arrays(500)
    whole = make(on_dask, variant, max_iter=9).fit(*data)
    checkpoint = on_dask.Checkpoint(f"file://{tmp_path}/model.npz", every=2)
    model = make(on_dask, variant, max_iter=9)
    model.set_callbacks(checkpoint, Recorder(5, interrupt))
    with pytest.raises(KeyboardInterrupt):
        model.fit(*data)
    assert os.listdir(tmp_path) == ["model.npz"]

    again = make(on_dask, variant, warm_start=True)
    n_iter = on_dask.Checkpoint(f"{tmp_path}/model.npz").restore(again)
    assert n_iter == 4
    again.set_params(max_iter=9 - n_iter).fit(*data)
    for name in ("user_factors_", "item_factors_"):
        assert_allclose(getattr(again, name), getattr(whole, name), rtol=1e-12)
    assert again.loss_curve_ == pytest.approx(whole.loss_curve_[4:], rel=1e-12)


def test_a_file_is_replaced_as_a_whole(tmp_path, monkeypatch):
    checkpoint = on_dask.Checkpoint(f"{tmp_path}/model.npz", every=1)
    make(on_dask, "plain").set_callbacks(checkpoint).fit(*as_arrays(500))
    before = (tmp_path / "model.npz").read_bytes()
    monkeypatch.setattr(LocalFileSystem, "mv", lambda *_: interrupt())
    model = make(on_dask, "plain", random_state=1).set_callbacks(checkpoint)
    with pytest.raises(KeyboardInterrupt):
        model.fit(*as_arrays(500))
    assert (tmp_path / "model.npz").read_bytes() == before


def test_checkpoints_that_are_none(tmp_path):
    model = make(on_dask, "biases")
    checkpoint = on_dask.Checkpoint(f"{tmp_path}/model.npz", every=0)
    assert checkpoint.restore(model) == 0
    assert not hasattr(model, "users_")
    with pytest.raises(ValueError, match="every must be an int of at least 1, got 0"):
        model.set_callbacks(checkpoint).fit(*as_arrays(500))
    sklearn_mf.ALSFactorizer(3).fit(X, Y).save(tmp_path / "model.npz")
    with pytest.raises(ValueError, match="ALSFactorizer, which no BiasedMF can"):
        checkpoint.restore(model)


# ----------------------------------------------------------------------------- blocks


def test_a_block_needs_the_rows_that_it_has_ratings_with():
    rng = np.random.default_rng(0)
    users, items = np.divmod(rng.choice(20 * 50, size=60, replace=False), 50)
    side, _ = sort_both_ways([users, items], items / 2.0, None, (20, 50))
    cuts = np.array([0, 20, 21, 50], dtype=np.int32)
    block = RowBlock.of(side, cuts)
    for rows, first, end in zip(block.needed, cuts, cuts[1:], strict=False):
        needed = np.unique(items[(items >= first) & (items < end)])
        assert_array_equal(rows + first, needed)
    assert_array_equal(block.codes(cuts), side.indices)


# ---------------------------------------------------------------------------- clusters


@contextlib.contextmanager
def subprocesses(folder):
    """Connect to a scheduler and a worker that are processes of their own."""
    file = f"{folder}/scheduler.json"
    options = ["--scheduler-file", file, "--no-dashboard", "--host", "127.0.0.1"]
    commands = (
        ["scheduler", "--port", "0"],
        ["worker", "--nthreads", "1", "--no-nanny"],
    )
    with contextlib.ExitStack() as stack:
        processes = []
        for command, *more in commands:
            program = [sys.executable, "-m", f"distributed.cli.dask_{command}"]
            process = subprocess.Popen(
                [*program, *options, *more],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            processes.append(process)
        stack.enter_context(
            dask.config.set(
                {"scheduler": None, "distributed.comm.timeouts.connect": "3s"}
            )
        )
        while not os.path.exists(file):
            time.sleep(0.1)
        with Client(scheduler_file=file, timeout=10) as client:
            client.wait_for_workers(1, timeout=120)
            yield processes[0]


class KillsItsWorker(Recorder):
    """A callback that kills a worker after the second iteration."""

    def __init__(self, client):
        super().__init__(at=2, act=lambda: kill_one(client))


def kill_one(client):
    pid = next(iter(client.run(os.getpid).values()))
    os.kill(pid, signal.SIGKILL)


@pytest.mark.compiled
def test_the_number_of_workers_changes_no_bit():
    models = []
    for n in (1, 2, 4):
        with workers(n):
            models.append(make(on_dask, "unobserved").fit(*as_arrays(400)))
    for model in models[1:]:
        assert_same_bits(model, models[0])
    assert_near(models[0], make(sklearn_mf, "unobserved").fit(X, Y))


@pytest.mark.compiled
def test_a_worker_is_killed_in_the_middle_of_a_fit():
    expected = make(on_dask, "biases").fit(*as_arrays(400))
    with workers(2) as client:
        model = make(on_dask, "biases").set_callbacks(KillsItsWorker(client))
        model.fit(*as_arrays(400))
    assert_same_bits(model, expected)


@pytest.mark.compiled
def test_the_scheduler_is_killed_in_the_middle_of_a_fit(tmp_path):
    expected = make(on_dask, "biases", max_iter=5).fit(*as_arrays(400))
    checkpoint = on_dask.Checkpoint(f"{tmp_path}/model.npz", every=1)
    model = make(on_dask, "biases", max_iter=5)
    with subprocesses(tmp_path) as scheduler:
        model.set_callbacks(checkpoint, Recorder(3, scheduler.kill))
        with pytest.raises(CancelledError):
            model.fit(*as_arrays(400))
    again = make(on_dask, "biases", warm_start=True)
    n_iter = checkpoint.restore(again)
    assert 1 <= n_iter <= 3
    with workers(1, processes=False):
        again.set_params(max_iter=5 - n_iter).fit(*as_arrays(400))
    for name in ("user_biases_", "item_factors_"):
        assert_allclose(getattr(again, name), getattr(expected, name), rtol=1e-12)


class KilledOnce(sklearn_mf.ALSFactorizer):
    """Kills the process of its first fit of all."""

    def __init__(self, flag=None, n_factors=20, max_iter=200, random_state=None):
        super().__init__(n_factors, max_iter=max_iter, random_state=random_state)
        self.flag = flag

    def fit(self, X, y=None, sample_weight=None):
        try:
            with open(self.flag, "x"):
                os.kill(os.getpid(), signal.SIGKILL)
        except FileExistsError:
            return super().fit(X, y, sample_weight)


@pytest.mark.compiled
@pytest.mark.parametrize("processes", [False, True], ids=["threads", "processes"])
def test_a_search(processes, tmp_path):
    grid = {"n_factors": [2, 4], "max_iter": [3, 5]}
    folds = list(KFold(3, shuffle=True, random_state=0).split(X))
    # What joblib sends to one worker alone is lost with it: these are sent to all, and
    # Dask is to keep more than one copy.
    shared = {"scatter": [X, Y, *itertools.chain(*folds)]} if processes else {}
    model = sklearn_mf.ALSFactorizer(random_state=0)
    expected = GridSearchCV(model, grid, cv=folds).fit(X, Y)
    if processes:
        model = KilledOnce(str(tmp_path / "flag"), random_state=0)
    with workers(2, processes=processes), joblib.parallel_backend("dask", **shared):
        search = GridSearchCV(model, grid, cv=folds).fit(X, Y)
    assert (tmp_path / "flag").exists() is processes
    assert_array_equal(
        search.cv_results_["mean_test_score"], expected.cv_results_["mean_test_score"]
    )


@pytest.mark.compiled
def test_a_cluster_without_workers():
    with (
        workers(0, processes=False),
        pytest.raises(RuntimeError, match=r"no worker.*cluster\.scale"),
    ):
        make(on_dask, "plain").fit(*as_arrays(400))


# ------------------------------------------------------------------------------ errors


def nan_in(table, place):
    table = table.astype(float)
    table[place] = np.nan
    return table


MIXED = X[:18].astype(object)
MIXED[9:] = MIXED[9:].astype(str)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (
            as_arrays(400, y=nan_in(Y, 500)),
            ValueError,
            r"partition 1 of X.*y contains NaN",
        ),
        (
            as_arrays(400, X=nan_in(X, (900, 0))),
            ValueError,
            r"partition 2 of X.*user_column=0.*contains NaN",
        ),
        (as_arrays(9, X=MIXED, y=Y[:18]), ValueError, "partition 1 of X.*'text'"),
        (
            as_arrays(400, X=np.array(X, dtype="M8[s]")),
            TypeError,
            "partition . of X.*must be a string or a number",
        ),
        (
            [as_arrays(400)[0], as_arrays(500)[1]],
            ValueError,
            r"partition . of X.*inconsistent numbers of samples",
        ),
        ([as_arrays(400)[0], as_arrays(800)[1]], ValueError, "y has 2 .* X has 4"),
        ([as_arrays(400)[0], Y], ValueError, "y must lie in partitions as X does"),
        ([X, as_arrays(400)[1]], ValueError, r"y lies in partitions.* y\.compute"),
        ([as_arrays(400)[0]], ValueError, "requires y to be passed"),
        (as_arrays(400, weights=np.zeros(len(Y))), ValueError, "weight above 0"),
    ],
)
def test_errors_name_the_partition(data, error, message):
    model = make(on_dask, "plain")
    with pytest.raises(error, match=message):
        model.fit(*data)
    assert not hasattr(model, "users_")


@pytest.mark.parametrize(
    ("variant", "params", "message"),
    [
        ("biases", {"solver": "sgd"}, "set solver='als' or 'als-cg'"),
        ("plain", {"feedback": "implicit"}, "feedback is not there"),
        ("plain", {"item_features": "rated"}, "item_features is not there"),
    ],
)
def test_parameters_that_are_not_there(variant, params, message):
    with pytest.raises(ValueError, match=message):
        make(on_dask, variant, **params).fit(*as_arrays(400))


@pytest.mark.parametrize("name", ["ALSFactorizer", "BiasedMF", "BayesianMF", "AutoRec"])
def test_estimators_in_memory_name_those_on_dask(name):
    model, frame = getattr(sklearn_mf, name)(), as_frame(2)
    for given in (as_arrays(400), (frame, frame.stars), (X, as_arrays(400)[1])):
        with pytest.raises(ValueError, match="use the estimators of"):
            model.fit(*given)


@pytest.mark.compiled
def test_without_dask():
    code = "import sys; sys.modules['dask'] = None; import sklearn_mf.dask"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert "ImportError: sklearn_mf.dask needs Dask" in done.stderr
    assert "pip install 'sklearn_mf[dask]'" in done.stderr
