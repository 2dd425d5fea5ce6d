"""What the page on features claims, and that it runs."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from tests.examples.gallery import run_notebook

NAME = "plot_features"


@pytest.fixture(scope="module")
def run():
    return run_notebook(NAME)


def test_genres_predict_new_films(run):
    new, known = run.names["table"]["new films"], run.names["table"]["known films"]
    for name in ("genres", "genres and who rated what"):
        assert new[name] < 0.85 * new["no features"]
        assert known[name] < 0.96 * known["no features"]
    assert known["genres"] < 0.95 * new["genres"]


def test_genres_matter_most_where_ratings_are_few(run):
    counts = run.names["by_count"]
    gains = np.subtract(counts["no features"], counts["genres"])
    assert len(gains) >= 4
    assert gains[0] == max(gains)
    assert gains[0] > 5 * gains[-1] > 0


def test_parts_add_up(run):
    explanation = run.names["explanation"]
    total = sum(explanation.parts.values())
    assert_allclose(total, explanation.prediction, atol=1e-9)
    film, user = run.names["film"], run.names["user"]
    seen = run.names["X"][run.names["known"]]
    assert film not in seen[:, 1]
    assert explanation.parts["item bias"] == pytest.approx(0, abs=1e-9)
    assert set(explanation["items"]) == set(seen[seen[:, 0] == user, 1])


def test_films_of_a_folder(run, tmp_path):
    X, y, genres = (run.names[name] for name in ("X", "y", "genres"))
    kept = X[:, 1] < "film 3"
    ids = pd.Series(np.arange(len(genres)) + 7, index=genres.index)
    pd.DataFrame(
        {"userId": X[kept, 0], "movieId": ids[X[kept, 1]], "rating": y[kept]}
    ).to_csv(tmp_path / "ratings.csv", index=False)
    texts = ["|".join(genres.columns[row > 0]) for row in genres.to_numpy()]
    pd.DataFrame(
        {"movieId": ids.to_numpy(), "title": genres.index, "genres": texts}
    ).to_csv(tmp_path / "movies.csv", index=False)
    again = run_notebook(NAME, [("MOVIELENS = None", f"MOVIELENS = {str(tmp_path)!r}")])
    assert_allclose(again.names["y"], y[kept])
    pd.testing.assert_frame_equal(
        again.names["genres"].astype(float)[genres.columns], genres, check_names=False
    )
