"""When a fit ends: after max_iter, by tol, by early stopping, or as it is asked to."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from sklearn_mf._estimators import base
from sklearn_mf._solvers.iterations import Iterations
from sklearn_mf.datasets import make_ratings
from tests.assertions import Recorder, assert_same_bits, curve_of, stop
from tests.contract.models import WEIGHTS, X, each_model, in_turn

can_stop_early = each_model(lambda model: model.overfitting is not None)


minimises = each_model(lambda model: not model.sampled)


def ends_by_score(errors, tol, patience):
    """Return the iteration at which held-out errors end a fit, or None.

    An iteration makes progress if it lowers the lowest error by more than `tol` of it.
    The objective is to have fallen before.
    """
    without, best = 0, errors[0]
    for n_iter, error in enumerate(errors[1:], start=2):
        without = 0 if best - error > tol * abs(best) else without + 1
        best = min(best, error)
        if without >= patience:
            return n_iter
    return None


def has_converged(curve, tol, baseline):
    """Tell whether the written rule takes the last iteration for no progress."""
    if len(curve) < 3:
        return False
    older, gain = -np.diff(curve[-3:])
    if abs(gain) < 1e-16 * 0.002 * baseline:
        return True
    if curve[-1] > 0.998 * baseline and curve[-1] >= min(curve[:-1]):
        return True
    if gain >= older:
        return False
    ratio = max(0.5, gain / older) if older > 0 else 0.5
    missing = sum(gain * ratio**n for n in range(1, 10_000))
    if ratio > 0.999:
        missing = gain * ratio / (1 - ratio)
    gained = min(baseline, curve[0]) - curve[-1]
    return missing <= tol * max(0.002 * baseline, min(gained, curve[-1]))


def ends_by_tol(curve, tol, patience, baseline):
    """Return the iteration at which the objective ends a fit, or None."""
    without = 0
    for n_iter in range(1, len(curve) + 1):
        without = without + 1 if has_converged(curve[:n_iter], tol, baseline) else 0
        learnt = curve[n_iter - 1] < 0.998 * baseline
        if without >= patience * (1 if learnt else 5):
            return n_iter
    return None


@pytest.fixture
def baselines(monkeypatch):
    """Return a list that takes the objective of the mean model of each fit."""
    known = []

    def record(*args, baseline, **params):
        known.append(baseline)
        return Iterations(*args, baseline=baseline, **params)

    monkeypatch.setattr(base, "Iterations", record)
    return known


# ------------------------------------------------------------------- max_iter and tol


@in_turn("tol", [None, 0])
@minimises
def test_a_fit_without_tol_runs_all_iterations_and_does_not_warn(model, tol):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimator = model.without_early_stopping()(tol=tol, max_iter=9)
        estimator.fit(X, model.y())
    assert estimator.n_iter_ == len(curve_of(estimator)) == 9
    if model.overfitting is not None:
        assert estimator.best_iter_ == 9
        assert estimator.validation_scores_ is None


@minimises
def test_a_fit_that_has_not_converged_warns_and_leaves_a_usable_model(model):
    model = model.without_early_stopping()
    estimator = model(tol=1e-12, max_iter=2)
    name = type(estimator).__name__
    match = rf"{name} did not converge in max_iter=2 iterations.*tol=1e-12"
    with pytest.warns(ConvergenceWarning, match=match) as caught:
        estimator.fit(X, model.y())
    assert [warning.filename for warning in caught] == [__file__]  # the line of fit
    assert estimator.n_iter_ == 2
    assert_same_bits(
        estimator, model.without_early_stopping()(max_iter=2).fit(X, model.y())
    )
    assert np.isfinite(estimator.predict(X)).all()
    if model.has_intercept and not model.unobserved_weight:
        assert estimator.score(X, model.y()) > -1


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@in_turn("tol, patience", [(0.3, 1), (0.05, 3), (0.01, 2), (0.001, 1)])
@minimises
def test_a_fit_ends_by_tol(model, tol, patience, baselines):
    params = {"tol": tol, "max_iter": 150}
    if model.overfitting is None:
        patience = 2
    elif getattr(model(), "solver", "sgd") == "sgd":
        params["n_iter_no_change"] = patience
    estimator = model.without_early_stopping()(**params).fit(X, model.y())
    curve, baseline = curve_of(estimator), baselines[-1]
    expected = ends_by_tol(curve, tol, patience, baseline)
    assert estimator.n_iter_ == len(curve) == (expected or 150)
    assert ends_by_tol(curve[:-1], tol, patience, baseline) is None
    if tol == 0.3 and not model.steps:
        assert estimator.n_iter_ < 150


@each_model(
    lambda model: (
        model.link == "predict"
        and model.rates
        and not model.counts
        and not model.sampled
        and "class_weight" not in model.options
    )
)
def test_the_baseline_is_the_objective_of_the_mean(model, baselines):
    """With all factors at zero the written objective has no penalty."""
    estimator = model.without_early_stopping()(max_iter=1)
    estimator.fit(X, model.y(), sample_weight=WEIGHTS)
    y, mean = model.y(), estimator.global_mean_
    if model.under_log_loss:
        loss = -2 * (y * np.log(mean) + (1 - y) * np.log(1 - mean))
    else:
        loss = (y - mean) ** 2
    expected = (WEIGHTS * loss).sum()
    weight = model.unobserved_weight
    n_pairs = len(estimator.users_) * len(estimator.items_)
    expected += weight * (n_pairs - len(y)) * mean**2
    if hasattr(estimator, "encoder_weights_"):
        expected /= estimator.rating_scale_**2
    np.testing.assert_allclose(baselines[-1], expected, rtol=1e-10)


# ---------------------------------------------------------------------- early stopping


@pytest.fixture(scope="module")
def large():
    return make_ratings(200, 100, 5000, noise=0.4, random_state=1)


@pytest.mark.compiled
@pytest.mark.parametrize("weighted", [False, True])
@can_stop_early
def test_early_stopping_restores_the_best_iteration(model, weighted, large):
    table, y = large[0], model.y(large[1])
    weights = np.random.default_rng(0).uniform(0.5, 2, len(y)) if weighted else None
    recorder = Recorder()
    params = {"early_stopping": True, "max_iter": 300, "clip": False}
    estimator = model(**model.overfitting | params).set_callbacks(recorder)
    estimator.fit(table, y, sample_weight=weights)
    scores, best = estimator.validation_scores_, estimator.best_iter_
    assert len(scores) == len(curve_of(estimator)) == estimator.n_iter_ < 300
    assert 1 < best == np.argmax(scores) + 1 < estimator.n_iter_
    errors = [-score for score in scores]
    assert estimator.n_iter_ == ends_by_score(errors, 0, estimator.n_iter_no_change)

    curves = "loss_curve_", "validation_scores_", "n_iter_", "optimizer_state_"
    shorter = clone(estimator).set_params(max_iter=best).set_callbacks()
    shorter.fit(table, y, sample_weight=weights)
    assert_same_bits(estimator, shorter, but=curves)
    assert shorter.validation_scores_ == scores[:best]
    assert curve_of(shorter) == curve_of(estimator)[:best]
    unwatched = clone(estimator).set_callbacks().fit(table, y, sample_weight=weights)
    assert_same_bits(unwatched, estimator)

    seen, last = recorder.models[best - 1], recorder.models[-1]
    np.testing.assert_array_equal(seen.predict(table), estimator.predict(table))
    numbers = model.numbers(last, table), model.numbers(estimator, table)
    assert abs(numbers[0] - numbers[1]).max() > 1e-6


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@can_stop_early
def test_early_stopping_by_tol(model, large):
    params = {"early_stopping": True, "tol": 1e-2, "n_iter_no_change": 2}
    estimator = model(**model.overfitting | params | {"max_iter": 300})
    estimator.fit(large[0], model.y(large[1]))
    errors = [-score for score in estimator.validation_scores_]
    n_iter = ends_by_score(errors, 1e-2, 2)
    assert estimator.n_iter_ == len(errors) == n_iter
    assert estimator.best_iter_ == np.argmin(errors) + 1


@can_stop_early
def test_early_stopping_that_finds_nothing_to_hold_out(model):
    table, y = np.column_stack([np.arange(9)] * 2), model.y(np.linspace(1, 5, 9))
    estimator = model(early_stopping=True)
    match = "early_stopping=True finds no rating to hold out"
    with pytest.warns(UserWarning, match=match):
        estimator.fit(table, y)
    assert estimator.validation_scores_ is None
    assert estimator.n_iter_ == estimator.best_iter_ == 4
    # All ratings are learnt from.
    whole = model(early_stopping=False).fit(table, y)
    assert estimator.global_mean_ == whole.global_mean_
    curve = curve_of(estimator)
    assert curve[-1] < curve[0]


@can_stop_early
def test_held_out_ratings_are_not_learnt_from(model):
    whole = model(early_stopping=False).fit(X, model.y())
    estimator = model(early_stopping=True, validation_fraction=0.3).fit(X, model.y())
    assert len(estimator.validation_scores_) == 4
    assert abs(model.numbers(estimator, X) - model.numbers(whole, X)).max() > 1e-6
    # All the same they are seen, and their ids are known.
    for name in ("users_", "items_", "seen_indptr_", "seen_indices_", "rating_range_"):
        if name == "rating_range_" and not model.rates:
            continue
        np.testing.assert_array_equal(getattr(estimator, name), getattr(whole, name))
    if model.options.get("fit_intercept", model.rates):
        assert estimator.global_mean_ != whole.global_mean_


# --------------------------------------------------------------------- asked to stop


@in_turn("tol", [None, 1e-12])
@in_turn("stop_at", [1, 3])
@each_model()
def test_a_callback_stops_the_fit(model, stop_at, tol):
    recorder = Recorder(stop_at, stop)
    estimator = model(max_iter=10, tol=tol).set_callbacks(recorder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # that it was asked is no failure to converge
        estimator.fit(X, model.y())
    assert estimator.n_iter_ == stop_at == len(recorder.models)
    assert recorder.events[-1] == ("teardown", "fit", 0)
    assert_same_bits(estimator, model(max_iter=stop_at).fit(X, model.y()))


# ----------------------------------------------------------------------------- verbose


@each_model()
def test_verbose_prints_the_curves(model, capsys):
    estimator = model(verbose=True).fit(X, model.y())
    scores = [""] * estimator.n_iter_
    if getattr(estimator, "validation_scores_", None):
        scores = [f", validation score {s:.6g}" for s in estimator.validation_scores_]
    name = type(estimator).__name__
    curves = zip(curve_of(estimator), scores, strict=True)
    assert capsys.readouterr().out.splitlines() == [
        f"{name}: iteration {n_iter}, objective {loss:.6g}{score}"
        for n_iter, (loss, score) in enumerate(curves, start=1)
    ]
    model().fit(X, model.y())
    assert capsys.readouterr().out == ""


@minimises
def test_the_last_objective_is_lower_than_the_first(model):
    curve = curve_of(model.without_early_stopping()(max_iter=20).fit(X, model.y()))
    assert curve[-1] < curve[0]
