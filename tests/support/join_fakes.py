"""Stores, logs and workers of a join in memory."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from headrace import compiler
from headrace.definition import LoopDefinition, ModelDefinition
from headrace.engine.kernel.join import Entry, Index, Rule
from headrace.engine.marks import MARK
from headrace.errors import Fenced
from headrace.runtime.pulsar.batch import Batch
from headrace.runtime.redis.pairs import JoinState, Loaded
from headrace.watermark import ENDED
from headrace.wire.envelope import Envelope
from headrace.wire.position import Position
from headrace.wire.tables import Kind, Vectors, decode_log, encode_vectors
from headrace.wire.topics import END
from headrace_feature.join_worker import JoinWorker
from headrace_feature.owned_join import OwnedJoin
from headrace_feature.pulsar.outputs import LogContent
from tests.headers import header
from tests.unit.engine.kernel.waiting import WaitingEntries

HOUR = 3_600_000_000


LOOP = """
from datetime import datetime
from river.linear_model import LogisticRegression
from headrace import Label, Model, Stream

class Asked(Stream, key="id", time="at", id="id"):
    id: str
    at: datetime
    x: float

class Told(Stream, key="id", time="at", id="id"):
    id: str
    at: datetime
    yes: bool

Model(
    "m", on=Asked, label=Label(Told, of=Asked, value=Told.yes, within="1h", name="yes"), features=[Asked.x],
    learner=lambda: LogisticRegression(), vectors="{vectors}",
)
"""


class Pairs:
    """A store of pairs in memory."""

    def __init__(self, definition: LoopDefinition | None = None) -> None:
        self.epoch = 0
        self.state = JoinState()
        self.waiting = WaitingEntries(Rule.of(definition, definition.models[0]) if definition else Rule(HOUR))
        self.ids: dict[tuple[int, str], int] = {}

    def known(self) -> bool:
        return self.epoch > 0

    def check(self, epoch: int) -> None:
        if epoch != self.epoch:
            raise Fenced("join", epoch)

    def take_over(self) -> tuple[int, JoinState]:
        self.epoch += 1
        return self.epoch, copy.deepcopy(self.state)

    def restart(self, state: JoinState) -> None:
        self.state, self.ids = state, {}
        self.waiting.clear()

    def load(self, ids: Iterable[str]) -> Loaded:
        return Loaded(self.waiting.load(ids), {})

    def due(self, begin: int, end: int) -> int:
        return self.waiting.due(begin, end)

    def before(self, times: Mapping[Index, int], limit: int) -> dict[Index, list[bytes]]:
        return self.waiting.before(times, limit)

    def clear(self, epoch: int, state: JoinState) -> None:
        self.state, self.ids = copy.deepcopy(state), {}
        self.waiting.clear()

    def seen(self) -> dict[int, dict[str, int]]:
        found: dict[int, dict[str, int]] = {}
        for (number, id), time in sorted(self.ids.items(), key=lambda item: item[1]):
            found.setdefault(number, {})[id] = time
        return found

    def save(
        self,
        epoch: int,
        state: JoinState,
        changed: Mapping[str, tuple[Entry, Entry]],
        seen: Mapping[tuple[int, str], int | None] | None = None,
    ) -> None:
        self.state = copy.deepcopy(state)
        ids = self.ids | dict(seen or {})
        self.ids = {key: time for key, time in ids.items() if time is not None}
        self.waiting.change(changed)


class Log:
    """Messages of the examples log.

    Parameters
    ----------
    model
        The model by which `content` decodes the log.
    """

    def __init__(self, model: ModelDefinition | None = None) -> None:
        self.model = model
        self.payloads: list[bytes] = []
        self.definitions: list[str] = []
        #: The reported release watermarks, each with the number of payloads before it.
        self.release_watermarks: list[tuple[int, int]] = []

    topic = "examples"

    def content(self) -> LogContent:
        assert self.model is not None
        found = LogContent()
        for payload in self.payloads:
            entries = decode_log(self.model, payload)
            found.add(entries)
            found.sequence = int(entries.seqs[-1]) + 1
        return found

    def send(self, payload: bytes, envelope: Envelope) -> None:
        if payload:
            self.payloads.append(payload)
            self.definitions.append(envelope.definition)
        if envelope.release_watermark is not None:
            self.release_watermarks.append((len(self.payloads), envelope.release_watermark))

    def flush(self) -> None:
        return None

    def holds_entries(self) -> bool:
        return bool(self.payloads)


class Counts:
    """The counters of a status."""

    def __init__(self) -> None:
        self.found: Counter[str] = Counter()

    def count(self, name: str, by: int = 1) -> None:
        self.found[name] += by


def loop(folder: Path, vectors: str, features: str = "[Asked.x]") -> LoopDefinition:
    file = folder / "asking.py"
    file.write_text(LOOP.replace("{vectors}", vectors).replace("[Asked.x]", features))
    return compiler.load(file).definition


def worker(definition: LoopDefinition, pairs: Pairs, log: Log) -> JoinWorker:
    join = joiner(definition, pairs, log)
    join.begin()
    return join


class Claim:
    """A lease that is held as long as the test wants."""

    held = True


def joiner(
    definition: LoopDefinition,
    pairs: Pairs,
    log: Log,
    lease: Claim | None = None,
    durable: Callable[[], bool] = lambda: True,
) -> JoinWorker:
    return JoinWorker(
        definition,
        definition.models[0],
        ["features"],
        ["told"],
        pairs=pairs,  # type: ignore[arg-type]
        log=log,  # type: ignore[arg-type]
        lease=lease or Claim(),  # type: ignore[arg-type]
        heartbeat=Counts(),  # type: ignore[arg-type]
        durable=durable,
    )


def owned(join: JoinWorker) -> OwnedJoin:
    """Return the join that the worker owns."""
    assert join.owned is not None
    return join.owned


def take(join: JoinWorker, topic: str, batch: Batch) -> None:
    """Give the join a batch, as read since its takeover."""
    join.accept(topic, join.takeover(topic).epoch, batch)


def vectors(definition: LoopDefinition, entry: int, ids: str, position: Position | None = None) -> Batch:
    model = definition.models[0]
    table = Vectors(
        list(ids),
        np.arange(len(ids)),
        [(position or Position(1, entry, row)).to_bytes() for row in range(len(ids))],
        np.empty((len(ids), 0, 3), np.int64),
        np.array([[float(ord(id))] for id in ids]),
        [],
    )
    payload = encode_vectors(model, table)
    properties = header(payload, definition=model.hash, examples=model.examples_hash)
    return Batch([Position(1, entry, -1)], [payload], [properties], [0])


def labels(entry: int, ids: str) -> Batch:
    payloads = [b'{"id": "%s", "at": 5, "yes": true}' % id.encode() for id in ids]
    end = {END: "1"}
    size = len(ids) + 1
    return Batch(
        [Position(1, entry + row, -1) for row in range(size)],
        [*payloads, b""],
        [*({} for _ in ids), end],
        [0] * size,
    )


def known(entry: int, *labels: tuple[str, int]) -> Batch:
    """Return labels with the times at which they became known, without a promise behind them."""
    payloads = [b'{"id": "%s", "at": %d, "yes": true}' % (id.encode(), at) for id, at in labels]
    size = len(payloads)
    return Batch([Position(1, entry + row, -1) for row in range(size)], payloads, [{}] * size, [0] * size)


def marks(entry: int, time: int) -> Batch:
    return Batch([Position(1, entry, -1)], [b""], [{MARK: str(time)}], [0])


def watermark(definition: LoopDefinition, entry: int, time: int) -> Batch:
    """Return a features topic's report of how far it is."""
    properties = header(b"", definition=definition.models[0].hash, release_watermark=time, watermark=time)
    return Batch([Position(1, entry, -1)], [b""], [properties], [ENDED])


def entries(definition: LoopDefinition, log: Log) -> list[tuple[str, str, float]]:
    """Return the contents of the log: kind, id and weight."""
    found = [decode_log(definition.models[0], payload) for payload in log.payloads]
    return [
        (Kind(kind).name.lower(), id, weight)
        for part in found
        for kind, id, weight in zip(part.kinds.tolist(), part.ids, part.weights.tolist(), strict=True)
    ]


def settle(join: JoinWorker) -> None:
    while join.step():
        pass
