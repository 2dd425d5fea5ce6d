"""The fitted state is one: whoever reads sees the model before a fit or after it."""

import sys
import threading

import numpy as np
import pytest

from sklearn_mf import ALSFactorizer, AutoRec, BiasedMF, MultiTaskMF, SGDFactorizer
from sklearn_mf.datasets import make_ratings

X, Y = make_ratings(30, 20, 250, random_state=0)
OTHER_X, OTHER_Y = np.array([[5000, 3], [7, 3], [5000, 8], [9, 8]]), np.ones(4)
QUERY = np.array([[u, i] for u in (0, 7, 5000) for i in (3, 8, 11)])
QUICK = {"n_factors": 2, "max_iter": 1, "tol": None, "random_state": 0, "n_jobs": 1}
MODELS = [
    ALSFactorizer(**QUICK),
    SGDFactorizer(**QUICK),
    BiasedMF(**QUICK),
    AutoRec(**QUICK),
    MultiTaskMF(**QUICK),
]


@pytest.fixture(autouse=True)
def switch_often():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def answers(model):
    """Return what a model says, as one comparable value."""
    items, scores = model.recommend([0, 7, 5000], n_items=3)
    return (
        model.predict(QUERY).tobytes(),
        model.transform(QUERY).tobytes(),
        model.score(QUERY, np.ones(len(QUERY))),
        items.filled(-1).tobytes(),
        scores.filled(0).tobytes(),
        tuple(model.get_feature_names_out()),
    )


@pytest.mark.compiled
@pytest.mark.filterwarnings("ignore::sklearn_mf.ColdStartWarning")
@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_answers_during_fits_belong_to_one_state(model):
    whole = []
    for data in ((X, Y), (OTHER_X, OTHER_Y)):
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
        model.fit(X, Y)
        model.fit(OTHER_X, OTHER_Y)
    stop.set()
    for reader in readers:
        reader.join(60)
        assert not reader.is_alive()
    assert problems == []


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
