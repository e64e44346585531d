"""The join worker: it joins a model's vectors and labels into its log, while this process holds the model's lease.

One process at a time runs a model's join: the holder of its lease. A process that loses the lease, or is fenced by
a process that took over meanwhile, gives up the join, and may start again later from the stored state.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import structlog

from headrace.definition import LoopDefinition, ModelDefinition
from headrace.errors import Fenced
from headrace.runtime.pulsar.batch import Batch
from headrace.runtime.pulsar.messages import WrongMessage, pass_over
from headrace.runtime.redis.leases import Lease
from headrace.runtime.redis.pairs import FormerRead, PairStore
from headrace.runtime.redis.status import Heartbeat, JoinStatus
from headrace.wire.position import Position
from headrace_feature.first_epochs import FirstEpochs
from headrace_feature.join_takeover import take_over
from headrace_feature.join_topics import JoinTopics
from headrace_feature.owned_join import OwnedJoin
from headrace_feature.ports import Remaker
from headrace_feature.pulsar.outputs import ExamplesLog
from headrace_feature.takeover import Takeover

_log = structlog.get_logger()

#: Seconds between two polls for work that nothing announces: a poll only detects that another process has the join.
_PULSE = 3.0

#: The same while examples are made in the background.
_REMAKING_PULSE = 0.1


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
        Starts making the examples of a changed model from the retained events, in the background: at least those of
        all events up to the given positions, by features topic.
    durable
        Waits until the store has all earlier writes on disk; returns False if that took too long.

    Attributes
    ----------
    owned
        The join while this process owns it, and None otherwise.
    """

    def __init__(
        self,
        loop: LoopDefinition,
        model: ModelDefinition,
        features: Sequence[str],
        labels: Sequence[str],
        *,
        pairs: PairStore,
        log: ExamplesLog,
        lease: Lease,
        heartbeat: Heartbeat,
        durable: Callable[[], bool],
        clock: Callable[[], float] = time.time,
        remake: Callable[[Mapping[str, FormerRead]], Remaker] | None = None,
        refuse: Callable[[WrongMessage], None] = pass_over,
    ) -> None:
        self.model = model
        self.owned: OwnedJoin | None = None
        self._loop = loop
        self._features = tuple(features)
        self._labels = tuple(labels)
        self._pairs = pairs
        self._log = log
        self._lease = lease
        self._heartbeat = heartbeat
        self._clock = clock
        self._remake = remake
        self._refuse = refuse
        self._first_epochs = FirstEpochs(durable)

    def begin(self) -> bool:
        """Take over the join if this process holds the lease; return False if it does not.

        Raises
        ------
        CorruptState
            The store has lost the join's state.
        """
        if not self._lease.held:
            return False
        if self.owned is None:
            try:
                self._take_over()
            except Exception:
                self.give_up()
                raise
        return True

    def _take_over(self) -> None:
        taken = take_over(self.model, self._pairs, self._log, self._labels)
        if not taken.state.sequence:
            self._first_epochs.begin()
        self.owned = OwnedJoin(
            self._loop,
            self.model,
            taken,
            JoinTopics(self._loop, self.model, taken, features=self._features, labels=self._labels),
            pairs=self._pairs,
            log=self._log,
            first_epochs=self._first_epochs,
            heartbeat=self._heartbeat,
            refuse=self._refuse,
        )
        self.owned.start(self._remake)

    def takeover(self, topic: str) -> Takeover:
        """Return where to continue reading a source."""
        if self.owned is None:
            raise Fenced(f"join of {self.model.name}", 0)
        return Takeover(self.owned.epoch, self.owned.position(topic))

    def owns(self, epoch: int) -> bool:
        """Return whether this process has run the join without a break since it began with this epoch."""
        owned = self.owned
        return owned is not None and owned.epoch == epoch and self._lease.held

    @property
    def active(self) -> bool:
        """Whether this process runs the join now."""
        return self.owned is not None and self._lease.held

    def give_up(self) -> None:
        """Leave the join to another process: memory may be ahead of the store."""
        owned, self.owned = self.owned, None
        if owned is not None:
            _log.warning("join_given_up", model=self.model.name, epoch=owned.epoch)
            owned.stop_remaking()

    @property
    def pulse(self) -> float:
        """Seconds after which to look for work again."""
        return _REMAKING_PULSE if self.owned is not None and self.owned.is_remaking else _PULSE

    def stop_remaking(self) -> None:
        """Stop making examples; the next owner of the join continues."""
        if self.owned is not None:
            self.owned.stop_remaking()

    def accept(self, topic: str, epoch: int, batch: Batch) -> None:
        """Accept messages of a source; ignore those read before an earlier takeover."""
        if self.owned is not None and self.owned.epoch == epoch:
            self.owned.accept(topic, batch)

    def note_silence(self, topic: str, end: Position) -> None:
        """Release the examples that wait for a silent partition, if the join has read its log to the end."""
        if self.owned is not None:
            self.owned.note_silence(topic, end)

    def is_full(self, topic: str) -> bool:
        """Return whether to pause reading a source. Callable from any thread."""
        owned = self.owned
        return owned is not None and owned.is_full(topic)

    def step(self) -> bool:
        """Take a step of the join; return False if there was nothing more to do.

        Raises
        ------
        Fenced, Unavailable
            Memory may be ahead of the store now: call `give_up`.
        """
        if self.owned is None:
            return False
        if not self._lease.held:
            self.give_up()
            return False
        more = self.owned.step()
        if self.owned.has_missed:
            _log.info("questions_missed", model=self.model.name)
            self.give_up()
        return more

    def done(self) -> dict[str, Position]:
        """Return the saved position of each source. Callable from any thread."""
        owned = self.owned
        return {} if owned is None else owned.done()

    def status(self) -> JoinStatus | None:
        """Return the waiting questions and labels, and what holds them back; None if another process joins."""
        owned = self.owned
        return None if owned is None or not self._lease.held else owned.status(self._clock())
