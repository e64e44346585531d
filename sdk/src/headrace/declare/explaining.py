"""A loop in words: what `headrace check` prints."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from headrace.declare.durations import format_duration
from headrace.declare.expressions import applied_text, constant_text
from headrace.definition import (
    Aggregate,
    Apply,
    Column,
    Expression,
    LabelDefinition,
    Literal,
    LoopDefinition,
    ModelDefinition,
    StreamDefinition,
    ViewDefinition,
)


def explain(loop: LoopDefinition) -> str:
    """Streams with their topics, views with their windows, labels, and models with their features."""
    lines = [f"loop {loop.name}", f"  a partition without backlog for {format_duration(loop.idle)} holds nobody back"]
    for stream in loop.streams:
        lines += ["", *_stream(loop, stream)]
    for view in loop.views:
        lines += ["", *_view(view)]
    for label in loop.labels:
        lines += ["", *_label(label)]
    for model in loop.models:
        lines += ["", *_model(loop, model)]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def expression_text(expression: Expression) -> str:
    """An expression as its user would write it."""
    match expression:
        case Column(name=name):
            return name
        case Literal(value=value):
            return repr(value) if isinstance(value, str) else constant_text(value)
        case Aggregate(view=view, aggregate=aggregate, window=window):
            return f"{view}.{aggregate}.{window}"
        case Apply(operation=operation, arguments=arguments, parameters=parameters):
            shown = [repr(own) if isinstance(own, str) else own for own in parameters]
            return applied_text(operation, [expression_text(own) for own in arguments], shown)


def topic(loop: LoopDefinition, stream: str) -> str:
    """The full name of a stream's topic, in the default namespace."""
    from headrace.log.topics import Topics

    return Topics(loop.name).stream(stream)


def _stream(loop: LoopDefinition, stream: StreamDefinition) -> list[str]:
    ahead = "any" if stream.ahead is None else f"up to {format_duration(stream.ahead)}"
    facts = [
        ("topic", topic(loop, stream.name)),
        ("partitions", f"{stream.partitions}, by key {stream.key}"),
        ("time", f"{stream.time}, up to {format_duration(stream.lateness)} late, {ahead} ahead of the clock"),
        ("id", f"{stream.id}, remembered for {format_duration(stream.horizon)}"),
        ("event", f"at most {stream.max_bytes} bytes"),
    ]
    fields = [(own.name, own.type, "optional" if own.optional else "") for own in stream.fields]
    return [f"stream {stream.name}", *_table(facts), *_titled("fields", fields)]


def _view(view: ViewDefinition) -> list[str]:
    facts = [("over", view.stream), ("by", ", ".join(view.by))]
    if view.where is not None:
        facts.append(("where", expression_text(view.where)))
    facts += [(f"with {name}", expression_text(value)) for name, value in view.columns]
    facts += [
        ("resolution", f"r = {format_duration(view.resolution)}"),
        ("exact", f"at any time up to {format_duration(view.keep)} behind a row's newest event"),
        ("version", view.hash),
    ]
    aggregates = [(own.name, f"{own.operation}({own.column or ''})") for own in view.aggregates]
    windows = [
        (
            own.name,
            f"h = {format_duration(own.hop)}",
            f"read at t: ⌊t/h⌋·h − {format_duration(own.size - own.hop)} ≤ time < ⌊t/r⌋·r",
        )
        for own in view.windows
    ]
    return [f"view {view.name}", *_table(facts), *_titled("features", aggregates), *_titled("windows", windows)]


def _label(label: LabelDefinition) -> list[str]:
    facts = [
        ("of", f"{label.of}, told by {label.stream}, whose {label.id} is the event's id"),
        ("value", f"{expression_text(label.value)}, a {label.type}"),
        ("wait", f"{format_duration(label.wait)} of event time"),
    ]
    return [f"label {label.name}", *_table(facts)]


def _model(loop: LoopDefinition, model: ModelDefinition) -> list[str]:
    waits = "for ever" if model.wait is None else f"up to {format_duration(model.wait)}"
    published = f"every {model.publish_examples} examples"
    if model.publish_seconds is not None:
        published += f", and every {constant_text(model.publish_seconds)} s"
    source = f"every event of {model.stream}" if model.vectors == "stream" else "requests that name an event"
    facts = [
        ("predicts", f"{model.label} on {model.stream}: {model.task}"),
        ("vectors", f"from {source}; waiting for views {waits}"),
        ("views", ", ".join(own.name for own in loop.views_of(model)) or "none"),
        ("published", published),
        ("learner", model.learner),
        ("version", model.hash),
    ]
    features = [
        (str(number), own.name, own.type, expression_text(own.value) if _is_computed(own.value) else _source(own.value))
        for number, own in enumerate(model.features, 1)
    ]
    return [f"model {model.name}", *_table(facts), *_titled(f"features ({len(features)})", features)]


def _is_computed(value: Expression) -> bool:
    return isinstance(value, Apply | Literal)


def _source(value: Expression) -> str:
    return f"the view's row of {', '.join(value.key)}" if isinstance(value, Aggregate) else "the event's field"


def _titled(title: str, rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"  {title}", *_table(rows, indent=4)] if rows else []


def _table(rows: Iterable[Sequence[str]], indent: int = 2) -> list[str]:
    """Rows in aligned columns; the last one is not padded."""
    listed = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*listed, strict=True)]
    return [
        " " * indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in listed
    ]
