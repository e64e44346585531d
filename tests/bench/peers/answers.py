"""The answers of every target, compared before anything is measured: a wrong one would be no reference."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from tests.bench.peers.servers import START_SECONDS
from tests.bench.peers.targets import NOOP, Checked
from tests.bench.peers.workload import MODELS, Workload, right_scores


async def right_targets(
    headrace: Checked, peers: Sequence[Checked], onnx: dict[str, bytes], workload: Workload
) -> tuple[list[Checked], dict[str, str]]:
    """Return the targets that answer rightly, headrace first, and why others are left out."""
    for model in MODELS:
        scores = await headrace.values(model, range(100))
        assert len(scores) == 100
        assert all(0 < score < 1 for score in scores)
    right: list[Checked] = [headrace]
    wrong: dict[str, str] = {}
    for peer in peers:
        try:
            if peer.name != NOOP:
                await _check(peer, onnx, workload)
        except Exception as error:
            wrong[peer.name] = f"{type(error).__name__}: {error}"
        else:
            right.append(peer)
    return right, wrong


async def _check(peer: Checked, onnx: dict[str, bytes], workload: Workload) -> None:
    """Compare a peer's answers with the right ones, as soon as it gives any."""
    for model in MODELS:
        for numbers in ([3], range(100)):
            found = await _first_answer(partial(peer.values, model, numbers))
            right = right_scores(workload, onnx[model], model, numbers)
            if len(found) != len(right):  # without a model: the features
                right = [value for number in numbers for value in workload.vector(model, number)[:-1]]
            close = [math.isclose(one, other, abs_tol=1e-6) for one, other in zip(found, right, strict=True)]
            assert all(close), f"{peer.name} answers wrongly: {found[:5]}, not {right[:5]}"


async def _first_answer(ask: Callable[[], Any]) -> Any:
    """Ask again until the server has loaded its models."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            return await ask()
        except Exception:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.5)
