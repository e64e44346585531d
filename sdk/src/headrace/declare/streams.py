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
from headrace.marks import Marking

#: The types that a field may be annotated with.
TYPES: dict[object, FieldType] = {
    float: FieldType.FLOAT,
    int: FieldType.INT,
    bool: FieldType.BOOL,
    str: FieldType.STRING,
    datetime: FieldType.TIME,
}

#: `<loop>-models` is the topic of all versions.
RESERVED = ("models",)

#: The id of a stream whose events are named by what is in them, and the field that holds it.
CONTENT = "content"

#: What a number in the place of a time may count.
TIME_UNITS = ("s", "ms", "us", "ns")


class ContentId(str):
    """The type of the field that holds an id made of the event's content."""


class _Reference:
    """Makes ``Departed.delay_min`` a column that knows where it is used."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, instance: object, owner: type[Stream]) -> Column:
        return Column(self._name, owner)


if TYPE_CHECKING:
    # Type checkers know a stream's fields and options, and tell a wrong one themselves.
    _StreamType = type
else:

    class _StreamType(type):
        """Gives an undeclared field as a column too, so that it is told along with all other mistakes."""

        def __getattr__(cls, name: str) -> Column:
            if name.startswith("_"):
                raise AttributeError(f"type object {cls.__name__!r} has no attribute {name!r}")
            return Column(name, cls)


class Stream(metaclass=_StreamType):
    """An event type: subclass it, annotate its fields, and say which are its key, time and id.

    Parameters
    ----------
    key
        The field by which events are spread over partitions.
    time
        The field that says when the event happened.
    id
        The field that names the event: a second one with the same id is dropped. ``"content"``, where no field is
        called so: a hash of its other fields, so that identical events are one.
    name
        Its name, by default the class's in snake case.
    lateness
        How far behind the newest event of its partition an event may come.
    horizon
        How long, in event time, ids are remembered: an event that is sent again within it counts once.
    ids
        How many ids of a partition are remembered at most, the newest ones.
    partitions
        How many partitions its topic has.
    max_bytes
        The size that an event may have, as JSON.
    ahead
        How far ahead of when it is published the time of an event, or of a mark, may be; ``"any"`` for no bound.
    retention
        How long (wall clock) the broker keeps its events, or ``"forever"``; by default a week more than
        it takes to rebuild all that is made of them.
    time_format
        How files and requests write times beside ISO 8601: as numbers that count ``"s"``, ``"ms"``, ``"us"`` or
        ``"ns"`` since 1970, or by a pattern of ``strptime``, such as ``"%d.%m.%Y %H:%M"``. By default numbers count
        microseconds, and those of January 1970 are refused: they are mostly another unit's.
    missing
        What stands in the cells of CSV for a missing value, beside an empty one: ``["NA"]``.
    marks
        Who may send marks: ``"nobody"``, ``"cli"`` (the commands of headrace), ``"anyone"``.
    confirm_above
        A mark that decides more questions of a model at once waits for ``headrace mark --confirm``; by default none
        does.

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
    #: The annotations by field, and the values assigned beside them.
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
        own = inspect.get_annotations(cls)
        cls.__fields__ = {
            **{field: annotation for field, annotation in cls.__fields__.items() if annotation is not ContentId},
            **{field: _evaluated(cls, text) for field, text in own.items()},
        }
        if id == CONTENT:
            cls.__fields__.setdefault(CONTENT, ContentId)
        cls.__assigned__ = {
            field: value for field, value in vars(cls).items() if not field.startswith("__") and not callable(value)
        }
        for field in own:
            setattr(cls, field, _Reference(field))
        record(cls)


def stream_name(stream: type[Stream]) -> str:
    """The stream's name."""
    return str(stream.__options__["name"])


def stream_part(stream: type[Stream]) -> str:
    """As an error names it."""
    return f"stream {stream_name(stream)}"


def is_stream(value: object) -> bool:
    """Whether it is a declared stream."""
    return isinstance(value, type) and issubclass(value, Stream) and value is not Stream


def field_types(stream: type[Stream]) -> dict[str, FieldType | None]:
    """The type of each field; None where the annotation is none, which its stream's definition tells."""
    return {field: _field_type(annotation)[0] for field, annotation in stream.__fields__.items()}


def field_type(stream: type[Stream], role: str) -> FieldType | None:
    """The type of the field that is the stream's ``key``, ``time`` or ``id``, where there is one."""
    return field_types(stream).get(stream.__options__[role])


def define_stream(stream: type[Stream], mistakes: Mistakes) -> StreamDefinition:
    """The definition of a stream; meaningless where mistakes were found."""
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
            ids=self._whole("ids"),
            partitions=self._whole("partitions"),
            max_bytes=self._whole("max_bytes"),
            time_format=self._time_format(),
            content_id=self._stream.__fields__.get(CONTENT) is ContentId,
            missing=self._missing(),
            ahead=None if self._options["ahead"] in (None, "any") else self._duration("ahead"),
            marks=self._marks(),
            confirm_above=None if self._options["confirm_above"] is None else self._whole("confirm_above"),
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

    def _role(self, role: str, accepted: tuple[FieldType, ...], meaning: str) -> str:
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
        words = " or ".join(PYTHON[own] for own in accepted)
        if kind is not None and kind not in accepted:
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
        given = self._options["missing"]
        if isinstance(given, list | tuple) and all(isinstance(own, str) for own in given):
            return tuple(given)
        self._wrong(f"missing is {given!r}", 'Write a list of what stands for a missing value: missing=["NA"].')
        return ()

    def _marks(self) -> Marking:
        value = self._options["marks"]
        if value in list(Marking):
            return Marking(value)
        self._wrong(f"marks is {value!r}", 'Write who may send them: marks="nobody", "cli" or "anyone".')
        return Marking.ANYONE

    def _whole(self, option: str) -> int:
        value = self._options[option]
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
        self._wrong(f"{option} is {value!r}", "Write a whole number above zero.")
        return 1


def _is_pattern(text: str) -> bool:
    """Whether `strptime` reads a whole date by it."""
    try:
        moment = datetime(2001, 2, 3)
        return datetime.strptime(moment.strftime(text), text).date() == moment.date()
    except ValueError:
        return False


#: What a type is called in a loop file.
PYTHON = {kind: python.__name__ for python, kind in TYPES.items() if isinstance(python, type)}


def a_type(kind: FieldType | None) -> str:
    """A type as an error names it."""
    python = PYTHON[kind] if kind else "something"
    return f"{'an' if python == 'int' else 'a'} {python}"


def _field_type(annotation: object) -> tuple[FieldType | None, bool]:
    if get_origin(annotation) in (Union, types.UnionType):
        members = [own for own in get_args(annotation) if own is not type(None)]
        optional = len(members) < len(get_args(annotation))
        return (_known(members[0]), optional) if len(members) == 1 else (None, optional)
    return _known(annotation), False


def _known(annotation: object) -> FieldType | None:
    if annotation is ContentId:
        return FieldType.STRING
    return TYPES.get(annotation) if isinstance(annotation, type) else None


def _annotation_text(annotation: object) -> str:
    return annotation.__name__ if type(annotation) is type else str(annotation)


def _evaluated(stream: type[Stream], annotation: object) -> object:
    """An annotation as an object: it is text where the file postpones them; unknown names stay text."""
    if not isinstance(annotation, str):
        return annotation
    module = sys.modules.get(stream.__module__)
    names = {**(vars(module) if module else {}), "datetime": datetime}
    try:
        return eval(annotation, names)  # the file's own text, in its own namespace
    except Exception:
        return annotation
