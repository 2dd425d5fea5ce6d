"""Two tasks on one embedding: the solver, and how it lays out its data."""

from dataclasses import dataclass, field, replace

import numpy as np

from sklearn_mf._model.parameters import SIDES, Parameters
from sklearn_mf._model.perceptron import CHUNK, lay_out, pad_width, read_layers
from sklearn_mf._runtime.arrays import make_aligned, square_norms
from sklearn_mf._runtime.threads import MAX_BLOCKS, cut_rows
from sklearn_mf._solvers.optimizers import State, make_constants
from sklearn_mf._solvers.two_tasks.kernels import (
    PARTS,
    Interactions,
    JointLoss,
    Model,
    Table,
    Task,
    TrainablePerceptron,
    Workspace,
    deal,
    draw_unrated,
    shuffle,
    train_batches,
)

BLOCK_WORK = 2**25  # multiplications that are worth a task of their own
CALL_WORK = 2**30  # of a kernel call, about: interrupts are noticed between calls
DRAWN_PAIRS = 2**15  # pairs that are worth a task of their own when an epoch is drawn


@dataclass
class TwoTasksParameters(Parameters):
    """The parameters of both tasks.

    A row of a table holds the factors of the interactions, unless they are shared those
    that the perceptron reads, and the bias.

    Attributes
    ----------
    layers : list of (ndarray, ndarray)
        Weights and biases of each layer of the perceptron.
    """

    layers: list = field(default_factory=list)

    @classmethod
    def of(cls, model, biased=True):
        """Return the parameters of a fitted estimator."""
        tables = []
        for side in SIDES:
            parts = [getattr(model, f"{side}_factors_")]
            if not model.shared_embeddings:
                parts.append(getattr(model, f"{side}_rating_factors_"))
            biases = getattr(model, f"{side}_biases_")
            tables.append(np.column_stack([*parts, biases]))
        layers = list(zip(model.coefs_, model.intercepts_, strict=True))
        mean = model.global_mean_
        return cls(model.users_, model.items_, *tables, mean, biased, layers)

    def attributes(self):
        """Return the fitted attributes of an estimator, a dict."""
        coefs, intercepts = zip(*self.layers, strict=True)
        n_factors = len(coefs[0]) // 3
        named = {
            "users_": self.users,
            "items_": self.items,
            "global_mean_": self.mean,
            "coefs_": list(coefs),
            "intercepts_": list(intercepts),
        }
        for side, rows in zip(SIDES, (self.P, self.Q), strict=True):
            factors = rows[:, :n_factors].copy()
            own = rows[:, n_factors:-1]
            named |= {
                f"{side}_factors_": factors,
                f"{side}_biases_": rows[:, -1].copy(),
                f"{side}_rating_factors_": own.copy() if own.size else factors,
            }
        return named


class TwoTasks:
    """Minimises the joint loss of both tasks by Adam.

    Parameters
    ----------
    problem : Problem
        What is given; its start is of `TwoTasksParameters`.
    joint_loss : JointLoss
        What is minimised.
    scale : float
        The unit of the ratings, in which the perceptron predicts them.
    batch_size : int
        Ratings of a batch.
    learning_rate : float
        Length of a step.

    Attributes
    ----------
    losses : dict of lists of float
        The joint loss and its parts after each epoch, with the loss of each rating
        before the step along its gradient.
    """

    def __init__(self, problem, joint_loss, *, scale, batch_size, learning_rate):
        self.start, self.run, self.seen = problem.start, problem.run, problem.seen
        self.joint_loss = joint_loss
        self.losses = {"joint": [], "factorization": [], "regression": []}
        self.bits = np.random.PCG64(problem.rng.randint(2**32))
        self.shapes = [weights.shape for weights, _ in problem.start.layers]
        self.n_factors = self.shapes[0][0] // 3
        self.model = Model(
            users=make_table(problem.start.P, self.n_factors),
            items=make_table(problem.start.Q, self.n_factors),
            perceptron=make_trainable(problem.start.layers),
        )

        self.side = side = problem.ratings.by_user
        n_pairs, dtype = len(side.ratings), problem.start.P.dtype.type
        self.scale = dtype(scale)
        residuals = (side.ratings - dtype(problem.start.mean)) / self.scale
        weights = np.ones_like(side.ratings) if side.weights is None else side.weights
        self.targets = residuals, weights
        self.interactions = Interactions(
            users=make_aligned((n_pairs,), np.int32),
            items=make_aligned((n_pairs, 2), np.int32),
            ratings=make_aligned((n_pairs, 2), dtype),
        )
        self.batch_size = min(batch_size, n_pairs)
        self.order = np.arange(n_pairs, dtype=np.int32) // np.int32(self.batch_size)
        self.user_blocks = cut_rows(side.counts(), DRAWN_PAIRS)
        self.weight_sums = side.weight_sums(), problem.ratings.by_item.weight_sums()

        # A pair is multiplied with each weight of the perceptron three times: forward,
        # and back for the gradients of the weights and for those of the units.
        users, perceptron = self.model.users.values, self.model.perceptron
        n_weights, width = perceptron.layout.values.size, users.shape[1]
        pair_work = 3 * n_weights + 16 * width
        self.block_size = cut_batch(self.batch_size, pair_work)
        self.n_blocks = -(-self.batch_size // self.block_size)
        batch_work = self.batch_size * pair_work + 32 * n_weights
        self.n_batches_of_call = max(1, CALL_WORK // batch_work)
        self.work = make_workspace(self.batch_size, self.n_blocks, self.model)
        at = width - pad_width(1) - pad_width(self.n_factors)
        weight_penalty = joint_loss.regression * joint_loss.regression_regularization
        rating_penalty = weight_penalty if at else joint_loss.regularization
        self.penalties = joint_loss.regularization, weight_penalty, rating_penalty
        self.task = Task(
            loss=JointLoss(joint_loss.bpr, *map(dtype, joint_loss[1:])),
            at=at,
            weight_penalty=dtype(weight_penalty),
            rating_penalty=dtype(rating_penalty),
            rate=dtype(learning_rate),
            constants=make_constants(
                dtype, epsilon=1e-8 * problem.ratings.mean_weight()
            ),
        )

    def sweep(self):
        """Pass over all ratings; return the joint loss, before each step.

        One call of the kernel passes over many small batches, in the calling thread.
        The blocks of a large batch are tasks for threads.
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
            for batch in range(n_batches):
                self.run(self._compute_gradients, blocks, batch)
                self.run(self._step, parts, batch)

        total, numbers = self.weight_sums[0].sum(), self.joint_loss
        factorization, regression = self.work.losses[:, :2].sum(axis=0) / total
        joint = numbers.factorization * factorization + numbers.regression * regression
        joint += self._penalise(total)
        losses = joint, factorization, regression
        for curve, loss in zip(self.losses.values(), losses, strict=True):
            curve.append(float(loss))
        return float(joint)

    def _draw(self):
        """Draw the batches of an epoch, and an item for each of its pairs."""
        words = self.bits.random_raw(len(self.order)).view(np.uint32).reshape(2, -1)
        shuffle(words[0], self.order)
        others = np.empty_like(self.side.indices)
        self.run(self._deal, self.user_blocks, words[1], others)

    def _deal(self, start, stop, words, others):
        """Draw items without a rating for users, and put their pairs into batches."""
        side, seen = self.side, self.seen.by_user
        n_items = len(self.model.items.values)
        draw_unrated(
            start, stop, side.indptr, seen.indptr, seen.indices, n_items, words, others
        )
        deal(
            start,
            stop,
            self.order,
            self.batch_size,
            side.indptr,
            side.indices,
            others,
            *self.targets,
            self.interactions,
        )

    def _compute_gradients(self, first, last, batch):
        """Compute the gradients of some blocks of a batch."""
        self._train((batch, batch + 1), (first, last), (0, 0))

    def _step(self, first, last, batch):
        """Step along the gradients of a batch with some parts of the model."""
        self._train((batch, batch + 1), (0, 0), (first, last))

    def _train(self, batches, blocks, parts):
        sizes = self.batch_size, self.block_size
        state = self.interactions, self.model, self.work, self.task
        train_batches(batches, blocks, parts, *sizes, *state)

    def _penalise(self, total):
        """Return the penalty of the mean rating, given the sum of all weights."""
        at, (penalty, weight_penalty, rating_penalty) = self.task.at, self.penalties
        layers = read_layers(self.model.perceptron.layout, self.shapes)
        penalties = weight_penalty * sum(square_norms(W).sum() for W, _ in layers)
        for weights, table in zip(self.weight_sums, self.model[:2], strict=True):
            factors = table.values[:, : -pad_width(1)]
            norms = penalty * square_norms(factors[:, :at])
            norms += rating_penalty * square_norms(factors[:, at:])
            penalties += np.sum(weights * norms) / total
        return penalties

    def parameters(self):
        """Return what has been learnt, as if the fit ended here."""
        P, Q = (read_table(table, self.n_factors) for table in self.model[:2])
        layers = read_layers(self.model.perceptron.layout, self.shapes)
        layers[-1] = tuple(part * self.scale for part in layers[-1])
        return replace(self.start, P=P, Q=Q, layers=layers)


def cut_batch(batch_size, pair_work):
    """Return the number of pairs of a block of a batch, from the work of each pair."""
    n_chunks = -(-batch_size // CHUNK)
    n_blocks = min(batch_size * pair_work // BLOCK_WORK, MAX_BLOCKS, n_chunks)
    return -(-n_chunks // max(n_blocks, 1)) * CHUNK


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
    return add_state(values)


def read_table(table, n_factors):
    """Return a copy of the rows that `make_table` laid out."""
    factors, biases = view_columns(table.values, n_factors)
    return np.column_stack([factors.reshape(len(biases), -1), biases])


def view_columns(values, n_factors):
    """Return views of a table: factors, (n_rows, n_parts, n_factors), and biases."""
    bias = values.shape[1] - pad_width(1)
    factors = values[:, :bias].reshape(len(values), -1, pad_width(n_factors))
    return factors[:, :, :n_factors], values[:, bias]


def make_trainable(layers):
    """Lay out a perceptron for its training."""
    layout = lay_out(layers)
    _, sizes, tops, values = layout
    bottoms = np.cumsum(sizes[1:]) - sizes[1:]
    transposed = make_aligned((sizes[1:].sum(), sizes.max()), values.dtype)
    for bottom, top, n_inputs, n_outputs in zip(
        bottoms, tops[:-1], sizes[:-1], sizes[1:], strict=True
    ):
        weights = values[top : top + n_inputs, :n_outputs]
        transposed[bottom : bottom + n_outputs, :n_inputs] = weights.T
    return TrainablePerceptron(layout, add_state(values), transposed, bottoms)


def add_state(values):
    """Return a table with the state of Adam before its first step."""
    first, second = (make_aligned(values.shape, values.dtype) for _ in range(2))
    return Table(values, State(first, second, np.ones((1, 2), values.dtype)))


def make_workspace(size, n_blocks, model):
    """Return memory for batches of `size` pairs."""
    (users, _), (items, _), ((_, sizes, _, values), *_) = model
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
