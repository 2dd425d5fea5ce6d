"""A model in few lines: what a new one costs; see doc/development.md."""

from dataclasses import replace

import numpy as np

from sklearn_mf._estimators.base import BaseFactorizer, RegressionMixin


class Imputation:
    """Solver of principal component analysis with missing values.

    A sweep fills the holes of the rating matrix with predictions, and takes the best
    approximation of low rank of what results. A rating of weight w counts as far as w
    is of the largest weight. The squared error of the ratings never rises.
    """

    def __init__(self, problem):
        side, self.start = problem.ratings.by_user, problem.start.copy()
        self.P, self.Q = self.start.P, self.start.Q
        users = np.repeat(np.arange(len(self.P)), side.counts())
        self.weights = np.zeros((len(self.P), len(self.Q)), self.P.dtype)
        self.weights[users, side.indices] = 1 if side.weights is None else side.weights
        self.ratings = np.zeros_like(self.weights)
        self.ratings[users, side.indices] = side.ratings - self.P.dtype.type(
            self.start.mean
        )
        self.confidence = self.weights / self.weights.max()

    def sweep(self):
        """Impute and approximate once; return the objective."""
        predictions = self.P @ self.Q.T
        filled = predictions + self.confidence * (self.ratings - predictions)
        U, s, Vt = np.linalg.svd(filled, full_matrices=False)
        d = min(self.P.shape[1], len(s))
        self.P[:, :d], self.Q[:, :d] = U[:, :d] * s[:d], Vt[:d].T
        self.P[:, d:], self.Q[:, d:] = 0, 0
        return float((self.weights * (self.ratings - self.P @ self.Q.T) ** 2).sum())

    def parameters(self):
        """Return what has been learnt, as if the fit ended here."""
        return replace(self.start, P=self.P.copy(), Q=self.Q.copy())


class HoledPCA(RegressionMixin, BaseFactorizer):
    """Principal component analysis of a matrix with holes."""

    def __init__(
        self,
        n_factors=3,
        *,
        fit_intercept=True,
        max_iter=100,
        tol=1e-3,
        init_scale=0.05,
        clip=True,
        warm_start=False,
        user_column=0,
        item_column=1,
        n_jobs=None,
        random_state=None,
        verbose=False,
    ):
        parameters = dict(locals())
        for name in self._get_param_names():
            setattr(self, name, parameters[name])

    def _make_solver(self, problem, previous):
        return Imputation(problem)
