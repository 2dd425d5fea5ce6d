"""With warm_start=True a fit begins where the one before has ended."""

import copy

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.assertions import (
    assert_same_bits,
    curve_of,
    fitted_attributes,
    left_as_it_was,
)
from tests.contract.models import DTYPES, X, each_model, in_turn


def rows_of(estimator, side):
    """Return what is learnt of each id of a side: ids, and a row for each."""
    names = [f"{side}_factors_", f"{side}_rating_factors_", f"{side}_biases_"]
    columns = [getattr(estimator, name) for name in names if hasattr(estimator, name)]
    return getattr(estimator, f"{side}s_"), np.column_stack(columns)


def standing_still(model):
    """Return parameters with which an iteration changes nothing."""
    rates = {"learning_rate": 1e-300, "bias_learning_rate": None}
    return {name: rates[name] for name in rates.keys() & model().get_params().keys()}


def changed(y, low, high):
    """Take user 6 and item 4 away, and let two others of each come."""
    kept = (X[:, 0] != 6) & (X[:, 1] != 4)
    new = [[0, -7], [1, 99], [-3, 2], [77, 3], [77, -7]]
    return np.vstack([X[kept], new]), np.append(y[kept], [low, high, low, high, low])


@in_turn("dtype", DTYPES)
@each_model(lambda model: model.steady is not None)
def test_two_fits_are_one_of_as_many_iterations(model, dtype):
    y = model.y().astype(dtype)
    whole = model(max_iter=6, **model.steady).fit(X, y)
    parts = model(max_iter=2, warm_start=True, **model.steady).fit(X, y)
    first = curve_of(parts)
    assert first == curve_of(whole)[:2]
    parts.set_params(max_iter=4).fit(X, y)
    assert parts.n_iter_ == len(curve_of(parts)) == 4
    rounding = model.rounding if dtype == np.float64 else 1e4 * model.rounding
    if rounding == 0:
        assert curve_of(parts) == curve_of(whole)[2:]
        counts = "n_iter_", "best_iter_", "loss_curve_"
        assert_same_bits(parts, whole, but=counts)
    assert_allclose(curve_of(parts), curve_of(whole)[2:], rtol=max(rounding, 1e-12))
    assert_allclose(parts.predict(X), whole.predict(X), rtol=max(rounding, 1e-12))

    cold = model(max_iter=2, **model.steady).fit(X, y).fit(X, y)
    assert curve_of(cold) == first


@each_model(lambda model: not model.sampled)
def test_a_warm_start_goes_on_lowering_the_objective(model):
    model = model.without_early_stopping()
    estimator = model(max_iter=20 if model.steps else 5, warm_start=True).fit(
        X, model.y()
    )
    before = curve_of(estimator)
    estimator.fit(X, model.y())
    assert curve_of(estimator)[0] < before[0]
    assert curve_of(estimator)[-1] < before[-1] < before[0]
    estimator.set_params(warm_start=False).fit(X, model.y())
    assert curve_of(estimator) == before


@each_model()
def test_the_first_fit_is_that_of_a_cold_start(model):
    warm = model(warm_start=True).fit(X, model.y())
    assert_same_bits(warm, model().fit(X, model.y()))


@each_model(lambda model: model.steps)
def test_a_warm_start_begins_with_the_parameters_of_the_fit_before(model):
    estimator = model(max_iter=6).fit(X, model.y())
    before = copy.deepcopy(estimator)
    estimator.set_params(warm_start=True, **standing_still(model)).fit(X, model.y())
    for name, value in fitted_attributes(before).items():
        if "_rated_" in name:  # learnt from the rows, which stand still
            continue
        if name.partition("_")[0] in {"user", "item", "encoder", "coefs", "intercepts"}:
            values, others = value, getattr(estimator, name)
            if not isinstance(value, list):
                values, others = [value], [others]
            for array, other in zip(values, others, strict=True):
                scale = abs(array).max(initial=0)
                assert_allclose(other, array, atol=model.rounding * scale, rtol=0)
    assert_allclose(estimator.predict(X), before.predict(X), rtol=model.rounding)


@each_model()
def test_rows_are_known_by_their_ids(model):
    estimator = model(max_iter=40).fit(X, model.y())
    before = copy.deepcopy(estimator)
    table, y = changed(model.y(), *model.y(np.array([1.0, 5.0])))
    estimator.set_params(warm_start=True, **model.known({"max_iter": 1}))
    if model.steps:
        estimator.set_params(**standing_still(model))
    estimator.fit(table, y)
    assert_array_equal(estimator.users_, np.unique(table[:, 0]))
    assert_array_equal(estimator.items_, np.unique(table[:, 1]))
    if not model.steps:  # rows of items are solved for before they are seen
        cold = model(max_iter=1).fit(table, y)
        assert curve_of(estimator)[0] < curve_of(cold)[0] or model.sampled
        return
    for name in ("coefs_", "intercepts_", "encoder_biases_"):
        if hasattr(estimator, name):
            parts = (getattr(fitted, name) for fitted in (estimator, before))
            for part, expected in zip(*parts, strict=True):
                assert_allclose(part, expected, rtol=max(model.rounding, 1e-14))
    # An autoencoder has no parameters of the other side: its rows are computed.
    for side in [model.closed] if model.closed else ["user", "item"]:
        known = dict(zip(*rows_of(before, side), strict=True))
        ids, rows = rows_of(estimator, side)
        assert len(known.keys() - set(ids.tolist())) == 1
        assert len(set(ids.tolist()) - known.keys()) == 2
        for label, row in zip(ids.tolist(), rows, strict=True):
            if label in known:
                tolerance = model.rounding * abs(known[label]).max()
                assert_allclose(row, known[label], atol=tolerance, rtol=0)
            elif estimator.n_factors:
                drawn = row[: estimator.n_factors]
                assert 0 < abs(drawn).min() <= abs(drawn).max() < model.largest_start
        if hasattr(estimator, f"{side}_biases_") and not model.closed:
            biases = getattr(estimator, f"{side}_biases_")
            new = ~np.isin(ids, list(known))
            if f"{side}_features" in model.options:  # they predict biases
                assert abs(biases[new]).max() < model.largest_start
            else:
                assert abs(biases[new]).max() < 1e-12


@in_turn("dtype", DTYPES)
@each_model()
def test_ratings_of_another_dtype_decide_the_dtype(model, dtype):
    other = np.float64 if dtype == np.float32 else np.float32
    estimator = model(max_iter=20).fit(X, model.y().astype(other))
    before = copy.deepcopy(estimator)
    estimator.set_params(warm_start=True, **model.known({"max_iter": 1}))
    if model.steps:
        estimator.set_params(**standing_still(model))
    estimator.fit(X, model.y().astype(dtype))
    assert estimator.user_factors_.dtype == estimator.item_factors_.dtype == dtype
    assert model.numbers(estimator, X).dtype == dtype
    cold = model(max_iter=1).fit(X, model.y())
    assert curve_of(estimator)[0] < curve_of(cold)[0] or model.sampled
    if model.steps:
        atol = 0 if model.rates else 1e-6  # scores may be next to 0
        assert_allclose(estimator.predict(X), before.predict(X), rtol=1e-5, atol=atol)


@each_model()
def test_another_number_of_factors_is_an_error(model):
    estimator = model(warm_start=True).fit(X, model.y())
    fitted = estimator.n_factors
    estimator.set_params(n_factors=fitted + 1)
    match = rf"n_factors={fitted + 1}, but the fit .* {fitted} factors"
    methods = ["fit", "partial_fit"] if model.has("partial_fit") else ["fit"]
    for method in methods[: 1 if model.closed else 2]:
        with left_as_it_was(estimator), pytest.raises(ValueError, match=match):
            getattr(estimator, method)(X, model.y())
    estimator.set_params(n_factors=fitted).fit(X, model.y())
