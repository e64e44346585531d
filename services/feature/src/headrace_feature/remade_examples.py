"""The examples of a changed model that are remade from the retained events, and written to the log by its join."""

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
        # By its number among the remade entries, the place of a question in the log.
        self._places: dict[int, int] = {}

    def write(self, entries: LogEntries, journal: JoinJournal) -> int:
        """Write the entries that are not in the log yet, after its last one; return how many are answers."""
        missing = self._missing(entries, journal.state.sequence)
        if missing is None:
            return 0
        journal.state.sequence += len(missing)
        # Like released entries, they may be out of the order of places.
        journal.save({}, list(log_messages(self._model, missing)), released=True)
        return int((missing.kinds == Kind.ANSWER).sum())

    def _missing(self, entries: LogEntries, sequence: int) -> LogEntries | None:
        """Return the entries that the log does not hold yet, numbered from `sequence` on; None if it holds all."""
        rows, seqs, questions = [], [], []
        for row, (kind, seq, question) in enumerate(
            zip(entries.kinds.tolist(), entries.seqs.tolist(), entries.questions.tolist(), strict=True)
        ):
            earlier = self._earlier.get((entries.ids[row], int(entries.times[row])))
            if kind == Kind.QUESTION:
                place = self._places[seq] = sequence if earlier is None else earlier.question
                is_logged = earlier is not None
            else:
                place = self._places.pop(question)
                is_logged = earlier is not None and earlier.answer is not None
            if is_logged:
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
        """Complete the remaking: hand the questions that the retained events do not decide to the join.

        Parameters
        ----------
        join
            The join over the entries of `undecided_names`.
        """
        for item in self.remaker.closed():
            join.closed(*item)
        for question in questions:
            # A definition that returns has logged questions that still have no answer.
            earlier = self._earlier.get((question.id, question.time))
            if earlier is not None and earlier.answer is not None:
                continue
            join.question(
                question.name,
                question.id,
                question.time,
                pack_vector(question.numbers, question.categories),
                seq=None if earlier is None else earlier.question,
                outcome=question.outcome,
                made=True,
            )
        journal.state.remake, journal.state.remake_until = False, {}
        journal.save(join.changes, [])
        journal.forget_published()
