"""``headrace skip``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headrace.cli.error_text import REFUSED, Refused
from headrace.cli.output import say, say_line
from headrace.cli.running_target import Target, broker_of, find, loop_options
from headrace.cli.sending import definition_of
from headrace.errors import UnknownName
from headrace.wording import quoted, shown

if TYPE_CHECKING:
    from headrace.definition import ModelDefinition
    from headrace.runtime.redis.status import StoppedModel


@click.command("skip")
@click.argument("model")
@click.argument("example_id")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as one line of JSON.")
@click.option("--pulsar", metavar="URL", help="The loop's broker, if the loop does not run on this machine.")
@click.option(
    "--definition",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The compiled loop, if it does not run on this machine.",
)
@loop_options
def command(
    *,
    model: str,
    example_id: str,
    as_json: bool,
    pulsar: str | None,
    definition: Path | None,
    loop: str | None,
    data: Path | None,
    redis: str | None,
) -> None:
    """Let MODEL leave out the example EXAMPLE_ID, on which its learner fails, and learn on after it.

    `headrace status` names the example that a model has stopped at; only that one can be left out. This is recorded on
    the loop's skips topic, so a process that learns the model's log again leaves the example out too. It cannot be
    undone.

    \b
    Example:
      headrace skip late_arrival UA1545
    """
    from headrace.runtime.pulsar.skips import Skip, write_skip
    from headrace.wire.topics import Topics

    target = find(loop, data, redis)
    name = _find(definition_of(target, definition).models, model).name
    stopped = _stopped_model(target, name, example_id)
    with broker_of(target, pulsar) as (client, namespace):
        skip = Skip(model=name, question=stopped.question, id=stopped.id, reason=stopped.reason)
        write_skip(client, Topics(target.loop, namespace).skips, skip)
    facts = {
        "model": model,
        "id": stopped.id,
        "entry": stopped.entry,
        "question": stopped.question,
        "reason": stopped.reason,
    }
    if as_json:
        say(json.dumps(facts))
    else:
        say_line(f"{model} leaves out example {quoted(stopped.id)}, entry {stopped.entry} of its log, and learns on")


def _find(models: Sequence[ModelDefinition], name: str) -> ModelDefinition:
    for model in models:
        if name in (model.title, model.name):
            return model
    raise UnknownName("model", name, tuple(model.title for model in models))


def _stopped_model(target: Target, model: str, example_id: str) -> StoppedModel:
    """Return the example that a model has stopped at, which must be the named one.

    Raises
    ------
    Refused
        It is another example, or the model has not stopped.
    """
    examples = [status.stopped[model] for status in target.statuses() if model in status.stopped]
    if not examples:
        raise Refused(f"{model} has not stopped at an example: nothing to skip (see `headrace status`)", REFUSED)
    for example in examples:
        # An id that cannot be typed may be given as it is shown.
        if example_id in (example.id, shown(example.id)):
            return example
    raise Refused(f"{model} has stopped at example {quoted(examples[0].id)}, not at {quoted(example_id)}", REFUSED)
