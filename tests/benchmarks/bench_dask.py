"""A sweep on Dask beside one in memory, and beside Spark's ALS.

    python tests/benchmarks/bench_dask.py --millions 1 4 --spark-python PATH

For made ratings (float32, four partitions) the seconds of a sweep: the difference
between fits of many and of few iterations over their number, the least of two rounds.
In memory with as many threads as there are workers; on Dask with a LocalCluster of
processes of one thread each, and the megabytes that workers receive from one another in
a sweep; Spark in local mode with as many threads. PATH is an interpreter that has
pyspark; without it Spark is left out. Each in turn on the same ratings.

    python tests/benchmarks/bench_dask.py --out-of-core 10 50 --limit 900MB

For so many millions of ratings in 40 Parquet files, int64 ids and float32 ratings (20
bytes a rating), a fit of three iterations in memory, one by `sklearn_mf.dask` without a
cluster, and with `--limit` one on a cluster of one worker of that memory limit, each in
a process of its own with two threads. Memory is the peak of what is not mapped from
files (RssAnon, which Linux alone can tell) above that before the fit; of the cluster
that of the worker, with what was in use before. Disk is what the temporary files take.

    python tests/benchmarks/bench_dask.py --calculate

Prints what a billion and 20 billion ratings need at d = 64. Nothing of it is measured:
see `calculate`.
"""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
from distributed import Client, LocalCluster

import sklearn_mf
import sklearn_mf.dask
from sklearn_mf.datasets import make_ratings

FEW, MANY, ROUNDS = 2, 7, 2
N_PARTITIONS = 4
N_FILES, ITERATIONS, THREADS = 40, 3, 2

SPARK = """
import json, sys, time
from pyspark.ml.recommendation import ALS
from pyspark.sql import SparkSession

job = json.loads(sys.argv[1])
spark = (
    SparkSession.builder.master(f"local[{job['workers']}]")
    .config("spark.driver.memory", "8g")
    .config("spark.ui.enabled", "false")
    .getOrCreate()
)
spark.sparkContext.setLogLevel("OFF")
table = spark.read.parquet(job["file"]).repartition(job["partitions"]).cache()
table.count()

def fit(n):
    start = time.perf_counter()
    ALS(
        rank=job["d"], maxIter=n, regParam=0.1, seed=0, numUserBlocks=job["partitions"],
        numItemBlocks=job["partitions"],
        userCol="user", itemCol="item", ratingCol="rating",
    ).fit(table).itemFactors.count()
    return time.perf_counter() - start

fit(1)
rounds = [[fit(n) for n in job["lengths"]] for _ in range(job["rounds"])]
print("RESULT", json.dumps([min(column) for column in zip(*rounds)]))
"""


def time_sweep(fit):
    """Return the seconds of a sweep of `fit`, which takes a number of iterations."""
    fit(1)  # compiles
    seconds = [[], []]
    for _ in range(ROUNDS):
        for n, found in zip((FEW, MANY), seconds, strict=True):
            start = time.perf_counter()
            fit(n)
            found.append(time.perf_counter() - start)
    few, many = map(min, seconds)
    return (many - few) / (MANY - FEW)


def fitter(model, X, y):
    """Return a function that fits for a number of iterations."""
    model.set_params(tol=None, random_state=0)
    return lambda n: model.set_params(max_iter=n).fit(X, y)


def bytes_moved(client, fit, n):
    """Return how many bytes workers receive from one another in a fit."""
    client.run(lambda dask_worker: dask_worker.transfer_incoming_log.clear())
    fit(n)
    logs = client.run(lambda dask_worker: list(dask_worker.transfer_incoming_log))
    return sum(entry["total"] for log in logs.values() for entry in log)


def on_dask(X, y, d, n_workers):
    """Return seconds and megabytes of a sweep on a cluster of processes."""
    with (
        LocalCluster(
            n_workers=n_workers,
            threads_per_worker=1,
            dashboard_address=None,
            silence_logs=50,
        ) as cluster,
        Client(cluster) as client,
    ):
        chunk = -(-len(y) // N_PARTITIONS)
        X, y = client.persist([da.from_array(X, (chunk, 2)), da.from_array(y, chunk)])
        fit = fitter(sklearn_mf.dask.ALSFactorizer(d), X, y)
        seconds = time_sweep(fit)
        moved = bytes_moved(client, fit, MANY) - bytes_moved(client, fit, FEW)
    return seconds, moved / (MANY - FEW) / 1e6


def on_spark(python, file, d, n_workers):
    """Return the seconds of a sweep of Spark."""
    job = {
        "file": str(file),
        "d": d,
        "workers": n_workers,
        "partitions": N_PARTITIONS,
        "lengths": [FEW, MANY],
        "rounds": ROUNDS,
    }
    done = subprocess.run(
        [python, "-c", SPARK, json.dumps(job)],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [x for x in done.stdout.splitlines() if x.startswith("RESULT")]
    if not lines:
        raise RuntimeError(done.stderr[-2000:])
    few, many = json.loads(lines[0].removeprefix("RESULT"))
    return (many - few) / (MANY - FEW)


class Peaks(threading.Thread):
    """The peaks of memory and of disk, by looking every 20 milliseconds."""

    def __init__(self, folder, process="self"):
        super().__init__(daemon=True)
        self.folder, self.process = folder, process
        self.memory = self.disk = 0
        self.ended = threading.Event()

    def run(self):
        """Look again and again."""
        while not self.ended.wait(0.02):
            status = Path(f"/proc/{self.process}/status").read_text()
            kilobytes = int(status.split("RssAnon:")[1].split()[0])
            self.memory = max(self.memory, 1024 * kilobytes)
            self.disk = max(self.disk, shutil.disk_usage(self.folder).used)


def fit_from_files(folder, how, limit):
    """Fit to Parquet files; print seconds, bytes of memory and disk, and the loss."""
    library = sklearn_mf if how == "memory" else sklearn_mf.dask
    options = {"max_iter": ITERATIONS, "tol": None, "random_state": 0}
    model = library.ALSFactorizer(10, n_jobs=THREADS, **options)

    def fit(name):
        table = (pd if how == "memory" else dd).read_parquet(f"{folder}/{name}")
        return model.fit(table[["user", "item"]], table["rating"])

    with contextlib.ExitStack() as stack:
        enter, process = stack.enter_context, "self"
        enter(dask.config.set(num_workers=THREADS, temporary_directory=folder))
        if how == "cluster":
            size = {"n_workers": 1, "threads_per_worker": THREADS}
            more = {"memory_limit": limit, "dashboard_address": None}
            cluster = enter(LocalCluster(**size, **more, silence_logs=50))
            (process,) = enter(Client(cluster)).run(os.getpid).values()
        fit("few")  # compiles
        peaks = Peaks(folder, process)
        peaks.start()
        time.sleep(0.1)
        before, disk, start = peaks.memory, peaks.disk, time.perf_counter()
        fit("ratings")
        seconds = time.perf_counter() - start
        peaks.ended.set()
        peaks.join()
    memory = peaks.memory if how == "cluster" else peaks.memory - before
    print(json.dumps([seconds, memory, peaks.disk - disk, model.loss_curve_[-1]]))


def compare_memory(millions, limit):
    """Print a table of memory, time and disk of fits from files."""
    print(f"Limit of the worker: {limit or 'none'}; ratings of 20 bytes each.\n")
    print("|ratings|fit|s|memory MB|memory B/rating|disk B/rating|loss|")
    print("|--:|---|--:|--:|--:|--:|--:|")
    for n in (int(1e6 * size) for size in millions):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "ratings").mkdir()
            for k in range(N_FILES):  # the ratings are never in memory together
                rng = np.random.default_rng(k)
                ids = {"user": n // 160, "item": n // 400}
                popular = {x: rng.random(n // N_FILES) ** 1.7 for x in ids}
                table = {x: (ids[x] * popular[x]).astype(np.int64) for x in ids}
                table["rating"] = rng.integers(1, 6, n // N_FILES).astype(np.float32)
                pd.DataFrame(table).to_parquet(f"{folder}/ratings/{k:02}.parquet")
                if k == 0:
                    pd.DataFrame(table)[:10_000].to_parquet(f"{folder}/few")
            for how in ("memory", "files", "cluster")[: 3 if limit else 2]:
                done = subprocess.run(
                    [sys.executable, __file__, "--task", folder, how, limit],
                    stdout=subprocess.PIPE,
                    text=True,
                    check=True,
                )
                seconds, memory, disk, loss = json.loads(done.stdout)
                row = f"|{n:,}|{how}|{seconds:.1f}|{memory / 1e6:.0f}"
                row += f"|{memory / n:.1f}|{disk / n:.1f}"
                print(f"{row}|{loss:.6g}|", flush=True)


def calculate(n, d=64, n_workers=32):
    """Return what a fit in float32 needs, by calculation.

    There is a user for 200 ratings and an item for 2,000. Each worker has one thread
    and one block of users and of items. A block has a code of 4 bytes and a rating of 4
    for each of its ratings; while it is sorted, another code, and as much again in the
    parts that it is joined from. To be solved, it needs nearly all rows of the other
    side, and holds them three times: as they come, joined and padded. A sweep takes d²
    operations for each rating on each side and d³ / 3 for each row, of which a thread
    does 40 billion a second (bench_als.py). The calling process holds the factors and
    a copy, eight bytes for each id, and four for each rating, of which it knows the
    pair.
    """
    users, items = n / 200, n / 2000
    factors = 4 * d * (users + items)
    blocks, joined = 2 * 8 * n / n_workers, 2 * 12 * n / n_workers
    operations = 2 * n * d**2 + (users + items) * d**3 / 3
    return {
        "ratings": f"{n:,.0f}",
        "workers": n_workers,
        "GB a worker, sorting": f"{(blocks + joined) / 1e9:.1f}",
        "GB a worker, solving": f"{(blocks + 3 * 4 * d * users) / 1e9:.1f}",
        "GB received a worker and sweep": f"{factors * (1 - 1 / n_workers) / 1e9:.1f}",
        "seconds a sweep, solving": f"{operations / n_workers / 40e9:.0f}",
        "at 10 Gbit/s": f"{8 * factors * (1 - 1 / n_workers) / 10e9:.0f}",
        "GB, calling": f"{(2 * factors + 8 * (users + items) + 4 * n) / 1e9:.0f}",
    }


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--millions", type=float, nargs="+", default=[1, 4])
    parser.add_argument("--factors", type=int, nargs="+", default=[10, 50])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--spark-python", help="an interpreter with pyspark")
    parser.add_argument("--out-of-core", type=float, nargs="+", metavar="MILLIONS")
    parser.add_argument("--limit", default="", help="memory of a worker: a cluster too")
    parser.add_argument("--calculate", action="store_true")
    parser.add_argument("--task", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if args.task:
        fit_from_files(*args.task)
        return
    if args.calculate:
        rows = [calculate(1e9), calculate(20e9)]
        for row in (rows[0], ["--:"] * len(rows[0]), *(one.values() for one in rows)):
            print(f"|{'|'.join(map(str, row))}|")
        return
    if args.out_of_core:
        compare_memory(args.out_of_core, args.limit)
        return
    columns = ["ratings", "d", "workers", "memory s", "Dask s", "MB", "Spark s"]
    columns += ["Dask / memory", "Spark / Dask"]
    print(
        "|".join(["", *columns, ""]),
        "|".join(["", *len(columns) * ["--:"], ""]),
        sep="\n",
    )
    for millions in args.millions:
        n = int(millions * 1e6)
        X, y = make_ratings(n // 160, n // 400, n, random_state=0)
        y = y.astype(np.float32)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "ratings.parquet"
            table = {"user": X[:, 0].astype(np.int32), "item": X[:, 1].astype(np.int32)}
            pd.DataFrame(table | {"rating": y}).to_parquet(file)
            for d in args.factors:
                for n_workers in args.workers:
                    model = sklearn_mf.ALSFactorizer(d, n_jobs=n_workers)
                    memory = time_sweep(fitter(model, X, y))
                    seconds, moved = on_dask(X, y, d, n_workers)
                    spark = np.nan
                    if args.spark_python:
                        spark = on_spark(args.spark_python, file, d, n_workers)
                    row = f"{memory:.3f}", f"{seconds:.3f}", f"{moved:.1f}"
                    row += f"{spark:.2f}", f"{seconds / memory:.1f}"
                    row += (f"{spark / seconds:.1f}",)
                    print(f"|{len(y):,}|{d}|{n_workers}|{'|'.join(row)}|", flush=True)


if __name__ == "__main__":
    sys.exit(main())
