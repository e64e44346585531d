"""Effects of a new definition on a running loop's state: a pure comparison of two definitions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

from msgspec import structs

from headrace.compiler.expression_text import expression_text
from headrace.declare.durations import format_duration
from headrace.definition import (
    Expression,
    FeatureDefinition,
    LabelDefinition,
    LoopDefinition,
    ModelDefinition,
    StreamDefinition,
    ViewDefinition,
)
from headrace.engine.events.schema import SchemaConflict, conflicts
from headrace.engine.former import former_beside
from headrace.wording import counted

#: Maximum number of names that are listed.
_NAMED = 5


class Outcome(StrEnum):
    """The effect of a change on the state of a part of the loop."""

    KEPT = "kept"
    #: A new view: built from the events that its stream still keeps.
    FILLED = "filled"
    #: A changed part: its old state is abandoned, and a new one is built.
    REMADE = "remade"
    #: A new part that begins without state.
    NEW = "new"
    REMOVED = "removed"
    #: `headrace up` does not start with it.
    REFUSED = "refused"


@dataclass(frozen=True)
class Change:
    """The effect of a new definition on one part of the loop.

    Attributes
    ----------
    kind
        "stream", "view", "label" or "model".
    name
        Its name in the new file; for a removed part, in the old one.
    was
        Its name in the old file, if it was renamed.
    meanwhile
        For a changed model: the version that answers until the new definition has learned enough.
    reason
        What changed, and what its state is built from.
    problem
        Why some of its state cannot be carried over, with the cure; empty if everything is carried over.
    """

    kind: str
    name: str
    outcome: Outcome
    reason: str = ""
    problem: str = ""
    was: str | None = None
    meanwhile: str = ""


@dataclass(frozen=True)
class KeptEvents:
    """Extent of the kept events of a stream.

    Attributes
    ----------
    oldest, newest
        Event times in µs; None without events.
    complete
        Whether no event has been removed since the stream began.
    """

    oldest: int | None
    newest: int | None
    complete: bool

    @property
    def span(self) -> int:
        """The event time that they cover, in µs."""
        return 0 if self.oldest is None or self.newest is None else self.newest - self.oldest


@dataclass(frozen=True)
class Facts:
    """Facts about the running loop from the broker and the store; unknown ones are left out.

    Attributes
    ----------
    kept
        Kept events, by stream.
    conflicts
        By stream, the fields because of which the broker refuses its schema.
    partitions
        By stream, the number of partitions of its topic.
    examples
        By model, the number of examples that it has learned.
    """

    kept: Mapping[str, KeptEvents] = field(default_factory=dict)
    conflicts: Mapping[str, Sequence[SchemaConflict]] = field(default_factory=dict)
    partitions: Mapping[str, int] = field(default_factory=dict)
    examples: Mapping[str, int] = field(default_factory=dict)


def compare(old: LoopDefinition, new: LoopDefinition, facts: Facts) -> list[Change]:
    """Return what happens to each stream, view, label and model when a loop continues as `new`."""
    return _Comparison(old, new, facts).changes()


_Part = TypeVar("_Part", ViewDefinition, LabelDefinition, ModelDefinition)


class _Comparison:
    def __init__(self, old: LoopDefinition, new: LoopDefinition, facts: Facts) -> None:
        self._old = old
        self._new = new
        self._facts = facts
        self._old_streams = {stream.name: stream for stream in old.streams}
        self._old_views = {view.name: view for view in old.views}
        self._old_labels = {label.name: label for label in old.labels}
        self._old_models = {model.name: model for model in old.models}

    def changes(self) -> list[Change]:
        new = self._new
        return [
            *map(self._stream, new.streams),
            *_removals("stream", self._old.streams, new.streams, "its topic stays, and nothing reads it"),
            *map(self._view, new.views),
            *_removals("view", self._old.views, new.views, "its rows expire"),
            *map(self._label, new.labels),
            *_removals("label", self._old.labels, new.labels, ""),
            *map(self._model, new.models),
            *_removals("model", self._old.models, new.models, "its topics and checkpoints stay, so it can come back"),
        ]

    def _stream(self, stream: StreamDefinition) -> Change:
        name, before = stream.name, self._old_streams.get(stream.name)
        partitions = self._facts.partitions.get(name, stream.partitions)
        if schema_conflicts := self._facts.conflicts.get(name):
            return Change("stream", name, Outcome.REFUSED, problem=_sentences(schema_conflicts))
        if partitions != stream.partitions:
            problem = f"its topic has {counted(partitions, 'partition')}, and it is declared with {stream.partitions}"
            return Change("stream", name, Outcome.REFUSED, problem=f"{problem}. Declare partitions={partitions}")
        if before is None:
            return Change("stream", name, Outcome.NEW)
        if misfits := conflicts(stream, before.fields):
            return Change("stream", name, Outcome.REFUSED, problem=_sentences(misfits))
        problems = "; ".join([*_other_roles(before, stream), *_shorter(before, stream)])
        return Change("stream", name, Outcome.KEPT, _stream_settings(before, stream), problems)

    def _view(self, view: ViewDefinition) -> Change:
        before = self._old_views.get(view.name)
        was = _former_title(before, view)
        if before is None:
            problem = _rename_problem("view", view, self._old.views) or self._shortage(view)
            reason = f"from the kept events of {view.stream}{_hint(view, self._old.views, self._new.views, _same_view)}"
            return Change("view", view.title, Outcome.FILLED, reason, problem)
        if before.hash != view.hash:
            reason = f"{_view_differences(before, view)}: from the kept events of {view.stream}"
            return Change("view", view.title, Outcome.REMADE, reason, self._shortage(view), was)
        others = [other.title for other in self._new.views if other.stream == view.stream and self._is_filled(other)]
        if not others:
            return Change("view", view.title, Outcome.KEPT, was=was)
        reason = f"folded again with {', '.join(others)}, on the same stream; answers say so meanwhile"
        return Change("view", view.title, Outcome.KEPT, reason, self._shortage(view), was)

    def _is_filled(self, view: ViewDefinition) -> bool:
        before = self._old_views.get(view.name)
        return before is None or before.hash != view.hash

    def _shortage(self, view: ViewDefinition) -> str:
        """Return why the kept events do not suffice for the view's rows; empty if they do."""
        stream, extent = self._new.stream(view.stream), self._facts.kept.get(view.stream)
        minimum = view.longest + view.keep + stream.lateness
        if extent is None or extent.complete or extent.span >= minimum:
            return ""
        reach = f"the events of {view.stream} reach back {format_duration(self._reach(view.stream))}"
        cure = "Its longest windows are too small until that much time has passed; or send the older events again"
        return f"{reach}, and its rows need {format_duration(minimum)}. {cure}"

    def _label(self, label: LabelDefinition) -> Change:
        before = self._old_labels.get(label.name)
        if before is None:
            problem = _rename_problem("label", label, self._old.labels)
            hint = _hint(label, self._old.labels, self._new.labels, _same_label)
            return Change("label", label.title, Outcome.NEW, hint.removeprefix("; "), problem)
        was = _former_title(before, label)
        differences = _label_differences(before, label)
        if not differences:
            return Change("label", label.title, Outcome.KEPT, was=was)
        reason = f"{differences}; the models that learn from it change with it"
        return Change("label", label.title, Outcome.REMADE, reason, was=was)

    def _model(self, model: ModelDefinition) -> Change:
        before = self._old_models.get(model.name)
        if before is None:
            problem = _rename_problem("model", model, self._old.models)
            hint = _hint(model, self._old.models, self._new.models, _same_model)
            known = _examples(self._facts.examples.get(model.name))
            returns = f"comes back; it had {known}, and those that it lacks are made from the kept events"
            reason = returns if known else "learns from its first question on"
            return Change("model", model.title, Outcome.NEW, f"{reason}{hint}", problem)
        was = _former_title(before, model)
        if before.hash == model.hash:
            return Change("model", model.title, Outcome.KEPT, _examples(self._facts.examples.get(model.name)), "", was)
        if before.examples_hash == model.examples_hash:
            count = _examples(self._facts.examples.get(model.name)) or "its examples"
            reason = f"learner: learns {count} again, from the first"
            return Change("model", model.title, Outcome.REMADE, reason, "", was, self._meanwhile(before, model))
        return self._with_other_examples(before, model, was)

    def _with_other_examples(self, before: ModelDefinition, model: ModelDefinition, was: str | None) -> Change:
        reason = f"{self._model_differences(before, model)}: its examples from the kept events"
        problem = self._not_remade(model)
        return Change("model", model.title, Outcome.REMADE, reason, problem, was, self._meanwhile(before, model))

    def _not_remade(self, model: ModelDefinition) -> str:
        """Return why the kept events do not suffice to remake all examples; empty if they do."""
        count = _examples(self._facts.examples.get(model.name)) or "its examples"
        if model.vectors == "requests":
            return f"{count} of the old definition are not learned: requests are not kept"
        label = self._new.label(model.label)
        streams = dict.fromkeys((model.stream, label.stream, *(view.stream for view in self._new.views_of(model))))
        names = [name for name in streams if (extent := self._facts.kept.get(name)) is not None and not extent.complete]
        if not names:
            return ""
        spans = [f"{name} reach back {format_duration(self._reach(name))}" for name in names]
        return f"of {count} those are made that the kept events hold: those of {', of '.join(spans)}"

    def _reach(self, stream: str) -> int:
        """Return how far the kept events of a stream reach back, in whole seconds (µs)."""
        return self._facts.kept[stream].span // 1_000_000 * 1_000_000

    def _meanwhile(self, before: ModelDefinition, model: ModelDefinition) -> str:
        hashes = {view.name: view.hash for view in self._old.views}
        former, missing = former_beside(self._new, before, hashes, self._old.views)
        if missing:
            first = f"nothing until it has learned {counted(model.publish_examples, 'example')}"
            return f"{first}: the old version cannot be asked ({'; '.join(missing)})"
        learned = self._facts.examples.get(model.name)
        number = model.takeover or learned
        count = "as many examples as that has" if number is None else counted(number, "example")
        all_kept = "" if model.takeover else ", or all that are kept"
        answer = f"the old version, until the new definition has learned {count}{all_kept}"
        if former.views:
            both = ", ".join(view.title for view in former.views)
            answer = (
                f"{answer}; {both} {'is' if len(former.views) == 1 else 'are'} folded in the old form, too, until then"
            )
        return answer

    def _model_differences(self, before: ModelDefinition, model: ModelDefinition) -> str:
        views = [view for view in self._new.views_of(model) if view.name in before.view_names and self._is_filled(view)]
        old, new = ({feature.name: feature for feature in definition.features} for definition in (before, model))
        label = self._new.label(model.label)
        old_label = self._old_labels.get(model.label)
        differences = [
            _difference("stream", before.stream, model.stream),
            _difference("label", before.label, model.label),
            f"label {label.title} changed" if old_label and _label_differences(old_label, label) else "",
            _difference("task", before.task, model.task),
            _difference("vectors", before.vectors, model.vectors),
            _difference("learner", before.learner, model.learner),
            *(f"view {view.title} changed" for view in views),
            _list("features added", (new[name].title for name in new if name not in old)),
            _list("features removed", (old[name].title for name in old if name not in new)),
            _list("features changed", (new[name].title for name in new if _is_another(old.get(name), new[name]))),
        ]
        texts = [difference for difference in differences if difference]
        return "; ".join(texts) or "the order of its features"


def _is_another(before: FeatureDefinition | None, after: FeatureDefinition) -> bool:
    return before is not None and structs.replace(before, alias=None) != structs.replace(after, alias=None)


def _removals(
    kind: str, old: Iterable[StreamDefinition | _Part], new: Iterable[StreamDefinition | _Part], reason: str
) -> Iterator[Change]:
    names = {part.name for part in new}
    for part in old:
        if part.name not in names:
            title = part.name if isinstance(part, StreamDefinition) else part.title
            yield Change(kind, title, Outcome.REMOVED, reason)


def _former_title(before: _Part | None, after: _Part) -> str | None:
    return before.title if before is not None and before.title != after.title else None


def _rename_problem(kind: str, part: _Part, old: Sequence[_Part]) -> str:
    """Return why a part without state should perhaps have one: its ``was`` is missing, or names no state."""
    former = next((other for other in old if other.alias is not None and other.title in (part.name, part.title)), None)
    if former is not None:
        return f"the state of {kind} {former.title} has the name {former.name!r}. Write was={former.name!r}"
    if part.alias is not None:
        return f"was={part.name!r} names no {kind} of the running loop. Name the one that it was, or drop was="
    return ""


def _hint(part: _Part, old: Sequence[_Part], new: Sequence[_Part], same: Callable[[_Part, _Part], bool]) -> str:
    """Return a hint for a removed part that differs in its name only: it was probably renamed."""
    names = {other.name for other in new}
    for other in old:
        if part.alias is None and other.name not in names and same(other, part):
            return f'; if it is {other.title} under a new name, write was="{other.name}"'
    return ""


def _same_view(old: ViewDefinition, new: ViewDefinition) -> bool:
    return structs.replace(new, name=old.name).hash == old.hash


def _same_label(old: LabelDefinition, new: LabelDefinition) -> bool:
    return not _label_differences(old, new)


def _same_model(old: ModelDefinition, new: ModelDefinition) -> bool:
    return structs.replace(new, name=old.name).hash == old.hash


def _other_roles(before: StreamDefinition, stream: StreamDefinition) -> Iterator[str]:
    for role, old, new in (
        ("key", before.key, stream.key),
        ("time", before.time, stream.time),
        ("id", before.id, stream.id),
    ):
        if old != new:
            cure = f'Use a stream of another name: name="{stream.name}_2"'
            yield f"its {role} is {new}, and all that was made of it so far went by {old}. {cure}"


def _shorter(before: StreamDefinition, stream: StreamDefinition) -> Iterator[str]:
    """Say what a shorter lateness costs: the topic has the events, and not what was decided on them."""
    if stream.lateness < before.lateness:
        old, new = _span(before.lateness), _span(stream.lateness)
        yield (
            f"events that counted although they came more than {new} behind the newest are late where they are read "
            f"again: for views and examples that are made again, and those that wait now. lateness={old!r} keeps them"
        )


def _without_stream(conflict: SchemaConflict) -> str:
    return f"{conflict.problem}. {conflict.cure}"


def _sentences(conflicts: Sequence[SchemaConflict]) -> str:
    return "; ".join(map(_without_stream, conflicts))


def _stream_settings(before: StreamDefinition, stream: StreamDefinition) -> str:
    added = [field.name for field in stream.fields if field not in before.fields]
    dropped = {field.name for field in before.fields} - {field.name for field in stream.fields}
    return _join(
        _list("fields added", added),
        _list("fields removed", sorted(dropped)),
        _difference("lateness", _span(before.lateness), _span(stream.lateness)),
        _difference("horizon", _span(before.horizon), _span(stream.horizon)),
        _difference("ids", before.ids, stream.ids),
        _difference("ahead", _span(before.ahead), _span(stream.ahead)),
        _difference("max_bytes", before.max_bytes, stream.max_bytes),
        _difference("retention", _span(before.retention), _span(stream.retention)),
    )


def _view_differences(before: ViewDefinition, view: ViewDefinition) -> str:
    return _join(
        _difference("stream", before.stream, view.stream),
        _difference("by", ", ".join(before.by), ", ".join(view.by)),
        _difference("where", _text(before.where), _text(view.where)),
        _difference(
            "windows", *(", ".join(window.name for window in definition.windows) for definition in (before, view))
        ),
        _list("hops of", (name for name, hop in _hops(view).items() if _hops(before).get(name, hop) != hop)),
        "aggregates" if (before.columns, before.aggregates) != (view.columns, view.aggregates) else "",
        _difference("resolution", _span(before.resolution), _span(view.resolution)),
        _difference("keep", _span(before.keep), _span(view.keep)),
    )


def _hops(view: ViewDefinition) -> dict[str, int]:
    return {window.name: window.hop for window in view.windows}


def _label_differences(before: LabelDefinition, label: LabelDefinition) -> str:
    names = [name for name in LabelDefinition.__struct_fields__ if name not in ("name", "alias", "value", "within")]
    return _join(
        _difference("value", _text(before.value), _text(label.value)),
        _difference("within", _span(before.within), _span(label.within)),
        _difference("keep", _shares(before), _shares(label)),
        *(_difference(name, getattr(before, name), getattr(label, name)) for name in names if name != "keep"),
    )


def _shares(label: LabelDefinition) -> str:
    """Return the shares of classes that are kept, as they are declared."""
    return ", ".join(f"{rule.share:g} of {rule.label}" for rule in label.keep) or "all"


def _text(expression: Expression | None) -> str:
    return "all" if expression is None else expression_text(expression)


def _span(duration: int | None) -> str:
    return "no bound" if duration is None else format_duration(duration)


def _difference(name: str, before: object, after: object) -> str:
    return "" if before == after else f"{name} {before} → {after}"


def _list(title: str, names: Iterable[str]) -> str:
    items = list(names)
    more = f" and {len(items) - _NAMED} more" if len(items) > _NAMED else ""
    return f"{title}: {', '.join(items[:_NAMED])}{more}" if items else ""


def _join(*differences: str) -> str:
    return "; ".join(difference for difference in differences if difference)


def _examples(count: int | None) -> str:
    return "" if count is None else counted(count, "example")
