"""Code shared by `send` and `play`: the loop's definition, progress, and printing the outcome."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Protocol, TypeVar

import click

from headrace.cli.display_guard import Guard
from headrace.cli.error_text import INTERRUPTED, REFUSED
from headrace.cli.output import say, say_line
from headrace.cli.running_target import Target
from headrace.errors import Unavailable
from headrace.wording import counted, printable

if TYPE_CHECKING:
    from headrace.client import RejectedRow
    from headrace.definition import LoopDefinition

_Command = TypeVar("_Command", bound=Callable[..., object])

#: How many rejected rows are printed.
_SHOWN = 10
_LINES_EVERY_S = 5.0
_PROBLEMS_EVERY_S = 2.0


class SourceFile(click.ParamType):
    """A file of events and its stream; "" if the loop has only one."""

    name = "[STREAM=]FILE"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Path, str]:
        if isinstance(value, tuple):
            return value
        if Path(str(value)).is_file():
            return Path(str(value)), ""
        stream, equals, path = str(value).partition("=")
        if not equals or not stream or not path:
            self.fail(f"{value!r} is no file, and not of the form STREAM=FILE, as in departed=departed.csv", param, ctx)
        if not Path(path).is_file():
            self.fail(f"{path!r} is no file", param, ctx)
        return Path(path), stream


def sending_options(command: _Command) -> _Command:
    """Add the options of both commands: the address, the definition, the limit, and the output format."""
    options = (
        click.option(
            "--address", metavar="HOST:PORT", help="The address of ingest; default: that of the running loop."
        ),
        click.option(
            "--definition",
            type=click.Path(path_type=Path, exists=True, dir_okay=False),
            help="The compiled loop, if it does not run on this machine.",
        ),
        click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Stop after this many events."),
        click.option("--json", "as_json", is_flag=True, help="Print the outcome as one line of JSON."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def sources_of(loop: LoopDefinition, sources: Sequence[tuple[Path, str]]) -> list[tuple[Path, str]]:
    """Return files with their streams: for a loop with one stream it need not be given.

    Raises
    ------
    click.UsageError
        A file has no stream, and the loop has several streams.
    """
    streams = [stream.name for stream in loop.streams]
    for path, stream in sources:
        if not stream and len(streams) > 1:
            raise click.UsageError(
                f"{path} is of which stream? Write {streams[0]}={path}: the loop has {', '.join(streams)}"
            )
    return [(path, stream or streams[0]) for path, stream in sources]


def definition_of(target: Target, path: Path | None) -> LoopDefinition:
    """Return the compiled loop: the given file's, or that in the running loop's data directory or store.

    Raises
    ------
    click.UsageError
        There is none, or the file is not a compiled loop.
    Unavailable
        The store does not answer.
    """
    from headrace.errors import Unreadable
    from headrace.wire.compiled_loop import decode

    file = path or (target.data / "loop.json" if target.data else None)
    if file is None:
        return _stored_definition(target)
    try:
        return decode(file.read_bytes(), str(file))
    except Unreadable as error:
        raise click.UsageError(f"{error}. `headrace compile` writes it") from error


def _stored_definition(target: Target) -> LoopDefinition:
    """Return the definition that the loop's feature service has stored."""
    from headrace.runtime.redis.connection import connect
    from headrace.runtime.redis.definitions import DefinitionStore

    with connect(target.redis) as store:
        definition = DefinitionStore(store, target.loop).read()
    if definition is None:
        raise click.UsageError("its store has no definition: give --definition (`headrace compile` writes it)")
    return definition


@contextmanager
def progress(title: str, total: int | None = None) -> Iterator[Callable[[int, str], None]]:
    """Show events sent and a note, on standard error: a bar on a terminal, otherwise a line now and then."""
    if not sys.stderr.isatty():
        yield _lines(title)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:,} events  {task.fields[rate]:,.0f}/s  {task.fields[note]}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(printable(title), total=total, note="", rate=0.0)
        began, guard = time.monotonic(), Guard(lambda text: say_line(text, err=True))

        def show(count: int, note: str) -> None:
            rate = count / max(time.monotonic() - began, 1e-3)
            guard(lambda: bar.update(task, completed=count, note=printable(note), rate=rate))

        yield show


@contextmanager
def report_problems(target: Target) -> Iterator[None]:
    """Report problems of the loop's data directory on standard error meanwhile: a full disk blocks everything."""
    done = threading.Event()

    def watch() -> None:
        kinds: set[str] = set()
        while True:
            for problem in target.problems():
                # The free space in the text changes: compare the part before it.
                if (kind := problem.partition("(")[0]) not in kinds:
                    kinds.add(kind)
                    say_line(f"headrace: {problem}", err=True)
            if done.wait(_PROBLEMS_EVERY_S):
                return

    thread = threading.Thread(target=watch, name="problems", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@contextmanager
def stopped_by_interrupt() -> Iterator[threading.Event]:
    """Yield an event that the first Ctrl-C sets, so that the work can end in order; the second one ends it at once."""
    stopped = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(number, before)
        stopped.set()
        say_line("headrace: waiting for the events that were sent; Ctrl-C again does not wait", err=True)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def safe_to_repeat(action: str) -> Iterator[None]:
    """Add to the error of a service that does not answer that the action may be repeated."""
    try:
        yield
    except Unavailable as error:
        raise Unavailable(f"{error}. {_cure(action)}") from error


def _cure(action: str) -> str:
    return f"{action} the files again is safe: an event that was accepted counts once"


def _lines(title: str) -> Callable[[int, str], None]:
    began, print_line = time.monotonic(), now_and_then()

    def show(count: int, note: str) -> None:
        rate = count / max(time.monotonic() - began, 1e-3)
        print_line(f"{title}: {counted(count, 'event')}, {rate:,.0f}/s  {note}".rstrip())

    return show


def now_and_then() -> Callable[[str], None]:
    """Return a function that prints its line on standard error, unless it has just printed one."""
    printed_at = time.monotonic()

    def print_line(line: str) -> None:
        nonlocal printed_at
        if time.monotonic() - printed_at >= _LINES_EVERY_S:
            printed_at = time.monotonic()
            say_line(line, err=True)

    return print_line


def print_rejections(rejections: Sequence[RejectedRow], rejected: int) -> None:
    """Print the first rejected rows on standard error."""
    for row in rejections[:_SHOWN]:
        say_line(f"rejected {row}", err=True)
    if rejected > min(len(rejections), _SHOWN):
        say(f"rejected {rejected:,} in all: `headrace dead-letters list` has them", err=True)


class Decided(Protocol):
    """The fate of a call's events: `headrace.client.SendResult` and `PlayResult`."""

    @property
    def accepted(self) -> int: ...
    @property
    def rejected(self) -> int: ...
    @property
    def repeats(self) -> int: ...
    @property
    def late(self) -> int: ...
    @property
    def undecided(self) -> int: ...


def decided_text(result: Decided) -> str:
    """Describe the fate of the events; counts of zero are left out, except accepted and rejected."""
    late = f" ({result.late:,} late or already sent)" if result.late else ""
    parts = [f"{result.accepted:,} accepted"]
    if result.repeats:
        parts.append(f"{result.repeats:,} sent before")
    parts.append(f"{result.rejected:,} rejected{late}")
    if result.undecided:
        parts.append(f"{result.undecided:,} stored, but not decided on: `headrace status` says what holds the loop up")
    return ", ".join(parts)


def decided_facts(result: Decided) -> dict[str, object]:
    """Return the same counts for JSON."""
    return {name: getattr(result, name) for name in ("accepted", "repeats", "rejected", "late", "undecided")}


def tell_outcome(as_json: bool, line: str, facts: dict[str, object]) -> int:
    """Print the outcome on standard output; return the exit code."""
    say(json.dumps(facts) if as_json else line)
    return REFUSED if facts["rejected"] else 0


def tell_interruption(as_json: bool, line: str, facts: dict[str, object], action: str) -> int:
    """Print the outcome of an interrupted command, and that its action may be repeated; return the exit code."""
    tell_outcome(as_json, f"interrupted: {line}. {_cure(action)}", facts)
    return INTERRUPTED
