"""The display of times, spans and foreign text: no input raises."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import InvalidRequest, UnknownName
from headrace.wording import did_you_mean, format_span, format_time, printable, public_address, quoted, shown
from tests.support.odd_times import ODD_TIMES


@pytest.mark.parametrize("time", [*ODD_TIMES, math.nan, math.inf, -math.inf, 1e300, None])
def test_every_time_is_text(time: float | None) -> None:
    assert isinstance(format_time(time), str)
    assert isinstance(format_time(time, short=True), str)


def test_the_edges_of_the_calendar_are_dates() -> None:
    assert format_time(253_402_300_799_999_999, short=True) == "9999-12-31 23:59:59"
    assert format_time(-62_135_596_800_000_000) == "0001-01-01T00:00:00Z"
    assert format_time(253_402_300_800_000_000) == "253402300800000000"


@given(st.integers() | st.floats())
def test_no_number_fails_as_time_or_span(number: float) -> None:
    format_time(number)
    if isinstance(number, float) or abs(number) < 2**1000:
        format_span(number)


@given(st.text(alphabet=st.characters(), max_size=50))
def test_no_text_keeps_what_a_terminal_obeys(text: str) -> None:
    assert all(character.isprintable() or character.isspace() for character in printable(text))
    assert printable(printable(text)) == printable(text)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("\x1b[2J", "\\u001b[2J"),
        ("\x9b31m", "\\u009b31m"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("\u2066\u2069\u200f", "\\u2066\\u2069\\u200f"),
        ("a\r\nb\t\x07\x7f", "a\\r\\nb\\t\\u0007\\u007f"),
        ("\udcff", "\\udcff"),
        ("Zürich 東京 🚂", "Zürich 東京 🚂"),
    ],
)
def test_controls_are_seen_and_letters_stay(text: str, seen: str) -> None:
    assert printable(text) == seen


def test_escapes_are_those_of_json() -> None:
    text = "\x1b[0m\u202e\x7f"
    assert json.loads(printable(json.dumps(text, ensure_ascii=False))) == text


def test_names_are_cut_before_they_are_looked_at() -> None:
    assert len(quoted("x" * 10**7)) < 110
    assert shown("\x1b" * 10**7, 2) == "\\u001b\\u001b…"
    assert did_you_mean("paymen" * 10**6, ["payment"]) == ""


def test_an_unknown_name_is_cut_and_names_what_was_probably_meant() -> None:
    error = str(UnknownName("stream", "paymnet", ("payment", "outcome")))
    assert error == "stream is 'paymnet', expected one of payment, outcome. Did you mean 'payment'?"
    assert len(str(UnknownName("model", "\x1b" * 10**6, ("m",)))) < 1_000
    assert len(str(InvalidRequest("field", "v" * 10**6, "less"))) < 1_000


def test_an_address_has_no_password() -> None:
    assert public_address("redis://me:p@ss@store:6379/0") == "redis://store:6379/0"
