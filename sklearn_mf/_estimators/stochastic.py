"""What the estimators fitted by stochastic gradient descent share."""

import copy
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from sklearn_mf._data.tables import read_ratings
from sklearn_mf._estimators.base import BaseFactorizer
from sklearn_mf._estimators.early_stopping import EarlyStoppingMixin
from sklearn_mf._objective.loss import to_intercept
from sklearn_mf._runtime.threads import count_threads, thread_pool
from sklearn_mf._solvers.iterations import OnePass
from sklearn_mf._solvers.sgd.solver import Descent, fit_sgd
from sklearn_mf._typing import SparseMatrix, TableLike, available_if, fit_context


class StochasticFactorizer(EarlyStoppingMixin, BaseFactorizer):
    """A factorisation that can be fitted by stochastic gradient descent.

    A subclass has the parameters of `SGDFactorizer`.
    """

    weight_sum_: float
    loss_curve_: list[float]
    optimizer_: str
    optimizer_state_: dict[str, npt.NDArray[Any]]

    _parameter_constraints: dict = {
        **BaseFactorizer._parameter_constraints,
        **EarlyStoppingMixin._parameter_constraints,
        "regularization": [Interval(Real, 0, None, closed="left")],
        "weighted_regularization": ["boolean"],
        "loss": [StrOptions({"squared_error", "log_loss"})],
        "optimizer": [StrOptions({"sgd", "adagrad", "adam"})],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "learning_rate_schedule": [
            StrOptions({"constant", "exponential", "invscaling"})
        ],
        "decay": [Interval(Real, 0, 1, closed="right")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "nesterov": ["boolean"],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
    }

    @property
    def _logistic(self):
        return self.loss == "log_loss"

    def _pose(self, ratings, rng, goes_on):
        return super()._pose(self._check_range(ratings), rng, goes_on)

    def _check_range(self, ratings):
        low, high = ratings.range()
        if self._logistic and (low < 0 or high > 1):
            raise ValueError(
                f"loss='log_loss' wants y from 0 to 1, the share of right answers; got "
                f"{low:g} to {high:g}. Scale y, or set loss='squared_error'."
            )
        return ratings

    def _mean(self, ratings):
        if self.fit_intercept:
            return ratings.mean(self._unobserved_weight)
        return 0.5 if self._logistic else 0.0

    def _solve(self, problem, run, iterations):
        if problem.descent is None:
            problem.descent = self._descent()
        fit_sgd(
            problem,
            problem.descent,
            logistic=self._logistic,
            biased=self._biased,
            intercept=to_intercept(problem.mean, self._logistic),
            run=run,
            iterations=iterations,
            validate=self._validation(problem, run.n_threads),
        )

    @available_if(lambda self: getattr(self, "solver", "sgd") == "sgd")
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self,
        X: TableLike | SparseMatrix,
        y: npt.ArrayLike | None = None,
        sample_weight: npt.ArrayLike | None = None,
    ) -> Self:
        """Learn from more ratings, in one epoch over them.

        Users and items that come with these ratings join the model; those that do not
        occur in them stay as they are. The optimizer goes on from where it stood, also
        after `fit`. Called with the same ratings again and again, this is what `fit`
        does.

        Parameters
        ----------
        X, y, sample_weight : table or sparse matrix, array-like, array-like
            Ratings; see `fit`. μ becomes the mean of all ratings seen so far. Without
            `weighted_regularization`, each call carries the whole penalty of the rows
            that it touches.

        Returns
        -------
        self : object
            The fitted estimator. Whatever ends partial_fit before its time leaves it
            as it was.

        Raises
        ------
        ValueError, TypeError, FloatingPointError
            See `fit`.
        """
        self._check_options()
        header, goes_on = copy.copy(self), self.__sklearn_is_fitted__()
        rng, known, dtype = self.random_state, None, None
        if goes_on:
            known, dtype = (self.users_, self.items_), self.user_factors_.dtype
            if isinstance(rng, Integral):  # else all calls would be alike
                rng = np.random.RandomState([int(rng), self.n_iter_])
        ratings = read_ratings(header, X, y, sample_weight, known=known, dtype=dtype)
        problem = BaseFactorizer._pose(  # which holds nothing out
            self, self._check_range(ratings), check_random_state(rng), goes_on
        )
        problem.descent = self._descent()
        if goes_on:
            weight = float(ratings.by_user.weight_sums().sum())
            share = weight / (self.weight_sum_ + weight)
            problem.mean = (1 - share) * self.global_mean_ + share * problem.mean
            problem.descent.n_epochs = self.n_iter_
            if problem.descent.optimizer == getattr(self, "optimizer_", None):
                problem.descent.state = self._grow_state(ratings)
        one_pass = OnePass(self, self._remedy())
        with thread_pool(count_threads(self.n_jobs)) as run:
            self._solve(problem, run, one_pass)
        attributes = self._attributes(problem, one_pass)
        if goes_on:
            ends = *self.rating_range_, *attributes["rating_range_"]
            attributes["rating_range_"] = min(ends), max(ends)
            attributes |= self._join_seen(ratings, {})
            attributes["weight_sum_"] += self.weight_sum_
            attributes["n_iter_"] += self.n_iter_
            attributes["best_iter_"] = attributes["n_iter_"]
            attributes["loss_curve_"] = self.loss_curve_ + attributes["loss_curve_"]
        self._adopt(attributes, header)
        return self

    def _grow_state(self, ratings):
        """Give the state of the optimizer for the ids of `ratings`, old and new."""
        state = {}
        for side, labels in (("user", ratings.users), ("item", ratings.items)):
            old, at = self._places(side, labels)
            for key, empty in (("first", 0), ("second", 0), ("powers", 1)):
                array = self.optimizer_state_[f"{side}_{key}"]
                grown = np.full((len(labels), array.shape[1]), empty, array.dtype)
                grown[old] = array[at]
                state[f"{side}_{key}"] = grown
        return state

    def _descent(self):
        """Give the steps that the parameters describe."""
        optimizer, momentum = self.optimizer, self.momentum
        if optimizer == "sgd" and momentum:
            optimizer = "nesterov" if self.nesterov else "momentum"
        return Descent(
            optimizer=optimizer,
            constants=(
                self.beta_1 if optimizer == "adam" else momentum,
                self.beta_2,
                self.epsilon,
            ),
            rates=self._rates,
            penalties=self._penalties,
            schedule={
                "constant": lambda epoch: 1.0,
                "exponential": lambda epoch: self.decay**epoch,
                "invscaling": lambda epoch: (epoch + 1) ** -self.power_t,
            }[self.learning_rate_schedule],
            batch_size=self.batch_size,
            shuffle=self.shuffle,
            weighted_regularization=self.weighted_regularization,
        )

    @property
    def _rates(self):
        return self.learning_rate, 0.0

    @property
    def _penalties(self):
        return self.regularization, 0.0

    def _attributes(self, problem, iterations):
        attributes = super()._attributes(problem, iterations)
        attributes["weight_sum_"] = float(problem.ratings.by_user.weight_sums().sum())
        if problem.descent is not None:
            attributes["optimizer_"] = problem.descent.optimizer
            attributes["optimizer_state_"] = problem.descent.state
        return attributes

    def _remedy(self):
        return (
            f"Lower learning_rate={self.learning_rate}, or choose a "
            f"learning_rate_schedule that lowers it; a smaller init_scale="
            f"{self.init_scale} and y scaled down help too."
        )
