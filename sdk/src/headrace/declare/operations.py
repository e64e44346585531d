"""The operations of expressions and their types: the complete list.

`headrace.engine.kernel.expressions` computes exactly these. There, numbers are float64, booleans 1.0 and
0.0, a missing value is NaN (or None for a string). A missing argument makes the result missing, except
for ``is_missing`` and ``fill``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from headrace.definition import FieldType

FLOAT, INT, BOOL, STRING, TIME = FieldType.FLOAT, FieldType.INT, FieldType.BOOL, FieldType.STRING, FieldType.TIME

NUMBER = frozenset({FLOAT, INT, BOOL})
CONDITION = frozenset({BOOL})
VALUE = NUMBER | {STRING}
MOMENT = frozenset({TIME})
ANY = frozenset(FieldType)

#: At this bound and beyond, adjacent integers may be the same float64.
_INEXACT = 2**53

Types = tuple[FieldType, ...]
Parameters = tuple[object, ...]


def _number(types: Types, parameters: Parameters) -> FieldType:
    """Return INT if all types and parameters are whole, otherwise FLOAT."""
    ints = all(kind is not FLOAT for kind in types)
    return INT if ints and all(isinstance(parameter, int) for parameter in parameters) else FLOAT


def _always(kind: FieldType) -> Callable[[Types, Parameters], FieldType]:
    return lambda types, parameters: kind


def _fill(types: Types, parameters: Parameters) -> FieldType:
    return types[0] if types[0] is types[1] else _number(types, parameters)


def is_number(value: object) -> bool:
    """Return whether a constant is a finite number and, if whole, exact as float64 (a boolean is one)."""
    if isinstance(value, int):
        return abs(value) < _INEXACT
    return isinstance(value, float) and math.isfinite(value)


def _none(types: Types, parameters: Parameters) -> str | None:
    return "takes no parameters" if parameters else None


def _limits(types: Types, parameters: Parameters) -> str | None:
    low, high = parameters
    if not (is_number(low) and is_number(high)):
        return "takes two numbers, the lower limit first"
    return None if float(low) <= float(high) else "takes the lower limit first"  # type: ignore[arg-type]


def _edges(types: Types, parameters: Parameters) -> str | None:
    if not parameters or not all(is_number(edge) for edge in parameters):
        return "takes a list of at least one number"
    rising = all(low < high for low, high in pairwise(parameters))  # type: ignore[operator]
    return None if rising else "takes edges in rising order"


def _same_kind(types: Types, parameters: Parameters) -> str | None:
    text = types[0] is STRING
    if not parameters or not all(
        isinstance(parameter, str) if text else is_number(parameter) for parameter in parameters
    ):
        return f"takes {'strings' if text else 'numbers'} here"
    return None


def _one_kind(types: Types) -> bool:
    return (STRING in types) <= (set(types) == {STRING})


@dataclass(frozen=True)
class Operation:
    """The arguments and the result of an operation.

    Attributes
    ----------
    arguments
        The types that each argument may have.
    gives
        Returns the result's type, given those of the arguments.
    parameters
        Returns what is wrong with the parameters, or None.
    one_kind
        Whether the arguments must be all strings, or none.
    symbol
        The symbol between its two arguments, if it has one.
    """

    arguments: tuple[frozenset[FieldType], ...]
    gives: Callable[[Types, Parameters], FieldType]
    parameters: Callable[[Types, Parameters], str | None] = _none
    one_kind: bool = False
    symbol: str | None = None

    def takes(self, types: Types) -> bool:
        """Return whether the operation accepts arguments of these types."""
        fits = all(kind in kinds for kind, kinds in zip(types, self.arguments, strict=True))
        return fits and (not self.one_kind or _one_kind(types))


OPERATIONS: dict[str, Operation] = {
    "neg": Operation((NUMBER,), _number),
    "add": Operation((NUMBER, NUMBER), _number, symbol="+"),
    "sub": Operation((NUMBER, NUMBER), _number, symbol="-"),
    "mul": Operation((NUMBER, NUMBER), _number, symbol="*"),
    "div": Operation((NUMBER, NUMBER), _always(FLOAT), symbol="/"),
    "not": Operation((CONDITION,), _always(BOOL)),
    "and": Operation((CONDITION, CONDITION), _always(BOOL), symbol="&"),
    "or": Operation((CONDITION, CONDITION), _always(BOOL), symbol="|"),
    "eq": Operation((VALUE, VALUE), _always(BOOL), one_kind=True, symbol="=="),
    "ne": Operation((VALUE, VALUE), _always(BOOL), one_kind=True, symbol="!="),
    "lt": Operation((NUMBER, NUMBER), _always(BOOL), symbol="<"),
    "le": Operation((NUMBER, NUMBER), _always(BOOL), symbol="<="),
    "gt": Operation((NUMBER, NUMBER), _always(BOOL), symbol=">"),
    "ge": Operation((NUMBER, NUMBER), _always(BOOL), symbol=">="),
    "abs": Operation((NUMBER,), _number),
    "log1p": Operation((NUMBER,), _always(FLOAT)),
    "signed_log": Operation((NUMBER,), _always(FLOAT)),
    "clip": Operation((NUMBER,), _number, _limits),
    "bins": Operation((NUMBER,), _always(INT), _edges),
    "is_missing": Operation((ANY,), _always(BOOL)),
    "is_in": Operation((VALUE,), _always(BOOL), _same_kind),
    "fill": Operation((NUMBER, NUMBER), _fill),
    "hour": Operation((MOMENT,), _always(INT)),
    "weekday": Operation((MOMENT,), _always(INT)),
}


def accepted_text(name: str) -> str:
    """Describe the arguments that an operation takes."""
    words = {
        NUMBER: ("a number", "two numbers"),
        CONDITION: ("a condition", "two conditions"),
        VALUE: ("a number or a string", "two numbers or two strings"),
        MOMENT: ("a time", "two times"),
    }
    arguments = OPERATIONS[name].arguments
    return words[arguments[0]][len(arguments) - 1] if arguments[0] in words else "anything"
