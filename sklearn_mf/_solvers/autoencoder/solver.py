"""An autoencoder of ratings: the solver loop, and how it lays out its data."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from sklearn_mf._data.ratings import Ratings
from sklearn_mf._objective.loss import to_intercept
from sklearn_mf._runtime.threads import cut_rows
from sklearn_mf._solvers.autoencoder import kernels
from sklearn_mf._solvers.optimizers import OPTIMIZERS, make_constants

BLOCK_WORK = 2**18  # ratings times factors that are worth a task of their own


def orient(pair, axis):
    """Turn what users and items have into what rows and columns have, or back."""
    return pair if axis == "user" else pair[::-1]


def feed(side, rows, mean, sigmoid, V, a, run):
    """Feed rows to the encoder.

    Parameters
    ----------
    side : Side
        Ratings.
    rows : int64 ndarray of shape (n_fed,)
        Which of its rows are fed.
    mean : float
        What is taken off the ratings.
    sigmoid : bool
        Whether the activation is σ, or none.
    V : ndarray of shape (n_columns, n_factors or more)
        Its first columns are v.
    a : ndarray of shape (n_factors,)
        The biases.
    run : callable
        From `thread_pool`.

    Returns
    -------
    fed : ndarray of shape (n_fed, n_factors)
        What their hidden units have more than those of a row without ratings.
    empty : ndarray of shape (n_factors,)
        The hidden units of a row without ratings.
    """
    rows = np.append(rows, len(side.indptr) - 1)
    indptr = np.append(side.indptr, side.indptr[-1])  # so that this one is empty
    hidden = np.empty((len(rows), len(a)), V.dtype)
    run(
        kernels.encode_rows,
        cut_rows(len(a) * (np.diff(indptr)[rows] + 1), BLOCK_WORK),
        rows,
        indptr,
        side.indices,
        side.ratings,
        V.dtype.type(mean),
        sigmoid,
        V,
        a[np.newaxis],
        hidden,
    )
    return hidden[:-1] - hidden[-1], hidden[-1]


@dataclass
class Network:
    """An autoencoder, and how it learns.

    Attributes
    ----------
    C : ndarray of shape (n_columns, 2 * n_factors + 1)
        For each column v_c, w_c and b_c.
    a : ndarray of shape (n_factors,)
        The biases of the encoder.
    sigmoid : bool
        Whether the activation is σ, or none.
    axis : {"user", "item"}
        The side whose ids are rows.
    optimizer : {"sgd", "adam"}
        How steps are taken.
    learning_rate, penalty : float
        The length of a step, and λ.
    weighted_regularization : bool
        Whether a penalty counts once for each unit of weight of a column, or once.
    batch_size : int
        Rows of a batch.
    seen : Ratings
        All ratings, held-out ones too.
    """

    C: np.ndarray
    a: np.ndarray
    sigmoid: bool
    axis: str
    optimizer: str
    learning_rate: float
    penalty: float
    weighted_regularization: bool
    batch_size: int
    seen: Ratings

    def factorise(self, problem, ratings, run):
        """Write to a problem the factorisation that the network is.

        Parameters
        ----------
        problem : Problem
            Its users and items are overwritten.
        ratings : Ratings
            What the network is fed with.
        run : callable
            From `thread_pool`.
        """
        side, _ = orient((ratings.by_user, ratings.by_item), self.axis)
        rows, columns = orient((problem.users, problem.items), self.axis)
        fed, empty = feed(
            side,
            np.arange(len(rows)),
            problem.mean,
            self.sigmoid,
            self.C,
            self.a,
            run,
        )
        rows[:, :-1], rows[:, -1] = fed, 0
        columns[:] = self.C[:, len(self.a) :]
        columns[:, -1] += columns[:, :-1] @ empty

    def penalise(self, counts):
        """Give the penalty of all columns, whose counts n_c are given."""
        with np.errstate(over="ignore", invalid="ignore"):  # divergence is told later
            squares = counts @ np.square(self.C, dtype=np.float64)
            return self.penalty * squares[:-1].sum()


class Batches:
    """The rows dealt at random to batches, whose ratings are sorted by column.

    Attributes
    ----------
    rows : int64 ndarray of shape (n_rated,)
        The rows that have ratings, in order of batches.
    row_bounds : int64 ndarray of shape (n_batches + 1,)
        Where each batch begins and ends in `rows`.
    entries, places : int32 ndarrays of shape (n_ratings,), or int64 where too many
        Each rating by batch and column: where it stands in the order of rows, and the
        place of its row in the batch.
    touched : int32 ndarray of shape (n_touched,)
        The columns that each batch touches, in order of batches.
    bounds : int64 ndarray of shape (n_touched + 1,)
        Where the ratings of each begin and end in `entries`.
    touched_bounds : int64 ndarray of shape (n_batches + 1,)
        Where each batch begins and ends in `touched`.
    """

    def __init__(self, by_row, by_column, batch_size):
        shape = len(by_row.indptr) - 1, len(by_column.indptr) - 1
        self.rows = np.flatnonzero(by_row.counts())
        n_batches = -(-len(self.rows) // batch_size)
        self.row_bounds = np.linspace(0, len(self.rows), n_batches + 1).astype(int)
        self._batch_of = np.empty(shape[0], np.min_scalar_type(n_batches))
        self._place_of = np.empty(shape[0], np.int32)
        self._rows, counts = by_column.indices, by_column.counts()
        self._columns = np.repeat(np.arange(shape[1], dtype=np.int32), counts)
        n_ratings = len(by_row.indices)
        index = np.int32 if n_ratings < 2**31 else np.int64
        entries = np.arange(n_ratings, dtype=index)
        by_row = sparse.csr_array((entries, by_row.indices, by_row.indptr), shape)
        self._entries = by_row.tocsc().data

    def deal(self, rng):
        """Deal the rows anew."""
        sizes = np.diff(self.row_bounds)
        self.rows = rng.permutation(self.rows)
        self._batch_of[self.rows] = np.repeat(np.arange(len(sizes)), sizes)
        places = np.arange(len(self.rows)) - np.repeat(self.row_bounds[:-1], sizes)
        self._place_of[self.rows] = places
        batches = self._batch_of[self._rows]
        order = np.argsort(batches, kind="stable")  # in linear time up to 16 bits
        self.entries = self._entries[order]
        self.places = self._place_of[self._rows[order]]
        batches, columns = batches[order], self._columns[order]
        begins = np.ones(len(order), dtype=bool)
        begins[1:] = (columns[1:] != columns[:-1]) | (batches[1:] != batches[:-1])
        begins = np.flatnonzero(begins)
        self.touched = columns[begins]
        self.bounds = np.append(begins, len(order))
        self.touched_bounds = np.searchsorted(
            batches[begins], np.arange(len(sizes) + 1)
        )

    def __iter__(self):
        """Yield the rows of each batch, and its columns with their bounds."""
        for k in range(len(self.row_bounds) - 1):
            begin, end = self.touched_bounds[k : k + 2]
            yield (
                self.rows[slice(*self.row_bounds[k : k + 2])],
                self.touched[begin:end],
                self.bounds[begin : end + 1],
            )


def begin(rows, optimizer):
    """Give the state of an optimizer before its first step: see `step`, `correct`."""
    n_rows, n_columns = rows.shape
    adam = optimizer == "adam"
    first, second = np.zeros((2, n_rows, n_columns * adam), rows.dtype)
    return first, second, np.ones((n_rows, 2 * adam), rows.dtype)


def fit_network(problem, network, *, output, run, iterations, validate=None):
    """Minimise the objective by stochastic gradient descent over rows.

    Parameters
    ----------
    problem : Problem
        The ratings; its users and items are overwritten.
    network : Network
        The start, changed in place, and the steps.
    output : int
        What follows the scores: one of the constants of the kernels.
    run : callable
        From `thread_pool`.
    iterations : Iterations
        Ends the loop; takes the value of the objective after each epoch.
    validate : callable or None
        Gives the score of the held-out ratings after an epoch; the epoch with the best
        one is restored.
    """
    ratings, C, A = problem.ratings, network.C, network.a[np.newaxis]
    by_row, by_column = orient((ratings.by_user, ratings.by_item), network.axis)
    dtype, n_factors = C.dtype.type, A.shape[1]
    batches = Batches(by_row, by_column, network.batch_size)
    n_places = np.diff(batches.row_bounds).max()
    H, D = np.empty((2, n_places, n_factors), dtype)
    errors = np.empty_like(by_row.ratings)
    counts = weight_sums = by_column.weight_sums()
    shares = np.ones(len(C), dtype)
    if not network.weighted_regularization:
        counts = (weight_sums > 0).astype(np.float64)
        np.divide(
            1, weight_sums, out=shares, where=weight_sums > 0, casting="same_kind"
        )
    optimizer = OPTIMIZERS[network.optimizer]
    C_state, A_state = (begin(rows, network.optimizer) for rows in (C, A))
    constants = make_constants(dtype)
    rate, penalty = dtype(network.learning_rate), dtype(network.penalty)
    mean = dtype(problem.mean)
    intercept = dtype(to_intercept(problem.mean, output != kernels.IDENTITY))
    row_work, loss = by_row.counts(), np.zeros(len(by_row.indptr) - 1)
    best = None

    def publish():
        network.factorise(problem, network.seen, run)

    problem.publish = publish
    for _ in iterations:
        batches.deal(problem.rng)
        for rows, columns, bounds in batches:
            share = dtype(1 / len(rows))
            run(
                kernels.feed_rows,
                cut_rows(n_factors * row_work[rows], BLOCK_WORK),
                rows,
                by_row.indptr,
                by_row.indices,
                by_row.ratings,
                mean,
                by_row.weights,
                network.sigmoid,
                output,
                intercept,
                C,
                A,
                H,
                D,
                errors,
                loss,
            )
            kernels.STEP_BIASES[optimizer](
                len(rows), D, share, rate, A, *A_state, constants
            )
            run(
                kernels.STEP_COLUMNS[optimizer],
                cut_rows(n_factors * np.diff(bounds), BLOCK_WORK),
                columns,
                bounds,
                batches.entries,
                batches.places,
                by_row.ratings,
                mean,
                by_row.weights,
                errors,
                H,
                D,
                share,
                rate,
                penalty,
                shares,
                C,
                *C_state,
                constants,
            )
        objective = loss.sum() + network.penalise(counts)
        if validate is not None:
            network.factorise(problem, ratings, run)
        if iterations.record(objective, validate):
            best = C.copy(), A.copy()
    if best is not None:
        C[:], A[:] = best
    publish()
    problem.publish = None
