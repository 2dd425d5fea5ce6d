"""scikit-learn's own checks, over every estimator and every option variant."""

import os

import pytest
from scipy.special import expit
from sklearn.utils.estimator_checks import check_estimator, estimator_checks_generator

from sklearn_mf import ALSFactorizer, AutoRec, BiasedMF, MultiTaskMF, SGDFactorizer

N_CHECKS = 65


class Squashed:
    """Squashes y, once it is read, to what log loss wants: the checks give any y."""

    def _check_range(self, ratings):
        for side in (ratings.by_user, ratings.by_item):
            side.ratings[:] = expit(side.ratings)
        return super()._check_range(ratings)


class LogLossSGD(Squashed, SGDFactorizer):
    pass


class LogLossBiased(Squashed, BiasedMF):
    pass


class LogLossAutoRec(Squashed, AutoRec):
    pass


ESTIMATORS = [
    ALSFactorizer(),
    ALSFactorizer(n_factors=1),
    ALSFactorizer(n_factors=64),
    ALSFactorizer(regularization=0),
    ALSFactorizer(weighted_regularization=False),
    ALSFactorizer(weighted_regularization=False, regularization=0),
    ALSFactorizer(fit_intercept=False),
    ALSFactorizer(solver="cg"),
    ALSFactorizer(solver="cg", cg_steps=10, regularization=0),
    ALSFactorizer(solver="cg", cg_steps=1, weighted_regularization=False),
    ALSFactorizer(unobserved_weight=1),
    ALSFactorizer(unobserved_weight=1, fit_intercept=False),
    ALSFactorizer(unobserved_weight=1, weighted_regularization=False),
    ALSFactorizer(unobserved_weight=1, regularization=0),
    ALSFactorizer(unobserved_weight=0.3, solver="cg"),
    ALSFactorizer(unobserved_weight=0.3, solver="cg", fit_intercept=False),
    ALSFactorizer(non_negative=True),
    ALSFactorizer(non_negative=True, fit_intercept=False, regularization=0),
    ALSFactorizer(non_negative=True, unobserved_weight=0.3),
    ALSFactorizer(non_negative=True, weighted_regularization=False),
    ALSFactorizer(tol=None, max_iter=2),
    ALSFactorizer(max_iter=1),
    ALSFactorizer(init_scale=1.0),
    ALSFactorizer(clip=False),
    # A second fit goes on, and so changes nothing only where the first has converged.
    ALSFactorizer(warm_start=True, tol=1e-15, max_iter=5000),
    ALSFactorizer(user_column=1, item_column=0),
    ALSFactorizer(n_jobs=2),
    ALSFactorizer(random_state=0),
    ALSFactorizer(verbose=True),
    SGDFactorizer(),
    SGDFactorizer(n_factors=1),
    SGDFactorizer(regularization=0),
    SGDFactorizer(weighted_regularization=False),
    SGDFactorizer(fit_intercept=False),
    # Some checks have ratings in the hundreds, where plain steps must be short.
    SGDFactorizer(optimizer="sgd", learning_rate=1e-3),
    SGDFactorizer(optimizer="sgd", momentum=0.9, learning_rate=1e-4),
    SGDFactorizer(optimizer="sgd", momentum=0.9, nesterov=True, learning_rate=1e-4),
    SGDFactorizer(optimizer="adam"),
    SGDFactorizer(learning_rate_schedule="exponential"),
    SGDFactorizer(learning_rate_schedule="invscaling"),
    SGDFactorizer(batch_size=8),
    SGDFactorizer(batch_size=10**6, optimizer="adam"),
    SGDFactorizer(shuffle=False),
    SGDFactorizer(early_stopping=True),
    LogLossSGD(loss="log_loss"),
    SGDFactorizer(tol=None, max_iter=2),
    SGDFactorizer(clip=False, init_scale=1.0),
    SGDFactorizer(user_column=1, item_column=0),
    SGDFactorizer(n_jobs=2, random_state=0, verbose=True),
    BiasedMF(),
    BiasedMF(n_factors=0),
    BiasedMF(bias_learning_rate=0.01, bias_regularization=0.5),
    BiasedMF(weighted_regularization=False, fit_intercept=False),
    BiasedMF(optimizer="adam", batch_size=4),
    BiasedMF(optimizer="sgd", momentum=0.5, learning_rate=1e-3),
    BiasedMF(early_stopping=True, validation_fraction=0.3),
    BiasedMF(user_column=1, item_column=0),
    LogLossBiased(loss="log_loss"),
    LogLossBiased(loss="log_loss", n_factors=0),
    BiasedMF(solver="als"),
    BiasedMF(solver="als", n_factors=0),
    BiasedMF(solver="als", bias_regularization=0, regularization=0),
    BiasedMF(solver="als", weighted_regularization=False),
    BiasedMF(solver="als", fit_intercept=False),
    BiasedMF(solver="als", user_column=1, item_column=0),
    BiasedMF(solver="als", non_negative=True),
    BiasedMF(solver="als", non_negative=True, fit_intercept=False),
    BiasedMF(solver="als", unobserved_weight=1),
    BiasedMF(solver="als", unobserved_weight=0.3, weighted_regularization=False),
    BiasedMF(solver="als", unobserved_weight=0.3, n_factors=0, fit_intercept=False),
    BiasedMF(solver="als", unobserved_weight=0.3, non_negative=True),
    BiasedMF(solver="als-cg"),
    BiasedMF(solver="als-cg", n_factors=0),
    BiasedMF(solver="als-cg", cg_steps=10, weighted_regularization=False),
    BiasedMF(solver="als-cg", unobserved_weight=1, fit_intercept=False),
    AutoRec(),
    AutoRec(axis="user", n_factors=1),
    AutoRec(activation="identity", fit_intercept=False),
    AutoRec(optimizer="sgd", learning_rate=1e-5, weighted_regularization=False),
    AutoRec(batch_size=3, early_stopping=True),
    AutoRec(user_column=1, item_column=0, clip=False, regularization=0, n_jobs=2),
    LogLossAutoRec(loss="log_loss"),
    LogLossAutoRec(output_activation="sigmoid", axis="user"),
    MultiTaskMF(8, max_iter=50),
    MultiTaskMF(1, hidden_layer_sizes=(), regression_weight=1, max_iter=20),
    MultiTaskMF(4, hidden_layer_sizes=(8, 3), batch_size=8, max_iter=20, n_jobs=2),
    MultiTaskMF(4, shared_embeddings=False, fit_intercept=False, max_iter=20),
    MultiTaskMF(4, interaction_loss="logistic", early_stopping=True, max_iter=20),
    MultiTaskMF(4, user_column=1, item_column=0, factorization_weight=0, max_iter=20),
    MultiTaskMF(4, regularization=0, clip=False, tol=None, max_iter=2, verbose=True),
]


@pytest.mark.filterwarnings("ignore::sklearn_mf.ColdStartWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:early_stopping=True finds no rating")
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_check_estimator(estimator):
    results = check_estimator(estimator, on_skip=None)
    skipped = {r["check_name"] for r in results if r["status"] == "skipped"}
    if not os.environ.get("SCIPY_ARRAY_API"):
        # The one check that asks for an environment variable rather than an estimator.
        skipped.discard("check_array_api_input")
    assert skipped == set()
    assert {r["status"] for r in results} <= {"passed", "skipped"}
    assert len(results) == N_CHECKS


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_no_check_is_exempt(estimator):
    names = [
        getattr(check, "func", check).__name__
        for _, check in estimator_checks_generator(estimator)
    ]
    assert len(names) == N_CHECKS
    assert "check_sample_weight_equivalence_on_dense_data" in names
