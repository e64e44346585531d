"""A model's version, as ONNX: it is checked before it answers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from google.protobuf.message import DecodeError

from headrace.definition import FieldType, ModelDefinition, Task
from headrace.engine.former import Former, Selection, selection
from headrace.errors import CorruptState
from headrace.v1 import models_pb2, onnx_pb2
from headrace.wire.tables import Categories, Numbers
from headrace.wording import shown

NUMBERS = "numbers"
CATEGORIES = "categories"
SCORE = "score"
PROBABILITIES = "probabilities"


#: Vectors that are scored at once, at most. A version is tried with so many, since its cost may grow with them.
MOST_ROWS = 1_000

#: Bytes that the runs of all versions in a process may take together: what a run takes may depend on a vector's values.
_ARENA_BYTES = 2**30

#: Beyond this magnitude a value may overflow the computation: a missing answer is then not the version's fault.
_ORDINARY = 1e100

#: The tolerance of a probability beyond 0 and 1: sums of shares are rounded.
_SLACK = 1e-9


class Scores(NamedTuple):
    """The answers of a version to N vectors.

    Attributes
    ----------
    score
        float64[N]. Binary: the probability of true. Regression: the value. Multiclass: the winner's
        probability.
    probabilities
        Multiclass: float64[N, K], in the order of the version's classes.
    winners
        Multiclass: int64[N], the places of the winners.
    """

    score: Numbers
    probabilities: Numbers | None = None
    winners: npt.NDArray[np.int64] | None = None


def plausible(task: Task, scores: Scores) -> npt.NDArray[np.bool_]:
    """Return for each score whether it is plausible: a number, and within 0 and 1 if it is a probability."""
    if task is Task.REGRESSION:
        return np.asarray(np.isfinite(scores.score))
    values = scores.score if scores.probabilities is None else scores.probabilities
    within = (values >= -_SLACK) & (values <= 1 + _SLACK)  # false for NaN
    return within if values.ndim == 1 else np.logical_and.reduce(within, axis=1)


def together(parts: Sequence[Scores]) -> Scores:
    """Return the scores of several groups of vectors as one."""
    if len(parts) == 1:
        return parts[0]
    scores = np.concatenate([part.score for part in parts])
    if parts[0].probabilities is None or parts[0].winners is None:
        return Scores(scores)
    probabilities = [part.probabilities for part in parts if part.probabilities is not None]
    winners = [part.winners for part in parts if part.winners is not None]
    return Scores(scores, np.concatenate(probabilities), np.concatenate(winners))


class Judgement(NamedTuple):
    """The verdict on a version's scores.

    Attributes
    ----------
    wrong
        The wrong answer to a vector that the version must be able to answer; None if the version is sound.
    unanswered
        The rows that have no answer because of their values.
    """

    wrong: str | None = None
    unanswered: frozenset[int] = frozenset()


_FINE = Judgement()


def judge(task: Task, scores: Scores, numbers: Numbers) -> Judgement:
    """Judge the scores of vectors: a number too large to compute with is the caller's fault, not the version's."""
    fine = plausible(task, scores)
    if fine.all():
        return _FINE
    rows = np.flatnonzero(~fine)
    odd = _odd(numbers[rows])
    if not odd.all():
        output = scores.score if scores.probabilities is None else scores.probabilities
        return Judgement(f"it answers {_output_text(output[rows[~odd][:1]])}, expected a {_KINDS[task]}")
    return Judgement(unanswered=frozenset(rows.tolist()))


def _odd(numbers: Numbers) -> npt.NDArray[np.bool_]:
    return np.asarray((np.abs(numbers) > _ORDINARY).any(axis=1))


class Version:
    """One version of a model, ready to answer. It is thread-safe: a session has no state.

    Parameters
    ----------
    model
        The definition that the version must fit.
    published
        The message from the models topic.
    asked
        The definition whose vectors it is given, if that is another one.
    former
        The definition it was made from, if that is not the loop's own.

    Attributes
    ----------
    taken_over
        Whether its definition answers in place of the one before it.
    needed
        The number of examples after which it does, 0 if unknown.
    selection
        How the vectors of `asked` contain this version's own; None if they do not.

    Raises
    ------
    CorruptState
        The checksum, the signature or the ONNX itself is not what the definition requires.
    """

    def __init__(
        self,
        model: ModelDefinition,
        message: models_pb2.ModelVersion,
        asked: ModelDefinition | None = None,
        former: Former | None = None,
    ) -> None:
        self.model = model
        self.former = former
        # A feature of the same name may read another form of its view.
        in_other_forms = former is not None and former.views
        self.selection = None if in_other_forms else selection(asked or model, model)
        self.examples = message.examples
        self.event_time = message.event_time
        self.classes: tuple[str, ...] = tuple(message.classes)
        self.metrics = dict(message.metrics)
        self.taken_over = message.taken_over
        self.needed = message.needed
        self.sha256 = bytes(message.sha256)
        self._run = _session(model, message).run
        numeric = sum(feature.type is not FieldType.STRING for feature in model.features)
        self._numbers, self._texts = numeric > 0, numeric < len(model.features)
        self._multiclass = model.task is Task.MULTICLASS
        self._outputs = [PROBABILITIES if self._multiclass else SCORE]
        self._try(numeric, len(model.features) - numeric)

    def score(self, numbers: Numbers, texts: npt.NDArray[np.object_] | None) -> Scores:
        """Score N vectors, at most `MOST_ROWS` at once; NaN if the computation fails.

        The last bits of a score may depend on how many vectors are scored together.

        Parameters
        ----------
        numbers
            float64[N, n], NaN where missing.
        texts
            str[N, k], "" where missing; None if the model has no string feature.
        """
        if len(numbers) > MOST_ROWS:
            starts = range(0, len(numbers), MOST_ROWS)
            parts = [slice(start, start + MOST_ROWS) for start in starts]
            return together([self.score(numbers[part], None if texts is None else texts[part]) for part in parts])
        try:
            output = self._output(numbers, texts)
        except Exception:
            output = self._output_without_odd(numbers, texts)
        return self._scores(output)

    def _scores(self, output: Numbers) -> Scores:
        if not self._multiclass:
            return Scores(output)
        winners = output.argmax(axis=1)
        return Scores(output[np.arange(len(output)), winners], output, winners)

    def _output(self, numbers: Numbers, texts: npt.NDArray[np.object_] | None) -> Numbers:
        inputs: dict[str, Any] = {}
        if self._numbers:
            inputs[NUMBERS] = numbers
        if self._texts:
            inputs[CATEGORIES] = texts
        (output,) = self._run(self._outputs, inputs)
        shape = self._shape(len(numbers))
        if output.shape != shape or output.dtype != np.float64:
            raise CorruptState(f"model {self.model.name!r}: the version's output is not float64{shape}")
        return cast(Numbers, output)

    def _shape(self, size: int) -> tuple[int, ...]:
        return (size, len(self.classes)) if self._multiclass else (size,)

    def _output_without_odd(self, numbers: Numbers, texts: npt.NDArray[np.object_] | None) -> Numbers:
        """Return the output after a failure: one odd vector must not cost the others their answers."""
        output = np.full(self._shape(len(numbers)), np.nan)
        odd = _odd(numbers)
        if odd.any() and not odd.all():
            with suppress(Exception):
                output[~odd] = self._output(numbers[~odd], None if texts is None else texts[~odd])
        return output

    def score_vectors(self, selection: Selection, numbers: Numbers, categories: Categories) -> Scores:
        """Score N vectors that contain its own."""
        texts = selection.categories_of(categories)
        return self.score(selection.numbers_of(numbers), texts_of(texts, len(numbers)) if texts else None)

    def _try(self, numbers: int, texts: int) -> None:
        """Score three vectors, one of them without any value: a version that cannot is refused before it answers."""
        values = np.array([np.nan, 0.0, 1.0])
        try:
            output = self._output(np.repeat(values[:, None], numbers, axis=1), np.full((3, texts), "", object))
        except CorruptState:
            raise
        except Exception as error:
            raise CorruptState(f"model {self.model.name!r}: the version does not run: {error}") from error
        task = self.model.task
        if not plausible(task, self._scores(output)).all():
            answers = f"the version answers {_output_text(output)}, expected a {_KINDS[task]}"
            raise CorruptState(f"model {self.model.name!r}: {answers}")


_KINDS = {Task.BINARY: "probability", Task.MULTICLASS: "probability of each class", Task.REGRESSION: "finite number"}


def _output_text(output: Numbers) -> str:
    """Return an output in the form that errors show."""
    return np.array2string(output.reshape(-1)[:6], precision=6, separator=", ", threshold=6)


def texts_of(categories: Categories, size: int) -> npt.NDArray[np.object_]:
    """Convert string columns to the model's input: str[N, k], "" where missing."""
    texts = np.empty((size, len(categories)), object)
    for place, column in enumerate(categories):
        texts[:, place] = [value or "" for value in column]
    return texts


#: The largest ONNX file that is read, in bytes and nodes. A forest of ten trees with thousands of leaves has a few MB.
MOST_BYTES, MOST_NODES = 256 * 2**20, 100_000
_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")


def check_graph(model: str, data: bytes) -> None:
    """Refuse an ONNX file whose cost does not follow from its size: one with loops, functions or foreign nodes.

    Raises
    ------
    CorruptState
        The error says which node.
    """
    subject = f"model {model!r}: the version's ONNX"
    if len(data) > MOST_BYTES:
        raise CorruptState(f"{subject} has {len(data):,} bytes, at most {MOST_BYTES:,} are loaded")
    try:
        parsed = onnx_pb2.OnnxModel.FromString(data)
    except DecodeError as error:
        raise CorruptState(f"{subject} does not load: {error}") from error
    if len(parsed.graph.node) > MOST_NODES:
        raise CorruptState(f"{subject} has {len(parsed.graph.node):,} nodes, at most {MOST_NODES:,} are run")
    if parsed.functions:
        raise CorruptState(f"{subject} has functions of its own: {shown(parsed.functions[0].name)!r}")
    for node in parsed.graph.node:
        inner = any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute)
        if inner or node.domain not in _DOMAINS:
            name = shown(f"{node.domain}.{node.op_type}" if node.domain else node.op_type)
            raise CorruptState(f"{subject} has a node {name!r}: loops, branches and nodes of others are not run")


def _session(model: ModelDefinition, message: models_pb2.ModelVersion) -> ort.InferenceSession:
    if hashlib.sha256(message.onnx).digest() != message.sha256:
        raise CorruptState(f"model {model.name!r}: the version's checksum does not match its ONNX")
    if model.task is Task.MULTICLASS and not message.classes:
        raise CorruptState(f"model {model.name!r}: the version knows no class yet")
    expected = [(feature.name, feature.type.value) for feature in model.features]
    if [(feature.name, feature.type) for feature in message.features] != expected:
        raise CorruptState(f"model {model.name!r}: the version's features are not the definition's")
    if message.task != model.task.value:
        raise CorruptState(f"model {model.name!r}: the version's task is {message.task}, not {model.task}")
    check_graph(model.name, message.onnx)
    options = ort.SessionOptions()
    # One thread per run: a vector is too small to split, and requests run side by side.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    # A run that fails is reported by its caller.
    options.log_severity_level = 4
    _bound_memory()
    options.add_session_config_entry("session.use_env_allocators", "1")
    # Constants are bounded by the version's size.
    options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    try:
        return ort.InferenceSession(message.onnx, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise CorruptState(f"model {model.name!r}: the version's ONNX does not load: {error}") from error


@cache
def _bound_memory() -> None:
    """Bound the memory of all runs of this process."""
    bounds = {"max_mem": _ARENA_BYTES, "arena_extend_strategy": 1}
    bounds |= {"initial_chunk_size_bytes": -1, "max_dead_bytes_per_chunk": -1}
    memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(memory, ort.OrtArenaCfg(bounds))
