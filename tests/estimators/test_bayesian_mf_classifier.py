"""The sampled classifier: BayesianMF for labels, and how sure its probabilities are."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit
from sklearn.base import is_classifier, is_regressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.metrics import log_loss
from sklearn.model_selection import (
    StratifiedKFold,
    TunedThresholdClassifierCV,
    cross_validate,
    train_test_split,
)
from sklearn.multiclass import OneVsRestClassifier

import sklearn_mf
from sklearn_mf import BayesianMF, BayesianMFClassifier
from sklearn_mf.datasets import make_answers
from sklearn_mf.onnx import to_onnx
from tests.assertions import assert_same_bits, left_as_it_was

X, Y = make_answers(60, 40, 900, random_state=0)
TEXT = np.where(Y == 1, "right", "wrong")  # "right" comes first
NEW = np.array([[0, 0], [7, 999], [999, 7], [999, 999]])


def quick(n_factors=2, **params):
    defaults = {"n_samples": 20, "burn_in": 10, "random_state": 0}
    return BayesianMFClassifier(n_factors, **defaults | params)


@pytest.mark.parametrize("noise", ["user", "shared"])
def test_it_is_bayesian_mf_of_zeros_and_ones(noise):
    model = quick(noise=noise).fit(X, TEXT)
    params = model.get_params() | {"likelihood": "bernoulli"}
    expected = BayesianMF(**params).fit(X, 1 - Y)
    pairs = np.vstack([X, NEW])
    first, second = model.predict_proba(pairs).T
    assert_array_equal(second, expected.predict(pairs))
    assert_allclose(first + second, 1)
    assert_array_equal(model.transform(X), expected.transform(X))
    assert_array_equal(model.error_curve_, expected.error_curve_)
    drawn = model.sample_y(pairs, 5) == "wrong"
    assert_array_equal(drawn, expected.sample_y(pairs, 5))


def test_probabilities_scores_and_classes_agree():
    model = quick().fit(X, TEXT)
    pairs = np.vstack([X, NEW])
    second = model.predict_proba(pairs)[:, 1]
    scores = model.decision_function(pairs)
    assert_allclose(expit(scores), second)
    assert_array_equal(model.predict(pairs) == "wrong", scores > 0)
    assert model.score(X, TEXT) == (model.predict(X) == TEXT).mean()


def test_draws_tell_how_sure_a_probability_is():
    model = quick(n_samples=100, thin=1).fit(X, TEXT)
    samples = model.sample_proba(np.vstack([X, NEW]))
    assert samples.shape == (len(X) + len(NEW), 100)
    assert ((samples > 0) & (samples < 1)).all()
    proba = model.predict_proba(np.vstack([X, NEW]))[:, 1]
    assert_allclose(samples.mean(axis=1), proba, rtol=1e-9)
    # Ten times as many answers to the same questions leave less open.
    X_more, Y_more = make_answers(60, 40, 2300, random_state=0)
    more = quick(n_samples=100, thin=1).fit(X_more, Y_more)
    assert more.sample_proba(X).std(axis=1).mean() < samples.std(axis=1).mean()


@pytest.mark.compiled
def test_drawn_labels_are_as_frequent_as_their_probabilities():
    model = quick(n_samples=200, thin=1).fit(X, TEXT)
    drawn = model.sample_y(NEW, 4000)
    assert set(np.unique(drawn)) == {"right", "wrong"}
    share = (drawn == "wrong").mean(axis=1)
    assert_allclose(share, model.predict_proba(NEW)[:, 1], atol=0.05)


def test_a_history_or_a_fold_in_may_hold_one_class():
    model = quick().fit(X, TEXT)
    visitor = [[1000, item] for item in range(10)]
    for label, more_likely in (("right", False), ("wrong", True)):
        _, scores = model.recommend(history=(visitor, [label] * 10), n_items=3)
        assert (scores.mean() > 0.5) == more_likely
        folded = quick().fit(X, TEXT).fold_in_users(visitor, [label] * 10)
        second = folded.predict_proba([[1000, 20]])[0, 1]
        assert (second > model.predict_proba([[1000, 20]])[0, 1]) == more_likely
    with (
        left_as_it_was(model),
        pytest.raises(ValueError, match="maybe"),
    ):
        model.fold_in_users(visitor, ["maybe"] * 10)


def test_a_saved_model_answers_the_same(tmp_path):
    model = quick().fit(X, TEXT)
    model.save(tmp_path / "model.npz")
    loaded = sklearn_mf.load(tmp_path / "model.npz")
    assert_same_bits(loaded, model)
    assert_array_equal(loaded.sample_proba(NEW), model.sample_proba(NEW))


def test_it_is_a_classifier_and_no_regressor():
    model = quick()
    assert is_classifier(model)
    assert not is_regressor(model)
    for name in ("predict_interval", "predict_level_proba", "partial_fit"):
        assert not hasattr(model, name)
    with pytest.raises(ValueError, match="BayesianMFClassifier with likelihood"):
        to_onnx(quick().fit(X, TEXT))


@pytest.mark.compiled
def test_scikit_learn_works_around_it():
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    scoring = ["roc_auc", "accuracy", "neg_log_loss", "neg_brier_score"]
    scores = cross_validate(quick(), X, Y.astype(int), cv=folds, scoring=scoring)
    assert scores["test_roc_auc"].mean() > 0.65
    assert (scores["test_neg_log_loss"] > -np.log(2)).all()
    for around in (CalibratedClassifierCV, TunedThresholdClassifierCV):
        assert around(quick(), cv=3).fit(X, TEXT).score(X, TEXT) > 0.6
    grades = np.array(["low", "middle", "high"])[(X[:, 0] + 2 * X[:, 1]) % 3]
    assert set(OneVsRestClassifier(quick()).fit(X, grades).predict(X)) <= set(grades)
    with pytest.raises(ValueError, match="OneVsRestClassifier"):
        quick().fit(X, grades)


@pytest.mark.compiled
def test_its_log_loss_is_at_least_as_good_as_that_of_the_best_model():
    X_all, Y_all = make_answers(random_state=1)
    X_train, X_test, y_train, y_test = train_test_split(X_all, Y_all, random_state=0)
    losses = [
        log_loss(y_test, model.fit(X_train, y_train).predict_proba(X_test))
        for model in (
            BayesianMFClassifier(n_samples=100, burn_in=50, random_state=0),
            sklearn_mf.MFClassifier(random_state=0),
        )
    ]
    assert losses[0] < 1.005 * losses[1]


def test_one_class_is_an_error_that_names_what_takes_it():
    with pytest.raises(ValueError, match=r"only one class: 'right'.*MFClassifier\.par"):
        quick().fit(X, np.full(len(X), "right"))
