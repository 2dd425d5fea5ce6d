"""How ratings come from scores s = p_u · q_i + b_u + b_i: the parts of a chain.

A likelihood has `sides`, the ratings by user and by item that the rows of parameters
are to be drawn from; `noise`, the standard deviations of these ratings about the
scores, for each row of either side; `cut_points`; and methods: ``draw(chain, sweep)``
draws what it has of its own before the rows, ``learn(chain)`` does so after them and
returns the error of the draw, and ``variances()`` tells how noisy new ratings are.
"""

import numpy as np
from scipy.special import gammaln, ndtr, ndtri

from sklearn_mf._objective.loss import mean_error
from sklearn_mf._runtime.linear_algebra import factorise, matrix_product, solve
from sklearn_mf._runtime.random import fill_uniforms
from sklearn_mf._runtime.threads import cut_evenly
from sklearn_mf._solvers.gibbs.kernels import spread_levels
from sklearn_mf._solvers.gibbs.level_kernels import (
    add_derivatives,
    add_latents,
    add_log_shares,
    place_latents,
)

USERS, ITEMS = 0, 1
LATENTS = 2**20  # number of the first stream of random numbers for latent ratings
BLOCK = 2**15  # ratings that are worth a task of their own
DEGREES = np.geomspace(3, 300, 64)  # what the degrees of freedom ν may be
CUT_POINT_SCALE = 5.0  # standard deviation of their prior
TAILS = 10  # degrees of freedom of the t distribution that cut points are proposed by
PRECISION = 0.01  # last step of Newton's method to their mode, in standard deviations


class Likelihood:
    """Ratings with normal noise, of which each user may have a level of their own.

        r ~ N(s, 1/(τ γ_u w)),   γ_u ~ Gamma(ν/2, ν/2)

    and ν is one of `DEGREES`, all as likely. Weights are in units of their mean.

    Parameters
    ----------
    problem : Problem
        What is given.
    by_user : bool
        Whether users have a level of noise each. If not, all γ_u are 1.
    """

    cut_points = np.empty(0)
    precision = 1.0  # τ
    degrees = np.inf  # ν

    def __init__(self, problem, *, by_user):
        self.by_user, self.run = by_user, problem.run
        self.dtype = problem.ratings.dtype
        unit, self.sides = problem.ratings.mean_weight(), []
        for side in (problem.ratings.by_user, problem.ratings.by_item):
            if side.weights is not None:
                weights = (side.weights / unit).astype(self.dtype)
                side = side._replace(weights=weights)
            self.sides.append(side)
        self.weights = self.sides[ITEMS].weights
        self.counts = self.sides[USERS].counts()
        if by_user:  # γ w of the ratings by item
            ones = np.ones(len(side.ratings), self.dtype)
            weights = ones if self.weights is None else self.weights.copy()
            self.sides[ITEMS] = self.sides[ITEMS]._replace(weights=weights)
        self.levels = np.ones(len(problem.ratings.users))  # γ
        self.noise = [np.ones(len(side.indptr) - 1) for side in self.sides]

    def draw(self, chain, sweep):
        """Draw nothing: the ratings are what they are."""

    def variances(self):
        """Return the variance of a new rating of each user, and of an unknown user."""
        unknown = self.degrees / (self.degrees - 2) if self.by_user else 1.0
        return 1 / (self.precision * self.levels), unknown / self.precision

    def _learn_levels(self, errors, rng):
        """Draw the levels of noise of the users, given Σ_i w (r − s)² of each."""
        if self.by_user:
            self._draw_degrees(rng)
            # γ_u ~ Gamma((ν + n_u)/2, (ν + τ Σ_i w (r − s)²)/2)
            rates = (self.degrees + self.precision * errors) / 2
            self.levels = rng.gamma((self.degrees + self.counts) / 2) / rates
            side, levels = self.sides[ITEMS], self.levels.astype(self.dtype)
            blocks = cut_evenly(len(side.indices), BLOCK)
            weights = levels[:0] if self.weights is None else self.weights
            given = side.indices, levels, weights, side.weights
            self.run(spread_levels, blocks, *given)
        self.noise[USERS][:] = (self.precision * self.levels) ** -0.5
        self.noise[ITEMS][:] = self.precision**-0.5

    def _draw_degrees(self, rng):
        """Draw ν, given the γ of the users."""
        half, n = DEGREES / 2, len(self.levels)
        chances = n * (half * np.log(half) - gammaln(half))
        chances += half * (np.log(self.levels) - self.levels).sum()
        chances = np.cumsum(np.exp(chances - chances.max()))
        self.degrees = DEGREES[np.searchsorted(chances, rng.uniform() * chances[-1])]


class Gaussian(Likelihood):
    """The likelihood of ratings themselves, in units of their standard deviation.

    τ ~ Gamma(1, 1).

    Parameters
    ----------
    problem, by_user
        See `Likelihood`.
    scale : float
        The standard deviation of the ratings.
    """

    def __init__(self, problem, *, scale, by_user):
        super().__init__(problem, by_user=by_user)
        self.scale, self.mean = scale, problem.start.mean
        for number, side in enumerate(self.sides):
            ratings = (side.ratings.astype(np.float64) - self.mean) / scale
            self.sides[number] = side._replace(ratings=ratings.astype(self.dtype))

    def learn(self, chain):
        """Draw the noise; return the root mean squared error."""
        errors, n_ratings = chain.errors[USERS], len(self.sides[USERS].ratings)
        # τ ~ Gamma(1 + n/2, 1 + Σ γ w (r − s)² / 2)
        total = np.sum(self.levels * errors)
        self.precision = chain.rng.gamma(1 + n_ratings / 2) / (1 + total / 2)
        self._learn_levels(errors, chain.rng)
        return self.scale * (errors.sum() / n_ratings) ** 0.5

    def predict(self, scores, held_out):
        """Return the expected ratings of held-out pairs."""
        return self.mean + self.scale * scores

    def error(self, predicted, held_out):
        """Return the root mean squared error of such predictions."""
        return mean_error(held_out.ratings, predicted, held_out.weights, False)

    def variances(self):
        """Return the variances of `Likelihood` in the unit of the ratings."""
        known, unknown = super().variances()
        return self.scale**2 * known, self.scale**2 * unknown


class Probit(Likelihood):
    """Ratings that tell between which cut points a latent rating lies.

    Rating level k stands for a latent rating z from c_k to c_{k+1}, with c_0 = −∞ and
    c_K = ∞ (Albert and Chib 1993); z is distributed as ratings are in `Likelihood`,
    with τ = 1. A rating between two levels, the mean of several of one pair, counts as
    a share of each. The prior of the cut points is ∏ N(c_k; 0, 5²) ∏ (c_{k+1} − c_k).
    They are drawn with the latent ratings integrated out, by a Metropolis-Hastings step
    whose proposals come from a t distribution about the mode (Albert and Chib 2001).

    Parameters
    ----------
    problem, by_user
        See `Likelihood`.
    levels : ndarray of shape (n_levels,)
        The levels of the ratings, ascending.
    """

    def __init__(self, problem, *, levels, by_user):
        super().__init__(problem, by_user=by_user)
        side = self.sides[USERS]
        n_ratings = len(side.ratings)
        self.users = np.repeat(np.arange(len(side.indptr) - 1), side.counts())
        # Where each rating by item stands among those by user: a stable sort by item.
        self.order = np.argsort(side.indices, kind="stable")
        weights = np.ones(n_ratings) if side.weights is None else side.weights
        self.own_weights = weights.astype(np.float64)
        self.rating_levels, self.numbers = levels, np.arange(len(levels))
        self.parts = split_levels(side.ratings, levels, self.own_weights)
        self.counts = sum(
            self._by_user(at, np.ones(len(at))) for at, _, _ in self.parts
        )
        for number, side in enumerate(self.sides):
            latents = np.zeros(n_ratings, self.dtype)
            self.sides[number] = side._replace(ratings=latents)
        sums = sum(np.bincount(k, w, len(levels)) for _, k, w in self.parts)
        self.cut_points = find_cut_points(np.cumsum(sums)[:-1] / sums.sum())

    def draw(self, chain, sweep):
        """Draw the cut points, then the latent ratings, given the scores."""
        scores, levels = chain.scores(), self.levels[self.users]
        given = [
            (at, ks, weights * levels[at], scores) for at, ks, weights in self.parts
        ]
        if len(self.cut_points):
            self._draw_cut_points(given, chain.rng)
        log_shares = self._sum(add_log_shares, self.cut_points, given, 1)[0]
        self.loss = -log_shares / self.own_weights.sum()
        stream = np.uint64(LATENTS + 2 * chain.number)
        numbers = chain.key, stream, np.uint64(sweep)
        total, latents = draw_latents(given, self.cut_points, numbers, self.run)
        total /= self.own_weights * levels
        self.sides[USERS].ratings[:] = total
        self.sides[ITEMS].ratings[:] = total[self.order]
        # Σ w (z − s)² = Σ w (z̄ − s)² + Σ w (z − z̄)², with z̄ the mean of two parts
        self.within = sum(
            self._by_user(at, weights * (part - total[at]) ** 2)
            for (at, _, weights), part in zip(self.parts, latents, strict=True)
        )

    def learn(self, chain):
        """Draw the noise; return the mean log loss of the draw before this one."""
        self._learn_levels(chain.errors[USERS] + self.within, chain.rng)
        return self.loss

    def predict(self, scores, held_out):
        """Return the probability of each held-out rating; between two, of the lower."""
        places = np.interp(held_out.ratings, self.rating_levels, self.numbers)
        levels, ends = places.astype(np.intp), add_infinities(self.cut_points)
        root = np.sqrt(self.levels[held_out.users])
        below, above = (root * (ends[levels + k] - scores) for k in (0, 1))
        return ndtr(above) - ndtr(below)

    def error(self, predicted, held_out):
        """Return the mean log loss of such probabilities."""
        losses = -np.log(np.maximum(predicted, np.finfo(np.float64).tiny))
        return np.average(losses, weights=held_out.weights)

    def _by_user(self, at, values):
        """Return the sum of the values of some ratings for each user."""
        return np.bincount(self.users[at], values, len(self.levels))

    def _draw_cut_points(self, given, rng):
        mode, root = self._find_mode(given)
        draw = rng.normal(size=len(mode)) / (rng.chisquare(TAILS) / TAILS) ** 0.5
        proposed = mode + solve(root.T, draw)
        chance = np.log(1 - rng.uniform())
        if (np.diff(proposed) <= 0).any():
            return
        gain = 0.0
        for sign, cut_points in ((1, proposed), (-1, self.cut_points)):
            distance = np.sum(matrix_product(root.T, cut_points - mode) ** 2)
            # The density of the proposal is (1 + d² / ν)^-(ν + n)/2.
            log_proposal = -(TAILS + len(mode)) / 2 * np.log1p(distance / TAILS)
            gain += sign * (self._log_density(cut_points, given) - log_proposal)
        if chance < gain:
            self.cut_points = proposed

    def _find_mode(self, given):
        """Return the mode of the cut points, and L of LLᵀ = −H there.

        The logarithm of their density is concave (Pratt 1981): Newton's method.
        """
        cut_points = self.cut_points
        for _ in range(50):
            gradient, hessian = self._derivatives(cut_points, given)
            root = factorise(-hessian)
            step = solve(-hessian, gradient)
            while (np.diff(cut_points + step) <= 0).any():
                step /= 2
            size = np.abs(matrix_product(root.T, step)).max()
            if size > 3:  # far away: no step may lead downhill
                value = self._log_density(cut_points, given)
                while self._log_density(cut_points + step, given) < value:
                    step /= 2
            cut_points = cut_points + step
            if size < PRECISION:
                break
        return cut_points, root

    def _log_density(self, cut_points, given):
        log_shares = self._sum(add_log_shares, cut_points, given, 1)[0]
        return log_shares + log_prior(cut_points)

    def _derivatives(self, cut_points, given):
        """Return the gradient and the Hessian of the log density of cut points."""
        n = len(cut_points)
        sums = self._sum(add_derivatives, cut_points, given, 3 * (n + 2))
        first, second, mixed = sums.reshape(3, n + 2)
        gradient, hessian = derive_log_prior(cut_points)
        gradient += first[1:-1]
        hessian[np.diag_indices(n)] += second[1:-1]
        at = np.arange(n - 1)
        hessian[at, at + 1] += mixed[1:-2]
        hessian[at + 1, at] += mixed[1:-2]
        return gradient, hessian

    def _sum(self, kernel, cut_points, given, size):
        """Add up what a kernel gives for blocks of ratings, in a fixed order."""
        ends, total = add_infinities(cut_points), np.zeros(size)
        for arrays in given:
            blocks = cut_evenly(len(arrays[0]), BLOCK)
            sums = np.zeros((len(blocks), size))
            self.run(kernel, blocks, *arrays, ends, BLOCK, sums)
            total += sums.sum(axis=0)
        return total


def split_levels(ratings, levels, weights):
    """Return the levels that ratings count as.

    Returns
    -------
    list of tuples
        Positions of ratings, their levels, and the weights of these: of all ratings,
        and then of the level above of those that lie between two.
    """
    places = np.interp(ratings, levels, np.arange(len(levels)))
    below = np.floor(places).astype(np.intp)
    above = places - below
    parts = [(np.arange(len(places)), below, weights * (1 - above))]
    split = np.flatnonzero(above)
    if len(split):
        parts.append((split, below[split] + 1, (weights * above)[split]))
    return parts


def draw_latents(given, cut_points, numbers, run):
    """Draw latent ratings between their cut points.

    Parameters
    ----------
    given : list of tuples
        For each of what `split_levels` returns, with weights that are precisions, the
        same and the scores of all ratings.
    cut_points : ndarray of shape (n_levels - 1,)
        The cut points.
    numbers : tuple of 3 uint64
        Key, stream and sweep of the random numbers; see `_runtime.random`.
    run : callable
        From `thread_pool`.

    Returns
    -------
    total : float64 ndarray of shape (n_ratings,)
        The latent ratings of each rating times their precisions, added up.
    latents : list of float64 ndarrays
        The latent ratings, for each of `given`.
    """
    key, stream, sweep = numbers
    ends = add_infinities(cut_points)
    total, latents = np.zeros(len(given[0][0])), []
    for part, arrays in enumerate(given):
        blocks, uniform = cut_evenly(len(arrays[0]), BLOCK), np.empty(len(arrays[0]))
        run(fill_uniforms, blocks, key, stream + np.uint64(part), sweep, uniform)
        # Φ(z) = Φ(a) + u (Φ(b) − Φ(a)); the uniform numbers become Φ(z)
        run(place_latents, blocks, *arrays, ends, uniform)
        latents.append(ndtri(uniform))
        run(add_latents, blocks, *arrays, ends, latents[-1], total)
    return total, latents


def add_infinities(cut_points):
    """Return the ends of all levels."""
    return np.concatenate([[-np.inf], cut_points, [np.inf]])


def find_cut_points(below):
    """Return the cut points that divide N(0, 1) into given shares, distinct ones."""
    cut_points = ndtri(np.clip(below, 1e-6, 1 - 1e-6))
    for k in range(1, len(cut_points)):
        cut_points[k] = max(cut_points[k], cut_points[k - 1] + 1e-3)
    return cut_points


def log_prior(cut_points):
    """Return the logarithm of the prior density, less a constant."""
    gaps = np.diff(cut_points)
    return np.log(gaps).sum() - np.sum(cut_points**2) / (2 * CUT_POINT_SCALE**2)


def derive_log_prior(cut_points):
    """Return the gradient and the Hessian of `log_prior`."""
    n, inverse = len(cut_points), 1 / np.diff(cut_points)
    gradient = -cut_points / CUT_POINT_SCALE**2
    gradient[1:] += inverse
    gradient[:-1] -= inverse
    hessian = np.diag(np.full(n, -1 / CUT_POINT_SCALE**2))
    at = np.arange(n - 1)
    for left, right, sign in ((0, 0, -1), (1, 1, -1), (0, 1, 1), (1, 0, 1)):
        hessian[at + left, at + right] += sign * inverse**2
    return gradient, hessian
