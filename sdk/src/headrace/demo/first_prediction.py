"""The first prediction that the loop serves, shown as soon as it is there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

import pulsar

from headrace.definition import ModelDefinition
from headrace.demo.broker import connected
from headrace.embedded import RunningLoop
from headrace.runtime.pulsar.log_reader import LogReader
from headrace.wire.tables import Predictions, decode_predictions
from headrace.wire.topics import Topics

#: Seconds between two looks at the topic, and for a last look at the end; milliseconds that one look waits.
_LOOK_S, _GRACE_S, _RECEIVE_MS = 0.05, 5.0, 200


class FirstPrediction(threading.Thread):
    """A thread that waits for a model's first prediction; as a context manager it ends with the block.

    Parameters
    ----------
    report
        Called once, with a line about it.
    elapsed
        Returns the seconds since the demo began.
    """

    def __init__(
        self, running: RunningLoop, model: ModelDefinition, report: Callable[[str], None], elapsed: Callable[[], float]
    ) -> None:
        super().__init__(name="first-prediction", daemon=True)
        self._running = running
        self._model = model
        self._report = report
        self._elapsed = elapsed
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self.join(_GRACE_S)

    def run(self) -> None:
        """Read the predictions topic from its beginning, until it holds a prediction."""
        topics = Topics(self._running.definition.name, self._running.namespace)
        with connected(self._running) as client:
            first = next(self._predictions(client, topics.predictions(self._model.name)), None)
            if first is not None:
                self._report(
                    f"first prediction, {self._elapsed():.1f} s after the start: "
                    f"{first.ids[0]} is late with probability {first.scores[0]:.3f}"
                )

    def _predictions(self, client: pulsar.Client, topic: str) -> Iterator[Predictions]:
        # Each look opens a new reader: one that waits at the end of a log misses messages of the embedded broker.
        while not self._ended.wait(_LOOK_S):
            reader = LogReader(client, topic)
            try:
                payloads = reader.receive(timeout_ms=_RECEIVE_MS).payloads
            finally:
                reader.close()
            yield from (decode_predictions(self._model, payload) for payload in payloads if payload)
