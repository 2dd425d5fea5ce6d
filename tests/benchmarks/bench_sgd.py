"""Stochastic gradient descent beside LIBMF and scikit-surprise: seconds, and accuracy.

    python tests/benchmarks/bench_sgd.py [--peers-python PATH] [--quick]
    python tests/benchmarks/bench_sgd.py --curve [--peers-python PATH] [--factors 50]

The first gives seconds an epoch on 900,000 ratings of 6,000 users and 4,000 items in
float32, and the ratio of Surprise's seconds to ours. ``--curve`` gives the test RMSE
against the seconds of the fit, and the seconds until it is as low as a goal, also as
low as each peer gets. PATH is an interpreter that has scikit-surprise and libmf, see
requirements-peers.txt; what it has not is left out. LIBMF is fast if LIBMF_OBJ of the
environment names a library with AVX, as is told there. LIBMF and sklearn_mf have two
threads and single precision; Surprise has one thread and double precision.

Each configuration runs in processes of its own, which take turns with those of the
others, so that a drift of the machine cancels; seconds an epoch are medians over them,
and those of a curve the least. Surprise, which is slow, is run once for a curve.
"""

import argparse
import contextlib
import datetime
import hashlib
import io
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median

import numpy as np

ROUNDS = 3  # processes for each configuration
N_FACTORS = (10, 50, 128)
SAME = {"learning_rate": 0.005, "regularization": 0.02}  # the defaults of Surprise
SPEED = {
    "Surprise SVD": {"lr_all": 0.005, "reg_all": 0.02},
    "SGDFactorizer sgd": {"optimizer": "sgd", **SAME},
    "SGDFactorizer adagrad": {"optimizer": "adagrad"},
    "BiasedMF sgd": {"solver": "sgd", "optimizer": "sgd", **SAME},
}
SPEED_EPOCHS = (6, 6, 6)  # of the fits in one process
# Tuned on this data: with d = 50, and where there is a number for each d with each.
SGD = {"solver": "sgd", "optimizer": "sgd", "regularization": 0.05}
FADING = {"learning_rate_schedule": "exponential", "decay": 0.9}
RATES = {10: 0.2, 50: 0.1, 128: 0.05}
ADAGRAD = {"optimizer": "adagrad", "regularization": 0.05, "learning_rate": RATES}
PENALTIES = {10: 0.01, 50: 0.01, 128: 0.005}
CURVE = {
    "Surprise SVD": {"lr_all": 0.02, "reg_all": 0.05},
    # Of the ratings as they are: of those about their mean it learnt hardly anything.
    "LIBMF": {"eta": RATES, "lambda_p2": PENALTIES, "lambda_q2": PENALTIES},
    "SGDFactorizer adagrad": ADAGRAD,
    "BiasedMF adagrad": {"solver": "sgd", **ADAGRAD},
    "BiasedMF sgd": {**SGD, "learning_rate": 0.02},
    "BiasedMF sgd, exponential": {**SGD, **FADING, "learning_rate": 0.03},
    "BiasedMF adam": {**SGD, "optimizer": "adam", "learning_rate": 0.002},
}
CURVE_EPOCHS = (1, 2, 5, 10, 20)
PEERS = {"Surprise SVD": "surprise", "LIBMF": "libmf"}  # model: what is imported


# ----------------------------------------------------------------- in a worker process


class Stamps:
    """A callback that notes when each epoch begins and ends."""

    def __init__(self):
        self.begins, self.ends = [], []

    def setup(self, estimator, context):
        """Do nothing."""

    def teardown(self, estimator, context):
        """Do nothing."""

    def on_fit_task_begin(self, estimator, context):
        """Note the begin of an epoch."""
        if context.task_name == "iteration":
            self.begins.append(time.perf_counter())

    def on_fit_task_end(self, estimator, context):
        """Note the end of an epoch."""
        if context.task_name == "iteration":
            self.ends.append(time.perf_counter())


def fit_ours(model, params, n_factors, plan, train, test):
    """Fit an estimator of sklearn_mf as planned; give versions and figures."""
    import numba
    import sklearn

    import sklearn_mf

    estimator = getattr(sklearn_mf, model.split()[0])(
        n_factors, tol=None, random_state=0, **params
    )
    X, y = train[:, :2].astype(np.int64), train[:, 2].astype(np.float32)
    X_test, y_test = test[:, :2].astype(np.int64), test[:, 2]
    estimator.set_params(max_iter=1).fit(X[:1000], y[:1000])  # compiles
    fits = []
    for epochs, n_jobs in plan:
        stamps = Stamps()
        estimator.set_params(max_iter=epochs, n_jobs=n_jobs).set_callbacks(stamps)
        start = time.perf_counter()
        estimator.fit(X, y)
        seconds = time.perf_counter() - start
        bits = estimator.user_factors_.tobytes() + estimator.item_factors_.tobytes()
        fits.append(
            {
                "n_jobs": n_jobs,
                "seconds": seconds,
                "epochs": np.subtract(stamps.ends, stamps.begins).tolist(),
                "rmse": -estimator.score(X_test, y_test),
                "hash": hashlib.sha256(bits).hexdigest(),
            }
        )
    libraries = (sklearn_mf, sklearn, numba, np)
    return [f"{library.__name__} {library.__version__}" for library in libraries], fits


def fit_surprise(model, params, n_factors, plan, train, test):
    """Fit SVD of scikit-surprise as planned; give versions and figures."""
    import surprise

    def raw(table):
        users, items, ratings = table.T
        return list(zip(users.tolist(), items.tolist(), ratings.tolist(), strict=True))

    data = surprise.Dataset(surprise.Reader(rating_scale=(1, 5)))
    trainset = data.construct_trainset([(*row, None) for row in raw(train)])
    all_ratings, stamps, fits = trainset.all_ratings, [], []

    def stamped():  # read once an epoch
        stamps.append(time.perf_counter())
        return all_ratings()

    trainset.all_ratings = stamped
    for epochs, n_jobs in plan:
        svd = surprise.SVD(n_factors, epochs, random_state=0, **params)
        stamps.clear()
        start = time.perf_counter()
        svd.fit(trainset)
        end = time.perf_counter()
        predictions = svd.test(raw(test))
        fits.append(
            {
                "n_jobs": n_jobs,
                "seconds": end - start,
                "epochs": np.diff([*stamps, end]).tolist(),
                "rmse": surprise.accuracy.rmse(predictions, verbose=False),
                "hash": hashlib.sha256(svd.pu.tobytes() + svd.qi.tobytes()).hexdigest(),
            }
        )
    return [f"scikit-surprise {surprise.__version__} (numpy {np.__version__})"], fits


def fit_libmf(model, params, n_factors, plan, train, test):
    """Fit LIBMF as planned, from memory; give versions and figures."""
    with contextlib.redirect_stdout(io.StringIO()):  # it tells where it is
        from libmf import mf

    ratings, fits = train.astype(np.float32), []
    for epochs, n_jobs in plan:
        threads = {"nr_threads": n_jobs, "nr_bins": 20, "quiet": True}
        factorisation = mf.MF(k=n_factors, nr_iters=epochs, **threads, **params)
        start = time.perf_counter()
        factorisation.fit(ratings)
        seconds = time.perf_counter() - start
        # It reads the pairs column by column.
        predictions = factorisation.predict(np.asfortranarray(test[:, :2]))
        errors = np.clip(predictions, 1, 5) - test[:, 2]
        fits.append({"seconds": seconds, "rmse": float(np.sqrt(np.mean(errors**2)))})
    return [f"libmf {version('libmf')}"], fits


def work(task):
    """Do a task in this process and print its figures as one line of JSON."""
    data = np.load(task.pop("data"), mmap_mode="r")
    n_test = len(data) // 10
    fit = {"Surprise SVD": fit_surprise, "LIBMF": fit_libmf}.get(
        task["model"], fit_ours
    )
    versions, fits = fit(**task, train=data[n_test:], test=data[:n_test])
    print(json.dumps({"versions": versions, "fits": fits}))


# ----------------------------------------------------------------- in the main process


def make_task(data, model, params, n_factors, epochs, threads):
    """Return what a worker is to do: to fit each number of epochs with all threads."""
    threads = (1,) if model == "Surprise SVD" else threads
    params = {
        name: value[n_factors] if isinstance(value, dict) else value
        for name, value in params.items()
    }
    plan = [(n_epochs, n_jobs) for n_epochs in epochs for n_jobs in threads]
    return {
        "data": data,
        "model": model,
        "params": params,
        "n_factors": n_factors,
        "plan": plan,
    }


def run(task, peers_python):
    """Do a task in a fresh process; give its versions and figures."""
    python = peers_python if task["model"] in PEERS else sys.executable
    done = subprocess.run(
        [python, __file__, "--task", json.dumps(task)], capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"{task['model']} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def print_speed(tasks, figures):
    """Print seconds an epoch, and how often they go into those of Surprise."""
    surprise, same = {}, []
    print(f"{'':36}{'median epoch':>20}{'fastest epoch':>20}")
    print(f"{'d':>4}  {'model':22}{'threads':>8}", end="")
    print(f"{'ms':>11}{'ratio':>9}" * 2 + f"{'test RMSE':>13}")
    for task, fits in zip(tasks, figures, strict=True):
        d, name = task["n_factors"], task["model"]
        same.append(len({fit["hash"] for fit in fits}) == 1)
        for n_jobs in dict.fromkeys(fit["n_jobs"] for fit in fits):
            epochs = [s for f in fits if f["n_jobs"] == n_jobs for s in f["epochs"]]
            print(f"{d:4}  {name:22}{n_jobs:8}", end="")
            for statistic in (median, min):
                seconds = statistic(epochs)
                if name in PEERS:
                    surprise[d, statistic] = seconds
                other = surprise.get((d, statistic))
                ratio = f"{other / seconds:.1f}" if other else ""
                print(f"{1e3 * seconds:11.1f}{ratio:>9}", end="")
            print(f"{fits[0]['rmse']:13.4f}")
    print("\nratio: epoch of Surprise / epoch of the model.", end=" ")
    print("On a busy machine the fastest epoch tells more.")
    print(f"Test RMSE after {SPEED_EPOCHS[0]} epochs, not tuned.")
    answer = "yes" if all(same) else "NO"
    print(f"The same bits with every number of threads and in all processes: {answer}")


def print_curve(tasks, figures):
    """Print test RMSE against the seconds of the fit, and the seconds to reach it."""
    print("|    d|model                    |", end="")
    print("".join(f"{f'epoch {epochs}':>16}|" for epochs in CURVE_EPOCHS))
    print("|--:|---|" + "--:|" * len(CURVE_EPOCHS))
    curves = {}
    for task, fits in zip(tasks, figures, strict=True):
        points = [fits[k :: len(CURVE_EPOCHS)] for k in range(len(CURVE_EPOCHS))]
        curve = [(min(fit["seconds"] for fit in p), p[0]["rmse"]) for p in points]
        curves.setdefault(task["n_factors"], {})[task["model"]] = curve
        cells = "".join(f"{f'{s:.2f} s, {rmse:.4f}':>16}|" for s, rmse in curve)
        print(f"|{task['n_factors']:5}|{task['model']:25}|{cells}")
    for d, models in curves.items():
        best = {
            model: min(rmse for _, rmse in curve) for model, curve in models.items()
        }
        goals = {f"best + {p} %": min(best.values()) * (1 + p / 100) for p in (1, 5)}
        goals |= {f"lowest of {peer}": best[peer] for peer in PEERS if peer in best}
        named = [f"{name}, {goal:.4f}" for name, goal in goals.items()]
        print(f"\nSeconds until the test RMSE is as low as this, d = {d}:\n")
        print(f"|model|{'|'.join(named)}|\n|---|" + "--:|" * len(goals))
        for model, curve in models.items():
            reached = [first_below(curve, goal) for goal in goals.values()]
            print(f"|{model:25}|{'|'.join(f'{seconds:>8}' for seconds in reached)}|")


def first_below(curve, goal):
    """Return the seconds of the first point of a curve that meets a goal, as text."""
    return next((f"{s:.2f}" for s, rmse in curve if rmse <= goal), "-")


def choose_models(models, peers_python):
    """Leave out the peers that are not installed, and say so."""
    chosen = {}
    for model, params in models.items():
        if model in PEERS:
            command = [peers_python, "-c", f"import {PEERS[model]}"]
            if (
                not peers_python
                or subprocess.run(command, capture_output=True).returncode
            ):
                print(f"No rows of {model}: not installed, see --peers-python.\n")
                continue
        chosen[model] = params
    return chosen


def print_machine(versions):
    """Print what the figures depend on."""
    cpu = platform.processor()
    if os.path.exists("/proc/cpuinfo"):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((s.split(": ")[1] for s in lines if s.startswith("model name")), cpu)
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"\n{datetime.date.today()}, {cpu}, {os.cpu_count()} cores{load}")
    print(f"Python {platform.python_version()}, {', '.join(versions)}")


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers-python", metavar="PATH", help="has the peers")
    parser.add_argument("--curve", action="store_true", help="RMSE against seconds")
    parser.add_argument("--factors", type=int, nargs="+", choices=N_FACTORS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--quick", action="store_true", help="a tenth of the data")
    parser.add_argument("--task", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        work(options.task)
        return

    from sklearn_mf.datasets import make_ratings  # the peers' interpreter has it not

    models, epochs, threads = SPEED, SPEED_EPOCHS, (2, 1)
    if options.curve:
        models, epochs, threads = CURVE, CURVE_EPOCHS, (2,)
    models = choose_models(models, options.peers_python)
    factors = options.factors or N_FACTORS
    size = (2000, 1300, 100_000) if options.quick else (6000, 4000, 1_000_000)
    with tempfile.TemporaryDirectory() as folder:
        data = str(Path(folder) / "ratings.npy")
        np.save(data, np.column_stack(make_ratings(*size, random_state=0)))
        tasks = [
            make_task(data, model, params, n_factors, epochs, threads)
            for n_factors in factors
            for model, params in models.items()
        ]
        figures, versions = [[] for _ in tasks], {}
        for number in range(1 if options.quick else options.rounds):
            for task, fits in zip(tasks, figures, strict=True):
                if options.curve and number and task["model"] == "Surprise SVD":
                    continue
                result = run(task, options.peers_python)
                fits.extend(result["fits"])
                versions |= dict.fromkeys(result["versions"])
    if options.curve:
        print_curve(tasks, figures)
    else:
        print_speed(tasks, figures)
    print_machine(versions)


if __name__ == "__main__":
    main()
