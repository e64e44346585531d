"""A value of each format that leaves a process, with its encoding and decoding: for tests of the formats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple
from typing import Any, NamedTuple

import numpy as np

from headrace.definition import (
    AggregateDefinition,
    Column,
    FeatureDefinition,
    Field,
    FieldType,
    LoopDefinition,
    ModelDefinition,
    StreamDefinition,
    Task,
    ViewDefinition,
    Window,
)
from headrace.engine.kernel.join import Entry, Outcome, Question
from headrace.engine.kernel.layout import Layout
from headrace.engine.kernel.rows import Operations, RowSet
from headrace.runtime.pulsar import skips
from headrace.runtime.pulsar.model_versions import read_version
from headrace.runtime.redis import decisions, pairs, partitions, quality, status
from headrace.runtime.redis.decisions import Decisions, Refusal, Tally
from headrace.runtime.redis.pairs import JoinState, LabelSource
from headrace.runtime.redis.partitions import PartitionState
from headrace.runtime.redis.quality import QualityReport
from headrace.runtime.redis.status import PartitionStatus, ServiceStatus
from headrace.v1.models_pb2 import ModelVersion
from headrace.watermark import IDLE
from headrace.wire import compiled_loop, frame
from headrace.wire.envelope import Envelope, read_envelope
from headrace.wire.position import Position
from headrace.wire.tables import (
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
)
from headrace.wire.times import Inactive


class Sample(NamedTuple):
    """A format: its value, how it is written, and how it is read, as something that can be compared."""

    write: Callable[[], bytes]
    read: Callable[[bytes], Any]
    value: Any


NUMBER = FeatureDefinition("x", FieldType.FLOAT, Column("x"))
TEXT = FeatureDefinition("id", FieldType.STRING, Column("id"))
MODEL = ModelDefinition("m", "s", "l", Task.BINARY, (NUMBER, TEXT), "learner")
VIEW = ViewDefinition(
    "v", "s", ("id",), None, (("x", Column("x")),),
    (AggregateDefinition("count", "count", None), AggregateDefinition("sum", "sum", "x")),
    (Window("8s", 8_000_000, 2_000_000),), 1_000_000, 4_000_000,
)  # fmt: skip
STREAM = StreamDefinition("s", (Field("id", FieldType.STRING), Field("x", FieldType.FLOAT)), "id", "at", "id", 0, 0)
SKIP = skips.Skip(
    model="model", question=7, id="e7", reason="OverflowError: too large", skipped_at=1_700_000_000_000_000
)
LOOP = LoopDefinition("loop", (STREAM,), (VIEW,), (), (MODEL,))

_AT = Position(1, 2, 3)
_NUMBERS, _TEXTS = np.array([[1.5], [np.nan]]), [["a", None]]
_TIMES = np.array([10, 11], np.int64)
_CUTS = np.arange(6, dtype=np.int64).reshape(2, 1, 3)

ENVELOPE = Envelope(epoch=7, partition=1, definition="d" * 16, release_watermark=IDLE, watermark=12, candidate="tree")


def layout() -> Layout:
    """Return the layout of the sample's view."""
    return Layout(VIEW)


def row() -> bytes:
    """Return a row with tiles and ticks."""
    rows = RowSet(layout(), 4)
    slot, size = rows.add("k"), 12
    rows.run(
        Operations(
            np.zeros(size, np.int8),
            np.full(size, slot, np.int64),
            np.arange(size, dtype=np.int64) * 1_000_000,
            np.arange(size, dtype=np.float64)[:, None] / 2,
            np.array([(1, place, -1) for place in range(size)], np.int64),
        )
    )
    return rows.dump([slot], 7)[0]


def read_row(data: bytes) -> tuple[bytes, ...]:
    """Load a row and write it again."""
    rows = RowSet(layout(), 4)
    return tuple(rows.dump([rows.add("k", data)], 7))


def plain(value: Any) -> Any:
    """Return a value with its arrays as lists, and NaN as a word."""
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and value != value:
        return "NaN"
    return value


def _table(read: Callable[[ModelDefinition, bytes], Any]) -> Callable[[bytes], Any]:
    return lambda data: plain(list(vars(read(MODEL, data)).values()))


VECTORS = Vectors(["e1", "e2"], _TIMES, [_AT.to_bytes()] * 2, _CUTS, _NUMBERS, _TEXTS)
ENTRIES = LogEntries(
    _TIMES, np.array([Kind.QUESTION, Kind.ANSWER], np.int8), np.array([10, 10]), ["e1", "e1"], _TIMES, _TIMES + 5,
    np.array([np.nan, 1.0]), np.array([1.0, 4.0]), _NUMBERS, _TEXTS, np.array([False, True]),
)  # fmt: skip
PREDICTIONS = Predictions(
    ["e1", "e2"], _TIMES, [_AT.to_bytes()] * 2, _TIMES, np.array([0.25, 0.5]), None, _NUMBERS, _TEXTS
)
PARTITION = PartitionState(
    epoch=7, done=_AT.to_bytes(), refused=_AT.to_bytes(), newest=5, watermark=None, folded=4, out=Inactive.IDLE,
    views=["v:1"],
)  # fmt: skip
JOIN = JoinState(
    definition="d", examples="e", positions={"t": _AT.to_bytes()}, accepted={"f": (7, _AT.to_bytes())},
    labels={"t": LabelSource(4, None, True)}, watermarks={"f": 3}, release_watermarks={"f": Inactive.ENDED}, sequence=9,
    outbox=[b"sent"], epoch=7,
)  # fmt: skip
PAIRS = Entry((Question("e1", 10, b"vector", 3, Outcome(12, "yes"), True),), (Outcome(11, 0.5),))
DECISIONS = Decisions(_AT.to_bytes(), {"call": Tally(3, 1, 1, 0, [Refusal(2, "x", "nan", "a number")])})
STATUS = ServiceStatus(
    service="feature", instance="feature-0", state="ready", started_at=1.0, updated_at=2.0, counters={"events": 3},
    partitions={"s-0": PartitionStatus(owned=True, waiting=2, watermark=5)},
)  # fmt: skip
QUALITY = QualityReport("m", "d", "binary", 10, 11, {"auc": 0.75, "log_loss": None}, [], position=_AT)
VERSION = ModelVersion(model="m", definition="d", examples=10, onnx=b"onnx", task="binary")


def samples() -> dict[str, Sample]:
    """Return all formats by name."""
    payload = encode_vectors(MODEL, VECTORS)
    return {
        "vectors": Sample(lambda: payload, _table(decode_vectors), plain(list(vars(VECTORS).values()))),
        "log": Sample(lambda: encode_log(MODEL, ENTRIES), _table(decode_log), plain(list(vars(ENTRIES).values()))),
        "predictions": Sample(
            lambda: encode_predictions(MODEL, PREDICTIONS),
            _table(decode_predictions),
            plain(list(vars(PREDICTIONS).values())),
        ),
        "header": Sample(_write_header, _read_header, astuple(ENVELOPE)),
        "row": Sample(row, read_row, (row(),)),
        "partition": Sample(
            lambda: partitions._STATE.encode(PARTITION), lambda data: partitions._STATE.decode(data, "x"), PARTITION
        ),
        "position": Sample(
            lambda: frame.seal(frame.Kind.POSITION, _AT.to_bytes()),
            lambda data: Position.from_bytes(frame.unseal(frame.Kind.POSITION, data, "x")),
            _AT,
        ),
        "decisions": Sample(
            lambda: decisions.encode(DECISIONS), lambda data: decisions._DECISIONS.decode(data, "x"), DECISIONS
        ),
        "join": Sample(lambda: pairs._STATE.encode(JOIN), lambda data: pairs._STATE.decode(data, "x"), JOIN),
        "pairs": Sample(lambda: pairs._ENTRY.encode(PAIRS), lambda data: pairs._ENTRY.decode(data, "x"), PAIRS),
        "version": Sample(
            lambda: frame.seal(frame.Kind.VERSION, VERSION.SerializeToString(deterministic=True)),
            lambda data: read_version(frame.unseal(frame.Kind.VERSION, data, "x")),
            VERSION,
        ),
        "status": Sample(lambda: status._STATUS.encode(STATUS), lambda data: status._STATUS.decode(data, "x"), STATUS),
        "quality": Sample(
            lambda: quality._REPORT.encode(QUALITY), lambda data: quality._REPORT.decode(data, "x"), QUALITY
        ),
        "skip": Sample(lambda: skips.encode_skip(SKIP), skips.decode_skip, SKIP),
        "loop": Sample(lambda: compiled_loop.encode(LOOP), compiled_loop.decode, LOOP),
    }


def _write_header() -> bytes:
    return "\n".join(f"{name}={value}" for name, value in ENVELOPE.properties(b"body").items()).encode()


def _read_header(data: bytes) -> tuple[Any, ...]:
    lines = data.decode(errors="surrogateescape").split("\n")
    properties = dict(line.partition("=")[::2] for line in lines)
    return astuple(read_envelope(properties, b"body", "x"))
