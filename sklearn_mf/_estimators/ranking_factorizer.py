"""Factors that rank, learnt from interactions alone."""

from numbers import Integral, Real
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
from sklearn.utils import check_consistent_length
from sklearn.utils._param_validation import StrOptions

from sklearn_mf._data.arguments import Interval
from sklearn_mf._data.tables import (
    read_ratings,
    read_targets,
    read_weights,
    weigh_interactions,
)
from sklearn_mf._estimators.base import (
    BaseFactorizer,
    RegressionMixin,
    warn_of_cold_start,
)
from sklearn_mf._estimators.early_stopping import EarlyStoppingMixin
from sklearn_mf._model.ranking import Queries, rank_items
from sklearn_mf._solvers.ranking.solver import RankingDescent, RankingLoss, chance
from sklearn_mf._typing import SparseMatrix, TableLike, fit_context

# Where s is the cosine divided by the temperature; "ccl" has a margin in its place.
TEMPERATURES = {"bpr": 0.2, "warp": 0.35, "softmax": 0.15}
N_NEGATIVES = {"softmax": 1024, "bpr": 64, "warp": 256, "ccl": 1024}
VALIDATION_SCORES = 2**25  # scores of items, at most, that a validation computes


class RankingFactorizer(RegressionMixin, EarlyStoppingMixin, BaseFactorizer):
    """Factors that rank the items of each user, learnt from interactions alone.

    An interaction is a user with an item that the user bought, played or clicked. The
    score of a pair, by which `recommend` ranks, is::

        s(u,i) = p_u · q_i / (‖p_u‖ ‖q_i‖)      similarity="cosine"
        s(u,i) = p_u · q_i + b_i                 similarity="dot"

    with factors p and q of length `n_factors` and, under "dot", a bias b of each item.
    They are to give the items that a user interacted with higher scores than all other
    items, and minimise the mean over the interactions (u, i), with weights w, of::

        ℓ(u,i) + λ (‖p_u‖² + ‖q_i‖²)             (no penalty under "cosine")

    where λ is `regularization`. J are items that are drawn and with which u has not
    interacted, N_u of them; with z = s / τ, where τ is `temperature`, ℓ is

    - ``loss="softmax"`` [1]_: −log of the probability of i among i and J,
      e^z(u,i) / (e^z(u,i) + Σ_J e^z(u,j) / (N π_j)), where N items were drawn, with
      probability π_j each, so that the sum stands for that over all items without
      interaction, however they were drawn;
    - ``loss="bpr"`` [2]_: Σ_J log(1 + e^(z(u,j) − z(u,i))) / N_u, which learns to put i
      before each other item, wherever they stand in the list;
    - ``loss="warp"`` [3]_: log(1 + ⌊n_u / t⌋) · (1 − z(u,i) + z(u,j)) for the first j,
      the t-th that is looked at, with z(u,j) > z(u,i) − 1, and 0 if there is none; n_u
      is the number of items without interaction, and n_u / t tells the rank of i. So
      errors at the top of the list count most;
    - ``loss="ccl"`` [4]_: 1 − s(u,i) + ω Σ_J max(0, s(u,j) − m) / N_u, the cosine
      contrastive loss, where m is `margin` and ω is `negative_weight`; with cosines
      only.

    Parameters
    ----------
    n_factors : int, default=64
        Length d of the factors.
    loss : {"softmax", "bpr", "warp", "ccl"}, default="softmax"
        The loss ℓ. "softmax" ranked best in most measurements.
    similarity : {"cosine", "dot"}, default="cosine"
        How a user and an item are compared. Cosines cannot grow, and so need no
        penalty, and a popular item gets no advantage from the length of its factors.
    temperature : float or "auto", default="auto"
        The number τ > 0. The smaller it is, the more the items that a user is most
        likely to take by mistake count. "auto": with cosines 0.15 for "softmax",
        0.2 for "bpr" and 0.35 for "warp"; 1 with "dot". Not used by "ccl". Typical
        numbers with cosines are 0.05 to 0.5.
    margin : float, default=0.4
        The cosine m, in [-1, 1), that items without interaction may have at no cost
        under "ccl".
    negative_weight : float, default=20.0
        The weight ω > 0 of the items without interaction under "ccl".
    n_negatives : int or "auto", default="auto"
        Number N of items that are drawn for each batch, at most all. Each user of the
        batch is compared with those with which the user has not interacted; "warp"
        looks at them one by one. More are more exact and cost more time. "auto": 1024
        for "softmax" and "ccl", 256 for "warp" and 64 for "bpr".
    popularity_exponent : float, default=0.0
        The power β ≥ 0: an item is drawn with a probability π in proportion to (the sum
        of its weights)^β. 0: all items are equally likely.
    regularization : float, default=0.01
        The penalty λ ≥ 0 under "dot". With cosines it has no effect.
    optimizer : {"adagrad", "adam", "sgd"}, default="adagrad"
        How steps are taken along the gradient; see `SGDFactorizer`.
    learning_rate : float, default=0.1
        Length γ > 0 of a step. Typical: 0.03 to 0.3 for "adagrad", 0.001 to 0.01 for
        "adam".
    batch_size : int or "auto", default="auto"
        Number of users of a batch, each with up to 16 of its interactions; a user who
        has more comes in several batches. "auto": 256, or a 64th of what an epoch
        consists of if that is less.
    max_iter : int, default=200
        The largest number of epochs, which are passes over all interactions.
    tol : float or None, default=0.005
        An epoch counts as progress if the improvement that the last epochs let one
        expect is more than this fraction of what the fit has gained so far: of the gain
        over a model whose scores are all equal, of that since the first epoch, and of
        the objective, whichever is least. With `early_stopping` it counts as progress
        if it raises the validation score by more than this fraction. None: always run
        `max_iter` epochs, or with `early_stopping` until the score falls.
    n_iter_no_change : int, default=3
        Stop after this many epochs in a row without progress, or after five times as
        many as long as nothing has been learnt.
    early_stopping : bool, default=False
        Whether to hold interactions out, score them after each epoch, and restore the
        best epoch.
    validation_fraction : float, default=0.1
        Fraction of the interactions to hold out, in (0, 1). Every user and item keeps
        at least one.
    init_scale : float, default=0.1
        Standard deviation of the entries of the random factors that the fit begins
        with. With cosines only their direction counts.
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
        Seed of the start, of the batches, of the drawn items and of what is held out.
        An int gives the same result at each fit.
    verbose : bool or int, default=False
        Whether to print the objective after each epoch. For progress bars, pass
        `sklearn.callback.ProgressBar` to `set_callbacks`.

    Attributes
    ----------
    user_factors_ : ndarray of shape (n_users, n_factors)
        Factors p, a row for each of `users_`: float32 if y was, else float64. With
        cosines they have length 1.
    item_factors_ : ndarray of shape (n_items, n_factors)
        Factors q, a row for each of `items_`; likewise.
    user_biases_ : ndarray of shape (n_users,)
        Zeros: what is the same for all items does not rank.
    item_biases_ : ndarray of shape (n_items,)
        Biases b; zeros with cosines.
    global_mean_ : float
        0.0: scores have no constant.
    users_, items_ : ndarrays of shape (n_users,) and (n_items,)
        The ids seen, sorted. For a sparse matrix, all its rows and columns.
    seen_indptr_, seen_indices_ : int64 and int32 ndarrays
        Which items each user interacted with, as compressed sparse rows: those of user
        ``users_[u]`` are ``items_[seen_indices_[start:stop]]`` with ``start, stop =
        seen_indptr_[u : u + 2]``.
    n_iter_ : int
        Number of epochs run.
    best_iter_ : int
        The epoch, counted from 1, whose parameters these are.
    loss_curve_ : list of float
        Value of the objective after each epoch, with the loss of each interaction at
        the time of its step.
    validation_scores_ : list of float or None
        After each epoch the score of the held-out interactions; see `score`. Where
        there are many users and items it is that of some users, the same each time.
        None without `early_stopping`.
    n_features_in_ : int
        Number of columns of X. Not set by a fit on a sparse matrix.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns of X, where X was a DataFrame with string names.

    See Also
    --------
    ALSFactorizer : With `unobserved_weight`, ranks by squared error over all pairs.
    MultiTaskMF : Learns interactions and ratings together.

    Notes
    -----
    The items that are drawn for a batch are negatives for all its users, so that their
    scores are a product of two small matrices. An epoch costs about
    (n_interactions / 16 + n_users / 2) · 3 d N multiplications.

    An item is drawn N π_j times on average. The draws of a batch are spread evenly over
    all items (a stratified sample), so that these numbers vary less than those of
    independent draws; with N as large as the number of items and β = 0 each item is
    drawn once, and the losses are exact.

    The rows of a batch are divided among threads in blocks whose number depends on the
    data alone, and so do the bits of the result.

    References
    ----------
    .. [1] Y. Bengio and J.-S. Senécal (2008). "Adaptive Importance Sampling to
       Accelerate Training of a Neural Probabilistic Language Model". IEEE Transactions
       on Neural Networks 19(4), section III; with cosines: J. Wu, X. Wang, X. Gao, J.
       Chen, H. Fu and T. Qiu (2024). "On the Effectiveness of Sampled Softmax Loss for
       Item Recommendation". ACM Transactions on Information Systems 42(4), equation 3.
    .. [2] S. Rendle, C. Freudenthaler, Z. Gantner and L. Schmidt-Thieme (2009). "BPR:
       Bayesian Personalized Ranking from Implicit Feedback". UAI 2009, section 4.1.
    .. [3] J. Weston, S. Bengio and N. Usunier (2011). "WSABIE: Scaling Up To Large
       Vocabulary Image Annotation". IJCAI 2011, section 3.
    .. [4] K. Mao, J. Zhu, J. Wang, Q. Dai, Z. Dong, X. Xiao and X. He (2021). "SimpleX:
       A Simple and Strong Baseline for Collaborative Filtering". CIKM 2021, equation 1.

    Examples
    --------
    >>> from sklearn_mf import RankingFactorizer
    >>> X = [["ann", "up"], ["ann", "heat"], ["bob", "up"], ["bob", "heat"],
    ...      ["cat", "up"], ["dan", "cars"], ["eve", "cars"]]
    >>> model = RankingFactorizer(n_factors=4, random_state=0).fit(X)
    >>> items, scores = model.recommend(["cat"], n_items=1)
    >>> items.tolist()
    [['heat']]
    """

    loss_curve_: list[float]

    _fitted: dict = {
        **{
            name: declared
            for name, declared in BaseFactorizer._fitted.items()
            if not name.startswith("rating_")
        },
        **BaseFactorizer._fitted_biases,
        **EarlyStoppingMixin._fitted,
    }

    _parameter_constraints: dict = {
        **{
            name: constraint
            for name, constraint in BaseFactorizer._parameter_constraints.items()
            if name not in ("fit_intercept", "clip")
        },
        **EarlyStoppingMixin._parameter_constraints,
        "loss": [StrOptions({"softmax", "bpr", "warp", "ccl"})],
        "similarity": [StrOptions({"cosine", "dot"})],
        "temperature": [
            Interval(Real, 0, None, closed="neither"),
            StrOptions({"auto"}),
        ],
        "margin": [Interval(Real, -1, 1, closed="left")],
        "negative_weight": [Interval(Real, 0, None, closed="neither")],
        "n_negatives": [
            Interval(Integral, 1, None, closed="left"),
            StrOptions({"auto"}),
        ],
        "popularity_exponent": [Interval(Real, 0, None, closed="left")],
        "regularization": [Interval(Real, 0, None, closed="left")],
        "optimizer": [StrOptions({"sgd", "adagrad", "adam"})],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "batch_size": [
            Interval(Integral, 1, None, closed="left"),
            StrOptions({"auto"}),
        ],
    }

    def __init__(
        self,
        n_factors: int = 64,
        *,
        loss: Literal["softmax", "bpr", "warp", "ccl"] = "softmax",
        similarity: Literal["cosine", "dot"] = "cosine",
        temperature: float | Literal["auto"] = "auto",
        margin: float = 0.4,
        negative_weight: float = 20.0,
        n_negatives: int | Literal["auto"] = "auto",
        popularity_exponent: float = 0.0,
        regularization: float = 0.01,
        optimizer: Literal["adagrad", "adam", "sgd"] = "adagrad",
        learning_rate: float = 0.1,
        batch_size: int | Literal["auto"] = "auto",
        max_iter: int = 200,
        tol: float | None = 0.005,
        n_iter_no_change: int = 3,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        init_scale: float = 0.1,
        warm_start: bool = False,
        user_column: int | str = 0,
        item_column: int | str = 1,
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool | int = False,
    ) -> None:
        self.n_factors = n_factors
        self.loss = loss
        self.similarity = similarity
        self.temperature = temperature
        self.margin = margin
        self.negative_weight = negative_weight
        self.n_negatives = n_negatives
        self.popularity_exponent = popularity_exponent
        self.regularization = regularization
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.batch_size = batch_size
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
        """Learn the factors from interactions.

        Parameters
        ----------
        X : table of shape (n_interactions, n_features), or sparse matrix
            One interaction a row: `user_column` and `item_column` hold its user and its
            item, ids of any sortable kind. An array, a list of lists, or a DataFrame.
            Or a scipy.sparse matrix of shape (n_users, n_items) alone, with y=None,
            whose stored entries are the confidences.
        y : array-like of shape (n_interactions,) or None, default=None
            How much each interaction counts, 0 or more: its confidence, such as the
            number of plays. Interactions of a pair that occurs twice are one, whose
            confidence is the sum, and one of confidence 0 is as if it were not there.
            None: all count the same. float32 is fitted in float32, everything else in
            float64.
        sample_weight : array-like of shape (n_interactions,) or None, default=None
            By what y is multiplied.

        Returns
        -------
        self : object
            The fitted estimator. If fit fails or is interrupted, the estimator keeps
            its previous state.

        Raises
        ------
        ValueError
            If the input is invalid; the message names the parameter and how to fix it.
        TypeError
            If the ids of a column are not all of one sortable kind.
        FloatingPointError
            If the fit overflows.
        """
        return self._fit(X, y, sample_weight)

    def _read(self, X, y, sample_weight, *, known=None, dtype=None):
        return read_ratings(
            self, X, y, sample_weight, known=known, dtype=dtype, interactions=True
        )

    _popularity_weight = 0.0

    def _set_scale(self, ratings, mean):
        """Interactions have no unit."""

    def _mean(self, ratings):
        return 0.0

    def _check_options(self):
        if self.loss == "ccl" and self.similarity != "cosine":
            raise ValueError(
                f"similarity={self.similarity!r} does not go with loss='ccl', which "
                "compares cosines: set similarity='cosine', or another loss."
            )

    def _temperature(self):
        if self.loss == "ccl":
            return 1.0
        if self.temperature != "auto":
            return self.temperature
        return TEMPERATURES[self.loss] if self.similarity == "cosine" else 1.0

    def _n_draws(self):
        n_draws = self.n_negatives
        return N_NEGATIVES[self.loss] if n_draws == "auto" else int(n_draws)

    def _make_solver(self, problem, previous):
        return RankingDescent(
            problem,
            RankingLoss(
                loss=self.loss,
                sphere=self.similarity == "cosine",
                scale=1 / self._temperature(),
                margin=self.margin,
                negative_weight=self.negative_weight,
                regularization=self.regularization,
                n_draws=self._n_draws(),
                popularity_exponent=float(self.popularity_exponent),
                optimizer=self.optimizer,
                rate=self.learning_rate,
                batch_size=None if self.batch_size == "auto" else int(self.batch_size),
            ),
        )

    def _baseline(self, ratings, mean):
        return chance(self.loss, ratings)

    def _validation(self, held_out, seen, n_jobs):
        if held_out is None:
            return None
        users = np.unique(held_out.users)
        n_users = min(max(1, VALIDATION_SCORES // len(seen.items)), len(users))
        some = users[np.linspace(0, len(users) - 1, n_users).astype(int)]
        kept = np.isin(held_out.users, some)
        weights = None if held_out.weights is None else held_out.weights[kept]
        pairs = held_out.users[kept], held_out.items[kept], weights
        pattern = seen.by_user.indptr, seen.by_user.indices

        def validate(parameters):
            learnt = parameters.attributes()
            return mean_reciprocal_rank(learnt, pattern, *pairs, n_jobs)

        return validate

    def _attributes(self, problem, solver, parameters):
        attributes = super()._attributes(problem, solver, parameters)
        del attributes["rating_range_"]
        return attributes

    def _remedy(self):
        return (
            f"Lower learning_rate={self.learning_rate:g}, or with similarity='dot' "
            f"init_scale={self.init_scale:g}."
        )

    def _clip_range(self):
        return None

    def predict(self, X: TableLike) -> npt.NDArray[np.floating]:
        """Return the score of each pair, by which `recommend` ranks.

        Parameters
        ----------
        X : table of shape (n_pairs, n_features)
            One pair in each row, with the columns that X had in fit; see `fit`.

        Returns
        -------
        ndarray of shape (n_pairs,)
            Scores s, of the dtype of the factors: cosines, or with ``similarity="dot"``
            numbers of which only the order among the items of one user means
            something. An unseen id has factors and a bias of zero.

        Raises
        ------
        ValueError
            If X is a sparse matrix, or its ids have a different type than in fit.
        """
        return super().predict(X)

    def score(
        self,
        X: TableLike,
        y: npt.ArrayLike | None = None,
        sample_weight: npt.ArrayLike | None = None,
    ) -> float:
        """Return the mean reciprocal rank of the interactions.

        The item of each interaction is ranked by its score among the items with which
        its user has interacted neither in fit nor in X; items of equal score share the
        mean of their ranks. So the score is exact, and means the same for the
        interactions of fit and for others.

        Parameters
        ----------
        X : table of shape (n_interactions, n_features)
            One interaction a row; see `predict`.
        y : array-like of shape (n_interactions,) or None, default=None
            Their confidences, as in `fit`.
        sample_weight : array-like of shape (n_interactions,) or None, default=None
            By what y is multiplied.

        Returns
        -------
        float
            The mean of 1 / rank, weighted by confidence: higher is better, 1 is
            perfect. An item that was not seen in fit counts as 0.

        Warns
        -----
        ColdStartWarning
            If more than half of the distinct users of X were not seen in fit.
        """
        model = self._snapshot()
        pairs = model._read_pairs(X)
        warn_of_cold_start(pairs, stacklevel=3)
        y = np.ones(len(pairs.users)) if y is None else read_targets(y)
        check_consistent_length(pairs.users, y)
        if sample_weight is not None:
            sample_weight = read_weights(sample_weight, y, ensure_non_negative=True)
        weights = weigh_interactions(y, sample_weight)
        pattern = model.seen_indptr_, model.seen_indices_
        return mean_reciprocal_rank(
            vars(model), pattern, pairs.users, pairs.items, weights, model.n_jobs
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = False
        tags.target_tags.positive_only = True
        return tags


def mean_reciprocal_rank(learnt, seen, users, items, weights, n_jobs):
    """Return what `RankingFactorizer.score` does, for pairs of codes.

    Parameters
    ----------
    learnt : dict
        The fitted attributes.
    seen : tuple of 2 ndarrays
        With which items each user has interacted: compressed sparse rows.
    users, items : int32 ndarrays of shape (n_pairs,)
        Codes; -1 for an unseen id.
    weights : ndarray of shape (n_pairs,) or None
        Their weights; None stands for ones.
    n_jobs : int or None
        Number of threads.
    """
    order = np.lexsort((items, users))
    rows, first = np.unique(users[order], return_index=True)
    ranks = np.empty(len(users))
    ranks[order] = rank_items(
        Queries(rows, learnt["user_factors_"], True, *seen),
        learnt["item_factors_"],
        (learnt["item_biases_"], learnt["item_biases_"]),
        items[order],
        np.append(first, len(users)),
        True,
        n_jobs,
    )
    reciprocals = np.divide(1, ranks, out=np.zeros_like(ranks), where=ranks > 0)
    return float(np.average(reciprocals, weights=weights))
