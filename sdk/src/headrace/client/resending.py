"""Sending dead-lettered events through the ingest service again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from headrace.errors import InvalidEvent, InvalidRequest

if TYPE_CHECKING:
    from headrace.client.ingest import IngestClient
    from headrace.log.letters import Letter

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
            result = client.publish_stream(stream, [own.letter.event for own in run])
        except InvalidRequest as error:
            yield [Resent(own, error) for own in run]
            continue
        refused = {own.index: own.error for own in result.rejections}
        yield [Resent(own, refused.get(index)) for index, own in enumerate(run)]


def _runs(letters: Iterable[Letter]) -> Iterator[list[Letter]]:
    """Group consecutive letters of one stream into bounded runs."""
    run: list[Letter] = []
    for own in letters:
        if run and (len(run) == _RUN or own.letter.stream != run[0].letter.stream):
            yield run
            run = []
        run.append(own)
    if run:
        yield run
