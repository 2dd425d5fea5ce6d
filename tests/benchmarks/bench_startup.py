"""What a new process pays: the import, and compilation in its first fit and predict.

    python tests/benchmarks/bench_startup.py

Every figure is the median over fresh processes; the fit itself is subtracted.
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


def run(code, cache):
    """Run code in a fresh process; give the figures that it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
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


if __name__ == "__main__":
    main()
