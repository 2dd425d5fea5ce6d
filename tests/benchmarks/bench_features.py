"""Features of users and items: accuracy and time, beside cmfrec and irspack.

    python tests/benchmarks/bench_features.py ml-latest-small --peers-python PATH

The folder holds ratings.csv and movies.csv of MovieLens; PATH is an interpreter that
has cmfrec and irspack, see requirements-peers.txt. Without it only sklearn_mf runs.

Ratings: test RMSE and seconds of a fit with the genres of the films, with the pattern
of what was rated, and with both. "Known" is ``KFold(5, shuffle=True, random_state=0)``,
"new" is ``GroupKFold(5, shuffle=True, random_state=0)`` over films, so that no film of
the test part has a rating. Ours are the defaults. Of cmfrec, which has no defaults for
ratings in stars, the penalty with the lowest mean RMSE of those tried is shown.

Clicks: films that a user gave four stars or more. "Known": a fifth of the clicks is to
be found among all films that the user did not click on before. "New": a fifth of the
films has no click, and those of them that the user likes are to be found among them.
NDCG@10 and seconds of a fit; of both libraries the best of a grid of penalties and
weights of features, with 64 factors.

Cost: seconds of an iteration on made ratings, the difference between fits of many and
of few iterations over their number, the least of three rounds, with 20 dense features
of users and of items and with the rated pattern of both, over that without.
"""

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold, KFold

from sklearn_mf import ALSFactorizer, BayesianMF, BiasedMF, SGDFactorizer
from sklearn_mf.datasets import make_ratings

ROUNDS, FEW, MANY = 3, 2, 12
FOLDS = {
    "known": KFold(5, shuffle=True, random_state=0),
    "new": GroupKFold(5, shuffle=True, random_state=0),
}
K = 10  # length of the lists

PEER = """
import itertools, json, sys, time, warnings
import numpy as np
import pandas as pd
import scipy.sparse as sps

warnings.simplefilter("ignore")
job = json.loads(sys.argv[1])
data = np.load(job["file"])

def ratings():
    from cmfrec import CMF

    films = pd.DataFrame(data["features"])
    films.insert(0, "ItemId", data["items"])
    found = {}
    for kind, given, implicit in (
        ("none", False, False), ("genres", True, False), ("rated", False, True),
        ("both", True, True),
    ):
        for lambda_, weight in itertools.product((0.03, 0.06, 0.12), (0.5, 5.0)):
            if weight != 0.5 and kind == "none":
                continue
            model = CMF(
                k=40, lambda_=lambda_, scale_lam=True, scale_lam_sideinfo=True,
                use_cg=False, niter=20, add_implicit_features=implicit,
                w_item=weight, w_implicit=weight, nthreads=2,
            )
            result = {}
            for split in ("known", "new"):
                errors, seconds = [], []
                for k in range(5):
                    test = data[split] == k
                    table = pd.DataFrame(data["X"][~test], columns=["UserId", "ItemId"])
                    table["Rating"] = data["y"][~test]
                    start = time.perf_counter()
                    model.fit(table, I=films if given else None)
                    seconds.append(time.perf_counter() - start)
                    users, items = data["X"][test].T
                    predicted = np.asarray(model.predict(users, items), float)
                    lost = ~np.isfinite(predicted)
                    predicted[lost] = table["Rating"].mean()
                    predicted = predicted.clip(0.5, 5)
                    errors.append(np.sqrt(np.mean((predicted - data["y"][test]) ** 2)))
                result[split] = float(np.mean(errors)), float(np.mean(seconds))
            found.setdefault(kind, []).append(result)
    return found

def clicks():
    from irspack import IALSRecommender

    R = sps.csr_matrix((np.ones(len(data["rows"])), (data["rows"], data["columns"])),
                       shape=tuple(data["shape"]))
    start = time.perf_counter()
    model = IALSRecommender(
        R, n_components=64, alpha0=job["alpha"], reg=job["reg"], n_threads=2,
        solver_type="CHOLESKY", train_epochs=16,
        item_features=sps.csr_matrix(data["features"]) if job["weight"] else None,
        lambda_item_feature=job["weight"],
    )
    model.learn()
    seconds = time.perf_counter() - start
    items = model.get_item_embedding()
    cold = np.diff(R.tocsc().indptr) == 0
    if job["weight"] and cold.any():
        given = sps.csr_matrix(data["features"][cold])
        items[cold] = model.trainer.transform_item_feature(given)
    np.savez(job["out"], P=model.get_user_embedding(), Q=items)
    return seconds

print("RESULT", json.dumps({"ratings": ratings, "clicks": clicks}[job["task"]]()))
"""


def ask_peer(python, arrays, **job):
    """Run a peer in its own interpreter; return what it prints, and what it saves."""
    with tempfile.TemporaryDirectory() as folder:
        file, out = (str(Path(folder) / name) for name in ("data.npz", "out.npz"))
        np.savez(file, **arrays)
        ran = subprocess.run(
            [python, "-c", PEER, json.dumps({"file": file, "out": out, **job})],
            capture_output=True,
            text=True,
            check=True,
        )
        saved = dict(np.load(out)) if Path(out).exists() else {}
    return json.loads(ran.stdout.split("RESULT ")[-1]), saved


def read_films(folder):
    """Return X, y, and the genres of the films, a DataFrame by id."""
    ratings = pd.read_csv(folder / "ratings.csv")
    films = pd.read_csv(folder / "movies.csv").set_index("movieId")
    genres = films["genres"].str.get_dummies("|").astype(float)
    pairs = ratings[["userId", "movieId"]].to_numpy()
    return pairs, ratings["rating"].to_numpy(), genres


# ------------------------------------------------------------------------------ ratings


def compare_ratings(X, y, genres, peers_python, names):
    """Print the table of ratings, for models of some names."""
    sides = {
        "none": {},
        "genres": {"item_features": genres},
        "rated": {"user_features": "rated", "item_features": "rated"},
        "both": {"user_features": "rated", "item_features": ["rated", genres]},
    }
    models = {
        "ALSFactorizer": ALSFactorizer(random_state=0),
        "SGDFactorizer": SGDFactorizer(random_state=0),
        "BiasedMF": BiasedMF(random_state=0),
        'BiasedMF, "als"': BiasedMF(solver="als", random_state=0),
        "BayesianMF": BayesianMF(random_state=0),
    }
    parts = {split: list(cv.split(X, y, groups=X[:, 1])) for split, cv in FOLDS.items()}
    print("| model | features | RMSE, known | RMSE, new | fit, s |")
    print("|---|---|--:|--:|--:|")
    for name, (side, features) in itertools.product(names or models, sides.items()):
        model = models[name].set_params(user_features=None, item_features=None)
        model.set_params(**features)
        found, seconds = [], []
        for folds in parts.values():
            errors = []
            for train, test in folds:
                start = time.perf_counter()
                model.fit(X[train], y[train])
                seconds.append(time.perf_counter() - start)
                errors.append(-model.score(X[test], y[test]))
            found.append(np.mean(errors))
        print(
            f"| {name} | {side} | {found[0]:.4f} | {found[1]:.4f} | "
            f"{np.median(seconds):.2f} |",
            flush=True,
        )
    if not peers_python:
        return
    arrays = {"X": X, "y": y, "features": genres.to_numpy(), "items": genres.index}
    for split, folds in parts.items():
        arrays[split] = np.empty(len(y), int)
        for k, (_, test) in enumerate(folds):
            arrays[split][test] = k
    peers, _ = ask_peer(peers_python, arrays, task="ratings")
    for side, results in peers.items():
        known = min(result["known"][0] for result in results)
        new = min(result["new"][0] for result in results)
        seconds = np.median([result["known"][1] for result in results])
        print(f"| cmfrec CMF | {side} | {known:.4f} | {new:.4f} | {seconds:.2f} |")


# ------------------------------------------------------------------------------- clicks


def ndcg(scores, relevant):
    """Return the mean NDCG@K over the users with relevant items; −∞ is left out."""
    ranked = np.argsort(-scores, axis=1)[:, :K]
    gains = np.take_along_axis(relevant, ranked, 1) / np.log2(np.arange(K) + 2)
    n_relevant = relevant.sum(axis=1).astype(int)
    best = np.cumsum(1 / np.log2(np.arange(K) + 2))
    kept = n_relevant > 0
    return np.mean(gains.sum(axis=1)[kept] / best[n_relevant[kept].clip(max=K) - 1])


def compare_clicks(X, y, genres, peers_python):
    """Print the table of clicks."""
    users, rows = np.unique(X[y >= 4, 0], return_inverse=True)
    columns = genres.index.get_indexer(X[y >= 4, 1])
    shape, rng = (len(users), len(genres)), np.random.default_rng(0)
    clicked = np.isin(np.arange(len(genres)), columns)
    is_new = clicked & (rng.uniform(size=len(genres)) < 0.2)
    features = genres.to_numpy()
    features = features / np.maximum(features.sum(axis=1, keepdims=True), 1) ** 0.5
    splits = {
        "known": (rng.uniform(size=len(rows)) < 0.2, clicked),
        "new": (is_new[columns], is_new),
    }
    print("\n| library | features | NDCG@10, known | NDCG@10, new | fit, s |")
    print("|---|---|--:|--:|--:|")
    libraries = {"ALSFactorizer": fit_ours}
    if peers_python:
        libraries["irspack iALS"] = fit_peer(peers_python)
    for (name, fit), kind in itertools.product(libraries.items(), ("none", "genres")):
        best, taken = {}, []
        grid = (0.0,) if kind == "none" else GRIDS[name]
        for penalty, weight, (split, (test, candidates)) in itertools.product(
            PENALTIES, grid, splits.items()
        ):
            given = rows[~test], columns[~test], shape
            P, Q, seconds = fit(given, features, penalty, weight)
            taken.append(seconds)
            scores = P.dot(Q.T)
            scores[:, ~candidates] = -np.inf
            scores[given[0], given[1]] = -np.inf
            relevant = np.zeros(shape)
            relevant[rows[test], columns[test]] = 1
            best[split] = max(best.get(split, 0.0), ndcg(scores, relevant))
        print(
            f"| {name} | {kind} | {best['known']:.4f} | {best['new']:.4f} | "
            f"{np.median(taken):.2f} |",
            flush=True,
        )


ALPHA, PENALTIES = 0.1, (0.003, 0.01, 0.03)  # weight of a pair without a click, and λ
GRIDS = {
    "ALSFactorizer": (1.0, 5.0, 25.0),
    "irspack iALS": (1.0, 10.0, 100.0),
}


def fit_ours(given, features, penalty, weight):
    """Fit `ALSFactorizer` to clicks; return factors and seconds."""
    rows, columns, (n_users, n_items) = given
    model = ALSFactorizer(
        64,
        unobserved_weight=ALPHA,
        regularization=penalty,
        fit_intercept=False,
        max_iter=16,
        tol=None,
        random_state=0,
    )
    if weight:
        model.set_params(
            item_features=(np.arange(n_items), features), feature_regularization=weight
        )
    y = np.ones(len(rows), np.float32)
    start = time.perf_counter()
    model.fit(np.column_stack([rows, columns]), y)
    seconds = time.perf_counter() - start
    P, Q = np.zeros((n_users, 64)), np.zeros((n_items, 64))
    P[model.users_], Q[model.items_] = model.user_factors_, model.item_factors_
    return P, Q, seconds


def fit_peer(python):
    """Return the same with irspack."""

    def fit(given, features, penalty, weight):
        rows, columns, shape = given
        arrays = {"rows": rows, "columns": columns, "shape": shape}
        arrays["features"] = features
        options = {"alpha": ALPHA, "reg": penalty, "weight": weight}
        seconds, saved = ask_peer(python, arrays, task="clicks", **options)
        return saved["P"].astype(float), saved["Q"].astype(float), seconds

    return fit


# --------------------------------------------------------------------------------- cost


def compare_cost(n_pairs):
    """Print what features add to the time of an iteration, and to the memory."""
    n_users, n_items = n_pairs // 165, n_pairs // 270
    X, y = make_ratings(n_users, n_items, n_pairs, random_state=0)
    y, rng = y.astype(np.float32), np.random.default_rng(0)
    features = {
        "none": {},
        "20 dense": {
            "user_features": (np.arange(n_users), rng.normal(size=(n_users, 20))),
            "item_features": (np.arange(n_items), rng.normal(size=(n_items, 20))),
        },
        "rated": {"user_features": "rated", "item_features": "rated"},
    }
    models = {
        "ALSFactorizer(20)": ALSFactorizer(20),
        "ALSFactorizer(50)": ALSFactorizer(50),
        'BiasedMF(40, solver="als")': BiasedMF(40, solver="als"),
        "BiasedMF(40)": BiasedMF(40),
        "SGDFactorizer(20)": SGDFactorizer(20),
        "BayesianMF(20)": BayesianMF(20, burn_in=0, thin=10**6),
    }
    print(f"\n{len(y)} ratings of {n_users} users and {n_items} items\n")
    print("| model | iteration, s | × 20 dense | × rated | B/rating | dense | rated |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for name, model in models.items():
        length = "n_samples" if isinstance(model, BayesianMF) else "max_iter"
        if length == "max_iter":
            model.set_params(tol=None)
        seconds = {kind: ([], []) for kind in features}
        for kind, round_ in itertools.product(features, range(ROUNDS + 1)):
            for n, found in zip((FEW, MANY), seconds[kind], strict=True):
                model.set_params(user_features=None, item_features=None)
                model.set_params(**features[kind], **{length: n}, random_state=0)
                start = time.perf_counter()
                model.fit(X, y)
                if round_:  # the first compiles
                    found.append(time.perf_counter() - start)
        least = {k: (min(b) - min(a)) / (MANY - FEW) for k, (a, b) in seconds.items()}
        memory = {}
        for kind, given in features.items():
            model.set_params(user_features=None, item_features=None)
            model.set_params(**given, **{length: FEW})
            tracemalloc.start()
            model.fit(X, y)
            memory[kind] = tracemalloc.get_traced_memory()[1] / len(y)
            tracemalloc.stop()
        kinds = "20 dense", "rated"
        ratios = (f"{least[kind] / least['none']:.2f}" for kind in kinds)
        peaks = (f"{memory[kind]:.0f}" for kind in features)
        print(
            f"| {name} | {least['none']:.4f} | {' | '.join(ratios)} | "
            f"{' | '.join(peaks)} |",
            flush=True,
        )


def main():
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", help="of MovieLens")
    parser.add_argument("--peers-python", help="an interpreter with the peers")
    parser.add_argument("--pairs", type=int, default=1_000_000, help="for the cost")
    tasks = "ratings", "clicks", "cost"
    parser.add_argument("--models", nargs="+", help="rows of the table of ratings")
    parser.add_argument("--tables", nargs="+", choices=tasks, default=tasks)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if args.folder:
        data = read_films(args.folder)
        if "ratings" in args.tables:
            compare_ratings(*data, args.peers_python, args.models)
        if "clicks" in args.tables:
            compare_clicks(*data, args.peers_python)
    if "cost" in args.tables:
        compare_cost(args.pairs)


if __name__ == "__main__":
    sys.exit(main())
