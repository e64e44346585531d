"""The compiled loop: `headrace.compiler` makes it from a loop file, and services read nothing else.

It is plain data: a service needs neither the user's Python nor River to run it. Times and
durations are integer microseconds; times count from the Unix epoch, in UTC.

The `name` of a view, feature, label or model identifies its state: in topics, in the store, in hashes. A rename
(``was="old"``) keeps it and sets `alias` to the new name in the loop file; `title` is the name to show (see ADR 31).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from enum import StrEnum
from functools import cached_property
from typing import TypeVar

import msgspec
from msgspec import structs

_DAY = 86_400_000_000


class FieldType(StrEnum):
    """The type of a field of an event."""

    FLOAT = "float"
    INT = "int"
    BOOL = "bool"
    STRING = "string"
    TIME = "time"


class Task(StrEnum):
    """The kind of a prediction."""

    BINARY = "binary"
    MULTICLASS = "multiclass"
    REGRESSION = "regression"


class Column(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="column"):
    """A field of the event (or a derived column of the view)."""

    name: str


class Literal(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="literal"):
    """A constant."""

    value: float | bool | str


class Aggregate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="aggregate"):
    """A window of a view, read for the entity that the event's `key` fields name.

    `key` lists fields of the *model's* stream, in the order of the view's `by`.
    """

    view: str
    aggregate: str
    window: str
    key: tuple[str, ...]


class Apply(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="apply"):
    """An operation of `headrace.engine.kernel.expressions.OPERATIONS` on expressions."""

    operation: str
    arguments: tuple[Expression, ...]
    parameters: tuple[float | str, ...] = ()


Expression = Column | Literal | Aggregate | Apply


class Field(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A field of a stream."""

    name: str
    type: FieldType
    optional: bool = False


class StreamDefinition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An event type.

    `lateness` is how far behind the newest event of its partition an event may be; `ahead` is how far
    ahead of its publish time (None: unbounded); `horizon` is how long (in event time) ids are remembered,
    at most the last `ids` of each partition; `retention` is how long (wall clock) the broker keeps the topic
    (None: forever). `time_format` is how callers and files may write times in addition to ISO 8601: a pattern of
    `strptime`, or the unit of numbers (None: microseconds, and none of January 1970); on the topic they are always µs.
    With `content_id`, the field `id` is computed from the event's other fields, and callers do not give it. `missing`
    lists the texts that, besides an empty one, stand for a missing value in CSV.
    `marks` says who may send the stream's marks ("nobody", "cli", "anyone"); a mark that decides more than
    `confirm_above` questions of a model at once (None: any number) waits for an operator.
    """

    name: str
    fields: tuple[Field, ...]
    key: str
    time: str
    id: str
    lateness: int
    horizon: int
    partitions: int = 1
    max_bytes: int = 65_536
    ahead: int | None = None
    retention: int | None = None
    ids: int = 1_000_000
    time_format: str | None = None
    content_id: bool = False
    missing: tuple[str, ...] = ()
    marks: str = "anyone"
    confirm_above: int | None = None

    @property
    def given(self) -> tuple[Field, ...]:
        """The fields that callers and files give: all except an id that is computed from the content."""
        return tuple(field for field in self.fields if not (self.content_id and field.name == self.id))

    def field(self, name: str) -> Field:
        """Return a field by its name.

        Raises
        ------
        KeyError
            The stream has no such field.
        """
        for field in self.fields:
            if field.name == name:
                return field
        raise KeyError(name)


class Window(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A read at t covers ⌊t/hop⌋·hop − size + hop ≤ time < ⌊t/resolution⌋·resolution."""

    name: str
    size: int
    hop: int


class AggregateDefinition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`operation` is one of `headrace.engine.kernel.tiles.AGGREGATES`; `column` is None for count of rows."""

    name: str
    operation: str
    column: str | None


#: Separates a view's name and its hash while its former form is folded as well; no name contains it.
_FORMER = "~"


class ViewDefinition(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Aggregates over windows of one stream for one entity.

    `keep` is how far behind its newest event a row still holds single ticks: it can be read exactly
    at any time that is not older. `expire` is how long (wall clock) after its last write a row stays
    in the store (None: see `lifetime`).
    """

    name: str
    stream: str
    by: tuple[str, ...]
    where: Expression | None
    columns: tuple[tuple[str, Expression], ...]
    aggregates: tuple[AggregateDefinition, ...]
    windows: tuple[Window, ...]
    resolution: int
    keep: int
    expire: int | None = None
    alias: str | None = None

    @property
    def title(self) -> str:
        """The name in the loop file."""
        return self.alias or self.stored

    @property
    def stored(self) -> str:
        """The name of its rows in the store."""
        return self.name.partition(_FORMER)[0]

    @property
    def hash(self) -> str:
        """The identity of what its rows hold: expiry and title do not change it."""
        return content_hash(structs.replace(self, name=self.stored, expire=None, alias=None))

    def as_former(self) -> ViewDefinition:
        """Return this view under a name of its own, beside the view that took its name: it continues with its rows."""
        return structs.replace(self, name=f"{self.stored}{_FORMER}{self.hash}")

    @property
    def longest(self) -> int:
        """The size of its longest window."""
        return max((window.size for window in self.windows), default=0)

    @property
    def lifetime(self) -> int:
        """How long a row stays after its last write; the default is twice its longest window, plus a day for clocks."""
        return 2 * self.longest + _DAY if self.expire is None else self.expire

    @property
    def entity(self) -> str:
        """The name in the store that all views of the same entity share."""
        return "+".join(self.by)


class Keep(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A share of the examples whose label has this value is kept; each one weighs one over the share."""

    label: float | str
    share: float


class LabelDefinition(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The outcome of an event of stream `of`, from an event of `stream` whose field `id` names it.

    `absent` is the outcome of an event without any by the end of `within`; None: it has none. With `correct`, the last
    outcome in time counts, otherwise the first. With `after` (µs) it is a forecast: `id` names a field that both
    streams share, and the first event that is at least `after` later has the outcome. The outcome becomes known at the
    time of its event, or at the time in the event's field `known_at`.
    """

    name: str
    stream: str
    of: str
    id: str
    value: Expression
    type: FieldType
    within: int
    absent: float | str | None = None
    correct: bool = False
    keep: tuple[Keep, ...] = ()
    after: int | None = None
    alias: str | None = None
    known_at: str | None = None

    @property
    def title(self) -> str:
        """The name in the loop file."""
        return self.alias or self.name


class FeatureDefinition(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One entry of a vector; `type` is FLOAT or STRING. A missing value is NaN, or null."""

    name: str
    type: FieldType
    value: Expression
    alias: str | None = None

    @property
    def title(self) -> str:
        """The name in the loop file."""
        return self.alias or self.name


#: The format of models' logs: entries in another format are not read.
_LOG = 3


class ModelDefinition(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """A model; `vectors` says where its vectors come from: "stream" or "requests".

    `max_delay` bounds (wall clock, µs) how long a vector waits until its views are complete; None: forever. `retention`
    is how long (wall clock, µs) the broker keeps its vectors and predictions, `examples_retention` how
    long its examples; None: forever.
    """

    name: str
    stream: str
    label: str
    task: Task
    features: tuple[FeatureDefinition, ...]
    learner: str
    vectors: str = "stream"
    max_delay: int | None = None
    publish_examples: int = 5_000
    publish_after: int | None = None
    """After this long (wall clock, µs) a version with new examples is published as well (None: never)."""
    score_from: int | None = None
    """Metrics count questions from this event time on (None: from the first)."""
    sources: str = ""
    """The hash of the views and the label that its examples are made from: the model itself holds only their names."""
    retention: int | None = None
    examples_retention: int | None = None
    entity: str = ""
    """For a forecast, the field by which an event finds the questions that it answers."""
    waiting_bytes: int = 2**30
    """The most bytes in the store of its questions that wait for labels; and as many of labels without a question."""
    alias: str | None = None
    takeover: int | None = None
    """After this many examples it replaces a former definition (None: as many as that one has learned)."""

    @property
    def title(self) -> str:
        """The name in the loop file."""
        return self.alias or self.name

    @property
    def view_names(self) -> tuple[str, ...]:
        """The names of the views that its vectors read, in order of first use."""
        nodes = (node for feature in self.features for node in walk(feature.value))
        return tuple(dict.fromkeys(node.view for node in nodes if isinstance(node, Aggregate)))

    @property
    def stored_features(self) -> tuple[FeatureDefinition, ...]:
        """Its features without their titles, which do not affect learning."""
        return tuple(structs.replace(feature, alias=None) for feature in self.features)

    @cached_property
    def examples_hash(self) -> str:
        """The identity of what the examples are made from: another learner may learn the same ones."""
        return content_hash(
            (_LOG, self.stream, self.label, self.task, self.stored_features, self.vectors, self.sources)
        )

    @cached_property
    def hash(self) -> str:
        """The identity of what the model learns from and how: publishing and waiting do not change it."""
        return content_hash((self.name, self.learner, self.examples_hash))


class LoopDefinition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A loop; a partition whose backlog has been empty for `idle` (wall clock, µs) holds nothing back.

    The `models` topic is compacted each time that `compact_models` bytes have been added;
    `dead_letters_retention` (wall clock, µs; None: forever) is how long the broker keeps dead letters, and
    `dead_letters_bytes` how many bytes of them, the newest ones.
    """

    name: str
    streams: tuple[StreamDefinition, ...]
    views: tuple[ViewDefinition, ...]
    labels: tuple[LabelDefinition, ...]
    models: tuple[ModelDefinition, ...]
    idle: int = 5_000_000
    compact_models: int = 16 * 2**20
    dead_letters_retention: int | None = None
    dead_letters_bytes: int | None = None

    def stream(self, name: str) -> StreamDefinition:
        """Return a stream by its name."""
        return _find(self.streams, name)

    def view(self, name: str) -> ViewDefinition:
        """Return a view by its name."""
        return _find(self.views, name)

    def label(self, name: str) -> LabelDefinition:
        """Return a label by its name."""
        return _find(self.labels, name)

    def model(self, name: str) -> ModelDefinition:
        """Return a model by its name."""
        return _find(self.models, name)

    def views_of(self, model: ModelDefinition) -> tuple[ViewDefinition, ...]:
        """Return the views that a model's vectors read, in order of first use."""
        return tuple(self.view(name) for name in model.view_names)


_Named = TypeVar("_Named", StreamDefinition, ViewDefinition, LabelDefinition, ModelDefinition)


def _find(items: tuple[_Named, ...], name: str) -> _Named:
    for item in items:
        if item.name == name:
            return item
    raise KeyError(name)


def titles(parts: Iterable[ViewDefinition | LabelDefinition | ModelDefinition]) -> dict[str, str]:
    """Return the titles of a loop's views, labels or models by their names."""
    return {part.name: part.title for part in parts}


def walk(expression: Expression) -> Iterator[Expression]:
    """Yield every node of an expression, parents first."""
    yield expression
    if isinstance(expression, Apply):
        for argument in expression.arguments:
            yield from walk(argument)


def content_hash(value: object) -> str:
    """Return the first 16 hex digits of the SHA-256 of a definition's canonical JSON."""
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()[:16]
