"""Expressions: what users compute from the fields of an event and from the windows of a view."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Generic, NoReturn, TypeAlias, TypeVar

from headrace.declare.mistakes import mistake
from headrace.declare.operations import OPERATIONS
from headrace.declare.place import Place

if TYPE_CHECKING:
    from headrace.declare.streams import Stream
    from headrace.declare.views import Row, View

Result = TypeVar("Result")

#: What may stand beside an expression. A type checker sees ``Departed.delay_min`` as its annotation.
Operand: TypeAlias = "Expression | float | str | bool | datetime | None"


class Transforms(Generic[Result]):
    """What can be done to a value, or to each of several."""

    def _apply(
        self, operation: str, others: tuple[object, ...] = (), parameters: tuple[object, ...] = (), swap: bool = False
    ) -> Result:
        raise NotImplementedError

    def _with(self, operation: str, other: object, swap: bool = False) -> Result:
        if isinstance(other, Transforms) and not isinstance(other, Expression):
            return NotImplemented  # type: ignore[no-any-return]  # it may know how to do it for each of its own
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
        """The absolute value."""
        return self._apply("abs")

    def log1p(self) -> Result:
        """The natural logarithm of one more than the value."""
        return self._apply("log1p")

    def signed_log(self) -> Result:
        """sign(x) · log(1 + |x|): long tails on both sides drawn in."""
        return self._apply("signed_log")

    def clip(self, low: float, high: float) -> Result:
        """No less than `low`, no more than `high`."""
        return self._apply("clip", parameters=(low, high))

    def bins(self, edges: Sequence[float]) -> Result:
        """How many of the rising edges are ≤ the value: 0, 1, … len(edges)."""
        return self._apply("bins", parameters=_listed(edges))

    def is_missing(self) -> Result:
        """Whether the value is missing: never missing itself."""
        return self._apply("is_missing")

    def is_in(self, values: Iterable[float | str]) -> Result:
        """Whether the value is one of these."""
        return self._apply("is_in", parameters=_listed(values))

    def fill(self, value: Operand) -> Result:
        """The value, or this one where it is missing."""
        return self._with("fill", value)


class Expression(Transforms["Expression"]):
    """A value computed from an event, or read from a view at its time."""

    def __init__(self, place: Place | None = None) -> None:
        self.place = place or Place.here()

    @property
    def name(self) -> str:
        """What a feature of this expression is called."""
        return self._text(stored=False)

    def _text(self, stored: bool) -> str:
        """Its name: as the loop file has it now, or the one that is stored."""
        raise NotImplementedError

    def _inner_text(self, stored: bool) -> str:
        """Its name as part of a greater one."""
        return self._text(stored)

    def named(self, name: str, *, was: str | None = None) -> Expression:
        """The same value as a feature of another name.

        Parameters
        ----------
        was
            The feature's name before, where it was renamed: models that learned from it go on.
        """
        return Named(self, name, was)

    def one_hot(self, categories: Iterable[float | str] | None = None) -> Selection:
        """One 0/1 feature a category; all are 0 where the value is missing or is none of them.

        The categories of ``hour``, ``weekday`` and ``bins`` are known, all others need to be given.
        """
        known = tuple(categories) if categories is not None and not isinstance(categories, str) else self._categories()
        if not known:
            return Selection(
                (Mistaken(f"one_hot of {self.name} lacks its categories", 'List them: .one_hot(["AA", "UA"]).'),)
            )
        return Selection(tuple(Category(self, own) for own in known))

    @property
    def hour(self) -> Expression:
        """The hour of a time, 0 to 23, UTC."""
        return self._apply("hour")

    @property
    def weekday(self) -> Expression:
        """The day of the week of a time: Monday is 0, UTC."""
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
        raise mistake(
            Place.here(),
            f"condition {self.name}",
            "it has no truth value before there is an event",
            "Write & | ~ for and, or, not (with parentheses around comparisons), and (a < x) & (x < b) for a < x < b.",
        )

    def __repr__(self) -> str:
        return f"<expression {self.name}>"


def stored_name(feature: Expression) -> str:
    """What a feature is called in vectors, examples and models: before a rename, the old name."""
    return feature._text(stored=True)


class Column(Expression):
    """A field of an event, of a stream where it is known."""

    def __init__(self, column: str, stream: type[Stream] | None = None) -> None:
        super().__init__()
        self.column = column
        self.stream = stream

    def _text(self, stored: bool) -> str:
        return str(self.column)


class Literal(Expression):
    """A constant."""

    def __init__(self, value: float | bool | str) -> None:
        super().__init__()
        self.value = value

    def _text(self, stored: bool) -> str:
        return _parameter_text(self.value)


class Read(Expression):
    """One aggregate of a view over one of its windows, for the entity that an event names."""

    def __init__(
        self, view: View, aggregate: str, window: str, key: dict[str, str], place: Place | None = None
    ) -> None:
        super().__init__(place)
        self.view = view
        self.aggregate = aggregate
        self.window = window
        self.key = key

    def _text(self, stored: bool) -> str:
        view = self.view.state_name if stored else self.view.name
        of = ",".join(f"{own}={field}" for own, field in self.key.items())
        return f"{view}{f'.of({of})' if of else ''}.{self.aggregate}.{self.window}"


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
    """Whether an expression is one category; 0 where it is missing."""

    def __init__(self, of: Expression, category: float | str) -> None:
        super().__init__("fill", (Operation("eq", (of, _wrap(category))), Literal(0)))
        self._of = of
        self._category = category

    def _text(self, stored: bool) -> str:
        return f"{self._of._text(stored)}={constant_text(self._category)}"

    def _inner_text(self, stored: bool) -> str:
        return f"({self._text(stored)})"


class Named(Expression):
    """An expression under a name of the user's."""

    def __init__(self, of: Expression, name: str, was: str | None = None) -> None:
        super().__init__()
        self.of = of
        self._name = name
        self._was = was

    def _text(self, stored: bool) -> str:
        return (self._was if stored else None) or self._name


class Mistaken(Expression):
    """Stands where an expression could not be made; told when the loop is compiled."""

    def __init__(self, problem: str, cure: str) -> None:
        super().__init__()
        self.problem = problem
        self.cure = cure

    def _text(self, stored: bool) -> str:
        return "?"


class Selection(Transforms["Selection"]):
    """Several features at once; what is done to it is done to each."""

    def __init__(self, expressions: tuple[Expression, ...]) -> None:
        self.place = Place.here()
        self.expressions = expressions

    def _apply(
        self, operation: str, others: tuple[object, ...] = (), parameters: tuple[object, ...] = (), swap: bool = False
    ) -> Selection:
        return Selection(tuple(own._apply(operation, others, parameters, swap) for own in self.expressions))

    def one_hot(self, categories: Iterable[float | str] | None = None) -> Selection:
        """One 0/1 feature for each of these and each category; see `Expression.one_hot`."""
        known = None if categories is None else tuple(categories)
        return Selection(tuple(one for own in self.expressions for one in own.one_hot(known).expressions))

    def __repr__(self) -> str:
        return f"<features {', '.join(own.name for own in self.expressions)}>"


#: What a model takes as features. ``Departed.at.weekday`` is a method for a type checker.
Feature: TypeAlias = "Expression | Selection | View | Row | float | str | bool | datetime | Callable[[], int] | None"


def col(column: Operand) -> Expression:
    """A column by name, or (for type checkers, which see ``Departed.at`` as a datetime) as an expression.

    Examples
    --------
    >>> col("delay_min") > 15
    <expression delay_min > 15>
    """
    return column if isinstance(column, Expression) else Column(column)  # type: ignore[arg-type]


def applied_text(operation: str, arguments: list[str], parameters: Iterable[object]) -> str:
    """An operation as its user wrote it."""
    symbol = OPERATIONS[operation].symbol
    if symbol:
        return f"({arguments[0]} {symbol} {arguments[1]})"
    if operation in ("neg", "not"):
        return f"{'-' if operation == 'neg' else '~'}{arguments[0]}"
    inside = ",".join([*arguments[1:], *(_parameter_text(own) for own in parameters)])
    return f"{arguments[0]}.{operation}{f'({inside})' if inside else ''}"


def whole_text(text: str) -> str:
    """An expression's text without the parentheses around all of it."""
    depth = 0
    for place, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0 and place < len(text) - 1:
            return text
    return text[1:-1] if text.startswith("(") and text.endswith(")") else text


def constant_text(value: object) -> str:
    """A constant, whole numbers without a fraction."""
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


def _listed(values: object) -> tuple[object, ...]:
    """The parameters of an operation; a lone value is kept, to be refused with the operation's name."""
    return tuple(values) if isinstance(values, Iterable) and not isinstance(values, str) else (values,)
