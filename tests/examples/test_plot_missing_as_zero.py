"""The gallery script on missing ratings as zeros: what it claims."""

import re

import numpy as np
import pytest
from scipy.sparse.linalg import svds
from sklearn.base import clone

from tests.examples.gallery import run_notebook


@pytest.fixture(scope="module")
def run():
    return run_notebook("projects/plot_missing_as_zero")


@pytest.fixture(scope="module")
def curves(run):
    """Return the objective per cell after each sweep, a row for each d."""
    assert list(run.names["curves"]) == [2, 15, 100]
    return np.array([curve for _, curve in run.names["curves"].values()])


def test_loss_is_that_of_all_cells(run):
    als = clone(run.names["zeros"]).set_params(n_factors=15, max_iter=3)
    als.fit(run.names["X"], run.names["y"])
    errors = run.names["R"].toarray() - als.user_factors_ @ als.item_factors_.T
    assert run.names["measure_loss"](als) == pytest.approx(np.square(errors).mean())


def test_objective_approaches_that_of_the_truncated_svd(run, curves):
    R = run.names["R"]
    values = svds(R, k=15, return_singular_vectors=False)
    least = (R.data @ R.data - values @ values) / run.names["n_cells"]
    assert least < curves[1, -1] < 1.001 * least


def test_objective_is_loss_and_penalty(run):
    ends = re.findall(r"ends at ([\d.]+), by hand ([\d.]+)", run.printed)
    assert len(ends) == 3
    for objective, total in np.array(ends, dtype=float):
        assert objective == pytest.approx(total, rel=1e-9)


def test_objective_falls_with_sweeps_and_with_factors(curves):
    assert (np.diff(curves[1:]) < 0).all()
    assert (np.diff(curves[0]) < 1e-12).all()
    assert curves[0, 10:] == pytest.approx(curves[0, -1], abs=1e-4)
    assert (curves[:, 0] - curves[:, 9] > 0.95 * (curves[:, 0] - curves[:, -1])).all()
    assert (np.diff(curves, axis=0) < 0).all()
    assert curves[2, 0] < curves[1, -1]


@pytest.mark.compiled
def test_factors_cost_time(run):
    seconds = [times[0] for times, _ in run.names["curves"].values()]
    assert seconds[-1] > seconds[0]


def test_zeros_find_popular_items_and_no_ratings(run):
    zeros, observed = run.names["quality"].values()
    assert zeros["test RMSE"] > 2 * observed["test RMSE"]
    share, popularity = "share of these in the test", "ratings of the 10 recommended"
    assert zeros[share] > 2 * observed[share]
    average = run.names["counts"].mean()
    assert observed[popularity] <= average
    assert zeros[popularity] > 3 * average
