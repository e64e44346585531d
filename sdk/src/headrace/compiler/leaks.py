"""Detection of features that would reveal to a model what it is to predict."""

from __future__ import annotations

from headrace import definition
from headrace.compiler.label_definition import known_at, label_id
from headrace.compiler.mistakes import Mistakes
from headrace.declare.aggregates import Aggregate
from headrace.declare.expressions import Column, Expression, Named, Operation
from headrace.declare.labels import Label
from headrace.declare.models import Model
from headrace.declare.streams import is_stream, stream_name
from headrace.declare.views import Read, View


def check(model: Model, feature: Expression, value: definition.Expression, mistakes: Mistakes) -> None:
    """Report why a feature leaks the model's label, if it does.

    A window ends before the event's own tick, so views over the past do not leak. Three things do: a field
    that the label is made from, if the event has its own label; the event's id; and a view whose entity is
    the event.
    """
    label = model.label
    if not is_stream(label.stream):
        return

    def report(problem: str, cure: str) -> None:
        mistakes.add(feature.place, model.part, problem, cure)

    inputs = set(_fields(value))
    # The asking event has its own outcome, unless a later one has it.
    has_label = label.stream is model.on and label.after is None and label_id(label) == model.on.__options__["id"]
    later = _known_later(label)
    fields = _outcome(label) if has_label else set()
    for field in sorted(inputs & fields):
        problem = f"feature {feature.name!r} leaks label {label.name}, which is made of the same {field!r}"
        report(problem, "Drop it: when the model is asked, nobody knows it yet.")
    own_id = model.on.__options__["id"]
    if own_id in inputs:
        problem = f"feature {feature.name!r} is made of {own_id!r}, the id of stream {stream_name(model.on)}"
        report(problem, "Drop it: no two events share it, so there is nothing in it to learn.")
    for read in _reads(feature):
        early = _of_view(read.view) & later if read.view.stream is label.stream else set()
        if early:
            problem = f"view {read.view.name} leaks label {label.name}: it is made of {min(early)!r}, known only later"
            cure = f"Aggregate it over a stream of its own, whose time is {known_at(label)!r}: play the file as both."
            report(problem, cure)
        if is_stream(read.view.stream) and read.view.stream is label.stream and _is_by_event(model, read):
            problem = f"view {read.view.name} leaks label {label.name}: it is read by the event's own id"
            report(problem, f"Let it be by an entity that many events of {stream_name(label.stream)} share.")


def _outcome(label: Label) -> set[str]:
    """Return the fields that an event's own outcome is made from."""
    fields = _columns(label.value) if isinstance(label.value, Expression) else set()
    time = known_at(label)
    return fields if time is None else {*fields, time}


def _known_later(label: Label) -> set[str]:
    """Return the fields of the label's stream that are unknown at the time of their event."""
    return _outcome(label) if label.known_at is not None else set()


def _of_view(view: View) -> set[str]:
    """Return the fields that a view is made from."""
    derived = {name: expression for name, expression in view.derive.items() if isinstance(expression, Expression)}
    aggregates = view.aggregates.values() if isinstance(view.aggregates, dict) else ()
    sources = [aggregate.column for aggregate in aggregates if isinstance(aggregate, Aggregate)]
    conditions = [view.where] if isinstance(view.where, Expression) else []
    names = {source for source in sources if isinstance(source, str)}
    expressions = [*derived.values(), *conditions, *(source for source in sources if isinstance(source, Expression))]
    return {*view.by, *names, *(column for expression in expressions for column in _columns(expression))}


def _is_by_event(model: Model, read: Read) -> bool:
    """Return whether a view is read by this event's own id: another event's id is not a leak."""
    own_id = model.on.__options__["id"]
    return any(read.key.get(name, name) == own_id for name in read.view.by)


def _fields(value: definition.Expression) -> list[str]:
    return [node.name for node in definition.walk(value) if isinstance(node, definition.Column)]


def _columns(expression: Expression) -> set[str]:
    return {node.column for node in _walk(expression) if isinstance(node, Column)}


def _reads(expression: Expression) -> list[Read]:
    return [node for node in _walk(expression) if isinstance(node, Read)]


def _walk(expression: Expression) -> list[Expression]:
    if isinstance(expression, Named):
        return _walk(expression.of)
    inner = expression.arguments if isinstance(expression, Operation) else ()
    return [expression, *(node for argument in inner for node in _walk(argument))]
