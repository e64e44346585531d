"""The join: whatever comes first, in whatever batches, the examples are those of the definition, in its order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.frontier import ENDED, RESTING
from headrace.kernel.join import Join, Outcome, Pair, Vector

WAIT = 50


class Half(NamedTuple):
    """One half of a pair: of no other one has it the number, which is its vector or label."""

    id: str
    time: int
    number: int
    label: bool


halves = st.lists(st.tuples(st.text("abc", min_size=1, max_size=2), st.integers(0, 400), st.booleans()), max_size=40)


def expected(read: Sequence[Half]) -> tuple[list[tuple[int, str, int, int]], int, int]:
    """Examples by definition, and how many vectors and labels find no other half.

    An id's halves are gone through by event time. What comes in the wait after those that are there belongs to them:
    it completes them, or repeats one. What comes later is of another pair.
    """
    pairs: list[dict[bool, Half]] = []
    for own in {half.id for half in read}:
        until = -1
        for half in sorted((half for half in read if half.id == own), key=lambda half: half.time):
            if half.time > until:
                pairs.append({})
            elif len(pairs[-1]) == 2 or half.label in pairs[-1]:
                continue
            pairs[-1][half.label] = half
            until = half.time + WAIT
    out = [
        (max(pair[False].time, pair[True].time), pair[False].id, pair[False].number, pair[True].number)
        for pair in pairs
        if len(pair) == 2
    ]
    alone = [half.label for pair in pairs if len(pair) == 1 for half in pair.values()]
    return sorted(out), alone.count(False), alone.count(True)


def stored_and_read(pairs: dict[str, Pair]) -> dict[str, Pair]:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(pairs), type=dict[str, Pair])


@given(halves, st.sampled_from([1, 30, 1_000]), st.data())
def test_any_interleaving_gives_the_examples_of_the_definition(
    drawn: list[tuple[str, int, bool]], grain: int, data: st.DataObject
) -> None:
    """Of ids that come again and again, read in any turns, in any cuts, with restarts: by their times alone.

    A source is in order of time up to `grain`, and its frontier is as far as it can be.
    """
    every = [Half(own, time, number, label) for number, (own, time, label) in enumerate(drawn)]
    every.sort(key=lambda half: half.time // grain)
    sources = {label: [half for half in every if half.label is label] for label in (False, True)}
    join, stored, out, expired, unmatched = Join(WAIT), dict[str, Pair](), [], 0, 0

    def advance(limit: int) -> bool:
        nonlocal expired, unmatched
        vectors, labels = (min((half.time for half in source), default=ENDED) for source in sources.values())
        step = join.advance(vectors, labels, limit)
        for own, vector, outcome in step.examples:
            number = int.from_bytes(vector.payload, "big")
            out.append((max(vector.time, outcome.time), own, number, outcome.value))
        expired += step.expired
        unmatched += step.unmatched
        for own, pair in step.changed.items():
            stored.pop(own, None)
            if pair is not None:
                stored[own] = pair
        return bool(step.examples or step.changed)

    while any(sources.values()):
        label = data.draw(st.sampled_from([label for label, source in sources.items() if source]))
        for half in [sources[label].pop(0) for _ in range(data.draw(st.integers(1, len(sources[label]))))]:
            if label:
                join.outcome(half.id, Outcome(half.time, float(half.number)))
            else:
                join.vector(half.id, Vector(half.time, half.number.to_bytes(2, "big")))
        if data.draw(st.booleans()):
            advance(data.draw(st.integers(1, 9)))
            if data.draw(st.booleans()):
                join = Join(WAIT, stored_and_read(stored))
    while advance(3):
        pass
    assert (out, expired, unmatched) == expected(every)
    assert len(join) == 0
    assert stored == {}


AGAIN = [
    # The second pair comes before anything is known to be over.
    [("v", 100), ("l", 105), ("v", 200), ("l", 205)],
    # The label of the first pair comes after the vector of the second one, or after both.
    [("v", 100), ("v", 200), ("l", 105), ("l", 205)],
    [("v", 200), ("l", 205), ("v", 100), ("l", 105)],
    [("l", 105), ("l", 205), ("v", 100), ("v", 200)],
    # Repeats in between.
    [("v", 100), ("v", 130), ("l", 120), ("l", 150), ("v", 200), ("l", 205)],
]


@pytest.mark.parametrize("order", AGAIN)
@pytest.mark.parametrize("steps", [False, True])
@pytest.mark.parametrize("restarts", [False, True])
def test_an_id_that_comes_again_after_its_wait_is_a_new_one_however_it_is_read(
    order: list[tuple[str, int]], steps: bool, restarts: bool
) -> None:
    join, stored, out = Join(WAIT), dict[str, Pair](), []
    for place, (kind, time) in enumerate(order):
        if kind == "v":
            join.vector("x", Vector(time, str(time).encode()))
        else:
            join.outcome("x", Outcome(time, float(time)))
        if steps or place == len(order) - 1:
            left = order[place + 1 :]
            vectors, labels = (min([at for own, at in left if own == each], default=ENDED) for each in "vl")
            step = join.advance(vectors, labels, 10)
            out += [(own.vector.time, own.vector.payload, own.outcome.time) for own in step.examples]
            stored |= {own: pair for own, pair in step.changed.items() if pair}
            if restarts:
                join = Join(WAIT, stored_and_read(stored))
    first = 120 if ("l", 120) in order else 105
    assert out == [(100, b"100", first), (200, b"200", 205)]


def test_one_that_expires_makes_way_for_the_next_of_its_id_in_the_order_of_time() -> None:
    join = Join(WAIT)
    join.vector("x", Vector(100, b""))
    join.vector("x", Vector(200, b""))
    join.outcome("x", Outcome(205, 1.0))
    for own, time in (("y", 204), ("z", 206)):
        join.vector(own, Vector(time, b""))
        join.outcome(own, Outcome(time, 1.0))
    step = join.advance(ENDED, ENDED, 10)
    assert [(own.id, own.vector.time) for own in step.examples] == [("y", 204), ("x", 200), ("z", 206)]
    assert (step.expired, step.unmatched) == (1, 0)


def test_silence_lets_nobody_make_way_and_what_is_out_holds_nobody_back() -> None:
    join = Join(WAIT)
    join.vector("a", Vector(100, b""))
    join.vector("a", Vector(200, b""))
    join.vector("b", Vector(100, b""))
    join.outcome("b", Outcome(105, 1.0))
    join.vector("b", Vector(200, b""))
    join.outcome("b", Outcome(205, 1.0))
    assert join.advance(90, RESTING, 10).examples == []
    step = join.advance(RESTING, RESTING, 10)
    assert [(own.id, own.vector.time) for own in step.examples] == [("b", 100), ("b", 200)]
    assert step.expired == 0
    join.outcome("a", Outcome(105, 1.0))
    assert [(own.id, own.vector.time) for own in join.advance(RESTING, RESTING, 10).examples] == [("a", 100)]


def test_repeats_that_are_decided_are_not_kept() -> None:
    join = Join(1_000)
    for time in range(0, 1_000, 10):
        assert join.vector("a", Vector(time, b"")) == (time == 0)
        join.advance(time + 1, time + 1, 10)
    (pair,) = join._pairs.values()
    assert pair.later is None or len(pair.later.vectors) <= 1


def test_pairs_of_earlier_versions_are_read() -> None:
    waits = msgspec.msgpack.encode({"a": ((100, b"a"), None, False, 0), "b": ((100, b"b"), (300, 1.0), False, 0)})
    is_out = msgspec.msgpack.encode({"c": (None, None, True, 150)})
    read = {
        own: pair
        for part in (waits, is_out)
        for own, pair in msgspec.msgpack.decode(part, type=dict[str, Pair]).items()
    }
    join = Join(WAIT, read)
    assert join.outcome("a", Outcome(110, 1.0))
    assert join.vector("b", Vector(290, b"later"))
    assert not join.vector("c", Vector(150, b""))
    assert join.vector("c", Vector(151, b""))
    step = join.advance(ENDED, ENDED, 10)
    assert [(own.id, own.vector.payload) for own in step.examples] == [("a", b"a"), ("b", b"later")]
    assert (step.expired, step.unmatched) == (2, 0)


def test_the_first_vector_and_the_first_label_win() -> None:
    join = Join(WAIT)
    assert join.vector("a", Vector(10, b"first"))
    assert not join.vector("a", Vector(11, b"second"))
    assert join.outcome("a", Outcome(12, 1.0))
    assert not join.outcome("a", Outcome(13, 0.0))
    (example,) = join.advance(ENDED - 1, 20, 10).examples
    assert (example.vector.payload, example.outcome.value) == (b"first", 1.0)
    assert not join.vector("a", Vector(10, b"again"))
    assert not join.outcome("a", Outcome(12, 1.0))


def test_a_pair_waits_for_the_frontier_of_both_sources() -> None:
    join = Join(WAIT)
    join.vector("b", Vector(10, b""))
    join.outcome("b", Outcome(20, 1.0))
    assert join.advance(20, 100, 10).examples == []
    assert [example.id for example in join.advance(21, 21, 10).examples] == ["b"]


def test_a_label_after_the_wait_does_not_count_and_the_vector_expires() -> None:
    join = Join(WAIT)
    join.vector("a", Vector(10, b""))
    join.outcome("a", Outcome(61, 1.0))
    step = join.advance(ENDED, ENDED, 10)
    assert step.examples == []
    assert step.expired == 1
    assert step.changed == {"a": None}


def test_nothing_expires_while_all_rest() -> None:
    join = Join(WAIT)
    join.vector("a", Vector(10, b""))
    join.vector("b", Vector(100, b""))
    assert join.advance(100, 20, 10).expired == 0
    assert join.advance(RESTING, RESTING, 10).expired == 1  # time had come to 100 before
    assert join.advance(RESTING, RESTING, 10).expired == 0
    join.outcome("b", Outcome(120, 1.0))
    assert [example.id for example in join.advance(RESTING, RESTING, 10).examples] == ["b"]
    assert len(join) > 0


def test_everything_expires_at_the_end() -> None:
    join = Join(WAIT)
    join.vector("a", Vector(10, b""))
    assert join.advance(ENDED, RESTING, 10).expired == 0
    assert join.advance(ENDED, ENDED, 10).expired == 1


def test_what_is_out_is_remembered_for_the_wait_also_over_a_restart() -> None:
    """A request asked again, and its label sent again, are no second example."""
    for restarts in (False, True):
        join = Join(WAIT)
        join.vector("a", Vector(10, b""))
        join.outcome("a", Outcome(50, 1.0))
        step = join.advance(70, 70, 10)  # beyond what the vector alone would have waited
        assert [example.id for example in step.examples] == ["a"]
        if restarts:
            join = Join(WAIT, {own: pair for own, pair in step.changed.items() if pair is not None})
        assert join.advance(100, 100, 10).changed == {}
        assert not join.vector("a", Vector(10, b""))
        assert not join.outcome("a", Outcome(50, 1.0))
        assert join.advance(101, 101, 10).changed == {"a": None}
