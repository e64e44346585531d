"""A crafted file of Parquet takes bounded memory: small pages may stand for gigabytes."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace import files
from headrace.definition import Field, FieldType, StreamDefinition
from headrace.errors import InvalidRequest
from headrace.files import cells_of

MICROS = 1_767_225_600_000_000
LONG = "x" * 3_000_000
TEXTS = [f"t{number}" for number in range(20)]
STREAM = StreamDefinition(
    name="t",
    fields=(
        Field("id", FieldType.STRING),
        Field("at", FieldType.TIME),
        Field("text", FieldType.STRING, optional=True),
        *(Field(name, FieldType.STRING, optional=True) for name in TEXTS),
    ),
    key="id",
    time="at",
    id="id",
    lateness=0,
    horizon=0,
)
#: Reads a file and prints the rows, the faults among them, and the growth of the process in MB.
READ = """
import json, re, sys
from pathlib import Path
from headrace import files
from tests.unit.files.test_parquet_memory import STREAM

def megabytes():
    # Not ru_maxrss: that of a new process includes the peak of its parent.
    return int(re.search("VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) >> 10

before, rows, faults = megabytes(), 0, 0
if sys.argv[2] == "events":
    for part in files.read(sys.argv[1], STREAM):
        rows, faults = rows + len(part), faults + len(part.faults)
else:
    with files.cells_of(Path(sys.argv[1])) as (_, cells):
        rows = sum(1 for _ in cells)
print(json.dumps([rows, faults, megabytes() - before]))
"""


def batch(texts: pa.Array, name: str = "text") -> pa.RecordBatch:
    rows = len(texts)
    return pa.record_batch({"id": [str(row) for row in range(rows)], "at": [MICROS] * rows, name: texts})


def repeated(text: str, rows: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), [text])


def noise(rows: int) -> pa.Array:
    """Return texts that can hardly be compressed."""
    generator = random.Random(rows)
    return pa.array([generator.randbytes(250).hex() for _ in range(rows)]).dictionary_encode()


def write(path: Path, batches: list[pa.RecordBatch], **options: object) -> None:
    """Write batches as one row group, without Arrow's own schema."""
    with pq.ParquetWriter(path, batches[0].schema, compression="zstd", store_schema=False, **options) as writer:
        for part in batches:
            writer.write_batch(part)


def dictionary(path: Path) -> None:
    write(path, [batch(repeated(LONG, 1_000))])


def dictionary_then_texts(path: Path) -> None:
    write(path, [batch(repeated(LONG, 990)), batch(noise(2_010))])


def ordinary_group_after(path: Path) -> None:
    with pq.ParquetWriter(path, batch(repeated("", 1)).schema, compression="zstd", store_schema=False) as writer:
        writer.write_table(pa.table(batch(repeated(LONG, 1_000))))
        writer.write_table(pa.table(batch(noise(4_000))))


def shared_beginnings(path: Path) -> None:
    parts = [batch(pa.array([LONG[:1_000_000]] * 20)) for _ in range(25)]
    write(path, parts, use_dictionary=False, column_encoding={"text": "DELTA_BYTE_ARRAY"}, write_batch_size=20)


def fixed_width(path: Path) -> None:
    parts = [batch(pa.array([LONG[:1_000_000].encode()] * 20, pa.binary(1_000_000))) for _ in range(25)]
    write(path, parts, dictionary_pagesize_limit=2**28)


def many_columns(path: Path) -> None:
    rows = 1_000
    columns = {name: repeated("x" * 60_000, rows) for name in TEXTS}
    write(path, [pa.record_batch({"id": [str(row) for row in range(rows)], "at": [MICROS] * rows} | columns)])


CRAFTED: dict[Callable[[Path], None], tuple[int, int]] = {
    dictionary: (1_000, 1_000),
    dictionary_then_texts: (3_000, 990),
    ordinary_group_after: (5_000, 1_000),
    shared_beginnings: (500, 500),
    fixed_width: (500, 500),
    many_columns: (1_000, 0),
}


@pytest.mark.parametrize("use", ["events", "cells"])
@pytest.mark.parametrize("craft", CRAFTED, ids=lambda craft: craft.__name__)
def test_values_that_repeat_are_not_multiplied(tmp_path: Path, craft: Callable[[Path], None], use: str) -> None:
    path = tmp_path / "t.parquet"
    craft(path)
    assert path.stat().st_size < 1_500_000
    command = [sys.executable, "-c", READ, str(path), use]
    rows, faults, grown = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert (rows, faults) == (CRAFTED[craft] if use == "events" else (CRAFTED[craft][0], 0))
    assert grown < 250


@pytest.mark.parametrize("use", ["events", "cells"])
def test_a_page_beyond_the_bound_is_refused_by_its_column(tmp_path: Path, use: str) -> None:
    path = tmp_path / "t.parquet"
    dictionary(path)
    written = path.read_bytes()
    assert written.count(zigzag(len(LONG) + 4)) == 1
    path.write_bytes(written.replace(zigzag(len(LONG) + 4), zigzag(2**27 - 1)))
    with pytest.raises(InvalidRequest, match=r"takes 5\d\d,\d+,\d+ bytes at once, 536,870,\d+ of them for text"):
        read_all(path, use)


def zigzag(number: int) -> bytes:
    """Return a number of four bytes as a page's header has it."""
    return bytes((2 * number >> 7 * place) & 0x7F | (0x80 if place < 3 else 0) for place in range(4))


def read_all(path: Path, use: str) -> None:
    if use == "events":
        list(files.read(path, STREAM))
        return
    with cells_of(path) as (_, rows):
        list(rows)


def test_a_list_of_many_values_is_refused_by_its_column(tmp_path: Path) -> None:
    values = pa.ListArray.from_arrays(pa.array([0, 30_000_000], pa.int32()), pa.nulls(30_000_000, pa.int8()))
    write(tmp_path / "t.parquet", [batch(values)])
    with pytest.raises(InvalidRequest, match=r"of them for text\.list\.element"):
        list(files.read(tmp_path / "t.parquet", STREAM))
    with cells_of(tmp_path / "t.parquet") as (names, rows):
        assert names == ["id", "at"]
        assert list(rows) == [["0", str(MICROS)]]


def test_texts_without_a_dictionary_are_read(tmp_path: Path) -> None:
    encodings = {"id": "DELTA_LENGTH_BYTE_ARRAY", "text": "DELTA_BYTE_ARRAY"}
    write(tmp_path / "t.parquet", [batch(pa.array(["aa", "ab"]))], use_dictionary=False, column_encoding=encodings)
    (rows,) = files.read(tmp_path / "t.parquet", STREAM)
    assert [json.loads(event)["text"] for event in rows.events] == ["aa", "ab"]
