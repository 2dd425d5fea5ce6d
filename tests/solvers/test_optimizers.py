"""Optimizers: what only a penalty moves becomes zero before it is denormal."""

import numpy as np
import pytest

from sklearn_mf import MultiTaskMF, RankingFactorizer, SGDFactorizer
from sklearn_mf._solvers.optimizers import (
    OPTIMIZERS,
    begin_state,
    correct_bias,
    make_constants,
    step,
)
from sklearn_mf.datasets import make_ratings
from tests.assertions import arrays_of, fitted_attributes


def assert_nothing_is_denormal(*arrays):
    for array in arrays:
        sizes = abs(array[array != 0])
        assert (sizes >= np.finfo(array.dtype).tiny).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_steps_along_a_penalty(optimizer, dtype):
    name, theta, share = OPTIMIZERS[optimizer], np.ones(1, dtype), dtype(2)
    state, rate = begin_state(optimizer, (1, 1), dtype), dtype(0.2)
    first, second, powers = state
    constants = make_constants(dtype, beta_2=0.9, epsilon=1.0)
    for _ in range(10_000):
        c1, c2 = correct_bias(name, powers, 0, constants)
        gradient = share * theta[0]
        theta[0] = step(
            name, theta[0], gradient, rate, first, second, 0, 0, constants, c1, c2
        )
        assert_nothing_is_denormal(theta, first, second)
    assert theta == 0
    assert not first.any()
    assert not second.any() or optimizer == "adagrad"  # which adds squares up


FITS = [
    SGDFactorizer(3, regularization=2.0),
    MultiTaskMF(3, regression_regularization=0.1, batch_size=50),
    RankingFactorizer(3, similarity="dot", regularization=3.0),
]


@pytest.mark.compiled
@pytest.mark.parametrize("model", FITS, ids=repr)
def test_long_fits(model):
    X, y = make_ratings(40, 30, 500, random_state=0)
    model.set_params(max_iter=500, tol=None, random_state=0)
    model.fit(X, y.astype(np.float32))
    values = fitted_attributes(model).values()
    tables = [a for value in values for a in arrays_of(value) if a.dtype.kind == "f"]
    assert len(tables) >= 2
    assert_nothing_is_denormal(*tables)
