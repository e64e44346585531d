"""Requests and results of the scorer's clients, and the messages that carry them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import overload

from headrace.client import arguments
from headrace.client.events import Event, encode, runs
from headrace.client.failures import Peer, error_of_code
from headrace.errors import HeadraceError, InvalidRequest
from headrace.v1 import features_pb2, models_pb2, scoring_pb2, vector_pb2

#: Requests in one call of a batch; the scorer accepts a few times as many.
_BATCH = 1_024

#: What errors expect of an argument.
MODEL_NAME = "the name of a model"
_REQUEST = "ScoreRequest(model, event)"


class Degradation(StrEnum):
    """A reason why an answer is less complete than it should be.

    Attributes
    ----------
    STORE_UNAVAILABLE
        The online store did not answer: the features of views were treated as missing.
    NOT_LOGGED
        The broker did not answer: the prediction was not logged.
    REBUILDING
        Rows are being rebuilt from the streams: they are incomplete.
    UNKNOWN
        A reason that this version of headrace does not know.
    """

    STORE_UNAVAILABLE = "store_unavailable"
    NOT_LOGGED = "not_logged"
    REBUILDING = "rebuilding"
    UNKNOWN = "unknown"


_DEGRADATIONS = {
    scoring_pb2.DEGRADATION_STORE_UNAVAILABLE: Degradation.STORE_UNAVAILABLE,
    scoring_pb2.DEGRADATION_NOT_LOGGED: Degradation.NOT_LOGGED,
    scoring_pb2.DEGRADATION_REBUILDING: Degradation.REBUILDING,
}


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """A request for a score, for batches and streams.

    Attributes
    ----------
    event
        The fields that the model's features and entity keys need; a mapping, or a JSON object.
    event_id
        Names the event, so that its label can find the prediction; without an id nothing is logged for learning.
    explain
        Ask for the vector as well.
    """

    model: str
    event: Event
    event_id: str = ""
    explain: bool = False

    def message(self) -> scoring_pb2.ScoreRequest:
        """Return it as a message."""
        return scoring_pb2.ScoreRequest(
            model=arguments.text("model", self.model, MODEL_NAME),
            event=encode(self.event),
            event_id=arguments.text("event_id", self.event_id, "the id as a text"),
            explain=self.explain,
        )


@dataclass(frozen=True, slots=True)
class VersionId:
    """The version that answered: a model, the hash of its definition, and the number of examples it learned."""

    model: str
    definition: str
    examples: int


@dataclass(frozen=True, slots=True)
class FeatureValue:
    """One value of a vector.

    Attributes
    ----------
    value
        A number or a text; None if it is missing.
    age_s
        Seconds from the entity's newest event in the view to the time of the vector, negative if the row is ahead of
        it; None if the value comes from the request, or the entity is unknown.
    """

    name: str
    value: float | str | None
    age_s: float | None


@dataclass(frozen=True, slots=True)
class Prediction:
    """An answer of a model.

    Attributes
    ----------
    score
        Binary: the probability of true. Regression: the value. Multiclass: the probability of `label`.
    version
        The version that answered.
    label
        Multiclass: the predicted class; None for other tasks.
    probabilities
        Multiclass: every class with its probability; empty for other tasks.
    vector
        The vector that the score was computed from; empty unless the request asked for it.
    degradations
        Why the answer is less complete than it should be; empty when all is well.
    """

    score: float
    version: VersionId
    label: str | None = None
    probabilities: Mapping[str, float] = field(default_factory=dict)
    vector: tuple[FeatureValue, ...] = ()
    degradations: tuple[Degradation, ...] = ()


@dataclass(frozen=True, slots=True)
class ScoredBatch(Sequence[Prediction | HeadraceError]):
    """The answers to a batch, in the order of its requests; a request that failed has its error in its place."""

    results: tuple[Prediction | HeadraceError, ...]

    @property
    def errors(self) -> Mapping[int, HeadraceError]:
        """The errors, by the index of the request."""
        return {index: result for index, result in enumerate(self.results) if isinstance(result, HeadraceError)}

    def predictions(self) -> tuple[Prediction, ...]:
        """Return all answers.

        Raises
        ------
        HeadraceError
            A request failed: the first error.
        """
        for error in self.errors.values():
            raise error
        return tuple(result for result in self.results if isinstance(result, Prediction))

    def __len__(self) -> int:
        return len(self.results)

    def __iter__(self) -> Iterator[Prediction | HeadraceError]:
        return iter(self.results)

    @overload
    def __getitem__(self, index: int) -> Prediction | HeadraceError: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Prediction | HeadraceError, ...]: ...
    def __getitem__(self, index: int | slice) -> Prediction | HeadraceError | tuple[Prediction | HeadraceError, ...]:
        return self.results[index]


@dataclass(frozen=True, slots=True)
class Vector:
    """The values of a model's features; `as_of` is the time of the read (µs since the epoch)."""

    values: tuple[FeatureValue, ...]
    as_of: int


@dataclass(frozen=True, slots=True)
class Takeover:
    """The progress of a changed definition towards answering.

    Attributes
    ----------
    answering
        The hash of the definition that answers meanwhile.
    learned, needed
        Examples that the new definition has learned, and those after which it answers.
    definition
        The hash of the new definition; empty if the scorer does not say.
    """

    answering: str
    learned: int
    needed: int
    definition: str


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """A model of a loop.

    Attributes
    ----------
    definition
        The hash of the definition that answers; before the first version, that of the loop's own definition.
    examples
        Examples learned by the version that answers; None before the first.
    takeover
        Present while a version of the previous definition answers, until this one has learned enough.
    """

    name: str
    task: str
    definition: str
    examples: int | None
    takeover: Takeover | None


@dataclass(frozen=True, slots=True)
class Feature:
    """A feature of a model; its type is "float" or "string"."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """A model with its learner, features and quality.

    Attributes
    ----------
    classes
        Binary and multiclass: the classes of the version that answers.
    metrics
        Metrics of the version that answers, as of the question, by name; NaN if a metric cannot be computed.
    """

    summary: ModelSummary
    learner: str
    features: tuple[Feature, ...]
    classes: tuple[str, ...]
    metrics: Mapping[str, float]


def batches_of(requests: Iterable[ScoreRequest]) -> Iterator[scoring_pb2.ScoreBatchRequest]:
    """Yield the messages of a batch: as many as its size needs."""
    check_requests(requests)
    messages = [message_of(request) for request in requests]
    for run in runs((message.ByteSize() for message in messages), _BATCH):
        yield scoring_pb2.ScoreBatchRequest(requests=messages[run])


def check_requests(requests: object) -> None:
    """Refuse a single request where several are expected."""
    arguments.check_many("requests", requests, f"several of {_REQUEST}")


def message_of(request: ScoreRequest) -> scoring_pb2.ScoreRequest:
    """Return the message of one request of a batch or a stream."""
    if not isinstance(request, ScoreRequest):
        raise InvalidRequest("a request", f"of type {type(request).__name__}", _REQUEST)
    return request.message()


def vector_request(model: str, event: Event, as_of: int | datetime | None) -> features_pb2.GetVectorRequest:
    """Return the message that asks for a vector."""
    return features_pb2.GetVectorRequest(
        model=arguments.text("model", model, MODEL_NAME),
        event=encode(event),
        as_of=None if as_of is None else arguments.moment("as_of", as_of),
    )


def prediction_of(response: scoring_pb2.ScoreResponse) -> Prediction:
    """Return the answer in a message."""
    version = response.version
    return Prediction(
        score=response.score,
        version=VersionId(version.model, version.definition, version.examples),
        label=response.label or None,
        probabilities=dict(response.probabilities),
        vector=_values(response.vector),
        degradations=tuple(_DEGRADATIONS.get(number, Degradation.UNKNOWN) for number in response.degradations),
    )


def outcome_of(result: scoring_pb2.ScoreResult, peer: Peer) -> Prediction | HeadraceError:
    """Return the answer to a request of a batch or a stream, or its error."""
    if result.HasField("error"):
        return error_of_code(result.error.code, result.error.message, peer)
    return prediction_of(result.response)


def vector_of(response: features_pb2.GetVectorResponse) -> Vector:
    """Return the vector in a message."""
    return Vector(_values(response.vector), response.as_of)


def summary_of(model: models_pb2.ModelSummary) -> ModelSummary:
    """Return the summary in a message."""
    takeover = model.takeover
    return ModelSummary(
        name=model.name,
        task=model.task,
        definition=model.definition,
        examples=model.examples if model.HasField("examples") else None,
        takeover=Takeover(takeover.answering, takeover.learned, takeover.needed, takeover.definition)
        if model.HasField("takeover")
        else None,
    )


def description_of(model: models_pb2.DescribeModelResponse) -> ModelDescription:
    """Return the description in a message."""
    return ModelDescription(
        summary=summary_of(model.summary),
        learner=model.learner,
        features=tuple(Feature(feature.name, feature.type) for feature in model.features),
        classes=tuple(model.classes),
        metrics=dict(model.metrics),
    )


def _values(vector: Iterable[vector_pb2.Value]) -> tuple[FeatureValue, ...]:
    return tuple(FeatureValue(value.name, _plain(value), _age_s(value)) for value in vector)


def _plain(value: vector_pb2.Value) -> float | str | None:
    kind = value.WhichOneof("value")
    return None if kind is None else getattr(value, kind)


def _age_s(value: vector_pb2.Value) -> float | None:
    return value.age / 1e6 if value.HasField("age") else None
