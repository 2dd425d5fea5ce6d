"""The gallery script on missing ratings as zeros: its claims and its command line."""

import json
import re
import time

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.sparse.linalg import svds

from sklearn_mf import ALSFactorizer, as_matrix
from sklearn_mf.datasets import make_ratings
from tests.examples.gallery import is_drawn, run_script

SHAPE = 943, 1682
FACTORS, SWEEPS = [2, 15, 100], list(range(1, 92, 10))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return run_script("plot_missing_as_zero", tmp_path_factory.mktemp("zeros"))


@pytest.fixture(scope="module")
def curves(run):
    """Return seconds and loss as tables: a row for each d, a column for each sweep."""
    rows = read_rows(run)
    assert [(row["d"], row["sweep"]) for row in rows] == [
        (d, sweep) for d in FACTORS for sweep in SWEEPS
    ]
    shape = len(FACTORS), len(SWEEPS)
    return {
        name: np.reshape([row[name] for row in rows], shape)
        for name in ("seconds", "loss")
    }


@pytest.fixture(scope="module")
def ratings():
    return as_matrix(*make_ratings(*SHAPE, 90_570, random_state=0), shape=SHAPE)


def read_rows(run):
    return json.loads((run.folder / "missing_as_zero.json").read_text())


def make_als(d, **params):
    params = {
        "unobserved_weight": 1,
        "fit_intercept": False,
        "random_state": 0,
    } | params
    return ALSFactorizer(d, weighted_regularization=False, tol=None, **params)


def dense_loss(R, als):
    return np.square(R - als.user_factors_ @ als.item_factors_.T).mean()


def test_rows_are_those_of_the_table(run, curves):
    assert all(list(row) == ["d", "sweep", "seconds", "loss"] for row in read_rows(run))
    for k, sweep in enumerate(SWEEPS):
        columns = zip(curves["seconds"][:, k], curves["loss"][:, k], strict=True)
        cells = "".join(f"{seconds:11.3f}{loss:9.5f}" for seconds, loss in columns)
        assert f"{sweep:7}{cells}\n" in run.printed


def test_loss_against_all_cells(curves, ratings):
    als = make_als(15, regularization=0.01, max_iter=11).fit(ratings)
    expected = dense_loss(ratings.toarray(), als)
    assert curves["loss"][FACTORS.index(15), SWEEPS.index(11)] == pytest.approx(
        expected
    )


def test_loss_approaches_that_of_the_truncated_svd(curves, ratings):
    values = svds(ratings, k=15, return_singular_vectors=False)
    least = (ratings.data @ ratings.data - values @ values) / np.prod(SHAPE)
    assert least < curves["loss"][FACTORS.index(15), -1] < 1.001 * least


def test_objective_is_loss_and_penalty(run):
    ends = re.findall(r"ends at ([\d.]+), loss and penalty give ([\d.]+)", run.printed)
    assert len(ends) == len(FACTORS)
    for objective, total in np.array(ends, dtype=float):
        assert objective == pytest.approx(total, rel=1e-9)


def test_loss_falls_with_sweeps_and_with_factors(curves):
    loss = curves["loss"]
    assert (np.diff(loss[1:]) < 0).all()
    assert (np.diff(loss[0]) < 1e-12).all()
    assert loss[0, 1:] == pytest.approx(loss[0, 1])
    assert (loss[:, 0] - loss[:, 1] > 0.95 * (loss[:, 0] - loss[:, -1])).all()
    assert (np.diff(loss, axis=0) < 0).all()
    assert loss[2, 0] < loss[1, -1]


def test_factors_cost_time(curves):
    assert (np.diff(curves["seconds"]) > 0).all()


def test_stopwatch_stands_still_between_sweeps(run):
    class Sleeper(run.names["Callback"]):
        slept = 0.0

        def on_fit_task_end(self, estimator, context, *, fitted_estimator):
            start = time.perf_counter()
            time.sleep(0.2)
            self.slept += time.perf_counter() - start

    stopwatch, sleeper = run.names["Stopwatch"](), Sleeper()
    als = make_als(2, max_iter=3).set_callbacks(stopwatch, sleeper)
    als.fit(*make_ratings(30, 20, 300, random_state=0))
    assert 0 < stopwatch.seconds < sleeper.slept


def test_zeros_find_popular_items_and_no_ratings(run):
    zeros, observed = run.names["quality"].values()
    assert zeros["rmse"] > 2 * observed["rmse"]
    assert zeros["precision"] > 2 * observed["precision"]
    average = run.names["counts"].mean()
    assert observed["popularity"] <= average
    assert zeros["popularity"] > 3 * average


def test_the_figure_is_drawn(run):
    assert is_drawn(run.folder / "missing_as_zero.png")


def test_command_line(tmp_path):
    X, y = make_ratings(30, 20, 300, random_state=0)
    lines = (f"{u}\t{i}\t{r}\n" for (u, i), r in zip(X.tolist(), y, strict=True))
    (tmp_path / "u.data").write_text("".join(lines))
    options = ["--epochs", 12, "--factor", 5, "--lambda_param", 4]
    run = run_script(
        "plot_missing_as_zero",
        tmp_path / "out",
        *options,
        *("--ratings", tmp_path / "u.data"),
    )
    rows = read_rows(run)
    assert [(row["d"], row["sweep"]) for row in rows] == [(5, 1), (5, 11)]
    R = as_matrix(X, y, shape=(30, 20))
    fits = [make_als(5, regularization=4, max_iter=k).fit(X, y) for k in (1, 11)]
    expected = [dense_loss(R.toarray(), als) for als in fits]
    assert_allclose([row["loss"] for row in rows], expected)
    assert is_drawn(run.folder / "missing_as_zero.png")
