"""The threads that read sources: pulsar-client's calls block."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress

import structlog

from headrace.errors import Fenced, Unavailable, Unreadable
from headrace.log.batch import Batch
from headrace.log.consume import WAIT_MS, PartitionConsumer
from headrace_feature.lanes import RETRY, Delivery, Lane, Source

_log = structlog.get_logger()

#: Seconds between two looks whether a source may be read.
STANDBY = 0.5

#: While a source stays silent its lane is told less often: at most every so many times `idle`.
_SELDOM = 4


#: Seconds before the state of a source that cannot be read is looked at again.
_REFUSED = 5.0


class Silence:
    """Says when a source's silence is to be reported: after `idle` seconds, twice, and then ever less often.

    A report may come too early for a lane that is still at work, or be the first of two that have to agree.
    """

    def __init__(self, idle: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._idle = idle
        self._clock = clock
        self.end()

    def end(self) -> None:
        """The source has spoken."""
        self._since = self._clock()
        self._reports = 0

    def due(self) -> bool:
        """Whether to report now; asked again after another `idle` seconds at the earliest."""
        if self._clock() - self._since <= self._idle * min(max(self._reports, 1), _SELDOM):
            return False
        self._since = self._clock()
        return True

    def reported(self) -> None:
        """It has been reported."""
        self._reports += 1


class SourceReader(threading.Thread):
    """Reads a source whenever it is its lane's to read, until it is stopped.

    Parameters
    ----------
    idle
        Seconds of silence after which the lane is told where the log ends.
    put
        Takes what was read; blocks while there is no room for it.
    fail
        Told of an error that is nobody's absence: the process is to end.
    """

    def __init__(
        self,
        lane: Lane,
        source: Source,
        idle: float,
        stopping: threading.Event,
        put: Callable[[Delivery], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        super().__init__(name=f"read {source.name}", daemon=True)
        self._lane = lane
        self._source = source
        self._idle = idle
        # Silence is noticed soon after it has lasted long enough.
        self._wait_ms = min(WAIT_MS, max(int(idle * 250), 10))
        self._stopping = stopping
        self._put = put
        self._fail = fail

    def run(self) -> None:
        try:
            while not self._stopping.is_set():
                if self._may_read():
                    self._follow()
                else:
                    self._stopping.wait(STANDBY)
        except Exception as error:
            if not self._stopping.is_set():
                self._fail(error)

    def _may_read(self) -> bool:
        try:
            return self._lane.submit(self._source.ready)
        except (Fenced, Unavailable) as error:
            _log.warning("not now", source=self._source.name, reason=str(error))
            self._stopping.wait(RETRY)
            return False
        except Unreadable as error:
            self._refuse(error)
            return False

    def _follow(self) -> None:
        """Subscribe, and read until the source is no longer the worker's."""
        consumer: PartitionConsumer | None = None
        try:
            consumer = self._source.open()
            self._receive(consumer)
        except (Fenced, Unavailable) as error:
            if not self._stopping.is_set():
                _log.warning("reads it again", source=self._source.name, reason=str(error))
            self._stopping.wait(RETRY)
        except Unreadable as error:
            self._refuse(error)
        finally:
            if consumer is not None:
                with suppress(Exception):  # of a broker that is away: it closes by itself
                    consumer.close()

    def _refuse(self, error: Unreadable) -> None:
        """What the store has of the source is damaged: say so until it is made again, and leave the others alone."""
        if self._lane.refused.get(self._source.name) != str(error):
            _log.error("state_refused", source=self._source.name, reason=str(error))
        self._lane.refused[self._source.name] = str(error)
        self._stopping.wait(_REFUSED)

    def _receive(self, consumer: PartitionConsumer) -> None:
        source = self._source
        epoch: int | None = None
        silence = Silence(self._idle)
        looked = source.elected
        while not self._stopping.is_set():
            if epoch is not None and not source.owned(epoch):
                return
            batch = Batch() if source.elected and epoch is None else consumer.receive(self._wait_ms)
            if epoch is None and (batch or source.elected or consumer.is_abandoned):
                epoch, position = self._lane.submit(source.take_over)
                self._lane.refused.pop(self._source.name, None)
                batch = consumer.start_after(position, batch)
            if batch:
                looked = True
                silence.end()
                self._put(Delivery(epoch or 0, batch))
            elif silence.due() or not looked:
                # A broker that is away is silent, too: idle is only a log that has ended.
                end = consumer.end()
                if end is None:
                    continue
                if looked:
                    silence.reported()
                self._put(Delivery(epoch or 0, None, end, silent=looked))
                looked = True
