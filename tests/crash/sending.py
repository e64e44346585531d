"""A sender of a load: it uses any ingest that answers, and sends again where there was no answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headrace.client import IngestClient
from headrace.errors import HeadraceError
from tests.crash.load import SLICE_S, STREAMS, Slice
from tests.deadline import scaled

#: Seconds that a call may take.
_PATIENCE_S = 15.0


@dataclass(frozen=True)
class Call:
    """A call that was answered: when it began and ended (s since the epoch)."""

    began: float
    ended: float


class Sender(threading.Thread):
    """A thread that sends slices in order, one every tenth of a second; `failure` says why it gave up.

    Parameters
    ----------
    addresses
        The addresses of ingest.
    reached
        Seconds of the load that may have been sent so far; None: all, as fast as ingest takes them.
    seconds
        How long one slice may take before the run fails.
    """

    def __init__(
        self,
        addresses: Callable[[], Sequence[str]],
        slices: Sequence[Slice],
        reached: Callable[[], float] | None = None,
        seconds: float = 120.0,
    ) -> None:
        super().__init__(name="sender", daemon=True)
        self.sent = 0
        self.again = 0
        self.retried = 0
        self.calls: list[Call] = []
        self.failure: BaseException | None = None
        self._addresses = addresses
        self._slices = slices
        self._reached = reached
        self._seconds = seconds
        self._client: IngestClient | None = None
        self._turn = 0
        self._pause = threading.Event()

    @property
    def events(self) -> int:
        """Number of events made, without counting resent ones twice."""
        return sum(map(len, self._slices))

    def run(self) -> None:
        try:
            start = time.monotonic()
            for index, part in enumerate(self._slices):
                if self._reached is not None:
                    self._pause.wait(max(start + index * SLICE_S - time.monotonic(), 0.0))
                    while self._reached() < index * SLICE_S:
                        self._pause.wait(SLICE_S)
                self._surely(part)
                if part.again:
                    self._surely(part)
                    self.again += 1
                self.sent += len(part)
            self._surely(Slice({}, 0, False), end=True)
        except BaseException as error:
            self.failure = error
        finally:
            self._forget()

    def _surely(self, part: Slice, *, end: bool = False) -> None:
        deadline = time.monotonic() + scaled(self._seconds)
        while True:
            start = time.time()
            try:
                self._send(part, end)
            except HeadraceError:
                self._forget()
                self.retried += 1
                if time.monotonic() > deadline:
                    raise
                self._pause.wait(0.1)
            else:
                self.calls.append(Call(start, time.time()))
                return

    def _send(self, part: Slice, end: bool) -> None:
        if self._client is None:
            addresses = self._addresses()
            self._client = IngestClient(addresses[self._turn % len(addresses)])
            self._turn += 1
        with self._client.stream() as stream:
            bell = threading.Timer(scaled(_PATIENCE_S), stream.cancel)
            bell.start()
            try:
                for name in STREAMS:
                    stream.send(name, part.events.get(name, []), mark=part.mark, end=end)
                stream.finish()
            finally:
                bell.cancel()

    def _forget(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
