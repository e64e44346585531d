"""What every gRPC server of headrace has: health, reflection, and errors as statuses, in one place."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection

from headrace import errors

_log = structlog.get_logger()

_STATUSES: tuple[tuple[type[errors.HeadraceError], grpc.StatusCode], ...] = (
    (errors.UnknownName, grpc.StatusCode.NOT_FOUND),
    (errors.InvalidRequest, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.InvalidEvent, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.NoModelYet, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.Overloaded, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (errors.Unavailable, grpc.StatusCode.UNAVAILABLE),
    (errors.Fenced, grpc.StatusCode.ABORTED),
    (errors.CorruptState, grpc.StatusCode.DATA_LOSS),
)


def status_of(error: BaseException) -> tuple[grpc.StatusCode, str]:
    """The status and message that a caller gets for an error.

    What is not of headrace's own tree is a fault of the server: its text stays in the log.
    """
    for kind, status in _STATUSES:
        if isinstance(error, kind):
            return status, str(error)
    return grpc.StatusCode.INTERNAL, "internal error; the server's log has it"


class _Statuses(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Turns an error raised by a handler into its status."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None or not handler_call_details.method.startswith(("/headrace.", "/inference.")):
            return handler
        if handler.response_streaming:
            inner = handler.stream_stream or handler.unary_stream

            async def streaming(request: Any, context: Any) -> AsyncIterator[Any]:
                try:
                    async for response in inner(request, context):
                        yield response
                except Exception as error:
                    await _abort(context, error)

            kind = grpc.stream_stream_rpc_method_handler
            return (kind if handler.request_streaming else grpc.unary_stream_rpc_method_handler)(
                streaming, handler.request_deserializer, handler.response_serializer
            )
        single = handler.stream_unary or handler.unary_unary

        async def answering(request: Any, context: Any) -> Any:
            try:
                return await single(request, context)
            except Exception as error:
                await _abort(context, error)

        wrap = (
            grpc.stream_unary_rpc_method_handler if handler.request_streaming else grpc.unary_unary_rpc_method_handler
        )
        return wrap(answering, handler.request_deserializer, handler.response_serializer)


async def _abort(context: Any, error: Exception) -> None:
    if isinstance(error, grpc.aio.AbortError):
        raise error
    status, message = status_of(error)
    if status is grpc.StatusCode.INTERNAL:
        _log.exception("call failed", error=repr(error))
    await context.abort(status, message)


class Server:
    """A grpc.aio server with health, reflection and headrace's statuses.

    Parameters
    ----------
    bind
        Host and port; port 0 takes a free one, see `address`.
    services
        For each full service name the function that adds its servicer to a server.
    max_message_bytes
        The largest request accepted.
    """

    def __init__(
        self,
        bind: str,
        services: dict[str, Callable[[grpc.aio.Server], None]],
        max_message_bytes: int = 16 * 2**20,
    ) -> None:
        self._server = grpc.aio.server(
            interceptors=[_Statuses()],
            options=[
                ("grpc.max_receive_message_length", max_message_bytes),
                ("grpc.max_send_message_length", max_message_bytes),
                ("grpc.so_reuseport", 0),
            ],
        )
        self._health = health_aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        for add in services.values():
            add(self._server)
        self._names = tuple(services)
        reflection.enable_server_reflection((*self._names, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)
        host, _, _ = bind.rpartition(":")
        self.address = f"{host}:{self._server.add_insecure_port(bind)}"

    async def start(self) -> None:
        """Serve; health says SERVING from here on."""
        await self._server.start()
        await self._set_health(health_pb2.HealthCheckResponse.SERVING)

    async def stop(self, grace: float = 10.0) -> None:
        """Say NOT_SERVING, let the calls under way finish for `grace` seconds, and close."""
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        await self._server.stop(grace)

    async def _set_health(self, state: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        for name in ("", *self._names):
            await self._health.set(name, state)
