"""The objective around a solution."""

from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from sklearn.utils import check_random_state, gen_batches
from sklearn.utils._optional_dependencies import check_matplotlib_support
from sklearn.utils._plotting import _validate_style_kwargs

from sklearn_mf._data.arguments import Interval
from sklearn_mf._estimators.als_factorizer import ALSFactorizer
from sklearn_mf._estimators.biased_mf import BiasedMF
from sklearn_mf._estimators.sgd_factorizer import SGDFactorizer
from sklearn_mf._objective.loss import to_intercept
from sklearn_mf._typing import SparseMatrix, TableLike, Values, validate_params
from sklearn_mf.inspection._axes import (
    OBJECTIVES,
    add_legend,
    check_model,
    loss_of,
    set_axes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colorbar import Colorbar
    from matplotlib.contour import QuadContourSet
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

BATCH = 2**16  # scores of a landscape that are held at once


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

    ax_: "Axes"
    figure_: "Figure"
    contours_: "QuadContourSet"
    solution_: "Line2D"
    colorbar_: "Colorbar"

    def __init__(
        self,
        *,
        steps: Values,
        objectives: Values,
        loss: Literal["squared_error", "log_loss"] = "squared_error",
    ) -> None:
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
        estimator: ALSFactorizer | SGDFactorizer | BiasedMF,
        X: TableLike | SparseMatrix,
        y: npt.ArrayLike | None = None,
        sample_weight: npt.ArrayLike | None = None,
        *,
        span: float = 1.0,
        n_points: int = 31,
        random_state: int | np.random.RandomState | None = None,
        ax: "Axes | None" = None,
        **contour_kwargs: Any,
    ) -> Self:
        """Draw the objective around a fitted estimator.

        The objective is the one in the docstring of the class, with its penalties and
        its weight of unobserved pairs, over all factors and biases together; μ is that
        of the fit. The two directions are orthonormal, and uniformly distributed.

        Parameters
        ----------
        estimator : ALSFactorizer, SGDFactorizer or BiasedMF
            A fitted estimator.
        X, y, sample_weight : table or sparse matrix, array-like, array-like
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
        TypeError
            If the estimator is none of an ALSFactorizer, SGDFactorizer and BiasedMF.
        ValueError
            If X has ids that were not seen in fit.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        estimator = check_model(estimator)
        if not hasattr(estimator, "_objective"):
            raise TypeError(
                "estimator must be an ALSFactorizer, SGDFactorizer or BiasedMF, got "
                f"{type(estimator).__name__}, which minimises no objective of factors, "
                "biases and ratings alone."
            )
        known = estimator.users_, estimator.items_
        ratings = estimator._read(X, y, sample_weight, known=known, dtype=np.float64)
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
        display = cls(steps=steps, objectives=objectives, loss=loss_of(estimator))
        return display.plot(ax, **contour_kwargs)

    def plot(self, ax: "Axes | None" = None, **contour_kwargs: Any) -> Self:
        """Draw the contours.

        Parameters
        ----------
        ax, **contour_kwargs : Axes or None, dict
            See `from_estimator`.

        Returns
        -------
        self : LossLandscapeDisplay
            Itself, drawn.
        """
        ax = set_axes(self, ax)
        from matplotlib.ticker import StrMethodFormatter

        # The objective grows with the fourth power of the step: levels are closer where
        # it is low.
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
        add_legend(ax, [self.solution_])
        return self


def _cut_through(model, ratings, steps, rng):
    """Return the objective on a plane through the solution.

    There the parameters are θ₀ + a θ₁ + b θ₂, so that each score is quadratic in (a, b)
    and the sum of squares has degree four. Their coefficients are computed only once,
    not for each point of the plane.

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
    learnt = model._parameters()
    tables = learnt.P, learnt.Q
    solution = np.concatenate([rows.ravel() for rows in tables], dtype=np.float64)
    directions = np.linalg.qr(rng.normal(size=(len(solution), 2)))[0].T
    thetas = np.vstack([solution, (np.linalg.norm(solution) or 1.0) * directions])
    sides = np.split(thetas, [tables[0].size], axis=1)
    P, Q = (
        part.reshape(3, *rows.shape) for part, rows in zip(sides, tables, strict=True)
    )
    objective = model._objective()
    penalty = objective.penalty
    linear = np.stack(np.broadcast_arrays(1.0, *np.meshgrid(steps, steps)))
    value = np.zeros(linear.shape[1:])
    for rows, side, n_others in (
        (P, ratings.by_user, Q.shape[1]),
        (Q, ratings.by_item, P.shape[1]),
    ):
        penalties = np.full(rows.shape[2], float(penalty.factors))
        if penalty.biased:
            penalties[-1] = penalty.biases
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
    if alpha:  # the squares of all pairs; those of observed ones are subtracted above
        P, Q = (np.einsum("kuf,lug->klfg", x, x, optimize=True) for x in (P, Q))
        squares = np.einsum("klfg,mnfg->klmn", P, Q)
        value += alpha * np.einsum(
            "klmn,kab,lab,mab,nab->ab", squares, *[linear] * 4, optimize=True
        )
    return value


def _lift(rows, n_factors, constant):
    """Return rows [factors, bias + constant, 1]; only θ₀ has the constants."""
    lifted = np.zeros((*rows.shape[:2], n_factors + 2))
    lifted[..., : rows.shape[2]] = rows
    lifted[0, :, n_factors] += constant
    lifted[0, :, n_factors + 1] = 1
    return lifted
