"""Files that nobody wrote as they are: each is read rightly, or refused by its name.

All cases follow from a seed. A test ends after some seconds, or after minutes where the
environment variable SKLEARN_MF_LONG_TESTS is 1; it prints what it tried and how often.
"""

import copy
import csv
import gzip
import io
import json
import math
import os
import random
import signal
import sys
import time
import warnings
import zipfile
from collections import Counter
from contextlib import contextmanager
from unittest import mock

import numpy as np
import pytest
from numpy.lib import format as npy
from numpy.testing import assert_array_equal

from sklearn_mf import load
from sklearn_mf.datasets import _movielens, _text, fetch_movielens, load_ratings
from tests.assertions import assert_same_model
from tests.contract.models import FAMILIES, X, Y, in_turn
from tests.files.helpers import als, objects
from tests.strategies import sparse_table

IS_LONG = os.environ.get("SKLEARN_MF_LONG_TESTS") == "1"
SECONDS = 75 if IS_LONG else 2  # of a test
SLOWEST = 20  # seconds that a single file may take
LARGEST = 2**28  # bytes by which memory may grow


def each_case():
    """Yield sources of random numbers until the time is up; 20 in any case."""
    end = time.monotonic() + SECONDS
    seed = 0
    while seed < 20 or time.monotonic() < end:
        yield random.Random(seed)
        seed += 1


@contextmanager
def bounded():
    """Fail if the block warns, takes long or takes much memory."""

    def fail(*_):
        raise AssertionError(f"a file takes more than {SLOWEST} seconds")

    has_alarm = hasattr(signal, "SIGALRM")
    before = peak_memory()
    if has_alarm:
        old = signal.signal(signal.SIGALRM, fail)
        signal.alarm(SLOWEST)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield
    finally:
        if has_alarm:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, old)
    assert peak_memory() - before < LARGEST


def peak_memory():
    """Return the largest number of bytes that this process has had in memory."""
    if sys.platform == "win32":
        return 0
    import resource

    unit = 1 if sys.platform == "darwin" else 2**10
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def read_or_refuse(read, path, kinds=(ValueError, OSError)):
    """Return what a file is read as, or None if it is refused by its name."""
    with bounded():
        try:
            return read(path)
        except kinds as error:
            message = str(error)
    assert str(path) in message
    return None


def report(name, tried):
    total = sum(tried.values())
    print(f"\n{name}: {total} files")
    for (what, fate), count in sorted(tried.items()):
        print(f"  {what:30} {fate:10} {count}")


# ---------------------------------------------------------------------- bytes of a file


def flip_bytes(rng, data):
    damaged = bytearray(data)
    tail = max(0, len(data) - 1500)  # the directory of a ZIP is there
    for _ in range(rng.choice([1, 1, 1, 2, 10])):
        at = rng.randrange(rng.choice([0, tail]), len(data))
        damaged[at] ^= rng.randrange(1, 256)
    return bytes(damaged)


def truncate(rng, data):
    return data[: rng.randrange(len(data))]


def cut_out(rng, data):
    start, stop = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    return data[:start] + rng.randbytes(rng.choice([0, 1, 30])) + data[stop:]


def append(rng, data):
    return data + rng.choice([rng.randbytes(30), data, bytes(10**5)])


def random_bytes(rng, data):
    return rng.choice([b"", data[:4], b"\x1f\x8b", b"PK\5\6"]) + rng.randbytes(200)


DAMAGE = flip_bytes, truncate, cut_out, append, random_bytes


# ------------------------------------------------------------------------------- models


def read_zip(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_zip(members, compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def edit_members(change):
    """Make a change of the members of a ZIP one of the file, with right checksums."""

    def edit(rng, data):
        members = read_zip(data)
        change(rng, members)
        return write_zip(members)

    edit.__name__ = change.__name__
    return edit


@edit_members
def swap_members(rng, members):
    one, other = rng.choices(list(members), k=2)
    members[one], members[other] = members[other], members[one]


@edit_members
def drop_member(rng, members):
    del members[rng.choice(list(members))]


@edit_members
def damage_member(rng, members):
    name = rng.choice(list(members))
    members[name] = rng.choice(DAMAGE)(rng, members[name])


SIZES = 0, 1, 2, 3, 20, 30, 10**6, 2**31, 2**62, 2**63, 2**64, 10**18, 10**19, -1
DTYPES = "<f8", "<f4", "<i8", "<i4", "<U0", "<U5", "|S0", "|O", "<M8[D]", "<c16"
DTYPES += ("|V0", ">f8", "|b1", "<M8[7D]", "<U2000000000", "f8,f8", "<M8")


@edit_members
def lie_in_header(rng, members):
    name = rng.choice(list(members))
    shape = tuple(rng.choice(SIZES) for _ in range(rng.choice([0, 1, 1, 2, 2, 3, 40])))
    header = rng.choice([repr(shape), "(" * 9000, "-" * 9000 + "1", "(1is 1,)"])
    is_fortran = rng.choice([True, False])
    text = f"{{'descr': {rng.choice(DTYPES)!r}, 'fortran_order': {is_fortran}, "
    text = (text + f"'shape': {header}, }}\n").encode()
    length = len(text).to_bytes(2, "little")
    content = rng.choice([b"", members[name][128:]])
    members[name] = npy.magic(1, 0) + length + text + content


@edit_members
def change_values(rng, members):
    """Write other values into an array, of the same shape and dtype."""
    name = rng.choice([name for name in members if name != "model.npy"])
    start = 10 + int.from_bytes(members[name][8:10], "little")
    values = bytearray(members[name])
    for _ in range(rng.choice([1, 3])):
        if len(values) - start >= 8:
            at = start + 4 * rng.randrange((len(values) - start - 4) // 4)
            odd = [np.nan, np.inf, -1.0, 1e300, 0.0]
            new = rng.choice([rng.randbytes(8), np.float64(rng.choice(odd)).tobytes()])
            values[at : at + 8] = new
    members[name] = bytes(values[: len(members[name])])


VALUES = [None, True, -1, 0, 1, 2**31, 2**64, 10**400, 0.5, -1.0, math.nan, math.inf]
VALUES += ["", "a", "\udc80", "sgd", "users_", [], [1], [[]], {}, {"array": "users_"}]
VALUES += [{"array": "model"}, {"array": "../x"}, {"tuple": [1, 2]}, {"dict": {}}]
VALUES += [{"objects": []}, {"objects": [1, "a"]}, {"a": 1, "b": 2}, {"pickle": ""}]
VALUES += [{"array": []}, {"tuple": 3}, {"dict": []}, {"objects": 1}, {"array": None}]


def places(value):
    """Yield all containers of JSON with a key of theirs."""
    keys = value if isinstance(value, dict) else range(len(value))
    for key in keys:
        yield value, key
        if isinstance(value[key], dict | list):
            yield from places(value[key])


@edit_members
def edit_json(rng, members):
    content = json.loads(npy.read_array(io.BytesIO(members["model.npy"])).item())
    for _ in range(rng.choice([1, 1, 2])):
        container, key = rng.choice(list(places(content)))
        value = copy.deepcopy(rng.choice(VALUES))
        action = rng.choice(["set", "set", "drop", "add"])
        if action == "drop" and isinstance(container, dict):
            del container[key]
        elif action == "add" and isinstance(container, dict):
            container[rng.choice(["extra_", "fit", "__class__", "a b_", ""])] = value
        else:
            container[key] = value
    text = json.dumps(content)
    text = rng.choice([text, text, text, text * 2, "[" * 10**5, '{"a":' * 10**5])
    file = io.BytesIO()
    npy.write_array(file, np.array(text.encode()), version=(1, 0))
    members["model.npy"] = file.getvalue()


def compress(rng, data):
    members = read_zip(data)
    for name in rng.choices(list(members), k=2):
        members[name] += bytes(10**7)
    return write_zip(members, rng.choice([zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA]))


EDITS = (
    *DAMAGE,
    swap_members,
    drop_member,
    damage_member,
    lie_in_header,
    change_values,
    edit_json,
    edit_json,
    compress,
)


def texts(table):
    """Return a table whose ids are text."""
    return objects([f"ü{id_}" for id_ in table.ravel()]).reshape(table.shape)


@pytest.mark.compiled
@in_turn("make_ids", [np.asarray, texts])
def test_models(make_ids, tmp_path):
    table = make_ids(X)
    path = tmp_path / "model.npz"
    models = []
    for family in FAMILIES:
        model = family().fit(table, family.y())
        model.save(path)
        models.append((model, path.read_bytes()))
    features = sparse_table((20, 6), 0.3, np.random.default_rng(0))
    als(item_features=(make_ids(np.arange(20)), features)).fit(table, Y).save(path)
    models += 2 * [(load(path), path.read_bytes())]
    tried = Counter()
    for rng in each_case():
        model, data = rng.choice(models)
        edit = rng.choice(EDITS)
        path.write_bytes(edit(rng, data))
        loaded = read_or_refuse(load, path, ValueError)
        tried[edit.__name__, "read" if loaded else "refused"] += 1
        if loaded is None:
            continue
        if edit in DAMAGE:
            assert_same_model(model, loaded)
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                assert loaded.predict(table).shape == (len(table),)
                loaded.recommend(table[:3, 0], 2)
            except ValueError as error:  # the model may be of other ids or columns
                tried["of those, other ids", "read"] += bool(str(error))
    report(f"models, ids {make_ids.__name__}", tried)
    assert len(tried) > 5


# ----------------------------------------------------------------------- tables of text

FIELDS = ["1", "2", "22", "007", "-0", "+1", "1.0", ".5", "1e3", "1e999", "nan", "inf"]
FIELDS += ["1_0", "0x1f", "é", "٣", "#", "", " ", " 7 ", "\0", "\ufeff", "\r", "\x1f"]
FIELDS += ["\x85", "\u2028", '"7"', '"a,b"', '"a\nb"', '"a""b"', '"', '1"2']
FIELDS += ["9" * 18, "9" * 19, "9" * 5000, "7" * 200_000]
ENDS = ["\n"] * 10 + ["\r\n", "\r", "\n\n", "\n\r\n  \n", ""]


def random_table(rng):
    """Return a table as text: for the most part plain, in part odd."""
    odd = rng.choice([0, 0.002, 0.02, 0.3])
    end = rng.choice(ENDS[-6:-1])
    parts = []
    for _ in range(rng.randrange(1, 60)):
        row = [str(rng.randrange(1000)) for _ in range(3)]
        for k in range(3):
            if rng.random() < odd:
                row[k] = rng.choice(FIELDS)
        if rng.random() < odd / 3:
            row = rng.choices(row, k=rng.randrange(5))
        parts.append(",".join(row))
        parts.append(rng.choice(ENDS) if rng.random() < odd else end)
    return "".join(parts)


def read_slowly(data):
    """Read a table without a header by the module csv alone; None if it is faulty."""
    text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    try:
        rows = list(csv.reader(io.StringIO(text, newline="\n"), strict=True))
    except csv.Error:
        return None
    rows = [[field.strip() for field in row] for row in rows]
    rows = [row for row in rows if row not in ([], [""])]
    if not rows or len(rows[0]) < 3 or len(set(map(len, rows))) > 1:
        return None
    ids, ratings = [row[:2] for row in rows], [row[2] for row in rows]
    if any("" in pair for pair in ids) or any("_" in rating for rating in ratings):
        return None
    try:
        y = np.array(list(map(float, ratings)))
    except ValueError:
        return None
    return (ids, y) if np.isfinite(y).all() else None


def is_whole(text):
    """Tell if text is a whole number of 64 bits, written as Python writes it."""
    try:
        return -(2**63) <= int(text) < 2**63 and str(int(text)) == text
    except ValueError:
        return False


def check_table(table, expected):
    (read, y), (ids, ratings) = table, expected
    assert_array_equal(y, ratings)
    for column, labels in zip(read.T, zip(*ids, strict=True), strict=True):
        are_whole = all(map(is_whole, labels))
        assert column.tolist() == [int(x) if are_whole else x for x in labels]


def test_tables_of_text(tmp_path):
    tried = Counter()
    path = tmp_path / "ratings.csv"
    for rng in each_case():
        data = random_table(rng).encode("utf-8", "surrogatepass")
        damage = rng.choice([None, None, *DAMAGE])
        if damage and data:
            data = damage(rng, data)
        if rng.random() < 0.1:
            data = b"\xef\xbb\xbf" + data
        zipped = rng.random() < 0.1
        path.write_bytes(gzip.compress(data) if zipped else data)
        size = rng.choice([_text.BLOCK_SIZE, 2**15])
        with mock.patch.object(_text, "BLOCK_SIZE", size):
            table = read_or_refuse(
                lambda path: load_ratings(path, sep=",", header=False), path
            )
        is_text = not data.startswith((b"\xff\xfe", b"\xfe\xff", b"\x1f\x8b"))
        expected = read_slowly(data) if is_text else None
        assert (table is None) == (expected is None), (rng, data[:1000], table)
        name = damage.__name__ if damage else "as written"
        tried[name, "refused" if table is None else "read"] += 1
        if table is not None:
            check_table(table, expected)

        # Whatever the options, it is a table or an error that names the file.
        options = {
            "sep": rng.choice([None, ",", ";", "::", "\t", "\0", "\x1f", " ", "7"]),
            "header": rng.choice([True, False, "auto"]),
            "encoding": rng.choice(["utf-8", "latin-1", "shift_jis", "cp1252"]),
            "time": rng.choice([None, 3, "1"]),
            "user": rng.choice([0, 1, 2, "1"]),
        }
        if zipped and data:
            path.write_bytes(rng.choice(DAMAGE)(rng, path.read_bytes()))
        read_or_refuse(lambda path, o=options: load_ratings(path, **o), path)
        tried["with other options", "read or not"] += 1
    report("tables of text", tried)
    assert len(tried) > 5


# ---------------------------------------------------------------------------- MovieLens


def test_archives_of_movielens(tmp_path):
    names = _movielens._VARIANTS["latest-small"]
    ratings = "userId,movieId,rating,timestamp\n1,10,4.0,5\n1,30,3.5,6\n22,10,0.5,7\n"
    titles = (
        'movieId,title,genres\n10,"Misérables, Les (1995)",Drama\n30,"A ""B""",War\n'
    )
    members = {names.ratings: ratings, names.items: titles}
    kinds = {
        kind: write_zip(members, kind)
        for kind in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    }
    path = tmp_path / "movielens" / "ml-latest-small.zip"
    path.parent.mkdir()
    path.write_bytes(kinds[zipfile.ZIP_STORED])

    def fetch(path=path):
        return fetch_movielens(
            data_home=tmp_path, download_if_missing=False, as_frame=False
        )

    whole, tried = fetch(), Counter()

    @edit_members
    def other_table(rng, members):
        table = random_table(rng).replace("\n", ",5\n")
        head = rng.choice(["", "userId,movieId,rating,timestamp\n"])
        members[names.ratings] = (head + table).encode("utf-8", "surrogatepass")

    def bomb(rng, data):
        members = read_zip(data)
        byte = rng.choice([b"\0", b"1", b"\n", b'"', b","])
        name = rng.choice(list(members))
        members[name] += byte * rng.choice([10**6, 10**7, 2**27])
        return write_zip(members, zipfile.ZIP_DEFLATED)

    edits = (*DAMAGE, swap_members, drop_member, damage_member, other_table)
    for rng in each_case():
        edit = bomb if rng.random() < 0.01 else rng.choice(edits)
        path.write_bytes(edit(rng, rng.choice(list(kinds.values()))))
        found = read_or_refuse(fetch, path, OSError)
        tried[edit.__name__, "refused" if found is None else "read"] += 1
        assert path.exists() == (found is not None)
        if found is not None and edit in DAMAGE:
            assert_array_equal(found.data, whole.data)
            assert_array_equal(found.target, whole.target)
            assert found.titles == whole.titles
    report("archives of MovieLens", tried)
    assert len(tried) > 5


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="needs signals of POSIX")
def test_what_takes_long_is_noticed():
    with (
        mock.patch.dict(globals(), SLOWEST=1),
        pytest.raises(AssertionError, match="takes more than"),
        bounded(),
    ):
        time.sleep(5)
