"""Ratings of repeated pairs."""

import numpy as np
import pytest

from sklearn_mf._data.ratings import sort_both_ways


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_mean_of_equal_ratings_is_that_rating(dtype):
    users = np.array([0, 0, 1, 1, 1], np.int32)
    items = np.array([0, 0, 0, 1, 1], np.int32)
    ratings = np.array([3, 3, 5, 0.5, 0.5], dtype)
    weights = np.array([0.1, 0.7, 0.3, 1e-42, 1e-42], dtype)
    side, _ = sort_both_ways([users, items], ratings, weights, (2, 2))
    np.testing.assert_array_equal(side.ratings, [3, 5, 0.5])
    assert side.ratings.dtype == side.weights.dtype == dtype
