"""MFImputer: what an imputer of scikit-learn does, and what this one promises more."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import optimize, sparse
from sklearn import datasets
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator

from sklearn_mf.impute import MFImputer
from sklearn_mf.metrics import masked_rmse
from tests.assertions import Recorder, interrupt, left_as_it_was
from tests.contract.models import in_turn

QUICK = {"n_factors": 3, "regularization": 1.0, "random_state": 0}
DRAWS = {"sample_posterior": True, "n_samples": 20, "burn_in": 20, "random_state": 0}


def make_table(n_rows=60, n_columns=8, missing=0.3, seed=0, noise=0.1):
    """Return a table of rank 2, and the same with holes."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows, 2)) @ rng.normal(size=(2, n_columns))
    X += rng.normal(scale=noise, size=X.shape)
    X = 10 ** np.arange(n_columns) * (X + 3)  # columns of all units
    return X, np.where(rng.uniform(size=X.shape) < missing, np.nan, X)


X, GIVEN = make_table()
OBSERVED = ~np.isnan(GIVEN)


# ------------------------------------------------------------------ as scikit-learn's


@pytest.mark.compiled
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    ("imputer", "n_checks"),
    [
        (MFImputer(n_jobs=1), 46),
        (MFImputer(3, sample_posterior=True, n_samples=3, burn_in=2), 46),
        (MFImputer(3, solver="gibbs", n_samples=3, burn_in=2), 46),
        (
            MFImputer(
                2,
                missing_values=-1,
                regularization=0,
                solver="als-cg",
                scale=False,
                max_iter=3,
                add_indicator=True,
                keep_empty_features=True,
                n_jobs=2,
            ),
            47,  # NaN is to be refused
        ),
    ],
    ids=repr,
)
def test_check_estimator(imputer, n_checks):
    results = check_estimator(imputer, on_skip=None)
    assert len(results) == n_checks
    skipped = {r["check_name"] for r in results if r["status"] != "passed"}
    assert skipped <= {"check_array_api_input"}  # asks for an environment variable
    assert "check_fit2d_1sample" in {r["check_name"] for r in results}


def test_the_tags_allow_nan_where_it_marks_missing_values():
    def allows(value):
        tags = MFImputer(missing_values=value).__sklearn_tags__()
        return tags.input_tags.allow_nan

    assert [allows(value) for value in (np.nan, pd.NA, 0, -1.5)] == [1, 1, 0, 0]


def test_observed_entries_come_back_to_the_bit():
    for table in (GIVEN, GIVEN.astype(np.float32), np.asfortranarray(GIVEN)):
        before = table.tobytes()
        for options in (QUICK, DRAWS):
            filled = MFImputer(**options).fit_transform(table)
            assert filled.dtype == table.dtype
            assert filled[OBSERVED].tobytes() == table[OBSERVED].tobytes()
            assert np.isfinite(filled).all()
        assert table.tobytes() == before


def test_a_table_without_missing_entries_is_returned_as_it_is():
    for options in (QUICK, DRAWS):
        imputer = MFImputer(**options).fit(X)
        assert imputer.transform(X).tobytes() == X.tobytes()
        # and what it has learnt fills holes of new rows
        assert np.abs(imputer.transform(GIVEN) / X - 1).mean() < 0.2


def test_all_ways_to_pass_a_table_give_the_same():
    filled = MFImputer(**QUICK).fit_transform(GIVEN)
    read_only = GIVEN.copy()
    read_only.setflags(write=False)
    names = list("abcdefgh")
    nullable = pd.DataFrame(GIVEN, columns=names).astype("Float64")
    nullable = nullable.mask(nullable.isna(), pd.NA)
    objects = nullable.astype(object)
    objects[nullable.isna()] = np.nan
    marked = np.where(OBSERVED, GIVEN, -7)
    for table, missing_values in (
        (np.asfortranarray(GIVEN), np.nan),
        (read_only, np.nan),
        (GIVEN.tolist(), np.nan),
        (pd.DataFrame(GIVEN, columns=names), np.nan),
        (nullable, np.nan),
        (nullable, pd.NA),
        (objects, np.nan),
        (marked, -7),
    ):
        imputer = MFImputer(missing_values=missing_values, **QUICK)
        assert_array_equal(imputer.fit_transform(table), filled)


def test_integers_become_floats():
    table = np.random.default_rng(0).poisson(5, size=(30, 4))
    filled = MFImputer(missing_values=3, **QUICK).fit_transform(table)
    assert filled.dtype == np.float64
    assert_array_equal(filled[table != 3], table[table != 3])
    assert not (filled[table == 3] == 3).any()


def test_nan_is_refused_where_a_number_marks_missing_values():
    with pytest.raises(ValueError, match="NaN"):
        MFImputer(missing_values=0).fit(GIVEN)


def test_sparse_input_is_refused_with_the_reason():
    for matrix in (sparse.csr_array(X), sparse.coo_matrix(X)):
        for value in (np.nan, 0):
            with pytest.raises(ValueError, match=r"sparse .* not stored are zeros"):
                MFImputer(missing_values=value).fit(matrix)
        with pytest.raises(ValueError, match=r"sparse .* not stored are zeros"):
            MFImputer(**QUICK).fit(X).transform(matrix)


def test_infinite_numbers_and_text_are_refused():
    wrong = GIVEN.copy()
    wrong[0, 0] = np.inf
    with pytest.raises(ValueError, match="infinity"):
        MFImputer().fit(wrong)
    with pytest.raises(ValueError, match="could not convert string"):
        MFImputer().fit(np.array([["a", "b"], ["c", "d"]], dtype=object))


@in_turn("params", [{"missing_values": "x"}, {"regularization": -1}, {"solver": "lu"}])
def test_parameters_out_of_range_are_refused(params):
    with pytest.raises(ValueError, match=f"The '{next(iter(params))}' parameter"):
        MFImputer(**params).fit(GIVEN)


def test_transform_before_fit():
    with pytest.raises(NotFittedError):
        MFImputer().transform(GIVEN)
    with pytest.raises(NotFittedError):
        MFImputer().get_feature_names_out()


def test_add_indicator():
    imputer = MFImputer(add_indicator=True, **QUICK).fit(GIVEN)
    filled = imputer.transform(GIVEN)
    assert_array_equal(filled[:, 8:], MissingIndicator().fit_transform(GIVEN))
    assert_array_equal(filled[:, :8], MFImputer(**QUICK).fit_transform(GIVEN))
    names = imputer.get_feature_names_out()
    assert names[[0, 7]].tolist() == ["x0", "x7"]
    assert names[8:].tolist() == [f"missingindicator_x{i}" for i in range(8)]
    assert MFImputer(**QUICK).fit(GIVEN).indicator_ is None


def test_names_and_the_output_of_pandas():
    names = [f"column {i}" for i in range(8)]
    table = pd.DataFrame(GIVEN, columns=names, index=np.arange(60) * 2)
    table["empty"] = np.nan
    imputer = MFImputer(add_indicator=True, **QUICK).set_output(transform="pandas")
    with pytest.warns(UserWarning, match=r"leaves out the columns \['empty'\]"):
        filled = imputer.fit_transform(table)
    assert filled.index.equals(table.index)
    expected = [*names, *(f"missingindicator_{name}" for name in (*names, "empty"))]
    assert filled.columns.tolist() == expected
    assert imputer.get_feature_names_out().tolist() == expected
    assert imputer.feature_names_in_.tolist() == table.columns.tolist()
    assert_array_equal(filled[names].to_numpy()[OBSERVED], GIVEN[OBSERVED])


def test_empty_columns():
    table = np.column_stack([GIVEN[:, 0], np.full(60, np.nan), GIVEN[:, 1:]])
    with pytest.warns(UserWarning, match=r"leaves out the columns \['x1'\]"):
        imputer = MFImputer(**QUICK).fit(table)
    without = imputer.transform(table)
    assert_array_equal(without, MFImputer(**QUICK).fit_transform(GIVEN))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kept = MFImputer(keep_empty_features=True, **QUICK).fit(table)
    filled = kept.transform(table)
    assert_array_equal(filled[:, 1], np.zeros(60))
    assert_array_equal(np.delete(filled, 1, axis=1), without)
    new = table[:3].copy()
    new[0, 1] = 5
    assert_array_equal(kept.transform(new)[:, 1], [5, 0, 0])
    assert kept.get_feature_names_out().tolist() == [f"x{i}" for i in range(9)]
    nothing = np.full((4, 2), np.nan)
    for options in (QUICK, DRAWS):
        imputer = MFImputer(keep_empty_features=True, **options).fit(nothing)
        assert_array_equal(imputer.transform(nothing), np.zeros((4, 2)))
        assert (imputer.n_iter_, imputer.loss_curve_) == (0, [])


def test_a_row_without_any_entry_gets_the_means():
    imputer = MFImputer(**QUICK).fit(np.vstack([GIVEN, np.full(8, np.nan)]))
    means = np.nanmean(GIVEN, axis=0)
    assert_allclose(imputer.mean_, means, rtol=1e-12)
    assert_array_equal(imputer.transform([[np.nan] * 8])[0], imputer.mean_)


def test_a_constant_column_stays_constant():
    table = np.column_stack([GIVEN, np.where(OBSERVED[:, 0], 0.1, np.nan)])
    for scale in (True, False):
        imputer = MFImputer(scale=scale, **QUICK).fit(table)
        assert_array_equal(imputer.transform(table)[:, 8], np.full(60, 0.1))
        assert imputer.scale_[8] == 0
        assert not imputer.column_factors_[8].any()
        # and it changes nothing of the others
        others = MFImputer(scale=scale, **QUICK).fit_transform(GIVEN)
        assert_array_equal(imputer.transform(table)[:, :8], others)


def test_small_tables():
    one = [[1.0, np.nan, 3.0]]
    imputer = MFImputer(keep_empty_features=True).fit(one)
    assert_array_equal(imputer.transform([[np.nan, np.nan, 5]]), [[1, 0, 5]])
    column = np.array([[1.0], [np.nan], [3.0]])
    assert_array_equal(MFImputer().fit_transform(column), [[1], [2], [3]])
    for options in ({}, DRAWS):
        imputer = MFImputer(1000, **options).fit(GIVEN[:5])
        assert np.isfinite(imputer.transform(GIVEN)).all()
    assert MFImputer(1000).fit(GIVEN[:5]).column_factors_.shape == (8, 4)


def test_limits():
    free = MFImputer(**QUICK).fit_transform(GIVEN)
    low, high = np.quantile(free, [0.4, 0.6], axis=0)
    clipped = MFImputer(min_value=low, max_value=high, **QUICK).fit_transform(GIVEN)
    expected = np.where(OBSERVED, GIVEN, np.clip(free, low, high))
    assert_array_equal(clipped, expected)
    assert (clipped != free).any()
    number = MFImputer(min_value=5.0, **QUICK).fit_transform(GIVEN)
    assert number[~OBSERVED].min() == 5.0
    assert GIVEN[OBSERVED].min() < 5  # observed entries are not clipped
    with pytest.raises(ValueError, match=r"min_value must .* shape \(8,\)"):
        MFImputer(min_value=[1, 2]).fit(GIVEN)
    with pytest.raises(ValueError, match="must be less than max_value"):
        MFImputer(min_value=2, max_value=2).fit(GIVEN)


def test_pickle_and_clone():
    for options in (QUICK, DRAWS):
        imputer = MFImputer(**options).fit(GIVEN)
        loaded = pickle.loads(pickle.dumps(imputer))
        assert_array_equal(loaded.transform(GIVEN), imputer.transform(GIVEN))
        again = clone(imputer).fit(GIVEN)
        assert_array_equal(again.transform(GIVEN), imputer.transform(GIVEN))


# ------------------------------------------------------------------- what it computes


def standardise(table):
    """Return columns less their mean in units of their standard deviation."""
    return (table - np.nanmean(table, axis=0)) / np.nanstd(table, axis=0)


def objective(table, penalty, P, Q):
    """Return the objective of the class docstring, biases in the last columns."""
    fit = P[:, :-1] @ Q[:, :-1].T + P[:, -1:] + Q[:, -1]
    return np.nansum((table - fit) ** 2) + penalty * (np.sum(P**2) + np.sum(Q**2))


@in_turn("scale", [True, False])
@in_turn("solver", ["als", "als-cg"])
def test_a_converged_fit_is_a_minimum_of_the_objective(scale, solver):
    options = QUICK | {"tol": 1e-14, "max_iter": 10_000}
    imputer = MFImputer(scale=scale, solver=solver, **options).fit(GIVEN)
    Z = standardise(GIVEN)
    if not scale:
        Z *= np.nanstd(GIVEN, axis=0)
        Z /= np.sqrt(np.mean(Z[OBSERVED] ** 2))
    Q = np.column_stack([imputer.column_factors_, imputer.column_biases_])
    # Dense closed form of the rows, against the columns as they are.
    P = np.zeros((60, 4))
    design = np.column_stack([Q[:, :-1], np.ones(8)])
    for p, z, known in zip(P, Z, OBSERVED, strict=True):
        A, target = design[known], z[known] - Q[known, -1]
        p[:] = np.linalg.solve(A.T @ A + np.eye(4), A.T @ target)
    fit = P @ design.T + Q[:, -1]
    unit = imputer.scale_
    filled = np.nanmean(GIVEN, axis=0) + fit * unit
    given = imputer.transform(GIVEN)
    some = ~OBSERVED & OBSERVED.any(axis=1, keepdims=True)
    assert_allclose(given[some], filled[some], rtol=1e-6, atol=1e-9 * unit.max())
    assert imputer.loss_curve_[-1] == pytest.approx(objective(Z, 1.0, P, Q), rel=1e-9)
    # The gradient over the columns is zero, too.
    for j, step in enumerate(np.eye(4)):
        slopes = [
            optimize.approx_fprime(
                np.zeros(1),
                lambda h, i=i, step=step: objective(
                    Z, 1.0, P, Q + h * step * (np.arange(8) == i)[:, None]
                ),
                1e-5,
            )[0]
            for i in range(8)
        ]
        assert np.abs(slopes).max() < 0.02, j


def test_rows_are_completed_one_by_one():
    imputer = MFImputer(**QUICK).fit(GIVEN)
    before = {k: np.copy(v) for k, v in vars(imputer).items() if k.endswith("_")}
    whole = imputer.transform(GIVEN)
    assert_array_equal(whole, MFImputer(**QUICK).fit_transform(GIVEN))
    single = np.vstack([imputer.transform(row[None]) for row in GIVEN])
    assert_allclose(single, whole, rtol=1e-12)
    assert_array_equal(imputer.transform(GIVEN[::-1]), whole[::-1])
    for name, value in before.items():
        assert_array_equal(getattr(imputer, name), value, name)


def test_units_do_not_matter_and_threads_neither():
    filled = MFImputer(random_state=0).fit_transform(GIVEN)
    a, c = 2.0 ** np.arange(-3, 5), np.arange(8)
    other = MFImputer(random_state=0).fit_transform(a * GIVEN + c)
    assert_allclose((other - c) / a, filled, rtol=1e-6, atol=1e-6)
    for n_jobs in (1, 2, 4):
        imputer = MFImputer(random_state=0, n_jobs=n_jobs)
        assert_array_equal(imputer.fit_transform(GIVEN), filled)


@pytest.mark.compiled
def test_without_scale_large_columns_weigh_more():
    rng = np.random.default_rng(0)
    table = rng.normal(size=(200, 1)) @ np.ones((1, 3))
    table += rng.normal(scale=0.1, size=table.shape)
    other = rng.normal(size=(200, 1)) @ np.ones((1, 3))
    both = np.column_stack([1000 * table, other])
    given = np.where(rng.uniform(size=both.shape) < 0.2, np.nan, both)
    holes = np.isnan(given)

    def errors(scale):
        options = {"n_factors": 1, "regularization": 0.1, "random_state": 0}
        filled = MFImputer(scale=scale, **options).fit_transform(given)
        wrong = (filled - both) / both.std(axis=0)
        return [np.sqrt(np.mean(wrong[:, k][holes[:, k]] ** 2)) for k in range(6)]

    assert max(errors(scale=False)[:3]) < 0.3 < min(errors(scale=False)[3:])


@pytest.mark.compiled
@in_turn("name", ["breast_cancer", "wine", "diabetes"])
@in_turn("missing", [0.1, 0.5])
def test_defaults_are_better_than_the_means(name, missing):
    table = getattr(datasets, f"load_{name}")().data[:250]
    rng = np.random.default_rng(1)
    given = np.where(rng.uniform(size=table.shape) < missing, np.nan, table)
    hidden = np.isnan(given)

    def error(imputer):
        wrong = (imputer.fit_transform(given) - table) / np.nanstd(given, axis=0)
        return np.sqrt(np.mean(wrong[hidden] ** 2))

    assert error(MFImputer(random_state=0)) < 0.93 * error(SimpleImputer())


@pytest.mark.compiled
def test_defaults_find_no_structure_in_noise():
    rng = np.random.default_rng(0)
    table = rng.normal(size=(100, 12))
    given = np.where(rng.uniform(size=table.shape) < 0.3, np.nan, table)
    filled = MFImputer(random_state=0).fit_transform(given)
    simple = SimpleImputer().fit_transform(given)
    assert np.mean((filled - table) ** 2) < 1.01 * np.mean((simple - table) ** 2)


@pytest.mark.compiled
def test_the_automatic_penalty_follows_the_noise():
    chosen = [
        MFImputer(random_state=0)
        .fit(make_table(300, 12, noise=noise)[1])
        .regularization_
        for noise in (0.02, 0.3, 3.0)
    ]
    assert chosen == sorted(chosen)
    assert chosen[0] < chosen[1] < chosen[2]
    assert MFImputer(regularization=2.5).fit(GIVEN).regularization_ == 2.5


@pytest.mark.compiled
def test_the_penalty_is_chosen_on_some_rows_of_a_large_table(monkeypatch):
    module = "sklearn_mf._estimators.mf_imputer"
    table = make_table(2000, 8)[1]
    whole = MFImputer(random_state=0).fit(table).regularization_
    monkeypatch.setattr(f"{module}.TRIED_ENTRIES", 500)
    monkeypatch.setattr(f"{module}.TRIED_ROWS", 200)
    some = MFImputer(random_state=0).fit(table).regularization_
    assert whole / 2.1 < some < whole * 2.1


def test_iterations():
    with pytest.warns(ConvergenceWarning, match="MFImputer did not converge"):
        imputer = MFImputer(max_iter=3, **QUICK).fit(GIVEN)
    assert imputer.n_iter_ == len(imputer.loss_curve_) == 3
    curve = MFImputer(max_iter=30, tol=None, **QUICK).fit(GIVEN).loss_curve_
    assert len(curve) == 30
    assert (np.diff(curve) <= 1e-9 * curve[0]).all()
    assert MFImputer(tol=1e-9, **QUICK).fit(GIVEN).n_iter_ > imputer.n_iter_


def test_verbose(capsys):
    MFImputer(verbose=True, max_iter=2, tol=None, **QUICK).fit(GIVEN)
    assert "MFImputer: iteration 2, objective" in capsys.readouterr().out


def test_huge_and_tiny_numbers():
    for unit in (1e-150, 1e150):
        filled = MFImputer(**QUICK).fit_transform(unit * GIVEN)
        expected = MFImputer(**QUICK).fit_transform(GIVEN)
        assert_allclose(filled / unit, expected, rtol=1e-6)


# ------------------------------------------------------------------------ uncertainty


def test_seeds_give_different_tables_and_one_seed_the_same():
    imputer = MFImputer(**DRAWS).fit(GIVEN)
    first = imputer.transform(GIVEN)
    assert_array_equal(imputer.transform(GIVEN), first)
    assert_array_equal(MFImputer(**DRAWS).fit_transform(GIVEN), first)
    second = imputer.set_params(random_state=1).transform(GIVEN)
    assert (second != first)[~OBSERVED].all()
    assert_array_equal(second[OBSERVED], first[OBSERVED])
    generator = imputer.set_params(random_state=np.random.RandomState(0))
    assert (generator.transform(GIVEN) != generator.transform(GIVEN)).any()


@pytest.mark.compiled
def test_standard_deviations_are_those_of_the_errors_and_of_the_draws():
    table, given = make_table(400, 10, noise=0.5)
    scale = 10.0 ** np.arange(10)
    table, given = table / scale, given / scale
    hidden = np.isnan(given)
    options = DRAWS | {"n_samples": 60, "burn_in": 60, "n_factors": 4}
    imputer = MFImputer(**options).fit(given[:200])
    std = imputer.transform_std(given)
    assert std.shape == given.shape
    assert (std[hidden] > 0).all()
    assert not std[~hidden].any()
    draws = np.array(
        [imputer.set_params(random_state=k).transform(given) for k in range(60)]
    )
    ratio = draws.std(axis=0)[hidden] / std[hidden]
    assert 0.9 < np.median(ratio) < 1.1
    # 90 % of the intervals of new rows hold the true value, or nearly so.
    wrong = np.abs(draws.mean(axis=0) - table)[200:] / np.where(hidden, std, 1)[200:]
    assert 0.85 < np.mean(wrong[hidden[200:]] < 1.645) < 0.95


@pytest.mark.compiled
def test_noise_is_that_of_each_column():
    rng = np.random.default_rng(0)
    noise = np.array([0.1, 0.1, 0.1, 0.1, 0.1, 1.0])
    table = rng.normal(size=(500, 1)) + noise * rng.normal(size=(500, 6))
    given = np.where(rng.uniform(size=table.shape) < 0.1, np.nan, table)
    imputer = MFImputer(**DRAWS | {"n_factors": 2}).fit(given)
    std, hidden = imputer.transform_std(given), np.isnan(given)
    means = [std[:, j][hidden[:, j]].mean() for j in range(6)]
    assert max(means[:5]) < 0.2 < 0.8 < means[5] < 1.3


@pytest.mark.compiled
def test_gibbs_imputes_the_means_of_what_is_drawn():
    options = DRAWS | {"sample_posterior": False, "solver": "gibbs"}
    imputer = MFImputer(**options).fit(GIVEN)
    filled, std = imputer.transform(GIVEN), imputer.transform_std(GIVEN)
    imputer.set_params(sample_posterior=True)
    draws = [
        imputer.set_params(random_state=k).transform(GIVEN)[~OBSERVED]
        for k in range(200)
    ]
    errors = (np.mean(draws, axis=0) - filled[~OBSERVED]) / std[~OBSERVED]
    assert np.sqrt(np.mean(errors**2)) < 1.5 / 200**0.5


@pytest.mark.compiled
def test_gibbs_is_more_accurate_where_noise_differs():
    table = standardise(datasets.load_breast_cancer().data)
    hidden = np.random.default_rng(0).uniform(size=table.shape) < 0.3
    given, errors = np.where(hidden, np.nan, table), {}
    for solver in ("als", "gibbs"):
        imputer = MFImputer(solver=solver, n_samples=30, burn_in=30, random_state=0)
        filled = imputer.fit_transform(given)
        errors[solver] = np.sqrt(np.mean((filled - table)[hidden] ** 2))
    assert errors["gibbs"] < 0.95 * errors["als"]


def test_gibbs_gives_rows_without_entries_the_means_of_the_columns():
    options = DRAWS | {"sample_posterior": False, "solver": "gibbs"}
    imputer = MFImputer(**options).fit(GIVEN)
    filled = imputer.transform(np.full((1, GIVEN.shape[1]), np.nan))
    assert_allclose(filled[0], np.nanmean(GIVEN, axis=0), rtol=1e-12)


def test_transform_std_needs_draws():
    imputer = MFImputer(**QUICK).fit(GIVEN)
    assert not hasattr(imputer, "transform_std")
    with pytest.raises(AttributeError, match="transform_std"):
        imputer.transform_std(GIVEN)
    with pytest.raises(NotFittedError):
        MFImputer(**DRAWS).transform_std(GIVEN)


def test_a_fit_leaves_nothing_of_the_one_before():
    imputer = MFImputer(**QUICK).fit(GIVEN)
    filled = imputer.transform(GIVEN)
    imputer.set_params(sample_posterior=True)
    assert_array_equal(imputer.transform(GIVEN), filled)  # until the next fit
    with pytest.raises(NotFittedError):
        imputer.transform_std(GIVEN)
    imputer.set_params(**DRAWS).fit(GIVEN)
    assert vars(imputer).keys() == vars(MFImputer(**DRAWS).fit(GIVEN)).keys()
    imputer.set_params(sample_posterior=False).fit(GIVEN)
    assert_array_equal(imputer.transform(GIVEN), filled)
    assert vars(imputer).keys() == vars(MFImputer(**QUICK).fit(GIVEN)).keys()


@pytest.mark.parametrize("solver", ["als", "gibbs"])
@pytest.mark.parametrize("wrong", [np.inf, "text"])
def test_a_fit_that_fails_changes_nothing(solver, wrong):
    imputer = MFImputer(solver=solver, n_samples=5, burn_in=5, random_state=0)
    imputer.fit(GIVEN)
    table = GIVEN[:, :3].astype(object)
    table[2, 1] = wrong
    with left_as_it_was(imputer), pytest.raises(ValueError, match=r"inf|text"):
        imputer.fit(table)


class Propagated(Recorder):
    """A callback that scikit-learn passes on to estimators inside of others."""

    max_propagation_depth = None


@pytest.mark.parametrize("params", [QUICK, DRAWS], ids=["als", "draws"])
def test_a_fit_that_is_interrupted_changes_nothing(params):
    imputer = MFImputer(**params).fit(GIVEN)
    imputer.set_callbacks(Propagated(1, interrupt))
    with left_as_it_was(imputer), pytest.raises(KeyboardInterrupt):
        imputer.fit(GIVEN[:, :5])


def test_callbacks_see_each_draw():
    imputer = MFImputer(solver="gibbs", n_samples=5, burn_in=2, random_state=0)
    seen, own = Propagated(), Recorder()
    filled = imputer.fit_transform(GIVEN)
    imputer.set_callbacks(seen, own).fit(GIVEN)
    assert_array_equal(imputer.transform(GIVEN), filled)
    ends = [name for kind, name, _ in seen.events if kind == "end"]
    assert ends.count("iteration") == 7
    assert [name for kind, name, _ in own.events if kind == "end"] == ["draw", "fit"]


def test_draws_are_within_the_limits():
    filled = MFImputer(min_value=0.0, **DRAWS).fit_transform(standardise(GIVEN))
    assert filled[~OBSERVED].min() == 0.0


# -------------------------------------------------------------------------- searching


def test_masked_rmse_hides_the_same_entries_each_time():
    class Recorder:
        def transform(self, table):
            self.seen = table
            return np.where(np.isnan(table), 0.0, table)

    recorder = Recorder()
    table = standardise(GIVEN)
    score = masked_rmse(recorder, table, fraction=0.25)
    hidden = OBSERVED & np.isnan(recorder.seen)
    assert hidden.sum() == round(0.25 * OBSERVED.sum())
    assert score == pytest.approx(-np.sqrt(np.mean(table[hidden] ** 2)))
    before = recorder.seen
    assert masked_rmse(recorder, table, fraction=0.25) == score
    assert_array_equal(recorder.seen, before)
    other = masked_rmse(recorder, table, fraction=0.25, random_state=1)
    assert other != score
    # Units of the columns do not matter.
    means, units = np.nanmean(GIVEN, axis=0), np.nanstd(GIVEN, axis=0)
    recorder.transform = lambda table: np.where(np.isnan(table), means, table)
    assert masked_rmse(recorder, GIVEN, fraction=0.25) == pytest.approx(score)
    assert units.max() > 1e6 * units.min()


def test_masked_rmse_refuses_what_it_cannot_score():
    imputer = MFImputer(add_indicator=True, **QUICK).fit(GIVEN)
    with pytest.raises(ValueError, match="add_indicator=False"):
        masked_rmse(imputer, GIVEN)
    with pytest.raises(ValueError, match="no column with two different"):
        masked_rmse(imputer, np.full((3, 8), 2.0))
    with pytest.raises(ValueError, match="The 'fraction' parameter"):
        masked_rmse(imputer, GIVEN, fraction=1.0)


@pytest.mark.compiled
def test_grid_searches():
    frame = pd.DataFrame(GIVEN, columns=list("abcdefgh"))
    for table in (GIVEN, frame):
        grid = {"regularization": [0.3, 1000.0]}
        search = GridSearchCV(MFImputer(2, random_state=0), grid, scoring=masked_rmse)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            search.fit(table)
        assert search.best_params_ == {"regularization": 0.3}
        assert search.best_score_ > -0.7
    y = standardise(X).sum(axis=1)
    pipeline = make_pipeline(MFImputer(random_state=0), Ridge())
    grid = {"mfimputer__n_factors": [0, 2]}
    search = GridSearchCV(pipeline, grid).fit(standardise(GIVEN), y)
    assert search.best_params_ == {"mfimputer__n_factors": 2}
