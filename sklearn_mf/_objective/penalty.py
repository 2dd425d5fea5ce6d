"""The penalty of the written objective.

    λ (Σ_u c_u ‖p_u‖² + Σ_i c_i ‖q_i‖²) + λ_b (Σ_u c_u b_u² + Σ_i c_i b_i²)

A table of parameters has a row for each id: its factors and, in a model with biases,
its bias as the last column. With features of the ids, ‖p_u − Gᵀ x_u‖² takes the place
of ‖p_u‖², and so on, and the weights G have a penalty too: see `_solvers.features`.
"""

from dataclasses import dataclass

import numpy as np

from sklearn_mf._runtime.arrays import square_norms


@dataclass(frozen=True)
class Penalty:
    """The penalty of the parameters.

    Attributes
    ----------
    factors, biases : float
        λ and λ_b.
    biased : bool
        Whether the last column of a table of parameters holds biases.
    exponent : float
        ν in c = n^ν, where n is the sum of the weights of an id's pairs: 1 and 0 are
        c = n and c = 1.
    features : float
        φ, how much the weights of features are penalised.
    """

    factors: float
    biases: float = 0.0
    biased: bool = False
    exponent: float = 1.0
    features: float = 5.0

    def counts(self, side, n_others=0, unobserved_weight=0.0):
        """Return c of each row of a side.

        Parameters
        ----------
        side : Side
            The ratings of the rows.
        n_others : int
            Number of ids of the other side.
        unobserved_weight : float
            Weight of the pairs of a row and these ids that have no rating.
        """
        n = side.weight_sums() + unobserved_weight * (n_others - side.counts())
        return n**self.exponent

    def shares(self, side):
        """Return the part of c that a unit of a row's weight carries, float64.

        A solver that steps along the gradient of single ratings adds to each of them
        this share of the penalty of its user and of its item.
        """
        n = side.weight_sums()
        return np.divide(n**self.exponent, n, out=np.zeros_like(n), where=n > 0)

    def of_rows(self, rows, counts):
        """Return the penalty of a table of parameters, a float; `counts` are its c."""
        with np.errstate(over="ignore", invalid="ignore"):  # solvers report divergence
            if not self.biased:
                return self.factors * np.sum(counts * square_norms(rows))
            factors = np.sum(counts * square_norms(rows[:, :-1]))
            biases = np.sum(counts * np.square(rows[:, -1], dtype=np.float64))
            return self.factors * factors + self.biases * biases
