"""
Alternating least squares over d and λ
======================================

How many factors, and how large a penalty? A grid of both shows underfitting,
overfitting and the best point between them, in the squared and in the absolute error.
At the end two short programs in NumPy do the same sweeps: how much faster is compiled
code?
"""

import time

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.dummy import DummyRegressor
from sklearn.model_selection import GridSearchCV, ShuffleSplit, cross_validate

from sklearn_mf import ALSFactorizer, as_matrix
from sklearn_mf.datasets import load_ratings, make_ratings

RATINGS = None  # or the name of your own file: user, item, rating

# %%
# Twenty-four fits
# ----------------
# The synthetic ratings have the shape of MovieLens 100K. They come from five factors
# and a bias for each user and item, plus noise with a standard deviation of 0.7 stars.
#
# The penalty is the plain λ (‖P‖² + ‖Q‖²): ``weighted_regularization=False``. A
# `GridSearchCV` with one random split keeps a fifth of the ratings for the test and
# measures both errors on both parts. Every fit runs exactly ten sweeps.

if RATINGS:
    X, y = load_ratings(RATINGS)
else:
    X, y = make_ratings(943, 1682, 100_000, noise=0.7, random_state=0)

SWEEPS = 10
GRID = {"n_factors": [1, 2, 5, 10, 20, 50], "regularization": [1, 2, 4, 6]}
SCORING = {"mse": "neg_mean_squared_error", "mae": "neg_mean_absolute_error"}
SPLIT = ShuffleSplit(1, test_size=0.2, random_state=0)

als = ALSFactorizer(
    weighted_regularization=False, max_iter=SWEEPS, tol=None, random_state=0
)
search = GridSearchCV(
    als, GRID, scoring=SCORING, cv=SPLIT, refit=False, return_train_score=True
).fit(X, y)

# %%
# The best of the grid is the point with the lowest test MSE. (Because the test part was
# used to choose it, its error is slightly optimistic: to report an error, keep other
# ratings for that, or search with the folds of a cross-validation.) For comparison, the
# errors of predicting the mean of the training ratings for every pair.

d, penalty = (search.cv_results_[f"param_{name}"].astype(int) for name in GRID)
errors = pd.DataFrame(
    {
        f"{part} {metric}": -search.cv_results_[f"mean_{part}_{metric}"]
        for metric in SCORING
        for part in ("train", "test")
    },
    index=pd.MultiIndex.from_arrays([d, penalty], names=["d", "λ"]),
)
dummy = cross_validate(DummyRegressor(), X, y, scoring=SCORING, cv=SPLIT)
mean_error = {metric: -dummy[f"test_{metric}"][0] for metric in SCORING}
best_d, best_penalty = errors["test mse"].idxmin()
print(errors.round(4))
print(f"best: d = {best_d}, λ = {best_penalty}")
print("mean rating: MSE {mse:.4f}, MAE {mae:.4f}".format(**mean_error))

# %%
# Where it overfits
# -----------------
# On the training part, more factors always fit better, and more penalty always fits
# worse. On the test part the error first falls as factors are added, and then rises
# again, for every λ and in both metrics. The larger the penalty, the more factors are
# best. With one factor λ hardly matters; with fifty it decides. Fifty factors with
# λ = 1 push the training MSE far below 0.49, the variance of the noise, which no model
# can predict: they have memorised the noise, and on the test part are hardly better
# than the mean (dotted).

figure, axes = plt.subplots(
    2, 2, figsize=(9, 7), sharex=True, sharey="row", layout="constrained"
)
for ax, name in zip(axes.flat, errors, strict=True):
    errors[name].unstack().plot(ax=ax, marker="o", ms=4, logx=True, cmap="viridis")
    metric = name.split()[1]
    unit = {"mse": "MSE (stars²)", "mae": "MAE (stars)"}[metric]
    if "test" in name:
        ax.axhline(mean_error[metric], color="0.4", ls=":", label="mean rating")
    ax.set(title=name, xlabel="number of factors d", ylabel=unit)
    ax.set_xticks(GRID["n_factors"], labels=GRID["n_factors"])
    ax.minorticks_off()
    ax.grid(alpha=0.3)
    ax.legend(title="λ", fontsize="small")

# %%
# The chosen λ
# ------------
# With this λ, the gap between training and test error grows with d. The star is the
# best point of the grid.

chosen = errors.xs(best_penalty, level="λ")
figure, ax = plt.subplots(figsize=(6, 3.8), layout="constrained")
chosen[["train mse", "test mse"]].plot(ax=ax, marker="o", ms=4, logx=True)
ax.plot(best_d, chosen.loc[best_d, "test mse"], "*", ms=15, label=f"d = {best_d}")
ax.set(xlabel="number of factors d", ylabel="MSE (stars²)", title=f"λ = {best_penalty}")
ax.set_xticks(GRID["n_factors"], labels=GRID["n_factors"])
ax.minorticks_off()
ax.grid(alpha=0.3)
ax.legend()

# %%
# Compared with NumPy
# -------------------
# Alternating least squares is short in NumPy: for each user, build the normal equations
# from the factors of the items rated, and solve them; then do the same for the items.
# There are two ways to build the equations.
#
# - The *double loop* is the formula of the textbooks, Σ q qᵀ: a loop over the users,
#   and within it one over their ratings, each of which adds an outer product.
# - *Row by row* replaces the inner loop by one product of matrices, Qᵀ Q, where Q
#   holds the factors of the items that the user rated.


def add_up_ratings(Q, r):
    """Build the normal equations of a row, rating by rating."""
    A, b = np.zeros((Q.shape[1], Q.shape[1])), np.zeros(Q.shape[1])
    for q_i, r_i in zip(Q, r, strict=True):
        A += np.outer(q_i, q_i)
        b += r_i * q_i
    return A, b


def multiply_matrices(Q, r):
    """Build the normal equations of a row at once."""
    return Q.T @ Q, Q.T @ r


def solve_rows(R, Q, penalty, build):
    """Solve for the factors of each row of R, those of its columns held fixed."""
    P, ridge = np.zeros((R.shape[0], Q.shape[1])), penalty * np.eye(Q.shape[1])
    for u in range(R.shape[0]):
        rated = slice(R.indptr[u], R.indptr[u + 1])
        A, b = build(Q[R.indices[rated]], R.data[rated])
        P[u] = np.linalg.solve(A + ridge, b)
    return P


# %%
# All three do the same work on 50,000 ratings, with the λ chosen above. From the
# factors of the users after ten sweeps they do one sweep more, after which all must
# predict the same. The library's time for a sweep is that of sixty sweeps less that of
# ten, divided by fifty, so that the time to read the ratings does not count.
#
# With two factors, the double loop takes hundreds of times as long as compiled code,
# because the interpreter runs for every single rating. The ratio falls as d grows: an
# outer product of fifty factors takes long enough in NumPy's own compiled code. Row by
# row, where the interpreter runs only once for each user, the gain is far smaller.

X, y = X[:50_000], y[:50_000]
codes = [np.unique(ids, return_inverse=True)[1] for ids in X.T]
by_user = as_matrix(np.column_stack(codes), y - y.mean())
by_item = by_user.T.tocsr()
NUMPY = {"row by row": multiply_matrices, "double loop": add_up_ratings}


def time_fit(model):
    """Return the seconds that a fit takes."""
    start = time.perf_counter()
    model.fit(X, y)
    return time.perf_counter() - start


speeds = {}
for d in (2, 10, 50):
    model = clone(als).set_params(n_factors=d, regularization=best_penalty, clip=False)
    model.fit(X[:100], y[:100])  # compiles, at the first d
    own = (time_fit(clone(model).set_params(max_iter=60)) - time_fit(model)) / 50
    P_start = model.user_factors_
    predictions = model.set_params(warm_start=True, max_iter=1).fit(X, y).predict(X)
    speeds[d] = {"sklearn_mf, ms": 1e3 * own}
    for name, build in NUMPY.items():
        start = time.perf_counter()
        Q = solve_rows(by_item, P_start, best_penalty, build)
        P = solve_rows(by_user, Q, best_penalty, build)
        speeds[d][f"{name}, ×"] = (time.perf_counter() - start) / own
        difference = y.mean() + np.sum(P[codes[0]] * Q[codes[1]], axis=1) - predictions
        speeds[d][f"{name}, difference"] = np.abs(difference).max()
with pd.option_context("display.float_format", "{:.3g}".format):
    print("one sweep")
    print(pd.DataFrame(speeds).rename_axis(columns="d"))

plt.show()
