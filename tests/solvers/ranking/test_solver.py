"""RankingFactorizer: each loss in plain NumPy, its gradient, and what is drawn."""

import functools

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import chisquare

from sklearn_mf import RankingFactorizer
from sklearn_mf._solvers.ranking import solver as ranking_solver
from sklearn_mf._solvers.ranking.kernels import RankingBatches, shuffle_rows
from sklearn_mf._solvers.ranking.solver import RankingDescent, item_probabilities
from sklearn_mf.datasets import make_ratings
from tests.assertions import assert_same_bits

KINDS = [
    ("softmax", "cosine"),
    ("softmax", "dot"),
    ("bpr", "cosine"),
    ("bpr", "dot"),
    ("warp", "cosine"),
    ("warp", "dot"),
    ("ccl", "cosine"),
]
each_kind = pytest.mark.parametrize(("loss", "similarity"), KINDS)
RATE = 0.3


@pytest.fixture(scope="module")
def data():
    X, y = make_ratings(14, 20, 120, random_state=0)
    return X, y, np.random.default_rng(1).uniform(0.5, 2, len(y))


@pytest.fixture
def noted(monkeypatch):
    """Return a list of the batches of each epoch, and one of the start."""
    epochs, start = [], []
    make = RankingDescent.__init__

    def note(learn, numbers, row_blocks, item_blocks, block_rows, cuts, *state):
        batches, _, model, *_ = state
        if numbers[0] == 0 == row_blocks[0] < row_blocks[1]:
            epochs.append(RankingBatches(*map(np.copy, batches)))
            if not start:
                start.extend(table.values.copy() for table in model)
        learn(numbers, row_blocks, item_blocks, block_rows, cuts, *state)

    def make_noting(solver, *args):
        make(solver, *args)
        solver.kernel = functools.partial(note, solver.kernel)

    monkeypatch.setattr(RankingDescent, "__init__", make_noting)
    return epochs, start


# ------------------------------------------------------- the mathematics in plain NumPy


def scores_of(theta, similarity):
    """Return s(u,i) of all pairs."""
    P, Q, b = theta
    if similarity == "dot":
        return P @ Q.T + b
    norms = [np.sqrt((rows * rows).sum(axis=1))[:, np.newaxis] for rows in (P, Q)]
    return (P / norms[0]) @ (Q / norms[1]).T


def loss_of(model, s, u, i, start, drawn, order, probabilities, seen):
    """Return ℓ(u,i) as it is written, for one interaction."""
    tau = model._temperature()
    z, n_draws = s[u] / tau, len(drawn)
    unseen = ~seen[u]
    J = [j for j in drawn if unseen[j]]
    if model.loss == "ccl":
        above = sum(max(0, s[u, j] - model.margin, key=np.real) for j in J)
        return 1 - s[u, i] + model.negative_weight * above / max(len(J), 1)
    if not J:
        return 0.0
    if model.loss == "softmax":
        others = sum(np.exp(z[j]) / (n_draws * probabilities[j]) for j in J)
        return -np.log(np.exp(z[i]) / (np.exp(z[i]) + others))
    if model.loss == "bpr":
        return sum(np.log(1 + np.exp(z[j] - z[i])) for j in J) / len(J)
    looked_at = [drawn[place] for place in np.roll(order, -start)]
    for t, j in enumerate((j for j in looked_at if unseen[j]), start=1):
        if np.real(z[j]) > np.real(z[i]) - 1:
            return np.log(1 + unseen.sum() // t) * (1 - z[i] + z[j])
    return 0.0


def batch_loss(theta, model, batches, number, probabilities, seen):
    """Return Σ w ℓ of a batch, and the same with its penalty."""
    s = scores_of(theta, model.similarity)
    total, penalty = 0.0, 0.0
    for row in range(batches.bounds[number], batches.bounds[number + 1]):
        u = batches.users[row]
        for m in range(batches.ends[row], batches.ends[row + 1]):
            i, w = batches.items[m], batches.weights[m]
            draws = batches.starts[m], batches.drawn[number], batches.order[number]
            total += w * loss_of(model, s, u, i, *draws, probabilities, seen)
            if model.similarity == "dot":
                squares = (theta[0][u] ** 2).sum() + (theta[1][i] ** 2).sum()
                penalty += w * model.regularization * squares
    return total, total + penalty


def gradient(function, theta):
    """Return the gradient of a function of arrays, by complex steps."""
    slopes = []
    for at, array in enumerate(theta):
        slope = np.zeros_like(array)
        for place in np.ndindex(array.shape):
            moved = [part.astype(complex) for part in theta]
            moved[at][place] += 1e-30j
            slope[place] = function(moved).imag / 1e-30
        slopes.append(slope)
    return slopes


@pytest.mark.compiled
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_draws", [1, 7, 40])
@each_kind
def test_steps_are_along_the_gradient_of_the_written_loss(
    loss, similarity, n_draws, weighted, data, noted
):
    X, y, weights = data
    model = RankingFactorizer(
        3,
        loss=loss,
        similarity=similarity,
        n_negatives=n_draws,
        popularity_exponent=0.5,
        margin=-0.1,
        regularization=0.2,
        optimizer="sgd",
        learning_rate=RATE,
        batch_size=4,
        max_iter=1,
        tol=None,
        init_scale=0.7,
        random_state=0,
    )
    if weighted:
        model.fit(X, y, sample_weight=weights)
        w = y * weights
    else:
        model.fit(X)
        w = np.ones(len(y))
    (batches,), (P, Q, b) = noted
    theta = [P[:, :3], Q[:, :3], b[:, 0]]
    seen = np.zeros((14, 20), bool)
    seen[X[:, 0], X[:, 1]] = True
    sums = np.bincount(X[:, 1], w)
    probabilities = sums**0.5 / (sums**0.5).sum()
    total = 0.0
    for number in range(len(batches.bounds) - 1):
        arguments = model, batches, number, probabilities, seen
        value, _ = batch_loss(theta, *arguments)
        total += value
        first, last = batches.ends[batches.bounds[number : number + 2]]
        slopes = gradient(lambda moved, a=arguments: batch_loss(moved, *a)[1], theta)
        theta = [
            part - RATE * slope / (last - first)
            for part, slope in zip(theta, slopes, strict=True)
        ]
        if similarity == "cosine":
            for rows in theta[:2]:
                rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    found = model.user_factors_, model.item_factors_, model.item_biases_
    for part, expected in zip(found, theta, strict=True):
        assert_allclose(part, expected, rtol=1e-8, atol=1e-10)
    assert not model.user_biases_.any()
    penalty = 0.0
    if similarity == "dot":
        P, Q, _ = found
        squares = (P**2).sum(axis=1)[X[:, 0]] + (Q**2).sum(axis=1)[X[:, 1]]
        penalty = 0.2 * np.average(squares, weights=w)
    assert_allclose(model.loss_curve_, [total / len(X) + penalty], rtol=1e-9)


@each_kind
def test_scores_that_are_far_apart(loss, similarity, data):
    """Their exponentials overflow; the loss does not."""
    X, *_ = data
    model = RankingFactorizer(
        3,
        loss=loss,
        similarity=similarity,
        temperature=1e-3,
        init_scale=3.0,
        learning_rate=1e-300,
        max_iter=1,
        tol=None,
        random_state=0,
    ).fit(X)
    assert np.isfinite(model.loss_curve_).all()
    if loss == "bpr":
        s = scores_of(
            (model.user_factors_, model.item_factors_, model.item_biases_), similarity
        )
        seen = np.zeros(s.shape, bool)
        seen[X[:, 0], X[:, 1]] = True
        losses = [
            np.logaddexp(0, (s[u, ~seen[u]] - s[u, i]) * 1000).mean() for u, i in X
        ]
        squares = (model.user_factors_[X[:, 0]] ** 2).sum(axis=1)
        squares += (model.item_factors_[X[:, 1]] ** 2).sum(axis=1)
        penalty = 0.01 * squares.mean() * (similarity == "dot")
        expected = np.mean(losses) + penalty  # over all items, not some that are drawn
        assert_allclose(model.loss_curve_[0], expected, rtol=0.1)


# ------------------------------------------------------------------ what an epoch holds


def make_solver(X, n_draws=10, exponent=0.0, seed=0, **params):
    """Return the solver of a fit that has not begun."""
    solvers = []

    class Kept(RankingFactorizer):
        def _make_solver(self, problem, previous):
            solvers.append(super()._make_solver(problem, previous))
            return solvers[0]

    Kept(
        3,
        n_negatives=n_draws,
        popularity_exponent=exponent,
        max_iter=1,
        tol=None,
        n_jobs=1,
        random_state=seed,
        **params,
    ).fit(X)
    return solvers[0]


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.0])
def test_items_are_drawn_with_the_stated_probability(exponent, data):
    X, *_ = data
    solver = make_solver(X, 7, exponent)
    draws = np.concatenate([solver._draw_items()[0].ravel() for _ in range(500)])
    powers = np.bincount(X[:, 1]) ** exponent
    expected = powers / powers.sum() * len(draws)
    assert chisquare(np.bincount(draws, minlength=20), expected).pvalue > 0.001
    # So are those with which a user has not interacted, among themselves.
    for user in range(14):
        unseen = np.setdiff1d(np.arange(20), X[X[:, 0] == user, 1])
        counts = np.bincount(draws[np.isin(draws, unseen)], minlength=20)[unseen]
        expected = powers[unseen] / powers[unseen].sum() * counts.sum()
        assert chisquare(counts, expected).pvalue > 0.0005


def test_as_many_draws_as_there_are_items_are_all_items(data):
    drawn, _ = make_solver(data[0], 1000)._draw_items()
    assert_array_equal(drawn, np.tile(np.arange(20), (len(drawn), 1)))


def test_drawn_items_and_their_order(data):
    solver = make_solver(data[0], 10, 0.5, loss="warp")
    drawn, order = solver._draw_items()
    assert_array_equal(drawn, np.sort(drawn, axis=1))
    assert_array_equal(np.sort(order, axis=1), np.tile(np.arange(10), (len(drawn), 1)))
    # At each place of the order all items come as often as they should.
    epochs = [solver._draw_items() for _ in range(200)]
    expected = np.bincount(data[0][:, 1]) ** 0.5
    for place in (0, 9):
        items = np.concatenate(
            [drawn[np.arange(len(drawn)), order[:, place]] for drawn, order in epochs]
        )
        expected *= len(items) / expected.sum()
        assert chisquare(np.bincount(items, minlength=20), expected).pvalue > 0.001


def test_probabilities():
    weights = np.array([4.0, 0.0, 1.0, 9.0])
    assert_allclose(item_probabilities(weights, 0.0), [0.25] * 4)
    assert_allclose(item_probabilities(weights, 1.0), weights / 14)
    assert_allclose(item_probabilities(1e300 * weights, 0.5), [2 / 6, 0, 1 / 6, 3 / 6])


@pytest.mark.parametrize("n_pairs", [2, 5])
def test_each_order_of_a_user_is_as_likely(n_pairs):
    rng = np.random.default_rng(0)
    indptr = np.array([0, 2, 2, 2 + n_pairs])
    order = np.full(2 + n_pairs, -1)
    counts = np.zeros((n_pairs, n_pairs))
    for _ in range(2000):
        words = rng.integers(2**32, size=len(order), dtype=np.uint32)
        shuffle_rows(1, 3, indptr, words, order)
        assert_array_equal(order[:2], -1)  # those of another user
        assert_array_equal(np.sort(order[2:]), np.arange(2, 2 + n_pairs))
        counts[np.arange(n_pairs), order[2:] - 2] += 1
    assert chisquare(counts.ravel()).pvalue > 0.001


@pytest.mark.parametrize("batch_size", [1, 3, 10, 1000, "auto"])
def test_an_epoch_holds_each_interaction_once(batch_size, noted):
    rng = np.random.default_rng(0)
    users = np.append(rng.zipf(1.5, 800) % 40, np.zeros(300, int))
    X = np.unique(np.column_stack([users, rng.integers(300, size=1100)]), axis=0)
    weights = rng.integers(1, 5, len(X)).astype(float)
    model = RankingFactorizer(
        2, batch_size=batch_size, n_negatives=10, max_iter=3, tol=None, random_state=0
    ).fit(X, weights)
    epochs, _ = noted
    assert len(epochs) == 3
    held = []
    for batches in epochs:
        sizes = np.diff(batches.ends)
        assert sizes.min() > 0
        rows = np.repeat(batches.users, sizes)
        order = np.lexsort((batches.items, rows))
        pairs = np.column_stack([model.users_[rows], model.items_[batches.items]])
        assert_array_equal(pairs[order], X)
        assert_allclose(batches.weights[order], weights / weights.mean())
        n_batches = len(batches.bounds) - 1
        for first, last in zip(batches.bounds, batches.bounds[1:], strict=False):
            assert len(set(batches.users[first:last])) == last - first
        if batch_size != "auto":
            assert np.diff(batches.bounds).max() <= batch_size
        if n_batches > 20:
            assert sizes.max() <= 16
        assert batches.starts.min() >= 0
        assert batches.starts.max() < 10
        held.append(pairs.tobytes())
    assert len(set(held)) == 3  # in another order each time


# ---------------------------------------------------------------------------- the bits


@pytest.mark.compiled
@each_kind
def test_the_number_of_threads_does_not_change_a_bit(loss, similarity):
    X, y = make_ratings(500, 300, 20_000, random_state=0)
    fits = [
        RankingFactorizer(
            n_factors,
            loss=loss,
            similarity=similarity,
            max_iter=2,
            tol=None,
            n_jobs=n_jobs,
            random_state=0,
        ).fit(X, y.astype(np.float32))
        for n_factors in (20,)
        for n_jobs in (1, 2, 3)
    ]
    assert_same_bits(fits[1], fits[0])
    assert_same_bits(fits[2], fits[0])


def test_a_batch_in_blocks_learns_the_same_as_in_one(data, monkeypatch):
    X, y, _ = data
    params = {"batch_size": 14, "n_jobs": 1, "max_iter": 3, "tol": None}
    whole = RankingFactorizer(5, random_state=0, **params).fit(X, y)
    monkeypatch.setattr(ranking_solver, "BLOCK_WORK", 1)
    assert make_solver(X, batch_size=14).n_blocks > 1
    parts = RankingFactorizer(5, random_state=0, **params).fit(X, y)
    assert_same_bits(parts, whole)


def test_a_user_who_interacted_with_everything(data):
    X = np.column_stack([np.repeat([0, 1], [4, 2]), [0, 1, 2, 3, 0, 1]])
    for loss, similarity in KINDS:
        model = RankingFactorizer(
            2, loss=loss, similarity=similarity, max_iter=20, tol=None, random_state=0
        ).fit(X)
        assert np.isfinite(model.predict(X)).all()
        assert model.score(X) > 0.7


def test_solver_of_the_estimator():
    assert isinstance(make_solver([[0, 0], [1, 1]]), RankingDescent)
