"""The bound on what is in flight."""

from __future__ import annotations

import asyncio

import pytest

from headrace.errors import Overloaded
from headrace_ingest.in_flight import InFlightLimit


async def entered(limit: InFlightLimit, *sizes: int) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(limit.enter(size)) for size in sizes]
    await asyncio.sleep(0)
    return tasks


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def done(tasks: list[asyncio.Task[None]]) -> list[bool]:
    return [task.done() for task in tasks]


async def test_who_finds_no_room_waits_for_its_turn() -> None:
    limit = InFlightLimit("stream a", 10, patience_s=60)
    tasks = await entered(limit, 6, 5, 1)
    # The third would fit, but would overtake the second.
    assert done(tasks) == [True, False, False]
    limit.leave(6)
    await settle()
    assert done(tasks) == [True, True, True]


async def test_what_is_larger_than_the_room_enters_alone() -> None:
    limit = InFlightLimit("stream a", 10, patience_s=60)
    tasks = await entered(limit, 1, 50)
    assert done(tasks) == [True, False]
    limit.leave(1)
    await settle()
    assert done(tasks) == [True, True]


async def test_patience_ends() -> None:
    limit = InFlightLimit("stream a", 10, patience_s=0)
    await limit.enter(10)
    with pytest.raises(Overloaded, match="stream a: 10 bytes wait for the broker, and none got through in 0 s"):
        await limit.enter(1)
    limit.leave(10)
    await limit.enter(10)


async def test_who_goes_away_takes_no_room() -> None:
    limit = InFlightLimit("stream a", 10, patience_s=60)
    _, second, third = tasks = await entered(limit, 10, 5, 5)
    second.cancel()
    await settle()
    limit.leave(10)
    await settle()
    assert third.done()
    assert third.exception() is None
    assert done(tasks) == [True, True, True]


@pytest.mark.parametrize(("waiting", "sizes"), [(2, [1, 1]), (256, [6, 4])])
async def test_who_comes_when_enough_wait_is_refused_at_once(waiting: int, sizes: list[int]) -> None:
    limit = InFlightLimit("stream a", 10, patience_s=60, waiting=waiting)
    tasks = await entered(limit, 10, *sizes)
    with pytest.raises(Overloaded, match="10 bytes wait for the broker, and 2 callers for their turn") as refused:
        await limit.enter(1)
    assert refused.value.retry_s > 0
    limit.leave(10)
    await settle()
    assert done(tasks) == [True, True, True]
    for size in sizes:
        limit.leave(size)
    await limit.enter(10)
