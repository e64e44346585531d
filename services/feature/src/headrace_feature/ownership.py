"""The ownership of partitions by a fold worker: takeover, loss, and the rebuild of rows that are missing or damaged."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import structlog

from headrace.definition import ModelDefinition
from headrace.engine.kernel.fold import Fold
from headrace.engine.kernel.partition import PartitionId, Progress, RowsId
from headrace.runtime.redis.decisions import decode as decode_decisions
from headrace.runtime.redis.partitions import OwnerReport, PartitionStore, view_names
from headrace.wire.position import Position
from headrace_feature.first_epochs import FirstEpochs
from headrace_feature.other_partitions import OtherPartitions
from headrace_feature.owned_partition import OwnedPartition
from headrace_feature.pulsar.outputs import VectorOutputs
from headrace_feature.takeover import Takeover

_log = structlog.get_logger()


class Ownership:
    """The partitions that a worker owns.

    Parameters
    ----------
    others
        What the worker knows about all other partitions.
    first_epochs
        Begins to wait for the disk when a partition has never been saved.
    wake
        Sends the owner of a partition a message so that it takes the partition over.

    Attributes
    ----------
    partitions
        The owned partitions.
    """

    def __init__(
        self,
        fold: Fold,
        store: PartitionStore,
        outputs: VectorOutputs,
        others: OtherPartitions,
        *,
        first_epochs: FirstEpochs,
        wake: Callable[[PartitionId], None],
    ) -> None:
        self._fold = fold
        self._store = store
        self._outputs = outputs
        self._others = others
        self._first_epochs = first_epochs
        self._wake = wake
        self.partitions: dict[PartitionId, OwnedPartition] = {}
        self._views: dict[str, frozenset[str]] = {}
        self.name_views()

    def name_views(self) -> None:
        """Note the views of the fold, of which there are fewer once former definitions stop answering."""
        self._views = {stream.name: view_names(self._fold.loop, stream.name) for stream in self._fold.loop.streams}

    def take_over(self, partition: PartitionId) -> Takeover:
        """Become the owner of a partition.

        Raises
        ------
        CorruptState
            The store has lost the partition's state.
        """
        self.give_up(partition)
        models = self._models(partition)
        if not self._store.known(partition):
            self._outputs.refuse_unknown(partition, models)
        epoch, progress, ids, views, known, oldest_epoch, decisions = self._store.take_over(partition)
        if views is None:
            self._first_epochs.begin()
        elif self._lacks_a_view(partition, views):
            epoch, progress, ids = self._restart(partition, epoch, progress, known)
        emitted = Position(*progress.emitted).to_bytes()
        missed = {model.name: emitted for model in models if views is not None and model.name not in known}
        self._outputs.open(partition, epoch, models, missed)
        state = self._fold.own(partition, progress, ids)
        for _, goal in self._store.rebuilding([partition]).values():
            state.expect((goal.ledger, goal.entry))
        self.partitions[partition] = OwnedPartition(partition, state, epoch, oldest_epoch, decode_decisions(decisions))
        _log.info("partition_taken_over", partition=str(partition), epoch=epoch, done=str(progress.done))
        return Takeover(epoch, Position(*progress.done))

    def owns(self, partition: PartitionId, epoch: int) -> bool:
        """Return whether the worker has owned the partition without a break since it took it over with this epoch."""
        owned = self.partitions.get(partition)
        return owned is not None and owned.epoch == epoch

    def give_up(self, partition: PartitionId) -> None:
        """Drop the state of a partition, if the worker owns it."""
        self._others.forget(partition)
        if self.partitions.pop(partition, None) is not None:
            self._fold.disown(partition)

    def give_up_all(self) -> None:
        """Drop the state of all partitions."""
        for partition in tuple(self.partitions):
            self.give_up(partition)

    def give_up_lost(self, reports: Mapping[PartitionId, OwnerReport | None]) -> None:
        """Give up the partitions that another worker has taken over."""
        for partition, owned in tuple(self.partitions.items()):
            report = reports.get(partition)
            if report is None or report.epoch != owned.epoch:
                _log.warning("partition_lost", partition=str(partition), epoch=owned.epoch)
                self.give_up(partition)

    def owner_of(self, rows: RowsId) -> OwnedPartition:
        """Return the owned partition that rows are made from."""
        return self.partitions[self.source_of(rows)]

    def source_of(self, rows: RowsId) -> PartitionId:
        """Return the partition that rows are made from."""
        return PartitionId(self._fold.loop.view(rows.view).stream, rows.partition)

    def views(self, partition: PartitionId) -> frozenset[str]:
        """Return the views that fold a partition, as the store names them."""
        return self._views[partition.stream]

    def lacks_a_part(self, partition: PartitionId) -> bool:
        """Return whether a view or a model is new, so that the partition must be taken over even without an event."""
        parts = self._store.parts(partition)
        if parts is None:
            return False
        views, models = parts
        return self._lacks_a_view(partition, views) or not {model.name for model in self._models(partition)} <= models

    def rebuild(self, partition: PartitionId) -> None:
        """Have a partition with a damaged row folded again from the beginning of its log, by any owner."""
        rebuilds = self._store.rebuilding([partition])
        takeover = self._store.take_over(partition)
        done = Position(*takeover.progress.done)
        goal = max(done, rebuilds[partition][1]) if partition in rebuilds else done
        restart = takeover.progress.restarted()
        views, models = self.views(partition), takeover.models
        self._store.restart(partition, takeover.epoch, restart, goal, views=views, models=models, lost=True)
        _log.warning("folding_again", partition=str(partition), up_to=str(goal))
        self.give_up(partition)
        self._wake(partition)

    def _models(self, partition: PartitionId) -> list[ModelDefinition]:
        return [model for model in self._fold.models if model.stream == partition.stream]

    def _lacks_a_view(self, partition: PartitionId, views: frozenset[str]) -> bool:
        return not self.views(partition) <= views

    def _restart(
        self, partition: PartitionId, epoch: int, progress: Progress, models: frozenset[str]
    ) -> tuple[int, Progress, dict[str, int]]:
        """Restart a partition whose views are new or changed: fold its log from the beginning before they serve."""
        goal, restart = Position(*progress.done), progress.restarted()
        epoch = self._store.restart(partition, epoch, restart, goal, views=self.views(partition), models=models)
        _log.warning("view_rebuild_started", partition=str(partition), up_to=str(goal))
        return epoch, restart, {}
