"""Which events a stream takes: those that fit its schema, and whose time it still allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from headrace.definition import StreamDefinition
from headrace.errors import InvalidEvent
from headrace.events import StreamCodec
from headrace.events.untimely import too_far_ahead, too_late


class Admitted(NamedTuple):
    """A batch, judged: payloads and keys of the valid events in order, and why each other (by index) was refused."""

    payloads: list[bytes]
    keys: list[str]
    refused: list[tuple[int, InvalidEvent]]


class Admission:
    """Judges the events of one stream.

    Lateness counts per partition, and the feature service judges it exactly. Here an event is refused only when
    that is sure: with one partition, when it is older than the newest event taken so far by more than
    the lateness. With several the newest of its own partition may well be older, so it is let through.

    Parameters
    ----------
    now
        The wall clock, µs since the epoch.
    partitions
        Of the stream's topic.
    """

    def __init__(self, stream: StreamDefinition, now: Callable[[], int], partitions: int = 1) -> None:
        self.codec = StreamCodec(stream)
        self._now = now
        self._judges_lateness = partitions == 1
        self._newest: int | None = None

    def admit(self, events: Sequence[bytes]) -> Admitted:
        """Judge events in the order in which they came."""
        admitted = Admitted([], [], [])
        canonical = self.codec.canonical
        earliest, latest = self._earliest(), self._latest()
        for index, event in enumerate(events):
            try:
                payload, key, time = canonical(event)
                if not earliest <= time <= latest:
                    raise self._untimely(time, earliest, latest)
            except InvalidEvent as error:
                admitted.refused.append((index, error))
                continue
            if self._newest is None or time > self._newest:
                self._newest = time
                earliest = self._earliest()
            admitted.payloads.append(payload)
            admitted.keys.append(key)
        return admitted

    def forget(self) -> None:
        """Events that were admitted did not arrive: how new the newest is, is not sure any more."""
        self._newest = None

    def _earliest(self) -> float:
        if self._newest is None or not self._judges_lateness:
            return float("-inf")
        return self._newest - self.codec.stream.lateness

    def _latest(self) -> float:
        ahead = self.codec.stream.ahead
        return float("inf") if ahead is None else self._now() + ahead

    def _untimely(self, time: int, earliest: float, latest: float) -> InvalidEvent:
        if time > latest:
            return too_far_ahead(self.codec.stream, time, int(latest))
        return too_late(self.codec.stream, time, int(earliest))
