"""Alternating least squares: the solver, and how it cuts its work."""

from dataclasses import replace

import numpy as np

from sklearn_mf._runtime.linear_algebra import diagonalise
from sklearn_mf._runtime.threads import cut_evenly, cut_rows
from sklearn_mf._solvers.als.conjugate_gradient import approach_rows
from sklearn_mf._solvers.als.kernels import (
    TILE,
    Terms,
    Unobserved,
    pad,
    solve_rows,
    sum_rows,
)
from sklearn_mf._solvers.als.least_norm import solve_least_norm
from sklearn_mf._solvers.als.short_rows import Rotated, rotate_rows, solve_short_rows
from sklearn_mf._solvers.features import fill_unrated, weights_of

SHORT = 0.75  # ratings for each factor up to which a row is short
FEW_EQUATIONS = 4, 7  # of short and long rows, for each product of conjugate gradient
EIGEN_WORK = 20  # multiplications of an eigenproblem, over the cube of its size
BLOCK_WORK = 1e7  # multiplications that are worth a task of their own: some ms
SUM_ROWS = 2**12  # rows of the fixed side that are summed in one task, at least
MAX_SUMS = 64  # such tasks, at most: each keeps a sum of its own,
SUMS_MEMORY = 2**28  # and together they take at most so many bytes


def work_of_long(counts, width):
    """Return the multiplications of rows that are solved by an equation a factor."""
    return (counts + width / 3) * (width**2 + 16)


def work_of_short(counts, width):
    """Return the multiplications of rows that are solved by an equation a rating."""
    sizes = -(-counts // TILE) * TILE
    return (sizes + 4.0) * (sizes + 4) * width + sizes**3 / 3 + 16 * width


def work_of_steps(counts, width, cg_steps):
    """Return the multiplications of rows that are approached.

    A step has 2 · width for each rating, and so has the residual of the start; one of
    them takes as long as four in a solution.
    """
    return 8.0 * (cg_steps + 1) * (counts + 8) * width


def start_of(problem, objective):
    """Return where to begin: of non-negative factors with absolute values."""
    start = problem.start.copy()
    if objective.non_negative:
        n_factors = start.P.shape[1] - start.biased
        for rows in (start.P, start.Q):
            np.abs(rows[:, :n_factors], out=rows[:, :n_factors])
    return start


class AlternatingLeastSquares:
    """Minimises the objective over items and users in turn.

    Parameters
    ----------
    problem : Problem
        What is given. With exact solves only the start of the users matters.
    objective : QuadraticObjective
        What is to be minimised.
    cg_steps : int or None
        Steps of conjugate gradient, for rows that they take less time for than an exact
        solution. None: exact solutions only.
    scale : float
        The unit of the ratings, which matters to conjugate gradient with biases.
    """

    def __init__(self, problem, objective, cg_steps=None, scale=1.0):
        self.start = start = start_of(problem, objective)
        self.non_negative = objective.non_negative
        self.users, self.items = pad(start.P), pad(start.Q)
        rest = start.mean, objective, start.P.shape[1], cg_steps, scale, problem.run
        ratings = problem.ratings
        self.user_side = HalfSweep(ratings.by_user, len(self.items), *rest)
        self.item_side = HalfSweep(ratings.by_item, len(self.users), *rest)
        sides = self.user_side, self.item_side
        counts = [side.learnable_counts() for side in sides]
        self.priors = problem.priors(counts, objective.penalty)

    def sweep(self):
        """Solve the items, then the users; return the objective."""
        user_prior, item_prior = self.priors
        self._solve(self.item_side, self.users, self.items, item_prior)
        loss = self._solve(self.user_side, self.items, self.users, user_prior)
        if item_prior is None:
            return loss + self.item_side.penalise(self.items)
        loss += item_prior.penalise(self.items) + item_prior.penalise_weights()
        return loss

    def _solve(self, half_sweep, fixed, solved, prior):
        """Solve a side; return the objective less the penalty of the other side."""
        if prior is None:
            rotate = not any(self.priors)
            return half_sweep.solve(fixed, solved, rotate=rotate)
        loss = half_sweep.solve(fixed, solved, expected=prior.means)
        loss -= prior.penalise(solved)
        prior.learn(solved)
        return loss + prior.penalise(solved) + prior.penalise_weights()

    def _columns(self, rows):
        """Return rows without the padding."""
        return rows[:, : self.start.P.shape[1]]

    def parameters(self):
        """Return what has been learnt, as if the fit ended here."""
        P, Q = (self._columns(rows).copy() for rows in (self.users, self.items))
        fill_unrated((P, Q), self.priors)
        if self.non_negative:  # what features predict may be negative
            for rows in (P, Q):
                factors = rows[:, : rows.shape[1] - self.start.biased]
                np.maximum(factors, 0, out=factors)
        weights = weights_of(self.priors)
        return replace(self.start, P=P, Q=Q, feature_weights=weights)


def solve_side(
    side, fixed, solved, mean, objective, run, unobserved=None, expected=None
):
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
    unobserved : Unobserved or None
        From `sum_unobserved` of the other side, if that is known already.
    expected : ndarray of shape (n_rows, n_columns), or None
        What features predict of the rows.

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
    if expected is not None:
        expected = pad(expected)
    loss = half_sweep.solve(fixed, solved, expected=expected, unobserved=unobserved)
    while objective.non_negative:  # coordinate descent, until it stands still
        before, loss = loss, half_sweep.solve(fixed, solved, expected=expected)
        if not before - loss > np.finfo(solved.dtype).eps * abs(loss):
            break
    return solved[:, :n_columns], loss


def sum_unobserved(fixed, n_columns, mean, objective, run):
    """Return what the pairs without a rating add to the objective of every row.

    Parameters
    ----------
    fixed : ndarray of shape (n_other_rows, width)
        Padded parameters of the other side, of which `n_columns` columns are some.
    mean : float
        The global mean μ.
    objective : QuadraticObjective
        What is to be minimised.
    run : callable
        From `thread_pool`.

    Returns
    -------
    Unobserved
    """
    weight, width = objective.unobserved_weight, fixed.shape[1]
    n_sums = int(np.clip(SUMS_MEMORY // (8 * width**2), 1, MAX_SUMS))
    size = max(SUM_ROWS, -(-len(fixed) // n_sums))
    blocks = cut_evenly(len(fixed), size) if weight else []
    grams = np.zeros((len(blocks), width, width))
    products = np.zeros((len(blocks), width))
    values = np.zeros(len(blocks))
    run(
        sum_rows,
        blocks,
        fixed,
        mean,
        n_columns,
        objective.penalty.biased,
        size,
        grams,
        products,
        values,
    )
    gram = np.triu(weight * grams.sum(axis=0))
    gram += np.triu(gram, 1).T
    product = -weight * products.sum(axis=0)
    return Unobserved(float(weight), gram, product, float(weight * values.sum()))


class HalfSweep:
    """Solves all rows of one side, the other held fixed."""

    def __init__(
        self, side, n_others, mean, objective, n_columns, cg_steps, scale, run
    ):
        self.side = side
        self.n_others = n_others
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
        every, none = np.arange(len(self.counts)), np.zeros(0, np.intp)
        self.short, self.approached, self.long = none, none, every
        if not objective.non_negative and not self.shares_gram:
            self._divide(n_others)

    def _divide(self, n_others):
        """Divide the rows by what takes the least time.

        Short rows are solved by an equation a rating, long ones by an equation a
        factor; where `FEW_EQUATIONS` are exceeded, a row is approached instead, if
        conjugate gradient is wanted.
        """
        counts, width = self.side.counts(), -(-self.n_columns // TILE) * TILE
        alpha, penalty = self.objective.unobserved_weight, self.objective.penalty
        is_unequal = penalty.biased and not (penalty.biases and penalty.factors)
        is_short = counts <= SHORT * width
        if width == TILE or is_unequal:
            is_short[:] = False
        if alpha:
            weights = self.side.weights
            heavy = np.ones_like(self.side.ratings) if weights is None else weights
            light_rows = np.repeat(self.long, counts)[heavy <= alpha]
            is_short[light_rows] = False
        else:
            is_short &= counts > 0
        is_approached = np.zeros_like(is_short)
        if self.cg_steps is not None:
            short, long = (few * (self.cg_steps + 1) for few in FEW_EQUATIONS)
            is_approached = np.where(is_short, counts > short, width > long)
            is_approached &= counts > 0
            is_short &= ~is_approached
        if alpha:
            if is_unequal or not penalty.factors:
                return
            # Both tables are rotated, and eigenvectors are found.
            n_rotated = n_others + is_short.sum() + is_approached.sum()
            overhead = n_rotated * width**2 + EIGEN_WORK * width**3
            saved = work_of_long(counts, width) - work_of_short(counts, width)
            saved = saved[is_short].sum()
            if is_approached.any():
                many = counts[is_approached]
                saved += work_of_long(many, width).sum()
                saved -= work_of_steps(many, width, self.cg_steps).sum()
            if saved < overhead:
                return
        self.short, self.approached, self.long = map(
            np.flatnonzero, (is_short, is_approached, ~(is_short | is_approached))
        )

    def solve(self, fixed, solved, *, expected=None, rotate=False, unobserved=None):
        """Solve the rows; return the objective less the penalty of the other side.

        Parameters
        ----------
        fixed, solved : ndarrays of shape (n_other_rows, width) and (n_rows, width)
            Padded parameters of the other side and of this one, which are overwritten.
        expected : ndarray of shape (n_rows, width), or None
            What features predict of the rows, padded.
        rotate : bool
            Whether the parameters of the other side may be rotated with those of this
            one, which leaves all predictions as they are.
        unobserved : Unobserved or None
            What the pairs without a rating add, if that is known already.
        """
        if unobserved is None:
            rest = self.n_columns, self.mean, self.objective, self.run
            unobserved = sum_unobserved(fixed, *rest)
        if expected is None:
            expected = fixed[:0]
        counts, width = self.side.counts(), fixed.shape[1]
        long = self.long
        if len(long) < len(counts):
            rotation = self._diagonalise(unobserved)
            if rotation is None:  # numbers overflow
                long = np.arange(len(counts))
            else:
                unobserved = self._solve_rotated(
                    fixed, solved, unobserved, *rotation, expected, rotate=rotate
                )
        if len(long):
            work = work_of_long(counts[long], width)
            if self.shares_gram:
                work = (counts[long] + width) * (width + 4)
            self.run(
                solve_rows,
                cut_rows(work, BLOCK_WORK),
                long,
                self.side.for_kernels(),
                fixed,
                self.terms,
                expected,
                unobserved.astype(fixed.dtype),
                self.shares_gram,
                self.objective.non_negative,
                solved,
                self.loss,
                self.singular,
            )
        if self.singular.any():
            rows = np.flatnonzero(self.singular)
            self._solve_singular(rows, fixed, expected, unobserved, solved)
        return self.loss.sum()

    def _diagonalise(self, unobserved):
        """Return the coordinates in which what the rows share is diagonal.

        That is α₀ Σ q qᵀ + λ diag(1, …, 1, ρ), with the ratio ρ of the penalties of
        biases and factors (1 without biases), where x = V x̃. With the diagonal matrix
        M = diag(1, …, 1, ρ^-½) and the eigenvectors U of M α₀ Σ q qᵀ M, V is M U;
        without unobserved pairs it is M.

        Returns
        -------
        M, values : ndarrays of shape (width,)
            The diagonal of M, and the eigenvalues.
        V : ndarray of shape (width, width), or None if it is M
        """
        n, width = self.n_columns, len(unobserved.product)
        M, values, V = np.ones(width), np.zeros(width), None
        penalty = self.objective.penalty
        if penalty.biased and penalty.biases and penalty.factors:
            M[n - 1] = (penalty.factors / penalty.biases) ** 0.5
        if unobserved.weight:
            scaled = (M[:, np.newaxis] * unobserved.gram * M)[:n, :n]
            if not np.isfinite(scaled).all():
                return None
            values[:n], U = diagonalise(scaled)
            V = np.zeros((width, width))
            V[:n, :n] = M[:n, np.newaxis] * U
        return M, np.maximum(values, 0), V

    def _solve_rotated(
        self, fixed, solved, unobserved, M, values, V, expected, *, rotate
    ):
        """Solve all but the long rows; return what these are to be solved with."""
        bias, dtype, terms = self.n_columns - 1, fixed.dtype, self.terms
        counts, width = self.side.counts(), fixed.shape[1]
        known, design = np.full(len(fixed), terms.mean), fixed
        product = unobserved.product
        if terms.biased:
            known += fixed[:, bias]
            design = fixed.copy()
            design[:, bias] = 1
        rotate = rotate and V is not None and not terms.biased
        rows = np.concatenate((self.short, self.approached))
        if V is not None:
            product = (product[:, np.newaxis] * V).sum(axis=0)
            # x̃ = V⁻¹ x, where V is M U with orthogonal columns of U
            inverse = np.ascontiguousarray(V / M[:, np.newaxis] ** 2, dtype)
            self._rotate(self.approached, solved, inverse, solved)
            if len(expected):
                expected = self._rotate(rows, expected, inverse)
            V = V.astype(dtype)
            every = np.arange(len(fixed))
            design = self._rotate(every, design, V, fixed if rotate else None)
            terms = terms._replace(biased=False)  # all have the penalty of factors
        rotated = Rotated(
            design,
            known,
            terms.penalty,
            dtype.type(unobserved.weight),
            values.astype(dtype),
            product.astype(dtype),
            unobserved.value,
        )
        if len(self.approached):
            work = work_of_steps(counts[self.approached], width, self.cg_steps)
            self.run(
                approach_rows,
                cut_rows(work, BLOCK_WORK),
                self.approached,
                self.side.for_kernels(),
                rotated,
                terms,
                expected,
                self.cg_steps,
                solved,
                self.loss,
            )
        if V is None and terms.biased:
            design[:, bias] = M[bias]
            if len(expected):
                expected = expected.copy()
                expected[:, bias] /= dtype.type(M[bias])
        if len(self.short):
            work = work_of_short(counts[self.short], width)
            self.run(
                solve_short_rows,
                cut_rows(work, BLOCK_WORK),
                self.short,
                self.side.for_kernels(),
                rotated,
                expected,
                solved,
                self.loss,
                self.singular,
            )
        if rotate:
            return unobserved._replace(gram=np.diag(values), product=product)
        if V is not None:
            self._rotate(rows, solved, np.ascontiguousarray(V.T), solved)
        elif terms.biased:
            solved[self.short, bias] *= dtype.type(M[bias])
        return unobserved

    def _rotate(self, rows, source, V, target=None):
        """Return a table of which rows are those of another, multiplied with V."""
        target = np.empty_like(source) if target is None else target
        if len(rows):
            work = np.full(len(rows), float(source.shape[1] ** 2))
            self.run(rotate_rows, cut_rows(work, BLOCK_WORK), rows, source, V, target)
        return target

    def learnable_counts(self):
        """Return the c of the rows; 0 for those that the objective does not mention."""
        if self.objective.unobserved_weight:
            return self.counts
        return np.where(self.side.counts() > 0, self.counts, 0)

    def penalise(self, rows):
        """Return the penalty of the rows of this side."""
        return self.objective.penalty.of_rows(rows[:, : self.n_columns], self.counts)

    def _solve_singular(self, rows, fixed, expected, unobserved, solved):
        """Solve rows whose normal equations are singular to working precision.

        A float32 row is tried again in float64. Otherwise the shortest of all minima is
        taken.
        """
        side, wide = self.side.select(rows, np.float64), fixed.astype(np.float64)
        rest = self.mean, self.objective, self.n_columns, None, 1.0, self.run
        again = HalfSweep(side, self.n_others, *rest)
        x = np.zeros((len(rows), fixed.shape[1]))
        if len(expected):
            expected = expected[rows]
        expected = expected.astype(np.float64)
        if fixed.dtype != np.float64:
            again.solve(wide, x, expected=expected, unobserved=unobserved)
        else:
            if side.weights is None:
                side = side._replace(weights=np.ones_like(side.ratings))
            given = side, wide, again.terms, float(self.objective.unobserved_weight)
            blocks = cut_evenly(len(rows), 1)
            expected = expected if len(expected) else np.zeros_like(x)
            self.run(solve_least_norm, blocks, *given, expected, x, again.loss)
        solved[rows], self.loss[rows] = x, again.loss
