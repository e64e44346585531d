"""Compilation of a model's declaration to its definition."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import get_args

from headrace import definition
from headrace.compiler import leaks, learners
from headrace.compiler.mistakes import Mistakes, PartMistakes
from headrace.compiler.scope import Scope, Typed
from headrace.compiler.view_definition import read_view
from headrace.declare.declaration import SAME_STATE
from headrace.declare.durations import EXAMPLES, parse_duration
from headrace.declare.expressions import Expression, Selection, stored_name
from headrace.declare.fields import a_type
from headrace.declare.labels import Label
from headrace.declare.models import Model, Vectors
from headrace.declare.streams import is_stream, stream_name
from headrace.declare.views import Row, View
from headrace.definition import FeatureDefinition, FieldType, ModelDefinition, Task
from headrace.wording import instead_of

#: The model's task, by the type of its label.
TASKS = {
    FieldType.BOOL: Task.BINARY,
    FieldType.STRING: Task.MULTICLASS,
    FieldType.INT: Task.MULTICLASS,
    FieldType.FLOAT: Task.REGRESSION,
}

SOURCES: tuple[str, ...] = get_args(Vectors)


def define_model(model: Model, label_type: FieldType | None, mistakes: Mistakes) -> ModelDefinition | None:
    """Compile a model to its definition; it is meaningless if mistakes were found, and None without stream or label."""
    before = len(mistakes)
    if not is_stream(model.on):
        problem, cure = f"it is on {model.on!r}, no stream", "Say on which stream's events it predicts: on=Scheduled."
        mistakes.add(model.place, model.part, problem, cure)
    if not isinstance(model.label, Label):
        problem, cure = f"its label is {model.label!r}", "Declare one: late = Label(Arrived, of=Scheduled, ...)."
        mistakes.add(model.place, model.part, problem, cure)
    if len(mistakes) > before:
        return None
    return _ModelCompiler(model, label_type, mistakes).define()


class _ModelCompiler:
    def __init__(self, model: Model, label_type: FieldType | None, mistakes: Mistakes) -> None:
        self._model = model
        self._mistakes = mistakes
        # A mistaken type of the label has been reported where the label is declared.
        self._task = TASKS.get(label_type) if label_type is not None else None

    def define(self) -> ModelDefinition:
        model = self._model
        if is_stream(model.label.of) and model.label.of is not model.on:
            stream, label_stream = stream_name(model.on), stream_name(model.label.of)
            cure = f"Use a label of {stream}, or predict on={model.label.of.__name__}."
            self._wrong(f"it is on stream {stream}, and label {model.label.name} is of stream {label_stream}", cure)
        if model.vectors not in SOURCES:
            self._wrong(f"vectors is {model.vectors!r}", instead_of(str(model.vectors), SOURCES, "sources"))
        if model.label.after is not None and model.vectors == "requests":
            problem = f"its questions are requests, and label {model.label.name} is a forecast"
            self._wrong(problem, "A forecast is about the events of a stream: drop vectors=.")
        features = self._features()
        return ModelDefinition(
            name=model.state_name,
            stream=stream_name(model.on),
            label=model.label.state_name,
            task=self._task or Task.BINARY,
            features=features,
            learner=learners.check(
                model.learner,
                self._task,
                features,
                PartMistakes(model.place, model.part, self._mistakes),
                weighted=bool(model.label.keep),
            ),
            vectors=str(model.vectors),
            max_delay=self._duration("max_delay"),
            publish_examples=self._positive_int("publish_every", "after how many examples"),
            publish_after=self._publish_after(),
            score_from=self._score_from(),
            entity=str(model.label.by or "") if model.label.after is not None else "",
            waiting_bytes=self._positive_int("waiting_bytes", "how many bytes"),
            alias=model.alias,
            takeover=None if model.takeover is None else self._positive_int("takeover", "after how many examples"),
        )

    def _wrong(self, problem: str, cure: str) -> None:
        self._mistakes.add(self._model.place, self._model.part, problem, cure)

    def _features(self) -> tuple[FeatureDefinition, ...]:
        model = self._model
        for value in model.features:
            if not isinstance(value, Expression | Selection | View | Row):
                name = model.on.__name__
                cure = f'Use columns ({name}.distance, col("distance")), expressions of them, and views.'
                if isinstance(value, str):
                    cure = f'A column is named by col: write col("{value}").'
                self._wrong(f"{value!r} is no feature", cure)
        expressions = model.expressions
        if not expressions:
            self._wrong("it has no features", "List at least one column or view.")
        features: dict[str, FeatureDefinition] = {}
        for expression in expressions:
            feature = self._feature(expression)
            if expression.name in features:
                problem = f"two features are called {expression.name!r}"
                cure = 'Drop one, or name it: .named("...").'
                self._mistakes.add(expression.place, model.part, problem, cure)
            elif feature is not None:
                features[expression.name] = feature
        self._check_renames()
        return tuple(features.values())

    def _check_renames(self) -> None:
        """Check that each feature's values have one name in vectors, and that no two features share one."""
        titles = {expression.name for expression in self._model.expressions}
        owners: dict[str, str] = {}
        for expression in self._model.expressions:
            name, title = stored_name(expression), expression.name
            if name != title and name in titles:
                problem = f"feature {title!r} was {name!r}, and there is a feature of that name"
                self._mistakes.add(expression.place, self._model.part, problem, SAME_STATE)
            elif owners.setdefault(name, title) != title:
                problem = f"features {owners[name]!r} and {title!r} both were {name!r}"
                self._mistakes.add(expression.place, self._model.part, problem, SAME_STATE)

    def _feature(self, expression: Expression) -> FeatureDefinition | None:
        model, mistakes = self._model, self._mistakes
        scope = Scope(model.on, model.part, mistakes, read=lambda read: read_view(read, model.on, model.part, mistakes))
        typed = scope.resolve(expression)
        if typed is None:
            return None
        if typed.type is FieldType.TIME:
            problem = f"feature {expression.name!r} has the wrong type: {a_type(typed.type)}"
            cure = f"Take {expression.name}.hour or {expression.name}.weekday."
            mistakes.add(expression.place, model.part, problem, cure)
        leaks.check(model, expression, typed.value, mistakes)
        return self._feature_definition(expression, typed)

    def _feature_definition(self, expression: Expression, typed: Typed) -> FeatureDefinition:
        kind = FieldType.STRING if typed.type is FieldType.STRING else FieldType.FLOAT
        if kind is FieldType.STRING and not isinstance(typed.value, definition.Column):
            problem = f"feature {expression.name!r} is a constant"
            self._mistakes.add(expression.place, self._model.part, problem, "Use a column.")
        title, name = expression.name, stored_name(expression)
        return FeatureDefinition(name, kind, typed.value, None if title == name else title)

    def _duration(self, option: str) -> int | None:
        value: object = getattr(self._model, option)
        if value is None:
            return None
        try:
            return parse_duration(value)
        except ValueError as error:
            self._wrong(f"{option} {error}", EXAMPLES)
            return None

    def _positive_int(self, option: str, meaning: str) -> int:
        value: object = getattr(self._model, option)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
        self._wrong(f"{option} is {value!r}", f"Write {meaning}: a whole number above zero.")
        return 1

    def _publish_after(self) -> int | None:
        duration = self._duration("publish_after")
        if duration == 0:
            self._wrong(
                f"publish_after is {self._model.publish_after!r}", "Write a duration above zero, or leave it out."
            )
        return duration

    def _score_from(self) -> int | None:
        value = self._model.score_from
        if value is None:
            return None
        moment = _moment(value)
        if moment is None:
            self._wrong(f"score_from is {value!r}, no time", 'Write a datetime, or ISO text such as "2013-02-01".')
            return None
        # A time without a zone is UTC, here as everywhere.
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _moment(value: object) -> datetime | None:
    if not isinstance(value, str):
        return value if isinstance(value, datetime) else None
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        return None
