"""The broker and the store of one loop."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from headrace.embedded import brokers
from headrace.embedded.data_directory import is_full
from headrace.embedded.processes import HANGS, log_report
from headrace.embedded.server_failures import write_failures
from headrace.embedded.server_keeper import Keeper
from headrace.embedded.servers import PLATFORMS, Broker, Server, Store, platform
from headrace.errors import InvalidRequest, Unavailable
from headrace.wording import public_address, quoted

_REPAIR_EVERY_S = 20.0
_PORTS = {"broker": 6650, "store": 6379}
_URLS = {"broker": "pulsar://broker:6650", "store": "redis://store:6379/0"}


class Servers:
    """The broker and the store of a loop: local ones, unless their URL is given.

    Parameters
    ----------
    data
        The directory of the loop's state.
    pulsar, redis
        URLs of servers that are already running; for `pulsar` also ``"official"``: the official Apache Pulsar
        from any source that this machine has, or else the small broker.
    pulsar_admin
        The admin API of a broker that is already running.
    conf
        Further settings of an official broker that is started here.
    say
        Called with a message about a long step, a fallback, or a server that ended and is started again.
    keeps
        Whether a server that has ended is started again.

    Examples
    --------
        with Servers(data) as servers:
            client = pulsar.Client(servers.pulsar_url)
            store = redis.Redis.from_url(servers.redis_url)
    """

    def __init__(
        self,
        data: Path | str,
        *,
        pulsar: str | None = None,
        redis: str | None = None,
        pulsar_admin: str | None = None,
        conf: Mapping[str, str] | None = None,
        say: Callable[[str], None] = log_report,
        keeps: Callable[[], bool] = lambda: True,
    ) -> None:
        if pulsar == brokers.OFFICIAL and (broker := brokers.given()):
            pulsar, pulsar_admin = broker.url, pulsar_admin or broker.admin_url
        self.broker: Server | None = None
        if pulsar == brokers.OFFICIAL:
            self.broker = brokers.official(data, conf=conf, say=say)
            if self.broker is None:
                say(f"no official Apache Pulsar here, using the small one: {brokers.how_to_get_one()}")
        if pulsar is None or (pulsar == brokers.OFFICIAL and self.broker is None):
            self.broker = Broker(data)
        self.store = None if redis else Store(data)
        self._pulsar_url = "" if self.broker else pulsar or ""
        self._admin_url = pulsar_admin
        self._redis_url = redis or ""
        self._say = say
        self._running = ExitStack()
        self._data = Path(data).absolute()
        self._keeper = Keeper(
            self.local,
            self._data / "logs",
            say=say,
            keeps=keeps,
            is_full=lambda: is_full(self._data),
            on_failures=lambda failures: write_failures(self._data, failures),
        )
        self._repairing = threading.Lock()
        self._repaired_at = -_REPAIR_EVERY_S

    @property
    def pulsar_url(self) -> str:
        return self.broker.url if self.broker else self._pulsar_url

    @property
    def admin_url(self) -> str | None:
        """The broker's admin API, if it is known."""
        return self.broker.admin_url if self.broker else self._admin_url

    @property
    def has_partitions(self) -> bool:
        """Whether the broker has partitioned topics: the small broker has none."""
        return not isinstance(self.broker, Broker)

    @property
    def redis_url(self) -> str:
        return self.store.url if self.store else self._redis_url

    @property
    def urls(self) -> tuple[str, str]:
        """The URLs of the broker and of the store."""
        return self.pulsar_url, self.redis_url

    @property
    def local(self) -> tuple[Server, ...]:
        """The servers that run on this machine."""
        return tuple(server for server in (self.broker, self.store) if server is not None)

    @property
    def failures(self) -> dict[str, str]:
        """For each server that keeps ending, what is known about it."""
        return self._keeper.failures

    def repair(self, words: str) -> str:
        """End the local broker if a service's log shows that it hangs, so that it is started again.

        Return what was done.

        pulsar-lite 0.2 stops answering subscriptions after some of the times that a consumer was killed.
        Ending it loses nothing: messages acknowledged to producers are on disk, and clients reconnect.
        """
        broker = self.broker
        # A broker on a full disk is paused, not hung.
        if not isinstance(broker, Broker) or HANGS.search(words) is None or is_full(self._data):
            return ""
        with self._repairing:
            # Several services may have met the same fault; a broker that has ended is handled by the keeper.
            if time.monotonic() - self._repaired_at < _REPAIR_EVERY_S or broker.has_ended:
                return ""
            self._repaired_at = time.monotonic()
            broker.child.kill()  # the keeper notices this
        return "the local broker no longer answers: it is ended, to be started again"

    def __enter__(self) -> Self:
        for name, url in (("broker", self._pulsar_url), ("store", self._redis_url)):
            if url:
                _knock(name, url)
        if self.local and platform() != PLATFORMS[0]:
            self._say(f"local servers are tested on {PLATFORMS[0]} alone, and this is {platform()}")
        if self.broker is not None and self.has_partitions:
            self._say("starting the official Apache Pulsar, which takes some seconds")
        with ExitStack() as starting:
            for server in self.local:
                starting.enter_context(server)
            write_failures(self._data, {})  # those of an earlier run
            self._keeper.start()
            starting.callback(self._keeper.stop)
            self._running = starting.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._running.close()


def _knock(name: str, url: str) -> None:
    """Check that a server is listening: services that retry would report its absence late, each in its own way."""
    host, port = _address(name, url.partition(",")[0])
    try:
        socket.create_connection((host, port), timeout=5.0).close()
    except OSError as error:
        raise Unavailable(f"{name}: nothing answers at {host}:{port} ({error})") from None


def _address(name: str, url: str) -> tuple[str, int]:
    try:
        at = urlsplit(url)
        host, port = at.hostname, at.port or _PORTS[name]
    except ValueError:
        host, port = None, 0
    if not host:
        raise InvalidRequest(f"the {name}'s URL", quoted(public_address(url)), f"one such as {_URLS[name]}")
    return host, port
