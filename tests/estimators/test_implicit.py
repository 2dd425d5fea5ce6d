"""Implicit feedback: counts as y are what one writes by hand with four options."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.model_selection import GridSearchCV

from sklearn_mf import ALSFactorizer, BiasedMF, load
from sklearn_mf.datasets import make_ratings
from sklearn_mf.metrics import make_ranking_scorer
from sklearn_mf.model_selection import RatingKFold
from tests.assertions import assert_same_bits, left_as_it_was

QUICK = {"n_factors": 3, "max_iter": 4, "tol": None, "random_state": 0}
BY_HAND = {"unobserved_weight": 1, "fit_intercept": False}
ESTIMATORS = [
    (ALSFactorizer, {}),
    (ALSFactorizer, {"solver": "cg"}),
    (ALSFactorizer, {"non_negative": True}),
    (BiasedMF, {"solver": "als"}),
    (BiasedMF, {"solver": "als-cg"}),
]


def learnt(model):
    """Return what is learnt, but not the numbers that only one way has."""
    names = vars(model).keys() - model.get_params().keys() - {"alpha_"}
    return {name: getattr(model, name) for name in names if name.endswith("_")}


@pytest.fixture
def counts(data):
    X, y = data
    return X, np.round(y**2)


@pytest.mark.compiled
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("confidence", ["linear", "log"])
@pytest.mark.parametrize("alpha", [0, 1.5, 40])
@pytest.mark.parametrize(("estimator", "options"), ESTIMATORS)
def test_equal_to_the_long_way_to_the_bit(
    estimator, options, alpha, confidence, dtype, counts
):
    X, r = counts
    r = r.astype(dtype)
    model = estimator(
        feedback="implicit", alpha=alpha, confidence=confidence, **options, **QUICK
    ).fit(X, r)
    evidence = r.astype(np.float64)
    evidence = evidence if confidence == "linear" else np.log1p(evidence)
    by_hand = estimator(**BY_HAND, **options, **QUICK).fit(
        X, np.ones_like(r), 1 + alpha * evidence
    )
    assert model.alpha_ == alpha
    assert_same_bits(learnt(model), learnt(by_hand))
    assert_array_equal(model.predict(X), by_hand.predict(X))
    more = np.array([[77, item] for item in np.unique(X[:, 1])[:2]])
    model.fold_in_users(more, np.array([2.0, 5.0], dtype))
    evidence = np.array([2.0, 5.0])
    evidence = evidence if confidence == "linear" else np.log1p(evidence)
    by_hand.fold_in_users(more, np.ones(2, dtype), 1 + alpha * evidence)
    assert_same_bits(learnt(model), learnt(by_hand))


@pytest.mark.parametrize(("estimator", "options"), ESTIMATORS)
def test_every_way_to_give_the_counts(estimator, options, counts, path):
    X, r = counts
    options = {"feedback": "implicit", "alpha": 2.0, **options, **QUICK}
    expected = estimator(**options).fit(X, r)
    # The rows of a log, one for each time; the same with weights; and a matrix.
    times = np.repeat(X, r.astype(int), axis=0)
    matrix = sparse.csr_array((r, X.T), shape=X.max(axis=0) + 1)
    for model in (
        estimator(**options).fit(times),
        estimator(**options).fit(times, np.ones(len(times))),
        estimator(**options).fit(X, np.ones(len(X)), r),
        estimator(**options).fit(matrix),
    ):
        assert_same_bits(learnt_of(model), learnt_of(expected))
    expected.save(path)
    assert_same_bits(learnt(load(path)), learnt(expected))


def learnt_of(model):
    """Return what is learnt, but not what the form of X decides."""
    of_form = {"n_features_in_"}
    return {k: v for k, v in learnt(model).items() if k not in of_form}


@pytest.mark.parametrize(("estimator", "options"), ESTIMATORS)
def test_a_count_of_zero_is_a_pair_without_one(estimator, options, counts):
    X, r = counts
    model = estimator(feedback="implicit", **options, **QUICK)
    # Of a user and an item that have other counts, since ids are those of the rows.
    pairs = np.setdiff1d(
        np.ravel_multi_index(np.indices((25, 15)).reshape(2, -1), (25, 15)),
        X @ [15, 1],
    )[:40]
    zeros = np.column_stack(np.unravel_index(pairs, (25, 15)))
    zeros = zeros[np.isin(zeros[:, 0], X[:, 0]) & np.isin(zeros[:, 1], X[:, 1])]
    assert len(zeros) > 20
    expected = model.set_params(alpha=3.0).fit(X, r).predict(X)
    model.fit(np.vstack([X, zeros]), np.append(r, np.zeros(len(zeros))))
    assert_allclose(model.predict(X), expected, rtol=1e-9)


def test_the_scale_of_alpha(counts):
    few, y = make_ratings(100, 80, 150, random_state=0)
    n_pairs = np.prod([len(np.unique(ids)) for ids in few.T])
    many, r = counts  # more than a seventh of all pairs have a count
    for confidence, evidence in (("linear", np.float64), ("log", np.log1p)):
        model = ALSFactorizer(feedback="implicit", confidence=confidence, **QUICK)
        model.fit(few, y)
        weight = (1 + model.alpha_ * evidence(y)).sum()
        assert_allclose(6 * weight, n_pairs - len(y))
        model.fit(many, r)
        assert_allclose((1 + model.alpha_ * evidence(r)).mean(), 2)


@pytest.mark.parametrize(("estimator", "options"), ESTIMATORS)
def test_the_unit_of_the_counts_does_not_matter(estimator, options, counts):
    X, r = counts
    model = estimator(feedback="implicit", **options, **QUICK)
    expected = model.fit(X, r).predict(X)
    for unit in (1e-9, 10, 1e200):
        assert_allclose(model.fit(X, unit * r).predict(X), expected, rtol=1e-9)


def test_a_search_tunes_alpha_by_ranks(counts):
    X, r = counts
    search = GridSearchCV(
        ALSFactorizer(feedback="implicit", **QUICK),
        {"alpha": [0.1, 10.0], "confidence": ["linear", "log"]},
        scoring=make_ranking_scorer("ndcg"),
        cv=RatingKFold(3),
    ).fit(X, r)
    scores = search.cv_results_["mean_test_score"]
    assert len(np.unique(scores)) > 1
    assert (scores > 0).all()


@pytest.mark.parametrize(("estimator", "options"), ESTIMATORS)
def test_the_score_is_that_of_a_ranking(estimator, options, counts):
    X, r = counts
    model = estimator(feedback="implicit", **options, **QUICK).fit(X[::2], r[::2])
    expected = make_ranking_scorer("ndcg")(model, X[1::2], r[1::2])
    assert 0 < expected < 1
    assert model.score(X[1::2], r[1::2]) == model.score(X[1::2]) == expected
    model.set_params(feedback="explicit").fit(X, r)
    assert model.score(X, r) < 0


# -------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("y", "match"),
    [
        ([1.0, -2.0, 1.0], r"counts below 0.*lowest is -2.0.*feedback='explicit'"),
        ([0.0, 0.0, 0.0], "no count above 0"),
        ([1.0, np.nan, 1.0], "NaN"),
    ],
)
def test_errors_of_counts(y, match):
    model = ALSFactorizer(feedback="implicit", **QUICK).fit([[0, 0], [1, 1]], [1, 2])
    with left_as_it_was(model), pytest.raises(ValueError, match=match):
        model.fit([[0, 0], [1, 1], [2, 0]], y)


def test_errors_of_options(counts):
    with pytest.raises(ValueError, match=r"unobserved_weight=0.5 .* set alpha"):
        ALSFactorizer(feedback="implicit", unobserved_weight=0.5).fit(*counts)
    with pytest.raises(ValueError, match="feedback='implicit' needs solver='als'"):
        BiasedMF(feedback="implicit").fit(*counts)
    with pytest.raises(ValueError, match="requires y"):
        ALSFactorizer().fit(counts[0])


def test_counts_too_large_say_so(counts):
    model = ALSFactorizer(feedback="implicit", alpha=1e300, **QUICK)
    with pytest.raises(FloatingPointError, match="alpha"):
        model.fit(counts[0], 1e200 * counts[1])
