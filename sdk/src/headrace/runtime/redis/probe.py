"""The online store as a dependency of a service."""

from __future__ import annotations

import redis

from headrace.runtime.readiness import Dependency, public_address

#: Timeout of a probe, in seconds.
_TIMEOUT = 3.0


def store(url: str) -> Dependency:
    """Watch the store with pings on a connection of its own, which no other command can delay.

    A store that is still loading its file refuses pings.
    """
    client = redis.Redis.from_url(url, protocol=2, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT)

    def probe() -> None:
        client.ping()

    return Dependency("store", public_address(url), probe)
