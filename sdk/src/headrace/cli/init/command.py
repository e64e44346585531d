"""The `init` command itself."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from headrace.cli.output import say, say_line


@click.command("init")
@click.argument("table", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="FILE")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="The loop file; default: FILE's name.")
@click.option("--label", metavar="COLUMN", help="What is to be predicted.")
@click.option("--time", metavar="COLUMN", help="When a row happened.")
@click.option("--force", is_flag=True, help="Overwrite an existing loop file.")
def command(*, table: Path, output: Path | None, label: str | None, time: str | None, force: bool) -> int:
    """Look at the table in FILE (CSV, JSON Lines or Parquet) and write a loop file for it.

    What it cannot know it guesses, from the names and values of columns, and asks about in a comment.

    \b
    Examples:
      headrace init trips.csv
      headrace init trips.csv --label minutes
    """
    from headrace.cli.init.facts import look_at
    from headrace.cli.init.loop_file import SORTED, LoopFile, column_lines, notes_of, sort_command, usual_name
    from headrace.cli.init.roles import roles_of
    from headrace.compiler import load

    name = usual_name(table.name.split(".")[0], output.parent if output else Path())
    path = output or Path(f"{name}.py")
    if path.exists() and not force:
        raise click.UsageError(f"{path} exists already: --force overwrites it, --output FILE writes another")
    facts = look_at(table)
    roles = roles_of(facts, time=time, label=label)
    draft = LoopFile(facts, roles, name)
    path.write_text(draft.text, encoding="utf-8")
    for line in column_lines(facts, roles):
        say(line)
    for note in notes_of(facts, roles):
        say_line(f"note: {note}")
    loop = shlex.quote(load(path).definition.name)
    questions = draft.text.count("?")
    say(f"\nwrote {path}, with {questions} questions in its comments. Then:\n")
    if roles.lateness > SORTED:
        say(f"  {sort_command(table, facts, roles)}")
        table = table.with_name("sorted.csv")
    say(f"  headrace up {shlex.quote(str(path))}")
    say(f"  headrace play {shlex.quote(str(table))} --loop {loop}")
    say(f"  headrace score {draft.model} --loop {loop} --event {shlex.quote(draft.event())}")
    return 0
