"""The publication of what a fold worker has done: vectors and their progress to readers, partitions to the store."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.engine.former import Answering
from headrace.engine.kernel.fold import Fold, MadeVectors
from headrace.runtime.redis.decisions import encode as encode_decisions
from headrace.runtime.redis.partitions import OwnerReport, PartitionStore
from headrace.runtime.redis.status import Heartbeat
from headrace.wire.position import START, Position
from headrace_feature.owned_partition import OwnedPartition
from headrace_feature.ownership import Ownership
from headrace_feature.pulsar.outputs import OutputReached, VectorOutputs


class ProgressPublisher:
    """Publishes vectors, the progress of each model's vectors, and the progress of each owned partition."""

    def __init__(
        self, fold: Fold, store: PartitionStore, outputs: VectorOutputs, ownership: Ownership, *, heartbeat: Heartbeat
    ) -> None:
        self._fold = fold
        self._store = store
        self._outputs = outputs
        self._ownership = ownership
        self._heartbeat = heartbeat

    def send(self, made: Sequence[MadeVectors], answering: Answering) -> None:
        """Send vectors; they are durable after the next flush of the outputs."""
        for vectors in made:
            owned = self._ownership.partitions[vectors.source]
            reached = self._reached(owned, vectors.model.name)
            self._outputs.send(vectors, reached, answering.hash(vectors.model.name))
            owned.published[vectors.model.name] = reached
            self._heartbeat.count("vectors", len(vectors.ids))
            self._heartbeat.count("read_beyond_keep", vectors.assembled.behind)

    def record_emitted(self, made: Sequence[MadeVectors]) -> None:
        """Record that vectors have been written, so that the next owner does not write them again."""
        for source in {vectors.source for vectors in made}:
            owned = self._ownership.partitions[source]
            self._store.record_emitted(source, owned.epoch, owned.state.progress)

    def publish(self) -> None:
        """Publish the progress of every partition that moved, and save it."""
        # Flush once for all: this bounds the speed of workers that wait for each other's progress.
        changes = [self._publish_reached(owned) for owned in self._ownership.partitions.values()]
        if any(changes):
            self._outputs.flush()
        for owned in self._ownership.partitions.values():
            self._save(owned)

    def _publish_reached(self, owned: OwnedPartition) -> bool:
        reached = {model.name: self._reached(owned, model.name) for model in owned.state.models}
        models = [model for model in owned.state.models if owned.published.get(model.name) != reached[model.name]]
        for model in models:
            self._outputs.reached(model, owned.id, reached[model.name])
            owned.published[model.name] = reached[model.name]
        return bool(models)

    def _reached(self, owned: OwnedPartition, model: str) -> OutputReached:
        return OutputReached(owned.state.release_watermark_out(model), owned.state.watermark_out(model))

    def _save(self, owned: OwnedPartition) -> None:
        """Save the progress of a partition if anything about it is new."""
        state = owned.state
        done, views = Position(*state.progress.done), self._ownership.views(owned.id)
        reached, progress = self._fold.reached(owned.id), state.progress
        report = OwnerReport(owned.epoch, reached, done, views, progress.watermark, progress.ended)
        # The dead letters have been flushed: a later owner does not write them again.
        last_dead_letter, owned.last_dead_letter = owned.last_dead_letter, None
        if owned.saved == report and last_dead_letter is None and not owned.has_new_decisions:
            return
        state.progress.refused = max(state.progress.refused, last_dead_letter or START)
        oldest = state.forget_ids()
        self._store.save(
            owned.id,
            report.epoch,
            state.progress,
            report.reached,
            ids=state.unsaved,
            oldest=oldest,
            views=views,
            models=[model.name for model in state.models],
            most_ids=state.stream.ids,
            decisions=encode_decisions(owned.decisions) if owned.has_new_decisions else b"",
        )
        owned.has_new_decisions = False
        state.unsaved.clear()
        state.evicted.clear()
        owned.saved = report
