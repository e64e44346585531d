"""Setting up a loop's topics at a broker: their partitions, retention and compaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from headrace.definition import LoopDefinition
from headrace.runtime.pulsar.admin import UNLIMITED, Admin, Retention
from headrace.runtime.pulsar.schemas import check_schemas
from headrace.wire.topics import Topics

_MINUTE = 60_000_000
_WEEK = 7 * 86_400_000_000


@dataclass(frozen=True)
class Topic:
    """The intended settings of a loop's topic.

    Attributes
    ----------
    retention
        Retention time in µs; None: unlimited.
    kept_bytes
        Number of bytes that are kept, the newest ones; None: unlimited.
    compaction
        Number of bytes after which it is compacted; 0: never.
    """

    name: str
    partitions: int = 1
    retention: int | None = None
    kept_bytes: int | None = None
    compaction: int = 0


def topics_of(loop: LoopDefinition, namespace: str) -> Iterator[Topic]:
    """Yield all topics of a loop, as it declares them."""
    topics = Topics(loop.name, namespace)
    for stream in loop.streams:
        yield Topic(topics.stream(stream.name), stream.partitions, stream.retention)
    for model in loop.models:
        # Outputs of a partition go to the partition with the same number.
        partitions = loop.stream(model.stream).partitions
        yield Topic(topics.features(model.name), partitions, model.retention)
        yield Topic(topics.predictions(model.name), partitions, model.retention)
        yield Topic(topics.examples(model.name), retention=model.examples_retention)
    # Messages that are not compacted yet are kept in any case; older ones are only of interest to people.
    yield Topic(topics.models, retention=_WEEK, compaction=loop.compact_models)
    # A model's log may be learned again at any time.
    yield Topic(topics.skips)
    yield Topic(topics.dead_letters, retention=loop.dead_letters_retention, kept_bytes=loop.dead_letters_bytes)


def provision(
    admin: Admin, loop: LoopDefinition, namespace: str, say: Callable[[str], None] = lambda done: None
) -> int:
    """Create what is missing and change what differs; a second call changes nothing.

    Parameters
    ----------
    say
        Called with each change, in words.

    Returns
    -------
    int
        Number of changes made.

    Raises
    ------
    Unavailable
        The broker does not answer.
    InvalidRequest
        The broker refuses, or a topic exists with another number of partitions.
    IncompatibleSchema
        A stream does not fit the events on its topic; the broker is left unchanged.
    """
    check_schemas(admin, loop, namespace)
    changes = 0

    def report(line: str) -> None:
        nonlocal changes
        changes += 1
        say(line)

    if not admin.has_namespace(namespace):
        admin.create_namespace(namespace)
        report(f"namespace {namespace} created")
    for topic in topics_of(loop, namespace):
        if admin.create_topic(topic.name, topic.partitions):
            partitions = "1 partition" if topic.partitions == 1 else f"{topic.partitions} partitions"
            report(f"{topic.name} created, {partitions}")
        retention = retention_of(topic)
        if admin.topic_retention(topic.name) != retention:
            if topic.kept_bytes is not None:
                admin.set_backlog_limit(topic.name, topic.kept_bytes // 2)
            admin.set_topic_retention(topic.name, retention)
            report(f"{topic.name} is kept {_retention_text(retention)}")
        if topic.compaction and admin.compaction_threshold(topic.name) != topic.compaction:
            admin.set_compaction_threshold(topic.name, topic.compaction)
            report(f"{topic.name} is compacted after {topic.compaction:,} bytes")
    return changes


def retention_of(topic: Topic) -> Retention:
    """Return a topic's retention in whole minutes, as the broker counts.

    Examples
    --------
    >>> retention_of(Topic("t", retention=90_000_000))
    Retention(minutes=2, megabytes=-1)
    """
    megabytes = -1 if topic.kept_bytes is None else max(1, -(-topic.kept_bytes // 2**20))
    if topic.retention is None:
        return Retention(UNLIMITED.minutes, megabytes)
    return Retention(max(1, -(-topic.retention // _MINUTE)), megabytes)


def _retention_text(retention: Retention) -> str:
    size = "" if retention.megabytes < 0 else f", the newest {retention.megabytes:,} MiB"
    return f"{'forever' if retention.minutes < 0 else f'for {retention.minutes:,} minutes'}{size}"
