"""Early stopping: ratings that are held out, scored, and end the fit."""

from numbers import Integral, Real

from sklearn_mf._data.arguments import Interval
from sklearn_mf._data.ratings import hold_out
from sklearn_mf._files import checks
from sklearn_mf._objective.loss import mean_error
from sklearn_mf._runtime.threads import count_threads


class EarlyStoppingMixin:
    """Holds ratings out of the fit, and scores how well they are predicted."""

    best_iter_: int
    validation_scores_: list[float] | None

    _log_loss = False  # whether the score is the negative log loss, or −RMSE

    _parameter_constraints: dict = {
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
    }
    _fitted: dict = {
        "best_iter_": checks.check_count,
        "validation_scores_": checks.check_curve_or_none,
    }

    @property
    def _patience(self):
        return self.n_iter_no_change

    def _hold_out(self, ratings, rng):
        if not self.early_stopping:
            return ratings, None
        n_threads = count_threads(self.n_jobs)
        return hold_out(ratings, self.validation_fraction, rng, n_threads)

    def _validation(self, held_out, seen, n_jobs):
        if held_out is None:
            return None

        def validate(parameters):
            predictions = self._predict_from(parameters.attributes(), held_out, n_jobs)
            return -mean_error(
                held_out.ratings, predictions, held_out.weights, self._log_loss
            )

        return validate

    def _progress(self, iterations):
        return {
            **super()._progress(iterations),
            "validation_scores_": list(iterations.validation_scores) or None,
            "best_iter_": iterations.best_iter,
        }
