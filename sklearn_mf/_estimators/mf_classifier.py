"""The biased model as a classifier: which of two classes an answer is of."""

from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from sklearn.utils._param_validation import StrOptions

from sklearn_mf._data.classes import read_classes
from sklearn_mf._estimators.base import PARAMETERS
from sklearn_mf._estimators.stochastic import BiasedStochasticFactorizer
from sklearn_mf._estimators.two_classes import TwoClassMixin
from sklearn_mf._model.scoring import predict_codes
from sklearn_mf._objective.loss import to_intercept
from sklearn_mf._objective.penalty import Penalty
from sklearn_mf._typing import SparseMatrix, TableLike, available_if, fit_context


def _weighs_parts(model):
    """Tell whether the weights of classes do not depend on all answers."""
    if model.class_weight == "balanced":
        raise AttributeError(
            "class_weight='balanced' is not supported by partial_fit, which does not "
            "know how frequent the classes are: pass as a dict what "
            "sklearn.utils.class_weight.compute_class_weight gives."
        )
    return True


class MFClassifier(TwoClassMixin, BiasedStochasticFactorizer):
    """Matrix factorisation that predicts which of two classes an answer is of.

    The probability that user u answers item i with the second class, such as right
    rather than wrong, or liked rather than not, is::

        P(u,i) = σ(z(u,i)),   z(u,i) = μ + b_u + b_i + p_u · q_i

    with biases b and factors p_u and q_i of length `n_factors` that minimise::

        2 Σ_{(u,i) observed} w_ui ℓ(r_ui, P(u,i))
          + λ (Σ_u c_u ‖p_u‖² + Σ_i c_i ‖q_i‖²) + λ_b (Σ_u c_u b_u² + Σ_i c_i b_i²)

    where r is 0 for the first of `classes_` and 1 for the second, ℓ is the log loss
    −r log P − (1 − r) log(1 − P), w are the sample weights times those of the classes,
    μ is the logit of the weighted mean of r (0 without `fit_intercept`), λ is
    `regularization`, λ_b is `bias_regularization`, and c is 1, or with
    `weighted_regularization` it grows with the number of answers of the user or of the
    item. This is the model of `BiasedMF` with ``loss="log_loss"`` [1]_, fitted by the
    same stochastic gradient descent.

    With ``n_factors=0`` it is item response theory with one parameter, the Rasch model
    [7]_: b_u is the ability of the user, −b_i the difficulty of the item, and the
    penalty is the prior that both have the variance 1/λ_b. It is then also
    `LogisticRegression` on one-hot encoded ids, with C = 1/λ_b and without an
    intercept that is learnt.

    Features x_u of the users, or of the items, take part as in `BiasedMF`: with them
    Σ_u c_u ‖p_u − Gᵀ x_u‖² + φ c̄ ‖G‖² takes the place of Σ_u c_u ‖p_u‖², likewise for
    biases, with weights G that are learnt too [5]_.

    Parameters
    ----------
    n_factors : int, default=20
        Length d of the factors. 0 leaves the biases alone: item response theory.
    class_weight : dict, "balanced" or None, default=None
        Weights of the two classes, by which sample weights are multiplied: a dict from
        labels to numbers, or "balanced", which gives both classes the same total
        weight, n / (2 n_class). None: both weigh 1.
    regularization : float or "scale", default="scale"
        The penalty λ ≥ 0 of the factors. "scale" is 1.2 σ (√n̄_u + √n̄_i), with
        σ² = r̄ (1 − r̄) and the mean numbers n̄ of answers of a user and of an item, or
        sums of their squared weights: it is just above what noise alone would have
        factors explain [8]_, which therefore vanish unless the answers support them.
        That is 5 to 20 in usual data. With `weighted_regularization` it is divided by
        the mean of c.
    bias_regularization : float or None, default=1.0
        The penalty λ_b ≥ 0 of the biases. None: the same number as `regularization`.
    weighted_regularization : bool or float, default=False
        How the penalty of an id grows with its answers: c is n^ν, where n is the sum of
        their weights and ν is this number from 0 to 1. True is ν = 1, and False is
        ν = 0: c = 1.
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
        Whether μ comes from the mean of r. False: μ = 0, a probability of one half.
    optimizer : {"adagrad", "adam", "sgd"}, default="adagrad"
        How steps are taken along the gradient g. "adagrad" [2]_ divides the learning
        rate of each parameter by √Σ g² + `epsilon` and needs little tuning; "adam" [3]_
        averages g and g² with `beta_1` and `beta_2`; "sgd" takes the plain step, with
        `momentum` if that is not 0, and takes the least time for an epoch. The state of
        an optimizer is kept for each row, and a batch updates only the rows that it
        contains (lazy updates). Where a batch touches every row, as on dense data in
        one batch, this is the textbook's update.
    learning_rate : float or "scale", default="scale"
        Length γ > 0 of a step along half the gradient. "scale": 0.1 for "adagrad",
        0.003 for "adam", and for "sgd" 0.01 (1 − `momentum`) / the mean weight. A
        value that diverges ends the fit with a FloatingPointError.
    bias_learning_rate : float or None, default=None
        Length of a step of the biases. None: the same number as `learning_rate`.
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
        Number of answers whose gradient is averaged for one step. 1 is pure stochastic
        gradient descent; larger batches need a larger learning rate.
    shuffle : bool, default=True
        Whether the answers come in another order in each epoch.
    max_iter : int, default=200
        The most epochs: passes over all answers.
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
        Whether to hold answers out, compute their log loss after each epoch, and
        restore the best epoch.
    validation_fraction : float, default=0.1
        Share of the answers to hold out, in (0, 1). No user or item loses its last one.
    init_scale : float or "scale", default="scale"
        Standard deviation of the entries of the random factors that the fit begins
        with. "scale": 0.05. Biases begin at 0.
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
    classes_ : ndarray of shape (2,)
        The labels of the two classes, sorted. Probabilities, `decision_function` and
        `recommend` speak of the second.
    user_factors_ : ndarray of shape (n_users, n_factors)
        Factors p, a row for each of `users_`: float32 if y was, else float64.
    item_factors_ : ndarray of shape (n_items, n_factors)
        Factors q, a row for each of `items_`.
    user_biases_, item_biases_ : ndarrays of shape (n_users,) and (n_items,)
        Biases b, in units of the logit.
    user_feature_names_, item_feature_names_ : ndarrays of str objects
        Names of the features, of each side that has some.
    user_feature_weights_, item_feature_weights_ : ndarrays (n_features, n_factors)
        What one unit of a feature adds to the factors of an id: G, less the scaling.
    user_feature_biases_, item_feature_biases_ : ndarrays of shape (n_features,)
        What one unit of a feature adds to the bias of an id. `user_rated_biases_`,
        `user_cold_biases_` and those of items belong to the attributes below, likewise.
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
        Weighted share of the second class; without `fit_intercept` 0.5.
    users_, items_ : ndarrays of shape (n_users,) and (n_items,)
        The ids seen, sorted. For a sparse matrix, all its rows and columns.
    seen_indptr_, seen_indices_ : int64 and int32 ndarrays
        Which items each user rated, as compressed sparse rows: those of ``users_[u]``
        are ``items_[seen_indices_[seen_indptr_[u]:seen_indptr_[u + 1]]]``.
    rating_range_ : (float, float)
        The smallest and the largest r of a pair: 0 and 1, unless partial_fit has seen
        one class only, or all pairs of a class also have answers of the other.
    rating_scale_ : float
        1.0, the unit of the logit.
    regularization_ : float
        The number used for λ.
    bias_regularization_ : float
        The number used for λ_b.
    learning_rate_ : float
        The number used for γ.
    weight_sum_ : float
        Sum of the weights of the answers learnt from.
    n_iter_ : int
        Number of epochs run.
    best_iter_ : int
        The epoch, counted from 1, whose parameters these are.
    loss_curve_ : list of float
        Value of the objective after each epoch, with the loss of each answer at the
        time of its step.
    validation_scores_ : list of float or None
        After each epoch the negative mean log loss of the answers held out. None
        without `early_stopping`.
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
    BiasedMF : The same model as a regressor, which also takes shares of right answers.
    BayesianMFClassifier : A sample of such models, which tells how sure a probability
        is.

    Notes
    -----
    The label of a row is one of two. More classes are for
    ``OneVsRestClassifier(MFClassifier())`` of `sklearn.multiclass`. If a pair occurs
    more than once, its r is the weighted mean.

    λ_b does not follow the unit of sample weights, as C of `LogisticRegression` does
    not.

    The answers are cut into a fixed grid of blocks of users × items, the blocks of a
    diagonal are processed in parallel [4]_, and each has an order of its own that is
    drawn from the seed. The grid depends on the data alone, so the result does too, bit
    for bit.

    References
    ----------
    .. [1] Y. Koren, R. Bell and C. Volinsky (2009). "Matrix Factorization Techniques
       for Recommender Systems". IEEE Computer 42(8), pages 30-37, equations 4 and 5.
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
    .. [7] G. Rasch (1960). "Probabilistic Models for Some Intelligence and Attainment
       Tests". Danish Institute for Educational Research, Copenhagen.
    .. [8] E. Candès and Y. Plan (2010). "Matrix Completion With Noise". Proceedings of
       the IEEE 98(6), pages 925-936.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import KFold, cross_val_score
    >>> from sklearn_mf import MFClassifier
    >>> from sklearn_mf.datasets import make_answers
    >>> X, y = make_answers(random_state=0)
    >>> labels = np.where(y == 1, "right", "wrong")
    >>> model = MFClassifier(0, random_state=0).fit(X, labels)
    >>> model.classes_
    array(['right', 'wrong'], dtype='<U5')
    >>> folds = KFold(5, shuffle=True, random_state=0)
    >>> scores = cross_val_score(model, X, labels, cv=folds, scoring="roc_auc")
    >>> print(f"{scores.mean():.2f}")
    0.78
    """

    _fitted: dict = {
        **TwoClassMixin._fitted_classes,
        **BiasedStochasticFactorizer._fitted,
    }

    loss, clip = "log_loss", False  # no parameters: probabilities need no clipping

    _parameter_constraints: dict = {
        "class_weight": [dict, StrOptions({"balanced"}), None],
        **BiasedStochasticFactorizer._parameter_constraints,
    }
    del _parameter_constraints["loss"], _parameter_constraints["clip"]

    def __init__(
        self,
        n_factors: int = 20,
        *,
        class_weight: dict[Any, float] | Literal["balanced"] | None = None,
        regularization: float | Literal["scale"] = "scale",
        bias_regularization: float | None = 1.0,
        weighted_regularization: float = False,
        user_features: Any = None,
        item_features: Any = None,
        feature_regularization: float = 5.0,
        fit_intercept: bool = True,
        optimizer: Literal["adagrad", "adam", "sgd"] = "adagrad",
        learning_rate: float | Literal["scale"] = "scale",
        bias_learning_rate: float | None = None,
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
        warm_start: bool = False,
        user_column: int | str = 0,
        item_column: int | str = 1,
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool | int = False,
    ) -> None:
        self.n_factors = n_factors
        self.class_weight = class_weight
        self.regularization = regularization
        self.bias_regularization = bias_regularization
        self.weighted_regularization = weighted_regularization
        self.user_features = user_features
        self.item_features = item_features
        self.feature_regularization = feature_regularization
        self.fit_intercept = fit_intercept
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.bias_learning_rate = bias_learning_rate
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
        self.warm_start = warm_start
        self.user_column = user_column
        self.item_column = item_column
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: TableLike | SparseMatrix,
        y: npt.ArrayLike | None = None,
        sample_weight: npt.ArrayLike | None = None,
    ) -> Self:
        """Learn the factors from answers.

        Parameters
        ----------
        X : table of shape (n_answers, n_features), or sparse matrix
            One answer a row: `user_column` and `item_column` hold its user and its
            item, ids of any sortable kind. An array, a list of lists, or a DataFrame.
            Or a scipy.sparse matrix of shape (n_users, n_items) alone, with y=None:
            every stored entry is the label of an answer, explicit zeros too.
        y : array-like of shape (n_answers,)
            The label of each answer: text, numbers or bools, of two different values.
            float32 is fitted in float32, everything else in float64.
        sample_weight : array-like of shape (n_answers,) or None, default=None
            Weight w ≥ 0 of each answer. Weight 2 is the same as the row twice, weight
            0 the same as no such row.

        Returns
        -------
        self : object
            The fitted estimator. If fit fails or is interrupted, the estimator keeps
            its previous state.

        Raises
        ------
        ValueError
            If the input is invalid, or y has one class only, or more than two; the
            message names the parameter and how to fix it.
        TypeError
            If the ids of a column are not all of one sortable kind.
        FloatingPointError
            If the fit overflows.
        """
        return self._fit(X, y, sample_weight)

    @available_if(_weighs_parts)
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(  # type: ignore[override]  # in the order of scikit-learn
        self,
        X: TableLike | SparseMatrix,
        y: npt.ArrayLike | None = None,
        classes: npt.ArrayLike | None = None,
        sample_weight: npt.ArrayLike | None = None,
    ) -> Self:
        """Learn from more answers, in one epoch over them.

        Users and items that come with these answers join the model; those that do not
        occur in them stay as they are. The optimizer continues where it stopped, also
        after `fit`. Called repeatedly with the same answers, this is what `fit` does.

        Parameters
        ----------
        X, y : table, array-like
            Answers; see `fit`. Only the first call takes a sparse matrix alone. μ
            becomes the logit of the mean of all answers seen so far. Without
            `weighted_regularization`, each call carries the whole penalty of the rows
            that it touches.
        classes : array-like of shape (2,) or None, default=None
            The labels of both classes. The first call needs them if its y has only one
            of them; later calls do not.
        sample_weight : array-like of shape (n_answers,) or None, default=None
            Weights; see `fit`.

        Returns
        -------
        self : object
            The fitted estimator. If partial_fit fails or is interrupted, it keeps its
            previous state.

        Raises
        ------
        ValueError, TypeError, FloatingPointError
            See `fit`; also if `classes` are not those of before.
        AttributeError
            If `class_weight` is "balanced", which needs all answers.
        """
        labels: Any = None if classes is None else read_classes(classes)
        if labels is not None and hasattr(self, "classes_"):
            given, known = labels.tolist(), self.classes_.tolist()
            if given != known:
                raise ValueError(
                    f"classes={given} are not those of before, {known}: leave classes "
                    "out, or call fit again."
                )
        return self._partial_fit(X, y, sample_weight, labels=labels)

    @property
    def _default_penalty(self):
        return 1.2

    def _count_scale(self, ratings):
        """Return what noise alone would have factors explain, over the mean of c.

        The largest singular value of independent numbers of variance σ², n̄_u in a row
        and n̄_i in a column, is near σ (√n̄_u + √n̄_i).
        """
        total = ratings.total_weight()
        share = (total * ratings.mean() + 0.5) / (total + 1)  # never 0 or 1
        penalty = Penalty(1.0, exponent=float(self.weighted_regularization))
        size, counts = 0.0, []
        for side in (ratings.by_user, ratings.by_item):
            n_ids = np.count_nonzero(side.counts())
            weights = side.weights
            squares = len(side.ratings) if weights is None else np.square(weights).sum()
            size += (squares / n_ids) ** 0.5
            counts.append(penalty.counts(side)[side.counts() > 0])
        return (share * (1 - share)) ** 0.5 * size / np.concatenate(counts).mean()

    # --------------------------------------------------------------------- answering

    def decision_function(self, X: TableLike) -> npt.NDArray[np.floating]:
        """Return the logit of the probability of the second class for each pair.

        Parameters
        ----------
        X : table of shape (n_pairs, n_features)
            One pair in each row; see `predict`.

        Returns
        -------
        ndarray of shape (n_pairs,)
            The scores z, of the dtype of the factors. `predict` chooses the second of
            `classes_` where they are above 0.

        Raises
        ------
        ValueError
            See `predict`.
        """
        model = self._snapshot()
        intercept = to_intercept(model.global_mean_, logistic=True)
        parameters = tuple(map(vars(model).get, PARAMETERS))
        pairs = model._read_pairs(X)
        return predict_codes(pairs, intercept, False, parameters, model.n_jobs)
