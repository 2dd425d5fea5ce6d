"""Whether a change moves a number: fitted models of a revision beside another.

    python tests/benchmarks/bits.py main           # the working tree beside main
    python tests/benchmarks/bits.py main my-branch

Each revision fits the same models in a process of its own. What a model has learnt is
compared bit by bit; of an array that differs, the largest relative difference is given.
"""

import argparse
import os
import pickle
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
from compare import ROOT, check_out

FITS = {  # name: estimator and parameters
    "als": ("ALSFactorizer", {}),
    "als, cg": ("ALSFactorizer", {"solver": "cg", "cg_steps": 2, "n_factors": 40}),
    "als, unweighted penalty": ("ALSFactorizer", {"weighted_regularization": False}),
    "als, no intercept": ("ALSFactorizer", {"fit_intercept": False}),
    "als, no penalty": ("ALSFactorizer", {"regularization": 0}),
    "als, unobserved": ("ALSFactorizer", {"unobserved_weight": 0.3}),
    "als, unobserved, cg": ("ALSFactorizer", {"unobserved_weight": 1, "solver": "cg"}),
    "als, non-negative": ("ALSFactorizer", {"non_negative": True}),
    "sgd": ("SGDFactorizer", {}),
    "sgd, plain": ("SGDFactorizer", {"optimizer": "sgd", "learning_rate": 0.01}),
    "sgd, momentum": (
        "SGDFactorizer",
        {"optimizer": "sgd", "learning_rate": 0.01, "momentum": 0.9},
    ),
    "sgd, nesterov": (
        "SGDFactorizer",
        {"optimizer": "sgd", "learning_rate": 0.01, "momentum": 0.9, "nesterov": True},
    ),
    "sgd, adam": ("SGDFactorizer", {"optimizer": "adam", "learning_rate": 0.01}),
    "sgd, batches": ("SGDFactorizer", {"batch_size": 7}),
    "sgd, unweighted penalty": ("SGDFactorizer", {"weighted_regularization": False}),
    "sgd, decay": ("SGDFactorizer", {"learning_rate_schedule": "exponential"}),
    "sgd, unshuffled": ("SGDFactorizer", {"shuffle": False}),
    "sgd, log loss": ("SGDFactorizer", {"loss": "log_loss"}),
    "sgd, early stopping": ("SGDFactorizer", {"early_stopping": True, "max_iter": 40}),
    "biased": ("BiasedMF", {}),
    "biased, rates": (
        "BiasedMF",
        {"bias_learning_rate": 0.01, "bias_regularization": 0.5},
    ),
    "biased, adam in batches": ("BiasedMF", {"optimizer": "adam", "batch_size": 9}),
    "biased, log loss": ("BiasedMF", {"loss": "log_loss"}),
    "biased, only biases": ("BiasedMF", {"n_factors": 0}),
    "biased, als": ("BiasedMF", {"solver": "als"}),
    "biased, als-cg": ("BiasedMF", {"solver": "als-cg", "n_factors": 40}),
    "biased, als, unobserved": ("BiasedMF", {"solver": "als", "unobserved_weight": 1}),
    "biased, als, non-negative": ("BiasedMF", {"solver": "als", "non_negative": True}),
    "autorec": ("AutoRec", {}),
    "autorec, users": ("AutoRec", {"axis": "user", "activation": "identity"}),
    "autorec, sgd": (
        "AutoRec",
        {"optimizer": "sgd", "learning_rate": 0.01, "weighted_regularization": False},
    ),
    "autorec, log loss": ("AutoRec", {"loss": "log_loss", "early_stopping": True}),
    "two tasks": ("MultiTaskMF", {}),
    "two tasks, separate": (
        "MultiTaskMF",
        {"shared_embeddings": False, "interaction_loss": "logistic"},
    ),
    "two tasks, layers": (
        "MultiTaskMF",
        {"hidden_layer_sizes": (20, 5), "early_stopping": True, "batch_size": 50},
    ),
    "ranking, softmax": ("RankingFactorizer", {}),
    "ranking, softmax, dot": (
        "RankingFactorizer",
        {"similarity": "dot", "popularity_exponent": 0.5, "n_negatives": 30},
    ),
    "ranking, bpr": (
        "RankingFactorizer",
        {"loss": "bpr", "optimizer": "adam", "learning_rate": 0.01},
    ),
    "ranking, warp": ("RankingFactorizer", {"loss": "warp", "early_stopping": True}),
    "ranking, ccl": (
        "RankingFactorizer",
        {"loss": "ccl", "optimizer": "sgd", "batch_size": 8},
    ),
    "bayesian": ("BayesianMF", {}),
    "bayesian, chains": ("BayesianMF", {"noise": "shared", "n_chains": 2}),
    "bayesian, ordinal": ("BayesianMF", {"likelihood": "ordinal"}),
}
N_FACTORS = 7
COMMON = {"random_state": 0, "n_jobs": 2}
ITERATIVE = {"max_iter": 4, "tol": None}
SAMPLED = {"n_samples": 4, "burn_in": 1}

# Numbers in place of "scale", the defaults, which depend on the ratings.
LITERAL = {"regularization": 0.12, "init_scale": 0.05}
STEPS = {"learning_rate": 0.05, "epsilon": 1e-8}
LITERAL = {
    "ALSFactorizer": LITERAL,
    "SGDFactorizer": LITERAL | STEPS,
    "BiasedMF": LITERAL | STEPS,
    "AutoRec": {"batch_size": 64},
    "MultiTaskMF": {"batch_size": 256},
    "RankingFactorizer": {"batch_size": 32},
    "BayesianMF": SAMPLED,
}


def parameters_of(name):
    """Return the parameters of a fit."""
    model, parameters = FITS[name]
    common = COMMON if LITERAL[model] is SAMPLED else COMMON | ITERATIVE
    return common | LITERAL[model] | {"n_factors": N_FACTORS} | parameters


def make_data():
    """Make ratings of which a pair occurs twice, with weights, and later ones."""
    from sklearn_mf.datasets import make_ratings

    X, y = make_ratings(120, 80, 2500, random_state=0)
    X, y = np.vstack([X, X[:5]]), np.append(y, y[:5][::-1])
    weights = np.random.RandomState(0).randint(1, 4, size=len(y)).astype(float)
    return X, y, weights


def fit_all():
    """Fit every model; give what each has learnt, by name.

    Returns
    -------
    dict of dict
        Fitted attributes of each model, after a fit and after what else it can do.
    """
    import sklearn_mf

    X, y, weights = make_data()
    later = (X[:200] + np.array([60, 0]), y[:200][::-1].copy())
    learnt = {}
    for name, (model, _) in FITS.items():
        parameters = parameters_of(name)
        estimator = getattr(sklearn_mf, model)(**parameters)
        shrink = 5.0 if parameters.get("loss") == "log_loss" else 1.0
        targets = y / shrink
        learnt[name] = describe(estimator.fit(X, targets), X)
        weighted = estimator.fit(X, targets, sample_weight=weights)
        learnt[f"{name}; weights"] = describe(weighted, X)
        single = estimator.fit(X, targets.astype(np.float32))
        learnt[f"{name}; float32"] = describe(single, X)
        estimator.fit(X, targets)
        again = (later[0], later[1] / shrink)
        if hasattr(estimator, "partial_fit") and model != "AutoRec":
            learnt[f"{name}; partial_fit"] = describe(estimator.partial_fit(*again), X)
            estimator.fit(X, targets)
        if hasattr(estimator, "fold_in_users") and shrink == 1:
            known = np.isin(again[0][:, 1], estimator.items_)
            folded = estimator.fold_in_users(again[0][known], again[1][known])
            learnt[f"{name}; fold_in"] = describe(folded, X)
        if model == "AutoRec":
            side = 1 if parameters.get("axis") == "user" else 0
            known = (again[0][:, side] < 120) if side == 0 else np.ones(200, bool)
            known &= np.isin(
                again[0][:, side], estimator.items_ if side else estimator.users_
            )
            fed = estimator.partial_fit(again[0][known], again[1][known])
            learnt[f"{name}; partial_fit"] = describe(fed, X)
        estimator.set_params(warm_start=True)
        learnt[f"{name}; warm start"] = describe(estimator.fit(*again), X)
    return learnt


def describe(model, X):
    """Return what a fitted model has learnt and says, as a flat dict of arrays."""
    found = {}

    def add(name, value):
        if isinstance(value, dict):
            for key, item in value.items():
                add(f"{name}[{key}]", item)
        elif isinstance(value, list) and value and isinstance(value[0], np.ndarray):
            for at, item in enumerate(value):
                add(f"{name}[{at}]", item)
        else:
            found[name] = np.array(value)

    for name, value in vars(model).items():
        if name.endswith("_"):
            add(name, value)
    found["predict"] = model.predict(X)
    found["transform"] = model.transform(X[:50])
    items, scores = model.recommend(model.users_[:20], n_items=5)
    found["recommend"] = np.where(items.mask, -1, items.data)
    found["scores"] = np.where(scores.mask, 0, scores.data)
    return found


def run(folder, cache):
    """Fit with the library in a folder, in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--fit", folder],
        env=os.environ | {"PYTHONPATH": str(folder), "NUMBA_CACHE_DIR": str(cache)},
        stdout=subprocess.PIPE,
        check=True,
    )
    return pickle.loads(done.stdout)


def print_differences(base, head):
    """Print each array that differs, and how many do."""
    n_same = n_other = 0
    for name in sorted(base.keys() | head.keys()):
        left, right = base.get(name), head.get(name)
        if left is None or right is None:
            print(f"{name}: only in {'head' if left is None else 'base'}")
            continue
        for key in sorted(left.keys() | right.keys()):
            a, b = left.get(key), right.get(key)
            if a is None or b is None:
                print(f"{name}: {key}: only in {'head' if a is None else 'base'}")
                n_other += 1
            elif a.dtype == b.dtype and a.tobytes() == b.tobytes():
                n_same += 1
            else:
                n_other += 1
                print(f"{name}: {key}: {describe_difference(a, b)}")
    print(f"{n_same} arrays are the same to the bit, {n_other} are not.")
    return n_other


def describe_difference(a, b):
    """Say how two arrays differ."""
    if a.shape != b.shape or a.dtype.kind not in "biuf" or b.dtype.kind not in "biuf":
        return f"{a.dtype} of shape {a.shape}, {b.dtype} of shape {b.shape}"
    scale = max(np.abs(a).max(initial=0), np.finfo(float).tiny)
    return f"differs by {np.abs(a.astype(float) - b).max() / scale:.1e} of the largest"


def main():
    """Print what differs; fail if something does."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("base", help="a revision to compare with")
    parser.add_argument("head", nargs="?", help="another; default: the working tree")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        learnt = []
        for name, revision in (("base", options.base), ("head", options.head)):
            folder = Path(temporary, name)
            folder.mkdir()
            if revision is not None:
                check_out(revision, folder)
            learnt.append(run(folder if revision else ROOT, Path(temporary, "cache")))
        sys.exit(bool(print_differences(*learnt)))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--fit"]:
        import sklearn_mf

        assert Path(sklearn_mf.__file__).is_relative_to(sys.argv[2])
        warnings.simplefilter("ignore")
        sys.stdout.buffer.write(pickle.dumps(fit_all()))
    else:
        main()
