"""The gallery script on clicks: what it claims."""

import pytest

from tests.examples.gallery import run_notebook


@pytest.mark.compiled
def test_tastes_beat_popularity_in_accuracy_and_in_coverage():
    run = run_notebook("plot_clicks")
    table = run.names["table"]
    popular = table.loc["popularity", 0]
    for name in ("ALSFactorizer", "RankingFactorizer"):
        own = table.loc[name]
        assert list(own.index) == [2, 4, 8, 16, 32]
        best = own.loc[own["NDCG@20"].idxmax()]
        assert best["NDCG@20"] > 1.3 * popular["NDCG@20"]
        assert best["recall@20"] > 1.2 * popular["recall@20"]
        assert best["coverage"] > 3 * popular["coverage"]
    assert not set(run.names["alike"]) & set(run.names["items"][0].tolist())
