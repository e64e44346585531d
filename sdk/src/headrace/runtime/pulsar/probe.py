"""The broker as a dependency of a service."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import pulsar

from headrace.runtime.readiness import Dependency, public_address

_PORTS = {"pulsar": 6650, "pulsar+ssl": 6651, "http": 80, "https": 443}

#: Timeout of a connection, in seconds.
_TIMEOUT = 3.0


def broker(client: pulsar.Client, url: str, topic: str) -> Dependency:
    """Watch the broker by looking up a topic that the service uses anyway.

    Parameters
    ----------
    client
        The service's own client: it is the one that has to reach the broker.
    """
    return Dependency("broker", public_address(url), _Probe(client, url, topic))


class _Probe:
    """Lookup of a topic; after a failure it first tries a bare connection, which fails at once and says why.

    The client repeats a lookup for ten seconds and then reports a timeout, whatever the reason. No bare connection is
    made while the broker answers: it would log each one.
    """

    def __init__(self, client: pulsar.Client, url: str, topic: str) -> None:
        self._client = client
        self._url = url
        self._topic = topic
        self._reached = False

    def __call__(self) -> None:
        reached, self._reached = self._reached, False
        if not reached:
            _connect(self._url)
        self._client.get_topic_partitions(self._topic)
        self._reached = True


def _connect(url: str) -> None:
    """Connect to one of the addresses of a URL.

    Raises
    ------
    OSError
        No address accepts a connection.
    """
    scheme, _, hosts = public_address(url).partition("://")
    failure: OSError | None = None
    for host in hosts.partition("/")[0].split(","):
        parts = urlsplit(f"//{host}")
        try:
            socket.create_connection((parts.hostname or "", parts.port or _PORTS[scheme]), _TIMEOUT).close()
        except OSError as error:
            failure = error
        else:
            return
    if failure is not None:
        raise failure
