"""Which events a stream takes: those that fit its schema, and are not too far ahead of the clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from headrace.definition import StreamDefinition
from headrace.errors import InvalidEvent
from headrace.events import StreamCodec
from headrace.events.untimely import too_far_ahead
from headrace.marks import Mark, refusal_of


class Admitted(NamedTuple):
    """A batch, judged: the valid events in order with their indices, and why each other (by index) was refused."""

    payloads: list[bytes]
    keys: list[str]
    places: list[int]
    refused: list[tuple[int, InvalidEvent]]


class Admission:
    """Judges the events of one stream.

    Whether an event is late, or was sent before, is for the owner of its partition to decide: it alone knows the ids.

    Parameters
    ----------
    now
        The wall clock, µs since the epoch.
    """

    def __init__(self, stream: StreamDefinition, now: Callable[[], int]) -> None:
        self.codec = StreamCodec(stream)
        self._now = now

    def admit(self, events: Sequence[bytes]) -> Admitted:
        """Judge events in the order in which they came."""
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
        """Why the stream does not take a mark that is sent now."""
        return refusal_of(self.codec.stream, mark, self._now())

    def _latest(self) -> float:
        ahead = self.codec.stream.ahead
        return float("inf") if ahead is None else self._now() + ahead
