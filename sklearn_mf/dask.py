"""The same estimators on Dask, for ratings that lie in partitions.

X, y ──read──▶ ids here, codes there ──split, join──▶ blocks of users and of items

The ids are collected, since a fitted model knows them all; the ratings are not. Each
rating goes to the block of its user and to the block of its item. To be solved, a block
is sent the rows of the other side that it has ratings with, and no more: see
`_solvers.als.blocks`. All of this are tasks of Dask, which moves the data, and runs a
task again where a worker was lost. Without a cluster the ratings wait in files, and the
blocks are mapped from files, so that they need not fit into memory.
"""

import os
import tempfile
from dataclasses import replace
from functools import cached_property, reduce
from itertools import pairwise
from numbers import Integral
from operator import getitem
from typing import NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from sklearn_mf._data.labels import locate, merge
from sklearn_mf._data.ratings import Ratings, Side, sort_both_ways
from sklearn_mf._data.tables import read_ratings
from sklearn_mf._estimators import als_factorizer, biased_mf
from sklearn_mf._estimators.base import HEADER
from sklearn_mf._estimators.state import is_fitted_name
from sklearn_mf._load import load
from sklearn_mf._runtime.threads import cut_rows
from sklearn_mf._solvers.als.blocks import BlockSolver, RowBlock
from sklearn_mf._solvers.als.solver import start_of

try:
    import dask
    import dask.array as da
    import dask.dataframe as dd
    import fsspec
    import pandas as pd
    from dask import delayed
    from dask.base import get_scheduler
    from dask.local import get_sync
    from dask.threaded import get as get_threaded
except ImportError as error:
    raise ImportError(
        f"sklearn_mf.dask needs Dask ({error}): pip install 'sklearn_mf[dask]'."
    ) from error

__all__ = ["ALSFactorizer", "BiasedMF", "Checkpoint"]

# Blocks of a side, at most. Each sends rows to all blocks of the other side: with more
# of them, the tasks that send take longer than what they send.
MAX_BLOCKS = 32
USERS, ITEMS = range(2)


# ------------------------------------------------------------- from X and y to blocks


def is_dask(table):
    """Tell whether a table lies in partitions."""
    return isinstance(table, da.Array | dd.DataFrame | dd.Series)


def list_partitions(name, table, n_expected=None):
    """Return the partitions of X, y or sample_weight, a list of tasks."""
    if not is_dask(table):
        raise ValueError(
            f"{name} must lie in partitions as X does, got {type(table).__name__}: "
            "pass a column of the same Dask DataFrame, or an array of dask.array."
        )
    if isinstance(table, da.Array):
        if table.ndim == 2:
            table = table.rechunk({1: -1})
        parts = table.to_delayed().ravel().tolist()
    else:  # optimised apart, columns of one table may be given unlike partitions
        parts = table.to_delayed(optimize_graph=False)
    if n_expected not in (None, len(parts)):
        raise ValueError(
            f"{name} has {len(parts)} partitions, X has {n_expected}: repartition one "
            "as the other, or take both from the same DataFrame."
        )
    return parts


def read_partition(place, estimator, X, y, weights):
    """Return the ratings of a partition, and what its columns say; or None."""
    if len(X) == 0 or (weights is not None and not np.any(weights)):
        return None
    reader = clone(estimator)
    try:
        ratings = read_ratings(reader, X, y, weights)
        return ratings, {k: v for k, v in vars(reader).items() if k in HEADER}
    except (ValueError, TypeError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(_name_place(place, error)) from error


def _name_place(place, error):
    return f"In partition {place} of X, counted from 0: {error}"


def describe_partition(part):
    """Return what its columns say, the dtype, and both sides' ids with their counts."""
    if part is None:
        return None
    ratings, header = part
    sides = (ratings.users, ratings.by_user), (ratings.items, ratings.by_item)
    ids = [(labels, side.counts()) for labels, side in sides]
    return header, ratings.dtype, ids


class InFile(NamedTuple):
    """Consecutive entries of an array in a file."""

    path: str
    start: int
    stop: int


def cut_array(array, bounds, folder):
    """Return a part of an array for each start and stop; in a file if in a folder."""
    if array is None:
        return [None] * len(bounds)
    if folder is None:
        return [array[start:stop] for start, stop in bounds]
    file, path = tempfile.mkstemp(".npy", dir=folder)
    with open(file, "wb") as stream:
        np.save(stream, array)
    return [InFile(path, *ends) for ends in bounds]


def read_part(part):
    """Return the entries of a part of an array."""
    if isinstance(part, InFile):
        return np.array(np.load(part.path, mmap_mode="r")[part.start : part.stop])
    return part


def map_arrays(arrays, folder):
    """Return arrays that are mapped from one file without a name in a folder.

    The file is gone as soon as none of them is in use.
    """
    order = sorted(arrays, key=lambda name: -arrays[name].itemsize)  # aligns them
    with tempfile.TemporaryFile(dir=folder) as file:
        for name in order:
            arrays[name].tofile(file)
        file.flush()
        mapped = np.asarray(np.memmap(file, np.uint8, "r+"))
    ends = np.cumsum([arrays[name].nbytes for name in order]).tolist()
    return {
        name: mapped[start:stop].view(arrays[name].dtype)
        for name, start, stop in zip(order, [0, *ends], ends, strict=False)
    }


def split_partition(part, codes, cuts, folder):
    """Return what each block of users, and each block of items, gets of a partition.

    Parameters
    ----------
    part : (Ratings, dict) or None
        From `read_partition`.
    codes : pair of int32 ndarrays
        The codes of its users, and of its items, among all of them.
    cuts : pair of int32 ndarrays
        The first code of each block of users, and of items, and their end.
    folder : str or None
        Where the ratings wait until all partitions are split; None: in memory.

    Returns
    -------
    pair of lists
        For each block the code, the code of the other side, the rating, and the weight
        of each of its ratings, from `cut_array`; or None.
    """
    if part is None:
        return [[None] * (len(of_side) - 1) for of_side in cuts]
    side = part[0].by_user
    users = np.repeat(codes[USERS], side.counts())
    codes = users, codes[ITEMS][side.indices]
    split = []
    for own, others, firsts in zip(codes, codes[::-1], cuts, strict=True):
        blocks = np.searchsorted(firsts, own, side="right") - 1
        order = np.argsort(blocks, kind="stable")
        ends = np.searchsorted(blocks[order], np.arange(len(firsts))).tolist()
        columns = [
            cut_array(None if one is None else one[order], [*pairwise(ends)], folder)
            for one in (own, others, side.ratings, side.weights)
        ]
        split.append(list(zip(*columns, strict=True)))
    return split


def join_block(first, end, other_cuts, dtype, pieces, folder):
    """Return the block of what all partitions have for its rows, `first` to `end`."""
    rows, others, ratings, weights = (
        list(map(read_part, column))
        for column in zip(*filter(None, pieces), strict=True)
    )
    if all(own is None for own in weights):
        weights = None
    else:
        weights = [
            np.ones(len(one)) if own is None else own
            for one, own in zip(ratings, weights, strict=True)
        ]
        weights = np.concatenate(weights).astype(dtype, copy=False)
    rows, others, ratings = map(np.concatenate, (rows, others, ratings))
    rows -= first
    shape = end - first, int(other_cuts[-1])
    ratings = ratings.astype(dtype, copy=False)
    side, _ = sort_both_ways([rows, others], ratings, weights, shape)
    block = RowBlock.of(side, other_cuts)
    if folder is None:
        return block
    arrays = {k: v for k, v in block.side._asdict().items() if v is not None}
    return block._replace(side=block.side._replace(**map_arrays(arrays, folder)))


def describe_block(block):
    """Return what the fit has to know of the ratings of a block."""
    side = block.side
    return side.counts(), side.weight_sums(), side.average(), side.range()


class PartitionedSide:
    """The ratings of one side, in blocks: what `Side` answers, but not the ratings.

    Parameters
    ----------
    blocks : list of tasks
        Their results are a `RowBlock` each.
    cuts, other_cuts : int32 ndarrays
        The first row of each block, of this side and of the other, and their end.
    dtype : dtype
        Float type of the ratings.
    is_here : bool
        Whether all of them are in this process.
    """

    def __init__(self, blocks, cuts, other_cuts, dtype, is_here):
        self.blocks, self.cuts, self.other_cuts = blocks, cuts, other_cuts
        self.dtype = dtype
        n_others = 0 if is_here else len(other_cuts) - 1
        # Which rows of the other side each block needs: they go to where those are.
        self.needed = dask.persist(
            [[delayed(_needed)(block, k) for k in range(n_others)] for block in blocks]
        )[0]
        counts, sums, self._averages, self._ranges = zip(
            *dask.compute(*map(delayed(describe_block), blocks)), strict=True
        )
        self.indptr = np.append(0, np.cumsum(np.concatenate(counts)))
        self._weight_sums = np.concatenate(sums)

    @property
    def n_ratings(self):
        """How many ratings there are."""
        return int(self.indptr[-1])

    @cached_property
    def indices(self):
        """Code of the other id of each rating, which come from all blocks."""
        codes = [delayed(RowBlock.codes)(one, self.other_cuts) for one in self.blocks]
        return np.concatenate(dask.compute(*codes))

    def counts(self):
        """Return the number of ratings of each row."""
        return np.diff(self.indptr)

    def weight_sums(self):
        """Return the sum of weights of each row."""
        return self._weight_sums

    def average(self):
        """Return the weighted mean of the ratings, and the sum of their weights."""
        means, weights = zip(*self._averages, strict=True)
        return np.average(means, weights=weights, returned=True)

    def sum_squares(self, mean):
        """Return the weighted sum of squared deviations from a mean."""
        return sum(dask.compute(*(delayed(_squares)(b, mean) for b in self.blocks)))

    def range(self):
        """Return the smallest and the largest rating."""
        lows, highs = zip(*self._ranges, strict=True)
        return min(lows), max(highs)


def _needed(block, k):
    return block.needed[k]


def _squares(block, mean):
    return block.side.sum_squares(mean)


def read_partitions(estimator, X, y, sample_weight):
    """Read ratings that lie in partitions, and let them lie in blocks.

    Parameters
    ----------
    estimator : BaseFactorizer
        See `read_ratings`.
    X : Dask DataFrame or array of shape (n_ratings, n_features)
        Users and items.
    y, sample_weight : Dask Series or array of shape (n_ratings,), or None
        Their ratings and weights, of the same partitions.

    Returns
    -------
    Ratings
        Whose sides are partitioned.
    """
    tables = list_partitions("X", X)
    none, n = [None] * len(tables), len(tables)
    targets = none if y is None else list_partitions("y", y, n)
    weights = none
    if sample_weight is not None:
        weights = list_partitions("sample_weight", sample_weight, n)
    # Its callbacks stay here.
    reader = delayed(type(estimator)(**estimator.get_params(deep=False)))
    parts = [
        delayed(read_partition)(place, reader, *given)
        for place, given in enumerate(zip(tables, targets, weights, strict=True))
    ]
    if not _is_one_process():
        return _sort(estimator, parts, None)
    place = dask.config.get("temporary-directory", None)
    if place is not None:
        os.makedirs(place, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place, ignore_cleanup_errors=True) as folder:
        return _sort(estimator, parts, folder)


def _sort(estimator, parts, folder):
    # Partitions are read twice, so that not all of them are in memory at once.
    found = dask.compute(*map(delayed(describe_partition), parts))
    if not any(found):
        raise ValueError(
            "X has no rating of a weight above 0 in any of its "
            f"{len(parts)} partitions."
        )
    headers, dtypes, all_ids = zip(*filter(None, found), strict=True)
    vars(estimator).update(headers[0])
    dtype = np.result_type(*dtypes)
    places = [place for place, one in enumerate(found) if one]
    keys = {"user_column": estimator.user_column, "item_column": estimator.item_column}
    labels, cuts, codes = [], [], [[None, None] for _ in parts]
    for k, (parameter, key) in enumerate(keys.items()):
        name = f"{parameter}={key!r}"
        own = {place: ids[k] for place, ids in zip(places, all_ids, strict=True)}
        labels.append(_merge_labels(name, {p: ids for p, (ids, _) in own.items()}))
        counts = np.zeros(len(labels[k]))
        for place, (ids, n_ratings) in own.items():
            codes[place][k] = locate(name, ids, labels[k])
            counts[codes[place][k]] += n_ratings
        blocks = cut_rows(counts, counts.sum() / min(len(parts), MAX_BLOCKS))
        cuts.append(np.array([0, *(stop for _, stop in blocks)], dtype=np.int32))
    pieces = [
        delayed(split_partition)(*given, cuts, folder)
        for given in zip(parts, codes, strict=True)
    ]
    blocks = dask.persist(
        [
            [
                delayed(join_block)(
                    *ends, other_cuts, dtype, [p[k][b] for p in pieces], folder
                )
                for b, ends in enumerate(pairwise(own_cuts.tolist()))
            ]
            for k, (own_cuts, other_cuts) in enumerate((cuts, cuts[::-1]))
        ]
    )[0]
    sides = zip(blocks, cuts, cuts[::-1], strict=True)
    is_here = folder is not None
    return Ratings(*labels, *(PartitionedSide(*side, dtype, is_here) for side in sides))


def _is_one_process():
    """Tell whether tasks run here. A cluster must not wait for workers without end."""
    get = get_scheduler()
    client = getattr(get, "__self__", None)
    if (
        hasattr(client, "scheduler_info")
        and not client.asynchronous
        and not getattr(client.cluster, "_adaptive", None)
        and not client.scheduler_info()["workers"]
    ):
        raise RuntimeError(
            f"The cluster at {client.scheduler.address} has no worker: start some, for "
            "example with cluster.scale(2), and wait with client.wait_for_workers(2)."
        )
    return get in (None, get_threaded, get_sync)


def _merge_labels(name, labels):
    """Return the labels of all partitions, sorted; a dict has those of each place."""
    kinds = {ids.dtype.kind for ids in labels.values()}
    if len(kinds) == 1 and kinds != {"O"}:
        return np.unique(np.concatenate(list(labels.values())))

    def join(all_labels, one):
        try:
            return merge(name, all_labels, one[1])[0]
        except ValueError as error:
            raise ValueError(_name_place(one[0], error)) from error

    (_, first), *others = labels.items()
    return reduce(join, others, first)


# -------------------------------------------------------------------------- the solver


def take_rows(rows, needed):
    """Return the rows that a block of the other side needs."""
    return rows[needed]


def sum_block(solver, rows):
    """Return what a block adds to all rows of the other side."""
    return solver.sum_unobserved(rows)


def solve_block(solver, block, pieces, rows, unobserved):
    """Solve a block; see `BlockSolver`."""
    return solver.solve(block, pieces, rows, unobserved)


def take_and_solve(solver, block, table, rows, unobserved):
    """Solve a block, where all rows of the other side are in the same process."""
    pieces = list(map(take_rows, table, block.needed))
    return solver.solve(block, pieces, rows, unobserved)


class DistributedLeastSquares:
    """Alternating least squares over blocks; see `AlternatingLeastSquares`."""

    def __init__(self, problem, objective, cg_steps=None, scale=1.0):
        ratings, self.start = problem.ratings, start_of(problem, objective)
        self.sides = ratings.by_user, ratings.by_item
        given = self.start.mean, objective, cg_steps, scale
        self.solvers = [
            BlockSolver(len(others), *given)
            for others in (ratings.items, ratings.users)
        ]
        self.tables = [
            [delayed(table[start:stop]) for start, stop in pairwise(side.cuts)]
            for table, side in zip(
                (self.start.P, self.start.Q), self.sides, strict=True
            )
        ]

    def sweep(self):
        """Solve the items, then the users; return the objective."""
        _, penalty = self._solve(ITEMS, USERS)
        loss, _ = self._solve(USERS, ITEMS)
        return loss + penalty

    def _solve(self, own, other):
        """Solve a side; return the objective less the other's penalty, and its own."""
        side, solver, fixed = self.sides[own], self.solvers[own], self.tables[other]
        if solver.objective.unobserved_weight:
            unobserved = [delayed(sum_block)(solver, rows) for rows in fixed]
        else:
            unobserved = [solver.sum_unobserved(self.start.P[:0])]
        table, results = delayed(fixed), []
        for block, all_needed, rows in zip(
            side.blocks, side.needed, self.tables[own], strict=True
        ):
            if all_needed:
                solve = delayed(solve_block)
                pieces = list(map(delayed(take_rows), fixed, all_needed))
            else:
                solve, pieces = delayed(take_and_solve), table
            results.append(solve(solver, block, pieces, rows, unobserved))
        tables = [delayed(getitem)(result, 0) for result in results]
        sums = [delayed(getitem)(result, slice(1, 3)) for result in results]
        self.tables[own], sums = dask.persist(tables, sums)
        losses, penalties = zip(*dask.compute(*sums), strict=True)
        return sum(losses), sum(penalties)

    def parameters(self):
        """Return what has been learnt, as if the fit ended here."""
        P, Q = (np.concatenate(table) for table in dask.compute(*self.tables))
        return replace(self.start, P=P, Q=Q)


# ---------------------------------------------------------------------- the estimators


def predict_rows(X, model):
    """Return the predictions of a partition of an array."""
    return model.predict(X) if len(X) else np.zeros(0, model.item_factors_.dtype)


def predict_frame(X, model):
    """Return the predictions of a partition of a DataFrame."""
    return pd.Series(predict_rows(X, model), X.index)


def recommend_frame(users, model, n_items, options):
    """Return the recommendations for a partition of users, a DataFrame."""
    return model.recommend(users, n_items, as_frame=True, **options)


def _map_frames(function, frame, *args, meta):
    """Return what a function makes of each partition; `meta` is an empty one of it."""
    return frame.map_partitions(function, *args, meta=meta, enforce_metadata=False)


class DaskMixin:
    """Fits and predicts tables of Dask; all others as the class in memory does."""

    def _check_options(self):
        super()._check_options()
        name = type(self).__name__
        if self.solver == "sgd":
            raise ValueError(
                "solver='sgd' is not there in sklearn_mf.dask: set solver='als' or "
                f"'als-cg', or use sklearn_mf.{name} and a table in memory."
            )
        for parameter, usual in (
            ("feedback", "explicit"),
            ("user_features", None),
            ("item_features", None),
        ):
            if getattr(self, parameter) is not usual:
                raise ValueError(
                    f"{parameter} is not there in sklearn_mf.dask: leave it at "
                    f"{usual!r}, or use sklearn_mf.{name} and a table in memory."
                )

    def _read(self, X, y, sample_weight, *, known=None, dtype=None):
        if is_dask(X):
            return read_partitions(self, X, y, sample_weight)
        for name, value in (("y", y), ("sample_weight", sample_weight)):
            if is_dask(value):
                raise ValueError(
                    f"{name} lies in partitions, but X is a {type(X).__name__} in "
                    f"memory: pass {name}.compute(), or X as a table of Dask."
                )
        return super()._read(X, y, sample_weight, known=known, dtype=dtype)

    def _make_solver(self, problem, previous):
        if isinstance(problem.ratings.by_user, Side):
            return super()._make_solver(problem, previous)
        cg_steps = int(self.cg_steps) if self.solver.endswith("cg") else None
        scale = self.rating_scale_ if self._biased else 1.0
        return DistributedLeastSquares(problem, self._objective(), cg_steps, scale)

    def save(self, path):
        """Save the model, which `sklearn_mf.load` reads as the class in memory.

        Parameters
        ----------
        path : str, bytes or os.PathLike
            The file, which ends in .npz.
        """
        check_is_fitted(self)
        _, in_memory = type(self).__bases__
        model = in_memory(**self.get_params(deep=False))
        vars(model).update(self._fitted_attributes())
        model.save(path)

    def predict(self, X):
        """Predict ratings; those of a table of Dask are not computed yet.

        Parameters
        ----------
        X : table of shape (n_pairs, n_features)
            Users and items; see the class in memory.

        Returns
        -------
        ndarray of shape (n_pairs,), or a Dask Series or array
            The predictions, in the partitions of X.
        """
        if not is_dask(X):
            return super().predict(X)
        check_is_fitted(self)
        model, dtype = delayed(self), self.item_factors_.dtype
        if isinstance(X, dd.DataFrame):
            return _map_frames(predict_frame, X, model, meta=pd.Series([], dtype=dtype))
        X = X.rechunk({1: -1})
        return X.map_blocks(
            predict_rows, model, dtype=dtype, drop_axis=1, meta=np.zeros(0, dtype)
        )

    def recommend(self, users=None, n_items=10, **options):
        """Find the best items for each user; those of a Dask Series not yet.

        Parameters
        ----------
        users : array-like of shape (n_users,), or Dask Series
            Ids of users.
        n_items : int, default=10
            How many items to find for each.
        **options
            Those of the class in memory. A Dask Series goes with all of them but
            `history`, `as_frame`, and lists for each user.

        Returns
        -------
        tuple of masked arrays, or Dask DataFrame
            See the class in memory. For a Dask Series a DataFrame as with `as_frame`,
            in the partitions of the users.
        """
        if not is_dask(users):
            return super().recommend(users, n_items, **options)
        check_is_fitted(self)
        if not isinstance(users, dd.Series) or {"history", "as_frame"} & {*options}:
            raise ValueError(
                "users that lie in partitions are to be a Dask Series, and go without "
                f"history and as_frame; got {type(users).__name__} and {options}."
            )
        found = recommend_frame(self.users_[:1], self, n_items, options)
        given = delayed(self), n_items, options
        return _map_frames(recommend_frame, users, *given, meta=found[:0])


class Checkpoint:
    """Save the model during a fit, and take up a fit that was broken off.

    A callback of scikit-learn, for `set_callbacks`. After every so many iterations it
    writes the model to a new file, which then takes the place of the last one: whenever
    the fit breaks off, the file holds a whole model.

    Parameters
    ----------
    path : str
        Any path that fsspec knows, such as ``"als.npz"`` or ``"s3://bucket/als.npz"``.
    every : int, default=10
        Iterations from one file to the next.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from sklearn_mf.dask import ALSFactorizer, Checkpoint
    >>> from sklearn_mf.datasets import make_ratings
    >>> X, y = make_ratings(random_state=0)
    >>> checkpoint = Checkpoint(tempfile.mkdtemp() + "/als.npz", every=2)
    >>> als = ALSFactorizer(5, max_iter=5, tol=None, random_state=0)
    >>> als = als.set_callbacks(checkpoint).fit(X, y)
    >>> again = ALSFactorizer(5, max_iter=1, tol=None, warm_start=True)
    >>> checkpoint.restore(again)
    4
    >>> np.allclose(again.fit(X, y).item_factors_, als.item_factors_)
    True
    """

    def __init__(self, path, every=10):
        self.path, self.every = path, every

    def setup(self, estimator, context):
        """Check the path before the fit."""
        if not isinstance(self.every, Integral) or self.every < 1:
            raise ValueError(f"every must be an int of at least 1, got {self.every!r}.")
        self._files, self._place = fsspec.core.url_to_fs(self.path)

    def teardown(self, estimator, context):
        """Do nothing."""

    def on_fit_task_begin(self, estimator, context):
        """Do nothing."""

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        """Save the model, if it is time."""
        if context.task_name != "iteration" or (context.task_id + 1) % self.every:
            return
        with tempfile.TemporaryDirectory() as folder:
            local = os.path.join(folder, "model.npz")
            fitted_estimator.save(local)
            part = f"{self._place}.part"
            self._files.put_file(local, part)
            self._files.mv(part, self._place)

    def restore(self, estimator):
        """Set the fitted attributes of an estimator to those of the last whole file.

        With ``warm_start=True`` its next fit continues from there.

        Parameters
        ----------
        estimator : estimator of sklearn_mf
            Its fitted attributes become those of the file. Without a file it stays as
            it is.

        Returns
        -------
        int
            The iterations that led to it; 0 without a file.
        """
        files, place = fsspec.core.url_to_fs(self.path)
        if not files.exists(place):
            return 0
        with tempfile.TemporaryDirectory() as folder:
            local = os.path.join(folder, "model.npz")
            files.get_file(place, local)
            model = load(local)
        if not isinstance(estimator, type(model)):
            raise ValueError(
                f"{self.path} holds a {type(model).__name__}, which no "
                f"{type(estimator).__name__} can continue from."
            )
        vars(estimator).update(
            {name: v for name, v in vars(model).items() if is_fitted_name(name)}
        )
        return model.n_iter_


class ALSFactorizer(DaskMixin, als_factorizer.ALSFactorizer):
    """`sklearn_mf.ALSFactorizer` for ratings that lie in partitions.

    It has the same parameters and the same fitted attributes, and learns the same
    factors but for rounding from the same `random_state`. X, y and `sample_weight` are
    collections of Dask with the same partitions: a DataFrame and its columns, or arrays
    of `dask.array`. The partitions also cut the work: as many of them as there are, at
    most 32, are solved at once where there are workers enough. Tables in memory are
    fitted in memory.

    `feedback="implicit"`, `user_features` and `item_features` are not there. `save`
    writes a model that `sklearn_mf.load` reads as the class in memory.

    Examples
    --------
    >>> import dask.array as da
    >>> from sklearn_mf.dask import ALSFactorizer
    >>> from sklearn_mf.datasets import make_ratings
    >>> X, y = make_ratings(random_state=0)
    >>> X, y = da.from_array(X, chunks=(2500, 2)), da.from_array(y, chunks=2500)
    >>> als = ALSFactorizer(n_factors=5, random_state=0).fit(X, y)
    >>> als.predict(X[:3]).compute().shape
    (3,)
    """


class BiasedMF(DaskMixin, biased_mf.BiasedMF):
    """`sklearn_mf.BiasedMF` for ratings that lie in partitions.

    It has the same parameters and the same fitted attributes, and learns the same
    biases and factors but for rounding: see `sklearn_mf.dask.ALSFactorizer`. `solver`
    must be set to "als" or "als-cg".
    """
