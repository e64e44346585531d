"""How scorers tell each other what is scored."""

from __future__ import annotations

from headrace.wire.position import START, Position
from headrace_scorer.scored_position import ScoredPosition
from tests.support.fake_positions import Positions
from tests.support.fake_pulsar import Clock


def test_a_position_is_noted_each_second_while_it_moves() -> None:
    store, clock = Positions(), Clock()
    scored = ScoredPosition(store, "t", clock)
    assert scored.read() == START
    for entry in range(30):
        clock.now = entry / 10
        scored.note(Position(1, entry, -1))
    assert [position.entry for position in store.writes] == [0, 10, 20]
    clock.now = 3.0
    scored.note(Position(1, 29, -1))
    assert scored.read() == Position(1, 29, -1)


def test_a_position_that_stays_is_noted_again_for_a_store_that_was_emptied() -> None:
    store, clock = Positions(), Clock()
    scored = ScoredPosition(store, "t", clock)
    for clock.now in range(100):
        scored.note(Position(1, 1, -1))
    assert len(store.writes) == 4


def test_without_the_store_nothing_is_known_and_nothing_fails() -> None:
    store, clock = Positions(away=True), Clock()
    scored = ScoredPosition(store, "t", clock)
    scored.note(Position(1, 1, -1))
    assert scored.read() is None
    store.away, clock.now = False, 1.0
    scored.note(Position(1, 1, -1))
    assert scored.read() == Position(1, 1, -1)
