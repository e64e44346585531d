"""The learning of a model from the batches of its log, with its dead letters and the predictions that were served."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import structlog

from headrace.definition import ModelDefinition
from headrace.engine.learning import Learning, ServedQuality
from headrace.engine.learning.refusal import Refusal
from headrace.errors import Unreadable
from headrace.runtime.pulsar.batch import Batch
from headrace.runtime.pulsar.messages import WrongMessage, opened
from headrace.wire.message import Message
from headrace_learner.model_report import ModelReport
from headrace_learner.ports import ServedPredictions
from headrace_learner.published_versions import PublishedVersions

_log = structlog.get_logger()

#: A note beside the state: `headrace up` shows it while it waits for the process.
_LOADING = "loads compiled code, which the first start after an installation compiles"

_OFF = Refusal("The setting HEADRACE_COMPILED_LEARNERS is off")


class LogLearning:
    """The state of a model, and what a batch of its log does to it.

    Parameters
    ----------
    make
        Makes a new River pipeline for the model.
    topic
        The topic of the log.
    refuse
        Writes a dead letter, durably.
    stopping
        Set when the process ends: learning stops after a message.
    compiled_learners
        Whether compiled code may learn the model.
    on_choice
        Called once: after compiled code, if it learns the model, is loaded.

    Attributes
    ----------
    state
        The model and its place in the log; `start` replaces it.
    """

    def __init__(
        self,
        model: ModelDefinition,
        make: Callable[[], Any],
        topic: str,
        *,
        predictions: ServedPredictions,
        refuse: Callable[[WrongMessage], None],
        versions: PublishedVersions,
        report: ModelReport,
        stopping: threading.Event,
        compiled_learners: bool,
        on_choice: Callable[[], None],
    ) -> None:
        self._model = model
        self._make = make
        self._topic = topic
        self._predictions = predictions
        self._refuse_durably = refuse
        self._versions = versions
        self._report = report
        self._stopping = stopping
        self._refusal = None if compiled_learners else _OFF
        self._on_choice: Callable[[], None] | None = on_choice
        self.state = self._new()

    def start(self, state: Learning | None, skipped: frozenset[int]) -> None:
        """Start from the state of a checkpoint, or from nothing: the log has the rest."""
        self.state = state or self._new()
        # Loading compiled code would delay the first version, and the other services that start meanwhile.
        self.state.postpone_choice()
        self._choose_if_due()
        self._versions.clear_unsent()
        self.state.skipped = skipped
        # The new checkpoint may have other positions.
        self._predictions.close()
        self._report.update(self.state, at_once=True)

    def learn(self, batch: Batch, *, publish: bool) -> None:
        """Learn a batch, message by message; publish the versions that are due, or store the last of them."""
        for message in opened(batch, self._topic, self._refuse):
            if self._stopping.is_set():
                return
            examples = self.state.progress.examples
            try:
                self._read(message, publish=publish)
            except Unreadable as error:
                self._refuse(WrongMessage(self._topic, message.position, message.payload, error))
            self._report.status.learned += self.state.progress.examples - examples
            self._choose_if_due()
            if publish:
                self._versions.end_takeover(self.state)
            self._report.publish()

    def read_predictions(self) -> None:
        """Take the predictions that were served since the last call."""
        if self.state.served is not None:
            self._predictions.read(self.state.served)

    def close(self) -> None:
        """Close the reading of predictions."""
        self._predictions.close()

    def _read(self, message: Message, *, publish: bool) -> None:
        for _ in self.state.read(message):
            if publish:
                self._versions.publish(self.state)
            else:
                self._versions.store_unsent(self.state)

    def _choose_if_due(self) -> None:
        if not self.state.is_time_to_choose:
            return
        if self._on_choice is None:
            self.state.choose(self._refusal)
            return
        note = self._report.status.note
        self._report.set_note(_LOADING if self._refusal is None else note)
        self.state.choose(self._refusal)
        self._report.set_note(note)
        self._log_refusal()
        self._on_choice()
        self._on_choice = None

    def _log_refusal(self) -> None:
        """Log why River learns the model, and not compiled code."""
        refusal = self.state.refusal
        if refusal is None:
            return
        if refusal.is_failure:
            _log.warning("learned_by_river", model=self._model.name, reason=refusal.reason, exc_info=refusal.error)
        else:
            _log.info("learned_by_river", model=self._model.name, reason=refusal.reason)

    def _refuse(self, message: WrongMessage) -> None:
        """Write a dead letter for a message that is not part of the log, and continue after it."""
        _log.error(
            "message_refused", model=self._model.name, position=tuple(message.position), reason=str(message.reason)
        )
        self._refuse_durably(message)
        self.state.skip(message.position)
        self._report.status.refused += 1

    def _new(self) -> Learning:
        return Learning(self._model, self._make(), served=ServedQuality(self._model))
