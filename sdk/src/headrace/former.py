"""A version of a model's former definition, which answers until the new one has learned enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from headrace.definition import Column, Expression, FieldType, LoopDefinition, ModelDefinition, walk
from headrace.errors import CorruptState
from headrace.v1 import models_pb2

# Made on import: msgspec looks at a type with its first decoder, and two threads that do so at once crash the process.
_DEFINITION = msgspec.json.Decoder(ModelDefinition)


def definition_of(published: models_pb2.ModelVersion) -> ModelDefinition:
    """The definition that a version carries.

    Raises
    ------
    CorruptState
        It cannot be read, or is not the one that the version names.
    """
    try:
        model = _DEFINITION.decode(published.model_definition)
    except msgspec.MsgspecError as error:
        raise CorruptState(f"its definition cannot be read: {error}") from error
    if model.hash != published.definition:
        raise CorruptState(f"its definition has the hash {model.hash}, not {published.definition}")
    return model


def former_definition(loop: LoopDefinition, published: models_pb2.ModelVersion) -> ModelDefinition:
    """The definition with which a version answers beside the loop's own.

    Raises
    ------
    CorruptState
        The loop no longer has all that its vectors are made of; says what is missing.
    """
    former = definition_of(published)
    missing = missing_parts(loop, former, published.views)
    if missing:
        raise CorruptState("; ".join(missing))
    return former


def missing_parts(loop: LoopDefinition, former: ModelDefinition, views: Mapping[str, str]) -> list[str]:
    """Why the loop cannot make the vectors of a former definition, empty if it can.

    Parameters
    ----------
    views
        The hashes of the views that it reads, by name.
    """
    model = loop.model(former.name)
    if former.stream != model.stream:
        return [f"it is on stream {former.stream}, not {model.stream}"]
    if former.task is not model.task:
        return [f"its answers are {former.task}, not {model.task}"]
    present = {view.name: view.hash for view in loop.views}
    problems = [
        f"view {name} {'has changed' if name in present else 'is gone'}"
        for name in former.view_names
        if present.get(name) != views.get(name)
    ]
    fields = {field.name for field in loop.stream(model.stream).fields}
    return problems + [f"field {name} is gone" for name in sorted(_fields(former) - fields)]


def _fields(model: ModelDefinition) -> set[str]:
    nodes = [node for feature in model.features for node in walk(feature.value)]
    return {node.name for node in nodes if isinstance(node, Column)} | {
        name for node in nodes for name in getattr(node, "key", ())
    }


@dataclass(frozen=True)
class Selection:
    """The columns of a vector that make the vector of another definition.

    Attributes
    ----------
    numbers, categories
        Their places among the numeric and the string features; None: all.
    """

    numbers: tuple[int, ...] | None = None
    categories: tuple[int, ...] | None = None

    def numbers_of(self, numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The numeric columns."""
        return numbers if self.numbers is None else numbers[:, list(self.numbers)]

    def categories_of(self, categories: Sequence[Any]) -> list[Any]:
        """The string columns."""
        return list(categories) if self.categories is None else [categories[place] for place in self.categories]


#: Of a vector of the same features.
ALL = Selection()


def selection(model: ModelDefinition, former: ModelDefinition) -> Selection | None:
    """How a model's vector holds that of another definition; None if it does not."""
    if model.stored_features == former.stored_features:
        return ALL
    places: dict[bool, dict[tuple[str, Expression], int]] = {True: {}, False: {}}
    for feature in model.stored_features:
        same_type = places[feature.type is FieldType.STRING]
        same_type[feature.name, feature.value] = len(same_type)
    found: dict[bool, list[int]] = {True: [], False: []}
    for feature in former.stored_features:
        text = feature.type is FieldType.STRING
        place = places[text].get((feature.name, feature.value))
        if place is None:
            return None
        found[text].append(place)
    return Selection(tuple(found[False]), tuple(found[True]))
