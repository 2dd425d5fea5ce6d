"""
Predict ratings
===============

You have ratings, and want to know the missing ones. How many factors should the model
have, and how large a penalty? A search over both finds out, and ratings that the search
has not seen tell how good the predictions are.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.dummy import DummyRegressor
from sklearn.metrics import mean_absolute_error, root_mean_squared_error
from sklearn.model_selection import GridSearchCV, train_test_split

from sklearn_mf import ALSFactorizer, BiasedMF
from sklearn_mf.datasets import load_ratings, make_ratings
from sklearn_mf.inspection import SearchDisplay
from sklearn_mf.model_selection import RatingKFold

RATINGS = None  # or the name of your own file: user, item, rating

X, y = load_ratings(RATINGS) if RATINGS else make_ratings(random_state=0)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.2, random_state=0)
n_users, n_items = (len(np.unique(ids)) for ids in X.T)
print(f"{len(y):,} ratings of {n_items:,} items by {n_users:,} users")

# %%
# Search
# ------
# A row of X is a user and an item, y is the rating. `GridSearchCV` fits the model for
# each number of factors d and each penalty λ, on two thirds of the training ratings,
# and measures the error on the other third; and so three times.

search = GridSearchCV(
    BiasedMF(solver="als", random_state=0),
    {"n_factors": [1, 2, 5, 10, 20], "regularization": [0.03, 0.1, 0.3]},
    scoring="neg_root_mean_squared_error",
    cv=RatingKFold(3, random_state=0),
    return_train_score=True,
).fit(X_train, y_train)
print("best:", search.best_params_)

# %%
# More factors always fit the training ratings better, and more penalty always worse. On
# the other ratings, too few factors underfit: they miss some of what users like. Too
# many factors overfit: they learn the noise, and the more so the smaller the penalty
# is. With a good penalty, a few factors too many do little harm.

display = SearchDisplay.from_search(
    search, param="n_factors", line_param="regularization"
)

# %%
# Compare
# -------
# The search chose the best of fifteen points, so its own error is a little too good.
# The test ratings played no part in it. Two simple models show how much there is to
# gain: the mean of all ratings, and means of users and items, which is `BiasedMF`
# without factors. `ALSFactorizer` has factors, but no biases.

MODELS = {
    "mean of all ratings": DummyRegressor(),
    "biases of users and items": BiasedMF(0, random_state=0),
    "ALSFactorizer, defaults": ALSFactorizer(random_state=0),
    "BiasedMF, defaults": BiasedMF(random_state=0),
    "BiasedMF, searched": search.best_estimator_,
}
rows = {}
for name, model in MODELS.items():
    predicted = model.fit(X_train, y_train).predict(X_test)
    rows[name] = {
        "RMSE": root_mean_squared_error(y_test, predicted),
        "MAE": mean_absolute_error(y_test, predicted),
    }
table = pd.DataFrame(rows).T
print(table.round(4))

# %%
# Predict
# -------
# Predictions for one user, of items that the user has rated and that were held out. An
# item that nobody has rated is predicted too: from the mean and the bias of the user.

user = X_test[0, 0]
own = np.flatnonzero(X_test[:, 0] == user)[:8]
unknown = [user, X[:, 1].max() + 1]
pairs = np.vstack([X_test[own], unknown])
predictions = pd.DataFrame(
    {
        "item": pairs[:, 1],
        "predicted": search.predict(pairs).round(1),
        "given": [*y_test[own], None],
    }
)
print(f"user {user}")
print(predictions.to_string(index=False))

plt.show()
