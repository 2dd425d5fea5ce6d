"""
Compare models honestly
=======================

One model has a lower error than another. Is it better, or was it lucky? Was it tested
on what it will be used for? Three habits make comparisons honest: folds that are cut as
the model will be used, simple models beside it, and more than one random split.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.dummy import DummyRegressor
from sklearn.model_selection import KFold, cross_val_score

from sklearn_mf import ALSFactorizer, BiasedMF
from sklearn_mf.datasets import load_ratings, make_ratings
from sklearn_mf.model_selection import RatingKFold, StrongGeneralization, cold_share

RATINGS = None  # or the name of your own file: user, item, rating

if RATINGS:
    X, y = load_ratings(RATINGS)
else:
    X, y = make_ratings(400, 200, 15_000, random_state=0)
order = np.argsort(X[:, 0], kind="stable")  # most files are sorted by user
X, y = X[order], y[order]

# %%
# How the folds are cut
# ---------------------
# ``cv=5`` cuts the file in five, one after the other. Since the file is sorted by user,
# nearly all users of a test fold are unknown to the model. That is another task than to
# predict further ratings of known users, for which folds must be shuffled. If new users
# are what you care about, say so: `StrongGeneralization` holds out whole users.

SPLITTERS = {
    "cv=5": KFold(5),
    "KFold(5, shuffle=True)": KFold(5, shuffle=True, random_state=0),
    "RatingKFold(5)": RatingKFold(5, random_state=0),
    "StrongGeneralization(5)": StrongGeneralization(5, random_state=0),
}


def score(model, splitter):
    """Return the errors of a model, one for each fold."""
    scoring = "neg_root_mean_squared_error"
    return -cross_val_score(model, X, y, cv=splitter, scoring=scoring)


cuts = {}
for name, splitter in SPLITTERS.items():
    shares = [cold_share(X[train], X[test]) for train, test in splitter.split(X)]
    errors = score(BiasedMF(random_state=0), splitter)
    cuts[name] = {"RMSE": errors.mean(), "unknown users": np.mean(shares, axis=0)[0]}
print(pd.DataFrame(cuts).T.round(3))

# %%
# Beside simple models
# --------------------
# An error of 0.78 stars says little on its own. The mean of all ratings, and the biases
# of users and items (`BiasedMF` without factors), are what factors have to beat.
#
# More than one split
# -------------------
# Each model is tested on the same fifteen folds, from three random splits. The folds
# differ: some are harder for all models. So what to look at is the difference between
# two models on the same fold.

MODELS = {
    "mean of all ratings": DummyRegressor(),
    "biases": BiasedMF(0, random_state=0),
    "ALSFactorizer": ALSFactorizer(random_state=0),
    "BiasedMF, als": BiasedMF(solver="als", random_state=0),
    "BiasedMF, sgd": BiasedMF(random_state=0),
}
SPLITS = [RatingKFold(5, random_state=seed) for seed in range(3)]
errors = pd.DataFrame(
    {
        name: np.concatenate([score(model, splitter) for splitter in SPLITS])
        for name, model in MODELS.items()
    }
)
gains = errors.rsub(errors["biases"], axis=0)
summary = pd.DataFrame(
    {
        "RMSE": errors.mean(),
        "std of folds": errors.std(),
        "gain over biases": gains.mean(),
        "std of gain": gains.std(),
    }
)
print(summary.round(4))

# %%
# On the left, the errors of each model vary from fold to fold. On the right, the gains
# over the biases on the same fold vary less, and show which models differ: both solvers
# of `BiasedMF` gain on every fold, and nobody can tell one from the other.
# `ALSFactorizer`, which has no biases, gains on some folds and loses on others. The
# folds share their training ratings, so these points are not independent, and a test of
# significance that takes them as such promises too much.

figure, (left, right) = plt.subplots(
    1, 2, figsize=(9, 3.6), sharey=True, layout="constrained"
)
shown = [name for name in MODELS if name != "mean of all ratings"]
for place, name in enumerate(shown):
    left.plot(errors[name], np.full(len(errors), place), "o", alpha=0.5)
    right.plot(gains[name], np.full(len(gains), place), "o", alpha=0.5)
left.set_yticks(range(len(shown)), labels=shown)
left.set(xlabel="RMSE of a fold (stars)", ylim=(len(shown) - 0.5, -0.5))
right.axvline(0, color="0.5", lw=1)
right.set(xlabel="gain over the biases on the same fold (stars)")
for ax in (left, right):
    ax.grid(axis="x", alpha=0.3)

# %%
# If parameters were searched, one thing more: the errors to report are those of ratings
# that the search has not seen, as in
# :ref:`the first example <sphx_glr_auto_examples_plot_predict_ratings.py>`.

plt.show()
