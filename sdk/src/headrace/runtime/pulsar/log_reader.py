"""Reading a partition's log without acknowledging anything."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pulsar
import structlog

from headrace.errors import Unavailable
from headrace.runtime.pulsar.batch import MOST_PATIENCE, PATIENCE, Batch
from headrace.runtime.pulsar.connection import close
from headrace.runtime.pulsar.message_ids import ends_its_batch, position_of
from headrace.wire.position import START, Position

_log = structlog.get_logger()


def read_whole(
    client: pulsar.Client, topic: str, max_messages: int = 1_000, *, compacted: bool = False
) -> Iterator[Batch]:
    """Yield everything on a physical topic, up to the end that it has when it is reached."""
    reader = LogReader(client, topic, queue=max_messages, compacted=compacted)
    try:
        while reader.more():
            # Existing messages come sooner or later: an empty read is not the end.
            if batch := reader.receive(max_messages):
                yield batch
    finally:
        reader.close()


def holds_data(client: pulsar.Client, topic: str) -> bool:
    """Return whether a physical topic holds any message with a payload: others only say how far an owner is."""
    return any(any(batch.payloads) for batch in read_whole(client, topic, 16))


class LogReader:
    """Reads a whole partition from the start or a position, without acknowledging anything.

    A reader that loses its connection to the embedded broker skips the batch that it had fetched but not begun,
    and takes what it has read for the end. A hole, and the end of a log, count only if another reader finds them, too.

    Parameters
    ----------
    queue
        Number of messages fetched ahead: few, if they are large.
    compacted
        Read only the newest message of each key, as far as the broker has compacted the topic. An empty message
        says that its key is gone, and is left out.
    """

    def __init__(
        self,
        client: pulsar.Client,
        topic: str,
        after: Position = START,
        queue: int = 1_000,
        *,
        clock: Callable[[], float] = time.monotonic,
        compacted: bool = False,
    ) -> None:
        self._client = client
        self._topic = topic
        self._queue = queue
        self._compacted = compacted
        self._clock = clock
        self._heard_at = clock()
        self._patience = PATIENCE
        self._position = after
        self._within_batch = False
        self._doubted_position: Position | None = None
        self._reader = self._open()

    def receive(self, max_messages: int = 100, timeout_ms: int = 100) -> Batch:
        """Return up to `max_messages` messages: those available at once; wait only for the first one."""
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
            position = position_of(message.message_id())
            if self._is_behind_a_hole(position):
                self._doubted_position = position
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
            self._heard_at, self._patience = self._clock(), PATIENCE
        elif self._clock() - self._heard_at > self._patience:
            self._look_further()
        return batch

    def more(self) -> bool:
        """Return whether the log continues after the messages received.

        Raises
        ------
        Unavailable
            The broker does not answer.
        """
        try:
            if self._within_batch or _has_more(self._reader):
                return True
            self._reopen()
            return _has_more(self._reader)
        except pulsar.PulsarException as error:
            raise Unavailable(f"broker: {error}") from error

    def _is_behind_a_hole(self, position: Position) -> bool:
        """Return whether messages may be missing before this one; not if it came twice after the same message."""
        if self._compacted or position <= self._position or position == self._doubted_position:
            return False
        if self._position == START:
            return position.entry > 0  # unless the log was trimmed
        return not position.follows(self._position)

    def _reopen(self) -> None:
        close(self._reader)
        self._reader = self._open()

    def _open(self) -> pulsar.Reader:
        after = self._position
        start = (
            pulsar.MessageId.earliest
            if after == START
            # With a partition other than the topic's own, it would not match the message at that position.
            else pulsar.MessageId(_partition_of(self._topic), after.ledger, after.entry, after.batch)
        )
        try:
            return self._client.create_reader(
                self._topic, start, receiver_queue_size=self._queue, is_read_compacted=self._compacted
            )
        except pulsar.PulsarException as error:
            raise Unavailable(f"broker: cannot read {self._topic}: {error}") from error

    def _look_further(self) -> None:
        """Open the reader again, because nothing comes: the embedded broker forgets readers.

        Do so even if the log is said to have ended (see the class), but ever more rarely.
        """
        self._heard_at = self._clock()
        try:
            more = self._within_batch or self._reader.has_message_available()
        except pulsar.PulsarException:
            return  # the topic is empty, or the broker does not answer
        if more:
            _log.warning("reader_reopened", topic=self._topic, position=self._position)
        self._patience = min(2 * self._patience, MOST_PATIENCE)
        self._reopen()

    def close(self) -> None:
        close(self._reader)


class LogTail:
    """Counts how often a log was found to have grown: evidence that somebody writes to it.

    It opens at the first call of `growths`, and fetches next to nothing.
    """

    def __init__(self, client: pulsar.Client, topic: str) -> None:
        self._client = client
        self._topic = topic
        self._reader: pulsar.Reader | None = None
        self._growths = 0

    def growths(self) -> int:
        """Return how many calls so far have found that the log had grown.

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
        """Close its reader; the next call of `growths` opens another one."""
        reader, self._reader = self._reader, None
        if reader is not None:
            close(reader)


def _has_more(reader: pulsar.Reader) -> bool:
    try:
        return bool(reader.has_message_available())
    except pulsar.UnknownError:
        return False  # the embedded broker's answer for an empty topic


def _partition_of(topic: str) -> int:
    """Return the partition in the ids of a physical topic's messages; -1 if the topic is not partitioned."""
    _, _, number = topic.rpartition("-partition-")
    return int(number) if number.isdecimal() else -1
