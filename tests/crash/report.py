"""The report of a run: a table, and one line of JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

from tests.crash.faults import Kind
from tests.crash.recovery import BOUNDS, Recovery, p50
from tests.crash.run import Result


def line(result: Result) -> str:
    """Return the result as one JSON object."""
    through, comparison = result.disturbed, result.comparison
    seconds = [recovery.seconds for recovery in through.recoveries if recovery.seconds is not None]
    kills = sum(event.fault.kind is Kind.KILL for event in through.happened)
    return json.dumps(
        {
            "kills": kills,
            "faults": len(through.happened) - kills,
            "events": through.events,
            "rows_equal": comparison.rows_equal,
            "examples_missing": comparison.examples_missing,
            "examples_duplicated": comparison.examples_duplicated,
            "model_equal": comparison.model_equal,
            "recovery_s_p50": round(p50(seconds), 2),
            "recovery_s_max": round(max(seconds, default=0.0), 2),
            "requests": through.requests,
            "requests_failed": through.requests_failed,
        }
    )


def table(result: Result) -> str:
    """Return the same for people, with more detail."""
    return "\n".join([*_faults(result), "", *_recovery(result), "", *_compared(result), *_wrong(result)])


def _faults(result: Result) -> list[str]:
    through = result.disturbed
    counts = Counter(
        (event.fault.kind, event.fault.target.rpartition("-")[0] or event.fault.target) for event in through.happened
    )
    lines = ["faults"]
    for kind in Kind:
        targets = {target: count for (other, target), count in sorted(counts.items()) if other is kind}
        if targets:
            lines.append(
                f"  {kind:<24} {sum(targets.values()):>4}   " + ", ".join(f"{n} {t}" for t, n in targets.items())
            )
    lines.append(f"  {'slices sent twice':<24} {through.again:>4}")
    lines.append(f"  {'calls sent again':<24} {through.retried:>4}   to an ingest that did not answer")
    return lines


def _recovery(result: Result) -> list[str]:
    lines = [f"recovery, kill to next output (s)  {'kills':>5} {'p50':>6} {'max':>6}   bounded by"]
    for service, bound in BOUNDS.items():
        recoveries = [recovery for recovery in result.disturbed.recoveries if recovery.service == service]
        lines += _times(service, recoveries, bound)
        lines += _times("  while nothing else happened", [recovery for recovery in recoveries if recovery.alone], "")
    return lines


def _times(what: str, recoveries: Sequence[Recovery], bound: str) -> list[str]:
    seconds = [recovery.seconds for recovery in recoveries if recovery.seconds is not None]
    worst = max(seconds, default=0.0)
    return (
        [f"  {what:<32} {len(recoveries):>5} {p50(seconds):>6.2f} {worst:>6.2f}   {bound}".rstrip()]
        if recoveries
        else []
    )


def _compared(result: Result) -> list[str]:
    comparison, through = result.comparison, result.disturbed
    rows = [
        ("rows", comparison.rows, comparison.rows_equal, "all fields, behind their header"),
        ("vectors", comparison.vectors, comparison.vectors_equal, "each event once, in order, to the last bit"),
        ("predictions", comparison.predictions, comparison.predictions_equal,
         f"each vector once; {comparison.unscored} vectors before the first version"),
        ("examples", comparison.examples, comparison.examples_equal, "ids, times, labels, vectors, order"),
        ("models", comparison.models, comparison.model_equal, "hash of the learner's state"),
        ("metrics", comparison.models, comparison.metrics_equal, "prequential, with all they are made of"),
        ("dead letters", comparison.dead_letters, comparison.dead_letters_equal,
         f"as a set; {comparison.letters_again} again: {comparison.letters_repeated} by a crash, "
         "the others sent again"),
    ]  # fmt: skip
    lines = ["compared with the undisturbed run"]
    lines += [
        f"  {what:<14} {count:>8,}   {'equal' if good else 'DIFFERENT':<10} {how}" for what, count, good, how in rows
    ]
    lines.append(
        f"  {'requests':<14} {through.requests:>8,}   {through.requests_failed} failed    "
        f"the slowest took {through.request_s_max:.2f} s"
    )
    lines += [f"    {failure}" for failure in through.failures[:5]]
    lines.append(f"{through.seconds:.0f} s with faults, {result.undisturbed_s:.0f} s without")
    return lines


def _wrong(result: Result) -> list[str]:
    wrong = [*result.comparison.differences]
    if result.disturbed.unfinished:
        wrong.insert(0, f"not finished: {result.disturbed.unfinished}")
    return ["", "wrong", *(f"  {line}" for line in wrong)] if wrong else []
