"""Which events count, and why the others do not: each partition is judged by itself, in the order of its positions."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from headrace.definition import Field, FieldType, LoopDefinition, StreamDefinition
from tests.oracle.record import LAST_TIME, Message, Position, Streams

#: A time before all others, while nothing is known yet.
UNKNOWN = -(2**63)

#: Accepted ids that a partition remembers unless its stream declares another number.
IDS = 1_000_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Event(NamedTuple):
    """An event that counts."""

    id: str
    time: int
    fields: dict[str, Any]
    partition: int
    position: Position
    published: int


class Refusal(NamedTuple):
    """An event that does not count: `reason` is invalid, repeated, late or ahead."""

    position: Position
    id: str
    reason: str


@dataclass
class Partition:
    """The result of judging one partition's messages.

    Attributes
    ----------
    marks
        The positions of the marks that the stream accepts.
    """

    accepted: list[Event] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    marks: list[Position] = field(default_factory=list)
    max_time: int = UNKNOWN
    watermark: int = UNKNOWN


#: The partitions of each stream.
Judged = dict[str, list[Partition]]


def judge(loop: LoopDefinition, streams: Streams) -> Judged:
    """Judge every event of every stream."""
    return {
        stream.name: [judge_partition(stream, number, log) for number, log in enumerate(streams.get(stream.name, []))]
        for stream in loop.streams
    }


def judge_partition(stream: StreamDefinition, number: int, messages: Sequence[Message]) -> Partition:
    """Judge the events of one partition, in order."""
    partition = Partition()
    known: dict[str, tuple[int, int]] = {}  # by id: its time, and how many were accepted before it
    for message in messages:
        if message.payload:
            _judge(stream, number, message, partition, known)
        _mark(stream, message, partition)
    return partition


def _mark(stream: StreamDefinition, message: Message, partition: Partition) -> None:
    """Move the watermark if the message is a mark that the stream accepts."""
    by_events = partition.max_time - stream.lateness if partition.accepted else UNKNOWN
    if message.withdraws:
        if stream.marks == "anyone" or message.sent_by in ("cli", "play"):
            partition.marks.append(message.position)
            floor = UNKNOWN if message.withdrawn_to is None else message.withdrawn_to
            partition.watermark = min(partition.watermark, max(floor, by_events))
    elif message.mark is not None and _believes(stream, message, message.mark):
        partition.marks.append(message.position)
        partition.watermark = max(partition.watermark, message.mark)


def _believes(stream: StreamDefinition, message: Message, time: int) -> bool:
    """Return whether a stream accepts a mark: it depends on the sender, and on how far ahead of publication it is."""
    if stream.marks == "nobody" or (stream.marks == "cli" and message.sent_by not in ("cli", "play")):
        return False
    latest = LAST_TIME if stream.ahead is None else min(message.published + stream.ahead, LAST_TIME)
    return time <= latest


def _judge(
    stream: StreamDefinition, number: int, message: Message, partition: Partition, known: dict[str, tuple[int, int]]
) -> None:
    fields = parse(stream, message.payload)
    if fields is None:
        partition.refused.append(Refusal(message.position, "", "invalid"))
        return
    event_id, time = str(fields[stream.id]), int(fields[stream.time])
    reason = _reason(stream, partition, known.get(event_id), time, message.published)
    if reason:
        partition.refused.append(Refusal(message.position, event_id, reason))
        return
    known[event_id] = (time, len(partition.accepted))
    partition.accepted.append(Event(event_id, time, fields, number, message.position, message.published))
    partition.max_time = max(partition.max_time, time)
    partition.watermark = max(partition.watermark, partition.max_time - stream.lateness)


def _reason(
    stream: StreamDefinition, partition: Partition, before: tuple[int, int] | None, time: int, published: int
) -> str:
    if before is not None:
        within = before[0] >= partition.max_time - max(stream.horizon, stream.lateness)
        if within and len(partition.accepted) - before[1] <= getattr(stream, "ids", IDS):
            return "repeated"
    if time < partition.watermark:
        return "late"
    if stream.ahead is not None and time > published + stream.ahead:
        return "ahead"
    return ""


def parse(stream: StreamDefinition, payload: bytes) -> dict[str, Any] | None:
    """Return an event's fields by name; None if the payload is not an event of the stream."""
    if len(payload) > stream.max_bytes:
        return None
    try:
        record = json.loads(payload)
    except ValueError:
        return None
    if not isinstance(record, dict):
        return None
    fields = {}
    for declared in stream.fields:
        ok, value = _value(declared, record.get(declared.name))
        if not ok:
            return None
        fields[declared.name] = value
    return fields


def _value(declared: Field, value: Any) -> tuple[bool, Any]:
    """Return whether a field has a value of its type, and that value."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return declared.optional, None
    kind, is_int = declared.type, isinstance(value, int) and not isinstance(value, bool)
    if kind is FieldType.BOOL:
        text = value.lower() if isinstance(value, str) else ""
        return (True, text == "true") if text in ("true", "false") else (isinstance(value, bool), value)
    if kind is FieldType.INT and isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return True, int(value)
    if kind is FieldType.STRING:
        return isinstance(value, str), value
    if kind is FieldType.FLOAT:
        ok = (is_int or isinstance(value, float)) and math.isfinite(value)
        return ok, float(value) if ok else None
    if kind is FieldType.TIME and isinstance(value, str):
        return _time(value)
    return is_int, value


def _time(text: str) -> tuple[bool, int]:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return False, 0
    since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH
    return True, (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
