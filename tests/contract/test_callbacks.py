"""What callbacks see of a fit: a task for each iteration, and the model so far."""

import re
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.callback import ProgressBar, ScoringMonitor

from sklearn_mf import as_matrix, as_pairs
from tests.assertions import (
    Recorder,
    arrays_of,
    assert_same_bits,
    curve_of,
    fitted_attributes,
    interrupt,
)
from tests.contract.models import FAMILIES, WEIGHTS, X, each_model, in_turn

RMSE = "neg_root_mean_squared_error"


def events_of(n_iterations):
    events = [("setup", "fit", 0), ("begin", "fit", 0)]
    for k in range(n_iterations):
        events += [("begin", "iteration", k), ("end", "iteration", k)]
    return [*events, ("end", "fit", 0), ("teardown", "fit", 0)]


def scoring_of(model):
    """Return the name of a score of the numbers that a model predicts."""
    return "neg_brier_score" if model.classifies else RMSE


def recorded_scores(monitor, scoring=RMSE):
    """Return the scores of the iterations of the latest fit that a monitor saw."""
    rows = monitor.get_logs().data
    return [row[scoring] for row in rows if row["task_name"] == "iteration"]


def scores_of_shorter_fits(model, n_iterations, weights=None, **params):
    model = model.without_early_stopping()
    scores = []
    for k in range(1, n_iterations + 1):
        estimator = model(max_iter=k, **params).fit(X, model.y(), sample_weight=weights)
        errors = (model.y() - model.numbers(estimator, X)) ** 2
        error = np.average(errors, weights=weights)
        scores.append(-error if model.classifies else -np.sqrt(error))
    return scores


# -------------------------------------------------------------------- tasks and data


@each_model()
def test_a_callback_sees_a_task_for_each_iteration(model):
    recorder = Recorder()
    estimator = model(max_iter=4).set_callbacks(recorder).fit(X, model.y())
    assert recorder.events == events_of(4)
    root, *others = recorder.contexts
    assert root.max_subtasks == 4
    assert root.estimator_name == model.cls.__name__
    for context in others:
        if context.task_name == "iteration":
            assert context.parent is root
            assert context.max_subtasks == 0
        else:
            assert context is root
    assert_same_bits(estimator, model(max_iter=4).fit(X, model.y()))


@each_model(lambda model: not model.sampled)
def test_a_callback_sees_no_more_tasks_than_iterations(model):
    recorder, model = Recorder(), model.without_early_stopping()
    estimator = model(max_iter=500, tol=50, regularization=0.01)
    estimator.set_callbacks(recorder).fit(X, model.y())
    assert 1 < estimator.n_iter_ < 500
    assert recorder.events == events_of(estimator.n_iter_)
    assert recorder.contexts[0].max_subtasks == 500


@each_model()
def test_a_callback_is_torn_down_after_an_interrupt(model):
    recorder = Recorder(2, interrupt)
    with pytest.raises(KeyboardInterrupt):
        model().set_callbacks(recorder).fit(X, model.y())
    whole = events_of(2)
    assert recorder.events == [*whole[:-2], whole[-1]]  # all but the end of the fit


@each_model()
def test_a_callback_gets_the_data_of_the_fit(model):
    recorder, y = Recorder(), model.y()
    estimator = model(max_iter=2).set_callbacks(recorder)
    estimator.fit(X, y, sample_weight=WEIGHTS)
    assert len(recorder.data) == 6
    for seen_table, seen_y, metadata in recorder.data:
        assert seen_table is X
        assert seen_y is y
        assert metadata.keys() == {"sample_weight"}
        assert metadata["sample_weight"] is WEIGHTS
    recorder = Recorder()
    estimator.set_callbacks(recorder).fit(X, y)
    assert not any(metadata for _, _, metadata in recorder.data)


@each_model()
def test_a_callback_of_a_fit_of_a_matrix_gets_pairs(model):
    R = as_matrix(X, model.y())
    pairs, ratings = as_pairs(R)
    recorder, monitor = Recorder(), ScoringMonitor(scoring=scoring_of(model))
    model = model.without_early_stopping()
    model(max_iter=3).set_callbacks(recorder, monitor).fit(R)
    assert len(recorder.data) == 8
    for seen_table, seen_y, metadata in recorder.data:
        assert_array_equal(seen_table, pairs)
        assert_array_equal(seen_y, ratings)
        assert not metadata
    assert_allclose(
        recorded_scores(monitor, scoring_of(model)), scores_of_shorter_fits(model, 3)
    )


# ------------------------------------------------------------------ the model so far


@in_turn(("n_factors", "matrix"), [(3, True), (8, False), (9, False)])
@each_model()
def test_a_callback_sees_the_model_of_a_shorter_fit(model, n_factors, matrix):
    params = {"n_factors": n_factors} if model().n_factors else {}
    data = (as_matrix(X, model.y()),) if matrix else (X, model.y())
    recorder = Recorder()
    estimator = model(**params).set_callbacks(recorder).fit(*data)
    learnt = [*arrays_of(fitted_attributes(estimator))]
    assert len(recorder.models) == 4
    for k, seen in enumerate(recorder.models, start=1):
        shorter = model(max_iter=k, **params).fit(*data)
        assert curve_of(seen) == curve_of(estimator)[:k]
        assert seen.n_iter_ == k
        if getattr(shorter, "best_iter_", k) < k:
            continue  # with early stopping, a fit that ends here goes back
        assert_same_bits(seen, shorter, but=["optimizer_state_"])
        assert_array_equal(seen.predict(X), shorter.predict(X))
        assert_array_equal(seen.transform(X), shorter.transform(X))
        for name, value in fitted_attributes(seen).items():
            if "factors_" in name or "biases_" in name or name == "coefs_":
                for array in arrays_of(value):
                    assert not any(np.shares_memory(array, other) for other in learnt)
                    array[:] = 0  # a callback that writes to it does no harm
    assert_same_bits(estimator, model(**params).fit(*data))


@in_turn("earlier", ["named columns", "three columns"])
@in_turn("later", ["array", "matrix"])
@each_model(among=FAMILIES)
def test_the_model_so_far_knows_nothing_of_an_earlier_fit(model, earlier, later):
    tables = {
        "named columns": pd.DataFrame(X, columns=["user", "item"]),
        "three columns": np.column_stack([X, np.zeros(len(X))]),
    }
    monitor = ScoringMonitor(scoring=scoring_of(model))
    estimator = model(max_iter=2).fit(tables[earlier], model.y()).set_callbacks(monitor)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = (X, model.y()) if later == "array" else (as_matrix(X, model.y()),)
        estimator.fit(*data)
    assert_allclose(
        recorded_scores(monitor, scoring_of(model)), scores_of_shorter_fits(model, 2)
    )


@in_turn("columns", [(1, 0), (0, 2), ("user", "item")])
@each_model(among=FAMILIES)
def test_a_monitor_reads_matrices_wherever_the_columns_of_tables_are(model, columns):
    user_column, item_column = columns
    monitor = ScoringMonitor(scoring=scoring_of(model))
    estimator = model(max_iter=2, user_column=user_column, item_column=item_column)
    estimator.set_callbacks(monitor).fit(as_matrix(X, model.y()))
    assert_allclose(
        recorded_scores(monitor, scoring_of(model)), scores_of_shorter_fits(model, 2)
    )
    assert (estimator.user_column, estimator.item_column) == columns


# ------------------------------------------------------- scikit-learn's own callbacks


@in_turn("weights", [None, WEIGHTS])
@each_model()
def test_a_scoring_monitor_records_the_score_of_each_iteration(model, weights):
    monitor, model = (
        ScoringMonitor(scoring=scoring_of(model)),
        model.without_early_stopping(),
    )
    estimator = model(max_iter=6, clip=False).set_callbacks(monitor)
    estimator.fit(X, model.y(), sample_weight=weights)
    recorded = recorded_scores(monitor, scoring_of(model))
    expected = scores_of_shorter_fits(model, 6, weights, clip=False)
    assert_allclose(recorded, expected, rtol=1e-13)
    assert len(set(recorded)) == estimator.n_iter_ == 6
    frame = monitor.get_logs().data_as_pandas.query("task_name == 'iteration'")
    assert_array_equal(frame["task_id"], range(6))
    assert set(frame["estimator_name"]) == {model.cls.__name__}
    estimator.fit(X, model.y(), sample_weight=weights)
    assert len(monitor.get_logs(select="all")) == 2


@each_model(among=FAMILIES)
def test_a_progress_bar_reaches_its_end(model, capsys):
    pytest.importorskip("rich")
    estimator = model(max_iter=6).set_callbacks(ProgressBar()).fit(X, model.y())
    assert re.search(rf"{model.cls.__name__}\b.* 100%", capsys.readouterr().out)
    assert_same_bits(estimator, model(max_iter=6).fit(X, model.y()))
