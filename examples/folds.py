"""How the folds are cut decides what a score means: pitfalls of a sorted file.

    python examples/folds.py [--ratings ratings.csv]

Cross-validates BiasedMF on ratings sorted by user, as most files are, with folds cut in
three ways, and prints for each the test error and the share of test ratings whose user,
or item, does not occur in training. Without --ratings, the ratings are synthetic.
"""

import argparse

import numpy as np
from sklearn.model_selection import KFold, cross_validate

from sklearn_mf import BiasedMF
from sklearn_mf.datasets import load_ratings, make_ratings
from sklearn_mf.model_selection import RatingKFold, cold_share

SPLITTERS = {
    "cv=5": KFold(5),
    "KFold(5, shuffle=True)": KFold(5, shuffle=True, random_state=0),
    "RatingKFold(5)": RatingKFold(5, random_state=0),
}


def measure(X, y, splitter):
    """Return means over the folds: test error, cold shares of users and of items."""
    shares = [cold_share(X[train], X[test]) for train, test in splitter.split(X)]
    results = cross_validate(
        BiasedMF(random_state=0),
        X,
        y,
        cv=splitter,
        scoring="neg_root_mean_squared_error",
    )
    return -results["test_score"].mean(), *np.mean(shares, axis=0)


def main(arguments=None):
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ratings", metavar="FILE", help="user, item, rating, ...")
    options = parser.parse_args(arguments)
    X, y = (
        load_ratings(options.ratings)
        if options.ratings
        else make_ratings(random_state=0)
    )
    order = np.argsort(X[:, 0], kind="stable")
    X, y = X[order], y[order]
    print("| folds | RMSE | unknown users | unknown items |\n|---|--:|--:|--:|")
    for name, splitter in SPLITTERS.items():
        rmse, users, items = measure(X, y, splitter)
        print(f"| `{name}` | {rmse:.4f} | {users:.1%} | {items:.1%} |")


if __name__ == "__main__":
    main()
