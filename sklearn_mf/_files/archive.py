"""A file of data: JSON and arrays in NumPy's .npz. To read one runs no code from it.

content ──encode──▶ JSON and arrays ──▶ .npz ──▶ JSON and arrays ──decode──▶ content

An array stands in the JSON as {"array": its entry of the file}, other Python containers
as {"tuple": …}, {"dict": …} and {"objects": …}, the last for an array of Python's own
strings and numbers.
"""

import errno
import functools
import json
import math
import os
import re
import secrets
import shutil
import stat
import sys
import zipfile
from contextlib import contextmanager, suppress

import numpy as np
from numpy.lib import format as npy

if sys.platform == "win32":
    fcntl = None
else:
    import fcntl

MODEL_ENTRY = "model"  # the array of the file that holds the JSON
ARRAY_KINDS = "biufUM"  # of NumPy's dtypes, those that a file can hold

# The header of an array as NumPy writes it. NumPy itself reads any literal of Python,
# which may nest too deep for the parser or make it warn.
HEADER = re.compile(
    r"\{'descr': '([<>|][?biufcmMOSUV]\d*(?:\[\w+\])?)', "
    r"'fortran_order': (?:True|False), "
    r"'shape': \(((?:\d{1,19}, )*(?:\d{1,19},?)?)\), \} *\n"
)


def encode_content(content):
    """Turn content into arrays that a file can hold.

    Parameters
    ----------
    content : dict
        Values that JSON can hold, and under ``"parameters"`` and ``"attributes"`` dicts
        of numbers, strings, arrays, and lists, tuples and dicts of them.

    Returns
    -------
    dict of ndarrays

    Raises
    ------
    TypeError
        If something in the content is none of these.
    """
    arrays = {}
    content = content | {
        part: {
            name: _encode_value(name, value, arrays)
            for name, value in content[part].items()
        }
        for part in ("parameters", "attributes")
    }
    return {MODEL_ENTRY: np.array(json.dumps(content).encode("ascii")), **arrays}


def write_archive(path, arrays):
    """Write arrays to a file, which takes the place of another once it is whole."""
    _write_atomically(path, lambda file: _write_arrays(file, arrays))


@contextmanager
def open_archive(file):
    """Open a file of encoded content.

    Parameters
    ----------
    file : binary file
        The open file.

    Yields
    ------
    content : dict
        What was encoded, with ``"parameters"`` and ``"attributes"`` as JSON holds them.
    decode : callable
        Returns the value that was written from what JSON holds of it.

    Raises
    ------
    Exception
        Of many kinds, where the bytes are not those that `write_archive` wrote.
    """
    with zipfile.ZipFile(file) as archive:
        if f"{MODEL_ENTRY}.npy" not in archive.namelist():
            raise ValueError("it holds other data")
        _check_entry_sizes(archive, os.fstat(file.fileno()).st_size)
        content = json.loads(_read_array(archive, MODEL_ENTRY, kinds="S").item())
        read = functools.cache(functools.partial(_read_array, archive))
        yield content, functools.partial(_decode_value, read=read)


def _encode_value(name, value, arrays):
    """Return a value as JSON can hold it; `name` is that of its array."""
    if isinstance(value, np.ndarray) and value.dtype == object and value.ndim == 1:
        return {"objects": [_encode_object(name, item) for item in value.tolist()]}
    if isinstance(value, np.ndarray) and value.dtype.kind in ARRAY_KINDS:
        arrays[name] = value
        return {"array": name}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        items = {
            key: _encode_value(f"{name}/{key}", item, arrays)
            for key, item in value.items()
        }
        return {"dict": items}
    if isinstance(value, list | tuple):
        items = [
            _encode_value(f"{name}/{place}", item, arrays)
            for place, item in enumerate(value)
        ]
        return items if isinstance(value, list) else {"tuple": items}
    return value if value is None else _encode_object(name, value)


def _encode_object(name, value):
    """Return a number or a text as JSON can hold it."""
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, str | int | float):  # bool is an int
        return plain
    raise TypeError(
        f"{name} holds {type(value).__name__} objects such as {value!r}, which save "
        "cannot write as data: it takes numbers and strings. Use pickle or joblib, or "
        "fit with other ids, for example astype(str)."
    )


def _write_arrays(file, arrays):
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                npy.write_array(entry, array, version=(1, 0), allow_pickle=False)


def _write_atomically(path, write):
    """Write a file that takes the place of the one at `path` only when it is whole."""
    target = os.path.realpath(path)  # of a symbolic link, what it points to
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        raise FileNotFoundError(errno.ENOENT, "No such folder to save in", folder)
    if os.path.exists(target) and not os.path.isfile(target):
        raise ValueError(f"{os.fspath(path)!r} is not a file: pass another path.")
    stem = f".{os.path.basename(target)[:60]}."  # a name has at most 255 bytes
    _remove_orphans(folder, stem)
    temporary = os.path.join(folder, f"{stem}{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            _lock(file.fileno())
            write(file)
            file.flush()
            os.fsync(file.fileno())
            if os.path.exists(target):
                shutil.copymode(target, temporary)
            if fcntl:  # still locked, so that nobody takes it for an orphan
                os.replace(temporary, target)
        if not fcntl:  # Windows does not rename open files
            os.replace(temporary, target)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


def _lock(descriptor):
    """Lock an open file until it is closed, or its process ends; tell if that worked.

    Another save, in whichever thread or process, cannot lock the same file meanwhile.
    """
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # it is locked, or this file system knows no locks
        return False
    return True


def _remove_orphans(folder, stem):
    """Remove the unfinished files of saves to the same name that were killed."""
    if fcntl is None:
        return
    name = re.compile(re.escape(stem) + r"[0-9a-f]{8}\.tmp")
    with suppress(OSError), os.scandir(folder) as entries:
        paths = [entry.path for entry in entries if name.fullmatch(entry.name)]
        for path in paths:
            with suppress(OSError):
                _remove_orphan(path)


def _remove_orphan(path):
    """Remove an unfinished file unless a save still writes it."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(path, flags)
    try:
        found = os.fstat(descriptor)
        # A file without a byte may be one that its save has not locked yet.
        if stat.S_ISREG(found.st_mode) and found.st_size and _lock(descriptor):
            os.unlink(path)
    finally:
        os.close(descriptor)


def _check_entry_sizes(archive, size):
    """Check that the entries of an archive of `size` bytes do not unpack to more."""
    entries = archive.infolist()
    if (
        any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
        or sum(entry.file_size for entry in entries) > size
    ):
        raise ValueError("its entries are compressed, or said to exceed the file")


def _read_array(archive, name, kinds=ARRAY_KINDS):
    """Read an array. Nothing is allocated before it is known to be of that size."""
    info = archive.getinfo(f"{name}.npy")
    with archive.open(info) as entry:
        if npy.read_magic(entry) != (1, 0):
            raise ValueError(f"{name} is of another format")
        header = entry.read(int.from_bytes(entry.read(2), "little"))
        end = entry.tell()
    found = HEADER.fullmatch(header.decode("latin-1"))
    if not found:
        raise ValueError(f"{name} has a header that save does not write")
    dtype = np.dtype(found[1])
    if dtype.hasobject or dtype.kind not in kinds or not dtype.itemsize:
        raise ValueError(f"{name} holds {dtype}, which is not data that save writes")
    shape = [int(size) for size in re.findall(r"\d+", found[2])]
    if end + math.prod(shape) * dtype.itemsize != info.file_size:
        raise ValueError(f"{name} is not of the size that it says")
    with archive.open(info) as entry:
        array = npy.read_array(entry, allow_pickle=False)
    native = dtype.newbyteorder("=")  # the file may come from another kind of machine
    return array.astype(native, order="C", copy=False)


def _decode_value(value, read):
    """Return what `_encode_value` was given."""
    if isinstance(value, list):
        return [_decode_value(item, read) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "array":
        return read(content)
    if kind == "dict":
        return {key: _decode_value(item, read) for key, item in content.items()}
    if kind == "tuple":
        return tuple(_decode_value(item, read) for item in content)
    if kind == "objects":
        array = np.empty(len(content), dtype=object)
        array[:] = content
        return array
    raise ValueError(f"it holds values of kind {kind!r}")
