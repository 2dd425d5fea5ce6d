"""Matrix factorisation for recommender data as scikit-learn estimators."""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING

from sklearn_mf._about import all_estimators, show_versions
from sklearn_mf._data.matrices import as_matrix, as_pairs
from sklearn_mf._estimators.als_factorizer import ALSFactorizer
from sklearn_mf._estimators.autorec import AutoRec
from sklearn_mf._estimators.base import ColdStartWarning
from sklearn_mf._estimators.bayesian_mf import BayesianMF
from sklearn_mf._estimators.bayesian_mf_classifier import BayesianMFClassifier
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
    "BayesianMFClassifier",
    "BiasedMF",
    "ColdStartWarning",
    "MFClassifier",
    "MultiTaskMF",
    "PopularityRanker",
    "RankingFactorizer",
    "SGDFactorizer",
    "__version__",
    "all_estimators",
    "as_matrix",
    "as_pairs",
    "load",
    "show_versions",
]

_SUBMODULES = {
    "dask",
    "datasets",
    "impute",
    "inspection",
    "metrics",
    "model_selection",
    "onnx",
}

for _name in set(__all__) - {"__version__"}:  # users and pickles see the public place
    globals()[_name].__module__ = __name__

if TYPE_CHECKING:
    from sklearn_mf import dask as dask
    from sklearn_mf import datasets as datasets
    from sklearn_mf import impute as impute
    from sklearn_mf import inspection as inspection
    from sklearn_mf import metrics as metrics
    from sklearn_mf import model_selection as model_selection
    from sklearn_mf import onnx as onnx
else:

    def __getattr__(name):
        """Import a public submodule when it is first used."""
        if name in _SUBMODULES:
            return _import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the public names, submodules included."""
    return sorted({*__all__, *_SUBMODULES})
