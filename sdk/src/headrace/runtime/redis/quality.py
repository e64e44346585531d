"""The quality of each model over time, for boards and reports."""

from __future__ import annotations

import msgspec
import redis
import structlog

from headrace.engine.quality.calibration import ReliabilityBin
from headrace.engine.quality.history import Point
from headrace.errors import Unreadable
from headrace.runtime.redis.connection import readable_replies
from headrace.wire.document import Document
from headrace.wire.position import START, Position

_log = structlog.get_logger()


class QualityReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A learner's report on one model.

    `definition` and `examples` name the version; `event_time` is that of the newest example learned and `last_alarm`
    that of the last drift alarm (µs since the epoch). A metric that cannot be computed is None. `position` is that up
    to which the log has been read, as of the last checkpoint; `reliability` is the curve of a binary model.
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


_REPORT = Document[QualityReport]("quality", QualityReport)


def quality_key(loop: str, model: str) -> str:
    """Return the key of a model's quality report."""
    return f"headrace:{loop}:quality:{model}"


class QualityBoard:
    """The newest quality report of each model of a loop."""

    def __init__(self, store: redis.Redis, loop: str) -> None:
        self._store = store
        self._loop = loop

    def write(self, report: QualityReport) -> None:
        """Publish a report; it stays until the next one."""
        self._store.set(quality_key(self._loop, report.model), _REPORT.encode(report))

    def read(self, model: str) -> QualityReport | None:
        """Return the newest report of a model; None before the first one, or if it cannot be read."""
        pipe = self._store.pipeline(transaction=False)
        pipe.get(quality_key(self._loop, model))
        (data,) = readable_replies(pipe)
        try:
            return None if data is None else _REPORT.decode(data, f"the quality of model {model!r}")
        except Unreadable as error:
            _log.warning("quality_unreadable", model=model, reason=str(error))
            return None
