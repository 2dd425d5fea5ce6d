"""How Sphinx builds these pages: `sphinx-build -W doc doc/_build/html`."""

import contextlib
import sys
import tomllib
import urllib.request
from pathlib import Path

import sklearn_mf

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

project = "sklearn_mf"
copyright = "the sklearn_mf developers"
version = release = sklearn_mf.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "page_tools",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.viewcode",
    "sphinx-mathjax-offline",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "auto_examples/**.ipynb", "generated/backreferences"]
templates_path = ["_templates"]
default_role = "literal"
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_typehints = "none"  # the docstrings say more
autodoc_default_options = {"member-order": "bysource"}
numpydoc_show_class_members = False

# Outputs have no button: one copies what one can run.
copybutton_selector = "div.highlight-python pre, div.highlight-Python pre"
copybutton_selector += ", div.highlight-default pre"
copybutton_prompt_text = ">>> "

# Methods that scikit-learn gives, and describes: its own pages are the place for them.
FROM_SKLEARN = {
    "fit_transform",
    "get_metadata_routing",
    "get_params",
    "set_callbacks",
    "set_fit_request",
    "set_output",
    "set_params",
    "set_partial_fit_request",
    "set_predict_request",
    "set_score_request",
    "set_split_request",
}
autosummary_context = {"from_sklearn": FROM_SKLEARN}

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"/plot_",
    "ignore_pattern": r"(^|/)(?!plot_)[^/]*\.py$",
    "within_subsection_order": "page_tools.gallery_order",
    "backreferences_dir": "generated/backreferences",
    "doc_module": ("sklearn_mf",),
    "capture_repr": (),
    "show_memory": False,
    "remove_config_comments": True,
    "download_all_examples": False,
}

# Links to the pages of other projects, where these can be reached: a build without a
# network has none, and is not worse otherwise.
SITES = {
    "numpy": "https://numpy.org/doc/stable/",
    "pandas": "https://pandas.pydata.org/docs/",
    "scipy": "https://docs.scipy.org/doc/scipy/",
    "sklearn": "https://scikit-learn.org/stable/",
}
intersphinx_mapping = {}
with contextlib.suppress(OSError):
    for name, url in SITES.items():
        urllib.request.urlopen(f"{url}objects.inv", timeout=3).close()
        intersphinx_mapping[name] = (url, None)

html_theme = "pydata_sphinx_theme"
html_title = f"sklearn_mf {release}"
html_static_path = ["_static"]
html_css_files = ["style.css"]
html_favicon = "_static/favicon.svg"
html_show_sourcelink = False
FLAT = ["accuracy", "benchmarks", "coming_from", "contributing", "development", "index"]
FLAT += ["install"]
html_sidebars = {page: [] for page in FLAT}  # pages without pages below them

# The icons of the header lead to the addresses in pyproject.toml, if there are any.
ICONS = {"Repository": "fa-solid fa-code-branch", "Issues": "fa-solid fa-bug"}
with open(HERE.parent / "pyproject.toml", "rb") as file:
    URLS = tomllib.load(file)["project"].get("urls", {})

html_theme_options = {
    "icon_links": [
        {"name": name, "url": URLS[name], "icon": icon}
        for name, icon in ICONS.items()
        if name in URLS
    ],
    "logo": {
        "text": html_title,
        "image_light": "_static/favicon.svg",
        "image_dark": "_static/favicon.svg",
        "alt_text": "",
    },
    "navbar_align": "left",
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
}
