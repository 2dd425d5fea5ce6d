"""The gallery script that compares models: what it claims."""

import numpy as np
import pytest

from tests.examples.gallery import run_notebook


@pytest.fixture(scope="module")
def run():
    return run_notebook("plot_compare_models")


def test_a_sorted_file_tests_unknown_users(run):
    cuts = run.names["cuts"]
    assert cuts["cv=5"]["unknown users"] > 0.95
    assert cuts["StrongGeneralization(5)"]["unknown users"] == 1
    for name in ("KFold(5, shuffle=True)", "RatingKFold(5)"):
        assert cuts[name]["unknown users"] < 0.01
        assert cuts[name]["RMSE"] < cuts["cv=5"]["RMSE"] - 0.05


def test_gains_vary_less_than_errors_and_tell_more(run):
    errors, gains = run.names["errors"], run.names["gains"]
    assert len(gains) == 15
    for name in ("BiasedMF, als", "BiasedMF, sgd"):
        assert (gains[name] > 0).all()
        assert gains[name].std() < errors[name].std()
    difference = gains["BiasedMF, als"] - gains["BiasedMF, sgd"]
    assert difference.min() < 0 < difference.max()
    signs = np.sign(gains["ALSFactorizer"])
    assert set(signs) == {-1, 1}
    assert (gains["mean of all ratings"] < 0).all()
