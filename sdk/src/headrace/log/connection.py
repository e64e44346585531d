"""Connecting to a broker."""

from __future__ import annotations

import pulsar

from headrace.errors import Unavailable
from headrace.settings import ServiceSettings


def connect(settings: ServiceSettings) -> pulsar.Client:
    """A client of the settings' broker. It connects with its first producer or consumer."""
    token = settings.pulsar_token
    return pulsar.Client(
        settings.pulsar_url,
        authentication=pulsar.AuthenticationToken(token.get_secret_value()) if token else None,
        operation_timeout_seconds=10,
        listener_name=settings.pulsar_listener,
        io_threads=1,
        message_listener_threads=1,
        logger=pulsar.FileLogger(pulsar.LoggerLevel.Error, "/dev/null"),
    )


def partitions(client: pulsar.Client, topic: str) -> list[str]:
    """The physical topics of a topic: itself, where it is not partitioned.

    Raises
    ------
    Unavailable
        The broker does not answer.
    """
    try:
        return list(client.get_topic_partitions(topic))
    except pulsar.PulsarException as error:
        raise Unavailable(f"broker: cannot look up {topic}: {error}") from error
