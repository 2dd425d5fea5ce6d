"""The penalty of the written objective, and the objective of alternating least squares.

Σ_{(u,i) observed} w_ui ℓ(r_ui, r̂_ui) + α₀ Σ_{(u,i) not observed} r̂_ui²
  + λ (Σ_u c_u ‖p_u‖² + Σ_i c_i ‖q_i‖²) + λ_b (Σ_u c_u b_u² + Σ_i c_i b_i²)
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Objective:
    """What alternating least squares minimises.

    Attributes
    ----------
    biased : bool
        Whether the last column of users and items holds biases.
    penalties : (float, float)
        λ and λ_b.
    weighted_regularization : bool
        Whether c is the sum of the weights of an id's pairs, or 1.
    unobserved_weight : float
        α₀, the weight of a pair without a rating.
    non_negative : bool
        Whether the factors must not fall below 0.
    """

    biased: bool
    penalties: tuple[float, float]
    weighted_regularization: bool
    unobserved_weight: float
    non_negative: bool

    def counts(self, side, n_others):
        """Give c of each row of a side, whose pairs are with `n_others` ids."""
        if not self.weighted_regularization:
            return np.ones(len(side.indptr) - 1)
        unobserved = n_others - side.counts()
        return side.weight_sums() + self.unobserved_weight * unobserved

    def penalise(self, rows, counts):
        """Give the penalty of the rows of a side, a float; `counts` are their c."""
        squares = counts @ np.square(rows, dtype=np.float64)
        if not self.biased:
            return self.penalties[0] * squares.sum()
        return self.penalties[0] * squares[:-1].sum() + self.penalties[1] * squares[-1]
