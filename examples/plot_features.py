"""
Films that nobody has rated yet
===============================

A new film has no ratings, but its genres are known. How well do they predict what
people will think of it? Do genres still help once a film has ratings? Which genres are
alike, and why is a film recommended?

It runs on synthetic films. For those of MovieLens, set ``MOVIELENS`` to the folder that
holds ratings.csv and movies.csv.
"""

import itertools
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.model_selection import GroupKFold, KFold, cross_val_predict
from sklearn.preprocessing import normalize

from sklearn_mf import BiasedMF

MOVIELENS = None  # or the name of a folder, such as "ml-latest-small"

# %%
# Films and their genres
# ----------------------
# The synthetic films have one to three genres each. Users like or dislike directions
# such as "light or dark", in which every genre has its place; and every film is more
# than its genres. Real films come as a table with the genres of each in one text.

GENRES = "Action Comedy Crime Documentary Drama Family Horror Musical Romance Sci-Fi"


def make_films(n_users=500, n_films=800, n_ratings=40_000, seed=0):
    """Return synthetic ratings, and the genres of the films."""
    rng = np.random.default_rng(seed)
    names = GENRES.split()
    has = np.zeros((n_films, len(names)))
    for film in has:
        film[rng.choice(len(names), rng.integers(1, 4), replace=False)] = 1
    places = rng.normal(scale=0.35, size=(len(names), 4))
    levels = rng.normal(scale=0.2, size=len(names))
    film_factors = has @ places + rng.normal(scale=0.25, size=(n_films, 4))
    film_levels = has @ levels + rng.normal(scale=0.35, size=n_films)
    user_factors = rng.normal(size=(n_users, 4))
    user_levels = rng.normal(scale=0.4, size=n_users)
    popularity = rng.pareto(1.2, n_films) + 0.02
    users = rng.integers(n_users, size=n_ratings)
    films = rng.choice(n_films, n_ratings, p=popularity / popularity.sum())
    users, films = np.unique(np.column_stack([users, films]), axis=0).T
    stars = 3.5 + user_levels[users] + film_levels[films]
    stars += (user_factors[users] * film_factors[films]).sum(axis=1)
    stars += rng.normal(scale=0.8, size=len(stars))
    stars = np.clip(np.round(2 * stars) / 2, 0.5, 5)
    titles = np.array([f"film {k}" for k in range(n_films)])
    table = pd.DataFrame(has, index=titles, columns=names)
    return np.column_stack([users.astype(str), titles[films]]), stars, table


if MOVIELENS:
    ratings = pd.read_csv(Path(MOVIELENS) / "ratings.csv")
    films = pd.read_csv(Path(MOVIELENS) / "movies.csv")
    films = films.drop_duplicates("title").set_index("movieId")
    ratings = ratings[ratings["movieId"].isin(films.index)]
    titles = films.loc[ratings["movieId"], "title"]
    X = np.column_stack([ratings["userId"].astype(str), titles])
    y = ratings["rating"].to_numpy()
    genres = films.set_index("title")["genres"].str.get_dummies("|")
    genres = genres.drop(columns="(no genres listed)", errors="ignore")
else:
    X, y, genres = make_films()
print(f"{len(y):,} ratings, {len(genres):,} films, {genres.shape[1]} genres")
print(genres.head(3).T)

# %%
# The films of a fold are new
# ---------------------------
# `GroupKFold` puts all ratings of a film into the same fold, so that each film is
# predicted by a model that has no rating of it. Without features, such a prediction is
# the mean and the bias of the user. With genres, the film has the bias and the factors
# that its genres predict.

MODELS = {
    "no features": BiasedMF(solver="als", random_state=0),
    "genres": BiasedMF(solver="als", item_features=genres, random_state=0),
    "genres and who rated what": BiasedMF(
        solver="als",
        user_features="rated",
        item_features=["rated", genres],
        random_state=0,
    ),
}
SPLITS = {
    "new films": list(
        GroupKFold(5, shuffle=True, random_state=0).split(X, y, groups=X[:, 1])
    ),
    "known films": list(KFold(5, shuffle=True, random_state=0).split(X)),
}


def rmse(errors):
    """Return the root mean square of errors."""
    return float(np.sqrt(np.mean(errors**2)))


errors = {
    (split, name): cross_val_predict(model, X, y, cv=cv) - y
    for split, cv in SPLITS.items()
    for name, model in MODELS.items()
}
table = pd.DataFrame(
    {split: {name: rmse(errors[split, name]) for name in MODELS} for split in SPLITS}
)
print("\nRMSE, stars")
print(table.round(4))

# %%
# Genres matter most where ratings are few
# ----------------------------------------
# The same errors by the number of ratings that a film has in all. Genres reduce the
# error most for films with few ratings. Which films a user rated, and who rated a film,
# says nothing here, where the films of a user are drawn at random; in MovieLens, whose
# users choose what they watch, it reduces the error for all films.

_, place, counts = np.unique(X[:, 1], return_inverse=True, return_counts=True)
counts = counts[place]
EDGES = [2, 4, 8, 16, 32, 64, 128, 10**9]
figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
labels, by_count = [], {name: [] for name in MODELS}
for low, high in itertools.pairwise(EDGES):
    inside = (counts >= low) & (counts < high)
    if inside.sum() < 50:
        continue
    labels.append(f"{low}–{high - 1}" if high < 10**9 else f"{low} or more")
    for name, found in by_count.items():
        found.append(rmse(errors["known films", name][inside]))
for name, found in by_count.items():
    ax.plot(labels, found, "o-", label=name)
ax.set(xlabel="ratings of the film", ylabel="RMSE of test ratings, stars")
ax.grid(alpha=0.3)
ax.legend()

# %%
# A map of genres
# ---------------
# The weights say what a genre adds to the factors of a film. Genres whose weights point
# in the same direction attract the same users, those with opposite directions attract
# different users. The map shows these directions by their two main axes; the colour is
# what the genre adds to the ratings of all users.

model = clone(MODELS["genres"]).fit(X, y)
axes = PCA(2).fit_transform(normalize(model.item_feature_weights_))
biases = model.item_feature_biases_
limit = abs(biases).max()
figure, ax = plt.subplots(figsize=(7, 5.5), layout="constrained")
points = ax.scatter(*axes.T, c=biases, cmap="RdBu", vmin=-limit, vmax=limit, s=60)
points.set_edgecolor("0.3")
for name, at in zip(model.item_feature_names_, axes, strict=True):
    ax.annotate(name, at, xytext=(6, 4), textcoords="offset points")
ax.axhline(0, color="0.8", zorder=0)
ax.axvline(0, color="0.8", zorder=0)
ax.margins(0.15)
ax.set(xlabel="first axis", ylabel="second axis")
figure.colorbar(points, label="what the genre adds for everyone, stars")

# %%
# Why this film?
# --------------
# A film is taken away with all its ratings, and its rating by a user with about fifty
# other ratings is predicted from its genres alone. On the left, the parts of the
# prediction; in the middle, what each genre adds, for everyone and for this user
# together; on the right, the ratings of the user that change the prediction most.

names, n_genres = genres.index.to_numpy(), genres.sum(axis=1).to_numpy()
rated, n_rated = np.unique(X[:, 1], return_counts=True)
has_many = np.isin(names, rated[n_rated >= np.quantile(n_rated, 0.9)])
film = names[has_many & (n_genres >= min(3, n_genres.max()))][0]
known = X[:, 1] != film
users = np.unique(X[X[:, 1] == film, 0])
all_users, totals = np.unique(X[known, 0], return_counts=True)
totals = dict(zip(all_users, totals, strict=True))
user = min(users, key=lambda user: abs(totals.get(user, 0) - 50))
model = clone(MODELS["genres"]).fit(X[known], y[known])
own = known & (X[:, 0] == user)
explanation = model.explain(user, film, history=(X[own], y[own]))
rating = float(y[(X[:, 0] == user) & (X[:, 1] == film)][0])
print(f"\n{film}: {', '.join(genres.columns[genres.loc[film] > 0])}")
print(f"user {user} gave {rating:g} stars, {explanation.prediction:.2f} predicted")
for part, stars in explanation.parts.items():
    print(f"{part:15}{stars:+6.2f}")

films = dict(zip(explanation["items"], explanation.contributions, strict=True))
mean = explanation.parts["global mean"]
panels = {
    f"parts beside the mean, {mean:.2f}": {
        name: stars
        for name, stars in explanation.parts.items()
        if name != "global mean"
    },
    "genres": dict(list(explanation.item_features.items())[:10]),
    "ratings of the user": {
        f"{name[:24]} ({y[own & (X[:, 1] == name)][0]:g})": films[name]
        for name in list(films)[:10]
    },
}
figure, axes = plt.subplots(1, 3, figsize=(11, 4), layout="constrained")
for ax, (title, parts) in zip(axes, panels.items(), strict=True):
    values = np.array(list(parts.values()))[::-1]
    ax.barh(list(parts)[::-1], values, color=np.where(values > 0, "C0", "C3"))
    ax.axvline(0, color="0.3", linewidth=0.8)
    ax.set(title=title, xlabel="stars")
figure.suptitle(f"{film}, for user {user}")

plt.show()
