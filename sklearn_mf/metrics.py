"""Scorers of rankings and of imputers, for ``scoring`` of scikit-learn's tools.

RMSE and MAE are scikit-learn's own: ``scoring="neg_root_mean_squared_error"`` and
``"neg_mean_absolute_error"``.
"""

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np
from sklearn.utils import check_array
from sklearn.utils._param_validation import (
    StrOptions,
    validate_parameter_constraints,
)

from sklearn_mf._data.arguments import COUNT, Interval
from sklearn_mf._estimators.judging import METRICS, SAMPLED, RankingScorer
from sklearn_mf._estimators.mf_imputer import measure_columns
from sklearn_mf._typing import TableLike

__all__ = ["make_ranking_scorer", "masked_rmse", "mean_reciprocal_rank_of_all"]

RankingScorer.__module__ = __name__  # pickles see the public place

_PARAMETERS = {
    "metric": [StrOptions(set(METRICS))],
    "k": [COUNT],
    "threshold": [Interval(Real, None, None, closed="neither"), None],
    "gain": [StrOptions({"binary", "rating"})],
    "fold_in": [Interval(Real, 0, 1, closed="neither"), None],
    "n_candidates": [COUNT, None],
    "random_state": [Interval(Integral, 0, None, closed="left")],
}


def make_ranking_scorer(
    metric: str,
    *,
    k: int = 10,
    threshold: float | None = None,
    gain: Literal["binary", "rating"] = "binary",
    fold_in: float | None = None,
    n_candidates: int | None = None,
    random_state: int = 0,
) -> Callable[..., float]:
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
    "auc"
        Share of the pairs of a relevant item and another one that are in the right
        order; pairs of equal prediction count one half [5]_. 0.5 is chance.

    Three more say what kind of items are recommended, not how well. They look at the
    first k items of all users of the test set, whatever they rated there:

    "coverage"
        Share of the items of fit that are recommended to anybody.
    "novelty"
        Mean of −log2(share of the users of fit who have the item) over all items that
        are recommended, in bits [6]_: 0 if all users have them, one more for items that
        half as many have. An item that nobody has counts as if one user had it.
    "popularity"
        Mean number of users of fit who have the item, over all items that are
        recommended. **Higher is not better.** Print it beside a measure of accuracy; a
        search that maximised it would find the model that recommends what everybody
        has.

    Parameters
    ----------
    metric : str
        One of the names above.
    k : int, default=10
        Number of recommended items that are evaluated. Not used by
        ``"reciprocal_rank_of_all"`` and ``"auc"``.
    threshold : float or None, default=None
        Items that the user rated this high or higher in the test set are relevant.
        None: all items that the user rated there.
    gain : {"binary", "rating"}, default="binary"
        Gain of a relevant item in ``"ndcg"``: 1, or its rating, which must not be
        negative, and items rated 0 are not relevant.
    fold_in : float or None, default=None
        For test users whom the model does not know: the share of their items, between 0
        and 1, from which a copy of the model learns them, by `fold_in_users`, before
        their other items are ranked and judged [7]_. 0.8 is usual. At least one item
        is folded in and one is left; users with a single item are left out. The
        estimator itself stays as it is. None: they are ranked for as unknown users. See
        `sklearn_mf.model_selection.StrongGeneralization`.
    n_candidates : int or None, default=None
        For the first six metrics: rank the relevant items of a user not among all
        items, but among this many others, drawn at random from those that the user has
        not rated in fit. Many papers measured so. The scores are higher, and can order
        models in another way than the metric itself does [8]_. None: all items.
    random_state : int, default=0
        Seed of what is drawn for `fold_in` and `n_candidates`: the same for all models,
        whatever the order of the rows.

    Returns
    -------
    callable
        ``scorer(estimator, X, y)`` returns a float: from 0 to 1, higher is better, but
        see ``"novelty"`` and ``"popularity"``. X, y are the test ratings; without y,
        all are 1. The estimator is one of sklearn_mf, or a pipeline or search that ends
        in one. The scorer takes no sample_weight.

    Raises
    ------
    InvalidParameterError
        A ValueError, if a parameter is out of range. The scorer raises a ValueError if
        no test rating is relevant, or if `fold_in` leaves nothing to rank.
    TypeError
        Raised by the scorer, if the estimator cannot rank items, or with `fold_in`
        cannot learn users without a fit.

    Warns
    -----
    UserWarning
        At each call of a scorer with `n_candidates`, that samples mislead.

    See Also
    --------
    sklearn_mf.PopularityRanker : The ranking that any other has to beat.

    Notes
    -----
    Users without a relevant item are left out of the mean. Users unknown to the model
    are included, with the items that `recommend` returns for them. A relevant item that
    cannot be recommended, because the model does not know it or the user already rated
    it in fit, still counts as relevant, with 1 / rank = 0, and in ``"auc"`` as if it
    came after all others. The ratings of a pair that occurs twice are averaged.
    ``"auc"`` leaves out users for whom every item left is relevant.

    Ratings are folded in with weight 1 each, and those of items that the model does not
    know are not. The rest of a user's items is judged as those of any other user.

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
    .. [5] S. Rendle, C. Freudenthaler, Z. Gantner and L. Schmidt-Thieme, "BPR: Bayesian
       personalized ranking from implicit feedback", UAI 2009, section 4.1.1.
    .. [6] T. Zhou, Z. Kuscsik, J.-G. Liu, M. Medo, J. R. Wakeling and Y.-C. Zhang,
       "Solving the apparent diversity-accuracy dilemma of recommender systems", PNAS
       107(10), 2010: the mean self-information.
    .. [7] D. Liang, R. G. Krishnan, M. D. Hoffman and T. Jebara, "Variational
       autoencoders for collaborative filtering", WWW 2018, section 4.
    .. [8] W. Krichene and S. Rendle, "On sampled metrics for item recommendation",
       KDD 2020.

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
    scorer = RankingScorer(
        metric, k, threshold, gain, fold_in, n_candidates, random_state
    )
    validate_parameter_constraints(
        _PARAMETERS, vars(scorer), caller_name="make_ranking_scorer"
    )
    if n_candidates is not None and metric not in SAMPLED:
        raise ValueError(
            f"n_candidates={n_candidates} is for metrics of the first k items, "
            f"{', '.join(map(repr, SAMPLED))}, got metric={metric!r}: pass "
            "n_candidates=None."
        )
    return scorer


mean_reciprocal_rank_of_all = make_ranking_scorer("reciprocal_rank_of_all")


def masked_rmse(
    imputer: Any,
    X: TableLike,
    y: Any = None,
    *,
    fraction: float = 0.1,
    random_state: int = 0,
) -> float:
    """Score an imputer by entries of a table that are hidden from it.

    This is a scorer: pass it as ``scoring`` to `sklearn.model_selection.GridSearchCV`,
    which then needs no y, or ``functools.partial(masked_rmse, fraction=0.2)``.

    Parameters
    ----------
    imputer : object
        A fitted imputer, such as `sklearn_mf.impute.MFImputer` or one of scikit-learn,
        whose `transform` returns a table with the columns of X in their units.
    X : array-like of shape (n_samples, n_features)
        The table, with NaN for missing entries, such as the test part of a split. It
        is to be other rows than those of the fit, which has seen their entries.
    y : None
        Not used.
    fraction : float, default=0.1
        Share of the observed entries that is hidden, in (0, 1), but at least one.
    random_state : int, default=0
        Seed of what is hidden: the same for all imputers.

    Returns
    -------
    float
        −RMSE of the hidden entries, each in units of the standard deviation of the
        observed entries of its column in X: higher is better, 0 is perfect, and the
        means of the columns score about −1. Columns that do not vary do not count.

    Raises
    ------
    InvalidParameterError
        A ValueError, if a parameter is out of range.
    ValueError
        If X has no column that varies, or `transform` returns other columns.

    See Also
    --------
    sklearn_mf.impute.MFImputer : The imputer of this package.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sklearn.impute import SimpleImputer
    >>> from sklearn.model_selection import train_test_split
    >>> from sklearn_mf.impute import MFImputer
    >>> from sklearn_mf.metrics import masked_rmse
    >>> X_train, X_test = train_test_split(load_wine().data, random_state=0)
    >>> simple = masked_rmse(SimpleImputer().fit(X_train), X_test)
    >>> masked_rmse(MFImputer(random_state=0).fit(X_train), X_test) > simple
    True
    """
    validate_parameter_constraints(
        {
            "fraction": [Interval(Real, 0, 1, closed="neither")],
            "random_state": _PARAMETERS["random_state"],
        },
        {"fraction": fraction, "random_state": random_state},
        caller_name="masked_rmse",
    )
    table = check_array(
        X, dtype=[np.float64, np.float32], ensure_all_finite="allow-nan", copy=True
    )
    observed = ~np.isnan(table)
    _, units = measure_columns(table, observed, each=True)
    hidden = np.flatnonzero(observed & (units > 0))
    if not len(hidden):
        raise ValueError(
            "X has no column with two different observed entries, so there is nothing "
            "to predict: pass more rows."
        )
    rng = np.random.RandomState(random_state)
    n_hidden = max(1, round(fraction * len(hidden)))
    hidden = rng.permutation(hidden)[:n_hidden]
    true = table.ravel()[hidden]
    np.put(table, hidden, np.nan)
    filled = np.asarray(imputer.transform(_with_names_of(X, table)))
    if filled.shape != table.shape:
        raise ValueError(
            f"transform of {type(imputer).__name__} returns a table of shape "
            f"{filled.shape} for one of shape {table.shape}: masked_rmse needs all "
            "columns and no others, so set keep_empty_features=True and "
            "add_indicator=False."
        )
    errors = (filled.ravel()[hidden] - true) / units[hidden % len(units)]
    return -float(np.sqrt(np.mean(np.square(errors, dtype=np.float64))))


def _with_names_of(X, table):
    """Return a table with the column names of X, where it is a DataFrame of pandas."""
    if hasattr(X, "iloc"):
        return type(X)(table, index=X.index, columns=X.columns)
    return table
