"""Expressions as programs of a small stack machine.

One machine evaluates one event or a million, so that a value never depends on how events were
batched. Numbers, booleans (0.0, 1.0) and times (µs) are float64; NaN means missing and stays missing.
Strings are represented by codes: an expression can only compare them with literals.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from headrace.definition import Aggregate, Apply, Column, Expression, Literal
from headrace.engine.arrays import Floats
from headrace.engine.events.columns import ColumnArray
from headrace.engine.kernel.compilation import compiled

_UNARY = ("neg", "not", "abs", "log1p", "signed_log", "is_missing", "hour", "weekday")
_BINARY = ("add", "sub", "mul", "div", "and", "or", "eq", "ne", "lt", "le", "gt", "ge", "fill")
_PARAMETERS = ("clip", "bins", "is_in")

#: Every operation that `Apply` may name.
OPERATIONS = (*_UNARY, *_BINARY, *_PARAMETERS)

_LOAD, _CONSTANT = -1, -2
_CODES = {name: code for code, name in enumerate(OPERATIONS)}
(
    _NEG, _NOT, _ABS, _LOG1P, _SIGNED_LOG, _IS_MISSING, _HOUR, _WEEKDAY,
    _ADD, _SUB, _MUL, _DIV, _AND, _OR, _EQ, _NE, _LT, _LE, _GT, _GE, _FILL,
    _CLIP, _BINS, _IS_IN,
) = range(len(OPERATIONS))  # fmt: skip

_HOUR_US = 3_600_000_000.0
_DAY_US = 86_400_000_000.0
#: Code of a string that equals no literal of the program.
_OTHER = -1.0


class Program:
    """Compiled expressions over the same inputs.

    Parameters
    ----------
    expressions
        Expressions to compute; each yields one number.
    inputs
        The columns and aggregates that they may use, in the column order of the rows given to `run`.
    """

    def __init__(self, expressions: Sequence[Expression], inputs: Sequence[Column | Aggregate]) -> None:
        self._inputs = {node: index for index, node in enumerate(inputs)}
        self._literals: dict[str, float] = {}
        code: list[tuple[int, int]] = []
        self._constants: list[float] = []
        depth = 1
        for index, expression in enumerate(expressions):
            depth = max(depth, self._compile(expression, code))
            code.append((_CONSTANT - 1, index))
        self._code = np.array(code, np.int64).reshape(-1, 2)
        self._pool = np.array(self._constants or [0.0])
        self._depth = depth
        self._outputs = len(expressions)

    def run(self, values: Floats) -> Floats:
        """Evaluate the expressions.

        Parameters
        ----------
        values
            float64[N, inputs], strings as their `codes`.

        Returns
        -------
        float64[N, expressions]
            NaN where the result is missing or not finite.
        """
        out = np.empty((len(values), self._outputs))
        _run(self._code, self._pool, values, np.empty(self._depth + 1), out)
        return out

    def codes(self, column: ColumnArray) -> Floats:
        """Return a column as numbers: a string's code, NaN for None; numbers are unchanged."""
        if column.dtype != object:
            return column  # type: ignore[return-value]
        literals = self._literals
        return np.array(
            [
                math.nan if value is None else literals.get(value, _OTHER) if isinstance(value, str) else float(value)
                for value in column
            ],
            np.float64,
        )

    def matrix(self, fields: Mapping[str, ColumnArray], columns: Sequence[str], size: int) -> Floats:
        """Return the inputs of `run` for columns of these names (missing if the field does not exist)."""
        values = np.empty((size, len(columns)))
        for index, name in enumerate(columns):
            column = fields.get(name)
            values[:, index] = math.nan if column is None else self.codes(column)
        return values

    def _compile(self, node: Expression, code: list[tuple[int, int]]) -> int:
        """Append a node's code and return the stack depth that it needs."""
        if isinstance(node, Column | Aggregate):
            code.append((_LOAD, self._inputs[node]))
            return 1
        if isinstance(node, Literal):
            code.append((_CONSTANT, self._constant(node.value)))
            return 1
        return self._compile_apply(node, code)

    def _compile_apply(self, node: Apply, code: list[tuple[int, int]]) -> int:
        depth = max(place + self._compile(argument, code) for place, argument in enumerate(node.arguments))
        first = len(self._constants)
        if node.operation in _PARAMETERS:
            # The number of parameters precedes them.
            self._constants.append(float(len(node.parameters)))
            self._constants.extend(self._number(value) for value in node.parameters)
        code.append((_CODES[node.operation], first))
        return depth

    def _constant(self, value: float | bool | str) -> int:
        self._constants.append(self._number(value))
        return len(self._constants) - 1

    def _number(self, value: float | bool | str) -> float:
        if isinstance(value, str):
            return self._literals.setdefault(value, float(len(self._literals)))
        return float(value)


def columns_of(expressions: Sequence[Expression]) -> tuple[str, ...]:
    """Return the names of the columns that expressions use, in the order of first use."""
    names: dict[str, None] = {}
    pending = list(reversed(expressions))
    while pending:
        node = pending.pop()
        if isinstance(node, Column):
            names.setdefault(node.name)
        elif isinstance(node, Apply):
            pending.extend(reversed(node.arguments))
    return tuple(names)


@compiled
def _bins(x: float, pool: Floats, first: int) -> float:
    count = 0.0
    for index in range(first + 1, first + 1 + int(pool[first])):
        if pool[index] <= x:
            count += 1.0
    return count


@compiled
def _is_in(x: float, pool: Floats, first: int) -> float:
    for index in range(first + 1, first + 1 + int(pool[first])):
        if pool[index] == x:
            return 1.0
    return 0.0


@compiled
def _unary(op: int, x: float, pool: Floats, first: int) -> float:
    if op == _IS_MISSING:
        return 1.0 if math.isnan(x) else 0.0
    if math.isnan(x):
        return math.nan
    if op == _NEG:
        return -x
    if op == _NOT:
        return 1.0 if x == 0.0 else 0.0
    if op == _ABS:
        return abs(x)
    if op == _LOG1P:
        return math.log1p(x) if x > -1.0 else math.nan
    if op == _SIGNED_LOG:
        return math.copysign(math.log1p(abs(x)), x)
    if op == _HOUR:
        return math.floor((x - math.floor(x / _DAY_US) * _DAY_US) / _HOUR_US)
    if op == _WEEKDAY:
        # 1 January 1970 was a Thursday; Monday is 0.
        day = math.floor(x / _DAY_US) + 3.0
        return day - math.floor(day / 7.0) * 7.0
    if op == _CLIP:
        return float(min(max(x, pool[first + 1]), pool[first + 2]))
    if op == _BINS:
        return _bins(x, pool, first)
    return _is_in(x, pool, first)


@compiled
def _binary(op: int, x: float, y: float) -> float:
    if op == _FILL:
        return y if math.isnan(x) else x
    if math.isnan(x) or math.isnan(y):
        return math.nan
    if op == _ADD:
        return x + y
    if op == _SUB:
        return x - y
    if op == _MUL:
        return x * y
    if op == _DIV:
        return x / y if y != 0.0 else math.nan
    truth = False
    if op == _AND:
        truth = x != 0.0 and y != 0.0
    elif op == _OR:
        truth = x != 0.0 or y != 0.0
    elif op == _EQ:
        truth = x == y
    elif op == _NE:
        truth = x != y
    elif op == _LT:
        truth = x < y
    elif op == _LE:
        truth = x <= y
    elif op == _GT:
        truth = x > y
    elif op == _GE:
        truth = x >= y
    return 1.0 if truth else 0.0


@compiled
def _run(code: npt.NDArray[np.int64], pool: Floats, values: Floats, stack: Floats, out: Floats) -> None:
    for row in range(values.shape[0]):
        top = -1
        for step in range(code.shape[0]):
            op, argument = code[step, 0], code[step, 1]
            if op == _LOAD:
                top += 1
                stack[top] = values[row, argument]
            elif op == _CONSTANT:
                top += 1
                stack[top] = pool[argument]
            elif op == _CONSTANT - 1:
                result = stack[top]
                out[row, argument] = result if math.isfinite(result) else math.nan
                top -= 1
            elif _ADD <= op <= _FILL:
                top -= 1
                stack[top] = _binary(op, stack[top], stack[top + 1])
            else:
                stack[top] = _unary(op, stack[top], pool, argument)
