"""What tests of Gibbs sampling share: a small problem, and chains on it."""

import numpy as np

from sklearn_mf._data.ratings import Ratings, sort_both_ways
from sklearn_mf._model.parameters import Parameters
from sklearn_mf._solvers.problem import Problem


def make_problem(users, items, ratings, weights, n_factors, seed=0, make_designs=None):
    """Return what a sampler is given: ratings as they are, and rows near 0.

    ``make_designs(ratings)`` returns the features of users and items, whose weights are
    0 at first.
    """
    shape = users.max() + 1, items.max() + 1
    sides = sort_both_ways([users, items], ratings, weights, shape)
    ratings = Ratings(*map(np.arange, shape), *sides)
    rng = np.random.RandomState(seed)
    start = Parameters.draw(ratings, n_factors, biased=True, scale=0.1, rng=rng)
    designs = (None, None) if make_designs is None else make_designs(ratings)
    start.feature_weights = tuple(
        [np.zeros((block.shape[1], n_factors + 1)) for block in design.blocks]
        if design
        else []
        for design in designs
    )
    return Problem(ratings, ratings, start, rng, run, features=designs)


def run(kernel, blocks, *args):
    """Run a kernel over blocks, as `thread_pool` does with one thread."""
    for block in blocks:
        kernel(*block, *args)
