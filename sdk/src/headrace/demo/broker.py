"""A client of the demo's broker."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pulsar

from headrace.embedded import RunningLoop


@contextmanager
def connected(running: RunningLoop) -> Iterator[pulsar.Client]:
    """Yield a client that logs nothing, and close it."""
    client = pulsar.Client(running.pulsar_url, logger=pulsar.FileLogger(pulsar.LoggerLevel.Error, os.devnull))
    try:
        yield client
    finally:
        client.close()
