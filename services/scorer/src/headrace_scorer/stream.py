"""Scoring the features topic: the vector of every event, scored in the order of its partition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from headrace.definition import ModelDefinition
from headrace.former import ALL, Selection, behind, widened
from headrace.log.batch import Batch
from headrace.log.dedupe import Accepted
from headrace.log.position import Position
from headrace.log.tables import MAX_ROWS, Predictions, Vectors, decode_vectors, encode_predictions
from headrace.version import Version

_KEPT = ("epoch", "partition", "definition", "frontier", "marker")


@dataclass(slots=True)
class Output:
    """One message of the predictions topic."""

    payload: bytes
    properties: dict[str, str]


@dataclass(slots=True)
class Undecodable:
    """A message that holds no vectors of the model."""

    position: Position
    payload: bytes
    reason: str


@dataclass(slots=True)
class Outcome:
    """What one batch of the features topic came to."""

    outputs: list[Output] = field(default_factory=list)
    undecodable: list[Undecodable] = field(default_factory=list)
    predictions: int = 0
    unscored: int = 0
    ignored: int = 0
    frontier: int | None = None


@dataclass(slots=True)
class _Run:
    """Vectors that follow one another and make one message: same epoch, same source."""

    properties: dict[str, str]
    scored: bool
    parts: list[Vectors] = field(default_factory=list)
    size: int = 0


class StreamScorer:
    """Scores one partition of a model's features topic.

    Vectors of superseded owners and those seen before are dropped; markers and frontiers are passed on,
    so that readers of the predictions can do the same.

    Parameters
    ----------
    version
        The version that answers now, None before the first: then vectors pass unscored.
    """

    def __init__(self, model: ModelDefinition, version: Callable[[], Version | None]) -> None:
        self._model = model
        self._hash = model.hash
        self._version = version
        self._accepted = Accepted()

    def score(self, batch: Batch) -> Outcome:
        """Score what a consumer received."""
        outcome, version = Outcome(), self._version()
        former = version.former if version is not None and version.selection is None else None
        wide = widened(self._model, former) if former is not None else None
        runs: list[_Run] = []
        for position, payload, properties in zip(batch.positions, batch.payloads, batch.properties, strict=True):
            kept = {name: properties[name] for name in _KEPT if name in properties}
            if not self._fits(kept.get("definition", self._hash), version):
                outcome.ignored += 1
                continue
            columns = self._columns(properties.get("former", ""), version, wide)
            try:
                vectors = self._fresh(payload, kept, columns or self._model)
            except (pa.ArrowException, ValueError, KeyError, IndexError, TypeError) as error:
                outcome.undecodable.append(Undecodable(position, payload, str(error)))
                continue
            if vectors is None:
                continue
            if "frontier" in kept:
                outcome.frontier = int(kept["frontier"])
            _extend(runs, vectors, kept, scored=columns is not None)
        self._finish(runs, outcome, version)
        return outcome

    def _fits(self, definition: str, version: Version | None) -> bool:
        """Whether vectors can be scored: also those of a former definition that only had another learner."""
        if definition == self._hash:
            return True
        return version is not None and version.selection is ALL and definition == version.model.hash

    def _columns(self, former: str, version: Version | None, wide: ModelDefinition | None) -> ModelDefinition | None:
        """The model whose columns vectors are read with; None where the version cannot score them.

        Parameters
        ----------
        former
            The definition whose vectors they hold behind their own, or nothing.
        wide
            The model with the columns of the version, if its own ones do not hold those.
        """
        if version is None:
            return None
        if version.selection is not None:
            return self._model
        return wide if version.model.hash == former else None

    def _fresh(self, payload: bytes, properties: dict[str, str], columns: ModelDefinition) -> Vectors | None:
        """The vectors of a message that count; None where its owner has been superseded."""
        epoch = int(properties.get("epoch", 0))
        if not self._accepted.mark(epoch):
            return None
        if not payload:
            return _nothing(columns)
        vectors = decode_vectors(columns, payload)
        taken = self._accepted.take(epoch, vectors.positions)
        return vectors if len(taken) == len(vectors) else vectors.take(taken)

    def _finish(self, runs: list[_Run], outcome: Outcome, version: Version | None) -> None:
        parts = [part for run in runs if run.scored for part in run.parts]
        size = sum(len(part) for part in parts)
        outcome.unscored = sum(run.size for run in runs if not run.scored)
        predictions = None
        if version is not None and size:
            predictions = _predict(version, version.selection or behind(self._model, version.model), parts)
            outcome.predictions = size
        start = 0
        for run in runs:
            if predictions is None or not run.scored or not run.size:
                if _tells(run.properties):
                    outcome.outputs.append(Output(b"", run.properties))
                continue
            assert version is not None
            part = _part(predictions, start, start + run.size)
            properties = {**run.properties, "definition": version.model.hash}
            outcome.outputs.append(Output(encode_predictions(version.model, part), properties))
            start += run.size


def _tells(properties: dict[str, str]) -> bool:
    return "marker" in properties or "frontier" in properties


def _extend(runs: list[_Run], vectors: Vectors, properties: dict[str, str], scored: bool) -> None:
    last = runs[-1] if runs else None
    same = last is not None and all(
        last.properties.get(name) == properties.get(name) for name in ("epoch", "partition", "marker")
    )
    # What tells how far the vectors are has none of its own.
    same = same and last is not None and (last.scored == scored or not len(vectors))
    if last is None or not same or last.size + len(vectors) > MAX_ROWS:
        runs.append(last := _Run(dict(properties), scored))
    # A frontier holds once all before it is there: the last one is the run's.
    last.properties.update(properties)
    if len(vectors):
        last.parts.append(vectors)
        last.size += len(vectors)


def _nothing(model: ModelDefinition) -> Vectors:
    return Vectors([], np.empty(0, np.int64), [], np.empty((0, 0, 3), np.int64), np.empty((0, 0)), [])


def _predict(version: Version, selection: Selection, parts: list[Vectors]) -> Predictions:
    numbers = np.concatenate([part.numbers for part in parts])
    categories = [
        [value for part in parts for value in part.categories[place]] for place in range(len(parts[0].categories))
    ]
    scores = version.score_vectors(selection, numbers, categories)
    winners = scores.winners
    return Predictions(
        [own for part in parts for own in part.ids],
        np.concatenate([part.times for part in parts]),
        [own for part in parts for own in part.positions],
        np.full(len(numbers), version.examples, np.int64),
        scores.score,
        None if winners is None else [version.classes[winner] for winner in winners],
        selection.numbers_of(numbers),
        selection.categories_of(categories),
    )


def _part(whole: Predictions, first: int, last: int) -> Predictions:
    return Predictions(
        whole.ids[first:last],
        whole.times[first:last],
        whole.positions[first:last],
        whole.versions[first:last],
        whole.scores[first:last],
        None if whole.labels is None else whole.labels[first:last],
        whole.numbers[first:last],
        [column[first:last] for column in whole.categories],
    )
