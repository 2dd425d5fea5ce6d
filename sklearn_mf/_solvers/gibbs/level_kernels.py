"""Kernels of rating levels: normal probabilities between cut points.

A rating of level k and weight w, whose score is s, has a latent rating between its cut
points, from a = √w (c_k − s) to b = √w (c_{k+1} − s) in standard deviations about the
score. Its share of the probability is P = Φ(b) − Φ(a). Where both are above 0 they are
mirrored, to −b and −a, since Φ has no rounding errors far below 0.
"""

import math

import numpy as np

from sklearn_mf._runtime.compile import helper, jit

ROOT_2 = math.sqrt(2)
DENSITY = 1 / math.sqrt(2 * math.pi)  # of the normal distribution at 0
SMALLEST = 1e-300  # probabilities are no smaller, some 37 standard deviations away


@helper
def cumulate(x):
    """Return Φ(x)."""
    return 0.5 * math.erfc(-x / ROOT_2)


@helper
def weigh_density(x, root, share):
    """Return √w φ(x) / P, 0 at infinity."""
    return root * DENSITY * math.exp(-0.5 * x * x) / share if abs(x) < np.inf else 0.0


@helper
def find_ends(k, at, levels, weights, scores, ends):
    """Return a and b of a rating, mirrored if so, whether they are, √w, Φ(a) and P."""
    root, score = math.sqrt(weights[k]), scores[at[k]]
    a, b = root * (ends[levels[k]] - score), root * (ends[levels[k] + 1] - score)
    mirrored = a > 0
    if mirrored:
        a, b = -b, -a
    below = cumulate(a)
    return a, b, mirrored, root, below, max(cumulate(b) - below, SMALLEST)


@jit
def add_log_shares(start, stop, at, levels, weights, scores, ends, size, sums):
    """Add up log P of ratings.

    Parameters
    ----------
    start, stop : int
        Which of the ratings, a block of `size` at most.
    at : int ndarray of shape (n_ratings,)
        Where their scores stand.
    levels : int ndarray of shape (n_ratings,)
        Their levels.
    weights : float64 ndarray of shape (n_ratings,)
        Their weights.
    scores : float64 ndarray
        The scores.
    ends : float64 ndarray of shape (n_levels + 1,)
        The cut points, and ±∞.
    size : int
        Number of ratings of a block.
    sums : float64 ndarray of shape (n_blocks, 1)
        The sum of the block is written to row ``start // size``.
    """
    total = 0.0
    for k in range(start, stop):
        _, _, _, _, _, share = find_ends(k, at, levels, weights, scores, ends)
        total += math.log(share)
    sums[start // size, 0] = total


@jit
def add_derivatives(start, stop, at, levels, weights, scores, ends, size, sums):
    """Add up derivatives of log P by the cut points c_k below and c_{k+1} above.

    With ρ_a = √w φ(a) / P and ρ_b likewise they are −ρ_a and ρ_b; the second ones
    √w a ρ_a − ρ_a² and −√w b ρ_b − ρ_b²; and the mixed one ρ_a ρ_b.

    Parameters
    ----------
    start, stop, at, levels, weights, scores, ends, size
        See `add_log_shares`.
    sums : float64 ndarray of shape (n_blocks, 3 * (n_levels + 1))
        First, second and mixed derivatives are added to row ``start // size``, each by
        its cut point; the mixed ones by the lower of two.
    """
    n = len(ends)
    block = sums[start // size]
    for k in range(start, stop):
        a, b, mirrored, root, _, share = find_ends(k, at, levels, weights, scores, ends)
        low, high = weigh_density(a, root, share), weigh_density(b, root, share)
        below = root * a * low - low * low if low > 0 else 0.0
        above = -root * b * high - high * high if high > 0 else 0.0
        lower, upper = levels[k], levels[k] + 1
        if mirrored:
            low, high, below, above = high, low, above, below
        block[lower] -= low
        block[upper] += high
        block[n + lower] += below
        block[n + upper] += above
        block[2 * n + lower] += low * high


@jit
def place_latents(start, stop, at, levels, weights, scores, ends, uniform):
    """Replace uniform numbers u by Φ(a) + u P, the Φ of latent ratings.

    See `add_log_shares`; uniform is a float64 ndarray of shape (n_ratings,).
    """
    for k in range(start, stop):
        _, _, _, _, below, share = find_ends(k, at, levels, weights, scores, ends)
        uniform[k] = below + uniform[k] * share


@jit
def add_latents(start, stop, at, levels, weights, scores, ends, latents, total):
    """Add latent ratings times their weights to the totals of the ratings.

    See `add_log_shares`. latents are in standard deviations about the scores, and
    mirrored where the ends are; they are overwritten with the latent ratings. No rating
    may occur twice.
    """
    for k in range(start, stop):
        a, b, mirrored, root, _, _ = find_ends(k, at, levels, weights, scores, ends)
        z = min(max(latents[k], a), b)
        if mirrored:
            z = -z
        latents[k] = scores[at[k]] + z / root
        total[at[k]] += weights[k] * latents[k]
