"""`headrace.v1.IngestService` over gRPC: a thin layer over the handlers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc

from headrace.engine.marks import Mark
from headrace.errors import InvalidEvent, Unavailable
from headrace.v1 import ingest_pb2, ingest_pb2_grpc
from headrace.wording import shown
from headrace_ingest import handlers

SERVICE = "headrace.v1.IngestService"
#: Trailing metadata of a refused `Publish`: its `Rejection`, for a client to rebuild the error from.
REJECTION = "headrace-rejection-bin"


class Servicer(ingest_pb2_grpc.IngestServiceServicer):
    """A translation between messages and handlers; `headrace.runtime.grpc.server` turns errors into statuses."""

    def __init__(self, ingest: handlers.Ingest | None = None) -> None:
        self._handlers = ingest

    def begin(self, ingest: handlers.Ingest) -> None:
        """Start taking calls, once the topics are open."""
        self._handlers = ingest

    @property
    def _ingest(self) -> handlers.Ingest:
        if self._handlers is None:
            raise Unavailable("ingest has not opened its topics yet")
        return self._handlers

    def add_to(self, server: grpc.aio.Server) -> None:
        """Register with a server."""
        ingest_pb2_grpc.add_IngestServiceServicer_to_server(self, server)  # type: ignore[no-untyped-call]

    async def Publish(self, request: ingest_pb2.PublishRequest, context: Any) -> ingest_pb2.PublishResponse:  # noqa: N802
        try:
            await self._ingest.publish(request.stream, request.event)
        except InvalidEvent as error:
            rejection = _rejection(handlers.Rejection(request.stream, 0, error))
            context.set_trailing_metadata(((REJECTION, rejection.SerializeToString()),))
            raise
        return ingest_pb2.PublishResponse()

    async def PublishStream(  # noqa: N802
        self, request_iterator: AsyncIterator[ingest_pb2.PublishStreamRequest], context: Any
    ) -> ingest_pb2.PublishStreamResponse:
        summary = await self._ingest.publish_stream(_batches(request_iterator, str(context.peer())))
        return ingest_pb2.PublishStreamResponse(
            accepted=summary.accepted,
            rejected=summary.rejected,
            rejections=[_rejection(rejection) for rejection in summary.rejections],
            repeats=summary.repeats,
            late=summary.late,
            undecided=summary.undecided,
        )


async def _batches(
    requests: AsyncIterator[ingest_pb2.PublishStreamRequest], peer: str
) -> AsyncIterator[handlers.EventBatch]:
    async for request in requests:
        yield handlers.EventBatch(request.stream, request.events, _mark(request, peer), request.end, request.decide)


def _mark(request: ingest_pb2.PublishStreamRequest, peer: str) -> Mark | None:
    """Return the mark of a request; its sender is the name that the client gives and its address."""
    sender = shown(f"{request.sender or 'a client without a name'} from {peer}", 120)
    if request.withdraw:
        return Mark(request.mark or None, sender, withdraws=True)
    return Mark(request.mark, sender, request.confirm) if request.mark else None


def _rejection(rejection: handlers.Rejection) -> ingest_pb2.Rejection:
    error = rejection.error
    return ingest_pb2.Rejection(
        stream=rejection.stream, index=rejection.index, field=error.field, value=error.value, expected=error.expected
    )
