"""The error of ids with few ratings."""

from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import is_classifier
from sklearn.utils import check_consistent_length
from sklearn.utils._optional_dependencies import check_matplotlib_support
from sklearn.utils._plotting import _validate_style_kwargs
from sklearn.utils.validation import _check_y

from sklearn_mf._data.classes import read_labels
from sklearn_mf._data.tables import read_pairs
from sklearn_mf._estimators.base import BaseFactorizer
from sklearn_mf._typing import TableLike, Values, validate_params
from sklearn_mf.inspection._axes import (
    SIDE,
    add_legend,
    add_twin,
    check_model,
    count_ratings,
    set_axes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.container import BarContainer
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

MAX_BINS = 8


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

    ax_: "Axes"
    figure_: "Figure"
    count_ax_: "Axes"
    line_: "Line2D"
    bars_: "BarContainer"

    def __init__(
        self,
        *,
        lows: Values,
        highs: Values,
        errors: Values,
        n_ratings: Values,
        side: Literal["user", "item"] = "user",
    ) -> None:
        self.lows = lows
        self.highs = highs
        self.errors = errors
        self.n_ratings = n_ratings
        self.side = side

    @classmethod
    @validate_params(SIDE, prefer_skip_nested_validation=True)
    def from_estimator(
        cls,
        estimator: BaseFactorizer,
        X: TableLike,
        y: npt.ArrayLike,
        *,
        side: Literal["user", "item"] = "user",
        bins: Literal["auto"] | npt.ArrayLike = "auto",
        ax: "Axes | None" = None,
        **line_kwargs: Any,
    ) -> Self:
        """Draw the errors of a fitted estimator on test ratings.

        Parameters
        ----------
        estimator : estimator of sklearn_mf
            A fitted estimator.
        X : table of shape (n_pairs, n_features)
            Test pairs; see its `predict`. Unseen ids have 0 training ratings.
        y : array-like of shape (n_pairs,)
            Their ratings, or of `MFClassifier` their labels: the error is then that of
            the probability of the second class, of which the truth is 0 or 1.
        side : {"user", "item"}, default="user"
            Whose training ratings are counted, held-out ones of `early_stopping` too.
        bins : "auto", int or array-like, default="auto"
            Number of bins, of equal width on a logarithmic scale, rounded to whole
            numbers; 0 has an additional bin of its own. Or their edges, ascending whole
            numbers: bin k holds the numbers from edge k to below edge k + 1. "auto":
            each bin is twice as wide as the one before, but there are at most 8.
        ax : matplotlib Axes or None, default=None
            Where to draw. None: a new figure.
        **line_kwargs : dict
            For matplotlib's `plot`.

        Returns
        -------
        ColdStartDisplay
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        estimator = check_model(estimator)
        pairs = read_pairs(estimator, X, estimator.users_, estimator.items_)
        codes = pairs.users if side == "user" else pairs.items
        counts = np.where(codes >= 0, count_ratings(estimator, side)[codes], 0)
        y_pred = estimator._predict(pairs)
        if is_classifier(estimator):
            y = (read_labels(y) == estimator.classes_[1]).astype(float)
        return cls.from_predictions(
            y, y_pred, counts, side=side, bins=bins, ax=ax, **line_kwargs
        )

    @classmethod
    @validate_params(SIDE, prefer_skip_nested_validation=True)
    def from_predictions(
        cls,
        y_true: npt.ArrayLike,
        y_pred: npt.ArrayLike,
        counts: npt.ArrayLike,
        *,
        side: Literal["user", "item"] = "user",
        bins: Literal["auto"] | npt.ArrayLike = "auto",
        ax: "Axes | None" = None,
        **line_kwargs: Any,
    ) -> Self:
        """Draw the errors of any predictions.

        Parameters
        ----------
        y_true, y_pred : array-likes of shape (n_pairs,)
            Test ratings and their predictions.
        counts : array-like of shape (n_pairs,)
            How many training ratings the user, or the item, of each pair has.
        side, bins, ax, **line_kwargs : str, int, Axes or None, dict
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
        squares = np.square(np.subtract(y_true, y_pred), dtype=np.float64)[inside]
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

    def plot(self, ax: "Axes | None" = None, **line_kwargs: Any) -> Self:
        """Draw the errors, and under them the numbers of test ratings.

        Parameters
        ----------
        ax, **line_kwargs : Axes or None, dict
            See `from_estimator`.

        Returns
        -------
        self : ColdStartDisplay
            Itself, drawn.
        """
        ax = set_axes(self, ax)
        self.count_ax_ = add_twin(ax)
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
        add_legend(ax, [self.line_, self.bars_])
        return self


def _cut_counts(counts, bins):
    """Return the least and the greatest number of each bin of whole numbers."""
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
