"""The journal of a join: its state in the store and its log, which change in one atomic step each time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headrace.engine.kernel.join import Entry, weigh
from headrace.runtime.redis.pairs import JoinState, PairStore
from headrace.watermark import UNKNOWN
from headrace.wire.position import START, Position
from headrace_feature.first_epochs import FirstEpochs
from headrace_feature.join_log import JoinLog
from headrace_feature.join_topics import JoinTopics


class JoinJournal:
    """Saves the steps of one owner of a join, and publishes how far its log is.

    Attributes
    ----------
    state
        The state as it will be saved next.
    is_dirty
        Whether something was read that is not saved yet.
    published
        The release watermark and the watermark of the log that were published last.
    """

    def __init__(
        self,
        epoch: int,
        state: JoinState,
        topics: JoinTopics,
        *,
        pairs: PairStore,
        log: JoinLog,
        first_epochs: FirstEpochs,
    ) -> None:
        self._epoch = epoch
        self._topics = topics
        self._pairs = pairs
        self._log = log
        self._first_epochs = first_epochs
        self.state = state
        self.is_dirty = False
        self.forget_published()

    def send_outbox(self) -> None:
        """Send what the former owner may not have sent."""
        self._log.send_outbox(self.state)

    def save(
        self, changes: Mapping[str, tuple[Entry, Entry]], outbox: Sequence[bytes], *, released: bool = False
    ) -> None:
        """Save a step, then send its entries.

        Parameters
        ----------
        changes
            By name, an entry before and after.
        outbox
            Messages of the log.
        released
            Whether they hold entries that were logged only because a source is idle or ended.
        """
        if outbox:
            self._first_epochs.finish()
        state = self.state
        state.outbox = list(outbox)
        state.released = released
        self._topics.save_to(state)
        for name, (before, after) in changes.items():
            state.weight = state.weight + weigh(name, after) - weigh(name, before)
        self._pairs.save(self._epoch, state, changes, self._topics.seen())
        self._topics.forget_seen()
        self.is_dirty = False
        self.send_outbox()

    def publish(self, release_watermark: int, watermark: int) -> None:
        """Publish how far the log is."""
        self._log.publish(release_watermark, watermark, remaking=self.state.remake)
        self.published = (release_watermark, watermark)

    def forget_published(self) -> None:
        """Have the progress published again, even if nothing else changes."""
        self.published = (UNKNOWN, UNKNOWN)

    def position(self, topic: str) -> Position:
        """Return the position of the last message read from a topic, now or by an earlier owner."""
        stored = Position.from_bytes(self.state.positions.get(topic, START.to_bytes()))
        return self._topics.positions().get(topic, stored)

    def has_reached(self, goals: Mapping[str, bytes]) -> bool:
        """Return whether the topics have been read up to these positions."""
        return all(self.position(topic).to_bytes() >= goal for topic, goal in goals.items())

    def done(self) -> dict[str, Position]:
        """Return the saved position of each source. Callable from any thread."""
        positions = self._topics.positions()
        return {} if self.is_dirty else positions
