"""The end of an examples log: no version can have learned more entries than there are."""

from __future__ import annotations

from contextlib import suppress
from uuid import uuid4

import pulsar

from headrace.errors import Unavailable, Unreadable
from headrace.runtime.pulsar.message_ids import position_of
from headrace.wire.position import Position
from headrace.wire.tables import last_sequence_of

#: Distances before the end at which entries are searched, in messages: the last messages may only carry progress.
_BACK = (0, 8, 64, 512)

_PATIENCE_MS = 2_000


def entries_of(client: pulsar.Client, topic: str) -> int | None:
    """Return how many entries an examples log has had so far; None if that cannot be determined.

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
    """Return the end of a log: a reader cannot ask, and the embedded broker lets none start at the last message."""
    consumer = client.subscribe(topic, f"end-{uuid4().hex}", initial_position=pulsar.InitialPosition.Latest)
    try:
        end = position_of(consumer.get_last_message_id())
    except pulsar.UnknownError:  # the embedded broker's answer for an empty topic
        return None
    finally:
        consumer.unsubscribe()
        consumer.close()
    return end if end.entry >= 0 else None


def _last_sequence(client: pulsar.Client, topic: str, end: Position, back: int) -> int | None:
    """Return the place of the last entry among the messages from `back` before the end on; skip unreadable messages."""
    start = pulsar.MessageId(-1, end.ledger, max(end.entry - back, 0), -1)
    reader = client.create_reader(topic, start, start_message_id_inclusive=True)
    sequence: int | None = None
    try:
        while reader.has_message_available():
            if payload := reader.read_next(timeout_millis=_PATIENCE_MS).data():
                with suppress(Unreadable):
                    sequence = last_sequence_of(payload)
    except pulsar.Timeout:
        pass
    finally:
        reader.close()
    return sequence
