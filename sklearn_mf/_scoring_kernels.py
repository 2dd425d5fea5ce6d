"""Kernels that turn factors into predictions."""

from numba import njit

FAST = {"reassoc", "contract", "nsz", "arcp"}


@njit(nogil=True, cache=True, error_model="numpy", fastmath=FAST)
def score_pairs(start, stop, users, items, intercept, biased, P, Q, scores):
    """Score the pairs start to stop: μ + p_u · q_i, with biases + b_u + b_i.

    Parameters
    ----------
    start, stop : int
        The pairs to score.
    users, items : int32 ndarrays of shape (n_pairs,)
        Rows of the factors; -1 stands for an unseen id, whose row is zero.
    intercept : float
        The constant μ, of the dtype of the factors.
    biased : bool
        Whether the last column of P and Q holds biases.
    P, Q : ndarrays of shape (n_users, n_columns) and (n_items, n_columns)
        Parameters of users and items.
    scores : ndarray of shape (n_pairs,)
        Entries start to stop are overwritten.
    """
    n_factors = P.shape[1] - 1 if biased else P.shape[1]
    for k in range(start, stop):
        u, i = users[k], items[k]
        score = intercept
        if u >= 0 and i >= 0:
            p, q = P[u], Q[i]
            for f in range(n_factors):
                score += p[f] * q[f]
        if biased:
            if u >= 0:
                score += P[u, n_factors]
            if i >= 0:
                score += Q[i, n_factors]
        scores[k] = score
