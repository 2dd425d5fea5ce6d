"""Parameters that follow the unit of the ratings, so that defaults suit any unit.

Where ratings r become a·r, factors become √a times as large and biases a times. A
penalty λ, a start or a step is then right if it is scaled as below.
"""

from numbers import Real

from sklearn.utils._param_validation import StrOptions

from sklearn_mf._data.arguments import Interval
from sklearn_mf._files import checks
from sklearn_mf._objective.penalty import Penalty

# λ of ratings whose standard deviation is 1: of ratings alone, and where the many pairs
# without one count, which hold the factors down already.
REGULARIZATION, PREFERENCE_REGULARIZATION = 0.12, 0.03


# The exponent ν of the penalty's n^ν: True and False are 1 and 0.
EXPONENT = ["boolean", Interval(Real, 0, 1, closed="both")]


def number_or_scale(*, closed):
    """Return the constraint of a parameter that is a number, at least 0, or "scale"."""
    return [Interval(Real, 0, None, closed=closed), StrOptions({"scale"})]


class ScaleMixin:
    """A penalty and a start that are numbers, or follow the ratings.

    A subclass gives `_start`, the standard deviation of the initial factors where that
    of the ratings is 1.
    """

    regularization_: float

    _fitted: dict = {"regularization_": checks.check_non_negative}

    _parameter_constraints: dict = {
        "regularization": number_or_scale(closed="left"),
        "weighted_regularization": EXPONENT,
        "init_scale": number_or_scale(closed="neither"),
    }

    def _set_numbers(self, ratings):
        """Set the fitted attributes for parameters that depend on the ratings."""
        self.regularization_ = float(
            self._count_scale(ratings) * self._default_penalty * self.rating_scale_
            if self.regularization == "scale"
            else self.regularization
        )

    @property
    def _default_penalty(self):
        return PREFERENCE_REGULARIZATION if self._unobserved_weight else REGULARIZATION

    def _count_scale(self, ratings):
        """Return what λ is to be multiplied by to weigh as much as where c = n.

        That is Σ n / Σ n^ν over all ids, as in Rendle et al. (2022).
        """
        if self.weighted_regularization == 1:
            return 1.0
        penalty = Penalty(1.0, exponent=float(self.weighted_regularization))
        total = 0.0
        for side, others in (
            (ratings.by_user, ratings.items),
            (ratings.by_item, ratings.users),
        ):
            counts = penalty.counts(side, len(others), self._unobserved_weight)
            total += counts[side.counts() > 0].sum()
        return 2 * ratings.total_weight(self._unobserved_weight) / total

    def _init_scale(self):
        if self.init_scale == "scale":
            return self._start() * self.rating_scale_**0.5
        return self.init_scale
