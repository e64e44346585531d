"""One simulation: generate, play, compare with the oracle, and compute how well both models are calibrated."""

from __future__ import annotations

import math
import resource
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from headrace import compiler
from tests.oracle.events import judge
from tests.simulations.fraud.calibration import Figures, figures, predictions, prior_log_loss
from tests.simulations.fraud.comparison import differences
from tests.simulations.fraud.example_log import ANSWER, ExampleLog, example_log
from tests.simulations.fraud.payments import Floats, Payments, generate
from tests.simulations.fraud.playback import LOOP, Say, played

#: The model without `keep`, and the one with it.
ALL, KEPT = "all_payments", "one_in_twenty"

#: How far headrace's metrics may be from those computed here; its area is computed from bins.
_TOLERANCE = 1e-9
_AREA_TOLERANCE = 2e-3


@dataclass
class Simulation:
    """The results of a simulation.

    Attributes
    ----------
    counts
        Number of payments and events, by kind.
    models
        The oracle's counts, by model.
    quality
        Figures of the predictions as of the question, by what was predicted and on which examples.
    metrics
        The metrics that headrace reports for the same, by model.
    """

    payments: int
    seed: int
    counts: dict[str, int]
    models: dict[str, Counter[str]] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)
    quality: dict[str, Figures] = field(default_factory=dict)
    priors: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, dict[str, float | None]] = field(default_factory=dict)
    seconds: float = 0.0
    events: int = 0
    memory_mb: int = 0

    @property
    def rate(self) -> float:
        """Events per second, until the last example was learned."""
        return self.events / self.seconds


def simulate(count: int, seed: int, directory: Path, say: Say, joiners: int = 0) -> Simulation:
    """Simulate `count` payments; `joiners` are processes that only join, beside the one that folds."""
    payments, files = generate(count, seed, directory / "files")
    result = Simulation(count, seed, _counts(payments))
    say(f"generated {count:,} payments")
    logs = _play(result, payments, files, directory / "loop", say, joiners)
    _reckon(result, payments, logs, say)
    result.memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return result


def _counts(payments: Payments) -> dict[str, int]:
    closed = payments.closed
    return {
        "closed": int(closed.sum()),
        "positives": int((payments.frauds & closed).sum()),
        "absences": int((~payments.charged & closed).sum()),
        "chargebacks": payments.chargebacks.total(),
        "corrections": payments.chargebacks["correction"],
        "too_late": payments.chargebacks["late"],
        "without_payment": payments.chargebacks["unmatched"],
    }


def _play(
    result: Simulation, payments: Payments, files: Mapping[str, Path], data: Path, say: Say, joiners: int
) -> dict[str, ExampleLog]:
    """Play the payments, and compare what the topics hold."""
    with played(files, data, say, joiners) as run:
        result.seconds, result.events = run.seconds, run.events
        result.metrics = {model: dict(metrics) for model, metrics in run.metrics.items()}
        loop = run.running.definition
        judged = judge(loop, run.streams())
        say("read and judged the streams")
        logs = {model.name: example_log(model, run.log(model.name)) for model in loop.models}
        say("read the logs")
    counted = sum(len(partition.accepted) for partitions in judged.values() for partition in partitions)
    if run.rejected or counted != run.events:
        result.differences.append(f"{counted} events count of {run.events}, {run.rejected} were rejected")
    wrong, result.models = differences(loop, judged, logs, payments)
    result.differences += wrong
    say(f"compared with the oracle: {len(wrong)} differences")
    return logs


def _reckon(result: Simulation, payments: Payments, logs: Mapping[str, ExampleLog], say: Say) -> None:
    """Compute the quality of the predictions, and of some that ignore the weights."""
    loaded = compiler.load(LOOP)
    score_from = loaded.definition.model(ALL).score_from or 0
    scored = payments.closed & (payments.times >= score_from)
    probabilities: dict[str, Floats] = {}
    for name, log in logs.items():
        names = [feature.name for feature in loaded.definition.model(name).features]
        probabilities[name] = predictions(log, names, loaded.learner(name), result.payments)
        say(f"asked and taught {name} again")
    unweighted = predictions(logs[KEPT], names, loaded.learner(KEPT), result.payments, weighted=False)
    weights = _weights(logs[KEPT], result.payments)
    kept_rows, ones = scored & (weights > 0), np.ones(result.payments)
    for title, scores, rows, row_weights in (
        ("true probabilities", payments.probabilities, scored, ones),
        (ALL, probabilities[ALL], scored, ones),
        (KEPT, probabilities[KEPT], kept_rows, weights),
        (f"{KEPT}, on all payments", probabilities[KEPT], scored, ones),
        (f"{KEPT}, measured without weights", probabilities[KEPT], kept_rows, ones),
        (f"{KEPT}, learned without weights", unweighted, kept_rows, weights),
    ):
        result.quality[title] = figures(scores[rows], payments.frauds[rows], row_weights[rows])
    for name, rows in ((ALL, scored), (KEPT, kept_rows)):
        result.priors[name] = prior_log_loss(logs[name], rows)
        result.differences += _metrics_that_differ(result, name)


def _weights(log: ExampleLog, payments: int) -> Floats:
    """Return the weight of each payment's example; 0 if there is none."""
    weights, rows = np.zeros(payments), log.rows(ANSWER)
    weights[log.payments[rows]] = log.columns["weight"][rows]
    return weights


def _metrics_that_differ(result: Simulation, model: str) -> list[str]:
    """Return the metrics of a model in which headrace differs from the computation here."""
    reckoned, metrics = result.quality[model], result.metrics.get(model, {})
    expected = {
        "mean": reckoned.mean,
        "share": reckoned.share,
        "ece": reckoned.ece,
        "log_loss": reckoned.log_loss,
        "prior_log_loss": result.priors[model],
        "roc_auc": reckoned.roc_auc,
    }
    wrong = [
        f"{model}: {name} is {metrics.get(name)}, reckoned {value}"
        for name, value in expected.items()
        if not abs((metrics.get(name) or math.nan) - value) < (_AREA_TOLERANCE if name == "roc_auc" else _TOLERANCE)
    ]
    if metrics.get("scored") != reckoned.examples:
        wrong.append(f"{model}: {metrics.get('scored')} examples are scored instead of {reckoned.examples}")
    return wrong
