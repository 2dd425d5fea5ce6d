"""recommend, similar_items, similar_users: against a dense sort of all predictions."""

import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError
from sklearn.utils._param_validation import InvalidParameterError

from sklearn_mf import ALSFactorizer, BiasedMF, SGDFactorizer, as_matrix
from sklearn_mf._model.ranking import LANES, QUERIES, Queries, rank
from sklearn_mf.datasets import make_ratings

MODELS = [
    ALSFactorizer(5, max_iter=3, tol=None, random_state=0),
    ALSFactorizer(5, unobserved_weight=1, max_iter=3, tol=None, random_state=0),
    SGDFactorizer(5, max_iter=3, tol=None, random_state=0),
    BiasedMF(5, max_iter=3, tol=None, random_state=0),
    BiasedMF(0, solver="als", max_iter=3, tol=None, random_state=0),
]


@pytest.fixture(scope="module")
def data():
    return make_ratings(60, 45, 700, random_state=0)


@pytest.fixture(scope="module", params=MODELS, ids=str)
def model(request, data):
    return request.param.fit(*data)


def by_sorting(model, users, n, X, allowed=None):
    """The best items of each user by a sort of all predictions: lists of ids."""
    clip, model.clip = model.clip, False
    found = []
    for user in users:
        items = model.items_ if allowed is None else np.unique(allowed)
        items = np.setdiff1d(items, [i for u, i in X if u == user])
        predictions = model.predict([[user, item] for item in items])
        order = np.lexsort((items, -predictions))[:n]
        found.append((items[order].tolist(), predictions[order].tolist()))
    model.clip = clip
    return found


# --------------------------------------------------------------------------- recommend


@pytest.mark.parametrize("n_items", [1, 7, 45, 60])
def test_recommend_is_a_sort_of_all_predictions(model, data, n_items):
    users = [*model.users_[:20], 10**6]
    items, scores = model.recommend(users, n_items)
    assert items.shape == scores.shape == (21, n_items)
    for row, (expected, predictions) in enumerate(
        by_sorting(model, users, n_items, data[0])
    ):
        assert items[row].compressed().tolist() == expected
        assert_allclose(scores[row].compressed(), predictions, rtol=1e-12)
        assert items.mask[row].sum() == n_items - len(expected)
        assert_array_equal(scores.mask[row], items.mask[row])


def test_seen_items_come_back_if_asked_for(model, data):
    items, _ = model.recommend(model.users_, len(model.items_), exclude_seen=False)
    assert not items.mask.any()
    assert_array_equal(
        np.sort(items, axis=1), np.tile(model.items_, (len(model.users_), 1))
    )


def test_candidates_and_exclude(model, data):
    X = data[0]
    candidates = [*model.items_[::2], *model.items_[:4], 10**6]
    exclude = [*model.items_[:3], *model.items_[:3], -1]
    users = model.users_[:10]
    items, _ = model.recommend(users, 9, candidates=candidates, exclude=exclude)
    allowed = np.setdiff1d(np.intersect1d(candidates, model.items_), exclude)
    for row, (expected, _) in enumerate(by_sorting(model, users, 9, X, allowed)):
        assert items[row].compressed().tolist() == expected
    items, scores = model.recommend(users, 2, candidates=[])
    assert items.mask.all()
    assert scores.mask.all()
    items, _ = model.recommend(users, 2, exclude=model.items_)
    assert items.mask.all()


@pytest.mark.parametrize("n_jobs", [1, 2, 3])
@pytest.mark.parametrize("max_memory", [1e-6, 0.001, 64])
def test_result_depends_on_neither_threads_nor_memory(n_jobs, max_memory):
    X, y = make_ratings(700, 150, 8000, random_state=1)
    model = BiasedMF(8, max_iter=2, tol=None, random_state=0).fit(X, y)
    items, scores = model.set_params(n_jobs=2).recommend(model.users_, 12)
    again = model.set_params(n_jobs=n_jobs)
    items_again, scores_again = again.recommend(model.users_, 12, max_memory=max_memory)
    assert_array_equal(items, items_again)
    assert_array_equal(scores.data, scores_again.data)


def test_an_unknown_user_gets_the_popular_items(data):
    model = BiasedMF(3, random_state=0).fit(*data)
    items, scores = model.recommend([12345], 5)
    order = np.argsort(-model.item_biases_, kind="stable")[:5]
    assert_array_equal(items[0], model.items_[order])
    assert_allclose(scores[0], model.global_mean_ + model.item_biases_[order])


def test_an_unknown_user_of_a_model_without_biases_gets_all_alike(data):
    model = ALSFactorizer(3, random_state=0).fit(*data)
    items, scores = model.recommend([12345], 5)
    assert_array_equal(items[0], model.items_[:5])
    assert_allclose(scores[0], model.global_mean_)


def test_log_loss_ranks_by_probability(data):
    X, y = data
    model = BiasedMF(3, loss="log_loss", random_state=0).fit(X, (y > 3).astype(float))
    model.set_params(clip=False)
    items, scores = model.recommend(model.users_[:4], 5)
    for row, user in enumerate(model.users_[:4]):
        pairs = [[user, item] for item in items[row]]
        assert_allclose(scores[row], model.predict(pairs), rtol=1e-12)
        assert (np.diff(scores[row]) <= 0).all()


def test_ids_are_those_of_fit(data):
    X, y = data
    names = np.array([[f"u{u}", f"i{i}"] for u, i in X])
    strings = BiasedMF(4, solver="als", random_state=0).fit(names, y)
    items, scores = strings.recommend(["u7", "nobody"], 3)
    assert items.dtype.kind == "U"
    assert scores.dtype == np.float64
    frame = pd.DataFrame({"who": names[:, 0], "what": names[:, 1]})
    named = BiasedMF(
        4, solver="als", random_state=0, user_column="who", item_column="what"
    ).fit(frame, y)
    again, _ = named.recommend(pd.Series(["u7", "nobody"]), 3)
    assert items.tolist() == again.tolist()
    with pytest.raises(ValueError, match=r"users.*'number'.*'text'"):
        strings.recommend([7])
    with pytest.raises(ValueError, match=r"exclude.*'number'.*'text'"):
        strings.recommend(["u7"], exclude=[7])


def test_a_matrix_has_rows_and_columns(data):
    X, y = data
    R = as_matrix(X, y, shape=(70, 50))
    model = BiasedMF(3, random_state=0).fit(R)
    items, _ = model.recommend([0, 69], 50)
    rated = X[X[:, 0] == 0, 1]
    assert not np.isin(items[0].compressed(), rated).any()
    assert items.mask[0].sum() == len(rated)
    assert not items.mask[1].any()


def test_held_out_and_repeated_ratings_are_seen(data):
    X, y = data
    model = BiasedMF(3, early_stopping=True, random_state=0)
    model.fit(np.vstack([X, X[:50]]), np.concatenate([y, y[:50]]))
    for row, user in enumerate(model.users_):
        items, _ = model.recommend([user], 45)
        assert not np.isin(items.compressed(), X[X[:, 0] == user, 1]).any(), row


def test_what_partial_fit_sees_is_seen(data):
    X, y = data
    model = SGDFactorizer(3, random_state=0).fit(X[:300], y[:300])
    model.partial_fit(X[250:600], y[250:600]).partial_fit([[999, 998]], [3.0])
    pairs = {*map(tuple, X[:600].tolist()), (999, 998)}
    found = {
        (model.users_[row], model.items_[code])
        for row in range(len(model.users_))
        for code in model.seen_indices_[slice(*model.seen_indptr_[row : row + 2])]
    }
    assert found == pairs
    assert len(model.seen_indices_) == len(pairs)
    assert model.seen_indices_.dtype == np.int32
    assert model.seen_indptr_.dtype == np.int64


def test_ties_go_to_the_lower_id():
    X = [[u, i] for u in range(3) for i in range(40)]
    model = ALSFactorizer(2, max_iter=1, tol=None).fit(X, np.full(len(X), 3.0))
    items, scores = model.recommend([0, 5], 25, exclude_seen=False)
    assert_array_equal(items, np.tile(np.arange(25), (2, 1)))
    assert_allclose(scores, 3)


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


# ------------------------------------------------------------------------------- alike


@pytest.mark.parametrize("metric", ["cosine", "dot"])
@pytest.mark.parametrize("side", ["item", "user"])
def test_similar_ids_are_a_sort_of_all_similarities(side, metric, data):
    model = BiasedMF(4, max_iter=3, tol=None, random_state=0).fit(*data)
    labels = getattr(model, f"{side}s_")
    F = getattr(model, f"{side}_factors_")
    similarities = F @ F.T
    if metric == "cosine":
        norms = np.linalg.norm(F, axis=1)
        similarities /= np.outer(norms, norms)
    np.fill_diagonal(similarities, -np.inf)
    similar = getattr(model, f"similar_{side}s")
    ids, values = similar(labels, 6, metric=metric)
    order = np.argsort(-similarities, axis=1, kind="stable")[:, :6]
    assert_array_equal(ids, labels[order])
    assert_allclose(values, np.take_along_axis(similarities, order, 1), rtol=1e-12)
    few = [*labels[:5], 10**6]
    ids, _ = similar(labels[:2], 9, metric=metric, candidates=few)
    assert_array_equal(np.sort(ids[0, :4]), labels[1:5])
    assert ids.mask[0].sum() == 5


def test_ids_without_factors_are_like_none(data):
    X, y = data
    model = ALSFactorizer(3, random_state=0).fit(as_matrix(X, y, shape=(60, 48)))
    _, values = model.similar_items([47], 3)
    assert_array_equal(values, 0)
    assert model.similar_items([], 3)[0].shape == (0, 3)


# ------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"n_items": 0}, "n_items"),
        ({"n_items": 2.5}, "n_items"),
        ({"exclude_seen": "yes"}, "exclude_seen"),
        ({"max_memory": 0}, "max_memory"),
    ],
)
def test_arguments_out_of_range(arguments, match, data):
    model = ALSFactorizer(2, random_state=0).fit(*data)
    with pytest.raises(InvalidParameterError, match=f"'{match}'.*recommend"):
        model.recommend([1], **arguments)


def test_errors_name_argument_and_remedy(data):
    model = ALSFactorizer(2, random_state=0).fit(*data)
    with pytest.raises(NotFittedError):
        ALSFactorizer().recommend([1])
    with pytest.raises(ValueError, match=r"users must be a list of ids.*pass \[7\]"):
        model.recommend(7)
    with pytest.raises(ValueError, match=r"items: 2 of the ids.*such as 777, 888"):
        model.similar_items([model.items_[0], 777, 888])
    with pytest.raises(ValueError, match=r"users: 1 of the ids.*such as 777"):
        model.similar_users([777])
    with pytest.raises(InvalidParameterError, match=r"'metric'.*similar_users"):
        model.similar_users([1], metric="euclid")
    with pytest.raises(ValueError, match=r"users.*NaN"):
        model.recommend([1.0, float("nan")])


def test_nobody_asks():
    model = ALSFactorizer(2, random_state=0).fit([[0, 0], [1, 1]], [1.0, 2.0])
    items, scores = model.recommend([], 4)
    assert items.shape == scores.shape == (0, 4)


def test_a_copy_recommends_the_same(data):
    model = BiasedMF(3, random_state=0).fit(*data)
    copy = pickle.loads(pickle.dumps(model))
    for one, other in zip(
        model.recommend(model.users_, 4), copy.recommend(model.users_, 4), strict=True
    ):
        assert_array_equal(one, other)
