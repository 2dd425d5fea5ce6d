"""What sphinx-gallery passes to the scripts of the gallery."""

from pathlib import Path

RESULTS = Path(__file__).parent / "_build" / "gallery"


def pass_folder(gallery_conf, script_vars):
    """Return the arguments of a script: where its results go."""
    return ["--output-dir", str(RESULTS)]
