"""What a solver is given."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sklearn_mf._data.features import Design
from sklearn_mf._data.ratings import HeldOut, Ratings
from sklearn_mf._model.parameters import Parameters
from sklearn_mf._solvers.features import FeaturePrior


@dataclass(frozen=True)
class Problem:
    """What a solver is given. It changes nothing of it.

    Attributes
    ----------
    ratings : Ratings
        What it learns from.
    seen : Ratings
        These ratings and those that are held out to score the solver.
    start : Parameters
        Where it begins.
    rng : RandomState
        Source of all that is random.
    run : callable
        Runs a kernel in threads; from `thread_pool`.
    held_out : HeldOut or None
        Ratings that it does not learn from.
    features : tuple of 2 Design, or None
        The features of users and of items; None where there are none. Their weights
        begin at those of `start`.
    """

    ratings: Ratings
    seen: Ratings
    start: Parameters
    rng: np.random.RandomState
    run: Callable
    held_out: HeldOut | None = None
    features: tuple[Design | None, Design | None] = (None, None)

    def priors(self, counts, penalty):
        """Return what features predict of users and of items; None without features.

        Parameters
        ----------
        counts : tuple of 2 float64 ndarrays of shape (n_rows,)
            The c of the rows.
        penalty : Penalty
            Their penalty.
        """
        return [
            design
            and FeaturePrior(design, weights, c, penalty, self.run, self.ratings.dtype)
            for design, weights, c in zip(
                self.features, self.start.feature_weights, counts, strict=True
            )
        ]
