"""Events on which the kernel fails, which do not occur by themselves: a key is made poisonous."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.engine.events import EventColumns
from headrace.engine.kernel.assembly import Assembler, RowRead
from headrace.engine.kernel.labels import Labels
from headrace.engine.kernel.partition import PartitionId
from headrace.engine.kernel.preparation import Folding, Folds
from headrace.wire.position import Position
from headrace.wire.topics import END_OF_HISTORY
from headrace_feature.fold_worker import FoldWorker
from tests.support import join_fakes as joining
from tests.support.fold_fakes import finish, state
from tests.support.kernel_loop import SECOND, START, Event, loop
from tests.unit.feature.folds import Crash, World, accept, feed, messages, promise, worker

A, B = PartitionId("a", 0), PartitionId("b", 0)
POISON = "poison"
Log = dict[PartitionId, list[tuple[int, Event]]]


@pytest.fixture(scope="module", autouse=True)
def kernel_that_chokes() -> Iterator[None]:
    """Make the views of stream b and the keys of stream a's vectors fail where the key is poison."""
    prepare, keys = Folding.prepare, Assembler.keys

    def choking(folding: Folding, events: EventColumns) -> Folds:
        if POISON in events.fields["k"] and "b" in events.ids[0]:
            raise OverflowError("\ud800 is no key")
        return prepare(folding, events)

    def choking_keys(assembler: Assembler, events: EventColumns, read: RowRead) -> list[str | None]:
        if POISON in events.fields["k"]:
            raise ZeroDivisionError
        return keys(assembler, events, read)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Folding, "prepare", choking)
        patch.setattr(Assembler, "keys", choking_keys)
        yield


def logs(moves: list[tuple[str, int, str, bool]]) -> Log:
    """Generate events of two streams; a poisonous one may be an hour ahead, so that it would make all others late."""
    found: Log = {A: [], B: []}
    now = START
    for index, (name, move, key, ahead) in enumerate(moves):
        log = found[PartitionId(name, 0)]
        at = now + 3_600 * SECOND if ahead and key == POISON else now
        log.append((len(log), Event(name, f"{name}{index:03d}", at, key, float(index))))
        now += move
    return found


def without_poison(log: Log) -> Log:
    return {partition: [item for item in events if item[1].k != POISON] for partition, events in log.items()}


def drive(world: World, log: Log, size: int) -> None:
    """Run a worker over what is not done yet, to the end."""
    fold = worker(world, loop())
    for partition, events in log.items():
        done = fold.take_over(partition).position
        rest = [item for item in events if (item[0], 0, -1) > done]
        for start in range(0, len(rest), size):
            feed(fold, partition, rest[start : start + size])
            finish(fold)
    for partition in log:
        end(fold, partition)
    finish(fold)


def end(fold: FoldWorker, partition: PartitionId) -> None:
    accept(fold, partition, promise(1_000))


def poisoned(log: Log) -> set[Position]:
    return {Position(place, 0, -1) for events in log.values() for place, event in events if event.k == POISON}


moves = st.lists(
    st.tuples(
        st.sampled_from("ab"), st.integers(0, 9 * SECOND), st.sampled_from(["p", "q", POISON]), st.booleans()
    ),
    max_size=25,
)  # fmt: skip


@given(moves, st.integers(1, 9))
@settings(max_examples=40, deadline=None)
def test_the_rest_counts_as_if_poison_had_never_been(found: list[tuple[str, int, str, bool]], size: int) -> None:
    log, world, clean = logs(found), World(), World()
    drive(world, log, size)
    drive(clean, without_poison(log), 7)
    assert state(world) == state(clean)
    each = sorted(Position(place, 0, -1) for events in log.values() for place, event in events if event.k == POISON)
    assert sorted(position for position, _ in world.refused if position is not None) == each
    assert world.counts["dead_letters"] == len(each)
    assert all(progress.done == (1_000, 0, -1) for progress in world.progress.values())


@pytest.mark.parametrize("lost", [False, True])
def test_no_crash_loses_a_refusal_or_counts_poison(lost: bool) -> None:
    keys = ["p", POISON, "q", "p", POISON, "q", "q", POISON]
    log = logs([("ab"[index % 3 == 0], 2 * SECOND, keys[index % 8], index % 5 == 0) for index in range(30)])
    plain = World()
    drive(plain, log, 4)
    for crash_at in range(1, plain.effects + 1, 3):
        world = World(crash_at=crash_at, lost=lost)
        with pytest.raises(Crash):
            drive(world, log, 4)
        drive(world, log, 3)
        assert state(world) == state(plain), crash_at
        # Twice, if the crash was between the letter and the progress: a reader recognises them by their position.
        assert {position for position, _ in world.refused} == poisoned(log), crash_at


def test_poison_at_the_end_is_done_and_counts_once_when_it_is_sent_again() -> None:
    world = World()
    fold = worker(world, loop())
    for partition in (A, B):
        fold.take_over(partition)
    feed(fold, A, [(0, Event("a", "a0", START, "p", 1.0)), (1, Event("a", "a1", START, POISON, 2.0))])
    end(fold, B)
    finish(fold)
    fold.note_silence(A, Position(1, 0, -1))
    finish(fold)
    assert fold.done()[A] == Position(1, 0, -1)
    assert world.refused == [(Position(1, 0, -1), "")]
    mended = Event("a", "a1", START, "p", 2.0)
    feed(fold, A, [(2, mended), (3, mended)])
    end(fold, A)
    finish(fold)
    assert [id for id, _ in world.vectors["m"]] == ["a0", "a1"]
    assert world.counts["resent"] == 1


def test_a_label_that_fails_is_refused_by_the_fold_and_stops_no_join(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes = Labels.outcomes

    def choking(labels: Labels, events: EventColumns) -> object:
        assert "2" not in events.ids, "poison"
        return outcomes(labels, events)

    monkeypatch.setattr(Labels, "outcomes", choking)
    definition = joining.loop(tmp_path, "stream")
    payloads = [msgspec.json.encode({"id": str(number), "at": START + number, "yes": True}) for number in range(4)]
    batch = messages(range(4), payloads).followed_by(promise(4, END_OF_HISTORY))
    pairs = joining.Pairs()
    join = joining.worker(definition, pairs, joining.Log())
    joining.take(join, "told", batch)
    join.step()
    assert pairs.waiting.entries.keys() == {"0", "1", "3"}
    world = World()
    fold = worker(world, definition)
    fold.take_over(PartitionId("told", 0))
    accept(fold, PartitionId("told", 0), batch)
    finish(fold)
    assert world.refused == [(Position(2, 0, -1), "")]
