"""Kernels that turn factors into predictions."""

from numba import njit

FAST = {"reassoc", "contract", "nsz", "arcp"}


@njit(nogil=True, cache=True, error_model="numpy", fastmath=FAST)
def score_pairs(start, stop, users, items, mean, user_factors, item_factors, scores):
    """Score the pairs start to stop: r̂ = μ + p_u · q_i.

    Parameters
    ----------
    start, stop : int
        The pairs to score.
    users, items : int32 ndarrays of shape (n_pairs,)
        Rows of the factors; -1 stands for an unseen id, whose factors are zero.
    mean : float
        The global mean μ, of the dtype of the factors.
    user_factors : ndarray of shape (n_users, n_factors)
        Factors p.
    item_factors : ndarray of shape (n_items, n_factors)
        Factors q.
    scores : ndarray of shape (n_pairs,)
        Entries start to stop are overwritten.
    """
    for k in range(start, stop):
        u, i = users[k], items[k]
        score = mean
        if u >= 0 and i >= 0:
            p, q = user_factors[u], item_factors[i]
            for f in range(p.shape[0]):
                score += p[f] * q[f]
        scores[k] = score
