"""Bayesian factorisation beside myFM: seconds a draw, accuracy, and calibration.

    python tests/benchmarks/bench_bayesian.py --peers-python PATH
        [--ratings ratings.csv] [--pairs 900000] [--factors 10 50] [--folds 5]

PATH is an interpreter that has myfm, see requirements-peers.txt. Without it only
sklearn_mf runs.

The first table is of made ratings with the long tail of `make_ratings`: seconds that
one draw of all parameters takes, the difference between fits of many and of few draws
over their number, the least of three; of an iteration of exact alternating least
squares (`BiasedMF`) too, and the ratios. Ours are in single precision, on one thread
and on two; myFM has no threads.

The second is of the five folds ``KFold(5, shuffle=True, random_state=0)`` of a file of
MovieLens: test RMSE, mean log probability of the star that was given, and the share of
test ratings within intervals of 50, 80, 90 and 95 %. All parameters are the defaults;
of myFM rank 10 and 500 draws as in its own example.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import tracemalloc
import warnings
from pathlib import Path

import numpy as np

ROUNDS, FEW, MANY = 3, 2, 12
COVERAGES = 0.5, 0.8, 0.9, 0.95

PEER = """
import json, sys, time
import numpy as np
import myfm
from sklearn.preprocessing import OneHotEncoder

job = json.loads(sys.argv[1])
data = np.load(job["file"])
X, y = data["X"], data["y"]
encoder = OneHotEncoder(handle_unknown="ignore").fit(X)
table, groups = encoder.transform(X), [len(ids) for ids in encoder.categories_]

def fit(n_draws):
    start = time.perf_counter()
    model = myfm.MyFMRegressor(rank=job["factors"], random_seed=0)
    model.fit(table, y, group_shapes=groups, n_iter=n_draws, n_kept_samples=n_draws - 1)
    return model, time.perf_counter() - start

if job["draws"]:
    model, seconds = fit(job["draws"])
    ratings = model.predict(encoder.transform(data["test"])).tolist()
    found = {"seconds": seconds, "ratings": ratings}
else:
    found = [[fit(n)[1] for n in job["timed"]] for _ in range(job["rounds"])]
print(json.dumps(found))
"""


def ask_peer(python, X, y, **job):
    """Run myFM in its own interpreter."""
    test = job.pop("test", X[:1])
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "data.npz")
        np.savez(file, X=X, y=y, test=test)
        job = {"file": file, "draws": 0, "timed": [FEW, MANY], "rounds": ROUNDS} | job
        ran = subprocess.run(
            [python, "-c", PEER, json.dumps(job)],
            capture_output=True,
            text=True,
            check=True,
        )
    return json.loads(ran.stdout.splitlines()[-1])


def time_iterations(make, X, y):
    """Return the seconds of an iteration of a model made for a number of them."""
    make(FEW).fit(X, y)
    few, many = [], []
    for _ in range(ROUNDS):
        for n, seconds in ((FEW, few), (MANY, many)):
            start = time.perf_counter()
            make(n).fit(X, y)
            seconds.append(time.perf_counter() - start)
    return (min(many) - min(few)) / (MANY - FEW)


def compare_speed(n_pairs, factors, peers_python):
    """Print the first table."""
    from sklearn_mf import BayesianMF, BiasedMF
    from sklearn_mf.datasets import make_ratings

    X, y = make_ratings(n_pairs // 150, n_pairs // 243, n_pairs, random_state=0)
    y = y.astype(np.float32)
    print(f"{len(y)} ratings; seconds a draw\n")
    print("| factors | threads | BayesianMF | ALS iteration | ratio | myFM | × ours |")
    print("|---|---|---|---|---|---|---|")
    for d in factors:
        peer = None
        if peers_python:
            rounds = ask_peer(peers_python, X, y.astype(float), factors=d)
            few, many = map(min, zip(*rounds, strict=True))
            peer = (many - few) / (MANY - FEW)
        for n_jobs in (1, 2):
            common = {"n_factors": d, "n_jobs": n_jobs, "random_state": 0}
            ours = time_iterations(
                lambda n, common=common: BayesianMF(
                    **common, n_samples=n, burn_in=0, thin=10**6
                ),
                X,
                y,
            )
            als = time_iterations(
                lambda n, common=common: BiasedMF(
                    **common, solver="als", max_iter=n, tol=None
                ),
                X,
                y,
            )
            others = f"{peer:.3f} | {peer / ours:.1f}" if peer else "– | –"
            print(
                f"| {d} | {n_jobs} | {ours:.4f} | {als:.4f} | {ours / als:.2f} | "
                f"{others} |",
                flush=True,
            )
    model = BayesianMF(factors[0], n_samples=2, burn_in=0, thin=1, random_state=0)
    tracemalloc.start()
    model.fit(X, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    kept = sum(v.nbytes for k, v in vars(model).items() if k.endswith("_samples_"))
    print(f"\nA kept draw with d = {factors[0]} takes {kept / 2 / 2**20:.2f} MiB.")
    rest = (peak - kept) / len(y)
    print(f"Beside what is kept, a fit takes {rest:.0f} bytes a rating at most.")


def read_ratings(path):
    """Return users and items, and ratings, of a file of MovieLens."""
    table = np.loadtxt(path, delimiter=",", skiprows=1)
    return table[:, :2].astype(int), table[:, 2]


def judge(model, X, y, levels):
    """Return RMSE, log score and coverages of a fitted model."""
    from scipy.special import ndtr

    ratings, std = model.predict(X, return_std=True)
    at = np.searchsorted(levels, y)
    if model.likelihood == "gaussian":  # a star is what lies nearest to it
        ends = np.concatenate([[-np.inf], (levels[1:] + levels[:-1]) / 2, [np.inf]])
        shares = ndtr((ends[at + 1] - ratings) / std) - ndtr((ends[at] - ratings) / std)
    else:
        shares = model.predict_level_proba(X)
        shares = shares[np.arange(len(at)), np.searchsorted(model.rating_levels_, y)]
    figures = [np.mean((ratings - y) ** 2) ** 0.5, np.log(shares.clip(1e-12)).mean()]
    for coverage in COVERAGES:
        low, high = model.predict_interval(X, coverage).T
        figures.append(np.mean((low <= y) & (y <= high)))
    return figures


def compare_accuracy(path, n_folds, peers_python):
    """Print the second table."""
    from sklearn.model_selection import KFold

    from sklearn_mf import BayesianMF, BiasedMF

    X, y = read_ratings(path)
    levels = np.unique(y)
    folds = list(KFold(5, shuffle=True, random_state=0).split(X))[:n_folds]
    models = {
        "BayesianMF()": BayesianMF(random_state=0),
        'BayesianMF(noise="shared")': BayesianMF(noise="shared", random_state=0),
        'BayesianMF(likelihood="ordinal")': BayesianMF(
            likelihood="ordinal", random_state=0
        ),
        "BiasedMF()": BiasedMF(random_state=0),
    }
    head = " | ".join(f"{coverage:.0%}" for coverage in COVERAGES)
    print(f"\n| model | RMSE | log score | {head} | seconds |")
    print("|---|---|---|" + "---|" * (len(COVERAGES) + 1))
    for name, model in models.items():
        found = []
        for train, test in folds:
            start = time.perf_counter()
            model.fit(X[train], y[train])
            seconds = time.perf_counter() - start
            if isinstance(model, BayesianMF):
                found.append([*judge(model, X[test], y[test], levels), seconds])
            else:
                found.append([-model.score(X[test], y[test]), seconds])
        means = np.mean(found, axis=0)
        middle = ["–"] * (1 + len(COVERAGES))
        if len(means) > 2:
            middle = [f"{means[1]:.3f}", *(f"{share:.1%}" for share in means[2:-1])]
        cells = [f"{means[0]:.4f}", *middle, f"{means[-1]:.1f}"]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    if peers_python:
        errors, seconds = [], []
        for train, test in folds:
            found = ask_peer(
                peers_python, X[train], y[train], test=X[test], draws=500, factors=10
            )
            ratings = np.clip(found["ratings"], levels[0], levels[-1])
            errors.append(np.mean((ratings - y[test]) ** 2) ** 0.5)
            seconds.append(found["seconds"])
        cells = [f"{np.mean(errors):.4f}", *["–"] * (1 + len(COVERAGES))]
        print(f"| myFM | {' | '.join(cells)} | {np.mean(seconds):.1f} |")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers-python")
    parser.add_argument("--ratings", type=Path)
    parser.add_argument("--pairs", type=int, default=900_000)
    parser.add_argument("--factors", type=int, nargs="+", default=[10, 50])
    parser.add_argument("--folds", type=int, default=5)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    compare_speed(args.pairs, args.factors, args.peers_python)
    if args.ratings:
        compare_accuracy(args.ratings, args.folds, args.peers_python)


if __name__ == "__main__":
    sys.exit(main())
