"""Measure headrace's scorer beside what users would combine themselves: ``make bench PEERS=1``.

    python -m tests.bench.peers --rounds 5 --json

Starts the embedded broker and store, the scorer and every peer, checks that each gives the right answer, and lets them
take turns. Prints a table, or one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

import uvloop

from headrace.embedded import broker, store
from headrace.wire import compiled_loop
from tests.bench.bench_scorer import events, fill, process, publish, ready, version
from tests.bench.peers import client
from tests.bench.peers.answers import right_targets
from tests.bench.peers.rounds import Measure, Round, run_round
from tests.bench.peers.servers import START_SECONDS, peer_servers
from tests.bench.peers.table import Result, as_json, as_text
from tests.bench.peers.targets import FLOOR, HEADRACE, PEERS, Checked, start_peers
from tests.bench.peers.workload import fill_hashes, make_workload, peers_loop, write_files

EVENTS = 30_000


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

        async def compare() -> tuple[list[Checked], dict[str, str], list[Round]]:
            targets, wrong = await right_targets(headrace, started, onnx, workload)
            return targets, wrong, await run(targets, work, arguments.rounds)

        targets, wrong, rounds = uvloop.run(compare())
    names = [target.name for target in targets]
    return Result(work, names, rounds, left_out | wrong, machine(), HEADRACE, FLOOR)


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
        yield ready(store_url, peers_loop(), START_SECONDS)


async def run(targets: Sequence[Checked], work: Sequence[Measure], count: int) -> list[Round]:
    """Run the rounds."""
    rounds = []
    for number in range(count):
        for measure in work:
            print(f"round {number + 1} of {count}: {measure.title}", file=sys.stderr, flush=True)
            rounds.append(await run_round(measure, targets))
    return rounds


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
