"""`headrace up` as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

_LOOP = """
from datetime import datetime

from river.linear_model import LogisticRegression

from headrace import Count, Label, Loop, Mean, Model, Stream, View, col

loop = Loop("payments")

class Paid(Stream, key="card", time="at", id="payment"):
    payment: str
    at: datetime
    card: str
    amount: float

class Disputed(Stream, key="payment", time="at", id="payment"):
    payment: str
    at: datetime
    fraud: bool

spent = View(Paid, by="card", windows=["1h"], aggregates={"mean": Mean("amount"), "payments": Count()})
fraud = Label(Disputed, of=Paid, value=col("fraud"), within="48h")
model = Model("fraudulent", on=Paid, label=fraud, features=[spent, Paid.amount], learner=lambda: LogisticRegression())
"""


_SERVICE = """
import json, os, signal, sys
from concurrent.futures import ThreadPoolExecutor
import grpc, redis
from headrace.runtime.settings import ServiceSettings
from headrace.runtime.redis.status import ServiceStatus, StatusBoard
from headrace.v1 import models_pb2, models_pb2_grpc, scoring_pb2, scoring_pb2_grpc, vector_pb2

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
service = os.path.basename(sys.argv[0]).removesuffix(".py").removeprefix("headrace_")
settings = ServiceSettings(loop=sys.argv[2])
SUMMARY = models_pb2.ModelSummary(name="fraudulent", task="binary", definition="d1", examples=1200)

class Scoring(scoring_pb2_grpc.ScoringServiceServicer):
    def Score(self, request, context):
        event = json.loads(request.event)
        if request.model == "young":
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "model 'young' has no version yet")
        if "card" not in event:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "field 'card' is missing, expected a string")
        response = scoring_pb2.ScoreResponse(
            score=event["amount"] / 100,
            version=scoring_pb2.Version(model=request.model, definition="d1", examples=1200),
            degradations=[scoring_pb2.DEGRADATION_NOT_LOGGED],
        )
        if request.explain:
            response.vector.add(name="spent.mean.1h", number=20.5, age=1_500_000)
            response.vector.add(name="spent.payments.1h")
        return response

class Models(models_pb2_grpc.ModelServiceServicer):
    def ListModels(self, request, context):
        return models_pb2.ListModelsResponse(models=[SUMMARY, models_pb2.ModelSummary(name="young", task="binary")])

    def DescribeModel(self, request, context):
        if request.model != "fraudulent":
            context.abort(grpc.StatusCode.NOT_FOUND, f"model is {request.model!r}, expected one of fraudulent, young")
        return models_pb2.DescribeModelResponse(
            summary=SUMMARY, learner="LogisticRegression()", classes=["false", "true"], metrics={"roc_auc": 0.75},
            features=[models_pb2.Feature(name="amount", type="float")],
        )

server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.so_reuseport", 0)])
if service == "scorer":
    scoring_pb2_grpc.add_ScoringServiceServicer_to_server(Scoring(), server)
    models_pb2_grpc.add_ModelServiceServicer_to_server(Models(), server)
port = server.add_insecure_port(settings.bind)
server.start()
board = StatusBoard(redis.Redis.from_url(settings.redis_url), settings.definition().name)
status = ServiceStatus(
    service=service, instance=settings.instance, state="ready", address=f"127.0.0.1:{port}", lag_s=0.25,
    counters={"events": 7, "dead_letters": 3}, rates={"events": 1234.5}, versions={"fraudulent": 1200},
    metrics={"fraudulent": {"roc_auc": 0.7, "served": 900.0, "served_roc_auc": 0.7}} if service == "learner" else {},
)
board.write(status)
while not signal.sigtimedwait({signal.SIGTERM}, 0.2):
    board.write(status)
board.remove(status)
"""


def stand_ins(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder with a loop, and stand-ins that take precedence over the real services; return the loop's file."""
    (folder / "services").mkdir()
    for service in ("ingest", "feature", "learner", "scorer"):
        (folder / "services" / f"headrace_{service}.py").write_text(_SERVICE)
    loop = folder / "loop.py"
    loop.write_text(_LOOP)
    monkeypatch.setenv("PYTHONPATH", f"{folder / 'services'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.delenv("HEADRACE_DATA", raising=False)
    return loop


def start_up(folder: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "headrace.cli", "up", "loop.py", *options],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def until_told(process: subprocess.Popen[str]) -> dict[str, object]:
    assert process.stdout is not None
    assert process.stderr is not None
    line = process.stdout.readline()
    assert line, process.stderr.read()
    summary: dict[str, object] = json.loads(line)
    return summary
