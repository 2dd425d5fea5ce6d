"""Imputation: MFImputer beside the imputers of scikit-learn.

    python tests/benchmarks/bench_impute.py [--data breast_cancer digits wine diabetes]
        [--ratings ratings.csv] [--rows 100000 --columns 200] [--rounds 10]
        [--imputers mean KNN Iterative MF gibbs] [--missing 0.3]

A share `--missing` of the entries is hidden at random. "RMSE" is that of the hidden
entries, in units of the standard deviation of their column; the seconds are those of
`fit` and of `transform` of the same rows. "× ours" is the sum of both over that of
MFImputer() in the same run. All parameters are the defaults, except that
`IterativeImputer` makes `--rounds` rounds, of which 10 are its default.

`--rows` and `--columns` are of a made table of rank 10 with noise, a third of a
standard deviation. Of the file of MovieLens, users are rows, movies are columns, and a
tenth of the ratings is hidden; only movies with at least `--least` ratings are columns.
"""

import argparse
import time
import warnings

import numpy as np
from sklearn import datasets
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer

from sklearn_mf.impute import MFImputer

IMPUTERS = {
    "mean": lambda args: SimpleImputer(keep_empty_features=True),
    "KNN": lambda args: KNNImputer(keep_empty_features=True),
    "Iterative": lambda args: IterativeImputer(
        max_iter=args.rounds, keep_empty_features=True, random_state=0
    ),
    "MF": lambda args: MFImputer(keep_empty_features=True, random_state=0),
    "gibbs": lambda args: MFImputer(
        solver="gibbs", keep_empty_features=True, random_state=0
    ),
}
NAMES = {
    "mean": "SimpleImputer",
    "KNN": "KNNImputer",
    "Iterative": "IterativeImputer",
    "MF": "MFImputer",
    "gibbs": "MFImputer, gibbs",
}


def make_table(n_rows, n_columns):
    """Return a table of rank 10 with noise."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, 10)) @ rng.normal(size=(10, n_columns))
    return X + rng.normal(scale=10**0.5 / 3, size=X.shape)


def read_table(path, least):
    """Return the ratings of a file of MovieLens as a table, NaN where there is none."""
    users, movies, ratings = np.loadtxt(
        path, delimiter=",", skiprows=1, usecols=(0, 1, 2), unpack=True
    )
    _, rows = np.unique(users, return_inverse=True)
    _, columns, counts = np.unique(movies, return_inverse=True, return_counts=True)
    X = np.full((rows.max() + 1, len(counts)), np.nan)
    X[rows, columns] = ratings
    return X[:, counts >= least]


def compare(title, X, missing, args):
    """Print the table of a data set."""
    rng = np.random.default_rng(1)
    hidden = ~np.isnan(X) & (rng.uniform(size=X.shape) < missing)
    given = np.where(hidden, np.nan, X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # columns without entries
        unit = np.nanstd(X, axis=0)
    hidden &= unit > 0
    found = {}
    for name in args.imputers:
        imputer = IMPUTERS[name](args)
        if name in ("MF", "gibbs"):  # compiled code is read from the cache
            imputer.fit_transform(given[:50, :10])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            start = time.perf_counter()
            imputer.fit(given)
            middle = time.perf_counter()
            filled = imputer.transform(given)
            end = time.perf_counter()
        errors = ((filled - X) / np.where(unit > 0, unit, 1))[hidden]
        rmse = np.sqrt(np.mean(errors**2))
        found[name] = rmse, middle - start, end - middle
    print(f"\n{title}: {X.shape[0]:,} × {X.shape[1]:,}, ", end="")
    print(f"{np.isnan(given).mean():.0%} missing\n")
    print("| | RMSE | fit, seconds | transform, seconds | × ours |")
    print("|---|--:|--:|--:|--:|")
    ours = sum(found["MF"][1:]) if "MF" in found else np.nan
    for name, (rmse, fit, transform) in found.items():
        ratio = (fit + transform) / ours
        print(f"| {NAMES[name]} | {rmse:.3f} | {fit:.2f} | {transform:.2f} |", end="")
        print(f" {ratio:.2g} |", flush=True)


def main():
    """Print a table for each of the data sets."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    toys = ["breast_cancer", "digits", "wine", "diabetes"]
    parser.add_argument("--data", nargs="*", choices=toys, default=toys)
    parser.add_argument("--missing", type=float, default=0.3)
    parser.add_argument("--ratings", help="ratings.csv of MovieLens")
    parser.add_argument("--least", type=int, default=10)
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--columns", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=10)
    names = list(IMPUTERS)
    parser.add_argument("--imputers", nargs="+", choices=names, default=names)
    args = parser.parse_args()
    for name in args.data:
        X = getattr(datasets, f"load_{name}")().data.astype(np.float64)
        compare(name, X, args.missing, args)
    if args.ratings:
        X = read_table(args.ratings, args.least)
        compare("MovieLens", X, 0.1, args)
    if args.rows:
        X = make_table(args.rows, args.columns)
        compare("made", X, args.missing, args)


if __name__ == "__main__":
    main()
