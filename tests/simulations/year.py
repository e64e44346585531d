"""``python -m tests.simulations.year``: the demo's year through a real loop, beside River's delayed evaluation.

It plays the flights of 2013 into the demo's loop, as ``make demo`` does, reads what the loop recorded, and has River's
``iter_progressive_val_score(moment=, delay=, yield_predictions=True)`` evaluate the same model twice: by the places of
questions and answers in the model's log, and by event times, which come from the events and not from the log. Every
prediction as of the question must be equal bit for bit, and the metrics that the running loop reported must follow from
River's predictions. The last line is JSON; the exit code is 1 if something differs.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from headrace import compiler, embedded
from headrace.definition import ModelDefinition
from headrace.demo import dataset
from headrace.demo.board import line
from headrace.demo.demo import LOOP
from headrace.demo.playback import Playing
from headrace.demo.question import MODEL
from headrace.demo.samples import Sample, Watcher
from headrace_learner.checkpoint import Checkpoints
from tests.deadline import until
from tests.oracle.delayed import Questions, evaluate
from tests.simulations import recorded as topics
from tests.simulations.beside_river import Comparison, LoopResults, compare, measured
from tests.simulations.recorded import Recorded

Say = Callable[[str], None]

_LOOKS_EVERY_S = 1.0
_LINE_EVERY_S = 10.0


@dataclass(frozen=True)
class Played:
    """A loop that has learned its history, and its final metrics."""

    recorded: Recorded
    metrics: Mapping[str, float | None]
    events: int
    seconds: float


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulations.year",
        description=__doc__,
        epilog="Example: python -m tests.simulations.year --months 2",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--months", type=int, default=12, choices=range(1, 13), metavar="N", help="stop after N (12)")
    parser.add_argument("--keep", type=Path, help="a directory that keeps events, logs and state")
    arguments = parser.parse_args()
    start = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - start:7.1f} s  {text}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="headrace-year-") as temporary:
        result = run(arguments.keep or Path(temporary), arguments.months, say)
    print(json.dumps(result), flush=True)
    return int(result["different"] > 0)


def run(directory: Path, months: int, say: Say) -> dict[str, Any]:
    """Play, compare and print; return the figures."""
    say("preparing the flights of 2013")
    files = dataset.write(directory / "events", first_months(months))
    loaded = compiler.load(LOOP)
    model = loaded.definition.model(MODEL)
    data = directory / "loop"
    played = play(files, data, model, say)
    learning = Checkpoints(next(data.rglob(f"{MODEL}.ckpt")).parent, model).load()
    if learning is None:
        raise FileNotFoundError(f"the learner left no usable checkpoint in {data}")
    recorded = played.recorded
    by_time = topics.flights(files, recorded, loaded.definition.label(model.label).within)
    say("River, by the places in the log and by event times, and the learner's code over the log")
    start = time.monotonic()
    # Spawn, because this process has threads of the broker's client.
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        placed = pool.submit(evaluate, recorded.questions, loaded.learner(MODEL))
        timed = pool.submit(evaluate, by_time, loaded.learner(MODEL), {*recorded.served.versions.tolist()})
        scores, metrics = topics.asked_by_the_learner(model, loaded.learner(MODEL), recorded)
        places, times = placed.result(), timed.result()
    say("comparing")
    loop_results = LoopResults(scores, played.metrics, learning.estimator)
    comparison = compare(recorded, places, times, loop_results, model.score_from)
    # The running process must report the same metrics as its code over its log: all of them, bit for bit.
    again = sum(played.metrics.get(name) != value for name, value in metrics.items())
    print(f"\n{table(comparison, played.metrics)}\n\n{differences(comparison)}\n\n{ties(by_time)}\n", flush=True)
    return {
        "events": played.events,
        "wall_s": round(played.seconds, 1),
        "events_per_s": round(played.events / played.seconds),
        "questions": len(by_time),
        "answers": sum(label is not None for label in by_time.labels),
        "predictions_compared": 2 * len(by_time),
        "predictions_different": sum(
            check.different for check in comparison.checks if check.what.startswith("predictions")
        ),
        "metrics_of_the_log_different": again,
        "different": comparison.different + again,
        "evaluation_s": round(time.monotonic() - start, 1),
        "river": comparison.by_time,
        "loop": played.metrics,
        "checks": [asdict(check) for check in comparison.checks],
    }


def first_months(months: int) -> dict[str, pd.DataFrame]:
    """Return the events of all streams up to the end of a month of 2013."""
    tables = dataset.streams()
    if months == 12:
        return tables
    end = pd.Timestamp(2013, months + 1, 1, tz="UTC")
    return {name: table[table["at"] < end] for name, table in tables.items()}


def play(files: dict[str, Path], data: Path, model: ModelDefinition, say: Say) -> Played:
    """Run the demo's loop over the files, until it has learned and scored all of them; read its topics and stop it."""
    with embedded.run(LOOP, data=data, report=say) as running:
        playing = Playing(running, files)
        watcher = Watcher(running, lambda: playing.sent)
        playing.start()
        watcher.until_ended(playing, _lines(watcher, say), _LOOKS_EVERY_S)
        seconds = watcher.newest.wall_s
        say("reading the topics")
        recorded = topics.read(running, model)
        metrics = until(
            lambda: watcher.look().metrics, lambda metrics: _is_joined(metrics, recorded, model), seconds=60
        )
        return Played(recorded, metrics, playing.result().accepted, seconds)


def _lines(watcher: Watcher, say: Say) -> Callable[[Sample], None]:
    due = 0.0

    def show(sample: Sample) -> None:
        nonlocal due
        if sample.wall_s >= due or sample.ended:
            due = sample.wall_s + _LINE_EVERY_S
            say(line(sample, watcher.rates()))

    return show


def _is_joined(metrics: Mapping[str, float | None], recorded: Recorded, model: ModelDefinition) -> bool:
    """Return whether the learner has read all served predictions."""
    expected = sum(1 for _ in measured(recorded, model.score_from))
    return (metrics.get("served") or 0.0) == float(expected)


def table(comparison: Comparison, metrics: Mapping[str, float | None]) -> str:
    """Format the figures as of the question, as served, and of the baselines."""
    river = [(f"River, {how}", _of_river(evaluation)) for how, evaluation in _river(comparison).items()]
    metrics = metrics if metrics.get("scored") else {}
    loop = {name: metrics.get(name) for name in _COLUMNS}
    served = {name: metrics.get(f"served_{name}") for name in _COLUMNS}
    rows = [
        *river,
        ("headrace, as of the question", loop | {"scored": metrics.get("scored")}),
        ("headrace, as served", served | {"scored": metrics.get("served")}),
        ("prior", {"log_loss": metrics.get("prior_log_loss")}),
        ("no change", {"accuracy": metrics.get("no_change_accuracy")}),
    ]
    heading = "  ".join(["late_arrival".ljust(30), *(name.replace("_", " ").rjust(9) for name in _COLUMNS), "answers"])
    return "\n".join([heading, *(_row(name, values) for name, values in rows)])


_COLUMNS = ("roc_auc", "log_loss", "accuracy", "ece")


def _river(comparison: Comparison) -> dict[str, Mapping[str, float]]:
    return {"places in the log": comparison.by_place, "event times": comparison.by_time}


def _of_river(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: values.get(f"river_{name}", values.get(name)) for name in (*_COLUMNS, "scored")}


def _row(name: str, values: Mapping[str, float | None]) -> str:
    cells = ["-" if (value := values.get(column)) is None else f"{value:.5f}" for column in _COLUMNS]
    scored = values.get("scored")
    return "  ".join([name.ljust(30), *(cell.rjust(9) for cell in cells), f"{scored:7,.0f}" if scored else ""]).rstrip()


def differences(comparison: Comparison) -> str:
    """Format what was compared with what, and how much of it differs."""
    heading = f"{'compared':60}  {'values':>9}  {'different':>9}  {'by at most':>10}  allowed"
    rows = [
        f"{check.what:60}  {check.compared:9,}  {check.different:9,}  {check.greatest:10.1e}  "
        + (f"{check.allowed:.0e}" if check.allowed else "0")
        for check in comparison.checks
    ]
    return "\n".join([heading, *rows])


def ties(questions: Questions) -> str:
    """Format how often the order within equal times matters."""
    times = pd.Series(questions.times)
    answered = [label is not None for label in questions.labels]
    known = pd.Series((questions.moments + questions.delays)[answered])
    return (
        f"at equal times: {times.duplicated(keep=False).sum():,} of {len(times):,} questions, "
        f"{known.duplicated(keep=False).sum():,} of {len(known):,} answers; "
        f"{known.isin(set(times)).sum():,} answers are known at the time of a question"
    )


if __name__ == "__main__":
    sys.exit(main())
