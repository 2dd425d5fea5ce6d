"""What the solvers share of the written objective: its penalty, and its link.

Σ_{(u,i) observed} w_ui ℓ(r_ui, r̂_ui)
  + λ (Σ_u c_u ‖p_u‖² + Σ_i c_i ‖q_i‖²) + λ_b (Σ_u c_u b_u² + Σ_i c_i b_i²)
"""

import numpy as np
from scipy.special import expit, logit


def penalty_counts(side, weighted_regularization):
    """Give c of each row of a side: the sum of its weights, or 1."""
    if weighted_regularization:
        return side.strengths()
    return np.ones(len(side.indptr) - 1)


def penalise(rows, counts, penalties, biased):
    """Give the penalty of the rows of a side.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, n_columns)
        Factors, and with `biased` the bias as the last column.
    counts : ndarray of shape (n_rows,)
        The counts c.
    penalties : (float, float)
        λ and λ_b.
    biased : bool
        Whether the last column holds biases.

    Returns
    -------
    float
    """
    squares = counts @ np.square(rows, dtype=np.float64)
    if not biased:
        return penalties[0] * squares.sum()
    return penalties[0] * squares[:-1].sum() + penalties[1] * squares[-1]


def to_intercept(mean, logistic):
    """Give the constant of the model from the mean rating: under log loss its logit."""
    return float(logit(np.clip(mean, 1e-6, 1 - 1e-6))) if logistic else mean


def to_ratings(scores, logistic):
    """Give the predicted ratings from scores: under log loss, probabilities."""
    return expit(scores) if logistic else scores
