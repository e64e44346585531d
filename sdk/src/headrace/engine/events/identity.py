"""The id of an event that has none of its own: a hash of its content."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

_encode = msgspec.json.Encoder().encode
#: Bytes of the hash: among 10^15 events, two share one with a probability of 10^-9.
_SIZE = 16


def content_id(record: Any, fields: Sequence[str]) -> str:
    """Return the first 32 hex digits of the SHA-256 of a record's fields, as a JSON object without missing values.

    Times are µs and floats are written in their shortest form, so the form in which an event arrives does not change
    its id; nor does an optional field that is missing.

    Parameters
    ----------
    fields
        The names of the fields, in the order in which they are written.
    """
    values = ((name, getattr(record, name)) for name in fields)
    content = _encode({name: value for name, value in values if value is not None})
    return hashlib.sha256(content).hexdigest()[: 2 * _SIZE]
