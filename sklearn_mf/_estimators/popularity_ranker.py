"""The ranking that is the same for all: the most popular items first."""

from typing import Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator

from sklearn_mf._data.tables import read_ratings
from sklearn_mf._estimators.base import BaseFactorizer
from sklearn_mf._estimators.documentation import DocumentedMixin
from sklearn_mf._estimators.judging import RankingScorer
from sklearn_mf._estimators.known import KnownMixin
from sklearn_mf._estimators.ranking import RankingMixin, Users
from sklearn_mf._estimators.state import SavedMixin
from sklearn_mf._files import checks
from sklearn_mf._typing import SparseMatrix, TableLike, fit_context

PARAMETERS = "user_column", "item_column", "n_jobs"
HEADER = "n_features_in_", "feature_names_in_"


class PopularityRanker(
    SavedMixin, KnownMixin, RankingMixin, DocumentedMixin, BaseEstimator
):
    """Recommends to everyone the items that most users have.

    The prediction for user u and item i is::

        r̂(u,i) = Σ_v w_vi / n_users

    where w are the sample weights of the interactions that users v had with the item.
    Without weights, and if each pair occurs once, this is the share of the users of fit
    who have the item. It does not depend on u; what u has already is left out of the
    list.

    Nothing is learnt of tastes. This is the baseline: a model whose recommendations are
    no better is not worth its cost. Since most of what users do is with popular items,
    the baseline is harder to beat than it seems.

    Parameters
    ----------
    user_column, item_column : int or str, default=0 and 1
        Position, or name in a DataFrame, of the columns of X that hold the user and
        the item. Other columns are not read.
    n_jobs : int or None, default=None
        Number of threads of `recommend`. None: all cores that the process may use, or
        `n_jobs` of an enclosing `joblib.parallel_config`, but one thread in a worker of
        joblib or Dask. -1: all cores. The result does not depend on it.

    Attributes
    ----------
    item_popularity_ : ndarray of shape (n_items,), float64
        The prediction for each of `items_`, the same for all users.
    users_, items_ : ndarrays of shape (n_users,) and (n_items,)
        The ids seen in fit, sorted. For a sparse matrix, all its rows and columns.
    seen_indptr_, seen_indices_ : int64 and int32 ndarrays
        Which items each user has, as compressed sparse rows: those of ``users_[u]``
        are ``items_[seen_indices_[seen_indptr_[u]:seen_indptr_[u + 1]]]``.
    n_features_in_ : int
        Number of columns of X in fit. Not set by a fit on a sparse matrix.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns of X in fit, where X was a DataFrame with string names.

    See Also
    --------
    BiasedMF : With ``n_factors=0`` it ranks items by how much they are liked, which
        says little of items with few ratings.
    sklearn_mf.metrics.make_ranking_scorer : To compare rankings.

    References
    ----------
    .. [1] P. Cremonesi, Y. Koren and R. Turrin (2010). "Performance of Recommender
       Algorithms on Top-N Recommendation Tasks". RecSys 2010, section 3.1, TopPop.

    Examples
    --------
    >>> from sklearn_mf import PopularityRanker
    >>> X = [["ann", "up"], ["ann", "heat"], ["bob", "up"], ["bob", "alien"]]
    >>> model = PopularityRanker().fit(X + [["cat", "heat"], ["dan", "up"]])
    >>> items, shares = model.recommend(["dan", "eve"], n_items=2)
    >>> items.tolist()
    [['heat', 'alien'], ['up', 'heat']]
    >>> shares.tolist()
    [[0.5, 0.25], [0.75, 0.5]]
    """

    item_popularity_: npt.NDArray[np.float64]
    n_features_in_: int
    feature_names_in_: npt.NDArray[np.object_]

    _fitted = {
        "users_": BaseFactorizer._fitted["users_"],
        "items_": BaseFactorizer._fitted["items_"],
        "item_popularity_": ("items",),
        "seen_indptr_": checks.check_seen_indptr,
        "seen_indices_": checks.check_seen_indices,
        **{name: BaseFactorizer._fitted[name] for name in HEADER},
    }

    _parameter_constraints: dict = {
        name: BaseFactorizer._parameter_constraints[name] for name in PARAMETERS
    }

    def __init__(
        self,
        *,
        user_column: int | str = 0,
        item_column: int | str = 1,
        n_jobs: int | None = None,
    ) -> None:
        self.user_column = user_column
        self.item_column = item_column
        self.n_jobs = n_jobs

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: TableLike | SparseMatrix,
        y: npt.ArrayLike | None = None,
        sample_weight: npt.ArrayLike | None = None,
    ) -> Self:
        """Count the interactions of each item.

        Parameters
        ----------
        X : table of shape (n_interactions, n_features), or sparse matrix
            One interaction a row: `user_column` and `item_column` hold its user and its
            item, ids of any sortable kind. An array, a list of lists, or a DataFrame.
            Or a scipy.sparse matrix of shape (n_users, n_items): every stored entry is
            an interaction, explicit zeros too.
        y : array-like of shape (n_interactions,) or None, default=None
            Ratings or counts. They are checked, and not used: an item is as popular as
            its interactions are many. To count by y, pass it as `sample_weight`.
        sample_weight : array-like of shape (n_interactions,) or None, default=None
            Weight w ≥ 0 of each interaction. Weight 2 is the same as the row twice,
            weight 0 the same as no such row.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If the input is invalid; the message names the parameter and how to fix it.
        TypeError
            If the ids of a column are not all of one sortable kind.
        """
        with self._replacing() as new:
            ratings = read_ratings(new, X, y, sample_weight)
            new.users_, new.items_ = ratings.users, ratings.items
            weights = ratings.by_item.weight_sums()
            new.item_popularity_ = weights / len(ratings.users)
            new.seen_indptr_ = ratings.by_user.indptr
            new.seen_indices_ = ratings.by_user.indices
        return self

    def fold_in_users(
        self,
        X: TableLike,
        y: npt.ArrayLike | None = None,
        sample_weight: npt.ArrayLike | None = None,
    ) -> Self:
        """Note what users have, so that it is not recommended to them.

        Users that the model does not know join it; of those that it knows this replaces
        the history. The popularity of the items stays as it is.

        Parameters
        ----------
        X, y, sample_weight : table, array-like, array-like
            Interactions, as in `fit`; with items that the model knows.

        Returns
        -------
        self : object
            The estimator, which knows the new users in all its methods.

        Raises
        ------
        ValueError
            If X has items that the model does not know, or for input that `fit` would
            not take either.
        """
        self._snapshot()
        self._validate_params()
        with self._replacing(keep_fitted=True) as new:
            ratings = self._read_more(new, X, y, sample_weight)
            new._check_known("item", ratings.items, "Leave their interactions out.")
            folded = np.flatnonzero(ratings.by_user.counts())
            vars(new).update(new._join_seen(ratings, {"user": folded}))
            new.users_ = ratings.users
        return self

    def predict(self, X: TableLike) -> npt.NDArray[np.float64]:
        """Return the popularity of the item of each pair.

        Parameters
        ----------
        X : table of shape (n_pairs, n_features)
            One pair in each row, with the columns that X had in fit; see `fit`.

        Returns
        -------
        ndarray of shape (n_pairs,)
            Without weights, the share of the users of fit who have the item; 0 for an
            item that was not seen in fit.

        Raises
        ------
        ValueError
            If X is a sparse matrix, or its ids have a different type than in fit.
        """
        model = self._snapshot()
        return model._share(model._read_pairs(X).items)

    def _share(self, items):
        """Return the popularity of items by their codes."""
        return np.where(items < 0, 0.0, self.item_popularity_[items])

    def score(self, X: TableLike, y: npt.ArrayLike | None = None) -> float:
        """Return the NDCG of the first ten recommendations.

        It is ``make_ranking_scorer("ndcg")`` of `sklearn_mf.metrics`, in which all
        items that a user has in X are relevant, with a gain of 1 each.

        Parameters
        ----------
        X : table of shape (n_pairs, n_features)
            The test interactions, one pair in each row; see `predict`.
        y : array-like of shape (n_pairs,) or None, default=None
            Checked, and not used.

        Returns
        -------
        float
            From 0 to 1: higher is better.
        """
        return RankingScorer("ndcg")(self, X, y)

    # For rankings this is a factorisation of no factors, whose item biases say it all.

    _biased = True

    @property
    def user_factors_(self):
        return np.empty((len(self.users_), 0))

    @property
    def item_factors_(self):
        return np.empty((len(self.items_), 0))

    @property
    def user_biases_(self):
        return np.zeros(len(self.users_))

    @property
    def item_biases_(self):
        return self.item_popularity_

    _popularity_weight = 0.0

    def _score_recommended(self, learnt, pairs):
        return self._share(pairs.items)

    def _fold_in_history(self, history, users):
        users, rows, _, side = self._read_history(history, users)
        no_factors = {"user_factors_": np.empty((len(side.indptr) - 1, 0))}
        return users, Users(rows, no_factors, side.indptr, side.indices)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.categorical = True
        return tags
