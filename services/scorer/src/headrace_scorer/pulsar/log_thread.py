"""The base of threads that read a log: the calls of pulsar-client block, so none is made on the event loop."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pulsar
import structlog

from headrace.errors import Unavailable

_log = structlog.get_logger()

#: Seconds between tries while the broker is down.
_RETRY = 0.5


class LogThread(threading.Thread):
    """A thread that runs `_work` until stopped, restarts it when the broker fails, and gives up on any other error."""

    def __init__(self, name: str, failed: Callable[[BaseException], None]) -> None:
        super().__init__(name=name, daemon=True)
        self._stopping = threading.Event()
        self._failed = failed

    def run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._work()
            except (Unavailable, pulsar.PulsarException) as error:
                _log.warning("broker_down", thread=self.name, error=str(error))
                self._stopping.wait(_RETRY)
            except BaseException as error:
                # Never continue after a batch that was not done: the process ends, and its successor tries again.
                self._failed(error)
                return

    def stop(self) -> None:
        """Ask it to finish what it has begun; then call `join`."""
        self._stopping.set()

    def _work(self) -> None:
        raise NotImplementedError
