"""The admission of events to a stream: they must fit its schema and not be too far ahead of the clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from headrace.definition import StreamDefinition
from headrace.engine.events import StreamCodec
from headrace.engine.events.lateness import too_far_ahead
from headrace.engine.marks import Mark, refusal_of
from headrace.errors import InvalidEvent


class Admitted(NamedTuple):
    """A judged batch: the valid events in order with their indices, and by index why each of the others was refused."""

    payloads: list[bytes]
    keys: list[str]
    places: list[int]
    refused: list[tuple[int, InvalidEvent]]


class Admission:
    """The judgement of one stream's events.

    Only the owner of a partition decides whether an event is late or resent: it alone knows the ids.

    Parameters
    ----------
    now
        The wall clock, µs since the epoch.
    """

    def __init__(self, stream: StreamDefinition, now: Callable[[], int]) -> None:
        self.codec = StreamCodec(stream)
        self._now = now

    def admit(self, events: Sequence[bytes]) -> Admitted:
        """Judge events in the order of arrival."""
        admitted = Admitted([], [], [], [])
        canonical = self.codec.canonical
        latest = self._latest()
        for index, event in enumerate(events):
            try:
                payload, key, time = canonical(event)
                if time > latest:
                    raise too_far_ahead(self.codec.stream, time, int(latest))
            except InvalidEvent as error:
                admitted.refused.append((index, error))
                continue
            admitted.payloads.append(payload)
            admitted.keys.append(key)
            admitted.places.append(index)
        return admitted

    def refusal_of(self, mark: Mark) -> InvalidEvent | None:
        """Return why the stream refuses a mark that is sent now; None if it does not."""
        return refusal_of(self.codec.stream, mark, self._now())

    def _latest(self) -> float:
        ahead = self.codec.stream.ahead
        return float("inf") if ahead is None else self._now() + ahead
