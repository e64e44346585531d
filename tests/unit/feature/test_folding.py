"""The fold worker, with a fake store and a fake log: no interruption, at any point, changes a vector or a row."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import msgspec
import pytest

from headrace.definition import LoopDefinition
from headrace.engine.kernel.partition import PartitionId, Progress, Reached, RowsId
from headrace.engine.kernel.tiles import HEADER_BYTES
from headrace.engine.marks import MARK
from headrace.errors import CorruptState, Fenced, Unavailable
from headrace.runtime.pulsar.batch import Batch
from headrace.runtime.redis.decisions import Tally, decode
from headrace.runtime.redis.partitions import view_names
from headrace.watermark import ENDED, IDLE
from headrace.wire.position import START as LOG_START
from headrace.wire.position import Position
from headrace.wire.topics import CALL
from headrace_feature.fold_worker import FoldWorker
from tests.support.fold_fakes import A, B, Log, finish, state, timeline
from tests.support.kernel_loop import SECOND, START, Event, logs, loop
from tests.unit.feature.folds import (
    Crash,
    Partitions,
    Rows,
    World,
    accept,
    batch,
    feed,
    kept,
    messages,
    promise,
    worker,
)


def drive(
    world: World, definition: LoopDefinition, events: Log, max_rows: int = 1_000, size: int = 7,
    clock: Callable[[], int] = lambda: 0,
) -> None:  # fmt: skip
    """Run a worker over what is not done yet, in turns, to the end."""
    fold = worker(world, definition, max_rows, clock)
    remaining = {}
    for partition, log in events.items():
        done = fold.take_over(partition).position
        remaining[partition] = [item for item in log if (item[0], 0, -1) > done]
    while any(remaining.values()):
        for partition, log in remaining.items():
            if log:
                feed(fold, partition, log[:size])
                remaining[partition] = log[size:]
                finish(fold)
    for partition, log in events.items():
        end = promise(len(log))
        accept(fold, partition, end)
    finish(fold)


def undisturbed(definition: LoopDefinition, events: Log) -> World:
    world = World()
    drive(world, definition, events)
    return world


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("horizon", [60 * SECOND, 8 * SECOND])
def test_a_crash_at_any_effect_changes_no_bit(lost: bool, horizon: int) -> None:
    definition = loop(horizon=horizon)
    events = logs(timeline(seed=3), 1)
    plain = undisturbed(definition, events)
    assert plain.vectors["m"]
    for crash_at in range(1, plain.effects + 1, 3):
        world = World(crash_at=crash_at, lost=lost)
        with pytest.raises(Crash):
            drive(world, definition, events)
        drive(world, definition, events, size=4)
        assert state(world) == state(plain), crash_at


def test_few_rows_in_memory_change_nothing() -> None:
    definition, events = loop(2), logs(timeline(), 2)
    plain, short = undisturbed(definition, events), World()
    drive(short, definition, events, max_rows=1)
    assert state(short) == state(plain)


def test_workers_that_share_partitions_make_the_vectors_of_one() -> None:
    definition, events = loop(4), logs(timeline(120), 4)
    plain, world = undisturbed(definition, events), World()
    workers = [worker(world, definition) for _ in range(3)]
    owners = {partition: workers[index % 3] for index, partition in enumerate(events)}
    for partition, owner in owners.items():
        owner.take_over(partition)
    chance = random.Random(2)
    remaining = {partition: list(log) for partition, log in events.items()}
    while any(remaining.values()):
        partition = chance.choice([partition for partition, log in remaining.items() if log])
        feed(owners[partition], partition, remaining[partition][:5])
        remaining[partition] = remaining[partition][5:]
        chance.choice(workers).step()
    for partition, log in events.items():
        end = promise(len(log))
        accept(owners[partition], partition, end)
    while any(fold.step() for fold in workers):
        pass
    assert sorted(world.vectors["m"]) == sorted(plain.vectors["m"])
    assert {key: row[HEADER_BYTES:] for key, row in world.rows.items()} == {
        key: row[HEADER_BYTES:] for key, row in plain.rows.items()
    }


def test_a_worker_that_lost_its_partition_changes_nothing_and_says_so() -> None:
    definition, events = loop(), logs(timeline(), 1)
    plain, world = undisturbed(definition, events), World()
    zombie = worker(world, definition)
    for partition in events:
        zombie.take_over(partition)
        feed(zombie, partition, events[partition][:9])
    zombie.step()
    before = zombie.done()
    for partition in events:
        feed(zombie, partition, events[partition][9:])
    drive(world, definition, events)
    assert before
    finish(zombie)
    assert zombie.done() == {}
    assert not any(zombie.owns(partition, 1) for partition in events)
    assert state(world) == state(plain)


def test_a_worker_that_loses_its_partition_amid_a_step_gives_up_all() -> None:
    definition, events = loop(), logs(timeline(), 1)
    world = World()
    zombie, other = worker(world, definition), worker(world, definition)
    for partition in events:
        zombie.take_over(partition)
        feed(zombie, partition, events[partition])
    world.meanwhile[world.effects + 3] = lambda: other.take_over(A)
    with pytest.raises(Fenced):
        finish(zombie)
    zombie.give_up()
    assert zombie.done() == {}
    assert not zombie.owns(B, 1)


def test_what_was_read_before_an_earlier_takeover_is_ignored() -> None:
    world, definition, events = World(), loop(), logs(timeline(), 1)
    fold = worker(world, definition)
    late = fold.decode(A, batch(events[A][5:9]))
    former = fold.take_over(A)
    now = fold.take_over(A)
    fold.accept(A, former.epoch, late)
    assert not fold.is_full(A, bound=-1)
    fold.accept(A, now.epoch, late)
    assert fold.is_full(A, bound=-1) or fold.pulse < 0.1


def test_what_is_refused_is_done_and_refused_once() -> None:
    world, definition = World(), loop()
    fold = worker(world, definition)
    fold.take_over(A)
    accept(fold, A, messages([0], [b"nothing"]))
    fold.step()
    assert fold.done()[A] == Position(0, 0, -1)
    assert [position for position, _ in world.refused] == [Position(0, 0, -1)]
    assert worker(world, definition).take_over(A).position == Position(0, 0, -1)


def test_what_is_refused_behind_what_waits_is_refused_once_too() -> None:
    world, definition = World(), loop()
    for _ in range(3):
        fold = worker(world, definition)
        assert fold.take_over(A).position == LOG_START
        fold.take_over(B)
        feed(fold, A, [(0, Event("a", "waits for b", START, "p", 1.0))])
        accept(fold, A, messages([1], [b"nothing"]))
        fold.step()
    assert [position for position, _ in world.refused] == [Position(1, 0, -1)]


def test_a_promise_that_is_no_time_is_refused_and_one_with_an_event_loses_neither() -> None:
    world, definition = World(), loop()
    fold = worker(world, definition)
    for partition in (A, B):
        fold.take_over(partition)
    event = Event("a", "1", START, "p", 1.0)
    log = batch([(0, event), (1, replace(event, id="2", at=START + SECOND))], ENDED)
    log.properties[0] = {MARK: "tomorrow"}
    log.properties[1] = {MARK: str(START + 2 * SECOND)}
    log.payloads[0] = b""
    accept(fold, A, log)
    feed(fold, B, [], ENDED)
    fold.step()
    assert [position for position, _ in world.refused] == [Position(0, 0, -1)]
    assert [id for id, _ in world.vectors["m"]] == ["2"]


def silent(world: World, definition: LoopDefinition, ends: list[Position]) -> FoldWorker:
    """Return a new worker that reads stream a and is given nothing of b, whose log ends at each of `ends` in turn."""
    fold = worker(world, definition)
    fold.take_over(A)
    for end in ends:
        fold.note_silence(B, end)
    feed(fold, A, [(10, Event("a", "new", START + 60 * SECOND, "p", 1.0))], ENDED)
    fold.step()
    return fold


@pytest.mark.parametrize(
    ("ends", "waits"),
    [
        ([], True),
        ([Position(0, 0, -1)], True),
        ([Position(0, 0, -1), Position(1, 0, -1)], True),
        ([Position(1, 0, -1), Position(1, 0, -1)], True),
        ([Position(0, 0, -1), Position(0, 0, -1)], False),
        ([LOG_START], True),
        ([LOG_START, LOG_START], False),
    ],
    ids=["never silent", "may just have spoken", "speaks", "somebody is behind with it", "silent", "cut?", "cut"],
)
def test_a_partition_that_is_done_and_silent_holds_nobody_back_whoever_owned_it(
    ends: list[Position], waits: bool
) -> None:
    world, definition = World(), loop()
    former = worker(world, definition)
    former.take_over(A)
    former.take_over(B)
    feed(former, A, [], ENDED)
    feed(former, B, [(0, Event("b", "0", START, "p", 1.0))])
    former.note_silence(B, Position(0, 0, -1))
    former.step()
    world.reached[B] = Reached(START, START)  # the owner ended before it could report that b is idle
    silent(world, definition, ends)
    assert ("m" in world.vectors) is not waits


@pytest.mark.parametrize("reports_idle", [False, True])
def test_a_partition_whose_owner_lacks_a_view_is_waited_for(reports_idle: bool) -> None:
    """A changed view is folded from the beginning by the partition's next owner, which may take over later."""
    world, definition = World(), loop()
    of_b = [view for view in definition.views if view.stream == B.stream]
    assert of_b
    before = msgspec.structs.replace(definition, views=tuple(v for v in definition.views if v not in of_b), models=())
    former, log = worker(world, before), [(0, Event("b", "0", START, "p", 1.0))]
    former.take_over(A)
    former.take_over(B)
    feed(former, A, [], ENDED)
    feed(former, B, log)
    former.note_silence(B, Position(0, 0, -1))
    finish(former)
    world.reached[B] = Reached(ENDED, ENDED) if reports_idle else Reached(START, START)
    fold = silent(world, definition, [Position(0, 0, -1), Position(0, 0, -1)])
    fold.note_end(B, Position(0, 0, -1))
    fold.step()
    assert not fold.is_idle(B)
    assert "m" not in world.vectors
    assert fold.take_over(B).position == LOG_START
    feed(fold, B, log, ENDED)
    finish(fold)
    assert "m" in world.vectors


@pytest.mark.parametrize("is_changed", [False, True])
def test_an_end_of_history_that_others_followed_ends_nothing(is_changed: bool) -> None:
    """A log that is read again, or that has grown unread, holds ends with events behind them."""
    world, definition = World(), loop()
    before = msgspec.structs.replace(definition, views=tuple(v for v in definition.views if v.stream != B.stream))
    first, second = Event("b", "0", START, "p", 1.0), Event("b", "2", START + SECOND, "p", 1.0)
    former = worker(world, msgspec.structs.replace(before, models=()) if is_changed else definition)
    former.take_over(A)
    former.take_over(B)
    feed(former, A, [], ENDED)
    if is_changed:
        feed(former, B, [(0, first), (2, second)], ENDED)
    finish(former)
    fold = worker(world, definition)
    fold.take_over(A)
    assert fold.take_over(B).position == LOG_START
    if not is_changed:
        fold.note_end(B, Position(2, 0, -1))
    feed(fold, A, [(10, Event("a", "new", START + 60 * SECOND, "p", 1.0))], ENDED)
    feed(fold, B, [(0, first)], ENDED)
    finish(fold)
    assert "m" not in world.vectors
    feed(fold, B, [(2, second)], ENDED)
    finish(fold)
    assert "m" in world.vectors


def two_workers_at_rest(world: World, definition: LoopDefinition) -> tuple[FoldWorker, FoldWorker]:
    """Return the owner of a and the owner of b; each has read one event at position 0, and its partition is idle."""
    ours, theirs = worker(world, definition), worker(world, definition)
    ours.take_over(A)
    theirs.take_over(B)
    feed(ours, A, [(0, Event("a", "a0", START, "q", 1.0))])
    feed(theirs, B, [(0, Event("b", "b0", START, "p", 7.0))])
    for _ in range(4):
        for fold, partition in ((ours, A), (theirs, B)):
            fold.step()
            fold.note_silence(partition, Position(0, 0, -1))
    assert world.reached[B] == Reached(IDLE, IDLE)
    return ours, theirs


def test_who_was_silent_and_speaks_again_is_waited_for() -> None:
    world, definition = World(), loop()
    model = definition.models[0]
    # Keep the first event of b after its silence from being done at once.
    definition = msgspec.structs.replace(
        definition, models=(model, msgspec.structs.replace(model, name="n", stream="b"))
    )
    ours, theirs = two_workers_at_rest(world, definition)
    for _ in range(2):
        ours.note_silence(B, Position(0, 0, -1))  # as a standby sees it
    feed(theirs, B, [(1, Event("b", "b1", START + 60 * SECOND, "p", 7.0))])
    theirs.step()
    feed(ours, A, [(1, Event("a", "a1", START + 70 * SECOND, "p", 1.0))], START + 80 * SECOND)
    ours.step()
    assert [id for id, _ in world.vectors["m"]] == ["a0"]


@pytest.mark.parametrize(
    ("read", "made"),
    [
        ([(2, Event("b", "b1", START + 65 * SECOND, "p", 7.0))], []),
        ([], ["a0"]),
    ],
    ids=["more had come", "nothing had come"],
)
def test_an_end_that_a_former_owner_saw_counts_once_the_log_has_been_read(
    read: list[tuple[int, Event]], made: list[str]
) -> None:
    world, definition = World(), loop()
    former = worker(world, definition)
    former.take_over(A)
    former.take_over(B)
    feed(former, A, [], ENDED)
    feed(former, B, [(0, Event("b", "b0", START, "p", 7.0))], ENDED)
    finish(former)
    fold = worker(world, definition)
    fold.take_over(A)
    feed(fold, A, [(1, Event("a", "a0", START + 70 * SECOND, "p", 1.0))], START + 80 * SECOND)
    done = fold.take_over(B).position
    assert done == Position(1, 0, -1)
    finish(fold)
    assert "m" not in world.vectors
    if read:
        feed(fold, B, read)
        fold.note_end(B, Position(1, 0, -1))  # from before the batch
    else:
        fold.note_end(B, Position(2, 0, -1))  # more is on its way
        finish(fold)
        assert "m" not in world.vectors
        fold.note_end(B, done)
    finish(fold)
    assert [id for id, _ in world.vectors.get("m", [])] == made


def test_what_rested_is_awake_for_its_next_owner() -> None:
    world, definition = World(), loop()
    ours, _ = two_workers_at_rest(world, definition)
    next_owner = worker(world, definition)
    next_owner.take_over(B)
    next_owner.step()
    feed(ours, A, [(1, Event("a", "a1", START + 70 * SECOND, "p", 1.0))], START + 80 * SECOND)
    ours.step()
    assert [id for id, _ in world.vectors["m"]] == ["a0"]


def test_the_rest_of_an_owner_that_is_gone_is_not_believed() -> None:
    """That owner cannot know what has come since; a look at the log shows it."""
    world, definition = World(), loop()
    two_workers_at_rest(world, definition)
    restarted = worker(world, definition)
    position = restarted.take_over(A).position
    feed(restarted, A, [(1, Event("a", "a1", START + 70 * SECOND, "p", 1.0))], START + 80 * SECOND)
    for end in (1, 1):  # beyond what is done
        restarted.note_silence(B, Position(end, 0, -1))
    restarted.step()
    assert position == Position(0, 0, -1)
    assert [id for id, _ in world.vectors["m"]] == ["a0"]
    for _ in range(2):
        restarted.note_silence(B, Position(0, 0, -1))
    restarted.step()
    assert [id for id, _ in world.vectors["m"]] == ["a0", "a1"]


@pytest.mark.parametrize(
    ("end", "made_at_once"), [(Position(0, 0, -1), True), (Position(1, 0, -1), False), (LOG_START, False)]
)
def test_one_look_at_the_log_confirms_a_rest_that_was_said(end: Position, made_at_once: bool) -> None:
    """No worker waits for `idle`, which may be hours, to believe that history has ended."""
    world, definition = World(), loop()
    two_workers_at_rest(world, definition)
    restarted = worker(world, definition)
    restarted.take_over(A)
    feed(restarted, A, [(1, Event("a", "a1", START + 70 * SECOND, "p", 1.0))], START + 80 * SECOND)
    restarted.note_end(B, end)
    restarted.step()
    assert [id for id, _ in world.vectors["m"]] == ["a0", *(["a1"] if made_at_once else [])]


def test_silence_from_before_a_takeover_is_ignored() -> None:
    world, definition = World(), loop()
    fold = worker(world, definition)
    for partition in (A, B):
        fold.take_over(partition)
    feed(fold, B, [(0, Event("b", "b0", START, "p", 7.0))])
    fold.give_up()
    for partition in (A, B):
        fold.take_over(partition)
    fold.note_silence(B, Position(0, 0, -1))
    feed(fold, A, [(0, Event("a", "a0", START + 3 * SECOND, "p", 1.0))], ENDED)
    fold.step()
    assert "m" not in world.vectors


def test_a_partition_that_never_spoke_holds_nobody_back() -> None:
    world = World()
    silent(world, loop(), [LOG_START])
    assert [id for id, _ in world.vectors["m"]] == ["new"]


def test_a_long_lateness_is_read_through() -> None:
    """The watermark trails by the lateness: the reader must continue, or nothing ever does."""
    fold = worker(World(), loop())
    for partition in (A, B):
        fold.take_over(partition)
    feed(fold, A, [(index, Event("a", f"{index}", START + index, "p", 1.0)) for index in range(20)])
    feed(fold, B, [], START + SECOND)
    fold.step()
    assert not fold.is_full(A, bound=10)


def test_who_waits_for_another_is_read_no_further() -> None:
    fold = worker(World(), loop())
    for partition in (A, B):
        fold.take_over(partition)
    feed(fold, A, [(index, Event("a", f"{index}", START + index * SECOND, "p", 1.0)) for index in range(20)])
    fold.step()
    assert fold.is_full(A, bound=10)
    assert not fold.is_full(A, bound=20)
    assert not fold.is_full(B, bound=0)


def test_a_history_that_follows_another_is_aligned_again() -> None:
    """After the end of the first history, the promises of the second one hold."""
    world = World()
    fold = worker(world, loop())
    for partition in (A, B):
        fold.take_over(partition)
        feed(fold, partition, [], ENDED)
    later = START + 3600 * SECOND
    for partition in (A, B):
        accept(fold, partition, promise(1, later))
    feed(fold, A, [(2, Event("a", "x", later + 2 * SECOND, "p", 1.0))], later + 10 * SECOND)
    fold.step()
    assert "m" not in world.vectors
    feed(fold, B, [(2, Event("b", "y", later, "p", 7.0))], later + 10 * SECOND)
    fold.step()
    assert [id for id, _ in world.vectors["m"]] == ["x"]
    assert b"7.0" in world.vectors["m"][0][1]


def test_a_new_owner_knows_what_was_promised_behind_what_is_done() -> None:
    """The promise is done and not repeated: without it the new owner would wait forever."""
    world, definition = World(), loop()
    former = worker(world, definition)
    for partition in (A, B):
        former.take_over(partition)
        feed(former, partition, [(0, Event(partition.stream, "0", START, "p", 1.0))], ENDED)
    finish(former)
    follower = worker(world, definition)
    for partition in (A, B):
        done = follower.take_over(partition).position
        assert done == Position(1, 0, -1)
        follower.note_end(partition, done)
    finish(follower)
    assert world.reached == {partition: Reached(ENDED, ENDED) for partition in (A, B)}


def test_a_partition_that_the_store_does_not_know_is_refused_if_it_has_vectors() -> None:
    world, definition = World(), loop()
    former = worker(world, definition)
    for partition in (A, B):
        former.take_over(partition)
        feed(former, partition, [(0, Event(partition.stream, "0", START, "p", 1.0))], ENDED)
    finish(former)
    world.epochs.clear()
    for _ in range(2):
        with pytest.raises(CorruptState):
            worker(world, definition).take_over(A)
    worker(world, definition).take_over(B)  # no vectors are made of b's events: its log has all that it needs


def test_a_partition_that_the_store_does_not_know_is_new_if_it_has_no_vectors() -> None:
    """The store has forgotten its last second, in which the first owner began."""
    world, definition = World(), loop()
    worker(world, definition).take_over(A)
    world.epochs.clear()
    follower = worker(world, definition)
    for partition in (A, B):
        follower.take_over(partition)
        feed(follower, partition, [(0, Event(partition.stream, "0", START, "p", 1.0))], ENDED)
    finish(follower)
    assert [id for id, _ in world.vectors["m"]] == ["0"]


def test_no_vector_leaves_before_the_first_epoch_is_on_disk() -> None:
    world, definition, answers = World(), loop(), [False, False, True, True]
    found = []

    def durable() -> bool:
        found.append(dict(world.vectors))
        return answers.pop(0)

    fold = worker(world, definition, durable=durable)
    for unavailable in (True, False):
        for partition in (A, B):
            fold.take_over(partition)
            feed(fold, partition, [(0, Event(partition.stream, "0", START, "p", 1.0))], ENDED)
        if unavailable:
            with pytest.raises(Unavailable, match="append-only file"):
                fold.step()
            fold.give_up()
    finish(fold)
    assert found == [{}] * 4
    assert [id for id, _ in world.vectors["m"]] == ["0"]
    # What has been saved once is known: nothing waits for the disk again.
    worker(world, definition, durable=durable).take_over(A)
    assert not answers


def test_a_new_view_is_folded_from_the_beginning_and_nothing_is_emitted_or_refused_twice() -> None:
    definition = loop()
    before = msgspec.structs.replace(definition, views=definition.views[1:], models=())
    events = logs(timeline(), 1)
    plain, world = undisturbed(definition, events), World()
    drive(world, before, events)
    refused = list(world.refused)
    drive(world, definition, {partition: [*log] for partition, log in events.items()})
    assert {key: row[HEADER_BYTES:] for key, row in world.rows.items()} == {
        key: row[HEADER_BYTES:] for key, row in plain.rows.items()
    }
    assert world.refused == refused
    former = dict(world.rows)
    drive(world, definition, events)
    assert world.rows == former


def test_rows_that_go_between_the_look_at_others_and_the_read_make_no_vector() -> None:
    definition, world = loop(), World()
    ours, theirs = worker(world, definition), worker(world, definition)
    ours.take_over(A)
    theirs.take_over(B)
    feed(theirs, B, [(0, Event("b", "b0", START, "p", 7.0))], ENDED)
    feed(ours, A, [(0, Event("a", "a0", START + SECOND, "p", 1.0))], ENDED)
    while theirs.step():
        pass
    load = Rows.load

    def wiped(self: Rows, needed: Mapping[RowsId, Sequence[str]]) -> dict[RowsId, dict[str, bytes]]:
        world.epochs.clear()
        world.rows.clear()
        return load(self, needed)

    ours._rows._store.load = wiped.__get__(ours._rows._store)  # type: ignore[method-assign]
    while ours.step():
        pass
    assert "m" not in world.vectors
    assert not ours.owns(A, 1)


def test_a_view_that_was_left_out_for_a_while_is_folded_again() -> None:
    """It was rolled back, or owned for a while by a worker that is not replaced yet: its rows have a hole."""
    full = loop()
    without = msgspec.structs.replace(full, views=full.views[1:], models=())
    log = [(index, Event("a", f"{index}", START + index * SECOND, "p", 1.0)) for index in range(9)]
    plain, world = World(), World()

    def run(world: World, definition: LoopDefinition, last: int) -> None:
        fold = worker(world, definition)
        done = fold.take_over(A).position
        fold.take_over(B)
        feed(fold, A, [item for item in log[:last] if (item[0], 0, -1) > done], START + last * SECOND)
        feed(fold, B, [], ENDED)
        finish(fold)

    run(plain, full, 9)
    for definition, last in ((full, 3), (without, 6), (full, 9)):
        run(world, definition, last)
    row_key = RowsId("asked", 0), "p"
    assert world.rows[row_key][HEADER_BYTES:] == plain.rows[row_key][HEADER_BYTES:]


@pytest.mark.parametrize("begun", [(A,), (A, B)], ids=["interrupted", "whole"])
def test_rows_from_before_a_backfill_of_a_running_loop_are_not_gone_on_with(begun: tuple[PartitionId, ...]) -> None:
    definition, events = loop(), logs(timeline(), 1)
    plain, world = undisturbed(definition, events), World()
    live = worker(world, definition)
    for partition in (A, B):
        live.take_over(partition)
        feed(live, partition, events[partition][:20])
    finish(live)
    for partition in (A, B):
        feed(live, partition, events[partition][20:25])
    rows_id = RowsId("asked", 0)
    world.rows[rows_id, "p"] = world.rows[rows_id, "q"]  # a reason to rebuild the rows
    for partition in begun:
        out = Progress(emitted=world.progress[partition].emitted)
        Partitions(world).restart(
            partition, 0, out, Position(24, 0, -1), views=view_names(definition, partition.stream), lost=True, models=()
        )
    live.step()
    assert not any(live.owns(partition, 1) for partition in begun)
    drive(world, definition, events)
    assert state(world) == state(plain)


def test_an_empty_row_is_damaged_even_after_a_backfill() -> None:
    """The store returns empty rows for a key of another type; no epoch says that they count as lost."""
    definition, events = loop(), logs(timeline(), 1)
    plain, world = undisturbed(definition, events), World()
    drive(world, definition, events)
    out = Progress(emitted=world.progress[A].emitted)
    Partitions(world).restart(
        A, 0, out, Position(24, 0, -1), views=view_names(definition, A.stream), models=(), lost=True
    )
    drive(world, definition, events)
    world.rows[RowsId("asked", 0), "p"] = b""
    fold = worker(world, definition)
    fold.take_over(A)
    fold.note_end(B, fold.take_over(B).position)
    epoch, at = world.epochs[A], START + 10**6 * SECOND
    feed(fold, A, [(10**6, Event("a", "last", at, "p", 1.0))], at)
    fold.step()
    assert not fold.owns(A, epoch)
    drive(world, definition, events)
    assert state(world) == state(plain)


def test_a_partition_rests_only_when_all_of_it_is_out() -> None:
    fold = worker(World(), loop())
    assert not fold.is_idle(A)
    for partition in (A, B):
        fold.take_over(partition)
    feed(fold, A, [(0, Event("a", "1", START, "p", 1.0))])
    fold.note_silence(A, Position(0, 0, -1))
    fold.step()
    assert not fold.is_idle(A)
    fold.note_silence(B, LOG_START)
    assert not fold.is_idle(A)
    finish(fold)
    assert fold.is_idle(A)
    assert fold.watermark() == IDLE


def test_only_a_partition_that_gets_no_events_is_named_as_the_one_waited_for() -> None:
    now = [0]
    fold = worker(World(), loop(), clock=lambda: now[0])
    for partition in (A, B):
        fold.take_over(partition)
    feed(fold, B, [], ENDED)
    feed(fold, A, [(0, Event("a", "0", START, "p", 1.0))])
    finish(fold)
    assert fold.held_by() == ""
    now[0] = 20 * SECOND
    finish(fold)
    assert fold.held_by() == str(A)
    feed(fold, A, [(1, Event("a", "1", START, "p", 1.0))])
    finish(fold)
    assert fold.held_by() == ""


def waiting_loop() -> LoopDefinition:
    """Return two models on one stream: one waits ten seconds, the other without a limit."""
    definition = loop()
    (model,) = definition.models
    return msgspec.structs.replace(
        definition, models=(msgspec.structs.replace(model, name="short", max_delay=10 * SECOND), model)
    )


def test_a_vector_waits_no_longer_than_declared() -> None:
    world, definition, now = World(), waiting_loop(), [0]
    fold = worker(world, definition, clock=lambda: now[0])
    for partition in (A, B):
        fold.take_over(partition)
    feed(fold, A, [(0, Event("a", "0", START, "p", 1.0)), (1, Event("a", "1", START + SECOND, "p", 2.0))])
    now[0] = 5 * SECOND
    feed(fold, A, [(2, Event("a", "2", START + 2 * SECOND, "p", 3.0))])
    finish(fold)
    assert world.vectors == {}
    now[0] = 10 * SECOND
    finish(fold)
    assert [id for id, _ in world.vectors["short"]] == ["0", "1"]
    assert fold.done()[A] == LOG_START
    now[0] = 15 * SECOND
    feed(fold, B, [(0, Event("b", "x", START, "p", 7.0))], ENDED)
    feed(fold, A, [(3, Event("a", "3", START + 9 * SECOND, "p", 4.0))], ENDED)
    finish(fold)
    assert [id for id, _ in world.vectors["short"]] == ["0", "1", "2", "3"]
    assert [id for id, _ in world.vectors["m"]] == ["0", "1", "2", "3"]
    short, long = (dict(world.vectors[model]) for model in ("short", "m"))
    assert [id for id in long if short[id] != long[id]] == ["1"]  # made before b's event arrived
    assert fold.done()[A] == Position(4, 0, -1)


@pytest.mark.parametrize("lost", [False, True])
def test_a_crash_after_a_wait_makes_no_vector_twice(lost: bool) -> None:
    definition, events = waiting_loop(), logs(timeline(30), 1)
    plain = undisturbed(definition, events)
    for crash_at in range(1, plain.effects, 5):
        world = World(crash_at=crash_at, lost=lost)
        with pytest.raises(Crash):
            drive(world, definition, events, clock=itertools.count(0, 2 * SECOND).__next__)
        drive(world, definition, events, size=3, clock=itertools.count(0, 2 * SECOND).__next__)
        assert world.vectors["m"] == plain.vectors["m"], crash_at
        assert [id for id, _ in world.vectors["short"]] == [id for id, _ in plain.vectors["short"]], crash_at
        assert {key: kept(row) for key, row in world.rows.items()} == {
            key: kept(row) for key, row in plain.rows.items()
        }


def sent(call: str, events: list[tuple[int, Event]]) -> Batch:
    """Return events that a call sent, each with its index."""
    messages = batch(events)
    messages.properties = [{CALL: f"{call}:{index}"} for index in range(len(events))]
    return messages


def decisions(world: World, partition: PartitionId, call: str) -> Tally:
    return decode(world.decisions[partition]).calls[call]


def test_what_is_decided_on_a_call_is_saved_for_it() -> None:
    world = World()
    fold = worker(world, loop())
    fold.take_over(A)
    far = START + 100 * SECOND
    accept(fold, A, sent("one", [(0, Event("a", "0", START, "p", 1.0)), (1, Event("a", "1", far, "p", 1.0))]))
    repeat, late = Event("a", "1", far, "p", 1.0), Event("a", "0", START, "p", 1.0)
    fold.step()
    accept(fold, A, sent("two", [(2, repeat), (3, late)]))
    fold.step()
    assert decisions(world, A, "one").accepted == 2
    tally = decisions(world, A, "two")
    assert (tally.accepted, tally.repeats, tally.rejected, tally.late) == (0, 1, 1, 1)
    assert [refusal.index for refusal in tally.refusals] == [1]
    assert world.counts["late"] == 1
    # The next owner judges again what is not done, and counts it once.
    fold = worker(world, loop())
    fold.take_over(A)
    accept(fold, A, sent("two", [(2, repeat), (3, late)]))
    accept(fold, A, sent("three", [(4, Event("a", "4", far, "p", 1.0))]))
    fold.step()
    assert decisions(world, A, "two") == tally
    assert decisions(world, A, "three").accepted == 1
    assert world.counts["late"] == 1


def test_an_event_before_a_mark_is_late_for_every_reader() -> None:
    for restarts in (False, True):
        world = World()
        fold = worker(world, loop())
        fold.take_over(A)
        fold.take_over(B)
        feed(fold, B, [], ENDED)
        accept(fold, A, promise(0, START + 60 * SECOND))
        feed(fold, A, [(1, Event("a", "1", START + 60 * SECOND, "p", 1.0))])
        finish(fold)
        assert world.progress[A].watermark == START + 60 * SECOND
        if restarts:
            fold = worker(world, loop())
            fold.take_over(A)
        feed(fold, A, [(2, Event("a", "2", START + 59 * SECOND, "p", 1.0))])
        finish(fold)
        assert world.refused == [(Position(2, 0, -1), "at")]


def test_ids_beyond_the_declared_number_are_forgotten() -> None:
    world, definition = World(), loop()
    streams = tuple(msgspec.structs.replace(stream, ids=2, lateness=0) for stream in definition.streams)
    fold = worker(world, msgspec.structs.replace(definition, streams=streams))
    fold.take_over(A)
    feed(fold, A, [(place, Event("a", str(place), START + place, "p", 1.0)) for place in range(3)])
    feed(fold, A, [(3, Event("a", "1", START + 1, "p", 1.0)), (4, Event("a", "0", START, "p", 1.0))])
    finish(fold)
    assert (world.counts["resent"], world.counts["late"]) == (1, 1)


def test_rows_in_memory_are_bounded_by_bytes() -> None:
    world, definition = World(), loop()
    fold = worker(world, definition)
    fold.take_over(A)
    rows = next(iter(fold._fold.rows.values()))
    memory = fold._rows
    memory._max_rows, memory._max_bytes = 10**9, 5_000 * rows.row_bytes * len(fold._fold.rows)
    assert 1_000 < memory.limit(rows) < 5_000
    memory._max_bytes = 1
    assert memory.limit(rows) == 1_000
    memory._max_rows = 7
    assert memory.limit(rows) == 7


def test_a_model_that_was_left_out_is_told_up_to_where_it_has_no_vectors() -> None:
    full, world = loop(), World()
    without = msgspec.structs.replace(full, models=())
    drive(world, full, {A: [(0, Event("a", "a0", START, "p", 1.0))], B: []})
    assert world.missed == {}
    drive(world, full, {A: [(2, Event("a", "a1", START + SECOND, "p", 1.0))], B: []})
    assert world.missed == {}
    drive(world, without, {A: [(4, Event("a", "a2", START + 2 * SECOND, "p", 1.0))], B: []})
    back = worker(world, full)
    assert back.lacks_a_part(A)
    back.take_over(A)
    assert world.missed == {("m", A): Position(4, 0, -1).to_bytes()}


def test_a_long_id_is_known_to_the_next_owner() -> None:
    world = World()
    for place in (1, 5):
        fold = worker(world, loop())
        fold.take_over(A)
        fold.take_over(B)
        feed(fold, B, [], ENDED)
        feed(fold, A, [(place, Event("a", "i" * 60_000, START, "p", 1.0))], ENDED)
        finish(fold)
    assert world.counts["resent"] == 1
    assert [len(event_id) for event_id in world.seen[A]] == [64]
