"""The clients of a scorer against a real one, with nothing but what they bring installed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from headrace import embedded
from headrace.client import ScoreRequest, ScoringClient
from headrace.errors import InvalidEvent, InvalidRequest, NoModelYet, UnknownName
from tests.brokers import on_the_small
from tests.contract.closure import closure, lay_out
from tests.contract.repository import ROOT
from tests.deadline import scaled
from tests.integration.scoring import Running, running
from tests.unit.scorer.support import NOW, SECOND, WORTH, event, version

AT = NOW - 10 * SECOND

#: Asks with both clients, and prints what they get.
ASK = """
import asyncio, json, sys
address, event = sys.argv[1:3]
from headrace.client import AsyncScoringClient, ScoreRequest, ScoringClient

with ScoringClient(address) as client:
    print(client.score("worth", event).score)
    print(*(answer.score for answer in client.score_batch([ScoreRequest("worth", event)] * 3)))
    print(*(answer.score for answer in client.score_stream([ScoreRequest("worth", event)] * 3)))
    print(*(model.name for model in client.list_models()))

async def ask():
    async with AsyncScoringClient(address) as client:
        print((await client.score("worth", event)).score)
        print(*[answer.score async for answer in client.score_stream([ScoreRequest("worth", event)] * 3)])

asyncio.run(ask())
heavy = {"numpy", "pulsar", "redis", "pyarrow", "river", "onnxruntime", "numba", "pydantic", "structlog", "click"}
print(sorted(heavy & set(sys.modules)))
"""


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory = tmp_path_factory.mktemp("scorer")
    with (
        embedded.broker(directory) as broker,
        embedded.store(directory) as store,
        running(directory, on_the_small(broker), store) as service,
    ):
        service.publish(version(WORTH))
        yield service


@pytest.fixture(scope="module")
def client(scorer: Running) -> Iterator[ScoringClient]:
    with ScoringClient(scorer.address, timeout=scaled(20)) as client:
        yield client


def test_a_bare_installation_scores(scorer: Running, client: ScoringClient, tmp_path: Path) -> None:
    lay_out(closure("headrace"), tmp_path)
    paths = f"import sys; sys.path += {[str(tmp_path), str(ROOT / 'sdk/src')]}\n"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", paths + ASK, scorer.address, event(at=AT).decode()],
        capture_output=True,
        text=True,
        timeout=scaled(60),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    one, batch, stream, models, again, stream_again, heavy = done.stdout.splitlines()
    expected = client.score("worth", event(at=AT)).score
    assert float(one) == float(again) == expected
    for line in (batch, stream, stream_again):
        assert [float(score) for score in line.split()] == pytest.approx([expected] * 3, rel=1e-13)
    assert (models, heavy) == ("fraud worth sort", "[]")


def test_refusals_of_a_scorer_arrive_as_what_they_are(client: ScoringClient) -> None:
    with pytest.raises(InvalidEvent) as invalid:
        client.score("worth", event(at=AT, card=None))
    assert (invalid.value.field, invalid.value.value, invalid.value.expected[:8]) == ("card", "missing", "a string")
    with pytest.raises(UnknownName, match="'none', expected one of fraud, worth, sort"):
        client.score("none", event())
    with pytest.raises(NoModelYet) as young:
        client.score("fraud", event(at=AT))
    assert young.value.model == "fraud"
    with pytest.raises(InvalidRequest) as long:
        client.score("worth", event(at=AT), event_id="x" * 100_000)
    assert long.value.field == "event_id"
    with pytest.raises(InvalidRequest, match="as_of"):
        client.vector("worth", event(), as_of=-(2**62))


def test_a_batch_beyond_the_scorers_limit_takes_several_calls(client: ScoringClient) -> None:
    batch = client.score_batch([ScoreRequest("worth", event(at=AT)) for _ in range(5_000)])
    assert len({round(prediction.score, 6) for prediction in batch.predictions()}) == 1


def test_a_client_asks_from_many_threads_and_none_is_refused(scorer: Running) -> None:
    with ScoringClient(scorer.address, timeout=scaled(60)) as client, ThreadPoolExecutor(32) as pool:
        answers = pool.map(lambda _: client.score("worth", event(at=AT)).score, range(500))
        assert len({*answers}) == 1


def test_the_vector_and_the_models_are_typed(client: ScoringClient) -> None:
    vector = client.vector("worth", event(), as_of=AT)
    assert vector.as_of == AT
    assert {value.name: value.age_s for value in vector.values}["card_mean"] == 50.0
    described = client.describe_model("worth")
    assert (described.summary.task, described.summary.examples) == ("regression", 60)
    assert json.dumps(described.metrics) == '{"accuracy": 0.75}'
