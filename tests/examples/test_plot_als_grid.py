"""The gallery script on ALS over d and λ: what it claims."""

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, mean_squared_error
from sklearn.model_selection import train_test_split

from sklearn_mf import ALSFactorizer
from sklearn_mf.datasets import make_ratings
from tests.examples.gallery import run_notebook

D, LAMBDAS = [1, 2, 5, 10, 20, 50], [1, 2, 4, 6]
ERRORS = ["train mse", "train mae", "test mse", "test mae"]


@pytest.fixture(scope="module")
def run():
    return run_notebook("projects/plot_als_grid")


@pytest.fixture(scope="module")
def errors(run):
    """Return each error as a table: a row for each d, a column for each λ."""
    tables = {name: run.names["errors"][name].unstack() for name in ERRORS}
    for table in tables.values():
        assert (list(table.index), list(table.columns)) == (D, LAMBDAS)
    return {name: table.to_numpy() for name, table in tables.items()}


def test_a_point_against_a_fit_of_its_own(errors):
    X, y = make_ratings(943, 1682, 100_000, random_state=0)
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, test_size=0.2, random_state=0
    )
    als = ALSFactorizer(5, regularization=2, weighted_regularization=False)
    als.set_params(max_iter=10, tol=None, random_state=0).fit(X_train, y_train)
    for name in ERRORS:
        pairs, ratings = (X_test, y_test) if "test" in name else (X_train, y_train)
        metric = mean_squared_error if "mse" in name else mean_absolute_error
        expected = metric(ratings, als.predict(pairs))
        assert errors[name][D.index(5), LAMBDAS.index(2)] == pytest.approx(expected)


@pytest.mark.parametrize("metric", ["mse", "mae"])
def test_training_errors_fall_with_d_and_rise_with_the_penalty(errors, metric):
    train = errors[f"train {metric}"]
    assert (np.diff(train, axis=0) < 0).all()
    assert (np.diff(train, axis=1) > 0).all()


@pytest.mark.parametrize("metric", ["mse", "mae"])
def test_test_errors_fall_and_rise_again(errors, metric):
    test = errors[f"test {metric}"]
    best = test.argmin(axis=0)
    for line, at in zip(test.T, best, strict=True):
        assert 0 < at < len(D) - 1
        assert (np.diff(line)[:at] < 0).all()
        assert (np.diff(line)[at:] > 0).all()
    assert (np.diff(best) >= 0).all()
    assert best[-1] > best[0]


def test_noise_is_memorised(run, errors):
    spread = np.ptp(errors["test mse"], axis=1)
    assert spread[-1] > 10 * spread[0]
    assert errors["train mse"][-1, 0] < 0.1 * 0.49
    for metric, mean_error in run.names["mean_error"].items():
        assert 0.95 * mean_error < errors[f"test {metric}"][-1, 0] < mean_error


def test_the_best_has_the_lowest_test_mse(run, errors):
    place = np.unravel_index(errors["test mse"].argmin(), errors["test mse"].shape)
    best = D[place[0]], LAMBDAS[place[1]]
    assert (run.names["best_d"], run.names["best_penalty"]) == best
    for metric in ("mse", "mae"):
        gap = (errors[f"test {metric}"] - errors[f"train {metric}"])[:, place[1]]
        assert (np.diff(gap) > 0).all()


def test_numpy_agrees(run):
    speeds = run.names["speeds"]
    assert list(speeds) == [2, 10, 50]
    for speed in speeds.values():
        for name in ("row by row", "double loop"):
            assert speed[f"{name}, difference"] < 1e-9


@pytest.mark.compiled
def test_compiled_code_is_faster_and_the_double_loop_slowest(run):
    few, _, many = run.names["speeds"].values()
    for speed in (few, many):
        assert 2 < speed["row by row, ×"] < speed["double loop, ×"]
    assert many["double loop, ×"] < few["double loop, ×"]
