"""A model as it learns: a pure function of its log of questions and answers."""

from __future__ import annotations

import copy
from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from headrace.definition import ModelDefinition
from headrace.engine.arrays import Floats, Ints
from headrace.engine.learning.choice import learner_of
from headrace.engine.learning.entries import SKIPPED, EntryArrays, EntryLists
from headrace.engine.learning.ordered_sets import in_order
from headrace.engine.learning.pending_predictions import WaitingPredictions
from headrace.engine.learning.refusal import Refusal
from headrace.engine.learning.rows import Row, Rows
from headrace.engine.learning.served_quality import ServedQuality
from headrace.engine.learning.soundness import LARGEST, not_finite
from headrace.engine.learning.steps import Score, step_of
from headrace.engine.learning.unsettled_answers import UnsettledAnswers
from headrace.engine.learning.weights import final_step, takes_weight
from headrace.engine.quality import MulticlassBaseline, Quality, quality_of
from headrace.errors import CorruptState, LearnerFailed
from headrace.watermark import IDLE, UNKNOWN
from headrace.wire.envelope import Envelope
from headrace.wire.message import Message
from headrace.wire.position import START, Position
from headrace.wire.tables import Kind, LogEntries, decode_log, last_sequence_of, made_for

if TYPE_CHECKING:
    from headrace.engine.learning.compiled import CompiledLearner

# Plain numbers compare faster, and they are compared for each run.
_QUESTION, _ANSWER = int(Kind.QUESTION), int(Kind.ANSWER)

#: The number of versions after which a postponed choice is due.
_VERSIONS_BY_RIVER = 3

#: Number of scored answers that the metrics take at once.
_SETTLE = 1_024


@dataclass
class Progress:
    """Progress of a model in its log.

    Attributes
    ----------
    examples
        Number of answers that it has learned: its version.
    next_seq
        The place, in the log, of the entry that it reads next.
    position
        The last message that was read completely.
    release_watermark
        The latest report of the log: no entry earlier than this (µs since the epoch) follows.
    newest
        The event time of its newest example.
    published
        The newest version that was published.
    epochs
        For each partition that feeds the log, the newest epoch of its owner.
    """

    examples: int = 0
    next_seq: int = 0
    position: Position = START
    release_watermark: int | None = None
    newest: int | None = None
    published: int = 0
    epochs: dict[str, int] = field(default_factory=dict)

    @property
    def is_idle(self) -> bool:
        """Whether the log reported that nothing more is to come: history has ended, or its streams are idle.

        The version is complete then, so it is due whatever its number.
        """
        return self.release_watermark is not None and self.release_watermark >= IDLE


class Learning:
    """Reads messages of a model's log; it uses no broker, no store and no clock.

    A question is predicted when it is read; the prediction, and those of the baselines, wait for the answer. The
    answer is scored against them, and learned. A question without an answer has no effect on the model.

    Parameters
    ----------
    model
        The definition of the model.
    estimator
        A River pipeline: a new one, or that of a checkpoint together with its metrics, progress and predictions.
    stops
        Numbers of examples at which reading stops, besides those of the versions that are due.
    asked
        Called with the place of each question and the model's score for it.
    served
        Joins predictions that were served with the answers; it receives the answers.
    skipped
        The places of questions that are neither asked nor learned.
    """

    def __init__(
        self,
        model: ModelDefinition,
        estimator: Any,
        quality: Quality | None = None,
        progress: Progress | None = None,
        *,
        stops: Collection[int] = (),
        waiting: WaitingPredictions | None = None,
        asked: Callable[[int, Score], None] | None = None,
        served: ServedQuality | None = None,
        skipped: Collection[int] = (),
    ) -> None:
        self.model = model
        self._estimator = in_order(estimator)
        self._compiled: CompiledLearner | None = None
        self._refusal: Refusal | None = None
        self._is_postponed = False
        self.progress = progress or Progress()
        self._quality = quality or quality_of(model)
        self._rows = Rows(model)
        self._step = step_of(model.task, self._quality.baseline)
        if waiting is None:
            waiting = WaitingPredictions(self._step.new_width, model.waiting_bytes)
        self.waiting = waiting
        self._unsettled = UnsettledAnswers(model.task)
        self._stops = sorted(stops)
        self._asked = asked
        self.served = served
        self.skipped = frozenset(skipped)
        self._weighted = takes_weight(estimator)
        self._initial_copy: Any = None
        self._is_complete = False

    @property
    def estimator(self) -> Any:
        """The River pipeline, with everything learned so far."""
        if self._compiled is not None:
            self._compiled.to_river()
        return self._estimator

    def not_finite(self) -> str | None:
        """Return the part of the pipeline with an unusable number: see `headrace.engine.learning.soundness`."""
        if self._compiled is not None and self._compiled.is_within(LARGEST):
            return None
        return not_finite(self.estimator)

    @property
    def refusal(self) -> Refusal | None:
        """The reason why River learns, and not compiled code; None before the choice, too."""
        return self._refusal

    @property
    def whole(self) -> bool:
        """Whether the log holds all examples that the kept events make: it says so when it reports progress."""
        return self._is_complete or self.progress.is_idle

    @property
    def quality(self) -> Quality:
        """The metrics of everything learned so far."""
        self._settle()
        return self._quality

    @property
    def is_time_to_choose(self) -> bool:
        """Whether a postponed choice is due: scorers have had time to load the model's first version."""
        return self._is_postponed and self.progress.examples >= _VERSIONS_BY_RIVER * self.model.publish_examples

    def postpone_choice(self) -> None:
        """Let River learn until `choose` is called, unless the choice is made; by default, `read` chooses."""
        self._is_postponed = self._compiled is None and self._refusal is None

    def choose(self, refusal: Refusal | None = None) -> None:
        """Choose between compiled code and River, if `read` has not done so yet.

        Loading the code takes a moment, and compiling it some seconds: the first time after an installation.

        Parameters
        ----------
        refusal
            The reason why River must learn; None if compiled code may.
        """
        self._is_postponed = False
        if self._compiled is None and self._refusal is None:
            model = self.model
            chosen = refusal or learner_of(self._estimator, model.features, model.task, self.progress.examples)
            if isinstance(chosen, Refusal):
                self._refusal = chosen
            else:
                self._compiled = chosen

    def read(self, message: Message) -> Iterator[None]:
        """Read one message; stop at each version that is due, so that the caller can publish it.

        Raises
        ------
        Unreadable
            Its payload is not part of the log. The model has not changed: `skip` the message.
        CorruptState
            An entry is missing in the log.
        LearnerFailed
            The estimator raised; its state is unusable now. Or it takes no weight, and an example has one.
        """
        envelope = message.envelope
        entries = self._entries(message)
        if self._is_superseded(envelope):
            self.progress.position = message.position
            return
        if entries is not None:
            try:
                yield from self._read(entries, former=envelope.definition != self.model.hash)
            except LearnerFailed as error:
                error.position = message.position
                raise
        elif message.payload:
            # Another definition's entries: the places of this definition's entries follow theirs.
            self.progress.next_seq = max(self.progress.next_seq, last_sequence_of(message.payload) + 1)
        if envelope.release_watermark is not None:
            self.progress.release_watermark = (
                envelope.release_watermark if envelope.release_watermark > UNKNOWN else None
            )
            self._is_complete = envelope.definition == self.model.hash and not envelope.remaking
        self.progress.position = message.position
        has_progress = envelope.release_watermark is not None
        if has_progress and self.progress.is_idle and self.progress.examples > self.progress.published:
            yield

    def skip(self, position: Position) -> None:
        """Leave out a message that is not part of the log."""
        self.progress.position = position

    def _entries(self, message: Message) -> LogEntries | None:
        """Return the entries of a message; None if it has none, or those of another definition."""
        if not message.payload:
            return None
        if not made_for(self.model, message.envelope):
            last_sequence_of(message.payload)
            return None
        return decode_log(self.model, message.payload)

    def _is_superseded(self, envelope: Envelope) -> bool:
        """Return whether a message is from an owner that another owner has followed."""
        if envelope.epoch is None:
            return False
        partition = str(envelope.partition)
        newest = self.progress.epochs.get(partition, 0)
        self.progress.epochs[partition] = max(newest, envelope.epoch)
        return envelope.epoch < newest

    def _read(self, entries: LogEntries, *, former: bool) -> Iterator[None]:
        first = self._first_new(entries)
        if first == len(entries):
            return
        if not self._is_postponed:
            self.choose()
        if self._compiled is not None:
            arrays = EntryArrays(self.model.task, entries, first, self.skipped, former=former)
            yield from self._read_compiled(self._compiled, arrays)
        else:
            yield from self._read_by_river(EntryLists(self.model.task, entries, self._rows, first, former=former))

    # By compiled code -----------------------------------------------------------------------------

    def _read_compiled(self, learner: CompiledLearner, entries: EntryArrays) -> Iterator[None]:
        """Ask and learn entries in order; stop at each version that is due."""
        prepared = learner.prepared(entries.columns)
        answers = np.flatnonzero(entries.kinds == _ANSWER)
        start = learned = 0
        while start < entries.size:
            due = learned + self._until_version()
            end = int(answers[due - 1]) + 1 if due <= len(answers) else entries.size
            run = learner.run(prepared, start, end)
            for first, last in self._parts(entries, start, run.done):
                self._take(entries, first, last, prepared.scores)
            if run.error is not None:
                raise self._failure(entries, run.done, run.error) from run.error
            start = end
            if due <= len(answers):
                learned = due
                yield

    def _parts(self, entries: EntryArrays, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield a range in parts of which all questions can be kept before the answers are scored."""
        if self.waiting.has_room(int(np.count_nonzero(entries.kinds[start:end] == _QUESTION))):
            yield start, end
        else:
            # Predictions will be dropped: which ones depends on the answers in between.
            yield from entries.runs(start, end)

    def _take(self, entries: EntryArrays, start: int, end: int, scores: Floats) -> None:
        """Take the outcome of a part: keep the predictions of its questions, score its answers, close the others."""
        progress, kinds = self.progress, entries.kinds[start:end]
        questions, answers = (start + np.flatnonzero(kinds == kind) for kind in (_QUESTION, _ANSWER))
        baseline = self._quality.baseline
        assert not isinstance(baseline, MulticlassBaseline), "no multiclass model has a compiled form"
        baselines = baseline.learn_all(entries.labels[answers], entries.weights[answers])
        answers_before = np.searchsorted(answers, questions)
        values = np.column_stack((scores[questions], baselines.priors[answers_before], baselines.lasts[answers_before]))
        examples = progress.examples + answers_before
        self.waiting.add(
            array("q", entries.seqs[questions].tobytes()),
            array("q", examples.tobytes()),
            array("d", values.tobytes()),
        )
        if self._asked is not None:
            for seq, score in zip(entries.seqs[questions].tolist(), scores[questions].tolist(), strict=True):
                self._asked(seq, score)
        self._close_questions(entries, start + np.flatnonzero(kinds != _QUESTION))
        progress.examples += len(answers)
        progress.next_seq += end - start
        if len(answers):
            newest = int(entries.times[answers].max())
            progress.newest = newest if progress.newest is None else max(newest, progress.newest)

    def _close_questions(self, entries: EntryArrays, rows: Ints) -> None:
        """Score the answers among entries that are no questions, and forget the questions of the others."""
        examples, values, found = self.waiting.take_all(entries.questions[rows])
        answered = entries.kinds[rows] == _ANSWER
        scored = rows[answered & found]
        self._unsettled.extend(
            entries.times[scored], entries.labels[scored], entries.weights[scored], values[answered[found]]
        )
        for question in entries.questions[rows[answered & ~found]].tolist():
            self._quality.skip(dropped=self.waiting.was_dropped(question))
        if self.served is not None:
            # Without its place, a question came before its answer at the latest.
            known = self.progress.examples + np.cumsum(answered) - answered
            known[found] = examples
            self._close_served(self.served, entries, rows, known)
        if len(self._unsettled) >= _SETTLE:
            self._settle()

    @staticmethod
    def _close_served(served: ServedQuality, entries: EntryArrays, rows: Ints, known: Ints) -> None:
        """Join answers with the predictions that were served for their questions, and forget the other questions.

        Parameters
        ----------
        known
            For each row, how many examples were learned when its question was asked.
        """
        if not len(rows):
            return
        counts = (entries.kinds[rows] == _ANSWER) & entries.asked[rows]
        ids = list(map(entries.ids.__getitem__, rows.tolist()))
        times, labels, weights = (column[rows].tolist() for column in (entries.times, entries.labels, entries.weights))
        # Python's collector of garbage stops looking at plain tuples, but not at instances of a class.
        answers = list(zip(labels, weights, known.tolist(), strict=True))
        # In the order of the log, because an answer may follow a question that was closed under the same id.
        ends = [*(1 + np.flatnonzero(np.diff(counts))).tolist(), len(rows)]
        start = 0
        for end in ends:
            if counts[start]:
                served.answer_all(ids[start:end], times[start:end], answers[start:end])
            else:
                for id, time in zip(ids[start:end], times[start:end], strict=True):
                    served.close(id, time)
            start = end

    # By River -------------------------------------------------------------------------------------

    def _read_by_river(self, message: EntryLists) -> Iterator[None]:
        for kind, start, end in self._runs(message):
            if kind == SKIPPED:
                self._close(message, start, end)
            elif kind == _QUESTION:
                self._ask(message, start, end)
            elif kind == _ANSWER:
                yield from self._answer(message, start, end)
            else:
                self._close(message, start, end)

    def _runs(self, message: EntryLists) -> Iterator[tuple[int, int, int]]:
        """Yield the runs of a message; each entry of a skipped example is a run of its own."""
        for kind, start, end in message.runs():
            for row in range(start, end) if self.skipped else ():
                # An answer whose question is not in the log is identified by its own place.
                if message.seqs[row] in self.skipped or message.questions[row] in self.skipped:
                    yield from ((kind, start, row),) if row > start else ()
                    yield SKIPPED, row, row + 1
                    start = row + 1
            if start < end:
                yield kind, start, end

    def _ask(self, message: EntryLists, start: int, end: int) -> None:
        """Predict questions, and keep the predictions."""
        seqs = message.seqs[start:end]
        values = array("d")
        rows = islice(message.rows, end - start)
        try:
            scores = self._step.ask(self._estimator_to_ask(), rows, values)
        except Exception as error:
            self._fail(message, end, rows, error)
        if self._step.new_width > self.waiting.width:
            self.waiting.widen(self._step.new_width)
        self.waiting.add(seqs, [self.progress.examples] * len(seqs), values)
        self.progress.next_seq += len(seqs)
        if self._asked is not None:
            for seq, score in zip(seqs, scores, strict=True):
                self._asked(seq, score)

    def _estimator_to_ask(self) -> Any:
        """Return the estimator; a copy until it has learned, because a question also creates the trees of a forest."""
        if self.progress.examples:
            return self._estimator
        if self._initial_copy is None:
            self._initial_copy = copy.deepcopy(self._estimator)
        return self._initial_copy

    def _answer(self, message: EntryLists, start: int, end: int) -> Iterator[None]:
        """Learn answers and score them; stop at each version that is due."""
        progress = self.progress
        self._initial_copy = None
        while start < end:
            stop = min(end, start + self._until_version())
            self._learn(message, start, stop)
            self._score(message, start, stop)
            start = stop
            if progress.examples % self.model.publish_examples == 0 or progress.examples in self._stops:
                yield

    def _learn(self, message: EntryLists, start: int, end: int) -> None:
        progress = self.progress
        labels, weights = message.labels[start:end], message.weights[start:end]
        if not self._weighted:
            self._refuse_weights(message, start, end)
        rows = islice(message.rows, end - start)
        try:
            self._step.learn(self._estimator, rows, labels, weights)
        except Exception as error:
            # The estimator may have learned half of the example already, so it is unusable now.
            self._fail(message, end, rows, error)
        progress.examples += end - start
        progress.next_seq += end - start
        newest = max(message.times[start:end])
        progress.newest = newest if progress.newest is None else max(newest, progress.newest)

    def _refuse_weights(self, message: EntryLists, start: int, end: int) -> None:
        for row in range(start, end):
            if message.weights[row] != 1.0:
                error = TypeError(
                    f"{type(final_step(self._estimator)).__name__} cannot learn a weight, and its label has a `keep`"
                )
                raise self._failure(message, row, error)

    def _score(self, message: EntryLists, start: int, end: int) -> None:
        for row in range(start, end):
            question = message.questions[row]
            kept = self.waiting.take(question)
            label, weight = message.labels[row], message.weights[row]
            if kept is not None:
                self._unsettled.add(message.times[row], label, weight, self._step.scored(kept.values, label))
            else:
                self._quality.skip(dropped=self.waiting.was_dropped(question))
            if self.served is None:
                continue
            if message.asked[row]:
                # Without its place, a question came before its answer at the latest.
                examples = kept.examples if kept is not None else self.progress.examples - (end - row)
                number = label if isinstance(label, str) else float(label)
                self.served.answer(message.ids[row], message.times[row], (number, weight, examples))
            else:
                self.served.close(message.ids[row], message.times[row])
        if len(self._unsettled) >= _SETTLE:
            self._settle()

    def _close(self, message: EntryLists, start: int, end: int) -> None:
        """Forget questions that have no answer."""
        deque(islice(message.rows, end - start), maxlen=0)
        for row in range(start, end):
            self.waiting.take(message.questions[row])
            if self.served is not None:
                self.served.close(message.ids[row], message.times[row])
        self.progress.next_seq += end - start

    def _fail(self, message: EntryLists, end: int, rows: Iterator[Row], error: Exception) -> NoReturn:
        """Name the entry at which the estimator failed: the last row of a run that was read."""
        row = max(end - sum(1 for _ in rows) - 1, 0)
        raise self._failure(message, row, error) from error

    def _failure(self, message: EntryLists | EntryArrays, row: int, error: Exception) -> LearnerFailed:
        seq, question = int(message.seqs[row]), int(message.questions[row])
        return LearnerFailed(self.model.name, seq, question if question >= 0 else seq, message.ids[row], error=error)

    def _until_version(self) -> int:
        done = self.progress.examples
        due = self.model.publish_examples - done % self.model.publish_examples
        stop = bisect_right(self._stops, done)
        return min(due, self._stops[stop] - done) if stop < len(self._stops) else due

    def _first_new(self, entries: LogEntries) -> int:
        """Return the first row that was not read yet: the first accepted entry of a place wins."""
        if not len(entries):
            return 0
        first, last = int(entries.seqs[0]), int(entries.seqs[-1])
        if last - first + 1 != len(entries) or first > self.progress.next_seq:
            raise CorruptState(
                f"log of model {self.model.name!r}: expected place {self.progress.next_seq} next, "
                f"it goes on with {first} to {last} ({len(entries)} entries)"
            )
        return min(self.progress.next_seq - first, len(entries))

    def _settle(self) -> None:
        unsettled, self._unsettled = self._unsettled, UnsettledAnswers(self.model.task)
        if len(unsettled):
            self._quality.update(unsettled.outcomes())
