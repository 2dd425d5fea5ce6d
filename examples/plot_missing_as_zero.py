"""
Missing ratings read as zeros
=============================

With ``unobserved_weight=1``, `ALSFactorizer` factorises the whole matrix of users and
items, in which a missing rating is a 0: a regularised singular value decomposition.
How long does each sweep over the matrix take, how much does it lower the loss, and what
can the predictions be used for?

It runs on synthetic ratings, or on your own, for three numbers of factors, or for one::

    python examples/plot_missing_as_zero.py --output-dir results
    python examples/plot_missing_as_zero.py --ratings ratings.csv
    python examples/plot_missing_as_zero.py --epochs 100 --factor 5 --lambda_param 0.01
"""

import argparse
import json
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.model_selection import train_test_split

from sklearn_mf import ALSFactorizer, as_matrix
from sklearn_mf.datasets import load_ratings, make_ratings

parser = argparse.ArgumentParser(description="Factorise ratings, missing ones as 0.")
parser.add_argument("--epochs", type=int, default=100, help="sweeps of each fit")
parser.add_argument("--factor", type=int, help="d; 2, 15 and 100 if not given")
parser.add_argument("--lambda_param", type=float, default=0.01, help="penalty λ")
parser.add_argument("--ratings", metavar="FILE", help="user, item, rating, ...")
parser.add_argument("--output-dir", metavar="DIR", type=Path, default=Path())
args = parser.parse_args()
args.output_dir.mkdir(parents=True, exist_ok=True)

if args.ratings:
    X, y = load_ratings(args.ratings)
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
# Two callbacks observe each fit. The first is a stopwatch, which is stopped between two
# sweeps. The second, called after it, measures the loss after the sweeps 1, 11, 21, …,
# so that this time is not counted. Neither is the time to compile or load the kernels,
# which a first tiny fit has done before.


class Callback:
    """A callback that does nothing."""

    def setup(self, estimator, context):
        """Do nothing."""

    teardown = on_fit_task_begin = on_fit_task_end = setup


class Stopwatch(Callback):
    """Add up the seconds of the sweeps."""

    seconds = 0.0

    def on_fit_task_begin(self, estimator, context):
        """Start."""
        self.start = time.perf_counter()

    def on_fit_task_end(self, estimator, context):
        """Stop."""
        if context.task_name == "iteration":
            self.seconds += time.perf_counter() - self.start


class Record(Callback):
    """Record seconds and loss after the sweeps 1, 11, 21, ….

    Parameters
    ----------
    stopwatch : Stopwatch
        Gives the seconds.
    rows : list
        The list to which the records are appended.
    """

    def __init__(self, stopwatch, rows):
        self.stopwatch = stopwatch
        self.rows = rows

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        """Append a record."""
        if context.task_name == "iteration" and context.task_id % 10 == 0:
            self.rows.append(
                {
                    "d": estimator.n_factors,
                    "sweep": context.task_id + 1,
                    "seconds": self.stopwatch.seconds,
                    "loss": measure_loss(fitted_estimator),
                }
            )


zeros = ALSFactorizer(
    regularization=args.lambda_param,
    weighted_regularization=False,
    unobserved_weight=1,
    fit_intercept=False,
    max_iter=args.epochs,
    tol=None,
    random_state=0,
)
clone(zeros).set_params(max_iter=1).fit(X[:100], y[:100])

rows = []
factors = [args.factor] if args.factor else [2, 15, 100]
for d in factors:
    stopwatch = Stopwatch()
    als = clone(zeros).set_params(n_factors=d)
    als.set_callbacks(stopwatch, Record(stopwatch, rows)).fit(X, y)
    norms = np.sum(als.user_factors_**2) + np.sum(als.item_factors_**2)
    objective = n_cells * measure_loss(als) + args.lambda_param * norms
    print(f"d = {d}: loss_curve_ ends at {als.loss_curve_[-1]:.6f},", end=" ")
    print(f"loss and penalty give {objective:.6f}")
(args.output_dir / "missing_as_zero.json").write_text(json.dumps(rows, indent=2) + "\n")

print(f"\n{'':7}" + "".join(f"{f'd = {d}':>20}" for d in factors))
print("  sweep" + f"{'seconds':>11}{'loss':>9}" * len(factors))
for sweep in range(1, args.epochs + 1, 10):
    now = [row for row in rows if row["sweep"] == sweep]
    cells = "".join("{seconds:11.3f}{loss:9.5f}".format(**row) for row in now)
    print(f"{sweep:7}{cells}")

# %%
# The loss falls from record to record (with two factors it soon stays the same up to
# rounding), and nearly all of the fall is within the first eleven sweeps. To lower it
# further takes more factors, and these take more time: one sweep with a hundred factors
# leaves less loss than ninety-one sweeps with fifteen.

COLORS = ["#0072B2", "#D55E00", "#009E73"]
figure, ax = plt.subplots(figsize=(8, 5), layout="constrained")
for d, color, marker in zip(factors, COLORS, "os^", strict=False):
    line = [row for row in rows if row["d"] == d]
    seconds, losses = [row["seconds"] for row in line], [row["loss"] for row in line]
    ax.plot(seconds, losses, color=color, marker=marker, label=f"d = {d}")
    for row, side, offset in ((line[0], "right", -8), (line[-1], "left", 8)):
        ax.annotate(
            f"sweep {row['sweep']}",
            (row["seconds"], row["loss"]),
            xytext=(offset, 0),
            textcoords="offset points",
            ha=side,
            va="center",
            color=color,
        )
ax.set_xscale("log")
ax.margins(x=0.15)
ax.grid(alpha=0.3)
ax.set(xlabel="time of the sweeps (s)", ylabel="MSE over all cells (stars²)")
ax.legend()
figure.savefig(args.output_dir / "missing_as_zero.png", dpi=150)

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
d = factors[0]
models = {
    "all cells": clone(zeros).set_params(n_factors=d),
    "observed ratings": ALSFactorizer(d, random_state=0),
}
tested = {*map(tuple, X_test.tolist())}

print(f"d = {d}; an item has {counts.mean():.0f} ratings on average\n")
print(f"{'fitted to':18}{'test RMSE':>11}{'ratings of the':>17}{'share of these':>17}")
print(f"{'':18}{'(stars)':>11}{'10 recommended':>17}{'in the test':>17}")
quality = {}
for name, als in models.items():
    als.fit(X_train, y_train)
    best, _ = als.recommend(np.unique(X_test[:, 0]), n_items=10, popularity_weight=0)
    places = np.searchsorted(ids, best.compressed())
    rmse, popularity = -als.score(X_test, y_test), counts[places].mean()
    rows = zip(np.unique(X_test[:, 0]).tolist(), best.tolist(), strict=True)
    hits = [(user, item) in tested for user, row in rows for item in row]
    precision = np.mean(hits)
    quality[name] = {"rmse": rmse, "popularity": popularity, "precision": precision}
    print(f"{name:18}{rmse:11.3f}{popularity:17.0f}{precision:17.3f}")

plt.show()
