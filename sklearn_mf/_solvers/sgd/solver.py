"""Stochastic gradient descent: the solver loop, and how it lays out its data."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from sklearn_mf._runtime.arrays import CACHE_LINE, make_aligned
from sklearn_mf._solvers.optimizers import OPTIMIZERS, make_constants
from sklearn_mf._solvers.sgd import kernels

MAX_GRID = 32  # blocks on a side of the grid
BLOCK_RATINGS = 2**12  # the fewest ratings that a block should have
BLOCK_BATCHES = 16  # the fewest batches that a block should have


@dataclass
class Descent:
    """How to step along gradients, and what the steps before have left.

    Attributes
    ----------
    optimizer : str
        One of `OPTIMIZERS`.
    constants : tuple of 3 floats
        Momentum or β₁, β₂ and ε.
    rates, penalties : tuples of 2 floats
        Learning rate and λ: of the factors, and of the biases.
    schedule : callable
        Gives the factor on the learning rates in an epoch, counted from 0.
    batch_size : int
        Ratings of a batch.
    shuffle : bool
        Whether each epoch has an order of its own.
    n_epochs : int
        Epochs run so far.
    weighted_regularization : bool
        Whether penalties count once for each unit of weight of an id, or once for it.
    state : dict of ndarrays
        ``first``, ``second`` and ``powers`` of users and items; see the kernels.
    """

    optimizer: str
    constants: tuple
    rates: tuple
    penalties: tuple
    schedule: Callable
    batch_size: int
    shuffle: bool
    weighted_regularization: bool
    n_epochs: int = 0
    state: dict = field(default_factory=dict)

    def begin(self, name, rows):
        """Give the state of a side; make it, unless there is one.

        Parameters
        ----------
        name : {"user", "item"}
            The side.
        rows : ndarray of shape (n_rows, n_columns)
            Its parameters.

        Returns
        -------
        dict of 3 ndarrays
            ``first``, ``second`` and ``powers``.
        """
        n_rows, n_columns = rows.shape
        first = self.optimizer in ("momentum", "nesterov", "adam")
        second = self.optimizer in ("adagrad", "adam")
        fresh = {
            "first": np.zeros((n_rows, n_columns * first), rows.dtype),
            "second": np.zeros((n_rows, n_columns * second), rows.dtype),
            "powers": np.ones((n_rows, 2 * (first and second)), rows.dtype),
        }
        return {
            key: self.state.setdefault(f"{name}_{key}", array)
            for key, array in fresh.items()
        }

    def shares(self, side):
        """Give the share of a row's penalty that a unit of its weight carries.

        None stands for ones.
        """
        if self.weighted_regularization:
            return None
        weight_sums = side.weight_sums()
        return np.divide(
            1, weight_sums, out=np.zeros_like(weight_sums), where=weight_sums > 0
        )


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

    def __init__(self, ratings, batch_size, shuffle, rng):
        side, n_ratings = ratings.by_user, len(ratings.by_user.ratings)
        fewest = BLOCK_RATINGS
        if batch_size > 1:
            fewest = max(fewest, BLOCK_BATCHES * batch_size)
        most = min(MAX_GRID, len(ratings.users), len(ratings.items))
        self.n_sides = int(np.clip((n_ratings / fewest) ** 0.5, 1, most))
        self.user_order, user_place, user_group = self._group(side.counts(), rng)
        item_counts = ratings.by_item.counts()
        self.item_order, item_place, item_group = self._group(item_counts, rng)
        users = np.repeat(np.arange(len(ratings.users)), side.counts())
        order = rng.permutation(n_ratings) if shuffle else np.arange(n_ratings)
        row, column = user_group[users[order]], item_group[side.indices[order]]
        block = (column - row) % self.n_sides * self.n_sides + row
        order = order[np.argsort(block, kind="stable")]
        counts = np.bincount(block, minlength=self.n_sides**2)
        self.bounds = np.concatenate([[0], np.cumsum(counts)])
        self.users = user_place[users[order]]
        self.items = item_place[side.indices[order]]
        self.ratings = side.ratings[order]
        self.weights = None if side.weights is None else side.weights[order]

    def _group(self, counts, rng):
        """Deal rows at random to groups of about equal numbers of ratings."""
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


class Rows:
    """The rows of a side as the kernels want them.

    The rows of a group of the grid stand together, and each is padded to whole cache
    lines, so that two threads never write to the same line. With biases, the last
    column is split in two: the bias and a column of ones, whichever is first.

    Attributes
    ----------
    values : ndarray of shape (n_rows, n_padded)
        The parameters.
    first, second, powers : ndarrays of shape (n_rows, …)
        The state of the optimizer.
    rates, penalties : ndarrays of shape (n_padded,)
        Learning rate, where the schedule's factor is 1, and penalty of each column.
    bias : int or None
        The column of the bias.
    """

    def __init__(self, rows, order, state, descent, bias_first):
        n_columns = rows.shape[1]
        self.order = order
        self.columns = np.arange(n_columns)
        self.bias = None
        width = n_columns
        if bias_first is not None:
            width += 1
            self.bias, ones = n_columns - bias_first, n_columns - 1 + bias_first
            self.columns[-1] = self.bias
        line = CACHE_LINE // rows.itemsize
        width = -(-width // line) * line
        self.rates = np.full(width, descent.rates[0], rows.dtype)
        self.penalties = np.full(width, descent.penalties[0], rows.dtype)
        self.values = self._take(rows, width)
        if bias_first is not None:
            self.rates[[self.bias, ones]] = descent.rates[1], 0
            self.penalties[[self.bias, ones]] = descent.penalties[1], 0
            self.values[:, ones] = 1
        self.state = state
        self.first, self.second = (
            self._take(state[key], width if state[key].shape[1] else 0)
            for key in ("first", "second")
        )
        self.powers = state["powers"][order]

    def _take(self, rows, width):
        """Copy rows into the layout of the kernels, aligned to cache lines."""
        taken = make_aligned((len(rows), width), rows.dtype)
        if width:
            taken[:, self.columns] = rows[self.order]
        return taken

    def penalise(self, counts):
        """Give the penalty of all rows, whose counts c stand in the order of codes."""
        with np.errstate(over="ignore", invalid="ignore"):  # divergence is told later
            values = self.values
            squares = np.einsum("uf,uf->u", values, values, dtype=np.float64)
            if self.bias is None:
                return self.penalties[0] * (counts[self.order] @ squares)
            biases = np.square(values[:, self.bias], dtype=np.float64)
            factors = squares - biases - 1  # the column of ones
            penalty = self.penalties[0] * factors + self.penalties[self.bias] * biases
            return counts[self.order] @ penalty

    def write_back(self, rows):
        """Write the parameters to `rows`."""
        rows[self.order] = self.values[:, self.columns]

    def write_state_back(self):
        """Write the state of the optimizer to where it came from."""
        for key, array in (("first", self.first), ("second", self.second)):
            if array.shape[1]:
                self.state[key][self.order] = array[:, self.columns]
        self.state["powers"][self.order] = self.powers


def fit_sgd(
    problem, descent, *, logistic, biased, intercept, run, iterations, validate=None
):
    """Minimise the objective by stochastic gradient descent.

    Parameters
    ----------
    problem : Problem
        The ratings and the start; its users and items are overwritten.
    descent : Descent
        The steps; its state goes on.
    logistic : bool
        Whether the loss is twice the log loss of σ(z), instead of the squared error.
    biased : bool
        Whether the last column of users and items holds biases.
    intercept : float
        The constant μ of z.
    run : callable
        From `thread_pool`.
    iterations : Iterations
        Ends the loop; takes the value of the objective after each epoch.
    validate : callable or None
        Gives the score of the held-out ratings after an epoch; the epoch with the best
        one is restored.
    """
    ratings, users, items = problem.ratings, problem.users, problem.items
    batch_size = min(descent.batch_size, len(ratings.by_user.ratings))
    grid = Grid(ratings, batch_size, descent.shuffle, problem.rng)
    dtype = users.dtype.type
    sides = {}
    for name, side, rows, order, bias_first in (
        ("user", ratings.by_user, users, grid.user_order, True),
        ("item", ratings.by_item, items, grid.item_order, False),
    ):
        state = descent.begin(name, rows)
        work = Rows(rows, order, state, descent, bias_first if biased else None)
        shares = descent.shares(side)
        counts = side.weight_sums() if shares is None else side.weight_sums() * shares
        shares = None if shares is None else shares[order].astype(dtype)
        sides[name] = side, rows, work, shares, counts
    (_, _, P, P_shares, _), (_, _, Q, Q_shares, _) = sides.values()
    beta_1, beta_2, epsilon = descent.constants
    epsilon = max(epsilon, np.finfo(dtype).tiny)  # what divides the padding's 0
    constants = make_constants(dtype, beta_1, beta_2, epsilon)
    loss = np.empty(grid.n_sides**2)
    optimizer = OPTIMIZERS[descent.optimizer]
    if batch_size == 1:
        kernel, batches = kernels.PASS_OVER_BLOCKS[optimizer, biased], ()
    else:
        kernel = kernels.PASS_IN_BATCHES[optimizer]
        slots = (np.full(len(rows), -1, dtype=np.int32) for rows in (users, items))
        batches = (batch_size, *slots)
    best = None

    def publish():
        P.write_back(users)
        Q.write_back(items)

    problem.publish = publish
    for _ in iterations:
        rate_factor = dtype(descent.schedule(descent.n_epochs))
        offsets, strides = grid.orders(descent.shuffle, problem.rng)
        for tasks in grid.diagonals(run.n_threads):
            run(
                kernel,
                tasks,
                grid.bounds,
                offsets,
                strides,
                grid.users,
                grid.items,
                grid.ratings,
                grid.weights,
                logistic,
                dtype(intercept),
                rate_factor * P.rates,
                rate_factor * Q.rates,
                P.penalties,
                Q.penalties,
                P_shares,
                Q_shares,
                P.values,
                Q.values,
                P.first,
                Q.first,
                P.second,
                Q.second,
                P.powers,
                Q.powers,
                constants,
                loss,
                *batches,
            )
        descent.n_epochs += 1
        objective = loss.sum()
        for _, _, work, _, counts in sides.values():
            objective += work.penalise(counts)
        if validate is not None:
            publish()
        if iterations.record(objective, validate):
            best = users.copy(), items.copy()
    publish()
    problem.publish = None
    P.write_state_back()
    Q.write_state_back()
    if best is not None:
        users[:], items[:] = best
