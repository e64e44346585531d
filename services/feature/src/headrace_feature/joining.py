"""The join worker: a model's vectors and labels into its examples log, each step atomic in the store.

Of all processes one at a time does a model's join: the one that holds its lease. Who has lost it (or the fence, to
one that took over meanwhile) gives up all of it, and may begin anew later from what the store says.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import structlog

from headrace.definition import LoopDefinition, ModelDefinition, Task
from headrace.errors import CorruptState, Fenced
from headrace.events import StreamCodec
from headrace.frontier import ENDED, RESTING, UNKNOWN
from headrace.kernel.join import Example, Join, Joined, Pair, Vector
from headrace.kernel.labels import Labels
from headrace.kernel.partition import Partition, Progress
from headrace.kernel.trial import Trial
from headrace.log.batch import Batch
from headrace.log.dedupe import Accepted
from headrace.log.position import START, Position
from headrace.log.tables import Examples, decode_vectors, encode_examples
from headrace.store.leases import Lease
from headrace.store.pairs import JoinState, PairStore
from headrace.store.status import Heartbeat
from headrace_feature.decoding import decode
from headrace_feature.folding import wall_clock
from headrace_feature.outputs import ExamplesLog
from headrace_feature.tenure import Tenure

_log = structlog.get_logger()

#: Examples of one step: one message, and a script in the store that is over before a reader notices.
STEP = 1_000

#: Seconds between two looks for work that nobody tells of: a look only finds out that the join is another process's.
_PULSE = 3.0


# Made on import, before there are threads: see `headrace.store.pairs`.
_PACKED = msgspec.msgpack.Decoder(tuple[bytes, list[str | None]])


class JoinWorker:
    """The join of one model. Not thread-safe: one thread calls it.

    Parameters
    ----------
    features, labels
        The physical topics that it reads: its vectors', and its label's stream's.
    lease
        Says whether the join is this process's.
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
    ) -> None:
        self.model = model
        self._labels = Labels(loop, model)
        self._lateness = loop.stream(model.stream).lateness
        self._codec = StreamCodec(self._labels.stream)
        self._trial = Trial(loop, self._labels.stream.name)
        self._sources = (tuple(features), tuple(labels))
        self._pairs = pairs
        self._log = log
        self._lease = lease
        self._heartbeat = heartbeat
        self._epoch: int | None = None
        self._logged: dict[tuple[str, int], int] | None = None
        self._forget()

    def begin(self) -> bool:
        """Become the one that joins, where the lease is ours; False where it is not.

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
        epoch, self._state, waiting = self._pairs.take_over()
        self._epoch = epoch
        self._join = Join(self._labels.wait, self._of_this_definition(waiting))
        if self._state.goals:
            self._know_what_is_logged()
        features, labels = self._sources
        for topic in features:
            self._add_features(topic)
        seen = self._pairs.seen()
        for number, topic in enumerate(labels):
            self._add_labels(topic, seen.get(number, {}))
        self._send_outbox()
        pairs, examples = len(waiting), self._state.sequence
        _log.info("join taken", model=self.model.name, epoch=epoch, pairs=pairs, examples=examples)

    def _know_what_is_logged(self) -> None:
        """Of a state that is made again: what it had decided before stands in the log."""
        # From here on readers drop what an earlier owner still sends.
        self._log.send(b"", {**self._properties(), "marker": "epoch"})
        self._log.flush()
        logged = self._log.logged()
        self._logged = logged.decided
        self._state.sequence = max(self._state.sequence, logged.sequence)

    def tenure(self, topic: str) -> Tenure:
        """Where to go on reading a source."""
        if self._epoch is None:
            raise Fenced(f"join of {self.model.name}", 0)
        return Tenure(self._epoch, self._position(topic))

    def owns(self, epoch: int) -> bool:
        """Whether the join is still this process's, and has been since it began with this epoch."""
        return self._epoch == epoch and self._lease.held

    @property
    def active(self) -> bool:
        """Whether the join is this process's now."""
        return self._epoch is not None and self._lease.held

    def give_up(self) -> None:
        """Leave the join to whoever takes it: what memory holds may be ahead of the store."""
        if self._epoch is not None:
            _log.warning("join given up", model=self.model.name, epoch=self._epoch)
        self._epoch = None
        self._forget()

    @property
    def pulse(self) -> float:
        """Seconds after which to look again whether there is something to do."""
        return _PULSE

    def _forget(self) -> None:
        self._state = JoinState()
        self._join = Join(self._labels.wait)
        self._frontiers: dict[str, int] = {}
        self._accepted: dict[str, Accepted] = {}
        self._partitions: dict[str, Partition] = {}
        self._seen: dict[tuple[int, str], int | None] = {}
        self._dirty = False
        self._told = UNKNOWN
        self._logged = None

    def _refuse_unknown(self) -> None:
        if self._log.holds_messages():
            raise CorruptState(
                f"the store knows nothing of the join of {self.model.name}, but examples stand on "
                f"{self._log.topic}: `headrace backfill` rebuilds the state from the logs"
            )

    def _not_in_the_log(self, joined: Joined) -> list[Example]:
        """The examples that are not there already: all of them, but while a lost state is made again."""
        if self._logged is None:
            return joined.examples
        fresh = [own for own in joined.examples if self._logged.pop((own.id, own.vector.time), None) is None]
        start = START.to_bytes()
        read = all(self._state.positions.get(topic, start) >= goal for topic, goal in self._state.goals.items())
        # What is read may still have to be decided: beyond a step, or by a frontier that resting was once ahead of.
        whole = read and len(joined.examples) < STEP
        if whole and max(self._logged.values(), default=UNKNOWN) < self.frontier():
            _log.info("join made again", model=self.model.name, examples=self._state.sequence)
            self._logged, self._state.goals = None, {}
        return fresh

    def _add_features(self, topic: str) -> None:
        # Nobody promises when requests come: they hold nobody back.
        by_id = self.model.vectors == "requests"
        self._frontiers[topic] = RESTING if by_id else self._promised(topic)
        self._accepted[topic] = Accepted(*self._state.accepted.get(topic, (0, START.to_bytes())))

    def _add_labels(self, topic: str, seen: dict[str, int]) -> None:
        progress = Progress(newest=self._state.newest.get(topic, UNKNOWN))
        frontier = self._promised(topic)
        owned = Partition(self._labels.stream, progress, seen, (), newest=progress.newest, frontier=frontier)
        self._partitions[topic] = owned
        self._frontiers[topic] = frontier

    def _promised(self, topic: str) -> int:
        """What was said of a source before a restart, and is not said again; but for that it rested, which was then."""
        frontier = self._state.frontiers.get(topic, UNKNOWN)
        if frontier == RESTING:
            return max(self._state.newest.get(topic, UNKNOWN) - self._labels.stream.lateness, UNKNOWN)
        return frontier

    def accept_vectors(self, topic: str, epoch: int, batch: Batch) -> None:
        """Take messages of the features topic; those read for an earlier tenure are left."""
        if self._epoch != epoch:
            return
        accepted = self._accepted[topic]
        for payload, properties in zip(batch.payloads, batch.properties, strict=True):
            owner = int(properties.get("epoch", 0))
            if properties.get("definition") != self.model.hash or not accepted.mark(owner):
                continue
            if payload:
                self._take_vectors(topic, owner, payload)
            if "frontier" in properties:
                self._frontiers[topic] = int(properties["frontier"])
        self._read(topic, batch)

    def accept_labels(self, topic: str, epoch: int, batch: Batch) -> None:
        """Take messages of the label's stream; invalid ones are the fold's to refuse."""
        if self._epoch != epoch:
            return
        owned, number = self._partitions[topic], self._sources[1].index(topic)
        for part in decode(self._codec, self._trial, batch):
            if part.frontier is not None:
                owned.promise(part.frontier, part.positions[-1])
                continue
            refused = {place for place, _ in part.accepted_by(owned, wall_clock())}
            counted = part.events.take([place for place in range(len(part.events)) if place not in refused])
            # All of them: one that tells no label, or one of another event, is dropped when it is sent again as well.
            self._seen.update(zip([(number, own) for own in counted.ids], counted.times.tolist(), strict=True))
            for own, outcome in self._labels.outcomes(counted):
                if self._join.outcome(own, outcome):
                    self._heartbeat.count("labels")
            owned.waiting = None
        self._seen.update(dict.fromkeys((number, own) for own in owned.outdated_ids()))
        owned.forget_ids()
        self._frontiers[topic] = owned.frontier
        self._state.newest[topic] = owned.newest
        self._read(topic, batch)

    def rest(self, topic: str, end: Position) -> None:
        """The partition has been silent for long, and its log ends here: it holds nobody back."""
        if topic not in self._frontiers:
            return
        read = self._position(topic)
        if (end.ledger, end.entry) <= (read.ledger, read.entry):
            self._frontiers[topic] = max(self._frontiers[topic], RESTING)

    def step(self) -> bool:
        """Decide, save, send; False where there was nothing.

        Raises
        ------
        Fenced, Unavailable
            What memory holds may be ahead of the store now: `give_up`.
        """
        if self._epoch is None:
            return False
        if not self._lease.held:
            self.give_up()
            return False
        self._pairs.check(self._epoch)
        frontier = self.frontier()
        joined = self._join.advance(frontier, frontier, STEP)
        self._heartbeat.count("expired", joined.expired)
        self._heartbeat.count("unmatched", joined.unmatched)
        if joined.examples or joined.changed or self._dirty:
            examples = self._not_in_the_log(joined)
            self._state.outbox = [self._encode(examples)] if examples else []
            self._state.accepted = {topic: (own.epoch, own.position) for topic, own in self._accepted.items()}
            self._state.frontiers = dict(self._frontiers)
            self._pairs.save(self._epoch, self._state, joined.changed, self._seen)
            self._seen = {}
            self._dirty = False
            self._send_outbox()
            self._heartbeat.count("examples", len(examples))
        if len(joined.examples) < STEP and frontier != self._told:
            # Only now is everything before the frontier out.
            self._tell(frontier)
        return len(joined.examples) == STEP

    def done(self) -> dict[str, Position]:
        """Up to where each source has been saved. From any thread."""
        positions = dict(self._state.positions)
        return {} if self._dirty else {topic: Position.from_bytes(own) for topic, own in positions.items()}

    def frontier(self) -> int:
        """Every example before this time is decided."""
        return min(self._frontiers.values(), default=UNKNOWN)

    def _of_this_definition(self, waiting: dict[str, Pair]) -> dict[str, Pair]:
        """Pairs hold vectors: those of another definition of the model are never made examples of this one."""
        if self._state.definition == self.model.hash:
            return waiting
        if waiting:
            _log.warning(
                "the model has changed: its waiting pairs are dropped", model=self.model.name, pairs=len(waiting)
            )
        # What it decided before the change is of the definition that decided it.
        self._send_outbox()
        self._state.outbox = []
        self._state.definition = self.model.hash
        assert self._epoch is not None
        self._pairs.save(self._epoch, self._state, dict.fromkeys(waiting))
        return {}

    def _position(self, topic: str) -> Position:
        return Position.from_bytes(self._state.positions.get(topic, START.to_bytes()))

    def _read(self, topic: str, batch: Batch) -> None:
        # First: the thread that acknowledges must not take the position for one that is saved.
        self._dirty = True
        self._state.positions[topic] = batch.positions[-1].to_bytes()

    def _take_vectors(self, topic: str, epoch: int, payload: bytes) -> None:
        accepted = self._accepted[topic]
        vectors = decode_vectors(self.model, payload)
        times = vectors.times.tolist()
        if self.model.vectors == "stream":
            # Who had rested is back, and the frontier that follows may still be on its way.
            self._frontiers[topic] = min(self._frontiers[topic], min(times, default=ENDED) - self._lateness)
        # A request stands at no position: of its vectors the id alone says whether there was one before.
        by_id = self.model.vectors == "requests"
        for row in range(len(vectors)) if by_id else accepted.take(epoch, vectors.positions):
            packed = _pack(vectors.numbers[row], [column[row] for column in vectors.categories])
            if not self._join.vector(vectors.ids[row], Vector(times[row], packed)):
                self._heartbeat.count("repeated_vectors")

    def _encode(self, examples: Sequence[Example]) -> bytes:
        first = self._state.sequence
        self._state.sequence += len(examples)
        unpacked = [_unpack(own.vector.payload) for own in examples]
        labels = [own.outcome.value for own in examples]
        return encode_examples(
            self.model,
            Examples(
                np.arange(first, self._state.sequence),
                [own.id for own in examples],
                np.array([own.vector.time for own in examples], np.int64),
                np.array([own.outcome.time for own in examples], np.int64),
                [str(own) for own in labels] if self.model.task is Task.MULTICLASS else np.array(labels, np.float64),
                np.stack([numbers for numbers, _ in unpacked]),
                [list(column) for column in zip(*(texts for _, texts in unpacked), strict=True)],
            ),
        )

    def _send_outbox(self) -> None:
        properties = {**self._properties(), "definition": self._state.definition}
        for message in self._state.outbox:
            self._log.send(message, properties)
        self._log.flush()

    def _tell(self, frontier: int) -> None:
        self._log.send(b"", {**self._properties(), "frontier": str(frontier)})
        self._log.flush()
        self._told = frontier

    def _properties(self) -> dict[str, str]:
        return {"epoch": str(self._epoch), "partition": "0", "definition": self.model.hash}


def _pack(numbers: np.ndarray[tuple[int], np.dtype[np.float64]], texts: list[str | None]) -> bytes:
    return msgspec.msgpack.encode((numbers.tobytes(), texts))


def _unpack(payload: bytes) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], list[str | None]]:
    numbers, texts = _PACKED.decode(payload)
    return np.frombuffer(numbers, np.float64), texts
