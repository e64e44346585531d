"""The result as a table for a terminal and as a JSON object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tests.bench.peers.rounds import Measure, Round, Spread, Summary, summary

_UNITS = {"p50_ms": "p50 ms", "p99_ms": "p99 ms", "per_second": "requests/s"}
_NAME, _CELL = 26, 25


@dataclass(frozen=True)
class Result:
    """Everything that one run found."""

    measures: Sequence[Measure]
    targets: Sequence[str]
    rounds: Sequence[Round]
    #: Why a target was left out, by its name.
    left_out: Mapping[str, str]
    machine: Mapping[str, Any]
    headrace: str
    floor: str

    def of(self, measure: Measure) -> list[Round]:
        """Return the rounds of a measure."""
        return [each for each in self.rounds if each.measure == measure.key]

    def summary(self, measure: Measure, target: str, figure: str) -> Summary | None:
        """Summarise a figure of a target."""
        return summary(self.of(measure), target, figure, headrace=self.headrace, floor=self.floor)


def as_text(result: Result) -> str:
    """Lay the result out, one block for each measure."""
    blocks = [_machine(result.machine), *(_block(result, measure) for measure in result.measures)]
    blocks += [f"left out: {name}: {reason}" for name, reason in result.left_out.items()]
    return "\n\n".join(blocks)


def _machine(machine: Mapping[str, Any]) -> str:
    return "\n".join(f"{key}: {value}" for key, value in machine.items())


def _block(result: Result, measure: Measure) -> str:
    rounds = result.of(measure)
    lines = [f"{measure.title}: medians (lowest–highest) of {len(rounds)} rounds; {_marks(rounds)}"]
    for figure in measure.figures:
        lines.append(_line(_UNITS[figure], "", "× headrace", "× raw floor"))
        for target in result.targets:
            found = result.summary(measure, target, figure)
            if found is not None:
                digits = 3 if figure.endswith("_ms") else 0
                ratios = [spread_text(ratio, 2) for ratio in (found.to_headrace, found.to_floor)]
                lines.append(_line(target, spread_text(found.value, digits), *ratios))
    return "\n".join(lines)


def _line(name: str, *cells: str) -> str:
    return (f"  {name:<{_NAME}}" + "".join(f"{cell:>{_CELL}}" for cell in cells)).rstrip()


def _marks(rounds: Sequence[Round]) -> str:
    marked = [str(number) for number, each in enumerate(rounds, 1) if each.disturbance.is_marked]
    if not marked:
        return "no CPU was taken away"
    return f"CPU was taken away in {', '.join(marked)}"


def spread_text(spread: Spread | None, digits: int) -> str:
    """Write a median with its lowest and highest value."""
    if spread is None:
        return "–"
    median, low, high = (f"{value:,.{digits}f}" for value in (spread.median, spread.low, spread.high))
    return f"{median} ({low}–{high})"


def as_json(result: Result) -> dict[str, Any]:
    """Return the result as plain data, with the figures of each round."""
    return {
        "machine": dict(result.machine),
        "measures": {measure.key: _measure(result, measure) for measure in result.measures},
        "left_out": dict(result.left_out),
    }


def _measure(result: Result, measure: Measure) -> dict[str, Any]:
    targets: dict[str, dict[str, Any]] = {}
    for target in result.targets:
        for figure in measure.figures:
            found = result.summary(measure, target, figure)
            if found is not None:
                targets.setdefault(target, {})[figure] = asdict(found)
    rounds = [
        {"figures": each.figures, **asdict(each.disturbance), "marked": each.disturbance.is_marked}
        for each in result.of(measure)
    ]
    return {"title": measure.title, "targets": targets, "rounds": rounds}
