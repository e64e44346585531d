"""Connecting to a broker."""

from __future__ import annotations

from contextlib import suppress

import pulsar

from headrace.definition import StreamDefinition
from headrace.errors import Unavailable, WrongPartitions
from headrace.runtime.settings import ServiceSettings


def connect(settings: ServiceSettings) -> pulsar.Client:
    """Return a client of the settings' broker. It connects with its first producer or consumer."""
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


def close(subscription: pulsar.Consumer | pulsar.Reader) -> None:
    """Close a consumer or a reader, whatever state it is in.

    The client raises an error if the broker is unreachable, which closes it too, or if it is already closed.
    """
    with suppress(pulsar.PulsarException, ValueError):
        subscription.close()


def partitions(client: pulsar.Client, topic: str) -> list[str]:
    """Return the physical topics of a topic: the topic itself if it is not partitioned.

    Raises
    ------
    Unavailable
        The broker does not answer.
    """
    try:
        return list(client.get_topic_partitions(topic))
    except pulsar.PulsarException as error:
        raise Unavailable(f"broker: cannot look up {topic}: {error}") from error


def declared_partitions(client: pulsar.Client, topic: str, stream: StreamDefinition) -> list[str]:
    """Return the physical topics of a stream, or of its outputs: one for each partition of the stream.

    With fewer topics, the outputs of several partitions would share one, and readers would take the outputs of one
    partition for those of a superseded owner of another.

    Raises
    ------
    WrongPartitions
        There are fewer, or more.
    Unavailable
        The broker does not answer.
    """
    physical = partitions(client, topic)
    if len(physical) != stream.partitions:
        cure = _cure(topic, physical, stream.partitions)
        raise WrongPartitions(topic, len(physical), stream.partitions, stream.name, cure=cure)
    return physical


def _cure(topic: str, physical: list[str], count: int) -> str:
    if physical == [topic]:
        return (
            "where it is not there yet, `headrace apply` creates it so; a plain topic has to go first "
            f"(`pulsar-admin topics delete {topic}`), or the stream declares 1"
        )
    if len(physical) < count:
        return f"`pulsar-admin topics update-partitioned-topic {topic} -p {count}` adds what is missing"
    return (
        f"none can be taken away, so the stream declares {len(physical)}, or `headrace apply` creates it anew after "
        f"`pulsar-admin topics delete-partitioned-topic {topic}`"
    )
