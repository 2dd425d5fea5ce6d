"""Pictures of fits, searches and fitted models, as Displays in scikit-learn's manner.

A Display holds the data of one picture. Its class methods compute them and draw, and
`plot` draws them again. matplotlib (extra ``plot``) is imported only then.

Legends stand above the axes: for an axes of your own, make the figure with
``layout="constrained"``, which leaves them room.
"""

import copy
from collections.abc import Mapping
from numbers import Integral, Real

import numpy as np
from sklearn.decomposition import PCA
from sklearn.utils import check_consistent_length, check_random_state, gen_batches
from sklearn.utils._optional_dependencies import check_matplotlib_support
from sklearn.utils._param_validation import Interval, StrOptions, validate_params
from sklearn.utils._plotting import _validate_style_kwargs
from sklearn.utils.validation import _check_y, check_is_fitted

from sklearn_mf._base import BaseFactorizer
from sklearn_mf._objective import Objective, to_intercept
from sklearn_mf._ratings import read_ids, read_pairs, read_ratings

__all__ = [
    "ColdStartDisplay",
    "ConvergenceDisplay",
    "FactorMapDisplay",
    "LossLandscapeDisplay",
    "SearchDisplay",
]

OBJECTIVES = {
    "squared_error": "objective (units of y²)",
    "log_loss": "objective (nats)",
}
VALIDATION_ERRORS = {
    "squared_error": "validation RMSE (units of y)",
    "log_loss": "validation log loss (nats)",
}
METRICS = {
    "root_mean_squared_error": "RMSE (units of y)",
    "mean_squared_error": "MSE (units of y²)",
    "mean_absolute_error": "MAE (units of y)",
    "median_absolute_error": "median absolute error (units of y)",
    "r2_score": "R²",
    "fit_time": "fit time (s)",
    "score_time": "score time (s)",
}
BATCH = 2**16  # scores of a landscape that are held at once
MAX_BINS = 8
SIDE = {"side": [StrOptions({"user", "item"})]}


def _check_model(model, name="estimator"):
    if not isinstance(model, BaseFactorizer):
        raise TypeError(
            f"{name} must be an ALSFactorizer, SGDFactorizer or BiasedMF, got "
            f"{type(model).__name__}: of a search pass best_estimator_, of a pipeline "
            "its last step."
        )
    check_is_fitted(model)


def _loss_of(model):
    return "log_loss" if model._logistic else "squared_error"


def _count_ratings(model, side):
    """Give the number of training ratings of each id of a side."""
    if side == "user":
        return np.diff(model.seen_indptr_)
    return np.bincount(model.seen_indices_, minlength=len(model.items_))


def _set_axes(display, ax):
    """Give the axes to draw on, in place of None a new one; the display notes it."""
    check_matplotlib_support(f"{type(display).__name__}.plot")
    if ax is None:
        import matplotlib.pyplot as plt

        _, ax = plt.subplots(layout="constrained")
    display.ax_, display.figure_ = ax, ax.figure
    return ax


def _add_twin(ax):
    """Add a second y axis; the axes that pyplot draws on stays what it is."""
    current = ax.figure.gca()
    twin = ax.twinx()
    ax.figure.sca(current)
    return twin


def _tick_within_a_decade(axis):
    """Put round numbers on a logarithmic axis that shows less than a decade."""
    from matplotlib.ticker import MaxNLocator, NullLocator, ScalarFormatter

    low, high = axis.get_view_interval()
    if high < 10 * low:
        axis.set_major_locator(MaxNLocator(7))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(ScalarFormatter())


def _add_legend(ax, handles, title=None):
    """Add a legend above the axes, where it hides nothing."""
    return ax.legend(
        handles=handles,
        title=title,
        loc="lower center",
        bbox_to_anchor=(0.5, 1),
        ncols=min(len(handles), 3),
        frameon=False,
    )


# ------------------------------------------------------------------------- convergence


class ConvergenceDisplay:
    """The objective, and the validation error where there is one, of each iteration.

    Use `from_estimator` or `from_estimators` to make one.

    Parameters
    ----------
    objectives : dict of str to array-like of shape (n_iter,)
        The objective after each iteration, by the name of the estimator.
    validation_errors : dict of str to array-like of shape (n_iter,), or None
        The error of held-out ratings, of the estimators that have one.
    best_iters : dict of str to int, or None
        The iteration, counted from 1, that was kept, of the same estimators.
    loss : {"squared_error", "log_loss"}, default="squared_error"
        What was minimised; it names the units.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        Where it is drawn.
    validation_ax_ : matplotlib Axes or None
        The axis of the validation errors, on the right.
    lines_, validation_lines_, best_markers_ : dicts of str to matplotlib Line2D
        Objectives, validation errors (dashed), and stars at the iterations kept.

    Examples
    --------
    >>> from sklearn_mf import ALSFactorizer, SGDFactorizer
    >>> from sklearn_mf.datasets import make_ratings
    >>> from sklearn_mf.inspection import ConvergenceDisplay
    >>> X, y = make_ratings(100, 50, 1000, random_state=0)
    >>> als = ALSFactorizer(2, random_state=0).fit(X, y)
    >>> sgd = SGDFactorizer(2, early_stopping=True, random_state=0).fit(X, y)
    >>> display = ConvergenceDisplay.from_estimators({"ALS": als, "SGD": sgd})
    >>> list(display.lines_), list(display.validation_lines_)
    (['ALS', 'SGD'], ['SGD'])
    """

    def __init__(
        self,
        *,
        objectives,
        validation_errors=None,
        best_iters=None,
        loss="squared_error",
    ):
        self.objectives = objectives
        self.validation_errors = validation_errors
        self.best_iters = best_iters
        self.loss = loss

    @classmethod
    def from_estimator(
        cls, estimator, *, name=None, ax=None, log_scale=False, **line_kwargs
    ):
        """Draw the convergence of one estimator.

        Parameters
        ----------
        estimator : ALSFactorizer, SGDFactorizer or BiasedMF
            A fitted estimator.
        name : str or None, default=None
            What the legend calls it. None: its class.
        ax : matplotlib Axes or None, default=None
            Where to draw. None: a new figure.
        log_scale : bool, default=False
            Whether the values have a logarithmic axis.
        **line_kwargs : dict
            For matplotlib's `plot`, of all lines.

        Returns
        -------
        ConvergenceDisplay
        """
        name = type(estimator).__name__ if name is None else name
        return cls._from_models(
            "from_estimator", {name: estimator}, ax, log_scale, line_kwargs
        )

    @classmethod
    def from_estimators(cls, estimators, *, ax=None, log_scale=False, **line_kwargs):
        """Draw the convergence of several estimators on one axes.

        Parameters
        ----------
        estimators : dict of str to estimator
            Fitted estimators by the names that the legend gives them.
        ax, log_scale, **line_kwargs
            See `from_estimator`.

        Returns
        -------
        ConvergenceDisplay

        Raises
        ------
        ValueError
            If some of them minimise the squared error and some the log loss.
        """
        if not isinstance(estimators, Mapping) or not estimators:
            raise ValueError(
                'estimators must be a dict such as {"ALS": als, "SGD": sgd}, got '
                f"{estimators!r}."
            )
        return cls._from_models(
            "from_estimators", estimators, ax, log_scale, line_kwargs
        )

    @classmethod
    def _from_models(cls, caller, models, ax, log_scale, line_kwargs):
        check_matplotlib_support(f"{cls.__name__}.{caller}")
        for name, model in models.items():
            _check_model(model, f"estimator {name!r}")
        losses = {name: _loss_of(model) for name, model in models.items()}
        if len(set(losses.values())) > 1:
            raise ValueError(
                f"estimators have no unit in common, since their losses are {losses}: "
                "draw each loss on an axes of its own."
            )
        watched = {
            name: model
            for name, model in models.items()
            if getattr(model, "validation_scores_", None) is not None
        }
        display = cls(
            objectives={
                name: np.array(model.loss_curve_) for name, model in models.items()
            },
            validation_errors={
                name: -np.array(model.validation_scores_)
                for name, model in watched.items()
            },
            best_iters={name: model.best_iter_ for name, model in watched.items()},
            loss=next(iter(losses.values())),
        )
        return display.plot(ax, log_scale=log_scale, **line_kwargs)

    def plot(self, ax=None, *, log_scale=False, **line_kwargs):
        """Draw the curves.

        Parameters
        ----------
        ax, log_scale, **line_kwargs
            See `from_estimator`.

        Returns
        -------
        self : ConvergenceDisplay
        """
        ax = _set_axes(self, ax)
        from matplotlib.lines import Line2D

        errors, best_iters = self.validation_errors or {}, self.best_iters or {}
        self.validation_ax_ = _add_twin(ax) if errors else None
        self.lines_, self.validation_lines_, self.best_markers_ = {}, {}, {}
        star = {"linestyle": "none", "marker": "*", "markersize": 12}

        def draw(ax, values, default):
            if len(values) == 1:  # a line of one point shows nothing
                default["marker"] = "."
            style = _validate_style_kwargs(default, line_kwargs)
            (line,) = ax.plot(np.arange(1, len(values) + 1), values, **style)
            return line

        for k, (name, values) in enumerate(self.objectives.items()):
            default = {"color": f"C{k}", "label": name}
            self.lines_[name] = draw(ax, values, default)
            if name not in errors:
                continue
            default["linestyle"] = "--"
            line = draw(self.validation_ax_, errors[name], default)
            self.validation_lines_[name] = line
            if name in best_iters:
                (self.best_markers_[name],) = self.validation_ax_.plot(
                    best_iters[name],
                    errors[name][best_iters[name] - 1],
                    color=line.get_color(),
                    label=name,
                    **star,
                )
        ax.set(xlabel="iteration", ylabel=OBJECTIVES[self.loss])
        ax.xaxis.get_major_locator().set_params(integer=True)
        if errors:
            self.validation_ax_.set_ylabel(VALIDATION_ERRORS[self.loss])
        if log_scale:
            for axes in filter(None, (ax, self.validation_ax_)):
                axes.set_yscale("log")
                _tick_within_a_decade(axes.yaxis)
        handles = list(self.lines_.values())
        if errors:
            handles += [
                Line2D([], [], color="0.4", label="objective"),
                Line2D([], [], color="0.4", label="validation", linestyle="--"),
            ]
        if self.best_markers_:
            handles.append(Line2D([], [], color="0.4", label="best iteration", **star))
        if len(handles) > 1:
            _add_legend(ax, handles)
        return self


# ------------------------------------------------------------------------------ search


class SearchDisplay:
    """A metric of a search against a parameter, a line for each value of another one.

    Use `from_search` to make one. Where other parameters vary too, or the search came
    to a point more than once, a point shows the best candidate of its two values: the
    one with the best mean over the test folds, or the least time.

    Parameters
    ----------
    values : list of shape (n_values,)
        Values of the parameter: numbers, or anything else.
    test_means, test_stds : array-likes of shape (n_lines, n_values)
        Mean and standard deviation of the metric over the test folds; NaN where the
        search has no candidate.
    train_means, train_stds : array-likes of shape (n_lines, n_values), or None
        The same over the training folds.
    line_values : list of shape (n_lines,), or None
        Values of the other parameter.
    param_name, line_param_name : str, and str or None
        Names of the two.
    metric_name : str
        What the y axis shows, with its unit.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        Where it is drawn.
    lines_, train_lines_ : lists of matplotlib Line2D
        Test (solid) and training folds (dashed).
    spreads_ : list of matplotlib artists
        Error bars or bands.

    Examples
    --------
    >>> from sklearn.model_selection import GridSearchCV, KFold
    >>> from sklearn_mf import ALSFactorizer
    >>> from sklearn_mf.datasets import make_ratings
    >>> from sklearn_mf.inspection import SearchDisplay
    >>> X, y = make_ratings(100, 50, 1000, random_state=0)
    >>> grid = {"n_factors": [1, 2], "regularization": [0.03, 0.1, 0.3, 1]}
    >>> search = GridSearchCV(
    ...     ALSFactorizer(random_state=0), grid, cv=KFold(3, shuffle=True)
    ... ).fit(X, y)
    >>> display = SearchDisplay.from_search(
    ...     search, param="regularization", line_param="n_factors"
    ... )
    >>> display.metric_name, display.test_means.shape
    ('RMSE (units of y)', (2, 4))
    """

    def __init__(
        self,
        *,
        values,
        test_means,
        test_stds,
        train_means=None,
        train_stds=None,
        line_values=None,
        param_name,
        line_param_name=None,
        metric_name,
    ):
        self.values = values
        self.test_means = test_means
        self.test_stds = test_stds
        self.train_means = train_means
        self.train_stds = train_stds
        self.line_values = line_values
        self.param_name = param_name
        self.line_param_name = line_param_name
        self.metric_name = metric_name

    @classmethod
    @validate_params(
        {
            "param": [str],
            "line_param": [str, None],
            "metric": [str],
            "train": ["boolean"],
        },
        prefer_skip_nested_validation=True,
    )
    def from_search(
        cls,
        search,
        *,
        param,
        line_param=None,
        metric="score",
        train=True,
        ax=None,
        std_display_style="errorbar",
        **line_kwargs,
    ):
        """Draw the results of a search.

        Parameters
        ----------
        search : GridSearchCV, RandomizedSearchCV or the like
            A fitted search; its `cv_results_` are drawn.
        param : str
            The parameter on the x axis, which is logarithmic if its values span a
            factor of 10 or more.
        line_param : str or None, default=None
            The parameter that has a line for each of its values.
        metric : str, default="score"
            The name of a metric of the search, "fit_time" or "score_time". Negative
            errors, `score` of this library's estimators among them, are drawn as the
            errors that they are.
        train : bool, default=True
            Whether to draw the training folds too, where the search was made with
            ``return_train_score=True``.
        ax : matplotlib Axes or None, default=None
            Where to draw. None: a new figure.
        std_display_style : {"errorbar", "fill_between", None}, default="errorbar"
            How the standard deviation over the folds is drawn.
        **line_kwargs : dict
            For matplotlib's `plot`, of all lines.

        Returns
        -------
        SearchDisplay

        Raises
        ------
        ValueError
            If the search has no such parameter or metric.
        """
        check_matplotlib_support(f"{cls.__name__}.from_search")
        check_is_fitted(search, "cv_results_")
        results = search.cv_results_
        params = [key[6:] for key in results if key.startswith("param_")]
        for name, value in (("param", param), ("line_param", line_param)):
            if value is not None and value not in params:
                raise ValueError(
                    f"{name}={value!r} is not a parameter of the search: choose one of "
                    f"{params}."
                )
        is_time = metric in ("fit_time", "score_time")
        means = f"mean_{metric}" if is_time else f"mean_test_{metric}"
        if means not in results:
            metrics = [key[10:] for key in results if key.startswith("mean_test_")]
            raise ValueError(
                f"metric={metric!r} is not a metric of the search: choose one of "
                f"{[*metrics, 'fit_time', 'score_time']}."
            )
        metric_name, sign = _name_metric(search, metric)
        values, columns = _distinct(results[f"param_{param}"])
        line_values, rows = None, np.zeros(len(columns), dtype=int)
        if line_param is not None:
            line_values, rows = _distinct(results[f"param_{line_param}"])
        merits = -results[means] if is_time else results[means]
        best = np.full((len(line_values or [None]), len(values)), -1)
        for k in np.argsort(-merits, kind="stable")[::-1]:  # the best comes last
            if rows[k] >= 0 and columns[k] >= 0 and np.isfinite(merits[k]):
                best[rows[k], columns[k]] = k

        def pick(key, factor=1):
            return np.where(best >= 0, factor * results[key][best], np.nan)

        data = {
            "test_means": pick(means, sign),
            "test_stds": pick(means.replace("mean_", "std_", 1)),
        }
        if train and f"mean_train_{metric}" in results:
            data["train_means"] = pick(f"mean_train_{metric}", sign)
            data["train_stds"] = pick(f"std_train_{metric}")
        display = cls(
            values=values,
            line_values=line_values,
            param_name=param,
            line_param_name=line_param,
            metric_name=metric_name,
            **data,
        )
        return display.plot(ax, std_display_style=std_display_style, **line_kwargs)

    def plot(self, ax=None, *, std_display_style="errorbar", **line_kwargs):
        """Draw the lines.

        Parameters
        ----------
        ax, std_display_style, **line_kwargs
            See `from_search`.

        Returns
        -------
        self : SearchDisplay
        """
        if std_display_style not in ("errorbar", "fill_between", None):
            raise ValueError(
                'std_display_style must be "errorbar", "fill_between" or None, got '
                f"{std_display_style!r}."
            )
        ax = _set_axes(self, ax)
        from matplotlib import colormaps
        from matplotlib.lines import Line2D

        self.lines_, self.train_lines_, self.spreads_ = [], [], []
        x = _scale_axis(ax, self.values)
        n_lines = len(self.test_means)
        colors = [f"C{k}" for k in range(n_lines)]
        if n_lines > 1 and _are_numbers(self.line_values):
            colors = list(colormaps["viridis"](np.linspace(0, 0.85, n_lines)))
        parts = [(self.lines_, "test folds", "-", self.test_means, self.test_stds)]
        if self.train_means is not None:
            train = "training folds", "--", self.train_means, self.train_stds
            parts.append((self.train_lines_, *train))
        for k, color in enumerate(colors):
            for lines, part, linestyle, means, stds in parts:
                shown = np.isfinite(means[k])
                label = part
                if self.line_param_name is not None:
                    label = f"{self.line_param_name} = {_as_text(self.line_values[k])}"
                default = {
                    "color": color,
                    "label": label,
                    "linestyle": linestyle,
                    "marker": "o",
                    "markersize": 4,
                }
                style = _validate_style_kwargs(default, line_kwargs)
                at, mean = x[shown], np.asarray(means[k])[shown]
                std = np.asarray(stds[k])[shown]
                (line,) = ax.plot(at, mean, **style)
                lines.append(line)
                color = line.get_color()
                if std_display_style == "errorbar":
                    self.spreads_.append(
                        ax.errorbar(
                            at, mean, std, fmt="none", ecolor=color, capsize=2, lw=1
                        )
                    )
                elif std_display_style == "fill_between":
                    self.spreads_.append(
                        ax.fill_between(
                            at, mean - std, mean + std, color=color, alpha=0.2, lw=0
                        )
                    )
        _tick_axis(ax, self.values, x)
        ax.set(xlabel=self.param_name, ylabel=self.metric_name)
        handles = list(self.lines_)
        if self.line_param_name is None:
            handles += self.train_lines_
        elif self.train_lines_:
            handles += [
                Line2D([], [], color="0.4", linestyle=linestyle, label=part)
                for _, part, linestyle, *_ in parts
            ]
        if len(handles) > 1:
            _add_legend(ax, handles)
        return self


def _name_metric(search, metric):
    """Give the name of a metric with its unit, and the sign that makes it so."""
    if metric in ("fit_time", "score_time"):
        return METRICS[metric], 1
    model = getattr(search.estimator, "_final_estimator", search.estimator)
    if search.scoring is None and isinstance(model, BaseFactorizer):
        return METRICS["root_mean_squared_error"], -1
    scorer = getattr(search, "scorer_", None)
    if isinstance(scorer, Mapping):
        scorer = scorer.get(metric)
    sign = getattr(scorer, "_sign", 1)
    name = getattr(getattr(scorer, "_score_func", None), "__name__", metric)
    if name not in METRICS and metric != "score":
        name = metric
    if name.startswith("neg_"):
        name, sign = name[4:], -1
    return METRICS.get(name, name.replace("_", " ")), sign


def _distinct(column):
    """Give the distinct values of a masked column, sorted if they can be, and codes.

    The code of a masked entry is -1.
    """
    masked = np.ma.getmaskarray(column).tolist()
    entries = np.ma.getdata(column).tolist()
    values = [v for v, out in zip(entries, masked, strict=True) if not out]
    values = [v for k, v in enumerate(values) if v not in values[:k]]
    if _are_numbers(values) or all(isinstance(v, str) for v in values):
        values.sort()
    codes = [
        -1 if out else values.index(v) for v, out in zip(entries, masked, strict=True)
    ]
    return values, np.array(codes)


def _are_numbers(values):
    return all(isinstance(v, Real) and not isinstance(v, bool) for v in values)


def _as_text(value):
    return f"{value:g}" if _are_numbers([value]) else str(value)


def _scale_axis(ax, values):
    """Choose the scale of the x axis for values; give where on it they stand."""
    if not _are_numbers(values):
        return np.arange(len(values))
    x = np.array(values, dtype=float)
    positive = x[x > 0]
    if x.min() >= 0 and len(positive) and positive.max() >= 10 * positive.min():
        if len(positive) == len(x):
            ax.set_xscale("log")
        else:
            ax.set_xscale("symlog", linthresh=positive.min())
    return x


def _tick_axis(ax, values, x):
    """Label the values on the x axis, unless numbers stand too close."""
    if _are_numbers(values):
        places = np.sort(ax.xaxis.get_transform().transform(x))
        if len(x) > 1 and np.diff(places).min() < np.ptp(places) / 12:
            return
    ax.set_xticks(x, labels=list(map(_as_text, values)))
    ax.minorticks_off()


# --------------------------------------------------------------------------- landscape


class LossLandscapeDisplay:
    """The objective on a plane through the solution, in two random directions.

    Use `from_estimator` to make one.

    Parameters
    ----------
    steps : array-like of shape (n_points,)
        Steps from the solution in either direction, in norms of all its parameters.
    objectives : array-like of shape (n_points, n_points)
        The objective after step ``steps[j]`` in the first direction and ``steps[i]`` in
        the second.
    loss : {"squared_error", "log_loss"}, default="squared_error"
        What is minimised; it names the unit.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        Where it is drawn.
    contours_ : matplotlib QuadContourSet
        The objective.
    solution_ : matplotlib Line2D
        The mark of the solution.
    colorbar_ : matplotlib Colorbar
        The values of the colours.

    Examples
    --------
    >>> from sklearn_mf import ALSFactorizer
    >>> from sklearn_mf.datasets import make_ratings
    >>> from sklearn_mf.inspection import LossLandscapeDisplay
    >>> X, y = make_ratings(100, 50, 1000, random_state=0)
    >>> als = ALSFactorizer(2, random_state=0).fit(X, y)
    >>> display = LossLandscapeDisplay.from_estimator(als, X, y, random_state=0)
    >>> bool(abs(display.objectives[15, 15] - als.loss_curve_[-1]) < 1e-6)
    True
    """

    def __init__(self, *, steps, objectives, loss="squared_error"):
        self.steps = steps
        self.objectives = objectives
        self.loss = loss

    @classmethod
    @validate_params(
        {
            "span": [Interval(Real, 0, None, closed="neither")],
            "n_points": [Interval(Integral, 2, None, closed="left")],
            "random_state": ["random_state"],
        },
        prefer_skip_nested_validation=True,
    )
    def from_estimator(
        cls,
        estimator,
        X,
        y=None,
        sample_weight=None,
        *,
        span=1.0,
        n_points=31,
        random_state=None,
        ax=None,
        **contour_kwargs,
    ):
        """Draw the objective around a fitted estimator.

        The objective is the one in the docstring of the class, with its penalties and
        its weight of unobserved pairs, over all factors and biases together; μ is that
        of the fit. The two directions are orthonormal, and drawn from all alike.

        Parameters
        ----------
        estimator : ALSFactorizer, SGDFactorizer or BiasedMF
            A fitted estimator.
        X, y, sample_weight
            The ratings that it was fitted to; see its `fit`. For other ratings of the
            same ids it is their objective.
        span : float, default=1.0
            How far to go either way, in norms of all parameters of the solution.
        n_points : int, default=31
            Points in either direction. With an odd number the solution is one of them.
        random_state : int, RandomState instance or None, default=None
            Seed of the directions.
        ax : matplotlib Axes or None, default=None
            Where to draw. None: a new figure.
        **contour_kwargs : dict
            For matplotlib's `contourf`.

        Returns
        -------
        LossLandscapeDisplay

        Raises
        ------
        ValueError
            If X has ids that were not seen in fit.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        _check_model(estimator)
        known = estimator.users_, estimator.items_
        ratings = read_ratings(
            copy.copy(estimator), X, y, sample_weight, known=known, dtype=np.float64
        )
        for side, old in zip(("user", "item"), known, strict=True):
            n_new = len(getattr(ratings, f"{side}s")) - len(old)
            if n_new:
                raise ValueError(
                    f"X has {n_new} {side}s that were not seen in fit: pass the "
                    "ratings that the estimator was fitted to."
                )
        steps = np.linspace(-span, span, n_points)
        rng = check_random_state(random_state)
        objectives = _cut_through(estimator, ratings, steps, rng)
        display = cls(steps=steps, objectives=objectives, loss=_loss_of(estimator))
        return display.plot(ax, **contour_kwargs)

    def plot(self, ax=None, **contour_kwargs):
        """Draw the contours.

        Parameters
        ----------
        ax, **contour_kwargs
            See `from_estimator`.

        Returns
        -------
        self : LossLandscapeDisplay
        """
        ax = _set_axes(self, ax)
        from matplotlib.ticker import StrMethodFormatter

        # Closer where the objective is low: it grows with the fourth power of the step.
        low, high = np.min(self.objectives), np.max(self.objectives)
        default = {"cmap": "viridis", "levels": 12}
        if high > low:
            default["levels"] = low + (high - low) * np.linspace(0, 1, 13) ** 2
        if "colors" in contour_kwargs:
            del default["cmap"]
        style = _validate_style_kwargs(default, contour_kwargs)
        self.contours_ = ax.contourf(self.steps, self.steps, self.objectives, **style)
        ax.contour(self.contours_, colors="white", linewidths=0.5, alpha=0.5)
        self.colorbar_ = ax.figure.colorbar(
            self.contours_,
            ax=ax,
            format=StrMethodFormatter("{x:,.0f}" if high >= 1000 else "{x:.3g}"),
            label=OBJECTIVES[self.loss],
        )
        (self.solution_,) = ax.plot(
            0,
            0,
            color="white",
            label="solution",
            linestyle="none",
            marker="*",
            markeredgecolor="black",
            markersize=14,
        )
        ax.set(
            xlabel="random direction 1 (norms of the parameters)",
            ylabel="random direction 2 (norms of the parameters)",
            aspect="equal",
        )
        _add_legend(ax, [self.solution_])
        return self


def _cut_through(model, ratings, steps, rng):
    """Give the objective on a plane through the solution.

    There the parameters are θ₀ + a θ₁ + b θ₂ and scores are quadratic in (a, b), with
    coefficients that need to be found only once; so does the sum of their squares.

    Parameters
    ----------
    model : BaseFactorizer
        The fitted model.
    ratings : Ratings
        The ratings, with the labels of the model.
    steps : ndarray of shape (n_steps,)
        Values of a and of b.
    rng : RandomState
        Source of θ₁ and θ₂.

    Returns
    -------
    ndarray of shape (n_steps, n_steps)
        A row for each b.
    """
    tables = model._rows("user"), model._rows("item")
    solution = np.concatenate([rows.ravel() for rows in tables], dtype=np.float64)
    directions = np.linalg.qr(rng.normal(size=(len(solution), 2)))[0].T
    thetas = np.vstack([solution, (np.linalg.norm(solution) or 1.0) * directions])
    sides = np.split(thetas, [tables[0].size], axis=1)
    P, Q = (
        part.reshape(3, *rows.shape) for part, rows in zip(sides, tables, strict=True)
    )
    objective = Objective(
        biased=model._biased,
        penalties=getattr(model, "_penalties", (model.regularization, 0.0)),
        weighted_regularization=model.weighted_regularization,
        unobserved_weight=model._unobserved_weight,
        non_negative=False,
    )
    linear = np.stack(np.broadcast_arrays(1.0, *np.meshgrid(steps, steps)))
    value = np.zeros(linear.shape[1:])
    for rows, side, n_others in (
        (P, ratings.by_user, Q.shape[1]),
        (Q, ratings.by_item, P.shape[1]),
    ):
        penalties = np.full(rows.shape[2], float(objective.penalties[0]))
        if objective.biased:
            penalties[-1] = objective.penalties[1]
        weights = np.outer(objective.counts(side, n_others), penalties).ravel()
        flat = rows.reshape(3, -1)
        value += np.einsum("kl,kab,lab->ab", flat * weights @ flat.T, linear, linear)

    n_factors = model.user_factors_.shape[1]
    P = _lift(P, n_factors, to_intercept(model.global_mean_, model._logistic))
    Q = _lift(Q, n_factors, 0.0)[..., [*range(n_factors), n_factors + 1, n_factors]]
    first, second = np.triu_indices(3)
    quadratic = linear[first] * linear[second]
    side, alpha = ratings.by_user, objective.unobserved_weight
    users = np.repeat(np.arange(len(ratings.users)), side.counts())
    gram = np.zeros((6, 6))
    for batch in gen_batches(len(users), max(64, BATCH // value.size)):
        p, q = P[:, users[batch]], Q[:, side.indices[batch]]
        products = np.einsum("knf,lnf->kln", p, q)
        scores = (products + products.transpose(1, 0, 2))[first, second]
        scores[first == second] /= 2
        r = side.ratings[batch]
        w = np.ones(len(r)) if side.weights is None else side.weights[batch]
        if model._logistic:
            z = quadratic.reshape(6, -1).T @ scores
            losses = (np.log(1 + np.exp(-np.abs(z))) + np.maximum(z, 0)) @ w
            value += 2 * losses.reshape(value.shape)
            value -= 2 * np.einsum("kab,k->ab", quadratic, scores @ (w * r))
            continue
        gram -= alpha * scores @ scores.T
        scores[0] -= r
        gram += w * scores @ scores.T
    value += np.einsum("kl,kab,lab->ab", gram, quadratic, quadratic)
    if alpha:  # the squares of all pairs; those of the observed ones are taken off
        P, Q = (np.einsum("kuf,lug->klfg", x, x, optimize=True) for x in (P, Q))
        squares = np.einsum("klfg,mnfg->klmn", P, Q)
        value += alpha * np.einsum(
            "klmn,kab,lab,mab,nab->ab", squares, *[linear] * 4, optimize=True
        )
    return value


def _lift(rows, n_factors, constant):
    """Give rows [factors, bias + constant, 1]; only θ₀ has the constants."""
    lifted = np.zeros((*rows.shape[:2], n_factors + 2))
    lifted[..., : rows.shape[2]] = rows
    lifted[0, :, n_factors] += constant
    lifted[0, :, n_factors + 1] = 1
    return lifted


# -------------------------------------------------------------------------- factor map


class FactorMapDisplay:
    """Items or users on the two principal components of their factors.

    Use `from_estimator` to make one.

    Parameters
    ----------
    coordinates : array-like of shape (n_ids, n_components)
        Where they stand on two components; or on one, if there is one factor. The
        number of ratings then takes the place of the second.
    counts : array-like of shape (n_ids,)
        Their numbers of ratings.
    labels : list of str of shape (n_ids,)
        Their names.
    explained_variance_ratio : array-like of shape (n_components,)
        Share of the variance of the factors on each component.
    side : {"item", "user"}, default="item"
        What they are.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        Where it is drawn.
    scatter_ : matplotlib PathCollection
        The points; their area grows with the number of ratings.
    texts_ : list of matplotlib Annotation
        The labels that found room.

    Examples
    --------
    >>> from sklearn_mf import ALSFactorizer
    >>> from sklearn_mf.datasets import make_ratings
    >>> from sklearn_mf.inspection import FactorMapDisplay
    >>> X, y = make_ratings(100, 50, 1000, random_state=0)
    >>> als = ALSFactorizer(3, random_state=0).fit(X, y)
    >>> display = FactorMapDisplay.from_estimator(als, labels={7: "Heat"})
    >>> display.coordinates.shape, display.labels[7]
    ((50, 2), 'Heat')
    """

    def __init__(
        self, *, coordinates, counts, labels, explained_variance_ratio, side="item"
    ):
        self.coordinates = coordinates
        self.counts = counts
        self.labels = labels
        self.explained_variance_ratio = explained_variance_ratio
        self.side = side

    @classmethod
    @validate_params(
        {**SIDE, "n_labels": [Interval(Integral, 0, None, closed="left")]},
        prefer_skip_nested_validation=True,
    )
    def from_estimator(
        cls,
        estimator,
        *,
        side="item",
        labels=None,
        ids=None,
        n_labels=30,
        ax=None,
        **scatter_kwargs,
    ):
        """Draw the factors of a fitted estimator.

        Parameters
        ----------
        estimator : ALSFactorizer, SGDFactorizer or BiasedMF
            A fitted estimator with a factor or more.
        side : {"item", "user"}, default="item"
            Whose factors to draw.
        labels : dict, array-like or None, default=None
            Names: by id, where an id that is missing is its own name, or in the order
            of `items_` (`users_`). None: the ids.
        ids : array-like of shape (n_ids,) or None, default=None
            Ids to draw. None: all with a rating. The components are those of all with a
            rating.
        n_labels : int, default=30
            How many to label, those with most ratings first. One that would lie on
            another label, or leave the axes, is left out.
        ax : matplotlib Axes or None, default=None
            Where to draw. None: a new figure.
        **scatter_kwargs : dict
            For matplotlib's `scatter`.

        Returns
        -------
        FactorMapDisplay

        Raises
        ------
        ValueError
            If there are no factors, or ids or labels do not fit the estimator.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        _check_model(estimator)
        factors = getattr(estimator, f"{side}_factors_").astype(np.float64)
        known = getattr(estimator, f"{side}s_")
        if factors.shape[1] == 0:
            raise ValueError(
                "n_factors=0 leaves nothing to map: fit with n_factors=1 or more."
            )
        counts = _count_ratings(estimator, side)
        rated = np.flatnonzero(counts)
        codes = rated if ids is None else read_ids("ids", ids, known)
        if (codes < 0).any():
            unseen = np.asarray(ids, dtype=object)[codes < 0].tolist()
            raise ValueError(
                f"ids {unseen[:5]} were not seen in fit: leave them out, or set side="
                f"{'user' if side == 'item' else 'item'!r} if they are of that side."
            )
        if len(codes) == 0:
            raise ValueError("ids is empty: pass None to draw all.")
        pca = PCA(min(2, len(rated), factors.shape[1]), svd_solver="covariance_eigh")
        pca.fit(factors[rated])
        display = cls(
            coordinates=pca.transform(factors[codes]),
            counts=counts[codes],
            labels=_read_labels(labels, known, codes, side),
            explained_variance_ratio=pca.explained_variance_ratio_,
            side=side,
        )
        return display.plot(ax, n_labels=n_labels, **scatter_kwargs)

    def plot(self, ax=None, *, n_labels=30, **scatter_kwargs):
        """Draw the map.

        Labels are placed for the size that the figure has now.

        Parameters
        ----------
        ax, n_labels, **scatter_kwargs
            See `from_estimator`.

        Returns
        -------
        self : FactorMapDisplay
        """
        ax = _set_axes(self, ax)
        points, counts = np.asarray(self.coordinates), np.asarray(self.counts)
        if points.shape[1] == 1:
            points = np.column_stack([points, counts])
            ax.set_ylabel(f"number of ratings of the {self.side}")
        sizes = 8 + 150 * counts / max(counts.max(), 1)
        default = {"s": sizes, "alpha": 0.5, "linewidths": 0}
        style = _validate_style_kwargs(default, scatter_kwargs)
        self.scatter_ = ax.scatter(*points.T, **style)
        for axis, share, number in zip(
            (ax.xaxis, ax.yaxis), self.explained_variance_ratio, (1, 2), strict=False
        ):
            axis.set_label_text(
                f"{self.side} factors, component {number} ({share:.0%} of variance)"
            )
        ax.margins(0.12)
        if "s" not in scatter_kwargs and counts.max() > 0:
            self._explain_sizes(ax, counts)
        # The layout comes first: labels are placed in pixels.
        ax.figure.canvas.figure.draw_without_rendering()
        order = np.argsort(-counts, kind="stable")[:n_labels]
        radii = np.sqrt(np.broadcast_to(self.scatter_.get_sizes(), len(points))) / 2
        self.texts_ = _place_labels(
            ax, points[order], radii[order], [self.labels[k] for k in order]
        )
        return self

    def _explain_sizes(self, ax, counts):
        from matplotlib.lines import Line2D

        top = counts.max()
        shown = sorted({max(1, round(top * share)) for share in (0.1, 0.5, 1)})
        handles = [
            Line2D(
                [],
                [],
                alpha=0.5,
                color=self.scatter_.get_facecolor()[0],
                label=f"{count:,}",
                linestyle="none",
                marker="o",
                markeredgewidth=0,
                markersize=np.sqrt(8 + 150 * count / top),
            )
            for count in shown
        ]
        _add_legend(ax, handles, title="number of ratings")


def _read_labels(labels, known, codes, side):
    """Give the names of the ids with these codes."""
    names = [str(label) for label in known[codes].tolist()]
    if labels is None:
        return names
    if isinstance(labels, Mapping):
        ids = known[codes].tolist()
        return [str(labels.get(k, name)) for k, name in zip(ids, names, strict=True)]
    labels = list(labels)
    if len(labels) != len(known):
        raise ValueError(
            f"labels has {len(labels)} names, but {side}s_ has {len(known)} ids: pass "
            "one for each, in their order, or a dict of ids to names."
        )
    return [str(labels[code]) for code in codes]


def _place_labels(ax, points, radii, labels):
    """Write labels beside points, the first ones first, none on another.

    Parameters
    ----------
    ax : matplotlib Axes
        Where to write; it does not change afterwards.
    points : ndarray of shape (n_points, 2)
        The points, in units of the data.
    radii : ndarray of shape (n_points,)
        How large their marks are, in typographic points.
    labels : list of str of shape (n_points,)
        The labels.

    Returns
    -------
    list of matplotlib Annotation
        Those that found room.
    """
    sides = [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1)]
    alignments = {1: ("left", "bottom"), 0: ("center", "center"), -1: ("right", "top")}
    ground = {"boxstyle": "square,pad=0", "facecolor": "white", "alpha": 0.6, "lw": 0}
    texts, taken, frame = [], [], ax.get_window_extent()
    for point, radius, label in zip(points, radii, labels, strict=True):
        text = ax.annotate(
            label,
            point,
            xytext=(0, 0),
            textcoords="offset points",
            fontsize="small",
            parse_math=False,  # a $ in a name is a $
            bbox=ground,
        )
        for x, y in sides:
            distance = (radius + 2) / np.hypot(x, y)
            text.xyann = x * distance, y * distance
            text.set(ha=alignments[x][0], va=alignments[y][1])
            box = text.get_window_extent().padded(2)
            inside = frame.count_contains(box.corners()) == 4
            if inside and not any(map(box.overlaps, taken)):
                texts.append(text)
                taken.append(box)
                break
        else:
            text.remove()
    return texts


# -------------------------------------------------------------------------- cold start


class ColdStartDisplay:
    """The error of test ratings by how often their user or item was rated in training.

    Use `from_estimator` or `from_predictions` to make one.

    Parameters
    ----------
    lows, highs : array-likes of shape (n_bins,)
        The least and the greatest number of training ratings in each bin.
    errors : array-like of shape (n_bins,)
        The root mean squared error of the test ratings in each; NaN for none.
    n_ratings : array-like of shape (n_bins,)
        How many test ratings each has.
    side : {"user", "item"}, default="user"
        Whose training ratings were counted.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        Where it is drawn.
    count_ax_ : matplotlib Axes
        The axis of the bars.
    line_ : matplotlib Line2D
        The errors.
    bars_ : matplotlib BarContainer
        The numbers of test ratings.

    Examples
    --------
    >>> from sklearn.model_selection import train_test_split
    >>> from sklearn_mf import BiasedMF
    >>> from sklearn_mf.datasets import make_ratings
    >>> from sklearn_mf.inspection import ColdStartDisplay
    >>> X, y = make_ratings(random_state=0)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    >>> model = BiasedMF(random_state=0).fit(X_train, y_train)
    >>> display = ColdStartDisplay.from_estimator(model, X_test, y_test)
    >>> bool(display.errors[1] > display.errors[-1])
    True
    """

    def __init__(self, *, lows, highs, errors, n_ratings, side="user"):
        self.lows = lows
        self.highs = highs
        self.errors = errors
        self.n_ratings = n_ratings
        self.side = side

    @classmethod
    @validate_params(SIDE, prefer_skip_nested_validation=True)
    def from_estimator(
        cls, estimator, X, y, *, side="user", bins="auto", ax=None, **line_kwargs
    ):
        """Draw the errors of a fitted estimator on test ratings.

        Parameters
        ----------
        estimator : ALSFactorizer, SGDFactorizer or BiasedMF
            A fitted estimator.
        X : table of shape (n_pairs, n_features)
            Test pairs; see its `predict`. Unseen ids have 0 training ratings.
        y : array-like of shape (n_pairs,)
            Their ratings.
        side : {"user", "item"}, default="user"
            Whose training ratings are counted, held-out ones of `early_stopping` too.
        bins : "auto", int or array-like, default="auto"
            Number of bins, of equal width on a logarithmic scale but for whole numbers;
            0 has one more, of its own. Or their edges, ascending whole numbers: bin k
            has edge k ≤ number < edge k + 1. "auto": each twice as wide as the last,
            but no more than 8.
        ax : matplotlib Axes or None, default=None
            Where to draw. None: a new figure.
        **line_kwargs : dict
            For matplotlib's `plot`.

        Returns
        -------
        ColdStartDisplay
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        _check_model(estimator)
        pairs = read_pairs(estimator, X, estimator.users_, estimator.items_)
        codes = pairs.users if side == "user" else pairs.items
        counts = np.where(codes >= 0, _count_ratings(estimator, side)[codes], 0)
        y_pred = estimator._predict(pairs)
        return cls.from_predictions(
            y, y_pred, counts, side=side, bins=bins, ax=ax, **line_kwargs
        )

    @classmethod
    @validate_params(SIDE, prefer_skip_nested_validation=True)
    def from_predictions(
        cls, y_true, y_pred, counts, *, side="user", bins="auto", ax=None, **line_kwargs
    ):
        """Draw the errors of any predictions.

        Parameters
        ----------
        y_true, y_pred : array-likes of shape (n_pairs,)
            Test ratings and their predictions.
        counts : array-like of shape (n_pairs,)
            How many training ratings the user, or the item, of each pair has.
        side, bins, ax, **line_kwargs
            See `from_estimator`.

        Returns
        -------
        ColdStartDisplay
        """
        check_matplotlib_support(f"{cls.__name__}.from_predictions")
        y_true, y_pred = (_check_y(y, y_numeric=True) for y in (y_true, y_pred))
        counts = np.asarray(counts)
        check_consistent_length(y_true, y_pred, counts)
        lows, highs = _cut_counts(counts, bins)
        bin_of = np.searchsorted(lows, counts, side="right") - 1
        inside = (bin_of >= 0) & (counts <= highs[bin_of])
        squares = np.square(y_true - y_pred, dtype=np.float64)[inside]
        n_ratings = np.bincount(bin_of[inside], minlength=len(lows))
        sums = np.bincount(bin_of[inside], squares, minlength=len(lows))
        errors = np.full(len(lows), np.nan)
        np.divide(sums, n_ratings, out=errors, where=n_ratings > 0)
        display = cls(
            lows=lows,
            highs=highs,
            errors=np.sqrt(errors),
            n_ratings=n_ratings,
            side=side,
        )
        return display.plot(ax, **line_kwargs)

    def plot(self, ax=None, **line_kwargs):
        """Draw the errors, and under them the numbers of test ratings.

        Parameters
        ----------
        ax, **line_kwargs
            See `from_estimator`.

        Returns
        -------
        self : ColdStartDisplay
        """
        ax = _set_axes(self, ax)
        self.count_ax_ = _add_twin(ax)
        ax.set_zorder(self.count_ax_.get_zorder() + 1)
        ax.patch.set_visible(False)
        at, n_ratings = np.arange(len(self.lows)), np.asarray(self.n_ratings)
        default = {"color": "C0", "label": "RMSE", "marker": "o"}
        style = _validate_style_kwargs(default, line_kwargs)
        (self.line_,) = ax.plot(at, self.errors, **style)
        self.bars_ = self.count_ax_.bar(
            at, n_ratings, color="0.88", label="number of test ratings"
        )
        self.count_ax_.bar_label(
            self.bars_, labels=[f"{n:,}" for n in n_ratings], fontsize="small"
        )
        self.count_ax_.set_yticks([])
        # Bars in the lower third, errors above them.
        self.count_ax_.set_ylim(0, 3 * max(n_ratings.max(), 1))
        low, high = np.nanmin(self.errors), np.nanmax(self.errors)
        pad = max(high - low, 0.1 * high, 1e-6)
        ax.set_ylim(low - pad, high + 0.1 * pad)
        labels = [
            f"{low}" if low == high else f"{low}–{high}"
            for low, high in zip(self.lows, self.highs, strict=True)
        ]
        crowded = len(labels) * max(map(len, labels)) > 48
        ax.set_xticks(at, labels=labels, rotation=90 if crowded else 0)
        ax.set(
            xlabel=f"number of training ratings of the {self.side}",
            ylabel="RMSE of test ratings (units of y)",
        )
        _add_legend(ax, [self.line_, self.bars_])
        return self


def _cut_counts(counts, bins):
    """Give the least and the greatest number in each bin of whole numbers."""
    if isinstance(bins, str | Integral):
        if bins != "auto" and (isinstance(bins, str) or bins < 1):
            raise ValueError(
                f'bins must be "auto", a number of 1 or more, or edges, got {bins!r}.'
            )
        lows = highs = np.zeros(int((counts == 0).any()), dtype=int)
        positive = counts[counts > 0]
        if len(positive):
            low, high = int(positive.min()), int(positive.max())
            if bins == "auto":
                bins = min(MAX_BINS, int(np.ceil(np.log2((high + 1) / low))))
            edges = np.unique(np.rint(np.geomspace(low, high + 1, bins + 1)))
            edges = edges.astype(int)
            lows, highs = np.append(lows, edges[:-1]), np.append(highs, edges[1:] - 1)
        return lows, highs
    edges = np.asarray(bins)
    if edges.ndim != 1 or len(edges) < 2 or (np.diff(edges) <= 0).any():
        raise ValueError(
            f"bins must be ascending edges, such as [0, 1, 10, 100], got {bins!r}."
        )
    if (edges != np.rint(edges)).any():
        raise ValueError(f"bins must be whole numbers, got {bins!r}.")
    edges = edges.astype(int)
    if not ((counts >= edges[0]) & (counts < edges[-1])).any():
        raise ValueError(
            f"bins from {edges[0]} to {edges[-1]} hold none of the test ratings, whose "
            f"counts go from {counts.min()} to {counts.max()}: choose other edges."
        )
    return edges[:-1], edges[1:] - 1
