"""RankingFactorizer: what y means, its score, and planted groups."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse

from sklearn_mf import RankingFactorizer
from sklearn_mf._data.ratings import hold_out
from sklearn_mf.datasets import make_ratings
from tests.assertions import assert_same_bits, left_as_it_was

QUICK = {"n_factors": 3, "max_iter": 3, "tol": None, "random_state": 0}
HEADER = ("n_features_in_",)


def ranking(**params):
    return RankingFactorizer(**{**QUICK, **params})


@pytest.fixture(scope="module")
def data():
    X, _ = make_ratings(20, 15, 130, random_state=0)
    counts = np.random.default_rng(0).integers(1, 5, len(X)).astype(float)
    return X, counts


# -------------------------------------------------------------------------- confidence


def test_no_y_is_ones(data):
    X, _ = data
    assert_same_bits(ranking().fit(X), ranking().fit(X, np.ones(len(X))))


def test_confidences_are_weights(data):
    X, counts = data
    fitted = ranking().fit(X, counts)
    assert_same_bits(ranking().fit(X, sample_weight=counts), fitted)
    assert_same_bits(ranking().fit(X, counts, sample_weight=np.ones(len(X))), fitted)
    assert_same_bits(ranking().fit(X, 4 * counts), fitted)  # they have no unit
    plain = ranking().fit(X)
    assert abs(plain.predict(X) - fitted.predict(X)).max() > 1e-6


def test_repeated_interactions_are_one_of_the_sum(data):
    X, counts = data
    rows = np.repeat(np.arange(len(X)), counts.astype(int))
    fitted = ranking().fit(X, counts)
    assert_same_bits(ranking().fit(X[rows]), fitted)
    halves = ranking().fit(np.vstack([X, X]), np.append(counts / 4, 3 * counts / 4))
    assert_same_bits(halves, fitted)


def test_interactions_of_confidence_0_are_not_there(data):
    X, counts = data
    counts = np.where(X[:, 0] == 3, 0, counts)
    kept = counts > 0
    fitted = ranking().fit(X, counts)
    assert 3 not in fitted.users_
    assert_same_bits(fitted, ranking().fit(X[kept], counts[kept]))


def test_a_matrix_holds_confidences(data):
    X, counts = data
    counts = np.where(np.arange(len(X)) % 9 == 0, 0, counts)
    R = sparse.coo_array((counts, X.T))
    expected = ranking().fit(X, counts)
    assert_same_bits(ranking().fit(R), expected, but=HEADER)


@pytest.mark.parametrize(
    ("y", "match"),
    [
        (-1.0, "y holds the confidence of each interaction, 0 or more, got -1"),
        (0.0, "the confidence of every interaction is 0"),
        (1e308, "the sum of the confidences, times sample_weight, overflows"),
        (np.nan, "contains NaN"),
    ],
)
def test_confidences_that_have_no_meaning(y, match, data):
    X, _ = data
    fitted = ranking().fit(X)
    for args in ((X, np.full(len(X), y)), (sparse.coo_array((np.full(130, y), X.T)),)):
        with left_as_it_was(fitted), pytest.raises(ValueError, match=match):
            fitted.fit(*args)
    with pytest.raises(ValueError, match=match):
        fitted.score(X, np.full(len(X), y))


def test_the_contrastive_loss_compares_cosines(data):
    match = r"similarity='dot' does not go with loss='ccl'.*similarity='cosine'"
    with pytest.raises(ValueError, match=match):
        ranking(loss="ccl", similarity="dot").fit(data[0])


# ------------------------------------------------------------------------------- score


def mean_reciprocal_rank(model, X, weights, seen):
    """Rank each item among those of which the user has nothing in `seen` or X."""
    values = []
    known = model.items_.tolist()
    for user, item in X.tolist():
        met = {i for u, i in [*seen.tolist(), *X.tolist()] if u == user}
        if item not in known:
            values.append(0.0)
            continue
        others = [i for i in known if i not in met]
        own, *scores = model.predict([(user, i) for i in [item, *others]])
        n_equal = sum(score == own for score in scores)
        values.append(1 / (1 + sum(score > own for score in scores) + n_equal / 2))
    return np.average(values, weights=weights)


@pytest.mark.filterwarnings("ignore::sklearn_mf.ColdStartWarning")
@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_score_is_the_mean_reciprocal_rank(similarity, data):
    X, counts = data
    train, test = X[::2], np.vstack([X[1::2], [[99, 3], [2, 99]]])
    weights = np.append(counts[1::2], [2, 3])
    model = ranking(similarity=similarity).fit(train)
    expected = mean_reciprocal_rank(model, test, None, train)
    assert_allclose(model.score(test), expected, rtol=1e-12)
    assert_allclose(model.score(test, np.ones(len(test))), expected, rtol=1e-12)
    expected = mean_reciprocal_rank(model, test, weights, train)
    assert_allclose(model.score(test, weights), expected, rtol=1e-12)
    found = model.score(test, sample_weight=weights)
    assert_allclose(found, expected, rtol=1e-12)
    # What fit has seen is ranked as well.
    expected = mean_reciprocal_rank(model, train, None, train)
    assert_allclose(model.score(train), expected, rtol=1e-12)


def test_validation_scores_are_those_of_held_out_interactions(data):
    X, counts = data
    model = ranking(early_stopping=True, validation_fraction=0.3, max_iter=1)
    held = []

    class Kept(RankingFactorizer):
        def _hold_out(self, ratings, rng):
            parts = hold_out(ratings, self.validation_fraction, rng)
            held.append(parts[1])
            return parts

    model = Kept(**model.get_params()).fit(X, counts)
    (pairs,) = held
    table = np.column_stack([model.users_[pairs.users], model.items_[pairs.items]])
    expected = mean_reciprocal_rank(model, table, pairs.weights, X)
    assert_allclose(model.validation_scores_, [expected], rtol=1e-12)


# ----------------------------------------------------------------------- what it finds


@pytest.mark.compiled
@pytest.mark.parametrize("loss", ["softmax", "bpr", "warp", "ccl"])
def test_planted_groups_are_found(loss):
    rng = np.random.default_rng(0)
    users = rng.integers(100, size=1500)
    X = np.column_stack([users, users % 5 + 5 * rng.integers(20, size=1500)])
    X = np.unique(X, axis=0)
    test = np.arange(len(X)) % 5 == 0
    model = RankingFactorizer(16, loss=loss, max_iter=40, tol=None, random_state=0)
    model.fit(X[~test])
    assert model.score(X[test]) > 0.2  # chance: about 0.05
    items, _ = model.similar_items(model.items_[:5], 4)
    same = items.filled(-1) % 5 == model.items_[:5, np.newaxis] % 5
    assert same.mean() > 0.7


def test_cosines(data):
    X, _ = data
    model = ranking().fit(X)
    for rows in (model.user_factors_, model.item_factors_):
        assert_allclose(np.linalg.norm(rows, axis=1), 1)
    assert not model.item_biases_.any()
    assert abs(model.predict(X)).max() <= 1 + 1e-12
    assert ranking(similarity="dot").fit(X).item_biases_.all()


def test_popularity_decides_what_is_pushed_down(data):
    X, _ = data
    users, items = np.meshgrid(np.arange(40), np.arange(3), indexing="ij")
    X = np.column_stack([users.ravel(), items.ravel()])
    X = np.vstack([X[X[:, 0] % 4 > X[:, 1]], [[40 + k, 3 + k] for k in range(10)]])
    biases = [
        RankingFactorizer(
            2,
            similarity="dot",
            loss="bpr",
            n_negatives=3,
            popularity_exponent=exponent,
            max_iter=30,
            tol=None,
            random_state=0,
        )
        .fit(X)
        .item_biases_
        for exponent in (0.0, 3.0)
    ]
    # Items that are hardly ever drawn keep their biases.
    assert biases[0][3:].mean() < biases[1][3:].mean()


def test_items_without_interactions_are_pushed_down():
    R = np.zeros((30, 6))
    R[:, :5] = np.random.default_rng(0).random((30, 5)) < 0.6
    model = RankingFactorizer(4, similarity="dot", random_state=0, max_iter=60)
    model.set_params(tol=None).fit(sparse.csr_array(R))
    assert model.item_biases_.argmin() == 5
