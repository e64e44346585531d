"""The reasons to refuse an event for its time: the same text from every service that refuses it."""

from __future__ import annotations

from headrace.definition import StreamDefinition
from headrace.errors import InvalidEvent, LateEvent
from headrace.wording import format_time


def too_late(stream: StreamDefinition, time: int, watermark: int) -> LateEvent:
    """Return the error of an event that is before its partition's watermark, and whose id is not remembered."""
    expected = f"{format_time(watermark)} or later (the watermark of its partition): late or already sent"
    return LateEvent(stream.time, format_time(time), expected)


def too_far_ahead(stream: StreamDefinition, time: int, latest: int) -> InvalidEvent:
    """Return the error of an event that is further ahead of its publish time than the stream allows."""
    expected = f"{format_time(latest)} or earlier (when it was published, and how far it may be ahead)"
    return InvalidEvent(stream.time, format_time(time), expected)
