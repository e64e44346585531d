"""``headrace up``."""

from __future__ import annotations

import json
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import click

from headrace.cli.workers import Workers
from headrace.wording import format_span

if TYPE_CHECKING:
    from headrace.definition import LoopDefinition
    from headrace.embedded import RunningLoop

_TABLE_EVERY_S = 1.0
_LINES_EVERY_S = 10.0
_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@click.command("up")
@click.argument("loop", type=click.Path(path_type=Path))
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    envvar="HEADRACE_DATA",
    help="The directory of its state, which a later run goes on from; default: .headrace/<loop>.",
)
@click.option(
    "--pulsar",
    metavar="URL|official",
    help="A broker to use instead of the small local one; official: Apache Pulsar itself, from PULSAR_URL, as a "
    "container, or on a JVM of this machine.",
)
@click.option("--pulsar-admin", metavar="URL", help="The admin API of a broker of yours: topics are set up by it.")
@click.option("--redis", metavar="URL", help="An online store to use instead of a local one.")
@click.option("--workers", type=Workers(), multiple=True, help="More than one process of a service; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="Print the addresses as one line of JSON, and nothing else.")
def command(
    loop: Path,
    data: Path | None,
    pulsar: str | None,
    pulsar_admin: str | None,
    redis: str | None,
    workers: tuple[tuple[str, int], ...],
    as_json: bool,
) -> None:
    """Run the loop in the file LOOP on this machine, until Ctrl-C.

    Its broker and its online store are local ones, if you name no others; everything listens on 127.0.0.1
    alone. Its state survives in the data directory.

    \b
    Examples:
      headrace up loop.py
      headrace up loop.py --pulsar official --workers feature=3 --workers learner=2
      headrace up loop.py --pulsar pulsar://broker:6650 --redis redis://store:6379/0
    """
    from headrace import embedded

    if pulsar_admin and pulsar in (None, embedded.OFFICIAL):
        raise click.UsageError("--pulsar-admin belongs to a broker of yours: name it by --pulsar URL")
    try:
        with (
            _stopped_by_signals(),
            embedded.run(
                loop,
                data=data,
                pulsar=pulsar,
                redis=redis,
                pulsar_admin=pulsar_admin,
                workers=dict(workers),
                report=_report,
            ) as running,
        ):
            if dict(workers).get("feature", 1) > 1:
                _tell_keep(running.definition)
            click.echo(_as_json(running, data) if as_json else _as_text(running, data))
            sys.stdout.flush()
            if as_json:
                threading.Event().wait()
            _show(running)
    except _Stopped:
        at = f" --data {data}" if data else ""
        _report(f"loop stopped; `headrace up {loop}{at}` goes on from where it is")


class _Stopped(KeyboardInterrupt):
    """Somebody asked for the end, whichever signal it was."""


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Let the first signal end the block; further ones do not disturb the stop, which has its own deadlines."""

    def stop(number: int, frame: FrameType | None) -> None:
        for own in _STOPPING:
            signal.signal(own, signal.SIG_IGN)
        raise _Stopped

    before = {number: signal.signal(number, stop) for number in _STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _report(text: str) -> None:
    click.echo(f"headrace: {text}", err=True)


def _tell_keep(loop: LoopDefinition) -> None:
    """What makes several feature workers slower than one."""
    keep, view = min(((own.keep, own.name) for own in loop.views), default=(0, ""))
    if view:
        _report(
            f"feature workers that play or backfill history wait for each other, {format_span(keep / 1e6)} of event "
            f"time at a time: the loop's smallest keep, of view {view}"
        )


def _example(running: RunningLoop, data: Path | None) -> str:
    from headrace.cli.examples import example_command

    command = example_command(running.definition)
    return f"{command} --data {shlex.quote(str(data))}" if command and data else command


def _as_json(running: RunningLoop, data: Path | None) -> str:
    up = running.describe()
    return json.dumps(
        {
            "loop": up.loop,
            "pulsar": up.pulsar,
            "pulsar_admin": up.pulsar_admin,
            "redis": up.redis,
            "addresses": up.addresses,
            "data": up.data,
            "pids": up.pids,
            "example": _example(running, data),
        }
    )


def _as_text(running: RunningLoop, data: Path | None) -> str:
    up = running.describe()
    rows = {
        "broker": up.pulsar,
        **({"admin": up.pulsar_admin} if up.pulsar_admin else {}),
        "store": up.redis,
        **up.addresses,
        "data": up.data,
        "logs": f"{up.data}/logs",
    }
    lines = [f"loop {up.loop} is up", *(f"  {name:<8} {value}" for name, value in rows.items())]
    example = _example(running, data)
    if example:
        lines += ["", "ask it, from another terminal:", f"  {example}"]
    return "\n".join([*lines, "", "Ctrl-C stops it.", ""])


def _show(running: RunningLoop) -> None:
    """Show what it does, until a signal comes."""
    from headrace.cli import board

    if not sys.stdout.isatty():
        _repeat(_LINES_EVERY_S, lambda: click.echo("\n".join(board.as_lines(board.complete(running.status())))))
    from rich.live import Live

    # What is printed meanwhile (a restart, say) appears above the table.
    with Live(auto_refresh=False) as live:
        name = running.definition.name
        _repeat(
            _TABLE_EVERY_S,
            lambda: live.update(board.as_table(name, board.complete(running.status())), refresh=True),
        )


def _repeat(every_s: float, show: Callable[[], None]) -> NoReturn:
    from headrace.errors import Unavailable

    pause = threading.Event()
    while True:
        try:
            show()
        except Unavailable as error:
            _report(str(error))
        sys.stdout.flush()
        pause.wait(every_s)
