"""Every script of the gallery: that it is tested, and that a reader can read it."""

import ast
import re

import pytest

from tests.examples.gallery import EXAMPLES

SCRIPTS = sorted(EXAMPLES.rglob("plot_*.py"))
TESTS = EXAMPLES.parent / "tests" / "examples"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_the_notebook_is_run(script):
    name = script.relative_to(EXAMPLES).with_suffix("").as_posix()
    test = (TESTS / f"test_{script.stem}.py").read_text()
    assert "run_notebook(" in test
    assert f'"{name}"' in test


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_no_plumbing(script):
    code = script.read_text()
    tree = ast.parse(code)
    imported = {
        (getattr(node, "module", None) or node.names[0].name).partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert not imported & {"argparse", "json", "os", "sys"}
    assert "savefig" not in code
    for role in re.findall(r":(?:ref|doc):`[^`<]*<([^`>]*)>`", code):
        target = role.removeprefix("sphx_glr_auto_examples_")
        if target != role:
            assert EXAMPLES.joinpath(target.replace("projects_", "projects/")).exists()
