"""Detection of a file's format, and reading of its events."""

from __future__ import annotations

import codecs
import gzip
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, cast

from headrace.definition import StreamDefinition
from headrace.errors import InvalidRequest
from headrace.files.delimited import read_csv
from headrace.files.json_lines import read_json_lines
from headrace.files.parquet import read_parquet
from headrace.files.rows import Rows, broken

_Reader = Callable[[IO[bytes], Path, StreamDefinition, int], Iterator[Rows]]
_GZIP = b"\x1f\x8b"
_PARQUET = b"PAR1"
_BOM = b"\xef\xbb\xbf"
_OTHERS = {
    b"PK\x03\x04": ("a zip archive, or a sheet of Excel", "unzip it, or save the sheet as CSV"),
    b"BZh": ("bzip2", "bunzip2 unpacks it"),
    b"\xfd7zXZ": ("xz", "unxz unpacks it"),
    b"\x28\xb5\x2f\xfd": ("zstd", "zstd -d unpacks it"),
    # Before UTF-16, whose mark begins like that of UTF-32.
    b"\xff\xfe\0\0": ("UTF-32", "iconv -f UTF-32 -t UTF-8 converts it"),
    b"\0\0\xfe\xff": ("UTF-32", "iconv -f UTF-32 -t UTF-8 converts it"),
    b"\xff\xfe": ("UTF-16", "iconv -f UTF-16 -t UTF-8 converts it"),
    b"\xfe\xff": ("UTF-16", "iconv -f UTF-16 -t UTF-8 converts it"),
    b"ORC": ("ORC", "pyarrow.orc.read_table reads it, pyarrow.parquet.write_table writes Parquet"),
    b"ARROW1": ("an Arrow file", "pyarrow.feather.read_table reads it, pyarrow.parquet.write_table writes Parquet"),
    b"Obj\x01": ("Avro", "write it as JSON Lines"),
}
#: How many first bytes are examined for the encoding, and for the kind of JSON.
_START = 512
#: Control characters that texts contain.
_BLANKS = b"\t\n\v\f\r\x1b"
_CONTROLS = bytes(code for code in range(32) if code not in _BLANKS)
#: A text has at most one control character among as many bytes.
_RARE = 20
_EXTENSIONS: dict[str, _Reader] = {
    ".csv": read_csv,
    ".json": read_json_lines,
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".parquet": read_parquet,
}
_FORMATS = "CSV, JSON Lines or Parquet, gzipped or not"
_WHOLE_GZIP = "a whole gzip file: gzip -t tests it; copy it again"


def read(path: Path | str, stream: StreamDefinition, batch: int = 1_000) -> Iterator[Rows]:
    """Yield the events of a file, in its order.

    The format is detected from the file's first bytes, or else from its extension. Rows that are not events are
    reported as faults and do not stop the rest.

    Raises
    ------
    InvalidRequest
        The file's format is unknown, it lacks a field of the stream, or it is truncated.
    OSError
        The file cannot be opened.
    """
    path = Path(path)
    line = 1
    with ExitStack() as stack:
        file, reader = open_file(path, stack)
        try:
            for rows in reader(file, path, stream, batch):
                yield rows
                line = rows.lines[-1] + 1
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise broken(path, line, f"not readable ({error})", _WHOLE_GZIP) from None


def open_file(path: Path, stack: ExitStack) -> tuple[IO[bytes], _Reader]:
    """Open a file, decompressed, and choose its reader.

    Raises
    ------
    InvalidRequest
        Its format is unknown.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise InvalidRequest(str(path), "a pipe or a device", f"a file: cat {path} > FILE writes one")
    file: IO[bytes] = stack.enter_context(path.open("rb"))
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if _starts(file, _GZIP):
        file = stack.enter_context(cast("IO[bytes]", gzip.GzipFile(fileobj=file)))
        suffixes = [suffix for suffix in suffixes if suffix not in (".gz", ".gzip")]
    try:
        return _kind(file, path, suffixes[-1] if suffixes else "", stack)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise broken(path, 1, f"not readable ({error})", _WHOLE_GZIP) from None


def _kind(file: IO[bytes], path: Path, suffix: str, stack: ExitStack) -> tuple[IO[bytes], _Reader]:
    if _starts(file, _PARQUET):
        return _seekable(file, stack), read_parquet
    start = file.read(_START)
    file.seek(0)
    name, cure = _foreign(start)
    if name:
        raise InvalidRequest(str(path), name, f"{_FORMATS}: {cure}")
    reader = _EXTENSIONS.get(suffix)
    if reader is None:
        reader = read_json_lines if start.removeprefix(_BOM).lstrip().startswith((b"{", b"[")) else read_csv
    if reader is read_json_lines:
        _refuse_other_json(start.removeprefix(_BOM).lstrip(), path)
    return file, reader


def _refuse_other_json(start: bytes, path: Path) -> None:
    if start.startswith(b"["):
        raise InvalidRequest(str(path), "a JSON array", "JSON Lines, an object a line: jq -c '.[]' converts it")
    first, _, following = start.partition(b"\n")
    # After a damaged line of JSON Lines, the next line is an object again.
    is_open = first.rstrip().endswith((b"{", b"[", b",", b":"))
    if is_open and following.strip() and not following.lstrip().startswith(b"{"):
        cure = "JSON Lines, an object a line: jq -c . converts it"
        raise InvalidRequest(str(path), "JSON with an object over several lines", cure)


def _foreign(start: bytes) -> tuple[str, str]:
    """Return what a file with this beginning is, if it is not supported, and how to convert it."""
    for magic, answer in _OTHERS.items():
        if start.startswith(magic):
            return answer
    if start.startswith(_GZIP):
        return "gzip inside of gzip", "gunzip it once"
    if start[257:262] == b"ustar":
        return "a tar archive", "tar -x unpacks it"
    if start[1:2] == b"\0" or start[:1] == b"\0":
        return "UTF-16 without a mark of its byte order", "iconv -f UTF-16LE -t UTF-8, or UTF-16BE, converts it"
    if _is_binary(start):
        return "no text", "a file of another format may have the wrong name"
    return "", ""


def _is_binary(start: bytes) -> bool:
    """Return whether bytes are no text in any encoding: not UTF-8, and with many control characters."""
    controls = len(start) - len(start.translate(None, _CONTROLS))
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return _RARE * controls > len(start)
    return False


def _starts(file: IO[bytes], magic: bytes) -> bool:
    start = file.read(len(magic))
    file.seek(0)
    return start == magic


def _seekable(file: IO[bytes], stack: ExitStack) -> IO[bytes]:
    """Make the file seekable: Parquet is read from its end, so gzipped files are unpacked on disk, not in memory."""
    if not isinstance(file, gzip.GzipFile):
        return file
    unpacked = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
    shutil.copyfileobj(file, unpacked)
    unpacked.seek(0)
    return cast("IO[bytes]", unpacked)
