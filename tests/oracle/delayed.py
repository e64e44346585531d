"""River's own evaluation under late labels, and its consequences.

`river.evaluate.iter_progressive_val_score(moment=, delay=)` asks each question at its moment and reveals its answer at
moment + delay. At equal times `river.stream.simulate_qa` (River 0.26) does this:

- Before a question at t it reveals each answer with moment + delay <= t: an answer known at t precedes a question asked
  at t. The answer of a question with delay 0 follows its own question, because it only starts to wait then.
- Questions are asked in the order of the data.
- Answers wait in a list that `bisect.insort` keeps in the order of moment + delay, where an equal one goes behind those
  that are there: the first of two answers known at t is the one whose question was asked first.

Data in the order of (time of the question, event id) therefore makes River follow the order of headrace's log to the
entry, and no rank is needed within equal times. `steps_of` shows the order that River really takes.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from river import metrics
from river.evaluate import iter_progressive_val_score
from river.stream import simulate_qa

#: The delay of a question without an answer. River requires one: it comes after all others and is ignored everywhere.
NEVER = 2**62

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: A question by its index, and whether it is asked (True) or answered.
Step = tuple[int, bool]


@dataclass(frozen=True)
class Questions:
    """N questions with binary labels, in the order in which they are asked.

    Attributes
    ----------
    times
        Their event times (µs).
    moments, delays
        River's arguments; a delay is `NEVER` if there is no answer.
    labels
        None if there is no answer.
    names, numbers
        The features in the order of the model, and float64[N, features]; NaN is missing.
    """

    ids: list[str]
    times: Ints
    moments: Ints
    delays: Ints
    labels: list[bool | None]
    names: tuple[str, ...]
    numbers: Floats

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: list[int]) -> Questions:
        """Return the questions at these rows, asked in this order."""
        return Questions(
            [self.ids[row] for row in rows],
            self.times[rows],
            self.moments[rows],
            self.delays[rows],
            [self.labels[row] for row in rows],
            self.names,
            self.numbers[rows],
        )

    def row(self, index: int) -> dict[str, float]:
        """Return a vector as River takes it."""
        return row_of(self.names, self.numbers[index])

    def pairs(self) -> Iterator[tuple[dict[str, float], bool]]:
        """Yield River's data set."""
        for index, label in enumerate(self.labels):
            yield self.row(index), bool(label)

    def clock(self) -> dict[str, Any]:
        """Return River's arguments `moment` and `delay`: each is called once for each question, in order."""
        moments, delays = iter(self.moments.tolist()), iter(self.delays.tolist())
        return {"moment": lambda _: next(moments), "delay": lambda _x, _y: next(delays)}


@dataclass(frozen=True)
class Evaluation:
    """The results of River's evaluation.

    Attributes
    ----------
    scores
        float64[N]: the probability of true, by question.
    steps
        The questions and answers in River's order.
    models
        Copies of the model by the number of answers that it had learned: the requested ones, and the last one.
    """

    questions: Questions
    scores: Floats
    steps: list[Step]
    models: dict[int, Any]


def row_of(names: tuple[str, ...], numbers: Floats) -> dict[str, float]:
    """Return a vector as River takes it: missing values are left out."""
    return {name: value for name, value in zip(names, numbers.tolist(), strict=True) if value == value}


def steps_of(questions: Questions) -> Iterator[Step]:
    """Yield the order in which River asks and answers; answers that never come are last."""
    # The features have no effect here.
    nothing: dict[str, float] = {}
    pairs = ((nothing, bool(label)) for label in questions.labels)
    for index, _, label in simulate_qa(pairs, **questions.clock(), copy=False):
        yield index, label is None


def evaluate(questions: Questions, model: Any, keep: Collection[int] = ()) -> Evaluation:
    """Have River evaluate a new model.

    Parameters
    ----------
    keep
        Numbers of answers after which the model is copied.
    """
    steps = list(steps_of(questions))
    revealed = [index for index, asks in steps if not asks]
    answered = sum(label is not None for label in questions.labels)
    stops, models = {*keep, answered}, {}
    if 0 in stops:
        models[0] = copy.deepcopy(model)
    scores = np.full(len(questions), np.nan)
    states = iter_progressive_val_score(
        questions.pairs(), model, metrics.LogLoss(), **questions.clock(), step=1, yield_predictions=True
    )
    for learned, (index, state) in enumerate(zip(revealed, states, strict=True), 1):
        scores[index] = state["Prediction"][True]
        if learned in stops:
            models[learned] = copy.deepcopy(model)
    steps = [(index, asks) for index, asks in steps if asks or questions.labels[index] is not None]
    return Evaluation(questions, scores, steps, models)


def figures(evaluation: Evaluation, score_from: int | None) -> dict[str, float]:
    """Compute metrics as of the question, for answers to questions from an event time on, and those of the baselines.

    `river_…` are River's metrics; the others are computed here, with sums in the order of the answers.
    """
    questions, ruler, prior_loss, repeated = evaluation.questions, Ruler(len(evaluation.questions)), 0.0, 0
    learned = true = 0
    last: bool | None = None
    pending: dict[int, tuple[float, bool | None]] = {}
    for index, asks in evaluation.steps:
        if asks:
            pending[index] = ((true + 1.0) / (learned + 2.0), last)
            continue
        label = bool(questions.labels[index])
        prior, before = pending.pop(index)
        if score_from is None or questions.times[index] >= score_from:
            ruler.add(float(evaluation.scores[index]), label)
            prior_loss -= math.log(prior if label else 1.0 - prior)
            repeated += before is label
        learned += 1
        true += label
        last = label
    result = {"examples": float(learned), **ruler.metrics()}
    if ruler.scored:
        result |= {"prior_log_loss": prior_loss / ruler.scored, "no_change_accuracy": repeated / ruler.scored}
    return result


class Ruler:
    """Metrics of the scores of a binary condition, taken one after another.

    Parameters
    ----------
    most
        The maximum number of scores.
    """

    _BINS = 10

    def __init__(self, most: int) -> None:
        self.scored = self._right = 0
        self._loss = 0.0
        self._bins = [[0, 0.0, 0] for _ in range(self._BINS)]
        self._river_loss, self._river_accuracy = metrics.LogLoss(), metrics.Accuracy()
        # With a window that holds everything, the area is exact.
        self._river_area = metrics.RollingROCAUC(window_size=max(most, 1))

    def add(self, score: float, label: bool) -> None:
        """Add a score and its true outcome."""
        self.scored += 1
        self._right += (score > 0.5) is label
        self._loss -= math.log(min(max(score if label else 1.0 - score, 1e-15), 1.0 - 1e-15))
        part = self._bins[min(int(score * self._BINS), self._BINS - 1)]
        part[0] += 1
        part[1] += score
        part[2] += label
        self._river_loss.update(label, score)
        self._river_accuracy.update(label, score > 0.5)
        self._river_area.update(label, score)

    def metrics(self) -> dict[str, float]:
        """Return all metrics; only their number if there was no score."""
        if not self.scored:
            return {"scored": 0.0}
        # n |sum of scores / n - true / n| for each bin.
        gaps = [count * abs(score / count - true / count) for count, score, true in self._bins if count]
        return {
            "scored": float(self.scored),
            "log_loss": self._loss / self.scored,
            "accuracy": self._right / self.scored,
            "ece": math.fsum(gaps) / self.scored,
            "river_roc_auc": self._river_area.get(),
            "river_log_loss": self._river_loss.get(),
            "river_accuracy": self._river_accuracy.get(),
        }
