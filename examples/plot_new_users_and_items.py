"""
New users and items
===================

A model has been fitted, and then somebody signs up, or a film comes out. What can be
predicted before there is any rating of theirs? How much do the first ratings help, and
does the whole model have to be fitted again?
"""

import copy

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.metrics import root_mean_squared_error

from sklearn_mf import BiasedMF
from sklearn_mf.datasets import load_ratings, make_ratings

RATINGS = None  # or the name of your own file: user, item, rating

X, y = load_ratings(RATINGS) if RATINGS else make_ratings(random_state=0)

# %%
# Newcomers
# ---------
# One user in five is new: the model is fitted without them. Then their ratings come in
# one by one, in a random order.

rng = np.random.default_rng(0)
order = rng.permutation(len(y))
X, y = X[order], y[order]


def split_off(column):
    """Return which ratings are of known and of new ids, and their places among them."""
    ids, codes = np.unique(X[:, column], return_inverse=True)
    known = (rng.random(len(ids)) < 0.8)[codes]
    new = ~known & np.isin(X[:, 1 - column], X[known, 1 - column])  # by or of known ids
    return known, new, pd.Series(codes).groupby(codes).cumcount().to_numpy()


known, new, place = split_off(0)
biased = BiasedMF(solver="als", random_state=0)
model = clone(biased).fit(X[known], y[known])
print(f"fitted to {known.sum():,} ratings of {len(model.users_)} users")
print(f"{len(np.unique(X[new, 0]))} users are new")

# %%
# An id that the model does not know is no error. The prediction is what is known
# without it: for a new user, the mean of all ratings and the bias of the item. Once a
# user has rated something, ``fold_in_users`` solves for the bias and the factors of
# this user exactly, while everything else in the model stays as it is. This is done for
# all new users at once, with their first 1, 2, 5, … ratings, and the error is measured
# on all that they rate after the twentieth.
#
# ``fold_in_items`` does the same for new items.

FIRST = [0, 1, 2, 5, 10, 20]


def measure(model, test):
    """Return the error of a model on some of the ratings."""
    return root_mean_squared_error(y[test], model.predict(X[test]))


errors, refitted = {}, {}
for side, column in (("users", 0), ("items", 1)):
    known, new, place = split_off(column)
    model = clone(biased).fit(X[known], y[known])
    later = new & (place >= FIRST[-1])
    errors[side] = []
    for n_first in FIRST:
        first = new & (place < n_first)
        informed = copy.deepcopy(model)
        if n_first:
            getattr(informed, f"fold_in_{side}")(X[first], y[first])
        errors[side].append(measure(informed, later))
    again = clone(biased).fit(X[known | first], y[known | first])
    refitted[side] = measure(again, later)
table = pd.DataFrame(errors, index=pd.Index(FIRST, name="ratings"))
table.loc["fitted again"] = refitted
print("RMSE of later ratings, stars")
print(table.round(3))

# %%
# A single rating says little, and may mislead: the error does not fall at once. From
# then on each further rating helps. A model that is fitted again, to the twenty ratings
# of the newcomers and to all others, is no better than the fold-in: the next fit can
# wait.

figure, axes = plt.subplots(1, 2, figsize=(9, 4), sharey=True, layout="constrained")
for ax, side in zip(axes, errors, strict=True):
    ax.plot(FIRST, errors[side], "o-", label="fold-in")
    ax.axhline(refitted[side], color="C1", ls="--", label="fitted again, 20 ratings")
    ax.set(title=f"new {side}", xlabel=f"first ratings of each of the new {side}")
    ax.grid(alpha=0.3)
    ax.legend()
axes[0].set_ylabel("RMSE of later ratings (stars)")

# %%
# Visitors
# --------
# ``fold_in_users`` adds users to the model. A visitor who may never come back is better
# served by ``recommend(history=...)``, which solves for the factors in the same way,
# and forgets them. (The list goes by predicted ratings and by how many users have rated
# an item, so that the scores need not fall from rank to rank.)

history = [["visitor", item] for item in model.items_[:3]], [5.0, 1.0, 4.5]
frame = model.recommend(history=history, n_items=5, as_frame=True)
print(frame.round(2).to_string(index=False))

# %%
# What is known of new ids beside ratings, such as the genres of a film, is the topic of
# :ref:`another example <sphx_glr_auto_examples_plot_features.py>`.

plt.show()
