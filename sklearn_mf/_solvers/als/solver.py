"""Alternating least squares: the solver, and how it cuts its work."""

from dataclasses import replace

import numpy as np

from sklearn_mf._runtime.threads import cut_evenly, cut_rows
from sklearn_mf._solvers.als.kernels import (
    Terms,
    Unobserved,
    approach_rows,
    pad,
    solve_rows,
    sum_rows,
)
from sklearn_mf._solvers.als.least_norm import solve_least_norm

BLOCK_WORK = 1e7  # multiplications that are worth a task of their own: some ms
SUM_ROWS = 2**12  # rows of the fixed side that are summed in one task, at least
MAX_SUMS = 64  # such tasks, at most: each keeps a sum of its own


class AlternatingLeastSquares:
    """Minimises the objective over items and users in turn.

    Parameters
    ----------
    problem : Problem
        What is given. With exact solves only the start of the users matters.
    objective : QuadraticObjective
        What is to be minimised.
    cg_steps : int or None
        Steps of conjugate gradient for each row. None: exact solves.
    scale : float
        The unit of the ratings, which matters to conjugate gradient with biases.
    """

    def __init__(self, problem, objective, cg_steps=None, scale=1.0):
        self.start = start = problem.start.copy()
        if objective.non_negative:
            n_factors = start.P.shape[1] - start.biased
            for rows in (start.P, start.Q):
                np.abs(rows[:, :n_factors], out=rows[:, :n_factors])
        self.users, self.items = pad(start.P), pad(start.Q)
        rest = start.mean, objective, start.P.shape[1], cg_steps, scale, problem.run
        ratings = problem.ratings
        self.user_side = HalfSweep(ratings.by_user, len(self.items), *rest)
        self.item_side = HalfSweep(ratings.by_item, len(self.users), *rest)

    def sweep(self):
        """Solve the items, then the users; return the objective."""
        self.item_side.solve(self.users, self.items)
        loss = self.user_side.solve(self.items, self.users)
        return loss + self.item_side.penalise(self.items)

    def parameters(self):
        """Return what has been learnt, as if the fit ended here."""
        n_columns = self.start.P.shape[1]
        P, Q = (rows[:, :n_columns].copy() for rows in (self.users, self.items))
        return replace(self.start, P=P, Q=Q)


def solve_side(side, fixed, solved, mean, objective, run):
    """Minimise the objective over the rows of one side alone.

    Parameters
    ----------
    side : Side
        Their ratings.
    fixed : ndarray of shape (n_other_rows, n_columns)
        Parameters of the other side.
    solved : ndarray of shape (n_rows, n_columns)
        Where the rows stand; it matters to rows that must not be negative.
    mean : float
        The global mean μ.
    objective : QuadraticObjective
        What is to be minimised.
    run : callable
        From `thread_pool`.

    Returns
    -------
    solved : ndarray of shape (n_rows, n_columns)
        The minimum.
    loss : float
        The objective there, less the penalty of the other side.
    """
    n_columns = fixed.shape[1]
    half_sweep = HalfSweep(side, len(fixed), mean, objective, n_columns, None, 1.0, run)
    fixed, solved = pad(fixed), pad(solved)
    loss = half_sweep.solve(fixed, solved)
    while objective.non_negative:  # coordinate descent, until it stands still
        before, loss = loss, half_sweep.solve(fixed, solved)
        if not before - loss > np.finfo(solved.dtype).eps * abs(loss):
            break
    return solved[:, :n_columns], loss


class HalfSweep:
    """Solves all rows of one side, the other held fixed."""

    def __init__(
        self, side, n_others, mean, objective, n_columns, cg_steps, scale, run
    ):
        self.side = side
        self.mean = mean
        self.objective = objective
        self.n_columns = n_columns
        self.cg_steps = cg_steps
        self.run = run
        self.counts = objective.counts(side, n_others)
        penalty, dtype = objective.penalty, side.ratings.dtype
        self.terms = Terms(
            dtype.type(mean),
            n_columns,
            penalty.biased,
            (penalty.factors * self.counts).astype(dtype),
            (penalty.biases * self.counts).astype(dtype),
            dtype.type(scale),
        )
        weights = 1.0 if side.weights is None else side.weights
        self.shares_gram = all(
            (
                np.all(weights == objective.unobserved_weight),
                np.ptp(self.terms.penalty) == 0,
                np.ptp(self.terms.bias_penalty) == 0,
            )
        )
        self.loss = np.empty(len(self.counts))
        self.singular = np.zeros(len(self.counts), dtype=bool)

    def solve(self, fixed, solved):
        """Solve the rows; return the objective less the penalty of the other side.

        Parameters
        ----------
        fixed, solved : ndarrays of shape (n_other_rows, width) and (n_rows, width)
            Padded parameters of the other side and of this one, which are overwritten.
        """
        rows = self.side, fixed, self.terms, self._sum_unobserved(fixed)
        counts, width = self.side.counts(), fixed.shape[1]
        if self.cg_steps is not None:
            blocks = cut_rows(4 * (counts + 4) * (width + 4), BLOCK_WORK)
            self.run(approach_rows, blocks, *rows, self.cg_steps, solved, self.loss)
            return self.loss.sum()
        work = (counts + width) * (width + 4 if self.shares_gram else width**2 + 16)
        self.run(
            solve_rows,
            cut_rows(work, BLOCK_WORK),
            *rows,
            self.shares_gram,
            self.objective.non_negative,
            solved,
            self.loss,
            self.singular,
        )
        if self.singular.any():
            self._solve_singular(np.flatnonzero(self.singular), fixed, solved)
        return self.loss.sum()

    def penalise(self, rows):
        """Return the penalty of the rows of this side."""
        return self.objective.penalty.of_rows(rows[:, : self.n_columns], self.counts)

    def _sum_unobserved(self, fixed):
        """Return what the pairs without a rating add to the objective of every row."""
        weight, width = self.objective.unobserved_weight, fixed.shape[1]
        size = max(SUM_ROWS, -(-len(fixed) // MAX_SUMS))
        blocks = cut_evenly(len(fixed), size) if weight else []
        grams = np.zeros((len(blocks), width, width))
        products = np.zeros((len(blocks), width))
        values = np.zeros(len(blocks))
        self.run(
            sum_rows,
            blocks,
            fixed,
            self.mean,
            self.n_columns,
            self.terms.biased,
            size,
            grams,
            products,
            values,
        )
        gram = np.triu(weight * grams.sum(axis=0))
        gram += np.triu(gram, 1).T
        dtype = fixed.dtype
        return Unobserved(
            dtype.type(weight),
            gram.astype(dtype),
            (-weight * products.sum(axis=0)).astype(dtype),
            float(weight * values.sum()),
        )

    def _solve_singular(self, rows, fixed, solved):
        """Solve rows whose normal equations are singular to working precision.

        A float32 row is tried again in float64. Otherwise the shortest of all minima is
        taken.
        """
        side, wide = self.side.select(rows, np.float64), fixed.astype(np.float64)
        rest = self.mean, self.objective, self.n_columns, None, 1.0, self.run
        again = HalfSweep(side, len(fixed), *rest)
        x = np.zeros((len(rows), fixed.shape[1]))
        if fixed.dtype != np.float64:
            again.solve(wide, x)
        else:
            if side.weights is None:
                side = side._replace(weights=np.ones_like(side.ratings))
            given = side, wide, again.terms, float(self.objective.unobserved_weight)
            blocks = cut_evenly(len(rows), 1)
            self.run(solve_least_norm, blocks, *given, x, again.loss)
        solved[rows], self.loss[rows] = x, again.loss
