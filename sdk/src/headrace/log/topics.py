"""The names of a loop's topics."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.definition import StreamDefinition
from headrace.frontier import ENDED

#: Property of a message without an event: the producer's history ends here. It is no time: more may follow.
END = "headrace-end"

#: What services report as their frontier once all of a history that has ended went through them.
END_OF_HISTORY = ENDED

#: Property of a message that says nothing: it is for who takes its partition over when it gets one.
WAKE = "headrace-wake"

#: Property of an event: the call that sent it, which wants to know what its partition's owner decided.
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
        """The events of a stream, one JSON object a message."""
        return self._name(stream)

    def partition(self, stream: StreamDefinition, partition: int) -> str:
        """The physical topic of a partition, by Pulsar's rule of names."""
        return self.partitions_of(self.stream(stream.name), stream.partitions)[partition]

    @staticmethod
    def partitions_of(topic: str, partitions: int) -> tuple[str, ...]:
        """The physical topics of a topic with so many partitions."""
        return tuple(f"{topic}-partition-{number}" for number in range(partitions)) if partitions > 1 else (topic,)

    def features(self, model: str) -> str:
        """The vectors of a model."""
        return self._name(f"{model}-features")

    def predictions(self, model: str) -> str:
        """The predictions served for a model, each with its vector."""
        return self._name(f"{model}-predictions")

    def examples(self, model: str) -> str:
        """The examples log of a model: its training set."""
        return self._name(f"{model}-examples")

    @property
    def models(self) -> str:
        """The versions of all models."""
        return self._name("models")

    @property
    def skips(self) -> str:
        """The examples that models leave out."""
        return self._name("skips")

    @property
    def dead_letters(self) -> str:
        """What could not be processed, with its reason."""
        return self._name("dead-letters")

    def _name(self, name: str) -> str:
        return f"persistent://{self.namespace}/{self.loop}-{name}"
