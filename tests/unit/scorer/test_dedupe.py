"""The outputs that a reader accepts: each once, in order, and none of a superseded owner."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headrace.wire.deduplication import Accepted
from headrace.wire.position import Position

# The outputs of owners, in order: each starts with its marker, after or before the place where the last one ended.
owners = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 8)), min_size=1, max_size=5)


def key(place: int) -> bytes:
    return Position(1, place, -1).to_bytes()


@given(owners, st.data())
def test_each_output_is_taken_once_whatever_zombies_and_redelivery_do(
    spans: list[tuple[int, int]], data: st.DataObject
) -> None:
    log: list[tuple[int, int | None]] = []  # (epoch, place, or None for the marker)
    written: list[list[tuple[int, int | None]]] = []
    reached = 0
    for epoch, (back, count) in enumerate(spans, 1):
        first = max(reached - back, 0)
        messages: list[tuple[int, int | None]] = [
            (epoch, None),
            *((epoch, place) for place in range(first, first + count)),
        ]
        # Earlier owners may still write what they would have written next.
        zombies = [(old, place) for old in range(1, epoch) for place in range(reached, reached + 2)]
        log += [messages[0], *data.draw(st.permutations([*zombies, messages[0]])), *messages[1:]]
        written.append(messages)
        reached = max(reached, first + count)
    # The broker redelivers some of the log, from any place.
    start = data.draw(st.integers(0, len(log)))
    delivered = log + log[start:]
    accepted = Accepted()
    taken: list[tuple[int, int]] = []
    for epoch, place in delivered:
        if place is None:
            accepted.mark(epoch)
        elif accepted.take(epoch, [key(place)]):
            taken.append((epoch, place))
    places = [place for _, place in taken]
    assert places == sorted(set(places)), "once each, in order"
    assert places == list(range(reached)), "none is missing"
    for epoch, place in taken:
        assert (epoch, place) in written[epoch - 1], "none of a superseded owner"


@given(st.lists(st.integers(0, 30), max_size=40), st.integers(0, 40))
def test_batches_and_restarts_change_nothing(places: list[int], cut: int) -> None:
    accepted = Accepted()
    one_by_one = [place for place in places if accepted.take(1, [key(place)])]
    first = Accepted()
    taken = [places[index] for index in first.take(1, [key(place) for place in places[:cut]])]
    second = Accepted(first.epoch, first.position)
    taken += [places[cut:][index] for index in second.take(1, [key(place) for place in places[cut:]])]
    assert taken == one_by_one
