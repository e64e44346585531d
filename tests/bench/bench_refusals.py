"""Measure the ingest service while its broker is stopped: its memory, and how soon it refuses what it cannot hold.

    python -m tests.bench.bench_refusals

For each load, many callers send at once to a service whose broker has been paused. Prints one JSON object: for each
load, how the calls ended, the seconds until they did (median, 99 %, most), and the peak memory of the service in MB.
The client is Python on the same machine: its own queue is part of the seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import tempfile
import time
from collections import defaultdict
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import msgspec

from headrace.embedded import broker, store
from headrace.runtime.grpc.call_limits import retry_delay
from headrace.v1 import ingest_pb2, ingest_pb2_grpc
from tests.brokers import on_the_small
from tests.integration.ingesting import HOUR, Ingesting, ingesting, stream

#: Bytes of the largest event.
_LARGEST = 4 * 2**20
#: Seconds for which a caller waits for room or for the broker.
_PATIENCE_S = 5
_DEADLINE_S = 60
_CHANNELS = 8


class CallLoad(NamedTuple):
    """Calls that are made at once.

    Attributes
    ----------
    size
        Bytes of each event.
    events
        Events in each message of a stream; 0 for calls of one event each.
    """

    calls: int
    size: int
    events: int = 0


LOADS = {
    "500 calls of 1 kB": CallLoad(500, 1_000),
    "3,000 calls of 1 kB": CallLoad(3_000, 1_000),
    "3,000 calls of 400 kB": CallLoad(3_000, 400_000),
    "60 calls of 4 MB": CallLoad(60, 4_000_000),
    "60 streams of 5 MB": CallLoad(60, 100_000, 50),
    "60 streams of 15 MB": CallLoad(60, 100_000, 150),
    "60 streams of 70,000 events": CallLoad(60, 10, 70_000),
    "1,000 streams of 1 kB": CallLoad(1_000, 1_000, 1),
}


def peak(pid: int) -> int:
    """Return the most memory that a process has had, in MB."""
    found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) >> 10


async def call(stub: Any, load: CallLoad, body: bytes) -> Any:
    if not load.events:
        return await stub.Publish(ingest_pb2.PublishRequest(stream="clicks", event=body), timeout=_DEADLINE_S)
    batch = ingest_pb2.PublishStreamRequest(stream="clicks", events=[body] * load.events)
    return await stub.PublishStream(iter([batch]), timeout=_DEADLINE_S)


async def end(answer: Coroutine[Any, Any, Any]) -> tuple[str, float]:
    """Return how a call ended, and after how many seconds."""
    started = time.monotonic()
    try:
        await answer
        name = "OK"
    except grpc.aio.AioRpcError as error:
        trailers = dict(error.trailing_metadata() or ())
        name = error.code().name + (" with a delay" if retry_delay(trailers) is not None else "")
    return name, time.monotonic() - started


async def calls(address: str, load: CallLoad) -> list[tuple[str, float]]:
    """Make all calls at once."""
    body = json.dumps({"id": "e", "at": HOUR, "user": "u", "amount": 1.0, "note": "x" * load.size}).encode()
    channels = [grpc.aio.insecure_channel(address, [("channel", n)]) for n in range(_CHANNELS)]
    stubs = [ingest_pb2_grpc.IngestServiceStub(channel) for channel in channels]  # type: ignore[no-untyped-call]
    ends = await asyncio.gather(*(end(call(stubs[n % _CHANNELS], load, body)) for n in range(load.calls)))
    for channel in channels:
        await channel.close()
    return ends


@contextmanager
def service(folder: Path) -> Iterator[tuple[Ingesting, int]]:
    """Yield a new ingest service, and the process of its broker."""
    streams = (msgspec.structs.replace(stream("clicks"), max_bytes=_LARGEST),)
    with broker(folder / "broker") as pulsar, store(folder / "store") as redis:
        place = on_the_small(pulsar)
        patience = {"HEADRACE_PATIENCE_S": str(_PATIENCE_S)}
        with ingesting(folder, place, redis.url, "refusals", streams, **patience) as ingest:
            yield ingest, place.stoppable().pid


def measure(load: CallLoad) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, service(Path(folder)) as (ingest, broker_pid):
        idle = peak(ingest.process.pid)
        os.kill(broker_pid, signal.SIGSTOP)
        try:
            ends = asyncio.run(calls(ingest.address, load))
        finally:
            os.kill(broker_pid, signal.SIGCONT)
        seconds = defaultdict(list)
        for name, duration in ends:
            seconds[name].append(duration)
        found = {name: _quantiles(durations) for name, durations in sorted(seconds.items())}
        return {"idle_mb": idle, "peak_mb": peak(ingest.process.pid), "ends": found}


def _quantiles(durations: list[float]) -> dict[str, float]:
    ordered = sorted(durations)
    last = len(ordered) - 1
    return {
        "calls": len(ordered),
        "median_s": round(ordered[last // 2], 2),
        "p99_s": round(ordered[last * 99 // 100], 2),
        "most_s": round(ordered[-1], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--load", choices=LOADS, action="append", help="only these; default: all")
    for name in parser.parse_args().load or LOADS:
        print(json.dumps({name: measure(LOADS[name])}), flush=True)


if __name__ == "__main__":
    main()
