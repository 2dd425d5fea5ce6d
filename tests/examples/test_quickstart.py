"""Tests of examples/quickstart.py: what it reads, prints and writes."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.model_selection import KFold, train_test_split

from sklearn_mf import ALSFactorizer
from sklearn_mf.datasets import make_ratings
from tests import movielens

SCRIPT = Path(__file__).parents[2] / "examples" / "quickstart.py"
PNG = b"\x89PNG\r\n\x1a\n"
GRID = {"n_factors": [2, 4], "regularization": [0.05, 0.1, 0.2]}


@pytest.fixture(scope="module")
def script():
    """Load the script as a module."""
    spec = importlib.util.spec_from_file_location("quickstart", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def ratings():
    """Draw a small set of ratings."""
    return make_ratings(60, 200, 1200, popularity=1, random_state=0)


@pytest.fixture
def quickstart(script, tmp_path, monkeypatch, capsys):
    """Return a function that runs the script on a small grid: (results, output)."""
    monkeypatch.setattr(script, "GRID", GRID)

    def run(*args):
        capsys.readouterr()
        script.main([*map(str, args), "--output-dir", str(tmp_path / "out")])
        return read_results(tmp_path / "out"), capsys.readouterr().out

    return run


def read_results(folder):
    return json.loads((folder / "quickstart_results.json").read_text("utf-8"))


def write_ratings(path, X, y, *, header="user,item,rating\n", row="{0},{1},{2}\n"):
    lines = [row.format(u, i, r) for (u, i), r in zip(X.tolist(), y, strict=True)]
    path.write_text(header + "".join(lines), encoding="utf-8")
    return path


def errors_of(results):
    """Return what must not depend on how the data was written."""
    grid = [
        {name: value for name, value in point.items() if "time" not in name}
        for point in results["grid"]
    ]
    sizes = {k: v for k, v in results["data"].items() if k != "source"}
    return sizes, grid, results["best_params"], results["test_scores"]


def check_table(results, output):
    """Check that the printed numbers are those of the JSON, the best one marked."""
    cells = re.findall(r"(\*?)(\d\.\d{4}) ± (\d\.\d{4})", output)
    best = results["best_params"].items()
    assert cells == [
        (
            "*" if best <= point.items() else "",
            f"{point['mean_test_rmse']:.4f}",
            f"{point['std_test_rmse']:.4f}",
        )
        for point in results["grid"]
    ]
    assert min(results["grid"], key=lambda p: p["mean_test_rmse"]).items() >= best
    assert "ALSFactorizer({})".format(", ".join(f"{k}={v}" for k, v in best)) in output
    for name, scores in results["test_scores"].items():
        row = f"{re.escape(name)} +{scores['rmse']:.4f} +{scores['mae']:.4f}\n"
        assert re.search(row, output)
    seconds = results["seconds"]
    assert 0 <= seconds["data"] <= seconds["total"]
    assert 0 < seconds["search"] <= seconds["total"]
    for name, value in seconds.items():
        assert f"{name} {value:.1f}" in output


def split(X, y, seed=0):
    return train_test_split(X, y, test_size=0.2, random_state=seed)


def rmse_and_mae(y, predicted):
    residuals = np.asarray(y) - predicted
    return {
        "rmse": float(np.sqrt(np.mean(residuals**2))),
        "mae": float(np.mean(np.abs(residuals))),
    }


# ---------------------------------------------------------------------------- results


def test_results_against_numpy(quickstart, ratings, tmp_path):
    X, y = ratings
    seed = 3
    path = write_ratings(tmp_path / "ratings.csv", X, y)
    results, output = quickstart("--ratings", path, "--seed", seed)

    assert results["data"] == {
        "source": f"{path}, columns 0, 1, 2",
        "n_ratings": 1200,
        "n_users": len(set(X[:, 0].tolist())),
        "n_items": len(set(X[:, 1].tolist())),
        "n_train": 960,
        "n_test": 240,
    }
    assert "1,200 ratings from 1 to 5" in output
    X_train, X_test, y_train, y_test = split(X, y, seed)

    assert not set(X_test[:, 1].tolist()) <= set(X_train[:, 1].tolist())
    means = [
        y_train[X_train[:, 1] == item].mean()
        if item in X_train[:, 1]
        else y_train.mean()
        for item in X_test[:, 1]
    ]
    als = ALSFactorizer(**results["best_params"], random_state=seed)
    expected = {
        "global mean": rmse_and_mae(y_test, y_train.mean()),
        "item mean": rmse_and_mae(y_test, means),
        "ALSFactorizer": rmse_and_mae(
            y_test, als.fit(X_train, y_train).predict(X_test)
        ),
    }
    assert results["test_scores"].keys() == expected.keys()
    for name, scores in expected.items():
        assert results["test_scores"][name] == pytest.approx(scores)
    check_table(results, output)


def test_grid_against_a_loop(quickstart, ratings, tmp_path):
    X, y = ratings
    results, _ = quickstart("--ratings", write_ratings(tmp_path / "ratings.csv", X, y))
    X_train, _, y_train, _ = split(X, y)
    points = iter(results["grid"])
    for n_factors in GRID["n_factors"]:
        for regularization in GRID["regularization"]:
            point = next(points)
            assert point["n_factors"] == n_factors
            assert point["regularization"] == regularization
            errors = {"train": [], "test": []}
            folds = KFold(3, shuffle=True, random_state=0)
            for rows in folds.split(X_train):
                als = ALSFactorizer(
                    n_factors, regularization=regularization, random_state=0
                ).fit(X_train[rows[0]], y_train[rows[0]])
                for part, k in zip(errors, rows, strict=True):
                    residuals = y_train[k] - als.predict(X_train[k])
                    mse = np.mean(residuals**2)
                    errors[part].append((mse**0.5, mse, np.mean(np.abs(residuals))))
            for part, values in errors.items():
                for metric, of_folds in zip(
                    ("rmse", "mse", "mae"), np.transpose(values), strict=True
                ):
                    assert_allclose(point[f"mean_{part}_{metric}"], of_folds.mean())
                    assert_allclose(point[f"std_{part}_{metric}"], of_folds.std())
            assert point["mean_fit_time"] > 0
            assert point["std_fit_time"] >= 0
    assert next(points, None) is None


def test_n_jobs_changes_nothing(quickstart, ratings, tmp_path):
    path = write_ratings(tmp_path / "ratings.csv", *ratings)
    one, _ = quickstart("--ratings", path)
    two, _ = quickstart("--ratings", path, "--n-jobs", 2)
    assert errors_of(two) == errors_of(one)


def test_seed_changes_the_split(quickstart, ratings, tmp_path):
    path = write_ratings(tmp_path / "ratings.csv", *ratings)
    zero, _ = quickstart("--ratings", path)
    one, _ = quickstart("--ratings", path, "--seed", 1)
    assert errors_of(zero)[0] == errors_of(one)[0]
    assert zero["test_scores"] != one["test_scores"]


def test_default_run(tmp_path):
    """As a user would run it: no warnings, an optimum inside the grid, a gain."""
    done = subprocess.run(
        [sys.executable, SCRIPT],
        cwd=tmp_path,
        env={**os.environ, "PYTHONUTF8": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stdout + done.stderr
    results = read_results(tmp_path)
    check_table(results, done.stdout)
    for name, value in results["best_params"].items():
        values = sorted({point[name] for point in results["grid"]})
        assert values[0] < value < values[-1]
    rmse = {name: scores["rmse"] for name, scores in results["test_scores"].items()}
    assert rmse["ALSFactorizer"] < 0.9 * rmse["item mean"] < rmse["global mean"]
    assert (tmp_path / "quickstart_results.png").read_bytes().startswith(PNG)


@movielens.needs_movielens
def test_movielens(script, tmp_path, capsys, monkeypatch):
    grid = {"n_factors": [5, 20], "regularization": [0.12, 0.24]}
    monkeypatch.setattr(script, "GRID", grid)
    script.main(
        [
            *("--ratings", str(movielens.RATINGS), "--rating-column", "rating"),
            *("--output-dir", str(tmp_path)),
        ]
    )
    output = capsys.readouterr().out
    results = read_results(tmp_path)
    assert "columns 0, 1, rating\n" in output
    assert "100,836 ratings from 0.5 to 5, of 9,724 items by 610 users" in output
    check_table(results, output)
    rmse = {name: scores["rmse"] for name, scores in results["test_scores"].items()}
    assert 0.85 < rmse["ALSFactorizer"] < 0.91
    assert rmse["ALSFactorizer"] < rmse["item mean"] < rmse["global mean"]
    assert (tmp_path / "quickstart_results.png").read_bytes().startswith(PNG)


# ------------------------------------------------------------------------------ files


@pytest.mark.parametrize(
    ("header", "row", "args"),
    [
        ("", "{0}::{1}::{2}::978300760\n", []),
        ("", "{0}|{1}|{2}\n", ["--sep", "|"]),
        (
            "item,stars,user\n",
            "film {1:03},{2},Zoë {0:03}\n",
            ["--user-column=user", "--item-column=0", "--rating-column=stars"],
        ),
    ],
    ids=["::", "|", "strings"],
)
def test_runs_give_the_same_errors(quickstart, ratings, tmp_path, header, row, args):
    """Ids as text too: with leading zeros they sort as the numbers do."""
    X, y = ratings
    plain, _ = quickstart("--ratings", write_ratings(tmp_path / "plain.csv", X, y))
    path = write_ratings(tmp_path / "ratings", X, y, header=header, row=row)
    results, output = quickstart("--ratings", path, *args)
    assert errors_of(results) == errors_of(plain)
    columns = "user, 0, stars" if header else "0, 1, 2"
    assert results["data"]["source"] == f"{path}, columns {columns}"
    assert output.startswith(f"Data: {path}, columns {columns}\n")


def test_bytes_that_are_not_utf8(quickstart, tmp_path):
    path = tmp_path / "ratings.csv"
    lines = [f"u{k % 4}\xe9,i{k // 4}\xe8,{k % 5}" for k in range(40)]
    path.write_text("\n".join(lines), encoding="latin-1")
    results, _ = quickstart("--ratings", path)
    assert results["data"]["n_users"] == 4
    assert results["data"]["n_items"] == 10


GOOD = "".join(f"{k % 4},{k},3.5\n" for k in range(12))


@pytest.mark.parametrize(
    ("text", "args", "message"),
    [
        pytest.param(
            "user,item,rating\n" + GOOD,
            ["--item-column", "film"],
            r"ratings.csv, line 1: item='film' ",
            id="column",
        ),
        pytest.param(
            GOOD + "1,2,good\n", [], r"ratings.csv, line 13: .*'good'", id="line"
        ),
        pytest.param(
            GOOD[:16],
            [],
            r"ratings.csv, .*: too few ratings \(\d\), give 10",
            id="too few",
        ),
        pytest.param(GOOD, ["--n-jobs", "0"], "--n-jobs: must be 1 or more", id="jobs"),
        pytest.param(GOOD, ["--seed", "-1"], "'random_state' .* Got -1", id="seed"),
        pytest.param(
            None, [], "No such file or directory: .*ratings.csv", id="no file"
        ),
    ],
)
def test_errors(quickstart, tmp_path, capsys, text, args, message):
    path = tmp_path / "ratings.csv"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(SystemExit) as error:
        quickstart("--ratings", path, *args)
    assert error.value.code == 2
    assert re.search(message, capsys.readouterr().err)
    assert not list(tmp_path.rglob("*.json"))


def test_output_dir_that_is_a_file(script, tmp_path, capsys):
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(SystemExit) as error:
        script.main(["--output-dir", str(path)])
    assert error.value.code == 2
    assert re.search("exists.*file", capsys.readouterr().err)


def test_help(script, capsys):
    with pytest.raises(SystemExit) as end:
        script.main(["--help"])
    assert end.value.code == 0
    assert "python examples/quickstart.py" in capsys.readouterr().out


# -------------------------------------------------------------------- optional packages


def test_progress_bar_and_plot(quickstart, ratings, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    pytest.importorskip("rich")
    monkeypatch.setenv("COLUMNS", "120")
    path = write_ratings(tmp_path / "ratings.csv", *ratings)
    _, output = quickstart("--ratings", path)
    assert output.count("GridSearchCV - fit") == 1
    assert "100%" in output
    assert "ALSFactorizer - fit" not in output
    png = tmp_path / "out" / "quickstart_results.png"
    assert f"Plot: {png}\n" in output
    assert png.read_bytes().startswith(PNG)


def test_plot_shows_the_grid(quickstart, ratings, tmp_path, monkeypatch):
    figure = pytest.importorskip("matplotlib.figure")
    saved = []
    monkeypatch.setattr(
        figure.Figure, "savefig", lambda self, *_, **__: saved.append(self)
    )
    path = write_ratings(tmp_path / "ratings.csv", *ratings)
    results, _ = quickstart("--ratings", path)

    (figure,) = saved
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == [f"λ = {value:g}" for value in GRID["regularization"]]
    ticks = [label.get_text() for label in figure.axes[-1].get_xticklabels()]
    assert ticks == [str(value) for value in GRID["n_factors"]]
    panels = ["train_mse", "test_mse", "train_mae", "test_mae"]
    for ax, panel in zip(figure.axes, panels, strict=True):
        assert ax.get_title().lower() == panel.replace("_", " ")
        assert ax.get_xscale() == "log"
        assert_array_equal(ax.get_xticks(), GRID["n_factors"])
        for bars, value in zip(ax.containers, GRID["regularization"], strict=True):
            expected = [
                (point["n_factors"], point[f"mean_{panel}"])
                for point in results["grid"]
                if point["regularization"] == value
            ]
            assert_allclose(bars.lines[0].get_xydata(), expected)


WITHOUT = """
import importlib.util, sys

class Missing:
    def find_spec(name, path=None, target=None):
        if name in ("matplotlib", "pandas", "polars", "rich"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing)
spec = importlib.util.spec_from_file_location("quickstart", sys.argv[1])
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)
script.GRID = {"n_factors": [2, 4], "regularization": [0.05, 0.1, 0.2]}
script.main(sys.argv[2:])
"""


def test_without_optional_packages(ratings, tmp_path):
    path = write_ratings(tmp_path / "ratings.csv", *ratings)
    output = subprocess.run(
        [sys.executable, "-c", WITHOUT, SCRIPT, "--ratings", path],
        cwd=tmp_path,
        env={**os.environ, "PYTHONUTF8": "1"},
        stdout=subprocess.PIPE,
        encoding="utf-8",
        timeout=600,
        check=True,
    ).stdout
    check_table(read_results(tmp_path), output)
    assert output.count("pip install rich") == 1
    assert output.count("pip install matplotlib") == 1
    assert "Plot:" not in output
    assert not list(tmp_path.rglob("*.png"))
