"""The best codes of each query, against a sort."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from sklearn_mf._model.ranking import LANES, QUERIES, Queries, rank


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_rank_with_ties_and_exclusions_by_hypothesis(data):
    n_queries = data.draw(st.integers(1, 2 * QUERIES + 1))
    n_codes = data.draw(st.integers(1, 3 * LANES + 1))
    n_best = data.draw(st.integers(1, n_codes + 2))
    seed = data.draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    queries = rng.integers(-1, 2, size=(n_queries, 3)).astype(dtype)
    factors = rng.integers(-1, 2, size=(n_codes, 3)).astype(dtype)
    biases = rng.integers(-1, 2, size=n_codes).astype(dtype)
    candidates = np.flatnonzero(rng.random(n_codes) < 0.8).astype(np.int32)
    seen = rng.random((n_queries, n_codes)) < 0.3
    rows = np.where(rng.random(n_queries) < 0.9, np.arange(n_queries), -1)
    excludes = data.draw(st.booleans())
    indptr = np.concatenate([[0], np.cumsum(seen.sum(axis=1))])
    indices = np.nonzero(seen)[1].astype(np.int32)
    best, scores = rank(
        Queries(rows.astype(np.int32), queries, excludes, indptr, indices),
        factors, biases, n_best, candidates=candidates,
        max_memory=data.draw(st.sampled_from([1e-6, 1])), n_jobs=1,
    )  # fmt: skip
    for query in range(n_queries):
        left, q = candidates, np.zeros(3)
        if rows[query] >= 0:
            q = queries[query]
            left = left[~seen[query, left]] if excludes else left
        values = factors[left] @ q + biases[left]
        order = np.lexsort((left, -values))[:n_best]
        n = len(order)
        assert_array_equal(best[query, :n], left[order])
        assert_array_equal(scores[query, :n], values[order])
        assert_array_equal(best[query, n:], -1)
