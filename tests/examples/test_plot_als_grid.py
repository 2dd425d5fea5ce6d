"""The gallery script on ALS over d and λ: what it claims, and its command line."""

import itertools
import json

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.metrics import mean_absolute_error, mean_squared_error
from sklearn.model_selection import train_test_split

from sklearn_mf import ALSFactorizer
from sklearn_mf.datasets import make_ratings
from tests.examples.gallery import is_drawn, run_script

D, LAMBDAS = [1, 2, 5, 10, 20, 50], [1, 2, 4, 6]
ERRORS = ["train_mse", "train_mae", "test_mse", "test_mae"]
FIGURES = ["als_grid.png", "als_grid_best.png"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return run_script("plot_als_grid", tmp_path_factory.mktemp("als_grid"))


@pytest.fixture(scope="module")
def errors(run):
    """Return each error as a table: a row for each d, a column for each λ."""
    rows = read_rows(run)
    shape = len(D), len(LAMBDAS)
    return {
        name: np.reshape([row[name] for row in rows], shape).astype(float)
        for name in ERRORS
    }


def read_rows(run):
    return json.loads((run.folder / "als_grid.json").read_text())


def test_rows_are_those_of_the_table(run):
    rows = read_rows(run)
    points = [(row["d"], row["lambda_reg"]) for row in rows]
    assert points == list(itertools.product(D, LAMBDAS))
    lines = [line.split() for line in run.printed.splitlines()[1:25]]
    for row, line in zip(rows, lines, strict=True):
        assert list(row) == ["d", "lambda_reg", *ERRORS]
        assert line[:2] == [str(row["d"]), str(row["lambda_reg"])]
        assert line[2:6] == [f"{row[name]:.4f}" for name in ERRORS]


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
    train = errors[f"train_{metric}"]
    assert (np.diff(train, axis=0) < 0).all()
    assert (np.diff(train, axis=1) > 0).all()


@pytest.mark.parametrize("metric", ["mse", "mae"])
def test_test_errors_fall_and_rise_again(errors, metric):
    test = errors[f"test_{metric}"]
    best = test.argmin(axis=0)
    for line, at in zip(test.T, best, strict=True):
        assert 0 < at < len(D) - 1
        assert (np.diff(line)[:at] < 0).all()
        assert (np.diff(line)[at:] > 0).all()
    assert (np.diff(best) >= 0).all()
    assert best[-1] > best[0]


def test_noise_learnt_by_heart(run, errors):
    spread = np.ptp(errors["test_mse"], axis=1)
    assert spread[-1] > 10 * spread[0]
    assert errors["train_mse"][-1, 0] < 0.1 * 0.49
    for metric, mean_error in run.names["mean_error"].items():
        assert 0.95 * mean_error < errors[f"test_{metric}"][-1, 0] < mean_error


def test_the_best_has_the_lowest_test_mse(run, errors):
    place = np.unravel_index(errors["test_mse"].argmin(), errors["test_mse"].shape)
    (marked,) = [line for line in run.printed.splitlines() if "* best" in line]
    assert marked.split()[:2] == [str(D[place[0]]), str(LAMBDAS[place[1]])]
    for metric in ("mse", "mae"):
        gap = (errors[f"test_{metric}"] - errors[f"train_{metric}"])[:, place[1]]
        assert (np.diff(gap) > 0).all()


def test_numpy_agrees_and_its_times_are_printed(run):
    speeds = run.names["speeds"]
    assert [speed["d"] for speed in speeds] == [2, 10, 50]
    assert max(speed["difference"] for speed in speeds) < 1e-9
    for speed, line in zip(speeds, run.printed.splitlines()[-3:], strict=True):
        for name in ("row by row", "double loop"):
            assert f"(×{speed[name]:4.0f})" in line


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_drawn(run, name):
    assert is_drawn(run.folder / name)


def test_ratings_of_a_file(tmp_path):
    X, y = make_ratings(30, 20, 300, random_state=0)
    X += 1000
    lines = (f"{u},{i},{r}\n" for (u, i), r in zip(X.tolist(), y, strict=True))
    (tmp_path / "ratings.csv").write_text("user,item,rating\n" + "".join(lines))
    run = run_script(
        "plot_als_grid", tmp_path / "out", "--ratings", tmp_path / "ratings.csv"
    )
    assert_array_equal(run.names["X"], X)
    assert_array_equal(run.names["y"], y)
    assert len(read_rows(run)) == 24
    assert all(is_drawn(run.folder / name) for name in FIGURES)
