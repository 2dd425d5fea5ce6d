"""What the page on tables with holes claims, and that it runs."""

import numpy as np
import pytest

from tests.examples.gallery import run_notebook

KINDS = ["at random", "by brightness", "in blocks"]


@pytest.fixture(scope="module")
def run():
    return run_notebook("plot_impute")


@pytest.fixture(scope="module")
def results(run):
    return run.names["results"]


def test_a_third_is_lost_in_each_of_three_ways(run, results):
    assert list(results) == KINDS
    for kind in KINDS:
        assert results[kind]["missing"] == pytest.approx(1 / 3, abs=0.04)
    blocks = run.names["masks"]["in blocks"]
    assert set(blocks.sum(axis=(1, 2))) == {20}
    lost, images = run.names["masks"]["by brightness"], run.names["images"]
    assert not lost[:, 0].any()
    bright = np.broadcast_to(images[:, :1] > 4, lost.shape)[:, 1:]
    shares = [lost[:, 1:][bright].mean(), lost[:, 1:][~bright].mean()]
    assert shares == pytest.approx([0.75, 0.15], abs=0.02)


def test_the_factorisation_is_between_means_and_nearest_digits(results):
    for kind in KINDS:
        errors = results[kind]
        assert errors["nearest digits"] < errors["factorisation"]
        assert errors["factorisation"] < 0.9 * errors["means"]


def test_observed_pixels_are_kept(run):
    test, X = run.names["test"], run.names["X"]
    for kind, mask in run.names["masks"].items():
        known = ~mask[test].reshape(len(test), -1)
        filled = run.names["completed"][kind, "factorisation"]
        assert (filled[known] == X[test][known]).all()
        assert filled.min() >= 0
        assert filled.max() <= 16


def test_pictures_are_drawn(run):
    assert run.n_figures == 2
