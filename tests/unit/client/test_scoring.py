"""The clients of the scorer, against a fake scorer behind a real gRPC server."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial

import grpc
import pytest

from headrace.client import (
    AsyncScoringClient,
    Degradation,
    Feature,
    FeatureValue,
    Prediction,
    ScoreRequest,
    ScoringClient,
    Takeover,
    VersionId,
)
from headrace.client.failures import Peer
from headrace.client.scores import outcome_of, prediction_of
from headrace.errors import (
    ClientClosed,
    DeadlineExceeded,
    HeadraceError,
    InvalidEvent,
    NoModelYet,
    Overloaded,
    Unavailable,
)
from headrace.runtime.grpc.call_limits import CallLimits
from headrace.v1 import scoring_pb2
from tests.deadline import until
from tests.support.limited_server import serving as limited
from tests.unit.client.services import FakeScorer, add_scorer, serving

VERSION = VersionId("worth", "d1", 60)


@pytest.fixture
def scorer() -> FakeScorer:
    return FakeScorer()


@pytest.fixture
def address(scorer: FakeScorer) -> Iterator[str]:
    with serving(partial(add_scorer, scorer)) as address:
        yield address
        scorer.go.set()


@pytest.fixture
def client(address: str) -> Iterator[ScoringClient]:
    with ScoringClient(address) as client:
        yield client


def requests(count: int) -> list[ScoreRequest]:
    return [ScoreRequest("worth", {"amount": float(n)}, f"e{n}") for n in range(count)]


def scores(results: list[Prediction | HeadraceError]) -> list[float]:
    return [result.score for result in results if isinstance(result, Prediction)]


def test_an_answer_is_typed(client: ScoringClient, scorer: FakeScorer) -> None:
    assert client.score("worth", {"amount": 3.5}) == Prediction(3.5, VERSION)
    explained = client.score("worth", '{"amount": 2}', event_id="a", explain=True)
    assert explained.vector == (FeatureValue("amount", 2.0, None), FeatureValue("note", "", None))
    assert [(request.model, request.event, request.event_id) for request in scorer.requests] == [
        ("worth", b'{"amount":3.5}', ""),
        ("worth", b'{"amount": 2}', "a"),
    ]


def test_every_part_of_an_answer_is_read() -> None:
    response = scoring_pb2.ScoreResponse(
        score=0.75,
        label="a",
        probabilities={"a": 0.75, "b": 0.25},
        degradations=[1, 2, 3, 99],  # type: ignore[list-item]
    )
    prediction = prediction_of(response)
    assert (prediction.label, prediction.probabilities) == ("a", {"a": 0.75, "b": 0.25})
    assert prediction.degradations == (
        Degradation.STORE_UNAVAILABLE,
        Degradation.NOT_LOGGED,
        Degradation.REBUILDING,
        Degradation.UNKNOWN,
    )
    assert len(scoring_pb2.Degradation.values()) == len(Degradation)


def test_a_refused_event_raises_its_field(client: ScoringClient) -> None:
    with pytest.raises(InvalidEvent) as raised:
        client.score("worth", {})
    assert (raised.value.field, raised.value.value) == ("amount", "missing")


def test_a_batch_has_each_error_in_its_place(client: ScoringClient) -> None:
    batch = client.score_batch([*requests(2), ScoreRequest("worth", {}), *requests(1)])
    assert scores(list(batch)) == [0.0, 1.0, 0.0]
    assert len(batch) == 4
    assert list(batch.errors) == [2]
    assert isinstance(batch[2], InvalidEvent)
    with pytest.raises(InvalidEvent):
        batch.predictions()
    assert [prediction.score for prediction in client.score_batch(requests(3)).predictions()] == [0.0, 1.0, 2.0]
    assert client.score_batch([]).results == ()


def test_a_large_batch_takes_several_calls(client: ScoringClient, scorer: FakeScorer) -> None:
    batch = client.score_batch(requests(2_500))
    assert scores(list(batch)) == [float(n) for n in range(2_500)]
    assert scorer.faults.calls == 3
    large = ScoreRequest("worth", b'{"amount": 1, "note": "' + b"x" * 3 * 2**20 + b'"}')
    assert len(client.score_batch([large] * 3)) == 3
    assert scorer.faults.calls == 6


def test_answers_of_more_than_4_mib_are_taken(client: ScoringClient) -> None:
    wide = ScoreRequest("worth", {"amount": 1.0, "note": 10_000}, explain=True)
    assert len(client.score_batch([wide] * 1_000).predictions()) == 1_000


def test_vectors_and_models_are_typed(client: ScoringClient) -> None:
    vector = client.vector("worth", {"amount": 1}, as_of=datetime(2013, 1, 1, 11))
    assert vector.as_of == 1_357_038_000_000_000
    assert client.vector("worth", {}).as_of == 7
    assert vector.values == (
        FeatureValue("mean", 2.5, 1.5),
        FeatureValue("kind", "a", None),
        FeatureValue("count", None, None),
    )
    worth, young = client.list_models()
    assert (worth.examples, worth.takeover) == (60, None)
    assert (young.examples, young.takeover) == (None, Takeover("d1", 3, 9, "d2"))
    described = client.describe_model("worth")
    assert (described.summary, described.features) == (worth, (Feature("mean", "float"),))
    assert described.metrics == {"mae": 0.5}


@pytest.mark.parametrize(
    "failure", [Unavailable("away"), Overloaded("full", 0.01), grpc.StatusCode.CANCELLED], ids=lambda own: str(own)
)
def test_a_call_is_tried_again(
    client: ScoringClient, scorer: FakeScorer, failure: HeadraceError | grpc.StatusCode
) -> None:
    scorer.faults.add(failure, failure)
    assert client.score("worth", {"amount": 1}).score == 1.0
    assert scorer.faults.calls == 3


def test_retries_end(address: str, scorer: FakeScorer) -> None:
    scorer.faults.add(*[Unavailable("away")] * 5)
    with ScoringClient(address, retries=1) as client, pytest.raises(Unavailable, match=f"scorer at {address} does not"):
        client.score("worth", {"amount": 1})
    assert scorer.faults.calls == 2


def test_what_the_caller_did_wrong_is_not_tried_again(client: ScoringClient, scorer: FakeScorer) -> None:
    scorer.faults.add(NoModelYet("worth"))
    with pytest.raises(NoModelYet) as raised:
        client.score("worth", {"amount": 1})
    assert (raised.value.model, scorer.faults.calls) == ("worth", 1)


def test_a_call_has_a_deadline(client: ScoringClient, scorer: FakeScorer) -> None:
    scorer.go.clear()
    with pytest.raises(DeadlineExceeded):
        client.score("worth", {"amount": 1}, timeout=0.05)
    scorer.go.set()
    with pytest.raises(DeadlineExceeded, match="within 0 s"):
        client.score("worth", {"amount": 1}, timeout=0)


def test_no_more_calls_are_under_way_than_the_client_may_have(address: str, scorer: FakeScorer) -> None:
    scorer.go.clear()
    with ScoringClient(address, concurrency=2) as client, ThreadPoolExecutor(6) as pool:
        answers = [pool.submit(client.score, "worth", {"amount": n}) for n in range(6)]
        until(lambda: scorer.under_way >= 2)
        with pytest.raises(DeadlineExceeded):
            client.score("worth", {"amount": 1}, timeout=0.05)
        scorer.go.set()
        assert [answer.result().score for answer in answers] == [0, 1, 2, 3, 4, 5]
    assert scorer.most_under_way == 2


def test_a_closed_client_says_so(client: ScoringClient, scorer: FakeScorer) -> None:
    scorer.go.clear()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.score, "worth", {"amount": 1})
        until(lambda: scorer.under_way == 1)
        client.close()
        with pytest.raises(ClientClosed):
            waiting.result()
    scorer.go.set()
    with pytest.raises(ClientClosed, match="the client of scorer at 127"):
        client.score("worth", {"amount": 1})
    client.close()


def test_a_client_that_pauses_can_be_closed(address: str, scorer: FakeScorer) -> None:
    scorer.faults.add(Overloaded("full", 3_600.0))
    client = ScoringClient(address, timeout=math.inf)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.score, "worth", {"amount": 1})
        until(lambda: scorer.faults.calls == 1)
        client.close()
        with pytest.raises(ClientClosed):
            waiting.result()


def test_a_stream_answers_in_order_and_is_drawn_as_it_is_answered(client: ScoringClient) -> None:
    drawn = 0

    def endless() -> Iterator[ScoreRequest]:
        nonlocal drawn
        while True:
            yield ScoreRequest("worth", {"amount": float(drawn)} if drawn != 3 else {})
            drawn += 1

    stream = client.score_stream(endless())
    results = [next(stream) for _ in range(200)]
    assert isinstance(results[3], InvalidEvent)
    assert scores(results) == [float(n) for n in range(200) if n != 3]
    assert drawn <= 200 + 65
    stream.close()  # type: ignore[attr-defined]
    assert [list(client.score_stream([])), len(list(client.score_stream(requests(500))))] == [[], 500]


def test_a_stream_goes_on_over_a_new_connection(client: ScoringClient, scorer: FakeScorer) -> None:
    scorer.faults.add(grpc.StatusCode.CANCELLED)
    scorer.answers_before_failure = 30
    assert scores(list(client.score_stream(iter(requests(100))))) == [float(n) for n in range(100)]
    assert scorer.faults.calls == 5
    # The fake fails before it answers, so that no request is answered twice.
    assert [request.event_id for request in scorer.requests] == [f"e{n}" for n in range(100)]


def test_a_stream_that_gets_nowhere_ends(client: ScoringClient, scorer: FakeScorer) -> None:
    scorer.answers_before_failure = 0
    with pytest.raises(Unavailable):
        list(client.score_stream(requests(3)))
    assert scorer.faults.calls == 5


def test_an_error_of_the_callers_iterator_reaches_the_caller(client: ScoringClient) -> None:
    def broken() -> Iterator[ScoreRequest]:
        yield from requests(3)
        raise KeyError("amount")

    stream = client.score_stream(broken())
    assert [next(stream) for _ in range(3)]
    with pytest.raises(KeyError, match="amount"):
        next(stream)


def test_a_stream_that_is_left_draws_no_more(client: ScoringClient) -> None:
    before = threading.active_count()
    for answer in client.score_stream(ScoreRequest("worth", {"amount": 1.0}) for _ in iter(int, 1)):
        assert answer
        break
    until(lambda: threading.active_count() <= before + 2)


def test_a_restarted_scorer_is_found_again(scorer: FakeScorer) -> None:
    with serving(partial(add_scorer, scorer)) as address:
        client = ScoringClient(address)
        assert client.score("worth", {"amount": 1}).score == 1
    with serving(partial(add_scorer, scorer), address):
        assert client.score("worth", {"amount": 2}).score == 2
    client.close()


async def test_the_asynchronous_client_answers_the_same(address: str, scorer: FakeScorer) -> None:
    scorer.faults.add(grpc.StatusCode.CANCELLED, Overloaded("full", 0.01))
    async with AsyncScoringClient(address) as client:
        assert await client.score("worth", {"amount": 3.5}) == Prediction(3.5, VERSION)
        assert scorer.faults.calls == 3
        with pytest.raises(InvalidEvent):
            await client.score("worth", {})
        batch = await client.score_batch([*requests(1_500), ScoreRequest("worth", {})])
        assert (len(batch), list(batch.errors)) == (1_501, [1_500])
        assert (await client.vector("worth", {}, as_of=9)).as_of == 9
        assert [model.name for model in await client.list_models()] == ["worth", "young"]
        assert (await client.describe_model("worth")).learner == "LinearRegression()"
        scorer.go.clear()
        with pytest.raises(DeadlineExceeded):
            await client.score("worth", {"amount": 1}, timeout=0.05)
        scorer.go.set()


async def test_an_asynchronous_stream_goes_on_over_a_new_connection(address: str, scorer: FakeScorer) -> None:
    async def given() -> AsyncIterator[ScoreRequest]:
        for request in requests(100):
            yield request

    scorer.answers_before_failure = 30
    async with AsyncScoringClient(address) as client:
        assert scores([answer async for answer in client.score_stream(given())]) == [float(n) for n in range(100)]
        assert scorer.faults.calls == 4
        assert len([answer async for answer in client.score_stream(requests(20))]) == 20

        async def broken() -> AsyncIterator[ScoreRequest]:
            yield requests(1)[0]
            raise KeyError("amount")

        with pytest.raises(KeyError, match="amount"):
            [answer async for answer in client.score_stream(broken())]


async def test_an_asynchronous_client_limits_itself_and_can_be_closed(address: str, scorer: FakeScorer) -> None:
    scorer.go.clear()
    client = AsyncScoringClient(address, concurrency=2)
    calls = [asyncio.create_task(client.score("worth", {"amount": n})) for n in range(6)]
    await asyncio.to_thread(until, lambda: scorer.under_way >= 2)
    with pytest.raises(DeadlineExceeded):
        await client.score("worth", {"amount": 1}, timeout=0.05)
    calls[5].cancel()
    with pytest.raises(asyncio.CancelledError):
        await calls[5]
    await client.close()
    scorer.go.set()
    results = await asyncio.gather(*calls[:5], return_exceptions=True)
    assert [type(result) for result in results] == [ClientClosed] * 5
    assert scorer.most_under_way == 2
    with pytest.raises(ClientClosed):
        await client.score("worth", {"amount": 1})


async def test_calls_that_grpc_itself_refuses_are_tried_again() -> None:
    async with limited(CallLimits(calls=1, pending=1)) as (_, slow):
        slow.go.set()
        async with AsyncScoringClient(slow.address, concurrency=20, retries=50, timeout=math.inf) as client:
            await asyncio.gather(*(client.score("worth", {}) for _ in range(60)))
        async with AsyncScoringClient(slow.address, concurrency=20, retries=0) as client:
            results = await asyncio.gather(*(client.score("worth", {}) for _ in range(60)), return_exceptions=True)
    refused = [result for result in results if isinstance(result, Exception)]
    assert {type(result) for result in refused} == {Overloaded}


def test_a_result_without_an_error_is_an_answer() -> None:
    result = scoring_pb2.ScoreResult(error=scoring_pb2.ScoreError(code=14, message="store: away"))
    assert str(outcome_of(result, Peer("scorer", "here:1"))) == "scorer at here:1 does not answer: store: away"
