"""The gallery script on right and wrong answers: its claims, and its command line."""

import numpy as np
import pytest

from tests.examples.gallery import run_notebook


@pytest.fixture(scope="module")
def run():
    return run_notebook("projects/plot_exam_answers")


@pytest.fixture(scope="module")
def networks(run):
    """Return the networks by hidden units, learning rate and λ."""
    names = ("hidden", "learning_rate", "regularization")
    all_rows = [*run.names["plain"], *run.names["penalised"]]
    return {tuple(row[name] for name in names): row for row in all_rows}


@pytest.fixture(scope="module")
def models(run):
    return {row["model"]: row for row in run.names["table"]}


def test_the_table_is_complete(run, networks):
    plain = [key for key in networks if key[2] == 0]
    assert sorted(plain) == [
        (k, rate, 0) for k in (10, 50, 200) for rate in (0.003, 0.01)
    ]
    penalised = [key for key in networks if key[2]]
    assert [key[2] for key in penalised] == [0.001, 0.1, 1.0]
    chosen = max(plain, key=lambda key: networks[key]["val"])
    assert {key[:2] for key in penalised} == {chosen[:2]}
    for row in networks.values():
        assert row["val"] == max(row["val_curve"])
        assert row["val_curve"].index(row["val"]) == row["epoch"] - 1
        assert f"{row['val']:.4f}" in run.printed
    assert run.printed.count("chosen: ") == 2


def test_curves_rise_turn_and_fall(networks):
    at_best = {}
    for (k, rate, penalty), row in networks.items():
        if penalty == 0 and k >= 50:
            assert 1 < row["epoch"] < len(row["val_curve"])
            assert row["val"] > row["val_curve"][0] + 0.02
            assert row["val_curve"][-1] < row["val"] - 0.001
            at_best[k, rate] = row
    for k in (50, 200):
        assert at_best[k, 0.01]["epoch"] < at_best[k, 0.003]["epoch"]
    for rate in (0.003, 0.01):
        rows = [row for (_, each), row in at_best.items() if each == rate]
        best = [row["val"] for row in rows]
        assert abs(at_best[50, rate]["val"] - at_best[200, rate]["val"]) < 0.015
        assert max(row["val"] - row["val_curve"][-1] for row in rows) > np.ptp(best)


def test_the_penalty(networks):
    (key,) = {key[:2] for key in networks if key[2]}
    small, larger, largest = (networks[*key, lam] for lam in (0.001, 0.1, 1.0))
    assert abs(small["val"] - networks[*key, 0]["val"]) < 0.005
    assert larger["epoch"] > small["epoch"]
    assert largest["val"] < small["val"] - 0.02


def test_validation_chooses_and_the_simplest_is_best(run, networks, models):
    best = max(networks.values(), key=lambda row: row["val"])
    autorec = models["AutoRec"]
    assert autorec["val"] == best["val"]
    assert autorec["test"] == best["test"]  # fitted anew, for as many epochs
    simplest = models["item response theory"]
    assert simplest["val"] == max(row["val"] for row in models.values())
    assert simplest["test"] == max(row["test"] for row in models.values())
    assert simplest["val"] - autorec["val"] < 0.02
    for row in models.values():
        assert run.names["majority"] + 0.1 < row["test"] < run.names["bound"]


def test_item_response_theory_is_logistic_regression_of_the_ids(run):
    classifiers = run.names["classifiers"]
    ours, peer = (
        classifiers[name] for name in ("MFClassifier(0)", "LogisticRegression, one-hot")
    )
    assert abs(ours["log_loss"] - peer["log_loss"]) < 0.003
    assert abs(ours["test"] - peer["test"]) < 0.006
    for row in classifiers.values():
        assert row["test"] > run.names["majority"] + 0.1
        assert f"{row['log_loss']:.4f}" in run.printed


def test_costs(run, models):
    als, autorec = run.names["costs"]["ALS"], run.names["costs"]["AutoRec"]
    k = models["AutoRec"]["params"]["n_factors"]
    assert autorec["parameters"] == (2 * k + 1) * 1774 + k
    assert als["parameters"] == models["ALS"]["params"]["n_factors"] * (542 + 1774)
    assert autorec["epochs"] > als["epochs"]
    for row in (als, autorec):
        # To serve a student is not to fit again.
        assert min(row["new_student_ms"], row["fit_seconds"]) > 0
        assert row["ms_per_epoch"] > 0


def test_new_students_are_served(run):
    for served in run.names["served"].values():
        assert served["before"] > run.names["majority"]
        assert served["after"] > served["before"] + 0.03


def test_variants(run):
    variants = run.names["variants"]
    assert len({row["val"] for row in variants.values()}) == 4
    assert variants["linear hidden units"]["val"] < variants["as chosen"]["val"]
