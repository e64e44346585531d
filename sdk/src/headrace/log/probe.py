"""The broker as a dependency of a service."""

from __future__ import annotations

import pulsar

from headrace.readiness import Dependency, public_address


def broker(client: pulsar.Client, url: str, topic: str) -> Dependency:
    """Watch the broker by looking up a topic that the service uses anyway.

    Parameters
    ----------
    client
        The service's own client: it is the one that has to reach the broker.
    """

    def probe() -> None:
        client.get_topic_partitions(topic)

    return Dependency("broker", public_address(url), probe)
