"""The online store as a dependency of a service."""

from __future__ import annotations

from headrace.runtime.readiness import Dependency, public_address
from headrace.runtime.redis.connection import connect_without_retries

#: Timeout of a probe, in seconds.
_TIMEOUT = 3.0


def store(url: str) -> Dependency:
    """Watch the store with pings on a connection of its own, which no other command can delay.

    A store that is still loading its file refuses pings.
    """
    client = connect_without_retries(url, _TIMEOUT)

    def probe() -> None:
        client.ping()

    return Dependency("store", public_address(url), probe)
