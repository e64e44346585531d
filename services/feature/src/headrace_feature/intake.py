"""The intake of messages into an owned partition: accepted, counted, or written to the dead letters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter

import structlog

from headrace.engine.kernel.partition import Refused
from headrace.engine.marks import Mark
from headrace.errors import InvalidEvent, LateEvent
from headrace.runtime.redis.status import Heartbeat
from headrace.wire.position import START
from headrace_feature.decoder import Decoded
from headrace_feature.key_placement import KeyPlacement
from headrace_feature.owned_partition import OwnedPartition
from headrace_feature.ports import DeadLetters

_log = structlog.get_logger()

#: Sender prefix of the marks of `headrace play`, which sends some each second.
_PLAYED = "play:"


class Intake:
    """The intake of decoded messages.

    Parameters
    ----------
    clock
        Returns the wall-clock time (µs), from which models measure how long a vector waits.
    """

    def __init__(self, dead_letters: DeadLetters, heartbeat: Heartbeat, clock: Callable[[], int]) -> None:
        self._dead_letters = dead_letters
        self._heartbeat = heartbeat
        self._key_placement = KeyPlacement(heartbeat)
        self._clock = clock

    def accept(self, owned: OwnedPartition, decoded: Sequence[Decoded]) -> None:
        """Accept decoded messages, in order; invalid ones go to the dead letters."""
        for part in decoded:
            refusals = part.accepted_by(owned.state, self._clock())
            if part.mark is not None:
                self._note_mark(owned, part.mark, None if refusals is None else refusals[0].reason)
            if refusals is not None:
                self._refuse(owned, part, refusals)
            if not part.is_note:
                self._key_placement.check(owned.state.stream, owned.id.partition, part.events)

    def _refuse(self, owned: OwnedPartition, part: Decoded, refusals: Sequence[Refused]) -> None:
        """Count what was refused, report it to the calls that wait, and write dead letters once."""
        reasons: dict[int, InvalidEvent | None] = {part.valid[place]: reason for place, reason in refusals}
        reasons.update(part.invalid)
        self._heartbeat.count("resent", sum(reason is None for reason in reasons.values()))
        if part.calls and owned.decisions.note(part.calls, part.positions, reasons):
            owned.has_new_decisions = True
        refused = [
            (row, reason)
            for row, reason in sorted(reasons.items(), key=itemgetter(0))
            if reason is not None and part.positions[row] > owned.state.progress.refused
        ]
        for row, reason in refused:
            position = part.positions[row]
            stream, payload = owned.state.stream, part.payloads[row]
            self._dead_letters.refuse(stream, owned.id.partition, reason, payload, position=position)
            owned.last_dead_letter = max(position, owned.last_dead_letter or START)
        self._heartbeat.count("late", sum(isinstance(reason, LateEvent) for _, reason in refused))
        self._heartbeat.count("dead_letters", len(refused))

    def _note_mark(self, owned: OwnedPartition, mark: Mark, refusal: InvalidEvent | None) -> None:
        """Log and count a mark: its sender, and whether it was accepted."""
        facts = {
            "partition": str(owned.id),
            "until": mark.time,
            "sender": mark.sender,
            "watermark": owned.state.watermark,
        }
        if refusal is not None:
            self._heartbeat.count("marks_refused")
            _log.warning("mark_refused", **facts, reason=str(refusal))
            return
        self._heartbeat.count("marks")
        if mark.withdraws:
            _log.warning("mark_withdrawn", **facts)
        elif mark.sender.startswith(_PLAYED):
            _log.debug("mark_taken", **facts)  # a player sends one after each slice
        else:
            _log.info("mark_taken", **facts)
