"""The output of ``headrace replay``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from headrace.cli.output import say, say_line
from headrace.wording import counted, format_time

if TYPE_CHECKING:
    from headrace.history.alterations import Alterations
    from headrace.history.comparison import Comparison
    from headrace.history.differences import Difference
    from headrace.history.replay import Replayed
    from headrace.history.versions import Rescored


@dataclass
class Counts:
    """Counts of what was recomputed for one model, and of the differences."""

    vectors: int = 0
    predictions: int = 0
    asked: int = 0
    foreign: int = 0
    requests: int = 0
    unscored: int = 0
    versions: set[int] = field(default_factory=set)
    relearned: set[int] = field(default_factory=set)
    missing: set[int] = field(default_factory=set)
    values: int = 0
    scores: int = 0
    examples: int = 0
    examples_differ: int = 0
    examples_left_out: int = 0
    differing: set[str] = field(default_factory=set)

    def scored(self, rescored: Rescored) -> None:
        self.versions |= rescored.published | rescored.relearned
        self.relearned |= rescored.relearned
        self.missing |= rescored.missing

    def differs(self, difference: Difference) -> None:
        if difference.what in ("score", "label"):
            self.scores += 1
        elif difference.what == "example":
            self.examples_differ += 1
        else:
            self.values += 1
        self.differing.add(difference.id)

    def plain(self) -> dict[str, object]:
        return {
            "vectors": self.vectors,
            "predictions": self.predictions,
            "requests": self.requests,
            "versions": len(self.versions),
            "relearned": len(self.relearned),
            "versions_missing": sorted(self.missing),
            "vectors_of_requests": self.asked,
            "vectors_of_other_definitions": self.foreign,
            "values_differ": self.values,
            "scores_differ": self.scores,
            "examples": self.examples,
            "examples_differ": self.examples_differ,
            "examples_not_compared": self.examples_left_out,
            "ids_differ": len(self.differing),
        }


def print_differences(differences: Iterator[Difference], counts: Counts, as_json: bool) -> None:
    """Print a line for each difference, and count them."""
    for difference in differences:
        counts.differs(difference)
        if as_json:
            plain = {
                name: getattr(difference, name) for name in ("model", "id", "what", "logged", "recomputed", "by", "why")
            }
            say(json.dumps({**plain, "time": _time(difference.time)}))
            continue
        by = "" if difference.by is None else f" by {difference.by:+.6g}"
        values = (
            ""
            if difference.what == "vector"
            else f" {_value(difference.logged)}, now {_value(difference.recomputed)}{by}"
        )
        say_line(
            f"{difference.model}  {difference.id}  {_time(difference.time)}  "
            f"{difference.what}{values}: {difference.why}"
        )


def print_vectors(comparison: Comparison, replayed: Replayed, as_json: bool) -> None:
    """Print the recomputed vectors of a batch, each with its score."""
    columns, recomputed, vectors = comparison.columns, replayed.again.made, replayed.logged.vectors
    for row in replayed.again.known.nonzero()[0].tolist():
        vector = {
            name: columns.value(recomputed.numbers, recomputed.categories, row, place)
            for place, name in enumerate(columns.names)
        }
        score = float(replayed.scores.scores[row])
        facts: dict[str, Any] = {
            "model": comparison.model,
            "id": vectors.ids[row],
            "time": _time(int(vectors.times[row])),
        }
        if score == score:
            facts |= {"version": int(replayed.predictions.versions[row]), "score": score}
            facts |= {"label": replayed.scores.labels[row]} if replayed.scores.labels[row] is not None else {}
        if as_json:
            say(json.dumps({**facts, "vector": vector}))
            continue
        notes = [f"{name} {facts[name]}" for name in ("version", "score", "label") if name in facts]
        say_line("  ".join([facts["model"], facts["id"], facts["time"], *notes]))
        width = max(map(len, vector), default=0)
        for name, value in vector.items():
            say_line(f"  {name:<{width}}  {_value(value)}")


def sum_up(
    totals: Mapping[str, Counts],
    alterations: Alterations,
    complete: bool,
    diff: bool,
    *,
    selected: bool = False,
    as_json: bool,
) -> None:
    """Print what was recomputed and how much differs; notes go to standard error.

    Parameters
    ----------
    selected
        Whether options select events by id or time.
    """
    for stream, strangers in alterations.strangers().items():
        some = f"{', '.join(strangers[:3])}{' ...' if len(strangers) > 3 else ''}"
        say_line(f"not met in {stream}: {counted(len(strangers), 'id')} ({some})", err=True)
    if as_json:
        say(json.dumps({"models": {name: counts.plain() for name, counts in totals.items()}}))
        return
    how = "with events altered" if alterations else "complete" if complete else "at their cuts"
    for name, counts in totals.items():
        for note in _notes(counts, selected):
            say(f"{name}: {note}", err=True)
        early = f" ({counts.unscored:,} asked before this definition had a version)" if counts.unscored else ""
        relearned_note = f" ({len(counts.relearned):,} learned again)" if counts.relearned else ""
        predictions, versions = counts.predictions + counts.requests, len(counts.versions)
        scores = f"{counted(predictions, 'prediction')} of {counted(versions, 'version')}{relearned_note}{early}"
        examples = f", {counted(counts.examples, 'example')}" if diff else ""
        line = f"{name}: {counted(counts.vectors, 'vector')} {how}, {scores}{examples}"
        say(f"{line}: {_verdict(counts)}" if diff else line, err=not diff)


def _verdict(counts: Counts) -> str:
    if not counts.differing:
        return "no difference"
    numbers = {"value": counts.values, "score": counts.scores, "example": counts.examples_differ}
    parts = [counted(number, noun) for noun, number in numbers.items() if number or noun != "example"]
    return f"{', '.join(parts[:-1])} and {parts[-1]} differ, of {counted(len(counts.differing), 'event')}"


def _notes(counts: Counts, selected: bool) -> Iterator[str]:
    if not counts.vectors and not counts.requests and not counts.differing:
        none = "no logged vector matches --id, --from and --to" if selected else "no vector is logged yet"
        yield f"{none} (of this definition of the model)"
    if counts.missing:
        some = ", ".join(map(str, sorted(counts.missing)[:3]))
        yield (
            f"{len(counts.missing):,} versions ({some}{' ...' if len(counts.missing) > 3 else ''}) are not on the "
            "models topic and cannot be learned again: their scores are not compared (see --loop-file)"
        )
    if counts.asked:
        yield f"{counts.asked:,} vectors were asked for: their events are in no stream, only their scores are compared"
    if counts.examples_left_out:
        examples = counted(counts.examples_left_out, "example")
        yield f"{examples} of a forecast, made again from the kept events: not compared, as the log names no entity"
    if counts.foreign:
        yield f"not compared: {counted(counts.foreign, 'message')} that another definition of the model made"


def _value(value: float | str | None) -> str:
    return "missing" if value is None else f"{value:.9g}" if isinstance(value, float) else value


def _time(microseconds: int) -> str:
    return format_time(microseconds, short=True).replace(" ", "T")
