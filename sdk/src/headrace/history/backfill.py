"""Backfill: the services rebuild state that the store has lost, from what the logs hold.

The logs show what has been written: the newest epoch, the last vector and the last dead letter of each partition, the
last example of each model. With that the store's state is reset, and outputs are muted up to that point. The owner of
each partition then folds its whole log, with the code that always folds it, and emits what has not been written yet.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulsar
import redis

from headrace.definition import LoopDefinition, ModelDefinition, StreamDefinition
from headrace.engine.kernel.join import Rule
from headrace.engine.kernel.partition import PartitionId
from headrace.errors import HeadraceError, InvalidRequest
from headrace.history.outputs import OnProgress, Outputs, Retained, read_outputs
from headrace.runtime.pulsar.producer import wake
from headrace.runtime.redis.pairs import FormerRead, JoinState, PairStore
from headrace.runtime.redis.partitions import PartitionStore, view_names
from headrace.runtime.redis.rows import RowStore
from headrace.wire.position import START, Position
from headrace.wire.topics import Topics
from headrace.wording import format_span


class StateIsThere(InvalidRequest):
    """The store has not lost its state: starting over would only cost time."""

    def __init__(self, loop: str) -> None:
        cure = "use --again to rebuild its rows and pairs all the same"
        HeadraceError.__init__(self, f"the store has lost nothing of {loop}; {cure}")


@dataclass(frozen=True)
class Begun:
    """The work that the services have been given.

    Attributes
    ----------
    shortages
        Logs that do not reach back far enough, in words.
    """

    partitions: tuple[PartitionId, ...]
    shortages: tuple[str, ...]


class Backfill:
    """Makes the services rebuild a loop's rows and waiting pairs."""

    def __init__(self, loop: LoopDefinition, client: pulsar.Client, store: redis.Redis, namespace: str) -> None:
        self._loop = loop
        self._client = client
        self._topics = Topics(loop.name, namespace)
        self._rows = RowStore(store, loop)
        self._partitions = PartitionStore(store, loop.name)
        self._pairs = {
            model.name: PairStore(store, loop.name, model.name, Rule.of(loop, model)) for model in loop.models
        }

    def begin(self, on_progress: OnProgress, again: bool = False) -> Begun:
        """Find out what has been written, and have the rest rebuilt.

        Parameters
        ----------
        on_progress
            Called with each topic that is read, and the number of messages.
        again
            Begin even if nothing is lost: existing state then counts as lost.

        Raises
        ------
        StateIsThere
            Nothing is lost.
        Unavailable
            The broker or the store does not answer.
        """
        unknown = self._unknown()
        if not (again or unknown):
            raise StateIsThere(self._loop.name)
        outputs = read_outputs(self._client, self._loop, self._topics, on_progress)
        if not (again or any(_has_begun(unit, outputs) for unit in unknown)):
            raise StateIsThere(self._loop.name)
        # Each partition is reset in one step in the store, and its owner continues until then: an interruption at any
        # moment leaves no partition without its rows.
        oldest_epochs = {partition: self._begin_partition(partition, outputs) for partition in outputs.epochs}
        for model in self._loop.models:
            _, epoch = outputs.examples[model.name]
            self._pairs[model.name].restart(epoch, self._join_state(model, outputs))
        self._rows.drop_older(oldest_epochs)
        for topic in outputs.topics:
            wake(self._client, topic)
        return Begun(tuple(outputs.epochs), tuple(self._shortages(outputs)))

    def remaining(self, begun: Begun) -> dict[PartitionId, tuple[Position, Position]]:
        """Return the partitions that are not rebuilt yet: how far each one is, and how far it has to go."""
        return self._partitions.rebuilding(begun.partitions)

    def _begin_partition(self, partition: PartitionId, outputs: Outputs) -> int:
        """Have a partition folded again; return the first epoch whose rows count."""
        goal, views = outputs.retained[partition].end, view_names(self._loop, partition.stream)
        out, beyond = outputs.progress[partition], outputs.epochs[partition]
        # Each model learns how far there are vectors, since any of them may have been left out meanwhile.
        return self._partitions.restart(partition, beyond, out, goal, views=views, models=(), lost=True)

    def _join_state(self, model: ModelDefinition, outputs: Outputs) -> JoinState:
        """Return the state from which a model's join begins again."""
        sequence, _ = outputs.examples[model.name]
        state = JoinState(
            definition=model.hash,
            examples=model.examples_hash,
            sequence=sequence,
            goals=self._goals(model.name, outputs),
        )
        if model.vectors == "requests":
            return state  # they are not retained
        features = self._topics.features(model.name)
        former = {topic: last for topic, last in outputs.former.items() if _base(topic) == features}
        if former:
            # Their questions have no vectors of this definition: they are made from the events, as after the change.
            state.remake = True
            state.remake_until = {
                topic: FormerRead(last.event, last.position.to_bytes()) for topic, last in former.items()
            }
            state.accepted = {topic: (last.epoch, last.event) for topic, last in former.items()}
            state.positions = {topic: last.position.to_bytes() for topic, last in former.items()}
            state.reread = {topic: end for topic, end in state.goals.items() if _base(topic) != features}
        return state

    def _unknown(self) -> list[PartitionId | str]:
        """Return the partitions, and the models (for their joins), of which the store knows nothing."""
        all_partitions = [
            PartitionId(stream.name, index) for stream in self._loop.streams for index in range(stream.partitions)
        ]
        partitions = [partition for partition in all_partitions if not self._partitions.known(partition)]
        return [*partitions, *(name for name, pairs in self._pairs.items() if not pairs.known())]

    def _goals(self, model: str, outputs: Outputs) -> dict[str, bytes]:
        definition = self._loop.model(model)
        bases = (self._topics.features(model), self._topics.stream(self._loop.label(definition.label).stream))
        return {topic: end.to_bytes() for topic, end in outputs.ends.items() if _base(topic) in bases and end > START}

    def _shortages(self, outputs: Outputs) -> list[str]:
        shortages = [
            self._shortage(self._loop.stream(partition.stream), partition, extent)
            for partition, extent in outputs.retained.items()
        ]
        return [shortage for shortage in shortages if shortage]

    def _shortage(self, stream: StreamDefinition, partition: PartitionId, extent: Retained) -> str:
        reach = self._reach(stream)
        if extent.oldest is None or extent.newest is None or extent.newest - extent.oldest >= reach:
            return ""
        return (
            f"{partition.stream}-{partition.partition} reaches back "
            f"{format_span((extent.newest - extent.oldest) / 1e6)}, rows and pairs {format_span(reach / 1e6)}"
        )

    def _reach(self, stream: StreamDefinition) -> int:
        """Return how far back rows and pairs reach that are made from a stream (µs)."""
        windows = [
            window.size + view.keep
            for view in self._loop.views
            if view.stream == stream.name
            for window in view.windows
        ]
        waits = [label.within for label in self._loop.labels if stream.name in (label.stream, label.of)]
        return max([0, *windows, *waits]) + stream.lateness


def _base(topic: str) -> str:
    """Return the name of a topic without its partition."""
    return topic.partition("-partition-")[0]


def _has_begun(unit: PartitionId | str, outputs: Outputs) -> bool:
    """Return whether there must have been a state: events came, or examples were written."""
    if isinstance(unit, str):
        sequence, _ = outputs.examples[unit]
        return sequence > 0
    return unit in outputs.retained and outputs.retained[unit].oldest is not None
