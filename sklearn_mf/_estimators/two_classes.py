"""What makes a factorisation a classifier of two classes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import check_consistent_length

from sklearn_mf._data.classes import TwoClasses, read_labels
from sklearn_mf._data.tables import read_ratings, read_weights
from sklearn_mf._estimators.base import warn_of_cold_start
from sklearn_mf._files import checks
from sklearn_mf._typing import TableLike


class TwoClassMixin(ClassifierMixin):
    """Reads labels of two classes as the ratings 0 and 1, and predicts labels.

    A subclass has the parameter, or the attribute, `class_weight`; what it predicts as
    a factorisation is the probability of the second class.
    """

    _popularity_weight = 0.0  # `recommend` ranks by probability

    classes_: npt.NDArray[Any]
    _snapshot: Callable[[], Any]
    _predict: Callable[..., Any]

    _fitted_classes: dict = {"classes_": checks.check_two_classes}

    def _read(self, X, y, sample_weight, *, known=None, dtype=None, labels=None):
        if dtype is not None:  # what is read joins a fitted model, or asks it
            labels = self.classes_
        classes = TwoClasses(labels, self.class_weight)
        ratings = read_ratings(
            self, X, y, sample_weight, known=known, dtype=dtype, classes=classes
        )
        self.classes_ = classes.labels
        return ratings

    def _check_continues(self, previous):
        super()._check_continues(previous)
        old, new = previous.classes_.tolist(), self.classes_.tolist()
        if old != new:
            raise ValueError(
                f"y has the classes {new}, but the fit to continue from has {old}: "
                "start over with warm_start=False."
            )

    def predict(self, X: TableLike) -> npt.NDArray[Any]:
        """Predict the more probable class of each pair.

        Parameters
        ----------
        X : table of shape (n_pairs, n_features)
            One pair in each row, with the columns that X had in fit; see `fit`.

        Returns
        -------
        ndarray of shape (n_pairs,)
            Labels of `classes_`: the second where its probability is above one half.
            For a pair with an unseen id, what the model still knows decides: μ, and
            the bias of the id that is known.

        Raises
        ------
        ValueError
            If X is a sparse matrix, or its ids have a different type than in fit.
        """
        model = self._snapshot()
        return model._choose_class(model._read_pairs(X))

    def predict_proba(self, X: TableLike) -> npt.NDArray[np.floating]:
        """Predict the probability of both classes for each pair.

        Parameters
        ----------
        X : table of shape (n_pairs, n_features)
            One pair in each row; see `predict`.

        Returns
        -------
        ndarray of shape (n_pairs, 2)
            Probabilities of `classes_`, of the dtype of the factors.

        Raises
        ------
        ValueError
            See `predict`.
        """
        model = self._snapshot()
        second = model._predict(model._read_pairs(X))
        return np.column_stack([1 - second, second])

    def score(
        self, X: TableLike, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None
    ) -> float:
        """Return the accuracy: the share of pairs whose class is predicted.

        Parameters
        ----------
        X : table of shape (n_pairs, n_features)
            One pair in each row; see `predict`.
        y : array-like of shape (n_pairs,)
            The true labels.
        sample_weight : array-like of shape (n_pairs,) or None, default=None
            Weights of the pairs.

        Returns
        -------
        float
            From 0 to 1: higher is better.

        Warns
        -----
        ColdStartWarning
            If more than half of the distinct users of X were not seen in fit.
        """
        model = self._snapshot()
        pairs = model._read_pairs(X)
        warn_of_cold_start(pairs, stacklevel=3)
        labels: Any = read_labels(y)
        check_consistent_length(pairs.users, labels)
        if sample_weight is not None:
            sample_weight = read_weights(sample_weight, np.ones(len(labels)))
        predicted = model._choose_class(pairs)
        return float(accuracy_score(labels, predicted, sample_weight=sample_weight))

    def _choose_class(self, pairs):
        return self.classes_[(self._predict(pairs) > 0.5).astype(np.intp)]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags
