"""A damaged footer of Parquet ends no process: each is read, or refused with an error."""

from __future__ import annotations

import subprocess
import sys
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.files.parquet_footer import row_groups
from headrace.files.thrift import I32, I64, read_list, read_structure

#: Changes each byte of a footer in some ways, and reads the file; prints how many files were refused.
READ = """
import sys
from pathlib import Path
from headrace import files
from headrace.errors import HeadraceError
from tests.unit.files.test_parquet_memory import STREAM

path, whole, refused = Path(sys.argv[1]), Path(sys.argv[1]).read_bytes(), 0
length = int.from_bytes(whole[-8:-4], "little")
for place in range(len(whole) - 8 - length, len(whole) - 8):
    for value in {whole[place] ^ 0x10, whole[place] ^ 0x01, 0xFF, 0x00} - {whole[place]}:
        path.write_bytes(whole[:place] + bytes([value]) + whole[place + 1 :])
        sys.stderr.write(f"{place} {value}\\n")
        try:
            for part in files.read(path, STREAM):
                len(part)
        except HeadraceError:
            refused += 1
print(refused)
"""


def written(path: Path, rows: int = 4, **options: int) -> None:
    ids = [str(row) for row in range(rows)]
    table = pa.table({"id": ids, "at": pa.array(range(rows), pa.timestamp("us", "UTC")), "text": [None, *ids[1:]]})
    pq.write_table(table, path, **options)


def test_no_byte_of_a_footer_ends_the_process(tmp_path: Path) -> None:
    file = tmp_path / "t.parquet"
    written(file)
    done = subprocess.run([sys.executable, "-c", READ, str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-1_000:]
    assert int(done.stdout) > 100


def test_the_footer_says_the_same_as_pyarrow(tmp_path: Path) -> None:
    file = tmp_path / "t.parquet"
    written(file, 100, row_group_size=30)
    metadata = pq.read_metadata(file)
    with file.open("rb") as opened:
        found = list(row_groups(opened, metadata.num_columns))
    expected = [
        [metadata.row_group(group).column(column) for column in range(metadata.num_columns)]
        for group in range(metadata.num_row_groups)
    ]
    assert [[(chunk.start, chunk.length, chunk.values) for chunk in group] for group in found] == [
        [(chunk.dictionary_page_offset or chunk.data_page_offset, chunk.total_compressed_size, chunk.num_values)
         for chunk in group]
        for group in expected
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("15021504 00", "field 1 of type 5"),
        ("1602 0602 02 00", "field 1 more than once"),
        ("1602", "ends with the file"),
        ("16ffffffffffffffffffff01", "more than ten bytes"),
        ("2c" + "1c" * 20, "too many levels"),
        ("2d00", "a field of type 13"),
        ("39251504 00", "field 3 with elements of type 5"),
        ("3c00 00", "field 3 of type 12"),
    ],
)
def test_bytes_that_are_no_structure_are_refused(data: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_structure(BytesIO(bytes.fromhex(data)), {1: I64, 3: [{1: I32}]})


def test_only_what_the_shape_names_is_kept() -> None:
    # 1: 1, 2: a text, 3: a list of two structures, 4: a structure, 5: true, 6: a list of truths, 7: a double
    data = "1602 1802 6162 192c 1502 00 1504 00 1c 1506 00 11 1921 01 17 0000000000000000 00"
    shape = {1: I64, 3: [{1: I32}], 4: {1: I32}}
    assert read_structure(BytesIO(bytes.fromhex(data)), shape) == {1: 1, 3: [{1: 1}, {1: 2}], 4: {1: 3}}
    assert list(read_list(BytesIO(bytes.fromhex(data)), 3, {1: I32})) == [{1: 1}, {1: 2}]
    with pytest.raises(ValueError, match="field 1 of type 6"):
        list(read_list(BytesIO(bytes.fromhex(data)), 1, {1: I32}))
