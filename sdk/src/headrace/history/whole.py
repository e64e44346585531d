"""Reading a log as it stands, from its beginning to its end."""

from __future__ import annotations

from collections.abc import Iterator

import pulsar

from headrace.log.consume import Batch, LogReader


def read_whole(client: pulsar.Client, topic: str, max_messages: int = 5_000, queue: int = 5_000) -> Iterator[Batch]:
    """All that stands in a physical topic; it ends where the log ends by then.

    Raises
    ------
    Unavailable
        The broker does not answer.
    """
    reader = LogReader(client, topic, queue=queue)
    try:
        while True:
            batch = reader.receive(max_messages)
            if batch:
                yield batch
            elif not reader.more():
                return
    finally:
        reader.close()
