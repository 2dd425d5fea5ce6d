"""Download MovieLens data sets, and keep them in a cache folder."""

import csv
import errno
import hashlib
import http.client
import importlib.util
import io
import os
import re
import threading
import time as clock
import zipfile
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, Request, build_opener

import numpy as np
from sklearn.datasets import get_data_home
from sklearn.utils import Bunch
from sklearn.utils._optional_dependencies import check_pandas_support
from sklearn.utils._param_validation import StrOptions

from sklearn_mf._data.arguments import Interval
from sklearn_mf._typing import validate_params
from sklearn_mf.datasets._text import decode, read_text_table

MOVIELENS_URL = "https://files.grouplens.org/datasets/movielens/"
TIMEOUT = 60  # seconds in which no byte arrives, or no answer begins
SLOWEST = 1000  # bytes a second, on average over TIMEOUT
LARGEST_DOWNLOAD = 2**29  # bytes; the largest archive has half of that
LARGEST_FILE = 2**27  # bytes of a file in an archive without a checksum
LARGEST_ID = 10**7  # GroupLens' are below 300,000


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
        Name of the file next to the archive that holds GroupLens' own description.
    redistribution : str
        What its licence says about redistribution.
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

They come without any warranty. The binding terms are those at the address above.

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
    variant: Literal[
        "latest-small", "100k", "1m", "10m", "25m", "32m"
    ] = "latest-small",
    *,
    data_home: str | os.PathLike[str] | None = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
    as_frame: bool | Literal["auto"] = "auto",
    n_retries: int = 3,
    delay: float = 1.0,
) -> Bunch | Any:  # if a tuple were in the union, mypy would refuse `.data`
    """Load a MovieLens data set, downloading it if necessary.

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
        The folder of all data sets; this one goes into its subfolder `movielens`.
        None: the folder of scikit-learn, see :func:`sklearn.datasets.get_data_home`.

    download_if_missing : bool, default=True
        If False, raise an OSError instead of downloading.

    return_X_y : bool, default=False
        If True, ``(data, target)`` is returned instead of a Bunch.

    as_frame : bool or "auto", default="auto"
        Whether data and target are pandas objects. "auto": if pandas is installed.

    n_retries : int, default=3
        How often an interrupted download is resumed. One counts as interrupted if
        nothing arrives for a minute, or less than 1 kB a second on average.

    delay : float, default=1.0
        Seconds to wait before it is resumed.

    Returns
    -------
    dataset : :class:`~sklearn.utils.Bunch`
        The ratings, and the titles of the films.

        data : ndarray of shape (n_ratings, 2), int64, or DataFrame
            User and film of each rating, in the order of the file.
        target : ndarray of shape (n_ratings,), float64, or Series
            The ratings, in stars.
        timestamps : ndarray of shape (n_ratings,), int64, or Series
            When they were given: seconds since the start of 1970, UTC.
        titles : dict of int to str
            The title of each film, including films without a rating.
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
        If the data is not in the folder and may not or cannot be downloaded, or if the
        archive is damaged. A damaged archive is deleted: call again.

    ImportError
        If `as_frame` is True and pandas is not installed.

    See Also
    --------
    load_ratings : Load ratings of your own.

    Notes
    -----
    Only the archive of GroupLens is kept, unchanged. The part of a file that an
    interrupted download leaves is kept as well, and the next call resumes it. Without
    access to the web, copy the archive, for example ``ml-1m.zip``, into the folder
    yourself.

    Each call verifies the archive by its SHA256, and by the checksums of the files in
    it. "latest-small" is verified by the latter alone, because GroupLens may replace it
    with a newer version at any time; the table describes that of September 2018. Choose
    another variant for results that are to be compared with those of others.

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
    if as_frame:
        pd = check_pandas_support("fetch_movielens with as_frame=True")
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
    except MemoryError:
        raise
    except Exception as error:  # many kinds, where bytes are not what they should be
        is_content = getattr(error, "errno", None) in (None, errno.EINVAL)
        if isinstance(error, OSError) and not is_content:
            raise
        path.unlink(missing_ok=True)
        raise OSError(
            f"{path} was damaged and has been deleted: {error}. Call "
            f"fetch_movielens({variant!r}) again to download it."
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
        for name in (variant.ratings, variant.items):
            size = archive.getinfo(name).file_size
            if variant.sha256 is None and size > LARGEST_FILE:
                raise zipfile.BadZipFile(f"{name} is said to unpack to {size} bytes")
        with archive.open(variant.ratings) as file:
            X, y, timestamps = read_text_table(
                file, variant.ratings, keys, variant.sep, is_csv, "utf-8"
            )
        text, sep = decode(
            archive.read(variant.items), variant.item_sep, variant.encoding
        )
    if X.dtype != np.int64 or X.min() < 0 or X.max() > LARGEST_ID:
        raise ValueError(
            f"{variant.ratings} holds ids that are not whole numbers from 0 to "
            f"{LARGEST_ID}"
        )
    if timestamps.dtype != np.int64:
        raise ValueError(f"{variant.ratings} holds times that are not whole numbers")
    rows = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=sep,
        quoting=csv.QUOTE_MINIMAL if is_csv else csv.QUOTE_NONE,
    )
    if is_csv:
        next(rows, None)  # header
    titles = {int(row[0]): row[1] for row in rows if row}
    return X, y, timestamps, titles


def _describe(variant, X, y):
    """Return the text of DESCR."""
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
    """Download a file, which appears at `path` only when it is complete."""
    part = path.with_name(path.name + ".part")
    for n_left in range(n_retries, -1, -1):
        try:
            _download_rest(url, part)
            break
        except (OSError, http.client.HTTPException) as error:
            is_final = isinstance(error, HTTPError) and 300 <= error.code < 500
            if n_left == 0 or is_final:
                raise OSError(
                    f"{url} could not be downloaded: {error}. Check your connection "
                    "and call again, which resumes the download; or download it in "
                    f"another way and save it as {path}."
                ) from error
        clock.sleep(delay)
    try:
        os.replace(part, path)
    except FileNotFoundError:  # another process has completed the same download
        if not path.exists():
            raise


def _download_rest(url, part):
    """Download the rest of a file, or all of it from a server that cannot resume."""
    if part.is_symlink():  # what it points to is nothing of ours
        part.unlink()
    offset = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "sklearn_mf", "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    try:
        response = _open(Request(url, headers=headers))
    except HTTPError as error:
        if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE or not offset:
            raise
        error.close()
        part.unlink()  # it holds the whole file, or more
        _download_rest(url, part)
        return
    with response, open(part, "r+b", opener=_open_no_link) as file:
        length = response.headers.get("Content-Length", "")
        if response.status == http.client.PARTIAL_CONTENT:
            found = response.headers.get("Content-Range", "")
            ends = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", found)
            if (
                not offset
                or not ends
                or int(ends[1]) != offset
                or ends[3] not in ("*", str(int(ends[2]) + 1))
            ):
                part.unlink()
                asked = f"bytes {offset}-" if offset else "the whole file"
                raise ConnectionError(f"asked for {asked}, got {found or 'a part'}")
            length = str(int(ends[2]) + 1 - offset)
            file.seek(offset)
        else:
            file.truncate(0)
        if length and not re.fullmatch("[0-9]{1,18}", length):
            raise ConnectionError(f"Content-Length is {length!r}, which is no number")
        n_bytes = _copy(response, file)
        if length and n_bytes < int(length):
            raise ConnectionError(f"interrupted after {n_bytes} of {length} bytes")


def _copy(response, file):
    """Copy an answer to a file; return its number of bytes."""
    n_bytes, n_before, begin = 0, 0, clock.monotonic()
    while chunk := response.read1(2**16):  # what has arrived, however little
        n_bytes += file.write(chunk)
        if file.tell() > LARGEST_DOWNLOAD:
            file.truncate(0)
            raise ConnectionError(f"more than {LARGEST_DOWNLOAD} bytes arrived")
        if (now := clock.monotonic()) - begin > TIMEOUT:
            rate = (n_bytes - n_before) / (now - begin)
            if rate < SLOWEST:
                raise TimeoutError(f"only {rate:.0f} bytes a second arrive")
            n_before, begin = n_bytes, now
    return n_bytes


def _open_no_link(path, flags):
    """Open a file, or make it if it is not there; do not follow a link."""
    return os.open(path, flags | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)


class _SafeRedirects(HTTPRedirectHandler):
    """Refuses redirects that leave an encrypted connection."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        """Return the request of a redirect."""
        if req.type == "https" and not newurl.lower().startswith("https:"):
            reason = f"it redirects to {newurl}, which is not encrypted"
            raise HTTPError(req.full_url, code, reason, headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(request):
    """Send a request; return the answer, once it has begun.

    In a thread, since a server that sends its first lines byte by byte could take for
    ever without that any byte takes long.
    """
    results = []

    def send():
        try:
            opener = build_opener(_SafeRedirects)
            results.append(opener.open(request, timeout=TIMEOUT))
        except Exception as error:
            results.append(error)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    thread.join(2 * TIMEOUT)
    if not results:
        raise TimeoutError("no answer")
    if isinstance(results[0], Exception):
        raise results[0]
    return results[0]
