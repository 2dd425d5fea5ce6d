"""Odd arguments in every place: a call works, or its error says what is wrong.

The draws are seeded. ``SKLEARN_MF_LONG_TESTS=1`` makes many more of them.
"""

import collections
import copy
import datetime
import decimal
import fractions
import inspect
import os
import time
import uuid
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse
from sklearn.base import is_classifier

import sklearn_mf
from sklearn_mf import as_matrix, as_pairs
from sklearn_mf.datasets import make_answers, make_interactions, make_ratings
from sklearn_mf.metrics import make_ranking_scorer
from sklearn_mf.model_selection import (
    GlobalTimeSplit,
    LeaveLastOut,
    RatingKFold,
    StrongGeneralization,
    TimeSplit,
    cold_share,
)
from tests.contract.models import MODELS

LONG = bool(os.environ.get("SKLEARN_MF_LONG_TESTS"))
SECONDS = 300 if LONG else 4
ENOUGH = 4000  # calls, of which one takes about half a millisecond
SEED = int(os.environ.get("SKLEARN_MF_SEED", "0"))

X = np.column_stack([np.arange(24) % 6, np.arange(24) // 4])
Y = np.linspace(0, 1, 24)
FRAME = pd.DataFrame(X, columns=["user", "item"])

# Words of errors that NumPy, Python, polars or numba raise from within.
INTERNAL = (
    "an integer is required",
    "array is too big",
    "broadcast",
    "could not convert",
    "has no attribute",
    "inhomogeneous",
    "invalid literal",
    "is not callable",
    "nopython",
    "not iterable",
    "not subscriptable",
    "not supported between",
    "argument must be a string or a real number",
    "object cannot be interpreted",
    "positional argument",
    "setting an array element",
    "too large to convert",
    "truth value",
    "Unable to allocate",
    "ufunc",
    "unhashable",
    "unsupported operand",
)

# What scikit-learn says of a table without calling it X.
OF_A_TABLE = "2D array", "array with", "2-dimensional", "numbers of samples"
OF_A_TABLE += "sparse", "Complex data", "Feature names", "feature names", "user_column"
OF_A_TABLE += ("item_column", "features", "n_splits", "n_last", "time_column")

OTHERS = "auc", "coverage", "novelty", "popularity", "reciprocal_rank_of_all"

LISTS = (
    "y",
    "classes",
    "sample_weight",
    "users",
    "items",
    "candidates",
    "exclude",
    "ids",
)

SCALARS = [
    *(None, True, False, np.True_, "", "a", "auto", b"a", 0, 1, 2, -1, -2.5, 0.5),
    *(float("nan"), float("inf"), -float("inf"), 1e308, 5e-324, 1j, Ellipsis),
    *(2**31, 2**62, 2**63, 2**64, 2**70, 10**400, -(2**63), -(10**400)),
    *map(np.int8, (1, 2, 127, -128)),
    *(np.float32(0.5), np.float16(2), np.longdouble(0.5), np.uint64(2**64 - 1)),
    *(np.array(1), np.array(0.5), np.array("a"), np.ma.masked, np.str_("a")),
    *(np.datetime64("2020-01-01"), np.datetime64("NaT"), np.timedelta64(1, "s")),
    *(decimal.Decimal("nan"), decimal.Decimal("snan"), decimal.Decimal("0.5")),
    *(fractions.Fraction(1, 3), uuid.UUID(int=1), datetime.date(2020, 1, 1)),
    *(pd.NA, pd.NaT, pd.Timestamp(0), object(), object, len, {}, {1: 2}, {1, 2}),
    *((), (1, 2), [], [[]], [None], range(3), frozenset([1])),
]

# Values of columns, which become tables, weights, lists of ids and ratings.
COLUMNS = [
    lambda n: np.arange(n),
    lambda n: np.arange(n, dtype=np.int8),
    lambda n: np.arange(n, dtype=np.float16),
    lambda n: np.arange(n, dtype=np.longdouble) / 3,
    lambda n: np.arange(n, dtype=">i4"),
    lambda n: np.arange(n) + 2**62,
    lambda n: np.arange(n).astype(np.uint64) + np.uint64(2**63),
    lambda n: np.arange(n) % 2 == 0,
    lambda n: np.full(n, np.nan),
    lambda n: np.full(n, np.inf),
    lambda n: np.full(n, 1e308),
    lambda n: np.full(n, 1j),
    lambda n: np.zeros(n),
    lambda n: -np.ones(n),
    lambda n: np.array(["a"] * n),
    lambda n: np.array(["a\0", "a"] * n, dtype=object)[:n],
    lambda n: np.array([b"a"] * n),
    lambda n: np.array(["a"] * n, dtype=np.dtypes.StringDType()),
    lambda n: np.zeros(n, dtype="M8[s]"),
    lambda n: np.full(n, np.timedelta64("NaT")),
    lambda n: np.zeros(n, dtype=[("a", int)]),
    lambda n: np.zeros(n, dtype="V3"),
    lambda n: np.ma.array(np.arange(n), mask=np.arange(n) % 3 == 0),
    lambda n: np.ma.array(np.arange(n)),
    lambda n: [2**53, 2**53 + 1, *range(n)][:n],
    lambda n: ["x" * 10**5, *map(str, range(n))][:n],
    lambda n: [10**400, *range(n)][:n],
    lambda n: list(range(n)),
    lambda n: np.zeros((n, 2)),
    lambda n: np.zeros((n, 1)),
    lambda n: pd.Series(range(n), dtype="Int64"),
    lambda n: pd.Series([None, *range(n)][:n], dtype="Int64"),
    lambda n: pd.Series(["a"] * n, dtype="category"),
    lambda n: pd.Series(["a"] * n, dtype="string"),
    lambda n: pd.Series(range(n), dtype=pd.SparseDtype(int)),
    lambda n: pd.Index(range(n)),
    lambda n: pd.interval_range(0, n),
    lambda n: pl.Series(range(n)),
    lambda n: pl.Series([2**100] * n, dtype=getattr(pl, "Int128", None)),
    lambda n: pl.Series(["a", "a\0"] * n)[:n],
    lambda n: pl.Series([None] * n),
    lambda n: pl.Series([{"a": 1}] * n),
    lambda n: pl.Series([[1]] * n),
    lambda n: pl.Series(range(n)).cast(pl.Datetime),
    lambda n: pl.Series([decimal.Decimal(1)] * n),
]


def draw_column(rng, n):
    """Draw a column of odd values, or of one odd scalar."""
    if rng.random() < 0.3:
        scalar = draw_scalar(rng)
        return [scalar if rng.random() < 0.7 else k for k in range(n)]
    return COLUMNS[rng.integers(len(COLUMNS))](n)


def draw_scalar(rng):
    """Draw an odd value that is no column."""
    return SCALARS[rng.integers(len(SCALARS))]


def draw_table(rng, n):
    """Draw a table: an array, rows, a frame, a matrix, or no table at all."""
    kind = rng.integers(12)
    columns = [draw_column(rng, n) for _ in range(rng.integers(1, 4))]
    if rng.random() < 0.6:
        columns[rng.integers(len(columns)) :] = [X[:n, 1]]
        columns.insert(rng.integers(2), X[:n, 0])
    try:
        if kind == 0:
            return np.column_stack(columns)
        if kind == 1:
            return np.ma.column_stack(columns)
        if kind == 2:
            return [list(row) for row in zip(*columns, strict=True)]
        if kind in (3, 4):
            names = [["user", "item", "t"], ["t", "user", "item"], ["a", "a", "b"]]
            names = names[rng.integers(3)][: len(columns)]
            frame = pd.DataFrame(dict(enumerate(columns)))
            return frame.set_axis(names, axis=1)
        if kind == 5:
            return pl.DataFrame({str(k): column for k, column in enumerate(columns)})
        if kind == 6:
            return pl.DataFrame({"user": X[:n, 0], "item": X[:n, 1]}).lazy()
        if kind == 7:
            shape = [(3,), (3, 4), (2, 3, 4)][rng.integers(3)]
            return sparse.coo_array(np.ones(shape))
        if kind == 8:
            return sparse.csr_matrix(np.diag([1.0, np.nan, 0, 1e308]))
        if kind == 9:
            return FRAME.iloc[: rng.integers(3)]
        if kind == 10:
            return np.ones((2,) * rng.integers(4))
    except (
        Exception,
        pl.exceptions.PanicException,
    ):  # NumPy, pandas and polars do not build every table
        pass
    return draw_scalar(rng)


def draw(rng, name):
    """Draw an odd value for an argument."""
    n = 24 if rng.random() < 0.8 else int(rng.integers(30))
    if name in ("X", "X_train", "X_test", "R"):
        return draw_table(rng, n) if rng.random() < 0.9 else draw_scalar(rng)
    if name in LISTS:
        return draw_column(rng, n) if rng.random() < 0.8 else draw_scalar(rng)
    if name in ("random_state", "verbose"):  # which scikit-learn reads
        return (None, True, -1, 2**70, 0.5, "a", np.int8(3))[rng.integers(7)]
    return draw_scalar(rng) if rng.random() < 0.9 else draw_column(rng, 2)


def check_call(where, function, odd, **arguments):
    """Call a function; return "works" or the name of the error that it explains."""
    arguments |= odd
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            function(**arguments)
    except (ValueError, TypeError, FloatingPointError, MemoryError) as error:
        message = str(error)
        names_it = any(name in message for name in odd)
        if set(odd) & {"X", "R", "X_train", "X_test"}:
            names_it = names_it or any(words in message for words in ("X", *OF_A_TABLE))
        if set(odd) & {"y", "sample_weight"}:
            names_it = names_it or "numbers of samples" in message
            names_it = names_it or "Complex data" in message
            names_it = names_it or "objective" in message or "weights" in message
            names_it = names_it or "0 sample" in message
        if isinstance(error, FloatingPointError):
            names_it = True
        if names_it and not any(words in message for words in INTERNAL):
            return type(error).__name__
        raise AssertionError(f"{where}({shown(odd)}): {message[:300]}") from error
    except (Exception, pl.exceptions.PanicException) as error:
        raise AssertionError(f"{where}({shown(odd)})") from error
    return "works"


def shown(odd):
    """Return what a message shows of odd arguments."""
    words = []
    for name, value in odd.items():
        try:
            words.append(f"{name}={repr(value)[:200]}")
        except Exception:  # of pandas, which cannot show every frame
            words.append(f"{name}={type(value)}")
    return ", ".join(words)


def targets_of(cls):
    """Return what an estimator of a class may be fitted to."""
    return (Y > 0.5).astype(int) if is_classifier(cls()) else Y


def make_fit(cls):
    """Return a function that fits an estimator of a class with given parameters."""

    def fit(**params):
        quick = {"n_factors": 2, "max_iter": 1, "random_state": 0}
        quick |= {"n_samples": 1, "burn_in": 0}
        columns = params.get("user_column"), params.get("item_column")
        by_name = any(isinstance(column, str) for column in columns)
        known = {name: quick[name] for name in quick if name in cls().get_params()}
        cls(**known | params).fit(FRAME if by_name else X, targets_of(cls))

    return fit


def split(cls, X, **params):
    """Draw all splits of a splitter."""
    for _ in cls(**params).split(X):
        pass


def all_calls():
    """Return what is called.

    Returns
    -------
    list of (str, callable, dict, dict)
        Name, function, the arguments that may become odd, and those that are given
        otherwise.
    """
    calls = []
    for name in sorted(sklearn_mf.__all__):
        cls = getattr(sklearn_mf, name)
        if inspect.isclass(cls) and hasattr(cls, "fit"):
            arguments = dict.fromkeys(cls().get_params())
            calls.append((name, make_fit(cls), arguments, {}))
    methods = {
        "fit": {"X": X, "y": Y, "sample_weight": None},
        "partial_fit": {"X": X, "y": Y, "sample_weight": None},
        "fold_in_users": {"X": X, "y": Y, "sample_weight": None},
        "fold_in_items": {"X": X, "y": Y, "sample_weight": None},
        "predict": {"X": X},
        "predict_proba": {"X": X},
        "decision_function": {"X": X},
        "predict_interaction": {"X": X},
        "transform": {"X": X},
        "score": {"X": X, "y": Y, "sample_weight": None},
        "recommend": {
            "users": [1],
            "n_items": 3,
            "exclude_seen": True,
            "candidates": None,
            "exclude": None,
            "max_memory": 1,
        },
        "similar_items": {
            "items": [1],
            "n_items": 3,
            "metric": "dot",
            "candidates": None,
            "max_memory": 1,
        },
        "similar_users": {"users": [1], "n_users": 3, "candidates": None},
        "get_feature_names_out": {"input_features": None},
    }
    seen, fitted = set(), [sklearn_mf.PopularityRanker(n_jobs=1)]
    for model in MODELS:
        key = model.cls, model.options.get("solver"), model.options.get("axis")
        if key in seen:
            continue
        seen.add(key)
        fitted.append(model(n_jobs=1, max_iter=1, n_factors=2, clip=True))
    for model in fitted:
        y = targets_of(type(model))
        model.fit(X, y)
        for method, arguments in methods.items():
            if hasattr(model, method):
                arguments = arguments | {"y": y} if "y" in arguments else arguments
                if method == "partial_fit" and is_classifier(model):
                    arguments = arguments | {"classes": None}
                if method == "score" and isinstance(model, sklearn_mf.PopularityRanker):
                    arguments = {"X": X, "y": Y}

                def call(fitted=model, method=method, **arguments):
                    getattr(copy.copy(fitted), method)(**arguments)

                calls.append((f"{model}.{method}", call, arguments, arguments))
    columns = {"user_column": 0, "item_column": 1}
    scorer_model = sklearn_mf.BiasedMF(2, max_iter=1, tol=None).fit(X[:12], Y[:12])
    scored = {"X": X, "y": Y, "k": 2, "threshold": None, "fold_in": 0.5}
    sampled = {"metric": "ndcg", "gain": "binary", "n_candidates": 3, "random_state": 0}

    def score(X, y, **params):
        make_ranking_scorer(**params)(scorer_model, X, y)

    times = np.column_stack([X, np.arange(24)])
    dates = pd.to_datetime(6 * np.arange(24), unit="h")
    dated = pd.DataFrame({"user": X[:, 0], "item": X[:, 1], "time": dates})
    for name, function, arguments in (
        ("as_pairs", as_pairs, {"R": as_matrix(X, Y)}),
        ("as_matrix", as_matrix, {"X": X, "y": Y, **columns, "shape": None}),
        ("cold_share", cold_share, {"X_train": X, "X_test": X, **columns}),
        (
            "RatingKFold",
            lambda **a: split(RatingKFold, **a),
            {"X": X, "n_splits": 2, "user_column": 0, "random_state": 0},
        ),
        (
            "LeaveLastOut",
            lambda **a: split(LeaveLastOut, **a),
            {"X": times, "n_last": 1, "user_column": 0, "time_column": 2},
        ),
        (
            "TimeSplit",
            lambda **a: split(TimeSplit, **a),
            {"X": times, "n_splits": 2, "time_column": 2},
        ),
        (
            "StrongGeneralization",
            lambda **a: split(StrongGeneralization, **a),
            {
                "X": X,
                "n_splits": 2,
                "test_size": None,
                "user_column": 0,
                "random_state": 0,
            },
        ),
        (
            "GlobalTimeSplit",
            lambda **a: split(GlobalTimeSplit, **a),
            {"X": times, "cut": 7, "time_column": 2},
        ),
        (
            "GlobalTimeSplit of dates",
            lambda **a: split(GlobalTimeSplit, **a),
            {"X": dated, "cut": "1970-01-02", "time_column": 2},
        ),
        ("make_ranking_scorer", score, scored | sampled),
        *((f"scorer of {name}", score, scored | {"metric": name}) for name in OTHERS),
    ):
        calls.append((name, function, arguments, arguments))
    for make in (make_ratings, make_answers, make_interactions):
        small = dict(zip(inspect.signature(make).parameters, (9, 8, 20), strict=False))
        arguments = dict.fromkeys(inspect.signature(make).parameters)
        calls.append((make.__name__, make, arguments, small))
    return calls


@pytest.mark.compiled
@pytest.mark.filterwarnings("ignore")
def test_odd_arguments():
    """Draw odd values until the time is over, or they are enough.

    In a long run all faults are collected, else the first one fails.
    """
    rng, counts, faults = np.random.default_rng(SEED), collections.Counter(), []
    calls = all_calls()
    end = time.monotonic() + SECONDS
    while time.monotonic() < end and (LONG or counts.total() < ENOUGH):
        where, function, arguments, given = calls[rng.integers(len(calls))]
        names = list(arguments)
        chosen = rng.permutation(names)[: 1 + (rng.random() < 0.2)]
        odd = {str(name): draw(rng, name) for name in chosen}
        try:
            counts[check_call(where, function, odd, **given)] += 1
        except AssertionError as error:
            counts["faults"] += 1
            if not LONG:
                raise
            cause = error.__cause__
            faults.append(f"{type(cause).__name__}: {error} | {str(cause)[:150]}")
    print(f"\n{sum(counts.values())} calls of {len(calls)} functions and methods:")
    for outcome, n in counts.most_common():
        print(f"  {outcome}: {n}")
    assert not faults, "\n".join(faults)
