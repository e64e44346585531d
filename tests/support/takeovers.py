"""A scorer of a loop under test."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headrace.definition import LoopDefinition
from headrace.embedded import RunningLoop
from headrace.runtime.redis.connection import connect
from headrace.runtime.redis.status import StatusBoard
from headrace.wire import compiled_loop
from tests.deadline import scaled, until


@contextmanager
def next_scorer(loop: LoopDefinition, before: RunningLoop, folder: Path) -> Iterator[str]:
    """Start a scorer of the new definition beside the running loop, as a rolling update does; yield its address."""
    compiled, instance = folder / "next.json", "scorer-next"
    compiled.write_bytes(compiled_loop.encode(loop))
    environment = {
        "HEADRACE_LOOP": str(compiled),
        "HEADRACE_PULSAR_URL": before.pulsar_url,
        "HEADRACE_REDIS_URL": before.redis_url,
        "HEADRACE_NAMESPACE": before.namespace,
        "HEADRACE_INSTANCE": instance,
        "HEADRACE_BIND": "127.0.0.1:0",
        "HEADRACE_DATA": str(folder / instance),
    }
    process = subprocess.Popen([sys.executable, "-m", "headrace_scorer"], env={**os.environ, **environment})
    with connect(before.redis_url) as store:
        board = StatusBoard(store, loop.name)
        try:
            yield until(
                lambda: next(
                    (status.address for status in board.read() if status.instance == instance and status.address), ""
                ),
                seconds=60,
            )
        finally:
            process.terminate()
            process.wait(scaled(20))
