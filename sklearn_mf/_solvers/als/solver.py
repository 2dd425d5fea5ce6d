"""Alternating least squares: the solver loop, apart from its estimators."""

import numpy as np

from sklearn_mf._runtime.threads import cut_rows
from sklearn_mf._solvers.als.kernels import (
    Unobserved,
    approach_rows,
    pad,
    solve_rows,
    sum_rows,
)

BLOCK_WORK = 1e7  # multiplications that are worth a task of their own: some ms
SUM_ROWS = 2**12  # rows of the fixed side that are summed in one task, at least
MAX_SUMS = 64  # such tasks, at most: each keeps a sum of its own


def fit_als(problem, objective, *, cg_steps, run, iterations):
    """Minimise the objective over items and users in turn.

    Parameters
    ----------
    problem : Problem
        Ratings and start; the solution takes the place of the start. With exact solves
        only the start of the users matters.
    objective : Objective
        What is to be minimised.
    cg_steps : int or None
        Steps of conjugate gradient for each row. None: exact solves.
    run : callable
        From `thread_pool`.
    iterations : Iterations
        Ends the loop; takes the value of the objective after each sweep.
    """
    ratings, n_factors = problem.ratings, problem.users.shape[1] - objective.biased
    if objective.non_negative:
        for rows in (problem.users, problem.items):
            np.abs(rows[:, :n_factors], out=rows[:, :n_factors])
    users, items = pad(problem.users), pad(problem.items)

    def publish():
        for rows, padded in ((problem.users, users), (problem.items, items)):
            rows[:] = padded[:, : rows.shape[1]]

    problem.publish = publish
    rest = problem.mean, objective, n_factors + objective.biased, cg_steps, run
    user_side = _HalfSweep(ratings.by_user, len(items), *rest)
    item_side = _HalfSweep(ratings.by_item, len(users), *rest)
    for _ in iterations:
        item_side.solve(users, items)
        loss = user_side.solve(items, users)
        iterations.record(loss + item_side.penalise(items))
    publish()
    problem.publish = None


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
    objective : Objective
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
    half_sweep = _HalfSweep(side, len(fixed), mean, objective, n_columns, None, run)
    fixed, solved = pad(fixed), pad(solved)
    loss = half_sweep.solve(fixed, solved)
    while objective.non_negative:  # coordinate descent, until it stands still
        before, loss = loss, half_sweep.solve(fixed, solved)
        if not before - loss > np.finfo(solved.dtype).eps * abs(loss):
            break
    return solved[:, :n_columns], loss


class _HalfSweep:
    """Solves all rows of one side, the other held fixed."""

    def __init__(self, side, n_others, mean, objective, n_columns, cg_steps, run):
        self.side = side
        self.mean = mean
        self.objective = objective
        self.n_columns = n_columns
        self.cg_steps = cg_steps
        self.run = run
        self.counts = objective.counts(side, n_others)
        self.penalty, self.bias_penalty = (
            (penalty * self.counts).astype(side.ratings.dtype)
            for penalty in objective.penalties
        )
        weights = 1.0 if side.weights is None else side.weights
        self.alike = all(
            (
                np.all(weights == objective.unobserved_weight),
                np.ptp(self.penalty) == 0,
                np.ptp(self.bias_penalty) == 0,
            )
        )
        self.loss = np.empty(len(self.counts))
        self.singular = np.zeros(len(self.counts), dtype=bool)

    def solve(self, fixed, solved):
        """Solve the rows of `solved`; give the objective less the other's penalty."""
        rows = (
            self.side,
            fixed,
            fixed.dtype.type(self.mean),
            self.n_columns,
            self.objective.biased,
            self.penalty,
            self.bias_penalty,
            self._sum_unobserved(fixed),
        )
        counts, width = self.side.counts(), fixed.shape[1]
        if self.cg_steps is not None:
            work = 4 * (counts + 4) * (width + 4)
        elif self.alike:
            work = (counts + width) * (width + 4)
        else:
            work = (counts + width) * (width**2 + 16)
        blocks = cut_rows(work, BLOCK_WORK)
        if self.cg_steps is None:
            self.run(
                solve_rows,
                blocks,
                *rows,
                self.alike,
                self.objective.non_negative,
                solved,
                self.loss,
                self.singular,
            )
        else:
            self.run(
                approach_rows,
                blocks,
                *rows,
                self.cg_steps,
                solved,
                self.loss,
            )
        for row in np.flatnonzero(self.singular):
            x, self.loss[row] = self._solve_least_norm(row, fixed)
            solved[row, : self.n_columns] = x
            solved[row, self.n_columns :] = 0
        return self.loss.sum()

    def penalise(self, rows):
        """Give the penalty of the rows of this side."""
        return self.objective.penalise(rows[:, : self.n_columns], self.counts)

    def _sum_unobserved(self, fixed):
        """Give what the pairs without a rating add to the objective of every row."""
        weight, width = self.objective.unobserved_weight, fixed.shape[1]
        size = max(SUM_ROWS, -(-len(fixed) // MAX_SUMS))
        starts = range(0, len(fixed), size) if weight else ()
        grams = np.zeros((len(starts), width, width))
        products = np.zeros((len(starts), width))
        values = np.zeros(len(starts))
        self.run(
            sum_rows,
            [(start, min(start + size, len(fixed))) for start in starts],
            fixed,
            self.mean,
            self.n_columns,
            self.objective.biased,
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

    def _solve_least_norm(self, row, fixed):
        """Solve a row whose normal equations are singular: of all minima the shortest.

        The square roots of the normal equations are solved instead, in float64, where
        a penalty that drowned in the rounding of the squares still counts.
        """
        side, biased = self.side, self.objective.biased
        at = slice(side.indptr[row], side.indptr[row + 1])
        rated, r = side.indices[at], side.ratings[at].astype(np.float64)
        w = None if side.weights is None else side.weights[at]
        if self.objective.unobserved_weight:  # every pair counts
            observed, ratings = w, r
            w = np.full(len(fixed), float(self.objective.unobserved_weight))
            w[rated] = 1 if observed is None else observed
            r = np.zeros(len(fixed))
            r[rated] = ratings
            rated = slice(None)
        q = fixed[rated, : self.n_columns].astype(np.float64)
        r = r - self.mean
        penalty = np.full(q.shape[1], self.penalty[row], dtype=np.float64)
        if biased:
            r -= q[:, -1]
            q[:, -1] = 1
            penalty[-1] = self.bias_penalty[row]
        if w is not None:
            root = np.sqrt(w, dtype=np.float64)
            q, r = root[:, np.newaxis] * q, root * r
        q = np.vstack([q, np.diag(np.sqrt(penalty))[penalty > 0]])
        r = np.concatenate([r, np.zeros(len(q) - len(r))])
        if not (np.isfinite(q).all() and np.isfinite(r).all()):
            return np.nan, np.nan
        x = np.linalg.lstsq(q, r)[0]
        residuals = q @ x - r
        return x, residuals @ residuals
