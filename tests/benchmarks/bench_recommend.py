"""Top-N recommendations beside implicit, and fold-in: users a second and peak memory.

    python tests/benchmarks/bench_recommend.py [--peers-python PATH] [--quick]

Both libraries rank 60,000 items for 100,000 users by the same made factors, d = 64 in
float32, and leave out the 100 items that each user has seen; top 10, on one and two
threads. Each runs in processes of its own, which take turns; figures are medians over
them. Memory is the peak in the call less what was in use before it; Linux alone can
tell. PATH is an interpreter that has implicit, see requirements-peers.txt; without it
its rows are left out. implicit is given batches of 1,000 users, since its call for all
users at once makes a table of all scores.

The second table is of visitors whom the models do not know, with 20 clicks each: their
factors are solved for from these, exactly by sklearn_mf and by conjugate gradient by
implicit (`recalculate_user`), and they get their top 10. A thousand are served in one
call, and then a hundred one by one, on one thread.

Then 10,000 new users with 100 ratings each are folded into a model of as many items.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
from bench_als import begin_peak, memory

N_USERS, N_ITEMS, N_FACTORS, N_SEEN, N_BEST = 100_000, 60_000, 64, 100, 10
ROUNDS = 3
BATCH = 1000  # users that implicit is asked for at a time


# ----------------------------------------------------------------- in a worker process


def make_ours(P, Q, seen, threads):
    """Return a function that ranks for users, by sklearn_mf."""
    from sklearn_mf import ALSFactorizer

    indptr, indices = seen
    model = ALSFactorizer(N_FACTORS, n_jobs=threads)
    model.user_factors_, model.item_factors_ = P, Q
    model.users_, model.items_ = np.arange(len(P)), np.arange(len(Q))
    model.seen_indptr_, model.seen_indices_ = indptr, indices
    model.global_mean_, model.rating_range_ = 0.0, (0.0, 1.0)
    options = {"popularity_weight": 0}  # as implicit ranks
    return lambda users: [
        part.data for part in model.recommend(users, N_BEST, **options)
    ]


def make_implicit(P, Q, seen, threads):
    """Return a function that ranks for users, by implicit."""
    from implicit.cpu.als import AlternatingLeastSquares
    from scipy.sparse import csr_matrix

    indptr, indices = seen
    model = AlternatingLeastSquares(P.shape[1], num_threads=threads)
    model.user_factors, model.item_factors = P, Q
    ones = np.ones(len(indices), np.float32)
    pattern = csr_matrix((ones, indices, indptr), shape=(len(P), len(Q)))

    def rank(users):
        parts = [
            model.recommend(batch, pattern[batch], N=N_BEST)
            for batch in np.array_split(users, -(-len(users) // BATCH))
        ]
        return [np.concatenate(part) for part in zip(*parts, strict=True)]

    return rank


N_CLICKS, N_VISITORS, N_ALONE = 20, 1000, 100


def serve_ours(Q, visitors):
    """Return a function that ranks for visitors, by sklearn_mf."""
    from sklearn_mf import ALSFactorizer

    model = ALSFactorizer(N_FACTORS, feedback="implicit", alpha=40, n_jobs=1)
    model.user_factors_, model.item_factors_ = Q[:1], Q
    model.users_, model.items_ = np.arange(1), np.arange(len(Q))
    model.seen_indptr_, model.seen_indices_ = np.zeros(2, np.int64), np.empty(0, "i4")
    model.global_mean_, model.rating_range_, model.rating_scale_ = 0.0, (0.0, 1.0), 1.0
    model.regularization_, model.alpha_ = 0.01, 40.0

    def serve(first, last):
        users = np.repeat(np.arange(first, last), N_CLICKS)
        X = np.column_stack([users, visitors[first:last].ravel()])
        return model.recommend(history=X, n_items=N_BEST)

    return serve


def serve_implicit(Q, visitors):
    """Return a function that ranks for visitors, by implicit."""
    from implicit.cpu.als import AlternatingLeastSquares
    from scipy.sparse import csr_matrix

    model = AlternatingLeastSquares(N_FACTORS, alpha=40, num_threads=1)
    model.user_factors, model.item_factors = Q[:1], Q

    def serve(first, last):
        n = last - first
        items = visitors[first:last].ravel()
        indptr = np.arange(0, len(items) + 1, N_CLICKS)
        ones = np.ones(len(items), np.float32)
        clicks = csr_matrix((ones, items, indptr), shape=(n, len(Q)))
        return model.recommend(np.arange(n), clicks, N=N_BEST, recalculate_user=True)

    return serve


def serve_visitors(folder, library):
    """Serve visitors in this process and print the figures as a line of JSON."""
    Q, visitors = (np.load(f"{folder}/{name}.npy") for name in ("Q", "visitors"))
    make = serve_ours if library == "sklearn_mf" else serve_implicit
    serve = make(Q, visitors)
    serve(0, 2)  # compiles, and sums what is the same for all
    start = time.perf_counter()
    serve(0, N_VISITORS)
    together = time.perf_counter() - start
    start = time.perf_counter()
    for visitor in range(N_ALONE):
        serve(visitor, visitor + 1)
    alone = time.perf_counter() - start
    print(json.dumps({"together": N_VISITORS / together, "alone": N_ALONE / alone}))


def work(folder, library, threads):
    """Rank in this process and print the figures as a line of JSON."""
    names = ("P", "Q", "indptr", "indices")
    P, Q, *seen = (np.load(f"{folder}/{name}.npy") for name in names)
    make = make_ours if library == "sklearn_mf" else make_implicit
    rank, users = make(P, Q, seen, threads), np.arange(len(P))
    rank(users[:64])  # compiles
    before = begin_peak()
    start = time.perf_counter()
    items, _ = rank(users)
    seconds = time.perf_counter() - start
    peak = None if before is None else (memory("VmHWM") - before) / 2**20
    np.save(f"{folder}/{library}.npy", items)
    print(json.dumps({"users_per_second": len(P) / seconds, "peak_mib": peak}))


# ----------------------------------------------------------------- in the main process


def run_worker(python, folder, library, threads):
    """Rank in a fresh process; give its figures, or None and why it failed."""
    pools = ("OMP", "OPENBLAS", "MKL", "BLIS")
    limits = {f"{pool}_NUM_THREADS": str(max(threads, 1)) for pool in pools}
    if library == "implicit":  # has threads of its own beside those of BLAS
        limits["OPENBLAS_NUM_THREADS"] = "1"
    done = subprocess.run(
        [python, __file__, "--task", folder, library, str(threads)],
        capture_output=True,
        text=True,
        env=os.environ | limits,
    )
    if done.returncode:
        return None, (done.stderr.splitlines() or ["no message"])[-1]
    return json.loads(done.stdout.splitlines()[-1]), None


def compare(folder, peers_python, n_users, n_items):
    """Print users a second and memory of both libraries."""
    pythons = {"sklearn_mf": sys.executable, "implicit": peers_python}
    print(
        f"{n_users:,} users, {n_items:,} items, d = {N_FACTORS}, top {N_BEST}\n\n"
        "|threads|library   | users a second| × implicit| peak MiB|\n"
        "|--:|---|--:|--:|--:|"
    )
    for threads in (1, 2):
        runs = {library: [] for library in pythons}
        for _ in range(ROUNDS):
            for library, python in pythons.items():
                figures, failure = run_worker(python, folder, library, threads)
                if failure:
                    print(f"{library} is left out: {failure}", file=sys.stderr)
                else:
                    runs[library].append(figures)
        rows = {
            library: {name: median(run[name] for run in done) for name in done[0]}
            for library, done in runs.items()
            if done
        }
        for library, row in rows.items():
            ratio = "–"
            if "implicit" in rows:
                theirs = rows["implicit"]["users_per_second"]
                ratio = f"{row['users_per_second'] / theirs:.2f}"
            print(
                f"|{threads:7}|{library:10}|{row['users_per_second']:15,.0f}|{ratio:>11}"
                f"|{row['peak_mib']:9.0f}|",
                flush=True,
            )
    both = [Path(f"{folder}/{library}.npy") for library in pythons]
    if all(path.exists() for path in both):
        same = np.mean(np.equal(*map(np.load, both)))
        print(f"\n{same:.4%} of the items are the same at the same place.")


def compare_visitors(folder, peers_python):
    """Print how many visitors a second both libraries serve."""
    print(
        f"\nVisitors with {N_CLICKS} clicks, visitors a second\n\n"
        "|library   | 1,000 in a call| one in a call|\n|---|--:|--:|"
    )
    for library, python in (("sklearn_mf", sys.executable), ("implicit", peers_python)):
        runs = []
        for _ in range(ROUNDS):
            figures, failure = run_worker(python, folder, library, 0)
            if failure:
                print(f"{library} is left out: {failure}", file=sys.stderr)
                break
            runs.append(figures)
        else:
            row = {name: median(run[name] for run in runs) for name in runs[0]}
            print(f"|{library:10}|{row['together']:16,.0f}|{row['alone']:14,.0f}|")


def time_fold_in(n_users, n_new, n_items):
    """Print the seconds of a fold-in."""
    from sklearn_mf import ALSFactorizer, BiasedMF

    rng = np.random.default_rng(0)

    def draw(first, n):
        users = np.repeat(np.arange(first, first + n), N_SEEN)
        items = rng.integers(n_items, size=len(users))
        return np.column_stack([users, items]), rng.normal(size=len(users))

    X, y = draw(0, n_users)
    new = draw(n_users, n_new)
    print(f"\nFold-in of {n_new:,} users with {N_SEEN} ratings, d = {N_FACTORS}\n")
    for model in (ALSFactorizer(N_FACTORS), BiasedMF(N_FACTORS, solver="als")):
        model.set_params(max_iter=2, tol=None, random_state=0)
        model.fit(X, y).fold_in_users(X[:N_SEEN], y[:N_SEEN])  # compiles
        start = time.perf_counter()
        model.fold_in_users(*new)
        seconds = time.perf_counter() - start
        print(
            f"{type(model).__name__}: {seconds:.3f} s, {n_new / seconds:,.0f} a second"
        )


def main():
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers-python", metavar="PATH", default=sys.executable)
    parser.add_argument("--quick", action="store_true", help="a tenth of all ids")
    parser.add_argument("--task", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        folder, library, threads = options.task
        if int(threads):
            work(folder, library, int(threads))
        else:
            serve_visitors(folder, library)
        return
    n_users, n_items = N_USERS, N_ITEMS
    if options.quick:
        n_users, n_items = n_users // 10, n_items // 10
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        for name, n in (("P", n_users), ("Q", n_items)):
            factors = rng.normal(size=(n, N_FACTORS)).astype(np.float32)
            np.save(f"{folder}/{name}.npy", factors)
        seen = np.sort(rng.integers(n_items, size=(n_users, N_SEEN)), axis=1)
        np.save(f"{folder}/indptr.npy", np.arange(0, seen.size + 1, N_SEEN))
        np.save(f"{folder}/indices.npy", seen.ravel().astype(np.int32))
        visitors = rng.integers(n_items, size=(N_VISITORS, N_CLICKS), dtype=np.int32)
        np.save(f"{folder}/visitors.npy", np.sort(visitors, axis=1))
        compare(folder, options.peers_python, n_users, n_items)
        compare_visitors(folder, options.peers_python)
    time_fold_in(n_users, n_users // 10, n_items // 10)


if __name__ == "__main__":
    main()
