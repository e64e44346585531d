"""Facts about a running loop that a changed definition is checked against; the broker and the store are only read."""

from __future__ import annotations

from collections.abc import Callable

import pulsar
import redis

from headrace.definition import LoopDefinition, StreamDefinition
from headrace.engine.events import StreamCodec
from headrace.history.changes import Facts, KeptEvents
from headrace.runtime.clock import wall_clock
from headrace.runtime.pulsar.admin import Admin
from headrace.runtime.pulsar.connection import partitions
from headrace.runtime.pulsar.log_reader import LogReader
from headrace.runtime.pulsar.schemas import schema_conflicts
from headrace.runtime.redis.quality import QualityBoard
from headrace.runtime.redis.status import StatusBoard
from headrace.wire.topics import Topics

#: This many messages include an event if there is one: marks are few.
_FIRST = 100


class FactFinder:
    """Finds the facts that `headrace.history.changes.compare` needs.

    Parameters
    ----------
    old
        The definition of the running loop.
    admin
        The broker's admin API; None: partitions and schemas are not examined.
    """

    def __init__(
        self,
        old: LoopDefinition,
        client: pulsar.Client,
        store: redis.Redis,
        namespace: str,
        *,
        admin: Admin | None = None,
        clock: Callable[[], int] = wall_clock,
    ) -> None:
        self._old = old
        self._client = client
        self._store = store
        self._namespace = namespace
        self._topics = Topics(old.name, namespace)
        self._admin = admin
        self._clock = clock

    def find(self, new: LoopDefinition) -> Facts:
        """Return the facts about the streams and models that both definitions have.

        Raises
        ------
        Unavailable
            The broker or the store does not answer.
        """
        names = {stream.name for stream in self._old.streams}
        both = [stream for stream in new.streams if stream.name in names]
        newest = self._newest()
        facts = Facts(
            kept={stream.name: self._kept_events(self._old.stream(stream.name), newest) for stream in both},
            examples=self._examples(new),
        )
        if self._admin is None:
            return facts
        return Facts(
            facts.kept,
            {stream.name: schema_conflicts(self._admin, new, stream, self._namespace) for stream in new.streams},
            self._partitions(self._admin, new),
            facts.examples,
        )

    def _newest(self) -> int | None:
        statuses = StatusBoard(self._store, self._old.name).read()
        return max((status.newest for status in statuses if status.newest is not None), default=None)

    def _examples(self, new: LoopDefinition) -> dict[str, int]:
        reports = QualityBoard(self._store, self._old.name)
        # A new model may be one that was left out for a while.
        names = {model.name for model in (*self._old.models, *new.models)}
        quality = {name: reports.read(name) for name in names}
        return {name: report.examples for name, report in quality.items() if report is not None}

    def _partitions(self, admin: Admin, new: LoopDefinition) -> dict[str, int]:
        counts = {stream.name: admin.partitions(self._topics.stream(stream.name)) for stream in new.streams}
        # A plain topic counts as one partition.
        return {name: count or 1 for name, count in counts.items() if count is not None}

    def _kept_events(self, stream: StreamDefinition, newest: int | None) -> KeptEvents:
        parts = [self._oldest(stream, topic) for topic in partitions(self._client, self._topics.stream(stream.name))]
        times = [oldest for oldest, _ in parts if oldest is not None]
        ages = [self._clock() - time for _, time in parts if time is not None]
        # Events are removed once they are older than the retention: if the oldest one is younger, none was removed.
        complete = stream.retention is None or max(ages, default=0) < stream.retention
        return KeptEvents(max(times, default=None), newest, complete)

    def _oldest(self, stream: StreamDefinition, topic: str) -> tuple[int | None, int | None]:
        """Return the event time of a partition's first event, and the publish time of its first message."""
        reader = LogReader(self._client, topic, queue=_FIRST)
        try:
            batch = reader.receive(_FIRST) if reader.more() else None
        finally:
            reader.close()
        if batch is None or not batch.published:
            return None, None
        times = StreamCodec(stream).columns([payload for payload in batch.payloads if payload])[0].times
        return (int(times[0]) if len(times) else None), batch.published[0]
