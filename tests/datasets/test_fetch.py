"""Tests of load_ratings and fetch_movielens, over loopback alone."""

import contextlib
import gzip
import hashlib
import http.server
import io
import os
import re
import socket
import socketserver
import subprocess
import sys
import threading
import time
import zipfile
from unittest import mock
from urllib.error import HTTPError
from urllib.request import Request

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from sklearn_mf import ALSFactorizer
from sklearn_mf.datasets import _movielens, _text, fetch_movielens, load_ratings

# ------------------------------------------------------------------------ load_ratings

X = np.array([[1, 10], [1, 30], [22, 10]])
Y = np.array([4.0, 3.5, 0.5])
TIMES = np.array([964982703, 964981247, 847434962])


@pytest.fixture
def write(tmp_path):
    """Return a function that writes text or bytes to a file."""

    def write(text, name="ratings.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def lines(sep=",", header="userId,movieId,rating,timestamp", end="\n"):
    """Write the ratings above as text."""
    rows = [] if header is None else [header.replace(",", sep)]
    for (user, item), y, seconds in zip(X, Y, TIMES, strict=True):
        rows.append(sep.join([str(user), str(item), str(y), str(seconds)]))
    return "".join(row + end for row in rows)


def check(table, X=X, y=Y):
    assert_array_equal(table[0], X)
    assert_array_equal(table[1], y)
    assert table[0].dtype == np.asarray(X).dtype
    assert table[1].dtype == np.float64


@pytest.mark.parametrize("sep", [",", ";", "\t", "::"])
@pytest.mark.parametrize("header", ["userId,movieId,rating,timestamp", None])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n", "\r\n  \r\n"])
def test_separators_headers_and_line_ends(write, sep, header, end):
    text = lines(sep, header, end)
    check(load_ratings(write(text)))
    check(load_ratings(write(text.strip())))
    check(load_ratings(write("\n\r\n" + text), sep=sep, header=header is not None))
    *table, times = load_ratings(write(b"\xef\xbb\xbf" + text.encode()), time=3)
    check(table)
    assert_array_equal(times, TIMES)
    assert times.dtype == np.int64


def test_any_separator(write):
    for sep in ("|", " ", " - ", "ü"):
        check(load_ratings(write(lines(sep)), sep=sep))


def test_columns_by_name_or_position(write):
    text = "when,stars,,film,who\n5,4,x,10,1\n6,3.5,,30,1\n7,0.5,z,10,22\n"
    names = {"user": "who", "item": "film", "rating": "stars"}
    check(load_ratings(write(text), **names))
    check(load_ratings(write(text), user=4, item="film", rating=1, header=True))
    *_, times = load_ratings(write(text), **names, time="when")
    assert_array_equal(times, [5, 6, 7])


def test_header_that_reads_like_a_rating(write):
    text = "0,1,2\n1,10,4\n"
    check(load_ratings(write(text), header=True), [[1, 10]], [4])
    names = {"user": "0", "item": "1", "rating": "2"}
    check(load_ratings(write(text), **names, header=True), [[1, 10]], [4])
    check(load_ratings(write(text)), [[0, 1], [1, 10]], [2, 4])


def test_gzip(write):
    check(load_ratings(write(gzip.compress(lines().encode()), "ratings.csv.gz")))
    damaged = write(gzip.compress(lines().encode())[:-12], "damaged.gz")
    with pytest.raises(OSError, match=r"damaged\.gz: the compressed file is trunc"):
        load_ratings(damaged)


@pytest.mark.parametrize("start", ["", "1,2,3\n", '"'])
def test_a_line_without_end(write, monkeypatch, start):
    monkeypatch.setattr(_text, "BLOCK_SIZE", 1000)
    monkeypatch.setattr(_text, "LONGEST_LINE", 10**5)
    path = write(gzip.compress(start.encode() + bytes(10**6)), "ratings.csv.gz")
    with pytest.raises(ValueError, match="a line is longer than 100000") as error:
        load_ratings(path, sep=",")
    assert str(error.value).startswith(str(path))


def test_quotes(write):
    text = (
        'id;title;stars\n"1";"Smith; or ""A\nB""";"4.0"\n2;"x";3\n\n"3";"Smith";"5"\n'
    )
    table = load_ratings(write(text), user="id", item="title", rating="stars")
    expected = [[1, 'Smith; or "A\nB"'], [2, "x"], [3, "Smith"]]
    check(table, np.array(expected, dtype=object), [4, 3, 5])


def test_ids_are_kept(write):
    text = "1,007,4\n2,8,4\n1, b ,4\n"
    table = load_ratings(write(text))
    check(table, np.array([[1, "007"], [2, "8"], [1, "b"]], dtype=object), [4, 4, 4])
    assert [type(label) for label in table[0][0]] == [int, str]
    ALSFactorizer(n_factors=1, max_iter=1, tol=None).fit(*table).predict(table[0])
    large = 2**63 - 1
    table = load_ratings(write(f"{large},-5,1\n0,123456789012345678,2"))
    check(table, [[large, -5], [0, 123456789012345678]], [1, 2])
    table = load_ratings(write(f"{large + 1},1,1\n-0,1.0,2"))
    assert table[0].tolist() == [[str(large + 1), "1"], ["-0", "1.0"]]


def test_ids_that_are_no_utf8(write):
    text = "é,1,4\nü,2,5\n".encode("latin-1")
    assert load_ratings(write(text), encoding="latin-1")[0].tolist() == [
        ["é", 1],
        ["ü", 2],
    ]
    assert len(set(load_ratings(write(text))[0][:, 0])) == 2
    assert load_ratings(write("é,1,4\n"))[0].tolist() == [["é", 1]]


def test_blocks_of_all_kinds(write, monkeypatch):
    monkeypatch.setattr(_text, "BLOCK_SIZE", 64)
    rng = np.random.default_rng(0)
    users, items = rng.integers(0, 10**6, (2, 500))
    y = rng.integers(1, 11, 500) / 2
    plain = [f"{u},{i},{r}" for u, i, r in zip(users, items, y, strict=True)]
    expected = np.column_stack((users, items))
    check(load_ratings(write("\n".join(plain))), expected, y)
    # Odd lines late in the file turn the column to strings from its start.
    odd = [*plain, f'"a\n{"," * 100}",7,1e0']
    table = load_ratings(write("u,i,r\n" + "\n".join(odd)))
    assert table[0][:-1, 0].tolist() == [str(user) for user in users]
    assert table[0][:, 1].tolist() == [*items.tolist(), 7]
    assert_array_equal(table[1], [*y, 1])
    with pytest.raises(ValueError, match=r"line 501: .*number of columns is 2"):
        load_ratings(write("\n".join([*plain, "7,8"])))
    text = "\n" * 300 + "\n".join(plain)  # blocks of blank lines first
    check(load_ratings(write(text)), expected, y)
    with pytest.raises(ValueError, match=r"line 801: .*'x' is not a rating"):
        load_ratings(write(text + "\n1,2,x"))


def count_bytes(method):
    """Wrap a method of bytes so that it counts how many it scans or copies."""

    def counting(self, *args):
        result = method(self, *args)
        is_bytes = isinstance(result, bytes)
        CountedBytes.n_touched += max(len(self), len(result) if is_bytes else 0)
        return CountedBytes(result) if is_bytes else result

    return counting


class CountedBytes(bytes):
    """Bytes that count how many of them are scanned or copied, over all operations."""

    n_touched = 0
    __add__ = count_bytes(bytes.__add__)
    __radd__ = count_bytes(lambda self, other: bytes.__add__(other, self))
    __getitem__ = count_bytes(bytes.__getitem__)
    count = count_bytes(bytes.count)
    find = count_bytes(bytes.find)
    rfind = count_bytes(bytes.rfind)


@pytest.mark.parametrize("quote", ["", '"'])
def test_work_grows_linearly_with_the_length_of_a_line(monkeypatch, quote):
    monkeypatch.setattr(_text, "BLOCK_SIZE", 100)
    monkeypatch.setattr(CountedBytes, "n_touched", 0)
    line = quote + 40_000 * "7"
    source = io.BytesIO(line.encode())
    file = mock.Mock(read=lambda size: CountedBytes(source.read(size)))
    (block,) = _text._blocks(file, "text")
    assert block == line.encode() + b"\n"
    assert CountedBytes.n_touched < 10 * len(line)


@settings(deadline=None)
@given(st.lists(st.sampled_from(["\n", '"', ",", "7" * 3, "\r\n"])).map("".join))
def test_blocks_are_whole_lines(text):
    with mock.patch.object(_text, "BLOCK_SIZE", 4):
        blocks = list(_text._blocks(io.BytesIO(text.encode()), "text"))
    whole = text + "\n" * (not text.endswith("\n")) if text else ""
    assert b"".join(blocks) == whole.encode()
    assert all(block.endswith(b"\n") for block in blocks)
    for block in blocks[:-1]:
        assert block.count(b'"') % 2 == 0 or len(block) >= 16 * 4 - 8


ODD_FIELDS = ["007", "-0", "+1", "1.0", "1.", ".5", "1e3", "1e0", "-5", "0", "9" * 19]
ODD_FIELDS += ["1_0", "0x1f", "nan", "inf", "1e999", "#1", "1#", "٣", "é", "-", "--1"]
ODD_FIELDS += [" 7", "7 ", "\t7", "\x007", '"7"', '"7', "7\r", "\r7", "1:1", "1 1", ""]


def parse_both_ways(block, layout):
    """Parse a block as plain lines, and as any others or up to their error."""
    text, sep = _text.decode(block, layout.sep, layout.encoding)
    plain = _text._parse_plain(text, sep, layout)
    try:
        return plain, _text._parse_rows(text, sep, layout, 0, ({}, {}))
    except ValueError as error:
        return plain, error


def check_same(plain, general):
    for column, expected in zip(plain, general, strict=True):
        assert_array_equal(column, expected)
        assert column.dtype == expected.dtype
        assert (np.signbit(column) == np.signbit(expected)).all()


@pytest.mark.parametrize("sep", [",", "::", " ", "ü", "-", ".", "1", "e", "#"])
@pytest.mark.parametrize("column", range(5))
def test_odd_fields_are_read_as_by_csv_or_not_at_all(column, sep):
    layout = _text._Layout("text", sep, "utf-8", 5, (3, 0, 1, 4))
    for field in ODD_FIELDS:
        odd = ["6", "2", "2", "8", "5"]
        odd[column] = field
        for rows in ([odd], [["2", "3", "4", "5", "6"], odd]):
            block = "".join(sep.join(row) + "\n" for row in rows).encode()
            plain, general = parse_both_ways(block, layout)
            if plain is not None:
                assert not isinstance(general, ValueError), field
                check_same(plain, general)


numbers = st.one_of(
    st.integers(-(10**20), 10**20).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(str),
    st.decimals(-1000, 1000, places=3).map(str),
    st.from_regex(r"-?[0-9]{0,3}\.?[0-9]{1,3}", fullmatch=True),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(numbers, numbers, numbers, numbers), min_size=1))
def test_plain_lines_are_parsed_as_any_others(rows):
    block = "".join(",".join(row) + "\n" for row in rows).encode()
    layout = _text._Layout("text", ",", "utf-8", 4, (0, 1, 2, 3))
    plain, general = parse_both_ways(block, layout)
    assert_array_equal(general[2], [float(row[2]) for row in rows])
    if plain is not None:
        check_same(plain, general)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("sep", [",", "\t", "::", " - ", "·"])
def test_ratings_of_movielens_are_plain(sep, end):
    layout = _text._Layout("text", sep, "utf-8", 4, (0, 1, 2, 3))
    block = (lines(sep, None, end) + end).encode()
    plain, general = parse_both_ways(block, layout)
    assert plain is not None
    check_same(plain, general)
    assert_array_equal(plain[2], Y)


def test_numbers_with_underscores(write):
    """They are numbers to Python alone: labels as ids, an error elsewhere."""
    table = load_ratings(write("1_0,2,4\n10,3,5\n"))
    check(table, np.array([["1_0", 2], ["10", 3]], dtype=object), [4, 5])
    with pytest.raises(ValueError, match="line 1: '1_0' is not a rating"):
        load_ratings(write("1,2,1_0\n"), header=False)
    with pytest.raises(ValueError, match="line 2: '1_0' is not a time"):
        load_ratings(write("1,2,3,4\n1,2,3,1_0\n"), time=3)


def test_a_separator_with_a_line_feed_does_not_crash(write):
    """In a process of its own: compiled code once read past the end of the block."""
    path = write("1,\n2,\n3,\n" * 1000)
    code = f"from sklearn_mf.datasets import *\nload_ratings({str(path)!r}, sep=',\\n')"
    process = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert process.returncode == 1
    assert "ValueError: sep=',\\n' must be one character or more" in process.stderr


def test_times_with_decimals(write):
    *_, times = load_ratings(write("1,1,1,5\n1,2,1,6.5\n"), time=3)
    assert_array_equal(times, [5, 6.5])


@pytest.mark.parametrize(
    ("text", "params", "message"),
    [
        ("", {}, ": the file is empty"),
        ("\n  \n", {}, ": the file is empty"),
        ("u,i,r\n", {}, ": there is no rating after the header line"),
        ("u;i;r\n1;2;x\n", {}, ", line 2: 'x' is not a rating, which must"),
        ("1,2,3\n\n1,2,\n", {}, ", line 3: '' is not a rating"),
        ("1,2,3\n1,2,nan\n", {}, ", line 2: 'nan' is not a rating"),
        ("1,2,\n", {}, ", line 1: '' is not a rating"),
        ("1,2,3,x\n", {"time": 3}, ", line 1: 'x' is not a time"),
        ("1,2,3\n1, ,3\n", {}, ", line 2: an id is empty"),
        ("1,2,3\n1,2\n", {}, ", line 2: the number of columns is 2, but 3 in"),
        ("1,2,3\n1,2,3,4\n", {}, ", line 2: the number of columns is 4"),
        ("1,2,3\n1,2\rx,3\n", {}, ", line 2: new-line character"),
        ("1,2\n", {}, r", line 1: rating=2 is not one of the columns \['1', '2'\]"),
        ("\nu,i,r\n1,2,3\n", {"user": "x"}, ", line 2: user='x' is not one of the"),
        ("u,u,r\n1,2,3\n", {"user": "u"}, ", line 1: user='u' is not one of the"),
        ("1,2,3\n", {"user": "u", "header": False}, "is a name, but header=False"),
        ("1,2,3\n", {"user": "1", "item": 1}, "a name, but there is no header line"),
        ("u,i,r\n1,2,3\n", {"item": "u"}, "'rating=2|must be different columns"),
        ("1 2 3\n", {}, ", line 1: '1 2 3' has none of the separators '::', "),
        ('1,2,3\n1,"2,3\n', {}, ", line 2: unexpected end of data"),
        ("1,2,3".encode("utf-16"), {}, " is UTF-16 text: save it as UTF-8"),
    ],
)
def test_errors_name_file_line_and_remedy(write, text, params, message):
    path = write(text)
    with pytest.raises(ValueError, match=message) as error:
        load_ratings(path, **params)
    assert str(error.value).startswith(str(path))


def test_errors_of_parameters(write, tmp_path):
    with pytest.raises(OSError, match=r"nothing\.csv"):
        load_ratings(tmp_path / "nothing.csv")
    for sep in ("", '"', '","', "\n", "\r\n", ",\n"):
        with pytest.raises(ValueError, match="must be one character or more") as error:
            load_ratings(write(lines()), sep=sep)
        assert f"sep={sep!r}" in str(error.value)
    for encoding in ("nope", "", "ut\0f", "hex", "utf-16", "cp037", "utf-7", "idna"):
        with pytest.raises(ValueError, match="name of an encoding") as error:
            load_ratings(write(lines()), encoding=encoding)
        assert f"encoding={encoding!r}" in str(error.value)
    for encoding in ("UTF8", "utf-8-sig", "shift_jis", "gb18030", "cp1252", "koi8-r"):
        check(load_ratings(write(lines()), encoding=encoding))
    for sep in ("\0", "\x1f", "\v", "\u2028", "\x85", "\0\0"):
        check(load_ratings(write(lines(sep)), sep=sep))
    with pytest.raises(ValueError, match="sep="):
        load_ratings(write(lines()), sep="\ud800")
    for name in ("user", "item", "rating", "time"):
        for value in ("", "\0", "é" * 1000):
            with pytest.raises(ValueError, match=f"{name}="):
                load_ratings(write(lines()), **{name: value})
        for value in (-1, 10**400, 0.5, b"u", [0]):
            with pytest.raises(ValueError, match=f"'{name}' parameter of load_rat"):
                load_ratings(write(lines()), **{name: value})
    with pytest.raises(ValueError, match="none of the separators") as error:
        load_ratings(write("x" * 10**5))
    assert len(str(error.value)) < 1000
    with pytest.raises(ValueError, match="'user' parameter of load_ratings"):
        load_ratings(write(lines()), user=-1)


# --------------------------------------------------------------------- fetch_movielens

TITLES = {10: "Misérables, Les (1995)", 30: 'A "B" | C', 40: "Never rated (2000)"}
VARIANTS = sorted(_movielens._VARIANTS)


def make_archive(name):
    """Make an archive as GroupLens does, with the ratings above."""
    variant = _movielens._VARIANTS[name]
    header = "userId,movieId,rating,timestamp" if variant.sep == "," else None
    rows = []
    for item, title in TITLES.items():
        if variant.item_sep == ",":
            quoted = title.replace('"', '""')
            rows.append(f'{item},"{quoted}",Drama|War')
        elif variant.item_sep == "|":
            rows.append(f"{item}|{title.replace('|', '/')}|01-Jan-1995||http://x|0|1")
        else:
            rows.append(f"{item}::{title}::Drama|War")
    if variant.item_sep == ",":
        rows.insert(0, "movieId,title,genres")
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(variant.ratings, lines(variant.sep, header))
        archive.writestr(
            variant.items, ("\n".join(rows) + "\n\n").encode(variant.encoding)
        )
        noise = np.random.default_rng(0).bytes(200_000)
        archive.writestr("noise", noise)  # for downloads to break off in
    return file.getvalue()


class Server(http.server.ThreadingHTTPServer):
    """A server that asks no name server what its own address is called."""

    def server_bind(self):
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.files`; breaks off the first `server.n_breaks` answers."""

    timeout = 30  # seconds that a request may take to arrive, or an answer to leave

    def do_GET(self):
        server, asked = self.server, self.headers.get("Range")
        server.requests.append((self.path, asked))
        body = server.files.get(self.path.strip("/"))
        if body is None:
            self.send_error(404)
            return
        start = 0
        if server.answer:
            server.answer(self, body)
            return
        if asked and server.has_ranges:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
            if start >= len(body):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/*")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        if server.n_breaks > 0:
            server.n_breaks -= 1
            body = body[: start + 70_000]
        self.wfile.write(body[start:])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    """Run a server in place of that of GroupLens, without checksums."""
    with Server(("127.0.0.1", 0), Handler) as server:
        server.files = {f"ml-{name}.zip": make_archive(name) for name in VARIANTS}
        server.requests, server.n_breaks, server.has_ranges = [], 0, True
        server.answer = None  # in place of the usual one
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setattr(
            _movielens, "MOVIELENS_URL", f"http://127.0.0.1:{server.server_port}/"
        )
        variants = {k: v._replace(sha256=None) for k, v in _movielens._VARIANTS.items()}
        monkeypatch.setattr(_movielens, "_VARIANTS", variants)
        monkeypatch.setattr(_movielens, "TIMEOUT", 30)
        thread = threading.Thread(
            target=server.serve_forever, args=(0.01,), daemon=True
        )
        thread.start()
        yield server
        # In a thread, since shutdown() waits without limit.
        threading.Thread(target=server.shutdown, daemon=True).start()
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture
def fetch(tmp_path):
    """Return fetch_movielens with a folder of its own, in arrays and without delay."""

    def fetch(variant="latest-small", **params):
        params = {"as_frame": False, "delay": 0, **params}
        return fetch_movielens(variant, data_home=tmp_path, **params)

    fetch.folder = tmp_path / "movielens"
    return fetch


@pytest.mark.parametrize("name", VARIANTS)
def test_formats_and_cache(server, fetch, name):
    for _ in range(2):
        movielens = fetch(name)
        check((movielens.data, movielens.target))
        assert_array_equal(movielens.timestamps, TIMES)
        assert movielens.timestamps.dtype == np.int64
        titles = TITLES
        if name == "100k":
            titles = {k: title.replace("|", "/") for k, title in TITLES.items()}
        assert movielens.titles == titles
        assert movielens.frame is None
        assert movielens.feature_names == ["user", "item"]
        assert movielens.target_names == ["rating"]
    assert server.requests == [(f"/ml-{name}.zip", None)]
    assert [path.name for path in fetch.folder.iterdir()] == [f"ml-{name}.zip"]
    fetch(name, download_if_missing=False)


@pytest.mark.parametrize("name", VARIANTS)
def test_description(server, fetch, name):
    text = fetch(name).DESCR
    title, line, blank = text.splitlines()[:3]
    assert (title, line, blank) == (f"MovieLens {name}", "=" * len(title), "")
    assert "3 ratings of 2 films by 2 users" in text
    assert "0.5 to\n4 stars" in text
    assert f"ml-{name}-README" in text
    assert "cite the paper below" in text
    is_forbidden = name not in ("latest-small", "32m")
    assert ("must not be redistributed" in text) == is_forbidden
    assert max(map(len, text.splitlines())) <= 100


def test_frames(server, fetch, monkeypatch):
    for as_frame in (True, "auto"):
        movielens = fetch(as_frame=as_frame)
        frame = pd.DataFrame(X, columns=["user", "item"])
        pd.testing.assert_frame_equal(movielens.data, frame)
        frame["rating"], frame["timestamp"] = Y, TIMES
        pd.testing.assert_frame_equal(movielens.frame, frame)
        pd.testing.assert_series_equal(movielens.target, frame["rating"])
        pd.testing.assert_series_equal(movielens.timestamps, frame["timestamp"])
    data, target = fetch(as_frame=True, return_X_y=True)
    assert isinstance(data, pd.DataFrame)
    assert isinstance(target, pd.Series)
    check(fetch(return_X_y=True))
    monkeypatch.setattr(_movielens.importlib.util, "find_spec", lambda name: None)
    check(fetch(as_frame="auto", return_X_y=True))


def test_not_to_be_downloaded(server, fetch):
    with pytest.raises(OSError, match="`download_if_missing` is False"):
        fetch(download_if_missing=False)
    assert server.requests == []
    assert not fetch.folder.exists()


@pytest.mark.parametrize("has_ranges", [True, False])
def test_broken_download_is_taken_up(server, fetch, has_ranges):
    server.n_breaks, server.has_ranges = 2, has_ranges
    check(fetch("1m", return_X_y=True))
    assert server.requests == [
        ("/ml-1m.zip", None),
        ("/ml-1m.zip", "bytes=70000-"),
        ("/ml-1m.zip", f"bytes={140_000 if has_ranges else 70_000}-"),
    ]
    archive = (fetch.folder / "ml-1m.zip").read_bytes()
    assert archive == server.files["ml-1m.zip"]


def test_broken_download_is_taken_up_by_the_next_call(server, fetch):
    server.n_breaks = 1
    with pytest.raises(OSError, match=r"ml-1m\.zip could not be .* 70000 of .*again"):
        fetch("1m", n_retries=0)
    assert not (fetch.folder / "ml-1m.zip").exists()
    check(fetch("1m", return_X_y=True))
    assert [asked for _, asked in server.requests] == [None, "bytes=70000-"]
    assert [path.name for path in fetch.folder.iterdir()] == ["ml-1m.zip"]


def test_part_that_is_whole_already(server, fetch):
    fetch.folder.mkdir()
    part = fetch.folder / "ml-1m.zip.part"
    part.write_bytes(server.files["ml-1m.zip"])
    check(fetch("1m", return_X_y=True))
    assert len(server.requests) == 2


def test_truncated_archive(server, fetch):
    fetch.folder.mkdir()
    path = fetch.folder / "ml-1m.zip"
    path.write_bytes(server.files["ml-1m.zip"][:-100])
    with pytest.raises(OSError, match=r"been deleted: .* again") as error:
        fetch("1m")
    assert str(path) in str(error.value)
    assert not path.exists()
    assert server.requests == []
    check(fetch("1m", return_X_y=True))


def test_flipped_bit(server, fetch):
    damaged = bytearray(server.files["ml-1m.zip"])
    damaged[60] ^= 1
    server.files["ml-1m.zip"] = bytes(damaged)
    with pytest.raises(OSError, match="was damaged and has been deleted"):
        fetch("1m")
    assert list(fetch.folder.iterdir()) == []


def test_archive_without_its_files(server, fetch):
    server.files["ml-1m.zip"] = server.files["ml-25m.zip"]
    with pytest.raises(OSError, match=r"no item named 'ml-1m/ratings\.dat'"):
        fetch("1m")


def test_checksum(server, fetch):
    sha256 = hashlib.sha256(server.files["ml-1m.zip"]).hexdigest()
    variant = _movielens._VARIANTS["1m"]
    _movielens._VARIANTS["1m"] = variant._replace(sha256=sha256)
    fetch("1m")
    _movielens._VARIANTS["1m"] = variant._replace(sha256="0" * 64)
    with pytest.raises(OSError, match=f"its SHA256 is {sha256}, not 0000"):
        fetch("1m")
    assert list(fetch.folder.iterdir()) == []


def test_checksums_are_those_of_sha256():
    assert [k for k, v in _movielens._VARIANTS.items() if v.sha256 is None] == [
        "latest-small"
    ]
    for variant in _movielens._VARIANTS.values():
        assert variant.sha256 is None or re.fullmatch("[0-9a-f]{64}", variant.sha256)


def test_no_network(fetch, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    # The socket stays bound, so that no other test's server is given its port.
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/"
        monkeypatch.setattr(_movielens, "MOVIELENS_URL", url)
        with pytest.raises(OSError, match=r"not be downloaded: .*save it as") as error:
            fetch("1m")
    assert url in str(error.value)
    assert list(fetch.folder.iterdir()) == []


def test_404_is_not_tried_again(server, fetch):
    del server.files["ml-1m.zip"]
    with pytest.raises(OSError, match="could not be downloaded: HTTP Error 404"):
        fetch("1m")
    assert len(server.requests) == 1
    assert list(fetch.folder.iterdir()) == []


def test_unknown_variant(fetch):
    with pytest.raises(ValueError, match="'variant' parameter of fetch_movielens"):
        fetch("20m")


def rewrite(archive, text):
    """Return an archive of "latest-small" with other ratings in it."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            is_table = name.endswith("ratings.csv")
            new.writestr(name, text if is_table else old.read(name))
    return file.getvalue()


@pytest.mark.parametrize(
    "row",
    [
        *("a,1,4,5", "1,a,4,5", "-1,1,4,5", "1,-1,4,5", "1,1000000000000,4,5"),
        *("007,1,4,5", f"{10**30},1,4,5", "1,1,4,5.5", "1,1,x,5", "1,1,4"),
        "1,1,4,1e30",
    ],
)
def test_ids_that_are_none_of_grouplens(server, fetch, row):
    text = f"userId,movieId,rating,timestamp\n1,2,3,4\n{row}\n"
    name = "ml-latest-small.zip"
    server.files[name] = rewrite(server.files[name], text)
    with pytest.raises(OSError, match=r"damaged and has been deleted: .*ratings\.csv"):
        fetch()
    assert list(fetch.folder.iterdir()) == []


def test_archive_that_unpacks_to_too_much(server, fetch, monkeypatch):
    monkeypatch.setattr(_movielens, "LARGEST_FILE", 20)
    with pytest.raises(OSError, match=r"deleted: .* is said to unpack to"):
        fetch()
    assert list(fetch.folder.iterdir()) == []


def answer_with(status, body=None, **headers):
    """Return an answer with headers of its own."""

    def answer(handler, whole):
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(whole if body is None else body)

    return answer


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (answer_with(206, Content_Range="bytes 0-9/100"), "asked for the whole file"),
        (answer_with(206), "asked for the whole file, got a part"),
        (answer_with(200, Content_Length="abc"), "Content-Length is 'abc'"),
        (answer_with(200, Content_Length="-5"), "Content-Length is '-5'"),
        (answer_with(200, b"x", Content_Length="9" * 30), "Content-Length is '999"),
        (answer_with(302, Location="file:///etc/passwd"), "HTTP Error 302"),
    ],
)
def test_odd_answers(server, fetch, answer, message):
    server.answer = answer
    with pytest.raises(OSError, match=f"could not be downloaded: .*{message}"):
        fetch("1m")
    assert not (fetch.folder / "ml-1m.zip").exists()
    server.answer = None
    check(fetch("1m", return_X_y=True))


@pytest.mark.parametrize("ends", ["1-9/10", "70000-80000/90000", "x", ""])
def test_another_part_than_asked_for(server, fetch, ends):
    server.n_breaks = 1
    with pytest.raises(OSError, match="70000 of"):
        fetch("1m", n_retries=0)
    server.answer = answer_with(206, Content_Range=f"bytes {ends}")
    with pytest.raises(OSError, match="asked for bytes 70000-, got bytes"):
        fetch("1m", n_retries=0)
    assert list(fetch.folder.iterdir()) == []


def test_no_end(server, fetch, monkeypatch):
    monkeypatch.setattr(_movielens, "LARGEST_DOWNLOAD", 100_000)
    with pytest.raises(OSError, match="more than 100000 bytes arrived"):
        fetch("1m", n_retries=0)


@pytest.mark.parametrize("in_headers", [True, False])
def test_server_that_drips(server, fetch, monkeypatch, in_headers):
    """No single byte takes long, but all of them would take for ever."""
    monkeypatch.setattr(_movielens, "TIMEOUT", 0.3)

    def drip(handler, whole):
        if not in_headers:
            handler.send_response(200)
            handler.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(200):
                handler.wfile.write(b"x")
                time.sleep(0.05)

    server.answer = drip
    with pytest.raises(OSError, match=r"no answer|timed out|only \d+ bytes a second"):
        fetch("1m", n_retries=0)


def test_encryption_is_not_given_up():
    handler = _movielens._SafeRedirects()
    request = Request("https://x/a.zip")
    with pytest.raises(HTTPError, match="redirects to http://x/b, which is not"):
        handler.redirect_request(request, None, 302, "", {}, "http://x/b")
    new = handler.redirect_request(request, None, 302, "", {}, "https://x/b")
    assert new.full_url == "https://x/b"


@pytest.mark.skipif(sys.platform == "win32", reason="links of POSIX")
def test_a_link_in_place_of_the_part_is_not_followed(server, fetch, tmp_path):
    fetch.folder.mkdir()
    mine = tmp_path / "mine"
    mine.write_text("precious")
    part = fetch.folder / "ml-1m.zip.part"
    part.symlink_to(mine)
    with pytest.raises(OSError, match="symbolic links"):
        _movielens._open_no_link(part, os.O_RDWR)
    check(fetch("1m", return_X_y=True))
    assert mine.read_text() == "precious"
    assert [path.name for path in fetch.folder.iterdir()] == ["ml-1m.zip"]
    assert not (fetch.folder / "ml-1m.zip").is_symlink()
