"""Comparison of replayed values with logged ones."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from headrace.history.causes import Causes
from headrace.history.differences import Columns, Difference, scores_differ
from headrace.history.replay import Replay, Replayed
from headrace.history.versions import Rescored
from headrace.wire.tables import Predictions


class Comparison:
    """Finds the differences in the results of a replay."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay
        self.model = replay.model.name
        self.columns = Columns(replay.model, replay.assembler.reads)

    def of_vectors(self, replayed: Replayed) -> Iterator[Difference]:
        """Yield the differences between a pass and what was logged, each with its cause."""
        logged, recomputed = replayed.logged.vectors, replayed.again
        features = self.columns.differ(
            logged.numbers, logged.categories, recomputed.made.numbers, recomputed.made.categories
        )
        features[~recomputed.known] = False
        scores = _scores_differ(replayed)
        vectors: npt.NDArray[np.bool_] = np.asarray(features.any(axis=1))
        causes = Causes(self._replay, self.columns, replayed, np.flatnonzero(vectors))
        for row in np.flatnonzero(vectors | scores | ~recomputed.known).tolist():
            if not recomputed.known[row]:
                yield self._difference(
                    logged.ids[row], logged.times[row], "vector", None, recomputed=None, reason=causes.lost(row)
                )
            for feature in np.flatnonzero(features[row]).tolist():
                yield self._difference(
                    logged.ids[row],
                    logged.times[row],
                    self.columns.names[feature],
                    self.columns.value(logged.numbers, logged.categories, row, feature),
                    recomputed=self.columns.value(recomputed.made.numbers, recomputed.made.categories, row, feature),
                    reason=causes.why(row, feature),
                )
            if scores[row]:
                version = int(replayed.predictions.versions[row])
                reason = "its vector differs" if vectors[row] else _version(replayed.scores, version)
                yield from self._score(replayed, row, reason)

    def of_requests(self, predictions: Predictions, rescored: Rescored) -> Iterator[Difference]:
        """Yield the scores of requests that differ from what was answered."""
        differ = scores_differ(predictions.scores, rescored.scores) & ~np.isnan(rescored.scores)
        for row in np.flatnonzero(differ).tolist():
            reason = _version(rescored, predictions.versions[row])
            before, now = float(predictions.scores[row]), float(rescored.scores[row])
            event = predictions.ids[row], predictions.times[row]
            yield self._difference(*event, "score", before, recomputed=now, reason=reason)

    def _score(self, replayed: Replayed, row: int, reason: str) -> Iterator[Difference]:
        vectors, logged, rescored = replayed.logged.vectors, replayed.predictions, replayed.scores
        event = vectors.ids[row], vectors.times[row]
        if scores_differ(logged.scores[row : row + 1], rescored.scores[row : row + 1]).any():
            yield self._difference(
                *event, "score", float(logged.scores[row]), recomputed=float(rescored.scores[row]), reason=reason
            )
        if logged.labels[row] != rescored.labels[row]:
            yield self._difference(*event, "label", logged.labels[row], recomputed=rescored.labels[row], reason=reason)

    def _difference(
        self,
        event_id: str,
        time: np.int64,
        part: str,
        logged: float | str | None,
        *,
        recomputed: float | str | None,
        reason: str,
    ) -> Difference:
        return Difference(self.model, event_id, int(time), part, logged, recomputed, reason)


def _scores_differ(replayed: Replayed) -> npt.NDArray[np.bool_]:
    logged, rescored = replayed.predictions, replayed.scores
    labels = np.array([one != two for one, two in zip(logged.labels, rescored.labels, strict=True)], bool)
    # Without its version there is nothing to compare a score with; missing versions are counted elsewhere.
    differ: npt.NDArray[np.bool_] = (scores_differ(logged.scores, rescored.scores) | labels) & ~np.isnan(
        rescored.scores
    )
    return differ


def _version(rescored: Rescored, version: int) -> str:
    source = "learned again from the examples log" if version in rescored.relearned else "on the models topic"
    return f"other version: {version:,}, as it is {source}, scores otherwise"
