"""Missing ratings as zeros beside dense NumPy; implicit feedback beside implicit.

    python tests/benchmarks/bench_unobserved.py [--peers-python PATH] [--quick]

The first table fits a table of 943 × 1,682 cells, 90,570 of them rated and the others
read as zeros, λ = 0.01: ALSFactorizer with ``unobserved_weight=1``, and two dense
solutions in NumPy, from the same start. "Row by row" builds and solves the normal
equations anew for each row, as the textbook writes it; "at once" solves one system for
all rows of a side. The mean squared error over all cells is compared after each sweep.

The second fits counts of made implicit feedback and compares the objective with that of
the library implicit. PATH is an interpreter that has it, see requirements-peers.txt;
without it this part is left out.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from statistics import median

import numpy as np
from bench_sgd import Stamps

SHAPE, N_RATINGS, PENALTY = (943, 1682), 90_570, 0.01
N_FACTORS = (2, 15, 100)
IMPLICIT = {"d": 10, "sweeps": 100, "penalty": 5.0}
FIT_IMPLICIT = """
import sys
import numpy as np
from scipy.sparse import csr_matrix
from implicit.cpu.als import AlternatingLeastSquares

path, d, penalty, sweeps = sys.argv[1:]
data = np.load(path + "/data.npz")
als = AlternatingLeastSquares(
    int(d), regularization=float(penalty), iterations=int(sweeps), use_cg=False,
    dtype=np.float64, random_state=0,
)
users, items = data["X"].T
als.fit(csr_matrix((data["c"], (users, items))), show_progress=False)
np.savez(path + "/factors.npz", P=als.user_factors, Q=als.item_factors)
"""


def solve_row_by_row(R, Q):
    """Solve for each row of R by normal equations of its own."""
    identity = np.eye(Q.shape[1])
    return np.array([np.linalg.solve(Q.T @ Q + PENALTY * identity, Q.T @ r) for r in R])


def solve_at_once(R, Q):
    """Solve for all rows of R by their common normal equations."""
    return np.linalg.solve(Q.T @ Q + PENALTY * np.eye(Q.shape[1]), Q.T @ R.T).T


def time_sweeps(solve, R, P, sweeps):
    """Return the mean squared error of all cells after each sweep, and its seconds."""
    errors, seconds = [], []
    for _ in range(sweeps):
        start = time.perf_counter()
        Q = solve(R.T, P)
        P = solve(R, Q)
        seconds.append(time.perf_counter() - start)
        errors.append(np.square(R - P @ Q.T).mean())
    return errors, median(seconds)


class Errors:
    """A callback that takes the mean squared error over all cells after each sweep."""

    def __init__(self, R):
        self.R = R
        self.errors = []

    def setup(self, estimator, context):
        """Do nothing."""

    teardown = on_fit_task_begin = setup

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        """Take the error."""
        if context.task_name == "iteration":
            P, Q = fitted_estimator.user_factors_, fitted_estimator.item_factors_
            self.errors.append(np.square(self.R - P @ Q.T).mean())


def compare_missing_as_zero(sweeps):
    """Print the first table."""
    from sklearn_mf import ALSFactorizer, as_matrix
    from sklearn_mf.datasets import make_ratings

    R = as_matrix(*make_ratings(*SHAPE, N_RATINGS, random_state=0), shape=SHAPE)
    cells = R.toarray()
    print(
        f"Missing as zero, {SHAPE[0]:,} × {SHAPE[1]:,}, {R.nnz:,} ratings, λ = "
        f"{PENALTY}, {sweeps} sweeps; milliseconds a sweep\n\n"
        "|  d| sklearn_mf| row by row| × ours| at once| × ours| MSE after the last| "
        "largest relative difference|\n|--:|--:|--:|--:|--:|--:|--:|--:|"
    )
    for d in N_FACTORS:
        als = ALSFactorizer(
            d,
            regularization=PENALTY,
            weighted_regularization=False,
            unobserved_weight=1,
            fit_intercept=False,
            max_iter=sweeps,
            tol=None,
            random_state=0,
        )
        als.fit(R)  # compiles
        stamps, ours = Stamps(), Errors(cells)
        als.set_callbacks(stamps, ours).fit(R)
        items, users = (np.unique(codes) for codes in reversed(R.nonzero()))
        rng, start = np.random.RandomState(0), np.zeros((SHAPE[0], d))
        rng.normal(size=(len(items), d))  # the items are drawn first
        start[users] = rng.normal(scale=als.init_scale, size=(len(users), d))
        slow = time_sweeps(solve_row_by_row, cells, start, sweeps)
        quick = time_sweeps(solve_at_once, cells, start, sweeps)
        difference = np.abs(np.divide(ours.errors, slow[0]) - 1).max()
        own = median(np.subtract(stamps.ends, stamps.begins))
        print(
            f"|{d:3}|{1e3 * own:11.2f}|{1e3 * slow[1]:11.1f}|{slow[1] / own:7.0f}"
            f"|{1e3 * quick[1]:8.1f}|{quick[1] / own:7.1f}|{ours.errors[-1]:19.6f}"
            f"|{difference:28.1e}|",
            flush=True,
        )


def compare_implicit(peers_python):
    """Print the objective of both libraries on implicit feedback."""
    from sklearn_mf import ALSFactorizer
    from sklearn_mf.datasets import make_ratings

    X, y = make_ratings(600, 400, 20_000, random_state=0)
    confidence = 1 + 2.0 * np.round(np.exp(y - 2))
    d, sweeps, penalty = IMPLICIT["d"], IMPLICIT["sweeps"], IMPLICIT["penalty"]
    als = ALSFactorizer(
        d,
        regularization=penalty,
        weighted_regularization=False,
        unobserved_weight=1,
        fit_intercept=False,
        max_iter=sweeps,
        tol=None,
        random_state=0,
    ).fit(X, np.ones(len(X)), sample_weight=confidence)
    with tempfile.TemporaryDirectory() as folder:
        np.savez(f"{folder}/data.npz", X=X, c=confidence)
        done = subprocess.run(
            [peers_python, "-c", FIT_IMPLICIT, folder, *map(str, (d, penalty, sweeps))],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            print(f"\nimplicit is left out: {done.stderr.splitlines()[-1]}")
            return
        factors = np.load(f"{folder}/factors.npz")
    P, Q = factors["P"], factors["Q"]
    scores = P @ Q.T
    seen = scores[*X.T]
    theirs = np.square(scores).sum() - np.square(seen).sum()
    theirs += confidence @ np.square(1 - seen)
    theirs += penalty * (np.square(P).sum() + np.square(Q).sum())
    ours = als.loss_curve_[-1]
    print(
        f"\nImplicit feedback, 600 × 400, 20,000 pairs, d = {d}, λ = {penalty}, "
        f"{sweeps} sweeps: objective {ours:.3f}, implicit's {theirs:.3f}, "
        f"relative difference {abs(ours / theirs - 1):.1e}"
    )


def main():
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers-python", metavar="PATH", default=sys.executable)
    parser.add_argument("--quick", action="store_true", help="5 sweeps instead of 91")
    options = parser.parse_args()
    compare_missing_as_zero(5 if options.quick else 91)
    compare_implicit(options.peers_python)


if __name__ == "__main__":
    main()
