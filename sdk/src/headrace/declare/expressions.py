"""Expressions: computations on the fields of an event and on the windows of a view."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Generic, NoReturn, TypeAlias, TypeVar

from headrace.declare.operations import OPERATIONS
from headrace.declare.place import Place
from headrace.errors import DefinitionError

Result = TypeVar("Result")

#: The types of an operand. For a type checker a field with a bare annotation, such as ``float``, has that type.
Operand: TypeAlias = "Expression | float | str | bool | datetime | None"

#: A field by its name, or as a column of its stream.
FieldName: TypeAlias = "str | Expression"


class Transforms(Generic[Result]):
    """The operations on a value, or on each of several values."""

    def _apply(
        self, operation: str, others: tuple[object, ...] = (), parameters: tuple[object, ...] = (), swap: bool = False
    ) -> Result:
        raise NotImplementedError

    def _with(self, operation: str, other: object, swap: bool = False) -> Result:
        if isinstance(other, Transforms) and not isinstance(other, Expression):
            return NotImplemented  # type: ignore[no-any-return]  # it may apply this to each of its own
        return self._apply(operation, (other,), swap=swap)

    def __neg__(self) -> Result:
        return self._apply("neg")

    def __add__(self, other: Operand) -> Result:
        return self._with("add", other)

    def __radd__(self, other: Operand) -> Result:
        return self._with("add", other, swap=True)

    def __sub__(self, other: Operand) -> Result:
        return self._with("sub", other)

    def __rsub__(self, other: Operand) -> Result:
        return self._with("sub", other, swap=True)

    def __mul__(self, other: Operand) -> Result:
        return self._with("mul", other)

    def __rmul__(self, other: Operand) -> Result:
        return self._with("mul", other, swap=True)

    def __truediv__(self, other: Operand) -> Result:
        return self._with("div", other)

    def __rtruediv__(self, other: Operand) -> Result:
        return self._with("div", other, swap=True)

    def __lt__(self, other: Operand) -> Result:
        return self._with("lt", other)

    def __le__(self, other: Operand) -> Result:
        return self._with("le", other)

    def __gt__(self, other: Operand) -> Result:
        return self._with("gt", other)

    def __ge__(self, other: Operand) -> Result:
        return self._with("ge", other)

    def abs(self) -> Result:
        """Return the absolute value."""
        return self._apply("abs")

    def log1p(self) -> Result:
        """Return the natural logarithm of one plus the value."""
        return self._apply("log1p")

    def signed_log(self) -> Result:
        """Return sign(x) · log(1 + |x|): it shortens long tails on both sides."""
        return self._apply("signed_log")

    def clip(self, low: float, high: float) -> Result:
        """Limit the value to at least `low` and at most `high`."""
        return self._apply("clip", parameters=(low, high))

    def bins(self, edges: Sequence[float]) -> Result:
        """Return how many of the rising edges are ≤ the value: 0, 1, … len(edges)."""
        return self._apply("bins", parameters=_as_parameters(edges))

    def is_missing(self) -> Result:
        """Return whether the value is missing: the result itself is never missing."""
        return self._apply("is_missing")

    def is_in(self, values: Iterable[float | str]) -> Result:
        """Return whether the value is one of these."""
        return self._apply("is_in", parameters=_as_parameters(values))

    def fill(self, value: Operand) -> Result:
        """Return the value, or `value` if it is missing."""
        return self._with("fill", value)


class Expression(Transforms["Expression"]):
    """A value computed from an event, or read from a view as of its time."""

    def __init__(self, place: Place | None = None) -> None:
        self.place = place or Place.here()

    @property
    def name(self) -> str:
        """The name of a feature with this expression."""
        return self._text(stored=False)

    def _text(self, stored: bool) -> str:
        """Return its name: the loop file's current one, or the stored one."""
        raise NotImplementedError

    def _inner_text(self, stored: bool) -> str:
        """Return its name as part of a larger expression."""
        return self._text(stored)

    def named(self, name: str, *, was: str | None = None) -> Expression:
        """Return the same value as a feature with another name.

        Parameters
        ----------
        was
            The feature's previous name, if it was renamed: models that learned from it continue.
        """
        return Named(self, name, was)

    def one_hot(self, categories: Iterable[float | str] | None = None) -> Selection:
        """Return one 0/1 feature per category; all are 0 if the value is missing or is none of them.

        The categories of ``hour``, ``weekday`` and ``bins`` are known; all others must be given.
        """
        values = tuple(categories) if categories is not None and not isinstance(categories, str) else self._categories()
        if not values:
            return Selection(
                (Mistaken(f"one_hot of {self.name} lacks its categories", 'List them: .one_hot(["AA", "UA"]).'),)
            )
        return Selection(tuple(Category(self, category) for category in values))

    @property
    def hour(self) -> Expression:
        """The hour of a time, 0 to 23, in UTC."""
        return self._apply("hour")

    @property
    def weekday(self) -> Expression:
        """The day of the week of a time, in UTC: Monday is 0."""
        return self._apply("weekday")

    def _categories(self) -> tuple[int, ...]:
        return ()

    def _apply(
        self, operation: str, others: tuple[object, ...] = (), parameters: tuple[object, ...] = (), swap: bool = False
    ) -> Expression:
        arguments = (self, *(_wrap(other) for other in others))
        return Operation(operation, arguments[::-1] if swap else arguments, parameters)

    def __eq__(self, other: Operand) -> Expression:  # type: ignore[override]
        return self._with("eq", other)

    def __ne__(self, other: Operand) -> Expression:  # type: ignore[override]
        return self._with("ne", other)

    __hash__ = object.__hash__

    def __and__(self, other: Operand) -> Expression:
        return self._with("and", other)

    def __rand__(self, other: Operand) -> Expression:
        return self._with("and", other, swap=True)

    def __or__(self, other: Operand) -> Expression:
        return self._with("or", other)

    def __ror__(self, other: Operand) -> Expression:
        return self._with("or", other, swap=True)

    def __invert__(self) -> Expression:
        return self._apply("not")

    def __bool__(self) -> NoReturn:
        raise DefinitionError(
            f"{Place.here()}: condition {self.name}",
            "it has no truth value before there is an event",
            "Write & | ~ for and, or, not (with parentheses around comparisons), and (a < x) & (x < b) for a < x < b.",
        )

    def __repr__(self) -> str:
        return f"<expression {self.name}>"


def stored_name(feature: Expression) -> str:
    """Return a feature's name in vectors, examples and models: after a rename, the old name."""
    return feature._text(stored=True)


class Column(Expression):
    """A field of an event, by its name."""

    def __init__(self, column: str) -> None:
        super().__init__()
        self.column = column

    def _text(self, stored: bool) -> str:
        return str(self.column)


class Literal(Expression):
    """A constant."""

    def __init__(self, value: float | bool | str) -> None:
        super().__init__()
        self.value = value

    def _text(self, stored: bool) -> str:
        return _parameter_text(self.value)


class Operation(Expression):
    """An operation on other expressions."""

    def __init__(self, operation: str, arguments: tuple[Expression, ...], parameters: tuple[object, ...] = ()) -> None:
        super().__init__()
        self.operation = operation
        self.arguments = arguments
        self.parameters = parameters

    def _text(self, stored: bool) -> str:
        return whole_text(self._applied_text(stored))

    def _inner_text(self, stored: bool) -> str:
        return self._applied_text(stored)

    def _applied_text(self, stored: bool) -> str:
        arguments = [argument._inner_text(stored) for argument in self.arguments]
        return applied_text(self.operation, arguments, self.parameters)

    def _categories(self) -> tuple[int, ...]:
        if self.operation == "bins":
            return tuple(range(len(self.parameters) + 1))
        return {"hour": tuple(range(24)), "weekday": tuple(range(7))}.get(self.operation, ())


class Category(Operation):
    """Whether an expression equals one category; 0 if it is missing."""

    def __init__(self, of: Expression, category: float | str) -> None:
        super().__init__("fill", (Operation("eq", (of, _wrap(category))), Literal(0)))
        self._of = of
        self._category = category

    def _text(self, stored: bool) -> str:
        return f"{self._of._text(stored)}={constant_text(self._category)}"

    def _inner_text(self, stored: bool) -> str:
        return f"({self._text(stored)})"


class Named(Expression):
    """An expression with a name given by the user."""

    def __init__(self, of: Expression, name: str, was: str | None = None) -> None:
        super().__init__()
        self.of = of
        self._name = name
        self._was = was

    def _text(self, stored: bool) -> str:
        return (self._was if stored else None) or self._name


class Mistaken(Expression):
    """A placeholder for an expression that could not be made; it is reported when the loop is compiled."""

    def __init__(self, problem: str, cure: str) -> None:
        super().__init__()
        self.problem = problem
        self.cure = cure

    def _text(self, stored: bool) -> str:
        return "?"


class Selection(Transforms["Selection"]):
    """Several features at once; an operation on it applies to each of them."""

    def __init__(self, expressions: tuple[Expression, ...]) -> None:
        self.place = Place.here()
        self.expressions = expressions

    def _apply(
        self, operation: str, others: tuple[object, ...] = (), parameters: tuple[object, ...] = (), swap: bool = False
    ) -> Selection:
        return Selection(
            tuple(expression._apply(operation, others, parameters, swap) for expression in self.expressions)
        )

    def one_hot(self, categories: Iterable[float | str] | None = None) -> Selection:
        """Return one 0/1 feature for each of these and each category; see `Expression.one_hot`."""
        values = None if categories is None else tuple(categories)
        return Selection(
            tuple(feature for expression in self.expressions for feature in expression.one_hot(values).expressions)
        )

    def __repr__(self) -> str:
        return f"<features {', '.join(expression.name for expression in self.expressions)}>"


def col(column: Operand) -> Expression:
    """Return a column by name, or a field with a bare annotation as an expression, which it is not for type checkers.

    Examples
    --------
    >>> col("delay_min") > 15
    <expression delay_min > 15>
    """
    return column if isinstance(column, Expression) else Column(column)  # type: ignore[arg-type]


def field_name(field: object) -> object:
    """Return the name of a field that is given as a column; anything else as it is."""
    if isinstance(field, Column):
        return field.column
    return field.name if isinstance(field, Expression) else field


def applied_text(operation: str, arguments: list[str], parameters: Iterable[object]) -> str:
    """Format an operation as its user wrote it."""
    symbol = OPERATIONS[operation].symbol
    if symbol:
        return f"({arguments[0]} {symbol} {arguments[1]})"
    if operation in ("neg", "not"):
        return f"{'-' if operation == 'neg' else '~'}{arguments[0]}"
    inside = ",".join([*arguments[1:], *(_parameter_text(parameter) for parameter in parameters)])
    return f"{arguments[0]}.{operation}{f'({inside})' if inside else ''}"


def whole_text(text: str) -> str:
    """Strip the parentheses around a whole expression's text."""
    depth = 0
    for place, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0 and place < len(text) - 1:
            return text
    return text[1:-1] if text.startswith("(") and text.endswith(")") else text


def constant_text(value: object) -> str:
    """Format a constant, whole numbers without a fraction."""
    return f"{value:g}" if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else str(value)


def _parameter_text(value: object) -> str:
    return repr(value) if isinstance(value, str) else constant_text(value)


def _wrap(value: object) -> Expression:
    if isinstance(value, Expression):
        return value
    if isinstance(value, bool | int | float | str):
        return Literal(value)
    if value is None:
        return Mistaken("None is no value to compute with", "Ask .is_missing(), or put a value there with .fill(0).")
    if isinstance(value, datetime):
        return Mistaken("a time is no value to compute with", "Take .hour or .weekday of a time.")
    return Mistaken(f"{value!r} is no value to compute with", "Use numbers, booleans, strings and columns.")


def _as_parameters(values: object) -> tuple[object, ...]:
    """Return the parameters of an operation; a lone value is kept, so that the operation's name is in its refusal."""
    return tuple(values) if isinstance(values, Iterable) and not isinstance(values, str) else (values,)
