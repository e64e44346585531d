"""Checks of the arguments of the clients: an error names the argument, its value and what was expected; internal."""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, Iterable, Mapping
from datetime import datetime
from numbers import Integral, Real
from typing import TypeGuard

from headrace.errors import InvalidRequest
from headrace.wording import microseconds, quoted

_ADDRESS = "host:port of the service"
_HOST_AND_PORT = re.compile(r"(\[[^\]\s]+\]|[^\[\]:/\s]+):\d{1,5}")
_SCHEMES = ("dns:", "ipv4:", "ipv6:", "unix:", "unix-abstract:")


def time_limit(field: str, value: object) -> float:
    """Return the time limit (s) of one call; with 0, which a caller may have computed, its time is over."""
    if _is_number(value) and float(value) >= 0:
        return float(value)
    raise InvalidRequest(field, repr(value), "seconds, 0 or more")


def positive_seconds(field: str, value: object) -> float:
    """Return a time (s) that is not zero."""
    if _is_number(value) and float(value) > 0:
        return float(value)
    raise InvalidRequest(field, repr(value), "seconds, more than 0")


def whole_number(field: str, value: object, least: int) -> int:
    """Return a whole number with a lower bound."""
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
        raise InvalidRequest(field, repr(value), f"a whole number, {least} or more")
    return int(value)


def text(field: str, value: object, expected: str) -> str:
    """Return a text."""
    if not isinstance(value, str):
        raise InvalidRequest(field, repr(value), expected)
    return value


def service_address(field: str, value: object) -> str:
    """Return the address of a service: a host with its port, or a target with one of gRPC's schemes."""
    address = text(field, value, _ADDRESS)
    if not _HOST_AND_PORT.fullmatch(address) and not address.startswith(_SCHEMES):
        raise InvalidRequest(field, quoted(address) if address else "empty", _ADDRESS)
    return address


def moment(field: str, value: object) -> int:
    """Return a time in µs since the epoch."""
    if isinstance(value, datetime):
        return microseconds(value)
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise InvalidRequest(field, repr(value), "a datetime, or microseconds since the epoch as a whole number")
    return int(value)


def check_many(field: str, value: object, expected: str) -> None:
    """Refuse a single thing where several are expected; a text or a mapping is a single thing that can be iterated."""
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, (Iterable, AsyncIterable)):
        raise InvalidRequest(field, f"of type {type(value).__name__}", expected)


def _is_number(value: object) -> TypeGuard[Real]:
    return isinstance(value, Real) and not isinstance(value, bool)
