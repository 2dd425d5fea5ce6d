"""What tests of saved models share."""

import numpy as np

from sklearn_mf import ALSFactorizer, AutoRec, BiasedMF, MultiTaskMF, SGDFactorizer
from sklearn_mf._load import load
from sklearn_mf.datasets import make_ratings

X, Y = make_ratings(30, 20, 200, random_state=0)
MORE, MORE_Y = make_ratings(35, 25, 100, random_state=1)  # has ids that X has not
QUICK = {"n_factors": 3, "max_iter": 3, "tol": None, "random_state": 0}


def save_model(model, path):
    model.save(path)


def als(**params):
    return ALSFactorizer(**{**QUICK, **params})


def sgd(**params):
    return SGDFactorizer(**{**QUICK, **params})


def biased(**params):
    return BiasedMF(**{**QUICK, **params})


def autorec(**params):
    return AutoRec(**{**QUICK, **params})


def multitask(**params):
    return MultiTaskMF(**{**QUICK, **params})


def objects(values):
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def with_ids(table, make):
    """Return a table whose ids are made from those of another."""
    return objects([make(id_) for id_ in table.ravel().tolist()]).reshape(table.shape)


def state(model):
    """Return parameters and fitted attributes."""
    return {name: value for name, value in vars(model).items() if name[0] != "_"}


def saved(model, path):
    save_model(model, path)
    return load(path)
