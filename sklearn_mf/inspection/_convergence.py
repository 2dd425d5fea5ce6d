"""The objective over the iterations."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.utils._optional_dependencies import check_matplotlib_support
from sklearn.utils._plotting import _validate_style_kwargs

from sklearn_mf._estimators.base import BaseFactorizer
from sklearn_mf._estimators.ranking_factorizer import RankingFactorizer
from sklearn_mf._typing import Values
from sklearn_mf.inspection._axes import (
    OBJECTIVES,
    add_legend,
    add_twin,
    check_model,
    loss_of,
    set_axes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

VALIDATION_ERRORS = {
    "squared_error": "validation RMSE (units of y)",
    "log_loss": "validation log loss (nats)",
    "joint_loss": "validation RMSE (units of y)",
    **dict.fromkeys(
        ("softmax", "bpr", "warp", "ccl"), "1 − validation mean reciprocal rank"
    ),
}


class ConvergenceDisplay:
    """The objective, and the validation error where there is one, of each iteration.

    Use `from_estimator` or `from_estimators` to make one.

    Parameters
    ----------
    objectives : dict of str to array-like of shape (n_iter,)
        The objective after each iteration, by the name of the estimator; of a
        `BayesianMF`, which has none, the training error.
    validation_errors : dict of str to array-like of shape (n_iter,), or None
        The error of held-out ratings, of the estimators that have one.
    best_iters : dict of str to int, or None
        The iteration, counted from 1, that was kept, of the same estimators.
    loss : str, default="squared_error"
        What was minimised: "squared_error", "log_loss", "joint_loss", or a `loss` of
        `RankingFactorizer`. Of a `BayesianMF` "training_rmse", or "training_log_loss".
        It names the units.

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

    ax_: "Axes"
    figure_: "Figure"
    validation_ax_: "Axes | None"
    lines_: "dict[str, Line2D]"
    validation_lines_: "dict[str, Line2D]"
    best_markers_: "dict[str, Line2D]"

    def __init__(
        self,
        *,
        objectives: Mapping[str, Values],
        validation_errors: Mapping[str, Values] | None = None,
        best_iters: Mapping[str, int] | None = None,
        loss: str = "squared_error",
    ) -> None:
        self.objectives = objectives
        self.validation_errors = validation_errors
        self.best_iters = best_iters
        self.loss = loss

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseFactorizer,
        *,
        name: str | None = None,
        ax: "Axes | None" = None,
        log_scale: bool = False,
        **line_kwargs: Any,
    ) -> Self:
        """Draw the convergence of one estimator.

        Parameters
        ----------
        estimator : estimator of sklearn_mf
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
    def from_estimators(
        cls,
        estimators: Mapping[str, BaseFactorizer],
        *,
        ax: "Axes | None" = None,
        log_scale: bool = False,
        **line_kwargs: Any,
    ) -> Self:
        """Draw the convergence of several estimators on one axes.

        Parameters
        ----------
        estimators : dict of str to estimator
            Fitted estimators by the names that the legend gives them.
        ax, log_scale, **line_kwargs : Axes or None, bool, dict
            See `from_estimator`.

        Returns
        -------
        ConvergenceDisplay

        Raises
        ------
        ValueError
            If their curves do not all hold the same: the squared error, the log loss,
            the joint loss of two tasks, a loss that ranks, or a training error.
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
            check_model(model, f"estimator {name!r}")
        losses = {name: loss_of(model) for name, model in models.items()}
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
            objectives={name: _objective_of(model) for name, model in models.items()},
            validation_errors={
                name: _best_score(model) - np.array(model.validation_scores_)
                for name, model in watched.items()
            },
            best_iters={name: model.best_iter_ for name, model in watched.items()},
            loss=next(iter(losses.values())),
        )
        return display.plot(ax, log_scale=log_scale, **line_kwargs)

    def plot(
        self, ax: "Axes | None" = None, *, log_scale: bool = False, **line_kwargs: Any
    ) -> Self:
        """Draw the curves.

        Parameters
        ----------
        ax, log_scale, **line_kwargs : Axes or None, bool, dict
            See `from_estimator`.

        Returns
        -------
        self : ConvergenceDisplay
            Itself, drawn.
        """
        ax = set_axes(self, ax)
        from matplotlib.lines import Line2D

        errors, best_iters = self.validation_errors or {}, self.best_iters or {}
        self.validation_ax_ = add_twin(ax) if errors else None
        self.lines_, self.validation_lines_, self.best_markers_ = {}, {}, {}
        star: dict[str, Any] = {"linestyle": "none", "marker": "*", "markersize": 12}

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
                (self.best_markers_[name],) = line.axes.plot(
                    best_iters[name],
                    errors[name][best_iters[name] - 1],
                    color=line.get_color(),
                    label=name,
                    **star,
                )
        ax.set(xlabel="iteration", ylabel=OBJECTIVES[self.loss])
        ax.locator_params("x", integer=True)
        if self.validation_ax_ is not None:
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
            add_legend(ax, handles)
        return self


def _best_score(model):
    """Return the validation score of a model without errors."""
    return 1.0 if isinstance(model, RankingFactorizer) else 0.0


def _objective_of(model):
    curve = model.loss_curve_
    return np.array(curve["joint"] if isinstance(curve, dict) else curve)


def _tick_within_a_decade(axis):
    """Put round numbers on a logarithmic axis that shows less than a decade."""
    from matplotlib.ticker import MaxNLocator, NullLocator, ScalarFormatter

    low, high = axis.get_view_interval()
    if high < 10 * low:
        axis.set_major_locator(MaxNLocator(7))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(ScalarFormatter())
