"""Gibbs sampling against the joint distribution of parameters and ratings.

Geweke (2004), "Getting it right: joint distribution tests of posterior simulators".
Parameters that are drawn from the prior, and ratings that are drawn given them, have a
joint distribution, which a right sampler leaves as it is: a sweep given the ratings,
new ratings given the parameters, and so on. Many short chains begin here at draws from
the prior. Their means of any function are independent of one another, however slow a
chain is, and have the expectation of a draw from the prior.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest
from scipy import sparse

from sklearn_mf._data.features import Design, SparseBlock, pattern_of
from sklearn_mf._solvers import features as regressions
from sklearn_mf._solvers.als.kernels import pad
from sklearn_mf._solvers.gibbs import features, likelihoods, solver
from sklearn_mf._solvers.gibbs.likelihoods import Gaussian, Probit
from sklearn_mf._solvers.gibbs.solver import ITEMS, USERS, Chain, Hyperprior
from tests.reference import pattern
from tests.solvers.gibbs.helpers import make_problem

# Narrower priors than the default ones, among which chains move faster.
SHAPE, RATE, KAPPA = 4.0, 3.0, 2.5
DEGREES = np.array([2.0, 4.0, 8.0])
CUT_POINT_SCALE = 1.0
FEATURE_SHAPE, FEATURE_RATE = 4.0, 3.0

# One user has no rating, one has one, and one item has one.
RATED = np.array(
    [
        [1, 1, 1, 1, 0],
        [1, 1, 1, 1, 0],
        [0, 0, 0, 0, 0],
        [1, 1, 1, 1, 1],
        [0, 1, 0, 0, 0],
        [1, 1, 1, 1, 0],
    ]
)
N_USERS, N_ITEMS = RATED.shape
USER, ITEM = np.nonzero(RATED)
BY_ITEM = np.lexsort((USER, ITEM))  # the order of ratings by item
ORDINARY = 3  # a user with many ratings

# Features of users: two columns, and what they rated; of items three columns.
USER_FEATURES = np.array(
    [[1.0, 0.5], [-0.8, 0.3], [0.2, -1.2], [0.4, 0.4], [-0.5, 0.9], [0.1, -0.6]]
)
ITEM_FEATURES = np.array(
    [[1.0, 0, 0.7], [0, 1.0, 0], [0.6, 0, 0], [0, 0, 1.3], [-0.7, 0.2, 0]]
)
BLOCKS = (  # of users and of items
    [USER_FEATURES, pattern(RATED)],
    [ITEM_FEATURES],
)


def make_designs(ratings):
    rated = pattern_of(ratings.by_user, ratings.by_item)
    block = SparseBlock.of(
        sparse.csr_array(ITEM_FEATURES), np.zeros(3), np.ones(len(ITEM_FEATURES))
    )
    return tuple(
        Design(given, np.empty(0, object), np.zeros(0), np.ones(given.shape[1]), rated)
        for given, rated in ((USER_FEATURES, rated), (block, None))
    )


N_PRIOR, N_SWEEPS = 100_000, 40
BOUND = 5  # standard errors


@dataclass(frozen=True)
class Model:
    """A model of ratings."""

    n_levels: int  # 0: ratings with normal noise
    n_factors: int
    by_user: bool
    weighted: bool
    centred: bool = False
    short: bool = False  # whether rows are drawn as those with few ratings are
    n_few: int | None = (
        None  # features that are drawn by eigenvectors; None: none at all
    )

    @property
    def n_chains(self):
        if self.n_few is not None:
            return 100  # features take time
        return 200 if self.n_levels else 600  # and so do cut points

    @property
    def blocks(self):
        """The blocks of features of both sides."""
        return ([], []) if self.n_few is None else BLOCKS

    @property
    def weights(self):
        """The weights of the ratings, of mean 1."""
        return np.resize([0.1, 1.9] if self.weighted else 1.0, len(USER))

    def make_chain(self):
        weights = 7 * self.weights if self.weighted else None
        ratings = np.zeros(len(USER))
        designs = None if self.n_few is None else make_designs
        problem = make_problem(
            USER, ITEM, ratings, weights, self.n_factors, make_designs=designs
        )
        if self.n_levels:
            levels = np.arange(float(self.n_levels))
            likelihood = Probit(problem, levels=levels, by_user=self.by_user)
        else:
            likelihood = Gaussian(problem, scale=1.0, by_user=self.by_user)
        rates = np.full(self.n_factors + 1, RATE)
        prior = Hyperprior(SHAPE, rates, kappa=KAPPA, centred=self.centred)
        key, blocks = np.uint64(2**40 + 5), features.regress(problem)
        return Chain(problem, likelihood, prior, key, 0, 1.0, blocks)


class State(NamedTuple):
    """The parameters of a chain, or of many, which the first axis of arrays counts."""

    tables: tuple
    means: tuple
    precisions: tuple
    tau: np.ndarray
    gamma: np.ndarray
    nu: np.ndarray
    cut_points: np.ndarray
    weights: tuple  # of all features of users, and of items
    ridges: tuple  # β of each block

    @property
    def scores(self):
        P, Q = self.tables[USERS][..., USER, :], self.tables[ITEMS][..., ITEM, :]
        return (P[..., :-1] * Q[..., :-1]).sum(-1) + P[..., -1] + Q[..., -1]


# ------------------------------------------------------------- the joint distribution


def draw_prior(model, n, rng):
    """Draw n sets of parameters from the prior."""
    sides, size = [], (n, model.n_factors + 1)
    for n_rows, blocks in zip((N_USERS, N_ITEMS), model.blocks, strict=True):
        precision = rng.gamma(SHAPE, 1 / RATE, size)
        mean = (not model.centred) * rng.normal(size=size) / np.sqrt(KAPPA * precision)
        noise = rng.normal(size=(n, n_rows, size[1])) / np.sqrt(precision)[:, None]
        ridge = rng.gamma(FEATURE_SHAPE, 1 / FEATURE_RATE, (n, len(blocks)))
        ridges = np.repeat(ridge, sizes_of(blocks), axis=1)[:, :, None]
        weights = rng.normal(size=(*ridges.shape[:2], size[1]))
        weights /= np.sqrt(ridges * precision[:, None])
        expected = expect(blocks, weights)
        sides.append(
            (mean[:, None] + expected + noise, mean, precision, weights, ridge)
        )
    tau = np.ones(n) if model.n_levels else rng.gamma(1, size=n)
    gamma, nu = np.ones((n, N_USERS)), np.full(n, np.inf)
    if model.by_user:
        nu = rng.choice(DEGREES, n)
        gamma = rng.gamma(nu / 2, 2 / nu, (N_USERS, n)).T
    cut_points = rng.normal(scale=CUT_POINT_SCALE, size=(n, model.n_levels // 2))
    if model.n_levels == 3:
        # Of c, c' ~ N(0, s²) times c' − c, the sum and the difference D are independent
        # and D has the density D exp(−D²/4s²), less a factor.
        middle = cut_points / 2**0.5
        gap = rng.rayleigh(2**0.5 * CUT_POINT_SCALE, (n, 1))
        cut_points = np.column_stack([middle - gap / 2, middle + gap / 2])
    tables, means, precisions, weights, ridges = zip(*sides, strict=True)
    rest = tau, gamma, nu, cut_points, weights, ridges
    return State(tables, means, precisions, *rest)


def sizes_of(blocks):
    """Return the number of features of each block."""
    return [block.shape[1] for block in blocks]


def expect(blocks, weights):
    """Return what features predict of the rows of a side."""
    return np.hstack(blocks) @ weights if blocks else np.zeros(())


def draw_ratings(model, state, rng):
    """Draw ratings given the parameters."""
    scores = state.scores
    precision = state.tau[..., None] * state.gamma[..., USER] * model.weights
    latents = scores + rng.normal(size=scores.shape) / np.sqrt(precision)
    if not model.n_levels:
        return latents
    return (latents[..., None] > state.cut_points[..., None, :]).sum(-1)


# ------------------------------------------------------------------------- the chains


def run_chains(model, starts, ratings, rng):
    """Return the states after each sweep of each chain, and the ratings they are of."""
    chain, states, of = model.make_chain(), [], []
    for start in range(model.n_chains):
        set_state(model, chain, starts, start)
        given = ratings[start]
        for sweep in range(N_SWEEPS):
            set_ratings(model, chain, given)
            chain.sweep(start * N_SWEEPS + sweep)
            states.append(copy_state(chain))
            of.append(given)
            given = draw_ratings(model, states[-1], rng)
    return stack(states), np.array(of)


def set_state(model, chain, states, at):
    """Let a chain stand where one of many does, except for its ratings."""
    for table, rows in zip(chain.tables, states.tables, strict=True):
        table[:, : rows.shape[-1]] = rows[at]
    chain.priors = [(states.means[s][at], states.precisions[s][at]) for s in range(2)]
    for side, expectation in enumerate(chain.expectations):
        if expectation is not None:
            ends = np.cumsum(sizes_of(model.blocks[side]))[:-1]
            parts = np.split(states.weights[side][at], ends)
            expectation.padded = [pad(G) for G in parts]
            expectation.parts = [expectation.expect(k) for k in range(len(parts))]
            expectation.precisions = list(states.ridges[side][at])
    likelihood, tau, gamma = chain.likelihood, states.tau[at], states.gamma[at]
    likelihood.precision, likelihood.levels = tau, gamma
    likelihood.degrees, likelihood.cut_points = states.nu[at], states.cut_points[at]
    likelihood.noise[USERS][:] = (tau * gamma) ** -0.5
    likelihood.noise[ITEMS][:] = tau**-0.5
    weights = (gamma[USER] * model.weights)[BY_ITEM]
    likelihood.sides[ITEMS] = likelihood.sides[ITEMS]._replace(weights=weights)


def set_ratings(model, chain, ratings):
    likelihood = chain.likelihood
    if model.n_levels:
        ((at, _, weights),) = likelihood.parts
        likelihood.parts = [(at, ratings, weights)]
    else:
        likelihood.sides[USERS].ratings[:] = ratings
        likelihood.sides[ITEMS].ratings[:] = ratings[BY_ITEM]


def copy_state(chain):
    likelihood, n = chain.likelihood, chain.n_columns
    return State(
        tuple(table[:, : chain.n_columns].copy() for table in chain.tables),
        *zip(*chain.priors, strict=True),
        np.float64(likelihood.precision),
        likelihood.levels.copy(),
        np.float64(likelihood.degrees),
        likelihood.cut_points.copy(),
        tuple(
            np.vstack(expectation.weights) if expectation else np.zeros((0, n))
            for expectation in chain.expectations
        ),
        tuple(
            np.array(expectation.precisions if expectation else [])
            for expectation in chain.expectations
        ),
    )


def stack(states):
    """Return one state of many."""
    fields = zip(*states, strict=True)
    return State(
        *(
            tuple(map(np.array, zip(*values, strict=True)))
            if isinstance(values[0], tuple)
            else np.array(values)
            for values in fields
        )
    )


# ------------------------------------------------------------------------- comparison


def functions_of(model, state, ratings):
    """Return functions of parameters and ratings, all with finite moments, by name."""
    values = {}

    def add(name, array):
        for k in range(array.shape[-1]):
            values[f"{name}[{k}]"] = array[..., k]

    for side, name in enumerate(("user", "item")):
        rows = state.tables[side]
        add(f"{name} mean", rows.mean(axis=-2))
        add(f"{name} log size", np.log(abs(rows)).mean(axis=-2))
        add(f"{name} log λ", np.log(state.precisions[side]))
        if model.blocks[side]:
            weights = state.weights[side]
            rest = rows - expect(model.blocks[side], weights)
            add(f"{name} log rest", np.log(abs(rest)).mean(axis=-2))
            add(f"{name} log G", np.log(abs(weights)).mean(axis=-2))
            add(f"{name} G", weights[..., 0, :])
            add(f"{name} log β", np.log(state.ridges[side]))
        if not model.centred:
            add(f"{name} m", state.means[side])
            values[f"{name} log m"] = np.log(abs(state.means[side])).mean(axis=-1)
    if model.by_user:
        log_gamma = np.log(state.gamma)
        values["log γ"] = log_gamma.mean(axis=-1)
        values["log γ of a user"] = log_gamma[..., ORDINARY]
        values["log ν"] = np.log(state.nu)
    scores = state.scores
    values["score"] = scores.mean(axis=-1)
    values["log score"] = np.log(abs(scores)).mean(axis=-1)
    if model.n_levels:
        middle = (model.n_levels - 1) / 2
        values["rating"] = ratings.mean(axis=-1)
        values["score · rating"] = (scores * (ratings - middle)).mean(axis=-1)
        values["cut point"] = state.cut_points.mean(axis=-1)
    else:
        log_errors = np.log(abs(ratings - scores))
        values["log rating"] = np.log(abs(ratings)).mean(axis=-1)
        values["log error"] = log_errors.mean(axis=-1)
        values["log error of a user"] = log_errors[..., USER == ORDINARY].mean(axis=-1)
        values["log τ"] = np.log(state.tau)
    if model.n_levels == 3:
        values["middle"] = (ratings == 1).mean(axis=-1)
        values["log gap"] = np.log(np.diff(state.cut_points)[..., 0])
    return values


def compare(model, seed):
    """Return by how many standard errors chains differ from the joint distribution.

    It is about means of functions, of their squares and of their products.
    """
    rng, n_chains = np.random.default_rng(seed), model.n_chains
    prior = draw_prior(model, N_PRIOR, rng)
    ratings = draw_ratings(model, prior, rng)
    expected = functions_of(model, prior, ratings)
    found = functions_of(model, *run_chains(model, prior, ratings, rng))
    names = [*expected, "1"]
    F = np.ones((N_PRIOR, len(names)))
    G = np.ones((n_chains, N_SWEEPS, len(names)))
    for k, (name, values) in enumerate(expected.items()):
        center, scale = values.mean(), values.std()
        F[:, k] = (values - center) / scale
        G[..., k] = (found[name].reshape(n_chains, N_SWEEPS) - center) / scale
    mean = F.T @ F / N_PRIOR
    chain_means = G.transpose(0, 2, 1) @ G / N_SWEEPS
    variance = (np.square(F).T @ np.square(F) / N_PRIOR - mean**2) / N_PRIOR
    variance += chain_means.var(axis=0, ddof=1) / n_chains
    pairs = zip(*np.triu_indices(len(names)), strict=True)
    return {
        f"{names[i]} · {names[j]}": (chain_means[:, i, j].mean() - mean[i, j])
        / variance[i, j] ** 0.5
        for i, j in list(pairs)[:-1]  # less 1 · 1
    }


def take_all_as_short(side, width):
    """Take the place of `divide_rows`."""
    counts = side.counts()
    return [
        (kernel, rows, [(0, len(rows))])
        for kernel, rows in (
            (solver.sample_rows, np.flatnonzero(counts == 0)),
            (solver.sample_short_rows, np.flatnonzero(counts)),
        )
        if len(rows)
    ]


@pytest.mark.compiled
@pytest.mark.parametrize(
    "model",
    [
        Model(0, n_factors=1, by_user=True, weighted=True),
        Model(0, n_factors=2, by_user=True, weighted=True, short=True),
        Model(0, n_factors=2, by_user=False, weighted=False, centred=True),
        Model(2, n_factors=1, by_user=True, weighted=True, short=True),
        Model(3, n_factors=1, by_user=True, weighted=True),
        Model(3, n_factors=2, by_user=False, weighted=False),
        Model(0, n_factors=1, by_user=False, weighted=True, short=True, n_few=0),
        Model(2, n_factors=1, by_user=False, weighted=False, n_few=2),
    ],
    ids=str,
)
def test_joint_distribution(model, monkeypatch):
    monkeypatch.setattr(likelihoods, "DEGREES", DEGREES)
    monkeypatch.setattr(likelihoods, "CUT_POINT_SCALE", CUT_POINT_SCALE)
    monkeypatch.setattr(features, "SHAPE", FEATURE_SHAPE)
    monkeypatch.setattr(features, "RATE", FEATURE_RATE)
    if model.n_few is not None:
        monkeypatch.setattr(regressions, "FEW", model.n_few)
    if model.short:
        monkeypatch.setattr(solver, "divide_rows", take_all_as_short)
    z = compare(model, seed=0)
    assert {name: value for name, value in z.items() if not abs(value) < BOUND} == {}
