"""The remaker of a changed model's examples, from the retained events, in the background."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping

import structlog

from headrace.definition import LoopDefinition, ModelDefinition
from headrace.engine.kernel.partition import PartitionId
from headrace.errors import Unavailable
from headrace.history.logs import FEW, Logs
from headrace.history.remake import ClosedQuestion, OpenQuestion, remake
from headrace.history.streams import StreamHistory
from headrace.runtime.pulsar.batch import Batch
from headrace.runtime.pulsar.messages import decoded, opened, pass_over
from headrace.runtime.redis.pairs import FormerRead
from headrace.wire.deduplication import Accepted
from headrace.wire.message import Message
from headrace.wire.position import START, Position
from headrace.wire.tables import LogEntries, made_for, positions_of
from headrace.wire.topics import Topics

_log = structlog.get_logger()

#: Runs of entries that may wait for the join.
_AHEAD = 4

#: Seconds between two checks whether the thread must end, and before an unavailable broker is asked again.
_LOOK_S, _RETRY_S = 0.5, 5.0

#: Seconds that a thread gets to finish what it is doing.
_GRACE_S = 5.0

_NOTHING_READ = FormerRead(START.to_bytes(), START.to_bytes())


class _Stopped(Exception):
    """The join has stopped the thread."""


class ExampleRemaker(threading.Thread):
    """A thread that makes the examples of one model; the join takes them.

    Parameters
    ----------
    logs
        The logs of the loop's topics.
    former
        See `last_questions`.
    """

    def __init__(
        self,
        loop: LoopDefinition,
        model: ModelDefinition,
        logs: Logs,
        topics: Topics,
        *,
        former: Mapping[str, FormerRead],
    ) -> None:
        super().__init__(name=f"remake-{model.name}", daemon=True)
        self._loop = loop
        self._model = model
        self._logs = _PatientLogs(logs, model.name)
        self._topics = topics
        self._former = former
        self._entries: queue.Queue[LogEntries] = queue.Queue(_AHEAD)
        self._open: list[OpenQuestion] | None = None
        self._closed: list[ClosedQuestion] = []
        self._progress = (0, 0)
        self.start()

    def run(self) -> None:
        try:
            source = StreamHistory(self._logs, self._topics, self._loop)
            until = last_questions(self._logs, self._topics, self._model, self._former)
            result = remake(self._loop, self._model, source, until=until, on_progress=self._note_progress)
            for entries in result.entries:
                self._put(entries)
            self._open, self._closed = result.open, result.closed
        except _Stopped:
            pass
        except Exception as error:
            # The join goes on without them; its next owner tries again.
            _log.error("examples_not_remade", model=self._model.name, reason=repr(error), exc_info=error)

    @property
    def progress(self) -> tuple[int, int]:
        """See `headrace_feature.remade_examples.Remaker`."""
        return self._progress

    def take(self) -> LogEntries | None:
        """See `headrace_feature.remade_examples.Remaker`."""
        try:
            return self._entries.get_nowait()
        except queue.Empty:
            return None

    def open(self) -> list[OpenQuestion] | None:
        """See `headrace_feature.remade_examples.Remaker`."""
        return self._open if self._entries.empty() else None

    def closed(self) -> list[ClosedQuestion]:
        """See `headrace_feature.remade_examples.Remaker`."""
        return self._closed

    def stop(self) -> None:
        """See `headrace_feature.remade_examples.Remaker`."""
        self._logs.stopping.set()
        self.join(_GRACE_S)

    def _note_progress(self, made: int, total: int) -> None:
        self._progress = (made, total)

    def _put(self, entries: LogEntries) -> None:
        while True:
            self._logs.check()
            try:
                self._entries.put(entries, timeout=_LOOK_S)
            except queue.Full:
                continue
            return


class _PatientLogs:
    """Logs that wait while the broker is unavailable; reading ends when the thread is stopped."""

    def __init__(self, logs: Logs, model: str) -> None:
        self._logs = logs
        self._model = model
        self.stopping = threading.Event()

    def check(self) -> None:
        if self.stopping.is_set():
            raise _Stopped

    def partitions(self, topic: str) -> list[str]:
        """See `Logs.partitions`."""
        while True:
            try:
                return self._logs.partitions(topic)
            except Unavailable as error:
                self._wait(error)

    def read(self, physical: str, size: int = 5_000) -> Iterator[Batch]:
        """See `Logs.read`; after a failure, continue after what was read."""
        last = START
        while True:
            try:
                for batch in self._logs.read(physical, size):
                    self.check()
                    fresh = batch.after(last)
                    if len(fresh):
                        last = fresh.positions[-1]
                        yield fresh
                return
            except Unavailable as error:
                self._wait(error)

    def _wait(self, error: Unavailable) -> None:
        _log.warning("remaking_waits", model=self._model, reason=str(error))
        if self.stopping.wait(_RETRY_S):
            raise _Stopped from error


def last_questions(
    logs: Logs, topics: Topics, model: ModelDefinition, former: Mapping[str, FormerRead]
) -> dict[PartitionId, Position]:
    """Return, by partition of a model's stream, the position of the last event whose question is to be made.

    Later events have vectors of the model's own definition, and the join takes those.

    Parameters
    ----------
    former
        By features topic, how far the join had read before the definition changed.
    """
    last: dict[PartitionId, Position] = {}
    for index, physical in enumerate(logs.partitions(topics.features(model.name))):
        passed: list[bytes] = []
        first: bytes | None = None
        before = former.get(physical, _NOTHING_READ)
        accepted = Accepted()
        for batch in logs.read(physical, FEW):
            for message, positions in decoded(opened(batch, physical, pass_over), physical, _positions, pass_over):
                if not accepted.mark(message.envelope.epoch or 0) or not positions:
                    continue
                if not made_for(model, message.envelope) or message.position.to_bytes() <= before.message:
                    # A definition may return: then what was made in between belongs to a former one.
                    passed.append(max(positions))
                    first = None
                elif first is None and max(positions) > before.event:
                    first = min(positions)
        earlier = [position for position in passed if first is None or position < first]
        position = Position.from_bytes(max([before.event, *earlier]))
        if position != START:
            last[PartitionId(model.stream, index)] = position
    return last


def _positions(message: Message) -> list[bytes]:
    return positions_of(message.payload) if message.payload else []
