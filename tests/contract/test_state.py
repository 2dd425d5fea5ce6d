"""The fitted state is one: whoever reads sees the model before a fit or after it.

``SKLEARN_MF_LONG_TESTS=1`` makes many more rounds.
"""

import collections
import copy
import gc
import os
import signal
import sys
import threading
import time
import weakref
from functools import partial

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone, is_classifier

from sklearn_mf import (
    ALSFactorizer,
    AutoRec,
    BayesianMF,
    BayesianMFClassifier,
    BiasedMF,
    MFClassifier,
    MultiTaskMF,
    RankingFactorizer,
    SGDFactorizer,
)
from sklearn_mf.datasets import make_ratings
from tests.contract.models import FAMILIES, each_model

X, Y = make_ratings(30, 20, 250, random_state=0)
OTHER_X, OTHER_Y = np.array([[5000, 3], [7, 3], [5000, 8], [9, 8]]), np.arange(1.0, 5)
QUERY = np.array([[u, i] for u in (0, 7, 5000) for i in (3, 8, 11)])
ROUNDS = 2000 if os.environ.get("SKLEARN_MF_LONG_TESTS") else 40  # of each model
QUICK = {"n_factors": 2, "max_iter": 1, "tol": None, "random_state": 0, "n_jobs": 1}
MODELS = [
    ALSFactorizer(**QUICK),
    SGDFactorizer(**QUICK),
    BiasedMF(**QUICK),
    MFClassifier(**QUICK),
    AutoRec(**QUICK),
    MultiTaskMF(**QUICK),
    RankingFactorizer(**QUICK),
    BayesianMF(2, n_samples=1, burn_in=0, random_state=0, n_jobs=1),
    BayesianMFClassifier(2, n_samples=1, burn_in=0, random_state=0, n_jobs=1),
]


@pytest.fixture(autouse=True)
def switch_often():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.fixture
def same_configuration():
    """Undo what scikit-learn leaves if a signal comes while it sets its configuration.

    ``config_context`` loses the old values if it is interrupted before its ``try``, and
    whatever runs later in this process would not validate its parameters.
    """
    with config_context():
        yield


def taken(model, ratings):
    """Return ratings as a model takes them: a classifier wants two classes."""
    return ratings > 3 if is_classifier(model) else ratings


def answers(model):
    """Return what a model says, as one comparable value."""
    items, scores = model.recommend([0, 7, 5000], n_items=3)
    return (
        model.predict(QUERY).tobytes(),
        model.transform(QUERY).tobytes(),
        model.score(QUERY, taken(model, np.ones(len(QUERY)))),
        items.filled(-1).tobytes(),
        scores.filled(0).tobytes(),
        tuple(model.get_feature_names_out()),
    )


@pytest.mark.compiled
@pytest.mark.filterwarnings("ignore::sklearn_mf.ColdStartWarning")
@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_answers_during_fits_belong_to_one_state(model):
    first, second = (X, taken(model, Y)), (OTHER_X, taken(model, OTHER_Y))
    whole = []
    for data in (first, second):
        whole.append(answers(model.fit(*data)))
    allowed = [set(parts) for parts in zip(*whole, strict=True)]
    problems, stop = [], threading.Event()

    def read():
        while not stop.is_set():
            try:
                given = answers(model)
            except Exception as error:
                problems.append(repr(error))
                return
            for part, values in zip(given, allowed, strict=True):
                if part not in values:
                    problems.append("an answer that belongs to neither state")

    readers = [threading.Thread(target=read, daemon=True) for _ in range(2)]
    for reader in readers:
        reader.start()
    for _ in range(30):
        model.fit(*first)
        model.fit(*second)
    stop.set()
    for reader in readers:
        reader.join(60)
        assert not reader.is_alive()
    assert problems == []


def learn(model, step):
    """Let a model learn in one of the ways it has, the same for the same arguments."""
    data = [(X, Y), (OTHER_X, OTHER_Y), (X[::2], Y[::2])]
    steps = [partial(model.fit, ids, taken(model, y)) for ids, y in data]
    more = np.array([[7, 3], [9, 8]]), taken(model, np.array([1.0, 4.0]))
    for name in ("partial_fit", "fold_in_users"):
        if hasattr(model, name):
            steps.append(partial(getattr(model, name), *more))
    steps[step % len(steps)]()


@pytest.mark.compiled
@pytest.mark.filterwarnings("ignore::sklearn_mf.ColdStartWarning")
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer sends signals")
@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_serving_while_learning_is_interrupted(model, same_configuration):
    """Signals come at random moments, while another thread reads all the time.

    Whatever was interrupted, the model is the old one or the new one, and every answer
    belongs to a state that there was.
    """
    rng, model = np.random.default_rng(0), clone(model)
    model.fit(OTHER_X, taken(model, OTHER_Y))
    states, given = [answers(model)], [set() for _ in answers(model)]
    problems, stop, armed = [], threading.Event(), False

    def read():
        while not stop.is_set():
            try:
                for part, answer in zip(given, answers(model), strict=True):
                    part.add(answer)
            except Exception as error:
                problems.append(repr(error))

    def interrupt(*_):
        nonlocal armed
        if armed:
            armed = False
            raise KeyboardInterrupt

    n_interrupted, duration = collections.Counter(), 0.001
    previous = signal.signal(signal.SIGALRM, interrupt)
    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        for _ in range(ROUNDS):
            step, new = int(rng.integers(5)), copy.deepcopy(model)
            start = time.perf_counter()
            learn(new, step)
            duration = time.perf_counter() - start
            try:
                armed = True
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-6, 1.2 * duration))
                learn(model, step)
                armed = False
            except KeyboardInterrupt:
                n_interrupted["interrupted"] += 1
            signal.setitimer(signal.ITIMER_REAL, 0)
            found, expected = answers(model), answers(new)
            assert found in (states[-1], expected)
            n_interrupted["old" if found == states[-1] else "new"] += 1
            states.append(found)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        stop.set()
        reader.join(60)
    assert not reader.is_alive()
    assert problems == []
    for part, known in zip(given, map(set, zip(*states, strict=True)), strict=True):
        assert part <= known
    print(f"\n{type(model).__name__}: {ROUNDS} rounds, {dict(n_interrupted)}")
    assert n_interrupted["interrupted"] > ROUNDS / 10


@each_model(among=FAMILIES)
def test_a_model_is_freed_with_its_last_reference(model):
    """It is part of no cycle, which would keep its arrays until Python looks for it."""
    gc.collect()
    gc.disable()
    try:
        fitted = model().fit(X, model.y(Y))
        fitted.recommend([0, 7])
        arrays = [weakref.ref(fitted.user_factors_), weakref.ref(fitted.item_factors_)]
        fitted.fit(X, model.y(Y))
        assert [array() is None for array in arrays] == [True, True]
        arrays = [weakref.ref(fitted), weakref.ref(fitted.user_factors_)]
        del fitted
        assert [array() is None for array in arrays] == [True, True]
    finally:
        gc.enable()


def test_parameters_set_during_a_fit_are_kept():
    model = ALSFactorizer(**QUICK)

    class Setter:
        def setup(self, estimator, context):
            pass

        def teardown(self, estimator, context):
            pass

        def on_fit_task_begin(self, estimator, context, **data):
            estimator.clip = False

        def on_fit_task_end(self, estimator, context, **data):
            return False

    model.set_callbacks(Setter()).fit(X, Y)
    assert model.clip is False
    assert hasattr(model, "user_factors_")
