r"""
Right or wrong: a network and a factorisation
=============================================

542 students have answered 56,688 of 1,774 questions, each answer right or wrong. Which
of the others would they get right? An autoencoder (`AutoRec`) and matrix factorisation
answer the same question, and both predict by one product of factors for each pair. They
differ in how they learn the factors: in mechanism, in cost, and in flexibility. Here
both are measured on the same answers, together with item response theory, the standard
model of such tests.

The answers are synthetic, from a two-parameter item response model, so that the best
possible accuracy is known.
"""

import itertools
import time

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss, make_scorer
from sklearn.model_selection import GridSearchCV, PredefinedSplit, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from sklearn_mf import ALSFactorizer, AutoRec, MFClassifier
from sklearn_mf.datasets import load_ratings, make_answers

RATINGS = None  # or the name of your own file: student, question, and 1 or 0

# %%
# The answers
# -----------
# Eight tenths of the answers are for training, one tenth is for validation, and one for
# the test. Always predicting the more frequent answer is the baseline. The true model,
# which knows the abilities and the difficulties, is the upper bound: the rest is
# chance.

if RATINGS:
    X, y = load_ratings(RATINGS)
    truth = np.full(len(y), np.nan)
else:
    X, y, planted = make_answers(coef=True, random_state=0)
    students, questions = X.T
    truth = expit(
        planted.discriminations[questions]
        * (planted.abilities[students] - planted.difficulties[questions])
    )
y = y.astype(np.float32)
X_train, X_rest, y_train, y_rest, _, rest = train_test_split(
    X, y, truth, test_size=0.2, random_state=0
)
X_val, X_test, y_val, y_test, _, truth_test = train_test_split(
    X_rest, y_rest, rest, test_size=0.5, random_state=0
)


def accuracy(y_true, probabilities):
    """Return the share of predictions that are on the right side of ½."""
    return float(accuracy_score(y_true > 0.5, probabilities > 0.5))


majority = accuracy(y_test, np.full(len(y_test), y_train.mean()))
bound = None if RATINGS else accuracy(y_test, truth_test)
print(f"{len(y_train)} answers to learn from, {len(y_val)} to choose by, ", end="")
print(f"{len(y_test)} to test")
print(f"always the more frequent: {majority:.4f}")
print("the true model:          ", f"{bound:.4f}" if bound else "not known")

# %%
# An autoencoder
# --------------
# `AutoRec` reads what a student has answered, as numbers around the mean, squeezes it
# through k hidden units, and writes a probability for every question:
#
# .. math::
#
#     h_s = \sigma\Big(a + \sum_{q\ \mathrm{answered}} (r_{sq} - \bar r)\, v_q\Big),
#     \qquad \hat r_{sq} = \sigma(\mu + b_q + w_q \cdot h_s).
#
# It has no parameters of single students: those who have given the same answers get the
# same predictions. The weights are learnt by steps along the gradient of the log loss
# of the answers given.
#
# The first fits have no penalty. There is one for each number of hidden units and each
# learning rate, evaluated after every epoch. The validation part chooses the epoch too,
# which is what ``early_stopping=True`` does with a validation part of its own.

HIDDEN, RATES, EPOCHS = (10, 50, 200), (0.003, 0.01), 25
NETWORK = {"axis": "user", "loss": "log_loss", "tol": None, "random_state": 0}


class Watch:
    """A callback that records accuracies after each epoch."""

    def __init__(self):
        self.val, self.test = [], []

    def setup(self, estimator, context):
        """Do nothing."""

    teardown = on_fit_task_begin = setup

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        """Predict."""
        if context.task_name == "iteration":
            self.val.append(accuracy(y_val, fitted_estimator.predict(X_val)))
            self.test.append(accuracy(y_test, fitted_estimator.predict(X_test)))


def train(n_factors, epochs, **params):
    """Fit a network, and return its row of the table with its curve."""
    watch = Watch()
    network = AutoRec(n_factors, max_iter=epochs, **{**NETWORK, **params})
    network.set_callbacks(watch).fit(X_train, y_train)
    best = int(np.argmax(watch.val))
    return {
        "hidden": n_factors,
        "learning_rate": network.learning_rate,
        "regularization": network.regularization,
        "epoch": best + 1,
        "val": watch.val[best],
        "test": watch.test[best],
        "val_curve": watch.val,
    }


def print_networks(rows):
    """Print the table of networks, and the one that validation chooses."""
    table = pd.DataFrame(rows).drop(columns=["val_curve", "test"])
    print(table.round(4).to_string(index=False))
    best = max(rows, key=lambda row: row["val"])
    print(f"chosen: {best['hidden']} hidden units, {best['epoch']} epochs")


plain = [
    train(k, EPOCHS, learning_rate=rate, regularization=0)
    for k, rate in itertools.product(HIDDEN, RATES)
]
print_networks(plain)

# %%
# With fifty hidden units or more the curves rise, turn, and fall: a network soon learns
# what generalises, and then memorises the training answers. The longer the steps, the
# sooner the curve turns. At their best epochs (dots) fifty units and two hundred
# hardly differ: the number of epochs matters more than the number of units.

figure, axes = plt.subplots(
    1, len(RATES), figsize=(9, 3.8), sharey=True, layout="constrained"
)
colors = plt.colormaps["viridis"](np.linspace(0, 0.85, len(HIDDEN)))
for ax, rate in zip(axes, RATES, strict=True):
    for k, color in zip(HIDDEN, colors, strict=True):
        (row,) = (r for r in plain if (r["hidden"], r["learning_rate"]) == (k, rate))
        curve = row["val_curve"]
        ax.plot(np.arange(1, len(curve) + 1), curve, color=color, label=k)
        ax.plot(row["epoch"], row["val"], "o", color=color, markersize=5)
    ax.set(xlabel="epoch", title=f"learning rate {rate}")
    ax.grid(alpha=0.3)
axes[0].set_ylabel("validation accuracy")
figure.legend(
    *axes[0].get_legend_handles_labels(),
    loc="outside lower center",
    ncols=len(HIDDEN),
    title="hidden units",
)

# %%
# The next fits have a penalty, for the chosen network, and ten epochs more. A
# small penalty changes little; with a larger one the curve turns later; the largest
# prevents learning.

LAMBDAS = (0.001, 0.1, 1.0)
chosen = max(plain, key=lambda row: row["val"])
chosen = {"n_factors": chosen["hidden"], "learning_rate": chosen["learning_rate"]}
penalised = [train(**chosen, epochs=EPOCHS + 10, regularization=lam) for lam in LAMBDAS]
print_networks(penalised)
network = max([*plain, *penalised], key=lambda row: row["val"])

# %%
# Compared with factorisations
# ----------------------------
# - *ALS*: students and questions have factors of their own. With one side held fixed,
#   the other is a regression with a closed solution, so they are solved in turn. The
#   loss is the squared error, because no other loss has such a solution; predictions
#   are numbers near 0 and 1.
# - *Factors under log loss*: `MFClassifier` with biases and factors, fitted by
#   stochastic gradient descent. It is a classifier: it predicts labels, and has
#   probabilities too.
# - *Item response theory*: the same with ``n_factors=0``. The bias of a student is the
#   ability, that of a question its ease: the one-parameter model.
#
# A search on the same validation part chooses the parameters of each.

part = np.repeat([-1, 0], [len(y_train), len(y_val)])
X_both, y_both = np.vstack([X_train, X_val]), np.append(y_train, y_val)
SEARCHES = {
    "ALS": (
        ALSFactorizer(random_state=0),
        {"n_factors": [1, 2, 5, 10], "regularization": [0.02, 0.05, 0.1]},
    ),
    "factors, log loss": (
        MFClassifier(random_state=0),
        {"n_factors": [2, 10], "regularization": [4.0, 8.0, 16.0]},
    ),
    "item response theory": (
        MFClassifier(0, random_state=0),
        {"bias_regularization": [0.3, 1.0, 3.0]},
    ),
}


def fit(model):
    """Fit a model to the training answers, and return the seconds it took."""
    start = time.perf_counter()
    model.fit(X_train, y_train)
    return time.perf_counter() - start


models, table = {}, []
for name, (model, grid) in SEARCHES.items():
    search = GridSearchCV(
        model,
        grid,
        scoring=make_scorer(accuracy),
        cv=PredefinedSplit(part),
        refit=False,
    ).fit(X_both, y_both)
    models[name] = model.set_params(**search.best_params_)
    table.append(
        {
            "model": name,
            "params": search.best_params_,
            "val": float(search.best_score_),
            "seconds": fit(model),
            "epochs": model.n_iter_,
            "test": accuracy(y_test, model.predict(X_test)),
        }
    )
params = {name: network[name] for name in ("hidden", "learning_rate", "regularization")}
params["n_factors"] = params.pop("hidden")
models["AutoRec"] = AutoRec(max_iter=network["epoch"], **NETWORK).set_params(**params)
table.append(
    {
        "model": "AutoRec",
        "params": params,
        "val": network["val"],
        "seconds": fit(models["AutoRec"]),
        "epochs": network["epoch"],
        "test": accuracy(y_test, models["AutoRec"].predict(X_test)),
    }
)

shown = pd.DataFrame(table).set_index("model")[["val", "test", "params"]]
shown["params"] = [
    ", ".join(f"{k}={v}" for k, v in row.items()) for row in shown.params
]
print(shown.round(4).to_string())

# %%
# On these answers the simplest model is the best, because they were generated by item
# response theory, with one number for each student, and have no other structure. The
# network is not told so, but comes close. Your own answers may have more structure: run
# this script on them.

figure, ax = plt.subplots(figsize=(7, 2.8), layout="constrained")
places = np.arange(len(table))
for name, marker, color in (("val", "o", "#56B4E9"), ("test", "D", "#0072B2")):
    label = {"val": "validation", "test": "test"}[name]
    ax.plot([row[name] for row in table], places, marker, color=color, label=label)
ax.axvline(majority, color="0.5", linestyle=":", label="the more frequent (test)")
if bound:
    ax.axvline(bound, color="#D55E00", linestyle="--", label="true model (test)")
ax.set_yticks(places, labels=[row["model"] for row in table])
ax.set(xlabel="accuracy", ylim=(len(table) - 0.5, -0.5))
ax.grid(axis="x", alpha=0.3)
figure.legend(loc="outside lower center", ncols=4)

# %%
# Item response theory is also logistic regression on one-hot encoded ids, a column for
# each student and each question. `LogisticRegression` finds nearly the same
# probabilities, but has no factors to add where answers have more structure. Both have
# their defaults here.


def ask(model):
    """Return a row of the table of classifiers, on the test part."""
    seconds = min(fit(model) for _ in range(2))  # the first may compile
    loss = float(log_loss(y_test, model.predict_proba(X_test)))
    test = accuracy(y_test, model.predict(X_test))
    return {"test": test, "log_loss": loss, "seconds": seconds}


encoder = OneHotEncoder(handle_unknown="ignore")
logistic = make_pipeline(encoder, LogisticRegression(max_iter=1000))
classifiers = {
    "MFClassifier(0)": ask(MFClassifier(0, random_state=0)),
    "MFClassifier()": ask(MFClassifier(random_state=0)),
    "LogisticRegression, one-hot": ask(logistic),
}
print(pd.DataFrame(classifiers).T.round(4))

# %%
# What they cost
# --------------
# Once fitted, each is a factorisation, and predicts a pair by one product of its
# factors. The costs of fitting differ. A sweep of ALS takes n · d² multiplications for
# n answers and a system of d equations for each student and question, and few sweeps
# are needed. An epoch of the network takes n · k multiplications, but its steps are
# small, and many epochs are needed. The parameters of ALS grow with the number of
# students, d numbers for each; those of the network only with the number of questions,
# two vectors of length k for each.
#
# Both models add a new student by one call. ALS solves the student's regression
# (`fold_in_users`), the network reads the answers (`partial_fit`); neither changes any
# other parameter. The milliseconds are those of the whole call.

n_students, n_questions = len(np.unique(X[:, 0])), len(np.unique(X[:, 1]))
als, autorec = models["ALS"], models["AutoRec"]
k, d = autorec.n_factors, als.n_factors
own = X_train[:, 0] == np.bincount(X_train[:, 0]).argmax()


def time_new_student(serve, n_calls=20):
    """Return the milliseconds it takes to add a new student."""
    seconds = []
    for call in range(n_calls):
        student = X_train[own] + [10**9 + call, 0]
        start = time.perf_counter()
        serve(student, y_train[own])
        seconds.append(time.perf_counter() - start)
    return 1e3 * float(np.median(seconds))


costs = {
    "ALS": {
        "parameters": d * (n_students + n_questions),
        "epochs": als.n_iter_,
        "fit_seconds": table[0]["seconds"],
        "new_student_ms": time_new_student(als.fold_in_users),
    },
    "AutoRec": {
        "parameters": (2 * k + 1) * n_questions + k,
        "epochs": autorec.n_iter_,
        "fit_seconds": table[-1]["seconds"],
        "new_student_ms": time_new_student(autorec.partial_fit),
    },
}
for row in costs.values():
    row["ms_per_epoch"] = 1e3 * row["fit_seconds"] / row["epochs"]
with pd.option_context("display.float_format", "{:,.1f}".format):
    print(pd.DataFrame(costs))

# %%
# How good are the predictions for new students? A hundred students are left out of the
# fit. Their other answers are predicted twice: before the models have seen their
# training answers, when only the question is known, and after. Both models predict
# better with these answers, without a refit.

newcomers = np.unique(X[:, 0])[-(n_students // 5) :]


def split_off(X, y):
    """Return the answers of the newcomers, and those of the others."""
    new = np.isin(X[:, 0], newcomers)
    return (X[new], y[new]), (X[~new], y[~new])


(X_new, y_new), others = split_off(X_train, y_train)
asked, answers = split_off(X_rest, y_rest)[0]
known = np.isin(X_new[:, 1], others[0][:, 1])
served = {}
for name, serve in (("ALS", "fold_in_users"), ("AutoRec", "partial_fit")):
    model = models[name].fit(*others)
    before = accuracy(answers, model.predict(asked))
    getattr(model, serve)(X_new[known], y_new[known])
    served[name] = {"before": before, "after": accuracy(answers, model.predict(asked))}
    print(f"{name:10}before {before:.4f}, after {served[name]['after']:.4f}")

# %%
# How flexible they are
# ---------------------
# ALS needs the squared error and linearity for its speed. In return it has closed
# solutions for both new students and new questions, exact and without a learning rate.
# The network can use any activation of the hidden units and the output, and any loss,
# that has a gradient. It treats the two sides differently: with ``axis="item"`` it
# reads the answers to a question, adds new questions without training, and has weights
# for each student. New ids of the other side need training, by a fit with
# ``warm_start=True``. Below is the same network with one thing changed; with linear
# hidden units it is worse on the validation part:

VARIANTS = {
    "as chosen": {},
    "linear hidden units": {"activation": "identity"},
    "squared error": {"loss": "squared_error", "output_activation": "sigmoid"},
    "questions as rows": {"axis": "item"},
}
fixed = {"learning_rate": params["learning_rate"], "epochs": EPOCHS + 10}
variants = {
    name: train(k, regularization=params["regularization"], **fixed, **changes)
    for name, changes in VARIANTS.items()
}
print(pd.DataFrame(variants).T[["epoch", "val", "test"]].astype(float).round(4))

plt.show()
