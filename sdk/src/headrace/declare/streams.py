"""Streams: declared event types."""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Union, get_args, get_origin

from headrace.declare.declaration import NAMES, is_name, record, snake_case
from headrace.declare.durations import EXAMPLES, parse_duration
from headrace.declare.expressions import Column
from headrace.declare.mistakes import Mistakes, instead_of
from headrace.declare.place import Place
from headrace.definition import Field, FieldType, StreamDefinition
from headrace.engine.marks import Marking

#: The types that a field may be annotated with.
TYPES: dict[object, FieldType] = {
    float: FieldType.FLOAT,
    int: FieldType.INT,
    bool: FieldType.BOOL,
    str: FieldType.STRING,
    datetime: FieldType.TIME,
}

#: Reserved names: `<loop>-models` is the topic of all versions.
RESERVED = ("models",)

#: The id of a stream whose events are identified by their content, and the field that holds it.
CONTENT = "content"

#: The units that a number given as a time may count.
TIME_UNITS = ("s", "ms", "us", "ns")


class ContentId(str):
    """The type of the field that holds an id computed from the event's content."""


class _Reference:
    """A descriptor that makes ``Departed.delay_min`` a column that knows where it is used."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, instance: object, owner: type[Stream]) -> Column:
        return Column(self._name, owner)


if TYPE_CHECKING:
    # Type checkers know a stream's fields and options, and report wrong ones themselves.
    _StreamType = type
else:

    class _StreamType(type):
        """A metaclass that makes an undeclared field a column, too, so that it is reported with all other mistakes."""

        def __getattr__(cls, name: str) -> Column:
            if name.startswith("_"):
                raise AttributeError(f"type object {cls.__name__!r} has no attribute {name!r}")
            return Column(name, cls)


class Stream(metaclass=_StreamType):
    """An event type: subclass it, annotate its fields, and say which ones are its key, time and id.

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
        id: str | None = None,
        name: str | None = None,
        lateness: str = "0s",
        horizon: str = "7d",
        ids: int = 1_000_000,
        partitions: int = 1,
        max_bytes: int = 65_536,
        ahead: str | None = "1d",
        retention: str | None = None,
        time_format: str | None = None,
        missing: Sequence[str] = (),
        marks: str = "anyone",
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
            **{field: _evaluate(cls, text) for field, text in annotations.items()},
        }
        if id == CONTENT:
            cls.__fields__.setdefault(CONTENT, ContentId)
        cls.__assigned__ = {
            field: value for field, value in vars(cls).items() if not field.startswith("__") and not callable(value)
        }
        for field in annotations:
            setattr(cls, field, _Reference(field))
        record(cls)


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
    return {field: _field_type(annotation)[0] for field, annotation in stream.__fields__.items()}


def field_type(stream: type[Stream], role: str) -> FieldType | None:
    """Return the type of the field that is the stream's ``key``, ``time`` or ``id``, if there is one."""
    return field_types(stream).get(stream.__options__[role])


def define_stream(stream: type[Stream], mistakes: Mistakes) -> StreamDefinition:
    """Compile a stream to its definition; it is meaningless if mistakes were found."""
    return _StreamCompiler(stream, mistakes).define()


class _StreamCompiler:
    def __init__(self, stream: type[Stream], mistakes: Mistakes) -> None:
        self._stream = stream
        self._place = stream.__place__
        self._part = stream_part(stream)
        self._options = stream.__options__
        self._mistakes = mistakes

    def define(self) -> StreamDefinition:
        self._check_name()
        fields = tuple(self._field(name, annotation) for name, annotation in self._stream.__fields__.items())
        if not fields:
            self._wrong("it has no fields", "Annotate them in the class: `delay_min: float`.")
        self._check_assigned()
        return StreamDefinition(
            name=stream_name(self._stream),
            fields=fields,
            key=self._role("key", (FieldType.STRING, FieldType.INT), "its events are spread by"),
            time=self._role("time", (FieldType.TIME,), "tells when the event happened"),
            id=self._role("id", (FieldType.STRING, FieldType.INT), "names the event"),
            lateness=self._duration("lateness"),
            horizon=self._duration("horizon"),
            ids=self._positive_int("ids"),
            partitions=self._positive_int("partitions"),
            max_bytes=self._positive_int("max_bytes"),
            time_format=self._time_format(),
            content_id=self._stream.__fields__.get(CONTENT) is ContentId,
            missing=self._missing(),
            ahead=None if self._options["ahead"] in (None, "any") else self._duration("ahead"),
            marks=self._marks(),
            confirm_above=None if self._options["confirm_above"] is None else self._positive_int("confirm_above"),
        )

    def _wrong(self, problem: str, cure: str, place: Place | None = None) -> None:
        self._mistakes.add(place or self._place, self._part, problem, cure)

    def _check_name(self) -> None:
        name = self._options["name"]
        if not is_name(name):
            self._wrong(f"{name!r} is no name for a stream", NAMES)
        elif name in RESERVED:
            self._wrong(f"the name {name!r} is taken by headrace's own topic", "Name it otherwise.")

    def _line(self, field: str) -> Place:
        return self._place.field(self._stream.__name__, field)

    def _field(self, name: str, annotation: object) -> Field:
        kind, optional = _field_type(annotation)
        if kind is None:
            self._wrong(
                f"field {name!r} has the wrong type {_annotation_text(annotation)}",
                "Use float, int, bool, str or datetime, or one of them | None.",
                self._line(name),
            )
        if name.startswith("_"):
            self._wrong(f"field {name!r} starts with _", "Start it with a letter.", self._line(name))
        return Field(name, kind or FieldType.FLOAT, optional)

    def _check_assigned(self) -> None:
        for field, value in self._stream.__assigned__.items():
            if field not in self._stream.__fields__:
                cure = f"Annotate it: `{field}: float`."
                self._wrong(f"{field!r} is assigned, but has no type", cure, self._line(field))
            elif value is not None:
                cure = f"Declare it `| None`, and fill it where it is used: .fill({value!r})."
                self._wrong(f"field {field!r} has a default: a stream's fields have none", cure, self._line(field))

    def _role(self, role: str, kinds: tuple[FieldType, ...], meaning: str) -> str:
        name = self._options[role]
        fields = self._stream.__fields__
        example = f'class {self._stream.__name__}(Stream, {role}="...").'
        if name is None:
            self._wrong(f"it has no {role}", f"Say which field {meaning}: {example}")
            return ""
        if not isinstance(name, str):
            self._wrong(f"its {role} is {name!r}, not the name of a field", f"Write the name as a string: {example}")
            return ""
        if not fields:
            return name
        if name not in fields:
            self._wrong(f"its {role} {name!r} is no field", instead_of(name, fields, "fields"))
            return name
        kind, optional = _field_type(fields[name])
        words = " or ".join(PYTHON[kind] for kind in kinds)
        if kind is not None and kind not in kinds:
            self._wrong(f"its {role} {name!r} is {a_type(kind)}", f"Use a field of type {words}.")
        if optional:
            self._wrong(f"its {role} {name!r} is optional", f"Every event needs its {role}: drop the `| None`.")
        return name

    def _duration(self, option: str) -> int:
        try:
            return parse_duration(self._options[option])
        except ValueError as error:
            self._wrong(f"{option} {error}", EXAMPLES)
            return 0

    def _time_format(self) -> str | None:
        form: object = self._options["time_format"]
        if form is None or (isinstance(form, str) and (form in TIME_UNITS or _is_pattern(form))):
            return form
        units = ", ".join(map(repr, TIME_UNITS))
        self._wrong(f"time_format is {form!r}", f'Write a unit ({units}) or a pattern of strptime: "%d.%m.%Y %H:%M".')
        return None

    def _missing(self) -> tuple[str, ...]:
        values = self._options["missing"]
        if isinstance(values, list | tuple) and all(isinstance(value, str) for value in values):
            return tuple(values)
        self._wrong(f"missing is {values!r}", 'Write a list of what stands for a missing value: missing=["NA"].')
        return ()

    def _marks(self) -> Marking:
        value = self._options["marks"]
        if value in list(Marking):
            return Marking(value)
        self._wrong(f"marks is {value!r}", 'Write who may send them: marks="nobody", "cli" or "anyone".')
        return Marking.ANYONE

    def _positive_int(self, option: str) -> int:
        value = self._options[option]
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
        self._wrong(f"{option} is {value!r}", "Write a whole number above zero.")
        return 1


def _is_pattern(text: str) -> bool:
    """Return whether `strptime` can read a whole date with it."""
    try:
        moment = datetime(2001, 2, 3)
        return datetime.strptime(moment.strftime(text), text).date() == moment.date()
    except ValueError:
        return False


#: The names of types in a loop file.
PYTHON = {kind: python.__name__ for python, kind in TYPES.items() if isinstance(python, type)}


def a_type(kind: FieldType | None) -> str:
    """Return a type's name for an error message."""
    python = PYTHON[kind] if kind else "something"
    return f"{'an' if python == 'int' else 'a'} {python}"


def _field_type(annotation: object) -> tuple[FieldType | None, bool]:
    if get_origin(annotation) in (Union, types.UnionType):
        members = [member for member in get_args(annotation) if member is not type(None)]
        optional = len(members) < len(get_args(annotation))
        return (_single_type(members[0]), optional) if len(members) == 1 else (None, optional)
    return _single_type(annotation), False


def _single_type(annotation: object) -> FieldType | None:
    if annotation is ContentId:
        return FieldType.STRING
    return TYPES.get(annotation) if isinstance(annotation, type) else None


def _annotation_text(annotation: object) -> str:
    return annotation.__name__ if type(annotation) is type else str(annotation)


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
