"""The connection of a client: one channel, a limit on calls under way, deadlines and retries; internal."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cached_property
from typing import Any, TypeVar

import grpc

from headrace.client.attempts import Attempts, CallRules
from headrace.client.failures import CONNECTION_LOST, error_of
from headrace.errors import ClientClosed, Unavailable

#: Bytes of an answer: as many as the services send. gRPC for Python accepts 4 MiB by default.
_ANSWER_BYTES = 16 * 2**20

_OPTIONS = (
    ("grpc.max_receive_message_length", _ANSWER_BYTES),
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_time_ms", 60_000),
    # A service that restarts is found again within seconds; by default gRPC waits up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)

#: Seconds that the status of a service may take to follow gRPC's internal error, and those between two looks at it.
_STATUS_S, _LOOK_S = 1.0, 0.001

_Result = TypeVar("_Result")


class Connection:
    """A channel to a service, which all calls of a client share."""

    def __init__(self, rules: CallRules) -> None:
        self.rules = rules
        self._slots = threading.BoundedSemaphore(rules.concurrency)
        self._closed = threading.Event()
        self.channel = grpc.insecure_channel(rules.peer.address, options=_OPTIONS)

    def call(self, method: Callable[..., Any], request: Any, timeout: float | None = None) -> Any:
        """Call a method with one request, again if need be; return its answer.

        Raises
        ------
        HeadraceError
            The service refused the call, or does not answer.
        """
        attempts = Attempts(self.rules, timeout)
        if not self._slots.acquire(timeout=attempts.remaining_s()):
            raise attempts.deadline_exceeded()
        try:
            return self._retry(lambda timeout_s: method(request, timeout=timeout_s), attempts)
        finally:
            self._slots.release()

    def retry(self, attempt: Callable[[float | None], _Result], timeout: float) -> _Result:
        """Run an attempt, again if need be; it gets the seconds that remain. It does not count as a call under way."""
        return self._retry(attempt, Attempts(self.rules, timeout))

    def pause(self, seconds: float) -> None:
        """Wait before the next attempt.

        Raises
        ------
        ClientClosed
            The client was closed.
        """
        if self._closed.wait(seconds):
            raise ClientClosed(str(self.rules.peer))

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Raise headrace's errors in place of gRPC's."""
        if self._closed.is_set():
            raise ClientClosed(str(self.rules.peer))
        try:
            yield
        except grpc.RpcError as error:
            if self._closed.is_set():
                raise ClientClosed(str(self.rules.peer)) from error
            raise error_of(error, self.rules.peer) from error
        except ValueError as error:
            # gRPC raises it for a channel that was closed meanwhile.
            if self._closed.is_set():
                raise ClientClosed(str(self.rules.peer)) from error
            raise

    def close(self) -> None:
        """End the calls under way, and close the channel."""
        self._closed.set()
        self.channel.close()

    def _retry(self, attempt: Callable[[float | None], _Result], attempts: Attempts) -> _Result:
        while True:
            try:
                with self.errors():
                    return attempt(attempts.remaining_s())
            except Unavailable as error:
                pause = attempts.pause_after(error)
            self.pause(pause)


class AsyncConnection:
    """A channel to a service, which all calls of an asynchronous client share.

    It belongs to the event loop in which it is first used.
    """

    def __init__(self, rules: CallRules) -> None:
        self.rules = rules
        self._slots = asyncio.Semaphore(rules.concurrency)
        self._closed = False

    @cached_property
    def channel(self) -> grpc.aio.Channel:
        """The channel, which is made in the event loop that uses it."""
        return grpc.aio.insecure_channel(self.rules.peer.address, options=_OPTIONS)

    async def call(self, method: Callable[..., Any], request: Any, timeout: float | None = None) -> Any:
        """Call a method, as `Connection.call` does."""
        attempts = Attempts(self.rules, timeout)
        async with self._slot(attempts):
            return await self._retry(lambda timeout_s: method(request, timeout=timeout_s), attempts)

    async def retry(self, attempt: Callable[[float | None], Awaitable[_Result]], timeout: float) -> _Result:
        """Run an attempt, as `Connection.retry` does."""
        return await self._retry(attempt, Attempts(self.rules, timeout))

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Raise headrace's errors in place of gRPC's."""
        if self._closed:
            raise ClientClosed(str(self.rules.peer))
        try:
            yield
        except grpc.RpcError as error:
            raise error_of(error, self.rules.peer) from error
        except asyncio.CancelledError as error:
            # A channel that closes cancels its calls, not the tasks that wait for them.
            task = asyncio.current_task()
            if self._closed and not (task and task.cancelling()):
                raise ClientClosed(str(self.rules.peer)) from error
            raise

    async def close(self) -> None:
        """End the calls under way, and close the channel."""
        self._closed = True
        if "channel" in vars(self):
            await self.channel.close(None)

    @asynccontextmanager
    async def _slot(self, attempts: Attempts) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(attempts.remaining_s()):
                await self._slots.acquire()
        except TimeoutError:
            raise attempts.deadline_exceeded() from None
        try:
            yield
        finally:
            self._slots.release()

    async def _retry(self, attempt: Callable[[float | None], Awaitable[_Result]], attempts: Attempts) -> _Result:
        while True:
            try:
                with self.errors():
                    return await attempt(attempts.remaining_s())
            except Unavailable as error:
                pause = attempts.pause_after(error)
            await asyncio.sleep(pause)


class StreamEnd:
    """The end of an asynchronous call with a stream of requests.

    If a service ends a call while a request is being sent, gRPC gives the call two statuses, in either order: that of
    the service, and an internal error, because the request could not be sent. The second one replaces the first.
    """

    def __init__(self, call: Any) -> None:
        self._call = call
        self._error: grpc.aio.AioRpcError | None = None
        call.add_done_callback(self._note)

    @asynccontextmanager
    async def status(self) -> AsyncIterator[None]:
        """Raise the status of the service, if there is one, in place of the internal error."""
        try:
            yield
        except grpc.aio.AioRpcError as error:
            if error.details() != CONNECTION_LOST:
                raise
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_STATUS_S):
                    while self._error is None:
                        await asyncio.sleep(_LOOK_S)
                        self._note(self._call)
            raise self._error or error from None

    def _note(self, _call: object) -> None:
        call = self._call
        details = _result_of(call.details())
        if details != CONNECTION_LOST:
            self._error = grpc.aio.AioRpcError(
                _result_of(call.code()),
                _result_of(call.initial_metadata()),
                _result_of(call.trailing_metadata()),
                details,
                _result_of(call.debug_error_string()),
            )


def _result_of(coroutine: Coroutine[Any, Any, _Result]) -> _Result:
    """Return the result of a coroutine that has nothing to wait for, as those of a call that has ended."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: _Result = end.value
        return result
    raise RuntimeError(f"{coroutine} waits for something")
