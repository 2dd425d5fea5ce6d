"""Links from the HTML representation of an estimator to its page."""

import functools
from importlib.metadata import PackageNotFoundError, metadata


class DocumentedMixin:
    """Links an estimator to the documentation of this library, not of scikit-learn.

    The address is that of the entry "Documentation" of `[project.urls]` in
    `pyproject.toml`. Without such an entry there is no link.
    """

    _doc_link_module = "sklearn_mf"

    @property
    def _doc_link_template(self):
        address = find_documentation()
        page = "generated/{estimator_module}.{estimator_name}.html"
        return f"{address.rstrip('/')}/{page}" if address else ""


@functools.cache
def find_documentation():
    """Return the address of the documentation, "" if there is none."""
    try:
        urls = metadata("sklearn_mf").get_all("Project-URL") or []
    except PackageNotFoundError:  # a copy of the files that was not installed
        return ""
    named = dict(url.split(", ", 1) for url in urls)
    return named.get("Documentation", "")
