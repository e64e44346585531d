"""Play the whole year of flights through the whole loop: how long it takes, and how much memory each service needs.

python -m tests.bench.bench_year [events]
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from headrace import embedded
from headrace.client import play
from headrace.demo.dataset import prepare
from headrace.wire.times import Inactive
from tests.deadline import until

LOOP = Path(__file__).parents[2] / "sdk/src/headrace/demo/loop.py"
GOAL_S = 180


class Memory(threading.Thread):
    """A sampler of the resident memory (MB) of processes, every two seconds until `stop`."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        super().__init__(daemon=True)
        self._pids = pids
        self._ended = threading.Event()
        self.samples: dict[str, list[float]] = defaultdict(list)

    def run(self) -> None:
        while not self._ended.wait(2.0):
            for name, pid in self._pids.items():
                self.samples[name].append(_resident(pid))

    def stop(self) -> None:
        self._ended.set()
        self.join()

    def summary(self) -> dict[str, list[float]]:
        """Return the mean of the second, third and last quarter for each process: memory is flat if they are alike."""
        counts = {}
        for name, samples in self.samples.items():
            quarter = max(len(samples) // 4, 1)
            counts[name] = [
                round(sum(part) / len(part))
                for part in (samples[start : start + quarter] for start in (quarter, 2 * quarter, -quarter))
                if part
            ]
        return counts


def _resident(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except FileNotFoundError:
        return 0.0
    return next((int(line.split()[1]) / 1_024 for line in lines if line.startswith("VmRSS")), 0.0)


def main(events: int | None) -> dict[str, object]:
    """Play the events; measure from the first one sent to the last example learned."""
    with tempfile.TemporaryDirectory() as directory:
        data = Path(directory)
        files = prepare(data / "files", events)
        with embedded.run(LOOP, data=data / "loop") as running:
            memory = Memory(running.pids)
            memory.start()
            started = time.perf_counter()
            sources = [(path, stream) for stream, path in files.items()]
            result = play(running.definition, sources, running.addresses["ingest"], running.redis_url)
            until(
                lambda: {status.service: status.watermark for status in running.status()},
                lambda watermarks: watermarks.get("learner") is Inactive.ENDED,
                seconds=300,
            )
            took = time.perf_counter() - started
            memory.stop()
            (metrics,) = [metrics for status in running.status() for metrics in status.metrics.values()]
    return {
        "events": result.accepted,
        "wall_s": round(took, 1),
        "goal_s": GOAL_S,
        "events_per_s": round(result.accepted / took),
        "roc_auc": round(metrics["roc_auc"], 4),
        "log_loss": round(metrics["log_loss"], 4),
        "memory_mb_quarters_2_3_4": memory.summary(),
    }


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]) if len(sys.argv) > 1 else None)))
