"""The message and the exit code of a command that fails."""

from __future__ import annotations

import click

from headrace import errors
from headrace.wording import counted, shown

#: Characters shown of a message that repeats the user's input.
_LENGTH = 1_000

#: The exit code if input was refused.
REFUSED = 4

#: The exit code if something does not answer, or does not run.
NOT_ANSWERED = 3

#: The exit code after Ctrl-C.
INTERRUPTED = 130

#: Servers, by the package that their clients' exceptions come from.
_SERVERS = {"redis": "the online store", "pulsar": "the broker", "_pulsar": "the broker", "grpc": "a service"}

#: Exit codes by kind of failure; the first match counts.
_CODES: tuple[tuple[type[BaseException], int], ...] = (
    (errors.DefinitionError, 2),
    (errors.DefinitionErrors, 2),
    (errors.UnsupportedLearner, 2),
    (errors.MissingExtra, 2),
    (errors.Unavailable, NOT_ANSWERED),
    (errors.InvalidEvent, REFUSED),
    (errors.InvalidRequest, REFUSED),
    (errors.NoModelYet, 5),
    (errors.Implausible, 5),
)


class Refused(errors.HeadraceError):
    """A service refused a request; `code` is the exit code that the command ends with."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def explain_failure(error: BaseException) -> tuple[str, int]:
    """Return the text for standard error, and the exit code."""
    if isinstance(error, click.exceptions.Exit):
        return "", error.exit_code
    if isinstance(error, (click.Abort, KeyboardInterrupt)):
        return "headrace: interrupted", INTERRUPTED
    if isinstance(error, SystemExit):
        return "", error.code if isinstance(error.code, int) else 1
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return error.format_message(), 2
    if isinstance(error, click.UsageError):
        hint = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
        return f"headrace: {shown(error.format_message(), _LENGTH)}{hint}", 2
    if isinstance(error, click.ClickException):
        return f"headrace: {shown(error.format_message(), _LENGTH)}", 2
    if isinstance(error, Refused):
        return f"headrace: {error}", error.code
    if isinstance(error, errors.DefinitionErrors):
        return f"{error}\nheadrace: {counted(len(error.errors), 'mistake')}", 2
    for kind, code in _CODES:
        if isinstance(error, kind):
            return f"headrace: {error}", code
    if isinstance(error, errors.HeadraceError):
        return f"headrace: {error}", 1
    if (server := _server_of(error)) is not None:
        return f"headrace: {server} does not answer: {error}", NOT_ANSWERED
    if isinstance(error, ConnectionError):
        return f"headrace: a server does not answer: {error}", NOT_ANSWERED
    if isinstance(error, OSError):
        return f"headrace: {error.strerror or error}{f': {error.filename}' if error.filename else ''}", 2
    return (f"headrace: a fault of headrace itself: {type(error).__name__}: {error} (HEADRACE_DEBUG=1 shows where)"), 1


def _server_of(error: BaseException) -> str | None:
    """Name the server whose client raised this; None for any other exception."""
    packages = (kind.__module__.partition(".")[0] for kind in type(error).__mro__)
    return next((_SERVERS[package] for package in packages if package in _SERVERS), None)
