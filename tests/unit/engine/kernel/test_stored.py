"""The one-pass reader compared with a row set for each view: the same bits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.definition import AggregateDefinition, ViewDefinition, Window
from headrace.engine.kernel.assembly import read_stored
from headrace.engine.kernel.layout import Layout
from headrace.engine.kernel.rows import Operations, RowSet
from headrace.engine.kernel.stored_rows import StoredReader
from headrace.engine.kernel.tiles import AGGREGATES, ROW_FORMAT
from headrace.errors import CorruptState
from headrace.wire.formats import FORMAT

SECOND = 1_000_000
ALL = tuple(AggregateDefinition(operation, operation, "x") for operation in AGGREGATES)


def view(aggregates: tuple[AggregateDefinition, ...], windows: tuple[Window, ...]) -> Layout:
    return Layout(ViewDefinition("v", "s", ("k",), None, (), aggregates, windows, SECOND, 20 * SECOND))


LAYOUTS = [
    view(ALL, (Window("24s", 24 * SECOND, 2 * SECOND), Window("3m", 180 * SECOND, 15 * SECOND))),
    view((AggregateDefinition("n", "count", None),), (Window("1m", 60 * SECOND, 5 * SECOND),)),
    view(ALL[2:4], (Window("2m", 120 * SECOND, 10 * SECOND),)),
]
PARTITIONS = [2, 1, 3]

histories = st.none() | st.lists(st.tuples(st.integers(0, 400), st.floats(-1e6, 1e6)), min_size=1, max_size=40)


def row(layout: Layout, events: list[tuple[int, float]] | None) -> bytes | None:
    if events is None:
        return None
    rows, count = RowSet(layout), len(events)
    values = np.array([[x] * len(layout.columns) for _, x in events]).reshape(count, -1)
    rows.run(
        Operations(
            np.zeros(count, np.int8),
            np.full(count, rows.add("a"), np.int64),
            np.array([1_000 * SECOND + second * SECOND for second, _ in events], np.int64),
            values,
            np.array([(7, place, place % 3 - 1) for place in range(count)], np.int64),
        )
    )
    return rows.dump([0], 5)[0]


@given(st.data())
@settings(max_examples=60)
def test_it_reads_what_row_sets_read(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 3))
    times = np.array([1_000 * SECOND + data.draw(st.integers(0, 600 * SECOND)) for _ in range(size)], np.int64)
    rows = [
        [
            [row(layout, data.draw(histories)) for _ in range(partitions)]
            for layout, partitions in zip(LAYOUTS, PARTITIONS, strict=True)
        ]
        for _ in range(size)
    ]
    found = StoredReader(LAYOUTS, PARTITIONS).run(times, rows)
    part = behind = 0
    for read, (layout, partitions) in enumerate(zip(LAYOUTS, PARTITIONS, strict=True)):
        reads = [read_stored(layout, times, [row[read][place] for row in rows]) for place in range(partitions)]
        expected = layout.finish([result.parts for result in reads])
        first = StoredReader(LAYOUTS, PARTITIONS).starts[read]
        np.testing.assert_array_equal(found.values[:, first : first + expected.shape[1]], expected)
        np.testing.assert_array_equal(found.newest[:, read], np.maximum.reduce([result.newest for result in reads]))
        for result in reads:
            np.testing.assert_array_equal(found.cuts[:, part], result.cuts)
            part += 1
            behind += result.behind
    assert found.behind == behind


def test_without_reads_there_are_no_values() -> None:
    found = StoredReader([], []).run(np.array([1], np.int64), [[]])
    assert found.values.shape == (1, 0)
    assert found.cuts.shape == (1, 0, 3)


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-8], lambda data: data + bytes(8), lambda data: data[:40], lambda data: data[:-3]]
)
def test_bytes_that_are_no_row_are_refused(damage: object) -> None:
    state = row(LAYOUTS[0], [(0, 1.0), (100, 2.0)])
    with pytest.raises(CorruptState):
        StoredReader(LAYOUTS[:1], [1]).run(np.array([0], np.int64), [[[damage(state)]]])  # type: ignore[operator]


def test_compiled_code_reads_the_format_that_is_written() -> None:
    assert ROW_FORMAT == FORMAT
