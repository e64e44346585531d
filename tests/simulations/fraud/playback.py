"""Play the payments into the real loop, and keep what its topics hold and its learner reports."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pulsar
import redis

from headrace import embedded
from headrace.client import IngestClient, Progress, play
from headrace.runtime.redis.quality import QualityBoard
from headrace.wire.times import Inactive
from tests.deadline import until
from tests.life.recorder import Tail
from tests.oracle.record import Message, Streams
from tests.simulations.fraud.payments import CLOSING

LOOP = Path(__file__).with_name("loop.py")

#: Events that the loop may be behind, and seconds between two progress lines.
_AHEAD, _EVERY_S = 5_000, 10.0

Say = Callable[[str], None]


@dataclass(frozen=True)
class Played:
    """A loop that has processed everything.

    Attributes
    ----------
    events, seconds
        How many events were sent, and how long it took until the last example was learned.
    rejected
        Events that the loop did not accept, or had seen before.
    metrics
        By model, as of the question, as its learner reports them; `mean` is its mean prediction, and `share` that of
        fraud.
    """

    running: embedded.RunningLoop
    client: pulsar.Client
    events: int
    seconds: float
    rejected: int
    metrics: Mapping[str, Mapping[str, float | None]]

    def streams(self) -> Streams:
        """Return what the topics of the streams hold."""
        return {stream.name: [self._messages(stream.name)] for stream in self.running.definition.streams}

    def log(self, model: str) -> list[Message]:
        """Return the messages of a model's log."""
        return self._messages(f"{model}-examples")

    def _messages(self, name: str) -> list[Message]:
        tail = Tail(f"persistent://{self.running.namespace}/{self.running.definition.name}-{name}")
        tail.read(self.client)
        return tail.messages


@contextmanager
def played(files: Mapping[str, Path], data: Path, say: Say, joiners: int = 0) -> Iterator[Played]:
    """Run the loop over the files of the streams, with `joiners` processes that only join."""

    def role(instance: str) -> dict[str, str]:
        if not joiners or not instance.startswith("feature-"):
            return {}
        return {"HEADRACE_ROLE": "fold" if instance == "feature-0" else "join"}

    with embedded.run(LOOP, data=data, workers={"feature": 1 + joiners}, environment=role) as running:
        start = time.monotonic()
        sources = [(path, stream) for stream, path in files.items()]
        result = play(
            running.definition,
            sources,
            running.addresses["ingest"],
            running.redis_url,
            ahead=_AHEAD,
            final=False,
            on_progress=_steps(say, start),
        )
        with IngestClient(running.addresses["ingest"]) as client, client.stream() as stream:
            for name in files:
                stream.send(name, (), mark=CLOSING)
            for name in files:
                stream.send(name, (), end=True)
            stream.finish()
        say(f"sent {result.sent:,} events, {result.stalls} stalls")
        until(
            lambda: {status.service: status.watermark for status in running.status()},
            lambda watermarks: watermarks.get("learner") is Inactive.ENDED,
            seconds=300,
        )
        seconds = time.monotonic() - start
        metrics = {model.name: _metrics(running, model.name) for model in running.definition.models}
        say(f"learned after {seconds:.0f} s")
        client = pulsar.Client(running.pulsar_url, logger=pulsar.FileLogger(pulsar.LoggerLevel.Error, "/dev/null"))
        try:
            yield Played(running, client, result.sent, seconds, result.rejected + result.repeats, metrics)
        finally:
            client.close()


def _metrics(running: embedded.RunningLoop, model: str) -> dict[str, float | None]:
    """Return the metrics in a model's last quality report, with the mean and share of its reliability curve."""
    (metrics,) = [status.metrics[model] for status in running.status() if model in status.metrics]
    with redis.Redis.from_url(running.redis_url) as store:
        board = QualityBoard(store, running.definition.name)
        report = until(
            lambda: board.read(model),
            lambda quality: quality is not None and quality.examples == metrics["examples"],
            60,
        )
    assert report is not None
    weight = sum(part.weight for part in report.reliability)
    return {
        **report.metrics,
        "mean": sum(part.weight * part.score for part in report.reliability) / weight,
        "share": sum(part.weight * part.share for part in report.reliability) / weight,
    }


def _steps(say: Say, start: float) -> Callable[[Progress], None]:
    """Return a function that reports progress every few seconds."""
    due = start + _EVERY_S

    def step(progress: Progress) -> None:
        nonlocal due
        now = time.monotonic()
        if now >= due:
            due = now + _EVERY_S
            rate = progress.sent / (now - start)
            say(f"{progress.sent:,} events sent, {rate:,.0f} a second, {progress.behind or 0:,} behind")

    return step
