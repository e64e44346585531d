"""Comparison of a loop file with a running loop, for `headrace check --against`."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headrace.cli.output import say
from headrace.cli.running_target import Target, broker_of, find
from headrace.errors import InvalidRequest
from headrace.wording import counted, public_address

if TYPE_CHECKING:
    from headrace.definition import LoopDefinition
    from headrace.history.changes import Change, Facts

#: The exit code if some state cannot be carried over.
NOT_CARRIED = 6


@dataclass(frozen=True)
class Running:
    """The loop that a file is compared with.

    Attributes
    ----------
    place
        A description of where it runs.
    target
        How to reach it; None if it has stopped, and only its definition is known.
    """

    place: str
    definition: LoopDefinition
    target: Target | None


def compare_with(
    new: LoopDefinition, against: str, pulsar: str | None, pulsar_admin: str | None, *, as_json: bool
) -> int:
    """Print what becomes of each part of the running loop's state; return the exit code.

    Raises
    ------
    InvalidRequest
        The running loop has another name.
    Unavailable
        The loop does not run, or its broker or its store does not answer.
    """
    from headrace.history.changes import compare

    running = _running(against, new)
    if running.definition.name != new.name:
        expected = f"{running.definition.name!r}, as the running one: all its topics and keys begin with it"
        raise InvalidRequest("the loop's name", repr(new.name), expected)
    if not _has_partitions(running):
        from headrace.embedded.running_loop import with_one_partition

        new = with_one_partition(new)
    facts, unseen = _facts(running, new, pulsar, pulsar_admin)
    changes = compare(running.definition, new, facts)
    if as_json:
        say(_as_json(running, changes, unseen))
    else:
        say(as_text(running.place, new.name, changes, unseen))
    return NOT_CARRIED if any(change.problem for change in changes) else 0


def _running(against: str, new: LoopDefinition) -> Running:
    from headrace.cli.sending import definition_of
    from headrace.embedded.up_file import read_up_file

    if "://" in against:
        target = find(new.name, redis=against)
        return Running(f"the store {public_address(against)}", definition_of(target, None), target)
    directory = Path(against)
    if directory.is_dir():
        if read_up_file(directory):
            target = find(data=directory)
            return Running(str(directory), definition_of(target, None), target)
        file = directory / "loop.json"
        if not file.exists():
            raise click.UsageError(f"no loop has run on {directory}: it has no loop.json")
        return Running(f"{directory}, which has stopped", definition_of(Target(new.name, ""), file), None)
    target = find(against, elsewhere="--against DIRECTORY or --against redis://HOST finds one elsewhere")
    return Running(str(target.data), definition_of(target, None), target)


def _has_partitions(running: Running) -> bool:
    """Return whether its broker has partitioned topics; a stopped loop with one partition each probably ran without."""
    if running.target is not None:
        return running.target.partitioned
    return any(stream.partitions > 1 for stream in running.definition.streams)


def _facts(
    running: Running, new: LoopDefinition, pulsar: str | None, pulsar_admin: str | None
) -> tuple[Facts, list[str]]:
    """Return what the broker and the store say, and what was not looked at."""
    from headrace.history.changes import Facts
    from headrace.history.facts import FactFinder
    from headrace.runtime.pulsar.admin import Admin
    from headrace.runtime.redis.connection import connect

    target = running.target
    if target is None:
        return Facts(), ["kept events, examples and schemas: the loop does not run"]
    if pulsar is None and target.pulsar is None:
        return Facts(), ["kept events, examples and schemas: name the broker by --pulsar"]
    admin_url = target.admin or pulsar_admin
    unseen = [] if admin_url or not target.partitioned else ["schemas and partitions: name the broker's --pulsar-admin"]
    with broker_of(target, pulsar) as (client, namespace), connect(target.redis) as store:
        if admin_url is None:
            return FactFinder(running.definition, client, store, namespace).find(new), unseen
        with closing(Admin(admin_url, _token())) as admin:
            return FactFinder(running.definition, client, store, namespace, admin=admin).find(new), unseen


def _token() -> str | None:
    from headrace.cli.running_target import broker_settings

    token = broker_settings(None, None).pulsar_token
    return token.get_secret_value() if token else None


def _as_json(running: Running, changes: list[Change], unseen: list[str]) -> str:
    return json.dumps(
        {
            "loop": running.definition.name,
            "against": running.place,
            "carried": not any(change.problem for change in changes),
            "not_looked_at": unseen,
            "changes": [asdict(change) for change in changes],
        }
    )


def as_text(place: str, loop: str, changes: list[Change], unseen: list[str]) -> str:
    """Format a line for each part, with its problem below it, and a verdict."""
    names = [f"{change.was} → {change.name}" if change.was else change.name for change in changes]
    width = max(map(len, names), default=0)
    lines = [f"loop {loop} against {place}"]
    for name, change in zip(names, changes, strict=True):
        lines.append(f"  {change.kind:<6}  {name:<{width}}  {change.outcome:<7}  {change.reason}".rstrip())
        if change.problem:
            lines.append(f"          cannot be carried over: {change.problem}.")
        if change.meanwhile:
            lines.append(f"          answers meanwhile: {change.meanwhile}.")
    lines += [f"not looked at: {part}" for part in unseen]
    problems = sum(1 for change in changes if change.problem)
    lines.append(_verdict(problems))
    return "\n".join(lines)


def _verdict(problems: int) -> str:
    if not problems:
        return "all state can be carried over; nothing has been changed"
    return f"{counted(problems, 'part')} cannot be carried over in full; nothing has been changed"
