"""Files of events: read completely, in bounded memory, and with each fault reported by its line."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import os
import random
import string
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace import files
from headrace.definition import Field, FieldType, StreamDefinition
from headrace.engine.events import StreamCodec
from headrace.errors import InvalidEvent, InvalidRequest
from headrace.files import Rows

STREAM = StreamDefinition(
    name="departed",
    fields=(
        Field("flight", FieldType.STRING),
        Field("at", FieldType.TIME),
        Field("tail", FieldType.STRING, optional=True),
        Field("delay", FieldType.FLOAT),
        Field("gust", FieldType.FLOAT, optional=True),
        Field("seats", FieldType.INT, optional=True),
        Field("night", FieldType.BOOL, optional=True),
    ),
    key="tail",
    time="at",
    id="flight",
    lateness=0,
    horizon=0,
    time_format="us",
)
NAMES = [field.name for field in STREAM.fields]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
GOOD = {"flight": "UA1", "at": 1_000, "tail": None, "delay": 1.5, "gust": None, "seats": None, "night": None}

text = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=6)
finite = st.floats(allow_nan=False, allow_infinity=False)
rows = st.lists(
    st.fixed_dictionaries(
        {
            "flight": text.filter(bool),
            "at": st.integers(0, 2**50),
            "tail": st.none() | text.filter(bool),
            "delay": finite,
            "gust": st.none() | finite,
            "seats": st.none() | st.integers(-(2**63), 2**63 - 1),
            "night": st.none() | st.booleans(),
        }
    ),
    max_size=7,
)


def as_csv(events: list[dict[str, Any]]) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, NAMES)
    writer.writeheader()
    for event in events:
        cells = {name: "" if value is None else value for name, value in event.items()}
        # Both forms of a time: a number, and ISO 8601.
        cells["at"] = event["at"] if event["at"] % 2 else (EPOCH + timedelta(microseconds=event["at"])).isoformat()
        writer.writerow(cells)
    return out.getvalue().encode()


def as_json_lines(events: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


def as_parquet(events: list[dict[str, Any]]) -> bytes:
    kinds = [pa.string(), pa.timestamp("us", "UTC"), pa.string(), pa.float64(), pa.float64(), pa.int64(), pa.bool_()]
    columns = {name: pa.array([event[name] for event in events], kind) for name, kind in zip(NAMES, kinds, strict=True)}
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


WRITERS: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
    "csv": as_csv,
    "jsonl": as_json_lines,
    "parquet": as_parquet,
}


def write(directory: Path, name: str, content: bytes) -> Path:
    path = directory / name
    path.write_bytes(content)
    return path


def read(path: Path, batch: int = 3, stream: StreamDefinition = STREAM) -> Rows:
    rows = Rows()
    for part in files.read(path, stream, batch):
        assert 0 < len(part) <= batch
        for event, time, line in zip(part.events, part.times, part.lines, strict=True):
            rows.add(event, time, line)
        rows.faults += part.faults
    return rows


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gzipped"])
@pytest.mark.parametrize("kind", WRITERS)
@settings(max_examples=30)
@given(events=rows)
def test_what_is_written_is_read(room: Path, kind: str, zipped: bool, events: list[dict[str, Any]]) -> None:
    content = WRITERS[kind](events)
    path = write(room, f"events.{kind}", gzip.compress(content) if zipped else content)
    got = read(path)
    assert got.faults == []
    codec = StreamCodec(STREAM)
    assert [json.loads(codec.canonical(event)[0]) for event in got.events] == events
    assert got.times == [event["at"] for event in events]


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("name", ["events", "events.gz", "events.data"])
def test_first_bytes_tell_what_a_file_is(tmp_path: Path, kind: str, name: str) -> None:
    assert read(write(tmp_path, name, WRITERS[kind]([GOOD]))).times == [1_000]


def faults(path: Path, **options: Any) -> list[tuple[int, str, str]]:
    return [(fault.line, fault.error.field, fault.error.value) for fault in read(path, **options).faults]


@pytest.mark.parametrize(
    ("field", "cell"),
    [
        ("flight", ""),
        ("at", "yesterday"),
        ("at", ""),
        ("at", "1.5"),
        ("delay", "late"),
        ("delay", "nan"),
        ("delay", "inf"),
        ("delay", "1_0"),
        ("gust", "-inf"),
        ("seats", "1.5"),
        ("seats", str(2**63)),
        ("night", "perhaps"),
    ],
)
def test_a_wrong_cell_is_told_with_its_line_and_refused_by_the_stream(tmp_path: Path, field: str, cell: str) -> None:
    good = ["UA1", "1000", "N1", "1.5", "2.5", "3", "true"]
    wrong = [cell if name == field else value for name, value in zip(NAMES, good, strict=True)]
    content = "\n".join([",".join(NAMES), ",".join(good), ",".join(wrong), ",".join(good)])
    path = write(tmp_path, "events.csv", content.encode())
    assert faults(path) == [(3, field, json.dumps(cell) if cell else "missing")]
    got = read(path)
    codec = StreamCodec(STREAM)
    assert [codec.canonical(got.events[index])[2] for index in (0, 2)] == [1_000, 1_000]
    # The dead letter says the same.
    with pytest.raises(InvalidEvent) as raised:
        codec.canonical(got.events[1])
    assert (raised.value.field, str(raised.value)) == (field, str(read(path).faults[0].error))


def test_csv_takes_what_spreadsheets_write(tmp_path: Path) -> None:
    content = "\ufeff" + ",".join([*NAMES, "extra"]) + '\r\n"UA\n1",1000,,1.5,,,TRUE,x\r\n\r\nUA2,2000,"N,2",2,,,0,y'
    got = read(write(tmp_path, "events.csv", content.encode()))
    assert [json.loads(event)["flight"] for event in got.events] == ["UA\n1", "UA2"]
    assert [json.loads(event)["night"] for event in got.events] == [True, False]
    assert (got.lines, got.faults) == ([2, 5], [])


def test_rows_that_are_no_rows_stay_in_place_and_are_told(tmp_path: Path) -> None:
    lines = [
        b"flight,at,delay",
        b"UA1,1,1",
        b"UA2,2",
        b"UA3,3,3,3",
        b"\xff,4,4",
        b'"' + b"x" * 200_000 + b'",5,5',
        b"UA6,6,6",
    ]
    path = write(tmp_path, "events.csv", b"\n".join(lines))
    got = read(path, batch=10)
    assert [fault.line for fault in got.faults] == [3, 4, 5]
    assert [fault.error.value.split(" (")[0] for fault in got.faults] == [
        "a row of 2 cells",
        "a row of 4 cells",
        '"\ufffd"',
    ]
    assert (got.lines, got.times) == ([2, 3, 4, 5, 6, 7], [1, None, None, 4, 5, 6])
    assert got.events[3] == b"\xff,4,4"
    for index in range(1, 5):
        with pytest.raises(InvalidEvent):
            StreamCodec(STREAM).canonical(got.events[index])


def test_a_line_that_is_no_json_is_told(tmp_path: Path) -> None:
    good = json.dumps(GOOD).encode()
    path = write(tmp_path, "events.jsonl", b"\n".join([good, b"", b"{", b"[]", b"\xff", good]))
    assert [(line, field) for line, field, _ in faults(path)] == [(3, ""), (4, ""), (5, "")]
    assert read(path).lines == [1, 3, 4, 5, 6]


def test_parquet_may_have_other_types_of_the_same_meaning(tmp_path: Path) -> None:
    columns = {
        "flight": pa.array(["UA1", "UA2"]).dictionary_encode(),
        "at": pa.array([1_000_000, 2_000_999], pa.timestamp("ns")),
        "delay": pa.array([1, 2], pa.int32()),
        "gust": pa.array([math.nan, 2.5]),
        "seats": pa.array([math.nan, 3.0]),
    }
    pq.write_table(pa.table(columns), tmp_path / "events.parquet")
    got = read(tmp_path / "events.parquet")
    assert got.faults == []
    assert [json.loads(event) for event in got.events] == [
        {"flight": "UA1", "at": 1_000, "delay": 1.0, "gust": None, "seats": None},
        {"flight": "UA2", "at": 2_000, "delay": 2.0, "gust": 2.5, "seats": 3},
    ]


def test_wrong_values_of_parquet_are_told_with_their_row(tmp_path: Path) -> None:
    columns = {
        "flight": ["UA1", None, "UA3", "UA4", "UA5"],
        "at": [1, 2, 3, 4, 5],
        "delay": [1.0, 2.0, math.nan, math.inf, 5.0],
        "gust": [1.0, 2.0, 3.0, 4.0, -math.inf],
    }
    pq.write_table(pa.table(columns), tmp_path / "events.parquet")
    found = faults(tmp_path / "events.parquet")
    assert found == [(2, "flight", "null"), (3, "delay", "NaN"), (4, "delay", "Infinity"), (5, "gust", "-Infinity")]
    for event in read(tmp_path / "events.parquet").events[1:]:
        with pytest.raises(InvalidEvent):
            StreamCodec(STREAM).canonical(event)


@pytest.mark.parametrize(("name", "encode"), [("a.jsonl", as_json_lines), ("a.parquet", as_parquet)])
def test_an_empty_id_is_refused(tmp_path: Path, name: str, encode: Callable[[list[dict[str, Any]]], bytes]) -> None:
    found = faults(write(tmp_path, name, encode([GOOD, GOOD | {"flight": ""}])))
    assert [(field, value) for _, field, value in found] == [("flight", '""')]


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        (
            "a.csv",
            b"flight;at;delay\n",
            r"a header with semicolons between its cells, expected commas: pandas\.read_csv",
        ),
        ("a.csv", b"flight\tat\tdelay\n", "a header with tabs between its cells"),
        (
            "a.csv",
            "flight,at,delay\n".encode("utf-16"),
            "UTF-16, expected CSV, .*: iconv -f UTF-16 -t UTF-8 converts it",
        ),
        ("a.csv", "flight,at,delay\n".encode("utf-32"), "UTF-32, .*: iconv -f UTF-32 -t UTF-8 converts it"),
        ("a.csv", "\ufeffflight\n".encode("utf-32-be"), "UTF-32, .*: iconv -f UTF-32 -t UTF-8 converts it"),
        ("a.csv", "flight,at,delay\n".encode("utf-16-be"), "UTF-16 without a mark of its byte order"),
        ("a.json", b' \n[{"flight": "UA1"}]', r"a JSON array, expected JSON Lines, .*: jq -c '\.\[\]' converts it"),
        (
            "a.jsonl",
            json.dumps(GOOD, indent=2).encode(),
            r"JSON with an object over several lines, expected JSON Lines, .*: jq -c \. converts it",
        ),
        ("a", b'\n{"flight": "UA1",\r\n"at": 1}', "JSON with an object over several lines"),
        ("a.csv", random.Random(7).randbytes(2_000), "no text, expected CSV, JSON Lines or Parquet"),
        ("a.jsonl", random.Random(8).randbytes(2_000), "no text, expected CSV, JSON Lines or Parquet"),
        ("a.csv.gz", gzip.compress(gzip.compress(b"x", mtime=0), mtime=0), "gzip inside of gzip"),
        ("a.csv.gz", b"\x1f\x8bno gzip", "not readable .* expected a whole gzip file"),
        ("a.gz", gzip.compress(b"\0" * 257 + b"ustar", mtime=0), "a tar archive"),
        (
            "a.csv",
            b"flight,at\n",
            r"a.csv:1 is a header without delay \(it is flight, at\), expected the columns flight, at, ",
        ),
        ("a.csv", b"flight,at,delay,at\n", "a header with at more than once"),
        ("a.csv", b"", "a.csv:1 is the end of an empty file, expected a header"),
        (
            "a.csv",
            b"Flight,At,Delay\x1b\n",
            r"a header without flight, at, delay \(it is Flight, At, Delay[^\x1b]+\), expected",
        ),
        ("a.parquet", b"PAR1 and nothing more", "no Parquet"),
        ("a.csv", b"PK\x03\x04", "a zip archive, or a sheet of Excel, expected CSV, JSON Lines or Parquet"),
        ("a.csv.gz", gzip.compress(as_csv([GOOD]), mtime=0)[:-9], "not readable .* expected a whole gzip file"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, name: str, content: bytes, what: str) -> None:
    with pytest.raises(InvalidRequest, match=what):
        read(write(tmp_path, name, content))


def test_a_parquet_file_without_a_field_says_so(tmp_path: Path) -> None:
    pq.write_table(pa.table({"flight": ["UA1"], "at": [1]}), tmp_path / "a.parquet")
    with pytest.raises(InvalidRequest, match="a table without delay"):
        read(tmp_path / "a.parquet")


def test_what_was_read_before_a_gzip_breaks_is_given(tmp_path: Path) -> None:
    noise = [GOOD | {"flight": f"{string.ascii_letters[i % 52]}{i * 7919 % 10_007}"} for i in range(20_000)]
    path = write(tmp_path, "a.jsonl.gz", gzip.compress(as_json_lines(noise))[:-2_000])
    parts = files.read(path, STREAM)
    assert len(next(parts)) == 1_000
    with pytest.raises(InvalidRequest, match=r"a\.jsonl\.gz:\d+001 is not readable"):
        list(parts)


@pytest.mark.parametrize("name", ["a.csv.gz", "a.jsonl.gz"])
def test_a_line_without_end_does_not_fill_the_memory(tmp_path: Path, name: str) -> None:
    start = b"flight,at,delay\n" if "csv" in name else b""
    path = write(tmp_path, name, gzip.compress(start + b"x" * 20_000_000 + b"\n" + b'UA2,2,2\n{"flight": "a"}\n'))
    tracemalloc.start()
    got = read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 15_000_000
    assert len(got.faults) == 3 - ("csv" in name)


@pytest.mark.parametrize("name", ["a.csv.gz", "a.jsonl.gz"])
def test_long_lines_do_not_add_up_in_memory(tmp_path: Path, name: str) -> None:
    start, row = (b"flight,at,delay,tail\n", b"UA1,1,1,%s\n") if "csv" in name else (b"", b'{"flight": "%s"}\n')
    path = write(tmp_path, name, gzip.compress(start + (row % (b"x" * 900_000)) * 200))
    tracemalloc.start()
    lines = [line for rows in files.read(path, STREAM) for line in rows.lines]
    with files.cells_of(path) as (_, cells):
        examined = sum(1 for _ in cells)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (len(lines), examined) == (200, 200)
    assert peak < 130_000_000


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_a_fault_does_not_keep_its_batch_in_memory(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if "parquet" in name:
        pq.write_table(pa.table({"flight": ["UA1"], "at": [1], "delay": ["much"]}), path)
    else:
        path.write_bytes(b"flight,at,delay\nUA1,1,much\n" if "csv" in name else b'{"flight": 1}\n')
    (fault,) = read(path).faults
    assert fault.error.__traceback__ is None
    assert fault.error.__context__ is None


def test_a_pipe_is_refused_by_name(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.csv")
    with pytest.raises(InvalidRequest, match=r"a\.csv is a pipe or a device, expected a file: cat .*a\.csv > FILE"):
        read(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("cells", "fault"),
    [
        (
            "UA1,1.2.2026,1",
            "field 'at' is \"1.2.2026\", expected a time (ISO 8601, or integer microseconds since the epoch)"
            '; another format is declared, as in Stream(..., time_format="%d.%m.%Y")',
        ),
        (
            'UA1,2026-01-01,"12,5"',
            "field 'delay' is \"12,5\", expected a finite number: write 12,5 as 12.5, and 1,000 as 1000",
        ),
        ("M\udcfcller,2026-01-01,1", "field 'flight' is \"M\ufffdller\", expected text in UTF-8: iconv -f ISO-8859-1"),
        ("x" * 2**20 + ",2026-01-01,1", "the event is a line of 1,048,576 characters or more, expected a shorter one"),
    ],
    ids=["date", "comma", "latin", "long"],
)
def test_what_a_spreadsheet_writes_is_refused_with_its_cure(tmp_path: Path, cells: str, fault: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"flight,at,delay\n{cells}\nUA2, 2026-01-01 , 1 \n", "utf-8", "surrogateescape")
    stream = msgspec.structs.replace(STREAM, time_format=None)
    (rows,) = files.read(path, stream)
    assert [str(found.error)[: len(fault)] for found in rows.faults] == [fault]
    assert rows.lines == [2, 3]
