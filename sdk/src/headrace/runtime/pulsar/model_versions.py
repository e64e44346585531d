"""The versions of models on the models topic."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pulsar
from google.protobuf.message import DecodeError

from headrace.definition import ModelDefinition
from headrace.errors import Unreadable
from headrace.runtime.pulsar.batch import Batch
from headrace.runtime.pulsar.log_reader import read_whole
from headrace.runtime.pulsar.messages import WrongMessage, opened, pass_over
from headrace.v1 import models_pb2


@dataclass(frozen=True)
class Newest:
    """The newest version of a model's definition on the models topic.

    Attributes
    ----------
    examples
        Number of examples that it has learned, 0 without a version.
    is_last
        Whether it is last on the topic: otherwise compaction would keep an older one.
    taken_over
        Whether it answers in place of the definition before it.
    former
        The newest version of the definition before it, None if there is none.
    others
        The hashes of all other definitions of the model.
    """

    examples: int = 0
    is_last: bool = True
    taken_over: bool = False
    former: models_pb2.ModelVersion | None = None
    others: frozenset[str] = frozenset()


@dataclass
class _Found:
    """Findings of one pass over the models topic, for one model."""

    model: ModelDefinition
    limit: int | None = None
    newest: models_pb2.ModelVersion | None = None
    last: int = 0
    former: models_pb2.ModelVersion | None = None
    others: set[str] = field(default_factory=set)

    def take(self, version: models_pb2.ModelVersion) -> None:
        if version.definition == self.model.hash:
            self.last = version.examples
            if self.limit is not None and version.examples > self.limit:
                return
            if self.newest is None or version.corrects or version.examples >= self.newest.examples:
                self.newest = version
            return
        self.others.add(version.definition)
        # A definition that never answered is not the previous one.
        if version.taken_over and version.model_definition:
            same = self.former is not None and self.former.definition == version.definition
            if not same or self.former is None or version.examples >= self.former.examples:
                self.former = version

    def result(self) -> Newest:
        newest = self.newest
        if newest is None:
            return Newest(former=self.former, others=frozenset(self.others))
        is_last = self.last == newest.examples
        return Newest(newest.examples, is_last, newest.taken_over, self.former, frozenset(self.others))


def read_version(payload: bytes) -> models_pb2.ModelVersion:
    """Read a version.

    Raises
    ------
    Unreadable
        The bytes are not a version.
    """
    try:
        version = models_pb2.ModelVersion.FromString(payload)
    except DecodeError as error:
        raise Unreadable("a version", f"it is no ModelVersion: {error}") from error
    if version.examples < 0:
        raise Unreadable("a version", f"it has learned {version.examples} examples")
    return version


def versions_in(batch: Batch, topic: str, report: Callable[[WrongMessage], None]) -> Iterator[models_pb2.ModelVersion]:
    """Yield the versions in a batch of the models topic; invalid messages are given to `report`."""
    for message in opened(_without_tombstones(batch), topic, report):
        try:
            yield read_version(message.payload)
        except Unreadable as error:
            report(WrongMessage(topic, message.position, message.payload, error))


def _without_tombstones(batch: Batch) -> Batch:
    """Drop empty messages, which say that the versions of their key are gone, and have no header."""
    return batch.only([index for index, payload in enumerate(batch.payloads) if payload])


def newest_versions(
    client: pulsar.Client, topic: str, models: Sequence[ModelDefinition], limits: Mapping[str, int] | None = None
) -> dict[str, Newest]:
    """Return, by model, the newest version of its definition, and of the one before it.

    Parameters
    ----------
    limits
        By model, how many examples a version can have learned; a version that claims more does not count.

    Raises
    ------
    Unavailable
        The broker does not answer.
    """
    newest = {model.name: _Found(model, (limits or {}).get(model.name)) for model in models}
    for batch in read_whole(client, topic, max_messages=4, compacted=True):
        for version in versions_in(batch, topic, pass_over):
            if version.model in newest:
                newest[version.model].take(version)
    return {name: entry.result() for name, entry in newest.items()}
