"""Gibbs sampling of a factorisation: chains, and what is kept of them."""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from sklearn_mf._model.features import NO_FEATURES, FeatureWeights
from sklearn_mf._model.posterior import Posterior, Sample
from sklearn_mf._runtime.threads import cut_rows
from sklearn_mf._solvers.als.kernels import TILE, pad
from sklearn_mf._solvers.als.solver import (
    BLOCK_WORK,
    SHORT,
    work_of_long,
    work_of_short,
)
from sklearn_mf._solvers.gibbs.features import Expectation, regress, slice_sample
from sklearn_mf._solvers.gibbs.kernels import Draw, Prior, sample_rows, score_ratings
from sklearn_mf._solvers.gibbs.likelihoods import ITEMS, USERS
from sklearn_mf._solvers.gibbs.short_rows import sample_short_rows

START = 0.1  # standard deviation of the factors that chains begin with, in their unit
FEWEST_JUDGED = 20  # draws of a chain that can tell whether it has converged
SMALLEST_WEIGHT = 1e-9  # of a rating of a short row, beside the mean: it is divided by
MAX_WATCHED = 1000  # ratings whose predictions are watched for convergence,
WATCHED_NUMBERS = 10**7  # and fewer where all draws of them would be so many numbers
BLOCK_RATINGS = 2**16  # ratings to be scored that are worth a task of their own


@dataclass(frozen=True)
class Hyperprior:
    """The prior of the priors of the columns of a table of parameters.

    The entries of column j have the prior N(m_j, 1/λ_j), and these numbers themselves

        λ_j ~ Gamma(shape, rate),   m_j ~ N(0, 1/(κ λ_j)).

    Attributes
    ----------
    shape, rate : float
        Of all the Gamma distributions.
    kappa : float
        κ, how many rows the prior of the means is worth.
    centred : bool
        Whether all means m_j are 0 instead.
    """

    shape: float
    rate: float
    kappa: float = 1.0
    centred: bool = False

    def draw(self, rows, rng, n_more=0, more=0.0):
        """Draw means and precisions of the columns, given the rows of a table.

        The posterior is of the same form (Murphy 2007, section 3). `more` are sums of
        squares of `n_more` further numbers for each column, with the prior N(0, 1/λ_j).
        """
        n = len(rows)
        rows = rows.astype(np.float64, copy=False)
        means = np.zeros(rows.shape[1]) if self.centred else rows.mean(axis=0)
        squares = ((rows - means) ** 2).sum(axis=0) + more
        kappa = self.kappa
        rates = self.rate + squares / 2 + kappa * n / (kappa + n) * means**2 / 2
        precisions = rng.gamma(self.shape + (n + n_more) / 2, size=len(rates)) / rates
        if not self.centred:
            noise = rng.normal(size=len(rates)) / np.sqrt((kappa + n) * precisions)
            means = n / (kappa + n) * means + noise
        return means, precisions

    def draw_stretches(self, rows, expected, means, precisions, rng):
        """Draw t_j, by which weights of features are multiplied, and λ_j by t_j⁻².

        See `features.draw_stretch`.

        Parameters
        ----------
        rows, expected : ndarrays of shape (n_rows, n_columns)
            Rows of a table, and what features predict of them.
        means, precisions : float64 ndarrays of shape (n_columns,)
            m and λ.
        rng : RandomState
            Source of the draws.
        """
        rows, n = rows - means, len(rows) + (not self.centred)
        kappa = self.kappa * means**2 / 2
        rates = precisions * (self.rate + kappa + (rows**2).sum(axis=0) / 2)
        products = precisions * (rows * expected).sum(axis=0)

        def log_density(u, rate, product):  # of log t
            return product / np.exp(u) - rate / np.exp(2 * u) - (2 * self.shape + n) * u

        draws = [
            slice_sample(partial(log_density, rate=rate, product=product), rng)
            for rate, product in zip(rates, products, strict=True)
        ]
        return np.exp(draws)


class GibbsSampler:
    """Draws the parameters of a factorisation from their posterior distribution.

    Each sweep draws, in each chain: what the likelihood has of its own; the priors of
    the items, what features predict of them, then the items; then the same of the
    users.

    Parameters
    ----------
    problem : Problem
        What is given. The first chain begins at its start, the others about it.
    likelihood : callable
        ``likelihood(problem)`` makes the likelihood of a chain.
    hyperprior : Hyperprior
        The same for both sides, over a table in units of the likelihood.
    burn_in : int
        Sweeps of each chain before the first that is kept.
    n_samples : int
        Sweeps after these.
    thin : int
        Every so many of them one is kept.
    n_chains : int
        Number of chains.
    scale : float
        The unit s of the ratings: biases are in s, and factors in √s.
    """

    def __init__(
        self,
        problem,
        likelihood,
        hyperprior,
        *,
        burn_in,
        n_samples,
        thin,
        n_chains,
        scale,
    ):
        self.problem = problem
        self.burn_in, self.n_samples, self.thin = burn_in, n_samples, thin
        key, regressions = draw_key(problem.rng), regress(problem)
        self.chains = [
            Chain(problem, likelihood(problem), hyperprior, key, k, scale, regressions)
            for k in range(n_chains)
        ]
        watched = choose_watched(problem.ratings, n_samples * n_chains)
        n_kept = n_chains * -(-n_samples // thin)
        self.posterior = self._allocate(n_kept)
        self.pairs, shape = watched, (n_chains, n_samples, len(watched[0]))
        self.watched = np.empty(shape)
        shape = n_chains, burn_in + n_samples
        self.errors, self.noise = np.empty(shape), np.empty(shape)
        n_columns = problem.start.P.shape[1]
        self.precisions = np.empty((*shape, 2, n_columns))
        self.n_sweeps = self.n_kept = 0
        self.validation_errors = []
        if problem.held_out is not None:
            self.predicted = np.zeros(len(problem.held_out.ratings))  # a sum

    def _allocate(self, n_draws):
        ratings = self.problem.ratings
        rated = [side.counts() > 0 for side in (ratings.by_user, ratings.by_item)]
        return Posterior.allocate(self.chains[0].current(), n_draws, rated)

    def sweep(self):
        """Draw all parameters of each chain; return the error of the mean draw."""
        at = self.n_sweeps - self.burn_in
        for k, chain in enumerate(self.chains):
            place = k, self.n_sweeps
            self.errors[place] = chain.sweep(self.n_sweeps)
            variances, _ = chain.likelihood.variances()
            self.noise[place] = variances.mean() ** 0.5
            self.precisions[place] = [precisions for _, precisions in chain.priors]
            if at >= 0:
                self.watched[k, at] = chain.watch(*self.pairs)
                if at % self.thin == 0:
                    self.posterior.put(self.n_kept, chain.current())
                    self.n_kept += 1
        self.n_sweeps += 1
        if at >= 0 and self.problem.held_out is not None:
            self.validation_errors.append(self._validate((at + 1) * len(self.chains)))
        return float(self.errors[:, self.n_sweeps - 1].mean())

    def _validate(self, n_draws):
        """Return the error of the mean of all draws on the ratings held out."""
        held_out = self.problem.held_out
        for chain in self.chains:
            scores = chain.score(held_out.users, held_out.items)
            self.predicted += chain.likelihood.predict(scores, held_out)
        likelihood = self.chains[0].likelihood
        return float(likelihood.error(self.predicted / n_draws, held_out))

    def parameters(self):
        """Return what has been kept, as a posterior; before that, the last draws."""
        if self.n_kept:
            return self.posterior.first(self.n_kept)
        posterior = self._allocate(len(self.chains))
        for k, chain in enumerate(self.chains):
            posterior.put(k, chain.current())
        return posterior

    def r_hat(self):
        """Return the split R̂ of the watched predictions, or NaN if it is too early.

        It compares the variance between halves of chains with that within them
        (Gelman et al. 2013, section 11.4), both added up over the predictions.
        """
        n = (self.n_sweeps - self.burn_in) // 2
        if 2 * n < FEWEST_JUDGED:
            return np.nan
        halves = np.concatenate([self.watched[:, :n], self.watched[:, n : 2 * n]])
        within = halves.var(axis=1, ddof=1).mean(axis=0).sum()
        between = halves.mean(axis=1).var(axis=0, ddof=1).sum()
        return float(np.sqrt((n - 1) / n + between / within)) if within else 1.0


class Chain:
    """One chain: the last draw of everything."""

    def __init__(
        self, problem, likelihood, hyperprior, key, number, scale, regressions
    ):
        start, rng = problem.start, problem.rng
        self.start, self.run, self.rng = start, problem.run, rng
        self.likelihood, self.hyperprior = likelihood, hyperprior
        self.key, self.number = key, number
        self.n_columns = n_columns = start.P.shape[1]
        units = np.append(np.full(n_columns - 1, scale**0.5), scale)
        self.units = units.astype(start.P.dtype)
        tables = [rows / self.units for rows in (start.P, start.Q)]
        if number:
            for rows in tables:
                rows[:, :-1] += rng.normal(scale=START, size=rows[:, :-1].shape)
        self.tables = [pad(rows) for rows in tables]
        ratings = problem.ratings
        sides = ratings.by_user, ratings.by_item
        self.rated = [np.flatnonzero(side.counts()) for side in sides]
        self.errors = [np.zeros(len(table)) for table in self.tables]
        width = self.tables[0].shape[1]
        self.parts = [divide_rows(side, width) for side in sides]
        self.priors = [None, None]
        self.designs = problem.features
        self.expectations = [
            Expectation(blocks, [G / self.units for G in weights]) if blocks else None
            for blocks, weights in zip(regressions, start.feature_weights, strict=True)
        ]

    def sweep(self, number):
        """Draw everything once; return the error of the draw."""
        self.likelihood.draw(self, number)
        for side in (ITEMS, USERS):
            self.draw_prior(side)
            self.draw_side(side, number)
        return self.likelihood.learn(self)

    def draw_prior(self, side):
        """Draw the prior of the rows of a side, and what features predict."""
        table, expectation = self.tables[side], self.expectations[side]
        rows = table[self.rated[side], : self.n_columns]
        if expectation is None:
            self.priors[side] = self.hyperprior.draw(rows, self.rng)
            return
        expected, more = expectation.means[self.rated[side], : self.n_columns], ()
        if self.priors[side] is not None:  # there are weights that were drawn
            more = expectation.n_weights, expectation.squares()
        means, precisions = self.hyperprior.draw(rows - expected, self.rng, *more)
        if self.priors[side] is not None:
            stretches = self.hyperprior.draw_stretches(
                rows, expected, means, precisions, self.rng
            )
            expectation.stretch(stretches)
            precisions = precisions / stretches**2
        self.priors[side] = means, precisions
        expectation.draw(table, means, precisions, self.rng)

    def draw_side(self, side, number):
        """Draw the rows of a side, the other held fixed."""
        table, other = self.tables[side], self.tables[1 - side]
        expectation = self.expectations[side]
        expected = table[:0]
        if expectation is not None:
            expected = expectation.means.astype(table.dtype)
        given = (
            self.likelihood.sides[side].for_kernels(),
            other,
            self.n_columns,
            make_prior(*self.priors[side], self.likelihood.noise[side], table),
            expected,
            Draw(self.key, np.uint64(2 * self.number + side), np.uint64(number)),
        )
        for kernel, rows, blocks in self.parts[side]:
            self.run(kernel, blocks, rows, *given, table, self.errors[side])

    def scores(self):
        """Return p_u · q_i + b_u + b_i of each rating, in the order of the users."""
        side = self.likelihood.sides[USERS]
        scores = np.empty(len(side.ratings))
        blocks = cut_rows(side.counts() + 1.0, BLOCK_RATINGS)
        given = side.for_kernels(), *self.tables, self.n_columns
        self.run(score_ratings, blocks, *given, scores)
        return scores

    def score(self, users, items):
        """Return p_u · q_i + b_u + b_i of some pairs, float64."""
        P, Q = (
            rows[codes].astype(np.float64)
            for rows, codes in zip(self.tables, (users, items), strict=True)
        )
        bias = self.n_columns - 1
        return (P[:, :bias] * Q[:, :bias]).sum(axis=1) + P[:, bias] + Q[:, bias]

    def watch(self, users, items):
        """Return the scores of some pairs, less the lowest cut point.

        Biases and cut points may drift together, which changes no prediction.
        """
        return self.score(users, items) - self.likelihood.cut_points[:1].sum()

    def current(self):
        """Return the last draw in the unit of the ratings, an instance of `Sample`."""
        P, Q = (rows[:, : self.n_columns] * self.units for rows in self.tables)
        n, units = self.n_columns, self.units.astype(np.float64)
        priors = [prior or (np.zeros(n), np.ones(n)) for prior in self.priors]
        means = [means * units for means, _ in priors]
        weights, spreads = [NO_FEATURES, NO_FEATURES], [None, None]
        for side, (rows, mean) in enumerate(zip((P, Q), means, strict=True)):
            unrated = np.setdiff1d(np.arange(len(rows)), self.rated[side])
            rows[unrated] = mean
            expectation = self.expectations[side]
            if expectation is not None:
                rows[unrated] += expectation.predict_unrated()[unrated, :n] * units
                n_known = self.designs[side].given is not None
                spread = expectation.spreads(self.rated[side], n_known=n_known)
                spreads[side] = spread * np.outer(units, units)
                alone = expectation.weights_alone()[:, :n]
                learnt = [G * units for G in (*expectation.weights, alone)]
                weights[side] = FeatureWeights.learnt(
                    self.designs[side], learnt, rows.dtype
                )
        noise, unknown = self.likelihood.variances()
        noise[np.setdiff1d(np.arange(len(P)), self.rated[USERS])] = unknown
        return Sample(
            replace(self.start, P=P, Q=Q),
            means=means,
            variances=[units**2 / precisions for _, precisions in priors],
            noise=(noise, unknown),
            cut_points=self.likelihood.cut_points,
            spreads=spreads,
            weights=weights,
        )


def divide_rows(side, width):
    """Divide rows into long and short ones, by the work that they make.

    Returns
    -------
    list of (callable, ndarray, list)
        A kernel, its rows, and the blocks that they are cut into.
    """
    counts = side.counts()
    is_short = (counts > 0) & (counts <= SHORT * width) & (width > 2 * TILE)
    if side.weights is not None and side.weights.min() < SMALLEST_WEIGHT:
        is_short[:] = False
    parts = []
    for kernel, work_of, kept in (
        (sample_rows, work_of_long, ~is_short),
        (sample_short_rows, work_of_short, is_short),
    ):
        rows = np.flatnonzero(kept)
        if len(rows):
            blocks = cut_rows(work_of(counts[rows], width), BLOCK_WORK)
            parts.append((kernel, rows, blocks))
    return parts


def choose_watched(ratings, n_draws):
    """Return users and items of ratings, evenly chosen, to be watched in all draws."""
    side = ratings.by_user
    n_ratings = len(side.ratings)
    most = int(np.clip(WATCHED_NUMBERS // n_draws, 1, MAX_WATCHED))
    chosen = np.linspace(0, n_ratings - 1, min(most, n_ratings)).astype(int)
    users = np.repeat(np.arange(len(ratings.users)), side.counts())
    return users[chosen], side.indices[chosen]


def draw_key(rng):
    """Draw the key of random numbers of kernels."""
    low, high = rng.randint(2**32, size=2, dtype=np.uint64)
    return low | high << np.uint64(32)


def make_prior(means, precisions, noise, table):
    """Return a prior in the form that a kernel needs."""
    precision, product = np.zeros((2, table.shape[1]), table.dtype)
    precision[: len(means)] = precisions
    product[: len(means)] = precisions * means
    return Prior(precision, product, noise)
