"""Whether a change makes the library slower: a revision beside another.

    python tests/benchmarks/compare.py main              # the working tree beside main
    python tests/benchmarks/compare.py main my-branch --fail-above 1.3

Both run in turn, each time in a fresh process of this interpreter, on one thread, with
compiled code from a cache of their own. A ratio is head's time divided by base's of the
same round, each the best of a few runs: above 1 means slower. Given are the median over
the rounds and the range; a ratio whose range holds 1 says nothing.
"""

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[2]
REPEATS = 3  # runs of each task in a process


def make_tasks():
    """Return what is timed, by name; of an older base only what it has."""
    import numpy as np

    import sklearn_mf

    rng = np.random.default_rng(0)
    X = np.column_stack((rng.integers(2000, size=200_000), rng.zipf(1.3, 200_000)))
    X[:, 1] %= 1000
    y = rng.integers(1, 6, size=len(X)).astype(np.float64)
    seed = {"random_state": 0, "n_jobs": 1}
    common = {"max_iter": 5, "tol": None, **seed}
    tasks = {}
    for name, model, options in [
        ("ALSFactorizer", "ALSFactorizer", {"n_factors": 32}),
        ("ALSFactorizer, cg", "ALSFactorizer", {"n_factors": 32, "solver": "cg"}),
        ("SGDFactorizer", "SGDFactorizer", {"n_factors": 32}),
        ("BiasedMF", "BiasedMF", {"n_factors": 32}),
        ("AutoRec", "AutoRec", {"max_iter": 1}),
        ("MultiTaskMF", "MultiTaskMF", {"max_iter": 1}),
        ("RankingFactorizer", "RankingFactorizer", {"n_factors": 32}),
        ("BayesianMF", "BayesianMF", {"n_samples": 5, "burn_in": 0}),
    ]:
        if hasattr(sklearn_mf, model):
            iterates = "n_samples" not in options
            options = common | options if iterates else {**seed, **options}
            model = getattr(sklearn_mf, model)(**options)
            tasks[f"{name}: fit"] = lambda model=model: model.fit(X, y)
    fitted = sklearn_mf.BiasedMF(32, **common).fit(X, y)
    tasks["predict"] = lambda: fitted.predict(X)
    tasks["recommend"] = lambda: fitted.recommend(np.arange(1000), n_items=10)
    return tasks


def measure(folder):
    """Print the seconds of each task with the library in a folder."""
    import numba  # noqa: F401
    import sklearn.callback
    import sklearn.metrics  # noqa: F401

    start = time.perf_counter()
    import sklearn_mf

    seconds = {"import": time.perf_counter() - start}
    assert Path(sklearn_mf.__file__).is_relative_to(folder)
    for name, task in make_tasks().items():
        task()
        runs = []
        for _ in range(REPEATS):
            start = time.perf_counter()
            task()
            runs.append(time.perf_counter() - start)
        seconds[name] = min(runs)
    print(json.dumps(seconds))


def check_out(revision, folder):
    """Put the library as of a revision into a folder."""
    archive = folder / "library.tar"
    subprocess.run(
        ["git", "archive", f"--output={archive}", revision, "sklearn_mf"],
        cwd=ROOT,
        check=True,
    )
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")


def run(folder, cache):
    """Measure the library in a folder, in a fresh process."""
    done = subprocess.run(
        [sys.executable, __file__, "--measure", folder],
        env=os.environ | {"PYTHONPATH": str(folder), "NUMBA_CACHE_DIR": str(cache)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def compare(base, head, n_rounds):
    """Return the seconds of each task, of base and of head, in each round."""
    with tempfile.TemporaryDirectory() as temporary:
        sides = []
        for name, revision in (("base", base), ("head", head)):
            folder = Path(temporary, name)
            folder.mkdir()
            if revision is not None:
                check_out(revision, folder)
            sides.append((folder if revision else ROOT, folder / "cache"))
            run(*sides[-1])  # compiles
        return [[run(*side) for side in sides] for _ in range(n_rounds)]


def main():
    """Print the table; fail if that is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("base", help="a revision to compare with")
    parser.add_argument("head", nargs="?", help="another; default: the working tree")
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument(
        "--fail-above", type=float, metavar="RATIO", help="fail if a median is higher"
    )
    options = parser.parse_args()

    bases, heads = zip(
        *compare(options.base, options.head, options.rounds), strict=True
    )
    print("| | base, ms | head, ms | ratio | range |\n|---|--:|--:|--:|--:|")
    slower = []
    for task in heads[0]:
        if task not in bases[0]:
            continue
        base, head = ([seconds[task] for seconds in side] for side in (bases, heads))
        ratios = [b / a for a, b in zip(base, head, strict=True)]
        print(
            f"| {task} | {1e3 * median(base):.1f} | {1e3 * median(head):.1f} "
            f"| {median(ratios):.2f} | {min(ratios):.2f}–{max(ratios):.2f} |"
        )
        if options.fail_above and median(ratios) > options.fail_above:
            slower.append(task)
    if slower:
        sys.exit(f"slower than {options.fail_above} times base: {', '.join(slower)}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(sys.argv[2])
    else:
        main()
