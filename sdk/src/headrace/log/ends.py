"""Where an examples log ends: no version can have learned more of it."""

from __future__ import annotations

from contextlib import suppress
from uuid import uuid4

import pulsar

from headrace.errors import Unavailable, Unreadable
from headrace.log.position import Position
from headrace.log.tables import last_sequence_of

#: How far before its end entries are looked for, in messages: what stands there may only say how far the log is.
_BACK = (0, 8, 64, 512)

_PATIENCE_MS = 2_000


def entries_of(client: pulsar.Client, topic: str) -> int | None:
    """How many entries an examples log has had so far; None where that cannot be told.

    Raises
    ------
    Unavailable
        The broker does not answer.
    """
    try:
        end = _end(client, topic)
        for back in _BACK:
            if end is None:
                return None
            last = _last_sequence(client, topic, end, back)
            if last is not None:
                return last + 1
            if end.entry < back:
                return None
    except pulsar.PulsarException as error:
        raise Unavailable(f"broker: cannot read {topic}: {error}") from error
    return None


def _end(client: pulsar.Client, topic: str) -> Position | None:
    """Where a log ends: a reader cannot ask, and the embedded broker lets none begin with the last message."""
    consumer = client.subscribe(topic, f"end-{uuid4().hex}", initial_position=pulsar.InitialPosition.Latest)
    try:
        end = Position.of(consumer.get_last_message_id())
    except pulsar.UnknownError:  # an empty topic, to the embedded broker
        return None
    finally:
        consumer.unsubscribe()
        consumer.close()
    return end if end.entry >= 0 else None


def _last_sequence(client: pulsar.Client, topic: str, end: Position, back: int) -> int | None:
    """The place of the last entry, of the messages from so far before the end on; what is no message is passed over."""
    start = pulsar.MessageId(-1, end.ledger, max(end.entry - back, 0), -1)
    reader = client.create_reader(topic, start, start_message_id_inclusive=True)
    found: int | None = None
    try:
        while reader.has_message_available():
            if payload := reader.read_next(timeout_millis=_PATIENCE_MS).data():
                with suppress(Unreadable):
                    found = last_sequence_of(payload)
    except pulsar.Timeout:
        pass
    finally:
        reader.close()
    return found
