"""Why a stream does not take an event of this time: the same words, whoever refuses it."""

from __future__ import annotations

from headrace.definition import StreamDefinition
from headrace.errors import InvalidEvent
from headrace.wording import format_time


def too_late(stream: StreamDefinition, time: int, earliest: int) -> InvalidEvent:
    """It is older than the newest event of its partition by more than the lateness."""
    expected = f"{format_time(earliest)} or later (the newest event, less the stream's lateness)"
    return InvalidEvent(stream.time, format_time(time), expected)


def too_far_ahead(stream: StreamDefinition, time: int, latest: int) -> InvalidEvent:
    """It is later than the moment at which it was published by more than the stream allows."""
    expected = f"{format_time(latest)} or earlier (when it was published, and how far it may be ahead)"
    return InvalidEvent(stream.time, format_time(time), expected)
