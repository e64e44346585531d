"""Rescoring with the versions that once answered: taken from their topic, or learned again from the examples log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from headrace.definition import ModelDefinition
from headrace.engine.arrays import Floats, Ints
from headrace.engine.model_version import Version, texts_of
from headrace.errors import Unreadable
from headrace.history.logs import FEW, Logs
from headrace.runtime.pulsar.messages import WrongMessage, opened, pass_over
from headrace.runtime.pulsar.model_versions import versions_in
from headrace.runtime.pulsar.skips import skips_in
from headrace.v1.models_pb2 import ModelVersion
from headrace.wire.tables import Categories
from headrace.wire.topics import Topics


@dataclass
class Rescored:
    """N scores, NaN if the version is not available.

    Attributes
    ----------
    labels
        Multiclass: the predicted classes.
    published, relearned
        The versions that scored: those taken from their topic, and those learned again.
    missing
        The versions that are on no topic and could not be learned again.
    """

    scores: Floats
    labels: list[str | None]
    published: set[int] = field(default_factory=set)
    relearned: set[int] = field(default_factory=set)
    missing: set[int] = field(default_factory=set)


class PastVersions:
    """The versions that a model has had.

    Parameters
    ----------
    make
        Creates a new River pipeline of the model; None: versions cannot be learned again.
    relearn
        Learn all versions again, even those that are on their topic.
    """

    def __init__(
        self,
        logs: Logs,
        topics: Topics,
        model: ModelDefinition,
        make: Callable[[], Any] | None,
        *,
        relearn: bool = False,
    ) -> None:
        self._logs = logs
        self._topics = topics
        self._model = model
        self._make = make
        self._relearn = relearn

    def score(self, versions: Ints, numbers: Floats, categories: Categories) -> Rescored:
        """Score each of N vectors with its version; -1 means none."""
        size = len(versions)
        result = Rescored(np.full(size, np.nan), [None] * size)
        missing = {int(version) for version in np.unique(versions) if version >= 0}
        texts = texts_of(categories, size)
        order = np.argsort(versions, kind="stable")
        ordered = versions[order]
        if not self._relearn:
            self._score(
                self._published_versions,
                missing,
                result.published,
                result,
                order=order,
                ordered=ordered,
                numbers=numbers,
                texts=texts,
            )
        if self._make is not None:
            self._score(
                self._learned_versions,
                missing,
                result.relearned,
                result,
                order=order,
                ordered=ordered,
                numbers=numbers,
                texts=texts,
            )
        result.missing = missing
        return result

    def _score(
        self,
        versions: Callable[[set[int]], Iterator[ModelVersion]],
        missing: set[int],
        used: set[int],
        result: Rescored,
        *,
        order: Ints,
        ordered: Ints,
        numbers: Floats,
        texts: Any,
    ) -> None:
        for message in versions(missing):
            version = Version(self._model, message)
            first, last = np.searchsorted(ordered, [version.examples, version.examples + 1])
            rows = order[first:last]
            scores = version.score(numbers[rows], texts[rows])
            result.scores[rows] = scores.score
            if scores.winners is not None:
                for row, winner in zip(rows.tolist(), scores.winners.tolist(), strict=True):
                    result.labels[row] = version.classes[winner]
            missing.discard(version.examples)
            used.add(version.examples)

    def _published_versions(self, missing: set[int]) -> Iterator[ModelVersion]:
        for physical in self._logs.partitions(self._topics.models):
            for batch in self._logs.read(physical, FEW):
                for version in versions_in(batch, physical, pass_over):
                    if version.model == self._model.name and version.definition == self._model.hash:
                        if version.examples in missing:
                            yield version
                        if not missing:
                            return

    def _learned_versions(self, missing: set[int]) -> Iterator[ModelVersion]:
        assert self._make is not None
        if not missing:
            return
        from headrace.engine.learning import Learning, version_of  # River takes seconds to import

        learning = Learning(self._model, self._make(), stops=missing, skipped=self._skips())
        for physical in self._logs.partitions(self._topics.examples(self._model.name)):
            for batch in self._logs.read(physical, FEW):
                for message in opened(batch, physical, pass_over):
                    try:
                        for _ in learning.read(message):
                            if learning.progress.examples in missing:
                                yield version_of(learning)
                            if not missing:
                                return
                    except Unreadable as error:
                        pass_over(WrongMessage(physical, message.position, message.payload, error))
                        learning.skip(message.position)

    def _skips(self) -> frozenset[int]:
        """Return the places of the questions that the model leaves out."""
        return frozenset(
            skip.question
            for physical in self._logs.partitions(self._topics.skips)
            for batch in self._logs.read(physical, FEW)
            for skip in skips_in(batch.payloads, batch.positions, self._model.name)
        )
