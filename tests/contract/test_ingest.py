"""The ingest service as any gRPC client sees it: names, statuses, health, reflection."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from headrace.runtime.grpc.server import Server
from headrace.v1 import ingest_pb2, ingest_pb2_grpc
from headrace_ingest.admission import Admission
from headrace_ingest.grpc.servicer import REJECTION, SERVICE, Servicer
from headrace_ingest.handlers import Ingest
from tests.unit.ingest.fakes import FakeDecisions, FakeLog
from tests.unit.ingest.streams import event, stream


@pytest.fixture
def log() -> FakeLog:
    return FakeLog()


@pytest.fixture
async def channel(log: FakeLog) -> AsyncIterator[grpc.aio.Channel]:
    servicer = Servicer(Ingest({"clicks": Admission(stream(), lambda: 0)}, log, FakeDecisions(), lambda name, by: None))
    server = Server("127.0.0.1:0", {SERVICE: servicer.add_to})
    await server.start()
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield channel
    await server.stop(0)


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> ingest_pb2_grpc.IngestServiceStub:
    return ingest_pb2_grpc.IngestServiceStub(channel)  # type: ignore[no-untyped-call]


def publish(stream: str = "clicks", sent: bytes = b"") -> ingest_pb2.PublishRequest:
    return ingest_pb2.PublishRequest(stream=stream, event=sent or event())


async def test_publish(stub: ingest_pb2_grpc.IngestServiceStub, log: FakeLog) -> None:
    assert await stub.Publish(publish()) == ingest_pb2.PublishResponse()
    assert log.written == [("clicks", "a")]


@pytest.mark.parametrize(
    ("request_", "status", "message"),
    [
        (publish("visits"), grpc.StatusCode.NOT_FOUND, "stream is 'visits', expected one of clicks"),
        (publish(sent=b"?"), grpc.StatusCode.INVALID_ARGUMENT, "the event is not decodable"),
        (publish(sent=event(at=None)), grpc.StatusCode.INVALID_ARGUMENT, "field 'at' is null, expected a time"),
    ],
)
async def test_statuses_of_refusals(
    stub: ingest_pb2_grpc.IngestServiceStub,
    request_: ingest_pb2.PublishRequest,
    status: grpc.StatusCode,
    message: str,
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.Publish(request_)
    assert raised.value.code() is status
    assert (raised.value.details() or "").startswith(message)


async def test_a_refused_event_says_in_its_trailer_which_field(stub: ingest_pb2_grpc.IngestServiceStub) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.Publish(publish(sent=event(user=5)))
    trailers: Any = raised.value.trailing_metadata()
    rejection = ingest_pb2.Rejection.FromString(dict(trailers)[REJECTION])
    assert rejection == ingest_pb2.Rejection(stream="clicks", field="user", value="5", expected="a string")


async def test_an_overloaded_service_says_so(stub: ingest_pb2_grpc.IngestServiceStub, log: FakeLog) -> None:
    log.full = True
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.Publish(publish())
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_publish_stream_counts_and_names_what_it_refused(stub: ingest_pb2_grpc.IngestServiceStub) -> None:
    requests = [
        ingest_pb2.PublishStreamRequest(stream="clicks", events=[event("a"), b"?"], mark=5),
        ingest_pb2.PublishStreamRequest(stream="clicks", events=[event("b")]),
    ]
    response = await stub.PublishStream(iter(requests))
    assert (response.accepted, response.rejected) == (2, 1)
    (rejection,) = response.rejections
    assert (rejection.stream, rejection.index, rejection.expected) == ("clicks", 1, "a JSON object in UTF-8")


async def test_health_and_reflection(channel: grpc.aio.Channel) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    assert (await health.Check(health_pb2.HealthCheckRequest(service=SERVICE))).status == 1
    reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
    call = reflection.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    names = [service.name async for answer in call for service in answer.list_services_response.service]
    assert SERVICE in names
