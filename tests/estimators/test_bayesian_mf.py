"""BayesianMF: what its draws say, and how they are kept."""

import copy
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.stats import norm
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import root_mean_squared_error

from sklearn_mf import BayesianMF, BiasedMF
from sklearn_mf._data.ratings import hold_out
from sklearn_mf._data.tables import read_ratings
from sklearn_mf._solvers.gibbs.solver import GibbsSampler
from sklearn_mf.datasets import make_answers, make_ratings
from tests.assertions import assert_same_bits

QUICK = {"n_factors": 3, "n_samples": 40, "burn_in": 20, "random_state": 0}
X, Y = make_ratings(60, 40, 1200, random_state=0)
UNSEEN = np.array([[0, 999], [999, 0], [999, 999]])
PAIRS = np.vstack([X[:50], UNSEEN])
LIKELIHOODS = "gaussian", "ordinal", "bernoulli"


@pytest.fixture(scope="module")
def fitted():
    """A fitted model of each likelihood."""
    shares = {"bernoulli": (Y > 3.5).astype(float)}
    return {
        name: BayesianMF(**QUICK, likelihood=name).fit(X, shares.get(name, Y))
        for name in LIKELIHOODS
    }


def scores_of(model, pairs):
    """Return the scores of each kept draw, (n_kept, n_pairs), as it is written."""
    columns = []
    for side, codes in zip(("user", "item"), pairs.T, strict=True):
        labels = getattr(model, f"{side}s_")
        rows = np.searchsorted(labels, codes).clip(max=len(labels) - 1)
        known = labels[rows] == codes
        factors = getattr(model, f"{side}_factors_samples_")[:, rows]
        biases = getattr(model, f"{side}_biases_samples_")[:, rows]
        columns.append((factors * known[:, np.newaxis], biases * known))
    (p, b_u), (q, b_i) = columns
    return model.intercepts_samples_[:, np.newaxis] + b_u + b_i + (p * q).sum(axis=2)


# -------------------------------------------------------------------------- predictions


pytestmark = pytest.mark.filterwarnings(
    "ignore:BayesianMF did not converge:sklearn.exceptions.ConvergenceWarning"
)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_a_small_model_answers_everything(name):
    """Quick enough to run without compilation."""
    table, y = X[:40] % 7, Y[:40].round()
    y = (y > 3).astype(float) if name == "bernoulli" else y
    weights = np.linspace(0.5, 2, len(y))
    model = BayesianMF(
        1, n_samples=3, burn_in=1, likelihood=name, n_chains=2, random_state=0
    )
    model.fit(table, y, sample_weight=weights)
    pairs = np.array([[0, 1], [0, 99], [99, 0], [99, 99]])
    ratings, std = model.predict(pairs, return_std=True)
    assert ((ratings >= y.min()) & (ratings <= y.max())).all()
    assert (std > 0).all()
    low, high = model.predict_interval(pairs).T
    assert (low <= high).all()
    assert np.isfinite(model.sample_y(pairs, 5)).all()
    for rank_by in ("mean", "upper"):
        items, _ = model.recommend([0, 99], 3, rank_by=rank_by)
        assert items.shape == (2, 3)
    history = [[50, 1], [50, 2]], y[:2]
    items, _ = model.recommend(history=history, n_items=2)
    model.fold_in_users(*history)
    model.fold_in_items([[50, 77], [0, 77]], y[:2])
    assert np.isfinite(model.predict([[50, 77], [50, items[0, 0]]])).all()


@pytest.mark.compiled
def test_predict_is_near_the_mean_of_the_draws(fitted):
    model = fitted["gaussian"].set_params(clip=False)
    draws = scores_of(model, PAIRS)
    # The mean of the products has a higher rank than factors have.
    found = model.predict(PAIRS)
    assert root_mean_squared_error(draws.mean(axis=0), found) < 0.1
    assert_allclose(found[-1], model.intercepts_samples_.mean())
    model.set_params(clip=True)
    single = BayesianMF(**QUICK | {"n_samples": 1}, clip=False).fit(X, Y)
    assert_allclose(single.predict(PAIRS), scores_of(single, PAIRS)[0])


@pytest.mark.compiled
def test_the_standard_deviation_is_that_of_a_new_rating(fitted):
    model = fitted["gaussian"]
    draws = scores_of(model, X[:50])
    users = np.searchsorted(model.users_, X[:50, 0])
    noise = model.noise_variances_samples_[:, users].mean(axis=0)
    _, std = model.predict(X[:50], return_std=True)
    assert_allclose(std, np.sqrt(draws.var(axis=0) + noise))


@pytest.mark.compiled
def test_what_is_not_known_of_new_ids_adds_to_the_variance(fitted):
    model, rng = fitted["gaussian"], np.random.default_rng(0)
    # By simulation of new ids from the prior of each draw
    simulated = np.empty((3, len(model.intercepts_samples_), 2000))
    for k in range(simulated.shape[1]):
        rows = {}
        for side in ("user", "item"):
            means, variances = getattr(model, f"{side}_priors_samples_")[k]
            factors = getattr(model, f"{side}_factors_samples_")[k, 0] + means[:-1]
            drawn = means + np.sqrt(variances) * rng.normal(size=(2000, len(means)))
            own = means[-1] + getattr(model, f"{side}_biases_samples_")[k, 0]
            rows[side] = (factors, own, means, drawn)
        (p, b, m, new_p), (q, c, n, new_q) = rows["user"], rows["item"]
        b = b - model.user_factors_samples_[k, 0] @ n[:-1]
        c = c - model.item_factors_samples_[k, 0] @ m[:-1]
        simulated[0, k] = b + new_q[:, -1] + new_q[:, :-1] @ p
        simulated[1, k] = c + new_p[:, -1] + new_p[:, :-1] @ q
        products = (new_p[:, :-1] * new_q[:, :-1]).sum(axis=1)
        simulated[2, k] = new_p[:, -1] + new_q[:, -1] + products
    pairs = np.array([[0, 999], [999, 0], [999, 999]])
    constant = model.intercepts_samples_ - (
        model.user_priors_samples_[:, 0, -1]
        + model.item_priors_samples_[:, 0, -1]
        + (
            model.user_priors_samples_[:, 0, :-1]
            * model.item_priors_samples_[:, 0, :-1]
        ).sum(axis=1)
    )
    expected = (simulated + constant[:, np.newaxis]).reshape(3, -1).std(axis=1)
    noise = model.noise_variances_samples_[:, [0, -1, -1]].mean(axis=0)
    _, std = model.predict(pairs, return_std=True)
    assert_allclose(std, np.sqrt(expected**2 + noise), rtol=0.02)


@pytest.mark.compiled
def test_intervals_are_quantiles(fitted):
    model = fitted["gaussian"].set_params(clip=False)
    ratings, std = model.predict(PAIRS, return_std=True)
    for coverage in (0.5, 0.9):
        reach = norm.ppf(0.5 + coverage / 2) * std
        found = model.predict_interval(PAIRS, coverage)
        assert_allclose(found, np.column_stack([ratings - reach, ratings + reach]))
    clipped = model.set_params(clip=True).predict_interval(PAIRS, 0.999)
    assert (clipped.min(), clipped.max()) == (Y.min(), Y.max())
    for name in ("ordinal", "bernoulli"):
        model = fitted[name]
        shares, levels = model.predict_level_proba(PAIRS), model.rating_levels_
        for coverage in (0.5, 0.9, 0.99):
            low, high = model.predict_interval(PAIRS, coverage).T
            inside = (levels >= low[:, np.newaxis]) & (levels <= high[:, np.newaxis])
            assert ((shares * inside).sum(axis=1) >= coverage - 1e-9).all()
            tail = (1 - coverage) / 2
            for ends, outside in ((low, np.less), (high, np.greater)):
                rest = (shares * outside(levels, ends[:, np.newaxis])).sum(axis=1)
                assert (rest <= tail + 1e-9).all()
    for coverage in (0, 1, 1.5, "all", None):
        with pytest.raises(ValueError, match=r"coverage must be in the range \(0, 1\)"):
            model.predict_interval(PAIRS, coverage)


@pytest.mark.compiled
def test_levels_have_probabilities(fitted):
    for name in ("ordinal", "bernoulli"):
        model = fitted[name]
        draws, levels = scores_of(model, X[:50]), model.rating_levels_
        users = np.searchsorted(model.users_, X[:50, 0])
        deviations = np.sqrt(model.noise_variances_samples_[:, users])
        ends = np.pad(
            model.cut_points_samples_, ((0, 0), (1, 1)), constant_values=(-9e9, 9e9)
        )
        below = norm.cdf((ends.T[:, :, np.newaxis] - draws) / deviations)
        expected = np.diff(below, axis=0).mean(axis=1).T
        found = model.predict_level_proba(X[:50])
        assert_allclose(found, expected, atol=1e-12)
        assert_allclose(found.sum(axis=1), 1)
        ratings, std = model.predict(X[:50], return_std=True)
        assert_allclose(ratings, found @ levels)
        assert_allclose(std**2, found @ levels**2 - ratings**2, atol=1e-12)
    assert fitted["bernoulli"].rating_levels_.tolist() == [0, 1]
    assert_array_equal(fitted["ordinal"].rating_levels_, np.unique(Y))
    assert not hasattr(fitted["gaussian"], "predict_level_proba")
    with pytest.raises(AttributeError, match="predict_level_proba") as caught:
        fitted["gaussian"].predict_level_proba(X)
    assert "needs likelihood='ordinal'" in str(caught.value.__cause__)


@pytest.mark.compiled
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_sample_y_has_the_moments_that_predict_tells(fitted, name):
    model = fitted[name].set_params(clip=False)
    ratings, std = model.predict(PAIRS, return_std=True)
    drawn = model.sample_y(PAIRS, 4000)
    assert drawn.shape == (len(PAIRS), 4000)
    assert_array_equal(drawn, model.sample_y(PAIRS, 4000, random_state=0))
    # The Gaussian predictions are of lower rank than the draws.
    assert_allclose(
        drawn.mean(axis=1), ratings, atol=0.3 if name == "gaussian" else 0.07
    )
    assert_allclose(drawn.std(axis=1), std, rtol=0.15)
    if name != "gaussian":
        assert np.isin(drawn, model.rating_levels_).all()
    for n_samples in (0, 1.5):
        with pytest.raises(ValueError, match="n_samples must be an int"):
            model.sample_y(PAIRS, n_samples)
    model.set_params(clip=True)


@pytest.mark.compiled
def test_it_predicts_better_than_one_model():
    A, a = make_ratings(random_state=0)
    train = np.arange(len(a)) % 4 > 0
    errors = [
        -model.fit(A[train], a[train]).score(A[~train], a[~train])
        for model in (
            BayesianMF(n_samples=100, burn_in=50, random_state=0),
            BiasedMF(random_state=0),
        )
    ]
    assert errors[0] < 0.99 * errors[1]


@pytest.mark.compiled
def test_answers_have_probabilities_near_the_truth():
    A, a = make_answers(random_state=0)
    train = np.arange(len(a)) % 4 > 0
    model = BayesianMF(2, likelihood="bernoulli", n_samples=100, random_state=0)
    model.fit(A[train], a[train])
    found, answers = model.predict(A[~train]), a[~train]
    assert np.mean((found > 0.5) == answers) > 0.7
    for low in np.arange(0.1, 0.9, 0.2):
        part = (found >= low) & (found < low + 0.2)
        assert abs(found[part].mean() - answers[part].mean()) < 0.05


# ----------------------------------------------------------------------- what is kept


@pytest.mark.compiled
def test_draws_are_kept_thinned_chain_by_chain():
    model = BayesianMF(**QUICK | {"n_chains": 2, "thin": 8}).fit(X, Y)
    assert model.user_factors_samples_.shape == (10, 60, 3)
    assert model.item_biases_samples_.shape == (10, 40)
    assert model.noise_variances_samples_.shape == (10, 61)
    assert model.cut_points_samples_.shape == (10, 0)
    assert model.error_curve_.shape == model.noise_curve_.shape == (2, 60)
    assert model.precision_curve_.shape == (2, 60, 2, 4)
    assert_allclose(model.loss_curve_, model.error_curve_.mean(axis=0))
    assert (
        len(BayesianMF(**QUICK | {"n_samples": 250}).fit(X, Y).intercepts_samples_)
        == 84
    )


@pytest.mark.compiled
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_validation_errors_are_those_of_the_mean_of_the_draws(name):
    y = (Y > 3.5).astype(float) if name == "bernoulli" else Y
    options = {"likelihood": name, "thin": 1, "n_chains": 2, "clip": False}
    model = BayesianMF(**QUICK | options, validation_fraction=0.2)
    errors = model.fit(X, y).validation_errors_
    assert len(errors) == 40
    rng = np.random.RandomState(0)
    ratings = read_ratings(BayesianMF(), X, y, None)
    _, held_out = hold_out(ratings, 0.2, rng)
    assert len(held_out.ratings) == 240
    pairs = np.column_stack([held_out.users, held_out.items])
    if name == "gaussian":
        predicted = scores_of(model, pairs).mean(axis=0)
        expected = root_mean_squared_error(held_out.ratings, predicted)
    else:
        levels = np.searchsorted(model.rating_levels_, held_out.ratings)
        shares = model.predict_level_proba(pairs)[np.arange(240), levels]
        expected = -np.log(shares).mean()
    assert_allclose(errors[-1], expected, rtol=1e-9)
    assert errors[-1] < errors[0]
    assert BayesianMF(**QUICK).fit(X, y > 3).validation_errors_ is None


@pytest.mark.compiled
def test_draws_are_kept_up_to_a_memory(monkeypatch):
    of_a_draw = (60 + 40) * 4 * 8
    for draws, n_kept in ((100, 40), (25, 20), (1, 10)):
        monkeypatch.setattr(
            "sklearn_mf._estimators.sampled.MOST_MEMORY", draws * of_a_draw
        )
        model = BayesianMF(**QUICK).fit(X, Y)
        assert len(model.intercepts_samples_) == n_kept


@pytest.mark.compiled
def test_ids_without_ratings_are_unknown():
    R = np.zeros((61, 41))
    R[X[:, 0], X[:, 1]] = Y
    model = BayesianMF(**QUICK).fit(sparse.csr_array(R))
    found = model.predict([[0, 40], [60, 0], [60, 40]], return_std=True)
    expected = model.predict(UNSEEN, return_std=True)
    assert_allclose(found, expected, rtol=1e-12)


def test_the_split_r_hat_compares_halves_of_chains():
    rng = np.random.default_rng(0)
    sampler = object.__new__(GibbsSampler)
    sampler.burn_in, sampler.n_sweeps = 7, 47
    draws = rng.normal(size=(3, 40, 50))
    for shift, trend, low, high in (
        (0, 0, 0.99, 1.02),
        (1, 0, 1.1, 2),  # chains that differ
        (0, 0.05, 1.1, 2),  # chains that move
    ):
        sampler.watched = draws + shift * np.arange(3)[:, np.newaxis, np.newaxis]
        sampler.watched += trend * np.arange(40)[np.newaxis, :, np.newaxis]
        halves = sampler.watched.reshape(6, 20, 50)
        within = halves.var(axis=1, ddof=1).mean(axis=0).sum()
        between = 20 * halves.mean(axis=1).var(axis=0, ddof=1).sum()
        expected = np.sqrt((19 / 20 * within + between / 20) / within)
        assert_allclose(sampler.r_hat(), expected)
        assert low < expected < high
    sampler.n_sweeps = 26  # 19 draws
    assert np.isnan(sampler.r_hat())


@pytest.mark.compiled
def test_chains_that_disagree_warn(monkeypatch):
    options = {"likelihood": "ordinal", "n_chains": 2, "random_state": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = BayesianMF(3, n_samples=400, **options).fit(X, Y)
    assert 1 < model.r_hat_ < 1.1
    monkeypatch.setattr("sklearn_mf._estimators.sampled.R_HAT", 1.0)
    match = r"R̂ .* is 1\.\d+, .*Raise burn_in=20 and n_samples=40"
    with pytest.warns(ConvergenceWarning, match=match) as caught:
        BayesianMF(3, n_samples=40, burn_in=20, **options).fit(X, Y)
    assert caught[0].filename == __file__  # the line of fit


# ------------------------------------------------------------------------------ levels


@pytest.mark.compiled
def test_the_numbers_of_levels_do_not_matter(fitted):
    levels = np.unique(Y)
    other = np.array([-7.0, 0.0, 1.0, 2.0, 50.0, 51.0, 60.0, 61.0, 80.0, 99.0])
    names = other[np.searchsorted(levels, Y)]
    found = BayesianMF(**QUICK, likelihood="ordinal").fit(X, names)
    expected = fitted["ordinal"].predict_level_proba(PAIRS)
    assert_array_equal(found.predict_level_proba(PAIRS), expected)


@pytest.mark.compiled
def test_a_repeated_pair_counts_as_shares_of_levels():
    """The mean of 4 and 5 is half of each; that of 3 and 5 is a 4 of weight 2."""
    pair = [[0, 0]]
    table = np.vstack([X[(X != 0).any(axis=1)], pair, pair])
    y = Y[(X != 0).any(axis=1)].round()
    both = BayesianMF(**QUICK, likelihood="ordinal")
    first = both.fit(table, np.append(y, [4, 5])).predict_level_proba(pair)[0]
    levels = both.rating_levels_
    assert_array_equal(levels, np.unique(y))
    second = both.fit(table, np.append(y, [5, 4])).predict_level_proba(pair)[0]
    assert_array_equal(first, second)
    between = both.fit(table, np.append(y, [3, 5]))
    weights = np.ones(len(table) - 1)
    weights[-1] = 2
    once = BayesianMF(**QUICK, likelihood="ordinal")
    once.fit(table[:-1], np.append(y, 4), sample_weight=weights)
    assert_same_bits(between, once)


@pytest.mark.compiled
def test_errors_of_levels_name_the_remedy():
    y = np.linspace(1, 5, len(X))
    with pytest.raises(ValueError, match="1200 distinct ones, more than 1000: use"):
        BayesianMF(likelihood="ordinal").fit(X, y)
    model = BayesianMF(**QUICK, likelihood="bernoulli")
    match = "likelihood='bernoulli' is for y from 0 to 1, got y from 1 to 5"
    with pytest.raises(ValueError, match=match):
        model.fit(X, y)
    model.fit(X, y > 3)
    with pytest.raises(ValueError, match=match):
        model.fold_in_users(X, y)
    # All alike is no information, and no error.
    for likelihood, level in (("ordinal", 3.0), ("bernoulli", 1.0)):
        alike = BayesianMF(**QUICK, likelihood=likelihood).fit(
            X, np.full(len(X), level)
        )
        assert np.isfinite(alike.predict(X)).all()
        assert alike.predict(X).mean() > 0.9 * level


# ----------------------------------------------------------------- new ids, rankings


@pytest.mark.compiled
@pytest.mark.parametrize("name", LIKELIHOODS)
@pytest.mark.parametrize("side", ["user", "item"])
def test_folding_in_is_near_a_fit_of_all(fitted, name, side):
    y = (Y > 3.5).astype(float) if name == "bernoulli" else Y
    column = ("user", "item").index(side)
    new = X[:, column] < 5
    options = QUICK | {"n_samples": 200, "likelihood": name}
    model = BayesianMF(**options).fit(X[~new], y[~new])
    before = model.predict(X[~new], return_std=True)
    getattr(model, f"fold_in_{side}s")(X[new], y[new])
    assert_array_equal(model.predict(X[~new], return_std=True), before)
    whole = BayesianMF(**options).fit(X, y)
    found = model.predict(X[new], return_std=True)
    expected = whole.predict(X[new], return_std=True)
    assert np.corrcoef(found[0], expected[0])[0, 1] > 0.9
    for values, others in zip(found, expected, strict=True):
        assert root_mean_squared_error(others, values) < 0.25 * y.std()


@pytest.mark.compiled
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_a_history_is_a_fold_in_without_a_change(fitted, name):
    y = (Y > 3.5).astype(float) if name == "bernoulli" else Y
    new = X[:, 0] < 5
    model = BayesianMF(**QUICK | {"n_samples": 200, "likelihood": name})
    model.fit(X[~new], y[~new])
    kept = model.user_factors_samples_.copy()
    items, scores = model.recommend(history=(X[new], y[new]), n_items=5)
    assert_array_equal(model.user_factors_samples_, kept)
    again = model.recommend(history=(X[new], y[new]), n_items=5)
    assert_array_equal(items, again[0])
    assert_array_equal(scores, again[1])
    model.fold_in_users(X[new], y[new])
    for user in range(5):
        pairs = np.column_stack([np.full(5, user), items[user]])
        assert_allclose(model.predict(pairs), scores[user], atol=0.25 * np.ptp(y) / 4)


@pytest.mark.compiled
def test_upper_ranks_what_little_is_known_of_first(fitted):
    model = fitted["gaussian"]
    every = np.array(list(np.ndindex(60, 40)))
    options = {"exclude_seen": False, "popularity_weight": 0}
    items, scores = model.recommend(np.arange(60), 40, rank_by="upper", **options)
    free = BayesianMF(**QUICK, clip=False).fit(X, Y)
    draws = scores_of(model, every)
    values = (free.predict(every) + draws.std(axis=0)).reshape(60, 40)
    assert_array_equal(items, np.argsort(-values, axis=1))
    pairs = np.column_stack([np.repeat(np.arange(60), 40), items.ravel()])
    assert_array_equal(scores.ravel(), model.predict(pairs))
    # Blocks of users, lists and exclusions
    few = model.recommend([7, 8, 999], 3, rank_by="upper", max_memory=1e-9)
    assert_array_equal(few[0], model.recommend([7, 8, 999], 3, rank_by="upper")[0])
    seen = X[X[:, 0] == 7, 1]
    assert not np.isin(few[0][0], seen).any()
    lists = {"candidates": [[1, 2, 3], [4, 5, 6]], "exclude": [[1], [4]]}
    chosen, _ = model.recommend([7, 8], 3, rank_by="upper", exclude_seen=False, **lists)
    assert [sorted(row.compressed()) for row in chosen] == [[2, 3], [5, 6]]
    with pytest.raises(ValueError, match="rank_by must be 'mean' or 'upper'"):
        model.recommend([7], rank_by="lower")


@pytest.mark.compiled
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_recommendations_are_ranked_by_the_factors(fitted, name):
    model = fitted[name]
    items, scores = model.recommend([3], 40, exclude_seen=False, popularity_weight=0)
    values = model.item_biases_ + model.item_factors_ @ model.user_factors_[3]
    assert_array_equal(items[0], np.argsort(-values))
    pairs = np.column_stack([np.full(40, 3), items[0]])
    assert_array_equal(scores[0], model.predict(pairs))


# ---------------------------------------------------------------------------- features

RNG = np.random.default_rng(0)
ITEMS = pd.DataFrame(
    RNG.normal(size=(50, 3)), columns=list("abc")
)  # of 40, and 10 more
USERS = np.arange(70), sparse.csr_array((RNG.random((70, 5)) < 0.4).astype(float))
BOTH = {"user_features": ["rated", USERS], "item_features": ["rated", ITEMS]}
COLD = np.array([[0, 45], [65, 3], [65, 45], [65, 999]])


def fit_features(name, **options):
    y = (Y > 3.5).astype(float) if name == "bernoulli" else Y
    return BayesianMF(**QUICK | {"likelihood": name} | BOTH | options).fit(X, y)


@pytest.fixture(scope="module")
def with_features():
    """A fitted model of each likelihood, with features of both kinds and sides."""
    return {name: fit_features(name) for name in LIKELIHOODS}


@pytest.mark.compiled
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_ids_without_ratings_are_predicted_from_features(with_features, name):
    model = with_features[name]
    features = {"user": USERS[1].toarray(), "item": ITEMS.to_numpy()}
    for side, rows in (("user", [61, 65]), ("item", [41, 45])):
        learnt = {
            name.removeprefix(f"{side}_"): value
            for name, value in vars(model).items()
            if name.startswith(f"{side}_")
        }
        x = features[side][rows] - learnt["feature_centers_"]
        for found, expected in (
            (learnt["factors_"][rows], x @ learnt["cold_weights_"]),
            (learnt["biases_"][rows], x @ learnt["cold_biases_"]),
            (
                learnt["factors_samples_"][:, rows],
                x @ learnt["cold_weights_samples_"],
            ),
            (
                learnt["biases_samples_"][:, rows],
                learnt["cold_biases_samples_"] @ x.T,
            ),
        ):
            assert_allclose(found, expected, atol=1e-9)
    ratings, std = model.predict(COLD, return_std=True)
    unknown = model.predict([[999, 999]])
    assert abs(ratings - unknown).max() > 0.01
    known_std = model.predict(X[:4], return_std=True)[1].mean()
    if name == "gaussian":
        assert (std > known_std).all()
    drawn = model.sample_y(COLD, 4000)
    assert_allclose(drawn.std(axis=1), std, rtol=0.15)
    low, high = model.predict_interval(COLD).T
    assert (low <= high).all()


@pytest.mark.compiled
def test_cold_ids_have_the_variance_of_their_prior(with_features):
    """That of new ids, and of what would be known of them had they features."""
    model = with_features["gaussian"]
    pairs = np.array([[0, 45], [65, 3], [65, 45], [999, 3], [65, 999], [999, 999]])
    total, means = np.zeros(len(pairs)), scores_of(model, pairs)
    for k in range(len(means)):
        for at, pair in enumerate(pairs):
            rows, covariances = [], []
            for side, label, n in zip(("user", "item"), pair, (60, 40), strict=True):
                mean, variances = getattr(model, f"{side}_priors_samples_")[k]
                spreads = getattr(model, f"{side}_spreads_samples_")[k]
                kept = getattr(model, f"{side}_factors_samples_")[k]
                row = mean[:-1] + (kept[label] if label != 999 else 0)
                rows.append(np.append(row, 1))
                spread = spreads[0 if label != 999 else 1]
                covariances.append((label >= n) * (np.diag(variances) + spread))
            (p, q), (S, T) = rows, covariances
            # p·q + b + c has the variance qᵀSq + pᵀTp + tr(ST), where q and p have a 1
            # for the biases b and c, of which there is no product.
            total[at] += q @ S @ q + p @ T @ p + np.sum(S[:-1, :-1] * T[:-1, :-1])
            user = pair[0] if pair[0] < 60 else -1
            total[at] += model.noise_variances_samples_[k, user]
    expected = means.var(axis=0) + total / len(means)
    found = model.predict(pairs, return_std=True)[1] ** 2
    assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.compiled
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_ids_join_by_their_features_as_if_fit_had_had_them(with_features, name):
    few = (USERS[0][:62], USERS[1][:62])
    options = {"item_features": ["rated", ITEMS[:42]], "user_features": ["rated", few]}
    # The features are standardised by the rows of ids with ratings and without.
    model = fit_features(name, **options)
    before = model.predict(PAIRS, return_std=True)
    rows = model.user_rated_factors_samples_.shape[1]
    model.add_items(ITEMS[42:45])
    model.add_items(ITEMS[45:])
    model.add_users((USERS[0][62:], USERS[1][62:]))
    assert_array_equal(model.predict(PAIRS, return_std=True), before)
    assert model.user_rated_factors_samples_.shape[1] == rows + 8
    assert model.item_rated_factors_.shape == (70, 3)
    model._check_fitted()
    found, expected = (
        each.predict(COLD, return_std=True) for each in (model, with_features[name])
    )
    assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.compiled
@pytest.mark.parametrize("name", LIKELIHOODS)
@pytest.mark.parametrize("side", ["user", "item"])
def test_folding_in_with_features_is_near_a_fit_of_all(name, side):
    y = (Y > 3.5).astype(float) if name == "bernoulli" else Y
    column = ("user", "item").index(side)
    new = X[:, column] < 5
    options = QUICK | {"n_samples": 200, "likelihood": name} | BOTH
    model = BayesianMF(**options).fit(X[~new], y[~new])
    before = model.predict(X[~new], return_std=True)
    getattr(model, f"fold_in_{side}s")(X[new], y[new])
    assert_array_equal(model.predict(X[~new], return_std=True), before)
    model._check_fitted()
    whole = BayesianMF(**options).fit(X, y)
    found = model.predict(X[new], return_std=True)
    expected = whole.predict(X[new], return_std=True)
    assert np.corrcoef(found[0], expected[0])[0, 1] > 0.9
    for values, others in zip(found, expected, strict=True):
        assert root_mean_squared_error(others, values) < 0.25 * y.std()


@pytest.mark.compiled
def test_a_history_uses_what_was_rated(with_features):
    model = with_features["gaussian"]
    history = np.array([[0, 3], [0, 5], [0, 7]]), np.array([5.0, 4.0, 1.0])
    scores = model.recommend(history=history, n_items=5)[1]
    plain = BayesianMF(**QUICK | {"item_features": BOTH["item_features"]}).fit(X, Y)
    assert (scores != plain.recommend(history=history, n_items=5)[1]).any()
    upper = model.recommend(history=history, n_items=5, rank_by="upper")[0]
    assert np.isin(upper, model.items_).all()


@pytest.mark.compiled
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_features_help_where_ratings_are_few(dtype):
    """Ratings that are made of features: cold items are known, intervals hold them."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 4))
    weights = rng.normal(size=(4, 3)) * [0.5, 0.5, 0.8]
    Q = features @ weights + 0.3 * rng.normal(size=(300, 3))
    P = rng.normal(size=(200, 2)) * 0.7 + [0.5, -0.5]
    pairs = np.column_stack(
        [rng.integers(200, size=9000), rng.integers(300, size=9000)]
    )
    pairs = np.unique(pairs, axis=0)
    scores = (P[pairs[:, 0]] * Q[pairs[:, 1], :-1]).sum(axis=1) + Q[pairs[:, 1], -1]
    y = (scores + 0.5 * rng.normal(size=len(pairs))).astype(dtype)
    warm = pairs[:, 1] < 200
    table = np.arange(300), features
    options = {"n_samples": 100, "burn_in": 100, "random_state": 0, "clip": False}
    model = BayesianMF(5, item_features=table, **options).fit(pairs[warm], y[warm])
    plain = BayesianMF(5, **options).fit(pairs[warm], y[warm])
    errors = [-each.score(pairs[~warm], y[~warm]) for each in (model, plain)]
    assert errors[0] < 0.7 * errors[1]
    assert model.item_feature_weights_.dtype == dtype
    for coverage in (0.5, 0.8, 0.95):
        low, high = model.predict_interval(pairs[~warm], coverage).T
        covered = np.mean((low <= y[~warm]) & (y[~warm] <= high))
        assert_allclose(covered, coverage, atol=0.04)


@pytest.mark.compiled
def test_features_that_tell_nothing_do_no_harm():
    rng, train = np.random.default_rng(0), np.arange(len(Y)) % 4 > 0
    noise = np.arange(40), rng.normal(size=(40, 30))
    errors = [
        -BayesianMF(3, n_samples=100, burn_in=100, random_state=0, item_features=given)
        .fit(X[train], Y[train])
        .score(X[~train], Y[~train])
        for given in (None, noise)
    ]
    assert errors[1] < 1.03 * errors[0]


@pytest.mark.compiled
def test_samples_of_weights_count_as_memory(monkeypatch):
    of_a_draw = (60 + 40) * 4 * 8
    monkeypatch.setattr("sklearn_mf._estimators.sampled.MOST_MEMORY", 40 * of_a_draw)
    rated = {"user_features": "rated", "item_features": "rated"}
    model = BayesianMF(**QUICK, **rated).fit(X, Y)
    assert len(model.intercepts_samples_) == 20  # as many numbers again


@pytest.mark.compiled
def test_weights_are_a_fitted_state(with_features):
    model = with_features["gaussian"]
    model._check_fitted()
    for name in ("user_feature_weights_samples_", "item_rated_biases_samples_"):
        broken = copy.copy(model)
        delattr(broken, name)
        with pytest.raises(ValueError, match="or another of its kind is missing"):
            broken._check_fitted()
        broken = copy.copy(model)
        setattr(broken, name, getattr(model, name)[:, :-1])
        with pytest.raises(ValueError, match=name):
            broken._check_fitted()


@pytest.mark.compiled
def test_a_warm_start_begins_at_the_weights_of_before():
    options = QUICK | BOTH | {"warm_start": True, "n_samples": 1, "burn_in": 0}
    model = BayesianMF(**QUICK | BOTH).fit(X, Y)
    started = model.set_params(**options).fit(X, Y).loss_curve_[0]
    anew = BayesianMF(**options).fit(X, Y).loss_curve_[0]
    assert started < 0.9 * anew
