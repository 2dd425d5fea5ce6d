"""Tune a matrix factorisation with GridSearchCV, and compare it with means.

    python examples/quickstart.py                         # on synthetic ratings
    python examples/quickstart.py --ratings ratings.csv   # on your own
    python examples/quickstart.py --ratings films.txt --user-column who

Prints the cross-validated errors and writes quickstart_results.json, and with
matplotlib quickstart_results.png. With rich, a progress bar shows the search at work.
"""

import argparse
import itertools
import json
import time
from pathlib import Path

import numpy as np
from sklearn.callback import ProgressBar
from sklearn.metrics import mean_absolute_error, root_mean_squared_error
from sklearn.model_selection import GridSearchCV, KFold, train_test_split

from sklearn_mf import ALSFactorizer
from sklearn_mf.datasets import load_ratings, make_ratings

GRID = {
    "n_factors": [1, 2, 5, 10, 20],
    "regularization": [0.03, 0.1, 0.3],
}
SCORING = {
    "rmse": "neg_root_mean_squared_error",
    "mse": "neg_mean_squared_error",
    "mae": "neg_mean_absolute_error",
}
N_FOLDS = 3


def main(argv=None):
    """Run the quickstart; `argv` are the arguments of the command line."""
    start = time.perf_counter()
    parser = make_parser()
    args = parser.parse_args(argv)
    try:
        args.output_dir.mkdir(parents=True, exist_ok=True)
        X, y, source = read_ratings(args)
        X_train, X_test, y_train, y_test = train_test_split(
            X, y, test_size=0.2, random_state=args.seed
        )
    except (OSError, ValueError) as error:
        parser.error(str(error))
    if len(y) < 10:
        parser.error(f"{source}: too few ratings ({len(y)}), give 10 or more.")
    n_users, n_items = (len(np.unique(ids)) for ids in X.T)
    print(f"Data: {source}")
    print(
        f"{len(y):,} ratings from {y.min():g} to {y.max():g}, "
        f"of {n_items:,} items by {n_users:,} users\n"
    )
    data_end = time.perf_counter()

    search = GridSearchCV(
        ALSFactorizer(random_state=args.seed),
        GRID,
        scoring=SCORING,
        refit="rmse",
        cv=KFold(N_FOLDS, shuffle=True, random_state=args.seed),
        return_train_score=True,
        n_jobs=args.n_jobs,
    )
    try:
        # Depth 0: the bar of the search, not one more for each of its fits.
        search.set_callbacks(ProgressBar(max_propagation_depth=0))
    except ImportError:
        print("No progress bar: it needs rich (pip install rich).")
    search.fit(X_train, y_train)
    search_end = time.perf_counter()

    grid = list(grid_points(search))
    print_grid(grid, search.best_params_)

    predictions = {
        "global mean": np.full(len(y_test), y_train.mean()),
        "item mean": predict_item_means(X_train, y_train, X_test),
        "ALSFactorizer": search.predict(X_test),
    }
    test_scores = {
        name: {
            "rmse": root_mean_squared_error(y_test, predicted),
            "mae": mean_absolute_error(y_test, predicted),
        }
        for name, predicted in predictions.items()
    }
    print_scores(test_scores, len(y_test))

    path = args.output_dir / "quickstart_results.png"
    try:
        plot_grid(grid, path)
        print(f"Plot: {path}")
    except ImportError:
        print("No plot: it needs matplotlib (pip install matplotlib).")

    seconds = {
        "data": data_end - start,
        "search": search_end - data_end,
        "total": time.perf_counter() - start,
    }
    results = {
        "data": {
            "source": source,
            "n_ratings": len(y),
            "n_users": n_users,
            "n_items": n_items,
            "n_train": len(y_train),
            "n_test": len(y_test),
        },
        "grid": grid,
        "best_params": search.best_params_,
        "test_scores": test_scores,
        "seconds": seconds,
    }
    path = args.output_dir / "quickstart_results.json"
    path.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(f"Results: {path}")
    print("Seconds:", ", ".join(f"{k} {v:.1f}" for k, v in seconds.items()))


def make_parser():
    """Return the parser of the command line."""
    summary, _, usage = __doc__.partition("\n\n")
    parser = argparse.ArgumentParser(
        description=summary,
        epilog=usage,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--ratings",
        metavar="FILE",
        type=Path,
        help="text file with one rating a line, with or without a header line; "
        "without this option, synthetic ratings",
    )
    for position, role in enumerate(("user", "item", "rating")):
        parser.add_argument(
            f"--{role}-column",
            metavar="COLUMN",
            type=column,
            default=position,
            help=f"column of the {role}: a name in the header line, or a position "
            "from 0 (default: %(default)s)",
        )
    parser.add_argument(
        "--sep",
        help="what separates the columns (default: the one of :: tab ; , that cuts the "
        "first line into the most columns)",
    )
    parser.add_argument(
        "--output-dir",
        metavar="DIR",
        type=Path,
        default=".",
        help="where the results are written (default: here)",
    )
    parser.add_argument(
        "--n-jobs",
        metavar="N",
        type=n_jobs,
        default=1,
        help="1: one fit at a time, with a thread on each core; more: that many "
        "processes in parallel, with a thread each, which pays if fits are long; "
        "-1: a process for each core (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of all random numbers (default: 0)"
    )
    return parser


def column(text):
    """Read a column: a position or a name."""
    return int(text) if text.isdecimal() else text


def n_jobs(text):
    """Read a number of jobs."""
    number = int(text)
    if number == 0:
        raise argparse.ArgumentTypeError("must be 1 or more, or -1 for all cores")
    return number


# ------------------------------------------------------------------------------- data


def read_ratings(args):
    """Return pairs X, ratings y, and a line that says where they come from."""
    if args.ratings is None:
        X, y = make_ratings(random_state=args.seed)
        return X, y, f"make_ratings(random_state={args.seed})"
    columns = args.user_column, args.item_column, args.rating_column
    user, item, rating = columns
    X, y = load_ratings(
        args.ratings,
        user=user,
        item=item,
        rating=rating,
        sep=args.sep,
    )
    return X, y, f"{args.ratings}, columns {', '.join(map(str, columns))}"


# ---------------------------------------------------------------------------- results


def predict_item_means(X_train, y_train, X_test):
    """Predict the mean rating of each item, and of all for an item without ratings."""
    items, codes = np.unique(X_train[:, 1], return_inverse=True)
    means = np.bincount(codes, y_train) / np.bincount(codes)
    mean_of = dict(zip(items, means, strict=True))
    return np.array([mean_of.get(item, y_train.mean()) for item in X_test[:, 1]])


def grid_points(search):
    """Yield parameters, errors and fit time (seconds) of each point of the grid."""
    results = search.cv_results_
    errors = [f"{part}_{metric}" for part in ("train", "test") for metric in SCORING]
    for k, params in enumerate(results["params"]):
        point = dict(params)
        for error in errors:  # scores are negative errors
            point[f"mean_{error}"] = -results[f"mean_{error}"][k]
            point[f"std_{error}"] = results[f"std_{error}"][k]
        point["mean_fit_time"] = results["mean_fit_time"][k]
        point["std_fit_time"] = results["std_fit_time"][k]
        yield point


def print_grid(grid, best_params):
    """Print the RMSE of the test folds: rows n_factors, columns regularization."""
    print(f"\nRMSE in {N_FOLDS}-fold cross-validation, mean ± std; * is the best\n")
    print("n_factors   regularization")
    penalties = [f"   {value:<15g}" for value in GRID["regularization"]]
    print(" " * 9 + "".join(penalties).rstrip())
    for n_factors in GRID["n_factors"]:
        row = f"{n_factors:9}"
        for point in grid:
            if point["n_factors"] == n_factors:
                row += "  *" if best_params.items() <= point.items() else "   "
                row += "{mean_test_rmse:.4f} ± {std_test_rmse:.4f}".format(**point)
        print(row)
    best = ", ".join(f"{name}={value}" for name, value in best_params.items())
    print(f"\nBest: ALSFactorizer({best})\n")


def print_scores(scores, n_test):
    """Print the errors on the test set, a row for each way to predict."""
    print(f"{f'On {n_test:,} ratings held out':<27}   RMSE     MAE\n")
    for name, errors in scores.items():
        print(f"{name:<27} {errors['rmse']:.4f}  {errors['mae']:.4f}")
    print()


def plot_grid(grid, path):
    """Plot train and test errors against n_factors, a line for each regularization."""
    import matplotlib
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 7), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True)
    penalties = GRID["regularization"]
    colors = matplotlib.colormaps["viridis"](np.linspace(0, 0.85, len(penalties)))
    panels = itertools.product(("mse", "mae"), ("train", "test"))
    for ax, (metric, part) in zip(axes.flat, panels, strict=True):
        for penalty, color in zip(penalties, colors, strict=True):
            line = [point for point in grid if point["regularization"] == penalty]
            ax.errorbar(
                [point["n_factors"] for point in line],
                [point[f"mean_{part}_{metric}"] for point in line],
                [point[f"std_{part}_{metric}"] for point in line],
                label=f"λ = {penalty:g}",
                color=color,
                marker="o",
                markersize=4,
                capsize=2,
            )
        ax.set_title(f"{part} {metric.upper()}")
        ax.set_xscale("log")
        ax.set_xticks(GRID["n_factors"], labels=GRID["n_factors"])
        ax.minorticks_off()
        ax.grid(alpha=0.3)
    for ax in axes[-1]:
        ax.set_xlabel("number of factors d")
    figure.suptitle(f"ALSFactorizer in {N_FOLDS}-fold cross-validation, mean ± std")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
