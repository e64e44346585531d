"""The events of a life, one chapter of event time after another: pure, and the same for the same seed."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

from tests.life.loops import BOUNDS, LATENESS, STREAMS

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

#: When a label comes, relative to its payment: kinds with their weights.
_LABELS = {
    "label before its event": 6,
    "label with its event": 6,
    "label soon after": 42,
    "label long after": 20,
    "label at the bound": 8,
    "label 1 us beyond": 6,
    "label twice": 8,
    "label never": 4,
}

#: Kinds of refused events, each with its share.
_REFUSED = {"event invalid": 0.01, "event late": 0.01, "event ahead": 0.005}


@dataclass(frozen=True)
class Planned:
    """An event to write: its time is relative to the start of the life, or (`live`) to the moment of writing."""

    stream: str
    at: int
    fields: Mapping[str, object]
    live: bool = False


@dataclass
class Chapter:
    """The events of each stream in the order of writing, and how often each situation occurs in them."""

    events: dict[str, list[Planned]]
    situations: Counter[str] = field(default_factory=Counter)


class Writer:
    """A writer of chapters, each of which continues where the previous one ended."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._numbers: Counter[str] = Counter()
        self._outcomes: list[tuple[int, str, Planned]] = []
        self.now = 0

    def chapter(self, span: int, payments: int, *, visits: bool = True, ratings: bool = False) -> Chapter:
        """Write the next `span` µs."""
        draw, start, end = self._random, self.now, self.now + span
        chapter = Chapter({name: [] for name in STREAMS})
        for at in sorted(draw.randrange(start, end) for _ in range(payments)):
            chapter.events["paid"].append(self._payment(at, chapter.situations))
        while self._outcomes and self._outcomes[0][0] < end:
            chapter.events["outcome"].append(heapq.heappop(self._outcomes)[2])
        for name, wanted in (("visited", visits), ("rated", ratings)):
            if wanted:
                times = sorted(draw.randrange(start, end) for _ in range(payments // 2))
                chapter.events[name] = [self._context(name, at) for at in times]
        for name in STREAMS:
            chapter.events[name] = self._disordered(name, chapter.events[name])
        self._refused(chapter, end)
        self.now = end
        return chapter

    def live(self, payments: int) -> Chapter:
        """Write payments at the current clock time, each with its outcome at once."""
        chapter = Chapter({name: [] for name in STREAMS})
        for number in range(payments):
            at, payment = number * 1_000, self._id("paid")
            chapter.events["paid"].append(Planned("paid", at, self._payment_fields(payment), live=True))
            outcome = self._outcome_fields(payment, self._random.random() < 0.3)
            chapter.events["outcome"].append(Planned("outcome", at + 1, outcome, live=True))
        return chapter

    def behind(self, stream: str) -> dict[str, list[Planned]]:
        """Return some events of a stream that are half a minute old."""
        return {stream: [self._context(stream, max(self.now - MINUTE // 2, 0)) for _ in range(5)]}

    def skip_to(self, at: int) -> None:
        """Leave event time without events up to a time; do nothing if that has passed."""
        self.now = max(self.now, at)

    def _payment(self, at: int, situations: Counter[str]) -> Planned:
        draw, payment = self._random, self._id("paid")
        (kind,) = draw.choices(list(_LABELS), list(_LABELS.values()))
        situations[kind] += 1
        for number, later in enumerate(self._label_delays(kind)):
            fraud = draw.random() < 0.3 if number == 0 else number % 2 == 0
            outcome = Planned("outcome", at + later, self._outcome_fields(payment, fraud))
            heapq.heappush(self._outcomes, (at + later, str(outcome.fields["outcome"]), outcome))
        return Planned("paid", at, self._payment_fields(payment))

    def _label_delays(self, kind: str) -> list[int]:
        draw = self._random
        bound = BOUNDS[draw.choice(("fraud", "fraud", "loss"))]
        match kind:
            case "label before its event":
                return [-draw.randrange(1, 5 * MINUTE)]
            case "label with its event":
                return [0]
            case "label soon after":
                return [draw.randrange(1, 10 * MINUTE)]
            case "label long after":
                return [draw.randrange(10 * MINUTE, bound)]
            case "label at the bound":
                return [bound]
            case "label 1 us beyond":
                return [bound + 1]
            case "label twice":
                return [draw.randrange(1, 10 * MINUTE), draw.randrange(10 * MINUTE, bound)]
            case _:
                return []

    def _payment_fields(self, payment: str) -> dict[str, object]:
        draw = self._random
        return {
            "payment": payment,
            "card": f"c{int(draw.paretovariate(0.8)) % 25}",
            "shop": None if draw.random() < 0.03 else f"s{draw.randrange(8)}",
            "amount": None if draw.random() < 0.05 else round(draw.lognormvariate(3, 1), 2),
            "refunded": draw.random() < 0.2,
        }

    def _outcome_fields(self, payment: str, fraud: bool) -> dict[str, object]:
        draw = self._random
        return {
            "outcome": self._id("outcome"),
            "payment": payment,
            "shop": f"s{draw.randrange(8)}",
            "fraud": None if draw.random() < 0.03 else fraud,
            "loss": None if draw.random() < 0.1 else round(draw.expovariate(0.1), 3),
        }

    def _context(self, stream: str, at: int) -> Planned:
        draw, id = self._random, self._id(stream)
        if stream == "rated":
            return Planned(stream, at, {"rating": id, "shop": f"s{draw.randrange(8)}", "stars": draw.randrange(1, 6)})
        card = f"c{int(draw.paretovariate(0.8)) % 25}"
        return Planned(stream, at, {"visit": id, "card": card, "seconds": round(draw.expovariate(0.02), 3)})

    def _disordered(self, stream: str, events: list[Planned]) -> list[Planned]:
        """Return the events in the order of arrival: some of them follow newer ones, by less than the lateness."""
        lateness, draw = LATENESS[stream], self._random
        delays = [draw.randrange(lateness * 9 // 10) if lateness and draw.random() < 0.1 else 0 for _ in events]
        order = sorted(range(len(events)), key=lambda index: (events[index].at + delays[index], index))
        return [events[index] for index in order]

    def _refused(self, chapter: Chapter, end: int) -> None:
        """Add events that do not count."""
        draw = self._random
        for kind, share in _REFUSED.items():
            for _ in range(sum(draw.random() < share for _ in chapter.events["paid"])):
                if kind == "event ahead":
                    event = self._context("visited", end + 40 * DAY)
                else:
                    event = self._context("visited", max(end - HOUR, 0))
                    if kind == "event invalid":
                        event = Planned("visited", event.at, {**event.fields, "seconds": "many"})
                events = chapter.events[event.stream]
                if events or kind != "event late":
                    events.append(event)
                    chapter.situations[kind] += 1

    def _id(self, stream: str) -> str:
        self._numbers[stream] += 1
        return f"{stream[0]}{self._numbers[stream]:06d}"
