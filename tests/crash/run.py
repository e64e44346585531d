"""A disturbed and an undisturbed run of the same events, and their comparison."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from headrace import compiler
from headrace.engine.learning import Learning, version_of
from headrace.errors import CorruptState, Unavailable
from headrace.runtime.pulsar.producer import Producer
from headrace.watermark import ENDED
from headrace_learner.checkpoint import decode_header
from tests.crash.asking import Asker
from tests.crash.by_oracle import against_oracle
from tests.crash.compare import Comparison, compare
from tests.crash.faults import Fault, Faults, Happened
from tests.crash.grounds import Grounds
from tests.crash.load import EPOCH, SECOND, Load, Slice, slices
from tests.crash.outcome import Outcome, messages, read
from tests.crash.recovery import Recovery, recoveries
from tests.crash.sending import Call, Sender
from tests.crash.site import Site
from tests.deadline import scaled, until
from tests.headers import header

LOOP = Path(__file__).with_name("loop.py")

Say = Callable[[str], None]


@dataclass
class Disturbed:
    """A run through faults.

    Attributes
    ----------
    unfinished
        What did not reach its end, in words; empty if everything did.
    """

    outcome: Outcome
    happened: list[Happened] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    recoveries: list[Recovery] = field(default_factory=list)
    events: int = 0
    again: int = 0
    retried: int = 0
    requests: int = 0
    requests_failed: int = 0
    request_s_max: float = 0.0
    failures: list[str] = field(default_factory=list)
    unfinished: str = ""
    seconds: float = 0.0


@dataclass
class Result:
    """Both runs, compared."""

    disturbed: Disturbed
    comparison: Comparison
    undisturbed_s: float

    @property
    def passed(self) -> bool:
        return self.comparison.passed and not self.disturbed.unfinished


def disturbed(
    grounds: Grounds,
    directory: Path,
    load: Load,
    planned: Sequence[Fault],
    *,
    loop_file: Path = LOOP,
    services: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
    settle_s: float = 300.0,
    wake: Path | None = None,
    may_send: Callable[[], float] = lambda: math.inf,
    check: Callable[[Site], list[str]] = against_oracle,
    say: Say = lambda text: None,
) -> Disturbed:
    """Run a load through faults.

    Parameters
    ----------
    services
        Mutants, by the service that they replace.
    settle_s
        How long it may take, after the last fault and event, until everything is at the end.
    wake
        A file for which processes sleep: it is made when everything is at the end.
    may_send
        Seconds of the load that may have been sent so far, if the faults do not hold back more.
    check
        Examines the output before the store is gone; returns what is wrong. By default the oracle examines it.
    """
    cut = slices(load)
    start = time.monotonic()
    with Site(grounds, directory, loop_file, linked=True, services=services, environment=environment) as site:
        _seed_requests_model(site)
        faults = Faults(site, planned, say)
        sender = Sender(lambda: site.of("ingest"), cut, lambda: min(faults.reached, may_send()))
        asker = Asker(
            site.of("scorer"), [model.name for model in site.loop.models], load.seed, lambda: _reached(load, sender)
        )
        for thread in (faults, sender, asker):
            thread.start()
        unfinished = _watch(sender, faults, asker, say)
        grounds.proxy.heal()
        asker.stop()
        unfinished = unfinished or _settled(site, scaled(settle_s))
        if wake is not None:
            wake.touch()
        site.stop()  # a process that has just woken up ends its step
        say(unfinished or "all is in; reading what came out")
        outcome = read(site)
        outcome.faults += check(site)
        return Disturbed(
            outcome,
            faults.happened,
            sender.calls,
            recoveries(site.loop, site.topics, faults.happened, sender.calls, outcome),
            sender.events,
            sender.again,
            sender.retried,
            asker.requests,
            asker.failed,
            asker.slowest,
            asker.failures,
            unfinished,
            time.monotonic() - start,
        )


def undisturbed(grounds: Grounds, directory: Path, load: Load, *, loop_file: Path = LOOP) -> Outcome:
    """Run the same events through one process of each service, at full speed."""
    cut = [Slice(part.events, part.mark, False) for part in slices(load)]
    with Site(grounds, directory, loop_file, linked=False) as site:
        sender = Sender(lambda: site.of("ingest"), cut)
        sender.start()
        sender.join()
        if sender.failure is not None:
            raise sender.failure
        unfinished = _settled(site, 300.0)
        if unfinished:
            raise TimeoutError(unfinished)
        site.stop()
        return read(site)


def both(
    grounds: Grounds, directory: Path, load: Load, planned: Sequence[Fault], say: Say = lambda text: None
) -> Result:
    """Run both, and compare them."""
    through = disturbed(grounds, directory / "disturbed", load, planned, say=say)
    start = time.monotonic()
    say("the same events, undisturbed")
    without = undisturbed(grounds, directory / "undisturbed", load)
    return Result(through, compare(through.outcome, without), time.monotonic() - start)


def _reached(load: Load, sender: Sender) -> int:
    """Return the event time that the events have reached."""
    return EPOCH + round(sender.sent / load.rate * load.speed * SECOND)


def _watch(sender: Sender, faults: Faults, asker: Asker, say: Say) -> str:
    """Wait for the end of events and faults; return what went wrong with them."""
    last_report = time.monotonic()
    while sender.is_alive() or faults.is_alive():
        for thread in (sender, faults):
            thread.join(0.2)
            if thread.failure is not None:
                return f"{thread.name}: {thread.failure!r}"
        if time.monotonic() - last_report > 5:
            last_report = time.monotonic()
            say(
                f"{sender.sent:,} of {sender.events:,} events, {faults.kills} kills, {faults.others} other faults, "
                f"{asker.requests} requests, {asker.failed} failed"
            )
    return ""


def _settled(site: Site, seconds: float) -> str:
    """Wait until everything is at the end; return what is not, in words."""
    try:
        until(lambda: _behind(site), lambda missing: not missing, seconds)
    except TimeoutError as error:
        return str(error)
    return ""


def _behind(site: Site) -> list[str]:
    """Return what has not reached the end of history, in words."""
    try:
        behind = [
            f"{partition.stream}-{partition.partition} is not folded"
            for partition, reached in site.reached().items()
            if min(reached) < ENDED
        ]
    except Unavailable as error:
        return [str(error)]
    streamed = [model.name for model in site.loop.models if model.vectors == "stream"]
    behind += [f"{model} is not learned" for model in streamed if _checkpoint_watermark(site, model) < ENDED]
    return behind or _unscored(site, streamed)


def _checkpoint_watermark(site: Site, model: str) -> int:
    with suppress(FileNotFoundError, CorruptState):
        data = (site.data("learner") / "checkpoints" / f"{model}.ckpt").read_bytes()
        return decode_header(data)[0].release_watermark or 0
    return 0


def _unscored(site: Site, models: Sequence[str]) -> list[str]:
    """Return the features topics whose end no scorer has passed on, in words."""
    client = site.grounds.client
    return [
        f"{topic.rpartition('/')[2]} is not scored"
        for model in models
        for topic in client.get_topic_partitions(site.topics.predictions(model))
        if not any(message.properties.get("release_watermark") == "ended" for message in messages(client, topic))
    ]


def _seed_requests_model(site: Site) -> None:
    """Publish a first version of each model that learns from requests: without it no request is answered or logged."""
    loaded = compiler.load(site.loop_file)
    for model in site.loop.models:
        if model.vectors != "requests":
            continue
        learning = Learning(model, loaded.learner(model.name))
        names = [feature.name for feature in model.features]
        for label in (True, False):
            learning.estimator.learn_one(dict.fromkeys(names, float(label)), label)
        learning.progress.examples = 1
        version = version_of(learning)
        producer = Producer(site.grounds.client, site.topics.models, compress=True)
        payload = version.SerializeToString(deterministic=True)
        producer.send(payload, key=model.name, properties=header(payload, definition=model.hash))
        producer.flush()
        producer.close()
