"""The examples of a changed model that are made from the retained events, as its join takes them over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from headrace.definition import ModelDefinition
from headrace.engine.kernel.join import Join, Written
from headrace.history.remake import OpenQuestion
from headrace.wire.tables import Kind, LogEntries, log_messages
from headrace_feature.entry_codec import pack_vector
from headrace_feature.join_journal import JoinJournal
from headrace_feature.ports import Remaker


class RemadeExamples:
    """The remade examples of one model, and which of them the log holds already.

    Parameters
    ----------
    earlier
        By id and event time, the entries that an earlier owner wrote.
    """

    def __init__(self, remaker: Remaker, earlier: Mapping[tuple[str, int], Written], model: ModelDefinition) -> None:
        self.remaker = remaker
        self._earlier = earlier
        self._model = model
        self._places: dict[int, int] = {}

    def write(self, entries: LogEntries, journal: JoinJournal) -> int:
        """Write the entries that are not in the log yet, after its last one; return how many are answers."""
        missing = self._missing(entries, journal.state.sequence)
        if missing is None:
            return 0
        journal.state.sequence += len(missing)
        # They do not wait for their places.
        journal.save({}, list(log_messages(self._model, missing)), released=True)
        return int((missing.kinds == Kind.ANSWER).sum())

    def _missing(self, entries: LogEntries, sequence: int) -> LogEntries | None:
        """Return the entries that are not in the log yet, with their numbers from `sequence` on; None if all are."""
        rows, seqs, questions = [], [], []
        for row, (kind, seq, question) in enumerate(
            zip(entries.kinds.tolist(), entries.seqs.tolist(), entries.questions.tolist(), strict=True)
        ):
            entry = self._earlier.get((entries.ids[row], int(entries.times[row])))
            if entry is not None and kind == Kind.QUESTION:
                self._places[seq] = entry.question
                continue
            place = sequence if kind == Kind.QUESTION else self._places.pop(question)
            if kind == Kind.QUESTION:
                self._places[seq] = place
            elif entry is not None and entry.answer is not None:
                continue
            rows.append(row)
            seqs.append(sequence)
            questions.append(place)
            sequence += 1
        if not rows:
            return None
        return replace(entries.take(rows), seqs=np.array(seqs, np.int64), questions=np.array(questions, np.int64))

    def undecided_names(self, questions: Sequence[OpenQuestion]) -> list[str]:
        """Return the names of the entries that `finish` changes."""
        return [*(question.name for question in questions), *(question.id for question in self.remaker.closed())]

    def finish(self, questions: Sequence[OpenQuestion], join: Join, journal: JoinJournal) -> None:
        """Hand the questions that the retained events do not decide to the join; this completes the remaking.

        Parameters
        ----------
        join
            The join over the entries of `undecided_names`.
        """
        for item in self.remaker.closed():
            join.closed(*item)
        for question in questions:
            if (question.id, question.time) not in self._earlier:
                vector = pack_vector(question.numbers, question.categories)
                join.question(question.name, question.id, question.time, vector, outcome=question.outcome, made=True)
        journal.state.remake = False
        journal.save(join.changes, [])
        journal.forget_published()
