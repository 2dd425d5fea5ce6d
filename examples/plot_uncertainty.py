"""
How sure is it?
===============

A predicted rating of 4 stars may come from fifty ratings of a user or from none.
`BayesianMF` tells the two apart: it draws a sample of models instead of fitting one,
and how far their predictions differ tells how sure a prediction is. Are its intervals
right? Do they grow narrower as a user rates more? What do they look like for one user?
"""

import itertools

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import PercentFormatter
from sklearn.calibration import calibration_curve
from sklearn.model_selection import train_test_split

from sklearn_mf import BayesianMF
from sklearn_mf.datasets import load_ratings, make_ratings
from sklearn_mf.inspection import TraceDisplay

RATINGS = None  # or the name of your own file: user, item, rating

# %%
# Ratings
# -------
# The synthetic ratings are whole stars from 1 to 5. So that some users rate much and
# most rate little, a random share of each user's ratings is kept, and a few users have
# none left to learn from. A fifth of the rest is the test part.

if RATINGS:
    X, y = load_ratings(RATINGS)
else:
    X, y = make_ratings(
        1000, 500, 100_000, noise=0.5, popularity=1, rating_step=1, random_state=0
    )
    rng = np.random.default_rng(0)
    share = rng.uniform(size=1000) ** 3
    kept = rng.uniform(size=len(y)) < share[X[:, 0]]
    X, y = X[kept], y[kept]
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.2, random_state=0)
print(f"{len(y_train):,} ratings to learn from, {len(y_test):,} to test")

# %%
# Two models
# ----------
# The first model takes the noise of ratings as normal. The second takes stars as levels
# whose distances need not be equal, and predicts a probability for each of them; its
# draws take longer. There is nothing to tune.

model = BayesianMF(n_chains=2, n_samples=150, random_state=0)
ordinal = BayesianMF(likelihood="ordinal", n_samples=150, random_state=0)
for name, fitted in (("normal noise", model), ("levels", ordinal)):
    rmse, r_hat = -fitted.fit(X_train, y_train).score(X_test, y_test), fitted.r_hat_
    print(f"{name:13} test RMSE {rmse:.4f}, split R̂ {r_hat:.3f}")

# %%
# Each draw changes all parameters a little. The first draws, in which the chains leave
# their random start, are not used. After that the curves should vary about the same
# level, and R̂ be near 1.

display = TraceDisplay.from_estimator(model)

# %%
# Calibration
# -----------
# A 90 % interval is calibrated if nine of ten new ratings lie in it. On the left, the
# share of test ratings within intervals of a given coverage: the points should lie on
# the diagonal. On the right, how often a rating was high, of test ratings that were
# given similar probabilities of it.

COVERAGES = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95])


def measure_coverage(coverage):
    """Return the share of test ratings within their interval."""
    low, high = model.predict_interval(X_test, coverage).T
    return float(np.mean((low <= y_test) & (y_test <= high)))


observed = [measure_coverage(coverage) for coverage in COVERAGES]
levels = ordinal.rating_levels_
threshold = levels[np.searchsorted(levels, np.median(y_train), side="right") - 1]
shares = ordinal.predict_level_proba(X_test)
high = shares[:, levels >= threshold].sum(axis=1).clip(0, 1)
frequencies, probabilities = calibration_curve(
    y_test >= threshold, high, n_bins=10, strategy="quantile"
)

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.3), layout="constrained")
left.plot(COVERAGES, observed, "o", label="normal noise")
left.set(xlabel="nominal coverage", ylabel="share of test ratings in the interval")
right.plot(probabilities, frequencies, "o", color="C1", label="levels")
right.set(
    xlabel=f"predicted probability of {threshold:g} stars or more",
    ylabel=f"share of test ratings of {threshold:g} stars or more",
)
for ax in (left, right):
    ax.plot([0, 1], [0, 1], color="0.4", linestyle=":", label="calibrated", zorder=0)
    ax.xaxis.set_major_formatter(PercentFormatter(1))
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    ax.set_aspect("equal")
    ax.grid(alpha=0.3)
    ax.legend(loc="upper left")

print("\nnominal coverage  observed")
for coverage, share_inside in zip(COVERAGES, observed, strict=True):
    print(f"{coverage:16.0%}{share_inside:10.1%}")

# %%
# More ratings, more certainty
# ----------------------------
# The standard deviation of a new rating has two parts. What is not known of the user
# and of the item shrinks as they have more ratings. The noise remains: the same person
# does not give the same film the same stars twice. Points are means over test ratings;
# crosses are the errors that were in fact made, which should be about as large.

rating, std = model.predict(X_test, return_std=True)
EDGES = np.append(0, 2 ** np.arange(20))
places = np.searchsorted(model.users_, X_test[:, 0]).clip(max=len(model.users_) - 1)
places[model.users_[places] != X_test[:, 0]] = -1  # the last is of unknown users
noise = model.noise_variances_samples_.mean(axis=0)[places]


def count_ratings(ids, known):
    """Return how many training ratings the users, or items, of test ratings have."""
    labels, counts = np.unique(known, return_counts=True)
    places = np.searchsorted(labels, ids).clip(max=len(labels) - 1)
    return np.where(labels[places] == ids, counts[places], 0)


def summarise(counts):
    """Return a row for each range of counts that has 20 test ratings or more."""
    rows = []
    for low, high in itertools.pairwise(EDGES):
        inside = (counts >= low) & (counts < high)
        if inside.sum() >= 20:
            error = rating[inside] - y_test[inside]
            rows.append(
                {
                    "ratings": f"{low}" if high == low + 1 else f"{low}–{high - 1}",
                    "n": int(inside.sum()),
                    "std": float(np.sqrt(np.mean(std[inside] ** 2))),
                    "noise": float(np.sqrt(np.mean(noise[inside]))),
                    "rmse": float(np.sqrt(np.mean(error**2))),
                }
            )
    return rows


by_count = {}
figure, axes = plt.subplots(1, 2, figsize=(9, 4), sharey=True, layout="constrained")
for ax, side, column in zip(axes, ("user", "item"), (0, 1), strict=True):
    rows = summarise(count_ratings(X_test[:, column], X_train[:, column]))
    by_count[side] = rows
    places = np.arange(len(rows))
    stds, alone, errors = (
        [row[name] for row in rows] for name in ("std", "noise", "rmse")
    )
    ax.plot(places, stds, "o-", label="predicted standard deviation")
    ax.plot(places, alone, "o:", color="0.4", markersize=3, label="noise alone")
    ax.plot(places, errors, "x", color="C1", markersize=8, label="RMSE of test ratings")
    labels = [row["ratings"] for row in rows]
    ax.set_xticks(places, labels=labels, rotation=40)
    ax.set_xlabel(f"number of training ratings of the {side}")
    ax.grid(alpha=0.3)
axes[0].set_ylabel("stars")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)

for side, rows in by_count.items():
    print(f"\nratings of the {side}  test ratings  predicted std  noise alone   RMSE")
    for row in rows:
        parts = f"{row['std']:15.3f}{row['noise']:13.3f}{row['rmse']:7.3f}"
        print(f"{row['ratings']:>{len(side) + 15}}{row['n']:14,}{parts}")

# %%
# One user
# --------
# The test ratings of one user, from the lowest prediction to the highest. Each bar is
# an interval that holds the rating with a probability of 80 %, so that one rating of
# five is expected outside. The bar of an item that nobody has rated yet is at the top:
# it is the longest.

users, counts = np.unique(X_test[:, 0], return_counts=True)
user = users[np.argmin(np.abs(counts - 15))]
own = np.flatnonzero(X_test[:, 0] == user)[:20]
own = own[np.argsort(rating[own])]
unknown = [user, X[:, 1].max() + 1]
pairs = np.vstack([X_test[own], unknown])
low, high = model.predict_interval(pairs, 0.8).T
places = np.arange(len(pairs))
counts = count_ratings(pairs[:, 1], X_train[:, 1])

figure, ax = plt.subplots(figsize=(7, 5.5), layout="constrained")
ax.hlines(places, low, high, color="C0", alpha=0.35, linewidth=6, label="80 % interval")
ax.plot(model.predict(pairs), places, "o", color="C0", label="prediction")
ax.plot(y_test[own], places[:-1], "x", color="C1", markersize=8, label="rating given")
names = [*(f"item {item}" for item in pairs[:-1, 1]), "unknown item"]
ax.set_yticks(
    places, labels=[f"{name} ({n})" for name, n in zip(names, counts, strict=True)]
)
ax.set(
    xlabel="stars",
    ylabel="item (number of its training ratings)",
    title=f"user {user}, who gave {np.sum(X_train[:, 0] == user)} training ratings",
)
ax.grid(axis="x", alpha=0.3)
figure.legend(loc="outside lower center", ncols=3)

# %%
# A probability for each star
# ---------------------------
# The same user by the model of levels: the items with the lowest, the middle and the
# highest prediction, and an item that nobody has rated yet. The rating that the user
# gave is filled.

chosen = own[[0, len(own) // 2, -1]]
pairs = np.vstack([X_test[chosen], unknown])
given = [*y_test[chosen], None]
shares = ordinal.predict_level_proba(pairs)
expected, spread = ordinal.predict(pairs, return_std=True)

figure, axes = plt.subplots(1, 4, figsize=(9, 3), sharey=True, layout="constrained")
names = [f"{level:g}" for level in levels]
for k, ax in enumerate(axes):
    colors = ["C0" if level == given[k] else "white" for level in levels]
    ax.bar(names, shares[k], color=colors, edgecolor="C0")
    item = "unknown item" if given[k] is None else f"item {pairs[k, 1]}"
    ax.set_title(f"{item}\n{expected[k]:.1f} ± {spread[k]:.1f} stars", fontsize=10)
    ax.set_xlabel("stars")
    ax.tick_params(axis="x", labelrotation=90 if len(names) > 5 else 0)
axes[0].set_ylabel("probability")
axes[0].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))

plt.show()
