"""``headrace dead-letters retry``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headrace.cli.dead_letters.box import check_stream, letter_options, open_box, position_of, unknown
from headrace.cli.dead_letters.editing import as_sent, check_fields, edited, fields_of
from headrace.cli.error_text import REFUSED, Refused
from headrace.cli.output import say, say_line
from headrace.cli.running_target import find
from headrace.cli.sending import definition_of

if TYPE_CHECKING:
    from headrace.client import IngestClient
    from headrace.client.resending import Resent
    from headrace.runtime.pulsar.dead_letters import Letter, LetterBox
    from headrace.wire.position import Position


@click.command("retry")
@click.argument("positions", nargs=-1, metavar="[POSITION]...")
@click.option("--all", "everything", is_flag=True, help="All that were not sent through again yet.")
@click.option("--stream", help="All of this stream that were not sent through again yet.")
@click.option(
    "--set", "settings", multiple=True, metavar="FIELD=VALUE", help="Correct a field; a value is JSON or text."
)
@click.option("--event", metavar="JSON", help="Send this in the place of the event; for one POSITION.")
@click.option("--address", metavar="HOST:PORT", help="The ingest service, instead of looking for it.")
@click.option("--json", "as_json", is_flag=True, help="A line of JSON each.")
@letter_options
def retry(
    *,
    positions: tuple[str, ...],
    everything: bool,
    stream: str | None,
    settings: tuple[str, ...],
    event: str | None,
    address: str | None,
    as_json: bool,
    pulsar: str | None,
    loop: str | None,
    data: Path | None,
    redis: str | None,
) -> None:
    """Send the events of dead letters through the ingest service again, and say what became of each.

    Name letters by POSITION (as `list` prints it), or take all. An event that is refused again becomes a new dead
    letter (exit code 4). An event counts once, however often it is sent.

    \b
    Examples:
      headrace dead-letters retry 0:12:0 0:15:0
      headrace dead-letters retry 0:12:0 --set delay_min=12.5
      headrace dead-letters retry --stream arrived
    """
    from headrace.client import IngestClient

    _check_usage(positions, everything or stream is not None, bool(settings), event)
    fields = fields_of(settings)
    target = find(loop, data, redis)
    outcomes: Counter[str] = Counter()
    with open_box(target, pulsar) as box:
        selection = _parse_positions(box, positions) if positions else _waiting(box, stream)
        if not selection:
            check_stream(stream, target)
            say("no dead letters to retry", err=True)
            return
        definition = None if target.data is None else definition_of(target, None)
        if fields:
            for letter in _at(box, selection):
                check_fields(letter, fields, definition)
        letters = (edited(as_sent(letter, definition), fields, event) for letter in _at(box, selection))
        with IngestClient(address or target.address("ingest")) as client:
            _resend(box, client, letters, lambda result: _tell(result, outcomes, as_json))
    count = sum(outcomes.values())
    if outcomes["refused"]:
        raise Refused(f"{outcomes['refused']:,} of {count:,} were refused again", REFUSED)
    if not as_json:
        say(f"{count:,} taken", err=True)


def _check_usage(positions: Sequence[str], many: bool, settings: bool, event: str | None) -> None:
    if bool(positions) == many:
        raise click.UsageError("name letters by POSITION, or take all with --all or --stream")
    if many and (settings or event is not None):
        raise click.UsageError("--set and --event correct letters that are named by POSITION")
    if event is not None and len(positions) > 1:
        raise click.UsageError("--event is the event of one POSITION")


def _parse_positions(box: LetterBox, positions: Sequence[str]) -> set[Position]:
    """Return the letters at these positions; each must hold an event."""
    from headrace.errors import InvalidRequest

    texts = {position_of(text): text for text in positions}
    for letter in box.read():
        if letter.position in texts and not letter.is_event(box.topics):
            expected = "one that holds an event of a stream: there is nowhere to send it"
            raise InvalidRequest(
                texts[letter.position], f"a letter of the {letter.letter.service or 'unknown'}", expected
            )
        if letter.position in texts:
            texts[letter.position] = ""
    missing = [text for text in texts.values() if text]
    if missing:
        raise unknown(missing[0])
    return set(texts)


def _waiting(box: LetterBox, stream: str | None) -> set[Position]:
    """Return the letters (of a stream) that were not retried; report and skip those that hold no event."""
    positions: set[Position] = set()
    count = 0
    for letter in box.read():
        if letter.retried or stream not in (None, letter.letter.stream):
            continue
        if letter.is_event(box.topics):
            positions.add(letter.position)
        else:
            count += 1
    if count:
        say(f"{count:,} hold no event of a stream, and cannot be retried: see `show`", err=True)
    return positions


def _at(box: LetterBox, positions: set[Position]) -> Iterator[Letter]:
    """Yield the letters at these positions. Letters refused meanwhile come after them, and are not read."""
    remaining = len(positions)
    for letter in box.read():
        if letter.position in positions:
            yield letter
            remaining -= 1
        if not remaining:
            return


def _resend(box: LetterBox, client: IngestClient, letters: Iterator[Letter], tell: Callable[[Resent], None]) -> None:
    from headrace.client.resending import resend
    from headrace.errors import InvalidEvent
    from headrace.runtime.pulsar.dead_letters import Outcome

    for run in resend(client, letters):
        box.mark(
            {
                result.letter.position: Outcome.REFUSED if result.error else Outcome.TAKEN
                for result in run
                # If the service does not even judge the event, it writes no new letter, and the old one stays.
                if result.error is None or isinstance(result.error, InvalidEvent)
            }
        )
        for result in run:
            tell(result)


def _tell(result: Resent, outcomes: Counter[str], as_json: bool) -> None:
    from headrace.runtime.pulsar.dead_letters import Outcome, format_position

    outcome = Outcome.REFUSED if result.error else Outcome.TAKEN
    outcomes[outcome] += 1
    position, stream, reason = (
        format_position(result.letter.position),
        result.letter.letter.stream,
        str(result.error or ""),
    )
    if as_json:
        say(json.dumps({"position": position, "stream": stream, "outcome": outcome, "reason": reason or None}))
    else:
        say_line(f"{position}  {stream}: {f'refused again: {reason}' if reason else outcome}")
