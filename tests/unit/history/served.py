"""A loop that has served: its topics in memory, made by the real kernel, learning and versions."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from river import linear_model, preprocessing

from headrace.definition import LoopDefinition, ModelDefinition
from headrace.engine.events import StreamCodec
from headrace.engine.kernel.fold import Fold, MadeVectors
from headrace.engine.kernel.partition import PartitionId, Progress
from headrace.engine.kernel.vector_replay import PASS_BYTES
from headrace.engine.learning import Learning, version_of
from headrace.engine.model_version import Version, texts_of
from headrace.history.alterations import NONE, Alterations
from headrace.history.comparison import Comparison
from headrace.history.differences import Difference
from headrace.history.replay import Replay
from headrace.history.served_record import LoggedModel, Selection
from headrace.history.streams import StreamHistory
from headrace.history.versions import PastVersions
from headrace.runtime.pulsar.batch import Batch
from headrace.v1.dead_letter_pb2 import DeadLetter
from headrace.wire.envelope import Envelope
from headrace.wire.message import Message as LogMessage
from headrace.wire.position import START, Position
from headrace.wire.tables import (
    Kind,
    LogEntries,
    Predictions,
    Vectors,
    decode_vectors,
    encode_log,
    encode_predictions,
    encode_vectors,
)
from headrace.wire.topics import Topics
from tests.headers import header
from tests.support.kernel_loop import SECOND, Event, loop, partition_of

TOPICS = Topics("l")
EXAMPLES = 40


@dataclass
class Message:
    position: Position
    payload: bytes
    properties: dict[str, str] = field(default_factory=dict)


class KeptLogs:
    """Logs in memory; each partition of a topic is a list of its messages."""

    def __init__(self, partitions: int) -> None:
        self.topics: dict[str, list[list[Message]]] = {}
        self._streams = {TOPICS.stream(name): partitions for name in ("a", "b")}

    def partitions(self, topic: str) -> list[str]:
        self.topics.setdefault(topic, [[] for _ in range(self._streams.get(topic, 1))])
        return [f"{topic}#{index}" for index in range(len(self.topics[topic]))]

    def read(self, physical: str, size: int = 5_000) -> Iterator[Batch]:
        topic, _, index = physical.rpartition("#")
        messages = self.topics[topic][int(index)]
        for start in range(0, len(messages), 7):
            part = messages[start : start + 7]
            positions, payloads = [message.position for message in part], [message.payload for message in part]
            yield Batch(positions, payloads, [message.properties for message in part], [0] * len(part))

    def add(self, topic: str, payload: bytes, index: int = 0, **fields: Any) -> Position:
        """Add a message; `fields` give it a header, as on a topic that only headrace writes."""
        self.partitions(topic)
        log = self.topics[topic][index]
        position = Position(3 + index, len(log), -1)
        log.append(Message(position, payload, header(payload, **fields) if fields else {}))
        return position


def estimator() -> Any:
    return preprocessing.StandardScaler() | linear_model.LogisticRegression()


class Served:
    """A loop, fed event by event.

    Parameters
    ----------
    patient
        Its model waits for every stream; otherwise it waits for none.
    """

    def __init__(self, events: Sequence[Event], partitions: int = 1, patient: bool = True) -> None:
        self.loop = _with_wait(loop(partitions), None if patient else 0)
        self.model: ModelDefinition = self.loop.models[0]
        self.logs = KeptLogs(partitions)
        self._parts = partitions
        self._codecs = {stream.name: StreamCodec(stream) for stream in self.loop.streams}
        self._fold = Fold(self.loop, step_events=11)
        self._patient = patient
        for name in ("a", "b"):
            for partition in range(partitions):
                self._fold.own(PartitionId(name, partition), Progress(), {})
        for event in events:
            self.take(event)
        self.finish()

    def take(self, event: Event) -> Position:
        """Put one event into its stream and the fold, and do what follows from it."""
        partition = PartitionId(event.stream, partition_of(event.k, self._parts))
        payload = encode(event)
        position = self.logs.add(TOPICS.stream(event.stream), payload, partition.partition)
        self._fold.partitions[partition].accept(self._codecs[event.stream].columns([payload])[0], [position], [0], 0)
        self._step()
        return position

    def finish(self) -> None:
        for partition in self._fold.partitions.values():
            partition.end(partition.last)
        self._step()

    def learn(self, publish: int = 10) -> None:
        """Make examples of all vectors (late if x is even), versions of the model, and a prediction of each vector."""
        model = msgspec.structs.replace(self.model, publish_examples=publish)
        vectors = [part for source in self.served() for part in source]
        learning = Learning(model, estimator())
        version: Version | None = None
        for seq, part in enumerate(vectors):
            if version is not None:
                self.predict(part, version)
            payload = encode_log(model, _entries(part, seq))
            position = self.logs.add(TOPICS.examples("m"), payload, definition=model.hash, epoch="1")
            message = LogMessage(position, payload, Envelope(definition=model.hash, epoch=1))
            for _ in learning.read(message):
                published = version_of(learning)
                self.logs.add(TOPICS.models, published.SerializeToString(), definition=model.hash)
                version = Version(model, published)

    def predict(self, vectors: Vectors, version: Version, examples: int | None = None, epoch: str | None = "1") -> None:
        """Log a version's prediction for a vector."""
        source = str(Position.from_bytes(vectors.positions[0]).ledger - 3)
        scores = version.score(vectors.numbers, texts_of(vectors.categories, 1))
        position = vectors.positions if epoch else [START.to_bytes()]
        found = Predictions(
            vectors.ids, vectors.times, position, np.array([version.examples if examples is None else examples]),
            scores.score, None, vectors.numbers, vectors.categories,
        )  # fmt: skip
        properties = {"definition": self.model.hash} | ({"epoch": epoch, "partition": source} if epoch else {})
        self.logs.add(TOPICS.predictions("m"), encode_predictions(self.model, found), **properties)

    def served(self) -> list[list[Vectors]]:
        """Return the vectors on the features topic, one by one."""
        messages = [m for part in self.logs.topics[TOPICS.features("m")] for m in part if m.payload]
        found = [decode_vectors(self.model, m.payload) for m in messages]
        return [[part.take([row]) for row in range(len(part))] for part in found]

    def refuse(self, event: Event, position: Position, expected_of: str) -> None:
        """Write the dead letter of an event that the fold refused."""
        letter = DeadLetter(
            stream=event.stream, field=expected_of, position=position.to_bytes(), service="feature", event=encode(event)
        )
        self.logs.add(TOPICS.dead_letters, letter.SerializeToString(), partition=0)

    def replay(
        self,
        complete: bool = False,
        alterations: Alterations = NONE,
        learner: bool = True,
        relearn: bool = False,
        pass_bytes: int = PASS_BYTES,
    ) -> Replay:
        return Replay(
            self.loop,
            self.model,
            StreamHistory(self.logs, TOPICS, self.loop),
            LoggedModel(self.logs, TOPICS, self.model),
            versions=PastVersions(self.logs, TOPICS, self.model, estimator if learner else None, relearn=relearn),
            complete=complete,
            alterations=alterations,
            pass_bytes=pass_bytes,
        )

    def differences(self, selection: Selection | None = None, **options: Any) -> list[Difference]:
        """Return what a replay finds."""
        replay = self.replay(**options)
        comparison = Comparison(replay)
        chosen = selection or Selection()
        found = [difference for replayed in replay.vectors(chosen) for difference in comparison.of_vectors(replayed)]
        return found + [
            difference for request in replay.requests(chosen) for difference in comparison.of_requests(*request)
        ]

    def _step(self) -> None:
        while not (plan := self._fold.plan(now=0 if self._patient else 1)).empty:
            for output in self._fold.execute(plan).vectors:
                self._emit(output)

    def _emit(self, output: MadeVectors, epoch: str = "1") -> None:
        assembled = output.assembled
        positions = [Position(*row).to_bytes() for row in output.positions.tolist()]
        vectors = Vectors(output.ids, output.times, positions, assembled.cuts, assembled.numbers, assembled.categories)
        self.logs.add(
            TOPICS.features("m"), encode_vectors(self.model, vectors),
            epoch=epoch, partition=str(output.source.partition), definition=self.model.hash,
        )  # fmt: skip


def encode(event: Event) -> bytes:
    # It is known some seconds later or earlier, depending on its id; some events never become known.
    delay = zlib.crc32(event.id.encode()) % 14 - 5
    known = None if delay == 8 else event.at + delay * SECOND
    return msgspec.json.encode({"id": event.id, "at": event.at, "k": event.k, "x": event.x, "known": known})


def _entries(vectors: Vectors, seq: int) -> LogEntries:
    """Return a question and, directly after it, its answer."""
    size, twice = len(vectors), [0, 0]
    assert size == 1
    label = float(vectors.numbers[0, -1] % 2 == 0)
    both = vectors.take(twice)
    return LogEntries(
        np.array([2 * seq, 2 * seq + 1]), np.array([Kind.QUESTION, Kind.ANSWER], np.int8), np.full(2, 2 * seq),
        both.ids, both.times, both.times + np.array([0, 1]), np.array([np.nan, label]), np.ones(2), both.numbers,
        both.categories,
    )  # fmt: skip


def _with_wait(loop: LoopDefinition, wait: int | None) -> LoopDefinition:
    models = tuple(msgspec.structs.replace(model, max_delay=wait) for model in loop.models)
    return msgspec.structs.replace(loop, models=models)
