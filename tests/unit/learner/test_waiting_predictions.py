"""Waiting predictions: taken one by one or many at once, they are the same."""

from __future__ import annotations

import random

import numpy as np
import pytest

from headrace.engine.learning import WaitingPredictions


def filled(count: int, max_bytes: int = 2**20) -> WaitingPredictions:
    waiting = WaitingPredictions(3, max_bytes)
    for seq in range(0, 2 * count, 2):
        waiting.add([seq], [seq // 2], [seq + 0.25, seq + 0.5, seq + 0.75])
    return waiting


@pytest.mark.parametrize("count", [0, 1, 50, 9_000])
def test_many_are_taken_as_one_by_one(count: int) -> None:
    rng = random.Random(count)
    single, many = filled(count), filled(count)
    for size in (0, 1, count, 3 * count):
        # Places without a question, places beyond the last one, and repeated places.
        seqs = [rng.randrange(-2, 2 * count + 3) for _ in range(size)]
        expected = [single.take(seq) for seq in seqs]
        examples, values, found = many.take_all(np.array(seqs, np.int64))
        assert found.tolist() == [kept is not None for kept in expected]
        assert examples.tolist() == [kept.examples for kept in expected if kept is not None]
        assert values.tolist() == [list(kept.values) for kept in expected if kept is not None]
        assert len(many) == len(single)
        assert many.dump() == single.dump()


def test_room_is_made_by_removing_closed_rows_and_dropping_none() -> None:
    waiting = filled(10, max_bytes=10 * 41)
    assert not waiting.has_room(1)
    waiting.take_all(np.array([0, 4, 6]))
    assert waiting.has_room(3)
    assert not waiting.has_room(4)
    assert (len(waiting), waiting.dropped) == (7, 0)
