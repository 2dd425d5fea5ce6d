"""The built pages on a phone and on a desktop: nothing is cut off.

Build the pages, install a browser for playwright, and run

    SITE=doc/_build/html python -m pytest tests/docs/test_layout.py

`CHROMIUM` names the program of a browser that playwright did not install.
"""

import os
from pathlib import Path

import pytest

SITE = os.environ.get("SITE")
FOLDERS = ["", "user_guide", "how_to", "auto_examples", "auto_examples/projects"]
FOLDERS += ["generated"]

# Elements that reach beyond the right edge of the window, or of the sidebar that they
# stand in. Code, tables and formulas may scroll sideways in boxes of their own.
FIND_CUT = """() => {
    const cut = [], boxes = "pre, table, mjx-container";
    for (const element of document.querySelectorAll("body *")) {
        const box = element.getBoundingClientRect();
        if (!box.width || !box.height || element.closest(boxes)) continue;
        const side = element.closest(".bd-sidebar-secondary, .bd-sidebar-primary");
        const edge = side ? side.getBoundingClientRect().right : window.innerWidth;
        if (box.right > Math.min(edge, window.innerWidth) + 1)
            cut.push(element.tagName + "." + element.className + ": "
                + element.textContent.trim().slice(0, 60));
    }
    for (const box of document.querySelectorAll("body, .bd-article-container"))
        if (box.scrollWidth > box.clientWidth + 1)
            cut.push(box.className + " scrolls sideways");
    return cut;
}"""
# Code and tables that are wider than their boxes, and titles that are cut.
FIND_WIDE = """() => {
    const wide = [];
    for (const box of document.querySelectorAll(".bd-article pre, .bd-article table,"
            + " .prev-next-title"))
        if (box.scrollWidth > box.clientWidth + 1 && box.clientWidth)
            wide.push(box.tagName + ": " + box.textContent.trim().slice(0, 60));
    return wide;
}"""


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    if not SITE:
        pytest.skip("SITE does not name the folder of the built pages")
    with sync_api.sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(
                executable_path=os.environ.get("CHROMIUM"), args=["--no-sandbox"]
            )
        except sync_api.Error as error:
            pytest.skip(f"no browser: {error.message.splitlines()[0]}")
        yield browser
        browser.close()


@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("folder", FOLDERS)
def test_nothing_is_cut(browser, folder, width):
    pages = sorted((Path(SITE).resolve() / folder).glob("*.html"))
    assert pages
    page = browser.new_page(viewport={"width": width, "height": 900})
    faults = []
    for path in pages:
        page.goto(path.as_uri())
        page.wait_for_function("!window.MathJax || !!MathJax.startup?.document")
        found = page.evaluate(FIND_CUT)
        if width == 1400:
            found += page.evaluate(FIND_WIDE)
        faults += [f"{path.name}: {fault}" for fault in found[:5]]
    page.close()
    assert not faults, "\n".join(faults)
