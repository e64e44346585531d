"""Compilation of a stream's declaration to its definition."""

from __future__ import annotations

from datetime import datetime
from typing import get_args

from headrace.compiler.mistakes import Mistakes
from headrace.declare.declaration import NAMES, is_name
from headrace.declare.durations import EXAMPLES, parse_duration
from headrace.declare.fields import CONTENT, PYTHON, ContentId, a_type, annotated_type, annotation_text
from headrace.declare.place import Place
from headrace.declare.streams import Stream, TimeUnit, stream_name, stream_part
from headrace.definition import Field, FieldType, StreamDefinition
from headrace.engine.marks import Marking
from headrace.wording import instead_of

#: Reserved names: `<loop>-models` is the topic of all versions.
RESERVED = ("models",)

#: The units that a number given as a time may count.
TIME_UNITS: tuple[str, ...] = get_args(TimeUnit)


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
            time=self._role("time", (FieldType.TIME,), "holds the time of the event"),
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
        kind, optional = annotated_type(annotation)
        if kind is None:
            self._wrong(
                f"field {name!r} has the wrong type {annotation_text(annotation)}",
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
        kind, optional = annotated_type(fields[name])
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
