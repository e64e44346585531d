"""The log of a model's join, as one owner writes it."""

from __future__ import annotations

from dataclasses import replace

from headrace.definition import ModelDefinition
from headrace.runtime.redis.pairs import JoinState
from headrace.wire.envelope import Envelope
from headrace_feature.pulsar.outputs import ExamplesLog, LogContent


class JoinLog:
    """Writes the log of a model with the epoch of one owner."""

    def __init__(self, model: ModelDefinition, log: ExamplesLog, epoch: int) -> None:
        self.model = model
        self._log = log
        self._epoch = epoch

    def mark_epoch(self) -> None:
        """Write a marker: after it, readers drop what an earlier owner still sends."""
        self._log.send(b"", replace(self._envelope(), marker=True))
        self._log.flush()

    def content(self) -> LogContent:
        """Return what the log holds already."""
        return self._log.content()

    def send_outbox(self, state: JoinState) -> None:
        """Send the entries that were saved with the state, again if need be."""
        envelope = replace(
            self._envelope(), definition=state.definition, examples=state.examples, released=state.released
        )
        for message in state.outbox:
            self._log.send(message, envelope)
        self._log.flush()

    def publish(self, release_watermark: int, watermark: int, *, remaking: bool) -> None:
        """Publish how far the log is."""
        envelope = replace(
            self._envelope(), release_watermark=release_watermark, watermark=watermark, remaking=remaking
        )
        self._log.send(b"", envelope)
        self._log.flush()

    def _envelope(self) -> Envelope:
        return Envelope(epoch=self._epoch, definition=self.model.hash)
