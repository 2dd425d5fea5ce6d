"""What the estimators fitted by stochastic gradient descent share."""

from dataclasses import replace
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import StrOptions

from sklearn_mf._data.arguments import Interval
from sklearn_mf._data.ratings import Side
from sklearn_mf._estimators.base import BaseFactorizer
from sklearn_mf._estimators.early_stopping import EarlyStoppingMixin
from sklearn_mf._estimators.explain import ExplainMixin
from sklearn_mf._estimators.features import FeaturesMixin, feature_attributes
from sklearn_mf._estimators.scale import ScaleMixin, number_or_scale
from sklearn_mf._files import checks
from sklearn_mf._model.parameters import SIDES, carry_over
from sklearn_mf._objective.penalty import Penalty
from sklearn_mf._objective.quadratic import QuadraticObjective
from sklearn_mf._runtime.threads import count_threads, thread_pool
from sklearn_mf._solvers.iterations import check_finite, check_learnt
from sklearn_mf._solvers.optimizers import OPTIMIZERS, State, begin_state
from sklearn_mf._solvers.problem import Problem
from sklearn_mf._solvers.sgd.solver import Descent, StochasticGradientDescent
from sklearn_mf._typing import SparseMatrix, TableLike, available_if, fit_context


def check_optimizer(name, optimizer, known):
    """Check the name of an optimizer, which must have a state."""
    checks.one_of(*OPTIMIZERS)(name, optimizer, known)
    has_state = "optimizer_state_" in known.fitted
    checks.demand(has_state, "optimizer_state_", "is missing")


def check_optimizer_state(name, state, known):
    """Check that the state of an optimizer is what its kernels expect."""
    optimizer = known.fitted.get("optimizer_")
    checks.demand(optimizer is not None, "optimizer_", "is missing")
    checks.demand(isinstance(state, dict), name, "is not a dict")
    n_columns = known.sizes["factors"] + ("user_biases_" in known.fitted)
    expected = {}
    for side in SIDES:
        # Of one row, since only the number of columns depends on the optimizer.
        fresh = begin_state(optimizer, (1, n_columns), known.dtype)
        for part, array in fresh._asdict().items():
            expected[f"{side}_{part}"] = f"{side}s", array.shape[1]
    same = state.keys() == expected.keys()
    checks.demand(same, name, f"is not a dict of {', '.join(expected)}")
    for key, shape in expected.items():
        checks.check_array(f"{name}[{key!r}]", state[key], shape, known)


def _name_parts(states):
    """Name the arrays of the states of users and items."""
    return {
        f"{side}_{part}": array
        for side, state in zip(SIDES, states, strict=True)
        for part, array in state._asdict().items()
    }


# Learning rates of the factors, and of biases, where the ratings have a standard
# deviation of 1 and weights of 1.
LEARNING_RATES = {"adagrad": 0.1, "adam": 0.003, "sgd": 0.01}


class StochasticFactorizer(
    ExplainMixin, FeaturesMixin, ScaleMixin, EarlyStoppingMixin, BaseFactorizer
):
    """A factorisation that can be fitted by stochastic gradient descent.

    A subclass has the parameters of `SGDFactorizer`.
    """

    learning_rate_: float
    weight_sum_: float
    loss_curve_: list[float]
    optimizer_: str
    optimizer_state_: dict[str, npt.NDArray[Any]]

    _fitted: dict = {
        **BaseFactorizer._fitted,
        **EarlyStoppingMixin._fitted,
        **ScaleMixin._fitted,
        **feature_attributes(biased=False),
        "learning_rate_": checks.Optional(checks.check_positive),
        "weight_sum_": checks.check_positive,
        "optimizer_": checks.Optional(check_optimizer),
        "optimizer_state_": checks.Optional(check_optimizer_state),
    }

    _parameter_constraints: dict = {
        **BaseFactorizer._parameter_constraints,
        **EarlyStoppingMixin._parameter_constraints,
        **ScaleMixin._parameter_constraints,
        **FeaturesMixin._parameter_constraints,
        "loss": [StrOptions({"squared_error", "log_loss"})],
        "optimizer": [StrOptions({"sgd", "adagrad", "adam"})],
        "learning_rate": number_or_scale(closed="neither"),
        "learning_rate_schedule": [
            StrOptions({"constant", "exponential", "invscaling"})
        ],
        "decay": [Interval(Real, 0, 1, closed="right")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "nesterov": ["boolean"],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": number_or_scale(closed="neither"),
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
    }

    @property
    def _takes_steps(self):
        """Whether the solver is stochastic gradient descent."""
        return True

    @property
    def _log_loss(self):
        return self.loss == "log_loss"

    @property
    def _logistic(self):
        return self._log_loss

    @property
    def _penalty(self):
        return Penalty(
            self.regularization_,
            exponent=float(self.weighted_regularization),
            features=float(self.feature_regularization),
        )

    def _set_numbers(self, ratings):
        super()._set_numbers(ratings)
        self._mean_weight = ratings.mean_weight()
        if self._takes_steps:
            self.learning_rate_, self._bias_rate = self._rates()

    def _rates(self):
        """Return the learning rates of the factors and of biases.

        In the unit s of the ratings, factors are in √s, biases in s and gradients in
        s² over either. Steps of "adagrad" and "adam" do not depend on the size of the
        gradient; those of "sgd" are in proportion to it, and to the weights.
        """
        if self.learning_rate != "scale":
            return float(self.learning_rate), float(self.learning_rate)
        rate, scale = LEARNING_RATES[self.optimizer], self.rating_scale_
        if self.optimizer != "sgd":
            return rate * scale**0.5, rate * scale
        rate *= (1 - self.momentum) / self._mean_weight
        return rate / scale, rate

    def _start(self):
        return 0.05

    def _baseline(self, ratings, mean):
        if self._logistic:
            return ratings.log_loss(mean)
        return super()._baseline(ratings, mean)

    def _check_range(self, ratings):
        low, high = ratings.range()
        if self._logistic and (low < 0 or high > 1):
            raise ValueError(
                f"loss='log_loss' requires y between 0 and 1 (fraction of correct "
                f"answers); got {low:g} to {high:g}. Scale y, or set "
                "loss='squared_error'."
            )

    def _mean(self, ratings):
        if self.fit_intercept:
            return ratings.mean(self._unobserved_weight)
        return 0.5 if self._logistic else 0.0

    def _descent(self):
        """Return the steps that the parameters describe."""
        optimizer, momentum = self.optimizer, self.momentum
        if optimizer == "sgd" and momentum:
            optimizer = "nesterov" if self.nesterov else "momentum"
        return Descent(
            penalty=self._penalty,
            logistic=self._logistic,
            optimizer=optimizer,
            constants=(
                self.beta_1 if optimizer == "adam" else momentum,
                self.beta_2,
                self._epsilon,
            ),
            rates=(self.learning_rate_, self._bias_rate),
            schedule={
                "constant": lambda epoch: 1.0,
                "exponential": lambda epoch: self.decay**epoch,
                "invscaling": lambda epoch: (epoch + 1) ** -self.power_t,
            }[self.learning_rate_schedule],
            batch_size=int(self.batch_size),
            shuffle=self.shuffle,
        )

    @property
    def _epsilon(self):
        if self.epsilon != "scale":
            return self.epsilon
        unit = min(self.rating_scale_, self.rating_scale_**1.5)  # of the gradients
        return 1e-15 * unit * self._mean_weight

    def _objective(self):
        return QuadraticObjective(self._penalty)

    def _make_solver(self, problem, previous):
        return StochasticGradientDescent(problem, self._descent())

    def _attributes(self, problem, solver, parameters):
        return {
            **super()._attributes(problem, solver, parameters),
            "weight_sum_": float(problem.ratings.by_user.weight_sums().sum()),
            **self._name_states(solver),
        }

    def _name_states(self, solver):
        """Return the fitted attributes from which `partial_fit` continues."""
        return {
            "optimizer_": solver.descent.optimizer,
            "optimizer_state_": _name_parts(solver.states()),
        }

    @available_if(lambda self: getattr(self, "solver", "sgd") == "sgd")
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self,
        X: TableLike | SparseMatrix,
        y: npt.ArrayLike | None = None,
        sample_weight: npt.ArrayLike | None = None,
    ) -> Self:
        """Learn from more ratings, in one epoch over them.

        New users and items are added to the model; those that do not occur in these
        ratings do not change. The optimizer keeps its state from the previous call of
        `partial_fit` or `fit`. To call this repeatedly with the same ratings has the
        effect of `fit`.

        Parameters
        ----------
        X, y, sample_weight : table, array-like, array-like
            Ratings; see `fit`. Only the first call takes a sparse matrix alone. μ
            becomes the mean of all ratings seen so far. Without
            `weighted_regularization`, each call carries the whole penalty of the rows
            that it touches.

        Returns
        -------
        self : object
            The fitted estimator. If partial_fit fails or is interrupted, it keeps its
            previous state.

        Raises
        ------
        ValueError, TypeError, FloatingPointError
            See `fit`.
        """
        return self._partial_fit(X, y, sample_weight)

    def _partial_fit(self, X, y, sample_weight, **first):
        """Learn in one epoch; see `partial_fit`.

        `first` are arguments for `_read` of a model that is not fitted yet.
        """
        self._check_options()
        continues, rng = self.__sklearn_is_fitted__(), self.random_state
        with self._replacing(keep_fitted=True) as new:
            if continues:
                ratings = self._read_more(new, X, y, sample_weight)
                if isinstance(rng, Integral):  # or else each call draws the same
                    rng = np.random.RandomState([int(rng), new.n_iter_])
            else:
                ratings = new._read(X, y, sample_weight, **first)
            self._check_range(ratings)
            rng = check_random_state(rng)
            mean, states, n_epochs = self._mean(ratings), None, 0
            if not continues:
                new._set_scale(ratings, mean)
            new._set_numbers(ratings)
            start, descent = new._draw(ratings, rng), new._descent()
            start.mean = mean
            if continues:
                self._check_continues(new)
                start.take_over(new._parameters(), self._column_names())
                weight = float(ratings.by_user.weight_sums().sum())
                share = weight / (new.weight_sum_ + weight)
                start.mean = (1 - share) * new.global_mean_ + share * start.mean
                n_epochs = new.n_iter_
                if descent.optimizer == vars(new).get("optimizer_"):
                    states = new._grow_states(ratings)
            known, counts = ratings, None
            if continues:
                known, counts = new._join_known(ratings, descent.penalty)
            features = new._design(known, start, new if continues else None)
            with thread_pool(count_threads(self.n_jobs)) as run:
                problem = Problem(ratings, ratings, start, rng, run, features=features)
                solver = StochasticGradientDescent(
                    problem, descent, states, n_epochs, counts
                )
                loss = solver.sweep()
                check_finite(
                    loss,
                    f"{type(self).__name__}: the objective is {loss} after "
                    f"partial_fit. {new._remedy()}",
                )
                attributes = new._attributes(problem, solver, solver.parameters())
                check_learnt(
                    attributes,
                    f"{type(self).__name__}: the steps of partial_fit overflow. "
                    f"{new._remedy()}",
                )
            attributes |= {"loss_curve_": [float(loss)], "n_iter_": 1}
            if continues:
                attributes |= new._join_seen(ratings, {})
                attributes["rating_range_"] = new._widen_range(
                    attributes["rating_range_"]
                )
                for name in ("weight_sum_", "n_iter_", "loss_curve_"):
                    attributes[name] = getattr(new, name) + attributes[name]
            attributes |= {
                "best_iter_": attributes["n_iter_"],
                "validation_scores_": None,
            }
            vars(new).update(new._complete(attributes))
        return self

    def _join_known(self, ratings, penalty):
        """Return all pairs seen before or now, and the c of users and of items."""
        seen = self._join_seen(ratings, {})
        shape = len(ratings.users), len(ratings.items)
        by_user = seen["seen_indptr_"], seen["seen_indices_"]
        pattern = sparse.csr_array((np.ones(len(by_user[1])), *by_user[::-1]), shape)
        sides = []
        for matrix in (pattern, pattern.tocsc()):
            indptr, indices = matrix.indptr.astype(np.int64), matrix.indices
            sides.append(Side(indptr, indices, matrix.data, None))
        counts = [
            np.where(side.counts() > 0, penalty.counts(side), 0) for side in sides
        ]
        return replace(ratings, by_user=sides[0], by_item=sides[1]), counts

    def _grow_rest(self, ratings):
        if "optimizer_state_" not in vars(self):
            return super()._grow_rest(ratings)
        states = self._grow_states(ratings)
        rest = super()._grow_rest(ratings)
        return rest | {"optimizer_state_": _name_parts(states)}

    def _grow_states(self, ratings):
        """Return the state of the optimizer for the ids of ratings, old and new."""
        states = []
        for side, labels in zip(SIDES, (ratings.users, ratings.items), strict=True):
            old = State(
                *(self.optimizer_state_[f"{side}_{part}"] for part in State._fields)
            )
            shape = len(labels), max(part.shape[1] for part in old[:2])
            state = begin_state(self.optimizer_, shape, old.powers.dtype)
            for rows, old_rows in zip(state, old, strict=True):
                known = getattr(self, f"{side}s_")
                carry_over(f"{side}s_", rows, labels, old_rows, known)
            states.append(state)
        return states

    def _remedy(self):
        return (
            f"Lower learning_rate={self.learning_rate_:g}, or choose a "
            "learning_rate_schedule that lowers it; a smaller init_scale="
            f"{self._init_scale():g} and y scaled down help too."
        )


class BiasedStochasticFactorizer(StochasticFactorizer):
    """One whose users and items have biases.

    A subclass has the parameters of `BiasedMF` that belong to "sgd".
    """

    bias_regularization_: float

    _fitted: dict = {
        **StochasticFactorizer._fitted,
        **StochasticFactorizer._fitted_biases,
        **feature_attributes(biased=True),
        "bias_regularization_": checks.check_non_negative,
    }

    _parameter_constraints: dict = {
        **StochasticFactorizer._parameter_constraints,
        "n_factors": [Interval(Integral, 0, None, closed="left")],
        "bias_regularization": [Interval(Real, 0, None, closed="left"), None],
        "bias_learning_rate": [Interval(Real, 0, None, closed="neither"), None],
    }

    @property
    def _penalty(self):
        return Penalty(
            self.regularization_,
            self.bias_regularization_,
            biased=True,
            exponent=float(self.weighted_regularization),
            features=float(self.feature_regularization),
        )

    def _set_numbers(self, ratings):
        super()._set_numbers(ratings)
        penalty = self.bias_regularization
        if penalty is None:
            penalty = self.regularization
        if penalty == "scale":  # in the unit of the weights alone
            penalty = self._count_scale(ratings) * self._default_penalty
        self.bias_regularization_ = float(penalty)

    def _rates(self):
        factors, biases = super()._rates()
        if self.bias_learning_rate is not None:
            biases = float(self.bias_learning_rate)
        return factors, biases
