"""The report of a life: tables for people, and one line of JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

from tests.life.life import Life
from tests.life.plan import Action


def table(life: Life) -> str:
    """Format the situations, what was compared, and what differs."""
    lines = [*_counts("situations", life.situations), "", *_counts("compared", life.counts)]
    if life.differences:
        lines += ["", "differences", *(f"  {difference}" for difference in life.differences)]
    return "\n".join(lines)


def story(actions: Sequence[Action]) -> str:
    """Format the actions in words, one per line."""
    return "\n".join(f"  {number:3d} {action}" for number, action in enumerate(actions))


def line(life: Life) -> str:
    """Format the life as one JSON object."""
    return json.dumps(
        {
            "seed": life.seed,
            "broker": life.broker,
            "seconds": round(life.seconds, 1),
            "actions": len(life.actions),
            "situations": dict(sorted(life.situations.items())),
            "compared": dict(sorted(life.counts.items())),
            "differences": life.differences,
        }
    )


def _counts(title: str, counts: Counter[str]) -> list[str]:
    return [title, *(f"  {name:<48} {count:>7,}" for name, count in sorted(counts.items()))]
