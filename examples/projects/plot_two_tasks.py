"""
Two tasks, one embedding
========================

Which film will a user watch, and how many stars will it get? `MultiTaskMF` learns both
at once: interactions by a dot product of factors, ratings by a small network whose
input is the same factors, or factors of its own. When does one task help the other, and
how should the two losses be weighted?
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.dummy import DummyRegressor
from sklearn.metrics import mean_squared_error
from sklearn.model_selection import train_test_split

from sklearn_mf import MultiTaskMF
from sklearn_mf.datasets import load_ratings, make_ratings
from sklearn_mf.metrics import mean_reciprocal_rank_of_all

RATINGS = None  # or the name of your own file: user, item, rating
EPOCHS = 40

# %%
# People watch what they will like
# --------------------------------
# Interactions can teach something about ratings only if people choose what they rate.
# The synthetic ratings are therefore a selection: of more than three times as many
# pairs, those are kept whose planted factors, plus some noise, promise a high rating.
# 5 % of them are held out.

if RATINGS:
    X, y = load_ratings(RATINGS)
else:
    X, y, truth = make_ratings(500, 800, 80_000, coef=True, random_state=0)
    liking = np.sum(truth.user_factors[X[:, 0]] * truth.item_factors[X[:, 1]], axis=1)
    luck = np.random.default_rng(0).gumbel(size=len(y))
    chosen = np.argsort(3 * liking + luck)[-24_000:]
    X, y = X[chosen], y[chosen]
X_train, X_test, y_train, y_test = train_test_split(
    X, y.astype(np.float32), test_size=0.05, random_state=0
)

# %%
# Four variants
# -------------
# The factors are shared or separate; the interactions have nearly all of the weight, or
# half of it. After each epoch a callback measures the mean squared error of the test
# ratings, and the mean reciprocal rank of all test items, where each is ranked among
# the items that the user did not rate in training.

WAYS = {
    f"{name} ({factorization}, {regression})": {
        "shared_embeddings": name == "shared",
        "factorization_weight": factorization,
        "regression_weight": regression,
    }
    for name in ("shared", "separate")
    for factorization, regression in ((0.99, 0.01), (0.5, 0.5))
}


class Tester:
    """A callback that evaluates the model after each epoch."""

    def __init__(self):
        self.mse, self.mrr = [], []

    def setup(self, estimator, context):
        """Do nothing."""

    teardown = on_fit_task_begin = setup

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        """Record the errors of the current model."""
        if context.task_name == "iteration":
            self.mse.append(
                mean_squared_error(y_test, fitted_estimator.predict(X_test))
            )
            self.mrr.append(
                mean_reciprocal_rank_of_all(fitted_estimator, X_test, y_test)
            )


curves = {}
for name, parameters in WAYS.items():
    tester = Tester()
    model = MultiTaskMF(**parameters, max_iter=EPOCHS, tol=None, random_state=0)
    model.set_callbacks(tester).fit(X_train, y_train)
    curves[name] = {
        "factorization": model.loss_curve_["factorization"],
        "regression": model.loss_curve_["regression"],
        "test_mse": tester.mse,
        "test_mrr": tester.mrr,
    }


# %%
# What the weights do
# -------------------
# The squared error has larger gradients, so with half of the weight it dominates the
# shared factors, and interactions are hardly learnt. With one hundredth of the weight,
# the network uses what the interactions teach: who likes what. The test error then
# falls further, and below that of separate factors.
#
# With separate factors the weights hardly change the result: Adam divides the gradient
# of each parameter by its size, and the weight of the ratings multiplies their penalty
# too. This penalty, `regression_regularization`, keeps the network from memorising the
# training ratings: the test error rises little after its best epoch.

COLORS = dict(zip(WAYS, ("C0", "C1", "C0", "C1"), strict=True))
STYLES = dict(zip(WAYS, ("-", "-", "--", "--"), strict=True))
PANELS = {
    "factorization": "train: loss of interactions",
    "regression": "train: MSE of ratings (stars²)",
    "test_mrr": "test: mean reciprocal rank",
    "test_mse": "test: MSE of ratings (stars²)",
}

figure, axes = plt.subplots(2, 2, figsize=(9, 7), sharex=True, layout="constrained")
for ax, (key, title) in zip(axes.flat, PANELS.items(), strict=True):
    for name, curve in curves.items():
        epochs = np.arange(1, EPOCHS + 1)
        ax.plot(epochs, curve[key], color=COLORS[name], ls=STYLES[name], label=name)
    ax.set_title(title)
    ax.set_ylim(bottom=0)
    ax.grid(alpha=0.3)
for ax in axes[1]:
    ax.set_xlabel("epoch")
handles, labels = ax.get_legend_handles_labels()
figure.legend(
    handles, labels, title="factors (λ_F, λ_R)", loc="outside lower center", ncols=4
)

# %%
# The best epoch of each variant, which only the test part can show, and the last:

rows = {}
for name, curve in curves.items():
    best = int(np.argmin(curve["test_mse"]))
    rows[name] = {
        "best MSE": curve["test_mse"][best],
        "its epoch": best + 1,
        "its MRR": curve["test_mrr"][best],
        "last MSE": curve["test_mse"][-1],
        "last MRR": curve["test_mrr"][-1],
    }
table = pd.DataFrame(rows).T
mean = DummyRegressor().fit(X_train, y_train)
mean_mse = mean_squared_error(y_test, mean.predict(X_test))
print(table.astype({"its epoch": int}).round(4))
print(f"MSE of the mean rating: {mean_mse:.4f}")

# %%
# Early stopping
# --------------
# In practice, ratings held out of the training part find the best epoch:
# `early_stopping=True` restores the epoch with the lowest error on them. The error may
# stay the same for some epochs, until the interactions are learnt, hence the patience.
# Items are recommended by their probability of an interaction; their predicted ratings
# are printed next to it.

model = MultiTaskMF(early_stopping=True, n_iter_no_change=10, random_state=0)
model.fit(X_train, y_train)
stopped_mse = mean_squared_error(y_test, model.predict(X_test))
print(f"stopped after epoch {model.best_iter_}: test MSE {stopped_mse:.4f}\n")

user = X_test[0, 0]
items, probabilities = model.recommend([user], n_items=5)
stars = model.predict(np.column_stack([np.full(5, user), items[0]]))
for item, probability, rating in zip(items[0], probabilities[0], stars, strict=True):
    print(
        f"user {user}, item {item}: interaction {probability:.2f}, {rating:.1f} stars"
    )

plt.show()
