"""Accuracy of every estimator beside other libraries, default and tuned, on MovieLens.

    python tests/benchmarks/bench_accuracy.py RATINGS [--peers-python PATH]
        [--folds 5] [--models BiasedMF SVD ...]

RATINGS is a file of MovieLens, or the folder that holds it. PATH is an interpreter that
has the other libraries, see requirements-peers.txt; a line says which of them it cannot
import. All models are fitted in processes of their own, after a fit of few ratings that
imports and compiles what there is, and give predictions or lists, which are scored
here, by the same code for all libraries.

The first table is of predicted ratings: test RMSE, test MAE and seconds of a fit, means
over ``KFold(5, shuffle=True, random_state=0)``. Predictions are clipped to the range of
the training ratings. The second is of recommended lists, learnt from who rated what
without the stars: the first fold of ``RatingKFold(5, random_state=0)``. Ten items that
a user has not rated in the training part are compared with those that the user rated in
the test part.

A tuned model has the parameters that are best among the grids below on a fifth of the
training ratings of the first fold, held out for this. The test ratings choose nothing.
Seconds are those of a fit alone, with the encoding of the ids, in as many threads as a
library takes by itself.
"""

import argparse
import importlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from bench_als import describe_machine

K, FEW = 10, 2000
FILES = "ratings.csv", "ratings.dat", "u.data"  # names that MovieLens gives

# Models by library, their options beside the defaults, and the grid of the tuned ones.
OURS, IMPLICIT = "sklearn_mf", {"feedback": "implicit"}
STARS = {"n_factors": (20, 40, 80), "regularization": (0.1, 0.12, 0.15, 0.2)}
AUTOREC = {"n_factors": (50, 100), "regularization": (0.2, 0.3)}
MULTI_TASK = {"n_factors": (32, 64), "regression_regularization": (0.002, 0.01)}
SVD = {"n_factors": (50, 200), "n_epochs": (20, 100), "reg_all": (0.05, 0.1, 0.15)}
LENSKIT = {"embedding_size": (20, 50, 100), "regularization": (0.1, 0.2)}
CMF = {"k": (20, 40, 80), "lambda_": (5, 10, 15)}
RATERS = [
    ("NumPy", "mean", {}, {}),
    (OURS, "BiasedMF", {}, STARS),
    (OURS, "BiasedMF", {"solver": "als"}, STARS),
    (OURS, "ALSFactorizer", {}, STARS),
    (OURS, "SGDFactorizer", {}, STARS),
    (OURS, "BayesianMF", {}, {}),
    (OURS, "AutoRec", {}, AUTOREC),
    (OURS, "MultiTaskMF", {}, MULTI_TASK),
    ("scikit-surprise", "SVD", {}, SVD),
    ("scikit-surprise", "SVDpp", {}, {}),
    ("lenskit", "BiasedMFScorer", {}, LENSKIT),
    ("cmfrec", "CMF", {}, CMF),
    ("myfm", "MyFMRegressor", {"rank": 10}, {}),
]
PAIRS = {"n_factors": (64, 128), "regularization": (0.005, 0.01, 0.02, 0.03)}
SOFTMAX = {"n_factors": (64, 128), "temperature": (0.15, 0.2)}
IALS = {"factors": (64, 128), "regularization": (5, 10, 20), "alpha": (1, 3)}
BPR = {"factors": (32, 64, 128), "learning_rate": (0.003, 0.01, 0.03)}
IMF = {"embedding_size": (64, 128), "regularization": (10, 30), "weight": (1, 3)}
RANKERS = [
    (OURS, "PopularityRanker", {}, {}),
    (OURS, "ALSFactorizer", IMPLICIT, PAIRS),
    (OURS, "BiasedMF", {"solver": "als"} | IMPLICIT, PAIRS),
    (OURS, "RankingFactorizer", {}, SOFTMAX),
    ("implicit", "AlternatingLeastSquares", {}, IALS),
    ("implicit", "BayesianPersonalizedRanking", {}, BPR),
    ("lenskit", "ImplicitMFScorer", {}, IMF),
]

# ----------------------------------------------------------------- in a worker process
# Each library fits a model to pairs X and ratings y, and gives a function that predicts
# the ratings of pairs. If y is None, the function recommends K items to each user.


def fit_mean(name, options, X, y):
    """Take the mean of all ratings."""
    mean = y.mean()
    return lambda X: np.full(len(X), mean)


def fit_ours(name, options, X, y):
    """Fit an estimator of sklearn_mf."""
    import sklearn_mf

    model = getattr(sklearn_mf, name)(**options)
    if "random_state" in model.get_params():
        model.set_params(random_state=0)
    model.fit(X, y)
    if y is not None:
        return model.predict
    return lambda users: model.recommend(users, K)[0].filled(-1)


def fit_surprise(name, options, X, y):
    """Fit an algorithm of Surprise."""
    import pandas as pd
    import surprise

    frame = pd.DataFrame({"user": X[:, 0], "item": X[:, 1], "rating": y})
    reader = surprise.Reader(rating_scale=(y.min(), y.max()))
    data = surprise.Dataset.load_from_df(frame, reader).build_full_trainset()
    model = getattr(surprise, name)(random_state=0, **options).fit(data)
    return lambda X: [model.predict(*pair).est for pair in X.tolist()]


def fit_lenskit(name, options, X, y):
    """Fit a pipeline of LensKit, which predicts unknown ids by biases."""
    import lenskit.als
    import pandas as pd
    from lenskit.data import from_interactions_df
    from lenskit.pipeline import predict_pipeline, topn_pipeline
    from lenskit.training import TrainingOptions

    frame = pd.DataFrame({"user_id": X[:, 0], "item_id": X[:, 1]})
    if y is not None:
        frame["rating"] = y
    scorer = getattr(lenskit.als, name)(**options)
    pipeline = (topn_pipeline if y is None else predict_pipeline)(scorer)
    pipeline.train(from_interactions_df(frame), TrainingOptions(rng=0))

    def recommend(users):
        return [lenskit.recommend(pipeline, user, n=K).ids() for user in users.tolist()]

    def predict(X):
        ratings, order = np.empty(len(X)), np.argsort(X[:, 0])
        ends = np.cumsum(np.unique(X[:, 0], return_counts=True)[1])
        for at in np.split(order, ends[:-1]):
            user = X[at[0], 0].item()
            ratings[at] = lenskit.predict(pipeline, user, X[at, 1]).scores()
        return ratings

    return recommend if y is None else predict


def fit_cmfrec(name, options, X, y):
    """Fit a model of cmfrec."""
    import cmfrec
    import pandas as pd

    frame = pd.DataFrame({"UserId": X[:, 0], "ItemId": X[:, 1], "Rating": y})
    model = getattr(cmfrec, name)(**options, random_state=0, verbose=False).fit(frame)
    return lambda X: model.predict(*X.T)


def fit_myfm(name, options, X, y):
    """Fit a factorisation machine of myFM, with as many draws as in its example."""
    import myfm
    from sklearn.preprocessing import OneHotEncoder

    encoder = OneHotEncoder(handle_unknown="ignore")
    table = encoder.fit_transform(X)
    groups = [len(ids) for ids in encoder.categories_]
    model = getattr(myfm, name)(random_seed=0, **options)
    model.fit(table, y, group_shapes=groups, n_iter=500, n_kept_samples=499)
    return lambda X: model.predict(encoder.transform(X))


def fit_implicit(name, options, X, y):
    """Fit a model of implicit to ones."""
    from scipy.sparse import csr_matrix

    module = {"AlternatingLeastSquares": "als", "BayesianPersonalizedRanking": "bpr"}
    model = getattr(importlib.import_module(f"implicit.cpu.{module[name]}"), name)
    (users, rows), (items, columns) = (np.unique(i, return_inverse=True) for i in X.T)
    matrix = csr_matrix((np.ones(len(X), np.float32), (rows, columns)))
    model = model(**options, random_state=0)
    model.fit(matrix, show_progress=False)

    def recommend(asked):
        rows = np.searchsorted(users, asked)
        return items[model.recommend(rows, matrix[rows], N=K)[0]]

    return recommend


LIBRARIES = {
    "NumPy": fit_mean,
    OURS: fit_ours,
    "scikit-surprise": fit_surprise,
    "lenskit": fit_lenskit,
    "cmfrec": fit_cmfrec,
    "myfm": fit_myfm,
    "implicit": fit_implicit,
}


def work(folder, library, name, jobs):
    """Fit, write the answers, and print the seconds and the version."""
    warnings.simplefilter("ignore")
    fit, seconds = LIBRARIES[library], []
    data = np.load(f"{folder}/data.npz")
    for k, (options, split) in enumerate(jobs):
        X, queries = data[f"{split}_X"], data[f"{split}_queries"]
        y = data.get(f"{split}_y")
        if k == 0:
            fit(name, options, X[:FEW], None if y is None else y[:FEW])
        start = time.perf_counter()
        answer = fit(name, options, X, y)
        seconds.append(time.perf_counter() - start)
        np.save(f"{folder}/answers_{k}.npy", answer(queries))
    print(json.dumps([seconds, importlib.metadata.version(library)]))


# ----------------------------------------------------------------- in the main process


def read_ratings(path):
    """Return pairs and ratings of a file of MovieLens, or of the folder of one."""
    from sklearn_mf.datasets import load_ratings

    if path.is_dir():
        path = next((path / name for name in FILES if (path / name).exists()), path)
    return load_ratings(path)


def make_splits(X, y, n_folds):
    """Return training and test rows of all splits by name."""
    from sklearn.model_selection import KFold

    from sklearn_mf.model_selection import RatingKFold

    kinds = {
        "ratings": KFold(5, shuffle=True, random_state=0),
        "lists": RatingKFold(5, random_state=0),
    }
    splits = {}
    for kind, folds in kinds.items():
        found = list(folds.split(X, y))[: n_folds if kind == "ratings" else 1]
        splits |= {f"{kind}_{k}": rows for k, rows in enumerate(found)}
        train = found[0][0]
        inner = next(folds.split(X[train], y[train]))
        splits[f"{kind}_tune"] = tuple(train[rows] for rows in inner)
    return splits


def save_splits(folder, X, y, splits):
    """Write what the workers read."""
    data = {}
    for name, (train, test) in splits.items():
        data[f"{name}_X"] = X[train]
        if name.startswith("ratings"):
            data |= {f"{name}_y": y[train], f"{name}_queries": X[test]}
        else:
            data[f"{name}_queries"] = np.unique(X[test, 0])
    np.savez(f"{folder}/data.npz", **data)


def ask(python, folder, library, name, jobs):
    """Fit in a process of its own; return answers, seconds and the version."""
    one = dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    done = subprocess.run(
        [python, __file__, "--task", json.dumps([folder, library, name, jobs])],
        capture_output=True,
        text=True,
        env=os.environ | ({} if library == OURS else one),  # as implicit recommends
    )
    if done.returncode:
        raise RuntimeError((done.stderr.splitlines() or [f"{done.returncode}"])[-1])
    seconds, version = json.loads(done.stdout.splitlines()[-1])
    answers = [np.load(f"{folder}/answers_{k}.npy") for k in range(len(jobs))]
    return answers, seconds, version


def score_ratings(predicted, y_train, X, y):
    """Return RMSE and MAE of ratings."""
    errors = np.clip(predicted, y_train.min(), y_train.max()) - y
    return np.mean(errors**2) ** 0.5, np.abs(errors).mean()


def score_lists(lists, y_train, X, y):
    """Return NDCG and recall of lists of K items, means over the users."""
    discounts = 1 / np.log2(np.arange(2, K + 2))
    users, n_relevant = np.unique(X[:, 0], return_counts=True)
    relevant = {*map(tuple, X.tolist())}
    hits = np.array(
        [
            [(user, item) in relevant for item in row]
            for user, row in zip(users.tolist(), lists.tolist(), strict=True)
        ]
    )
    ideal = np.cumsum(discounts)[np.minimum(n_relevant, K) - 1]
    return (hits @ discounts / ideal).mean(), (hits.sum(axis=1) / n_relevant).mean()


KINDS = {  # models, names of figures, how these are computed, and which is the best
    "ratings": (RATERS, "RMSE | MAE", score_ratings, np.argmin),
    "lists": (RANKERS, f"NDCG@{K} | recall@{K}", score_lists, np.argmax),
}


def write(options):
    """Return options as they stand in a call."""
    return ", ".join(f"{name}={value!r}" for name, value in options.items())


def compare(kind, names, splits, folder, peers_python, X, y):
    """Print a table, a line for each model and another where it is tuned."""
    from sklearn.model_selection import ParameterGrid

    models, figures, judge, best = KINDS[kind]
    tests = [name for name in splits if name.startswith(kind) and name[-1].isdigit()]
    versions, lost = {}, []

    def run(library, name, jobs):
        """Return two figures and the seconds of each job."""
        python = sys.executable if library in (OURS, "NumPy") else peers_python
        answers, seconds, versions[library] = ask(python, folder, library, name, jobs)
        rows = []
        for answer, (_, split), each in zip(answers, jobs, seconds, strict=True):
            train, test = splits[split]
            rows.append((*judge(answer, y[train], X[test], y[test]), each))
        return np.array(rows)

    print(f"\n| library | model | parameters | chosen | {figures} | seconds |")
    print("|---|---|---|---|--:|--:|--:|")
    for library, name, options, grid in models:
        if names and name not in names:
            continue
        try:
            choices = {"default": options}
            if grid:
                tried = [options | choice for choice in ParameterGrid(grid)]
                found = run(library, name, [(each, f"{kind}_tune") for each in tried])
                choices["tuned"] = tried[best(found[:, 0])]
            for how, chosen in choices.items():
                rows = run(library, name, [(chosen, split) for split in tests])
                cells = "{:.4f} | {:.4f} | {:.2f}".format(*rows.mean(axis=0))
                call = f"`{name}({write(options)})`"
                found = write({k: v for k, v in chosen.items() if k not in options})
                print(f"| {library} | {call} | {how} | {found} | {cells} |", flush=True)
        except RuntimeError as error:
            if library == OURS:
                raise
            lost.append(f"{library} {name} is left out: {error}")
    for line in lost:
        print(f"\n{line}")
    return versions


def main():
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("ratings", metavar="RATINGS", type=Path)
    add("--peers-python", metavar="PATH", default=sys.executable)
    add("--folds", type=int, choices=range(1, 6), default=5, help="of the first table")
    add("--models", nargs="+", metavar="NAME", help="default: all")
    options = parser.parse_args()
    X, y = read_ratings(options.ratings)
    n_users, n_items = (len(np.unique(ids)) for ids in X.T)
    print(describe_machine())
    print(f"\n{len(y):,} ratings of {n_items:,} films by {n_users:,} users")
    splits, versions = make_splits(X, y, options.folds), {}
    with tempfile.TemporaryDirectory() as folder:
        save_splits(folder, X, y, splits)
        for kind in KINDS:
            task = options.models, splits, folder, options.peers_python
            versions |= compare(kind, *task, X, y)
    versions |= {
        name: importlib.metadata.version(name) for name in ("numba", "scikit-learn")
    }
    print(f"\nPython {platform.python_version()}", end="")
    print("".join(f", {name} {version}" for name, version in versions.items()))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--task"]:
        work(*json.loads(sys.argv[2]))
    else:
        main()
