"""Draws of the weights of features, which predict rows of parameters.

Row k of a side has the prior p_k ~ N(m + Gᵀ x_k, Λ⁻¹), with features x_k and weights G.
Features come in blocks, and for the weights of block b in column j of the parameters

    g_j ~ N(0, I/(λ_j β_b)),   β_b ~ Gamma(`SHAPE`, rate `RATE`).

The mean of ‖x_k‖² is 1. So 1/β_b is how much of the variance of the rows the block
explains, as a multiple of what features leave unexplained, 1/λ_j: β_b does not depend
on the unit of the rows, nor on the number of features.

In units of λ_j^-½, and with the rows less m and less what other blocks predict, R, the
weights of a block are distributed as

    H ~ N(A⁻¹ Xᵀ R, A⁻¹),   A = Xᵀ X + β I.

Few features are drawn in the eigenvectors of Xᵀ X. For many of them the solution of

    A H = Xᵀ (R + E) + β^½ F,   with standard normal E and F,

is a draw: the noise of the right-hand side has the covariance A (Simm et al. 2017,
"Macau", section 2.3).
"""

import numpy as np

from sklearn_mf._runtime.linear_algebra import conjugate_gradient, matrix_product
from sklearn_mf._solvers.als.kernels import pad
from sklearn_mf._solvers.features import Regression, predict_others

SHAPE, RATE = 0.5, 0.05  # of the prior of β
PRECISION = 1e-4  # of draws by conjugate gradient, in standard deviations
MAX_STEPS = 1000  # of conjugate gradient


def regress(problem):
    """Return the regressions of users and of items on each block of their features.

    Rows without ratings have no part in them.
    """
    ratings, rated = problem.ratings, []
    for side in (ratings.by_user, ratings.by_item):
        rated.append((side.counts() > 0).astype(np.float64))
    return [
        [Regression(block, counts, problem.run, np.float64) for block in design.blocks]
        if design
        else []
        for design, counts in zip(problem.features, rated, strict=True)
    ]


class Expectation:
    """What features predict of the rows of a side: the last draw of a chain.

    Parameters
    ----------
    regressions : list of Regression
        That of each block.
    weights : list of ndarrays of shape (n_features, n_columns)
        Their weights to begin with.

    Attributes
    ----------
    precisions : list of float
        β of each block.
    """

    def __init__(self, regressions, weights):
        self.regressions, self.n_columns = regressions, weights[0].shape[1]
        self.padded = [pad(G.astype(np.float64)) for G in weights]
        self.parts = [self.expect(k) for k in range(len(weights))]
        self.precisions = [1.0] * len(weights)

    def expect(self, k):
        """Return what a block predicts of the rows: X G."""
        return self.regressions[k].features.times(self.padded[k])

    @property
    def means(self):
        """Gᵀ x of each row, float64 of shape (n_rows, width); padded."""
        return sum(self.parts)

    @property
    def weights(self):
        """G of each block, shape (n_features, n_columns)."""
        return [G[:, : self.n_columns] for G in self.padded]

    @property
    def n_weights(self):
        """The number of weights of each column of the parameters."""
        return sum(map(len, self.padded))

    def squares(self):
        """Return Σ_b β_b ‖g_j‖² of each column j."""
        weights = zip(self.precisions, self.weights, strict=True)
        return sum(precision * (G**2).sum(axis=0) for precision, G in weights)

    def weights_alone(self):
        """Return padded weights of the first block where the others are not known."""
        given = self.regressions, self.padded[0], self.parts, self.precisions[0]
        return predict_others(*given)

    def predict_unrated(self):
        """Return what features predict of rows if these have no ratings; padded."""
        return self.regressions[0].features.times(self.weights_alone())

    def spreads(self, rows, *, n_known):
        """Return covariances of what features predict of rows.

        Parameters
        ----------
        rows : int ndarray
            The rows.
        n_known : int
            0 if no feature is known of new rows, or 1 if those of the first block are.

        Returns
        -------
        float64 ndarray of shape (2, n_columns, n_columns)
            Those of what is then not known of new rows, and of all.
        """
        known = self.predict_unrated() if n_known else 0.0
        covariances = []
        for part in (self.means - known, self.means):
            rest = part[rows, : self.n_columns]
            rest = rest - rest.mean(axis=0)
            covariances.append(matrix_product(rest.T, rest) / len(rows))
        return np.array(covariances)

    def stretch(self, factors):
        """Multiply the columns of all weights by factors."""
        for tables in (self.padded, self.parts):
            for table in tables:
                table[:, : self.n_columns] *= factors

    def draw(self, rows, means, precisions, rng):
        """Draw β and G, given padded rows and their m and λ."""
        n = self.n_columns
        m, roots = np.zeros(rows.shape[1]), np.ones(rows.shape[1])
        m[:n], roots[:n] = means, np.sqrt(precisions)
        for k, regression in enumerate(self.regressions):
            rest = sum(part for other, part in enumerate(self.parts) if other != k)
            R, H = (rows - m - rest) * roots, self.padded[k] * roots
            H = draw_weights(regression, R, H, self.precisions[k], n, rng)
            rate = RATE + (H**2).sum() / 2
            ridge = rng.gamma(SHAPE + len(H) * n / 2) / rate
            self.padded[k] = H / roots
            part = self.expect(k)
            stretch = draw_stretch(regression, R, part * roots, ridge, rng)
            self.padded[k] *= stretch
            self.parts[k] = stretch * part
            self.precisions[k] = ridge / stretch**2


def draw_stretch(regression, rows, expected, ridge, rng):
    """Draw t, by which weights are multiplied, and β by t⁻².

    This leaves what the prior says of the weights as it is. Many weights hold β nearly
    where it is, and only so it moves (Yu and Meng 2011, "To center or not to center").

    Parameters
    ----------
    regression : Regression
        That of the rows on their features.
    rows, expected : float64 ndarrays of shape (n_rows, width)
        R and X H; padded.
    ridge : float
        β.
    rng : RandomState
        Source of the draw.
    """
    counts = regression.counts
    square, product = (counts * expected**2).sum(), (counts * expected * rows).sum()

    def log_density(u):  # of log t
        t = np.exp(u)
        prior = -2 * SHAPE * u - RATE * ridge / t**2
        return prior + t * product - t**2 * square / 2

    return np.exp(slice_sample(log_density, rng))


def slice_sample(log_density, rng):
    """Return a number that follows 0 in a chain of a given density (Neal 2003)."""
    level = log_density(0.0) - rng.exponential()
    low = -rng.uniform()
    high = low + 1
    while log_density(low) > level:
        low -= 1
    while log_density(high) > level:
        high += 1
    while log_density(u := rng.uniform(low, high)) <= level:
        low, high = (u, high) if u < 0 else (low, u)
    return u


def draw_weights(regression, rows, start, ridge, n_columns, rng):
    """Draw the weights H of the rows R, whose residuals have the variance 1.

    Parameters
    ----------
    regression : Regression
        That of the rows on their features.
    rows : float64 ndarray of shape (n_rows, width)
        R; padded.
    start : float64 ndarray of shape (n_features, width)
        Where conjugate gradient begins.
    ridge : float
        β.
    n_columns : int
        Number of columns without the padding.
    rng : RandomState
        Source of the draw.

    Returns
    -------
    float64 ndarray of shape (n_features, width)
    """

    def draw_normals(n_rows):
        normals = np.zeros((n_rows, rows.shape[1]))
        normals[:, :n_columns] = rng.normal(size=(n_rows, n_columns))
        return normals

    noise = draw_normals(len(start))
    if regression.few:
        values, vectors = regression.values + ridge, regression.vectors
        rotated = matrix_product(vectors.T, regression.project(rows)) / values
        return matrix_product(vectors, rotated + noise / np.sqrt(values))

    def multiply(H):
        return regression.project(regression.features.times(H)) + ridge * H

    b = regression.project(rows + draw_normals(len(rows))) + np.sqrt(ridge) * noise
    step = conjugate_gradient(
        multiply,
        b - multiply(start),
        regression.diagonal + ridge,
        MAX_STEPS,
        rtol=0.0,
        # The error E of the solution has ‖A^½ E‖ ≤ β^-½ ‖b − A H‖.
        atol=PRECISION * np.sqrt(ridge * len(start) * n_columns),
    )
    return start + step
