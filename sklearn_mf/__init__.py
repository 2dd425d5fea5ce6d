"""Matrix factorisation for recommender data as scikit-learn estimators."""

from sklearn_mf._als import ALSFactorizer
from sklearn_mf._autorec import AutoRec
from sklearn_mf._biased import BiasedMF
from sklearn_mf._multitask import MultiTaskMF
from sklearn_mf._persistence import load
from sklearn_mf._ratings import ColdStartWarning, as_matrix, as_pairs
from sklearn_mf._sgd import SGDFactorizer
from sklearn_mf._version import __version__

__all__ = [
    "ALSFactorizer",
    "AutoRec",
    "BiasedMF",
    "ColdStartWarning",
    "MultiTaskMF",
    "SGDFactorizer",
    "__version__",
    "as_matrix",
    "as_pairs",
    "load",
]
