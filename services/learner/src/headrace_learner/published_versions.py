"""The versions of a model that are published, and the takeover from a former definition that they complete."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import structlog

from headrace.definition import ModelDefinition
from headrace.engine.learning import Learning, version_of
from headrace.v1.models_pb2 import ModelVersion
from headrace_learner.model_report import ModelReport
from headrace_learner.ownership import Ownership
from headrace_learner.ports import VersionTopic
from headrace_learner.takeover import Takeover, takeover_from

_log = structlog.get_logger()


class PublishedVersions:
    """The versions of a model on their topic: its owner sends each one once, in the order of their examples.

    Attributes
    ----------
    too_large
        Why the newest version is not published, if it is too large for the broker; empty otherwise.
    """

    def __init__(
        self,
        model: ModelDefinition,
        topic: VersionTopic,
        ownership: Ownership,
        report: ModelReport,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.too_large = ""
        self._model = model
        self._topic = topic
        self._ownership = ownership
        self._report = report
        self._clock = clock
        self._examples = 0
        self._owes_newest = False
        self._unsent: ModelVersion | None = None
        self._published_at = clock()
        self._takeover: Takeover | None = None
        self._other_definitions: frozenset[str] = frozenset()

    def start(self, learning: Learning, log: str) -> None:
        """Continue, as the new owner of a log, after the versions that are on the topic."""
        newest = self._topic.newest(self._model, log)
        # Versions published after the checkpoint are out already, and are learned again without publishing.
        self._examples = newest.examples
        # A former owner may have sent an older version late, and compaction keeps the last one.
        self._owes_newest = not newest.is_last
        self._other_definitions = newest.others
        former = None if newest.taken_over else newest.former
        self._takeover = None if former is None else takeover_from(former, self._model)
        self._report.status.takeover = self._takeover
        if self._takeover is None and newest.taken_over:
            self._drop_others(learning)
        self._published_at = self._clock()

    # Sending -------------------------------------------------------------------------------------

    def publish(self, learning: Learning) -> None:
        """Publish the model as it is now."""
        progress = learning.progress
        if progress.examples > self._examples:
            self._send(learning, version_of(learning))
        progress.published = progress.examples
        self._published_at = self._clock()
        self._report.update(learning, at_once=progress.is_idle)
        self._report.status.published = progress.published
        self._report.publish()

    def publish_if_overdue(self, learning: Learning) -> None:
        """Publish the model if it has new examples, and the last version is as old as the model declares."""
        progress, after = learning.progress, self._model.publish_after
        overdue = after is not None and (self._clock() - self._published_at) * 1e6 >= after
        if overdue and progress.examples > progress.published:
            self.publish(learning)

    def store_unsent(self, learning: Learning) -> None:
        """Store the model as it is now, to be sent if this process becomes the owner."""
        self._unsent = version_of(learning)
        learning.progress.published = learning.progress.examples

    def clear_unsent(self) -> None:
        """Discard the unsent version: the model starts from another checkpoint."""
        self._unsent = None

    def send_unsent(self, learning: Learning) -> None:
        """Send the unsent version, unless it or a later one is on the topic already."""
        self._send(learning, self._unsent)

    def send_newest(self, learning: Learning) -> None:
        """Send the newest version again as the last one, once this process has learned it itself."""
        if self._owes_newest and learning.progress.examples >= self._examples:
            self._owes_newest = False
            self._put(learning, version_of(learning))
            learning.progress.published = learning.progress.examples

    def correct(self, learning: Learning) -> None:
        """Correct, at the end of the log, a version that claims more examples than the log holds."""
        examples = learning.progress.examples
        if self._examples <= examples:
            return
        _log.error("version_corrected", model=self._model.name, claimed=self._examples, learned=examples)
        self._examples, self._owes_newest = examples, False
        if examples:
            self._put(learning, version_of(learning), corrects=True)
            learning.progress.published = examples

    def flush(self, learning: Learning) -> None:
        """Wait until the broker has all versions sent.

        Raises
        ------
        Unavailable
            A version did not arrive.
        """
        self._topic.flush()
        self._note_too_large(learning)

    def _send(self, learning: Learning, version: ModelVersion | None) -> None:
        if version is not None and version.examples > self._examples:
            self._put(learning, version)
        self._unsent = None

    def _put(self, learning: Learning, version: ModelVersion, *, corrects: bool = False) -> None:
        """Send a version, if this process still owns the model."""
        version.corrects = corrects
        self._ownership.check()
        takeover = self._takeover
        if takeover is not None and takeover.is_reached(version.examples):
            self._takeover = self._report.status.takeover = None
        version.taken_over = self._takeover is None
        version.needed = takeover.needed if takeover is not None else 0
        self._topic.publish(version)
        self.too_large = ""
        self._report.status.versions += 1
        if takeover is not None and self._takeover is None:
            self._drop_others(learning)

    # Taking over ---------------------------------------------------------------------------------

    def end_takeover(self, learning: Learning, at_end: bool = False) -> None:
        """Publish the version that takes over from a former definition, once enough has been learned."""
        progress, takeover = learning.progress, self._takeover
        if takeover is None or progress.examples < self._examples:
            return
        if not takeover.is_reached(progress.examples, at_end, learning.whole):
            return
        self._takeover = replace(takeover, needed=progress.examples)
        self._put(learning, version_of(learning))
        progress.published = progress.examples

    def _drop_others(self, learning: Learning) -> None:
        """Drop the versions of all other definitions: none of them answers from now on."""
        if self._other_definitions:
            self._topic.flush()
            if self._topic.too_large is not None:
                self._note_too_large(learning)
                return
            self._topic.drop(self._model, self._other_definitions)
            _log.info("model_taken_over", model=self._model.name, instead_of=sorted(self._other_definitions))
        self._other_definitions = frozenset()

    def _note_too_large(self, learning: Learning) -> None:
        """Note that a version was too large for the broker: the previous one still answers, and learning goes on."""
        error, self._topic.too_large = self._topic.too_large, None
        if error is not None:
            self.too_large = (
                f"the version of {learning.progress.published} examples is not published: {error}. The one "
                "before answers on; a smaller learner (fewer trees, a depth) makes smaller versions"
            )
            _log.error("version_too_large", model=self._model.name, reason=self.too_large)
            self._report.set_note(self.too_large)
