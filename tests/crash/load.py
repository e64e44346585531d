"""The events of a run: the same for the same seed, whatever happens to them on their way.

Orders, clicks and the deliveries of orders in order of time, cut into slices of one tenth of a second
of wall time; some are invalid, and some are too late to count.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import orjson

STREAMS = ("ordered", "delivered", "clicked")
EPOCH = 1_700_000_000_000_000
SECOND = 1_000_000

#: Wall time of a slice, in seconds.
SLICE_S = 0.1


@dataclass(frozen=True)
class Load:
    """The parameters of a load.

    Attributes
    ----------
    seconds
        Wall time of the load, at its pace.
    rate
        Events per second of wall time.
    speed
        How many times faster the load runs than event time.
    again
        The share of slices that are sent twice, as by a client that lost its answer.
    invalid
        The share of invalid events.
    disorder
        How far (s of event time) an event may come behind newer ones; 0: in order.
    """

    seed: int
    seconds: float
    rate: int = 200
    speed: float = 60.0
    again: float = 0.15
    invalid: float = 0.01
    disorder: float = 0.0


@dataclass(frozen=True)
class Slice:
    """Events of all streams that go in one call; after it every stream gets the `mark`."""

    events: dict[str, list[bytes]]
    mark: int
    again: bool

    def __len__(self) -> int:
        return sum(map(len, self.events.values()))


@dataclass(frozen=True)
class Made:
    """An event: when it happened, when it arrives, and what is sent."""

    comes: int
    time: int
    stream: str
    payload: bytes


def slices(load: Load) -> list[Slice]:
    """Return all slices of a load, in order."""
    events = list(_Maker(load).events())
    size = max(1, round(load.rate * SLICE_S))
    again = Random(load.seed + 1)
    cut = [events[start : start + size] for start in range(0, len(events), size)]
    following = [_earliest(load, rest[0]) for rest in cut[1:]] + [0]
    return [
        Slice(_by_stream(part), mark, again.random() < load.again) for part, mark in zip(cut, following, strict=True)
    ]


def _earliest(load: Load, event: Made) -> int:
    """Return a time that no event from here on precedes."""
    return event.comes - round(load.disorder * SECOND)


def _by_stream(events: list[Made]) -> dict[str, list[bytes]]:
    return {stream: [event.payload for event in events if event.stream == stream] for stream in STREAMS}


class _Maker:
    def __init__(self, load: Load) -> None:
        self._load = load
        self._random = Random(load.seed)
        self._numbers = dict.fromkeys(STREAMS, 0)
        self._under_way: list[tuple[int, str, dict[str, object]]] = []
        self._pages: list[str] = ["p0"]

    def events(self) -> Iterator[Made]:
        load, draw = self._load, self._random
        step = load.speed / load.rate * SECOND
        count, now = round(load.rate * load.seconds), float(EPOCH)
        while count > 0:
            # Hundredths of a second, so that some events share a time.
            now += draw.expovariate(1 / step)
            moment = int(now) // 10_000 * 10_000
            if self._under_way and self._under_way[0][0] <= moment:
                at, _, event = heapq.heappop(self._under_way)
                now, moment = max(now - step, at), at
                yield self._made(at, "delivered", event)
            elif draw.random() < 0.62:
                yield self._made(moment, "ordered", self._order(moment))
            else:
                yield self._made(moment, "clicked", self._click(moment))
            count -= 1
            if draw.random() < load.invalid:
                yield self._invalid(moment)
                count -= 1

    def _made(self, time: int, stream: str, event: dict[str, object]) -> Made:
        comes, disorder = time, self._load.disorder
        if disorder and self._random.random() < 0.3:
            # Most of them are within the stream's lateness, some beyond.
            event["at"] = time = time - round(self._random.random() * disorder * SECOND)
        return Made(comes, time, stream, orjson.dumps(event))

    def _id(self, stream: str) -> str:
        self._numbers[stream] += 1
        return f"{stream[0]}{self._numbers[stream]:06d}"

    def _order(self, at: int) -> dict[str, object]:
        draw = self._random
        order, courier = self._id("ordered"), f"r{draw.randrange(30)}"
        amount = None if draw.random() < 0.05 else round(draw.lognormvariate(3, 1), 2)
        express = draw.random() < 0.3
        if draw.random() < 0.9:
            slow = int(courier[1:]) % 7
            minutes = round(max(2.0, draw.gauss(6 + slow - 3 * express, 2.5)), 2)
            arrived = (at + int(minutes * 60 * SECOND)) // 10_000 * 10_000
            event = {
                "delivery": self._id("delivered"), "at": arrived, "order": order, "courier": courier,
                "minutes": minutes,
            }  # fmt: skip
            heapq.heappush(self._under_way, (arrived, order, event))
        customer = f"c{int(draw.paretovariate(0.7)) % 200}"
        shop = f"s{draw.randrange(40)}"
        return {
            "order": order, "at": at, "shop": shop, "customer": customer, "courier": courier, "amount": amount,
            "express": express,
        }  # fmt: skip

    def _click(self, at: int) -> dict[str, object]:
        draw = self._random
        page = f"p{draw.randrange(60)}"
        self._pages = [*self._pages[-20:], page]
        return {
            "click": self._id("clicked"), "at": at, "page": page, "customer": f"c{draw.randrange(200)}",
            "seconds": round(draw.expovariate(0.05), 3),
        }  # fmt: skip

    def _invalid(self, at: int) -> Made:
        draw = self._random
        click = self._id("clicked")
        match draw.randrange(4):
            case 0:
                payload = b"click %d, not JSON" % draw.randrange(10**9)
            case 1:
                payload = orjson.dumps({"click": click, "at": at, "page": "p1", "customer": "c1", "seconds": "many"})
            case 2:
                payload = orjson.dumps({"click": click, "at": at, "customer": "c1", "seconds": 1.0})
            case _:
                # The page has newer events: this one is an hour behind its partition, whatever was sent again.
                event = {"click": click, "at": at - 3_600 * SECOND, "page": self._pages[0], "customer": "c1"}
                payload = orjson.dumps({**event, "seconds": 1.0})
        return Made(at, at, "clicked", payload)
