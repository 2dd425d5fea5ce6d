"""What hypothesis draws in tests of several files."""

import numpy as np
from hypothesis import strategies as st


@st.composite
def rating_tables(draw):
    """Tables of distinct pairs."""
    n_users, n_items = draw(st.integers(1, 20)), draw(st.integers(1, 20))
    n_ratings = draw(st.integers(1, n_users * n_items))
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    cells = rng.choice(n_users * n_items, size=n_ratings, replace=False)
    return np.column_stack(np.divmod(cells, n_items)), np.arange(1.0, n_ratings + 1)
