"""The objective that is quadratic in the parameters of either side.

Σ_{(u,i) observed} w_ui (r_ui − r̂_ui)² + α₀ Σ_{(u,i) not observed} r̂_ui² + penalty
"""

from dataclasses import dataclass

from sklearn_mf._objective.penalty import Penalty


@dataclass(frozen=True)
class QuadraticObjective:
    """What alternating least squares minimises.

    Attributes
    ----------
    penalty : Penalty
        The last term.
    unobserved_weight : float
        α₀, the weight of a pair without a rating.
    non_negative : bool
        Whether the factors must not fall below 0.
    """

    penalty: Penalty
    unobserved_weight: float = 0.0
    non_negative: bool = False

    def counts(self, side, n_others):
        """Return c of each row of a side, whose pairs are with `n_others` ids."""
        return self.penalty.counts(side, n_others, self.unobserved_weight)
