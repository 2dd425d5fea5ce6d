"""What tests of several files draw: hypothesis's tables, and sparse ones."""

import numpy as np
from hypothesis import strategies as st
from scipy import sparse


@st.composite
def rating_tables(draw):
    """Tables of distinct pairs."""
    n_users, n_items = draw(st.integers(1, 20)), draw(st.integers(1, 20))
    n_ratings = draw(st.integers(1, n_users * n_items))
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    cells = rng.choice(n_users * n_items, size=n_ratings, replace=False)
    return np.column_stack(np.divmod(cells, n_items)), np.arange(1.0, n_ratings + 1)


def sparse_table(shape, density, rng):
    """Return numbers in (0, 1) at a share of the cells."""
    return sparse.csr_array(np.where(rng.random(shape) < density, rng.random(shape), 0))
