"""Tests of the gallery script on gradient descent: what it claims holds."""

import numpy as np
import pytest

from tests.examples.gallery import run_notebook

STEPPERS = ["SGD", "mini-batch SGD", "SGD with momentum"]
WITHOUT_INTERCEPT = [*STEPPERS, "ALS", "Adam"]


@pytest.fixture(scope="module")
def run():
    return run_notebook("projects/plot_gradient_descent")


@pytest.fixture(scope="module")
def rows(run):
    return run.names["table"].to_dict("index")


def test_training_and_test_ratings_are_apart(run):
    assert (run.names["data"]["n_train"], run.names["data"]["n_test"]) == (952, 238)
    assert round(run.names["data"]["mean_rmse"], 4) == 0.4402
    assert not set(map(tuple, run.names["X_train"])) & set(
        map(tuple, run.names["X_test"])
    )
    assert run.names["R"].shape == (100, 60)
    assert run.names["seen"].sum() == 952


def test_levels_and_noise(run):
    assert run.names["data"]["levels_share"] < 0.02
    assert 0.2 < run.names["data"]["truth_rmse"] < 0.3


def test_gradient_check(run):
    assert set(run.names["checks"]) == {"numerical gradient", "library's step"}
    assert max(run.names["checks"].values()) < 1e-8
    # Far from a minimum, where a gradient of 0 would pass.
    assert np.linalg.norm(run.names["analytic"]) > 100


def test_the_objective_is_the_library_s(run):
    als = run.names["models"]["ALS"]
    value = run.names["objective"](
        als.user_factors_, als.item_factors_, als.regularization
    )
    assert value == pytest.approx(als.loss_curve_[-1], rel=1e-9)


def test_chosen_parameters_are_inside_the_grids(run, rows):
    """But for the single λ of BiasedMF, which drives the factors out."""
    models = run.names["models"]
    for name in (*WITHOUT_INTERCEPT, "BiasedMF"):
        assert models[name].regularization == 0.1
        assert "λ = 0.1" in rows[name]["chosen"]
    rates = {name: models[name].learning_rate for name in [*STEPPERS, "Adam"]}
    assert rates == dict(zip(rates, (0.01, 0.3, 0.001, 0.01), strict=True))


def test_curves_end_at_the_errors_of_the_table(run, rows):
    for name, row in rows.items():
        if name != "training mean":
            curves = run.names["curves"][name]
            assert len(curves["train"]) == len(curves["test"]) == 100
            assert (curves["train"][-1], curves["test"][-1]) == (
                row["train"],
                row["test"],
            )


def test_tuned_steppers_go_the_same_way(run, rows):
    for part in ("train", "test"):
        ends = [rows[name][part] for name in STEPPERS]
        assert max(ends) - min(ends) < 0.02
    for name in STEPPERS:  # the plateau
        train = run.names["curves"][name]["train"]
        assert train[7] > 0.98 * train[0]
        assert train[-1] < 0.2 * train[0]


def test_als_fits_best_and_first_for_no_reward(run, rows):
    assert rows["ALS"]["train"] < min(rows[name]["train"] for name in STEPPERS) - 0.05
    assert rows["ALS"]["test"] > min(rows[name]["test"] for name in STEPPERS)
    reached = {
        name: np.argmax(np.less(run.names["curves"][name]["train"], 0.45))
        for name in (*STEPPERS, "ALS")
    }
    assert 2 * reached["ALS"] < min(reached[name] for name in STEPPERS)


def test_all_without_intercept_lose_to_the_mean(rows):
    for name in WITHOUT_INTERCEPT:
        assert rows[name]["test"] > rows["training mean"]["test"]


def test_landscape(run):
    bowl = run.names["bowl"].objectives
    centre = len(bowl) // 2
    assert np.argmin(bowl) == bowl.size // 2
    assert (np.diff(bowl[centre, centre:]) > 0).all()
    assert (np.diff(bowl[centre:, centre]) > 0).all()

    plane, along, across = (run.names[name] for name in ("plane", "along", "across"))
    row, column = np.argmin(np.abs(across)), np.argmin(np.abs(along))
    saddle = plane[row, column]
    assert plane[row, column + 1] < saddle > plane[row, column - 1]
    assert plane[row + 1, column] > saddle < plane[row - 1, column]
    np.testing.assert_allclose(plane[row], plane[row, ::-1])
    assert abs(along[np.argmin(plane[row])]) == pytest.approx(1, abs=0.06)


def test_adam_leaves_the_plateau_first(run, rows):
    leaving = run.names["leaving"]
    assert 1 < leaving["Adam"] < leaving["SGD with momentum"] < 50
    for part in ("train", "test"):
        ends = rows["Adam"][part], rows["SGD with momentum"][part]
        assert abs(ends[0] - ends[1]) < 0.05
    ends = [run.names["models"][name].loss_curve_[-1] for name in leaving]
    assert ends[0] == pytest.approx(ends[1], rel=0.02)


def test_biases_and_factors(run, rows):
    tied, free = (
        run.names["spreads"][name] for name in ("BiasedMF, λ_b = λ", "BiasedMF")
    )
    assert tied["products"] < 0.005 < 0.05 < tied["biases"]
    assert free["biases"] < 0.02 < 0.1 < free["products"]
    mean = rows["training mean"]["test"]
    assert rows["BiasedMF"]["test"] < mean - 0.03
    assert rows["BiasedMF, λ_b = λ"]["test"] > mean


def test_sweep_of_the_penalty(run):
    sweep = run.names["sweeps"]["penalty"]
    assert sweep.values == [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1]
    for train, test in zip(sweep.train_means, sweep.test_means, strict=True):
        assert np.argmin(test) == 4
        assert 1.7 * test[4] < test[0] < 2.3 * test[4]
        assert train[0] < 0.13
        assert (np.diff(train) > -0.005).all()


def test_sweep_of_the_rank(run):
    sweep = run.names["sweeps"]["rank"]
    assert sweep.values == [1, 2, 4, 8, 16]
    assert sweep.line_values == [0.01, 0.1]
    weak, good = sweep.test_means
    assert np.argmax(weak) == 2
    assert weak[4] < weak[3] < weak[2]
    assert 4 * 160 < 952 < 8 * 160
    assert 3 * np.ptp(good) < np.ptp(weak)
    assert (good < weak).all()
    assert (np.diff(sweep.train_means) < 0).all()


def test_early_stopping(run, rows):
    fixed, patient = (
        run.names["stopping"][name] for name in ("300 epochs", "patience of 10")
    )
    assert fixed["epochs"] == fixed["kept"] == 300
    assert patient["epochs"] == patient["kept"] + 10 < 200
    assert patient["test"] < fixed["test"] - 0.02
    assert rows["SGD"]["test"] < fixed["test"] - 0.02
    test = run.names["run_curves"]["300 epochs"]["test"]
    assert 20 <= np.argmin(test) + 1 <= 90
    assert test[-1] > min(test) + 0.05


def test_gap(run, rows):
    gap = {name: row["test"] - row["train"] for name, row in rows.items()}
    by_fit = sorted(WITHOUT_INTERCEPT, key=lambda name: -rows[name]["train"])
    assert by_fit == sorted(WITHOUT_INTERCEPT, key=gap.get)
    assert max(gap, key=gap.get) == by_fit[-1] == "ALS"
    assert abs(gap["training mean"]) < 0.01
    assert min(rows, key=lambda name: rows[name]["test"]) == "BiasedMF"
    assert gap["BiasedMF"] > 0.1
    assert rows["BiasedMF"]["test"] > run.names["data"]["truth_rmse"] + 0.05
