"""The store is wiped: rows, pairs and model come out as without the loss, while the scorer answers."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import redis

from headrace import embedded
from headrace.client import IngestClient
from headrace.engine.kernel.tiles import HEADER_BYTES
from headrace.v1 import scoring_pb2, scoring_pb2_grpc
from tests.deadline import until
from tests.e2e.learning import EPOCH, SECOND, stored_state

LOOP = """
from datetime import datetime
from river.linear_model import LogisticRegression
from river.preprocessing import StandardScaler
from headrace import Count, Label, Loop, Mean, Model, Std, Stream, View

Loop("shop", idle="60s")


class Asked(Stream, key="user", time="at", id="id"):
    id: str
    at: datetime
    user: str
    shop: str
    x: float


class Sold(Stream, key="shop", time="at", id="id"):
    id: str
    at: datetime
    shop: str
    y: float
    late: bool


sales = View(Sold, by="shop", windows=["10m", "1h"], aggregates={"count": Count(), "mean": Mean("y"), "std": Std("y")})
Model(
    "m", on=Asked, label=Label(Sold, of=Asked, value=Sold.late, within="1h", name="late"), features=[sales, Asked.x],
    learner=lambda: StandardScaler() | LogisticRegression(), publish_every=100,
)
"""
#: More than one step of the join decides, even in the first half.
SIZE = 2_600


class Shop:
    """A running loop."""

    def __init__(self, running: embedded.RunningLoop) -> None:
        self.running = running
        # Taken before the store is wiped, which has them.
        self.addresses = running.addresses

    def send(self, events: list[tuple[int, str, bytes]], mark: int = 0) -> None:
        """Send events and then a mark, or the end of their history if `mark` is 0."""
        with IngestClient(self.addresses["ingest"]) as client, client.stream() as stream:
            for name in ("asked", "sold"):
                stream.send(name, [event for _, stream, event in events if stream == name], mark=mark, end=not mark)
            assert stream.finish().rejected == 0

    def learned(self, examples: int) -> None:
        """Wait until the learner has learned that many."""
        until(
            lambda: [status.metrics.get("m", {}).get("examples") for status in self.running.status()],
            lambda found: examples in found,
            60,
        )

    def rows(self) -> dict[tuple[bytes, bytes], bytes]:
        """Return all rows without their headers, which say who wrote them and where."""
        with redis.Redis.from_url(self.running.redis_url) as store:
            return {
                (key, name): row[HEADER_BYTES:]
                for key in store.scan_iter("headrace:shop:row:*")
                for name, row in store.hgetall(key).items()
            }

    def degradations(self) -> list[int] | None:
        """Return the degradations that the scorer reports for the rows it found; None until it has a version."""
        with grpc.insecure_channel(self.addresses["scorer"]) as channel:
            stub = scoring_pb2_grpc.ScoringServiceStub(channel)  # type: ignore[no-untyped-call]
            event = json.dumps({"user": "u", "shop": "s1", "x": 0.5}).encode()
            try:
                return list(stub.Score(scoring_pb2.ScoreRequest(model="m", event=event), timeout=5.0).degradations)
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
                    raise
                return None

    def headrace(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "headrace.cli", *words, "--data", str(self.running.data)]
        return subprocess.run(command, capture_output=True, text=True, check=False)


def history() -> list[tuple[int, str, bytes]]:
    """Generate a question every half second; the outcome of each follows some minutes later."""
    chance, events = random.Random(4), []
    for index in range(SIZE):
        at, shop = EPOCH + index * SECOND // 2, f"s{chance.randrange(5)}"
        fields = {"id": f"{index:04d}", "shop": shop}
        later = at + chance.randrange(30, 300) * SECOND
        question = {**fields, "at": at, "user": f"u{chance.randrange(9)}", "x": chance.random()}
        sold = {**fields, "at": later, "y": chance.random(), "late": chance.random() < 0.3}
        events += [(at, "asked", question), (later, "sold", sold)]
    return [(at, name, json.dumps(event).encode()) for at, name, event in sorted(events, key=lambda event: event[0])]


@contextmanager
def shop(folder: Path) -> Iterator[Shop]:
    folder.mkdir()
    (folder / "loop.py").write_text(LOOP)
    with embedded.run(folder / "loop.py", data=folder / "data") as running:
        yield Shop(running)


def test_a_wiped_store_is_filled_again_and_nothing_is_learned_twice(tmp_path: Path) -> None:
    events = history()
    half = len(events) // 2
    answered = sum(1 for at, name, _ in events[:half] if name == "sold" and at < events[half][0])
    with shop(tmp_path / "plain") as plain:
        plain.send(events)
        plain.learned(SIZE)
        expected = plain.rows()
    with shop(tmp_path / "wiped") as wiped:
        wiped.send(events[:half], events[half][0])
        wiped.learned(answered)
        until(lambda: wiped.degradations() == [])
        with redis.Redis.from_url(wiped.running.redis_url) as store:
            store.flushall()
        filled = wiped.headrace("backfill")
        assert filled.returncode == 0, filled.stderr
        assert "2 partitions are made again" in filled.stdout
        with ThreadPoolExecutor(1) as beside:
            sent = beside.submit(wiped.send, events[half:])
            # It also works while the loop is busy.
            again = wiped.headrace("backfill", "--again")
            sent.result()
        assert again.returncode == 0, again.stderr
        wiped.learned(SIZE)
        until(wiped.rows, lambda found: found == expected, 60)
        until(lambda: wiped.degradations() == [])
        refused = wiped.headrace("backfill")
        assert refused.returncode == 4
        assert "--again" in refused.stderr
    assert stored_state(tmp_path / "wiped" / "loop.py", tmp_path / "wiped" / "data", "m") == stored_state(
        tmp_path / "plain" / "loop.py", tmp_path / "plain" / "data", "m"
    )
