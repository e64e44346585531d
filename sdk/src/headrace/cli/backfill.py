"""``headrace backfill``."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headrace.cli.output import say
from headrace.cli.running_target import broker_of, find, loop_options
from headrace.cli.sending import definition_of, now_and_then, progress, report_problems
from headrace.wording import counted

if TYPE_CHECKING:
    from headrace.history.backfill import Backfill, Begun

_LOOK_S = 0.5


@click.command("backfill")
@click.option("--again", is_flag=True, help="Also where nothing is lost: count rows and pairs as lost.")
@click.option("--detach", is_flag=True, help="Do not wait until the services have made everything.")
@click.option("--json", "as_json", is_flag=True, help="The outcome as one line of JSON.")
@click.option("--pulsar", metavar="URL", help="Its broker, if it does not run on this machine.")
@click.option(
    "--definition",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The compiled loop, if it does not run on this machine.",
)
@loop_options
def command(
    *,
    again: bool,
    detach: bool,
    as_json: bool,
    pulsar: str | None,
    definition: Path | None,
    loop: str | None,
    data: Path | None,
    redis: str | None,
) -> None:
    """Make the rows and waiting pairs of a loop again, after its store has lost them.

    The services do this from the streams, as far as they are retained: vectors emitted before are not emitted again,
    and the scorer keeps answering (marked as rebuilding). Interrupting this command only ends its watching.

    \b
    Examples:
      headrace backfill
      headrace backfill --redis redis://store:6379/0 --pulsar pulsar://broker:6650 --definition loop.json
    """
    from headrace.history.backfill import Backfill
    from headrace.runtime.redis.connection import connect

    target = find(loop, data, redis)
    loop_definition = definition_of(target, definition)
    began = time.monotonic()
    with report_problems(target), broker_of(target, pulsar) as (client, namespace), connect(target.redis) as store:
        backfill = Backfill(loop_definition, client, store, namespace)
        rebuild = _begin(backfill, again)
        if rebuild.shortages:
            rest = "unless a stream began then, what was held from before is lost"
            say(f"headrace: {'; '.join(rebuild.shortages)}: {rest}", err=True)
        if not detach:
            _watch(backfill, rebuild)
    facts = {"partitions": len(rebuild.partitions), "shortages": rebuild.shortages, "wall_s": time.monotonic() - began}
    done = "being made" if detach else "made"
    line = (
        f"rows and pairs of {counted(len(rebuild.partitions), 'partition')} are {done} again ({facts['wall_s']:.1f} s)"
    )
    say(json.dumps(facts) if as_json else line)


def _begin(backfill: Backfill, again: bool) -> Begun:
    count = 0
    with progress("read the logs") as show:

        def tell(topic: str, messages: int) -> None:
            nonlocal count
            count += messages
            show(count, topic.rpartition("/")[2])

        return backfill.begin(tell, again)


def _watch(backfill: Backfill, rebuild: Begun) -> None:
    from rich.console import Console

    total = counted(len(rebuild.partitions), "partition")
    tell = now_and_then()
    with Console(stderr=True).status("backfill") as status:
        while remaining := backfill.remaining(rebuild):
            line = f"backfill: {len(rebuild.partitions) - len(remaining)} of {total} done"
            if sys.stderr.isatty():
                status.update(line)
            else:
                tell(line)
            time.sleep(_LOOK_S)
