"""Rows of new ids, given draws of the other side."""

import numpy as np

from sklearn_mf._runtime.threads import cut_rows
from sklearn_mf._solvers.als.kernels import pad
from sklearn_mf._solvers.als.solver import BLOCK_WORK, work_of_long
from sklearn_mf._solvers.gibbs.kernels import Draw, Prior, sample_rows, score_ratings
from sklearn_mf._solvers.gibbs.likelihoods import draw_latents, split_levels

FOLD_IN = np.uint64(2**21)  # number of the stream of random numbers
STEPS = 10  # of rows and latent ratings in turn, from the prior means of the rows


def draw_new_rows(posterior, name, side, expected, levels, run, *, key=None):
    """Draw rows of new ids from their ratings, once for each draw of all else.

    A row x = (p − m, b − a), whose prior mean is 0 or what features predict,
    predicts μ + b_i + x · (q_i, 1), with q_i in full and all else as `Posterior` keeps
    it. Users have the noise of an unknown one.

    Parameters
    ----------
    posterior : Posterior
        The draws.
    name : {"user", "item"}
        The side of the new ids.
    side : Side
        Their ratings.
    expected : ndarray of shape (n_draws, n_rows, n_factors + 1), or None
        What features predict of the rows, as `Posterior` keeps them.
    levels : ndarray of shape (n_levels,)
        The rating levels; none for ratings with normal noise.
    run : callable
        From `thread_pool`.
    key : uint64 or None
        Key of the random numbers. None: the mean of each distribution.

    Returns
    -------
    factors : ndarray of shape (n_draws, n_rows, n_factors)
        As `Posterior` keeps them.
    biases : ndarray of shape (n_draws, n_rows)
        Likewise.
    """
    n_draws, n_rows = len(posterior), len(side.indptr) - 1
    others = {"user": "item", "item": "user"}[name]
    fixed_factors = getattr(posterior, f"{others}_factors")
    fixed_biases = getattr(posterior, f"{others}_biases")
    other_priors = getattr(posterior, f"{others}_priors")
    variances = getattr(posterior, f"{name}_priors")[:, 1]
    dtype, n_factors = fixed_factors.dtype, fixed_factors.shape[2]
    factors = np.empty((n_draws, n_rows, n_factors), dtype)
    biases = np.empty((n_draws, n_rows), dtype)
    amount = 0.0 if key is None else 1.0
    key = np.uint64(0) if key is None else key
    met, codes = np.unique(side.indices, return_inverse=True)
    side = side._replace(indices=codes.astype(np.int32))
    blocks = cut_rows(work_of_long(side.counts(), n_factors + 1), BLOCK_WORK)
    every = np.arange(n_rows)
    steps = STEPS if len(levels) else 1
    own_weights = np.ones_like(side.ratings) if side.weights is None else side.weights
    for k in range(n_draws):
        means, noise = other_priors[k, 0, :-1], posterior.noise_variances[k]
        fixed = np.column_stack([fixed_factors[k, met] + means, fixed_biases[k, met]])
        fixed, unknown = pad(fixed), noise[-1]
        weights = own_weights
        if name == "item":  # users may have noise of their own
            weights = own_weights * (unknown / noise[met[side.indices]])
        precision = np.zeros(fixed.shape[1], dtype)
        precision[: n_factors + 1] = 1 / variances[k]
        deviations = np.full(n_rows, float(unknown) ** 0.5)
        prior = Prior(precision, np.zeros_like(precision), deviations)
        drawn, errors = np.zeros((n_rows, fixed.shape[1]), dtype), np.empty(n_rows)
        center = drawn[:0]
        if expected is not None:
            drawn[:, : n_factors + 1] = expected[k]
            drawn[:, n_factors] -= (expected[k, :, :-1] * means).sum(axis=1)
            center = drawn.copy()
        known = side._replace(
            ratings=side.ratings - posterior.intercepts[k], weights=weights
        )
        for step in range(steps):
            sweep = np.uint64(k * steps + step)
            if len(levels):
                scores = np.empty(len(side.ratings))
                run(score_ratings, blocks, known, drawn, fixed, n_factors + 1, scores)
                precisions = (weights / unknown).astype(np.float64)
                parts = split_levels(side.ratings, levels, precisions)
                latents, _ = draw_latents(
                    [(*part, scores) for part in parts],
                    posterior.cut_points[k] - posterior.intercepts[k],
                    (key, FOLD_IN + np.uint64(1), sweep),
                    run,
                )
                known = known._replace(ratings=(latents / precisions).astype(dtype))
            draw = Draw(key, FOLD_IN, sweep, amount)
            given = known, fixed, n_factors + 1, prior, center, draw
            run(sample_rows, blocks, every, *given, drawn, errors)
        factors[k] = drawn[:, :n_factors]
        biases[k] = drawn[:, n_factors] + (factors[k] * means).sum(axis=1)
    return factors, biases
