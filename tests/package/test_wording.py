"""Habits of wording that make pages hard to read do not come back.

What they are to be replaced with is in the rules for changes in doc/contributing.md.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = [
    *ROOT.glob("*.md"),
    *(ROOT / "doc").rglob("*.md"),
    *(ROOT / "sklearn_mf").rglob("*.py"),
]
HABITS = {
    "anew": "again",
    "alike": "similar",
    "goes on from": "continues from",
    "to the bit": "bit-identical",
    "made (ratings|answers|data)": "synthetic",
    "as they were met": "in their order",
    "(ratings|batches|factors|it) wants?": "needs",
    "before its time": "early",
    "beside the result": "in addition to the result",
    "one (kind|rating) a (row|column|line)": "in each",
}


@pytest.mark.skipif(not (ROOT / "doc").exists(), reason="not a checkout")
@pytest.mark.parametrize("habit", HABITS)
def test_pages_and_docstrings_use_plain_words(habit):
    pattern = re.compile(rf"\b{habit}\b".replace(" ", r"\s+"), re.IGNORECASE)
    found = [
        f"{path.relative_to(ROOT)}: {match[0]!r}"
        for path in FILES
        if not {"_build", "generated"} & set(path.parts)
        for match in pattern.finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == [], f"say {HABITS[habit]!r}"
