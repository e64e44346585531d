"""Maximum size of a message: below the limit of brokers, which is 5 MiB unless they are configured otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

from headrace.errors import TooLarge

#: Maximum size of a message in bytes; a broker's own 5 MiB also hold its metadata and properties.
MAX_MESSAGE = 5 * 2**20 - 2**18

#: Maximum size in bytes of a table's row, which cannot be split: its vector and id, and in a log's entry a label, too.
MAX_ROW = 2 * 2**20

#: Maximum length in bytes of an id in a request.
MAX_ID = 64 * 2**10


class Table(Protocol):
    """Rows that can be split up."""

    def __len__(self) -> int: ...


_Table = TypeVar("_Table", bound=Table)


def split(
    table: _Table, encode: Callable[[_Table], bytes], take: Callable[[_Table, Sequence[int]], _Table], subject: str
) -> Iterator[bytes]:
    """Encode a table as messages of at most `MAX_MESSAGE` bytes, in order.

    Raises
    ------
    TooLarge
        A single row is larger.
    """
    data = encode(table)
    if len(data) <= MAX_MESSAGE:
        yield data
        return
    size = len(table)
    if size <= 1:
        raise TooLarge(subject, len(data), MAX_MESSAGE)
    # Parts of this many rows are half a message on average; a part with larger rows is split again.
    step = max(size * MAX_MESSAGE // (2 * len(data)), 1) if size > 2 else 1
    for start in range(0, size, step):
        yield from split(take(table, range(start, min(start + step, size))), encode, take, subject)
