"""The examples beside the quickstart, run as a user runs them."""

import re
import runpy
from pathlib import Path

import numpy as np

from sklearn_mf.datasets import make_ratings

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_folds_show_the_trap_of_a_sorted_file(tmp_path, capsys):
    X, y = make_ratings(400, 200, 10_000, random_state=0)
    path = tmp_path / "ratings.csv"
    np.savetxt(path, np.column_stack([X, y]), fmt="%g", delimiter=",")
    runpy.run_path(str(EXAMPLES / "folds.py"))["main"](["--ratings", str(path)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| folds | RMSE | unknown users | unknown items |"
    rows = {}
    for line in lines[2:]:
        name, rmse, users, _ = re.findall(r"[^|]+", line)
        rows[name.strip(" `")] = float(rmse), float(users.strip(" %"))
    sorted_by_user = rows.pop("cv=5")
    assert sorted_by_user[1] > 90
    for rmse, unknown_users in rows.values():
        assert unknown_users < 1
        assert rmse < sorted_by_user[0] - 0.05
