"""AutoRec: an autoencoder of ratings, which is a factorisation once it is fitted."""

from dataclasses import replace
from numbers import Integral, Real
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
from scipy.special import expit
from sklearn.utils._param_validation import StrOptions

from sklearn_mf._data.arguments import Interval
from sklearn_mf._data.labels import locate
from sklearn_mf._estimators.base import BaseFactorizer, RegressionMixin
from sklearn_mf._estimators.early_stopping import EarlyStoppingMixin
from sklearn_mf._estimators.scale import EXPONENT
from sklearn_mf._files import checks
from sklearn_mf._model.parameters import carry_over, draw_rows
from sklearn_mf._objective.penalty import Penalty
from sklearn_mf._runtime.threads import count_threads, thread_pool
from sklearn_mf._solvers.autoencoder.kernels import (
    IDENTITY,
    SIGMOID,
    SIGMOID_LOG_LOSS,
)
from sklearn_mf._solvers.autoencoder.solver import (
    Autoencoder,
    AutoencoderParameters,
    encode,
    orient,
)
from sklearn_mf._typing import SparseMatrix, TableLike, fit_context

MAX_BATCH = 64
MIN_BATCHES = 16  # an epoch of fewer steps would learn little: see `batch_size`


def check_encoder_weights(name, value, known):
    """Check the weights v, a row for each column of the network."""
    columns, _ = orient(("items", "users"), known.fitted["axis_"])
    checks.check_array(name, value, (columns, "factors"), known)


class AutoRec(RegressionMixin, EarlyStoppingMixin, BaseFactorizer):
    """Matrix completion by an autoencoder.

    A row is an item, or with ``axis="user"`` a user; the other side are the columns.
    The network reads the ratings r_rc of a row, less their mean, and writes a
    prediction for every column [1]_::

        h_r = g(a + Σ_{c rated by r} (r_rc − r̄) v_c),   r̂(r,c) = f(μ + b_c + w_c · h_r)

    where g is `activation`, f is `output_activation`, r̄ the weighted mean of the
    ratings and μ the score that f turns into r̄ (without `fit_intercept` μ = 0 and
    r̄ = f(0)). The weights v and w, of length `n_factors`, and the biases a and b
    minimise::

        Σ_{(u,i) observed} w_ui ℓ(r_ui, r̂_ui) / s² + λ Σ_c n_c (s² ‖v_c‖² + ‖w_c‖² / s²)

    where s is `rating_scale_`, so that the unit of y does not matter (1 where f is
    "sigmoid"), ℓ is the squared error, or with ``loss="log_loss"`` twice the log loss,
    w_ui are the sample weights (one each by default), λ is `regularization`, and n_c is
    the sum of the weights of the column's ratings, to the power of
    `weighted_regularization`.

    Fitted, it is a factorisation with biases: with h₀ = g(a), the hidden units of a row
    without ratings, the factors of a row are h_r − h₀ and its bias is 0, those of a
    column are w_c and b_c + w_c · h₀. The prediction for an unseen row is that for a
    row without ratings, and for an unseen column the mean.

    Parameters
    ----------
    n_factors : int, default=50
        Number d of hidden units. An epoch costs about 5 · n_ratings · d.
    axis : {"item", "user"}, default="item"
        Whose ids are rows. "item" predicts films better, as in [1]_. `partial_fit` adds
        new ids of this side without training.
    activation : {"sigmoid", "identity"}, default="sigmoid"
        The function g of the hidden units. With "identity" the network is linear.
    output_activation : {"identity", "sigmoid"} or None, default=None
        The function f of the output; "sigmoid" is for y from 0 to 1. None: "sigmoid"
        under log loss, else "identity".
    loss : {"squared_error", "log_loss"}, default="squared_error"
        "log_loss" is for y from 0 to 1, such as right and wrong answers; predictions
        are then probabilities.
    regularization : float, default=0.2
        The penalty λ ≥ 0. Typical values are 0.1 to 0.4 for ratings in stars, 0.01 to
        0.1 under log loss; without `weighted_regularization` 1 to 20.
    weighted_regularization : bool or float, default=True
        How the penalty of a column grows with its ratings: n_c is n^ν, where n is the
        sum of their weights and ν is this number from 0 to 1. True is ν = 1, and False
        is ν = 0: n_c = 1, the penalty of [1]_.
    fit_intercept : bool, default=True
        Whether μ comes from the mean of the ratings. False: μ = 0.
    optimizer : {"adam", "sgd"}, default="adam"
        How steps are taken along the gradient: "adam" [2]_, with its usual constants
        0.9, 0.999 and 1e-8, or "sgd", the plain step. The state of "adam" is kept for
        each column, and a batch updates only the columns that its rows have rated (lazy
        updates).
    learning_rate : float, default=0.002
        Length γ > 0 of a step along half the gradient of the batch's ratings, with
        their share of the penalty, divided by the number of rows in the batch.
        Typical: 0.001 to 0.01 for "adam", 0.03 to 0.3 for "sgd".
    batch_size : int or "auto", default="auto"
        The most rows of a batch. "auto": 64, or a sixteenth of the rows that have
        ratings if that is less. In each epoch the rows that have ratings are assigned
        at random to as few batches as this allows, whose sizes differ by one row at
        most.
    max_iter : int, default=200
        The largest number of epochs, which are passes over all ratings.
    tol : float or None, default=0.005
        An epoch counts as progress if the improvement that the last epochs let one
        expect is more than this fraction of what the fit has gained so far: of the gain
        over the model that predicts the mean, of that since the first epoch, and of the
        objective, whichever is least. With `early_stopping` it counts as progress if it
        lowers the validation error by more than this fraction. None: always run
        `max_iter` epochs, or with `early_stopping` until the error rises.
    n_iter_no_change : int, default=3
        Stop after this many epochs in a row without progress, or after five times as
        many as long as nothing has been learnt.
    early_stopping : bool, default=False
        Whether to hold ratings out, score them after each epoch, and restore the best
        epoch. The network is trained on the other ratings, and predicts the held-out
        ones from these alone; the fitted model then uses all ratings as the input of
        the network.
    validation_fraction : float, default=0.1
        Fraction of the ratings to hold out, in (0, 1). Every user and item keeps at
        least one rating.
    init_scale : float, default=0.01
        Standard deviation of the entries of v and w that the fit begins with. a begins
        at 0, b where a row without ratings is predicted the mean.
    clip : bool, default=True
        Whether predictions are clipped to the range of the ratings seen in fit.
    warm_start : bool, default=False
        Whether fit continues from the network of the previous fit, for the columns that
        it knew, instead of starting over.
    user_column, item_column : int or str, default=0 and 1
        Position, or name in a DataFrame, of the columns of X that hold the user and
        the item. Other columns are not read.
    n_jobs : int or None, default=None
        Number of threads. None: all cores that the process may use, or `n_jobs` of an
        enclosing `joblib.parallel_config`, but one thread in a worker of joblib or
        Dask. -1: all cores. The result is bit-identical for any number.
    random_state : int, RandomState instance or None, default=None
        Seed of the start, of the batches and of what is held out. An int gives the same
        result at each fit.
    verbose : bool or int, default=False
        Whether to print the objective after each epoch. For progress bars, pass
        `sklearn.callback.ProgressBar` to `set_callbacks`.

    Attributes
    ----------
    user_factors_, item_factors_ : ndarrays of shape (n_users, n_factors) and \
            (n_items, n_factors)
        h_r − h₀ of the rows, fed with all ratings seen, and w of the columns: float32
        if y was, else float64.
    user_biases_, item_biases_ : ndarrays of shape (n_users,) and (n_items,)
        0 for the rows, b_c + w_c · h₀ for the columns.
    encoder_weights_ : ndarray of shape (n_columns, n_factors)
        The weights v of the columns.
    encoder_biases_ : ndarray of shape (n_factors,)
        The biases a.
    axis_ : {"item", "user"}
        The `axis` of the fit.
    global_mean_ : float
        Mean r̄ of the ratings learnt from; without `fit_intercept` f(0).
    users_, items_ : ndarrays of shape (n_users,) and (n_items,)
        The ids seen, sorted. For a sparse matrix, all its rows and columns.
    seen_indptr_, seen_indices_ : int64 and int32 ndarrays
        Which items each user rated, as compressed sparse rows: those of ``users_[u]``
        are ``items_[seen_indices_[seen_indptr_[u]:seen_indptr_[u + 1]]]``.
    seen_ratings_ : ndarray of shape (n_ratings,)
        Their ratings, which `partial_fit` feeds again.
    rating_scale_ : float
        The weighted standard deviation of the ratings about μ, the unit in which the
        network works; 1.0 where all are equal, or predictions are probabilities.
    rating_range_ : (float, float)
        The smallest and the largest rating seen.
    n_iter_ : int
        Number of epochs run.
    best_iter_ : int
        The epoch, counted from 1, whose network this is.
    loss_curve_ : list of float
        Value of the objective after each epoch, with the loss of each rating at the
        time of its step.
    validation_scores_ : list of float or None
        After each epoch the score of the held-out ratings: −RMSE, or under log loss
        the negative mean log loss. None without `early_stopping`.
    n_features_in_ : int
        Number of columns of X. Not set by a fit on a sparse matrix.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns of X, where X was a DataFrame with string names.

    See Also
    --------
    BiasedMF : The linear model, with factors of its own for each user and item.

    Notes
    -----
    A batch is worked on in two phases, in threads: its rows are fed, then each column
    that they have rated takes one step. No two threads write to the same row or column,
    and every sum has an order of its own, so the bits of the result depend on the data
    and the seed alone.

    Sample weights tell how much the error of a rating counts; as an input of the
    network, every rating counts the same.

    References
    ----------
    .. [1] S. Sedhain, A. Menon, S. Sanner and L. Xie (2015). "AutoRec: Autoencoders
       Meet Collaborative Filtering". WWW 2015 Companion, pages 111-112.
    .. [2] D. Kingma and J. Ba (2015). "Adam: A Method for Stochastic Optimization".
       ICLR 2015, algorithm 1.

    Examples
    --------
    >>> from sklearn.model_selection import train_test_split
    >>> from sklearn_mf import AutoRec
    >>> from sklearn_mf.datasets import make_ratings
    >>> X, y = make_ratings(random_state=0)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    >>> model = AutoRec(random_state=0).fit(X_train, y_train)
    >>> round(-model.score(X_test, y_test), 2)  # root mean squared error, in stars
    0.79

    A new item is served by its ratings alone:

    >>> model = model.partial_fit([[7, 500], [8, 500], [9, 500]], [4.5, 5.0, 4.0])
    >>> bool(model.predict([[3, 500]])[0] > model.predict([[3, 501]])[0])
    True
    """

    encoder_weights_: npt.NDArray[np.floating]
    encoder_biases_: npt.NDArray[np.floating]
    axis_: Literal["item", "user"]
    seen_ratings_: npt.NDArray[np.floating]
    loss_curve_: list[float]

    _fitted: dict = {
        **BaseFactorizer._fitted,
        **BaseFactorizer._fitted_biases,
        **EarlyStoppingMixin._fitted,
        "axis_": checks.one_of("user", "item"),
        "encoder_weights_": check_encoder_weights,
        "encoder_biases_": ("factors",),
        "seen_ratings_": ("ratings",),
    }

    _parameter_constraints: dict = {
        **BaseFactorizer._parameter_constraints,
        **EarlyStoppingMixin._parameter_constraints,
        "axis": [StrOptions({"user", "item"})],
        "activation": [StrOptions({"sigmoid", "identity"})],
        "output_activation": [StrOptions({"sigmoid", "identity"}), None],
        "loss": [StrOptions({"squared_error", "log_loss"})],
        "regularization": [Interval(Real, 0, None, closed="left")],
        "weighted_regularization": EXPONENT,
        "optimizer": [StrOptions({"adam", "sgd"})],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "batch_size": [
            Interval(Integral, 1, None, closed="left"),
            StrOptions({"auto"}),
        ],
    }

    def __init__(
        self,
        n_factors: int = 50,
        *,
        axis: Literal["item", "user"] = "item",
        activation: Literal["sigmoid", "identity"] = "sigmoid",
        output_activation: Literal["identity", "sigmoid"] | None = None,
        loss: Literal["squared_error", "log_loss"] = "squared_error",
        regularization: float = 0.2,
        weighted_regularization: float = True,
        fit_intercept: bool = True,
        optimizer: Literal["adam", "sgd"] = "adam",
        learning_rate: float = 0.002,
        batch_size: int | Literal["auto"] = "auto",
        max_iter: int = 200,
        tol: float | None = 0.005,
        n_iter_no_change: int = 3,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        init_scale: float = 0.01,
        clip: bool = True,
        warm_start: bool = False,
        user_column: int | str = 0,
        item_column: int | str = 1,
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool | int = False,
    ) -> None:
        self.n_factors = n_factors
        self.axis = axis
        self.activation = activation
        self.output_activation = output_activation
        self.loss = loss
        self.regularization = regularization
        self.weighted_regularization = weighted_regularization
        self.fit_intercept = fit_intercept
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.batch_size = batch_size
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

    @property
    def _log_loss(self):
        return self.loss == "log_loss"

    @property
    def _logistic(self):
        if self.output_activation is None:
            return self._log_loss
        return self.output_activation == "sigmoid"

    @property
    def _output(self):
        if not self._logistic:
            return IDENTITY
        return SIGMOID_LOG_LOSS if self._log_loss else SIGMOID

    def _check_options(self):
        if self._log_loss and not self._logistic:
            raise ValueError(
                "loss='log_loss' is for probabilities: set output_activation='sigmoid' "
                "or None, or loss='squared_error'; got output_activation='identity'."
            )

    def _check_range(self, ratings):
        low, high = ratings.range()
        if self._logistic and (low < 0 or high > 1):
            name, other = "output_activation='sigmoid'", "output_activation='identity'"
            if self._log_loss:
                name, other = "loss='log_loss'", "loss='squared_error'"
            raise ValueError(
                f"{name} requires y between 0 and 1 (fraction of correct answers); got "
                f"{low:g} to {high:g}. Scale y, or set {other}."
            )

    def _mean(self, ratings):
        if self.fit_intercept:
            return ratings.mean()
        return 0.5 if self._logistic else 0.0

    def _init_scale(self):
        return self.init_scale * self.rating_scale_

    def _baseline(self, ratings, mean):
        if self._log_loss:
            return ratings.log_loss(mean)
        if self._logistic:
            return ratings.deviation(mean)
        return ratings.total_weight()  # since the ratings are divided by their scale

    def _make_solver(self, problem, previous):
        start = self._start(problem, previous)
        return Autoencoder(
            problem,
            start,
            penalty=Penalty(
                self.regularization,
                biased=True,
                exponent=float(self.weighted_regularization),
            ),
            output=self._output,
            optimizer=self.optimizer,
            learning_rate=self.learning_rate,
            batch_size=self._count_rows(problem.ratings),
        )

    def _count_rows(self, ratings):
        """Return the number of rows of a batch."""
        if self.batch_size != "auto":
            return int(self.batch_size)
        by_row, _ = orient((ratings.by_user, ratings.by_item), self.axis)
        n_rated = np.count_nonzero(by_row.counts())
        return int(np.clip(n_rated // MIN_BATCHES, 1, MAX_BATCH))

    def _start(self, problem, previous):
        """Draw the encoder, and take the decoder from the factors drawn already."""
        seen, factors = problem.seen, (problem.start.P, problem.start.Q)
        scale = self.rating_scale_
        name, labels, side, decoder = (
            orient(pair, self.axis)[1]
            for pair in (
                ("user", "item"),
                (seen.users, seen.items),
                (seen.by_user, seen.by_item),
                factors,
            )
        )
        encoder = draw_rows(
            side, self.n_factors, biased=False, scale=self.init_scale, rng=problem.rng
        )
        a = np.zeros(self.n_factors, encoder.dtype)
        if previous is not None:
            if self.axis != previous.axis_:
                raise ValueError(
                    f"axis={self.axis!r}, but the fit to continue from has "
                    f"{previous.axis_!r}: set axis back, or start over with fit and "
                    "warm_start=False."
                )
            old_labels = getattr(previous, f"{name}s_")
            old_rows = previous.encoder_weights_ * encoder.dtype.type(scale)
            carry_over(f"{name}s", encoder, labels, old_rows, old_labels)
            a[:] = previous.encoder_biases_
        sigmoid = self.activation == "sigmoid"
        # The biases of the factorisation hold w · h₀ too, b does not.
        decoder = decoder / decoder.dtype.type(scale)
        empty = expit(a) if sigmoid else a
        decoder[:, -1] -= np.einsum("cf,f->c", decoder[:, :-1], empty)  # no BLAS
        return AutoencoderParameters(
            C=np.hstack([encoder, decoder]),
            a=a,
            sigmoid=sigmoid,
            axis=self.axis,
            mean=problem.start.mean,
            scale=scale,
            ratings=problem.ratings,
            seen=problem.seen,
            run=problem.run,
        )

    def _validation(self, held_out, seen, n_jobs):
        validate = super()._validation(held_out, seen, n_jobs)
        if validate is None:
            return None
        return lambda parameters: validate(parameters.without_held_out())

    def _attributes(self, problem, solver, parameters):
        return {
            **super()._attributes(problem, solver, parameters),
            "seen_ratings_": problem.seen.by_user.ratings,
        }

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self,
        X: TableLike | SparseMatrix,
        y: npt.ArrayLike | None = None,
        sample_weight: npt.ArrayLike | None = None,
    ) -> Self:
        """Add or update rows with their ratings, without training the network.

        On an estimator that is not fitted, this is `fit`. Later, each row of X, be it
        new or known, is fed with these ratings and those that it had before; the new
        rating of a pair takes the place of the old one. That is what the fit itself
        would have given the row, without a step of learning.

        Parameters
        ----------
        X, y, sample_weight : table, array-like, array-like
            Ratings, as in `fit`; of columns that the network knows. A weight of 0
            leaves a rating out; all other weights count the same here. Only the first
            call takes a sparse matrix alone.

        Returns
        -------
        self : object
            The estimator, which knows the new ids in all its methods. If
            partial_fit fails or is interrupted, it keeps its previous state.

        Raises
        ------
        ValueError
            If X has columns that the network does not know, or for input that `fit`
            would not take either.
        FloatingPointError
            If the rows overflow.
        """
        if not self.__sklearn_is_fitted__():
            return self.fit(X, y, sample_weight)
        self._check_options()
        with self._replacing(keep_fitted=True) as new:
            ratings = self._read_more(new, X, y, sample_weight)
            self._check_range(ratings)
            (name, labels, known, pairs), (other, other_labels, *_) = orient(
                (
                    ("user", ratings.users, new.users_, ratings.by_user),
                    ("item", ratings.items, new.items_, ratings.by_item),
                ),
                new.axis_,
            )
            new._check_known(
                other,
                other_labels,
                f"With axis={new.axis_!r} the network has weights for each {other}: "
                "leave their ratings out, or learn the weights by fit with "
                "warm_start=True.",
            )
            seen = new._join_ratings(ratings)
            side, _ = orient((seen.by_user, seen.by_item), new.axis_)
            learnt = new._parameters()
            old_rows, _ = orient((learnt.P, learnt.Q), new.axis_)
            rows = np.zeros((len(labels), old_rows.shape[1]), old_rows.dtype)
            carry_over(f"{name}s_", rows, labels, old_rows, known)
            encoded = np.flatnonzero(pairs.counts())
            with thread_pool(count_threads(self.n_jobs)) as run:
                rows[encoded, :-1], _ = encode(
                    side,
                    encoded,
                    new.global_mean_,
                    self.activation == "sigmoid",
                    new.encoder_weights_,
                    new.encoder_biases_,
                    run,
                )
            if not np.isfinite(rows).all():
                raise FloatingPointError(
                    "partial_fit: the rows overflow. Scale y down, or pass it as "
                    "float64 to fit if it was float32."
                )
            table = {"user": "P", "item": "Q"}[name]
            learnt = replace(learnt, **{f"{name}s": labels, table: rows})
            vars(new).update(
                learnt.attributes(),
                seen_indptr_=seen.by_user.indptr,
                seen_indices_=seen.by_user.indices,
                seen_ratings_=seen.by_user.ratings,
                rating_range_=new._widen_range(ratings.range()),
            )
        return self

    def _join_ratings(self, ratings):
        """Return the ratings seen before, joined by others that replace them."""
        counts = np.diff(self.seen_indptr_)
        users = locate("users_", self.users_, ratings.users)
        items = locate("items_", self.items_, ratings.items)
        return ratings.join(
            np.repeat(users, counts), items[self.seen_indices_], self.seen_ratings_
        )

    def _remedy(self):
        return (
            f"Lower learning_rate={self.learning_rate}; a smaller init_scale="
            f"{self.init_scale} and y scaled down help too."
        )
