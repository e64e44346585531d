"""The program `headrace`: its commands, and how it ends."""

from __future__ import annotations

import importlib
import os
import sys
import threading
import traceback
from collections.abc import Sequence
from types import TracebackType

import click

from headrace import __version__
from headrace.cli.error_text import explain_failure
from headrace.cli.output import say, say_line, take_any_text
from headrace.wording import did_you_mean, quoted

# Each command is `headrace.cli.<module>.command`. Its line is repeated here, so that `headrace --help` loads none.
_COMMANDS = {
    "demo": ("demo", "Learn from a year of flights, on this machine."),
    "init": ("init", "Write a loop file for a table of yours."),
    "check": ("check", "Explain a loop file, or name its mistakes and their cures."),
    "compile": ("compile", "Write the compiled loop that services start from."),
    "up": ("up", "Run a loop on this machine."),
    "apply": ("apply", "Set a loop's topics up at a broker of yours."),
    "status": ("status", "Show what the services of a running loop do."),
    "send": ("send", "Send a file of events to a stream."),
    "play": ("play", "Play files of events in the order of their times."),
    "mark": ("mark", "Say that no event of a stream before a time follows."),
    "score": ("score", "Ask a model what it predicts for an event."),
    "models": ("models", "List the models of a running loop, or describe one."),
    "replay": ("replay", "Compute what was served again, and tell what differs."),
    "skip": ("skip", "Leave out an example that a model's learner fails on."),
    "backfill": ("backfill", "Make rows and waiting pairs again that the store has lost."),
    "dead-letters": ("dead_letters", "See the events that could not be processed; retry them."),
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"headrace.cli.{_COMMANDS[cmd_name][0]}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            hint = did_you_mean(args[0], _COMMANDS)
            ctx.fail(f"No such command {quoted(args[0])}.{f' {hint}' if hint else ''}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in _COMMANDS.items()])


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 a fault of headrace, or replay found differences, "
    "2 wrong usage or loop file, 3 something does not answer "
    "or does not run, 4 the input was refused, 5 the model has no version yet, 6 some state of a running loop "
    "cannot be carried over, 130 interrupted.",
)
@click.version_option(__version__, message="headrace %(version)s")
def headrace() -> None:
    """Models that learn from a stream as it arrives.

    \b
    Example:
      headrace up loop.py
    """
    from headrace.runtime import logging

    logging.only_errors()


def run(arguments: Sequence[str]) -> int:
    """Run one command; every failure ends in a line on standard error and an exit code, not in a traceback.

    ``HEADRACE_DEBUG=1`` lets the traceback through.
    """
    take_any_text()
    try:
        result = headrace.main(list(arguments), prog_name="headrace", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output has closed it (`| head`): nothing can be written any more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except BaseException as error:
        if os.environ.get("HEADRACE_DEBUG"):
            raise
        text, code = explain_failure(error)
        if text:
            say(text, err=True)
        return code
    return result if isinstance(result, int) else 0


def main() -> None:
    """Run the command given by the process's arguments, and exit."""
    sys.excepthook = _print_traceback
    threading.excepthook = _tell_of_thread
    sys.exit(run(sys.argv[1:]))


def _print_traceback(kind: type[BaseException], error: BaseException, at: TracebackType | None) -> None:
    """Print the error that ends the process, as Python does, but without control characters from the exception."""
    say("".join(traceback.format_exception(kind, error, at)), err=True, nl=False)


def _tell_of_thread(args: threading.ExceptHookArgs) -> None:
    """Print one line about the error that ended a thread."""
    if os.environ.get("HEADRACE_DEBUG") and args.exc_value is not None:
        _print_traceback(args.exc_type, args.exc_value, args.exc_traceback)
    elif args.exc_type is not SystemExit:
        say_line(f"headrace: a thread ended: {args.exc_type.__name__}: {args.exc_value}", err=True)
