"""The join of one model while this process owns it: each step is atomic in the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import structlog

from headrace.definition import LoopDefinition, ModelDefinition
from headrace.engine.kernel.join import Decided, Index, Join, Logged, Outcome, Rule, Watermarks, time_at
from headrace.runtime.pulsar.batch import Batch
from headrace.runtime.pulsar.messages import WrongMessage
from headrace.runtime.redis.pairs import FormerRead, JoinState, PairStore
from headrace.runtime.redis.status import Heartbeat, JoinStatus
from headrace.watermark import IDLE, UNKNOWN
from headrace.wire.position import START, Position
from headrace.wording import FIRST_TIME
from headrace_feature.entry_codec import EntryEncoder
from headrace_feature.features_topic import ArrivedVector, FeaturesTopic
from headrace_feature.first_epochs import FirstEpochs
from headrace_feature.join_entries import JoinEntries
from headrace_feature.join_journal import JoinJournal
from headrace_feature.join_log import JoinLog
from headrace_feature.join_takeover import TakenOverJoin
from headrace_feature.join_topics import JoinTopics
from headrace_feature.label_marks import LabelMarks
from headrace_feature.ports import Remaker
from headrace_feature.pulsar.outputs import ExamplesLog
from headrace_feature.remade_examples import RemadeExamples

_log = structlog.get_logger()

#: Log entries of one step: one message, and a script in the store short enough that no reader notices.
STEP = 1_000


class OwnedJoin:
    """The join of one model, from its takeover by this process until it is given up.

    Parameters
    ----------
    taken
        The state from which this owner starts.
    topics
        The topics that it reads: those of its vectors, and of its label's stream.
    refuse
        Writes a dead letter, durably, for a message that holds no vectors of the model.
    """

    def __init__(
        self,
        loop: LoopDefinition,
        model: ModelDefinition,
        taken: TakenOverJoin,
        topics: JoinTopics,
        *,
        pairs: PairStore,
        log: ExamplesLog,
        first_epochs: FirstEpochs,
        heartbeat: Heartbeat,
        refuse: Callable[[WrongMessage], None],
    ) -> None:
        self.model = model
        self.epoch = taken.epoch
        self._topics = topics
        self._pairs = pairs
        self._heartbeat = heartbeat
        self._refuse = refuse
        self._rule = Rule.of(loop, model)
        self._encoder = EntryEncoder(model, self._rule)
        self._log = JoinLog(model, log, taken.epoch)
        self._journal = JoinJournal(
            taken.epoch, taken.state, topics, pairs=pairs, log=self._log, first_epochs=first_epochs
        )
        self._entries = JoinEntries(pairs, model.name, taken.epoch, heartbeat)
        self._marks = LabelMarks(model.name, topics.label_stream.definition)
        self._written = taken.written
        self._vectors: list[ArrivedVector] = []
        self._outcomes: list[tuple[str, Outcome]] = []
        self._has_more = False
        self._decided_watermarks: Watermarks | None = None
        self._remade: RemadeExamples | None = None
        # Messages of label topics that wait until the earlier ones have been read a second time.
        self._held: dict[str, Batch] = {}
        self._was_remaking = False

    @property
    def _state(self) -> JoinState:
        return self._journal.state

    def start(self, remake: Callable[[Mapping[str, FormerRead]], Remaker] | None) -> None:
        """Send what the former owner may not have sent, and start to make the examples of a changed model."""
        self._journal.send_outbox()
        if self._state.remake and remake is not None:
            # An earlier owner may have written some of them.
            earlier = self._log.content().written
            self._remade = RemadeExamples(remake(self._state.remake_until), earlier, self.model)
            self._was_remaking = True
            # The log may have been reported idle under the former definition; under this one it is not.
            self._journal.publish(UNKNOWN, UNKNOWN)
            _log.info("remaking_examples", model=self.model.name, written=len(earlier))
        waiting, examples = self._state.weight.questions, self._state.sequence
        _log.info("join_taken_over", model=self.model.name, epoch=self.epoch, waiting=waiting, examples=examples)

    def stop_remaking(self) -> None:
        """Stop making examples; the next owner of the join continues."""
        remade, self._remade = self._remade, None
        if remade is not None:
            remade.remaker.stop()

    @property
    def is_remaking(self) -> bool:
        """Whether examples are made in the background."""
        return self._remade is not None

    @property
    def has_missed(self) -> bool:
        """Whether events have no vectors, which the next takeover of the join has their examples made for."""
        return self._state.missed and not self._journal.is_dirty

    def position(self, topic: str) -> Position:
        """Return the position of the last message read from a source, now or by an earlier owner."""
        return self._journal.position(topic)

    def accept(self, topic: str, batch: Batch) -> None:
        """Accept messages of a source."""
        source, position = self._topics[topic], batch.positions[-1]
        if isinstance(source, FeaturesTopic):
            self._vectors += source.read(batch, self._refuse_message)
            self._state.missed |= source.missed
        else:
            batch, position = self._hold(topic, batch)
            self._outcomes += source.read(batch, self._marks.read)
        # Mark dirty before moving the position, so that the ack thread never acknowledges unsaved work.
        self._journal.is_dirty = True
        source.position = position

    def _hold(self, topic: str, batch: Batch) -> tuple[Batch, Position]:
        """Hold back messages after those that are read a second time; return the others, and the last position."""
        if self._remade is None or not self._state.reread:
            return batch, batch.positions[-1]
        end = Position.from_bytes(self._state.reread.get(topic, START.to_bytes()))
        count = sum(position <= end for position in batch.positions)
        if count == len(batch):
            return batch, batch.positions[-1]
        held = self._held.get(topic, Batch())
        self._held[topic] = held.followed_by(batch.after(held.positions[-1] if len(held) else end))
        return batch.before(count), end

    def _accept_held(self) -> None:
        """Accept the messages that were held back."""
        held, self._held = self._held, {}
        for topic, batch in held.items():
            self.accept(topic, batch)

    def _refuse_message(self, message: WrongMessage) -> None:
        """Write a dead letter before the position of the message is saved."""
        _log.error("message_refused", topic=message.topic, position=tuple(message.position), reason=str(message.reason))
        self._refuse(message)
        self._heartbeat.count("dead_letters")

    def note_silence(self, topic: str, end: Position) -> None:
        """Release the examples that wait for a silent partition, if the join has read its log to the end."""
        source = self._topics[topic]
        if (end.ledger, end.entry) <= (source.position.ledger, source.position.entry):
            source.become_idle()

    def is_full(self, topic: str) -> bool:
        """Return whether to pause a topic: the last step left work, or what waits of its side fills its bound.

        A topic whose messages are held back is paused, too.
        """
        if self._has_more or topic in self._held:
            return True  # reading on would keep what is ready in the store until nothing more arrives
        waiting = self._state.weight
        return self._fills(waiting.question_bytes if topic in self._topics.features else waiting.label_bytes)

    def _fills(self, size: int) -> bool:
        return size >= self.model.waiting_bytes

    def done(self) -> dict[str, Position]:
        """Return the saved position of each source. Callable from any thread."""
        return self._journal.done()

    def watermarks(self) -> Watermarks:
        """Return the watermarks of the sources, by which the join decides."""
        return self._topics.watermarks()

    def status(self, now: float) -> JoinStatus | None:
        """Return the waiting questions and labels, and what holds them back; None without a label topic."""
        holder = min(self._topics.labels.values(), key=lambda topic: topic.watermark, default=None)
        if holder is None:
            return None
        watermark = holder.watermark
        waiting = self._state.weight
        remade = self._remade
        count, to_make = (0, 0) if remade is None else remade.remaker.progress
        return JoinStatus(
            made=count,
            to_make=to_make,
            waiting_questions=waiting.questions,
            waiting_labels=waiting.labels,
            question_bytes=waiting.question_bytes,
            label_bytes=waiting.label_bytes,
            bound_bytes=self.model.waiting_bytes,
            held_by=f"{self._topics.label_stream.definition.name}-{holder.number}",
            watermark=None if watermark < FIRST_TIME else watermark,
            since=holder.moved_at(now),
            questions_of=self.model.stream,
            marks=self._marks.statuses(),
        )

    def step(self) -> bool:
        """Apply what arrived, decide, save, send; return False if there was nothing more to do.

        Raises
        ------
        Fenced, Unavailable
            Memory may be ahead of the store now: give up the join.
        """
        self._pairs.check(self.epoch)
        applied = self._apply()
        if self._journal.has_reached(self._state.reread):
            # The labels from before a change of the definition have been read again.
            self._state.reread = {}
        if self._held and not self._state.reread:
            self._accept_held()
            applied |= self._apply()  # before any decision: these messages have moved the watermarks
        self._marks.release(self._topics.labels.values(), self._pairs.due)
        watermarks = self.watermarks()
        more = self._log_remade()
        if applied or watermarks != self._decided_watermarks:
            self._has_more = self._decide(watermarks)
            self._decided_watermarks = None if self._has_more else watermarks
            more |= self._has_more
        if not more and (progress := self._progress(watermarks)) != self._journal.published:
            # Everything before it has been sent now.
            self._journal.publish(*progress)
        return more

    def _progress(self, watermarks: Watermarks) -> tuple[int, int]:
        """Return the release watermark and the watermark of the log: it is not idle while examples are made."""
        release = min(watermarks.release, watermarks.complete) if self._state.remake else watermarks.release
        return release, watermarks.labels

    def _apply(self) -> bool:
        """Store what was read as entries, in their places; return False if nothing was read."""
        if not self._journal.is_dirty:
            return False
        vectors, self._vectors = self._vectors, []
        outcomes, self._outcomes = self._outcomes, []
        names = [*(vector.name for vector in vectors), *(name for name, _ in outcomes)]
        join = Join(self._rule, self._entries.load(names))
        for vector in vectors:
            if not join.question(*vector):
                self._heartbeat.count("repeated_vectors")
        for name, outcome in outcomes:
            join.label(name, outcome)
        self._heartbeat.count("labels", len(outcomes))
        self._heartbeat.count("repeated_labels", join.repeated_labels)
        self._journal.save(join.changes, [])
        return True

    def _decide(self, watermarks: Watermarks) -> bool:
        """Decide what is due and log what has its place; return whether there may be more."""
        weight = self._state.weight
        crowded = self._fills(weight.closed_bytes)
        # While questions fill their bound, reading them pauses, so none has to wait for its place.
        placed = {Index.PLACED: IDLE if self._fills(weight.question_bytes) else watermarks.release}
        decisive = self._decisive(watermarks)
        due = {Index.OPEN: decisive.labels, Index.LABELS: decisive.questions}
        due[Index.CLOSED] = IDLE if crowded else decisive.complete
        places = self._pairs.before({**due, **placed}, STEP)
        ready, decided = places.pop(Index.PLACED), Decided()
        if any(places.values()):
            self._decide_due(places, decisive, decided, crowded)
        if any(len(part) == STEP for part in places.values()):
            return True  # a later decision may have an earlier place than what would be logged
        self._was_remaking = self._remade is not None
        if places[Index.OPEN]:
            # The questions that were just decided have a place now, too.
            ready = self._pairs.before(placed, STEP)[Index.PLACED]
        return self._log_placed(ready, watermarks, decided)

    def _decisive(self, watermarks: Watermarks) -> Watermarks:
        """Return the watermarks by which waiting entries are decided."""
        if self._remade is None or self._state.reread:
            return watermarks
        # The remaker does not know the newest labels: they wait for the questions that it will leave open.
        return watermarks._replace(questions=UNKNOWN)

    def _decide_due(
        self, places: dict[Index, list[bytes]], watermarks: Watermarks, decided: Decided, crowded: bool
    ) -> None:
        names, entries = self._entries.at(places)
        join = Join(self._rule, entries)
        join.decide(entries, watermarks, decided)
        if crowded:
            join.forget(names[Index.CLOSED][: len(names[Index.CLOSED]) // 2 + 1])
        self._heartbeat.count("expired", decided.expired)
        self._marks.credit(decided)
        if not (self._state.reread or self._state.remake or self._was_remaking):
            # Otherwise they may belong to questions that are or were made, or to the former definition's.
            self._heartbeat.count("unmatched", decided.unmatched)
        self._journal.save(join.changes, [])

    def _log_placed(self, ready: Sequence[bytes], watermarks: Watermarks, decided: Decided) -> bool:
        join = Join(self._rule, self._entries.at({Index.PLACED: ready})[1])
        join.log(ready, watermarks, self._state.sequence, decided, written=self._written)
        if len(ready) < STEP:
            self._finish_rebuild()
        if ready:
            self._journal.save(join.changes, self._encode(decided.entries), released=decided.released)
        if len(ready) < STEP:
            return False
        self._publish_progress(time_at(ready[-1]), watermarks)
        return True

    def _encode(self, entries: Sequence[Logged]) -> list[bytes]:
        if not entries:
            return []
        encoded = self._encoder.encode(entries)
        self._state.sequence = entries[-1].seq + 1
        self._heartbeat.count("examples", encoded.answers)
        return encoded.messages

    def _finish_rebuild(self) -> None:
        """Forget what the log held, once all of it has been decided again."""
        if self._written is None or not self._journal.has_reached(self._state.goals):
            return
        # Entries that have been read may still be undecided, because they wait for their place.
        latest = max((entry.latest for entry in self._written.values()), default=UNKNOWN)
        if latest < self._topics.release_watermark():
            _log.info("join_made_again", model=self.model.name, entries=self._state.sequence)
            self._written, self._state.goals = None, {}

    def _publish_progress(self, place_time: int, watermarks: Watermarks) -> None:
        """Publish how far the log is while more is to be logged, so that players keep pace with it."""
        reached, published = min(place_time, watermarks.release), self._journal.published[0]
        # An entry logged after its place had passed moves nothing; the log may have been reported idle before.
        if reached > UNKNOWN and (reached > published or published > watermarks.release):
            self._journal.publish(reached, watermarks.labels)

    def _log_remade(self) -> bool:
        """Log some of the examples that were made; return whether there may be more at once."""
        remade = self._remade
        if remade is None:
            return False
        entries = remade.remaker.take()
        if entries is not None:
            made = remade.write(entries, self._journal)
            self._heartbeat.count("made_examples", made)
            return True
        questions = remade.remaker.open()
        if questions is not None and not self._state.reread:
            join = Join(self._rule, self._entries.load(remade.undecided_names(questions)))
            remade.finish(questions, join, self._journal)
            # Look at the open questions even if nothing else has changed.
            self._remade, self._decided_watermarks = None, None
            _log.info("examples_remade", model=self.model.name, open=len(questions))
        return False
