"""What the page on two tasks claims, and that it runs."""

import pytest

from tests.examples.gallery import run_notebook

WAYS = [
    f"{name} {weights}"
    for name in ("shared", "separate")
    for weights in ("(0.99, 0.01)", "(0.5, 0.5)")
]


@pytest.fixture(scope="module")
def run():
    return run_notebook("projects/plot_two_tasks")


@pytest.fixture(scope="module")
def curves(run):
    return run.names["curves"]


def best(curves, way):
    return min(curves[way]["test_mse"])


def test_four_curves_of_each_way(curves):
    assert list(curves) == WAYS
    for curve in curves.values():
        assert list(curve) == ["factorization", "regression", "test_mse", "test_mrr"]
        assert {len(values) for values in curve.values()} == {40}


def test_interactions_help_ratings_where_factors_are_shared(run, curves):
    leader, *others = WAYS
    for way in others:
        assert best(curves, leader) < 0.99 * best(curves, way)
    assert best(curves, leader) < 0.7 * run.names["mean_mse"]


def test_half_of_the_weight_leaves_interactions_unlearnt_in_shared_factors(curves):
    kept, ruined, *_ = (curves[way] for way in WAYS)
    assert max(ruined["test_mrr"]) < 0.7 * max(kept["test_mrr"])
    assert ruined["factorization"][-1] > kept["factorization"][-1]


def test_the_penalty_of_the_ratings_limits_overfitting(curves):
    for curve in curves.values():
        assert curve["test_mse"][-1] < 1.1 * min(curve["test_mse"])


def test_weights_hardly_matter_to_separate_factors(curves):
    *_, light, even = WAYS
    assert best(curves, light) == pytest.approx(best(curves, even), rel=0.02)
    ranks = [max(curves[way]["test_mrr"]) for way in (light, even)]
    assert ranks[0] == pytest.approx(ranks[1], rel=0.1)


def test_early_stopping_finds_a_good_epoch(run, curves):
    assert run.names["stopped_mse"] < 1.05 * best(curves, WAYS[0])
    assert f"stopped after epoch {run.names['model'].best_iter_}:" in run.printed


def test_table_and_recommendations_are_printed(run, curves):
    table = run.names["table"]
    assert list(table.index) == WAYS
    assert list(table["best MSE"]) == [best(curves, way) for way in WAYS]
    assert run.printed.count(", item ") == 5
