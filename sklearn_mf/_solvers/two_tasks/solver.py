"""Two tasks on one embedding: the solver loop, and how it lays out its data."""

from time import perf_counter

import numpy as np

from sklearn_mf._model.perceptron import pad_width
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


def fit_multitask(
    problem, task, *, n_factors, batch_size, learning_rate, run, iterations, validate
):
    """Minimise the joint loss by Adam.

    Parameters
    ----------
    problem : Problem
        The ratings and the start: its users, items and network are changed in place,
        and its losses grow.
    task : Task
        What is minimised.
    n_factors : int
        Length of the factors.
    batch_size : int
        Ratings of a batch.
    learning_rate : float
        Length of a step.
    run : callable
        From `thread_pool`.
    iterations : Iterations
        Ends the loop; takes the joint loss after each epoch.
    validate : callable or None
        Gives the score of the held-out ratings after an epoch; the epoch with the best
        one is restored.
    """
    side, network = problem.ratings.by_user, problem.network
    bits = np.random.PCG64(problem.rng.randint(2**32))
    n_pairs, dtype = len(side.ratings), problem.users.dtype.type
    sides = problem.users, problem.items
    users, items = tables = [make_table(rows, n_factors) for rows in sides]
    weights = np.ones_like(side.ratings) if side.weights is None else side.weights
    others, ratings = np.empty_like(side.indices), side.ratings - dtype(problem.mean)
    pairs = Pairs(
        codes=make_aligned((n_pairs, 3), np.int32),
        ratings=make_aligned((n_pairs, 2), ratings.dtype),
    )
    batch_size = min(batch_size, n_pairs)
    n_batches = -(-n_pairs // batch_size)
    batches = np.arange(n_pairs, dtype=np.int32) // np.int32(batch_size)
    batch = make_batch(batch_size, users, network)
    pace = Pace(min(run.n_threads, len(batch.gradients)))
    state = batch_size, pairs, users, items, network
    rate, constants = dtype(learning_rate), make_constants(dtype)
    weight_sums = side.weight_sums(), problem.ratings.by_item.weight_sums()
    total = weight_sums[0].sum()
    user_blocks = cut_rows(side.counts(), n_pairs / run.n_threads)

    parameters = [array for table in tables for array in (table.values, table.biases)]
    parameters.append(network.values)

    def prepare(start, stop, words):
        seen = problem.seen_indptr, problem.seen_indices, len(items.values)
        draw_unrated(start, stop, side.indptr, *seen, words, others)
        source = side.indptr, side.indices, others, ratings, weights
        deal(start, stop, batches, batch_size, *source, pairs)

    def penalty():
        return sum(
            counts @ np.vecdot(table.values, table.values)
            for counts, table in zip(weight_sums, tables, strict=True)
        )

    def publish():
        for rows, table in zip(sides, tables, strict=True):
            factors = view_factors(table.values, n_factors)
            rows[:, :-1] = factors.reshape(len(rows), -1)
            rows[:, -1] = table.biases[:, 0]

    problem.publish = publish
    best = None
    for _ in iterations:
        words = bits.random_raw(n_pairs).view(np.uint32).reshape(2, -1)
        shuffle(words[0], batches)
        run(prepare, user_blocks, words[1])
        batch.losses[:] = 0
        pass_over(n_batches, run, pace, *state, batch, task, rate, constants)
        factorization, regression = batch.losses[:, :2].sum(axis=0) / total
        joint = task.factorization * factorization + task.regression * regression
        joint += task.regularization * penalty() / total
        losses = joint, factorization, regression
        for curve, loss in zip(problem.losses.values(), losses, strict=True):
            curve.append(float(loss))
        if validate is not None:
            publish()
        if iterations.record(float(joint), validate):
            best = [array.copy() for array in parameters]
    if best is not None:
        for array, copy in zip(parameters, best, strict=True):
            array[:] = copy
    publish()
    problem.publish = None
