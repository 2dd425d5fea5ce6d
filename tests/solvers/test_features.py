"""Features in the objective: regression of rows on them, and whole fits with them."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse

from sklearn_mf import ALSFactorizer, BiasedMF, SGDFactorizer
from sklearn_mf._data.features import Design, SparseBlock
from sklearn_mf._data.labels import as_objects
from sklearn_mf._objective.penalty import Penalty
from sklearn_mf._runtime.threads import thread_pool
from sklearn_mf._solvers import features as feature_solver
from sklearn_mf._solvers.als import solver as als_solver
from sklearn_mf._solvers.als.kernels import pad
from sklearn_mf._solvers.features import FeaturePrior, add_up_rows
from tests import reference
from tests.solvers.als.helpers import rows_of
from tests.solvers.sgd.helpers import WHOLE, to_shares
from tests.strategies import sparse_table

N_USERS, N_ITEMS = 25, 15
ALSO = {"n_factors": 3, "tol": None, "random_state": 0, "clip": False}
VARIANTS = {
    "cholesky": (ALSFactorizer, {}),
    "cg": (ALSFactorizer, {"solver": "cg", "cg_steps": 2}),
    "non_negative": (ALSFactorizer, {"non_negative": True}),
    "als": (BiasedMF, {"solver": "als"}),
    "als-cg": (BiasedMF, {"solver": "als-cg", "cg_steps": 2}),
    "sgd": (SGDFactorizer, {}),
    "biased sgd": (BiasedMF, {"solver": "sgd"}),
}
ALTERNATING = [name for name in VARIANTS if "sgd" not in name]
SMOOTH = [name for name in ALTERNATING if name != "non_negative"]


@pytest.fixture(autouse=True)
def all_rows_are_approached(request, monkeypatch):
    """Approach rows of any size by conjugate gradient, in variants that have it."""
    if "cg" in request.node.name:
        monkeypatch.setattr(als_solver, "FEW_EQUATIONS", (0, 0))
        monkeypatch.setattr(als_solver, "EIGEN_WORK", -1e9)


@pytest.fixture(scope="module")
def given():
    """Return raw features of users and of items."""
    rng = np.random.default_rng(5)
    users = rng.normal(size=(N_USERS, 3)) * [1, 20, 0.3] + [4, 0, 0]
    return users, rng.normal([0, 7], size=(N_ITEMS, 2))


def make(variant, **params):
    estimator, own = VARIANTS[variant]
    if estimator is BiasedMF:
        params = {"bias_regularization": 0.06} | params
    else:
        params = {k: v for k, v in params.items() if k != "bias_regularization"}
    return estimator(**ALSO | {"regularization": 0.12} | own | params)


def features_of(model, X, given, known, kind):
    """Return the features X of each side, and the fitted weights G of them.

    `kind` and `known` are those of `parameters_of`.
    """
    observed = np.zeros((N_USERS, N_ITEMS), dtype=bool)
    observed[tuple(X.T)] = True
    found = []
    sides = ("user", "item"), given, known, (observed, observed.T)
    for side, table, mask, rated in zip(*sides, strict=True):
        parts = []
        if hasattr(model, f"{side}_feature_weights_"):
            dense = kind != "both kinds" or side == "user"
            design, centers, scales = reference.standardise(table, mask, dense)
            found_centers = getattr(model, f"{side}_feature_centers_")
            assert_allclose(found_centers, centers, rtol=1e-5, atol=1e-5)
            G = weights_of(model, f"{side}_feature", "weights")
            parts.append((design, G * scales[:, np.newaxis]))
        if hasattr(model, f"{side}_rated_factors_"):
            design = reference.pattern(rated)
            parts.append((design, weights_of(model, f"{side}_rated", "factors")))
        designs, weights = zip(*parts, strict=True) if parts else ((), ())
        whole = (np.hstack(designs), np.vstack(weights)) if parts else None
        found.append(whole)
    return tuple(found)


def weights_of(model, prefix, kind):
    columns = [getattr(model, f"{prefix}_{kind}_")]
    if isinstance(model, BiasedMF):
        columns.append(getattr(model, f"{prefix}_biases_"))
    return np.column_stack(columns).astype(float)


def terms_of(model):
    lam_b = getattr(model, "bias_regularization", None)
    return (
        model.global_mean_,
        model.regularization,
        model.weighted_regularization,
        lam_b,
    )


def objective_of(model, R, W, features, of=reference.objective):
    phi = model.feature_regularization
    return of(R, W, *rows_of(model), *terms_of(model), features=features, phi=phi)


def parameters_of(kind, given):
    """Return the parameters of a kind of features, and masks of ids that have some."""
    users, items = given
    known = np.ones(N_USERS, dtype=bool), np.ones(N_ITEMS, dtype=bool)
    if kind == "rated":
        return {"user_features": "rated", "item_features": "rated"}, known
    known[0][[3, 8]] = known[1][[0]] = False
    item_features = np.flatnonzero(known[1]), items[known[1]]
    if kind == "items":
        return {"item_features": item_features}, known
    user_features = np.flatnonzero(known[0]), users[known[0]]
    if kind == "both kinds":
        user_features = ["rated", user_features]
        item_features = item_features[0], sparse.csr_array(item_features[1])
    return {"user_features": user_features, "item_features": item_features}, known


# --------------------------------------------------------------------------- objective


@pytest.mark.parametrize(
    ("unobserved_weight", "weighted_regularization"),
    [(0, True), (0.3, False), (0, 0.7), (0.3, True)],
)
@pytest.mark.parametrize("kind", ["users and items", "both kinds"])
@pytest.mark.parametrize("variant", ALTERNATING)
def test_the_written_objective(
    variant, kind, unobserved_weight, weighted_regularization, data, weights, given
):
    X, y = data
    params, known = parameters_of(kind, given)
    model = make(
        variant,
        unobserved_weight=unobserved_weight,
        weighted_regularization=weighted_regularization,
        feature_regularization=0.7,
        **params,
    )
    R, W = reference.dense(*X.T, y, weights, unobserved_weight)
    for dtype, max_iter, rtol in ((float, 1, 1e-10), (float, 6, 1e-10),
                                  (np.float32, 6, 1e-4)):  # fmt: skip
        model.set_params(max_iter=max_iter).fit(X, y.astype(dtype), weights)
        features = features_of(model, X, given, known, kind)
        assert any(abs(G).max() > 1e-4 for _, G in filter(None, features))
        expected = objective_of(model, R, W, features)
        assert_allclose(model.loss_curve_[-1], expected, rtol=rtol)
        slack = 10 * np.finfo(dtype).eps * model.loss_curve_[0]
        assert (np.diff(model.loss_curve_) <= slack).all()


@pytest.mark.parametrize(("unobserved_weight", "few"), [(0, 1000), (0.3, 0)])
@pytest.mark.parametrize("kind", ["items", "both kinds"])
@pytest.mark.parametrize("variant", SMOOTH)
def test_the_gradient_vanishes(
    variant, kind, unobserved_weight, few, data, weights, given, monkeypatch
):
    monkeypatch.setattr(feature_solver, "FEW", few)
    X, y = data
    params, known = parameters_of(kind, given)
    model = make(
        variant,
        unobserved_weight=unobserved_weight,
        weighted_regularization=0.7,
        regularization=0.3,
        bias_regularization=0.4,
        feature_regularization=0.7,
        max_iter=2500,
        tol=1e-13,
        init_scale=0.3,
        **params,
    ).fit(X, y, weights)
    R, W = reference.dense(*X.T, y, weights, unobserved_weight)
    features = features_of(model, X, given, known, kind)
    assert min(abs(G).max() for _, G in filter(None, features)) > 1e-3
    found = objective_of(model, R, W, features, of=reference.gradients)
    assert len(found) == 2 + sum(one is not None for one in features)
    assert all(abs(gradient).max() < 5e-3 for gradient in found)


@pytest.mark.parametrize("log_loss", [False, True])
@pytest.mark.parametrize("variant", ["sgd", "biased sgd"])
def test_steps_of_all_ratings_end_where_the_gradient_vanishes(
    variant, log_loss, data, weights, given
):
    X, y = data
    kind = "both kinds"
    params, known = parameters_of(kind, given)
    model = make(
        variant,
        loss="log_loss" if log_loss else "squared_error",
        optimizer="sgd",
        momentum=0.95,
        learning_rate=1.0,
        batch_size=WHOLE,
        regularization=0.05 if log_loss else 0.2,
        feature_regularization=0.7,
        max_iter=3000,
        init_scale=0.3,
        **params,
    )
    r = to_shares(y) if log_loss else y
    model.fit(X, r, weights)
    R, W = reference.dense(*X.T, r, weights)
    features = features_of(model, X, given, known, kind)
    phi, terms = model.feature_regularization, list(terms_of(model))
    if log_loss:
        terms[0] = np.log(terms[0] / (1 - terms[0]))
    options = {"features": features, "phi": phi, "logistic": log_loss}
    expected = reference.objective(R, W, *rows_of(model), *terms, **options)
    assert_allclose(model.loss_curve_[-1], expected, rtol=1e-6)
    assert min(abs(G).max() for _, G in features) > 1e-3
    found = reference.gradients(R, W, *rows_of(model), *terms, **options)
    assert all(abs(gradient).max() < 1e-3 for gradient in found)


@pytest.mark.parametrize("variant", VARIANTS)
def test_features_that_say_nothing_change_nothing(variant, data, weights):
    X, y = data
    without = make(variant, max_iter=5).fit(X, y, weights)
    params = {
        "user_features": (np.arange(N_USERS), np.full((N_USERS, 2), 0.3)),
        "item_features": (np.arange(N_ITEMS), sparse.csr_array((N_ITEMS, 3))),
    }
    model = make(variant, max_iter=5, **params).fit(X, y, weights)
    assert_allclose(model.loss_curve_, without.loss_curve_, rtol=1e-11)
    assert_allclose(model.predict(X), without.predict(X), rtol=1e-9)


# -------------------------------------------------------------------------- regression


def make_rows(n_rows, n_features, density=None, seed=0):
    """Return features, counts of which some are 0, and rows of parameters."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows, n_features)) / np.sqrt(n_features)
    if density:
        X[rng.random(X.shape) > density] = 0
    counts = rng.integers(0, 5, n_rows).astype(float)
    return X, counts, rng.normal(size=(n_rows, 4))


def design_of(*blocks):
    """Return a design of one or two blocks, each dense or sparse."""
    given, rated = (*map(make_block, blocks), None)[:2]
    nothing = np.zeros(0)
    return Design(given, as_objects([]), nothing, nothing, rated)


def make_block(X):
    if not sparse.issparse(X):
        return X
    return SparseBlock.of(X.tocsr(), X.mean(axis=0), np.ones(X.shape[0]))


def centre(X):
    return X - X.mean(axis=0)


def learn(design, X, counts, rows, n_times, dtype):
    """Return the weights that are learnt from rows, one after the other."""
    begun = [np.zeros((block.shape[1], 4)) for block in design.blocks]
    penalty = Penalty(0.3, 0.1, biased=True, features=0.6)
    with thread_pool(1) as run:
        prior = FeaturePrior(design, begun, counts, penalty, run, dtype)
        for _ in range(n_times):
            prior.learn(pad(rows.astype(dtype)))
    weights = np.vstack(prior.weights())
    assert weights.dtype == dtype
    rtol = 1e-3 if dtype == np.float32 else 1e-9
    assert_allclose(prior.means[:, :4], X @ weights, rtol=rtol, atol=rtol)
    return weights


def ridge_regression(X, counts, rows, phi=0.6):
    ridge = phi * (counts**2).sum() / counts.sum()
    A = (X.T * counts) @ X + ridge * np.eye(X.shape[1])
    return np.linalg.solve(A, (X.T * counts) @ rows)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize(("few", "n_times"), [(1000, 1), (0, 300)])
def test_learnt_weights_are_those_of_ridge_regression(
    few, n_times, kind, dtype, monkeypatch
):
    monkeypatch.setattr(feature_solver, "FEW", few)
    X, counts, rows = make_rows(60, 20, density=None if kind == "dense" else 0.3)
    design = design_of(X)
    if kind == "sparse":
        design, X = design_of(sparse.csr_array(X)), centre(X)
    found = learn(design, X, counts, rows, n_times, dtype)
    expected = ridge_regression(X, counts, rows)
    rtol = 1e-3 if dtype == np.float32 else 1e-8
    assert_allclose(found, expected, rtol=rtol, atol=rtol)


def test_more_features_than_are_diagonalised():
    X, counts, rows = make_rows(60, feature_solver.FEW + 1)
    found = learn(design_of(X), X, counts, rows, 100, np.float64)
    expected = ridge_regression(X, counts, rows)
    assert_allclose(found, expected, rtol=1e-8, atol=1e-8)


def test_blocks_together_are_one_regression():
    (X, counts, rows), (more, *_) = make_rows(60, 6), make_rows(60, 9, 0.3, seed=1)
    both = np.hstack([X, centre(more)])
    found = learn(
        design_of(X, sparse.csr_array(more)), both, counts, rows, 200, np.float64
    )
    expected = ridge_regression(both, counts, rows)
    assert_allclose(found, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_add_up_rows(dtype):
    rng = np.random.default_rng(0)
    matrix = sparse_table((40, 30), 0.2, rng)
    kept = np.ones(40)
    kept[[0, 7, 39]] = 0
    matrix = sparse.csr_array(matrix * kept[:, np.newaxis])
    matrix.eliminate_zeros()
    table = pad(rng.normal(size=(30, 11)).astype(dtype))
    sums = np.full((40, table.shape[1]), np.nan, dtype)
    given = matrix.indptr, matrix.indices, matrix.data.astype(dtype), table, sums
    add_up_rows(5, 40, *given)
    assert np.isnan(sums[:5]).all()
    add_up_rows(0, 5, *given)
    rtol = 1e-5 if dtype == np.float32 else 1e-13
    assert_allclose(sums, matrix.toarray() @ table, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("variant", ["cholesky", "als-cg", "biased sgd"])
def test_n_jobs_does_not_change_a_bit(variant, data, given, monkeypatch):
    monkeypatch.setattr(feature_solver, "SUM_WORK", 20)
    X, y = data
    rng = np.random.default_rng(0)
    matrix = sparse_table((N_USERS, 1500), 0.02, rng)
    params = {
        "user_features": ["rated", (np.arange(N_USERS), matrix)],
        "item_features": (np.arange(N_ITEMS), given[1]),
        "max_iter": 3,
    }
    alone, other = (make(variant, n_jobs=n, **params).fit(X, y) for n in (1, 3))
    for name in ("user_factors_", "item_factors_", "user_feature_weights_"):
        assert getattr(alone, name).tobytes() == getattr(other, name).tobytes()
