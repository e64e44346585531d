"""Compilation of a label's declaration to its definition."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TypeAlias

from headrace.compiler.mistakes import Mistakes
from headrace.compiler.scope import Scope
from headrace.declare.durations import EXAMPLES, parse_duration
from headrace.declare.expressions import Expression
from headrace.declare.fields import a_type
from headrace.declare.labels import Label
from headrace.declare.streams import field_type, field_types, is_stream, stream_name
from headrace.definition import FieldType, Keep, LabelDefinition
from headrace.wording import instead_of


def known_at(label: Label) -> str | None:
    """Return the field that says when the outcome is known, if the label has one."""
    return label.known_at if isinstance(label.known_at, str) else None


def label_id(label: Label) -> str | None:
    """Return the field that names the event, or the entity of a forecast, if the label has one."""
    if label.by is not None:
        return str(label.by)
    if label.id is not None:
        return str(label.id)
    field = label.stream.__options__["id"] if is_stream(label.stream) else None
    return field if isinstance(field, str) else None


def define_label(label: Label, mistakes: Mistakes) -> LabelDefinition | None:
    """Compile a label to its definition; return None if its value or streams have mistakes."""
    before = len(mistakes)

    def report(problem: str, cure: str) -> None:
        mistakes.add(label.place, label.part, problem, cure)

    for role, stream in (("reported by", label.stream), ("of", label.of)):
        if not is_stream(stream):
            report(f"it is {role} {stream!r}, no stream", "Write Label(Arrived, of=Scheduled, ...).")
    if len(mistakes) > before:
        return None
    within = 0
    try:
        within = parse_duration(label.within)
    except ValueError as error:
        report(f"within {error}", EXAMPLES)
    after = _after(label, within, report)
    if after is None:
        _check_id(label, mistakes)
    if not isinstance(label.value, Expression):
        report(f"its value is {label.value!r}", 'Write an expression of columns, such as col("delay_min") > 15.')
        return None
    value = Scope(label.stream, label.part, mistakes).resolve(label.value)
    if value is None:
        return None
    if value.type is FieldType.TIME:
        cure = "Use a condition, a class (str or int) or a number."
        mistakes.add(
            label.value.place,
            label.part,
            f"its value {label.value.name} has the wrong type: {a_type(value.type)}",
            cure,
        )
    if not isinstance(label.correct, bool):
        report(f"correct is {label.correct!r}", "Write correct=True: the last outcome in time counts.")
    return LabelDefinition(
        name=label.state_name,
        stream=stream_name(label.stream),
        of=stream_name(label.of),
        id=label_id(label) or "",
        value=value.value,
        type=value.type,
        within=within,
        absent=_absent(label, value.type, report),
        correct=label.correct is True,
        keep=_keep(label, value.type, report),
        after=after,
        alias=label.alias,
        known_at=_known_at(label, report),
    )


_Wrong: TypeAlias = Callable[[str, str], None]


def _known_at(label: Label, report: _Wrong) -> str | None:
    if label.known_at is None:
        return None
    name, fields = known_at(label), field_types(label.stream)
    stream = stream_name(label.stream)
    if name is None or name not in fields:
        report(
            f"known_at {name or label.known_at!r} is no field of stream {stream}",
            instead_of(str(name), fields, "fields"),
        )
        return None
    if fields[name] not in (FieldType.TIME, None):
        report(f"known_at {name!r} is {a_type(fields[name])}", "Use a field of type datetime.")
    if label.after is not None or label.by is not None:
        report(
            "it is a forecast with known_at",
            "A forecast is known at the time of the event that reports it: drop known_at=.",
        )
    return name


def _after(label: Label, within: int, report: _Wrong) -> int | None:
    """Return the least distance of a forecast, in µs; None if the label is not a forecast."""
    if label.after is None and label.by is None:
        return None
    stream = stream_name(label.stream)
    if label.after is None or label.by is None:
        given, missing = ("by", "after") if label.after is None else ("after", "by")
        report(f"it has {given} and no {missing}", 'A forecast has both: by="patient", after="30m".')
        return None
    if label.stream is not label.of:
        problem = f"it is a forecast of stream {stream_name(label.of)} by events of stream {stream}"
        name = label.of.__name__
        report(problem, f"A later event of the same stream reports it: Label({name}, of={name}, ...).")
    if label.id is not None or label.correct:
        report(
            "it is a forecast with an id, or a correction", "The first event after it counts: drop id= and correct=."
        )
    _check_entity(label, report)
    try:
        after = parse_duration(label.after)
    except ValueError as error:
        report(f"after {error}", EXAMPLES)
        return None
    if not 0 < after <= within:
        report(
            f"after is {label.after!r}, and within {label.within!r}",
            "Make within longer than after: until when may the outcome come?",
        )
    return after


def _check_entity(label: Label, report: _Wrong) -> None:
    """Check that a forecast is by the stream's key, and that later events can have the same."""
    stream, options = stream_name(label.stream), label.stream.__options__
    key, id = options["key"], options["id"]
    if label.by == id:
        report(
            f"by is {label.by!r}, the id of stream {stream}, which no later event has",
            'Name the field of what the events are about, in the stream too: key="patient", by="patient".',
        )
    elif label.by != key:
        cure = f"Write key={label.by!r} in stream {stream}." if key == id else f"Write by={key!r}."
        report(f"by is {label.by!r}, and the key of stream {stream} is {key!r}", cure)


def _absent(label: Label, type: FieldType, report: _Wrong) -> float | str | None:
    if label.absent is None:
        return None
    outcome = as_outcome(label.absent, type)
    if outcome is None:
        report(f"absent is {label.absent!r}, and its value is {a_type(type)}", "Write an outcome of that type.")
    return outcome


def _keep(label: Label, type: FieldType, report: _Wrong) -> tuple[Keep, ...]:
    if label.keep is None:
        return ()
    if type is FieldType.FLOAT:
        report("its value is a number, which has no classes to keep a share of", "Drop keep=.")
        return ()
    if not isinstance(label.keep, Mapping):
        report(f"keep is {label.keep!r}", "Write the share of each class: keep={False: 0.05}.")
        return ()
    rules: list[Keep] = []
    for value, share in label.keep.items():
        outcome = as_outcome(value, type)
        if outcome is None:
            report(f"keep has {value!r}, and its value is {a_type(type)}", "Name an outcome of that type.")
        elif isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
            report(f"keep of {value!r} is {share!r}", "Write a share above 0, at most 1.")
        else:
            rules.append(Keep(outcome, float(share)))
    return tuple(rules)


def as_outcome(value: object, type: FieldType) -> float | str | None:
    """Return an outcome in the form of the log: 0 or 1, a class as text, or a number; None if it has another type.

    Examples
    --------
    >>> as_outcome(False, FieldType.BOOL), as_outcome(3, FieldType.INT), as_outcome("x", FieldType.FLOAT)
    (0.0, '3', None)
    """
    if isinstance(value, bool):
        return float(value) if type is FieldType.BOOL else None
    if type is FieldType.STRING:
        return value if isinstance(value, str) and value else None
    if type is FieldType.INT:
        return str(value) if isinstance(value, int) else None
    if type is FieldType.FLOAT and isinstance(value, int | float) and math.isfinite(value):
        return float(value)
    return None


def _check_id(label: Label, mistakes: Mistakes) -> None:
    fields = field_types(label.stream)
    name = label_id(label)
    label_stream, event_stream = stream_name(label.stream), stream_name(label.of)
    if name is None:
        cure = f'Say which field of {label_stream} holds the id of the {event_stream} event: id="...".'
        mistakes.add(label.place, label.part, "it has no id", cure)
        return
    if name not in fields:
        if label.id is not None:
            problem = f"its id {name!r} is no field of stream {label_stream}"
            mistakes.add(label.place, label.part, problem, instead_of(name, fields, "fields"))
        return
    label_type, event_type = fields[name], field_type(label.of, "id")
    if label_type is not None and event_type is not None and label_type is not event_type:
        problem = f"its id {name!r} is {a_type(label_type)}, and stream {event_stream}'s id is {a_type(event_type)}"
        mistakes.add(
            label.place, label.part, problem, f'Say which field holds the id of the {event_stream} event: id="...".'
        )
