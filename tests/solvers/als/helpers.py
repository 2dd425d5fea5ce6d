"""What tests of alternating least squares share: parameters as tables of rows."""

import numpy as np

from sklearn_mf import BiasedMF


def rows_of(model):
    """Return the fitted rows of users and items, where there are biases these last."""
    rows = []
    for side in ("user", "item"):
        columns = [getattr(model, f"{side}_factors_")]
        if isinstance(model, BiasedMF):
            columns.append(getattr(model, f"{side}_biases_"))
        rows.append(np.column_stack(columns).astype(float))
    return rows


def first_users(model, X, n_users=None):
    """Return the users' rows that a fit begins with; without a rating they are zero.

    Those of the items are drawn first.
    """
    users, items = (np.unique(ids) for ids in X.T)
    n_users = users[-1] + 1 if n_users is None else n_users
    P = np.zeros((n_users, model.n_factors + isinstance(model, BiasedMF)))
    rng = np.random.RandomState(model.random_state)
    rng.normal(size=(len(items), model.n_factors))
    size = len(users), model.n_factors
    P[users, : model.n_factors] = rng.normal(scale=model.init_scale, size=size)
    return P
