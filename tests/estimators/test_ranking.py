"""recommend, similar_items and similar_users: what is seen, ids, ties, errors."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError
from sklearn.utils._param_validation import InvalidParameterError

from sklearn_mf import ALSFactorizer, BiasedMF, SGDFactorizer, as_matrix
from sklearn_mf.datasets import make_ratings


@pytest.fixture(scope="module")
def data():
    return make_ratings(60, 45, 700, random_state=0)


# --------------------------------------------------------------------------- recommend


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


@pytest.mark.parametrize(
    "ids",
    [7, "ab", None, {1, 2}, {1: 2}, [[1]], [[1], [2, 3]], np.ones((2, 2)), object()],
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
