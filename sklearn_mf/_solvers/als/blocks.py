"""Rows that are solved apart from the others, in another process or on another machine.

A block holds the ratings of consecutive rows of one side. To solve them, it is sent the
rows of the other side that it has ratings with, and no more; what the pairs without a
rating add is a sum over all rows of the other side, to which each of its blocks
contributes.
"""

from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple

import numpy as np

from sklearn_mf._data.ratings import Side
from sklearn_mf._objective.quadratic import QuadraticObjective
from sklearn_mf._runtime.threads import thread_pool
from sklearn_mf._solvers.als.kernels import Unobserved, pad
from sklearn_mf._solvers.als.solver import HalfSweep, sum_unobserved


class RowBlock(NamedTuple):
    """The ratings of consecutive rows.

    Attributes
    ----------
    side : Side
        The ratings. Their indices count the rows of `needed`.
    needed : list of int32 ndarrays
        For each block of the other side, which of its rows have ratings here.
    """

    side: Side
    needed: list

    @classmethod
    def of(cls, side, cuts):
        """Return the block of a side whose indices are codes of all other rows.

        `cuts` are the first rows of the blocks of the other side, and their end.
        """
        present = np.zeros(cuts[-1], dtype=bool)
        present[side.indices] = True
        others = np.flatnonzero(present).astype(np.int32)
        places = np.cumsum(present, dtype=np.int32) - np.int32(1)
        ends = np.searchsorted(others, cuts)
        needed = [
            others[start:stop] - np.int32(first)
            for first, start, stop in zip(cuts, ends, ends[1:], strict=False)
        ]
        return cls(side._replace(indices=places[side.indices]), needed)

    def codes(self, cuts):
        """Return the codes of the other id of each rating."""
        others = [
            rows + np.int32(first)
            for rows, first in zip(self.needed, cuts, strict=False)
        ]
        return np.concatenate(others)[self.side.indices]


@dataclass(frozen=True)
class BlockSolver:
    """Solves blocks of one side.

    Attributes
    ----------
    n_others : int
        Rows of the other side.
    mean : float
        The global mean μ.
    objective : QuadraticObjective
        What is to be minimised.
    cg_steps, scale
        See `AlternatingLeastSquares`.
    """

    n_others: int
    mean: float
    objective: QuadraticObjective
    cg_steps: int | None
    scale: float

    def sum_unobserved(self, rows):
        """Return what a block of the other side adds to every row, an `Unobserved`."""
        with thread_pool(1) as run:
            return sum_unobserved(
                pad(rows), rows.shape[1], self.mean, self.objective, run
            )

    def solve(self, block, pieces, solved, unobserved):
        """Solve a block.

        Parameters
        ----------
        block : RowBlock
            Its ratings.
        pieces : list of ndarrays of shape (n_needed, n_columns)
            The rows of the other side that it needs, of each of their blocks.
        solved : ndarray of shape (n_rows, n_columns)
            Where its rows stand.
        unobserved : list of Unobserved
            What each block of the other side adds.

        Returns
        -------
        solved : ndarray of shape (n_rows, n_columns)
            The minimum.
        loss, penalty : float
            The objective there, less the penalty of the other side; and the part of it
            that is the penalty of these rows.
        """
        fixed, n_columns = pad(np.concatenate(pieces)), solved.shape[1]
        solved = pad(solved)
        with thread_pool(1) as run:
            half_sweep = HalfSweep(
                block.side,
                self.n_others,
                self.mean,
                self.objective,
                n_columns,
                self.cg_steps,
                self.scale,
                run,
            )
            loss = half_sweep.solve(fixed, solved, unobserved=_add_up(unobserved))
        penalty = half_sweep.penalise(solved)
        return solved[:, :n_columns].copy(), float(loss), float(penalty)


def _add_up(parts):
    """Return the sum of what blocks add."""
    return reduce(
        lambda one, other: Unobserved(
            one.weight,
            one.gram + other.gram,
            one.product + other.product,
            one.value + other.value,
        ),
        parts,
    )
