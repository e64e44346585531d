"""Sending dead-lettered events through the ingest service again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from headrace.errors import InvalidEvent, InvalidRequest

if TYPE_CHECKING:
    from headrace.client.ingest import IngestClient
    from headrace.runtime.pulsar.dead_letters import Letter

#: Letters of one call: few enough for the answer to name all that were refused.
_RUN = 100


class Resent(NamedTuple):
    """A letter that was sent again; `error` is why it was refused again (an `InvalidEvent` is a new dead letter)."""

    letter: Letter
    error: InvalidEvent | InvalidRequest | None


def resend(client: IngestClient, letters: Iterable[Letter]) -> Iterator[list[Resent]]:
    """Send the events of letters, in their order; yield them run by run, once the broker has them.

    Raises
    ------
    Unavailable
        The service or its broker does not answer. Some of the current run may have been accepted: sending it again
        does no harm.
    """
    for run in _runs(letters):
        stream = run[0].letter.stream
        try:
            result = client.publish_stream(stream, [letter.letter.event for letter in run])
        except InvalidRequest as error:
            yield [Resent(letter, error) for letter in run]
            continue
        errors = {rejection.index: rejection.error for rejection in result.rejections}
        yield [Resent(letter, errors.get(index)) for index, letter in enumerate(run)]


def _runs(letters: Iterable[Letter]) -> Iterator[list[Letter]]:
    """Group consecutive letters of one stream into bounded runs."""
    run: list[Letter] = []
    for letter in letters:
        if run and (len(run) == _RUN or letter.letter.stream != run[0].letter.stream):
            yield run
            run = []
        run.append(letter)
    if run:
        yield run
