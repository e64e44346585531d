"""A batch, as brokers deliver it, and which part of it is new."""

from __future__ import annotations

import pytest

from headrace.runtime.pulsar.batch import Batch
from headrace.wire.position import START, Position


def batch(*entries: int) -> Batch:
    return Batch(
        [Position(1, entry, -1) for entry in entries],
        [b"%d" % entry for entry in entries],
        [{"entry": str(entry)} for entry in entries],
        [10 * entry for entry in entries],
    )


@pytest.mark.parametrize(
    ("delivered", "position", "new"),
    [
        ((3, 4, 5), START, (3, 4, 5)),
        ((3, 4, 5), Position(1, 4, -1), (5,)),
        ((3, 4, 5), Position(1, 5, -1), ()),
        ((), START, ()),
    ],
)
def test_what_was_delivered_before_is_left_out(
    delivered: tuple[int, ...], position: Position, new: tuple[int, ...]
) -> None:
    assert batch(*delivered).after(position) == batch(*new)


def test_what_comes_again_amid_a_batch_is_left_out_too() -> None:
    assert batch(7, 8, 3, 4, 7, 8, 9).after(Position(1, 6, -1)) == batch(7, 8, 9)
