"""Former definitions of a model: a version of one answers until the new definition has learned enough."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import structs

from headrace.definition import (
    Aggregate,
    Apply,
    Column,
    Expression,
    FieldType,
    LoopDefinition,
    ModelDefinition,
    ViewDefinition,
    walk,
)
from headrace.errors import CorruptState
from headrace.v1 import models_pb2

# Created on import: msgspec inspects a type with its first decoder, and crashes if two threads do so at once.
_DEFINITION, _VIEW = msgspec.json.Decoder(ModelDefinition), msgspec.json.Decoder(ViewDefinition)


def definition_of(version: models_pb2.ModelVersion) -> ModelDefinition:
    """Return the definition that a version carries.

    Raises
    ------
    CorruptState
        It cannot be read, or is not the one that the version names.
    """
    try:
        model = _DEFINITION.decode(version.model_definition)
    except msgspec.MsgspecError as error:
        raise CorruptState(f"its definition cannot be read: {error}") from error
    if model.hash != version.definition:
        raise CorruptState(f"its definition has the hash {model.hash}, not {version.definition}")
    return model


@dataclass(frozen=True)
class Former:
    """A former definition of a model that can answer beside the loop's own.

    Attributes
    ----------
    views
        The views it reads that the loop no longer has in this form: they are folded as well, while this definition
        answers.
    """

    model: ModelDefinition
    views: tuple[ViewDefinition, ...] = ()

    def within(self, loop: LoopDefinition) -> LoopDefinition:
        """Return the loop with the views in the form that this definition reads."""
        views = {view.name: view for view in self.views}
        return structs.replace(loop, views=(*(view for view in loop.views if view.name not in views), *views.values()))


def former_of(loop: LoopDefinition, version: models_pb2.ModelVersion) -> Former:
    """Return the definition with which a version answers beside the loop's own.

    Raises
    ------
    CorruptState
        The loop cannot make its vectors; the error says what is missing.
    """
    former = definition_of(version)
    try:
        views = [_VIEW.decode(view) for view in version.view_definitions]
    except msgspec.MsgspecError as error:
        raise CorruptState(f"its views cannot be read: {error}") from error
    result, missing = former_beside(loop, former, version.views, views)
    if missing:
        raise CorruptState("; ".join(missing))
    return result


def former_beside(
    loop: LoopDefinition, former: ModelDefinition, hashes: Mapping[str, str], views: Iterable[ViewDefinition]
) -> tuple[Former, list[str]]:
    """Place a former definition beside a loop; also return why the loop cannot make its vectors, if so.

    Parameters
    ----------
    hashes
        The hashes of the views that it reads, by name.
    views
        The views that are known in the form that it reads.
    """
    present = {view.name: view.hash for view in loop.views}
    others = tuple(
        view
        for view in views
        if view.name in former.view_names and view.hash == hashes.get(view.name) != present.get(view.name)
    )
    return Former(former, others), _missing_parts(loop, former, hashes, others)


def _missing_parts(
    loop: LoopDefinition, former: ModelDefinition, hashes: Mapping[str, str], views: Sequence[ViewDefinition]
) -> list[str]:
    model = loop.model(former.name)
    if former.stream != model.stream:
        return [f"it is on stream {former.stream}, not {model.stream}"]
    if former.task is not model.task:
        return [f"its answers are {former.task}, not {model.task}"]
    present = {view.name: view.hash for view in loop.views}
    available = present | {view.name: view.hash for view in views}
    problems = [
        f"view {name} {'has changed' if name in present else 'is gone'}"
        for name in former.view_names
        if available.get(name) != hashes.get(name)
    ]
    fields = {stream.name: {field.name for field in stream.fields} for stream in loop.streams}
    requirements = [(former.stream, _fields(former)), *((view.stream, _view_fields(view)) for view in views)]
    for stream, names in requirements:
        if stream not in fields:
            problems.append(f"stream {stream} is gone")
        problems += [f"field {name} is gone" for name in sorted(names - fields.get(stream, names))]
    return list(dict.fromkeys(problems))


def _fields(former: ModelDefinition) -> set[str]:
    nodes = [node for feature in former.features for node in walk(feature.value)]
    return _columns(nodes) | {name for node in nodes for name in getattr(node, "key", ())}


def _view_fields(view: ViewDefinition) -> set[str]:
    """Return the fields of its stream that a view folds."""
    derived = {name for name, _ in view.columns}
    nodes = [
        node
        for expression in (view.where, *(value for _, value in view.columns))
        if expression
        for node in walk(expression)
    ]
    summed = {aggregate.column for aggregate in view.aggregates if aggregate.column is not None}
    return _columns(nodes) | (summed - derived) | set(view.by)


def _columns(nodes: Iterable[Expression]) -> set[str]:
    return {node.name for node in nodes if isinstance(node, Column)}


@dataclass(frozen=True)
class Selection:
    """The columns of a vector that form the vector of another definition.

    Attributes
    ----------
    numbers, categories
        Their places among the numeric and the string features; None for all.
    """

    numbers: tuple[int, ...] | None = None
    categories: tuple[int, ...] | None = None

    def numbers_of(self, numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Select the numeric columns."""
        return numbers if self.numbers is None else numbers[:, list(self.numbers)]

    def categories_of(self, categories: Sequence[Any]) -> list[Any]:
        """Select the string columns."""
        return list(categories) if self.categories is None else [categories[place] for place in self.categories]


#: The selection from a vector of the same features.
ALL = Selection()


def selection(model: ModelDefinition, former: ModelDefinition) -> Selection | None:
    """Return how a model's vector contains that of another definition; None if it does not."""
    if model.stored_features == former.stored_features:
        return ALL
    places: dict[bool, dict[tuple[str, Expression], int]] = {True: {}, False: {}}
    for feature in model.stored_features:
        same_type = places[feature.type is FieldType.STRING]
        same_type[feature.name, feature.value] = len(same_type)
    indices: dict[bool, list[int]] = {True: [], False: []}
    for feature in former.stored_features:
        text = feature.type is FieldType.STRING
        place = places[text].get((feature.name, feature.value))
        if place is None:
            return None
        indices[text].append(place)
    return Selection(tuple(indices[False]), tuple(indices[True]))


@dataclass(frozen=True)
class Answering:
    """A loop, and by model the former definition that answers with vectors which the loop's own do not contain."""

    loop: LoopDefinition
    formers: Mapping[str, Former] = field(default_factory=dict)

    @property
    def folded(self) -> LoopDefinition:
        """The loop plus the views that only former definitions read, under names of their own."""
        views = {
            view.name: view for former in self.formers.values() for view in map(ViewDefinition.as_former, former.views)
        }
        return structs.replace(self.loop, views=(*self.loop.views, *views.values()))

    @property
    def wide(self) -> dict[str, ModelDefinition]:
        """By name, the models whose vectors contain those of their former definitions after their own."""
        return {name: widened(self.loop.model(name), former) for name, former in self.formers.items()}

    @property
    def views(self) -> tuple[str, ...]:
        """The titles of the views that are folded for former definitions."""
        return tuple(dict.fromkeys(view.title for former in self.formers.values() for view in former.views))

    def hash(self, model: str) -> str:
        """Return the hash of a model's former definition; empty if none answers."""
        former = self.formers.get(model)
        return "" if former is None else former.model.hash

    def without(self, models: Collection[str]) -> Answering:
        """Return what remains once these models' new definitions have taken over."""
        return Answering(self.loop, {name: former for name, former in self.formers.items() if name not in models})


def widened(model: ModelDefinition, former: Former) -> ModelDefinition:
    """Append a former definition's features to a model's own, reading views as `Answering.folded` names them."""
    names = {view.name: view.as_former().name for view in former.views}
    features = [
        structs.replace(feature, name=f"~{feature.name}", value=_reading(feature.value, names))
        for feature in former.model.features
    ]
    return structs.replace(model, features=(*model.features, *features))


def behind(model: ModelDefinition, former: ModelDefinition) -> Selection:
    """Return how a vector of the widened model contains that of the former definition."""
    texts, former_texts = (
        [feature.type is FieldType.STRING for feature in definition.features] for definition in (model, former)
    )
    numbers = range(texts.count(False), texts.count(False) + former_texts.count(False))
    categories = range(texts.count(True), texts.count(True) + former_texts.count(True))
    return Selection(tuple(numbers), tuple(categories))


def _reading(expression: Expression, names: Mapping[str, str]) -> Expression:
    """Return the same expression on renamed views."""
    if isinstance(expression, Aggregate):
        return structs.replace(expression, view=names.get(expression.view, expression.view))
    if isinstance(expression, Apply):
        return structs.replace(
            expression, arguments=tuple(_reading(argument, names) for argument in expression.arguments)
        )
    return expression
