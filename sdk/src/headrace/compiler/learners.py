"""Learners: River estimators, checked against their model's task and described for the model's hash."""

from __future__ import annotations

import copy
import hashlib
import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from headrace.compiler.mistakes import PartMistakes, words_of
from headrace.definition import FeatureDefinition, FieldType, Task
from headrace.errors import UnsupportedLearner

_FACTORY = "Write learner=lambda: StandardScaler() | LogisticRegression()."

#: Suggestions in place of an estimator for another task.
_CURES = {
    Task.BINARY: "Use a classifier, such as LogisticRegression, or label with a number.",
    Task.MULTICLASS: "Use a classifier, such as HoeffdingTreeClassifier, or label with a float.",
    Task.REGRESSION: "Use a regressor, such as LinearRegression, or label with a condition or a class.",
}


def check(
    factory: object,
    task: Task | None,
    features: tuple[FeatureDefinition, ...],
    mistakes: PartMistakes,
    *,
    weighted: bool,
) -> str:
    """Report what is wrong with a model's learner; return its description.

    Parameters
    ----------
    factory
        The learner as the user gave it.
    task
        The model's task; None if its label has mistakes.
    features
        The features that it will learn from.
    mistakes
        Where to report mistakes of the model.
    weighted
        Whether its examples have weights.
    """
    before = len(mistakes)
    learner = _make(factory, mistakes)
    if learner is None:
        return ""
    if task is not None:
        _check_task(learner, task, mistakes)
    if len(mistakes) == before:
        _check_converter(learner, features, task, mistakes)
    if len(mistakes) > before:
        return ""
    if weighted:
        _check_weights(learner, mistakes)
    for owner, seed in _missing_seeds(learner):
        problem = f"its learner's {owner} has no {seed}, so the same examples would not make the same model"
        mistakes.add(problem, f"Give it one: {owner}({seed}=42).")
    text = _description(learner, mistakes)
    second = _make(factory, mistakes)
    if len(mistakes) == before and (second is learner or _description(second, mistakes) != text):
        behaviour = "gives the same object each time" if second is learner else "makes another one each time"
        mistakes.add(f"its learner {behaviour}", f"Make a new one, always alike. {_FACTORY}")
    return text


def _check_weights(learner: object, mistakes: PartMistakes) -> None:
    # Imported only here: few loops need it, and it loads the broker's client.
    from headrace.engine.learning import takes_weight

    if not takes_weight(learner):
        problem = f"its label keeps a share of a class, and its learner, {_last_step(learner)}, takes no weights"
        cure = "Use one that does (LogisticRegression for two classes, a Hoeffding tree for several), or drop keep=."
        mistakes.add(problem, cure)


def _last_step(learner: object) -> str:
    """Return the name of the estimator that learns: the last one of a pipeline."""
    steps = getattr(learner, "steps", None)
    return type(list(steps.values())[-1] if steps else learner).__name__


def describe(value: object) -> str:
    """Return a deterministic text of an estimator with all its parameters.

    Raises
    ------
    ValueError
        A parameter has no text that is the same in every process.
    """
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(describe(item) for item in value)}]"
    if isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(describe(item) for item in value))}}}"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{describe(key)}: {describe(item)}' for key, item in value.items())}}}"
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if inspect.isfunction(value):
        return _function_text(value)
    return _object_text(value)


def _object_text(value: object) -> str:
    name = type(value).__name__
    parts = _parts(value)
    if parts is not None:
        return f"{name}({', '.join(f'{option}={describe(part)}' for option, part in parts.items())})"
    if callable(getattr(value, "_get_params", None)):
        parameters = _parameters(value)
        return f"{name}({', '.join(f'{option}={describe(part)}' for option, part in parameters.items())})"
    text = repr(value)
    if re.search(r"\bat 0x[0-9a-f]+|<.*object.*>", text):
        raise ValueError(f"{text} has no text that is the same in every process")
    return text


def _function_text(function: Any) -> str:
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError) as error:
        raise ValueError(f"the source of {function.__qualname__} cannot be read") from error
    return f"{function.__qualname__}#{hashlib.sha256(source.encode()).hexdigest()[:16]}"


def _parts(value: object) -> dict[str, object] | None:
    """Return the steps of a pipeline or union, by name."""
    for attribute in ("steps", "transformers"):
        parts = getattr(value, attribute, None)
        if isinstance(parts, Mapping):
            return {str(name): part for name, part in parts.items()}
    return None


def _parameters(value: object) -> dict[str, object]:
    names = list(value._get_params())  # type: ignore[attr-defined]
    return {name: getattr(value, name if name != "_POSITIONAL_ARGS" else _positional(value), None) for name in names}


def _positional(value: object) -> str:
    parameters = inspect.signature(type(value)).parameters.values()
    return next(parameter.name for parameter in parameters if parameter.kind is parameter.VAR_POSITIONAL)


def _walk(value: object) -> Iterator[object]:
    yield value
    parts = _parts(value)
    if parts is None and callable(getattr(value, "_get_params", None)):
        parts = _parameters(value)
    inner: Iterable[object] = value if isinstance(value, list | tuple) else (parts or {}).values()
    for part in inner:
        yield from _walk(part)


def _missing_seeds(learner: object) -> Iterator[tuple[str, str]]:
    for estimator in _walk(learner):
        if callable(getattr(estimator, "_get_params", None)) and _parts(estimator) is None:
            for name, value in _parameters(estimator).items():
                if name in ("seed", "random_state") and value is None:
                    yield type(estimator).__name__, name


def _make(factory: object, mistakes: PartMistakes) -> object | None:
    if hasattr(factory, "learn_one") and not isinstance(factory, type):
        mistakes.add(f"its learner is an instance, {type(factory).__name__}", f"Make it new. {_FACTORY}")
        return None
    if not callable(factory):
        mistakes.add(f"its learner is {factory!r}, no function", _FACTORY)
        return None
    try:
        learner: object = factory()
    except Exception as error:  # user code may raise anything
        problem = f"its learner fails with {type(error).__name__}: {words_of(error)}"
        mistakes.add(problem, "It is called without arguments, and makes the pipeline.")
        return None
    if not hasattr(learner, "learn_one"):
        mistakes.add(f"its learner makes {learner!r}, no River estimator", _FACTORY)
        return None
    return learner


def _description(learner: object, mistakes: PartMistakes) -> str:
    try:
        return describe(learner)
    except ValueError as error:
        mistakes.add(f"its learner cannot be identified: {error}", "Use named parameters of plain values.")
        return ""


def _final(learner: object) -> object:
    steps = _parts(learner)
    return _final(list(steps.values())[-1]) if steps and hasattr(learner, "steps") else learner


def _check_task(learner: object, task: Task, mistakes: PartMistakes) -> None:
    from river import base

    final = _final(learner)
    name = type(final).__name__
    expected = base.Regressor if task is Task.REGRESSION else base.Classifier
    if not isinstance(final, expected):
        kind = "a regressor" if isinstance(final, base.Regressor) else "a classifier"
        if not isinstance(final, base.Regressor | base.Classifier):
            kind = "neither a classifier nor a regressor"
        mistakes.add(f"its label makes it {task}, and {name} is {kind}", _CURES[task])
    elif task is Task.MULTICLASS and not final._multiclass:
        cure = "Use SoftmaxRegression or a tree, or let the label be a condition."
        mistakes.add(f"its label is multiclass, and {name} distinguishes only two classes", cure)


def _check_converter(
    learner: object,
    features: tuple[FeatureDefinition, ...],
    task: Task | None,
    mistakes: PartMistakes,
) -> None:
    from headrace.engine import export

    try:
        export.check(learner)
        if task is not None and features and _rehearse(copy.deepcopy(learner), task, features, mistakes):
            export.check(learner, features, task)
    except UnsupportedLearner as error:
        cure = f"These have: {', '.join(error.supported)}."
        mistakes.add(f"{error.estimator} has no ONNX converter, so no version could be served", cure)


def _rehearse(learner: Any, task: Task, features: tuple[FeatureDefinition, ...], mistakes: PartMistakes) -> bool:
    """Let it predict and learn a made-up vector: a wrong type shows up here rather than hours later."""
    texts = [feature.name for feature in features if feature.type is FieldType.STRING]
    vector: dict[str, object] = {feature.name: "a" if feature.type is FieldType.STRING else 1.0 for feature in features}
    label = {Task.BINARY: True, Task.MULTICLASS: "a", Task.REGRESSION: 1.0}[task]
    try:
        for _ in range(2):
            learner.predict_one(vector)
            learner.learn_one(vector, label)
        return True
    except Exception as error:  # the estimator's code may raise anything
        problem = f"its learner fails on a vector of these features with {type(error).__name__}: {error}"
        cure = "Try the pipeline on a vector of them in Python."
        if texts:
            cure = f"One-hot the strings where it takes numbers only: {texts[0]}.one_hot([...])."
        mistakes.add(problem, cure)
        return False
