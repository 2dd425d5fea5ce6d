"""Predictions of pairs from factors."""

import numpy as np

from sklearn_mf._objective.loss import to_ratings
from sklearn_mf._runtime.compile import jit
from sklearn_mf._runtime.threads import count_threads, cut_evenly, thread_pool

BLOCK_PAIRS = 2**16  # pairs to be scored that are worth a task of their own


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


def predict_codes(pairs, intercept, logistic, parameters, n_jobs):
    """Predict the ratings of pairs of codes.

    Parameters
    ----------
    pairs : Pairs or HeldOut
        The pairs.
    intercept : float
        The constant μ.
    logistic : bool
        Whether predictions are the probabilities σ of the scores.
    parameters : tuple of 4 ndarrays
        Factors of users and items, and their biases or None; see `score_pairs`.
    n_jobs : int or None
        Number of threads.

    Returns
    -------
    ndarray of shape (n_pairs,), of the dtype of the factors
    """
    dtype = parameters[0].dtype
    args = dtype.type(intercept), *parameters
    return to_ratings(
        score_in_blocks(score_pairs, pairs, dtype, n_jobs, *args), logistic
    )


def score_in_blocks(kernel, pairs, dtype, n_jobs, *args):
    """Return what a kernel, such as `score_pairs`, writes for each of the pairs."""
    n_pairs = len(pairs.users)
    scores = np.empty(n_pairs, dtype)
    with thread_pool(count_threads(n_jobs)) as run:
        blocks = cut_evenly(n_pairs, BLOCK_PAIRS)
        run(kernel, blocks, pairs.users, pairs.items, *args, scores)
    return scores
