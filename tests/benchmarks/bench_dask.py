"""A sweep on Dask beside one in memory, and beside Spark's ALS.

    python tests/benchmarks/bench_dask.py --millions 1 4 --spark-python PATH

For made ratings (float32, four partitions) the seconds of a sweep: the difference
between fits of many and of few iterations over their number, the least of two rounds.
In memory with as many threads as there are workers; on Dask with a LocalCluster of
processes of one thread each, and the megabytes that workers receive from one another in
a sweep; Spark in local mode with as many threads. PATH is an interpreter that has
pyspark; without it Spark is left out. Each in turn on the same ratings.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import dask.array as da
import numpy as np
from distributed import Client, LocalCluster

import sklearn_mf
import sklearn_mf.dask
from sklearn_mf.datasets import make_ratings

FEW, MANY, ROUNDS = 2, 7, 2
N_PARTITIONS = 4

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


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--millions", type=float, nargs="+", default=[1, 4])
    parser.add_argument("--factors", type=int, nargs="+", default=[10, 50])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--spark-python", help="an interpreter with pyspark")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
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
            import pandas as pd

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
