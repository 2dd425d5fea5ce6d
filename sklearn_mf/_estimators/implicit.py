"""Implicit feedback: counts of what people did become preferences and confidence."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from sklearn.utils._param_validation import StrOptions

from sklearn_mf._estimators.judging import RankingScorer
from sklearn_mf._estimators.scale import number_or_scale
from sklearn_mf._files import checks
from sklearn_mf._typing import TableLike

UNOBSERVED = 6  # weight of all pairs without a count, over that of those with one


class ImplicitMixin:
    """A factorisation that reads y as ratings, or as counts of what people did.

    A count r ≥ 0 of a pair says by whether it is 0 that a user prefers the item or not,
    and by how large it is how sure this is: the pair gets the rating 1 or 0 and the
    weight 1 + α f(r), beside the weight 1 and the rating 0 of all pairs without one
    (Hu, Koren and Volinsky 2008, equations 3 to 6).
    """

    alpha_: float
    _score_ratings: Callable[..., float]

    _fitted: dict = {"alpha_": checks.Optional(checks.check_non_negative)}

    _parameter_constraints: dict = {
        "feedback": [StrOptions({"explicit", "implicit"})],
        "alpha": number_or_scale(closed="left"),
        "confidence": [StrOptions({"linear", "log"})],
    }

    @property
    def _implicit(self):
        return self.feedback == "implicit"

    @property
    def _unobserved_weight(self):
        return 1.0 if self._implicit else float(self.unobserved_weight)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = not self._implicit
        tags.target_tags.positive_only = self._implicit
        return tags

    def _check_options(self):
        super()._check_options()
        if self._implicit and self.unobserved_weight not in (0, 1):
            raise ValueError(
                f"unobserved_weight={self.unobserved_weight!r} does not go with "
                "feedback='implicit', where a pair without a count weighs 1: leave "
                "unobserved_weight at 0, and set alpha, which the other pairs weigh by."
            )

    def score(
        self,
        X: TableLike,
        y: npt.ArrayLike | None = None,
        sample_weight: npt.ArrayLike | None = None,
    ) -> float:
        """Return how good the predictions are: −RMSE, or of implicit feedback NDCG.

        Parameters
        ----------
        X : table of shape (n_pairs, n_features)
            One pair in each row; see `predict`.
        y : array-like of shape (n_pairs,), or None with implicit feedback
            The true ratings, or counts.
        sample_weight : array-like of shape (n_pairs,) or None, default=None
            Weights of the pairs. Not used with implicit feedback.

        Returns
        -------
        float
            The negative root mean squared error, in units of y: higher is better, 0 is
            perfect. With implicit feedback ``make_ranking_scorer("ndcg")`` of
            `sklearn_mf.metrics`, of the ten items that are recommended to each user: 0
            to 1, higher is better.

        Warns
        -----
        ColdStartWarning
            If more than half of the distinct users of X were not seen in fit. Not with
            implicit feedback.
        """
        if self._implicit:
            return RankingScorer("ndcg")(self, X, y)
        return self._score_ratings(X, y, sample_weight)

    def _mean(self, ratings):
        return 0.0 if self._implicit else super()._mean(ratings)

    def _remedy(self):
        if not self._implicit:
            return super()._remedy()
        return (
            f"Lower alpha={self.alpha!r}, scale y down, or pass it as float64 if it is "
            "float32."
        )

    def _read(self, X, y, sample_weight, *, known=None, dtype=None):
        ratings = super()._read(X, y, sample_weight, known=known, dtype=dtype)
        if not self._implicit:
            return ratings
        if not hasattr(self, "alpha_"):  # fit chooses it, once
            self.alpha_ = self._choose_alpha(ratings)
        return replace(
            ratings,
            by_user=self._weigh(ratings.by_user),
            by_item=self._weigh(ratings.by_item),
        )

    def _evidence(self, side):
        """Return f(r) of each pair, float64."""
        counts = side.ratings.astype(np.float64)
        if counts.min(initial=0) < 0:
            raise ValueError(
                "y has counts below 0, with feedback='implicit': the lowest is "
                f"{counts.min()}. Leave such rows out, or if y holds ratings set "
                "feedback='explicit'."
            )
        if side.weights is not None:  # a pair that occurs twice has its mean count
            counts *= side.weights
        return np.log1p(counts) if self.confidence == "log" else counts

    def _choose_alpha(self, ratings):
        if self.alpha != "scale":
            return float(self.alpha)
        evidence = self._evidence(ratings.by_user)
        n_unobserved = len(ratings.users) * len(ratings.items) - len(evidence)
        mean = evidence.mean()
        if not mean > 0:
            raise ValueError(
                "y has no count above 0, with feedback='implicit': there is nothing to "
                "learn from."
            )
        return float(max(n_unobserved / (UNOBSERVED * len(evidence)) - 1, 1) / mean)

    def _weigh(self, side):
        """Return preferences as ratings, and confidence as weights."""
        evidence, dtype = self._evidence(side), side.ratings.dtype
        with np.errstate(over="ignore"):
            weights = (1 + self.alpha_ * evidence).astype(dtype)
        if not np.isfinite(weights).all():
            raise FloatingPointError(
                f"{type(self).__name__}: the confidence of counts up to "
                f"{side.ratings.max():g} overflows. {self._remedy()}"
            )
        return side._replace(ratings=(evidence > 0).astype(dtype), weights=weights)
