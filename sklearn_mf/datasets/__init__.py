"""Data to try the estimators on: synthetic, MovieLens, and text files."""

from sklearn_mf.datasets._interactions import make_interactions
from sklearn_mf.datasets._movielens import fetch_movielens
from sklearn_mf.datasets._synthetic import make_answers, make_ratings
from sklearn_mf.datasets._text import load_ratings

__all__ = [
    "fetch_movielens",
    "load_ratings",
    "make_answers",
    "make_interactions",
    "make_ratings",
]

for _name in __all__:  # users and pickles see the public place, not the file
    globals()[_name].__module__ = __name__
