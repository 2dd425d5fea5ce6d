"""Implicit feedback beside irspack and implicit: seconds to the same objective.

    python tests/benchmarks/bench_implicit.py --peers-python PATH [--pairs train.txt]
        [--factors 64 1024] [--seconds 60]

PATH is an interpreter that has the libraries, see requirements-peers.txt. The pairs
are those of a file of lines "user item item …", or 900,000 made ones with a long tail.
All fits are in single precision, on two threads, from their own random starts, and each
runs in a process of its own for about as many seconds as are allowed, at least two
sweeps.

irspack and sklearn_mf minimise the objective of Rendle et al. (2022), whose penalty
grows with the counts; implicit and sklearn_mf that of Hu et al. (2008), with one
penalty for all ids. After each sweep the objective is computed from the factors,
outside of the time. "Seconds" is until it was within 0.5 % of the lowest that any fit
of the same objective reached at this number of factors, and "× ours" that over the time
of `ALSFactorizer`. The first sweep of a library is not timed twice: what it compiles is
compiled before.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
from scipy import sparse

N_SWEEPS, THREADS, NEAR = 16, 2, 1.005
ALPHA_0, PENALTY = 0.01, 0.01  # of all pairs, and with the counts
ALPHA, PLAIN_PENALTY = 40.0, 20.0  # of the pairs with a count, beside 1
FITS = {
    "by counts": [
        ("sklearn_mf", "cholesky"),
        ("sklearn_mf", "cg"),
        ("irspack", "CHOLESKY"),
        ("irspack", "CG"),
        ("irspack", "IALSPP"),
    ],
    "plain": [
        ("sklearn_mf", "cholesky"),
        ("sklearn_mf", "cg"),
        ("implicit", "cholesky"),
        ("implicit", "cg"),
    ],
}


# ----------------------------------------------------------------- in a worker process


def objective(R, P, Q, kind):
    """Return the objective; R holds the pairs."""
    P, Q = (np.asarray(rows, np.float64) for rows in (P, Q))
    users, items = R.nonzero()
    x = np.concatenate(
        [
            (P[users[at : at + 2**16]] * Q[items[at : at + 2**16]]).sum(axis=1)
            for at in range(0, len(users), 2**16)
        ]
    )
    of_all = ((P.T @ P) * (Q.T @ Q)).sum()
    squares = [(rows**2).sum(axis=1) for rows in (P, Q)]
    counts = [
        np.bincount(users, minlength=len(P)),
        np.bincount(items, minlength=len(Q)),
    ]
    if kind == "plain":
        loss = ALPHA * ((x - 1) ** 2).sum() + of_all - (x**2).sum()
        return loss + PLAIN_PENALTY * sum(map(np.sum, squares))
    loss = ((x - 1) ** 2).sum() + ALPHA_0 * of_all
    weights = counts[0] + ALPHA_0 * len(Q), counts[1] + ALPHA_0 * len(P)
    return loss + PENALTY * sum(w @ s for w, s in zip(weights, squares, strict=True))


class Clock:
    """Notes the objective after each sweep, and the time less that for noting."""

    def __init__(self, R, kind, seconds):
        self.R, self.kind, self.allowed = R, kind, seconds
        self.notes, self.spent, self.start = [], 0.0, time.perf_counter()

    def note(self, P, Q):
        """Return whether there is time for another sweep."""
        self.spent += time.perf_counter() - self.start
        self.notes.append((self.spent, objective(self.R, P, Q, self.kind)))
        self.start = time.perf_counter()
        n = len(self.notes)
        return n < 2 or (n < N_SWEEPS and self.spent < self.allowed)


class Sweeps:
    """A callback of `ALSFactorizer` that notes each sweep."""

    def __init__(self, clock):
        self.clock = clock

    def setup(self, estimator, context):
        """Do nothing."""

    def teardown(self, estimator, context):
        """Do nothing."""

    def on_fit_task_begin(self, estimator, context):
        """Begin the time of a sweep."""
        self.clock.start = time.perf_counter()

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        """Return whether the fit is to stop."""
        if context.task_name != "iteration":
            return False
        factors = fitted_estimator.user_factors_, fitted_estimator.item_factors_
        return not self.clock.note(*factors)


def fit_ours(R, d, solver, clock):
    """Fit `ALSFactorizer`."""
    from sklearn_mf import ALSFactorizer

    X, n = np.argwhere(R), R.nnz
    options = {"unobserved_weight": ALPHA_0, "regularization": PENALTY}
    y, weights = np.full(n, 1 / (1 + ALPHA_0)), np.full(n, 1 + ALPHA_0)
    if clock.kind == "plain":
        options = {"unobserved_weight": 1.0, "regularization": PLAIN_PENALTY}
        y, weights = np.ones(n), np.full(n, ALPHA)
    model = ALSFactorizer(
        d,
        solver=solver,
        fit_intercept=False,
        weighted_regularization=clock.kind != "plain",
        max_iter=N_SWEEPS,
        tol=None,
        n_jobs=THREADS,
        random_state=0,
        **options,
    )
    y = y.astype(np.float32)
    part = X[:, 0] < 200
    model.set_params(max_iter=1).fit(X[part], y[part], weights[part])  # compiles
    model.set_params(max_iter=N_SWEEPS).set_callbacks(Sweeps(clock))
    model.fit(X, y, weights)


def fit_irspack(R, d, solver, clock):
    """Fit irspack's `IALSRecommender`, sweep by sweep."""
    from irspack import IALSRecommender

    model = IALSRecommender(
        R,
        n_components=d,
        alpha0=ALPHA_0,
        reg=PENALTY,
        solver_type=solver,
        n_threads=THREADS,
    )
    trainer = model._create_trainer()
    clock.start = time.perf_counter()
    while True:
        trainer.run_epoch()
        if not clock.note(trainer.core_trainer.user, trainer.core_trainer.item):
            return


def fit_implicit(R, d, solver, clock):
    """Fit implicit's `AlternatingLeastSquares`."""
    from implicit.cpu.als import AlternatingLeastSquares

    model = AlternatingLeastSquares(
        d,
        regularization=PLAIN_PENALTY,
        alpha=ALPHA,
        use_cg=solver == "cg",
        iterations=N_SWEEPS,
        num_threads=THREADS,
        random_state=0,
    )

    class EnoughError(Exception):
        pass

    def note(iteration, seconds, loss):
        clock.start = time.perf_counter() - seconds
        if not clock.note(model.user_factors, model.item_factors):
            raise EnoughError

    with contextlib.suppress(EnoughError):
        model.fit(R.astype(np.float32), show_progress=False, callback=note)


def work(path, library, solver, d, kind, seconds):
    """Fit in this process, and print what the clock noted as a line of JSON."""
    R = sparse.load_npz(path)
    clock = Clock(R, kind, float(seconds))
    fit = {"sklearn_mf": fit_ours, "irspack": fit_irspack, "implicit": fit_implicit}
    fit[library](R, int(d), solver, clock)
    print(json.dumps(clock.notes))


# ----------------------------------------------------------------- in the main process


def make_pairs():
    """Make pairs whose users and items have a long tail, by a model of 30 tastes."""
    rng = np.random.default_rng(0)
    n_users, n_items, n = 40_000, 30_000, 900_000
    user_share = rng.pareto(1.5, n_users) + 0.3
    users = rng.choice(n_users, n, p=user_share / user_share.sum())
    tastes = rng.integers(30, size=(n_users, 3))[users, rng.integers(3, size=n)]
    ranks = np.minimum(rng.pareto(0.9, n) * 40, n_items / 30 - 1).astype(np.int64)
    items = ranks * 30 + tastes
    R = sparse.csr_array((np.ones(n), (users, items)), (n_users, n_items))
    R.sum_duplicates()
    R.data[:] = 1
    return R


def read_matrix(path):
    """Read lines of a user and the items of that user."""
    from bench_tables import read_pairs  # which needs sklearn_mf, unlike the peers

    users, items = read_pairs(path).T
    return sparse.csr_array((np.ones(len(users)), (users, items)))


def run_worker(python, *arguments):
    """Fit in a fresh process; return its notes, or None."""
    limits = {f"{pool}_NUM_THREADS": "1" for pool in ("OMP", "OPENBLAS", "MKL")}
    done = subprocess.run(
        [python, __file__, "--task", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | limits,
    )
    if done.returncode:
        print((done.stderr.splitlines() or ["?"])[-1], file=sys.stderr)
        return None
    return json.loads(done.stdout.splitlines()[-1])


def compare(path, kind, d, peers_python, seconds):
    """Print a line for each fit of an objective."""
    runs = {}
    for library, solver in FITS[kind]:
        python = sys.executable if library == "sklearn_mf" else peers_python
        if python:  # peers are left out where none is named
            notes = run_worker(python, path, library, solver, d, kind, seconds)
            if notes:
                runs[library, solver] = notes
    target = NEAR * min(loss for notes in runs.values() for _, loss in notes)
    reached = {
        run: next((second for second, loss in notes if loss <= target), None)
        for run, notes in runs.items()
    }
    ours = reached.get(("sklearn_mf", "cholesky"))
    for run, notes in runs.items():
        each = median(np.diff([0.0, *(second for second, _ in notes)]))
        second = reached[run]
        shown = "–" if second is None else f"{second:.2f}"
        ratio = "–" if second is None or not ours else f"{second / ours:.2f}"
        print(
            f"|{kind:9}|{d:5}|{run[0]:10}|{run[1]:8}|{each:9.3f}|{len(notes):6}|"
            f"{shown:>8}|{ratio:>6}|{min(loss for _, loss in notes):12.1f}|",
            flush=True,
        )


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers-python", metavar="PATH")
    parser.add_argument("--pairs", metavar="FILE", type=Path)
    parser.add_argument("--factors", type=int, nargs="+", default=[64, 128, 256, 512])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--task", nargs=6, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        work(*options.task)
        return
    R = read_matrix(options.pairs) if options.pairs else make_pairs()
    print(f"{R.shape[0]:,} users, {R.shape[1]:,} items, {R.nnz:,} pairs\n")
    print(
        "|penalty  |    d|library   |solver  |s a sweep|sweeps|seconds|× ours|lowest|"
    )
    print("|---|--:|---|---|--:|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/pairs.npz"
        sparse.save_npz(path, R)
        for d in options.factors:
            for kind in FITS:
                compare(path, kind, d, options.peers_python, options.seconds)


if __name__ == "__main__":
    main()
