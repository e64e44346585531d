"""Keys go where every Pulsar client with Murmur3 sends them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.runtime.pulsar.routing import PARTITION, murmur3, partition_of, route


class Message:
    def __init__(self, key: str = "", **properties: str) -> None:
        self._key = key
        self._properties = {name.replace("_", "-"): value for name, value in properties.items()}

    def partition_key(self) -> str:
        return self._key

    def properties(self) -> dict[str, str]:
        return self._properties


# Murmur3 x86 32 with seed 0, from its author's and others' published test vectors, without the sign bit.
@pytest.mark.parametrize(
    ("data", "hashed"),
    [
        (b"", 0),
        (b"\x00", 0x514E28B7),
        (b"\x21\x43\x65\x87", 0xF55B516B),
        (b"\x21\x43\x65", 0x7E4A8634),
        (b"\xff\xff\xff\xff", 0x76293B50),
        (b"test", 0xBA6BD213),
        (b"Hello, world!", 0xC0363E43),
        (b"The quick brown fox jumps over the lazy dog", 0x2E4FF723),
    ],
)
def test_murmur3_is_the_known_one(data: bytes, hashed: int) -> None:
    assert murmur3(data) == hashed & 0x7FFFFFFF


@given(st.text(min_size=1), st.integers(1, 64))
def test_a_key_has_one_partition(key: str, partitions: int) -> None:
    assert route(Message(key), partitions) == partition_of(key, partitions) == murmur3(key.encode()) % partitions


def test_a_message_without_key_names_its_partition() -> None:
    assert PARTITION == "headrace-partition"
    assert [route(Message(headrace_partition=str(partition)), 3) for partition in range(3)] == [0, 1, 2]
    assert route(Message(), 3) == 0
