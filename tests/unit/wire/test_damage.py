"""Damaged bytes of every format: the typed error, and nothing else; native code runs in its own process."""

from __future__ import annotations

import contextlib
import random
import struct
import subprocess
import sys
import zlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.engine.kernel.rows import FENCE_BYTES
from headrace.engine.kernel.stored_rows import StoredReader
from headrace.engine.kernel.tiles import HEADER_BYTES
from headrace.errors import NewerFormat, OlderFormat, Unreadable
from headrace.wire import document, frame
from headrace.wire.envelope import Envelope, read_envelope
from headrace.wire.tables import decode_log, decode_predictions, decode_vectors
from tests.wire_samples import MODEL, layout, read_row, row, samples

SAMPLES = samples()
#: A checksum of their own covers their bytes; the tables rely on that of the message's header.
CHECKED = sorted(SAMPLES.keys() - {"vectors", "log", "predictions"})

#: Damaged rows and tables that the child processes read.
_MANY = 3_000


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_each_format_is_read_as_it_was_written(name: str) -> None:
    sample = SAMPLES[name]
    assert sample.read(sample.write()) == sample.value


@pytest.mark.parametrize("name", CHECKED)
@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_flipped_bit_is_refused(name: str, data: st.DataObject) -> None:
    sample = SAMPLES[name]
    found = bytearray(sample.write())
    place = data.draw(st.integers(0, 8 * len(found) - 1))
    found[place // 8] ^= 1 << place % 8
    with contextlib.suppress(Unreadable):
        # A document may have white space in another place, or another name for its version.
        assert sample.read(bytes(found)) == sample.value


@pytest.mark.parametrize("name", sorted(SAMPLES))
@given(st.data())
@settings(max_examples=30, deadline=None)
def test_what_is_cut_short_is_refused(name: str, data: st.DataObject) -> None:
    sample = SAMPLES[name]
    found = sample.write()
    # An Arrow stream ends with a marker that its readers do not need.
    end = data.draw(st.integers(0, len(found) - (1 if name in CHECKED else 9)))
    with pytest.raises(Unreadable):
        sample.read(found[:end])


@pytest.mark.parametrize("name", sorted(SAMPLES))
@given(st.binary(max_size=200))
@settings(max_examples=60, deadline=None)
def test_junk_is_refused(name: str, junk: bytes) -> None:
    with pytest.raises(Unreadable):
        SAMPLES[name].read(junk)


@given(st.dictionaries(st.text(max_size=9), st.text(max_size=25)), st.binary(max_size=9))
def test_a_header_that_is_none_is_refused(properties: dict[str, str], payload: bytes) -> None:
    for found in (properties, properties | {"format": "1"}):
        with pytest.raises(Unreadable):
            read_envelope(found, payload, "a message")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epoch", "many"), ("epoch", "-1"), ("epoch", str(2**63)), ("epoch", "9" * 5_000), ("partition", "½"),
        ("watermark", str(2**62)), ("release_watermark", "later"), ("release_watermark", ""), ("marker", "epoch"),
        ("colour", "red"),
    ],
)  # fmt: skip
def test_a_header_with_a_wrong_field_is_refused_though_its_checksum_is_right(field: str, value: str) -> None:
    properties = Envelope(epoch=1).properties(b"") | {field: value}
    fields = {name: value for name, value in properties.items() if name != "crc32"}
    text = "\n".join(f"{name}={value}" for name, value in sorted(fields.items()))
    with pytest.raises(Unreadable, match=field):
        read_envelope({**fields, "crc32": f"{zlib.crc32(text.encode()):08x}"}, b"", "a message")


def test_a_newer_format_names_the_version_that_reads_it() -> None:
    sealed = _newer_frame(b"body")
    stored = bytearray(row())
    stored[FENCE_BYTES : FENCE_BYTES + 3] = bytes((2, 1, 4))
    newer = {
        "frame": lambda: frame.unseal(frame.Kind.JOIN, sealed, "x"),
        "document": lambda: document.unseal("loop", b'{"format":2,"version":"1.4","colour":"red"}', "x"),
        "header": lambda: read_envelope({"format": "2", "version": "1.4"}, b"", "x"),
        "row": lambda: read_row(_resealed(bytes(stored))),
    }
    for read in newer.values():
        with pytest.raises(NewerFormat, match=r"format 2.*headrace 1\.4"):
            read()


@given(st.binary(min_size=14, max_size=60))
def test_junk_that_begins_like_a_frame_is_damaged_not_newer(junk: bytes) -> None:
    with pytest.raises(Unreadable) as raised:
        frame.unseal(frame.Kind.JOIN, b"HR" + junk, "x")
    assert type(raised.value) is Unreadable


def test_a_damaged_frame_of_a_newer_format_is_damaged() -> None:
    for damaged in (_newer_frame(b"body")[:-1], _newer_frame(b"body")[:-1] + b"x"):
        with pytest.raises(Unreadable) as raised:
            frame.unseal(frame.Kind.JOIN, damaged, "x")
        assert type(raised.value) is Unreadable


def _newer_frame(body: bytes) -> bytes:
    head = b"HR" + bytes((frame.Kind.JOIN, 2, 1, 4)) + bytes(2) + len(body).to_bytes(4, "big")
    return head + zlib.crc32(head + body).to_bytes(4, "big") + body


def test_a_format_without_a_number_says_how_to_upgrade() -> None:
    older = {
        "frame": lambda: frame.unseal(frame.Kind.JOIN, b"\x83", "x"),
        "document": lambda: document.unseal("loop", b'{"name":"flights","streams":[]}', "x"),
        "header": lambda: read_envelope({"definition": "d", "epoch": "1"}, b"", "x"),
    }
    for read in older.values():
        with pytest.raises(OlderFormat, match=r"empty store.*docs/run\.md"):
            read()


def test_columns_in_another_order_are_read_by_their_names() -> None:
    with pa.ipc.open_stream(SAMPLES["vectors"].write()) as reader:
        batch = reader.read_next_batch()
    turned = batch.select(batch.schema.names[::-1])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, turned.schema) as writer:
        writer.write_batch(turned)
    assert SAMPLES["vectors"].read(sink.getvalue().to_pybytes()) == SAMPLES["vectors"].value


def test_damaged_rows_end_no_process() -> None:
    _in_a_process("read_damaged_rows")


def test_damaged_tables_end_no_process() -> None:
    _in_a_process("read_damaged_tables")


def _in_a_process(function: str) -> None:
    code = f"from tests.unit.wire import test_damage; test_damage.{function}()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2_000:]


def read_damaged_rows() -> None:
    """Read rows that are wrong, though their checksums are right: compiled code must not trust them."""
    chance, sample = random.Random(11), row()
    reader = StoredReader([layout()], [1])
    for number in range(_MANY):
        found = bytearray(sample)
        if number % 3:
            place = chance.randrange(HEADER_BYTES, len(found))
            found[place] ^= 1 << chance.randrange(8)
        else:
            word = HEADER_BYTES + 8 * chance.randrange((len(found) - HEADER_BYTES) // 8)
            found[word : word + 8] = struct.pack("<q", chance.choice((-1, 2**62, -(2**62), 2**63 - 1, 2**31, 7)))
        damaged = _resealed(bytes(found[: chance.choice((len(found), chance.randrange(len(found))))]))
        for read in (read_row, lambda data: reader.run(np.array([9_000_000]), [[[data]]])):
            with contextlib.suppress(Unreadable):
                read(damaged)


def read_damaged_tables() -> None:
    """Read tables that are wrong, whatever the header of their message said."""
    chance = random.Random(12)
    for name, read in (("vectors", decode_vectors), ("log", decode_log), ("predictions", decode_predictions)):
        data = SAMPLES[name].write()
        for _ in range(_MANY):
            found = bytearray(data)
            for _ in range(chance.randrange(1, 4)):
                found[chance.randrange(len(found))] ^= 1 << chance.randrange(8)
            with contextlib.suppress(Unreadable):
                read(MODEL, bytes(found))


def _resealed(stored: bytes) -> bytes:
    """Return a row with the length and the checksum of its contents."""
    if len(stored) < HEADER_BYTES:
        return stored
    front = stored[: FENCE_BYTES + 4] + struct.pack(">I", len(stored) - HEADER_BYTES)
    return front + struct.pack(">I", zlib.crc32(stored[HEADER_BYTES:], zlib.crc32(front))) + stored[HEADER_BYTES:]
