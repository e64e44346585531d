"""Faults of the join: what counts, what expires, and in which order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from headrace.engine.kernel.join import Decided, Entry, Join, Outcome, Rule, Watermarks
from headrace_feature.owned_join import OwnedJoin


def bound_excluded() -> None:
    """Drop a label exactly at the bound."""
    Rule.near = lambda self, question, label: abs(label - question) < self.bound  # type: ignore[method-assign]


def bound_1_us_too_long() -> None:
    """Accept a label 1 µs beyond the bound."""
    Rule.near = lambda self, question, label: abs(label - question) <= self.bound + 1  # type: ignore[method-assign]


def labels_only_after() -> None:
    """Accept no label that precedes its event."""
    Rule.near = lambda self, question, label: 0 <= label - question <= self.bound  # type: ignore[method-assign]


def second_label_wins() -> None:
    """Take the last of the labels that wait for a question."""
    question = Join.question

    def reversed_first(self: Join, name: str, *arguments: Any, **named: Any) -> bool:
        entry = self._entries.get(name, Entry())
        self._entries[name] = entry._replace(labels=entry.labels[::-1])
        return question(self, name, *arguments, **named)

    Join.question = reversed_first  # type: ignore[method-assign]


def early_labels_dropped() -> None:
    """Drop labels whose question has not arrived."""
    label = Join.label

    def only_to_questions(self: Join, id: str, outcome: Outcome) -> bool:
        return bool(self._entries.get(id, Entry()).questions) and label(self, id, outcome)

    Join.label = only_to_questions  # type: ignore[method-assign]


def _with_watermarks(change: Callable[[OwnedJoin, Watermarks], Watermarks]) -> None:
    watermarks = OwnedJoin.watermarks
    OwnedJoin.watermarks = lambda self: change(self, watermarks(self))  # type: ignore[method-assign]


def idle_is_complete() -> None:
    """Treat an idle source as one that has ended."""

    def complete(self: OwnedJoin, marks: Watermarks) -> Watermarks:
        questions = min(topic.release_watermark for topic in self._topics.features.values())
        labels = min(topic.partition.release_watermark for topic in self._topics.labels.values())
        return Watermarks(questions, labels, marks.release)

    _with_watermarks(complete)


def clock_expires() -> None:
    """Expire by the clock what waits for a label."""

    def by_clock(self: OwnedJoin, marks: Watermarks) -> Watermarks:
        return marks._replace(labels=max(marks.labels, time.time_ns() // 1_000))

    _with_watermarks(by_clock)


def questions_watermark_expires_questions() -> None:
    """Expire a question by its own stream's watermark."""
    _with_watermarks(lambda self, marks: marks._replace(labels=max(marks.labels, marks.questions)))


def idle_releases_nothing() -> None:
    """Hold examples back until both streams resume."""
    _with_watermarks(lambda self, marks: marks._replace(release=marks.complete))


def labels_dropped_meanwhile() -> None:
    """Drop labels that come while the examples of a changed model are made."""
    OwnedJoin._decisive = lambda self, watermarks: watermarks  # type: ignore[method-assign]


def released_without_a_word() -> None:
    """Do not record that an idle source released an example."""
    log = Join.log

    def unsaid(
        self: Join,
        ready: Iterable[bytes],
        marks: Watermarks,
        sequence: int,
        decided: Decided,
        *arguments: Any,
        **options: Any,
    ) -> None:
        log(self, ready, marks, sequence, decided, *arguments, **options)
        decided.released = False

    Join.log = unsaid  # type: ignore[method-assign]


FAULTS = {
    mutant.__name__: mutant
    for mutant in (
        bound_excluded,
        bound_1_us_too_long,
        labels_only_after,
        second_label_wins,
        early_labels_dropped,
        idle_is_complete,
        clock_expires,
        questions_watermark_expires_questions,
        idle_releases_nothing,
        labels_dropped_meanwhile,
        released_without_a_word,
    )
}
