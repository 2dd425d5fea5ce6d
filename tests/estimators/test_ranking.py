"""recommend, similar_items and similar_users: what is seen, ids, ties, errors."""

import copy
import pickle
import sys

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils._param_validation import InvalidParameterError

from sklearn_mf import (
    ALSFactorizer,
    AutoRec,
    BiasedMF,
    RankingFactorizer,
    SGDFactorizer,
    as_matrix,
    as_pairs,
)
from sklearn_mf.datasets import make_ratings
from tests.assertions import left_as_it_was


@pytest.fixture(scope="module")
def data():
    return make_ratings(60, 45, 700, random_state=0)


# --------------------------------------------------------------------------- recommend


@pytest.mark.compiled
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
    counts = np.bincount(data[0][:, 1])[model.items_]
    for weight in (0.0, 0.3, None):
        items, scores = model.recommend([12345], 5, popularity_weight=weight)
        weight = 1.0 if weight is None else weight
        values = model.item_biases_ + weight * model.rating_scale_ * np.log1p(counts)
        order = np.argsort(-values, kind="stable")[:5]
        assert_array_equal(items[0], model.items_[order])
        assert_allclose(scores[0], model.global_mean_ + model.item_biases_[order])


def test_an_unknown_user_of_a_model_without_biases(data):
    model = ALSFactorizer(3, random_state=0).fit(*data)
    items, scores = model.recommend([12345], 5, popularity_weight=0)
    assert_array_equal(items[0], model.items_[:5])
    assert_allclose(scores[0], model.global_mean_)
    items, scores = model.recommend([12345], 5)
    order = np.argsort(-np.bincount(data[0][:, 1])[model.items_], kind="stable")
    assert_array_equal(items[0], model.items_[order[:5]])
    assert_allclose(scores[0], model.global_mean_)


@pytest.mark.parametrize(
    "model",
    [
        ALSFactorizer(3, feedback="implicit", random_state=0),
        RankingFactorizer(3, max_iter=3, tol=None, random_state=0),
    ],
    ids=str,
)
def test_an_unknown_user_of_a_model_that_ranks_gets_the_popular_items(model, data):
    model.fit(*data)
    counts = np.bincount(data[0][:, 1])[model.items_]
    order = model.items_[np.argsort(-counts, kind="stable")]
    known, _ = model.recommend([model.users_[0]], 5)
    for own in ({}, {"candidates": [model.items_] * 2}, {"exclude": [[], []]}):
        items, scores = model.recommend([12345, model.users_[0]], 5, **own)
        assert_array_equal(items[0], order[:5])
        assert_array_equal(scores[0], 0)
        assert_array_equal(items[1], known[0])
    items, _ = model.recommend([12345], 5, exclude=order[1:3])
    assert_array_equal(items[0], order[[0, 3, 4, 5, 6]])


def test_log_loss_ranks_by_probability(data):
    X, y = data
    model = BiasedMF(3, loss="log_loss", random_state=0).fit(X, (y > 3).astype(float))
    model.set_params(clip=False)
    items, scores = model.recommend(model.users_[:4], 5, popularity_weight=0)
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


# ---------------------------------------------------------- lists for each user, frames


@pytest.mark.parametrize("exclude_seen", [True, False])
def test_lists_for_each_user_are_what_each_gets_alone(exclude_seen, data):
    rng = np.random.default_rng(0)
    model = BiasedMF(4, random_state=0).fit(*data)
    users = [*rng.choice(model.users_, 12), 777]  # some twice, one unknown
    lists = [rng.choice(60, rng.integers(0, 30)) for _ in users]  # some unknown, twice
    others = [rng.choice(60, rng.integers(0, 20)).tolist() for _ in users]
    for own in (
        {"candidates": lists},
        {"exclude": others},
        {"candidates": lists, "exclude": others},
        {"candidates": lists, "exclude": [3, 5, 8]},
        {"candidates": range(30), "exclude": others},
    ):
        items, scores = model.recommend(users, 6, exclude_seen=exclude_seen, **own)
        for row, user in enumerate(users):
            alone = {
                name: ids[row] if isinstance(ids[0], list | np.ndarray) else ids
                for name, ids in own.items()
            }
            expected, expected_scores = model.recommend(
                [user], 6, exclude_seen=exclude_seen, **alone
            )
            assert_array_equal(items[row].filled(-1), expected[0].filled(-1))
            assert_array_equal(scores[row].filled(-1), expected_scores[0].filled(-1))
    # What was recommended can be left out the next time, masked entries and all.
    again, _ = model.recommend(users, 6, exclude=items)
    for row in range(len(users)):
        assert not set(again[row].compressed()) & set(items[row].compressed())


def test_as_many_lists_as_users(data):
    model = ALSFactorizer(2, random_state=0).fit(*data)
    for name in ("candidates", "exclude"):
        with pytest.raises(ValueError, match=f"{name} has 2 lists of ids for 3 users"):
            model.recommend([1, 2, 3], **{name: [[1], [2]]})


@pytest.mark.compiled
@pytest.mark.parametrize("kind", [True, "pandas", "polars"])
def test_a_frame_has_a_row_for_each_recommendation(kind, data):
    X, y = data
    names = np.array([[f"u{u}", f"i{i}"] for u, i in X])
    model = BiasedMF(4, random_state=0).fit(names, y)
    items, scores = model.recommend(["u7", "nobody"], 50)
    frame = model.recommend(["u7", "nobody"], 50, as_frame=kind)
    assert type(frame).__module__.startswith("polars" if kind == "polars" else "pandas")
    assert list(frame.columns) == ["user", "item", "score", "rank"]
    n = (~items.mask).sum(axis=1)
    assert n[0] < 45
    assert frame["user"].to_list() == ["u7"] * n[0] + ["nobody"] * n[1]
    assert frame["item"].to_list() == items.compressed().tolist()
    assert frame["score"].to_list() == scores.compressed().tolist()
    assert frame["rank"].to_list() == [*range(1, n[0] + 1), *range(1, n[1] + 1)]


def test_a_library_of_frames_that_is_missing(data, monkeypatch):
    monkeypatch.setitem(sys.modules, "polars", None)
    model = ALSFactorizer(2, random_state=0).fit(*data)
    with pytest.raises(ImportError, match=r"as_frame='polars' needs polars.*install"):
        model.recommend([1], as_frame="polars")


# --------------------------------------------------------------------------- histories

FOLDING = [
    ALSFactorizer(4, random_state=0),
    ALSFactorizer(4, feedback="implicit", random_state=0),
    ALSFactorizer(4, unobserved_weight=0.3, non_negative=True, random_state=0),
    BiasedMF(4, random_state=0),
    BiasedMF(4, solver="als", feedback="implicit", random_state=0),
]


@pytest.mark.compiled
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("estimator", FOLDING, ids=str)
def test_a_history_recommends_as_a_fold_in_does(estimator, dtype, data):
    X, y = data[0], data[1].astype(dtype)
    model = clone(estimator).fit(X, y)
    known = X[:, 0] < 9
    new, new_y = X[known] + [1000, 0], y[known]
    w = np.random.default_rng(0).uniform(0.5, 2, len(new_y))
    folded = copy.deepcopy(model).fold_in_users(new, new_y, w)
    # The ratings that are folded in make items more popular; a history does not.
    options = {"popularity_weight": 0}
    expected, expected_scores = folded.recommend(folded.users_[-9:], 7, **options)
    with left_as_it_was(model):
        found, scores = model.recommend(n_items=7, history=(new, new_y, w), **options)
    rtol = 1e-4 if dtype == np.float32 else 1e-9
    assert_allclose(scores, expected_scores, rtol=rtol)
    assert (found == expected).mean() >= (1 if dtype == np.float64 else 0.9)
    # Items that the model does not know are not read, users as they are asked for.
    more = np.vstack([new, [[1003, 5000], [2000, 5000], [1001, 5001]]])
    history = more, np.append(new_y, [1, 1, 1]), np.append(w, [1, 1, 1])
    users = [1004, 3000, 2000, 1001]
    found, scores = model.recommend(users, 7, history=history, **options)
    assert_allclose(scores[[0, 3]], expected_scores[[4, 1]], rtol=rtol)
    unknown, unknown_scores = model.recommend([3000], 7, **options)
    for row in (1, 2):
        assert_array_equal(found[row], unknown[0])
        assert_allclose(scores[row], unknown_scores[0], rtol=rtol)
    seen, _ = model.recommend(users, 45, history=history, exclude_seen=False)
    assert not seen.mask.any()


def test_a_history_of_clicks_needs_no_y(data):
    X, y = data
    model = ALSFactorizer(4, feedback="implicit", random_state=0).fit(X, y)
    clicks = [["anyone", 3], ["anyone", 5]]
    found = model.recommend(history=clicks, as_frame=True)
    assert set(found["user"]) == {"anyone"}
    assert not set(found["item"]) & {3, 5}
    again = model.recommend(["anyone"], history=(clicks, [1, 1]), as_frame=True)
    pd.testing.assert_frame_equal(found, again)
    model.set_params(alpha=1.0).fit(X, y)
    other = model.recommend(history=clicks, as_frame=True)
    assert abs(other["score"] - found["score"]).max() > 1e-3


def test_a_refit_forgets_what_was_kept_for_histories(data):
    X, y = data
    model = ALSFactorizer(4, feedback="implicit", random_state=0).fit(X, y)
    history = [[0, 3], [0, 5]]
    model.recommend(history=history)
    model.set_params(alpha=3.0).fit(X[::2], y[::2])
    found = model.recommend(history=history)
    fresh = pickle.loads(pickle.dumps(model))
    assert "_kept" not in vars(fresh)
    for mine, other in zip(found, fresh.recommend(history=history), strict=True):
        assert_array_equal(mine, other)


@pytest.mark.compiled
def test_a_matrix_is_a_history_for_models_of_a_matrix_only(data):
    X, y = data
    R = as_matrix(X, y)
    with pytest.raises(ValueError, match=r"history is a sparse matrix.*as_pairs"):
        ALSFactorizer(random_state=0).fit(X, y).recommend(history=R)
    model = ALSFactorizer(random_state=0).fit(R)
    items, _ = model.recommend(history=R, n_items=3)
    assert_array_equal(items, model.recommend(history=as_pairs(R), n_items=3)[0])


def test_errors_of_histories(data):
    model = ALSFactorizer(2, random_state=0).fit(*data)
    with pytest.raises(TypeError, match="needs users, or the history"):
        model.recommend()
    with pytest.raises(ValueError, match=r"history is a tuple of 4: pass X"):
        model.recommend(history=([[1, 2]], [3], [1], 0))
    with pytest.raises(ValueError, match="requires y"):
        model.recommend(history=[[1, 2]])
    with pytest.raises(ValueError, match="log_loss"):
        BiasedMF(2, loss="log_loss").fit(data[0], data[1] > 3).recommend(
            history=([[1, 2]], [1])
        )
    with pytest.raises(TypeError, match="AutoRec cannot fold users in"):
        AutoRec(2, random_state=0).fit(*data).recommend(history=([[1, 2]], [3]))


# ------------------------------------------------------------------------------- alike


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


@pytest.mark.compiled
@pytest.mark.parametrize(
    "ids",
    [7, "ab", None, {1, 2}, {1: 2}, [[1], [2, 3]], np.ones((2, 2)), object()],
)
def test_lists_of_ids_that_are_none(ids, data):
    model = ALSFactorizer(2, random_state=0).fit(*data)
    for name in ("users", "candidates", "exclude"):
        if ids is None and name != "users":
            continue
        with pytest.raises((ValueError, TypeError), match=name):
            model.recommend(**{"users": [1], name: ids})
    assert model.recommend(pd.Index([1, 2]), 1)[0].shape == (2, 1)


def test_a_result_that_is_nearly_all_masked(data):
    model = ALSFactorizer(2, random_state=0).fit(*data)
    with pytest.raises(ValueError, match=r"n_items=2147483647 is more than .* lower"):
        model.recommend([1], 2**31 - 1)
    assert model.recommend([1], np.int8(100), max_memory=1e308)[0].shape == (1, 100)
    assert model.recommend([1], 3, max_memory=np.int8(2))[0].shape == (1, 3)


def test_nobody_asks():
    model = ALSFactorizer(2, random_state=0).fit([[0, 0], [1, 1]], [1.0, 2.0])
    items, scores = model.recommend([], 4)
    assert items.shape == scores.shape == (0, 4)


def test_the_cosine_of_tiny_factors(data):
    model = ALSFactorizer(3, max_iter=3, random_state=0)
    model.fit(data[0], data[1].astype(np.float32))
    ids, expected = model.similar_items(model.items_, 5)
    model.item_factors_ = model.item_factors_ * np.float32(1e-30)
    found, cosines = model.similar_items(model.items_, 5)
    assert_array_equal(found, ids)
    assert_allclose(cosines, expected, rtol=1e-5)
    assert expected.max() > 0.5
