"""Conversion of a vector into messages."""

from __future__ import annotations

import math
from collections.abc import Callable

from headrace.definition import FieldType, ModelDefinition
from headrace.engine.kernel.assembly import Assembled
from headrace.v1 import vector_pb2


def values_of(
    model: ModelDefinition, assembled: Assembled, row: int, age: Callable[[int], int | None]
) -> list[vector_pb2.Value]:
    """Return one assembled row, in the order of the model's features."""
    values = []
    number = text = 0
    for place, feature in enumerate(model.features):
        value = vector_pb2.Value(name=feature.title)
        if feature.type is FieldType.STRING:
            text_value = assembled.categories[text][row]
            text += 1
            if text_value is not None:
                value.text = text_value
        else:
            entry = float(assembled.numbers[row, number])
            number += 1
            if not math.isnan(entry):
                value.number = entry
        age_us = age(place)
        if age_us is not None:
            value.age = age_us
        values.append(value)
    return values
