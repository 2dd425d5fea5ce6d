"""Compile in advance what a first fit would compile.

For images of containers, and wherever the first fit is not to wait::

    python -m sklearn_mf.precompile
    python -m sklearn_mf.precompile --estimators ALSFactorizer BiasedMF --dtypes float32

It fits, predicts, recommends and folds in with a few synthetic ratings. numba keeps the
compiled code in its cache: in the directory NUMBA_CACHE_DIR if the environment variable
is set, else beside the package, or in the user's cache directory where that is not
writable. Later processes read it there if they run on the same kind of processor.
"""

import argparse
import time
import warnings

import numpy as np

from sklearn_mf._load import MODELS
from sklearn_mf.datasets import make_ratings

# Options with which an estimator runs other compiled functions than by default.
_IMPLICIT = {"feedback": "implicit"}
_FEATURES = {"user_features": "rated", "item_features": "rated"}
OPTIONS: dict[str, list[dict]] = {
    "ALSFactorizer": [
        {"solver": "cg"},
        {"non_negative": True},
        {"regularization": 0.0},
        {"unobserved_weight": 1.0},
        _IMPLICIT,
        _IMPLICIT | {"solver": "cg"},
        _FEATURES,
    ],
    "AutoRec": [{"optimizer": "sgd"}, {"axis": "user"}],
    "BayesianMF": [{"noise": "shared"}, {"likelihood": "ordinal"}, _FEATURES],
    "BayesianMFClassifier": [{"noise": "shared"}, _FEATURES],
    "BiasedMF": [
        {"solver": "als"},
        {"solver": "als-cg"},
        {"solver": "als"} | _IMPLICIT,
        {"optimizer": "adam"},
        {"optimizer": "sgd"},
        {"batch_size": 10},
        {"loss": "log_loss"},
        _FEATURES,
    ],
    "MFClassifier": [{"optimizer": "adam"}, {"n_factors": 0}, _FEATURES],
    "MultiTaskMF": [{"interaction_loss": "logistic"}],
    "RankingFactorizer": [
        {"loss": "bpr"},
        {"loss": "warp"},
        {"loss": "ccl"},
        {"similarity": "dot", "optimizer": "adam"},
        {"optimizer": "sgd"},
    ],
    "SGDFactorizer": [
        {"optimizer": "adam"},
        {"optimizer": "sgd"},
        {"batch_size": 10},
        {"loss": "log_loss"},
        _FEATURES,
    ],
}


def compile_estimator(name: str, dtype: str, *, all_options: bool = True) -> None:
    """Compile what an estimator needs for ratings of a float type.

    Parameters
    ----------
    name : str
        The name of the estimator's class.
    dtype : {"float32", "float64"}
        The type of the ratings.
    all_options : bool, default=True
        Whether to compile for other solvers, optimizers and losses too. False: for the
        default parameters only.

    Examples
    --------
    >>> from sklearn_mf.precompile import compile_estimator
    >>> compile_estimator("SGDFactorizer", "float32", all_options=False)
    """
    X, y = make_ratings(60, 30, 900, random_state=0)
    X = np.vstack([X, [[60, 0], [0, 30]]])  # a user and an item with one rating each
    y = ((np.append(y, [1, 5]) - 1) / 4).astype(dtype)
    if name.endswith("Classifier"):
        y = np.where(y > 0.6, 1, 0).astype(dtype)
    cls = MODELS[name]
    short = {"max_iter": 2, "n_samples": 2, "burn_in": 0, "random_state": 0}
    for options in [{}, *(OPTIONS.get(name, []) if all_options else [])]:
        known = cls().get_params().keys() & short.keys()
        model = cls(**{key: short[key] for key in known} | options)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # two iterations do not converge
            model.fit(X, y)
            model.predict(X)
            model.recommend(model.users_, n_items=3)
            if hasattr(model, "similar_items"):
                model.similar_items(model.items_[:5], n_items=3)
            if hasattr(model, "fold_in_users") and options.get("loss") != "log_loss":
                model.recommend(history=(X[:50], y[:50]), n_items=3)
                model.fold_in_users(X[:50], y[:50])
            if hasattr(model, "partial_fit"):
                model.partial_fit(X, y)


def main(argv: list[str] | None = None) -> None:
    """Run the command; `argv` are the arguments of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m sklearn_mf.precompile",
        description="Compile in advance what first fits would compile.",
    )
    parser.add_argument(
        "--estimators",
        nargs="+",
        default=sorted(MODELS),
        choices=sorted(MODELS),
        metavar="NAME",
        help="for which estimators (default: all)",
    )
    parser.add_argument(
        "--dtypes",
        nargs="+",
        default=["float64", "float32"],
        choices=["float64", "float32"],
        help="for ratings of which types (default: both)",
    )
    parser.add_argument(
        "--defaults-only",
        action="store_true",
        help="for default parameters only, not for other solvers and losses",
    )
    args = parser.parse_args(argv)
    for name in args.estimators:
        for dtype in args.dtypes:
            begin = time.perf_counter()
            compile_estimator(name, dtype, all_options=not args.defaults_only)
            print(f"{name}, {dtype}: {time.perf_counter() - begin:.1f} s", flush=True)


if __name__ == "__main__":
    main()
