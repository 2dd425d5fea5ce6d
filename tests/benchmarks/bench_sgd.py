"""Stochastic gradient descent beside scikit-surprise: seconds an epoch, and accuracy.

    python tests/benchmarks/bench_sgd.py [--surprise-python PATH] [--curve] [--quick]

The table gives seconds an epoch on 900,000 ratings of 6,000 users and 4,000 items in
float32, and the ratio of Surprise's seconds to ours; ``--curve`` gives the test RMSE
against the seconds of the fit. PATH is an interpreter that has scikit-surprise; without
it the rows of Surprise are left out. Surprise has one thread, and is fitted in float64.

Each configuration runs in processes of its own, which take turns with those of the
others, so that a drift of the machine cancels; times are medians over them.
"""

import argparse
import datetime
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
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
# Tuned on this data with d = 50: one λ serves all, the learning rate is each one's own.
SGD = {"solver": "sgd", "optimizer": "sgd", "regularization": 0.05}
FADING = {"learning_rate_schedule": "exponential", "decay": 0.9}
CURVE = {
    "Surprise SVD": {"lr_all": 0.02, "reg_all": 0.05},
    "BiasedMF sgd": {**SGD, "learning_rate": 0.02},
    "BiasedMF sgd, exponential": {**SGD, **FADING, "learning_rate": 0.03},
    "BiasedMF adagrad": {**SGD, "optimizer": "adagrad", "learning_rate": 0.05},
    "BiasedMF adam": {**SGD, "optimizer": "adam", "learning_rate": 0.002},
}
CURVE_EPOCHS = (1, 2, 5, 10, 20, 40)


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


def work(task):
    """Do a task in this process and print its figures as one line of JSON."""
    data = np.load(task.pop("data"), mmap_mode="r")
    n_test = len(data) // 10
    fit = fit_surprise if task["model"].startswith("Surprise") else fit_ours
    versions, fits = fit(**task, train=data[n_test:], test=data[:n_test])
    print(json.dumps({"versions": versions, "fits": fits}))


# ----------------------------------------------------------------- in the main process


def make_task(data, model, params, n_factors, epochs, threads):
    """Return what a worker is to do: to fit each number of epochs with all threads."""
    threads = (1,) if model.startswith("Surprise") else threads
    plan = [(n_epochs, n_jobs) for n_epochs in epochs for n_jobs in threads]
    return {
        "data": data,
        "model": model,
        "params": params,
        "n_factors": n_factors,
        "plan": plan,
    }


def run(task, surprise_python):
    """Do a task in a fresh process; give its versions and figures."""
    is_ours = not task["model"].startswith("Surprise")
    python = sys.executable if is_ours else surprise_python
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
                if name.startswith("Surprise"):
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
    curves = {}
    for task, fits in zip(tasks, figures, strict=True):
        points = [fits[k :: len(CURVE_EPOCHS)] for k in range(len(CURVE_EPOCHS))]
        curves[task["model"]] = [
            (median(fit["seconds"] for fit in point), point[0]["rmse"])
            for point in points
        ]
    print(f"{'':26}" + "".join(f"{f'{e} epochs':>16}" for e in CURVE_EPOCHS))
    for name, curve in curves.items():
        cells = "".join(f"{f'{s:.2f} s  {rmse:.4f}':>16}" for s, rmse in curve)
        print(f"{name:26}{cells}")
    best = min(rmse for curve in curves.values() for _, rmse in curve)
    goals = {f"{p} %": best * (1 + p / 100) for p in (0.5, 1, 2, 5)}
    print(f"\nSeconds until the test RMSE is within a share of the best, {best:.4f}:")
    print(f"{'':26}" + "".join(f"{share:>10}" for share in goals))
    for name, curve in curves.items():
        reached = (first_below(curve, goal) for goal in goals.values())
        print(f"{name:26}" + "".join(f"{seconds:>10}" for seconds in reached))


def first_below(curve, goal):
    """Return the seconds of the first point of a curve that meets a goal, as text."""
    return next((f"{s:.2f}" for s, rmse in curve if rmse <= goal), "-")


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
    parser.add_argument("--surprise-python", metavar="PATH")
    parser.add_argument("--curve", action="store_true", help="RMSE against seconds")
    parser.add_argument("--quick", action="store_true", help="a tenth of the data")
    parser.add_argument("--task", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        work(options.task)
        return

    from sklearn_mf.datasets import make_ratings  # Surprise's interpreter has it not

    if options.curve:
        models, factors, epochs, threads = CURVE, (50,), CURVE_EPOCHS, (2,)
    else:
        models, factors, epochs, threads = SPEED, N_FACTORS, SPEED_EPOCHS, (2, 1)
    if not options.surprise_python:
        models = {k: v for k, v in models.items() if not k.startswith("Surprise")}
        print("Without --surprise-python there are no rows of Surprise.\n")
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
        for _ in range(1 if options.quick else ROUNDS):
            for task, fits in zip(tasks, figures, strict=True):
                result = run(task, options.surprise_python)
                fits.extend(result["fits"])
                versions |= dict.fromkeys(result["versions"])
    if options.curve:
        print_curve(tasks, figures)
    else:
        print_speed(tasks, figures)
    print_machine(versions)


if __name__ == "__main__":
    main()
