"""The quality of each model over time, for boards and reports."""

from __future__ import annotations

import msgspec
import redis

from headrace.log.position import START, Position
from headrace.quality.calibration import ReliabilityBin
from headrace.quality.history import Point


class QualityReport(msgspec.Struct, frozen=True):
    """What a learner tells of one model.

    `definition` and `examples` name the version; `event_time` is that of the newest example learned and `last_alarm`
    that of the last drift alarm (µs since the epoch). A metric that cannot be computed is None. `position` is where the
    log has been read up to, as of the last checkpoint; `reliability` is the curve of a binary model.
    """

    model: str
    definition: str
    task: str
    examples: int
    event_time: int | None
    metrics: dict[str, float | None]
    points: list[Point]
    last_alarm: int | None = None
    position: Position = START
    reliability: list[ReliabilityBin] = []


# Made on import: msgspec looks at a type with its first decoder, and two threads that do so at once crash the process.
_REPORT = msgspec.json.Decoder(QualityReport)


def quality_key(loop: str, model: str) -> str:
    return f"headrace:{loop}:quality:{model}"


class QualityBoard:
    """The newest quality report of each model of a loop."""

    def __init__(self, store: redis.Redis, loop: str) -> None:
        self._store = store
        self._loop = loop

    def write(self, report: QualityReport) -> None:
        """Publish a report; it stays until the next one."""
        self._store.set(quality_key(self._loop, report.model), msgspec.json.encode(report))

    def read(self, model: str) -> QualityReport | None:
        """The newest report of a model, None before the first."""
        data = self._store.get(quality_key(self._loop, model))
        return None if data is None else _REPORT.decode(data)
