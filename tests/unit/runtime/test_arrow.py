"""Services and readers convert without pandas: its import takes longer than that of everything else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from headrace.definition import Column, FeatureDefinition, FieldType, ModelDefinition, Task
from headrace.wire.tables import Kind, LogEntries, encode_log

_MODEL = ModelDefinition("m", "s", "l", Task.BINARY, (FeatureDefinition("x", FieldType.FLOAT, Column("x")),), "learner")


def child(program: str, *arguments: str) -> str:
    """Return what a new process prints that runs a program."""
    command = [sys.executable, "-c", program, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_a_process_that_converts_without_pandas_may_import_it_later() -> None:
    program = """
import sys
import numpy as np, pyarrow as pa
from headrace.runtime.arrow import convert_without_pandas
convert_without_pandas()
pa.array(["a", None]), pa.array(np.arange(3)).to_numpy()
print("pandas" in sys.modules)
import pandas
print(pa.Table.from_pandas(pandas.DataFrame({"x": [1, 2]})).num_rows)
"""
    assert child(program).split() == ["False", "2"]


def test_a_process_that_uses_pandas_keeps_what_arrow_knows_of_it() -> None:
    program = """
import pandas, pyarrow as pa
from headrace.runtime.arrow import convert_without_pandas
convert_without_pandas()
print(pa.array([pandas.NA, "a"], from_pandas=True).null_count)
"""
    assert child(program) == "1"


def test_reading_a_log_imports_no_pandas(tmp_path: Path) -> None:
    numbers, whole = np.array([1.0, 0.0]), np.array([1, 2], np.int64)
    kinds = np.array([Kind.QUESTION, Kind.ANSWER], np.int8)
    entries = LogEntries(whole, kinds, whole, ["a", "b"], whole, whole, numbers, numbers, numbers.reshape(2, 1), [])
    file = tmp_path / "log"
    file.write_bytes(encode_log(_MODEL, entries))
    program = """
import sys, msgspec
from pathlib import Path
from headrace.definition import ModelDefinition
from headrace.wire.tables import decode_log
entries = decode_log(msgspec.json.decode(sys.argv[1], type=ModelDefinition), Path(sys.argv[2]).read_bytes())
print(entries.labels.tolist(), entries.made.tolist(), "pandas" in sys.modules)
"""
    assert child(program, msgspec.json.encode(_MODEL).decode(), str(file)) == "[1.0, 0.0] [False, False] False"


def test_reading_numbers_from_parquet_imports_no_pandas(tmp_path: Path) -> None:
    file = tmp_path / "numbers.parquet"
    pq.write_table(pa.table({"id": ["a", "b"], "at": ["2026-01-01", "2026-01-02"], "x": [1.5, 2.5]}), file)
    program = """
import sys
from headrace.definition import Field, FieldType, StreamDefinition
from headrace.files import read
fields = (Field("id", FieldType.STRING), Field("at", FieldType.TIME), Field("x", FieldType.FLOAT))
(rows,) = read(sys.argv[1], StreamDefinition("s", fields, "id", "at", "id", 0, 1, 1))
print(len(rows), rows.faults, "pandas" in sys.modules)
"""
    assert child(program, str(file)) == "2 [] False"
