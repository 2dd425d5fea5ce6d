"""Ratings that are held out of a fit leave every user and item a rating."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from sklearn_mf import SGDFactorizer
from sklearn_mf._data.ratings import hold_out
from sklearn_mf._data.tables import read_ratings
from tests.strategies import rating_tables


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    table=rating_tables(),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 1000),
    weighted=st.booleans(),
)
def test_hold_out_leaves_every_id_a_rating(table, fraction, seed, weighted):
    X, y = table
    w = y + 0.5 if weighted else None
    ratings = read_ratings(SGDFactorizer(), X, y, w)
    kept, held_out = hold_out(ratings, fraction, np.random.RandomState(seed))
    assert (kept.by_user.counts() > 0).all()
    assert (kept.by_item.counts() > 0).all()
    assert_array_equal(kept.users, ratings.users)
    assert_array_equal(kept.items, ratings.items)
    if held_out is None:
        assert kept is ratings
        single = [np.bincount(column)[column] == 1 for column in X.T]
        if not (single[0] | single[1]).all():
            # Nothing can be spared all the same only where every rating is the last
            # one, in the order drawn, of its user or its item.
            assert len(y) < len(ratings.users) + len(ratings.items)
        return
    n = len(held_out.ratings)
    assert 1 <= n <= max(1, round(fraction * len(y)))
    spare = len(y) - len(ratings.users) - len(ratings.items)
    assert n >= min(max(1, round(fraction * len(y))), spare)
    side = kept.by_user
    users = np.repeat(np.arange(len(kept.users)), side.counts())
    rows = [
        (kept.users[users], kept.items[side.indices], side.ratings, side.weights),
        (
            ratings.users[held_out.users],
            ratings.items[held_out.items],
            held_out.ratings,
            held_out.weights,
        ),
    ]
    found = np.concatenate([np.column_stack(part[:3]) for part in rows])
    order = np.argsort(found[:, 2])
    assert_array_equal(found[order], np.column_stack([X, y]))
    for part in rows:
        if weighted:
            assert_array_equal(part[3], part[2] + 0.5)
        else:
            assert part[3] is None
