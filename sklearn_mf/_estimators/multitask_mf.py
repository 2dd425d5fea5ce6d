"""Two tasks on shared factors: which items users choose, and how they rate them."""

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Literal

import numpy as np
import numpy.typing as npt
from sklearn.utils._param_validation import StrOptions

from sklearn_mf._data.arguments import COUNT, Interval
from sklearn_mf._estimators.base import PARAMETERS, BaseFactorizer, RegressionMixin
from sklearn_mf._estimators.early_stopping import EarlyStoppingMixin
from sklearn_mf._files import checks
from sklearn_mf._model.perceptron import draw_layers, lay_out, predict_pairs
from sklearn_mf._model.scoring import predict_codes, score_in_blocks
from sklearn_mf._solvers.two_tasks.kernels import JointLoss
from sklearn_mf._solvers.two_tasks.solver import TwoTasks, TwoTasksParameters
from sklearn_mf._typing import TableLike

MAX_BATCH = 256
MIN_BATCHES = 64  # an epoch of fewer steps would learn little: see `batch_size`


def check_layers(name, coefs, known):
    """Check the layers of the network, which reads three vectors of factors."""
    intercepts = known.fitted.get("intercepts_")
    checks.demand(
        isinstance(coefs, list)
        and isinstance(intercepts, list)
        and 0 < len(coefs) == len(intercepts),
        name,
        "does not have a layer for each of intercepts_, which are one or more",
    )
    checks.demand(np.size(intercepts[-1]) < 2, name, "has more than one output")
    n_inputs = 3 * known.sizes["factors"]
    for at, (weights, biases) in enumerate(zip(coefs, intercepts, strict=True)):
        n_outputs = np.size(biases)
        checks.demand(n_outputs > 0, f"intercepts_[{at}]", "is empty")
        checks.check_array(f"{name}[{at}]", weights, (n_inputs, n_outputs), known)
        checks.check_array(f"intercepts_[{at}]", biases, (n_outputs,), known)
        n_inputs = n_outputs


class MultiTaskMF(RegressionMixin, EarlyStoppingMixin, BaseFactorizer):
    """Factorisation that predicts interactions and ratings with shared factors.

    The probability that user u interacts with item i, and the rating if so, are::

        p(u,i) = σ(s(u,i)),  s(u,i) = p_u · q_i + b_u + b_i
        r̂(u,i) = μ + f(p'_u, q'_i, p'_u ∘ q'_i)

    with factors p and q of length `n_factors`, biases b, and a multi-layer perceptron f
    with rectified hidden units that reads the same factors, p' = p and q' = q, or with
    ``shared_embeddings=False`` factors of its own. They minimise the mean over the
    ratings, with weights w (one each by default), of::

        λ_F ℓ_F(u,i,j) + λ (‖p_u‖² + ‖q_i‖²)
          + λ_R ((r_ui − r̂_ui)² / s² + α (‖W‖² + ‖p'_u‖² + ‖q'_i‖²))

    where r are the ratings y, s is `rating_scale_`, λ_F is `factorization_weight`, λ_R
    is `regression_weight`, λ is `regularization`, α is `regression_regularization`, W
    are the weights of f (without its biases), shared factors are in the first penalty
    alone, μ is the weighted mean of the ratings (0 without `fit_intercept`), and j is
    an item that the user has not rated, drawn uniformly in each epoch. ℓ_F is −log
    σ(s(u,i) − s(u,j)) with ``interaction_loss="bpr"`` [1]_, and with "logistic" −log
    σ(s(u,i)) − log σ(−s(u,j)). Batches step along the gradient by Adam [2]_.

    Parameters
    ----------
    n_factors : int, default=32
        Length d of the factors.
    hidden_layer_sizes : tuple of int, default=(64,)
        Width of each hidden layer of f; () makes f linear. With h the width of the
        first, an epoch costs about 9 · n_ratings · d · h multiplications: a third for
        the predictions, two thirds for their gradients.
    shared_embeddings : bool, default=True
        Whether f reads the factors of the interactions. False: it has its own, and the
        two tasks learn nothing from each other.
    interaction_loss : {"bpr", "logistic"}, default="bpr"
        "bpr" learns to rank the items that a user interacted with before others, and
        leaves b_u at 0; "logistic" also learns the probability of an interaction, among
        equally many interactions and drawn items.
    factorization_weight : float, default=0.99
        The weight λ_F ≥ 0 of the interactions.
    regression_weight : float, default=0.01
        The weight λ_R ≥ 0 of the ratings. With a small weight, shared factors mostly
        follow the interactions, of which there is more to learn.
    regularization : float, default=0.01
        The penalty λ ≥ 0 of the factors of the interactions, shared or not. Typical:
        0.002 to 0.02. Larger values rank worse.
    regression_regularization : float, default=0.002
        The penalty α ≥ 0 of what only the ratings use: the weights of f, and with
        ``shared_embeddings=False`` its factors p' and q'. It is part of the loss that
        `regression_weight` multiplies. Typical: 0.0003 to 0.01. Larger values overfit
        the ratings less and later, and where the factors are shared leave more of them
        to the interactions, which ranks better; above a point f predicts μ.
    fit_intercept : bool, default=True
        Whether μ comes from the mean of the ratings. False: μ = 0.
    learning_rate : float, default=0.001
        Length γ > 0 of a step of Adam. Typical: 0.0003 to 0.01.
    batch_size : int or "auto", default="auto"
        Number of ratings whose gradient is averaged for one step. "auto": 256, or a
        64th of the ratings if that is less.
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
        Whether to hold ratings out, score their predictions after each epoch, and
        restore the best epoch. f fits the ratings ever closer: turn this on, or choose
        `max_iter`, for good predictions.
    validation_fraction : float, default=0.1
        Fraction of the ratings to hold out, in (0, 1). Every user and item keeps at
        least one rating.
    init_scale : float, default=0.05
        Standard deviation of the entries of the random factors that the fit begins
        with. f begins uniformly within ±1/√n of each layer with n inputs.
    clip : bool, default=True
        Whether predicted ratings are clipped to the range of the ratings seen in fit.
    warm_start : bool, default=False
        Whether fit continues from the parameters of the previous fit, for the ids that
        it knew, instead of starting over.
    user_column, item_column : int or str, default=0 and 1
        Position, or name in a DataFrame, of the columns of X that hold the user and
        the item. Other columns are not read.
    n_jobs : int or None, default=None
        Number of threads. None: all cores that the process may use, or `n_jobs` of an
        enclosing `joblib.parallel_config`, but one thread in a worker of joblib or
        Dask. -1: all cores. The result is bit-identical for any number. Gradients are
        computed in threads if `batch_size` is some thousands or more: see Notes.
    random_state : int, RandomState instance or None, default=None
        Seed of the start, of the orders, of the drawn items and of what is held out.
        An int gives the same result at each fit.
    verbose : bool or int, default=False
        Whether to print the joint loss after each epoch. For progress bars, pass
        `sklearn.callback.ProgressBar` to `set_callbacks`.

    Attributes
    ----------
    user_factors_ : ndarray of shape (n_users, n_factors)
        Factors p, a row for each of `users_`: float32 if y was, else float64.
    item_factors_ : ndarray of shape (n_items, n_factors)
        Factors q, a row for each of `items_`.
    user_biases_, item_biases_ : ndarrays of shape (n_users,) and (n_items,)
        Biases b of the interactions.
    user_rating_factors_ : ndarray of shape (n_users, n_factors)
        Factors p' that f reads; `user_factors_` if they are shared.
    item_rating_factors_ : ndarray of shape (n_items, n_factors)
        Factors q' that f reads; `item_factors_` if they are shared.
    coefs_ : list of ndarrays of shape (n_inputs, n_outputs)
        Weights of each layer of f, as in `sklearn.neural_network.MLPRegressor`.
    intercepts_ : list of ndarrays of shape (n_outputs,)
        Biases of each layer of f.
    global_mean_ : float
        The constant μ.
    users_, items_ : ndarrays of shape (n_users,) and (n_items,)
        The ids seen, sorted. For a sparse matrix, all its rows and columns.
    seen_indptr_, seen_indices_ : int64 and int32 ndarrays
        Which items each user rated, as compressed sparse rows: those of ``users_[u]``
        are ``items_[seen_indices_[seen_indptr_[u]:seen_indptr_[u + 1]]]``.
    rating_scale_ : float
        The weighted standard deviation of the ratings about μ, the unit in which the
        network works; 1.0 where all are equal.
    rating_range_ : (float, float)
        The smallest and the largest rating seen.
    n_iter_ : int
        Number of epochs run.
    best_iter_ : int
        The epoch, counted from 1, whose parameters these are.
    loss_curve_ : dict of lists of float
        "joint", "factorization" and "regression": what is minimised, the mean of ℓ_F
        and the mean squared error, for each epoch, with the loss of each rating at the
        time of its step.
    validation_scores_ : list of float or None
        After each epoch −RMSE of the held-out ratings. None without `early_stopping`.
    n_features_in_ : int
        Number of columns of X. Not set by a fit on a sparse matrix.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns of X, where X was a DataFrame with string names.

    See Also
    --------
    BiasedMF : Predicts ratings alone, usually more accurately.
    ALSFactorizer : With `unobserved_weight`, learns from interactions alone.

    Notes
    -----
    `recommend`, `similar_items`, `similar_users` and `transform` go by the
    interactions, `predict` and `score` by the ratings. An unseen id has factors and
    biases of zero.

    Batches depend on one another, so small ones, such as those of the default
    `batch_size`, are computed in one thread. Of a large batch the gradients are
    computed in blocks, each of about 30 million multiplications, which threads share;
    users, items and f then step in parallel. A batch updates only the rows of users
    and items that it contains, and their moments; the bias corrections of Adam go by
    the number of all batches, so that the first steps with a rare id are long.

    References
    ----------
    .. [1] S. Rendle, C. Freudenthaler, Z. Gantner and L. Schmidt-Thieme (2009). "BPR:
       Bayesian Personalized Ranking from Implicit Feedback". UAI 2009, section 4.1.
    .. [2] D. Kingma and J. Ba (2015). "Adam: A Method for Stochastic Optimization".
       ICLR 2015, algorithm 1.
    .. [3] X. He, L. Liao, H. Zhang, L. Nie, X. Hu and T.-S. Chua (2017). "Neural
       Collaborative Filtering". WWW 2017, sections 3.2 and 3.3.

    Examples
    --------
    >>> from sklearn.model_selection import train_test_split
    >>> from sklearn_mf import MultiTaskMF
    >>> from sklearn_mf.datasets import make_ratings
    >>> X, y = make_ratings(random_state=0)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    >>> model = MultiTaskMF(early_stopping=True, random_state=0)
    >>> model.fit(X_train, y_train)
    MultiTaskMF(early_stopping=True, random_state=0)
    >>> round(-model.score(X_test, y_test), 1)  # root mean squared error, in stars
    0.8
    >>> items, probabilities = model.recommend([7, 8], n_items=3)
    >>> items.shape
    (2, 3)
    """

    user_rating_factors_: npt.NDArray[np.floating]
    item_rating_factors_: npt.NDArray[np.floating]
    coefs_: list[npt.NDArray[np.floating]]
    intercepts_: list[npt.NDArray[np.floating]]
    loss_curve_: dict[str, list[float]]

    _fitted: dict = {
        **BaseFactorizer._fitted,
        **BaseFactorizer._fitted_biases,
        **EarlyStoppingMixin._fitted,
        "user_rating_factors_": ("users", "factors"),
        "item_rating_factors_": ("items", "factors"),
        "coefs_": check_layers,
        "intercepts_": lambda name, value, known: None,  # by those of coefs_
        "loss_curve_": checks.curves("joint", "factorization", "regression"),
    }

    _parameter_constraints: dict = {
        **BaseFactorizer._parameter_constraints,
        **EarlyStoppingMixin._parameter_constraints,
        "hidden_layer_sizes": ["array-like"],
        "shared_embeddings": ["boolean"],
        "interaction_loss": [StrOptions({"bpr", "logistic"})],
        "factorization_weight": [Interval(Real, 0, None, closed="left")],
        "regression_weight": [Interval(Real, 0, None, closed="left")],
        "regularization": [Interval(Real, 0, None, closed="left")],
        "regression_regularization": [Interval(Real, 0, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "batch_size": [
            Interval(Integral, 1, None, closed="left"),
            StrOptions({"auto"}),
        ],
    }

    def __init__(
        self,
        n_factors: int = 32,
        *,
        hidden_layer_sizes: Sequence[int] = (64,),
        shared_embeddings: bool = True,
        interaction_loss: Literal["bpr", "logistic"] = "bpr",
        factorization_weight: float = 0.99,
        regression_weight: float = 0.01,
        regularization: float = 0.01,
        regression_regularization: float = 0.002,
        fit_intercept: bool = True,
        learning_rate: float = 0.001,
        batch_size: int | Literal["auto"] = "auto",
        max_iter: int = 200,
        tol: float | None = 0.005,
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
        self.hidden_layer_sizes = hidden_layer_sizes
        self.shared_embeddings = shared_embeddings
        self.interaction_loss = interaction_loss
        self.factorization_weight = factorization_weight
        self.regression_weight = regression_weight
        self.regularization = regularization
        self.regression_regularization = regression_regularization
        self.fit_intercept = fit_intercept
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

    def predict_interaction(self, X: TableLike) -> npt.NDArray[np.floating]:
        """Predict the probability that a user interacts with an item.

        Parameters
        ----------
        X : table of shape (n_pairs, n_features)
            One pair in each row; see `predict`.

        Returns
        -------
        ndarray of shape (n_pairs,)
            Of the dtype of the factors. With ``interaction_loss="logistic"`` they are
            probabilities among equally many interactions and drawn items; with "bpr"
            only the order of a user's items means something. An unseen id has factors
            and a bias of zero.

        Raises
        ------
        ValueError
            See `predict`.
        """
        model = self._snapshot()
        pairs = model._read_pairs(X)
        return model._score_recommended(vars(model), pairs)

    def _score_recommended(self, learnt, pairs):
        parameters = tuple(map(learnt.get, PARAMETERS))
        return predict_codes(pairs, 0.0, True, parameters, self.n_jobs)

    @property
    def _popularity_weight(self):
        return 0.0

    def _check_options(self):
        sizes = self.hidden_layer_sizes
        if np.ndim(np.asarray(sizes, dtype=object)) != 1 or not all(
            map(COUNT.is_satisfied_by, sizes)
        ):
            raise ValueError(
                f"hidden_layer_sizes={sizes!r} must be widths of layers, ints above 0: "
                "(64,) for one layer."
            )
        if not (self.factorization_weight or self.regression_weight):
            raise ValueError(
                "factorization_weight and regression_weight are both 0, which leaves "
                "nothing to learn: raise one of them."
            )

    def _sizes(self):
        """Return the width of the network's input, hidden layers and output."""
        return [3 * int(self.n_factors), *map(int, self.hidden_layer_sizes), 1]

    def _draw(self, ratings, rng):
        return TwoTasksParameters.draw(
            ratings,
            self.n_factors,
            biased=True,
            scale=self.init_scale,
            rng=rng,
            n_parts=1 if self.shared_embeddings else 2,
        )

    def _parameters(self):
        return TwoTasksParameters.of(self, self._biased)

    def _make_solver(self, problem, previous):
        sizes, dtype = self._sizes(), problem.ratings.dtype
        layers = draw_layers(sizes, problem.rng, dtype)
        if previous is not None:
            layers = self._take_layers(previous, sizes, dtype)
        problem.start.layers = layers
        joint_loss = JointLoss(
            bpr=self.interaction_loss == "bpr",
            factorization=self.factorization_weight,
            regression=self.regression_weight,
            regularization=self.regularization,
            regression_regularization=self.regression_regularization,
        )
        return TwoTasks(
            problem,
            joint_loss,
            scale=self.rating_scale_,
            batch_size=self._count_pairs(problem.ratings),
            learning_rate=self.learning_rate,
        )

    def _baseline(self, ratings, mean):
        n_pairs = 1 if self.interaction_loss == "bpr" else 2
        chance = n_pairs * math.log(2)
        return self.factorization_weight * chance + self.regression_weight

    def _count_pairs(self, ratings):
        """Return the number of ratings of a batch."""
        if self.batch_size != "auto":
            return int(self.batch_size)
        n_ratings = len(ratings.by_user.ratings)
        return int(np.clip(n_ratings // MIN_BATCHES, 1, MAX_BATCH))

    def _take_layers(self, previous, sizes, dtype):
        """Return the layers of the network of a previous fit."""
        fitted = [len(weights) for weights in previous.coefs_]
        if fitted != sizes[:-1]:
            raise ValueError(
                f"hidden_layer_sizes={self.hidden_layer_sizes!r}, but the fit to "
                f"continue from has {tuple(fitted[1:])}: set it back, or start over "
                "with warm_start=False."
            )
        layers = [
            tuple(part.astype(dtype) for part in layer)
            for layer in zip(previous.coefs_, previous.intercepts_, strict=True)
        ]
        # The last one gives ratings in their unit.
        layers[-1] = tuple(part / dtype.type(self.rating_scale_) for part in layers[-1])
        return layers

    def _attributes(self, problem, solver, parameters):
        curves = {name: list(curve) for name, curve in solver.losses.items()}
        attributes = super()._attributes(problem, solver, parameters)
        return attributes | {"loss_curve_": curves}

    def _predict_from(self, learnt, pairs, n_jobs):
        users, items = learnt["user_rating_factors_"], learnt["item_rating_factors_"]
        layers = zip(learnt["coefs_"], learnt["intercepts_"], strict=True)
        perceptron, mean = lay_out(layers), users.dtype.type(learnt["global_mean_"])
        return score_in_blocks(
            predict_pairs, pairs, users.dtype, n_jobs, users, items, perceptron, mean
        )

    def _remedy(self):
        return (
            f"Lower learning_rate={self.learning_rate} or init_scale="
            f"{self.init_scale}, or scale y down."
        )
