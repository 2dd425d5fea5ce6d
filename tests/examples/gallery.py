"""Running a script of the gallery as the notebook that a reader downloads."""

import contextlib
import io
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@dataclass
class Run:
    """What a run of a notebook left.

    Attributes
    ----------
    names : dict
        Its global variables.
    printed : str
        What it printed.
    n_figures : int
        How many figures it drew.
    """

    names: dict
    printed: str
    n_figures: int


def run_notebook(name, changes=()):
    """Run the notebook of examples/`name`.py, cell by cell, and check its figures.

    Parameters
    ----------
    name : str
        Path of the script below examples/, without its ending.
    changes : iterable of (str, str)
        Lines of the script that a reader would change, and what they become.
    """
    pytest.importorskip("sphinx_gallery")
    import matplotlib as mpl
    import matplotlib.pyplot as plt
    from sphinx_gallery.gen_gallery import DEFAULT_GALLERY_CONF
    from sphinx_gallery.notebook import jupyter_notebook
    from sphinx_gallery.py_source_parser import split_code_and_text_blocks

    script = EXAMPLES / f"{name}.py"
    _, blocks = split_code_and_text_blocks(str(script))
    notebook = jupyter_notebook(blocks, DEFAULT_GALLERY_CONF, str(script.parent))
    cells = [
        "".join(cell["source"])
        for cell in notebook["cells"]
        if cell["cell_type"] == "code"
    ]
    for line, changed in changes:
        (at,) = (k for k, cell in enumerate(cells) if line in cell)
        cells[at] = cells[at].replace(line, changed)

    names, printed = {"__name__": "__main__"}, io.StringIO()
    argv = ["ipykernel_launcher.py", "-f", "kernel.json"]  # as in a notebook
    plt.switch_backend("Agg")
    plt.close("all")
    with (
        mpl.rc_context(),
        mock.patch.object(sys, "argv", argv),
        contextlib.redirect_stdout(printed),
    ):
        for cell in cells:
            exec(compile(cell, str(script), "exec"), names)
    figures = list(map(plt.figure, plt.get_fignums()))
    assert figures
    for figure in figures:
        assert is_drawn(figure)
    plt.close("all")
    return Run(names, printed.getvalue(), len(figures))


def is_drawn(figure):
    """Say whether all axes hold data, and a picture of them more than a few colours."""
    import matplotlib.image

    picture = io.BytesIO()
    figure.savefig(picture, dpi=40)
    picture.seek(0)
    pixels = matplotlib.image.imread(picture)
    colors = {tuple(pixel) for pixel in pixels[::3, ::3].reshape(-1, 4)}
    return len(colors) > 5 and all(ax.has_data() for ax in figure.axes)
