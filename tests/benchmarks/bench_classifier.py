"""Right and wrong answers: MFClassifier beside logistic regression on one-hot ids.

    python tests/benchmarks/bench_classifier.py [--ratings ratings.csv]
        [--sizes 56688 1000000] [--rounds 3]

Accuracy, log loss and area under the ROC curve of the answers that are held out, a
fifth, and the seconds of a fit, all as means over `--rounds` splits; "× ours" is the
seconds over those of `MFClassifier(0)` in the same run. All parameters are the
defaults. "base rate" predicts the share of right answers; "the true model" knows the
abilities and difficulties that the answers were made with. `BayesianMFClassifier` is
fitted to smaller data only.

The answers are those of `make_answers`. With a file of MovieLens, a rating of four
stars or more is right and any other is wrong.
"""

import argparse
import time
import warnings

import numpy as np
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from sklearn_mf import BayesianMFClassifier, MFClassifier
from sklearn_mf.datasets import make_answers


def one_hot():
    """Return logistic regression on the ids as they go into linear models."""
    encoder = OneHotEncoder(handle_unknown="ignore")
    return make_pipeline(encoder, LogisticRegression(max_iter=1000))


MOST_SAMPLED = 200_000  # answers, at most, that BayesianMFClassifier is fitted to

MODELS = {
    "LogisticRegression, one-hot": one_hot,
    "MFClassifier(0)": lambda: MFClassifier(0, random_state=0),
    "MFClassifier()": lambda: MFClassifier(random_state=0),
    "BayesianMFClassifier()": lambda: BayesianMFClassifier(random_state=0),
}


def make_data(n_answers):
    """Return answers, and their true probabilities."""
    n_students = 542 * n_answers // 56_688
    X, y, true = make_answers(
        n_students, n_answers=n_answers, coef=True, random_state=0
    )
    students, questions = X.T
    scores = true.abilities[students] - true.difficulties[questions]
    return X, y.astype(int), expit(true.discriminations[questions] * scores)


def read_data(path):
    """Return which ratings of a file of MovieLens are of four stars or more."""
    table = np.loadtxt(path, delimiter=",", skiprows=1)
    return table[:, :2].astype(int), (table[:, 2] >= 4).astype(int), None


def judge(y, probabilities):
    """Return accuracy, log loss and area under the ROC curve."""
    return (
        accuracy_score(y, probabilities > 0.5),
        log_loss(y, probabilities),
        roc_auc_score(y, probabilities),
    )


def compare(title, X, y, truth, rounds):
    """Print the table of a data set."""
    found = {}
    for seed in range(rounds):
        train, test = train_test_split(
            np.arange(len(y)), test_size=0.2, random_state=seed
        )
        share = np.full(len(test), y[train].mean())
        found.setdefault("base rate", []).append((*judge(y[test], share), np.nan))
        for name, make in MODELS.items():
            if name.startswith("Bayesian") and len(y) > MOST_SAMPLED:
                continue
            start = time.perf_counter()
            model = make().fit(X[train], y[train])
            seconds = time.perf_counter() - start
            probabilities = model.predict_proba(X[test])[:, 1]
            found.setdefault(name, []).append((*judge(y[test], probabilities), seconds))
        if truth is not None:
            row = (*judge(y[test], truth[test]), np.nan)
            found.setdefault("the true model", []).append(row)
    n_users, n_items = (len(np.unique(ids)) for ids in X.T)
    print(f"\n{title}: {len(y)} answers of {n_users} users to {n_items} items\n")
    print(
        "| | accuracy | log loss | AUC | seconds | × ours |\n|---|--:|--:|--:|--:|--:|"
    )
    means = {name: np.mean(rows, axis=0) for name, rows in found.items()}
    ours = means["MFClassifier(0)"][3]
    for name, (accuracy, loss, auc, seconds) in means.items():
        cost = f"{seconds:.2f} | {seconds / ours:.1f}" if seconds > 0 else "– | –"
        print(f"| {name} | {accuracy:.4f} | {loss:.4f} | {auc:.4f} | {cost} |")


def main():
    """Parse the command line, and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ratings", help="a file of MovieLens")
    parser.add_argument("--sizes", type=int, nargs="*", default=[56_688, 1_000_000])
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    X, y, _ = make_data(40_000)
    for make in MODELS.values():  # compiles
        make().fit(X, y)
    for size in args.sizes:
        compare("make_answers", *make_data(size), args.rounds)
    if args.ratings:
        compare("liked", *read_data(args.ratings), args.rounds)


if __name__ == "__main__":
    main()
