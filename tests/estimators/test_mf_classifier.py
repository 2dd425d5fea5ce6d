"""The classifier: its labels, its probabilities, and scikit-learn's tools around it."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.special import expit
from sklearn.base import RegressorMixin, clone, is_classifier, is_regressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    RocCurveDisplay,
    accuracy_score,
    f1_score,
    get_scorer,
    log_loss,
    roc_auc_score,
)
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    StratifiedKFold,
    TunedThresholdClassifierCV,
    cross_val_predict,
    cross_val_score,
    cross_validate,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder
from sklearn.utils.class_weight import compute_class_weight

import sklearn_mf
from sklearn_mf import BiasedMF, MFClassifier, as_matrix
from sklearn_mf.datasets import make_answers
from sklearn_mf.inspection import ColdStartDisplay, ConvergenceDisplay
from tests.assertions import assert_same_bits, left_as_it_was

X, Y = make_answers(60, 40, 900, random_state=0)
Y = Y.astype(int)
TEXT = np.where(Y == 1, "right", "wrong")  # "right" comes first
WEIGHTS = np.random.default_rng(0).uniform(0.5, 2, len(Y))
CV = StratifiedKFold(3, shuffle=True, random_state=0)
SPLITS = list(CV.split(X, Y))
NEW = np.array([[0, 0], [7, 999], [999, 7], [999, 999]])


def quick(n_factors=2, **params):
    """Return a classifier that is quick to fit, the same at each fit."""
    defaults = {"max_iter": 5, "tol": None, "random_state": 0}
    return MFClassifier(n_factors, **defaults | params)


# ------------------------------------------------------------------------------ labels

LABELS = {
    "ints": (Y, [0, 1]),
    "other ints": (7 - 3 * Y, [4, 7]),
    "floats": (Y + 1.0, [1.0, 2.0]),
    "bools": (Y == 1, [False, True]),
    "text": (TEXT, ["right", "wrong"]),
    "objects": (TEXT.astype(object), ["right", "wrong"]),
    "list": (TEXT.tolist(), ["right", "wrong"]),
    "column": (pd.Series(TEXT), ["right", "wrong"]),
    "categories": (pd.Series(TEXT).astype("category"), ["right", "wrong"]),
    "categories of ints": (pd.Series(Y).astype("category"), [0, 1]),
    "nullable": (pd.Series(Y, dtype="Int64"), [0, 1]),
    "nullable bools": (pd.Series(Y == 1, dtype="boolean"), [False, True]),
    "pandas strings": (pd.Series(TEXT, dtype="string"), ["right", "wrong"]),
    "polars": (pl.Series(TEXT), ["right", "wrong"]),
    "polars categories": (pl.Series(TEXT).cast(pl.Categorical), ["right", "wrong"]),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_every_kind(kind, tmp_path):
    labels, classes = LABELS[kind]
    model = quick().fit(X, labels)
    assert model.classes_.tolist() == classes
    second = np.array([label == classes[1] for label in list(labels)])
    expected = quick().fit(X, second)
    assert_same_bits(model, expected, but=["classes_"])
    predicted = model.predict(NEW)
    assert predicted.dtype == model.classes_.dtype
    assert_array_equal(predicted == classes[1], expected.predict(NEW))
    assert model.score(X, labels) == expected.score(X, second)
    model.save(tmp_path / "model.npz")
    loaded = sklearn_mf.load(tmp_path / "model.npz")
    assert_same_bits(loaded, model)
    assert_array_equal(loaded.predict(NEW), predicted)


@pytest.mark.parametrize(
    "classes",
    [["b", "a"], ["a", "a"], ["a"], ["a", "b", "c"], [[0, 1]], [0.0, np.nan]],
)
def test_a_file_holds_two_classes_in_order(classes, tmp_path):
    model = quick().fit(X, TEXT)
    model.classes_ = np.array(classes)
    with pytest.raises(ValueError, match="classes_"):
        model.save(tmp_path / "model.npz")


def test_float32_labels_are_fitted_in_float32():
    model = quick().fit(X, Y.astype(np.float32))
    for array in (model.predict_proba(X), model.decision_function(X)):
        assert array.dtype == np.float32


@pytest.mark.parametrize(
    ("y", "match"),
    [
        (np.arange(len(Y)) % 3, "Only binary.*3 classes, such as 0, 1, 2.*OneVsRest"),
        (np.ones(len(Y)), r"only one class: 1\.0.*classes names both"),
        (np.linspace(0, 1, len(Y)), "Unknown label type: continuous"),
        (np.where(Y, "a", None), "y contains NaN or None"),
        (pd.Series(Y, dtype="Int64").where(Y == 1), "y contains NaN"),
        (np.where(Y, 1.0, np.nan), "y contains NaN"),
        (np.column_stack([Y, Y]), "y should be a 1d array"),
        (np.array(["a", *range(len(Y) - 1)], dtype=object), "y must hold the label"),
        ([["a"], 1, *Y[2:]], "y"),
    ],
)
def test_labels_that_are_errors(y, match):
    fitted = quick().fit(X, Y)
    for method in ("fit", "partial_fit"):
        if "binary" in match and method == "partial_fit":
            match = "neither of classes_"
        elif "one class" in match and method == "partial_fit":
            continue
        with left_as_it_was(fitted), pytest.raises(ValueError, match=match):
            getattr(fitted, method)(X, y)


def test_the_label_of_a_row_of_weight_zero_does_not_count():
    extra = np.vstack([X, X[:1]]), np.append(TEXT, "unanswered")
    weights = np.append(np.ones(len(X)), 0)
    model = quick().fit(*extra, sample_weight=weights)
    assert_same_bits(model, quick().fit(X, TEXT))
    with pytest.raises(ValueError, match="only one class: 'right'"):
        quick().fit(X, TEXT, sample_weight=(TEXT == "right").astype(float))


def test_a_matrix_of_labels():
    model = quick().fit(as_matrix(X, Y))
    assert_array_equal(model.classes_, [0, 1])
    expected = quick().fit(X, Y)
    assert_array_equal(model.predict(X), expected.predict(X))
    with pytest.raises(ValueError, match="3 classes"):
        quick().fit(sparse.csr_array([[1, 2, 3]]))


# ------------------------------------------------------------------------------- model


@pytest.mark.parametrize("n_factors", [0, 2])
def test_it_is_biased_mf_under_log_loss(n_factors):
    options = {"weighted_regularization": False, "bias_regularization": 1.0}
    options |= {"regularization": 2.0, "loss": "log_loss"}
    options |= {"max_iter": 5, "tol": None, "random_state": 0}
    expected = BiasedMF(n_factors, **options).fit(X, Y, sample_weight=WEIGHTS)
    model = quick(n_factors, regularization=2.0).fit(X, Y, sample_weight=WEIGHTS)
    assert_same_bits(model, expected, but=["classes_"])
    assert_array_equal(model.predict_proba(NEW)[:, 1], expected.predict(NEW))


@pytest.mark.compiled
def test_without_factors_it_is_logistic_regression_of_the_ids():
    """The intercept is that of the mean: it goes in as if it were part of the score."""
    model = MFClassifier(0, max_iter=3000, tol=None, random_state=0).fit(X, Y)
    encoder = OneHotEncoder().fit(X)
    weights = np.append(model.user_biases_, model.item_biases_)
    scores = model.decision_function(X)
    gradient = encoder.transform(X).T.dot(expit(scores) - Y) + weights
    assert abs(gradient).max() < 0.02 * abs(weights).max()
    peer = LogisticRegression(C=1.0, tol=1e-8, max_iter=1000)
    peer.fit(encoder.transform(X), Y)
    found = peer.predict_proba(encoder.transform(X))[:, 1]
    assert abs(found - model.predict_proba(X)[:, 1]).max() < 0.02


@pytest.mark.compiled
def test_the_default_penalty_is_the_size_of_noise():
    """Factors vanish where nothing but noise is left for them, and stay where not."""
    rng = np.random.default_rng(0)
    for n_users, n_items, density in ((300, 200, 0.3), (1000, 50, 0.5)):
        pairs = np.argwhere(rng.random((n_users, n_items)) < density)
        n_u, n_i = (len(pairs) / n for n in (n_users, n_items))
        noise = rng.integers(2, size=len(pairs))
        model = MFClassifier(5, random_state=0).fit(pairs, noise)
        size = 0.5 * (n_u**0.5 + n_i**0.5)
        assert_allclose(model.regularization_, 1.2 * size, rtol=1e-3)
        assert abs(model.user_factors_ @ model.item_factors_.T).max() < 0.05
        signs = rng.choice([-1, 1], n_users)[pairs[:, 0]]
        signs = signs * rng.choice([-1, 1], n_items)[pairs[:, 1]]
        y = rng.random(len(pairs)) < expit(1.5 * signs)
        model.fit(pairs, y)
        assert model.score(pairs, y) > 0.75
        weighted = clone(model).fit(pairs, y, sample_weight=np.full(len(y), 3.0))
        assert_allclose(weighted.regularization_, 3 * model.regularization_, rtol=1e-3)
        whole = clone(model).set_params(weighted_regularization=True).fit(pairs, y)
        mean_count = 2 * len(pairs) / (n_users + n_items)
        assert_allclose(
            whole.regularization_ * mean_count, model.regularization_, rtol=1e-9
        )


def test_probabilities_scores_and_classes_agree():
    model = quick().fit(X, TEXT)
    pairs = np.vstack([X, NEW])
    first, second = model.predict_proba(pairs).T
    scores = model.decision_function(pairs)
    assert_allclose(first + second, 1)
    assert_allclose(second, expit(scores))
    assert_array_equal(model.predict(pairs) == "wrong", scores > 0)
    known = np.flatnonzero((X == [3, 5]).all(axis=1) | (X[:, 0] == 3))[:1]
    user, item = X[known[0]]
    u, i = (
        np.searchsorted(ids, k)
        for ids, k in ((model.users_, user), (model.items_, item))
    )
    mean = model.global_mean_
    assert_allclose(mean, (TEXT == "wrong").mean())
    expected = (
        np.log(mean / (1 - mean))
        + model.user_biases_[u]
        + model.item_biases_[i]
        + model.user_factors_[u] @ model.item_factors_[i]
    )
    assert_allclose(model.decision_function([[user, item]]), [expected])
    assert_allclose(model.decision_function(NEW[3:]), [np.log(mean / (1 - mean))])


def test_a_repeated_pair_is_the_share_of_the_second_class():
    rows = np.repeat(np.arange(len(X)), np.arange(len(X)) % 3 + 1)
    last = np.append(np.diff(rows) != 0, True)
    y = np.where(last, TEXT[rows], "wrong")
    share = np.array([(y[rows == k] == "wrong").mean() for k in range(len(X))])
    model = quick(regularization=2.0).fit(X[rows], y)
    options = {"weighted_regularization": False, "bias_regularization": 1.0}
    options |= {"regularization": 2.0, "loss": "log_loss", "max_iter": 5}
    expected = BiasedMF(2, **options, tol=None, random_state=0)
    expected.fit(X, share, sample_weight=np.bincount(rows))
    proba = model.predict_proba(X)[:, 1]
    assert_allclose(proba, expected.predict(X), rtol=1e-12)


def test_score_is_accuracy():
    model = quick().fit(X, TEXT)
    predicted = model.predict(X)
    assert model.score(X, TEXT) == accuracy_score(TEXT, predicted)
    expected = accuracy_score(TEXT, predicted, sample_weight=WEIGHTS)
    assert_allclose(model.score(X, TEXT, sample_weight=WEIGHTS), expected)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.score(X, TEXT[1:])


@pytest.mark.compiled
def test_recommend_ranks_by_the_probability_of_the_second_class():
    model = quick().fit(X, TEXT)
    items, scores = model.recommend([3], n_items=5, exclude_seen=False)
    pairs = np.column_stack([np.full(40, 3), model.items_])
    probabilities = model.predict_proba(pairs)[:, 1]
    order = np.argsort(-probabilities, kind="stable")[:5]
    assert_array_equal(items[0], model.items_[order])
    assert_array_equal(scores[0], probabilities[order])


@pytest.mark.compiled
def test_early_stopping_watches_the_log_loss():
    model = quick(early_stopping=True, max_iter=30).fit(X, TEXT)
    assert len(model.validation_scores_) == model.n_iter_
    assert -1 < model.validation_scores_[model.best_iter_ - 1] < 0
    assert model.best_iter_ == np.argmax(model.validation_scores_) + 1


@pytest.mark.compiled
def test_features_predict_items_without_answers():
    genres = pd.DataFrame({"hard": np.arange(50) % 2}, index=np.arange(50))
    y = (X[:, 1] % 2 == 0) | (Y == 1)
    model = quick(item_features=genres, max_iter=50).fit(X, y)
    easy, hard = model.predict_proba([[3, 44], [3, 45]])[:, 1]
    assert easy > hard + 0.1


# --------------------------------------------------------------------- class weights


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_class_weights_multiply_sample_weights(weights):
    given = {"right": 3.0, "wrong": 0.5}
    model = quick(class_weight=given).fit(X, TEXT, sample_weight=weights)
    product = np.array([given[label] for label in TEXT])
    product = product if weights is None else product * weights
    assert_same_bits(model, quick().fit(X, TEXT, sample_weight=product))


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_balanced_classes_weigh_the_same(weights):
    y = np.where(np.arange(len(Y)) % 5 == 0, TEXT, "wrong")
    model = quick(class_weight="balanced").fit(X, y, sample_weight=weights)
    assert_allclose(model.global_mean_, 0.5)
    total = len(y) if weights is None else weights.sum()
    assert_allclose(model.weight_sum_, total)
    numbers = compute_class_weight(
        "balanced", classes=np.unique(y), y=y, sample_weight=weights
    )
    given = dict(zip(np.unique(y), numbers, strict=True))
    expected = quick(class_weight=given).fit(X, y, sample_weight=weights)
    assert_allclose(model.predict_proba(X), expected.predict_proba(X), rtol=1e-9)


@pytest.mark.parametrize(
    ("class_weight", "match"),
    [
        ({0: -1.0}, "class_weight=.*at least 0"),
        ({0: np.nan}, "class_weight=.*at least 0"),
        ({0: "much"}, "class_weight=.*at least 0"),
        ({0: 0, 1: 0}, "class_weight=.*not all 0"),
        ({"right": 1.0}, "class_weight"),
        ("even", "The 'class_weight' parameter of MFClassifier must be"),
    ],
)
def test_class_weights_that_are_errors(class_weight, match):
    with pytest.raises(ValueError, match=match):
        quick(class_weight=class_weight).fit(X, Y)


# -------------------------------------------------------------------------- in parts


def test_partial_fit_with_the_classes_of_scikit_learn():
    one = Y == 1
    model = quick().partial_fit(X[one], TEXT[one], classes=["wrong", "right"])
    assert model.classes_.tolist() == ["right", "wrong"]
    assert (model.predict(X) == "right").all()
    model.partial_fit(X[~one], TEXT[~one])
    assert set(model.predict(X)) == {"right", "wrong"}
    model.partial_fit(X, TEXT, ["right", "wrong"])
    assert_allclose(model.weight_sum_, 2 * len(X))

    both = quick().partial_fit(X, TEXT)
    assert_same_bits(both, quick().partial_fit(X, TEXT, classes=["right", "wrong"]))
    assert_same_bits(both, quick(max_iter=1).fit(X, TEXT))


def test_partial_fit_refuses_other_classes():
    with pytest.raises(
        ValueError, match=r"only one class: 'right'.*classes names both"
    ):
        quick().partial_fit(X[Y == 1], TEXT[Y == 1])
    for classes, match in (
        (["right", "left"], r"classes=\['left', 'right'\] are not those of before"),
        (["right"], "classes must.*one class"),
        (["right", "wrong", "left"], "classes has 3 classes"),
    ):
        fitted = quick().fit(X, TEXT)
        with left_as_it_was(fitted), pytest.raises(ValueError, match=match):
            fitted.partial_fit(X, TEXT, classes=classes)
    with left_as_it_was(fitted), pytest.raises(ValueError, match="class 'left'"):
        fitted.partial_fit(X[:1], ["left"])
    with pytest.raises(ValueError, match="class 'right'"):
        quick().partial_fit(X, TEXT, classes=["left", "wrong"])
    with pytest.raises(AttributeError, match="no attribute 'partial_fit'") as error:
        _ = quick(class_weight="balanced").partial_fit
    assert "'balanced' is not supported by partial_fit" in str(error.value.__cause__)


def test_a_warm_start_needs_the_same_classes():
    model = quick(warm_start=True).fit(X, TEXT)
    before = model.loss_curve_
    assert model.fit(X, TEXT).loss_curve_[0] < before[0]
    match = r"classes \[0, 1\], but the fit to continue from has \['right', 'wrong'\]"
    with left_as_it_was(model), pytest.raises(ValueError, match=match):
        model.fit(X, Y)


# ------------------------------------------------------- inside scikit-learn's tools


def test_it_is_a_classifier_and_no_regressor():
    model = quick()
    assert is_classifier(model)
    assert not is_regressor(model)
    assert not isinstance(model, RegressorMixin)


@pytest.mark.compiled
@pytest.mark.parametrize("labels", [Y, TEXT], ids=["ints", "text"])
def test_scorers(labels):
    scoring = ["accuracy", "roc_auc", "neg_log_loss"]
    if labels is Y:  # scikit-learn's scorer does not know which text is positive
        scoring.append("neg_brier_score")
    found = cross_validate(quick(), X, labels, cv=CV, scoring=scoring)
    for fold, (train, test) in enumerate(SPLITS):
        model = quick().fit(X[train], labels[train])
        proba, truth = model.predict_proba(X[test]), labels[test]
        expected = {
            "accuracy": accuracy_score(truth, model.predict(X[test])),
            "roc_auc": roc_auc_score(truth, proba[:, 1]),
            "neg_log_loss": -log_loss(truth, proba),
            "neg_brier_score": -np.mean((proba[:, 1] - Y[test]) ** 2),
        }
        for name in scoring:
            assert_allclose(found[f"test_{name}"][fold], expected[name])
    assert_allclose(cross_val_score(quick(), X, labels, cv=CV), found["test_accuracy"])


@pytest.mark.compiled
def test_cross_val_predict():
    found = cross_val_predict(quick(), X, TEXT, cv=CV, method="predict_proba")
    for train, test in SPLITS:
        model = quick().fit(X[train], TEXT[train])
        assert_array_equal(found[test], model.predict_proba(X[test]))


@pytest.mark.compiled
def test_a_grid_search_of_a_pipeline():
    pipeline = make_pipeline(FunctionTransformer(), quick())
    grid = {"mfclassifier__regularization": [1.0, 8.0]}
    search = GridSearchCV(pipeline, grid, cv=CV, scoring="neg_log_loss").fit(X, TEXT)
    for at, regularization in enumerate((1.0, 8.0)):
        scores = [
            -log_loss(
                TEXT[test],
                quick(regularization=regularization)
                .fit(X[train], TEXT[train])
                .predict_proba(X[test]),
            )
            for train, test in SPLITS
        ]
        assert_allclose(search.cv_results_["mean_test_score"][at], np.mean(scores))
    assert_array_equal(search.classes_, ["right", "wrong"])
    assert set(search.predict(NEW)) <= {"right", "wrong"}


@pytest.mark.compiled
def test_thresholds():
    fixed = FixedThresholdClassifier(
        quick(), threshold=0.7, response_method="predict_proba"
    ).fit(X, Y)
    probabilities = quick().fit(X, Y).predict_proba(X)[:, 1]
    assert_array_equal(fixed.predict(X), probabilities >= 0.7)
    tuned = TunedThresholdClassifierCV(quick(), scoring="f1", cv=CV).fit(X, Y)
    plain = quick().fit(X, Y)
    assert f1_score(Y, tuned.predict(X)) > f1_score(Y, plain.predict(X)) - 0.02
    assert 0 < tuned.best_threshold_ < 1


@pytest.mark.compiled
@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_calibration(method):
    extreme = quick(10, regularization=0.0, max_iter=60, learning_rate=0.3)
    calibrated = CalibratedClassifierCV(extreme, cv=CV, method=method)
    train, test = SPLITS[0]
    losses = [
        log_loss(TEXT[test], model.fit(X[train], TEXT[train]).predict_proba(X[test]))
        for model in (extreme, calibrated)
    ]
    assert losses[1] < 0.8 * losses[0]


@pytest.mark.compiled
def test_voting_and_stacking():
    members = [("small", quick(0)), ("large", quick(4))]
    proba = [clone(model).fit(X, TEXT).predict_proba(NEW) for _, model in members]
    vote = VotingClassifier(members, voting="soft").fit(X, TEXT)
    assert_allclose(vote.predict_proba(NEW), np.mean(proba, axis=0))
    stack = StackingClassifier(members, cv=CV).fit(X, TEXT)
    held_out = [
        cross_val_predict(model, X, TEXT, cv=CV, method="predict_proba")[:, 1]
        for _, model in members
    ]
    final = LogisticRegression().fit(np.column_stack(held_out), TEXT)
    expected = final.predict_proba(np.column_stack([each[:, 1] for each in proba]))
    assert_allclose(stack.predict_proba(NEW), expected)


@pytest.mark.compiled
def test_a_roc_curve():
    pytest.importorskip("matplotlib").use("agg")
    model = quick().fit(X, TEXT)
    display = RocCurveDisplay.from_estimator(model, X, TEXT)
    auc = display.roc_auc if hasattr(display, "roc_auc") else display.roc_auc_
    expected = get_scorer("roc_auc")(model, X, TEXT)
    assert_allclose(np.ravel(auc)[0], expected)


@pytest.mark.compiled
def test_displays_of_the_library():
    pytest.importorskip("matplotlib").use("agg")
    model = quick().fit(X, TEXT)
    display = ColdStartDisplay.from_estimator(model, X, TEXT, bins=1)
    squares = (model.predict_proba(X)[:, 1] - (TEXT == "wrong")) ** 2
    assert_allclose(display.errors, [squares.mean() ** 0.5])
    display = ConvergenceDisplay.from_estimator(model)
    assert "nats" in display.ax_.get_ylabel()


@pytest.mark.compiled
def test_more_than_two_classes_one_against_the_rest():
    grades = np.array(["bad", "good", "fair"])[Y + (X[:, 1] % 2) * Y]
    with pytest.raises(ValueError, match=r"OneVsRestClassifier\(MFClassifier\(\)\)"):
        quick().fit(X, grades)
    model = OneVsRestClassifier(quick()).fit(X, grades)
    scores = np.column_stack(
        [
            quick().fit(X, grades == grade).predict_proba(X)[:, 1]
            for grade in model.classes_
        ]
    )
    assert_array_equal(model.predict(X), model.classes_[scores.argmax(axis=1)])
    expected = scores / scores.sum(axis=1, keepdims=True)
    assert_allclose(model.predict_proba(X), expected)
