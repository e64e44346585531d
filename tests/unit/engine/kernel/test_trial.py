"""A trial of what is computed from events alone: it finds the events on which that fails, and blames nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.engine.events import EventColumns
from headrace.engine.kernel.trial import bisect_out


def numbered(size: int) -> EventColumns:
    numbers = np.arange(size, dtype=np.float64)
    return EventColumns(np.zeros(size, np.int64), [str(number) for number in range(size)], {"n": numbers})


@given(st.integers(0, 60), st.sets(st.integers(0, 59)))
def test_those_that_fail_alone_are_found_and_no_others(size: int, poison: set[int]) -> None:
    def compute(events: EventColumns) -> None:
        for number in events.fields["n"].tolist():
            if number in poison:
                raise ValueError(number)

    found = bisect_out(compute, numbered(size))
    assert list(found) == sorted(number for number in poison if number < size)
    assert [str(error) for error in found.values()] == [str(float(number)) for number in found]


def test_one_in_ten_thousand_costs_some_thirty_runs() -> None:
    runs = 0

    def compute(events: EventColumns) -> None:
        nonlocal runs
        runs += 1
        assert 4_711.0 not in events.fields["n"]

    assert list(bisect_out(compute, numbered(10_000))) == [4_711]
    assert runs < 40


def test_what_no_event_causes_alone_is_raised() -> None:
    def compute(events: EventColumns) -> None:
        if len(events) > 3:
            raise MemoryError("too many")

    with pytest.raises(MemoryError, match="too many"):
        bisect_out(compute, numbered(8))
