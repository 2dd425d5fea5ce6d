"""scikit-learn's own checks, over every estimator and every option variant."""

import os

import pytest
from sklearn.utils.estimator_checks import check_estimator, estimator_checks_generator

from sklearn_mf import ALSFactorizer

N_CHECKS = 65

ESTIMATORS = [
    ALSFactorizer(),
    ALSFactorizer(n_factors=1),
    ALSFactorizer(n_factors=64),
    ALSFactorizer(regularization=0),
    ALSFactorizer(weighted_regularization=False),
    ALSFactorizer(weighted_regularization=False, regularization=0),
    ALSFactorizer(fit_intercept=False),
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
]


@pytest.mark.filterwarnings("ignore::sklearn_mf.ColdStartWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
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
