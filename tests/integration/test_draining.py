"""SIGTERM while calls are in flight: they are answered, and what was served is logged, before the process ends."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from headrace import embedded
from headrace.client import IngestClient
from headrace.embedded import Server
from headrace.v1 import scoring_pb2
from headrace.wire.tables import decode_predictions
from tests.brokers import Place
from tests.deadline import scaled, until
from tests.integration.ingesting import HOUR, ingesting
from tests.integration.scoring import running
from tests.unit.scorer.support import FRAUD, NOW, event, version


@contextmanager
def stuck(server: Server) -> Iterator[None]:
    """Suspend a server, as if its disk hung."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


def told_to_end(process: subprocess.Popen[bytes], address: str) -> None:
    """Send SIGTERM, and wait until the process takes no calls any longer."""
    process.send_signal(signal.SIGTERM)

    def takes_calls() -> bool:
        with grpc.insecure_channel(address) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            try:
                health = stub.Check(health_pb2.HealthCheckRequest(), timeout=5)
            except grpc.RpcError:
                return False
            return bool(health.status == health_pb2.HealthCheckResponse.SERVING)

    until(takes_calls, lambda takes: not takes)


def clicks(*ids: str) -> list[bytes]:
    return [json.dumps({"id": id, "at": HOUR, "user": "u", "amount": 1.0}).encode() for id in ids]


def test_ingest_answers_the_calls_under_way_before_it_ends(tmp_path: Path, place: Place) -> None:
    broker = place.stoppable()
    with (
        embedded.store(tmp_path / "own") as store,
        ingesting(tmp_path, place, store.url, "draining") as ingest,
        IngestClient(ingest.address) as client,
        client.stream() as call,
    ):
        topic = ingest.topics.stream("clicks")
        call.send("clicks", clicks("before"))
        assert len(ingest.written(topic, 1)) == 1
        with stuck(broker):
            call.send("clicks", [*clicks("under way"), b"?"])
            told_to_end(ingest.process, ingest.address)
            assert ingest.process.poll() is None
        result = call.finish()
        assert (result.accepted, result.rejected) == (2, 1)
        assert ingest.process.wait(scaled(30)) == 0
        assert [json.loads(payload)["id"] for payload in ingest.written(topic, 2).payloads] == ["before", "under way"]
        assert [letter.event for letter in ingest.dead_letters(1)] == [b"?"]


def test_the_scorer_answers_and_logs_what_is_under_way_before_it_ends(tmp_path: Path, place: Place) -> None:
    broker = place.stoppable()
    requests: queue.SimpleQueue[scoring_pb2.ScoreStreamRequest | None] = queue.SimpleQueue()

    def ask(id: str) -> None:
        request = scoring_pb2.ScoreRequest(model="fraud", event=event(at=NOW), event_id=id)
        requests.put(scoring_pb2.ScoreStreamRequest(request=request))

    patience = {"HEADRACE_STORE_TIMEOUT": "60", "HEADRACE_LOG_PATIENCE": "60"}
    with embedded.store(tmp_path / "own") as store, running(tmp_path, place, store, **patience) as scorer:
        scorer.publish(version(FRAUD))
        answers = scorer.scoring.ScoreStream(iter(requests.get, None))
        ask("before")
        assert next(answers).result.response.score
        with stuck(broker):
            with stuck(store):
                ask("under way")
                told_to_end(scorer.process, scorer.address)
                assert scorer.process.poll() is None
            answer = next(answers).result.response
            assert answer.score
            assert not answer.degradations
            requests.put(None)
            assert list(answers) == []
            assert scorer.process.poll() is None
        assert scorer.process.wait(scaled(30)) == 0

        def logged(messages: list) -> bool:  # type: ignore[type-arg]
            ids = [id for message in messages if message.data() for id in decode_predictions(FRAUD, message.data()).ids]
            return {"before", "under way"} <= set(ids)

        assert scorer.read(scorer.topics.predictions("fraud"), logged)
