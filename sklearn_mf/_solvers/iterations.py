"""The iterations of a fit: counting, stopping, reporting."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning


class Iterations:
    """Iterate over a solver's sweeps until it converges, and tell who wants to know.

    A solver loop reads ``for _ in iterations: …; iterations.record(loss)``. Around its
    body the callbacks of the estimator see the begin and the end of one task.

    Parameters
    ----------
    estimator : BaseFactorizer
        Gives `max_iter`, `tol` and `verbose`; named in messages, handed to callbacks.
    context : sklearn.callback.CallbackContext
        The callback context of the whole fit.
    data : dict
        X, y and metadata, as the callbacks want them.
    fitted : callable
        Gives the attributes of the estimator as if the fit stopped here, a dict.
    remedy : str
        What a user can do if the objective overflows.
    patience : int
        Iterations in a row without progress after which the fit has converged.

    Attributes
    ----------
    loss_curve : list of float
        Value of the objective after each iteration.
    validation_scores : list of float
        Score of the held-out ratings after each iteration that gave one.
    best_iter : int
        The iteration, counted from 1, with the best score, or else the last one.
    """

    def __init__(self, estimator, context, data, fitted, remedy, patience):
        self.estimator = estimator
        self.context = context
        self.data = data
        self.fitted = fitted
        self.remedy = remedy
        self.patience = patience
        self.loss_curve = []
        self.validation_scores = []
        self.best_iter = 0
        self._best = None
        self._largest_gain = np.inf  # until there is one
        self._without_progress = 0

    def __iter__(self):
        for _ in range(self.estimator.max_iter):
            task = self.context.subcontext(task_name="iteration")
            task.call_on_fit_task_begin(estimator=self.estimator, **self.data)
            yield
            asked_to_stop = task.call_on_fit_task_end(
                estimator=self.estimator,
                reconstruction_attributes=self.fitted,
                **self.data,
            )
            if asked_to_stop or self._without_progress >= self.patience:
                return
        if self.estimator.tol:
            warnings.warn(
                f"{type(self.estimator).__name__} did not converge in max_iter="
                f"{self.estimator.max_iter} iterations: progress is still more "
                f"than tol={self.estimator.tol} of the objective. Raise max_iter or "
                "tol; tol=None runs all iterations without this warning.",
                ConvergenceWarning,
                stacklevel=2,
            )

    def record(self, loss, validate=None):
        """Take the value of the objective after an iteration.

        Parameters
        ----------
        loss : float
            Value of the objective.
        validate : callable or None
            Gives the score of held-out ratings, higher is better. Progress is measured
            by it, where there is one.

        Returns
        -------
        bool
            Whether this iteration has the best score so far; False without scores.

        Raises
        ------
        FloatingPointError
            If the objective is not finite.
        """
        name, n_iter = type(self.estimator).__name__, len(self.loss_curve) + 1
        if not np.isfinite(loss):
            raise FloatingPointError(
                f"{name}: the objective is {loss} after iteration {n_iter}. "
                f"{self.remedy}"
            )
        self.loss_curve.append(float(loss))
        error, note = loss, ""
        if validate is not None:
            error = -validate()
            self.validation_scores.append(-error)
            note = f", validation score {-error:.6g}"
        if self.estimator.verbose:
            print(f"{name}: iteration {n_iter}, objective {loss:.6g}{note}")
        best, tol = self._best, self.estimator.tol or 0
        progress = best is None
        if best is not None:
            # Beside the saddle point at 0 small steps gain little at first, and ever
            # more: no fit ends gathering speed.
            gain, largest = best - error, self._largest_gain
            progress = gain > tol * abs(best) or gain > largest
            self._largest_gain = max(gain, 0 if largest == np.inf else largest)
        if progress:
            self._without_progress = 0
        elif tol or validate is not None:
            self._without_progress += 1
        is_best = best is None or error < best
        if is_best:
            self._best = error
        if is_best or validate is None:
            self.best_iter = n_iter
        return is_best and validate is not None


class OnePass:
    """The iterations of `partial_fit`: a single one, which nobody watches."""

    best_iter = 1

    def __init__(self, estimator, remedy):
        self.name = type(estimator).__name__
        self.remedy = remedy
        self.loss_curve = []

    def __iter__(self):
        yield

    def record(self, loss, validate=None):
        """Take the value of the objective; see `Iterations.record`."""
        if not np.isfinite(loss):
            raise FloatingPointError(
                f"{self.name}: the objective is {loss} after partial_fit. {self.remedy}"
            )
        self.loss_curve.append(float(loss))
