"""The join worker: it joins a model's vectors and labels into its log, each step atomic in the store.

One process at a time runs a model's join: the holder of its lease. A process that loses the lease, or is fenced by
a process that took over meanwhile, gives up the join, and may start again later from the stored state.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import msgspec
import numpy as np
import structlog

from headrace.definition import LoopDefinition, ModelDefinition, Task
from headrace.engine.events import StreamCodec
from headrace.engine.kernel.join import (
    Decided,
    Entry,
    Index,
    Join,
    Logged,
    Outcome,
    Rule,
    Watermarks,
    Written,
    name_at,
    time_at,
    weigh,
)
from headrace.engine.kernel.labels import Labels
from headrace.engine.kernel.partition import Partition, Progress
from headrace.engine.kernel.trial import Trial
from headrace.errors import CorruptState, Fenced
from headrace.history.remaking import ClosedQuestion, OpenQuestion
from headrace.runtime.pulsar.batch import Batch
from headrace.runtime.pulsar.messages import WrongMessage, decoded, opened, pass_over
from headrace.runtime.redis.connection import REMAKE
from headrace.runtime.redis.leases import Lease
from headrace.runtime.redis.pairs import JoinState, LabelSource, PairStore
from headrace.runtime.redis.status import Heartbeat, JoinStatus
from headrace.watermark import ENDED, RESTING, UNKNOWN
from headrace.wire.deduplication import Accepted
from headrace.wire.envelope import Envelope
from headrace.wire.message import Message
from headrace.wire.position import START, Position
from headrace.wire.tables import Kind, LogEntries, Vectors, decode_vectors, log_messages, made_for
from headrace.wire.times import from_wire, to_wire
from headrace.wording import FIRST_TIME
from headrace_feature.decoding import decode
from headrace_feature.marks import LabelMarks
from headrace_feature.outputs import ExamplesLog
from headrace_feature.tenure import Tenure

_log = structlog.get_logger()

#: Log entries of one step: one message, and a script in the store short enough that no reader notices.
STEP = 1_000

#: Seconds between two polls for work that nothing announces: a poll only detects that another process has the join.
_PULSE = 3.0

#: The same while examples are made in the background.
_MADE_PULSE = 0.1


# Created on import, before there are threads: see `headrace.runtime.redis.pairs`.
_PACKED = msgspec.msgpack.Decoder(tuple[bytes, list[str | None]])


@dataclass
class _Features:
    """How far the join has read a features topic.

    Attributes
    ----------
    watermark
        No vector before this time is still to come, in any case.
    frontier
        The time up to which the join need not wait for it: the watermark, or `RESTING` or `ENDED`.
    """

    accepted: Accepted
    watermark: int
    frontier: int


@dataclass
class _Arrivals:
    """Vectors and labels that were read but not yet applied, in reading order."""

    vectors: list[tuple[str, str, int, bytes]] = field(default_factory=list)
    labels: list[tuple[str, Outcome]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.vectors or self.labels)

    @property
    def names(self) -> list[str]:
        """The names of the entries that they belong to."""
        return [*(name for name, _, _, _ in self.vectors), *(name for name, _ in self.labels)]


class MadeExamples(Protocol):
    """Examples of a changed model that are made in the background: see `headrace_feature.remaking`."""

    @property
    def progress(self) -> tuple[int, int]:
        """How many vectors have been made, and how many there will be."""
        ...

    def take(self) -> LogEntries | None:
        """Return further entries, numbered as in a log that begins at 0; None while there are none."""
        ...

    def open(self) -> list[OpenQuestion] | None:
        """Return the undecided questions, once all entries have been taken."""
        ...

    def closed(self) -> list[ClosedQuestion]:
        """Return the decided questions that a label may still arrive for."""
        ...

    def stop(self) -> None:
        """Stop making examples."""
        ...


class JoinWorker:
    """The join of one model. Not thread-safe: one thread calls it.

    Parameters
    ----------
    features, labels
        The physical topics that it reads: those of its vectors, and of its label's stream.
    lease
        Decides whether this process runs the join.
    refuse
        Writes a dead letter, durably, for a message that holds no vectors of the model.
    remake
        Starts making the examples of a changed model from the kept events, in the background.
    """

    def __init__(
        self,
        loop: LoopDefinition,
        model: ModelDefinition,
        features: Sequence[str],
        labels: Sequence[str],
        pairs: PairStore,
        log: ExamplesLog,
        lease: Lease,
        heartbeat: Heartbeat,
        clock: Callable[[], float] = time.time,
        remake: Callable[[], MadeExamples] | None = None,
        refuse: Callable[[WrongMessage], None] = pass_over,
    ) -> None:
        self.model = model
        self._remake = remake
        self._made_examples: MadeExamples | None = None
        self._labels = Labels(loop, model)
        self._rule = Rule.of(loop, model)
        self._lateness = loop.stream(model.stream).lateness
        self._ahead = loop.stream(model.stream).ahead
        self._codec = StreamCodec(self._labels.stream)
        self._trial = Trial(loop, self._labels.stream.name)
        self._sources = (tuple(features), tuple(labels))
        self._pairs = pairs
        self._log = log
        self._refuse = refuse
        self._lease = lease
        self._heartbeat = heartbeat
        self._clock = clock
        self._epoch: int | None = None
        self._written: dict[tuple[str, int], Written] | None = None
        self._forget()

    def begin(self) -> bool:
        """Take over the join if this process holds the lease; return False if it does not.

        Raises
        ------
        CorruptState
            The store has lost the join's state.
        """
        if not self._lease.held:
            return False
        if self._epoch is None:
            try:
                self._take_over()
            except Exception:
                self.give_up()
                raise
        return True

    def _take_over(self) -> None:
        if not self._pairs.known():
            self._refuse_unknown()
        self._epoch, self._state = self._pairs.take_over()
        self._drop_another_definition()
        if self._state.goals:
            self._read_own_log()
        features, labels = self._sources
        for topic in features:
            self._add_features(topic)
        ids = self._pairs.seen()
        self._marks = LabelMarks(self.model.name, self._labels.stream, self._state.upto)
        for number, topic in enumerate(labels):
            self._add_labels(topic, ids.get(number, {}))
        self._send_outbox()
        self._begin_remaking()
        waiting, examples = self._state.weight.questions, self._state.sequence
        _log.info("join_taken_over", model=self.model.name, epoch=self._epoch, waiting=waiting, examples=examples)

    def _read_own_log(self) -> None:
        """Read what a lost state had decided, so that it is not written again while the state is remade."""
        # After this marker, readers drop what an earlier owner still sends.
        self._log.send(b"", replace(self._envelope(), marker=True))
        self._log.flush()
        content = self._log.content()
        self._written = content.written
        self._state.sequence = max(self._state.sequence, content.sequence)

    def tenure(self, topic: str) -> Tenure:
        """Return where to continue reading a source."""
        if self._epoch is None:
            raise Fenced(f"join of {self.model.name}", 0)
        return Tenure(self._epoch, self._position(topic))

    def owns(self, epoch: int) -> bool:
        """Return whether this process has run the join without a break since it began with this epoch."""
        return self._epoch == epoch and self._lease.held

    @property
    def active(self) -> bool:
        """Whether this process runs the join now."""
        return self._epoch is not None and self._lease.held

    def give_up(self) -> None:
        """Leave the join to another process: memory may be ahead of the store."""
        if self._epoch is not None:
            _log.warning("join_given_up", model=self.model.name, epoch=self._epoch)
        self._epoch = None
        self._forget()

    @property
    def pulse(self) -> float:
        """Seconds after which to look for work again."""
        return _PULSE if self._made_examples is None else _MADE_PULSE

    def _forget(self) -> None:
        self._state = JoinState()
        self._features: dict[str, _Features] = {}
        self._partitions: dict[str, Partition] = {}
        self._marks = LabelMarks(self.model.name, self._labels.stream, {})
        self._arrivals = _Arrivals()
        self._seen: dict[tuple[int, str], int | None] = {}
        self._dirty = False
        self._published = (UNKNOWN, UNKNOWN)
        self._has_more = False
        self._decided_marks: Watermarks | None = None
        self._moves: dict[str, tuple[int, float]] = {}
        self._written = None
        self._earlier_entries: dict[tuple[str, int], Written] = {}
        self._made_places: dict[int, int] = {}
        self.stop_remaking()

    def stop_remaking(self) -> None:
        """Stop making examples; the next owner of the join continues."""
        examples, self._made_examples = self._made_examples, None
        if examples is not None:
            examples.stop()

    def _refuse_unknown(self) -> None:
        if self._log.holds_messages():
            raise CorruptState(
                f"the store knows nothing of the join of {self.model.name}, but examples stand on "
                f"{self._log.topic}: `headrace backfill` rebuilds the state from the logs"
            )

    def _finish_remaking(self) -> None:
        """Forget what the log held, once all of it has been decided again."""
        if self._written is None:
            return
        start = START.to_bytes()
        is_done = all(self._state.positions.get(topic, start) >= goal for topic, goal in self._state.goals.items())
        # Entries that have been read may still be undecided, because they wait for their place.
        if is_done and max((entry.latest for entry in self._written.values()), default=UNKNOWN) < self.frontier():
            _log.info("join_made_again", model=self.model.name, entries=self._state.sequence)
            self._written, self._state.goals = None, {}

    def _add_features(self, topic: str) -> None:
        # Requests have no watermark: they hold nothing back.
        watermark = from_wire(self._state.watermarks.get(topic))
        frontier = RESTING if self._by_request else from_wire(self._state.reached.get(topic))
        if frontier == RESTING and not self._by_request:
            # It was idle before the restart; more may have arrived since.
            frontier = watermark
        accepted = Accepted(*self._state.accepted.get(topic, (0, START.to_bytes())))
        self._features[topic] = _Features(accepted, watermark, frontier)

    def _add_labels(self, topic: str, ids: dict[str, int]) -> None:
        newest, watermark, ended = self._state.labels.get(topic, LabelSource(None, None, False))
        self._partitions[topic] = Partition(
            self._labels.stream,
            Progress(),
            ids,
            (),
            newest=from_wire(newest),
            watermark=from_wire(watermark),
            ended=ended,
        )

    @property
    def _by_request(self) -> bool:
        return self.model.vectors == "requests"

    def accept_vectors(self, topic: str, epoch: int, batch: Batch) -> None:
        """Accept messages of the features topic; ignore those read in an earlier tenure."""
        if self._epoch != epoch:
            return
        source = self._features[topic]
        published = dict(zip(batch.positions, batch.published, strict=False))
        for message, vectors in decoded(
            opened(batch, topic, self._refuse_message), topic, self._vectors, self._refuse_message
        ):
            envelope = message.envelope
            if not made_for(self.model, envelope) or not source.accepted.mark(envelope.epoch or 0):
                continue
            if vectors is not None:
                self._take_vectors(source, envelope.epoch or 0, vectors)
            at = published.get(message.position, ENDED)
            if envelope.reached is not None and self._can_be(envelope.reached, at):
                source.frontier = envelope.reached
            if envelope.watermark is not None and self._can_be(envelope.watermark, at):
                # A new owner may report an older watermark than its predecessor's last one, which still holds.
                source.watermark = max(source.watermark, envelope.watermark)
        self._read(topic, batch)

    def _can_be(self, watermark: int, published: int) -> bool:
        """Return whether the stream's `ahead` allows a watermark; one from before its declaration may exceed it."""
        return self._ahead is None or watermark >= RESTING or watermark <= published + self._ahead

    def _vectors(self, message: Message) -> Vectors | None:
        """Return the vectors of a message; None if it has none, or those of another definition."""
        has_vectors = message.payload and made_for(self.model, message.envelope)
        return decode_vectors(self.model, message.payload) if has_vectors else None

    def _refuse_message(self, message: WrongMessage) -> None:
        """Write a dead letter before the position of the message is saved."""
        _log.error("message_refused", topic=message.topic, position=tuple(message.position), reason=str(message.reason))
        self._refuse(message)
        self._heartbeat.count("dead_letters")

    def accept_labels(self, topic: str, epoch: int, batch: Batch) -> None:
        """Accept messages of the label's stream; the fold refuses invalid ones."""
        if self._epoch != epoch:
            return
        partition, number = self._partitions[topic], self._sources[1].index(topic)
        for part in decode(self._codec, self._trial, batch):
            refusals = part.accepted_by(partition)
            if part.mark is not None and refusals is None:
                self._marks.read(topic, part.mark, partition)
            if part.is_note or refusals is None:
                continue  # the fold writes the dead letter of a refused mark
            places = {place for place, _ in refusals}
            accepted = part.events.take([place for place in range(len(part.events)) if place not in places])
            # Note all ids: an event without a label, or with another event's label, is also dropped when it is resent.
            self._seen.update(zip([(number, id) for id in accepted.ids], accepted.times.tolist(), strict=True))
            self._arrivals.labels += self._labels.outcomes(accepted)
            partition.waiting = None
        old_ids = [*partition.outdated_ids(), *(id for id in partition.evicted if id not in partition.seen)]
        self._seen.update(dict.fromkeys((number, id) for id in old_ids))
        partition.forget_ids()
        partition.evicted.clear()
        self._read(topic, batch)

    def rest(self, topic: str, end: Position) -> None:
        """Release the examples that wait for a silent partition, if the join has read its log to the end."""
        if self._epoch is None:
            return
        read = self._position(topic)
        if (end.ledger, end.entry) > (read.ledger, read.entry):
            return
        if topic in self._features:
            self._features[topic].frontier = max(self._features[topic].frontier, RESTING)
        else:
            self._partitions[topic].rest()

    def is_full(self, topic: str) -> bool:
        """Return whether to pause this side: the last step left work, or the waiting entries fill their bound."""
        if self._has_more:
            return True  # reading on would keep what is ready in the store until nothing more arrives
        waiting = self._state.weight
        return self._fills(waiting.question_bytes if topic in self._sources[0] else waiting.label_bytes)

    def _fills(self, size: int) -> bool:
        return size >= self.model.waiting_bytes

    def step(self) -> bool:
        """Apply what arrived, decide, save, send; return False if there was nothing more to do.

        Raises
        ------
        Fenced, Unavailable
            Memory may be ahead of the store now: call `give_up`.
        """
        if self._epoch is None:
            return False
        if not self._lease.held:
            self.give_up()
            return False
        self._pairs.check(self._epoch)
        applied = self._apply()
        self._end_rereading()
        self._marks.release(self._partitions, self._pairs.due)
        marks = self.watermarks()
        more = self._log_made()
        if applied or marks != self._decided_marks:
            self._has_more = self._decide(marks)
            self._decided_marks = None if self._has_more else marks
            more |= self._has_more
        if not more and (progress := self._progress(marks)) != self._published:
            # Everything before it has been sent now.
            self._publish(*progress)
        return more

    def done(self) -> dict[str, Position]:
        """Return the saved position of each source. Callable from any thread."""
        positions = dict(self._state.positions)
        return {} if self._dirty else {topic: Position.from_bytes(position) for topic, position in positions.items()}

    def frontier(self) -> int:
        """Return the time before which every example is decided, unless an idle source resumes."""
        features = [source.frontier for source in self._features.values()]
        labels = [
            partition.frontier if partition.frontier >= RESTING else self._marks.watermark(topic, partition)
            for topic, partition in self._partitions.items()
        ]
        return min([*features, *labels], default=UNKNOWN)

    def watermarks(self) -> Watermarks:
        """Return the watermarks of the sources."""
        partitions = self._partitions
        labels = min(
            (self._marks.watermark(topic, partition) for topic, partition in partitions.items()), default=UNKNOWN
        )
        by_events = min((partition.event_watermark for partition in partitions.values()), default=UNKNOWN)
        questions = min((source.watermark for source in self._features.values()), default=UNKNOWN)
        return Watermarks(labels if self._by_request else questions, labels, self.frontier(), by_events)

    def _progress(self, marks: Watermarks) -> tuple[int, int]:
        """Return the frontier and the watermark of the log: it is not idle while examples are made."""
        frontier = marks.release
        return (min(frontier, marks.complete) if self._state.remake else frontier), marks.labels

    def status(self) -> JoinStatus | None:
        """Return the waiting questions and labels, and what holds them back; None if another process joins."""
        partitions = tuple(self._partitions.items())
        if not self.active or not partitions:
            return None
        held_by, partition = min(partitions, key=lambda item: self._marks.watermark(*item))
        watermark = self._marks.watermark(held_by, partition)
        if self._moves.get(held_by, (None, 0.0))[0] != watermark:
            self._moves[held_by] = (watermark, self._clock())
        waiting = self._state.weight
        count, to_make = (0, 0) if self._made_examples is None else self._made_examples.progress
        return JoinStatus(
            made=count,
            to_make=to_make,
            waiting_questions=waiting.questions,
            waiting_labels=waiting.labels,
            question_bytes=waiting.question_bytes,
            label_bytes=waiting.label_bytes,
            bound_bytes=self.model.waiting_bytes,
            held_by=f"{self._labels.stream.name}-{self._sources[1].index(held_by)}",
            watermark=None if watermark < FIRST_TIME else watermark,
            since=self._moves[held_by][1],
            questions_of=self.model.stream,
            marks=self._marks.statuses(),
        )

    def _apply(self) -> bool:
        """Store what was read as entries, in their places; return False if nothing was read."""
        if not self._dirty:
            return False
        arrivals, self._arrivals = self._arrivals, _Arrivals()
        join = Join(self._rule, self._load(arrivals.names))
        for name, id, at, vector in arrivals.vectors:
            if not join.question(name, id, at, vector):
                self._heartbeat.count("repeated_vectors")
        for name, outcome in arrivals.labels:
            join.label(name, outcome)
        self._heartbeat.count("labels", len(arrivals.labels))
        self._heartbeat.count("repeated_labels", join.repeated_labels)
        self._save(join.changes, [])
        return True

    def _decide(self, marks: Watermarks) -> bool:
        """Decide what is due and log what has its place; return whether there may be more."""
        weight = self._state.weight
        crowded = self._fills(weight.closed_bytes)
        # While questions fill their bound, reading them pauses, so none has to wait for its place.
        placed = {Index.PLACED: RESTING if self._fills(weight.question_bytes) else marks.release}
        due = {Index.OPEN: marks.labels, Index.LABELS: marks.questions}
        due[Index.CLOSED] = RESTING if crowded else marks.complete
        places = self._pairs.before({**due, **placed}, STEP)
        ready, decided = places.pop(Index.PLACED), Decided()
        if any(places.values()):
            self._decide_due(places, marks, decided, crowded)
        if any(len(part) == STEP for part in places.values()):
            return True  # a later decision may have an earlier place than what would be logged
        if places[Index.OPEN]:
            # The questions that were just decided have a place now, too.
            ready = self._pairs.before(placed, STEP)[Index.PLACED]
        return self._log_placed(ready, marks, decided)

    def _decide_due(self, places: dict[Index, list[bytes]], marks: Watermarks, decided: Decided, crowded: bool) -> None:
        names, entries = self._entries_at(places)
        join = Join(self._rule, entries)
        join.decide(entries, marks, decided)
        if crowded:
            join.forget(names[Index.CLOSED][: len(names[Index.CLOSED]) // 2 + 1])
        self._heartbeat.count("expired", decided.expired)
        self._marks.credit(decided)
        if not (self._state.reread or self._state.remake):
            # Otherwise they may belong to questions that are still to be made, or to the former definition's.
            self._heartbeat.count("unmatched", decided.unmatched)
        self._save(join.changes, [])

    def _log_placed(self, ready: Sequence[bytes], marks: Watermarks, decided: Decided) -> bool:
        join = Join(self._rule, self._entries_at({Index.PLACED: ready})[1])
        join.log(ready, marks, self._state.sequence, decided, self._written)
        if len(ready) < STEP:
            self._finish_remaking()
        if ready:
            self._save(join.changes, decided.entries, decided.released)
        if len(ready) < STEP:
            return False
        self._publish_progress(time_at(ready[-1]), marks)
        return True

    def _entries_at(self, listed: Mapping[Index, Sequence[bytes]]) -> tuple[dict[Index, list[str]], dict[str, Entry]]:
        """Return the names of the entries at these places, and the entries; remove places without an entry."""
        by_index = {index: {place: _name_at(index, place) for place in places} for index, places in listed.items()}
        entries = self._load(name for names in by_index.values() for name in names.values() if name is not None)
        lost_places = {
            index: [place for place, name in names.items() if name not in entries] for index, names in by_index.items()
        }
        if any(lost_places.values()):
            assert self._epoch is not None
            self._pairs.forget(self._epoch, (), lost_places)
        return {
            index: [name for name in names.values() if name is not None and name in entries]
            for index, names in by_index.items()
        }, entries

    def _load(self, names: Iterable[str]) -> dict[str, Entry]:
        """Load entries; log, count and remove those that cannot be read."""
        unique = list(dict.fromkeys(names))
        if not unique:
            return {}
        result = self._pairs.load(unique)
        if result.wrong:
            assert self._epoch is not None
            for name, error in result.wrong.items():
                _log.error("entry_refused", model=self.model.name, name=name, reason=str(error), cure=REMAKE)
            self._heartbeat.count("wrong_entries", len(result.wrong))
            self._pairs.forget(self._epoch, result.wrong, {})
        return result.entries

    def _publish_progress(self, place_time: int, marks: Watermarks) -> None:
        """Publish how far the log is while more is to be logged, so that players keep pace with it."""
        reached, published = min(place_time, marks.release), self._published[0]
        # An entry logged after its place had passed moves nothing; the log may have been reported idle before.
        if reached > UNKNOWN and (reached > published or published > marks.release):
            self._publish(reached, marks.labels)

    # Examples that are made later ----------------------------------------------------------------

    def _begin_remaking(self) -> None:
        """Start, or restart, to make the examples of a changed model."""
        if not self._state.remake or self._remake is None:
            return
        # An earlier owner may have written some of them.
        self._earlier_entries = self._log.content().written
        self._made_examples = self._remake()
        # The log may have been reported idle under the former definition; under this one it is not.
        self._publish(UNKNOWN, UNKNOWN)
        _log.info("remaking_examples", model=self.model.name, written=len(self._earlier_entries))

    def _log_made(self) -> bool:
        """Log some of the examples that were made; return whether there may be more at once."""
        if self._made_examples is None:
            return False
        entries = self._made_examples.take()
        if entries is not None:
            self._write_made(entries)
            return True
        questions = self._made_examples.open()
        if questions is not None and not self._state.reread:
            self._join_made(questions, self._made_examples.closed())
        return False

    def _write_made(self, entries: LogEntries) -> None:
        """Write the entries that are not in the log yet, after its last one."""
        rows, seqs, questions = [], [], []
        sequence = self._state.sequence
        for row, (kind, seq, question) in enumerate(
            zip(entries.kinds.tolist(), entries.seqs.tolist(), entries.questions.tolist(), strict=True)
        ):
            entry = self._earlier_entries.get((entries.ids[row], int(entries.times[row])))
            if entry is not None and kind == Kind.QUESTION:
                self._made_places[seq] = entry.question
                continue
            place = sequence if kind == Kind.QUESTION else self._made_places.pop(question)
            if kind == Kind.QUESTION:
                self._made_places[seq] = place
            elif entry is not None and entry.answer is not None:
                continue
            rows.append(row)
            seqs.append(sequence)
            questions.append(place)
            sequence += 1
        if rows:
            new_entries = replace(
                entries.take(rows), seqs=np.array(seqs, np.int64), questions=np.array(questions, np.int64)
            )
            self._state.sequence = sequence
            self._heartbeat.count("made_examples", int((new_entries.kinds == Kind.ANSWER).sum()))
            # They do not wait for their places.
            self._store({}, list(log_messages(self.model, new_entries)), released=True)

    def _join_made(self, questions: Sequence[OpenQuestion], closed_questions: Sequence[ClosedQuestion]) -> None:
        """Take over the questions that the kept events do not decide; this completes the remaking."""
        names = dict.fromkeys(
            [*(question.name for question in questions), *(question.id for question in closed_questions)]
        )
        join = Join(self._rule, self._load(names))
        for item in closed_questions:
            join.closed(*item)
        for question in questions:
            if (question.id, question.time) not in self._earlier_entries:
                vector = _pack(question.numbers, question.categories)
                join.question(question.name, question.id, question.time, vector, question.outcome, made=True)
        self._state.remake, self._made_examples = False, None
        self._store(join.changes, [])
        # Publish this, and look at the open questions, even if nothing else has changed.
        self._published, self._decided_marks = (UNKNOWN, UNKNOWN), None
        self._earlier_entries = {}
        _log.info("examples_remade", model=self.model.name, open=len(questions))

    def _save(self, changes: dict[str, tuple[Entry, Entry]], entries: Sequence[Logged], released: bool = False) -> None:
        self._store(changes, self._encode(entries) if entries else [], released)

    def _store(self, changes: dict[str, tuple[Entry, Entry]], outbox: list[bytes], released: bool = False) -> None:
        assert self._epoch is not None
        state = self._state
        state.outbox = outbox
        state.released = released
        state.accepted = {
            topic: (source.accepted.epoch, source.accepted.position) for topic, source in self._features.items()
        }
        state.watermarks = {topic: to_wire(source.watermark) for topic, source in self._features.items()}
        state.reached = {topic: to_wire(source.frontier) for topic, source in self._features.items()}
        state.labels = {
            topic: LabelSource(to_wire(partition.newest), to_wire(partition.watermark), partition.ended)
            for topic, partition in self._partitions.items()
        }
        state.upto = self._marks.upto
        for name, (before, after) in changes.items():
            state.weight = state.weight + weigh(name, after) - weigh(name, before)
        self._pairs.save(self._epoch, state, changes, self._seen)
        self._seen = {}
        self._dirty = False
        self._send_outbox()

    def _drop_another_definition(self) -> None:
        """Drop questions whose vectors are of another definition, so that they make no examples of this one."""
        if self._state.definition == self.model.hash:
            return
        # Send first: the definition before the change decided what the outbox holds.
        self._send_outbox()
        assert self._epoch is not None
        same_examples = self._state.examples == self.model.examples_hash
        # A new model has nothing to remake, and requests are not kept.
        self._state.remake = (
            bool(self._state.definition) and not self._by_request and (not same_examples or self._state.remake)
        )
        self._state.outbox = []
        self._state.definition, self._state.examples = self.model.hash, self.model.examples_hash
        if same_examples:
            return  # only the learner changed: waiting entries stay valid
        waiting = self._state.weight.questions
        if waiting:
            _log.warning("waiting_questions_dropped", model=self.model.name, questions=waiting, reason="model changed")
        self._state.weight = weigh("", Entry())
        # Labels that came before their question wait here, too, and the new definition may read other values from them.
        self._state.labels = {}
        positions = {
            topic: self._state.positions.pop(topic) for topic in self._sources[1] if topic in self._state.positions
        }
        self._state.reread = positions
        self._pairs.clear(self._epoch, self._state)

    def _end_rereading(self) -> None:
        """Forget how far labels were read before the definition changed, once they have been read again."""
        start, reread = START.to_bytes(), self._state.reread
        if all(self._state.positions.get(topic, start) >= end for topic, end in reread.items()):
            self._state.reread = {}

    def _position(self, topic: str) -> Position:
        return Position.from_bytes(self._state.positions.get(topic, START.to_bytes()))

    def _read(self, topic: str, batch: Batch) -> None:
        # Mark dirty before moving the position, so that the ack thread never acknowledges unsaved work.
        self._dirty = True
        self._state.positions[topic] = batch.positions[-1].to_bytes()

    def _take_vectors(self, source: _Features, epoch: int, vectors: Vectors) -> None:
        times = vectors.times.tolist()
        if not self._by_request:
            # An idle source has resumed, and its next frontier may still be on its way.
            source.frontier = min(source.frontier, min(times, default=ENDED) - self._lateness)
        # A request has no position: the id of its vector alone identifies a repeat.
        rows = range(len(vectors)) if self._by_request else source.accepted.take(epoch, vectors.positions)
        for row in rows:
            vector = _pack(vectors.numbers[row], [column[row] for column in vectors.categories])
            id = vectors.ids[row]
            name = id if vectors.entities is None else vectors.entities[row]
            if name is not None:  # no event can answer a question without an entity
                self._arrivals.vectors.append((name, id, times[row], vector))

    def _encode(self, entries: Sequence[Logged]) -> list[bytes]:
        weights = [self._weight_of(entry) for entry in entries]
        kinds = [
            Kind.QUESTION if entry.asks else Kind.UNANSWERED if weight is None else Kind.ANSWER
            for entry, weight in zip(entries, weights, strict=True)
        ]
        questions = [entry.question for entry in entries]
        self._state.sequence = entries[-1].seq + 1
        self._heartbeat.count("examples", kinds.count(Kind.ANSWER))
        values = [_unpack(question.vector or b"") for question in questions]
        labels = [
            question.outcome.value if kind == Kind.ANSWER and question.outcome else None
            for kind, question in zip(kinds, questions, strict=True)
        ]
        multiclass = self.model.task is Task.MULTICLASS
        log_entries = LogEntries(
            np.array([entry.seq for entry in entries], np.int64),
            np.array(kinds, np.int8),
            np.array([question.seq for question in questions], np.int64),
            [question.id for question in questions],
            np.array([question.time for question in questions], np.int64),
            np.array([self._label_time(entry) for entry in entries], np.int64),
            ["" if label is None else str(label) for label in labels]
            if multiclass
            else np.array([np.nan if label is None else label for label in labels], np.float64),
            np.array([1.0 if weight is None else weight for weight in weights]),
            np.stack([numbers for numbers, _ in values]),
            [list(column) for column in zip(*(texts for _, texts in values), strict=True)],
            np.array([question.made for question in questions]),
        )
        return list(log_messages(self.model, log_entries))

    def _weight_of(self, entry: Logged) -> float | None:
        """Return how many examples an answer counts for; None if the entry is not an answer."""
        question = entry.question
        if entry.asks or question.outcome is None:
            return None
        return self._rule.weight(question.id, question.outcome.value)

    def _label_time(self, entry: Logged) -> int:
        """Return the time of an entry's label; for a question, its own time."""
        return entry.question.time if entry.asks else entry.question.label_time(self._rule.bound)

    def _send_outbox(self) -> None:
        state = self._state
        envelope = replace(
            self._envelope(), definition=state.definition, examples=state.examples, released=state.released
        )
        for message in state.outbox:
            self._log.send(message, envelope)
        self._log.flush()

    def _publish(self, frontier: int, labels: int) -> None:
        envelope = replace(self._envelope(), reached=frontier, watermark=labels, remaking=self._state.remake)
        self._log.send(b"", envelope)
        self._log.flush()
        self._published = (frontier, labels)

    def _envelope(self) -> Envelope:
        return Envelope(epoch=self._epoch, definition=self.model.hash)


def _name_at(index: Index, place: bytes) -> str | None:
    """Return the name of the entry at a place; None if the bytes are not a place."""
    try:
        return name_at(index, place)
    except (IndexError, UnicodeDecodeError):
        return None


def _pack(numbers: np.ndarray[tuple[int], np.dtype[np.float64]], texts: list[str | None]) -> bytes:
    return msgspec.msgpack.encode((numbers.tobytes(), texts))


def _unpack(payload: bytes) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], list[str | None]]:
    numbers, texts = _PACKED.decode(payload)
    return np.frombuffer(numbers, np.float64), texts
