"""What is done before the first sweep: seconds and memory, from a million ratings on.

    python tests/benchmarks/bench_preparation.py [--sizes 1 4 16 30] [--threads 2]

Sizes are in millions. The ratings are made ones of ids that are popular to different
degrees, in random order, int32 ids and float32 ratings: a hundred millions of 480,189
users and 17,770 items, and fewer of fewer ids, so that the share of pairs that are
rated remains. They are drawn, and some pairs therefore repeated; without repeats, these
are left out. Each fit runs in a process of its own, after one of few ratings, which
imports and compiles what there is. It has d = 10 and four sweeps.

- The preparation ends where the first sweep begins: it reads, encodes, sorts and merges
  the ratings, and lays them out for the solver. It is the time to the end of the first
  sweep, less the mean of the others.
- Memory is the peak in the fit less what was in use before it, the input among it.
  Linux alone can tell.
- "SciPy" is the time of its two conversions in one thread that sort the same codes by
  user and item, without what comes before and after. A fit needs them by item too.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

import numpy as np
from bench_als import FEW, Stamps, begin_peak, memory

N_USERS, N_ITEMS, N_RATINGS = 480_189, 17_770, 100_000_000
N_FACTORS, SWEEPS = 10, 4
SOLVERS = ("ALS", "SGD")


def save_ratings(folder, n_ratings, *, repeated):
    """Make ratings, and write them; return the shape and the number of ratings."""
    rng, share = np.random.default_rng(0), (n_ratings / N_RATINGS) ** 0.5
    shape = round(N_USERS * share), round(N_ITEMS * share)
    X = np.empty((n_ratings, 2), np.int32)
    for column, n_ids in enumerate(shape):
        X[:, column] = rng.permutation(n_ids)[
            (n_ids * rng.random(n_ratings, np.float32) ** 1.7).astype(np.int32)
        ]
    if not repeated:
        cells = np.unique(X[:, 0].astype(np.int64) * shape[1] + X[:, 1])
        rng.shuffle(cells)
        X = np.column_stack(np.divmod(cells, shape[1])).astype(np.int32)
    np.save(f"{folder}/X.npy", X)
    np.save(f"{folder}/y.npy", rng.integers(1, 6, len(X)).astype(np.float32))
    return shape, len(X)


# ----------------------------------------------------------------- in a worker process


def fit(X, y, solver, threads):
    """Fit; return seconds of the preparation and of a sweep."""
    from sklearn_mf import ALSFactorizer, SGDFactorizer

    ends, estimator = [], {"ALS": ALSFactorizer, "SGD": SGDFactorizer}[solver]
    options = {"max_iter": SWEEPS, "tol": None, "random_state": 0, "n_jobs": threads}
    model = estimator(N_FACTORS, **options)
    model.set_callbacks(Stamps(lambda: ends.append(time.perf_counter())))
    start = time.perf_counter()
    model.fit(X, y)
    sweep = (ends[-1] - ends[0]) / (SWEEPS - 1)
    return ends[0] - start - sweep, sweep


def convert(X, y, shape):
    """Sort by user and item as SciPy does; return the seconds."""
    from scipy import sparse

    users, items = X.T.copy()
    rows = np.arange(len(y) + 1, dtype=np.int32)
    single = sparse.csr_array((y, items, rows), shape=(len(y), shape[1]))
    start = time.perf_counter()
    by_item = single.tocsc()
    rest = users[by_item.indices], by_item.indptr
    sparse.csc_array((by_item.data, *rest), shape=shape).tocsr()
    return time.perf_counter() - start


def work(folder, solver, shape, threads):
    """Print the figures of a solver, or of SciPy, as a line of JSON."""
    X, y = np.load(f"{folder}/X.npy"), np.load(f"{folder}/y.npy")
    if solver == "SciPy":
        print(json.dumps({"seconds": convert(X, y, shape)}))
        return
    few = X[:FEW], y[:FEW]
    fit(*few, solver, threads)
    fit(*(np.concatenate([part, part]) for part in few), solver, threads)
    before = begin_peak()
    preparation, sweep = fit(X, y, solver, threads)
    peak = None if before is None else (memory("VmHWM") - before) / len(y)
    print(json.dumps({"preparation": preparation, "sweep": sweep, "peak": peak}))


# ----------------------------------------------------------------- in the main process


def run_worker(*task):
    """Do a task in a fresh process; return its figures."""
    done = subprocess.run(
        [sys.executable, __file__, "--task", json.dumps(task)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=True,
    )
    return json.loads(done.stdout)


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--sizes", type=float, nargs="+", default=[1, 4, 16, 30], help="in millions")
    add("--solvers", choices=SOLVERS, nargs="+", default=SOLVERS)
    add("--threads", type=int, default=2)
    add("--task", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        work(*options.task)
        return
    print(
        f"d = {N_FACTORS}, threads: {options.threads}\n\n"
        "|    ratings|repeated|solver|preparation s| sweep s|sweeps|B/rating|SciPy s|\n"
        "|--:|---|---|--:|--:|--:|--:|--:|"
    )
    for size in options.sizes:
        for repeated in (False, True):
            with tempfile.TemporaryDirectory() as folder:
                shape, n = save_ratings(folder, round(1e6 * size), repeated=repeated)
                scipy = run_worker(folder, "SciPy", shape, 1)["seconds"]
                for solver in options.solvers:
                    row = run_worker(folder, solver, shape, options.threads)
                    ratio, peak = row["preparation"] / row["sweep"], row["peak"]
                    shown = "–" if peak is None else f"{peak:.0f}"
                    print(
                        f"|{n:11,}|{'yes' if repeated else 'no':8}|{solver:6}|"
                        f"{row['preparation']:13.3f}|{row['sweep']:8.3f}|{ratio:6.1f}|"
                        f"{shown:>8}|{scipy:7.3f}|",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
