"""Damage bytes at random: the kinds of damage that find faults in decoders of binary and text formats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

#: Numbers at the ends of their ranges, as binary formats encode them.
_NUMBERS = tuple(
    number.to_bytes(size, order, signed=number < 0)
    for size in (1, 2, 4, 8)
    for number in (0, 1, -1, 2 ** (size * 8 - 1) - 1, -(2 ** (size * 8 - 1)))
    for order in ("little", "big")
)

#: Pieces of text on which text formats often fail.
_WORDS = (
    b'"',
    b"\\",
    b"\n",
    b"\x00",
    b"\xff",
    b"{",
    b"[" * 64,
    b"null",
    b"NaN",
    b"1e999",
    b"-1",
    b"9" * 40,
    b"\xed\xa0\x80",
)

#: The maximum number of changes to one input.
_MOST = 6

_Damage = Callable[[Random, bytearray], None]


def mutated(random: Random, seeds: Sequence[bytes]) -> bytes:
    """Return one of the seeds with some damage; rarely two of them cut together, or random bytes."""
    data = bytearray(random.choice(seeds))
    if random.random() < 0.05:
        other = random.choice(seeds)
        data[random.randrange(len(data) + 1) :] = other[random.randrange(len(other) + 1) :]
    if random.random() < 0.02:
        return random.randbytes(random.randrange(64))
    for _ in range(random.randint(1, _MOST)):
        random.choice(_DAMAGES)(random, data)
    return bytes(data)


def _flip(random: Random, data: bytearray) -> None:
    if data:
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def _overwrite(random: Random, data: bytearray) -> None:
    number = random.choice(_NUMBERS)
    start = random.randrange(len(data) + 1)
    data[start : start + len(number)] = number


def _insert(random: Random, data: bytearray) -> None:
    start = random.randrange(len(data) + 1)
    data[start:start] = random.choice(_WORDS)


def _delete(random: Random, data: bytearray) -> None:
    start = random.randrange(len(data) + 1)
    del data[start : start + random.randint(1, 8)]


def _cut(random: Random, data: bytearray) -> None:
    del data[random.randrange(len(data) + 1) :]


def _repeat(random: Random, data: bytearray) -> None:
    start = random.randrange(len(data) + 1)
    piece = data[start : start + random.randint(1, 64)]
    data[start:start] = piece * random.randint(1, 8)


_DAMAGES: tuple[_Damage, ...] = (_flip, _flip, _overwrite, _overwrite, _insert, _delete, _cut, _repeat)
