"""The same ratings and seed give the same bits, however they are fitted."""

import copy
import itertools
import multiprocessing
import os
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from sklearn_mf.datasets import make_ratings
from tests.assertions import (
    Recorder,
    arrays_of,
    assert_same_bits,
    curve_of,
    fitted_attributes,
)
from tests.contract.models import (
    FAMILIES,
    MODELS,
    WEIGHTS,
    X,
    Y,
    each_model,
    in_turn,
)


@pytest.fixture(scope="module")
def many():
    """Return ratings enough for several blocks of work, and weights."""
    table, y = make_ratings(1000, 500, 50_000, random_state=0)
    return table, y, np.random.default_rng(0).uniform(0.5, 2, len(y))


# ------------------------------------------------------------------ threads, processes


@pytest.mark.compiled
@pytest.mark.parametrize(
    ("model", "dtype"),
    [
        *itertools.product(MODELS, [np.float32]),
        *itertools.product(FAMILIES, [np.float64]),
    ],
    ids=str,
)
def test_the_number_of_threads_does_not_change_a_bit(model, dtype, many):
    table, y, weights = many
    y, weights = model.y(y).astype(dtype), weights.astype(dtype)
    n_factors = model.options.get("n_factors", model.many)
    later = table[:2000] + np.array([0, 1000] if model.closed == "user" else [2000, 0])
    pairs = np.resize(table, (70_000, 2))  # more than are scored in one block
    learnt, used = [], {}
    for n_jobs in (1, 2, 4):
        threads = set()
        recorder = Recorder(1, lambda seen=threads: seen.add(threading.active_count()))
        estimator = model(n_jobs=n_jobs, n_factors=n_factors, max_iter=2)
        estimator.set_callbacks(recorder).fit(table, y, sample_weight=weights)
        assert estimator.n_jobs == n_jobs
        used[n_jobs] = max(threads) - threading.active_count()
        if hasattr(estimator, "partial_fit"):
            estimator.partial_fit(later, y[:2000])
        if hasattr(estimator, "fold_in_users") and not model.shares:
            estimator.fold_in_users(table[:2000], y[:2000])
        items, scores = estimator.recommend(estimator.users_[:300], n_items=5)
        answers = estimator.predict(pairs), items.filled(-1), scores.filled(-1)
        learnt.append((estimator, answers))
    assert used[1] == 0
    assert all(used[n_jobs] >= 1 for n_jobs in (2, 4)) or not model.threads
    alone, expected = learnt[0]
    for other, found in learnt[1:]:
        assert_same_bits(other, alone)
        for array, values in zip(found, expected, strict=True):
            assert_array_equal(array, values, strict=True)


@pytest.mark.compiled
@in_turn("n_jobs", [1, 2])
@each_model()
def test_fits_at_once_in_threads_learn_the_same_as_in_turn(model, n_jobs, many):
    table, y, _ = many

    def fit(seed, barrier):
        estimator = model(random_state=seed, n_jobs=n_jobs, max_iter=1)
        barrier.wait(timeout=60)
        return estimator.fit(table[:9000], model.y(y[:9000]))

    in_turn = [fit(seed, threading.Barrier(1)) for seed in (0, 1)]
    with ThreadPoolExecutor(2) as pool:
        at_once = list(pool.map(fit, (0, 1), [threading.Barrier(2)] * 2))
    for one, other in zip(at_once, in_turn, strict=True):
        assert_same_bits(one, other)
        assert_array_equal(one.predict(table), other.predict(table))


@each_model()
def test_one_model_serves_many_threads(model):
    estimator = model(n_jobs=2).fit(X, model.y())
    expected = estimator.predict(X)
    with ThreadPoolExecutor(4) as pool:
        for predictions in pool.map(estimator.predict, [X] * 16):
            assert_array_equal(predictions, expected)


def run_script(source, folder, *args, **environment):
    """Run a script in an interpreter of its own, and return what it printed.

    A hang, an abort and anything that looks like a complaint are failures.
    """
    script = folder / "script.py"
    script.write_text(source)
    checkout = str(Path(__file__).parents[2])  # the script imports from tests
    paths = [checkout, os.environ.get("PYTHONPATH")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    done = subprocess.run(
        [sys.executable, str(script), *args],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not re.search("warn|terminat|abort|error|fork", done.stderr, re.IGNORECASE)
    return done.stdout


SCRIPT = """
import multiprocessing
import sys

from joblib import parallel_config
from sklearn.model_selection import GridSearchCV, KFold

from sklearn_mf.datasets import make_ratings
from tests.assertions import assert_same_bits
from tests.contract.models import FAMILIES, MODELS

X, y = make_ratings(400, 300, 12_000, random_state=0)
CV = KFold(2, shuffle=True, random_state=0)


def scores(n_jobs, backend):
    found = []
    for model in FAMILIES:
        grid = {"n_factors": [4, 8]}
        options = {"cv": CV, "refit": False, "error_score": "raise", "n_jobs": n_jobs}
        search = GridSearchCV(model(max_iter=1), grid, **options)
        with parallel_config(backend=backend):
            results = search.fit(X, model.y(y)).cv_results_
        for fold in range(2):
            found += results[f"split{fold}_test_score"].tolist()
    return found


def fit_all():
    return [model(n_jobs=2, max_iter=1).fit(X, model.y(y)) for model in MODELS]


if __name__ == "__main__":
    backends = sys.argv[1:]
    no_fit_before = [scores(2, backend) for backend in backends]
    for model in FAMILIES:
        model(n_jobs=2, max_iter=1).fit(X, model.y(y))
    if "multiprocessing" in backends:
        before = fit_all()
        with multiprocessing.get_context("fork").Pool(1) as pool:
            child = pool.apply(fit_all)
        for learnt in (child, fit_all()):
            for one, other in zip(learnt, before, strict=True):
                assert_same_bits(one, other)
    one_job = scores(1, "loky")
    assert len(set(one_job)) == 4 * len(FAMILIES)
    assert [scores(2, backend) for backend in backends] == [one_job] * len(backends)
    assert no_fit_before == [one_job] * len(backends)
    # One fold and candidate by hand.
    train, test = next(CV.split(X))
    for k, model in enumerate(FAMILIES):
        labels = model.y(y)
        fitted = model(max_iter=1, n_factors=4).fit(X[train], labels[train])
        assert fitted.score(X[test], labels[test]) == one_job[4 * k]
    print("same bits")
"""


@pytest.mark.compiled
@pytest.mark.parametrize(
    ("backends", "environment"),
    [
        # Threads of numba's own would abort where fits run in threads under this layer,
        (["loky", "threading"], {"NUMBA_THREADING_LAYER": "workqueue"}),
        # and at a fork under the others.
        pytest.param(
            ["multiprocessing"],
            {},
            marks=pytest.mark.skipif(
                "fork" not in multiprocessing.get_all_start_methods(),
                reason="this platform cannot fork",
            ),
        ),
    ],
)
def test_fits_in_workers_and_in_forks_learn_the_same(backends, environment, tmp_path):
    assert run_script(SCRIPT, tmp_path, *backends, **environment) == "same bits\n"


# ------------------------------------------------------------------------------- seeds


@each_model(lambda model: model.random)
def test_random_state(model):
    y = model.y()
    one, same, other = (model(random_state=s).fit(X, y) for s in (1, 1, 2))
    assert_same_bits(same, one)
    assert abs(model.numbers(one, X) - model.numbers(other, X)).max() > 1e-6
    rng = np.random.RandomState(1)
    assert_same_bits(model(random_state=rng).fit(X, y), one)
    again = model(random_state=rng).fit(X, y)  # the state has moved on
    assert abs(model.numbers(again, X) - model.numbers(one, X)).max() > 1e-6


@each_model()
def test_a_second_fit_starts_from_scratch(model):
    fresh = model().fit(X, model.y())
    assert_same_bits(clone(fresh).fit(X, model.y()), fresh)
    used = model().fit(*model.more()).fit(X, model.y())
    assert_same_bits(used, fresh)
    if model.has("partial_fit"):
        used.partial_fit(*model.more())
        assert_same_bits(used.fit(X, model.y()), fresh)


# ---------------------------------------------------------- the same ratings otherwise


@in_turn("weights", [None, WEIGHTS])
@each_model()
def test_the_order_of_the_rows_does_not_change_a_bit(model, weights):
    y, order = model.y(), np.random.default_rng(0).permutation(len(Y))
    shuffled = None if weights is None else weights[order]
    expected = model().fit(X, y, sample_weight=weights)
    found = model().fit(X[order], y[order], sample_weight=shuffled)
    assert_same_bits(found, expected)


def read_only(array):
    array = array.copy(order="K")
    array.flags.writeable = False
    return array


LAYOUTS = {
    "Fortran": np.asfortranarray,
    "strided": lambda array: np.repeat(array, 2, axis=-1)[..., ::2],
    "reversed": lambda array: array[::-1].copy()[::-1],
    "read-only": read_only,
    "read-only Fortran": lambda array: read_only(np.asfortranarray(array)),
    "big-endian": lambda array: array.astype(array.dtype.newbyteorder(">")),
}


@in_turn("layout", LAYOUTS)
@each_model()
def test_the_layout_of_the_input_does_not_change_a_bit(model, layout):
    change = LAYOUTS[layout]
    expected = model().fit(X, model.y(), sample_weight=WEIGHTS)
    found = model().fit(change(X), change(model.y()), sample_weight=change(WEIGHTS))
    assert_same_bits(found, expected)
    assert_array_equal(found.predict(change(X)), expected.predict(X))


@each_model()
def test_a_fit_does_not_change_its_input(model):
    table, y, weights = X.copy(), model.y().copy(), WEIGHTS.copy()
    estimator = model().fit(table, y, sample_weight=weights)
    estimator.fit(np.vstack([table, table]), np.append(y, y))
    for method in ("predict", "transform"):
        getattr(estimator, method)(table)
    estimator.score(table, y, sample_weight=weights)
    if model.has("partial_fit"):
        estimator.partial_fit(table, y, sample_weight=weights)
    for now, before in ((table, X), (y, model.y()), (weights, WEIGHTS)):
        assert_array_equal(now, before, strict=True)


@each_model()
def test_weight_two_is_the_row_twice(model):
    y, rng = model.y(), np.random.default_rng(0)
    weights = rng.integers(0, 4, len(y))
    rows = rng.permutation(np.repeat(np.arange(len(y)), weights))
    weighted = model().fit(X, y, sample_weight=weights)
    repeated = model().fit(X[rows], y[rows])
    assert_same_bits(weighted, repeated)


@each_model()
def test_a_row_of_weight_zero_is_as_if_not_there(model):
    y, kept = model.y(), (np.arange(len(Y)) % 7 > 0) & (X[:, 0] != 3)
    found = model().fit(X, y, sample_weight=WEIGHTS * kept)
    assert 3 not in found.users_
    expected = model().fit(X[kept], y[kept], sample_weight=WEIGHTS[kept])
    assert_same_bits(found, expected)


@each_model()
def test_weights_change_the_fit(model):
    plain = model().fit(X, model.y())
    weighted = model().fit(X, model.y(), sample_weight=WEIGHTS)
    assert abs(model.numbers(plain, X) - model.numbers(weighted, X)).max() > 1e-6


@each_model(lambda model: model.rates and not (model.is_latent or model.classifies))
def test_a_repeated_pair_is_the_mean_with_the_sum_of_weights(model):
    y, pair = model.y(), X[:1]
    low, high = model.y(np.array([1.0, 5.0]))
    found = model().fit(np.vstack([X, pair, pair]), np.append(y, [low, high]))
    mean, weights = y.copy(), np.ones(len(y))
    mean[0], weights[0] = (y[0] + low + high) / 3, 3
    expected = model().fit(X, mean, sample_weight=weights)
    assert_allclose(found.predict(X), expected.predict(X), rtol=1e-13)
    assert_allclose(curve_of(found), curve_of(expected), rtol=1e-13)


# ----------------------------------------------------------------------------- float32


@each_model()
def test_float32_stays_and_is_close_to_float64(model):
    single = model().fit(X, model.y().astype(np.float32))
    double = model().fit(X, model.y())
    for estimator, dtype in ((single, np.float32), (double, np.float64)):
        for array in arrays_of(fitted_attributes(estimator)):
            assert array.dtype == dtype or array.dtype.kind != "f"
        assert model.numbers(estimator, X).dtype == dtype
        assert estimator.transform(X).dtype == dtype
    # Scores, unlike ratings, may be next to 0.
    atol = 0 if model.rates else 1e-4
    numbers = model.numbers(single, X), model.numbers(double, X)
    assert_allclose(*numbers, rtol=1e-4, atol=atol)
    if model.has("partial_fit"):
        more = copy.deepcopy(single).partial_fit(*model.more())
        for array in arrays_of(fitted_attributes(more)):
            assert array.dtype == np.float32 or array.dtype.kind != "f"
    curves = single.loss_curve_, double.loss_curve_
    if isinstance(double.loss_curve_, dict):
        curves = [np.stack([*curve.values()]) for curve in curves]
    assert_allclose(*curves, rtol=1e-5, atol=1e-7)  # of ratings of size 1


@in_turn("dtype", [np.float16, np.int8, bool, object])
@in_turn("weights", [None, np.ones(len(Y))])
@each_model(among=FAMILIES)
def test_ratings_of_another_dtype_are_fitted_in_float64(model, dtype, weights):
    y = (Y > 3).astype(dtype)
    found = model().fit(X.astype(np.float32), y, sample_weight=weights)
    expected = model().fit(X, y.astype(np.float64))
    numbers = model.numbers(found, X)
    for array in (found.user_factors_, found.item_factors_, numbers):
        assert array.dtype == np.float64
    assert_array_equal(numbers, model.numbers(expected, X))
