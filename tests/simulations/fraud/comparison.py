"""Compare the examples of the logs with the oracle's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from headrace.definition import LoopDefinition, ModelDefinition
from tests.oracle.events import Judged
from tests.oracle.examples import Examples, examples_of, weight, wrong_order
from tests.simulations.fraud.example_log import ANSWER, QUESTION, UNANSWERED, ExampleLog
from tests.simulations.fraud.payments import BOUND, Payments, payment_id

#: Maximum number of differences shown of one kind.
_SHOWN = 3

_Key = tuple[Any, ...]


def differences(
    loop: LoopDefinition, judged: Judged, logs: Mapping[str, ExampleLog], payments: Payments
) -> tuple[list[str], dict[str, Counter[str]]]:
    """Return how the logs differ from the oracle's examples, and these from what was generated; and counts by model."""
    differences: list[str] = []
    counts: dict[str, Counter[str]] = {}
    for model in loop.models:
        expected, log = examples_of(loop, model, judged), logs[model.name]
        wrong = [*_examples(expected, log), *_closed(expected, log), *wrong_order(log.entries())[:_SHOWN]]
        wrong += _as_generated(loop, model, expected, payments)
        differences += [f"{model.name}: {difference}" for difference in wrong]
        counts[model.name] = Counter(
            questions=len(log.rows(QUESTION)),
            examples=len(expected.made),
            dropped=expected.dropped,
            open=len(expected.open),
            unmatched=len(expected.unmatched),
        )
    return differences, counts


def _examples(expected: Examples, log: ExampleLog) -> list[str]:
    """Return the examples of the log that differ in id, time, label, the time it was known at, or weight."""
    rows = log.rows(ANSWER)
    logged = [
        (payment_id(payment), *rest)
        for payment, *rest in zip(
            log.payments[rows].tolist(),
            *(log.columns[name][rows].tolist() for name in ("time", "label", "label_time", "weight")),
            strict=True,
        )
    ]
    keys: set[_Key] = set(logged)
    wrong = _listed("missing", expected.made - keys) + _listed("too many", keys - expected.made)
    if len(keys) < len(logged):
        wrong.append(f"{len(logged) - len(keys)} examples twice")
    return wrong


def _closed(expected: Examples, log: ExampleLog) -> list[str]:
    """Return what is wrong with the log's questions: too few, or closed without an answer where they should not be."""
    unanswered, question_count = len(log.rows(UNANSWERED)), len(log.rows(QUESTION))
    total = len(expected.made) + expected.dropped + len(expected.open)
    wrong = [] if question_count == total else [f"{question_count} questions instead of {total}"]
    if not expected.dropped <= unanswered <= expected.dropped + len(expected.open):
        wrong.append(f"{unanswered} questions closed without an answer instead of {expected.dropped}")
    return wrong


def _as_generated(loop: LoopDefinition, model: ModelDefinition, expected: Examples, payments: Payments) -> list[str]:
    """Return the examples of the oracle that are not those that were generated: neither has seen the other."""
    label = loop.label(model.label)
    closed = np.flatnonzero(payments.closed)
    outcomes = zip(closed.tolist(), payments.times[closed].tolist(), payments.frauds[closed].tolist(), strict=True)
    generated = {
        (payment_id(index), time, float(fraud), time + BOUND, standing)
        for index, time, fraud in outcomes
        if (standing := weight(label, payment_id(index), float(fraud)))
    }
    return _listed("generated, and not by the oracle", generated - expected.made) + _listed(
        "by the oracle, and not generated", expected.made - generated
    )


def _listed(kind: str, keys: set[Any]) -> list[str]:
    return [f"{len(keys)} examples {kind}: {sorted(keys, key=str)[:_SHOWN]}"] if keys else []
