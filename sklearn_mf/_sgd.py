"""Estimators fitted by stochastic gradient descent."""

import copy
from numbers import Integral, Real
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from sklearn_mf._base import BaseFactorizer
from sklearn_mf._descent import Descent, fit_sgd
from sklearn_mf._early_stopping import EarlyStoppingMixin
from sklearn_mf._iterations import OnePass
from sklearn_mf._objective import to_intercept
from sklearn_mf._ratings import read_ratings
from sklearn_mf._threads import count_threads, thread_pool
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
            weight = float(ratings.by_user.strengths().sum())
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
        attributes["weight_sum_"] = float(problem.ratings.by_user.strengths().sum())
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


class SGDFactorizer(StochasticFactorizer):
    """Matrix factorisation by stochastic gradient descent.

    The prediction for user u and item i is::

        r̂(u,i) = μ + p_u · q_i

    with factors p_u and q_i of length `n_factors` that minimise::

        Σ_{(u,i) observed} w_ui (r_ui − r̂_ui)² + λ (Σ_u c_u ‖p_u‖² + Σ_i c_i ‖q_i‖²)

    where r are the ratings y, w the sample weights (one each by default), μ the
    weighted mean of the ratings (0 without `fit_intercept`), λ is `regularization`,
    and c_u and c_i are the sums of the weights of the user's and of the item's ratings
    (1 without `weighted_regularization`). Each rating carries its share of the
    penalty, and for each, or for each batch, the parameters that it touches step
    against the gradient [1]_.

    With ``loss="log_loss"`` r̂ is the probability σ(μ + p_u · q_i), μ the logit of the
    mean, and the squared error is replaced by twice the log loss
    −2 (r log r̂ + (1 − r) log(1 − r̂)), whose gradient has the same form.

    Parameters
    ----------
    n_factors : int, default=20
        Length d of the factors. An epoch costs about n_ratings · d.
    regularization : float, default=0.12
        The penalty λ ≥ 0. Typical values for ratings in stars are 0.05 to 0.2 with
        `weighted_regularization`, and 2 to 20 without. It is in units of y: ratings
        ten times as large want ten times the λ.
    weighted_regularization : bool, default=True
        Whether the penalty of an id grows with its ratings: c is the sum of its
        weights. False: c = 1.
    fit_intercept : bool, default=True
        Whether μ comes from the mean of the ratings. False: μ = 0.
    loss : {"squared_error", "log_loss"}, default="squared_error"
        "log_loss" is for y from 0 to 1, such as right and wrong answers; predictions
        are then probabilities.
    optimizer : {"adagrad", "adam", "sgd"}, default="adagrad"
        How steps are taken along the gradient g. "adagrad" [2]_ divides the learning
        rate of each parameter by √Σ g² + `epsilon` and wants little tuning; "adam"
        [3]_ averages g and g² with `beta_1` and `beta_2`; "sgd" takes the plain step,
        with `momentum` if that is not 0, and is the quickest an epoch. The state of
        an optimizer exists for each row; a batch changes the rows that it touches and
        their state, and the others neither move nor age. Where a batch touches every
        row, as on dense data in one batch, this is the textbook's update.
    learning_rate : float, default=0.05
        Length γ > 0 of a step along half the gradient, as in [1]_. Typical: 0.02 to
        0.2 for "adagrad", 0.001 to 0.01 for "adam", 0.002 to 0.02 for "sgd". A value
        that diverges ends the fit with a FloatingPointError.
    learning_rate_schedule : {"constant", "exponential", "invscaling"}, \
            default="constant"
        The learning rate in epoch t = 0, 1, …: γ, or γ · `decay`ᵗ, or
        γ / (t + 1)^`power_t`.
    decay : float, default=0.95
        Factor on the learning rate after each epoch, in (0, 1], if "exponential".
    power_t : float, default=0.5
        Exponent ≥ 0 of "invscaling".
    momentum : float, default=0.0
        Share, in [0, 1), of the last step that is added to a step of "sgd".
    nesterov : bool, default=False
        Whether the momentum is Nesterov's: the gradient looks ahead by one step.
    beta_1, beta_2 : float, default=0.9 and 0.999
        Decay of the averages of "adam", in [0, 1).
    epsilon : float, default=1e-8
        Added to the divisor of "adagrad" and "adam".
    batch_size : int, default=1
        Number of ratings whose gradient is averaged for one step. 1 is pure
        stochastic gradient descent; larger batches want a larger learning rate.
    shuffle : bool, default=True
        Whether the ratings come in another order in each epoch.
    max_iter : int, default=200
        The most epochs: passes over all ratings.
    tol : float or None, default=1e-3
        Progress is a fall of the objective, or of the validation error with
        `early_stopping`, by more than this share of its value, or by more than in any
        epoch before. None: the fit runs all of `max_iter`, or with `early_stopping`
        until the error rises.
    n_iter_no_change : int, default=3
        The fit ends after so many epochs in a row without progress.
    early_stopping : bool, default=False
        Whether to hold ratings out, score them after each epoch, and restore the best
        epoch.
    validation_fraction : float, default=0.1
        Share of the ratings to hold out, in (0, 1). No user or item loses its last
        rating.
    init_scale : float, default=0.05
        Standard deviation of the entries of the random factors that the fit begins
        with.
    clip : bool, default=True
        Whether predictions are clipped to the range of the ratings seen in fit.
    warm_start : bool, default=False
        Whether fit goes on from the parameters of the previous fit, for the ids that
        it knew, instead of beginning anew.
    user_column, item_column : int or str, default=0 and 1
        Position, or name in a DataFrame, of the columns of X that hold the user and
        the item. Other columns are not read.
    n_jobs : int or None, default=None
        Number of threads. None: all cores that the process may use, or `n_jobs` of an
        enclosing `joblib.parallel_config`, but one thread in a worker of joblib or
        Dask. -1: all cores. The result does not depend on it, to the bit.
    random_state : int, RandomState instance or None, default=None
        Seed of the start, of the orders and of what is held out. An int gives the same
        result at each fit.
    verbose : bool or int, default=False
        Whether to print the objective after each epoch. For progress bars, pass
        `sklearn.callback.ProgressBar` to `set_callbacks`.

    Attributes
    ----------
    user_factors_ : ndarray of shape (n_users, n_factors)
        Factors p, a row for each of `users_`: float32 if y was, else float64.
    item_factors_ : ndarray of shape (n_items, n_factors)
        Factors q, a row for each of `items_`.
    global_mean_ : float
        Mean of the ratings; without `fit_intercept` what μ = 0 predicts, 0.0 or under
        log loss 0.5.
    users_, items_ : ndarrays of shape (n_users,) and (n_items,)
        The ids seen, sorted. For a sparse matrix, all its rows and columns.
    seen_indptr_, seen_indices_ : int64 and int32 ndarrays
        Which items each user rated, as compressed sparse rows: those of ``users_[u]``
        are ``items_[seen_indices_[seen_indptr_[u]:seen_indptr_[u + 1]]]``.
    rating_range_ : (float, float)
        The smallest and the largest rating seen.
    weight_sum_ : float
        Sum of the weights of the ratings learnt from.
    n_iter_ : int
        Number of epochs run.
    best_iter_ : int
        The epoch, counted from 1, whose parameters these are.
    loss_curve_ : list of float
        Value of the objective after each epoch, with the loss of each rating as it
        was met during the epoch.
    validation_scores_ : list of float or None
        After each epoch the score of the held-out ratings: −RMSE, or under log loss
        the negative mean log loss. None without `early_stopping`.
    optimizer_ : str
        The optimizer; "momentum" or "nesterov" for "sgd" with momentum.
    optimizer_state_ : dict of ndarrays
        Its state, from which `partial_fit` goes on.
    n_features_in_ : int
        Number of columns of X. Not set by a fit on a sparse matrix.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns of X, where X was a DataFrame with string names.

    See Also
    --------
    BiasedMF : With biases of users and items, usually more accurate.
    ALSFactorizer : The same squared error, solved exactly side by side.

    Notes
    -----
    The ratings are cut into a fixed grid of blocks of users × items, the blocks of a
    diagonal are passed over side by side [4]_, and each has an order of its own that
    is drawn from the seed. The grid depends on the data alone, and so do the bits of
    the result.

    References
    ----------
    .. [1] Y. Koren, R. Bell and C. Volinsky (2009). "Matrix Factorization Techniques
       for Recommender Systems". IEEE Computer 42(8), pages 30-37, equations 2 to 4.
    .. [2] J. Duchi, E. Hazan and Y. Singer (2011). "Adaptive Subgradient Methods for
       Online Learning and Stochastic Optimization". JMLR 12, pages 2121-2159.
    .. [3] D. Kingma and J. Ba (2015). "Adam: A Method for Stochastic Optimization".
       ICLR 2015, algorithm 1.
    .. [4] R. Gemulla, E. Nijkamp, P. Haas and Y. Sismanis (2011). "Large-scale Matrix
       Factorization with Distributed Stochastic Gradient Descent". KDD 2011.

    Examples
    --------
    >>> from sklearn.model_selection import train_test_split
    >>> from sklearn_mf import SGDFactorizer
    >>> from sklearn_mf.datasets import make_ratings
    >>> X, y = make_ratings(random_state=0)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    >>> sgd = SGDFactorizer(random_state=0).fit(X_train, y_train)
    >>> round(-sgd.score(X_test, y_test), 2)  # root mean squared error, in stars
    0.79
    """

    def __init__(
        self,
        n_factors: int = 20,
        *,
        regularization: float = 0.12,
        weighted_regularization: bool = True,
        fit_intercept: bool = True,
        loss: Literal["squared_error", "log_loss"] = "squared_error",
        optimizer: Literal["adagrad", "adam", "sgd"] = "adagrad",
        learning_rate: float = 0.05,
        learning_rate_schedule: Literal[
            "constant", "exponential", "invscaling"
        ] = "constant",
        decay: float = 0.95,
        power_t: float = 0.5,
        momentum: float = 0.0,
        nesterov: bool = False,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        batch_size: int = 1,
        shuffle: bool = True,
        max_iter: int = 200,
        tol: float | None = 1e-3,
        n_iter_no_change: int = 3,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        init_scale: float = 0.05,
        clip: bool = True,
        warm_start: bool = False,
        user_column: int | str = 0,
        item_column: int | str = 1,
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool | int = False,
    ) -> None:
        self.n_factors = n_factors
        self.regularization = regularization
        self.weighted_regularization = weighted_regularization
        self.fit_intercept = fit_intercept
        self.loss = loss
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.learning_rate_schedule = learning_rate_schedule
        self.decay = decay
        self.power_t = power_t
        self.momentum = momentum
        self.nesterov = nesterov
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.max_iter = max_iter
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.init_scale = init_scale
        self.clip = clip
        self.warm_start = warm_start
        self.user_column = user_column
        self.item_column = item_column
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose
