"""MovieLens latest-small, where it lies beside the checkout; it is never copied."""

from pathlib import Path

import numba
import numpy as np
import pytest

RATINGS = Path(__file__).parents[2] / "shared/data/ml-latest-small/ratings.csv"

needs_movielens = pytest.mark.skipif(
    not RATINGS.exists() or numba.config.DISABLE_JIT,
    reason="MovieLens latest-small is not beside the checkout, or nothing is compiled",
)


def load():
    """Return X (user and film of each rating) and y, in the file's order."""
    table = np.loadtxt(RATINGS, delimiter=",", skiprows=1)
    return table[:, :2].astype(np.int64), table[:, 2]
