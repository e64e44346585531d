"""A worker that lost a partition can write nothing further: on a real store."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import redis
from msgspec import structs

from headrace import embedded
from headrace.engine.events.lateness import too_late
from headrace.engine.kernel.join import NOTHING, Entry, Index, Outcome, Question, Rule, name_at
from headrace.engine.kernel.layout import Layout
from headrace.engine.kernel.partition import PartitionId, Progress, Reached, RowsId
from headrace.engine.kernel.rows import Operations, RowSet
from headrace.errors import Fenced
from headrace.runtime.redis.connection import connect
from headrace.runtime.redis.decisions import DecisionBoard, Decisions, decode, encode
from headrace.runtime.redis.fences import Fences
from headrace.runtime.redis.pairs import JoinState, PairStore
from headrace.runtime.redis.partitions import Durability, OwnerReport, PartitionStore
from headrace.runtime.redis.rows import RowStore, Write, row_field, row_key
from headrace.runtime.redis.status import ServiceStatus, StatusBoard, status_key
from headrace.watermark import ENDED, IDLE, UNKNOWN
from headrace.wire.position import Position
from tests.support.kernel_loop import SECOND, START, loop

LOOP = loop()
ROWS = RowsId("asked", 0)
PARTITION = PartitionId("a", 0)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with embedded.store(tmp_path_factory.mktemp("store")) as server:
        yield server.url


@pytest.fixture
def store(url: str) -> Iterator[redis.Redis]:
    client = connect(url)
    client.flushall()
    yield client
    client.close()


def row(position: int, epoch: int, events: int = 1) -> bytes:
    """Return a row after some events, the last of them at `position`."""
    layout = Layout(LOOP.view("asked"))
    rows = RowSet(layout)
    slot = rows.add("p")
    rows.run(
        Operations(
            np.zeros(events, np.int8),
            np.full(events, slot),
            START + SECOND * np.arange(events, dtype=np.int64),
            np.ones((events, 1)),
            np.array([(position - events + 1 + index, 0, -1) for index in range(events)], np.int64),
        )
    )
    return rows.dump([slot], epoch)[0]


def stored(store: redis.Redis) -> bytes | None:
    found = store.hget(row_key(LOOP.name, "k", "p"), row_field(LOOP.view("asked"), 0))
    assert found is None or isinstance(found, bytes)
    return found


def test_a_row_is_replaced_by_a_newer_position_only(store: redis.Redis) -> None:
    rows = RowStore(store, LOOP)
    for position in (5, 6, 4):
        rows.write([Write(ROWS, {"p": row(position, epoch=1)})], "asked-0", 1)
    assert stored(store) == row(6, epoch=1)


def test_an_older_epoch_is_refused_and_changes_nothing(store: redis.Redis) -> None:
    rows = RowStore(store, LOOP)
    rows.write([Write(ROWS, {"p": row(5, epoch=2)})], "asked-0", 2)
    with pytest.raises(Fenced):
        rows.write([Write(ROWS, {"p": row(300, epoch=1)})], "asked-0", 1)
    assert stored(store) == row(5, epoch=2)


def test_a_newer_epoch_replaces_also_an_equal_position(store: redis.Redis) -> None:
    rows = RowStore(store, LOOP)
    rows.write([Write(ROWS, {"p": row(5, epoch=1)})], "asked-0", 1)
    rows.write([Write(ROWS, {"p": row(5, epoch=2)})], "asked-0", 2)
    assert stored(store) == row(5, epoch=2)
    assert rows.load({ROWS: ["p", "unknown"]}) == {ROWS: {"p": row(5, epoch=2)}}


def test_positions_are_compared_beyond_what_a_lua_number_holds(store: redis.Redis) -> None:
    rows = RowStore(store, LOOP)
    high = 2**60
    rows.write([Write(ROWS, {"p": row(high + 1, epoch=1)})], "asked-0", 1)
    rows.write([Write(ROWS, {"p": row(high, epoch=1)})], "asked-0", 1)
    assert stored(store) == row(high + 1, epoch=1)


def test_the_scripts_come_back_after_the_store_forgot_them(store: redis.Redis) -> None:
    rows = RowStore(store, LOOP)
    rows.write([Write(ROWS, {"p": row(5, epoch=1)})], "asked-0", 1)
    store.script_flush()
    rows.write([Write(ROWS, {"p": row(6, epoch=1)})], "asked-0", 1)
    assert stored(store) == row(6, epoch=1)


def test_rows_expire(store: redis.Redis) -> None:
    RowStore(store, LOOP).write([Write(ROWS, {"p": row(5, epoch=1)})], "asked-0", 1)
    default = LOOP.view("asked").lifetime // 1_000
    assert default - 60_000 < store.pttl(row_key(LOOP.name, "k", "p")) <= default


def test_an_entity_s_rows_stay_as_long_as_any_of_its_views_asks_for(store: redis.Redis) -> None:
    day = 86_400_000
    lives = (day, 40 * day, day)
    views = tuple(structs.replace(view, expire=ms * 1_000) for view, ms in zip(LOOP.views, lives, strict=True))
    RowStore(store, structs.replace(LOOP, views=views)).write([Write(ROWS, {"p": row(5, epoch=1)})], "asked-0", 1)
    assert 39 * day < store.pttl(row_key(LOOP.name, "k", "p")) <= 40 * day


@pytest.mark.parametrize(("told", "by_the_next"), [(IDLE, UNKNOWN), (ENDED, UNKNOWN), (START, START)])
def test_what_an_owner_said_of_its_rest_ends_with_its_epoch(store: redis.Redis, told: int, by_the_next: int) -> None:
    partitions, reached = PartitionStore(store, LOOP.name), Reached(told, told)

    def said() -> Reached:
        report = partitions.owner_reports([PARTITION])[PARTITION]
        assert report is not None
        return report.reached

    for _ in range(2):
        epoch = partitions.take_over(PARTITION).epoch
        partitions.save(
            PARTITION, epoch, Progress((1, 2, -1)), reached, ids={}, oldest=0, views=[], models=[], most_ids=9
        )
        assert said() == reached
    partitions.take_over(PARTITION)
    assert said() == Reached(by_the_next, by_the_next)


def test_a_new_owner_starts_from_what_was_saved_and_fences_the_old_one(store: redis.Redis) -> None:
    former, new = PartitionStore(store, LOOP.name), PartitionStore(store, LOOP.name)
    first = former.take_over(PARTITION)
    assert (first.progress, first.seen) == (Progress(), {})
    progress = Progress((1, 2, -1), (1, 3, -1), START, START - 7, ended=True)
    reached = Reached(START + 1, START)
    former.save(
        PARTITION,
        first.epoch,
        progress,
        reached,
        ids={"x": START, "old": START - 10},
        oldest=START - 5,
        views=["asked:1"],
        models=["m"],
        most_ids=9,
    )
    second = new.take_over(PARTITION)
    assert (second.epoch, second.progress, second.seen) == (first.epoch + 1, progress, {"x": START})
    assert second.models == {"m"}
    with pytest.raises(Fenced):
        former.save(
            PARTITION,
            first.epoch,
            replace(progress, done=(9, 9, -1)),
            Reached(ENDED, ENDED),
            ids={"y": START},
            oldest=0,
            views=[],
            models=[],
            most_ids=9,
        )
    with pytest.raises(Fenced):
        former.record_emitted(PARTITION, first.epoch, replace(progress, emitted=(9, 9, -1)))
    assert new.take_over(PARTITION).progress == progress
    nobody = PartitionId("b", 0)
    reports = new.owner_reports([PARTITION, nobody])
    assert reports == {
        PARTITION: OwnerReport(
            first.epoch + 2, reached, Position(1, 2, -1), frozenset({"asked:1"}), progress.watermark, progress.ended
        ),
        nobody: None,
    }


def test_what_its_last_owner_folds_is_what_a_new_one_goes_on_with(store: redis.Redis) -> None:
    partitions = PartitionStore(store, LOOP.name)
    for views in ({"asked:1", "more:1"}, {"asked:1"}):
        epoch = partitions.take_over(PARTITION).epoch
        partitions.save(PARTITION, epoch, Progress(), Reached(), ids={}, oldest=0, views=views, models=(), most_ids=9)
    assert partitions.take_over(PARTITION).views == {"asked:1"}


def test_rows_from_before_a_restart_count_as_lost_and_go(store: redis.Redis) -> None:
    partitions, rows = PartitionStore(store, LOOP.name), RowStore(store, LOOP)
    other = RowsId("asked", 1)
    before = partitions.take_over(PARTITION).epoch
    rows.write([Write(ROWS, {"p": row(5, before)})], "a-0", before)
    rows.write([Write(other, {"p": row(5, epoch=2)})], "a-1", 2)
    store.hset(row_key(LOOP.name, "k", "p"), "gone:7@0", b"of a view that is gone")
    oldest_epoch = partitions.restart(
        PARTITION, before + 7, Progress(), Position(9, 0, -1), views=["asked:1"], lost=True, models=()
    )
    assert oldest_epoch == before + 8
    rows.write([Write(ROWS, {"q": row(5, oldest_epoch)})], "a-0", oldest_epoch)
    # A view that is added meanwhile does not make older rows count again.
    partitions.restart(PARTITION, 0, Progress(), Position(9, 0, -1), views=["asked:1", "more:1"], models=())
    assert partitions.take_over(PARTITION).oldest_epoch == oldest_epoch
    assert rows.drop_older({PARTITION: oldest_epoch, PartitionId("a", 1): 2}) == 2
    assert {rows_id: list(found) for rows_id, found in rows.load({ROWS: ["p", "q"], other: ["p"]}).items()} == {
        ROWS: ["q"],
        other: ["p"],
    }


def test_only_the_newest_ids_are_kept_where_there_are_too_many(store: redis.Redis) -> None:
    partitions = PartitionStore(store, LOOP.name)
    epoch = partitions.take_over(PARTITION).epoch
    ids = {f"id{number}": START + number for number in range(5)}
    partitions.save(PARTITION, epoch, Progress(), Reached(), ids=ids, oldest=0, views=[], models=[], most_ids=3)
    assert partitions.take_over(PARTITION).seen == {f"id{number}": START + number for number in (2, 3, 4)}


def test_decisions_are_read_from_all_partitions(store: redis.Redis) -> None:
    stream = structs.replace(LOOP.stream("a"), partitions=2)
    partitions, board = PartitionStore(store, LOOP.name), DecisionBoard(store, LOOP.name)
    assert board.read(stream, "call").total == 0
    late = too_late(stream, START, START + 1)
    for partition, refused in ((0, {}), (1, {0: None, 1: late})):
        name = PartitionId("a", partition)
        epoch = partitions.take_over(name).epoch
        decisions = Decisions()
        positions = [Position(1, entry, -1) for entry in range(3)]
        assert decisions.note(["call:7", "call:8", None], positions, refused)
        assert not decisions.note(["call:7", "call:8", None], positions, refused)  # judged again by the next owner
        partitions.save(
            name,
            epoch,
            Progress(),
            Reached(),
            ids={},
            oldest=0,
            views=[],
            models=[],
            most_ids=9,
            decisions=encode(decisions),
        )
        partitions.save(name, epoch, Progress(), Reached(), ids={}, oldest=0, views=[], models=[], most_ids=9)
        assert decode(partitions.take_over(name).decisions) == decisions
    tally = board.read(stream, "call")
    assert (tally.accepted, tally.repeats, tally.rejected, tally.late) == (2, 1, 1, 1)
    assert [refusal.index for refusal in tally.refusals] == [8]


def pairs_of(store: redis.Redis) -> PairStore:
    return PairStore(store, LOOP.name, "m", Rule(10))


def test_a_join_is_saved_whole_or_not_at_all(store: redis.Redis) -> None:
    former, new = pairs_of(store), pairs_of(store)
    epoch, state = former.take_over()
    entry = Entry((Question("a", START, b"\x00\xff"),), (Outcome(START + 99, 1.0),))
    state.sequence, state.outbox = 3, [b"message"]
    ids = {(0, "x:y"): START + 1, (0, "z"): START, (10, "x:y"): -1}
    former.save(epoch, state, {"a": (NOTHING, entry), "b": (NOTHING, entry)}, ids)
    former.save(epoch, state, {"b": (entry, NOTHING)}, {(0, "old"): START - 9})
    former.save(epoch, state, {}, {(0, "old"): None})
    assert new.take_over()[1] == state
    assert new.load(["a", "b"]).entries == {"a": entry}
    seen = new.seen()
    assert seen == {0: {"x:y": START + 1, "z": START}, 10: {"x:y": -1}}
    assert list(seen[0]) == ["z", "x:y"]
    with pytest.raises(Fenced):
        former.save(epoch, JoinState(sequence=99), {"a": (entry, NOTHING)}, {(0, "z"): None})
    with pytest.raises(Fenced):
        former.clear(epoch, JoinState())
    assert (new.take_over()[1], new.load(["a"]).entries, new.seen()) == (state, {"a": entry}, seen)
    new.restart(9, state)
    assert (new.load(["a"]).entries, new.seen(), listed(new)) == ({}, {}, {index: [] for index in Index})


def listed(pairs: PairStore, time: int = ENDED, limit: int = 9) -> dict[Index, list[str]]:
    """Return the ids that each order lists before a time."""
    found = pairs.before(dict.fromkeys(Index, time), limit)
    return {index: [name_at(index, place) for place in places] for index, places in found.items()}


def test_what_waits_is_listed_by_the_end_of_its_bound(store: redis.Redis) -> None:
    pairs = pairs_of(store)
    epoch, state = pairs.take_over()
    times = {"é": 2**53 + 1, "b": -7, "c": 2**53, "d": 2**53}
    entries = {
        id: (NOTHING, Entry((Question(id, time, b"", seq=0),), (Outcome(time + 11, 1.0),)))
        for id, time in times.items()
    }
    pairs.save(epoch, state, entries)
    assert listed(pairs)[Index.OPEN] == listed(pairs)[Index.LABELS] == ["b", "c", "d", "é"]
    assert listed(pairs, limit=2)[Index.OPEN] == ["b", "c"]
    assert listed(pairs, 2**53 + 10)[Index.OPEN] == ["b"]
    assert listed(pairs, 2**53 + 11)[Index.OPEN] == ["b", "c", "d"]
    _, before = entries["b"]
    pairs.save(epoch, state, {"b": (before, Entry((Question("b", -7, None, seq=0),)))})
    assert listed(pairs)[Index.OPEN] == ["c", "d", "é"]
    assert listed(pairs)[Index.CLOSED] == ["b"]
    _, before = entries["c"]
    pairs.save(epoch, state, {"c": (before, Entry((Question("c", 2**53, b""),)))})
    assert listed(pairs)[Index.PLACED] == ["c"]
    pairs.clear(epoch, state)
    assert not any(listed(pairs).values())


def test_a_store_that_was_wiped_gives_no_epoch_out_again(store: redis.Redis) -> None:
    fences, partitions = Fences(store, LOOP.name), PartitionStore(store, LOOP.name)
    before = fences.acquire("m"), partitions.take_over(PARTITION).epoch
    store.flushall()
    pause = threading.Event()
    pause.wait(0.002)
    after = (
        fences.acquire("m"),
        partitions.restart(PARTITION, 0, Progress(), Position(9, 0, -1), views=[], models=(), lost=True),
    )
    assert after > before
    with pytest.raises(Fenced):
        fences.check("m", before[0])
    with pytest.raises(Fenced):
        partitions.record_emitted(PARTITION, before[1], Progress())


def test_a_fence_is_passed_by_the_newest_owner_only(store: redis.Redis) -> None:
    fences = Fences(store, LOOP.name)
    first = fences.acquire("learn:m")
    fences.check("learn:m", first)
    second = fences.acquire("learn:m")
    fences.check("learn:m", second)
    with pytest.raises(Fenced):
        fences.check("learn:m", first)


def test_what_was_written_is_on_disk_after_the_wait(store: redis.Redis) -> None:
    store.set("key", "value")
    assert Durability(store, LOOP.name).wait()


def test_a_process_that_reports_no_more_says_since_when(store: redis.Redis) -> None:
    board = StatusBoard(store, LOOP.name)
    ended, killed = (ServiceStatus(service="feature", instance=f"feature-{number}") for number in range(2))
    for status in (ended, killed):
        board.write(status)
    assert board.read() == board.read(silent=True) != []
    board.remove(ended)
    store.delete(status_key(LOOP.name, "feature", "feature-1"))  # as if its lifetime had passed
    assert board.read() == []
    (silent,) = board.read(silent=True)
    assert (silent.instance, silent.state) == ("feature-1", "does not report")
    assert abs(silent.updated_at - killed.updated_at) < 1
