"""A gRPC server with limits on its calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import grpc

from headrace.runtime.grpc.call_limits import (
    CallLimits,
)
from headrace.runtime.grpc.server import Server
from headrace.v1 import scoring_pb2, scoring_pb2_grpc


class Slow(scoring_pb2_grpc.ScoringServiceServicer):
    """A service that answers once `go` is set."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.entered: asyncio.Queue[None] = asyncio.Queue()
        self.address = ""

    async def Score(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.entered.put_nowait(None)
        await self.go.wait()
        return scoring_pb2.ScoreResponse()

    async def ScoreBatch(self, request: Any, context: Any) -> Any:  # noqa: N802
        return scoring_pb2.ScoreBatchResponse()

    async def ScoreStream(self, requests: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        async for _ in requests:
            yield scoring_pb2.ScoreStreamResponse()


@asynccontextmanager
async def serving(limits: CallLimits) -> AsyncIterator[tuple[Any, Slow]]:
    slow = Slow()
    add = partial(scoring_pb2_grpc.add_ScoringServiceServicer_to_server, slow)  # type: ignore[no-untyped-call]
    server = Server("127.0.0.1:0", {"headrace.v1.ScoringService": add}, limits=limits)
    await server.start()
    slow.address = server.address
    try:
        async with grpc.aio.insecure_channel(server.address) as channel:
            yield scoring_pb2_grpc.ScoringServiceStub(channel), slow
    finally:
        slow.go.set()
        await server.stop(0)
