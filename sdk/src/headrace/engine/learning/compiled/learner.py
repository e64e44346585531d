"""A learner that is equal to River's, and many times faster."""

from __future__ import annotations

import copy
import math
from array import array
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from headrace.definition import FeatureDefinition, FieldType, Task
from headrace.engine.arrays import Floats
from headrace.engine.export import present
from headrace.engine.learning.columns import Columns
from headrace.engine.learning.compiled.c_library import addresses
from headrace.engine.learning.compiled.kernel import ANSWER, QUESTION, Entries, run
from headrace.engine.learning.compiled.plan import RecognisedEstimator, recognise
from headrace.engine.learning.compiled.state import LearnedState, program_of
from headrace.engine.learning.refusal import Refusal
from headrace.engine.learning.steps import labels_of, step_of
from headrace.engine.quality.baselines import baseline_of


class PreparedMessage(NamedTuple):
    """A message that is ready to be run.

    Attributes
    ----------
    scores
        float64[n]: the scores of the questions that were run; NaN for other entries.
    """

    columns: Columns
    entries: Entries
    scores: Floats


class Run(NamedTuple):
    """The outcome of a run over entries.

    Attributes
    ----------
    done
        The number of entries that were asked or learned.
    error
        What the estimator raised at the entry after them.
    """

    done: int
    error: Exception | None = None


def places_of(features: Sequence[FeatureDefinition]) -> tuple[list[int], list[int]]:
    """Return the places of the numbers and those of the texts among the features."""
    texts = [feature.type is FieldType.STRING for feature in features]
    return [place for place, text in enumerate(texts) if not text], [place for place, text in enumerate(texts) if text]


class RiverLearner:
    """The estimator itself, which takes entries one at a time.

    Attributes
    ----------
    examples
        The number of examples that it has learned.
    """

    def __init__(self, estimator: Any, features: Sequence[FeatureDefinition], task: Task, examples: int = 0) -> None:
        self._estimator = estimator
        self._names = [feature.name for feature in features]
        self._places = places_of(features)
        self._task = task
        # `Learning` has the baseline that counts.
        self._step = step_of(task, baseline_of(task))
        self.examples = examples

    def run(self, columns: Columns, scores: Floats, row: int) -> None:
        """Ask or learn an entry."""
        rows = (self._row(columns, row),)
        if columns.kinds[row] == QUESTION:
            # Before the first example a copy is asked, so that a question adds no keys to the model.
            estimator = self._estimator if self.examples else copy.deepcopy(self._estimator)
            values = array("d")
            self._step.ask(estimator, rows, values)
            scores[row] = values[0]
        elif columns.kinds[row] == ANSWER:
            labels, weights = labels_of(self._task, columns.labels[row : row + 1]), columns.weights[row : row + 1]
            self._step.learn(self._estimator, rows, labels, weights.tolist())
            self.examples += 1

    def _row(self, columns: Columns, row: int) -> dict[str, float | str]:
        """Return an entry as River takes it: without the features that are missing."""
        numbers, texts = self._places
        values: dict[int, float | str | None] = {
            place: column[row] for place, column in zip(texts, columns.categories, strict=True)
        }
        values |= zip(numbers, columns.numbers[row].tolist(), strict=True)
        return present({name: values[place] for place, name in enumerate(self._names)})


class CompiledLearner:
    """Asks and learns as a River estimator does: the same scores, and the same state after it, to the last bit.

    The estimator is not updated until `to_river`. An entry at which Python would raise an error or produce a complex
    number is given to the estimator itself.
    """

    def __init__(
        self,
        estimator: Any,
        features: Sequence[FeatureDefinition],
        task: Task,
        *,
        recognised: RecognisedEstimator,
        state: LearnedState,
    ) -> None:
        self._settings = recognised.plan.settings
        self._program = program_of(recognised.plan, len(features))
        self._state = state
        self._river = RiverLearner(estimator, features, task, state.examples)
        self._places = places_of(features)
        self._encoded = recognised.plan.encoded
        self._is_ahead = False

    @classmethod
    def of(
        cls, estimator: Any, features: Sequence[FeatureDefinition], task: Task, examples: int = 0
    ) -> CompiledLearner | Refusal:
        """Return a learner that goes on from an estimator, or why only River can.

        Parameters
        ----------
        estimator
            A River pipeline or estimator.
        features
            The features of the model, in order.
        task
            The model's task.
        examples
            The number of examples that the estimator has learned.
        """
        recognised = recognise(estimator, features, task)
        if isinstance(recognised, Refusal):
            return recognised
        if addresses() is None:
            return Refusal("The C library of this process does not name its functions")
        state = LearnedState.from_river(recognised, [feature.name for feature in features], examples)
        if isinstance(state, Refusal):
            return state
        return cls(estimator, features, task, recognised=recognised, state=state)

    def prepared(self, columns: Columns) -> PreparedMessage:
        """Return a message in the form that `run` takes; messages are prepared and run in the order of the log.

        Only categories of answers get codes, because a question leaves no category in the state.
        """
        numbers, texts = self._places
        features = np.empty((len(columns), len(numbers) + len(texts)))
        features[:, numbers] = columns.numbers
        for place, column in zip(texts, columns.categories, strict=True):
            features[:, place] = self._codes(place, column, columns.kinds)
        # Copies, because the kernel is compiled for arrays that can be written, and Arrow's cannot.
        kinds, labels, weights = columns.kinds.copy(), columns.labels.copy(), columns.weights.copy()
        scores = np.full(len(columns), math.nan)
        return PreparedMessage(columns, Entries(kinds, features, labels, weights), scores)

    def run(self, message: PreparedMessage, first: int, last: int) -> Run:
        """Ask and learn the entries of a message from `first` to before `last`, in order."""
        row = first
        while row < last:
            row = self._run_compiled(message, row, last)
            if row < last:
                error = self._run_river(message, row)
                if error is not None:
                    return Run(row, error)
                row += 1
        return Run(last)

    def to_river(self) -> None:
        """Write the learned tables back into the River estimator."""
        if self._is_ahead:
            self._state.to_river()
            self._is_ahead = False

    def is_within(self, limit: float) -> bool:
        """Return whether all numbers of the learned state are finite, and none is beyond a limit.

        Unlike `to_river`, it creates no Python object for each key.
        """
        arrays = self._state.arrays
        learned = np.concatenate((arrays.numbers[arrays.present], arrays.scalars))
        return bool((np.abs(learned) <= limit).all())

    def _run_compiled(self, message: PreparedMessage, first: int, last: int) -> int:
        """Run the kernel; return the entry before which it stopped, for River to go on."""
        self._is_ahead = True
        codes = np.unique(message.entries.features[first:last, self._encoded])
        before = self._state.backup(codes[codes >= 0.0].astype(np.int64))
        stopped = self._kernel(message, first, last)
        if stopped < last:
            # The entry was learned in part: repeat those before it.
            self._state.restore(before)
            self._kernel(message, first, stopped)
        self._river.examples = self._state.examples
        return stopped

    def _kernel(self, message: PreparedMessage, first: int, last: int) -> int:
        library = addresses()
        assert library is not None
        arrays, frames = self._state.arrays, self._state.frames
        settings, program = self._settings, self._program
        return run(program, settings, arrays, frames, message.entries, message.scores, first, last, *library)

    def _run_river(self, message: PreparedMessage, row: int) -> Exception | None:
        """Give an entry to the estimator itself; return what it raised."""
        self.to_river()
        try:
            self._river.run(message.columns, message.scores, row)
        except Exception as error:
            return error
        refusal = self._state.load(self._river.examples)
        assert refusal is None, refusal
        return None

    def _codes(self, place: int, column: Sequence[str | None], kinds: npt.NDArray[np.int8]) -> list[float]:
        """Return the codes of a text feature: NaN where it is missing."""
        if place not in self._encoded:
            return [0.0 if text else math.nan for text in column]
        known, codes = self._state.codes(place), list[float]()
        for text, kind in zip(column, kinds.tolist(), strict=True):
            if not text:
                codes.append(math.nan)
                continue
            code = known.get(text)
            if code is None:
                state = self._state
                code = state.category_or_new(place, text) if kind == ANSWER else state.category_in_question(place, text)
            codes.append(code)
        return codes
