"""Why a stream does not take an event of this time: the same words, whoever refuses it."""

from __future__ import annotations

from headrace.definition import StreamDefinition
from headrace.errors import InvalidEvent, LateEvent
from headrace.wording import format_time


def too_late(stream: StreamDefinition, time: int, watermark: int) -> LateEvent:
    """It is before the watermark of its partition, and its id is not remembered."""
    expected = f"{format_time(watermark)} or later (the watermark of its partition): late or already sent"
    return LateEvent(stream.time, format_time(time), expected)


def too_far_ahead(stream: StreamDefinition, time: int, latest: int) -> InvalidEvent:
    """It is later than the moment at which it was published by more than the stream allows."""
    expected = f"{format_time(latest)} or earlier (when it was published, and how far it may be ahead)"
    return InvalidEvent(stream.time, format_time(time), expected)
