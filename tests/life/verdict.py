"""The oracle's verdict on a recording: what is missing, and what is wrong."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from headrace.definition import LoopDefinition, ModelDefinition
from tests.life.answer import Answer
from tests.oracle.events import Event, Judged, judge
from tests.oracle.examples import Key, examples_of, wrong_order
from tests.oracle.record import NOWHERE, LoggedEntry, LoggedVector, Position, Streams
from tests.oracle.vectors import USUAL, Tolerance, VectorCheck

_ANSWERS = ("accepted", "repeated", "late")

#: The value of a feature that an entry or a vector does not have.
_NO = "none"

#: Maximum number of differences shown of one kind.
_SHOWN = 5


class Recording(Protocol):
    """Access to everything that a recorder has read so far."""

    @property
    def streams(self) -> Streams: ...

    def vectors(self, model: str) -> list[LoggedVector]: ...

    def log(self, model: str) -> list[LoggedEntry]: ...

    def since(self, model: str) -> Mapping[int, Position]: ...

    def added(self, model: str) -> Mapping[int, Position]: ...

    def changes(self, model: str) -> Sequence[int]: ...


@dataclass
class Verdict:
    """The differences, and how much was compared.

    Attributes
    ----------
    unfinished
        Output that the loop has not made yet; it is a difference if it does not come in time.
    wrong
        Errors that waiting does not cure.
    """

    unfinished: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def differences(self) -> list[str]:
        return [*self.wrong, *self.unfinished]


#: The number of vectors found right, by model and the time of its last change.
Right = dict[tuple[str, int], int]


def verdict(
    loop: LoopDefinition, recorder: Recording, tolerance: Tolerance = USUAL, right: Right | None = None
) -> Verdict:
    """Compare everything that the recorder has read.

    Parameters
    ----------
    right
        The vectors that are not checked again; those that are found right are added.
    """
    result, streams, right = Verdict(), recorder.streams, {} if right is None else right
    judged = judge(loop, streams)
    _count_events(result, judged)
    for model in streamed(loop):
        check = VectorCheck(loop, model, judged, streams, tolerance)
        vectors = recorder.vectors(model.name)
        _note(result.unfinished, model, check.missing(vectors, recorder.since(model.name)))
        changes = recorder.changes(model.name)
        changed = changes[-1] if changes else 0
        new = vectors[right.get((model.name, changed), 0) :]
        wrong = [problem for vector in new for problem in check.wrong(vector)]
        _note(result.wrong, model, wrong)
        if not wrong:
            right[model.name, changed] = len(vectors)
        result.counts["vectors"] += len(vectors)
        result.counts["vectors outside keep"] += check.outside
        result.counts["vectors released without a later event"] += check.incomplete
        logged = recorder.log(model.name)
        _note(result.wrong, model, _not_as_logged(logged, vectors))
        made_entries = [entry for entry in logged if entry.made]
        _note(result.wrong, model, list(_wrong_made(check, made_entries, changes)))
        result.counts["made later"] += len(made_entries)
        result.counts["made later, not determined"] += check.undetermined
        _examples(result, loop, model, judged, logged, recorder.added(model.name), bool(changed))
    return result


def _wrong_made(check: VectorCheck, made: Iterable[LoggedEntry], changes: Sequence[int]) -> Iterator[str]:
    """Return what is wrong with entries that were made: once a definition returns, some are from its earlier change."""
    for entry in made:
        after = bisect_right(changes, entry.published_ms * 1_000 + 999)
        yield from check.wrong_made(entry, changes[max(after - 1, 0)] if changes else 0)


def streamed(loop: LoopDefinition) -> list[ModelDefinition]:
    """Return the models whose questions are events: the streams do not show requests."""
    return [model for model in loop.models if model.vectors == "stream"]


def waits(loop: LoopDefinition, recorder: Recording) -> bool:
    """Return whether vectors or examples are still to come: quicker than a verdict."""
    judged = judge(loop, recorder.streams)
    for model in streamed(loop):
        vectors, logged, added = recorder.vectors(model.name), recorder.log(model.name), recorder.added(model.name)
        expected, since = examples_of(loop, model, judged), recorder.since(model.name)
        questions = {(entry.id, entry.time) for entry in logged if entry.kind == "question"}
        keys = _of_its_time(expected.made, questions, model, judged, added)
        positions = {(vector.partition, vector.position) for vector in vectors}
        if any(place not in positions for place in _places(model, judged, since)):
            return True
        if len(questions) < len(_places(model, judged, added)) - expected.repeated_questions:
            return True
        if sum(entry.kind == "answer" for entry in logged) < len(keys):
            return True
    return False


def _places(model: ModelDefinition, judged: Judged, since: Mapping[int, Position]) -> dict[tuple[int, Position], Event]:
    """Return the questions after a position in their partition."""
    return {
        (event.partition, event.position): event
        for partition in judged[model.stream]
        for event in partition.accepted
        if event.position > since.get(event.partition, NOWHERE)
    }


def _of_its_time(
    keys: set[Key],
    questions: set[tuple[str, int]],
    model: ModelDefinition,
    judged: Judged,
    added: Mapping[int, Position],
) -> set[Key]:
    """Return the examples of a model that was added: only for questions that came after it, or that it was asked."""
    if not added:
        return keys
    questions = questions | {(event.id, event.time) for event in _places(model, judged, added).values()}
    return {key for key in keys if key[:2] in questions}


def reasons(loop: LoopDefinition, recorder: Recording) -> Counter[str]:
    """Count the accepted events, and the refused ones by reason."""
    result = Verdict()
    _count_events(result, judge(loop, recorder.streams))
    return result.counts


def wrong_answer(answer: Answer, before: Counter[str], after: Counter[str]) -> list[str]:
    """Return how a command's answer differs from what became of its events; undecided events are not checked."""
    accepted, repeats, late = (after[f"events {name}"] - before[f"events {name}"] for name in _ANSWERS)
    # Events that never reached the stream were rejected as well.
    expected = answer._replace(
        accepted=accepted, repeats=repeats, rejected=answer.sent - accepted - repeats, late=late, undecided=0
    )
    if answer.undecided or answer == expected:
        return []
    return [f"a command said {answer} instead of {expected}"]


def _examples(
    result: Verdict,
    loop: LoopDefinition,
    model: ModelDefinition,
    judged: Judged,
    logged: Sequence[LoggedEntry],
    added: Mapping[int, Position],
    changed: bool,
) -> None:
    expected = examples_of(loop, model, judged)
    every = {(entry.id, entry.time) for entry in logged if entry.kind == "question"}
    expected = expected._replace(made=_of_its_time(expected.made, every, model, judged, added))
    answers = [entry for entry in logged if entry.kind == "answer"]
    counts = Counter(entry.key for entry in answers)
    missing = sorted(expected.made - set(counts))
    more = sorted(set(counts) - expected.made, key=str)
    twice = [key for key, count in counts.items() if count > 1]
    if missing:
        result.unfinished.append(
            f"{model.name}: {len(missing)} of {len(expected.made)} examples missing: {missing[:3]}"
        )
    if more:
        result.wrong.append(f"{model.name}: {len(more)} examples that should not be: {more[:3]}")
    if twice:
        result.wrong.append(f"{model.name}: {len(twice)} examples twice: {twice[:3]}")
    _note(result.wrong, model, wrong_order(logged, complete=not changed))
    question_count = sum(entry.kind == "question" for entry in logged)
    if question_count < (questions := len(_places(model, judged, added)) - expected.repeated_questions):
        result.unfinished.append(
            f"{model.name}: {questions - question_count} of {questions} questions are not in the log"
        )
    result.counts["questions"] += question_count
    result.counts["examples"] += len(answers)
    result.counts["examples dropped by keep"] += expected.dropped
    result.counts["labels repeated"] += expected.repeated_labels
    result.counts["labels unmatched"] += len(expected.unmatched)
    result.counts["questions without a label"] += len(expected.open)


def _not_as_logged(logged: Iterable[LoggedEntry], vectors: Iterable[LoggedVector]) -> list[str]:
    """Return the questions and answers that do not hold the vector that was logged for them."""
    of = {(vector.id, vector.time): vector.values for vector in vectors}
    entries = (entry for entry in logged if entry.kind != "unanswered" and not entry.made)
    wrong = (entry for entry in entries if of.get((entry.id, entry.time)) != entry.values)
    return [f"{entry.kind} {entry.id} at {entry.seq} has {_difference(entry, of)}" for entry in wrong]


def _difference(entry: LoggedEntry, of: Mapping[tuple[str, int], Mapping[str, float | str | None]]) -> str:
    """Return how an entry's vector differs from the one that was logged for its event."""
    vector = of.get((entry.id, entry.time))
    if vector is None:
        return "no vector on the features topic"
    values = [(name, entry.values.get(name, _NO), vector.get(name, _NO)) for name in {**vector, **entry.values}]
    (name, here, there), *others = [value for value in values if value[1] != value[2]]
    return f"{name} {here!r} instead of {there!r}{f', and {len(others)} others' if others else ''}"


def _count_events(result: Verdict, judged: Judged) -> None:
    for partitions in judged.values():
        for partition in partitions:
            result.counts["events accepted"] += len(partition.accepted)
            result.counts.update(f"events {refusal.reason}" for refusal in partition.refused)


def _note(into: list[str], model: ModelDefinition, wrong: Sequence[str]) -> None:
    into += [f"{model.name}: {difference}" for difference in wrong[:_SHOWN]]
    if len(wrong) > _SHOWN:
        into.append(f"{model.name}: and {len(wrong) - _SHOWN} more of this kind")
