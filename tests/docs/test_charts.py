"""Charts of the pages: they show what the tables hold, and the tables stay."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("sphinx")

DOC = Path(__file__).parents[2] / "doc"
DOTS = """Before.

<!-- dots: "time, s" of "library" "solver" for each "d" -->

|  d|library   |solver|time, s|time, s|
|--:|---|---|--:|--:|
| 10|sklearn_mf|exact |    0.5|      9|
| 10|          |cg    |    8.0|      9|
| 50|`other`   |exact |  1,250|      9|
| 50|other     |cg    |      –|      9|

After.
"""
LINES = """<!-- lines: "seconds" "error" of "model" -->

|model|epoch 1|epoch 2|
|---|--:|--:|
|BiasedMF sgd|0.1 s, 0.9|0.2 s, 0.8|
|other|1 s, 0.7|2 s, 0.6|
"""


@pytest.fixture(scope="module")
def tools():
    sys.path.insert(0, str(DOC))
    yield pytest.importorskip("page_tools")
    sys.path.remove(str(DOC))


def draw(tools, text):
    return tools.draw_chart(*tools.CHART.search(text).groups())


def find_dots(figure):
    """Return places and colours of the dots of a figure, from top to bottom."""
    lines = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    return [(line.get_xdata()[0], line.get_color()) for line in lines]


def find_texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_dots_stand_at_the_numbers_of_the_table(tools):
    few, many = draw(tools, DOTS)
    assert find_dots(few) == [(0.5, tools.OWN), (8, tools.OWN)]
    assert find_dots(many) == [(1250, tools.OTHER)]
    assert find_texts(few) == ["sklearn_mf, exact", "0.5", "sklearn_mf, cg", "8.0"]
    assert find_texts(many) == ["other, exact", "1,250", "other, cg", "–"]
    assert few.axes[0].get_title(loc="left") == "time, s; d = 10"


def test_panels_share_a_logarithmic_axis_if_numbers_differ_much(tools):
    few, many = (figure.axes[0] for figure in draw(tools, DOTS))
    assert few.get_xscale() == "log"
    assert few.get_xlim() == many.get_xlim()
    near = DOTS.replace("8.0", "0.6").replace("1,250", "0.7")
    assert draw(tools, near)[0].axes[0].get_xscale() == "linear"


def test_dots_are_within_the_axes(tools):
    for figure in draw(tools, DOTS):
        low, high = figure.axes[0].get_xlim()
        assert all(low < at < high for at, _ in find_dots(figure))


def test_lines_join_the_points_of_a_row(tools):
    (figure,) = draw(tools, LINES)
    own, other = figure.axes[0].lines
    np.testing.assert_array_equal(own.get_xydata(), [[0.1, 0.9], [0.2, 0.8]])
    np.testing.assert_array_equal(other.get_xydata(), [[1, 0.7], [2, 0.6]])
    assert (own.get_linestyle(), other.get_linestyle()) == ("-", "--")
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["BiasedMF sgd", "other"]
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("seconds", "error")


def test_table_is_folded_below_its_chart(tools):
    page = tools.fold_tables(DOTS)
    table = DOTS[DOTS.index("|  d") : DOTS.index("\nAfter")]
    assert page.startswith("Before.\n\n```{raw} html")
    assert page.endswith(f"table\n{table}:::\n\nAfter.\n")
    assert page.count("<svg") == page.count("</svg>") == 2
    assert "<!-- dots" not in page


def test_colour_of_text_is_that_of_the_theme(tools):
    page = tools.fold_tables(DOTS)
    assert tools.TEXT not in page
    assert page.count("currentColor") > 10
    assert "#000000" not in page
    assert "<style" not in page  # it would hold for the whole page


def test_page_without_comment_stays_as_it_is(tools):
    text = DOTS.replace("<!-- dots", "<!-- dott")
    assert tools.fold_tables(text) == text


def test_column_that_is_not_there_is_an_error(tools):
    with pytest.raises(KeyError, match="speed"):
        tools.fold_tables(DOTS.replace('"time, s" of', '"speed" of'))


def test_comments_of_the_pages_are_charts(tools):
    found = 0
    for page in DOC.rglob("*.md"):
        text = page.read_text(encoding="utf-8")
        comments = len(re.findall("<!--", text))
        assert comments == len(tools.CHART.findall(text)), page
        for match in tools.CHART.finditer(text):
            assert all(
                figure.axes[0].lines for figure in tools.draw_chart(*match.groups())
            )
        found += comments
    assert found
