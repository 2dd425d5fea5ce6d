"""
Missing ratings read as zeros
=============================

With ``unobserved_weight=1``, `ALSFactorizer` factorises the whole matrix of users and
items, in which a missing rating is a 0: a regularised singular value decomposition.
How long does each sweep over the matrix take, how much does it lower the loss, and what
can the predictions be used for?
"""

import time

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.model_selection import train_test_split

from sklearn_mf import ALSFactorizer, as_matrix
from sklearn_mf.datasets import load_ratings, make_ratings

RATINGS = None  # or the name of your own file: user, item, rating
FACTORS, PENALTY, SWEEPS = [2, 15, 100], 0.01, 50

if RATINGS:
    X, y = load_ratings(RATINGS)
else:
    X, y = make_ratings(943, 1682, 90_570, random_state=0)

# %%
# The loss over all cells
# -----------------------
# The loss is the mean of (r − r̂)² over all cells, with r = 0 where there is no rating.
# It needs no dense matrix: with the factors P and Q, the sum is
#
#     ‖R‖² − 2 Σ r r̂ + ‖P Qᵀ‖²
#
# where only ratings other than 0 matter in the first two terms, and the last one is the
# trace of Pᵀ P Qᵀ Q, a product of two matrices of d × d. ``loss_curve_`` is the whole
# objective, this sum and λ (‖P‖² + ‖Q‖²).

codes = [np.unique(ids, return_inverse=True)[1] for ids in X.T]
R = as_matrix(np.column_stack(codes), y)
n_cells = R.shape[0] * R.shape[1]


def measure_loss(als):
    """Return the mean squared error over all cells."""
    P, Q = als.user_factors_, als.item_factors_
    squares = np.sum((P.T @ P) * (Q.T @ Q))
    return (R.data @ R.data - 2 * np.sum(P * (R @ Q)) + squares) / n_cells


# %%
# Sweep by sweep
# --------------
# ``loss_curve_`` has the objective after each sweep. The time of a fit, divided by the
# number of sweeps, is that of a sweep. At the end of each fit, loss and penalty
# together must give the last value of the objective.

zeros = ALSFactorizer(
    regularization=PENALTY,
    weighted_regularization=False,
    unobserved_weight=1,
    fit_intercept=False,
    max_iter=SWEEPS,
    tol=None,
    random_state=0,
)
clone(zeros).set_params(max_iter=1).fit(X[:100], y[:100])  # compiles

curves = {}
for d in FACTORS:
    als = clone(zeros).set_params(n_factors=d)
    start = time.perf_counter()
    als.fit(X, y)
    seconds = (time.perf_counter() - start) / SWEEPS
    curves[d] = seconds * np.arange(1, SWEEPS + 1), np.divide(als.loss_curve_, n_cells)
    norms = np.sum(als.user_factors_**2) + np.sum(als.item_factors_**2)
    objective = n_cells * measure_loss(als) + PENALTY * norms
    print(f"d = {d:3}: {1e3 * seconds:5.1f} ms a sweep, ", end="")
    print(f"loss_curve_ ends at {als.loss_curve_[-1]:.6f}, by hand {objective:.6f}")

table = pd.DataFrame({f"d = {d}": curve for d, (_, curve) in curves.items()})
table.index = pd.Index(range(1, SWEEPS + 1), name="sweep")
print(table.iloc[[0, 1, 2, 5, 10, 20, SWEEPS - 1]].round(5))

# %%
# The objective falls from sweep to sweep (with two factors it soon stays the same up to
# rounding), and nearly all of the fall is within the first ten. To lower it further
# takes more factors, and these take more time: one sweep with a hundred factors leaves
# less than fifty with fifteen.

COLORS = ["#0072B2", "#D55E00", "#009E73"]
figure, ax = plt.subplots(figsize=(8, 5), layout="constrained")
for (d, curve), color, marker in zip(curves.items(), COLORS, "os^", strict=False):
    ax.semilogx(*curve, color=color, marker=marker, ms=3, label=f"d = {d}")
ax.grid(alpha=0.3)
ax.set(xlabel="time of the sweeps (s)", ylabel="objective per cell (stars²)")
ax.legend()

# %%
# What the predictions can be used for
# ------------------------------------
# A missing rating is not a rating of 0. As predictions of ratings the values are far
# off, because nearly all cells are 0. They rather say how likely a rating is. The
# recommended items are those with many ratings, and so more of them are found among the
# test ratings, whether these are good or bad. A fit to the observed ratings alone
# predicts ratings well, and the items with its highest predictions are no more popular
# than others. (By default ``recommend`` of such a model also counts how many users
# rated an item; ``popularity_weight=0`` goes by the predictions alone.)

X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
ids, counts = np.unique(X_train[:, 1], return_counts=True)
models = {
    "all cells": clone(zeros).set_params(n_factors=FACTORS[0]),
    "observed ratings": ALSFactorizer(FACTORS[0], random_state=0),
}
tested = {*map(tuple, X_test.tolist())}
users = np.unique(X_test[:, 0])

quality = {}
for name, als in models.items():
    als.fit(X_train, y_train)
    best, _ = als.recommend(users, n_items=10, popularity_weight=0)
    popularity = counts[np.searchsorted(ids, best.compressed())].mean()
    rows = zip(users.tolist(), best.tolist(), strict=True)
    hits = [(user, item) in tested for user, row in rows for item in row]
    quality[name] = {
        "test RMSE": -als.score(X_test, y_test),
        "ratings of the 10 recommended": popularity,
        "share of these in the test": np.mean(hits),
    }
print(f"d = {FACTORS[0]}; an item has {counts.mean():.0f} ratings on average")
print(pd.DataFrame(quality).round(3))

plt.show()
