"""Add a view to a running loop under steady requests, and see the old version answer until the new one has learned.

The loop learns from questions with labels. Then its file gets one more view, which the model uses, and the loop is
restarted with it as a rolling update does: a scorer of the new file starts beside the old one. Counts the requests that
fail, the seconds until the switch, and the examples that are reused and made; compares the examples with the oracle.
The last line is JSON. The exit code is 1 if a request failed, or an example is missing or wrong.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from headrace import compiler, embedded
from headrace.cli.program import run as headrace
from headrace.client import IngestClient
from headrace.embedded import RunningLoop
from headrace.v1 import scoring_pb2
from tests.deadline import scaled
from tests.simulations.made_examples import Comparison, compare
from tests.simulations.steady_requests import SteadyRequests
from tests.support.takeovers import next_scorer

_Value = TypeVar("_Value")

START, SECOND = 1_700_000_000_000_000, 1_000_000

LOOP = """
from datetime import datetime
from river.linear_model import LogisticRegression
from river.preprocessing import StandardScaler
from headrace import Count, Label, Loop, Max, Mean, Model, Stream, View

Loop("shop", idle="1s")

class Asked(Stream, key="shop", time="at", id="id"):
    id: str
    at: datetime
    shop: str
    price: float

class Sold(Stream, key="shop", time="at", id="id"):
    id: str
    at: datetime
    shop: str
    late: bool

sales = View(Sold, by="shop", windows=["1h"], aggregates={"count": Count()})
late = Label(Sold, of=Asked, value=Sold.late, within="1h")
Model(
    "delay", on=Asked, label=late, features=[sales, Asked.price],
    learner=lambda: StandardScaler() | LogisticRegression(), publish_every=100,
)
"""
ADDED = (
    'prices = View(Asked, by="shop", windows=["1h", "6h"], aggregates={"mean": Mean("price"), "max": Max("price")})\n'
)
EDITS = (("late = Label(", f"{ADDED}late = Label("), ("[sales, Asked.price]", "[sales, Asked.price, prices]"))

_SHOPS = 200
_BATCH = 1_000

#: Seconds of steady requests before the update and after the switch.
_BEFORE_S, _AFTER_S = 3.0, 3.0

#: Seconds between two checks of the status.
_LOOK_S = 1.0

#: The parts of a status about a change, beside the line of a join whose examples are made again.
_CHANGE = re.compile(r"new definition: .*? meanwhile|\(rows are being made again\)|behind [1-9][\d,]* events?")


def say(text: str) -> None:
    """Print a line of progress."""
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


def send(loop: RunningLoop, numbers: range) -> None:
    """Publish questions with their labels, which come 5 s later in event time."""
    with IngestClient(loop.addresses["ingest"]) as client:
        for first in range(numbers.start, numbers.stop, _BATCH):
            part = range(first, min(first + _BATCH, numbers.stop))
            events = [{"id": f"{n}", "at": START + n * SECOND, "shop": _shop(n), "price": _price(n)} for n in part]
            sold = [{"id": f"{n}", "at": START + (n + 5) * SECOND, "shop": _shop(n), "late": _late(n)} for n in part]
            accepted = client.publish_stream("asked", events).accepted + client.publish_stream("sold", sold).accepted
            assert accepted == len(events) + len(sold)


def _shop(number: int) -> str:
    return f"s{number * 7_919 % _SHOPS}"


def _price(number: int) -> float:
    return float(number * 31 % 97)


def _late(number: int) -> bool:
    return number * 31 % 97 > 60 or number % 11 == 0


def learned(loop: RunningLoop) -> int:
    """Return the number of examples in the version that the scorers answer with."""
    return max(
        (n for status in loop.status() if status.service == "scorer" for n in status.versions.values()), default=0
    )


def wait_for(probe: Callable[[], _Value], what: str, seconds: float = 600.0) -> _Value:
    """Wait for a true value and return it."""
    start = time.monotonic()
    while not (value := probe()):
        if time.monotonic() - start > scaled(seconds):
            raise TimeoutError(f"after {time.monotonic() - start:.0f} s still not: {what}")
        time.sleep(0.1)
    return value


def status_text(data: Path) -> str:
    """Return what `headrace status` prints."""
    out = io.StringIO()
    with redirect_stdout(out):
        headrace(["status", "--data", str(data)])
    return out.getvalue().rstrip()


def changing(text: str) -> list[str]:
    """Return the parts of a status that describe the change."""
    return [
        line if line.startswith("join") else f"{_who(line)} {words}"
        for line in text.splitlines()
        for words in (["made"] if line.startswith("join") and "made" in line else _CHANGE.findall(line))
    ]


def _who(line: str) -> str:
    """Return the instance or the stream that a line describes."""
    words = line.split()
    return words[1] if words[0] == "stream" else words[1].rstrip(":")


def peak_mb(loop: RunningLoop, instance: str) -> float:
    """Return the peak memory of a process."""
    lines = Path(f"/proc/{loop.pids[instance]}/status").read_text().splitlines()
    return round(next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1_024, 1)


def request_of(number: int, *, at: int) -> scoring_pb2.ScoreRequest:
    """Return a request for one of the shops, later than the newest question."""
    event = {"shop": _shop(number), "price": _price(number), "at": at}
    return scoring_pb2.ScoreRequest(model="delay", event=json.dumps(event).encode())


@contextmanager
def asked_steadily(requests: SteadyRequests) -> Iterator[None]:
    """Send requests until the block ends."""
    requests.start()
    try:
        yield
    finally:
        requests.stop()


def simulate(folder: Path, examples: int, live: int, per_second: float, sample: int | None) -> dict[str, Any]:
    """Run the simulation; return its figures."""
    before, after = folder / "shop.py", folder / "changed.py"
    before.write_text(LOOP)
    text = LOOP
    for old, new in EDITS:
        text = text.replace(old, new)
    after.write_text(text)
    data = folder / "data"
    with (
        embedded.broker(folder / "broker") as broker,
        embedded.store(folder / "store") as store,
        ExitStack() as closing,
    ):
        up = partial(embedded.run, data=data, pulsar=broker.url, redis=store.url)
        with up(before) as loop:
            say(f"the loop is up; {examples:,} questions with labels are played")
            send(loop, range(examples))
            say("all are sent")
            wait_for(lambda: learned(loop) >= examples, "all examples are learned")
            old = loop.definition.models[0].hash
            say(f"a version of {learned(loop):,} examples answers, of definition {old}")
            memory = {"feature before": peak_mb(loop, "feature-0")}
            request = partial(request_of, at=START + (examples + live) * SECOND)
            requests = SteadyRequests(request, [loop.addresses["scorer"]], per_second)
            closing.enter_context(asked_steadily(requests))
            time.sleep(_BEFORE_S)
            against = check_against(after, data)
            start = time.monotonic()
            say("the update begins: a scorer of the changed file starts beside the old one")
            beside = closing.enter_context(next_scorer(compiler.load(after).definition, loop, folder))
            requests.addresses = (loop.addresses["scorer"], beside)
            time.sleep(_BEFORE_S)
            requests.leave([beside])
            say("the old loop stops")
        with up(after) as loop:
            new = loop.definition.models[0].hash
            say(f"the changed loop is up, {time.monotonic() - start:.1f} s after the update began; definition {new}")
            requests.addresses = (beside, loop.addresses["scorer"])
            if live:
                send(loop, range(examples, examples + live))
            watch(loop, requests, new)
            say(f"the status after the switch:\n{status_text(data)}")
            time.sleep(_AFTER_S)
            requests.stop()
            memory["feature after"] = peak_mb(loop, "feature-0")
            say("the examples are compared with the oracle")
            comparison = compared(loop, examples + live, sample)
    return figures(requests, start, old, new, comparison) | {
        "check_against_exit_code": against,
        "peak_memory_mb": memory,
    }


def check_against(after: Path, data: Path) -> int:
    """Print what `headrace check --against` says, as a user runs it; return its exit code."""
    program = Path(sys.executable).with_name("headrace")
    done = subprocess.run(
        [program, "check", str(after), "--against", str(data)], capture_output=True, text=True, check=False
    )
    say(f"headrace check {after.name} --against {data.name}\n{done.stdout}{done.stderr}exit code {done.returncode}")
    return done.returncode


def watch(loop: RunningLoop, requests: SteadyRequests, new: str) -> None:
    """Print what a user sees of the change, until the new definition answers at every scorer and no work is left."""
    shown: list[str] = []
    is_made = False
    start = time.monotonic()
    while True:
        text = status_text(loop.data)
        lines = changing(text)
        if lines != shown:
            shown = lines
            say("status: " + (" | ".join(lines) or "says nothing of the change"))
        if not is_made and any("made " in line or "new definition" in line for line in lines):
            is_made = True
            say(f"the whole status:\n{text}")
        newest = {answer.address: answer.definition for answer in requests.answers[-20:]}
        if set(newest.values()) == {new} and set(newest) == set(requests.addresses) and not lines:
            return
        if time.monotonic() - start > scaled(900):
            raise TimeoutError(f"the new definition does not answer: {text}")
        time.sleep(_LOOK_S)


def compared(loop: RunningLoop, total: int, sample: int | None) -> Comparison:
    """Return the comparison, once all examples have had time to arrive."""
    model = loop.definition.models[0]
    for _ in range(10):
        comparison = compare(loop.definition, model, loop.pulsar_url, loop.namespace, sample=sample)
        if comparison.reused + comparison.made + comparison.joined >= total:
            break
        time.sleep(_LOOK_S)
    return comparison


def figures(requests: SteadyRequests, start: float, old: str, new: str, comparison: Comparison) -> dict[str, Any]:
    """Return the figures of the last line."""
    answers = sorted(requests.answers)
    during = sorted(answer.seconds for answer in answers if answer.at >= start)
    first_new = next(answer for answer in answers if answer.definition == new)
    last_old = [answer for answer in answers if answer.definition == old][-1]
    degraded = Counter(name for answer in answers for name in answer.degradations)
    return {
        "requests": len(answers) + len(requests.failures),
        "failed": len(requests.failures),
        "failures": requests.failures[:3],
        "answered_by_old": sum(answer.definition == old for answer in answers),
        "answered_by_new": sum(answer.definition == new for answer in answers),
        "degraded": dict(degraded),
        "seconds_until_the_switch": round(first_new.at - start, 1),
        "seconds_until_the_last_old_answer": round(last_old.at - start, 1),
        "examples_of_first_new_version": first_new.examples,
        "p50_ms": round(during[len(during) // 2] * 1e3, 1),
        "p99_ms": round(during[len(during) * 99 // 100] * 1e3, 1),
        "max_ms": round(during[-1] * 1e3, 1),
        "examples_reused": comparison.reused,
        "examples_made": comparison.made,
        "examples_joined_since": comparison.joined,
        "examples_by_oracle": comparison.expected,
        "vectors_compared": comparison.vectors,
        "wrong": comparison.wrong,
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulations.added_view",
        description=__doc__,
        epilog="Example: python -m tests.simulations.added_view --examples 2000 --vectors 0",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--examples", type=int, default=50_000, help="questions before the change (50000)")
    parser.add_argument("--live", type=int, default=500, help="questions right after it (500)")
    parser.add_argument("--per-second", type=float, default=50.0, help="requests a second (50)")
    parser.add_argument("--vectors", type=int, default=1_000, help="vectors that are compared; 0: all (1000)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headrace-view-") as folder:
        result = simulate(
            Path(folder), arguments.examples, arguments.live, arguments.per_second, arguments.vectors or None
        )
    print(json.dumps({"examples": arguments.examples, "live": arguments.live, **result}), flush=True)
    return int(bool(result["failed"] or result["wrong"]))


if __name__ == "__main__":
    sys.exit(main())
