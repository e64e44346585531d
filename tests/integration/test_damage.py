"""A running loop whose topics, store and files are damaged: no process ends, and what the logs hold is rebuilt."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import redis

from headrace import embedded
from headrace.cli.program import run
from headrace.runtime.pulsar.log_reader import read_whole
from headrace.runtime.pulsar.messages import opened
from headrace.v1.dead_letter_pb2 import DeadLetter
from headrace.wire.tables import decode_vectors
from tests.deadline import until
from tests.support.shop import LOOP, Shop

#: Properties of invalid messages.
_JUNK = [
    {},
    {"epoch": "many", "definition": "0" * 16},
    {"format": "1", "epoch": "7", "length": "9", "crc32": "00000000"},
    {"format": "2", "version": "0.2"},
    {"examples": "many", "release_watermark": "soon"},
]


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    file = tmp_path / "loop.py"
    file.write_text(LOOP)
    with embedded.run(file, data=tmp_path / "data") as running:
        assert running.servers.broker is not None
        shop = Shop(running, running.servers.broker)
        yield shop
        shop.client.close()


def store_of(shop: Shop) -> redis.Redis:
    return redis.Redis.from_url(shop.running.redis_url)


def restart(shop: Shop) -> None:
    """Restart each service: damage is read at the start."""
    for name, pid in [item for item in shop.running.pids.items() if item[0].endswith("-0")]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        until(partial(pid_of, shop, name), partial(is_another, pid), seconds=60)


def pid_of(shop: Shop, name: str) -> int | None:
    return shop.running.pids.get(name)


def service_pids(shop: Shop) -> dict[str, int]:
    """Return the process of each service: a broker that stops answering is started again."""
    return {name: pid for name, pid in shop.running.pids.items() if name.endswith("-0")}


def is_another(former: int, pid: int | None) -> bool:
    return pid not in (None, former)


def test_junk_on_every_topic_ends_no_process(shop: Shop) -> None:
    shop.send("sold", [0])
    shop.send("asked", [1])
    shop.vectors(1)
    topics = shop.topics
    internal = [topics.features("m"), topics.examples("m"), topics.predictions("m"), topics.models, topics.dead_letters]
    for topic in internal:
        producer = shop.client.create_producer(topic)
        for properties in _JUNK:
            producer.send(b"junk junk", properties=properties)
        producer.close()
    pids = service_pids(shop)
    shop.send("asked", [2])
    assert wrong_messages(shop, 3) >= {topics.features("m")}
    assert service_pids(shop) == pids
    restart(shop)
    pids = service_pids(shop)
    shop.send("asked", [3])
    until(lambda: answered(shop), lambda found: found >= {"1", "2", "3"}, seconds=60)
    assert service_pids(shop) == pids
    assert run(["dead-letters", "list", "--data", str(shop.running.data)]) == 0
    assert run(["status", "--data", str(shop.running.data)]) == 0


def wrong_messages(shop: Shop, size: int) -> set[str]:
    """Return the topics of the dead letters about messages that only headrace writes, once there are `size` of them."""

    def read() -> list[str]:
        payloads = [
            payload for batch in read_whole(shop.client, shop.topics.dead_letters) for payload in batch.payloads
        ]
        letters = [DeadLetter.FromString(payload) for payload in payloads if payload != b"junk junk"]
        return [letter.topic for letter in letters if letter.event == b"junk junk" and letter.position and letter.value]

    return set(until(read, lambda found: len(found) >= size, seconds=60))


def answered(shop: Shop) -> set[str]:
    """Return the ids of the vectors on the features topic, and ignore everything else there."""
    topic, model = shop.topics.features("m"), shop.running.definition.model("m")
    messages = [one for batch in read_whole(shop.client, topic) for one in opened(batch, topic, lambda _: None)]
    return {id for one in messages if one.payload for id in decode_vectors(model, one.payload).ids}


def test_a_flipped_bit_of_a_row_is_noticed_and_the_row_is_made_again(shop: Shop) -> None:
    shop.send("sold", [0, 10, 20])
    shop.send("asked", [25])
    assert shop.vectors(1) == {"25": 3.0}
    store = store_of(shop)
    (key,) = store.keys("headrace:shop:row:*")
    ((field, row),) = store.hgetall(key).items()
    for place in (2, 60, len(row) - 1):  # in the epoch, in a count, in a tick
        # Wait for the row: it is written after the vectors that it was read for.
        damaged = bytearray(until(lambda: store.hget(key, field) or b""))
        damaged[place] ^= 1
        store.hset(key, field, bytes(damaged))
        os.kill(shop.running.pids["feature-0"], signal.SIGTERM)
        pids = {item: pid for item, pid in service_pids(shop).items() if item != "feature-0"}
        shop.send("asked", [30 + place])
        shop.send("sold", [2_000 + place])
        found = until(lambda: shop.vectors(1), partial(contains, str(30 + place)), seconds=90)
        assert found[str(30 + place)] == 3.0, place
        assert pids.items() <= shop.running.pids.items()


def contains(id: str, found: dict[str, float]) -> bool:
    return id in found


def test_damaged_state_stops_its_own_work_alone_and_is_made_again(shop: Shop) -> None:
    shop.send("sold", [0])
    shop.send("asked", [1])
    shop.vectors(1)
    store = store_of(shop)
    # Otherwise its owner would write it again.
    os.kill(shop.running.pids["feature-0"], signal.SIGSTOP)
    store.set("headrace:{shop:join:m}:state", b"junk")
    store.set("headrace:shop:status:scorer:x", b"\xff")
    store.zadd("headrace:shop:status:seen:", {"headrace:shop:status:scorer:x": 2e9, "\xff": 2e9})
    store.set("headrace:shop:quality:m", b"junk")
    store.set("headrace:{shop:fold:sold:0}:epoch", b"\xffjunk")
    os.kill(shop.running.pids["feature-0"], signal.SIGKILL)
    restart(shop)
    pids = service_pids(shop)
    shop.send("asked", [2])
    until(lambda: answered(shop), lambda found: "2" in found, seconds=90)
    found = until(
        lambda: [status.note for status in shop.running.status() if status.service == "feature"],
        lambda notes: any("backfill --again" in note for note in notes),
        seconds=60,
    )
    assert "the state of join:m cannot be read" in found[0]
    assert run(["status", "--data", str(shop.running.data)]) == 0
    assert run(["backfill", "--again", "--data", str(shop.running.data)]) == 0
    shop.send("asked", [3])
    until(
        lambda: [status.note for status in shop.running.status() if status.service == "feature"],
        lambda notes: notes and not any("cannot be read" in note for note in notes),
        seconds=60,
    )
    assert service_pids(shop) == pids


def test_wrong_types_in_a_running_loop_are_remade_by_a_backfill(shop: Shop) -> None:
    shop.send("sold", [0, 10, 20])
    shop.send("asked", [25])
    assert shop.vectors(1) == {"25": 3.0}
    store = store_of(shop)
    # The state of a partition is written after the vectors.
    until(lambda: store.keys("headrace:{shop:fold:*}:ids"), lambda found: len(found) == 2)
    pids, began = service_pids(shop), time.time()
    for key in store.scan_iter("headrace:*"):
        if b":status:" not in key:
            make_wrong(store, key)
    shop.send("sold", [30])
    shop.send("asked", [35])
    until(partial(notes, shop), lambda found: all(f"{{shop:fold:{name}:0}}" in found for name in ("asked", "sold")))
    assert "headrace backfill --again" in notes(shop)
    # The status of a process that stops reporting remains for a while.
    until(
        lambda: {status.service for status in shop.running.status() if status.updated_at > began},
        lambda found: found >= {"ingest", "feature", "learner", "scorer"},
    )
    assert run(["backfill", "--again", "--data", str(shop.running.data)]) == 0
    assert until(lambda: shop.vectors(1), partial(contains, "35"), seconds=60)["35"] == 4.0
    until(partial(notes, shop), lambda found: "cannot be read" not in found, seconds=60)
    assert service_pids(shop) == pids


def make_wrong(store: redis.Redis, key: bytes) -> None:
    is_text = store.type(key) == b"string"
    store.delete(key)
    if is_text:
        store.lpush(key, "junk")
    else:
        store.set(key, "junk")


def notes(shop: Shop) -> str:
    return "; ".join(status.note for status in shop.running.status())
