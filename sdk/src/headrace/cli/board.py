"""The statuses of a loop's services, as a table, as lines and as JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from headrace.cli.output import cell
from headrace.cli.progress_tables import advice, join_cells, joins_of, mark_lines, stream_cells, streams_of
from headrace.engine.quality.warning import MARK
from headrace.wire.times import Inactive
from headrace.wording import format_span, format_time, printable, takeover_text

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from headrace.runtime.redis.status import ServiceStatus

_DEAD_LETTERS = "dead_letters"
_WHOLE = ("examples", "scored", "unasked", "dropped", "served", "hindsight", "unserved", "drift_alarms")
#: Shown only if they are not zero.
_RARE = ("unasked", "dropped", "hindsight")
#: The names of metrics of what was served begin so.
SERVED = ("served", "hindsight", "unserved")
# Above this size, a number is too long to be written out.
_LARGE = 1e9


def complete(statuses: Iterable[ServiceStatus]) -> list[ServiceStatus]:
    """Return the statuses, plus one for each service without a reporting process, so that a missing service shows."""
    from headrace.embedded.processes import SERVICES
    from headrace.runtime.redis.status import ServiceStatus

    rows = list(statuses)
    missing = set(SERVICES) - {status.service for status in rows}
    rows += [
        ServiceStatus(service=name, instance=name, state="does not report", updated_at=time.time()) for name in missing
    ]
    return sorted(rows, key=lambda status: (status.service, status.instance))


def as_table(loop: str, statuses: Sequence[ServiceStatus], problems: Sequence[str] = ()) -> Group:
    """Format for a terminal: the services, their streams, joins and models, then problems and advice."""
    from rich.console import Group

    services = {heading: [text(status) for status in statuses] for heading, text in _COLUMNS.items()}
    model_names = [sorted({*status.versions, *status.metrics, *status.takeovers}) for status in statuses]
    rows = [(status, model) for status, names in zip(statuses, model_names, strict=True) for model in names]
    models = {
        "model": [model for _, model in rows],
        "of": [status.instance for status, _ in rows],
        "version": [f"{status.versions[model]:,}" if model in status.versions else "" for status, model in rows],
        "quality": ["  ".join(_quality(status, model)) for status, model in rows],
        "takeover": [_takeover(status, model) for status, model in rows],
    }
    streams = _columns([stream_cells(stream) for stream in streams_of(statuses)])
    joins = _columns([join_cells(model, join) for model, join in joins_of(statuses).items()])
    lines = [cell(line) for line in mark_lines(statuses)]
    lines += [cell(line, "red") for line in (*problems, *advice(statuses))]
    tables = [_table("", columns) for columns in (streams, joins, models) if columns]
    return Group(_table(f"loop {loop}", services), *tables, *lines)


def _columns(rows: Sequence[dict[str, str]]) -> dict[str, list[str]]:
    return {heading: [row[heading] for row in rows] for heading in (rows[0] if rows else ())}


def _table(title: str, columns: dict[str, list[str]]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(
        title=cell(title) if title else None, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False
    )
    # Columns in which every cell is empty are left out.
    filled = {heading: cells for heading, cells in columns.items() if any(cells)}
    for heading in filled:
        table.add_column(cell(heading), justify="right" if heading in _NUMBERS else "left", overflow="fold")
    for row in zip(*filled.values(), strict=True):
        table.add_row(*map(cell, row))
    return table


def as_lines(statuses: Sequence[ServiceStatus], problems: Sequence[str] = ()) -> list[str]:
    """Format for a log: one line per process, stream, join and mark, then problems and advice."""
    rows = [stream_cells(stream) for stream in streams_of(statuses)]
    rows += [join_cells(model, join) for model, join in joins_of(statuses).items()]
    lines = [_line(status) for status in statuses]
    lines += ["  ".join(f"{heading} {text}".strip() for heading, text in row.items() if text) for row in rows]
    lines += mark_lines(statuses)
    lines += [f"! {text}" for text in (*problems, *advice(statuses))]
    return [printable(line) for line in lines]


def as_json(loop: str, statuses: Iterable[ServiceStatus], problems: Sequence[str] = ()) -> str:
    """Format for programs: one line of JSON."""
    report = {"loop": loop, "problems": list(problems), "services": list(statuses)}
    # Encoded twice: msgspec writes null for NaN and infinities, json escapes what is not ASCII.
    return json.dumps(json.loads(msgspec.json.encode(report)))


def lag_text(status: ServiceStatus) -> str:
    """Format how much event time a service is behind."""
    return "" if status.lag_s is None else format_span(status.lag_s)


def watermark_text(status: ServiceStatus) -> str:
    """Format the event time up to which a service has done its work."""
    if status.watermark is None:
        return ""
    if isinstance(status.watermark, Inactive):
        return "idle" if status.watermark is Inactive.IDLE else "the end"
    return format_time(status.watermark, short=True)


def _line(status: ServiceStatus) -> str:
    parts = [datetime.now(UTC).strftime("%H:%M:%S"), f"{status.instance}: {_state(status)}"]
    lag, watermark, letters = lag_text(status), watermark_text(status), _dead_letters(status)
    parts += [f"lag {lag} of event time"] if lag else []
    parts += [f"up to {watermark}"] if watermark else []
    parts += [*_counts(status), *(f"version {version}" for version in _versions(status))]
    parts += [f"{model} {figure}" for model in sorted(status.metrics) for figure in _quality(status, model)]
    parts += [f"{model} {_takeover(status, model)}" for model in sorted(status.takeovers)]
    parts += [f"dead letters {letters}"] if letters else []
    return "  ".join(parts)


def _state(status: ServiceStatus) -> str:
    # Clocks that differ by a few seconds must not make a healthy service look silent.
    silent = time.time() - status.updated_at
    state = f"{status.state}, silent for {silent:.0f} s" if silent > 5 else status.state
    return f"{state} ({status.note})" if status.note else state


def _counts(status: ServiceStatus) -> list[str]:
    """Format the counts of a service since its start, with their current rates; zeros would hide the others."""
    counts = {name: count for name, count in sorted(status.counters.items()) if count and name != _DEAD_LETTERS}
    rates = {name: f"{status.rates.get(name, 0.0):,.0f}" for name in counts}
    shown = {name: f" ({rate}/s)" if rate != "0" else "" for name, rate in rates.items()}
    return [f"{name} {count:,}{shown[name]}" for name, count in counts.items()]


def _versions(status: ServiceStatus) -> list[str]:
    return [f"{model} {examples:,}" for model, examples in sorted(status.versions.items())]


def _quality(status: ServiceStatus, model: str) -> list[str]:
    metrics = status.metrics.get(model, {})
    # Before anything has been scored, metrics are only their initial values.
    values = metrics if metrics.get("scored", 1) else {}
    # Metrics as of the question first, then those of what was served.
    names = sorted(values, key=lambda name: (name.startswith(SERVED), name))
    figures = [_figure(name, values[name]) for name in names if name != MARK and (values[name] or name not in _RARE)]
    return [*figures, *(["worse than its prior"] if values.get(MARK) else [])]


def _takeover(status: ServiceStatus, model: str) -> str:
    takeover = status.takeovers.get(model)
    if takeover is None:
        return ""
    return takeover_text(takeover.answering, takeover.learned, takeover.needed)


def _figure(name: str, value: float | None) -> str:
    if value is None:
        return f"{name} -"
    if name in _WHOLE:
        return f"{name} {value:,.0f}"
    return f"{name} {value:.4f}" if abs(value) < _LARGE else f"{name} {value:.4g}"


def _dead_letters(status: ServiceStatus) -> str:
    count = status.counters.get(_DEAD_LETTERS)
    return "" if count is None else f"{count:,}"


_COLUMNS: dict[str, Callable[[ServiceStatus], str]] = {
    "service": lambda status: status.instance,
    "state": _state,
    "address": lambda status: status.address,
    "event time lag": lag_text,
    "up to": watermark_text,
    "done": lambda status: "\n".join(_counts(status)),
    "dead letters": _dead_letters,
}
_NUMBERS = ("event time lag", "dead letters", "version")
