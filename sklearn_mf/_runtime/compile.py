"""Decorators of compiled functions, whose machine code is kept on disk if possible."""

import hashlib
import warnings
from contextlib import suppress
from functools import cache as once
from functools import partial
from pathlib import Path

import numba

from sklearn_mf._runtime.notice import announce_compilation

announce_compilation()


def njit(function=None, **options):
    """Compile a function as `numba.njit` does, with a cache that notices every change.

    With ``cache=True`` numba keeps machine code on disk. It compiles again when the
    file of the function has changed, but not when a compiled function that the file
    imports has. A digest of the files of those functions is therefore made part of the
    function's qualified name, which numba's cache goes by.

    numba refuses to cache functions where it may write neither beside the source nor in
    the user's cache directory, as in a container with a read-only file system. Such
    functions are compiled in each process, with one warning for all. What cannot be
    read from the cache is compiled again, with one warning for all: a damaged file, or
    one that an older version of the library wrote whose types are no longer there.

    Parameters
    ----------
    function : callable, default=None
        What to compile. None: return a decorator.
    **options : object
        As in `numba.njit`.

    Returns
    -------
    callable
    """
    if function is None:
        return partial(njit, **options)
    if options.get("cache"):
        function.__qualname__ += _digest_imports(function)
    try:
        compiled = numba.njit(**options)(function)
    except RuntimeError:
        if not options.pop("cache", False):
            raise
        _warn()
        return numba.njit(**options)(function)
    if options.get("cache") and not numba.config.DISABLE_JIT:
        _discard_unreadable(compiled._cache)
    return compiled


# Reordering of sums is allowed; NaN and infinity keep their meaning, so that divergence
# stays visible.
FAST = {"reassoc", "contract", "nsz", "arcp"}
OPTIONS = {"nogil": True, "error_model": "numpy", "fastmath": FAST}
jit = njit(cache=True, **OPTIONS)  # for kernels, which Python calls
helper = njit(**OPTIONS)  # for functions that only kernels call
# The same, but part of each kernel that calls it, where its constants are constants. A
# function of its own may also round differently when the kernel comes from the cache.
inlined = njit(forceinline=True, **OPTIONS)


def _digest_imports(function):
    """Return a digest of the files whose compiled functions a function's file imports.

    Imports of imports count too. The digest is empty where there are none.
    """
    own = function.__code__.co_filename
    files, pending = set(), [function.__globals__]
    while pending:
        for value in list(pending.pop().values()):
            # numba keeps the Python function of a dispatcher, and of an intrinsic.
            source = getattr(value, "py_func", None) or getattr(value, "_defn", None)
            code = getattr(source, "__code__", None)
            if code and code.co_filename not in files | {own}:
                files.add(code.co_filename)
                pending.append(source.__globals__)
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(_read_source(file))
    return f"-{digest.hexdigest()[:16]}" if files else ""


def _discard_unreadable(cache):
    """Let a cache of numba forget what it cannot read, instead of raising."""
    load_overload = cache.load_overload

    def load_or_forget(signature, target_context):
        try:
            return load_overload(signature, target_context)
        except Exception:  # of any kind, where bytes are not what they should be
            if not _warn_of_damage.cache_info().currsize:  # one for all folders
                _warn_of_damage(cache.cache_path)
            with suppress(OSError):
                cache._cache_file.flush()
            return None

    cache.load_overload = load_or_forget


@once
def _read_source(file):
    try:
        return Path(file).read_bytes()
    except OSError:  # in an archive, which numba does not cache either
        return b""


@once
def _warn_of_damage(folder):
    warnings.warn(
        f"A file of numba's cache in {folder} could not be read: it is damaged, or of "
        "another version. It is replaced: functions are compiled again, and nothing is "
        "lost.",
        stacklevel=1,
    )


@once
def _warn():
    warnings.warn(
        "numba found no writable cache directory, so every process recompiles. Set the "
        "environment variable NUMBA_CACHE_DIR to a directory that may be written to.",
        stacklevel=1,
    )
