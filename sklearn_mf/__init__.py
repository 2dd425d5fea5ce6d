"""Matrix factorisation for recommender data as scikit-learn estimators."""

from sklearn_mf._data.matrices import as_matrix, as_pairs
from sklearn_mf._estimators.als_factorizer import ALSFactorizer
from sklearn_mf._estimators.autorec import AutoRec
from sklearn_mf._estimators.base import ColdStartWarning
from sklearn_mf._estimators.bayesian_mf import BayesianMF
from sklearn_mf._estimators.biased_mf import BiasedMF
from sklearn_mf._estimators.mf_classifier import MFClassifier
from sklearn_mf._estimators.multitask_mf import MultiTaskMF
from sklearn_mf._estimators.popularity_ranker import PopularityRanker
from sklearn_mf._estimators.ranking_factorizer import RankingFactorizer
from sklearn_mf._estimators.sgd_factorizer import SGDFactorizer
from sklearn_mf._load import load
from sklearn_mf._version import __version__

__all__ = [
    "ALSFactorizer",
    "AutoRec",
    "BayesianMF",
    "BiasedMF",
    "ColdStartWarning",
    "MFClassifier",
    "MultiTaskMF",
    "PopularityRanker",
    "RankingFactorizer",
    "SGDFactorizer",
    "__version__",
    "as_matrix",
    "as_pairs",
    "load",
]

for _name in set(__all__) - {"__version__"}:  # users and pickles see the public place
    globals()[_name].__module__ = __name__
