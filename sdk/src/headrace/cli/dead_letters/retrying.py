"""``headrace dead-letters retry``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headrace.cli.dead_letters.access import check_stream, dead_letter_options, open_log, position_of, unknown
from headrace.cli.dead_letters.editing import as_sent, check_fields, edited, fields_of
from headrace.cli.error_text import REFUSED, Refused
from headrace.cli.output import say, say_line
from headrace.cli.running_target import find
from headrace.cli.sending import definition_of

if TYPE_CHECKING:
    from headrace.client import IngestClient
    from headrace.client.resending import Resent
    from headrace.runtime.pulsar.dead_letters import DeadLetterLog, StoredDeadLetter
    from headrace.wire.position import Position


@click.command("retry")
@click.argument("positions", nargs=-1, metavar="[POSITION]...")
@click.option("--all", "everything", is_flag=True, help="All that were not retried yet.")
@click.option("--stream", help="All of this stream that were not retried yet.")
@click.option(
    "--set", "settings", multiple=True, metavar="FIELD=VALUE", help="Correct a field; a value is JSON or text."
)
@click.option("--event", metavar="JSON", help="Send this in the place of the event; for one POSITION.")
@click.option("--address", metavar="HOST:PORT", help="The address of ingest; default: that of the running loop.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON for each.")
@dead_letter_options
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
    """Send the events of dead letters to the ingest service again, and print each outcome.

    Select dead letters by POSITION (as `list` prints it), or all of them. An event that is refused again becomes
    a new dead letter (exit code 4). An event counts once, however often it is sent.

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
    with open_log(target, pulsar) as log:
        selection = _parse_positions(log, positions) if positions else _waiting(log, stream)
        if not selection:
            check_stream(stream, target)
            say("no dead letters to retry", err=True)
            return
        definition = None if target.data is None else definition_of(target, None)
        if fields:
            for letter in _at(log, selection):
                check_fields(letter, fields, definition)
        dead_letters = (edited(as_sent(letter, definition), fields, event) for letter in _at(log, selection))
        with IngestClient(address or target.address("ingest")) as client:
            _resend(log, client, dead_letters, lambda result: _print_result(result, outcomes, as_json))
    count = sum(outcomes.values())
    if outcomes["refused"]:
        raise Refused(f"{outcomes['refused']:,} of {count:,} were refused again", REFUSED)
    if not as_json:
        say(f"{count:,} taken", err=True)


def _check_usage(positions: Sequence[str], many: bool, settings: bool, event: str | None) -> None:
    if bool(positions) == many:
        raise click.UsageError("select dead letters by POSITION, or all of them with --all or --stream")
    if many and (settings or event is not None):
        raise click.UsageError("--set and --event correct dead letters that are selected by POSITION")
    if event is not None and len(positions) > 1:
        raise click.UsageError("--event is the event of one POSITION")


def _parse_positions(log: DeadLetterLog, positions: Sequence[str]) -> set[Position]:
    """Return the dead letters at these positions; each must hold an event."""
    from headrace.errors import InvalidRequest

    texts = {position_of(text): text for text in positions}
    for letter in log.read():
        if letter.position in texts and not letter.is_event(log.topics):
            expected = "one that holds an event of a stream: there is nowhere to send it"
            raise InvalidRequest(
                texts[letter.position], f"a dead letter of the {letter.message.service or 'unknown'}", expected
            )
        if letter.position in texts:
            texts[letter.position] = ""
    missing = [text for text in texts.values() if text]
    if missing:
        raise unknown(missing[0])
    return set(texts)


def _waiting(log: DeadLetterLog, stream: str | None) -> set[Position]:
    """Return the dead letters (of a stream) that were not retried; report and skip those that hold no event."""
    positions: set[Position] = set()
    count = 0
    for letter in log.read():
        if letter.retried or stream not in (None, letter.message.stream):
            continue
        if letter.is_event(log.topics):
            positions.add(letter.position)
        else:
            count += 1
    if count:
        say(f"{count:,} hold no event of a stream, and cannot be retried: see `show`", err=True)
    return positions


def _at(log: DeadLetterLog, positions: set[Position]) -> Iterator[StoredDeadLetter]:
    """Yield the dead letters at these positions; stop before those that were refused meanwhile."""
    remaining = len(positions)
    for letter in log.read():
        if letter.position in positions:
            yield letter
            remaining -= 1
        if not remaining:
            return


def _resend(
    log: DeadLetterLog,
    client: IngestClient,
    dead_letters: Iterator[StoredDeadLetter],
    on_result: Callable[[Resent], None],
) -> None:
    from headrace.client.resending import resend
    from headrace.errors import InvalidEvent
    from headrace.runtime.pulsar.dead_letters import Outcome

    for run in resend(client, dead_letters):
        log.mark(
            {
                result.letter.position: Outcome.REFUSED if result.error else Outcome.TAKEN
                for result in run
                # Other errors leave no new dead letter, so the old one stays.
                if result.error is None or isinstance(result.error, InvalidEvent)
            }
        )
        for result in run:
            on_result(result)


def _print_result(result: Resent, outcomes: Counter[str], as_json: bool) -> None:
    from headrace.runtime.pulsar.dead_letters import Outcome, format_position

    outcome = Outcome.REFUSED if result.error else Outcome.TAKEN
    outcomes[outcome] += 1
    position, stream, reason = (
        format_position(result.letter.position),
        result.letter.message.stream,
        str(result.error or ""),
    )
    if as_json:
        say(json.dumps({"position": position, "stream": stream, "outcome": outcome, "reason": reason or None}))
    else:
        say_line(f"{position}  {stream}: {f'refused again: {reason}' if reason else outcome}")
