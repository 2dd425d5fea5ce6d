"""What every fitted model says: predictions, scores, factors, recommendations."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logit

from tests.contract.models import DTYPES, WEIGHTS, X, each_model, in_turn

EVERY_PAIR = np.array(list(np.ndindex(30, 20)))
UNSEEN = np.array([[0, 999], [999, 0], [999, 999]])


@each_model()
def test_a_prediction_does_not_depend_on_its_neighbours(model):
    n_factors = model.options.get("n_factors", 33)
    fitted = model(n_factors=n_factors, clip=False).fit(X, model.y())
    together = model.numbers(fitted, EVERY_PAIR)
    thrice = model.numbers(fitted, np.vstack([EVERY_PAIR] * 3))
    assert_array_equal(thrice, np.tile(together, 3))
    assert_array_equal(model.numbers(fitted, EVERY_PAIR[::-1]), together[::-1])
    for k in range(0, len(EVERY_PAIR), 7):
        assert model.numbers(fitted, EVERY_PAIR[k : k + 1])[0] == together[k]


@in_turn("dtype", DTYPES)
@each_model(lambda model: model.rates and not (model.counts or model.classifies))
def test_score_is_the_negative_rmse(model, dtype):
    fitted = model().fit(X, model.y().astype(dtype))
    errors = (fitted.predict(X).astype(float) - model.y()) ** 2
    expected = -np.sqrt(errors.mean())
    rtol = 1e-6 if dtype == np.float32 else 1e-14
    assert_allclose(fitted.score(X, model.y()), expected, rtol=rtol)
    expected = -np.sqrt(np.average(errors, weights=WEIGHTS))
    found = fitted.score(X, model.y(), sample_weight=WEIGHTS)
    assert_allclose(found, expected, rtol=rtol)
    assert fitted.score(X, model.y(), sample_weight=2 * WEIGHTS) == found


@each_model()
def test_transform_returns_the_factors(model):
    fitted = model().fit(X, model.y())
    n_factors = fitted.n_factors
    expected = np.hstack([fitted.user_factors_[X[:, 0]], fitted.item_factors_[X[:, 1]]])
    assert expected.shape == (len(X), 2 * n_factors)
    assert_array_equal(fitted.transform(X), expected)
    found = fitted.transform(UNSEEN)
    assert_array_equal(found[0], [*fitted.user_factors_[0], *[0] * n_factors])
    assert_array_equal(found[1], [*[0] * n_factors, *fitted.item_factors_[0]])
    assert_array_equal(found[2], 0)
    names = [f"{side}_factor{f}" for side in ("user", "item") for f in range(n_factors)]
    assert fitted.get_feature_names_out().tolist() == names
    for container in ("pandas", "polars"):
        library = pytest.importorskip(container)
        frame = model().set_output(transform=container).fit(X, model.y()).transform(X)
        assert isinstance(frame, library.DataFrame)
        assert list(frame.columns) == names
        assert_array_equal(frame.to_numpy(), expected)


@each_model(lambda model: model.rates and not (model.is_latent or model.classifies))
def test_predictions_are_clipped_to_the_range_of_the_ratings(model):
    y, pairs = model.y(), np.vstack([EVERY_PAIR, UNSEEN])
    fitted = model(clip=True).fit(X, y)
    low, high = fitted.rating_range_
    unobserved = [0.0] if model.unobserved_weight else []
    y = np.ones_like(y) if model.counts else y
    assert (low, high) == (min(*y, *unobserved), max(*y, *unobserved))
    # A range that some predictions surely leave on both sides:
    free = fitted.set_params(clip=False).predict(pairs)
    fitted.rating_range_ = (
        free.min() + 0.25 * np.ptp(free),
        free.max() - 0.25 * np.ptp(free),
    )
    clipped = fitted.set_params(clip=True).predict(pairs)
    low, high = fitted.rating_range_
    if unobserved:  # a preference has no upper end
        high = np.inf
    assert_array_equal(clipped, free.clip(low, high))
    assert clipped.min() > free.min()
    assert clipped.max() < free.max() or unobserved


@each_model()
def test_pairs_of_unseen_ids_have_a_prediction(model):
    fitted = model(clip=False).fit(X, model.y())
    found = model.numbers(fitted, UNSEEN)
    assert np.isfinite(found).all()
    if model.link == "predict":
        assert_allclose(found[2], fitted.global_mean_, rtol=1e-12)
        if not hasattr(fitted, "user_biases_"):  # one known id says nothing
            assert_allclose(found, fitted.global_mean_, rtol=1e-12)
    if model.has_intercept and not model.overfitting:
        n_unobserved = model.unobserved_weight * (30 * 20 - len(X))
        mean = model.y().sum() / (len(X) + n_unobserved)
        assert_allclose(fitted.global_mean_, mean, rtol=1e-12)
    elif not model.has_intercept and not model.sampled:
        assert fitted.global_mean_ == (0.5 if model.shares else 0.0)


# --------------------------------------------------------------------- recommendations


def assert_best(values, user, items, n_items, allowed):
    """Check a list of recommended items against a sort of all that could be in it.

    `values` holds what they are sorted by, for each known user and one who is not.
    Returns those of the list.
    """
    row = values[min(user, len(values) - 1)]
    left = np.setdiff1d(allowed, X[X[:, 0] == user, 1])
    order = left[np.lexsort((left, -row[left]))]
    found = items.compressed()
    assert len(set(found)) == len(found) == min(n_items, len(order))
    assert_allclose(row[found], row[order[:n_items]], rtol=1e-10, atol=1e-12)
    if (np.diff(row[order]) < -1e-10).all():  # no two are the same up to rounding
        assert_array_equal(found, order[:n_items])
    return row[found]


@each_model(lambda model: not model.is_latent)
def test_recommend_is_a_sort_of_all_predictions(model):
    fitted = model().fit(X, model.y())
    pairs = np.array(list(np.ndindex(31, 20)))  # nobody is user 30
    expected_scores = model.ranks(fitted, pairs).reshape(31, 20)
    values = model.ranks(model(clip=False).fit(X, model.y()), pairs).reshape(31, 20)
    if fitted._popularity_weight:
        values = logit(values) if fitted._logistic else values
        values += fitted.rating_scale_ * np.log1p(np.bincount(X[:, 1]))
    for n_items in (1, 7, 20, 30):
        users = [*fitted.users_, 10**6]
        items, scores = fitted.recommend(users, n_items)
        assert items.shape == scores.shape == (31, n_items)
        for row, user in enumerate(users):
            best = assert_best(values, user, items[row], n_items, range(20))
            found = expected_scores[min(user, 30), items[row].compressed()]
            assert_array_equal(scores[row].compressed(), found)
            assert items.mask[row].sum() == n_items - len(best)
            assert_array_equal(scores.mask[row], items.mask[row])

    users, candidates = fitted.users_[:10], [*range(0, 20, 2), 0, 1, 2, 3, 10**6]
    exclude = [0, 1, 2, 0, 1, 2, -1]
    items, _ = fitted.recommend(users, 9, candidates=candidates, exclude=exclude)
    for row, user in enumerate(users):
        assert_best(values, user, items[row], 9, [*range(4, 20, 2), 3])
    for nothing in ({"candidates": []}, {"exclude": fitted.items_}):
        items, scores = fitted.recommend(users, 2, **nothing)
        assert items.mask.all()
        assert scores.mask.all()
    items, _ = fitted.recommend(users, 20, exclude_seen=False)
    assert not items.mask.any()
    assert_array_equal(np.sort(items, axis=1), np.tile(fitted.items_, (10, 1)))


@in_turn("metric", ["cosine", "dot"])
@in_turn("side", ["item", "user"])
@each_model(lambda model: model().n_factors > 0)
def test_similar_ids_are_a_sort_of_all_similarities(model, side, metric):
    fitted = model().fit(X, model.y())
    labels, F = getattr(fitted, f"{side}s_"), getattr(fitted, f"{side}_factors_")
    similarities = F @ F.T
    if metric == "cosine":
        norms = np.linalg.norm(F, axis=1)
        similarities /= np.maximum(np.outer(norms, norms), 1e-300)
    np.fill_diagonal(similarities, -np.inf)
    similar = getattr(fitted, f"similar_{side}s")
    ids, values = similar(labels, 6, metric=metric)
    order = np.argsort(-similarities, axis=1, kind="stable")[:, :6]
    expected = np.take_along_axis(similarities, order, axis=1)
    assert_allclose(values, expected, rtol=1e-9, atol=1e-12)
    found = np.take_along_axis(similarities, np.searchsorted(labels, ids), axis=1)
    assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    few = [*labels[:5], 10**6]
    ids, _ = similar(labels[:2], 9, metric=metric, candidates=few)
    assert_array_equal(np.sort(ids[0, :4]), labels[1:5])
    assert ids.mask[0].sum() == 5
