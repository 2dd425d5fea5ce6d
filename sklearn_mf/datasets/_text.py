"""Ratings from text files.

A file is read in blocks of whole lines. A block of plain lines, whose ids are whole
numbers, is parsed by `numpy.loadtxt`; a block with anything else in it by `csv`, which
takes several times as long.
"""

import codecs
import csv
import gzip
import io
import math
import os
import string
import zlib
from numbers import Integral
from operator import itemgetter
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.utils._param_validation import StrOptions

from sklearn_mf._data.arguments import Interval
from sklearn_mf._typing import validate_params

SEPARATORS = ("::", "\t", ";", ",")  # in order of preference
BLOCK_SIZE = 2**22  # bytes
LONGEST_LINE = 2**27  # bytes
ASCII = string.printable.encode()
PLAIN_WIDTH = 18  # characters of a whole number that fits into 64 bits in any case


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
    path: str | os.PathLike[str],
    *,
    user: int | str = 0,
    item: int | str = 1,
    rating: int | str = 2,
    time: int | str | None = None,
    sep: str | None = None,
    header: bool | Literal["auto"] = "auto",
    encoding: str = "utf-8",
) -> tuple[npt.NDArray[Any], ...]:
    r"""Load ratings from a text file with one rating in each line.

    Parameters
    ----------
    path : str or path-like
        The file, plain or compressed by gzip. Fields may be quoted by ``"``; blank
        lines are skipped.

    user, item, rating : int or str, default=0, 1 and 2
        The columns: positions from 0, or names in the header line. Other columns are
        not read.

    time : int, str or None, default=None
        The column of the times, which are numbers such as seconds. None reads no times.

    sep : str or None, default=None
        What separates the columns. None: the one of ``::``, tab, semicolon and comma
        that cuts the first line into the most columns.

    header : bool or "auto", default="auto"
        Whether the first line holds names. "auto": if it has no number in the column
        of the rating.

    encoding : str, default="utf-8"
        Encoding of the text, one that extends ASCII.

    Returns
    -------
    X : ndarray of shape (n_ratings, 2)
        User and item of each rating, in the order of the file: int64 if all ids are
        whole numbers. Otherwise objects: a column holds strings if one of its ids is
        not a whole number of 64 bits, or would lose a character as one (``007``).

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
        If the file is empty or lacks a column, or if a line cannot be read: it has
        more or fewer columns than the first, an empty id, or a rating or time that is
        not a finite number. The message names the file, the line and the remedy.

    See Also
    --------
    fetch_movielens : Load a MovieLens data set, downloading it if necessary.

    Notes
    -----
    Files whose ids are all whole numbers, without quotes, are read at a few million
    lines a second, others at a third of that or less. The memory needed is at most
    about twice that of the result, whatever else is in the file.

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
    if sep is not None and (not sep or set(sep) & set('"\r\n')):
        raise ValueError(
            f"sep={sep!r} must be one character or more, and no quote or line break. "
            "Pass what stands between the columns, or None to have it found."
        )
    _check_encoding(encoding)
    with open(path, "rb") as file:
        zipped = file.peek(2)[:2] == b"\x1f\x8b"
        try:
            X, y, times = read_text_table(
                gzip.GzipFile(fileobj=file) if zipped else file,
                str(path),
                keys,
                sep,
                header,
                encoding,
            )
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise OSError(
                f"{path}: the compressed file is truncated or damaged ({error}). "
                "Download or copy it again."
            ) from error
    return (X, y) if time is None else (X, y, times)


def _check_encoding(encoding):
    """Raise a ValueError unless an encoding is known and extends ASCII."""
    try:
        codecs.lookup(encoding)
        is_good = decode(ASCII, ",", encoding)[0] == ASCII.decode()
    except (LookupError, ValueError):
        is_good = False
    if not is_good:
        raise ValueError(
            f"encoding={encoding!r} is not the name of an encoding that extends ASCII. "
            "Pass one such as 'utf-8', 'latin-1' or 'cp1252'; save UTF-16 as UTF-8."
        )


class _Layout(NamedTuple):
    """The layout of the lines of a file.

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


def read_text_table(file, source, keys, sep, header, encoding):
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
    columns = [[] for _ in keys]  # an array for each block
    pools = {}, {}
    for block in _blocks(file, source):
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
        decoded = decode(block, layout.sep, layout.encoding)
        parts = _parse_plain(*decoded, layout)
        if parts is None:
            parts = _parse_rows(*decoded, layout, n_lines, pools)
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
    y, *times = map(np.concatenate, columns[2:])
    return X, y, times[0] if times else None


def _blocks(file, source):
    """Cut a binary file into blocks of whole lines that end in a line feed."""
    parts, n_bytes, n_quotes = [], 0, 0  # of the block that is not complete yet
    while chunk := file.read(BLOCK_SIZE):
        stop = chunk.rfind(b"\n") + 1
        # A line feed between quotes does not end a line; but a stray quote must not
        # make one block of the whole file.
        is_quoted = (n_quotes + chunk.count(b'"', 0, stop)) % 2
        if stop and not (is_quoted and n_bytes + len(chunk) < 16 * BLOCK_SIZE):
            yield b"".join([*parts, chunk[:stop]])
            parts, n_bytes, n_quotes = [], 0, 0
            chunk = chunk[stop:]
        parts.append(chunk)
        n_bytes += len(chunk)
        n_quotes += chunk.count(b'"')
        if n_bytes > LONGEST_LINE:  # as in what few bytes of gzip may unpack to
            raise ValueError(
                f"{source}: a line is longer than {LONGEST_LINE} bytes. Pass a text "
                "file with one rating in each line."
            )
    rest = b"".join(parts)
    if rest:
        yield rest if rest.endswith(b"\n") else rest + b"\n"


def _find_layout(block, source, n_lines, keys, sep, header, encoding):
    """Return the layout of the lines, and the number of lines of the header."""
    if block.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError(f"{source} is UTF-16 text: save it as UTF-8.")
    reader = None
    try:
        if sep is None:
            first = block.lstrip().partition(b"\n")[0] + b"\n"
            sep = _find_separator(first, encoding)
        reader = _rows(*decode(block, sep, encoding))
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
    """Find the separator that cuts a line into the most columns."""
    counts = []
    for sep in SEPARATORS:
        try:
            counts.append(len(next(_rows(*decode(line, sep, encoding)))))
        except csv.Error:  # quotes that are none with this separator
            counts.append(0)
    if max(counts) < 2:
        text = line.decode(encoding, "surrogateescape").strip()
        raise ValueError(
            f"{_shorten(text)} has none of the separators "
            f"{', '.join(map(repr, SEPARATORS))}. Pass sep."
        )
    return SEPARATORS[counts.index(max(counts))]


def _find_columns(first, keys, sep, header):
    """Find the positions of the columns, and whether the first line is a header."""
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
                f"{name}={key!r} is not one of the columns {_shorten(first)}. Pass a "
                "name in the header line, or a position from 0; or another separator "
                f"than sep={sep!r}."
            )
        positions.append(first.index(key) if isinstance(key, str) else int(key))
    if len(set(positions)) < len(positions):
        raise ValueError(
            f"{', '.join(f'{name}={key!r}' for name, key in keys.items())} must be "
            f"different columns of {_shorten(first)}."
        )
    if header != "auto":
        return tuple(positions), bool(header)
    # An empty rating is a rating that is missing, not a name.
    if _read_number(first[positions[2]] or "nan") is None:
        return tuple(positions), True
    for name, key in keys.items():
        if isinstance(key, str):
            raise ValueError(
                f"{name}={key!r} is a name, but there is no header line: "
                f"{_shorten(first)} holds a rating already. Pass the position of the "
                "column, from 0, or header=True."
            )
    return tuple(positions), False


def _read_number(text):
    """Return text as a number, or None if it is not one; 1_000 is one only in code."""
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def _shorten(value):
    """Return how a text or a list of texts is written, or the beginning of it."""
    text = repr(value if isinstance(value, str) else value[:50])
    return text if len(text) <= 300 else f"{text[:300]}…"


def _is_blank(row):
    """Tell if a line is empty, or holds nothing but spaces."""
    return not row or (len(row) == 1 and not row[0].strip())


def decode(block, sep, encoding):
    """Decode a block of lines; return its text, and its separator as one character."""
    # Ids are labels: bytes that are invalid in this encoding may stand in them, too.
    text = block.decode(encoding, "surrogateescape")
    if len(sep) > 1 or not sep.isascii():
        return text.replace(sep, "\x1f"), "\x1f"
    return text, sep


def _rows(text, sep):
    """Return a csv.reader of decoded lines."""
    return csv.reader(io.StringIO(text, newline="\n"), delimiter=sep, strict=True)


def _parse_plain(text, sep, layout):
    """Parse a block of plain lines, as `_parse_rows` would.

    Parameters
    ----------
    text, sep : str
        From `decode`.
    layout : _Layout
        What the lines look like.

    Returns
    -------
    list of ndarrays of shape (n_rows,), or None
        Users, items, ratings and, where they are read, times; None if a line is not
        plain.
    """
    text = text.replace("\r\n", "\n").strip("\n") + "\n"
    if not _is_plain(text, sep, layout):
        return None
    names = ("user", "item", "rating", "time")[: len(layout.positions)]
    try:
        table = np.loadtxt(
            io.StringIO(text),
            dtype=[(name, float if name == "rating" else np.int64) for name in names],
            comments=None,
            delimiter=sep,
            usecols=layout.positions,
            ndmin=1,
        )
    except ValueError:  # for `_parse_rows` to explain
        return None
    if not np.isfinite(table["rating"]).all():
        return None
    return [table[name].copy() for name in names]


def _is_plain(text, sep, layout):
    """Tell if all lines have their columns, and ids and times that are plain.

    These are whole numbers of at most 18 characters, written as Python writes them: not
    007, -0, +1, 1.0 or 1e3, which `loadtxt`, or an old one, would take for integers.
    """
    if '"' in text or "\r" in text:
        return False
    n_columns = layout.n_columns
    chars = np.frombuffer(text.encode("utf-8", "surrogatepass"), dtype=np.uint8)
    marks = np.flatnonzero((chars < ord("0")) | (chars > ord("9")))  # all but digits
    is_line_end = chars[marks] == ord("\n")
    ends = np.flatnonzero(is_line_end | (chars[marks] == ord(sep)))  # of fields
    is_last = np.arange(1, len(ends) + 1) % n_columns == 0
    if not is_last[-1] or (is_line_end[ends] != is_last).any():
        return False
    n_marks = np.diff(ends, prepend=-1) - 1  # in each field
    stops = marks[ends]
    starts = np.append(0, stops[:-1] + 1)
    user, item, _, *time = layout.positions
    for position in (user, item, *time):
        field = slice(position, None, n_columns)
        start, width = starts[field], stops[field] - starts[field]
        is_negative = chars[start] == ord("-")
        is_whole = n_marks[field] == is_negative
        has_leading_zero = (chars[start + is_negative] == ord("0")) & (width > 1)
        if not (is_whole & ~has_leading_zero & (width <= PLAIN_WIDTH)).all():
            return False
    return True


def _parse_rows(text, sep, layout, n_lines, pools):
    """Parse a block of any lines.

    Parameters
    ----------
    text, sep : str
        From `decode`.
    layout : _Layout
        What the lines look like.
    n_lines : int
        Number of lines before the block.
    pools : (dict, dict)
        The users and items that are strings, so that each is in memory only once.

    Returns
    -------
    list of ndarrays of shape (n_rows,)
        Users, items, ratings and, where they are read, times.
    """
    take = itemgetter(*layout.positions)
    numbers, fields = [], []

    def fail(number, message):
        raise ValueError(f"{layout.source}, line {n_lines + number}: {message}")

    reader = _rows(text, sep)
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
    parsed = [list(map(_read_number, column)) for column in values]
    for name, column, results in zip(("rating", "time"), values, parsed, strict=False):
        for number, field, value in zip(numbers, column, results, strict=True):
            if value is None or not math.isfinite(value):
                fail(
                    number,
                    f"{_shorten(field)} is not a {name}, which must be a finite "
                    "number. Correct the line or remove it, or pass another column as "
                    f"{name}.",
                )
    return [
        _as_ids(users, pools[0]),
        _as_ids(items, pools[1]),
        np.array(parsed[0]),
        *map(_as_times, values[1:]),
    ]


def _as_ids(texts, pool):
    """Convert ids to int64, or to strings if one would lose a character, as 007."""
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
    """Convert times to int64, or to float64 if one is not a whole number."""
    try:
        return np.array(list(map(int, texts)), dtype=np.int64)
    except (ValueError, OverflowError):
        return np.array(list(map(float, texts)))


def _join_ids(columns, pools):
    """Join the users and the items of all blocks to X."""
    have_texts = [any(part.dtype == object for part in parts) for parts in columns]
    n_rows = sum(map(len, columns[0]))
    X = np.empty((n_rows, 2), dtype=object if any(have_texts) else np.int64)
    for k, parts in enumerate(columns):
        if have_texts[k]:
            parts = [
                part
                if part.dtype == object
                else _as_objects(map(str, part.tolist()), pools[k])
                for part in parts
            ]
        np.concatenate(parts, out=X[:, k])
    return X
