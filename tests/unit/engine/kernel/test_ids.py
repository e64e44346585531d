"""The ids that a partition remembers, and the order in which it forgets them."""

from __future__ import annotations

import json
from itertools import takewhile

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headrace.definition import Field, FieldType, StreamDefinition
from headrace.engine.events import StreamCodec
from headrace.engine.events.columns import EventColumns
from headrace.engine.kernel.partition import Partition, Progress

HORIZON = 10
STREAM = StreamDefinition(
    "s", (Field("id", FieldType.STRING), Field("at", FieldType.TIME)), "id", "at", "id", 3, HORIZON, ids=6
)
CODEC = StreamCodec(STREAM)

_events = st.lists(st.tuples(st.sampled_from("abcdefghij"), st.integers(0, 4), st.booleans()), max_size=40)


class Naive:
    """The ids as a dictionary in the order of acceptance, scanned from its beginning each time."""

    def __init__(self) -> None:
        self.seen: dict[str, int] = {}
        self.newest = -(2**62)

    def accept(self, event_id: str, time: int) -> None:
        if (
            event_id in self.seen and self.seen[event_id] >= self.newest - HORIZON
        ) or time < self.newest - STREAM.lateness:
            return
        self.newest = max(self.newest, time)
        self.seen.pop(event_id, None)
        self.seen[event_id] = time
        if len(self.seen) > STREAM.ids:
            del self.seen[next(iter(self.seen))]

    def outdated(self) -> list[str]:
        return list(takewhile(lambda id: self.seen[id] < self.newest - HORIZON, self.seen))


@given(_events)
def test_ids_are_forgotten_in_the_order_of_their_acceptance(events: list[tuple[str, int, bool]]) -> None:
    partition, naive, now = Partition(STREAM, Progress(), {}, ()), Naive(), 0
    for place, (event_id, step, forget) in enumerate(events):
        now += step
        columns, _, _ = CODEC.columns([json.dumps({"id": event_id, "at": now - place % 3}).encode()])
        partition.accept(columns, [(0, place, -1)], [0])
        naive.accept(event_id, now - place % 3)
        assert partition.outdated_ids() == naive.outdated()
        if forget:
            partition.forget_ids()
            for outdated in naive.outdated():
                del naive.seen[outdated]
        assert partition.seen == naive.seen


def test_long_ids_are_remembered_by_a_digest() -> None:
    partition = Partition(STREAM, Progress(), {}, ())
    ids = ["a" * 64, "a" * 65, "a" * 60_000 + "1", "a" * 60_000 + "2", "\ud800" * 65]
    for place, event_id in enumerate(ids):
        for sent, refused in ((0, 0), (1, 1)):
            columns = EventColumns(np.array([place]), [event_id], {})
            assert len(partition.accept(columns, [(0, 2 * place + sent, -1)], [0])) == refused
    assert len(partition.seen) == len(ids)
    assert "a" * 64 in partition.seen
    assert {len(event_id) for event_id in partition.seen} == {64}
