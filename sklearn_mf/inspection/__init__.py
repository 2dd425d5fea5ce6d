"""Pictures of fits, searches and fitted models, as Displays in scikit-learn's manner.

A Display holds the data of one picture. Its class methods compute the data and draw
them, and `plot` draws them again. matplotlib (extra ``plot``) is imported only then.

Legends are placed above the axes: to pass an axes of your own, make its figure with
``layout="constrained"``, which leaves room for them.
"""

from sklearn_mf.inspection._cold_start import ColdStartDisplay
from sklearn_mf.inspection._convergence import ConvergenceDisplay
from sklearn_mf.inspection._factor_map import FactorMapDisplay
from sklearn_mf.inspection._landscape import LossLandscapeDisplay
from sklearn_mf.inspection._search import SearchDisplay
from sklearn_mf.inspection._trace import TraceDisplay

__all__ = [
    "ColdStartDisplay",
    "ConvergenceDisplay",
    "FactorMapDisplay",
    "LossLandscapeDisplay",
    "SearchDisplay",
    "TraceDisplay",
]

for _name in __all__:  # users and pickles see the public place, not the file
    globals()[_name].__module__ = __name__
