"""AutoRec beside the same network on dense tables: seconds an epoch, and accuracy.

    python tests/benchmarks/bench_autorec.py [--torch-python PATH] [--threads 1]

Dense tables with a mask are how the network is usually written: in NumPy, and in
PyTorch with its Adam. All three minimise the same objective in float32, with the same
batches of 64 rows, λ and learning rate. PATH is an interpreter that has PyTorch;
without it its rows are left out. A sparse row costs as much as it has ratings, a dense
one as much as there are columns, and its Adam moves every column in every batch: the
ratio grows with the sparsity.

Each implementation runs in processes of its own, which take turns, so that a drift of
the machine cancels; seconds are medians over all epochs but the first of each process.
Test errors are those after all epochs: RMSE, or under log loss the share of answers on
the wrong side of ½.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from statistics import median

import numpy as np
from bench_sgd import print_machine

BATCH, RATE, PENALTY, SCALE = 64, 0.002, 0.1, 0.01
N_FACTORS = (50, 200)
EPOCHS, ROUNDS = 15, 3
# Shapes of an exam and of MovieLens 100K; rows first.
CASES = {"answers": (542, 1774, 56_688), "ratings": (1682, 943, 100_000)}


# ----------------------------------------------------------------- in a worker process


def fit_ours(data, logistic, n_factors, threads, stamp):
    """Fit AutoRec; give its predictions."""
    from bench_als import Stamps

    from sklearn_mf import AutoRec

    model = AutoRec(
        n_factors,
        axis="user",
        loss="log_loss" if logistic else "squared_error",
        regularization=PENALTY,
        learning_rate=RATE,
        batch_size=BATCH,
        init_scale=SCALE,
        max_iter=EPOCHS,
        tol=None,
        n_jobs=threads,
        random_state=0,
    )
    model.set_callbacks(Stamps(stamp)).fit(data["X"], data["y"])
    return model.predict(data["X_test"])


def make_tables(data):
    """Return dense tables of the ratings less their mean, and of the mask; the mean."""
    shape = np.maximum(data["X"].max(axis=0), data["X_test"].max(axis=0)) + 1
    R, M = np.zeros((2, *shape), np.float32)
    R[tuple(data["X"].T)], M[tuple(data["X"].T)] = data["y"], 1
    mean = np.float32(data["y"].mean())
    return M * (R - mean), M, mean


def draw(n_columns, n_factors, rng):
    """Draw v, a, w and b."""
    weights = (n_columns, n_factors)
    return [
        rng.normal(scale=SCALE, size=weights).astype(np.float32),
        np.zeros(n_factors, np.float32),
        rng.normal(scale=SCALE, size=weights).astype(np.float32),
        np.zeros(n_columns, np.float32),
    ]


def fit_numpy(data, logistic, n_factors, threads, stamp):
    """Fit the network in NumPy; give its predictions."""
    T, M, mean = make_tables(data)
    rng = np.random.default_rng(0)
    theta = V, a, W, b = draw(T.shape[1], n_factors, rng)
    first, second = ([np.zeros_like(block) for block in theta] for _ in range(2))
    mu, t = (np.log(mean / (1 - mean)) if logistic else mean), 0

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    def forward(x):
        h = sigmoid(a + x @ V)
        z = mu + h @ W.T + b
        return h, sigmoid(z) if logistic else z

    for _ in range(EPOCHS):
        for rows in np.array_split(rng.permutation(len(T)), -(-len(T) // BATCH)):
            x, m = T[rows], M[rows]
            h, p = forward(x)
            E = m * (p - x - mean)
            D = E @ W * h * (1 - h)
            pull = PENALTY * m.sum(axis=0)[:, np.newaxis]
            slopes = x.T @ D + pull * V, D.sum(0), E.T @ h + pull * W, E.sum(0)
            t += 1
            rate = RATE * (1 - 0.999**t) ** 0.5 / (1 - 0.9**t)
            for k, slope in enumerate(slopes):
                g = slope / len(rows)
                first[k] += 0.1 * (g - first[k])
                second[k] += 0.001 * (g * g - second[k])
                theta[k] -= rate * first[k] / (np.sqrt(second[k]) + 1e-8)
        stamp()
    return forward(T)[1][tuple(data["X_test"].T)]


def fit_torch(data, logistic, n_factors, threads, stamp):
    """Fit the network in PyTorch; give its predictions."""
    import torch

    torch.set_num_threads(threads)
    T, M, mean = make_tables(data)
    rng = np.random.default_rng(0)
    theta = [torch.tensor(x) for x in draw(T.shape[1], n_factors, rng)]
    V, a, W, b = (block.requires_grad_() for block in theta)
    T, M, mean = torch.tensor(T), torch.tensor(M), float(mean)
    adam = torch.optim.Adam(theta, lr=RATE)
    mu = np.log(mean / (1 - mean)) if logistic else mean

    def forward(x):
        z = mu + torch.sigmoid(a + x @ V) @ W.T + b
        return torch.sigmoid(z) if logistic else z

    for _ in range(EPOCHS):
        for rows in torch.randperm(len(T)).split(BATCH):
            x, m = T[rows], M[rows]
            p, r = forward(x), x + mean
            losses = (p - r) ** 2
            if logistic:
                cross = torch.nn.functional.binary_cross_entropy
                losses = 2 * cross(p, r.clamp(0, 1), reduction="none")
            squares = (V**2).sum(1) + (W**2).sum(1)
            value = (m * losses).sum() + PENALTY * (m.sum(0) * squares).sum()
            adam.zero_grad()
            (value / 2 / len(rows)).backward()
            adam.step()
        stamp()
    with torch.no_grad():
        return forward(T).numpy()[tuple(data["X_test"].T)]


FITS = {"sklearn_mf": fit_ours, "NumPy": fit_numpy, "PyTorch": fit_torch}


def work(file, library, n_factors, threads):
    """Fit in this process and print the figures as a line of JSON."""
    data = dict(np.load(file))
    logistic = bool(data.pop("logistic"))
    stamps = []
    predictions = FITS[library](
        data, logistic, n_factors, threads, lambda: stamps.append(time.perf_counter())
    )
    errors = predictions - data["y_test"]
    error = np.mean(abs(errors) > 0.5) if logistic else np.sqrt(np.mean(errors**2))
    print(json.dumps({"epochs": np.diff(stamps).tolist(), "error": float(error)}))


# ----------------------------------------------------------------- in the main process


def save(folder, case, quick):
    """Save the data of a case; give the file."""
    from sklearn_mf.datasets import make_answers, make_ratings

    make = make_answers if case == "answers" else make_ratings
    sizes = (size // 4 for size in CASES[case]) if quick else CASES[case]
    X, y = make(*sizes, random_state=0)
    n_test, y = len(y) // 10, y.astype(np.float32)
    file = f"{folder}/{case}.npz"
    np.savez(
        file,
        X=X[n_test:],
        y=y[n_test:],
        X_test=X[:n_test],
        y_test=y[:n_test],
        logistic=case == "answers",
    )
    return file


def run_worker(python, *task):
    """Fit in a fresh process; give its figures, or None if it failed."""
    pools = ("OMP", "OPENBLAS", "MKL", "BLIS")
    done = subprocess.run(
        [python, __file__, "--task", *map(str, task)],
        capture_output=True,
        text=True,
        env=os.environ | {f"{pool}_NUM_THREADS": str(task[-1]) for pool in pools},
    )
    if done.returncode:
        last = (done.stderr.splitlines() or ["no message"])[-1]
        print(f"{task[1]} is left out: {last}", file=sys.stderr)
        return None
    return json.loads(done.stdout.splitlines()[-1])


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch-python", metavar="PATH", default=sys.executable)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a quarter of all sizes")
    parser.add_argument("--task", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        file, library, n_factors, threads = options.task
        work(file, library, int(n_factors), int(threads))
        return
    pythons = dict.fromkeys(FITS, sys.executable) | {"PyTorch": options.torch_python}
    print("|data   |    k|library   |ms an epoch|× ours|test error|")
    print("|---|--:|---|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            file = save(folder, case, options.quick)
            for n_factors in N_FACTORS:
                runs = {library: [] for library in FITS}
                for _ in range(1 if options.quick else ROUNDS):
                    for library, python in pythons.items():
                        task = file, library, n_factors, options.threads
                        runs[library].append(run_worker(python, *task))
                print_rows(case, n_factors, runs)
    print(f"\nThreads: {options.threads}", end="")
    print_machine([f"NumPy {np.__version__}"])


def print_rows(case, n_factors, runs):
    """Print the rows of one configuration."""
    ours = None
    for library, figures in runs.items():
        figures = [run for run in figures if run]
        if not figures:
            continue
        ms = 1e3 * median(seconds for run in figures for seconds in run["epochs"])
        ours = ours or ms
        print(
            f"|{case:7}|{n_factors:5}|{library:10}|{ms:11.1f}|{ms / ours:6.1f}"
            f"|{figures[0]['error']:10.4f}|",
            flush=True,
        )


if __name__ == "__main__":
    main()
