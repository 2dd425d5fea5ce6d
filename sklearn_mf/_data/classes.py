"""Labels of two classes, which models read as the ratings 0 and 1."""

import math
from numbers import Real

import numpy as np
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import assert_all_finite
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _ensure_no_complex_data, column_or_1d

from sklearn_mf._data.labels import is_missing
from sklearn_mf._data.tables import refuse_masked, show_value


def read_labels(y):
    """Validate labels of classes: one dimension, none missing, of one kind."""
    refuse_masked("y", y)
    try:
        found, missing = np.asarray(y), False
        if found.dtype.kind == "T":
            found = found.astype(object)
        if found.dtype.kind not in "biufcUO":
            raise TypeError
        if found.dtype == object:
            distinct = list(set(found.ravel().tolist()))
            missing = any(map(is_missing, distinct))
            if not missing:
                distinct.sort()  # they must be of one kind
                # A column that could miss some holds numbers and bools as objects.
                kind = np.array(distinct).dtype.kind
                found = np.array(found.tolist()) if kind in "biufc" else found
    except Exception as error:  # of many kinds, from NumPy, pandas or polars
        raise ValueError(
            "y must hold the label of a class for each row of X, all of one kind: "
            f"text, numbers or bools; got {show_value(y)}."
        ) from error
    if missing:
        raise ValueError("Input y contains NaN or None: leave such rows out.")
    found = column_or_1d(found, warn=True)
    _ensure_no_complex_data(found)
    assert_all_finite(found, input_name="y")
    check_classification_targets(found)
    return found.astype(found.dtype.newbyteorder("="), copy=False)


class TwoClasses:
    """Reads labels of two classes as ratings: 0 for the first in order, and 1.

    Parameters
    ----------
    labels : ndarray of shape (2,) or None
        The classes, sorted. None: those that the first labels have.
    class_weight : dict, "balanced" or None
        As in `MFClassifier`.
    """

    def __init__(self, labels, class_weight):
        self.labels, self.class_weight = labels, class_weight

    def read(self, y, dtype=None):
        """Return the position of each label among those of y, as a float.

        They are float32 if y was, else float64, or of `dtype`.
        """
        y = read_labels(y)
        encoder = LabelEncoder()
        codes = encoder.fit_transform(y)
        self._distinct = encoder.classes_
        own = np.float32 if y.dtype == np.float32 else np.float64
        return codes.astype(dtype or own)

    def encode(self, codes, weights):
        """Return ratings 0 and 1, and the weights of the classes times others.

        Parameters
        ----------
        codes : ndarray of shape (n_rows,)
            From `read`.
        weights : ndarray of shape (n_rows,) or None
            Weights. The label of a row of weight 0 does not count.
        """
        codes, dtype = codes.astype(np.intp), codes.dtype
        counted = codes if weights is None else codes[weights != 0]
        found = self._distinct[np.unique(counted)]
        if self.labels is None:
            _check_two("y", found)
            # Text may be shorter than that of rows which do not count.
            self.labels = np.array(found.tolist()) if found.dtype.kind == "U" else found
        known = self.labels.tolist()
        for label in found.tolist():
            if label not in known:
                raise ValueError(
                    f"y has the class {label!r}, which is neither of classes_, "
                    f"{known[0]!r} and {known[1]!r}: leave such rows out, or call "
                    "fit again."
                )
        values = [label == known[1] for label in self._distinct.tolist()]
        ratings = np.array(values, np.intp)[codes]
        own = self._class_weights(ratings, weights)
        if own is not None:
            own = own[ratings].astype(dtype)
            weights = own if weights is None else own * weights
        return ratings.astype(dtype), weights

    def _class_weights(self, ratings, weights):
        """Return the weights of the two classes, or None where both are 1."""
        if self.class_weight is None:
            return None
        if self.class_weight == "balanced":
            # Sums are taken in an order that does not depend on that of the rows.
            order = slice(None) if weights is None else np.argsort(weights)
            return compute_class_weight(
                "balanced",
                classes=np.array([0, 1]),
                y=ratings[order],
                sample_weight=None if weights is None else weights[order],
            )
        given = self.class_weight.values()
        if not all(
            isinstance(w, Real) and math.isfinite(w) and w >= 0 for w in given
        ) or (given and not any(given)):
            raise ValueError(
                f"class_weight={self.class_weight!r}: the weights of classes must be "
                "numbers of at least 0, and not all 0."
            )
        return compute_class_weight(
            self.class_weight, classes=self.labels, y=self.labels
        )


def _check_two(name, labels):
    """Raise unless there are two classes."""
    if len(labels) > 2:
        some = ", ".join(map(repr, labels[:3].tolist()))
        raise ValueError(
            "Only binary classification is supported. The type of the target is "
            f"multiclass: {name} has {len(labels)} classes, such as {some}. For more "
            "than two, wrap the estimator: OneVsRestClassifier(MFClassifier()), from "
            "sklearn.multiclass."
        )
    if len(labels) < 2:
        only = f"only one class: {labels.tolist()[0]!r}" if len(labels) else "none"
        raise ValueError(
            f"{name} must have two classes, but the data contains {only}. Only "
            "MFClassifier.partial_fit takes such data, if its argument classes names "
            "both."
        )


def read_classes(classes):
    """Read the argument of `partial_fit`: two labels, sorted."""
    try:
        labels = np.unique(read_labels(classes))
    except ValueError as error:
        raise ValueError(f"classes: {error}") from None
    _check_two("classes", labels)
    return labels
