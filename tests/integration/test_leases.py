"""A lease elects one of several processes: on a real store."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from headrace import embedded
from headrace.runtime.redis.connection import connect
from headrace.runtime.redis.leases import LIFE, Lease
from tests.deadline import until


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis.Redis]:
    with embedded.store(tmp_path_factory.mktemp("store")) as server:
        client = connect(server.url)
        yield client
        client.close()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_one_holds_and_another_follows_when_it_lets_go(store: redis.Redis) -> None:
    first, second = (Lease(store, "loop", "join:released", name) for name in ("a", "b"))
    assert first.campaign()
    assert not second.campaign()
    assert (first.held, second.held) == (True, False)
    second.release()
    assert not second.campaign()
    first.release()
    assert not first.held
    assert second.campaign()


def test_one_that_comes_back_under_its_name_goes_on_at_once(store: redis.Redis) -> None:
    assert Lease(store, "loop", "join:back", "a").campaign()
    assert Lease(store, "loop", "join:back", "a").campaign()


def test_one_that_says_nothing_more_is_followed(store: redis.Redis) -> None:
    clock = Clock()
    first = Lease(store, "loop", "join:silent", "a", clock=clock)
    second = Lease(store, "loop", "join:silent", "b")
    assert first.campaign()
    clock.now += LIFE - 0.1
    assert first.held
    clock.now += 0.2
    assert not first.held
    until(second.campaign, seconds=2 * LIFE)
    assert not first.campaign()
    assert not first.held


@pytest.mark.parametrize("end", [None, 3_600_000], ids=["none", "late"])
def test_a_lease_that_no_process_can_have_taken_is_none(store: redis.Redis, end: int | None) -> None:
    lease = Lease(store, "loop", f"join:damaged-{end}", "a")
    store.set(f"headrace:{{loop:join:damaged-{end}}}:lease", b"junk", px=end)
    assert lease.campaign()


def test_a_lease_of_another_type_is_none(store: redis.Redis) -> None:
    store.sadd("headrace:{loop:join:set}:lease", b"junk")
    assert Lease(store, "loop", "join:set", "a").campaign()
    assert not Lease(store, "loop", "join:set", "b").campaign()
