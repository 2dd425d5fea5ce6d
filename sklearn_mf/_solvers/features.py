"""What features predict of rows of parameters: a ridge regression on the features.

With features x_k of row k and weights G, the penalty of the rows of a side is

    λ (Σ_k c_k ‖p_k − Gᵀ x_k‖² + φ c̄ ‖G‖²),   c̄ = Σ_k c_k² / Σ_k c_k

where the features are scaled so that the mean of ‖x_k‖² is 1. Biases have λ_b in the
place of λ. Given the rows, the best G is a ridge regression that does not depend on λ.
Features come in blocks; each block has its own G, learnt with the others held fixed.
"""

import numpy as np
from scipy import sparse

from sklearn_mf._runtime.compile import jit
from sklearn_mf._runtime.linear_algebra import (
    conjugate_gradient,
    diagonalise,
    matrix_product,
    sparse_product,
)
from sklearn_mf._runtime.threads import cut_rows
from sklearn_mf._runtime.tiles import load_row, store, zeros
from sklearn_mf._solvers.als.kernels import TILE, pad

FEW = 1000  # features whose Gram matrix is diagonalised
MANY_STEPS = 30  # of conjugate gradient for more of them, where they are learnt once
SUM_WORK = 2**14  # terms of sums of rows that are worth a task of their own


class FeaturePrior:
    """The rows of a side as their features predict them.

    Parameters
    ----------
    design : Design
        The features.
    weights : list of float64 ndarrays of shape (n_features, n_columns)
        The G of each block to begin with.
    counts : float64 ndarray of shape (n_rows,)
        The c of each row; 0 for rows from which nothing is to be learnt.
    penalty : Penalty
        That of the rows, with its φ.
    run : callable
        From `thread_pool`.
    dtype : dtype
        Float type of the rows.

    Attributes
    ----------
    means : ndarray of shape (n_rows, width)
        Gᵀ x of each row, added up over the blocks; padded.
    """

    def __init__(self, design, weights, counts, penalty, run, dtype):
        self.counts, self.penalty = counts, penalty
        self.ridge = float(penalty.features * (counts**2).sum() / counts.sum())
        self.blocks = [Regression(block, counts, run, dtype) for block in design.blocks]
        self.n_columns = weights[0].shape[1]
        self.padded = [pad(G.astype(dtype)) for G in weights]
        self.parts = [
            block.features.times(G)
            for block, G in zip(self.blocks, self.padded, strict=True)
        ]
        self.means = sum(self.parts)

    def learn(self, rows):
        """Learn the weights from padded rows of parameters."""
        for k, block in enumerate(self.blocks):
            # What is to be added to G: that of the ridge regression of the residuals
            b = block.project(rows - self.means) - self.ridge * self.padded[k]
            step, change = block.improve(b, self.ridge)
            self.padded[k] = self.padded[k] + step
            self.parts[k] = self.parts[k] + change
            self.means = sum(self.parts)

    def penalise(self, rows):
        """Return the penalty of padded rows."""
        rest = (rows - self.means)[:, : self.n_columns]
        return self.penalty.of_rows(rest, self.counts)

    def penalise_weights(self):
        """Return the penalty of the weights."""
        return sum(self.penalty.of_rows(G, self.ridge) for G in self.weights())

    def weights(self):
        """Return the G of each block, copies of shape (n_features, n_columns)."""
        return [G[:, : self.n_columns].copy() for G in self.padded]

    def weights_alone(self):
        """Return the weights of the first block where the others are not known.

        What the others add is then predicted by the first one too.
        """
        alone = predict_others(self.blocks, self.padded[0], self.parts, self.ridge)
        return alone[:, : self.n_columns]


def predict_others(blocks, weights, parts, ridge):
    """Return weights of the first block that also predict what the others add.

    Parameters
    ----------
    blocks : list of Regression
        The blocks.
    weights : ndarray of shape (n_features, width)
        The G of the first one; padded.
    parts : list of ndarrays of shape (n_rows, width)
        X G of all of them.
    ridge : float
        What the squares of weights are multiplied by in the regression.
    """
    if len(blocks) == 1:
        return weights
    b = blocks[0].project(sum(parts[1:]))
    step = blocks[0].solve(b, ridge, MANY_STEPS)
    return weights + step.astype(weights.dtype, copy=False)


def weights_of(priors):
    """Return the weights of users and of items, as `Parameters` keeps them.

    Of each the G of its blocks, and `weights_alone`; nothing without features.
    """
    return tuple(
        [] if prior is None else [*prior.weights(), prior.weights_alone()]
        for prior in priors
    )


def fill_unrated(tables, priors):
    """Overwrite rows from which nothing was learnt with what their features predict."""
    for rows, prior in zip(tables, priors, strict=True):
        if prior is not None:
            unrated = prior.counts == 0
            alone = prior.blocks[0].features.times(pad(prior.weights_alone()))
            rows[unrated] = alone[unrated, : prior.n_columns]


class Regression:
    """The ridge regression of rows on one block of features.

    Parameters
    ----------
    block : ndarray or SparseBlock
        The features.
    counts : float64 ndarray of shape (n_rows,)
        The weight c of each row.
    run : callable
        From `thread_pool`.
    dtype : dtype
        Float type of the rows.
    """

    def __init__(self, block, counts, run, dtype):
        if isinstance(block, np.ndarray):
            features = DenseFeatures(block, dtype)
        else:
            features = SparseFeatures(block, run, dtype)
        self.features = features
        self.counts = counts[:, np.newaxis].astype(dtype)
        self.few = block.shape[1] <= FEW
        if self.few:
            values, self.vectors = diagonalise(features.gram(counts))
            self.values = np.maximum(values, 0)[:, np.newaxis]
            self.smallest = np.finfo(dtype).eps * self.values.max()
        else:
            self.diagonal = features.squares(counts)[:, np.newaxis].astype(dtype)

    def project(self, rows):
        """Return Xᵀ C P, for rows P."""
        return self.features.times_transposed(self.counts * rows)

    def improve(self, b, ridge):
        """Return a step from 0 towards G with (Xᵀ C X + ridge) G = b, and X times it.

        Few features are solved for. With many, each column g of b, divided by the
        diagonal of the matrix A, is a direction, and the step is the best one along it:
        α g with α = bᵀ g / gᵀ A g. No product Xᵀ C (X g) is needed for that.
        """
        if self.few:
            step = self.solve(b, ridge).astype(b.dtype, copy=False)
            return step, self.features.times(step)
        g = b / (self.diagonal + ridge)
        change = self.features.times(g)
        curvature = (self.counts * change**2).sum(axis=0) + ridge * (g**2).sum(axis=0)
        slope = (b * g).sum(axis=0)
        alpha = np.divide(
            slope, curvature, out=np.zeros_like(slope), where=curvature > 0
        )
        return alpha * g, alpha * change

    def solve(self, b, ridge, n_steps=None):
        """Return G with (Xᵀ C X + ridge) G = b, or approach it by some steps."""
        if self.few:
            rotated, values = matrix_product(self.vectors.T, b), self.values + ridge
            # Below that, b is rounding alone: of least norm where that is singular
            rotated = np.where(values > self.smallest, rotated / values, 0)
            return matrix_product(self.vectors, rotated)

        def multiply(G):
            return self.project(self.features.times(G)) + ridge * G

        return conjugate_gradient(multiply, b, self.diagonal + ridge, n_steps)


class DenseFeatures:
    """Products with a dense matrix of features, X."""

    def __init__(self, matrix, dtype):
        self.matrix, self.cast = matrix, matrix.astype(dtype)

    def times(self, G):
        """Return X G."""
        return matrix_product(self.cast, G)

    def times_transposed(self, rows):
        """Return Xᵀ P."""
        return matrix_product(self.cast.T, rows)

    def gram(self, counts):
        """Return Xᵀ C X, where C is diagonal."""
        return matrix_product(self.matrix.T * counts, self.matrix)

    def squares(self, counts):
        """Return the diagonal of Xᵀ C X."""
        return np.einsum("kf,kf,k->f", self.matrix, self.matrix, counts)


class SparseFeatures:
    """Products with a sparse matrix of features, as those of `DenseFeatures`."""

    def __init__(self, block, run, dtype):
        self.block, self.run = block, run
        self.parts = [
            (indptr, indices, data.astype(dtype))
            for indptr, indices, data in (block.by_row, block.by_column)
        ]
        self.cuts = [cut_rows(np.diff(part[0]) + 1.0, SUM_WORK) for part in self.parts]
        self.centers = block.centers[:, np.newaxis].astype(dtype)
        self.known = block.known[:, np.newaxis].astype(dtype)

    def _multiply(self, k, table):
        sums = np.empty((self.block.shape[k], table.shape[1]), table.dtype)
        self.run(add_up_rows, self.cuts[k], *self.parts[k], table, sums)
        return sums

    # With the mean row x̄ and the matrix Z as it is stored, X is Z − 1 x̄ᵀ.

    def times(self, G):
        """Return X G."""
        return self._multiply(0, G) - self.known * (self.centers * G).sum(axis=0)

    def times_transposed(self, rows):
        """Return Xᵀ P."""
        sums = (self.known * rows).sum(axis=0)
        return self._multiply(1, rows) - self.centers * sums

    def gram(self, counts):
        """Return Xᵀ C X, where C is diagonal."""
        indptr, indices, data = self.block.by_row
        shape = self.block.shape
        X = sparse.csr_array((data, indices, indptr), shape)
        weights = np.repeat(counts, np.diff(indptr))
        weighted = sparse.csr_array((data * weights, indices, indptr), shape)
        gram = sparse_product(X.T.tocsr(), weighted).toarray()
        sums = np.bincount(indices, data * weights, shape[1])[:, np.newaxis]
        centers = self.block.centers[:, np.newaxis]
        total = (counts * self.block.known).sum()
        both = sums * centers.T
        return gram - both - both.T + total * centers * centers.T

    def squares(self, counts):
        """Return the diagonal of Xᵀ C X."""
        indptr, indices, data = self.block.by_row
        weights, n = np.repeat(counts, np.diff(indptr)) * data, self.block.shape[1]
        sums = np.bincount(indices, weights, n)
        squares = np.bincount(indices, weights * data, n)
        centers, total = self.block.centers, (counts * self.block.known).sum()
        return squares + centers * (total * centers - 2 * sums)


@jit
def add_up_rows(start, stop, indptr, indices, data, table, sums):
    """Multiply rows of a sparse matrix with a table: sums of its rows.

    Parameters
    ----------
    start, stop : int
        Which of the rows.
    indptr, indices, data : ndarrays
        The matrix, as compressed sparse rows.
    table : ndarray of shape (n_columns, width)
        What it is multiplied with, padded.
    sums : ndarray of shape (n_rows, width)
        Rows start to stop are overwritten.
    """
    for row in range(start, stop):
        first, last = indptr[row], indptr[row + 1]
        for left in range(0, table.shape[1], TILE):
            # tile = Σ_k x_k g_k, for a part of g
            tile = zeros(table, TILE)
            for k in range(first, last):
                tile = tile + data[k] * load_row(table, indices[k], left, TILE)
            store(tile, sums, row, left)
