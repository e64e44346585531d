"""Audit of a model's examples: those that follow from its vectors and labels, against those in its log."""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import NamedTuple

import numpy as np

from headrace.definition import LoopDefinition, ModelDefinition, Task
from headrace.engine.arrays import Ints
from headrace.engine.kernel.join import Decided, Join, Outcome, Rule, Watermarks
from headrace.engine.kernel.labels import Labels
from headrace.history.differences import Difference
from headrace.history.logs import FEW, Logs
from headrace.history.served_record import LoggedModel, Selection
from headrace.history.streams import StreamHistory
from headrace.runtime.pulsar.messages import decoded, opened, pass_over
from headrace.watermark import UNKNOWN
from headrace.wire.deduplication import Accepted
from headrace.wire.message import Message
from headrace.wire.tables import Kind, LogEntries, decode_log, made_for
from headrace.wire.topics import Topics

#: Number of vectors read at a time.
_SIZE = 10_000


class _Key(NamedTuple):
    """The identity of an example: its id, and the time of its question (µs)."""

    id: str
    time: int


class ExampleAudit:
    """Compares the examples log of a model with the examples that follow from its vectors and its label's stream.

    Only questions of a stream can be audited: requests are in no stream, and it is not recorded which of them came in
    time for their label.

    Attributes
    ----------
    examples
        Number of examples that were compared.
    left_out
        Number of examples that were not: those of a forecast that were remade.
    """

    def __init__(
        self, loop: LoopDefinition, model: ModelDefinition, streams: StreamHistory, logs: Logs, *, topics: Topics
    ) -> None:
        self._loop = loop
        self._model = model
        self._streams = streams
        self._logs = logs
        self._topics = topics
        self.examples = self.left_out = 0

    def differences(self, selection: Selection) -> Iterator[Difference]:
        """Yield the examples that are missing in the log, differ, or should not be there.

        Raises
        ------
        CorruptState, Unavailable
            As for `StreamHistory.read`.
        """
        if self._model.vectors == "requests":
            return
        logged, remade, release_watermark, watermark = self._read_log()
        if self._loop.label(self._model.label).after is not None:
            # The log does not name the entity of a remade example, so its label cannot be found again.
            self.left_out = len(logged.keys() & remade)
            logged, remade = {key: outcome for key, outcome in logged.items() if key not in remade}, set()
        expected = self._expect(selection, remade, watermark)
        self.examples = len(expected)
        for key, outcome in expected.items():
            known_at = max(key.time, outcome.time)
            if key not in logged:
                if known_at < release_watermark:  # later ones still wait for their place
                    yield self._difference(key, None, outcome, "its label counts, and it is not in the log")
            elif logged[key] != outcome:
                yield self._difference(key, logged[key], outcome, "another label answers it")
        for key, outcome in logged.items():
            if key not in expected and selection.rows([key.id], _times(key)):
                reason = "its vector or label is in no topic any more, or does not count"
                yield self._difference(key, outcome, None, reason)

    def _expect(self, selection: Selection, remade: Set[_Key], watermark: int) -> dict[_Key, Outcome]:
        rule = Rule.of(self._loop, self._model)
        join = Join(rule, {})
        log = LoggedModel(self._logs, self._topics, self._model)
        for part in log.vectors(selection, _SIZE):
            vectors = part.vectors
            names = vectors.ids if vectors.entities is None else vectors.entities
            for name, id, time in zip(names, vectors.ids, vectors.times.tolist(), strict=True):
                if name is not None:
                    join.question(name, id, time, b"-")
        for key in sorted(remade):
            if selection.rows([key.id], _times(key)):
                join.question(key.id, key.id, key.time, b"-")
        labels = Labels(self._loop, self._model)
        for partition in self._streams.partitions(labels.stream.name):
            for events in self._streams.read(partition):
                for name, outcome in labels.outcomes(events.columns):
                    join.label(name, outcome)
        join.decide(list(join.changes), Watermarks(UNKNOWN, watermark, UNKNOWN), Decided())
        return {
            _Key(question.id, question.time): self._as_typed(question.outcome)
            for _, entry in join.changes.values()
            for question in entry.questions
            if question.decided and question.outcome is not None
            if rule.weight(question.id, question.outcome.value) is not None
        }

    def _as_typed(self, outcome: Outcome) -> Outcome:
        value = outcome.value
        return Outcome(outcome.time, str(value) if self._model.task is Task.MULTICLASS else float(value))

    def _read_log(self) -> tuple[dict[_Key, Outcome], set[_Key], int, int]:
        """Return the examples in the log, and its remade questions, which have no vector on the features topic.

        Also return the time before which the log is complete, and the watermark of its labels.
        """
        outcomes: dict[_Key, Outcome] = {}
        remade: set[_Key] = set()
        accepted, release_watermark, watermark = Accepted(), UNKNOWN, UNKNOWN
        for physical in self._logs.partitions(self._topics.examples(self._model.name)):
            for batch in self._logs.read(physical, FEW):
                for message, entries in decoded(opened(batch, physical, pass_over), physical, self._entries, pass_over):
                    envelope = message.envelope
                    if not accepted.mark(envelope.epoch or 0) or not made_for(self._model, envelope):
                        continue
                    release_watermark = (
                        release_watermark if envelope.release_watermark is None else envelope.release_watermark
                    )
                    watermark = max(watermark, UNKNOWN if envelope.watermark is None else envelope.watermark)
                    if entries is not None:
                        outcomes.update(self._answers(entries))
                        remade.update(_remade(entries))
        return outcomes, remade, release_watermark, watermark

    def _entries(self, message: Message) -> LogEntries | None:
        is_ours = message.payload and made_for(self._model, message.envelope)
        return decode_log(self._model, message.payload) if is_ours else None

    def _answers(self, entries: LogEntries) -> Iterator[tuple[_Key, Outcome]]:
        examples = entries.answers
        columns = (examples.times.tolist(), examples.label_times.tolist(), list(examples.labels))
        for id, time, label_time, label in zip(examples.ids, *columns, strict=True):
            yield _Key(id, time), self._as_typed(Outcome(label_time, label))

    def _difference(self, key: _Key, logged: Outcome | None, recomputed: Outcome | None, reason: str) -> Difference:
        before = None if logged is None else logged.value
        after = None if recomputed is None else recomputed.value
        return Difference(self._model.name, key.id, key.time, "example", before, after, reason)


def _remade(entries: LogEntries) -> Iterator[_Key]:
    if entries.made is not None:
        for row in np.flatnonzero(entries.made & (entries.kinds == Kind.QUESTION)).tolist():
            yield _Key(entries.ids[row], int(entries.times[row]))


def _times(key: _Key) -> Ints:
    return np.array([key.time], np.int64)
