"""What a new process pays: the import, and compilation in its first fit and predict.

    python tests/benchmarks/bench_startup.py

Every figure is the median over fresh processes; the fit itself is subtracted. The
second table has the seconds of the first call of each method of each estimator, with
nothing compiled and after `python -m sklearn_mf.precompile`, in one process each.
"""

import json
import os
import subprocess
import sys
import tempfile
from statistics import median

RUNS = 5

IMPORT = """
import json, time
import sklearn.base, sklearn.callback, sklearn.metrics, sklearn.utils.validation
import scipy.sparse, numba
start = time.perf_counter()
import sklearn_mf
print(json.dumps({"import": time.perf_counter() - start}))
"""

FIT = """
import json, time
import numpy as np
from sklearn_mf import ALSFactorizer
rng = np.random.default_rng(0)
X, y = rng.integers(0, 1000, size=(100_000, 2)), rng.uniform(1, 5, size=100_000)

def seconds():
    start = time.perf_counter()
    ALSFactorizer(random_state=0).fit(X, y).predict(X)
    return time.perf_counter() - start

first, second = seconds(), seconds()
print(json.dumps({"first": first - second, "fit": second}))
"""

FIRST_CALLS = """
import json, sys, time, warnings
from sklearn_mf._load import MODELS
from sklearn_mf.datasets import make_ratings

warnings.simplefilter("ignore")
X, y = make_ratings(500, 200, 10_000, random_state=0)
y = ((y - 1) / 4).astype("float32")
name, options = json.loads(sys.argv[1])
if name == "MFClassifier":
    y = (y > 0.6).astype("float32")
quick = {"max_iter": 2, "n_samples": 2, "burn_in": 0, "random_state": 0}
known = MODELS[name]().get_params().keys() & quick.keys()
model = MODELS[name](**{key: quick[key] for key in known}, **options)
calls = {
    "fit": lambda: model.fit(X, y),
    "predict": lambda: model.predict(X),
    "recommend": lambda: model.recommend([7], n_items=3),
    "fold_in": lambda: model.fold_in_users(X[:20], y[:20]),
    "again": lambda: model.fit(X, y),
}
if not hasattr(model, "fold_in_users"):
    del calls["fold_in"]
seconds = {}
for call, function in calls.items():
    start = time.perf_counter()
    function()
    seconds[call] = time.perf_counter() - start
print(json.dumps(seconds))
"""
MODELS = [
    ("ALSFactorizer", {}),
    ("ALSFactorizer", {"solver": "cg"}),
    ("ALSFactorizer", {"feedback": "implicit"}),
    ("SGDFactorizer", {}),
    ("BiasedMF", {}),
    ("BiasedMF", {"solver": "als"}),
    ("MFClassifier", {}),
    ("BayesianMF", {}),
    ("AutoRec", {}),
    ("MultiTaskMF", {}),
    ("RankingFactorizer", {}),
    ("PopularityRanker", {}),
]


def run(code, cache, *arguments):
    """Run code in a fresh process; give the figures that it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        env=os.environ | {"NUMBA_CACHE_DIR": cache},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def main():
    """Print the table."""
    empty, warm, imports = [], [], []
    for _ in range(RUNS):
        with tempfile.TemporaryDirectory() as cache:
            empty.append(run(FIT, cache))
            warm.append(run(FIT, cache))
            imports.append(run(IMPORT, cache))
    rows = [
        ("import sklearn_mf, beyond scikit-learn and numba", imports, "import", 0.3),
        ("first fit and predict, empty cache, beyond the fit", empty, "first", 6.0),
        ("first fit and predict, warm cache, beyond the fit", warm, "first", 1.0),
        ("the fit and predict itself (100,000 ratings)", warm, "fit", None),
    ]
    print(f"{'':52}{'seconds':>8}{'bound':>8}")
    for name, figures, key, bound in rows:
        seconds = median(figure[key] for figure in figures)
        print(f"{name:52}{seconds:8.3f}{'' if bound is None else bound:>8}")
    print_first_calls()


def print_first_calls():
    """Print the seconds of first calls, float32 ratings."""
    calls = ["fit", "predict", "recommend", "fold_in", "again"]
    print(f"\n{'first call, s':42}" + "".join(f"{call:>10}" for call in calls))
    for name, options in MODELS:
        values = ", ".join(f"{key}={value!r}" for key, value in options.items())
        model = json.dumps([name, options])
        with tempfile.TemporaryDirectory() as cache:
            rows = {"": run(FIRST_CALLS, cache, model)}
        with tempfile.TemporaryDirectory() as cache:
            precompile(name, cache)
            rows[", precompiled"] = run(FIRST_CALLS, cache, model)
        for note, seconds in rows.items():
            cells = "".join(
                f"{seconds[call]:10.2f}" if call in seconds else f"{'-':>10}"
                for call in calls
            )
            print(f"{f'{name}({values}){note}':42}{cells}", flush=True)


def precompile(name, cache):
    """Compile in advance what an estimator needs for float32 ratings."""
    command = f"-m sklearn_mf.precompile --estimators {name} --dtypes float32"
    subprocess.run(
        [sys.executable, *command.split()],
        env=os.environ | {"NUMBA_CACHE_DIR": cache},
        stdout=subprocess.DEVNULL,
        check=True,
    )


if __name__ == "__main__":
    main()
