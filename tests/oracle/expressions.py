"""Evaluate expressions, one event at a time.

A missing value is None; conditions are 1.0 and 0.0. A missing argument makes the result missing, except for
`is_missing` and `fill`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from headrace.definition import Aggregate, Apply, Column, Expression, Literal

Value = float | str | None

_HOUR = 3_600_000_000
_DAY = 24 * _HOUR


def evaluate(node: Expression, fields: dict[str, Any], read: Callable[[Aggregate], Value] = lambda node: None) -> Value:
    """Return the value of an expression over an event's fields; `read` gives the value of an aggregate."""
    if isinstance(node, Literal):
        return _plain(node.value)
    if isinstance(node, Column):
        return _plain(fields.get(node.name))
    if isinstance(node, Aggregate):
        return read(node)
    if node.operation in ("hour", "weekday"):
        return _apply(node, _moment(node, fields))
    return _apply(node, [evaluate(argument, fields, read) for argument in node.arguments])


def _apply(node: Apply, values: list[Any]) -> Value:
    if node.operation == "is_missing":
        return float(values[0] is None)
    if node.operation == "fill":
        return values[1] if values[0] is None else values[0]
    if None in values:
        return None
    result = _OPERATIONS[node.operation](*values, *([node.parameters] if node.operation in _WITH_PARAMETERS else []))
    if isinstance(result, bool | int):
        return float(result)
    return result if result is None or math.isfinite(result) else None


def _plain(value: Any) -> Value:
    return float(value) if isinstance(value, bool | int) else value


def _moment(node: Apply, fields: dict[str, Any]) -> list[Any]:
    """Return the time for an operation: as an integer, because a float may round into the next hour."""
    return [fields.get(argument.name) for argument in node.arguments if isinstance(argument, Column)]


def _divide(x: float, y: float) -> float | None:
    return x / y if y != 0.0 else None


def _log1p(x: float) -> float | None:
    return math.log1p(x) if x > -1.0 else None


_WITH_PARAMETERS = ("clip", "bins", "is_in")

_OPERATIONS: dict[str, Callable[..., Any]] = {
    "neg": lambda x: -x,
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": _divide,
    "not": lambda x: x == 0.0,
    "and": lambda x, y: x != 0.0 and y != 0.0,
    "or": lambda x, y: x != 0.0 or y != 0.0,
    "eq": lambda x, y: x == y,
    "ne": lambda x, y: x != y,
    "lt": lambda x, y: x < y,
    "le": lambda x, y: x <= y,
    "gt": lambda x, y: x > y,
    "ge": lambda x, y: x >= y,
    "abs": abs,
    "log1p": _log1p,
    "signed_log": lambda x: math.copysign(math.log1p(abs(x)), x),
    "clip": lambda x, limits: min(max(x, limits[0]), limits[1]),
    "bins": lambda x, edges: sum(edge <= x for edge in edges),
    "is_in": lambda x, accepted: x in accepted,
    "hour": lambda x: x % _DAY // _HOUR,
    "weekday": lambda x: (x // _DAY + 3) % 7,  # 1 January 1970 was a Thursday
}
