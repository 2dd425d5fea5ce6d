"""Early stopping: ratings that are held out, scored, and end the fit."""

import warnings
from numbers import Integral, Real

import numpy as np
from sklearn.utils._param_validation import Interval

from sklearn_mf._data.ratings import hold_out


class EarlyStoppingMixin:
    """Holds ratings out of the fit, and says how well they are predicted."""

    best_iter_: int
    validation_scores_: list[float] | None

    _parameter_constraints: dict = {
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
    }

    @property
    def _patience(self):
        return self.n_iter_no_change

    @property
    def _log_loss(self):
        return getattr(self, "loss", None) == "log_loss"

    def _pose(self, ratings, rng, goes_on):
        problem = super()._pose(ratings, rng, goes_on)
        if self.early_stopping:
            problem.ratings, problem.held_out = hold_out(
                ratings, self.validation_fraction, problem.rng
            )
            problem.mean = self._mean(problem.ratings)
            if problem.held_out is None:
                warnings.warn(
                    "early_stopping=True finds no rating to hold out: each is the only "
                    "one of its user or its item. The fit ends by the objective.",
                    UserWarning,
                    stacklevel=2,
                )
        return problem

    def _validation(self, problem, n_threads):
        """Give a function that scores the held-out ratings; None without any."""
        held_out = problem.held_out
        if held_out is None:
            return None

        def validate():
            learnt = {"global_mean_": problem.mean, **self._learnt(problem)}
            predictions = self._predict_from(learnt, held_out, n_threads)
            return -float(_error(held_out, predictions, self._log_loss))

        return validate

    def _attributes(self, problem, iterations):
        attributes = super()._attributes(problem, iterations)
        watched = problem.held_out is not None
        attributes["validation_scores_"] = (
            list(iterations.validation_scores) if watched else None
        )
        attributes["best_iter_"] = iterations.best_iter
        return attributes


def _error(held_out, predictions, log_loss):
    """Give the error of predictions: mean log loss, or root mean squared error."""
    r, predictions = held_out.ratings, predictions.astype(np.float64)
    if not log_loss:
        return np.average((predictions - r) ** 2, weights=held_out.weights) ** 0.5
    p = predictions.clip(1e-15, 1 - 1e-15)
    losses = -(r * np.log(p) + (1 - r) * np.log1p(-p))
    return np.average(losses, weights=held_out.weights)
