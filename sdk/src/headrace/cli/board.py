"""The statuses of a loop's services, as a table, as lines and as JSON."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from rich.table import Table

    from headrace.store.status import ServiceStatus

_DEAD_LETTERS = "dead_letters"
# The frontier after a history has ended lies beyond any calendar.
_LAST_TIME = 253_402_300_799_000_000


def as_table(loop: str, statuses: Iterable[ServiceStatus]) -> Table:
    """For a terminal."""
    from rich.table import Table

    table = Table(title=f"loop {loop}", title_justify="left", expand=False)
    for heading in ("service", "state", "address"):
        table.add_column(heading, no_wrap=True)
    table.add_column("lag", justify="right")
    table.add_column("up to")
    table.add_column("rates")
    table.add_column("versions")
    table.add_column("quality")
    table.add_column("dead letters", justify="right")
    for status in statuses:
        table.add_row(
            status.instance,
            _state(status),
            status.address,
            lag_text(status),
            frontier_text(status),
            "\n".join(_rates(status)),
            "\n".join(_versions(status)),
            "\n".join(_metrics(status)),
            _dead_letters(status),
        )
    return table


def as_lines(statuses: Iterable[ServiceStatus]) -> list[str]:
    """For a log: a line a process."""
    return [_line(status) for status in statuses]


def as_json(loop: str, statuses: Iterable[ServiceStatus]) -> str:
    """For programs: one line."""
    return msgspec.json.encode({"loop": loop, "services": list(statuses)}).decode()


def lag_text(status: ServiceStatus) -> str:
    """How far behind it is."""
    return "" if status.lag_s is None else f"{status.lag_s:,.1f} s"


def frontier_text(status: ServiceStatus) -> str:
    """The event time up to which its work is done."""
    if status.frontier is None:
        return ""
    if status.frontier > _LAST_TIME:
        return "the end"
    return datetime.fromtimestamp(status.frontier / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _line(status: ServiceStatus) -> str:
    parts = [datetime.now(UTC).strftime("%H:%M:%S"), f"{status.instance}: {_state(status)}"]
    lag, frontier, letters = lag_text(status), frontier_text(status), _dead_letters(status)
    parts += [f"lag {lag}"] if lag else []
    parts += [f"up to {frontier}"] if frontier else []
    parts += [*_rates(status), *(f"version {own}" for own in _versions(status)), *_metrics(status)]
    parts += [f"dead letters {letters}"] if letters else []
    return "  ".join(parts)


def _state(status: ServiceStatus) -> str:
    # A clock apart by some seconds must not make a healthy service look silent.
    silent = time.time() - status.updated_at
    state = f"{status.state}, silent for {silent:.0f} s" if silent > 5 else status.state
    return f"{state} ({status.note})" if status.note else state


def _rates(status: ServiceStatus) -> list[str]:
    return [f"{name} {rate:,.0f}/s" for name, rate in sorted(status.rates.items()) if name != _DEAD_LETTERS]


def _versions(status: ServiceStatus) -> list[str]:
    return [f"{model} {examples:,}" for model, examples in sorted(status.versions.items())]


def _metrics(status: ServiceStatus) -> list[str]:
    return [
        f"{model} {name} {value:.4f}"
        for model, metrics in sorted(status.metrics.items())
        for name, value in sorted(metrics.items())
    ]


def _dead_letters(status: ServiceStatus) -> str:
    count = status.counters.get(_DEAD_LETTERS)
    return "" if count is None else f"{count:,}"
