"""Labels: outcomes that arrive later."""

from __future__ import annotations

from headrace.declare.declaration import Declaration
from headrace.declare.durations import EXAMPLES, parse_duration
from headrace.declare.expressions import Expression, Operand
from headrace.declare.mistakes import Mistakes, instead_of
from headrace.declare.resolving import Scope
from headrace.declare.streams import Stream, a_type, field_type, field_types, is_stream, stream_name
from headrace.declare.views import Duration
from headrace.definition import FieldType, LabelDefinition


class Label(Declaration):
    """The outcome of the events of one stream, told by those of another (or the same).

    Parameters
    ----------
    stream
        The stream that tells the outcome.
    of
        The stream whose events it is the outcome of.
    value
        The outcome. A condition makes a binary label, a string or whole number a class, any other
        number a quantity to be estimated.
    wait
        How much later, in event time, an outcome still counts.
    id
        The field of `stream` that holds the id of the event of `of`; by default `stream`'s own id.
    name
        Its name, by default the variable's.
    was
        Its name before, where it was renamed: its state is kept, under the old name.
    """

    kind = "label"

    def __init__(
        self,
        stream: type[Stream],
        *,
        of: type[Stream],
        value: Operand,
        wait: Duration,
        id: str | None = None,
        name: str | None = None,
        was: str | None = None,
    ) -> None:
        super().__init__(name, was)
        self.stream = stream
        self.of = of
        self.value = value
        self.wait = wait
        self.id = id


def label_id(label: Label) -> str | None:
    """The field that names the event, where the label has one."""
    if isinstance(label.id, Expression):
        return label.id.name
    if label.id is not None:
        return label.id
    named = label.stream.__options__["id"] if is_stream(label.stream) else None
    return named if isinstance(named, str) else None


def define_label(label: Label, mistakes: Mistakes) -> LabelDefinition | None:
    """The definition of a label; None where its value or streams are mistaken."""
    before = len(mistakes)

    def wrong(problem: str, cure: str) -> None:
        mistakes.add(label.place, label.part, problem, cure)

    for role, stream in (("told by", label.stream), ("of", label.of)):
        if not is_stream(stream):
            wrong(f"it is {role} {stream!r}, no stream", "Write Label(Arrived, of=Scheduled, ...).")
    if len(mistakes) > before:
        return None
    wait = 0
    try:
        wait = parse_duration(label.wait)
    except ValueError as error:
        wrong(f"wait {error}", EXAMPLES)
    _check_id(label, mistakes)
    if not isinstance(label.value, Expression):
        wrong(f"its value is {label.value!r}", 'Write an expression of columns, such as col("delay_min") > 15.')
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
    return LabelDefinition(
        name=label.state_name,
        stream=stream_name(label.stream),
        of=stream_name(label.of),
        id=label_id(label) or "",
        value=value.value,
        type=value.type,
        wait=wait,
        alias=label.alias,
    )


def _check_id(label: Label, mistakes: Mistakes) -> None:
    fields = field_types(label.stream)
    name = label_id(label)
    told, asked = stream_name(label.stream), stream_name(label.of)
    if name is None:
        cure = f'Say which field of {told} holds the id of the {asked} event: id="...".'
        mistakes.add(label.place, label.part, "it has no id", cure)
        return
    if name not in fields:
        if label.id is not None:
            problem = f"its id {name!r} is no field of stream {told}"
            mistakes.add(label.place, label.part, problem, instead_of(name, fields, "fields"))
        return
    here, there = fields[name], field_type(label.of, "id")
    if here is not None and there is not None and here is not there:
        problem = f"its id {name!r} is {a_type(here)}, and stream {asked}'s id is {a_type(there)}"
        mistakes.add(label.place, label.part, problem, f'Say which field holds the id of the {asked} event: id="...".')
