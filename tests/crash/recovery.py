"""Recovery times of services: how long after each kill the next output follows, read from publish times."""

from __future__ import annotations

import statistics
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headrace.definition import LoopDefinition
from headrace.wire.topics import Topics
from tests.crash.faults import BROKER, STORE, Happened, Kind
from tests.crash.outcome import Outcome
from tests.crash.sending import Call

#: The limiting steps in the recovery of each service.
BOUNDS = {
    "ingest": "start of the process (imports, producers), and the client's next try",
    "feature": "the broker hands a partition on at once; then state and rows are read, and what waits is folded",
    "learner": "the next version: an owner's checkpoint is loaded, and `publish_every` examples are due",
    "scorer": "the broker hands a partition on at once; a lone one restarts and reads the versions first",
    BROKER: "its start on the same data (JVM, ledgers), then the clients' pauses between tries",
    STORE: "its start on the same append-only file, then the clients' pauses between tries",
}


@dataclass(frozen=True)
class Recovery:
    """The recovery from one kill.

    Attributes
    ----------
    seconds
        Time until the next output of what was killed; None if none followed.
    alone
        Whether no other fault happened meanwhile.
    """

    service: str
    began: float
    seconds: float | None
    alone: bool


def recoveries(
    loop: LoopDefinition, topics: Topics, happened: Sequence[Happened], calls: Sequence[Call], outcome: Outcome
) -> list[Recovery]:
    """Return the recovery from each kill, in order."""
    accepted = [call.began for call in calls]
    ended = [call.ended for call in calls]

    def after(logs: Sequence[Sequence[float]]) -> Callable[[float], float | None]:
        """Return a function that finds the latest of the partitions' first messages after a moment."""

        def find(moment: float) -> float | None:
            firsts = [log[at] if (at := bisect_right(log, moment)) < len(log) else None for log in logs]
            known = [first for first in firsts if first is not None]
            return max(known) if len(known) == len(firsts) else None

        return find

    def next_call(moment: float) -> float | None:
        at = bisect_right(accepted, moment)
        return ended[at] if at < len(ended) else None

    def of(*names: str) -> list[list[float]]:
        # A zombie's messages may follow later ones.
        return [sorted(log) for name in names for log in outcome.published.get(name, [])]

    streamed = [model.name for model in loop.models if model.vectors == "stream"]
    feature = after(of(*map(topics.features, streamed), *map(topics.examples, streamed)))
    finders = {
        "ingest": next_call,
        "feature": feature,
        "scorer": after(of(*map(topics.predictions, streamed))),
        "learner": after(of(topics.models)),
        BROKER: next_call,
    }
    recoveries = []
    for event in happened:
        if event.fault.kind is not Kind.KILL:
            continue
        service = event.fault.target.rpartition("-")[0] or event.fault.target
        # Output that was on its way when the store died says nothing about its recovery.
        output = feature(event.ended) if service == STORE else finders[service](event.began)
        seconds = None if output is None else output - event.began
        recoveries.append(Recovery(service, event.began, seconds, _alone(event, output, happened)))
    return recoveries


def _alone(kill: Happened, until: float | None, happened: Sequence[Happened]) -> bool:
    return until is not None and not any(
        other is not kill and other.began < until and other.ended > kill.began for other in happened
    )


def p50(seconds: Sequence[float]) -> float:
    """Return the median; 0 if there are no values."""
    return statistics.median(seconds) if seconds else 0.0
