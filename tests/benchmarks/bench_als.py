"""Alternating least squares beside other libraries: seconds, memory and accuracy.

    python tests/benchmarks/bench_als.py [--peers-python PATH] [--size 1M] [--quick]

PATH is an interpreter that has the other libraries, see requirements-peers.txt; those
that it cannot import are left out. The ratings are made ones, in float32 with ids in
int64; a tenth of them is the test part. Each configuration runs in processes of its
own, which take turns with those of the others, so that a drift of the machine cancels;
figures are medians over them. A process fits few ratings, to import and compile what
there is, then all of them with two sweeps, then with `--sweeps`, and prints a
line of JSON. Tables in Markdown follow at the end, or at Ctrl-C.

- Seconds a sweep are the mean from the end of the first sweep to the end of the last,
  by a callback or by the loop over the sweeps. cmfrec has neither: it is fitted with
  two sweeps once more, and the times of the two fits are subtracted.
- The whole fit is that of all sweeps, with the encoding of the ids.
- Memory is the peak in the fit of two sweeps less what was in use before it, the
  ratings among it. Linux alone can tell.
- GFLOP/s count the normal equations and their solution, without the symmetric half,
  beside what a product of two matrices reaches in the same rounds.

All fit the objective of ALSFactorizer, weighted and around the global mean, with the
same λ and no biases, and none is tuned; but

- implicit fits zeros and ones for all pairs, with the ratings as confidence. A sweep
  does nearly the same work; what it predicts are not ratings.
- LensKit subtracts biases, here damped to nothing.
- scikit-surprise descends by SGD, in float64 and in one thread, its biases held at
  zero. Its sweep is an epoch, of which it needs more.

Conjugate gradients take three steps. Where the other libraries solve rows in threads,
BLAS has but one in each.
"""

import argparse
import ctypes
import datetime
import gc
import importlib.metadata
import itertools
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext, suppress
from pathlib import Path
from statistics import median

import numpy as np

SIZES = {"1M": (6000, 4000, 1_000_000), "10M": (70_000, 10_700, 10_000_000)}
QUICK_SIZES = {"1M": (2000, 1300, 100_000), "10M": (22_000, 3400, 1_000_000)}
PENALTY, CG_STEPS = 0.12, 3
FEW = 10_000  # ratings of the fit that imports and compiles
KEY = ("size", "threads", "d", "library", "solver")  # of results
POOLS = ("OMP", "RAYON", "NUMBA", "LK")  # of threads, and those of BLAS
BLAS_POOLS = ("OPENBLAS", "MKL", "BLIS")
FIGURES = ("seconds_per_sweep", "fit_seconds", "peak_bytes_per_rating", "test_rmse")


# ----------------------------------------------------------------- in a worker process
# Each library fits ratings and calls `stamp` at the end of each sweep, if it can. It
# gives a function that predicts, if it can.


class Stamps:
    """A callback that notes the end of each sweep."""

    def __init__(self, stamp):
        self.stamp = stamp

    def on_fit_task_end(self, estimator, context):
        """Note the end of a sweep."""
        if context.task_name == "iteration":
            self.stamp()

    def setup(self, estimator, context):
        """Do nothing."""

    teardown = on_fit_task_begin = setup


def fit_ours(ratings, sweeps, stamp, solver, d, threads):
    """Fit ALSFactorizer."""
    from sklearn_mf import ALSFactorizer

    als = ALSFactorizer(d, solver=solver, cg_steps=CG_STEPS, regularization=PENALTY)
    als.set_params(max_iter=sweeps, tol=None, n_jobs=threads, random_state=0)
    return als.set_callbacks(Stamps(stamp)).fit(*ratings).predict


def fit_cmfrec(ratings, sweeps, stamp, solver, d, threads):
    """Fit CMF without anything beside the ratings."""
    from cmfrec import CMF

    plain = ("user_bias", "item_bias", "finalize_chol", "precompute_for_predictions")
    cg = {"use_cg": solver == "cg", "max_cg_steps": CG_STEPS}
    cmf = CMF(d, lambda_=PENALTY, scale_lam=True, **cg, **dict.fromkeys(plain, False))
    cmf.set_params(niter=sweeps, nthreads=threads, random_state=0, verbose=False)
    cmf.fit(ratings)
    return lambda X: cmf.predict(*X.T)


def fit_implicit(ratings, sweeps, stamp, solver, d, threads):
    """Fit AlternatingLeastSquares, which does not encode ids by itself."""
    import pandas as pd
    from implicit.cpu.als import AlternatingLeastSquares
    from scipy.sparse import csr_matrix

    codes = [pd.factorize(ratings[column])[0] for column in ("UserId", "ItemId")]
    options = {"iterations": sweeps, "num_threads": threads, "random_state": 0}
    use_cg = solver == "cg"
    als = AlternatingLeastSquares(d, regularization=PENALTY, use_cg=use_cg, **options)
    als.cg_steps = CG_STEPS
    matrix = csr_matrix((ratings["Rating"], codes))
    als.fit(matrix, show_progress=False, callback=stamp)


def fit_lenskit(ratings, sweeps, stamp, solver, d, threads):
    """Fit BiasedMFScorer."""
    from lenskit.als import BiasedMFScorer
    from lenskit.data import from_interactions_df
    from lenskit.training import TrainingOptions

    names = {"user_col": "UserId", "item_col": "ItemId", "rating_col": "Rating"}
    data = from_interactions_df(ratings.copy(deep=False), **names)
    options = {"embedding_size": d, "epochs": sweeps, "damping": 1e12}
    als = BiasedMFScorer(regularization=PENALTY, **options)
    trainer = als.create_trainer(data, TrainingOptions(rng=0))
    for _ in range(sweeps):
        trainer.train_epoch()
        stamp()
    trainer.finalize()

    def predict(X):
        users = als.users.numbers(X[:, 0], missing="negative")
        items = als.items.numbers(X[:, 1], missing="negative")
        P, Q = als.user_embeddings[users], als.item_embeddings[items]
        known = (users >= 0) & (items >= 0)
        return als.bias.global_bias + known * np.einsum("nd,nd->n", P, Q)

    return predict


def fit_surprise(ratings, sweeps, stamp, solver, d, threads):
    """Fit SVD with no step for the biases."""
    import surprise

    data = surprise.Dataset.load_from_df(ratings, surprise.Reader())
    trainset = data.build_full_trainset()
    all_ratings = trainset.all_ratings

    def stamped():  # read at the begin of each epoch
        stamp()
        return all_ratings()

    trainset.all_ratings = stamped
    rates = {"lr_all": 0.02, "reg_all": PENALTY, "lr_bu": 0, "lr_bi": 0}
    svd = surprise.SVD(d, sweeps, random_state=0, **rates).fit(trainset)
    stamp()
    return lambda X: np.array([svd.predict(*pair).est for pair in X.tolist()])


LIBRARIES = {  # what fits it, with which solvers
    "sklearn_mf": (fit_ours, ("cholesky", "cg")),
    "cmfrec": (fit_cmfrec, ("cholesky", "cg")),
    "implicit": (fit_implicit, ("cholesky", "cg")),
    "lenskit": (fit_lenskit, ("cholesky",)),
    "scikit-surprise": (fit_surprise, ("sgd",)),
}


def load(folder, part, as_table):
    """Return ratings as X and y, or as a table."""
    X, y = (np.load(f"{folder}/{name}_{part}.npy") for name in "Xy")
    if not as_table:
        return X, y
    import pandas as pd

    return pd.DataFrame({"UserId": X[:, 0], "ItemId": X[:, 1], "Rating": y})


def memory(field):
    """Return the bytes that are resident (VmRSS), or were at the peak (VmHWM)."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split(f"{field}:")[1].split()[0])


def begin_peak():
    """Let the peak of memory begin anew; give what is in use, None where unknown."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)  # what was freed is not in use
        Path("/proc/self/clear_refs").write_text("5")
        return memory("VmRSS")
    except (AttributeError, OSError, TypeError):
        return None


def measure(folder, library, solver, d, threads, sweeps, **_):
    """Fit a library as the head of this file says; give its figures."""
    ends, fit, as_table = [], LIBRARIES[library][0], library != "sklearn_mf"

    def stamp(*_):
        ends.append(time.perf_counter())

    def run(ratings, sweeps):
        ends.clear()
        start = time.perf_counter()
        predict = fit(ratings, sweeps, stamp, solver, d, threads)
        return time.perf_counter() - start, predict

    run(load(folder, "few", as_table), 2)
    ratings = load(folder, "train", as_table)
    n_ratings = len(ratings) if as_table else len(ratings[1])
    before = begin_peak()
    run(ratings, 2)
    peak = None if before is None else (memory("VmHWM") - before) / n_ratings
    seconds, predict = run(ratings, sweeps)
    if ends:
        sweep = (ends[-1] - ends[0]) / (len(ends) - 1)
    else:
        sweep = (seconds - run(ratings, 2)[0]) / (sweeps - 2)
    X, y = load(folder, "test", as_table=False)
    rmse = predict and float(np.sqrt(np.mean((predict(X).clip(1, 5) - y) ** 2)))
    return dict(zip(FIGURES, (sweep, seconds, peak, rmse), strict=True))


def multiply(order):
    """Return GFLOP/s of the best of some products of float32 matrices."""
    A, B = np.random.default_rng(0).random((2, order, order), dtype=np.float32)
    product, seconds = np.empty_like(A), []
    for _ in range(5):
        start = time.perf_counter()
        np.matmul(A, B, out=product)
        seconds.append(time.perf_counter() - start)
    return {"gflops": 2e-9 * order**3 / min(seconds)}


def work(task):
    """Do a task in this process and print its figures as one line of JSON."""
    figures = measure(**task) if task["sweeps"] else multiply(task["order"])
    shown = {name: task[name] for name in (*KEY, "sweeps")}
    version = importlib.metadata.version(task["library"])
    print(json.dumps({"version": version, **shown, **figures}))


# ----------------------------------------------------------------- in the main process


def save_ratings(folder, n_users, n_items, n_ratings):
    """Make ratings and write those to train with, a few of them, and those to test."""
    from sklearn_mf.datasets import make_ratings  # other interpreters have it not

    X, y = make_ratings(n_users, n_items, n_ratings, random_state=0)
    rows = np.random.default_rng(0).permutation(n_ratings)
    test, train = np.split(rows, [n_ratings // 10])
    Path(folder).mkdir()
    for part, at in {"few": train[:FEW], "train": train, "test": test}.items():
        np.save(f"{folder}/X_{part}.npy", X[at])
        np.save(f"{folder}/y_{part}.npy", y[at].astype(np.float32))


def make_tasks(options, folder):
    """Yield what the processes of one round are to do."""
    gemm = {"library": "numpy", "solver": "gemm", "size": None, "d": None, "sweeps": 0}
    for threads in options.threads:
        yield {**gemm, "threads": threads, "order": 1024 if options.quick else 4096}
    for size, d, threads, library in itertools.product(
        options.sizes, options.factors, options.threads, options.libraries
    ):
        for solver in LIBRARIES[library][1]:
            if solver != "sgd" or threads == 1:
                task = {"library": library, "solver": solver, "size": size, "d": d}
                task |= {"threads": threads, "sweeps": options.sweeps}
                yield {**task, "folder": f"{folder}/{size}"}


def run_worker(task, peers_python):
    """Do a task in a fresh process; give its figures, or why it failed."""
    is_ours = task["library"] in ("numpy", "sklearn_mf")
    python = sys.executable if is_ours else peers_python
    n_blas = task["threads"] if is_ours else 1
    limits = dict.fromkeys(POOLS, task["threads"]) | dict.fromkeys(BLAS_POOLS, n_blas)
    variables = {f"{pool}_NUM_THREADS": str(limit) for pool, limit in limits.items()}
    variables |= {"LK_NUM_BACKEND_THREADS": "1", "VECLIB_MAXIMUM_THREADS": str(n_blas)}
    done = subprocess.run(
        [python, __file__, "--task", json.dumps(task)],
        capture_output=True,
        text=True,
        env=os.environ | variables,
    )
    if done.returncode:
        return None, (done.stderr.splitlines() or [f"status {done.returncode}"])[-1]
    return json.loads(done.stdout.splitlines()[-1]), None


def run_rounds(tasks, options, results):
    """Do all tasks in turn, round after round; add their figures to the results."""
    lost = set()  # libraries that cannot be imported, configurations that fail
    for _, task in itertools.product(range(options.rounds), tasks):
        key = tuple(task[name] for name in KEY)
        if lost & {key, task["library"]}:
            continue
        figures, failure = run_worker(task, options.peers_python)
        if failure:
            is_absent = failure.startswith(("ImportError", "ModuleNotFoundError"))
            lost.add(task["library"] if is_absent else key)
            name = task["library"] if is_absent else " ".join(map(str, key))
            print(f"{name} is left out: {failure}", file=sys.stderr, flush=True)
            continue
        with open(options.out, "a") if options.out else nullcontext(sys.stdout) as out:
            print(json.dumps(figures), file=out, flush=True)
        results.setdefault(key, []).append(figures)


def middle(runs, name):
    """Return the median of a figure over processes, None if it is unknown."""
    values = [run[name] for run in runs]
    return None if None in values else median(values)


def text(value, digits=2, unit=""):
    """Return a number as a cell of a table."""
    return f"{'–' if value is None else f'{value:,.{digits}f}{unit}':>9}"


def describe_machine():
    """Return the time, the processor and the number of its cores."""
    cpu = platform.processor()
    if os.path.exists("/proc/cpuinfo"):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((s.split(": ")[1] for s in lines if s.startswith("model name")), cpu)
    now = datetime.datetime.now(datetime.UTC)
    return f"{now:%Y-%m-%d %H:%M} UTC, {cpu}, {os.cpu_count()} cores"


def print_machine(results):
    """Print what the figures depend on."""
    print(f"\n{describe_machine()}\n")
    own = ("sklearn_mf", "numpy", "numba", "scikit-learn")
    versions = {name: importlib.metadata.version(name) for name in own}
    versions |= {run["library"]: run["version"] for run, *_ in results.values()}
    print(f"Python {platform.python_version()}", end="")
    print("".join(f", {name} {version}" for name, version in versions.items()))


def print_table(size, threads, rows, shape, peak):
    """Print the figures of one size and number of threads."""
    n_users, n_items, n_ratings = shape
    n_ratings -= n_ratings // 10
    print(f"\n### {size}, threads: {threads}\n")
    print(f"{n_ratings:,} ratings of {n_users:,} users and {n_items:,} items;", end="")
    print(f" a product of matrices: {text(peak, 0).strip()} GFLOP/s\n")
    names = ("sweep, s", "× ours", "fit, s", "× ours", "B/rating", "test RMSE")
    numbers = "|".join(f"{name:>9}" for name in (*names, "GFLOP/s", "of peak"))
    print(f"|   d|library        |solver  |{numbers}|\n|--:|---|---|{'--:|' * 8}")
    for key, (sweep, fit, memory, rmse) in rows.items():
        if key[:2] != (size, threads):
            continue
        *_, d, library, solver = key
        ours = rows.get((*key[:3], "sklearn_mf", solver))
        ratios = (sweep / ours[0], fit / ours[1]) if ours else (None, None)
        speed = None
        if (library, solver) == ("sklearn_mf", "cholesky"):
            flops = 2 * n_ratings * d * (d + 1) + (n_users + n_items) * d**3 / 3
            speed = 1e-9 * flops / sweep
        share = 100 * speed / peak if speed and peak else None
        cells = [text(sweep, 4), text(ratios[0]), text(fit), text(ratios[1])]
        cells += [text(memory, 1), text(rmse, 4), text(speed, 1), text(share, 0, " %")]
        print(f"|{d:4}|{library:15}|{solver:8}|{'|'.join(cells)}|")


def print_growth(rows):
    """Print how our seconds grow with the data, and the memory at the larger size."""
    print("\n### sklearn_mf from 1M to 10M\n")
    print(f"|threads|   d|solver  |{'× sweep':>9}|{'B/rating':>9}|")
    print("|--:|--:|---|--:|--:|")
    for (size, threads, d, library, solver), (sweep, _, memory, _) in rows.items():
        if (size, library) == ("10M", "sklearn_mf"):
            small = rows.get(("1M", threads, d, library, solver))
            growth = small and sweep / small[0]
            print(f"|{threads:7}|{d:4}|{solver:8}|{text(growth)}|{text(memory, 1)}|")


def print_results(results, sizes):
    """Print all tables."""
    print_machine(results)
    rows = {
        key: [middle(runs, name) for name in FIGURES]
        for key, runs in results.items()
        if key[0]
    }
    for size, threads in dict.fromkeys(key[:2] for key in rows):
        products = results.get((None, threads, None, "numpy", "gemm"), ())
        peak = max((run["gflops"] for run in products), default=None)
        print_table(size, threads, rows, sizes[size], peak)
    if any((key[0], key[3]) == ("10M", "sklearn_mf") for key in rows):
        print_growth(rows)


def main():
    """Run the processes and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--peers-python", metavar="PATH", default=sys.executable)
    add("--size", choices=[*SIZES, "both"], default="both")
    add("--factors", metavar="D", type=int, nargs="+", default=[10, 50, 128])
    add("--threads", metavar="N", type=int, nargs="+", default=[1, 2])
    add("--libraries", choices=LIBRARIES, nargs="+", default=list(LIBRARIES))
    add("--sweeps", type=int, default=10, help="of a fit, at least 3")
    add("--rounds", type=int, default=3, help="processes for each configuration")
    add("--out", metavar="FILE", help="where to append the lines of JSON")
    add("--quick", action="store_true", help="a tenth of the data, one round")
    add("--task", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        work(options.task)
        return
    if options.sweeps < 3:
        parser.error("--sweeps must be at least 3")
    if not shutil.which(options.peers_python):
        parser.error(f"{options.peers_python} cannot be run")
    if options.quick:
        options.rounds = 1
    sizes, results = QUICK_SIZES if options.quick else SIZES, {}
    options.sizes = list(SIZES) if options.size == "both" else [options.size]
    # Ctrl-C ends the rounds early
    with suppress(KeyboardInterrupt), tempfile.TemporaryDirectory() as folder:
        for size in options.sizes:
            save_ratings(f"{folder}/{size}", *sizes[size])
        run_rounds(list(make_tasks(options, folder)), options, results)
    print_results(results, sizes)


if __name__ == "__main__":
    main()
