"""A real loop that lives: it carries out actions, and compares its output with the oracle."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from headrace import compiler, embedded
from headrace.client import IngestClient
from headrace.embedded.processes import SERVICES
from headrace_learner.checkpoint import Checkpoints
from headrace_learner.state_hash import state_hash
from tests.deadline import measured, scaled, until
from tests.life.loops import IDLE_S, source
from tests.life.plan import HISTORY, RESTARTED, Action, Change, Compare, Mark, Pause, Restart, Write
from tests.life.producers import Producers
from tests.life.recorder import Recorder
from tests.life.slow_feature import HOLD
from tests.life.verdict import Right, Verdict, reasons, streamed, verdict, waits, wrong_answer
from tests.oracle.scores import BareRiver
from tests.oracle.vectors import USUAL, Tolerance

_ROOT = Path(__file__).parents[2]

Say = Callable[[str], None]


class World:
    """A loop under test; as a context manager it runs for the block.

    Parameters
    ----------
    broker
        "embedded", or "official".
    partitions
        Partitions of each stream, if the broker has partitions.
    patience
        Seconds without any progress after which missing output counts as lost, on the reference machine.
    tolerance
        How much the reference machine may add to wall-clock times; a slow or busy one may add more.
    environment
        Additional variables for the services.
    services
        Modules that replace the services' own: mutants.
    """

    def __init__(
        self,
        directory: Path,
        broker: str,
        partitions: int,
        *,
        patience: float = 30.0,
        tolerance: Tolerance = USUAL,
        environment: dict[str, str] | None = None,
        services: Mapping[str, str] | None = None,
        say: Say = lambda text: None,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._file = directory / "loop.py"
        self._partitions = partitions
        self._file.write_text(source(partitions))
        self._data = directory / "data"
        self._loaded = compiler.load(self._file)
        self._options: dict[str, Any] = {"pulsar": "official"} if broker == "official" else {}
        self._environment = {"PYTHONPATH": os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")])}
        self._hold = directory / "remaking is held"
        self._environment |= {HOLD: str(self._hold)} | (environment or {})
        self._services = services or {}
        self._patience = patience
        self._tolerance = tolerance
        self._say = say
        self._running = ExitStack()
        self._bare: dict[str, BareRiver] = {}
        self._right: Right = {}
        self.begins = _now() - HISTORY
        self.situations: Counter[str] = Counter()
        self.differences: list[str] = []
        self.counts: Counter[str] = Counter()
        self._producers = Producers(directory, self.begins, _now, 6 * patience)

    def __enter__(self) -> Self:
        self._up()
        loop = self.loop.definition
        self._recorder = Recorder(loop, self.loop.namespace)
        self._recorder.connect(self.loop.pulsar_url)
        self._bare = {model.name: BareRiver(model, self._loaded.learner(model.name)) for model in loop.models}
        self.situations[f"{max(stream.partitions for stream in loop.streams)} partitions"] += 1
        self.situations[f"{len(loop.models)} models"] += 1
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._recorder.close()
        self._running.close()

    def perform(self, action: Action) -> None:
        """Carry out an action."""
        if not isinstance(action, Write):
            self._hold.unlink(missing_ok=True)
        match action:
            case Pause():
                threading.Event().wait(action.idles * IDLE_S)
                self.situations[f"pause {'below' if action.idles < 1 else 'beyond'} idle {action.where}"] += 1
            case Write():
                self._write(action)
            case Restart():
                self._restart(action.what)
                self.situations[str(action)] += 1
            case Mark():
                self._mark(action)
                self.situations["mark" if action.until is not None else "mark of the far future"] += 1
            case Change():
                self._change(action)
                self.situations[action.what] += 1
            case Compare():
                self.compare()

    def compare(self, complete: bool = False) -> Verdict:
        """Wait until the loop has caught up, and note how it differs from the oracle.

        Parameters
        ----------
        whole
            Check vectors again that were already found right.
        """
        start = time.monotonic()
        done = self._wait()
        self._say(f"{'caught up' if done else 'did not catch up'} after {time.monotonic() - start:.1f} s")
        right = {} if complete else self._right
        result = verdict(self.loop.definition, self._recorder, self._tolerance.on(measured()), right)
        result.wrong += self._scores() if not result.differences else []
        self.counts = result.counts
        self.differences += result.differences
        self.situations["comparison"] += 1
        return result

    def finish(self) -> None:
        """Compare a last time, then stop the loop and compare its final models."""
        if not self.differences:
            self.compare(complete=True)
        for stream, partitions in self._recorder.streams.items():
            if not any(message.payload for log in partitions for message in log):
                self.situations[f"stream that never came: {stream}"] += 1
        self._recorder.close()
        self._running.close()
        if not self.differences:
            self.differences += list(self._states())

    def _up(self) -> None:
        self._running.enter_context(mutated(self._services))
        run = embedded.run(
            self._file, data=self._data, environment=self._environment, report=self._say, **self._options
        )
        self.loop = self._running.enter_context(run)

    def _write(self, action: Write) -> None:
        before = self._reasons()
        answer = self._producers.write(self.loop, action, self._arrived)
        self.situations += action.situations + Counter({f"by {action.how}": 1})
        if answer is not None:
            self.situations["answer of a command"] += not answer.undecided
            self.differences += wrong_answer(answer, before, self._reasons())

    def _reasons(self) -> Counter[str]:
        self._recorder.read()
        return reasons(self.loop.definition, self._recorder)

    def _arrived(self) -> int:
        self._recorder.read()
        return sum(len(log) for logs in self._recorder.streams.values() for log in logs)

    def _wait(self) -> bool:
        """Wait until nothing is missing; return False if nothing has arrived for as long as the patience lasts."""
        pause, seen, since = threading.Event(), -1, time.monotonic()
        while True:
            self._recorder.read()
            if not waits(self.loop.definition, self._recorder):
                return True
            models = streamed(self.loop.definition)
            total = sum(len(self._recorder.vectors(m.name)) + len(self._recorder.log(m.name)) for m in models)
            if total != seen:
                seen, since = total, time.monotonic()
            elif time.monotonic() - since > scaled(self._patience):
                return False
            pause.wait(0.25)

    def _scores(self) -> Iterator[str]:
        """Compare the learner's metrics with those of bare River."""
        for model in self.loop.definition.models:
            log, bare = self._recorder.log(model.name), self._bare[model.name]
            bare.follow(log[bare.read :])
            try:
                metrics = self._learned(model.name, bare.examples)
            except TimeoutError as error:
                yield f"{model.name}: {bare.examples} examples are not learned: {error}"
                continue
            name = "mae" if model.task == "regression" else "accuracy"
            if bare.examples and abs(metrics[name] - bare.score) > 1e-9 * max(bare.score, 1.0):
                yield f"{model.name}: {name} is {metrics[name]!r} instead of {bare.score!r}"

    def _learned(self, model: str, examples: int) -> dict[str, float]:
        """Return the metrics of a model, once it has learned that many examples."""
        return until(
            lambda: self._metrics(model), lambda metrics: metrics.get("examples", 0) == examples, self._patience
        )

    def _metrics(self, model: str) -> dict[str, float]:
        all_metrics = [status.metrics[model] for status in self.loop.status() if model in status.metrics]
        return max(all_metrics, key=lambda metrics: metrics.get("examples", 0.0), default={})

    def _states(self) -> Iterator[str]:
        """Compare the state of each model with that of bare River, bit for bit."""
        for name in (model.name for model in self.loop.definition.models):
            bare = self._bare[name]
            (checkpoint,) = self._data.rglob(f"{name}.ckpt")
            learning = Checkpoints(checkpoint.parent, bare.model).load()
            if learning is None or state_hash(learning.estimator) != state_hash(bare.estimator):
                yield f"{name}: its state differs from that of bare River after {bare.examples} examples"

    def _restart(self, what: str) -> None:
        if what == "up":
            self._recorder.close()
            self._running.close()
            self._up()
            self._recorder.connect(self.loop.pulsar_url)
            return
        services = RESTARTED if what == "all" else (what,)
        before = {name: pid for name, pid in self.loop.pids.items() if name.rpartition("-")[0] in services}
        for pid in before.values():
            os.kill(pid, signal.SIGTERM)
        until(lambda: self._replaced(before), seconds=6 * self._patience)

    def _change(self, action: Change) -> None:
        self._recorder.read()
        self._recorder.close()
        self._running.close()
        self._file.write_text(source(self._partitions, shape=action.shape))
        self._loaded, now = compiler.load(self._file), _now()
        if action.held:
            self._hold.touch()
        self._up()
        # Use the loop as it runs: the embedded broker has no partitions.
        loop = self.loop.definition
        self._recorder.change(loop, now)
        for model in loop.models:
            # A model that was left out comes back as it was.
            bare = self._bare.get(model.name)
            if bare is None or bare.model.hash != model.hash:
                self._bare[model.name] = BareRiver(model, self._loaded.learner(model.name))
        self._recorder.connect(self.loop.pulsar_url)

    def _replaced(self, before: dict[str, int]) -> bool:
        """Return whether each instance runs as a new process that is ready."""
        ready = {status.instance for status in self.loop.status() if status.state == "ready"}
        pids = self.loop.pids
        return all(name in ready and pids.get(name, pid) != pid for name, pid in before.items())

    def _mark(self, action: Mark) -> None:
        if action.until is None:
            self._producers.mark_wrongly(self.loop, action.stream)
            return
        address = until(lambda: self.loop.addresses.get("ingest", ""))
        with IngestClient(address) as client:
            client.mark(action.stream, self.begins + action.until)


@contextmanager
def lived(directory: Path, broker: str, partitions: int, **options: Any) -> Iterator[World]:
    """Yield a world that ends with a last comparison, unless something fails before."""
    with World(directory, broker, partitions, **options) as world:
        yield world
        world.finish()


@contextmanager
def mutated(services: Mapping[str, str]) -> Iterator[None]:
    """Run these modules in place of the services' own."""
    before = dict(SERVICES)
    SERVICES.update(services)
    try:
        yield
    finally:
        SERVICES.update(before)


def _now() -> int:
    return time.time_ns() // 1_000
