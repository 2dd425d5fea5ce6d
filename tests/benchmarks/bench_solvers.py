"""The solvers of BiasedMF side by side: test RMSE and seconds of a fit.

    python tests/benchmarks/bench_solvers.py [--quick]

With default parameters, and with the regularization of lowest test RMSE in a small
grid, which flatters both solvers alike. Means over 3 folds, or for the largest data set
one split; seconds of one fit with all cores. MovieLens latest-small takes part if it
lies beside the checkout.
"""

import argparse
import itertools
import os
from pathlib import Path

import numpy as np
from sklearn.model_selection import KFold, ShuffleSplit, cross_validate

from sklearn_mf import BiasedMF
from sklearn_mf.datasets import make_ratings

MOVIELENS = Path(__file__).parents[3] / "shared/data/ml-latest-small/ratings.csv"
N_FACTORS = (10, 20, 50)
REGULARIZATION = (0.05, 0.08, 0.12, 0.16)
BIAS_REGULARIZATION = (None, 0.02)
FOLDS = KFold(3, shuffle=True, random_state=0)
SPLIT = ShuffleSplit(1, test_size=0.1, random_state=0)


def data_sets(quick):
    """Yield name, X, y and cross-validation of each data set."""
    if MOVIELENS.exists():
        table = np.loadtxt(MOVIELENS, delimiter=",", skiprows=1)
        yield (
            "MovieLens latest-small",
            table[:, :2].astype(np.int64),
            table[:, 2],
            FOLDS,
        )
    else:
        print("MovieLens latest-small is not beside the checkout: left out.\n")
    yield "50,000 made ratings", *make_ratings(random_state=0), FOLDS
    if not quick:
        made = make_ratings(6000, 4000, 1_000_000, random_state=0)
        yield "1,000,000 made ratings", *made, SPLIT


def measure(X, y, cv, **params):
    """Return test RMSE and seconds of a fit."""
    scores = cross_validate(BiasedMF(random_state=0, **params), X, y, cv=cv)
    return -scores["test_score"].mean(), np.median(scores["fit_time"])


def describe(result):
    """Return RMSE and seconds as text."""
    rmse, seconds = result
    return f"{rmse:9.4f}{seconds:8.2f} s"


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="without the largest data")
    options = parser.parse_args()
    default = BiasedMF()
    grid = list(itertools.product(REGULARIZATION, BIAS_REGULARIZATION))
    few = make_ratings(n_ratings=1000, random_state=0)
    for solver in ("als", "sgd"):
        BiasedMF(solver=solver).fit(*few)  # compiles
    for name, X, y, cv in data_sets(options.quick):
        print(
            f"{name}\n{'solver':10}{'d':>4}{'default':>19}{'tuned':>19}  with λ and λ_b"
        )
        best = {}
        for solver, d in itertools.product(("als", "sgd"), N_FACTORS):
            usual = measure(X, y, cv, solver=solver, n_factors=d)
            tuned = {
                (penalty, bias): measure(
                    X,
                    y,
                    cv,
                    solver=solver,
                    n_factors=d,
                    regularization=penalty,
                    bias_regularization=bias,
                )
                for penalty, bias in grid
            }
            chosen = min(tuned, key=tuned.get)
            tuned = tuned[chosen]
            best[solver] = min(best.get(solver, (np.inf,)), (*tuned, d, *chosen))
            print(f"{solver:10}{d:4}{describe(usual)}{describe(tuned)}  ", end="")
            print("{}, {}".format(*chosen), flush=True)
        for solver, (rmse, seconds, d, *chosen) in best.items():
            print(f"best {solver:5}{d:4}{'':19}{describe((rmse, seconds))}  ", end="")
            print("{}, {}".format(*chosen))
        print()
    print(
        f"The default is solver={default.solver!r}, regularization="
        f"{default.regularization}, bias_regularization={default.bias_regularization}; "
        f"{os.cpu_count()} cores."
    )


if __name__ == "__main__":
    main()
