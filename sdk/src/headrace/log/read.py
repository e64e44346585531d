"""Reading a partition's log, acknowledging nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pulsar
import structlog

from headrace.errors import Unavailable
from headrace.log.batch import MOST_PATIENCE, PATIENCE, Batch
from headrace.log.connection import close
from headrace.log.position import START, Position, ends_its_batch

_log = structlog.get_logger()


def holds_messages(client: pulsar.Client, topic: str) -> bool:
    """Whether anything stands on a physical topic."""
    reader = LogReader(client, topic, queue=1)
    try:
        return reader.more()
    finally:
        reader.close()


def read_whole(
    client: pulsar.Client, topic: str, max_messages: int = 1_000, *, compacted: bool = False
) -> Iterator[Batch]:
    """All that stands on a physical topic, up to its end as it is when it is reached."""
    reader = LogReader(client, topic, queue=max_messages, compacted=compacted)
    try:
        while reader.more():
            # What is there comes, sooner or later: nothing yet is not the end.
            if batch := reader.receive(max_messages):
                yield batch
    finally:
        reader.close()


class LogReader:
    """Reads a whole partition from the start or a position, acknowledging nothing.

    A reader that loses its connection to the embedded broker passes over the batch that it had fetched and not begun,
    and calls what it has read the end. A hole, and the end of a log, count only where another reader finds them, too.

    Parameters
    ----------
    queue
        Messages fetched ahead: few, where they are large.
    compacted
        Of each key only the newest message, as far as the broker has compacted the topic. What is empty
        says that its key is gone, and is left out.
    """

    def __init__(
        self,
        client: pulsar.Client,
        topic: str,
        after: Position = START,
        queue: int = 1_000,
        clock: Callable[[], float] = time.monotonic,
        compacted: bool = False,
    ) -> None:
        self._client = client
        self._topic = topic
        self._queue = queue
        self._compacted = compacted
        self._clock = clock
        self._heard = clock()
        self._patience = PATIENCE
        self._position = after
        self._within_batch = False
        self._doubted: Position | None = None
        self._looked: Position | None = None
        self._reader = self._open()

    def receive(self, max_messages: int = 100, timeout_ms: int = 100) -> Batch:
        """Up to `max_messages`; returns at once with what is there, waits only for the first."""
        batch = Batch()
        last: pulsar.MessageId | None = None
        wait = timeout_ms
        while len(batch) < max_messages:
            try:
                message = self._reader.read_next(timeout_millis=wait)
            except pulsar.Timeout:
                break
            except pulsar.PulsarException as error:
                raise Unavailable(f"broker: {error}") from error
            position = Position.of(message.message_id())
            if self._is_behind_a_hole(position):
                self._doubted = position
                self._reopen()
                break
            last = message.message_id()
            if position > self._position:
                self._position = position
                wait = 1
                if not self._compacted or message.data():
                    batch.add(message, position)
        if last is not None:
            self._within_batch = not ends_its_batch(last)
        if batch:
            self._heard, self._patience = self._clock(), PATIENCE
        elif self._clock() - self._heard > self._patience:
            self._look_further()
        return batch

    def more(self) -> bool:
        """Whether the log goes on behind what was received.

        Raises
        ------
        Unavailable
            The broker does not tell.
        """
        try:
            if self._within_batch or _has_more(self._reader):
                return True
            self._reopen()
            return _has_more(self._reader)
        except pulsar.PulsarException as error:
            raise Unavailable(f"broker: {error}") from error

    def _is_behind_a_hole(self, position: Position) -> bool:
        """Whether something may be missing before a message; not where it came twice behind the same one."""
        if self._compacted or position <= self._position or position == self._doubted:
            return False
        if self._position == START:
            return position.entry > 0  # where the log was not trimmed
        return not position.follows(self._position)

    def _reopen(self) -> None:
        close(self._reader)
        self._reader = self._open()

    def _open(self) -> pulsar.Reader:
        after = self._position
        start = (
            pulsar.MessageId.earliest
            if after == START
            # With another partition than the topic's own it would not count as the message that stands there.
            else pulsar.MessageId(_partition_of(self._topic), after.ledger, after.entry, after.batch)
        )
        try:
            return self._client.create_reader(
                self._topic, start, receiver_queue_size=self._queue, is_read_compacted=self._compacted
            )
        except pulsar.PulsarException as error:
            raise Unavailable(f"broker: cannot read {self._topic}: {error}") from error

    def _look_further(self) -> None:
        """Open it again where the log goes on but nothing comes: the embedded broker forgets readers, too.

        Where it is said to end, once: see the class.
        """
        self._heard = self._clock()
        try:
            more = self._within_batch or self._reader.has_message_available()
        except pulsar.PulsarException:
            return  # nothing there, or nobody who tells
        if more:
            _log.warning("nothing comes, reading again", topic=self._topic, position=self._position)
            self._patience = min(2 * self._patience, MOST_PATIENCE)
            self._reopen()
        elif self._looked != self._position:
            self._looked = self._position
            self._reopen()

    def close(self) -> None:
        close(self._reader)


class LogTail:
    """Counts how often a log was found to have grown: evidence that somebody writes to it.

    It opens with the first question, and fetches next to nothing.
    """

    def __init__(self, client: pulsar.Client, topic: str) -> None:
        self._client = client
        self._topic = topic
        self._reader: pulsar.Reader | None = None
        self._growths = 0

    def growths(self) -> int:
        """How often it had grown since the question before.

        Raises
        ------
        Unavailable
            The broker does not answer.
        """
        try:
            if self._reader is not None and _has_more(self._reader):
                self._growths += 1
                self.close()
            if self._reader is None:
                self._reader = self._client.create_reader(self._topic, pulsar.MessageId.latest, receiver_queue_size=1)
        except pulsar.PulsarException as error:
            raise Unavailable(f"broker: cannot read {self._topic}: {error}") from error
        return self._growths

    def close(self) -> None:
        """Close its reader; the next question opens another one."""
        reader, self._reader = self._reader, None
        if reader is not None:
            close(reader)


def _has_more(reader: pulsar.Reader) -> bool:
    try:
        return bool(reader.has_message_available())
    except pulsar.UnknownError:
        return False  # the embedded broker's answer for an empty topic


def _partition_of(topic: str) -> int:
    """The partition in the ids of a physical topic's messages; -1 where the topic is not partitioned."""
    _, _, number = topic.rpartition("-partition-")
    return int(number) if number.isdecimal() else -1
