"""``headrace up``."""

from __future__ import annotations

import json
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import click

from headrace.cli.display_guard import Guard
from headrace.cli.output import say, say_line
from headrace.cli.workers import Workers
from headrace.wording import format_span, format_time, public_address

if TYPE_CHECKING:
    from headrace.definition import LoopDefinition
    from headrace.embedded import RunningLoop

_LOOK_S = 1.0
_LINES_EVERY_S = 10.0
_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@click.command("up")
@click.argument("loop", type=click.Path(path_type=Path))
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    envvar="HEADRACE_DATA",
    help="The data directory, from which a later run resumes; default: .headrace/<loop>.",
)
@click.option(
    "--pulsar",
    metavar="URL|official",
    envvar="HEADRACE_PULSAR_URL",
    help="A broker to use instead of the small local one; official: Apache Pulsar itself, from PULSAR_URL, as a "
    "container, or on a JVM of this machine.",
)
@click.option(
    "--pulsar-admin",
    metavar="URL",
    help="The admin API of a broker of yours: topics are set up by it.",
)
@click.option(
    "--redis",
    metavar="URL",
    envvar="HEADRACE_REDIS_URL",
    help="An online store to use instead of a local one. With a password in it, name it by HEADRACE_REDIS_URL: others "
    "see the arguments of a process.",
)
@click.option("--workers", type=Workers(), multiple=True, help="More than one process of a service; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="Print the addresses as one line of JSON, and nothing else.")
def command(
    *,
    loop: Path,
    data: Path | None,
    pulsar: str | None,
    pulsar_admin: str | None,
    redis: str | None,
    workers: tuple[tuple[str, int], ...],
    as_json: bool,
) -> None:
    """Run the loop in the file LOOP on this machine, until Ctrl-C.

    It starts a local broker and a local online store, unless you name others; everything listens on 127.0.0.1
    only. Its state survives in the data directory.

    \b
    Examples:
      headrace up loop.py
      headrace up loop.py --pulsar official --workers feature=3 --workers learner=2
      headrace up loop.py --pulsar pulsar://broker:6650 --redis redis://store:6379/0
    """
    from headrace import embedded

    _warn_of_passwords(pulsar, redis)
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
            text = _as_json(running, data) if as_json else _as_text(running, data)
            Guard(_report)(lambda: say(text))
            if as_json:
                _repeat(running, lambda: None, _LINES_EVERY_S)
            _show(running)
    except _Stopped:
        at = f" --data {shlex.quote(str(data))}" if data else ""
        _report(f"loop stopped; `headrace up {shlex.quote(str(loop))}{at}` goes on from where it is")


class _Stopped(KeyboardInterrupt):
    """A signal, whichever it was, asked the command to stop."""


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Let the first signal end the block; later ones do not disturb the stop, which has its own deadlines."""

    def stop(number: int, frame: FrameType | None) -> None:
        for signum in _STOPPING:
            signal.signal(signum, signal.SIG_IGN)
        raise _Stopped

    before = {number: signal.signal(number, stop) for number in _STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _warn_of_passwords(*urls: str | None) -> None:
    """Warn that the process's arguments, which others can see, contain a password."""
    for url in urls:
        if url and "@" in url and url in sys.argv:
            _report(
                f"the password of {public_address(url)} is in this process's arguments, which others on this machine "
                "see: name the broker by HEADRACE_PULSAR_URL, the store by HEADRACE_REDIS_URL"
            )


def _report(text: str) -> None:
    say_line(f"headrace: {text}", err=True)


def _tell_keep(loop: LoopDefinition) -> None:
    """Report what makes several feature workers slower than one."""
    keep, view = min(((view.keep, view.name) for view in loop.views), default=(0, ""))
    if view:
        _report(
            f"feature workers that play or backfill history wait for each other, {format_span(keep / 1e6)} of event "
            f"time at a time: the loop's smallest keep, of view {view}"
        )


def _example(running: RunningLoop, data: Path | None) -> str:
    from headrace.cli.examples import example_command

    times = [status.newest for status in running.status() if status.newest is not None]
    # While a history is played, the time that the rows have reached; otherwise now.
    now = max(times, default=time.time_ns() // 1_000_000_000 * 1_000_000)
    command = example_command(running.definition, format_time(now))
    return f"{command} --data {shlex.quote(str(data))}" if command and data else command


def _as_json(running: RunningLoop, data: Path | None) -> str:
    up = running.describe()
    return json.dumps(
        {
            "loop": up.loop,
            "pulsar": public_address(up.pulsar),
            "pulsar_admin": up.pulsar_admin and public_address(up.pulsar_admin),
            "redis": public_address(up.redis),
            "addresses": up.addresses,
            "data": up.data,
            "pids": up.pids,
            "example": _example(running, data),
        }
    )


def _as_text(running: RunningLoop, data: Path | None) -> str:
    up = running.describe()
    rows = {
        "broker": public_address(up.pulsar),
        **({"admin": public_address(up.pulsar_admin)} if up.pulsar_admin else {}),
        "store": public_address(up.redis),
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
    """Show what the loop does until a signal arrives."""
    from headrace.cli import board

    name = running.definition.name

    def lines() -> None:
        say("\n".join(board.as_lines(board.complete(running.status()), running.problems())))
        sys.stdout.flush()

    if not sys.stdout.isatty():
        _repeat(running, lines, _LINES_EVERY_S)
    from rich.live import Live

    # Lines printed meanwhile (about a restart, for example) appear above the table.
    with Live(auto_refresh=False) as live:

        def table() -> None:
            group = board.as_table(name, board.complete(running.status()), running.problems())
            # Render it before handing it over: content that cannot be shown must not remain for the next refresh.
            live.console.render_lines(group)
            live.update(group, refresh=True)

        _repeat(running, table, _LOOK_S)


def _repeat(running: RunningLoop, show: Callable[[], None], every_s: float) -> NoReturn:
    """Show it at intervals, and check that its data still exists."""
    guard, pause, due = Guard(_report), threading.Event(), 0.0
    while True:
        running.check_data()
        if time.monotonic() >= due:
            due = time.monotonic() + every_s
            guard(show)
        pause.wait(_LOOK_S)
