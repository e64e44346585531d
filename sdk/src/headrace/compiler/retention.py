"""The retention of topics: as declared, but at least as long as needed; a default if nothing is declared."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from msgspec import structs

from headrace.compiler.mistakes import Mistakes, PartMistakes
from headrace.declare.durations import EXAMPLES, UNITS, format_duration, parse_duration
from headrace.declare.loops import Loop
from headrace.declare.models import Model
from headrace.declare.streams import Stream, stream_name, stream_part
from headrace.definition import LoopDefinition, ModelDefinition, StreamDefinition

#: Used instead of a duration: what is written stays.
FOREVER = "forever"

#: By default, the additional time to notice that a store has been lost, and to rebuild it.
SPARE = UNITS["w"]


@dataclass(frozen=True)
class Need:
    """The part of a stream that is needed to rebuild rows and waiting pairs, in µs.

    A pair waits for its label for `wait`, the label's `within`; its vector was made from windows that reach `window`
    further back.
    """

    lateness: int
    window: int
    wait: int

    @property
    def total(self) -> int:
        """The time for which events are needed, in µs."""
        return self.lateness + self.window + self.wait

    def __str__(self) -> str:
        parts = {"late events": self.lateness, "windows": self.window, "labels": self.wait}
        return (
            ", ".join(f"{format_duration(duration)} of {name}" for name, duration in parts.items() if duration)
            or "nothing"
        )


def need(loop: LoopDefinition, stream: StreamDefinition) -> Need:
    """Return how much of a stream a rebuild needs."""
    views = [view for view in loop.views if view.stream == stream.name]
    waits = {label.name: label.within for label in loop.labels}
    label_waits = [label.within for label in loop.labels if stream.name in (label.stream, label.of)]
    names = {view.name for view in views}
    join_waits = [waits.get(model.label, 0) for model in loop.models if names.intersection(model.view_names)]
    return Need(
        stream.lateness, max((view.longest for view in views), default=0), max([*label_waits, *join_waits], default=0)
    )


def retain(
    loop: LoopDefinition,
    settings: Loop,
    mistakes: Mistakes,
    *,
    streams: Iterable[type[Stream]],
    models: Iterable[Model],
) -> LoopDefinition:
    """Return the loop with the retention of its topics; it is meaningless if mistakes were found."""
    topics = _TopicRetention(loop, mistakes)
    retentions = {stream_name(stream): topics.stream(stream) for stream in streams}
    loop_mistakes = PartMistakes(settings.place, "loop", mistakes)
    loop = structs.replace(
        loop,
        streams=tuple(structs.replace(stream, retention=retentions[stream.name]) for stream in loop.streams),
        dead_letters_retention=_declared("dead_letters_retention", settings.dead_letters_retention, loop_mistakes),
    )
    topics = _TopicRetention(loop, mistakes)
    by_name = {model.state_name: model for model in models}
    return structs.replace(loop, models=tuple(topics.model(by_name[model.name], model) for model in loop.models))


class _TopicRetention:
    def __init__(self, loop: LoopDefinition, mistakes: Mistakes) -> None:
        self._loop = loop
        self._mistakes = mistakes
        self._streams = {stream.name: stream for stream in loop.streams}
        self._waits = {label.name: label.within for label in loop.labels}

    def stream(self, stream: type[Stream]) -> int | None:
        """Return how long a stream is kept: by default, a week more than a rebuild needs."""
        value = stream.__options__["retention"]
        requirement = need(self._loop, self._streams[stream_name(stream)])
        if value is None:
            return requirement.total + SPARE
        reason = f"it takes to rebuild what is made of it: {requirement}"
        report = PartMistakes(stream.__place__, stream_part(stream), self._mistakes)
        return _declared("retention", value, report, minimum=requirement.total, reason=reason)

    def model(self, model: Model, definition: ModelDefinition) -> ModelDefinition:
        """Set how long vectors and predictions are kept (like their stream, to check them against it), and examples."""
        report = PartMistakes(model.place, model.part, self._mistakes)
        stream = self._streams.get(definition.stream)
        retention = stream.retention if stream else None
        if model.retention is not None:
            lateness, wait = stream.lateness if stream else 0, self._waits.get(definition.label, 0)
            reason = (
                f"its vectors wait: {format_duration(lateness)} for late events, {format_duration(wait)} for labels"
            )
            retention = _declared("retention", model.retention, report, minimum=lateness + wait, reason=reason)
        examples = _declared("examples_retention", model.examples_retention, report)
        return structs.replace(definition, retention=retention, examples_retention=examples)


def _declared(option: str, value: object, report: PartMistakes, *, minimum: int = 0, reason: str = "") -> int | None:
    """Return a declared retention in µs; None means forever."""
    if value == FOREVER:
        return None
    try:
        retention = parse_duration(value)
    except ValueError as error:
        report.add(f"{option} {error}", f'{EXAMPLES} Or write "{FOREVER}".')
        return None
    if retention < minimum:
        problem = f"{option} {format_duration(retention)} is less than {reason}"
        report.add(problem, f"Keep at least {format_duration(minimum)}, or leave it out.")
    return retention
