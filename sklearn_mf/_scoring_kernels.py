"""Kernels that turn factors into predictions."""

from sklearn_mf._compile import jit


@jit
def score_pairs(
    start,
    stop,
    users,
    items,
    intercept,
    user_factors,
    item_factors,
    user_biases,
    item_biases,
    scores,
):
    """Score the pairs start to stop: μ + p_u · q_i, with biases + b_u + b_i.

    Parameters
    ----------
    start, stop : int
        The pairs to score.
    users, items : int32 ndarrays of shape (n_pairs,)
        Rows of the factors; -1 stands for an unseen id, whose parameters are zero.
    intercept : float
        The constant μ, of the dtype of the factors.
    user_factors, item_factors : ndarrays of shape (n_rows, n_factors)
        Factors p and q.
    user_biases, item_biases : ndarrays of shape (n_rows,), or None
        Biases b; None in a model without.
    scores : ndarray of shape (n_pairs,)
        Entries start to stop are overwritten.
    """
    for k in range(start, stop):
        u, i = users[k], items[k]
        score = intercept
        if user_biases is not None:
            if u >= 0:
                score += user_biases[u]
            if i >= 0:
                score += item_biases[i]
        if u >= 0 and i >= 0:
            for f in range(user_factors.shape[1]):
                score += user_factors[u, f] * item_factors[i, f]
        scores[k] = score
