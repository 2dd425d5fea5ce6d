"""How Sphinx builds these pages: `sphinx-build -W doc doc/_build/html`."""

import os
import sys

import sklearn_mf

sys.path.insert(0, os.path.dirname(__file__))

project = "sklearn_mf"
copyright = "the sklearn_mf developers"
version = release = sklearn_mf.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx-mathjax-offline",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "auto_examples/**.ipynb"]
templates_path = ["_templates"]
default_role = "literal"
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_typehints = "none"  # the docstrings say more
autodoc_default_options = {"member-order": "bysource"}
numpydoc_show_class_members = False

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
    "ignore_pattern": r"^(?!plot_)",
    "reset_argv": "gallery_options.pass_folder",
    "within_subsection_order": "FileNameSortKey",
    "show_memory": False,
    "remove_config_comments": True,
    "download_all_examples": False,
}

html_theme = "pydata_sphinx_theme"
html_title = "sklearn_mf"
html_static_path = ["_static"]
html_css_files = ["style.css"]
html_show_sourcelink = False
html_theme_options = {
    "navbar_align": "left",
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
}
