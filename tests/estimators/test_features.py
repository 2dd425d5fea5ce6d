"""Models with features: ids without ratings, new ids, and the tools of scikit-learn."""

import copy
import json
import pickle
import zipfile

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_mf import ALSFactorizer, BiasedMF, SGDFactorizer, load
from sklearn_mf.datasets import make_ratings
from tests.assertions import assert_same_bits, left_as_it_was

N_USERS, N_ITEMS = 60, 45
COLD = [40, 41, 42, 43, 44]  # items without ratings
SHARED = {"n_factors": 3, "max_iter": 8, "tol": None, "random_state": 0, "clip": False}
MODELS = {
    "als": ALSFactorizer(**SHARED),
    "cg": ALSFactorizer(solver="cg", **SHARED),
    "unobserved": ALSFactorizer(unobserved_weight=0.3, **SHARED),
    "biased als": BiasedMF(solver="als", **SHARED),
    "sgd": SGDFactorizer(**SHARED),
    "biased sgd": BiasedMF(**SHARED),
}
CLOSED = [name for name in MODELS if "sgd" not in name]
STOCHASTIC = [name for name in MODELS if "sgd" in name]
QUICK = "biased als", "sgd"  # run where nothing is compiled too


def each_kind(kinds):
    """Run a test for models of some kinds."""
    cases = [
        pytest.param(kind, marks=() if kind in QUICK else pytest.mark.compiled)
        for kind in kinds
    ]
    return pytest.mark.parametrize("kind", cases)


each = each_kind(MODELS)


@pytest.fixture(scope="module")
def world():
    """Return ratings, and features from which the factors of users and items come."""
    rng = np.random.default_rng(0)
    users, items = rng.normal(size=(N_USERS, 4)), rng.normal(size=(N_ITEMS, 5))
    P = users @ rng.normal(size=(4, 3)) * 0.5
    Q = items @ rng.normal(size=(5, 3)) * 0.4
    truth = 3 + P @ Q.T + 0.5 * items[:, :1].T
    X = np.argwhere(rng.random(truth.shape) < 0.4)
    y = truth[tuple(X.T)] + rng.normal(scale=0.1, size=len(X))
    warm = X[:, 1] < 40
    return X[warm], y[warm], X[~warm], y[~warm], users, items


def make(kind, world, **params):
    """Return a model with features of all users and items."""
    *_, users, items = world
    params = {
        "user_features": (np.arange(N_USERS), users),
        "item_features": (np.arange(N_ITEMS), items, list("abcde")),
    } | params
    return clone(MODELS[kind]).set_params(**params)


def rows_of(model, side):
    columns = [getattr(model, f"{side}_factors_")]
    if isinstance(model, BiasedMF):
        columns.append(getattr(model, f"{side}_biases_"))
    return np.column_stack(columns)


def expected_of(model, side, features):
    """Return the parameters that features predict, as the docstring says."""
    weights = [getattr(model, f"{side}_feature_weights_")]
    if isinstance(model, BiasedMF):
        weights.append(getattr(model, f"{side}_feature_biases_"))
    centers = getattr(model, f"{side}_feature_centers_")
    return (features - centers) @ np.column_stack(weights)


def places(labels, ids):
    found = np.searchsorted(labels, ids)
    assert_array_equal(labels[found], ids)
    return found


def rmse(model, X, y):
    return np.sqrt(np.mean((model.predict(X) - y) ** 2))


# ---------------------------------------------------------------- ids without ratings


@each
def test_ids_without_ratings_are_as_their_features_predict(kind, world):
    X, y, X_cold, y_cold, _, items = world
    model = make(kind, world).fit(X, y)
    assert_array_equal(model.items_, np.arange(N_ITEMS))
    expected = expected_of(model, "item", items)
    assert_allclose(rows_of(model, "item")[COLD], expected[COLD], rtol=1e-9)
    assert abs(rows_of(model, "item")[:40] - expected[:40]).min() > 0
    assert model.seen_indices_.max() == 39
    without = make(kind, world, item_features=None).fit(X, y)
    if kind != "unobserved":
        assert rmse(model, X_cold, y_cold) < 0.8 * rmse(without, X_cold, y_cold)
    # All methods know them.
    pairs = np.array([[3, 41], [99, 41], [99, 99]])
    transformed = model.transform(pairs)
    assert_array_equal(transformed[:2, 3:], model.item_factors_[[41, 41]])
    assert_array_equal(transformed[1, :3], 0)
    assert_array_equal(transformed[2], 0)
    predictions = model.predict(pairs)
    expected = model.global_mean_ + transformed[0, :3] @ transformed[0, 3:]
    biases = getattr(model, "item_biases_", np.zeros(N_ITEMS))
    expected += biases[41] + getattr(model, "user_biases_", np.zeros(N_USERS))[3]
    assert_allclose(predictions[0], expected)
    assert_allclose(predictions[1:], model.global_mean_ + np.array([biases[41], 0]))
    assert_array_equal(model.similar_items([41], 44)[0].mask, False)
    assert 41 in model.similar_items([0], 44)[0]
    found, scores = model.recommend([3], N_ITEMS, popularity_weight=0)
    assert set(COLD) <= set(found.compressed().tolist())
    pairs = [[3, item] for item in found.compressed().tolist()]
    assert_allclose(scores.compressed(), model.predict(pairs))
    assert (np.diff(scores.compressed()) <= 0).all()
    found, _ = model.recommend([3, 99], 3, candidates=COLD)
    assert set(found.ravel().tolist()) <= set(COLD)


@each
def test_ids_without_features_are_the_mean_of_all(kind, world):
    X, y, *_, users, _items = world
    some = np.arange(0, N_USERS, 2)
    model = make(kind, world, item_features=None, user_features=(some, users[some]))
    model.fit(X, y)
    assert_array_equal(model.user_feature_centers_, users[some].mean(axis=0))
    assert np.isfinite(rows_of(model, "user")).all()
    if kind in CLOSED and kind != "cg":
        before = rows_of(model, "user")
        model.fold_in_users(X, y)
        # The weights were learnt after the users.
        assert_allclose(rows_of(model, "user")[1::2], before[1::2], atol=1e-9)
        assert abs(rows_of(model, "user")[::2] - before[::2]).max() < 0.1


def test_ids_of_float32(world):
    X, y, *_, items = world
    model = make("biased als", world).fit(X, y.astype(np.float32))
    for name, value in vars(model).items():
        if isinstance(value, np.ndarray) and value.dtype.kind == "f":
            assert value.dtype == np.float32, name
    expected = expected_of(model, "item", items)[COLD]
    assert_allclose(rows_of(model, "item")[COLD], expected, rtol=1e-3, atol=1e-5)


@each_kind(["als", "biased als"])
def test_non_negative_factors_of_ids_without_ratings(kind, world):
    X, y, *_, items = world
    model = make(kind, world, non_negative=True, item_features=(
        np.arange(40), items[:40])).fit(X, y)  # fmt: skip
    model.add_items((COLD, items[COLD]))
    expected = expected_of(model, "item", items)[COLD]
    assert expected[:, :3].min() < 0
    expected[:, :3] = np.maximum(expected[:, :3], 0)
    assert_allclose(rows_of(model, "item")[COLD], expected)
    assert_same_bits(model, make(kind, world, non_negative=True, item_features=(
        np.arange(N_ITEMS), items)).fit(X, y))  # fmt: skip


@each
def test_a_sparse_matrix_of_ratings_has_rows_without_any(kind, world):
    X, y, *_, items = world
    R = sparse.csr_array((y, tuple(X.T)), shape=(N_USERS, N_ITEMS))
    model = make(kind, world).fit(R)
    pairs = make(kind, world).fit(X, y)
    if kind != "unobserved":  # where the cold ones have zeros in the matrix
        expected = expected_of(model, "item", items)
        assert_allclose(rows_of(model, "item")[COLD], expected[COLD], rtol=1e-9)
        if kind in CLOSED:
            assert abs(model.predict(X) - pairs.predict(X)).max() < 0.2


@pytest.mark.compiled
@each_kind(["biased als", "biased sgd"])
def test_planted_weights_are_recovered(kind):
    X, y, users, items, coef = make_ratings(
        300,
        500,
        60_000,
        n_factors=3,
        noise=0.5,
        n_user_features=6,
        n_item_features=6,
        feature_share=0.98,
        rating_range=None,
        rating_step=None,
        coef=True,
        random_state=0,
    )
    cold = X[:, 1] >= 400
    model = clone(MODELS[kind]).set_params(
        user_features=users,
        item_features=items,
        feature_regularization=0.5,
        max_iter=60,
    )
    model.fit(X[~cold], y[~cold])
    # The oracle knows the users and the weights, but nothing else of a cold item.
    factors = items[1] @ coef.item_feature_weights
    biases = items[1] @ coef.item_feature_biases
    truth = coef.global_mean + coef.user_biases[:, np.newaxis] + biases
    truth += coef.user_factors @ factors.T
    oracle = np.sqrt(np.mean((truth[tuple(X[cold].T)] - y[cold]) ** 2))
    assert rmse(model, X[cold], y[cold]) < 1.02 * oracle
    # Up to a rotation of the factors, the weights are those that were planted.
    planted = coef.user_feature_weights @ coef.item_feature_weights.T
    found = model.user_feature_weights_ @ model.item_feature_weights_.T
    assert np.linalg.norm(found - planted) < 0.1 * np.linalg.norm(planted)
    planted = coef.item_feature_biases
    assert np.linalg.norm(model.item_feature_biases_ - planted) < 0.1 * np.linalg.norm(
        planted
    )


# ---------------------------------------------------------------------- going on


@each
def test_a_warm_start_begins_new_ids_where_their_features_predict(kind, world):
    X, y, X_cold, y_cold, _, items = world
    model = make(kind, world, warm_start=True, item_features=(
        np.arange(40), items[:40], list("abcde"))).fit(X, y)  # fmt: skip
    assert_array_equal(model.items_, np.arange(40))
    again = copy.deepcopy(model).fit(X, y)
    assert again.loss_curve_[0] < model.loss_curve_[1]
    model.set_params(**make(kind, world).get_params() | {"warm_start": True})
    both, y_both = np.vstack([X, X_cold]), np.append(y, y_cold)
    fresh = make(kind, world).fit(both, y_both)
    more = copy.deepcopy(model).fit(both, y_both)
    assert_array_equal(more.items_, np.arange(N_ITEMS))
    assert more.loss_curve_[0] < fresh.loss_curve_[0]
    if kind in STOCHASTIC:  # with steps of almost no length nothing moves
        before = expected_of(model, "item", items)[COLD]
        model.set_params(learning_rate=1e-12, max_iter=1).fit(both, y_both)
        found = rows_of(model, "item")[COLD]
        spread = before.std()
        assert abs(found - before).max() < 3 * spread
        assert np.corrcoef(found.ravel(), before.ravel())[0, 1] > 0.9


@each_kind(STOCHASTIC)
def test_partial_fit_of_new_ids(kind, world):
    X, y, X_cold, y_cold, _, items = world
    model = make(kind, world).fit(X, y)
    assert len(model.items_) == N_ITEMS
    before = rows_of(model, "item")
    cold = model.set_params(learning_rate=1e-12)
    cold.partial_fit(X_cold[:3], y_cold[:3])
    assert_allclose(rows_of(model, "item")[:40], before[:40], atol=1e-6)
    assert cold.seen_indices_.max() >= 40
    stream = make(kind, world)
    for _ in range(6):
        stream.partial_fit(X, y)
    assert_array_equal(stream.items_, np.arange(N_ITEMS))
    assert_allclose(
        rows_of(stream, "item")[COLD], expected_of(stream, "item", items)[COLD]
    )
    known = np.isin(X[:, 1], np.arange(20))
    stream = make(kind, world)
    stream.partial_fit(X[known], y[known]).partial_fit(X[~known], y[~known])
    assert_array_equal(stream.items_, np.arange(N_ITEMS))
    assert np.isfinite(rows_of(stream, "item")).all()


@each_kind(STOCHASTIC)
def test_early_stopping(kind, world):
    X, y, *_, items = world
    model = make(kind, world, early_stopping=True, max_iter=30).fit(X, y)
    assert_allclose(
        rows_of(model, "item")[COLD], expected_of(model, "item", items)[COLD]
    )
    assert len(model.validation_scores_) <= 30


@each
def test_a_fit_forgets_the_features_of_the_fit_before(kind, world):
    X, y, *_ = world
    model = make(kind, world).fit(X, y)
    model.set_params(item_features=None, user_features=None).fit(X, y)
    assert_same_bits(model, clone(MODELS[kind]).fit(X, y))


# ------------------------------------------------------------------------- adding ids


@each
def test_add_items(kind, world):
    X, y, *_, items = world
    some = (np.arange(40), items[:40], list("abcde"))
    model = make(kind, world, item_features=some).fit(X, y)
    before = copy.deepcopy(model)
    new = pd.DataFrame(items[[41, 44, 5]], index=[41, 44, 5], columns=list("abcde"))
    assert model.add_items(new) is model
    assert_array_equal(model.items_, [*range(40), 41, 44])
    assert_array_equal(rows_of(model, "item")[:40], rows_of(before, "item"))
    expected = expected_of(model, "item", items[[41, 44]])
    assert_allclose(rows_of(model, "item")[40:], expected, rtol=1e-9)
    assert_array_equal(model.predict(X), before.predict(X))
    assert_array_equal(model.seen_indices_, before.seen_indices_)
    model.add_items(([41], items[[3]], list("abcde")))  # cold ones are updated
    expected = expected_of(model, "item", items[[3]])
    assert_allclose(rows_of(model, "item")[[40]], expected, rtol=1e-9)
    assert set(model.recommend([3], 42, popularity_weight=0)[0].compressed()) >= {41}
    everything = make(kind, world).fit(X, y)
    before.add_items((np.arange(40, 45), items[40:], list("abcde")))
    but = ["optimizer_state_"]
    assert_same_bits(before, everything, but=but)


@each
def test_add_users(kind, world):
    X, y, *_, users, _items = world
    model = make(kind, world).fit(X, y)
    n_seen = len(model.seen_indptr_)
    model.add_users((np.array([-5, 100]), users[[1, 2]]))
    assert_array_equal(model.users_, [-5, *range(N_USERS), 100])
    assert len(model.seen_indptr_) == n_seen + 2
    expected = expected_of(model, "user", users[[1, 2]])
    assert_allclose(rows_of(model, "user")[[0, -1]], expected, rtol=1e-9)
    found, _ = model.recommend([100], 50)
    assert found.count() == N_ITEMS
    if kind in STOCHASTIC:
        model.partial_fit([[100, 3], [-5, 4]], [3.0, 4.0])
        assert len(model.users_) == N_USERS + 2


def test_adding_what_does_not_fit(world):
    X, y, *_, users, items = world
    model = make("als", world, user_features=None).fit(X, y)
    for add, features, message in (
        (model.add_users, ([1], users[:1]), "was fitted without features in user_fea"),
        (model.add_items, ([99], items[:1, :3]), "has the features x0, x1, x2, but th"),
        (model.add_items, ([99], items[:1]), r"has the features x0, x1, x2, … \(5\)"),
        (model.add_items, (["a"], items[:1], "abcde"), "are of kind 'text'"),
        (model.add_items, "rated", "features is a DataFrame"),
        (model.add_items, None, "features is a DataFrame"),
    ):
        with (
            left_as_it_was(model),
            pytest.raises((ValueError, TypeError), match=message),
        ):
            add(features)


# ---------------------------------------------------------------------------- fold-in


@each_kind(CLOSED)
def test_fold_in_items_with_features(kind, world):
    X, y, X_cold, y_cold, _, items = world
    some = (np.arange(40), items[:40], list("abcde"))
    model = make(kind, world, item_features=some).fit(X, y)
    known = np.isin(X_cold[:, 1], [41, 44])
    given = (np.array([44, 41]), items[[44, 41]], list("abcde"))
    found = copy.deepcopy(model)
    found.fold_in_items(X_cold[known], y_cold[known], features=given)
    assert_array_equal(found.items_, [*range(40), 41, 44])
    by_parameter = copy.deepcopy(model).set_params(**make(kind, world).get_params())
    by_parameter.fold_in_items(X_cold[known], y_cold[known])
    assert_same_bits(found, by_parameter)
    one = np.flatnonzero(X_cold[:, 1] == 41)[:1]
    if kind != "unobserved":  # the minimum over a single rating
        near = copy.deepcopy(model)
        near.fold_in_items(X_cold[one], y_cold[one], features=given)
        p = rows_of(model, "user")[X_cold[one[0], 0]]
        known, penalty = model.global_mean_, np.full(len(p), model.regularization_)
        if kind == "biased als":
            known, p[-1], penalty[-1] = known + p[-1], 1, model.bias_regularization_
        (m,) = expected_of(model, "item", items[[41]])
        A = np.outer(p, p) + np.diag(penalty)
        row = m + np.linalg.solve(A, p * (y_cold[one[0]] - known - p @ m))
        assert_allclose(rows_of(near, "item")[-1], row, rtol=1e-6)
    with pytest.raises(ValueError, match="has the features x0"):
        model.fold_in_items(X_cold[one], y_cold[one], features=([41], items[[41]]))


@pytest.mark.parametrize("features", ["rated", "both", "given"])
@each_kind(CLOSED)
def test_history_is_fold_in(kind, features, world):
    X, y, *_, users, _ = world
    given = (np.arange(N_USERS), users)
    features = {"rated": "rated", "both": ["rated", given], "given": given}[features]
    held = X[:, 0] >= 50
    model = make(kind, world, user_features=features).fit(X[~held], y[~held])
    known = held & np.isin(X[:, 1], model.items_)
    history = X[known], y[known]
    options = {"n_items": 7, "popularity_weight": 0}
    found, scores = model.recommend(history=history, **options)
    folded = copy.deepcopy(model).fold_in_users(*history)
    expected, expected_scores = folded.recommend(np.unique(history[0][:, 0]), **options)
    assert_array_equal(found.compressed(), expected.compressed())
    assert_allclose(scores, expected_scores, rtol=1e-9)


def test_rated_items_say_something_without_values(world):
    X, y, *_ = world
    model = make("als", world, user_features="rated").fit(X, y)
    assert model.user_rated_factors_.shape == (N_ITEMS, 3)
    assert_array_equal(model.user_rated_factors_[COLD], 0)
    model.add_items(([77], world[-1][:1], list("abcde")))
    assert model.user_rated_factors_.shape == (N_ITEMS + 1, 3)
    assert_array_equal(model.user_rated_factors_[-1], 0)
    model.fold_in_items([[3, -1]], [4.0])
    assert model.user_rated_factors_.shape == (N_ITEMS + 2, 3)
    assert_array_equal(model.user_rated_factors_[0], 0)
    assert model.user_rated_factors_[1].any()


# ---------------------------------------------------------------- tools of scikit-learn


@pytest.mark.compiled
def test_grid_search(world):
    X, y, *_ = world
    grid = {"feature_regularization": [0.5, 5.0, 1e6]}
    search = GridSearchCV(make("als", world), grid, cv=GroupKFold(4))
    search.fit(X, y, groups=X[:, 1])
    assert search.best_params_["feature_regularization"] < 1e6
    assert search.best_score_ > search.cv_results_["mean_test_score"][2] + 0.05


@pytest.mark.compiled
@each
def test_folds_of_items(kind, world):
    X, y, *_ = world
    scores = [
        cross_validate(model, X, y, cv=GroupKFold(4), groups=X[:, 1])["test_score"]
        for model in (make(kind, world), make(kind, world, item_features=None))
    ]
    assert (scores[0] > scores[1]).all()


@pytest.mark.compiled
def test_a_pipeline(world):
    X, y, X_cold, *_ = world
    frame = pd.DataFrame({"when": X[:, 0] * 0, "user": X[:, 0], "item": X[:, 1]})
    model = make("als", world, user_column="user", item_column="item")
    pick = FunctionTransformer(lambda X: X[["user", "item"]])
    pipeline = make_pipeline(pick, model).fit(frame, y)
    cold = pd.DataFrame({"user": X_cold[:, 0], "item": X_cold[:, 1]})
    expected = make("als", world).fit(X, y).predict(X_cold)
    assert_array_equal(pipeline.predict(cold), expected)
    other = clone(pipeline).set_params(alsfactorizer__feature_regularization=1e9)
    assert np.ptp(other.fit(frame, y).predict(cold)) < 0.01


def test_a_clone_keeps_the_parameters(world):
    model = make("als", world)
    for name in ("user_features", "item_features"):
        assert_array_equal(getattr(clone(model), name)[1], getattr(model, name)[1])
    frame = pd.DataFrame(world[-1])
    model.set_params(item_features=frame)
    assert clone(model).item_features.equals(frame)
    assert "item_features" in repr(model)
    assert model._repr_html_()


# ------------------------------------------------------------------------------- files

NAMES = list("abcde")
FORMS = {
    "pandas": lambda ids, F: pd.DataFrame(F, index=ids, columns=NAMES),
    "polars": lambda ids, F: pl.DataFrame(
        {"id": ids} | dict(zip(NAMES, F.T, strict=True))
    ),
    "dense": lambda ids, F: (ids, F, NAMES),
    "sparse": lambda ids, F: (
        ids[::-1],
        sparse.coo_array(F[::-1] * (F[::-1] > 0)),
        NAMES,
    ),
    "rated": lambda ids, F: "rated",
    "both": lambda ids, F: ["rated", pd.DataFrame(F, index=ids, columns=NAMES)],
    "both, sparse": lambda ids, F: [(ids, sparse.csr_matrix(F), NAMES), "rated"],
    "texts as ids": lambda ids, F: (ids, F),
}


@pytest.mark.compiled
@pytest.mark.parametrize("form", FORMS)
@each_kind(["cg", "biased sgd"])
def test_saved_and_pickled(kind, form, world, path):
    X, y, X_cold, *_, items = world
    ids = np.arange(N_ITEMS)
    if form == "texts as ids":
        ids = np.array([f"film {k}" for k in range(N_ITEMS)])
        X = pd.DataFrame({"user": X[:, 0], "item": ids[X[:, 1]]})
        X_cold = pd.DataFrame({"user": X_cold[:, 0], "item": ids[X_cold[:, 1]]})
    model = make(kind, world, item_features=FORMS[form](ids, items)).fit(X, y)
    model.save(path)
    for loaded in (load(path), pickle.loads(pickle.dumps(model))):
        assert_same_bits(loaded, model)
        assert_array_equal(loaded.predict(X_cold), model.predict(X_cold))
        assert_same_bits(clone(loaded).fit(X, y), model)
    loaded = load(path)
    if form == "rated":
        assert loaded.item_features == "rated"
        return
    assert isinstance(loaded.item_features, list) == form.startswith("both")
    features = (
        loaded.item_features[1] if form.startswith("both") else loaded.item_features
    )
    assert len(features) == 3
    assert sparse.issparse(features[1]) == ("sparse" in form)
    new = ids[:1] if form == "texts as ids" else [999]
    names = features[2]
    loaded.add_items((new, items[:1], names))
    loaded.save(path)
    assert_same_bits(load(path), loaded)
    assert_same_bits(load(path).fit(X, y), model)


def test_features_are_left_as_they_were(world):
    X, y, *_, items = world
    unsorted = sparse.csr_array(
        ([2.0, 1.0, 1.0, 3.0], [1, 0, 0, 1], [0, 3, *[4] * (N_ITEMS - 1)]), (N_ITEMS, 2)
    )
    frame, dense = pd.DataFrame(items), items.copy()
    before = copy.deepcopy((unsorted, frame, dense))
    for features in (
        (np.arange(N_ITEMS), unsorted),
        frame,
        (np.arange(N_ITEMS), dense),
    ):
        make("als", world, item_features=features).fit(X, y)
    for part in ("data", "indices", "indptr"):
        assert_array_equal(getattr(unsorted, part), getattr(before[0], part))
    assert frame.equals(before[1])
    assert_array_equal(dense, before[2])


def write_part(path, name, values):
    """Replace an array of a file."""
    with np.load(path) as archive:
        arrays = dict(archive)
    assert name in arrays
    arrays[name] = values
    np.savez(path, **arrays)


@pytest.mark.compiled
@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("indices", [0, 1, 2, 3, 4, 5]),
        ("indices", [0, 1, -1, 3, 4, 0]),
        ("indices", [0.0, 1, 1, 3, 4, 0]),
        ("indices", [[0, 1, 1, 3, 4, 0]]),
        ("indices", [0, 1]),
        ("data", [1.0, 1, 1]),
        ("data", [1.0, 1, np.nan, 1, 1, 1]),
        ("data", [1, 1, 1, 1, 1, 1]),
        ("indptr", [0, 6]),
        ("indptr", [0, *[7] * 44, 6]),
        ("indptr", [0, 2**63 - 1, -(2**63), -1, *[6] * 42]),
        ("indptr", [1, *[6] * 45]),
        ("indptr", [-1, *[6] * 45]),
        ("indptr", [0, *[5] * 45]),
    ],
)
def test_a_sparse_matrix_of_a_file_that_leads_out_of_its_arrays(
    name, values, world, path
):
    X, y, *_ = world
    matrix = sparse.csr_array(
        (np.ones(6), [0, 1, 1, 3, 4, 0], [0, *[6] * 45]), (N_ITEMS, 5)
    )
    matrix.sum_duplicates()
    matrix = sparse.csr_array(
        (np.ones(6), ([0, 0, 1, 2, 3, 4], [0, 1, 1, 3, 4, 0])), (N_ITEMS, 5)
    )
    model = make("als", world, item_features=(np.arange(N_ITEMS), matrix)).fit(X, y)
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        content = json.loads(np.load(archive.open("model.npy")).item())
    (_, arrays, _) = content["parameters"]["item_features"]["tuple"]
    part = arrays["dict"][name]["array"]
    write_part(path, part, np.array(values))
    with pytest.raises(ValueError, match=r"is not a whole file from save"):
        load(path)


@pytest.mark.compiled
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("side", ["user", "item"])
def test_cold_ids_are_no_zeros_for_those_folded_in(side, biased):
    """Pairs without a rating count in a fold-in as in fit: those of ids of X alone."""
    X, y = make_ratings(30, 20, 250, random_state=0)
    rng = np.random.default_rng(0)
    n_known, other = (30, 0) if side == "item" else (20, 1)
    features = rng.normal(size=(n_known + 7, 3))
    model = BiasedMF(3, solver="als") if biased else ALSFactorizer(3)
    model.set_params(unobserved_weight=0.4, max_iter=3, tol=None, random_state=0)
    name = f"{'item' if side == 'user' else 'user'}_features"
    found = []
    for n in (n_known, n_known + 7):
        model.set_params(**{name: (np.arange(n), features[:n])}).fit(X, y)
        assert len(model.items_ if other else model.users_) == n
        own = X[:, 1 - other] == 4
        if side == "user":
            history = X[own], y[own]
            _, scores = model.recommend(history=history, candidates=range(20))
            found.append(scores.filled(0))
        getattr(model, f"fold_in_{side}s")(X[own], y[own])
        found.append(model.predict(X[own]))
    for one, other in zip(*np.split(np.array(found, dtype=object), 2), strict=True):
        assert_allclose(one.astype(float), other.astype(float), rtol=1e-9)
