"""The features of every gRPC server of headrace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc

from headrace.runtime.grpc.server import Server
from headrace.v1 import ingest_pb2, ingest_pb2_grpc

#: A client sends at most one ping a second, and gRPC's default cuts it off at the fourth.
_QUIET_S = 5.0


class _Quiet(ingest_pb2_grpc.IngestServiceServicer):
    async def PublishStream(  # noqa: N802
        self, requests: AsyncIterator[ingest_pb2.PublishStreamRequest], context: object
    ) -> ingest_pb2.PublishStreamResponse:
        await asyncio.sleep(_QUIET_S)
        return ingest_pb2.PublishStreamResponse(accepted=7)


async def test_a_client_may_ping_while_it_waits_for_an_answer() -> None:
    server = Server("127.0.0.1:0", {"headrace.v1.IngestService": _add})
    await server.start()
    pings = [("grpc.keepalive_time_ms", 100), ("grpc.http2.max_pings_without_data", 0)]
    async with grpc.aio.insecure_channel(server.address, options=pings) as channel:
        stub = ingest_pb2_grpc.IngestServiceStub(channel)  # type: ignore[no-untyped-call]
        response = await stub.PublishStream(iter([ingest_pb2.PublishStreamRequest(stream="payment")]))
    assert response.accepted == 7
    await server.stop(0)


def _add(server: grpc.aio.Server) -> None:
    ingest_pb2_grpc.add_IngestServiceServicer_to_server(_Quiet(), server)  # type: ignore[no-untyped-call]
