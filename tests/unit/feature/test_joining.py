"""The join worker, between a fake store and a fake log: its treatment of vectors and labels."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from headrace import compiler
from headrace.definition import LoopDefinition
from headrace.engine.kernel.join import Index
from headrace.errors import CorruptState, Unavailable
from headrace.runtime.pulsar.batch import Batch
from headrace.runtime.redis.pairs import JoinState
from headrace.watermark import ENDED, IDLE, UNKNOWN
from headrace.wire.position import START, Position
from headrace.wire.tables import Kind, Vectors, decode_log, encode_vectors
from headrace.wire.topics import END
from headrace_feature.join_worker import JoinWorker
from headrace_feature.owned_join import STEP
from tests.headers import header
from tests.support.join_fakes import (
    HOUR,
    LOOP,
    Claim,
    Log,
    Pairs,
    entries,
    joiner,
    known,
    labels,
    loop,
    marks,
    owned,
    settle,
    take,
    vectors,
    watermark,
    worker,
)


def numbered(definition: LoopDefinition, ids: list[str], entry: int = 0) -> Batch:
    """Return vectors of one event time with these ids."""
    model = definition.models[0]
    positions = [Position(1, entry, row).to_bytes() for row in range(len(ids))]
    size = len(ids)
    table = Vectors(ids, np.full(size, 3), positions, np.empty((size, 0, 3), np.int64), np.zeros((size, 1)), [])
    payload = encode_vectors(model, table)
    return Batch([Position(1, entry, -1)], [payload], [header(payload, definition=model.hash)], [0])


def examples(definition: LoopDefinition, log: Log) -> list[tuple[int, str, float]]:
    """Return the answers in the log: their number among the answers, id and feature."""
    found = [decode_log(definition.models[0], payload).answers for payload in log.payloads]
    numbers = {seq: number for number, seq in enumerate(sorted({seq for part in found for seq in part.seqs.tolist()}))}
    return [
        (numbers[seq], id, value)
        for part in found
        for seq, id, value in zip(part.seqs.tolist(), part.ids, part.numbers[:, 0].tolist(), strict=True)
    ]


@pytest.mark.parametrize(("where", "position"), [("stream", None), ("requests", START)])
def test_vectors_of_streams_and_of_requests_find_their_labels(
    tmp_path: Path, where: str, position: Position | None
) -> None:
    definition, log = loop(tmp_path, where), Log()
    join = worker(definition, Pairs(definition), log)
    take(join, "features", vectors(definition, 0, "abc", position))
    take(join, "told", labels(0, "ca"))
    join.note_silence("features", START)
    join.step()
    assert examples(definition, log) == [(0, "a", 97.0), (1, "c", 99.0)]


@pytest.mark.parametrize(("where", "position"), [("stream", None), ("requests", START)])
def test_the_first_vector_of_an_id_counts_also_over_a_restart(
    tmp_path: Path, where: str, position: Position | None
) -> None:
    definition, log = loop(tmp_path, where), Log()
    pairs = Pairs(definition)
    first = worker(definition, pairs, log)
    take(first, "features", vectors(definition, 0, "ab", position))
    first.step()
    second = worker(definition, pairs, log)
    take(second, "features", vectors(definition, 0, "ab", position))
    take(second, "told", labels(0, "ab"))
    second.note_silence("features", START)
    second.step()
    assert examples(definition, log) == [(0, "a", 97.0), (1, "b", 98.0)]


def test_a_crash_between_deciding_and_sending_repeats_the_same_message(tmp_path: Path) -> None:
    definition, pairs, lost = loop(tmp_path, "stream"), Pairs(), Log()
    first = worker(definition, pairs, lost)
    take(first, "features", vectors(definition, 0, "ab"))
    take(first, "told", labels(0, "ab"))
    first.note_silence("features", START)
    first.step()
    log = Log()
    worker(definition, pairs, log)
    assert log.payloads == lost.payloads != []


def test_a_changed_model_meets_no_pair_of_the_old_one_and_what_was_decided_stays_the_old_ones(tmp_path: Path) -> None:
    old, new = loop(tmp_path, "stream"), loop(tmp_path, "stream", "[Asked.x.abs()]")
    pairs, log = Pairs(), Log()
    before = worker(old, pairs, Log())
    take(before, "features", vectors(old, 0, "abcd"))
    take(before, "told", labels(0, "ab"))
    before.note_silence("features", START)
    before.step()
    after = worker(new, pairs, log)
    assert log.definitions == [old.models[0].hash]
    take(after, "features", vectors(new, 1, "ef"))
    take(after, "told", labels(10, "cdef"))
    after.note_silence("features", START)
    after.step()
    assert log.definitions == [old.models[0].hash, new.models[0].hash]
    del log.payloads[0]  # it has the columns of the old model
    assert examples(new, log) == [(0, "e", 101.0), (1, "f", 102.0)]


def test_labels_find_events_whose_ids_are_integers_however_large(tmp_path: Path) -> None:
    file = tmp_path / "numbered.py"
    file.write_text(LOOP.replace("{vectors}", "stream").replace("id: str", "id: int"))
    definition, log = compiler.load(file).definition, Log()
    join = worker(definition, Pairs(definition), log)
    ids = [7, 2**53, 2**53 + 1]
    take(join, "features", numbered(definition, [str(id) for id in ids]))
    payloads = [b'{"id": %d, "at": 5, "yes": true}' % id for id in ids]
    take(join, "told", Batch([Position(1, row, -1) for row in range(3)], payloads, [{}, {}, {}], [0, 0, 0]))
    for topic in ("features", "told"):
        join.note_silence(topic, START)
    join.step()
    assert {id for _, id, _ in examples(definition, log)} == {str(id) for id in ids}


def test_labels_do_not_wait_for_requests_to_pause(tmp_path: Path) -> None:
    definition, log = loop(tmp_path, "requests"), Log()
    join = worker(definition, Pairs(definition), log)
    take(join, "features", vectors(definition, 0, "ab", START))
    take(join, "told", labels(0, "ab"))
    join.step()
    assert [id for _, id, _ in examples(definition, log)] == ["a", "b"]


def test_vectors_after_a_rest_wait_for_those_that_follow_them(tmp_path: Path) -> None:
    """Their watermark is in the next message; until it arrives, another vector may belong before them."""
    definition, log = loop(tmp_path, "stream"), Log()
    join = worker(definition, Pairs(definition), log)
    join.note_silence("features", START)
    take(join, "told", labels(0, "ab"))
    take(join, "features", numbered(definition, ["b"], entry=0))
    join.step()
    assert log.payloads == []
    take(join, "features", numbered(definition, ["a"], entry=1))
    take(
        join,
        "features",
        Batch(
            [Position(1, 2, -1)], [b""], [header(b"", definition=definition.models[0].hash, release_watermark=9)], [0]
        ),
    )
    join.step()
    assert [id for _, id, _ in examples(definition, log)] == ["a", "b"]


def test_a_lost_state_is_made_again_and_what_is_in_the_log_is_not_written_twice(tmp_path: Path) -> None:
    definition, pairs = loop(tmp_path, "stream"), Pairs()
    log = Log(definition.models[0])
    first = worker(definition, pairs, log)
    take(first, "features", vectors(definition, 0, "abcd"))
    take(first, "told", labels(0, "abx"))
    first.note_silence("features", START)
    first.step()
    pairs.restart(JoinState(sequence=2, goals={"features": Position(1, 0, -1).to_bytes()}))
    second = worker(definition, pairs, log)
    take(second, "features", vectors(definition, 0, "abcd"))
    take(second, "told", labels(0, "abxc"))
    second.note_silence("features", START)
    second.step()
    assert [(seq, id) for seq, id, _ in examples(definition, log)] == [(0, "a"), (1, "b"), (2, "c")]
    assert pairs.state.goals == {}
    assert {place[8:] for place in pairs.waiting.orders[Index.OPEN]} == {b"d"}


def lose(pairs: Pairs, definition: LoopDefinition, sequence: int) -> None:
    """Reset the state as `headrace backfill` does, after it has read the logs."""
    goals = {"features": Position(1, 0, -1).to_bytes(), "told": Position(1, 1, -1).to_bytes()}
    pairs.restart(JoinState(definition=definition.models[0].hash, sequence=sequence, goals=goals))


def test_what_was_decided_because_a_stream_rested_is_not_written_twice(tmp_path: Path) -> None:
    definition, pairs = loop(tmp_path, "stream"), Pairs()
    log = Log(definition.models[0])

    def run(join: JoinWorker) -> None:
        take(join, "features", vectors(definition, 0, "ab"))
        take(join, "told", known(0, ("a", 5), ("b", 6)))
        join.note_silence("features", Position(1, 0, -1))
        join.step()  # b waits for anything else that may be known at 6
        join.note_silence("told", Position(1, 1, -1))
        join.step()

    run(worker(definition, pairs, log))
    lose(pairs, definition, sequence=2)
    run(worker(definition, pairs, log))
    assert [(seq, id) for seq, id, _ in examples(definition, log)] == [(0, "a"), (1, "b")]
    assert pairs.state.goals == {}


def test_what_more_than_one_step_decides_is_not_written_twice(tmp_path: Path) -> None:
    definition, pairs = loop(tmp_path, "stream"), Pairs()
    log, size = Log(definition.models[0]), 2 * STEP + 7
    ids = [f"{index:05d}" for index in range(size)]

    def run(join: JoinWorker) -> None:
        take(join, "features", numbered(definition, ids))
        join.note_silence("features", Position(1, 0, -1))
        take(join, "told", known(0, *((id, 5) for id in ids)))
        join.note_silence("told", Position(1, size - 1, -1))
        while join.step():
            pass

    run(worker(definition, pairs, log))
    lose(pairs, definition, sequence=size)
    run(worker(definition, pairs, log))
    assert [id for _, id, _ in examples(definition, log)] == ids
    assert pairs.state.goals == {}


def test_a_join_that_is_behind_says_how_far_it_is(tmp_path: Path) -> None:
    definition, pairs = loop(tmp_path, "stream"), Pairs()
    log, size = Log(definition.models[0]), 3 * STEP
    join = worker(definition, pairs, log)
    ids = [f"{time:05d}" for time in range(size)]
    take(join, "features", timed(definition, 0, [(id, time) for time, id in enumerate(ids)]))
    take(join, "told", known(0, *((id, time + 10) for time, id in enumerate(ids))))
    take(join, "features", watermark(definition, 1, size))
    take(join, "told", marks(size, size))
    settle(join)
    release_watermarks = [release_watermark for _, release_watermark in log.release_watermarks]
    assert release_watermarks == sorted(set(release_watermarks))
    assert len(release_watermarks) >= 2 * size // STEP - 1
    assert release_watermarks[-1] == size
    for before, release_watermark in log.release_watermarks:
        for payload in log.payloads[before:]:
            entries = decode_log(definition.models[0], payload)
            places = np.where(entries.kinds == Kind.QUESTION, entries.times, entries.label_times)
            assert places.min() >= release_watermark


def test_what_was_written_after_the_logs_were_read_has_its_number(tmp_path: Path) -> None:
    definition, pairs = loop(tmp_path, "stream"), Pairs()
    log = Log(definition.models[0])
    live = worker(definition, pairs, log)
    take(live, "features", vectors(definition, 0, "abc"))
    live.note_silence("features", Position(1, 0, -1))
    take(live, "told", known(0, ("a", 5), ("x", 6)))
    live.step()
    take(live, "told", known(2, ("b", 7), ("y", 8)))
    live.step()
    lose(pairs, definition, sequence=1)  # the new state knows only of the first entry
    again = worker(definition, pairs, log)
    take(again, "features", vectors(definition, 0, "abc"))
    again.note_silence("features", Position(1, 0, -1))
    for batch in (known(0, ("a", 5), ("x", 6), ("b", 7), ("y", 8)), known(4, ("c", 9), ("z", 10))):
        take(again, "told", batch)
        again.step()
    assert [(seq, id) for seq, id, _ in examples(definition, log)] == [(0, "a"), (1, "b"), (2, "c")]


def test_a_join_of_which_the_store_knows_nothing_is_refused_where_examples_stand(tmp_path: Path) -> None:
    definition, log = loop(tmp_path, "stream"), Log()
    log.payloads.append(b"examples")
    join = joiner(definition, Pairs(), log)
    for _ in range(2):
        with pytest.raises(CorruptState, match="headrace backfill"):
            join.begin()


def test_no_entry_leaves_before_the_first_epoch_is_on_disk(tmp_path: Path) -> None:
    definition, pairs, log, answers = loop(tmp_path, "stream"), Pairs(), Log(), [False, True]
    join = joiner(definition, pairs, log, durable=lambda: answers.pop(0))
    for unavailable in (True, False):
        join.begin()
        take(join, "features", vectors(definition, 0, "a"))
        join.note_silence("features", Position(1, 0, -1))
        take(join, "told", known(0, ("a", 5), ("x", 6)))
        if unavailable:
            with pytest.raises(Unavailable, match="append-only file"):
                settle(join)
            assert not log.payloads
            join.give_up()
    settle(join)
    assert [id for _, id, _ in examples(definition, log)] == ["a"]
    join.give_up()
    # A log with entries has an owner on disk: its next one does not wait.
    join.begin()
    assert not answers


def test_who_does_not_hold_the_lease_does_not_join(tmp_path: Path) -> None:
    definition, pairs, log, lease = loop(tmp_path, "stream"), Pairs(), Log(), Claim()
    join = joiner(definition, pairs, log, lease)
    lease.held = False
    assert not join.begin()
    assert pairs.epoch == 0
    lease.held = True
    assert join.begin()
    former = join.takeover("features").epoch
    take(join, "features", vectors(definition, 0, "ab"))
    lease.held = False
    join.step()
    assert not join.owns(former)
    lease.held = True
    assert join.begin()
    assert not join.owns(former)
    assert join.takeover("features").position == START


def test_who_has_not_read_to_the_end_does_not_rest(tmp_path: Path) -> None:
    join = worker(loop(tmp_path, "stream"), Pairs(), Log())
    take(join, "told", labels(0, "a"))
    join.note_silence("features", Position(1, 5, -1))
    assert owned(join).watermarks().release == UNKNOWN
    join.note_silence("features", START)
    assert owned(join).watermarks().release == IDLE


def test_a_lease_that_lapses_for_a_moment_loses_nothing(tmp_path: Path) -> None:
    """The store hung for longer than the lease lives, and a batch is accepted before both threads notice."""
    definition, pairs, log, lease = loop(tmp_path, "stream"), Pairs(), Log(), Claim()
    join = joiner(definition, pairs, log, lease)
    assert join.begin()
    lease.held = False
    take(join, "features", vectors(definition, 0, "ab"))
    lease.held = True
    join.step()
    take(join, "features", vectors(definition, 1, "cd"))
    take(join, "told", labels(0, "abcd"))
    end = Batch(
        [Position(1, 9, -1)], [b""], [header(b"", definition=definition.models[0].hash, release_watermark=ENDED)], [0]
    )
    take(join, "features", end)
    join.step()
    assert [id for _, id, _ in examples(definition, log)] == ["a", "c", "b", "d"]


def test_what_rested_is_awake_for_the_next_one_that_joins(tmp_path: Path) -> None:
    definition, pairs, log = loop(tmp_path, "stream"), Pairs(), Log()
    join = worker(definition, pairs, log)
    take(join, "features", vectors(definition, 0, "a"))
    take(join, "told", labels(0, "a"))
    for topic, end in (("features", Position(1, 0, -1)), ("told", Position(1, 1, -1))):
        join.note_silence(topic, end)
    join.step()
    assert owned(join).watermarks().release >= IDLE
    assert owned(worker(definition, pairs, log)).watermarks().release == UNKNOWN


TELLING = """
class Told(Stream, key="id", time="at", id="event", lateness="1s", horizon="1h"):
    event: str
    id: str
    at: datetime
    yes: bool | None

Model(
    "m", on=Asked, label=Label(Told, of=Asked, id="id", value=Told.yes, within="1h", name="yes"), features=[Asked.x],
"""


def telling(folder: Path) -> LoopDefinition:
    """Return a loop whose label events have their own ids, and may carry no label."""
    file = folder / "telling.py"
    head, tail = LOOP.partition("class Told")[0], LOOP.partition("    learner=")
    file.write_text(head + TELLING + "".join(tail[1:]).replace("{vectors}", "stream"))
    return compiler.load(file).definition


def told(entry: int, *events: tuple[str, str, int, bool | None]) -> Batch:
    payloads = [
        b'{"event": "%s", "id": "%s", "at": %d, "yes": %s}'
        % (event.encode(), id.encode(), at, {None: b"null", True: b"true", False: b"false"}[yes])
        for event, id, at, yes in events
    ]
    size = len(events)
    return Batch([Position(1, entry + row, -1) for row in range(size)], payloads, [{}] * size, [0] * size)


def ended(definition: LoopDefinition, entry: int) -> dict[str, Batch]:
    """Return the messages by which both sources say that nothing more follows."""
    properties = {"features": header(b"", definition=definition.models[0].hash, release_watermark=ENDED)}
    properties["told"] = {END: "1"}
    return {topic: Batch([Position(1, entry, -1)], [b""], [header], [0]) for topic, header in properties.items()}


@pytest.mark.parametrize(
    ("again", "found"),
    [
        pytest.param([("e", "a", 5, True)], [], id="of one that told no label"),
        pytest.param([("e", "b", 5, True)], [], id="of another event"),
        pytest.param([("f" * 300, "a", 5, None), ("f" * 300, "b", 5, True)], [], id="with a long id"),
        pytest.param([("e", "c", 30 * 60_000_000, True), ("f", "a", 6, True)], ["a"], id="at another time"),
        pytest.param([("e", "a", 5 + HOUR // 2, True), ("f", "b", 7 + HOUR, True)], ["b"], id="within the horizon"),
        pytest.param([("f", "b", 7 + HOUR, None), ("e", "a", 7 + HOUR, True)], ["a"], id="after the horizon"),
    ],
)
def test_a_label_event_sent_again_counts_no_more_after_a_restart_than_without(
    tmp_path: Path, again: list[tuple[str, str, int, bool | None]], found: list[str]
) -> None:
    definition = telling(tmp_path)
    for restarts in (False, True):
        pairs, log = Pairs(), Log()
        join = worker(definition, pairs, log)
        batches = [("features", timed(definition, 0, [("a", 10), ("b", 10), ("c", 10)]))]
        batches += [("told", told(entry, event)) for entry, event in enumerate([("e", "a", 5, None), *again])]
        for topic, batch in [*batches, *ended(definition, 9).items()]:
            take(join, topic, batch)
            join.step()
            if restarts:
                join = worker(definition, pairs, log)
        join.step()
        assert list(dict.fromkeys(id for _, id, _ in examples(definition, log))) == found, restarts


def test_ids_of_label_events_are_kept_for_their_horizon_only(tmp_path: Path) -> None:
    definition, pairs, log = telling(tmp_path), Pairs(), Log()
    join = worker(definition, pairs, log)
    take(join, "told", told(0, ("e", "a", 5, True), ("f", "a", 6, True)))
    join.step()
    assert pairs.ids == {(0, "e"): 5, (0, "f"): 6}
    join = worker(definition, pairs, log)
    take(join, "told", told(2, ("g", "a", 6 + HOUR, True)))
    join.step()
    assert pairs.ids == {(0, "f"): 6, (0, "g"): 6 + HOUR}


def timed(definition: LoopDefinition, entry: int, vectors: list[tuple[str, int]]) -> Batch:
    """Return vectors of these ids at these times, with the time as their feature."""
    model, size = definition.models[0], len(vectors)
    ids, times = [id for id, _ in vectors], np.array([time for _, time in vectors])
    positions = [Position(1, entry, row).to_bytes() for row in range(size)]
    table = Vectors(ids, times, positions, np.empty((size, 0, 3), np.int64), times[:, None].astype(float), [])
    payload = encode_vectors(model, table)
    return Batch([Position(1, entry, -1)], [payload], [header(payload, definition=model.hash)], [0])


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("order", ["vlvl", "vvll", "llvv", "lvvl"])
def test_an_id_that_comes_again_after_its_wait_is_a_new_one_whichever_source_is_read_first(
    tmp_path: Path, order: str, restarts: bool
) -> None:
    definition, pairs, log = telling(tmp_path), Pairs(), Log()
    join = worker(definition, pairs, log)
    batches = {
        "v": [("features", timed(definition, entry, [("a", at)])) for entry, at in enumerate((10, 10 * HOUR))],
        "l": [("told", told(entry, (str(entry), "a", at, True))) for entry, at in enumerate((20, 10 * HOUR + 10))],
    }
    for topic, batch in [*(batches[kind].pop(0) for kind in order), *ended(definition, 9).items()]:
        take(join, topic, batch)
        join.step()
        if restarts:
            join = worker(definition, pairs, log)
    join.step()
    # The next owner sends again what may not have been sent.
    assert list(dict.fromkeys(examples(definition, log))) == [(0, "a", 10.0), (1, "a", 10.0 * HOUR)]


def test_a_join_that_is_full_reads_no_more_of_that_side(tmp_path: Path) -> None:
    definition, pairs, log = bounded(tmp_path, 1_000), Pairs(), Log()
    join = worker(definition, pairs, log)
    take(join, "features", vectors(definition, 0, "abcdefgh"))
    join.step()
    assert (join.is_full("features"), join.is_full("told")) == (True, False)
    status = join.status()
    assert status is not None
    assert (status.waiting_questions, status.is_full, status.held_by, status.watermark) == (8, True, "told-0", None)
    assert worker(definition, pairs, log).is_full("features")  # also after a restart
    join = worker(definition, pairs, log)
    take(join, "told", labels(0, "abcdefgh"))
    join.note_silence("features", Position(1, 0, -1))
    join.step()
    take(join, "told", marks(9, 3 * HOUR))
    take(join, "features", watermark(definition, 9, 3 * HOUR))
    join.step()
    assert not join.is_full("features")
    assert pairs.state.weight == (0, 0, 0, 0, 0)


def bounded(folder: Path, size: int) -> LoopDefinition:
    definition = loop(folder, "stream")
    model = msgspec.structs.replace(definition.models[0], waiting_bytes=size)
    return msgspec.structs.replace(definition, models=(model,))


def test_a_full_join_logs_what_is_answered_out_of_its_place(tmp_path: Path) -> None:
    """Its questions are not read any further, so their watermark would never pass the labels."""
    definition, pairs, log = bounded(tmp_path, 1_000), Pairs(), Log()
    join = worker(definition, pairs, log)
    take(join, "features", vectors(definition, 0, "abcdefgh"))
    join.step()
    take(join, "told", known(0, *((id, 5) for id in "abcdefgh")))
    while join.step():
        pass
    assert len(examples(definition, log)) > 0
    assert not join.is_full("features")
    assert owned(join).watermarks().release == UNKNOWN


def test_logged_questions_fill_no_bound(tmp_path: Path) -> None:
    definition, pairs, log = bounded(tmp_path, 2_000), Pairs(), Log()
    join = worker(definition, pairs, log)
    for entry in range(9):
        ids = [f"{entry}{number}" for number in range(5)]
        take(join, "features", numbered(definition, ids, entry))
        join.note_silence("features", Position(1, entry, -1))
        take(join, "told", known(5 * entry, *((id, 5) for id in ids)))
        join.note_silence("told", Position(1, 5 * entry + 4, -1))
        while join.step():
            pass
        assert not join.is_full("features")
    assert len(examples(definition, log)) == 45
    assert 0 < pairs.state.weight.closed_bytes < 2_000


def test_silence_expires_nothing_and_a_mark_does(tmp_path: Path) -> None:
    definition, pairs, log = loop(tmp_path, "stream"), Pairs(), Log()
    join = worker(definition, pairs, log)
    take(join, "features", vectors(definition, 0, "ab"))
    for topic in ("features", "told"):
        join.note_silence(topic, Position(1, 0, -1))
    join.step()
    take(join, "features", watermark(definition, 1, 99 * HOUR))
    join.step()
    assert pairs.state.weight.questions == 2
    take(join, "told", marks(0, HOUR + 1))  # the bound of the question at 0 is over, that of the one at 1 is not
    join.step()
    assert pairs.state.weight.questions == 1
    take(join, "told", known(1, ("b", HOUR + 1)))
    join.note_silence("told", Position(1, 1, -1))
    join.step()
    assert [id for _, id, _ in examples(definition, log)] == ["b"]


def test_nothing_more_is_read_while_what_was_read_is_to_be_logged(tmp_path: Path) -> None:
    definition, log = loop(tmp_path, "stream"), Log()
    join = worker(definition, Pairs(definition), log)
    take(join, "features", vectors(definition, 0, "".join(map(chr, range(200, 201 + STEP)))))
    take(join, "features", watermark(definition, 1, HOUR))
    take(join, "told", marks(0, HOUR))
    assert not join.is_full("features")
    assert join.step()
    assert join.is_full("features")
    assert join.is_full("told")
    while join.step():
        pass
    assert not join.is_full("features")


def test_the_log_says_how_far_it_is_before_all_is_out(tmp_path: Path) -> None:
    definition, log = loop(tmp_path, "stream"), Log()
    join = worker(definition, Pairs(definition), log)
    take(join, "features", vectors(definition, 0, "".join(map(chr, range(200, 201 + 2 * STEP)))))
    take(join, "features", watermark(definition, 1, HOUR))
    take(join, "told", marks(0, HOUR))
    while join.step():
        pass
    assert [release_watermark for _, release_watermark in log.release_watermarks] == [STEP - 1, 2 * STEP - 1, HOUR]


def declared(folder: Path, label: str, features: str = "[Asked.x]") -> LoopDefinition:
    """Return the loop with another label."""
    file = folder / "declared.py"
    before, rest = LOOP.split("label=Label(")
    learner = rest.partition("features=")[2].replace("[Asked.x]", features).replace("{vectors}", "stream")
    file.write_text(f"{before}label={label}, features={learner}")
    return compiler.load(file).definition


def test_an_outcome_that_is_absent_answers_by_the_watermark_of_labels(tmp_path: Path) -> None:
    definition = declared(
        tmp_path, 'Label(Told, of=Asked, value=Told.yes, within="1h", name="yes", absent=False, keep={False: 0.5})'
    )
    pairs, log = Pairs(definition), Log()
    join = worker(definition, pairs, log)
    take(join, "features", vectors(definition, 0, "abcdefgh"))
    take(join, "features", watermark(definition, 1, 9 * HOUR))
    take(join, "told", known(0, ("a", 5)))
    settle(join)
    assert [entry for entry in entries(definition, log) if entry[0] != "question"] == []
    take(join, "told", marks(1, 2 * HOUR))
    settle(join)
    closed = {id: (kind, weight) for kind, id, weight in entries(definition, log) if kind != "question"}
    assert closed["a"] == ("answer", 1.0)
    assert set(closed.values()) == {("answer", 1.0), ("answer", 2.0), ("unanswered", 1.0)}
    assert len(closed) == 8


def test_a_question_without_an_answer_is_closed_in_the_log(tmp_path: Path) -> None:
    definition, pairs, log = loop(tmp_path, "stream"), Pairs(), Log()
    join = worker(definition, pairs, log)
    take(join, "features", vectors(definition, 0, "ab"))
    take(join, "features", watermark(definition, 1, 9 * HOUR))
    take(join, "told", known(0, ("a", 5)))
    take(join, "told", marks(1, 2 * HOUR))
    settle(join)
    assert [entry[:2] for entry in entries(definition, log)] == [
        ("question", "a"),
        ("question", "b"),
        ("answer", "a"),
        ("unanswered", "b"),
    ]


FORECAST = """
from datetime import datetime
from river.linear_model import LinearRegression
from headrace import Label, Model, Stream

class Read(Stream, key="patient", time="at", id="id"):
    id: str
    at: datetime
    patient: str
    x: float

Model(
    "m", on=Read, label=Label(Read, of=Read, by="patient", after="1s", within="1m", value=Read.x, name="later"),
    features=[Read.x], learner=lambda: LinearRegression(),
)
"""


def test_a_later_event_of_the_entity_answers_a_forecast(tmp_path: Path) -> None:
    file = tmp_path / "forecast.py"
    file.write_text(FORECAST)
    definition = compiler.load(file).definition
    pairs, log = Pairs(definition), Log()
    join = worker(definition, pairs, log)
    rows = [("a", 0, "p"), ("b", 500_000, "q"), ("c", 1_200_000, "p"), ("d", 1_400_000, "p"), ("e", 90_000_000, "q")]
    positions = [Position(1, entry, 0).to_bytes() for entry in range(len(rows))]
    times = np.array([at for _, at, _ in rows])
    table = Vectors(
        [id for id, _, _ in rows], times, positions, np.empty((5, 0, 3), np.int64), times[:, None].astype(float), [],
        [patient for _, _, patient in rows],
    )  # fmt: skip
    model = definition.models[0]
    payload = encode_vectors(model, table)
    properties = header(payload, definition=model.hash)
    take(join, "features", Batch([Position(1, 4, -1)], [payload], [properties], [0]))
    take(join, "features", watermark(definition, 5, 99_000_000))
    payloads = [
        b'{"id": "%s", "at": %d, "patient": "%s", "x": %d}' % (id.encode(), at, patient.encode(), at)
        for id, at, patient in rows
    ]
    take(join, "told", Batch([Position(1, entry, -1) for entry in range(5)], payloads, [{}] * 5, [99_000_000] * 5))
    settle(join)
    answers = decode_log(model, log.payloads[-1]).answers
    assert list(zip(answers.ids, answers.labels, strict=True)) == [("a", 1_200_000.0)]
