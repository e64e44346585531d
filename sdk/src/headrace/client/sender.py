"""Sending files to a stream, as fast as the broker accepts them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from headrace.client.ingest import IngestClient
from headrace.client.merging import Origins, Source
from headrace.client.outcome import RejectedRow, rejected_rows
from headrace.definition import StreamDefinition

_SLICE = 1_000


@dataclass(frozen=True)
class SendResult:
    """The outcome of a send: all events are durable, in their stream or in the dead letters.

    `repeats` had been sent before and have no effect; `late` counts the rejected events that were late; the
    owners of the partitions have not decided yet on `undecided` events.
    """

    sent: int
    accepted: int
    rejected: int
    rejections: tuple[RejectedRow, ...]
    repeats: int = 0
    late: int = 0
    undecided: int = 0


def send(
    stream: StreamDefinition,
    paths: Sequence[Path | str],
    address: str,
    *,
    limit: int | None = None,
    final: bool = False,
    on_progress: Callable[[int], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> SendResult:
    """Send files to a stream, one after the other, each in its own order.

    Return once the owners of the stream's partitions have decided on all events, or do not answer.

    Parameters
    ----------
    address
        The address of the ingest service.
    final
        Declare at the end that no event follows on this stream.
    on_progress
        Called with the number of events sent so far.
    stop
        Asked before each slice of events: once it returns true, no more is sent, and the result is that of the events
        sent until then.

    Raises
    ------
    InvalidRequest
        A file is not what the stream expects.
    Unavailable
        The service does not answer. Send again: events that were accepted count once.
    """
    sources = [Source(Path(path), stream, rank) for rank, path in enumerate(paths)]
    rows = (row for source in sources for row in source.rows())
    selection = islice(rows, limit)
    origins = Origins()
    sent = 0
    with IngestClient(address) as client, client.stream(decide=True) as target:
        while not (stopped := stop()) and (run := list(islice(selection, _SLICE))):
            for row in run:
                origins.add(stream.name, row.rank, row.line)
            target.send(stream.name, [row.event for row in run])
            sent += len(run)
            if on_progress is not None:
                on_progress(sent)
        if final and not stopped:
            target.send(stream.name, (), end=True)
        result = target.finish()
    rejections = rejected_rows(result.rejections, sources, origins)
    return SendResult(sent, result.accepted, result.rejected, rejections, result.repeats, result.late, result.undecided)
