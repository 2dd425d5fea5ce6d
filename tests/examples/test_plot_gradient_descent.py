"""Tests of the gallery script on gradient descent: what it claims holds."""

import json

import numpy as np
import pytest

from tests.examples.gallery import is_drawn, run_script

FIGURES = ["convergence", "landscape", "adam", "sweeps", "stopping", "gap"]
STEPPERS = ["SGD", "mini-batch SGD", "SGD with momentum"]
WITHOUT_INTERCEPT = [*STEPPERS, "ALS", "Adam"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "new" / "folder"
    return run_script("plot_gradient_descent", folder)


@pytest.fixture(scope="module")
def results(run):
    path = run.folder / "gradient_descent.json"
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def rows(results):
    return {row["variant"]: row for row in results["table"]}


@pytest.mark.parametrize("name", FIGURES)
def test_figures(run, name):
    assert is_drawn(run.folder / f"gradient_descent_{name}.png")


def test_no_other_figures(run):
    assert len(list(run.folder.glob("*.png"))) == len(FIGURES)


def test_data_are_those_of_the_original(run, results):
    assert (results["data"]["n_train"], results["data"]["n_test"]) == (952, 238)
    assert round(results["data"]["mean_rmse"], 4) == 0.4402
    assert not set(map(tuple, run.names["X_train"])) & set(
        map(tuple, run.names["X_test"])
    )
    assert run.names["R"].shape == (100, 60)
    assert run.names["seen"].sum() == 952


def test_levels_and_noise(results):
    assert results["data"]["levels_share"] < 0.02
    assert 0.2 < results["data"]["truth_rmse"] < 0.3


def test_gradient_check(run, results):
    assert set(results["checks"]) == {"numerical gradient", "library's step"}
    assert max(results["checks"].values()) < 1e-8
    # Far from a minimum, where a gradient of 0 would pass.
    assert np.linalg.norm(run.names["analytic"]) > 100


def test_the_objective_is_the_library_s(run):
    als = run.names["models"]["ALS"]
    value = run.names["objective"](
        als.user_factors_, als.item_factors_, als.regularization
    )
    assert value == pytest.approx(als.loss_curve_[-1], rel=1e-9)


def test_no_variant_is_worse_than_the_original_s(rows):
    compared = [row for row in rows.values() if row["original"] is not None]
    assert len(compared) == 7
    for row in compared:
        assert round(row["test"], 4) <= row["original"], row["variant"]
    assert rows["BiasedMF"]["test"] <= 0.4385


def test_chosen_parameters_are_inside_the_grids(run, rows):
    """But for the single λ of BiasedMF, which drives the factors out."""
    for name in (*WITHOUT_INTERCEPT, "BiasedMF"):
        penalty = rows[name]["chosen"]["regularization"]
        assert penalty == run.names["models"][name].regularization == 0.1
    rates = {name: rows[name]["chosen"]["learning_rate"] for name in STEPPERS}
    assert rates == dict(zip(STEPPERS, (0.01, 0.3, 0.001), strict=True))
    assert rows["Adam"]["chosen"]["learning_rate"] == 0.01


def test_table_is_printed(run, rows):
    lines = run.printed.splitlines()
    assert sum(line.startswith("variant") for line in lines) == 1
    table = lines[-len(rows) :]
    for line, row in zip(table, rows.values(), strict=True):
        assert line.startswith(row["variant"])
        assert f"{row['test']:.4f}" in line
        assert line.endswith(f"{row['original'] or '–'}")


def test_curves_end_at_the_errors_of_the_table(results, rows):
    for name, row in rows.items():
        if name != "training mean":
            curves = results["curves"][name]
            assert len(curves["train"]) == len(curves["test"]) == 100
            assert (curves["train"][-1], curves["test"][-1]) == (
                row["train"],
                row["test"],
            )


def test_tuned_steppers_go_the_same_way(results, rows):
    for part in ("train", "test"):
        ends = [rows[name][part] for name in STEPPERS]
        assert max(ends) - min(ends) < 0.02
    for name in STEPPERS:  # the plateau
        train = results["curves"][name]["train"]
        assert train[7] > 0.98 * train[0]
        assert train[-1] < 0.2 * train[0]


def test_als_fits_best_and_first_for_no_reward(results, rows):
    assert rows["ALS"]["train"] < min(rows[name]["train"] for name in STEPPERS) - 0.05
    assert rows["ALS"]["test"] > min(rows[name]["test"] for name in STEPPERS)
    reached = {
        name: np.argmax(np.less(results["curves"][name]["train"], 0.45))
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


def test_adam_leaves_the_plateau_first(run, results, rows):
    leaving = results["leaving"]
    assert 1 < leaving["Adam"] < leaving["SGD with momentum"] < 50
    for part in ("train", "test"):
        ends = rows["Adam"][part], rows["SGD with momentum"][part]
        assert abs(ends[0] - ends[1]) < 0.05
    ends = [run.names["models"][name].loss_curve_[-1] for name in leaving]
    assert ends[0] == pytest.approx(ends[1], rel=0.02)


def test_biases_and_factors(results, rows):
    tied, free = (
        results["spreads"][name] for name in ("BiasedMF, λ_b = λ", "BiasedMF")
    )
    assert tied["products"] < 0.005 < 0.05 < tied["biases"]
    assert free["biases"] < 0.02 < 0.1 < free["products"]
    mean = rows["training mean"]["test"]
    assert rows["BiasedMF"]["test"] < mean - 0.03
    assert rows["BiasedMF, λ_b = λ"]["test"] > mean


def test_sweep_of_the_penalty(results):
    sweep = results["sweeps"]["penalty"]
    assert sweep["values"] == [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1]
    for train, test in zip(sweep["train"], sweep["test"], strict=True):
        assert np.argmin(test) == 4
        assert 1.7 * test[4] < test[0] < 2.3 * test[4]
        assert train[0] < 0.13
        assert (np.diff(train) > -0.005).all()


def test_sweep_of_the_rank(results):
    sweep = results["sweeps"]["rank"]
    assert sweep["values"] == [1, 2, 4, 8, 16]
    assert sweep["line_values"] == [0.01, 0.1]
    weak, good = sweep["test"]
    assert np.argmax(weak) == 2
    assert weak[4] < weak[3] < weak[2]
    assert 4 * 160 < 952 < 8 * 160
    assert 3 * np.ptp(good) < np.ptp(weak)
    assert max(good) < min(weak)
    assert (np.diff(sweep["train"]) < 0).all()


def test_early_stopping(results, rows):
    fixed, patient = (
        results["stopping"][name] for name in ("300 epochs", "patience of 10")
    )
    assert fixed["epochs"] == fixed["kept"] == 300
    assert patient["epochs"] == patient["kept"] + 10 < 200
    assert patient["test"] < fixed["test"] - 0.02
    assert rows["SGD"]["test"] < fixed["test"] - 0.02
    test = results["curves"]["300 epochs"]["test"]
    assert 20 <= np.argmin(test) + 1 <= 90
    assert test[-1] > min(test) + 0.05


def test_gap(results, rows):
    gap = {name: row["test"] - row["train"] for name, row in rows.items()}
    by_fit = sorted(WITHOUT_INTERCEPT, key=lambda name: -rows[name]["train"])
    assert by_fit == sorted(WITHOUT_INTERCEPT, key=gap.get)
    assert max(gap, key=gap.get) == by_fit[-1] == "ALS"
    assert abs(gap["training mean"]) < 0.01
    assert min(rows, key=lambda name: rows[name]["test"]) == "BiasedMF"
    assert gap["BiasedMF"] > 0.1
    assert rows["BiasedMF"]["test"] > results["data"]["truth_rmse"] + 0.05
