"""A model whose learner fails on an example stops alone, names the example, and resumes once it is skipped."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace import embedded
from headrace.cli.program import run
from headrace.client import IngestClient
from headrace.runtime.redis.status import ServiceStatus
from tests.deadline import until

_LOOP = """
from datetime import datetime

from river.linear_model import LogisticRegression
from river.optim import AdaGrad

from headrace import Label, Model, Stream, col


class Payment(Stream, key="card", time="at", id="payment"):
    payment: str
    at: datetime
    card: str
    amount: float


class Outcome(Stream, key="payment", time="at", id="payment"):
    payment: str
    at: datetime
    fraud: bool


fraud = Label(Outcome, of=Payment, value=col("fraud"), within="1h")
Model("steady", on=Payment, label=fraud, features=[col("amount")], learner=lambda: LogisticRegression())
Model("choking", on=Payment, label=fraud, features=[col("amount")], learner=lambda: LogisticRegression(AdaGrad()))
"""

#: AdaGrad squares gradients with `**`, which raises if the square exceeds a float.
_REASON = "OverflowError: (34, 'Numerical result out of range')"

MINUTE = 60_000_000
NEWYEAR = 1_767_225_600_000_000


def send(running: embedded.RunningLoop, numbers: range, bad: int = -1) -> None:
    with IngestClient(running.addresses["ingest"]) as client:
        payments = [
            {
                "payment": f"P{number}",
                "at": NEWYEAR + number * MINUTE,
                "card": "C",
                "amount": 1e200 if number == bad else 1.0 + number,
            }
            for number in numbers
        ]
        outcomes = [
            {"payment": f"P{number}", "at": NEWYEAR + (number + 1) * MINUTE, "fraud": number % 3 == 0}
            for number in numbers
        ]
        assert client.publish_stream("payment", payments).rejected == 0
        assert client.publish_stream("outcome", outcomes).rejected == 0


def learner(running: embedded.RunningLoop) -> ServiceStatus:
    return next(status for status in running.status() if status.service == "learner")


def learned(running: embedded.RunningLoop) -> dict[str, float]:
    return {model: metrics.get("examples") or 0.0 for model, metrics in learner(running).metrics.items()}


def headrace(capsys: pytest.CaptureFixture[str], data: Path, code: int, *words: str) -> str:
    assert run([*words, "--data", str(data)]) == code
    written = capsys.readouterr()
    return written.out if code == 0 else written.err


def is_at(steady: int, choking: int) -> Callable[[dict[str, float]], bool]:
    return lambda found: (found.get("steady"), found.get("choking")) == (steady, choking)


def test_a_model_that_fails_stops_alone_until_its_example_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "payments.py").write_text(_LOOP)
    data = tmp_path / "data"
    with embedded.run(tmp_path / "payments.py", data=data) as running:
        pid = running.pids["learner-0"]
        send(running, range(20), bad=9)
        until(lambda: learner(running).stopped, bool, 30)
        send(running, range(20, 40))
        until(lambda: learned(running).get("steady"), lambda found: found == 40, 30)
        status = learner(running)
        assert status.state == "ready"
        assert (status.stopped["choking"].id, status.stopped["choking"].reason) == (
            "P9",
            _REASON,
        )
        example = f"example 'P9', entry {status.stopped['choking'].entry} of its log"
        lines = headrace(capsys, data, 0, "status")
        assert f"! choking has stopped at {example}" in lines
        assert "headrace skip choking P9" in lines
        log = [json.loads(line) for line in (data / "logs" / "learner.log").read_text().splitlines()]
        (stopped,) = [line for line in log if line["event"] == "learner_stopped"]
        assert (stopped["model"], stopped["example"]) == ("choking", "P9")
        assert "OverflowError" in stopped["exception"]
        refused = headrace(capsys, data, 4, "skip", "choking", "P8")
        assert "choking has stopped at example 'P9', not at 'P8'" in refused
        assert "steady has not stopped at an example: nothing to skip" in headrace(
            capsys, data, 4, "skip", "steady", "P9"
        )
        assert "Did you mean 'choking'?" in headrace(capsys, data, 4, "skip", "chocking", "P9")
        assert f"choking leaves out {example}" in headrace(capsys, data, 0, "skip", "choking", "P9")
        until(lambda: learned(running), is_at(40, 39), 30)
        assert learner(running).stopped == {}
        assert running.pids["learner-0"] == pid
    shutil.rmtree(data / "state" / "learner")
    with embedded.run(tmp_path / "payments.py", data=data) as running:
        send(running, range(40, 41))
        until(lambda: learned(running), is_at(41, 40), 30)
        assert learner(running).stopped == {}
        until(lambda: next(status.versions for status in running.status() if status.service == "scorer"), bool, 30)
        send(running, range(41, 45))
        until(lambda: learned(running), is_at(45, 44), 30)
        replayed = headrace(capsys, data, 0, "replay", "--relearn", "--diff")
        assert "choking: 45 vectors" in replayed
        assert replayed.count("2 learned again") == 2
        assert replayed.count("no difference") == 2
