"""Connecting to the online store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from headrace.errors import Unavailable


def connect(url: str) -> redis.Redis:
    """A client of the store; it connects with its first command, and again after a fault."""
    return redis.Redis.from_url(
        url,
        protocol=2,
        health_check_interval=30,
        socket_timeout=30,
        retry=Retry(ExponentialBackoff(cap=1.0, base=0.05), 3),
        retry_on_error=[redis.ConnectionError, redis.TimeoutError],
    )


@contextmanager
def store_errors() -> Iterator[None]:
    """Turn the client's faults into headrace's.

    Raises
    ------
    Unavailable
        The store does not answer, or refuses for want of room.
    """
    try:
        yield
    except redis.RedisError as error:
        raise Unavailable(f"store: {error}") from error
