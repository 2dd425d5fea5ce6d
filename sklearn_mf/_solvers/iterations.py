"""The loop of all solvers: counting, stopping, reporting."""

import numpy as np

# Less than this share of the mean model's objective is too little to be a measure.
SMALL = 0.002
PLATEAU = 5  # how much longer a fit is waited for that has learnt nothing yet


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
        Called with these iterations; returns the attributes of the estimator as if the
        fit stopped here, a dict.
    baseline : float
        Value of the objective for the model that predicts the mean rating.
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
    converged : bool
        Whether the loop has ended before `max_iter`.
    """

    def __init__(self, estimator, context, data, fitted, baseline, remedy, patience):
        self.estimator = estimator
        self.context = context
        self.data = data
        self.fitted = fitted
        self.baseline = baseline
        self.remedy = remedy
        self.patience = patience
        self.loss_curve = []
        self.validation_scores = []
        self.best_iter = 0
        self.converged = False
        self._without_progress = 0

    def __iter__(self):
        for _ in range(self.estimator.max_iter):
            task = self.context.subcontext(task_name="iteration")
            task.call_on_fit_task_begin(estimator=self.estimator, **self.data)
            yield
            asked_to_stop = task.call_on_fit_task_end(
                estimator=self.estimator,
                reconstruction_attributes=lambda: self.fitted(self),
                **self.data,
            )
            patience = self.patience
            if self.loss_curve and self._is_on_plateau():
                patience *= PLATEAU
            if asked_to_stop or self._without_progress >= patience:
                self.converged = True
                return

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
        scores, tol = self.validation_scores, self.estimator.tol or 0
        self.loss_curve.append(float(loss))
        n_iter = len(self.loss_curve)
        has_converged = self._has_converged(tol)
        is_best, note = False, ""
        if score is not None:
            best = max(scores) if scores else None
            is_best = best is None or score > best
            if has_converged or not self._is_on_plateau():
                has_converged = best is not None and score <= best + tol * abs(best)
            scores.append(score)
            note = f", validation score {score:.6g}"
        if self.estimator.verbose:
            name = type(self.estimator).__name__
            print(f"{name}: iteration {n_iter}, objective {loss:.6g}{note}")
        self._without_progress = self._without_progress + 1 if has_converged else 0
        if is_best or score is None:
            self.best_iter = n_iter
        return is_best

    def _is_on_plateau(self):
        """Tell whether nothing has been gained over the model that predicts the mean.

        Near zero factors gains are small at first, and grow; validation scores stand
        still.
        """
        return self.loss_curve[-1] > (1 - SMALL) * self.baseline

    def _has_converged(self, tol):
        """Tell whether what is still to be gained is less than `tol` of the objective.

        Gains that shrink by a factor ρ in each iteration still add up to g ρ / (1 − ρ)
        after a gain of g, which is compared with what has been gained over the model
        that predicts the mean and since the first iteration, which learns biases, or
        if that is less with the objective. A fit whose gains grow has not converged,
        unless they are noise on a plateau, where the objective has been lower before.
        """
        if not tol or len(self.loss_curve) < 3:
            return False
        oldest, older, loss = self.loss_curve[-3:]
        last, gain = oldest - older, older - loss
        smallest = SMALL * self.baseline
        if abs(gain) <= np.finfo(np.float64).eps * smallest:
            return True
        if self._is_on_plateau() and loss >= min(self.loss_curve[:-1]):
            return True
        if gain >= last:
            return False
        ratio = max(gain / last, 0.5) if last > 0 else 0.5
        gained = min(self.baseline, self.loss_curve[0]) - loss
        size = max(min(gained, loss), smallest)
        return gain * ratio / (1 - ratio) <= tol * size


def check_learnt(attributes, message):
    """Raise a FloatingPointError if a fitted attribute is not finite.

    The objective of a pass tells of the parameters before its last steps.
    """
    for value in attributes.values():
        for array in value if isinstance(value, list) else [value]:
            if isinstance(array, np.ndarray) and array.dtype.kind == "f":
                check_finite(array, message)


def check_finite(loss, message):
    """Raise a FloatingPointError with a message if a number is not finite."""
    if not np.isfinite(loss).all():
        raise FloatingPointError(message)
