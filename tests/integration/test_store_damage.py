"""Damaged values in a real store: refused one by one, with a cure, and no reader ends because of them."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import redis

from headrace import embedded
from headrace.engine.kernel.join import NOTHING, Entry, Index, Outcome, Question, Rule
from headrace.engine.kernel.partition import PartitionId, Progress, Reached, RowsId
from headrace.errors import Fenced, Unreadable
from headrace.runtime.redis.decisions import DecisionBoard, Decisions, Tally, encode
from headrace.runtime.redis.fences import Fences
from headrace.runtime.redis.pairs import JoinState, PairStore
from headrace.runtime.redis.partitions import Durability, PartitionStore
from headrace.runtime.redis.quality import QualityBoard, quality_key
from headrace.runtime.redis.rows import RowStore, Write, row_field, row_key
from headrace.runtime.redis.scored import ScoredPositions
from headrace.runtime.redis.status import ServiceStatus, StatusBoard
from headrace.wire.position import START, Position
from tests.wire_samples import LOOP, VIEW, row

PARTITION = PartitionId("s", 0)
STATE, EPOCH = "headrace:{loop:fold:s:0}:state", "headrace:{loop:fold:s:0}:epoch"
JUNK = (b"", b"junk", b"\xff" * 40)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis.Redis]:
    with embedded.store(tmp_path_factory.mktemp("store")) as server:
        yield redis.Redis.from_url(server.url)


@pytest.fixture
def store(server: redis.Redis) -> redis.Redis:
    server.flushall()
    return server


def saved(store: redis.Redis, ids: int = 2) -> PartitionStore:
    partitions = PartitionStore(store, "loop")
    save(partitions, partitions.take_over(PARTITION).epoch, ids)
    return partitions


def save(partitions: PartitionStore, epoch: int, ids: int = 2) -> None:
    done = Progress((3, 4, -1), (3, 5, -1), newest=7)
    partitions.save(
        PARTITION,
        epoch,
        done,
        Reached(5, 6),
        ids={f"id{n}": n for n in range(ids)},
        oldest=0,
        views=["v:1"],
        models=["m"],
        most_ids=100,
    )


def use(pairs: PairStore) -> None:
    """Do everything that a join does with its keys."""
    epoch, state = pairs.take_over()
    pairs.load("a")
    pairs.seen()
    pairs.before(dict.fromkeys(Index, 100), 9)
    pairs.save(epoch, state, {"a": (NOTHING, Entry((Question("a", 0, b"vector"),)))}, {(0, "x"): 5})


def make_wrong(store: redis.Redis, key: str) -> None:
    """Replace a key by one of a type that headrace writes nowhere under this name."""
    written = store.type(key)
    store.delete(key)
    if written == b"string" or key.endswith((":epoch", "m}:state", quality_key("loop", "m"))):
        store.lpush(key, "junk")
    else:
        store.set(key, "junk")


@pytest.mark.parametrize("junk", JUNK)
@pytest.mark.parametrize("field", ["saved", "emitted", "floor"])
def test_damaged_progress_is_refused_by_its_owner_and_says_nothing_to_others(
    store: redis.Redis, field: str, junk: bytes
) -> None:
    partitions = saved(store)
    store.hset(STATE, field, junk)
    with pytest.raises(Unreadable, match="partition s-0"):
        partitions.take_over(PARTITION)
    report = partitions.owner_reports([PARTITION])[PARTITION]
    assert report is not None
    assert report.done == (START if field == "saved" else Position(3, 4, -1))
    partitions.rebuilding([PARTITION])
    partitions.parts(PARTITION)
    # The cure that an operator applies.
    partitions.restart(PARTITION, 0, Progress(), START, views=["v:1"], models=(), lost=True)
    assert partitions.take_over(PARTITION).progress.done == START


@pytest.mark.parametrize("junk", [*JUNK, b"-1", b"nan", b"1e400"])
def test_a_damaged_epoch_is_followed_by_a_newer_one(store: redis.Redis, junk: bytes) -> None:
    partitions = saved(store)
    before = int(store.get(EPOCH) or 0)
    store.set(EPOCH, junk)
    assert partitions.owner_reports([PARTITION])[PARTITION] is None
    assert partitions.take_over(PARTITION).epoch > before
    store.set(EPOCH, b"7")
    assert partitions.take_over(PARTITION).epoch > before


def test_ids_that_are_none_are_left_out(store: redis.Redis) -> None:
    partitions = saved(store)
    store.zadd("headrace:{loop:fold:s:0}:ids", {b"\xff": 1.0, b"inf": float("inf")})
    assert partitions.take_over(PARTITION).seen == {"id0": 0, "id1": 1}


@pytest.mark.parametrize("name", ["state", "ids"])
def test_a_key_of_another_type_is_refused_by_its_name(store: redis.Redis, name: str) -> None:
    partitions, key = saved(store), f"headrace:{{loop:fold:s:0}}:{name}"
    make_wrong(store, key)
    with pytest.raises(Unreadable, match=rf"{re.escape(key)}.*another type: string.*headrace backfill --again"):
        partitions.take_over(PARTITION)
    with pytest.raises(Unreadable, match=re.escape(key)):
        save(partitions, int(store.get(EPOCH) or 0))
    # Nobody else fails because of it.
    assert partitions.owner_reports([PARTITION])[PARTITION] is not None
    partitions.rebuilding([PARTITION])
    partitions.parts(PARTITION)
    # The cure that an operator applies.
    epoch = partitions.restart(PARTITION, 0, Progress(), Position(9, 9, -1), views=["v:1"], models=(), lost=True)
    save(partitions, epoch)
    assert partitions.rebuilding([PARTITION])
    assert partitions.take_over(PARTITION).oldest_epoch == epoch


def test_an_epoch_of_another_type_counts_as_lost(store: redis.Redis) -> None:
    partitions, before = saved(store), int(store.get(EPOCH) or 0)
    make_wrong(store, EPOCH)
    with pytest.raises(Fenced):
        save(partitions, before)
    with pytest.raises(Fenced):
        partitions.record_emitted(PARTITION, before, Progress())
    with pytest.raises(Fenced):
        Fences(store, "loop").check("fold:s:0", before)
    assert partitions.owner_reports([PARTITION])[PARTITION] is None
    assert partitions.take_over(PARTITION).epoch > before
    make_wrong(store, EPOCH)
    assert partitions.restart(PARTITION, before, Progress(), START, views=["v:1"], models=()) > before


@pytest.mark.parametrize("name", ["state", "waiting", "ids", *Index])
def test_a_key_of_a_join_of_another_type_is_refused_by_its_name(store: redis.Redis, name: str) -> None:
    pairs, key = PairStore(store, "loop", "m", Rule(10)), f"headrace:{{loop:join:m}}:{name}"
    use(pairs)
    make_wrong(store, key)
    with pytest.raises(Unreadable, match=rf"{re.escape(key)}.*another type.*headrace backfill --again"):
        use(pairs)
    epoch = pairs.restart(0, JoinState())
    assert pairs.take_over()[0] > epoch
    use(pairs)


def test_an_epoch_of_a_join_of_another_type_counts_as_lost(store: redis.Redis) -> None:
    pairs = PairStore(store, "loop", "m", Rule(10))
    epoch, state = pairs.take_over()
    pairs.save(epoch, state, {})
    make_wrong(store, "headrace:{loop:join:m}:epoch")
    with pytest.raises(Fenced):
        pairs.save(epoch, state, {})
    assert pairs.take_over()[0] > epoch
    make_wrong(store, "headrace:{loop:join:m}:epoch")
    assert pairs.restart(epoch, JoinState()) > epoch


def test_reports_of_another_type_count_as_missing(store: redis.Redis) -> None:
    make_wrong(store, quality_key("loop", "m"))
    assert QualityBoard(store, "loop").read("m") is None
    make_wrong(store, STATE)
    stream = LOOP.streams[0]
    assert DecisionBoard(store, "loop").read(stream, "call") == Tally()


def test_a_row_key_of_another_type_counts_as_damaged_rows(store: redis.Redis) -> None:
    rows, rows_id, key = RowStore(store, LOOP), RowsId("v", 0), row_key("loop", VIEW.entity, "k")
    make_wrong(store, key)
    assert rows.load({rows_id: ["k", "absent"]}) == {rows_id: {"k": b""}}
    assert set(store.hgetall(key).values()) == {b""}
    assert store.pttl(key) > 0
    rows.write([Write(rows_id, {"k": row()})], "s-0", 7)
    assert rows.load({rows_id: ["k"]}) == {rows_id: {"k": row()}}
    make_wrong(store, key)
    assert rows.drop_older({PARTITION: 0}) == 1
    assert not store.exists(key)


def test_a_wait_for_the_disk_writes_over_a_key_of_another_type(store: redis.Redis) -> None:
    store.lpush("headrace:loop:durable", "junk")
    Durability(store, "loop").wait(1)
    assert store.type("headrace:loop:durable") == b"string"


def test_a_damaged_entry_of_a_join_is_named_and_removed_with_its_places(store: redis.Redis) -> None:
    pairs = PairStore(store, "loop", "m", Rule(10))
    epoch, _ = pairs.take_over()
    entries = {name: Entry((Question(name, at, b"vector"),)) for at, name in enumerate("abc")}
    pairs.save(epoch, JoinState(), {name: (NOTHING, entry) for name, entry in entries.items()}, {(0, "x"): 5})
    waiting, ids, opened = (f"headrace:{{loop:join:m}}:{name}" for name in ("waiting", "ids", "open"))
    store.hset(waiting, "b", b"junk")
    store.hset(ids, mapping={b"\xff:y": b"1", b"0:z": b"soon"})
    loaded = pairs.load("abc")
    assert (loaded.entries, list(loaded.wrong)) == ({"a": entries["a"], "c": entries["c"]}, ["b"])
    assert pairs.seen() == {0: {"x": 5}}
    places = [place for place in pairs.before({Index.OPEN: 100}, 9)[Index.OPEN] if place.endswith(b"b")]
    pairs.forget(epoch, loaded.wrong, {Index.OPEN: places})
    assert pairs.load("abc").wrong == {}
    assert store.zcard(opened) == 2


@pytest.mark.parametrize("junk", JUNK)
def test_a_damaged_state_of_a_join_is_refused_with_its_cure(store: redis.Redis, junk: bytes) -> None:
    pairs = PairStore(store, "loop", "m", Rule(10))
    epoch, _ = pairs.take_over()
    pairs.save(epoch, JoinState(), {"a": (NOTHING, Entry(labels=(Outcome(1, 1.0),)))})
    store.set("headrace:{loop:join:m}:state", junk)
    with pytest.raises(Unreadable, match=r"state of join:m.*headrace backfill --again"):
        pairs.take_over()


@pytest.mark.parametrize("junk", [b"", b"short", b"\x00" * 200])
def test_a_row_is_written_over_one_that_is_none_and_only_the_same_is_discarded(store: redis.Redis, junk: bytes) -> None:
    rows, rows_id, field = RowStore(store, LOOP), RowsId("v", 0), row_field(VIEW, 0)
    key = row_key("loop", VIEW.entity, "k")
    store.hset(key, field, junk)
    rows.discard(rows_id, "k", junk + b"other")
    assert store.hget(key, field) == junk
    rows.write([Write(rows_id, {"k": row()})], "s-0", 7)
    assert rows.load({rows_id: ["k"]}) == {rows_id: {"k": row()}}
    store.hset(key, field, junk)
    rows.discard(rows_id, "k", junk)
    assert rows.load({rows_id: ["k"]}) == {rows_id: {}}
    store.hset(key, field, junk)
    assert rows.drop_older({PARTITION: 7}) == 1


def test_damaged_statuses_and_decisions_are_told(store: redis.Redis) -> None:
    board = StatusBoard(store, "loop")
    board.write(ServiceStatus(service="scorer", instance="good"))
    store.set("headrace:loop:status:scorer:bad", b"junk")
    register = "headrace:loop:status:seen:"
    (at,) = (score for _, score in store.zrange(register, 0, -1, withscores=True))
    store.zadd(register, {"headrace:loop:status:scorer:bad": at, b"\xff": at})
    found = {status.instance: status for status in board.read()}
    assert found["bad"].state == "not readable"
    assert "the status cannot be read" in found["bad"].note
    assert found["good"].state == "starting"
    partitions = saved(store)
    store.hset(STATE, "decisions", encode(Decisions())[:-1])
    assert partitions.take_over(PARTITION).decisions


@pytest.mark.parametrize("junk", JUNK)
def test_a_damaged_position_of_a_scorer_counts_as_none(store: redis.Redis, junk: bytes) -> None:
    scored = ScoredPositions(store, "loop")
    scored.write("topic", Position(1, 2, -1))
    assert scored.read("topic") == Position(1, 2, -1)
    store.hset("headrace:loop:scored", "topic", junk)
    assert scored.read("topic") == START
    store.set("headrace:loop:scored", junk)
    assert scored.read("topic") == START
    scored.write("topic", Position(1, 2, -1))
    assert scored.read("topic") == Position(1, 2, -1)


def test_a_register_of_statuses_of_another_type_is_made_again(store: redis.Redis) -> None:
    board, status = StatusBoard(store, "damaged"), ServiceStatus(service="feature", instance="feature-0")
    store.set("headrace:damaged:status:seen:", b"junk")
    assert board.read() == []
    board.write(status)
    board.write(status)
    assert [found.instance for found in board.read()] == ["feature-0"]
