"""The clients of ingest, against a fake service behind a real gRPC server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from functools import partial

import grpc
import pytest

from headrace import Stream
from headrace.client import AsyncIngestClient, IngestClient
from headrace.errors import (
    ClientClosed,
    DeadlineExceeded,
    HeadraceError,
    InvalidEvent,
    InvalidRequest,
    Overloaded,
    Unavailable,
    UnknownName,
)
from tests.deadline import until
from tests.unit.client.services import FakeIngest, add_ingest, serving

NO_STREAM = UnknownName("stream", "visits", ("clicks",))


@pytest.fixture
def ingest() -> FakeIngest:
    return FakeIngest()


@pytest.fixture
def address(ingest: FakeIngest) -> Iterator[str]:
    with serving(partial(add_ingest, ingest)) as address:
        yield address


@pytest.fixture
def client(address: str) -> Iterator[IngestClient]:
    with IngestClient(address, sender="test") as client:
        yield client


def events(count: int) -> list[bytes]:
    return [b'{"id":"%d"}' % n for n in range(count)]


def test_an_event_is_a_mapping_or_json(client: IngestClient, ingest: FakeIngest) -> None:
    client.publish("clicks", {"id": "a", "at": datetime(2013, 1, 1)})
    client.publish("clicks", '{"id": "b"}')
    client.publish("clicks", b'{"id": "c"}')
    assert ingest.events == [b'{"id":"a","at":"2013-01-01T00:00:00"}', b'{"id": "b"}', b'{"id": "c"}']


def test_a_value_that_is_no_json_is_named_with_its_field(client: IngestClient) -> None:
    with pytest.raises(InvalidEvent, match="field 'amount' is of type complex"):
        client.publish("clicks", {"id": "a", "amount": 1j})


def test_a_refused_event_raises_what_is_wrong_with_it(client: IngestClient) -> None:
    with pytest.raises(InvalidEvent) as raised:
        client.publish("clicks", b"?")
    assert (raised.value.field, raised.value.value, raised.value.expected) == ("", "?", "a JSON object in UTF-8")


class Clicked(Stream, key="page", time="at", id="click"):
    click: str
    at: datetime
    page: str


def test_a_record_is_published_to_its_stream(client: IngestClient, ingest: FakeIngest) -> None:
    click = Clicked(click="c1", at=datetime(2026, 1, 2, tzinfo=UTC), page="p")
    client.publish(Clicked, click)
    assert client.publish_stream(Clicked, [click, {"click": "c2"}]).accepted == 2
    assert {request.stream for request in ingest.requests} == {"clicked"}
    assert [json.loads(event)["click"] for event in ingest.events] == ["c1", "c1", "c2"]


@pytest.mark.parametrize(
    "failure", [Unavailable("away"), Overloaded("full", 0.01), grpc.StatusCode.CANCELLED], ids=lambda own: str(own)
)
def test_publishing_is_tried_again(
    client: IngestClient, ingest: FakeIngest, failure: HeadraceError | grpc.StatusCode
) -> None:
    ingest.faults.add(failure, failure)
    client.publish("clicks", b"{}")
    assert (ingest.events, ingest.faults.calls) == ([b"{}"], 3)
    ingest.faults.add(failure)
    client.mark("clicks", 7)
    ingest.faults.add(failure)
    assert client.publish_stream("clicks", events(3)).accepted == 3
    assert ingest.faults.calls == 7


def test_an_iterator_is_read_once(client: IngestClient, ingest: FakeIngest) -> None:
    ingest.faults.add(Unavailable("away"))
    with pytest.raises(Unavailable, match=r"ingest at .* does not answer: away"):
        client.publish_stream("clicks", iter(events(3)))
    assert ingest.events == []
    assert client.publish_stream("clicks", iter(events(2_500))).accepted == 2_500
    assert ingest.events == events(2_500)
    assert 3 <= len(ingest.requests) < 100
    assert max(len(request.events) for request in ingest.requests) <= 1_000


def test_an_event_is_sent_while_a_live_source_waits_for_the_next_one(client: IngestClient, ingest: FakeIngest) -> None:
    def live() -> Iterator[bytes]:
        for number, event in enumerate(events(3)):
            yield event
            until(lambda: sum(len(request.events) for request in ingest.requests), lambda sent, n=number: sent > n)

    assert client.publish_stream("clicks", live()).accepted == 3


def test_an_error_of_the_source_ends_the_call(client: IngestClient, ingest: FakeIngest) -> None:
    def broken() -> Iterator[bytes]:
        yield b"{}"
        raise LookupError("the source is gone")

    with pytest.raises(LookupError, match="the source is gone"):
        client.publish_stream("clicks", broken())
    assert ingest.events == []
    assert client.publish_stream("clicks", events(1)).accepted == 1


def test_an_endless_source_ends_with_the_call(client: IngestClient, ingest: FakeIngest) -> None:
    ingest.faults.add(NO_STREAM)
    with pytest.raises(UnknownName):
        client.publish_stream("visits", iter(lambda: b"{}", None))


def test_a_result_names_what_was_rejected(client: IngestClient) -> None:
    result = client.publish_stream("clicks", [*events(2), b"?"])
    (rejection,) = result.rejections
    assert (result.accepted, result.rejected, rejection.stream, rejection.index) == (2, 1, "clicks", 2)
    assert rejection.error.expected == "a JSON object in UTF-8"


def test_marks_carry_their_sender(client: IngestClient, ingest: FakeIngest) -> None:
    client.mark("clicks", datetime(1970, 1, 1, 0, 0, 1), confirm=True)
    client.withdraw_marks("clicks")
    client.withdraw_marks("clicks", 5)
    notes = [(request.mark, request.confirm, request.withdraw, request.sender) for request in ingest.requests]
    assert notes == [(1_000_000, True, False, "test"), (0, False, True, "test"), (5, False, True, "test")]


def test_an_open_stream_interleaves_streams(client: IngestClient, ingest: FakeIngest) -> None:
    with client.stream(decide=True) as stream:
        stream.send("clicks", events(2), mark=7)
        stream.send("buys", events(1))
        stream.send("clicks", ())
        stream.send("clicks", (), end=True)
        assert stream.finish().accepted == 3
    sent = [(request.stream, len(request.events), request.mark, request.end) for request in ingest.requests]
    assert sent == [("clicks", 2, 7, False), ("buys", 1, 0, False), ("clicks", 0, 0, True)]
    assert all(request.decide for request in ingest.requests)


def test_a_stream_that_is_refused_says_why(client: IngestClient, ingest: FakeIngest) -> None:
    ingest.faults.add(NO_STREAM)
    with client.stream() as stream, pytest.raises(UnknownName, match="'visits', expected one of clicks"):
        until(lambda: stream.send("visits", [b"x" * 10_000]), lambda _: False)


def test_a_stream_may_have_a_deadline(client: IngestClient) -> None:
    with client.stream(timeout=0.05) as stream, pytest.raises(DeadlineExceeded):
        until(stream.check, lambda _: False)


def test_a_closed_client_sends_nothing(client: IngestClient) -> None:
    client.close()
    with pytest.raises(ClientClosed, match="the client of ingest at 127"):
        client.publish("clicks", b"{}")
    with pytest.raises(ClientClosed):
        client.stream()


async def test_the_asynchronous_client_does_the_same(address: str, ingest: FakeIngest) -> None:
    async def given() -> AsyncIterator[bytes]:
        for event in events(2_500):
            yield event

    async with AsyncIngestClient(address, sender="test") as client:
        ingest.faults.add(grpc.StatusCode.CANCELLED, Overloaded("full", 0.01))
        await client.publish("clicks", {"id": "a"})
        with pytest.raises(InvalidEvent):
            await client.publish("clicks", b"?")
        ingest.faults.add(Unavailable("away"))
        result = await client.publish_stream("clicks", [*events(2), b"?"], decide=True)
        assert (result.accepted, result.rejected) == (2, 1)
        await client.mark("clicks", 7)
        await client.withdraw_marks("clicks")
        assert [(request.mark, request.withdraw) for request in ingest.requests[-2:]] == [(7, False), (0, True)]
        assert (await client.publish_stream("clicks", given())).accepted == 2_500
        assert ingest.events[-2_500:] == events(2_500)
        assert max(len(request.events) for request in ingest.requests) <= 1_000


async def test_an_event_of_an_asynchronous_live_source_is_sent_at_once(address: str, ingest: FakeIngest) -> None:
    async def live() -> AsyncIterator[bytes]:
        for number, event in enumerate(events(3)):
            yield event
            await asyncio.to_thread(
                until, lambda: sum(len(request.events) for request in ingest.requests), lambda sent, n=number: sent > n
            )

    async def broken() -> AsyncIterator[bytes]:
        yield b"{}"
        raise LookupError("the source is gone")

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"{}"

    async with AsyncIngestClient(address) as client:
        assert (await client.publish_stream("clicks", live())).accepted == 3
        ingest.faults.add(NO_STREAM)
        with pytest.raises(UnknownName):
            await client.publish_stream("visits", endless())
        with pytest.raises(LookupError, match="the source is gone"):
            await client.publish_stream("clicks", broken())


async def send_until_it_fails(client: AsyncIngestClient) -> None:
    async with client.stream() as stream:
        for _ in range(10_000):
            await stream.send("visits", [b"x" * 10_000])


async def test_an_asynchronous_stream_that_is_refused_says_why(address: str, ingest: FakeIngest) -> None:
    async with AsyncIngestClient(address) as client:
        for _ in range(50):
            ingest.faults.add(NO_STREAM)
            with pytest.raises(InvalidRequest, match="'visits', expected one of clicks"):
                await send_until_it_fails(client)
        ingest.faults.add(NO_STREAM)
        with pytest.raises(UnknownName):
            await client.publish_stream("visits", events(3))
        async with client.stream() as stream:
            await stream.send("clicks", events(3))
            assert (await stream.finish()).accepted == 3


async def test_a_closed_asynchronous_client_sends_nothing(address: str) -> None:
    client = AsyncIngestClient(address)
    await client.close()
    with pytest.raises(ClientClosed):
        await client.publish("clicks", b"{}")
