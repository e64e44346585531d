"""``headrace apply``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from headrace.cli.output import say
from headrace.wording import counted


@click.command("apply")
@click.argument("loop", type=click.Path(path_type=Path))
@click.option(
    "--pulsar-admin",
    metavar="URL",
    envvar="HEADRACE_PULSAR_ADMIN_URL",
    required=True,
    help="The broker's admin API; its token is read from HEADRACE_PULSAR_TOKEN.",
)
@click.option("--namespace", metavar="TENANT/NAMESPACE", help="Where the topics are; default: public/default.")
def command(loop: Path, pulsar_admin: str, namespace: str | None) -> None:
    """Set up the topics of the loop in the file LOOP at a broker of yours: partitions, retention, compaction.

    Topics that are already as declared are left alone, so applying again does nothing. The partitions of an existing
    topic are never changed: the keys of its events would move between them.

    \b
    Example:
      headrace apply loop.py --pulsar-admin http://broker:8080
    """
    from headrace import compiler
    from headrace.runtime.pulsar.admin import Admin
    from headrace.runtime.pulsar.provisioning import provision, topics_of
    from headrace.runtime.settings import ServiceSettings

    definition = compiler.load(loop).definition
    options: dict[str, Any] = {"loop": Path(os.devnull), **({"namespace": namespace} if namespace else {})}
    settings = ServiceSettings(**options)
    token = settings.pulsar_token
    admin = Admin(pulsar_admin, token.get_secret_value() if token else None)
    try:
        changes = provision(admin, definition, settings.namespace, say)
    finally:
        admin.close()
    topics = counted(sum(1 for _ in topics_of(definition, settings.namespace)), "topic")
    say(f"loop {definition.name}: {topics}, {counted(changes, 'change')}")
