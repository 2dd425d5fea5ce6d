"""
Alternating least squares over d and λ
======================================

How many factors, and how large a penalty? A grid of both shows underfitting,
overfitting and the best point between them, in the squared and in the absolute error.
At the end two short programs in NumPy do the same sweeps: how much faster is compiled
code?

It runs on synthetic ratings, or on your own. Results and figures are saved in the
folder given::

    python examples/plot_als_grid.py --output-dir results
    python examples/plot_als_grid.py --ratings ratings.csv
"""

import argparse
import json
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.dummy import DummyRegressor
from sklearn.model_selection import GridSearchCV, ShuffleSplit, cross_validate

from sklearn_mf import ALSFactorizer, as_matrix
from sklearn_mf.datasets import load_ratings, make_ratings

parser = argparse.ArgumentParser(description="Fit ALS over a grid of d and λ.")
parser.add_argument("--output-dir", metavar="DIR", type=Path, default=Path())
parser.add_argument("--ratings", metavar="FILE", help="user, item, rating, ...")
args = parser.parse_args()
args.output_dir.mkdir(parents=True, exist_ok=True)

# %%
# Twenty-four fits
# ----------------
# The synthetic ratings have the shape of MovieLens 100K. They come from five factors
# and a bias for each user and item, plus noise with a standard deviation of 0.7 stars.
#
# The penalty is the plain λ (‖P‖² + ‖Q‖²): ``weighted_regularization=False``. A
# `GridSearchCV` with one random split keeps a fifth of the ratings for the test and
# measures both errors on both parts. Every fit runs exactly ten sweeps. A first tiny
# fit compiles the kernels, or loads them, so that this time is not measured.

if args.ratings:
    X, y = load_ratings(args.ratings)
else:
    X, y = make_ratings(943, 1682, 100_000, noise=0.7, random_state=0)

SWEEPS = 10
GRID = {"n_factors": [1, 2, 5, 10, 20, 50], "regularization": [1, 2, 4, 6]}
SCORING = {"mse": "neg_mean_squared_error", "mae": "neg_mean_absolute_error"}
SPLIT = ShuffleSplit(1, test_size=0.2, random_state=0)

als = ALSFactorizer(
    weighted_regularization=False, max_iter=SWEEPS, tol=None, random_state=0
)
als.fit(X[:100], y[:100])

start = time.perf_counter()
search = GridSearchCV(
    als, GRID, scoring=SCORING, cv=SPLIT, refit=False, return_train_score=True
).fit(X, y)
seconds = time.perf_counter() - start

results = search.cv_results_
errors = [f"{part}_{metric}" for part in ("train", "test") for metric in SCORING]
rows = [
    {"d": params["n_factors"], "lambda_reg": params["regularization"]}
    | {error: -results[f"mean_{error}"][k] for error in errors}
    for k, params in enumerate(results["params"])
]

# %%
# The best of the grid is the point with the lowest test MSE. (Because the test part was
# used to choose it, its error is slightly optimistic: to report an error, keep other
# ratings for that, or search with the folds of a cross-validation.) The line below the
# grid has the errors of predicting the mean of the training ratings for every pair.

(args.output_dir / "als_grid.json").write_text(json.dumps(rows, indent=2) + "\n")

best = min(rows, key=lambda row: row["test_mse"])
dummy = cross_validate(DummyRegressor(), X, y, scoring=SCORING, cv=SPLIT)
mean_error = {metric: -dummy[f"test_{metric}"][0] for metric in SCORING}

print("  d  λ" + "".join(f"{error.replace('_', ' '):>11}" for error in errors))
for row in rows:
    cells = "".join(f"{row[error]:11.4f}" for error in errors)
    mark = "  * best" if row is best else ""
    print(f"{row['d']:3}{row['lambda_reg']:3}{cells}{mark}")
print(f"  mean{'':22}{mean_error['mse']:11.4f}{mean_error['mae']:11.4f}")
print(f"\n{len(rows)} fits with their scores: {seconds:.1f} s")

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


def draw_line(ax, error, penalty, **style):
    """Draw an error against d for one penalty."""
    line = [row for row in rows if row["lambda_reg"] == penalty]
    d, values = [row["d"] for row in line], [row[error] for row in line]
    ax.plot(d, values, color=COLORS[penalty], marker="o", markersize=4, **style)


def label_axes(ax, metric):
    """Scale and label the axes of an error against d."""
    unit = {"mse": "MSE (stars²)", "mae": "MAE (stars)"}[metric]
    ax.set_xscale("log")
    ax.set_xticks(GRID["n_factors"], labels=GRID["n_factors"])
    ax.minorticks_off()
    ax.grid(alpha=0.3)
    ax.set(xlabel="number of factors d", ylabel=unit)


penalties = GRID["regularization"]
viridis = plt.colormaps["viridis"](np.linspace(0, 0.85, len(penalties)))
COLORS = dict(zip(penalties, viridis, strict=True))

figure, axes = plt.subplots(
    2, 2, figsize=(9, 7), sharex=True, sharey="row", layout="constrained"
)
for ax_row, metric in zip(axes, SCORING, strict=True):
    for ax, part in zip(ax_row, ("train", "test"), strict=True):
        for penalty in penalties:
            draw_line(ax, f"{part}_{metric}", penalty, label=f"λ = {penalty}")
        label_axes(ax, metric)
        ax.set_title(f"{part} {metric.upper()}")
        ax.label_outer()
    ax.axhline(mean_error[metric], color="0.4", linestyle=":", label="mean rating")
handles, labels = ax.get_legend_handles_labels()
figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
figure.savefig(args.output_dir / "als_grid.png", dpi=150)

# %%
# The chosen λ
# ------------
# Four curves with this λ: the gap between training and test error grows with d. The
# star is the best point of the grid.

penalty = best["lambda_reg"]
figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
for ax, metric in zip(axes, SCORING, strict=True):
    draw_line(ax, f"train_{metric}", penalty, label="train", linestyle="--")
    draw_line(ax, f"test_{metric}", penalty, label="test")
    star = {"linestyle": "none", "marker": "*", "markersize": 15, "color": "C1"}
    ax.plot(best["d"], best[f"test_{metric}"], label=f"d = {best['d']}", **star)
    label_axes(ax, metric)
    ax.legend()
figure.suptitle(f"λ = {penalty}")
figure.savefig(args.output_dir / "als_grid_best.png", dpi=150)

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


class Stopwatch:
    """A callback that records the seconds of each sweep."""

    def __init__(self):
        self.seconds = []

    def setup(self, estimator, context):
        """Do nothing."""

    teardown = setup

    def on_fit_task_begin(self, estimator, context):
        """Start."""
        self.start = time.perf_counter()

    def on_fit_task_end(self, estimator, context):
        """Stop."""
        if context.task_name == "iteration":
            self.seconds.append(time.perf_counter() - self.start)


# %%
# All three do the same work on 100,000 ratings, with the λ chosen above. The library
# does ten sweeps on all cores, whose mean time is reported. Then each of the three does
# one more sweep from there, after which all must predict the same.
#
# With two factors, the double loop takes hundreds of times as long as compiled code,
# because the interpreter runs for every single rating. The ratio falls as d grows: an
# outer product of fifty factors takes long enough in NumPy's own compiled code. Row by
# row, where the interpreter runs only once for each user, the gain is far smaller.

X, y = X[:100_000], y[:100_000]
codes = [np.unique(ids, return_inverse=True)[1] for ids in X.T]
by_user = as_matrix(np.column_stack(codes), y - y.mean())
by_item = by_user.T.tocsr()
NUMPY = {"row by row": multiply_matrices, "double loop": add_up_ratings}

print("Milliseconds a sweep (× sklearn_mf), and the largest difference in predictions")
print(f"\n  d{'sklearn_mf':>12}{'row by row':>18}{'double loop':>18}{'difference':>12}")
speeds = []
for d in (2, 10, 50):
    model = clone(als).set_params(n_factors=d, regularization=penalty, clip=False)
    stopwatch = Stopwatch()
    model.set_callbacks(stopwatch).fit(X, y)
    P_start, own_seconds = model.user_factors_, np.mean(stopwatch.seconds)
    predictions = model.set_params(warm_start=True, max_iter=1).fit(X, y).predict(X)
    speed = {"d": d, "difference": 0.0}
    print(f"{d:3}{1e3 * own_seconds:12.2f}", end="")
    for name, build in NUMPY.items():
        start = time.perf_counter()
        Q = solve_rows(by_item, P_start, penalty, build)
        P = solve_rows(by_user, Q, penalty, build)
        seconds = time.perf_counter() - start
        speed[name] = seconds / own_seconds
        off = y.mean() + np.sum(P[codes[0]] * Q[codes[1]], axis=1) - predictions
        speed["difference"] = max(speed["difference"], np.abs(off).max())
        print(f"{1e3 * seconds:10.1f} (×{speed[name]:4.0f})", end=" ")
    print(f"{speed['difference']:11.1e}")
    speeds.append(speed)

plt.show()
