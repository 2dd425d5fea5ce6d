"""What the page on uncertainty claims, and that it runs."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.examples.gallery import run_notebook


@pytest.fixture(scope="module")
def run():
    return run_notebook("plot_uncertainty")


def test_intervals_cover_what_they_say(run):
    coverage = dict(zip(run.names["COVERAGES"], run.names["observed"], strict=True))
    assert len(coverage) == 10
    for nominal, observed in coverage.items():
        assert observed == pytest.approx(nominal, abs=0.03)
    model, X, y = (run.names[name] for name in ("model", "X_test", "y_test"))
    low, high = model.predict_interval(X, 0.9).T
    assert coverage[0.9] == np.mean((y >= low) & (y <= high))


def test_probabilities_are_frequencies(run):
    probabilities, frequencies = run.names["probabilities"], run.names["frequencies"]
    assert len(probabilities) == 10
    assert np.ptp(probabilities) > 0.8
    assert_allclose(frequencies, probabilities, atol=0.06)


@pytest.mark.parametrize("side", ["user", "item"])
def test_more_ratings_are_more_certain(run, side):
    rows = run.names["by_count"][side]
    column = ["user", "item"].index(side)
    X_train, X_test = run.names["X_train"], run.names["X_test"]
    ids, counts = np.unique(X_train[:, column], return_counts=True)
    counts = dict(zip(ids.tolist(), counts.tolist(), strict=True))
    own = np.array([counts.get(i, 0) for i in X_test[:, column].tolist()])
    for row in rows:
        low, *high = map(int, row["ratings"].split("–"))
        assert row["n"] == np.sum((own >= low) & (own <= (high or [low])[0]))
        assert row["std"] == pytest.approx(row["rmse"], rel=0.15)
        assert 0.45 < row["noise"] < row["std"]
    stds = [row["std"] for row in rows]
    assert stds[0] > 1.1 * stds[-1]
    assert (np.diff(stds)[:4] < 0).all()


def test_an_unknown_item_is_the_least_certain(run):
    widths = run.names["high"] - run.names["low"]
    assert widths[-1] == widths.max()
    assert run.names["spread"][-1] == run.names["spread"].max()
    assert_allclose(run.names["shares"].sum(axis=1), 1)


def test_chains_have_converged(run):
    for name in ("model", "ordinal"):
        assert run.names[name].r_hat_ < 1.1
    assert "test RMSE" in run.printed
