"""Examples remade from kept events, for a model whose features or label have changed: streams in, a log out.

It is a pure function of the events: it uses no broker, no store and no clock. Vectors are complete, like those that
wait for every partition; the join's rule decides which label answers them.

The streams are read side by side, in spans of time. Memory holds a span, the rows, and the questions that are undecided
or not in the log yet: its size depends on how long answers take, not on how many events are kept.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from headrace.definition import LoopDefinition, ModelDefinition, Task
from headrace.engine.arrays import Ints
from headrace.engine.events import EventColumns
from headrace.engine.kernel.assembly import Assembler
from headrace.engine.kernel.join import (
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
    sort_key,
)
from headrace.engine.kernel.labels import Labels
from headrace.engine.kernel.partition import PartitionId, Waiting
from headrace.engine.kernel.preparation import texts_of
from headrace.engine.kernel.rows import RowSet
from headrace.engine.kernel.vector_replay import VectorReplay, orders_of
from headrace.errors import InvalidRequest
from headrace.watermark import ENDED, UNKNOWN
from headrace.wire.tables import MAX_ROWS, Kind, LogEntries

#: Minimum number of questions and labels in a span.
SPAN = 10_000

#: After this many questions and labels of an entity, the decided ones are removed from its entry.
_PRUNE = 64


class EventSource(Protocol):
    """Accepted events of a loop's streams; `headrace.history.streams.StreamHistory` reads them from its topics."""

    def partitions(self, stream: str) -> list[PartitionId]:
        """Return the partitions of a stream, in order."""
        ...

    def read(self, source: PartitionId) -> Iterator[Waiting]:
        """Yield the events of a partition in order, in batches."""
        ...


class OpenQuestion(NamedTuple):
    """A question whose answer the kept events do not decide: a join continues with it.

    Attributes
    ----------
    name
        Name of its entry in the join: its id, or its entity.
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
    """A question that is answered, but for which a label may still come: it would repeat the answer."""

    id: str
    time: int


@dataclass
class Remade:
    """A model's examples, as they are remade.

    Attributes
    ----------
    entries
        The log, in order.
    open
        Undecided questions, in the order of their places; complete once all entries have been taken.
    closed
        Decided questions of which a label may wait in the join; complete at the same time.
    """

    entries: Iterator[LogEntries] = field(default_factory=lambda: iter(()))
    open: list[OpenQuestion] = field(default_factory=list)
    closed: list[ClosedQuestion] = field(default_factory=list)


class _Asked(NamedTuple):
    """A question, and its row: the number of questions read before it."""

    row: int
    id: str
    time: int


class _Arrival(NamedTuple):
    """A question or a label of an entry; at equal keys, questions come first."""

    name: str
    key: int
    order: int
    what: _Asked | Outcome


class _Placed(NamedTuple):
    """A future entry of the log: its place, the row of its question, and whether it is the question or its answer."""

    place: bytes
    row: int
    question: Question
    asks: bool


class _Vector(NamedTuple):
    numbers: npt.NDArray[np.float64]
    categories: tuple[str | None, ...]


def remake(
    loop: LoopDefinition,
    model: ModelDefinition,
    source: EventSource,
    *,
    until: Mapping[PartitionId, tuple[int, int, int]] | None = None,
    first: int = 0,
    span: int = SPAN,
    on_progress: Callable[[int, int], None] = lambda made, total: None,
) -> Remade:
    """Make the log of a model's questions and answers, in order; all entries are marked as `made`.

    Parameters
    ----------
    until
        By partition of the model's stream, the position (ledger, entry, batch) of its last question; a partition that
        is missing has none. None: all questions.
    first
        The place of the first entry in the log.
    span
        Number of questions and labels that are read before any are processed; more if more questions are open.
    on_progress
        Called with the number of vectors made so far, and the total.

    Raises
    ------
    InvalidRequest
        The model's questions are requests, which no stream keeps.
    """
    if model.vectors == "requests":
        raise InvalidRequest(f"model {model.name}", "asked by requests", "one whose questions are events of a stream")
    remade = Remade()
    remade.entries = _Log(loop, model, source, until, first=first, span=span).entries(remade, on_progress)
    return remade


class _Log:
    """Builds the log of a model."""

    def __init__(
        self,
        loop: LoopDefinition,
        model: ModelDefinition,
        source: EventSource,
        until: Mapping[PartitionId, tuple[int, int, int]] | None,
        *,
        first: int,
        span: int,
    ) -> None:
        self._model = model
        self._source = source
        self._until = until
        self._span = span
        self._labels = Labels(loop, model)
        self._rule = Rule.of(loop, model)
        self._fields = Assembler(loop, model).fields | ({model.entity} if model.entity else frozenset())
        self._questions = {partition: _Cursor(source.read(partition)) for partition in source.partitions(model.stream)}
        self._label_cursors = [
            _Cursor(source.read(partition)) for partition in source.partitions(self._labels.stream.name)
        ]
        self._vectors = _Vectors(loop, model, source)
        self._answers = _Answers(self._rule, self._labels.stream.lateness)
        self._read = 0
        self._next = first
        self._seqs: dict[int, int] = {}
        self._closed: list[ClosedQuestion] = []

    def entries(self, remade: Remade, on_progress: Callable[[int, int], None]) -> Iterator[LogEntries]:
        """Yield the entries, then add to `remade` the questions that are left."""
        total = sum(
            self._count(partition, waiting) for partition in self._questions for waiting in self._source.read(partition)
        )
        on_progress(0, total)
        cursors = [*self._questions.values(), *self._label_cursors]
        before: int | None = UNKNOWN
        while before is not None:
            arrivals: list[_Arrival] = []
            parts: list[tuple[EventColumns, Ints]] = []
            first = self._read
            while before is not None and len(arrivals) < max(self._span, self._answers.waiting):
                for cursor in cursors:
                    cursor.fill()
                before = min((cursor.reach for cursor in cursors if cursor.reach is not None), default=None)
                arrivals += self._take_questions(before, parts)
                arrivals += self._take_labels(before)
            rows = self._answers.take(arrivals, self._marks())
            self._vectors.make(parts, first, rows, before)
            on_progress(self._read, total)
            coming = min((cursor.watermark for cursor in self._questions.values() if not cursor.done), default=ENDED)
            items = self._answers.ready(None if before is None else coming)
            for start in range(0, len(items), MAX_ROWS):
                yield self._entries(items[start : start + MAX_ROWS])
            self._close(items)
        remade.open += self._open()
        remade.closed += self._closed

    def _count(self, partition: PartitionId, waiting: Waiting) -> int:
        """Count the events up to the position of their partition's last question."""
        if self._until is None:
            return len(waiting)
        last = self._until.get(partition)
        if last is None:
            return 0
        places = orders_of(waiting.positions)
        return int(np.searchsorted(places, orders_of(np.array([last], np.int64))[0], side="right"))

    def _take_questions(self, before: int | None, parts: list[tuple[EventColumns, Ints]]) -> Iterator[_Arrival]:
        for partition, cursor in self._questions.items():
            for waiting in cursor.take(before):
                rows = np.arange(self._count(partition, waiting))
                columns = waiting.columns
                fields = {name: columns.fields[name] for name in self._fields}
                events = EventColumns(columns.times, columns.ids, fields).take(rows)
                parts.append((events, waiting.keys[rows]))
                names = texts_of(events.fields[self._model.entity]) if self._model.entity else events.ids
                keys, times = waiting.keys[rows].tolist(), events.times.tolist()
                for name, key, id, time in zip(names, keys, events.ids, times, strict=True):
                    if name:
                        yield _Arrival(name, key, 0, _Asked(self._read, id, time))
                    self._read += 1

    def _take_labels(self, before: int | None) -> Iterator[_Arrival]:
        for cursor in self._label_cursors:
            for waiting in cursor.take(before):
                for row, name, outcome in self._labels.rows(waiting.columns):
                    yield _Arrival(name, int(waiting.keys[row]), 1, outcome)

    def _close(self, items: Iterable[_Placed]) -> None:
        """Keep answered questions as long as one of their labels may wait in the join."""
        if self._rule.after is not None:
            return  # labels belong to entities, and answer many questions
        self._closed += [ClosedQuestion(item.question.id, item.question.time) for item in items if not item.asks]
        # A label may come one bound after its question, and waits for another bound.
        oldest = self._marks().complete - 2 * self._rule.bound
        self._closed = [question for question in self._closed if question.time >= oldest]

    def _marks(self) -> Watermarks:
        questions, labels = _watermark(self._questions.values()), _watermark(self._label_cursors)
        return Watermarks(questions, labels, min(questions, labels))

    def _entries(self, part: Sequence[_Placed]) -> LogEntries:
        rule, model = self._rule, self._model
        seqs = range(self._next, self._next + len(part))
        self._next += len(part)
        self._seqs |= {item.row: seq for item, seq in zip(part, seqs, strict=True) if item.asks}
        questions = [item.question for item in part]
        weights = [None if item.asks else _weight(rule, item.question) for item in part]
        kinds = [
            Kind.QUESTION if item.asks else Kind.UNANSWERED if weight is None else Kind.ANSWER
            for item, weight in zip(part, weights, strict=True)
        ]
        labels = [
            question.outcome.value if kind is Kind.ANSWER and question.outcome else None
            for question, kind in zip(questions, kinds, strict=True)
        ]
        numbers, categories = self._vectors.at([item.row for item in part])
        entries = LogEntries(
            np.array(seqs, np.int64),
            np.array(kinds, np.int8),
            np.array([self._seqs[item.row] for item in part], np.int64),
            [question.id for question in questions],
            np.array([question.time for question in questions], np.int64),
            np.array(
                [item.question.time if item.asks else item.question.label_time(rule.bound) for item in part], np.int64
            ),
            ["" if label is None else str(label) for label in labels]
            if model.task is Task.MULTICLASS
            else np.array([np.nan if label is None else label for label in labels], np.float64),
            np.array([1.0 if weight is None else weight for weight in weights]),
            numbers,
            categories,
            np.ones(len(part), bool),
        )
        closed = [item.row for item in part if not item.asks]
        for row in closed:
            del self._seqs[row]
        self._vectors.forget(closed)
        return entries

    def _open(self) -> list[OpenQuestion]:
        questions = []
        for name, question in self._answers.open():
            (numbers,), categories = self._vectors.at([_row(question)])
            outcome = question.outcome
            questions.append(
                OpenQuestion(name, question.id, question.time, outcome, numbers, [value for (value,) in categories])
            )
        return questions


class _Cursor:
    """The events of one partition, taken in spans of their keys.

    Attributes
    ----------
    watermark
        Watermark of the events taken so far.
    """

    def __init__(self, events: Iterator[Waiting]) -> None:
        self._events = events
        self._ahead: Waiting | None = None
        self._ended = False
        self.watermark = UNKNOWN

    @property
    def done(self) -> bool:
        """Whether all events have been taken."""
        return self._ended and self._ahead is None

    @property
    def empty(self) -> bool:
        """Whether the partition has had no events at all."""
        return self.done and self.watermark == UNKNOWN

    @property
    def reach(self) -> int | None:
        """The key before which all events have been read; None if the log is exhausted."""
        return None if self._ended or self._ahead is None else int(self._ahead.keys[-1])

    def fill(self) -> None:
        """Read until some events are before the reach."""
        while not self._ended and (self._ahead is None or self._ahead.keys[0] == self._ahead.keys[-1]):
            self._read()

    def take(self, before: int | None) -> Iterator[Waiting]:
        """Take the events whose keys are before a given one; without one, take all that are left."""
        while True:
            if self._ahead is None and not self._ended:
                self._read()
            ahead = self._ahead
            if ahead is None:
                return
            count = len(ahead) if before is None else int(np.searchsorted(ahead.keys, before, side="left"))
            if count:
                self.watermark = int(ahead.watermarks[count - 1])
                self._ahead = _part(ahead, count, len(ahead)) if count < len(ahead) else None
                yield _part(ahead, 0, count)
            if self._ahead is not None:
                return

    def _read(self) -> None:
        following = next(self._events, None)
        if following is None:
            self._ended = True
        elif self._ahead is None:
            self._ahead = following
        else:
            self._ahead.extend(following)


def _part(events: Waiting, start: int, stop: int) -> Waiting:
    if (start, stop) == (0, len(events)):
        return events
    at = slice(start, stop)
    return replace(
        events,
        columns=events.columns.take(range(start, stop)),
        positions=events.positions[at],
        keys=events.keys[at],
        watermarks=events.watermarks[at],
        since=events.since[at],
    )


def _watermark(cursors: Iterable[_Cursor]) -> int:
    """Return the watermark of a stream; a partition without events holds nothing back."""
    return min((cursor.watermark for cursor in cursors if not cursor.empty), default=UNKNOWN)


class _Answers:
    """Decides which label answers which question, as the join does.

    Parameters
    ----------
    lateness
        Lateness of the label's stream.
    """

    def __init__(self, rule: Rule, lateness: int) -> None:
        self._rule = rule
        self._lateness = lateness
        self._entries: dict[str, Entry] = {}
        self._queue: list[_Placed] = []

    @property
    def waiting(self) -> int:
        """Number of entries held."""
        return len(self._entries)

    def take(self, arrivals: list[_Arrival], marks: Watermarks) -> list[int]:
        """Process the next arrivals in the order of keys and return the rows of the questions that repeat no other."""
        # The sort is stable: arrivals with the same key keep the order in which they were read.
        arrivals.sort(key=itemgetter(0, 1, 2))
        rest = dict.fromkeys(self._entries)
        rows: list[int] = []
        for name, group in groupby(arrivals, key=itemgetter(0)):
            rest.pop(name, None)
            rows += self._advance(name, list(group), marks)
        for name in rest:
            rows += self._advance(name, [], marks)
        return sorted(rows)

    def ready(self, coming: int | None) -> list[_Placed]:
        """Take the entries whose place is final, given the time before which no question comes; None takes them all."""
        self._queue.sort()
        end = len(self._queue)
        if coming is not None:
            bound = min([coming, *(question.time for _, question in self._undecided())])
            end = bisect_left(self._queue, sort_key(bound), key=attrgetter("place"))
        ready, self._queue = self._queue[:end], self._queue[end:]
        return ready

    def open(self) -> list[tuple[str, Question]]:
        """Return the undecided questions, with the names of their entries."""
        return sorted(self._undecided(), key=lambda item: (item[1].time, item[1].id))

    def _undecided(self) -> Iterator[tuple[str, Question]]:
        for name, entry in self._entries.items():
            for question in entry.questions:
                if question.vector is not None:
                    yield name, question

    def _advance(self, name: str, arrivals: Sequence[_Arrival], marks: Watermarks) -> list[int]:
        rows = []
        entry = self._entries.pop(name, NOTHING)
        for start in range(0, max(len(arrivals), 1), _PRUNE):
            part = arrivals[start : start + _PRUNE]
            join = Join(self._rule, {name: entry})
            for arrival in part:
                if isinstance(arrival.what, Outcome):
                    join.label(name, arrival.what)
                elif join.question(name, arrival.what.id, arrival.what.time, arrival.what.row.to_bytes(8, "big")):
                    rows.append(arrival.what.row)
            now = marks
            if start + _PRUNE < len(arrivals):
                # All events of an entity are in one partition, whose watermark is at least this.
                until = min(part[-1].key - self._lateness, marks.complete)
                now = Watermarks(until, until, until)
            join.decide([name], now, Decided())
            entry = self._take_decided(name, join.entry(name))
        if entry != NOTHING:
            self._entries[name] = entry
        return rows

    def _take_decided(self, name: str, entry: Entry) -> Entry:
        questions = []
        for question in entry.questions:
            if question.decided and question.vector is not None:
                row = _row(question)
                self._queue.append(_Placed(question_place(name, question, self._rule), row, question, True))
                self._queue.append(_Placed(answer_place(name, question, self._rule), row, question, False))
                question = question._replace(vector=None)
            questions.append(question)
        return entry._replace(questions=tuple(questions))


def _row(question: Question) -> int:
    """Return the row of a question's event, which takes the place of its vector here."""
    return int.from_bytes(question.vector or b"", "big")


class _Vectors:
    """Vectors of the questions that are not closed yet, by row."""

    def __init__(self, loop: LoopDefinition, model: ModelDefinition, source: EventSource) -> None:
        self._loop = loop
        self._model = model
        views = [loop.view(name) for name in model.view_names]
        self._cursors = {
            partition: _Cursor(source.read(partition))
            for stream in dict.fromkeys(view.stream for view in views)
            for partition in source.partitions(stream)
        }
        self._rows: dict[tuple[str, int], RowSet] = {}
        self._vectors: dict[int, _Vector] = {}

    def make(self, parts: list[tuple[EventColumns, Ints]], first: int, rows: list[int], before: int | None) -> None:
        """Make the vectors of some rows of a span.

        Parameters
        ----------
        parts
            Questions of the span, with their keys; the first one has the row `first`.
        before
            No later question has a key before this; None: no later questions come.
        """
        if not rows:
            return
        at = np.array(rows, np.int64) - first
        events = EventColumns.concat([events for events, _ in parts]).take(at)
        keys = np.concatenate([keys for _, keys in parts])[at]
        replay = VectorReplay(self._loop, self._model, events, keys, rows=self._rows)
        for partition, cursor in self._cursors.items():
            fold = replay.partition(partition)
            # The keys of events that a vector may read exceed its own key by at most the lateness.
            end = None if before is None else before + self._loop.stream(partition.stream).lateness
            for waiting in cursor.take(end):
                fold.fold(waiting)
                if before is None and fold.done:
                    break
            fold.finish()
        vectors = replay.assemble()
        for place, row in enumerate(rows):
            # Copy, because a view would keep the whole span in memory.
            categories = tuple(column[place] for column in vectors.categories)
            self._vectors[row] = _Vector(vectors.numbers[place].copy(), categories)
        if before is not None:
            self._forget_rows(before - self._loop.stream(self._model.stream).lateness)

    def _forget_rows(self, time: int) -> None:
        """Drop rows that hold nothing in the windows of questions from a given time on."""
        for (view, _), rows in self._rows.items():
            rows.forget_before(time - max(window.size for window in self._loop.view(view).windows))

    def at(self, rows: Sequence[int]) -> tuple[npt.NDArray[np.float64], list[list[str | None]]]:
        """Return the vectors of some rows (at least one), as numbers and columns of text."""
        vectors = [self._vectors[row] for row in rows]
        return np.stack([vector.numbers for vector in vectors]), [
            list(column) for column in zip(*(vector.categories for vector in vectors), strict=True)
        ]

    def forget(self, rows: Iterable[int]) -> None:
        """Drop the vectors of closed questions."""
        for row in rows:
            del self._vectors[row]


def _weight(rule: Rule, question: Question) -> float | None:
    """Return the weight of an answer, as a number of examples; None if it makes none."""
    return None if question.outcome is None else rule.weight(question.id, question.outcome.value)
