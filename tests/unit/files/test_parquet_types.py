"""Every type of Parquet is read, or refused by its name, row by row."""

from __future__ import annotations

import json
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace import files
from headrace.definition import Field, FieldType, StreamDefinition
from headrace.engine.events import StreamCodec
from headrace.errors import InvalidEvent
from headrace.files import Rows, cells_of

STREAM = StreamDefinition(
    name="t",
    fields=(
        Field("id", FieldType.STRING),
        Field("at", FieldType.TIME),
        Field("text", FieldType.STRING, optional=True),
        Field("n", FieldType.INT, optional=True),
        Field("x", FieldType.FLOAT, optional=True),
        Field("ok", FieldType.BOOL, optional=True),
    ),
    key="id",
    time="at",
    id="id",
    lateness=0,
    horizon=0,
)
MICROS = 1_767_225_600_000_000
DAY = datetime(2026, 1, 1)
#: A column of texts that breaks its own declaration.
NOT_UTF8 = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff"]).buffers())


def read(folder: Path, name: str, cells: pa.Array, **options: Any) -> Rows:
    columns = {"id": [str(row) for row in range(len(cells))], "at": [MICROS] * len(cells)} | {name: cells}
    pq.write_table(pa.table(columns), folder / "t.parquet", **options)
    (rows,) = files.read(folder / "t.parquet", STREAM)
    return rows


READ = {
    "binary": ("text", pa.array([b"\xc3\xa4"]), "ä"),
    "fixed binary": ("text", pa.array([b"abc"], pa.binary(3)), "abc"),
    "view of text": ("text", pa.array(["a"], pa.string_view()), "a"),
    "view of bytes": ("text", pa.array([b"\xc3\xa4"], pa.binary_view()), "ä"),
    "large text": ("text", pa.array(["a"], pa.large_string()), "a"),
    "decimal as number": ("x", pa.array([Decimal("1.25")]), 1.25),
    "decimal as integer": ("n", pa.array([Decimal("5.00")]), 5),
    "half": ("x", pa.array([1.5], pa.float16()), 1.5),
    "unsigned": ("n", pa.array([7], pa.uint64()), 7),
    "large integer as number": ("x", pa.array([2**53 + 1]), 2.0**53),
    "truth as text": ("ok", pa.array(["True"]), True),
    "integer as text": ("n", pa.array(["5.0"]), 5),
    "date": ("at", pa.array([date(2026, 1, 1)]), MICROS),
    "date in ms": ("at", pa.array([date(2026, 1, 1)], pa.date64()), MICROS),
    "seconds": ("at", pa.array([DAY], pa.timestamp("s")), MICROS),
    "with a zone": ("at", pa.array([DAY], pa.timestamp("ns", "Europe/Berlin")), MICROS),
    "as text": ("at", pa.array(["2026-01-01"]), MICROS),
    "nothing": ("text", pa.nulls(1), None),
}
REFUSED = {
    "bytes": ("text", pa.array([b"\xff"]), "bytes that are no UTF-8: ff"),
    "text that is no UTF-8": ("text", NOT_UTF8, "bytes that are no UTF-8: ff"),
    "repeated text that is no UTF-8": (
        "text",
        pa.DictionaryArray.from_arrays(pa.array([0]), NOT_UTF8),
        "bytes that are no UTF-8: ff",
    ),
    "decimal as text": ("text", pa.array([Decimal("1.25")]), "1.25"),
    "fraction": ("n", pa.array([Decimal("1.25")]), "1.25"),
    "time of day": ("at", pa.array([time(1, 2)]), "a time64[us]"),
    "time of day as text": ("text", pa.array([time(1, 2)]), "a time64[us]"),
    "duration": ("n", pa.array([timedelta(seconds=1)]), "a duration[us]"),
    "struct of times": (
        "at",
        pa.array([{"t": DAY}], pa.struct([("t", pa.timestamp("ns"))])),
        "a struct<t: timestamp[ns]>",
    ),
    "list": ("x", pa.array([[1.0]]), "a list<"),
    "map": ("text", pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())), "a map<"),
    "time as text": ("text", pa.array([DAY]), "a timestamp["),
    "time as number": ("n", pa.array([DAY]), "a timestamp["),
    "no year": ("at", pa.array([2**62], pa.timestamp("ms")), f"{2**62} ms since 1970"),
    "65 bits": ("n", pa.array([2**64 - 1], pa.uint64()), str(2**64 - 1)),
    "too long": ("text", pa.array(["x" * 70_000]), "70,000 bytes, more than an event may have"),
}


@pytest.mark.parametrize(("name", "cells", "value"), READ.values(), ids=READ)
def test_what_has_a_meaning_is_read(tmp_path: Path, name: str, cells: pa.Array, value: object) -> None:
    rows = read(tmp_path, name, cells)
    assert rows.faults == []
    payload, _, _ = StreamCodec(STREAM).canonical(rows.events[0])
    assert json.loads(payload)[name] == value


@pytest.mark.parametrize(("name", "cells", "named"), REFUSED.values(), ids=REFUSED)
def test_what_has_none_is_refused_by_name(tmp_path: Path, name: str, cells: pa.Array, named: str) -> None:
    rows = read(tmp_path, name, pa.concat_arrays([cells, pa.nulls(1, cells.type)]))
    first = rows.faults[0]
    assert (first.line, first.error.field) == (1, name)
    assert named in first.error.value
    # A missing cell is the same in any type, and ingest refuses what the file's reader refuses.
    assert [fault.line for fault in rows.faults] == ([1, 2] if name == "at" else [1])
    with pytest.raises(InvalidEvent):
        StreamCodec(STREAM).canonical(rows.events[0])


def test_int96_is_a_time_of_any_year(tmp_path: Path) -> None:
    moments = [datetime(1500, 1, 1), datetime(2026, 1, 1), datetime(9000, 1, 1)]
    cells = pa.array(moments, pa.timestamp("us"))
    rows = read(tmp_path, "at", cells, use_deprecated_int96_timestamps=True)
    assert rows.times == cells.cast(pa.int64()).to_pylist()


@pytest.mark.parametrize(
    ("cells", "texts"),
    [
        (pa.array([b"\xc3\xa4", None]), ["ä", ""]),
        (pa.array([b"abc", None], pa.binary(3)), ["abc", ""]),
        (pa.concat_arrays([NOT_UTF8, pa.array(["b"])]), ["\ufffd", "b"]),
        (pa.array(["a", None]).dictionary_encode(), ["a", ""]),
        (pa.array([date(2026, 1, 2), None]), ["2026-01-02", ""]),
        (pa.array([2**31 - 1, 0], pa.date32()), ["['185542587100800 s since 1970']", "1970-01-01"]),
        (pa.array([DAY, None], pa.timestamp("ns")), ["2026-01-01T00:00:00Z", ""]),
        (pa.array([True, None]), ["True", ""]),
        (pa.array([Decimal("1.50"), None]), ["1.50", ""]),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_a_table_is_examined_as_text(tmp_path: Path, cells: pa.Array, texts: list[str]) -> None:
    pq.write_table(pa.table({"a": cells}), tmp_path / "t.parquet")
    with cells_of(tmp_path / "t.parquet") as (names, rows):
        assert names == ["a"]
        assert [row[0] for row in rows] == texts


def test_columns_that_no_field_can_hold_are_left_out_of_an_examined_table(tmp_path: Path) -> None:
    odd = {name: cells for name, (_, cells, _) in REFUSED.items() if name in ("list", "map", "time of day", "duration")}
    pq.write_table(pa.table({"a": ["x"]} | odd), tmp_path / "t.parquet")
    with cells_of(tmp_path / "t.parquet") as (names, rows):
        assert (names, list(rows)) == (["a"], [["x"]])
