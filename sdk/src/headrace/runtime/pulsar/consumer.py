"""Consuming one partition in batches, in order, from a stored position."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable
from typing import NamedTuple

import pulsar
import structlog

from headrace.errors import CorruptState, Unavailable
from headrace.runtime.pulsar.batch import MOST_PATIENCE, PATIENCE, Batch
from headrace.runtime.pulsar.connection import close
from headrace.runtime.pulsar.log_reader import LogReader
from headrace.runtime.pulsar.message_ids import ends_its_batch, position_of
from headrace.wire.position import START, Position

_log = structlog.get_logger()

#: Milliseconds that `PartitionConsumer.receive` waits for a first message by default.
WAIT_MS = 1_000

# Messages that follow one another within this time are gathered for this long.
_GATHER_MS = 10


#: Number of subscriptions without a message, after which a partition without an owner is taken over without one.
_IN_VAIN = 2

#: Seconds for which the store is not asked again about a log that is done: an owner may still come and go.
_DONE_S = 20.0


class OwnerProgress(NamedTuple):
    """The progress of a partition's owner, whichever process it is.

    Attributes
    ----------
    done
        Everything up to here has been processed.
    evidence
        To be compared with the previous value: it changes while an owner is at work.
    alive
        A process that reports its status says that it is the owner.
    needs_owner
        An owner is needed even if the log has nothing after `done`.
    """

    done: Position = START
    evidence: object = None
    alive: bool = False
    needs_owner: bool = False

    def is_all(self, last: Position) -> bool:
        """Return whether this leaves nothing to do up to the last entry of a log."""
        return not self.needs_owner and _covers(self.done, last)


class PartitionConsumer:
    """The Failover consumer of one partition: in order, and never the same message twice.

    It owns the partition from its first message on. `start_after` then gives it the position of the
    stored state; messages between that and the first one delivered are read from the log, because a demoted
    owner may have moved the cursor.

    Parameters
    ----------
    topic
        A physical topic (see `headrace.runtime.pulsar.connection.partitions`).
    max_messages
        Maximum size of a batch.
    queue
        Number of messages fetched ahead, by default `max_messages`; the embedded broker redelivers much if it is small.
    owner_progress
        Returns the progress of whichever process owns the partition. It is called after some seconds without a
        message, if the log holds any; without it, the consumer relies on the broker alone.
    clock
        Seconds; they only decide when a silent broker is asked for more.
    """

    def __init__(
        self,
        client: pulsar.Client,
        topic: str,
        subscription: str,
        max_messages: int = 5_000,
        *,
        name: str | None = None,
        queue: int | None = None,
        owner_progress: Callable[[], OwnerProgress] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.topic = topic
        self._client = client
        self._subscription = subscription
        self._max_messages = max_messages
        self._name = name
        self._queue = queue or max_messages
        self._owner_progress = owner_progress
        self._seen: tuple[Position, OwnerProgress] | None = None
        self._asked_at = clock()
        self._vain_attempts = 0
        self._overtaken = False
        self._clock = clock
        self._heard_at = clock()
        self._patience = PATIENCE
        self._ids: dict[Position, pulsar.MessageId] = {}
        self._messages_received = self._entries_received = 0
        self._position = START
        self._owner = False
        self._gap: LogReader | None = None
        self._held_batch = Batch()
        self._consumer = self._subscribe()

    def receive(self, wait_ms: int = WAIT_MS) -> Batch:
        """Take the available messages, in order; wait for the first one, at most `wait_ms`.

        A single message is returned as soon as it comes. Messages that follow one another are gathered for some
        milliseconds, because each batch has its costs.

        Raises
        ------
        Unavailable
            The connection is closed and does not reconnect.
        """
        if self._gap is not None:
            return self._catch_up(self._gap)
        batch = Batch()
        try:
            messages = self._messages(wait_ms)
        except pulsar.Timeout:
            messages = []
        except pulsar.PulsarException as error:
            raise Unavailable(f"broker: {self.topic}: {error}") from error
        for message in messages:
            batch.add(message, position_of(message.message_id()))
        self._messages_received += len(batch)
        self._entries_received += len({position[:2] for position in batch.positions})
        if messages:
            self._heard_at, self._patience, self._vain_attempts = self._clock(), PATIENCE, 0
            newest = max(range(len(batch)), key=batch.positions.__getitem__)
            self._ids[batch.positions[newest]] = messages[newest].message_id()
        elif self._clock() - self._heard_at > self._patience:
            self._look_further()
        return self._new(batch) if self._owner else batch

    def _messages(self, wait_ms: int) -> list[pulsar.Message]:
        messages = [self._consumer.receive(timeout_millis=wait_ms)]
        try:
            if self._clock() - self._heard_at > _GATHER_MS / 1_000:
                messages.append(self._consumer.receive(timeout_millis=0))  # a single message is returned at once
            messages += self._consumer.batch_receive()
        except pulsar.Timeout:
            pass
        return messages

    def start_after(self, position: Position, delivered: Batch) -> Batch:
        """Become the owner: read what follows `position` up to the first batch delivered, then that batch and the rest.

        This returns the first part, and `receive` continues. If nothing is delivered (because the owner was decided in
        another way), the existing messages are read from the log.

        Raises
        ------
        CorruptState
            The log ends before `position`: it is not the log that the state was made from.
        """
        self._refuse_beyond_the_end(position)
        self._owner = True
        self._position = position
        if delivered and delivered.positions[0] <= position:
            return self._new(delivered)
        return self._catch_up(self._read_up_to(delivered, position))

    def start_here(self, delivered: Batch) -> Batch:
        """Become the owner at the broker's cursor: for consumers whose readers drop duplicates."""
        self._owner = True
        return self._new(delivered)

    def ack(self, position: Position) -> None:
        """Acknowledge everything up to a position; call it only once its effects are durable."""
        # Copy, because the receiving thread adds to them meanwhile.
        done = [earlier for earlier in tuple(self._ids) if earlier <= position]
        if done:
            last = max(done)
            if last.entry == 0 and not ends_its_batch(self._ids[last]):
                # The client would acknowledge the entry before the first one: the embedded broker accepts that, and
                # then no longer answers any subscription of that name.
                return
            try:
                self._consumer.acknowledge_cumulative(self._ids[last])
            except pulsar.AlreadyClosed:
                return  # `_look_further` is about to replace it: the next acknowledgement covers this one
            except pulsar.PulsarException as error:
                raise Unavailable(f"broker: {self.topic}: {error}") from error
            for earlier in done:
                del self._ids[earlier]

    def end(self) -> Position | None:
        """Return the end of the log; None while there is more to receive, or if the broker does not answer."""
        try:
            last = position_of(self._consumer.get_last_message_id())
        except pulsar.UnknownError:
            last = START  # the embedded broker's answer for an empty topic
        except pulsar.PulsarException:
            return None
        if last.entry < 0:
            last = START  # the answer of others: an empty ledger
        return None if self._owner and self._is_behind(last) else last

    def unread(self, done: Position | None = None) -> int:
        """Return how many messages are on the log after the last one received: an estimate, at least 1 if there is one.

        A batch counts as the mean number of messages in a batch. If the log was cut into several ledgers, only the last
        one is counted. The result is 0 if the broker does not answer.

        Parameters
        ----------
        done
            Count from here, if this consumer is not the owner.
        """
        try:
            last = position_of(self._consumer.get_last_message_id())
        except pulsar.PulsarException:
            return 0
        position = self._position if self._owner or done is None else done
        if last.entry < 0 or _covers(position, last):
            return 0
        entries = last.entry - position.entry if last.ledger == position.ledger else last.entry + 1
        return max(round(entries * self._messages_received / max(self._entries_received, 1)), 1)

    @property
    def is_abandoned(self) -> bool:
        """Whether the partition needs an owner and has none, and subscribing again did not help.

        A broker may keep a subscription for a consumer that was killed. The fence makes it safe to take over the
        partition all the same, and the log has the messages that the broker does not deliver.
        """
        return self._vain_attempts >= _IN_VAIN

    @property
    def is_overtaken(self) -> bool:
        """Whether this consumer owns the partition, and another process has done more than it has received.

        The broker gives the messages to that one now: the partition is no longer this consumer's.
        """
        return self._overtaken

    def close(self) -> None:
        """Give up the partition, for the next consumer to take over."""
        close(self._consumer)

    def _refuse_beyond_the_end(self, position: Position) -> None:
        end = self.end()
        if end is None or end == START:
            return  # an empty log may have been trimmed
        if (end.ledger, end.entry) < (position.ledger, position.entry):
            raise CorruptState(
                f"everything up to {position} of {self.topic} is done, but it ends at {end}: the broker has lost its "
                "data, or the store belongs to another one. With an empty store, `headrace backfill` starts from what "
                "there is"
            )

    def _subscribe(self) -> pulsar.Consumer:
        # The client asks for more once half of its queue is taken. Until then a whole queue, of which one message was
        # taken already, is never full again: waiting for as many messages would always take `_GATHER_MS`.
        full = max(min(self._max_messages, self._queue // 2), 1)
        try:
            return self._client.subscribe(
                self.topic,
                self._subscription,
                consumer_type=pulsar.ConsumerType.Failover,
                consumer_name=self._name,
                initial_position=pulsar.InitialPosition.Earliest,
                receiver_queue_size=self._queue,
                batch_receive_policy=pulsar.ConsumerBatchReceivePolicy(full, 8 * 2**20, _GATHER_MS),
            )
        except pulsar.PulsarException as error:
            raise Unavailable(f"broker: cannot subscribe to {self.topic}: {error}") from error

    def _look_further(self) -> None:
        """Subscribe again if the log has more but nothing comes.

        The embedded broker forgets consumers at times; any other broker delivers everything to a suspended one
        until it notices that it is suspended.
        """
        self._heard_at = self._clock()
        if not self._owner and self._owner_progress is None:
            return
        try:
            last = position_of(self._consumer.get_last_message_id())
        except pulsar.PulsarException:
            return  # an empty topic, or no answer
        if not self._owner:
            self._look_after(last)
        elif self._is_behind(last):
            self._overtaken = self._overtaken or self._others_have_done_more()
            if not self._overtaken:
                self._subscribe_again(last)
                self._read_up_to(Batch(), self._position)

    def _look_after(self, last: Position) -> None:
        """Subscribe again if the owner does not work."""
        if self._is_abandoned(last):
            if self._seen is not None and not self._seen[1].alive:
                self._vain_attempts += 1
            self._subscribe_again(last)
        else:
            self._vain_attempts = 0

    def _others_have_done_more(self) -> bool:
        if self._owner_progress is None:
            return False
        try:
            return self._owner_progress().done > self._position
        except Unavailable:
            return False

    def _subscribe_again(self, last: Position) -> None:
        # A standby may do so in vain: the owner may be waiting for something else.
        log = _log.warning if self._owner else _log.info
        log("subscribed_again", topic=self.topic, position=self._position, last=last, owner=self._owner)
        self._patience = min(2 * self._patience, MOST_PATIENCE)
        close(self._consumer)
        self._consumer = self._subscribe()

    def _is_abandoned(self, last: Position) -> bool:
        """Return whether an owner is needed and no process has made progress since the previous look."""
        before = self._seen
        if self._owner_progress is None or last.entry < 0:
            return False
        if before is not None and before[1].is_all(last) and self._clock() - self._asked_at < _DONE_S:
            return False
        try:
            progress = self._owner_progress()
        except Unavailable:
            return False
        self._seen, self._asked_at = (last, progress), self._clock()
        return before is not None and not progress.is_all(before[0]) and progress == before[1]

    def _is_behind(self, last: Position) -> bool:
        """Return whether there is a message after the last one received."""
        message_id = self._ids.get(self._position)
        return not _covers(self._position, last) or (message_id is not None and not ends_its_batch(message_id))

    def _new(self, batch: Batch, log_end: Position = START) -> Batch:
        """Return the new messages of a batch, up to a hole; up to `log_end` it comes from the log, and has no holes."""
        fresh = batch.after(self._position)
        hole = self._hole(fresh, log_end)
        if hole is not None:
            # The broker may have skipped messages that are in the log: the embedded one does so during redelivery,
            # other brokers when a log continues in another ledger.
            before = fresh.before(hole)
            position = before.positions[-1] if before else self._position
            self._read_up_to(fresh.after(position), position)
            return before
        if fresh:
            self._position = fresh.positions[-1]
        return fresh

    def _hole(self, fresh: Batch, log_end: Position) -> int | None:
        """Return the index of the first message that may not directly follow the one before it."""
        previous = self._position
        for index, position in enumerate(fresh.positions):
            if position > log_end and previous != START and not position.follows(previous):
                return index
            previous = position
        return None

    def _read_up_to(self, batch: Batch, position: Position) -> LogReader:
        """Hold back a batch until the messages between `position` and the batch have been read from the log.

        If the batch is empty, read up to the end of the log.
        """
        self._position = position
        self._held_batch = batch
        self._gap = LogReader(self._client, self.topic, position, self._max_messages)
        return self._gap

    def _catch_up(self, gap: LogReader) -> Batch:
        batch = gap.receive(self._max_messages)
        if batch:
            self._heard_at, self._patience = self._clock(), PATIENCE
        if not self._held_batch:
            if not gap.more():
                gap.close()
                self._gap = None
            return self._from_log(batch)
        first = self._held_batch.positions[0]
        before = bisect_left(batch.positions, first)
        # Delivered messages are in the log, so an empty read does not mean that it ended.
        if before == len(batch):
            return self._from_log(batch)
        gap.close()
        self._gap = None
        return self._new(batch.before(before).followed_by(self._held_batch), first)

    def _from_log(self, batch: Batch) -> Batch:
        return self._new(batch, batch.positions[-1] if batch else START)


def _covers(position: Position, last: Position) -> bool:
    """Return whether a position reaches the last entry of a log; a batch counts as one."""
    return (last.ledger, last.entry) <= (position.ledger, position.entry)
