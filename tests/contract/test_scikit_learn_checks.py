"""scikit-learn's own checks, over every estimator and every option variant."""

import os

import numpy as np
import pytest
from scipy.special import expit
from sklearn.utils import check_array, get_tags
from sklearn.utils.estimator_checks import check_estimator, estimator_checks_generator

from sklearn_mf import (
    ALSFactorizer,
    AutoRec,
    BayesianMF,
    BiasedMF,
    MultiTaskMF,
    RankingFactorizer,
    SGDFactorizer,
)
from sklearn_mf._data.features import FeatureTable
from tests.contract.models import MODELS, X, Y

N_CHECKS = {"regressor": 65, "classifier": 70}


def squash(y):
    """Return ratings between 0 and 1 for ratings of any size.

    What is no rating stays as it is: the estimator is to refuse it.
    """
    try:
        ratings = np.asarray(y)
        if ratings.dtype == object:
            ratings = ratings.astype(float)
    except (TypeError, ValueError):
        return y
    if ratings.dtype.kind not in "biuf":
        return y
    return np.where(np.isfinite(ratings), expit(ratings), ratings)


class OfAnyRatings:
    """Passes ratings on to an estimator that takes those between 0 and 1 only.

    scikit-learn's checks fit ratings of all sizes.
    """

    def fit(self, X, y=None, sample_weight=None):
        return super().fit(X, squash(y), sample_weight)

    def score(self, X, y, sample_weight=None):
        return super().score(X, squash(y), sample_weight)


class InParts(OfAnyRatings):
    """The same for an estimator with `partial_fit`."""

    def partial_fit(self, X, y=None, sample_weight=None):
        return super().partial_fit(X, squash(y), sample_weight)


class SquashedSGD(InParts, SGDFactorizer):
    pass


class SquashedBiasedMF(InParts, BiasedMF):
    pass


class SquashedAutoRec(InParts, AutoRec):
    pass


class SquashedBayesianMF(OfAnyRatings, BayesianMF):
    pass


class WithFeatures:
    """Has features of all ids that it is fitted to, whatever they are.

    scikit-learn's checks fit tables of all ids, which no parameter can foresee.
    """

    _given = None, None

    def fit(self, X, y=None, sample_weight=None):
        self._given = features_of_ids(X, sample_weight)
        return super().fit(X, y, sample_weight)

    def _feature_tables(self):
        return {
            side: (table, False)
            for side, table in zip(("user", "item"), self._given, strict=True)
        }


def features_of_ids(X, sample_weight):
    """Return features of the ids in the first two columns; None if X is no table."""
    try:
        table = check_array(X, dtype=float)
        if sample_weight is not None:
            table = table[np.asarray(sample_weight) > 0]
        ids = [np.unique(column) for column in table[:, :2].T]
    except (TypeError, ValueError, IndexError):
        return None, None
    matrices = [np.column_stack([np.sin(one), np.cos(3 * one)]) for one in ids]
    names = np.array(["sin", "cos"], dtype=object)
    return [FeatureTable(*pair, names) for pair in zip(ids, matrices, strict=True)]


class ALSWithFeatures(WithFeatures, ALSFactorizer):
    pass


class SGDWithFeatures(WithFeatures, SGDFactorizer):
    pass


class BiasedMFWithFeatures(WithFeatures, BiasedMF):
    pass


def test_features_of_ids_are_used():
    model = ALSWithFeatures(max_iter=2, tol=None).fit(X, Y)
    assert (model.item_feature_weights_ != 0).all()
    assert (model.user_feature_weights_ != 0).all()


SQUASHED = {
    BayesianMF: SquashedBayesianMF,
    SGDFactorizer: SquashedSGD,
    BiasedMF: SquashedBiasedMF,
    AutoRec: SquashedAutoRec,
}


def for_checks(model):
    """Return an estimator with the options of a model, and else its defaults."""
    params = dict(model.options)
    if params.get("optimizer") == "sgd":
        # Some checks have ratings in the hundreds, where plain steps must be short.
        params["learning_rate"] = 1e-5 if model.cls is AutoRec else 1e-4
    if model.cls is MultiTaskMF:
        params = {"n_factors": 4, "max_iter": 20} | params
    if model.sampled:
        params = {"n_factors": 3, "n_samples": 10, "burn_in": 2} | params
    if model.cls is AutoRec and params:
        params = {"max_iter": 50} | params
    return (SQUASHED[model.cls] if model.shares else model.cls)(**params)


ESTIMATORS = [
    *map(for_checks, MODELS),
    ALSWithFeatures(non_negative=True),
    ALSWithFeatures(solver="cg", unobserved_weight=0.3),
    SGDWithFeatures(),
    BiasedMFWithFeatures(solver="als", weighted_regularization=False),
    ALSFactorizer(n_factors=1),
    ALSFactorizer(regularization=0),
    ALSFactorizer(weighted_regularization=False, regularization=0),
    ALSFactorizer(solver="cg", cg_steps=1, weighted_regularization=False),
    ALSFactorizer(unobserved_weight=1, fit_intercept=False),
    ALSFactorizer(unobserved_weight=0.3, solver="cg"),
    ALSFactorizer(non_negative=True, fit_intercept=False, regularization=0),
    ALSFactorizer(max_iter=1),
    # A second fit goes on, and so changes nothing only where the first has converged.
    ALSFactorizer(warm_start=True, tol=1e-15, max_iter=5000),
    ALSFactorizer(user_column=1, item_column=0),
    ALSFactorizer(verbose=True),
    SGDFactorizer(batch_size=10**6, optimizer="adam"),
    SGDFactorizer(clip=False, init_scale=1.0),
    SGDFactorizer(user_column=1, item_column=0),
    SGDFactorizer(n_jobs=2, random_state=0, verbose=True),
    BiasedMF(weighted_regularization=False, fit_intercept=False),
    BiasedMF(user_column=1, item_column=0),
    BiasedMF(solver="als", bias_regularization=0, regularization=0),
    BiasedMF(solver="als", non_negative=True, fit_intercept=False),
    BiasedMF(solver="als", unobserved_weight=0.3, weighted_regularization=False),
    BiasedMF(solver="als", unobserved_weight=0.3, n_factors=0, fit_intercept=False),
    BiasedMF(solver="als-cg", n_factors=0),
    BiasedMF(solver="als-cg", unobserved_weight=1, fit_intercept=False),
    AutoRec(1, axis="user", max_iter=50),
    AutoRec(activation="identity", fit_intercept=False, max_iter=50),
    AutoRec(batch_size=3, early_stopping=True),
    AutoRec(
        user_column=1,
        item_column=0,
        clip=False,
        regularization=0,
        n_jobs=2,
        max_iter=50,
    ),
    BayesianMF(2, n_samples=20, burn_in=5, user_column=1, item_column=0, n_jobs=2),
    BayesianMF(0, n_samples=3, thin=5, burn_in=0, verbose=True),
    BayesianMF(
        1,
        likelihood="ordinal",
        noise="shared",
        n_samples=3,
        burn_in=1,
        n_chains=2,
        thin=1,
    ),
    MultiTaskMF(8, max_iter=50),
    MultiTaskMF(4, hidden_layer_sizes=(8, 3), batch_size=8, max_iter=20, n_jobs=2),
    MultiTaskMF(4, user_column=1, item_column=0, factorization_weight=0, max_iter=20),
    MultiTaskMF(4, regularization=0, clip=False, tol=None, max_iter=2, verbose=True),
    RankingFactorizer(8, loss="bpr", n_negatives=1, max_iter=20),
    RankingFactorizer(8, loss="warp", user_column=1, item_column=0, n_jobs=2),
    RankingFactorizer(8, loss="ccl", batch_size=1000, tol=None, max_iter=2),
]


@pytest.mark.filterwarnings("ignore::sklearn_mf.ColdStartWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:early_stopping=True finds no rating")
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_check_estimator(estimator):
    names = [
        getattr(check, "func", check).__name__
        for _, check in estimator_checks_generator(estimator)
    ]
    # One asks for an error where y is missing; it is for estimators that require y.
    tags = get_tags(estimator)
    n_checks = N_CHECKS[tags.estimator_type] - (not tags.target_tags.required)
    if tags.estimator_type == "classifier":  # one is about weights of classes
        n_checks -= "class_weight" not in estimator.get_params()
    assert len(names) == n_checks  # none is exempt
    assert "check_sample_weight_equivalence_on_dense_data" in names
    results = check_estimator(estimator, on_skip=None)
    skipped = {r["check_name"] for r in results if r["status"] == "skipped"}
    if not os.environ.get("SCIPY_ARRAY_API"):
        # The one check that asks for an environment variable rather than an estimator.
        skipped.discard("check_array_api_input")
    assert skipped == set()
    assert {r["status"] for r in results} <= {"passed", "skipped"}
    assert len(results) == n_checks
