"""Alterations for what-if replays: events that replace those of a stream."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from headrace import files
from headrace.definition import LoopDefinition, StreamDefinition
from headrace.engine.events import EventColumns, StreamCodec
from headrace.errors import UnknownName


class Alterations:
    """Events that replace those of the same id at their positions, and events that are left out.

    Attributes
    ----------
    altered
        By stream, the ids of the events that were read and are different now.
    """

    def __init__(self) -> None:
        self._instead: dict[str, dict[str, bytes]] = {}
        self._without: dict[str, set[str]] = {}
        self._seen: dict[str, set[str]] = {}
        self.altered: dict[str, set[str]] = {}

    def __bool__(self) -> bool:
        return bool(self._instead or self._without)

    def read(self, loop: LoopDefinition, stream: str, path: Path) -> None:
        """Read the events of a file, as replacements for those of the same id.

        Raises
        ------
        InvalidEvent
            One of them is not an event of the stream.
        InvalidRequest
            The file cannot be read, or the loop has no such stream.
        """
        definition = _stream(loop, stream)
        codec = StreamCodec(definition)
        replacements = self._instead.setdefault(stream, {})
        for rows in files.read(path, definition):
            if rows.faults:
                raise rows.faults[0].error
            events = [codec.canonical(event)[0] for event in rows.events]
            replacements.update(zip(codec.columns(events)[0].ids, events, strict=True))

    def leave_out(self, loop: LoopDefinition, stream: str, event_id: str) -> None:
        """Leave out the event of this id, as if it had never existed.

        Raises
        ------
        UnknownName
            The loop has no such stream.
        """
        _stream(loop, stream)
        self._without.setdefault(stream, set()).add(event_id)

    def apply(
        self, codec: StreamCodec, payloads: Sequence[bytes], events: EventColumns, valid: Sequence[int]
    ) -> tuple[EventColumns, list[int]]:
        """Return the events of a batch with the alterations, and their places in the batch."""
        stream = codec.stream.name
        replacements, without = self._instead.get(stream, {}), self._without.get(stream, set())
        replaced = [row for row, event_id in enumerate(events.ids) if event_id in replacements]
        left_out = {row for row, event_id in enumerate(events.ids) if event_id in without}
        if not replaced and not left_out:
            return events, list(valid)
        messages = [payloads[place] for place in valid]
        for row in replaced:
            event_id = events.ids[row]
            self._note(stream, event_id, codec.canonical(messages[row])[0] != replacements[event_id])
            messages[row] = replacements[event_id]
        for row in left_out:
            self._note(stream, events.ids[row], True)
        rows = np.array([row for row in range(len(messages)) if row not in left_out], np.int64)
        return codec.columns(messages)[0].take(rows), [valid[row] for row in rows.tolist()]

    def strangers(self) -> dict[str, list[str]]:
        """Return, by stream, the given ids that no event read so far has."""
        ids_by_stream = {
            stream: self._instead.get(stream, {}).keys() | self._without.get(stream, set())
            for stream in self._instead.keys() | self._without.keys()
        }
        return {
            stream: sorted(ids - self._seen.get(stream, set()))
            for stream, ids in ids_by_stream.items()
            if ids - self._seen.get(stream, set())
        }

    def _note(self, stream: str, event_id: str, changed: bool) -> None:
        self._seen.setdefault(stream, set()).add(event_id)
        if changed:
            self.altered.setdefault(stream, set()).add(event_id)


#: No alterations: the streams as they are.
NONE = Alterations()


def _stream(loop: LoopDefinition, name: str) -> StreamDefinition:
    streams = {stream.name: stream for stream in loop.streams}
    if name not in streams:
        raise UnknownName("stream", name, tuple(streams))
    return streams[name]
