"""Ratings from files and from the web: `load_ratings` and `fetch_movielens`.

A file is read in blocks of whole lines. Plain lines, of integer ids and decimal
numbers, are parsed by compiled code; a block with anything else in it by `csv`.
"""

import csv
import gzip
import hashlib
import http.client
import importlib.util
import io
import math
import os
import time as clock
import zipfile
import zlib
from numbers import Integral, Real
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
from numba import njit
from sklearn.datasets import get_data_home
from sklearn.utils import Bunch
from sklearn.utils._optional_dependencies import check_pandas_support
from sklearn.utils._param_validation import Interval, StrOptions, validate_params

# ------------------------------------------------------------------------------- files

SEPARATORS = ("::", "\t", ";", ",")  # of two that fit, the first
BLOCK_SIZE = 2**22  # bytes


@validate_params(
    {
        "path": [str, os.PathLike],
        "user": [str, Interval(Integral, 0, None, closed="left")],
        "item": [str, Interval(Integral, 0, None, closed="left")],
        "rating": [str, Interval(Integral, 0, None, closed="left")],
        "time": [str, Interval(Integral, 0, None, closed="left"), None],
        "sep": [str, None],
        "header": ["boolean", StrOptions({"auto"})],
        "encoding": [str],
    },
    prefer_skip_nested_validation=True,
)
def load_ratings(
    path,
    *,
    user=0,
    item=1,
    rating=2,
    time=None,
    sep=None,
    header="auto",
    encoding="utf-8",
):
    r"""Load ratings from a text file with one rating a line.

    Parameters
    ----------
    path : str or path-like
        The file, plain or compressed by gzip. Fields may be quoted by ``"``; blank
        lines are passed over.

    user, item, rating : int or str, default=0, 1 and 2
        The columns: positions from 0, or names in the header line. Other columns are
        not read.

    time : int, str or None, default=None
        The column of the times, in numbers such as seconds. None reads no times.

    sep : str or None, default=None
        What separates the columns. None: the one of ``::``, tab, semicolon and comma
        that cuts the first line into most columns.

    header : bool or "auto", default="auto"
        Whether the first line holds names. "auto": if it has no number in the column
        of the rating.

    encoding : str, default="utf-8"
        Encoding of the text, one that extends ASCII.

    Returns
    -------
    X : ndarray of shape (n_ratings, 2)
        User and item of each rating, in the order of the file: int64 if all ids are
        whole numbers. Otherwise objects: a column with an id that is no whole number
        of 64 bits, or that would lose a character as one (``007``), holds strings.

    y : ndarray of shape (n_ratings,), float64
        The ratings.

    times : ndarray of shape (n_ratings,)
        The times: int64 if all are whole numbers, else float64. Only returned if
        `time` is given.

    Raises
    ------
    OSError
        If the file cannot be read, or its compression is damaged.

    ValueError
        If the file is empty, has no such column, or a line without a meaning: other
        than the usual number of columns, an empty id, a rating or time that is no
        finite number. The message names file, line and remedy.

    See Also
    --------
    fetch_movielens : Load a MovieLens data set, from the web at first.

    Notes
    -----
    Lines of integer ids and decimal numbers are read at several million a second,
    others (strings as ids, quotes, exponents) at a tenth of that. The memory needed is
    at most about twice that of the result, whatever else is in the file.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from sklearn_mf.datasets import load_ratings
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder) / "ratings.csv"
    ...     _ = path.write_text("stars;reader;book\n4;7;11\n3.5;8;11\n")
    ...     X, y = load_ratings(path, user="reader", item="book", rating="stars")
    >>> X
    array([[ 7, 11],
           [ 8, 11]])
    >>> y
    array([4. , 3.5])
    """
    keys = {"user": user, "item": item, "rating": rating}
    if time is not None:
        keys["time"] = time
    if sep == "":
        raise ValueError("sep='' separates nothing: pass a separator, or None.")
    with open(path, "rb") as file:
        zipped = file.peek(2)[:2] == b"\x1f\x8b"
        try:
            X, y, times = _read_table(
                gzip.GzipFile(fileobj=file) if zipped else file,
                str(path),
                keys,
                sep,
                header,
                encoding,
            )
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise OSError(
                f"{path}: the compressed file is truncated or damaged ({error}). Get "
                "it anew."
            ) from error
    return (X, y) if time is None else (X, y, times)


class _Layout(NamedTuple):
    """What the lines of a file look like.

    Attributes
    ----------
    source : str
        What error messages call the file.
    sep, encoding : str
        As in `load_ratings`.
    n_columns : int
        Number of columns.
    positions : tuple of int
        Columns of user, item, rating and, where it is read, time.
    """

    source: str
    sep: str
    encoding: str
    n_columns: int
    positions: tuple


def _read_table(file, source, keys, sep, header, encoding):
    """Read ratings from a binary file.

    Parameters
    ----------
    file : binary file
        The file.
    source : str
        What error messages call it.
    keys : dict
        Columns under the names "user", "item", "rating" and, optionally, "time".
    sep, header, encoding
        As in `load_ratings`.

    Returns
    -------
    X, y, times : ndarrays
        As in `load_ratings`; times is None where they are not read.
    """
    layout, n_lines = None, 0
    columns = [[] for _ in keys]  # of each, an array a block
    pools = {}, {}  # each id that is a string once
    for block in _blocks(file):
        if layout is None:
            if n_lines == 0:
                block = block.removeprefix(b"\xef\xbb\xbf")
            if not block.strip():
                n_lines += block.count(b"\n")
                continue
            layout, n_header = _find_layout(
                block, source, n_lines, keys, sep, header, encoding
            )
            start = 0
            for _ in range(n_header):
                start = block.index(b"\n", start) + 1
            block = block[start:]
            n_lines += n_header
        parts = _parse_plain(block, layout)
        if parts is None:
            parts = _parse_rows(block, layout, n_lines, pools)
        for column, part in zip(columns, parts, strict=True):
            column.append(part)
        n_lines += block.count(b"\n")
    if layout is None:
        raise ValueError(f"{source}: the file is empty. Give one with ratings.")
    if not any(map(len, columns[0])):
        raise ValueError(
            f"{source}: there is no rating after the header line. If the first line "
            "is a rating, pass header=False."
        )
    X = _join_ids(columns[:2], pools)
    y, *times = map(_join, columns[2:])
    return X, y, times[0] if times else None


def _blocks(file):
    """Cut a binary file into blocks of whole lines that end in a line feed."""
    block = b""
    while chunk := file.read(BLOCK_SIZE):
        block += chunk
        end = block.rfind(b"\n") + 1
        # A line feed between quotes ends no line. Stray quotes must not take all.
        if block.count(b'"', 0, end) % 2 and len(block) < 16 * BLOCK_SIZE:
            continue
        if end:
            yield block[:end]
            block = block[end:]
    if block:
        yield block if block.endswith(b"\n") else block + b"\n"


def _find_layout(block, source, n_lines, keys, sep, header, encoding):
    """Give the layout of the lines, and how many of them the header takes."""
    if block.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError(f"{source} is UTF-16 text: save it as UTF-8.")
    reader = None
    try:
        if sep is None:
            first = block.lstrip().partition(b"\n")[0] + b"\n"
            sep = _find_separator(first, encoding)
        reader = _rows(block, sep, encoding)
        first = next((row for row in reader if not _is_blank(row)), [])
        first = [field.strip() for field in first]
        positions, has_header = _find_columns(first, keys, sep, header)
    except (ValueError, csv.Error) as error:
        blank = block[: len(block) - len(block.lstrip())].count(b"\n")
        number = n_lines + (reader.line_num if reader else blank + 1)
        raise ValueError(f"{source}, line {number}: {error}") from None
    layout = _Layout(source, sep, encoding, len(first), positions)
    return layout, reader.line_num if has_header else 0


def _find_separator(line, encoding):
    """Give the separator that cuts a line into most columns."""
    counts = []
    for sep in SEPARATORS:
        try:
            counts.append(len(next(_rows(line, sep, encoding))))
        except csv.Error:  # quotes that are none with this separator
            counts.append(0)
    if max(counts) < 2:
        text = line.decode(encoding, "surrogateescape").strip()
        raise ValueError(
            f"{text!r} has none of the separators {', '.join(map(repr, SEPARATORS))}. "
            "Pass sep."
        )
    return SEPARATORS[counts.index(max(counts))]


def _find_columns(first, keys, sep, header):
    """Give the positions of the columns, and whether the first line is a header."""
    positions = []
    for name, key in keys.items():
        if not isinstance(key, str):
            is_there = key < len(first)
        elif header is False:
            raise ValueError(
                f"{name}={key!r} is a name, but header=False: pass the position of the "
                "column, from 0."
            )
        else:
            is_there = first.count(key) == 1
        if not is_there:
            raise ValueError(
                f"{name}={key!r} is not one of the columns {first}. Pass a name in the "
                f"header line, or a position from 0; or another separator than "
                f"sep={sep!r}."
            )
        positions.append(first.index(key) if isinstance(key, str) else int(key))
    if len(set(positions)) < len(positions):
        raise ValueError(
            f"{', '.join(f'{name}={key!r}' for name, key in keys.items())} must be "
            f"different columns of {first}."
        )
    if header != "auto":
        return tuple(positions), bool(header)
    # An empty rating is a rating that is missing, not a name.
    if not _is_number(first[positions[2]] or "nan"):
        return tuple(positions), True
    for name, key in keys.items():
        if isinstance(key, str):
            raise ValueError(
                f"{name}={key!r} is a name, but there is no header line: {first} holds "
                "a rating already. Pass the position of the column, from 0, or "
                "header=True."
            )
    return tuple(positions), False


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_finite(text):
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _is_blank(row):
    """Tell if a line has nothing in it, or nothing but blanks."""
    return not row or (len(row) == 1 and not row[0].strip())


def _rows(block, sep, encoding):
    """Give a csv.reader of a block of lines."""
    # Ids are labels: bytes that are no text tell them apart as well as any.
    text = block.decode(encoding, "surrogateescape")
    if len(sep) > 1:  # csv takes one character
        text, sep = text.replace(sep, "\x1f"), "\x1f"
    return csv.reader(io.StringIO(text, newline="\n"), delimiter=sep, strict=True)


def _parse_rows(block, layout, n_lines, pools):
    """Parse a block of any lines.

    Parameters
    ----------
    block : bytes
        Whole lines.
    layout : _Layout
        What they look like.
    n_lines : int
        Number of lines before the block.
    pools : (dict, dict)
        The users and items that are strings, so that each takes memory once.

    Returns
    -------
    list of ndarrays of shape (n_rows,)
        Users, items, ratings and, where they are read, times.
    """
    take = itemgetter(*layout.positions)
    numbers, fields = [], []

    def fail(number, message):
        raise ValueError(f"{layout.source}, line {n_lines + number}: {message}")

    reader = _rows(block, layout.sep, layout.encoding)
    try:
        for row in reader:
            if len(row) != layout.n_columns:
                if _is_blank(row):
                    continue
                fail(
                    reader.line_num,
                    f"the number of columns is {len(row)}, but {layout.n_columns} in "
                    "the first line. Correct the line, or pass another separator than "
                    f"sep={layout.sep!r}.",
                )
            numbers.append(reader.line_num)
            fields.extend(take(row))  # not one list a row, for the garbage collector
    except csv.Error as error:
        fail(reader.line_num, f"{error}. Correct the line.")

    n_read = len(layout.positions)
    users, items, *values = (
        list(map(str.strip, fields[k::n_read])) for k in range(n_read)
    )
    for column in (users, items):
        if "" in column:
            fail(
                numbers[column.index("")],
                "an id is empty. Correct the line or remove it.",
            )
    for name, column in zip(("rating", "time"), values, strict=False):
        for number, text in zip(numbers, column, strict=True):
            if not _is_finite(text):
                fail(
                    number,
                    f"{text!r} is no {name}, a finite number. Correct the line or "
                    f"remove it, or pass another column as {name}.",
                )
    ratings, *times = values
    return [
        _as_ids(users, pools[0]),
        _as_ids(items, pools[1]),
        np.array(list(map(float, ratings))),
        *map(_as_times, times),
    ]


def _as_ids(texts, pool):
    """Turn ids into int64 if none loses a character by that, as 007 would."""
    try:
        ids = np.array(list(map(int, texts)), dtype=np.int64)
        if list(map(str, ids.tolist())) == texts:
            return ids
    except (ValueError, OverflowError):
        pass
    return _as_objects(texts, pool)


def _as_objects(texts, pool):
    return np.array([pool.setdefault(text, text) for text in texts], dtype=object)


def _as_times(texts):
    """Turn times into int64, or into float64 if one is no whole number."""
    try:
        return np.array(list(map(int, texts)), dtype=np.int64)
    except (ValueError, OverflowError):
        return np.array(list(map(float, texts)))


def _join(parts):
    """Join the arrays of a list, and empty it, so that memory is needed once."""
    dtype = np.result_type(*{part.dtype for part in parts})
    joined = np.empty(sum(map(len, parts)), dtype)
    _move(parts, joined)
    return joined


def _join_ids(columns, pools):
    """Join users and items to X, and empty their lists."""
    are_texts = [any(part.dtype == object for part in parts) for parts in columns]
    n_rows = sum(map(len, columns[0]))
    X = np.empty((n_rows, 2), dtype=object if any(are_texts) else np.int64)
    for k, parts in enumerate(columns):
        if are_texts[k]:
            parts[:] = (
                part
                if part.dtype == object
                else _as_objects(map(str, part.tolist()), pools[k])
                for part in parts
            )
        _move(parts, X[:, k])
    return X


def _move(parts, out):
    """Move the arrays of a list to `out`, one after the other."""
    stop = len(out)
    while parts:
        part = parts.pop()
        out[stop - len(part) : stop] = part
        stop -= len(part)


# ------------------------------------------------------------------------- plain lines

_LINE_FEED, _RETURN, _QUOTE, _MINUS, _POINT, _ZERO = b'\n\r"-.0'
_USER, _ITEM, _RATING, _TIME = 1, 2, 3, 4
# Whole numbers below 2**53 and these powers are exact: their quotient is the float
# nearest to the decimal number, as Python's own.
_DECIMAL_DIGITS, _INTEGER_DIGITS = 15, 18
_POWERS = np.array([float(10**k) for k in range(_DECIMAL_DIGITS + 1)])


def _parse_plain(block, layout):
    """Parse a block of plain lines, as `_parse_rows` would; None if one is not."""
    roles = np.zeros(layout.n_columns, dtype=np.int64)
    roles[list(layout.positions)] = np.arange(1, len(layout.positions) + 1)
    n_rows = block.count(b"\n")
    users, items, times = (np.empty(n_rows, dtype=np.int64) for _ in range(3))
    ratings = np.empty(n_rows)
    sep = np.frombuffer(layout.sep.encode(layout.encoding), dtype=np.uint8)
    n_rows = _parse_lines(
        np.frombuffer(block, dtype=np.uint8), sep, roles, users, items, ratings, times
    )
    if n_rows < 0:
        return None
    parts = users, items, ratings, times
    return [part[:n_rows].copy() for part in parts[: len(layout.positions)]]


@njit(nogil=True, cache=True)
def _parse_lines(block, sep, roles, users, items, ratings, times):
    """Parse lines of integer ids and times and decimal ratings.

    Parameters
    ----------
    block : uint8 ndarray
        Whole lines, the last of which ends in a line feed too.
    sep : uint8 ndarray
        The separator.
    roles : int64 ndarray of shape (n_columns,)
        What each column is; 0 is not read.
    users, items, ratings, times : ndarrays of shape (n_lines,)
        Filled in place.

    Returns
    -------
    int
        Number of rows, or -1 if a line is not plain.
    """
    row = pos = 0
    while pos < len(block):
        if block[pos] == _LINE_FEED:
            pos += 1
            continue
        if block[pos] == _RETURN and block[pos + 1] == _LINE_FEED:
            pos += 2
            continue
        for column in range(len(roles)):
            start = pos
            while block[pos] != _LINE_FEED and not _starts_with(block, pos, sep):
                if block[pos] == _QUOTE:
                    return -1
                if block[pos] == _RETURN and block[pos + 1] != _LINE_FEED:
                    return -1
                pos += 1
            stop = pos
            is_last = column == len(roles) - 1
            if is_last != (block[pos] == _LINE_FEED):
                return -1
            if is_last:
                if stop > start and block[stop - 1] == _RETURN:
                    stop -= 1
                pos += 1
            else:
                pos += len(sep)
            role = roles[column]
            if role == 0:
                continue
            n_most = _DECIMAL_DIGITS if role == _RATING else _INTEGER_DIGITS
            is_plain, whole, n_decimals = _parse_number(block, start, stop, n_most)
            if not is_plain or (role != _RATING and n_decimals >= 0):
                return -1
            if role == _USER:
                users[row] = whole
            elif role == _ITEM:
                items[row] = whole
            elif role == _TIME:
                times[row] = whole
            else:
                ratings[row] = whole / _POWERS[max(n_decimals, 0)]
        row += 1
    return row


@njit(nogil=True, cache=True)
def _starts_with(block, pos, sep):
    """Tell if the separator stands at a position."""
    if pos + len(sep) > len(block):
        return False
    for k in range(len(sep)):  # noqa: SIM110, a loop that compiles
        if block[pos + k] != sep[k]:
            return False
    return True


@njit(nogil=True, cache=True)
def _parse_number(block, start, stop, n_most):
    """Parse a number of at most `n_most` digits, written plainly: no 007, -0 or 1e3.

    Returns
    -------
    is_plain : bool
        Whether it is.
    whole : int
        Its digits without the point.
    n_decimals : int
        Number of digits after the point; -1 if there is no point.
    """
    is_negative = start < stop and block[start] == _MINUS
    if is_negative:
        start += 1
    whole = n_digits = 0
    n_decimals = -1
    for pos in range(start, stop):
        if block[pos] == _POINT and n_decimals < 0:
            n_decimals = 0
            continue
        digit = np.int64(block[pos]) - _ZERO
        if not 0 <= digit <= 9 or n_digits == n_most:
            return False, 0, 0
        whole = 10 * whole + digit
        n_digits += 1
        if n_decimals >= 0:
            n_decimals += 1
    if n_digits == 0 or (is_negative and whole == 0):
        return False, 0, 0
    if n_decimals < 0 and n_digits > 1 and block[start] == _ZERO:
        return False, 0, 0
    return True, -whole if is_negative else whole, n_decimals


# --------------------------------------------------------------------------- MovieLens

MOVIELENS_URL = "https://files.grouplens.org/datasets/movielens/"
TIMEOUT = 60  # seconds without a byte


class _Variant(NamedTuple):
    """An archive of MovieLens data.

    Attributes
    ----------
    sha256 : str or None
        Checksum; None where the archive may change.
    ratings, items : str
        The files in it.
    sep, item_sep : str
        What separates their columns.
    encoding : str
        Encoding of the titles.
    readme : str
        Name of the file, beside the archive, with GroupLens' own description.
    redistribution : str
        What its licence says of passing the data on.
    """

    sha256: str | None
    ratings: str
    items: str
    sep: str
    item_sep: str
    encoding: str
    readme: str
    redistribution: str


_FORBIDDEN = "The data must not be redistributed without separate permission."
_SHARED = (
    "The data, transformed or not, may be redistributed under these same conditions "
    "alone."
)

_VARIANTS = {
    "latest-small": _Variant(
        None,
        "ml-latest-small/ratings.csv",
        "ml-latest-small/movies.csv",
        ",",
        ",",
        "utf-8",
        "ml-latest-small-README.html",
        _SHARED,
    ),
    "100k": _Variant(
        "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
        "ml-100k/u.data",
        "ml-100k/u.item",
        "\t",
        "|",
        "latin-1",
        "ml-100k-README.txt",
        _FORBIDDEN,
    ),
    "1m": _Variant(
        "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
        "ml-1m/ratings.dat",
        "ml-1m/movies.dat",
        "::",
        "::",
        "latin-1",
        "ml-1m-README.txt",
        _FORBIDDEN,
    ),
    "10m": _Variant(
        "813c411ccb6122564edfe752e7f80c4dcc5aa25fa94c93622f6877a7ba252862",
        "ml-10M100K/ratings.dat",
        "ml-10M100K/movies.dat",
        "::",
        "::",
        "utf-8",
        "ml-10m-README.html",
        _FORBIDDEN,
    ),
    "25m": _Variant(
        "8b21cfb7eb1706b4ec0aac894368d90acf26ebdfb6aced3ebd4ad5bd1eb9c6aa",
        "ml-25m/ratings.csv",
        "ml-25m/movies.csv",
        ",",
        ",",
        "utf-8",
        "ml-25m-README.html",
        _FORBIDDEN,
    ),
    "32m": _Variant(
        "e4a68655d7386b8f95f2f2424b2ff975dfdd15ffd59e0d864a14dca43e99d6ee",
        "ml-32m/ratings.csv",
        "ml-32m/movies.csv",
        ",",
        ",",
        "utf-8",
        "ml-32m-README.html",
        _SHARED,
    ),
}

_DESCR = """\
{title}
{line}

{n_ratings:,} ratings of {n_items:,} films by {n_users:,} users of MovieLens, a film
recommender run by GroupLens Research at the University of Minnesota: {low:g} to
{high:g} stars. Described in full at {readme}

Licence
-------
The data may be used for research, under these conditions of GroupLens:

- No endorsement by the University of Minnesota or GroupLens may be stated or implied.
- Publications that result from the data must acknowledge it: cite the paper below.
- {redistribution}
- No commercial or revenue-bearing use without prior permission of GroupLens.

They come without any warranty. The words that bind are those at the address above.

Reference
---------
F. Maxwell Harper and Joseph A. Konstan. 2015. The MovieLens Datasets: History and
Context. ACM Transactions on Interactive Intelligent Systems 5, 4, Article 19.
https://doi.org/10.1145/2827872
"""


@validate_params(
    {
        "variant": [StrOptions(set(_VARIANTS))],
        "data_home": [str, os.PathLike, None],
        "download_if_missing": ["boolean"],
        "return_X_y": ["boolean"],
        "as_frame": ["boolean", StrOptions({"auto"})],
        "n_retries": [Interval(Integral, 0, None, closed="left")],
        "delay": [Interval(Real, 0, None, closed="left")],
    },
    prefer_skip_nested_validation=True,
)
def fetch_movielens(
    variant="latest-small",
    *,
    data_home=None,
    download_if_missing=True,
    return_X_y=False,
    as_frame="auto",
    n_retries=3,
    delay=1.0,
):
    """Load a MovieLens data set, from the web at first.

    ==============  ==========  =======  ======  =========  ========
    variant            ratings    users   films  stars      download
    ==============  ==========  =======  ======  =========  ========
    "latest-small"     100,836      610   9,724  0.5 to 5       1 MB
    "100k"             100,000      943   1,682  1 to 5         5 MB
    "1m"             1,000,209    6,040   3,706  1 to 5         6 MB
    "10m"           10,000,054   69,878  10,677  0.5 to 5      66 MB
    "25m"           25,000,095  162,541  59,047  0.5 to 5     262 MB
    "32m"           32,000,204  200,948  84,432  0.5 to 5     239 MB
    ==============  ==========  =======  ======  =========  ========

    The licence allows research; see ``DESCR`` before you use the data for anything
    else or pass it on.

    Parameters
    ----------
    variant : {"latest-small", "100k", "1m", "10m", "25m", "32m"}, \
            default="latest-small"
        Which data set.

    data_home : str, path-like or None, default=None
        Where data sets are kept, here in the folder `movielens`. None: where
        scikit-learn keeps them, see :func:`sklearn.datasets.get_data_home`.

    download_if_missing : bool, default=True
        False: an OSError instead of a download.

    return_X_y : bool, default=False
        If True, ``(data, target)`` is returned instead of a Bunch.

    as_frame : bool or "auto", default="auto"
        Whether data and target are pandas objects. "auto": if pandas is installed.

    n_retries : int, default=3
        How often an interrupted download is taken up again.

    delay : float, default=1.0
        Seconds before that.

    Returns
    -------
    dataset : :class:`~sklearn.utils.Bunch`
        data : ndarray of shape (n_ratings, 2), int64, or DataFrame
            User and film of each rating, in the order of the file.
        target : ndarray of shape (n_ratings,), float64, or Series
            The ratings, in stars.
        timestamps : ndarray of shape (n_ratings,), int64, or Series
            When they were given: seconds since the start of 1970, UTC.
        titles : dict of int to str
            The title of each film, those without a rating too.
        frame : DataFrame or None
            The columns "user", "item", "rating" and "timestamp" together; None for
            arrays.
        feature_names : list of str
            ["user", "item"].
        target_names : list of str
            ["rating"].
        DESCR : str
            Description, licence and reference.

    (data, target) : tuple if `return_X_y` is True
        As above.

    Raises
    ------
    OSError
        If the data is not there and must not or cannot be downloaded, or if the
        archive is damaged. A damaged archive is deleted: call again.

    ImportError
        If `as_frame` is True and pandas is not installed.

    See Also
    --------
    load_ratings : Load ratings of your own.

    Notes
    -----
    The archive of GroupLens is kept as it is, and nothing else. What a broken
    download has brought is kept too, and the next call goes on from there. With no
    way to the web, put the archive, for example ``ml-1m.zip``, into the folder
    yourself.

    At each call the archive is checked: by its SHA256, and by the checksums of the
    files in it. "latest-small" is checked by the latter alone, because GroupLens may
    replace it by a newer one at any time; the table is of that of September 2018. For
    results that are to be compared, take another.

    Examples
    --------
    >>> from sklearn_mf.datasets import fetch_movielens
    >>> movielens = fetch_movielens("1m", as_frame=False)  # doctest: +SKIP
    >>> movielens.data.shape, movielens.target.shape  # doctest: +SKIP
    ((1000209, 2), (1000209,))
    >>> movielens.titles[1]  # doctest: +SKIP
    'Toy Story (1995)'
    """
    if as_frame == "auto":
        as_frame = importlib.util.find_spec("pandas") is not None
    pd = (
        check_pandas_support("fetch_movielens with as_frame=True") if as_frame else None
    )
    folder = Path(get_data_home(data_home)) / "movielens"
    path = folder / f"ml-{variant}.zip"
    if not path.exists():
        if not download_if_missing:
            raise OSError(
                f"Data not found and `download_if_missing` is False: there is no {path}"
            )
        folder.mkdir(parents=True, exist_ok=True)
        _download(MOVIELENS_URL + path.name, path, n_retries, delay)
    try:
        X, y, timestamps, titles = _read_archive(path, _VARIANTS[variant])
    except _DAMAGE as error:
        path.unlink(missing_ok=True)
        raise OSError(
            f"{path} was damaged and is deleted: {error}. Call "
            f"fetch_movielens({variant!r}) again to download it anew."
        ) from error

    feature_names, target_names, frame = ["user", "item"], ["rating"], None
    descr = _describe(variant, X, y)
    if as_frame:
        frame = pd.DataFrame(X, columns=feature_names)
        frame["rating"], frame["timestamp"] = y, timestamps
        X, y, timestamps = frame[feature_names], frame["rating"], frame["timestamp"]
    if return_X_y:
        return X, y
    return Bunch(
        data=X,
        target=y,
        timestamps=timestamps,
        titles=titles,
        frame=frame,
        feature_names=feature_names,
        target_names=target_names,
        DESCR=descr,
    )


# What the standard library and the parsers raise for an archive that is not whole.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    csv.Error,
    EOFError,
    LookupError,
    ValueError,
    RuntimeError,
)


def _read_archive(path, variant):
    """Check an archive and read it.

    Returns
    -------
    X, y, timestamps : ndarrays
        As in `load_ratings`.
    titles : dict of int to str
        The titles.
    """
    if variant.sha256 is not None:
        with open(path, "rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        if sha256 != variant.sha256:
            raise zipfile.BadZipFile(
                f"its SHA256 is {sha256}, not {variant.sha256} as that of GroupLens"
            )
    is_csv = variant.item_sep == ","
    keys = {"user": 0, "item": 1, "rating": 2, "time": 3}
    with zipfile.ZipFile(path) as archive:
        with archive.open(variant.ratings) as file:
            X, y, timestamps = _read_table(
                file, variant.ratings, keys, variant.sep, is_csv, "utf-8"
            )
        with archive.open(variant.items) as file:
            lines = io.TextIOWrapper(file, variant.encoding, newline="")
            rows = csv.reader(
                (line.replace("::", "\x1f") for line in lines)
                if variant.item_sep == "::"
                else lines,
                delimiter="\x1f" if variant.item_sep == "::" else variant.item_sep,
                quoting=csv.QUOTE_MINIMAL if is_csv else csv.QUOTE_NONE,
            )
            if is_csv:
                next(rows, None)  # header
            titles = {int(row[0]): row[1] for row in rows if row}
    return X, y, timestamps, titles


def _describe(variant, X, y):
    """Write DESCR."""
    title = f"MovieLens {variant}"
    n_users, n_items = (np.count_nonzero(np.bincount(ids)) for ids in X.T)
    return _DESCR.format(
        title=title,
        line="=" * len(title),
        n_ratings=len(y),
        n_users=n_users,
        n_items=n_items,
        low=y.min(),
        high=y.max(),
        readme=MOVIELENS_URL + _VARIANTS[variant].readme,
        redistribution=_VARIANTS[variant].redistribution,
    )


def _download(url, path, n_retries, delay):
    """Download a file, which is at `path` only when it is there whole."""
    part = path.with_name(path.name + ".part")
    for n_left in range(n_retries, -1, -1):
        try:
            _download_rest(url, part)
            break
        except (OSError, http.client.HTTPException) as error:
            is_final = isinstance(error, HTTPError) and 400 <= error.code < 500
            if n_left == 0 or is_final:
                raise OSError(
                    f"{url} could not be downloaded: {error}. Check your connection "
                    "and call again, which goes on where the download broke off; or "
                    f"download it in another way and save it as {path}."
                ) from error
        clock.sleep(delay)
    try:
        os.replace(part, path)
    except FileNotFoundError:  # another process was at it, and faster
        if not path.exists():
            raise


def _download_rest(url, part):
    """Download what is missing of a file, or all of it where the server will not."""
    offset = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "sklearn_mf", "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    try:
        response = urlopen(Request(url, headers=headers), timeout=TIMEOUT)
    except HTTPError as error:
        if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE or not offset:
            raise
        error.close()
        part.unlink()  # the whole file, or more than that
        _download_rest(url, part)
        return
    part.touch()
    with response, open(part, "r+b") as file:
        content_range = response.headers.get("Content-Range", "")
        if response.status == http.client.PARTIAL_CONTENT:
            if not content_range.startswith(f"bytes {offset}-"):
                part.unlink()
                raise ConnectionError(f"bytes {offset}- wanted, got {content_range}")
            file.seek(offset)
        else:
            file.truncate(0)
        n_bytes = 0
        while chunk := response.read(2**16):
            n_bytes += file.write(chunk)
        length = response.headers.get("Content-Length")
        if length is not None and n_bytes < int(length):
            raise ConnectionError(f"broken off after {n_bytes} of {length} bytes")
