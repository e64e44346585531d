"""What each service process tells of itself: a key with a short life, so that a dead process is not listed."""

from __future__ import annotations

import time

import msgspec
import redis

#: A status that has not been renewed for so long (seconds) is gone.
LIFE = 10


class ServiceStatus(msgspec.Struct, kw_only=True):
    """One service process, as it describes itself each second.

    `rates` are per second; `counters` since the process started, `frontier` is the event time up to
    which its work is done (µs since the epoch); `versions` maps a model to the number of examples
    of the version in use; `metrics` maps a model to its prequential metrics.
    """

    service: str
    instance: str
    state: str = "starting"
    address: str = ""
    started_at: float = msgspec.field(default_factory=time.time)
    updated_at: float = 0.0
    counters: dict[str, int] = {}
    rates: dict[str, float] = {}
    frontier: int | None = None
    lag_s: float | None = None
    versions: dict[str, int] = {}
    metrics: dict[str, dict[str, float]] = {}
    note: str = ""


def status_key(loop: str, service: str, instance: str) -> str:
    return f"headrace:{loop}:status:{service}:{instance}"


class StatusBoard:
    """The statuses of a loop's services."""

    def __init__(self, store: redis.Redis, loop: str) -> None:
        self._store = store
        self._loop = loop

    def write(self, status: ServiceStatus) -> None:
        """Publish a status for the next `LIFE` seconds."""
        status.updated_at = time.time()
        key = status_key(self._loop, status.service, status.instance)
        self._store.set(key, msgspec.json.encode(status), ex=LIFE)

    def remove(self, status: ServiceStatus) -> None:
        """Take a status off the board: its process ends."""
        self._store.delete(status_key(self._loop, status.service, status.instance))

    def read(self) -> list[ServiceStatus]:
        """All services that are alive, by service and instance."""
        keys = sorted(self._store.scan_iter(status_key(self._loop, "*", "*"), count=1000))
        found = (value for value in (self._store.mget(keys) if keys else ()) if value is not None)
        return [msgspec.json.decode(value, type=ServiceStatus) for value in found]


class Heartbeat:
    """Keeps one service's status current, deriving its rates from its counters.

    Call `beat` about once a second.
    """

    def __init__(self, board: StatusBoard, status: ServiceStatus) -> None:
        self.status = status
        self._board = board
        self._before: tuple[float, dict[str, int]] = (time.monotonic(), {})

    def count(self, name: str, by: int = 1) -> None:
        """Add to a counter."""
        self.status.counters[name] = self.status.counters.get(name, 0) + by

    def beat(self) -> None:
        """Compute the rates since the last beat and publish."""
        now, counters = time.monotonic(), dict(self.status.counters)
        then, before = self._before
        elapsed = max(now - then, 1e-3)
        self.status.rates = {name: (value - before.get(name, 0)) / elapsed for name, value in counters.items()}
        self._before = (now, counters)
        self._board.write(self.status)

    def end(self) -> None:
        """Take the service off the board."""
        self._board.remove(self.status)
