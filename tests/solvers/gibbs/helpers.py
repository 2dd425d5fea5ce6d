"""What tests of Gibbs sampling share: a small problem, and chains on it."""

import numpy as np

from sklearn_mf._data.ratings import Ratings, sort_both_ways
from sklearn_mf._model.parameters import Parameters
from sklearn_mf._solvers.problem import Problem


def make_problem(users, items, ratings, weights, n_factors, seed=0):
    """Return what a sampler is given: ratings as they are, and rows near 0."""
    shape = users.max() + 1, items.max() + 1
    sides = sort_both_ways(users, items, ratings, weights, shape)
    ratings = Ratings(*map(np.arange, shape), *sides)
    rng = np.random.RandomState(seed)
    start = Parameters.draw(ratings, n_factors, biased=True, scale=0.1, rng=rng)
    return Problem(ratings, ratings, start, rng, run)


def run(kernel, blocks, *args):
    """Run a kernel over blocks, as `thread_pool` does with one thread."""
    for block in blocks:
        kernel(*block, *args)
