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

    Attributes
    ----------
    loss_curve : list of float
        Value of the objective after each iteration.
    """

    def __init__(self, estimator, context, data, fitted):
        self.estimator = estimator
        self.context = context
        self.data = data
        self.fitted = fitted
        self.loss_curve = []

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
            if asked_to_stop or self._converged():
                return
        if self.estimator.tol:
            warnings.warn(
                f"{type(self.estimator).__name__} did not converge in max_iter="
                f"{self.estimator.max_iter} iterations: the objective still falls by "
                f"more than tol={self.estimator.tol} of its value. Raise max_iter or "
                "tol; tol=None runs all iterations without this warning.",
                ConvergenceWarning,
                stacklevel=2,
            )

    def record(self, loss):
        """Take the value of the objective after an iteration.

        Raises
        ------
        FloatingPointError
            If it is not finite.
        """
        name, n_iter = type(self.estimator).__name__, len(self.loss_curve) + 1
        if not np.isfinite(loss):
            raise FloatingPointError(
                f"{name}: the objective is {loss} after iteration {n_iter}. Scale y "
                "down, or pass it as float64 if it is float32."
            )
        self.loss_curve.append(float(loss))
        if self.estimator.verbose:
            print(f"{name}: iteration {n_iter}, objective {loss:.6g}")

    def _converged(self):
        if not self.estimator.tol or len(self.loss_curve) < 2:
            return False
        before, now = self.loss_curve[-2:]
        return before - now <= self.estimator.tol * before
