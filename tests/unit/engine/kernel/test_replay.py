"""Vectors recomputed from whole logs: bit for bit what the fold made; and the effects of changing one event."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.engine.events import EventColumns, StreamCodec
from headrace.engine.kernel.assembly import Assembled
from headrace.engine.kernel.partition import Partition, PartitionId, Progress, Waiting
from headrace.engine.kernel.vector_replay import VectorReplay, orders_of
from tests.support.kernel_loop import Event, Worker, logs, loop, run, steps, timeline
from tests.unit.engine.kernel.naive import naive_values


def accepted(events: Sequence[tuple[int, Event]], name: PartitionId, sizes: random.Random, parts: int) -> list[Waiting]:
    """Return what a partition's owner accepts of its log, in batches of any sizes."""
    stream = loop(parts).stream(name.stream)
    codec, partition = StreamCodec(stream), Partition(stream, Progress(), {}, ())
    found: list[Waiting] = []
    rest = list(events)
    while rest:
        size = sizes.randint(1, 9)
        batch, rest = rest[:size], rest[size:]
        payloads = [msgspec.json.encode({"id": e.id, "at": e.at, "k": e.k, "x": e.x}) for _, e in batch]
        partition.accept(codec.columns(payloads)[0], [(place, 0, -1) for place, _ in batch], [0] * len(batch), 0)
        if partition.waiting is not None:
            found.append(partition.waiting)
            partition.waiting = None
    return found


def replayed(
    events: Sequence[Event], parts: int, seed: int, cuts: dict[str, list[list[int]]] | None = None
) -> tuple[dict[str, list[float]], Assembled]:
    """Recompute every vector, at its cut or completely."""
    sizes = random.Random(seed)
    by_partition = logs(events, parts)
    batches = [
        batch
        for part in range(parts)
        for batch in accepted(by_partition[PartitionId("a", part)], PartitionId("a", part), sizes, parts)
    ]
    if not batches:
        return {}, Assembled(np.empty((0, 0)), [], np.empty((0, 0, 3), np.int64), np.empty((0, 0), np.int64), 0)
    columns = EventColumns.concat([batch.columns for batch in batches])
    keys = np.concatenate([batch.keys for batch in batches])
    recorded = None if cuts is None else np.array([cuts[id] for id in columns.ids], np.int64)
    replay = VectorReplay(loop(parts), loop(parts).models[0], columns, keys, cuts=recorded)
    for name in replay.streams:
        for part in range(parts):
            partition = PartitionId(name, part)
            folded = replay.partition(partition)
            for batch in accepted(by_partition[partition], partition, sizes, parts):
                folded.fold(batch)
            folded.finish()
            assert folded.done
    result = replay.assemble()
    return dict(zip(columns.ids, result.numbers.tolist(), strict=True)), result


def bits(vectors: dict[str, list[float]]) -> dict[str, bytes]:
    return {id: np.array(values).tobytes() for id, values in vectors.items()}


def made_by(worker: Worker) -> tuple[dict[str, list[float]], dict[str, list[list[int]]]]:
    return {id: values for id, (values, _) in worker.vectors.items()}, {
        id: cut for id, (_, cut) in worker.vectors.items()
    }


@given(steps, st.integers(1, 2), st.integers(0, 2**32))
@settings(max_examples=30)
def test_a_vector_at_its_cut_is_the_vector_that_was_made(
    moves: list[tuple[str, int, str, float]], parts: int, seed: int
) -> None:
    events = timeline(moves)
    vectors, cuts = made_by(run(events, parts, random.Random(seed)))
    found, result = replayed(events, parts, seed, cuts)
    assert bits(found) == bits(vectors)
    assert dict(zip(found, result.cuts.tolist(), strict=True)) == cuts


@given(steps, st.integers(1, 2), st.integers(0, 2**32))
@settings(max_examples=20)
def test_a_complete_vector_is_one_that_waited_for_all(
    moves: list[tuple[str, int, str, float]], parts: int, seed: int
) -> None:
    events = timeline(moves)
    assert bits(replayed(events, parts, seed)[0]) == bits(made_by(run(events, parts, None))[0])


@given(steps, st.integers(0, 2**32), st.data())
@settings(max_examples=25)
def test_one_event_altered_changes_what_the_definition_says(
    moves: list[tuple[str, int, str, float]], seed: int, data: st.DataObject
) -> None:
    events = timeline(moves)
    place = data.draw(st.integers(0, len(events) - 1))
    key = data.draw(st.sampled_from(["p", "q", "r"]))
    altered = [*events[:place], replace(events[place], x=events[place].x + 1_000.0, k=key), *events[place + 1 :]]
    before, after = bits(replayed(events, 1, seed)[0]), bits(replayed(altered, 1, seed)[0])
    assert {id for id in before if before[id] != after[id]} == {
        id for id in before if naive(events, id) != naive(altered, id)
    }


def naive(events: Sequence[Event], id: str) -> list[str]:
    (event,) = (e for e in events if e.id == id)
    values = [event.x]
    for name, of in (("asked", "a"), ("seen", "b")):
        past = [(e.at, {"x": e.x}) for e in events if e.stream == of and e.k == event.k]
        values += naive_values(loop().view(name), past, event.at)
    return [repr(value) for value in values]


def test_orders_are_those_of_positions() -> None:
    positions = [(-1, -1, -1), (0, 0, -1), (0, 0, 0), (0, 1, -1), (0, 256, 3), (0, 257, -1), (1, 0, -1), (2**40, 5, 0)]
    orders = orders_of(np.array(positions, np.int64))
    assert sorted(orders.tolist()) == orders.tolist()
    assert np.searchsorted(orders, orders).tolist() == list(range(len(positions)))
