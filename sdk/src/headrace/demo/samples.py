"""Samples of the running loop: one record of what its services report at one moment."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from headrace.demo.playback import Playing
from headrace.demo.question import MODEL
from headrace.embedded import RunningLoop
from headrace.engine.quality import Point
from headrace.errors import Unavailable
from headrace.runtime.redis.connection import connect_without_retries
from headrace.runtime.redis.quality import QualityBoard, QualityReport
from headrace.runtime.redis.status import ServiceStatus
from headrace.wire.times import Inactive, WireTime

_STALLED_S = 120.0


@dataclass(frozen=True)
class Sample:
    """The loop at one moment; `points` is the quality of the last 5,000 examples, over the year."""

    wall_s: float
    played: int
    watermark: WireTime = None
    counts: Counter[str] = field(default_factory=Counter)
    version: int = 0
    metrics: dict[str, float | None] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    states: dict[str, str] = field(default_factory=dict)
    learned_to_the_end: bool = False
    scored_to_the_end: bool = False

    @property
    def ended(self) -> bool:
        """Whether all of history has been learned and scored."""
        return self.learned_to_the_end and self.scored_to_the_end


class Watcher:
    """A sampler of the loop that keeps every sample it takes.

    Parameters
    ----------
    played
        Returns how many events have been sent.
    """

    def __init__(self, running: RunningLoop, played: Callable[[], int]) -> None:
        self._running = running
        self._played = played
        self._store = connect_without_retries(running.redis_url)
        self._board = QualityBoard(self._store, running.definition.name)
        self._started = time.monotonic()
        self.samples = [Sample(0.0, 0)]

    @property
    def newest(self) -> Sample:
        return self.samples[-1]

    def look(self) -> Sample:
        """Take a sample."""
        sample = _sample(
            time.monotonic() - self._started, self._played(), self._running.status(), self._board.read(MODEL)
        )
        self.samples.append(sample)
        return sample

    def rates(self, over_s: float = 5.0) -> dict[str, float]:
        """Return counts per second, over the last few seconds."""
        now = self.newest
        earlier = next(
            (sample for sample in reversed(self.samples) if now.wall_s - sample.wall_s >= over_s), self.samples[0]
        )
        elapsed = max(now.wall_s - earlier.wall_s, 1e-3)
        return {name: (count - earlier.counts[name]) / elapsed for name, count in now.counts.items()}

    def until_ended(self, playing: Playing, show: Callable[[Sample], None], every_s: float) -> None:
        """Take and show samples until everything that is played has been learned.

        Raises
        ------
        HeadraceError
            The play failed, or nothing has moved for too long.
        """
        last_change, last = time.monotonic(), self.newest.counts
        while True:
            playing.join(every_s)
            sample = self.look()
            show(sample)
            if not playing.is_alive():
                playing.result()
                if sample.ended:
                    return
                time.sleep(every_s)
            if sample.counts != last:
                last_change, last = time.monotonic(), sample.counts
            elif time.monotonic() - last_change > _STALLED_S:
                raise Unavailable(f"nothing has moved for {_STALLED_S:.0f} s: {sample.states}")


def _sample(wall_s: float, played: int, statuses: list[ServiceStatus], quality: QualityReport | None) -> Sample:
    counts: Counter[str] = Counter()
    for status in statuses:
        counts.update({f"{status.service}.{name}": count for name, count in status.counters.items()})
    watermarks = {status.service: status.watermark for status in statuses}
    versions = {status.service: status.versions.get(MODEL, 0) for status in statuses}
    learned = watermarks.get("learner")
    return Sample(
        wall_s,
        played,
        learned,
        counts,
        versions.get("learner", 0),
        quality.metrics if quality else {},
        quality.points if quality else [],
        {status.instance: f"{status.state} {status.note}".strip() for status in statuses},
        learned is Inactive.ENDED and quality is not None and versions.get("learner") == quality.examples,
        watermarks.get("scorer") is Inactive.ENDED,
    )
