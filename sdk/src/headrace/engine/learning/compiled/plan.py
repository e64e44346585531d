"""Recognition of the River estimators that have a compiled form."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

import river
from river import compose, linear_model, optim, preprocessing

from headrace.definition import FeatureDefinition, FieldType, Task
from headrace.engine.learning.compiled import kernel
from headrace.engine.learning.compiled.kernel import Settings
from headrace.engine.learning.refusal import Refusal

#: The version of River whose arithmetic the kernel repeats.
RIVER = "0.26.1"

#: The largest integer parameter: beyond it, not every integer is a double.
_EXACT = 2**53


@dataclass(frozen=True)
class Plan:
    """The compiled form of an estimator, without what it has learned.

    Attributes
    ----------
    operations, picks, masks
        See `headrace.engine.learning.compiled.kernel.Program`.
    defaults
        The value of an absent key, for each table.
    frames
        The number of frames of a row.
    encoders
        The number of one-hot encoders.
    encoded
        The places of the text features that are encoded.
    """

    settings: Settings
    operations: tuple[tuple[int, ...], ...]
    picks: tuple[int, ...]
    masks: tuple[tuple[bool, ...], ...]
    defaults: tuple[float, ...]
    frames: int
    encoders: int
    encoded: tuple[int, ...]


class Part(NamedTuple):
    """A transformer that learns, and the first of its tables."""

    step: Any
    table: int
    encoder: int = 0


class RecognisedEstimator(NamedTuple):
    """An estimator that has a compiled form.

    Attributes
    ----------
    plan
        The compiled form.
    parts
        The transformers that learn.
    pipelines
        The pipelines, which remember how they run.
    model
        The linear model at the end.
    """

    plan: Plan
    parts: tuple[Part, ...]
    pipelines: tuple[Any, ...]
    model: Any


def recognise(estimator: Any, features: Iterable[FeatureDefinition], task: Task) -> RecognisedEstimator | Refusal:
    """Return the compiled form of an estimator, or why it has none.

    Parameters
    ----------
    estimator
        A River pipeline or estimator.
    features
        The features of the model, in order.
    task
        The model's task.

    Examples
    --------
    >>> from river import tree
    >>> recognise(tree.HoeffdingTreeClassifier(), (), Task.BINARY).reason
    'HoeffdingTreeClassifier has no compiled form'
    """
    if river.__version__ != RIVER:
        return Refusal(f"River {river.__version__} is installed, the compiled form is that of River {RIVER}")
    recognition = _Recognition(tuple(features))
    try:
        return recognition.result(estimator, task)
    except _Refused as refused:
        return Refusal(str(refused))


class _Refused(Exception):
    """A part of an estimator has no compiled form; the message names it."""


def _refuse(subject: str) -> NoReturn:
    raise _Refused(f"{subject} has no compiled form")


def _refuse_replaced(step: Any) -> None:
    """Refuse an object of which a method was replaced: its type no longer says what it does."""
    for name in getattr(step, "__dict__", ()):
        if callable(getattr(type(step), name, None)):
            _refuse(f"{type(step).__name__} with another {name}")


class _Frame(NamedTuple):
    """A frame of every row: the features that it may hold, and whether it holds encoded categories."""

    number: int
    features: tuple[int, ...]
    encoded: bool = False


class _Recognition:
    """Walks through an estimator in the order in which River runs it."""

    def __init__(self, features: tuple[FeatureDefinition, ...]) -> None:
        self._names = tuple(feature.name for feature in features)
        self._texts = tuple(feature.type is FieldType.STRING for feature in features)
        self._operations: list[tuple[int, ...]] = []
        self._picks: list[int] = []
        self._masks: list[tuple[bool, ...]] = []
        self._defaults: list[float] = []
        self._parts: list[Part] = []
        self._pipelines: list[Any] = []
        self._encoded: set[int] = set()
        self._seen: set[int] = set()
        self._frames = 1
        self._encoders = 0

    def result(self, estimator: Any, task: Task) -> RecognisedEstimator:
        """Return the compiled form of an estimator."""
        *steps, model = self._steps(estimator)
        _refuse_replaced(model)
        settings = _settings(model, task)
        frame = _Frame(0, tuple(range(len(self._names))))
        for step in steps:
            frame = self._transformed(step, frame)
        self._refuse_texts(model, frame)
        self._tables(0.0, kernel.MODEL_TABLES)
        plan = Plan(
            settings,
            tuple(self._operations),
            tuple(self._picks),
            tuple(self._masks),
            tuple(self._defaults),
            self._frames,
            self._encoders,
            tuple(sorted(self._encoded)),
        )
        return RecognisedEstimator(plan, tuple(self._parts), tuple(self._pipelines), model)

    def _steps(self, estimator: Any) -> list[Any]:
        """Return the steps of a pipeline; any other estimator is a step itself."""
        if type(estimator) is not compose.Pipeline:
            return [estimator]
        if not estimator.steps:
            _refuse("An empty pipeline")
        steps = list(estimator.steps.values())
        if any(type(step) is compose.Pipeline for step in steps):
            # River passes such a step's input on, as if it were the last one.
            _refuse("A pipeline that is a step of another one")
        _refuse_replaced(estimator)
        self._pipelines.append(estimator)
        return steps

    def _transformed(self, step: Any, frame: _Frame) -> _Frame:
        if id(step) in self._seen:
            # River would learn it at each of its places.
            _refuse(f"{type(step).__name__} in two places")
        self._seen.add(id(step))
        _refuse_replaced(step)
        transform = _TRANSFORMERS.get(type(step))
        if transform is None:
            function = getattr(getattr(step, "func", None), "__name__", None)
            _refuse(f"{type(step).__name__}({function})" if function else type(step).__name__)
        return transform(self, step, frame)

    def _union(self, step: Any, frame: _Frame) -> _Frame:
        branches = [self._branch(branch, frame) for branch in step.transformers.values()]
        if not branches:
            _refuse("An empty union")
        target = self._new_frame()
        # River updates the last transformer's dictionary with those before it.
        for place, branch in enumerate(reversed(branches)):
            self._add(kernel.MERGE, branch, target, int(place == 0))
        features = tuple(dict.fromkeys(feature for branch in branches for feature in branch.features))
        return _Frame(target, features, any(branch.encoded for branch in branches))

    def _branch(self, branch: Any, frame: _Frame) -> _Frame:
        for step in self._steps(branch):
            frame = self._transformed(step, frame)
        return frame

    def _standard(self, step: Any, frame: _Frame) -> _Frame:
        if step.window_size is not None:
            _refuse(f"StandardScaler(window_size={step.window_size})")
        if type(step.with_std) is not bool:
            _refuse(f"StandardScaler(with_std={step.with_std!r})")
        return self._scaled(kernel.STANDARD, step, frame, table=self._tables(0.0, 4), flag=int(step.with_std))

    def _min_max(self, step: Any, frame: _Frame) -> _Frame:
        if step.window_size is not None:
            _refuse(f"MinMaxScaler(window_size={step.window_size})")
        table = self._tables(math.inf, 1)
        self._tables(-math.inf, 1)
        return self._scaled(kernel.MIN_MAX, step, frame, table=table)

    def _scaled(self, code: int, step: Any, frame: _Frame, *, table: int, flag: int = 0) -> _Frame:
        self._refuse_texts(step, frame)
        if frame.encoded:
            _refuse(f"{type(step).__name__} after OneHotEncoder")
        self._parts.append(Part(step, table))
        target = self._new_frame()
        self._add(code, frame, target, table, flag)
        return frame._replace(number=target)

    def _one_hot(self, step: Any, frame: _Frame) -> _Frame:
        for name, value, usual in (
            ("categories", step.categories, None),
            ("drop_first", step.drop_first, False),
            ("drop_zeros", step.drop_zeros, bool(step.drop_zeros)),
        ):
            if value is not usual:
                _refuse(f"OneHotEncoder({name}={'…' if name == 'categories' else value})")
        if frame.encoded:
            _refuse("OneHotEncoder after OneHotEncoder")
        for feature in frame.features:
            if not self._texts[feature]:
                _refuse(f"OneHotEncoder over the number {self._names[feature]!r}")
        self._encoded.update(frame.features)
        table, target = self._tables(0.0, 2), self._new_frame()
        self._parts.append(Part(step, table, self._encoders))
        self._add(kernel.ONE_HOT, frame, target, table, self._encoders, int(step.drop_zeros))
        self._encoders += 1
        return _Frame(target, (), encoded=True)

    def _select(self, step: Any, frame: _Frame) -> _Frame:
        self._refuse_codes(step, frame)
        places = {self._names[feature]: feature for feature in frame.features}
        names = tuple(step.keys)
        for name in names:
            if name not in places:
                _refuse(f"Select({name!r}), which names no feature there,")
        picked = tuple(places[name] for name in names)
        target = self._new_frame()
        self._add(kernel.PICK, frame, target, len(self._picks), len(picked))
        self._picks.extend(picked)
        return _Frame(target, picked)

    def _discard(self, step: Any, frame: _Frame) -> _Frame:
        return self._filtered(step, frame, lambda feature: self._names[feature] not in step.keys)

    def _select_type(self, step: Any, frame: _Frame) -> _Frame:
        types = tuple(step.types)
        for each in types:
            if not isinstance(each, type):
                _refuse(f"SelectType({each})")
        return self._filtered(step, frame, lambda feature: issubclass(str if self._texts[feature] else float, types))

    def _filtered(self, step: Any, frame: _Frame, keeps: Callable[[int], bool]) -> _Frame:
        self._refuse_codes(step, frame)
        kept = tuple(feature for feature in frame.features if keeps(feature))
        target = self._new_frame()
        self._add(kernel.FILTER, frame, target, len(self._masks))
        self._masks.append(tuple(feature in kept for feature in range(len(self._names))))
        return _Frame(target, kept)

    def _refuse_texts(self, step: Any, frame: _Frame) -> None:
        for feature in frame.features:
            if self._texts[feature]:
                _refuse(f"{type(step).__name__} over the text {self._names[feature]!r}")

    def _refuse_codes(self, step: Any, frame: _Frame) -> None:
        if frame.encoded:
            _refuse(f"{type(step).__name__} after OneHotEncoder")

    def _tables(self, default: float, count: int) -> int:
        """Add tables; return the first."""
        first = len(self._defaults)
        self._defaults.extend([default] * count)
        return first

    def _new_frame(self) -> int:
        self._frames += 1
        return self._frames - 1

    def _add(self, code: int, source: _Frame, target: int, *numbers: int) -> None:
        first, second, third = (*numbers, 0, 0, 0)[:3]
        self._operations.append((code, source.number, target, first, second, third))


_TRANSFORMERS: dict[type, Callable[[_Recognition, Any, _Frame], _Frame]] = {
    compose.TransformerUnion: _Recognition._union,
    compose.Select: _Recognition._select,
    compose.Discard: _Recognition._discard,
    compose.SelectType: _Recognition._select_type,
    preprocessing.StandardScaler: _Recognition._standard,
    preprocessing.MinMaxScaler: _Recognition._min_max,
    preprocessing.OneHotEncoder: _Recognition._one_hot,
}


def _settings(model: Any, task: Task) -> Settings:
    """Return the parameters of a linear model."""
    if type(model) not in _LOSSES:
        _refuse(type(model).__name__)
    expected, expected_task, code = _LOSSES[type(model)]
    subject, loss = type(model).__name__, model.loss
    if task is not expected_task:
        _refuse(f"{subject} for the task {task.value}")
    if type(loss) is not expected:
        _refuse(f"{subject}(loss={type(loss).__name__})")
    _refuse_replaced(loss)
    if type(model.initializer) is not optim.initializers.Zeros:
        _refuse(f"{subject}(initializer={type(model.initializer).__name__})")
    if type(model.intercept_lr) is not optim.schedulers.Constant:
        _refuse(f"{subject}(intercept_lr={type(model.intercept_lr).__name__})")
    number = _Numbers(subject)
    number.of("intercept_init", model.intercept_init)
    optimizer, rate, *others = _optimizer(model.optimizer)
    settings = Settings(
        loss=code,
        weight_pos=_Numbers("Log").of("weight_pos", loss.weight_pos, least=5e-324) if code == kernel.LOG else 1.0,
        weight_neg=_Numbers("Log").of("weight_neg", loss.weight_neg, least=5e-324) if code == kernel.LOG else 1.0,
        l1=number.of("l1", model.l1),
        l2=number.of("l2", model.l2),
        intercept_rate=number.of("intercept_lr", model.intercept_lr.learning_rate),
        clip=number.of("clip_gradient", model.clip_gradient),
        optimizer=optimizer,
        rate=rate,
        first=others[0],
        second=others[1],
        third=others[2],
    )
    if type(model.l1) is int and model.l1:
        # River's sum of penalties may stay an integer.
        _refuse(f"{subject}(l1={model.l1})")
    if settings.l1 != 0.0 and optimizer == kernel.FTRL:
        # River asks the optimizer for a learning rate, which this one does not have.
        _refuse(f"{subject}(l1=…) with FTRLProximal")
    return settings


_LOSSES = {
    linear_model.LogisticRegression: (optim.losses.Log, Task.BINARY, kernel.LOG),
    linear_model.LinearRegression: (optim.losses.Squared, Task.REGRESSION, kernel.SQUARED),
}


class _Numbers:
    """Checks the parameters of one estimator."""

    def __init__(self, subject: str) -> None:
        self._subject = subject

    def of(self, name: str, value: Any, *, least: float = -math.inf, below: float = math.inf) -> float:
        """Return a parameter that is a plain number from `least` on and below `below`."""
        exact = type(value) is float or (type(value) is int and abs(value) <= _EXACT)
        if not exact or not math.isfinite(value) or not least <= value < below:
            _refuse(f"{self._subject}({name}={value!r})")
        return float(value)


def _optimizer(optimizer: Any) -> tuple[int, float, float, float, float]:
    """Return the code of an optimizer, its rate, and its own numbers."""
    read = _OPTIMIZERS.get(type(optimizer))
    if read is None:
        _refuse(type(optimizer).__name__)
    _refuse_replaced(optimizer)
    numbers = _Numbers(type(optimizer).__name__)
    code, values = read(optimizer, numbers)
    rate, first, second, third = (*values, 0.0, 0.0, 0.0)[:4]
    return code, rate, first, second, third


def _rate(optimizer: Any, numbers: _Numbers) -> float:
    if type(optimizer.lr) is not optim.schedulers.Constant:
        _refuse(f"{type(optimizer).__name__}(lr={type(optimizer.lr).__name__})")
    return numbers.of("lr", optimizer.lr.learning_rate)


def _sgd(optimizer: Any, numbers: _Numbers) -> tuple[int, list[float]]:
    return kernel.SGD, [_rate(optimizer, numbers)]


def _ada_grad(optimizer: Any, numbers: _Numbers) -> tuple[int, list[float]]:
    return kernel.ADA_GRAD, [_rate(optimizer, numbers), numbers.of("eps", optimizer.eps, least=5e-324)]


def _adam(optimizer: Any, numbers: _Numbers) -> tuple[int, list[float]]:
    return kernel.ADAM, [
        _rate(optimizer, numbers),
        numbers.of("beta_1", optimizer.beta_1, least=0.0, below=1.0),
        numbers.of("beta_2", optimizer.beta_2, least=0.0, below=1.0),
        numbers.of("eps", optimizer.eps, least=5e-324),
    ]


def _rms_prop(optimizer: Any, numbers: _Numbers) -> tuple[int, list[float]]:
    return kernel.RMS_PROP, [
        _rate(optimizer, numbers),
        numbers.of("rho", optimizer.rho, least=0.0, below=1.0),
        numbers.of("eps", optimizer.eps, least=5e-324),
    ]


def _ftrl(optimizer: Any, numbers: _Numbers) -> tuple[int, list[float]]:
    return kernel.FTRL, [
        numbers.of("alpha", optimizer.alpha, least=5e-324),
        numbers.of("beta", optimizer.beta, least=0.0),
        numbers.of("l1", optimizer.l1, least=0.0),
        numbers.of("l2", optimizer.l2, least=0.0),
    ]


_OPTIMIZERS: dict[type, Callable[[Any, _Numbers], tuple[int, list[float]]]] = {
    optim.SGD: _sgd,
    optim.AdaGrad: _ada_grad,
    optim.Adam: _adam,
    optim.RMSProp: _rms_prop,
    optim.FTRLProximal: _ftrl,
}
