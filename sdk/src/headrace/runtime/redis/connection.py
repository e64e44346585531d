"""Connecting to the online store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from headrace.errors import Unavailable, Unreadable

#: How to rebuild state that is lost or damaged.
REMAKE = "`headrace backfill --again` makes the state from the logs"


def connect(url: str) -> redis.Redis:
    """Return a client of the store; it connects with its first command, and again after a fault."""
    return redis.Redis.from_url(
        url,
        protocol=2,
        health_check_interval=30,
        socket_timeout=30,
        retry=Retry(ExponentialBackoff(cap=1.0, base=0.05), 3),
        retry_on_error=[redis.ConnectionError, redis.TimeoutError],
    )


def connect_without_retries(url: str, timeout_s: float = 5.0) -> redis.Redis:
    """Return a client of the store whose commands fail after a time: for heartbeats, probes and displays."""
    return redis.Redis.from_url(url, protocol=2, socket_timeout=timeout_s, socket_connect_timeout=timeout_s)


@contextmanager
def store_errors() -> Iterator[None]:
    """Turn the client's errors into headrace's.

    Raises
    ------
    Unavailable
        The store does not answer, or refuses for lack of space.
    Unreadable
        A key holds another type than headrace writes there: trying again does not help.
    """
    try:
        yield
    except redis.ResponseError as error:
        if "WRONGTYPE" in str(error):
            raise Unreadable("a key of the store", f"it has another type: {error}", REMAKE) from error
        raise Unavailable(f"store: {error}") from error
    except redis.RedisError as error:
        raise Unavailable(f"store: {error}") from error
