"""The decoders, each with inputs that it takes."""

from __future__ import annotations

import ctypes
import gzip
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from headrace import declare, files
from headrace.definition import LoopDefinition, ModelDefinition, StreamDefinition, decode, encode
from headrace.errors import HeadraceError
from headrace.events import StreamCodec
from headrace.log.tables import (
    Kind,
    LogEntries,
    Predictions,
    Vectors,
    decode_log,
    decode_predictions,
    decode_vectors,
    encode_log,
    encode_predictions,
    encode_vectors,
    last_sequence_of,
    positions_of,
)

_LOOP = """
from datetime import datetime
from river.tree import HoeffdingTreeClassifier
from headrace import Count, Label, Last, Loop, Mean, Model, Stream, View

Loop("fuzzed")

class Paid(Stream, key="card", time="at", id="payment"):
    payment: str
    at: datetime
    card: str
    amount: float
    pieces: int
    shop: str | None
    online: bool

class Outcome(Stream, key="payment", time="at", id="payment"):
    payment: str
    at: datetime
    fraud: bool

spent = View(Paid, by="card", windows=["1h", "1d"], features={"count": Count(), "mean": Mean("amount")})
last = View(Paid, by="card", windows=["1d"], features={"amount": Last("amount")})
fraud = Label(Outcome, of=Paid, value=Outcome.fraud, wait="1d")
features = [spent, last, Paid.amount, Paid.shop]
Model("fraudulent", on=Paid, label=fraud, features=features, learner=HoeffdingTreeClassifier)
"""

_EVENTS = tuple(
    {
        "payment": f"P{number}",
        "at": f"2026-01-0{1 + number % 9}T09:00:00Z",
        "card": "Cé",
        "amount": 12.5 * number,
        "pieces": number,
        "shop": "S" if number % 2 else None,
        "online": number % 3 == 0,
    }
    for number in range(20)
)

#: Rows of the tables that are damaged.
_ROWS = 3


@dataclass(frozen=True)
class Target:
    """A decoder.

    Attributes
    ----------
    seeds
        Makes inputs that are taken: bytes of what is damaged.
    decode
        Takes an input, or refuses it.
    refuses
        What a refusal raises.
    """

    seeds: Callable[[], list[bytes]]
    decode: Callable[[bytes], object]
    refuses: tuple[type[Exception], ...] = field(default=(HeadraceError,))


@cache
def loop() -> LoopDefinition:
    """The loop whose bytes are damaged."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "fuzzed.py")
        path.write_text(_LOOP)
        return declare.load(path).definition


def _stream() -> StreamDefinition:
    return loop().stream("paid")


def _model() -> ModelDefinition:
    return loop().models[0]


@cache
def _codec() -> StreamCodec:
    return StreamCodec(_stream())


def _json_events() -> list[bytes]:
    return [json.dumps(event, ensure_ascii=False).encode() for event in _EVENTS]


def _columns(data: bytes) -> object:
    """What a feature worker does with what any client writes to a stream."""
    return _codec().columns([data])


def _canonical(data: bytes) -> object:
    """What ingest does with an event."""
    return _codec().canonical(data)


def _file(suffix: str) -> Callable[[bytes], object]:
    def read(data: bytes) -> object:
        with tempfile.NamedTemporaryFile(suffix=suffix) as file:
            file.write(data)
            file.flush()
            return [len(rows) for rows in files.read(file.name, _stream())]

    return read


def _csv() -> list[bytes]:
    lines = [",".join(_EVENTS[0])]
    lines += [",".join("" if cell is None else str(cell).lower() for cell in event.values()) for event in _EVENTS]
    quoted = [lines[0], *(line.replace("Cé", '"C ""é"""') for line in lines[1:])]
    return ["\n".join(lines).encode(), "\r\n".join(quoted).encode(), gzip.compress("\n".join(lines).encode())]


def _json_lines() -> list[bytes]:
    whole = b"\n".join(_json_events())
    return [whole, gzip.compress(whole)]


def _parquet() -> list[bytes]:
    table = pa.Table.from_pylist(list(_EVENTS))
    times = table.set_column(1, "at", pa.array([number * 10**15 for number in range(20)], pa.timestamp("us", "UTC")))
    found = []
    for own, compression in ((table, "none"), (times, "snappy"), (times, "zstd")):
        file = BytesIO()
        pq.write_table(own, file, compression=compression)
        found.append(file.getvalue())
    return found


def _cut_width() -> int:
    return len(set(_model().view_names))


def _vectors() -> Vectors:
    numbers = sum(feature.type != "string" for feature in _model().features)
    return Vectors(
        [f"P{row}" for row in range(_ROWS)],
        np.arange(_ROWS) * 10**15,
        [bytes([row]) * 20 for row in range(_ROWS)],
        np.arange(_ROWS * _cut_width() * 3).reshape(_ROWS, _cut_width(), 3),
        np.full((_ROWS, numbers), 0.5),
        [["S", None, "Cé"] for _ in range(len(_model().features) - numbers)],
    )


def _log() -> LogEntries:
    vectors = _vectors()
    return LogEntries(
        np.arange(_ROWS),
        np.array([Kind.QUESTION, Kind.ANSWER, Kind.UNANSWERED], np.int8),
        np.zeros(_ROWS, np.int64),
        vectors.ids,
        vectors.times,
        vectors.times,
        np.array([np.nan, 1.0, np.nan]),
        np.ones(_ROWS),
        vectors.numbers,
        vectors.categories,
    )


def _predictions() -> Predictions:
    vectors = _vectors()
    scores = np.full(_ROWS, 0.5)
    own = (vectors.ids, vectors.times, vectors.positions, np.arange(_ROWS), scores, None)
    return Predictions(*own, vectors.numbers, vectors.categories)


def _planted(fault: Callable[[], object]) -> Target:
    """A decoder with a fault: the harness must find it. It fails where the first byte is damaged."""
    return Target(lambda: [b"Health"], lambda data: None if data[:1] == b"H" else fault())


#: Faults that the tests of the harness look for; they are left out of a run of all.
PLANTED: dict[str, Target] = {
    "planted_crash": _planted(lambda: ctypes.string_at(0)),
    "planted_error": _planted(lambda: 1 // 0),
    "planted_memory": _planted(lambda: bytearray(2**40)),
}

TARGETS: dict[str, Target] = {
    "event": Target(_json_events, _canonical),
    "event_of_a_topic": Target(_json_events, _columns),
    "csv": Target(_csv, _file(".csv")),
    "json_lines": Target(_json_lines, _file(".jsonl")),
    "parquet": Target(_parquet, _file(".parquet")),
    "loop": Target(lambda: [encode(loop())], decode),
    "vectors": Target(
        lambda: [encode_vectors(_model(), _vectors())],
        lambda data: (decode_vectors(_model(), data), positions_of(data)),
    ),
    "log": Target(
        lambda: [encode_log(_model(), _log())], lambda data: (decode_log(_model(), data), last_sequence_of(data))
    ),
    "predictions": Target(
        lambda: [encode_predictions(_model(), _predictions())], lambda data: decode_predictions(_model(), data)
    ),
}
