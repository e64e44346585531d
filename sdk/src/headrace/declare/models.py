"""Models: named predictors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeAlias

from headrace.declare.declaration import Declaration
from headrace.declare.durations import Duration, Retention
from headrace.declare.expressions import Expression, Selection
from headrace.declare.labels import Label
from headrace.declare.streams import Stream
from headrace.declare.views import Row, View

if TYPE_CHECKING:
    from river.base import Estimator

#: A function without parameters that makes a new River estimator.
Learner: TypeAlias = "Callable[[], Estimator]"

#: Where the vectors of a model come from.
Vectors: TypeAlias = Literal["stream", "requests"]

#: The types that a model accepts as features. To a type checker, ``weekday`` of a bare ``datetime`` is a method.
Feature: TypeAlias = Expression | Selection | View | Row | float | str | bool | datetime | Callable[[], int] | None


class Model(Declaration):
    """A named predictor: what it predicts on, from which features, and how it learns.

    Parameters
    ----------
    name
        The name of the model.
    on
        The stream whose events it predicts on.
    label
        The label that it predicts.
    features
        Columns of `on`, expressions of these, and views.
    learner
        A function that makes the River pipeline: ``lambda: StandardScaler() | LogisticRegression()``.
    vectors
        Where its vectors come from: every event of the stream, or the requests that name an event.
    max_delay
        How long (wall clock) a vector waits at most until its views are complete; by default forever.
    publish_every
        The number of examples after which a version is published.
    publish_after
        How long (wall clock) after a version the next one is published at the latest, if there are new examples.
    score_from
        The event time from which metrics count, as a datetime or ISO text; by default the first.
    waiting_bytes
        How much of the store its questions that wait for labels may take, and, separately, labels that wait for
        questions. When it is full, reading pauses until some are settled: they stay on their topic, and nothing is
        lost.
    retention
        How long (wall clock) the broker keeps its vectors and predictions, or ``"forever"``; by default as
        long as the events of its stream.
    examples_retention
        How long the broker keeps its examples, which are its training set; by default forever.
    takeover
        After a change of the model, its former version answers until the new definition has learned this many examples;
        by default as many as the former one has learned, or all that are kept.
    was
        Its previous name, if it was renamed: its state is kept under the old name.
    """

    kind = "model"
    renamed_options = MappingProxyType({"wait": "max_delay", "publish_seconds": "publish_after"})

    def __init__(
        self,
        name: str | None = None,
        *,
        on: type[Stream],
        label: Label,
        features: Sequence[Feature],
        learner: Learner,
        vectors: Vectors = "stream",
        max_delay: Duration | None = None,
        publish_every: int = 5_000,
        publish_after: Duration | None = None,
        score_from: datetime | str | None = None,
        waiting_bytes: int = 2**30,
        retention: Retention | None = None,
        examples_retention: Retention = "forever",
        takeover: int | None = None,
        was: str | None = None,
    ) -> None:
        super().__init__(name, was)
        self.on = on
        self.label = label
        self.features = tuple(features) if isinstance(features, Iterable) else (features,)
        # Resolved now, so that a mistake in a whole view is reported at this line.
        self.expressions = _expressions(self.features)
        self.learner = learner
        self.vectors = vectors
        self.max_delay = max_delay
        self.publish_every = publish_every
        self.publish_after = publish_after
        self.score_from = score_from
        self.waiting_bytes = waiting_bytes
        self.retention = retention
        self.examples_retention = examples_retention
        self.takeover = takeover


def _expressions(features: tuple[object, ...]) -> tuple[Expression, ...]:
    """Return the features one by one, without values that are not features."""
    expressions: list[Expression] = []
    for feature in features:
        if isinstance(feature, View | Row):
            expressions.extend(feature.all.expressions)
        elif isinstance(feature, Selection):
            expressions.extend(feature.expressions)
        elif isinstance(feature, Expression):
            expressions.append(feature)
    return tuple(expressions)
