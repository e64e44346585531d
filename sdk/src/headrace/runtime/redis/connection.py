"""Connecting to the online store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import redis
from redis.backoff import ExponentialBackoff
from redis.client import Pipeline
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
        if is_wrong_type(error):
            raise Unreadable("a key of the store", f"it has another type: {error}", REMAKE) from error
        raise Unavailable(f"store: {error}") from error
    except redis.RedisError as error:
        raise Unavailable(f"store: {error}") from error


@contextmanager
def typed_keys(store: redis.Redis, types: Mapping[str, str]) -> Iterator[None]:
    """Turn the client's errors into headrace's, and name the key that holds another type: a script's error does not.

    Parameters
    ----------
    types
        By key, the type that headrace writes.

    Raises
    ------
    Unavailable
        The store does not answer, or refuses for lack of space.
    Unreadable
        A key holds another type: trying again does not help.
    """
    with store_errors():
        try:
            yield
        except redis.ResponseError as error:
            if is_wrong_type(error):
                _refuse_wrong_key(store, types)
            raise


def _refuse_wrong_key(store: redis.Redis, types: Mapping[str, str]) -> None:
    for key, expected in types.items():
        reply: bytes = store.type(key)  # type: ignore[assignment]
        found = reply.decode()
        if found not in (expected, "none"):
            raise Unreadable(f"the key {key} of the store", f"it has another type: {found}, not {expected}", REMAKE)


def readable_replies(pipe: Pipeline) -> list[Any]:
    """Execute a pipeline; the reply to a command on a key that holds another type is None.

    Raises
    ------
    Unavailable
        The store does not answer, or refuses a command for another reason.
    """
    with store_errors():
        replies = pipe.execute(raise_on_error=False)
        for reply in replies:
            if isinstance(reply, redis.RedisError) and not is_wrong_type(reply):
                raise reply
    return [None if isinstance(reply, redis.RedisError) else reply for reply in replies]


def is_wrong_type(error: Exception) -> bool:
    """Return whether a command was refused because its key holds another type."""
    return "WRONGTYPE" in str(error)
