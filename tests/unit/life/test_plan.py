"""The plan of a life: the same for the same seed, and rich enough."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.life.chapters import HOUR, Writer
from tests.life.loops import STREAMS, source
from tests.life.plan import HISTORY, Compare, Pause, Plan, Restart, Write, halves, prefix

#: Actions of a life of about half an hour.
_LONG = 250


def test_a_plan_is_the_same_for_the_same_seed() -> None:
    assert prefix(7, 60) == prefix(7, 60)
    assert prefix(7, 60) != prefix(8, 60)


def test_a_prefix_is_the_beginning_of_the_life() -> None:
    assert prefix(7, 60)[:20] == prefix(7, 20)


@pytest.mark.parametrize("seed", range(3))
def test_every_situation_occurs_in_a_long_life(seed: int) -> None:
    actions = prefix(seed, _LONG)
    situations = sum((action.situations for action in actions if isinstance(action, Write)), Counter[str]())
    for wanted in (
        "label before its event", "label with its event", "label long after", "label at the bound",
        "label 1 us beyond", "label twice", "label never", "same file twice", "burst", "history, then live",
        "Ctrl-C in a file, then all of it", "pause during a play", "stream that has not come",
        "labels while examples are made",
    ):  # fmt: skip
        assert situations[wanted] > 0, wanted
    assert {action.how for action in actions if isinstance(action, Write)} == {"play", "send", "grpc", "pulsar"}
    restarted = {action.what for action in actions if isinstance(action, Restart)}
    assert restarted == {"ingest", "feature", "learner", "scorer", "all", "up"}
    assert {action.idles < 1 for action in actions if isinstance(action, Pause)} == {True, False}
    assert any(isinstance(action, Compare) for action in actions)


def test_lives_have_one_to_four_partitions() -> None:
    assert {Plan(seed).partitions for seed in range(30)} == {1, 2, 3, 4}


def test_no_id_is_used_for_two_events() -> None:
    writer = Writer(1)
    found = [event for _ in range(5) for events in writer.chapter(HOUR, 50).events.values() for event in events]
    ids = Counter(str(event.fields[STREAMS[event.stream]]) for event in found)
    assert max(ids.values()) == 1


def test_halves_hold_every_event_once() -> None:
    events = Writer(1).chapter(HOUR, 50).events
    first, second = halves(events)
    assert {name: first[name] + second[name] for name in events} == events
    assert min(len(first["paid"]), len(second["paid"])) > 0


def test_history_ends_before_the_life_begins() -> None:
    writes = [action for action in prefix(3, 100) if isinstance(action, Write)]
    first_live = next(i for i, write in enumerate(writes) if write.situations["history, then live"])
    early = [event for write in writes[:first_live] for events in write.events.values() for event in events]
    assert max(event.at for event in early if event.stream == "paid") < HISTORY


def test_the_loop_file_is_python_for_any_partitions() -> None:
    for partitions in range(1, 5):
        compile(source(partitions), "loop.py", "exec")
