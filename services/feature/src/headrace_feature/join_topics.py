"""The sources of a join: the partitions of its model's features topic, and of its label's stream."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.definition import LoopDefinition, ModelDefinition
from headrace.engine.kernel.join import Watermarks
from headrace.runtime.redis.pairs import JoinState
from headrace.watermark import UNKNOWN
from headrace.wire.position import START, Position
from headrace_feature.features_topic import FeaturesTopic
from headrace_feature.join_takeover import TakenOverJoin
from headrace_feature.label_topic import LabelStream, LabelTopic


class JoinTopics:
    """The sources of one model's join, from its takeover until it is given up.

    Attributes
    ----------
    features, labels
        The sources by physical topic.
    label_stream
        The stream of the model's label.
    """

    def __init__(
        self,
        loop: LoopDefinition,
        model: ModelDefinition,
        taken: TakenOverJoin,
        *,
        features: Sequence[str],
        labels: Sequence[str],
    ) -> None:
        stream, state = loop.stream(model.stream), taken.state
        self._by_request = model.vectors == "requests"
        self.label_stream = LabelStream(loop, model)
        self.features = {name: FeaturesTopic(name, model, stream, state) for name in features}
        self.labels = {
            name: LabelTopic(name, number, self.label_stream, state, ids=taken.ids.get(number, {}))
            for number, name in enumerate(labels)
        }
        self._all: dict[str, FeaturesTopic | LabelTopic] = {**self.features, **self.labels}

    def __getitem__(self, name: str) -> FeaturesTopic | LabelTopic:
        return self._all[name]

    def positions(self) -> dict[str, Position]:
        """Return the position of each source of which something has been read."""
        return {name: topic.position for name, topic in self._all.items() if topic.position != START}

    def release_watermark(self) -> int:
        """Return the time before which every example is decided, unless an idle source resumes."""
        return min((topic.release_watermark for topic in self._all.values()), default=UNKNOWN)

    def watermarks(self) -> Watermarks:
        """Return the watermarks of the sources."""
        topics = self.labels.values()
        labels = min((topic.watermark for topic in topics), default=UNKNOWN)
        by_events = min((topic.partition.event_watermark for topic in topics), default=UNKNOWN)
        questions = min((topic.watermark for topic in self.features.values()), default=UNKNOWN)
        return Watermarks(labels if self._by_request else questions, labels, self.release_watermark(), by_events)

    def save_to(self, state: JoinState) -> None:
        """Write the progress of all sources into the state to store."""
        state.accepted, state.watermarks, state.release_watermarks, state.labels, state.upto = {}, {}, {}, {}, {}
        for topic in self._all.values():
            topic.save_to(state)
        state.positions.update({name: position.to_bytes() for name, position in self.positions().items()})

    def seen(self) -> dict[tuple[int, str], int | None]:
        """Return the ids of label events seen since `forget_seen`, by the number of their topic."""
        return {(topic.number, id): time for topic in self.labels.values() for id, time in topic.seen.items()}

    def forget_seen(self) -> None:
        """Forget which ids were seen: they have been saved."""
        for topic in self.labels.values():
            topic.seen = {}
