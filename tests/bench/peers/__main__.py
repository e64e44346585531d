"""Measure headrace's scorer beside what users would combine themselves: ``make bench PEERS=1``.

    python -m tests.bench.peers --rounds 5 --json

Starts the embedded broker and store, the scorer and every peer, checks that each gives the right answer, and lets them
take turns. Prints a table, or one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any, Protocol

import uvloop

from headrace.embedded import broker, store
from headrace.wire import compiled_loop
from tests.bench.bench_scorer import events, fill, process, publish, ready, version
from tests.bench.peers import client
from tests.bench.peers.rounds import Measure, Round, Target, run_round
from tests.bench.peers.servers import PeerFailed, Servers, peer_servers
from tests.bench.peers.table import Result, as_json, as_text
from tests.bench.peers.workload import (
    MODELS,
    Workload,
    fill_hashes,
    make_workload,
    peers_loop,
    right_scores,
    write_files,
)

HEADRACE, FLOOR, NOOP = "headrace", "raw floor", "no-op gRPC"
EVENTS = 30_000
_START_SECONDS = 120


class Checked(Target, Protocol):
    """A target whose answers can be compared."""

    async def values(self, model: str, numbers: Sequence[int]) -> list[float]: ...


def measures(scale: float) -> list[Measure]:
    """Return the kinds of work; `scale` changes the number of calls."""

    def calls(count: int) -> int:
        return max(round(count * scale), 20)

    return [
        Measure("score_5", "one score, 20 features in 5 views", "five", calls(400)),
        Measure("score_1", "one score, 20 features in 1 view", "one", calls(200)),
        Measure("score_20", "one score, 20 features in 20 views", "twenty", calls(200)),
        Measure("many_5", "16 requests in flight, 20 features in 5 views", "five", calls(1_600), in_flight=16),
        Measure("batch_5", "a batch of 100, 20 features in 5 views", "five", calls(40), size=100),
    ]


#: How each target is started; those that share an environment are different servers.
Start = Callable[[Servers, Workload], list[Checked]]


def _floor(servers: Servers, workload: Workload) -> list[Checked]:
    server = servers.start("grpc", "raw")
    server.wait_for_port()
    address = f"127.0.0.1:{server.port}"
    return [
        client.over_grpc(NOOP, address, workload, client.NoopSession),
        client.over_grpc(FLOOR, address, workload, client.GrpcSession),
    ]


def _grpc(servers: Servers, workload: Workload) -> list[Checked]:
    server = servers.start("grpc", "redis-py")
    server.wait_for_port()
    return [client.over_grpc("grpc.aio + redis-py", f"127.0.0.1:{server.port}", workload, client.GrpcSession)]


def _mlserver(servers: Servers, workload: Workload) -> list[Checked]:
    server = servers.start("mlserver")
    server.wait_for_port()
    return [client.over_grpc("MLServer, no store", f"127.0.0.1:{server.port}", workload, client.InferenceSession)]


def _http(
    peer: str, name: str, session: Callable[..., client.Session], *options: str
) -> Callable[[Servers, Workload], list[Checked]]:
    def start(servers: Servers, workload: Workload) -> list[Checked]:
        server = servers.start(peer, *options)
        server.wait_for_port()
        return [client.over_http(name, f"http://127.0.0.1:{server.port}", workload, session)]

    return start


def _feast_sdk(servers: Servers, workload: Workload) -> list[Checked]:
    server = servers.start("feast", "sdk")
    server.wait_for_line()
    return [client.FeastSdk("Feast SDK, features only", server.ask, workload)]


PEERS: dict[str, Start] = {
    "floor": _floor,
    "grpc": _grpc,
    "fastapi": _http("fastapi", "FastAPI + redis-py", client.FastApiSession),
    "feast-sdk": _feast_sdk,
    "feast-http": _http("feast", "Feast HTTP, features only", client.FeastSession, "http"),
    "mlserver": _mlserver,
    "bentoml": _http("bentoml", "BentoML + redis-py", client.BentoMlSession),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the number of calls of each turn")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS), help="all unless given")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, broker(directory) as pulsar, store(directory) as rows:
        result = measure_all(Path(directory), pulsar.url, rows.url, arguments)
    print(json.dumps(as_json(result)) if arguments.json else as_text(result))


def measure_all(directory: Path, pulsar_url: str, store_url: str, arguments: argparse.Namespace) -> Result:
    """Start everything, check the answers, and measure in turns."""
    loop = peers_loop()
    history = events(loop, EVENTS, time.time_ns() // 1000)
    versions = [version(model) for model in loop.models]
    workload = make_workload(loop, history)
    onnx = {model.name: published.onnx for model, published in zip(loop.models, versions, strict=True)}
    peers = directory / "peers"
    peers.mkdir()
    write_files(workload, onnx, peers)
    fill(loop, store_url, history)
    fill_hashes(workload, store_url)
    publish(pulsar_url, loop, versions)
    loop_file = directory / "loop.json"
    loop_file.write_bytes(compiled_loop.encode(loop))
    with (
        scorer(loop_file, pulsar_url, store_url) as address,
        peer_servers(peers, store_url) as servers,
    ):
        headrace = client.over_grpc(HEADRACE, address, workload, client.GrpcSession)
        started, left_out = start_peers(servers, workload, arguments.peers)
        work = measures(arguments.scale)
        rounds = uvloop.run(run(headrace, started, onnx, workload, work=work, count=arguments.rounds))
    names = [target.name for target in started]
    return Result(work, [HEADRACE, *names], rounds, left_out, machine(), HEADRACE, FLOOR)


@contextmanager
def scorer(loop_file: Path, pulsar_url: str, store_url: str) -> Iterator[str]:
    """Run headrace's scorer; give its address."""
    environment = {
        "HEADRACE_LOOP": str(loop_file),
        "HEADRACE_PULSAR_URL": pulsar_url,
        "HEADRACE_REDIS_URL": store_url,
        "HEADRACE_BIND": "127.0.0.1:0",
        # On a busy host, 16 calls that arrive at one moment are more than wait by default: gRPC would refuse some.
        "HEADRACE_MAX_WAITING": "64",
    }
    with (
        loop_file.with_name("scorer.log").open("w") as log,
        process([sys.executable, "-m", "headrace_scorer"], environment, stdout=log, stderr=log),
    ):
        yield ready(store_url, peers_loop(), _START_SECONDS)


def start_peers(servers: Servers, workload: Workload, names: Sequence[str]) -> tuple[list[Checked], dict[str, str]]:
    """Start the servers one after another; return their targets, and why some are missing."""
    started: list[Checked] = []
    left_out: dict[str, str] = {}
    for name in names:
        print(f"peer {name}: starting", file=sys.stderr, flush=True)
        try:
            started += PEERS[name](servers, workload)
        except PeerFailed as failure:
            left_out[name] = str(failure)
    return started, left_out


async def run(
    headrace: Checked,
    peers: Sequence[Checked],
    onnx: dict[str, bytes],
    workload: Workload,
    *,
    work: Sequence[Measure],
    count: int,
) -> list[Round]:
    """Check every target, then run the rounds."""
    for peer in peers:
        if peer.name != NOOP:
            await check(peer, onnx, workload)
    for model in MODELS:
        scores = await headrace.values(model, range(100))
        assert len(scores) == 100
        assert all(0 < score < 1 for score in scores)
    rounds = []
    for number in range(count):
        for measure in work:
            print(f"round {number + 1} of {count}: {measure.title}", file=sys.stderr, flush=True)
            rounds.append(await run_round(measure, [headrace, *peers]))
    return rounds


async def check(peer: Checked, onnx: dict[str, bytes], workload: Workload) -> None:
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
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            return await ask()
        except Exception:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.5)


def machine() -> dict[str, Any]:
    """Describe the machine and the moment."""
    cpu = next(
        (line.partition(": ")[2] for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    return {
        "machine": f"{os.cpu_count()} cores, {cpu}",
        "load at the end": " ".join(f"{load:.1f}" for load in os.getloadavg()),
        "python": platform.python_version(),
        "headrace": installed_version("headrace"),
        "at": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    }


if __name__ == "__main__":
    main()
