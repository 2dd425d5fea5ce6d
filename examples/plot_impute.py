"""
Tables with holes
=================

`MFImputer` fills the missing entries of a table by a factorisation of those that are
there. How well it does depends on what is missing, and why. Here pixels of handwritten
digits are hidden in three ways: at random (MCAR), more often below a bright pixel of
the first row, which is always known (MAR), and whole blocks of neighbouring pixels.

Digits are scored and drawn that the imputers have not seen in fit.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.model_selection import train_test_split

from sklearn_mf.impute import MFImputer

# %%
# Three ways to lose a third of the pixels
# ----------------------------------------
# A digit has 8 × 8 pixels from 0 to 16. Lost by brightness, three quarters of those
# below a bright pixel of the first row are missing, and 15 % of the others: what is
# missing depends on what is observed. Blocks are 5 pixels high and 4 wide, at a random
# place.

X, target = load_digits(return_X_y=True)
images = X.reshape(-1, 8, 8)
rng = np.random.default_rng(0)


def lose_at_random():
    """Return a mask of pixels that are lost independently of everything."""
    return rng.uniform(size=images.shape) < 1 / 3


def lose_by_brightness():
    """Return a mask of pixels, more of them below bright ones of the first row."""
    share = np.where(images[:, :1] > 4, 0.75, 0.15)
    lost = rng.uniform(size=images.shape) < share
    lost[:, 0] = False
    return lost


def lose_blocks():
    """Return a mask of one block of pixels of each digit."""
    top = rng.integers(4, size=(len(images), 1, 1))
    left = rng.integers(5, size=(len(images), 1, 1))
    rows, columns = np.mgrid[:8, :8]
    inside_rows = (rows >= top) & (rows < top + 5)
    inside_columns = (columns >= left) & (columns < left + 4)
    return inside_rows & inside_columns


masks = {
    "at random": lose_at_random(),
    "by brightness": lose_by_brightness(),
    "in blocks": lose_blocks(),
}
imputers = {
    "means": SimpleImputer(keep_empty_features=True),
    "nearest digits": KNNImputer(keep_empty_features=True),
    "factorisation": MFImputer(
        scale=False, min_value=0, max_value=16, keep_empty_features=True, random_state=0
    ),
}

# %%
# All columns have the same unit here, so they are not standardised (``scale=False``):
# a pixel in a corner, which is nearly always black, is not to count as much as one in
# the middle. Completed pixels are clipped to the range of the others.

train, test = train_test_split(np.arange(len(X)), test_size=300, random_state=0)
results, completed = {}, {}
for kind, mask in masks.items():
    given = np.where(mask, np.nan, images).reshape(X.shape)
    hidden = np.isnan(given[test])
    results[kind] = {"missing": float(np.isnan(given).mean())}
    for name, imputer in imputers.items():
        filled = imputer.fit(given[train]).transform(given[test])
        error = np.sqrt(np.mean((filled - X[test])[hidden] ** 2))
        results[kind][name] = float(error)
        completed[kind, name] = filled
    print(kind, {name: round(value, 2) for name, value in results[kind].items()})

# %%
# The digits
# ----------
# Each group of rows shows the same digits: with holes, in grey-blue, and completed by
# each of the imputers. Last come the true digits.

places = [np.flatnonzero(target[test] == digit)[0] for digit in range(8)]
shown = test[places]
colours = plt.get_cmap("gray_r").with_extremes(bad="#9db4cc")
labels = ["with holes", *imputers]
fig, axes = plt.subplots(
    3 * len(labels) + 1, len(shown), figsize=(7.4, 12.4), layout="constrained"
)
rows = iter(axes)
for kind, mask in masks.items():
    for label in labels:
        row = next(rows)
        for ax, index, place in zip(row, shown, places, strict=True):
            if label == "with holes":
                image = np.where(mask[index], np.nan, images[index])
            else:
                image = completed[kind, label][place].reshape(8, 8)
            ax.imshow(image, cmap=colours, vmin=0, vmax=16)
        title = f"lost {kind}" if label == "with holes" else label
        row[0].set_ylabel(title, rotation=0, ha="right", va="center", fontsize=10)
for ax, index in zip(next(rows), shown, strict=True):
    ax.imshow(images[index], cmap=colours, vmin=0, vmax=16)
axes[-1, 0].set_ylabel("true digits", rotation=0, ha="right", va="center", fontsize=10)
for ax in axes.flat:
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)

# %%
# Errors
# ------
# The means of the columns know nothing of the digit, and both others do. The nearest
# digits are the better choice here: the data hold many digits that look nearly alike.
# The factorisation blurs, above all inside a block, where it has nothing but pixels far
# away to go by; but its time does not grow with the square of the number of rows.

fig, ax = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
width = 0.26
for k, name in enumerate(imputers):
    heights = [results[kind][name] for kind in masks]
    bars = ax.bar(np.arange(3) + (k - 1) * width, heights, width, label=name)
    ax.bar_label(bars, fmt="%.1f", fontsize=8)
ax.set_xticks(np.arange(3), [f"lost {kind}" for kind in masks])
ax.set_ylabel("RMSE of lost pixels, of 16")
ax.set_ylim(0, 1.25 * max(results[kind]["means"] for kind in masks))
ax.legend(frameon=False, ncols=3, loc="upper center")
ax.spines[["top", "right"]].set_visible(False)

plt.show()
