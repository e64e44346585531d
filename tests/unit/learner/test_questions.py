"""Questions and answers in one log: each prediction is that of the question's place, as in River's evaluation."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from river import linear_model, metrics, naive_bayes, preprocessing, tree
from river.evaluate import iter_progressive_val_score

from headrace.definition import Task
from headrace.engine.learning import Learning, Score, takes_weight
from headrace.errors import LearnerFailed
from headrace.wire.message import Message
from headrace.wire.tables import Kind
from headrace_learner import checkpoint
from headrace_learner.state_hash import state_hash
from tests.support.estimators import PREDICTORS, both
from tests.unit.engine.export.scores import FEATURES, label, vector
from tests.unit.learner.logs import Entry, Row, alternating, definition, entries_of, log, message, messages

_ROW: Row = {feature.name: "text" if feature.type == "string" else 1.0 for feature in FEATURES}

_MODELS: dict[str, tuple[Task, Callable[[], Any]]] = {
    "logistic": (Task.BINARY, lambda: both() | linear_model.LogisticRegression()),
    "tree": (Task.BINARY, lambda: tree.HoeffdingTreeClassifier(grace_period=20, delta=0.1)),
    "bayes": (Task.MULTICLASS, lambda: both() | naive_bayes.GaussianNB()),
    "softmax": (Task.MULTICLASS, lambda: both() | linear_model.SoftmaxRegression()),
    "classes": (Task.MULTICLASS, lambda: tree.HoeffdingAdaptiveTreeClassifier(seed=1, grace_period=20, delta=0.1)),
    "linear": (Task.REGRESSION, lambda: both() | linear_model.LinearRegression()),
    "means": (Task.REGRESSION, lambda: tree.HoeffdingTreeRegressor(grace_period=20, leaf_prediction="mean")),
}
_WEIGHTED = ("logistic", "tree", "linear", "means")


class Case:
    """A random log: some questions are never answered, some answers share a moment, some follow much later."""

    def __init__(self, name: str, count: int, seed: int, *, answered: float = 0.7, weighted: bool = False) -> None:
        self.task, self.make = _MODELS[name]
        self.model = definition("m", self.task, _ROW, name, publish_examples=17)
        rng = random.Random(seed)
        vectors = [vector(rng, missing=0.1) for _ in range(count)]
        self.rows: list[Row] = [{key: value for key, value in row.items() if value == value} for row in vectors]
        events: list[tuple[float, int, int, Entry]] = []
        for number, row in enumerate(vectors):
            ask_time = number + rng.choice([0.0, 0.5])
            weight = rng.choice([1.0, 20.0, 2.5]) if weighted else 1.0
            events.append((ask_time, 1, number, Entry(Kind.QUESTION, number)))
            known = ask_time + rng.choice([0.0, 0.5, 1.0, rng.expovariate(0.1), rng.expovariate(0.01)])
            done = Entry(Kind.ANSWER, number, label(rng, row, self.task), weight)
            if rng.random() > answered:
                done = Entry(Kind.UNANSWERED, number)
            # An answer precedes the questions of its moment, but not its own.
            events.append((known, 0 if known > ask_time else 2, number, done))
        self.log = [event[-1] for event in sorted(events, key=lambda event: event[:3])]

    def messages(self, sizes: list[int]) -> list[Message]:
        return list(messages(self.model, self.rows, self.log, sizes))

    def answered_only(self) -> Case:
        """Return the same log without the questions that have no answer."""
        case = copy.copy(self)
        answered = {entry.number for entry in self.log if entry.kind is Kind.ANSWER}
        case.log = [entry for entry in self.log if entry.number in answered]
        return case

    def of_river(self) -> dict[int, Any]:
        """Return River's prediction for each question with an answer, by its place in the log."""
        places: dict[int, int] = {}
        answers: dict[int, tuple[int, Entry]] = {}
        for place, entry in enumerate(self.log):
            if entry.kind is Kind.QUESTION:
                places[entry.number] = place
            elif entry.kind is Kind.ANSWER:
                answers[entry.number] = (place, entry)
        by_place = {place: number for number, place in places.items() if number in answers}
        # A moment cannot be a feature, so it comes from an iterator: River asks for one per question, in order.
        moments = iter(sorted(by_place))
        dataset = []
        for place in sorted(by_place):
            number = by_place[place]
            entry = answers[number][1]
            # Use the order of the model's features: sums and products depend on it in the last bit.
            row = self.rows[number]
            x = {
                feature.name: row[feature.name] for feature in self.model.features if row.get(feature.name) is not None
            }
            dataset.append((x, entry.label, {"w": entry.weight} if entry.weight != 1.0 else {}))
        delays = iter([answers[by_place[place]][0] - place for place in sorted(by_place)])
        metric = metrics.MAE() if self.task is Task.REGRESSION else metrics.LogLoss()
        if self.task is Task.MULTICLASS:
            metric = metrics.CrossEntropy()
        evaluation = iter_progressive_val_score(
            dataset,
            self.make(),
            metric,
            moment=lambda _: next(moments),
            delay=lambda _x, _y: next(delays),
            yield_predictions=True,
        )
        order = sorted((place, number) for number, (place, _) in answers.items())
        found = [state["Prediction"] for state in evaluation]
        return {places[number]: prediction for (_, number), prediction in zip(order, found, strict=True)}


def told(task: Task, prediction: Any) -> Score:
    """Convert River's prediction to the terms of the learner."""
    if task is Task.BINARY:
        return -1.0 if not prediction else float(prediction.get(True, 0.0)) if any(prediction.values()) else 0.5
    return dict(prediction or {}) if task is Task.MULTICLASS else float(prediction)


class Read:
    """The results of reading a log."""

    def __init__(self, case: Case, sizes: list[int], restart: int = -1) -> None:
        self.scores: dict[int, Score] = {}
        self.versions: list[int] = []
        self.learning = Learning(case.model, case.make(), asked=self.scores.__setitem__)
        for number, one in enumerate(case.messages(sizes)):
            if number == restart:
                again = checkpoint.decode(case.model, checkpoint.encode(self.learning))
                assert again is not None
                again._asked = self.scores.__setitem__
                self.learning = again
            for _ in self.learning.read(one):
                self.learning.progress.published = self.learning.progress.examples
                self.versions.append(self.learning.progress.examples)

    def everything(self) -> tuple[Any, ...]:
        learning = self.learning
        return self.scores, self.versions, state_hash(learning.estimator), learning.quality.dump()


_CASES = st.builds(Case, st.sampled_from(sorted(_MODELS)), st.integers(1, 120), st.integers(0, 2**32))


@settings(max_examples=60, deadline=None)
@given(case=_CASES, sizes=st.lists(st.integers(1, 90), min_size=1, max_size=4))
def test_predictions_are_those_of_rivers_delayed_evaluation(case: Case, sizes: list[int]) -> None:
    read = Read(case, sizes)
    for place, prediction in case.of_river().items():
        assert read.scores[place] == told(case.task, prediction)


@settings(max_examples=20, deadline=None)
@given(name=st.sampled_from(_WEIGHTED), seed=st.integers(0, 2**32))
def test_predictions_with_weights_are_those_of_river(name: str, seed: int) -> None:
    case = Case(name, 80, seed, weighted=True)
    read = Read(case, [50])
    for place, prediction in case.of_river().items():
        assert read.scores[place] == told(case.task, prediction)


@settings(max_examples=40, deadline=None)
@given(case=_CASES, sizes=st.lists(st.integers(1, 90), min_size=1, max_size=4), restart=st.integers(0, 20))
def test_neither_batches_nor_a_restart_change_anything(case: Case, sizes: list[int], restart: int) -> None:
    assert Read(case, sizes, restart).everything() == Read(case, [10_000]).everything()


def in_one_order(learning: Learning) -> Any:
    """Return the estimator with its scaler's keys sorted: a question reads a defaultdict, which adds the key with 0."""
    estimator = copy.deepcopy(learning.estimator)
    for scaler in _scalers(estimator):
        scaler.means, scaler.vars = (dict(sorted(values.items())) for values in (scaler.means, scaler.vars))
    return estimator


def _scalers(estimator: Any) -> Iterator[preprocessing.StandardScaler]:
    if type(estimator) is preprocessing.StandardScaler:  # isinstance would accept a pipeline that ends with one, too
        yield estimator
    for part in getattr(estimator, "steps", getattr(estimator, "transformers", {})).values():
        yield from _scalers(part)


@example(pair=("logistic", Task.BINARY), seed=757)  # a question without an answer adds a key
@settings(max_examples=60, deadline=None)
@given(
    pair=st.sampled_from([(name, task) for name, (tasks, _) in PREDICTORS.items() for task in tasks]),
    seed=st.integers(0, 2**32),
)
def test_a_question_without_an_answer_has_no_effect(pair: tuple[str, Task], seed: int) -> None:
    name, task = pair
    case = Case("logistic" if task is Task.BINARY else "bayes" if task is Task.MULTICLASS else "linear", 60, seed)
    case.make = lambda: both() | copy.deepcopy(PREDICTORS[name][1]())
    whole, part = Read(case, [40]), Read(case.answered_only(), [40])
    assert state_hash(in_one_order(whole.learning)) == state_hash(in_one_order(part.learning))
    assert whole.learning.quality.dump() == part.learning.quality.dump()
    answered = {entry.number for entry in case.answered_only().log}
    places = [place for place, entry in enumerate(case.log) if entry.kind is Kind.QUESTION and entry.number in answered]
    assert [whole.scores[place] for place in places] == list(part.scores.values())


def test_scores_and_baselines_are_those_of_the_question() -> None:
    """Three questions precede the first answer: no answer is known at any of them, whatever is learned meanwhile."""
    model = definition("m", Task.REGRESSION, {"x": 1.0})
    rows: list[Row] = [{"x": 1.0}] * 4
    q, a = Kind.QUESTION, Kind.ANSWER
    entries = [Entry(q, 0), Entry(q, 1), Entry(q, 2), Entry(a, 0, 4.0), Entry(a, 1, 8.0), Entry(q, 3)]
    entries += [Entry(a, 2, 2.0), Entry(a, 3, 7.0)]
    learning = Learning(model, linear_model.LinearRegression())
    for one in messages(model, rows, entries, [3]):
        list(learning.read(one))
    found = learning.quality.metrics()
    assert found["prior_mae"] == (4.0 + 8.0 + 2.0 + (7.0 - 6.0)) / 4
    assert found["no_change_mae"] == (4.0 + 8.0 + 2.0 + (8.0 - 7.0)) / 4
    assert found["scored"] == 4.0


def test_the_order_of_answers_decides_what_is_learned_first() -> None:
    model = definition("m", Task.REGRESSION, {"x": 1.0})
    rows: list[Row] = [{"x": 1.0}, {"x": 2.0}]
    log_ = [Entry(Kind.QUESTION, 0), Entry(Kind.QUESTION, 1), Entry(Kind.ANSWER, 1, 3.0), Entry(Kind.ANSWER, 0, 1.0)]
    learning, reference = Learning(model, linear_model.LinearRegression()), linear_model.LinearRegression()
    for one in messages(model, rows, log_):
        list(learning.read(one))
    reference.learn_one({"x": 2.0}, 3.0)
    reference.learn_one({"x": 1.0}, 1.0)
    assert state_hash(learning.estimator) == state_hash(reference)


def test_an_answer_whose_question_was_never_read_is_learned_and_not_scored() -> None:
    rows: list[Row] = [{"x": float(row)} for row in range(10)]
    model = definition("m", Task.BINARY, rows[0])
    other = definition("m", Task.BINARY, {"x": 1.0, "y": 2.0})
    log_ = [Entry(Kind.QUESTION, row) for row in range(10)] + [Entry(Kind.ANSWER, row, row > 4) for row in range(10)]
    before = entries_of(other, rows, log_).take(range(6))
    after = entries_of(model, rows, log_).take(range(6, 20))
    learning = Learning(model, linear_model.LogisticRegression())
    list(learning.read(message(other, before, 0, definition=other.hash)))
    list(learning.read(message(model, after, 1, definition=model.hash)))
    found = learning.quality.metrics()
    assert (found["examples"], found["scored"], found["unasked"]) == (10.0, 4.0, 6.0)


def test_waiting_predictions_are_bounded() -> None:
    rows: list[Row] = [{"x": float(row)} for row in range(100)]
    model = definition("m", Task.BINARY, rows[0], waiting_bytes=40 * 33)
    log_ = [Entry(Kind.QUESTION, row) for row in range(100)]
    log_ += [Entry(Kind.ANSWER, row, row > 40) for row in range(100)]
    found = []
    for sizes in ([200], [7], [1, 50]):
        learning = Learning(model, linear_model.LogisticRegression())
        for one in messages(model, rows, log_, sizes):
            list(learning.read(one))
            assert learning.waiting.size <= model.waiting_bytes
        figures = learning.quality.metrics()
        assert figures["scored"] + learning.waiting.dropped == 100.0
        assert (figures["examples"], figures["unasked"], len(learning.waiting)) == (100.0, 0.0, 0)
        again = checkpoint.decode(model, checkpoint.encode(learning))
        assert again is not None
        assert again.waiting.dropped == learning.waiting.dropped
        found.append((learning.waiting.dropped, learning.quality.dump()))
    assert found[0] == found[1] == found[2]
    assert found[0][0] > 0


def test_questions_without_an_answer_leave_nothing_behind() -> None:
    rows: list[Row] = [{"x": float(row)} for row in range(20_000)]
    model = definition("m", Task.BINARY, rows[0])
    log_ = [entry for row in range(20_000) for entry in (Entry(Kind.QUESTION, row), Entry(Kind.UNANSWERED, row))]
    learning = Learning(model, linear_model.LogisticRegression())
    for one in messages(model, rows, log_, [2_000]):
        list(learning.read(one))
    assert (len(learning.waiting), learning.progress.examples, learning.progress.next_seq) == (0, 0, 40_000)
    assert learning.waiting.size < 500_000
    assert state_hash(learning.estimator) == state_hash(linear_model.LogisticRegression())


@pytest.mark.parametrize("estimator", [naive_bayes.GaussianNB, PREDICTORS["forest"][1]])
def test_an_estimator_without_weights_refuses_an_example_with_one(estimator: Callable[[], Any]) -> None:
    rows: list[Row] = [{"x": float(row)} for row in range(4)]
    model = definition("m", Task.BINARY, rows[0])
    learning = Learning(model, preprocessing.StandardScaler() | estimator())
    log_ = alternating([True, False, True, False], [1.0, 1.0, 20.0, 1.0])
    with pytest.raises(LearnerFailed, match=r"entry 5 of its log \('e2'\): TypeError: \w+ cannot learn a weight"):
        list(learning.read(next(messages(model, rows, log_))))


@pytest.mark.parametrize(
    ("estimator", "takes"),
    [
        (linear_model.LogisticRegression, True),
        (lambda: both() | linear_model.LinearRegression(), True),
        (tree.HoeffdingTreeClassifier, True),
        (tree.HoeffdingAdaptiveTreeRegressor, True),
        (linear_model.SoftmaxRegression, False),
        (lambda: both() | naive_bayes.GaussianNB(), False),
        (PREDICTORS["forest"][1], False),
    ],
)
def test_which_estimators_take_a_weight(estimator: Callable[[], Any], takes: bool) -> None:
    assert takes_weight(estimator()) is takes


def test_a_weight_of_two_is_that_of_two_examples_in_every_metric() -> None:
    rows: list[Row] = [{"x": float(row % 5)} for row in range(300)]
    labels = [row % 5 > 2 for row in range(300)]
    model = definition("m", Task.BINARY, rows[0])
    frozen = linear_model.LogisticRegression(intercept_lr=0.0, optimizer=None)
    frozen.learn_one = lambda x, y, w=1.0: None
    heavy, twice = Learning(model, copy.deepcopy(frozen)), Learning(model, copy.deepcopy(frozen))
    for one in messages(model, rows, alternating(labels, [2.0] * 300)):
        list(heavy.read(one))
    doubled = [row for row in rows for _ in range(2)]
    for one in log(model, doubled, [value for value in labels for _ in range(2)]):
        list(twice.read(one))
    for name in ("accuracy", "roc_auc", "log_loss", "f1", "ece"):
        assert heavy.quality.metrics()[name] == pytest.approx(twice.quality.metrics()[name], rel=1e-12), name
