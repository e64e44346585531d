"""A version of a model's former definition, which answers until the new one has learned enough."""

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

# Made on import: msgspec looks at a type with its first decoder, and two threads that do so at once crash the process.
_DEFINITION, _VIEW = msgspec.json.Decoder(ModelDefinition), msgspec.json.Decoder(ViewDefinition)


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


@dataclass(frozen=True)
class Former:
    """A former definition of a model, which can answer beside the loop's own.

    Attributes
    ----------
    views
        Of the views that it reads those that the loop no longer has in this form: they are folded, too, while it is
        asked.
    """

    model: ModelDefinition
    views: tuple[ViewDefinition, ...] = ()

    def within(self, loop: LoopDefinition) -> LoopDefinition:
        """The loop with the views as this definition reads them."""
        own = {view.name: view for view in self.views}
        return structs.replace(loop, views=(*(view for view in loop.views if view.name not in own), *own.values()))


def former_of(loop: LoopDefinition, published: models_pb2.ModelVersion) -> Former:
    """The definition with which a version answers beside the loop's own.

    Raises
    ------
    CorruptState
        The loop cannot make its vectors; says what is missing.
    """
    former = definition_of(published)
    try:
        carried = [_VIEW.decode(view) for view in published.view_definitions]
    except msgspec.MsgspecError as error:
        raise CorruptState(f"its views cannot be read: {error}") from error
    found, missing = asked_beside(loop, former, published.views, carried)
    if missing:
        raise CorruptState("; ".join(missing))
    return found


def asked_beside(
    loop: LoopDefinition, former: ModelDefinition, hashes: Mapping[str, str], views: Iterable[ViewDefinition]
) -> tuple[Former, list[str]]:
    """A former definition beside a loop, and why the loop cannot make its vectors, empty if it can.

    Parameters
    ----------
    hashes
        Of the views that it reads, by name.
    views
        Those that are known in the form that it reads.
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
    folded = present | {view.name: view.hash for view in views}
    problems = [
        f"view {name} {'has changed' if name in present else 'is gone'}"
        for name in former.view_names
        if folded.get(name) != hashes.get(name)
    ]
    fields = {stream.name: {field.name for field in stream.fields} for stream in loop.streams}
    needed = [(former.stream, _fields(former)), *((view.stream, _view_fields(view)) for view in views)]
    for stream, names in needed:
        if stream not in fields:
            problems.append(f"stream {stream} is gone")
        problems += [f"field {name} is gone" for name in sorted(names - fields.get(stream, names))]
    return list(dict.fromkeys(problems))


def _fields(former: ModelDefinition) -> set[str]:
    nodes = [node for feature in former.features for node in walk(feature.value)]
    return _columns(nodes) | {name for node in nodes for name in getattr(node, "key", ())}


def _view_fields(view: ViewDefinition) -> set[str]:
    """The fields of its stream that a view folds."""
    derived = {name for name, _ in view.columns}
    nodes = [node for own in (view.where, *(value for _, value in view.columns)) if own for node in walk(own)]
    summed = {own.column for own in view.aggregates if own.column is not None}
    return _columns(nodes) | (summed - derived) | set(view.by)


def _columns(nodes: Iterable[Expression]) -> set[str]:
    return {node.name for node in nodes if isinstance(node, Column)}


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


@dataclass(frozen=True)
class Answering:
    """A loop, and by model the former definition that answers with vectors which the loop's own ones do not hold."""

    loop: LoopDefinition
    formers: Mapping[str, Former] = field(default_factory=dict)

    @property
    def folded(self) -> LoopDefinition:
        """The loop with the views that only former definitions read, under names of their own."""
        views = {
            own.name: own for former in self.formers.values() for own in map(ViewDefinition.as_former, former.views)
        }
        return structs.replace(self.loop, views=(*self.loop.views, *views.values()))

    @property
    def wide(self) -> dict[str, ModelDefinition]:
        """By name the models whose vectors hold those of their former definitions behind their own."""
        return {name: widened(self.loop.model(name), former) for name, former in self.formers.items()}

    @property
    def views(self) -> tuple[str, ...]:
        """The titles of the views that are folded for former definitions."""
        return tuple(dict.fromkeys(view.title for former in self.formers.values() for view in former.views))

    def hash(self, model: str) -> str:
        """That of a model's former definition; empty where none answers."""
        former = self.formers.get(model)
        return "" if former is None else former.model.hash

    def without(self, models: Collection[str]) -> Answering:
        """What is left once other definitions of some models have taken over."""
        return Answering(self.loop, {name: own for name, own in self.formers.items() if name not in models})


def widened(model: ModelDefinition, former: Former) -> ModelDefinition:
    """A model with the features of a former definition behind its own, as `Answering.folded` names what they read."""
    names = {view.name: view.as_former().name for view in former.views}
    theirs = [
        structs.replace(feature, name=f"~{feature.name}", value=_reading(feature.value, names))
        for feature in former.model.features
    ]
    return structs.replace(model, features=(*model.features, *theirs))


def behind(model: ModelDefinition, former: ModelDefinition) -> Selection:
    """How a vector of the widened model holds that of the former definition."""
    texts, theirs = ([feature.type is FieldType.STRING for feature in own.features] for own in (model, former))
    numbers = range(texts.count(False), texts.count(False) + theirs.count(False))
    categories = range(texts.count(True), texts.count(True) + theirs.count(True))
    return Selection(tuple(numbers), tuple(categories))


def _reading(expression: Expression, names: Mapping[str, str]) -> Expression:
    """The same expression on views of other names."""
    if isinstance(expression, Aggregate):
        return structs.replace(expression, view=names.get(expression.view, expression.view))
    if isinstance(expression, Apply):
        return structs.replace(expression, arguments=tuple(_reading(own, names) for own in expression.arguments))
    return expression
