"""Compilation of a loop's declarations to its definition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from msgspec import structs

from headrace.compiler.label_definition import define_label
from headrace.compiler.mistakes import Mistakes
from headrace.compiler.model_definition import define_model
from headrace.compiler.retention import retain
from headrace.compiler.stream_definition import define_stream
from headrace.compiler.view_definition import define_view
from headrace.declare.declaration import NAMES, SAME_STATE, Declaration, is_name
from headrace.declare.durations import EXAMPLES, parse_duration
from headrace.declare.expressions import Expression, Named, Operation
from headrace.declare.labels import Label
from headrace.declare.loops import Loop
from headrace.declare.models import Learner, Model
from headrace.declare.place import Place
from headrace.declare.streams import Stream, is_stream, stream_name
from headrace.declare.views import Read, View
from headrace.definition import LoopDefinition, ModelDefinition, content_hash

_Declared = TypeVar("_Declared", bound=Declaration)


def compile(namespace: Mapping[str, object], name: str = "loop", declared: Iterable[object] = ()) -> LoopDefinition:
    """Return the definition of the loop that is declared in a namespace, such as ``globals()``.

    Parameters
    ----------
    namespace
        Variables; views and labels without a name of their own take the variable's.
    name
        The loop's name, unless a `Loop` gives one.
    declared
        Further declarations that are not held by a variable.

    Raises
    ------
    DefinitionErrors
        All mistakes in the declarations.
    """
    mistakes = Mistakes()
    compiled = compile_into(mistakes, namespace, name, declared)
    mistakes.raise_if_any()
    return compiled.definition


@dataclass(frozen=True)
class Compiled:
    """A definition, with the functions that make its models' learners."""

    definition: LoopDefinition
    learners: dict[str, Learner]


def compile_into(
    mistakes: Mistakes, namespace: Mapping[str, object], name: str, declared: Iterable[object]
) -> Compiled:
    """Compile like `compile`, but add mistakes to those known; the result is meaningless if there are any."""
    parts = _Parts([*declared, *namespace.values()])
    parts.name_by(namespace)
    parts.check_names(mistakes)
    for kind in (parts.views, parts.labels, parts.models):
        check_renames(kind, mistakes)
    streams = [define_stream(stream, mistakes) for stream in parts.streams]
    # A row may be ahead of a reader by the disorder of its own stream, by that of the streams it waits for, and, if
    # workers wait for each other, by that of the stream of the reader's vector.
    ahead = 3 * max((stream.lateness for stream in streams), default=0)
    views = [define_view(view, ahead, mistakes) for view in parts.views]
    labels = {id(label): define_label(label, mistakes) for label in parts.labels}
    models = []
    for model in parts.models:
        label = labels.get(id(model.label))
        models.append(define_model(model, label.type if label else None, mistakes))
    loop = parts.loop(mistakes, Place(str(namespace.get("__file__", "loop")), 1))
    definition = LoopDefinition(
        name=loop.given_name or name,
        streams=tuple(streams),
        views=tuple(view for view in views if view),
        labels=tuple(label for label in labels.values() if label),
        models=tuple(model for model in models if model),
        idle=_idle(loop, mistakes),
        compact_models=_bytes(loop, "compact_models", mistakes),
        dead_letters_bytes=_bytes(loop, "dead_letters_bytes", mistakes),
    )
    definition = retain(definition, loop, mistakes, streams=parts.streams, models=parts.models)
    models = [structs.replace(model, sources=_sources(definition, model)) for model in definition.models]
    definition = structs.replace(definition, models=tuple(models))
    return Compiled(definition, {model.state_name: model.learner for model in parts.models})


def _idle(loop: Loop, mistakes: Mistakes) -> int:
    """Return how long a backlog must be empty, in µs."""
    if loop.given_name is not None and not is_name(loop.given_name):
        mistakes.add(loop.place, "loop", f"{loop.given_name!r} is no name for a loop", NAMES)
    try:
        return parse_duration(loop.idle)
    except ValueError as error:
        mistakes.add(loop.place, "loop", f"idle {error}", EXAMPLES)
        return 0


def _bytes(loop: Loop, option: str, mistakes: Mistakes) -> int:
    """Return `compact_models` or `dead_letters_bytes`."""
    value: object = getattr(loop, option)
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    mistakes.add(loop.place, "loop", f"{option} is {value!r}", "Write a number of bytes above zero.")
    return 1


def _sources(loop: LoopDefinition, model: ModelDefinition) -> str:
    """Hash what a model's examples are made from: how long rows and their ticks are kept changes no value."""
    labels = [structs.replace(label, alias=None) for label in loop.labels if label.name == model.label]
    inputs = [view for view in loop.views if view.name in model.view_names]
    views = [structs.replace(view, keep=0, expire=None, alias=None) for view in inputs]
    return content_hash((labels, views))


def check_renames(declarations: Sequence[Declaration], mistakes: Mistakes) -> None:
    """Refuse a ``was`` that does not name separate state: state has one name, and belongs to one declaration."""
    by_name = {declaration.name: declaration for declaration in declarations}
    takers: dict[str, Declaration] = {}
    for declaration in declarations:
        was = declaration.was
        if was is None:
            continue
        if not is_name(was):
            _refuse_rename(declaration, f"was {was!r} is no name", NAMES, mistakes)
        elif was == declaration.name:
            _refuse_rename(declaration, f"was {was!r} is its name now", "Drop was=.", mistakes)
        elif was in by_name:
            conflict = f"{declaration.kind} {was} is declared at {by_name[was].place}"
            _refuse_rename(declaration, f"it was {was!r}, and {conflict}", SAME_STATE, mistakes)
        elif takers.setdefault(was, declaration) is not declaration:
            other = f"{declaration.kind} {takers[was].name} at {takers[was].place}"
            _refuse_rename(declaration, f"it was {was!r}, and so was {other}", SAME_STATE, mistakes)


def _refuse_rename(declaration: Declaration, problem: str, cure: str, mistakes: Mistakes) -> None:
    mistakes.add(declaration.place, declaration.part, problem, cure)


class _Parts:
    """The parts of a loop: everything that is declared, and everything that this refers to."""

    def __init__(self, objects: Iterable[object]) -> None:
        self.streams: list[type[Stream]] = []
        self._declarations: dict[int, Declaration] = {}
        for value in objects:
            self._add(value)
        self.views = self._of(View)
        self.labels = self._of(Label)
        self.models = self._of(Model)
        self._loops = self._of(Loop)

    def _of(self, kind: type[_Declared]) -> list[_Declared]:
        matches = [declaration for declaration in self._declarations.values() if isinstance(declaration, kind)]
        return sorted(matches, key=lambda declaration: (declaration.place.file, declaration.place.line))

    def _add(self, value: object) -> None:
        if is_stream(value):
            if value not in self.streams:
                self.streams.append(value)  # type: ignore[arg-type]
            return
        if not isinstance(value, Declaration) or id(value) in self._declarations:
            return
        self._declarations[id(value)] = value
        if isinstance(value, View):
            self._add(value.stream)
        elif isinstance(value, Label):
            self._add(value.stream)
            self._add(value.of)
        elif isinstance(value, Model):
            self._add(value.on)
            self._add(value.label)
            for expression in value.expressions:
                self._add_views(expression)

    def _add_views(self, expression: Expression) -> None:
        if isinstance(expression, Read):
            self._add(expression.view)
        elif isinstance(expression, Named):
            self._add_views(expression.of)
        elif isinstance(expression, Operation):
            for argument in expression.arguments:
                self._add_views(argument)

    def name_by(self, namespace: Mapping[str, object]) -> None:
        """Give declarations the names of their variables; names of overwritten variables are read from the file."""
        variables = {id(value): variable for variable, value in reversed(list(namespace.items()))}
        for declaration in (*self.views, *self.labels, *self.models):
            if declaration.given_name is None:
                declaration.variable = variables.get(id(declaration)) or declaration.place.variable()

    def check_names(self, mistakes: Mistakes) -> None:
        for declaration in (*self.views, *self.labels, *self.models):
            if declaration.given_name is None and declaration.variable is None:
                cure = f'Assign it to a variable, or name it: {type(declaration).__name__}(..., name="...").'
                mistakes.add(declaration.place, declaration.part, "it has no name", cure)
            elif not is_name(declaration.name):
                mistakes.add(
                    declaration.place,
                    declaration.part,
                    f"{declaration.name!r} is no name for a {declaration.kind}",
                    NAMES,
                )
        streams = [("stream", stream_name(stream), stream.__place__) for stream in self.streams]
        others = [
            (declaration.kind, declaration.name, declaration.place)
            for declaration in (*self.views, *self.labels, *self.models)
        ]
        first: dict[tuple[str, str], Place] = {}
        for kind, name, place in (*streams, *others):
            if name == "?":
                continue
            before = first.setdefault((kind, name), place)
            if before is not place:
                problem = f"there is another {kind} of this name at {before}"
                mistakes.add(place, f"{kind} {name}", problem, "Name one of them otherwise.")

    def loop(self, mistakes: Mistakes, start: Place) -> Loop:
        """Return the loop's settings, or the defaults if none are declared; the file begins at `start`."""
        if not self.streams and not mistakes:
            cure = "Declare a stream: class Departed(Stream, key=..., time=..., id=...)."
            mistakes.add(self._first_place(start), "loop", "there is no stream in it", cure)
        for extra in self._loops[1:]:
            problem = f"there is another Loop at {self._loops[0].place}"
            mistakes.add(extra.place, extra.part, problem, "Keep one: a file is one loop.")
        return self._loops[0] if self._loops else Loop()

    def _first_place(self, start: Place) -> Place:
        return next((declaration.place for declaration in self._declarations.values()), start)
