"""The skeleton of a service process: arguments, settings, logs, signals, readiness, status and exit code.

A service describes itself as a `Program` and implements `App`; `run` does everything that all services share.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import Any, Generic, NoReturn, Protocol, TypeVar, get_args, get_origin

import grpc
import redis
import structlog

from headrace.errors import HeadraceError, InvalidSettings
from headrace.runtime import logging
from headrace.runtime.grpc.call_limits import USUAL, CallLimits
from headrace.runtime.grpc.server import Server
from headrace.runtime.pulsar import connection, probe
from headrace.runtime.readiness import Dependencies, call_in
from headrace.runtime.redis.connection import connect_without_retries
from headrace.runtime.redis.probe import store as watched_store
from headrace.runtime.redis.status import Heartbeat, Pace, ServiceStatus, StatusBoard
from headrace.runtime.settings import ServiceSettings
from headrace.wire.topics import Topics

_log = structlog.get_logger()
_Settings = TypeVar("_Settings", bound=ServiceSettings)

#: Seconds that a beat waits for the store: the status is renewed more often than it expires.
_STORE_TIMEOUT_S = 2.0

#: Seconds that a process waits, when it ends, for a beat under way.
_GRACE_S = 5.0


@dataclass(frozen=True)
class Endpoint:
    """The gRPC services of a process; health and reflection come with every server.

    Attributes
    ----------
    services
        For each full service name, the function that adds its servicer to a server.
    needs
        For each service, the dependencies without which it cannot answer.
    limits
        The bounds on what calls may cost.
    """

    services: Mapping[str, Callable[[grpc.aio.Server], None]] = field(default_factory=dict)
    needs: Mapping[str, Iterable[str]] = field(default_factory=dict)
    limits: CallLimits = USUAL


class App(Protocol):
    """The work of one service. `Service.run` calls the methods in this order; `report` at each beat in between."""

    @property
    def endpoint(self) -> Endpoint:
        """The gRPC services of the process."""
        ...

    async def prepare(self) -> None:
        """Do what must be done before the process listens."""

    async def start(self) -> None:
        """Start the work; calls are refused until this returns.

        It may wait for a server, but returns once `Service.stopping` is set.
        """
        ...

    def report(self, status: ServiceStatus) -> None:
        """Update the status, in the heartbeat's thread. It already has the state that the dependencies give it."""
        ...

    async def stop(self) -> None:
        """Save and end the work, after the last call has been answered; also if `start` failed."""
        ...

    def join(self) -> None:
        """Wait for the threads that only the closing of the broker's client ends."""


class HeartbeatThread(threading.Thread):
    """A thread that publishes the status when a beat is due, and skips beats while a server is away.

    Parameters
    ----------
    report
        Updates the status before each beat.
    failed
        Called with an unexpected error; no further beat follows it.
    """

    def __init__(
        self,
        heartbeat: Heartbeat,
        pace: Pace,
        report: Callable[[], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._heartbeat = heartbeat
        self._pace = pace
        self._report = report
        self._failed = failed
        self._skipped = False

    def run(self) -> None:
        """Publish until stopped."""
        try:
            self._beat()
            while self._pace.wait():
                self._beat()
        except Exception as error:
            self._failed(error)

    def stop(self) -> None:
        """Stop, and remove the service from the board."""
        self._pace.end()
        if self.ident is None:
            return
        self.join(_GRACE_S)
        try:
            self._heartbeat.end()
        except redis.RedisError as error:
            _log.warning("status_not_removed", reason=str(error))

    def _beat(self) -> None:
        try:
            self._report()
            self._heartbeat.beat()
        except (HeadraceError, redis.RedisError) as error:
            if not self._skipped:  # the watch on the server logs each retry
                _log.warning("status_not_written", reason=str(error))
            self._skipped = True
        else:
            self._skipped = False


class Service(Generic[_Settings]):
    """One process of a service: its settings, its connections and its status.

    It is created on the event loop that it runs on.

    Attributes
    ----------
    loop
        The compiled loop.
    client
        The broker's client; it is closed after the app has stopped.
    dependencies
        The broker and the store, named ``broker`` and ``store``.
    pace
        Decides when the next beat of the status is due; its `wake` says that something has changed.
    stopping
        Set when the process is to end.
    """

    def __init__(self, name: str, settings: _Settings) -> None:
        self.name = name
        self.settings = settings
        self.loop = settings.definition()
        self.topics = Topics(self.loop.name, settings.namespace)
        self.client = connection.connect(settings)
        self.dependencies = Dependencies(
            probe.broker(self.client, settings.pulsar_url, self.topics.dead_letters), watched_store(settings.redis_url)
        )
        self.pace = Pace()
        self.stopping = asyncio.Event()
        self._event_loop = asyncio.get_running_loop()
        self._failure: BaseException | None = None
        # A connection of its own, so that no other command delays a beat.
        self._store = connect_without_retries(settings.redis_url, _STORE_TIMEOUT_S)
        status = ServiceStatus(service=name, instance=settings.instance)
        self.heartbeat = Heartbeat(StatusBoard(self._store, self.loop.name), status)

    def count(self, name: str, by: int = 1) -> None:
        """Add to a counter of the status."""
        self.heartbeat.count(name, by)
        self.pace.wake()

    def stop(self) -> None:
        """End the process, from any thread."""
        call_in(self._event_loop, self.stopping.set)

    def fail(self, error: BaseException) -> None:
        """End the process with an error, from any thread; the first one counts."""
        if self._failure is None and not self.stopping.is_set():
            _log.error("worker_failed", error=repr(error), exc_info=error)
            self._failure = error
            self.stop()

    async def run(self, make: Callable[[Service[_Settings]], App]) -> None:
        """Run an app until SIGTERM or SIGINT, or until it fails.

        Raises
        ------
        BaseException
            The error with which it failed.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            self._event_loop.add_signal_handler(number, self.stopping.set)
        app = make(self)
        endpoint = app.endpoint
        server = Server(
            self.settings.bind,
            dict(endpoint.services),
            dependencies=self.dependencies,
            needs=endpoint.needs,
            limits=endpoint.limits,
        )
        self.heartbeat.status.address = server.address
        # The stack ends everything in the reverse order, also after an error.
        async with AsyncExitStack() as stack:
            stack.push_async_callback(asyncio.to_thread, self.dependencies.join)
            stack.push_async_callback(asyncio.to_thread, app.join)
            stack.push_async_callback(asyncio.to_thread, self.client.close)
            await self._begin(app, server, stack)
            await self.stopping.wait()
        if self._failure is not None:
            raise self._failure
        _log.info("stopped")

    async def _begin(self, app: App, server: Server, stack: AsyncExitStack) -> None:
        beats = HeartbeatThread(self.heartbeat, self.pace, lambda: self._report(app, server), self.fail)
        stack.push_async_callback(asyncio.to_thread, beats.stop)
        stack.callback(self.dependencies.stop)
        self.dependencies.notify(self.pace.wake)
        self.dependencies.start()
        await app.prepare()
        stack.push_async_callback(app.stop)
        stack.push_async_callback(server.stop)
        await server.start(started=False)
        beats.start()
        await app.start()
        if not self.stopping.is_set():
            await server.begin()
            self.pace.wake(at_once=True)  # `headrace up` waits for it
            _log.info("ready", address=server.address, loop=self.loop.name)

    def _report(self, app: App, server: Server) -> None:
        status = self.heartbeat.status
        status.state = self.dependencies.state() if server.started else "starting"
        status.note = ""
        app.report(status)
        status.note = self.dependencies.note(status.note)


@dataclass(frozen=True, kw_only=True)
class Program(Generic[_Settings]):
    """A service as a program.

    Attributes
    ----------
    settings
        The type of its settings.
    app
        Makes its app, on the event loop.
    options
        The names of settings that are also command-line options, beside `loop`.
    event_loop
        Makes its event loop; by default asyncio's.
    """

    name: str
    description: str
    settings: type[_Settings]
    app: Callable[[Service[_Settings]], App]
    options: Sequence[str] = ()
    event_loop: Callable[[], asyncio.AbstractEventLoop] | None = None


def run(program: Program[Any]) -> NoReturn:
    """Run a service with the settings of the command line and the environment, and end this process.

    The exit code is 0 after a signal, 2 for settings that are refused, and 1 for everything else, which is logged.
    """
    parser = _parser(program)
    options = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    # Faust reads the process's arguments when it is imported, and takes `--loop` for its own.
    del sys.argv[1:]
    code = 1
    try:
        settings = program.settings(**options)
        logging.configure(program.name, settings.instance)
        with asyncio.Runner(loop_factory=program.event_loop) as runner:
            runner.run(_serve(program, settings))
        code = 0
    except InvalidSettings as error:
        parser.error(str(error))
    except (HeadraceError, OSError) as error:
        _log.error("service_failed", program=parser.prog, reason=str(error))
    except Exception as error:
        _log.error("service_failed", program=parser.prog, reason=repr(error), exc_info=error)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # the disk may be full
            stream.flush()
    # Everything to be saved is saved and closed. Threads of the broker's client can abort an interpreter that shuts
    # down: after a restart of the broker, or if an error left the client open.
    os._exit(code)


async def _serve(program: Program[_Settings], settings: _Settings) -> None:
    await Service(program.name, settings).run(program.app)


def _parser(program: Program[Any]) -> argparse.ArgumentParser:
    prog = f"headrace-{program.name}"
    parser = argparse.ArgumentParser(
        prog=prog,
        description=f"{program.description} All other settings come from the environment (HEADRACE_...).",
        epilog=f"Example: {prog} --loop loop.json",
    )
    for name in ("loop", *program.options):
        setting = program.settings.model_fields[name]
        several = any(get_origin(kind) is tuple for kind in (setting.annotation, *get_args(setting.annotation)))
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            action="append" if several else "store",
            help=f"{setting.description} (HEADRACE_{name.upper()})" + ("; may be repeated" if several else ""),
        )
    return parser
