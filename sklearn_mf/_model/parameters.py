"""What a factorisation has learnt."""

import math
from dataclasses import dataclass, replace

import numpy as np

from sklearn_mf._data.labels import locate

SIDES = ("user", "item")


@dataclass
class Parameters:
    """The parameters of a factorisation: μ, and factors and biases of both sides.

    Solvers and kernels need one table for each side. In a model with biases the last
    column of a table is the bias; no other file needs to know how a table becomes the
    fitted attributes of an estimator.

    Attributes
    ----------
    users, items : ndarrays of shape (n_users,) and (n_items,)
        The labels of the rows, sorted.
    P, Q : ndarrays of shape (n_users, n_columns) and (n_items, n_columns)
        The tables of users and items.
    mean : float
        The mean rating, from which μ comes.
    biased : bool
        Whether the model has biases.
    feature_weights : tuple of 2 lists of float64 ndarrays
        Of users and of items, for each block of their features the weights, of shape
        (n_features, n_columns): see `FeaturePrior`. Empty without features.
    """

    users: np.ndarray
    items: np.ndarray
    P: np.ndarray
    Q: np.ndarray
    mean: float
    biased: bool
    feature_weights: tuple[list, list] = ([], [])

    @classmethod
    def draw(cls, ratings, n_factors, *, biased, scale, rng, n_parts=1):
        """Draw normal factors for the ids that have ratings; all else is zero.

        Parameters
        ----------
        ratings : Ratings
            The labels and the ratings of both sides.
        n_factors : int
            Number of factors, all of standard deviation `scale`.
        biased : bool
            Whether the model has biases.
        scale : float
            See above.
        rng : RandomState
            Source of the draws.
        n_parts : int
            How many vectors of factors each id has, side by side in its row.
        """
        options = {"biased": biased, "scale": scale, "rng": rng, "n_parts": n_parts}
        Q = draw_rows(ratings.by_item, n_factors, **options)
        P = draw_rows(ratings.by_user, n_factors, **options)
        return cls(ratings.users, ratings.items, P, Q, 0.0, biased)

    @classmethod
    def of(cls, model, biased):
        """Return the parameters of a fitted estimator."""
        P, Q = (_join_biases(model, side, biased) for side in SIDES)
        return cls(model.users_, model.items_, P, Q, model.global_mean_, biased)

    def take_over(self, old, names=("users", "items")):
        """Overwrite the rows of the ids that other parameters know with theirs.

        Error messages call the ids by `names`.
        """
        for name, labels, rows, old_labels, old_rows in (
            (names[0], self.users, self.P, old.users, old.P),
            (names[1], self.items, self.Q, old.items, old.Q),
        ):
            carry_over(name, rows, labels, old_rows, old_labels)

    def copy(self):
        """Return parameters whose tables are copies."""
        return replace(self, P=self.P.copy(), Q=self.Q.copy())

    def attributes(self):
        """Return the fitted attributes of an estimator, a dict."""
        return {
            "users_": self.users,
            "items_": self.items,
            "global_mean_": self.mean,
            **_split_biases("user", self.P, self.biased),
            **_split_biases("item", self.Q, self.biased),
        }


def draw_rows(side, n_factors, *, biased, scale, rng, n_parts=1):
    """Draw the table of one side; see `Parameters.draw`."""
    n_factors = int(n_factors)  # of NumPy's kinds of int, some would overflow
    shape = len(side.indptr) - 1, n_parts * n_factors + biased
    rated = np.flatnonzero(side.counts())
    try:
        rows = np.zeros(shape, side.dtype)
        for first in range(0, n_parts * n_factors, n_factors or 1):
            rows[rated, first : first + n_factors] = rng.normal(
                scale=scale, size=(len(rated), n_factors)
            )
    except MemoryError:
        gibibytes = math.prod(shape) * side.ratings.dtype.itemsize / 2**30
        raise MemoryError(
            f"n_factors={n_factors}: the factors of {shape[0]} ids need "
            f"{gibibytes:.0f} GiB: lower n_factors."
        ) from None
    return rows


def carry_over(name, rows, labels, old_rows, old_labels):
    """Overwrite the rows of the labels that are among the old ones with theirs."""
    codes = locate(name, labels, old_labels)
    known = codes >= 0
    rows[known] = old_rows[codes[known]]


def _join_biases(model, side, biased):
    factors = getattr(model, f"{side}_factors_")
    if not biased:
        return factors
    return np.column_stack([factors, getattr(model, f"{side}_biases_")])


def _split_biases(side, rows, biased):
    if not biased:
        return {f"{side}_factors_": rows}
    return {
        f"{side}_factors_": rows[:, :-1].copy(),
        f"{side}_biases_": rows[:, -1].copy(),
    }
