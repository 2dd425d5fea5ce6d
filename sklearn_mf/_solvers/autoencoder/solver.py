"""An autoencoder of ratings: the solver, and how it lays out its data."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from sklearn_mf._data.ratings import Ratings
from sklearn_mf._model.parameters import Parameters
from sklearn_mf._objective.loss import to_intercept
from sklearn_mf._runtime.threads import cut_rows
from sklearn_mf._solvers.autoencoder import kernels
from sklearn_mf._solvers.optimizers import OPTIMIZERS, begin_state, make_constants

BLOCK_WORK = 2**18  # ratings times factors that are worth a task of their own


def orient(pair, axis):
    """Turn what users and items have into what rows and columns have, or back."""
    return pair if axis == "user" else pair[::-1]


def encode(side, rows, mean, sigmoid, V, a, run):
    """Compute the hidden units of rows.

    Parameters
    ----------
    side : Side
        Ratings.
    rows : int64 ndarray of shape (n_encoded,)
        Which of its rows are encoded.
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
    deviations : ndarray of shape (n_encoded, n_factors)
        The hidden units less those of a row without ratings.
    empty : ndarray of shape (n_factors,)
        The hidden units of a row without ratings.
    """
    rows = np.append(rows, len(side.indptr) - 1)
    indptr = np.append(side.indptr, side.indptr[-1])  # so that this one is empty
    hidden = np.empty((len(rows), len(a)), V.dtype)
    mean = V.dtype.type(mean)
    run(
        kernels.encode_rows,
        cut_rows(len(a) * (np.diff(indptr)[rows] + 1), BLOCK_WORK),
        rows,
        indptr,
        side.indices,
        side.ratings,
        kernels.Coder(V, a[np.newaxis], mean, mean, sigmoid, kernels.IDENTITY),
        hidden,
    )
    return hidden[:-1] - hidden[-1], hidden[-1]


@dataclass
class AutoencoderParameters:
    """What an autoencoder has learnt; fed with ratings, it is a factorisation.

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
    mean, scale : float
        The network reads (r − mean) / scale.
    ratings, seen : Ratings
        What it learns from; these and the ratings that are held out. The rows are those
        of a network that reads `seen`.
    run : callable
        From `thread_pool`.
    """

    C: np.ndarray
    a: np.ndarray
    sigmoid: bool
    axis: str
    mean: float
    scale: float
    ratings: Ratings
    seen: Ratings
    run: Callable

    def copy(self):
        """Return parameters whose arrays are copies."""
        return replace(self, C=self.C.copy(), a=self.a.copy())

    def without_held_out(self):
        """Return these parameters for a network that reads what it learns from."""
        return replace(self, seen=self.ratings)

    def attributes(self):
        """Return the fitted attributes of an estimator, a dict.

        The factors of a row are h_r − h₀ and its bias is 0; those of a column are w_c
        and b_c + w_c · h₀, where h₀ are the hidden units of a row without ratings. All
        are in the unit of the ratings, and v in its inverse.
        """
        n_factors, seen = len(self.a), self.seen
        scale = self.C.dtype.type(self.scale)
        encoder = self.C[:, :n_factors] / scale
        side, _ = orient((seen.by_user, seen.by_item), self.axis)
        rows = np.zeros((len(side.indptr) - 1, n_factors + 1), self.C.dtype)
        rows[:, :-1], empty = encode(
            side,
            np.arange(len(rows)),
            self.mean,
            self.sigmoid,
            encoder,
            self.a,
            self.run,
        )
        columns = self.C[:, n_factors:] * scale
        columns[:, -1] += np.einsum("cf,f->c", columns[:, :-1], empty)  # no BLAS
        tables = orient((rows, columns), self.axis)
        fitted = Parameters(seen.users, seen.items, *tables, self.mean, biased=True)
        return {
            **fitted.attributes(),
            "axis_": self.axis,
            "encoder_weights_": encoder,
            "encoder_biases_": self.a.copy(),
        }


class Batches:
    """The rows in random batches, whose ratings are sorted by column.

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

    def draw(self, rng):
        """Draw the batches of an epoch."""
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
        """Yield the rows of each batch, and the columns that it touches."""
        for k in range(len(self.row_bounds) - 1):
            begin, end = self.touched_bounds[k : k + 2]
            yield (
                self.rows[slice(*self.row_bounds[k : k + 2])],
                kernels.Touched(
                    self.touched[begin:end],
                    self.bounds[begin : end + 1],
                    self.entries,
                    self.places,
                ),
            )


class Autoencoder:
    """Minimises the objective by steps along the gradients of batches of rows.

    Parameters
    ----------
    problem : Problem
        What is given.
    start : AutoencoderParameters
        Where it begins; changed in place.
    penalty : Penalty
        The penalty of v and w.
    output : int
        What follows the scores: one of the constants of the kernels.
    optimizer : {"sgd", "adam"}
        How steps are taken.
    learning_rate : float
        The length of a step.
    batch_size : int
        Rows of a batch, at most.
    """

    def __init__(
        self, problem, start, *, penalty, output, optimizer, learning_rate, batch_size
    ):
        self.learnt, self.penalty = start, penalty
        self.rng, self.run = problem.rng, problem.run
        ratings, C, A = problem.ratings, start.C, start.a[np.newaxis]
        self.by_row, by_column = orient((ratings.by_user, ratings.by_item), start.axis)
        dtype, n_factors = C.dtype.type, A.shape[1]
        logistic = output != kernels.IDENTITY
        mean = start.mean if logistic else 0.0
        if not logistic:  # the target is what the network reads
            ratings = (self.by_row.ratings - dtype(start.mean)) / dtype(start.scale)
            self.by_row = self.by_row._replace(ratings=ratings)
        self.batches = Batches(self.by_row, by_column, batch_size)
        n_places = np.diff(self.batches.row_bounds).max()
        self.H, self.D = np.empty((2, n_places, n_factors), dtype)
        self.errors = np.empty_like(self.by_row.ratings)
        shares = penalty.shares(by_column)
        self.counts = by_column.weight_sums() * shares
        self.penalties = dtype(penalty.factors) * shares.astype(dtype)
        self.coder = kernels.Coder(
            C,
            A,
            dtype(mean),
            dtype(to_intercept(mean, logistic)),
            start.sigmoid,
            output,
        )
        self.step_biases, self.step_columns = (
            steps[OPTIMIZERS[optimizer]]
            for steps in (kernels.STEP_BIASES, kernels.STEP_COLUMNS)
        )
        self.C_state, self.A_state = (
            begin_state(optimizer, rows.shape, dtype) for rows in (C, A)
        )
        self.rate = dtype(learning_rate)
        epsilon = 1e-8 * problem.ratings.mean_weight()
        self.constants = make_constants(dtype, epsilon=epsilon)
        self.row_work = n_factors * self.by_row.counts()
        self.loss = np.zeros(len(self.by_row.indptr) - 1)

    def sweep(self):
        """Pass over all rows; return the objective, with losses before each step."""
        self.batches.draw(self.rng)
        for rows, touched in self.batches:
            self._step(rows, touched)
        return self.loss.sum() + self.penalty.of_rows(self.coder.C, self.counts)

    def _step(self, rows, touched):
        """Step along the mean gradient of a batch."""
        side, gradients = self.by_row, (self.H, self.D)
        share = self.rate.dtype.type(1 / len(rows))
        self.run(
            kernels.differentiate_rows,
            cut_rows(self.row_work[rows], BLOCK_WORK),
            rows,
            *side,
            self.coder,
            *gradients,
            self.errors,
            self.loss,
        )
        self.step_biases(
            len(rows),
            self.D,
            share,
            self.rate,
            self.coder.A,
            self.A_state,
            self.constants,
        )
        self.run(
            self.step_columns,
            cut_rows(self.H.shape[1] * np.diff(touched.bounds), BLOCK_WORK),
            touched,
            side.ratings,
            side.weights,
            self.errors,
            *gradients,
            self.coder,
            self.penalties,
            share,
            self.rate,
            self.C_state,
            self.constants,
        )

    def parameters(self):
        """Return what has been learnt, as if the fit ended here."""
        return self.learnt.copy()
