"""The effects of marks on events and on waiting questions, and the protection against a wrong mark."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from headrace.definition import LoopDefinition
from headrace.engine.marks import CONFIRMED, MARK, SENDER, WITHDRAWN
from headrace.runtime.pulsar.batch import Batch
from headrace.runtime.redis.status import MarkStatus
from headrace.watermark import ENDED, UNKNOWN
from headrace.wire.position import Position
from headrace_feature.join_worker import JoinWorker
from tests.support.fold_fakes import A, B, finish
from tests.support.join_fakes import HOUR, Log, Pairs, known, owned, take, vectors, watermark
from tests.support.join_fakes import loop as asking
from tests.support.join_fakes import worker as joiner
from tests.support.kernel_loop import SECOND, START, Event, loop
from tests.unit.feature.folds import World, accept, feed, messages, payload, promise, worker

DAY = 24 * HOUR


def said(place: int, published: int, **properties: str) -> Batch:
    return Batch([Position(place, 0, -1)], [b""], [properties], [published])


def mark(place: int, time: int, published: int = START, **properties: str) -> Batch:
    return said(place, published, **{MARK: str(time), SENDER: "client:you@there", **properties})


def bounded(ahead: int | None = DAY, **options: object) -> LoopDefinition:
    definition = loop()
    return replace(definition, streams=tuple(replace(stream, ahead=ahead, **options) for stream in definition.streams))


@pytest.mark.parametrize("time", [2**63 - 1, START * 1_000, START + 2 * DAY, pytest.param(10**4_000, id="long")])
def test_a_mark_of_the_far_future_is_buried_and_moves_nothing(time: int) -> None:
    world = World()
    fold = worker(world, bounded())
    for partition in (A, B):
        fold.take_over(partition)
    accept(fold, A, mark(0, time))
    feed(fold, B, [], ENDED)
    accept(fold, A, messages([1], [payload(Event("a", "1", START, "p", 1.0))], START))
    finish(fold)
    assert world.refused == [(Position(0, 0, -1), MARK)]
    assert world.counts["marks_refused"] == 1
    assert world.counts["dead_letters"] == 1
    assert world.progress[A].watermark < START + DAY


def test_a_mark_that_is_withdrawn_lets_events_count_again() -> None:
    world, definition = World(), bounded()
    fold = worker(world, definition)
    for partition in (A, B):
        fold.take_over(partition)
    feed(fold, B, [], ENDED)
    feed(fold, A, [(0, Event("a", "1", START, "p", 1.0))])
    accept(fold, A, mark(1, START + HOUR))
    feed(fold, A, [(2, Event("a", "2", START + SECOND, "p", 1.0))])
    accept(fold, A, said(3, START, **{WITHDRAWN: "", SENDER: "cli:me@here"}))
    feed(fold, A, [(4, Event("a", "3", START + SECOND, "p", 1.0))], ENDED)
    finish(fold)
    assert world.refused == [(Position(2, 0, -1), "at")]
    assert [id for id, _ in world.vectors["m"]] == ["1", "3"]
    assert world.progress[A].watermark == START + SECOND - definition.stream("a").lateness


def test_a_withdrawal_leaves_the_marks_up_to_its_time() -> None:
    world = World()
    fold = worker(world, bounded())
    fold.take_over(A)
    accept(fold, A, mark(0, START + HOUR))
    accept(fold, A, said(1, START, **{WITHDRAWN: str(START + SECOND), SENDER: "cli:me@here"}))
    finish(fold)
    assert world.progress[A].watermark == START + SECOND


def test_no_vector_is_promised_that_an_event_behind_a_withdrawal_makes() -> None:
    world = World()
    fold = worker(world, bounded())
    for partition in (A, B):
        fold.take_over(partition)
    feed(fold, A, [(0, Event("a", "1", START, "p", 1.0))])
    accept(fold, A, mark(1, START + HOUR))
    feed(fold, A, [(2, Event("a", "2", START + HOUR, "p", 1.0))])  # waits for b, with the mark's watermark
    accept(fold, A, said(3, START, **{WITHDRAWN: "", SENDER: "cli:me@here"}))
    feed(fold, A, [(4, Event("a", "3", START + HOUR - SECOND, "p", 1.0))])
    state = fold._fold.partitions[A]
    assert state.waiting is not None
    assert state.watermark_out("m") <= START + HOUR - SECOND


@pytest.mark.parametrize("marks", ["nobody", "cli"])
def test_a_client_marks_no_stream_that_does_not_take_it(marks: str) -> None:
    world = World()
    fold = worker(world, bounded(marks=marks))
    fold.take_over(A)
    accept(fold, A, mark(0, START))
    accept(fold, A, mark(1, START + SECOND, **{SENDER: "cli:me@here"}))
    finish(fold)
    assert len(world.refused) == (1 if marks == "cli" else 2)
    assert world.progress[A].watermark == (START + SECOND if marks == "cli" else UNKNOWN)


def confirming(folder: Path, above: int) -> LoopDefinition:
    """Return a loop with labels of which a mark may decide up to `above` questions at once."""
    definition = asking(folder, "stream")
    return replace(
        definition,
        streams=tuple(
            replace(stream, confirm_above=above if stream.name == "told" else None) for stream in definition.streams
        ),
    )


def marks_of(join: JoinWorker) -> list[MarkStatus]:
    status = join.status()
    assert status is not None
    return status.marks


def asked(definition: LoopDefinition, pairs: Pairs, log: Log) -> JoinWorker:
    """Return a join with four open questions, at 0 to 3 µs, that wait an hour."""
    join = joiner(definition, pairs, log)
    take(join, "features", vectors(definition, 0, "abcd"))
    take(join, "features", watermark(definition, 1, 9 * HOUR))
    join.step()
    return join


def test_a_mark_that_decides_too_many_questions_waits_to_be_confirmed(tmp_path: Path) -> None:
    definition, pairs, log = confirming(tmp_path, 3), Pairs(), Log()
    join = asked(definition, pairs, log)
    take(join, "told", mark(0, 2 * HOUR, HOUR))
    join.step()
    assert pairs.state.weight.questions == 4
    assert [(status.held, status.expired, status.sender) for status in marks_of(join)] == [(4, 0, "client:you@there")]
    # A held mark is stored, and a new owner holds it, too.
    join = joiner(definition, pairs, log)
    join.step()
    assert pairs.state.weight.questions == 4
    take(join, "told", mark(1, 2 * HOUR, HOUR, **{CONFIRMED: "1", SENDER: "cli:me@here"}))
    join.step()
    assert pairs.state.weight.questions == 0
    assert [(status.held, status.expired) for status in marks_of(join)] == [(0, 4)]


def test_a_mark_that_decides_few_questions_counts_at_once(tmp_path: Path) -> None:
    definition, pairs, log = confirming(tmp_path, 3), Pairs(), Log()
    join = asked(definition, pairs, log)
    take(join, "told", mark(0, HOUR + 3, HOUR))
    join.step()
    assert pairs.state.weight.questions == 1
    assert [(status.held, status.expired) for status in marks_of(join)] == [(0, 3)]


def test_a_held_mark_that_is_withdrawn_expires_nothing(tmp_path: Path) -> None:
    definition, pairs, log = confirming(tmp_path, 3), Pairs(), Log()
    join = asked(definition, pairs, log)
    take(join, "told", mark(0, 2 * HOUR, HOUR))
    join.step()
    take(join, "told", said(1, HOUR, **{WITHDRAWN: "", SENDER: "cli:me@here"}))
    take(join, "told", known(2, ("a", 5)))
    join.step()
    assert pairs.state.weight.questions == 3 + 1  # a is answered, and gets its place once b to d are decided
    assert all(status.held == 0 for status in marks_of(join))


def test_events_decide_any_number_of_questions_also_beside_a_held_mark(tmp_path: Path) -> None:
    definition, pairs, log = confirming(tmp_path, 3), Pairs(), Log()
    join = asked(definition, pairs, log)
    take(join, "told", mark(0, 2 * HOUR, HOUR))
    join.step()
    take(join, "told", known(1, ("z", 3 * HOUR)))
    join.step()
    assert pairs.state.weight.questions == 0
    assert all(status.expired == 0 for status in marks_of(join))


def test_a_refused_mark_expires_nothing(tmp_path: Path) -> None:
    definition, pairs, log = asking(tmp_path, "stream"), Pairs(), Log()
    join = asked(definition, pairs, log)
    take(join, "told", mark(0, 2**63 - 1, HOUR))
    join.step()
    assert pairs.state.weight.questions == 4
    assert marks_of(join) == []


def test_a_watermark_of_the_far_future_on_the_features_topic_is_passed_over(tmp_path: Path) -> None:
    # One of its events was accepted before the stream declared `ahead`, and the log is read from its beginning.
    definition, pairs, log = asking(tmp_path, "stream"), Pairs(), Log()
    join = joiner(definition, pairs, log)
    far = watermark(definition, 0, 253_370_764_800_000_000)
    far.published[0] = HOUR
    take(join, "features", far)
    take(join, "told", known(0, ("a", 5)))
    join.step()
    take(join, "features", vectors(definition, 1, "a"))
    join.step()
    assert pairs.state.weight.labels == 0
    assert owned(join).watermarks().questions == UNKNOWN


def test_an_event_of_the_far_future_is_left_out_once_ahead_is_declared() -> None:
    world = World()
    far = Event("a", "far", 253_370_764_800_000_000, "p", 1.0)
    log = [(0, Event("a", "1", START, "p", 1.0)), (1, far), (2, Event("a", "2", START + SECOND, "p", 1.0))]
    for declared in (bounded(ahead=None), bounded()):
        fold = worker(world, declared)
        for partition in (A, B):
            fold.take_over(partition)
        feed(fold, B, [], ENDED)
        for place, event in log:
            accept(fold, A, messages([place], [payload(event)], START))
        accept(fold, A, promise(3))
        finish(fold)
        # Do what `headrace backfill --again` does.
        world.progress[A] = world.progress[A].restarted()
        world.seen[A] = {}
        world.rows.clear()
        world.watermarks.clear()  # joins ignore what the former owner said of the far future
    assert [id for id, _ in world.vectors["m"]] == ["1", "far", "2"]
    assert world.refused[0] == (Position(2, 0, -1), "at")
