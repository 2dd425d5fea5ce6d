"""What ends a fit before its time leaves the estimator as it was: all or nothing."""

import copy
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, KFold

from sklearn_mf import AutoRec, BiasedMF, SGDFactorizer
from sklearn_mf.datasets import make_ratings
from tests.assertions import (
    Recorder,
    assert_same_bits,
    count_calls,
    interrupt,
    left_as_it_was,
)
from tests.contract.models import DTYPES, FAMILIES, WEIGHTS, X, Y, each_model, in_turn

overflows = pytest.mark.filterwarnings("ignore::RuntimeWarning")
can_learn_more = each_model(lambda model: model.has("partial_fit") and not model.closed)


def diverging(model):
    """Return parameters with which a fit of float32 overflows."""
    return {"learning_rate": 1e200} if model.steps else {"init_scale": 1e300}


def remedy(model):
    return r"Lower learning_rate=1e\+200" if model.steps else r"Scale y down.*float64"


# -------------------------------------------------------------------------- divergence


@overflows
@in_turn("dtype", DTYPES)
@each_model(lambda model: not model.counts and not model.is_latent)
def test_a_fit_that_overflows_is_an_error(model, dtype):
    y, params = model.y().astype(dtype), diverging(model)
    if not model.steps:  # exact rows are finite wherever the squares of y are
        y = y * dtype(6e37 if dtype == np.float32 else 1e200)
        params = model.known({"init_scale": 1e-4})
    name = model.cls.__name__
    match = (
        rf"{name}: the objective is (nan|-?inf) after iteration \d+.*{remedy(model)}"
    )
    if model.sampled and dtype == np.float32:  # ratings are scaled in float64 first
        match = rf"{name}: the last steps overflow. {remedy(model)}"
    for early_stopping in (False, True):
        if model.overfitting is not None:
            params["early_stopping"] = early_stopping
        unfitted = model(max_iter=50, **params)
        with left_as_it_was(unfitted), pytest.raises(FloatingPointError, match=match):
            unfitted.fit(X, y)
        limits = model.known({"max_iter": 50}) | params
        fitted = model().fit(X, model.y()).set_params(**limits)
        with left_as_it_was(fitted), pytest.raises(FloatingPointError, match=match):
            fitted.fit(X, y)


@pytest.mark.parametrize(
    "estimator",
    [
        SGDFactorizer(optimizer="sgd", learning_rate=0.7),
        BiasedMF(optimizer="sgd", learning_rate=0.5),
        AutoRec(optimizer="sgd", learning_rate=0.07, activation="identity"),
    ],
    ids=str,
)
@overflows
def test_a_fit_that_diverges_little_by_little_is_an_error(estimator):
    estimator.set_params(max_iter=100, tol=None, random_state=0)
    match = r"after iteration ([2-9]|\d\d)\. Lower learning_rate"
    with pytest.raises(FloatingPointError, match=match):
        estimator.fit(X, Y)


@pytest.mark.parametrize("partial", [False, True])
@overflows
def test_no_parameter_that_is_not_finite_is_kept(partial):
    """The objective is that of before the last steps, which overflow."""
    X, y = make_ratings(60, 40, 900, random_state=0)
    y = y.astype(np.float32)
    model = SGDFactorizer(
        4,
        optimizer="sgd",
        learning_rate=1e25,
        init_scale=1e6,
        max_iter=1,
        batch_size=10**9,
        tol=None,
        random_state=0,
    )
    network = AutoRec(
        4,
        optimizer="sgd",
        activation="identity",
        learning_rate=1e6,
        max_iter=2,
        tol=None,
        random_state=0,
    )
    for estimator in (model,) if partial else (model, network):
        learn = estimator.partial_fit if partial else estimator.fit
        with pytest.raises(FloatingPointError, match="Lower learning_rate"):
            learn(X, y)
        assert not hasattr(estimator, "user_factors_")


@overflows
@can_learn_more
def test_a_partial_fit_that_overflows_is_an_error(model):
    fitted = model().fit(X, model.y()).set_params(**diverging(model))
    match = rf"{model.cls.__name__}: .* after partial_fit\. {remedy(model)}"
    with left_as_it_was(fitted), pytest.raises(FloatingPointError, match=match):
        fitted.partial_fit(X, model.y())


@overflows
@pytest.mark.filterwarnings("ignore:One or more of the test scores:UserWarning")
@pytest.mark.filterwarnings("ignore::sklearn_mf.ColdStartWarning")
@each_model(lambda model: (model.steps or model.random) and not model.sampled)
def test_a_search_survives_what_overflows(model):
    ((name, bad),) = diverging(model).items()
    good = getattr(model(), name)
    grid = {name: [good, bad], "regularization": [0.05, 0.2], "max_iter": [4, 9]}
    search = GridSearchCV(model(), grid, cv=KFold(2, shuffle=True, random_state=0))
    match = f"FloatingPointError: {model.cls.__name__}"
    with pytest.warns(FitFailedWarning, match=match):
        search.fit(X, model.y().astype(np.float32))
    scores = search.cv_results_["mean_test_score"]
    overflowed = [params[name] == bad for params in search.cv_results_["params"]]
    assert len(scores) == 8
    assert_array_equal(np.isnan(scores), overflowed)
    assert search.best_params_[name] == good
    assert search.best_score_ == np.nanmax(scores)
    best = clone(model()).set_params(**search.best_params_)
    assert_same_bits(search.best_estimator_, best.fit(X, model.y().astype(np.float32)))


# ---------------------------------------------------------------------- bad input


def bad_inputs(y):
    table = np.column_stack([X, X])
    return [
        ("contains NaN", table, np.full(len(y), np.nan)),
        ("contains infinity", X, np.full(len(y), np.inf)),
        ("inconsistent numbers of samples", X[:-1], y),
        ("Negative values", X, y, {"sample_weight": -np.ones(len(y))}),
    ]


@each_model()
def test_bad_input_changes_nothing(model):
    y = model.y()
    unfitted, fitted = model(), model().fit(X, y)
    methods = [
        name
        for name in ("fit", "partial_fit", "fold_in_users", "fold_in_items")
        if model.has(name) and not (name.startswith("fold_in") and model.shares)
    ]
    for estimator in (unfitted, fitted):
        for method in methods:
            if estimator is unfitted and method.startswith("fold_in"):
                continue
            for match, *args in bad_inputs(y):
                options = args.pop() if len(args) == 3 else {}
                if method != "fit" and estimator is fitted and args[0].shape[1] == 4:
                    match = "X has 4 features, but|contains NaN"
                with (
                    left_as_it_was(estimator),
                    pytest.raises(ValueError, match=match),
                ):
                    getattr(estimator, method)(*args, **options)
    with pytest.raises(NotFittedError, match="not fitted yet"):
        unfitted.predict(X)


@each_model(lambda model: model.shares and not model.sampled)
def test_ratings_that_are_no_shares_are_an_error(model):
    fitted = model().fit(X, model.y())
    what = (
        "loss='log_loss'" if "loss" in model.options else "output_activation='sigmoid'"
    )
    for low, high in [(-0.1, 1), (0, 1.5), (1, 5), (0, 1 + 1e-9)]:
        y = np.linspace(low, high, len(X))
        match = rf"{what} requires y between 0 and 1.*got {low:g} to {high:g}"
        for method in ("fit", "partial_fit"):
            with left_as_it_was(fitted), pytest.raises(ValueError, match=match):
                getattr(fitted, method)(X, y)


# ----------------------------------------------------------- interrupts and callbacks


def fail():
    raise RuntimeError("the callback failed")


@in_turn("act", [fail, interrupt])
@in_turn("warm_start", [False, True])
@each_model()
def test_what_a_callback_raises_changes_nothing(model, warm_start, act):
    error = RuntimeError if act is fail else KeyboardInterrupt
    names = pd.DataFrame(X, columns=["user", "item"])
    estimator = model(warm_start=warm_start).fit(names, model.y())
    expected = clone(estimator).fit(names, model.y())
    if warm_start:
        expected.fit(names, model.y())
    # Ratings of another dtype, in a table of another shape, without names.
    table = np.column_stack([X, X])[:200]
    y = model.y(6 - Y)[:200].astype(np.float32)
    for at in (1, 4):
        recorder = Recorder(at, act)
        estimator.set_callbacks(recorder)
        with left_as_it_was(estimator), pytest.raises(error):
            estimator.fit(table, y)
        assert recorder.events[-1] == ("teardown", "fit", 0)
        assert ("end", "fit", 0) not in recorder.events
    assert_array_equal(estimator.predict(names), model().fit(X, model.y()).predict(X))
    # The next fit is none the worse for it.
    assert_same_bits(estimator.set_callbacks().fit(names, model.y()), expected)

    unfitted = model().set_callbacks(Recorder(2, act))
    with left_as_it_was(unfitted), pytest.raises(error):
        unfitted.fit(X, model.y())
    with pytest.raises(NotFittedError):
        unfitted.predict(X)
    unfitted.set_callbacks().fit(X, model.y())
    assert_same_bits(unfitted, model().fit(X, model.y()))


@each_model()
def test_an_interrupt_at_any_call_changes_nothing(model):
    """Interrupt the library wherever it calls a function, in twelve places."""
    y = model.y()
    more, more_y = model.more()
    fitted = model(n_jobs=1).fit(X, y)
    calls = [
        (model(n_jobs=1), "fit", X, y, WEIGHTS),
        (fitted, "fit", X[:200], y[:200]),
    ]
    if model.has("partial_fit"):
        calls.append((fitted, "partial_fit", more, more_y))
    if model.has("fold_in_users") and not model.shares:
        known = np.isin(more[:, 1], X[:, 1])
        calls.append((fitted, "fold_in_users", more[known], more_y[known]))
    for estimator, method, *args in calls:
        for _ in range(2):  # the first one may compile
            n_calls = count_calls(getattr(copy.deepcopy(estimator), method), *args)
        assert n_calls > 10
        for at in np.unique(np.linspace(0, n_calls - 1, 12, dtype=int)):
            with left_as_it_was(estimator), pytest.raises(KeyboardInterrupt):
                count_calls(getattr(estimator, method), *args, interrupt_at=at)


SIGNAL = """
import os
import signal
import threading
import time

from sklearn_mf.datasets import make_ratings
from tests.assertions import Recorder, left_as_it_was
from tests.contract.models import FAMILIES, in_turn

X, y = make_ratings(1000, 500, 50_000, random_state=0)


def send(begun):
    begun.wait()
    time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGINT)


for model in FAMILIES:
    for n_jobs in (1, 2):
        estimator = model(n_jobs=n_jobs, n_factors=model.many)
        long = model.known({"max_iter": 10**5})
        estimator.fit(X[:300], model.y(y)[:300]).set_params(**long)
        begun = threading.Event()
        estimator.set_callbacks(Recorder(1, begun.set))
        sender = threading.Thread(target=send, args=(begun,))
        sender.start()
        with left_as_it_was(estimator):
            try:
                estimator.fit(X, model.y(y))
            except KeyboardInterrupt:
                sender.join(60)
                print(model.cls.__name__, n_jobs, threading.active_count())
"""


@pytest.mark.compiled
@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGINT")
def test_a_signal_ends_a_long_fit():
    done = subprocess.run(
        [sys.executable, "-c", SIGNAL],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    expected = [f"{model.cls.__name__} {n} 1" for model in FAMILIES for n in (1, 2)]
    assert done.stdout.splitlines() == expected
