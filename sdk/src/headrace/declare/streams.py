"""Streams: declared event types."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Generic,
    Literal,
    TypeAlias,
    TypeVar,
    dataclass_transform,
    get_args,
    get_origin,
    overload,
)

from headrace.declare.declaration import record, snake_case
from headrace.declare.durations import Duration, Retention
from headrace.declare.expressions import Column, Expression
from headrace.declare.fields import CONTENT, ContentId, annotated_type
from headrace.declare.place import Place
from headrace.declare.records import checked_values, to_json
from headrace.definition import FieldType

#: The units that a number given as a time may count.
TimeUnit: TypeAlias = Literal["s", "ms", "us", "ns"]

#: Who may send marks: the values of `headrace.engine.marks.Marking`.
Marks: TypeAlias = Literal["nobody", "cli", "anyone"]


class StreamColumn(Column):
    """A field of the events of a known stream."""

    def __init__(self, column: str, stream: type[Stream]) -> None:
        super().__init__(column)
        self.stream = stream


Value = TypeVar("Value")


class Field(Generic[Value]):
    """A field of a stream: on the stream a column, on a record the value.

    Annotate fields with it for a type checker: to it, ``Departed.delay_min`` of the example is an expression, and
    ``departed.delay_min`` a number or None. A field that is annotated with its bare type behaves alike when it runs.

    Parameters
    ----------
    default
        ``Field(default=None)`` lets a type checker know that an optional field may be left out of a record.

    Examples
    --------
    >>> class Departed(Stream, key="tail", time="at", id="flight"):
    ...     flight: Field[str]
    ...     at: Field[datetime]
    ...     tail: Field[str]
    ...     delay_min: Field[float | None] = Field(default=None)
    >>> Departed.delay_min.fill(0)
    <expression delay_min.fill(0)>
    """

    def __init__(self, *, default: Value) -> None:
        self.default = default
        self._name = ""

    def __set_name__(self, owner: type[Stream], name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type[Stream]) -> Expression: ...

    @overload
    def __get__(self, instance: Stream, owner: type[Stream]) -> Value: ...

    def __get__(self, instance: Stream | None, owner: type[Stream]) -> Expression | Value:
        if instance is None:
            # A new column for each use, since it knows the line of its use.
            return StreamColumn(self._name, owner)
        value: Value = vars(instance)[self._name]
        return value

    def __set__(self, instance: Stream, value: Value) -> None:
        raise AttributeError(f"field {self._name!r} of a record cannot be changed: an event has happened")


if TYPE_CHECKING:
    # Type checkers know a stream's fields and options, and report wrong ones themselves.
    _StreamType = type
else:

    class _StreamType(type):
        """A metaclass that makes an undeclared field a column, too, so that it is reported with all other mistakes."""

        def __getattr__(cls, name: str) -> StreamColumn:
            if name.startswith("_"):
                raise AttributeError(f"type object {cls.__name__!r} has no attribute {name!r}")
            return StreamColumn(name, cls)


# Without frozen_default: with it, mypy takes an inherited field on the class for its value.
@dataclass_transform(kw_only_default=True, field_specifiers=(Field,))
class Stream(metaclass=_StreamType):
    """An event type: subclass it, annotate its fields, and say which ones are its key, time and id.

    A record, which is an event as an object, is made with one keyword argument for each field; optional fields may be
    left out. It is checked when it is made.

    Parameters
    ----------
    key
        The field by which events are spread over partitions.
    time
        The field that says when the event happened.
    id
        The field that identifies the event: a second one with the same id is dropped. ``"content"``, if no field has
        that name, stands for a hash of the other fields, so that identical events are one.
    name
        Its name; by default, that of the class in snake case.
    lateness
        How far behind the newest event of its partition an event may be.
    horizon
        How long, in event time, ids are remembered: an event that is resent within it counts once.
    ids
        How many ids of a partition are remembered at most; the newest stay.
    partitions
        The number of partitions of its topic.
    max_bytes
        The largest size of an event, as JSON.
    ahead
        How far ahead of its publish time the time of an event, or of a mark, may be; ``"any"`` for no bound.
    retention
        How long (wall clock) the broker keeps its events, or ``"forever"``; by default a week more than
        it takes to rebuild everything that is made from them.
    time_format
        How files and requests may write times in addition to ISO 8601: as numbers that count ``"s"``, ``"ms"``,
        ``"us"`` or ``"ns"`` since 1970, or by a pattern of ``strptime``, such as ``"%d.%m.%Y %H:%M"``. By default
        numbers count microseconds, and those in January 1970 are refused: they are mostly in another unit.
    missing
        Texts that stand for a missing value in CSV, in addition to an empty cell: ``["NA"]``.
    marks
        Who may send marks: ``"nobody"``, ``"cli"`` (the commands of headrace), ``"anyone"``.
    confirm_above
        A mark that decides more than this many questions of a model at once waits for ``headrace mark --confirm``; by
        default none does.

    Examples
    --------
    >>> class Departed(Stream, key="tail", time="at", id="flight"):
    ...     flight: str
    ...     at: datetime
    ...     tail: str
    ...     delay_min: float | None
    >>> Departed.delay_min.signed_log()
    <expression delay_min.signed_log>
    >>> Departed(flight="AA1", at=datetime(2013, 1, 1, 10), tail="N1")
    Departed(flight='AA1', at=datetime.datetime(2013, 1, 1, 10, 0), tail='N1', delay_min=None)
    """

    __place__: ClassVar[Place]
    __options__: ClassVar[dict[str, Any]]
    #: The annotations by field, and the values assigned to the fields.
    __fields__: ClassVar[dict[str, object]] = {}
    __assigned__: ClassVar[dict[str, object]] = {}

    def __init_subclass__(
        cls,
        *,
        key: str | None = None,
        time: str | None = None,
        id: str | Literal["content"] | None = None,
        name: str | None = None,
        lateness: Duration = "0s",
        horizon: Duration = "7d",
        ids: int = 1_000_000,
        partitions: int = 1,
        max_bytes: int = 65_536,
        ahead: Duration | Literal["any"] | None = "1d",
        retention: Retention | None = None,
        time_format: str | TimeUnit | None = None,
        missing: Sequence[str] = (),
        marks: Marks = "anyone",
        confirm_above: int | None = None,
    ) -> None:
        super().__init_subclass__()
        cls.__place__ = Place.here()
        cls.__options__ = {
            "key": key,
            "time": time,
            "id": id,
            "name": snake_case(cls.__name__) if name is None else name,
            "lateness": lateness,
            "horizon": horizon,
            "ids": ids,
            "partitions": partitions,
            "max_bytes": max_bytes,
            "ahead": ahead,
            "retention": retention,
            "time_format": time_format,
            "missing": missing,
            "marks": marks,
            "confirm_above": confirm_above,
        }
        annotations = inspect.get_annotations(cls)
        cls.__fields__ = {
            **{field: annotation for field, annotation in cls.__fields__.items() if annotation is not ContentId},
            **{field: _field_annotation(_evaluate(cls, text)) for field, text in annotations.items()},
        }
        if id == CONTENT:
            cls.__fields__.setdefault(CONTENT, ContentId)
        cls.__assigned__ = {
            field: value.default if isinstance(value, Field) else value
            for field, value in vars(cls).items()
            if not field.startswith("__") and not callable(value)
        }
        for field in annotations:
            descriptor = Field(default=None)
            descriptor.__set_name__(cls, field)
            setattr(cls, field, descriptor)
        record(cls)

    def __init__(self, /, **values: object) -> None:
        """Make a record.

        Raises
        ------
        InvalidEvent
            A field is unknown, missing or of the wrong type.
        """
        cls = type(self)
        if not is_stream(cls):
            raise TypeError("Stream has no fields: make a record of one of its subclasses")
        vars(self).update(checked_values(stream_name(cls), cls.__fields__, values))

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), *vars(self).values()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"


def event_json(record: Stream) -> bytes:
    """Return a record as the JSON that ingest reads, without the optional fields that it lacks.

    Examples
    --------
    >>> class Departed(Stream, key="flight", time="at", id="flight"):
    ...     flight: str
    ...     at: datetime
    >>> event_json(Departed(flight="AA1", at=datetime(2013, 1, 1, 10)))
    b'{"flight":"AA1","at":"2013-01-01T10:00:00+00:00"}'
    """
    return to_json(vars(record))


def stream_name(stream: type[Stream]) -> str:
    """Return the stream's name."""
    return str(stream.__options__["name"])


def stream_part(stream: type[Stream]) -> str:
    """Return the stream's name in error messages."""
    return f"stream {stream_name(stream)}"


def is_stream(value: object) -> bool:
    """Return whether a value is a declared stream."""
    return isinstance(value, type) and issubclass(value, Stream) and value is not Stream


def field_types(stream: type[Stream]) -> dict[str, FieldType | None]:
    """Return the type of each field; None if its annotation is invalid, which the stream's definition reports."""
    return {field: annotated_type(annotation)[0] for field, annotation in stream.__fields__.items()}


def field_type(stream: type[Stream], role: str) -> FieldType | None:
    """Return the type of the field that is the stream's ``key``, ``time`` or ``id``, if there is one."""
    return field_types(stream).get(stream.__options__[role])


def _field_annotation(annotation: object) -> object:
    """Return what a field is annotated with: ``float`` for ``Field[float]``."""
    return get_args(annotation)[0] if get_origin(annotation) is Field else annotation


def _evaluate(stream: type[Stream], annotation: object) -> object:
    """Evaluate an annotation: it is text if the file postpones annotations; unknown names stay text."""
    if not isinstance(annotation, str):
        return annotation
    module = sys.modules.get(stream.__module__)
    names = {**(vars(module) if module else {}), "datetime": datetime}
    try:
        return eval(annotation, names)  # the file's own text, evaluated in its own namespace
    except Exception:
        return annotation
