"""Measure what forgetting ids costs, however many there are: the time of a step after they expire, beside one before.

    python -m tests.bench.bench_ids --ids 160000

Prints one JSON object: `ratio` is the time of a step after that many ids expired at once, relative to one before.
"""

from __future__ import annotations

import argparse
import json
import time
from statistics import median

from headrace.definition import Field, FieldType, StreamDefinition
from headrace.engine.events import StreamCodec
from headrace.engine.kernel.partition import Partition, Progress

HOUR = 3_600_000_000
STREAM = StreamDefinition("s", (Field("id", FieldType.STRING), Field("at", FieldType.TIME)), "id", "at", "id", 0, HOUR)
CODEC = StreamCodec(STREAM)
_BATCH, _STEPS = 5_000, 300


class Reader:
    """A partition that accepts events as its owner and the join do."""

    def __init__(self) -> None:
        self.partition = Partition(STREAM, Progress(), {}, ())
        self._next = 0

    def step(self, count: int, time: int) -> None:
        """Accept events and forget the outdated ids."""
        first, self._next = self._next, self._next + count
        payloads = [json.dumps({"id": f"e{number}", "at": time}).encode() for number in range(first, self._next)]
        events, _, _ = CODEC.columns(payloads)
        self.partition.accept(events, [(0, number, -1) for number in range(first, self._next)], [0] * count)
        self.partition.waiting = None
        self.partition.outdated_ids()
        self.partition.forget_ids()


def steps(reader: Reader, at: int) -> float:
    """Return the median time of a step of one event, in microseconds."""
    durations = []
    for _ in range(_STEPS):
        start = time.perf_counter()
        reader.step(1, at)
        durations.append(time.perf_counter() - start)
    return 1e6 * median(durations)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ids", type=int, default=160_000)
    ids = parser.parse_args().ids
    reader = Reader()
    before = steps(reader, 0)
    for _ in range(0, ids, _BATCH):
        reader.step(_BATCH, 0)
    start = time.perf_counter()
    reader.step(1, 10 * HOUR)
    at_once = time.perf_counter() - start
    after = steps(reader, 10 * HOUR)
    result = {"ids": ids, "forgotten_at_once_s": round(at_once, 3), "us_an_id": round(1e6 * at_once / ids, 2)}
    print(json.dumps({**result, "step_us": [round(before, 1), round(after, 1)], "ratio": round(after / before, 2)}))


if __name__ == "__main__":
    main()
