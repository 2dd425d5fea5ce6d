"""The results of a search over parameters."""

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from sklearn.utils._optional_dependencies import check_matplotlib_support
from sklearn.utils._plotting import _validate_style_kwargs
from sklearn.utils.validation import check_is_fitted

from sklearn_mf._estimators.base import BaseFactorizer
from sklearn_mf._typing import Values, validate_params
from sklearn_mf.inspection._axes import add_legend, set_axes

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.container import Container
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

METRICS = {
    "root_mean_squared_error": "RMSE (units of y)",
    "mean_squared_error": "MSE (units of y²)",
    "mean_absolute_error": "MAE (units of y)",
    "median_absolute_error": "median absolute error (units of y)",
    "r2_score": "R²",
    "fit_time": "fit time (s)",
    "score_time": "score time (s)",
}


class SearchDisplay:
    """A metric of a search against a parameter, a line for each value of another one.

    Use `from_search` to make one. If several candidates of the search have the same two
    values, because other parameters vary too, a point shows the best of them: the one
    with the best mean over the test folds, or the least time.

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

    ax_: "Axes"
    figure_: "Figure"
    lines_: "list[Line2D]"
    train_lines_: "list[Line2D]"
    spreads_: "list[Artist | Container]"

    def __init__(
        self,
        *,
        values: Sequence[Any],
        test_means: Values,
        test_stds: Values,
        train_means: Values | None = None,
        train_stds: Values | None = None,
        line_values: Sequence[Any] | None = None,
        param_name: str,
        line_param_name: str | None = None,
        metric_name: str,
    ) -> None:
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
        search: Any,
        *,
        param: str,
        line_param: str | None = None,
        metric: str = "score",
        train: bool = True,
        ax: "Axes | None" = None,
        std_display_style: Literal["errorbar", "fill_between"] | None = "errorbar",
        **line_kwargs: Any,
    ) -> Self:
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

    def plot(
        self,
        ax: "Axes | None" = None,
        *,
        std_display_style: Literal["errorbar", "fill_between"] | None = "errorbar",
        **line_kwargs: Any,
    ) -> Self:
        """Draw the lines.

        Parameters
        ----------
        ax, std_display_style, **line_kwargs : Axes or None, str, dict
            See `from_search`.

        Returns
        -------
        self : SearchDisplay
            Itself, drawn.
        """
        if std_display_style not in ("errorbar", "fill_between", None):
            raise ValueError(
                'std_display_style must be "errorbar", "fill_between" or None, got '
                f"{std_display_style!r}."
            )
        ax = set_axes(self, ax)
        from matplotlib import colormaps
        from matplotlib.lines import Line2D

        self.lines_, self.train_lines_, self.spreads_ = [], [], []
        x = _scale_axis(ax, self.values)
        n_lines = len(self.test_means)
        colors: list[Any] = [f"C{k}" for k in range(n_lines)]
        if n_lines > 1 and _are_numbers(self.line_values):
            colors = list(colormaps["viridis"](np.linspace(0, 0.85, n_lines)))
        test = "test folds", "-", self.test_means, self.test_stds
        parts: list[Any] = [(self.lines_, *test)]
        if self.train_means is not None:
            train = "training folds", "--", self.train_means, self.train_stds
            parts.append((self.train_lines_, *train))
        for k, color in enumerate(colors):
            for lines, part, linestyle, means, stds in parts:
                shown = np.isfinite(means[k])
                label = part
                if self.line_values is not None:
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
            add_legend(ax, handles)
        return self


def _name_metric(search, metric):
    """Return the name of a metric with its unit, and its sign in the scores."""
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
    """Return the distinct values of a masked column, sorted if possible, and codes.

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
    """Choose the scale of the x axis for values, and return their positions on it."""
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
