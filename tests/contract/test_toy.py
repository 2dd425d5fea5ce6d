"""A model of few lines has all that the others have."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.utils.estimator_checks import check_estimator

import sklearn_mf
from sklearn_mf import _load
from sklearn_mf.datasets import make_ratings
from tests.contract.toy import HoledPCA

X, Y = make_ratings(60, 40, 900, random_state=0)


@pytest.mark.filterwarnings("ignore::sklearn_mf.ColdStartWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_it_passes_all_checks_of_scikit_learn():
    results = check_estimator(HoledPCA(), on_skip=None)
    failed = [r["check_name"] for r in results if r["status"] == "failed"]
    assert failed == []
    assert len(results) == 65


def test_it_finds_the_principal_components_of_a_full_table():
    rows = np.array(list(np.ndindex(30, 20)))
    R = np.random.default_rng(0).normal(size=(30, 20))
    model = HoledPCA(3, fit_intercept=False, clip=False).fit(rows, R.ravel())
    U, s, Vt = np.linalg.svd(R)
    best = (U[:, :3] * s[:3]) @ Vt[:3]
    assert_allclose(model.predict(rows).reshape(R.shape), best, atol=1e-10)


def test_it_predicts_recommends_and_can_be_searched():
    search = GridSearchCV(
        HoledPCA(max_iter=20, tol=None), {"n_factors": [1, 2]}, cv=KFold(3)
    ).fit(X, Y)
    items, scores = search.best_estimator_.recommend(X[:3, 0], n_items=4)
    assert items.shape == scores.shape == (3, 4)
    assert -search.best_score_ < Y.std()


def test_it_is_saved_and_loaded(tmp_path, monkeypatch):
    model = HoledPCA(max_iter=5, tol=None).fit(X, Y)
    with pytest.raises(TypeError, match="HoledPCA is not one of the models"):
        model.save(tmp_path / "model.npz")
    monkeypatch.setattr(_load, "MODELS", dict(_load.MODELS))
    _load.register(HoledPCA)
    model.save(tmp_path / "model.npz")
    loaded = sklearn_mf.load(tmp_path / "model.npz")
    del HoledPCA._saved_as
    assert type(loaded) is HoledPCA
    assert_array_equal(loaded.predict(X), model.predict(X))


def test_callbacks_see_its_iterations():
    seen = []

    class Watcher:
        def setup(self, estimator, context):
            pass

        def teardown(self, estimator, context):
            pass

        def on_fit_task_begin(
            self, estimator, context, *, X=None, y=None, metadata=None
        ):
            pass

        def on_fit_task_end(
            self, estimator, context, *, X=None, y=None, metadata=None, fitted_estimator
        ):
            if context.task_name == "iteration":
                seen.append(fitted_estimator.score(X, Y))
                return len(seen) == 6
            return False

    model = HoledPCA(tol=None).set_callbacks(Watcher()).fit(X, Y)
    assert model.n_iter_ == len(seen) == 6
    assert seen == sorted(seen)
    assert np.all(np.diff(model.loss_curve_) <= 0)


def test_a_warm_start_continues():
    options = {"tol": None, "random_state": 0}
    long = HoledPCA(max_iter=8, **options).fit(X, Y)
    short = HoledPCA(max_iter=4, warm_start=True, **options).fit(X, Y).fit(X, Y)
    assert_allclose(short.loss_curve_[-1], long.loss_curve_[-1], rtol=1e-10)
    assert clone(short).get_params()["max_iter"] == 4
