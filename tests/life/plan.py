"""The actions of a life, one after another: pure, endless, and the same for the same seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from random import Random
from typing import Generic, TypeVar

from tests.life.chapters import DAY, HOUR, MINUTE, Chapter, Planned, Writer
from tests.life.loops import CHANGES, LEFT_OUT, REMAKING, REVERSIBLE, STREAMS, Shape

#: The event time that has passed before the moment at which the life begins.
HISTORY = 12 * DAY

#: Services that are restarted.
RESTARTED = ("ingest", "feature", "learner", "scorer")

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Write:
    """An action that writes events of some streams.

    Attributes
    ----------
    how
        play, send, grpc or pulsar.
    events
        By stream, in the order in which files are given and streams are sent.
    disturbed
        How a play is stopped in the middle: "interrupted" by Ctrl-C, or "suspended" for `idles`.
    more
        Whether more events follow, so that a play does not end the history.
    """

    how: str
    events: dict[str, list[Planned]]
    situations: Counter[str] = field(default_factory=Counter)
    disturbed: str = ""
    idles: float = 0.0
    more: bool = False

    def __str__(self) -> str:
        counts = ", ".join(f"{len(events)} {name}" for name, events in self.events.items() if events)
        return " ".join(part for part in (self.how, self.disturbed, counts, "(more)" if self.more else "") if part)


@dataclass(frozen=True)
class Pause:
    """A pause, as a multiple of `idle`."""

    idles: float
    where: str

    def __str__(self) -> str:
        return f"pause of {self.idles:.1f} idle {self.where}"


@dataclass(frozen=True)
class Restart:
    """A restart of a service, of "all" of them, or of the whole loop ("up"), each in order."""

    what: str

    def __str__(self) -> str:
        return "down and up again" if self.what == "up" else f"restart {self.what}"


@dataclass(frozen=True)
class Mark:
    """A mark that nothing before `until` follows on a stream; None means the greatest int64."""

    stream: str
    until: int | None

    def __str__(self) -> str:
        return f"{'wrong ' if self.until is None else ''}mark {self.stream}"


@dataclass(frozen=True)
class Change:
    """A change of the loop's file, between a stop and a start of the loop: "view added" and the like.

    Attributes
    ----------
    held
        Whether the examples that it has made again are not finished before the writes that follow directly.
    """

    what: str
    shape: Shape
    held: bool = False

    def __str__(self) -> str:
        return f"changed file: {self.what}"


@dataclass(frozen=True)
class Compare:
    """A comparison with the oracle, once the loop has caught up."""

    def __str__(self) -> str:
        return "compare"


Action = Write | Pause | Restart | Mark | Change | Compare


class Deck(Generic[_Item]):
    """A deck that deals items in random order, each once before any comes again."""

    def __init__(self, draw: Random, items: Sequence[_Item]) -> None:
        self._draw = draw
        self._items = list(items)
        self._left: list[_Item] = []

    def next(self) -> _Item:
        if not self._left:
            self._left = self._draw.sample(self._items, len(self._items))
        return self._left.pop()


class Plan:
    """The actions of one life.

    Parameters
    ----------
    compares
        The probability of a comparison after each chapter.

    Attributes
    ----------
    partitions
        Partitions of each stream, if the broker has partitions.
    """

    def __init__(self, seed: int, compares: float = 0.35) -> None:
        self._draw = Random(seed)
        self._compares = compares
        self._writer = Writer(seed + 1)
        self.partitions = self._draw.randint(1, 4)
        self._visits = (self._draw.randrange(3), self._draw.randrange(5, 12))
        self._ratings = self._draw.choice([None, 2, 4])
        self._adopts = self._draw.randrange(3, 7)
        self._number = 0
        self._adopted = False
        self._deliveries = Deck(self._draw, _DELIVERIES)
        self._interludes = Deck(self._draw, _INTERLUDES)
        self._changes = Deck(self._draw, tuple(CHANGES))
        self._shape = Shape()

    def actions(self) -> Iterator[Action]:
        """Yield all actions, without end."""
        while True:
            chapter = self._adoption() if self._number == self._adopts else self._ordinary()
            yield from (
                action for action in chapter if not isinstance(action, Write) or action.events or action.situations
            )
            self._number += 1

    def _ordinary(self) -> Iterator[Action]:
        deliver = _DELIVERIES_BY_NAME[self._deliveries.next()]
        yield from deliver(self, self._chapter(burst=deliver is _burst))
        yield from self._interlude(self._interludes.next())
        if self._draw.random() < self._compares:
            yield Compare()

    def _chapter(self, burst: bool = False) -> Chapter:
        draw = self._draw
        span = draw.randrange(5 * MINUTE, 20 * MINUTE) if self._adopted else draw.randrange(20 * MINUTE, 5 * HOUR)
        first, last = self._visits
        visits = first <= self._number < last
        ratings = self._ratings is not None and self._number >= self._ratings
        chapter = self._writer.chapter(
            span, 1_500 if burst else draw.randrange(40, 250), visits=visits, ratings=ratings
        )
        chapter.situations["stream late"] += int(visits and self._number == first > 0)
        chapter.situations["stream ended early"] += int(self._number == last)
        chapter.situations["stream that has not come"] += int(not ratings)
        return chapter

    def _interlude(self, what: str) -> Iterator[Action]:
        draw = self._draw
        if what == "mark":
            yield Mark("outcome", self._writer.now - HOUR)
            yield Mark("visited", self._writer.now)
            # Any Pulsar client may write this mark; it must be refused, or everything that waits would expire.
            yield Mark("outcome", None)
            # Within the lateness, but before the mark.
            yield Write("grpc", self._writer.behind("visited"), Counter({"event behind a mark": 5}))
        elif what.startswith("pause"):
            yield Pause(draw.uniform(0.0, 1.0) if what == "pause short" else draw.uniform(1.0, 10.0), "between files")
        elif what == "change":
            yield self.change()
        elif what == "change and back":
            before, changed = self._shape, draw.choice(REVERSIBLE)
            yield Change(changed, CHANGES[changed](before))
            if changed == LEFT_OUT:
                yield from _DELIVERIES_BY_NAME[self._deliveries.next()](self, self._chapter())
            yield Pause(draw.uniform(0.0, 10.0), "before a former file returns")
            yield Change("changed back", before)
        else:
            yield Restart(what)
            if what == "up" and not self._adopted:
                self._writer.skip_to(self._writer.now + DAY)

    def _adoption(self) -> Iterator[Action]:
        """Yield day one of an adopter: history by play, then live producers that overlap it by a day."""
        self._writer.skip_to(HISTORY - 2 * DAY)
        history = self._writer.chapter(2 * DAY - MINUTE, 300, visits=False)
        live = self._writer.live(self._draw.randrange(20, 60))
        overlap = {
            name: [event for event in events if event.at >= HISTORY - DAY] for name, events in history.events.items()
        }
        yield self.write("play", history.events, history.situations)
        yield self.pause("between history and live")
        how = self._draw.choice(["grpc", "pulsar"])
        yield self.write(how, overlap)
        yield self.write(how, live.events, Counter({"history, then live": 1}))
        self._writer.skip_to(HISTORY + HOUR)
        self._adopted = True

    def write(
        self,
        how: str,
        events: dict[str, list[Planned]],
        situations: Counter[str] | None = None,
        **options: object,
    ) -> Write:
        by_stream = {name: events[name] for name in self._draw.sample(list(events), len(events)) if events[name]}
        return Write(how, by_stream, situations or Counter(), **options)  # type: ignore[arg-type]

    def change(self, what: str = "") -> Change:
        """Return a change, by default the next one that has an effect: an absent part cannot be removed."""
        before = self._shape
        self._shape = CHANGES[what](before) if what else before
        while self._shape == before:
            what = self._changes.next()
            self._shape = CHANGES[what](before)
        return Change(what, self._shape)

    def pause(self, where: str) -> Pause:
        """Draw a pause; half of the pauses are shorter than `idle`."""
        short = self._draw.random() < 0.5
        return Pause(self._draw.uniform(0.0, 1.0) if short else self._draw.uniform(1.0, 10.0), where)

    def past(self, chapter: Chapter) -> dict[str, list[Planned]]:
        """Return the events that are not far ahead: a play at a given speed would wait for the others."""
        return {
            name: [event for event in events if event.at < self._writer.now] for name, events in chapter.events.items()
        }

    def shuffled(self, names: Sequence[str]) -> list[str]:
        return self._draw.sample(list(names), len(names))

    def choice(self, items: Sequence[str]) -> str:
        return self._draw.choice(items)


def halves(events: dict[str, list[Planned]]) -> list[dict[str, list[Planned]]]:
    """Split the events into two files for each stream, cut at the same time, in the order of writing."""
    times = sorted(event.at for stream_events in events.values() for event in stream_events)
    middle = times[len(times) // 2] if times else 0
    cuts = {
        name: next((i for i, e in enumerate(stream_events) if e.at >= middle), len(stream_events))
        for name, stream_events in events.items()
    }
    first = {name: stream_events[: cuts[name]] for name, stream_events in events.items()}
    return [first, {name: stream_events[cuts[name] :] for name, stream_events in events.items()}]


def _play(plan: Plan, chapter: Chapter) -> Iterator[Action]:
    yield plan.write("play", chapter.events, chapter.situations, more=plan.choice(["", "more"]) == "more")


def _play_halves(plan: Plan, chapter: Chapter) -> Iterator[Action]:
    first, second = halves(chapter.events)
    yield plan.write("play", first, chapter.situations)
    yield plan.pause("in the middle of a file")
    yield plan.write("play", second)


def _play_suspended(plan: Plan, chapter: Chapter) -> Iterator[Action]:
    pause = plan.pause("in the middle of a play")
    situations = chapter.situations + Counter({"pause during a play": 1})
    yield plan.write("play", plan.past(chapter), situations, disturbed="suspended", idles=pause.idles)


def _play_interrupted(plan: Plan, chapter: Chapter) -> Iterator[Action]:
    situations = chapter.situations + Counter({"Ctrl-C in a file, then all of it": 1})
    events = plan.past(chapter)
    yield plan.write("play", events, situations, disturbed="interrupted")
    yield plan.pause("after Ctrl-C")
    yield plan.write("play", events)


def _play_twice(plan: Plan, chapter: Chapter) -> Iterator[Action]:
    yield plan.write("play", chapter.events, chapter.situations)
    yield plan.pause("between files")
    yield plan.write("play", chapter.events, Counter({"same file twice": 1}))


def _send_in_turn(plan: Plan, chapter: Chapter) -> Iterator[Action]:
    for index, name in enumerate(plan.shuffled(list(STREAMS))):
        yield plan.write("send", {name: chapter.events[name]}, chapter.situations if index == 0 else None)
        yield plan.pause("between streams")


def _send_halves(plan: Plan, chapter: Chapter) -> Iterator[Action]:
    order = plan.shuffled(list(STREAMS))
    for part, events in enumerate(halves(chapter.events)):
        for index, name in enumerate(order):
            yield plan.write("send", {name: events[name]}, chapter.situations if part == index == 0 else None)
        yield plan.pause("between halves")


def _send_twice(plan: Plan, chapter: Chapter) -> Iterator[Action]:
    yield plan.write("send", chapter.events, chapter.situations)
    yield Restart("feature")
    yield plan.write("send", chapter.events, Counter({"same file twice": 1}))


def _pulsar_bursts(plan: Plan, chapter: Chapter) -> Iterator[Action]:
    first, rest = halves(chapter.events)
    second, third = halves(rest)
    for index, events in enumerate((first, second, third)):
        yield plan.write("pulsar", events, chapter.situations if index == 0 else None)
        yield plan.pause("between bursts")


def _grpc_bursts(plan: Plan, chapter: Chapter) -> Iterator[Action]:
    """Write questions between events that they need: those are not idle yet, so the questions wait for the rest."""
    first, rest = halves(chapter.events)
    second, third = ({name: part[name] for name in part if name != "paid"} for part in halves(rest))
    for index, events in enumerate(halves(first)):
        yield plan.write("grpc", events, chapter.situations if index == 0 else None)
        yield plan.pause("between bursts")
    yield plan.write("grpc", second)
    # Longer than a delivery takes, and shorter than `idle`.
    yield Pause(0.6, "before questions that wait for more")
    yield plan.write("grpc", {"paid": rest["paid"]})
    yield plan.write("grpc", third, Counter({"questions before what they need": 1}))
    yield plan.pause("between bursts")


def _own_producers(plan: Plan, chapter: Chapter) -> Iterator[Action]:
    hows = plan.shuffled(["play", "send", "grpc", "pulsar"])
    for index, name in enumerate(plan.shuffled(list(STREAMS))):
        yield plan.write(hows[index], {name: chapter.events[name]}, chapter.situations if index == 0 else None)
        yield plan.pause("between producers")


def _burst(plan: Plan, chapter: Chapter) -> Iterator[Action]:
    how = plan.choice(["grpc", "pulsar", "play"])
    yield plan.write(how, chapter.events, chapter.situations + Counter({"burst": 1}))


def _changed_between(plan: Plan, chapter: Chapter) -> Iterator[Action]:
    """Change the file between questions and their labels, which then come while the examples are made again."""
    asked = {name: events for name, events in chapter.events.items() if name != "outcome"}
    yield plan.write("send", asked, chapter.situations)
    yield replace(plan.change(plan.choice(REMAKING)), held=True)
    labels = {"outcome": chapter.events["outcome"]}
    first, rest = halves(labels)
    for events in (first, *halves(rest)):
        yield plan.write("grpc", events, Counter({"labels while examples are made": 1}))


_DELIVERIES_BY_NAME = {
    "play": _play,
    "play halves": _play_halves,
    "play suspended": _play_suspended,
    "play interrupted": _play_interrupted,
    "play twice": _play_twice,
    "send in turn": _send_in_turn,
    "send halves": _send_halves,
    "send twice": _send_twice,
    "grpc bursts": _grpc_bursts,
    "pulsar bursts": _pulsar_bursts,
    "own producers": _own_producers,
    "burst": _burst,
    "changed between": _changed_between,
}
_DELIVERIES = tuple(_DELIVERIES_BY_NAME)
_INTERLUDES = (
    "pause short",
    "pause long",
    "pause long",
    "mark",
    "all",
    "up",
    "change",
    "change",
    "change and back",
    *RESTARTED,
)


def prefix(seed: int, length: int) -> list[Action]:
    """Return the first actions of a life."""
    return list(islice(Plan(seed).actions(), length))
