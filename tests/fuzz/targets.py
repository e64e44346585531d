"""The decoders, each with inputs that it accepts."""

from __future__ import annotations

import ctypes
import gzip
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from headrace import compiler, files
from headrace.definition import LoopDefinition, StreamDefinition
from headrace.engine.events import StreamCodec
from headrace.errors import HeadraceError
from headrace.wire import document, frame
from tests.wire_samples import samples

SAMPLES = samples()

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

spent = View(Paid, by="card", windows=["1h", "1d"], aggregates={"count": Count(), "mean": Mean("amount")})
last = View(Paid, by="card", windows=["1d"], aggregates={"amount": Last("amount")})
fraud = Label(Outcome, of=Paid, value=Outcome.fraud, within="1d")
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


@dataclass(frozen=True)
class Target:
    """A decoder.

    Attributes
    ----------
    seeds
        Makes inputs that are accepted: the bytes that are then damaged.
    decode
        Accepts an input, or refuses it.
    refuses
        The exceptions that a refusal raises.
    """

    seeds: Callable[[], list[bytes]]
    decode: Callable[[bytes], object]
    refuses: tuple[type[Exception], ...] = field(default=(HeadraceError,))


@cache
def loop() -> LoopDefinition:
    """Return the loop whose bytes are damaged."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "fuzzed.py")
        path.write_text(_LOOP)
        return compiler.load(path).definition


def _stream() -> StreamDefinition:
    return loop().stream("paid")


@cache
def _codec() -> StreamCodec:
    return StreamCodec(_stream())


def _json_events() -> list[bytes]:
    return [json.dumps(event, ensure_ascii=False).encode() for event in _EVENTS]


def _columns(data: bytes) -> object:
    """Decode as a feature worker does with what any client writes to a stream."""
    return _codec().columns([data])


def _canonical(data: bytes) -> object:
    """Decode as ingest does with an event."""
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
    text = b"\n".join(_json_events())
    return [text, gzip.compress(text)]


def _parquet() -> list[bytes]:
    table = pa.Table.from_pylist(list(_EVENTS))
    times = table.set_column(1, "at", pa.array([number * 10**15 for number in range(20)], pa.timestamp("us", "UTC")))
    found = []
    for content, compression in ((table, "none"), (times, "snappy"), (times, "zstd")):
        file = BytesIO()
        pq.write_table(content, file, compression=compression)
        found.append(file.getvalue())
    return found


def _formats() -> dict[str, Target]:
    """Return targets for every format of headrace: as it is stored, and its body behind a correct checksum."""
    found: dict[str, Target] = {}
    for name, sample in SAMPLES.items():
        written = sample.write()
        found[name] = Target(partial(list, [written]), sample.read)
        seal, body = _behind_the_checksum(written)
        if seal is not None:
            found[f"{name}_resealed"] = Target(partial(list, [body]), partial(_sealed_again, seal, sample.read))
    return found


def _behind_the_checksum(written: bytes) -> tuple[Callable[[bytes], bytes] | None, bytes]:
    """Return the function that seals a body, and the body; None if a format has no checksum of its own."""
    if written[:2] == b"HR":
        kind = frame.Kind(written[2])
        return partial(frame.seal, kind), frame.unseal(kind, written, "a sample")
    if written[:1] == b"{":
        kind = json.loads(written)["kind"]
        return partial(document.seal, kind), document.unseal(kind, written, "a sample")
    return None, b""


def _sealed_again(seal: Callable[[bytes], bytes], read: Callable[[bytes], object], body: bytes) -> object:
    return read(seal(body))


def _planted(fault: Callable[[], object]) -> Target:
    """Return a decoder with a fault: the harness must find it. It fails if the first byte is damaged."""
    return Target(lambda: [b"Health"], lambda data: None if data[:1] == b"H" else fault())


#: Faults that the tests of the harness look for; a run over all targets leaves them out.
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
    **_formats(),
}
