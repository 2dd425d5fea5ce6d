"""Two tasks on one embedding: the solver, and how it lays out its data."""

from typing import NamedTuple

import numpy as np

from sklearn_mf._model.perceptron import CHUNK, lay_out, pad_width, read_layers
from sklearn_mf._runtime.arrays import make_aligned
from sklearn_mf._runtime.threads import MAX_BLOCKS, cut_rows
from sklearn_mf._solvers.optimizers import make_constants
from sklearn_mf._solvers.two_tasks.kernels import (
    PARTS,
    Interactions,
    Model,
    Network,
    Table,
    Task,
    Workspace,
    deal,
    draw_unrated,
    shuffle,
    train_batches,
)

# Multiplications of a block of a batch, which is worth a task of its own, and of a
# kernel call, during which no interrupt is seen.
BLOCK_WORK, CALL_WORK = 2**25, 2**30
DRAWN_PAIRS = 2**15  # pairs that are worth a task of their own when an epoch is drawn


class Parameters(NamedTuple):
    """What is learnt.

    Attributes
    ----------
    users, items : ndarrays of shape (n_users, n_columns) and (n_items, n_columns)
        Factors, in a second part those that the perceptron reads, and the bias.
    layers : list of (ndarray, ndarray)
        Weights and biases of the perceptron: see `draw_layers`.
    """

    users: np.ndarray
    items: np.ndarray
    layers: list


class Objective(NamedTuple):
    """The numbers of the objective.

    Attributes
    ----------
    mean : float
        The constant μ.
    bpr : bool
        Whether ℓ_F compares the scores of an item and of one that was drawn, or takes
        either alone.
    factorization, regression, regularization : float
        λ_F, λ_R and λ.
    """

    mean: float
    bpr: bool
    factorization: float
    regression: float
    regularization: float


class TwoTasks:
    """Minimise the joint loss of interactions and ratings by Adam.

    Parameters
    ----------
    ratings : Ratings
        What is learnt from.
    seen : tuple of (ndarray, ndarray)
        Which items each user rated, in other ratings too: compressed sparse rows.
    start : Parameters
        Where the solver begins.
    objective : Objective
        What is minimised.
    batch_size : int
        Ratings of a batch.
    learning_rate : float
        Length of a step.
    rng : RandomState
        Source of the orders and of the drawn items.
    run : callable
        From `thread_pool`.

    Attributes
    ----------
    factorization, regression : float
        Means of ℓ_F and ℓ_R over the last epoch, with the loss of each rating before
        the step along its gradient.
    """

    def __init__(
        self, ratings, seen, start, objective, *, batch_size, learning_rate, rng, run
    ):
        self.ratings, self.seen, self.objective = ratings, seen, objective
        self.run = run
        self.bits = np.random.PCG64(rng.randint(2**32))
        self.shapes = [weights.shape for weights, _ in start.layers]
        n_factors = self.shapes[0][0] // 3
        self.model = Model(
            users=make_table(start.users, n_factors),
            items=make_table(start.items, n_factors),
            network=make_network(start.layers),
        )
        side, dtype = ratings.by_user, ratings.dtype.type
        n_pairs, width = len(side.ratings), self.model.users.values.shape[1]
        self.interactions = Interactions(
            users=make_aligned((n_pairs,), np.int32),
            items=make_aligned((n_pairs, 2), np.int32),
            ratings=make_aligned((n_pairs, 2), dtype),
        )
        self.batch_size = min(batch_size, n_pairs)
        self.order = np.arange(n_pairs, dtype=np.int32) // np.int32(self.batch_size)
        self.user_blocks = cut_rows(side.counts(), DRAWN_PAIRS)
        self.strengths = side.strengths(), ratings.by_item.strengths()

        # A pair passes through the weights forward, and twice back: for their
        # gradients, and for those of the units.
        n_weights = self.model.network.table.values.size
        pair_work = 3 * n_weights + 16 * width
        n_chunks = -(-self.batch_size // CHUNK)
        n_blocks = self.batch_size * pair_work // BLOCK_WORK
        n_blocks = min(max(n_blocks, 1), MAX_BLOCKS, n_chunks)
        self.block_size = -(-n_chunks // n_blocks) * CHUNK
        self.n_blocks = -(-self.batch_size // self.block_size)
        batch_work = self.batch_size * pair_work + 32 * n_weights
        self.n_batches_of_call = max(1, CALL_WORK // batch_work)
        self.work = make_workspace(self.batch_size, self.n_blocks, self.model)
        self.task = Task(
            at=width - pad_width(1) - pad_width(n_factors),
            bpr=objective.bpr,
            factorization=dtype(objective.factorization),
            regression=dtype(objective.regression),
            regularization=dtype(objective.regularization),
            rate=dtype(learning_rate),
            constants=make_constants(dtype),
        )

    def sweep(self):
        """Train for an epoch; return the joint loss, with μ, ℓ_F and ℓ_R as attributes.

        Small batches pass in the calling thread, many in one call of the kernel. The
        blocks of large ones are tasks of their own.
        """
        self._draw()
        self.work.losses[:] = 0
        n_batches = -(-len(self.order) // self.batch_size)
        if self.n_blocks == 1:
            for first in range(0, n_batches, self.n_batches_of_call):
                last = min(first + self.n_batches_of_call, n_batches)
                self._train((first, last), (0, 1), (0, PARTS))
        else:
            blocks = [(block, block + 1) for block in range(self.n_blocks)]
            parts = [(part, part + 1) for part in range(PARTS)]
            for number in range(n_batches):
                self.run(self._compute_gradients, blocks, number)
                self.run(self._step, parts, number)

        total = self.strengths[0].sum()
        losses = self.work.losses[:, :2].sum(axis=0) / total
        self.factorization, self.regression = losses.tolist()
        objective, squares = self.objective, 0.0
        for strengths, table in zip(self.strengths, self.model[:2], strict=True):
            factors = table.values[:, : -pad_width(1)]
            squares += strengths @ np.vecdot(factors, factors)
        return float(
            objective.factorization * self.factorization
            + objective.regression * self.regression
            + objective.regularization * squares / total
        )

    def parameters(self):
        """Return a copy of what has been learnt."""
        users, items, network = self.model
        n_factors = self.shapes[0][0] // 3
        return Parameters(
            users=read_table(users, n_factors),
            items=read_table(items, n_factors),
            layers=read_layers(network.perceptron, self.shapes),
        )

    def _draw(self):
        """Draw the batches of an epoch, and an item for each of its pairs."""
        side, n_pairs = self.ratings.by_user, len(self.order)
        words = self.bits.random_raw(n_pairs).view(np.uint32).reshape(2, -1)
        shuffle(words[0], self.order)
        others = np.empty_like(side.indices)
        residuals = side.ratings - side.ratings.dtype.type(self.objective.mean)
        weights = np.ones_like(residuals) if side.weights is None else side.weights
        seen = *self.seen, len(self.model.items.values)
        columns = side.indices, others, residuals, weights

        def draw(start, stop):
            draw_unrated(start, stop, side.indptr, *seen, words[1], others)
            order = self.order, self.batch_size, side.indptr
            deal(start, stop, *order, *columns, self.interactions)

        self.run(draw, self.user_blocks)

    def _compute_gradients(self, first, last, number):
        """Compute the gradients of blocks of a batch."""
        self._train((number, number + 1), (first, last), (0, 0))

    def _step(self, first, last, number):
        """Step with parts of the model along the gradients of a batch."""
        self._train((number, number + 1), (0, 0), (first, last))

    def _train(self, batches, blocks, parts):
        sizes = self.batch_size, self.block_size
        state = self.interactions, self.model, self.work, self.task
        train_batches(batches, blocks, parts, *sizes, *state)


def make_table(rows, n_factors):
    """Lay out the parameters of users or items.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, n_parts * n_factors + 1)
        Factors, in a second part those that the perceptron reads, and biases.
    n_factors : int
        Length of the factors.

    Returns
    -------
    Table
    """
    n_parts = (rows.shape[1] - 1) // n_factors
    width = n_parts * pad_width(n_factors) + pad_width(1)
    values = make_aligned((len(rows), width), rows.dtype)
    factors, biases = view_columns(values, n_factors)
    factors[:] = rows[:, :-1].reshape(factors.shape)
    biases[:] = rows[:, -1]
    return add_moments(values, len(rows))


def read_table(table, n_factors):
    """Return a copy of the rows that `make_table` laid out."""
    factors, biases = view_columns(table.values, n_factors)
    return np.column_stack([factors.reshape(len(biases), -1), biases])


def view_columns(values, n_factors):
    """Return views of a table: factors, (n_rows, n_parts, n_factors), and biases."""
    bias = values.shape[1] - pad_width(1)
    factors = values[:, :bias].reshape(len(values), -1, pad_width(n_factors))
    return factors[:, :, :n_factors], values[:, bias]


def make_network(layers):
    """Lay out a perceptron to be trained."""
    perceptron = lay_out(layers)
    _, sizes, tops, values = perceptron
    bottoms = np.cumsum(sizes[1:]) - sizes[1:]
    transposed = make_aligned((sizes[1:].sum(), sizes.max()), values.dtype)
    for bottom, top, n_inputs, n_outputs in zip(
        bottoms, tops[:-1], sizes[:-1], sizes[1:], strict=True
    ):
        weights = values[top : top + n_inputs, :n_outputs]
        transposed[bottom : bottom + n_outputs, :n_inputs] = weights.T
    return Network(perceptron, add_moments(values, 1), transposed, bottoms)


def add_moments(values, n_counted):
    """Return a table of parameters for which Adam begins, and counts so many rows."""
    first, second = (make_aligned(values.shape, values.dtype) for _ in range(2))
    powers = make_aligned((n_counted, 2), values.dtype)
    powers[:] = 1
    return Table(values, first, second, powers)


def make_workspace(size, n_blocks, model):
    """Return memory for batches of `size` pairs."""
    (users, *_), (items, *_), (perceptron, *_) = model
    sizes, values = perceptron.sizes, perceptron.values
    layers = n_blocks, len(sizes) * CHUNK, sizes.max()
    width, dtype = users.shape[1], values.dtype
    return Workspace(
        user_gradients=make_aligned((size, width), dtype),
        item_gradients=make_aligned((2 * size, width), dtype),
        gradients=make_aligned((n_blocks, *values.shape), dtype),
        activations=make_aligned(layers, dtype),
        errors=make_aligned(layers, dtype),
        outputs=make_aligned((n_blocks, CHUNK), dtype),
        slopes=make_aligned((n_blocks, CHUNK), dtype),
        losses=make_aligned((n_blocks, 8), np.float64),
        user_places=np.full(len(users), -1, np.int32),
        item_places=np.full(len(items), -1, np.int32),
    )


def fit_multitask(
    problem, objective, *, batch_size, learning_rate, run, iterations, validate
):
    """Run a `TwoTasks` solver until the iterations end.

    Parameters
    ----------
    problem : Problem
        The ratings and the start: its users, items and network, a list of layers, are
        replaced, and its losses grow.
    objective : Objective
        What is minimised.
    batch_size, learning_rate, run
        See `TwoTasks`.
    iterations : Iterations
        Ends the loop; takes the joint loss after each epoch.
    validate : callable or None
        Returns the score of the held-out ratings after an epoch; the epoch with the
        best one is restored.
    """
    solver = TwoTasks(
        problem.ratings,
        (problem.seen_indptr, problem.seen_indices),
        Parameters(problem.users, problem.items, problem.network),
        objective,
        batch_size=batch_size,
        learning_rate=learning_rate,
        rng=problem.rng,
        run=run,
    )

    def publish(learnt=None):
        learnt = solver.parameters() if learnt is None else learnt
        problem.users, problem.items, problem.network = learnt

    problem.publish = publish
    best = None
    for _ in iterations:
        joint = solver.sweep()
        losses = joint, solver.factorization, solver.regression
        for curve, loss in zip(problem.losses.values(), losses, strict=True):
            curve.append(loss)
        if validate is not None:
            publish()
        if iterations.record(joint, validate):
            best = solver.parameters()
    publish(best)
    problem.publish = None
