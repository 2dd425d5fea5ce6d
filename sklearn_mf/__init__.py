"""Matrix factorisation for recommender data as scikit-learn estimators."""

from sklearn_mf._als import ALSFactorizer
from sklearn_mf._ratings import ColdStartWarning, as_matrix, as_pairs
from sklearn_mf._version import __version__

__all__ = [
    "ALSFactorizer",
    "ColdStartWarning",
    "__version__",
    "as_matrix",
    "as_pairs",
]
