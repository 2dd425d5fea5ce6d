"""What a factorisation has learnt of features: a weight of each for every parameter."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse

from sklearn_mf._model.parameters import carry_over
from sklearn_mf._runtime.linear_algebra import matrix_product, sparse_product

OTHER = {"user": "item", "item": "user"}


@dataclass(frozen=True)
class FeatureWeights:
    """The weights of the features of one side, in the units of the features.

    For an id with features x and with ratings of n of the other ids, they predict the
    parameters Wᵀ (x − centers) + Yᵀ (z − rated_centers), where z is n^-½ for each of
    these ids and 0 for all others. A term is 0 for an id without such features; and for
    an id without ratings A takes the place of W, which also predicts the other term.
    There may be a sample of W, A and Y, which then have one more axis in front.

    Attributes
    ----------
    names : ndarray of str objects of shape (n_features,)
        Names of the features.
    centers : ndarray of shape (n_features,)
        Their means in fit.
    given : ndarray of shape (n_features, n_columns), or None
        W; None without features.
    alone : ndarray of shape (n_features, n_columns), or None
        A, where it is not W.
    rated : ndarray of shape (n_others, n_columns), or None
        Y; None where what was rated is no feature.
    rated_centers : ndarray of shape (n_others,)
        The mean of z in fit.
    """

    names: np.ndarray
    centers: np.ndarray
    given: Any
    alone: Any
    rated: Any
    rated_centers: np.ndarray

    @classmethod
    def learnt(cls, design, weights, dtype):
        """Return the weights of a `Design`, of which `weights` has those of each block.

        In these the features are standardised.
        """
        weights = list(weights)
        given = alone = rated = None
        rated_centers = np.zeros(0, dtype)
        if design.given is not None:
            scales = design.scales[:, np.newaxis]
            given = (weights.pop(0) / scales).astype(dtype)
        if design.rated is not None:
            rated = weights.pop(0).astype(dtype)
            rated_centers = design.rated.centers.astype(dtype)
            if given is not None and weights:
                alone = (weights.pop() / scales).astype(dtype)
        centers = design.centers.astype(dtype)
        return cls(design.names, centers, given, alone, rated, rated_centers)

    @classmethod
    def of(cls, fitted, side, biased, end="_"):
        """Return the weights among fitted attributes, a dict.

        With the end "_samples_" of their names, it is a sample of weights.
        """
        given, alone, rated = (
            _join(fitted, f"{side}_{prefix}", biased, end)
            for prefix in ("feature", "cold", "rated")
        )
        names = fitted.get(f"{side}_feature_names_", NO_FEATURES.names)
        centers, rated_centers = (
            fitted.get(f"{side}_{prefix}_centers_", NO_FEATURES.centers)
            for prefix in ("feature", "rated")
        )
        return cls(names, centers, given, alone, rated, rated_centers)

    def attributes(self, side, biased, end="_"):
        """Return the fitted attributes of an estimator, a dict; see `of`."""
        attributes = {}
        if self.given is not None:
            attributes |= {
                f"{side}_feature_names_": self.names,
                f"{side}_feature_centers_": self.centers,
                **_split(self.given, f"{side}_feature", biased, end),
            }
        if self.alone is not None:
            attributes |= _split(self.alone, f"{side}_cold", biased, end)
        if self.rated is not None:
            attributes |= {
                f"{side}_rated_centers_": self.rated_centers,
                **_split(self.rated, f"{side}_rated", biased, end),
            }
        return attributes

    def __bool__(self):
        return self.given is not None or self.rated is not None

    def change(self, function):
        """Return these with what a function makes of W, of A and of Y."""
        given, alone, rated = (
            None if part is None else function(part)
            for part in (self.given, self.alone, self.rated)
        )
        return replace(self, given=given, alone=alone, rated=rated)

    def put(self, k, weights):
        """Overwrite the k-th of a sample."""
        for part in ("given", "alone", "rated"):
            if getattr(self, part) is not None:
                getattr(self, part)[k] = getattr(weights, part)

    def grow(self, n_others, places):
        """Return these for more of the other ids, among which the old ones have places.

        Their Y are 0.
        """
        if self.rated is None:
            return self
        shape = *self.rated.shape[:-2], n_others, self.rated.shape[-1]
        rated, centers = (
            np.zeros(shape, self.rated.dtype),
            np.zeros(n_others, self.rated.dtype),
        )
        rated[..., places, :], centers[places] = self.rated, self.rated_centers
        return replace(self, rated=rated, rated_centers=centers)

    def begin(self, design, labels, old_labels, n_columns):
        """Return weights for a `FeaturePrior` to begin with: these, or zeros.

        Parameters
        ----------
        design : Design
            The features to come.
        labels, old_labels : ndarrays
            The ids of the other side, and those that `rated` has a row for.
        n_columns : int
            Number of parameters of a row.
        """
        blocks = [np.zeros((block.shape[1], n_columns)) for block in design.blocks]
        was_given = self.given is not None and design.given is not None
        if was_given and np.array_equal(self.names, design.names):
            scales = np.where(np.isfinite(design.scales), design.scales, 0)
            blocks[0][:] = self.given * scales[:, np.newaxis]
        if self.rated is not None and design.rated is not None:
            carry_over("rated ids", blocks[-1], labels, self.rated, old_labels)
        return blocks

    def expect(self, table, name, labels, side):
        """Return the parameters that features predict of ids.

        Parameters
        ----------
        table : FeatureTable or None
            Features of ids, these among them.
        name : str
            What error messages call them.
        labels : ndarray of shape (n_rows,)
            The ids, sorted.
        side : Side or None
            What they rated, by codes of the other ids; None for nothing.

        Returns
        -------
        float64 ndarray of shape (n_rows, n_columns), or (n_samples, n_rows, n_columns)
        """
        block = self.rated if self.given is None else self.given
        means = np.zeros((*block.shape[:-2], len(labels), block.shape[-1]))
        counts = np.zeros(len(labels)) if side is None else side.counts()
        if self.given is not None and table is not None:
            given = table, name, labels
            means += self._expect_given(*given, self.given)
            if self.alone is not None:
                cold = counts == 0
                means[..., cold, :] = self._expect_given(*given, self.alone)[
                    ..., cold, :
                ]
        if self.rated is not None and side is not None:
            roots = np.repeat(np.maximum(counts, 1) ** -0.5, counts)
            met, codes = np.unique(side.indices, return_inverse=True)
            shape = len(labels), len(met)
            pattern = sparse.csr_array((roots, codes, side.indptr), shape)
            means += _multiply(pattern, self.rated[..., met, :])
            center = _multiply(self.rated_centers[np.newaxis], self.rated)
            means[..., counts > 0, :] -= center
        return means

    def _expect_given(self, table, name, labels, weights):
        if not np.array_equal(table.names, self.names):
            raise ValueError(
                f"{name} has the features {_some(table.names)}, but those of fit were "
                f"{_some(self.names)}: pass the same columns in the same order."
            )
        matrix, known = table.take(name, labels)
        if sparse.issparse(matrix):
            means = _multiply(matrix, weights)
            means -= _multiply(self.centers[np.newaxis], weights)
        else:
            means = _multiply(matrix - self.centers, weights)
        means[..., ~known, :] = 0
        return means


NO_FEATURES = FeatureWeights(
    np.empty(0, object), np.empty(0), None, None, None, np.empty(0)
)


def _multiply(matrix, weights):
    """Return the product of features with weights, or with each sample of them."""
    weights = weights.astype(np.float64)
    if not sparse.issparse(matrix):
        return matrix_product(matrix, weights)
    if weights.ndim == 2:
        return sparse_product(matrix, weights)
    return np.stack([sparse_product(matrix, sample) for sample in weights])


def _some(names):
    """Return what error messages show of names."""
    names = list(map(str, names))
    shown = ", ".join(names[:3])
    return f"{shown}, … ({len(names)})" if len(names) > 3 else shown


KINDS = {"feature": "weights", "cold": "weights", "rated": "factors"}


def _join(fitted, prefix, biased, end):
    kind = KINDS[prefix.partition("_")[2]]
    factors = fitted.get(f"{prefix}_{kind}{end}")
    if factors is None or not biased:
        return factors
    biases = fitted[f"{prefix}_biases{end}"]
    return np.concatenate([factors, biases[..., np.newaxis]], axis=-1)


def _split(rows, prefix, biased, end):
    kind = KINDS[prefix.partition("_")[2]]
    if not biased:
        return {f"{prefix}_{kind}{end}": rows}
    return {
        f"{prefix}_{kind}{end}": rows[..., :-1].copy(),
        f"{prefix}_biases{end}": rows[..., -1].copy(),
    }
