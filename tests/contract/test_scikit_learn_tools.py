"""The estimators inside scikit-learn's own tools.

Each test compares a tool of scikit-learn with the same computation done by hand.
"""

import re

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import loguniform, randint
from sklearn import config_context
from sklearn.base import clone
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import StackingRegressor, VotingRegressor
from sklearn.exceptions import (
    UnsetMetadataPassedError,
)
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import Ridge
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    KFold,
    ParameterGrid,
    ParameterSampler,
    RandomizedSearchCV,
    cross_val_predict,
    cross_validate,
    learning_curve,
    validation_curve,
)
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils import estimator_html_repr, get_tags, resample

from sklearn_mf import ALSFactorizer
from sklearn_mf.datasets import make_ratings
from tests.assertions import assert_same_bits
from tests.contract.models import FAMILIES, each_model
from tests.contract.test_callbacks import recorded_scores

X, Y = make_ratings(60, 40, 900, random_state=0)
WEIGHTS = np.random.default_rng(0).integers(1, 6, len(Y)).astype(float)
NEW_PAIRS = np.array([[0, 0], [59, 39], [7, 3], [1000, 3], [7, 1000], [1000, 1000]])
CV = KFold(3, shuffle=True, random_state=0)
SPLITS = list(CV.split(X))


def make_als(**params):
    """Return an estimator that is quick to fit, the same at each fit."""
    return ALSFactorizer(
        **{"n_factors": 3, "max_iter": 5, "tol": None, "random_state": 0, **params}
    )


def negative_rmse(y, predictions, weights=None):
    return -np.sqrt(np.average((y - predictions) ** 2, weights=weights))


def fold_scores(estimator, params, splits=SPLITS):
    """Score each fold by hand."""
    scores = []
    for train, test in splits:
        fitted = clone(estimator).set_params(**params).fit(X[train], Y[train])
        scores.append(negative_rmse(Y[test], fitted.predict(X[test])))
    return np.array(scores)


def fold_columns(results, kind="test"):
    """Return the scores of a search, of shape (n_candidates, n_folds)."""
    return np.column_stack(
        [results[f"split{fold}_{kind}_score"] for fold in range(len(SPLITS))]
    )


# ---------------------------------------------------------------- searches and curves


def test_grid_search():
    grid = {"n_factors": [1, 4], "regularization": [0.02, 0.2, 2.0]}
    search = GridSearchCV(make_als(), grid, cv=CV, return_train_score=True).fit(X, Y)

    candidates = list(ParameterGrid(grid))
    assert search.cv_results_["params"] == candidates
    scores = np.array([fold_scores(make_als(), params) for params in candidates])
    on_train = [(train, train) for train, _ in SPLITS]
    train_scores = [fold_scores(make_als(), params, on_train) for params in candidates]
    assert_allclose(fold_columns(search.cv_results_), scores, rtol=1e-13)
    assert_allclose(fold_columns(search.cv_results_, "train"), train_scores, rtol=1e-13)
    means = scores.mean(axis=1)
    assert_allclose(search.cv_results_["mean_test_score"], means, rtol=1e-13)
    assert_allclose(search.cv_results_["std_test_score"], scores.std(axis=1))

    assert len(np.unique(means)) == len(candidates)  # every parameter matters
    order = np.argsort(-means)
    assert_array_equal(search.cv_results_["rank_test_score"][order], range(1, 7))
    assert search.best_params_ == candidates[order[0]]
    assert_allclose(search.best_score_, means.max(), rtol=1e-13)

    refitted = make_als(**search.best_params_).fit(X, Y)
    assert_same_bits(search.best_estimator_, refitted)
    assert_array_equal(search.predict(NEW_PAIRS), refitted.predict(NEW_PAIRS))
    assert_allclose(search.score(X, Y), negative_rmse(Y, refitted.predict(X)))


def test_randomized_search():
    distributions = {
        "n_factors": randint(1, 6),
        "regularization": loguniform(0.01, 1),
        "weighted_regularization": [True, False],
    }
    search = RandomizedSearchCV(
        make_als(), distributions, n_iter=5, cv=CV, random_state=0
    ).fit(X, Y)

    candidates = list(ParameterSampler(distributions, 5, random_state=0))
    assert search.cv_results_["params"] == candidates
    scores = np.array([fold_scores(make_als(), params) for params in candidates])
    assert_allclose(fold_columns(search.cv_results_), scores, rtol=1e-13)
    assert search.best_params_ == candidates[scores.mean(axis=1).argmax()]
    assert_same_bits(search.best_estimator_, make_als(**search.best_params_).fit(X, Y))


def test_halving_grid_search_over_iterations():
    grid = {"n_factors": [1, 4], "regularization": [0.02, 0.2]}
    search = HalvingGridSearchCV(
        make_als(),
        grid,
        resource="max_iter",
        min_resources=2,
        max_resources=8,
        factor=2,
        cv=CV,
    ).fit(X, Y)
    assert search.n_resources_ == [2, 4, 8]
    assert search.n_candidates_ == [4, 2, 1]

    candidates, expected, rounds = list(ParameterGrid(grid)), [], []
    for round_, max_iter in enumerate([2, 4, 8]):
        candidates = [{**params, "max_iter": max_iter} for params in candidates]
        scores = np.array([fold_scores(make_als(), params) for params in candidates])
        expected.extend(zip(candidates, scores, strict=True))
        rounds.extend([round_] * len(candidates))
        best = np.argsort(scores.mean(axis=1))[-((len(candidates) + 1) // 2) :]
        candidates = [candidates[at] for at in best]
    assert search.cv_results_["params"] == [params for params, _ in expected]
    assert_array_equal(search.cv_results_["iter"], rounds)
    assert_allclose(
        fold_columns(search.cv_results_), [scores for _, scores in expected], rtol=1e-13
    )
    assert search.best_params_ == expected[-1][0]


def test_halving_grid_search_over_ratings():
    search = HalvingGridSearchCV(
        make_als(),
        {"regularization": [0.02, 0.2]},
        min_resources=450,
        factor=2,
        cv=CV,
        random_state=0,
    ).fit(X, Y)
    assert search.n_resources_ == [450, 900]

    def draw(rows, share):
        n_samples = int(share * len(rows))
        return resample(rows, replace=False, random_state=0, n_samples=n_samples)

    half, full = (
        [(draw(train, share), draw(test, share)) for train, test in SPLITS]
        for share in (0.5, 1)
    )
    first = [fold_scores(make_als(), {"regularization": λ}, half) for λ in (0.02, 0.2)]
    best = {"regularization": (0.02, 0.2)[np.mean(first, axis=1).argmax()]}
    expected = [*first, fold_scores(make_als(), best, full)]
    assert_allclose(fold_columns(search.cv_results_), expected, rtol=1e-13)
    assert search.best_params_ == best


@pytest.mark.parametrize("scoring", [None, "neg_root_mean_squared_error"])
def test_cross_validate(scoring):
    results = cross_validate(
        make_als(), X, Y, cv=CV, scoring=scoring, return_estimator=True
    )
    assert_allclose(results["test_score"], fold_scores(make_als(), {}), rtol=1e-13)
    for estimator, (train, _) in zip(results["estimator"], SPLITS, strict=True):
        assert_same_bits(estimator, make_als().fit(X[train], Y[train]))


def test_cross_val_predict():
    expected = np.empty_like(Y)
    for train, test in SPLITS:
        expected[test] = make_als().fit(X[train], Y[train]).predict(X[test])
    assert_array_equal(cross_val_predict(make_als(), X, Y, cv=CV), expected)


def test_learning_curve():
    sizes, train_scores, test_scores = learning_curve(
        make_als(), X, Y, train_sizes=[300, 600], cv=CV
    )
    assert_array_equal(sizes, [300, 600])
    for row, size in enumerate(sizes):
        splits = [(train[:size], test) for train, test in SPLITS]
        on_train = [(train[:size], train[:size]) for train, _ in SPLITS]
        assert_allclose(test_scores[row], fold_scores(make_als(), {}, splits))
        assert_allclose(train_scores[row], fold_scores(make_als(), {}, on_train))


def test_validation_curve():
    train_scores, test_scores = validation_curve(
        make_als(), X, Y, param_name="n_factors", param_range=[1, 2, 5], cv=CV
    )
    on_train = [(train, train) for train, _ in SPLITS]
    for row, n_factors in enumerate([1, 2, 5]):
        params = {"n_factors": n_factors}
        assert_allclose(test_scores[row], fold_scores(make_als(), params))
        assert_allclose(train_scores[row], fold_scores(make_als(), params, on_train))


# -------------------------------------------------------------------------- pipelines


def test_factors_feed_a_later_step():
    pipeline = make_pipeline(make_als(), StandardScaler(), Ridge(alpha=2.0)).fit(X, Y)

    als = make_als().fit(X, Y)
    users, items = X.T
    F = np.hstack(
        [
            als.user_factors_[np.searchsorted(als.users_, users)],
            als.item_factors_[np.searchsorted(als.items_, items)],
        ]
    )
    centre, scale = F.mean(axis=0), F.std(axis=0)
    Z = (F - centre) / scale
    coefficients = np.linalg.solve(Z.T @ Z + 2.0 * np.eye(6), Z.T @ (Y - Y.mean()))
    assert_allclose(pipeline.predict(X), Y.mean() + Z @ coefficients)

    unseen = np.array([[1000, 1000]])  # its factors are zero
    assert_allclose(
        pipeline.predict(unseen), [Y.mean() - centre / scale @ coefficients]
    )


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_factors_come_in_named_columns(container):
    library = pytest.importorskip(container)
    table = pd.DataFrame(X, columns=["user", "item"], index=np.arange(len(X)) + 7)
    pipeline = make_pipeline(make_als(n_factors=2), StandardScaler())
    values = pipeline.fit(table, Y).transform(table)
    names = ["user_factor0", "user_factor1", "item_factor0", "item_factor1"]
    assert list(pipeline.get_feature_names_out()) == names
    assert list(pipeline[0].get_feature_names_out(["user", "item"])) == names

    out = pipeline.set_output(transform=container).fit(table, Y).transform(table)
    assert isinstance(out, library.DataFrame)
    assert list(out.columns) == names
    assert_allclose(out.to_numpy(), values)
    if container == "pandas":
        assert_array_equal(out.index, table.index)

    alone = make_als(n_factors=2).set_output(transform=container)
    factors = alone.fit_transform(table, Y)
    assert list(factors.columns) == names
    assert_array_equal(factors.to_numpy(), make_als(n_factors=2).fit_transform(X, Y))


def test_tuning_through_a_pipeline():
    pipeline = make_pipeline(make_als(), StandardScaler(), Ridge())
    grid = {"alsfactorizer__n_factors": [1, 4], "ridge__alpha": [1.0, 1000.0]}
    search = GridSearchCV(
        pipeline, grid, cv=CV, scoring="neg_root_mean_squared_error"
    ).fit(X, Y)

    candidates = list(ParameterGrid(grid))
    assert search.cv_results_["params"] == candidates
    scores = np.empty((4, 3))
    for row, params in enumerate(candidates):
        for fold, (train, test) in enumerate(SPLITS):
            als = make_als(n_factors=params["alsfactorizer__n_factors"])
            factors = als.fit(X[train], Y[train]).transform(X[train])
            centre, scale = factors.mean(axis=0), factors.std(axis=0)
            ridge = Ridge(alpha=params["ridge__alpha"])
            ridge.fit((factors - centre) / scale, Y[train])
            predictions = ridge.predict((als.transform(X[test]) - centre) / scale)
            scores[row, fold] = negative_rmse(Y[test], predictions)
    assert_allclose(fold_columns(search.cv_results_), scores)
    assert search.best_params_ == candidates[scores.mean(axis=1).argmax()]
    best = search.best_params_["alsfactorizer__n_factors"]
    assert search.best_estimator_[0].user_factors_.shape == (60, best)


def test_last_step_after_a_function_transformer():
    items_first = np.column_stack([X[:, 1], np.zeros(len(X)), X[:, 0]])
    pipeline = make_pipeline(
        FunctionTransformer(lambda table: table[:, [2, 0]]), make_als()
    ).fit(items_first, Y)
    expected = make_als().fit(X, Y)
    assert_array_equal(pipeline.predict(items_first), expected.predict(X))
    assert pipeline.score(items_first, Y) == expected.score(X, Y)
    assert_array_equal(pipeline.transform(items_first), expected.transform(X))


@pytest.mark.parametrize("container", ["default", "pandas"])
def test_last_step_after_a_column_transformer(container):
    # Text beside numbers: without names, the step before passes on an object array.
    table = pd.DataFrame(
        {
            "time": np.linspace(0, 1, len(X)),
            "item": X[:, 1],
            "note": "none",
            "user": [f"user{u:02d}" for u in X[:, 0]],
        }
    )
    select = ColumnTransformer(
        [("ids", "passthrough", ["user", "item"])], verbose_feature_names_out=False
    ).set_output(transform=container)
    columns = {"user_column": "user", "item_column": "item"}
    als = make_als(**columns) if container == "pandas" else make_als()
    pipeline = make_pipeline(select, als).fit(table, Y)

    expected = make_als().fit(X, Y)  # the names of the users sort as their numbers
    assert_array_equal(pipeline[-1].user_factors_, expected.user_factors_)
    assert_array_equal(pipeline[-1].item_factors_, expected.item_factors_)
    assert_array_equal(pipeline.predict(table), expected.predict(X))

    direct = make_als(**columns).fit(table, Y)
    assert_array_equal(direct.predict(table), expected.predict(X))
    scores = cross_validate(pipeline, table, Y, cv=CV)["test_score"]
    assert_allclose(scores, fold_scores(make_als(), {}), rtol=1e-13)


def test_feature_union_of_two_factorizers():
    small, large = make_als(n_factors=1), make_als(n_factors=2, random_state=1)
    union = FeatureUnion([("small", small), ("large", large)])
    factors = union.fit_transform(X, Y)
    expected = np.hstack([clone(als).fit(X, Y).transform(X) for als in (small, large)])
    assert_array_equal(factors, expected)
    assert_array_equal(union.transform(X), expected)
    assert list(union.get_feature_names_out()) == [
        "small__user_factor0",
        "small__item_factor0",
        "large__user_factor0",
        "large__user_factor1",
        "large__item_factor0",
        "large__item_factor1",
    ]
    predictions = make_pipeline(union, Ridge()).fit(X, Y).predict(X)
    assert_allclose(predictions, Ridge().fit(expected, Y).predict(expected))


# ----------------------------------------------------------------- regressors of other


def test_transformed_target():
    model = TransformedTargetRegressor(make_als(), transformer=StandardScaler())
    model.fit(X, Y)
    centre, scale = Y.mean(), Y.std()
    scaled = make_als().fit(X, (Y - centre) / scale)
    expected = scaled.predict(X) * scale + centre
    assert_allclose(model.predict(X), expected)
    assert_allclose(model.regressor_.loss_curve_, scaled.loss_curve_)

    # As the last step of a pipeline, and around one.
    swap = FunctionTransformer(lambda table: table[:, ::-1])
    last = make_pipeline(swap, clone(model)).fit(X[:, ::-1], Y)
    assert_array_equal(last.predict(X[:, ::-1]), model.predict(X))
    around = TransformedTargetRegressor(
        make_pipeline(swap, make_als()), transformer=StandardScaler()
    ).fit(X[:, ::-1], Y)
    assert_array_equal(around.predict(X[:, ::-1]), model.predict(X))


def test_tuning_through_a_transformed_target():
    model = TransformedTargetRegressor(make_als(), func=np.log, inverse_func=np.exp)
    search = GridSearchCV(
        model,
        {"regressor__n_factors": [1, 4]},
        cv=CV,
        scoring="neg_root_mean_squared_error",
    ).fit(X, Y)
    expected = [
        [
            negative_rmse(
                Y[test],
                np.exp(
                    make_als(n_factors=n_factors)
                    .fit(X[train], np.log(Y[train]))
                    .predict(X[test])
                ),
            )
            for train, test in SPLITS
        ]
        for n_factors in (1, 4)
    ]
    assert_allclose(fold_columns(search.cv_results_), expected, rtol=1e-13)


def test_stacking():
    members = [("small", make_als(n_factors=1)), ("large", make_als(n_factors=6))]
    stack = StackingRegressor(members, final_estimator=Ridge(), cv=SPLITS).fit(X, Y)

    held_out = np.empty((len(Y), 2))
    for column, (_, member) in enumerate(members):
        for train, test in SPLITS:
            fitted = clone(member).fit(X[train], Y[train])
            held_out[test, column] = fitted.predict(X[test])
    final = Ridge().fit(held_out, Y)
    predictions = [clone(member).fit(X, Y).predict(NEW_PAIRS) for _, member in members]
    assert_allclose(
        stack.predict(NEW_PAIRS), final.predict(np.column_stack(predictions))
    )
    assert_allclose(stack.final_estimator_.coef_, final.coef_)


def test_voting():
    small, large = make_als(n_factors=1), make_als(n_factors=6)
    vote = VotingRegressor([("small", small), ("large", large)], weights=[1, 3])
    first, second = (
        clone(member).fit(X, Y).predict(NEW_PAIRS) for member in (small, large)
    )
    assert_allclose(vote.fit(X, Y).predict(NEW_PAIRS), (first + 3 * second) / 4)


# -------------------------------------------------------------------- metadata routing


def weighted_scores(fit_weights, score_weights, **params):
    scores = []
    for train, test in SPLITS:
        fitted = make_als(**params).fit(
            X[train],
            Y[train],
            sample_weight=None if fit_weights is None else fit_weights[train],
        )
        weights = None if score_weights is None else score_weights[test]
        scores.append(negative_rmse(Y[test], fitted.predict(X[test]), weights))
    return np.array(scores)


@pytest.mark.parametrize(
    ("in_fit", "in_score"), [(True, True), (True, False), (False, True)]
)
def test_routed_weights_change_the_scores(in_fit, in_score):
    expected = weighted_scores(
        WEIGHTS if in_fit else None, WEIGHTS if in_score else None
    )
    assert not np.isclose(expected, weighted_scores(None, None)).any()
    with config_context(enable_metadata_routing=True):
        als = make_als().set_fit_request(sample_weight=in_fit)
        als.set_score_request(sample_weight=in_score)
        results = cross_validate(als, X, Y, cv=CV, params={"sample_weight": WEIGHTS})
    assert_allclose(results["test_score"], expected, rtol=1e-13)


def test_routed_weights_in_a_grid_search():
    with config_context(enable_metadata_routing=True):
        als = make_als().set_fit_request(sample_weight=True)
        als.set_score_request(sample_weight=True)
        search = GridSearchCV(als, {"n_factors": [1, 4]}, cv=CV)
        search.fit(X, Y, sample_weight=WEIGHTS)
    scores = np.array(
        [weighted_scores(WEIGHTS, WEIGHTS, n_factors=n_factors) for n_factors in (1, 4)]
    )
    assert_allclose(fold_columns(search.cv_results_), scores, rtol=1e-13)
    best = (1, 4)[scores.mean(axis=1).argmax()]
    assert search.best_params_ == {"n_factors": best}
    refitted = make_als(n_factors=best).fit(X, Y, sample_weight=WEIGHTS)
    assert_same_bits(search.best_estimator_, refitted)


def test_routed_weights_under_another_name():
    with config_context(enable_metadata_routing=True):
        als = make_als().set_fit_request(sample_weight="trust")
        als.set_score_request(sample_weight="importance")
        results = cross_validate(
            als, X, Y, cv=CV, params={"trust": WEIGHTS, "importance": 1 / WEIGHTS}
        )
    expected = weighted_scores(WEIGHTS, 1 / WEIGHTS)
    assert_allclose(results["test_score"], expected, rtol=1e-13)


def test_weights_reach_the_steps_of_a_pipeline():
    expected = make_als().fit(X, Y, sample_weight=WEIGHTS)
    with config_context(enable_metadata_routing=True):
        als = make_als().set_fit_request(sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        first = make_pipeline(clone(als), scaler)
        last = make_pipeline(FunctionTransformer(), clone(als))
        for pipeline in (first, last):
            pipeline.fit(X, Y, sample_weight=WEIGHTS)
    assert_same_bits(first[0], expected)
    assert_same_bits(last[-1], expected)

    # The older way, without routing.
    plain = make_pipeline(FunctionTransformer(), make_als())
    plain.fit(X, Y, alsfactorizer__sample_weight=WEIGHTS)
    assert_same_bits(plain[-1], expected)


def test_weights_that_nobody_requested():
    with config_context(enable_metadata_routing=True):
        with pytest.raises(UnsetMetadataPassedError, match="sample_weight"):
            cross_validate(make_als(), X, Y, cv=CV, params={"sample_weight": WEIGHTS})
        search = GridSearchCV(make_als(), {"n_factors": [1]}, cv=CV)
        with pytest.raises(UnsetMetadataPassedError, match="sample_weight"):
            search.fit(X, Y, sample_weight=WEIGHTS)


# ---------------------------------------------------------------- appearance and tags


@each_model(among=FAMILIES)
def test_repr(model):
    name, estimator = model.cls.__name__, model.cls(n_factors=7)
    assert repr(estimator) == f"{name}(n_factors=7)"
    for html in (estimator._repr_html_(), estimator_html_repr(estimator)):
        text = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html))
        assert name in text
        assert re.search(r"\bn_factors\b[^=]*? 7 ", text)
        for parameter in estimator.get_params():
            assert parameter in text


@each_model()
def test_tags(model):
    tags = get_tags(model())
    kind = "classifier" if model.classifies else "regressor"
    assert tags.estimator_type == kind
    rates = model.rates and not model.counts
    assert tags.target_tags.required == rates
    assert tags.target_tags.positive_only != rates
    assert not tags.target_tags.multi_output
    assert tags.input_tags.two_d_array
    assert tags.input_tags.categorical
    assert not tags.input_tags.sparse
    assert not tags.input_tags.allow_nan
    if model.classifies:
        assert tags.regressor_tags is None
        assert not tags.classifier_tags.multi_class
        assert not tags.classifier_tags.poor_score
    else:
        assert tags.regressor_tags.poor_score
    assert tags.transformer_tags is not None
    assert not tags.non_deterministic
    assert not tags.no_validation
    assert tags.requires_fit


# --------------------------------------------------------------------------- callbacks


def test_progress_bar_and_monitor_in_a_parallel_search(capsys):
    monitor = ScoringMonitor(scoring="neg_root_mean_squared_error")
    search = GridSearchCV(
        make_als().set_callbacks(monitor), {"max_iter": [1, 3]}, cv=CV, n_jobs=2
    )
    search.set_callbacks(ProgressBar()).fit(X, Y)
    shown = capsys.readouterr().out
    assert re.search(r"GridSearchCV\b.* 100%", shown)
    assert not re.search(r" [1-9]?\d%", shown)  # what is not at 100 %

    expected = [fold_scores(make_als(), {"max_iter": n}) for n in (1, 3)]
    assert_allclose(fold_columns(search.cv_results_), expected, rtol=1e-13)
    refitted = make_als(**search.best_params_).fit(X, Y)
    assert_array_equal(search.predict(NEW_PAIRS), refitted.predict(NEW_PAIRS))

    # The monitor collects the training scores of every worker's iterations.
    expected = [
        fold_scores(
            make_als(), {"max_iter": k}, [(train, train) for train, _ in SPLITS]
        )
        for n in (1, 3)
        for k in range(1, n + 1)
    ]
    whole = [(np.arange(len(Y)), np.arange(len(Y)))]
    for k in range(1, search.best_params_["max_iter"] + 1):
        expected.append(fold_scores(make_als(), {"max_iter": k}, whole))
    found = recorded_scores(monitor)
    assert_allclose(np.sort(found), np.sort(np.concatenate(expected)))
