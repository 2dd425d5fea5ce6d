"""Losses that rank, on public splits, beside implicit's BPR and LightFM's WARP.

    python tests/benchmarks/bench_ranking_losses.py --data DIR [--peers-python PATH]

DIR holds a folder for each data set with the files train.txt and test.txt, of which
each line is a user and then the items of that user, all numbers. For each user with
test items all items that the user has not in train.txt are ranked; recall@20 is the
share of the user's test items among the first 20, NDCG@20 has binary gains, both are
means over users. RankingFactorizer has its defaults but for the loss and d; the numbers
of its epochs and seconds are those of a default fit in float32 on two threads.

The peers' BPR and WARP have their authors' defaults, and as many epochs as ours. PATH
is an interpreter that has implicit and LightFM, see requirements-peers.txt; without it
their rows are left out. The ratios are seconds an epoch, and recall, of ours divided by
the peer's with the same loss.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

LOSSES = "softmax", "bpr", "warp", "ccl"
PEERS = {"bpr": "implicit", "warp": "lightfm"}
K = 20
THREADS = 2
BLOCK_USERS = 500  # ranked at a time


def read_pairs(path):
    """Return the pairs of a file, an int array of shape (n_pairs, 2)."""
    pairs = []
    with open(path) as file:
        for line in file:
            user, *items = map(int, line.split())
            pairs += [(user, item) for item in items]
    return np.array(pairs)


def judge(P, Q, b, train, test):
    """Return recall@20 and NDCG@20 of the scores P Qᵀ + b."""
    from scipy.sparse import csr_array

    shape = len(P), len(Q)
    seen, relevant = (
        csr_array((np.ones(len(pairs), np.float32), pairs.T), shape)
        for pairs in (train, test)
    )
    discounts = 1 / np.log2(np.arange(2, K + 2))
    recalls, ndcgs = [], []
    users = np.unique(test[:, 0])
    for block in np.array_split(users, -(-len(users) // BLOCK_USERS)):
        scores = P[block] @ Q.T + b
        scores[seen[block].nonzero()] = -np.inf
        best = np.argpartition(-scores, K, axis=1)[:, :K]
        order = np.argsort(-np.take_along_axis(scores, best, 1), axis=1)
        best = np.take_along_axis(best, order, 1)
        is_relevant = relevant[block].toarray() > 0
        hits, n = np.take_along_axis(is_relevant, best, 1), is_relevant.sum(axis=1)
        recalls.append(hits.sum(axis=1) / n)
        ideal = np.cumsum(discounts)[np.minimum(n, K) - 1]
        ndcgs.append((hits * discounts).sum(axis=1) / ideal)
    return [float(np.concatenate(values).mean()) for values in (recalls, ndcgs)]


# ----------------------------------------------------------------- in a worker process


def fit_ours(train, shape, loss, n_factors, n_epochs):
    """Return factors, biases, epochs and seconds an epoch of sklearn_mf."""
    from sklearn_mf import RankingFactorizer

    y = np.ones(len(train), np.float32)
    model = RankingFactorizer(n_factors, loss=loss, n_jobs=THREADS, random_state=0)
    RankingFactorizer(n_factors, loss=loss, max_iter=1, tol=None).fit(
        train[:999], y[:999]
    )
    start = time.perf_counter()
    model.fit(train, y)
    seconds = time.perf_counter() - start
    P, Q = (np.zeros((n, n_factors), np.float32) for n in shape)
    P[model.users_], Q[model.items_] = model.user_factors_, model.item_factors_
    b = np.full(shape[1], -np.inf, np.float32)  # nobody is recommended what is unknown
    b[model.items_] = model.item_biases_
    return P, Q, b, model.n_iter_, seconds / model.n_iter_


def fit_implicit(train, shape, loss, n_factors, n_epochs):
    """Return the same of implicit's BPR, whose biases are a last factor."""
    from implicit.cpu.bpr import BayesianPersonalizedRanking
    from scipy.sparse import csr_matrix

    R = csr_matrix((np.ones(len(train), np.float32), train.T), shape)
    model = BayesianPersonalizedRanking(
        n_factors, iterations=n_epochs, num_threads=THREADS, random_state=0
    )
    start = time.perf_counter()
    model.fit(R, show_progress=False)
    seconds = time.perf_counter() - start
    return model.user_factors, model.item_factors, 0, n_epochs, seconds / n_epochs


def fit_lightfm(train, shape, loss, n_factors, n_epochs):
    """Return the same of LightFM's WARP."""
    from lightfm import LightFM
    from scipy.sparse import coo_matrix

    R = coo_matrix((np.ones(len(train), np.float32), train.T), shape)
    model = LightFM(n_factors, loss=loss, random_state=0)
    start = time.perf_counter()
    model.fit(R, epochs=n_epochs, num_threads=THREADS)
    seconds = time.perf_counter() - start
    P, Q = model.user_embeddings, model.item_embeddings
    return P, Q, model.item_biases, n_epochs, seconds / n_epochs


def work(folder, library, loss, n_factors, n_epochs):
    """Fit in this process and print the figures as a line of JSON."""
    train, test = (read_pairs(folder / f"{part}.txt") for part in ("train", "test"))
    shape = tuple(np.vstack([train, test]).max(axis=0) + 1)
    fit = {"sklearn_mf": fit_ours, "implicit": fit_implicit, "lightfm": fit_lightfm}
    P, Q, b, n_epochs, seconds = fit[library](train, shape, loss, n_factors, n_epochs)
    recall, ndcg = judge(P, Q, b, train, test)
    figures = {"epochs": n_epochs, "seconds": seconds, "recall": recall, "ndcg": ndcg}
    print(json.dumps(figures))


# ----------------------------------------------------------------- in the main process


def run_worker(python, *task):
    """Fit in a fresh process; give its figures, or None if it failed."""
    pools = ("OMP", "OPENBLAS", "MKL", "BLIS")
    limits = {f"{pool}_NUM_THREADS": "1" for pool in pools}
    done = subprocess.run(
        [python, __file__, "--task", *map(str, task)],
        capture_output=True,
        text=True,
        env=os.environ | limits,
    )
    if done.returncode:
        reason = (done.stderr.splitlines() or ["no message"])[-1]
        print(f"{task[1]} is left out: {reason}", file=sys.stderr)
        return None
    return json.loads(done.stdout.splitlines()[-1])


def compare(folder, peers_python, factors, losses):
    """Print the figures of a data set."""
    print(
        f"\n{folder.name}\n\n"
        "| d | loss | library | epochs | s an epoch | recall@20 | NDCG@20 "
        "| s, ours / peer's | recall, ours / peer's |\n"
        "|--:|---|---|--:|--:|--:|--:|--:|--:|"
    )
    for n_factors in factors:
        for loss in losses:
            ours = run_worker(sys.executable, folder, "sklearn_mf", loss, n_factors, 0)
            peer, ratios = None, "| | |"
            if loss in PEERS and peers_python:
                n_epochs = ours["epochs"]
                task = folder, PEERS[loss], loss, n_factors, n_epochs
                peer = run_worker(peers_python, *task)
            if peer:
                ratios = "|".join(
                    f" {ours[name] / peer[name]:.2f} " for name in ("seconds", "recall")
                )
                ratios = f"|{ratios}|"
            for library, row in (("sklearn_mf", ours), (PEERS.get(loss), peer)):
                if row:
                    print(
                        f"| {n_factors} | {loss} | {library} | {row['epochs']} "
                        f"| {row['seconds']:.3f} | {row['recall']:.4f} "
                        f"| {row['ndcg']:.4f} "
                        f"{ratios if row is ours else '| | |'}",
                        flush=True,
                    )


def main():
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(), metavar="DIR")
    parser.add_argument("--peers-python", metavar="PATH")
    parser.add_argument("--factors", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--losses", nargs="+", default=LOSSES, choices=LOSSES)
    parser.add_argument("--task", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        folder, library, loss, n_factors, n_epochs = options.task
        work(Path(folder), library, loss, int(n_factors), int(n_epochs))
        return
    for folder in sorted(options.data.iterdir()):
        if (folder / "train.txt").exists():
            compare(folder, options.peers_python, options.factors, options.losses)


if __name__ == "__main__":
    main()
