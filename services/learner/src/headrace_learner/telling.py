"""The status that a learner process publishes each second."""

from __future__ import annotations

from collections.abc import Sequence

import redis
import structlog

from headrace.engine.quality import MARK, NOT_FINITE, SPOILED
from headrace.runtime.readiness import Dependencies
from headrace.runtime.redis.status import Heartbeat, TakeoverStatus
from headrace.wire.times import told
from headrace.wire.topics import END_OF_HISTORY
from headrace_learner.worker import Standing, Worker

_log = structlog.get_logger()


def tell(workers: Sequence[Worker], heartbeat: Heartbeat, dependencies: Dependencies) -> None:
    """Write the status of all models of this process; do not wait for an unavailable store."""
    status, standings = heartbeat.status, {worker.model.name: worker.standing for worker in workers}
    # Read this first, as workers update it last.
    status.versions = {name: standing.published for name, standing in standings.items()}
    states = {standing.state for standing in standings.values()}
    status.state = next((state for state in ("failed", "starting", "stopped") if state in states), dependencies.state())
    status.stopped = {name: standing.stopped for name, standing in standings.items() if standing.stopped is not None}
    status.counters = {
        "examples": sum(standing.learned for standing in standings.values()),
        "versions": sum(standing.versions for standing in standings.values()),
        "dead_letters": sum(standing.refused for standing in standings.values()),
    }
    # A log's watermark is at the beginning of time until its sources have reported theirs.
    # A standby does not know how far the model is.
    watermarks = [_known(standing.release_watermark) for standing in standings.values() if standing.state != "standby"]
    times = [watermark for watermark in watermarks if watermark is not None]
    status.watermark = told(min(times, default=None)) if len(times) == len(watermarks) else None
    status.metrics = {name: {**standing.metrics} for name, standing in standings.items() if standing.metrics}
    status.takeovers = {
        name: TakeoverStatus(
            answering=standing.takeover.former, learned=standing.examples, needed=standing.takeover.needed
        )
        for name, standing in standings.items()
        if standing.takeover is not None
    }
    notes = "; ".join(note for name, standing in standings.items() for note in _notes(name, standing))
    status.note = dependencies.note(notes)
    try:
        heartbeat.beat()
    except redis.RedisError as error:
        _log.warning("status_not_written", reason=str(error))


def _notes(name: str, standing: Standing) -> list[str]:
    notes = ["stands by"] if standing.state == "standby" else []
    if standing.metrics.get(NOT_FINITE):
        notes.append(SPOILED)
    elif standing.metrics.get(MARK):
        notes.append("is worse than its prior")
    return [f"{name} {note}" for note in (*notes, standing.failure or standing.note) if note]


def _known(watermark: int | None) -> int | None:
    return None if watermark is None or watermark <= -END_OF_HISTORY else watermark
