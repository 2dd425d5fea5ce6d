"""Two tasks on one embedding: the solver loop, and how it lays out its data."""

from dataclasses import dataclass, field, replace
from time import perf_counter

import numpy as np

from sklearn_mf._model.parameters import SIDES, Parameters
from sklearn_mf._model.perceptron import lay_out, pad_width, read_layers
from sklearn_mf._model.perceptron_kernels import CHUNK, WORD
from sklearn_mf._runtime.arrays import make_aligned
from sklearn_mf._runtime.barrier import abandon_on_error, make_barrier
from sklearn_mf._runtime.threads import cut_rows
from sklearn_mf._solvers.optimizers import make_constants
from sklearn_mf._solvers.two_tasks.kernels import (
    Batch,
    Pairs,
    Table,
    deal,
    draw_unrated,
    shuffle,
    train_batches,
)

TURN, TRIAL = 512, 32  # batches that pass before an interrupt is seen, or on trial
PATIENCE = 8  # turns, at most, until the slower number of threads is tried again


def make_table(rows, n_factors):
    """Lay the parameters of a side out as the kernels want them.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, n_parts * n_factors + 1)
        Factors, in a second part those that the network reads, and biases.
    n_factors : int
        Length of the factors.

    Returns
    -------
    Table
        With the state of an optimizer that begins.
    """
    n_parts = (rows.shape[1] - 1) // n_factors
    shape = len(rows), n_parts * pad_width(n_factors)
    values, first, second = (make_aligned(shape, rows.dtype) for _ in range(3))
    biases = make_aligned((len(rows), 4), rows.dtype)
    powers = make_aligned((len(rows), 2), rows.dtype)
    places = make_aligned(shape[:1], np.int32)
    view_factors(values, n_factors)[:] = rows[:, :-1].reshape(len(rows), n_parts, -1)
    biases[:, 0], powers[:], places[:] = rows[:, -1], 1, -1
    return Table(values, first, second, biases, powers, places)


def view_factors(values, n_factors):
    """Give a view of shape (n_rows, n_parts, n_factors) of padded factors."""
    parts = values.reshape(len(values), -1, pad_width(n_factors))
    return parts[:, :, :n_factors]


def make_batch(size, users, network):
    """Give room for the gradients of a batch of `size` pairs."""
    n_chunks, width = -(-size // CHUNK), users.values.shape[1]
    layers = n_chunks, len(network.tops) * CHUNK, network.values.shape[1]
    words = -(-network.widths.max() // WORD)
    dtype = users.values.dtype
    return Batch(
        user_gradients=make_aligned((size, width), dtype),
        item_gradients=make_aligned((2 * size, width), dtype),
        user_slopes=make_aligned((size,), dtype),
        item_slopes=make_aligned((2 * size,), dtype),
        gradients=make_aligned((n_chunks, *network.values.shape), dtype),
        activations=make_aligned(layers, dtype),
        errors=make_aligned(layers, dtype),
        active=make_aligned((*layers[:2], words), np.int64),
        members=make_aligned((n_chunks, words * WORD, CHUNK // WORD), np.int64),
        usual=make_aligned((n_chunks, 4, layers[-1]), dtype),
        slopes=make_aligned((n_chunks, CHUNK), dtype),
        places=make_aligned((n_chunks, 2 * size), np.int64),
        losses=make_aligned((n_chunks, 8), np.float64),
    )


class Pace:
    """Finds out whether threads that wait for one another are faster than one alone.

    They are where each has a core, and they are far from it where other work has taken
    the cores. The slower number of threads gets short turns now and then, ever more
    seldom as long as it stays the slower. The first turn of a number is not timed: it
    moves the parameters to the caches of its cores. The result does not depend on it.
    """

    def __init__(self, n_threads):
        self.seconds = dict.fromkeys((n_threads, 1), 0.0)  # of a batch; 0 if unknown
        self.waited, self.patience = 0, 1
        self.used, self.is_warm = 0, True

    def choose(self):
        """Give the number of threads for the next turn, and its number of batches."""
        if not self.is_warm:
            return self.used, TRIAL
        fastest, *others = sorted(self.seconds, key=self.seconds.get)
        if not self.seconds[fastest]:
            return fastest, TRIAL
        if others and self.waited == self.patience:
            self.waited, self.patience = 0, min(2 * self.patience, PATIENCE)
            return others[0], TRIAL
        self.waited += 1
        return fastest, TURN

    def note(self, n_threads, seconds):
        """Take the time that a batch took in a turn."""
        self.is_warm, self.used = n_threads == self.used, n_threads
        if not self.is_warm:
            return
        fastest = min(self.seconds, key=self.seconds.get)
        self.seconds[n_threads] = seconds
        if min(self.seconds, key=self.seconds.get) != fastest:
            self.waited, self.patience = 0, 1


def pass_over(n_batches, run, pace, *args):
    """Train on all batches, in turns whose threads `pace` counts."""
    last = 0
    while last < n_batches:
        n_threads, n_turn = pace.choose()
        first, last = last, min(last + n_turn, n_batches)
        barrier, begin = make_barrier(), perf_counter()
        with abandon_on_error(barrier):
            run(
                abandon_on_error(barrier)(train_batches),
                [(thread, n_threads) for thread in range(n_threads)],
                first,
                last,
                barrier,
                *args,
            )
        pace.note(n_threads, (perf_counter() - begin) / (last - first))


@dataclass
class TwoTasksParameters(Parameters):
    """The parameters of both tasks.

    A row of a table holds the factors of the interactions, unless they are shared those
    that the network reads, and the bias.

    Attributes
    ----------
    layers : list of (ndarray, ndarray)
        Weights and biases of each layer of the network.
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
    task : Task
        What is minimised.
    n_factors : int
        Length of the factors.
    batch_size : int
        Ratings of a batch.
    learning_rate : float
        Length of a step.

    Attributes
    ----------
    losses : dict of lists of float
        The joint loss and its parts after each epoch.
    """

    def __init__(self, problem, task, *, n_factors, batch_size, learning_rate):
        self.start, self.run, self.seen = problem.start, problem.run, problem.seen
        self.task, self.n_factors = task, n_factors
        self.losses = {"joint": [], "factorization": [], "regression": []}
        self.side = side = problem.ratings.by_user
        self.bits = np.random.PCG64(problem.rng.randint(2**32))
        n_pairs, dtype = len(side.ratings), problem.start.P.dtype.type
        self.tables = [
            make_table(rows, n_factors) for rows in (problem.start.P, problem.start.Q)
        ]
        self.network = lay_out(problem.start.layers)
        weights = np.ones_like(side.ratings) if side.weights is None else side.weights
        self.others = np.empty_like(side.indices)
        ratings = side.ratings - dtype(problem.start.mean)
        self.targets = ratings, weights
        self.pairs = Pairs(
            codes=make_aligned((n_pairs, 3), np.int32),
            ratings=make_aligned((n_pairs, 2), ratings.dtype),
        )
        self.batch_size = min(batch_size, n_pairs)
        self.n_batches = -(-n_pairs // self.batch_size)
        self.batches = np.arange(n_pairs, dtype=np.int32) // np.int32(self.batch_size)
        self.batch = make_batch(self.batch_size, self.tables[0], self.network)
        self.pace = Pace(min(self.run.n_threads, len(self.batch.gradients)))
        self.rate, self.constants = dtype(learning_rate), make_constants(dtype)
        self.weight_sums = side.weight_sums(), problem.ratings.by_item.weight_sums()
        self.user_blocks = cut_rows(side.counts(), n_pairs / self.run.n_threads)

    def sweep(self):
        """Pass over all ratings; return the joint loss, before each step."""
        words = self.bits.random_raw(len(self.others)).view(np.uint32).reshape(2, -1)
        shuffle(words[0], self.batches)
        self.run(self._prepare, self.user_blocks, words[1])
        self.batch.losses[:] = 0
        pass_over(
            self.n_batches,
            self.run,
            self.pace,
            self.batch_size,
            self.pairs,
            *self.tables,
            self.network,
            self.batch,
            self.task,
            self.rate,
            self.constants,
        )
        total, task = self.weight_sums[0].sum(), self.task
        factorization, regression = self.batch.losses[:, :2].sum(axis=0) / total
        joint = task.factorization * factorization + task.regression * regression
        joint += task.regularization * self._penalise() / total
        losses = joint, factorization, regression
        for curve, loss in zip(self.losses.values(), losses, strict=True):
            curve.append(float(loss))
        return float(joint)

    def _prepare(self, start, stop, words):
        """Draw items without a rating for users, and put their pairs into batches."""
        side, seen = self.side, self.seen.by_user
        draw_unrated(
            start,
            stop,
            side.indptr,
            seen.indptr,
            seen.indices,
            len(self.tables[1].values),
            words,
            self.others,
        )
        deal(
            start,
            stop,
            self.batches,
            self.batch_size,
            side.indptr,
            side.indices,
            self.others,
            *self.targets,
            self.pairs,
        )

    def _penalise(self):
        return sum(
            counts @ np.vecdot(table.values, table.values)
            for counts, table in zip(self.weight_sums, self.tables, strict=True)
        )

    def parameters(self):
        """Return what has been learnt, as if the fit ended here."""
        P, Q = (
            np.column_stack(
                [
                    view_factors(table.values, self.n_factors).reshape(
                        len(table.values), -1
                    ),
                    table.biases[:, 0],
                ]
            )
            for table in self.tables
        )
        sizes = [len(weights) for weights, _ in self.start.layers] + [1]
        layers = list(zip(*read_layers(self.network, sizes), strict=True))
        return replace(self.start, P=P, Q=Q, layers=layers)
