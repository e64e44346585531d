"""The parts that every gRPC server of headrace shares: health, reflection, and the mapping of errors to statuses.

The health check answers for several names:

- ``""``: *ready*. The service has started and reaches everything that it depends on.
- a gRPC service: *answers*. Everything that it needs for an answer is reachable.
- ``live``: the process runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection

from headrace import errors
from headrace.runtime.grpc.call_limits import (
    STATUS_DETAILS,
    USUAL,
    CallLimits,
    Load,
    Malformed,
    TooManyFields,
    decoding,
    retry_details,
    tolerant,
)
from headrace.runtime.readiness import Dependencies, call_in

#: The name under which the health check reports that the process runs, whether or not anything is reachable.
LIVE = "live"

#: Trailing metadata of a health check: one entry for each unreachable dependency, as ``broker pulsar://…``.
UNREACHABLE = "headrace-unreachable"

#: How many characters of an error a caller gets.
_LONGEST = 4_000

#: What a call without a request has in its place.
_EOF = grpc.aio.EOF  # type: ignore[attr-defined]

_log = structlog.get_logger()

_STATUSES: tuple[tuple[type[errors.HeadraceError], grpc.StatusCode], ...] = (
    (errors.UnknownName, grpc.StatusCode.NOT_FOUND),
    (errors.InvalidRequest, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.InvalidEvent, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.NoModelYet, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.Implausible, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.Overloaded, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (errors.Unavailable, grpc.StatusCode.UNAVAILABLE),
    (errors.TooLarge, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.Fenced, grpc.StatusCode.ABORTED),
    (errors.CorruptState, grpc.StatusCode.DATA_LOSS),
)


def status_of(error: BaseException) -> tuple[grpc.StatusCode, str]:
    """Return the status and the message that a caller gets for an error.

    An error outside headrace's own tree is a fault of the server: its text stays in the log.
    """
    for kind, status in _STATUSES:
        if isinstance(error, kind):
            return status, str(error)
    return grpc.StatusCode.INTERNAL, "internal error; the server's log has it"


class _Health(health_aio.HealthServicer):  # type: ignore[misc]
    """The standard health service; its answers name what is unreachable."""

    def __init__(self, dependencies: Dependencies, watches: int) -> None:
        super().__init__()
        self._dependencies = dependencies
        self._free_watches = watches

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Any) -> Any:  # noqa: N802
        unreachable = [f"{dependency.name} {dependency.address}" for dependency in self._dependencies.unreachable()]
        context.set_trailing_metadata(tuple((UNREACHABLE, ascii(text)[1:-1]) for text in unreachable))
        return await super().Check(request, context)

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Any) -> None:  # noqa: N802
        if not self._free_watches:
            await _abort(context, errors.Overloaded("as many watches are open as may be; call Check instead"))
        self._free_watches -= 1
        try:
            await super().Watch(request, context)
        finally:
            self._free_watches += 1


class _Statuses(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """An interceptor that maps a handler's errors to statuses, and refuses calls until the service has started."""

    def __init__(self, dependencies: Dependencies, limits: CallLimits) -> None:
        self._dependencies = dependencies
        self._fields = limits.fields
        self._awaited_s = limits.awaited_s
        self._awaiting: set[asyncio.Task[Any]] = set()
        self._most_awaiting = limits.calls // 4
        self._load = Load(limits)
        self.started = False

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        if not handler_call_details.method.startswith(("/headrace.", "/inference.")):
            return self._of_grpc(handler)
        if not self.started:
            return _refusing(handler, errors.Unavailable(self._dependencies.note() or "the service starts"))
        decode = tolerant(handler.request_deserializer)
        if limit := self._fields.get(handler_call_details.method):
            decode = decoding(decode, limit)
        if handler.response_streaming:
            return self._streaming(handler, decode)
        if handler.request_streaming:
            return self._answering_stream(handler, decode)
        try:
            release = await self._load.receive()
        except errors.Overloaded as error:
            return _refusing(handler, error)
        task = asyncio.current_task()
        if task is None or len(self._awaiting) >= self._most_awaiting:
            return self._awaiting_request(handler, decode, release)
        return self._answering(handler, decode, release, task)

    def _answering(
        self, handler: Any, decode: Callable[[bytes], Any], release: Callable[[], None], task: asyncio.Task[Any]
    ) -> Any:
        """Return a handler of a single request, for which gRPC waits: without end, so only a quarter of the calls may.

        `task` is that of the call.
        """
        self._awaiting.add(task)
        task.add_done_callback(self._awaiting.discard)

        async def answering(request: Any, context: Any) -> Any:
            self._awaiting.discard(task)
            release()
            return await self._answer(handler.unary_unary, request, context)

        return grpc.unary_unary_rpc_method_handler(answering, decode, handler.response_serializer)

    def _awaiting_request(self, handler: Any, decode: Callable[[bytes], Any], release: Callable[[], None]) -> Any:
        """Return a handler of a single request that waits for it within bounds: to gRPC it reads a stream."""

        async def answering(_requests: Any, context: Any) -> Any:
            try:
                request = await self._request(context)
            except Exception as error:
                await _abort(context, error)
            finally:
                release()
            return await self._answer(handler.unary_unary, request, context)

        return grpc.stream_unary_rpc_method_handler(answering, decode, handler.response_serializer)

    def _answering_stream(self, handler: Any, decode: Callable[[bytes], Any]) -> Any:
        """Return a handler that answers a stream of requests once."""

        async def answering(requests: Any, context: Any) -> Any:
            try:
                with self._load.streaming():
                    return await handler.stream_unary(self._read(requests), context)
            except Exception as error:
                await _abort(context, error)

        return grpc.stream_unary_rpc_method_handler(answering, decode, handler.response_serializer)

    async def _answer(self, single: Callable[..., Awaitable[Any]], request: Any, context: Any) -> Any:
        try:
            message = self._read(request)
            with self._load.holding(message.ByteSize()):
                return await single(message, context)
        except Exception as error:
            await _abort(context, error)

    def _streaming(self, handler: Any, decode: Callable[[bytes], Any]) -> Any:
        """Return a handler that streams its answers, and counts as a stream meanwhile."""
        inner = handler.stream_stream or handler.unary_stream

        async def streaming(request: Any, context: Any) -> AsyncIterator[Any]:
            try:
                with self._load.streaming():
                    async for response in inner(self._read(request), context):
                        yield response
            except Exception as error:
                await _abort(context, error)

        kind = grpc.stream_stream_rpc_method_handler
        return (kind if handler.request_streaming else grpc.unary_stream_rpc_method_handler)(
            streaming, decode, handler.response_serializer
        )

    def _of_grpc(self, handler: Any) -> Any:
        """Return a handler of a service that every server has, health or reflection: its calls take places, too."""
        if handler.request_streaming:
            return self._streaming(handler, handler.request_deserializer)
        inner = handler.unary_stream or handler.unary_unary

        async def answering(_requests: Any, context: Any) -> Any:
            try:
                return await inner(self._read(await self._request(context)), context)
            except Exception as error:
                await _abort(context, error)

        kind = grpc.stream_stream_rpc_method_handler
        return (kind if handler.response_streaming else grpc.stream_unary_rpc_method_handler)(
            answering, tolerant(handler.request_deserializer), handler.response_serializer
        )

    async def _request(self, context: Any) -> Any:
        """Wait for the request of a call that has one.

        Raises
        ------
        InvalidRequest
            It does not arrive: the call would keep one of the few places.
        """
        try:
            async with asyncio.timeout(self._awaited_s):
                request = await context.read()
        except TimeoutError:
            raise errors.InvalidRequest("the request", "missing", f"a message within {self._awaited_s:g} s") from None
        return Malformed() if request is _EOF else request

    def _read(self, request: Any) -> Any:
        """Return a request, or the requests of a stream, if they could be decoded.

        Raises
        ------
        InvalidRequest
            It has too many parts, or is malformed.
        """
        if isinstance(request, TooManyFields | Malformed):
            raise request.error()
        return self._read_each(request) if hasattr(request, "__aiter__") else request

    async def _read_each(self, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for request in requests:
            message = self._read(request)
            # Hold it until the next one is requested.
            with self._load.holding(message.ByteSize()):
                yield message


def _refusing(handler: Any, error: errors.HeadraceError) -> Any:
    """Return a handler that refuses the call; to gRPC it reads a stream, so no request is received for it."""

    async def refuse(_requests: Any, context: Any) -> None:
        await _abort(context, error)

    streams = handler.response_streaming
    kind = grpc.stream_stream_rpc_method_handler if streams else grpc.stream_unary_rpc_method_handler
    return kind(refuse, handler.request_deserializer, handler.response_serializer)


async def _abort(context: Any, error: Exception) -> None:
    if isinstance(error, grpc.aio.AbortError):
        raise error
    status, message = status_of(error)
    if status is grpc.StatusCode.INTERNAL:
        _log.exception("call_failed", error=repr(error))
    # Its frames hold the request, which may be large, while the refusal waits to be sent.
    error.__traceback__ = None
    # The message may contain what a caller sent, and a transport bounds its length.
    message, trailers = message[:_LONGEST], list(context.trailing_metadata() or ())
    if isinstance(error, errors.Overloaded):
        trailers.append((STATUS_DETAILS, retry_details(message, error.retry_s)))
    await context.abort(status, message, tuple(trailers))


#: Seconds that calls under way get to finish when a server stops.
_GRACE_S = 10.0


class Server:
    """A grpc.aio server with health, reflection and headrace's statuses.

    Parameters
    ----------
    bind
        Host and port; port 0 takes a free one, see `address`.
    services
        For each full service name, the function that adds its servicer to a server.
    dependencies
        The dependencies of the process: it is ready while all of them answer.
    needs
        For each service, the dependencies without which it cannot answer.
    limits
        The bounds on what calls may cost.
    """

    def __init__(
        self,
        bind: str,
        services: dict[str, Callable[[grpc.aio.Server], None]],
        *,
        dependencies: Dependencies | None = None,
        needs: Mapping[str, Iterable[str]] | None = None,
        limits: CallLimits = USUAL,
    ) -> None:
        self._dependencies = dependencies or Dependencies()
        self._statuses = _Statuses(self._dependencies, limits)
        self._server = grpc.aio.server(
            interceptors=[self._statuses],
            # Further calls wait in gRPC and are refused there, before they cost anything here.
            maximum_concurrent_rpcs=limits.calls,
            options=[
                ("grpc.server.max_pending_requests", limits.pending),
                ("grpc.server.max_pending_requests_hard_limit", limits.pending),
                ("grpc.max_receive_message_length", limits.message_bytes),
                ("grpc.max_send_message_length", USUAL.message_bytes),
                ("grpc.so_reuseport", 0),
                # By default a client that pings during a long call without an answer is disconnected: "too many pings".
                ("grpc.http2.max_ping_strikes", 0),
            ],
        )
        self._health = _Health(self._dependencies, limits.watches)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        for add in services.values():
            add(self._server)
        self._needs = {name: tuple((needs or {}).get(name, ())) for name in services}
        names = (*services, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        host, _, _ = bind.rpartition(":")
        self.address = f"{host}:{self._server.add_insecure_port(bind)}"
        self._stopping = False
        self._updates = asyncio.Lock()
        self._update: asyncio.Task[None] | None = None

    @property
    def started(self) -> bool:
        """Whether it accepts calls."""
        return self._statuses.started

    async def start(self, *, started: bool = True) -> None:
        """Start listening on the address.

        Parameters
        ----------
        started
            False if the service must connect first: until `begin`, calls are refused as unavailable, and the
            health check reports that the process is live but not ready.
        """
        self._statuses.started = started
        running = asyncio.get_running_loop()
        self._dependencies.notify(lambda: call_in(running, self._on_change))
        await self._tell_health()
        await self._server.start()

    async def begin(self) -> None:
        """Accept calls: the service has started."""
        self._statuses.started = True
        await self._tell_health()

    async def stop(self, grace: float | None = None) -> None:
        """Report NOT_SERVING, let the calls under way finish within `grace` seconds, and close.

        By default they get 10 seconds; watches of the health alone get none.
        """
        if grace is None:
            grace = _GRACE_S if self._needs else 0.0
        self._stopping = True
        await self._tell_health()
        await self._server.stop(grace)

    def _on_change(self) -> None:
        self._update = asyncio.create_task(self._tell_health())

    async def _tell_health(self) -> None:
        async with self._updates:
            await self._set(LIVE, not self._stopping)
            await self._set("", self._answers(None))
            for name, needs in self._needs.items():
                await self._set(name, self._answers(needs))

    def _answers(self, needs: Iterable[str] | None) -> bool:
        return self._statuses.started and not self._stopping and not self._dependencies.unreachable(needs)

    async def _set(self, name: str, serving: bool) -> None:
        states = health_pb2.HealthCheckResponse
        await self._health.set(name, states.SERVING if serving else states.NOT_SERVING)
