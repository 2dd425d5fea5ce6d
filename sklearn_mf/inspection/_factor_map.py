"""Factors in two dimensions."""

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from sklearn.decomposition import PCA
from sklearn.utils._optional_dependencies import check_matplotlib_support
from sklearn.utils._plotting import _validate_style_kwargs

from sklearn_mf._data.arguments import Interval
from sklearn_mf._data.tables import read_ids
from sklearn_mf._estimators.base import BaseFactorizer
from sklearn_mf._typing import Ids, Values, validate_params
from sklearn_mf.inspection._axes import (
    SIDE,
    add_legend,
    check_model,
    count_ratings,
    set_axes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation


class FactorMapDisplay:
    """Items or users on the two principal components of their factors.

    Use `from_estimator` to make one.

    Parameters
    ----------
    coordinates : array-like of shape (n_ids, n_components)
        Their coordinates on two components; or on one, if there is one factor. The
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
        The labels for which there was room.

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

    ax_: "Axes"
    figure_: "Figure"
    scatter_: "PathCollection"
    texts_: "list[Annotation]"

    def __init__(
        self,
        *,
        coordinates: Values,
        counts: Values,
        labels: Sequence[str],
        explained_variance_ratio: Values,
        side: Literal["item", "user"] = "item",
    ) -> None:
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
        estimator: BaseFactorizer,
        *,
        side: Literal["item", "user"] = "item",
        labels: Mapping[Any, Any] | Ids | None = None,
        ids: Ids | None = None,
        n_labels: int = 30,
        ax: "Axes | None" = None,
        **scatter_kwargs: Any,
    ) -> Self:
        """Draw the factors of a fitted estimator.

        Parameters
        ----------
        estimator : estimator of sklearn_mf
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
            How many to label, those with the most ratings first. A label that would
            overlap another one, or leave the axes, is left out.
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
        estimator = check_model(estimator)
        factors = getattr(estimator, f"{side}_factors_").astype(np.float64)
        known = getattr(estimator, f"{side}s_")
        if factors.shape[1] == 0:
            raise ValueError(
                "n_factors=0 leaves nothing to map: fit with n_factors=1 or more."
            )
        counts = count_ratings(estimator, side)
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

    def plot(
        self, ax: "Axes | None" = None, *, n_labels: int = 30, **scatter_kwargs: Any
    ) -> Self:
        """Draw the map.

        Labels are placed for the size that the figure has now.

        Parameters
        ----------
        ax, n_labels, **scatter_kwargs : Axes or None, int, dict
            See `from_estimator`.

        Returns
        -------
        self : FactorMapDisplay
            Itself, drawn.
        """
        ax = set_axes(self, ax)
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
        add_legend(ax, handles, title="number of ratings")


def _read_labels(labels, known, codes, side):
    """Return the names of the ids with these codes."""
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
    """Write labels beside points, in their order, so that none overlaps another.

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
        Those for which there was room.
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
