"""What the page on two tasks claims, and that it runs."""

import json

import numpy as np
import pytest

from tests.examples.gallery import is_drawn, run_script

WAYS = [
    f"{name} {weights}"
    for name in ("shared", "separate")
    for weights in ("(0.99, 0.01)", "(0.5, 0.5)")
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return run_script("plot_two_tasks", tmp_path_factory.mktemp("two_tasks"))


@pytest.fixture(scope="module")
def curves(run):
    return json.loads((run.folder / "two_tasks.json").read_text())


def best(curves, way):
    return min(curves[way]["test_mse"])


def test_json_holds_four_curves_of_each_way(run, curves):
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
    assert np.argmin(ruined["test_mse"]) < 10 < np.argmin(kept["test_mse"])
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
    lines = run.printed.splitlines()
    assert [line[:24].strip() for line in lines[1:6]] == [*WAYS, "mean rating"]
    for line, way in zip(lines[1:5], WAYS, strict=True):
        assert f"{best(curves, way):.4f}" in line
    assert sum(line.startswith("user ") for line in lines) == 5


def test_figure_is_drawn(run):
    assert is_drawn(run.folder / "two_tasks.png")


def test_own_ratings_and_epochs(tmp_path):
    rng = np.random.default_rng(0)
    pairs = rng.permutation(400)[:200]
    path = tmp_path / "ratings.csv"
    rows = [f"{pair // 20},{pair % 20},{rng.integers(1, 6)}" for pair in pairs]
    path.write_text("user,item,rating\n" + "\n".join(rows))
    run = run_script("plot_two_tasks", tmp_path, "--ratings", path, "--epochs", 2)
    curves = json.loads((tmp_path / "two_tasks.json").read_text())
    assert all(len(curve["test_mse"]) == 2 for curve in curves.values())
    assert len(run.names["y"]) == 200
