"""The mathematics of the library in plain NumPy, sharing no code with it.

Slow and literal: dense masks, dictionaries, one row at a time. A row of P or Q holds
the factors of an id, and where λ_b is given its bias as the last entry.
"""

import numpy as np
from scipy.special import expit


def dense(users, items, ratings, weights=None, unobserved_weight=0.0, shape=None):
    """Return R, the ratings, and W, their weights, as dense matrices (0 = no rating).

    Ids are 0, 1, …; a repeated pair is one rating: weights added, ratings averaged. A
    pair without a rating is a rating of 0 with the weight for unobserved pairs.
    """
    shape = shape or (max(users) + 1, max(items) + 1)
    W, WR = np.zeros(shape), np.zeros(shape)
    weights = np.ones(len(ratings)) if weights is None else weights
    for u, i, r, w in zip(users, items, ratings, weights, strict=True):
        W[u, i] += w
        WR[u, i] += w * r
    R = np.divide(WR, W, out=np.zeros(shape), where=W > 0)
    return R, np.where(W > 0, W, unobserved_weight)


def weighted_mean(R, W):
    return (W * R).sum() / W.sum()


def scores(P, Q, mu, biased):
    """Return the prediction of every pair, under log loss its logit."""
    if not biased:
        return mu + P @ Q.T
    return mu + P[:, -1:] + Q[:, -1] + P[:, :-1] @ Q[:, :-1].T


def penalties(c, n_columns, lam, lam_b):
    """Return the penalty of every entry of the rows of one side."""
    columns = np.full(n_columns, float(lam))
    if lam_b is not None:
        columns[-1] = lam_b
    return np.outer(c, columns)


def standardise(F, known, dense=True):
    """Scale features: mean 0, sd 1 if dense, and 1 the mean of the squared lengths.

    All that over the rows that have features; the others become zero. Returns the
    features, and what was subtracted from each column and divided by.
    """
    centers = F[known].mean(axis=0)
    scales = F[known].std(axis=0) if dense else np.ones_like(centers)
    X = np.where(known[:, np.newaxis], (F - centers) / scales, 0)
    length = np.sqrt((X**2).sum() / known.sum())
    return X / length, centers, scales * length


def pattern(observed):
    """Return what each row rated, as features: 1/√n for each of its n ratings.

    Less the mean of the rows that have ratings; the others are zero.
    """
    n = observed.sum(axis=1, keepdims=True)
    X = observed / np.sqrt(np.maximum(n, 1))
    return np.where(n > 0, X - X.sum(axis=0) / (n > 0).sum(), 0)


def objective(
    R,
    W,
    P,
    Q,
    mu,
    lam,
    weighted,
    lam_b=None,
    *,
    logistic=False,
    features=(None, None),
    phi=5.0,
):
    """Return the written objective.

    `features` holds, of users and of items, their standardised features X and the
    weights G, or None.
    """
    z = scores(P, Q, mu, lam_b is not None)
    losses = (R - z) ** 2
    if logistic:
        losses = -2 * (R * np.log(expit(z)) + (1 - R) * np.log(expit(-z)))
    value = (W * losses).sum()
    for rows, n, design in ((P, W.sum(axis=1), 0), (Q, W.sum(axis=0), 1)):
        c, rest = n ** float(weighted), rows
        if features[design] is not None:
            X, G = features[design]
            rest, rated = rows - X @ G, c[n > 0]
            mean = phi * (rated**2).sum() / rated.sum()
            value += (penalties([mean], G.shape[1], lam, lam_b) * G**2).sum()
        value += (penalties(c, rows.shape[1], lam, lam_b) * rest**2).sum()
    return value


def gradients(R, W, P, Q, *terms, step=1e-5, **options):
    """Gradient of the objective by P, Q and each G, by central differences."""
    found = []
    weights = [one[1] for one in options.get("features", ()) if one is not None]
    for block in (P, Q, *weights):
        gradient = np.empty_like(block)
        for at in np.ndindex(block.shape):
            kept = block[at]
            block[at] = kept + step
            above = objective(R, W, P, Q, *terms, **options)
            block[at] = kept - step
            below = objective(R, W, P, Q, *terms, **options)
            block[at] = kept
            gradient[at] = (above - below) / (2 * step)
        found.append(gradient)
    return found


def solve_side(R, W, Q, mu, lam, weighted, lam_b=None):
    """Ridge regression of each row of R on Q, of least norm where it is singular."""
    d = Q.shape[1]
    X = np.zeros((len(R), d))
    for u in range(len(R)):
        rated = np.flatnonzero(W[u])
        if len(rated) == 0:
            continue
        root = np.sqrt(W[u, rated])
        design, r = Q[rated].copy(), R[u, rated] - mu
        if lam_b is not None:
            r -= design[:, -1]
            design[:, -1] = 1
        c = W[u].sum() ** float(weighted)
        penalty = penalties([c], d, lam, lam_b)[0]
        A = np.vstack([root[:, None] * design, np.diag(np.sqrt(penalty))])
        X[u] = np.linalg.pinv(A) @ np.concatenate([root * r, np.zeros(d)])
    return X


def als(R, W, P, *, lam, weighted=True, mu=None, lam_b=None, n_sweeps):
    """Alternating least squares from the rows of the users: P, Q, mu, loss curve."""
    mu = weighted_mean(R, W) if mu is None else mu
    losses = []
    for _ in range(n_sweeps):
        Q = solve_side(R.T, W.T, P, mu, lam, weighted, lam_b)
        P = solve_side(R, W, Q, mu, lam, weighted, lam_b)
        losses.append(objective(R, W, P, Q, mu, lam, weighted, lam_b))
    return P, Q, mu, losses
