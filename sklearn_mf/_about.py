"""What the library consists of: its estimators, and the versions of what it needs."""

import platform
import sys
from importlib.metadata import PackageNotFoundError, version

from threadpoolctl import threadpool_info

from sklearn_mf._load import MODELS
from sklearn_mf._runtime.threads import count_threads
from sklearn_mf._version import __version__

# What a fit runs on, and then what it may be given or asked for.
PACKAGES = (
    "scikit-learn",
    "numpy",
    "scipy",
    "numba",
    "llvmlite",
    "joblib",
    "threadpoolctl",
    "pandas",
    "polars",
    "pyarrow",
    "dask",
    "distributed",
    "matplotlib",
    "rich",
    "onnx",
)


def all_estimators() -> list[tuple[str, type]]:
    """Return the names and classes of all estimators of the library.

    `sklearn.utils.all_estimators` finds those of scikit-learn alone.

    Returns
    -------
    list of tuple
        The name and the class of each estimator, sorted by name.

    See Also
    --------
    show_versions : Print the versions that a bug report needs.

    Examples
    --------
    >>> from sklearn_mf import all_estimators
    >>> all_estimators()[0]
    ('ALSFactorizer', <class 'sklearn_mf.ALSFactorizer'>)
    """
    return sorted(MODELS.items())


def show_versions() -> None:
    """Print the versions that a bug report needs.

    These are the versions of Python, of this library and of the packages that it uses,
    the number of threads that fits use by default, and the linear algebra libraries
    that are loaded.

    See Also
    --------
    sklearn.show_versions : The same for scikit-learn.

    Examples
    --------
    >>> from sklearn_mf import show_versions
    >>> show_versions()  # doctest: +SKIP
    """
    print("System:")
    print(f"{'python':>15}: {sys.version}".replace("\n", " "))
    print(f"{'executable':>15}: {sys.executable}")
    print(f"{'machine':>15}: {platform.platform()}")
    print(f"{'threads of fits':>15}: {count_threads(None)}")
    print("\nPython packages:")
    print(f"{'sklearn_mf':>15}: {__version__}")
    for name in PACKAGES:
        try:
            print(f"{name:>15}: {version(name)}")
        except PackageNotFoundError:
            print(f"{name:>15}: not installed")
    print("\nThread pools:")
    for pool in threadpool_info():
        library = " ".join(str(pool.get(key)) for key in ("internal_api", "version"))
        print(f"{pool['user_api']:>15}: {library}, {pool['num_threads']} threads")
