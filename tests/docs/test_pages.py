"""The pages of doc/: their code runs, and their links lead somewhere."""

import re
from pathlib import Path

import pytest

DOC = Path(__file__).parents[2] / "doc"
PAGES = sorted(
    page for page in DOC.rglob("*.md") if not {"_build", "generated"} & set(page.parts)
)
BLOCKS = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if BLOCKS.search(page.read_text())],
    ids=lambda page: page.stem,
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_code_of_a_page_runs_and_each_block_prints(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in BLOCKS.findall(page.read_text()):
        exec(compile(block, str(page), "exec"), names)
        assert capsys.readouterr().out, block  # the page shows it under the block


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_to_other_pages_lead_to_files(page):
    for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text()):
        if "generated" in target or "auto_examples" in target:
            continue  # made by the build, which fails where they are missing
        assert (page.parent / target).exists(), target
