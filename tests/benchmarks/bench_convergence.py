"""How near default fits end to where they would converge: the objective and the error.

    python tests/benchmarks/bench_convergence.py
    python tests/benchmarks/bench_convergence.py --ratings ml-latest-small/ratings.csv

A fit with the default `tol` is compared with the same fit without, of 300 iterations.
"missing" is the share of the way from the mean model's objective to the lowest one that
the default fit has not gone; "worse" by how much its test RMSE is higher, relative to
the other's. A fit is within the bounds if at most 2 % are missing (5 % by stochastic
gradient descent) and the error is at most 0.5 % higher. Penalties are in units of the
ratings' standard deviation.
"""

import argparse
import itertools
import warnings

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import train_test_split

from sklearn_mf import ALSFactorizer, BiasedMF, SGDFactorizer
from sklearn_mf.datasets import load_ratings, make_ratings

FACTORS = [1, 2, 5, 20, 50]
PENALTIES = [0.01, 0.05, 0.12, 0.2, 0.3, 0.5]
MODELS = {
    "ALSFactorizer": ALSFactorizer(),
    "ALSFactorizer, cg": ALSFactorizer(solver="cg"),
    "BiasedMF, als": BiasedMF(solver="als"),
    "BiasedMF, als-cg": BiasedMF(solver="als-cg"),
    **{
        f"{cls.__name__}, {optimizer}": cls(optimizer=optimizer)
        for cls in (SGDFactorizer, BiasedMF)
        for optimizer in ("adagrad", "adam", "sgd")
    },
}


def make_data(path):
    """Yield names, and X and y to learn from and to test on."""
    X, y = make_ratings(random_state=0)
    yield "made", train_test_split(X, y, random_state=0)
    yield "0/1", train_test_split(X, (y > 3.5).astype(float), random_state=0)
    dense = make_ratings(60, 40, 1500, random_state=0)
    yield "dense", train_test_split(*dense, random_state=0)
    if path:
        X, y = load_ratings(path)[:2]
        yield "films", train_test_split(X, y, random_state=0)


def measure(model, data):
    """Return what is missing, how much worse the error is, and the iterations."""
    X, X_test, y, y_test = data
    model = clone(model).fit(X, y)
    longer = clone(model).set_params(tol=None, max_iter=300).fit(X, y)
    baseline = np.sum((y - y.mean()) ** 2)
    lowest = min(longer.loss_curve_[-1], model.loss_curve_[-1])
    way = max(baseline - lowest, 1e-3 * baseline)
    missing = (model.loss_curve_[-1] - lowest) / way
    worse = model.score(X_test, y_test) / longer.score(X_test, y_test) - 1
    return missing, worse, model.n_iter_


def main():
    """Print a line for each fit outside of the bounds, and the shares of all fits."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ratings", help="a file of ratings, as a fourth data set")
    parser.add_argument("--models", default="", help="only those whose names hold this")
    options = parser.parse_args()
    warnings.simplefilter("ignore")

    chosen = {k: v for k, v in MODELS.items() if options.models in k}
    results = {name: [] for name in chosen}
    print("| data | model | d | λ | missing | worse | iterations |")
    print("|---|---|--:|--:|--:|--:|--:|")
    for data_name, data in make_data(options.ratings):
        scale = data[2].std()
        for name, d, penalty in itertools.product(chosen, FACTORS, PENALTIES):
            model = clone(chosen[name]).set_params(
                n_factors=d, regularization=penalty * scale, random_state=0
            )
            if isinstance(model, BiasedMF):
                model.set_params(bias_regularization=penalty)
            missing, worse, n_iter = measure(model, data)
            bound = 0.02 if getattr(model, "solver", "sgd") != "sgd" else 0.05
            within = missing <= bound and worse <= 0.005
            results[name].append((within, missing, worse, n_iter))
            if not within:
                print(
                    f"| {data_name} | {name} | {d} | {penalty} | {missing:.1%} "
                    f"| {worse:.2%} | {n_iter} |",
                    flush=True,
                )
    print("\n| model | within | missing, median | worse, median | iterations, median |")
    print("|---|--:|--:|--:|--:|")
    for name, rows in results.items():
        within, missing, worse, n_iter = np.array(rows).T
        print(
            f"| {name} | {within.sum():.0f} of {len(rows)} | {np.median(missing):.2%} "
            f"| {np.median(worse):.2%} | {np.median(n_iter):.0f} |"
        )


if __name__ == "__main__":
    main()
