"""Examples made again from kept events, for a model whose features or label have changed: streams in, a log out.

It is a pure function of the events: it knows no broker, no store and no clock. Vectors are complete, as those are that
wait for every partition; the rule that answers them is the join's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from headrace.definition import LoopDefinition, ModelDefinition, Task
from headrace.errors import InvalidRequest
from headrace.events import EventColumns
from headrace.frontier import UNKNOWN
from headrace.kernel.arrays import Ints
from headrace.kernel.assemble import Assembled, Assembler
from headrace.kernel.folding import texts_of
from headrace.kernel.join import (
    NOTHING,
    Decided,
    Entry,
    Join,
    Outcome,
    Question,
    Rule,
    Watermarks,
    answer_place,
    question_place,
)
from headrace.kernel.labels import Labels
from headrace.kernel.partition import PartitionId, Waiting
from headrace.kernel.replay import PASS_BYTES, VectorReplay, bytes_a_vector, orders_of
from headrace.log.tables import MAX_ROWS, Kind, LogEntries

#: After so many questions and labels of an entity those that are decided are taken out of its entry.
_PRUNE = 64


class EventSource(Protocol):
    """The accepted events of a loop's streams; `headrace.history.streams.StreamHistory` reads those of its topics."""

    def partitions(self, stream: str) -> list[PartitionId]:
        """The partitions of a stream, in their order."""
        ...

    def read(self, source: PartitionId) -> Iterator[Waiting]:
        """The events of a partition in their order, some at a time."""
        ...


class OpenQuestion(NamedTuple):
    """A question whose answer is not decided by the kept events: a join is to go on with it.

    Attributes
    ----------
    name
        Of its entry in the join: its id, or its entity.
    outcome
        Its answer if no other label comes.
    """

    name: str
    id: str
    time: int
    outcome: Outcome | None
    numbers: npt.NDArray[np.float64]
    categories: list[str | None]


class ClosedQuestion(NamedTuple):
    """A question whose answer is made, and that a label may still come for: it would repeat that answer."""

    name: str
    id: str
    time: int


@dataclass(frozen=True)
class Remade:
    """A model's examples as they were made.

    Attributes
    ----------
    total
        How many entries the log has.
    open
        The questions that are not decided, in the order of their places.
    """

    total: int
    entries: Iterator[LogEntries]
    open: list[OpenQuestion]
    closed: list[ClosedQuestion]


@dataclass(frozen=True)
class _Asked:
    """The N events that a model predicts on, in the order of their partitions."""

    events: EventColumns
    keys: Ints
    watermark: int


@dataclass(frozen=True)
class _Told:
    """The outcomes that the events of a label tell, with the key of each event."""

    outcomes: list[tuple[int, str, Outcome]]
    watermark: int


class _Placed(NamedTuple):
    """An entry of the log to be: its place, the row of its question, and its answer unless it is the question."""

    place: bytes
    row: int
    closes: Question | None


def remake(
    loop: LoopDefinition,
    model: ModelDefinition,
    source: EventSource,
    *,
    until: Mapping[PartitionId, tuple[int, int, int]] | None = None,
    first: int = 0,
    pass_bytes: int = PASS_BYTES,
    told: Callable[[int, int], None] = lambda made, total: None,
) -> Remade:
    """Make the log of a model's questions and answers, in its order; all of it is `made`.

    Parameters
    ----------
    until
        By partition of the model's stream the position (ledger, entry, batch) of its last question; a partition that is
        not there has none. None: all.
    first
        The place of the first entry in the log.
    told
        Called with the number of vectors that are made, and of those that are to be made.

    Raises
    ------
    InvalidRequest
        The model's questions are requests, which no stream keeps.
    """
    if model.vectors == "requests":
        raise InvalidRequest(f"model {model.name}", "asked by requests", "one whose questions are events of a stream")
    assembler = Assembler(loop, model)
    asked = _questions(loop, model, source, assembler.fields, until)
    placed, still_open, closed = _placed(loop, model, asked, _outcomes(loop, model, source))
    # A question that repeats another one needs no vector.
    rows = np.unique(np.array([own.row for own in placed] + [_row(own) for _, own in still_open], np.int64))
    vectors = _Vectors(loop, model, source, asked, rows)
    vectors.make(max(pass_bytes // bytes_a_vector(assembler, model), 1), told)
    entries = _entries(model, Rule.of(loop, model), asked, placed, vectors, first)
    return Remade(len(placed), entries, _open(still_open, vectors), closed)


def _questions(
    loop: LoopDefinition,
    model: ModelDefinition,
    source: EventSource,
    fields: frozenset[str],
    until: Mapping[PartitionId, tuple[int, int, int]] | None,
) -> _Asked:
    needed = fields | ({model.entity} if model.entity else frozenset())
    parts: list[EventColumns] = []
    keys: list[Ints] = []
    watermarks: list[int] = []
    for partition in source.partitions(model.stream):
        watermark = UNKNOWN
        for accepted in source.read(partition):
            columns = accepted.columns
            rows = np.arange(len(columns) if until is None else _count(accepted, until.get(partition)))
            chosen = {name: columns.fields[name] for name in needed}
            parts.append(EventColumns(columns.times, columns.ids, chosen).take(rows))
            keys.append(accepted.keys[rows])
            watermark = int(accepted.watermarks[-1])
        watermarks.append(watermark)
    if not parts:
        nothing = np.empty(0, np.int64)
        return _Asked(EventColumns(nothing, [], {name: np.empty(0) for name in needed}), nothing, UNKNOWN)
    return _Asked(EventColumns.concat(parts), np.concatenate(keys), _least(watermarks))


def _count(accepted: Waiting, until: tuple[int, int, int] | None) -> int:
    """How many of the events stand at most at a position; none without one."""
    if until is None:
        return 0
    return int(np.searchsorted(orders_of(accepted.positions), orders_of(np.array([until], np.int64))[0], side="right"))


def _outcomes(loop: LoopDefinition, model: ModelDefinition, source: EventSource) -> _Told:
    labels = Labels(loop, model)
    found: list[tuple[int, str, Outcome]] = []
    watermarks: list[int] = []
    for partition in source.partitions(labels.stream.name):
        watermark = UNKNOWN
        for accepted in source.read(partition):
            told = labels.rows(accepted.columns)
            found += [(int(accepted.keys[row]), name, outcome) for row, name, outcome in told]
            watermark = int(accepted.watermarks[-1])
        watermarks.append(watermark)
    return _Told(found, _least(watermarks))


def _least(watermarks: Sequence[int]) -> int:
    """The watermark of a stream; a partition without events holds nobody back."""
    return min((own for own in watermarks if own > UNKNOWN), default=UNKNOWN)


def _placed(
    loop: LoopDefinition, model: ModelDefinition, asked: _Asked, told: _Told
) -> tuple[list[_Placed], list[tuple[str, Question]], list[ClosedQuestion]]:
    """What the log holds, in its order; the questions that are not decided, with the names of their entries.

    And those that are decided, but a label of which may wait in the join.
    """
    rule = Rule.of(loop, model)
    ids = asked.events.ids
    names = texts_of(asked.events.fields[model.entity]) if model.entity else ids
    arrivals: list[tuple[str, int, int, int | Outcome]] = [
        (name, int(key), 0, row) for row, (name, key) in enumerate(zip(names, asked.keys, strict=True)) if name
    ]
    arrivals += [(name, key, 1, outcome) for key, name, outcome in told.outcomes]
    # Stable: what has one key keeps the order in which it was read.
    arrivals.sort(key=itemgetter(0, 1, 2))
    marks = Watermarks(asked.watermark, told.watermark, min(asked.watermark, told.watermark))
    lateness = loop.stream(loop.label(model.label).stream).lateness
    placed: list[_Placed] = []
    still_open: list[tuple[str, Question]] = []
    for name, group in groupby(arrivals, key=itemgetter(0)):
        part = [(key, what) for _, key, _, what in group]
        entry = _decided(rule, name, part, asked.events, marks, lateness, placed)
        still_open += [(name, question) for question in entry.questions if question.vector is not None]
    # A label may be a bound later than its question, and waits for another bound.
    oldest = marks.complete - 2 * rule.bound
    recent = [(names[own.row], own.closes) for own in placed if own.closes is not None and own.closes.time >= oldest]
    closed = [ClosedQuestion(name, asked.id, asked.time) for name, asked in recent if name]
    return sorted(placed), sorted(still_open, key=lambda own: (own[1].time, own[1].id)), closed


def _decided(
    rule: Rule,
    name: str,
    arrivals: Sequence[tuple[int, int | Outcome]],
    events: EventColumns,
    marks: Watermarks,
    lateness: int,
    found: list[_Placed],
) -> Entry:
    """Find the entries of one id, or of one entity, in the log; returns what is left to be decided."""
    entry = NOTHING
    for start in range(0, len(arrivals), _PRUNE):
        part = arrivals[start : start + _PRUNE]
        join = Join(rule, {name: entry})
        for _, what in part:
            if isinstance(what, Outcome):
                join.label(name, what)
            else:
                join.question(name, events.ids[what], int(events.times[what]), what.to_bytes(8, "big"))
        last = start + _PRUNE >= len(arrivals)
        # Of an entity all events are in one partition, whose watermark is at least this.
        until = min(part[-1][0] - lateness, marks.complete)
        now = marks if last else Watermarks(until, until, until)
        join.decide([name], now, Decided())
        entry = _take_decided(rule, name, join.entry(name), found)
    return entry


def _take_decided(rule: Rule, name: str, entry: Entry, found: list[_Placed]) -> Entry:
    questions = []
    for question in entry.questions:
        if question.decided and question.vector is not None:
            row = _row(question)
            found.append(_Placed(question_place(name, question, rule), row, None))
            found.append(_Placed(answer_place(name, question, rule), row, question))
            question = question._replace(vector=None)
        questions.append(question)
    return entry._replace(questions=tuple(questions))


def _row(question: Question) -> int:
    """The row of a question's event: what its vector is here."""
    return int.from_bytes(question.vector or b"", "big")


def _open(questions: Sequence[tuple[str, Question]], vectors: _Vectors) -> list[OpenQuestion]:
    numbers, categories = vectors.at(np.array([_row(question) for _, question in questions], np.int64))
    return [
        OpenQuestion(name, own.id, own.time, own.outcome, numbers[place], [column[place] for column in categories])
        for place, (name, own) in enumerate(questions)
    ]


class _Vectors:
    """The vectors of some questions, as numbers and columns of texts."""

    def __init__(
        self, loop: LoopDefinition, model: ModelDefinition, source: EventSource, asked: _Asked, rows: Ints
    ) -> None:
        self._loop = loop
        self._model = model
        self._source = source
        self._asked = asked
        self._rows = rows
        self.numbers = np.empty((len(rows), 0))
        self.categories: list[list[str | None]] = []

    def make(self, size: int, told: Callable[[int, int], None]) -> None:
        """Make them, so many in each pass over the streams."""
        passes: list[Assembled] = []
        for start in range(0, len(self._rows), size):
            passes.append(self._pass(self._rows[start : start + size]))
            told(min(start + size, len(self._rows)), len(self._rows))
        if passes:
            self.numbers = np.concatenate([made.numbers for made in passes])
            columns = range(len(passes[0].categories))
            self.categories = [[value for made in passes for value in made.categories[column]] for column in columns]

    def at(self, rows: Ints) -> tuple[npt.NDArray[np.float64], list[list[str | None]]]:
        """The vectors of these questions."""
        places = np.searchsorted(self._rows, rows)
        return self.numbers[places], [[column[place] for place in places] for column in self.categories]

    def _pass(self, rows: Ints) -> Assembled:
        replay = VectorReplay(self._loop, self._model, self._asked.events.take(rows), self._asked.keys[rows])
        for stream in replay.streams:
            for partition in self._source.partitions(stream):
                folded = replay.partition(partition)
                for accepted in self._source.read(partition):
                    folded.fold(accepted)
                    if folded.done:
                        break
                folded.finish()
        return replay.assemble()


def _entries(
    model: ModelDefinition, rule: Rule, asked: _Asked, placed: Sequence[_Placed], vectors: _Vectors, first: int
) -> Iterator[LogEntries]:
    seqs: dict[int, int] = {}
    for start in range(0, len(placed), MAX_ROWS):
        part = placed[start : start + MAX_ROWS]
        numbers = range(first + start, first + start + len(part))
        seqs |= {own.row: seq for own, seq in zip(part, numbers, strict=True) if own.closes is None}
        closing = [own.closes for own in part]
        weights = [None if own is None else _weight(rule, own) for own in closing]
        kinds = [
            Kind.QUESTION if own is None else Kind.UNANSWERED if weight is None else Kind.ANSWER
            for own, weight in zip(closing, weights, strict=True)
        ]
        labels = [
            own.outcome.value if kind is Kind.ANSWER and own is not None and own.outcome else None
            for own, kind in zip(closing, kinds, strict=True)
        ]
        rows = np.array([own.row for own in part], np.int64)
        times = asked.events.times[rows]
        matrix, categories = vectors.at(rows)
        known = [
            int(time) if own is None else own.outcome.time if own.outcome else own.time + rule.bound
            for own, time in zip(closing, times, strict=True)
        ]
        entries = LogEntries(
            np.array(numbers, np.int64),
            np.array(kinds, np.int8),
            np.array([seqs[own.row] for own in part], np.int64),
            [asked.events.ids[row] for row in rows],
            times,
            np.array(known, np.int64),
            ["" if label is None else str(label) for label in labels]
            if model.task is Task.MULTICLASS
            else np.array([np.nan if label is None else label for label in labels], np.float64),
            np.array([1.0 if weight is None else weight for weight in weights]),
            matrix,
            categories,
            np.ones(len(part), bool),
        )
        for own in part:
            if own.closes is not None:
                del seqs[own.row]
        yield entries


def _weight(rule: Rule, question: Question) -> float | None:
    """How many examples an answer stands for; None if it is none."""
    return None if question.outcome is None else rule.weight(question.id, question.outcome.value)
