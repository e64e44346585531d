"""Resolution of the user's expressions to those of the definition, with their types."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from headrace import definition
from headrace.compiler.mistakes import Mistakes
from headrace.declare.expressions import Column, Expression, Literal, Mistaken, Named, Operation
from headrace.declare.fields import a_type
from headrace.declare.operations import OPERATIONS, accepted_text, is_number
from headrace.declare.streams import Stream, StreamColumn, field_types, stream_name
from headrace.declare.views import Read
from headrace.definition import FieldType
from headrace.wording import instead_of


@dataclass(frozen=True)
class Typed:
    """An expression of the definition, together with its type."""

    value: definition.Expression
    type: FieldType


@dataclass(frozen=True)
class Scope:
    """The meaning of the names in an expression.

    Attributes
    ----------
    stream
        The stream whose fields are the columns.
    part
        The part of the loop that the expression belongs to, for errors.
    mistakes
        Where to report mistakes.
    derived
        Columns that a view derives; None for those with mistakes.
    read
        How to read a view here; None if views cannot be read here.
    """

    stream: type[Stream]
    part: str
    mistakes: Mistakes
    derived: Mapping[str, Typed | None] = field(default_factory=dict)
    read: Callable[[Read], Typed | None] | None = None

    def resolve(self, expression: Expression) -> Typed | None:
        """Resolve an expression to its definition and type; return None if it has mistakes, which are then reported."""
        match expression:
            case Named(of=of):
                return self.resolve(of)
            case Literal(value=value):
                return self._literal(expression, value)
            case Column():
                return self._column(expression)
            case Read():
                return self._read(expression)
            case Operation():
                return self._operation(expression)
            case Mistaken(problem=problem, cure=cure):
                return self._wrong(expression, problem, cure)
        raise TypeError(f"unknown expression {expression!r}")

    def _wrong(self, expression: Expression, problem: str, cure: str) -> Typed | None:
        """Report a mistake; return None as its type."""
        self.mistakes.add(expression.place, self.part, problem, cure)
        return None

    def _literal(self, literal: Literal, value: float | bool | str) -> Typed | None:
        if isinstance(value, bool | str):
            return Typed(definition.Literal(value), FieldType.BOOL if isinstance(value, bool) else FieldType.STRING)
        if not is_number(value):
            cure = "Use a finite number; a whole one below 2**53."
            return self._wrong(literal, f"{value} is no number to compute with", cure)
        return Typed(definition.Literal(float(value)), FieldType.INT if isinstance(value, int) else FieldType.FLOAT)

    def _column(self, column: Column) -> Typed | None:
        name = column.column
        if not isinstance(name, str):
            return self._wrong(column, f"col({name!r}) names no column", 'Write col("delay_min").')
        if isinstance(column, StreamColumn) and not issubclass(self.stream, column.stream):
            other, stream = stream_name(column.stream), stream_name(self.stream)
            return self._wrong(
                column, f"{name!r} is of stream {other}, not of stream {stream}", f"Use a field of stream {stream}."
            )
        if name in self.derived:
            return self.derived[name]
        fields = field_types(self.stream)
        if name not in fields:
            names = [*fields, *self.derived]
            problem = f"stream {stream_name(self.stream)} has no field {name!r}"
            return self._wrong(column, problem, instead_of(name, names, "fields"))
        kind = fields[name]
        return None if kind is None else Typed(definition.Column(name), kind)

    def _read(self, read: Read) -> Typed | None:
        if self.read is None:
            return self._wrong(
                read, f"{read.name} reads a view", "Views can be read in a model's features; use fields here."
            )
        return self.read(read)

    def _operation(self, expression: Operation) -> Typed | None:
        name, rule = expression.operation, OPERATIONS[expression.operation]
        resolved = [self.resolve(argument) for argument in expression.arguments]
        arguments = [argument for argument in resolved if argument is not None]
        if len(arguments) < len(resolved):
            return None
        types = tuple(argument.type for argument in arguments)
        text = ", ".join(
            f"{user.name} is {a_type(argument.type)}"
            for user, argument in zip(expression.arguments, arguments, strict=True)
        )
        if not rule.takes(types):
            cure = f"It takes {accepted_text(name)}.{_hint(name, types)}"
            return self._wrong(expression, f"{expression.name} has the wrong type: {text}", cure)
        if FieldType.STRING in types and len(arguments) == 2 and not _has_literal(arguments):
            cure = 'Compare one of them with a constant: col("carrier") == "AA".'
            return self._wrong(expression, f"{expression.name} compares two columns of strings", cure)
        trouble = rule.parameters(types, expression.parameters)
        if trouble:
            return self._wrong(
                expression, f"{expression.name} has the wrong parameters: {text}", f".{name}() {trouble}."
            )
        parameters = tuple(
            parameter if isinstance(parameter, str) else float(parameter)  # type: ignore[arg-type]
            for parameter in expression.parameters
        )
        value = definition.Apply(name, tuple(argument.value for argument in arguments), parameters)
        return Typed(value, rule.gives(types, expression.parameters))


def _has_literal(arguments: list[Typed]) -> bool:
    return any(isinstance(argument.value, definition.Literal) for argument in arguments)


def _hint(operation: str, types: tuple[FieldType, ...]) -> str:
    if FieldType.TIME in types:
        return " Of a time, take .hour or .weekday."
    if FieldType.STRING in types and operation not in ("eq", "ne"):
        return " Of a string, take .one_hot([...]), .is_in([...]) or ==."
    if operation in ("and", "or", "not"):
        return " Put parentheses around comparisons: (a > 1) & (b > 2)."
    return ""
