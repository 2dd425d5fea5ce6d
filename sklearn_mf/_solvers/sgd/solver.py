"""Stochastic gradient descent: the solver, and how it lays out its data."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from sklearn_mf._data.sorting import sort_by_key
from sklearn_mf._objective.loss import to_intercept
from sklearn_mf._objective.penalty import Penalty
from sklearn_mf._runtime.arrays import (
    CACHE_LINE,
    make_aligned,
    square_norms,
    take_entries,
)
from sklearn_mf._solvers.als.kernels import pad
from sklearn_mf._solvers.features import fill_unrated, weights_of
from sklearn_mf._solvers.optimizers import (
    OPTIMIZERS,
    State,
    begin_state,
    make_constants,
)
from sklearn_mf._solvers.sgd import kernels
from sklearn_mf._solvers.sgd.kernels import Blocks

MAX_GRID = 32  # blocks on a side of the grid
BLOCK_RATINGS = 2**12  # the fewest ratings that a block should have
BLOCK_BATCHES = 16  # the fewest batches that a block should have


@dataclass(frozen=True)
class Descent:
    """What is minimised, and how to step along its gradients.

    Attributes
    ----------
    penalty : Penalty
        The penalty of the parameters.
    logistic : bool
        Whether the loss is twice the log loss of σ(z), instead of the squared error.
    optimizer : str
        One of `OPTIMIZERS`.
    constants : tuple of 3 floats
        Momentum or β₁, β₂ and ε.
    rates : (float, float)
        Learning rate of the factors, and of the biases.
    schedule : callable
        Returns the factor on the learning rates in an epoch, counted from 0.
    batch_size : int
        Ratings of a batch.
    shuffle : bool
        Whether each epoch has an order of its own.
    """

    penalty: Penalty
    logistic: bool
    optimizer: str
    constants: tuple
    rates: tuple
    schedule: Callable
    batch_size: int
    shuffle: bool


class Grid:
    """Ratings cut into blocks of users × items that can be passed over side by side.

    The blocks of a diagonal share no user and no item. Their number depends on the
    data and the batches, never on threads, and so does the result.

    Attributes
    ----------
    n_sides : int
        The grid has n_sides × n_sides blocks; block t * n_sides + k is the k-th of
        diagonal t.
    bounds : int64 ndarray of shape (n_sides**2 + 1,)
        Where the ratings of each block begin and end.
    user_order, item_order : ndarrays of shape (n_users,) and (n_items,)
        Codes in the order in which the rows should stand: group after group.
    users, items : int32 ndarrays of shape (n_ratings,)
        Places of user and item in these orders, for each rating in order of blocks.
    ratings, weights : ndarrays of shape (n_ratings,)
        The ratings, and their weights or None, in order of blocks.
    """

    def __init__(self, ratings, batch_size, shuffle, rng, run):
        side, n_ratings = ratings.by_user, len(ratings.by_user.ratings)
        fewest = BLOCK_RATINGS
        if batch_size > 1:
            fewest = max(fewest, BLOCK_BATCHES * batch_size)
        most = min(MAX_GRID, len(ratings.users), len(ratings.items))
        self.n_sides = int(np.clip((n_ratings / fewest) ** 0.5, 1, most))
        self.user_order, user_place, user_group = self._group(side.counts(), rng)
        item_counts = ratings.by_item.counts()
        self.item_order, item_place, item_group = self._group(item_counts, rng)
        # Block (column − row) mod n, row holds the ratings of a row and a column.
        # Ratings are many: what is no longer needed is overwritten or deleted.
        row = np.repeat(user_group, side.counts())
        block = take_entries(run, side.indices, item_group)
        block -= row
        block %= self.n_sides
        block *= self.n_sides
        block += row
        del row
        order = np.arange(n_ratings, dtype=np.int32 if n_ratings < 2**31 else np.int64)
        if shuffle:
            rng.shuffle(order)
        block, each = take_entries(run, order, block), (np.empty(0, np.int64), order)
        n_blocks = self.n_sides**2
        self.bounds, order, *_ = sort_by_key(block, each, None, None, n_blocks, run)
        del block, each
        users = np.repeat(user_place, side.counts())
        self.users = take_entries(run, order, users)
        del users
        self.items = take_entries(run, order, side.indices, item_place)
        self.ratings = take_entries(run, order, side.ratings)
        self.weights = None
        if side.weights is not None:
            kind = side.weights.dtype
            out = order.view(kind) if order.itemsize == kind.itemsize else None
            self.weights = take_entries(run, order, side.weights, out=out)

    def blocks(self, shuffle, rng):
        """Return the ratings with an order within each block that is drawn."""
        order = self.orders(shuffle, rng)
        return Blocks(self.bounds, *order, self.users, self.items, self.ratings)

    def _group(self, counts, rng):
        """Put rows at random into groups of about equal numbers of ratings."""
        order = rng.permutation(len(counts))
        end = np.cumsum(counts[order])
        middle = end - counts[order] / 2
        place = np.empty(len(order), dtype=np.int32)
        place[order] = np.arange(len(order))
        group = np.minimum(middle * self.n_sides / end[-1], self.n_sides - 1)
        return order, place, group.astype(np.int16)[place]

    def orders(self, shuffle, rng):
        """Draw the order within each block: offsets and strides, int64."""
        sizes = np.maximum(np.diff(self.bounds), 1)
        if not shuffle:
            return np.zeros_like(sizes), np.ones_like(sizes)
        strides = rng.randint(sizes) + 1
        while (bad := np.gcd(strides, sizes) > 1).any():
            strides[bad] = strides[bad] % sizes[bad] + 1
        return rng.randint(sizes), strides

    def diagonals(self, n_threads):
        """Yield, for each diagonal, tasks: blocks from begin to end."""
        cuts = np.linspace(0, self.n_sides, min(n_threads, self.n_sides) + 1).astype(
            int
        )
        for first in range(0, self.n_sides**2, self.n_sides):
            yield list(zip(first + cuts[:-1], first + cuts[1:], strict=True))


class Layout:
    """The rows of a side as the kernels read them.

    The rows of a group of the grid stand together, and each is padded to whole cache
    lines, so that two threads never write to the same line. With biases, the last
    column is split in two: the bias and a column of ones, whichever is first.

    Attributes
    ----------
    table : Rows
        For the kernels. Its rates are those where the schedule's factor is 1.
    order : ndarray of shape (n_rows,)
        Code of the id of each row.
    columns : ndarray of shape (n_columns,)
        Where the columns of a table of parameters stand.
    bias : int or None
        The column of the bias.
    counts : float64 ndarray of shape (n_rows,)
        The c of each row, in this order.
    shares : ndarray of shape (n_rows,)
        The share of its penalty that a unit of its weight carries.
    prior : FeaturePrior or None
        What features predict of the rows,
    expected : ndarray of shape (n_rows, n_columns), or None
        and this in the layout of the table.
    """

    def __init__(self, rows, order, state, side, descent, bias_first, prior):
        n_columns, penalty = rows.shape[1], descent.penalty
        self.order = order
        self.columns = np.arange(n_columns)
        self.bias = None
        width = n_columns
        if penalty.biased:
            width += 1
            self.bias, ones = n_columns - bias_first, n_columns - 1 + bias_first
            self.columns[-1] = self.bias
        line = CACHE_LINE // rows.itemsize
        width = -(-width // line) * line
        rates = np.full(width, descent.rates[0], rows.dtype)
        penalties = np.full(width, penalty.factors, rows.dtype)
        values = self._take(rows, width)
        if penalty.biased:
            rates[[self.bias, ones]] = descent.rates[1], 0
            penalties[[self.bias, ones]] = penalty.biases, 0
            values[:, ones] = 1
        shares = penalty.shares(side)
        self.counts = (side.weight_sums() * shares)[order]
        self.shares = shares[order].astype(rows.dtype)
        self.table = kernels.Rows(
            values,
            *(
                self._take(moments, width if moments.shape[1] else 0)
                for moments in (state.first_moments, state.second_moments)
            ),
            state.powers[order],
            rates,
            penalties,
        )
        self.prior, self.expected = prior, None
        if prior is not None:
            self._lay_out_means()

    def _take(self, rows, width):
        """Copy rows into the layout of the kernels, aligned to cache lines."""
        taken = make_aligned((len(rows), width), rows.dtype)
        if width:
            taken[:, self.columns] = rows[self.order]
        return taken

    def _give_back(self, taken):
        """Return rows in order of the codes, without the padding."""
        n_columns = len(self.columns) if taken.shape[1] else 0
        rows = np.empty((len(taken), n_columns), taken.dtype)
        rows[self.order] = taken[:, self.columns[:n_columns]]
        return rows

    def learn(self):
        """Learn what features predict of the rows."""
        self.prior.learn(pad(self.parameters()))
        self._lay_out_means()

    def _lay_out_means(self):
        means = self.prior.means[:, : self.prior.n_columns]
        self.expected = self._take(means, self.table.values.shape[1])

    def penalise(self):
        """Return the penalty of all rows, and of the weights of features."""
        with np.errstate(over="ignore", invalid="ignore"):  # the loop reports overflow
            values, penalties = self.table.values, self.table.penalties
            if self.expected is not None:
                values = values - self.expected
            of_weights = 0.0 if self.prior is None else self.prior.penalise_weights()
            squares = square_norms(values)
            if self.bias is None:
                return of_weights + penalties[0] * np.sum(self.counts * squares)
            biases = np.square(values[:, self.bias], dtype=np.float64)
            factors = squares - biases - 1  # the column of ones
            sums = penalties[0] * factors + penalties[self.bias] * biases
            return of_weights + np.sum(self.counts * sums)

    def parameters(self):
        """Return a table of parameters."""
        return self._give_back(self.table.values)

    def state(self):
        """Return the state of the optimizer."""
        powers = np.empty_like(self.table.powers)
        powers[self.order] = self.table.powers
        moments = self.table.first_moments, self.table.second_moments
        return State(*map(self._give_back, moments), powers)


class StochasticGradientDescent:
    """Minimises the objective by steps along the gradients of ratings or batches.

    Parameters
    ----------
    problem : Problem
        What is given.
    descent : Descent
        What is minimised, and the steps.
    states : (State, State) or None
        State of the optimizer for users and items. None: it begins.
    n_epochs : int
        Epochs that have been run before.
    counts : list of 2 ndarrays of shape (n_rows,), or None
        The c of users and of items from which weights of features are learnt. None:
        those of the ratings.
    """

    def __init__(self, problem, descent, states=None, n_epochs=0, counts=None):
        self.start, self.descent, self.n_epochs = problem.start, descent, n_epochs
        self.rng, self.run = problem.rng, problem.run
        ratings, P, Q = problem.ratings, problem.start.P, problem.start.Q
        self.batch_size = min(descent.batch_size, len(ratings.by_user.ratings))
        rest = descent.shuffle, problem.rng, problem.run
        self.grid = Grid(ratings, self.batch_size, *rest)
        if states is None:
            states = [
                begin_state(descent.optimizer, rows.shape, rows.dtype)
                for rows in (P, Q)
            ]
        sides = ratings.by_user, ratings.by_item
        if counts is None:
            counts = [
                np.where(side.counts() > 0, descent.penalty.counts(side), 0)
                for side in sides
            ]
        self.priors = problem.priors(counts, descent.penalty)
        orders = self.grid.user_order, self.grid.item_order
        self.users, self.items = self.layouts = [
            Layout(rows, order, state, side, descent, bias_first, prior)
            for rows, order, state, side, bias_first, prior in zip(
                (P, Q), orders, states, sides, (True, False), self.priors, strict=True
            )
        ]
        self.shares = None
        if descent.penalty.exponent != 1:
            self.shares = self.users.shares, self.items.shares
        dtype = P.dtype.type
        beta_1, beta_2, epsilon = descent.constants
        epsilon = max(epsilon, np.finfo(dtype).tiny)  # what divides the padding's 0
        self.constants = make_constants(dtype, beta_1, beta_2, epsilon)
        self.intercept = dtype(to_intercept(problem.start.mean, descent.logistic))
        self.loss = np.empty(self.grid.n_sides**2)
        optimizer = OPTIMIZERS[descent.optimizer]
        if self.batch_size == 1:
            biased = descent.penalty.biased
            self.kernel, self.batches = kernels.PASS_OVER_BLOCKS[optimizer, biased], ()
        else:
            self.kernel = kernels.PASS_IN_BATCHES[optimizer]
            slots = (np.full(len(rows), -1, dtype=np.int32) for rows in (P, Q))
            self.batches = self.batch_size, *slots

    def sweep(self):
        """Pass over all ratings; return the objective, with losses before each step."""
        rate = self.constants[0].dtype.type(self.descent.schedule(self.n_epochs))
        blocks = self.grid.blocks(self.descent.shuffle, self.rng)
        P, Q = (
            layout.table._replace(rates=rate * layout.table.rates)
            for layout in (self.users, self.items)
        )
        for tasks in self.grid.diagonals(self.run.n_threads):
            self.run(
                self.kernel,
                tasks,
                blocks,
                self.grid.weights,
                self.shares,
                P,
                Q,
                self.users.expected,
                self.items.expected,
                self.descent.logistic,
                self.intercept,
                self.constants,
                self.loss,
                *self.batches,
            )
        for k, layout in enumerate(self.layouts):
            # In turn: users in even epochs, and items in odd ones and the first.
            is_due = self.n_epochs == 0 or (self.n_epochs + k) % 2 == 0
            if layout.prior is not None and is_due:
                layout.learn()
        self.n_epochs += 1
        return self.loss.sum() + self.users.penalise() + self.items.penalise()

    def parameters(self):
        """Return what has been learnt, as if the fit ended here."""
        P, Q = self.users.parameters(), self.items.parameters()
        fill_unrated((P, Q), self.priors)
        return replace(self.start, P=P, Q=Q, feature_weights=weights_of(self.priors))

    def states(self):
        """Return the state of the optimizer for users and for items."""
        return self.users.state(), self.items.state()
