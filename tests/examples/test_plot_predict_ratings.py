"""The gallery script that predicts ratings: what it claims, on a reader's file too."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sklearn_mf.datasets import make_ratings
from tests.examples.gallery import run_notebook

NAME = "plot_predict_ratings"


@pytest.fixture(scope="module")
def run():
    return run_notebook(NAME)


def read_errors(search, part):
    """Return RMSEs as a table: a row for each d, a column for each λ."""
    return -search.cv_results_[f"mean_{part}_score"].reshape(5, 3)


def test_more_factors_and_less_penalty_fit_better(run):
    errors = read_errors(run.names["search"], "train")
    assert (np.diff(errors[:, :2], axis=0) < 0).all()
    assert (np.diff(errors, axis=1) > 0).all()


def test_too_few_underfit_and_too_many_overfit(run):
    small, good, _ = read_errors(run.names["search"], "test").T
    assert small.argmin() < good.argmin()
    assert small[-1] > small.min() + 0.05
    assert good[0] > good.min() + 0.02
    assert good[-1] - good.min() < (small[-1] - small.min()) / 3


def test_the_searched_model_is_the_best_of_the_table(run):
    table = run.names["table"]
    assert (table.loc["BiasedMF, searched"] == table.min()).all()
    assert (table.loc["mean of all ratings"] == table.max()).all()
    assert table["RMSE"]["biases of users and items"] > table["RMSE"].min() + 0.05


def test_unknown_item_is_predicted(run):
    *_, last = run.names["predictions"]["predicted"]
    assert 1 <= last <= 5


def test_ratings_of_a_file(tmp_path):
    X, y = make_ratings(60, 40, 900, random_state=0)
    path = tmp_path / "ratings.csv"
    np.savetxt(path, np.column_stack([X, y]), fmt="%g", delimiter=",")
    changes = [("RATINGS = None", f"RATINGS = {str(path)!r}")]
    own = run_notebook(NAME, changes)
    assert_array_equal(own.names["X"], X)
    assert_array_equal(own.names["y"], y)
