"""The gallery script on clicks: what it claims."""

import json

import pytest

from tests.examples.gallery import is_drawn, run_script

FACTORS = [2, 4, 8, 16, 32]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return run_script("plot_clicks", tmp_path_factory.mktemp("clicks"))


@pytest.fixture(scope="module")
def rows(run):
    return json.loads((run.folder / "clicks.json").read_text())


@pytest.mark.compiled
def test_tastes_beat_popularity_in_accuracy_and_in_coverage(rows):
    popular, *others = rows
    assert popular["model"] == "popularity"
    for name in ("ALSFactorizer", "RankingFactorizer"):
        own = [row for row in others if row["model"] == name]
        assert [row["d"] for row in own] == FACTORS
        best = max(own, key=lambda row: row["ndcg"])
        assert best["ndcg"] > 1.3 * popular["ndcg"]
        assert best["recall"] > 1.2 * popular["recall"]
        assert best["coverage"] > 3 * popular["coverage"]


@pytest.mark.compiled
def test_what_is_printed_and_drawn(run, rows):
    lines = run.printed.splitlines()
    for line, row in zip(lines[3 : 3 + len(rows)], rows, strict=True):
        assert line.startswith(row["model"])
        assert f"{row['recall']:.3f}" in line
        assert f"{row['ndcg']:.3f}" in line
    assert lines[-1].startswith("Met [")
    assert is_drawn(run.folder / "clicks.png")
