"""A model learned by compiled code equals the same model learned by River in everything that it keeps."""

from __future__ import annotations

import ctypes
import math
import os
import random
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from river import compose, linear_model, optim, preprocessing

from headrace.definition import Task
from headrace.engine.learning import Learning, ServedQuality, not_finite
from headrace.engine.learning.compiled import machine_check
from headrace.engine.learning.compiled.c_library import addresses
from headrace.engine.learning.refusal import Refusal
from headrace.engine.learning.versions import version_of
from headrace.errors import LearnerFailed
from headrace.wire.message import Message
from headrace.wire.tables import Kind, LogEntries, Predictions
from headrace_learner import checkpoint
from headrace_learner.state_hash import state_hash
from tests.support.river_alone import is_compiled, river_alone
from tests.unit.learner.logs import Entry, Row, alternating, definition, entries_of, message, messages

_ROW: Row = {"a": 1.0, "city": "north", "b": 1.0, "kind": "x", "c": 1.0}


def _encoded() -> Any:
    numbers = compose.SelectType(float) | preprocessing.StandardScaler()
    return numbers + (compose.SelectType(str) | preprocessing.OneHotEncoder())


def _numbers() -> Any:
    return compose.SelectType(float) | preprocessing.MinMaxScaler()


def _two_encoders() -> Any:
    first = compose.SelectType(str) | compose.Discard("kind") | preprocessing.OneHotEncoder(drop_zeros=True)
    return first + (compose.SelectType(str) | compose.Discard("city") | preprocessing.OneHotEncoder())


PIPELINES: dict[str, tuple[Task, Callable[[], Any]]] = {
    "logistic": (Task.BINARY, lambda: _encoded() | linear_model.LogisticRegression()),
    "adagrad": (Task.BINARY, lambda: _encoded() | linear_model.LogisticRegression(optim.AdaGrad(0.1), l2=0.01)),
    "two encoders": (Task.BINARY, lambda: _two_encoders() | linear_model.LogisticRegression(optim.AdaGrad(0.1))),
    "adam": (Task.BINARY, lambda: _numbers() | linear_model.LogisticRegression(optim.Adam(0.05), l1=0.001)),
    "linear": (Task.REGRESSION, lambda: _encoded() | linear_model.LinearRegression(clip_gradient=2.0)),
    "ftrl": (Task.REGRESSION, lambda: _numbers() | linear_model.LinearRegression(optim.FTRLProximal())),
}


def _row(rng: random.Random) -> Row:
    row: Row = {
        "a": rng.gauss(0.0, 1.0),
        "city": rng.choice(["north", "south", "ü", ""]),
        "b": rng.choice([0.0, 1.0, 1e6 * rng.random()]),
        "kind": rng.choice("xyz"),
        "c": rng.gauss(50.0, 0.1),
    }
    return {name: value for name, value in row.items() if rng.random() > 0.1}


class Log:
    """A random log in messages: late and absent answers, weights, questions made later, a former definition."""

    def __init__(
        self,
        name: str,
        count: int,
        seed: int,
        waiting_bytes: int = 2**20,
        *,
        weights: Sequence[float] = (1.0, 1.0, 4.0, 0.3),
        publish_examples: int = 13,
    ) -> None:
        self.task, self.make = PIPELINES[name]
        self.model = definition(
            "m", self.task, _ROW, name, publish_examples=publish_examples, waiting_bytes=waiting_bytes
        )
        rng = random.Random(seed)
        self.rows = [_row(rng) for _ in range(count)]
        events: list[tuple[float, int, Entry]] = []
        for number in range(count):
            events.append((number, number, Entry(Kind.QUESTION, number)))
            label = rng.gauss(0.0, 3.0) if self.task is Task.REGRESSION else float(rng.random() < 0.4)
            answer = Entry(Kind.ANSWER, number, label, rng.choice(weights))
            if rng.random() < 0.2:
                answer = Entry(Kind.UNANSWERED, number)
            known = number + rng.choice([0.5, 3.5, rng.expovariate(0.02)])
            events.append((known, number, answer))
            if rng.random() < 0.1:
                # A second answer, a correction, which has no prediction any more.
                correction = answer._replace(label=1.0 - label, weight=2.0)
                events.append((known + rng.choice([0.1, 5.0]), number, correction))
        events.sort(key=lambda event: event[:2])
        entries = entries_of(self.model, self.rows, [entry for *_, entry in events])
        # The first entries of the log are gone: some answers have no question.
        self.entries = replace(entries.take(range(3, len(entries))), made=self._made(rng, len(entries) - 3))
        self.entries = replace(self.entries, seqs=self.entries.seqs - 3, questions=self.entries.questions - 3)
        self.cuts = self._cuts(rng, len(self.entries))
        self.served = [rng.random() < 0.5 for _ in range(count)]
        self.skipped = frozenset(rng.sample(range(len(self.entries)), 3)) if len(self.entries) > 10 else frozenset()

    @staticmethod
    def _made(rng: random.Random, count: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
        return np.array([rng.random() < 0.1 for _ in range(count)], np.bool_)

    @staticmethod
    def _cuts(rng: random.Random, count: int) -> list[int]:
        cuts = [0]
        while cuts[-1] < count:
            cuts.append(min(count, cuts[-1] + rng.choice([1, 2, 7, 40, 200])))
        return cuts

    def messages(self) -> Iterator[Message]:
        """Yield the messages; every fifth one is of a former definition with the same examples."""
        former = structs.replace(self.model, learner="former")
        for number, (start, end) in enumerate(zip(self.cuts, self.cuts[1:], strict=False)):
            model = former if number % 5 == 4 else self.model
            part = self.entries.take(range(start, end))
            watermark = int(part.times[-1])
            yield message(model, part, number, examples=model.examples_hash, epoch=1, release_watermark=watermark)

    def predictions(self, entries: LogEntries) -> Predictions:
        """Return predictions that were served for some of the questions among entries."""
        places = [
            place for place in np.flatnonzero(entries.kinds == Kind.QUESTION) if self.served[place % len(self.served)]
        ]
        return Predictions(
            [entries.ids[place] for place in places],
            entries.times[places],
            [b"\0" * 20] * len(places),
            np.zeros(len(places), np.int64),
            np.full(len(places), 0.25),
            None,
            np.zeros((len(places), 0)),
            [],
        )


class Read:
    """Everything that learning a log leaves behind.

    At the version of number `restart` the learner stops, and goes on from a checkpoint in the middle of a message.
    """

    def __init__(self, log: Log, restart: int = -1) -> None:
        self.found: list[Any] = []
        self._versions, self._restart = 0, restart
        served = ServedQuality(log.model)
        self.state = Learning(log.model, log.make(), asked=self._asked, served=served, skipped=log.skipped)
        for number, one in enumerate(log.messages()):
            assert self.state.served is not None
            self.state.served.predict(log.predictions(log.entries.take(range(log.cuts[number], log.cuts[number + 1]))))
            while not self._is_read(one):
                restored = checkpoint.decode(log.model, checkpoint.encode(self.state))
                assert restored is not None
                restored._asked, restored.skipped = self._asked, log.skipped
                self.state = restored

    def everything(self) -> list[Any]:
        state = self.state
        assert state.served is not None
        dumps = (state.quality.dump(), state.waiting.dump(), state.served.dump())
        return [*self.found, state_hash(state.estimator), *dumps, state.progress, repr(state.quality.metrics())]

    def _asked(self, place: int, score: Any) -> None:
        # River's certain scores are the integers 0 and 1.
        self.found.append((place, float(score).hex()))

    def _is_read(self, one: Message) -> bool:
        """Read a message; return whether it was read to its end."""
        for _ in self.state.read(one):
            self.state.progress.published = self.state.progress.examples
            self.found.append(version_of(self.state).SerializeToString(deterministic=True))
            self._versions += 1
            if self._versions == self._restart:
                return False
        return True


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(sorted(PIPELINES)),
    count=st.integers(4, 150),
    seed=st.integers(0, 2**32),
    waiting_bytes=st.sampled_from([2**20, 10 * 33]),
    restart=st.integers(0, 5),
)
def test_compiled_code_equals_river(name: str, count: int, seed: int, waiting_bytes: int, restart: int) -> None:
    log = Log(name, count, seed, waiting_bytes)
    compiled = Read(log, restart)
    with river_alone():
        by_river = Read(log)
    assert compiled.everything() == by_river.everything()
    assert (is_compiled(compiled.state), is_compiled(by_river.state)) == (True, False)


@pytest.mark.parametrize("name", ["logistic", "linear"])
def test_many_answers_in_a_message(name: str) -> None:
    """Metrics take answers at once, before the message or a version is complete."""
    log = Log(name, 4_000, 7, publish_examples=100_000)
    log.cuts = [0, len(log.entries)]
    compiled = Read(log)
    with river_alone():
        by_river = Read(log)
    assert compiled.state.progress.examples > 2 * 1_024
    assert compiled.everything() == by_river.everything()


def test_models_choose_at_once_in_threads() -> None:
    logs = [Log(name, 60, seed) for seed, name in enumerate([*PIPELINES, *PIPELINES])]
    barrier = threading.Barrier(len(logs))

    def learned(log: Log) -> Read:
        barrier.wait()
        return Read(log)

    machine_check._verdicts.clear()
    with ThreadPoolExecutor(len(logs)) as pool:
        states = list(pool.map(learned, logs))
    assert all(is_compiled(read.state) for read in states)
    with river_alone():
        assert [read.everything() for read in states] == [Read(log).everything() for log in logs]


def test_failed_trial_lets_river_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log("adagrad", 60, 3)
    with river_alone():
        by_river = Read(log)
    library = addresses()
    other = ctypes.cast(ctypes.CDLL(None).fmod, ctypes.c_void_p).value
    assert library is not None
    assert other is not None
    name = "headrace.engine.learning.compiled.learner.addresses"
    monkeypatch.setattr(name, lambda: library._replace(power=other))
    monkeypatch.setattr(machine_check, "_verdicts", {})
    failed = Read(log)
    refusal = Refusal("The compiled form computes other last digits than River on this machine", is_failure=True)
    assert failed.state.refusal == refusal
    assert failed.everything() == by_river.everything()


@pytest.mark.parametrize("name", PIPELINES)
@pytest.mark.parametrize("weights", [[1.0, 1e300], [1e308], [1.0, math.inf]])
def test_extreme_weights(name: str, weights: list[float]) -> None:
    log = Log(name, 60, 5, weights=weights)
    with warnings.catch_warnings():
        # River's NumPy numbers warn.
        warnings.simplefilter("ignore", RuntimeWarning)
        compiled = Read(log)
        with river_alone():
            by_river = Read(log)
        assert compiled.everything() == by_river.everything()


@pytest.mark.parametrize("name", PIPELINES)
@pytest.mark.parametrize("river_first", [True, False])
def test_either_goes_on_from_a_checkpoint_of_the_other(name: str, river_first: bool) -> None:
    log = Log(name, 120, 3, 2**20)
    messages = list(log.messages())
    half = len(messages) // 2
    learning = Learning(log.model, log.make())
    for part, by_river in ((messages[:half], river_first), (messages[half:], not river_first)):
        with river_alone() if by_river else nullcontext():
            for one in part:
                list(learning.read(one))
        assert is_compiled(learning) is not by_river
        restored = checkpoint.decode(log.model, checkpoint.encode(learning))
        assert restored is not None
        learning = restored
    with river_alone():
        expected = Learning(log.model, log.make())
        for one in messages:
            list(expected.read(one))
    assert state_hash(learning.estimator) == state_hash(expected.estimator)
    assert learning.quality.dump() == expected.quality.dump()


def test_version_comes_before_the_questions_behind_it() -> None:
    rows: list[Row] = [{"x": float(number)} for number in range(5)]
    model = definition("m", Task.BINARY, rows[0], publish_examples=2)
    log = [*alternating([True, False]), *[Entry(Kind.QUESTION, number) for number in (2, 3, 4)]]
    for learner in (nullcontext(), river_alone()):
        with learner:
            learning = Learning(model, linear_model.LogisticRegression())
            places = [
                learning.progress.next_seq for one in messages(model, rows, log, end=False) for _ in learning.read(one)
            ]
        assert places == [4]


def failure(learner: AbstractContextManager[None]) -> tuple[Any, ...]:
    """Return where and how learning fails at a number that is too large."""
    rows: list[Row] = [{"x": value} for value in (1.0, 2.0, 1e200, 3.0)]
    model = definition("m", Task.BINARY, rows[0])
    log = [Entry(Kind.QUESTION, 0), *(Entry(Kind.ANSWER, number, float(number == 2)) for number in range(4))]
    asked: list[int] = []
    learning = Learning(
        model, linear_model.LogisticRegression(optim.AdaGrad()), asked=lambda place, _: asked.append(place)
    )
    with learner, pytest.raises(LearnerFailed) as failed:
        list(learning.read(message(model, entries_of(model, rows, log), 0)))
    error = failed.value
    return str(error), error.seq, error.question, error.id, error.position, learning.progress.position, asked


def test_failing_example_is_the_same() -> None:
    assert failure(nullcontext()) == failure(river_alone())
    assert failure(nullcontext())[1] == 3


def test_pipeline_without_a_compiled_form_has_a_reason() -> None:
    log = Log("logistic", 20, 3, 2**20)
    learning = Learning(log.model, compose.SelectType(float) | preprocessing.RobustScaler() | log.make()[-1])
    assert learning.refusal is None
    for one in log.messages():
        list(learning.read(one))
    assert learning.refusal == Refusal("RobustScaler has no compiled form")


def test_numba_is_loaded_only_for_the_linear_family() -> None:
    code = (
        "import sys\n"
        "import headrace_learner.app\n"
        "from river import tree\n"
        "from headrace.definition import Task\n"
        "from headrace.engine.learning.choice import learner_of\n"
        "print(learner_of(tree.HoeffdingTreeClassifier(), (), Task.BINARY).reason, 'numba' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=_environment(), capture_output=True, text=True, check=True)
    assert done.stdout == "HoeffdingTreeClassifier has no compiled form False\n"


def _environment(**variables: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **variables}


def test_river_learns_where_the_cache_of_compiled_code_cannot_be_written() -> None:
    code = (
        "from river.linear_model import LogisticRegression\n"
        "from headrace.definition import Task\n"
        "from headrace.engine.learning.choice import learner_of\n"
        "refusal = learner_of(LogisticRegression(), (), Task.BINARY)\n"
        "print(refusal.reason, refusal.is_failure, type(refusal.error).__name__)\n"
    )
    environment = _environment(NUMBA_CACHE_DIR="/dev/null/x", NUMBA_CACHE_LOCATOR_CLASSES="UserProvidedCacheLocator")
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith('Compiled code cannot be loaded: RuntimeError("cannot cache function')
    assert done.stdout.endswith(" True RuntimeError\n")


def test_river_learns_where_numba_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "headrace.engine.learning.compiled", None)
    log = Log("logistic", 20, 3, 2**20)
    learning = Learning(log.model, log.make())
    for one in log.messages():
        list(learning.read(one))
    assert learning.refusal is not None
    assert learning.refusal.is_failure
    assert "ModuleNotFoundError" in learning.refusal.reason


@pytest.mark.parametrize("value", [2.0, 1e99, 1e200, math.inf])
@pytest.mark.parametrize("make", [preprocessing.StandardScaler, preprocessing.MinMaxScaler])
def test_unusable_number_is_found(make: Callable[[], Any], value: float) -> None:
    rows: list[Row] = [{"x": 1.0}, {"x": value}, {"x": 3.0}]
    model = definition("m", Task.BINARY, rows[0])
    learning = Learning(model, make() | linear_model.LogisticRegression())
    assert learning.not_finite() is None
    for one in messages(model, rows, alternating([True, False, True]), [2]):
        list(learning.read(one))
        assert learning.not_finite() == not_finite(learning.estimator)
    assert is_compiled(learning)
