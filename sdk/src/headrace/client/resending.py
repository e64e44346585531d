"""Sending dead-lettered events through the ingest service again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from headrace.errors import InvalidEvent, InvalidRequest

if TYPE_CHECKING:
    from headrace.client.ingest import IngestClient
    from headrace.runtime.pulsar.dead_letters import StoredDeadLetter

#: Events per call: few enough for the response to list every rejection.
_RUN = 100


class Resent(NamedTuple):
    """A retried dead letter; `error` says why it was refused again (an `InvalidEvent` is a new dead letter)."""

    letter: StoredDeadLetter
    error: InvalidEvent | InvalidRequest | None


def resend(client: IngestClient, dead_letters: Iterable[StoredDeadLetter]) -> Iterator[list[Resent]]:
    """Send the events of dead letters, in order; yield them run by run, once the broker has them.

    Raises
    ------
    Unavailable
        The service or its broker does not answer. Some of the current run may have been accepted: sending it again
        does no harm.
    """
    for run in _runs(dead_letters):
        stream = run[0].message.stream
        try:
            result = client.publish_stream(stream, [letter.message.event for letter in run])
        except InvalidRequest as error:
            yield [Resent(letter, error) for letter in run]
            continue
        errors = {rejection.index: rejection.error for rejection in result.rejections}
        yield [Resent(letter, errors.get(index)) for index, letter in enumerate(run)]


def _runs(dead_letters: Iterable[StoredDeadLetter]) -> Iterator[list[StoredDeadLetter]]:
    """Group consecutive dead letters of one stream into bounded runs."""
    run: list[StoredDeadLetter] = []
    for letter in dead_letters:
        if run and (len(run) == _RUN or letter.message.stream != run[0].message.stream):
            yield run
            run = []
        run.append(letter)
    if run:
        yield run
