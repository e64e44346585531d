"""An event that a model can be asked about, made from the loop's definition."""

from __future__ import annotations

import json
import shlex

from headrace.definition import Aggregate, Column, FieldType, LoopDefinition, ModelDefinition, walk

_VALUES = {
    FieldType.FLOAT: 1.0,
    FieldType.INT: 1,
    FieldType.BOOL: True,
    FieldType.STRING: "A",
    FieldType.TIME: "2026-01-31T12:00:00Z",
}


def example_event(loop: LoopDefinition, model: ModelDefinition) -> dict[str, object]:
    """The fields that the model's features and entity keys need, each with some value of its type."""
    needed: set[str] = set()
    for feature in model.features:
        for node in walk(feature.value):
            if isinstance(node, Column):
                needed.add(node.name)
            elif isinstance(node, Aggregate):
                needed.update(node.key)
    return {field.name: _VALUES[field.type] for field in loop.stream(model.stream).fields if field.name in needed}


def example_command(loop: LoopDefinition) -> str:
    """A `headrace score` that can be copied; empty where the loop has no model."""
    if not loop.models:
        return ""
    model = loop.models[0]
    event = json.dumps(example_event(loop, model))
    return f"headrace score {model.title} --loop {loop.name} --event {shlex.quote(event)}"
