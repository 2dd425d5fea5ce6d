"""The mathematics of the library in plain NumPy, sharing no code with it.

Slow and literal: dense masks, dictionaries, one row at a time.
"""

import numpy as np


def dense(users, items, ratings, weights=None):
    """Give R, the ratings, and W, their weights, as dense matrices (0 = no rating).

    Ids are 0, 1, …; a repeated pair is one rating: weights added, ratings averaged.
    """
    shape = max(users) + 1, max(items) + 1
    W, WR = np.zeros(shape), np.zeros(shape)
    weights = np.ones(len(ratings)) if weights is None else weights
    for u, i, r, w in zip(users, items, ratings, weights, strict=True):
        W[u, i] += w
        WR[u, i] += w * r
    return np.divide(WR, W, out=np.zeros(shape), where=W > 0), W


def weighted_mean(R, W):
    return (W * R).sum() / W.sum()


def objective(R, W, P, Q, mu, lam, weighted):
    c_users = W.sum(axis=1) if weighted else np.ones(len(P))
    c_items = W.sum(axis=0) if weighted else np.ones(len(Q))
    return (
        (W * (R - mu - P @ Q.T) ** 2).sum()
        + lam * (c_users * (P**2).sum(axis=1)).sum()
        + lam * (c_items * (Q**2).sum(axis=1)).sum()
    )


def gradients(R, W, P, Q, mu, lam, weighted, step=1e-5):
    """Gradient of the objective with respect to P and to Q, by central differences."""
    found = []
    for block in (P, Q):
        gradient = np.empty_like(block)
        for at in np.ndindex(block.shape):
            kept = block[at]
            block[at] = kept + step
            above = objective(R, W, P, Q, mu, lam, weighted)
            block[at] = kept - step
            below = objective(R, W, P, Q, mu, lam, weighted)
            block[at] = kept
            gradient[at] = (above - below) / (2 * step)
        found.append(gradient)
    return found


def solve_side(R, W, Q, mu, lam, weighted):
    """Ridge regression of each row of R on Q, of least norm where it is singular."""
    d = Q.shape[1]
    X = np.zeros((len(R), d))
    for u in range(len(R)):
        rated = np.flatnonzero(W[u])
        if len(rated) == 0:
            continue
        root = np.sqrt(W[u, rated])
        lam_u = lam * (W[u].sum() if weighted else 1.0)
        A = np.vstack([root[:, None] * Q[rated], np.sqrt(lam_u) * np.eye(d)])
        b = np.concatenate([root * (R[u, rated] - mu), np.zeros(d)])
        X[u] = np.linalg.pinv(A) @ b
    return X


def als(R, W, Q, *, lam, weighted=True, mu=None, n_sweeps):
    """Alternating least squares from the item factors Q: P, Q, mu, loss curve."""
    mu = weighted_mean(R, W) if mu is None else mu
    losses = []
    for _ in range(n_sweeps):
        P = solve_side(R, W, Q, mu, lam, weighted)
        Q = solve_side(R.T, W.T, P, mu, lam, weighted)
        losses.append(objective(R, W, P, Q, mu, lam, weighted))
    return P, Q, mu, losses
