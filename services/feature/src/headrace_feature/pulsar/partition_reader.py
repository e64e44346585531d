"""A thread that reads a source: the calls of pulsar-client block."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from headrace.errors import Fenced, Unavailable, Unreadable
from headrace.runtime.pulsar.batch import Batch
from headrace.runtime.pulsar.consumer import WAIT_MS, PartitionConsumer
from headrace_feature.lane import RETRY, Delivery, Lane
from headrace_feature.pulsar.source import Source

_log = structlog.get_logger()

#: Seconds between two checks whether a source may be read.
STANDBY = 0.5

#: While a source stays silent, reports become less frequent: the interval grows to this many times `idle`.
_SELDOM = 4


#: Seconds before a source's unreadable state is read again.
_REFUSED = 5.0


class Silence:
    """When to report that a source is silent: after `idle` seconds, twice, and then less and less often.

    It reports again because the lane may still have been at work, or may need two reports that agree.
    """

    def __init__(self, idle: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._idle = idle
        self._clock = clock
        self.end()

    def end(self) -> None:
        """Note that the source has delivered something."""
        self._since = self._clock()
        self._reports = 0

    def due(self) -> bool:
        """Return whether to report now; it is due again after another `idle` seconds at the earliest."""
        if self._clock() - self._since <= self._idle * min(max(self._reports, 1), _SELDOM):
            return False
        self._since = self._clock()
        return True

    def reported(self) -> None:
        """Note that it has been reported."""
        self._reports += 1


class PartitionReader(threading.Thread):
    """A thread that reads a source whenever its lane may read it, until it is stopped.

    Parameters
    ----------
    idle
        Seconds of silence after which the end of the log is reported to the lane.
    put
        Takes what was read; blocks while there is no room for it.
    fail
        Called with an error that is not a server's absence: the process must end.
    """

    def __init__(
        self,
        lane: Lane,
        source: Source,
        *,
        idle: float,
        stopping: threading.Event,
        put: Callable[[Delivery], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        super().__init__(name=f"read {source.name}", daemon=True)
        self._lane = lane
        self._source = source
        self._idle = idle
        # Poll often enough to notice silence soon after it has lasted `idle`.
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
            _log.warning("source_not_ready", source=self._source.name, reason=str(error))
            self._stopping.wait(RETRY)
            return False
        except Unreadable as error:
            self._refuse(error)
            return False

    def _follow(self) -> None:
        """Subscribe, and read until the worker no longer owns the source."""
        consumer: PartitionConsumer | None = None
        try:
            consumer = self._source.open()
            self._receive(consumer)
        except (Fenced, Unavailable) as error:
            if not self._stopping.is_set():
                _log.warning("source_reopened", source=self._source.name, reason=str(error))
            self._stopping.wait(RETRY)
        except Unreadable as error:
            self._refuse(error)
        finally:
            if consumer is not None:
                consumer.close()

    def _refuse(self, error: Unreadable) -> None:
        """Report that the stored state of the source is damaged, until it is remade; other sources go on."""
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
            if epoch is not None and not source.owns(epoch):
                return
            batch = Batch() if source.elected and epoch is None else consumer.receive(self._wait_ms)
            if epoch is None and (batch or source.elected or consumer.is_abandoned):
                epoch, position = self._lane.submit(source.take_over)
                self._lane.refused.pop(self._source.name, None)
                batch = consumer.start_after(position, batch)
                looked = source.elected
            if batch:
                looked = True
                silence.end()
                self._put(Delivery(epoch or 0, batch))
            elif silence.due() or not looked:
                # An unreachable broker is silent, too: a source is idle only if its log has ended.
                end = consumer.end()
                if end is None:
                    continue
                if looked:
                    silence.reported()
                self._put(Delivery(epoch or 0, None, end, silent=looked))
                looked = True
