"""Matrix factorisation by stochastic gradient descent: its estimator."""

from typing import Any, Literal

import numpy as np

from sklearn_mf._estimators.base import RegressionMixin
from sklearn_mf._estimators.stochastic import StochasticFactorizer


class SGDFactorizer(RegressionMixin, StochasticFactorizer):
    """Matrix factorisation by stochastic gradient descent.

    The prediction for user u and item i is::

        r̂(u,i) = μ + p_u · q_i

    with factors p_u and q_i of length `n_factors` that minimise::

        Σ_{(u,i) observed} w_ui (r_ui − r̂_ui)² + λ (Σ_u c_u ‖p_u‖² + Σ_i c_i ‖q_i‖²)

    where r are the ratings y, w the sample weights (one each by default), μ the
    weighted mean of the ratings (0 without `fit_intercept`), λ is `regularization`,
    and c_u and c_i are the sums of the weights of the user's and of the item's ratings,
    to the power of `weighted_regularization`. Each rating carries its share of the
    penalty, and for each, or for each batch, the parameters that it touches step
    against the gradient [1]_.

    With features x_u of the users, Σ_u c_u ‖p_u − Gᵀ x_u‖² + φ c̄ ‖G‖² takes the place
    of Σ_u c_u ‖p_u‖², likewise for items: the factors of an id are pulled towards what
    its features predict with the weights G, which are learnt too [5]_. φ is
    `feature_regularization`, c̄ is Σ_u c_u² / Σ_u c_u, and features are scaled so that
    the mean of ‖x_u‖² is 1.

    With ``loss="log_loss"`` r̂ is the probability σ(μ + p_u · q_i), μ the logit of the
    mean, and the squared error is replaced by twice the log loss
    −2 (r log r̂ + (1 − r) log(1 − r̂)), whose gradient has the same form.

    Parameters
    ----------
    n_factors : int, default=20
        Length d of the factors. An epoch costs about n_ratings · d.
    regularization : float or "scale", default="scale"
        The penalty λ ≥ 0, which scales with y: if you multiply all ratings by ten,
        multiply λ by ten too. "scale" is 0.12 times `rating_scale_`, and with less than
        full `weighted_regularization` this times Σ n / Σ c. Typical numbers for ratings
        in stars are 0.05 to 0.2 with `weighted_regularization`, and 2 to 20 without.
    weighted_regularization : bool or float, default=True
        How the penalty of an id grows with its ratings: c is n^ν, where n is the sum of
        its weights and ν is this number from 0 to 1. True is ν = 1, and False is ν = 0:
        c = 1.
    user_features, item_features : DataFrame, tuple, list, "rated" or None, \
            default=None and None
        What is known of users and of items: a row of numbers for each id. A DataFrame
        of pandas with the ids as index, or of polars with the ids in its first column
        or in the one named like `user_column` or `item_column`; or a tuple (ids,
        matrix) or (ids, matrix, names), the matrix dense or of scipy.sparse. Dense
        columns are standardised. An id without features is treated like the mean of
        all, and an id that has features but no ratings is known to the model too.
        "rated": which items a user rated at all, or by which users an item was rated
        [6]_. A list ["rated", features] has both.
    feature_regularization : float, default=5.0
        The penalty φ > 0 of the weights of features, which depends neither on the unit
        of y nor on those of the features. Larger numbers trust features less; 0.5 to 50
        are usual.
    fit_intercept : bool, default=True
        Whether μ comes from the mean of the ratings. False: μ = 0.
    loss : {"squared_error", "log_loss"}, default="squared_error"
        "log_loss" is for y from 0 to 1, such as right and wrong answers; predictions
        are then probabilities.
    optimizer : {"adagrad", "adam", "sgd"}, default="adagrad"
        How steps are taken along the gradient g. "adagrad" [2]_ divides the learning
        rate of each parameter by √Σ g² + `epsilon` and needs little tuning; "adam" [3]_
        averages g and g² with `beta_1` and `beta_2`; "sgd" takes the plain step, with
        `momentum` if that is not 0, and takes the least time for an epoch. The state of
        an optimizer is kept for each row, and a batch updates only the rows that it
        contains (lazy updates). Where a batch touches every row, as on dense data in
        one batch, this is the textbook's update.
    learning_rate : float or "scale", default="scale"
        The step is γ > 0 times half the gradient, as in [1]_. "scale" follows the
        standard deviation s = `rating_scale_` of y: 0.1 √s for "adagrad", 0.003 √s for
        "adam", and for "sgd" 0.01 (1 − `momentum`) / (s · the mean weight). Typical
        numbers for ratings in stars are 0.02 to 0.2, 0.001 to 0.01 and 0.002 to 0.02. A
        value that diverges ends the fit with a FloatingPointError.
    learning_rate_schedule : {"constant", "exponential", "invscaling"}, \
            default="constant"
        How the learning rate changes with the epoch t = 0, 1, …. "constant" is γ,
        "exponential" is γ times `decay` to the power of t, and "invscaling" is γ
        divided by t + 1 to the power of `power_t`.
    decay : float, default=0.95
        Factor on the learning rate after each epoch, in (0, 1], if "exponential".
    power_t : float, default=0.5
        Exponent ≥ 0 of "invscaling".
    momentum : float, default=0.0
        Fraction, in [0, 1), of the previous step that is added to each step of "sgd".
    nesterov : bool, default=False
        Whether the momentum is Nesterov's: the gradient looks ahead by one step.
    beta_1, beta_2 : float, default=0.9 and 0.999
        Decay of the averages of "adam", in [0, 1).
    epsilon : float or "scale", default="scale"
        Added to the divisor of "adagrad" and "adam". "scale": negligible compared with
        any gradient.
    batch_size : int, default=1
        Number of ratings whose gradient is averaged for one step. 1 is pure stochastic
        gradient descent; larger batches need a larger learning rate.
    shuffle : bool, default=True
        Whether the order of the ratings changes in each epoch.
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
        epoch.
    validation_fraction : float, default=0.1
        Fraction of the ratings to hold out, in (0, 1). Every user and item keeps at
        least one rating.
    init_scale : float or "scale", default="scale"
        Standard deviation of the entries of the random factors that the fit begins
        with. "scale": 0.05 times the square root of `rating_scale_`.
    clip : bool, default=True
        Whether predictions are clipped to the range of the ratings seen in fit.
    warm_start : bool, default=False
        Whether fit continues from the parameters of the previous fit, for the ids that
        it knew, instead of starting over.
    user_column, item_column : int or str, default=0 and 1
        Position, or name in a DataFrame, of the columns of X that hold the user and
        the item. Other columns are not read.
    n_jobs : int or None, default=None
        Number of threads. None: all cores that the process may use, or `n_jobs` of an
        enclosing `joblib.parallel_config`, but one thread in a worker of joblib or
        Dask. -1: all cores. The result is bit-identical for any number.
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
    user_feature_names_, item_feature_names_ : ndarrays of str objects
        Names of the features, of each side that has some.
    user_feature_weights_, item_feature_weights_ : ndarrays (n_features, n_factors)
        What one unit of a feature adds to the factors of an id: G, less the scaling.
    user_feature_centers_, item_feature_centers_ : ndarrays of shape (n_features,)
        The means of the features, which predict the factors 0.
    user_rated_factors_ : ndarray of shape (n_items, n_factors)
        With "rated" in `user_features`, what having rated an item adds to the factors
        of a user: each row is multiplied by 1/√n for a user with n ratings.
        `user_rated_centers_` of shape (n_items,) is the mean of these numbers over the
        users, which is subtracted from them. `item_rated_factors_` and
        `item_rated_centers_` have a row for each user, likewise.
    user_cold_weights_, item_cold_weights_ : ndarrays (n_features, n_factors)
        With features and "rated", the weights of features for ids without ratings, of
        which nothing else is known.
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
    rating_scale_ : float
        The weighted standard deviation of the ratings about μ; 1.0 where all
        are equal. The unit of what is "scale".
    regularization_ : float
        The number used for λ.
    learning_rate_ : float
        The number used for γ.
    weight_sum_ : float
        Sum of the weights of the ratings learnt from.
    n_iter_ : int
        Number of epochs run.
    best_iter_ : int
        The epoch, counted from 1, whose parameters these are.
    loss_curve_ : list of float
        Value of the objective after each epoch, with the loss of each rating at the
        time of its step.
    validation_scores_ : list of float or None
        After each epoch the score of the held-out ratings: −RMSE, or under log loss
        the negative mean log loss. None without `early_stopping`.
    optimizer_ : str
        The optimizer; "momentum" or "nesterov" for "sgd" with momentum.
    optimizer_state_ : dict of ndarrays
        Its state, from which `partial_fit` continues.
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
    diagonal are processed in parallel [4]_, and each has an order of its own that is
    drawn from the seed. The grid depends on the data alone, so the result does too, bit
    for bit.

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
    .. [5] D. Agarwal and B.-C. Chen (2009). "Regression-based Latent Factor Models".
       KDD 2009, equation 2.
    .. [6] Y. Koren (2008). "Factorization Meets the Neighborhood: a Multifaceted
       Collaborative Filtering Model". KDD 2008, equation 15.

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
        regularization: float | Literal["scale"] = "scale",
        weighted_regularization: float = True,
        user_features: Any = None,
        item_features: Any = None,
        feature_regularization: float = 5.0,
        fit_intercept: bool = True,
        loss: Literal["squared_error", "log_loss"] = "squared_error",
        optimizer: Literal["adagrad", "adam", "sgd"] = "adagrad",
        learning_rate: float | Literal["scale"] = "scale",
        learning_rate_schedule: Literal[
            "constant", "exponential", "invscaling"
        ] = "constant",
        decay: float = 0.95,
        power_t: float = 0.5,
        momentum: float = 0.0,
        nesterov: bool = False,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float | Literal["scale"] = "scale",
        batch_size: int = 1,
        shuffle: bool = True,
        max_iter: int = 200,
        tol: float | None = 0.005,
        n_iter_no_change: int = 3,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        init_scale: float | Literal["scale"] = "scale",
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
        self.user_features = user_features
        self.item_features = item_features
        self.feature_regularization = feature_regularization
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
