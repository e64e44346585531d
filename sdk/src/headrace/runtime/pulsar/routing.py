"""Routing of messages to partitions: by one declared hash of the key, Pulsar's Murmur3.

The Python client accepts a router, but no hash function. Producers in other languages choose
``Murmur3_32Hash`` and agree with this router.
"""

from __future__ import annotations

from functools import lru_cache

import pulsar

#: Property of a message without a key: the partition that it goes to.
PARTITION = "headrace-partition"

_MASK = 0xFFFFFFFF


def murmur3(data: bytes) -> int:
    """Return the Murmur3 hash (32 bits, seed 0) without the sign: ``Murmur3_32Hash`` of Pulsar's clients.

    Examples
    --------
    >>> murmur3(b""), murmur3(b"test") == 0xBA6BD213 & 0x7FFFFFFF
    (0, True)
    """
    value = 0
    end = len(data) & ~3
    for start in range(0, end, 4):
        value ^= _scramble(int.from_bytes(data[start : start + 4], "little"))
        value = ((value << 13 | value >> 19) * 5 + 0xE6546B64) & _MASK
    value ^= _scramble(int.from_bytes(data[end:], "little"))
    value ^= len(data)
    value = (value ^ value >> 16) * 0x85EBCA6B & _MASK
    value = (value ^ value >> 13) * 0xC2B2AE35 & _MASK
    return (value ^ value >> 16) & 0x7FFFFFFF


def _scramble(word: int) -> int:
    word = word * 0xCC9E2D51 & _MASK
    word = (word << 15 | word >> 17) & _MASK
    return word * 0x1B873593 & _MASK


@lru_cache(65_536)
def partition_of(key: str, partitions: int) -> int:
    """Return the partition of a key; recent keys are cached, because entities repeat."""
    return murmur3(key.encode()) % partitions


def route(message: pulsar.Message, partitions: int) -> int:
    """Route a producer's message: by its key, else to the partition that it names, else to the first one."""
    key = message.partition_key()
    if key:
        return partition_of(key, partitions)
    return int(message.properties().get(PARTITION, 0)) % partitions
