"""What samples factors from their posterior distribution: of ratings, or of classes."""

import warnings
from functools import partial
from itertools import chain
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import StrOptions

from sklearn_mf._data.arguments import Interval
from sklearn_mf._data.ratings import Pairs, hold_out
from sklearn_mf._estimators.base import OVERFLOW_REMEDY, BaseFactorizer
from sklearn_mf._estimators.features import FEATURES, FeaturesMixin, feature_attributes
from sklearn_mf._estimators.fold_in import FoldInMixin
from sklearn_mf._files import checks
from sklearn_mf._model.features import OTHER, FeatureWeights
from sklearn_mf._model.parameters import SIDES
from sklearn_mf._model.posterior import SAMPLES, Posterior, project
from sklearn_mf._runtime.threads import count_threads, thread_pool
from sklearn_mf._solvers.gibbs.likelihoods import Gaussian, Probit
from sklearn_mf._solvers.gibbs.new_rows import draw_new_rows
from sklearn_mf._solvers.gibbs.solver import (
    START,
    GibbsSampler,
    Hyperprior,
    draw_key,
)
from sklearn_mf._solvers.iterations import check_learnt
from sklearn_mf._typing import Ids

MOST_KEPT, MOST_MEMORY = 100, 2**29  # draws, and bytes of them, that "auto" keeps
FEWEST_KEPT = 10  # whatever their memory
R_HAT = 1.1  # above this chains have not converged


class SampledFactorizer(FoldInMixin, BaseFactorizer):
    """Base of the models whose factors and biases are sampled.

    A subclass has the parameter, or the attribute, `likelihood`, and sets
    `rating_levels_` where it reads ratings.
    """

    likelihood: str

    error_curve_: npt.NDArray[np.floating]
    noise_curve_: npt.NDArray[np.floating]
    precision_curve_: npt.NDArray[np.floating]
    rating_levels_: npt.NDArray[np.floating]
    r_hat_: float
    validation_errors_: list[float] | None

    _fitted: dict = {
        **BaseFactorizer._fitted,
        **BaseFactorizer._fitted_biases,
        **feature_attributes(biased=True, sampled=True),
        "user_factors_samples_": ("kept", "users", "factors"),
        "item_factors_samples_": ("kept", "items", "factors"),
        "user_biases_samples_": ("kept", "users"),
        "item_biases_samples_": ("kept", "items"),
        "intercepts_samples_": ("kept",),
        "user_priors_samples_": ("kept", 2, ("factors", 1)),
        "item_priors_samples_": ("kept", 2, ("factors", 1)),
        **{
            f"{side}_spreads_samples_": checks.Optional(
                ("kept", 2, ("factors", 1), ("factors", 1))
            )
            for side in SIDES
        },
        "noise_variances_samples_": ("kept", ("users", 1)),
        "rating_levels_": ("levels",),
        "cut_points_samples_": ("kept", ("levels", -1)),
        "error_curve_": ("chains", "draws"),
        "noise_curve_": ("chains", "draws"),
        "precision_curve_": ("chains", "draws", 2, ("factors", 1)),
        "r_hat_": checks.check_number_or_nan,
        "validation_errors_": checks.check_curve_or_none,
    }

    _parameter_constraints: dict = {
        name: constraint
        for name, constraint in BaseFactorizer._parameter_constraints.items()
        if name not in ("max_iter", "tol", "init_scale")
    } | {
        "n_factors": [Interval(Integral, 0, None, closed="left")],
        "noise": [StrOptions({"user", "shared"})],
        "user_features": FEATURES,
        "item_features": FEATURES,
        "n_samples": [Interval(Integral, 1, None, closed="left")],
        "burn_in": [Interval(Integral, 0, None, closed="left")],
        "thin": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "n_chains": [Interval(Integral, 1, None, closed="left")],
        "precision_shape": [Interval(Real, 0, None, closed="neither")],
        "precision_rate": [Interval(Real, 0, None, closed="neither")],
        "mean_weight": [Interval(Real, 0, None, closed="neither")],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither"), None],
    }

    # --------------------------------------------------------------------- learning

    tol = None  # a chain ends after its last draw

    @property
    def max_iter(self):
        """The number of draws of a chain."""
        return self.burn_in + self.n_samples

    @property
    def _is_latent(self):
        """Whether factors are of latent ratings, which cut points turn into levels."""
        return self.likelihood != "gaussian"

    def _fit(self, X, y, sample_weight):
        super()._fit(X, y, sample_weight)
        if self.r_hat_ > R_HAT:
            warnings.warn(
                f"{type(self).__name__} did not converge: R̂ of the predictions is "
                f"{self.r_hat_:.2f}, which is more than {R_HAT}. Predictions may still "
                f"be good. Raise burn_in={self.burn_in} and n_samples="
                f"{self.n_samples}.",
                ConvergenceWarning,
                stacklevel=4,  # the line that calls fit, which is decorated
            )
        return self

    def _hold_out(self, ratings, rng):
        if self.validation_fraction is None:
            return ratings, None
        n_threads = count_threads(self.n_jobs)
        return hold_out(ratings, self.validation_fraction, rng, n_threads)

    def _scale(self, ratings, mean):
        return 1.0 if self._is_latent else super()._scale(ratings, mean)

    def _mean(self, ratings):
        return 0.0 if self._is_latent else super()._mean(ratings)

    def _init_scale(self):
        return START * self.rating_scale_**0.5

    def _make_solver(self, problem, previous):
        hyperprior = Hyperprior(
            float(self.precision_shape),
            float(self.precision_rate),
            kappa=float(self.mean_weight),
            centred=not (self.fit_intercept or self._is_latent),
        )
        by_user = self.noise == "user"
        if self._is_latent:
            likelihood = partial(Probit, by_user=by_user, levels=self.rating_levels_)
        else:
            likelihood = partial(Gaussian, by_user=by_user, scale=self.rating_scale_)
        return GibbsSampler(
            problem,
            likelihood,
            hyperprior,
            burn_in=int(self.burn_in),
            n_samples=int(self.n_samples),
            thin=self._thin(problem.start),
            n_chains=int(self.n_chains),
            scale=self.rating_scale_,
        )

    def _thin(self, start):
        """Return of how many draws one is kept."""
        if self.thin != "auto":
            return int(self.thin)
        tables = start.P, start.Q, *chain(*start.feature_weights)
        size = sum(map(np.size, tables)) * start.P.dtype.itemsize
        fitting = MOST_MEMORY // size
        most = int(np.clip(fitting, FEWEST_KEPT, MOST_KEPT)) // int(self.n_chains)
        return -(-int(self.n_samples) // max(most, 1))

    def _attributes(self, problem, solver, parameters):
        n, dtype = solver.n_sweeps, problem.ratings.dtype
        attributes = {
            # The parameters, a sample, have those of the features with them.
            **super(FeaturesMixin, self)._attributes(problem, solver, parameters),
            "error_curve_": solver.errors[:, :n].astype(dtype),
            "noise_curve_": solver.noise[:, :n].astype(dtype),
            "precision_curve_": solver.precisions[:, :n].astype(dtype),
            "r_hat_": solver.r_hat(),
            "validation_errors_": list(solver.validation_errors) or None,
        }
        if self._is_latent:
            unknown = np.array([-1], np.int32)
            shares = parameters.level_shares(Pairs(unknown, unknown, 1.0), 1)
            attributes["global_mean_"] = float((shares * self.rating_levels_).sum())
        return attributes

    def _remedy(self):
        return OVERFLOW_REMEDY

    def _feature_weights(self, side):
        return FeatureWeights.of(vars(self), side, True, SAMPLES)

    def _learn_history(self, side, expected):
        posterior = Posterior.of(vars(self))
        with thread_pool(count_threads(self.n_jobs)) as run:
            factors, biases = draw_new_rows(
                posterior, "user", side, expected, self.rating_levels_, run
            )
        fixed = self.item_factors_, self.item_factors_samples_, self.seen_indices_
        matrices = self._derived(
            "projections", fixed, lambda: posterior.projections("user", fixed[0])
        )
        noise = posterior.noise_variances[:, -1:]
        return {
            "user_factors_": project(factors, matrices),
            "user_biases_": biases.mean(axis=0),
            "user_factors_samples_": factors,
            "user_biases_samples_": biases,
            "noise_variances_samples_": noise.repeat(factors.shape[1] + 1, axis=1),
            "seen_indptr_": side.indptr,  # all of them have ratings
        }

    def _learn_rows(self, side, labels, folded, pairs, expected):
        posterior = Posterior.of(vars(self))
        key = draw_key(check_random_state(self.random_state))
        with thread_pool(count_threads(self.n_jobs)) as run:
            factors, biases = draw_new_rows(
                posterior, side, pairs, expected, self.rating_levels_, run, key=key
            )
        rows = np.concatenate([factors, biases[..., np.newaxis]], axis=-1)
        learnt = self._put_rows(side, labels, folded, rows)
        message = f"fold_in_{side}s: numbers overflow. {OVERFLOW_REMEDY}"
        check_learnt(learnt, message)
        return learnt

    def _put_rows(self, side, labels, places, rows):
        """Return the fitted attributes with rows of a side replaced, or joined.

        Here the rows are draws, of shape (n_draws, n_rows, n_columns).
        """
        posterior = Posterior.of(vars(self))
        factors, biases = rows[..., :-1], rows[..., -1]
        matrices = posterior.projections(side, getattr(self, f"{OTHER[side]}_factors_"))
        mean = np.column_stack([project(factors, matrices), biases.mean(axis=0)])
        posterior = posterior.join(side, labels, places, factors, biases)
        return super()._put_rows(side, labels, places, mean) | posterior.samples()

    # -------------------------------------------------------------------- answering

    def recommend(
        self,
        users: Ids | None = None,
        n_items: int = 10,
        *,
        rank_by: Literal["mean", "upper"] = "mean",
        **options: Any,
    ) -> Any:
        """Find the best items for each user, or those that may be the best.

        Parameters
        ----------
        users, n_items : array-like or None, int
            As in `BiasedMF.recommend`.
        rank_by : {"mean", "upper"}, default="mean"
            "mean" ranks as `BiasedMF.recommend` does. "upper" adds to each prediction
            the standard deviation of what is not known of it, the noise of a rating
            left out: items of which little is known come earlier, so that more will be
            known of them. It looks at all items with all kept draws, which takes as
            many times as long.
        **options : dict
            The other parameters of `BiasedMF.recommend`.

        Returns
        -------
        items, scores : masked arrays of shape (n_users, n_items)
            As in `BiasedMF.recommend`; scores are what `predict` gives. With "ordinal"
            and "bernoulli" items are ranked by their latent ratings.

        Raises
        ------
        ValueError
            If `rank_by` is neither, and see `BiasedMF.recommend`.
        """
        if rank_by not in ("mean", "upper"):
            raise ValueError(
                f"rank_by must be 'mean' or 'upper', got {rank_by!r}: 'upper' to find "
                "items of which little is known."
            )
        score = self._score_upper if rank_by == "upper" else None
        return self._recommend(users, n_items, score=score, **options)

    def _score_upper(self, learnt, pairs):
        """Return latent ratings and one standard deviation of what is not known."""
        deviations = Posterior.of(learnt).variance(pairs, self.n_jobs, noisy=False)
        return super()._predict_from(learnt, pairs, self.n_jobs) + deviations**0.5

    def _predict_from(self, learnt, pairs, n_jobs):
        if not self._is_latent:
            return super()._predict_from(learnt, pairs, n_jobs)
        shares = Posterior.of(learnt).level_shares(pairs, n_jobs)
        ratings = (shares * self.rating_levels_).sum(axis=1)
        return ratings.astype(self.user_factors_.dtype)

    def _draw_new(self, pairs, n_samples, random_state):
        """Draw ratings of pairs; of levels where they stand in `rating_levels_`."""
        if not isinstance(n_samples, Integral) or n_samples < 1:
            raise ValueError(
                f"n_samples must be an int in the range [1, inf), got {n_samples!r}."
            )
        rng, posterior = check_random_state(random_state), Posterior.of(vars(self))
        chosen = rng.randint(len(posterior), size=n_samples)
        dtype = np.intp if self._is_latent else self.user_factors_.dtype
        out = np.empty((len(pairs.users), n_samples), dtype)
        for k, (scores, variances) in enumerate(posterior.scores(pairs, self.n_jobs)):
            for at in np.flatnonzero(chosen == k):
                variance = variances + posterior.noise(k, pairs.users)
                drawn = scores + np.sqrt(variance) * rng.normal(size=len(scores))
                if self._is_latent:
                    drawn = np.searchsorted(posterior.cut_points[k], drawn)
                out[:, at] = drawn
        return out
