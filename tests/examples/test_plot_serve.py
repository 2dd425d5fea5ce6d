"""The gallery script that serves a model: what it claims."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from tests.examples.gallery import run_notebook


@pytest.fixture(scope="module")
def run():
    return run_notebook("plot_serve")


def test_the_loaded_model_recommends_as_the_fitted_one(run):
    model, server = run.names["model"], run.names["server"]
    assert server is not model
    lists = model.recommend(model.users_), server.recommend(model.users_)
    for fitted, loaded in zip(*lists, strict=True):
        assert_array_equal(fitted, loaded)


def test_lists_keep_to_the_candidates_and_leave_out_what_was_shown(run):
    shown, fresh = run.names["shown"], run.names["fresh"]
    assert np.isin(shown, run.names["in_stock"]).all()
    assert np.isin(fresh, run.names["in_stock"]).all()
    for one, other in zip(shown.tolist(), fresh.tolist(), strict=True):
        assert not set(one) & set(other)


def test_the_visitor_is_not_kept(run):
    assert "visitor" not in run.names["server"].users_.astype(str)
    assert not set(run.names["items"][0]) & set(run.names["shown"][0])


@pytest.mark.compiled
def test_a_user_of_a_large_call_costs_less(run):
    milliseconds, sizes = run.names["milliseconds"], run.names["SIZES"]
    each = milliseconds / sizes
    assert each[-1] < each[0] / 3
