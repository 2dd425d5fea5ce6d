"""The draws of a sampler, one after the other."""

from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from sklearn.utils._optional_dependencies import check_matplotlib_support
from sklearn.utils._plotting import _validate_style_kwargs

from sklearn_mf._estimators.sampled import SampledFactorizer
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
    from matplotlib.patches import Rectangle

NOISE = {
    "training_rmse": "standard deviation of the noise (units of y)",
    "training_log_loss": "standard deviation of the noise (latent units)",
}


class TraceDisplay:
    """The training error and the noise of each draw of a `BayesianMF`.

    Once a chain has converged, its curves vary about a level that no longer changes,
    which is the same for all chains. Use `from_estimator` to make one.

    Parameters
    ----------
    errors : array-like of shape (n_chains, n_iter)
        The training error after each draw.
    noise : array-like of shape (n_chains, n_iter)
        The standard deviation of the noise after each draw.
    burn_in : int, default=0
        The number of draws that each chain begins with, which were not used.
    r_hat : float, default=nan
        Split R̂ of the predictions; NaN if it is not known.
    loss : {"training_rmse", "training_log_loss"}, default="training_rmse"
        What the errors are; it names the units.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        Where it is drawn.
    noise_ax_ : matplotlib Axes
        The axis of the noise, on the right.
    lines_, noise_lines_ : lists of matplotlib Line2D
        Errors and noise (dashed), one line for each chain.
    burn_in_ : matplotlib Rectangle or None
        The shade under the draws that were not used; None if there are none.

    See Also
    --------
    ConvergenceDisplay : The objective of estimators that minimise one.

    Examples
    --------
    >>> from sklearn_mf import BayesianMF
    >>> from sklearn_mf.datasets import make_ratings
    >>> from sklearn_mf.inspection import TraceDisplay
    >>> X, y = make_ratings(100, 50, 1000, random_state=0)
    >>> model = BayesianMF(2, n_chains=2, n_samples=50, burn_in=20, random_state=0)
    >>> display = TraceDisplay.from_estimator(model.fit(X, y))
    >>> display.errors.shape
    (2, 70)
    """

    ax_: "Axes"
    figure_: "Figure"
    noise_ax_: "Axes"
    lines_: "list[Line2D]"
    noise_lines_: "list[Line2D]"
    burn_in_: "Rectangle | None"

    def __init__(
        self,
        *,
        errors: Values,
        noise: Values,
        burn_in: int = 0,
        r_hat: float = np.nan,
        loss: Literal["training_rmse", "training_log_loss"] = "training_rmse",
    ) -> None:
        self.errors = errors
        self.noise = noise
        self.burn_in = burn_in
        self.r_hat = r_hat
        self.loss = loss

    @classmethod
    def from_estimator(
        cls,
        estimator: SampledFactorizer,
        *,
        ax: "Axes | None" = None,
        **line_kwargs: Any,
    ) -> Self:
        """Draw the chains of a fitted estimator.

        Parameters
        ----------
        estimator : BayesianMF or BayesianMFClassifier
            A fitted estimator.
        ax : matplotlib Axes or None, default=None
            Where to draw. None: a new figure.
        **line_kwargs : dict
            For matplotlib's `plot`, of all lines.

        Returns
        -------
        TraceDisplay

        Raises
        ------
        TypeError
            If the estimator is neither.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        estimator = check_model(estimator)
        if not isinstance(estimator, SampledFactorizer):
            raise TypeError(
                "estimator must be a BayesianMF or BayesianMFClassifier, got "
                f"{type(estimator).__name__}, which draws no samples: "
                "ConvergenceDisplay shows its objective."
            )
        display = cls(
            errors=estimator.error_curve_,
            noise=estimator.noise_curve_,
            burn_in=estimator.burn_in,
            r_hat=estimator.r_hat_,
            loss=loss_of(estimator),
        )
        return display.plot(ax, **line_kwargs)

    def plot(self, ax: "Axes | None" = None, **line_kwargs: Any) -> Self:
        """Draw the errors, and the noise on an axis of its own.

        Parameters
        ----------
        ax, **line_kwargs : Axes or None, dict
            See `from_estimator`.

        Returns
        -------
        self : TraceDisplay
            Itself, drawn.
        """
        ax = set_axes(self, ax)
        from matplotlib.lines import Line2D

        self.noise_ax_ = add_twin(ax)

        def draw(ax, curves, linestyle):
            lines = []
            for k, values in enumerate(curves):
                default = {
                    "color": f"C{k}",
                    "label": f"chain {k + 1}",
                    "linestyle": linestyle,
                    "linewidth": 1,
                }
                style = _validate_style_kwargs(default, line_kwargs)
                lines += ax.plot(np.arange(1, len(values) + 1), values, **style)
            return lines

        self.lines_ = draw(ax, self.errors, "-")
        self.noise_lines_ = draw(self.noise_ax_, self.noise, "--")
        handles: list[Any] = [
            *(self.lines_ if len(self.lines_) > 1 else []),
            Line2D([], [], color="0.4", label="training error"),
            Line2D([], [], color="0.4", label="noise", linestyle="--"),
        ]
        self.burn_in_ = None
        if self.burn_in:
            self.burn_in_ = ax.axvspan(
                0.5, self.burn_in + 0.5, color="0.92", label="burn-in", zorder=0
            )
            handles.append(self.burn_in_)
        ax.set(xlabel="draw", ylabel=OBJECTIVES[self.loss])
        ax.locator_params("x", integer=True)
        self.noise_ax_.set_ylabel(NOISE[self.loss])
        title = None if np.isnan(self.r_hat) else f"R̂ = {self.r_hat:.2f}"
        add_legend(ax, handles, title)
        return self
