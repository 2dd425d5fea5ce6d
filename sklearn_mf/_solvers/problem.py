"""What a solver is given."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sklearn_mf._data.ratings import HeldOut, Ratings
from sklearn_mf._model.parameters import Parameters


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
    """

    ratings: Ratings
    seen: Ratings
    start: Parameters
    rng: np.random.RandomState
    run: Callable
    held_out: HeldOut | None = None
