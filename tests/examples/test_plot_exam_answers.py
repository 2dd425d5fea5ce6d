"""The gallery script on right and wrong answers: its claims, and its command line."""

import json

import numpy as np
import pytest

from sklearn_mf.datasets import make_answers
from tests.examples.gallery import is_drawn, run_script

FIGURES = ["exam_answers_epochs.png", "exam_answers_models.png"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return run_script("plot_exam_answers", tmp_path_factory.mktemp("exam_answers"))


@pytest.fixture(scope="module")
def results(run):
    return json.loads((run.folder / "exam_answers.json").read_text())


@pytest.fixture(scope="module")
def networks(results):
    """Return the networks by hidden units, learning rate and λ."""
    names = ("hidden", "learning_rate", "regularization")
    return {tuple(row[name] for name in names): row for row in results["networks"]}


@pytest.fixture(scope="module")
def models(results):
    return {row["model"]: row for row in results["models"]}


def test_the_table_is_complete(run, results, networks):
    plain = [key for key in networks if key[2] == 0]
    assert sorted(plain) == [
        (k, rate, 0) for k in (10, 50, 100, 200, 500) for rate in (0.003, 0.01)
    ]
    penalised = [key for key in networks if key[2]]
    assert [key[2] for key in penalised] == [0.001, 0.01, 0.1, 1.0]
    chosen = max(plain, key=lambda key: networks[key]["val"])
    assert {key[:2] for key in penalised} == {chosen[:2]}
    for row in results["networks"]:
        assert row["val"] == max(row["val_curve"])
        assert row["val_curve"].index(row["val"]) == row["epoch"] - 1
        assert f"{row['val']:.4f}" in run.printed
    assert run.printed.count("* chosen") >= 2


def test_curves_rise_turn_and_fall(networks):
    at_best = {}
    for (k, rate, penalty), row in networks.items():
        if penalty == 0 and k >= 50:
            assert 1 < row["epoch"] < len(row["val_curve"])
            assert row["val"] > row["val_curve"][0] + 0.02
            assert row["val_curve"][-1] < row["val"] - 0.001
            at_best[k, rate] = row
    for k in (50, 100, 200, 500):
        assert at_best[k, 0.01]["epoch"] < at_best[k, 0.003]["epoch"]
    for rate in (0.003, 0.01):
        rows = [row for (_, each), row in at_best.items() if each == rate]
        best = [row["val"] for row in rows]
        assert abs(at_best[50, rate]["val"] - at_best[500, rate]["val"]) < 0.015
        assert max(row["val"] - row["val_curve"][-1] for row in rows) > np.ptp(best)


def test_the_penalty(networks):
    (key,) = {key[:2] for key in networks if key[2]}
    small, _, larger, largest = (networks[*key, lam] for lam in (0.001, 0.01, 0.1, 1.0))
    assert abs(small["val"] - networks[*key, 0]["val"]) < 0.005
    assert larger["epoch"] > small["epoch"]
    assert largest["val"] < small["val"] - 0.02


def test_validation_chooses_and_the_simplest_is_best(results, networks, models):
    best = max(networks.values(), key=lambda row: row["val"])
    autorec = models["AutoRec"]
    assert autorec["val"] == best["val"]
    assert autorec["test"] == best["test"]  # fitted anew, for as many epochs
    simplest = models["item response theory"]
    assert simplest["val"] == max(row["val"] for row in models.values())
    assert simplest["test"] == max(row["test"] for row in models.values())
    assert simplest["val"] - autorec["val"] < 0.02
    for row in models.values():
        assert results["majority"] + 0.1 < row["test"] < results["bound"]


def test_item_response_theory_is_logistic_regression_of_the_ids(run, results):
    classifiers = {row["model"]: row for row in results["classifiers"]}
    ours, peer = (
        classifiers[name] for name in ("MFClassifier(0)", "LogisticRegression, one-hot")
    )
    assert abs(ours["log_loss"] - peer["log_loss"]) < 0.003
    assert abs(ours["test"] - peer["test"]) < 0.006
    for row in classifiers.values():
        assert row["test"] > results["majority"] + 0.1
        assert f"{row['log_loss']:.4f}" in run.printed


def test_costs(results, models):
    als, autorec = results["costs"]["ALS"], results["costs"]["AutoRec"]
    k = models["AutoRec"]["params"]["n_factors"]
    assert autorec["parameters"] == (2 * k + 1) * 1774 + k
    assert als["parameters"] == models["ALS"]["params"]["n_factors"] * (542 + 1774)
    assert autorec["epochs"] > als["epochs"]
    for row in (als, autorec):
        # To serve a student is not to fit again.
        assert min(row["new_student_ms"], row["fit_seconds"]) > 0
        assert row["ms_per_epoch"] > 0


def test_new_students_are_served(results):
    for served in results["new_students"].values():
        assert served["before"] > results["majority"]
        assert served["after"] > served["before"] + 0.03


def test_variants(results):
    variants = results["variants"]
    assert len({row["val"] for row in variants.values()}) == 4
    assert variants["linear hidden units"]["val"] < variants["as chosen"]["val"]


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_drawn(name, run):
    assert is_drawn(run.folder / name)


def test_answers_of_ones_own(tmp_path):
    X, y = make_answers(25, 20, 300, random_state=0)
    file = tmp_path / "answers.csv"
    np.savetxt(file, np.column_stack([X, y]), fmt="%d", delimiter=",")
    run = run_script("plot_exam_answers", tmp_path / "results", "--ratings", file)
    results = json.loads((run.folder / "exam_answers.json").read_text())
    assert results["bound"] is None
    assert "the true model:           not known" in run.printed
    assert results["costs"]["ALS"]["parameters"] % 45 == 0
