"""A sample of factorisations from their posterior distribution.

Each draw predicts μ + b_u + b_i + p_u · q_i. A draw is kept in the form in which what
is not known of an id is zero: with prior means m and n of the factors, a and c of the
biases,

    μ ← μ + a + c + m·n,   b_u ← b_u − a + (p_u − m)·n,   b_i ← b_i − c + (q_i − n)·m,
    p_u ← p_u − m,         q_i ← q_i − n

which leaves all predictions as they are. With features x_u and weights G and g, the
prior means of a user are m + Gᵀ x_u and a + g·x_u. As what is kept of any row, these
are Gᵀ x_u and (g + G n)·x_u, and the weights are kept as G and g + G n.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import partial

import numpy as np
from scipy.special import ndtr

from sklearn_mf._data.labels import locate
from sklearn_mf._model.features import NO_FEATURES, OTHER, FeatureWeights
from sklearn_mf._model.parameters import SIDES, Parameters
from sklearn_mf._model.scoring import score_in_blocks, score_pairs
from sklearn_mf._runtime.linear_algebra import (
    add_up_products,
    decompose,
    invert,
    matrix_product,
    orthogonalise,
)

SAMPLES = "_samples_"  # end of the names of attributes that hold draws
ITERATIONS = 3  # to find the nearest factorisation; further ones change little


@dataclass
class Sample:
    """One draw, as a chain makes it.

    Attributes
    ----------
    parameters : Parameters
        Of all ids, with biases.
    means, variances : lists of 2 ndarrays of shape (n_columns,)
        Of the normal priors of the parameters of users, and of items.
    noise : tuple of an ndarray of shape (n_users,) and a float
        The variance of a new rating of each user, and of an unknown user.
    cut_points : ndarray of shape (n_levels - 1,)
        Where one rating level becomes the next; empty for ratings with normal noise.
    spreads : sequence of 2 ndarrays of shape (2, n_columns, n_columns), or None
        Of users and of items, the covariances among rows with ratings of what features
        predict of them: of the ratings as features alone, and of all features.
    weights : sequence of 2 FeatureWeights
        Those of users and of items.
    """

    parameters: Parameters
    means: list
    variances: list
    noise: tuple
    cut_points: np.ndarray
    spreads: Sequence[np.ndarray | None] = (None, None)
    weights: Sequence[FeatureWeights] = (NO_FEATURES, NO_FEATURES)


@dataclass
class Posterior:
    """Draws of a factorisation. The first axis of all arrays but the ids counts them.

    Attributes
    ----------
    users, items : ndarrays of shape (n_users,) and (n_items,)
        The labels.
    intercepts : ndarray of shape (n_draws,)
        μ.
    user_factors, item_factors : ndarrays of shape (n_draws, n_rows, n_factors)
        p and q.
    user_biases, item_biases : ndarrays of shape (n_draws, n_rows)
        b.
    user_priors, item_priors : ndarrays of shape (n_draws, 2, n_factors + 1)
        Means and variances of the priors of factors and biases.
    noise_variances : ndarray of shape (n_draws, n_users + 1)
        The variance of a new rating of each user, and last of an unknown user.
    cut_points : ndarray of shape (n_draws, n_levels - 1)
        See `Sample`.
    user_spreads, item_spreads : ndarrays (n_draws, 2, n_columns, n_columns), or None
        Likewise; None without features.
    weights : list of 2 FeatureWeights
        Samples of those of users and of items.
    rated : list of 2 bool ndarrays of shape (n_users,) and (n_items,), or None
        Which ids have ratings. What is not known of others varies as their prior. None:
        all of them.
    """

    users: np.ndarray
    items: np.ndarray
    intercepts: np.ndarray
    user_factors: np.ndarray
    item_factors: np.ndarray
    user_biases: np.ndarray
    item_biases: np.ndarray
    user_priors: np.ndarray
    item_priors: np.ndarray
    noise_variances: np.ndarray
    cut_points: np.ndarray
    user_spreads: np.ndarray | None
    item_spreads: np.ndarray | None
    weights: list[FeatureWeights]
    rated: list | None = None

    @classmethod
    def allocate(cls, sample, n_draws, rated=None):
        """Return room for draws like one; see above for the other arguments."""
        start = sample.parameters
        dtype = start.P.dtype
        (n_users, n_columns), n_items = start.P.shape, len(start.Q)
        return cls(
            start.users,
            start.items,
            np.empty(n_draws, dtype),
            np.empty((n_draws, n_users, n_columns - 1), dtype),
            np.empty((n_draws, n_items, n_columns - 1), dtype),
            np.empty((n_draws, n_users), dtype),
            np.empty((n_draws, n_items), dtype),
            np.empty((n_draws, 2, n_columns), dtype),
            np.empty((n_draws, 2, n_columns), dtype),
            np.empty((n_draws, n_users + 1), dtype),
            np.empty((n_draws, len(sample.cut_points)), dtype),
            *(
                None if spread is None else np.empty((n_draws, *spread.shape), dtype)
                for spread in sample.spreads
            ),
            [
                weights.change(lambda G: np.empty((n_draws, *G.shape), G.dtype))
                for weights in sample.weights
            ],
            rated,
        )

    @classmethod
    def of(cls, learnt):
        """Return the draws among the fitted attributes of an estimator, a dict."""
        arrays = [learnt.get(f"{name}_samples_") for name in ARRAYS]
        weights = [FeatureWeights.of(learnt, side, True, SAMPLES) for side in SIDES]
        users, items = learnt["users_"], learnt["items_"]
        indptr, indices = learnt["seen_indptr_"], learnt["seen_indices_"]
        rated = [np.diff(indptr) > 0, np.bincount(indices, minlength=len(items)) > 0]
        return cls(users, items, *arrays, weights, rated)

    def attributes(self):
        """Return the fitted attributes of an estimator, a dict."""
        nearest = self.nearest()
        attributes = nearest.attributes() | self.samples()
        others = nearest.Q, nearest.P
        for side, weights, rows in zip(SIDES, self.weights, others, strict=True):
            if weights:
                matrices = self.projections(side, rows[:, :-1])
                weights = weights.change(partial(_average, matrices))
                attributes |= weights.attributes(side, True)
        return attributes

    def samples(self):
        """Return the fitted attributes that are the draws, a dict."""
        samples = {
            f"{name}_samples_": array
            for name in ARRAYS
            if (array := getattr(self, name)) is not None
        }
        for side, weights in zip(SIDES, self.weights, strict=True):
            samples |= weights.attributes(side, True, SAMPLES)
        return samples

    def __len__(self):
        return len(self.intercepts)

    def first(self, n):
        """Return copies of the first n draws."""
        changes = {
            name: array[:n].copy()
            for name in ARRAYS
            if (array := getattr(self, name)) is not None
        }
        weights = [part.change(lambda G: G[:n].copy()) for part in self.weights]
        return replace(self, **changes, weights=weights)

    def put(self, k, sample):
        """Make a draw the k-th."""
        given, means = sample.parameters, sample.means
        (m, a), (n, c) = (
            (side[:-1], side[-1])
            for side in (side.astype(given.P.dtype) for side in means)
        )
        product = np.sum(means[0][:-1] * means[1][:-1])
        self.intercepts[k] = given.mean + means[0][-1] + means[1][-1] + product
        np.subtract(given.P[:, :-1], m, out=self.user_factors[k])
        np.subtract(given.Q[:, :-1], n, out=self.item_factors[k])
        self.user_biases[k] = (
            given.P[:, -1] - a + (self.user_factors[k] * n).sum(axis=1)
        )
        self.item_biases[k] = (
            given.Q[:, -1] - c + (self.item_factors[k] * m).sum(axis=1)
        )
        self.user_priors[k] = means[0], sample.variances[0]
        self.item_priors[k] = means[1], sample.variances[1]
        self.noise_variances[k, :-1], self.noise_variances[k, -1] = sample.noise
        self.cut_points[k] = sample.cut_points
        spreads = self.user_spreads, self.item_spreads
        for kept, spread in zip(spreads, sample.spreads, strict=True):
            if kept is not None:
                kept[k] = spread
        for kept, drawn, mean in zip(self.weights, sample.weights, (n, m), strict=True):
            kept.put(k, drawn.change(partial(_centre, mean)))

    # ----------------------------------------------------------------- posterior mean

    def nearest(self):
        """Return the `Parameters` that are nearest to the mean of the draws.

        Factors of different draws must not be averaged, since they may be rotated
        against one another. The mean of the products P Qᵀ has a higher rank than each
        of them; its best approximation of the same rank is found by orthogonal
        iteration, without the product ever being formed.
        """
        means = [a.mean(axis=0) for a in (self.user_biases, self.item_biases)]
        factors = self._approximate()
        P, Q = (
            np.column_stack([rows, biases])
            for rows, biases in zip(factors, means, strict=True)
        )
        mean = float(self.intercepts.mean(dtype=np.float64))
        return Parameters(self.users, self.items, P, Q, mean, biased=True)

    def _approximate(self):
        (_, n_users, n_factors), n_items = self.user_factors.shape, len(self.items)
        dtype = self.user_factors.dtype
        factors = (
            np.zeros((n_users, n_factors), dtype),
            np.zeros((n_items, n_factors), dtype),
        )
        rank = min(n_users, n_items, n_factors)
        if not rank:
            return factors
        items = self.item_factors[-1][:, :rank]
        both = self.user_factors, self.item_factors
        for _ in range(ITERATIONS):
            users = orthogonalise(add_up_products(*both, items))
            kept = add_up_products(*both[::-1], users) / len(self)
            items = orthogonalise(kept)
        U, values, Vt = decompose(kept)
        root = np.sqrt(values)
        factors[0][:, :rank] = matrix_product(users, Vt.T * root)
        factors[1][:, :rank] = U * root
        for rows, draws in zip(factors, both, strict=True):
            rows[~draws.any(axis=(0, 2))] = 0  # ids without ratings, but for rounding
        return factors

    def projections(self, name, nearest):
        """Return what takes factors of new ids to the nearest ones.

        The row x of a new id is to be the least-squares solution of Q̄ x = mean (Q p)
        over the draws, which is the mean of p Qᵀ Q̄ (Q̄ᵀ Q̄)⁻¹. Only ids with ratings
        have a part in it.

        Parameters
        ----------
        name : {"user", "item"}
            The side of the new ids.
        nearest : ndarray of shape (n_other_rows, n_factors)
            The factors of the other side that `nearest` returned: Q̄.

        Returns
        -------
        float64 ndarray of shape (n_draws, n_factors, n_factors)
            A matrix for each draw.
        """
        others = getattr(self, f"{OTHER[name]}_factors")
        rated = (
            slice(None) if self.rated is None else self.rated[SIDES.index(OTHER[name])]
        )
        nearest = nearest[rated].astype(np.float64)
        inverse = matrix_product(nearest, invert(matrix_product(nearest.T, nearest)))
        return np.stack([matrix_product(fixed[rated].T, inverse) for fixed in others])

    def join(self, name, labels, folded, factors, biases):
        """Return the draws with rows of a side for other labels, some of them new.

        Parameters
        ----------
        name : {"user", "item"}
            The side.
        labels : ndarray
            Its labels, the present ones among them.
        folded : int ndarray of shape (n_rows,)
            Where new rows stand among them.
        factors, biases : ndarrays of shape (n_draws, n_rows, …)
            The new rows.
        """
        places = locate(name, getattr(self, f"{name}s"), labels)
        other = SIDES.index(OTHER[name])
        weights = list(self.weights)
        weights[other] = weights[other].grow(len(labels), places)
        changes = {f"{name}s": labels, "weights": weights, "rated": None}
        for part, rows in (("factors", factors), ("biases", biases)):
            old = getattr(self, f"{name}_{part}")
            new = np.zeros((len(old), len(labels), *old.shape[2:]), old.dtype)
            new[:, places], new[:, folded] = old, rows
            changes[f"{name}_{part}"] = new
        if name == "user":
            old = self.noise_variances
            new = np.repeat(old[:, -1:], len(labels) + 1, axis=1)
            new[:, places] = old[:, :-1]
            changes["noise_variances"] = new
        return replace(self, **changes)

    # --------------------------------------------------------------------- predictions

    def scores(self, pairs, n_jobs):
        """Yield the scores of pairs by each draw, and their variance.

        Yields
        ------
        scores : float64 ndarray of shape (n_pairs,)
            μ + b_u + b_i + p_u · q_i, in which what is not known is at its mean.
        variances : float64 ndarray of shape (n_pairs,)
            What is not known of new ids adds to the variance.
        """
        kinds = self._kinds(pairs)
        unknown = np.flatnonzero(kinds[0] | kinds[1])
        for k in range(len(self)):
            scores = score_in_blocks(
                score_pairs,
                pairs,
                self.user_factors.dtype,
                n_jobs,
                self.intercepts[k],
                self.user_factors[k],
                self.item_factors[k],
                self.user_biases[k],
                self.item_biases[k],
            )
            variances = np.zeros(len(scores))
            if len(unknown):
                variances[unknown] = self._prior_variance(
                    k,
                    (pairs.users[unknown], pairs.items[unknown]),
                    (kinds[0][unknown], kinds[1][unknown]),
                )
            yield scores.astype(np.float64), variances

    def _kinds(self, pairs):
        """Tell what is known of the user and of the item of each pair.

        It is 0 for ids with ratings, 1 for those that have features alone, and 2 for
        those of which nothing is known. Only these have a bias of exactly 0.
        """
        kinds = []
        for side, codes, biases in zip(
            SIDES,
            (pairs.users, pairs.items),
            (self.user_biases, self.item_biases),
            strict=True,
        ):
            new = codes < 0
            unknown = new | (biases[0, codes] == 0)
            if self.rated is not None:
                new = new | ~self.rated[SIDES.index(side)][codes]
            kinds.append(np.where(new, 1 + unknown, 0))
        return kinds

    def _prior_variance(self, k, codes, kinds):
        """Return the variance of the scores of pairs with new ids, given draw k.

        For p ~ N(m, S) and q ~ N(n, T), independent, p·q has the variance
        n·Sn + m·Tm + tr(ST); a known vector is its mean. S and T are diagonal, and
        where features are not known there is what these would tell besides.
        """
        means, spreads, biases = [], [], 0.0
        for own, kind, factors, (mean, variance) in zip(
            codes,
            kinds,
            (self.user_factors[k], self.item_factors[k]),
            (self.user_priors[k], self.item_priors[k]),
            strict=True,
        ):
            unseen, new = (own < 0)[:, np.newaxis], (kind > 0)[:, np.newaxis]
            means.append(mean[:-1] + np.where(unseen, 0, factors[own]))
            spreads.append(np.where(new, variance[:-1], 0))
            biases = biases + np.where(new[:, 0], variance[-1], 0)
        products = spreads[0] * means[1] ** 2 + spreads[1] * means[0] ** 2
        total = biases + (products + spreads[0] * spreads[1]).sum(axis=1)
        both = self.user_spreads, self.item_spreads
        for side, kept in enumerate(both):
            for kind in (1, 2) if kept is not None else ():
                rows, C = np.flatnonzero(kinds[side] == kind), kept[k, kind - 1]
                other = np.column_stack([means[1 - side][rows], np.ones(len(rows))])
                total[rows] += np.einsum("kf,fg,kg->k", other, C, other)
                total[rows] += (spreads[1 - side][rows] * C.diagonal()[:-1]).sum(axis=1)
        if both[0] is not None and both[1] is not None:
            factors = [kept[k, :, :-1, :-1] for kept in both]
            traces = np.zeros((3, 3))
            traces[1:, 1:] = np.einsum("afg,bgf->ab", *factors)
            total += traces[kinds[0], kinds[1]]
        return total

    def noise(self, k, users):
        """Return the variance of new ratings of users by their codes, given draw k."""
        variances = self.noise_variances[k].astype(np.float64)
        return variances[users]  # of -1 the last, that of an unknown user

    def variance(self, pairs, n_jobs, *, noisy=True):
        """Return the variance of new ratings of pairs, float64, with normal noise.

        It is the variance of the scores among the draws, and the mean over the draws of
        what is not known of new ids and, with `noisy`, of the noise.
        """
        center, total, squares, rest = None, 0.0, 0.0, 0.0
        for k, (scores, variances) in enumerate(self.scores(pairs, n_jobs)):
            center = scores if center is None else center  # against rounding
            total = total + (scores - center)
            squares = squares + (scores - center) ** 2
            rest = rest + variances
            if noisy:
                rest = rest + self.noise(k, pairs.users)
        n = len(self)
        return np.maximum(squares / n - (total / n) ** 2, 0) + rest / n

    def shares_below(self, pairs, n_jobs):
        """Yield the probabilities, by each draw, of levels below each cut point.

        Yields
        ------
        float64 ndarray of shape (n_pairs, n_cut_points)
        """
        for k, (scores, variances) in enumerate(self.scores(pairs, n_jobs)):
            ends = self.cut_points[k] - scores[:, np.newaxis]
            variances += self.noise(k, pairs.users)
            yield ndtr(ends / np.sqrt(variances)[:, np.newaxis])

    def level_shares(self, pairs, n_jobs):
        """Return the probabilities of rating levels, float64 (n_pairs, n_levels)."""
        n_cut_points = self.cut_points.shape[1]
        total = np.zeros((len(pairs.users), n_cut_points + 2))
        for below in self.shares_below(pairs, n_jobs):
            total[:, 1:-1] += below
        total[:, -1] = len(self)
        return np.diff(total, axis=1) / len(self)


ARRAYS = [field.name for field in fields(Posterior)[2:-2]]  # of draws, not of weights


def _centre(mean, weights):
    """Return weights as they are kept, with the prior mean of the other side."""
    shift = (weights[:, :-1] * mean).sum(axis=1)
    return np.column_stack([weights[:, :-1], weights[:, -1] + shift])


def _average(matrices, weights):
    """Return the mean of weights, those of factors by `project`."""
    biases = weights[..., -1].mean(axis=0)
    return np.column_stack([project(weights[..., :-1], matrices), biases])


def project(factors, matrices):
    """Return the mean of the factors of each draw times its matrix.

    Parameters
    ----------
    factors : ndarray of shape (n_draws, n_rows, n_factors)
        Of new ids.
    matrices : ndarray of shape (n_draws, n_factors, n_factors)
        From `Posterior.projections`.

    Returns
    -------
    ndarray of shape (n_rows, n_factors), of the dtype of the factors
    """
    total = sum(map(matrix_product, factors, matrices))
    return (total / len(factors)).astype(factors.dtype)
