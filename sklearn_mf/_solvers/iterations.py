"""The loop of all solvers: counting, stopping, reporting."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning


def minimise(solver, iterations, validate=None):
    """Let a solver sweep until it has converged.

    Parameters
    ----------
    solver : object
        ``sweep()`` changes its parameters in one pass over the ratings and returns the
        objective, a float. ``parameters()`` returns a copy of what it has learnt, as if
        the fit ended here.
    iterations : Iterations
        Ends the loop.
    validate : callable or None
        Returns the score of parameters on held-out ratings, higher is better.

    Returns
    -------
    object
        ``solver.parameters()`` of the iteration with the best score, or without scores
        of the last one.
    """
    best = None
    for _ in iterations:
        loss = solver.sweep()
        iterations.check(loss)
        if validate is None:
            iterations.record(loss)
        else:
            parameters = solver.parameters()
            if iterations.record(loss, validate(parameters)):
                best = parameters
    return solver.parameters() if best is None else best


class Iterations:
    """Iterate until a fit has converged, and report each iteration.

    The callbacks of the estimator see one task for each iteration.

    Parameters
    ----------
    estimator : BaseFactorizer
        Gives `max_iter`, `tol` and `verbose`; named in messages, handed to callbacks.
    context : sklearn.callback.CallbackContext
        The callback context of the whole fit.
    data : dict
        X, y and metadata, as the callbacks expect them.
    fitted : callable
        Returns the attributes of the estimator as if the fit stopped here, a dict.
    remedy : str
        What a user can do if the objective overflows.
    patience : int
        Iterations in a row without progress after which the fit has converged.

    Attributes
    ----------
    loss_curve : list of float
        Value of the objective after each iteration.
    validation_scores : list of float
        Score of the held-out ratings after each iteration that had one.
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

    def check(self, loss):
        """Raise a FloatingPointError if the objective of an iteration is not finite."""
        check_finite(
            loss,
            f"{type(self.estimator).__name__}: the objective is {loss} after iteration "
            f"{len(self.loss_curve) + 1}. {self.remedy}",
        )

    def record(self, loss, score=None):
        """Record an iteration.

        Parameters
        ----------
        loss : float
            Value of the objective.
        score : float or None
            Score of held-out ratings, higher is better. Progress is measured by it,
            where there is one.

        Returns
        -------
        bool
            Whether this iteration has the best score so far; False without scores.
        """
        self.loss_curve.append(float(loss))
        n_iter = len(self.loss_curve)
        error, note = loss, ""
        if score is not None:
            error = -score
            self.validation_scores.append(score)
            note = f", validation score {score:.6g}"
        if self.estimator.verbose:
            name = type(self.estimator).__name__
            print(f"{name}: iteration {n_iter}, objective {loss:.6g}{note}")
        best, tol = self._best, self.estimator.tol or 0
        progress = best is None
        if best is not None:
            # Near the saddle point at zero factors the gains of small steps are small
            # at first and grow: a fit does not end while its gains still grow.
            gain, largest = best - error, self._largest_gain
            progress = gain > tol * abs(best) or gain > largest
            self._largest_gain = max(gain, 0 if largest == np.inf else largest)
        if progress:
            self._without_progress = 0
        elif tol or score is not None:
            self._without_progress += 1
        is_best = best is None or error < best
        if is_best:
            self._best = error
        if is_best or score is None:
            self.best_iter = n_iter
        return is_best and score is not None


def check_finite(loss, message):
    """Raise a FloatingPointError with a message if an objective is not finite."""
    if not np.isfinite(loss):
        raise FloatingPointError(message)
