"""Implicit feedback on public splits, beside the figures that others have published.

    python tests/benchmarks/bench_tables.py --data DIR [--factors 64 256] [--quick]

DIR holds train.txt and test.txt, or folders that do. Each line is a user, then the
items of that user, numbers that are separated by spaces. For each user with test items
all items are ranked that the user has not in train.txt. Recall@20 is the number of test
items among the first 20, divided by the number of all the user's test items; NDCG@20
has binary gains and an ideal list that is cut at 20; both are means over the users.

λ, α and ν (`regularization`, `alpha`, `weighted_regularization`) are chosen by NDCG@20
on a tenth of the training pairs, which is held out for this, and so is the number of
factors of the last line; then the model is fitted to all training pairs. The test pairs
are read for the figures that are printed alone. Published figures are those of the
model pages of RecZoo and of BARS, many of them tuned on the test part.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from sklearn_mf import ALSFactorizer, PopularityRanker
from sklearn_mf.metrics import make_ranking_scorer

PUBLISHED = {  # recall@20, NDCG@20
    "Movielens1M_m1": {
        "LightGCN": (0.2576, 0.2427),
        "UltraGCN": (0.2787, 0.2642),
        "SimpleX": (0.2802, 0.2670),
    },
    "AmazonCDs_m1": {
        "LightGCN": (0.1542, 0.0971),
        "UltraGCN": (0.1622, 0.1043),
        "SimpleX": (0.1763, 0.1145),
    },
}
RATIOS = (
    2,
    3,
    4.5,
    6,
    9,
    13,
)  # weight of all pairs without a count, over that of those with one
PENALTIES = (0.003, 0.005, 0.01, 0.02, 0.03, 0.05)
EXPONENTS = (1.0, 0.85)
SWEEPS = 10
RECALL, NDCG = (make_ranking_scorer(name, k=20) for name in ("recall", "ndcg"))


def read_pairs(path):
    """Read users and their items as pairs, an int array of two columns."""
    lines = [np.array(line.split(), np.int64) for line in path.open() if line.strip()]
    users = np.repeat([line[0] for line in lines], [len(line) - 1 for line in lines])
    return np.column_stack([users, np.concatenate([line[1:] for line in lines])])


def make_model(X, n_factors, penalty, ratio, exponent, n_jobs=None):
    """Return a model whose penalty weighs as much in all for every exponent."""
    counts = [np.unique(ids, return_counts=True)[1] for ids in X.T]
    n_unobserved = len(counts[0]) * len(counts[1]) - len(X)
    confidence = n_unobserved / (ratio * len(X))
    weights = np.concatenate(
        [
            confidence * own + (len(others) - own)
            for own, others in (counts, counts[::-1])
        ]
    )
    return ALSFactorizer(
        n_factors,
        feedback="implicit",
        alpha=confidence - 1,
        regularization=penalty * weights.sum() / (weights**exponent).sum(),
        weighted_regularization=exponent,
        max_iter=SWEEPS,
        tol=None,
        n_jobs=n_jobs,
        random_state=0,
    )


def fit(X, *options):
    """Fit a model to pairs, in single precision."""
    return make_model(X, *options).fit(X, np.ones(len(X), np.float32))


def judge(model, X):
    """Return recall and NDCG on pairs."""
    ones = np.ones(len(X))
    return RECALL(model, X, ones), NDCG(model, X, ones)


def search(X, X_validation, n_factors, start):
    """Move from options to better neighbours; return the best and their NDCG.

    Options are places in RATIOS, PENALTIES and EXPONENTS.
    """
    grids, known = (PENALTIES, RATIOS, EXPONENTS), {}

    def score(at):
        if at not in known:
            values = [grid[place] for grid, place in zip(grids, at, strict=True)]
            known[at] = judge(fit(X, n_factors, *values), X_validation)[1]
        return known[at]

    best = start
    while True:
        neighbours = [
            (*best[:k], place, *best[k + 1 :])
            for k, grid in enumerate(grids)
            for place in (best[k] - 1, best[k] + 1)
            if 0 <= place < len(grid)
        ]
        better = max([best, *neighbours], key=score)
        if better == best:
            return best, score(best), len(known)
        best = better


def run(folder, factors):
    """Print the table of a split."""
    X, X_test = (read_pairs(folder / f"{name}.txt") for name in ("train", "test"))
    held_out = np.random.default_rng(0).random(len(X)) < 0.1
    n_ids = [len(np.unique(ids)) for ids in X.T]
    print(
        f"\n{folder.name}: {n_ids[0]:,} users, {n_ids[1]:,} items, {len(X):,} training "
        f"pairs, {len(X_test):,} test pairs\n\n"
        "|                |     λ|     α|   ν|recall@20|NDCG@20|validation|tried|"
        "search s|fit s|\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    )
    lines = {"popularity": judge(PopularityRanker().fit(X), X_test)}
    for name, figures in (lines | PUBLISHED.get(folder.name, {})).items():
        print(
            f"|{name:16}|      |      |    |{figures[0]:9.4f}|{figures[1]:7.4f}|"
            "          |     |        |     |"
        )
    at, results = (2, 1, 0), {}
    for n_factors in factors:
        start = time.perf_counter()
        at, ndcg, n_tried = search(X[~held_out], X[held_out], n_factors, at)
        seconds = time.perf_counter() - start
        options = PENALTIES[at[0]], RATIOS[at[1]], EXPONENTS[at[2]]
        start = time.perf_counter()
        model = fit(X, n_factors, *options)
        fit_seconds = time.perf_counter() - start
        results[n_factors] = ndcg
        figures = judge(model, X_test)
        print(
            f"|ours, d = {n_factors:6}|{options[0]:6.3f}|{model.alpha_:6.1f}|"
            f"{options[2]:4.2f}|{figures[0]:9.4f}|{figures[1]:7.4f}|{ndcg:10.4f}|"
            f"{n_tried:5}|{seconds:8.0f}|{fit_seconds:5.1f}|",
            flush=True,
        )
    print(f"\nChosen by validation: d = {max(results, key=results.get)}")


def main():
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", metavar="DIR", type=Path, required=True)
    parser.add_argument(
        "--factors", type=int, nargs="+", default=[64, 128, 256, 512, 1024]
    )
    parser.add_argument("--quick", action="store_true", help="16 factors alone")
    options = parser.parse_args()
    folders = [path.parent for path in sorted(options.data.rglob("train.txt"))]
    if not folders:
        parser.error(f"--data {options.data}: no train.txt is there or below.")
    for folder in folders:
        run(folder, [16] if options.quick else options.factors)


if __name__ == "__main__":
    main()
