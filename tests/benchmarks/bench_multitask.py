"""MultiTaskMF beside the same model in PyTorch: seconds an epoch, and test errors.

    python tests/benchmarks/bench_multitask.py --ratings ratings.csv [--splits 4]

Both take turns in one process, on the same ratings in float32, with 5% held out:
d = 32, one hidden layer of 64, batches of 256, Adam with a learning rate of 0.001.
PyTorch's is the usual program: modules, autograd, and a loop over batches, without a
penalty; ours has its default penalties. Seconds are the median of the epochs, the ratio
is that of the fastest ones, and errors are means over splits. Without --ratings it runs
on synthetic ratings of the shape of MovieLens 100K.

Needs PyTorch in the same environment: see requirements-peers.txt.
"""

import argparse
import itertools
import os
import time

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn import functional

from sklearn_mf import MultiTaskMF
from sklearn_mf.datasets import load_ratings, make_ratings
from sklearn_mf.metrics import mean_reciprocal_rank_of_all

D, HIDDEN, BATCH, RATE = 32, 64, 256, 0.001
WEIGHTS = [(0.99, 0.01), (0.5, 0.5)]  # λ_F and λ_R
CONFIGURATIONS = list(itertools.product((True, False), WEIGHTS))


class Network(nn.Module):
    """The model in PyTorch: embeddings, dot products, and a perceptron."""

    def __init__(self, n_users, n_items, shared):
        super().__init__()
        self.users, self.items = self._embed(n_users), self._embed(n_items)
        self.user_biases = self._embed(n_users, width=1)
        self.item_biases = self._embed(n_items, width=1)
        self.rating_users, self.rating_items = self.users, self.items
        if not shared:
            self.rating_users, self.rating_items = (
                self._embed(n_users),
                self._embed(n_items),
            )
        self.perceptron = nn.Sequential(
            nn.Linear(3 * D, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1)
        )

    def _embed(self, n_rows, width=D):
        table = nn.Embedding(n_rows, width)
        nn.init.normal_(table.weight, std=1 / D if width > 1 else 0)
        return table

    def score(self, u, i):
        """Return the scores of interactions."""
        biases = self.user_biases(u) + self.item_biases(i)
        return (self.users(u) * self.items(i)).sum(1) + biases.squeeze(1)

    def rate(self, u, i):
        """Return the ratings."""
        p, q = self.rating_users(u), self.rating_items(i)
        return self.perceptron(torch.cat([p, q, p * q], dim=1)).squeeze(1)

    def rank(self):
        """Return the scores of all pairs, an ndarray of shape (n_users, n_items)."""
        with torch.no_grad():
            scores = self.users.weight @ self.items.weight.T
            return (
                scores + self.user_biases.weight + self.item_biases.weight.T
            ).numpy()


def fit_pytorch(X, y, X_test, y_test, shared, weights, epochs):
    """Return seconds, test MSE and MRR after each epoch."""
    n_users, n_items = (max(X[:, k].max(), X_test[:, k].max()) + 1 for k in (0, 1))
    torch.manual_seed(0)
    model = Network(n_users, n_items, shared)
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    users, items = torch.from_numpy(X.T.copy())
    ratings = torch.from_numpy(y)
    for _ in range(epochs):
        start = time.perf_counter()
        for batch in torch.randperm(len(y)).split(BATCH):
            u, i, r = users[batch], items[batch], ratings[batch]
            other = torch.randint(n_items, (len(batch),))
            margin = model.score(u, i) - model.score(u, other)
            loss = -weights[0] * functional.logsigmoid(margin).mean()
            loss = loss + weights[1] * functional.mse_loss(model.rate(u, i), r)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        seconds = time.perf_counter() - start
        with torch.no_grad():
            predictions = model.rate(*torch.from_numpy(X_test.T.copy())).numpy()
        yield (
            seconds,
            np.mean((predictions - y_test) ** 2),
            reciprocal_rank(model.rank(), X, X_test),
        )


def reciprocal_rank(scores, X, X_test):
    """Return the mean reciprocal rank of the test items, training items left out."""
    scores[tuple(X.T)] = -np.inf
    own = scores[tuple(X_test.T)]
    ranks = 1 + (scores[X_test[:, 0]] > own[:, np.newaxis]).sum(axis=1)
    sums, counts = (
        np.bincount(X_test[:, 0], values) for values in (1 / ranks, np.ones(len(ranks)))
    )
    return np.mean(sums[counts > 0] / counts[counts > 0])


class Callback:
    """What the two callbacks share: they note something after each epoch."""

    def __init__(self):
        self.notes = []

    def setup(self, estimator, context):
        """Do nothing."""

    teardown = on_fit_task_begin = setup


class Stopwatch(Callback):
    """Notes the seconds of each epoch. It must come first."""

    def on_fit_task_begin(self, estimator, context):
        """Start."""
        self.start = time.perf_counter()

    def on_fit_task_end(self, estimator, context):
        """Stop."""
        if context.task_name == "iteration":
            self.notes.append(time.perf_counter() - self.start)


class Tester(Callback):
    """Notes test MSE and mean reciprocal rank."""

    def __init__(self, X_test, y_test):
        super().__init__()
        self.test = X_test, y_test

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        """Test."""
        if context.task_name == "iteration":
            X, y = self.test
            mse = np.mean((fitted_estimator.predict(X) - y) ** 2)
            rank = mean_reciprocal_rank_of_all(fitted_estimator, X, y)
            self.notes.append((mse, rank))


def fit_ours(X, y, X_test, y_test, shared, weights, epochs):
    """Return what `fit_pytorch` gives."""
    model = MultiTaskMF(
        shared_embeddings=shared,
        factorization_weight=weights[0],
        regression_weight=weights[1],
        max_iter=epochs,
        tol=None,
        random_state=0,
    )
    watch, tester = Stopwatch(), Tester(X_test, y_test)
    model.set_callbacks(watch, tester).fit(X, y)
    return [
        (seconds, *errors)
        for seconds, errors in zip(watch.notes, tester.notes, strict=True)
    ]


def describe(name, curves):
    """Return a line of the table; the first epoch, which warms up, has no time."""
    best = [curve[np.argmin(curve[:, 1])] for curve in curves]
    epochs = [np.argmin(curve[:, 1]) + 1 for curve in curves]
    last = np.mean([curve[-1] for curve in curves], axis=0)
    (_, mse, rank), seconds = np.mean(best, axis=0), median_seconds(curves)
    return (
        f"{name:12}{seconds:9.4f} s{mse:10.4f} @{np.mean(epochs):5.1f}"
        f"{rank:8.4f}{last[1]:12.4f}{last[2]:8.4f}"
    )


def median_seconds(curves):
    """Return the median of the epochs that do not warm up."""
    return np.median([curve[1:, 0] for curve in curves])


def least_seconds(curves):
    """Return the fastest epoch, which other programs on the machine slowed least."""
    return np.min([curve[1:, 0] for curve in curves])


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ratings", metavar="FILE", help="user, item, rating, ...")
    parser.add_argument("--epochs", type=int, default=35)
    parser.add_argument("--splits", type=int, default=1)
    options = parser.parse_args()
    X, y = (
        load_ratings(options.ratings)
        if options.ratings
        else make_ratings(943, 1682, 100_000, random_state=0)
    )
    X = np.column_stack([np.unique(ids, return_inverse=True)[1] for ids in X.T])
    y = y.astype(np.float32)
    splits = [
        [parts[k] for k in (0, 2, 1, 3)]
        for parts in (
            train_test_split(X, y, test_size=0.05, random_state=seed)
            for seed in range(options.splits)
        )
    ]
    warm = [part[:100] for part in splits[0]]
    fit_ours(*warm, True, (0.5, 0.5), 1)  # compiles
    print(
        f"{len(splits[0][1])} ratings, {options.epochs} epochs, {options.splits} "
        f"splits, {os.cpu_count()} cores, PyTorch {torch.__version__} with "
        f"{torch.get_num_threads()} threads\n\n{'':12}"
        f"{'an epoch':>11}{'best MSE':>10} @epoch{'MRR':>8}{'MSE at end':>12}{'MRR':>8}"
    )
    for shared, weights in CONFIGURATIONS:
        embeddings = "shared" if shared else "separate"
        print(f"{embeddings}, λ_F = {weights[0]}, λ_R = {weights[1]}")
        curves = {"sklearn_mf": [], "PyTorch": []}
        for X, y, X_test, y_test in splits:
            arguments = X, y, X_test, y_test, shared, weights, options.epochs
            for name, fit in (("sklearn_mf", fit_ours), ("PyTorch", fit_pytorch)):
                curves[name].append(np.array(list(fit(*arguments))))
        for name, of_splits in curves.items():
            print(describe(name, of_splits))
        ours, theirs = map(least_seconds, curves.values())
        print(f"PyTorch takes {theirs / ours:.1f} times as long\n", flush=True)


if __name__ == "__main__":
    main()
