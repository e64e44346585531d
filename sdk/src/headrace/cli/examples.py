"""An example of an event that a model can be asked about, made from the loop's definition."""

from __future__ import annotations

import json
import shlex

from headrace.definition import Aggregate, Column, FieldType, LoopDefinition, ModelDefinition, walk

_VALUES = {
    FieldType.FLOAT: 1.0,
    FieldType.INT: 1,
    FieldType.BOOL: True,
    FieldType.STRING: "A",
}

#: The time of an example, if no better one is known.
_TIME = "2026-01-31T12:00:00Z"


def example_event(loop: LoopDefinition, model: ModelDefinition, at: str = _TIME) -> dict[str, object]:
    """Return the time and the fields that the model's features and entity keys need, each with a value of its type.

    Parameters
    ----------
    at
        The time of the event.
    """
    stream = loop.stream(model.stream)
    names = {stream.time}
    for feature in model.features:
        for node in walk(feature.value):
            if isinstance(node, Column):
                names.add(node.name)
            elif isinstance(node, Aggregate):
                names.update(node.key)
    return {field.name: _VALUES.get(field.type, at) for field in stream.fields if field.name in names}


def example_command(loop: LoopDefinition, at: str = _TIME) -> str:
    """Return a `headrace score` command that can be copied; empty if the loop has no model."""
    if not loop.models:
        return ""
    model = loop.models[0]
    event = json.dumps(example_event(loop, model, at))
    return f"headrace score {model.title} --loop {loop.name} --event {shlex.quote(event)}"
