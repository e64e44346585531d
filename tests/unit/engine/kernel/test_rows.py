"""Rows compared with windows by definition, for any events, batches and restarts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.definition import AggregateDefinition, ViewDefinition, Window
from headrace.engine.kernel.assembly import read_stored
from headrace.engine.kernel.layout import Layout
from headrace.engine.kernel.rows import Operations, RowSet
from headrace.engine.kernel.tiles import AGGREGATES
from tests.unit.engine.kernel.naive import naive_values

SECOND = 1_000_000
VIEW = ViewDefinition(
    name="v",
    stream="s",
    by=("k",),
    where=None,
    columns=(),
    aggregates=(AggregateDefinition("n", "count", None), *(AggregateDefinition(op, op, "x") for op in AGGREGATES)),
    windows=(Window("24s", 24 * SECOND, 2 * SECOND), Window("3m", 180 * SECOND, 15 * SECOND)),
    resolution=SECOND,
    keep=20 * SECOND,
)
LAYOUT = Layout(VIEW)

Event = tuple[str, int, float]


def execute(rows: RowSet, steps: Sequence[tuple[int, str, int, float]], first: int = 0) -> np.ndarray:
    """Run (kind, key, time, x) steps; positions follow their place. Return the values of the reads."""
    kinds = np.array([kind for kind, *_ in steps], np.int8)
    slots = np.array([rows.add(key) if kind == 0 else rows.slot(key) for kind, key, *_ in steps], np.int64)
    times = np.array([time for _, _, time, _ in steps], np.int64)
    folds = [(index, x) for index, (kind, _, _, x) in enumerate(steps) if kind == 0]
    values = np.array([[x] for _, x in folds]).reshape(-1, 1)
    positions = np.array([(first + index, 0, -1) for index, _ in folds], np.int64).reshape(-1, 3)
    reads = rows.run(Operations(kinds, slots, times, values, positions))
    return LAYOUT.finish([reads.parts])


# Times move forward with a little disorder, over several windows' length.
xs = st.one_of(st.floats(-1e6, 1e6), st.just(math.nan))
moves = st.lists(
    st.tuples(st.sampled_from(["a", "b"]), st.integers(-60 * SECOND, 40 * SECOND), xs), min_size=1, max_size=60
)


def timeline(steps: list[tuple[str, int, float]]) -> list[Event]:
    now, events = 1_000 * SECOND, []
    for key, step, x in steps:
        events.append((key, now + min(step, 0), x))
        now += max(step, 0)
    return events


@given(moves, st.integers(0, 20 * SECOND))
def test_a_read_equals_the_definition(steps: list[tuple[str, int, float]], back: int) -> None:
    events = timeline(steps)
    rows = RowSet(LAYOUT, capacity=2)
    execute(rows, [(0, *event) for event in events])
    for key in {key for key, _, _ in events}:
        key_events = [(time, {"x": x}) for name, time, x in events if name == key]
        newest = max(time for time, _ in key_events)
        for t in (newest - back, newest, newest + 1, newest + 33 * SECOND, newest + 1_000 * SECOND):
            got = execute(rows, [(1, key, t, 0.0)])[0]
            np.testing.assert_allclose(got, naive_values(VIEW, key_events, t), rtol=1e-9, atol=1e-6)


@given(moves, st.data())
@settings(max_examples=50)
def test_batches_restarts_and_redelivery_change_no_bit(
    steps: list[tuple[str, int, float]], data: st.DataObject
) -> None:
    events = timeline(steps)
    row_set = RowSet(LAYOUT)
    execute(row_set, [(0, *event) for event in events])
    cut = data.draw(st.integers(0, len(events)))
    again = data.draw(st.integers(0, cut))
    rows = RowSet(LAYOUT, capacity=1)
    execute(rows, [(0, *event) for event in events[:cut]])
    restored = RowSet(LAYOUT, capacity=1)
    keys = [key for key in ("a", "b") if key in rows]
    for key, stored in zip(keys, rows.dump([rows.slot(key) for key in keys], 1), strict=True):
        restored.add(key, stored)
    execute(restored, [(0, *event) for event in events[again:]], first=again)
    for key in ("a", "b"):
        if key in row_set:
            assert restored.dump([restored.slot(key)], 7) == row_set.dump([row_set.slot(key)], 7)


@given(moves, st.integers(0, 60))
@settings(max_examples=50)
def test_a_row_that_is_ahead_reads_as_it_did(steps: list[tuple[str, int, float]], at: int) -> None:
    """Reading at t gives the same bits before and after younger events were folded."""
    events = sorted(timeline(steps), key=lambda event: event[1])
    at = min(at, len(events) - 1)
    t = events[at][1]
    younger = [event for event in events if t <= event[1] <= t + VIEW.keep]
    older = [event for event in events if event[1] < t]
    rows = RowSet(LAYOUT)
    execute(rows, [(0, *event) for event in older])
    before = execute(rows, [(1, "a", t, 0.0), (1, "b", t, 0.0)])
    execute(rows, [(0, *event) for event in younger], first=len(older))
    after = execute(rows, [(1, "a", t, 0.0), (1, "b", t, 0.0)])
    np.testing.assert_array_equal(before, after)


def parts_of(events: Sequence[Event]) -> np.ndarray:
    """Return what one partition holds of entity "a", read after all events."""
    rows = RowSet(LAYOUT)
    execute(rows, [(0, "a", time, x) for _, time, x in events])
    slots, now = np.array([rows.slot("a")], np.int64), np.array([2_000 * SECOND], np.int64)
    return rows.run(Operations(np.ones(1, np.int8), slots, now, np.empty((0, 1)), np.empty((0, 3), np.int64))).parts


near = st.lists(
    st.tuples(st.just("a"), st.integers(1_880 * SECOND, 1_999 * SECOND), st.one_of(xs, st.sampled_from([0.0, -0.0]))),
    max_size=12,
)


@given(near, near, near, st.permutations(range(3)))
@settings(max_examples=60)
def test_partitions_merge_in_any_order_to_the_bit_but_for_sums(
    first: list[Event], second: list[Event], third: list[Event], order: list[int]
) -> None:
    """Counts and extremes are the same in any order and grouping. Sums of floats are not: their order is fixed."""
    parts = [parts_of(state) for state in (first, second, third)]
    plain = LAYOUT.finish(parts)
    grouped = parts[1].copy()
    LAYOUT.merge(grouped, parts[2])
    permuted = [parts[place] for place in order]
    exact = [LAYOUT.value_index(name, w.name) for name in ("n", "count", "min", "max") for w in VIEW.windows]
    sums = [LAYOUT.value_index(name, w.name) for name in ("sum", "mean", "std") for w in VIEW.windows]
    for other in (LAYOUT.finish([parts[0], grouped]), LAYOUT.finish(permuted)):
        assert other[:, exact].tobytes() == plain[:, exact].tobytes()
        np.testing.assert_allclose(other[:, sums], plain[:, sums], rtol=1e-9, atol=1e-3)
    assert LAYOUT.finish([parts_of(state) for state in (first, second, third)]).tobytes() == plain.tobytes()


def test_a_stored_row_reads_as_the_row_in_memory() -> None:
    rows = RowSet(LAYOUT)
    execute(rows, [(0, "a", 1_000 * SECOND + index * SECOND, float(index)) for index in range(200)])
    t = 1_190 * SECOND
    stored = rows.dump([rows.slot("a")], 3)
    times = np.array([t, t], np.int64)
    reads = read_stored(LAYOUT, times, [stored[0], None])
    np.testing.assert_array_equal(LAYOUT.finish([reads.parts])[0], execute(rows, [(1, "a", t, 0.0)])[0])
    assert LAYOUT.finish([reads.parts])[1][:3].tolist() == [0.0, 0.0, 0.0]
    assert reads.cuts.tolist() == [[199, 0, -1], [-1, -1, -1]]


def test_variance_survives_a_large_mean() -> None:
    rows = RowSet(LAYOUT)
    execute(rows, [(0, "a", (1_000 + index) * SECOND, 1e9 + x) for index, x in enumerate((4.0, 7.0, 13.0, 16.0))])
    values = execute(rows, [(1, "a", 1_010 * SECOND, 0.0)])[0]
    assert values[LAYOUT.value_index("std", "24s")] == pytest.approx(math.sqrt(30.0), rel=1e-12)


def test_a_forgotten_row_leaves_its_room() -> None:
    rows = RowSet(LAYOUT, capacity=1)
    for round_ in range(50):
        execute(rows, [(0, "a", (1_000 + round_) * SECOND, 1.0)], first=round_)
        rows.forget(["a"])
    assert len(rows) == 0
    assert execute(rows, [(1, "a", 2_000 * SECOND, 0.0)])[0][0] == 0.0


def test_reading_behind_the_kept_ticks_is_counted() -> None:
    rows = RowSet(LAYOUT)
    execute(rows, [(0, "a", 1_000 * SECOND, 1.0), (0, "a", 1_100 * SECOND, 1.0)])
    slots = np.array([rows.slot("a")], np.int64)
    reads = rows.run(
        Operations(np.ones(1, np.int8), slots, np.array([1_001 * SECOND]), np.empty((0, 1)), np.empty((0, 3), np.int64))
    )
    assert reads.behind == 1
