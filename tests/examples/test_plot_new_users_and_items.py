"""The gallery script on new users and items: what it claims."""

import pytest

from tests.examples.gallery import run_notebook


@pytest.fixture(scope="module")
def run():
    return run_notebook("plot_new_users_and_items")


@pytest.mark.parametrize("side", ["users", "items"])
def test_each_rating_after_the_first_helps(run, side):
    nothing, one, *more = run.names["errors"][side]
    assert one > nothing - 0.005
    assert [one, *more] == sorted([one, *more], reverse=True)
    assert more[-1] < nothing - 0.05


@pytest.mark.parametrize("side", ["users", "items"])
def test_a_fit_is_no_better_than_a_fold_in(run, side):
    assert run.names["refitted"][side] > run.names["errors"][side][-1] - 0.005


def test_a_visitor_is_served_and_forgotten(run):
    frame, model = run.names["frame"], run.names["model"]
    assert list(frame["user"]) == ["visitor"] * 5
    assert not set(frame["item"]) & set(model.items_[:3])
    assert "visitor" not in model.users_.astype(str)
