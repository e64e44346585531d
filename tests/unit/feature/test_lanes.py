"""A lane ends when it is asked to, whatever comes at the same moment."""

from __future__ import annotations

import asyncio

import pytest

from headrace_feature.lane import Lane


class Idle:
    """A worker that never has anything to do."""

    pulse = 60.0

    def step(self) -> bool:
        return False

    def give_up(self) -> None:
        pass


@pytest.mark.parametrize("turns", range(4))
async def test_a_lane_that_is_stopped_while_work_comes_ends(turns: int) -> None:
    lane = Lane("fold", [], Idle())
    running = asyncio.create_task(lane.run())
    await asyncio.sleep(0)
    lane._work.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    running.cancel()
    done, _ = await asyncio.wait([running], timeout=10)
    running.cancel()
    lane.close()
    assert done
