"""Scorers of rankings, to be passed as ``scoring`` to scikit-learn's tools.

RMSE and MAE are scikit-learn's own: ``scoring="neg_root_mean_squared_error"`` and
``"neg_mean_absolute_error"``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.pipeline import Pipeline
from sklearn.utils import check_consistent_length, gen_batches
from sklearn.utils._param_validation import (
    StrOptions,
    validate_parameter_constraints,
)

from sklearn_mf._data.arguments import Interval
from sklearn_mf._data.labels import factorize
from sklearn_mf._data.tables import read_columns, read_ids, read_targets
from sklearn_mf._estimators.ranking import RankingMixin
from sklearn_mf._model.ranking import Queries, reciprocal_ranks
from sklearn_mf._typing import TableLike

__all__ = ["make_ranking_scorer", "mean_reciprocal_rank_of_all"]

BLOCK_CELLS = 2**20  # places in rankings that are held at a time


# --------------------------------------------------------------------------- formulas

# Each computes one value for each user from the gains of the k recommended items (0 for
# an item that is not relevant), the number of relevant items, and the DCG of the best
# ranking that is possible.


def _precision(gains, n_relevant, ideal):
    return (gains > 0).mean(axis=1)


def _recall(gains, n_relevant, ideal):
    return (gains > 0).sum(axis=1) / n_relevant


def _hit_rate(gains, n_relevant, ideal):
    return (gains > 0).any(axis=1).astype(np.float64)


def _reciprocal_rank(gains, n_relevant, ideal):
    return ((gains > 0) / _ranks(gains)).max(axis=1)


def _average_precision(gains, n_relevant, ideal):
    hits = gains > 0
    precisions = hits.cumsum(axis=1) / _ranks(gains)
    return (hits * precisions).sum(axis=1) / n_relevant


def _ndcg(gains, n_relevant, ideal):
    return (gains / np.log2(1 + _ranks(gains))).sum(axis=1) / ideal


def _ranks(gains):
    return np.arange(1, gains.shape[1] + 1)


_AT_K = {
    "precision": _precision,
    "recall": _recall,
    "ndcg": _ndcg,
    "map": _average_precision,
    "hit_rate": _hit_rate,
    "reciprocal_rank": _reciprocal_rank,
}
_PARAMETERS = {
    "metric": [StrOptions({*_AT_K, "reciprocal_rank_of_all"})],
    "k": [Interval(Integral, 1, None, closed="left")],
    "threshold": [Interval(Real, None, None, closed="neither"), None],
    "gain": [StrOptions({"binary", "rating"})],
}


# ---------------------------------------------------------------------------- scorers


def make_ranking_scorer(
    metric: str,
    *,
    k: int = 10,
    threshold: float | None = None,
    gain: Literal["binary", "rating"] = "binary",
) -> Callable[[object, TableLike, npt.ArrayLike], float]:
    """Make a scorer of rankings.

    The items that a user has not rated in fit are ranked by prediction, as
    `recommend` does, and compared with those that the user rated in the test set. The
    score is the mean over users of the metric:

    "precision"
        Relevant items among the first k, divided by k.
    "recall"
        Relevant items among the first k, divided by n, the number of the user's
        relevant items.
    "hit_rate"
        1 if there is a relevant item among the first k, else 0.
    "reciprocal_rank"
        1 / rank of the first relevant item; 0 if it is not among the first k [1]_.
    "map"
        Σ precision at r over the ranks r ≤ k of relevant items, divided by n [2]_.
    "ndcg"
        DCG = Σ gain_r / log2(1 + r) over the ranks r ≤ k of relevant items, divided by
        that of the best possible ranking [3]_.
    "reciprocal_rank_of_all"
        Mean of 1 / rank over all n relevant items, however far down; items of equal
        prediction share the mean of their ranks [4]_.

    Parameters
    ----------
    metric : str
        One of the names above.
    k : int, default=10
        Number of recommended items that are evaluated. Not used by
        ``"reciprocal_rank_of_all"``.
    threshold : float or None, default=None
        Items that the user rated this high or higher in the test set are relevant.
        None: all items that the user rated there.
    gain : {"binary", "rating"}, default="binary"
        Gain of a relevant item in ``"ndcg"``: 1, or its rating, which must not be
        negative, and items rated 0 are not relevant.

    Returns
    -------
    callable
        ``scorer(estimator, X, y)`` returns a float from 0 to 1, higher is better. X, y
        are the test ratings. The estimator is one of sklearn_mf, or a pipeline or
        search that ends in one. The scorer takes no sample_weight.

    Raises
    ------
    InvalidParameterError
        A ValueError, if a parameter is out of range. The scorer raises a ValueError if
        no test rating is relevant.
    TypeError
        Raised by the scorer, if the estimator cannot rank items.

    Notes
    -----
    Users without a relevant item are left out of the mean. Users unknown to the model
    are included, with the items that `recommend` returns for them. A relevant item that
    cannot be recommended, because the model does not know it or the user already rated
    it in fit, still counts as relevant, with 1 / rank = 0. The ratings of a pair that
    occurs twice are averaged.

    Items without a rating count as irrelevant, though the user may never have seen
    them: the scores are lower than the true ones, and favour popular items.

    References
    ----------
    .. [1] E. M. Voorhees, "The TREC-8 question answering track report", TREC-8, 1999.
    .. [2] C. D. Manning, P. Raghavan and H. Schütze, "Introduction to information
       retrieval", Cambridge University Press, 2008, chapter 8. Cut off at k as in
       trec_eval.
    .. [3] K. Järvelin and J. Kekäläinen, "Cumulated gain-based evaluation of IR
       techniques", ACM Transactions on Information Systems 20(4), 2002, with the
       discount log2(1 + r) of trec_eval, which differs at every rank.
    .. [4] M. Kula, "Spotlight", 2017, https://github.com/maciejkula/spotlight,
       ``spotlight.evaluation.mrr_score``.

    Examples
    --------
    >>> from sklearn.model_selection import cross_validate
    >>> from sklearn_mf import BiasedMF
    >>> from sklearn_mf.datasets import make_ratings
    >>> from sklearn_mf.metrics import make_ranking_scorer
    >>> from sklearn_mf.model_selection import RatingKFold
    >>> X, y = make_ratings(random_state=0)
    >>> scoring = {
    ...     "rmse": "neg_root_mean_squared_error",
    ...     "ndcg": make_ranking_scorer("ndcg", threshold=4),
    ... }
    >>> results = cross_validate(
    ...     BiasedMF(random_state=0), X, y, cv=RatingKFold(), scoring=scoring
    ... )
    >>> results["test_ndcg"].shape
    (5,)
    """
    scorer = _RankingScorer(metric, k, threshold, gain)
    validate_parameter_constraints(
        _PARAMETERS, vars(scorer), caller_name="make_ranking_scorer"
    )
    return scorer


@dataclass(frozen=True, repr=False)
class _RankingScorer:
    """A scorer; see `make_ranking_scorer`."""

    metric: str
    k: int = 10
    threshold: float | None = None
    gain: str = "binary"

    def __call__(self, estimator: object, X: TableLike, y: npt.ArrayLike) -> float:
        """Return the mean of the metric over users.

        Parameters
        ----------
        estimator : object
            A fitted estimator of sklearn_mf, or a pipeline or search that ends in one.
        X : table of shape (n_ratings, n_features)
            The test ratings, one a row; see `predict`.
        y : array-like of shape (n_ratings,)
            The ratings.

        Returns
        -------
        float
        """
        model, X = _find_factorizer(estimator, X)
        relevant = self._read_relevant(model, X, y)
        if self.metric == "reciprocal_rank_of_all":
            return float(_mean_of_all(model, relevant).mean())
        k = int(self.k)
        gains = _find_gains(model, relevant, k)
        n_relevant = np.bincount(relevant.users)
        values = _AT_K[self.metric](gains, n_relevant, _ideal(relevant, k))
        return float(values.mean())

    def _read_relevant(self, estimator, X, y):
        """Read the relevant items of each user who has some."""
        pairs = estimator._read_pairs(X)
        users, items = read_columns(
            X, user_column=estimator.user_column, item_column=estimator.item_column
        )
        y = read_targets(y)
        check_consistent_length(X, y)
        # Codes among the ids of X, which keep unknown ids apart.
        labels, users = factorize(*users)
        item_labels, items = factorize(*items)
        _, rows, inverse = np.unique(
            users * np.int64(len(item_labels)) + items,
            return_index=True,
            return_inverse=True,
        )
        ratings = np.bincount(inverse, y) / np.bincount(inverse)
        relevant = np.ones(len(rows), dtype=bool)
        if self.threshold is not None:
            relevant = ratings >= self.threshold
        if self.metric == "ndcg" and self.gain == "rating":
            if ratings.min() < 0:
                raise ValueError(
                    "gain='rating' requires ratings of 0 or more, got "
                    f"{ratings.min()}: shift y, or pass gain='binary'."
                )
            relevant &= ratings > 0
            gains = ratings[relevant]
        else:
            gains = np.ones(np.count_nonzero(relevant))
        if not len(gains):
            raise ValueError(
                f"threshold={self.threshold}: no rating of X is relevant, the highest "
                f"is {ratings.max()}: lower the threshold."
            )
        rows = rows[relevant]
        present, users = np.unique(users[rows], return_inverse=True)
        return _Relevant(labels[present], users, pairs.items[rows], gains)

    def __repr__(self):
        words = [repr(self.metric)]
        for name, field in self.__dataclass_fields__.items():
            value = getattr(self, name)
            if name != "metric" and value != field.default:
                words.append(f"{name}={value!r}")
        return f"make_ranking_scorer({', '.join(words)})"

    def _accept_sample_weight(self):
        """Tell scikit-learn's searches that the scorer takes no weights."""
        return False


mean_reciprocal_rank_of_all = make_ranking_scorer("reciprocal_rank_of_all")


def _find_factorizer(estimator, X):
    """Return the estimator at the end of searches and pipelines, and its input X."""
    last = estimator
    while not isinstance(last, RankingMixin):
        if hasattr(last, "best_estimator_"):
            last = last.best_estimator_
        elif isinstance(last, Pipeline):
            if len(last.steps) > 1:
                X = last[:-1].transform(X)
            last = last.steps[-1][1]
        else:
            raise TypeError(
                f"{estimator!r} cannot rank items: pass an estimator of sklearn_mf, "
                "or a fitted pipeline or search that ends in one."
            )
    return last._snapshot(), X


# --------------------------------------------------------------------------- rankings


class _Relevant(NamedTuple):
    """The relevant items of each user who has some.

    Attributes
    ----------
    labels : ndarray of shape (n_users,)
        The users' ids.
    users : int64 ndarray of shape (n_relevant,)
        User of each relevant item, as position in `labels`; ascending.
    items : int32 ndarray of shape (n_relevant,)
        Code of the item in the model; -1 for one that it does not know.
    gains : float64 ndarray of shape (n_relevant,)
        Above 0.
    """

    labels: np.ndarray
    users: np.ndarray
    items: np.ndarray
    gains: np.ndarray


def _find_gains(estimator, relevant, k):
    """Return the gains of the k items recommended to each user, the best first.

    Returns
    -------
    float64 ndarray of shape (n_users, k)
        0 for an item that is not relevant, and where no item is left.
    """
    n_users, n_items = len(relevant.labels), np.int64(len(estimator.items_))
    known = np.flatnonzero(relevant.items >= 0)
    pairs = relevant.users[known] * n_items + relevant.items[known]
    order = np.argsort(pairs)
    known, pairs = known[order], pairs[order]
    gains = np.zeros((n_users, k))
    for block in gen_batches(n_users, max(1, BLOCK_CELLS // k)):
        items, _ = estimator.recommend(relevant.labels[block], k)
        codes = read_ids("items", items.data.ravel(), estimator.items_)
        users = np.arange(block.start, block.stop)
        found = np.repeat(users, k) * n_items + codes
        found[items.mask.ravel()] = -1
        places = np.searchsorted(pairs, found)
        hits = np.flatnonzero(places < len(pairs))
        hits = hits[pairs[places[hits]] == found[hits]]
        gains[block].ravel()[hits] = relevant.gains[known[places[hits]]]
    return gains


def _ideal(relevant, k):
    """Return the largest possible DCG of each user."""
    order = np.lexsort((-relevant.gains, relevant.users))
    users = relevant.users[order]
    ends = np.cumsum(np.bincount(users))
    ranks = np.arange(len(users)) - np.concatenate([[0], ends])[users] + 1
    gains = np.where(ranks <= k, relevant.gains[order] / np.log2(1 + ranks), 0)
    return np.bincount(users, gains)


def _mean_of_all(estimator, relevant):
    """Return the mean reciprocal rank of all relevant items of each user."""
    rows = read_ids("users", relevant.labels, estimator.users_)
    bounds = np.searchsorted(relevant.users, np.arange(len(rows) + 1))
    seen = True, estimator.seen_indptr_, estimator.seen_indices_
    reciprocals = reciprocal_ranks(
        Queries(rows, estimator.user_factors_, *seen),
        estimator.item_factors_,
        estimator.item_biases_ if estimator._biased else 0,
        relevant.items,
        bounds,
        False,
        estimator.n_jobs,
    )
    return np.bincount(relevant.users, reciprocals) / np.diff(bounds)
