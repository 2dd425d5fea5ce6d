"""Tests of the displays: their data against hand computations, and legible pictures."""

import itertools
import sys

import matplotlib as mpl
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.metrics import root_mean_squared_error
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import Pipeline
from sklearn.utils._param_validation import InvalidParameterError

from sklearn_mf import (
    ALSFactorizer,
    AutoRec,
    BayesianMF,
    BayesianMFClassifier,
    BiasedMF,
    MultiTaskMF,
    RankingFactorizer,
    SGDFactorizer,
    as_matrix,
)
from sklearn_mf.datasets import make_ratings
from sklearn_mf.inspection import (
    ColdStartDisplay,
    ConvergenceDisplay,
    FactorMapDisplay,
    LossLandscapeDisplay,
    SearchDisplay,
    TraceDisplay,
)
from tests import reference
from tests.assertions import curve_of
from tests.contract.models import FAMILIES, X, each_model

mpl.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")

FAST = {"max_iter": 4, "tol": None, "random_state": 0}


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def data():
    return make_ratings(40, 30, 500, random_state=0)


@pytest.fixture(scope="module")
def als(data):
    return ALSFactorizer(3, **FAST).fit(*data)


@pytest.fixture(scope="module")
def watched(data):
    model = BiasedMF(2, early_stopping=True, random_state=0, validation_fraction=0.2)
    return model.fit(*data)


@pytest.fixture(scope="module")
def chains(data):
    model = BayesianMF(2, n_samples=20, burn_in=5, n_chains=2, random_state=0)
    return model.fit(*data)


@pytest.fixture(scope="module")
def search(data):
    grid = {
        "n_factors": [1, 3],
        "regularization": [0.01, 0.1, 1],
        "fit_intercept": [True, False],
    }
    return GridSearchCV(
        ALSFactorizer(**FAST),
        grid,
        scoring={"rmse": "neg_root_mean_squared_error", "r2": "r2"},
        refit="rmse",
        cv=KFold(2, shuffle=True, random_state=0),
        return_train_score=True,
    ).fit(*data)


def drawings(als, watched, chains, search, data):
    """One call for each class method that draws; each takes an ax."""
    y = data[1]
    return {
        "convergence": lambda **kw: ConvergenceDisplay.from_estimators(
            {"ALS": als, "biased": watched}, **kw
        ),
        "one": lambda **kw: ConvergenceDisplay.from_estimator(als, **kw),
        "search": lambda **kw: SearchDisplay.from_search(
            search, param="regularization", line_param="n_factors", metric="rmse", **kw
        ),
        "landscape": lambda **kw: LossLandscapeDisplay.from_estimator(
            als, *data, n_points=5, **kw
        ),
        "map": lambda **kw: FactorMapDisplay.from_estimator(als, **kw),
        "cold start": lambda **kw: ColdStartDisplay.from_estimator(als, *data, **kw),
        "predictions": lambda **kw: ColdStartDisplay.from_predictions(
            y, y + 1, np.arange(len(y)), **kw
        ),
        "trace": lambda **kw: TraceDisplay.from_estimator(chains, **kw),
    }


NAMES = [
    "convergence",
    "one",
    "search",
    "landscape",
    "map",
    "cold start",
    "predictions",
    "trace",
]


@pytest.fixture(params=NAMES)
def draw(request, als, watched, chains, search, data):
    return drawings(als, watched, chains, search, data)[request.param]


def boxes(artists):
    return [a.get_window_extent() for a in artists if a.get_visible() and a.get_text()]


def assert_apart(artists):
    for one, other in itertools.combinations(boxes(artists), 2):
        assert not one.overlaps(other)


# ------------------------------------------------------------------------ all displays


@pytest.mark.compiled
def test_a_picture_is_legible(draw):
    figure = draw().figure_
    figure.canvas.draw()
    page = figure.bbox
    for ax in figure.axes:
        assert_apart(shown_ticks(ax.xaxis))
        assert_apart(shown_ticks(ax.yaxis))
        titles = ax.xaxis.label, ax.yaxis.label
        legend = [ax.get_legend()] if ax.get_legend() else []
        names = legend[0].get_texts() if legend else []
        assert_apart(names)
        inside = boxes([*titles, *names, *ax.texts])
        inside += [legend[0].get_window_extent()] if legend else []
        for box in inside:
            assert page.x0 <= box.x0 <= box.x1 <= page.x1
            assert page.y0 <= box.y0 <= box.y1 <= page.y1
        for box in (item.get_window_extent() for item in legend):
            assert not box.overlaps(ax.get_window_extent())
    main = figure.axes[0]
    assert main.get_xlabel()
    assert main.get_ylabel()
    assert any(ax.get_legend() for ax in figure.axes) or len(main.lines) == 1


def shown_ticks(axis):
    low, high = sorted(axis.get_view_interval())
    slack = 1e-9 * (high - low)
    ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    return [t.label1 for t in ticks if low - slack <= t.get_loc() <= high + slack]


def test_an_axes_of_ones_own(draw):
    figure, (left, right) = plt.subplots(1, 2, layout="constrained")
    plt.sca(left)
    display = draw(ax=right)
    assert display.ax_ is right
    assert display.figure_ is figure
    assert plt.gca() is left
    assert plt.get_fignums() == [figure.number]
    assert not left.has_data()


def test_plot_draws_again_on_a_new_figure(draw):
    first = draw()
    ax = first.ax_
    assert first.plot() is first
    assert first.ax_ is not ax
    assert plt.get_fignums() == [1, 2]


@pytest.mark.compiled
def test_a_figure_without_pyplot(draw):
    ax = mpl.figure.Figure(layout="constrained").subfigures(1, 2)[0].subplots()
    assert draw(ax=ax).figure_ is ax.figure
    assert plt.get_fignums() == []


def test_no_matplotlib(draw, monkeypatch):
    display = draw()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"Display\.from_\w+ requires matplotlib"):
        draw()
    with pytest.raises(ImportError, match=r"Display\.plot requires matplotlib"):
        display.plot()


@pytest.mark.parametrize(
    "draw_model",
    [
        ConvergenceDisplay.from_estimator,
        FactorMapDisplay.from_estimator,
        lambda model: LossLandscapeDisplay.from_estimator(model, [[0, 0]], [1]),
        lambda model: ColdStartDisplay.from_estimator(model, [[0, 0]], [1]),
        TraceDisplay.from_estimator,
    ],
)
def test_estimators_that_cannot_be_drawn(draw_model, search):
    with pytest.raises(NotFittedError, match="not fitted"):
        draw_model(ALSFactorizer())
    with pytest.raises(TypeError, match="got GridSearchCV: of a search pass best_est"):
        draw_model(search)


@each_model(lambda model: model in FAMILIES or "early_stopping" in model.options)
def test_every_model_is_drawn(model):
    y = model.y()
    fitted = model().fit(X, y)
    name = model.cls.__name__
    shown = ConvergenceDisplay.from_estimator(fitted)
    assert list(shown.objectives[name]) == curve_of(fitted)
    loss = getattr(fitted, "loss", "squared_error")
    special = {
        MultiTaskMF: "joint_loss",
        BayesianMF: "training_rmse",
        BayesianMFClassifier: "training_log_loss",
    }
    assert shown.loss == special.get(model.cls, loss)
    watched = getattr(fitted, "validation_scores_", None) is not None
    assert list(shown.validation_errors) == [name] * watched
    for side in ("user", "item"):
        shown = FactorMapDisplay.from_estimator(fitted, side=side)
        assert len(shown.coordinates) == len(getattr(fitted, f"{side}s_"))
    shown = ColdStartDisplay.from_estimator(fitted, X, y)
    assert shown.n_ratings.sum() == len(y)
    if model.sampled or model.cls in (AutoRec, MultiTaskMF, RankingFactorizer):
        with pytest.raises(TypeError, match=rf"must be .*, got {name}"):
            LossLandscapeDisplay.from_estimator(fitted, X, y)
    if not model.sampled:
        with pytest.raises(TypeError, match=rf"must be a BayesianMF.*, got {name}"):
            TraceDisplay.from_estimator(fitted)


# ------------------------------------------------------------------------- convergence


def test_convergence_data(als, watched):
    display = ConvergenceDisplay.from_estimators({"a": als, "b": watched})
    assert_array_equal(display.lines_["a"].get_xdata(), np.arange(1, 5))
    assert_array_equal(display.lines_["a"].get_ydata(), als.loss_curve_)
    assert_array_equal(display.lines_["b"].get_ydata(), watched.loss_curve_)
    assert list(display.validation_lines_) == ["b"]
    errors = -np.array(watched.validation_scores_)
    assert_array_equal(display.validation_lines_["b"].get_ydata(), errors)
    marker = display.best_markers_["b"]
    assert_array_equal(marker.get_xdata(), [np.argmin(errors) + 1])
    assert_array_equal(marker.get_ydata(), [errors.min()])
    assert display.ax_.get_ylabel() == "objective (units of y²)"
    assert display.validation_ax_.get_ylabel() == "validation RMSE (units of y)"
    names = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert names == ["a", "b", "objective", "validation", "best iteration"]


def test_one_curve_needs_no_legend_and_no_second_axis(als):
    display = ConvergenceDisplay.from_estimator(als, log_scale=True, c="red")
    assert display.validation_ax_ is None
    assert display.ax_.get_legend() is None
    assert display.ax_.get_yscale() == "log"
    display.figure_.canvas.draw()
    ticks = [t for t in shown_ticks(display.ax_.yaxis) if t.get_text()]
    assert len(ticks) >= 3
    assert "times" not in "".join(t.get_text() for t in ticks)
    assert display.lines_["ALSFactorizer"].get_color() == "red"


def test_log_loss_has_other_units(data, als):
    X, y = data
    model = SGDFactorizer(1, loss="log_loss", early_stopping=True, random_state=0)
    model.fit(X, (y - 1) / 4)
    display = ConvergenceDisplay.from_estimator(model)
    assert display.ax_.get_ylabel() == "objective (nats)"
    assert display.validation_ax_.get_ylabel() == "validation log loss (nats)"
    with pytest.raises(ValueError, match="estimators have no unit in common"):
        ConvergenceDisplay.from_estimators({"a": model, "b": als})
    with pytest.raises(ValueError, match="estimators must be a dict"):
        ConvergenceDisplay.from_estimators([model])


# ------------------------------------------------------------------------------- trace


def test_trace_data(chains):
    display = TraceDisplay.from_estimator(chains, lw=2)
    for lines, curves in (
        (display.lines_, chains.error_curve_),
        (display.noise_lines_, chains.noise_curve_),
    ):
        for line, curve in zip(lines, curves, strict=True):
            assert_array_equal(line.get_xdata(), np.arange(1, 26))
            assert_array_equal(line.get_ydata(), curve)
            assert line.get_linewidth() == 2
    assert display.noise_lines_[1].axes is display.noise_ax_
    assert display.burn_in_.get_x() == 0.5
    assert display.burn_in_.get_width() == 5
    assert display.ax_.get_ylabel() == "training RMSE (units of y)"
    assert "(units of y)" in display.noise_ax_.get_ylabel()
    legend = display.ax_.get_legend()
    assert legend.get_title().get_text() == f"R̂ = {chains.r_hat_:.2f}"
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["chain 1", "chain 2", "training error", "noise", "burn-in"]


def test_trace_of_one_short_chain_of_levels(data):
    X, y = data
    options = {"n_samples": 6, "burn_in": 0, "random_state": 0}
    model = BayesianMF(1, likelihood="bernoulli", **options).fit(X, (y - 1) / 4)
    display = TraceDisplay.from_estimator(model)
    assert display.burn_in_ is None
    assert display.ax_.get_ylabel() == "training log loss (nats)"
    assert "latent" in display.noise_ax_.get_ylabel()
    legend = display.ax_.get_legend()
    assert legend.get_title().get_text() == ""  # too few draws for R̂
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["training error", "noise"]
    display = ConvergenceDisplay.from_estimator(model)
    assert display.ax_.get_ylabel() == "training log loss (nats)"


# ------------------------------------------------------------------------------ search


def test_search_data_is_the_best_over_the_other_parameters(search):
    display = SearchDisplay.from_search(
        search, param="regularization", line_param="n_factors", metric="rmse"
    )
    results = search.cv_results_
    assert display.values == [0.01, 0.1, 1]
    assert display.line_values == [1, 3]
    for (i, d), (j, penalty) in itertools.product(
        enumerate(display.line_values), enumerate(display.values)
    ):
        k = min(
            (
                k
                for k, params in enumerate(results["params"])
                if params["n_factors"] == d and params["regularization"] == penalty
            ),
            key=lambda k: -results["mean_test_rmse"][k],
        )
        assert display.test_means[i, j] == -results["mean_test_rmse"][k]
        assert display.test_stds[i, j] == results["std_test_rmse"][k]
        assert display.train_means[i, j] == -results["mean_train_rmse"][k]
        assert display.train_stds[i, j] == results["std_train_rmse"][k]
    assert_array_equal(display.lines_[1].get_xdata(), display.values)
    assert_array_equal(display.lines_[1].get_ydata(), display.test_means[1])
    assert_array_equal(display.train_lines_[0].get_ydata(), display.train_means[0])
    assert display.train_lines_[0].get_linestyle() == "--"
    assert display.lines_[0].get_linestyle() == "-"
    assert display.ax_.get_xscale() == "log"
    assert display.ax_.get_ylabel() == "RMSE (units of y)"
    names = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert names == ["n_factors = 1", "n_factors = 3", "test folds", "training folds"]


@pytest.mark.parametrize(
    ("scoring", "metric", "name", "sign"),
    [
        (None, "score", "RMSE (units of y)", -1),
        ("neg_mean_absolute_error", "score", "MAE (units of y)", -1),
        ("r2", "score", "R²", 1),
        (["neg_mean_squared_error"], "neg_mean_squared_error", "MSE (units of y²)", -1),
        (lambda e, X, y: {"neg_loss": -2.0}, "neg_loss", "loss", -1),
        (lambda e, X, y: 2.0, "score", "score", 1),
        (None, "fit_time", "fit time (s)", 1),
    ],
)
def test_errors_read_as_errors(data, scoring, metric, name, sign):
    model = Pipeline([("mf", ALSFactorizer(1, **FAST))])
    grid = {"mf__regularization": [0.1, 0.2]}
    cv = KFold(2, shuffle=True, random_state=0)
    search = GridSearchCV(model, grid, scoring=scoring, cv=cv, refit=False).fit(*data)
    display = SearchDisplay.from_search(
        search, param="mf__regularization", metric=metric, std_display_style=None
    )
    key = "mean_fit_time" if metric == "fit_time" else f"mean_test_{metric}"
    assert_array_equal(display.test_means, sign * search.cv_results_[key][None])
    assert display.metric_name == name
    assert display.train_means is None
    assert display.spreads_ == []
    assert display.ax_.get_xscale() == "linear"
    assert display.ax_.get_legend() is None


def test_score_of_other_estimators_keeps_its_sign(data):
    search = GridSearchCV(LinearRegression(), {"fit_intercept": [True, False]})
    display = SearchDisplay.from_search(search.fit(*data), param="fit_intercept")
    scores = dict(
        zip(
            search.cv_results_["param_fit_intercept"],
            search.cv_results_["mean_test_score"],
            strict=True,
        )
    )
    assert_array_equal(display.test_means[0], [scores[v] for v in display.values])
    ticks = [text.get_text() for text in display.ax_.get_xticklabels()]
    assert ticks == list(map(str, display.values))


def test_points_that_a_search_has_not(data):
    grid = [
        {"solver": ["cholesky"], "regularization": [0, 0.1, 1]},
        {"solver": ["cg"], "cg_steps": [1, 2], "regularization": [1]},
    ]
    search = GridSearchCV(ALSFactorizer(2, **FAST), grid, cv=KFold(2, shuffle=True))
    search.fit(*data)
    options = {"param": "regularization", "std_display_style": "fill_between"}
    display = SearchDisplay.from_search(search, line_param="solver", **options)
    assert display.line_values == ["cg", "cholesky"]
    assert_array_equal(np.isnan(display.test_means[0]), [True, True, False])
    assert display.ax_.get_xscale() == "symlog"
    display = SearchDisplay.from_search(search, line_param="cg_steps", **options)
    assert display.line_values == [1, 2]
    assert np.isfinite(display.test_means).sum() == 2


def test_search_options_are_checked(search):
    with pytest.raises(NotFittedError):
        SearchDisplay.from_search(GridSearchCV(ALSFactorizer(), {}), param="tol")
    with pytest.raises(ValueError, match=r"param='tol' .* choose one of \['fit_inter"):
        SearchDisplay.from_search(search, param="tol")
    with pytest.raises(ValueError, match=r"line_param='tol' is not a parameter"):
        SearchDisplay.from_search(search, param="n_factors", line_param="tol")
    with pytest.raises(ValueError, match=r"metric='score' .* \['rmse', 'r2', 'fit_ti"):
        SearchDisplay.from_search(search, param="n_factors")
    with pytest.raises(ValueError, match="std_display_style must be"):
        SearchDisplay.from_search(
            search, param="n_factors", metric="r2", std_display_style="bars"
        )


# --------------------------------------------------------------------------- landscape

LANDSCAPES = [
    ALSFactorizer(1, **FAST),
    ALSFactorizer(3, fit_intercept=False, weighted_regularization=False, **FAST),
    ALSFactorizer(2, unobserved_weight=0.3, **FAST),
    SGDFactorizer(2, **FAST),
    SGDFactorizer(2, loss="log_loss", **FAST),
    BiasedMF(0, **FAST),
    BiasedMF(2, bias_regularization=0.3, loss="log_loss", **FAST),
    BiasedMF(2, solver="als", bias_regularization=0.3, unobserved_weight=0.1, **FAST),
]


@pytest.mark.parametrize("model", LANDSCAPES, ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_landscape_is_the_objective_as_written(data, model, weighted):
    X, y = data
    logistic, biased = model._logistic, isinstance(model, BiasedMF)
    y = (y - 1) / 4 if logistic else y
    weights = np.random.default_rng(0).uniform(0.5, 2, len(y)) if weighted else None
    model.fit(X, y, weights)
    display = LossLandscapeDisplay.from_estimator(
        model, X, y, weights, span=0.5, n_points=5, random_state=3
    )
    assert_array_equal(display.steps, [-0.5, -0.25, 0, 0.25, 0.5])

    users, items = (
        np.searchsorted(ids, column)
        for ids, column in zip((model.users_, model.items_), X.T, strict=True)
    )
    alpha = getattr(model, "unobserved_weight", 0)
    R, W = reference.dense(users, items, y, weights, alpha)
    P, Q = model.user_factors_, model.item_factors_
    if biased:
        P = np.column_stack([P, model.user_biases_])
        Q = np.column_stack([Q, model.item_biases_])
    mu = model.global_mean_
    mu = np.log(mu / (1 - mu)) if logistic else mu
    lam_b = None
    if biased:
        lam_b = model.bias_regularization_
    rest = mu, model.regularization_, model.weighted_regularization, lam_b
    n = P.size + Q.size
    drawn = np.random.RandomState(3).normal(size=(n, 2))
    directions = np.linalg.qr(drawn)[0].T
    assert_allclose(directions @ directions.T, np.eye(2), atol=1e-12)
    theta = np.concatenate([P.ravel(), Q.ravel()])
    directions *= np.linalg.norm(theta)
    for (i, b), (j, a) in itertools.product(enumerate(display.steps), repeat=2):
        moved = theta + a * directions[0] + b * directions[1]
        moved = moved[: P.size].reshape(P.shape), moved[P.size :].reshape(Q.shape)
        expected = reference.objective(R, W, *moved, *rest, logistic=logistic)
        assert_allclose(display.objectives[i, j], expected, rtol=1e-9)


@pytest.mark.parametrize("options", [{}, {"unobserved_weight": 1}, {"solver": "cg"}])
def test_the_centre_of_a_landscape_is_the_end_of_the_loss_curve(data, options):
    X, y = data
    R = as_matrix(X, y, shape=(45, 30))  # with users that have no rating
    for ratings in ((X, y), (sparse.csr_array(R),)):
        model = ALSFactorizer(3, **FAST, **options).fit(*ratings)
        display = LossLandscapeDisplay.from_estimator(model, *ratings, n_points=3)
        assert_allclose(display.objectives[1, 1], model.loss_curve_[-1], rtol=1e-10)
    assert_array_equal(display.solution_.get_xydata(), [[0, 0]])
    assert display.colorbar_.ax.get_ylabel() == "objective (units of y²)"


def test_float32_fits_have_a_landscape(data):
    X, y = data[0], data[1].astype(np.float32)
    model = ALSFactorizer(3, **FAST).fit(X, y)
    display = LossLandscapeDisplay.from_estimator(model, X, y, n_points=3)
    assert_allclose(display.objectives[1, 1], model.loss_curve_[-1], rtol=1e-5)


def test_landscape_options_are_checked(als, data):
    X, y = data
    with pytest.raises(ValueError, match="X has 1 users that were not seen in fit: pa"):
        LossLandscapeDisplay.from_estimator(als, [[999, 3]], [1.0])
    with pytest.raises(InvalidParameterError, match="'span' parameter"):
        LossLandscapeDisplay.from_estimator(als, X, y, span=0)
    with pytest.raises(InvalidParameterError, match="'n_points' parameter"):
        LossLandscapeDisplay.from_estimator(als, X, y, n_points=1)


# -------------------------------------------------------------------------- factor map


@pytest.mark.parametrize("side", ["item", "user"])
def test_factor_map_data(als, data, side):
    display = FactorMapDisplay.from_estimator(als, side=side)
    factors = getattr(als, f"{side}_factors_")
    centred = factors - factors.mean(axis=0)
    _, s, Vt = np.linalg.svd(centred, full_matrices=False)
    expected = centred @ Vt[:2].T
    signs = np.sign((expected * display.coordinates).sum(axis=0))
    assert_allclose(display.coordinates, expected * signs, atol=1e-10)
    assert_allclose(display.explained_variance_ratio, s[:2] ** 2 / (s**2).sum())
    column = data[0][:, ["user", "item"].index(side)]
    assert_array_equal(display.counts, np.unique(column, return_counts=True)[1])
    assert display.labels == [str(i) for i in getattr(als, f"{side}s_")]
    assert display.ax_.get_xlabel().startswith(f"{side} factors, component 1 (")
    assert_allclose(display.scatter_.get_offsets(), display.coordinates)


def test_labels_of_a_map_do_not_overlap(als):
    labels = {i: f"A film of ${i} with $ and a long title" for i in als.items_[1:]}
    display = FactorMapDisplay.from_estimator(als, labels=labels, n_labels=30)
    display.figure_.canvas.draw()
    assert display.labels[0] == str(als.items_[0])
    assert 5 <= len(display.texts_) < 30
    assert_apart(display.texts_)
    frame = display.ax_.get_window_extent()
    for box in boxes(display.texts_):
        assert frame.x0 <= box.x0 <= box.x1 <= frame.x1
        assert frame.y0 <= box.y0 <= box.y1 <= frame.y1
    most_rated = display.labels[np.argmax(display.counts)]
    assert display.texts_[0].get_text() == most_rated


def test_ids_of_a_map(als):
    ids = als.items_[[4, 2]].tolist()
    names = [f"film {k}" for k in range(len(als.items_))]
    every = FactorMapDisplay.from_estimator(als, labels=names)
    some = FactorMapDisplay.from_estimator(als, labels=names, ids=ids, n_labels=0)
    assert some.labels == ["film 4", "film 2"]
    assert some.texts_ == []
    assert_allclose(some.coordinates, every.coordinates[[4, 2]])


def test_a_map_of_one_factor(data):
    model = ALSFactorizer(1, **FAST).fit(*data)
    display = FactorMapDisplay.from_estimator(model)
    factors = model.item_factors_ - model.item_factors_.mean()
    assert_allclose(np.abs(display.coordinates), np.abs(factors))
    assert_array_equal(display.scatter_.get_offsets()[:, 1], display.counts)
    assert display.ax_.get_ylabel() == "number of ratings of the item"


def test_map_options_are_checked(als, data):
    with pytest.raises(InvalidParameterError, match="'side' parameter"):
        FactorMapDisplay.from_estimator(als, side="film")
    with pytest.raises(InvalidParameterError, match="'n_labels' parameter"):
        FactorMapDisplay.from_estimator(als, n_labels=-1)
    with pytest.raises(ValueError, match="labels has 1 names, but items_ has 30 ids"):
        FactorMapDisplay.from_estimator(als, labels=["Heat"])
    with pytest.raises(ValueError, match=r"ids \[99\] were not seen .* side='user'"):
        FactorMapDisplay.from_estimator(als, ids=[3, 99])
    with pytest.raises(ValueError, match="ids is empty"):
        FactorMapDisplay.from_estimator(als, ids=[])
    with pytest.raises(ValueError, match="n_factors=0 leaves nothing to map"):
        FactorMapDisplay.from_estimator(BiasedMF(0, **FAST).fit(*data))


# -------------------------------------------------------------------------- cold start


@pytest.mark.parametrize("side", ["user", "item"])
@pytest.mark.parametrize(
    "model",
    [
        ALSFactorizer(2, **FAST),
        SGDFactorizer(1, loss="log_loss", early_stopping=True, random_state=0),
        BiasedMF(0, **FAST),
    ],
    ids=str,
)
def test_cold_start_data(data, model, side):
    X, y = data[0], (data[1] - 1) / 4
    X_train, X_test, y_train, y_test = X[:300], X[300:].copy(), y[:300], y[300:]
    X_test[:9] += 1000  # unseen ids
    model.fit(X_train, y_train)
    display = ColdStartDisplay.from_estimator(
        model, X_test, y_test, side=side, bins=[0, 1, 6, 12, 100, 1000]
    )
    column = ["user", "item"].index(side)
    counts = np.array([(X_train[:, column] == i).sum() for i in X_test[:, column]])
    y_pred = model.predict(X_test)
    assert_array_equal(display.lows, [0, 1, 6, 12, 100])
    assert_array_equal(display.highs, [0, 5, 11, 99, 999])
    for low, high, error, n in zip(
        display.lows, display.highs, display.errors, display.n_ratings, strict=True
    ):
        inside = (counts >= low) & (counts <= high)
        assert n == inside.sum()
        if n:
            expected = root_mean_squared_error(y_test[inside], y_pred[inside])
            assert_allclose(error, expected)
        else:
            assert np.isnan(error)
    assert display.n_ratings[0] >= 9
    assert_array_equal([bar.get_height() for bar in display.bars_], display.n_ratings)
    assert [text.get_text() for text in display.count_ax_.texts] == [
        f"{n:,}" for n in display.n_ratings
    ]
    assert display.ax_.get_xlabel() == f"number of training ratings of the {side}"


@pytest.mark.parametrize(
    ("counts", "bins", "lows", "highs"),
    [
        ([0, 1, 15], "auto", [0, 1, 2, 4, 8], [0, 1, 3, 7, 15]),
        ([0, 20, 159], 3, [0, 20, 40, 80], [0, 39, 79, 159]),
        ([5, 5], "auto", [5], [5]),
        ([0, 0], "auto", [0], [0]),
        ([1, 2], 9, [1, 2], [1, 2]),
    ],
)
def test_bins(counts, bins, lows, highs):
    y = np.zeros(len(counts))
    display = ColdStartDisplay.from_predictions(y, y + 2, counts, bins=bins)
    assert_array_equal(display.lows, lows)
    assert_array_equal(display.highs, highs)
    assert display.n_ratings.sum() == len(counts)
    assert np.nanmin(display.errors) == np.nanmax(display.errors) == 2


def test_many_ratings_have_few_bins():
    counts = np.arange(1, 100_000, 7)
    y = np.zeros(len(counts))
    display = ColdStartDisplay.from_predictions(y, y, counts, side="item")
    assert len(display.lows) == 8
    ratios = (display.highs + 1) / display.lows
    assert_allclose(ratios[2:], ratios[-1], rtol=0.1)


@pytest.mark.parametrize(
    ("bins", "message"),
    [
        ("fine", 'bins must be "auto", a number of 1 or more, or edges'),
        (0, 'bins must be "auto", a number of 1 or more, or edges'),
        ([3, 1], "bins must be ascending edges"),
        ([1], "bins must be ascending edges"),
        ([0, 1.5], "bins must be whole numbers"),
        ([50, 100], "bins from 50 to 100 hold none .* from 3 to 7: choose other edges"),
    ],
)
def test_bins_are_checked(bins, message):
    with pytest.raises(ValueError, match=message):
        ColdStartDisplay.from_predictions([1, 2], [1, 2], [3, 7], bins=bins)


def test_cold_start_input_is_checked(als):
    with pytest.raises(InvalidParameterError, match="'side' parameter"):
        ColdStartDisplay.from_estimator(als, [[0, 0]], [1], side="film")
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        ColdStartDisplay.from_estimator(als, [[0, 0]], [1, 2])
