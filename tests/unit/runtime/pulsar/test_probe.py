"""The broker's probe: its requests, and its report of a broker that is away."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pulsar
import pytest

from headrace.embedded.ports import HOST, free_port
from headrace.runtime.pulsar.probe import broker

TOPIC = "persistent://public/default/shop-models"


class Client:
    """A client that counts lookups; they fail while `failure` is set."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.failure: Exception | None = None

    def get_topic_partitions(self, topic: str) -> list[str]:
        self.asked.append(topic)
        if self.failure:
            raise self.failure
        return [topic]


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server((HOST, 0)) as server:
        server.setblocking(False)
        yield server


def connections(listener: socket.socket) -> int:
    """Return how many connections were made since the last check."""
    count = 0
    while True:
        try:
            listener.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1


def test_nobody_at_the_address_is_told_without_a_lookup() -> None:
    client: Any = Client()
    dependency = broker(client, f"pulsar://{HOST}:{free_port()}", TOPIC)
    with pytest.raises(ConnectionRefusedError):
        dependency.probe()
    assert client.asked == []


def test_one_address_of_several_is_enough(listener: socket.socket) -> None:
    client: Any = Client()
    port = listener.getsockname()[1]
    broker(client, f"pulsar://{HOST}:{free_port()},{HOST}:{port}", TOPIC).probe()
    assert client.asked == [TOPIC]


def test_a_broker_that_answers_gets_no_further_connections(listener: socket.socket) -> None:
    client: Any = Client()
    dependency = broker(client, f"pulsar://{HOST}:{listener.getsockname()[1]}", TOPIC)
    for _ in range(3):
        dependency.probe()
    assert (len(client.asked), connections(listener)) == (3, 1)
    client.failure = pulsar.Timeout()
    with pytest.raises(pulsar.Timeout):
        dependency.probe()
    client.failure = None
    dependency.probe()
    assert connections(listener) == 1
