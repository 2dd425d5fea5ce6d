"""Losses that rank: the solver, and how it deals interactions out to batches."""

import math
from dataclasses import dataclass, replace

import numpy as np

from sklearn_mf._runtime.arrays import make_aligned, square_norms
from sklearn_mf._runtime.threads import cut_rows
from sklearn_mf._solvers.optimizers import (
    OPTIMIZERS,
    begin_state,
    make_constants,
)
from sklearn_mf._solvers.ranking.kernels import (
    LANES,
    LEARN_BATCHES,
    LOSSES,
    ROWS,
    FactorTable,
    RankingBatches,
    RankingModel,
    RankingTask,
    RankingWorkspace,
    deal_rows,
    shuffle_rows,
)

ROW_INTERACTIONS = 16  # of a user that come together in a row of a batch
MIN_BATCHES = 64  # an epoch of fewer steps would learn little
MAX_BATCH = 256
BLOCK_WORK = 2**19  # multiplications that are worth a task of their own
CALL_WORK = 2**30  # of a kernel call, about: interrupts are noticed between calls
DEALT = 2**15  # interactions that are worth a task of their own when they are dealt
MAX_BLOCKS = 8


@dataclass(frozen=True)
class RankingLoss:
    """What is minimised, and the steps.

    Attributes
    ----------
    loss : str
        One of `LOSSES`.
    sphere : bool
        Whether factors have length 1, and there are no biases.
    scale, margin, negative_weight, regularization : float
        See `RankingTask`.
    n_draws : int
        Items drawn for each batch, at most.
    popularity_exponent : float
        The power of an item's weight with which its probability to be drawn grows.
    optimizer : str
        One of `OPTIMIZERS`.
    rate : float
        The learning rate.
    batch_size : int or None
        Rows of a batch; None for what suits the data.
    """

    loss: str
    sphere: bool
    scale: float
    margin: float
    negative_weight: float
    regularization: float
    n_draws: int
    popularity_exponent: float
    optimizer: str
    rate: float
    batch_size: int | None


def item_probabilities(weights, exponent):
    """Return the probability of each item to be drawn, in proportion to weight^β.

    Parameters
    ----------
    weights : ndarray of shape (n_items,)
        Sums of the weights of the items' interactions.
    exponent : float
        The power β; 0 makes all items as likely.
    """
    powers = (weights / weights.max()) ** exponent
    return powers / powers.sum()


def chance(loss, ratings):
    """Return the mean loss of a model whose scores are all 0.

    Parameters
    ----------
    loss : str
        One of `LOSSES`.
    ratings : Ratings
        The interactions.
    """
    if loss == "bpr":
        return math.log(2)
    if loss == "ccl":
        return 1.0
    # "softmax" has e^0 for each item without interaction, and "warp" the first of them.
    side = ratings.by_user
    n_unseen = len(ratings.items) - side.counts()
    return float(np.average(np.log1p(n_unseen), weights=side.weight_sums()))


class RankingDescent:
    """Minimises a loss that ranks, in batches of users and of drawn items.

    Parameters
    ----------
    problem : Problem
        What is given.
    loss : RankingLoss
        What is minimised, and how.
    """

    def __init__(self, problem, loss):
        self.start, self.run, self.loss = problem.start, problem.run, loss
        self.bits = np.random.PCG64(problem.rng.randint(2**32))
        self.side = side = problem.ratings.by_user
        dtype = problem.start.P.dtype.type
        self.seen = problem.seen.by_user.indptr, problem.seen.by_user.indices
        self.model = RankingModel(
            users=lay_out_factors(problem.start.P[:, :-1], loss),
            items=lay_out_factors(problem.start.Q[:, :-1], loss),
            biases=lay_out_biases(problem.start.Q[:, -1:], loss),
        )
        n_pairs, n_items = len(side.ratings), len(problem.start.Q)
        weights = np.ones_like(side.ratings) if side.weights is None else side.weights
        self.weights = (weights / problem.ratings.mean_weight()).astype(dtype)
        item_weights = problem.ratings.by_item.weight_sums()
        self.weight_sums = side.weight_sums(), item_weights
        probabilities = item_probabilities(item_weights, loss.popularity_exponent)
        self.cumulative = np.cumsum(probabilities)
        self.n_draws = min(loss.n_draws, n_items)
        with np.errstate(divide="ignore"):  # of items that are never drawn
            corrections = np.log(self.n_draws * probabilities).astype(dtype)

        # The rows that the interactions of each user come in.
        counts = side.counts()
        n_rows = -(-counts // ROW_INTERACTIONS)
        self.batch_size = loss.batch_size
        if self.batch_size is None:
            self.batch_size = int(np.clip(n_rows.sum() // MIN_BATCHES, 1, MAX_BATCH))
        self.n_batches = -(-int(n_rows.sum()) // self.batch_size)
        self.n_rows = np.minimum(n_rows, self.n_batches)  # no two in a batch
        self.user_blocks = cut_rows(counts, DEALT)
        self.batches = None

        width = self.model.users.values.shape[1]
        n_columns = -(-self.n_draws // LANES) * LANES
        if n_columns % 256 == 0:
            # Rows that begin at the same place of a page push one another out of the
            # cache: products of such matrices take twice the time.
            n_columns += LANES
        most_rows = -(-int(self.n_rows.sum()) // self.n_batches)
        work = most_rows * n_columns * width
        n_blocks = int(np.clip(work // BLOCK_WORK, 1, MAX_BLOCKS))
        self.block_rows = -(-most_rows // (n_blocks * ROWS)) * ROWS
        self.n_blocks = -(-most_rows // self.block_rows)
        load = item_weights / item_weights.sum() + probabilities
        cuts = cut_rows(load, load.sum() / self.n_blocks / (1 + 1e-9))
        self.cuts = np.array([0, *(stop for _, stop in cuts)])
        self.n_batches_of_call = max(1, CALL_WORK // (3 * work))
        longest = -(-counts.max() // self.n_rows[counts.argmax()])
        self.work = make_ranking_workspace(
            self.n_blocks * self.block_rows,
            n_columns,
            int(most_rows * max(longest, ROW_INTERACTIONS)),
            self.n_blocks,
            self.model,
        )
        self.task = RankingTask(
            loss=LOSSES[loss.loss],
            sphere=loss.sphere,
            scale=dtype(loss.scale),
            margin=dtype(loss.margin),
            negative_weight=dtype(loss.negative_weight),
            regularization=dtype(loss.regularization),
            corrections=corrections,
            rate=dtype(loss.rate),
            constants=make_constants(dtype, epsilon=1e-12),
        )
        self.kernel = LEARN_BATCHES[OPTIMIZERS[loss.optimizer]]
        self.n_pairs, self.n_items = n_pairs, n_items

    def sweep(self):
        """Pass over all interactions; return the objective, before each step.

        One call of the kernel passes over many small batches, in the calling thread.
        The blocks of a large batch are tasks for threads.
        """
        batches = self._deal()
        losses = np.zeros(len(batches.users))
        n_item_blocks = len(self.cuts) - 1
        self._train((-1, 0), (0, 0), (0, n_item_blocks), batches, losses)
        if self.n_blocks == 1:
            for first in range(0, self.n_batches, self.n_batches_of_call):
                last = min(first + self.n_batches_of_call, self.n_batches)
                blocks = (0, 1), (0, n_item_blocks)
                self._train((first, last), *blocks, batches, losses)
        else:
            rows = [(block, block + 1) for block in range(self.n_blocks)]
            items = [(block, block + 1) for block in range(n_item_blocks)]
            for number in range(self.n_batches):
                self.run(self._learn_rows, rows, number, batches, losses)
                self.run(self._step_items, items, number, batches, losses)
        return float(losses.sum() / self.n_pairs + self._penalise())

    def _learn_rows(self, first, last, number, batches, losses):
        """Learn from some rows of a batch."""
        self._train((number, number + 1), (first, last), (0, 0), batches, losses)

    def _step_items(self, first, last, number, batches, losses):
        """Step with some of the items of a batch."""
        self._train((number, number + 1), (0, 0), (first, last), batches, losses)

    def _train(self, numbers, row_blocks, item_blocks, batches, losses):
        blocks = numbers, row_blocks, item_blocks, self.block_rows, self.cuts
        state = batches, self.seen, self.model, self.work, self.task, losses
        self.kernel(*blocks, *state)

    def _penalise(self):
        """Return the penalty of the mean interaction."""
        if self.loss.sphere:
            return 0.0
        tables = (table.values for table in self.model[:2])
        with np.errstate(over="ignore", invalid="ignore"):  # the loop reports overflow
            total = sum(
                np.sum(weights * square_norms(values))
                for weights, values in zip(self.weight_sums, tables, strict=True)
            )
            return self.loss.regularization * total / self.weight_sums[0].sum()

    # ------------------------------------------------------- what an epoch consists of

    def _deal(self):
        """Deal the interactions out to batches, and draw items for each of these."""
        n_pairs, indptr = self.n_pairs, self.side.indptr
        words = self.bits.random_raw(n_pairs).view(np.uint32).reshape(2, -1)
        order = np.empty(n_pairs, np.int64)
        self.run(shuffle_rows, self.user_blocks, indptr, words[0], order)

        # The rows of a user, one after the other and users in any order, are dealt out
        # to the batches in turn, so that no batch has two of them.
        users = self._permute(len(self.n_rows))
        n_rows = self.n_rows[users]
        row_users = np.repeat(users, n_rows)
        number = np.arange(len(row_users)) - np.repeat(
            np.cumsum(n_rows) - n_rows, n_rows
        )
        counts, shares = self.side.counts()[row_users], self.n_rows[row_users]
        begins = number * counts // shares
        sizes = (number + 1) * counts // shares - begins
        begins += indptr[row_users]
        turns = self._permute(self.n_batches)[
            np.arange(len(row_users)) % self.n_batches
        ]
        rows = np.argsort(turns, kind="stable")
        bounds = np.append(0, np.cumsum(np.bincount(turns, minlength=self.n_batches)))
        drawn, places = self._draw_items()
        batches = RankingBatches(
            bounds=bounds,
            users=row_users[rows].astype(np.int32),
            ends=np.append(0, np.cumsum(sizes[rows])),
            items=np.empty(n_pairs, np.int32),
            weights=np.empty(n_pairs, self.weights.dtype),
            starts=np.empty(n_pairs, np.int32),
            drawn=drawn,
            order=places,
        )
        self.run(
            deal_rows,
            cut_rows(sizes[rows], DEALT),
            begins[rows],
            order,
            words[1],
            self.side.indices,
            self.weights,
            batches,
        )
        return batches

    def _permute(self, n):
        """Return the numbers below n in any order."""
        return np.argsort(self.bits.random_raw(n), kind="stable")

    def _draw_items(self):
        """Draw items for each batch.

        Returns
        -------
        drawn, order : int32 ndarrays of shape (n_batches, n_draws)
            See `RankingBatches`.
        """
        # Item j is drawn once for each of the points below that falls into its part of
        # the numbers from 0 to 1, which is as long as its probability. There is a point
        # anywhere in each of n equal parts: so each item is expected n π_j times, as
        # if points were anywhere, but its number varies less.
        shape = self.n_batches, self.n_draws
        words = self.bits.random_raw(shape[0] * shape[1]).reshape(shape)
        points = (np.arange(self.n_draws) + (words >> 11) * 2.0**-53) / self.n_draws
        drawn = np.searchsorted(self.cumulative, points, side="right")
        drawn = np.minimum(drawn, self.n_items - 1).astype(np.int32)
        if self.loss.loss != "warp":
            return drawn, np.empty((self.n_batches, 0), np.int32)
        order = self.bits.random_raw(shape[0] * shape[1]).reshape(shape)
        return drawn, np.argsort(order, axis=1).astype(np.int32)

    def parameters(self):
        """Return what has been learnt, as if the fit ended here."""
        start = self.start
        P, Q = np.zeros_like(start.P), start.Q.copy()
        n_factors = P.shape[1] - 1
        P[:, :-1] = self.model.users.values[:, :n_factors]
        Q[:, :-1] = self.model.items.values[:, :n_factors]
        Q[:, -1] = self.model.biases.values[:, 0]
        return replace(start, P=P, Q=Q)


def lay_out_factors(rows, loss):
    """Lay out the factors of users or items; on the sphere they get length 1."""
    n_rows, n_factors = rows.shape
    values = make_aligned((n_rows, -(-n_factors // LANES) * LANES), rows.dtype)
    values[:, :n_factors] = rows
    if loss.sphere:
        norms = np.sqrt(square_norms(values))[:, np.newaxis].astype(rows.dtype)
        np.divide(values, norms, out=values, where=norms > 0)
    return with_state(values, loss.optimizer)


def lay_out_biases(column, loss):
    """Lay out the biases of items; on the sphere there are none."""
    biases = np.zeros_like(column) if loss.sphere else column.copy()
    return with_state(biases, loss.optimizer)


def with_state(values, optimizer):
    """Return a table with the state of an optimizer."""
    return FactorTable(values, begin_state(optimizer, values.shape, values.dtype))


def make_ranking_workspace(n_rows, n_columns, n_interactions, n_blocks, model):
    """Return memory for batches of so many rows, columns and interactions."""
    values = model.users.values
    width, dtype = values.shape[1], values.dtype
    n_gradients = n_columns + n_interactions
    return RankingWorkspace(
        users=make_aligned((n_rows, width), dtype),
        slopes=make_aligned((n_rows, n_columns), dtype),
        item_slopes=make_aligned((n_interactions,), dtype),
        user_gradients=make_aligned((n_rows, width), dtype),
        item_gradients=make_aligned((n_gradients, width), dtype),
        bias_gradients=make_aligned((n_gradients, 1), dtype),
        panels=make_aligned((n_columns // LANES * (width + 1), LANES), dtype),
        corrections=make_aligned((1, n_columns), dtype),
        columns=np.full(len(model.items.values), -1, np.int32),
        scores=make_aligned((n_blocks, n_columns), dtype),
        exponentials=make_aligned((n_blocks, n_columns), dtype),
        products=make_aligned((n_blocks, LANES), dtype),
        is_negative=make_aligned((n_blocks, n_columns), dtype),
        tiles=make_aligned((n_blocks, ROWS, width + LANES), dtype),
        places=np.full(len(model.items.values), -1, np.int32),
    )
