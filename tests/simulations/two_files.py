"""``python -m tests.simulations.two_files``: two files of real data, one after the other, with silences.

The questions are scheduled flights, the outcomes their arrivals. Four fresh loops receive them by the commands `play`
and `send`, in both orders: a silence, the first file, a silence, the second file, and the first file again. The
examples, and what each command says became of its events, are compared with the oracle. The exit code is 1 if something
differs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from headrace import embedded
from headrace.demo import dataset
from headrace.embedded import RunningLoop
from tests.deadline import scaled, until
from tests.life.answer import Answer
from tests.life.recorder import Recorder
from tests.life.verdict import reasons, wrong_answer
from tests.oracle.events import judge
from tests.oracle.examples import Examples, examples_of, wrong_order

#: Seconds of silence before the first file and between the two: longer than the loop's `idle`.
_BEFORE_S, _BETWEEN_S = 12.0, 15.0

#: Seconds that a command may take, and that the log may take to get its last example.
_COMMAND_S, _LOG_S = 300.0, 180.0

#: Maximum number of differences shown of one kind.
_SHOWN = 3

#: All but a few flights land within a day of their question, so nearly all real outcomes count, and some are beyond the
#: bound. Questions are remembered for all of the file's year and outcomes for the default 7 days, so that the second
#: sending shows repeats in one case, and events that are "late or already sent" in the other.
LOOP = """
from datetime import datetime

from river.linear_model import LogisticRegression
from river.preprocessing import StandardScaler

from headrace import Count, Label, Loop, Model, Stream, View

Loop("two_files", idle="10s")

class Scheduled(Stream, key="flight", time="at", id="flight", horizon="400d"):
    flight: str
    at: datetime
    carrier: str
    origin: str
    distance: float

class Arrived(Stream, key="flight", time="at", id="flight"):
    flight: str
    at: datetime
    arrival_delay: float

flights = View(Scheduled, by=["carrier", "origin"], windows=["6h"], aggregates={"count": Count()})
late = Label(Arrived, of=Scheduled, value=Arrived.arrival_delay > 15, within="24h")
Model(
    "late_arrival", on=Scheduled, label=late, features=[flights, Scheduled.distance],
    learner=lambda: StandardScaler() | LogisticRegression(),
)
"""
QUESTIONS, OUTCOMES = "scheduled", "arrived"


@dataclass(frozen=True)
class Sent:
    """The answer of a command, and its exit code."""

    answer: Answer
    code: int


@dataclass
class Result:
    """The result of one case; `again` is that of the second sending."""

    expected: int = 0
    examples: int = 0
    again: Sent | None = None
    differences: list[str] = field(default_factory=list)


def write_files(folder: Path, rows: int) -> dict[str, Path]:
    """Write the first flights and their arrivals as JSON Lines, in order of time; return the file of each stream."""
    tables = dataset.streams()
    asked = tables[QUESTIONS].head(rows)
    arrived = tables[OUTCOMES]
    tables = {
        QUESTIONS: asked[["flight", "at", "carrier", "origin", "distance"]],
        OUTCOMES: arrived[arrived["flight"].isin(asked["flight"])][["flight", "at", "arrival_delay"]],
    }
    paths = {name: folder / f"{name}.jsonl" for name in tables}
    for name, table in tables.items():
        table.to_json(paths[name], orient="records", lines=True, date_format="iso", date_unit="us")
    return paths


class Case:
    """A fresh loop that receives the two files.

    Parameters
    ----------
    command
        "play" or "send".
    files
        The file of each stream, in the order of sending.
    """

    def __init__(self, running: RunningLoop, command: str, files: Mapping[str, Path]) -> None:
        self._running = running
        self._loop = running.definition
        self._command = command
        self._files = files
        self._recorder = Recorder(self._loop, running.namespace)
        self._result = Result()

    def run(self) -> Result:
        """Send, and compare."""
        self._recorder.connect(self._running.pulsar_url)
        with closing(self._recorder):
            for stream, silence in zip(self._files, (_BEFORE_S, _BETWEEN_S), strict=True):
                time.sleep(silence)
                self._send(stream)
            self._compare("")
            self._result.again = self._send(next(iter(self._files)))
            self._compare("after the second sending: ")
        return self._result

    def _send(self, stream: str) -> Sent:
        """Send the file of a stream, and compare what the command says with what the oracle says of its events."""
        path = self._files[stream]
        arguments = [f"{stream}={path}"] if self._command == "play" else [stream, str(path)]
        before = self._reasons()
        arguments += ["--data", str(self._running.data), "--json"]
        done = subprocess.run(
            [sys.executable, "-m", "headrace.cli", self._command, *arguments],
            capture_output=True,
            text=True,
            timeout=scaled(_COMMAND_S),
            check=False,
        )
        try:
            facts = json.loads(done.stdout)
        except ValueError as error:
            raise RuntimeError(f"{self._command} {stream}: exit code {done.returncode}\n{done.stderr}") from error
        answer = Answer(*(facts[name] for name in Answer._fields))
        wrong = wrong_answer(answer, before, self._reasons())
        code = 4 if answer.rejected else 0
        if done.returncode != code:
            wrong.append(f"exit code {done.returncode} instead of {code}")
        if answer.undecided:
            # An answer of its own, which a slow machine may give: the examples show what became of them.
            print(f"  {self._command} {stream}: {answer.undecided} events are undecided", flush=True)
        self._result.differences += [f"{self._command} {stream}: {text}" for text in wrong]
        return Sent(answer, done.returncode)

    def _reasons(self) -> Counter[str]:
        self._recorder.read()
        return reasons(self._loop, self._recorder)

    def _compare(self, when: str) -> None:
        """Wait until the log is complete, or is no longer expected to be, and compare it with the oracle."""
        (model,) = self._loop.models
        judged = judge(self._loop, self._recorder.streams)
        expected = examples_of(self._loop, model, judged)
        questions = sum(len(partition.accepted) for partition in judged[QUESTIONS]) - expected.repeated_questions
        try:
            until(
                self._logged,
                lambda counts: counts["answer"] >= len(expected.made) and counts["question"] >= questions,
                _LOG_S,
            )
        except TimeoutError as error:
            self._result.differences.append(f"{when}the log is incomplete: {error}")
        self._result.differences += [f"{when}{text}" for text in self._wrong(expected)]

    def _logged(self) -> Counter[str]:
        """Count the entries of the log by kind."""
        self._recorder.read()
        (model,) = self._loop.models
        return Counter(entry.kind for entry in self._recorder.log(model.name))

    def _wrong(self, expected: Examples) -> Iterator[str]:
        (model,) = self._loop.models
        log = self._recorder.log(model.name)
        counts = Counter(entry.key for entry in log if entry.kind == "answer")
        self._result.expected, self._result.examples = len(expected.made), counts.total()
        missing, more = sorted(expected.made - set(counts)), sorted(set(counts) - expected.made, key=str)
        twice = [key for key, count in counts.items() if count > 1]
        for what, keys in (("missing", missing), ("not expected", more), ("twice", twice)):
            if keys:
                yield f"{len(keys)} examples {what}: {keys[:_SHOWN]}"
        if order := wrong_order(log):
            yield f"{len(order)} entries out of order: {order[:_SHOWN]}"


def simulate(folder: Path, rows: int) -> int:
    """Run the four cases, and print a line for each; return the number of differences."""
    loop_file = folder / "two_files.py"
    loop_file.write_text(LOOP)
    files = write_files(folder, rows)
    differences = 0
    for command in ("play", "send"):
        for order in ((QUESTIONS, OUTCOMES), (OUTCOMES, QUESTIONS)):
            start = time.monotonic()
            with embedded.run(loop_file, data=folder / f"{command}-{order[0]}") as running:
                result = Case(running, command, {name: files[name] for name in order}).run()
            print(line(command, order, rows, result, time.monotonic() - start), flush=True)
            for difference in result.differences:
                print(f"  {difference}", flush=True)
            differences += len(result.differences)
    return differences


def line(command: str, order: tuple[str, str], rows: int, result: Result, seconds: float) -> str:
    """Return what is printed of a case."""
    assert result.again is not None
    answer, code = result.again.answer, result.again.code
    return (
        f"{command} {order[0]}, then {order[1]}: {rows:,} rows, {result.examples:,} examples, "
        f"{result.expected:,} by the oracle, {len(result.differences)} differences; {order[0]} again: "
        f"{answer.accepted:,} accepted, {answer.repeats:,} sent before, {answer.rejected:,} rejected "
        f"({answer.late:,} late or already sent), exit code {code}; {seconds:,.0f} s"
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulations.two_files",
        description=__doc__,
        epilog="Example: python -m tests.simulations.two_files --rows 2000",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rows", type=int, default=50_000, help="the number of flights, the first of the year (50000)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headrace-files-") as folder:
        return int(simulate(Path(folder), arguments.rows) > 0)


if __name__ == "__main__":
    sys.exit(main())
