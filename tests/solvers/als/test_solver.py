"""Alternating least squares in all its variants, with biases and without."""

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from sklearn_mf import ALSFactorizer, BayesianMF, BiasedMF
from sklearn_mf._solvers.als import solver as als_solver
from sklearn_mf._solvers.als.conjugate_gradient import approach_rows
from sklearn_mf._solvers.als.kernels import solve_rows
from sklearn_mf._solvers.als.short_rows import solve_short_rows
from sklearn_mf._solvers.gibbs.kernels import sample_rows
from sklearn_mf._solvers.gibbs.short_rows import sample_short_rows
from sklearn_mf.datasets import make_ratings
from tests import reference
from tests.assertions import assert_same_bits
from tests.solvers.als.helpers import first_users, rows_of

N_USERS, N_ITEMS, N_RATINGS = 25, 15, 150

VARIANTS = {
    "cholesky": (ALSFactorizer, {"solver": "cholesky"}),
    "cg": (ALSFactorizer, {"solver": "cg", "cg_steps": 2}),
    "non_negative": (ALSFactorizer, {"non_negative": True}),
    "als": (BiasedMF, {"solver": "als"}),
    "als-cg": (BiasedMF, {"solver": "als-cg", "cg_steps": 2}),
    "als non_negative": (BiasedMF, {"solver": "als", "non_negative": True}),
}
EXACT = ["cholesky", "als"]
NON_NEGATIVE = ["non_negative", "als non_negative"]
LEARNT = ("user_factors_", "item_factors_", "user_biases_", "item_biases_")


@pytest.fixture(autouse=True)
def all_rows_are_approached(request, monkeypatch):
    """Approach rows of any size by conjugate gradient, in variants that have it."""
    if "cg" in request.node.name:
        monkeypatch.setattr(als_solver, "FEW_EQUATIONS", (0, 0))
        monkeypatch.setattr(als_solver, "EIGEN_WORK", -1e9)


# Numbers in place of "scale", for the reference to read.
LITERAL = {
    "n_factors": 3,
    "max_iter": 4,
    "tol": None,
    "random_state": 0,
    "regularization": 0.12,
    "init_scale": 0.05,
}


def make(variant, **params):
    estimator, own = VARIANTS[variant]
    if estimator is BiasedMF and "regularization" in params:
        params = {"bias_regularization": 0.5 * params["regularization"]} | params
    return estimator(**LITERAL | own | params)


def terms_of(model):
    """Return μ and the penalties as the reference wants them."""
    lam_b = None
    if isinstance(model, BiasedMF):
        lam_b = model.bias_regularization
        lam_b = model.regularization if lam_b is None else lam_b
    weighted = model.weighted_regularization
    return model.global_mean_, model.regularization, weighted, lam_b


def dense(model, X, y, weights=None, shape=None):
    return reference.dense(*X.T, y, weights, model.unobserved_weight, shape)


def objective_of(model, R, W):
    return reference.objective(R, W, *rows_of(model), *terms_of(model))


# ----------------------------------------------------------------- whole sweeps, exact


@pytest.mark.parametrize("weighted_regularization", [False, 0.7, True])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("with_weights", [False, True])
@pytest.mark.parametrize("unobserved_weight", [0, 0.3, 1])
@pytest.mark.parametrize(
    ("variant", "n_factors"),
    [("cholesky", 3), ("als", 0), ("als", 1), ("als", 3)],
)
def test_sweeps_are_the_reference(
    variant,
    n_factors,
    unobserved_weight,
    with_weights,
    fit_intercept,
    weighted_regularization,
    data,
    weights,
):
    X, y = data
    w = weights if with_weights else None
    rtol = 1e-8 if unobserved_weight else 1e-9
    for max_iter in (1, 2, 4):
        model = make(
            variant,
            n_factors=n_factors,
            unobserved_weight=unobserved_weight,
            fit_intercept=fit_intercept,
            weighted_regularization=weighted_regularization,
            regularization=0.3,
            max_iter=max_iter,
            clip=False,
        ).fit(X, y, w)
        R, W = dense(model, X, y, w)
        _, lam, weighted, lam_b = terms_of(model)
        P, Q, mu, losses = reference.als(
            R,
            W,
            first_users(model, X),
            lam=lam,
            weighted=weighted,
            lam_b=lam_b,
            mu=None if fit_intercept else 0.0,
            n_sweeps=max_iter,
        )
        assert_allclose(model.global_mean_, mu, rtol=1e-14)
        for rows, expected in zip(rows_of(model), (P, Q), strict=True):
            assert_allclose(rows, expected, rtol=rtol, atol=1e-12)
        assert_allclose(model.loss_curve_, losses, rtol=1e-11)
    every_pair = np.array(list(np.ndindex(R.shape)))
    expected = reference.scores(P, Q, mu, lam_b is not None)
    assert_allclose(model.predict(every_pair), expected.ravel(), rtol=rtol, atol=1e-12)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_written_objective(variant, data, weights):
    X, y = data
    model = make(
        variant,
        unobserved_weight=0.3,
        regularization=0.5,
        weighted_regularization=False,
        clip=False,
    ).fit(X, y, weights)
    every_pair = np.array(list(np.ndindex(N_USERS, N_ITEMS)))
    predictions = model.predict(every_pair).reshape(N_USERS, N_ITEMS)
    observed = np.zeros((N_USERS, N_ITEMS), dtype=bool)
    observed[tuple(X.T)] = True
    mean = weights @ y / (weights.sum() + 0.3 * (~observed).sum())
    assert_allclose(model.global_mean_, mean, rtol=1e-14)
    expected = weights @ (y - predictions[tuple(X.T)]) ** 2
    expected += 0.3 * (predictions[~observed] ** 2).sum()
    for name in LEARNT:
        if hasattr(model, name):
            lam = 0.5 if "factors" in name else 0.25
            expected += lam * (getattr(model, name) ** 2).sum()
    assert_allclose(model.loss_curve_[-1], expected, rtol=1e-12)


# --------------------------------------------------------------- where it has converged


@pytest.mark.parametrize("weighted_regularization", [False, 0.7, True])
@pytest.mark.parametrize("unobserved_weight", [0, 0.3, 1])
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_gradient_vanishes_or_is_held_back(
    variant, unobserved_weight, weighted_regularization, data, weights
):
    X, y = data
    model = make(
        variant,
        unobserved_weight=unobserved_weight,
        regularization=0.1 if weighted_regularization else 0.5,
        weighted_regularization=weighted_regularization,
        max_iter=1,
        init_scale=0.3,
    ).fit(X, y, weights)
    R, W = dense(model, X, y, weights)
    if variant in EXACT:  # after one sweep the users alone are at a minimum
        users, items = reference.gradients(R, W, *rows_of(model), *terms_of(model))
        assert abs(users).max() < 1e-6
        assert abs(items).max() > 1e-2
    model.set_params(max_iter=800).fit(X, y, weights)
    rows = rows_of(model)
    assert all(np.linalg.norm(side[:, :3]) > 1 for side in rows)
    found = reference.gradients(R, W, *rows, *terms_of(model))
    if variant not in NON_NEGATIVE:
        assert all(abs(gradient).max() < 1e-6 for gradient in found)
        return
    assert min(model.user_factors_.min(), model.item_factors_.min()) == 0
    for side, gradient in zip(rows, found, strict=True):
        factors, slope = side[:, :3], gradient[:, :3]
        assert slope.min() > -1e-6
        assert abs(factors * slope).max() < 1e-6
        assert abs(gradient[:, 3:]).max(initial=0) < 1e-6
    if variant == "als non_negative":
        assert min(model.user_biases_.min(), model.item_biases_.min()) < 0


@pytest.mark.parametrize("unobserved_weight", [0, 1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("variant", NON_NEGATIVE)
def test_factors_that_must_not_be_negative(variant, dtype, unobserved_weight, data):
    X, y = data
    model = make(variant, unobserved_weight=unobserved_weight, max_iter=1)
    for max_iter in (1, 2, 30):
        model.set_params(max_iter=max_iter).fit(X, y.astype(dtype))
        for name in ("user_factors_", "item_factors_"):
            assert getattr(model, name).min() >= 0
            assert getattr(model, name).max() > 0.1
            assert getattr(model, name).dtype == dtype


def test_planted_parts_are_recovered():
    rng = np.random.default_rng(0)
    P, Q = (rng.exponential(size=(n, 3)) * (rng.random((n, 3)) < 0.5) for n in (60, 40))
    R = P @ Q.T
    X = rng.permutation(np.argwhere(np.ones(R.shape)))
    y = R[tuple(X.T)]
    model = ALSFactorizer(
        3,
        non_negative=True,
        fit_intercept=False,
        regularization=1e-9,
        max_iter=2000,
        tol=None,
        init_scale=1.0,
        random_state=0,
    ).fit(X[:1600], y[:1600])
    error = np.sqrt(np.mean((model.predict(X[1600:]) - y[1600:]) ** 2))
    assert error < 1e-3 * y.std()
    # Parts are unique where no rotation leaves them at or above 0: each to its own.
    unit = [Q / np.linalg.norm(Q, axis=0), model.item_factors_]
    unit[1] = unit[1] / np.linalg.norm(unit[1], axis=0)
    assert (unit[0].T @ unit[1]).max(axis=0).min() > 0.999


# ------------------------------------------------------------------------ equivalences


def with_explicit_zeros(X, y, weights, unobserved_weight):
    """Return a rating of 0, with the weight for it, to every pair that has none."""
    R = np.zeros((N_USERS, N_ITEMS))
    W = np.full(R.shape, float(unobserved_weight))
    R[tuple(X.T)], W[tuple(X.T)] = y, 1 if weights is None else weights
    return np.argwhere(np.ones(R.shape)), R.ravel(), W.ravel()


@pytest.mark.parametrize("weighted_regularization", [False, 0.7, True])
@pytest.mark.parametrize("with_weights", [False, True])
@pytest.mark.parametrize("unobserved_weight", [0.3, 1])
@pytest.mark.parametrize("variant", VARIANTS)
def test_unobserved_pairs_are_ratings_of_zero(
    variant, unobserved_weight, with_weights, weighted_regularization, data, weights
):
    X, y = data
    w = weights if with_weights else None
    model = make(
        variant,
        unobserved_weight=unobserved_weight,
        weighted_regularization=weighted_regularization,
        max_iter=6,
        clip=False,
        cg_steps=8,  # twice as many as columns, which is exact
    ).fit(X, y, w)
    every_pair, ratings, all_weights = with_explicit_zeros(X, y, w, unobserved_weight)
    other = clone(model).set_params(unobserved_weight=0)
    other.fit(every_pair, ratings, all_weights)
    assert_allclose(model.loss_curve_, other.loss_curve_, rtol=1e-10)
    predictions = model.predict(every_pair), other.predict(every_pair)
    assert_allclose(*predictions, rtol=1e-8, atol=1e-10)
    assert model.rating_range_ == other.rating_range_ == (0, y.max())


def test_implicit_feedback_is_that_of_hu_koren_and_volinsky():
    rng = np.random.default_rng(0)
    n_users, n_items, alpha, lam = 30, 20, 40.0, 0.7
    r = rng.poisson(0.4, size=(n_users, n_items)).astype(float)
    r[0, r.sum(axis=0) == 0] = 1
    r[r.sum(axis=1) == 0, 0] = 1
    X = np.argwhere(r)
    model = ALSFactorizer(
        4,
        regularization=lam,
        weighted_regularization=False,
        unobserved_weight=1,
        fit_intercept=False,
        max_iter=3,
        tol=None,
        init_scale=0.05,
        clip=False,
        random_state=0,
    ).fit(X, np.ones(len(X)), sample_weight=1 + alpha * r[tuple(X.T)])

    def solve(other, r):
        """Equations 4 and 5 of the paper, to the letter."""
        rows = []
        for r_u in r:
            C, p = np.diag(1 + alpha * r_u), (r_u > 0).astype(float)
            A = other.T @ C @ other + lam * np.eye(other.shape[1])
            rows.append(np.linalg.inv(A) @ other.T @ C @ p)
        return np.array(rows)

    users = first_users(model, X)
    for _ in range(3):
        items = solve(users, r.T)
        users = solve(items, r)
    assert_allclose(model.user_factors_, users, rtol=1e-9, atol=1e-12)
    assert_allclose(model.item_factors_, items, rtol=1e-9, atol=1e-12)
    every_pair = np.argwhere(np.ones_like(r))
    assert_allclose(model.predict(every_pair), (users @ items.T).ravel(), atol=1e-10)


@pytest.mark.parametrize("weighted_regularization", [False, 0.7, True])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_empty_rows_and_columns_count(
    variant, fit_intercept, weighted_regularization, data
):
    X, y = data
    users, items = X[:, 0] + 1 + (X[:, 0] > 6), X[:, 1] + 1 + (X[:, 1] > 4)
    shape = N_USERS + 3, N_ITEMS + 3  # empty: the first, the last, and one between
    matrix = sparse.csr_array((y, (users, items)), shape=shape)
    model = make(
        variant,
        unobserved_weight=0.3,
        fit_intercept=fit_intercept,
        weighted_regularization=weighted_regularization,
        clip=False,
    ).fit(matrix)
    empty_users, empty_items = [0, 8, shape[0] - 1], [0, 6, shape[1] - 1]
    assert_array_equal(np.flatnonzero(matrix.sum(axis=1) == 0), empty_users)
    assert_array_equal(np.flatnonzero(matrix.sum(axis=0) == 0), empty_items)
    pairs = np.column_stack([users, items])
    R, W = dense(model, pairs, y, shape=shape)
    total = len(y) + 0.3 * (W.size - len(y))
    assert_allclose(model.global_mean_, y.sum() / total if fit_intercept else 0.0)
    assert_allclose(model.loss_curve_[-1], objective_of(model, R, W), rtol=1e-10)
    users, items = rows_of(model)
    assert_allclose(items[empty_items], items[[0, 0, 0]], rtol=1e-6, atol=1e-9)
    assert_allclose(users[empty_users], users[[0, 0, 0]], rtol=1e-6, atol=1e-9)
    if fit_intercept and variant not in NON_NEGATIVE:
        assert abs(users[empty_users]).max() > 1e-3  # pulled from μ towards 0
    if variant in EXACT:
        _, lam, weighted, lam_b = terms_of(model)
        P, Q, _, losses = reference.als(
            R,
            W,
            first_users(model, pairs, shape[0]),
            lam=lam,
            weighted=weighted,
            lam_b=lam_b,
            mu=model.global_mean_,
            n_sweeps=4,
        )
        for rows, expected in zip(rows_of(model), (P, Q), strict=True):
            assert_allclose(rows, expected, rtol=1e-8, atol=1e-12)
        assert_allclose(model.loss_curve_, losses, rtol=1e-11)


@pytest.mark.parametrize("variant", VARIANTS)
def test_preferences_have_a_lower_end_only(variant, data):
    X, _ = data
    every_pair = np.array(list(np.ndindex(N_USERS, N_ITEMS)))
    options = {"fit_intercept": False, "regularization": 0.01, "max_iter": 20}
    for y, rating_range in (
        (np.ones(len(X)), (0, 1)),
        (np.full(len(X), -2.0), (-2, 0)),
    ):
        model = make(variant, unobserved_weight=1, **options).fit(X, y)
        assert model.rating_range_ == rating_range
        predictions = model.predict(every_pair)
        assert predictions.min() >= rating_range[0]
        if y[0] == 1 or variant not in NON_NEGATIVE:
            assert predictions.std() > 0.1
    model = make(variant, **options).fit(X, np.ones(len(X)))
    assert model.rating_range_ == (1, 1)
    assert_array_equal(model.predict(every_pair), 1)


# ---------------------------------------------------------------- the falling objective


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("with_weights", [False, True])
@pytest.mark.parametrize("unobserved_weight", [0, 0.5, 1])
@pytest.mark.parametrize("n_factors", [1, 7, 33])
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_objective_never_rises(
    variant, n_factors, unobserved_weight, with_weights, dtype, data, weights
):
    X, y = data
    w = weights if with_weights else None
    penalties = [with_weights] if unobserved_weight or with_weights else [False, True]
    for regularization, weighted in itertools.product([0, 1e-3, 0.1, 10], penalties):
        model = make(
            variant,
            n_factors=n_factors,
            unobserved_weight=unobserved_weight,
            regularization=regularization,
            weighted_regularization=weighted,
            max_iter=12,
        ).fit(X, y.astype(dtype), w)
        R, W = dense(model, X, y, w)
        size = abs(R - model.global_mean_)
        if dtype == np.float32 and regularization == 0 and isinstance(model, BiasedMF):
            # Without any penalty the terms that cancel are larger than the ratings.
            size += reference.scores(*map(abs, rows_of(model)), 0, biased=True)
        rounding = 10 * np.finfo(dtype).eps * (W * size**2).sum()
        loss = np.array(model.loss_curve_)
        assert (np.diff(loss) <= rounding).all()
        rtol = 1e-4 if dtype == np.float32 else 1e-9
        expected = objective_of(model, R, W)
        assert_allclose(loss[-1], expected, rtol=rtol, atol=100 * rounding)


# --------------------------------------------------------------------------- same bits


@pytest.fixture(scope="module")
def more_data():
    return make_ratings(200, 120, 6000, random_state=0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("unobserved_weight", [0, 0.5, 1])
@pytest.mark.parametrize("variant", VARIANTS)
def test_n_jobs_does_not_change_a_bit(
    variant, unobserved_weight, dtype, more_data, monkeypatch
):
    monkeypatch.setattr(als_solver, "BLOCK_WORK", 5e3)
    monkeypatch.setattr(als_solver, "SUM_ROWS", 16)
    X, y = more_data
    # With no weights and 1 all rows share one matrix.
    w = None if unobserved_weight == 1 else np.linspace(0.5, 2, len(y)).astype(dtype)
    n_blocks = []

    def spy(*args):
        n_blocks.append(len(cut_rows(*args)))
        return cut_rows(*args)

    cut_rows = als_solver.cut_rows
    monkeypatch.setattr(als_solver, "cut_rows", spy)
    alone, *others = (
        make(
            variant,
            n_factors=5,
            unobserved_weight=unobserved_weight,
            weighted_regularization=unobserved_weight != 0.5,
            n_jobs=n_jobs,
        ).fit(X, y.astype(dtype), w)
        for n_jobs in (1, 2, 4)
    )
    # more blocks than threads, but for rotations
    assert sum(n > 8 for n in n_blocks) == 3 * 4 * 2
    for model in others:
        assert_same_bits(model, alone)


@pytest.mark.parametrize("variant", EXACT)
def test_n_jobs_does_not_change_a_bit_of_singular_rows(variant, data, monkeypatch):
    # Without a penalty, many rows have fewer ratings than factors.
    monkeypatch.setattr(als_solver, "BLOCK_WORK", 1000.0)
    alone, *others = (
        make(variant, n_factors=20, regularization=0.0, n_jobs=n_jobs).fit(*data)
        for n_jobs in (1, 2, 4)
    )
    for model in others:
        assert_same_bits(model, alone)


# ----------------------------------------------------------------------- singular rows


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_singular_rows_get_the_solution_of_least_norm(dtype, data):
    X, y = data[0][:, ::-1], data[1]
    model = make("cholesky", n_factors=8, regularization=0, max_iter=1, clip=False)
    model.fit(X, y.astype(dtype))
    R, W = reference.dense(*X.T, y)
    P = first_users(model, X).astype(dtype).astype(float)
    Q = reference.solve_side(R.T, W.T, P, model.global_mean_, 0, weighted=True)
    counts = W.sum(axis=0)
    assert (counts < 8).any()  # else no item would be singular
    rtol = 1e-2 if dtype == np.float32 else 1e-8
    items = counts < 6  # well conditioned all the same
    assert_allclose(model.item_factors_[items], Q[items], rtol=rtol, atol=rtol)


@pytest.mark.parametrize("variant", EXACT)
def test_a_single_rating_without_penalty_is_met_by_the_shortest_row(variant):
    model = make(
        variant, n_factors=2, regularization=0, max_iter=1, fit_intercept=False
    )
    model.fit([[0, 0]], [3.0], sample_weight=[5.0])
    p = first_users(model, np.array([[0, 0]]))[0]
    if variant == "als":
        p[-1] = 1.0
    assert_allclose(rows_of(model)[1][0], 3.0 * p / (p @ p), rtol=1e-12)
    assert_allclose(model.predict([[0, 0]]), 3.0, rtol=1e-12)


def test_a_penalty_below_rounding_still_counts(data):
    X, y = data[0][:, ::-1], data[1]
    tiny = 1e-9
    model = make("cholesky", n_factors=12, regularization=tiny, max_iter=1, clip=False)
    model.fit(X, y.astype(np.float32))
    R, W = reference.dense(*X.T, y)
    P = first_users(model, X).astype(np.float32).astype(float)
    Q = reference.solve_side(R.T, W.T, P, model.global_mean_, tiny, weighted=True)
    items = W.sum(axis=0) < 8
    assert items.any()
    assert_allclose(model.item_factors_[items], Q[items], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("variant", EXACT)
def test_one_rating_an_item_without_penalty(variant, dtype):
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.permutation(60) % 20, np.arange(60)])
    y = rng.uniform(1, 5, 60).astype(dtype)
    model = make(variant, n_factors=4, regularization=0, max_iter=1)
    model.fit(X, y, rng.uniform(0.5, 2, 60))
    P = first_users(model, X).astype(dtype).astype(float)
    items = rows_of(model)[1]
    for u, i in X:
        row = P[u].copy()
        if variant == "als":
            row[-1] = 1
        expected = np.linalg.pinv(row[np.newaxis])[:, 0] * (y[i] - model.global_mean_)
        rtol = 1e-5 if dtype == np.float32 else 1e-9
        assert_allclose(items[i], expected, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("with_weights", [False, True])
@pytest.mark.parametrize("unobserved_weight", [1, 1.0, 0.3])
@pytest.mark.parametrize("variant", EXACT)
def test_more_factors_than_users_without_penalty(
    variant, unobserved_weight, with_weights, dtype, data, weights
):
    X, y = data[0][:, ::-1], data[1]
    w = weights if with_weights else None
    model = make(
        variant,
        n_factors=20,
        unobserved_weight=unobserved_weight,
        regularization=0,
        max_iter=1,
        init_scale=1.0,
    ).fit(X, y.astype(dtype), w)
    R, W = dense(model, X, y, w)
    P = first_users(model, X).astype(dtype).astype(float)
    mu, _, _, lam_b = terms_of(model)
    rtol = 1e-3 if dtype == np.float32 else 1e-8
    for i, row in enumerate(rows_of(model)[1]):
        design, r = P.copy(), R[:, i] - mu
        if lam_b is not None:
            r -= P[:, -1]
            design[:, -1] = 1
        expected = (
            np.linalg.pinv(design) @ r
        )  # every rating is met, whatever its weight
        assert_allclose(row, expected, rtol=rtol, atol=rtol)
    assert_allclose(model.loss_curve_[-1], 0, atol=rtol * (W * R**2).sum())


@pytest.mark.parametrize("unobserved_weight", [0, 1])
@pytest.mark.parametrize("variant", ["cg", "als-cg", *NON_NEGATIVE])
def test_other_rows_that_are_not_determined(variant, unobserved_weight, data):
    X, y = data
    model = make(
        variant,
        n_factors=20,
        regularization=0,
        unobserved_weight=unobserved_weight,
        max_iter=50,
    ).fit(X, y)
    assert all(np.isfinite(rows).all() for rows in rows_of(model))
    R, W = dense(model, X, y)
    size = (W * R**2).sum()
    expected = objective_of(model, R, W)
    assert_allclose(model.loss_curve_[-1], expected, atol=1e-12 * size)
    if variant not in NON_NEGATIVE:  # they can meet every rating
        assert model.loss_curve_[-1] < 1e-3 * size


@pytest.mark.parametrize(
    ("variant", "unobserved_weight"), [("cholesky", 0.3), ("als", 0), ("als-cg", 0.3)]
)
def test_an_item_with_a_million_ratings(variant, unobserved_weight):
    n_users = 10**6
    X = np.zeros((n_users + 2, 2), dtype=np.int64)
    X[:, 0] = [*range(n_users), 0, 1]
    X[-2:, 1] = 1
    model = make(
        variant,
        n_factors=4,
        regularization=0.1,
        max_iter=1,
        init_scale=1.0,
        unobserved_weight=unobserved_weight,
        cg_steps=5,  # as many as columns, which is exact
    )
    P = first_users(model, X).astype(np.float32)
    y = np.random.default_rng(0).normal(3, 1, n_users + 2).astype(np.float32)
    y[:-2] += P[:, :4] @ np.array([1, -0.5, 2, 0.1], np.float32)
    model.fit(X, y)
    assert all(np.isfinite(rows).all() for rows in rows_of(model))
    R, W = np.zeros((n_users, 2)), np.full((n_users, 2), float(unobserved_weight))
    R[tuple(X.T)], W[tuple(X.T)] = y, 1
    mu, lam, weighted, lam_b = terms_of(model)
    expected = solve_side(R.T, W.T, P.astype(float), mu, lam, weighted, lam_b)
    users, items = rows_of(model)
    assert_allclose(items, expected, rtol=1e-3, atol=1e-3 * abs(expected).max())
    some = [0, 1, *range(2, n_users, 12345)]  # but two have one rating each
    expected = solve_side(R[some], W[some], items, mu, lam, weighted, lam_b)
    assert_allclose(users[some], expected, rtol=1e-3, atol=1e-3 * abs(expected).max())


def solve_side(R, W, Q, mu, lam, weighted, lam_b):
    """Solve normal equations: quicker than the reference where there are many cells."""
    design, known = Q.copy(), mu
    if lam_b is not None:
        design[:, -1], known = 1, mu + Q[:, -1]
    c = W.sum(axis=1) ** float(weighted)
    penalty = reference.penalties(c, Q.shape[1], lam, lam_b)
    return np.array(
        [
            np.linalg.solve(
                (w * design.T) @ design + np.diag(own), (w * design.T) @ (r - known)
            )
            for r, w, own in zip(R, W, penalty, strict=True)
        ]
    )


# ------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("estimator", "params", "match"),
    [
        (
            ALSFactorizer,
            {"solver": "cg", "non_negative": True},
            "non_negative=True needs solver='cholesky', got solver='cg'",
        ),
        (
            BiasedMF,
            {"solver": "als-cg", "non_negative": True},
            "non_negative=True needs solver='als', got solver='als-cg'",
        ),
        (
            BiasedMF,
            {"solver": "sgd", "non_negative": True},
            "non_negative=True needs solver='als', got solver='sgd'",
        ),
        (
            BiasedMF,
            {"solver": "sgd", "unobserved_weight": 1},
            "unobserved_weight=1 needs solver='als' or 'als-cg', got solver='sgd'",
        ),
    ],
)
def test_what_a_solver_cannot_do_is_an_error(estimator, params, match, data):
    model = estimator(**params)
    with pytest.raises(ValueError, match=match):
        model.fit(*data)
    with pytest.raises(NotFittedError):
        model.predict(data[0])
    if params["solver"] == "sgd":
        with pytest.raises(ValueError, match=match):
            model.partial_fit(*data)


# -------------------------------------------------------------------------- warm start


@pytest.mark.parametrize("variant", EXACT)
def test_a_warm_start_begins_at_the_users_with_the_same_ids(variant, data):
    X, y = data
    options = {"warm_start": True, "clip": False, "regularization": 0.12}
    model = make(variant, **options).fit(X, y)
    known = dict(zip(model.users_.tolist(), rows_of(model)[0], strict=True))
    kept = (X[:, 1] != 4) & (X[:, 0] != 6)  # one of each goes, two others come
    X_new = np.vstack([X[kept], [[0, -7], [1, 99], [-3, 2], [77, 3]]])
    y_new = np.append(y[kept], [3.0, 4.0, 1.5, 5.0])
    model.set_params(max_iter=1).fit(X_new, y_new)
    users, user_codes = np.unique(X_new[:, 0], return_inverse=True)
    items, item_codes = np.unique(X_new[:, 1], return_inverse=True)
    assert_array_equal(model.users_, users)
    assert_array_equal(model.items_, items)
    codes = np.column_stack([user_codes, item_codes])
    start = first_users(model, codes)
    for row, user in enumerate(users.tolist()):
        start[row] = known.get(user, start[row])
    R, W = reference.dense(*codes.T, y_new)
    _, lam, weighted, lam_b = terms_of(model)
    *expected, _, losses = reference.als(
        R, W, start, lam=lam, weighted=weighted, lam_b=lam_b, n_sweeps=1
    )
    for rows, one in zip(rows_of(model), expected, strict=True):
        assert_allclose(rows, one, rtol=1e-9, atol=1e-12)
    assert_allclose(model.loss_curve_, losses, rtol=1e-11)


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        pair
        for pair in itertools.permutations(VARIANTS, 2)
        if VARIANTS[pair[0]][0] is VARIANTS[pair[1]][0]
    ],
)
def test_warm_start_with_another_solver(earlier, later, data):
    X, y = data
    model = make(earlier, max_iter=10, warm_start=True).fit(X, y)
    options = {"unobserved_weight": 0.1, "max_iter": 3, "warm_start": True}
    model.set_params(**make(later, **options).get_params()).fit(X, y)
    R, W = dense(model, X, y)
    assert_allclose(model.loss_curve_[-1], objective_of(model, R, W), rtol=1e-9)
    assert (np.diff(model.loss_curve_) < 0).all()
    if later in NON_NEGATIVE:
        assert min(model.user_factors_.min(), model.item_factors_.min()) >= 0


@pytest.mark.compiled
@pytest.mark.parametrize("make", [BayesianMF, ALSFactorizer])
def test_weights_and_features_compile_no_row_again(make):
    X, y = make_ratings(60, 40, 900, random_state=0)
    short = {"n_samples": 2, "burn_in": 0} if make is BayesianMF else {"max_iter": 2}
    kernels = [solve_rows, solve_short_rows, approach_rows]
    kernels += [sample_rows, sample_short_rows]
    more = [{}] if make is BayesianMF else [{}, {"solver": "cg", "n_factors": 40}]
    for options in more:
        make(**short | options).fit(X, y)
    before = [len(kernel.signatures) for kernel in kernels]
    assert sum(before) > 0
    for options in more:
        make(**short | options, user_features="rated").fit(X, y, np.ones(len(y)) / 2)
    assert [len(kernel.signatures) for kernel in kernels] == before
