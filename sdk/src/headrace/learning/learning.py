"""A model while it learns: a pure function of its examples log."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa

from headrace.definition import ModelDefinition
from headrace.errors import CorruptState, LearnerFailed
from headrace.frontier import RESTING
from headrace.log.position import START, Position
from headrace.log.tables import Examples, decode_examples
from headrace.quality import Outcomes, Quality, quality_of

from .rows import Rows
from .steps import STEPS, labels_of

#: Examples tested before the metrics take them in one go.
_SETTLE = 1_024


@dataclass
class Progress:
    """Where a model stands in its log.

    Attributes
    ----------
    examples
        How many it has learned: its version.
    next_seq
        The number, in the log, of the example that it learns next.
    position
        The last message that was learned whole.
    frontier
        What the log said last: no example earlier than this (µs since the epoch) follows.
    newest
        The event time of its newest example.
    published
        The newest version that was published.
    epochs
        By partition that feeds the log, the newest epoch of its owner.
    """

    examples: int = 0
    next_seq: int = 0
    position: Position = START
    frontier: int | None = None
    newest: int | None = None
    published: int = 0
    epochs: dict[str, int] = field(default_factory=dict)

    @property
    def rests(self) -> bool:
        """Whether the log said that nothing more is to come: history has ended, or its streams are idle.

        The version is complete then, so it is due, whatever its number.
        """
        return self.frontier is not None and self.frontier >= RESTING


@dataclass
class _Untold:
    """What was tested and learned, but not yet told to the metrics."""

    times: list[np.ndarray[Any, np.dtype[np.int64]]] = field(default_factory=list)
    labels: list[Any] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    predicted: list[str | None] = field(default_factory=list)


class Learning:
    """Reads messages of a model's examples log; it knows no broker, no store and no clock.

    Parameters
    ----------
    model
        Its definition.
    estimator
        A River pipeline: a new one, or that of a checkpoint together with its metrics and progress.
    stops
        Numbers of examples at which reading stops, beside those of the versions that are due.
    """

    def __init__(
        self,
        model: ModelDefinition,
        estimator: Any,
        quality: Quality | None = None,
        progress: Progress | None = None,
        stops: Collection[int] = (),
    ) -> None:
        self.model = model
        self.estimator = estimator
        self.progress = progress or Progress()
        self._quality = quality or quality_of(model)
        self._rows = Rows(model)
        self._step = STEPS[model.task]
        self._untold = _Untold()
        self._stops = sorted(stops)

    @property
    def quality(self) -> Quality:
        """The metrics of everything learned so far."""
        self._settle()
        return self._quality

    def read(self, payload: bytes, properties: dict[str, str], position: Position) -> Iterator[None]:
        """Learn one message; stop at each version that is due, for the caller to publish it.

        Raises
        ------
        CorruptState
            An example is missing in the log.
        LearnerFailed
            The estimator raised; what it is now is of no use.
        """
        if self._superseded(properties):
            self.progress.position = position
            return
        if payload:
            yield from self._learn(payload, properties)
        frontier = properties.get("frontier")
        if frontier is not None:
            self.progress.frontier = int(frontier)
        self.progress.position = position
        if frontier is not None and self.progress.rests and self.progress.examples > self.progress.published:
            yield

    def _superseded(self, properties: dict[str, str]) -> bool:
        """Whether a message is of an owner that has been followed by another one."""
        epoch = properties.get("epoch")
        if epoch is None:
            return False
        partition = properties.get("partition", "0")
        newest = self.progress.epochs.get(partition, 0)
        self.progress.epochs[partition] = max(newest, int(epoch))
        return int(epoch) < newest

    def _learn(self, payload: bytes, properties: dict[str, str]) -> Iterator[None]:
        if not self._fits(properties):
            self._pass_over(payload)
            return
        examples = decode_examples(self.model, payload)
        first = self._first_new(examples)
        size = len(examples) - first
        if not size:
            return
        rows = self._rows.of(examples, first)
        labels = labels_of(self.model.task, examples.labels[first:])
        start = 0
        while start < size:
            stop = min(size, start + self._until_version())
            at = slice(first + start, first + stop)
            self._test_then_train(rows, labels[start:stop], examples.times[at], examples.ids[at])
            start = stop
            if self.progress.examples % self.model.publish_examples == 0 or self.progress.examples in self._stops:
                yield

    def _test_then_train(self, rows: Iterator[Any], labels: list[Any], times: Any, ids: list[str]) -> None:
        untold, progress = self._untold, self.progress
        own = islice(rows, len(labels))
        try:
            self._step(self.estimator, own, labels, untold)
        except Exception as error:
            # Half of what it learns of an example may be in it already: it is of no use any more.
            index = len(labels) - sum(1 for _ in own) - 1
            raise LearnerFailed(self.model.name, progress.next_seq + index, ids[index], error) from error
        untold.times.append(times)
        untold.labels.extend(labels)
        progress.examples += len(labels)
        progress.next_seq += len(labels)
        newest = int(times.max())
        progress.newest = newest if progress.newest is None else max(newest, progress.newest)
        if len(untold.labels) >= _SETTLE:
            self._settle()

    def _until_version(self) -> int:
        done = self.progress.examples
        due = self.model.publish_examples - done % self.model.publish_examples
        stop = bisect_right(self._stops, done)
        return min(due, self._stops[stop] - done) if stop < len(self._stops) else due

    def _first_new(self, examples: Examples) -> int:
        """The first row that was not learned yet: of two with one number the first accepted wins."""
        if not len(examples):
            return 0
        first, last = int(examples.seqs[0]), int(examples.seqs[-1])
        if last - first + 1 != len(examples) or first > self.progress.next_seq:
            raise CorruptState(
                f"examples of model {self.model.name!r}: expected number {self.progress.next_seq} next, "
                f"the log goes on with {first} to {last} ({len(examples)} examples)"
            )
        return min(self.progress.next_seq - first, len(examples))

    def _fits(self, properties: dict[str, str]) -> bool:
        """Whether examples are made of what this model's are: those of another learner are as good."""
        if properties.get("definition", self.model.hash) == self.model.hash:
            return True
        return properties.get("examples") == self.model.examples_hash

    def _pass_over(self, payload: bytes) -> None:
        """Leave examples of another definition unlearned; the numbers of this one's follow theirs."""
        with pa.ipc.open_stream(payload) as reader:
            seqs = reader.read_next_batch().column("seq")
        if len(seqs):
            self.progress.next_seq = max(self.progress.next_seq, seqs[-1].as_py() + 1)

    def _settle(self) -> None:
        untold, self._untold = self._untold, _Untold()
        if untold.labels:
            self._quality.update(
                Outcomes(
                    np.concatenate(untold.times),
                    untold.labels,
                    np.array(untold.scores, np.float64),
                    untold.predicted,
                )
            )
