"""How large a message may be: below what brokers take, whose limit is 5 MiB unless they are configured otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

from headrace.errors import TooLarge

#: Bytes of the largest message; a broker's own 5 MiB also hold its metadata and properties.
MAX_MESSAGE = 5 * 2**20 - 2**18

#: Bytes of the largest row of a table, which nothing can split: its vector, with its id. Of a log's entry a label, too.
MAX_ROW = 2 * 2**20

#: Bytes of the longest id that a request may give.
MAX_ID = 64 * 2**10


class Table(Protocol):
    """Rows that can be taken apart."""

    def __len__(self) -> int: ...


_Table = TypeVar("_Table", bound=Table)


def split(
    table: _Table, encode: Callable[[_Table], bytes], take: Callable[[_Table, Sequence[int]], _Table], what: str
) -> Iterator[bytes]:
    """Encode a table as messages of at most `MAX_MESSAGE` bytes, in its order.

    Raises
    ------
    TooLarge
        One row alone is larger.
    """
    data = encode(table)
    if len(data) <= MAX_MESSAGE:
        yield data
        return
    size = len(table)
    if size <= 1:
        raise TooLarge(what, len(data), MAX_MESSAGE)
    # So many parts of the mean size would do; one with larger rows is split again.
    step = max(size * MAX_MESSAGE // (2 * len(data)), 1) if size > 2 else 1
    for start in range(0, size, step):
        yield from split(take(table, range(start, min(start + step, size))), encode, take, what)
