"""Running a gallery script as sphinx-gallery and a user do."""

import contextlib
import io
import runpy
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

EXAMPLES = Path(__file__).parents[2] / "examples"


@dataclass
class Run:
    """What a run of a script left.

    Attributes
    ----------
    names : dict
        Its global variables.
    printed : str
        What it printed.
    folder : Path
        Where it saved its results.
    """

    names: dict
    printed: str
    folder: Path


def run_script(name, folder, *arguments):
    """Run examples/`name`.py with its results in `folder`; no figure is shown."""
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    script = EXAMPLES / f"{name}.py"
    argv = [str(script), "--output-dir", str(folder), *map(str, arguments)]
    printed = io.StringIO()
    plt.switch_backend("Agg")
    with (
        mpl.rc_context(),
        mock.patch.object(sys, "argv", argv),
        contextlib.redirect_stdout(printed),
    ):
        names = runpy.run_path(str(script), run_name="__main__")
    plt.close("all")
    return Run(names, printed.getvalue(), Path(folder))


def is_drawn(path):
    """Say whether a picture shows anything: more than a few colours."""
    import matplotlib.image

    pixels = matplotlib.image.imread(path)
    return len({tuple(pixel) for pixel in pixels[::7, ::7].reshape(-1, 4)}) > 5
