"""The names of a loop's topics."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.definition import StreamDefinition
from headrace.watermark import ENDED

#: Property of a message without an event: the producer's history ends here. It is not a time: more may follow.
END = "headrace-end"

#: Watermark that services report once all of an ended history has passed through them.
END_OF_HISTORY = ENDED

#: Property of a message without content: its arrival lets the new owner of the partition take over.
WAKE = "headrace-wake"

#: Property of an event: the call that sent it, which waits for the decision of its partition's owner.
CALL = "headrace-call"


@dataclass(frozen=True)
class Topics:
    """Topic names of one loop in one namespace.

    Examples
    --------
    >>> Topics("flights").stream("departed")
    'persistent://public/default/flights-departed'
    """

    loop: str
    namespace: str = "public/default"

    def stream(self, stream: str) -> str:
        """Return the topic of a stream's events, one JSON object per message."""
        return self._name(stream)

    def partition(self, stream: StreamDefinition, partition: int) -> str:
        """Return the physical topic of a partition, by Pulsar's naming rule."""
        return self.partitions_of(self.stream(stream.name), stream.partitions)[partition]

    @staticmethod
    def partitions_of(topic: str, partitions: int) -> tuple[str, ...]:
        """Return the physical topics of a topic with this many partitions."""
        return tuple(f"{topic}-partition-{number}" for number in range(partitions)) if partitions > 1 else (topic,)

    def features(self, model: str) -> str:
        """Return the topic of a model's vectors."""
        return self._name(f"{model}-features")

    def predictions(self, model: str) -> str:
        """Return the topic of the predictions served for a model, each with its vector."""
        return self._name(f"{model}-predictions")

    def examples(self, model: str) -> str:
        """Return the topic of a model's examples log: its training set."""
        return self._name(f"{model}-examples")

    @property
    def models(self) -> str:
        """The topic of the versions of all models."""
        return self._name("models")

    @property
    def skips(self) -> str:
        """The topic of the examples that models leave out."""
        return self._name("skips")

    @property
    def dead_letters(self) -> str:
        """The topic of messages that could not be processed, with their reasons."""
        return self._name("dead-letters")

    def _name(self, name: str) -> str:
        return f"persistent://{self.namespace}/{self.loop}-{name}"
