"""Features of users and items: what is known of an id before anybody rated."""

from dataclasses import replace
from numbers import Real
from typing import Any, Self

import numpy as np
from scipy import sparse
from sklearn.utils._param_validation import HasMethods, StrOptions
from sklearn.utils.validation import check_is_fitted

from sklearn_mf._data.arguments import Interval
from sklearn_mf._data.features import (
    RATED,
    make_design,
    pattern_of,
    read_feature_table,
    read_features,
)
from sklearn_mf._data.labels import locate, merge
from sklearn_mf._data.ratings import Ratings, Side
from sklearn_mf._files import checks
from sklearn_mf._model.features import OTHER, FeatureWeights
from sklearn_mf._model.parameters import SIDES, carry_over

FEATURES = [
    None,
    StrOptions({RATED}),
    tuple,
    list,
    HasMethods("to_numpy"),
    HasMethods("to_pandas"),
]


def check_names(name, names, known):
    """Check the names of features."""
    side = name.removesuffix("_names_")
    checks.check_array(name, names, (f"{side}s",), known, object)
    texts = all(isinstance(text, str) for text in names)
    checks.demand(texts, name, "does not hold texts")


def feature_attributes(*, biased, sampled=False):
    """Declare the fitted attributes of features; see `check_fitted`.

    With `sampled`, there is a sample of the weights too.
    """
    declared: dict = {}
    for side, other in OTHER.items():
        shape, others = (f"{side}_features",), (f"{other}s",)
        shapes = {
            f"{side}_feature_names_": check_names,
            f"{side}_feature_centers_": shape,
            f"{side}_feature_weights_": (*shape, "factors"),
            f"{side}_cold_weights_": (*shape, "factors"),
            f"{side}_rated_centers_": others,
            f"{side}_rated_factors_": (*others, "factors"),
        }
        if biased:
            shapes[f"{side}_feature_biases_"] = shape
            shapes[f"{side}_cold_biases_"] = shape
            shapes[f"{side}_rated_biases_"] = others
        if sampled:
            shapes |= {
                f"{name}samples_": ("kept", *kind)
                for name, kind in shapes.items()
                if name.endswith(("weights_", "factors_", "biases_"))
            }
        declared |= {name: checks.Optional(kind) for name, kind in shapes.items()}
    return declared


def _to_arrays(matrix):
    """Return a matrix as a file can hold it: a sparse one as a dict of its arrays."""
    if not sparse.issparse(matrix):
        return matrix
    return {name: getattr(matrix, name) for name in ("indptr", "indices", "data")}


def _restore_features(value):
    """Return a parameter that holds features from what a file holds of it."""
    if isinstance(value, list):
        return [_restore_features(part) for part in value]
    if not isinstance(value, tuple):
        return value
    ids, matrix, names = value
    if isinstance(matrix, dict):
        matrix = _restore_matrix(matrix, (len(ids), len(names)))
    return ids, matrix, names.tolist()


def _restore_matrix(arrays, shape):
    """Return a sparse matrix from its arrays, whose indices must be in range."""
    indptr, indices, data = (arrays[name] for name in ("indptr", "indices", "data"))
    for array, kind in ((indptr, "i"), (indices, "i"), (data, "f")):
        is_one = isinstance(array, np.ndarray) and array.ndim == 1
        checks.demand(is_one and array.dtype.kind == kind, "a matrix", "is not sparse")
    checks.demand(
        len(indptr) == shape[0] + 1
        and indptr[0] == 0
        and indptr[-1] == len(indices) == len(data)
        and (indptr[:-1] <= indptr[1:]).all()  # a difference could overflow
        and (indices >= 0).all()
        and (indices < shape[1]).all(),
        "a sparse matrix",
        "has rows or columns that it does not have",
    )
    return sparse.csr_array((data, indices, indptr), shape)


class FeaturesMixin:
    """A factorisation whose penalty pulls towards what features predict."""

    user_features: Any
    item_features: Any
    feature_regularization: float

    _parameter_constraints: dict = {
        "user_features": FEATURES,
        "item_features": FEATURES,
        "feature_regularization": [Interval(Real, 0, None, closed="neither")],
    }

    def _feature_tables(self):
        """Read the parameters: of each side a table or None, and whether "rated"."""
        return {
            side: read_features(
                f"{side}_features",
                getattr(self, f"{side}_features"),
                getattr(self, f"{side}_column"),
            )
            for side in SIDES
        }

    def _design(self, ratings, start, previous):
        """Return the features of the rows of both sides, for a `Problem`.

        The weights that it begins with become those of `start`, and the rows of ids
        that are new to a previous fit begin about what these predict.

        Parameters
        ----------
        ratings : Ratings
            What is learnt from, or all that was seen.
        start : Parameters
            Where the fit begins.
        previous : estimator or None
            The fit that it continues.
        """
        labels = {"user": ratings.users, "item": ratings.items}
        sides = {"user": ratings.by_user, "item": ratings.by_item}
        rows = {"user": start.P, "item": start.Q}
        designs, weights = [], []
        for side, (table, is_rated) in self._feature_tables().items():
            if table is None and not is_rated:
                designs.append(None)
                weights.append([])
                continue
            other = OTHER[side]
            pattern = pattern_of(sides[side], sides[other]) if is_rated else None
            name = f"{side}_features"
            dtype = rows[side].dtype
            design = make_design(name, table, labels[side], pattern, dtype)
            fitted = {} if previous is None else vars(previous)
            old = FeatureWeights.of(fitted, side, self._biased)
            old_labels = fitted.get(f"{other}s_")
            n_columns = rows[side].shape[1]
            begun = old.begin(design, labels[other], old_labels, n_columns)
            if previous is not None:
                new = locate(name, labels[side], fitted[f"{side}s_"]) < 0
                now = FeatureWeights.learnt(design, begun, rows[side].dtype)
                means = now.expect(table, name, labels[side], sides[side])
                rows[side][new] += means[new].astype(rows[side].dtype)
            designs.append(design)
            weights.append(begun)
        start.feature_weights = tuple(weights)
        return tuple(designs)

    def _attributes(self, problem, solver, parameters):
        attributes = super()._attributes(problem, solver, parameters)
        for k, (side, design) in enumerate(zip(SIDES, problem.features, strict=True)):
            if design is not None:
                weights, dtype = parameters.feature_weights[k], problem.ratings.dtype
                learnt = FeatureWeights.learnt(design, weights, dtype)
                attributes |= learnt.attributes(side, self._biased)
        return attributes

    def _complete(self, attributes):
        """Let ids join that have features but no ratings."""
        model = object.__new__(type(self))
        vars(model).update(vars(self) | attributes)
        for side, (table, _) in self._feature_tables().items():
            if table is not None:
                vars(model).update(model._join_ids(side, table, f"{side}_features"))
        return attributes | {name: vars(model)[name] for name in attributes}

    def _feature_weights(self, side):
        return FeatureWeights.of(vars(self), side, self._biased)

    def _expected(self, side, labels, pairs, table=None):
        """Return what features predict of ids, float64, or None without features.

        Parameters
        ----------
        side : {"user", "item"}
            Their side.
        labels : ndarray of shape (n_rows,)
            The ids, sorted.
        pairs : Side
            What they rated.
        table : FeatureTable or None
            Their features. None: those of the parameter.
        """
        weights = self._feature_weights(side)
        if not weights:
            return None
        if table is None:
            table, _ = self._feature_tables()[side]
        return weights.expect(table, f"{side}_features", labels, pairs)

    def add_users(self, features: Any) -> Self:
        """Let users join the model who have features but no ratings.

        Their parameters are those that their features predict, as they are for ids
        that `user_features` had in fit without ratings. Users with ratings stay as they
        are; `fold_in_users` takes ratings.

        Parameters
        ----------
        features : DataFrame or tuple
            As `user_features`, with the same columns.

        Returns
        -------
        self : object
            The estimator, which knows the new ids in all its methods. If this call
            fails or is interrupted, it keeps its previous state.

        Raises
        ------
        ValueError
            If the model was fitted without `user_features`, or the columns are not
            those of fit.
        """
        return self._add_ids("user", features)

    def add_items(self, features: Any) -> Self:
        """Let items join the model that have features but no ratings.

        This is `add_users` with the roles exchanged.

        Parameters
        ----------
        features : DataFrame or tuple
            As `item_features`, with the same columns.

        Returns
        -------
        self : object
            See `add_users`.

        Raises
        ------
        ValueError
            See `add_users`.
        """
        return self._add_ids("item", features)

    def _add_ids(self, side, features):
        check_is_fitted(self)
        table = read_feature_table(
            "features", features, getattr(self, f"{side}_column")
        )
        with self._replacing(keep_fitted=True) as new:
            new._check_has_features(side)
            vars(new).update(new._join_ids(side, table, "features"))
        return self

    def _check_has_features(self, side):
        if not hasattr(self, f"{side}_feature_weights_"):
            raise ValueError(
                f"features: {type(self).__name__} was fitted without features in "
                f"{side}_features: set them and fit again first."
            )

    def _join_ids(self, side, table, name):
        """Return the fitted attributes with rows for the ids of a table.

        Ids without ratings get what their features predict.
        """
        other = OTHER[side]
        labels, _ = merge(name, getattr(self, f"{side}s_"), table.ids)
        both = {side: labels, other: getattr(self, f"{other}s_")}
        empty = Side(*(np.zeros(0, kind) for kind in (np.int64, np.int32, float)), None)
        by_user, by_item = (
            empty._replace(indptr=np.zeros(len(both[each]) + 1, np.int64))
            for each in SIDES
        )
        ratings = Ratings(both["user"], both["item"], by_user, by_item)
        seen = self._join_seen(ratings, {})
        counts = np.diff(seen["seen_indptr_"])
        if side == "item":
            counts = np.bincount(seen["seen_indices_"], minlength=len(labels))
        cold = np.flatnonzero((counts == 0) & (locate(name, labels, table.ids) >= 0))
        if not len(cold):
            return {}
        rows = self._expected(side, labels[cold], None, table)
        if getattr(self, "non_negative", False):
            factors = rows[:, : rows.shape[1] - self._biased]
            np.maximum(factors, 0, out=factors)
        return (
            self._grow_rest(ratings) | self._put_rows(side, labels, cold, rows) | seen
        )

    def _put_rows(self, side, labels, places, rows):
        """Return the fitted attributes with rows of a side replaced, or joined.

        Parameters
        ----------
        side : {"user", "item"}
            The side.
        labels : ndarray
            Its labels, with new ones.
        places : int ndarray of shape (n_rows,)
            Where the rows stand among them.
        rows : ndarray of shape (n_rows, n_columns)
            The rows.
        """
        old = self._parameters()
        table, old_rows = {"user": ("P", old.P), "item": ("Q", old.Q)}[side]
        grown = np.zeros((len(labels), old_rows.shape[1]), old_rows.dtype)
        name = f"{side}s_"
        carry_over(name, grown, labels, old_rows, getattr(self, name))
        grown[places] = rows
        return replace(old, **{f"{side}s": labels, table: grown}).attributes()

    def _grow_rest(self, ratings):
        grown = super()._grow_rest(ratings)
        for side, other in OTHER.items():
            labels = {"user": ratings.users, "item": ratings.items}[other]
            for kind in ("centers", "factors", "biases"):
                name = f"{side}_rated_{kind}_"
                if hasattr(self, name):
                    old = getattr(self, name)
                    rows = np.zeros((len(labels), *old.shape[1:]), old.dtype)
                    carry_over(name, rows, labels, old, getattr(self, f"{other}s_"))
                    grown[name] = rows
        return grown

    def _saved_parameters(self):
        saved = super()._saved_parameters()
        for side, (table, is_rated) in self._feature_tables().items():
            if table is not None:
                features = table.ids, _to_arrays(table.matrix), table.names
                saved[f"{side}_features"] = [RATED, features] if is_rated else features
        return saved

    def _restore_parameters(self, parameters):
        features = {f"{side}_features" for side in SIDES} & parameters.keys()
        super()._restore_parameters(
            parameters
            | {name: _restore_features(parameters[name]) for name in features}
        )

    def _check_fitted(self):
        self._feature_tables()
        super()._check_fitted()
        for side in SIDES:
            for prefix, parts in (
                ("feature", ("names", "centers", "weights", "biases")),
                ("cold", ("weights", "biases")),
                ("rated", ("centers", "factors", "biases")),
            ):
                names = [
                    f"{side}_{prefix}_{part}_{end}"
                    for part in parts
                    for end in ("", "samples_")
                ]
                declared = [name for name in names if name in self._fitted]
                found = [hasattr(self, name) for name in declared]
                for name in declared:
                    is_whole = all(found) or not any(found)
                    checks.demand(is_whole, name, "or another of its kind is missing")
