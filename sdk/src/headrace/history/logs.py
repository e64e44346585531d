"""Reading logs from their beginning to their current end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import pulsar

from headrace.runtime.pulsar.batch import Batch
from headrace.runtime.pulsar.connection import partitions
from headrace.runtime.pulsar.log_reader import read_whole


class Logs(Protocol):
    """The logs of a loop's topics."""

    def partitions(self, topic: str) -> list[str]:
        """Return the physical topics of a topic, in order."""
        ...

    def read(self, physical: str, size: int = 5_000) -> Iterator[Batch]:
        """Yield the messages of a physical topic, at most `size` at a time; stop at the current end of the log.

        Raises
        ------
        Unavailable
            The broker does not answer.
        """
        ...


class BrokerLogs:
    """The logs of a broker."""

    def __init__(self, client: pulsar.Client) -> None:
        self._client = client
        self._partitions: dict[str, list[str]] = {}

    def partitions(self, topic: str) -> list[str]:
        """See `Logs.partitions`."""
        if topic not in self._partitions:
            self._partitions[topic] = partitions(self._client, topic)
        return self._partitions[topic]

    def read(self, physical: str, size: int = 5_000) -> Iterator[Batch]:
        """See `Logs.read`."""
        return read_whole(self._client, physical, size)


#: Batch size for topics with large messages.
FEW = 16
