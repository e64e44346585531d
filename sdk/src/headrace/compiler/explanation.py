"""A description of a loop: the output of `headrace check`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from headrace.compiler.expression_text import expression_text
from headrace.compiler.loop_file import LoadedLoop
from headrace.declare.durations import format_duration
from headrace.definition import (
    Aggregate,
    AggregateDefinition,
    Apply,
    Column,
    Expression,
    FeatureDefinition,
    FieldType,
    LabelDefinition,
    Literal,
    LoopDefinition,
    ModelDefinition,
    StreamDefinition,
    ViewDefinition,
    titles,
)
from headrace.engine.marks import Marking

#: Upper estimates of the bytes of an id, of an entry of the join, and of each value of a vector in it. Valkey needs 76
#: for an id of 13 characters, and 229 for an entry with a vector of 90 bytes.
ID_BYTES, ENTRY_BYTES, VALUE_BYTES = 200, 400, 9

#: The rate of questions per second for which `check` shows the cost.
RATE = 1_000


def explain(explained: LoopDefinition | LoadedLoop) -> str:
    """Describe streams with their topics, views with their windows, labels, and models with their features.

    Of a loop that was loaded from its file, also say which models are learned by compiled code.
    """
    loaded = explained if isinstance(explained, LoadedLoop) else None
    loop = explained.definition if isinstance(explained, LoadedLoop) else explained
    lines = [
        f"loop {loop.name}",
        f"  a partition without backlog for {format_duration(loop.idle)} holds nobody back",
        f"  versions of models are compacted after {loop.compact_models:,} bytes",
        f"  dead letters are kept {_retention_text(loop.dead_letters_retention)}{_at_most(loop.dead_letters_bytes)}",
    ]
    for stream in loop.streams:
        lines += ["", *_stream(loop, stream)]
    for view in loop.views:
        lines += ["", *_view(view)]
    for label in loop.labels:
        lines += ["", *_label(label)]
    for model in loop.models:
        lines += ["", *_model(loop, model, None if loaded is None else _learned(loaded, model))]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def topic(loop: LoopDefinition, stream: str) -> str:
    """Return the full name of a stream's topic in the default namespace."""
    from headrace.wire.topics import Topics

    return Topics(loop.name).stream(stream)


def _stream(loop: LoopDefinition, stream: StreamDefinition) -> list[str]:
    ahead = "any" if stream.ahead is None else f"up to {format_duration(stream.ahead)}"
    facts = [
        ("topic", topic(loop, stream.name)),
        ("partitions", f"{stream.partitions}, by key {stream.key}"),
        ("time", f"{stream.time}, up to {format_duration(stream.lateness)} late, {ahead} ahead of the clock"),
        ("id", f"{stream.id}, remembered for {format_duration(stream.horizon)}, at most {stream.ids:,} a partition:"),
        ("", f"up to {_bytes(stream.ids * ID_BYTES)} in the store, and in each process that reads the partition"),
        *([("", "a hash of the other fields: identical events are one")] if stream.content_id else []),
        *([("times", f"are written as ISO 8601, or {stream.time_format}")] if stream.time_format else []),
        ("event", f"at most {stream.max_bytes} bytes"),
        ("marks", _marks(stream)),
        ("kept", _retention_text(stream.retention)),
    ]
    fields = [(field.name, field.type, "optional" if field.optional else "") for field in stream.fields]
    return [f"stream {stream.name}", *_table(facts), *_titled_table("fields", fields)]


def _marks(stream: StreamDefinition) -> str:
    """Describe who may send marks, and what bounds their effect."""
    if stream.marks == Marking.NOBODY:
        return "of nobody: its watermark moves by events alone"
    senders = "headrace's own commands" if stream.marks == Marking.CLI else "anyone"
    bound = f", up to {format_duration(stream.ahead)} ahead of the clock" if stream.ahead is not None else ""
    if stream.confirm_above is None:
        return f"of {senders}{bound}"
    waits = f"one that decides more than {stream.confirm_above:,} questions at once waits for headrace mark --confirm"
    return f"of {senders}{bound}; {waits}"


def _at_most(size: int | None) -> str:
    return "" if size is None else f", the newest {_bytes(size)} of them"


def _retention_text(retention: int | None) -> str:
    return "forever" if retention is None else f"for {format_duration(retention)}"


def _view(view: ViewDefinition) -> list[str]:
    facts = [("over", view.stream), ("by", ", ".join(view.by))]
    if view.where is not None:
        facts.append(("where", expression_text(view.where)))
    facts += [(f"with {name}", expression_text(value)) for name, value in view.columns]
    facts += [
        ("resolution", f"r = {format_duration(view.resolution)}"),
        ("exact", f"at any time up to {format_duration(view.keep)} behind a row's newest event"),
        ("stored", f"until {format_duration(view.lifetime)} after a row's last event"),
        ("version", view.hash),
    ]
    aggregates = [(aggregate.name, _aggregate_text(aggregate)) for aggregate in view.aggregates]
    windows = [
        (
            window.name,
            f"h = {format_duration(window.hop)}",
            f"read at t: ⌊t/h⌋·h − {format_duration(window.size - window.hop)} ≤ time < ⌊t/r⌋·r",
        )
        for window in view.windows
    ]
    return [
        _heading("view", view),
        *_table(facts),
        *_titled_table("aggregates", aggregates),
        *_titled_table("windows", windows),
    ]


def _aggregate_text(aggregate: AggregateDefinition) -> str:
    return f"{aggregate.operation} of {aggregate.column or 'events'}"


def _label(label: LabelDefinition) -> list[str]:
    whose = "the event's" if label.after is not None else "the event's id"
    facts = [
        ("of", f"{label.of}, reported by {label.stream}, whose {label.id} is {whose}"),
        ("value", f"{expression_text(label.value)}, a {label.type}"),
        ("within", f"{format_duration(label.within)} of event time"),
        ("counts", _counts(label)),
    ]
    if label.known_at is not None:
        facts.append(("known", f"at the time in its event's {label.known_at}"))
    if label.absent is not None:
        facts.append(("absent", f"{_outcome(label, label.absent)}, {_sparse(label)}"))
    facts += [("keep", f"{rule.share:g} of {_outcome(label, rule.label)}") for rule in label.keep]
    return [_heading("label", label), *_table(facts)]


def _heading(kind: str, part: ViewDefinition | LabelDefinition | ModelDefinition) -> str:
    was = "" if part.alias is None else f", which was {part.name}: its state keeps that name"
    return f"{kind} {part.title}{was}"


def _counts(label: LabelDefinition) -> str:
    if label.after is not None:
        return f"the first event at least {format_duration(label.after)} later"
    return "the last within that time, at the end of it" if label.correct else "the first, as soon as it comes"


def _outcome(label: LabelDefinition, outcome: float | str) -> str:
    return str(outcome > 0.5) if label.type is FieldType.BOOL and isinstance(outcome, float) else str(outcome)


def _sparse(label: LabelDefinition) -> str:
    """Describe what moves the watermark of a stream of labels that has few events."""
    mark = f"headrace mark {label.stream} --until now"
    return f"once the watermark of {label.stream} is past that time: where its events are rare, send marks, {mark}"


def _learned(loop: LoadedLoop, model: ModelDefinition) -> str:
    """Describe what learns a model on this machine: the result is the same, and compiled code is many times faster."""
    from headrace.engine.learning.choice import learner_of  # loads River
    from headrace.engine.learning.ordered_sets import in_order
    from headrace.engine.learning.refusal import Refusal

    chosen = learner_of(in_order(loop.learner(model.name)), model.features, model.task)
    return f"by River: {chosen.reason}" if isinstance(chosen, Refusal) else "by compiled code"


def _model(loop: LoopDefinition, model: ModelDefinition, learned: str | None) -> list[str]:
    waits = "forever" if model.max_delay is None else f"up to {format_duration(model.max_delay)}"
    schedule = f"every {model.publish_examples} examples"
    if model.publish_after is not None:
        schedule += f", and every {format_duration(model.publish_after)}"
    source = f"every event of {model.stream}" if model.vectors == "stream" else "requests that name an event"
    facts = [
        ("predicts", f"{loop.label(model.label).title} on {model.stream}: {model.task}"),
        *_waiting(loop, model),
        ("vectors", f"from {source}; waiting for views {waits}"),
        ("views", ", ".join(view.title for view in loop.views_of(model)) or "none"),
        ("published", schedule),
        (
            "kept",
            f"vectors and predictions {_retention_text(model.retention)}, "
            f"examples {_retention_text(model.examples_retention)}",
        ),
        ("learner", model.learner),
        *([("learned", learned)] if learned is not None else []),
        ("version", model.hash),
    ]
    title = f"features ({len(model.features)})"
    return [_heading("model", model), *_table(facts), *_titled_table(title, _features(loop, model))]


def _waiting(loop: LoopDefinition, model: ModelDefinition) -> list[tuple[str, str]]:
    """Describe what questions cost while they wait for their label, at a rate that is easy to scale."""
    bound = loop.label(model.label).within
    size = ENTRY_BYTES + VALUE_BYTES * len(model.features)
    questions = RATE * bound // 1_000_000
    cost = f"{size} bytes a question for {format_duration(bound)}: at {RATE:,}/s {questions:,} questions"
    limit = f"{_bytes(model.waiting_bytes)} of the store; then no more are read until some are over"
    return [("waiting", f"{cost}, {_bytes(questions * size)}"), ("at most", limit)]


def _bytes(size: float) -> str:
    units = ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size /= 1024
        units.pop(0)
    return f"{size:,.0f} {units[0]}"


def _features(loop: LoopDefinition, model: ModelDefinition) -> list[tuple[str, str, str, str]]:
    """List the features, one per line; the categories of one value share a line."""
    rows = []
    numbered = enumerate(model.features, 1)
    for one_hot, group in groupby(numbered, key=lambda entry: _one_hot_of(entry[1].value)):
        features = list(group)
        if one_hot is None or len(features) == 1:
            rows += [
                (str(number), feature.title, str(feature.type), _source(loop, feature)) for number, feature in features
            ]
        else:
            (first, start), (last, end) = features[0], features[-1]
            categories = f"one-hot of {expression_text(one_hot, titles(loop.views))}, {len(features)} categories"
            rows.append((f"{first}–{last}", f"{start.title} … {end.title}", str(start.type), categories))
    return rows


def _one_hot_of(value: Expression) -> Expression | None:
    match value:
        case Apply("fill", (Apply("eq", (inner, Literal())), Literal(value=0))):
            return inner
    return None


def _source(loop: LoopDefinition, feature: FeatureDefinition) -> str:
    if isinstance(feature.value, Column):
        return "field" if feature.title == feature.value.name else f"field {feature.value.name}"
    if isinstance(feature.value, Aggregate):
        return f"{loop.view(feature.value.view).stream} by {', '.join(feature.value.key)}"
    text = expression_text(feature.value, titles(loop.views))
    return "computed" if text == feature.title else text


def _titled_table(title: str, rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"  {title}", *_table(rows, indent=4)] if rows else []


def _table(rows: Iterable[Sequence[str]], indent: int = 2) -> list[str]:
    """Format rows in aligned columns; the last column is not padded."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*texts, strict=True)]
    return [
        " " * indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in texts
    ]
