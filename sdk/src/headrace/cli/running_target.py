"""The search for the running loop that a command refers to."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from headrace.errors import Unavailable
from headrace.wording import did_you_mean, public_address, quoted

if TYPE_CHECKING:
    import pulsar
    from redis import Redis

    from headrace.embedded.up_file import UpFile
    from headrace.runtime.redis.status import ServiceStatus
    from headrace.runtime.settings import ServiceSettings

_Command = TypeVar("_Command", bound=Callable[..., object])

_READ_S = 5.0
#: Seconds after which a call of a service has failed.
TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Target:
    """A running loop.

    `pulsar`, `data` and `namespace` are None if the loop was found by its store; `admin` is None if the address of the
    broker's admin API is unknown. `partitioned` says whether the broker supports partitioned topics.
    """

    loop: str
    redis: str
    pulsar: str | None = None
    data: Path | None = None
    namespace: str | None = None
    admin: str | None = None
    partitioned: bool = True

    def statuses(self, silent: bool = False) -> list[ServiceStatus]:
        """Return the statuses of the loop's services; with `silent`, include those that no longer report.

        Raises
        ------
        Unavailable
            Its store does not answer.
        """
        from headrace.runtime.redis.status import StatusBoard

        try:
            with _store(self.redis) as store:
                return StatusBoard(store, self.loop).read(silent)
        except Unavailable as error:
            raise Unavailable("; ".join([str(error), *self.problems()])) from error

    def problems(self) -> Sequence[str]:
        """Return the problems of the loop's local servers and of its data directory, if it is on this machine."""
        from headrace.embedded.data_directory import problems_of
        from headrace.embedded.server_failures import read_failures

        return [*read_failures(self.data), *problems_of(self.data)] if self.data is not None else ()

    def address(self, service: str) -> str:
        """Return the gRPC address of a service.

        Raises
        ------
        Unavailable
            None of its processes is ready.
        """
        for status in self.statuses():
            if status.service == service and status.state in ("ready", "waiting") and status.address:
                return status.address
        raise Unavailable(f"loop {self.loop!r} has no {service} that is ready: see `headrace status`")


@contextmanager
def broker_of(target: Target, url: str | None) -> Iterator[tuple[pulsar.Client, str]]:
    """Connect to the given broker, or else the loop's own; yield the client and the namespace of the loop's topics.

    Raises
    ------
    click.UsageError
        The address of its broker is unknown.
    """
    from headrace.runtime.pulsar.connection import connect

    broker = url or target.pulsar
    if broker is None:
        raise click.UsageError("a loop that is found by --redis needs --pulsar too")
    settings = broker_settings(broker, target.namespace)
    client = connect(settings)
    try:
        yield client, settings.namespace
    finally:
        client.close()


def broker_settings(url: str | None, namespace: str | None) -> ServiceSettings:
    """Return settings for a broker: the token, and whatever is not given, come from the environment."""
    from headrace.runtime.settings import ServiceSettings

    defaults: dict[str, Any] = {"loop": Path(os.devnull)}
    options = {"pulsar_url": url, "namespace": namespace}
    return ServiceSettings(**defaults, **{name: value for name, value in options.items() if value is not None})


def loop_options(command: _Command) -> _Command:
    """Add the options that select a running loop: `--loop`, `--data`, `--redis`."""
    options = (
        click.option("--loop", metavar="NAME", help="The name of the loop, if several run."),
        click.option(
            "--data",
            type=click.Path(path_type=Path),
            envvar="HEADRACE_DATA",
            help="The loop's data directory; default: any under .headrace.",
        ),
        click.option(
            "--redis",
            metavar="URL",
            envvar="HEADRACE_REDIS_URL",
            help="The loop's online store, if the loop does not run on this machine.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def find(
    loop: str | None = None,
    data: Path | None = None,
    redis: str | None = None,
    *,
    elsewhere: str = "--data or --redis finds one elsewhere",
) -> Target:
    """Find the running loop that the options select; without options, the only one on this machine.

    Parameters
    ----------
    loop
        The loop's name, or its file.
    data
        The loop's data directory.
    redis
        The URL of the loop's store; it is then searched instead of this machine.
    elsewhere
        The error's hint at the options that find a loop in another place.

    Raises
    ------
    Unavailable
        No loop runs, or the store does not answer.
    click.UsageError
        Several loops run, and the options do not say which is meant.
    """
    if redis:
        names = _loops_in_store(redis)
        matches_in_store = [name for name in names if loop is None or name == loop]
        return Target(_only(matches_in_store, loop, f"on {public_address(redis)}", names, elsewhere=elsewhere), redis)
    running = _local_loops(data)
    matches = [up_file for up_file in running if loop is None or _matches(up_file, loop)]
    if not matches and (starting := _starting(data)):
        raise Unavailable(
            f"the loop in {starting[0].absolute()} is starting: wait until `headrace up` shows its addresses"
        )
    others = [up_file.loop for up_file in running]
    name = _only([up_file.loop for up_file in matches], loop, _place(data), others, elsewhere=elsewhere)
    up = next(up_file for up_file in matches if up_file.loop == name)
    return Target(up.loop, up.redis, up.pulsar, Path(up.data), up.namespace, up.pulsar_admin, up.partitioned)


@contextmanager
def _store(url: str) -> Iterator[Redis]:
    from redis import RedisError, ResponseError

    from headrace.runtime.redis.connection import connect_without_retries

    try:
        with connect_without_retries(url, _READ_S) as store:
            yield store
    except ResponseError as error:
        raise Unavailable(f"the online store {public_address(url)} refuses a command: {error}") from error
    except (RedisError, ValueError) as error:
        raise Unavailable(f"the online store {public_address(url)} does not answer: {error}") from error


def _matches(up_file: UpFile, loop: str) -> bool:
    return loop == up_file.loop or os.path.abspath(loop) == up_file.loop_file


def _place(data: Path | None) -> str:
    """Say where a loop of this machine is searched for."""
    from headrace.embedded.up_file import HOME

    return f"on {data}" if data else f"under {HOME.absolute()}"


def _only(names: list[str], loop: str | None, place: str, others: Sequence[str], *, elsewhere: str) -> str:
    """Return the only name; raise an error that suggests one of `others` if there is none, or several."""
    if len(names) == 1:
        return names[0]
    if names:
        raise click.UsageError(f"several loops run: {', '.join(sorted(names))}; say which one")
    subject = f"loop {quoted(loop)}" if loop else "no loop"
    runs = "does not run" if loop else "runs"
    hint = did_you_mean(loop, others) if loop else ""
    cure = hint or f"`headrace up LOOP` starts one, {elsewhere}"
    raise Unavailable(f"{subject} {runs} {place}; {cure}")


def _local_loops(data: Path | None) -> list[UpFile]:
    from headrace.embedded.up_file import read_up_file

    return [up_file for up_file in map(read_up_file, _directories(data)) if up_file]


def _starting(data: Path | None) -> list[Path]:
    """Return the data directories of loops that have not written yet where they are reached."""
    from headrace.embedded.data_directory import UP_LOCK
    from headrace.embedded.locks import is_held
    from headrace.embedded.up_file import read_up_file

    return [folder for folder in _directories(data) if is_held(folder / UP_LOCK) and read_up_file(folder) is None]


def _directories(data: Path | None) -> list[Path]:
    from headrace.embedded.up_file import HOME

    return [data] if data else sorted(HOME.glob("*/"))


def _loops_in_store(url: str) -> list[str]:
    """Return the names of the loops whose services report to a store."""
    with _store(url) as store:
        keys = [key.decode() for key in store.scan_iter("headrace:*:status:*", count=1000)]
    return sorted({key.split(":")[1] for key in keys})
