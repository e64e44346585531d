"""Measure a scorer past its capacity: goodput, the latency of its answers, and how soon it refuses the rest.

    python -m tests.bench.bench_overload --seconds 5

An open-loop generator in Go (`tests/bench/openloop`) asks one question at a fixed rate: half the capacity, then 1.5,
2 and 4 times the capacity. Capacity is the goodput that a higher rate does not raise. Then single calls are made at a
tenth of the capacity, alone and beside streams that send as fast as they are allowed. Prints one JSON object.

The scorer has a core of its own: where it shares one with the generator, calls that nobody answers take its time too.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from headrace.embedded import broker, store
from headrace.v1 import scoring_pb2
from headrace.wire import compiled_loop
from tests.bench.bench_scorer import FIELDS, bench_loop, events, fill, process, publish, ready, version

_GENERATOR = Path(__file__).parent / "openloop"

#: Loads, as multiples of the capacity.
LOADS = (0.5, 1.5, 2.0, 4.0)

#: Load of the single calls beside a flood, as a multiple of the capacity.
_BESIDE = 0.1


def generator(directory: Path) -> Path:
    """Build the generator; its two modules come from Go's module proxy and are checked against go.sum."""
    built = directory / "openloop"
    subprocess.run(["go", "build", "-o", str(built), "."], cwd=_GENERATOR, check=True)
    return built


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def leave_a_core() -> int:
    """Keep this process, and those that it starts, off one core; return that core."""
    last, *others = sorted(os.sched_getaffinity(0), reverse=True)
    if others:
        os.sched_setaffinity(0, others)
    return last


def move(pid: int, core: int) -> None:
    """Run all threads of a process on one core."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), {core})


class Load:
    """A runner of the generator against one scorer."""

    def __init__(self, built: Path, address: str, request: Path, streamed: Path, pid: int) -> None:
        self._command = [str(built), "-address", address, "-request", str(request), "-stream-request", str(streamed)]
        self._pid = pid

    def run(self, rate: float, seconds: float, deadline: str = "1s", streams: int = 0) -> dict[str, Any]:
        """Return the results of the calls, and the CPU seconds that the scorer used."""
        before = cpu_seconds(self._pid)
        options = ["-rate", str(rate), "-seconds", str(seconds), "-deadline", deadline, "-streams", str(streams)]
        done = subprocess.run([*self._command, *options], check=True, stdout=subprocess.PIPE, text=True)
        result: dict[str, Any] = json.loads(done.stdout)
        return result | {"cpu_s": round(cpu_seconds(self._pid) - before, 2)}


def measure(load: Load, seconds: float) -> dict[str, Any]:
    """Return the figures at each load, relative to the capacity and to the times at half of it."""
    load.run(200, 1)  # warm
    capacity = best(load, seconds)
    results = {str(times): load.run(times * capacity, seconds) for times in LOADS}
    half = results[str(LOADS[0])]
    for figures in results.values():
        figures["goodput_to_capacity"] = round(figures["goodput_per_s"] / capacity, 3)
        figures["p99_to_half_load"] = round(figures["ok_p99_ms"] / max(half["ok_p99_ms"], 1e-3), 2)
    full, most = results["1.5"], results["4.0"]
    refused = [figures["sent"] - figures["ok"] for figures in (full, most)]
    # Beyond the capacity the CPU is saturated: refusals use what goodput loses.
    answer_us = 1e6 * half["cpu_s"] / max(half["ok"], 1)
    rest = [1e6 * figures["cpu_s"] - answer_us * figures["ok"] for figures in (full, most)]
    return {
        "capacity_per_s": round(capacity),
        "cpu_us_of_an_answer": round(answer_us),
        "cpu_us_of_a_refusal": [round(cost / max(count, 1)) for cost, count in zip(rest, refused, strict=True)],
        **results,
        "beside_a_flood": beside(load, _BESIDE * capacity, seconds),
    }


def beside(load: Load, rate: float, seconds: float) -> dict[str, Any]:
    """Single calls alone, and beside streams that flood the scorer."""
    results = {
        name: load.run(rate, seconds, streams=streams) for name, streams in (("alone", 0), ("one", 1), ("four", 4))
    }
    for figures in results.values():
        figures["p99_to_alone"] = round(figures["ok_p99_ms"] / max(results["alone"]["ok_p99_ms"], 1e-3), 2)
    return results


def best(load: Load, seconds: float) -> float:
    """Return the capacity: the goodput that a higher rate no longer raises."""
    rate, capacity = 500.0, 0.0
    while True:
        goodput = load.run(rate, max(seconds / 2, 2))["goodput_per_s"]
        if goodput < 1.05 * capacity:
            return max(capacity, goodput)
        capacity, rate = max(capacity, goodput), rate * 1.4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--model", default="five", choices=("one", "five", "twenty"))
    arguments = parser.parse_args()
    core = leave_a_core()
    with tempfile.TemporaryDirectory() as folder, broker(folder) as pulsar, store(folder) as rows:
        print(json.dumps(_measure(Path(folder), pulsar.url, rows.url, arguments, core)))


def _measure(
    directory: Path, pulsar_url: str, store_url: str, arguments: argparse.Namespace, core: int
) -> dict[str, Any]:
    loop = bench_loop()
    loop_file, request_file, streamed = directory / "loop.json", directory / "request", directory / "streamed"
    loop_file.write_bytes(compiled_loop.encode(loop))
    history = events(loop, 20_000, time.time_ns() // 1000)
    fill(loop, store_url, history)
    publish(pulsar_url, loop, [version(model) for model in loop.models])
    event = {name: history[0][name] for name in (*FIELDS, "amount")}
    request = scoring_pb2.ScoreRequest(model=arguments.model, event=json.dumps(event).encode())
    request_file.write_bytes(request.SerializeToString())
    streamed.write_bytes(scoring_pb2.ScoreStreamRequest(request=request).SerializeToString())
    environment = {
        "HEADRACE_LOOP": str(loop_file),
        "HEADRACE_PULSAR_URL": pulsar_url,
        "HEADRACE_REDIS_URL": store_url,
        "HEADRACE_BIND": "127.0.0.1:0",
        "HEADRACE_DATA": str(directory / "data"),
    }
    built = generator(directory)
    with process([sys.executable, "-m", "headrace_scorer"], environment) as scorer:
        address = ready(store_url, loop)
        move(scorer.pid, core)
        load = Load(built, address, request_file, streamed, scorer.pid)
        return {"model": arguments.model, **measure(load, arguments.seconds), "load": os.getloadavg()[0]}


if __name__ == "__main__":
    main()
