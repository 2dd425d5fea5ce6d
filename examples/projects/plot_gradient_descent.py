r"""
From the gradient to SGD
========================

Matrix factorisation written as one formula, with its gradient checked by hand, is
minimised in several ways: by plain gradient steps, in batches, with momentum, with
Adam, and by alternating least squares. Then follow the choices that matter more than
the steps: the mean, the biases, the penalty, the number of factors, and when to stop.
The ratings are synthetic, few and noisy, so that a good fit need not predict well.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.callback import ScoringMonitor
from sklearn.model_selection import GridSearchCV, KFold

from sklearn_mf import ALSFactorizer, BiasedMF, SGDFactorizer, as_matrix
from sklearn_mf.inspection import (
    ConvergenceDisplay,
    LossLandscapeDisplay,
    SearchDisplay,
)

# Colours that the colour-blind can tell apart (Okabe and Ito).
COLORS = ["#0072B2", "#E69F00", "#009E73", "#D55E00"]
plt.rcParams["axes.prop_cycle"] = plt.cycler(color=COLORS)


# %%
# The ratings
# -----------
# 100 users and 60 items have four factors each. Their products, scaled to ratings from
# 1 to 5 plus noise of 0.25 stars, are observed in about one cell out of five. A fifth
# of these is set aside for the test.
#
# Two numbers serve as references: the test error of predicting the training mean for
# every pair, and the test error of the true products, which is noise alone. A third one
# is the share of the products' variance that users' and items' means explain: next to
# none.

N_FACTORS = 4
rng = np.random.default_rng(42)
P_true, Q_true = rng.normal(size=(100, N_FACTORS)), rng.normal(size=(60, N_FACTORS))
signal = P_true @ Q_true.T
signal = 1 + 4 * (signal - signal.min()) / (signal.max() - signal.min())
ratings = np.clip(signal + rng.normal(scale=0.25, size=signal.shape), 1, 5)
observed = rng.random(signal.shape) < 0.2
for user in np.flatnonzero(observed.sum(axis=1) < 2):
    observed[user, rng.choice(60, 2, replace=False)] = True
pairs = np.argwhere(observed)
rng.shuffle(pairs)
X_test, X_train = np.split(pairs, [int(0.2 * len(pairs))])
y_test, y_train = (ratings[tuple(X.T)] for X in (X_test, X_train))


def rmse(errors):
    """Return the root mean squared error."""
    return float(np.sqrt(np.mean(np.square(errors))))


data = {
    "n_train": len(y_train),
    "n_test": len(y_test),
    "mean_rmse": rmse(y_test - y_train.mean()),
    "truth_rmse": rmse(y_test - signal[tuple(X_test.T)]),
    "levels_share": sum(signal.mean(axis=k).var() for k in (0, 1)) / signal.var(),
}
for name, value in data.items():
    print(f"{name}: {value:.4g}")

# %%
# The gradient
# ------------
# Without an intercept the prediction is the product :math:`p_u \cdot q_i`, and what is
# minimised is
#
# .. math::
#
#     L(P, Q) = \sum_{(u,i)\ \mathrm{observed}} e_{ui}^2
#       + \lambda \Big( \sum_u c_u \|p_u\|^2 + \sum_i c_i \|q_i\|^2 \Big),
#     \qquad e_{ui} = r_{ui} - p_u \cdot q_i,
#
# where :math:`c_u` and :math:`c_i` count the ratings of the user and of the item: each
# rating carries its share of the penalty. The error :math:`e_{ui}` has the derivative
# :math:`-q_i` with respect to :math:`p_u`, so that by the chain rule
#
# .. math::
#
#     \frac{\partial L}{\partial p_u} = -2 \sum_i e_{ui}\, q_i + 2 \lambda c_u\, p_u,
#     \qquad
#     \frac{\partial L}{\partial q_i} = -2 \sum_u e_{ui}\, p_u + 2 \lambda c_i\, q_i .
#
# Both sums are products of matrices, where the matrix E of errors is 0 in the cells
# without a rating.

R = as_matrix(X_train, y_train).toarray()
seen = R > 0


def objective(P, Q, penalty):
    """Return L(P, Q)."""
    E = seen * (R - P @ Q.T)
    squares = seen.sum(axis=1) @ (P**2).sum(axis=1)
    squares += seen.sum(axis=0) @ (Q**2).sum(axis=1)
    return (E**2).sum() + penalty * squares


def gradient(P, Q, penalty):
    """Return the derivatives of L with respect to P and, below them, to Q."""
    E = seen * (R - P @ Q.T)
    by_P = -E @ Q + penalty * seen.sum(axis=1)[:, None] * P
    by_Q = -E.T @ P + penalty * seen.sum(axis=0)[:, None] * Q
    return 2 * np.vstack([by_P, by_Q])


# %%
# Is that right? Numerical derivatives can check it. In any single parameter L is a
# parabola, for which a central difference is exact up to rounding, whatever its step.
#
# And does the library use this gradient? `SGDFactorizer` steps against half of it,
# averaged over a batch of m ratings:
#
# .. math::
#
#     p_u \leftarrow p_u + \frac{\gamma}{m} \sum_{i\ \mathrm{in\ the\ batch}}
#       \big( e_{ui}\, q_i - \lambda p_u \big),
#
# and likewise for :math:`q_i`. With all n ratings in one batch, an epoch is the single
# step :math:`-\frac{\gamma}{2n} \nabla L`: the change of the factors in `partial_fit`,
# times :math:`-2n / \gamma`, must be the gradient.

PENALTY, RATE, STEP = 0.1, 0.5, 0.1
sgd = SGDFactorizer(
    N_FACTORS,
    regularization=PENALTY,
    fit_intercept=False,
    optimizer="sgd",
    learning_rate=RATE,
    batch_size=len(y_train),
    max_iter=5,
    tol=None,
    init_scale=0.5,
    random_state=0,
).fit(X_train, y_train)


def stack(model):
    """Return the factors of the users and, below them, of the items."""
    return np.vstack([model.user_factors_, model.item_factors_])


def unstack(factors):
    """Return P and Q."""
    return np.split(factors, [len(R)])


before = stack(sgd)
after = stack(sgd.partial_fit(X_train, y_train))
analytic = gradient(*unstack(before), PENALTY)
stepped = -2 * len(y_train) / RATE * (after - before)
numerical = np.zeros_like(before)
for place in np.ndindex(before.shape):
    for nudge in (STEP, -STEP):
        nudged = before.copy()
        nudged[place] += nudge
        numerical[place] += objective(*unstack(nudged), PENALTY) / (2 * nudge)

checks = {
    name: float(np.linalg.norm(other - analytic) / np.linalg.norm(analytic))
    for name, other in (("numerical gradient", numerical), ("library's step", stepped))
}
for name, difference in checks.items():
    print(f"{name} against the formula: relative difference {difference:.0e}")

# %%
# SGD, mini-batches, momentum – and ALS
# -------------------------------------
# Plain SGD takes a step after each rating, mini-batch SGD after 32, and momentum adds
# 0.9 of the last step to each step. Alternating least squares (ALS) takes no gradient
# steps: with Q held fixed, L is a ridge regression for each :math:`p_u`, which is
# solved exactly, and with P held fixed it is one for each :math:`q_i`. All have d = 4
# factors and 100 iterations; cross-validation chooses λ and the learning rate γ.

FOLDS = KFold(5, shuffle=True, random_state=0)
COMMON = {"max_iter": 100, "tol": None, "init_scale": 0.05, "random_state": 0}
COMMON["n_jobs"] = 1  # so few ratings are not worth a second thread
PENALTIES = {"regularization": [0.03, 0.1, 0.3]}
SYMBOLS = {"learning_rate": "γ", "regularization": "λ", "bias_regularization": "λ_b"}

models, curves, table = {}, {}, {}


def both_errors(model, X, y):
    """Return the RMSE on the ratings of the fit, and on those of the test."""
    return {"train": -model.score(X, y), "test": -model.score(X_test, y_test)}


def trace(model):
    """Fit a model and return its errors after each iteration."""
    monitor = ScoringMonitor(scoring=both_errors)
    model.set_callbacks(monitor).fit(X_train, y_train).set_callbacks()
    rows = [r for r in monitor.get_logs().data if r["task_name"] == "iteration"]
    return {part: [float(row[part]) for row in rows] for part in ("train", "test")}


def describe(chosen):
    """Return parameters as text."""
    return ", ".join(f"{s} = {chosen[p]:g}" for p, s in SYMBOLS.items() if p in chosen)


def choose(name, model, grid):
    """Choose parameters by cross-validation; trace the fit with the best."""
    search = GridSearchCV(model, grid, cv=FOLDS, return_train_score=True)
    search.fit(X_train, y_train)
    models[name] = clone(search.best_estimator_)
    curves[name] = trace(models[name])
    errors = {part: curve[-1] for part, curve in curves[name].items()}
    table[name] = {"chosen": describe(search.best_params_), **errors}
    error = f"{-search.best_score_:.4f} in cross-validation"
    print(f"{name:<21} {describe(search.best_params_):<19} {error}")
    return search


mean = y_train.mean()
errors = {"train": rmse(y_train - mean), "test": rmse(y_test - mean)}
table["training mean"] = {"chosen": "", **errors}
plain = SGDFactorizer(N_FACTORS, optimizer="sgd", fit_intercept=False, **COMMON)
batches = clone(plain).set_params(batch_size=32)
momentum = clone(plain).set_params(momentum=0.9)
als = ALSFactorizer(N_FACTORS, fit_intercept=False, **COMMON)
choose("SGD", plain, PENALTIES | {"learning_rate": [0.003, 0.01, 0.03]})
choose("mini-batch SGD", batches, PENALTIES | {"learning_rate": [0.1, 0.3, 1]})
rates = {"learning_rate": [0.0003, 0.001, 0.003]}
choose("SGD with momentum", momentum, PENALTIES | rates)
choose("ALS", als, PENALTIES)

# %%
# The three learning rates that were chosen amount to the same. Where plain SGD takes 32
# steps, a batch of 32 takes one along the mean gradient: it needs about 32 times the
# learning rate. Momentum of 0.9 repeats each step, in parts that add up to
# 1 / (1 − 0.9) = 10 steps, and needs a tenth. Tuned like this, the three follow nearly
# the same curve and end at nearly the same error. ALS fits the training ratings best,
# and in the fewest iterations, but that does not lower the test error. All four predict
# worse than the mean of the training ratings: without an intercept, the factors are
# spent on the mean level of the ratings.

PARTS = {"train": "training ratings", "test": "test ratings"}


def draw_curves(ax, curves, part):
    """Draw errors over the iterations, on a logarithmic scale with plain numbers."""
    for name, curve in curves.items():
        ax.plot(range(1, len(curve[part]) + 1), curve[part], lw=2, label=name)
    ax.set(yscale="log", xlabel="iteration", ylabel=f"RMSE of {PARTS[part]} (stars)")
    ax.set_yticks([0.3, 0.5, 1, 2], labels=["0.3", "0.5", "1", "2"])
    ax.minorticks_off()


figure, axes = plt.subplots(1, 2, figsize=(10, 4.5), sharey=True, layout="constrained")
for ax, part in zip(axes, PARTS, strict=True):
    ax.set_prop_cycle(color=COLORS, linestyle=["-", "--", ":", "-."])
    draw_curves(ax, curves, part)
    ax.set_xscale("log")
axes[1].axhline(data["mean_rmse"], color="0.5", lw=1, label="training mean")
lines = axes[1].get_legend_handles_labels()
figure.legend(*lines, loc="outside upper center", ncols=5, frameon=False)

# %%
# The landscape
# -------------
# Why does the error stay high at first? The product of two matrices makes L a
# polynomial of degree four, with more than one minimum: (−P, −Q) is as good as (P, Q).
# Halfway between them, at P = Q = 0, the gradient is zero. This is a saddle point, and
# descent starts close to it, at small random factors. The plane on the right contains
# all three points. Around a solution, in two random directions, L is a bowl (left).

P, Q = unstack(stack(models["ALS"]))
penalty = models["ALS"].regularization
figure, axes = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
bowl = LossLandscapeDisplay.from_estimator(
    models["ALS"], X_train, y_train, random_state=0, ax=axes[0]
)
axes[0].set_xticks([-1, -0.5, 0, 0.5, 1])
along, across = np.linspace(-1.4, 1.4, 57), np.linspace(-0.8, 0.8, 33)
plane = np.array(
    [[objective((a + b) * P, (a - b) * Q, penalty) for a in along] for b in across]
)
levels = plane.min() + np.ptp(plane) * np.linspace(0, 1, 13) ** 2
contours = axes[1].contourf(along, across, plane, levels)
ticks = [1000, 2000, 5000, 10_000, 20_000]
colorbar = figure.colorbar(contours, ax=axes[1], ticks=ticks, format="{x:,.0f}")
colorbar.set_label("objective (stars²)")
style = {"ms": 14, "mec": "black"}
axes[1].plot([-1, 1], [0, 0], "*", color="white", label="solutions", **style)
axes[1].plot(0, 0, "X", color=COLORS[1], label="saddle", **style)
axes[1].set(xlabel="a, in factors (a + b) P and (a − b) Q", ylabel="b")
axes[1].legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False)

# %%
# Adam against momentum
# ---------------------
# Adam divides the mean of past gradients by the root of the mean of their squares. Its
# steps are about as long on the plateau, where gradients are small, as on the slope, so
# that it leaves the plateau first. Both end at nearly the same error.

adam = clone(plain).set_params(optimizer="adam")
choose("Adam", adam, PENALTIES | {"learning_rate": [0.003, 0.01, 0.03]})
pair = ["SGD with momentum", "Adam"]
leaving = {name: int(np.argmax(np.less(curves[name]["train"], 1))) + 1 for name in pair}
for name, epoch in leaving.items():
    print(f"{name}: training RMSE below 1 star from epoch {epoch}")

figure, axes = plt.subplots(1, 2, figsize=(10, 4.5), layout="constrained")
ConvergenceDisplay.from_estimators(
    {name: models[name] for name in pair}, ax=axes[0], log_scale=True
)
axes[0].set_ylabel("objective (stars²)")
draw_curves(axes[1], {name: curves[name] for name in pair}, "test")
axes[1].legend()

# %%
# The mean, the biases and the penalty
# ------------------------------------
# `BiasedMF` predicts :math:`\mu + b_u + b_i + p_u \cdot q_i`, with a penalty λ of the
# factors and :math:`\lambda_b` of the biases. The users and items of these ratings
# hardly differ in their means, so that biases mostly fit noise. With one λ for both,
# cross-validation chooses one so large that it removes the factors together with the
# biases. With two it keeps the factors, and next to nothing of the biases: the result
# is a factorisation around μ, which is much better than μ alone.

biased = BiasedMF(N_FACTORS, solver="als", **COMMON)
sweep = {"regularization": [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1]}
choose("BiasedMF, λ_b = λ", biased, sweep)
by_penalty = choose("BiasedMF", biased, sweep | {"bias_regularization": [0.1, 1, 10]})
spreads = {}
for name in ("BiasedMF, λ_b = λ", "BiasedMF"):
    model = models[name]
    biases = np.concatenate([model.user_biases_, model.item_biases_])
    products = model.user_factors_ @ model.item_factors_.T
    spreads[name] = {"biases": float(biases.std()), "products": float(products.std())}
    print(f"{name}: biases ± {biases.std():.2f}, products ± {products.std():.2f} stars")

# %%
# With too small a λ the model memorises the training ratings, and its error on the
# others about doubles; too large a λ leaves no factors. The number of factors matters
# much at λ = 0.01, and in a surprising way: 4, the number in the data, is worst, and
# where there are more parameters than ratings, at 8 and 16, the error falls again. At
# λ = 0.1 the number matters little: choose the penalty first.

by_rank = GridSearchCV(
    clone(models["BiasedMF"]),
    {"n_factors": [1, 2, 4, 8, 16], "regularization": [0.01, 0.1]},
    cv=FOLDS,
    return_train_score=True,
    refit=False,
).fit(X_train, y_train)

figure, axes = plt.subplots(2, 1, figsize=(8, 9), layout="constrained")
sweeps = {
    "penalty": SearchDisplay.from_search(
        by_penalty,
        param="regularization",
        line_param="bias_regularization",
        ax=axes[0],
    ),
    "rank": SearchDisplay.from_search(
        by_rank, param="n_factors", line_param="regularization", ax=axes[1]
    ),
}

# %%
# When to stop
# ------------
# This is plain SGD with λ = 0.01. That is too small, and after some tens of epochs the
# test error rises. Early stopping holds out a tenth of the ratings,
# continues until their error has not fallen for 10 epochs, and restores the best epoch.
# It takes fewer epochs than a fixed number of 300, and predicts better. So does the λ
# that was chosen above, without early stopping.

fixed = clone(models["SGD"]).set_params(regularization=0.01, max_iter=300)
patient = clone(fixed).set_params(early_stopping=True, n_iter_no_change=10)
runs = {"300 epochs": fixed, "patience of 10": patient}
run_curves = {name: trace(model) for name, model in runs.items()}
stopping = {}
for name, model in runs.items():
    error = float(-model.score(X_test, y_test))
    stopping[name] = {"epochs": model.n_iter_, "kept": model.best_iter_, "test": error}
    print(f"{name}: {model.n_iter_} epochs, kept {model.best_iter_}, test {error:.4f}")

figure, axes = plt.subplots(1, 2, figsize=(10, 4.5), layout="constrained")
ConvergenceDisplay.from_estimators(runs, ax=axes[0], log_scale=True)
axes[0].set_ylabel("objective (stars²)")
draw_curves(axes[1], run_curves, "test")
for color, row in zip(COLORS, stopping.values(), strict=False):
    axes[1].plot(row["kept"], row["test"], "*", ms=12, color=color)
axes[1].legend()

# %%
# The gap
# -------
# The table compares the errors on training and test ratings. Without an intercept, the
# better a model fits, the wider is the gap between them, and it is widest for ALS. The
# mean, a single parameter, has next to none. A gap is not a fault in itself: the best
# model of all has one too. Its test error is still well above that of the true
# products.

table = pd.DataFrame(table).T
print(table)

figure, ax = plt.subplots(figsize=(8, 4.5), layout="constrained")
places = range(len(table))
ax.hlines(places, table.train, table.test, color="0.7", lw=3, zorder=1)
ax.scatter(table.train, places, marker="o", s=50, label="training ratings")
ax.scatter(table.test, places, marker="D", s=50, label="test ratings")
ax.axvline(data["truth_rmse"], color="0.4", ls="--", lw=1, label="truth, test ratings")
ax.set_yticks(places, labels=table.index)
ax.invert_yaxis()
ax.set_xlabel("RMSE (stars)")
figure.legend(loc="outside upper center", ncols=3, frameon=False)

plt.show()
