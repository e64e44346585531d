"""The text of compiled expressions."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from headrace.declare.expressions import applied_text, constant_text, whole_text
from headrace.definition import Aggregate, Apply, Column, Expression, Literal


def expression_text(expression: Expression, titles: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return an expression as a user would write it; `titles` gives the titles of renamed views by name."""
    return whole_text(_inner_text(expression, titles))


def _inner_text(expression: Expression, titles: Mapping[str, str]) -> str:
    match expression:
        case Column(name=name):
            return name
        case Literal(value=value):
            return repr(value) if isinstance(value, str) else constant_text(value)
        case Aggregate(view=view, aggregate=aggregate, window=window):
            return f"{titles.get(view, view)}.{aggregate}.{window}"
        case Apply(operation=operation, arguments=arguments, parameters=parameters):
            return applied_text(operation, [_inner_text(argument, titles) for argument in arguments], parameters)
